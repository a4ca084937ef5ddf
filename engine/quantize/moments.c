// moments.c - second moments as products, so that the fastest kernels compute them. E[x x^T] is a matrix product of the
// inputs with themselves, and e^T M e is a product with M. A group's own moments are a block on the diagonal.
#include "engine/quantize/moments.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>

#include "base/arena.h"

enum { BLOCK_TOKENS = 512 }; // inputs transposed and packed at a time

static int group_at(const struct moments *m, int first)
{
    return m->cols - first < m->group ? m->cols - first : m->group;
}

static unsigned char *second_at(const struct moments *m, int first)
{
    return m->second + (size_t)(first / m->group) * m->stride_bytes;
}

static int at_most(int n, int most)
{
    return n < most ? n : most;
}

// ---- computing them ------------------------------------------------------------------------------------

// For each block of tokens: all channels, transposed and packed, times themselves. A worker computes columns
// [begin, end) of the sums.
struct multiplying {
    const float *x;
    size_t ld;
    int tokens, cols;
    float *turned; // (cols, BLOCK_TOKENS)
    unsigned char *packed;
    float *sums; // (cols, cols)
    struct moments *m;
    struct pool *pool;
};

static void mean_channels(const struct multiplying *s, int begin, int end)
{
    for (int first = begin; first < end; first += PANEL_ROWS) {
        double sum[PANEL_ROWS] = {0};
        int n = at_most(end - first, PANEL_ROWS);
        for (int t = 0; t < s->tokens; t++)
            for (int c = 0; c < n; c++)
                sum[c] += fabs((double)s->x[(size_t)t * s->ld + (size_t)(first + c)]);
        for (int c = 0; c < n; c++)
            s->m->mean_abs[first + c] = (float)(sum[c] / s->tokens);
    }
}

static void turn(const struct multiplying *s, int begin, int end, int token, int count)
{
    size_t panel = kernel_panel_bytes(DT_F32, count);
    for (int c = begin; c < end; c++)
        for (int t = 0; t < count; t++)
            s->turned[(size_t)c * BLOCK_TOKENS + (size_t)t] =
                s->x[(size_t)(token + t) * s->ld + (size_t)c];
    for (int row = begin; row < end; row += PANEL_ROWS)
        kernel_pack_panel(DT_F32, s->turned + (size_t)row * BLOCK_TOKENS,
                          at_most(end - row, PANEL_ROWS), count, BLOCK_TOKENS,
                          s->packed + (size_t)(row / PANEL_ROWS) * panel);
}

// Packs rows [row, row + 16) of the square of n channels that begins at channel `first`.
static void pack_square(const struct multiplying *s, int first, int n, int row,
                        unsigned char *packed)
{
    size_t cols = (size_t)s->cols;
    kernel_pack_panel(DT_F32, s->sums + (size_t)(first + row) * cols + first,
                      at_most(n - row, PANEL_ROWS), n, cols,
                      packed + (size_t)(row / PANEL_ROWS) * kernel_panel_bytes(DT_F32, n));
}

static void multiply_job(void *arg, int worker, int workers)
{
    const struct multiplying *s = arg;
    struct moments *m = s->m;
    int begin, end;
    pool_share(s->cols, PANEL_ROWS, worker, workers, &begin, &end);
    mean_channels(s, begin, end);
    for (int token = 0; token < s->tokens; token += BLOCK_TOKENS) {
        int count = at_most(s->tokens - token, BLOCK_TOKENS);
        turn(s, begin, end, token, count);
        pool_barrier(s->pool, worker);
        struct k_linear job = {
            .w = s->packed,
            .x = s->turned,
            .y = s->sums,
            .tokens = s->cols,
            .rows = s->cols,
            .cols = count,
            .ldx = BLOCK_TOKENS,
            .ldy = (size_t)s->cols,
            .accumulate = token > 0,
        };
        m->product(&job, begin / PANEL_ROWS, (end + PANEL_ROWS - 1) / PANEL_ROWS);
        pool_barrier(s->pool, worker);
    }
    for (int c = begin; c < end; c++) // the matrix is its own transpose: row c is column c
        for (int i = 0; i < s->cols; i++)
            s->sums[(size_t)i * (size_t)s->cols + (size_t)c] /= (float)s->tokens;
    pool_barrier(s->pool, worker);
    for (int row = begin; row < end; row += PANEL_ROWS)
        pack_square(s, 0, s->cols, row, m->whole);
    for (int first = worker * m->group; first < s->cols; first += workers * m->group)
        for (int row = 0, n = group_at(m, first); row < n; row += PANEL_ROWS)
            pack_square(s, first, n, row, second_at(m, first));
}

