// facts.c - what a writer of tokenizer files needs: kind, spellings, merges, scores.
//
// GGUF stores pieces with scores, tokenizer.json stores merges. Scores are derived from the order of the merges. All
// merges into one entry share its score, so entries whose merges interleave share one too, and each such group scores
// below the previous one. The code then checks that these scores give the same merges again.
#include <stdlib.h>
#include <string.h>

#include "engine/text/tokenizer.h"

#define META "\xe2\x96\x81" // "▁"

// How a tokenizer of pieces turns spaces into "▁".
struct spaces {
    bool plain;  // exactly as GGUF's kind "llama"
    bool prefix; // adds one before the text
};

static bool is_text(const char *text, const char *other)
{
    return text && strcmp(text, other) == 0;
}

static struct spaces spaces_of(const struct tokenizer *tok)
{
    static const struct pretok_spec gemma = {
        .kind = PRETOK_SPLIT, .behavior = PRETOK_WITH_PREVIOUS, .pattern = " ", .literal = true};
    struct pretok_spec meta = {.kind = PRETOK_METASPACE, .behavior = PRETOK_WITH_NEXT};
    struct spaces s = {tok->kind == TOKENIZER_PIECES && tok->byte_fallback, false};
    bool replaced = false;
    for (int i = 0; i < tok->normal.count; i++) {
        const struct normal_step *step = &tok->normal.steps[i];
        if (step->kind == NORMAL_PREPEND && is_text(step->text, META) && !replaced)
            s.prefix = true;
        else if (step->kind == NORMAL_REPLACE && step->single == ' ' && is_text(step->text, META))
            replaced = true;
        else
            s.plain = false;
    }
    for (int prefix = PREFIX_NEVER; prefix <= PREFIX_ALWAYS && !replaced; prefix++) {
        meta.prefix = (enum pretok_prefix)prefix;
        if (!pretok_equals(tok->pretok, &meta, 1))
            continue;
        s.prefix = prefix != PREFIX_NEVER;
        return s;
    }
    if (!replaced || (pretok_steps(tok->pretok) && !pretok_equals(tok->pretok, &gemma, 1)))
        s.plain = false;
    return s;
}

struct tokenizer_facts tokenizer_facts(const struct tokenizer *tok)
{
    const struct pre *pre = pre_of(tok);
    return (struct tokenizer_facts){
        .kind = tok->kind,
        .pre = pre ? pre->name : NULL,
        .ids = tok->ids,
        .merges = tok->pair_count,
        .bos = tok->bos,
        .eos = tok->eos,
        .unk = tok->unk,
        .add_bos = tok->add_bos,
        .add_eos = tok->add_eos,
        .space_prefix = spaces_of(tok).prefix,
    };
}

enum token_type tokenizer_token_type(const struct tokenizer *tok, int32_t id)
{
    return id < 0 || id >= tok->ids ? TOKEN_UNUSED : (enum token_type)tok->entries[id].type;
}

void tokenizer_spelling(const struct tokenizer *tok, int32_t id, struct str *out)
{
    if (id < 0 || id >= tok->ids || tok->entries[id].bytes == UINT32_MAX)
        return;
    const struct vocab_entry *e = &tok->entries[id];
    const char *raw = str_text(&tok->blob) + e->offset;
    if (e->spelled)
        byte_level_spell(raw, e->bytes, out);
    else
        str_append_bytes(out, raw, e->bytes);
}

void tokenizer_merge_spelling(const struct tokenizer *tok, size_t rank, struct str *out)
{
    if (rank >= tok->pair_count)
        return;
    tokenizer_spelling(tok, tok->pairs[rank].left, out);
    str_append(out, " ");
    tokenizer_spelling(tok, tok->pairs[rank].right, out);
}

// ---- scores ---------------------------------------------------------------------------------------

// A group ends when no entry merged into so far is merged into again at a later rank.
static bool scores_by_rank(const struct tokenizer *tok, float *scores)
{
    size_t *last = calloc((size_t)tok->ids, sizeof *last); // rank + 1 of an entry's last merge
    size_t group_end = 0;
    float score = 1;
    if (!last)
        return false;
    for (size_t i = 0; i < tok->pair_count; i++)
        last[tok->pairs[i].merged] = i + 1;
    for (size_t i = 0; i < tok->pair_count; i++) {
        int32_t id = tok->pairs[i].merged;
        if (i >= group_end)
            score -= 1;
        group_end = last[id] > group_end ? last[id] : group_end;
        scores[id] = score;
    }
    for (int32_t id = 0; id < tok->ids; id++) // never merged into: below all others
        if (!last[id] && tokenizer_token_type(tok, id) == TOKEN_NORMAL)
            scores[id] = score -= 1;
    free(last);
    return true;
}

enum status tokenizer_scores(const struct tokenizer *tok, float *scores, struct error *err)
{
    bool same = false;
    memset(scores, 0, (size_t)tok->ids * sizeof *scores);
    if (tok->scores) {
        memcpy(scores, tok->scores, (size_t)tok->ids * sizeof *scores);
        return OK;
    }
    if (tok->kind != TOKENIZER_PIECES)
        return FAIL(err, ERR_UNSUPPORTED, "%s: byte-level merges have no scores", tok->name);
    if (!spaces_of(tok).plain)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: its normalizer or pre_tokenizer is none that scores could go with",
                    tok->name);
    if (!scores_by_rank(tok, scores))
        return FAIL(err, ERR_NOMEM, "%s: no memory for scores", tok->name);
    TRY(tokenizer_scores_check(tok, scores, &same, err));
    return same ? OK
                : FAIL(err, ERR_UNSUPPORTED,
                       "%s: its merges are not in an order that scores can say", tok->name);
}
