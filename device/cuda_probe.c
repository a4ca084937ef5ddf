// cuda_probe.c - what a GPU can do at best, measured on itself: reading and copying its memory, and the rates of its
// multipliers.
//
// The kernels are PTX that the driver compiles for whatever GPU this is, so that the room of devices needs no
// compiler. The peaks are those of mma.sync and of fused multiply-adds from registers, on random operands: Hopper's
// wgmma goes further (docs/CEILINGS.md). Rates are by the GPU's own clock.
#include "device/cuda_driver.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"

enum {
    MEMORY_BYTES = 512 << 20, // several times any L2
    STREAM_THREADS = 512,
    STREAM_BLOCKS = 4, // a multiprocessor
    STREAM_LAUNCHES = 16,
    READ_FLIGHT = 8, // 16-byte loads of a thread
    COPY_FLIGHT = 4,
    PEAK_THREADS = 256,
    PEAK_BLOCKS = 4, // a multiprocessor
    CHAINS = 8,      // independent products of a warp
};
#define ROUNDS 8192 // of each chain

#define PTX_HEAD ".version 7.0\n.target sm_80\n.address_size 64\n"
// %index: of this thread; %threads: of all.
#define PTX_INDEX                                                                                  \
    "mov.u32 %index, %ctaid.x;\nmov.u32 %threads, %ntid.x;\nmov.u32 %own, %tid.x;\n"               \
    "mad.lo.u32 %index, %index, %threads, %own;\nmov.u32 %own, %nctaid.x;\n"                       \
    "mul.lo.u32 %threads, %threads, %own;\n"
#define PTX_ADDRESSES                                                                              \
    ".reg .u32 %index, %threads, %own;\n.reg .u64 %a, %b, %end, %step, %at;\n.reg .pred %more;\n"  \
    "ld.param.u64 %a, [from];\nld.param.u64 %b, [to];\nld.param.u64 %end, [bytes];\n" PTX_INDEX    \
    "add.u64 %end, %end, %a;\nmul.wide.u32 %at, %index, 16;\nadd.u64 %a, %a, %at;\n"               \
    "add.u64 %b, %b, %at;\nmul.wide.u32 %step, %threads, 16;\n"
#define PTX_LOAD(j)                                                                                \
    "ld.global.cs.v4.u32 {%v" #j "_0, %v" #j "_1, %v" #j "_2, %v" #j "_3}, [%a];\n"                \
    "add.u64 %a, %a, %step;\n"
#define PTX_VECTOR(j) ".reg .u32 %v" #j "_<4>;\n"
#define PTX_XOR(j)                                                                                 \
    "xor.b32 %all, %all, %v" #j "_0;\nxor.b32 %all, %all, %v" #j "_1;\n"                           \
    "xor.b32 %all, %all, %v" #j "_2;\nxor.b32 %all, %all, %v" #j "_3;\n"
#define PTX_STORE(j)                                                                               \
    "st.global.cs.v4.u32 [%b], {%v" #j "_0, %v" #j "_1, %v" #j "_2, %v" #j "_3};\n"                \
    "add.u64 %b, %b, %step;\n"
#define PTX_PARAMETERS "(.param .u64 from, .param .u64 to, .param .u64 bytes)\n"
#define EACH4(X)       X(0) X(1) X(2) X(3)
#define EACH8(X)       EACH4(X) X(4) X(5) X(6) X(7)

// Four sums a lane and chain; operands from memory: 6 words a lane.
#define PTX_MMA(j, op)                                                                             \
    op " {%c" #j "_0, %c" #j "_1, %c" #j "_2, %c" #j "_3}, {%x0, %x1, %x2, %x3}, {%x4, %x5}, "     \
       "{%c" #j "_0, %c" #j "_1, %c" #j "_2, %c" #j "_3};\n"
#define BF16_MMA(j) PTX_MMA(j, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32")
#define INT8_MMA(j) PTX_MMA(j, "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32")
#define F32_SUMS(j) ".reg .f32 %c" #j "_<4>;\n"
#define S32_SUMS(j) ".reg .s32 %c" #j "_<4>;\n"
#define ZERO(j)                                                                                    \
    "mov.b32 %c" #j "_0, 0;\nmov.b32 %c" #j "_1, 0;\nmov.b32 %c" #j "_2, 0;\nmov.b32 %c" #j        \
    "_3, 0;\n"
#define F32_TOTAL(j)                                                                               \
    "add.f32 %c0_0, %c0_0, %c" #j "_1;\nadd.f32 %c0_0, %c0_0, %c" #j "_2;\n"                       \
    "add.f32 %c0_0, %c0_0, %c" #j "_3;\n"
