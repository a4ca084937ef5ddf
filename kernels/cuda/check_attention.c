// check_attention.c - compares rotation, KV append and attention on a GPU with kernels/ref. Also checks that a token's
// bits depend neither on the chunk nor on the other tokens.
//
// Queries, keys and values are below 1. u is the unit roundoff of queries and weights in the arithmetic that cuda.h
// states. The error of a score is at most scale sum |q||k| u <= sqrt(n) u, and that of a weight is u more. The error of
// an output is twice that of a weight, plus 2^-18 for sums and exponentials in f32. Rounding errors average out over a
// row: the norm of the error is at most 10 (u + 2^-20) of the row's norm. So one key of 700 too many or too few shows.
#include "kernels/cuda/check.h"

#include <math.h>
#include <string.h>

#include "kernels/ref/element.h"

enum { MOST_SEQUENCES = 3, MOST_TOKENS = 160 };
// Most products of q and K in one case, so that it takes portable C a fraction of a second.
enum { MOST_WORK = 48 << 20 };

// One attention over caches of up to 3 sequences, on the host.
struct scene {
    struct cuda_check *k;
    int heads, kv_heads, n, positions, window, sequences, rows;
    enum dtype type;
    size_t element, block_bytes, scales_offset, ld;
    float softcap;
    struct cuda_token tokens[MOST_TOKENS];
    unsigned char *cache; // (sequences, kv_heads, K and V) blocks
    float *qkv, *bias;
};

static unsigned char *block_of(const struct scene *s, int sequence, int head, int is_values)
{
    return s->cache +
           ((size_t)(sequence * s->kv_heads + head) * 2 + (size_t)is_values) * s->block_bytes;
}

static size_t cache_bytes(const struct scene *s)
{
    return (size_t)(s->sequences * s->kv_heads * 2) * s->block_bytes;
}

static void store(const struct scene *s, int sequence, int head, int is_values, int position,
                  const float *row)
{
    unsigned char *block = block_of(s, sequence, head, is_values);
    float scale =
        kernel_reference(KOP_KV_STORE, s->type, DT_F32)
            ->fn.cast(block + (size_t)position * (size_t)s->n * s->element, row, s->n, s->n);
    if (s->scales_offset)
        ((float *)(void *)(block + s->scales_offset))[position] = scale;
}

// Some cases of heads of 128 and 64 elements have splits of 256 positions at their last token, with 60 KV heads of 640
// positions or more (cuda_split_length). A decode block reads such a split in several rounds.
static bool has_long_splits(const struct scene *s)
{
    int index = s->k->c.index;
    return index == 21 || index == 30;
}

static void draw_shape(struct scene *s)
{
    static const int dims[] = {64, 128, 80, 96, 256, 20, 1, 33, 72, 512};
    static const int groups[] = {1, 2, 3, 4, 8, 9, 7};
    struct check_case *c = &s->k->c;
    int index = c->index;
    bool many = has_long_splits(s);
    s->kv_heads = many ? 60 : kernel_check_between(c, 1, 3);
    s->heads = s->kv_heads * groups[index % 7];
    s->n = dims[index % 10];
    s->positions = kernel_check_between(c, many ? 640 : 1, 700);
    s->window = index % 3 == 1 ? kernel_check_between(c, 1, 400) : 0;
    s->softcap = index % 5 == 2 ? 20.0f : 0.0f;
    s->sequences = many ? 1 : kernel_check_between(c, 1, MOST_SEQUENCES);
    s->element = element_bytes(s->type);
    s->block_bytes = ((size_t)(s->positions * s->n) * s->element + 63) / 64 * 64;
    if (dtype_is_quantized(s->type)) {
        s->scales_offset = s->block_bytes;
        s->block_bytes += ((size_t)s->positions * 4 + 63) / 64 * 64;
    }
    s->ld = (size_t)((s->heads + 2 * s->kv_heads) * s->n);
}

