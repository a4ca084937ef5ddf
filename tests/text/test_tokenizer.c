// test_tokenizer.c - ids and text against the tokenizers library's, and broken tokenizers.
#include "tests/text/tokenizer_fixture.h"

#include "base/rng.h"

static void golden_ids(void **state)
{
    (void)state;
    static const char *const kinds[] = {"gpt2",   "llama3",   "qwen2",   "starcoder", "falcon",
                                        "phi2",   "neox",     "bloom",   "command-r", "gpt4o",
                                        "tekken", "deepseek", "roberta", "llama2",    "mistral",
                                        "gemma",  "phi3"};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        char path[128];
        snprintf(path, sizeof path, GOLDEN "%s.json", kinds[i]);
        golden(kinds[i], path);
    }
    golden("reference", "models/reference/tokenizer.json");
}

// The tokenizer inside a GGUF file gives what the tokenizer.json next to it gives.
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

// A quarter of a megabyte that is one word: no quadratic step, no overflow of a stack.
static void long_words(void **state)
{
    (void)state;
    struct error err = {0};
    static const char *const kinds[] = {
        GOLDEN "gpt2.json",   GOLDEN "llama3.json", GOLDEN "qwen2.json",   GOLDEN "deepseek.json",
        GOLDEN "falcon.json", GOLDEN "llama2.json", GOLDEN "mistral.json", GOLDEN "gemma.json"};
    static const char *const units[] = {"a", " ", "\n", "0", ".", "\xcc\x81", " \n", "\xff", "'"};
    enum { BYTES = 1 << 18 };
    char *text = malloc(BYTES);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
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

// Options of added tokens where they meet, as tokenizers decides.
static void added_tokens(void **state)
{
    (void)state;
    static const char vocab[] =
        "{'model':{'unk_token':'?','vocab':{'?':0,'a':1,' ':2,'x':3},'merges':[]},"
        "'normalizer':{'type':'Prepend','prepend':'x'},'added_tokens':["
        "{'id':4,'content':'<r>','rstrip':true},"
        "{'id':5,'content':'<l>','lstrip':true},"
        "{'id':6,'content':'\\t'},"
        "{'id':7,'content':'one','single_word':true},"
        "{'id':8,'content':'n','normalized':true}]}";
    struct error err = {0};
    struct tokenizer *tok;
    struct str out = {0};
    encodes(vocab, "a  <l> a", "3 1 5 3 2 1");
    encodes(vocab, "<r>  a", "4 3 1");
    encodes(vocab, "<r> <l>", "4 5");
    encodes(vocab, "<r> \t a", "4 6 3 2 1"); // found in what <r> included; text continues after it
    encodes(vocab, "one onea aone", "7 3 2 0 0 0 1 2 1 0 0 0");
    encodes(vocab, "na", "8 1"); // looked for as 'xn'
    encodes(vocab, "an", "3 1 0");
    expect_ok(parse(vocab, &tok, &err), &err, vocab);
    tokenizer_text(tok, (int32_t[]){8, 1}, 2, &out);
    assert_string_equal(str_text(&out), "xna");
    str_fini(&out);
    tokenizer_destroy(tok);
}

// Ids of a file with holes are kept; the tokenizers library would renumber added tokens.
static void holes(void **state)
{
    (void)state;
    static const char json[] = "{'model':{'vocab':{'a':0,'b':1},'merges':[]}," BYTE_LEVEL
                               ",'added_tokens':[{'id':7,'content':'<z>'}]}";
    struct error err = {0};
    struct tokenizer *tok = NULL;
    struct str out = {0};
    encodes(json, "a<z>b", "0 7 1");
    expect_ok(parse(json, &tok, &err), &err, json);
    assert_int_equal(tokenizer_vocab(tok), 8);
    assert_int_equal(tokenizer_token_type(tok, 5), TOKEN_UNUSED);
    tokenizer_text(tok, (int32_t[]){7, 1}, 2, &out);
    assert_string_equal(str_text(&out), "<z>b");
    str_fini(&out);
    tokenizer_destroy(tok);
}

static void literal(void **state)
{
    (void)state;
    static const char json[] =
        "{'model':{'vocab':{'<':0,'s':1,'>':2,'u':3},'merges':[]}," BYTE_LEVEL
        ",'added_tokens':[{'id':4,'content':'<s>','special':true},"
        "{'id':5,'content':'<u>'},{'id':6,'content':'<s>u','special':true},"
        "{'id':7,'content':'<s','special':false}]}";
    struct error err = {0};
    struct tokenizer *tok = NULL;
    int32_t *ids;
    size_t count;
    encodes(json, "<s><u>s", "4 5 1");
    expect_ok(parse(json, &tok, &err), &err, json);
    expect_ok(tokenizer_encode_literal(tok, "<s><u>s<s>u", 11, &ids, &count, &err), &err, json);
    // the special ones are text, in which the shorter one that is not special is found
    static const int32_t want[] = {7, 2, 5, 1, 7, 2, 3};
    assert_int_equal(count, 7);
    assert_memory_equal(ids, want, sizeof want);
    free(ids);
    tokenizer_destroy(tok);
}

// Neighbours of matches, by each behavior; the vocabulary has no merges that would hide a cut.
static void behaviors(void **state)
{
    (void)state;
    static const struct {
        const char *behavior, *ids;
    } rows[] = {{"Isolated", "0 3 0 2"},
                {"Removed", "3 2"},
                {"MergedWithPrevious", "0 1 2"},
                {"MergedWithNext", "4 5"},
                {"Contiguous", "0 3 0 2"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char json[512];
        snprintf(
            json, sizeof json,
            "{'model':{'ignore_merges':true,'vocab':{'-':0,'bb-':1,'c':2,'bb':3,'-bb':4,'-c':5,"
            "'b':6},'merges':[]},'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':"
            "'Split','pattern':{'String':'-'},'behavior':'%s'}," BYTE_LEVEL_STEP "]}}",
            rows[i].behavior);
        encodes(json, "-bb-c", rows[i].ids);
    }
    encodes("{'model':{'ignore_merges':true,'vocab':{'1':0,'12':1,'a':2},'merges':[]},"
            "'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'Digits'}," BYTE_LEVEL_STEP
            "]}}",
            "a12a", "2 1 2");
    encodes("{'model':{'unk_token':'?','fuse_unk':true,'vocab':{'?':0,'\xe2\x96\x81':1,'a':2},"
            "'merges':[]},'pre_tokenizer':{'type':'Metaspace','prepend_scheme':'always'}}",
            "axy z", "1 2 0 1 0");
    encodes("{'model':{'unk_token':'?','vocab':{'?':0,'\xe2\x96\x81':1,'a':2},'merges':[]},"
            "'normalizer':{'type':'Replace','pattern':{'Regex':'b+'},'content':'a'}}",
            "bbxy", "2 0 0");
}

// What tokenizers' regular expressions mean otherwise than PCRE2, or cannot be said in it.
static void patterns(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool matches;
    } rows[] = {{"\\w", "\xcc\x81", true},      // a mark is part of a word
                {"\\w", "\xe2\x91\xa0", false}, // a circled digit is not
                {"\\s", "\xe1\xa0\x8e", false}, // U+180E
                {"[\\s]", "\xc2\x85", true},
                {"\\h", "f", true},
                {"\\h", " ", false},
                {"[^(\\s|[.,])]", ")", false}, // a class inside a class
                {"[^(\\s|[.,])]", ".", false},
                {"[^(\\s|[.,])]", "x", true},
                {"\\p{L}", "\xf0\x93\x91\xa0", true}, // a letter of Unicode 16
                {"\\p{^L}", "1", true},
                {"\\p{Han}", "\xe3\x80\x81", false}, // by script, not by script extensions
                {"(?m:.)", "\n", true},
                {".", "\n", false},
                {"a\\b", "a\xcc\x81", false}};
    static const char *const refusals[] = {
        "[a&&b]",  "[[:alpha:]]", "[a[^b]]", "a\\Kb", "(*LIMIT_MATCH=1)a",
        "a{1,2}+", "\\X",         "(?s:a)"};
    struct error err = {0};
    struct regex *re;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *pattern = rows[i].pattern, *text = rows[i].text;
        bool found;
        size_t begin, end;
        expect_ok(regex_create(pattern, strlen(pattern), false, "t", &re, &err), &err, pattern);
        expect_ok(regex_next(re, text, strlen(text), 0, &found, &begin, &end, &err), &err, pattern);
        if (found != rows[i].matches)
            fail_msg("'%s' and '%s'", pattern, text);
        regex_destroy(re);
    }
    for (size_t i = 0; i < sizeof refusals / sizeof *refusals; i++) {
        enum status status =
            regex_create(refusals[i], strlen(refusals[i]), false, "t.json", &re, &err);
        assert_null(re);
        expect_error(status, &err, ERR_UNSUPPORTED, "t.json", "not supported");
    }
}

