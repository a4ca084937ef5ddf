// test_gguf_tokenizer.c - tokenizers inside GGUF files: ids as of the tokenizer.json of the same model, the
// facts a writer needs, and broken metadata.
#include "engine/load/gguf/gguf.h"
#include "tests/text/tokenizer_fixture.h"

static void golden_ids(void **state)
{
    (void)state;
    static const char *const kinds[] = {"gpt2",   "starcoder", "falcon", "phi2",   "neox",
                                        "bloom",  "command-r", "gpt4o",  "tekken", "deepseek",
                                        "llama2", "gemma",     "phi3"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[128];
        snprintf(path, sizeof path, GOLDEN "%s.gguf", kinds[i]);
        golden(kinds[i], path);
    }
}

// What a writer would write from a tokenizer.json agrees with the GGUF file next to it.
static void facts_of_twins(void **state)
{
    (void)state;
    static const char *const kinds[] = {"gpt2", "falcon", "neox", "deepseek", "tekken"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[128];
        snprintf(path, sizeof path, GOLDEN "%s.json", kinds[i]);
        struct tokenizer *a = tokenizer_ok(path);
        snprintf(path, sizeof path, GOLDEN "%s.gguf", kinds[i]);
        struct tokenizer *b = tokenizer_ok(path);
        struct tokenizer_facts x = tokenizer_facts(a), y = tokenizer_facts(b);
        struct str s = {0}, t = {0};
        assert_non_null(x.pre);
        assert_non_null(y.pre);
        assert_int_equal(x.ids, y.ids);
        assert_int_equal(x.merges, y.merges);
        assert_true(x.merges > 100);
        for (int32_t id = 0; id < x.ids; id++) {
            tokenizer_spelling(a, id, &s);
            tokenizer_spelling(b, id, &t);
            assert_int_equal(tokenizer_token_type(a, id), tokenizer_token_type(b, id));
        }
        for (size_t rank = 0; rank < x.merges; rank++) {
            tokenizer_merge_spelling(a, rank, &s);
            tokenizer_merge_spelling(b, rank, &t);
        }
        assert_string_equal(str_text(&s), str_text(&t));
        str_fini(&s);
        str_fini(&t);
        tokenizer_destroy(a);
        tokenizer_destroy(b);
    }
}

// Scores found from merges make those merges again (tokenizer_scores checks it), and a GGUF file's own come
// back as they are.
static void scores(void **state)
{
    (void)state;
    static const char *const kinds[] = {"llama2", "gemma", "phi3", "mistral"};
    struct error err = {0};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[128];
        snprintf(path, sizeof path, GOLDEN "%s.json", kinds[i]);
        struct tokenizer *tok = tokenizer_ok(path);
        float *found = malloc((size_t)tokenizer_vocab(tok) * sizeof *found);
        expect_ok(tokenizer_scores(tok, found, &err), &err, path);
        free(found);
        tokenizer_destroy(tok);
    }
    struct tokenizer *tok = tokenizer_ok(GOLDEN "llama2.gguf");
    float *own = malloc((size_t)tokenizer_vocab(tok) * sizeof *own);
    expect_ok(tokenizer_scores(tok, own, &err), &err, "llama2.gguf");
    assert_memory_equal(own, tok->scores, (size_t)tokenizer_vocab(tok) * sizeof *own);
    free(own);
    tokenizer_destroy(tok);
    tok = tokenizer_ok(GOLDEN "gpt2.json");
    own = malloc((size_t)tokenizer_vocab(tok) * sizeof *own);
    expect_error(tokenizer_scores(tok, own, &err), &err, ERR_UNSUPPORTED, "gpt2.json", "scores");
    free(own);
    tokenizer_destroy(tok);
}

static void no_scores(const char *json, const char *word)
{
    struct error err = {0};
    struct tokenizer *tok;
    float found[3];
    expect_ok(tokenizer_parse("t.json", json, strlen(json), &tok, &err), &err, json);
    expect_error(tokenizer_scores(tok, found, &err), &err, ERR_UNSUPPORTED, "t.json", word);
    tokenizer_destroy(tok);
}

