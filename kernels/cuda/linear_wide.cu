// linear_wide.cu - products of more than 16 tokens on Hopper: 128 rows by 32, 64, 128 or 256 tokens a block.
//
// One warp only streams weights, still in fragment order, and inputs through a ring of stages in shared memory. Two
// groups of four warps take 64 rows each. A lane loads its weights into registers and decodes them there, and wgmma
// multiplies them with the inputs in shared memory. While one group decodes, the other multiplies. Where tiles do not
// fill the chip, blocks share the inputs of a tile, and the last block to arrive adds up the sums in order.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace {

enum { GROUPS = 2, THREADS = GROUPS * 128 + 128, BLOCK_TILES = GROUPS * 4 };

struct wide_job {
    linear_out out;
    const unsigned char *w, *x;
    void *partial;
    uint32_t *counters;
    size_t header_bytes, unit_bytes;
    int tiles, units, groups;
    int splits;
};

// Whether a lane keeps two sets of sums: those of a run of inputs, and the total in f32. A run is a group of weights.
// For e4m3 by e4m3, whose sums in the tensor cores keep about 14 bits, it is the 128 inputs of a stage.
constexpr bool keeps_two(enum dtype type)
{
    return scales_groups(type) || type == F8_BY_F8;
}
// Whether the registers of a lane leave room for two blocks per multiprocessor.
constexpr bool wide_is_few(enum dtype type, int tokens)
{
    return tokens <= (scales_groups(type) ? 32 : 64);
}
constexpr int min_of(int a, int b)
{
    return a < b ? a : b;
}

// The contents of a stage: BLOCKS times 64 inputs of 8 tiles and TOKENS tokens. For types in groups it is a run
// of blocks with their scales.
template <enum dtype T, int GROUP, int TOKENS> struct wide_stage {
    typedef weights<T> W;
    // The copy engine takes about 100 cycles per copy, so a copy has at least 2 KiB. A stage is only a few copies, so
    // that the ring has room for about four stages.
    enum {
        FEW = wide_is_few(T, TOKENS), // limited by reading: two blocks per multiprocessor
        BLOCKS = T == DT_I4 ? 4 : scales_tokens(T) || T == DT_I8G ? 2 : T == DT_F8E4M3 ? (FEW ? 2 : 1) : 1,
        OF_UNIT = CUDA_BLOCKS / BLOCKS,
        TILE_BYTES = W::words * 512 * BLOCKS + run_scales(T, GROUP),
        W_BYTES = BLOCK_TILES * TILE_BYTES,
        X_BLOCK = TOKENS / 8 * W::x_bytes, // bytes per 64 inputs
        BYTES = W_BYTES + BLOCKS * X_BLOCK,
        ROOM = (FEW ? 110 : 220) * 1024,
        STAGES = ROOM / (BYTES + 16),
        SUMS = TOKENS / 2, // sums per lane
        RUN_TOKENS = T == F8_BY_F8 ? min_of(TOKENS, FEW ? 32 : 128) : TOKENS, // of one product
        PARTS = keeps_two(T) ? RUN_TOKENS / 2 : 1,
    };
};

#if __CUDA_ARCH_FEAT_SM90_ALL

// The copying warp streams stages [begin, end) of the inputs. Lanes 0 .. 7 copy weights, lanes from 8 on inputs. Each
// lane announces its bytes to the barrier of a stage, and each consumer arrives by itself. So the barriers alone order
// every access to the ring, and racecheck can follow that.
template <enum dtype T, int GROUP, int TOKENS>
__device__ __forceinline__ void feed(const wide_job &job, int tile0, int group0, int begin, int end, uint32_t base,
                                     uint32_t full, uint32_t empty)
{
    typedef wide_stage<T, GROUP, TOKENS> S;
    const int lane = threadIdx.x % 32, there = min(TOKENS / 8, job.groups - group0) * S::W::x_bytes;
    const unsigned char *w =
        job.w + (size_t)min(tile0 + lane % BLOCK_TILES, job.tiles - 1) * job.out.tile_bytes + job.header_bytes;
    const int x_block = lane - BLOCK_TILES;
    const auto copy_weights = [&](int i, int slot) {
        const unsigned char *from = w + (size_t)(i / S::OF_UNIT) * job.unit_bytes + i % S::OF_UNIT * S::TILE_BYTES;
        barrier_expect(full + slot * 8, S::TILE_BYTES);
        copy_bulk(base + slot * S::BYTES + lane * S::TILE_BYTES, from, S::TILE_BYTES, full + slot * 8);
    };
    const auto copy_inputs = [&](int i, int slot) {
        const size_t block = (size_t)i * S::BLOCKS + x_block;
        barrier_expect(full + slot * 8, there);
        copy_bulk(base + slot * S::BYTES + S::W_BYTES + x_block * S::X_BLOCK,
                  job.x + (block * job.groups + group0) * S::W::x_bytes, there, full + slot * 8);
    };
    const int fill = min(end - begin, (int)S::STAGES); // stages that are still empty
    if (lane < BLOCK_TILES)
        for (int i = 0; i < fill; i++)
            copy_weights(begin + i, i); // weights do not depend on earlier kernels
    previous_wait();
    if (x_block >= 0 && x_block < S::BLOCKS)
        for (int i = 0; i < fill; i++)
            copy_inputs(begin + i, i);
    int slot = 0, parity = 0;
    for (int i = begin + fill; i < end; i++) {
        barrier_wait(empty + slot * 8, parity);
        if (lane < BLOCK_TILES)
            copy_weights(i, slot);
        else if (x_block < S::BLOCKS)
            copy_inputs(i, slot);
        if (++slot == S::STAGES) {
            slot = 0;
            parity ^= 1;
        }
    }
}

