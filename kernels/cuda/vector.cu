// vector.cu - norms, casts, activations, residuals, soft caps and embeddings, with a block per row or a thread per
// element.
//
// Norms, activations and sums start early (launch.cuh). In a decode step they are short, and the next product requests
// its first weights meanwhile. A row that is needed twice stays in registers, as far as there is room.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"

namespace {

enum { LONG_THREADS = 1024 };

// ---- norms -----------------------------------------------------------------------------------------------

// The number of threads for a row of `count` quads.
int row_threads(int count)
{
    return min((int)LONG_THREADS, ceil_div(count, 32) * 32);
}

template <enum dtype T, int KEPT> __global__ void __launch_bounds__(LONG_THREADS) k_norm(const cuda_norm job)
{
    __shared__ float space[32];
    const row_out to = {job.out, job.order, (int)blockIdx.x, job.rows, job.n, job.padded, job.ldo};
    const bool weights_aligned = quads_aligned(job.weight);
    const auto weight_of = [&](int q) { return load_quad(job.weight, q, job.n, weights_aligned); };
    float4 weight[KEPT];
    next_may_start();
#pragma unroll
    for (int k = 0; k < KEPT; k++) // does not depend on earlier kernels
        weight[k] = job.weight ? weight_of(k * blockDim.x + threadIdx.x) : make_float4(0, 0, 0, 0);
    previous_wait();
    const int from = job.index ? job.index[to.row] : to.row;
    const float *x = job.x + (size_t)from * job.ldx;
    const bool aligned = quads_aligned(x);
    const auto load = [&](int q) { return load_quad(x, q, job.n, aligned); };
    thread_quads<KEPT, decltype(load)> row(row_quads(to), load);
    float mean = 0, sum = 0, factor = 1;
    if (job.weight && job.centered) {
        row.each([&](int, int, const float4 &v) { sum += (v.x + v.y) + (v.z + v.w); });
        mean = block_reduce(sum, space, plus()) / (float)job.n;
        sum = 0;
    }
    if (job.weight) {
        row.each([&](int q, int, const float4 &v) {
            const int left = job.n - 4 * q;
            const float a = left > 0 ? v.x - mean : 0, b = left > 1 ? v.y - mean : 0, c = left > 2 ? v.z - mean : 0,
                        d = left > 3 ? v.w - mean : 0;
            sum += (a * a + b * b) + (c * c + d * d);
        });
        sum = block_reduce(sum, space, plus());
        factor = 1.0f / sqrtf(sum / (float)job.n + job.eps);
    }
    store_row<T>(to, job.scale + to.row, space, row, [&](int q, int k, const float4 &v) {
        if (!job.weight)
            return v;
        const float4 w = k < KEPT ? weight[k] : weight_of(q);
        float4 y = make_float4((v.x - mean) * factor * w.x, (v.y - mean) * factor * w.y, (v.z - mean) * factor * w.z,
                               (v.w - mean) * factor * w.w);
        if (job.bias) {
            const float4 bias = load_quad(job.bias, q, job.n, quads_aligned(job.bias));
            y = make_float4(y.x + bias.x, y.y + bias.y, y.z + bias.z, y.w + bias.w);
        }
        return y;
    });
}

// Few rows of codes: one cluster of blocks per row, because the scale needs the whole row. A maximum, unlike a sum,
// does not depend on the order.
int row_blocks(int rows, int quads)
{
    const bool few = rows <= CUDA_FEW_TOKENS && quads > 512;
    return few && cuda_attribute(cudaDevAttrComputeCapabilityMajor) >= 9 ? 8 : 1;
}

template <enum dtype T> void launch_norm(const cuda_norm *job, void *stream)
{
    const int quads = ceil_div(job->padded, 4);
    const int blocks = type_is_coded(T) && !job->weight ? row_blocks(job->rows, quads) : 1;
    const int of_block = ceil_div(quads, blocks);
    const auto kernel = of_block <= LONG_THREADS ? k_norm<T, 1> : k_norm<T, 3>;
    launch_early_clusters(kernel, dim3(job->rows, blocks), dim3(1, blocks), row_threads(of_block), 0,
                          (cudaStream_t)stream, *job);
}

// ---- activations -----------------------------------------------------------------------------------------

// The activation of a quad.
struct activated_quad {
    enum kernel_op op;
    const float *gate, *up;
    int n;
    bool aligned;

