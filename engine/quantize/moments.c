// moments.c - second moments as products: each group's E[x x^T] is a matrix product of its inputs with
// themselves, and an error e^T M e one with M, so that the fastest kernels do both.
#include "engine/quantize/moments.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/arena.h"

enum { BLOCK_TOKENS = 512 }; // inputs turned and packed at a time

struct summing {
    const float *x;
    size_t ld;
    int tokens;
    struct moments *m;
    float *scratch; // of each worker: turned, packed, summed
    size_t scratch_floats;
};

static int group_at(const struct moments *m, int first)
{
    return m->cols - first < m->group ? m->cols - first : m->group;
}

static unsigned char *second_at(const struct moments *m, int first)
{
    return m->second + (size_t)(first / m->group) * m->stride_bytes;
}

// sums (n, group) += X^T X of a block of tokens, where n channels begin at `first`.
static void sum_block(const struct summing *s, int first, int n, int token, int count,
                      float *turned, float *packed, float *sums)
{
    for (int t = 0; t < count; t++) {
        const float *x = s->x + (size_t)(token + t) * s->ld + first;
        for (int c = 0; c < n; c++)
            turned[c * BLOCK_TOKENS + t] = x[c];
    }
    size_t panel = panel_bytes(DT_F32, count);
    for (int row = 0; row < n; row += PANEL_ROWS)
        pack_panel(DT_F32, turned + row * BLOCK_TOKENS, n - row < PANEL_ROWS ? n - row : PANEL_ROWS,
                   count, BLOCK_TOKENS,
                   (unsigned char *)packed + (size_t)(row / PANEL_ROWS) * panel);
    struct k_linear job = {
        .w = packed,
        .x = turned,
        .y = sums,
        .tokens = n,
        .rows = n,
        .cols = count,
        .ldx = BLOCK_TOKENS,
        .ldy = (size_t)s->m->group,
        .accumulate = token > 0,
    };
    s->m->product(&job, 0, panel_count(n));
}

static void sum_group(const struct summing *s, int first, float *scratch)
{
    struct moments *m = s->m;
    size_t rows = (size_t)panel_count(m->group) * PANEL_ROWS;
    float *turned = scratch, *packed = turned + rows * BLOCK_TOKENS;
    float *sums = packed + rows * BLOCK_TOKENS;
    int n = group_at(m, first);
    for (int token = 0; token < s->tokens; token += BLOCK_TOKENS) {
        int left = s->tokens - token;
        sum_block(s, first, n, token, left < BLOCK_TOKENS ? left : BLOCK_TOKENS, turned, packed,
                  sums);
    }
    for (int i = 0; i < n * m->group; i++)
        sums[i] /= (float)s->tokens;
    size_t panel = panel_bytes(DT_F32, n);
    for (int row = 0; row < n; row += PANEL_ROWS)
        pack_panel(DT_F32, sums + row * m->group, n - row < PANEL_ROWS ? n - row : PANEL_ROWS, n,
                   (size_t)m->group, second_at(m, first) + (size_t)(row / PANEL_ROWS) * panel);
}

static void mean_group(const struct summing *s, int first)
{
    double sum[MOMENTS_GROUP_MAX] = {0};
    int n = group_at(s->m, first);
    for (int t = 0; t < s->tokens; t++)
        for (int c = 0; c < n; c++)
            sum[c] += fabs((double)s->x[(size_t)t * s->ld + (size_t)(first + c)]);
    for (int c = 0; c < n; c++)
        s->m->mean_abs[first + c] = (float)(sum[c] / s->tokens);
}

static void sum_job(void *arg, int worker, int workers)
{
    const struct summing *s = arg;
    int groups = (s->m->cols + s->m->group - 1) / s->m->group;
    for (int g = worker; g < groups; g += workers) {
        mean_group(s, g * s->m->group);
        sum_group(s, g * s->m->group, s->scratch + (size_t)worker * s->scratch_floats);
    }
}

static struct moments *moments_alloc(int cols, int group, unsigned isa)
{
    struct moments *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    size_t groups = (size_t)((cols + group - 1) / group);
    m->cols = cols;
    m->group = group;
    m->stride_bytes = packed_bytes(DT_F32, group, group);
    m->mean_abs = calloc((size_t)cols, sizeof *m->mean_abs);
    m->second = aligned_alloc_zeroed(groups * m->stride_bytes);
    const struct kernel *product = kernel_find(KOP_GEMM, DT_F32, DT_F32, isa & kernel_cpu_isa());
    m->product = product ? product->fn.linear : NULL;
    if (m->mean_abs && m->second && m->product)
        return m;
    moments_destroy(m);
    return NULL;
}

enum status moments_create(const float *x, size_t ld, int tokens, int cols, int group,
                           struct pool *pool, unsigned isa, struct moments **out, struct error *err)
{
    assert(tokens > 0 && cols > 0 && group > 0);
    struct summing s = {.x = x, .ld = ld, .tokens = tokens, .m = moments_alloc(cols, group, isa)};
    size_t rows = (size_t)panel_count(group) * PANEL_ROWS;
    s.scratch_floats = rows * (2 * BLOCK_TOKENS + (size_t)group);
    s.scratch = aligned_alloc_zeroed((size_t)pool_threads(pool) * s.scratch_floats * sizeof(float));
    *out = s.m;
    if (!s.m || !s.scratch) {
        moments_destroy(s.m);
        aligned_release(s.scratch);
        *out = NULL;
        return FAIL(err, ERR_NOMEM, "moments of %d channels in groups of %d", cols, group);
    }
    pool_run(pool, sum_job, &s);
    aligned_release(s.scratch);
    return OK;
}

void moments_destroy(struct moments *m)
{
    if (!m)
        return;
    free(m->mean_abs);
    aligned_release(m->second);
    free(m);
}

void moments_error(const struct moments *m, int first, const float *e, int rows, size_t ld,
                   double *error)
{
    assert(rows <= PANEL_ROWS && m->group <= MOMENTS_GROUP_MAX);
    _Alignas(64) float y[PANEL_ROWS * MOMENTS_GROUP_MAX];
    int n = group_at(m, first);
    struct k_linear job = {
        .w = second_at(m, first),
        .x = e,
        .y = y,
        .tokens = rows,
        .rows = n,
        .cols = n,
        .ldx = ld,
        .ldy = MOMENTS_GROUP_MAX,
    };
    m->product(&job, 0, panel_count(n));
    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int c = 0; c < n; c++)
            sum += (double)e[(size_t)r * ld + (size_t)c] * (double)y[r * MOMENTS_GROUP_MAX + c];
        error[r] = sum;
    }
}
