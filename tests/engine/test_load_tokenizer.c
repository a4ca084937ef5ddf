// test_load_tokenizer.c - ids against the tokenizers library's, decoding, and broken tokenizers.
#include "tests/engine/load_fixture.h"

#include "base/rng.h"
#include "base/str.h"
#include "engine/load/tokenizer.h"

#define GOLDEN "tests/golden/tokenizer/"

struct texts {
    char *file;
    uint32_t count;
};

static struct texts texts_open(void)
{
    size_t bytes;
    struct texts t = {.file = slurp(GOLDEN "texts.bin", &bytes)};
    assert_memory_equal(t.file, "RTXT", 4);
    memcpy(&t.count, t.file + 4, 4);
    assert_in_range(t.count, 100, 100000);
    return t;
}

static struct tokenizer *tokenizer_ok(const char *path)
{
    struct error err = {0};
    struct tokenizer *tok = NULL;
    expect_ok(tokenizer_open(path, &tok, &err), &err, path);
    return tok;
}

static void same_ids(const struct tokenizer *tok, const char *kind, uint32_t nth, const char *text,
                     uint32_t bytes, const unsigned char *want)
{
    struct error err = {0};
    int32_t *ids;
    size_t count;
    uint32_t want_count;
    memcpy(&want_count, want, 4);
    expect_ok(tokenizer_encode(tok, text, bytes, &ids, &count, &err), &err, kind);
    for (size_t i = 0; i < count && i < want_count; i++) {
        uint16_t id;
        memcpy(&id, want + 4 + 2 * i, 2);
        if (ids[i] != id)
            fail_msg("%s: text %u: id %zu is %d, not %d", kind, nth, i, ids[i], id);
    }
    if (count != want_count)
        fail_msg("%s: text %u: %zu ids, not %u", kind, nth, count, want_count);
    free(ids);
}

// Twice, so that the second round comes out of the cache of words.
static void golden(const char *kind, const char *path)
{
    struct tokenizer *tok = tokenizer_ok(path);
    struct texts t = texts_open();
    char name[128];
    size_t size;
    snprintf(name, sizeof name, GOLDEN "%s.ids", kind);
    char *ids = slurp(name, &size);
    for (int round = 0; round < 2; round++) {
        const char *at = t.file + 8;
        size_t id_at = 0;
        for (uint32_t i = 0; i < t.count; i++) {
            uint32_t bytes, count;
            memcpy(&bytes, at, 4);
            same_ids(tok, kind, i, at + 4, bytes, (unsigned char *)ids + id_at);
            memcpy(&count, ids + id_at, 4);
            id_at += 4 + 2 * (size_t)count;
            at += 4 + bytes;
        }
        assert_int_equal(id_at, size);
    }
    free(ids);
    free(t.file);
    tokenizer_destroy(tok);
}

static void golden_ids(void **state)
{
    (void)state;
    golden("gpt2", GOLDEN "gpt2.json");
    golden("llama3", GOLDEN "llama3.json");
    golden("qwen2", GOLDEN "qwen2.json");
    golden("smollm", GOLDEN "smollm.json");
    golden("deepseek", GOLDEN "deepseek.json");
    golden("reference", "models/reference/tokenizer.json");
}

// The tokenizer inside a GGUF file gives what the tokenizer.json beside it gives.
static void gguf_twins(void **state)
{
    (void)state;
    static const char *const names[] = {"llama-llama3", "qwen2-tied"};
    struct texts t = texts_open();
    for (int n = 0; n < 2; n++) {
        struct error err = {0};
        struct tokenizer *a, *b;
        char folder[128], file[160];
        snprintf(folder, sizeof folder, MODELS "%s", names[n]);
        snprintf(file, sizeof file, "%s/model.gguf", folder);
        struct checkpoint *hf = open_ok(folder), *gguf = open_ok(file);
        expect_ok(checkpoint_tokenizer(hf, &a, &err), &err, folder);
        expect_ok(checkpoint_tokenizer(gguf, &b, &err), &err, file);
        assert_int_equal(tokenizer_vocab(a), tokenizer_vocab(b));
        const char *at = t.file + 8;
        for (uint32_t i = 0, bytes; i < t.count; i++, at += 4 + bytes) {
            int32_t *x, *y;
            size_t count, other;
            memcpy(&bytes, at, 4);
            expect_ok(tokenizer_encode(a, at + 4, bytes, &x, &count, &err), &err, folder);
            expect_ok(tokenizer_encode(b, at + 4, bytes, &y, &other, &err), &err, file);
            assert_int_equal(count, other);
            assert_memory_equal(x, y, count * sizeof *x);
            free(x);
            free(y);
        }
        tokenizer_destroy(a);
        tokenizer_destroy(b);
        checkpoint_destroy(hf);
        checkpoint_destroy(gguf);
    }
    free(t.file);
}

