// linear.c - cuts a product into tiles: the walk all fast variants share. See linear.h.
#include "kernels/linear.h"

enum {
    // Groups of inputs at a time. Three panels of them are 384 KiB: they stay in an L2 of 512 KiB.
    BLOCK_GROUPS = 2048,
    AHEAD_BYTES =
        1024, // how far a tile fetches its own weights ahead, while the next group can wait
};

static int least(int a, int b)
{
    return a < b ? a : b;
}

// All tokens through one group of panels. next: the panels to fetch ahead at the end, or NULL. A single
// tile fetches nothing ahead: its weights are one sequential stream.
static void run_panels(const struct linear_shape *shape, const struct k_linear *job,
                       struct linear_tile *tile, const char *next)
{
    int tiles = (job->tokens + shape->tokens - 1) / shape->tokens;
    const char *x = tile->x;
    float *y = tile->y;
    for (int i = 0; i < tiles; i++) { // of even size: 9 tokens are 5 and 4, not 8 and 1
        int t0 = (int)((int64_t)job->tokens * i / tiles);
        int t1 = (int)((int64_t)job->tokens * (i + 1) / tiles);
        tile->tokens = t1 - t0;
        tile->x = x + (size_t)t0 * tile->x_stride;
        tile->y = y + (size_t)t0 * job->ldy;
        tile->ahead = i < tiles - 1 ? tile->w + AHEAD_BYTES : next;
        shape->tile(tile);
    }
}

static int panels_of_tile(const struct linear_shape *shape, const struct k_linear *job)
{
    return job->streamed && job->tokens <= shape->tokens ? shape->streamed : shape->panels;
}

// The panels [panel0, panel1) over the inputs of groups [g0, g0 + groups).
static void run_block(const struct linear_shape *shape, const struct k_linear *job, int panel0,
                      int panel1, int g0, int groups)
{
    int step = panels_of_tile(shape, job);
    size_t stride = panel_bytes(shape->type, job->cols);
    size_t group_bytes = LINEAR_GROUP_BYTES / PANEL_ROWS;
    size_t element_bytes = group_bytes / (size_t)panel_group(shape->type);
    for (int p = panel0; p < panel1; p += step) {
        const char *w = (const char *)job->w + (size_t)p * stride + (size_t)g0 * LINEAR_GROUP_BYTES;
        int panels = least(panel1 - p, step), last = p + panels - 1;
        struct linear_tile tile = {
            .w = w,
            .w_stride = stride,
            .x = (const char *)job->x + (size_t)g0 * group_bytes,
            .x_stride = job->ldx * element_bytes,
            .y = job->y + p * PANEL_ROWS,
            .ldy = job->ldy,
            .bias = job->bias && g0 == 0 ? job->bias + p * PANEL_ROWS : NULL,
            .groups = groups,
            .panels = panels,
            .last_rows = least(job->rows - last * PANEL_ROWS, PANEL_ROWS),
            .accumulate = job->accumulate || g0 > 0,
        };
        bool more = job->tokens > shape->tokens && p + 2 * step <= panel1;
        run_panels(shape, job, &tile, more ? w + (size_t)step * stride : NULL);
    }
}

void linear_run(const struct linear_shape *shape, const struct k_linear *job, int panel0,
                int panel1)
{
    int groups = packed_cols(shape->type, job->cols) / panel_group(shape->type), g0 = 0;
    do {
        int count = least(groups - g0, BLOCK_GROUPS);
        run_block(shape, job, panel0, panel1, g0, count);
        g0 += count;
    } while (g0 < groups);
}
