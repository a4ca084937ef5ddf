// texts.c - checks whether a model can read the texts of a plan: prompts, calibration texts, and texts for quality.
//
// It runs the checks that a worker would make after loading the weights, with the same functions, once per model and
// text.
#include <stdlib.h>

#include "base/file.h"
#include "base/str.h"
#include "bench/quality/quality.h"
#include "bench/suite/expand.h"

enum { TEXTS_MAX = 256 }; // further texts are checked again

static enum status try_prompt(const struct tokenizer *tok, const char *path, struct error *err)
{
    char *text = NULL;
    size_t bytes = 0, count = 0;
    int32_t *ids = NULL;
    TRY(file_read(path, QUALITY_TEXT_MAX, &text, &bytes, err));
    enum status status = tokenizer_encode(tok, text, bytes, &ids, &count, err);
    if (status == OK && count == 0)
        status = FAIL(err, ERR_FORMAT, "%s: no text in it", path);
    free(ids);
    free(text);
    return status;
}

static enum status try_quality(const struct tokenizer *tok, const struct plan_model *model,
                               const char *path, const struct quality_convention *convention,
                               struct error *err)
{
    struct quality_text text;
    TRY(quality_text_read(path, convention, tok, &model->config, &text, err));
    enum status status = quality_check_length(convention, &text, err);
    quality_text_fini(&text);
    return status;
}

// Opens the tokenizer once per model, because reading 150,000 tokens takes most of a second.
static enum status open_tokenizer(struct expansion *x, const struct plan_model *model,
                                  struct error *err)
{
    struct checkpoint *ck = NULL;
    if (x->tokenizer_of == model)
        return OK;
    expand_close_texts(x);
    enum status status = checkpoint_open(model->path, &ck, err);
    if (status == OK)
        status = checkpoint_tokenizer(ck, &x->tokenizer, err);
    if (status == OK && !x->tokenizer)
        status = FAIL(err, ERR_UNSUPPORTED, "it has no tokenizer to read text with");
    if (status == OK)
        x->tokenizer_of = model;
    checkpoint_destroy(ck);
    return status;
}

void expand_close_texts(struct expansion *x)
{
    tokenizer_destroy(x->tokenizer);
    x->tokenizer = NULL;
    x->tokenizer_of = NULL;
}

static enum status try_calibration(const struct plan_model *model, const char *path,
                                   struct error *err)
{
    struct checkpoint *ck = NULL;
    if (checkpoint_open(model->path, &ck, err) == OK)
        checkpoint_calibration_check(ck, path, err);
    checkpoint_destroy(ck);
    return err->code;
}

static enum status try_text(struct expansion *x, const struct text_verdict *text, struct error *err)
{
    if (text->calibration)
        return try_calibration(text->model, text->path, err);
    TRY(open_tokenizer(x, text->model, err));
    return text->convention
               ? try_quality(x->tokenizer, text->model, text->path, text->convention, err)
               : try_prompt(x->tokenizer, text->path, err);
}

static const char *refusal_of(struct expansion *x, struct text_verdict text)
{
    struct error err = {0};
    if (!x->texts)
        x->texts = arena_alloc(&x->plan->arena, TEXTS_MAX, sizeof *x->texts);
    for (size_t i = 0; i < x->text_count; i++) {
        const struct text_verdict *known = &x->texts[i];
        if (known->model == text.model && known->convention == text.convention &&
            known->calibration == text.calibration && str_equal(known->path, text.path))
            return known->refused;
    }
    if (try_text(x, &text, &err) != OK)
        text.refused = plan_text(x->plan, "%s", err.message);
    if (x->texts && x->text_count < TEXTS_MAX)
        x->texts[x->text_count++] = text;
    return text.refused;
}

const char *plan_text_refused(struct expansion *x, const struct plan_model *model, const char *path,
                              const struct quality_convention *convention)
{
    return refusal_of(
        x, (struct text_verdict){.model = model, .convention = convention, .path = path});
}

const char *plan_calibration_refused(struct expansion *x, const struct plan_model *model,
                                     const char *path)
{
    return refusal_of(x, (struct text_verdict){.model = model, .calibration = true, .path = path});
}