// Decoded, ids are the text again (qwen2 and llama3's odd tokens aside, which normalize or strip).
static void round_trip(void **state)
{
    (void)state;
    struct tokenizer *tok = tokenizer_ok("models/reference/tokenizer.json");
    struct texts t = texts_open();
    const char *at = t.file + 8;
    for (uint32_t i = 0, bytes; i < t.count; i++, at += 4 + bytes) {
        struct error err = {0};
        struct str out = {0}, want = {0};
        int32_t *ids;
        size_t count;
        memcpy(&bytes, at, 4);
        expect_ok(tokenizer_encode(tok, at + 4, bytes, &ids, &count, &err), &err, "encode");
        for (size_t k = 0; k < count; k++)
            tokenizer_decode(tok, ids[k], &out);
        utf8_repair(at + 4, bytes, &want);
        assert_int_equal(out.length, want.length);
        assert_memory_equal(str_text(&out), str_text(&want), want.length);
        str_fini(&out);
        str_fini(&want);
        free(ids);
    }
    struct str none = {0};
    tokenizer_decode(tok, -1, &none);
    tokenizer_decode(tok, tokenizer_vocab(tok), &none);
    assert_int_equal(none.length, 0);
    free(t.file);
    tokenizer_destroy(tok);
}

// A quarter of a megabyte that is one word: no quadratic step, no overflow of a stack.
static void long_words(void **state)
{
    (void)state;
    struct error err = {0};
    static const char *const kinds[] = {GOLDEN "gpt2.json", GOLDEN "llama3.json",
                                        GOLDEN "qwen2.json", GOLDEN "deepseek.json"};
    static const char *const units[] = {"a", " ", "\n", "0", ".", "\xcc\x81", " \n", "\xff", "'"};
    enum { BYTES = 1 << 18 };
    char *text = malloc(BYTES);
    for (size_t k = 0; k < 4; k++) {
        struct tokenizer *tok = tokenizer_ok(kinds[k]);
        for (size_t u = 0; u < sizeof units / sizeof *units; u++) {
            size_t n = strlen(units[u]), count;
            int32_t *ids;
            for (size_t i = 0; i + n <= BYTES; i += n)
                memcpy(text + i, units[u], n);
            expect_ok(tokenizer_encode(tok, text, BYTES, &ids, &count, &err), &err, kinds[k]);
            assert_true(count > 0);
            free(ids);
        }
        tokenizer_destroy(tok);
    }
    free(text);
}

// ---- tokenizers made here -------------------------------------------------------------------------

#define MODEL                                                                                      \
    "'model':{'type':'BPE','vocab':{'a':0,'b':1,'ab':2,'\xc4\xa0':3},'merges':[['a','b']]}"
#define BYTE_LEVEL      "'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':false}"
#define BYTE_LEVEL_STEP "{'type':'ByteLevel','add_prefix_space':false,'use_regex':false}"

