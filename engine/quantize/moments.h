// moments.h - what calibration keeps of a product's inputs: mean |x| of each channel, and the second
// moments E[x x^T], whole and within each group of channels.
//
// The output error of one group of one row, when its weights change by e, is E[(e x)^2] = e^T E[x x^T] e:
// with the moments at hand it costs the same however many tokens were seen. When other groups of the row
// change as well, twice e^T times what theirs make of it comes on top. Memory: 4 * cols * (cols + group)
// bytes, and as much as cols * cols once more while they are made.
#ifndef ENGINE_QUANTIZE_MOMENTS_H
#define ENGINE_QUANTIZE_MOMENTS_H

#include "device/device.h"
#include "kernels/kernels.h"

// Groups up to this many channels.
enum { MOMENTS_GROUP_MAX = 256 };

struct moments {
    int cols, group;       // the last group may be shorter
    float *mean_abs;       // (cols)
    unsigned char *second; // of each group packed f32 (group, group), as a product's weights
    size_t stride_bytes;   // from group to group
    unsigned char *whole;  // packed f32 (cols, cols)
    k_linear_fn *product;  // f32 x f32
};

// x: (tokens, ld) f32. Borrows nothing. Errors: ERR_NOMEM. Cost: 2 * tokens * cols * cols FLOP. Groups are
// whole panels (PANEL_ROWS), the last excepted.
// The same bits for any number of threads.
enum status moments_create(const float *x, size_t ld, int tokens, int cols, int group,
                           struct device *device, struct moments **out, struct error *err);
void moments_destroy(struct moments *m);

// scale (cols) = mean |x|^alpha, as published: not below 1e-4, and centred so that largest and least multiply
// to one.
void moments_scale(const struct moments *m, double alpha, float *scale);

// error[r] = e_r^T E[x x^T] e_r for the group that begins at column `first`, of up to PANEL_ROWS rows.
// e: (rows, ld), 64-byte aligned rows.
void moments_error(const struct moments *m, int first, const float *e, int rows, size_t ld,
                   double *error);

// y[r][i] = sum over all channels c of e[r][c] E[x_c x_(first + i)], for the group that begins at `first`.
// e: (rows, ld) of all cols, 64-byte aligned rows; y: (rows, MOMENTS_GROUP_MAX). Up to PANEL_ROWS rows.
void moments_seen(const struct moments *m, int first, const float *e, int rows, size_t ld,
                  float *y);

// The same of the group's own part alone: e begins at its first channel.
void moments_own(const struct moments *m, int first, const float *e, int rows, size_t ld, float *y);

#endif
