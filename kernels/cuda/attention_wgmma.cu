// attention_wgmma.cu - attention of chunks of tokens by wgmma, for sm_90a: 2- and 1-byte caches, heads of up to 128
// elements.
//
// A block has 128 query rows (tokens times the heads of a group) of one KV head. One group of four warps brings K and V,
// 128 positions at a time, into two stages each, 1-byte codes as bf16; two groups have 64 rows each. A group multiplies Q by the
// next K while V is multiplied by the weights it has, and turns those scores into weights meanwhile. Tiles lie in panels
// of 128-byte rows under the 128-byte swizzle, K as rows of the inner dimension, V as its columns.
// Source: Shah et al. 2024 (FlashAttention-3), PTX ISA 8.0 (wgmma and its matrix descriptors)
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/launch.cuh"

namespace {

enum { KEYS = 128, GROUP_ROWS = 64, THREADS = 384, STAGES = 2 };

// Registers of a thread: those that bring K and V, those that compute.
template <enum dtype KV> constexpr int producer_registers = cache_bytes<KV> == 1 ? 56 : 40;
template <enum dtype KV> constexpr int consumer_registers = cache_bytes<KV> == 1 ? 224 : 232;

template <int DIMS> struct shape {
    static constexpr int tile = KEYS * DIMS * 2; // bytes of K or V
    static constexpr int shared = ROWS * DIMS * 2 + 2 * STAGES * tile + 1024;
};

// Other devices' code of this file is empty.
#if !defined(__CUDA_ARCH__) || defined(__CUDA_ARCH_FEAT_SM90_ALL)

// ---- barriers --------------------------------------------------------------------------------------------

struct barriers {
    uint64_t full[2][STAGES], empty[2][STAGES]; // of K, of V
};

__device__ __forceinline__ void barrier_init(uint64_t *b, int count)
{
    asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(shared_address(b)), "r"(count) : "memory");
}
__device__ __forceinline__ void barrier_arrive(uint64_t *b)
{
    asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(shared_address(b)) : "memory");
}
__device__ __forceinline__ void barrier_wait(uint64_t *b, int parity)
{
    asm volatile("{\n.reg .pred p;\nwait:\nmbarrier.try_wait.parity.shared.b64 p, [%0], %1;\n@p bra done;\nbra wait;\n"
                 "done:\n}" ::"r"(shared_address(b)),
                 "r"(parity)
                 : "memory");
}
// The same, without waiting; all lanes of a warp get one answer.
__device__ __forceinline__ bool barrier_passed(uint64_t *b, int parity)
{
    int passed;
    asm volatile("{.reg .pred p; mbarrier.test_wait.parity.shared.b64 p, [%1], %2; selp.s32 %0, 1, 0, p;}"
                 : "=r"(passed)
                 : "r"(shared_address(b)), "r"(parity)
                 : "memory");
    return __all_sync(~0u, passed);
}
// By a whole warp. EACH: every lane arrives by itself. Of 1-byte caches the lanes' own stores and loads are ordered by
// the barriers alone, which racecheck follows for the threads that arrive only; else one lane arrives for all.
template <bool EACH> __device__ __forceinline__ void arrive(uint64_t *b)
{
    if (!EACH)
        __syncwarp();
    if (EACH || threadIdx.x % 32 == 0)
        barrier_arrive(b);
}
__device__ __forceinline__ void fence_async()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- wgmma -----------------------------------------------------------------------------------------------

