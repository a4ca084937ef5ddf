// library.cu - what products by a library need: weights unpacked into plain rows, and the end of a sum that it leaves.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/library.h"

namespace {

enum { RUN = 16, THREADS = 256 };

// A thread copies a run of 16 elements. The runs of a row are neighbours, so that stores are whole lines.
__global__ void __launch_bounds__(THREADS) k_unpack(const cuda_unpack job, int runs)
{
    const cuda_layout &l = job.layout;
    const long long i = (long long)blockIdx.x * THREADS + threadIdx.x;
    const int row = (int)(i / runs), col0 = (int)(i % runs) * RUN, bytes = cuda_element_bytes(l.type);
    if (row >= l.rows)
        return;
    const int local = row % CUDA_TILE_ROWS;
    const unsigned char *tile = (const unsigned char *)job.w + (size_t)(row / CUDA_TILE_ROWS) * l.tile_bytes;
    __align__(16) unsigned char space[RUN * 2];
    int shift;
#pragma unroll
    for (int e = 0; e < RUN; e++) {
        const unsigned char *from = tile + cuda_element_at(&l, local, col0 + e, &shift);
        if (bytes == 2)
            *(unsigned short *)(space + 2 * e) = *(const unsigned short *)from;
        else
            space[e] = *from;
    }
    unsigned char *to = (unsigned char *)job.rows + ((size_t)row * job.ld + col0) * bytes;
    *(uint4 *)to = *(const uint4 *)space;
    if (bytes == 2)
        *(uint4 *)(to + 16) = *(const uint4 *)(space + 16);
    if (job.scales && col0 == 0)
        job.scales[row] = ((const float *)tile)[local];
}

// A block finishes THREADS sums of one token, with the roundings of finish_sum (fragments.cuh): int8 products by a
// library have the bits of this program's own.
template <bool WHOLE> __global__ void __launch_bounds__(THREADS) k_finish(const cuda_finish job)
{
    const int row = blockIdx.x * THREADS + threadIdx.x, token = blockIdx.y;
    previous_wait();
    if (row >= job.rows)
        return;
    float *y = job.y + (size_t)token * job.ldy + row;
    float v = 0;
    if (job.sums) {
        const size_t i = (size_t)token * job.lds + row;
        v = WHOLE ? (float)__ldcg((const int *)job.sums + i) : __ldcg((const float *)job.sums + i);
        v = __fmul_rn(__fmul_rn(v, job.w_scale[row]), job.x_scale[token]);
    }
    if (job.bias)
        v = __fadd_rn(v, job.bias[row]);
    *y = job.accumulate ? __fadd_rn(*y, v) : v;
}

void cuda_unpack_rows(const struct cuda_unpack *job, void *stream)
{
    const int runs = (int)(job->ld / RUN);
    const long long all = (long long)job->layout.rows * runs;
    k_unpack<<<(unsigned)((all + THREADS - 1) / THREADS), THREADS, 0, (cudaStream_t)stream>>>(*job, runs);
    cuda_launched();
}

void cuda_finish_sums(const struct cuda_finish *job, void *stream)
{
    const dim3 grid(ceil_div(job->rows, THREADS), job->tokens);
    launch_early(job->whole ? k_finish<true> : k_finish<false>, grid, THREADS, 0, (cudaStream_t)stream, *job);
}

} // namespace

extern "C" const struct cuda_library_kernels *cuda_library_kernels(void)
{
    static const struct cuda_library_kernels kernels = {cuda_unpack_rows, cuda_finish_sums};
    return &kernels;
}
