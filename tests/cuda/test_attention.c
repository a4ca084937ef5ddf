// test_attention.c - rotation, KV append and attention on a GPU against kernels/ref, and that a token's bits are the
// same in a chunk and in a decode step.
#include "tests/cuda/gpu.h"

#include "base/fp.h"

enum { CASES = 36, MOST_SEQUENCES = 3 };

// One attention over caches of up to 3 sequences, on the host.
struct scene {
    int index, heads, kv_heads, n, positions, window, sequences, rows;
    enum dtype type;
    size_t element, block_bytes, scales_offset, ld;
    float softcap;
    struct cuda_token tokens[160];
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

static void scene_make(struct scene *s, const struct cuda_kernel *kernel, int index)
{
    static const int dims[] = {64, 128, 80, 96, 20, 1, 33, 256, 512, 16};
    static const int groups[] = {1, 2, 3, 4, 8, 9, 1};
    *s = (struct scene){.index = index, .type = kernel->w};
    gpu_case(kernel->name, index);
    s->kv_heads = between(1, 3);
    s->heads = s->kv_heads * groups[index % 7];
    s->n = dims[index % 10];
    s->positions = between(1, 700);
    s->window = index % 3 == 1 ? between(1, 400) : 0;
    s->softcap = index % 5 == 2 ? 20.0f : 0.0f;
    s->sequences = between(1, MOST_SEQUENCES);
    s->element = (size_t)(s->type == DT_F32 ? 4 : cuda_element_bytes(s->type));
    s->block_bytes = ((size_t)(s->positions * s->n) * s->element + 63) / 64 * 64;
    if (dtype_is_quantized(s->type)) {
        s->scales_offset = s->block_bytes;
        s->block_bytes += ((size_t)s->positions * 4 + 63) / 64 * 64;
    }
    s->ld = (size_t)((s->heads + 2 * s->kv_heads) * s->n);
    s->cache = calloc(1, cache_bytes(s));
    for (int i = 0; i < s->sequences; i++) {
        int count = between(1, s->positions < 40 ? s->positions : 40),
            last = between(count, s->positions);
        for (int t = 0; t < count; t++)
            s->tokens[s->rows++] = (struct cuda_token){i, last - count + t};
        for (int h = 0; h < s->kv_heads; h++)
            for (int p = 0; p < last; p++)
                for (int v = 0; v < 2; v++) {
                    float *row = values((size_t)s->n, 0);
                    store(s, i, h, v, p, row);
                    free(row);
                }
    }
    s->qkv = values((size_t)s->rows * s->ld, 0);
    s->bias = index % 4 == 3 ? values((size_t)(s->heads * s->positions), 0) : NULL;
}

static void scene_free(struct scene *s)
{
    free(s->cache);
    free(s->qkv);
    free(s->bias);
}

// out (rows, heads * n) of the tokens [row, row + rows).
static void run(const struct cuda_kernel *kernel, const struct scene *s, int row, int rows,
                bool single, float *out)
{
    size_t out_bytes = (size_t)(rows * s->heads * s->n) * sizeof(float);
    unsigned char *cache = up(s->cache, cache_bytes(s));
    float *qkv = up(s->qkv + (size_t)row * s->ld, (size_t)rows * s->ld * 4),
          *to = up(NULL, out_bytes);
    struct cuda_token *tokens = up(s->tokens + row, (size_t)rows * sizeof *tokens);
    float *bias = s->bias ? up(s->bias, (size_t)(s->heads * s->positions) * 4) : NULL;
    void *partial = up(NULL, cuda_attention_bytes(rows, s->heads, s->n, s->positions));
    struct cuda_attention job = {
        .qkv = qkv,
        .tokens = tokens,
        .kv = {cache, s->block_bytes, s->scales_offset, s->kv_heads, s->n, s->type},
        .bias = bias,
        .out = to,
        .partial = partial,
        .rows = rows,
        .heads = s->heads,
        .window = s->window,
        .most_positions = s->positions,
        .single = single,
        .ld = s->ld,
        .ldo = (size_t)(s->heads * s->n),
        .bias_stride = (size_t)s->positions,
        .scale = 1 / sqrtf((float)s->n),
        .softcap = s->softcap};
    kernel->fn.attention(&job, stream());
    down(out, to, out_bytes);
    void *all[] = {cache, qkv, to, tokens, bias, partial};
    for (int i = 0; i < 6; i++)
        drop(all[i]);
}

static void expect(const struct scene *s, int row, int kv_head, float *out)
{
    int group = s->heads / s->kv_heads;
    struct cuda_token token = s->tokens[row];
    unsigned char *k = block_of(s, token.sequence, kv_head, 0),
                  *v = block_of(s, token.sequence, kv_head, 1);
    void *scratch = malloc(kernel_attention_scratch(1, group, s->n));
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
    kernel_reference(KOP_ATTENTION, s->type, DT_F32)->fn.attention(&job);
    free(scratch);
}

static void check_attention(const struct cuda_kernel *kernel, int index)
{
    struct scene s;
    scene_make(&s, kernel, index);
    size_t width = (size_t)(s.heads * s.n), group_width = width / (size_t)s.kv_heads;
    float *out = malloc((size_t)s.rows * width * 4), *alone = malloc(width * 4),
          *want = malloc(width * 4);
    run(kernel, &s, 0, s.rows, false, out);
    for (int r = 0; r < s.rows; r++) {
        for (int h = 0; h < s.kv_heads; h++)
            expect(&s, r, h, want + (size_t)h * group_width);
        for (size_t i = 0; i < width;
             i++) // scores below 12, values below 1: a few roundings of each
            close_to(kernel->name, index, "out", (size_t)r * width + i, out[(size_t)r * width + i],
                     want[i], 1e-5);
    }
    // Alone, as a decode step: the same bits. The first and the last of each sequence's.
    for (int r = 0; r < s.rows; r++) {
        if (r > 0 && r + 1 < s.rows && s.tokens[r - 1].sequence == s.tokens[r + 1].sequence)
            continue;
        run(kernel, &s, r, 1, true, alone);
        if (memcmp(alone, out + (size_t)r * width, width * 4) != 0)
            fail_msg("%s, case %d, seed %llu: token %d of %d has other bits in a decode step",
                     kernel->name, index, (unsigned long long)gpu_seed, r, s.rows);
    }
    free(out);
    free(alone);
    free(want);
    scene_free(&s);
}

static void test_attention(void **state)
{
    (void)state;
    NEED_GPU();
    size_t count;
    const struct cuda_kernel *table = cuda_table(&count);
    for (size_t i = 0; i < count; i++) {
        if (table[i].op != CUOP_ATTENTION)
            continue;
        for (int index = 0; index < CASES; index++)
            check_attention(&table[i], index);
        print_message("%-28s %d cases\n", table[i].name, CASES);
    }
}

static void clip(float *x, int n, float limit)
{
    for (int i = 0; i < n; i++)
        x[i] = fmaxf(-limit, fminf(limit, x[i]));
}

// Rotates the scene's rows on the host, compares, and stores what the GPU has of them: the same bits then.
static void compare_rotated(struct scene *s, const struct cuda_rotate *job, const float *got)
{
    for (int r = 0; r < s->rows; r++)
        for (int h = 0; h < s->heads + 2 * s->kv_heads; h++) {
            size_t at = (size_t)r * s->ld + (size_t)(h * s->n);
            size_t angles = (size_t)(s->tokens[r].position * (job->rotary / 2));
            float *x = s->qkv + at;
            bool is_q = h < s->heads, is_v = h >= s->heads + s->kv_heads;
            const float *norm = is_v ? NULL : is_q ? job->q_norm : job->k_norm;
            if (job->clip != 0)
                clip(x, s->n, job->clip);
            if (norm)
                kernel_reference(KOP_RMSNORM, DT_F32, DT_F32)
                    ->fn.rmsnorm(x, x, norm, s->n, job->eps);
            struct k_rope rope = {.x = x,
                                  .cos = job->cos + angles,
                                  .sin = job->sin + angles,
                                  .heads = 1,
                                  .head_dim = s->n,
                                  .rotary = job->rotary,
                                  .interleaved = job->interleaved};
            if (job->rotary && !is_v)
                kernel_reference(KOP_ROPE, DT_F32, DT_F32)->fn.rope(&rope);
            for (int i = 0; i < s->n; i++)
                close_to("rotate", s->index, "qkv", (size_t)i, got[at + (size_t)i], x[i], 0x1p-18);
            if (!is_q)
                store(s, s->tokens[r].sequence, (h - s->heads) % s->kv_heads, is_v,
                      s->tokens[r].position, got + at);
        }
}

// Rows of q, k and v after rotation, and the cache, as the CPU makes them.
static void check_rotate(enum dtype type, int index)
{
    struct cuda_kernel of = {.name = "rotate", .w = type};
    struct scene s;
    scene_make(&s, &of, index);
    int rotary = index % 3 == 2 ? 0 : s.n / 2 / (1 + index % 2) * 2, half = rotary / 2;
    bool interleaved = index % 2 == 1;
    float limit = index % 5 == 0 ? 0.5f : 0;
    float *q_norm = values((size_t)s.n, 0), *k_norm = values((size_t)s.n, 0);
    float *cosine = values((size_t)(s.positions * (half + 1)), 0),
          *sine = values((size_t)(s.positions * (half + 1)), 0);
    bool normed = index % 4 == 1;
    size_t bytes = (size_t)s.rows * s.ld * 4;
    float *got = malloc(bytes);
    unsigned char *got_cache = malloc(cache_bytes(&s));

    void *qkv = up(s.qkv, bytes), *cache = up(s.cache, cache_bytes(&s)),
         *tokens = up(s.tokens, sizeof s.tokens);
    void *qn = up(q_norm, (size_t)s.n * 4), *kn = up(k_norm, (size_t)s.n * 4);
    void *dc = up(cosine, (size_t)(s.positions * (half + 1)) * 4),
         *ds = up(sine, (size_t)(s.positions * (half + 1)) * 4);
    struct cuda_rotate job = {.qkv = qkv,
                              .tokens = tokens,
                              .q_norm = normed ? qn : NULL,
                              .k_norm = normed ? kn : NULL,
                              .cos = dc,
                              .sin = ds,
                              .kv = {cache, s.block_bytes, s.scales_offset, s.kv_heads, s.n, type},
                              .rows = s.rows,
                              .heads = s.heads,
                              .rotary = rotary,
                              .ld = s.ld,
                              .clip = limit,
                              .eps = 1e-6f,
                              .interleaved = interleaved};
    cuda_find(CUOP_ROTATE, DT_F32, DT_F32)->fn.rotate(&job, stream());
    down(got, qkv, bytes);
    down(got_cache, cache, cache_bytes(&s));

    job.q_norm = normed ? q_norm : NULL; // the same job with the host's arrays
    job.k_norm = normed ? k_norm : NULL;
    job.cos = cosine;
    job.sin = sine;
    compare_rotated(&s, &job, got);
    assert_memory_equal(got_cache, s.cache, cache_bytes(&s));
    void *all[] = {qkv, cache, tokens, qn, kn, dc, ds};
    for (int i = 0; i < 7; i++)
        drop(all[i]);
    free(got);
    free(got_cache);
    free(q_norm);
    free(k_norm);
    free(cosine);
    free(sine);
    scene_free(&s);
}

static void test_rotation_and_append(void **state)
{
    (void)state;
    NEED_GPU();
    static const enum dtype types[] = {DT_F32, DT_BF16, DT_F16, DT_I8, DT_F8E4M3};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        for (int index = 0; index < CASES; index++)
            check_rotate(types[i], index);
}

// Tokens of no sequence are left alone, in the midst of others.
static void test_tokens_of_no_sequence(void **state)
{
    (void)state;
    NEED_GPU();
    const struct cuda_kernel *kernel = cuda_find(CUOP_ATTENTION, DT_BF16, DT_F32);
    struct scene s;
    scene_make(&s, kernel, 1);
    size_t width = (size_t)(s.heads * s.n);
    float *all = malloc((size_t)s.rows * width * 4), *out = malloc((size_t)s.rows * width * 4);
    for (int single = 0; single < 2; single++) {
        s.tokens[0] = (struct cuda_token){0, 0};
        run(kernel, &s, 0, 1, single, all);
        s.tokens[0] = s.tokens[1] = (struct cuda_token){-1, -1};
        memset(out, 0, (size_t)s.rows * width * 4);
        run(kernel, &s, 0, 2 < s.rows ? 2 : s.rows, single, out);
        for (size_t i = 0; i < width; i++) { // poison
            uint32_t bits;
            memcpy(&bits, &out[i], 4);
            assert_int_equal(bits, 0xa5a5a5a5u);
        }
    }
    free(all);
    free(out);
    scene_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_rotation_and_append),
        cmocka_unit_test(test_tokens_of_no_sequence),
    };
    return cmocka_run_group_tests(tests, gpu_setup, gpu_teardown);
}
