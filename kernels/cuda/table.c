// table.c - the table of NVIDIA kernels and how a row of it is found. Without nvcc it has no rows.
#include "kernels/cuda/cuda.h"

#include "kernels/cuda/variants.h"

static const struct cuda_kernel table[] = {
#define CUDA(kind, op_, w_, x_, function)                                                          \
    {.name = #function, .op = (op_), .w = (w_), .x = (x_), .fn.kind = (function)},
#include "kernels/cuda/rows.def"
#undef CUDA
    {.name = NULL}, // a table is never empty
};

const struct cuda_kernel *cuda_table(size_t *count)
{
    *count = sizeof table / sizeof table[0] - 1;
    return table;
}

const struct cuda_kernel *cuda_find(enum cuda_op op, enum dtype w, enum dtype x)
{
    for (const struct cuda_kernel *row = table; row->name; row++)
        if (row->op == op && row->w == w && row->x == x)
            return row;
    return NULL;
}

#if !HAVE_CUDA
const char *cuda_launch_error(void)
{
    return "this build has no CUDA kernels";
}
#endif
