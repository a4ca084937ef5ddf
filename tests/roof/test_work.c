// test_work.c - the analytic model against figures worked out by hand, and against what the engine reports
// of the steps it really ran.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/roof/roof.h"

// ---- by hand --------------------------------------------------------------------------------------------

// Llama 2 7B. A layer's matrices: 4 * 4096^2 + 3 * 4096 * 11008 = 202 375 168 parameters.
static const struct model_config LLAMA_2_7B = {.layers = 32,
                                               .width = 4096,
                                               .heads = 32,
                                               .kv_heads = 32,
                                               .head_dim = 128,
                                               .ff = 11008,
                                               .vocab = 32000,
                                               .max_positions = 4096};
static const double LAYER_PARAMETERS = 202375168.0;
static const double KV_POSITION_BYTES = 524288.0; // 2 * 32 layers * 4096 * 2 bytes

static void llama_2_7b_decode(void **state)
{
    (void)state;
    struct work_input in = {.config = &LLAMA_2_7B,
                            .scheme = scheme_find("bf16"),
                            .kv = DT_BF16,
                            .batch = 1,
                            .prompt = 384,
                            .gen = 128,
                            .cache_bytes = 32 << 20};
    struct phase_work w;
    work_decode_step(&in, &w);
    // 127 steps, over 385 to 511 positions: 448 in the mean.
    assert_float_equal(w.op[OPC_QKV].weight_bytes, 32 * 3 * 4096.0 * 4096 * 2, 0);
    assert_float_equal(w.op[OPC_OUTPUT].weight_bytes, 32 * 4096.0 * 4096 * 2, 0);
    assert_float_equal(w.op[OPC_GATE_UP].weight_bytes, 32 * 2 * 11008.0 * 4096 * 2, 0);
    assert_float_equal(w.op[OPC_DOWN].weight_bytes, 32 * 11008.0 * 4096 * 2, 0);
    assert_float_equal(w.op[OPC_HEAD].weight_bytes, 262144000.0, 0);
    assert_float_equal(w.op[OPC_REST].weight_bytes, 65 * 4096.0 * 4 + 4096 * 2, 1e-6);
    assert_float_equal(w.total.weight_bytes,
                       32 * LAYER_PARAMETERS * 2 + 262144000.0 + 1064960 + 8192, 1);
    assert_float_equal(w.op[OPC_ATTENTION].kv_read_bytes, 448 * KV_POSITION_BYTES, 1e-3);
    assert_float_equal(w.op[OPC_ATTENTION].kv_write_bytes, KV_POSITION_BYTES, 1e-6);
    assert_float_equal(w.op[OPC_ATTENTION].flop, 4 * 32 * 4096.0 * 448, 1e-3);
    assert_float_equal(w.total.flop,
                       2 * 32 * LAYER_PARAMETERS + 262144000.0 + 4 * 32 * 4096.0 * 448, 10);
    // 32 MiB keep what no product separates: q for attention, and its output for the cast. All else is read again.
    // Written in a layer: 16384 (two normed inputs), 2 * 49152 (q, k, v; rotated), 16384 + 8192 (attention),
    // 2 * 16384 (x), 88064 + 22016 (gate and up).
    assert_float_equal(w.op[OPC_REST].activation_bytes, 32 * (2 * (16384 + 8192.0) + 2 * 49152), 0);
    assert_float_equal(w.op[OPC_ATTENTION].activation_bytes, 32 * (16384 + 8192.0), 0);
    assert_float_equal(w.total.activation_bytes, 32 * (282112 + 249344.0), 0);
    assert_int_equal(w.datapath[OPC_DOWN], DT_BF16);
    assert_int_equal(w.datapath[OPC_ATTENTION], DT_F32);
    // 13.2 GB of weights and 511 positions of KV, met again at each step
    assert_float_equal(w.working_set_bytes, w.total.weight_bytes + 511 * KV_POSITION_BYTES, 1);
}

