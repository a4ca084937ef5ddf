// attention_wgmma.cu - attention of chunks of tokens by wgmma, for sm_90a: 2- and 1-byte caches, heads of up to 128
// elements.
//
// A block takes 128 query rows (tokens times the heads of a group) of one KV head. One group of four warps loads K and
// V, 128 positions at a time, into two stages each; it casts 1-byte codes to bf16. Two groups compute 64 rows each. A
// group multiplies Q by the next K while it multiplies the weights by V, and meanwhile turns the new scores into
// weights. Tiles lie in panels of 128-byte rows under the 128-byte swizzle. K has the inner dimension along its rows, V
// down its columns.
// Source: Shah et al. 2024 (FlashAttention-3), PTX ISA 8.0 (wgmma and its matrix descriptors)
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace {

enum { KEYS = 128, GROUP_ROWS = 64, THREADS = 384, STAGES = 2 };

// Registers per thread, for the warps that load K and V and for those that compute.
template <enum dtype KV> constexpr int producer_registers = cache_bytes<KV> == 1 ? 56 : 40;
template <enum dtype KV> constexpr int consumer_registers = cache_bytes<KV> == 1 ? 224 : 232;

template <int DIMS> struct shape {
    static constexpr int tile = KEYS * DIMS * 2; // bytes of a tile of K or V
    static constexpr int shared = ROWS * DIMS * 2 + 2 * STAGES * tile + 1024;
};

// For other devices the code of this file is empty.
#ifdef __CUDA_ARCH_FEAT_SM90_ALL

// ---- barriers --------------------------------------------------------------------------------------------

struct barriers {
    uint64_t full[2][STAGES], empty[2][STAGES]; // [0]: of K, [1]: of V
};

// Whether a phase has ended, without waiting. All lanes of a warp get the same answer.
__device__ __forceinline__ bool barrier_passed(uint32_t at, int parity)
{
    int passed;
    asm volatile("{.reg .pred p; mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2; selp.s32 %0, 1, 0, p;}"
                 : "=r"(passed)
                 : "r"(at), "r"(parity)
                 : "memory");
    return __all_sync(~0u, passed);
}
// Called by a whole warp. With EACH every lane arrives, else one lane arrives for all. For 1-byte caches only the
// barriers order the lanes' own stores and loads, and racecheck tracks only the threads that arrive.
template <bool EACH> __device__ __forceinline__ void arrive(const uint64_t &b)
{
    if (!EACH)
        __syncwarp();
    if (EACH || threadIdx.x % 32 == 0)
        barrier_arrive(shared_address(&b));
}
__device__ __forceinline__ void fence_async()
{
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
}

// ---- wgmma -----------------------------------------------------------------------------------------------

// The descriptor of a matrix in shared memory under the 128-byte swizzle; strides in bytes.
__device__ __forceinline__ uint64_t descriptor(uint32_t address, int leading, int stride)
{
    return (uint64_t)((address & 0x3ffff) >> 4) | (uint64_t)(leading >> 4) << 16 | (uint64_t)(stride >> 4) << 32 |
           (uint64_t)1 << 62;
}

// d (64 x 128) = or += A B^T over 16 elements of the inner dimension, with both operands in shared memory.
#define SHARED_PRODUCT(types)                                                                                          \
    asm volatile("{.reg .pred p; setp.ne.b32 p, %66, 0; wgmma.mma_async.sync.aligned.m64n128k16." types " {" WG_D64   \
                 "}, %64, %65, p, 1, 1, 0, 0;}"                                                                        \
                 : WG_64(WG_FLOAT, 0)                                                                                  \
                 : "l"(a), "l"(b), "r"(add))
template <enum dtype KV> __device__ __forceinline__ void product_shared(float (&d)[64], uint64_t a, uint64_t b, int add)
{
    if constexpr (KV == DT_F16)
        SHARED_PRODUCT("f32.f16.f16");
    else
        SHARED_PRODUCT("f32.bf16.bf16");
}

// d (64 x DIMS) += A B, with A in registers and B in shared memory, transposed.
#define MIXED_PRODUCT(N, shape)                                                                                        \
    asm volatile("wgmma.mma_async.sync.aligned." shape " {" WG_D##N "}, " WG_A##N ", 1, 1, 1, 1;"                      \
                 : WG_##N(WG_FLOAT, 0)                                                                                 \
                 : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b))