// Draws up to 40 tokens at the end of each sequence, and the cache before them.
static void fill_sequence(struct scene *s, int sequence)
{
    struct check_case *c = &s->k->c;
    int most = MOST_WORK / (s->heads * s->n * s->positions * s->sequences) + 1;
    most = most < 40 ? most : 40;
    most = most < s->positions ? most : s->positions;
    int count = kernel_check_between(c, 1, most),
        last = has_long_splits(s) ? s->positions : kernel_check_between(c, count, s->positions);
    float row[CUDA_MOST_HEAD_DIM];
    for (int t = 0; t < count; t++)
        s->tokens[s->rows++] = (struct cuda_token){sequence, last - count + t};
    for (int h = 0; h < s->kv_heads; h++)
        for (int p = 0; p < last; p++)
            for (int v = 0; v < 2; v++) {
                kernel_check_fill(c, row, (size_t)s->n);
                store(s, sequence, h, v, p, row);
            }
}

static void scene_make(struct scene *s, struct cuda_check *k, enum dtype type)
{
    *s = (struct scene){.k = k, .type = type};
    k->c.mode = CHECK_PLAIN; // the result of infinite scores is undefined
    draw_shape(s);
    s->cache = cuda_check_host(k, cache_bytes(s));
    if (s->cache) // positions that no token may see are NaN, in the types that have NaN
        memset(s->cache, 0xff, cache_bytes(s));
    for (int i = 0; s->cache && i < s->sequences; i++)
        fill_sequence(s, i);
    s->qkv = cuda_check_values(k, (size_t)s->rows * s->ld);
    s->bias = k->c.index % 4 == 3 ? cuda_check_values(k, (size_t)(s->heads * s->positions)) : NULL;
    kernel_check_shape(&k->c,
                       "heads=%d kv_heads=%d head_dim=%d positions=%d tokens=%d window=%d%s%s",
                       s->heads, s->kv_heads, s->n, s->positions, s->rows, s->window,
                       s->softcap != 0 ? " softcap" : "", s->bias ? " bias" : "");
}

// ---- attention -----------------------------------------------------------------------------------------

// out (rows, heads * n) = attention of `tokens`, whose queries are at `queries`.
static void run_tokens(const struct scene *s, const struct cuda_token *tokens, const float *queries,
                       int rows, bool single, float *out)
{
    struct cuda_check *k = s->k;
    size_t out_bytes = (size_t)(rows * s->heads * s->n) * sizeof(float);
    size_t bias_bytes = (size_t)(s->heads * s->positions) * sizeof(float);
    size_t partial_bytes = cuda_attention_bytes(rows, s->heads, s->kv_heads, s->n, s->positions);
    void *zeros = cuda_check_host(k, partial_bytes);
    unsigned char *cache = cuda_check_in(k, s->cache, cache_bytes(s));
    void *to = cuda_check_out(k, NULL, out_bytes);
    struct cuda_attention job = {
        .qkv = cuda_check_in(k, queries, (size_t)rows * s->ld * 4),
        .tokens = cuda_check_in(k, tokens, (size_t)rows * sizeof *tokens),
        .kv = {cache, s->block_bytes, s->scales_offset, s->kv_heads, s->n, s->type},
        .bias = s->bias ? cuda_check_in(k, s->bias, bias_bytes) : NULL,
        .out = to,
        .partial = cuda_check_out(k, zeros, partial_bytes),
        .rows = rows,
        .heads = s->heads,
        .window = s->window,
        .most_positions = s->positions,
        .multiprocessors = device_info(k->device)->units,
        .single = single,
        .ld = s->ld,
        .ldo = (size_t)(s->heads * s->n),
        .bias_stride = (size_t)s->positions,
        .scale = 1 / sqrtf((float)s->n),
        .softcap = s->softcap};
    if (!k->c.failed)
        k->c.kernel->fn.cuda.attention(&job, cuda_check_stream(k));
    cuda_check_back(k, out, to, out_bytes);
    if (zeros) // the kernel has reset the counters to zero
        cuda_check_back(k, zeros, job.partial, cuda_attention_counters(rows, s->heads));
    for (size_t i = 0; zeros && i < cuda_attention_counters(rows, s->heads); i++)
        if (((unsigned char *)zeros)[i])
            kernel_check_fail(&k->c, "byte %zu of the counters is left set", i);
    cuda_check_release(k);
    if (zeros)
        cuda_check_host_drop(k);
}

