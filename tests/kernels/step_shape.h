// step_shape.h - the shapes that tests of the persistent decode step plan and run: layouts of the matrices, and what of
// a job follows from the shape.
#ifndef TESTS_KERNELS_STEP_SHAPE_H
#define TESTS_KERNELS_STEP_SHAPE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "kernels/cuda/cuda.h"

struct step_shape {
    int layers, width, heads, kv_heads, head_dim, ff, vocab;
};

static inline void step_shape_layouts(const struct step_shape *s, enum dtype type, int group,
                                      struct cuda_layout layouts[STEP_PHASES])
{
    const int rows[] = {
        (s->heads + 2 * s->kv_heads) * s->head_dim, 0, s->width, 2 * s->ff, s->width, s->vocab};
    const int cols[] = {s->width, 0, s->heads * s->head_dim, s->width, s->ff, s->width};
    enum dtype head = type == DT_F16 ? DT_F16 : DT_BF16;
    for (int p = 0; p < STEP_PHASES; p++)
        if (p != STEP_ATTEND)
            assert_true(cuda_layout_plan(p == STEP_HEAD ? head : type, rows[p], cols[p], group,
                                         &layouts[p]));
}

// Without pointers, and not planned.
static inline struct cuda_step step_shape_job(const struct step_shape *s,
                                              const struct cuda_layout layouts[STEP_PHASES],
                                              enum dtype kv, int tokens, int blocks)
{
    return (struct cuda_step){.type = layouts[STEP_QKV].type,
                              .head_type = layouts[STEP_HEAD].type,
                              .kv_type = kv,
                              .group = layouts[STEP_QKV].group,
                              .layers = s->layers,
                              .width = s->width,
                              .heads = s->heads,
                              .kv_heads = s->kv_heads,
                              .head_dim = s->head_dim,
                              .rotary = s->head_dim,
                              .ff = s->ff,
                              .vocab = s->vocab,
                              .tokens = tokens,
                              .most_tokens = tokens,
                              .blocks = blocks};
}

#endif
