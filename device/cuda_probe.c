// cuda_probe.c - measures a GPU's ceilings on itself: streams through memory and L2, peaks, launches and barriers.
//
// The probes read, copy and add arrays in memory, read the L2, measure the rates of the multipliers, and time a launch
// and a barrier of all blocks. The kernels are PTX that the driver compiles for the GPU at hand, so that the room of
// devices needs no compiler. Peaks use random operands. Fused multiply-adds take them from registers. Tensor cores are
// driven by wgmma (cuda_wgmma.c) where the chip has it, else by mma.sync. The GPU's own clock gives the times.
#include "device/cuda_driver.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"

enum {
    MEMORY_BYTES = 512 << 20, // several times the size of any L2
    STREAM_THREADS = 512,
    STREAM_BLOCKS = 4, // a multiprocessor
    STREAM_PASSES = 16,
    CACHE_PASSES = 1024,
    CACHE_SHARE = 4, // fraction of the L2: each half of it may hold a copy
    READ_FLIGHT = 8, // 16-byte loads in flight per thread
    COPY_FLIGHT = 4, // the same for a copy, and for each array of a triad
    PEAK_THREADS = 256,
    PEAK_BLOCKS = 4,  // a multiprocessor
    WGMMA_BLOCKS = 2, // a multiprocessor
    CHAINS = 8,       // independent products per warp
    SYNC_THREADS = 512,
    SYNC_ROUNDS = 4096,
    GAP_LAUNCHES = 1024,
    WORD_BYTES = 16, // behind all operands: the word that these two write
};
#define ROUNDS 8192 // rounds of each chain

#define PTX_HEAD ".version 7.0\n.target sm_80\n.address_size 64\n"
// %index: the number of this thread; %threads: the number of all threads.
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
#define PTX_LOAD_L2(j)                                                                             \
    "ld.global.cg.v4.u32 {%v" #j "_0, %v" #j "_1, %v" #j "_2, %v" #j "_3}, [%a];\n"                \
    "add.u64 %a, %a, %step;\n"
// c = a + 3 b
#define PTX_TRIAD_VECTORS(j) ".reg .f32 %x" #j "_<4>, %y" #j "_<4>;\n"
#define PTX_TRIAD_LOAD(j)                                                                          \
    "ld.global.cs.v4.f32 {%x" #j "_0, %x" #j "_1, %x" #j "_2, %x" #j "_3}, [%a];\n"                \
    "ld.global.cs.v4.f32 {%y" #j "_0, %y" #j "_1, %y" #j "_2, %y" #j "_3}, [%b];\n"                \
    "add.u64 %a, %a, %step;\nadd.u64 %b, %b, %step;\n"
#define PTX_TRIAD_ONE(j, i)                                                                        \
    "fma.rn.f32 %x" #j "_" #i ", %y" #j "_" #i ", 0f40400000, %x" #j "_" #i ";\n"
#define PTX_TRIAD_STORE(j)                                                                         \
    PTX_TRIAD_ONE(j, 0)                                                                            \
    PTX_TRIAD_ONE(j, 1)                                                                            \
    PTX_TRIAD_ONE(j, 2)                                                                            \
    PTX_TRIAD_ONE(j, 3)                                                                            \
    "st.global.cs.v4.f32 [%c], {%x" #j "_0, %x" #j "_1, %x" #j "_2, %x" #j "_3};\n"                \
    "add.u64 %c, %c, %step;\n"
#define PTX_VECTOR(j) ".reg .u32 %v" #j "_<4>;\n"
#define PTX_XOR(j)                                                                                 \
    "xor.b32 %all, %all, %v" #j "_0;\nxor.b32 %all, %all, %v" #j "_1;\n"                           \
    "xor.b32 %all, %all, %v" #j "_2;\nxor.b32 %all, %all, %v" #j "_3;\n"
#define PTX_STORE(j)                                                                               \
    "st.global.cs.v4.u32 [%b], {%v" #j "_0, %v" #j "_1, %v" #j "_2, %v" #j "_3};\n"                \
    "add.u64 %b, %b, %step;\n"