static void llama_2_7b_prefill(void **state)
{
    (void)state;
    struct work_input in = {.config = &LLAMA_2_7B,
                            .scheme = scheme_find("bf16"),
                            .kv = DT_BF16,
                            .batch = 1,
                            .prompt = 512,
                            .chunk = 256,
                            .cache_bytes = 8 << 20};
    struct phase_work w;
    work_prefill(&in, &w);
    // Two chunks read the weights twice; the head runs once, for one position.
    assert_float_equal(w.op[OPC_DOWN].weight_bytes, 2 * 32 * 11008.0 * 4096 * 2, 0);
    assert_float_equal(w.op[OPC_HEAD].weight_bytes, 262144000.0, 0);
    assert_float_equal(w.op[OPC_HEAD].flop, 262144000.0, 0);
    assert_float_equal(w.op[OPC_ATTENTION].kv_read_bytes, (256 + 512) * KV_POSITION_BYTES, 0);
    assert_float_equal(w.op[OPC_ATTENTION].kv_write_bytes, 512 * KV_POSITION_BYTES, 0);
    // causal: 512 * 513 / 2 pairs
    assert_float_equal(w.op[OPC_ATTENTION].flop, 4 * 32 * 4096.0 * 131328, 0);
    assert_float_equal(w.total.flop,
                       512 * 2 * 32 * LAYER_PARAMETERS + 262144000.0 + 4 * 32 * 4096.0 * 131328,
                       1e3);
    // A chunk's rows exceed 8 MiB in every operation, so all of them are read and written.
    const double rows = 2 * 32 * 256; // of both chunks and all layers
    assert_float_equal(w.op[OPC_QKV].activation_bytes, rows * (8192 + 49152.0), 0);
    assert_float_equal(w.op[OPC_ATTENTION].activation_bytes, rows * (3 * 16384 + 8192.0), 0);
    assert_float_equal(w.op[OPC_OUTPUT].activation_bytes, rows * (8192 + 2 * 16384.0), 0);
    assert_float_equal(w.op[OPC_GATE_UP].activation_bytes, rows * (8192 + 2 * 88064 + 22016.0), 0);
    assert_float_equal(w.op[OPC_DOWN].activation_bytes, rows * (22016 + 2 * 16384.0), 0);
    assert_float_equal(w.op[OPC_REST].activation_bytes, rows * (2 * 24576 + 2 * 49152.0), 0);
}

static struct phase_work prefill_of(const struct model_config *c, const char *scheme, int tokens,
                                    double cache_bytes)
{
    const struct work_input in = {.config = c,
                                  .scheme = scheme_find(scheme),
                                  .kv = DT_BF16,
                                  .batch = 1,
                                  .prompt = tokens,
                                  .chunk = tokens,
                                  .cache_bytes = cache_bytes};
    struct phase_work w;
    work_prefill(&in, &w);
    return w;
}

// Rows are read again from the cache if it holds all that was touched since. In int8, 1024 tokens' output projection
// and the norm behind it touch 42.0 MB; attention and the cast, and the cast and that projection, 54.5 MB each.
static void caches_keep_what_was_just_written(void **state)
{
    (void)state;
    const double rows = 32 * 1024;
    struct phase_work w = prefill_of(&LLAMA_2_7B, "int8", 1024, 50 << 20);
    const double outside = 1024 * 2 * 16384.0; // the embedding's rows: 33.5 MB
    assert_float_equal(w.op[OPC_OUTPUT].activation_bytes, rows * (4096 + 2 * 16384.0), 0);
    assert_float_equal(w.op[OPC_ATTENTION].activation_bytes, rows * (3 * 16384 + 4096.0), 0);
    assert_float_equal(w.op[OPC_REST].activation_bytes, rows * (16384 + 2 * 4096 + 2 * 49152.0), 0);
    w = prefill_of(&LLAMA_2_7B, "int8", 1024, 60 << 20);
    assert_float_equal(w.op[OPC_OUTPUT].activation_bytes, rows * 2 * 16384.0, 0);
    assert_float_equal(w.op[OPC_ATTENTION].activation_bytes, rows * (2 * 16384 + 4096.0), 0);
    w = prefill_of(&LLAMA_2_7B, "int8", 1024, 40 << 20); // 41.9 MB
    assert_float_equal(w.op[OPC_REST].activation_bytes, rows * (2 * (16384 + 4096) + 2 * 49152.0),
                       0);
    w = prefill_of(&LLAMA_2_7B, "int8", 1024, 33e6); // the embedding leaves a cache of 33.0 MB
    assert_float_equal(w.op[OPC_REST].activation_bytes,
                       rows * (2 * (16384 + 4096) + 2 * 49152.0) + outside, 0);
    // 283 MB of weights and rows, and the keys and values: all fit.
    w = prefill_of(&LLAMA_2_7B, "int8", 1024, 1e9);
    assert_float_equal(w.total.activation_bytes, 0, 0);
}

