// cuda.h - features that only a CUDA device has: graphs, pinned memory, copies in a queue, NVIDIA's products, and its
// driver.
//
// For the CUDA backend, the checks of its kernels, and tests. All other code uses device.h.
#ifndef DEVICE_CUDA_H
#define DEVICE_CUDA_H

#include "device/device.h"

// ---- for a backend of the kind -------------------------------------------------------------------------

// Pinned host memory, which copies in a queue need. The host and the device use the same address. NULL when memory is
// exhausted. Free it before the device is closed; free accepts NULL.
void *cuda_pinned_alloc(struct device *device, size_t bytes);
void cuda_pinned_free(struct device *device, void *memory);

// Enqueue a copy or a fill and return at once. Host memory must be pinned and must not change until the queue has been
// waited for.
enum status cuda_queue_copy_in(struct device_queue *queue, void *to, const void *from, size_t bytes,
                               struct error *err);
enum status cuda_queue_copy_out(struct device_queue *queue, void *to, const void *from,
                                size_t bytes, struct error *err);
enum status cuda_queue_fill(struct device_queue *queue, void *to, unsigned char value, size_t bytes,
                            struct error *err);

// *idle: all submitted work is done. Returns at once. Errors: as device_queue_wait.
enum status cuda_queue_idle(struct device_queue *queue, bool *idle, struct error *err);

// Work that is recorded once and submitted as a whole. Between begin and end, work submitted to the queue is recorded
// and does not run. end returns the graph; on an error *out is NULL. The queue stays usable in either case.
struct cuda_graph;
enum status cuda_graph_begin(struct device_queue *queue, struct error *err);
enum status cuda_graph_end(struct device_queue *queue, struct cuda_graph **out, struct error *err);
enum status cuda_graph_launch(struct cuda_graph *graph, struct device_queue *queue,
                              struct error *err);
void cuda_graph_destroy(struct device *device, struct cuda_graph *graph); // NULL: nothing is done

// ---- NVIDIA's own products -----------------------------------------------------------------------------

/* d[t][r] = sum_c x[t][c] w[r][c] (+ d[t][r] where add), by cuBLASLt. All arrays are rows in device memory, aligned
 * to 256 bytes. ldw, ldx and ldd are in elements. They, rows and cols are multiples of 16.
 * w_scale: (rows), x_scale: (tokens): factors of codes of F8; both NULL: sums are not scaled
 * d: f32; I8: int32 sums, neither scaled nor added */
enum cuda_product_type { CUDA_PRODUCT_BF16, CUDA_PRODUCT_F16, CUDA_PRODUCT_F8, CUDA_PRODUCT_I8 };
struct cuda_product {
    enum cuda_product_type type;
    int rows, cols, tokens;
    size_t ldw, ldx, ldd;
    bool add;
    const void *w;
    const void *x;
    const float *w_scale, *x_scale;
    void *d;
};

// The library's handle and a cache of plans. A plan is for one type, sizes, strides, `add`, and scaled sums or not.
struct cuda_products;
// Scratch that each product needs, of which the caller brings CUDA_PRODUCTS_WORKSPACE bytes.
enum { CUDA_PRODUCTS_WORKSPACE = 32 << 20, CUDA_PRODUCTS_PLANS = 64 };
// Errors: ERR_UNSUPPORTED if the library is not found, lacks a function or does not start; ERR_NOMEM.
enum status cuda_products_create(struct device *device, struct cuda_products **out,
                                 struct error *err);
void cuda_products_destroy(struct cuda_products *products); // NULL is legal
// Plans a shape unless the cache has it. The library proposes algorithms, which run on random inputs and these weights.
// Those that have the bits of the first that runs are timed, and the fastest is kept, so that the choice changes no
// bit. Bits are compared in the first and the last 16 tokens. Sums are only split where partial sums are stored and
// added in order. Overwrites x, x_scale and d, and waits. The device must be idle. Errors: ERR_UNSUPPORTED if the
// library has no algorithm; as cuda_check.
enum status cuda_products_plan(struct cuda_products *products, const struct cuda_product *job,
                               void *workspace, struct error *err);
