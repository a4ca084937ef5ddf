// test_awq.c - calibration. Folding changes nothing, a layer never comes out worse than by rounding, and threads change
// no bit. The cache holds what a fresh calibration makes, and a GGUF file gets the same codes.
#include "tests/engine/fixture.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/str.h"
#include "engine/load/source.h"
#include "engine/quantize/awq.h"
#include "tests/sanitized.h"

enum { TOKENS = 48 };

static struct checkpoint *open_model(const char *path)
{
    struct error err = {0};
    struct checkpoint *ck = NULL;
    expect_ok(checkpoint_open(path, &ck, &err), &err, path);
    return ck;
}

// Random ids: models of tests/golden have no tokenizer.
static struct calib_text random_text(const struct checkpoint *ck, int windows)
{
    struct calib_text text = {.windows = windows, .length = TOKENS};
    struct rng rng = {4};
    text.ids = calloc((size_t)windows * TOKENS, sizeof *text.ids);
    for (int i = 0; i < windows * TOKENS; i++)
        text.ids[i] = (int32_t)rng_below(&rng, (uint32_t)ck->config.vocab);
    return text;
}

// ---- folding -----------------------------------------------------------------------------------------------

// A checkpoint whose layers have random scales folded in, and nothing rounded.
struct folded {
    const struct checkpoint *source;
    struct fold_scales scales;
    float *scale[FOLD_SITES_MAX];
};

static void folded_read_rows(const void *self, enum tensor_role role, int layer, int row0, int rows,
                             float *out, size_t ld)
{
    const struct folded *f = self;
    f->source->ops->read_rows(f->source->self, role, layer, row0, rows, out, ld);
    if (layer >= 0)
        fold_rows(&f->scales, &f->source->config, role, row0, rows, out, ld);
}

static enum dtype folded_type(const void *self, enum tensor_role role, int layer)
{
    (void)self, (void)role, (void)layer;
    return DT_F32;
}

static const struct source_ops folded_ops = {
    .format = "folded", .read_rows = folded_read_rows, .stored_type = folded_type};

static void logits_of(struct checkpoint *ck, const struct calib_text *text, float *out)
{
    struct error err = {0};
    struct device *device = device_of(1);
    struct model *model = NULL;
    struct engine_options options = {.device = device, .scheme = scheme_find("f32")};
    expect_ok(model_load(ck, &options, NULL, NULL, &model, &err), &err, "model_load");
    struct context *ctx = context_of(
        model,
        (struct context_options){
            .batch = 1, .positions = TOKENS, .chunk = TOKENS, .kv = DT_F32, .logit_rows = TOKENS});
    const float *logits = step(ctx, 0, text->ids, TOKENS, LOGITS_ALL);
    memcpy(out, logits, (size_t)TOKENS * (size_t)ck->config.vocab * sizeof *out);
    context_destroy(ctx);
    model_destroy(model);
    device_close(device);
}

static void folding_keeps_logits(const char *path, int scales_expected)
{
    struct checkpoint *ck = open_model(path);
    struct calib_text text = random_text(ck, 1);
    struct folded f = {.source = ck};
    struct fold_site sites[FOLD_SITES_MAX];
    struct rng rng = {5};
    int count = fold_sites(&ck->config, sites), entered = 0;
    for (int i = 0; i < count; i++) {
        size_t length = fold_scale_length(&ck->config, &sites[i]);
        f.scale[i] = calloc(length, sizeof(float));
        for (size_t c = 0; c < length; c++)
            f.scale[i][c] = 0.25f + 3 * rng_f32(&rng);
        fold_enter(&sites[i], f.scale[i], &f.scales);
        entered += sites[i].target != T_ROLE_COUNT;
    }
    assert_int_equal(entered, scales_expected);
    struct checkpoint folded = {.config = ck->config, .ops = &folded_ops, .self = &f};
    size_t n = (size_t)TOKENS * (size_t)ck->config.vocab;
    float *is = calloc(n, sizeof *is), *got = calloc(n, sizeof *got);
    logits_of(ck, &text, is);
    logits_of(&folded, &text, got);
    double difference = largest_difference(is, got, n) / largest_magnitude(is, n);
    if (!(difference < 1e-5))
        fail_msg("%s: logits differ by %g of the largest", path, difference);
    for (int i = 0; i < count; i++)
        free(f.scale[i]);
    free(is);
    free(got);
    calib_text_fini(&text);
    checkpoint_destroy(ck);
}

