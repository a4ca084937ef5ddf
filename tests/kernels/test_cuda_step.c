// test_cuda_step.c - the plan of the persistent decode step, and its exchange as threads of the host run it.
//
// Every part of every matrix is streamed exactly once, in order, to the block that owns the slot of its outputs. The
// tests also check which shapes are served. Words pass between threads by the kernel's protocol, for the thread
// sanitizer.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "tests/kernels/step_shape.h"

static const struct step_shape shapes[] = {
    {2, 4096, 32, 32, 128, 11008, 32000}, {2, 4096, 32, 8, 128, 14336, 128256},
    {3, 1536, 12, 2, 128, 8960, 151936},  {5, 64, 4, 1, 16, 96, 99},
    {2, 896, 14, 2, 64, 4864, 1000},
};
enum { SHAPES = sizeof shapes / sizeof *shapes };

static const enum dtype types[] = {DT_BF16, DT_F16, DT_I8, DT_F8E4M3, DT_I4, DT_I4};
static const enum dtype kvs[] = {DT_BF16, DT_F16, DT_I8, DT_F8E4M3};

// Matrices lie one behind the other, at addresses that are never read.
static unsigned char *place(size_t *at, size_t bytes)
{
    size_t here = *at;
    *at += (bytes + 255) / 256 * 256;
    return (unsigned char *)(uintptr_t)here;
}

static bool make_job(const struct step_shape *s, enum dtype type, int group, enum dtype kv,
                     int tokens, int blocks, struct cuda_layout layouts[STEP_PHASES],
                     struct cuda_step *job, const char **why)
{
    size_t at = 1 << 20;
    bool byte = kv == DT_I8 || kv == DT_F8E4M3;
    step_shape_layouts(s, type, group, layouts);
    *job = step_shape_job(s, layouts, kv, tokens, blocks);
    job->logits = (float *)(uintptr_t)4096;
    for (int p = 0; p < STEP_HEAD; p++)
        if (p != STEP_ATTEND)
            job->m[p].w = place(&at, cuda_layout_bytes(&layouts[p]));
    job->layer_stride = at - (1 << 20);
    at += job->layer_stride * (size_t)(s->layers - 1);
    job->m[STEP_HEAD].w = place(&at, cuda_layout_bytes(&layouts[STEP_HEAD]));
    job->kv_block_bytes =
        (size_t)4096 * (size_t)s->head_dim * (byte ? 1 : 2) + (byte ? 4096 * 4 : 0);
    job->kv_scales_offset = byte ? (size_t)4096 * (size_t)s->head_dim : 0;
    job->kv_layer_bytes = (size_t)(8 * s->kv_heads * 2) * job->kv_block_bytes;
    job->kv = place(&at, job->kv_layer_bytes * (size_t)s->layers);
    return cuda_step_plan(job, layouts, why);
}

// ---- what is streamed ----------------------------------------------------------------------------------

// How far each tile of the phase under way has come, and each (token, head)'s cached positions.
struct seen {
    size_t *tile;
    int *keys;
};

static void check_weights(const struct cuda_step *job, const struct step_stage *stage, int phase,
                          int layer, int block, struct seen *seen)
{
    const struct step_matrix *m = &job->m[phase];
    size_t before = phase == STEP_HEAD ? 0 : (size_t)layer * job->layer_stride;
    size_t offset = (size_t)(stage->from - m->w) - before, tile = offset / m->tile_bytes;
    assert_null(stage->values);
    assert_true(tile < (size_t)m->tiles);
    assert_int_equal(offset % m->tile_bytes, seen->tile[tile]); // in order, nothing twice
    seen->tile[tile] += stage->bytes;
    int item = (int)tile % m->items, start = step_start(job, phase, layer);
    assert_int_equal(step_slot(job, start, item) % job->blocks, block);
}

