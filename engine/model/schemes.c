// schemes.c - the table of schemes: how weights are stored, and how the inputs of products are rounded.
//
// The inputs of a row's products follow from its weights, but for three types. fp8 weights take the inputs of the row,
// and weights in groups take int8 inputs only where the target has an integer dot product. The text of the arithmetic
// is made from both types. docs/SCHEMES.md describes all of it.
#include "engine/engine.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "kernels/quant.h"

// Instruction sets of a host that multiply codes in groups by int8 inputs.
enum { INT8_DOTS = ISA_AVX512_VNNI | ISA_AMX_INT8 | ISA_NEON_DOT };

static const struct scheme schemes[] = {
    {
        .name = "f32",
        .weights = DT_F32,
        .activations = DT_F32,
        .head = DT_F32,
        .head_activations = DT_F32,
        .default_kv = DT_F32,
        .arithmetic = "f32 x f32 -> f32",
    },
    {
        .name = "bf16",
        .weights = DT_BF16,
        .activations = DT_BF16,
        .head = DT_BF16,
        .head_activations = DT_BF16,
        .default_kv = DT_BF16,
        .arithmetic = "bf16 x bf16 -> f32",
    },
    {
        .name = "f16",
        .weights = DT_F16,
        .activations = DT_F16,
        .head = DT_F16,
        .head_activations = DT_F16,
        .default_kv = DT_F16,
        .arithmetic = "f16 x f16 -> f32",
    },
    {
        .name = "int8",
        .weights = DT_I8,
        .activations = DT_I8,
        .head = DT_BF16,
        .head_activations = DT_BF16,
        .default_kv = DT_BF16,
        .arithmetic = "w8a8: int8 x int8 -> int32 -> f32; head bf16",
    },
    {
        .name = "int4-rtn",
        .weights = DT_I4,
        .activations = DT_I8,
        .group = QUANT_GROUP,
        .head = DT_BF16,
        .head_activations = DT_BF16,
        .default_kv = DT_BF16,
        .arithmetic = "w4a8: int4 g128 x int8 -> int32 -> f32; head bf16",
    },
    {
        .name = "int4-awq",
        .weights = DT_I4,
        .activations = DT_I8,
        .group = QUANT_GROUP,
        .head = DT_BF16,
        .head_activations = DT_BF16,
        .default_kv = DT_BF16,
        .arithmetic = "w4a8: int4 g128 x int8 -> int32 -> f32; head bf16",
    },
    {
        .name = "fp8",
        .weights = DT_F8E4M3,
        .activations = DT_BF16,
        .head = DT_BF16,
        .head_activations = DT_BF16,
        .default_kv = DT_BF16,
        .arithmetic = "weight-only: fp8 x bf16 -> f32; head bf16",
    },
    {
        .name = "fp8-w8a8", // FP8_DYNAMIC of compressed-tensors: scales by output row and by token
        .weights = DT_F8E4M3,
        .activations = DT_F8E4M3,
        .head = DT_BF16,
        .head_activations = DT_BF16,
        .default_kv = DT_BF16,
        .arithmetic = "w8a8: fp8 x fp8 -> f32; head bf16",
    },
    {
        .name = "q4_0", // the codes of a GGUF file; model_load refuses others
        .weights = DT_I4,
        .activations = DT_I8,
        .group = 32,
        .head = DT_BF16,
        .head_activations = DT_BF16,
        .default_kv = DT_BF16,
        .arithmetic = "w4a8: int4 g32 x int8 -> int32 -> f32; head bf16",
    },
    {
        .name = "q8_0", // likewise
        .weights = DT_I8G,
        .activations = DT_I8,
        .group = 32,
        .head = DT_BF16,
        .head_activations = DT_BF16,
        .default_kv = DT_BF16,
        .arithmetic = "w8a8: int8 g32 x int8 -> int32 -> f32; head bf16",
    },
};

// Known names that have no row above yet.
static const char *const planned[] = {"q4_k", "q6_k"};

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

// ---- types by name -----------------------------------------------------------------------

// The first row of a word is the type that a user means by it: no head or cache has int8 in groups.
static const struct {
    const char *word;
    enum dtype type;
} words[] = {{"f32", DT_F32}, {"f16", DT_F16},    {"bf16", DT_BF16}, {"int8", DT_I8},
             {"int4", DT_I4}, {"fp8", DT_F8E4M3}, {"int8", DT_I8G}};

bool storage_parse(const char *word, enum dtype *out)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        if (str_equal(words[i].word, word)) {
            *out = words[i].type;
            return true;
        }
    }
    return false;
}

