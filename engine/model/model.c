// model.c - a model on a device: made by its backend, and what can be asked of it.
#include "engine/model/model.h"

#include <stdlib.h>

enum status model_create(const struct model_config *config, struct checkpoint *ck,
                         const struct engine_options *options, engine_progress *progress,
                         void *user, struct model **out, struct error *err)
{
    *out = NULL;
    const struct backend *backend = backend_find(options->device);
    if (!backend)
        return FAIL(err, ERR_UNSUPPORTED, "device '%s': this build has no backend for it",
                    options->device);
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return FAIL(err, ERR_NOMEM, "model: %zu bytes for its description", sizeof *model);
    model->config = *config;
    model->backend = backend;
    model->scheme = *options->scheme;
    struct engine_options kept = *options;
    kept.scheme = &model->scheme;
    if (backend->prepare(ck, &kept, progress, user, &model->prepared, err) != OK) {
        free(model);
        return err->code;
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