static void run(const struct scene *s, int row, int rows, bool single, float *out)
{
    run_tokens(s, s->tokens + row, s->qkv + (size_t)row * s->ld, rows, single, out);
}

static void expect(const struct scene *s, int row, int kv_head, float *out)
{
    int group = s->heads / s->kv_heads;
    struct cuda_token token = s->tokens[row];
    unsigned char *k = block_of(s, token.sequence, kv_head, 0),
                  *v = block_of(s, token.sequence, kv_head, 1);
    void *scratch = cuda_check_host(s->k, kernel_attention_scratch(1, group, s->n));
    struct k_attention job = {
        .q = s->qkv + (size_t)row * s->ld + (size_t)(kv_head * group * s->n),
        .k = k,
        .v = v,
        .k_scale = s->scales_offset ? (float *)(void *)(k + s->scales_offset) : NULL,
        .v_scale = s->scales_offset ? (float *)(void *)(v + s->scales_offset) : NULL,
        .out = out,
        .scratch = scratch,
        .q_stride = s->ld,
        .out_stride = (size_t)(group * s->n),
        .tokens = 1,
        .group = group,
        .head_dim = s->n,
        .first = token.position,
        .window = s->window,
        .scale = 1 / sqrtf((float)s->n),
        .softcap = s->softcap,
        .bias = s->bias ? s->bias + (size_t)(kv_head * group) * (size_t)s->positions : NULL,
        .bias_stride = (size_t)s->positions};
    if (scratch)
        kernel_reference(KOP_ATTENTION, s->type, DT_F32)->fn.attention(&job);
    cuda_check_host_drop(s->k);
}

static bool is_plain(const struct scene *s)
{
    return s->type == DT_F32 || s->n > 256 || s->n % 8 != 0 || (size_t)s->n * s->element % 16 != 0;
}

static double roundoff(const struct scene *s, bool single)
{
    if (is_plain(s))
        return 0x1p-24;
    if (s->type == DT_F16)
        return single ? 0x1p-22 : 0x1p-12;
    return single ? 0x1p-18 : 0x1p-9;
}

static void compare_row(const struct scene *s, int row, bool single, const float *out, float *want)
{
    size_t width = (size_t)(s->heads * s->n), group_width = width / (size_t)s->kv_heads;
    double u = roundoff(s, single), all = 0, off = 0;
    for (int h = 0; h < s->kv_heads; h++)
        expect(s, row, h, want + (size_t)h * group_width);
    for (size_t i = 0; i < width; i++) {
        kernel_check_close(&s->k->c, single ? "step" : "out", (size_t)row * width + i, out[i],
                           want[i], 2 * sqrt(s->n) * u + 2 * u + 0x1p-18);
        all += (double)want[i] * want[i];
        off += ((double)out[i] - want[i]) * ((double)out[i] - want[i]);
    }
    if (!(sqrt(off) <= 10 * (u + 0x1p-20) * sqrt(all) + 0x1p-22))
        kernel_check_fail(&s->k->c, "row %d is off by %.3g of its norm", row, sqrt(off / all));
}

// Any part of the chunk gives the same bits.
static void compare_part(const struct scene *s, const float *out, float *part)
{
    size_t width = (size_t)(s->heads * s->n);
    int first = kernel_check_between(&s->k->c, 0, s->rows - 1);
    int count = kernel_check_between(&s->k->c, 1, s->rows - first);
    run(s, first, count, false, part);
    cuda_check_same(s->k, part, out + (size_t)first * width, (size_t)count * width * 4,
                    "a token has other bits in another chunk");
}

// Rows of tokens of no sequence must be unchanged. All others must have the bits of `before`.
static void compare_around_idle(const struct scene *s, const struct cuda_token *tokens, int rows,
                                const float *before, const float *out)
{
    size_t width = (size_t)(s->heads * s->n);
    unsigned char poison[4];
    memset(poison, CHECK_POISON, sizeof poison);
    for (size_t i = 0; i < (size_t)rows * width && !s->k->c.failed; i++) {
        bool idle = tokens[i / width].sequence < 0;
        if (memcmp(&out[i], idle ? poison : (const void *)&before[i], 4) != 0)
            kernel_check_fail(&s->k->c, "out[%zu] differs where a token is of no sequence", i);
    }
}

