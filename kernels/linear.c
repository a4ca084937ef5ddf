// linear.c - cuts a product into tiles, for all fast variants. See linear.h.
#include "kernels/linear.h"

#include "kernels/quant.h"

enum {
    // Groups of inputs in a block. Three panels of them are 384 KiB and stay in an L2 of 512 KiB.
    BLOCK_GROUPS = 2048,
    AHEAD_BYTES = 1024, // how far a tile prefetches its own weights; the next group can wait
};

static int least(int a, int b)
{
    return a < b ? a : b;
}

// Runs all tokens through one group of panels. next: the panels to prefetch at the end, or NULL. A single tile
// prefetches nothing: its weights are one sequential stream.
static void run_panels(const struct linear_shape *shape, const struct k_linear *job,
                       struct linear_tile *tile, const char *next)
{
    int tiles = (job->tokens + shape->tokens - 1) / shape->tokens;
    const char *x = tile->x;
    const float *x_scale = tile->x_scale;
    float *y = tile->y;
    for (int i = 0; i < tiles; i++) { // of nearly equal size: 9 tokens are 5 and 4, not 8 and 1
        int t0 = (int)((int64_t)job->tokens * i / tiles);
        int t1 = (int)((int64_t)job->tokens * (i + 1) / tiles);
        tile->tokens = t1 - t0;
        tile->x = x + (size_t)t0 * tile->x_stride;
        tile->x_scale = x_scale ? x_scale + t0 : NULL;
        tile->y = y + (size_t)t0 * job->ldy;
        tile->ahead = i < tiles - 1 ? tile->w + AHEAD_BYTES : next;
        shape->tile(tile);
    }
}

static int panels_of_tile(const struct linear_shape *shape, const struct k_linear *job)
{
    return job->streamed && job->tokens <= shape->tokens ? shape->streamed : shape->panels;
}

// Runs panels [panel0, panel1) over the inputs of groups [g0, g0 + groups).
static void run_block(const struct linear_shape *shape, const struct k_linear *job, int panel0,
                      int panel1, int g0, int groups)
{
    int step = panels_of_tile(shape, job);
    int quant_group = job->group ? job->group : QUANT_GROUP;
    size_t stride = quant_panel_bytes(shape->w, job->cols, quant_group);
    size_t codes = quant_header_bytes(shape->w, job->cols, quant_group);
    size_t element_bytes = 4 / (size_t)kernel_panel_group(shape->x); // a row's group is 4 bytes
    size_t group_bytes = (size_t)kernel_panel_group(shape->w) * element_bytes;
    for (int p = panel0; p < panel1; p += step) {
        const char *header = (const char *)job->w + (size_t)p * stride;
        const char *w = header + codes + (size_t)g0 * LINEAR_GROUP_BYTES;
        int panels = least(panel1 - p, step), last = p + panels - 1;
        struct linear_tile tile = {
            .w = w,
            .header = header,
            .w_stride = stride,
            .x = (const char *)job->x + (size_t)g0 * group_bytes,
            .x_stride = job->ldx * element_bytes,
            .x_scale = job->x_scale,
            .y = job->y + p * PANEL_ROWS,
            .ldy = job->ldy,
            .bias = job->bias && g0 == 0 ? job->bias + p * PANEL_ROWS : NULL,
            .groups = groups,
            .quant_group = quant_group,
            .panels = panels,
            .last_rows = least(job->rows - last * PANEL_ROWS, PANEL_ROWS),
            .accumulate = job->accumulate || g0 > 0,
        };
        bool more = job->tokens > shape->tokens && p + 2 * step <= panel1;
        run_panels(shape, job, &tile, more ? w + (size_t)step * stride : NULL);
    }
}

void kernel_linear_run(const struct linear_shape *shape, const struct k_linear *job, int panel0,
                       int panel1)
{
    int groups = kernel_packed_cols(shape->w, job->cols) / kernel_panel_group(shape->w), g0 = 0;
    int block = dtype_is_quantized(shape->w) ? groups : BLOCK_GROUPS;
    do {
        int count = least(groups - g0, block);
        run_block(shape, job, panel0, panel1, g0, count);
        g0 += count;
    } while (g0 < groups);
}
