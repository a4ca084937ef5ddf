// model.c - a model on a device: created by its backend, and its accessors.
#include "engine/model/model.h"

#include <limits.h>
#include <stdlib.h>

static enum status backend_of(const struct device_info *device, const struct backend **out,
                              struct error *err)
{
    *out = backend_find(device->kind);
    return *out ? OK
                : FAIL(err, ERR_UNSUPPORTED, "device %s: this build has no engine for it",
                       device->name);
}

enum status model_create(const struct model_config *config, struct checkpoint *ck,
                         const struct engine_options *options, engine_progress *progress,
                         void *user, struct model **out, struct error *err)
{
    *out = NULL;
    const struct backend *backend = NULL;
    TRY(backend_of(device_info(options->device), &backend, err));
    struct model *model = calloc(1, sizeof *model);
    if (!model)
        return FAIL(err, ERR_NOMEM, "model: %zu bytes for its description", sizeof *model);
    model->config = *config;
    model->device = options->device;
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

int engine_pass_tokens(enum device_kind kind)
{
    const struct backend *backend = backend_find(kind);
    return backend ? backend->pass_tokens : INT_MAX;
}

bool engine_decode_forms(enum device_kind kind)
{
    const struct backend *backend = backend_find(kind);
    return backend && backend->decode_choice;
}

enum status engine_memory_plan(const struct device_info *device, const struct model_config *config,
                               const struct scheme *scheme, const struct context_options *options,
                               int threads, struct memory_plan *out, struct error *err)
{
    const struct backend *backend = NULL;
    *out = (struct memory_plan){0};
    TRY(backend_of(device, &backend, err));
    *out = backend->memory_plan(device, config, scheme, options, threads);
    return OK;
}
