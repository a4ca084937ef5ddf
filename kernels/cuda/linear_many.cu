// linear_many.cu - products of more than 64 tokens: bound by arithmetic. 128 rows by 128 tokens (int4: by 64) a
// block of 8 warps; weights, still in fragment order, and inputs stream through shared memory, three blocks of 64
// inputs ahead.
//
// Sums run as linear_few.cu runs them: a span by itself, spans added in rising order. So a token gets the same
// bits from either kernel.
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/launch.cuh"

namespace {

enum { THREADS = 256, ROW_WARPS = 4, TOKEN_WARPS = 2, WARP_TILES = 2, STAGES = 4 };
enum { BLOCK_TILES = ROW_WARPS * WARP_TILES };

struct many_job {
    linear_out out;
    const unsigned char *w, *x;
    size_t x_row_bytes, unit_bytes, header_bytes;
    int tiles, units, span_units;
};

// Sizes of a stage. Rows of x are apart so that the 8 lanes of a phase of 16-byte loads meet all 32 banks.
template <enum dtype T> struct stage {
    typedef weights<T> W;
    enum {
        WARP_TOKENS = T == DT_I4 ? 32 : 64,
        TOKENS = TOKEN_WARPS * WARP_TOKENS,
        X_BYTES = CUDA_BLOCK_COLS * W::element_bytes,
        PITCH = T == DT_I8 ? 64 : T == DT_I4 ? 192 : 144,
        TILE_BYTES = W::words * 512,
        W_BYTES = BLOCK_TILES * TILE_BYTES,
        BYTES = W_BYTES + TOKENS * PITCH,
    };
};

__device__ __forceinline__ void copy_async(void *to, const void *from, bool there)
{
    uint32_t at = (uint32_t)__cvta_generic_to_shared(to);
    int bytes = there ? 16 : 0; // the rest of the 16 becomes zeros
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(at), "l"(from), "r"(bytes) : "memory");
}
__device__ __forceinline__ void copies_commit()
{
    asm volatile("cp.async.commit_group;" ::: "memory");
}
template <int LEFT> __device__ __forceinline__ void copies_wait()
{
    asm volatile("cp.async.wait_group %0;" ::"n"(LEFT) : "memory");
}

// Requests block `index` of the inputs: of the tiles from `tile` on and of the tokens from `token` on.
template <enum dtype T>
__device__ __forceinline__ void request(const many_job &job, int tile, int token, int index, unsigned char *to)
{
    typedef stage<T> S;
    const size_t w_at = job.header_bytes + (size_t)(index / CUDA_BLOCKS) * job.unit_bytes +
                        (size_t)(index % CUDA_BLOCKS) * S::TILE_BYTES;
#pragma unroll
    for (int i = threadIdx.x; i < S::W_BYTES / 16; i += THREADS) {
        int of = i * 16 / S::TILE_BYTES, at = i * 16 % S::TILE_BYTES, from = min(tile + of, job.tiles - 1);
        copy_async(to + i * 16, job.w + (size_t)from * job.out.tile_bytes + w_at + at, true);
    }
    unsigned char *x = to + S::W_BYTES;
#pragma unroll
    for (int i = threadIdx.x; i < S::TOKENS * S::X_BYTES / 16; i += THREADS) {
        int row = i * 16 / S::X_BYTES, at = i * 16 % S::X_BYTES, from = min(token + row, job.out.tokens - 1);
        copy_async(x + row * S::PITCH + at,
                   job.x + (size_t)from * job.x_row_bytes + (size_t)index * S::X_BYTES + at,
                   token + row < job.out.tokens);
    }
}

template <enum dtype T> __device__ __forceinline__ void read_inputs(const unsigned char *x, uint32_t *in)
{
    typedef weights<T> W;
#pragma unroll
    for (int i = 0; i < W::inputs / 4; i++) {
        uint4 v = *reinterpret_cast<const uint4 *>(x + i * W::vector_bytes);
        in[4 * i] = v.x;
        in[4 * i + 1] = v.y;
        in[4 * i + 2] = v.z;
        in[4 * i + 3] = v.w;
    }
}

// A warp's tiles and tokens of one stage. w: its first tile; x: its first token.
template <enum dtype T, int NT>
__device__ __forceinline__ void multiply(const unsigned char *w, const unsigned char *x, int lane,
                                         typename weights<T>::sum (&acc)[WARP_TILES][NT][4])
{
    typedef weights<T> W;
    uint4 v[WARP_TILES][W::words];
#pragma unroll
    for (int r = 0; r < WARP_TILES; r++)
#pragma unroll
        for (int i = 0; i < W::words; i++)
            v[r][i] = *reinterpret_cast<const uint4 *>(w + (r * W::words + i) * 512 + lane * 16);
#pragma unroll
    for (int n = 0; n < NT; n++) {
        uint32_t in[W::inputs];
        read_inputs<T>(x + (8 * n + lane / 4) * stage<T>::PITCH + lane % 4 * W::lane_bytes, in);
#pragma unroll
        for (int m = 0; m < W::steps; m++)
#pragma unroll
            for (int r = 0; r < WARP_TILES; r++)
                W::step(v[r], m, in, acc[r][n]);
    }
}

