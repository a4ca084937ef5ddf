// test_text.c - what a convention makes of a text: ids, bos and windows, llama-512 as llama.cpp has them.
//
// The peer's ids and perplexities are of tools/golden/peer_perplexity.py with xllamacpp 2026.10.11549, on the
// reference model as `bench convert --type f32` writes it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <jansson.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "bench/quality/quality.h"
#include "tests/engine/fixture.h"

#define REFERENCE "models/reference"
#define EVAL      "models/reference/eval.txt"

// ---- scratch ----------------------------------------------------------------------------------------

// The reference model, its tokenizer with `ends` for a post_processor: a template's "single", or NULL.
static void make_folder(char *dir, const char *single)
{
    struct error err = {0};
    char path[200], target[600], here[400];
    assert_non_null(mkdtemp(dir));
    assert_non_null(getcwd(here, sizeof here));
    static const char *const linked[] = {"config.json", "model.safetensors"};
    for (int i = 0; i < 2; i++) {
        snprintf(target, sizeof target, "%s/" REFERENCE "/%s", here, linked[i]);
        snprintf(path, sizeof path, "%s/%s", dir, linked[i]);
        assert_int_equal(symlink(target, path), 0);
    }
    json_t *root = json_load_file(REFERENCE "/tokenizer.json", 0, NULL);
    assert_non_null(root);
    if (single) {
        json_t *parts = json_loads(single, 0, NULL);
        assert_non_null(parts);
        json_object_set_new(root, "post_processor",
                            json_pack("{s:s, s:o}", "type", "TemplateProcessing", "single", parts));
    }
    char *text = json_dumps(root, 0);
    snprintf(path, sizeof path, "%s/tokenizer.json", dir);
    expect_ok(file_write(path, text, strlen(text), &err), &err, path);
    free(text);
    json_decref(root);
}

static void remove_folder(const char *dir)
{
    static const char *const names[] = {"config.json", "model.safetensors", "tokenizer.json",
                                        "text.txt"};
    char path[200];
    for (int i = 0; i < 4; i++) {
        snprintf(path, sizeof path, "%s/%s", dir, names[i]);
        unlink(path);
    }
    assert_int_equal(rmdir(dir), 0);
}

// Whole lines of the first 5000 bytes of eval.txt, special tokens, and two newlines at the end.
static const char *write_text(const char *dir)
{
    static char path[200];
    static const char more[] =
        "\n<|endoftext|>The end<|endoftext|> of <|endoftext|>\n\ntail line\n";
    struct error err = {0};
    char *text = NULL;
    size_t bytes = 0;
    struct str out = {0};
    snprintf(path, sizeof path, "%s/text.txt", dir);
    expect_ok(file_read(EVAL, QUALITY_TEXT_MAX, &text, &bytes, &err), &err, EVAL);
    size_t cut = 5000;
    while (text[cut - 1] != '\n')
        cut--;
    str_append_bytes(&out, text, cut - 1);
    str_append(&out, more);
    expect_ok(file_write(path, str_text(&out), out.length, &err), &err, path);
    str_fini(&out);
    free(text);
    return path;
}

static enum status read_as(const char *dir, const char *path, const char *convention,
                           struct quality_text *out, struct error *err)
{
    struct checkpoint *ck = NULL;
    struct tokenizer *tok = NULL;
    expect_ok(checkpoint_open(dir, &ck, err), err, dir);
    expect_ok(checkpoint_tokenizer(ck, &tok, err), err, dir);
    quality_text_read(path, quality_convention_find(convention), tok, checkpoint_config(ck), out,
                      err);
    tokenizer_destroy(tok);
    checkpoint_destroy(ck);
    return err->code;
}

// ---- llama-512 --------------------------------------------------------------------------------------

#define BOS_BEFORE                                                                                 \
    "[{\"SpecialToken\":{\"id\":\"<|endoftext|>\",\"type_id\":0}},"                                \
    "{\"Sequence\":{\"id\":\"A\",\"type_id\":0}}]"
#define EOS_AFTER                                                                                  \
    "[{\"Sequence\":{\"id\":\"A\",\"type_id\":0}},"                                                \
    "{\"SpecialToken\":{\"id\":\"<|endoftext|>\",\"type_id\":0}}]"

