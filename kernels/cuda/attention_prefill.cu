// attention_prefill.cu - attention of chunks of tokens on the tensor cores by mma.sync, 2- and 1-byte caches.
//
// A block takes 128 query rows (tokens times the heads of a group) of one KV head and goes through 64 positions at a
// time. cp.async copies K and V into two stages of shared memory. 1-byte codes are copied unchanged and cast to bf16
// there; their scales are applied to scores and weights. A warp holds 32 rows of scores and outputs in registers, or 16
// where heads are wider than 128. The weights become an operand without leaving the registers.
// Source: Dao 2023 (FlashAttention-2), Milakov and Gimelshein 2018 (online softmax)
#include "kernels/cuda/attention_tile.cuh"
#include "kernels/cuda/launch.cuh"

namespace {

enum { KEYS = CUDA_KEYS };

template <enum dtype KV, int DIMS> struct shape {
    static constexpr int bytes = cache_bytes<KV>;
    static constexpr int each = DIMS <= 128 ? 2 : 1; // tiles of 16 rows per warp
    static constexpr int warps = ROWS / 16 / each, threads = warps * 32;
    static constexpr int blocks = DIMS <= 128 ? 2 : 1; // blocks per multiprocessor
    static constexpr int tile = KEYS * DIMS * 2;       // bytes of K or V as operands
    static constexpr int raw = KEYS * DIMS * bytes;
    static constexpr int stages = bytes == 2 ? 2 : 1; // stages of operands; raw codes have two
    static constexpr int shared = ROWS * DIMS * 2 + 2 * stages * tile + (bytes == 1 ? 4 * raw : 0);
};

struct __align__(8) scale_space {
    float k[2][KEYS], v[2][KEYS];
};

__device__ __forceinline__ void load_matrices(uint32_t m[4], uint32_t from)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(from));
}
__device__ __forceinline__ void load_transposed(uint32_t m[4], uint32_t from)
{
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(m[0]), "=r"(m[1]), "=r"(m[2]), "=r"(m[3])
                 : "r"(from));
}

// ---- keys and values -------------------------------------------------------------------------------------

// Requests KEYS rows of K or V from `first` on, as operands for 2-byte types, as codes for 1-byte types. Rows beyond
// the last are read as the last, because their weights are zero.
template <enum dtype KV, int DIMS>
__device__ __forceinline__ void request(const cuda_kv &kv, const unsigned char *block, int first, int last,
                                        unsigned char *to)
{
    typedef shape<KV, DIMS> S;
    constexpr int line = DIMS * S::bytes / 16; // vectors per row
    const int row_bytes = kv.head_dim * S::bytes;
    const uint32_t base = shared_address(to);
#pragma unroll
    for (int j = 0; j < KEYS * line / S::threads; j++) {
        const int i = threadIdx.x + j * S::threads, r = i / line, v = i % line;
        const unsigned char *from = block + (size_t)min(first + r, last) * row_bytes;
        const bool there = v * 16 < row_bytes;
        copy_vector(base + (S::bytes == 2 ? panel_at(KEYS, r, v * 8) : i * 16), there ? from + v * 16 : from, there);
    }
}

__device__ __forceinline__ void request_scales(const cuda_kv &kv, const unsigned char *block, int first, int last,
                                               float *to)
{
    if (threadIdx.x < KEYS)
        asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(shared_address(to + threadIdx.x)),
                     "l"((const float *)(block + kv.scales_offset) + min(first + (int)threadIdx.x, last)));
}

// Casts codes to bf16 operands.
template <enum dtype KV, int DIMS> __device__ __forceinline__ void unpack(const unsigned char *raw, unsigned char *to)
{
    typedef shape<KV, DIMS> S;
    constexpr int line = DIMS / 16;
#pragma unroll
    for (int j = 0; j < KEYS * line / S::threads; j++) {
        const int i = threadIdx.x + j * S::threads, r = i / line, c = i % line * 16;
        store_codes<KV>(to, KEYS, r, c, *(const uint4 *)(raw + i * 16));
    }
}

