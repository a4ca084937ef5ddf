// text.c - the conventions, and a text cut into windows by them.
//
// Sources: half-512, the reference model's README; llama-512, tools/perplexity of llama.cpp (first =
// n_ctx / 2, logits of positions first .. n_ctx - 2 are scored, bos put over the first token of each chunk,
// the file's last newline dropped); full-2048, the evaluation of GPTQ (Frantar 2023) that AWQ and others
// took over.
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "bench/quality/quality.h"

const struct quality_convention quality_conventions[] = {
    {"half-512", 512, 256, true, false, false,
     "windows of 512, the second half scored; bos before each document"},
    {"llama-512", 512, 257, false, true, true,
     "llama-perplexity's: windows of 512 that begin with bos, the last 255 scored"},
    {"full-2048", 2048, 1, false, false, false,
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
                                const struct tokenizer *tok, const struct model_config *config,
                                struct error *err)
{
    int32_t *ids = NULL;
    size_t count = 0;
    TRY(tokenizer_encode(tok, text, bytes, &ids, &count, err));
    for (size_t i = 0; err->code == OK && i < count; i++)
        if (ids[i] < 0 || ids[i] >= config->vocab)
            FAIL(err, ERR_FORMAT, "id %d of the tokenizer is outside the model's %d", (int)ids[i],
                 config->vocab);
    if (err->code == OK)
        append_ids(out, ids, count, config->bos, err);
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

// Where the next line that holds a form feed begins, or the end.
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
            TRY(add_document(out, text + at, length, tok, config, err));
        at += length + 2; // the form feed and its newline
    }
    return OK;
}

enum status quality_text_read(const char *path, const struct quality_convention *convention,
                              const struct tokenizer *tok, const struct model_config *config,
                              struct quality_text *out, struct error *err)
{
    char *text = NULL;
    size_t bytes = 0;
    *out = (struct quality_text){0};
    TRY(file_read(path, QUALITY_TEXT_MAX, &text, &bytes, err));
    if (hash_bytes(text, bytes, out->hash, err) == OK) {
        if (convention->drop_newline && bytes > 0 && text[bytes - 1] == '\n')
            bytes--;
        if (is_blank(text, bytes))
            FAIL(err, ERR_FORMAT, "no text in it");
        else if (convention->documents)
            add_documents(out, text, bytes, tok, config, err);
        else
            add_document(out, text, bytes, tok, config, err);
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

void quality_window(const struct quality_convention *convention, const struct quality_text *text,
                    int32_t bos, size_t index, int32_t *out)
{
    size_t tokens = (size_t)convention->window;
    memcpy(out, text->ids + index * tokens, tokens * sizeof *out);
    if (convention->bos_everywhere && bos >= 0)
        out[0] = bos;
}
