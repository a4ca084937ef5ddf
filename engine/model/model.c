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
// rounding to nearest. AWQ's have to be there already, or to be made of nothing but random numbers.
static enum status scheme_of(const struct checkpoint *ck, const struct engine_options *options,
                             struct scheme *out, struct error *err)
{
    struct scheme row = *options->scheme;
    bool awq = str_equal(row.name, "int4-awq"), stored = stores_codes(ck, &row, &row.group);
    if (awq && !stored && !ck->synthetic)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s has no int4 codes: calibrate it first (bench quantize --scheme int4-awq), "
                    "or take int4-rtn",
                    ck->config.name);
    *out = scheme_resolve(&row, row.head, options->isa);
    size_t used = strlen(out->arithmetic);
    if (stored || awq)
        snprintf(out->arithmetic + used, sizeof out->arithmetic - used, "; codes %s",
                 stored ? "as stored" : "rounded to nearest: random weights are not calibrated");
    return OK;
}

enum status model_load(struct checkpoint *ck, const struct engine_options *options,
                       engine_progress *progress, void *user, struct model **out, struct error *err)
{
    *out = NULL;
    const struct backend *backend = backend_find(options->device);
    if (!backend)
        return FAIL(err, ERR_UNSUPPORTED, "device '%s': this build has no backend for it",
                    options->device);
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return FAIL(err, ERR_NOMEM, "model: %zu bytes for its description", sizeof *model);
    model->config = *checkpoint_config(ck);
    if (scheme_of(ck, options, &model->scheme, err) != OK) {
        free(model);
        return err->code;
    }
    model->backend = backend;
    struct engine_options resolved = *options;
    resolved.scheme = &model->scheme;
    if (backend->prepare(ck, &resolved, progress, user, &model->prepared, err) != OK) {
        free(model);
        return error_context(err, "%s in %s", ck->config.name, options->scheme->name);
    }
    *out = model;
    return OK;
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
