// test_gguf_schemes.c - a quantized GGUF file in every scheme; codes of Q4_0 and Q8_0 as they are stored.
#include "tests/load/load_fixture.h"

#include "kernels/quant.h"

static void converted(const char *from, const char *type, const char *path)
{
    struct error err = {0};
    struct conversion report;
    struct checkpoint *ck = open_ok(from);
    expect_ok(checkpoint_convert(ck, type, path, NULL, NULL, &report, &err), &err, path);
    checkpoint_destroy(ck);
}

// Codes times scale are what the expanded rows are, bit for bit: rows of Q and K, which the file interleaves, too.
static void check_codes(const char *kind, enum dtype type)
{
    const char *dir = scratch_make();
    char path[128];
    snprintf(path, sizeof path, "%s/x.gguf", dir);
    converted(MODELS "llama-llama3", kind, path);
    struct checkpoint *ck = open_ok(path);
    int stored = 0, rest = 0;
    for (int role = T_Q; role <= T_DOWN; role++) {
        struct tensor_shape shape = tensor_shape(checkpoint_config(ck), (enum tensor_role)role);
        struct stored_quant q;
        if (shape.rows <= 1)
            continue;
        if (!ck->ops->quantization(ck->self, (enum tensor_role)role, 1, &q)) {
            rest++;
            continue;
        }
        stored++;
        assert_int_equal(q.type, type);
        assert_int_equal(q.group, 32);
        uint8_t codes[256], zeros[8];
        float scales[8], x[256], y[256];
        assert_true(shape.cols <= 256);
        for (int row = 0; row < shape.rows; row++) {
            struct quant_row out = {codes, scales, zeros};
            ck->ops->read_codes(ck->self, (enum tensor_role)role, 1, row, out);
            quant_row_expand(type, out, shape.cols, 32, x);
            ck->ops->read_rows(ck->self, (enum tensor_role)role, 1, row, 1, y, 256);
            for (int i = 0; i < shape.cols; i++)
                if (!(x[i] == y[i])) // zeros may differ in sign
                    fail_msg("%s, row %d, %d: %a, want %a",
                             tensor_role_name((enum tensor_role)role), row, i, (double)x[i],
                             (double)y[i]);
        }
    }
    assert_int_equal(stored, 6);
    assert_int_equal(rest, 1); // down: rows of 50 are no whole blocks
    checkpoint_destroy(ck);
    scratch_remove(dir);
}

static void codes_are_the_rows(void **state)
{
    (void)state;
    check_codes("q4_0", DT_I4);
    check_codes("q8_0", DT_I8G);
}

static double off_by(const char *path, const char *scheme, char arithmetic[224])
{
    enum { TOKENS = 24 };
    float *wanted = NULL;
    double worst = 0;
    struct device *device = device_of(1);
    for (int turn = 0; turn < 2; turn++) {
        struct model *model = load(path, turn ? scheme : "f32", device);
        size_t n = (size_t)model_config(model)->vocab;
        int32_t ids[TOKENS];
        for (int i = 0; i < TOKENS; i++)
            ids[i] = (i * 29 + 3) % (int32_t)n;
        struct context *ctx =
            context_of(model, (struct context_options){
                                  .batch = 1, .positions = TOKENS, .chunk = TOKENS, .kv = DT_F32});
        const float *logits = step(ctx, 0, ids, TOKENS, LOGITS_LAST);
        if (!turn) {
            wanted = malloc(n * sizeof *wanted);
            memcpy(wanted, logits, n * sizeof *wanted);
        } else {
            worst = largest_difference(wanted, logits, n) / largest_magnitude(wanted, n);
            snprintf(arithmetic, 224, "%s", model_scheme(model)->arithmetic);
        }
        context_destroy(ctx);
        model_destroy(model);
    }
    free(wanted);
    device_close(device);
    return worst;
}

// Rows are expanded, then packed as the scheme has it: off from f32 by what the scheme loses (measured: a third
// of the bounds or less), and by something.
static void every_scheme_runs(void **state)
{
    (void)state;
    static const struct {
        const char *scheme;
        double bound;
    } cases[] = {{"bf16", 0.04}, {"f16", 0.01},     {"int8", 0.2},
                 {"fp8", 0.3},   {"fp8-w8a8", 0.5}, {"int4-rtn", 1}};
    static const char *const files[] = {MODELS "gguf-small-blocks/model.gguf",
                                        MODELS "gguf-k-blocks/model.gguf"};
    char arithmetic[224];
    for (size_t f = 0; f < 2; f++)
        for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
            double worst = off_by(files[f], cases[c].scheme, arithmetic);
            print_message("%s in %s: %.2e; %s\n", files[f], cases[c].scheme, worst, arithmetic);
            assert_true(worst > 0 && worst <= cases[c].bound);
        }
}

// The loss is that of the inputs alone. The text also names the products that were stored so.
static void check_as_stored(const char *scheme, const char *products)
{
    const char *dir = scratch_make();
    char path[128], arithmetic[224];
    snprintf(path, sizeof path, "%s/x.gguf", dir);
    converted("models/reference", scheme, path);
    double worst = off_by(path, scheme, arithmetic);
    print_message("%.2e; %s\n", worst, arithmetic);
    assert_true(worst > 0 && worst < 0.06);
    assert_non_null(strstr(arithmetic, products));
    assert_non_null(strstr(arithmetic, "; codes as stored"));
    unlink(path);
    converted(MODELS "llama-llama3", scheme, path);
    off_by(path, scheme, arithmetic);
    assert_non_null(
        strstr(arithmetic, "; codes of 12 products as stored, of 2 rounded to nearest"));
    scratch_remove(dir);
}

static void codes_run_as_stored(void **state)
{
    (void)state;
    check_as_stored("q4_0", "int4 g32");
    check_as_stored("q8_0", "int8 g32");
}

static void refused(const char *path, const char *scheme, const char *word)
{
    struct error err = {0};
    struct model *model;
    struct checkpoint *ck = open_ok(path);
    struct device *device = device_of(1);
    struct engine_options options = {.device = device, .scheme = scheme_find(scheme)};
    enum status status = model_load(ck, &options, NULL, NULL, &model, &err);
    assert_null(model);
    expect_error(status, &err, ERR_UNSUPPORTED, word, "");
    checkpoint_destroy(ck);
    device_close(device);
}

static void other_files_are_refused(void **state)
{
    (void)state;
    refused("models/reference", "q4_0", "not a GGUF file in q4_0");
    refused(MODELS "gguf-k-blocks/model.gguf", "q4_0", "not a GGUF file in q4_0");
    refused("models/reference", "q8_0", "not a GGUF file in q8_0");
    refused(MODELS "gguf-k-blocks/model.gguf", "q8_0", "not a GGUF file in q8_0");
    // Its codes are not AWQ's, whatever they look like: it would be calibrated, on text.
    refused(MODELS "gguf-small-blocks/model.gguf", "int4-awq", "holds no tokenizer");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_the_rows),
        cmocka_unit_test(every_scheme_runs),
        cmocka_unit_test(codes_run_as_stored),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
