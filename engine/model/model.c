// model.c - a checkpoint becomes a model on a device: the backend is found and packs the weights.
#include "engine/model/model.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"

// Whether the checkpoint stores codes in the format of the scheme's weights, and in which groups.
static bool stores_codes(const struct checkpoint *ck, const struct scheme *scheme, int *group)
{
    struct stored_quant stored;
    if (!ck->ops->quantization || !ck->ops->quantization(ck->self, T_Q, 0, &stored) ||
        stored.type != scheme->weights)
        return false;
    if (stored.type == DT_I4)
        *group = stored.group;
    return true;
}

// The scheme as it runs on this checkpoint; its arithmetic tells where codes come from when that is not
// rounding to nearest.
static struct scheme scheme_of(const struct checkpoint *ck, const struct engine_options *options,
                               const struct calibration *calibration)
{
    struct scheme row = *options->scheme;
    bool awq = str_equal(row.name, "int4-awq"), stored = stores_codes(ck, &row, &row.group);
    struct scheme s = scheme_resolve(&row, row.head, options->isa);
    size_t used = strlen(s.arithmetic), room = sizeof s.arithmetic - used;
    if (calibration->path[0])
        snprintf(s.arithmetic + used, room, "; codes by awq on text %.8s", calibration->text);
    else if (stored)
        snprintf(s.arithmetic + used, room, "; codes as stored");
    else if (awq)
        snprintf(s.arithmetic + used, room,
                 "; codes rounded to nearest: random weights are not calibrated");
    return s;
}

static bool is_quantized(const struct checkpoint *ck)
{
    struct stored_quant codes;
    struct stored_form form;
    const struct source_ops *ops = ck->ops;
    return (ops->quantization && ops->quantization(ck->self, T_Q, 0, &codes)) ||
           (ops->stored_form && ops->stored_form(ck->self, T_Q, 0, &form));
}

// The checkpoint that codes come from: AWQ's own one where the scheme asks for it and there are none yet.
static enum status calibrate(struct checkpoint *ck, const struct engine_options *options,
                             void *user, struct checkpoint **made, struct calibration *result,
                             struct error *err)
{
    struct quantize_options wanted = {
        .scheme = "int4-awq", .pool = options->pool, .calib = options->calib};
    *made = NULL;
    if (!str_equal(options->scheme->name, "int4-awq") || ck->synthetic || is_quantized(ck))
        return OK;
    return checkpoint_calibrated(ck, &wanted, options->calibrating, user, made, result, err);
}

enum status model_load(struct checkpoint *ck, const struct engine_options *options,
                       engine_progress *progress, void *user, struct model **out, struct error *err)
{
    *out = NULL;
    struct checkpoint *made = NULL;
    const struct backend *backend = backend_find(options->device);
    if (!backend)
        return FAIL(err, ERR_UNSUPPORTED, "device '%s': this build has no backend for it",
                    options->device);
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return FAIL(err, ERR_NOMEM, "model: %zu bytes for its description", sizeof *model);
    model->config = *checkpoint_config(ck);
    model->backend = backend;
    if (calibrate(ck, options, user, &made, &model->calibration, err) == OK) {
        struct engine_options resolved = *options;
        model->scheme = scheme_of(made ? made : ck, options, &model->calibration);
        resolved.scheme = &model->scheme;
        backend->prepare(made ? made : ck, &resolved, progress, user, &model->prepared, err);
    }
    checkpoint_destroy(made);
    if (err->code != OK) {
        free(model);
        return error_context(err, "%s in %s", ck->config.name, options->scheme->name);
    }
    *out = model;
    return OK;
}

const struct calibration *model_calibration(const struct model *model)
{
    return model->calibration.path[0] ? &model->calibration : NULL;
}

void model_destroy(struct model *model)
{
    if (!model)
        return;
    model->backend->prepared_destroy(model->prepared);
    free(model);
}

const struct model_config *model_config(const struct model *model)
{
    return &model->config;
}

const struct scheme *model_scheme(const struct model *model)
{
    return &model->scheme;
}

struct memory_plan engine_memory_plan(const struct model_config *config,
                                      const struct scheme *scheme,
                                      const struct context_options *options, int threads)
{
    return cpu_backend.memory_plan(config, scheme, options, threads);
}
