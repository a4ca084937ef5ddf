// test_schemes.c - each scheme's arithmetic: whole-model logits against what docs/SCHEMES.md says computed
// in torch (tools/golden), tokens that do not depend on who else is in the batch, refusals.
//
// Bounds, as shares of the largest logit. Both sides round to the same codes, so only f32 sums differ, by at most 1e-4.
// But a value may lie so near the middle of two codes that sums in another order round it to the other one. One int8
// code is 1/127 of a row's largest value, and one bf16 step is 1/256 of its own value. In a logit this is at most about
// 1e-3, and in only a few of them. So every logit must be within 1 %, the root mean square of all differences within
// 1e-3. A wrong rounding (scale, tie, zero) is all over: more than that.
#include "tests/engine/scheme_golden.h"

// A row of the table with another head, as these kernels run it.
static struct scheme resolved(const char *name, const char *head, unsigned isa)
{
    enum dtype type;
    assert_true(storage_parse(head, &type));
    assert_non_null(scheme_find(name));
    return scheme_resolve(scheme_find(name), type, host_target(isa));
}

static struct model *load_scheme(const char *path, const struct scheme *scheme,
                                 struct device *device)
{
    struct error err = {0};
    struct checkpoint *ck = NULL;
    struct model *model = NULL;
    struct engine_options options = {.device = device, .scheme = scheme};
    expect_ok(checkpoint_open(path, &ck, &err), &err, path);
    expect_ok(model_load(ck, &options, NULL, NULL, &model, &err), &err, scheme->name);
    checkpoint_destroy(ck);
    return model;
}

// The fixture's tiers, and all this machine has: with it comes the integer dot product.
static size_t scheme_tiers(struct tier out[MAX_TIERS])
{
    size_t count = machine_tiers(out);
    if (out[count - 1].isa != device_isa_host() && count < MAX_TIERS)
        out[count++] = (struct tier){"all", device_isa_host()};
    return count;
}

static void compare_with_golden(const struct scheme_model *from)
{
    struct scheme_golden g = scheme_golden_open(from);
    struct tier tiers[MAX_TIERS];
    size_t tier_count = scheme_tiers(tiers), tested = 0;
    for (uint32_t i = 0; i < g.count; i++) {
        const struct scheme_case *c = &g.cases[i];
        for (size_t t = 0; t < tier_count; t++) {
            struct scheme scheme = resolved(c->scheme, c->head, tiers[t].isa);
            if (strcmp(storage_name(scheme.activations), c->inputs) != 0)
                continue; // this tier multiplies groups by other inputs: another case has them
            tested++;
            struct device *device = device_of_tier(1 + (int)t % 2, tiers[t].isa);
            struct model *model = load_scheme(from->path, &scheme, device);
            for (int chunk = 5; chunk < 64; chunk *= 6) {
                struct distance d = distance_of(&g, c, model, chunk);
                print_message("%-8s %-4s head %-4s kv %-4s %-11s largest %.1e rms %.1e\n",
                              c->scheme, c->inputs, c->head, c->kv, tiers[t].name, d.largest,
                              d.rms);
                if (!(d.largest <= 0.01 && d.rms <= 1e-3))
                    fail_msg("%s, head %s, kv %s, tier %s: %g of the largest logit, rms %g",
                             c->scheme, c->head, c->kv, tiers[t].name, d.largest, d.rms);
            }
            model_destroy(model);
            device_close(device);
        }
    }
    assert_true(tested >= g.count / 2);
    file_unmap(&g.map);
}

static void logits_are_those_of_the_documented_arithmetic(void **state)
{
    (void)state;
    for (int i = 0; i < SCHEME_MODELS; i++)
        compare_with_golden(&scheme_models[i]);
}

// ---- who else is in the batch, how a prompt is cut: not one bit ------------------------------------------

enum { SEQUENCES = 3, LENGTH = 23 };