static void check_keys(const struct cuda_step *job, const struct step_stage *stage, int layer,
                       const int *sequences, struct seen *seen)
{
    size_t row = (size_t)step_key_bytes(job);
    size_t offset = (size_t)(stage->from - job->kv) - (size_t)layer * job->kv_layer_bytes;
    size_t block = offset / job->kv_block_bytes, first = offset % job->kv_block_bytes / row;
    int sequence = (int)(block / 2) / job->kv_heads, token = 0;
    while (sequences[token] != sequence)
        token++;
    int count = (int)(stage->bytes / row), kv = (int)(block / 2) % job->kv_heads;
    assert_int_equal(block % 2, 0);
    assert_int_equal(stage->values - stage->from, job->kv_block_bytes);
    assert_true(count <= job->key_stage);
    assert_int_equal(stage->scales != NULL, step_scaled(job));
    if (stage->scales) {
        assert_int_equal(stage->scales - stage->from,
                         job->kv_scales_offset + first * 4 - first * row);
        assert_true(stage->scales_bytes >= (unsigned)count * 4);
    }
    for (int p = (int)first; p < (int)first + count; p++)
        seen->keys[(token * job->kv_heads + kv) * 4096 + p]++;
}

// Of what a bulk copy takes: multiples of 16 bytes; and all within a stage.
static void check_copies(const struct cuda_step *job, const struct step_stage *stage)
{
    assert_int_equal((uintptr_t)stage->from % 16, 0);
    assert_int_equal((uintptr_t)stage->values % 16, 0);
    assert_int_equal((uintptr_t)stage->scales % 16, 0);
    assert_int_equal(stage->bytes % 16, 0);
    assert_true(stage->bytes > 0 && stage->bytes <= (unsigned)job->stage_bytes);
    if (stage->values) {
        int all = job->key_stage * (step_key_bytes(job) + (stage->scales ? 4 : 0));
        assert_true(2 * all <= job->stage_bytes);
        assert_int_equal(stage->total_bytes,
                         2 * (stage->bytes + (stage->scales ? stage->scales_bytes : 0)));
    } else {
        assert_int_equal(stage->total_bytes, stage->bytes);
    }
}

static void check_phase_done(const struct cuda_step *job, int phase, const int *positions,
                             struct seen *seen)
{
    if (phase != STEP_ATTEND) {
        for (int t = 0; t < job->m[phase].tiles; t++)
            assert_int_equal(seen->tile[t], job->m[phase].tile_bytes);
        memset(seen->tile, 0, (size_t)job->m[phase].tiles * sizeof *seen->tile);
        return;
    }
    int group = job->heads / job->kv_heads;
    for (int i = 0; i < job->tokens * job->kv_heads; i++)
        for (int p = 0; p < 4096; p++)
            assert_int_equal(seen->keys[i * 4096 + p],
                             p < positions[i / job->kv_heads] ? group : 0);
    memset(seen->keys, 0, (size_t)(job->tokens * job->kv_heads * 4096) * sizeof *seen->keys);
}

// All blocks side by side, phase by phase.
static void check_stream(const struct cuda_step *job)
{
    static const int sequences[] = {2, 0, 3, 1, 7, 5, 6, 4},
                     positions[] = {600, 0, 17, 2049, 1, 512, 64, 1000};
    size_t most = 1;
    for (int p = 0; p < STEP_PHASES; p++)
        most = (size_t)job->m[p].tiles > most ? (size_t)job->m[p].tiles : most;
    struct seen seen = {calloc(most, sizeof(size_t)),
                        calloc((size_t)(job->tokens * job->kv_heads) * 4096, sizeof(int))};
    struct step_cursor *cursor = calloc((size_t)job->blocks, sizeof *cursor);
    struct step_stage *next = calloc((size_t)job->blocks, sizeof *next);
    bool *more = calloc((size_t)job->blocks, sizeof *more);
    for (int b = 0; b < job->blocks; b++) {
        step_begin(job, b, &cursor[b]);
        more[b] = step_next(job, b, sequences, positions, &cursor[b], &next[b]);
    }
    for (int all = 0; all <= job->layers * STEP_LAYER_PHASES; all++) {
        int layer = all / STEP_LAYER_PHASES,
            phase = layer == job->layers ? STEP_HEAD : all % STEP_LAYER_PHASES;
        for (int b = 0; b < job->blocks; b++)
            while (more[b] && next[b].phase == all) {
                check_copies(job, &next[b]);
                if (phase == STEP_ATTEND)
                    check_keys(job, &next[b], layer, sequences, &seen);
                else
                    check_weights(job, &next[b], phase, layer, b, &seen);
                more[b] = step_next(job, b, sequences, positions, &cursor[b], &next[b]);
            }
        check_phase_done(job, phase, positions, &seen);
    }
    for (int b = 0; b < job->blocks; b++)
        assert_false(more[b]);
    free(seen.tile);
    free(seen.keys);
    free(cursor);
    free(next);
    free(more);
}