// Norms of their own need a buffer for the branch: product, norm in place, sum. Without a gate half the sums are made.
static void blocks_of_other_architectures(void **state)
{
    (void)state;
    struct model_config c = LLAMA_2_7B;
    const double rows = 32 * 256;
    c.post_norms = true;
    struct phase_work w = prefill_of(&c, "bf16", 256, 1);
    const double outside = 256 * 2 * 16384.0 + 2 * 16384; // embedding, and the last row's norm
    assert_float_equal(w.op[OPC_OUTPUT].activation_bytes, rows * (8192 + 16384.0), 0);
    assert_float_equal(w.op[OPC_DOWN].activation_bytes, rows * (22016 + 16384.0), 0);
    assert_float_equal(w.op[OPC_REST].activation_bytes,
                       rows * (2 * 24576 + 2 * 49152 + 2 * 5 * 16384.0) + outside, 0);
    c = LLAMA_2_7B;
    c.plain_ff = true;
    w = prefill_of(&c, "bf16", 256, 1);
    assert_float_equal(w.op[OPC_GATE_UP].activation_bytes, rows * (8192 + 2 * 44032 + 22016.0), 0);
}

// Of experts, inputs and outputs count as before; the attention's half follows the rule.
static void experts_keep_their_activations(void **state)
{
    (void)state;
    struct model_config c = LLAMA_2_7B;
    c.experts = 8;
    c.experts_used = 2;
    const double rows = 32 * 256;
    struct phase_work w = prefill_of(&c, "bf16", 256, 8 << 20);
    assert_float_equal(w.op[OPC_DOWN].activation_bytes, rows * 2 * (22016 + 16384.0), 0);
    assert_float_equal(w.op[OPC_OUTPUT].activation_bytes, rows * (8192 + 2 * 16384.0), 0);
}

static void windows_bound_attention(void **state)
{
    (void)state;
    struct model_config c = LLAMA_2_7B;
    c.layers = 1;
    c.window = 100;
    struct work_input in = {.config = &c,
                            .scheme = scheme_find("bf16"),
                            .kv = DT_BF16,
                            .batch = 3,
                            .prompt = 1000,
                            .gen = 11};
    struct phase_work w;
    double position = 2 * 4096.0 * 2;
    work_decode_step(&in, &w);
    assert_float_equal(w.op[OPC_ATTENTION].kv_read_bytes, 3 * 100 * position, 1e-3);
    assert_float_equal(w.op[OPC_ATTENTION].flop, 3 * 4 * 4096.0 * 100, 1e-3);
    // One chunk: the first 100 tokens see 1 to 100 positions, the other 900 see 100 each.
    in.batch = 1;
    in.chunk = 1000;
    work_prefill(&in, &w);
    assert_float_equal(w.op[OPC_ATTENTION].flop, 4 * 4096.0 * (5050 + 900 * 100), 0);
    assert_float_equal(w.op[OPC_ATTENTION].kv_read_bytes, 1000 * position, 0);
    in.chunk = 500; // the second chunk reaches 99 positions back
    work_prefill(&in, &w);
    assert_float_equal(w.op[OPC_ATTENTION].flop, 4 * 4096.0 * (5050 + 900 * 100), 0);
    assert_float_equal(w.op[OPC_ATTENTION].kv_read_bytes, (500 + 599) * position, 0);
}

