// engines.c - the table of engines.
#include "bench/engines/engines.h"

#include "base/str.h"

static const struct bench_engine *const engines[] = {&bench_engine_builtin};

const struct bench_engine *bench_engine_find(const char *name)
{
    for (size_t i = 0; i < sizeof engines / sizeof *engines; i++)
        if (str_equal(engines[i]->name, name))
            return engines[i];
    return NULL;
}
