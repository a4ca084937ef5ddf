// attention.c - flash-style attention: blocks of query rows against blocks of keys and values, with a running maximum
// and sum. Each instruction set provides the inner loops (attention.h).
//
// Rows are in the order of their tokens, so the rows that see any key of a block form one range. Other rows skip the
// block, so a causal diagonal wastes at most one block.
#include "kernels/attention.h"

#include <math.h>
#include <string.h>

size_t kernel_attention_scratch(int tokens, int group, int head_dim)
{
    size_t rows = (size_t)tokens * (size_t)group;
    int block = rows < ATTENTION_ROWS ? (int)rows : ATTENTION_ROWS;
    size_t fast = attention_floats(block, attention_pad(head_dim)) * sizeof(float);
    size_t portable = (size_t)head_dim * sizeof(double);
    return (fast > portable ? fast : portable) + PANEL_ALIGN; // the scratch may have any alignment
}

// A block of query rows: row r of the call is token r / group, head r % group.
struct rows {
    int row0, count;
    struct attention_scratch s;
};

static int token_of(const struct k_attention *job, const struct rows *rows, int r)
{
    return (rows->row0 + r) / job->group;
}

static size_t row_offset(const struct k_attention *job, const struct rows *rows, int r,
                         size_t stride)
{
    int row = rows->row0 + r;
    return (size_t)(row / job->group) * stride + (size_t)(row % job->group) * (size_t)job->head_dim;
}

static void start_rows(const struct k_attention *job, struct rows *rows)
{
    struct attention_scratch *s = &rows->s;
    for (int r = 0; r < rows->count; r++) {
        const float *q = job->q + row_offset(job, rows, r, job->q_stride);
        float *to = s->q + (size_t)r * (size_t)s->d;
        for (int i = 0; i < job->head_dim; i++)
            to[i] = q[i] * job->scale;
        s->max[r] = -INFINITY;
        s->sum[r] = 0;
    }
    memset(s->out, 0, (size_t)rows->count * (size_t)s->d * sizeof(float));
}

static int clamp(int64_t x, int low, int high)
{
    return x < low ? low : x > high ? high : (int)x;
}

// The rows that see any of the positions [p0, p0 + count): [*begin, *end).
static void rows_that_see(const struct k_attention *job, const struct rows *rows, int p0, int count,
                          int *begin, int *end)
{
    int64_t first = p0 - (int64_t)job->first; // the first token at position p0 or later
    int64_t past = job->window ? first + count + job->window - 1 : job->tokens;
    *begin = clamp(first * job->group - rows->row0, 0, rows->count);
    *end = clamp(past * job->group - rows->row0, 0, rows->count);
}

// Adds the bias of each position minus the bias of the row's own position, so that the added value is small where the
// weights are large.
static void add_bias(const struct k_attention *job, struct attention_row *row, int head, int own,
                     int p0, int count)
{
    const float *bias = job->bias + (size_t)head * job->bias_stride;
    for (int i = 0; i < count; i++)
        row->scores[i] += bias[p0 + i] - bias[own];
}

// Multiplies each position's scores by the position's scale.
static void scale_positions(float *scores, int rows, int count, const float *scales)
{
    for (int r = 0; r < rows; r++, scores += ATTENTION_KEYS)
        for (int p = 0; p < count; p++)
            scores[p] *= scales[p];
}

static void weigh_rows(const struct attention_ops *ops, const struct k_attention *job,
                       struct rows *rows, int p0, int count, int from, int to)
{
    struct attention_scratch *s = &rows->s;
    for (int r = from; r < to; r++) {
        int t = token_of(job, rows, r);
        struct attention_row row = {
            .scores = s->scores + (size_t)r * ATTENTION_KEYS,
            .begin = clamp((int64_t)attention_begin(job, t) - p0, 0, count),
            .end = clamp((int64_t)job->first + t + 1 - p0, 0, count),
            .count = (count + 15) / 16 * 16,
            .softcap = job->softcap,
            .max = s->max[r],
        };
        if (job->bias)
            add_bias(job, &row, (rows->row0 + r) % job->group, job->first + t, p0, count);
        float weights = ops->softmax(&row);
        if (row.max != s->max[r]) { // the first block has nothing to rescale: exp(-infinity) is 0
            float factor = expf(s->max[r] - row.max);
            s->sum[r] *= factor;
            ops->scale(s->out + (size_t)r * (size_t)s->d, s->d, factor);
            s->max[r] = row.max;
        }
        s->sum[r] += weights;
    }
}

// Processes one block of keys and values for the rows that see any of it.
static void run_keys(const struct attention_ops *ops, const struct k_attention *job,
                     struct rows *rows, int p0, int count)
{
    struct attention_scratch *s = &rows->s;
    size_t d = (size_t)s->d, offset = (size_t)p0 * (size_t)job->head_dim * ops->element_bytes;
    int from, to;
    rows_that_see(job, rows, p0, count, &from, &to);
    if (from >= to)
        return;
    float *scores = s->scores + (size_t)from * ATTENTION_KEYS;
    ops->keys(s->keys, (const char *)job->k + offset, count, job->head_dim);
    ops->product(scores, ATTENTION_KEYS, s->q + (size_t)from * d, d, s->keys, ATTENTION_KEYS,
                 to - from, job->head_dim, (count + 15) / 16 * 16, false);
    // For a quantized cache the products use codes: the scale of a key multiplies its score, that of a value its
    // weight.
    if (job->k_scale)
        scale_positions(scores, to - from, count, job->k_scale + p0);
    weigh_rows(ops, job, rows, p0, count, from, to);
    if (job->v_scale)
        scale_positions(scores, to - from, count, job->v_scale + p0);
    ops->values(s->values, (const char *)job->v + offset, count, job->head_dim, s->d);
    ops->product(s->out + (size_t)from * d, d, scores, ATTENTION_KEYS, s->values, d, to - from,
                 count, s->d, true);
}

static void finish_rows(const struct k_attention *job, struct rows *rows)
{
    const struct attention_scratch *s = &rows->s;
    for (int r = 0; r < rows->count; r++) {
        float *out = job->out + row_offset(job, rows, r, job->out_stride), per_sum = 1 / s->sum[r];
        const float *sum = s->out + (size_t)r * (size_t)s->d;
        for (int i = 0; i < job->head_dim; i++)
            out[i] = sum[i] * per_sum;
    }
}

void kernel_attention_run(const struct attention_ops *ops, const struct k_attention *job)
{
    int total = job->tokens * job->group;
    int block = total < ATTENTION_ROWS ? total : ATTENTION_ROWS;
    struct rows rows = {.s = attention_cut(job->scratch, block, job->head_dim)};
    for (; rows.row0 < total; rows.row0 += block) {
        rows.count = total - rows.row0 < block ? total - rows.row0 : block;
        int end = job->first + token_of(job, &rows, rows.count - 1) + 1;
        start_rows(job, &rows);
        // Blocks of keys begin at multiples of their size, also with a window. So the order of a token's sums does not
        // depend on how its prompt was cut into calls.
        int begin = attention_begin(job, token_of(job, &rows, 0)) / ATTENTION_KEYS * ATTENTION_KEYS;
        for (int p = begin; p < end; p += ATTENTION_KEYS)
            run_keys(ops, job, &rows, p, end - p < ATTENTION_KEYS ? end - p : ATTENTION_KEYS);
        finish_rows(job, &rows);
    }
}