// A layer with a window comes back to no more than the window, a layer without one to all positions.
static void windows_bound_the_working_set(void **state)
{
    (void)state;
    struct model_config c = LLAMA_2_7B;
    struct work_input in = {.config = &c,
                            .scheme = scheme_find("bf16"),
                            .kv = DT_BF16,
                            .batch = 3,
                            .prompt = 90,
                            .gen = 11};
    struct phase_work w;
    double position = 2 * 4096.0 * 2, weights = 0; // of one layer's keys and values, bf16
    c.layers = 3;
    work_decode_step(&in, &w);
    weights = w.working_set_bytes - 3 * 3 * 100 * position;
    c.window = 100; // what the last step sees, exactly
    work_decode_step(&in, &w);
    assert_float_equal(w.working_set_bytes, weights + 3 * 3 * 100 * position, 0);
    c.window = 99;
    work_decode_step(&in, &w);
    assert_float_equal(w.working_set_bytes, weights + 3 * 3 * 99 * position, 0);
    c.full_layers[0] = 1 << 1; // the second layer sees all
    work_decode_step(&in, &w);
    assert_float_equal(w.working_set_bytes, weights + 3 * (2 * 99 + 100) * position, 0);
    work_prefill(&in, &w);
    assert_float_equal(w.working_set_bytes, weights + 3 * (2 * 90 + 90) * position, 0);
}

// Query heads of a group share the keys and values of one head.
static void grouped_heads_share_the_working_set(void **state)
{
    (void)state;
    struct model_config c = LLAMA_2_7B;
    struct work_input in = {
        .config = &c, .scheme = scheme_find("bf16"), .kv = DT_BF16, .batch = 3, .prompt = 90};
    struct phase_work at_90, at_100;
    c.kv_heads = 8;
    work_prefill(&in, &at_90);
    in.prompt = 100;
    work_prefill(&in, &at_100);
    assert_float_equal(at_100.working_set_bytes - at_90.working_set_bytes,
                       3 * 10 * KV_POSITION_BYTES / 4, 0);
}

static void passes_read_weights_again(void **state)
{
    (void)state;
    struct work_input in = {.config = &LLAMA_2_7B,
                            .scheme = scheme_find("bf16"),
                            .kv = DT_BF16,
                            .batch = 4,
                            .prompt = 512,
                            .chunk = 512};
    struct phase_work w, one;
    work_prefill(&in, &w);
    in.batch = 1;
    work_prefill(&in, &one);
    // 2048 tokens in two passes
    assert_float_equal(w.op[OPC_DOWN].weight_bytes, 2 * one.op[OPC_DOWN].weight_bytes, 0);
    assert_float_equal(w.op[OPC_DOWN].flop, 4 * one.op[OPC_DOWN].flop, 0);
    assert_float_equal(w.op[OPC_ATTENTION].kv_read_bytes, 4 * one.op[OPC_ATTENTION].kv_read_bytes,
                       0);
}

