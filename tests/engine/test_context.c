// test_context.c - contexts: what they refuse, that sequences do not disturb each other, and that the
// plan made before a context is the memory it takes.
//
// The number of threads and the chunks of a prompt change no bit, in any tier. Nor does it matter which other sequences
// share a step, even where it runs GEMM and the lone sequence GEMV. A kernel that sums in another order for another
// number of tokens breaks this: the difference is then to be decided on, and written into docs/ARCHITECTURE.md, not
// tolerated here.
#include "tests/engine/fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/model/observe.h"

static const struct context_options small = {
    .batch = 3, .positions = 40, .chunk = 16, .kv = DT_F32, .logit_rows = 48};

static void ids_fill(int32_t *ids, int count, int vocab, uint32_t seed)
{
    for (int i = 0; i < count; i++) {
        seed = seed * 1664525u + 1013904223u;
        ids[i] = (int32_t)((seed >> 8) % (uint32_t)vocab);
    }
}

// ---- refusals --------------------------------------------------------------------------------------------

static void refuse(struct context *ctx, const struct span *spans, int count, const char *word)
{
    struct error err = {0};
    struct step_result result;
    assert_int_equal(context_step(ctx, spans, count, PHASE_DECODE, &result, &err), ERR_USAGE);
    assert_null(result.logits);
    assert_null(result.ids);
    if (!strstr(err.message, word))
        fail_msg("'%s' does not say '%s'", err.message, word);
}

static void test_refuses_spans(void **state)
{
    (void)state;
    struct device *device = device_of(1);
    struct model *model = load(MODELS "llama-gqa3", "f32", device);
    struct context_options options = small;
    options.logit_rows = 0;
    struct context *ctx = context_of(model, options);
    int vocab = model_config(model)->vocab;
    int32_t good[17] = {0}, high[2] = {0, vocab}, low[1] = {-1};
    struct span ok = {.sequence = 0, .count = 16, .tokens = good, .logits = LOGITS_LAST}, s;

    refuse(ctx, &ok, 0, "0 spans");
    s = ok, s.sequence = 3;
    refuse(ctx, &s, 1, "sequence 3");
    s = ok, s.count = 17;
    refuse(ctx, &s, 1, "17 tokens");
    s = ok, s.count = 0;
    refuse(ctx, &s, 1, "0 tokens");
    s = ok, s.tokens = high, s.count = 2;
    refuse(ctx, &s, 1, "token 1: id 331");
    s = ok, s.tokens = low, s.count = 1;
    refuse(ctx, &s, 1, "id -1");
    s = ok, s.logits = LOGITS_ALL;
    refuse(ctx, &s, 1, "16 rows");
    refuse(ctx, (struct span[]){ok, ok}, 2, "named twice");
    assert_int_equal(context_length(ctx, 0), 0); // nothing was done

    assert_non_null(step(ctx, 0, good, 16, LOGITS_LAST));
    assert_null(step(ctx, 0, good, 16, LOGITS_NONE));
    assert_int_equal(context_length(ctx, 0), 32);
    refuse(ctx, &ok, 1, "full");
    s = ok, s.count = 9; // of 8 that are left
    refuse(ctx, &s, 1, "full, 32 of 40");
    assert_non_null(step(ctx, 0, good, 8, LOGITS_LAST));
    assert_int_equal(context_length(ctx, 0), 40);
    context_reset(ctx);
    assert_int_equal(context_length(ctx, 0), 0);
    context_destroy(ctx);
    context_destroy(NULL);
    model_destroy(model);
    model_destroy(NULL);
    device_close(device);
}

static void test_refuses_options(void **state)
{
    (void)state;
    struct device *device = device_of(1);
    struct model *model = load(MODELS "llama-gqa3", "f32", device);
    for (int i = 0; i < 5; i++) {
        struct error err = {0};
        struct context *ctx;
        struct context_options options = small;
        int *fields[] = {&options.batch, &options.positions, &options.chunk};
        if (i < 3)
            *fields[i] = 0;
        else if (i == 3)
            options.kv = DT_I4;
        else
            options.logit_rows = -1;
        enum status expected = i == 3 ? ERR_UNSUPPORTED : ERR_USAGE;
        assert_int_equal(context_create(model, &options, &ctx, &err), expected);
        assert_null(ctx);
    }
    model_destroy(model);
    device_close(device);
}