static void test_folding(void **state)
{
    (void)state;
    folding_keeps_logits(MODELS "llama-gqa3", 3);       // v does not take o's
    folding_keeps_logits(MODELS "llama-wide-heads", 4); // as many KV heads as heads
    folding_keeps_logits(MODELS "qwen2-tied", 3);       // biases of q, k and v
    folding_keeps_logits(MODELS "mixtral", 3);          // each expert's down its own
    folding_keeps_logits(MODELS "qwen2-moe", 4);        // and the one all tokens go through
}

// ---- the search --------------------------------------------------------------------------------------------

struct taken {
    struct hash *hash; // of all codes, scales and zeros
    const struct checkpoint *ck;
    int layers, better;
    int experts_better; // layers where calibrating experts' down projections helps
    int experts_undersampled;
};

static enum status take(void *user, const struct awq_layer *layer, struct error *err)
{
    struct taken *t = user;
    (void)err;
    assert_int_equal(layer->layer, t->layers++);
    if (!(layer->found <= layer->rounded))
        fail_msg("layer %d: %g, by rounding alone %g", layer->layer, layer->found, layer->rounded);
    if (t->ck->config.experts && !(layer->found <= layer->experts_rounded))
        fail_msg("layer %d: %g, with experts' down projections by rounding alone %g", layer->layer,
                 layer->found, layer->experts_rounded);
    t->better += layer->found < layer->rounded;
    t->experts_better += layer->found < layer->experts_rounded;
    t->experts_undersampled += layer->experts_undersampled;
    for (int role = T_FINAL_NORM + 1; role < T_ROLE_COUNT; role++) {
        enum tensor_role r = (enum tensor_role)role;
        struct tensor_shape shape = tensor_shape(&t->ck->config, r);
        size_t cols = (size_t)shape.cols;
        float *row = calloc(cols + 1, sizeof *row), *scales = calloc(cols + 1, sizeof *scales);
        uint8_t *codes = calloc(cols + 1, 1), *zeros = calloc(cols + 1, 1);
        struct quant_row out = {codes, scales, zeros};
        for (int i = 0; tensor_role_is_product(r) && i < shape.rows; i++) {
            t->ck->ops->read_rows(t->ck->self, r, layer->layer, i, 1, row, cols);
            layer_state_codes(layer->state, r, i, 1, row, cols, &out);
            hash_update(t->hash, codes, cols);
            hash_update(t->hash, scales, cols * sizeof *scales);
            hash_update(t->hash, zeros, cols);
        }
        free(row);
        free(scales);
        free(codes);
        free(zeros);
    }
    return OK;
}

static struct taken search(const char *path, int windows, int threads, char hex[65])
{
    struct error err = {0};
    struct checkpoint *ck = open_model(path);
    struct calib_text text = random_text(ck, windows);
    struct device *device = device_of(threads);
    struct taken taken = {.hash = hash_create(), .ck = ck};
    struct awq_options options = {.group = 16, .device = device};
    expect_ok(awq_search(ck, &text, &options, take, &taken, &err), &err, path);
    assert_int_equal(taken.layers, ck->config.layers);
    hash_finish(taken.hash, hex);
    device_close(device);
    calib_text_fini(&text);
    checkpoint_destroy(ck);
    return taken;
}

static void test_search(void **state)
{
    (void)state;
    static const char *const models[] = {MODELS "llama-gqa3", MODELS "qwen2-tied",
                                         MODELS "llama-wide-heads", MODELS "gpt2"};
#ifdef SANITIZED
    print_message("under a sanitizer: one model of four\n");
    const int count = 1;
#else
    const int count = 4;
#endif
    for (int i = 0; i < count; i++) {
        char one[65], two[65];
        assert_true(search(models[i], 2, 1, one).better > 0);
        search(models[i], 2, 2, two);
        assert_string_equal(one, two);
    }
}