#define PTX_PARAMETERS "(.param .u64 from, .param .u64 to, .param .u64 bytes, .param .u32 passes)\n"
#define EACH4(X)       X(0) X(1) X(2) X(3)
#define EACH8(X)       EACH4(X) X(4) X(5) X(6) X(7)

// Four sums per lane and chain. Operands come from memory, 6 words per lane.
#define PTX_MMA(j, op)                                                                             \
    op " {%c" #j "_0, %c" #j "_1, %c" #j "_2, %c" #j "_3}, {%x0, %x1, %x2, %x3}, {%x4, %x5}, "     \
       "{%c" #j "_0, %c" #j "_1, %c" #j "_2, %c" #j "_3};\n"
#define BF16_MMA(j) PTX_MMA(j, "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32")
#define INT8_MMA(j) PTX_MMA(j, "mma.sync.aligned.m16n8k32.row.col.s32.s8.s8.s32")
#define F32_SUMS(j) ".reg .f32 %c" #j "_<4>;\n"
#define S32_SUMS(j) ".reg .s32 %c" #j "_<4>;\n"
// Each sum begins with a different value, because the compiler may merge equal sums.
#define BEGIN_ONE(j, i) "mov.b32 %c" #j "_" #i ", 0x3f80" #j "" #i "00;\n"
#define BEGIN(j)        BEGIN_ONE(j, 0) BEGIN_ONE(j, 1) BEGIN_ONE(j, 2) BEGIN_ONE(j, 3)
// The total of every sum, because the compiler drops values that nothing reads.
#define TOTAL(j, type)                                                                             \
    "add." type " %c0_0, %c0_0, %c" #j "_0;\nadd." type " %c0_0, %c0_0, %c" #j "_1;\n"             \
    "add." type " %c0_0, %c0_0, %c" #j "_2;\nadd." type " %c0_0, %c0_0, %c" #j "_3;\n"
#define F32_TOTAL(j) TOTAL(j, "f32")
#define S32_TOTAL(j) TOTAL(j, "s32")

#define FMA(j)                                                                                     \
    "fma.rn.f32 %c" #j "_0, %f0, %f1, %c" #j "_0;\nfma.rn.f32 %c" #j "_1, %f0, %f1, %c" #j "_1;\n" \
    "fma.rn.f32 %c" #j "_2, %f0, %f1, %c" #j "_2;\nfma.rn.f32 %c" #j "_3, %f0, %f1, %c" #j "_3;\n"

#define PTX_TEXT(number)   #number
#define PTX_NUMBER(number) PTX_TEXT(number)
#define PTX_ROUNDS         PTX_NUMBER(ROUNDS)
#define PTX_BEGIN          EACH8(BEGIN)

// sums, work, total: for all chains. prepare: what the work needs besides %x.
#define PTX_PEAK(name, sums, prepare, work, total)                                                 \
    ".visible .entry " name PTX_PARAMETERS "{\n" PTX_ADDRESSES                                     \
    ".reg .b32 %x<6>;\n.reg .u32 %left;\n.reg .f32 %f<2>;\n" sums                                  \
    "ld.global.v4.u32 {%x0, %x1, %x2, %x3}, [%a];\nadd.u64 %a, %a, %step;\n"                       \
    "ld.global.v2.u32 {%x4, %x5}, [%a];\n" prepare PTX_BEGIN "mov.u32 %left, " PTX_ROUNDS          \
    ";\nLOOP:\n" work                                                                              \
    "sub.u32 %left, %left, 1;\nsetp.ne.u32 %more, %left, 0;\n@%more bra LOOP;\n" total             \
    "st.global.b32 [%b], %c0_0;\nret;\n}\n"