// Mixtral 8x7B: of 8 experts 2 a token. Two tokens touch 3.5 of them: 2, and of the other two choices each
// is a new one six times in eight.
static void experts_touched_are_read(void **state)
{
    (void)state;
    struct model_config c = {.layers = 32,
                             .width = 4096,
                             .heads = 32,
                             .kv_heads = 8,
                             .head_dim = 128,
                             .ff = 14336,
                             .vocab = 32000,
                             .max_positions = 32768,
                             .experts = 8,
                             .experts_used = 2};
    struct work_input in = {.config = &c,
                            .scheme = scheme_find("bf16"),
                            .kv = DT_BF16,
                            .batch = 1,
                            .prompt = 256,
                            .gen = 2};
    struct phase_work w;
    double expert = 4096.0 * 14336 * 2,
           router = 16 * 4096.0 * 4; // a panel of 16 rows holds 8 experts
    work_decode_step(&in, &w);
    assert_float_equal(w.op[OPC_DOWN].weight_bytes, 32 * 2 * expert, 0);
    assert_float_equal(w.op[OPC_GATE_UP].weight_bytes, 32 * (2 * 2 * expert + router), 0);
    assert_float_equal(w.op[OPC_DOWN].flop, 32 * 2 * expert, 0);
    assert_true(w.working_set_bytes > 32 * 3 * 8 * expert); // all of them, over the steps
    in.batch = 2;
    work_decode_step(&in, &w);
    assert_float_equal(w.op[OPC_DOWN].weight_bytes, 32 * 3.5 * expert, 1);
    assert_float_equal(w.op[OPC_DOWN].flop, 2 * 32 * 2 * expert, 0);
    in.chunk = 256; // 512 tokens touch all experts
    work_prefill(&in, &w);
    assert_float_equal(w.op[OPC_DOWN].weight_bytes, 32 * 8 * expert, 1);
    assert_float_equal(w.op[OPC_DOWN].flop, 512 * 32 * 2 * expert, 1);
}

// ---- against the engine --------------------------------------------------------------------------------

struct seen {
    struct work op[PHASE_COUNT][OPC_COUNT + 1]; // and the end of a step
};

static void add_event(void *user, const struct engine_event *event)
{
    struct work *work = &((struct seen *)user)->op[event->phase][event->op];
    work->weight_bytes += (double)event->weight_bytes;
    work->kv_read_bytes += (double)event->kv_read_bytes;
    work->kv_write_bytes += (double)event->kv_write_bytes;
    work->activation_bytes += (double)event->activation_bytes;
    work->flop += (double)event->flop;
}

static void expect_same(const char *what, enum op_class op, const struct work *model,
                        const struct work *engine, double steps)
{
    const double pairs[][2] = {{model->weight_bytes, engine->weight_bytes},
                               {model->kv_read_bytes, engine->kv_read_bytes},
                               {model->kv_write_bytes, engine->kv_write_bytes},
                               {model->activation_bytes, engine->activation_bytes},
                               {model->flop, engine->flop}};
    static const char *const names[] = {"weights", "KV read", "KV write", "activations", "FLOP"};
    for (int i = 0; i < 5; i++)
        if (fabs(pairs[i][0] * steps - pairs[i][1]) > 1e-9 * pairs[i][1] + 1e-3)
            fail_msg("%s, %s, %s: the model says %.0f, the engine %.0f", what, op_class_name(op),
                     names[i], pairs[i][0] * steps, pairs[i][1]);
}

// Runs prefill and decode as the worker does.
static void run_engine(struct context *ctx, const struct work_input *in)
{
    struct error err = {0};
    struct span spans[8];
    struct step_result result;
    int32_t *tokens = calloc((size_t)in->prompt, sizeof *tokens);
    assert_non_null(tokens);
    for (int i = 0; i < in->prompt; i++)
        tokens[i] = i % 50;
    for (int at = 0; at < in->prompt; at += in->chunk) {
        int count = in->prompt - at < in->chunk ? in->prompt - at : in->chunk;
        for (int s = 0; s < in->batch; s++)
            spans[s] = (struct span){s, count, tokens + at,
                                     at + count == in->prompt ? LOGITS_LAST : LOGITS_NONE};
        assert_int_equal(context_step(ctx, spans, in->batch, PHASE_PREFILL, &result, &err), OK);
    }
    for (int i = 0; i < in->gen - 1; i++) {
        for (int s = 0; s < in->batch; s++)
            spans[s] = (struct span){s, 1, tokens + i % in->prompt, LOGITS_LAST};
        assert_int_equal(context_step(ctx, spans, in->batch, PHASE_DECODE, &result, &err), OK);
    }
    free(tokens);
}

static struct device_target host(void)
{
    return (struct device_target){.where = DEVICE_HOST, .isa = device_isa_host()};
}