static void fill_tokens(int32_t tokens[SEQUENCES][LENGTH], int vocab)
{
    for (int s = 0; s < SEQUENCES; s++)
        for (int i = 0; i < LENGTH; i++)
            tokens[s][i] = (s * 131 + i * 17 + i * i) % vocab;
}

// Last logits of each sequence; together or one after the other, in chunks.
static void run(struct model *model, enum dtype kv, int32_t tokens[SEQUENCES][LENGTH],
                const int lengths[SEQUENCES], bool together, int chunk, float *out, size_t vocab)
{
    struct error err = {0};
    struct context *ctx =
        context_of(model, (struct context_options){
                              .batch = SEQUENCES, .positions = LENGTH, .chunk = LENGTH, .kv = kv});
    if (together) {
        struct span spans[SEQUENCES];
        struct step_result result;
        for (int s = 0; s < SEQUENCES; s++)
            spans[s] = (struct span){s, lengths[s], tokens[s], LOGITS_LAST};
        expect_ok(context_step(ctx, spans, SEQUENCES, PHASE_PREFILL, &result, &err), &err, "step");
        memcpy(out, result.logits, SEQUENCES * vocab * sizeof *out);
    } else {
        for (int s = 0; s < SEQUENCES; s++)
            for (int at = 0; at < lengths[s]; at += chunk) {
                int count = lengths[s] - at < chunk ? lengths[s] - at : chunk;
                const float *row = step(ctx, s, tokens[s] + at, count, LOGITS_LAST);
                memcpy(out + (size_t)s * vocab, row, vocab * sizeof *out);
            }
    }
    context_destroy(ctx);
}

static void nobody_else_in_the_batch_matters(void **state)
{
    (void)state;
    const struct {
        const char *scheme, *head;
        enum dtype kv;
        const char *path;
    } runs[] = {
        {"int8", "bf16", DT_I8, SCHEMES},         {"int8", "int8", DT_BF16, SCHEMES},
        {"int4-rtn", "int4", DT_F8E4M3, SCHEMES}, {"fp8", "fp8", DT_F16, SCHEMES},
        {"fp8-w8a8", "fp8", DT_BF16, SCHEMES},    {"q8_0", "bf16", DT_BF16, scheme_models[1].path}};
    static const int lengths[SEQUENCES] = {23, 4, 11};
    struct tier tiers[MAX_TIERS];
    size_t tier_count = scheme_tiers(tiers);
    for (size_t i = 0; i < sizeof runs / sizeof *runs * tier_count; i++) {
        size_t r = i / tier_count, t = i % tier_count;
        struct scheme scheme = resolved(runs[r].scheme, runs[r].head, tiers[t].isa);
        struct device *devices[2] = {device_of_tier(1, tiers[t].isa),
                                     device_of_tier(2, tiers[t].isa)};
        float *expected = NULL;
        for (int p = 0; p < 2; p++) {
            struct model *model = load_scheme(runs[r].path, &scheme, devices[p]);
            size_t vocab = (size_t)model_config(model)->vocab;
            float *out = calloc(SEQUENCES * vocab, sizeof *out);
            int32_t tokens[SEQUENCES][LENGTH];
            fill_tokens(tokens, (int)vocab);
            for (int way = 0; way < 4; way++) {
                static const int chunks[] = {0, 1, 6, LENGTH};
                run(model, runs[r].kv, tokens, lengths, way == 0, chunks[way], out, vocab);
                if (!expected) {
                    expected = malloc(SEQUENCES * vocab * sizeof *expected);
                    memcpy(expected, out, SEQUENCES * vocab * sizeof *out);
                }
                if (memcmp(out, expected, SEQUENCES * vocab * sizeof *out) != 0)
                    fail_msg("%s, tier %s, %d threads, chunks of %d: other bits", scheme.name,
                             tiers[t].name, device_info(devices[p])->units, chunks[way]);
            }
            free(out);
            model_destroy(model);
        }
        free(expected);
        device_close(devices[0]);
        device_close(devices[1]);
    }
}

