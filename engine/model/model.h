// model.h - a model on a device, as the rest of engine/model sees it.
#ifndef ENGINE_MODEL_MODEL_H
#define ENGINE_MODEL_MODEL_H

#include "engine/backend.h"

struct model {
    struct model_config config;
    struct scheme scheme; // as it runs
    const struct backend *backend;
    void *prepared;                 // owned by the backend: packed weights
    struct calibration calibration; // path empty: none was needed
};

#endif
