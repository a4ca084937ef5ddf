// tokenizer_steps.c - the steps around the model in a tokenizer.json: normalizer, pre_tokenizer,
// post_processor, decoder.
//
// Each is one object or a Sequence of objects. A step that is unknown, or that would not match the library, is refused
// by name.
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/text/tokenizer.h"

enum { NESTING_MAX = 4, TEMPLATE_MAX = 16 };

typedef enum status read_step(struct tokenizer *tok, const json_t *step, const char *type,
                              struct error *err);

// Calls read() for the object, or for each object of a Sequence, whose list is under `key`.
static enum status each_step(struct tokenizer *tok, const json_t *step, const char *part,
                             const char *key, int depth, read_step *read, struct error *err)
{
    const char *type;
    size_t i;
    json_t *each;
    if (!step || json_is_null(step))
        return OK;
    if (json_get_string(step, tok->name, "type", &type, err) != OK)
        return error_context(err, "%s", part);
    if (!str_equal(type, "Sequence"))
        return read(tok, step, type, err);
    if (depth == NESTING_MAX)
        return FAIL(err, ERR_UNSUPPORTED, "%s: %s: sequences nested deeper than %d", tok->name,
                    part, NESTING_MAX);
    json_array_foreach(json_object_get(step, key), i, each)
        TRY(each_step(tok, each, part, key, depth + 1, read, err));
    return OK;
}

// {"String": ..} or {"Regex": ..}; a bare string is the former.
static enum status read_pattern(const struct tokenizer *tok, const json_t *step, const char *part,
                                const char **text, bool *literal, struct error *err)
{
    const json_t *pattern = json_object_get(step, "pattern");
    const json_t *regex = json_object_get(pattern, "Regex"),
                 *string = json_object_get(pattern, "String");
    *literal = !regex;
    *text = json_string_value(regex ? regex : string ? string : pattern);
    return *text ? OK
                 : FAIL(err, ERR_FORMAT, "%s: %s: pattern: neither Regex nor String", tok->name,
                        part);
}

// ---- normalizer -----------------------------------------------------------------------------------

static enum status read_replace(struct tokenizer *tok, const json_t *n, struct error *err)
{
    const char *from, *to;
    bool literal;
    struct normal_step step = {.kind = NORMAL_REPLACE};
    TRY(read_pattern(tok, n, "normalizer: Replace", &from, &literal, err));
    TRY(json_get_string(n, tok->name, "content", &to, err));
    if (literal && !*from) // matches nothing
        return OK;
    TRY(regex_create(from, strlen(from), literal, tok->name, &step.from, err));
    step.single = literal && strlen(from) == 1 ? *from : '\0';
    step.text = strdup(to);
    if (!step.text) {
        regex_destroy(step.from);
        return FAIL(err, ERR_NOMEM, "%s: no memory", tok->name);
    }
    return normalizer_add(&tok->normal, &step, tok->name, err);
}

static enum status read_normalizer(struct tokenizer *tok, const json_t *n, const char *type,
                                   struct error *err)
{
    static const char *const forms[] = {
        [NORMAL_NFC] = "NFC", [NORMAL_NFD] = "NFD", [NORMAL_NFKC] = "NFKC", [NORMAL_NFKD] = "NFKD"};
    struct normal_step step = {.kind = NORMAL_FORM};
    const char *text;
    for (int form = NORMAL_NFC; form <= NORMAL_NFKD; form++)
        if (str_equal(type, forms[form])) {
            step.form = (enum normal_form)form;
            return normalizer_add(&tok->normal, &step, tok->name, err);
        }
    if (str_equal(type, "Replace"))
        return read_replace(tok, n, err);
    if (str_equal(type, "Prepend")) {
        step.kind = NORMAL_PREPEND;
        TRY(json_get_string(n, tok->name, "prepend", &text, err));
        step.text = strdup(text);
        return step.text ? normalizer_add(&tok->normal, &step, tok->name, err)
                         : FAIL(err, ERR_NOMEM, "%s: no memory", tok->name);
    }
    if (str_equal(type, "Strip")) {
        step.kind = NORMAL_STRIP;
        TRY(json_opt_bool(n, tok->name, "strip_left", true, &step.left, err));
        TRY(json_opt_bool(n, tok->name, "strip_right", true, &step.right, err));
        return normalizer_add(&tok->normal, &step, tok->name, err);
    }
    return FAIL(err, ERR_UNSUPPORTED,
                "%s: normalizer: '%.64s' is not supported (Sequence, NFC, NFD, NFKC, NFKD, "
                "Prepend, Replace and Strip are)",
                tok->name, type);
}