// A matrix in shared memory under the 128-byte swizzle; strides in bytes.
__device__ __forceinline__ uint64_t descriptor(uint32_t address, int leading, int stride)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(leading >> 4) << 16 | (uint64_t)(stride >> 4) << 32 |
           (uint64_t)1 << 62;
}
__device__ __forceinline__ void products_begin()
{
    asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
__device__ __forceinline__ void products_commit()
{
    asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int LEFT> __device__ __forceinline__ void products_wait()
{
    asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(LEFT) : "memory");
}

#define D8(d, i) "+f"(d[i]), "+f"(d[i + 1]), "+f"(d[i + 2]), "+f"(d[i + 3]), "+f"(d[i + 4]), "+f"(d[i + 5]), \
        "+f"(d[i + 6]), "+f"(d[i + 7])
#define D32(d, i) D8(d, i), D8(d, i + 8), D8(d, i + 16), D8(d, i + 24)
#define LIST32                                                                                                         \
    "%0,%1,%2,%3,%4,%5,%6,%7,%8,%9,%10,%11,%12,%13,%14,%15,%16,%17,%18,%19,%20,%21,%22,%23,%24,%25,%26,%27,%28,%29,"   \
    "%30,%31"
#define LIST64                                                                                                         \
    LIST32 ",%32,%33,%34,%35,%36,%37,%38,%39,%40,%41,%42,%43,%44,%45,%46,%47,%48,%49,%50,%51,%52,%53,%54,%55,%56,%57," \
           "%58,%59,%60,%61,%62,%63"

// s (64 x 128) = or += A B^T, both in shared memory, 16 elements of the inner dimension.
template <enum dtype KV> __device__ __forceinline__ void product_shared(float (&s)[64], uint64_t a, uint64_t b, int add)
{
    if constexpr (KV == DT_F16)
        asm volatile("{.reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" LIST64
                     "}, %64, %65, p, 1, 1, 0, 0;}"
                     : D32(s, 0), D32(s, 32)
                     : "l"(a), "l"(b), "r"(add));
    else
        asm volatile("{.reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LIST64
                     "}, %64, %65, p, 1, 1, 0, 0;}"
                     : D32(s, 0), D32(s, 32)
                     : "l"(a), "l"(b), "r"(add));
}

// o (64 x DIMS) += A B, A in registers, B in shared memory with columns as rows.
template <enum dtype KV> __device__ __forceinline__ void product_mixed(float (&o)[64], const uint32_t *a, uint64_t b)
{
    if constexpr (KV == DT_F16)
        asm volatile("{.reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.f16.f16 {" LIST64 "}, {%64,%65,%66,%67}, %68, p, 1, 1, 1;}"
                     : D32(o, 0), D32(o, 32)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
    else
        asm volatile("{.reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {" LIST64
                     "}, {%64,%65,%66,%67}, %68, p, 1, 1, 1;}"
                     : D32(o, 0), D32(o, 32)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}
template <enum dtype KV> __device__ __forceinline__ void product_mixed(float (&o)[32], const uint32_t *a, uint64_t b)
{
    if constexpr (KV == DT_F16)
        asm volatile("{.reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.f16.f16 {" LIST32 "}, {%32,%33,%34,%35}, %36, p, 1, 1, 1;}"
                     : D32(o, 0)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
    else
        asm volatile("{.reg .pred p; setp.eq.b32 p, 0, 0; wgmma.mma_async.sync.aligned.m64n64k16.f32.bf16.bf16 {" LIST32 "}, {%32,%33,%34,%35}, %36, p, 1, 1, 1;}"
                     : D32(o, 0)
                     : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b));
}

// Scores of a group's 64 rows: all of Q by a tile of K.
template <enum dtype KV, int DIMS> __device__ __forceinline__ void score(float (&s)[64], uint32_t q, uint32_t k)
{
    products_begin();
#pragma unroll
    for (int step = 0; step < DIMS / 16; step++) {
        const int panel = step / 4, at = step % 4 * 32;
        product_shared<KV>(s, descriptor(q + panel * ROWS * 128 + at, 16, 1024),
                           descriptor(k + panel * KEYS * 128 + at, 16, 1024), step);
    }
    products_commit();
}

template <enum dtype KV, int DIMS>
__device__ __forceinline__ void add_values(float (&o)[DIMS / 2], const uint32_t (&p)[KEYS / 4], uint32_t v)
{
    products_begin();
#pragma unroll
    for (int step = 0; step < KEYS / 16; step++)
        product_mixed<KV>(o, p + 4 * step, descriptor(v + step * 2048, KEYS * 128, 1024));
    products_commit();
}

// ---- the two parts of a block ----------------------------------------------------------------------------

// Of 1-byte caches; those of V come with K, as weights need them before V is there.
struct __align__(8) scale_space {
    float k[STAGES][KEYS], v[STAGES][KEYS];
};

// Requests a tile of K or V of a 2-byte cache; rows beyond the last are read as the last.
template <int DIMS>
__device__ __forceinline__ void request_tile(const unsigned char *block, int row_bytes, int first, int last, uint32_t to)
{
    constexpr int line = DIMS / 8; // vectors of a row
#pragma unroll 4
    for (int j = 0; j < KEYS * line / 128; j++) {
        const int i = threadIdx.x + j * 128, r = i / line, v = i % line;
        const bool there = v * 16 < row_bytes;
        const unsigned char *from = block + (size_t)min(first + r, last) * row_bytes;
        copy_vector(to + panel_at(KEYS, r, v * 8), there ? from + v * 16 : from, there);
    }
    copies_commit();
}

// Loads a tile of a 1-byte cache, as bf16.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void load_tile(const unsigned char *block, int row_bytes, int first, int last,
                                          unsigned char *to)
{
    enum { LINE = DIMS / 16, FLIGHT = 4 };
#pragma unroll 1
    for (int j = 0; j < KEYS * LINE / 128; j += FLIGHT) {
        uint4 codes[FLIGHT];
#pragma unroll
        for (int k = 0; k < FLIGHT; k++) {
            const int i = threadIdx.x + (j + k) * 128, v = i % LINE;
            codes[k] = make_uint4(0, 0, 0, 0);
            if (v * 16 < row_bytes)
                codes[k] = *(const uint4 *)(block + (size_t)min(first + i / LINE, last) * row_bytes + v * 16);
        }
#pragma unroll
        for (int k = 0; k < FLIGHT; k++) {
            const int i = threadIdx.x + (j + k) * 128;
            store_codes<KV>(to, KEYS, i / LINE, i % LINE * 16, codes[k]);
        }
    }
}

// K and V of a run, tile after tile. Of 2-byte caches each is a group of copies; the one before is announced once it is
// there, before the next is requested where that has to wait for room.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void produce(const cuda_attention &job, const run_of &run, unsigned char *tiles,
                                        scale_space &scales, barriers &b, int &n)
{
    constexpr bool codes = cache_bytes<KV> == 1;
    const int thread = threadIdx.x, row_bytes = job.kv.head_dim * cache_bytes<KV>, begin = 2 * n;
    auto announce = [&](int item) {
        fence_async();
        arrive<codes>(&b.full[item % 2][item / 2 % STAGES]);
    };
    int item = begin;
    for (int first = run.first; first <= run.last; first += KEYS)
        for (int kind = 0; kind < 2; kind++, item++) {
            const unsigned char *block = head_block(job.kv, run.sequence, run.head, kind);
            const int stage = item / 2 % STAGES;
            unsigned char *to = tiles + (kind * STAGES + stage) * shape<DIMS>::tile;
            const int parity = (item / 2 / STAGES + 1) % 2;
            const bool pending = !codes && item > begin, room = pending && barrier_passed(&b.empty[kind][stage], parity);
            if (pending && !room) {
                copies_wait<0>();
                announce(item - 1);
            }
            barrier_wait(&b.empty[kind][stage], parity);
            if (codes) {
                load_tile<KV, DIMS>(block, row_bytes, first, run.last, to);
                if (kind == 0) {
                    const float *of = (const float *)(block + job.kv.scales_offset) + min(first + thread, run.last);
                    scales.k[stage][thread] = *of;
                    scales.v[stage][thread] = *(const float *)((const unsigned char *)of + job.kv.block_bytes);
                }
                announce(item);
                continue;
            }
            request_tile<DIMS>(block, row_bytes, first, run.last, shared_address(to));
            if (room) {
                copies_wait<1>();
                announce(item - 1);
            }
        }
    if (!codes) {
        copies_wait<0>();
        announce(item - 1);
    }
    n = item / 2;
}

// Sets off what the compiler does to these registers from the products that write them.
template <int N> __device__ __forceinline__ void pin(float (&d)[N])
{
#pragma unroll
    for (int i = 0; i < N; i++)
        asm volatile("" : "+f"(d[i])::"memory");
}

__device__ __forceinline__ void consumers_sync()
{
    asm volatile("bar.sync 1, 256;" ::: "memory");
}

// 64 rows of a group of warps. n: tiles of the block so far.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void consume(const cuda_attention &job, const row_space &rows, const run_of &run, uint32_t q,
                                        uint32_t tiles, const scale_space &scales, barriers &b, int &n)
{
    constexpr int tile = shape<DIMS>::tile;
    constexpr bool codes = cache_bytes<KV> == 1;
    const int warp = threadIdx.x / 32 - 4, row0 = warp * 16;
    auto wait = [&](int kind, int i) { barrier_wait(&b.full[kind][i % STAGES], i / STAGES % 2); };
    auto release = [&](int kind, int i) { arrive<codes>(&b.empty[kind][i % STAGES]); };
    float out[DIMS / 2] = {}, s[KEYS / 2], keep[2], unit[2];
    uint32_t p[KEYS / 4];
    online state = {{-INFINITY, -INFINITY}, {0, 0}};
    score_units(job, rows, row0, unit);
    q += warp / 4 * GROUP_ROWS * 128;
    // Scores of tile i become its weights; what `out` is to be multiplied by in `keep`. K is free when its scores are
    // there, or its scales are used.
    auto take_scores = [&](int i, int first) {
        pin(s);
        if (!codes)
            release(0, i);
        adjust<KV, KEYS>(job, rows, run, row0, first, scales.k[i % STAGES], s);
        return weigh<KV, KEYS>(unit, state, s, keep);
    };
    auto pack_scores = [&](int i) {
        pack_weights<KV, KEYS>(scales.v[i % STAGES], s, p);
        if (codes)
            release(0, i);
    };
    wait(0, n);
    score<KV, DIMS>(s, q, tiles + n % STAGES * tile);
    products_wait<0>();
    take_scores(n, run.first);
    pack_scores(n);
    for (int first = run.first + KEYS; first <= run.last; first += KEYS, n++) {
        wait(0, n + 1);
        score<KV, DIMS>(s, q, tiles + (n + 1) % STAGES * tile);
        wait(1, n);
        add_values<KV, DIMS>(out, p, tiles + (STAGES + n % STAGES) * tile);
        products_wait<1>();
        const bool grown = take_scores(n + 1, first);
        products_wait<0>();
        pin(out);
        release(1, n);
        if (grown)
#pragma unroll
            for (int i = 0; i < DIMS / 2; i++)
                out[i] *= keep[i / 2 % 2];
        pack_scores(n + 1);
    }
    wait(1, n);
    add_values<KV, DIMS>(out, p, tiles + (STAGES + n % STAGES) * tile);
    products_wait<0>();
    pin(out);
    release(1, n);
    n++;
    store_rows<DIMS>(job, rows, row0, state, out);
}