// Walks its arrays `passes` times, so that the launch does not count. declare, work: for all vectors in flight. before,
// after: around all passes; again: before each pass.
#define PTX_STREAM(name, declare, before, again, work, after)                                      \
    ".visible .entry " name PTX_PARAMETERS "{\n" PTX_ADDRESSES declare                             \
    ".reg .u64 %a0, %b0;\n.reg .u32 %left;\nld.param.u32 %left, [passes];\n"                       \
    "mov.u64 %a0, %a;\nmov.u64 %b0, %b;\n" before                                                  \
    "AGAIN:\nmov.u64 %a, %a0;\nmov.u64 %b, %b0;\n" again "LOOP:\n" work                            \
    "setp.lt.u64 %more, %a, %end;\n@%more bra LOOP;\nsub.u32 %left, %left, 1;\n"                   \
    "setp.ne.u32 %more, %left, 0;\n@%more bra AGAIN;\n" after "ret;\n}\n"

#define PTX_ALL       ".reg .u32 %all;\nmov.u32 %all, 0;\n"
#define PTX_STORE_ALL "st.global.u32 [%b], %all;\n"
#define PTX_READ                                                                                   \
    PTX_STREAM("probe_read", EACH8(PTX_VECTOR), PTX_ALL, "", EACH8(PTX_LOAD) EACH8(PTX_XOR),       \
               PTX_STORE_ALL)
#define PTX_READ_L2                                                                                \
    PTX_STREAM("probe_read_l2", EACH8(PTX_VECTOR), PTX_ALL, "", EACH8(PTX_LOAD_L2) EACH8(PTX_XOR), \
               PTX_STORE_ALL)
#define PTX_COPY                                                                                   \
    PTX_STREAM("probe_copy", EACH4(PTX_VECTOR), "", "", EACH4(PTX_LOAD) EACH4(PTX_STORE), "")
#define PTX_TRIAD                                                                                  \
    PTX_STREAM("probe_triad", EACH4(PTX_TRIAD_VECTORS),                                            \
               ".reg .u64 %c, %c0;\nld.param.u64 %c0, [bytes];\nadd.u64 %c0, %c0, %b;\n",          \
               "mov.u64 %c, %c0;\n", EACH4(PTX_TRIAD_LOAD) EACH4(PTX_TRIAD_STORE), "")
#define PTX_BF16 PTX_PEAK("probe_bf16", EACH8(F32_SUMS), "", EACH8(BF16_MMA), EACH8(F32_TOTAL))
#define PTX_INT8 PTX_PEAK("probe_int8", EACH8(S32_SUMS), "", EACH8(INT8_MMA), EACH8(S32_TOTAL))
#define PTX_F32                                                                                    \
    PTX_PEAK("probe_f32", EACH8(F32_SUMS), "mov.b32 %f0, %x0;\nmov.b32 %f1, %x1;\n", EACH8(FMA),   \
             EACH8(F32_TOTAL))

// A barrier of all blocks, `passes` times. The word at `to` counts arrivals; it starts at a multiple of the number of
// blocks.
#define PTX_SYNC                                                                                   \
    ".visible .entry probe_sync" PTX_PARAMETERS "{\n.reg .u64 %count;\n"                           \
    ".reg .u32 %left, %own, %blocks, %now, %goal;\n.reg .pred %first, %more, %early;\n"            \
    "ld.param.u64 %count, [to];\nld.param.u32 %left, [passes];\nmov.u32 %blocks, %nctaid.x;\n"     \
    "mov.u32 %own, %tid.x;\nsetp.eq.u32 %first, %own, 0;\nmov.u32 %goal, 0;\n"                     \
    "LOOP:\nbar.sync 0;\nadd.u32 %goal, %goal, %blocks;\n@!%first bra DONE;\n"                     \
    "atom.release.gpu.global.add.u32 %now, [%count], 1;\n"                                         \
    "WAIT:\nld.acquire.gpu.global.u32 %now, [%count];\n"                                           \
    "setp.lt.u32 %early, %now, %goal;\n@%early bra WAIT;\n"                                        \
    "DONE:\nbar.sync 0;\nsub.u32 %left, %left, 1;\nsetp.ne.u32 %more, %left, 0;\n"                 \
    "@%more bra LOOP;\nret;\n}\n"
