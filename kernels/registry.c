// registry.c - the table of kernels, and the search for a row.
//
// Rows come from one rows.def per folder, portable C first. Within one (where, op, w, x) they are in rising
// order of speed, and the last one that a target can run is the one to use.
#include "kernels/kernels.h"

#include "base/words.h"

#include "kernels/cuda/variants.h"
#include "kernels/variants.h"

static const struct kernel table[] = {
#define PRODUCT(op_, w_, x_, layout_, panels_, tokens_, streamed_, most_, isa_, function)          \
    {.name = #function,                                                                            \
     .op = (op_),                                                                                  \
     .w = (w_),                                                                                    \
     .x = (x_),                                                                                    \
     .where = WHERE,                                                                               \
     .isa = (isa_),                                                                                \
     .layout = (layout_),                                                                          \
     .tile = {.panels = (panels_), .tokens = (tokens_), .streamed = (streamed_)},                  \
     .most_tokens = (most_),                                                                       \
     .fn.linear = (function)},
#define KERNEL(kind, op_, w_, x_, isa_, function)                                                  \
    {.name = #function,                                                                            \
     .op = (op_),                                                                                  \
     .w = (w_),                                                                                    \
     .x = (x_),                                                                                    \
     .where = WHERE,                                                                               \
     .isa = (isa_),                                                                                \
     .fn.kind = (function)},
#define WHERE DEVICE_HOST
#include "kernels/ref/rows.def"
#include "kernels/x86/rows.def"
#include "kernels/arm/rows.def"
#undef WHERE
#undef PRODUCT
#undef KERNEL
#define CUDA(kind, op_, w_, x_, isa_, function)                                                    \
    {.name = #function,                                                                            \
     .op = (op_),                                                                                  \
     .w = (w_),                                                                                    \
     .x = (x_),                                                                                    \
     .where = DEVICE_CUDA,                                                                         \
     .isa = (isa_),                                                                                \
     .layout = (op_) == KOP_LINEAR ? LAYOUT_TILE16 : LAYOUT_NONE,                                  \
     .most_tokens = (op_) == KOP_LINEAR ? ALL_TOKENS : 0,                                          \
     .fn.cuda.kind = (function)},
#include "kernels/cuda/rows.def"
#undef CUDA
};

const struct kernel *kernel_table(size_t *count)
{
    *count = sizeof table / sizeof table[0];
    return table;
}

char *kernel_hint(const char *pattern, enum device_kind where, char *out, size_t out_bytes)
{
    const char *names[sizeof table / sizeof table[0]];
    size_t count = 0;
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (table[i].where == where)
            names[count++] = table[i].name;
    return words_hint_glob(pattern, names, count, out, out_bytes);
}

bool kernel_runs_on(const struct kernel *row, struct device_target target)
{
    return row->where == target.where && (row->isa & ~target.isa) == 0;
}

const struct kernel *kernel_find(enum kernel_op op, enum dtype w, enum dtype x,
                                 struct device_target target)
{
    for (size_t i = sizeof table / sizeof table[0]; i-- > 0;) {
        const struct kernel *row = &table[i];
        if (row->op == op && row->w == w && row->x == x && kernel_runs_on(row, target))
            return row;
    }
    return NULL;
}

const struct kernel *kernel_reference(enum kernel_op op, enum dtype w, enum dtype x)
{
    return kernel_find(op, w, x, (struct device_target){.where = DEVICE_HOST});
}

// A GPU's products and attention use the tensor cores for all types but f32.
static enum dtype datapath_on_gpu(const struct kernel *row)
{
    if (row->op == KOP_ATTENTION)
        return row->w == DT_F32 ? DT_F32 : DT_BF16;
    return row->op != KOP_LINEAR ? DT_F32 : row->x == DT_F16 ? DT_BF16 : row->x;
}

// On the host, attention calculates in f32 for any type of cache, and products in the type of their inputs.
enum dtype kernel_datapath(const struct kernel *row)
{
    if (row->where == DEVICE_CUDA)
        return datapath_on_gpu(row);
    bool product = row->op == KOP_GEMV || row->op == KOP_GEMM;
    bool dot = (row->isa & (ISA_AVX512_BF16 | ISA_NEON_BF16)) != 0 || row->op == KOP_PEAK;
    enum dtype type = product ? row->x : row->op == KOP_PEAK ? row->w : DT_F32;
    return type == DT_I8 || (type == DT_BF16 && dot) ? type : DT_F32;
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
        [KOP_LINEAR] = "linear",       [KOP_NORM] = "norm",           [KOP_ACTIVATE] = "activate",
        [KOP_EMBED] = "embed",         [KOP_ROTATE] = "rotate",       [KOP_SAMPLE] = "sample",
        [KOP_ADVANCE] = "advance",     [KOP_STAMP] = "stamp",
    };
    return op >= 0 && op < KOP_COUNT ? names[op] : "?";
}
