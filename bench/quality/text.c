// text.c - the conventions, and cutting a text into windows.
//
// Sources. half-512: README of the reference model. llama-512: tools/perplexity/perplexity.cpp of llama.cpp at commit
// 050fc7f (docs/METRICS.md lists its steps). full-2048: the evaluation of GPTQ (Frantar 2023), which AWQ and others
// adopted.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "bench/quality/quality.h"

const struct quality_convention quality_conventions[] = {
    {"half-512", 512, 256, true, false, 1,
     "windows of 512, the second half scored; bos before each document"},
    {"llama-512", 512, 257, false, true, 2,
     "llama-perplexity's: windows of 512, the last 255 scored, bos as its tokenizer has it"},
    {"full-2048", 2048, 1, false, false, 1,
     "windows of 2048 that do not overlap, every token but the first scored"},
    {0},
};

const struct quality_convention *quality_convention_find(const char *name)
{
    for (const struct quality_convention *c = quality_conventions; c->name; c++)
        if (str_equal(c->name, name))
            return c;
    return NULL;
}

int quality_scored(const struct quality_convention *convention)
{
    return convention->window - convention->first;
}

// ---- text to ids ------------------------------------------------------------------------------------

static enum status append_ids(struct quality_text *out, const int32_t *ids, size_t count,
                              int32_t bos, struct error *err)
{
    size_t first = bos >= 0;
    int32_t *grown = realloc(out->ids, (out->count + first + count + 1) * sizeof *grown);
    if (!grown)
        return FAIL(err, ERR_NOMEM, "quality: %zu ids", out->count + count);
    out->ids = grown;
    if (first)
        out->ids[out->count++] = bos;
    if (count)
        memcpy(out->ids + out->count, ids, count * sizeof *ids);
    out->count += count;
    return OK;
}

static enum status add_document(struct quality_text *out, const char *text, size_t bytes,
                                const struct tokenizer *tok, int32_t bos, bool literal,
                                struct error *err)
{
    int32_t *ids = NULL;
    size_t count = 0;
    TRY((literal ? tokenizer_encode_literal : tokenizer_encode)(tok, text, bytes, &ids, &count,
                                                                err));
    append_ids(out, ids, count, bos, err);
    free(ids);
    out->documents++;
    return err->code;
}

static bool is_blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++)
        if (!isspace((unsigned char)text[i]))
            return false;
    return true;
}

// The start of the next line with a form feed, or the end.
static size_t document_length(const char *text, size_t bytes)
{
    for (size_t i = 0; i + 1 < bytes; i++)
        if (text[i] == '\f' && text[i + 1] == '\n')
            return i;
    return bytes;
}

static enum status add_documents(struct quality_text *out, const char *text, size_t bytes,
                                 const struct tokenizer *tok, const struct model_config *config,
                                 struct error *err)
{
    for (size_t at = 0; at < bytes;) {
        size_t length = document_length(text + at, bytes - at);
        if (!is_blank(text + at, length))
            TRY(add_document(out, text + at, length, tok, config->bos, false, err));
        at += length + 2; // the form feed and its newline
    }
    return OK;
}

// Adds the model's own bos, if the tokenizer adds one.
static enum status add_as_llama(struct quality_text *out, const char *text, size_t bytes,
                                const struct tokenizer *tok, const struct model_config *config,
                                struct error *err)
{
    struct tokenizer_ends ends = tokenizer_ends(tok);
    if (ends.after >= 0)
        return FAIL(err, ERR_UNSUPPORTED,
                    "its tokenizer ends texts with id %d: llama-perplexity takes no such model",
                    (int)ends.after);
    if (ends.before >= 0)
        out->window_bos = config->bos >= 0 ? config->bos : ends.before;
    bytes -= bytes > 0 && text[bytes - 1] == '\n';
    return add_document(out, text, bytes, tok, out->window_bos, true, err);
}

enum status quality_text_read(const char *path, const struct quality_convention *convention,
                              const struct tokenizer *tok, const struct model_config *config,
                              struct quality_text *out, struct error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    *out = (struct quality_text){.window_bos = -1};
    TRY(file_read(path, QUALITY_TEXT_MAX, &text, &bytes, err));
    if (hash_bytes(text, bytes, out->hash, err) == OK) {
        if (is_blank(text, bytes))
            FAIL(err, ERR_FORMAT, "no text in it");
        else if (convention->documents)
            add_documents(out, text, bytes, tok, config, err);
        else if (convention->llama)
            add_as_llama(out, text, bytes, tok, config, err);
        else
            add_document(out, text, bytes, tok, config->bos, false, err);
    }
    free(text);
    if (err->code == OK)
        return OK;
    quality_text_fini(out);
    return error_context(err, "%s", path);
}

void quality_text_fini(struct quality_text *text)
{
    free(text->ids);
    *text = (struct quality_text){0};
}

enum status quality_check_length(const struct quality_convention *convention,
                                 const struct quality_text *text, struct error *err)
{
    size_t tokens = (size_t)convention->window;
    if (text->count < tokens)
        return FAIL(err, ERR_USAGE, "a text of %zu tokens has no window of %zu", text->count,
                    tokens);
    if (convention->llama && text->count < 2 * tokens)
        return FAIL(err, ERR_USAGE,
                    "a text of %zu tokens is shorter than two windows of %zu, which "
                    "llama-perplexity asks for",
                    text->count, tokens);
    return OK;
}

void quality_window(const struct quality_convention *convention, const struct quality_text *text,
                    size_t index, int32_t *out)
{
    size_t tokens = (size_t)convention->window;
    memcpy(out, text->ids + index * tokens, tokens * sizeof *out);
    if (convention->llama && text->window_bos >= 0)
        out[0] = text->window_bos;
}