// ---- what is said and what is refused --------------------------------------------------------------------

static void the_arithmetic_that_runs_is_named(void **state)
{
    (void)state;
    struct scheme s = resolved("int4-rtn", "bf16", 0);
    assert_int_equal(s.activations, DT_BF16);
    assert_string_equal(s.arithmetic, "w4a16: int4 g128 x bf16 -> f32; head bf16");
    if (device_isa_host() & ISA_AVX512_VNNI) {
        s = resolved("int4-rtn", "int8", ISA_ALL);
        assert_int_equal(s.activations, DT_I8);
        assert_string_equal(s.arithmetic, "w4a8: int4 g128 x int8 -> int32 -> f32; "
                                          "head w8a8: int8 x int8 -> int32 -> f32");
    }
    s = resolved("q8_0", "bf16", 0);
    assert_int_equal(s.activations, DT_BF16);
    assert_string_equal(s.arithmetic, "w8a16: int8 g32 x bf16 -> f32; head bf16");
    s = resolved("fp8", "bf16", ISA_ALL);
    assert_string_equal(s.arithmetic, "weight-only: fp8 x bf16 -> f32; head bf16");
    s = resolved("fp8-w8a8", "bf16", ISA_ALL);
    assert_int_equal(s.activations, DT_F8E4M3);
    assert_string_equal(s.arithmetic, "w8a8: fp8 x fp8 -> f32; head bf16");
    s = resolved("fp8-w8a8", "fp8", 0); // the head's inputs are those of the layers
    assert_int_equal(s.head_activations, DT_F8E4M3);
    assert_string_equal(s.arithmetic, "w8a8: fp8 x fp8 -> f32");
    s = resolved("int8", "fp8", ISA_ALL); // no layer has fp8 inputs, so neither has the head
    assert_int_equal(s.head_activations, DT_BF16);
    s = resolved("bf16", "bf16", ISA_ALL);
    assert_string_equal(s.arithmetic, "bf16 x bf16 -> f32");
    s = scheme_resolve(&s, s.head, host_target(ISA_ALL));
    assert_string_equal(s.arithmetic, "bf16 x bf16 -> f32");
    size_t count;
    const struct scheme *table = scheme_table(&count);
    for (size_t i = 0; i < count; i++) { // what the table says is what runs with all there is
        s = scheme_resolve(&table[i], table[i].head, host_target(ISA_ALL));
        if (!dtype_is_grouped(table[i].weights) || device_isa_host() & ISA_AVX512_VNNI)
            assert_string_equal(s.arithmetic, table[i].arithmetic);
    }
}

// Products by a library count on a GPU alone, and are named there; the reasons against them are of scheme and model.
static void products_of_a_library_are_named(void **state)
{
    (void)state;
    static const struct device_target gpu = {.where = DEVICE_CUDA, .isa = ISA_ALL};
    static const struct {
        const char *scheme;
        bool served;
    } rows[] = {{"bf16", true}, {"f16", true},  {"int8", true},      {"fp8-w8a8", true},
                {"f32", false}, {"fp8", false}, {"int4-rtn", false}, {"q4_0", false}};
    const struct model_config config = {
        .width = 64, .heads = 4, .kv_heads = 2, .head_dim = 16, .ff = 160};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct scheme row = *scheme_find(rows[i].scheme), s;
        s = scheme_resolve(&row, row.head, gpu);
        assert_null(scheme_products_refused(&s, &config)); // not asked for
        assert_null(strstr(s.arithmetic, "cuBLASLt"));
        row.products = PRODUCTS_CUBLASLT;
        s = scheme_resolve(&row, row.head, host_target(ISA_ALL));
        assert_int_equal(s.products, PRODUCTS_OWN);
        assert_null(strstr(s.arithmetic, "cuBLASLt"));
        s = scheme_resolve(&row, row.head, gpu);
        assert_non_null(strstr(s.arithmetic, "; prefill products by cuBLASLt"));
        assert_int_equal(!scheme_products_refused(&s, &config), rows[i].served);
    }
    struct scheme row = *scheme_find("bf16");
    row.products = PRODUCTS_CUBLASLT;
    struct scheme s = scheme_resolve(&row, DT_BF16, gpu);
    s = scheme_resolve(&s, s.head, gpu);
    assert_string_equal(s.arithmetic, "bf16 x bf16 -> f32; prefill products by cuBLASLt");
    struct model_config odd = config;
    odd.ff = 200;
    assert_non_null(strstr(scheme_products_refused(&s, &odd), "multiples of 16"));
    odd = config;
    odd.experts = 4;
    assert_non_null(strstr(scheme_products_refused(&s, &odd), "experts"));
}