// Runs a cell and leaves what the engine reported in *seen and the cell in *in.
struct run {
    struct checkpoint *ck;
    struct model *model;
    struct context *ctx;
    struct device *device;
    struct seen seen;
    struct work_input in;
    struct scheme scheme;
};

// head_word: NULL takes the scheme's own.
static void run_cell(struct run *r, const char *path, const char *name, const char *head_word,
                     enum dtype kv, int batch, int prompt, int chunk, int gen)
{
    enum dtype head = scheme_find(name)->head;
    struct error err = {0};
    *r = (struct run){0};
    if (head_word)
        assert_true(storage_parse(head_word, &head));
    r->scheme = scheme_resolve(scheme_find(name), head, host());
    struct device_options one = {.threads = 1, .isa = ISA_ALL};
    if (device_open(DEVICE_DEFAULT, &one, &r->device, &err) != OK ||
        checkpoint_open(path, &r->ck, &err) != OK)
        fail_msg("%s", err.message);
    struct engine_options options = {.device = r->device, .scheme = &r->scheme};
    struct context_options shape = {
        .batch = batch, .positions = prompt + gen, .chunk = chunk, .kv = kv};
    if (model_load(r->ck, &options, NULL, NULL, &r->model, &err) != OK ||
        context_create(r->model, &shape, &r->ctx, &err) != OK)
        fail_msg("%s: %s", path, err.message);
    struct engine_observer observer = {.on_event = add_event, .user = &r->seen};
    context_observe(r->ctx, &observer);
    r->in = (struct work_input){.config = model_config(r->model),
                                .scheme = options.scheme,
                                .kv = kv,
                                .batch = batch,
                                .prompt = prompt,
                                .chunk = chunk,
                                .gen = gen};
    run_engine(r->ctx, &r->in);
}

static void run_fini(struct run *r)
{
    context_destroy(r->ctx);
    model_destroy(r->model);
    checkpoint_destroy(r->ck);
    device_close(r->device);
}

static void compare_headed(const char *path, const char *name, const char *head_word, enum dtype kv,
                           int batch, int prompt, int chunk, int gen)
{
    struct run r;
    struct phase_work prefill, decode;
    run_cell(&r, path, name, head_word, kv, batch, prompt, chunk, gen);
    work_prefill(&r.in, &prefill);
    work_decode_step(&r.in, &decode);
    for (int op = 0; op < OPC_COUNT; op++) {
        expect_same(path, (enum op_class)op, &prefill.op[op], &r.seen.op[PHASE_PREFILL][op], 1);
        expect_same(path, (enum op_class)op, &decode.op[op], &r.seen.op[PHASE_DECODE][op], gen - 1);
    }
    run_fini(&r);
}

static void expect_experts_between(const char *path, int batch)
{
    struct run r;
    struct phase_work prefill, least, most;
    run_cell(&r, path, "f32", NULL, DT_F32, batch, 20, 20, 2);
    work_prefill(&r.in, &prefill);
    struct model_config one = *r.in.config, all = *r.in.config;
    r.in.config = &all;
    all.experts_used = all.experts;
    work_prefill(&r.in, &most);
    r.in.config = &one;
    one.experts = one.experts_used; // as if every token went to the same ones
    work_prefill(&r.in, &least);
    const struct work *seen = &r.seen.op[PHASE_PREFILL][OPC_DOWN];
    assert_float_equal(seen->flop, prefill.op[OPC_DOWN].flop, 0);
    assert_float_equal(seen->activation_bytes, prefill.op[OPC_DOWN].activation_bytes, 0);
    assert_true(seen->weight_bytes > least.op[OPC_DOWN].weight_bytes);
    assert_true(seen->weight_bytes <= most.op[OPC_DOWN].weight_bytes);
    run_fini(&r);
}

static void compare(const char *path, const char *scheme, enum dtype kv, int batch, int prompt,
                    int chunk, int gen)
{
    compare_headed(path, scheme, NULL, kv, batch, prompt, chunk, gen);
}