// ---- pre_tokenizer --------------------------------------------------------------------------------

static enum status read_behavior(const struct tokenizer *tok, const json_t *step, const char *type,
                                 enum pretok_behavior *out, struct error *err)
{
    static const char *const names[] = {[PRETOK_ISOLATED] = "Isolated",
                                        [PRETOK_REMOVED] = "Removed",
                                        [PRETOK_WITH_PREVIOUS] = "MergedWithPrevious",
                                        [PRETOK_WITH_NEXT] = "MergedWithNext",
                                        [PRETOK_CONTIGUOUS] = "Contiguous"};
    const char *behavior;
    TRY(json_opt_string(step, tok->name, "behavior", "Isolated", &behavior, err));
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (str_equal(behavior, names[i])) {
            *out = (enum pretok_behavior)i;
            return OK;
        }
    return FAIL(err, ERR_UNSUPPORTED, "%s: pre_tokenizer: %s: behavior '%.64s' is not supported",
                tok->name, type, behavior);
}

static enum status read_metaspace(struct tokenizer *tok, const json_t *step, struct error *err)
{
    struct pretok_spec spec = {.kind = PRETOK_METASPACE, .behavior = PRETOK_WITH_NEXT};
    const char *replacement, *scheme;
    bool prefix;
    TRY(json_opt_string(step, tok->name, "replacement", "\xe2\x96\x81", &replacement, err));
    TRY(json_opt_string(step, tok->name, "prepend_scheme", "always", &scheme, err));
    TRY(json_opt_bool(step, tok->name, "add_prefix_space", true, &prefix, err));
    TRY(json_opt_bool(step, tok->name, "split", true, &spec.split, err));
    if (!str_equal(replacement, "\xe2\x96\x81"))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: pre_tokenizer: Metaspace: replacement '%.16s' is not supported (\xe2\x96"
                    "\x81 is)",
                    tok->name, replacement);
    spec.prefix = !prefix || str_equal(scheme, "never") ? PREFIX_NEVER
                  : str_equal(scheme, "first")          ? PREFIX_FIRST
                                                        : PREFIX_ALWAYS;
    return pretok_add(tok->pretok, &spec, tok->name, err);
}