// One thread stores a word, so that the time is that of the launch.
#define PTX_GAP                                                                                    \
    ".visible .entry probe_gap" PTX_PARAMETERS "{\n.reg .u64 %out;\n.reg .u32 %word;\n"            \
    "ld.param.u64 %out, [to];\nmov.u32 %word, 1;\nst.global.u32 [%out], %word;\nret;\n}\n"

static const char probes_ptx[] =
    PTX_HEAD PTX_READ PTX_READ_L2 PTX_COPY PTX_TRIAD PTX_BF16 PTX_INT8 PTX_F32 PTX_SYNC PTX_GAP;

enum probe_kind { STREAM, CACHE, THREADS, WARPS, WGMMA, SYNC, GAP, LIBRARY };

#define MMA_WORK(inputs)   (CHAINS * 2.0 * 16 * 8 * (inputs))
#define WGMMA_WORK(inputs) (8 * 2.0 * 64 * 128 * (inputs)) // per round of a warpgroup: cuda_wgmma.c

// A probe's entry in the public list, and its amount of work.
static const struct probe {
    struct device_probe public;
    const char *entry;
    enum probe_kind kind;
    // Streams: arrays in memory. Peaks: operations per round of a thread, warp or warpgroup.
    double work;
    unsigned needs, replaced; // tiers it needs, and tiers with a better probe
    enum cuda_blas_type type; // type of the library's product
} table[] = {
    {.public = {.name = "read", .level = "DRAM", .kernel = "ptx_read", .quick = true},
     .entry = "probe_read",
     .kind = STREAM,
     .work = 1},
    {.public = {.name = "copy", .level = "DRAM", .kernel = "ptx_copy"},
     .entry = "probe_copy",
     .kind = STREAM,
     .work = 2},
    {.public = {.name = "triad", .level = "DRAM", .kernel = "ptx_triad"},
     .entry = "probe_triad",
     .kind = STREAM,
     .work = 3},
    {.public = {.name = "read", .level = "L2", .kernel = "ptx_read_l2"},
     .entry = "probe_read_l2",
     .kind = CACHE,
     .work = 1},
    {.public = {.name = "f32_fma", .kernel = "ptx_fma", .quick = true},
     .entry = "probe_f32",
     .kind = THREADS,
     .work = CHAINS * 2.0 * 4},
    {.public = {.name = "int8_dot", .kernel = "ptx_mma_m16n8k32", .quick = true},
     .entry = "probe_int8",
     .kind = WARPS,
     .work = MMA_WORK(32),
     .replaced = ISA_SM90A},
    {.public = {.name = "bf16_dot", .kernel = "ptx_mma_m16n8k16", .quick = true},
     .entry = "probe_bf16",
     .kind = WARPS,
     .work = MMA_WORK(16),
     .replaced = ISA_SM90A},
    {.public = {.name = "tf32_dot", .kernel = "ptx_wgmma_m64n128k8"},
     .entry = "probe_wgmma_tf32",
     .kind = WGMMA,
     .work = WGMMA_WORK(8),
     .needs = ISA_SM90A},
    {.public = {.name = "fp8_dot", .kernel = "ptx_wgmma_m64n128k32"},
     .entry = "probe_wgmma_fp8",
     .kind = WGMMA,
     .work = WGMMA_WORK(32),
     .needs = ISA_SM90A},
    {.public = {.name = "int8_dot", .kernel = "ptx_wgmma_m64n128k32", .quick = true},
     .entry = "probe_wgmma_int8",
     .kind = WGMMA,
     .work = WGMMA_WORK(32),
     .needs = ISA_SM90A},
    {.public = {.name = "bf16_dot", .kernel = "ptx_wgmma_m64n128k16", .quick = true},
     .entry = "probe_wgmma_bf16",
     .kind = WGMMA,
     .work = WGMMA_WORK(16),
     .needs = ISA_SM90A},
    {.public = {.name = "launch_gap", .kernel = "ptx_gap"}, .entry = "probe_gap", .kind = GAP},
    {.public = {.name = "grid_sync", .kernel = "ptx_sync"}, .entry = "probe_sync", .kind = SYNC},
    {.public = {.name = "tf32_dot", .kernel = "cublasLt_4096x4096x8192"},
     .kind = LIBRARY,
     .type = CUDA_BLAS_TF32},
    {.public = {.name = "fp8_dot", .kernel = "cublasLt_8192x8192x8192"},
     .kind = LIBRARY,
     .needs = ISA_SM89,
     .type = CUDA_BLAS_FP8},
    {.public = {.name = "int8_dot", .kernel = "cublasLt_8192x4096x8192"},
     .kind = LIBRARY,
     .type = CUDA_BLAS_INT8},
    {.public = {.name = "bf16_dot", .kernel = "cublasLt_8192x8192x8192"},
     .kind = LIBRARY,
     .type = CUDA_BLAS_BF16},
};