// The same of int4; `block` of its unit. group: sums since the group began.
template <int GROUP, int NT>
__device__ __forceinline__ void multiply_i4(const many_job &job, const unsigned char *w, const unsigned char *x,
                                            int lane, int tile, int index, float (&group)[WARP_TILES][NT][4],
                                            float (&acc)[WARP_TILES][NT][4])
{
    typedef weights<DT_I4> W;
    const int block = index % CUDA_BLOCKS;
#pragma unroll
    for (int r = 0; r < WARP_TILES; r++) {
        const unsigned char *words = job.w + (size_t)min(tile + r, job.tiles - 1) * job.out.tile_bytes +
                                     (size_t)(index / CUDA_BLOCKS) * job.unit_bytes + CUDA_BLOCKS * 512;
        const uint4 v = *reinterpret_cast<const uint4 *>(w + r * 512 + lane * 16);
#pragma unroll
        for (int half = 0; half < 2; half++) {
            const group_scales s = load_group(words + group_of<GROUP>(block, 2 * half) * CUDA_TILE_ROWS * 4, lane / 4);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                uint32_t in[W::inputs];
                read_inputs<DT_I4>(x + (8 * n + lane / 4) * stage<DT_I4>::PITCH + lane % 4 * W::lane_bytes, in);
                W::step(&v, 2 * half, in, group[r][n], s.offset);
                W::step(&v, 2 * half + 1, in, group[r][n], s.offset);
                if (!group_ends<GROUP>(block, 2 * half + 1))
                    continue;
#pragma unroll
                for (int i = 0; i < 4; i++) {
                    acc[r][n][i] = fmaf(s.scale[i / 2], group[r][n][i], acc[r][n][i]);
                    group[r][n][i] = 0;
                }
            }
        }
    }
}

template <typename SUM, int NT>
__device__ __forceinline__ void end_span(SUM (&acc)[WARP_TILES][NT][4], SUM (&total)[WARP_TILES][NT][4], bool first)
{
#pragma unroll
    for (int r = 0; r < WARP_TILES; r++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                total[r][n][i] = first ? acc[r][n][i] : total[r][n][i] + acc[r][n][i];
                acc[r][n][i] = 0;
            }
}

template <enum dtype T, int GROUP> __global__ void __launch_bounds__(THREADS) k_many(const many_job job)
{
    typedef stage<T> S;
    typedef typename weights<T>::sum sum;
    enum { NT = S::WARP_TOKENS / 8 };
    extern __shared__ __align__(16) unsigned char shared[];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int tile0 = blockIdx.y * BLOCK_TILES, token0 = blockIdx.x * S::TOKENS;
    const int tile = warp % ROW_WARPS * WARP_TILES, token = warp / ROW_WARPS * S::WARP_TOKENS;
    const int blocks = job.units * CUDA_BLOCKS, span = job.span_units * CUDA_BLOCKS;
    sum acc[WARP_TILES][NT][4] = {}, total[WARP_TILES][NT][4] = {};
    [[maybe_unused]] float group[T == DT_I4 ? WARP_TILES : 1][T == DT_I4 ? NT : 1][4] = {};

    for (int i = 0; i < STAGES - 1; i++) {
        if (i < blocks)
            request<T>(job, tile0, token0, i, shared + i * S::BYTES);
        copies_commit();
    }
    for (int i = 0; i < blocks; i++) {
        copies_wait<STAGES - 2>();
        __syncthreads(); // stage i is there, and everybody has left the stage that is requested next
        if (i + STAGES - 1 < blocks)
            request<T>(job, tile0, token0, i + STAGES - 1, shared + (i + STAGES - 1) % STAGES * S::BYTES);
        copies_commit();
        const unsigned char *w = shared + i % STAGES * S::BYTES, *x = w + S::W_BYTES + token * S::PITCH;
        w += tile * S::TILE_BYTES;
        if constexpr (T == DT_I4)
            multiply_i4<GROUP, NT>(job, w, x, lane, tile0 + tile, i, group, acc);
        else
            multiply<T, NT>(w, x, lane, acc);
        if ((i + 1) % span == 0 || i + 1 == blocks)
            end_span<sum, NT>(acc, total, i < span);
    }
#pragma unroll
    for (int r = 0; r < WARP_TILES; r++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                put_sum<T>(job.out, (tile0 + tile + r) * CUDA_TILE_ROWS + lane / 4 + i / 2 * 8,
                           token0 + token + 8 * n + lane % 4 * 2 + i % 2, total[r][n][i]);
}

template <enum dtype T, int GROUP> void launch_many(const many_job &job, cudaStream_t stream)
{
    typedef stage<T> S;
    const int bytes = STAGES * S::BYTES;
    cudaFuncSetAttribute(k_many<T, GROUP>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    const dim3 grid(ceil_div(job.out.tokens, S::TOKENS), ceil_div(job.tiles, BLOCK_TILES));
    k_many<T, GROUP><<<grid, THREADS, bytes, stream>>>(job);
    cuda_launched();
}

} // namespace

template <enum dtype T> void cuda_linear_many(const struct cuda_linear *job, cudaStream_t stream)
{
    const struct cuda_layout *l = &job->layout;
    const many_job many = {linear_out_of(job),
                           (const unsigned char *)job->w,
                           (const unsigned char *)job->x,
                           job->ldx * weights<T>::element_bytes,
                           l->unit_bytes,
                           l->header_bytes,
                           l->tiles,
                           l->units,
                           l->span_units};
    if constexpr (T == DT_I4) {
        if (l->group == 32)
            launch_many<T, 32>(many, stream);
        else
            launch_many<T, 128>(many, stream);
    } else {
        launch_many<T, 0>(many, stream);
    }
}

template void cuda_linear_many<DT_BF16>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_many<DT_F16>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_many<DT_I8>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_many<DT_F8E4M3>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_many<DT_I4>(const struct cuda_linear *, cudaStream_t);
