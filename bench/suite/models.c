// models.c - finds the models of a suite, reads their headers, and hashes their content.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/home.h"
#include "base/interrupt.h"
#include "base/str.h"
#include "bench/suite/expand.h"

static enum status unknown_shape(struct expansion *x, const char *place, const char *shape,
                                 struct error *err)
{
    struct words known = {0};
    char hint[WORDS_HINT_BYTES];
    home_names("models/shapes", ".json", false, &x->plan->arena, &known);
    return FAIL(err, ERR_USAGE, "%s: unknown shape '%s'%s", place, shape,
                words_hint(shape, known.items, known.count, hint, sizeof hint));
}

// "llama-2-7b" is models/shapes/llama-2-7b.json; anything with a '/' or ".json" is a file name.
static enum status find_shape(struct expansion *x, const char *section,
                              const struct suite_model *from, struct plan_model *model,
                              struct error *err)
{
    char place[SUITE_PLACE_BYTES];
    suite_place(x->suite, section, "shape", place);
    size_t length = strlen(from->shape);
    bool is_file =
        strchr(from->shape, '/') || (length > 5 && strcmp(from->shape + length - 5, ".json") == 0);
    const char *name =
        is_file ? from->shape : plan_text(x->plan, "models/shapes/%s.json", from->shape);
    const char *path = name ? suite_find_file(x->suite, section, "shape", name) : NULL;
    if (!path && is_file)
        return FAIL(err, ERR_USAGE, "%s: there is no file %s", place, from->shape);
    if (!path)
        return unknown_shape(x, place, from->shape, err);
    model->shape = arena_strdup(&x->plan->arena, from->shape);
    model->shape_path = arena_strdup(&x->plan->arena, path);
    return OK;
}

static enum status no_such_path(struct expansion *x, const char *section, const char *path,
                                struct error *err)
{
    static const char *const own[] = {"models/reference"};
    char place[SUITE_PLACE_BYTES], near[WORDS_HINT_BYTES];
    words_near(path, own, 1, near, sizeof near);
    return FAIL(err, ERR_USAGE, "%s: there is no %s%s",
                suite_place(x->suite, section, "path", place), path, near);
}

static enum status find_checkpoint(struct expansion *x, const char *section,
                                   const struct suite_model *from, struct plan_model *model,
                                   struct error *err)
{
    const char *path = suite_find_file(x->suite, section, "path", from->path);
    if (!path)
        return no_such_path(x, section, from->path, err);
    model->path = arena_strdup(&x->plan->arena, path);
    return OK;
}

static void count_parameters(struct plan_model *model, const struct checkpoint *ck)
{
    struct tensor_class classes[32];
    size_t count = checkpoint_tensor_classes(ck, classes, 32);
    for (size_t i = 0; i < count && i < 32; i++) {
        model->parameters += (double)classes[i].parameters;
        if (model->path)
            model->stored_bytes += (double)classes[i].bytes;
    }
}

static enum status read_schemes(struct plan *plan, struct plan_model *model,
                                const struct checkpoint *ck, struct error *err)
{
    size_t count;
    const struct scheme *schemes = scheme_table(&count);
    assert(count <= PLAN_SCHEMES);
    for (size_t i = 0; i < count; i++) {
        struct error why = {0};
        struct scheme s;
        struct device_target any = {0}; // group and refusal are the same for every target
        if (checkpoint_scheme(ck, &schemes[i], any, &s, &why) == OK)
            model->group[i] = s.group;
        else if (!(model->refused[i] = arena_strdup(&plan->arena, why.message)))
            return FAIL(err, ERR_NOMEM, "no memory for the plan");
    }
    return OK;
}

// Hashing takes a second for one to two GB in memory, and longer from a disk.
static const double SLOW_BYTES = 512 << 20;

static enum status read_model(struct expansion *x, struct plan_model *model, struct error *err)
{
    struct plan *plan = x->plan;
    struct checkpoint *ck = NULL;
    enum status status = model->path
                             ? checkpoint_open(model->path, &ck, err)
                             : checkpoint_synthetic(model->shape_path, model->seed, &ck, err);
    if (status == OK) {
        count_parameters(model, ck);
        if (x->machine->reading && model->stored_bytes > SLOW_BYTES)
            x->machine->reading(model->label, model->stored_bytes);
        status = checkpoint_content_hash(ck, model->content, err);
    }
    if (status == OK) {
        char text[FALLBACK_BYTES];
        model->config = *checkpoint_config(ck);
        model_fallback_text(&model->config, text, sizeof text);
        model->fallback = arena_strdup(&plan->arena, text);
        status = model->fallback ? read_schemes(plan, model, ck, err)
                                 : FAIL(err, ERR_NOMEM, "no memory for the plan");
    }
    checkpoint_destroy(ck);
    return status;
}

static enum status expand_model(struct expansion *x, const struct suite_model *from,
                                struct plan_model *model, struct error *err)
{
    const char *section = plan_text(x->plan, "model %s", from->name);
    model->label = arena_strdup(&x->plan->arena, from->name);
    model->seed = (uint64_t)from->seed;
    if (!section || !model->label)
        return FAIL(err, ERR_NOMEM, "no memory for the plan");
    TRY(from->path ? find_checkpoint(x, section, from, model, err)
                   : find_shape(x, section, from, model, err));
    if (!model->path && !model->shape_path)
        return FAIL(err, ERR_NOMEM, "no memory for the plan");
    TRY(interrupt_check(err));
    if (read_model(x, model, err) != OK)
        return err->code == ERR_INTERRUPTED
                   ? err->code
                   : error_context(err, "%s: [%s]",
                                   suite_where(x->suite, section, from->path ? "path" : "shape"),
                                   section);
    return OK;
}

// Whether any sweep uses the model. Others are not opened, because hashing may take minutes.
static bool is_used(const struct suite *suite, const char *name)
{
    for (size_t i = 0; i < suite->sweep_count; i++) {
        const struct word_list *models = &suite->sweeps[i].model;
        for (size_t k = 0; k < models->count; k++)
            if (strcmp(models->items[k], name) == 0)
                return true;
        if (!models->count)
            return true;
    }
    return false;
}

enum status expand_models(struct expansion *x, struct error *err)
{
    struct plan *plan = x->plan;
    plan->models = arena_alloc(&plan->arena, x->suite->model_count, sizeof *plan->models);
    if (!plan->models)
        return FAIL(err, ERR_NOMEM, "no memory for the plan");
    for (size_t i = 0; i < x->suite->model_count; i++) {
        const struct suite_model *from = &x->suite->models[i];
        if (is_used(x->suite, from->name))
            TRY(expand_model(x, from, &plan->models[plan->model_count++], err));
    }
    return OK;
}