static void test_scheme_words(void **state)
{
    (void)state;
    assert_string_equal(scheme_find("bf16")->name, "bf16");
    assert_null(scheme_find("int5"));
    assert_true(scheme_is_planned("q4_k"));
    assert_false(scheme_is_planned("int5"));
    assert_false(scheme_is_planned("bf16"));
}

// A device whose kind has no engine in this build is refused, by name; nothing is planned with the host's.
static void test_device_without_an_engine(void **state)
{
    (void)state;
    struct error err = {0};
    struct memory_plan plan = {1, 1, 1};
    struct device_info metal = {.name = "metal", .kind = DEVICE_METAL, .available = true};
    struct checkpoint *ck;
    expect_ok(checkpoint_open(MODELS "qwen2-tied", &ck, &err), &err, "open");
    assert_int_equal(engine_memory_plan(&metal, checkpoint_config(ck), scheme_find("f32"), &small,
                                        1, &plan, &err),
                     ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "device metal"));
    assert_int_equal(plan.weights_bytes + plan.kv_bytes + plan.scratch_bytes, 0);
    checkpoint_destroy(ck);
}

// ---- independence ----------------------------------------------------------------------------------------

enum { STEPS = 4 };
static const int lengths[3][STEPS] = {{9, 1, 1, 1}, {14, 1, 5, 1}, {6, 16, 1, 1}};

// Logits of all tokens of sequence `which`, run with the sequences of `mask` next to it: (tokens, vocab).
static float *run_sequences(struct model *model, int which, unsigned mask)
{
    size_t vocab = (size_t)model_config(model)->vocab;
    struct context *ctx = context_of(model, small);
    float *kept = calloc(40 * vocab, sizeof *kept);
    int done[3] = {0};
    int32_t ids[3][40];
    for (int i = 0; i < 3; i++)
        ids_fill(ids[i], 40, (int)vocab, (uint32_t)i + 5);
    for (int n = 0; n < STEPS; n++) {
        struct error err = {0};
        struct span spans[3];
        int count = 0, row = 0, mine = 0;
        for (int i = 0; i < 3; i++) {
            if (!(mask & 1u << i))
                continue;
            mine = i == which ? row : mine;
            spans[count++] = (struct span){.sequence = i,
                                           .count = lengths[i][n],
                                           .tokens = ids[i] + done[i],
                                           .logits = LOGITS_ALL};
            row += lengths[i][n];
        }
        struct step_result result;
        expect_ok(context_step(ctx, spans, count, PHASE_DECODE, &result, &err), &err, "step");
        memcpy(kept + (size_t)done[which] * vocab, result.logits + (size_t)mine * vocab,
               (size_t)lengths[which][n] * vocab * sizeof *kept);
        for (int i = 0; i < 3; i++)
            done[i] += lengths[i][n];
    }
    context_destroy(ctx);
    return kept;
}

static size_t sequence_values(const struct model *model, int which)
{
    size_t tokens = 0;
    for (int n = 0; n < STEPS; n++)
        tokens += (size_t)lengths[which][n];
    return tokens * (size_t)model_config(model)->vocab;
}

// One of each family: what its forward pass does differently must not depend on the others in a step.
static const char *const families[] = {"qwen3",     "phi-2", "phi3-longrope", "gemma", "gemma2",
                                       "gemma3",    "gpt2",  "gpt-bigcode",   "mpt",   "falcon-40b",
                                       "falcon-7b", "bloom", "falcon-rw"};

static void check_variant(void (*check)(struct model *model, const char *what), const char *path,
                          const char *scheme, const struct tier *tier)
{
    struct device *device = device_of_tier(2, tier->isa);
    struct model *model = load(path, scheme, device);
    char what[256];
    snprintf(what, sizeof what, "%s, %s, tier %s", path, scheme, tier->name);
    check(model, what);
    model_destroy(model);
    device_close(device);
}