bool cuda_products_planned(const struct cuda_products *products, const struct cuda_product *job);
// Enqueues the product of a planned shape. Errors: ERR_INTERNAL if it is not planned; ERR_UNSUPPORTED.
enum status cuda_products_run(struct cuda_products *products, struct device_queue *queue,
                              const struct cuda_product *job, void *workspace, struct error *err);
// "cuBLASLt 13.1.0"
const char *cuda_products_version(const struct cuda_products *products);
// Writes the picks of the shapes that ran since the last restart as text, as much as fits: "bf16 12288 x 4096 by 1024
// tokens: algorithm 66, ..". They are separated by "; ".
void cuda_products_restart(struct cuda_products *products);
void cuda_products_picks(const struct cuda_products *products, char *out, size_t bytes);

// ---- the driver ----------------------------------------------------------------------------------------

// Functions of libcuda with their types written out, so that a build needs no NVIDIA header. A result of 0 is success.
// Names are those of the library without "cu"; where the ABI has a _v2 function, it is that one.
// Source: CUDA driver API reference, 12.0 and later.
typedef int cuda_result;
typedef uint64_t cuda_address;
struct cuda_driver {
    cuda_result (*Init)(unsigned flags);
    cuda_result (*DriverGetVersion)(int *version);
    cuda_result (*GetErrorString)(cuda_result result, const char **text);
    cuda_result (*DeviceGetCount)(int *count);
    cuda_result (*DeviceGet)(int *device, int ordinal);
    cuda_result (*DeviceGetName)(char *name, int bytes, int device);
    cuda_result (*DeviceTotalMem)(size_t *bytes, int device);
    cuda_result (*DeviceGetAttribute)(int *value, int attribute, int device);
    cuda_result (*DevicePrimaryCtxRetain)(void **context, int device);
    cuda_result (*DevicePrimaryCtxRelease)(int device);
    cuda_result (*CtxSetCurrent)(void *context);
    cuda_result (*MemGetInfo)(size_t *free, size_t *total);
    cuda_result (*MemAlloc)(cuda_address *out, size_t bytes);
    cuda_result (*MemFree)(cuda_address memory);
    cuda_result (*MemHostAlloc)(void **out, size_t bytes, unsigned flags);
    cuda_result (*MemFreeHost)(void *memory);
    cuda_result (*MemcpyHtoD)(cuda_address to, const void *from, size_t bytes);
    cuda_result (*MemcpyDtoH)(void *to, cuda_address from, size_t bytes);
    cuda_result (*MemcpyHtoDAsync)(cuda_address to, const void *from, size_t bytes, void *stream);
    cuda_result (*MemcpyDtoHAsync)(void *to, cuda_address from, size_t bytes, void *stream);
    cuda_result (*MemsetD8Async)(cuda_address to, unsigned char value, size_t bytes, void *stream);
    cuda_result (*StreamCreate)(void **stream, unsigned flags);
    cuda_result (*StreamDestroy)(void *stream);
    cuda_result (*StreamSynchronize)(void *stream);
    cuda_result (*StreamQuery)(void *stream);
    cuda_result (*StreamBeginCapture)(void *stream, int mode);
    cuda_result (*StreamEndCapture)(void *stream, void **graph);
    cuda_result (*GraphInstantiateWithFlags)(void **exec, void *graph, unsigned long long flags);
    cuda_result (*GraphLaunch)(void *exec, void *stream);
    cuda_result (*GraphExecDestroy)(void *exec);
    cuda_result (*GraphDestroy)(void *graph);
    cuda_result (*ModuleLoadData)(void **module, const void *image);
    cuda_result (*ModuleUnload)(void *module);
    cuda_result (*ModuleGetFunction)(void **function, void *module, const char *name);
    cuda_result (*LaunchKernel)(void *function, unsigned grid_x, unsigned grid_y, unsigned grid_z,
                                unsigned block_x, unsigned block_y, unsigned block_z,
                                unsigned shared_bytes, void *stream, void **arguments,
                                void **extra);
    cuda_result (*CtxSynchronize)(void);
};

// Tests only: replaces the system's driver with a scripted one; NULL restores it. Not while a device is open.
void cuda_driver_use(const struct cuda_driver *driver);

#endif
