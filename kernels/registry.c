// registry.c - the table of kernels and how a row of it is found.
//
// Rows come from one rows.def a folder, portable C first, so that within one (op, w, x) they stand in
// rising order of speed and the last one that a machine can run is the one to use.
#include "kernels/kernels.h"

#include <string.h>

#include "kernels/variants.h"

static const struct kernel table[] = {
#define KERNEL(kind, op_, w_, x_, isa_, function)                                                  \
    {.name = #function, .op = (op_), .w = (w_), .x = (x_), .isa = (isa_), .fn.kind = (function)},
#include "kernels/ref/rows.def"
#include "kernels/x86/rows.def"
#include "kernels/arm/rows.def"
#undef KERNEL
};

const struct kernel *kernel_table(size_t *count)
{
    *count = sizeof table / sizeof table[0];
    return table;
}

const struct kernel *kernel_find(enum kernel_op op, enum dtype w, enum dtype x, unsigned isa)
{
    for (size_t i = sizeof table / sizeof table[0]; i-- > 0;) {
        const struct kernel *row = &table[i];
        if (row->op == op && row->w == w && row->x == x && (row->isa & ~isa) == 0)
            return row;
    }
    return NULL;
}

const char *kernel_op_name(enum kernel_op op)
{
    static const char *const names[KOP_COUNT] = {
        [KOP_GEMV] = "gemv",           [KOP_GEMM] = "gemm",           [KOP_CAST] = "cast",
        [KOP_RMSNORM] = "rmsnorm",     [KOP_LAYERNORM] = "layernorm", [KOP_ROPE] = "rope",
        [KOP_SWIGLU] = "swiglu",       [KOP_GELU] = "gelu",           [KOP_GELU_TANH] = "gelu_tanh",
        [KOP_RELU] = "relu",           [KOP_SOFTCAP] = "softcap",     [KOP_ADD] = "add",
        [KOP_ATTENTION] = "attention", [KOP_KV_STORE] = "kv_store",   [KOP_READ] = "read",
        [KOP_COPY] = "copy",           [KOP_TRIAD] = "triad",         [KOP_PEAK] = "peak",
    };
    return op >= 0 && op < KOP_COUNT ? names[op] : "?";
}

// ---- instruction sets by name ----------------------------------------------------------------------

// Each set with all it builds on, so that the name of a tier forces that tier.
struct isa_word {
    const char *word;
    unsigned bit, mask;
};

enum {
    TIER_AVX512 = ISA_AVX2 | ISA_AVX512,
    TIER_AMX = TIER_AVX512 | ISA_AVX512_BF16 | ISA_AVX512_VNNI,
};

static const struct isa_word isa_words[] = {
    {"ref", 0, 0},
    {"avx2", ISA_AVX2, ISA_AVX2},
    {"avx512", ISA_AVX512, TIER_AVX512},
    {"avx512_bf16", ISA_AVX512_BF16, TIER_AVX512 | ISA_AVX512_BF16},
    {"avx512_vnni", ISA_AVX512_VNNI, TIER_AVX512 | ISA_AVX512_VNNI},
    {"amx_bf16", ISA_AMX_BF16, TIER_AMX | ISA_AMX_BF16},
    {"amx_int8", ISA_AMX_INT8, TIER_AMX | ISA_AMX_INT8},
    {"neon", ISA_NEON, ISA_NEON},
    {"neon_bf16", ISA_NEON_BF16, ISA_NEON | ISA_NEON_BF16},
    {"neon_dot", ISA_NEON_DOT, ISA_NEON | ISA_NEON_DOT},
    {"all", 0, ISA_ALL},
};

static const struct isa_word *isa_word(const char *word, size_t length)
{
    for (size_t i = 0; i < sizeof isa_words / sizeof isa_words[0]; i++)
        if (strlen(isa_words[i].word) == length && memcmp(isa_words[i].word, word, length) == 0)
            return &isa_words[i];
    return NULL;
}

bool kernel_isa_parse(const char *words, unsigned *mask)
{
    unsigned sum = 0;
    for (;;) {
        words += strspn(words, " ");
        size_t length = strcspn(words, ", ");
        const struct isa_word *known = isa_word(words, length);
        if (!known)
            return false;
        sum |= known->mask;
        words += length;
        words += strspn(words, " ");
        if (*words == '\0')
            break;
        if (*words++ != ',')
            return false;
    }
    *mask = sum;
    return true;
}

char *kernel_isa_text(unsigned mask, char *out, size_t out_bytes)
{
    size_t used = 0;
    if (out_bytes)
        out[0] = '\0';
    for (size_t i = 0; i < sizeof isa_words / sizeof isa_words[0]; i++) {
        const struct isa_word *known = &isa_words[i];
        size_t length = strlen(known->word);
        bool wanted = known->bit ? (mask & known->bit) != 0 : mask == known->mask;
        if (!wanted || known->mask == ISA_ALL || used + length + 2 > out_bytes)
            continue;
        if (used)
            out[used++] = ',';
        memcpy(out + used, known->word, length + 1);
        used += length;
    }
    return out;
}