static enum status parse(const char *json, struct tokenizer **tok, struct error *err)
{
    char *copy = strdup(json);
    for (char *p = copy; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    enum status status = tokenizer_parse("t.json", copy, strlen(copy), tok, err);
    free(copy);
    return status;
}

static void refused(const char *json, enum status code, const char *word)
{
    struct error err = {0};
    struct tokenizer *tok = (struct tokenizer *)&err;
    enum status status = parse(json, &tok, &err);
    assert_null(tok);
    expect_error(status, &err, code, "t.json", word);
}

static void encodes(const char *json, const char *text, const char *want)
{
    struct error err = {0};
    struct tokenizer *tok = NULL;
    struct str got = {0};
    int32_t *ids;
    size_t count;
    expect_ok(parse(json, &tok, &err), &err, json);
    expect_ok(tokenizer_encode(tok, text, strlen(text), &ids, &count, &err), &err, json);
    for (size_t i = 0; i < count; i++)
        str_printf(&got, "%s%d", i ? " " : "", ids[i]);
    assert_string_equal(str_text(&got), want);
    str_fini(&got);
    free(ids);
    tokenizer_destroy(tok);
}

static void small(void **state)
{
    (void)state;
    encodes("{" MODEL "," BYTE_LEVEL "}", "ab ba", "2 3 1 0");
    encodes("{" MODEL "," BYTE_LEVEL "}", "axb",
            "2"); // x has no id, and leaves a and b side by side
    encodes("{" MODEL "," BYTE_LEVEL "}", "", "");
    encodes("{" MODEL ",'pre_tokenizer':{'type':'ByteLevel','add_prefix_space':true}}", "ab",
            "3 2");
    encodes("{'model':{'vocab':{'a':0,'b':1,'ab':2},'merges':['a b']}," BYTE_LEVEL "}", "ab", "2");
    encodes("{" MODEL "," BYTE_LEVEL
            ",'added_tokens':[{'id':4,'content':'ba'},{'id':5,'content':'bab'}]}",
            "abab", "0 5");
    encodes("{" MODEL
            ",'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'Split','pattern':"
            "{'String':'a'},'behavior':'Isolated'}," BYTE_LEVEL_STEP "]}}",
            "abb", "0 1 1");
    encodes("{" MODEL
            ",'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'Split','pattern':"
            "{'Regex':'b+'},'behavior':'Removed','invert':true}," BYTE_LEVEL_STEP "]}}",
            "abba", "1 1");
    encodes("{" MODEL
            ",'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'Split','pattern':"
            "{'Regex':'x*'},'behavior':'Isolated'}," BYTE_LEVEL_STEP "]}}",
            "axxb", "0 1"); // a pattern that matches nothing
}

static void broken(void **state)
{
    (void)state;
    refused("", ERR_FORMAT, "t.json");
    refused("{", ERR_FORMAT, "t.json");
    refused("[]", ERR_FORMAT, "model");
    refused("{'model':{'type':'Unigram'}}", ERR_UNSUPPORTED, "Unigram");
    refused("{'model':{'type':'BPE','merges':[]}}", ERR_FORMAT, "vocab");
    refused("{'model':{'vocab':{},'merges':[]}," BYTE_LEVEL "}", ERR_FORMAT, "vocab");
    refused("{'model':{'vocab':{'a':-1},'merges':[]}," BYTE_LEVEL "}", ERR_FORMAT, "not an id");
    refused("{'model':{'vocab':{'a':'0'},'merges':[]}," BYTE_LEVEL "}", ERR_FORMAT, "not an id");
    refused("{'model':{'vocab':{'a':4000000},'merges':[]}," BYTE_LEVEL "}", ERR_FORMAT, "4000000");
    refused("{'model':{'vocab':{'a':0},'merges':['a b']}," BYTE_LEVEL "}", ERR_FORMAT, "merge 0");
    refused("{'model':{'vocab':{'a':0},'merges':['ab']}," BYTE_LEVEL "}", ERR_FORMAT, "not a pair");
    refused("{'model':{'vocab':{'a':0},'merges':[7]}," BYTE_LEVEL "}", ERR_FORMAT, "not a pair");
    refused("{'model':{'vocab':{'a':0},'merges':[],'dropout':0.1}," BYTE_LEVEL "}", ERR_UNSUPPORTED,
            "dropout");
    refused("{'model':{'vocab':{'a':0},'merges':[],'end_of_word_suffix':'</w>'}," BYTE_LEVEL "}",
            ERR_UNSUPPORTED, "</w>");
    refused("{" MODEL ",'pre_tokenizer':{'type':'UnicodeScripts'}}", ERR_UNSUPPORTED,
            "UnicodeScripts");
    refused("{" MODEL "," BYTE_LEVEL ",'normalizer':{'type':'Lowercase'}}", ERR_UNSUPPORTED,
            "Lowercase");
    refused("{" MODEL
            ",'pre_tokenizer':{'type':'Split','pattern':{'Regex':'(['},'behavior':'Isolated'}}",
            ERR_FORMAT, "pattern");
    refused("{" MODEL
            ",'pre_tokenizer':{'type':'Split','pattern':{'Regex':'a'},'behavior':'Odd'}}",
            ERR_UNSUPPORTED, "Odd");
    refused("{" MODEL "," BYTE_LEVEL ",'added_tokens':[{'content':'x'}]}", ERR_FORMAT,
            "id: missing");
    refused("{" MODEL "," BYTE_LEVEL ",'added_tokens':[{'id':1}]}", ERR_FORMAT, "content: missing");
}

static void of_another_model(void **state)
{
    (void)state;
    struct error err = {0};
    struct tokenizer *tok = NULL;
    const char *dir = scratch_make();
    copy(MODELS "llama-gqa3", "config.json", dir);
    copy(MODELS "llama-gqa3", "model.safetensors", dir);
    struct checkpoint *ck = open_ok(dir);
    expect_error(checkpoint_tokenizer(ck, &tok, &err), &err, ERR_IO, "tokenizer.json",
                 "No such file");
    assert_null(tok);
    copy("models/reference", "tokenizer.json", dir); // 4096 ids for a vocabulary of 331
    expect_error(checkpoint_tokenizer(ck, &tok, &err), &err, ERR_FORMAT, "of another model",
                 "4095");
    put(dir, "tokenizer.json", "{", 1);
    expect_error(checkpoint_tokenizer(ck, &tok, &err), &err, ERR_FORMAT, "tokenizer.json", "");
    copy(MODELS "llama-llama3", "tokenizer.json", dir);
    checkpoint_destroy(ck);
    ck = open_ok(MODELS "llama-llama3"); // the well-formed twin
    expect_ok(checkpoint_tokenizer(ck, &tok, &err), &err, "twin");
    tokenizer_destroy(tok);
    checkpoint_destroy(ck);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_ids),
        cmocka_unit_test(gguf_twins),
        cmocka_unit_test(round_trip),
        cmocka_unit_test(long_words),
        cmocka_unit_test(small),
        cmocka_unit_test(broken),
        cmocka_unit_test(of_another_model),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