template <enum dtype KV> __device__ __forceinline__ void product_mixed(float (&d)[64], const uint32_t *a, uint64_t b)
{
    if constexpr (KV == DT_F16)
        MIXED_PRODUCT(64, "m64n128k16.f32.f16.f16");
    else
        MIXED_PRODUCT(64, "m64n128k16.f32.bf16.bf16");
}
template <enum dtype KV> __device__ __forceinline__ void product_mixed(float (&d)[32], const uint32_t *a, uint64_t b)
{
    if constexpr (KV == DT_F16)
        MIXED_PRODUCT(32, "m64n64k16.f32.f16.f16");
    else
        MIXED_PRODUCT(32, "m64n64k16.f32.bf16.bf16");
}

// Scores of a group's 64 rows: Q times a tile of K.
template <enum dtype KV, int DIMS> __device__ __forceinline__ void score(float (&s)[64], uint32_t q, uint32_t k)
{
    wide_begin();
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
    wide_begin();
#pragma unroll
    for (int step = 0; step < KEYS / 16; step++)
        product_mixed<KV>(o, p + 4 * step, descriptor(v + step * 2048, KEYS * 128, 1024));
    products_commit();
}

// ---- the two parts of a block ----------------------------------------------------------------------------

// The scales of 1-byte caches. Those of V come with K, because the weights need them before V arrives.
struct __align__(8) scale_space {
    float k[STAGES][KEYS], v[STAGES][KEYS];
};

// A thread's share of each tile: one vector of every `step`-th row from `row` on. `step` is a multiple of 8 rows, so
// all its vectors have the same place under the swizzle.
template <enum dtype KV, int DIMS> struct share {
    static constexpr int line = DIMS * cache_bytes<KV> / 16; // vectors per row
    static constexpr int step = 128 / line, count = KEYS / step;
    int row, column, to; // column: byte offset in a row; to: byte offset in a tile
    bool there;
};
template <enum dtype KV, int DIMS> __device__ __forceinline__ share<KV, DIMS> share_of(int thread, int row_bytes)
{
    const int row = thread / share<KV, DIMS>::line, v = thread % share<KV, DIMS>::line;
    return {row, v * 16, panel_at(KEYS, row, v * 16 / cache_bytes<KV>), v * 16 < row_bytes};
}

// Requests a tile of K or V from a 2-byte cache. Rows beyond the last are read as the last.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void request_tile(const share<KV, DIMS> &own, const unsigned char *block, int row_bytes,
                                             int first, int last, uint32_t to)
{
    typedef share<KV, DIMS> S;
    const unsigned char *column = block + (own.there ? own.column : 0);
    to += own.to;
    if (first + KEYS - 1 <= last) { // the usual case: one addition per address
        const unsigned char *from = column + (size_t)(first + own.row) * row_bytes;
        const unsigned stride = S::step * row_bytes;
#pragma unroll
        for (int j = 0; j < S::count; j++, from += stride)
            copy_vector(to + j * S::step * 128, from, own.there);
    } else {
#pragma unroll 1
        for (int j = 0; j < S::count; j++)
            copy_vector(to + j * S::step * 128, column + (size_t)min(first + own.row + j * S::step, last) * row_bytes,
                        own.there);
    }
    copies_commit();
}

// Loads a tile from a 1-byte cache as bf16.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void load_tile(const share<KV, DIMS> &own, const unsigned char *block, int row_bytes,
                                          int first, int last, unsigned char *to)
{
    typedef share<KV, DIMS> S;
    enum { FLIGHT = 4 };
    const bool whole = first + KEYS - 1 <= last;
    const unsigned char *from = block + (own.there ? own.column : 0);
    const unsigned stride = S::step * row_bytes;
    if (whole)
        from += (size_t)(first + own.row) * row_bytes;
#pragma unroll 1
    for (int j = 0; j < S::count; j += FLIGHT) {
        uint4 codes[FLIGHT];
#pragma unroll
        for (int k = 0; k < FLIGHT; k++) {
            codes[k] = make_uint4(0, 0, 0, 0);
            if (own.there)
                codes[k] =
                    *(const uint4 *)(whole ? from
                                           : from + (size_t)min(first + own.row + (j + k) * S::step, last) * row_bytes);
            if (whole)
                from += stride;
        }
#pragma unroll
        for (int k = 0; k < FLIGHT; k++)
            store_codes<KV>(to + (j + k) * S::step * 128, KEYS, own.row, own.column, codes[k]);
    }
}

