// cuda_profiler.h - CUPTI's Profiler Host and Range Profiler: their functions and parameters, written out.
//
// CUPTI's header of the host's part includes a header of C++, so nothing here includes it. Each call takes one struct
// whose first member is the size up to its last member that the caller knows: a newer CUPTI accepts an older size.
// tests/device/test_cuda_counters.c compares the structs with CUPTI's headers where those are installed.
// Source: CUPTI API reference, 13.0.
#ifndef DEVICE_CUDA_PROFILER_H
#define DEVICE_CUDA_PROFILER_H

#include <stddef.h>
#include <stdint.h>

// The first two members of parameters whose last member is `last`.
#define PROFILER_HEAD(type, last)                                                                  \
    .head = {.size = offsetof(struct type, last) + sizeof(((struct type *)NULL)->last)}
struct profiler_head {
    size_t size;
    void *private; // NULL
};

enum { PROFILER_RANGES = 0 };                               // the kind of a host object
enum { PROFILER_USER_RANGE = 2, PROFILER_USER_REPLAY = 3 }; // modes of a range and of its passes
enum profiler_support {
    PROFILER_UNKNOWN,
    PROFILER_UNSUPPORTED,
    PROFILER_DISABLED,
    PROFILER_SUPPORTED
};

// ---- the host's part: needs no GPU ---------------------------------------------------------------------

struct profiler_host_initialize {
    struct profiler_head head;
    int kind;
    const char *chip;
    const uint8_t *availability; // NULL: every counter of the chip
    void *host;                  // out
};
struct profiler_host_deinitialize {
    struct profiler_head head;
    void *host;
};
struct profiler_chips {
    struct profiler_head head;
    size_t count;             // out
    const char *const *names; // out
};
struct profiler_base_metrics {
    struct profiler_head head;
    void *host;
    int type;                 // 0: counters, 1: ratios, 2: throughputs
    const char *const *names; // out
    size_t count;             // out
};
struct profiler_add_metrics {
    struct profiler_head head;
    void *host;
    const char *const *names;
    size_t count;
};
struct profiler_image_size {
    struct profiler_head head;
    void *host;
    size_t bytes; // out
};
struct profiler_image {
    struct profiler_head head;
    void *host;
    size_t bytes;
    uint8_t *image;
};
struct profiler_passes {
    struct profiler_head head;
    size_t bytes;
    uint8_t *image;
    size_t count; // out
};
struct profiler_evaluate {
    struct profiler_head head;
    void *host;
    const uint8_t *data;
    size_t data_bytes, range;
    const char *const *names;
    size_t count;
    double *values; // (count) out
};

// ---- the device's part -----------------------------------------------------------------------------------

struct profiler_initialize { // and of deinitialize
    struct profiler_head head;
};
struct profiler_supported {
    struct profiler_head head;
    int device; // of the driver
    int all, architecture, sli, virtual_gpu, confidential, mining,
        wsl; // out: enum profiler_support
    int api;
};
struct profiler_availability {
    struct profiler_head head;
    void *context;
    size_t bytes; // in and out
    uint8_t *image;
};
struct profiler_chip {
    struct profiler_head head;
    size_t device;
    const char *name; // out
};
struct profiler_range { // of start, push without a name, pop, disable
    struct profiler_head head;
    void *profiler;
};
struct profiler_enable {
    struct profiler_head head;
    void *context;
    void *profiler; // out
};
struct profiler_data_size {
    struct profiler_head head;
    void *profiler;
    const char *const *names;
    size_t count, ranges;
    uint32_t nodes; // at least `ranges`
    size_t bytes;   // out
};
struct profiler_data {
    struct profiler_head head;
    void *profiler;
    size_t bytes;
    uint8_t *data;
};
struct profiler_config {
    struct profiler_head head;
    void *profiler;
    size_t image_bytes;
    const uint8_t *image;
    size_t data_bytes;
    uint8_t *data;
    int range_mode, replay_mode;
    size_t ranges_most;
    uint16_t levels, level_least;
    size_t pass;
    uint16_t level;
};
struct profiler_push {
    struct profiler_head head;
    void *profiler;
    const char *name;
};
struct profiler_stop {
    struct profiler_head head;
    void *profiler;
    size_t pass, level; // out
    uint8_t submitted;  // out: 1 when no pass is left
};
struct profiler_decode {
    struct profiler_head head;
    void *profiler;
    size_t dropped; // out
};

// Functions of libcupti without "cupti". A result of 0 is success.
struct cuda_profiler {
    int (*ProfilerInitialize)(struct profiler_initialize *p);
    int (*ProfilerDeInitialize)(struct profiler_initialize *p);
    int (*ProfilerDeviceSupported)(struct profiler_supported *p);
    int (*ProfilerGetCounterAvailability)(struct profiler_availability *p);
    int (*DeviceGetChipName)(struct profiler_chip *p);
    int (*ProfilerHostInitialize)(struct profiler_host_initialize *p);
    int (*ProfilerHostDeinitialize)(struct profiler_host_deinitialize *p);
    int (*ProfilerHostGetSupportedChips)(struct profiler_chips *p);
    int (*ProfilerHostGetBaseMetrics)(struct profiler_base_metrics *p);
    int (*ProfilerHostConfigAddMetrics)(struct profiler_add_metrics *p);
    int (*ProfilerHostGetConfigImageSize)(struct profiler_image_size *p);
    int (*ProfilerHostGetConfigImage)(struct profiler_image *p);
    int (*ProfilerHostGetNumOfPasses)(struct profiler_passes *p);
    int (*ProfilerHostEvaluateToGpuValues)(struct profiler_evaluate *p);
    int (*RangeProfilerEnable)(struct profiler_enable *p);
    int (*RangeProfilerDisable)(struct profiler_range *p);
    int (*RangeProfilerGetCounterDataSize)(struct profiler_data_size *p);
    int (*RangeProfilerCounterDataImageInitialize)(struct profiler_data *p);
    int (*RangeProfilerSetConfig)(struct profiler_config *p);
    int (*RangeProfilerStart)(struct profiler_range *p);
    int (*RangeProfilerStop)(struct profiler_stop *p);
    int (*RangeProfilerPushRange)(struct profiler_push *p);
    int (*RangeProfilerPopRange)(struct profiler_range *p);
    int (*RangeProfilerDecodeData)(struct profiler_decode *p);
};

#endif