// Multiplies a stage for one group of warps. w: the warp's tile; x: the inputs of the stage.
template <enum dtype T, int TOKENS>
__device__ __forceinline__ void multiply(const unsigned char *w, uint32_t x, int lane,
                                         typename weights<T>::sum (&acc)[TOKENS / 2])
{
    typedef wide_stage<T, 0, TOKENS> S;
    typedef weights<T> W;
    enum { TOGETHER = scales_tokens(T) ? 2 : 1 }; // blocks: about four products in flight
#pragma unroll
    for (int first = 0; first < S::BLOCKS; first += TOGETHER) {
        uint32_t a[TOGETHER][W::steps][4];
#pragma unroll
        for (int b = 0; b < TOGETHER; b++) {
            uint4 v[W::words];
#pragma unroll
            for (int i = 0; i < W::words; i++)
                v[i] = *reinterpret_cast<const uint4 *>(w + ((first + b) * W::words + i) * 512 + lane * 16);
#pragma unroll
            for (int m = 0; m < W::steps; m++)
                W::fragment(v, m, a[b][m]);
        }
        wide_begin();
#pragma unroll
        for (int b = 0; b < TOGETHER; b++)
#pragma unroll
            for (int m = 0; m < W::steps; m++)
                wide_product<T, TOKENS>::step(acc, a[b][m],
                                              wide_inputs(x + (first + b) * S::X_BLOCK + m * 256, W::x_bytes));
        wide_end();
    }
}

// The same for e4m3 by e4m3: RUN_TOKENS at a time, whose sums over the stage are then added to acc in f32.
template <int TOKENS>
__device__ __forceinline__ void multiply_f8(const unsigned char *w, uint32_t x, int lane,
                                            float (&part)[wide_stage<F8_BY_F8, 0, TOKENS>::PARTS],
                                            float (&acc)[TOKENS / 2])
{
    typedef wide_stage<F8_BY_F8, 0, TOKENS> S;
    typedef weights<F8_BY_F8> W;
    typedef wide_product<F8_BY_F8, S::RUN_TOKENS> P;
    uint32_t a[S::BLOCKS][W::steps][4];
#pragma unroll
    for (int b = 0; b < S::BLOCKS; b++) {
        uint4 v[W::words];
#pragma unroll
        for (int i = 0; i < W::words; i++)
            v[i] = *reinterpret_cast<const uint4 *>(w + (b * W::words + i) * 512 + lane * 16);
#pragma unroll
        for (int m = 0; m < W::steps; m++)
            W::fragment(v, m, a[b][m]);
    }
#pragma unroll
    for (int run = 0; run < TOKENS / S::RUN_TOKENS; run++) {
        wide_begin();
#pragma unroll
        for (int b = 0; b < S::BLOCKS; b++)
#pragma unroll
            for (int m = 0; m < W::steps; m++) {
                const uint64_t inputs =
                    wide_inputs(x + b * S::X_BLOCK + run * (S::RUN_TOKENS / 8 * W::x_bytes) + m * 256, W::x_bytes);
                if (b + m == 0)
                    P::template step<0>(part, a[b][m], inputs);
                else
                    P::step(part, a[b][m], inputs);
            }
        wide_end();
#pragma unroll
        for (int i = 0; i < S::PARTS; i++)
            acc[run * S::PARTS + i] += part[i];
    }
}