#endif

// Grid: runs of tokens, the last and longest first; KV heads times parts of a group.
template <enum dtype KV, int DIMS>
__global__ void __launch_bounds__(THREADS, 1) k_wgmma(const cuda_attention job, const attention_cut cut)
{
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
    extern __shared__ unsigned char memory[];
    __shared__ row_space rows;
    __shared__ barriers b;
    __shared__ scale_space scales;
    constexpr bool codes = cache_bytes<KV> == 1;
    unsigned char *q = memory + (-shared_address(memory) & 1023), *tiles = q + ROWS * DIMS * 2;
    if (threadIdx.x == 0) {
        for (int i = 0; i < 2 * STAGES; i++) {
            barrier_init(&b.full[i / STAGES][i % STAGES], codes ? 128 : 4);
            barrier_init(&b.empty[i / STAGES][i % STAGES], codes ? 256 : 8);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    }
    __syncthreads();
    run_of run = {};
    int n = 0;
    if (threadIdx.x < 128) {
        asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(producer_registers<KV>));
        while (next_run(job, cut, KEYS, run))
            if (run.least >= 0)
                produce<KV, DIMS>(job, run, tiles, scales, b, n);
    } else {
        asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(consumer_registers<KV>));
        while (next_run(job, cut, KEYS, run)) {
            if (run.least < 0)
                continue;
            consumers_sync(); // the run before is done with
            fill_rows(job, cut, run, rows, threadIdx.x - 128, 256);
            consumers_sync();
            load_queries<KV, DIMS>(job, rows, q, threadIdx.x / 32 - 4, 8);
            fence_async();
            consumers_sync();
            consume<KV, DIMS>(job, rows, run, shared_address(q), shared_address(tiles), scales, b, n);
        }
    }
