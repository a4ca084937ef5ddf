// vector.cu - norms, casts, activations, residuals, soft caps, embeddings and gathers: a block a row, or an element a
// thread. Each reads and writes its rows once, but for int8 outputs, whose scale needs the whole row first.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"

namespace {

// ---- norms -----------------------------------------------------------------------------------------------

template <enum dtype T> __global__ void __launch_bounds__(ROW_THREADS) k_norm(const cuda_norm job)
{
    __shared__ float space[32];
    const int row = blockIdx.x, from = job.index ? job.index[row] : row;
    const float *x = job.x + (size_t)from * job.ldx;
    float mean = 0, sum = 0, factor = 1;
    if (job.weight) {
        if (job.centered) {
            for (int i = threadIdx.x; i < job.n; i += blockDim.x)
                mean += x[i];
            mean = block_reduce(mean, space, plus()) / (float)job.n;
        }
        for (int i = threadIdx.x; i < job.n; i += blockDim.x)
            sum += (x[i] - mean) * (x[i] - mean);
        factor = 1.0f / sqrtf(block_reduce(sum, space, plus()) / (float)job.n + job.eps);
    }
    store_row<T>(job.out, (size_t)row * job.ldo, job.scale + row, job.n, job.padded, space, [&](int i) {
        if (!job.weight)
            return x[i];
        float v = (x[i] - mean) * factor * job.weight[i];
        return job.bias ? v + job.bias[i] : v;
    });
}

template <enum dtype T> void launch_norm(const cuda_norm *job, void *stream)
{
    k_norm<T><<<job->rows, ROW_THREADS, 0, (cudaStream_t)stream>>>(*job);
    cuda_launched();
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

// Where each element stands for itself the row is cut over blocks; int8's scale needs it whole.
template <enum dtype T> __global__ void __launch_bounds__(ROW_THREADS) k_activate(const cuda_activate job)
{
    __shared__ float space[32];
    const int row = blockIdx.x, begin = T == DT_I8 ? 0 : blockIdx.y * ROW_THREADS * 4;
    const int padded = T == DT_I8 ? job.padded : min(job.padded - begin, ROW_THREADS * 4);
    const float *up = job.up + (size_t)row * job.ldx + begin;
    const float *gate = job.gate ? job.gate + (size_t)row * job.ldx + begin : NULL;
    store_row<T>(job.out, (size_t)row * job.ldo + begin, job.scale + row, job.n - begin, padded, space, [&](int i) {
        return gate ? activated(job.op, gate[i]) * up[i] : activated(job.op, up[i]);
    });
}

template <enum dtype T> void launch_activate(const cuda_activate *job, void *stream)
{
    const dim3 grid(job->rows, T == DT_I8 ? 1 : ceil_div(job->padded, ROW_THREADS * 4));
    k_activate<T><<<grid, ROW_THREADS, 0, (cudaStream_t)stream>>>(*job);
    cuda_launched();
}

// ---- residual, caps, gathers -----------------------------------------------------------------------------

__global__ void k_add(const cuda_add job)
{
    const int i = blockIdx.x * blockDim.x + threadIdx.x, row = blockIdx.y;
    if (i >= job.n)
        return;
    const float y = job.y[(size_t)row * job.ldy + i];
    float *x = job.x + (size_t)(job.index ? job.index[row] : row) * job.ldx + i;
    *x += job.share ? job.share[row] * y : y;
}

__global__ void k_softcap(const cuda_softcap job)
{
    const size_t i = (size_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < job.n)
        job.y[i] = job.cap * tanhf(job.y[i] / job.cap);
}

__global__ void k_gather(const cuda_gather job)
{
    const int row = blockIdx.x, from = job.index[row];
    const uint32_t *x = (const uint32_t *)((const char *)job.x + (size_t)from * job.bytes);
    uint32_t *out = (uint32_t *)((char *)job.out + (size_t)row * job.bytes);
    for (size_t i = threadIdx.x; i < job.bytes / 4; i += blockDim.x)
        out[i] = x[i];
    if (job.scale && threadIdx.x == 0)
        job.out_scale[row] = job.scale[from];
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
    k_add<<<dim3(ceil_div(job->n, ROW_THREADS), job->rows), ROW_THREADS, 0, (cudaStream_t)stream>>>(*job);
    cuda_launched();
}

extern "C" void k_softcap_f32_f32_cuda(const struct cuda_softcap *job, void *stream)
{
    const unsigned blocks = (unsigned)((job->n + ROW_THREADS - 1) / ROW_THREADS);
    k_softcap<<<blocks, ROW_THREADS, 0, (cudaStream_t)stream>>>(*job);
    cuda_launched();
}

extern "C" void k_gather_f32_f32_cuda(const struct cuda_gather *job, void *stream)
{
    k_gather<<<job->rows, ROW_THREADS, 0, (cudaStream_t)stream>>>(*job);
    cuda_launched();
}

extern "C" void k_embed_f32_f32_cuda(const struct cuda_embed *job, void *stream)
{
    k_embed<<<dim3(ceil_div(job->n, ROW_THREADS), job->rows), ROW_THREADS, 0, (cudaStream_t)stream>>>(*job);
    cuda_launched();
}