// bos and eos are known, and not added.
static void ends(void **state)
{
    (void)state;
    struct tokenizer *tok = tokenizer_ok(GOLDEN "llama2.json");
    struct tokenizer_facts facts = tokenizer_facts(tok);
    assert_int_equal(facts.kind, TOKENIZER_PIECES);
    assert_int_equal(facts.bos, 1);
    assert_true(facts.add_bos && !facts.add_eos && facts.space_prefix);
    assert_int_equal(facts.unk, 0);
    assert_int_equal(tokenizer_token_type(tok, 0), TOKEN_UNKNOWN);
    assert_int_equal(tokenizer_token_type(tok, 1), TOKEN_CONTROL);
    assert_int_equal(tokenizer_token_type(tok, 3), TOKEN_BYTE);
    tokenizer_destroy(tok);
    tok = tokenizer_ok(GOLDEN "llama3.json");
    facts = tokenizer_facts(tok);
    assert_string_equal(facts.pre, "llama-bpe");
    assert_true(facts.kind == TOKENIZER_BYTE_LEVEL && facts.add_bos && !facts.space_prefix);
    tokenizer_destroy(tok);
    tok = tokenizer_ok(GOLDEN "roberta.json");
    assert_null(tokenizer_facts(tok).pre); // a space before the text: GGUF has no name for that
    tokenizer_destroy(tok);
}

