// sources.h - the files of a suite, given keys and --set, merged into one list of entries by precedence.
#ifndef BENCH_SUITE_SOURCES_H
#define BENCH_SUITE_SOURCES_H

#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"
#include "bench/suite/options.h"
#include "bench/suite/suite.h"

enum { ENTRIES_MAX = 8192, INCLUDES_MAX = 32 };

// One key of one section after merging. A section's header (key NULL) is kept for empty sections.
struct suite_entry {
    const char *section; // "sweep core"
    const struct section_kind *kind;
    const char *name;            // "core", or NULL
    const struct option *option; // NULL for a header
    const char *value;           // ${...} filled in
    const char *where;           // "suites/m1.conf:12", "--set sweep core.batch=4"
    const char *file;            // path of the file, or NULL for --set
};

struct entry_list {
    struct suite_entry *items; // in order of first appearance
    size_t count;
};

// Reads bench.conf, includes, the suite, given keys and --set, checks sections and keys against the option
// table.
// Errors: those of ini_read; ERR_USAGE with "file:line: reason": unknown names with the nearest known one, cyclic
// includes with the whole cycle, unset variables.
enum status suite_sources_merge(const struct suite_sources *sources, struct arena *arena,
                                struct entry_list *out, struct error *err);

// "dir/of/base/name", or `name` if it is absolute or base has no folder. Owned by the arena; NULL without memory.
const char *suite_path_next_to(struct arena *arena, const char *base, const char *name);

#endif
