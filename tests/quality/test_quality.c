// test_quality.c - perplexity and divergence from the text on, against transformers; threads; refusals.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "bench/quality/quality.h"
#include "tests/engine/fixture.h"
#include "tests/sanitized.h"

#define REFERENCE "models/reference"
#define EVAL      "models/reference/eval.txt"

static void read_text(const char *path, const char *convention, struct quality_text *out)
{
    struct error err = {0};
    struct checkpoint *ck = NULL;
    struct tokenizer *tok = NULL;
    expect_ok(checkpoint_open(REFERENCE, &ck, &err), &err, REFERENCE);
    expect_ok(checkpoint_tokenizer(ck, &tok, &err), &err, REFERENCE);
    expect_ok(quality_text_read(path, quality_convention_find(convention), tok,
                                checkpoint_config(ck), out, &err),
              &err, path);
    tokenizer_destroy(tok);
    checkpoint_destroy(ck);
}

static struct quality measure(struct model *model, struct model *baseline, struct device *device,
                              const char *convention, const struct quality_text *text,
                              size_t windows)
{
    struct error err = {0};
    struct quality quality;
    struct quality_input in = {.model = model,
                               .kv = model_scheme(model)->default_kv,
                               .baseline = baseline,
                               .convention = quality_convention_find(convention),
                               .text = text,
                               .windows = windows,
                               .pool = device_pool(device)};
    expect_ok(quality_measure(&in, &quality, &err), &err, convention);
    return quality;
}

// The reference model with another rotary base: its folder, with the weights linked.
static void make_turned(char *dir)
{
    static const char *const linked[] = {"model.safetensors", "tokenizer.json"};
    struct error err = {0};
    char path[200], target[600], here[400], *config = NULL;
    size_t size = 0;
    assert_non_null(mkdtemp(dir));
    assert_non_null(getcwd(here, sizeof here));
    for (int i = 0; i < 2; i++) {
        snprintf(target, sizeof target, "%s/" REFERENCE "/%s", here, linked[i]);
        snprintf(path, sizeof path, "%s/%s", dir, linked[i]);
        assert_int_equal(symlink(target, path), 0);
    }
    expect_ok(file_read(REFERENCE "/config.json", 1 << 20, &config, &size, &err), &err, "config");
    char *theta = strstr(config, "\"rope_theta\": 10000.0");
    assert_non_null(theta);
    memcpy(theta, "\"rope_theta\":  9000.0", 21);
    snprintf(path, sizeof path, "%s/config.json", dir);
    expect_ok(file_write(path, config, size, &err), &err, path);
    free(config);
}

