// texts.c - checks whether a model can read the texts of a plan: prompts, and texts for quality.
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

static enum status try_text(struct expansion *x, const struct plan_model *model, const char *path,
                            const struct quality_convention *convention, struct error *err)
{
    TRY(open_tokenizer(x, model, err));
    return convention ? try_quality(x->tokenizer, model, path, convention, err)
                      : try_prompt(x->tokenizer, path, err);
}

const char *plan_text_refused(struct expansion *x, const struct plan_model *model, const char *path,
                              const struct quality_convention *convention)
{
    struct error err = {0};
    if (!x->texts)
        x->texts = arena_alloc(&x->plan->arena, TEXTS_MAX, sizeof *x->texts);
    for (size_t i = 0; i < x->text_count; i++)
        if (x->texts[i].model == model && x->texts[i].convention == convention &&
            str_equal(x->texts[i].path, path))
            return x->texts[i].refused;
    const char *refused = NULL;
    if (try_text(x, model, path, convention, &err) != OK)
        refused = plan_text(x->plan, "%s", err.message);
    if (x->texts && x->text_count < TEXTS_MAX)
        x->texts[x->text_count++] = (struct text_verdict){model, convention, path, refused};
    return refused;
}
