// cuda_records.h - the members of CUPTI's records that all its versions have, at their offsets.
//
// Newer versions return longer records, but the members read here keep their offsets. tests/device/test_cuda_trace.c
// compares the offsets with CUPTI's own header where that is installed.
#ifndef DEVICE_CUDA_RECORDS_H
#define DEVICE_CUDA_RECORDS_H

#include <stdint.h>

enum {
    ACTIVITY_COPY = 1,
    ACTIVITY_SET = 2,
    ACTIVITY_RUNTIME = 5,
    ACTIVITY_CONCURRENT_KERNEL = 10,
    ACTIVITY_EXTERNAL_CORRELATION = 39,
};
struct cuda_kernel_record { // CUpti_ActivityKernel5 and later
    uint32_t kind;
    uint32_t configuration;
    uint32_t partitioned[2];
    uint64_t begin_ns, end_ns, completed_ns;
    uint32_t device, context, stream;
    int32_t grid[3], block[3];
    int32_t shared_bytes[2];
    uint32_t local_bytes[2];
    uint32_t correlation;
    int64_t grid_id;
    const char *name;
    void *reserved;
    uint64_t queued_ns, submitted_ns;
    uint8_t launch[4];
    uint32_t shared_executed;
    uint64_t node;
};
struct cuda_copy_record { // CUpti_ActivityMemcpy3 and later
    uint32_t kind;
    uint8_t copy[4];
    uint64_t bytes, begin_ns, end_ns;
    uint32_t device, context, stream, correlation, runtime_correlation, pad;
    void *reserved;
    uint64_t node;
};
struct cuda_set_record { // CUpti_ActivityMemset2 and later
    uint32_t kind, value;
    uint64_t bytes, begin_ns, end_ns;
    uint32_t device, context, stream, correlation;
    uint16_t flags, memory;
    uint32_t pad;
    void *reserved;
    uint64_t node;
};
struct cuda_correlation_record {
    uint32_t kind, external_kind;
    uint64_t external;
    uint32_t correlation, reserved;
};
// What CUPTI hands to a callback about graphs.
struct cuda_resource_data {
    void *context, *handle, *descriptor;
};
struct cuda_graph_data {
    void *graph, *original_graph, *node, *original_node;
};

#endif
