// linear.cu - the launchers of all products, and the f32 product: plain arithmetic in tiles of shared memory.
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/variants.h"

namespace {

enum { F32_TILE = 64, F32_DEPTH = 16, F32_THREADS = 256, F32_EACH = 4 };

__device__ __forceinline__ void put_sum(const linear_out &out, int row, int token, float sum)
{
    if (row >= out.rows || token >= out.tokens)
        return;
    float *y = out.y + (size_t)token * out.ldy + row;
    const sum_factors by = {1, 1, out.bias ? out.bias[row] : 0, out.accumulate ? __ldcg(y) : 0};
    *y = finish_sum<DT_F32>(out, sum, by);
}

// A block computes 64 rows by 64 tokens, a thread 4 by 4. Each element is one sum, over inputs in rising order.
__global__ void __launch_bounds__(F32_THREADS) k_f32(const linear_out out, const float *x, size_t ldx, int cols)
{
    __shared__ float ws[F32_DEPTH][F32_TILE + 4], xs[F32_DEPTH][F32_TILE + 4];
    const float *w = reinterpret_cast<const float *>(out.w);
    const int row0 = blockIdx.x * F32_TILE, token0 = blockIdx.y * F32_TILE;
    const int ty = threadIdx.x / 16, tx = threadIdx.x % 16;
    float acc[F32_EACH][F32_EACH] = {};
    previous_wait();
    for (int c = 0; c < cols; c += F32_DEPTH) {
        for (int i = threadIdx.x; i < F32_TILE * F32_DEPTH; i += F32_THREADS) {
            int line = i / F32_DEPTH, col = i % F32_DEPTH;
            ws[col][line] = row0 + line < out.rows ? w[(size_t)(row0 + line) * cols + c + col] : 0;
            xs[col][line] = token0 + line < out.tokens ? x[(size_t)(token0 + line) * ldx + c + col] : 0;
        }
        __syncthreads();
#pragma unroll
        for (int k = 0; k < F32_DEPTH; k++)
#pragma unroll
            for (int i = 0; i < F32_EACH; i++)
#pragma unroll
                for (int j = 0; j < F32_EACH; j++)
                    acc[i][j] = fmaf(ws[k][tx + 16 * j], xs[k][ty * F32_EACH + i], acc[i][j]);
        __syncthreads();
    }
    next_may_start(); // not earlier: two products side by side take longer than one after the other
#pragma unroll
    for (int i = 0; i < F32_EACH; i++)
#pragma unroll
        for (int j = 0; j < F32_EACH; j++)
            put_sum(out, row0 + tx + 16 * j, token0 + ty * F32_EACH + i, acc[i][j]);
}

template <enum dtype T> void linear_any(const struct cuda_linear *job, void *stream)
{
    if (job->tokens <= CUDA_FEW_TOKENS)
        cuda_linear_few<T>(job, (cudaStream_t)stream);
    else if (cuda_has_wgmma())
        cuda_linear_wide<T>(job, (cudaStream_t)stream);
    else
        cuda_linear_many<T>(job, (cudaStream_t)stream);
}

} // namespace

extern "C" void k_linear_f32_f32_cuda(const struct cuda_linear *job, void *stream)
{
    const dim3 grid(ceil_div(job->layout.rows, F32_TILE), ceil_div(job->tokens, F32_TILE));
    launch_early(k_f32, grid, F32_THREADS, 0, (cudaStream_t)stream, linear_out_of(job), (const float *)job->x, job->ldx,
                 job->layout.units * CUDA_UNIT_COLS);
}

extern "C" void k_linear_bf16_bf16_cuda(const struct cuda_linear *job, void *stream)
{
    linear_any<DT_BF16>(job, stream);
}

extern "C" void k_linear_f16_f16_cuda(const struct cuda_linear *job, void *stream)
{
    linear_any<DT_F16>(job, stream);
}

extern "C" void k_linear_i8_i8_cuda(const struct cuda_linear *job, void *stream)
{
    linear_any<DT_I8>(job, stream);
}

extern "C" void k_linear_f8e4m3_bf16_cuda(const struct cuda_linear *job, void *stream)
{
    linear_any<DT_F8E4M3>(job, stream);
}

extern "C" void k_linear_f8e4m3_f8e4m3_cuda(const struct cuda_linear *job, void *stream)
{
    linear_any<F8_BY_F8>(job, stream);
}

extern "C" void k_linear_i4_bf16_cuda(const struct cuda_linear *job, void *stream)
{
    linear_any<DT_I4>(job, stream);
}

extern "C" void k_linear_i8g_bf16_cuda(const struct cuda_linear *job, void *stream)
{
    linear_any<DT_I8G>(job, stream);
}
