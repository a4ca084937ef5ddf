// moments.h - statistics of a product's inputs: mean |x| of each channel, and the second moments E[x x^T], of all
// channels and within each group.
//
// When the weights of one group of a row change by e, the output error is E[(e x)^2] = e^T E[x x^T] e. With the
// moments its cost does not depend on the number of tokens. Changes d of the row's other groups add the cross term
// 2 e^T E[x x^T] d. Memory: 4 * cols * (cols + group) bytes, and 4 * cols * cols more while they are computed.
#ifndef ENGINE_QUANTIZE_MOMENTS_H
#define ENGINE_QUANTIZE_MOMENTS_H

#include "device/device.h"
#include "kernels/kernels.h"

// Groups up to this many channels.
enum { MOMENTS_GROUP_MAX = 256 };

struct moments {
    int cols, group;       // the last group may be shorter
    float *mean_abs;       // (cols)
    unsigned char *second; // of each group, packed as f32 weights (group, group)
    size_t stride_bytes;   // from group to group
    unsigned char *whole;  // packed f32 (cols, cols)
    k_linear_fn *product;  // f32 x f32
};

// x: (tokens, ld) f32. Borrows nothing. Errors: ERR_NOMEM. Cost: 2 * tokens * cols * cols FLOP. Groups are whole panels
// (PANEL_ROWS), except the last. The number of threads never changes a bit.
enum status moments_create(const float *x, size_t ld, int tokens, int cols, int group,
                           struct device *device, struct moments **out, struct error *err);
void moments_destroy(struct moments *m);

// scale (cols) = mean |x|^alpha, as published: at least 1e-4, and centred so that the product of the largest and the
// smallest is 1.
void moments_scale(const struct moments *m, double alpha, float *scale);

// error[r] = e_r^T E[x x^T] e_r for the group that begins at column `first`, for up to PANEL_ROWS rows.
// e: (rows, ld), 64-byte aligned rows.
void moments_error(const struct moments *m, int first, const float *e, int rows, size_t ld,
                   double *error);

// y[r][i] = sum over all channels c of e[r][c] E[x_c x_(first + i)], for the group that begins at `first`.
// e: (rows, ld) of all cols, 64-byte aligned rows; y: (rows, MOMENTS_GROUP_MAX). Up to PANEL_ROWS rows.
void moments_seen(const struct moments *m, int first, const float *e, int rows, size_t ld,
                  float *y);

// The same sum over the group's own channels alone: e begins at its first channel.
void moments_own(const struct moments *m, int first, const float *e, int rows, size_t ld, float *y);

#endif