static void remove_turned(const char *dir)
{
    static const char *const names[] = {"model.safetensors", "tokenizer.json", "config.json"};
    char path[200];
    for (int i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    rmdir(dir);
}

struct golden {
    char name[16];
    uint32_t windows, scored;
    double nll_f32, nll_bf16, nll_turned, kl_mean, kl_median, kl_p99;
    double same_top, dp_mean, dp_rms, dp_p5;
};

static void close_to(const char *name, const char *what, double got, double expected, double share)
{
    print_message("%s %s: %.6g, transformers %.6g\n", name, what, got, expected);
    if (!(fabs(got - expected) <= share * fabs(expected)))
        fail_msg("%s: %s is %.9g, transformers say %.9g", name, what, got, expected);
}

// Half of f32's own rounding in torch and here decides ties of the likeliest id: a token in a thousand.
static void check_turned(const struct golden *g, const struct quality *q)
{
    close_to(g->name, "turned", log(q->perplexity), g->nll_turned, 1e-5);
    close_to(g->name, "f32", log(q->perplexity_f32), g->nll_f32, 1e-5);
    close_to(g->name, "ln ratio", q->ln_ratio, g->nll_turned - g->nll_f32, 2e-3);
    close_to(g->name, "KL mean", q->kl_mean, g->kl_mean, 1e-3);
    close_to(g->name, "KL median", q->kl_median, g->kl_median, 5e-3);
    close_to(g->name, "KL 99 %", q->kl_p99, g->kl_p99, 1e-2);
    close_to(g->name, "same top", q->same_top, g->same_top, 1.5e-3);
    close_to(g->name, "delta-p mean", q->dp_mean, g->dp_mean, 1e-2);
    close_to(g->name, "delta-p RMS", q->dp_rms, g->dp_rms, 1e-3);
    close_to(g->name, "delta-p 5 %", q->dp_p5, g->dp_p5, 5e-3);
}

// Each takes minutes under a sanitizer, by the same code.
static int conventions(void)
{
#ifdef SANITIZED
    print_message("under a sanitizer: one convention of three\n");
    return 1;
#else
    return 3;
#endif
}

// bf16: transformers rounds the residual stream as well, which the engine does not; over so few windows
// that alone moves perplexity by 0.2 %. So bf16 is held to 0.2 % of transformers' f32, and to 0.5 % of
// its bf16; over 200 windows both say 17.02.
static void figures_are_transformers(void **state)
{
    (void)state;
    struct error err = {0};
    struct file_map map;
    char dir[] = "/tmp/test_quality_XXXXXX";
    make_turned(dir);
    struct device *device = device_of(2);
    struct model *f32 = load(REFERENCE, "f32", device);
    struct model *bf16 = load(REFERENCE, "bf16", device);
    struct model *turned = load(dir, "f32", device);
    expect_ok(file_map("tests/golden/reference/quality.bin", &map, &err), &err, "golden");
    assert_memory_equal(map.data, "RGQL\1\0\0\0\3\0\0\0", 12);
    assert_int_equal(map.size_bytes, 12 + 3 * 104);
    for (int i = 0; i < conventions(); i++) {
        struct golden g;
        struct quality_text text;
        memcpy(&g, map.data + 12 + (size_t)i * 104, sizeof g);
        read_text(EVAL, g.name, &text);
        struct quality q = measure(turned, f32, device, g.name, &text, g.windows);
        assert_true(q.windows == g.windows && q.tokens == (double)g.windows * g.scored);
        check_turned(&g, &q);
        q = measure(bf16, NULL, device, g.name, &text, g.windows);
        close_to(g.name, "bf16", q.perplexity, exp(g.nll_f32), 2e-3);
        close_to(g.name, "bf16", q.perplexity, exp(g.nll_bf16), 5e-3);
        assert_true(isnan(q.kl_mean));
        quality_text_fini(&text);
    }
    file_unmap(&map);
    model_destroy(f32);
    model_destroy(bf16);
    model_destroy(turned);
    device_close(device);
    remove_turned(dir);
}

// The number of threads changes no bit; nor does the model next to the judged one.
static void threads_change_nothing(void **state)
{
    (void)state;
    struct quality_text text;
    struct quality q[3];
    read_text(EVAL, "half-512", &text);
    for (int threads = 1; threads <= 2; threads++) {
        struct device *device = device_of(threads);
        struct model *bf16 = load(REFERENCE, "bf16", device);
        struct model *f32 = load(REFERENCE, "f32", device);
        q[threads - 1] = measure(bf16, f32, device, "half-512", &text, 2);
        if (threads == 2) {
            q[2] = measure(bf16, NULL, device, "half-512", &text, 2);
            struct quality self = measure(f32, f32, device, "half-512", &text, 1);
            assert_true(self.kl_mean == 0 && self.same_top == 1 && self.dp_rms == 0);
        }
        model_destroy(f32);
        model_destroy(bf16);
        device_close(device);
    }
    for (const struct quality_figure *f = quality_figures; f->metric; f++)
        if (strcmp(f->metric, "quality_time") != 0)
            assert_true(quality_get(&q[0], f) == quality_get(&q[1], f));
    assert_true(q[0].kl_mean > 0 && q[0].kl_mean < 0.01 && q[0].same_top > 0.95);
    assert_true(q[2].perplexity == q[0].perplexity);
    quality_text_fini(&text);
}

// A document begins with bos, however it ends; what is blank between form feeds is none.
static void documents_begin_with_bos(void **state)
{
    (void)state;
    struct error err = {0};
    struct quality_text text, one;
    char path[] = "/tmp/test_quality_text_XXXXXX";
    close(mkstemp(path));
    const char words[] = "The query planner\n\f\n \n\f\nwrites a table.\n\f\n";
    expect_ok(file_write(path, words, strlen(words), &err), &err, path);
    read_text(path, "half-512", &text);
    assert_int_equal(text.documents, 2);
    size_t bos = 0;
    for (size_t i = 0; i < text.count; i++)
        bos += text.ids[i] == 0;
    assert_int_equal(bos, 2);
    assert_int_equal(text.ids[0], 0);
    read_text(path, "full-2048", &one);
    assert_int_equal(one.documents, 1);
    assert_int_equal(one.ids[0], 0);
    assert_string_equal(one.hash, text.hash); // of the file, not of what is made of it
    for (size_t i = 1; i < one.count; i++)
        assert_int_not_equal(one.ids[i], 0);
    quality_text_fini(&text);
    quality_text_fini(&one);
    // llama-512 drops the last newline, and this tokenizer adds no bos: of this text it makes what the other
    // makes of it without a newline, less the bos
    read_text(path, "llama-512", &text);
    expect_ok(file_write(path, words, strlen(words) - 1, &err), &err, path);
    read_text(path, "full-2048", &one);
    assert_int_equal(text.count, one.count - 1);
    assert_memory_equal(text.ids, one.ids + 1, text.count * sizeof *text.ids);
    quality_text_fini(&text);
    quality_text_fini(&one);
    unlink(path);
}

static void refusals_are_in_words(void **state)
{
    (void)state;
    struct error err = {0};
    struct checkpoint *ck = NULL;
    struct quality_text text = {0};
    struct quality q;
    struct device *device = device_of(1);
    struct model *tiny = load(MODELS "llama-gqa3", "f32", device);
    int32_t ids[600] = {0};
    struct quality_text zeros = {.ids = ids, .count = 600}, brief = {.ids = ids, .count = 511};
    struct quality_input in = {.model = tiny,
                               .kv = DT_F32,
                               .convention = quality_convention_find("full-2048"),
                               .text = &zeros,
                               .pool = device_pool(device)};
    assert_int_equal(quality_measure(&in, &q, &err), ERR_UNSUPPORTED);
    assert_string_equal(err.message, "convention full-2048 has windows of 2048 tokens, the model "
                                     "ends at 512 positions");
    error_clear(&err);
    in.convention = quality_convention_find("half-512");
    expect_ok(quality_measure(&in, &q, &err), &err, "half-512"); // the well-formed twin
    in.progress = stop_at;
    for (struct stop stop = {.at = 1}; stop.at <= 3;
         stop.at++) { // within the one window, and after it
        stop.calls = 0;
        in.user = &stop;
        assert_int_equal(quality_measure(&in, &q, &err), ERR_INTERRUPTED);
        assert_int_equal(stop.calls, stop.at);
        error_clear(&err);
    }
    in.progress = NULL;
    in.text = &brief;
    assert_int_equal(quality_measure(&in, &q, &err), ERR_USAGE);
    assert_string_equal(err.message, "a text of 511 tokens has no window of 512");
    error_clear(&err);
    expect_ok(checkpoint_synthetic("models/shapes/llama-2-7b.json", 42, &ck, &err), &err, "shape");
    assert_int_equal(quality_check(ck, in.convention, &err), ERR_UNSUPPORTED);
    assert_string_equal(err.message, "synthetic weights have no quality");
    checkpoint_destroy(ck);
    error_clear(&err);
    expect_ok(checkpoint_open(REFERENCE, &ck, &err), &err, REFERENCE);
    expect_ok(quality_check(ck, in.convention, &err), &err, REFERENCE);
    assert_int_equal(
        quality_text_read("/nothing-here", in.convention, NULL, checkpoint_config(ck), &text, &err),
        ERR_IO);
    checkpoint_destroy(ck);
    model_destroy(tiny);
    device_close(device);
}

// The model that a model is compared with is f32 throughout, including its cache, whatever the cell's cache is.
static void the_baseline_has_a_cache_in_f32(void **state)
{
    (void)state;
    struct error err = {0};
    struct quality exact, coarse;
    struct device *device = device_of(1);
    struct model *tiny = load(MODELS "llama-gqa3", "f32", device);
    int32_t ids[512];
    for (int i = 0; i < 512; i++)
        ids[i] = i * 7 % model_config(tiny)->vocab;
    struct quality_text text = {.ids = ids, .count = 512};
    struct quality_input in = {.model = tiny,
                               .kv = DT_F32,
                               .baseline = tiny,
                               .convention = quality_convention_find("half-512"),
                               .text = &text,
                               .pool = device_pool(device)};
    expect_ok(quality_measure(&in, &exact, &err), &err, "f32");
    in.kv = DT_I8;
    expect_ok(quality_measure(&in, &coarse, &err), &err, "int8");
    assert_true(coarse.perplexity_f32 == exact.perplexity);
    assert_true(coarse.perplexity != exact.perplexity && coarse.kl_mean > 0);
    model_destroy(tiny);
    device_close(device);
}

// An f32 model that does not fit next to the model is reported with both sizes, and is not an error.
static void a_baseline_that_does_not_fit_is_reported(void **state)
{
    (void)state;
    struct error err = {0};
    struct checkpoint *ck = NULL;
    struct device *device = device_of(1);
    char why[256];
    expect_ok(checkpoint_open(REFERENCE, &ck, &err), &err, REFERENCE);
    struct model *bf16 = load(REFERENCE, "bf16", device), *out = NULL;
    struct engine_options options = {.device = device, .scheme = model_scheme(bf16)};
    struct quality_baseline in = {.ck = ck,
                                  .model = bf16,
                                  .kv = DT_BF16,
                                  .convention = quality_convention_find("half-512"),
                                  .options = &options,
                                  .free_bytes = 1 << 20};
    expect_ok(quality_baseline_load(&in, &out, why, sizeof why, &err), &err, "too little");
    assert_null(out);
    assert_non_null(strstr(why, "needs"));
    assert_non_null(strstr(why, "1.00 MiB are free"));
    in.free_bytes = 1 << 30;
    expect_ok(quality_baseline_load(&in, &out, why, sizeof why, &err), &err, "enough");
    assert_non_null(out);
    assert_string_equal(why, "");
    assert_string_equal(model_scheme(out)->name, "f32");
    in.model = out;
    struct model *same = NULL;
    expect_ok(quality_baseline_load(&in, &same, why, sizeof why, &err), &err, "itself");
    assert_ptr_equal(same, out);
    model_destroy(out);
    model_destroy(bf16);
    device_close(device);
    checkpoint_destroy(ck);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_transformers),
        cmocka_unit_test(threads_change_nothing),
        cmocka_unit_test(documents_begin_with_bos),
        cmocka_unit_test(refusals_are_in_words),
        cmocka_unit_test(the_baseline_has_a_cache_in_f32),
        cmocka_unit_test(a_baseline_that_does_not_fit_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