// Probe `index` among those that this device supports; NULL: there are no more.
static const struct probe *probe_at(const struct device *device, size_t index)
{
    unsigned isa = device->info.isa;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        const struct probe *p = &table[i];
        if ((isa & p->needs) == p->needs && !(isa & p->replaced) && index-- == 0)
            return p;
    }
    return NULL;
}

size_t cuda_probes(const struct device *device, struct device_probe *out, size_t max)
{
    size_t count = 0;
    for (const struct probe *p; count < max && (p = probe_at(device, count)) != NULL; count++)
        out[count] = p->public;
    return count;
}

enum status cuda_probe_fill(struct cuda_device *cuda, cuda_address to, size_t bytes, uint32_t mask,
                            struct error *err)
{
    const struct cuda_driver *d = cuda->driver;
    size_t piece = 1 << 20;
    uint32_t *words = malloc(piece);
    if (!words)
        return FAIL(err, ERR_NOMEM, "device %s: no memory for its probes", cuda->device.info.name);
    for (size_t i = 0; i < piece / 4; i++)
        words[i] = (((uint32_t)rng_hash(i) & 0x83ff83ffu) | 0x3c003c00u) & mask;
    for (size_t at = 0; at < bytes && !err->code; at += piece)
        cuda_check(cuda, d->MemcpyHtoD(to + at, words, bytes - at < piece ? bytes - at : piece),
                   "its probes' memory", err);
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
    TRY(cuda_probe_fill(cuda, cuda->probe_memory, MEMORY_BYTES, 0xffffffffu, err));
    return cuda_check(cuda, d->ModuleLoadData(&cuda->probes, probes_ptx), "its probes", err);
}

void cuda_probes_fini(struct cuda_device *cuda)
{
    cuda_blas_fini(cuda);
    if (cuda->wgmma)
        cuda->driver->ModuleUnload(cuda->wgmma);
    if (cuda->probes)
        cuda->driver->ModuleUnload(cuda->probes);
    if (cuda->probe_memory)
        cuda->driver->MemFree(cuda->probe_memory);
}

// Lets the driver compile the kernels of wgmma, before the first of them runs.
static enum status wgmma_init(struct cuda_device *cuda, struct error *err)
{
    if (cuda->wgmma)
        return OK;
    char *ptx = cuda_wgmma_ptx();
    if (!ptx)
        return FAIL(err, ERR_NOMEM, "device %s: no memory for its probes", cuda->device.info.name);
    cuda_check(cuda, cuda->driver->ModuleLoadData(&cuda->wgmma, ptx), "its probes of wgmma", err);
    free(ptx);
    return err->code;
}

// One launch of a probe.
struct launch {
    void *function;
    unsigned blocks, threads, passes;
    uint64_t from, to, bytes; // whole rounds of all threads, in each array
    double work;
};

