// cpu.c - the CPU backend's table, and the memory its parts stand on.
#include "engine/cpu/cpu.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "engine/model/sizes.h"

enum { HUGE_PAGE_BYTES = 2 << 20 };

void *cursor_take(struct cursor *cursor, size_t count, size_t size_bytes)
{
    void *place = cursor->base ? cursor->base + cursor->used_bytes : NULL;
    cursor->used_bytes = sat_add(cursor->used_bytes, sat_align(sat_mul(count, size_bytes)));
    return place;
}

void *cpu_memory(size_t bytes)
{
    void *memory = NULL;
    if (bytes > SIZE_MAX / 2 || posix_memalign(&memory, HUGE_PAGE_BYTES, bytes ? bytes : 1) != 0)
        return NULL;
    os_advise_huge(memory, bytes); // small pages do as well, only slower
    return memory;
}

size_t cpu_element_bytes(enum dtype type)
{
    return 64 / (PANEL_ROWS * (size_t)panel_group(type)); // a group of 16 rows is 64 bytes
}

size_t cpu_panel_bytes(const struct cpu_matrix *m)
{
    return quant_panel_bytes(m->type, m->cols, m->group);
}

int cpu_padded(enum dtype weights, int cols)
{
    return packed_cols(weights, cols);
}

enum dtype cpu_staged(const struct scheme *scheme)
{
    return dtype_is_quantized(scheme->activations) ? DT_F32 : scheme->activations;
}

static size_t cpu_devices(struct engine_device *out, size_t max)
{
    if (max == 0)
        return 0;
    memset(out, 0, sizeof *out);
    char isa[96];
    snprintf(out->name, sizeof out->name, "cpu");
    snprintf(out->description, sizeof out->description, "this processor, kernels for %s",
             device_isa_text(DEVICE_HOST, device_isa_host(), isa, sizeof isa));
    out->available = true;
    return 1;
}

const struct backend cpu_backend = {
    .name = "cpu",
    .devices = cpu_devices,
    .prepare = cpu_prepare,
    .prepared_destroy = cpu_prepared_destroy,
    .memory_plan = cpu_memory_plan,
    .context = cpu_context_create,
    .context_destroy = cpu_context_destroy,
    .step = cpu_step,
};
