// tokenizer_fixture.h - what the tests of tokenizers share: golden texts, ids and the text that ids are.
#ifndef TESTS_TEXT_TOKENIZER_FIXTURE_H
#define TESTS_TEXT_TOKENIZER_FIXTURE_H

#include "base/str.h"
#include "engine/text/tokenizer.h"
#include "tests/load/load_fixture.h"

#define GOLDEN "tests/golden/tokenizer/"

struct texts {
    char *file;
    uint32_t count;
};

static inline struct texts texts_open(void)
{
    size_t bytes;
    struct texts t = {.file = slurp(GOLDEN "texts.bin", &bytes)};
    assert_memory_equal(t.file, "RTXT", 4);
    memcpy(&t.count, t.file + 4, 4);
    assert_in_range(t.count, 100, 100000);
    return t;
}

static inline struct tokenizer *tokenizer_ok(const char *path)
{
    struct error err = {0};
    struct tokenizer *tok = NULL;
    expect_ok(tokenizer_open(path, &tok, &err), &err, path);
    return tok;
}

static inline void same_text(const struct tokenizer *tok, const char *kind, uint32_t nth,
                             const int32_t *ids, size_t count, const char *want, size_t bytes)
{
    struct str got = {0};
    tokenizer_text(tok, ids, count, &got);
    if (got.length != bytes || memcmp(str_text(&got), want, bytes) != 0)
        fail_msg("%s: text %u: decoded to '%s', not '%.*s'", kind, nth, str_text(&got), (int)bytes,
                 want);
    str_fini(&got);
}

// One text against its record: u32 count, u16 ids[count], u32 bytes of decoded text or UINT32_MAX for
// "the text itself", and those bytes. Returns where the next record begins.
static inline const char *same_ids(const struct tokenizer *tok, const char *kind, uint32_t nth,
                                   const char *text, uint32_t bytes, const char *record)
{
    struct error err = {0};
    struct str repaired = {0};
    int32_t *ids;
    size_t count;
    uint32_t want, back;
    memcpy(&want, record, 4);
    memcpy(&back, record + 4 + 2 * (size_t)want, 4);
    expect_ok(tokenizer_encode(tok, text, bytes, &ids, &count, &err), &err, kind);
    for (size_t i = 0; i < count && i < want; i++) {
        uint16_t id;
        memcpy(&id, record + 4 + 2 * i, 2);
        if (ids[i] != id)
            fail_msg("%s: text %u: id %zu is %d, not %d", kind, nth, i, ids[i], id);
    }
    if (count != want)
        fail_msg("%s: text %u: %zu ids, not %u", kind, nth, count, want);
    record += 8 + 2 * (size_t)want;
    utf8_repair(text, bytes, &repaired);
    if (back == UINT32_MAX)
        same_text(tok, kind, nth, ids, count, str_text(&repaired), repaired.length);
    else
        same_text(tok, kind, nth, ids, count, record, back);
    str_fini(&repaired);
    free(ids);
    return record + (back == UINT32_MAX ? 0 : back);
}

// All texts against KIND.ids. Twice, so that the second round comes out of the cache of words.
static inline void golden(const char *kind, const char *path)
{
    struct tokenizer *tok = tokenizer_ok(path);
    struct texts t = texts_open();
    char name[128];
    size_t size;
    snprintf(name, sizeof name, GOLDEN "%s.ids", kind);
    char *ids = slurp(name, &size);
    for (int round = 0; round < 2; round++) {
        const char *at = t.file + 8, *record = ids;
        for (uint32_t i = 0; i < t.count; i++) {
            uint32_t bytes;
            memcpy(&bytes, at, 4);
            record = same_ids(tok, path, i, at + 4, bytes, record);
            at += 4 + bytes;
        }
        assert_int_equal(record - ids, size);
    }
    free(ids);
    free(t.file);
    tokenizer_destroy(tok);
}

#endif