static void engine_reports_the_same_of_codes(void **state)
{
    (void)state;
    compare("tests/golden/schemes", "int8", DT_I8, 2, 21, 8, 5);
    compare("tests/golden/schemes", "int4-rtn", DT_F8E4M3, 1, 9, 9, 3);
    compare("tests/golden/schemes", "fp8", DT_BF16, 3, 12, 5, 4);
    compare("tests/golden/q8_0/model.gguf", "q8_0", DT_BF16, 2, 12, 5, 4);
    compare("tests/golden/schemes", "fp8-w8a8", DT_BF16, 3, 12, 5, 4);
    compare_headed("tests/golden/schemes", "int8", "int4", DT_I8, 2, 6, 6, 3); // its own embedding
    compare_headed("tests/golden/models/qwen2-tied", "fp8", "int4", DT_I8, 2, 6, 6,
                   3); // the head's
    compare_headed("tests/golden/models/qwen2-tied", "int8", "fp8", DT_F16, 2, 6, 4, 3);
}

// int4: 0.5 + 2.5 / 128 bytes a weight, with the scales of a panel filled up to whole lines; q8_0: 8.5 bits; int8 and
// fp8: a byte, and a scale a row.
static void llama_2_7b_in_codes(void **state)
{
    (void)state;
    struct work_input in = {
        .config = &LLAMA_2_7B, .kv = DT_I8, .batch = 1, .prompt = 384, .gen = 128};
    struct phase_work w;
    struct scheme scheme = scheme_resolve(scheme_find("int4-rtn"), DT_BF16, host());
    in.scheme = &scheme;
    work_decode_step(&in, &w);
    assert_float_equal(w.op[OPC_QKV].weight_bytes, 32 * 3 * 4096.0 * 4096 * (0.5 + 2.5 / 128), 0);
    assert_float_equal(w.op[OPC_DOWN].weight_bytes, // 86 groups: 3440 bytes of scales in 3456
                       32 * 4096.0 * (11008 / 2 + 3456.0 / 16), 0);
    assert_float_equal(w.op[OPC_HEAD].weight_bytes, 262144000.0, 0);
    assert_int_equal(w.datapath[OPC_DOWN], scheme.activations);
    assert_int_equal(w.datapath[OPC_HEAD], DT_BF16);
    assert_float_equal(w.op[OPC_ATTENTION].kv_write_bytes, 2 * 32 * 32 * 132.0, 1e-6);
    scheme = scheme_resolve(scheme_find("q8_0"), DT_BF16, host());
    work_decode_step(&in, &w);
    assert_float_equal(w.op[OPC_QKV].weight_bytes, 32 * 3 * 4096.0 * 4096 * 8.5 / 8, 0);
    assert_float_equal(w.op[OPC_DOWN].weight_bytes, 32 * 4096.0 * 11008 * 8.5 / 8, 0);
    assert_int_equal(w.datapath[OPC_DOWN], scheme.activations);
    scheme = scheme_resolve(scheme_find("int8"), DT_F8E4M3, host());
    work_decode_step(&in, &w);
    assert_float_equal(w.op[OPC_OUTPUT].weight_bytes, 32 * (4096.0 * 4096 + 4 * 4096), 0);
    assert_float_equal(w.op[OPC_HEAD].weight_bytes, 32000 * 4100.0, 0);
    assert_int_equal(w.datapath[OPC_DOWN], DT_I8);
    scheme = scheme_resolve(scheme_find("fp8-w8a8"), DT_BF16, host());
    work_decode_step(&in, &w);
    assert_float_equal(w.op[OPC_OUTPUT].weight_bytes, 32 * (4096.0 * 4096 + 4 * 4096), 0);
    assert_int_equal(w.datapath[OPC_DOWN], DT_F8E4M3);
    assert_int_equal(w.datapath[OPC_HEAD], DT_BF16);
}