    __device__ __forceinline__ float4 operator()(int q) const
    {
        const float4 u = load_quad(up, q, n, aligned);
        if (!gate)
            return make_float4(activated(op, u.x), activated(op, u.y), activated(op, u.z), activated(op, u.w));
        const float4 g = load_quad(gate, q, n, aligned);
        return make_float4(activated(op, g.x) * u.x, activated(op, g.y) * u.y, activated(op, g.z) * u.z,
                           activated(op, g.w) * u.w);
    }
};
__device__ __forceinline__ activated_quad activated_row(const cuda_activate &job, int row)
{
    const float *up = job.up + (size_t)row * job.ldx, *gate = job.gate ? job.gate + (size_t)row * job.ldx : NULL;
    return {job.op, gate, up, job.n, quads_aligned(up) && (!gate || quads_aligned(gate))};
}

// Each thread takes one quad.
template <enum dtype T> __global__ void __launch_bounds__(ROW_THREADS) k_activate(const cuda_activate job)
{
    next_may_start();
    previous_wait();
    const int row = blockIdx.x, q = blockIdx.y * ROW_THREADS + threadIdx.x;
    const row_out to = {job.out, job.order, row, job.rows, job.n, job.padded, job.ldo};
    if (q < row_quads(to))
        store_quad<T>(to, q, activated_row(job, row)(q));
}

// Codes: a block or a cluster takes one row, because the scale needs the whole row.
template <enum dtype T, int KEPT>
__global__ void __launch_bounds__(LONG_THREADS) k_activate_coded(const cuda_activate job)
{
    __shared__ float space[32];
    next_may_start();
    previous_wait();
    const row_out to = {job.out, job.order, (int)blockIdx.x, job.rows, job.n, job.padded, job.ldo};
    thread_quads<KEPT, activated_quad> row(row_quads(to), activated_row(job, to.row));
    store_row<T>(to, job.scale + to.row, space, row, [](int, int, const float4 &v) { return v; });
}

template <enum dtype T> void launch_activate(const cuda_activate *job, void *stream)
{
    launch_early(k_activate<T>, dim3(job->rows, ceil_div(ceil_div(job->padded, 4), ROW_THREADS)), ROW_THREADS, 0,
                 (cudaStream_t)stream, *job);
}

template <enum dtype T> void launch_activate_coded(const cuda_activate *job, void *stream)
{
    const int quads = ceil_div(job->padded, 4);
    const int blocks = row_blocks(job->rows, quads), of_block = ceil_div(quads, blocks);
    const auto kernel = of_block <= LONG_THREADS       ? k_activate_coded<T, 1>
                        : of_block <= 3 * LONG_THREADS ? k_activate_coded<T, 3>
                                                       : k_activate_coded<T, 7>;
    launch_early_clusters(kernel, dim3(job->rows, blocks), dim3(1, blocks), row_threads(of_block), 0,
                          (cudaStream_t)stream, *job);
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

// One element of a packed matrix, as cuda_unpack_row computes it on the host.
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
        v += plain_element(job.type,
                           (const char *)job.positions + (size_t)max(job.tokens[row].position, 0) * job.n * bytes, i);
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

extern "C" void k_norm_f32_f8e4m3_cuda(const struct cuda_norm *job, void *stream)
{
    launch_norm<DT_F8E4M3>(job, stream);
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
    launch_activate_coded<DT_I8>(job, stream);
}
extern "C" void k_activate_f32_f8e4m3_cuda(const struct cuda_activate *job, void *stream)
{
    launch_activate_coded<DT_F8E4M3>(job, stream);
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