static void test_experts(void **state)
{
    (void)state;
    static const char *const models[] = {MODELS "mixtral", MODELS "qwen2-moe"};
    for (int i = 0; i < 2; i++) {
        char one[65], two[65];
        struct taken taken = search(models[i], 8, 1, one);
        assert_true(taken.better > 0 && taken.experts_better > 0);
        assert_int_equal(taken.experts_undersampled, 0);
        search(models[i], 8, 2, two);
        assert_string_equal(one, two);
    }
}

// 48 tokens, two experts each, are fewer than 32 for each of most.
static void test_experts_that_few_tokens_reach_are_counted(void **state)
{
    (void)state;
    char hex[65];
    struct taken taken = search(MODELS "mixtral", 1, 2, hex);
    assert_in_range(taken.experts_undersampled, 6, 10);
}

// ---- stopped -----------------------------------------------------------------------------------------------

static enum status stopped_search(const struct checkpoint *ck, struct stop *stop, struct error *err)
{
    char hex[65];
    struct calib_text text = random_text(ck, 2);
    struct device *device = device_of(2);
    struct taken taken = {.hash = hash_create(), .ck = ck};
    struct awq_options options = {.group = 16, .device = device, .progress = stop_at, .user = stop};
    enum status status = awq_search(ck, &text, &options, take, &taken, err);
    hash_finish(taken.hash, hex);
    device_close(device);
    calib_text_fini(&text);
    return status;
}

static void test_stopped_search(void **state)
{
    (void)state;
    struct error err = {0};
    struct stop all = {0};
    struct checkpoint *ck = open_model(MODELS "llama-gqa3");
    expect_ok(stopped_search(ck, &all, &err), &err, "awq_search");
    assert_true(all.calls > 10 * ck->config.layers);
    for (int i = 0; i < 4; i++) {
        struct stop stop = {.at = (const int[]){1, 2, all.calls / 2, all.calls}[i]};
        assert_int_equal(stopped_search(ck, &stop, &err), ERR_INTERRUPTED);
        assert_int_equal(stop.calls, stop.at);
        error_clear(&err);
    }
    checkpoint_destroy(ck);
}

// ---- the cache ---------------------------------------------------------------------------------------------

static void calibrated(struct checkpoint *ck, const char *calib, struct calibration *result)
{
    struct error err = {0};
    struct device *device = device_of(2);
    struct checkpoint *made = NULL;
    struct quantize_options options = {.scheme = "int4-awq", .device = device, .calib = calib};
    expect_ok(checkpoint_calibrated(ck, &options, NULL, NULL, &made, result, &err), &err,
              "checkpoint_calibrated");
    struct stored_quant stored;
    assert_true(made->ops->quantization(made->self, T_Q, 0, &stored));
    assert_true(stored.type == DT_I4 && stored.group == AWQ_GROUP);
    assert_string_equal(checkpoint_config(made)->name, checkpoint_config(ck)->name);
    checkpoint_destroy(made);
    device_close(device);
}

static int names_in(const char *dir)
{
    int count = 0;
    DIR *folder = opendir(dir);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;)
        count += entry->d_name[0] != '.';
    if (folder)
        closedir(folder);
    return count;
}

// The same weights in a GGUF file become the same bytes.
static void same_from_gguf(struct checkpoint *ck, const char *text, const struct calibration *is,
                           const char *dir)
{
    struct error err = {0};
    struct conversion report;
    struct calibration got;
    struct file_map a = {0}, b = {0};
    char path[64], file[1100];
    snprintf(path, sizeof path, "%s/twin.gguf", dir);
    expect_ok(checkpoint_convert(ck, NULL, path, NULL, NULL, &report, &err), &err, path);
    struct checkpoint *twin = open_model(path);
    calibrated(twin, text, &got);
    assert_string_not_equal(got.path, is->path);
    snprintf(file, sizeof file, "%s/model.safetensors", is->path);
    expect_ok(file_map(file, &a, &err), &err, file);
    snprintf(file, sizeof file, "%s/model.safetensors", got.path);
    expect_ok(file_map(file, &b, &err), &err, file);
    assert_int_equal(a.size_bytes, b.size_bytes);
    assert_memory_equal(a.data, b.data, a.size_bytes);
    file_unmap(&a);
    file_unmap(&b);
    checkpoint_destroy(twin);
}