// Runs the last token of every sequence as one decode step. The outputs must be right, and have the same bits as each
// token alone and as a step with one of them idle. In f32 arithmetic they must also have the bits of the chunk.
static void compare_steps(const struct scene *s, const float *out, float *step, float *want)
{
    size_t width = (size_t)(s->heads * s->n);
    struct cuda_token tokens[MOST_SEQUENCES];
    int rows[MOST_SEQUENCES], count = 0;
    float *queries = cuda_check_host(s->k, MOST_SEQUENCES * s->ld * 4);
    for (int r = 0; queries && r < s->rows; r++)
        if (r + 1 == s->rows || s->tokens[r + 1].sequence != s->tokens[r].sequence) {
            memcpy(queries + (size_t)count * s->ld, s->qkv + (size_t)r * s->ld, s->ld * 4);
            tokens[count] = s->tokens[r];
            rows[count++] = r;
        }
    if (count)
        run_tokens(s, tokens, queries, count, true, step);
    for (int i = 0; i < count && !s->k->c.failed; i++) {
        compare_row(s, rows[i], true, step + (size_t)i * width, want);
        run(s, rows[i], 1, true, want);
        cuda_check_same(s->k, want, step + (size_t)i * width, width * 4,
                        "a token has other bits alone");
        if (is_plain(s))
            cuda_check_same(s->k, want, out + (size_t)rows[i] * width, width * 4,
                            "a token has other bits in a decode step");
    }
    float *idle = cuda_check_host(s->k, MOST_SEQUENCES * width * 4);
    if (!idle || !count)
        return;
    tokens[count / 2] = (struct cuda_token){-1, -1};
    run_tokens(s, tokens, queries, count, true, idle);
    compare_around_idle(s, tokens, count, step, idle);
}

// Puts a token of no sequence inside a chunk.
static void compare_idle(struct scene *s, const float *before, float *out)
{
    s->tokens[s->rows / 2] = (struct cuda_token){-1, -1};
    run(s, 0, s->rows, false, out);
    compare_around_idle(s, s->tokens, s->rows, before, out);
}

void cuda_check_attention(struct cuda_check *k)
{
    struct scene s;
    scene_make(&s, k, k->c.kernel->w);
    size_t width = (size_t)(s.heads * s.n);
    float *out = cuda_check_host(k, (size_t)s.rows * width * 4);
    float *other = cuda_check_host(k, (size_t)s.rows * width * 4);
    float *want = cuda_check_host(k, width * 4);
    if (k->c.failed)
        return;
    run(&s, 0, s.rows, false, out);
    for (int r = 0; r < s.rows && !k->c.failed; r++)
        compare_row(&s, r, false, out + (size_t)r * width, want);
    compare_part(&s, out, other);
    compare_steps(&s, out, other, want);
    compare_idle(&s, out, other);
}

// ---- rotation ------------------------------------------------------------------------------------------

// A rotation with its data on the host.
struct rotation {
    int rotary;
    bool interleaved;
    float clip;
    float *q_norm, *k_norm, *cosine, *sine; // norms: NULL for none
};

static void rotation_make(struct rotation *r, const struct scene *s)
{
    struct check_case *c = &s->k->c;
    bool normed = kernel_check_between(c, 0, 3) == 0;
    *r = (struct rotation){
        .rotary =
            kernel_check_between(c, 0, 2) == 0 ? 0 : s->n / 2 / kernel_check_between(c, 1, 2) * 2,
        .interleaved = kernel_check_flip(c),
        .clip = kernel_check_between(c, 0, 4) == 0 ? 0.5f : 0,
    };
    size_t angles = (size_t)(s->positions * (r->rotary / 2 + 1));
    r->q_norm = normed ? cuda_check_values(s->k, (size_t)s->n) : NULL;
    r->k_norm = normed ? cuda_check_values(s->k, (size_t)s->n) : NULL;
    r->cosine = cuda_check_values(s->k, angles);
    r->sine = cuda_check_values(s->k, angles);
}

static void clip(float *x, int n, float limit)
{
    for (int i = 0; i < n; i++)
        x[i] = fmaxf(-limit, fminf(limit, x[i]));
}