static void engine_reports_the_same(void **state)
{
    (void)state;
    compare("tests/golden/models/llama-gqa3", "f32", DT_F32, 1, 21, 21, 9);
    compare("tests/golden/models/llama-gqa3", "bf16", DT_BF16, 3, 21, 8, 9);    // uneven last chunk
    compare("tests/golden/models/qwen2-tied", "bf16", DT_F16, 2, 16, 5, 4);     // biases, tied head
    compare("tests/golden/models/mistral-window", "f32", DT_F16, 2, 40, 7, 30); // window
    static const char *const others[] = {
        "qwen3",       // norms of q and k heads
        "phi-2",       // parallel, one norm; biases everywhere; part of a head rotates
        "phi3",        // window
        "gemma2",      // four norms, windows in every other layer, soft caps
        "gpt2",        // learned positions, no gate
        "gpt-bigcode", // one KV head
        "falcon-40b",  // parallel, two norms
        "falcon-rw",   // ALiBi
        "mpt",         // no biases at all
        "bloom",       // norm behind the embedding
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char path[128];
        snprintf(path, sizeof path, "tests/golden/models/%s", others[i]);
        compare(path, i % 2 ? "bf16" : "f32", DT_F16, 2, 30, 8, 5);
    }
}

// With one token per pass it is certain how many experts are touched. With more, the operations are certain and the
// bytes lie between those of one token and those of all experts.
static void engine_reports_the_experts(void **state)
{
    (void)state;
    compare("tests/golden/models/mixtral", "f32", DT_F32, 1, 9, 1, 12);
    compare("tests/golden/models/qwen2-moe", "bf16", DT_F16, 1, 9, 1, 12);
    compare("tests/golden/models/qwen2-moe-normed", "f32", DT_F16, 1, 9, 1, 12);
    for (int batch = 1; batch <= 3; batch++)
        expect_experts_between("tests/golden/models/qwen2-moe", batch);
}

static void engine_cuts_the_same_passes(void **state)
{
    (void)state;
    compare("tests/golden/models/llama-gqa3", "f32", DT_F32, 5, 300, 300, 2); // 1500 tokens a step
    compare("tests/golden/models/mistral-window", "bf16", DT_BF16, 3, 600, 400, 2);
}

// On a GPU, attention is compared with the tensor cores, except for a cache in f32.
static void attention_runs_where_the_device_multiplies(void **state)
{
    (void)state;
    static const struct {
        enum device_kind where;
        enum dtype kv, datapath;
    } rows[] = {
        {DEVICE_HOST, DT_BF16, DT_F32},
        {DEVICE_CUDA, DT_BF16, DT_BF16},
        {DEVICE_CUDA, DT_F8E4M3, DT_BF16},
        {DEVICE_CUDA, DT_F32, DT_F32},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct phase_work w = {0};
        struct work_input in = {.config = &LLAMA_2_7B,
                                .scheme = scheme_find("bf16"),
                                .kv = rows[i].kv,
                                .where = rows[i].where,
                                .batch = 1,
                                .prompt = 16,
                                .chunk = 16,
                                .gen = 1};
        work_prefill(&in, &w);
        assert_int_equal(w.datapath[OPC_ATTENTION], rows[i].datapath);
        assert_int_equal(w.datapath[OPC_REST], DT_F32);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_2_7b_decode),
        cmocka_unit_test(llama_2_7b_prefill),
        cmocka_unit_test(caches_keep_what_was_just_written),
        cmocka_unit_test(blocks_of_other_architectures),
        cmocka_unit_test(experts_keep_their_activations),
        cmocka_unit_test(windows_bound_attention),
        cmocka_unit_test(windows_bound_the_working_set),
        cmocka_unit_test(grouped_heads_share_the_working_set),
        cmocka_unit_test(passes_read_weights_again),
        cmocka_unit_test(llama_2_7b_in_codes),
        cmocka_unit_test(engine_reports_the_same),
        cmocka_unit_test(engine_reports_the_same_of_codes),
        cmocka_unit_test(engine_cuts_the_same_passes),
        cmocka_unit_test(attention_runs_where_the_device_multiplies),
        cmocka_unit_test(experts_touched_are_read),
        cmocka_unit_test(engine_reports_the_experts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