static char *text_below(const char *dir, const char *last)
{
    struct error err = {0};
    struct str words = {0};
    char *path = file_join(dir, "text");
    for (int i = 0; i < 40; i++)
        str_printf(&words, "The function %d returns a list of %d values.\n", i, i * 37 % 11);
    str_append(&words, last);
    expect_ok(file_write(path, str_text(&words), words.length, &err), &err, path);
    str_fini(&words);
    return path;
}

// Neither in the cache nor where OUT was to be; and a load says the same.
static void test_stopped(void **state)
{
    (void)state;
    struct error err = {0};
    char home[] = "/tmp/ridge-test-awq-XXXXXX", cache[64];
    assert_non_null(mkdtemp(home));
    setenv("XDG_CACHE_HOME", home, 1);
    snprintf(cache, sizeof cache, "%s/ridge/awq", home);
    char *text = text_below(home, ""), *out = file_join(home, "out");
    struct checkpoint *ck = open_model("models/reference"), *made = NULL;
    struct device *device = device_of(2);
    struct quantize_options options = {.scheme = "int4-awq", .device = device, .calib = text};
    for (int at = 1; at <= 2; at++) {
        struct stop stop[3] = {{.at = at}, {.at = at}, {.at = at}};
        struct calibration result;
        struct model *model = NULL;
        struct engine_options load = {.device = device,
                                      .scheme = scheme_find("int4-awq"),
                                      .calib = text,
                                      .calibrating = stop_at};
        assert_int_equal(checkpoint_quantize(ck, &options, out, stop_at, &stop[0], &err),
                         ERR_INTERRUPTED);
        error_clear(&err);
        assert_int_equal(
            checkpoint_calibrated(ck, &options, stop_at, &stop[1], &made, &result, &err),
            ERR_INTERRUPTED);
        assert_null(made);
        error_clear(&err);
        assert_int_equal(model_load(ck, &load, NULL, &stop[2], &model, &err), ERR_INTERRUPTED);
        assert_null(model);
        error_clear(&err);
        for (int i = 0; i < 3; i++)
            assert_int_equal(stop[i].calls, at);
        assert_int_equal(names_in(cache), 0);
        assert_int_equal(names_in(home), 2); // the text, and the cache's folder
    }
    device_close(device);
    checkpoint_destroy(ck);
    free(text);
    free(out);
    unsetenv("XDG_CACHE_HOME");
    expect_ok(file_remove_tree(home, &err), &err, home);
}

static void test_calibrated(void **state)
{
    (void)state;
#ifdef SANITIZED
    print_message("skipped: calibrating the reference model takes ten minutes under a sanitizer\n");
    skip();
#endif
    struct error err = {0};
    char home[] = "/tmp/ridge-test-awq-XXXXXX", dir[64];
    assert_non_null(mkdtemp(home));
    setenv("XDG_CACHE_HOME", home, 1);
    snprintf(dir, sizeof dir, "%s/ridge/awq", home);
    char *text = text_below(home, "");
    struct checkpoint *ck = open_model("models/reference");
    struct calibration first, again, other;
    calibrated(ck, text, &first);
    assert_false(first.kept);
    assert_int_equal(names_in(dir), 1);
    calibrated(ck, text, &again);
    assert_true(again.kept && again.time_ns == first.time_ns);
    assert_string_equal(again.path, first.path);
    free(text);
    text = text_below(home, "And more.\n");
    calibrated(ck, text, &other);
    assert_false(other.kept);
    assert_string_not_equal(other.path, first.path);
    assert_int_equal(names_in(dir), 2);
    same_from_gguf(ck, text, &other, home);
    checkpoint_destroy(ck);
    free(text);
    unsetenv("XDG_CACHE_HOME");
    expect_ok(file_remove_tree(home, &err), &err, home);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_folding),
        cmocka_unit_test(test_search),
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_experts_that_few_tokens_reach_are_counted),
        cmocka_unit_test(test_stopped_search),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_calibrated),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