static void test_everything_is_streamed_once(void **state)
{
    static const int blocks[] = {132, 114, 7};
    (void)state;
    for (int i = 0; i < SHAPES * 6; i++) {
        struct cuda_layout layouts[STEP_PHASES] = {{0}};
        struct cuda_step job;
        const char *why;
        int tokens = 1 + (i + i / 8) % STEP_MOST_TOKENS;
        enum dtype type = types[i / SHAPES];
        if (!make_job(&shapes[i % SHAPES], type, i / SHAPES == 5 ? 32 : 128, kvs[i % 4], tokens,
                      blocks[i % 3], layouts, &job, &why) &&
            !make_job(&shapes[i % SHAPES], type, i / SHAPES == 5 ? 32 : 128, kvs[i % 4], 1,
                      blocks[i % 3], layouts, &job, &why))
            fail_msg("case %d is not served: %s", i, why);
        assert_true(job.shared_bytes <= STEP_SHARED_BYTES);
        check_stream(&job);
    }
}

// The wide form sums the first stages of all its tiles, then those that follow: the producer's order is the one in
// which step_product.cuh reads.
static void test_chunks_in_the_order_of_sums(void **state)
{
    static const int sequences[STEP_MOST_TOKENS] = {0}, positions[STEP_MOST_TOKENS] = {0};
    (void)state;
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        struct cuda_layout layouts[STEP_PHASES] = {{0}};
        struct cuda_step job;
        const char *why;
        const int group = i == 5 ? 32 : 128;
        if (!make_job(&shapes[0], types[i], group, DT_BF16, 8, 132, layouts, &job, &why)) {
            assert_int_equal(types[i], DT_F16);
            continue;
        }
        const struct step_matrix *m = &job.m[STEP_DOWN];
        assert_int_equal(job.m[STEP_QKV].chunks, 1);
        assert_int_equal(m->chunks, 3);
        for (int block = 0; block < job.blocks; block += 13) {
            struct step_cursor cursor;
            struct step_stage stage;
            const int first = step_first(&job, step_start(&job, STEP_DOWN, 0), block);
            step_begin(&job, block, &cursor);
            do
                assert_true(step_next(&job, block, sequences, positions, &cursor, &stage));
            while (stage.phase < STEP_DOWN);
            for (int chunk = 0; chunk < m->chunks; chunk++)
                for (int item = first; item < m->items; item += job.blocks)
                    for (int s = chunk * m->chunk_stages;
                         s < (chunk + 1) * m->chunk_stages && s < m->stages; s++) {
                        size_t at = s ? (size_t)m->header_bytes : 0;
                        at += (size_t)(s * STEP_WARPS * m->part_bytes);
                        assert_int_equal(stage.phase, STEP_DOWN);
                        assert_int_equal(stage.from - m->w, (size_t)item * m->tile_bytes + at);
                        assert_true(step_next(&job, block, sequences, positions, &cursor, &stage));
                    }
            assert_int_equal(stage.phase, STEP_LAYER_PHASES);
        }
    }
}

// Rows and sums of the wide form's phases do not overlap, lie at multiples of 16 bytes, and do not move with the number
// of tokens.
static void test_wide_rows_are_apart(void **state)
{
    (void)state;
    for (int i = 0; i < SHAPES; i++) {
        const struct step_shape *s = &shapes[i];
        const int cols[STEP_LAYER_PHASES] = {(s->heads + 2 * s->kv_heads) * s->head_dim,
                                             s->heads * s->head_dim, s->width, s->ff, s->width};
        struct cuda_layout layouts[STEP_PHASES] = {{0}};
        struct cuda_step job, five;
        const char *why;
        uint32_t end = 0;
        if (!make_job(s, DT_BF16, 0, DT_BF16, 8, 132, layouts, &job, &why))
            fail_msg("shape %d is not served: %s", i, why);
        for (int p = 0; p < STEP_LAYER_PHASES; p++) {
            const uint32_t words = (uint32_t)(8 * cols[p]), sums = words / CUDA_TILE_ROWS * 2;
            assert_true(job.slots[p] >= end);
            end = job.slots[p] + (p == STEP_QKV ? words : words / 2);
            assert_true(p == STEP_QKV || job.rests[p] >= end);
            end = p == STEP_QKV ? end : job.rests[p] + sums;
            assert_int_equal(job.slots[p] % 4 + job.rests[p] % 4, 0);
        }
        assert_true(job.residual >= end);
        assert_true(job.counters >= job.residual + (uint32_t)(8 * s->width));
        five = job;
        five.tokens = 5;
        assert_true(cuda_step_plan(&five, layouts, &why));
        assert_memory_equal(five.slots, job.slots, sizeof job.slots);
        assert_memory_equal(five.rests, job.rests, sizeof job.rests);
        assert_int_equal(five.splits, job.splits);
    }
}