// An order that puts the shorter left part first; a normal form, which GGUF's pieces have not.
static void scores_that_cannot_be(void **state)
{
    (void)state;
    no_scores(
        "{\"normalizer\":{\"type\":\"Replace\",\"pattern\":{\"String\":\" \"},\"content\":\"▁\"},"
        "\"model\":{\"byte_fallback\":true,\"vocab\":{\"a\":0,\"aa\":1,\"aaa\":2},"
        "\"merges\":[[\"a\",\"a\"],[\"a\",\"aa\"],[\"aa\",\"a\"]]}}",
        "order");
    no_scores("{\"normalizer\":{\"type\":\"NFKC\"},\"model\":{\"byte_fallback\":true,"
              "\"vocab\":{\"a\":0},\"merges\":[]}}",
              "normalizer");
}

// ---- broken metadata ------------------------------------------------------------------------------

// Changes `count` bytes, `skip` behind the end of `key`, and wants the file refused.
static void refused(const char *file, const char *key, size_t skip, const void *bytes, size_t count,
                    enum status code, const char *word)
{
    struct error err = {0};
    struct tokenizer *tok;
    size_t size;
    char *data = slurp(file, &size);
    char *at = memmem(data, size, key, strlen(key));
    assert_non_null(at);
    memcpy(at + strlen(key) + skip, bytes, count);
    expect_error(gguf_tokenizer_parse("t.gguf", (unsigned char *)data, size, &tok, &err), &err,
                 code, "t.gguf", word);
    assert_null(tok);
    free(data);
}

enum { VALUE = 4, TEXT = VALUE + 8, ELEMENT = VALUE, COUNT = VALUE + 4, FIRST = COUNT + 8 };

static void broken(void **state)
{
    (void)state;
    static const char gpt2[] = GOLDEN "gpt2.gguf", llama[] = GOLDEN "llama2.gguf";
    uint32_t zero = 0, seventy = 70, one = 1, half = 0x3f000000, nan = 0x7fc00000;
    refused(gpt2, "tokenizer.ggml.pre", TEXT, "gpt-9", 5, ERR_UNSUPPORTED, "llama-bpe");
    refused(gpt2, "tokenizer.ggml.pre", TEXT, "gpt-9", 5, ERR_UNSUPPORTED, "gpt-9");
    refused(gpt2, "tokenizer.ggml.pr", 0, "x", 1, ERR_UNSUPPORTED, "missing");
    refused(gpt2, "tokenizer.ggml.mode", 0, "x", 1, ERR_UNSUPPORTED, "no tokenizer");
    refused(gpt2, "tokenizer.ggml.model", TEXT, "bert", 4, ERR_UNSUPPORTED, "bert");
    refused(gpt2, "tokenizer.ggml.merge", 0, "x", 1, ERR_FORMAT, "merges: missing");
    refused(gpt2, "tokenizer.ggml.token", 0, "x", 1, ERR_FORMAT, "tokens: missing");
    refused(gpt2, "tokenizer.ggml.merges", FIRST + 8, "zz", 2, ERR_FORMAT, "merge");
    refused(gpt2, "tokenizer.ggml.token_type", FIRST, &zero, 4, ERR_FORMAT, "no type");
    refused(gpt2, "tokenizer.ggml.token_type", FIRST, &seventy, 4, ERR_FORMAT, "70");
    refused(gpt2, "tokenizer.ggml.token_type", ELEMENT, &one, 4, ERR_FORMAT, "");
    refused(gpt2, "tokenizer.ggml.token_type", COUNT, &one, 4, ERR_FORMAT, "");
    refused(llama, "tokenizer.ggml.scores", FIRST, &nan, 4, ERR_FORMAT, "not a number");
    refused(llama, "tokenizer.ggml.score", 0, "x", 1, ERR_FORMAT, "scores: missing");
    refused(llama, "tokenizer.ggml.token_typ", 0, "x", 1, ERR_FORMAT, "token_type: missing");
    refused(llama, "tokenizer.ggml.add_space_prefix", 0, &half, 4, ERR_FORMAT, "");
}

static void cut_short(void **state)
{
    (void)state;
    struct error err = {0};
    struct tokenizer *tok;
    size_t size;
    char *data = slurp(GOLDEN "llama2.gguf", &size);
    for (size_t n = 0; n + 1 < size; n += n < 64 ? 1 : 997) {
        assert_int_not_equal(gguf_tokenizer_parse("t.gguf", (unsigned char *)data, n, &tok, &err),
                             OK);
        assert_null(tok);
        error_clear(&err);
    }
    free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_ids), cmocka_unit_test(facts_of_twins),
        cmocka_unit_test(scores),     cmocka_unit_test(scores_that_cannot_be),
        cmocka_unit_test(broken),     cmocka_unit_test(cut_short),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
