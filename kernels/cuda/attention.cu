// attention.cu - picks the kernel for an attention job: tensor cores where the type of the cache and the size of a head
// allow them, else plain f32 arithmetic.
#include "kernels/cuda/attention.cuh"

// Tensor cores need cache rows of whole 16-byte vectors and accumulators that fit the registers.
static bool attention_fits(const struct cuda_attention *job)
{
    return job->kv.head_dim <= 256 && job->kv.head_dim * cuda_element_bytes(job->kv.type) % 16 == 0 &&
           job->kv.head_dim % 8 == 0 && job->ld % 4 == 0;
}

template <enum dtype KV> static void attend(const struct cuda_attention *job, void *stream)
{
    if (!attention_fits(job))
        cuda_attend_plain<KV>(job, (cudaStream_t)stream);
    else if (job->single)
        cuda_attend_decode<KV>(job, (cudaStream_t)stream);
    else if (!cuda_attend_wgmma<KV>(job, (cudaStream_t)stream))
        cuda_attend_prefill<KV>(job, (cudaStream_t)stream);
}

extern "C" void k_attention_f32_f32_cuda(const struct cuda_attention *job, void *stream)
{
    cuda_attend_plain<DT_F32>(job, (cudaStream_t)stream);
}
extern "C" void k_attention_bf16_f32_cuda(const struct cuda_attention *job, void *stream)
{
    attend<DT_BF16>(job, stream);
}
extern "C" void k_attention_f16_f32_cuda(const struct cuda_attention *job, void *stream)
{
    attend<DT_F16>(job, stream);
}
extern "C" void k_attention_i8_f32_cuda(const struct cuda_attention *job, void *stream)
{
    attend<DT_I8>(job, stream);
}
extern "C" void k_attention_f8e4m3_f32_cuda(const struct cuda_attention *job, void *stream)
{
    attend<DT_F8E4M3>(job, stream);
}
