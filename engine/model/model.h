// model.h - a model on a device, as the rest of engine/model sees it.
#ifndef ENGINE_MODEL_MODEL_H
#define ENGINE_MODEL_MODEL_H

#include "engine/backend.h"

struct model {
    struct model_config config;
    struct scheme scheme;  // the scheme as it runs
    struct device *device; // borrowed
    const struct backend *backend;
    void *prepared;                 // owned by the backend: packed weights
    struct calibration calibration; // empty path: none was needed
};

// Packs the weights of `ck` with the backend of options->device. config: of `ck`. options->scheme: resolved; it is
// copied. Does not calibrate: callers outside the engine use model_load.
// Errors: ERR_UNSUPPORTED for a device without a backend, and the backend's own.
enum status model_create(const struct model_config *config, struct checkpoint *ck,
                         const struct engine_options *options, engine_progress *progress,
                         void *user, struct model **out, struct error *err);

#endif
