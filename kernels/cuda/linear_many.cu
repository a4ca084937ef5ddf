// linear_many.cu - products of many tokens by mma.sync, limited by arithmetic.
// A block of 8 warps computes 128 rows by 128 tokens (types in groups: by 64). Weights, still in fragment order, and
// inputs stream through shared memory, three blocks of 64 inputs ahead.
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/launch.cuh"

namespace {

enum { THREADS = 256, ROW_WARPS = 4, TOKEN_WARPS = 2, WARP_TILES = 2, STAGES = 4 };
enum { BLOCK_TILES = ROW_WARPS * WARP_TILES };

struct many_job {
    linear_out out;
    const unsigned char *w, *x;
    size_t unit_bytes, header_bytes;
    int tiles, units, groups;
};

template <enum dtype T> struct stage {
    typedef weights<T> W;
    enum {
        WARP_GROUPS = scales_groups(T) ? 4 : 8, // groups of 8 tokens
        GROUPS = TOKEN_WARPS * WARP_GROUPS,
        TILE_BYTES = W::words * 512,
        W_BYTES = BLOCK_TILES * TILE_BYTES,
        BYTES = W_BYTES + GROUPS * W::x_bytes,
    };
};

// The number of a unit's runs that end before block `index`.
template <enum dtype T> __device__ __forceinline__ int runs_before(int index)
{
    if constexpr (scales_groups(T))
        return index % CUDA_BLOCKS / weights<T>::run;
    return 0;
}

// Requests block `index` of 64 inputs: weights of the tiles from `tile` on, inputs of the groups of tokens from `group`
// on.
template <enum dtype T, int GROUP>
__device__ __forceinline__ void request(const many_job &job, int tile, int group, int index, uint32_t to)
{
    typedef stage<T> S;
    const size_t w_at = job.header_bytes + (size_t)(index / CUDA_BLOCKS) * job.unit_bytes +
                        (size_t)(index % CUDA_BLOCKS) * S::TILE_BYTES + runs_before<T>(index) * run_scales(T, GROUP);
#pragma unroll
    for (int i = threadIdx.x; i < S::W_BYTES / 16; i += THREADS) {
        const int of = i * 16 / S::TILE_BYTES, at = i * 16 % S::TILE_BYTES, from = min(tile + of, job.tiles - 1);
        copy_async(to + i * 16, job.w + (size_t)from * job.out.tile_bytes + w_at + at);
    }
    const unsigned char *x = job.x + ((size_t)index * job.groups + group) * S::W::x_bytes;
    const int there = min((int)S::GROUPS, job.groups - group) * S::W::x_bytes;
#pragma unroll
    for (int i = threadIdx.x * 16; i < S::GROUPS * S::W::x_bytes; i += THREADS * 16)
        if (i < there)
            copy_async(to + S::W_BYTES + i, x + i);
}

// Multiplies a warp's tiles and tokens of one stage. w: its first tile; x: its first group, plus 16 * lane.
template <enum dtype T, int NT>
__device__ __forceinline__ void multiply(const unsigned char *w, uint32_t x, int lane,
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
    for (int p = 0; p < W::steps / 2; p++) {
        uint32_t a[WARP_TILES][2][4];
#pragma unroll
        for (int r = 0; r < WARP_TILES; r++) {
            W::fragment(v[r], 2 * p, a[r][0]);
            W::fragment(v[r], 2 * p + 1, a[r][1]);
        }
#pragma unroll
        for (int n = 0; n < NT; n++) {
            uint32_t in[4];
            load_inputs(x + n * W::x_bytes + p * 512, in);
#pragma unroll
            for (int r = 0; r < WARP_TILES; r++) {
                W::multiply(acc[r][n], a[r][0], in[0], in[1]);
                W::multiply(acc[r][n], a[r][1], in[2], in[3]);
            }
        }
    }
}

// The same for types in groups, for block `index` of the tiles from `tile` on. group: the sums since the group began.
template <enum dtype T, int GROUP, int NT>
__device__ __forceinline__ void multiply_groups(const many_job &job, const unsigned char *w, uint32_t x, int lane,
                                                int tile, int index, float (&group)[WARP_TILES][NT][4],
                                                float (&acc)[WARP_TILES][NT][4])
{
    typedef weights<T> W;
    const int block = index % W::run, runs = runs_before<T>(index);
#pragma unroll
    for (int r = 0; r < WARP_TILES; r++) {
        const unsigned char *scales = job.w + (size_t)min(tile + r, job.tiles - 1) * job.out.tile_bytes +
                                      (size_t)(index / CUDA_BLOCKS) * job.unit_bytes +
                                      runs * (2048 + run_scales(T, GROUP)) + 2048;
        uint4 v[W::words];
#pragma unroll
        for (int i = 0; i < W::words; i++)
            v[i] = *reinterpret_cast<const uint4 *>(w + (r * W::words + i) * 512 + lane * 16);
#pragma unroll
        for (int p = 0; p < 2; p++) {
            const group_scales s = load_group<T>(scales, group_of<GROUP>(block, p), lane / 4);
            uint32_t a[2][4];
            W::fragment(v, 2 * p, a[0], s);
            W::fragment(v, 2 * p + 1, a[1], s);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                uint32_t in[4];
                load_inputs(x + n * W::x_bytes + p * 512, in);
                W::multiply(group[r][n], a[0], in[0], in[1]);
                W::multiply(group[r][n], a[1], in[2], in[3]);
                if (!group_ends<GROUP>(block, p))
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

template <enum dtype T, int GROUP> __global__ void __launch_bounds__(THREADS) k_many(const many_job job)
{
    typedef stage<T> S;
    typedef typename weights<T>::sum sum;
    enum { NT = S::WARP_GROUPS };
    extern __shared__ __align__(128) unsigned char shared[];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
    const int tile0 = blockIdx.y * BLOCK_TILES, group0 = blockIdx.x * S::GROUPS;
    const int tile = warp % ROW_WARPS * WARP_TILES, first = warp / ROW_WARPS * NT;
    const int blocks = job.units * CUDA_BLOCKS;
    const uint32_t base = shared_address(shared);
    sum acc[WARP_TILES][NT][4] = {};
    [[maybe_unused]] float group[scales_groups(T) ? WARP_TILES : 1][scales_groups(T) ? NT : 1][4] = {};

    next_may_start();
    previous_wait();
    for (int i = 0; i < STAGES - 1; i++) {
        if (i < blocks)
            request<T, GROUP>(job, tile0, group0, i, base + i * S::BYTES);
        copies_commit();
    }
    for (int i = 0; i < blocks; i++) {
        copies_wait<STAGES - 2>();
        __syncthreads(); // stage i has arrived, and no warp reads the stage requested next
        if (i + STAGES - 1 < blocks)
            request<T, GROUP>(job, tile0, group0, i + STAGES - 1, base + (i + STAGES - 1) % STAGES * S::BYTES);
        copies_commit();
        const unsigned char *w = shared + i % STAGES * S::BYTES + tile * S::TILE_BYTES;
        const uint32_t x = base + i % STAGES * S::BYTES + S::W_BYTES + first * S::W::x_bytes + lane * 16;
        if constexpr (scales_groups(T))
            multiply_groups<T, GROUP, NT>(job, w, x, lane, tile0 + tile, i, group, acc);
        else
            multiply<T, NT>(w, x, lane, acc);
    }
#pragma unroll
    for (int r = 0; r < WARP_TILES; r++)
        put_sums<T, 16>(job.out, (tile0 + tile + r) * CUDA_TILE_ROWS + lane / 4, (group0 + first) * 8 + lane % 4 * 2,
                        reinterpret_cast<const sum(&)[NT * 4]>(acc[r]));
}

template <enum dtype T, int GROUP> void launch_many(const many_job &job, cudaStream_t stream)
{
    typedef stage<T> S;
    const int bytes = STAGES * S::BYTES;
    cudaFuncSetAttribute(k_many<T, GROUP>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    const dim3 grid(ceil_div(job.groups, S::GROUPS), ceil_div(job.tiles, BLOCK_TILES));
    launch_early(k_many<T, GROUP>, grid, THREADS, bytes, stream, job);
}

} // namespace

template <enum dtype T> void cuda_linear_many(const struct cuda_linear *job, cudaStream_t stream)
{
    const struct cuda_layout *l = &job->layout;
    const many_job many = {linear_out_of(job), (const unsigned char *)job->w,
                           (const unsigned char *)job->x,
                           l->unit_bytes,
                           l->header_bytes,
                           l->tiles,
                           l->units,
                           ceil_div(job->tokens, CUDA_GROUP_TOKENS)};
    if constexpr (T == DT_I4) {
        if (l->group == 32)
            launch_many<T, 32>(many, stream);
        else
            launch_many<T, 128>(many, stream);
    } else {
        launch_many<T, T == DT_I8G ? 32 : 0>(many, stream);
    }
}

template void cuda_linear_many<DT_BF16>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_many<DT_F16>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_many<DT_I8>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_many<DT_F8E4M3>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_many<F8_BY_F8>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_many<DT_I4>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_many<DT_I8G>(const struct cuda_linear *, cudaStream_t);
