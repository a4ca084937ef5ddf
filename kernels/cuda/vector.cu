// vector.cu - norms, casts, activations, residuals, soft caps and embeddings: a block a row, or an element a thread.
//
// Norms, activations and sums start early (launch.cuh): in a decode step they are short, and the product behind
// them requests its first weights meanwhile. A row that is needed twice is kept in shared memory where it fits.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"

namespace {

enum { LONG_THREADS = 1024, KEPT_FLOATS = 11 * 1024 };

// ---- norms -----------------------------------------------------------------------------------------------

// x[0 .. n) of a row, kept in shared memory where `kept` has room; sums are those of each thread, over four
// elements at a time where rows allow it: the order is the same wherever the row is read from.
template <typename EACH>
__device__ __forceinline__ void for_row(const float *x, int n, EACH each)
{
    if ((reinterpret_cast<size_t>(x) | (size_t)n * 4) % 16 == 0) {
        for (int i = threadIdx.x * 4; i < n; i += blockDim.x * 4) {
            const float4 v = __ldcg(reinterpret_cast<const float4 *>(x + i));
            each(i, v.x);
            each(i + 1, v.y);
            each(i + 2, v.z);
            each(i + 3, v.w);
        }
        return;
    }
    for (int i = threadIdx.x * 4; i < n; i += blockDim.x * 4)
        for (int j = i; j < min(i + 4, n); j++)
            each(j, __ldcg(x + j));
}

template <enum dtype T> __global__ void __launch_bounds__(LONG_THREADS) k_norm(const cuda_norm job)
{
    extern __shared__ __align__(16) float kept[];
    __shared__ float space[32];
    next_may_start();
    previous_wait();
    const int row = blockIdx.x, from = job.index ? job.index[row] : row;
    const float *x = job.x + (size_t)from * job.ldx;
    const bool keeps = job.n <= KEPT_FLOATS;
    float mean = 0, sum = 0, factor = 1;
    for_row(x, job.n, [&](int i, float v) {
        if (keeps)
            kept[i] = v;
        sum += job.centered ? v : v * v;
    });
    const float *line = keeps ? kept : x;
    if (job.weight) {
        sum = block_reduce(sum, space, plus());
        if (job.centered) {
            mean = sum / (float)job.n;
            sum = 0;
            for_row(x, job.n, [&](int, float v) { sum += (v - mean) * (v - mean); });
            sum = block_reduce(sum, space, plus());
        }
        factor = 1.0f / sqrtf(sum / (float)job.n + job.eps);
    }
    __syncthreads(); // the row is kept; where it is written in place, it has been read
    const row_out to = {job.out, job.order, row, job.rows, job.n, job.padded, job.ldo};
    store_row<T>(to, job.scale + row, space, [&](int i) {
        if (!job.weight)
            return line[i];
        float v = (line[i] - mean) * factor * job.weight[i];
        return job.bias ? v + job.bias[i] : v;
    });
}

template <enum dtype T> void launch_norm(const cuda_norm *job, void *stream)
{
    const int kept = job->n <= KEPT_FLOATS ? job->n * 4 : 0;
    launch_early(k_norm<T>, dim3(job->rows), job->n >= 2048 ? (int)LONG_THREADS : (int)ROW_THREADS, kept,
                 (cudaStream_t)stream, *job);
}

// ---- activations -----------------------------------------------------------------------------------------

__device__ __forceinline__ float activated(enum kernel_op op, float x)
{
    switch (op) {
    case KOP_GELU:
        return x * normcdff(x);
    case KOP_GELU_TANH:
        // x (1 + tanh(z)) / 2 = x / (1 + exp(-2 z)): 1 + tanh(z) would lose all digits far below zero.
        return x / (1.0f + expf(-1.5957691216057308f * (x + 0.044715f * x * x * x)));
    case KOP_RELU:
        return fmaxf(x, 0.0f);
    default:
        return x / (1.0f + expf(-x));
    }
}

enum { RUN_COLS = 1024 }; // of a block, where each element stands for itself

template <enum dtype T> __global__ void __launch_bounds__(ROW_THREADS) k_activate(const cuda_activate job)
{
    next_may_start();
    previous_wait();
    const int row = blockIdx.x, begin = blockIdx.y * RUN_COLS, end = min(begin + RUN_COLS, job.padded);
    const float *up = job.up + (size_t)row * job.ldx;
    const float *gate = job.gate ? job.gate + (size_t)row * job.ldx : NULL;
    const row_out to = {job.out, job.order, row, job.rows, job.n, job.padded, job.ldo};
    store_run<T>(to, begin, end, [&](int i) {
        return gate ? activated(job.op, __ldcg(gate + i)) * __ldcg(up + i) : activated(job.op, __ldcg(up + i));
    });
}

// int8: the scale needs the whole row, which is kept in shared memory where it fits.
__global__ void __launch_bounds__(LONG_THREADS) k_activate_i8(const cuda_activate job, bool keeps)
{
    extern __shared__ __align__(16) float kept[];
    __shared__ float space[32];
    next_may_start();
    previous_wait();
    const int row = blockIdx.x;
    const float *up = job.up + (size_t)row * job.ldx;
    const float *gate = job.gate ? job.gate + (size_t)row * job.ldx : NULL;
    const auto value = [&](int i) {
        return gate ? activated(job.op, __ldcg(gate + i)) * __ldcg(up + i) : activated(job.op, __ldcg(up + i));
    };
    const row_out to = {job.out, job.order, row, job.rows, job.n, job.padded, job.ldo};
    if (!keeps) {
        store_row<DT_I8>(to, job.scale + row, space, value);
        return;
    }
#pragma unroll 4
    for (int i = threadIdx.x; i < job.n; i += blockDim.x)
        kept[i] = value(i);
    __syncthreads();
    store_row<DT_I8>(to, job.scale + row, space, [&](int i) { return kept[i]; });
}

template <enum dtype T> void launch_activate(const cuda_activate *job, void *stream)
{
    launch_early(k_activate<T>, dim3(job->rows, ceil_div(job->padded, RUN_COLS)), ROW_THREADS, 0,
                 (cudaStream_t)stream, *job);
}

template <> void launch_activate<DT_I8>(const cuda_activate *job, void *stream)
{
    const int bytes = job->n * 4;
    const bool keeps = bytes + 1024 <= cuda_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
    if (keeps && bytes > 47 * 1024)
        cudaFuncSetAttribute(k_activate_i8, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    launch_early(k_activate_i8, dim3(job->rows), LONG_THREADS, keeps ? bytes : 0, (cudaStream_t)stream, *job, keeps);
}

// ---- residual and caps -----------------------------------------------------------------------------------

__global__ void k_add(const cuda_add job)
{
    next_may_start();
    previous_wait();
    const int i = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (i >= job.n)
        return;
    const float y = __ldcg(job.y + (size_t)row * job.ldy + i);
    float *x = job.x + (size_t)(job.index ? job.index[row] : row) * job.ldx + i;
    *x += job.share ? job.share[row] * y : y;
}

__global__ void k_softcap(const cuda_softcap job)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < job.n)
        job.y[i] = job.cap * tanhf(job.y[i] / job.cap);
}

