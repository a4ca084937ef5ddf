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

// ---- the whole matrix ----------------------------------------------------------------------------------

// All channels of one block of tokens after another, turned and packed, times themselves.
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

static void multiply_job(void *arg, int worker, int workers)
{
    const struct multiplying *s = arg;
    int begin, end;
    pool_share(s->cols, PANEL_ROWS, worker, workers, &begin, &end);
    for (int token = 0; token < s->tokens; token += BLOCK_TOKENS) {
        int count = s->tokens - token < BLOCK_TOKENS ? s->tokens - token : BLOCK_TOKENS;
        size_t panel = panel_bytes(DT_F32, count);
        for (int c = begin; c < end; c++)
            for (int t = 0; t < count; t++)
                s->turned[(size_t)c * BLOCK_TOKENS + (size_t)t] =
                    s->x[(size_t)(token + t) * s->ld + (size_t)c];
        for (int row = begin; row < end; row += PANEL_ROWS)
            pack_panel(DT_F32, s->turned + (size_t)row * BLOCK_TOKENS,
                       end - row < PANEL_ROWS ? end - row : PANEL_ROWS, count, BLOCK_TOKENS,
                       s->packed + (size_t)(row / PANEL_ROWS) * panel);
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
        s->m->product(&job, begin / PANEL_ROWS, (end + PANEL_ROWS - 1) / PANEL_ROWS);
        pool_barrier(s->pool, worker);
    }
    for (int c = begin; c < end; c++) // the matrix is its own transpose: row c is column c
        for (int i = 0; i < s->cols; i++)
            s->sums[(size_t)i * (size_t)s->cols + (size_t)c] /= (float)s->tokens;
    pool_barrier(s->pool, worker);
    size_t panel = panel_bytes(DT_F32, s->cols);
    for (int c = begin; c < end; c += PANEL_ROWS)
        pack_panel(DT_F32, s->sums + (size_t)c * (size_t)s->cols,
                   end - c < PANEL_ROWS ? end - c : PANEL_ROWS, s->cols, (size_t)s->cols,
                   s->m->whole + (size_t)(c / PANEL_ROWS) * panel);
}

static enum status multiply(struct moments *m, const float *x, size_t ld, int tokens,
                            struct pool *pool, struct error *err)
{
    size_t cols = (size_t)m->cols, rows = (size_t)panel_count(m->cols) * PANEL_ROWS;
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

// ---- one group -----------------------------------------------------------------------------------------

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
    m->whole = aligned_alloc_zeroed(packed_bytes(DT_F32, cols, cols));
    const struct kernel *product = kernel_find(KOP_GEMM, DT_F32, DT_F32, isa & kernel_cpu_isa());
    m->product = product ? product->fn.linear : NULL;
    if (m->mean_abs && m->second && m->whole && m->product)
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
    if (multiply(s.m, x, ld, tokens, pool, err) != OK) {
        moments_destroy(s.m);
        *out = NULL;
    }
    return err->code;
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
    m->product(&job, 0, panel_count(n));
}

void moments_own(const struct moments *m, int first, const float *e, int rows, size_t ld, float *y)
{
    int n = group_at(m, first);
    times(m, second_at(m, first), n, n, e, rows, ld, y);
}

void moments_seen(const struct moments *m, int first, const float *e, int rows, size_t ld, float *y)
{
    assert(first % PANEL_ROWS == 0);
    times(m, m->whole + (size_t)(first / PANEL_ROWS) * panel_bytes(DT_F32, m->cols),
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