// A stream of text is decoded id by id: bytes are unchanged, and no space is dropped.
static void one_at_a_time(void **state)
{
    (void)state;
    struct tokenizer *tok = tokenizer_ok(GOLDEN "llama2.json");
    struct error err = {0};
    struct str out = {0};
    int32_t *ids;
    size_t count;
    expect_ok(tokenizer_encode(tok, "a \xf0\x93\x91\xa0", 6, &ids, &count, &err), &err, "encode");
    for (size_t i = 0; i < count; i++)
        tokenizer_decode(tok, ids[i], &out);
    assert_string_equal(str_text(&out), " a \xf0\x93\x91\xa0");
    tokenizer_decode(tok, -1, &out);
    tokenizer_decode(tok, tokenizer_vocab(tok), &out);
    assert_int_equal(out.length, 7);
    out.length = 0;
    tokenizer_text(tok, ids, count - 1, &out); // a character cut short
    assert_string_equal(str_text(&out), "a \xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd");
    str_fini(&out);
    free(ids);
    tokenizer_destroy(tok);
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
    refused("{'model':{'vocab':{'a':0,'b':0},'merges':[]}," BYTE_LEVEL "}", ERR_FORMAT,
            "two entries");
    refused("{" MODEL "," BYTE_LEVEL ",'added_tokens':[{'id':9,'content':'ab'}]}", ERR_FORMAT,
            "id 2 in the vocabulary");
    refused("{" MODEL "," BYTE_LEVEL ",'added_tokens':[{'id':1,'content':'x'}]}", ERR_FORMAT,
            "two entries");
    refused("{'model':{'vocab':{'a':0},'merges':[],'unk_token':'?'}}", ERR_FORMAT, "unk_token");
    refused("{" MODEL "," BYTE_LEVEL ",'decoder':{'type':'WordPiece'}}", ERR_UNSUPPORTED,
            "WordPiece");
    refused("{" MODEL ",'decoder':{'type':'Strip','content':' ','start':1,'stop':0}}",
            ERR_UNSUPPORTED, "Strip");
    refused("{" MODEL "," BYTE_LEVEL ",'post_processor':{'type':'TemplateProcessing','single':["
            "{'SpecialToken':{'id':'<s>','type_id':0}}]}}",
            ERR_FORMAT, "<s>");
    refused("{" MODEL ",'normalizer':{'type':'Precompiled'}}", ERR_UNSUPPORTED, "Precompiled");
    refused("{" MODEL ",'pre_tokenizer':{'type':'Sequence','pretokenizers':[" BYTE_LEVEL_STEP
            "," BYTE_LEVEL_STEP "]}}",
            ERR_UNSUPPORTED, "ByteLevel twice");
    refused("{" MODEL ",'pre_tokenizer':{'type':'UnicodeScripts'}}", ERR_UNSUPPORTED,
            "UnicodeScripts");
    refused("{" MODEL "," BYTE_LEVEL ",'normalizer':{'type':'Lowercase'}}", ERR_UNSUPPORTED,
            "Lowercase");
    refused("{" MODEL
            ",'pre_tokenizer':{'type':'Split','pattern':{'Regex':'(['},'behavior':'Isolated'}}",
            ERR_FORMAT, "pattern");
    refused("{" MODEL ",'pre_tokenizer':{'type':'Split','pattern':{'Regex':'a'},'behavior':'Odd'}}",
            ERR_UNSUPPORTED, "Odd");
    refused("{" MODEL "," BYTE_LEVEL ",'added_tokens':[{'content':'x'}]}", ERR_FORMAT,
            "id: missing");
    refused("{" MODEL "," BYTE_LEVEL ",'added_tokens':[{'id':1}]}", ERR_FORMAT, "content: missing");
}

