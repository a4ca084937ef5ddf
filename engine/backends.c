// backends.c - the list of backends of this build, and the devices they find.
#include "engine/backend.h"

#include <stdio.h>
#include <string.h>

static const struct backend *const backends[] = {&cpu_backend};

// Devices people name in suites whose backend is not in this build: listed, so that what asks for them
// is recorded with a reason.
static const char *const absent[] = {"cuda:0", "metal"};

const struct backend *backend_find(const char *device)
{
    size_t length = strcspn(device, ":");
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++) {
        const char *name = backends[i]->name;
        if (strlen(name) == length && strncmp(name, device, length) == 0)
            return backends[i];
    }
    return NULL;
}

size_t engine_devices(struct engine_device *out, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < sizeof backends / sizeof *backends; i++)
        count += backends[i]->devices(out + count, max - count);
    for (size_t i = 0; i < sizeof absent / sizeof *absent && count < max; i++) {
        if (backend_find(absent[i]))
            continue;
        struct engine_device *device = &out[count++];
        memset(device, 0, sizeof *device);
        snprintf(device->name, sizeof device->name, "%s", absent[i]);
        snprintf(device->reason, sizeof device->reason, "this build has no %.*s backend",
                 (int)strcspn(absent[i], ":"), absent[i]);
    }
    return count;
}