// The same for types in groups, for one block of a run. sum: the sums since the group began; scales: of the run.
template <enum dtype T, int GROUP, int TOKENS>
__device__ __forceinline__ void multiply_groups(const unsigned char *w, uint32_t x, int lane, int block,
                                                const unsigned char *scales, float (&sum)[TOKENS / 2],
                                                float (&acc)[TOKENS / 2])
{
    typedef weights<T> W;
    uint4 v[W::words];
#pragma unroll
    for (int i = 0; i < W::words; i++)
        v[i] = *reinterpret_cast<const uint4 *>(w + i * 512 + lane * 16);
    uint32_t a[W::steps][4];
    group_scales s[2];
#pragma unroll
    for (int p = 0; p < 2; p++) {
        s[p] = load_group<T>(scales, group_of<GROUP>(block, p), lane / 4);
        W::fragment(v, 2 * p, a[2 * p], s[p]);
        W::fragment(v, 2 * p + 1, a[2 * p + 1], s[p]);
    }
#pragma unroll
    for (int p = 0; p < 2; p++) {
        if (GROUP == 32 || p == 0)
            wide_begin();
        wide_product<T, TOKENS>::step(sum, a[2 * p], wide_inputs(x + p * 512, W::x_bytes));
        wide_product<T, TOKENS>::step(sum, a[2 * p + 1], wide_inputs(x + p * 512 + 256, W::x_bytes));
        if (GROUP == 32 || p == 1)
            wide_end();
        if (!group_ends<GROUP>(block, p))
            continue;
#pragma unroll
        for (int i = 0; i < TOKENS / 2; i++) {
            acc[i] = fmaf(s[p].scale[i / 2 % 2], sum[i], acc[i]);
            sum[i] = 0;
        }
    }
}

// Adds up, in order, the sums of the blocks that share a tile. Returns true for the last block to arrive. Called by a
// group of warps.
template <typename SUM, int N>
__device__ __forceinline__ bool add_splits(const wide_job &job, int group, SUM (&acc)[N])
{
    __shared__ uint32_t before[GROUPS];
    const int thread = threadIdx.x % 128, at = (blockIdx.y * gridDim.x + blockIdx.x) * GROUPS + group;
    const int all = gridDim.x * gridDim.y * GROUPS;
    SUM *partial = static_cast<SUM *>(job.partial) + thread;
#pragma unroll
    for (int i = 0; i < N; i++)
        __stcg(partial + (((size_t)blockIdx.z * all + at) * N + i) * 128, acc[i]);
    __threadfence();
    asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory");
    if (thread == 0) {
        before[group] = atomicAdd(job.counters + at, 1);
        __threadfence();
    }
    asm volatile("bar.sync %0, 128;" ::"r"(1 + group) : "memory");
    if (before[group] != (uint32_t)job.splits - 1)
        return false;
    __threadfence();
    if (thread == 0)
        job.counters[at] = 0;
#pragma unroll
    for (int i = 0; i < N; i++)
        acc[i] = __ldcg(partial + ((size_t)at * N + i) * 128);
    for (int s = 1; s < job.splits; s++)
#pragma unroll
        for (int i = 0; i < N; i++)
            acc[i] += __ldcg(partial + (((size_t)s * all + at) * N + i) * 128);
    return true;
}
#endif