// ---- embedding -------------------------------------------------------------------------------------------

__device__ __forceinline__ float plain_element(enum dtype type, const void *row, size_t i)
{
    if (type == DT_F32)
        return ((const float *)row)[i];
    if (type == DT_BF16)
        return __bfloat162float(((const __nv_bfloat16 *)row)[i]);
    return __half2float(((const __half *)row)[i]);
}

// Of a packed matrix: what cuda_unpack_row does on the host.
__device__ float packed_element(const cuda_layout &l, const unsigned char *packed, int row, int col)
{
    int shift;
    const unsigned char *tile = packed + (size_t)(row / CUDA_TILE_ROWS) * l.tile_bytes;
    const unsigned char *at = tile + cuda_element_at(&l, row % CUDA_TILE_ROWS, col, &shift);
    if (l.type == DT_I4) {
        const __half2 pair = *(const __half2 *)(tile + cuda_group_at(&l, row % CUDA_TILE_ROWS, col));
        return ((float)(*at >> shift & 15) - __high2float(pair)) * __low2float(pair);
    }
    if (l.type != DT_I8 && l.type != DT_F8E4M3)
        return plain_element(l.type, at, 0);
    const float code = l.type == DT_I8 ? (float)(signed char)*at
                                       : __half2float(__half(__nv_cvt_fp8_to_halfraw(*at, __NV_E4M3)));
    return code * ((const float *)tile)[row % CUDA_TILE_ROWS];
}

__global__ void k_embed(const cuda_embed job)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (i >= job.n)
        return;
    const int id = job.ids[row];
    const int bytes = cuda_element_bytes(job.type);
    float v = job.packed
                  ? packed_element(job.layout, (const unsigned char *)job.table, id, i)
                  : plain_element(job.type, (const char *)job.table + (size_t)id * job.n * bytes, i);
    if (job.scale != 0)
        v *= job.scale;
    if (job.positions)
        v += plain_element(job.type, (const char *)job.positions + (size_t)max(job.tokens[row].position, 0) * job.n * bytes,
                           i);
    job.x[(size_t)row * job.ldx + i] = v;
}

} // namespace

extern "C" void k_norm_f32_f32_cuda(const struct cuda_norm *job, void *stream)
{
    launch_norm<DT_F32>(job, stream);
}
extern "C" void k_norm_f32_bf16_cuda(const struct cuda_norm *job, void *stream)
{
    launch_norm<DT_BF16>(job, stream);
}
extern "C" void k_norm_f32_f16_cuda(const struct cuda_norm *job, void *stream)
{
    launch_norm<DT_F16>(job, stream);
}
extern "C" void k_norm_f32_i8_cuda(const struct cuda_norm *job, void *stream)
{
    launch_norm<DT_I8>(job, stream);
}

extern "C" void k_activate_f32_f32_cuda(const struct cuda_activate *job, void *stream)
{
    launch_activate<DT_F32>(job, stream);
}
extern "C" void k_activate_f32_bf16_cuda(const struct cuda_activate *job, void *stream)
{
    launch_activate<DT_BF16>(job, stream);
}
extern "C" void k_activate_f32_f16_cuda(const struct cuda_activate *job, void *stream)
{
    launch_activate<DT_F16>(job, stream);
}
extern "C" void k_activate_f32_i8_cuda(const struct cuda_activate *job, void *stream)
{
    launch_activate<DT_I8>(job, stream);
}

extern "C" void k_add_f32_f32_cuda(const struct cuda_add *job, void *stream)
{
    launch_early(k_add, dim3(ceil_div(job->n, ROW_THREADS), job->rows), ROW_THREADS, 0, (cudaStream_t)stream, *job);
}

extern "C" void k_softcap_f32_f32_cuda(const struct cuda_softcap *job, void *stream)
{
    const unsigned blocks = (unsigned)((job->n + ROW_THREADS - 1) / ROW_THREADS);
    k_softcap<<<blocks, ROW_THREADS, 0, (cudaStream_t)stream>>>(*job);
    cuda_launched();
}

extern "C" void k_embed_f32_f32_cuda(const struct cuda_embed *job, void *stream)
{
    k_embed<<<dim3(ceil_div(job->n, ROW_THREADS), job->rows), ROW_THREADS, 0, (cudaStream_t)stream>>>(*job);
    cuda_launched();
}