static enum status read_pre_tokenizer(struct tokenizer *tok, const json_t *step, const char *type,
                                      struct error *err)
{
    struct pretok_spec spec = {0};
    bool flag;
    if (str_equal(type, "Split")) {
        TRY(read_pattern(tok, step, "pre_tokenizer: Split", &spec.pattern, &spec.literal, err));
        TRY(read_behavior(tok, step, type, &spec.behavior, err));
        TRY(json_opt_bool(step, tok->name, "invert", false, &spec.invert, err));
        return spec.literal && !*spec.pattern ? OK // matches nothing
                                              : pretok_add(tok->pretok, &spec, tok->name, err);
    }
    if (str_equal(type, "ByteLevel")) {
        spec.kind = PRETOK_BYTE_LEVEL;
        TRY(json_opt_bool(step, tok->name, "add_prefix_space", true, &flag, err));
        TRY(json_opt_bool(step, tok->name, "use_regex", true, &spec.split, err));
        spec.prefix = flag ? PREFIX_ALWAYS : PREFIX_NEVER;
        return pretok_add(tok->pretok, &spec, tok->name, err);
    }
    if (str_equal(type, "Digits")) {
        spec.kind = PRETOK_DIGITS;
        TRY(json_opt_bool(step, tok->name, "individual_digits", false, &flag, err));
        spec.behavior = flag ? PRETOK_ISOLATED : PRETOK_CONTIGUOUS;
        return pretok_add(tok->pretok, &spec, tok->name, err);
    }
    if (str_equal(type, "Punctuation")) {
        spec.kind = PRETOK_PUNCTUATION;
        TRY(read_behavior(tok, step, type, &spec.behavior, err));
        return pretok_add(tok->pretok, &spec, tok->name, err);
    }
    if (str_equal(type, "Metaspace"))
        return read_metaspace(tok, step, err);
    return FAIL(err, ERR_UNSUPPORTED,
                "%s: pre_tokenizer: '%.64s' is not supported (Sequence, Split, Digits, "
                "Punctuation, Metaspace and ByteLevel are)",
                tok->name, type);
}

// ---- decoder --------------------------------------------------------------------------------------

static enum status refuse_decoder(const struct tokenizer *tok, const char *type, struct error *err)
{
    return FAIL(err, ERR_UNSUPPORTED,
                "%s: decoder: '%.64s' is not supported, or not at its place (ByteLevel, Metaspace, "
                "and Replace, ByteFallback, Fuse, Strip in this order are)",
                tok->name, type);
}

static enum status read_decoder_replace(struct tokenizer *tok, const json_t *step,
                                        struct error *err)
{
    struct decoder *d = &tok->decoder;
    const char *from, *to;
    bool literal;
    TRY(read_pattern(tok, step, "decoder: Replace", &from, &literal, err));
    TRY(json_get_string(step, tok->name, "content", &to, err));
    if (!literal || d->byte_fallback || d->replaces == DECODER_REPLACES_MAX ||
        strlen(from) >= DECODER_TEXT_BYTES || strlen(to) >= DECODER_TEXT_BYTES)
        return refuse_decoder(tok, "Replace", err);
    strcpy(d->replace[d->replaces].from, from);
    strcpy(d->replace[d->replaces++].to, to);
    return OK;
}

static enum status read_decoder_strip(struct tokenizer *tok, const json_t *step, struct error *err)
{
    struct decoder *d = &tok->decoder;
    const char *content;
    int64_t left, right;
    TRY(json_get_string(step, tok->name, "content", &content, err));
    TRY(json_opt_i64(step, tok->name, "start", 0, INT32_MAX, 0, &left, err));
    TRY(json_opt_i64(step, tok->name, "stop", 0, INT32_MAX, 0, &right, err));
    if (!d->fused || d->strip || strlen(content) != 1)
        return refuse_decoder(tok, "Strip", err);
    d->strip = *content;
    d->strip_left = (int)left;
    d->strip_right = (int)right;
    return OK;
}

static enum status read_decoder(struct tokenizer *tok, const json_t *step, const char *type,
                                struct error *err)
{
    struct decoder *d = &tok->decoder;
    const char *scheme;
    bool prefix;
    if (str_equal(type, "ByteLevel") && !d->pieces)
        return OK;
    if (tok->kind == TOKENIZER_BYTE_LEVEL)
        return refuse_decoder(tok, type, err);
    d->pieces = true;
    if (str_equal(type, "Replace") && !d->fused)
        return read_decoder_replace(tok, step, err);
    if (str_equal(type, "Strip"))
        return read_decoder_strip(tok, step, err);
    if (str_equal(type, "ByteFallback") && !d->fused) {
        d->byte_fallback = true;
        return OK;
    }
    if (str_equal(type, "Fuse")) {
        d->fused = true;
        return OK;
    }
    if (str_equal(type, "Metaspace") && !d->byte_fallback && !d->fused) {
        TRY(json_opt_string(step, tok->name, "prepend_scheme", "always", &scheme, err));
        TRY(json_opt_bool(step, tok->name, "add_prefix_space", true, &prefix, err));
        d->metaspace = true;
        d->drop_first = prefix && !str_equal(scheme, "never");
        return OK;
    }
    return refuse_decoder(tok, type, err);
}