#endif
}

template <enum dtype KV, int DIMS> void launch_wgmma(const cuda_attention *job, cudaStream_t stream)
{
    const attention_cut cut = cut_of(job);
    const dim3 grid(ceil_div(job->rows, cut.tokens), job->kv.kv_heads * cut.cuts);
    cudaFuncSetAttribute(k_wgmma<KV, DIMS>, cudaFuncAttributeMaxDynamicSharedMemorySize, shape<DIMS>::shared);
    k_wgmma<KV, DIMS><<<grid, THREADS, shape<DIMS>::shared, stream>>>(*job, cut);
    cuda_launched();
}

// Which code of this file the driver took for the device: that of sm_90a, or that which does nothing.
bool device_has_wgmma()
{
    static int version;
    cudaFuncAttributes attributes;
    if (!version && cudaFuncGetAttributes(&attributes, k_wgmma<DT_BF16, 64>) == cudaSuccess)
        version = attributes.ptxVersion;
    return version == 90;
}

} // namespace

template <enum dtype KV> bool attention_wgmma(const struct cuda_attention *job, cudaStream_t stream)
{
    if (job->kv.head_dim > 128 || !device_has_wgmma())
        return false;
    if (job->kv.head_dim <= 64)
        launch_wgmma<KV, 64>(job, stream);
    else
        launch_wgmma<KV, 128>(job, stream);
    return true;
}

template bool attention_wgmma<DT_BF16>(const struct cuda_attention *, cudaStream_t);
template bool attention_wgmma<DT_F16>(const struct cuda_attention *, cudaStream_t);
template bool attention_wgmma<DT_I8>(const struct cuda_attention *, cudaStream_t);
template bool attention_wgmma<DT_F8E4M3>(const struct cuda_attention *, cudaStream_t);