static void plan_stream(const struct cuda_device *cuda, const struct probe *p, struct launch *l)
{
    int arrays = (int)p->work, flight = arrays == 1 ? READ_FLIGHT : COPY_FLIGHT;
    l->blocks = (unsigned)cuda->device.info.units * STREAM_BLOCKS;
    l->threads = STREAM_THREADS;
    l->passes = p->kind == CACHE ? CACHE_PASSES : STREAM_PASSES;
    uint64_t vectors = (uint64_t)l->blocks * l->threads * 16, round = vectors * (unsigned)flight;
    // A read stores one word per thread behind the array that it reads.
    uint64_t space = (cuda->probe_bytes - (arrays == 1 ? vectors : 0)) / (unsigned)arrays;
    if (p->kind == CACHE && cuda->device.info.cache_bytes / CACHE_SHARE < space)
        space = cuda->device.info.cache_bytes / CACHE_SHARE;
    l->bytes = space < round ? round : space / round * round;
    l->work = (double)l->bytes * arrays * l->passes;
}

static void plan_peak(const struct cuda_device *cuda, const struct probe *p, struct launch *l)
{
    bool wgmma = p->kind == WGMMA;
    l->blocks = (unsigned)cuda->device.info.units * (wgmma ? WGMMA_BLOCKS : PEAK_BLOCKS);
    l->threads = wgmma ? CUDA_WGMMA_THREADS : PEAK_THREADS;
    l->bytes = cuda->probe_bytes / 2;
    double members = (double)l->blocks * l->threads;
    members /= wgmma ? 128 : p->kind == WARPS ? 32 : 1;
    l->work = p->work * (wgmma ? CUDA_WGMMA_ROUNDS : ROUNDS) * members;
}

static enum status launch_probe(struct cuda_device *cuda, struct launch *l, struct error *err)
{
    void *arguments[] = {&l->from, &l->to, &l->bytes, &l->passes};
    return cuda_check(cuda,
                      cuda->driver->LaunchKernel(l->function, l->blocks, 1, 1, l->threads, 1, 1, 0,
                                                 cuda->stream, arguments, NULL),
                      "its probes", err);
}

// The ns between two readings of the clock.
static enum status clock_span(struct cuda_device *cuda, double *ns, struct error *err)
{
    TRY(cuda_clock_read(cuda, &cuda->clock[2], err));
    TRY(cuda_check(cuda, cuda->driver->StreamSynchronize(cuda->stream), "its probes", err));
    *ns = (double)(cuda->clock[2] - cuda->clock[1]);
    return OK;
}

static enum status run_kernel(struct cuda_device *cuda, const struct probe *p, struct launch *l,
                              double *ns, struct error *err)
{
    for (int i = 0; i < 2; i++) { // the first loads the kernel and raises the clocks
        if (p->kind == SYNC)
            TRY(cuda_check(cuda,
                           cuda->driver->MemsetD8Async(l->to, 0, sizeof(uint32_t), cuda->stream),
                           "its probes", err));
        if (i == 1)
            TRY(cuda_clock_read(cuda, &cuda->clock[1], err));
        TRY(launch_probe(cuda, l, err));
    }
    return clock_span(cuda, ns, err);
}

// Records launches one after another, to run as a graph.
static enum status record_gap(struct cuda_device *cuda, struct launch *l, void **graph, void **exec,
                              struct error *err)
{
    enum { THREAD_LOCAL = 1 }; // other threads may allocate meanwhile
    const struct cuda_driver *d = cuda->driver;
    struct error ending = {0};
    TRY(cuda_check(cuda, d->StreamBeginCapture(cuda->stream, THREAD_LOCAL), "its probes", err));
    for (int i = 0; i < GAP_LAUNCHES && !err->code; i++)
        launch_probe(cuda, l, err);
    cuda_check(cuda, d->StreamEndCapture(cuda->stream, graph), "its probes", &ending);
    if (!err->code)
        *err = ending;
    if (!err->code)
        cuda_check(cuda, d->GraphInstantiateWithFlags(exec, *graph, 0), "its probes", err);
    return err->code;
}