// ---- one tile --------------------------------------------------------------------------------------------

template <enum dtype KV, int DIMS>
__device__ __forceinline__ void score_tile(uint32_t q, uint32_t k, float (&s)[shape<KV, DIMS>::each][KEYS / 2])
{
    typedef shape<KV, DIMS> S;
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int step = 0; step < DIMS / 16; step++) {
        uint32_t a[S::each][4];
#pragma unroll
        for (int m = 0; m < S::each; m++)
            load_matrices(a[m], q + panel_at(ROWS, (warp * S::each + m) * 16 + lane % 16, step * 16 + lane / 16 * 8));
#pragma unroll
        for (int j = 0; j < KEYS / 16; j++) {
            uint32_t b[4];
            load_matrices(b, k + panel_at(KEYS, j * 16 + lane / 16 * 8 + lane % 8, step * 16 + lane / 8 % 2 * 8));
#pragma unroll
            for (int m = 0; m < S::each; m++) {
                mma_of<KV>(s[m] + 8 * j, a[m], b[0], b[1]);
                mma_of<KV>(s[m] + 8 * j + 4, a[m], b[2], b[3]);
            }
        }
    }
}

template <enum dtype KV, int DIMS>
__device__ __forceinline__ void add_values(uint32_t v, const uint32_t (&p)[shape<KV, DIMS>::each][KEYS / 4],
                                           float (&out)[shape<KV, DIMS>::each][DIMS / 2])
{
    typedef shape<KV, DIMS> S;
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int step = 0; step < KEYS / 16; step++)
#pragma unroll
        for (int d = 0; d < DIMS / 16; d++) {
            uint32_t b[4];
            load_transposed(b, v + panel_at(KEYS, step * 16 + lane % 16, d * 16 + lane / 16 * 8));
#pragma unroll
            for (int m = 0; m < S::each; m++) {
                mma_of<KV>(out[m] + 8 * d, p[m] + 4 * step, b[0], b[1]);
                mma_of<KV>(out[m] + 8 * d + 4, p[m] + 4 * step, b[2], b[3]);
            }
        }
}

// ---- a block ---------------------------------------------------------------------------------------------

template <enum dtype KV, int DIMS>
__device__ __forceinline__ void attend_run(const cuda_attention &job, const row_space &rows, scale_space &scales,
                                           const run_of &run, unsigned char *memory)
{
    typedef shape<KV, DIMS> S;
    const int row0 = threadIdx.x / 32 * S::each * 16;
    const unsigned char *keys = head_block(job.kv, run.sequence, run.head, 0),
                        *values = head_block(job.kv, run.sequence, run.head, 1);
    unsigned char *q = memory, *operands = q + ROWS * DIMS * 2, *raw = operands + 2 * S::stages * S::tile;
    auto begin_tile = [&](int first, int stage) {
        unsigned char *to = S::bytes == 2 ? operands + stage * 2 * S::tile : raw + stage * 2 * S::raw;
        request<KV, DIMS>(job.kv, keys, first, run.last, to);
        request<KV, DIMS>(job.kv, values, first, run.last, to + (S::bytes == 2 ? S::tile : S::raw));
        if (S::bytes == 1) {
            request_scales(job.kv, keys, first, run.last, scales.k[stage]);
            request_scales(job.kv, values, first, run.last, scales.v[stage]);
        }
        copies_commit();
    };
    float out[S::each][DIMS / 2] = {}, unit[S::each][2];
    online state[S::each];
#pragma unroll
    for (int m = 0; m < S::each; m++) {
        state[m] = {{-INFINITY, -INFINITY}, {0, 0}};
        score_units(job, rows, row0 + 16 * m, unit[m]);
    }
    begin_tile(run.first, 0);
    int stage = 0;
    for (int first = run.first; first <= run.last; first += KEYS, stage ^= 1) {
        copies_wait<0>();
        __syncthreads(); // this tile has arrived, and no warp reads the previous one
        if (S::bytes == 1) {
            unpack<KV, DIMS>(raw + stage * 2 * S::raw, operands);
            unpack<KV, DIMS>(raw + stage * 2 * S::raw + S::raw, operands + S::tile);
            __syncthreads();
        }
        if (first + KEYS <= run.last)
            begin_tile(first + KEYS, stage ^ 1);
        const unsigned char *at = operands + (S::bytes == 2 ? stage * 2 * S::tile : 0);
        float s[S::each][KEYS / 2] = {};
        uint32_t p[S::each][KEYS / 4];
        score_tile<KV, DIMS>(shared_address(q), shared_address(at), s);
#pragma unroll
        for (int m = 0; m < S::each; m++) {
            float keep[2];
            adjust<KV, KEYS>(job, rows, run, row0 + 16 * m, first, scales.k[stage], s[m]);
            if (weigh<KV, KEYS>(unit[m], state[m], s[m], keep))
#pragma unroll
                for (int i = 0; i < DIMS / 2; i++)
                    out[m][i] *= keep[i / 2 % 2];
            pack_weights<KV, KEYS>(scales.v[stage], s[m], p[m]);
        }
        add_values<KV, DIMS>(shared_address(at + S::tile), p, out);
    }
#pragma unroll
    for (int m = 0; m < S::each; m++)
        store_rows<DIMS>(job, rows, row0 + 16 * m, state[m], out[m]);
}

