// cuda_driver.h - the driver that cuda.c talks to, found at run time. For device/cuda*.c only.
#ifndef DEVICE_CUDA_DRIVER_H
#define DEVICE_CUDA_DRIVER_H

#include "device/cuda.h"
#include "device/ops.h"

// Results of the driver that mean something here.
enum {
    CUDA_OUT_OF_MEMORY = 2,
    CUDA_NO_DEVICE = 100,
    CUDA_NOT_READY = 600,
};
// Attributes that are asked for.
enum {
    CUDA_CLOCK_KHZ = 13,
    CUDA_MULTIPROCESSORS = 16,
    CUDA_MEMORY_CLOCK_KHZ = 36,
    CUDA_MEMORY_BUS_BITS = 37,
    CUDA_L2_BYTES = 38,
    CUDA_CAPABILITY_MAJOR = 75,
    CUDA_CAPABILITY_MINOR = 76,
    CUDA_PCI_BUS = 33,
    CUDA_PCI_DEVICE = 34,
    CUDA_PCI_DOMAIN = 50,
};

// A function of a library, and its place in a table of them.
struct cuda_symbol {
    const char *name;
    size_t offset;
};
// Opens a library and fills `table` with its functions (cuda_library.c). False where it is not found, or lacks the
// function *missing (else NULL); the table is not to be used then.
bool cuda_library_open(const char *file, const struct cuda_symbol *symbols, size_t count,
                       void *table, const char **missing);

// The driver, ready to be asked for devices; NULL, with the reason in words, where it cannot be used.
const struct cuda_driver *cuda_driver_get(char *reason, size_t reason_bytes);

// "the driver's own words", never NULL.
const char *cuda_driver_text(const struct cuda_driver *driver, cuda_result result);

// ---- an opened device ----------------------------------------------------------------------------------

struct cuda_device {
    struct device device;
    const struct cuda_driver *driver;
    int ordinal;
    void *context, *stream; // the stream of the clock's readings
    void *module, *read_clock;
    uint64_t *clock; // pinned: the last reading, and two for a probe
    void *probes;    // the module of cuda_probe.c; NULL until one runs
    void *wgmma;     // the module of cuda_wgmma.c, on a chip that has it; NULL until a probe runs
    void *nvml;      // its handle in NVML; NULL: not asked yet, or not known there
    cuda_address probe_memory;
    size_t probe_bytes;
    struct cuda_blas *blas; // NULL until a probe of cuda_blas.c runs
};
struct cuda_device *cuda_of(const struct device *device);
// Its context is current in the calling thread from here on.
const struct cuda_driver *cuda_enter(const struct cuda_device *cuda);
// An error in the driver's words: ERR_NOMEM where memory is exhausted, else ERR_IO.
enum status cuda_check(const struct cuda_device *cuda, cuda_result result, const char *what,
                       struct error *err);
// *out (pinned) = its counter when all before it on the clock's stream is done; enqueued.
enum status cuda_clock_read(struct cuda_device *cuda, uint64_t *out, struct error *err);

// NVIDIA's management library, opened at run time (cuda_nvml.c). Results: 0 is success. Names are the library's without
// nvml and nvmlDevice. Source: NVML API reference, 12.
struct cuda_nvml {
    int (*Init)(void);
    const char *(*ErrorString)(int result);
    int (*HandleByPciBusId)(const char *bus_id, void **out);
    int (*ClockInfo)(void *gpu, int clock, unsigned *mhz);
    int (*PowerUsage)(void *gpu, unsigned *milliwatts);
    int (*Temperature)(void *gpu, int sensor, unsigned *celsius);
    int (*ThrottleReasons)(void *gpu, unsigned long long *mask);
    int (*TotalEnergy)(void *gpu, unsigned long long *millijoules);
};
// Tests only: puts a scripted library in place of the system's. NULL: the system's again. Not while a device is open.
void cuda_nvml_use(const struct cuda_nvml *library);

// Clocks, power and temperature; NaN where the library is not there.
struct device_vitals cuda_vitals(struct device *device);
enum status cuda_energy(struct device *device, struct device_energy *out, struct error *err);

// The text of a PTX module with one kernel for each datapath of wgmma, "probe_wgmma_bf16" and so on (cuda_wgmma.c).
// Owned by the caller; NULL: out of memory.
char *cuda_wgmma_ptx(void);
// A block has this many threads; each of its warpgroups does `each` operations a round.
enum { CUDA_WGMMA_THREADS = 256, CUDA_WGMMA_ROUNDS = 4096 };

// Products by cuBLASLt (cuda_blas.c): one sample, operations/s. Memory and handle are kept until fini.
// Errors: ERR_UNSUPPORTED where the library is not found or refuses the product; else as cuda_check.
enum cuda_blas_type {
    CUDA_BLAS_BF16,
    CUDA_BLAS_FP8,
    CUDA_BLAS_INT8,
    CUDA_BLAS_TF32,
    CUDA_BLAS_TYPES
};
enum status cuda_blas_run(struct cuda_device *cuda, enum cuda_blas_type type, double *rate,
                          struct error *err);
void cuda_blas_fini(struct cuda_device *cuda);

// Ceilings it measures on itself (cuda_probe.c).
// Fills memory with random operands: as bf16 and tf32 between 2^-7 and 2^1 in magnitude; every word has only bits of mask.
enum status cuda_probe_fill(struct cuda_device *cuda, cuda_address to, size_t bytes, uint32_t mask,
                            struct error *err);
size_t cuda_probes(const struct device *device, struct device_probe *out, size_t max);
enum status cuda_probe_run(struct device *device, size_t index, double *value, bool *disturbed,
                           struct error *err);
void cuda_probes_fini(struct cuda_device *cuda);

#endif