// A pattern that tries without end is given up, in one line.
static void runaway(void **state)
{
    (void)state;
    struct error err = {0};
    struct tokenizer *tok = NULL;
    char text[80];
    int32_t *ids;
    size_t count;
    memset(text, 'a', sizeof text);
    expect_ok(
        parse("{" MODEL ",'pre_tokenizer':{'type':'Sequence','pretokenizers':[{'type':'Split',"
              "'pattern':{'Regex':'(?:a|aa)+[cd]'},'behavior':'Isolated'}," BYTE_LEVEL_STEP "]}}",
              &tok, &err),
        &err, "runaway");
    expect_error(tokenizer_encode(tok, text, sizeof text, &ids, &count, &err), &err,
                 ERR_UNSUPPORTED, "t.json", "match limit");
    assert_null(ids);
    tokenizer_destroy(tok);
}

// Steps that each put a thousand letters for one: given up long before the memory is full.
static void growth_without_end(void **state)
{
    (void)state;
    struct error err = {0};
    struct tokenizer *tok = NULL;
    struct str json = {0}, added = {0};
    int32_t *ids;
    size_t count;
    str_append(&json, "{" MODEL "," BYTE_LEVEL ",'normalizer':{'type':'Sequence','normalizers':[");
    for (int i = 0; i < 8; i++) {
        str_printf(&json, "%s{'type':'Replace','pattern':{'%s':'a'},'content':'", i ? "," : "",
                   i % 2 ? "Regex" : "String");
        for (int n = 0; n < 1000; n++)
            str_append(&json, "a");
        str_append(&json, "'}");
    }
    str_append(&json, "]}");
    str_printf(&added, "%s,'added_tokens':[{'id':0,'content':'a','normalized':true}]}",
               str_text(&json));
    refused(str_text(&added), ERR_UNSUPPORTED, "it grows to more than");
    str_append(&json, "}");
    expect_ok(parse(str_text(&json), &tok, &err), &err, "growth");
    expect_error(tokenizer_encode(tok, "a", 1, &ids, &count, &err), &err, ERR_UNSUPPORTED, "t.json",
                 "it grows to more than");
    assert_null(ids);
    tokenizer_destroy(tok);
    str_fini(&json);
    str_fini(&added);
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

// A [PAD] that fine-tuning added without a row of the embedding refuses the text that holds it, and no other.
static void added_beyond_the_model(void **state)
{
    (void)state;
    struct error err = {0};
    struct tokenizer *tok = NULL;
    const char *dir = scratch_make();
    struct checkpoint_item items[24];
    int32_t *ids;
    size_t count;
    json_t *root = json_load_file(MODELS "llama-llama3/tokenizer.json", 0, NULL);
    assert_non_null(root);
    json_array_append_new(
        json_object_get(root, "added_tokens"),
        json_pack("{s:i, s:s, s:b}", "id", 509, "content", "[PAD]", "special", 1));
    char *text = json_dumps(root, 0);
    put(dir, "tokenizer.json", text, strlen(text));
    copy(MODELS "llama-llama3", "config.json", dir);
    copy(MODELS "llama-llama3", "model.safetensors", dir);
    struct checkpoint *ck = open_ok(dir);
    expect_ok(checkpoint_tokenizer(ck, &tok, &err), &err, dir);
    expect_ok(tokenizer_encode(tok, "plain text", 10, &ids, &count, &err), &err, "plain");
    free(ids);
    expect_error(tokenizer_encode(tok, "a [PAD] b", 9, &ids, &count, &err), &err, ERR_FORMAT,
                 "'[PAD]', which is id 509", "vocabulary ends at 508");
    assert_null(ids);
    expect_ok(tokenizer_encode_literal(tok, "a [PAD] b", 9, &ids, &count, &err), &err, "literal");
    free(ids);
    size_t n = checkpoint_inspect(dir, items, 24);
    for (size_t i = 0; i < n; i++)
        if (strcmp(items[i].area, "vocabulary") == 0) {
            assert_true(items[i].supported);
            assert_non_null(strstr(items[i].note, "'[PAD]' (id 509): beyond the model's ids"));
            n = 0;
        }
    assert_int_equal(n, 0); // it was said
    tokenizer_destroy(tok);
    checkpoint_destroy(ck);
    free(text);
    json_decref(root);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_ids),
        cmocka_unit_test(gguf_twins),
        cmocka_unit_test(ends),
        cmocka_unit_test(one_at_a_time),
        cmocka_unit_test(patterns),
        cmocka_unit_test(behaviors),
        cmocka_unit_test(added_tokens),
        cmocka_unit_test(long_words),
        cmocka_unit_test(small),
        cmocka_unit_test(broken),
        cmocka_unit_test(runaway),
        cmocka_unit_test(growth_without_end),
        cmocka_unit_test(of_another_model),
        cmocka_unit_test(added_beyond_the_model),
        cmocka_unit_test(holes),
        cmocka_unit_test(literal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
