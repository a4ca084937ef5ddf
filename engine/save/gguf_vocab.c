// gguf_vocab.c - writes tokens, types, merges and scores as llama.cpp's converters do.
//
// Two kinds exist in GGUF. "gpt2": byte-level BPE, with merges and the name of the regular expressions that split text.
// "llama": SentencePiece, whose pieces merge by score. A llama.cpp model has as many rows as its tokenizer has tokens.
// So ids that the tokenizer lacks become unused tokens, "[PAD7]", and added tokens beyond the rows are omitted.
#include "engine/save/gguf_vocab.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "engine/text/tokenizer.h"

static void put_tokens(struct gguf_writer *w, const struct tokenizer *tok, int32_t ids, int rows)
{
    struct str text = {0};
    gguf_put_list(w, "tokenizer.ggml.tokens", GGUF_STRING, (uint64_t)rows);
    for (int id = 0; id < rows; id++) {
        text.length = 0;
        if (id < ids && tokenizer_token_type(tok, id) != TOKEN_UNUSED)
            tokenizer_spelling(tok, id, &text);
        else
            str_printf(&text, "[PAD%d]", id);
        gguf_item_text(w, str_text(&text), text.length);
    }
    str_fini(&text);
    gguf_put_list(w, "tokenizer.ggml.token_type", GGUF_I32, (uint64_t)rows);
    for (int id = 0; id < rows; id++)
        gguf_item_i32(w, id < ids ? (int32_t)tokenizer_token_type(tok, id) : TOKEN_UNUSED);
}

static void put_merges(struct gguf_writer *w, const struct tokenizer *tok, size_t merges)
{
    struct str text = {0};
    gguf_put_list(w, "tokenizer.ggml.merges", GGUF_STRING, merges);
    for (size_t rank = 0; rank < merges; rank++) {
        text.length = 0;
        tokenizer_merge_spelling(tok, rank, &text);
        gguf_item_text(w, str_text(&text), text.length);
    }
    str_fini(&text);
}

static void put_id(struct gguf_writer *w, const char *key, int32_t of_tokenizer, int32_t of_model)
{
    int32_t id = of_model >= 0 ? of_model : of_tokenizer;
    if (id >= 0)
        gguf_put_u32(w, key, (uint32_t)id);
}

static void put_ends(struct gguf_writer *w, const struct tokenizer_facts *facts,
                     const struct model_config *config)
{
    put_id(w, "tokenizer.ggml.bos_token_id", facts->bos, config->bos);
    put_id(w, "tokenizer.ggml.eos_token_id", facts->eos, config->eos);
    put_id(w, "tokenizer.ggml.unknown_token_id", facts->unk, -1);
    gguf_put_bool(w, "tokenizer.ggml.add_bos_token", facts->add_bos);
    gguf_put_bool(w, "tokenizer.ggml.add_eos_token", facts->add_eos);
}

enum status gguf_put_tokenizer(struct gguf_writer *w, const struct tokenizer *tok,
                               const struct model_config *config, struct error *err)
{
    struct tokenizer_facts facts = tokenizer_facts(tok);
    bool pieces = facts.kind == TOKENIZER_PIECES;
    float *scores = NULL;
    if (!pieces && !facts.pre)
        return FAIL(err, ERR_UNSUPPORTED,
                    "GGUF has no name that is known here for how this tokenizer splits text");
    if (pieces) {
        scores = calloc((size_t)facts.ids, sizeof *scores);
        if (!scores)
            return FAIL(err, ERR_NOMEM, "no memory for the scores of %d tokens", facts.ids);
        if (tokenizer_scores(tok, scores, err) != OK) {
            free(scores);
            return err->code;
        }
    }
    gguf_put_text(w, "tokenizer.ggml.model", pieces ? "llama" : "gpt2");
    gguf_put_text(w, "tokenizer.ggml.pre", pieces ? "default" : facts.pre);
    put_tokens(w, tok, facts.ids, config->vocab);
    if (pieces) {
        gguf_put_list(w, "tokenizer.ggml.scores", GGUF_F32, (uint64_t)config->vocab);
        for (int id = 0; id < config->vocab; id++)
            gguf_item_f32(w, id < facts.ids ? scores[id] : 0);
        gguf_put_bool(w, "tokenizer.ggml.add_space_prefix", facts.space_prefix);
    } else {
        put_merges(w, tok, facts.merges);
    }
    put_ends(w, &facts, config);
    free(scores);
    return OK;
}