// Every item of a phase has a slot of its own, its block's.
static void test_slots_are_apart(void **state)
{
    (void)state;
    struct cuda_layout layouts[STEP_PHASES] = {{0}};
    struct cuda_step job;
    const char *why;
    assert_true(make_job(&shapes[0], DT_BF16, 0, DT_BF16, 1, 132, layouts, &job, &why));
    for (int layer = 0; layer < 40; layer++)
        for (int p = 0; p < STEP_LAYER_PHASES; p++) {
            int items = job.m[p].items, start = step_start(&job, p, layer);
            int rounds = (items + job.blocks - 1) / job.blocks;
            char *taken = calloc((size_t)(rounds * job.blocks), 1);
            for (int b = 0; b < job.blocks; b++)
                for (int n = 0, i = step_first(&job, start, b); i < items; n++, i += job.blocks) {
                    assert_int_equal(step_slot(&job, start, i), n * job.blocks + b);
                    assert_false(taken[n * job.blocks + b]++);
                }
            free(taken);
            size_t words = p == STEP_ATTEND    ? (size_t)step_split_words(&job)
                           : p == STEP_GATE_UP ? CUDA_TILE_ROWS / 2
                                               : CUDA_TILE_ROWS;
            size_t end = job.slots[p] + (size_t)(rounds * job.blocks) * words;
            assert_true(end <= job.rests[p]);
            assert_true((p + 1 < STEP_LAYER_PHASES ? job.slots[p + 1] : job.counters) >= end);
        }
}

// Where a word of any phase was last written before it is read: less than a round of tags ago, also over launches. A
// block whose last round is not whole leaves its slot out.
static void test_no_tag_comes_again(void **state)
{
    static const struct step_shape s = {STEP_MOST_LAYERS, 64, 4, 1, 16, 96, 99};
    enum { LAUNCHES = 3, BLOCKS = 7 };
    (void)state;
    struct cuda_layout layouts[STEP_PHASES] = {{0}};
    struct cuda_step job;
    const char *why;
    int written[STEP_LAYER_PHASES][64] = {{0}},
        longest = 0; // epochs; zeros: the first launch finds tag 0
    assert_true(make_job(&s, DT_BF16, 0, DT_BF16, 1, BLOCKS, layouts, &job, &why));
    for (int epoch = 0; epoch < LAUNCHES * s.layers; epoch++)
        for (int p = 0; p < STEP_LAYER_PHASES; p++)
            for (int i = 0; i < job.m[p].items; i++) {
                int slot = step_slot(&job, step_start(&job, p, epoch % s.layers), i);
                assert_in_range(slot, 0, 63);
                int since = epoch + 1 - written[p][slot];
                longest = since > longest ? since : longest;
                written[p][slot] = epoch + 1;
            }
    assert_true(longest > 1); // slots are left out
    assert_true(longest < 256);
}

