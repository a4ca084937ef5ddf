// sample.cu - draws ids from logits with the filters and streams of engine/model/sampler.c, and counts non-finite
// logits. Each sequence has one block.
//
// Nothing is sorted. Candidates are ordered by falling logits, and ties by rising ids. Each step looks for the first
// candidate at which a running sum exceeds a target. Top-k sums ones; top-p and the draw sum weights. The candidate is
// found digit by digit of a 64-bit key: each pass adds up a histogram of 256 bins. Sums are integers, so they are exact
// and the same in any order.
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"

namespace {

enum { THREADS = 1024, BINS = 256, DIGITS = 8 };
typedef unsigned long long u64;

// splitmix64, as in base/rng.h for the host.
__device__ __forceinline__ u64 hash(u64 counter)
{
    u64 z = counter + 0x9e3779b97f4a7c15ull;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}
__device__ __forceinline__ u64 draw(u64 *state)
{
    const u64 value = hash(*state);
    *state += 0x9e3779b97f4a7c15ull;
    return value;
}

// A key that falls along the order of candidates: the greatest key is the first candidate.
__device__ __forceinline__ u64 key_of(float logit, int id)
{
    const uint32_t bits = __float_as_uint(logit == 0 ? 0.0f : logit);
    const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
    return (u64)ordered << 32 | (uint32_t)~id;
}

struct candidates {
    const float *logits;
    const u64 *weights; // in units of 2^-40 of the largest weight
    int vocab;
    u64 least; // only keys from this one up are candidates
};

// The key of the first candidate at which the sum, of ones or of weights, exceeds `target`, or of the last candidate if
// none does. *before: the sum ahead of it. Called by all threads. bins: BINS words of shared memory.
__device__ u64 first_past(const candidates &c, bool ones, u64 target, u64 *before, u64 *bins)
{
    __shared__ u64 found_prefix, found_sum;
    u64 prefix = 0, ahead = 0;
    for (int digit = 0; digit < DIGITS; digit++) {
        const int shift = 56 - 8 * digit;
        for (int i = threadIdx.x; i < BINS; i += THREADS)
            bins[i] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < c.vocab; i += THREADS) {
            const u64 key = key_of(c.logits[i], i);
            if (key >= c.least && (digit == 0 || key >> (shift + 8) == prefix))
                atomicAdd(&bins[key >> shift & 255], ones ? 1ull : c.weights[i]);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            int bin = BINS - 1, last = -1;
            u64 sum = ahead;
            for (; bin >= 0; bin--) {
                if (bins[bin])
                    last = bin;
                if (sum + bins[bin] > target)
                    break;
                sum += bins[bin];
            }
            if (bin < 0) { // the sum never exceeds the target: the last nonempty bin
                bin = last;
                sum -= bins[bin];
            }
            found_prefix = prefix << 8 | (u64)bin;
            found_sum = sum;
        }
        __syncthreads();
        prefix = found_prefix;
        ahead = found_sum;
    }
    *before = ahead;
    return prefix;
}

// Sum of the candidates' weights.
__device__ u64 weight_of(const candidates &c, u64 *space)
{
    u64 sum = 0;
    for (int i = threadIdx.x; i < c.vocab; i += THREADS)
        if (key_of(c.logits[i], i) >= c.least)
            sum += c.weights[i];
    __syncthreads();
    if (threadIdx.x == 0)
        *space = 0;
    __syncthreads();
    atomicAdd(space, sum);
    __syncthreads();
    sum = *space;
    __syncthreads(); // the caller may use the space again
    return sum;
}

// of * share, rounded down. It is less than `of` where share is below 1.
__device__ __forceinline__ u64 share_of(u64 of, double share)
{
    return (u64)((double)of * share);
}

__device__ int drawn(const cuda_sample &job, const float *logits, u64 *weights, float max, double u, u64 *bins)
{
    candidates c = {logits, weights, job.vocab, 0};
    for (int i = threadIdx.x; i < job.vocab; i += THREADS)
        weights[i] = (u64)(exp(((double)logits[i] - (double)max) / (double)job.temperature) * 0x1p40);
    __syncthreads();
    u64 before;
    const bool all = job.top_k == 0 && job.top_p >= 1;
    if (job.top_k && job.top_k < job.vocab)
        c.least = first_past(c, true, (u64)job.top_k - 1, &before, bins);
    u64 total = weight_of(c, bins);
    if (all) { // draws in the order of ids
        __shared__ int id;
        if (threadIdx.x == 0) {
            const u64 target = share_of(total, u);
            u64 reached = 0;
            id = 0;
            for (int i = 0; i < job.vocab && reached <= target; i++)
                if (weights[i]) {
                    id = i;
                    reached += weights[i];
                }
        }
        __syncthreads();
        return id;
    }
    if (job.top_p < 1) { // the smallest set with a sum of at least top_p ends at the first candidate that reaches it
        const double wanted = (double)total * (double)job.top_p;
        const u64 least = (u64)ceil(wanted);
        c.least = first_past(c, false, least ? least - 1 : 0, &before, bins);
        total = weight_of(c, bins);
    }
    const u64 key = first_past(c, false, share_of(total, u), &before, bins);
    return (int)~(uint32_t)key;
}

__global__ void __launch_bounds__(THREADS) k_sample(const cuda_sample job)
{
    __shared__ u64 bins[BINS];
    __shared__ u64 best;
    __shared__ int odd[3]; // NaN, minus infinity, plus infinity
    const int row = blockIdx.x;
    const float *logits = job.logits + (size_t)row * job.vocab;
    if (threadIdx.x < 3)
        odd[threadIdx.x] = 0;
    if (threadIdx.x == 0)
        best = 0;
    __syncthreads();
    u64 mine = 0;
    for (int i = threadIdx.x; i < job.vocab; i += THREADS) {
        const float v = logits[i];
        if (v != v)
            atomicAdd(&odd[0], 1);
        else if (isinf(v))
            atomicAdd(&odd[v < 0 ? 1 : 2], 1);
        const u64 key = key_of(v, i);
        mine = v == v && key > mine ? key : mine;
    }
    atomicMax(&best, mine);
    __syncthreads();
    const int bad = odd[0] + odd[1] + odd[2];
    if (threadIdx.x == 0 && bad)
        atomicAdd(job.nonfinite, (u64)bad);
    const int greedy = (int)~(uint32_t)best, sequence = job.sequence[row];
    int id = sequence < 0 || odd[0] || bad == job.vocab ? -1 : greedy; // as sampler_next: a NaN, or no finite logit
    if (id >= 0 && job.temperature > 0) {
        __shared__ double u;
        if (threadIdx.x == 0)
            u = (double)(draw((u64 *)&job.streams[sequence]) >> 11) * 0x1p-53;
        __syncthreads();
        if (!isinf(logits[greedy]))
            id = drawn(job, logits, (u64 *)job.scratch + (size_t)sequence * job.vocab, logits[greedy], u, bins);
    }
    if (threadIdx.x == 0)
        job.id[row] = id;
}

} // namespace

extern "C" void k_sample_f32_f32_cuda(const struct cuda_sample *job, void *stream)
{
    k_sample<<<job->rows, THREADS, 0, (cudaStream_t)stream>>>(*job);
    cuda_launched();
}