// Rotates one head of one row on the host. Values (v) are only clipped.
static void rotate_head(const struct scene *s, const struct rotation *r, int position, int head,
                        float *x)
{
    bool is_q = head < s->heads, is_v = head >= s->heads + s->kv_heads;
    const float *norm = is_v ? NULL : is_q ? r->q_norm : r->k_norm;
    size_t angles = (size_t)(position * (r->rotary / 2));
    struct k_rope rope = {.x = x,
                          .cos = r->cosine + angles,
                          .sin = r->sine + angles,
                          .heads = 1,
                          .head_dim = s->n,
                          .rotary = r->rotary,
                          .interleaved = r->interleaved};
    if (r->clip != 0)
        clip(x, s->n, r->clip);
    if (norm)
        kernel_reference(KOP_RMSNORM, DT_F32, DT_F32)->fn.rmsnorm(x, x, norm, s->n, 1e-6f);
    if (r->rotary && !is_v)
        kernel_reference(KOP_ROPE, DT_F32, DT_F32)->fn.rope(&rope);
}

// Rotates the rows of the scene on the host and compares them. Then stores the rows of the GPU, so that the caches must
// have the same bits.
static void compare_rotated(struct scene *s, const struct rotation *r, const float *got)
{
    for (int row = 0; row < s->rows; row++)
        for (int h = 0; h < s->heads + 2 * s->kv_heads; h++) {
            size_t at = (size_t)row * s->ld + (size_t)(h * s->n);
            struct cuda_token token = s->tokens[row];
            float *x = s->qkv + at;
            rotate_head(s, r, token.position, h, x);
            for (int i = 0; i < s->n; i++)
                kernel_check_close(&s->k->c, "qkv", at + (size_t)i, got[at + (size_t)i], x[i],
                                   0x1p-18);
            if (h >= s->heads)
                store(s, token.sequence, (h - s->heads) % s->kv_heads, h >= s->heads + s->kv_heads,
                      token.position, got + at);
        }
}

void cuda_check_rotate(struct cuda_check *k)
{
    static const enum dtype types[] = {DT_F32, DT_BF16, DT_F16, DT_I8, DT_F8E4M3};
    struct scene s;
    struct rotation r;
    scene_make(&s, k, types[(k->c.index + k->c.index / 10) % 5]); // each type meets every head size
    rotation_make(&r, &s);
    size_t bytes = (size_t)s.rows * s.ld * 4, head_bytes = (size_t)s.n * 4;
    size_t angle_bytes = (size_t)(s.positions * (r.rotary / 2 + 1)) * 4;
    float *got = cuda_check_host(k, bytes);
    unsigned char *got_cache = cuda_check_host(k, cache_bytes(&s));
    if (k->c.failed)
        return;
    void *qkv = cuda_check_out(k, s.qkv, bytes);
    void *cache = cuda_check_out(k, s.cache, cache_bytes(&s));
    struct cuda_rotate job = {
        .qkv = qkv,
        .tokens = cuda_check_in(k, s.tokens, (size_t)s.rows * sizeof *s.tokens),
        .q_norm = r.q_norm ? cuda_check_in(k, r.q_norm, head_bytes) : NULL,
        .k_norm = r.k_norm ? cuda_check_in(k, r.k_norm, head_bytes) : NULL,
        .cos = cuda_check_in(k, r.cosine, angle_bytes),
        .sin = cuda_check_in(k, r.sine, angle_bytes),
        .kv = {cache, s.block_bytes, s.scales_offset, s.kv_heads, s.n, s.type},
        .rows = s.rows,
        .heads = s.heads,
        .rotary = r.rotary,
        .ld = s.ld,
        .clip = r.clip,
        .eps = 1e-6f,
        .interleaved = r.interleaved};
    if (!k->c.failed)
        k->c.kernel->fn.cuda.rotate(&job, cuda_check_stream(k));
    cuda_check_back(k, got, qkv, bytes);
    cuda_check_back(k, got_cache, cache, cache_bytes(&s));
    cuda_check_release(k);
    if (k->c.failed)
        return;
    compare_rotated(&s, &r, got);
    cuda_check_same(k, got_cache, s.cache, cache_bytes(&s), "the cache differs");
}