// Grid: runs of tokens, with the last and longest first, by KV heads times parts of a group.
template <enum dtype KV, int DIMS>
__global__ void __launch_bounds__(shape<KV, DIMS>::threads, shape<KV, DIMS>::blocks)
    k_prefill(const cuda_attention job, const attention_cut cut)
{
    typedef shape<KV, DIMS> S;
    extern __shared__ __align__(128) unsigned char memory[];
    __shared__ row_space rows;
    __shared__ scale_space scales;
    run_of run = {};
    while (next_run(job, cut, KEYS, run)) {
        if (run.least < 0)
            continue;
        __syncthreads(); // no warp reads the previous run
        fill_rows(job, cut, run, rows, threadIdx.x, S::threads);
        __syncthreads();
        load_queries<KV, DIMS>(job, rows, memory, threadIdx.x / 32, S::warps);
        __syncthreads();
        attend_run<KV, DIMS>(job, rows, scales, run, memory);
    }
}

template <enum dtype KV, int DIMS> void launch_prefill(const cuda_attention *job, cudaStream_t stream)
{
    typedef shape<KV, DIMS> S;
    const attention_cut cut = cut_of(job);
    const dim3 grid(ceil_div(job->rows, cut.tokens), job->kv.kv_heads * cut.cuts);
    cudaFuncSetAttribute(k_prefill<KV, DIMS>, cudaFuncAttributeMaxDynamicSharedMemorySize, S::shared);
    k_prefill<KV, DIMS><<<grid, S::threads, S::shared, stream>>>(*job, cut);
    cuda_launched();
}

} // namespace

template <enum dtype KV> void cuda_attend_prefill(const struct cuda_attention *job, cudaStream_t stream)
{
    if (job->kv.head_dim <= 64)
        launch_prefill<KV, 64>(job, stream);
    else if (job->kv.head_dim <= 128)
        launch_prefill<KV, 128>(job, stream);
    else
        launch_prefill<KV, 256>(job, stream);
}

template void cuda_attend_prefill<DT_BF16>(const struct cuda_attention *, cudaStream_t);
template void cuda_attend_prefill<DT_F16>(const struct cuda_attention *, cudaStream_t);
template void cuda_attend_prefill<DT_I8>(const struct cuda_attention *, cudaStream_t);
template void cuda_attend_prefill<DT_F8E4M3>(const struct cuda_attention *, cudaStream_t);