const char *storage_name(enum dtype type)
{
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        if (words[i].type == type)
            return words[i].word;
    return "?";
}

// ---- the arithmetic that runs ----------------------------------------------------------------------------

// The inputs of `weights`, in the layers or the head of a scheme that is this row.
static enum dtype inputs_of(const struct scheme *row, enum dtype weights,
                            struct device_target target)
{
    switch (weights) {
    case DT_I4:
    case DT_I8G:
        return target.where == DEVICE_HOST && target.isa & INT8_DOTS ? DT_I8 : DT_BF16;
    case DT_F8E4M3:
        return row->weights == DT_F8E4M3 ? row->activations : DT_BF16;
    default:
        return weights;
    }
}

// "w4a8: int4 g128 x int8 -> int32 -> f32"
static void products_text(enum dtype weights, enum dtype inputs, int group, char *out,
                          size_t out_bytes)
{
    char of_group[24] = "";
    const char *kind = weights == DT_I8                              ? "w8a8: "
                       : weights == DT_I8G && inputs == DT_I8        ? "w8a8: "
                       : weights == DT_I8G                           ? "w8a16: "
                       : weights == DT_I4 && inputs == DT_I8         ? "w4a8: "
                       : weights == DT_I4                            ? "w4a16: "
                       : weights == DT_F8E4M3 && inputs == DT_F8E4M3 ? "w8a8: "
                       : weights == DT_F8E4M3                        ? "weight-only: "
                                                                     : "";
    if (dtype_is_grouped(weights))
        snprintf(of_group, sizeof of_group, " g%d", group);
    snprintf(out, out_bytes, "%s%s%s x %s%s -> f32", kind, storage_name(weights), of_group,
             storage_name(inputs), inputs == DT_I8 ? " -> int32" : "");
}

// ---- products by a library -----------------------------------------------------------------------------

static const char *const products_names[] = {
    [PRODUCTS_OWN] = "own", [PRODUCTS_CUBLASLT] = "cublaslt"};

const char *scheme_products_name(enum products products)
{
    return products_names[products];
}

bool scheme_products_parse(const char *name, enum products *out)
{
    for (size_t i = 0; i < sizeof products_names / sizeof *products_names; i++)
        if (str_equal(products_names[i], name)) {
            *out = (enum products)i;
            return true;
        }
    return false;
}

bool engine_products(enum device_kind kind)
{
    return kind == DEVICE_CUDA;
}

const char *scheme_products_refused(const struct scheme *s, const struct model_config *c)
{
    enum { STEP = 16 }; // rows and inputs that the library multiplies in every type
    if (s->products == PRODUCTS_OWN)
        return NULL;
    if (s->weights != s->activations || s->weights == DT_F32)
        return "cuBLASLt has no product for this scheme (products = cublaslt serves bf16, f16, "
               "int8 and fp8-w8a8)";
    if (c->experts)
        return "products = cublaslt does not serve models with experts";
    if (c->width % STEP || c->heads * c->head_dim % STEP || c->kv_heads * c->head_dim % STEP ||
        c->ff % STEP)
        return "products = cublaslt needs a width, a feed-forward and heads in multiples of 16";
    return NULL;
}

struct scheme scheme_resolve(const struct scheme *row, enum dtype head, struct device_target target)
{
    struct scheme s = *row;
    char products[64], of_head[64];
    s.head = head;
    s.products = engine_products(target.where) ? row->products : PRODUCTS_OWN;
    s.activations = inputs_of(row, s.weights, target);
    s.head_activations = inputs_of(row, head, target);
    products_text(s.weights, s.activations, s.group, products, sizeof products);
    products_text(head, s.head_activations, QUANT_GROUP, of_head, sizeof of_head);
    if (head == s.weights && head != DT_I4)
        snprintf(s.arithmetic, sizeof s.arithmetic, "%s", products);
    else
        snprintf(s.arithmetic, sizeof s.arithmetic, "%s; head %s", products,
                 dtype_is_quantized(head) ? of_head : storage_name(head));
    size_t used = strlen(s.arithmetic);
    if (s.products == PRODUCTS_CUBLASLT)
        snprintf(s.arithmetic + used, sizeof s.arithmetic - used, "; prefill products by cuBLASLt");
    return s;
}

enum dtype scheme_embedding(const struct scheme *scheme)
{
    return dtype_is_quantized(scheme->head) ? DT_BF16 : scheme->head;
}