#define S32_TOTAL(j)                                                                               \
    "add.s32 %c0_0, %c0_0, %c" #j "_1;\nadd.s32 %c0_0, %c0_0, %c" #j "_2;\n"                       \
    "add.s32 %c0_0, %c0_0, %c" #j "_3;\n"
#define FMA(j)                                                                                     \
    "fma.rn.f32 %c" #j "_0, %f0, %f1, %c" #j "_0;\nfma.rn.f32 %c" #j "_1, %f0, %f1, %c" #j "_1;\n" \
    "fma.rn.f32 %c" #j "_2, %f0, %f1, %c" #j "_2;\nfma.rn.f32 %c" #j "_3, %f0, %f1, %c" #j "_3;\n"

#define PTX_TEXT(number)   #number
#define PTX_NUMBER(number) PTX_TEXT(number)
#define PTX_ROUNDS         PTX_NUMBER(ROUNDS)
#define PTX_ZEROS          EACH8(ZERO)

// sums, work, total: of all chains. prepare: what the work needs besides %x.
#define PTX_PEAK(name, sums, prepare, work, total)                                                 \
    ".visible .entry " name PTX_PARAMETERS "{\n" PTX_ADDRESSES                                     \
    ".reg .b32 %x<6>;\n.reg .u32 %left;\n.reg .f32 %f<2>;\n" sums                                  \
    "ld.global.v4.u32 {%x0, %x1, %x2, %x3}, [%a];\nadd.u64 %a, %a, %step;\n"                       \
    "ld.global.v2.u32 {%x4, %x5}, [%a];\n" prepare PTX_ZEROS "mov.u32 %left, " PTX_ROUNDS          \
    ";\nLOOP:\n" work                                                                              \
    "sub.u32 %left, %left, 1;\nsetp.ne.u32 %more, %left, 0;\n@%more bra LOOP;\n" total             \
    "st.global.b32 [%b], %c0_0;\nret;\n}\n"

// declare, work: of all vectors in flight. before, after: around the loop.
#define PTX_STREAM(name, declare, before, work, after)                                             \
    ".visible .entry " name PTX_PARAMETERS "{\n" PTX_ADDRESSES declare before "LOOP:\n" work       \
    "setp.lt.u64 %more, %a, %end;\n@%more bra LOOP;\n" after "ret;\n}\n"

#define PTX_READ                                                                                   \
    PTX_STREAM("probe_read", EACH8(PTX_VECTOR), ".reg .u32 %all;\nmov.u32 %all, 0;\n",             \
               EACH8(PTX_LOAD) EACH8(PTX_XOR), "st.global.u32 [%b], %all;\n")
#define PTX_COPY                                                                                   \
    PTX_STREAM("probe_copy", EACH4(PTX_VECTOR), "", EACH4(PTX_LOAD) EACH4(PTX_STORE), "")
#define PTX_BF16 PTX_PEAK("probe_bf16", EACH8(F32_SUMS), "", EACH8(BF16_MMA), EACH8(F32_TOTAL))
#define PTX_INT8 PTX_PEAK("probe_int8", EACH8(S32_SUMS), "", EACH8(INT8_MMA), EACH8(S32_TOTAL))
#define PTX_F32                                                                                    \
    PTX_PEAK("probe_f32", EACH8(F32_SUMS), "mov.b32 %f0, %x0;\nmov.b32 %f1, %x1;\n", EACH8(FMA),   \
             EACH8(F32_TOTAL))

static const char probes_ptx[] = PTX_HEAD PTX_READ PTX_COPY PTX_BF16 PTX_INT8 PTX_F32;

// A probe's figure for the public list, and how much one thread or warp does.
static const struct {
    struct device_probe public;
    const char *entry;
    double each; // operations of a thread, or of a warp where `warps`, in a round; 0: it streams
    bool warps, copies;
} probes[] = {
    {.public = {.name = "read", .level = "DRAM", .kernel = "ptx_read", .quick = true},
     .entry = "probe_read"},
    {.public = {.name = "copy", .level = "DRAM", .kernel = "ptx_copy"},
     .entry = "probe_copy",
     .copies = true},
    {.public = {.name = "bf16_dot", .kernel = "ptx_mma_m16n8k16", .quick = true},
     .entry = "probe_bf16",
     .each = CHAINS * 2.0 * 16 * 8 * 16,
     .warps = true},
    {.public = {.name = "int8_dot", .kernel = "ptx_mma_m16n8k32", .quick = true},
     .entry = "probe_int8",
     .each = CHAINS * 2.0 * 16 * 8 * 32,
     .warps = true},
    {.public = {.name = "f32_fma", .kernel = "ptx_fma", .quick = true},
     .entry = "probe_f32",
     .each = CHAINS * 2.0 * 4},
};
enum { PROBES = sizeof probes / sizeof *probes };