static enum status multiply(struct moments *m, const float *x, size_t ld, int tokens,
                            struct pool *pool, struct error *err)
{
    size_t cols = (size_t)m->cols, rows = (size_t)kernel_panel_count(m->cols) * PANEL_ROWS;
    struct multiplying s = {
        .x = x,
        .ld = ld,
        .tokens = tokens,
        .cols = m->cols,
        .turned = aligned_alloc_zeroed(rows * BLOCK_TOKENS * sizeof(float)),
        .packed = aligned_alloc_zeroed(rows * BLOCK_TOKENS * sizeof(float)),
        .sums = aligned_alloc_zeroed(cols * cols * sizeof(float)),
        .m = m,
        .pool = pool,
    };
    if (s.turned && s.packed && s.sums)
        pool_run(pool, multiply_job, &s);
    else
        FAIL(err, ERR_NOMEM, "second moments of %d channels", m->cols);
    aligned_release(s.turned);
    aligned_release(s.packed);
    aligned_release(s.sums);
    return err->code;
}

static struct moments *moments_alloc(int cols, int group, struct device_target target)
{
    struct moments *m = calloc(1, sizeof *m);
    if (!m)
        return NULL;
    size_t groups = (size_t)((cols + group - 1) / group);
    m->cols = cols;
    m->group = group;
    m->stride_bytes = kernel_packed_bytes(DT_F32, group, group);
    m->mean_abs = calloc((size_t)cols, sizeof *m->mean_abs);
    m->second = aligned_alloc_zeroed(groups * m->stride_bytes);
    m->whole = aligned_alloc_zeroed(kernel_packed_bytes(DT_F32, cols, cols));
    const struct kernel *product = kernel_find(KOP_GEMM, DT_F32, DT_F32, target);
    m->product = product ? product->fn.linear : NULL;
    if (m->mean_abs && m->second && m->whole && m->product)
        return m;
    moments_destroy(m);
    return NULL;
}

enum status moments_create(const float *x, size_t ld, int tokens, int cols, int group,
                           struct device *device, struct moments **out, struct error *err)
{
    assert(tokens > 0 && cols > 0 && group > 0);
    *out = moments_alloc(cols, group, device_target(device));
    if (!*out)
        return FAIL(err, ERR_NOMEM, "moments of %d channels in groups of %d", cols, group);
    if (multiply(*out, x, ld, tokens, device_pool(device), err) != OK) {
        moments_destroy(*out);
        *out = NULL;
    }
    return err->code;
}

void moments_scale(const struct moments *m, double alpha, float *scale)
{
    double least = INFINITY, most = 0;
    for (int c = 0; c < m->cols; c++) {
        double s = pow((double)m->mean_abs[c], alpha);
        s = s > 1e-4 ? s : 1e-4;
        least = s < least ? s : least;
        most = s > most ? s : most;
        scale[c] = (float)s;
    }
    for (int c = 0; c < m->cols; c++)
        scale[c] = (float)((double)scale[c] / sqrt(least * most));
}

void moments_destroy(struct moments *m)
{
    if (!m)
        return;
    free(m->mean_abs);
    aligned_release(m->second);
    aligned_release(m->whole);
    free(m);
}

static void times(const struct moments *m, const unsigned char *w, int n, int cols, const float *e,
                  int rows, size_t ld, float *y)
{
    assert(rows <= PANEL_ROWS && m->group <= MOMENTS_GROUP_MAX);
    struct k_linear job = {
        .w = w,
        .x = e,
        .y = y,
        .tokens = rows,
        .rows = n,
        .cols = cols,
        .ldx = ld,
        .ldy = MOMENTS_GROUP_MAX,
    };
    m->product(&job, 0, kernel_panel_count(n));
}

void moments_own(const struct moments *m, int first, const float *e, int rows, size_t ld, float *y)
{
    int n = group_at(m, first);
    times(m, second_at(m, first), n, n, e, rows, ld, y);
}

void moments_seen(const struct moments *m, int first, const float *e, int rows, size_t ld, float *y)
{
    assert(first % PANEL_ROWS == 0);
    times(m, m->whole + (size_t)(first / PANEL_ROWS) * kernel_panel_bytes(DT_F32, m->cols),
          group_at(m, first), m->cols, e, rows, ld, y);
}

void moments_error(const struct moments *m, int first, const float *e, int rows, size_t ld,
                   double *error)
{
    _Alignas(64) float y[PANEL_ROWS * MOMENTS_GROUP_MAX];
    int n = group_at(m, first);
    moments_own(m, first, e, rows, ld, y);
    for (int r = 0; r < rows; r++) {
        double sum = 0;
        for (int c = 0; c < n; c++)
            sum += (double)e[(size_t)r * ld + (size_t)c] * (double)y[r * MOMENTS_GROUP_MAX + c];
        error[r] = sum;
    }
}