static void test_refusals(void **state)
{
    static const struct step_shape bad[] = {
        {2, 4096, 16, 16, 256, 11008, 100}, // wide heads
        {2, 960, 20, 20, 48, 2048, 100},    // 6 lanes a head
        {2, 4096, 32, 32, 128, 11000, 100}, // a gate's last tile is half an up's
        {2, 4096, 32, 32, 128, 65536, 100}, // no room for a ring
        {256, 64, 4, 1, 16, 96, 99},        // a tag would come again
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct cuda_layout layouts[STEP_PHASES] = {{0}};
        struct cuda_step job;
        const char *why = NULL;
        assert_false(make_job(&bad[i], DT_BF16, 0, DT_BF16, 1, 132, layouts, &job, &why));
        assert_non_null(why);
    }
    struct cuda_layout layouts[STEP_PHASES] = {{0}};
    struct cuda_step job;
    const char *why = NULL;
    static const struct step_shape large = {2, 8192, 64, 8, 128, 28672, 1000};
    assert_false(make_job(&shapes[0], DT_F16, 0, DT_BF16, 5, 132, layouts, &job, &why));
    assert_string_equal(why, "f16 weights with more than 4 tokens");
    assert_false(make_job(&large, DT_I4, 128, DT_BF16, 8, 132, layouts, &job, &why));
    assert_string_equal(why, "more than 4096 inputs with more than 4 tokens");
    assert_true(make_job(&shapes[0], DT_I4, 128, DT_BF16, 8, 128, layouts, &job, &why));
    assert_false(make_job(&shapes[0], DT_I4, 128, DT_BF16, 8, 127, layouts, &job, &why));
    assert_string_equal(why, "down of more than 4096 inputs with more than 4 tokens on so few "
                             "multiprocessors");
    assert_true(make_job(&shapes[0], DT_I4, 128, DT_BF16, 4, 127, layouts, &job, &why));
    assert_false(make_job(&shapes[0], DT_I4, 128, DT_BF16, 9, 132, layouts, &job, &why));
    assert_string_equal(why, "more tokens than 8");
}

// ---- words ---------------------------------------------------------------------------------------------

static void test_words(void **state)
{
    (void)state;
    static const float plain[] = {0, 1, -1, 3.5f, 1e30f, -1e-30f, INFINITY, -INFINITY};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        uint32_t word = step_word(plain[i], 0xab);
        float got = step_value(word);
        assert_true(isinf(plain[i]) ? got == plain[i]
                                    : fabsf(got - plain[i]) <= fabsf(plain[i]) * 0x1p-16f);
        assert_true(step_fresh(word, 0xab));
        assert_false(step_fresh(word, 0xac));
    }
    assert_true(isnan(step_value(step_word(NAN, 1))));
    assert_true(isnan(step_value(step_word(-NAN, 255))));
    // To nearest, ties to even; what is left over is exact in a second word.
    assert_true(step_value(step_word(1 + 0x1p-16f, 0)) == 1);
    assert_true(step_value(step_word(1 + 0x1p-16f + 0x1p-20f, 0)) == 1 + 0x1p-15f);
    for (uint32_t i = 1; i < 100000; i += 7) {
        float x = (float)i * 1.2345678f + 1e-3f, high = step_value(step_word(x, 0));
        assert_true(high + step_value(step_word(x - high, 3)) == x);
    }
}

static void test_quotients(void **state)
{
    (void)state;
    for (int d = 1; d <= 256; d++)
        for (int n = 0; n < 1 << 20; n += n < 3000 ? 1 : 997)
            assert_int_equal(step_quotient(n, step_per(d)), n / d);
}

static void pack(const float v[4], uint32_t tag, uint32_t word[2])
{
    float largest = 0;
    for (int i = 0; i < 4; i++)
        largest = fabsf(v[i]) > largest || isnan(v[i]) ? fabsf(v[i]) : largest;
    int e = step_exponent(largest);
    word[0] = tag | step_mantissa(v[0], e) << 8 | step_mantissa(v[1], e) << 20;
    word[1] = (uint32_t)e | step_mantissa(v[2], e) << 8 | step_mantissa(v[3], e) << 20;
}

