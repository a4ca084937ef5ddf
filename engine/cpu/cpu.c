// cpu.c - the CPU backend's table of functions, and how it lays out memory.
#include "engine/cpu/cpu.h"

#include "engine/model/sizes.h"

void *cpu_take(struct cpu_cursor *cursor, size_t count, size_t size_bytes)
{
    void *place = cursor->base ? cursor->base + cursor->used_bytes : NULL;
    cursor->used_bytes = sat_add(cursor->used_bytes, sat_align(sat_mul(count, size_bytes)));
    return place;
}

size_t cpu_element_bytes(enum dtype type)
{
    return 64 / (PANEL_ROWS * (size_t)kernel_panel_group(type)); // a group of 16 rows is 64 bytes
}

size_t cpu_panel_bytes(const struct cpu_matrix *m)
{
    return quant_panel_bytes(m->type, m->cols, m->group);
}

int cpu_padded(enum dtype weights, int cols)
{
    return kernel_packed_cols(weights, cols);
}

enum dtype cpu_staged(const struct scheme *scheme)
{
    return dtype_is_quantized(scheme->activations) ? DT_F32 : scheme->activations;
}

const struct backend cpu_backend = {
    .kind = DEVICE_HOST,
    .pass_tokens = 1024,
    .prepare = cpu_prepare,
    .prepared_destroy = cpu_prepared_destroy,
    .memory_plan = cpu_memory_plan,
    .context = cpu_context_create,
    .context_destroy = cpu_context_destroy,
    .sample = cpu_context_sample,
    .step = cpu_step,
};
