// attention_rotate.cu - rotation of q, k and v with KV append, for any type of cache and size of head.
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"

namespace {

enum { THREADS = 128, MOST_DIM = CUDA_MOST_HEAD_DIM };

template <enum dtype KV>
__device__ void append(const cuda_kv &kv, const float *row, int sequence, int position, int head, int values,
                       float *space)
{
    unsigned char *block = head_block(kv, sequence, head, values);
    const size_t at = (size_t)position * kv.head_dim;
    if constexpr (type_is_coded(KV)) {
        float largest = 0;
        for (int i = threadIdx.x; i < kv.head_dim; i += blockDim.x)
            largest = most()(fabsf(row[i]), largest);
        const float s = scale_of(block_reduce(largest, space, most()), top_of(KV));
        if (threadIdx.x == 0)
            ((float *)(block + kv.scales_offset))[position] = s;
        for (int i = threadIdx.x; i < kv.head_dim; i += blockDim.x)
            store_element<KV>(block, at + i, coded<KV>(row[i], s));
    } else {
        for (int i = threadIdx.x; i < kv.head_dim; i += blockDim.x)
            store_element<KV>(block, at + i, row[i]);
    }
}

// A block is one head of one token: the heads of q, then of k, then of v.
template <enum dtype KV> __global__ void __launch_bounds__(THREADS) k_rotate(const cuda_rotate job)
{
    __shared__ float row[MOST_DIM], space[32];
    const int head = blockIdx.x, n = job.kv.head_dim, half = job.rotary / 2;
    next_may_start();
    previous_wait();
    const cuda_token token = job.tokens[blockIdx.y];
    if (token.position < 0)
        return;
    float *x = job.qkv + (size_t)blockIdx.y * job.ld + (size_t)head * n;
    const int kind = head < job.heads ? 0 : head < job.heads + job.kv.kv_heads ? 1 : 2;
    const float *norm = kind == 0 ? job.q_norm : kind == 1 ? job.k_norm : NULL;
    float sum = 0, factor = 1;
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
        float v = x[i];
        if (job.clip != 0)
            v = v < -job.clip ? -job.clip : v > job.clip ? job.clip : v;
        row[i] = v;
        sum += v * v;
    }
    if (norm) {
        factor = 1.0f / sqrtf(block_reduce(sum, space, plus()) / (float)n + job.eps);
        for (int i = threadIdx.x; i < n; i += blockDim.x)
            row[i] *= factor * norm[i];
    }
    __syncthreads();
    if (kind < 2 && half) {
        const float *cosine = job.cos + (size_t)token.position * half, *sine = job.sin + (size_t)token.position * half;
        for (int i = threadIdx.x; i < half; i += blockDim.x) {
            const int a = job.interleaved ? 2 * i : i, b = job.interleaved ? 2 * i + 1 : i + half;
            const float p = row[a], q = row[b];
            row[a] = p * cosine[i] - q * sine[i];
            row[b] = p * sine[i] + q * cosine[i];
        }
        __syncthreads();
    }
    for (int i = threadIdx.x; i < n; i += blockDim.x)
        x[i] = row[i];
    if (kind)
        append<KV>(job.kv, row, token.sequence, token.position, head - job.heads - (kind - 1) * job.kv.kv_heads,
                   kind - 1, space);
}

template <enum dtype KV> void launch_rotate(const cuda_rotate *job, cudaStream_t stream)
{
    launch_early(k_rotate<KV>, dim3(job->heads + 2 * job->kv.kv_heads, job->rows), THREADS, 0, stream, *job);
}

} // namespace

extern "C" void k_rotate_f32_f32_cuda(const struct cuda_rotate *job, void *stream)
{
    switch (job->kv.type) {
    case DT_BF16:
        launch_rotate<DT_BF16>(job, (cudaStream_t)stream);
        break;
    case DT_F16:
        launch_rotate<DT_F16>(job, (cudaStream_t)stream);
        break;
    case DT_I8:
        launch_rotate<DT_I8>(job, (cudaStream_t)stream);
        break;
    case DT_F8E4M3:
        launch_rotate<DT_F8E4M3>(job, (cudaStream_t)stream);
        break;
    default:
        launch_rotate<DT_F32>(job, (cudaStream_t)stream);
    }
}