size_t cuda_probes(const struct device *device, struct device_probe *out, size_t max)
{
    (void)device;
    for (size_t i = 0; i < PROBES && i < max; i++)
        out[i] = probes[i].public;
    return max < PROBES ? max : PROBES;
}

// Random operands: as bf16 between 2^-7 and 2^1 in magnitude, so that no sum overflows.
static enum status fill(struct cuda_device *cuda, struct error *err)
{
    const struct cuda_driver *d = cuda->driver;
    size_t bytes = 1 << 20;
    uint32_t *words = malloc(bytes);
    if (!words)
        return FAIL(err, ERR_NOMEM, "device %s: no memory for its probes", cuda->device.info.name);
    for (size_t i = 0; i < bytes / 4; i++)
        words[i] = ((uint32_t)rng_hash(i) & 0x83ff83ffu) | 0x3c003c00u;
    for (size_t at = 0; at < cuda->probe_bytes && !err->code; at += bytes)
        cuda_check(cuda, d->MemcpyHtoD(cuda->probe_memory + at, words, bytes), "its probes' memory",
                   err);
    if (!err->code)
        cuda_check(cuda, d->StreamSynchronize(NULL), "its probes' memory", err);
    free(words);
    return err->code;
}

static enum status probes_init(struct cuda_device *cuda, struct error *err)
{
    const struct cuda_driver *d = cuda_enter(cuda);
    if (cuda->probes)
        return OK;
    TRY(cuda_check(cuda, d->MemAlloc(&cuda->probe_memory, MEMORY_BYTES), "memory for its probes",
                   err));
    cuda->probe_bytes = MEMORY_BYTES;
    TRY(fill(cuda, err));
    return cuda_check(cuda, d->ModuleLoadData(&cuda->probes, probes_ptx), "its probes", err);
}

void cuda_probes_fini(struct cuda_device *cuda)
{
    if (cuda->probes)
        cuda->driver->ModuleUnload(cuda->probes);
    if (cuda->probe_memory)
        cuda->driver->MemFree(cuda->probe_memory);
}

enum status cuda_probe_run(struct device *device, size_t index, double *rate, bool *disturbed,
                           struct error *err)
{
    struct cuda_device *cuda = cuda_of(device);
    const struct cuda_driver *d = cuda_enter(cuda);
    bool streams = probes[index].each == 0, copies = probes[index].copies;
    unsigned blocks = (unsigned)device->info.units * (streams ? STREAM_BLOCKS : PEAK_BLOCKS);
    unsigned threads = streams ? STREAM_THREADS : PEAK_THREADS;
    int launches = streams ? STREAM_LAUNCHES : 1;
    void *function = NULL;
    *disturbed = false;
    TRY(probes_init(cuda, err));
    TRY(cuda_check(cuda, d->ModuleGetFunction(&function, cuda->probes, probes[index].entry),
                   "its probes", err));
    // Whole rounds of all threads; a copy is from the first half to the second.
    uint64_t round = (uint64_t)blocks * threads * 16 * (copies ? COPY_FLIGHT : READ_FLIGHT);
    uint64_t bytes =
        (cuda->probe_bytes / (copies ? 2 : 1) - (copies ? 0 : round / READ_FLIGHT)) / round * round;
    uint64_t from = cuda->probe_memory, to = cuda->probe_memory + bytes;
    void *arguments[] = {&from, &to, &bytes};
    for (int i = -1; i < launches; i++) { // the first loads the kernel and wakes the clocks
        if (i == 0)
            TRY(cuda_clock_read(cuda, &cuda->clock[1], err));
        TRY(cuda_check(cuda,
                       d->LaunchKernel(function, blocks, 1, 1, threads, 1, 1, 0, cuda->stream,
                                       arguments, NULL),
                       "its probes", err));
    }
    TRY(cuda_clock_read(cuda, &cuda->clock[2], err));
    TRY(cuda_check(cuda, d->StreamSynchronize(cuda->stream), "its probes", err));
    double ns = (double)(cuda->clock[2] - cuda->clock[1]);
    double work =
        streams ? (double)bytes * launches * (copies ? 2 : 1)
                : probes[index].each * ROUNDS * blocks * threads / (probes[index].warps ? 32 : 1);
    *rate = work / ns * 1e9;
    return OK;
}