// Calls check for every scheme and tier of this machine on each of the models. The families run with the fastest tier
// and in f32 alone, because their operations are the same in all.
static void each_variant(void (*check)(struct model *model, const char *what))
{
    enum { PATHS = 5, VARIANTS = PATHS * 2 };
    static const char *const paths[PATHS] = {MODELS "llama-gqa3", MODELS "mistral-window",
                                             MODELS "mixtral", MODELS "qwen2-moe",
                                             "models/reference"};
    static const char *const names[] = {"f32", "bf16"};
    struct tier tiers[MAX_TIERS];
    size_t count = machine_tiers(tiers);
    for (size_t i = 0; i < VARIANTS * count; i++)
        check_variant(check, paths[i % PATHS], names[i / PATHS % 2], &tiers[i / VARIANTS]);
    for (size_t i = 0; i < sizeof families / sizeof *families; i++) {
        char path[128];
        snprintf(path, sizeof path, MODELS "%s", families[i]);
        check_variant(check, path, "f32", &tiers[count - 1]);
    }
}

static void check_same_bits(const float *a, const float *b, size_t n, const char *what)
{
    if (memcmp(a, b, n * sizeof *a) != 0)
        fail_msg("%s: differs by %g of the largest logit", what,
                 largest_difference(a, b, n) / largest_magnitude(a, n));
}

static void check_alone_and_together(struct model *model, const char *what)
{
    for (int which = 0; which < 3; which++) {
        float *alone = run_sequences(model, which, 1u << which);
        float *together = run_sequences(model, which, 7);
        check_same_bits(alone, together, sequence_values(model, which), what);
        free(alone);
        free(together);
    }
}

static void test_batch_is_independent(void **state)
{
    (void)state;
    each_variant(check_alone_and_together);
}

// Logits after `count` tokens fed `chunk` at a time.
static float *run_chunked(struct model *model, int count, int chunk)
{
    int vocab = model_config(model)->vocab;
    struct context *ctx = context_of(
        model,
        (struct context_options){.batch = 1, .positions = count, .chunk = chunk, .kv = DT_BF16});
    int32_t *ids = calloc((size_t)count, sizeof *ids);
    float *kept = calloc((size_t)vocab, sizeof *kept);
    const float *logits = NULL;
    ids_fill(ids, count, vocab, 9);
    for (int at = 0; at < count; at += chunk)
        logits = step(ctx, 0, ids + at, count - at < chunk ? count - at : chunk, LOGITS_LAST);
    memcpy(kept, logits, (size_t)vocab * sizeof *kept);
    free(ids);
    context_destroy(ctx);
    return kept;
}

static void check_chunks(struct model *model, const char *what)
{
    enum { COUNT = 78 }; // more than a block of keys, no more than gpt2 has learned
    static const int chunks[] = {1, 31};
    float *whole = run_chunked(model, COUNT, COUNT);
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        float *cut = run_chunked(model, COUNT, chunks[i]);
        check_same_bits(whole, cut, (size_t)model_config(model)->vocab, what);
        free(cut);
    }
    free(whole);
}

static void test_chunks_do_not_change_bits(void **state)
{
    (void)state;
    each_variant(check_chunks);
}

// Threads split rows and heads, never a sum: any number of them gives the same bits.
static void test_threads_do_not_change_bits(void **state)
{
    (void)state;
    struct device *two = device_of(2), *one = device_of(1);
    struct model *a = load(MODELS "llama-llama3", "bf16", one);
    struct model *b = load(MODELS "llama-llama3", "bf16", two);
    for (int which = 0; which < 3; which++) {
        float *x = run_sequences(a, which, 7), *y = run_sequences(b, which, 7);
        assert_memory_equal(x, y, sequence_values(a, which) * sizeof *x);
        free(x);
        free(y);
    }
    model_destroy(a);
    model_destroy(b);
    device_close(one);
    device_close(two);
}