// Loads K and V of a run, tile after tile. For 2-byte caches each tile is one group of copies. The previous tile is
// announced once it has arrived; if the next request has to wait for room, the announcement comes first.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void produce(const cuda_attention &job, const run_of &run, unsigned char *tiles,
                                        scale_space &scales, barriers &b, int &n)
{
    constexpr bool codes = cache_bytes<KV> == 1;
    const int thread = threadIdx.x, row_bytes = job.kv.head_dim * cache_bytes<KV>, begin = 2 * n;
    const share<KV, DIMS> own = share_of<KV, DIMS>(thread, row_bytes);
    auto announce = [&](int item) {
        fence_async();
        arrive<codes>(b.full[item % 2][item / 2 % STAGES]);
    };
    int item = begin;
    for (int first = run.first; first <= run.last; first += KEYS)
        for (int kind = 0; kind < 2; kind++, item++) {
            const unsigned char *block = head_block(job.kv, run.sequence, run.head, kind);
            const int stage = item / 2 % STAGES;
            unsigned char *to = tiles + (kind * STAGES + stage) * shape<DIMS>::tile;
            const int parity = (item / 2 / STAGES + 1) % 2;
            const bool pending = !codes && item > begin,
                       room = pending && barrier_passed(shared_address(&b.empty[kind][stage]), parity);
            if (pending && !room) {
                copies_wait<0>();
                announce(item - 1);
            }
            barrier_wait(shared_address(&b.empty[kind][stage]), parity);
            if (codes) {
                load_tile<KV, DIMS>(own, block, row_bytes, first, run.last, to);
                if (kind == 0) {
                    const float *of = (const float *)(block + job.kv.scales_offset) + min(first + thread, run.last);
                    scales.k[stage][thread] = *of;
                    scales.v[stage][thread] = *(const float *)((const unsigned char *)of + job.kv.block_bytes);
                }
                announce(item);
                continue;
            }
            request_tile<KV, DIMS>(own, block, row_bytes, first, run.last, shared_address(to));
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

// Keeps the compiler from moving uses of these registers across the products that write them.
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

// Computes the 64 rows of a group of warps. n: tiles of the block so far.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void consume(const cuda_attention &job, const row_space &rows, const run_of &run, uint32_t q,
                                        uint32_t tiles, const scale_space &scales, barriers &b, int &n)
{
    constexpr int tile = shape<DIMS>::tile;
    constexpr bool codes = cache_bytes<KV> == 1;
    const int warp = threadIdx.x / 32 - 4, row0 = warp * 16;
    auto wait = [&](int kind, int i) { barrier_wait(shared_address(&b.full[kind][i % STAGES]), i / STAGES % 2); };
    auto release = [&](int kind, int i) { arrive<codes>(b.empty[kind][i % STAGES]); };
    float out[DIMS / 2] = {}, s[KEYS / 2], keep[2], unit[2];
    uint32_t p[KEYS / 4];
    online state = {{-INFINITY, -INFINITY}, {0, 0}};
    score_units(job, rows, row0, unit);
    q += warp / 4 * GROUP_ROWS * 128;
    // Turns the scores of tile i into weights and stores the factor of `out` in `keep`. K is released once its scores
    // are complete, or once its scales have been used.
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
        pin(s); // without this, the wait for V moves ahead of the softmax that should overlap it
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

// Grid: runs of tokens, with the last and longest first, by KV heads times parts of a group.
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
            barrier_init(shared_address(&b.full[i / STAGES][i % STAGES]), codes ? 128 : 4);
            barrier_init(shared_address(&b.empty[i / STAGES][i % STAGES]), codes ? 256 : 8);
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
            consumers_sync(); // no warp reads the previous run
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

} // namespace

template <enum dtype KV> bool cuda_attend_wgmma(const struct cuda_attention *job, cudaStream_t stream)
{
    if (job->kv.head_dim > 128 || !cuda_has_wgmma())
        return false;
    if (job->kv.head_dim <= 64)
        launch_wgmma<KV, 64>(job, stream);
    else
        launch_wgmma<KV, 128>(job, stream);
    return true;
}

template bool cuda_attend_wgmma<DT_BF16>(const struct cuda_attention *, cudaStream_t);
template bool cuda_attend_wgmma<DT_F16>(const struct cuda_attention *, cudaStream_t);
template bool cuda_attend_wgmma<DT_I8>(const struct cuda_attention *, cudaStream_t);
template bool cuda_attend_wgmma<DT_F8E4M3>(const struct cuda_attention *, cudaStream_t);
