// support.h - which parts of a checkpoint this program supports, as text and as data.
#ifndef BENCH_CLI_SUPPORT_H
#define BENCH_CLI_SUPPORT_H

#include <jansson.h>

#include "engine/engine.h"

enum { SUPPORT_MAX = 16 };

struct support {
    struct checkpoint_item items[SUPPORT_MAX];
    size_t count; // 0: a shape, or there is no such file
};

// name: the MODEL word of `model info`.
void cli_support_find(const char *name, struct support *out);
void cli_support_print(const struct support *support);
json_t *
cli_support_json(const struct support *support); // caller json_decref's; NULL without memory

#endif
