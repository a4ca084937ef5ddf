// step_kernel.cuh - a decode step as one persistent kernel, for sm_90, and its launchers. step.h explains its order
// and its exchange. For step.cu and step_stamped.cu.
#pragma once

#include "kernels/cuda/launch.cuh"

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900
#include "kernels/cuda/step_attend.cuh"
#include "kernels/cuda/step_product.cuh"
#else
#include "kernels/cuda/cuda.h"
#endif

namespace
{

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

template <class state> static __device__ __forceinline__ void run_keys(state &b)
{
    switch (b.job.kv_type) {
    case DT_BF16:
        return run_attention<DT_BF16>(b);
    case DT_F16:
        return run_attention<DT_F16>(b);
    case DT_I8:
        return run_attention<DT_I8>(b);
    default:
        return run_attention<DT_F8E4M3>(b);
    }
}

// Prefetches the next phase's norm into the L2 while the block waits.
static __device__ __forceinline__ void prefetch_norm(const block_place &b, const cuda_step &job, const float *norm,
                                                     int layer)
{
    const int i = threadIdx.x * 32; // one line of 128 bytes
    if ((int)blockIdx.x == b.phase - step_rounds(&job, b.phase) * job.blocks && i < job.width)
        asm volatile("prefetch.global.L2 [%0];" ::"l"(reinterpret_cast<const unsigned char *>(norm + i) +
                                                      layer * job.layer_stride));
}

// Sets up barriers, tokens and their cosines. Called by all threads of the block.
template <int TOK> static __device__ __forceinline__ void set_up(const cuda_step &job, space_of<TOK> &s)
{
    if (threadIdx.x == 0) {
        s.job = job;
        s.phase = 0;
        for (int i = 0; i < job.ring; i++) {
            barrier_init(&s.full[i], 1);
            barrier_init(&s.empty[i], STEP_WARPS * 32);
        }
        asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    }
    const cuda_token *tokens = static_cast<const cuda_token *>(job.tokens_at);
    if (threadIdx.x < STEP_MOST_TOKENS) {
        const bool there = (int)threadIdx.x < job.tokens;
        s.sequence[threadIdx.x] = there ? tokens[threadIdx.x].sequence : -1;
        s.position[threadIdx.x] = there ? tokens[threadIdx.x].position : -1;
    }
    const int half = job.rotary / 2;
    for (int i = threadIdx.x; i < job.tokens * job.rotary; i += blockDim.x) {
        const int token = i / job.rotary, at = i % job.rotary, position = tokens[token].position;
        if (position >= 0)
            s.turn[token][at] =
                at < half ? job.cos[(size_t)position * half + at] : job.sin[(size_t)position * half + at - half];
    }
    __syncthreads();
}

#endif

template <enum dtype T, int GROUP, enum dtype HEAD, int TOK, bool STAMPED>
__global__ void __launch_bounds__(STEP_WARPS * 32 + 32, 1) k_step(const __grid_constant__ cuda_step job)
{
#if __CUDA_ARCH__ >= 900
    typedef space_of<TOK> space;
    space &s = *reinterpret_cast<space *>(shared_memory());
    set_up(job, s);
    if (threadIdx.x >= STEP_WARPS * 32) {
        if (threadIdx.x == STEP_WARPS * 32)
            stream_stages(job, s, shared_memory() + space::BYTES);
        return;
    }
    // Layers so far, or in the wide form arrivals. Only this block writes it.
    uint32_t *count = job.exchange + job.counters + 32 + blockIdx.x;
    const uint32_t epoch = *count;
    block_of<TOK, STAMPED> b({0, 0, 0, space::WIDE ? epoch : epoch * STEP_LAYER_PHASES * job.blocks, {0, 0}}, job);
    if constexpr (space::WIDE)
        embed_wide(b);
    b.mark(STEP_MARK_BEGIN);
    for (b.layer = 0; b.layer < job.layers; b.layer++) {
        b.tag = step_tag(epoch, b.layer);
        run_product<T, GROUP, TOK>(b, STEP_QKV);
        b.next_phase();
        run_keys(b);
        b.next_phase();
        run_product<T, GROUP, TOK>(b, STEP_OUT);
        prefetch_norm(b, job, job.ff_norm, b.layer);
        b.next_phase();
        run_product<T, GROUP, TOK>(b, STEP_GATE_UP);
        b.next_phase();
        run_product<T, GROUP, TOK>(b, STEP_DOWN);
        if (b.layer + 1 < job.layers)
            prefetch_norm(b, job, job.attn_norm, b.layer + 1);
        b.next_phase();
    }
    if (job.logits) {
        b.tag = step_tag(epoch, b.layer);
        run_product<HEAD, 0, TOK>(b, STEP_HEAD);
    }
    if (threadIdx.x == 0)
        *count = epoch + (space::WIDE ? (job.layers * STEP_LAYER_PHASES + 1) * job.blocks : job.layers);
#endif
}

template <enum dtype T, int GROUP, enum dtype HEAD, int TOK, bool STAMPED>
static void launch(const cuda_step &job, cudaStream_t stream)
{
    void (*kernel)(const cuda_step) = k_step<T, GROUP, HEAD, TOK, STAMPED>;
    cudaLaunchAttribute together = {};
    cudaLaunchConfig_t config = {};
    together.id = cudaLaunchAttributeCooperative;
    together.val.cooperative = 1;
    config.gridDim = dim3(job.blocks);
    config.blockDim = dim3(STEP_WARPS * 32 + 32);
    config.dynamicSmemBytes = (size_t)job.shared_bytes;
    config.stream = stream;
    config.attrs = &together;
    config.numAttrs = 1;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, job.shared_bytes);
    cudaLaunchKernelEx(&config, kernel, job);
    cuda_launched();
}