static const struct {
    const char *single; // the tokenizer's template
    size_t ids;
    const char *hash; // of the ids, little-endian int32
    int32_t bos;
    double perplexity; // of the first two windows
} peers[] = {
    {NULL, 1489, "534c5279c4cedcc2cc9b5395df79efb03c7d52a0cc5d2da12da9d532deba08ac", -1, 17.8930},
    {BOS_BEFORE, 1490, "d6a4d0586b04c21eca1ca61dfe51958bd0802b599b969a6bf6c8acbe1082824f", 0,
     17.9188},
};

static double perplexity_of(const char *dir, const struct quality_text *text)
{
    struct error err = {0};
    struct quality quality;
    struct device *device = device_of(2);
    struct model *model = load(dir, "f32", device);
    struct quality_input in = {.model = model,
                               .kv = DT_F16, // as llama.cpp's cache
                               .convention = quality_convention_find("llama-512"),
                               .text = text,
                               .pool = device_pool(device)};
    expect_ok(quality_measure(&in, &quality, &err), &err, dir);
    model_destroy(model);
    device_close(device);
    assert_true(quality.windows == 2 && quality.tokens == 510);
    return quality.perplexity;
}

static void llama_512_is_the_peers(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof peers / sizeof *peers; i++) {
        struct error err = {0};
        struct quality_text text;
        char dir[] = "/tmp/test_text_XXXXXX", hash[HASH_HEX_BYTES];
        int32_t window[512];
        make_folder(dir, peers[i].single);
        expect_ok(read_as(dir, write_text(dir), "llama-512", &text, &err), &err, dir);
        assert_int_equal(text.count, peers[i].ids);
        expect_ok(hash_bytes(text.ids, text.count * sizeof *text.ids, hash, &err), &err, "hash");
        assert_string_equal(hash, peers[i].hash);
        assert_int_equal(text.window_bos, peers[i].bos);
        quality_window(quality_convention_find("llama-512"), &text, 1, window);
        assert_int_equal(window[0], peers[i].bos >= 0 ? peers[i].bos : text.ids[512]);
        assert_int_equal(window[511], text.ids[1023]);
        double got = perplexity_of(dir, &text);
        print_message("perplexity %.4f, llama.cpp %.4f\n", got, peers[i].perplexity);
        assert_true(fabs(got / peers[i].perplexity - 1) < 1e-4);
        quality_text_fini(&text);
        remove_folder(dir);
    }
}

// Everywhere else special tokens count as what they are.
static void special_tokens_elsewhere(void **state)
{
    (void)state;
    struct error err = {0};
    struct quality_text text;
    char dir[] = "/tmp/test_text_XXXXXX";
    size_t special = 0;
    make_folder(dir, NULL);
    expect_ok(read_as(dir, write_text(dir), "full-2048", &text, &err), &err, dir);
    for (size_t i = 0; i < text.count; i++)
        special += text.ids[i] == 0;
    assert_int_equal(special, 4); // bos, and three in the text
    assert_int_equal(text.window_bos, -1);
    quality_text_fini(&text);
    remove_folder(dir);
}

static void what_the_peer_refuses(void **state)
{
    (void)state;
    struct error err = {0};
    struct quality_text text;
    char dir[] = "/tmp/test_text_XXXXXX";
    make_folder(dir, EOS_AFTER);
    assert_int_equal(read_as(dir, write_text(dir), "llama-512", &text, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "ends texts with id 0"));
    error_clear(&err);
    remove_folder(dir);
    const struct quality_convention *llama = quality_convention_find("llama-512");
    text = (struct quality_text){.count = 1023};
    assert_int_equal(quality_check_length(llama, &text, &err), ERR_USAGE);
    assert_string_equal(err.message, "a text of 1023 tokens is shorter than two windows of 512, "
                                     "which llama-perplexity asks for");
    error_clear(&err);
    expect_ok(quality_check_length(quality_convention_find("half-512"), &text, &err), &err, "half");
    text.count = 1024;
    expect_ok(quality_check_length(llama, &text, &err), &err, "two windows");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(llama_512_is_the_peers),
        cmocka_unit_test(special_tokens_elsewhere),
        cmocka_unit_test(what_the_peer_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