// Four values share the exponent of the largest: each is within 2^-11 of it.
static void test_packed_words(void **state)
{
    (void)state;
    static const float rows[][4] = {
        {0, 0, 0, 0},          {1, -1, 0.5f, -0.25f},        {1.9999f, -1.9999f, 1e-3f, 0},
        {3e38f, -3e38f, 1, 0}, {1e-30f, 2e-30f, 0, -1e-31f}, {1, 1000, -1000, 7},
    };
    uint32_t word[2];
    float got[4];
    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        float largest = 0;
        pack(rows[r], 0xab, word);
        assert_true(step_fresh(word[0], 0xab));
        step_unpack(word[0], word[1], got);
        for (int i = 0; i < 4; i++)
            largest = fmaxf(largest, fabsf(rows[r][i]));
        for (int i = 0; i < 4; i++)
            assert_true(fabsf(got[i] - rows[r][i]) <= largest * 0x1p-11f);
    }
    const float bad[][4] = {{1, NAN, 0, 0}, {INFINITY, 0, 0, 0}, {0, 0, -INFINITY, 1}};
    for (size_t r = 0; r < 3; r++) {
        pack(bad[r], 1, word);
        step_unpack(word[0], word[1], got);
        for (int i = 0; i < 4; i++)
            assert_true(isnan(got[i]));
    }
    const float faint[4] = {0x1p-120f, -0x1p-140f, 0, 0x1p-118f};
    pack(faint, 1, word);
    step_unpack(word[0], word[1], got);
    for (int i = 0; i < 4; i++)
        assert_true(got[i] == 0);
}

// The codes of packed words, times their unit, are the values rounded down. The tag and the exponent, which share words
// with values, do not change them.
static void test_codes_of_packed_words(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 20000; i++) {
        const int shift = (int)(i % 23);
        float v[4], got[4];
        uint32_t word[2];
        int code[4];
        for (uint32_t k = 0; k < 4; k++)
            v[k] = (float)((int)((i * 4 + k) * 2654435761u >> 16) - 32768) * 0x1p-10f;
        pack(v, i & 0xff, word);
        step_unpack(word[0], word[1], got);
        const int exponent = (int)(word[1] & 0xff) + shift;
        step_codes(word[0], word[1], exponent, code);
        for (int k = 0; k < 4; k++) {
            const double whole = (double)got[k] * ldexp(1, 140 - exponent);
            assert_int_equal(code[k], (int)floor(whole));
        }
    }
}

// ---- the exchange on threads ---------------------------------------------------------------------------

enum { THREADS = 5, ITEMS = 12, LAYERS = 400, PHASES = 3 };

// RIDGE_STEPS: how many phases.
static int exchange_layers(void)
{
    const char *steps = getenv("RIDGE_STEPS");
    return steps ? atoi(steps) / PHASES : LAYERS;
}

struct exchange {
    _Atomic uint32_t word[PHASES][(ITEMS + THREADS) / THREADS * THREADS];
    struct cuda_step job;
    float result[ITEMS];
};
struct member {
    struct exchange *exchange;
    int block;
};

// The values of a phase from all of the previous phase: as a product's outputs depend on all its inputs.
static float mixed(const float *in, int item, int phase)
{
    float sum = 0;
    for (int i = 0; i < ITEMS; i++)
        sum += in[i] * (float)((i * 7 + item * 3 + phase) % 5 - 2);
    return step_value(step_word(sum / 8 + (float)item, 0));
}

static float take(struct exchange *x, int phase, int start, int item, uint32_t tag)
{
    _Atomic uint32_t *at = &x->word[phase][step_slot(&x->job, start, item)];
    uint32_t word;
    while (!step_fresh(word = atomic_load_explicit(at, memory_order_relaxed), tag))
        sched_yield();
    return step_value(word);
}

static void *run_member(void *arg)
{
    struct member *m = arg;
    struct exchange *x = m->exchange;
    float in[ITEMS];
    for (int i = 0; i < ITEMS; i++)
        in[i] = (float)i;
    for (int layer = 0, layers = exchange_layers(); layer < layers; layer++)
        for (int phase = 0; phase < PHASES; phase++) {
            int start = (layer * 2 + phase) % THREADS;
            uint32_t tag = step_tag(250, layer); // tags wrap
            for (int i = step_first(&x->job, start, m->block); i < ITEMS; i += THREADS)
                atomic_store_explicit(&x->word[phase][step_slot(&x->job, start, i)],
                                      step_word(mixed(in, i, phase), tag), memory_order_relaxed);
            for (int i = 0; i < ITEMS; i++)
                in[i] = take(x, phase, start, i, tag);
        }
    if (m->block == 0)
        memcpy(x->result, in, sizeof in);
    return NULL;
}

