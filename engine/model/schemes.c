// schemes.c - the table of schemes: how weights are stored, and to what the inputs of products round.
#include "engine/engine.h"

#include "base/str.h"

static const struct scheme schemes[] = {
    {
        .name = "f32",
        .weights = DT_F32,
        .activations = DT_F32,
        .head = DT_F32,
        .default_kv = DT_F32,
        .arithmetic = "f32 x f32 -> f32",
    },
    {
        .name = "bf16",
        .weights = DT_BF16,
        .activations = DT_BF16,
        .head = DT_BF16,
        .default_kv = DT_BF16,
        .arithmetic = "bf16 x bf16 -> f32",
    },
};

// Words of shared vocabulary that have no row above yet.
static const char *const planned[] = {"f16",  "int8", "int4-rtn", "int4-awq", "fp8",
                                      "q8_0", "q4_0", "q4_k",     "q6_k"};

const struct scheme *scheme_find(const char *name)
{
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++)
        if (str_equal(schemes[i].name, name))
            return &schemes[i];
    return NULL;
}

const struct scheme *scheme_table(size_t *count)
{
    *count = sizeof schemes / sizeof *schemes;
    return schemes;
}

bool scheme_is_planned(const char *name)
{
    for (size_t i = 0; i < sizeof planned / sizeof *planned; i++)
        if (str_equal(planned[i], name))
            return true;
    return false;
}