template <enum dtype T, int GROUP, int TOKENS>
__global__ void __launch_bounds__(THREADS, wide_is_few(T, TOKENS) ? 2 : 1) k_wide(const wide_job job)
{
#if __CUDA_ARCH_FEAT_SM90_ALL
    typedef wide_stage<T, GROUP, TOKENS> S;
    typedef typename weights<T>::sum sum;
    extern __shared__ __align__(1024) unsigned char shared[];
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, group = warp / 4;
    const int tile0 = blockIdx.y * BLOCK_TILES, group0 = blockIdx.x * (TOKENS / 8);
    const int begin = cuda_span_begin(job.units, job.splits, blockIdx.z) * S::OF_UNIT;
    const int end = cuda_span_begin(job.units, job.splits, blockIdx.z + 1) * S::OF_UNIT;
    const uint32_t base = shared_address(shared), full = base + S::STAGES * S::BYTES, empty = full + S::STAGES * 8;
    if (threadIdx.x == 0) {
        for (int i = 0; i < S::STAGES; i++) {
            barrier_init(full + i * 8, BLOCK_TILES + S::BLOCKS);
            barrier_init(empty + i * 8, GROUPS * 128);
        }
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    next_may_start();
    __syncthreads();
    if (group == GROUPS) {
        if (!S::FEW)
            asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
        if (warp % 4 == 0)
            feed<T, GROUP, TOKENS>(job, tile0, group0, begin, end, base, full, empty);
        return;
    }
    if (!S::FEW)
        asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
    sum acc[S::SUMS];
    [[maybe_unused]] float part[S::PARTS];
#pragma unroll
    for (int i = 0; i < S::SUMS; i++)
        acc[i] = 0;
#pragma unroll
    for (int i = 0; i < S::PARTS; i++)
        part[i] = 0;
    int slot = 0, parity = 0;
    for (int i = begin; i < end; i++) {
        barrier_wait(full + slot * 8, parity);
        const unsigned char *w = shared + slot * S::BYTES + warp * S::TILE_BYTES;
        const uint32_t x = base + slot * S::BYTES + S::W_BYTES;
        if constexpr (scales_groups(T)) {
#pragma unroll
            for (int b = 0; b < S::BLOCKS; b++)
                multiply_groups<T, GROUP, TOKENS>(w + b * S::W::words * 512, x + b * S::X_BLOCK, lane, b, w + 2048,
                                                  part, acc);
        } else if constexpr (T == F8_BY_F8) {
            multiply_f8<TOKENS>(w, x, lane, part, acc);
        } else {
            multiply<T, TOKENS>(w, x, lane, acc);
        }
        barrier_arrive(empty + slot * 8);
        if (++slot == S::STAGES) {
            slot = 0;
            parity ^= 1;
        }
    }
    previous_wait();
    if (job.splits > 1 && !add_splits<sum, S::SUMS>(job, group, acc))
        return;
    put_sums<T, S::FEW ? 8 : 16>(job.out, (tile0 + warp) * CUDA_TILE_ROWS + lane / 4, group0 * 8 + lane % 4 * 2, acc);
#endif
}

// The number of blocks that share a tile's inputs, chosen to keep `slots` blocks busy at a time. Sums that go through
// memory cost about half as much as reading the same number of weights.
int splits_of(const struct cuda_layout *l, int blocks, int tokens, int slots)
{
    const double room = (double)CUDA_WIDE_BLOCKS * 256 / ((double)blocks * tokens);
    double best = 0;
    int splits = 1;
    for (int s = 1; s <= min(l->units, 12) && (s == 1 || s <= room); s++) {
        const int all = blocks * s, waves = ceil_div(all, slots);
        double worth = (double)all / ((double)waves * slots);
        if (s > 1)
            worth /= 1 + (double)s * tokens * 4 * CUDA_TILE_ROWS / (double)l->tile_bytes;
        if (worth > best * 1.02) {
            best = worth;
            splits = s;
        }
    }
    return splits;
}

template <enum dtype T, int GROUP, int TOKENS> void launch_wide(const struct cuda_linear *job, cudaStream_t stream)
{
    typedef wide_stage<T, GROUP, TOKENS> S;
    const struct cuda_layout *l = &job->layout;
    wide_job wide = linear_job_of<wide_job>(job);
    wide.unit_bytes = l->unit_bytes;
    const int blocks = ceil_div(wide.groups, TOKENS / 8) * ceil_div(l->tiles, BLOCK_TILES);
    wide.splits = splits_of(l, blocks, TOKENS, max(1, job->multiprocessors) * (S::FEW ? 2 : 1));
    const dim3 grid(ceil_div(wide.groups, TOKENS / 8), ceil_div(l->tiles, BLOCK_TILES), wide.splits);
    const int bytes = S::STAGES * (S::BYTES + 16);
    cudaFuncSetAttribute(k_wide<T, GROUP, TOKENS>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    launch_early(k_wide<T, GROUP, TOKENS>, grid, THREADS, bytes, stream, wide);
}

// Types in groups keep two whole sets of sums, so a block takes at most 128 tokens.
template <enum dtype T, int GROUP> void launch_tokens(const struct cuda_linear *job, cudaStream_t stream)
{
    if (job->tokens <= 32)
        launch_wide<T, GROUP, 32>(job, stream);
    else if (job->tokens <= 64)
        launch_wide<T, GROUP, 64>(job, stream);
    else if (scales_groups(T) || job->tokens <= 128)
        launch_wide<T, GROUP, 128>(job, stream);
    else
        launch_wide<T, GROUP, scales_groups(T) ? 128 : 256>(job, stream);
}

} // namespace

template <enum dtype T> void cuda_linear_wide(const struct cuda_linear *job, cudaStream_t stream)
{
    if constexpr (T == DT_I4) {
        if (job->layout.group == 32)
            launch_tokens<T, 32>(job, stream);
        else
            launch_tokens<T, 128>(job, stream);
    } else {
        launch_tokens<T, T == DT_I8G ? 32 : 0>(job, stream);
    }
}

template void cuda_linear_wide<DT_BF16>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_wide<DT_F16>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_wide<DT_I8>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_wide<DT_F8E4M3>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_wide<F8_BY_F8>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_wide<DT_I4>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_wide<DT_I8G>(const struct cuda_linear *, cudaStream_t);