static void test_exchange_on_threads(void **state)
{
    (void)state;
    struct exchange *x = calloc(1, sizeof *x);
    struct member member[THREADS];
    pthread_t thread[THREADS];
    float in[ITEMS], out[ITEMS];
    x->job.blocks = THREADS;
    x->job.per_blocks = step_per(THREADS);
    for (int b = 0; b < THREADS; b++) {
        member[b] = (struct member){x, b};
        assert_int_equal(pthread_create(&thread[b], NULL, run_member, &member[b]), 0);
    }
    for (int b = 0; b < THREADS; b++)
        pthread_join(thread[b], NULL);
    for (int i = 0; i < ITEMS; i++)
        in[i] = (float)i;
    for (int round = 0; round < exchange_layers() * PHASES; round++) {
        for (int i = 0; i < ITEMS; i++)
            out[i] = mixed(in, i, round % PHASES);
        memcpy(in, out, sizeof in);
    }
    assert_memory_equal(x->result, in, sizeof in);
    free(x);
}

// ---- plain rows on threads -----------------------------------------------------------------------------

// The wide form: plain stores, then one addition with release for each block; a wait with acquire, then plain loads.
struct plain_exchange {
    float row[PHASES][ITEMS], residual[ITEMS];
    atomic_uint arrivals;
    struct cuda_step job;
    float result[ITEMS];
};
struct plain_member {
    struct plain_exchange *exchange;
    int block;
};

static void *run_plain_member(void *arg)
{
    struct plain_member *m = arg;
    struct plain_exchange *x = m->exchange;
    float in[ITEMS];
    unsigned expected = 0;
    for (int i = 0; i < ITEMS; i++)
        in[i] = (float)i;
    for (int layer = 0, layers = exchange_layers(); layer < layers; layer++)
        for (int phase = 0; phase < PHASES; phase++) {
            int start = (layer * 2 + phase) % THREADS;
            for (int i = step_first(&x->job, start, m->block); i < ITEMS; i += THREADS) {
                if (phase) // another block's item in another phase
                    x->residual[i] = fmodf(x->residual[i] + in[i], 64);
                x->row[phase][i] = mixed(in, i, phase) + x->residual[i];
            }
            atomic_fetch_add_explicit(&x->arrivals, 1, memory_order_release);
            expected += THREADS;
            while ((int)(atomic_load_explicit(&x->arrivals, memory_order_acquire) - expected) < 0)
                sched_yield();
            memcpy(in, x->row[phase], sizeof in);
            for (int i = 0; i < ITEMS; i++)
                in[i] = fmodf(in[i], 64);
        }
    if (m->block == 0)
        memcpy(x->result, in, sizeof in);
    return NULL;
}

static void test_plain_rows_on_threads(void **state)
{
    (void)state;
    struct plain_exchange *x = calloc(1, sizeof *x);
    struct plain_member member[THREADS];
    pthread_t thread[THREADS];
    float in[ITEMS], out[ITEMS], residual[ITEMS] = {0};
    x->job.blocks = THREADS;
    x->job.per_blocks = step_per(THREADS);
    for (int b = 0; b < THREADS; b++) {
        member[b] = (struct plain_member){x, b};
        assert_int_equal(pthread_create(&thread[b], NULL, run_plain_member, &member[b]), 0);
    }
    for (int b = 0; b < THREADS; b++)
        pthread_join(thread[b], NULL);
    for (int i = 0; i < ITEMS; i++)
        in[i] = (float)i;
    for (int round = 0; round < exchange_layers() * PHASES; round++) {
        for (int i = 0; i < ITEMS; i++) {
            if (round % PHASES)
                residual[i] = fmodf(residual[i] + in[i], 64);
            out[i] = fmodf(mixed(in, i, round % PHASES) + residual[i], 64);
        }
        memcpy(in, out, sizeof in);
    }
    assert_memory_equal(x->result, in, sizeof in);
    free(x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_everything_is_streamed_once),
        cmocka_unit_test(test_chunks_in_the_order_of_sums),
        cmocka_unit_test(test_wide_rows_are_apart),
        cmocka_unit_test(test_plain_rows_on_threads),
        cmocka_unit_test(test_slots_are_apart),
        cmocka_unit_test(test_no_tag_comes_again),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_words),
        cmocka_unit_test(test_quotients),
        cmocka_unit_test(test_packed_words),
        cmocka_unit_test(test_codes_of_packed_words),
        cmocka_unit_test(test_exchange_on_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