// More tokens than a pass holds: the rows of logits still come in span order, and say the same.
static void test_step_of_several_passes(void **state)
{
    (void)state;
    enum { BATCH = 5, COUNT = 300 }; // 1500 tokens
    struct device *device = device_of(2);
    struct model *model = load(MODELS "qwen2-tied", "f32", device);
    size_t vocab = (size_t)model_config(model)->vocab;
    struct context_options options = {
        .batch = BATCH, .positions = COUNT, .chunk = COUNT, .kv = DT_F16};
    struct context *ctx = context_of(model, options);
    int32_t ids[BATCH][COUNT];
    struct span spans[BATCH];
    float *alone = malloc(BATCH * vocab * sizeof *alone);
    for (int i = 0; i < BATCH; i++) {
        ids_fill(ids[i], COUNT, (int)vocab, (uint32_t)i);
        spans[i] = (struct span){i, COUNT, ids[i], LOGITS_LAST};
        memcpy(alone + (size_t)i * vocab, step(ctx, i, ids[i], COUNT, LOGITS_LAST),
               vocab * sizeof *alone);
    }
    context_reset(ctx);
    struct error err = {0};
    struct step_result result;
    expect_ok(context_step(ctx, spans, BATCH, PHASE_PREFILL, &result, &err), &err, "step");
    check_same_bits(alone, result.logits, BATCH * vocab, "five sequences in two passes");
    free(alone);
    context_destroy(ctx);
    model_destroy(model);
    device_close(device);
}

// A step taken back and run again gives the same logits.
static void test_truncate(void **state)
{
    (void)state;
    struct device *device = device_of(1);
    struct model *model = load(MODELS "llama-gqa3", "bf16", device);
    size_t bytes = (size_t)model_config(model)->vocab * sizeof(float);
    struct context *ctx = context_of(model, small);
    const int32_t ids[] = {5, 6, 7, 8};
    float *first = malloc(bytes);
    step(ctx, 2, ids, 3, LOGITS_NONE);
    memcpy(first, step(ctx, 2, ids + 3, 1, LOGITS_LAST), bytes);
    context_truncate(ctx, 2, 3);
    assert_memory_equal(first, step(ctx, 2, ids + 3, 1, LOGITS_LAST), bytes);
    assert_int_equal(context_length(ctx, 2), 4);
    free(first);
    context_destroy(ctx);
    model_destroy(model);
    device_close(device);
}

// ---- the observer ----------------------------------------------------------------------------------------

struct totals {
    struct op_cost by_class[OPC_COUNT + 1]; // and the end of the step
    uint64_t last_ns;
    int events, backwards, ends;
    enum op_class last_op;
};

static void add_event(void *user, const struct engine_event *e)
{
    struct totals *t = user;
    struct op_cost cost = {e->weight_bytes, e->kv_read_bytes, e->kv_write_bytes,
                           e->activation_bytes, e->flop};
    t->by_class[e->op] = cost_add(t->by_class[e->op], cost);
    t->backwards += e->begin_ns < t->last_ns || e->end_ns < e->begin_ns;
    t->last_ns = e->end_ns;
    t->last_op = e->op;
    t->ends += e->op == OPC_COUNT;
    t->events++;
}