template <enum dtype T, int GROUP, bool STAMPED> static void launch_tokens(const struct cuda_step *job, void *stream)
{
    constexpr enum dtype HEAD = T == DT_F16 ? DT_F16 : DT_BF16;
    if constexpr (T != DT_F16) // cuda_step_plan refuses it
        if (step_wide(job))
            return launch<T, GROUP, HEAD, STEP_MOST_TOKENS, STAMPED>(*job, (cudaStream_t)stream);
    if (job->tokens == 1)
        launch<T, GROUP, HEAD, 1, STAMPED>(*job, (cudaStream_t)stream);
    else
        launch<T, GROUP, HEAD, STEP_FEW_TOKENS, STAMPED>(*job, (cudaStream_t)stream);
}

template <bool STAMPED> static void launch_i4(const struct cuda_step *job, void *stream)
{
    if (job->group == 32)
        launch_tokens<DT_I4, 32, STAMPED>(job, stream);
    else
        launch_tokens<DT_I4, 128, STAMPED>(job, stream);
}

// NULL: there is none for these weights and inputs on this device. Blocks wait for each other: all of them must be on
// it at once.
template <bool STAMPED> static cuda_step_fn *find_step(enum dtype w, enum dtype x)
{
    if (cuda_attribute(cudaDevAttrComputeCapabilityMajor) != 9 || !cuda_attribute(cudaDevAttrCooperativeLaunch))
        return NULL;
    if (w == DT_BF16 && x == DT_BF16)
        return launch_tokens<DT_BF16, 0, STAMPED>;
    if (w == DT_F16 && x == DT_F16)
        return launch_tokens<DT_F16, 0, STAMPED>;
    if (w == DT_I8 && x == DT_I8)
        return launch_tokens<DT_I8, 0, STAMPED>;
    if (w == DT_F8E4M3 && x == DT_BF16)
        return launch_tokens<DT_F8E4M3, 0, STAMPED>;
    return w == DT_I4 && x == DT_BF16 ? launch_i4<STAMPED> : NULL;
}

} // namespace