static enum status run_gap(struct cuda_device *cuda, struct launch *l, double *ns,
                           struct error *err)
{
    const struct cuda_driver *d = cuda->driver;
    void *graph = NULL, *exec = NULL;
    record_gap(cuda, l, &graph, &exec, err);
    for (int i = 0; i < 2 && !err->code; i++) { // the first raises the clocks
        if (i == 1)
            cuda_clock_read(cuda, &cuda->clock[1], err);
        cuda_check(cuda, d->GraphLaunch(exec, cuda->stream), "its probes", err);
    }
    if (!err->code)
        clock_span(cuda, ns, err);
    if (exec)
        d->GraphExecDestroy(exec);
    if (graph)
        d->GraphDestroy(graph);
    return err->code;
}

static void plan_launch(const struct cuda_device *cuda, const struct probe *p, struct launch *l)
{
    switch (p->kind) {
    case STREAM:
    case CACHE:
        plan_stream(cuda, p, l);
        break;
    case SYNC:
        l->blocks = (unsigned)cuda->device.info.units;
        l->threads = SYNC_THREADS;
        l->passes = SYNC_ROUNDS;
        l->bytes = cuda->probe_bytes - WORD_BYTES;
        break;
    case GAP:
        l->blocks = l->threads = 1;
        l->bytes = cuda->probe_bytes - WORD_BYTES;
        break;
    default:
        plan_peak(cuda, p, l);
    }
    l->from = cuda->probe_memory;
    l->to = l->from + l->bytes;
}

// Makes everything that a launch of the probe's own kernel needs.
static enum status prepare_launch(struct cuda_device *cuda, const struct probe *p, struct launch *l,
                                  struct error *err)
{
    TRY(probes_init(cuda, err));
    if (p->kind == WGMMA)
        TRY(wgmma_init(cuda, err));
    void *module = p->kind == WGMMA ? cuda->wgmma : cuda->probes;
    TRY(cuda_check(cuda, cuda->driver->ModuleGetFunction(&l->function, module, p->entry),
                   "its probes", err));
    plan_launch(cuda, p, l);
    return OK;
}

enum status cuda_probe_once(struct cuda_device *cuda, const char *name, const char *level,
                            double *work, struct error *err)
{
    struct launch l = {0};
    const struct probe *p;
    for (size_t i = 0; (p = probe_at(&cuda->device, i)) != NULL; i++)
        if (p->kind != LIBRARY && strcmp(p->public.name, name) == 0 &&
            strcmp(p->public.level, level) == 0)
            break;
    if (!p)
        return FAIL(err, ERR_UNSUPPORTED, "device %s has no probe %s", cuda->device.info.name,
                    name);
    cuda_enter(cuda);
    TRY(prepare_launch(cuda, p, &l, err));
    TRY(launch_probe(cuda, &l, err));
    *work = l.work;
    return cuda_check(cuda, cuda->driver->StreamSynchronize(cuda->stream), "its probes", err);
}

enum status cuda_probe_run(struct device *device, size_t index, double *value, bool *disturbed,
                           struct error *err)
{
    struct cuda_device *cuda = cuda_of(device);
    const struct probe *p = probe_at(device, index);
    struct launch l = {0};
    double ns = 0;
    *disturbed = false;
    cuda_enter(cuda);
    if (p->kind == LIBRARY) {
        TRY(probes_init(cuda, err));
        return cuda_blas_run(cuda, p->type, value, err);
    }
    TRY(prepare_launch(cuda, p, &l, err));
    TRY(p->kind == GAP ? run_gap(cuda, &l, &ns, err) : run_kernel(cuda, p, &l, &ns, err));
    if (p->kind == GAP || p->kind == SYNC)
        *value = ns / (p->kind == GAP ? GAP_LAUNCHES : SYNC_ROUNDS);
    else
        *value = l.work / ns * 1e9;
    return OK;
}
