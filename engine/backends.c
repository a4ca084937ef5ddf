// backends.c - the list of backends in this build, one per kind of device.
//
// It is separate from model.c so that a test can link another list.
#include "engine/backend.h"

static const struct backend *const backends[] = {&cpu_backend, &cuda_backend};

const struct backend *backend_find(enum device_kind kind)
{
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        if (backends[i]->kind == kind)
            return backends[i];
    return NULL;
}