enum status tokenizer_read_steps(struct tokenizer *tok, const json_t *root, struct error *err)
{
    TRY(each_step(tok, json_object_get(root, "normalizer"), "normalizer", "normalizers", 0,
                  read_normalizer, err));
    TRY(each_step(tok, json_object_get(root, "pre_tokenizer"), "pre_tokenizer", "pretokenizers", 0,
                  read_pre_tokenizer, err));
    tok->kind = pretok_is_byte_level(tok->pretok) ? TOKENIZER_BYTE_LEVEL : TOKENIZER_PIECES;
    tok->decoder.pieces = tok->kind == TOKENIZER_PIECES;
    return each_step(tok, json_object_get(root, "decoder"), "decoder", "decoders", 0, read_decoder,
                     err);
}

// ---- post_processor -------------------------------------------------------------------------------

static int32_t find_any(const struct tokenizer *tok, const char *content)
{
    size_t bytes = strlen(content);
    int32_t id = tokenizer_find_spelled(tok, content, bytes);
    for (int32_t i = 0; i < tok->ids && id < 0; i++) { // added tokens are not in the index
        const struct vocab_entry *e = &tok->entries[i];
        if (e->bytes == bytes && memcmp(str_text(&tok->blob) + e->offset, content, bytes) == 0)
            id = i;
    }
    return id;
}

// One special token before the text is bos, one after it eos.
static enum status read_template(struct tokenizer *tok, const json_t *step, struct error *err)
{
    size_t i;
    json_t *item;
    bool after = false;
    if (json_array_size(json_object_get(step, "single")) > TEMPLATE_MAX)
        return FAIL(err, ERR_UNSUPPORTED, "%s: post_processor: more than %d parts", tok->name,
                    TEMPLATE_MAX);
    json_array_foreach(json_object_get(step, "single"), i, item)
    {
        const char *content;
        const json_t *special = json_object_get(item, "SpecialToken");
        if (!special) {
            after = true;
            continue;
        }
        TRY(json_get_string(special, tok->name, "id", &content, err));
        int32_t id = find_any(tok, content);
        if (id < 0)
            return FAIL(err, ERR_FORMAT, "%s: post_processor: '%.64s' is not in the vocabulary",
                        tok->name, content);
        *(after ? &tok->eos : &tok->bos) = id;
        *(after ? &tok->add_eos : &tok->add_bos) = true;
    }
    return OK;
}

// Records the ends without adding them, and ignores processors that have none.
static enum status read_post_processor(struct tokenizer *tok, const json_t *step, const char *type,
                                       struct error *err)
{
    if (str_equal(type, "TemplateProcessing"))
        return read_template(tok, step, err);
    if (str_equal(type, "RobertaProcessing") || str_equal(type, "BertProcessing")) {
        json_int_t bos = json_integer_value(json_array_get(json_object_get(step, "cls"), 1));
        json_int_t eos = json_integer_value(json_array_get(json_object_get(step, "sep"), 1));
        if (bos < 0 || bos >= tok->ids || eos < 0 || eos >= tok->ids)
            return FAIL(err, ERR_FORMAT, "%s: post_processor: cls or sep is no id", tok->name);
        tok->bos = (int32_t)bos;
        tok->eos = (int32_t)eos;
        tok->add_bos = tok->add_eos = true;
    }
    return OK;
}

enum status tokenizer_read_ends(struct tokenizer *tok, const json_t *root, struct error *err)
{
    return each_step(tok, json_object_get(root, "post_processor"), "post_processor", "processors",
                     0, read_post_processor, err);
}