// The formulas of docs/METRICS.md ("Bytes and operations") for one step: B spans of T tokens after n.
static void test_observer_counts(void **state)
{
    (void)state;
    struct device *device = device_of(2);
    struct model *model = load("models/reference", "bf16", device);
    const struct model_config *c = model_config(model);
    uint64_t B = 2, T = 7, n = 5, L = (uint64_t)c->layers, d = (uint64_t)c->width,
             q = (uint64_t)(c->heads * c->head_dim), kv = (uint64_t)(c->kv_heads * c->head_dim),
             f = (uint64_t)c->ff, V = (uint64_t)c->vocab;
    struct context *ctx = context_of(
        model, (struct context_options){.batch = 2, .positions = 32, .chunk = 16, .kv = DT_BF16});
    int32_t ids[16];
    ids_fill(ids, 16, c->vocab, 1);
    step(ctx, 0, ids, 5, LOGITS_NONE);
    step(ctx, 1, ids, 5, LOGITS_NONE);

    struct totals t = {0};
    struct engine_observer observer = {.on_event = add_event, .user = &t};
    context_observe(ctx, &observer);
    struct error err = {0};
    struct step_result result;
    struct span spans[] = {{0, 7, ids, LOGITS_LAST}, {1, 7, ids, LOGITS_LAST}};
    expect_ok(context_step(ctx, spans, 2, PHASE_PREFILL, &result, &err), &err, "step");

    assert_int_equal(t.by_class[OPC_QKV].flop, 2 * B * T * L * d * (q + 2 * kv));
    assert_int_equal(t.by_class[OPC_OUTPUT].flop, 2 * B * T * L * d * q);
    assert_int_equal(t.by_class[OPC_GATE_UP].flop, 2 * B * T * L * d * 2 * f);
    assert_int_equal(t.by_class[OPC_DOWN].flop, 2 * B * T * L * d * f);
    assert_int_equal(t.by_class[OPC_HEAD].flop, 2 * B * d * V);
    assert_int_equal(t.by_class[OPC_ATTENTION].flop, 4 * B * L * q * (T * n + T * (T + 1) / 2));
    assert_int_equal(t.by_class[OPC_REST].flop, 0);

    assert_int_equal(t.by_class[OPC_QKV].weight_bytes, L * d * (q + 2 * kv) * 2);
    assert_int_equal(t.by_class[OPC_GATE_UP].weight_bytes, L * d * 2 * f * 2);
    assert_int_equal(t.by_class[OPC_HEAD].weight_bytes, d * V * 2);
    assert_int_equal(t.by_class[OPC_ATTENTION].kv_read_bytes, 2 * B * L * (n + T) * kv * 2);
    assert_int_equal(t.by_class[OPC_ATTENTION].kv_write_bytes, 2 * B * L * T * kv * 2);
    assert_int_equal(t.backwards, 0);
    assert_int_equal(t.ends, 1); // sampling is the last event of a step
    assert_int_equal(t.last_op, OPC_COUNT);
    assert_int_equal(t.by_class[OPC_COUNT].flop + t.by_class[OPC_COUNT].activation_bytes, 0);

    int events = t.events;
    context_observe(ctx, NULL);
    step(ctx, 0, ids, 1, LOGITS_LAST);
    assert_int_equal(t.events, events);
    context_destroy(ctx);
    model_destroy(model);
    device_close(device);
}

// Windowed counts against a loop over the tokens.
static void test_attention_cost(void **state)
{
    (void)state;
    struct model_config c = {.heads = 6, .kv_heads = 2, .head_dim = 10};
    for (c.window = 0; c.window < 12; c.window++)
        for (int first = 0; first < 15; first++)
            for (int tokens = 1; tokens < 15; tokens++) {
                uint64_t seen = 0;
                for (int t = 0; t < tokens; t++) {
                    int past = first + t + 1;
                    seen += (uint64_t)(c.window && past > c.window ? c.window : past);
                }
                int begin = c.window && first + 1 > c.window ? first + 1 - c.window : 0;
                uint64_t rows = (uint64_t)(first + tokens - begin);
                struct op_cost cost =
                    cost_attention(&c, 0, DT_F16, (uint64_t)first, (uint64_t)tokens);
                assert_int_equal(cost.flop, 4 * 60 * seen);
                assert_int_equal(cost.kv_read_bytes, rows * 2 * 20 * 2);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refuses_spans),
        cmocka_unit_test(test_refuses_options),
        cmocka_unit_test(test_scheme_words),
        cmocka_unit_test(test_device_without_an_engine),
        cmocka_unit_test(test_batch_is_independent),
        cmocka_unit_test(test_chunks_do_not_change_bits),
        cmocka_unit_test(test_threads_do_not_change_bits),
        cmocka_unit_test(test_step_of_several_passes),
        cmocka_unit_test(test_truncate),
        cmocka_unit_test(test_observer_counts),
        cmocka_unit_test(test_attention_cost),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