static void types_have_their_words(void **state)
{
    (void)state;
    enum dtype type = DT_F32;
    assert_true(storage_parse("fp8", &type));
    assert_int_equal(type, DT_F8E4M3);
    assert_false(storage_parse("int5", &type));
    assert_int_equal(type, DT_F8E4M3);
    for (int i = 0; i < DT_COUNT; i++) {
        assert_true(storage_parse(storage_name((enum dtype)i), &type));
        assert_int_equal(type, i == DT_I8G ? DT_I8 : i); // one word for rows and groups
    }
}

// Longer sums than kernels promise to hold exactly, in a layer or in the head.
static void int8_products_too_long_are_refused(void **state)
{
    (void)state;
    static const struct {
        int width, ff;
        const char *scheme, *head;
    } cases[] = {{16, 131088, "int8", "bf16"}, {131088, 16, "bf16", "int8"}};
    const char *dir = scratch_make();
    struct device *device = device_of(1);
    for (int i = 0; i < 2; i++) {
        char config[512], path[128];
        struct error err = {0};
        struct checkpoint *ck = NULL;
        struct model *model = NULL;
        struct scheme scheme = resolved(cases[i].scheme, cases[i].head, ISA_ALL);
        struct engine_options options = {.device = device, .scheme = &scheme};
        int used = snprintf(config, sizeof config,
                            "{\"model_type\":\"llama\",\"hidden_size\":%d,\"intermediate_size\":%d,"
                            "\"num_hidden_layers\":1,\"num_attention_heads\":1,\"head_dim\":16,"
                            "\"vocab_size\":16,\"max_position_embeddings\":16}",
                            cases[i].width, cases[i].ff);
        put(dir, "config.json", config, (size_t)used);
        snprintf(path, sizeof path, "%s/config.json", dir);
        expect_ok(checkpoint_synthetic(path, 1, &ck, &err), &err, config);
        enum status status = model_load(ck, &options, NULL, NULL, &model, &err);
        expect_error(status, &err, ERR_UNSUPPORTED, "131088 int8 inputs", "up to 131072");
        assert_null(model);
        checkpoint_destroy(ck);
    }
    device_close(device);
    scratch_remove(dir);
}

static void a_cache_of_int4_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = device_of(1);
    struct scheme scheme = resolved("int8", "bf16", ISA_ALL);
    struct model *model = load_scheme(SCHEMES, &scheme, device);
    struct context *ctx;
    struct context_options options = {.batch = 1, .positions = 4, .chunk = 4, .kv = DT_I4};
    assert_int_equal(context_create(model, &options, &ctx, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "int4"));
    assert_non_null(strstr(err.message, "int8, fp8"));
    model_destroy(model);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_are_those_of_the_documented_arithmetic),
        cmocka_unit_test(nobody_else_in_the_batch_matters),
        cmocka_unit_test(the_arithmetic_that_runs_is_named),
        cmocka_unit_test(products_of_a_library_are_named),
        cmocka_unit_test(types_have_their_words),
        cmocka_unit_test(int8_products_too_long_are_refused),
        cmocka_unit_test(a_cache_of_int4_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
