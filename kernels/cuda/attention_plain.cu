// attention_plain.cu - attention in f32 arithmetic, for any type of cache and size of head. It serves f32 caches and
// the sizes that the tensor cores do not.
//
// One block takes a run of query rows (tokens times the heads of a group) of one KV head. Keys pass through shared
// memory as f32, 64 at a time. A thread computes the scores of one key for all rows, then one element of all rows'
// outputs. Positions are cut into splits of 256 that begin at multiples of 256. In a decode step each split is a block
// of its own, which fills the chip, and a second launch merges them. In a chunk one block goes through all splits. Both
// do the same operations in the same order for a row, so a token's bits are the same.
// Source: Dao et al. 2023 (flash decoding), Milakov and Gimelshein 2018 (online softmax)
#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/launch.cuh"

namespace {

enum { THREADS = 128, MOST_DIM = CUDA_MOST_HEAD_DIM };

template <enum dtype KV> struct cache_element;
template <> struct cache_element<DT_F32> {
    typedef float type;
    static __device__ float get(float v)
    {
        return v;
    }
};
template <> struct cache_element<DT_BF16> {
    typedef __nv_bfloat16 type;
    static __device__ float get(__nv_bfloat16 v)
    {
        return __bfloat162float(v);
    }
};
template <> struct cache_element<DT_F16> {
    typedef __half type;
    static __device__ float get(__half v)
    {
        return __half2float(v);
    }
};
template <> struct cache_element<DT_I8> {
    typedef signed char type;
    static __device__ float get(signed char v)
    {
        return (float)v;
    }
};
template <> struct cache_element<DT_F8E4M3> {
    typedef unsigned char type;
    static __device__ float get(unsigned char v)
    {
        return __half2float(__half(__nv_cvt_fp8_to_halfraw(v, __NV_E4M3)));
    }
};

// Loads 64 rows of K or V as f32 rows of `pitch`; rows from `count` on become zeros. A thread loads 4 elements at a
// time where the rows are aligned.
template <enum dtype KV>
__device__ __forceinline__ void load_rows(const cuda_kv &kv, const unsigned char *block, int first, int count,
                                          int pitch, float *to)
{
    typedef cache_element<KV> E;
    const int n = kv.head_dim;
    const typename E::type *from = (const typename E::type *)block + (size_t)first * n;
    const float *scale = type_is_coded(KV) ? (const float *)(block + kv.scales_offset) + first : NULL;
    if (n % 4) {
        for (int i = threadIdx.x; i < CUDA_KEYS * n; i += THREADS) {
            const int row = i / n, col = i % n;
            const float v = row < count ? E::get(from[(size_t)row * n + col]) : 0.0f;
            to[row * pitch + col] = scale && row < count ? v * scale[row] : v;
        }
        return;
    }
    struct __align__(4 * sizeof(typename E::type)) four {
        typename E::type v[4];
    };
    enum { FLIGHT = 8 }; // loads in flight before the first is stored
    const int line = n / 4, all = CUDA_KEYS * line;
    for (int begin = threadIdx.x; begin < all; begin += FLIGHT * THREADS) {
        four f[FLIGHT] = {};
        float s[FLIGHT];
#pragma unroll
        for (int j = 0; j < FLIGHT; j++) {
            const int i = begin + j * THREADS, row = i / line;
            s[j] = row < count && scale ? scale[row] : 1.0f;
            if (row < count)
                f[j] = *(const four *)(from + (size_t)i * 4);
        }
#pragma unroll
        for (int j = 0; j < FLIGHT; j++) {
            const int i = begin + j * THREADS, row = i / line, col = i % line * 4;
            if (i < all)
                *(float4 *)(to + row * pitch + col) =
                    make_float4(E::get(f[j].v[0]) * s[j], E::get(f[j].v[1]) * s[j],
                                E::get(f[j].v[2]) * s[j], E::get(f[j].v[3]) * s[j]);
        }
    }
}

// A split's partial result for one row: its maximum, and the sum of exp(score - maximum). Its outputs are not divided
// yet.
struct outcome {
    float max, sum;
};

// a x + b y, rounded the same way wherever it is inlined.
__device__ __forceinline__ float blend(float a, float x, float b, float y)
{
    return fmaf(b, y, __fmul_rn(a, x));
}

// Merges a split's result into that of the earlier splits. Their order matters only here.
__device__ __forceinline__ void merge(outcome &all, const outcome &split, float &keep, float &take)
{
    const float max = fmaxf(all.max, split.max);
    keep = all.max == -INFINITY ? 0.0f : expf(all.max - max);
    take = split.max == -INFINITY ? 0.0f : expf(split.max - max);
    all.sum = blend(all.sum, keep, split.sum, take);
    all.max = max;
}

// Rows of a block. Query row r of ROWS is token row0 + r / group of the pass, and head r % group of the KV head's,
// counted from `first`.
template <int ROWS> struct query_rows {
    int token[ROWS], head[ROWS], position[ROWS], begin[ROWS]; // begin: its first visible position
    int sequence, least, last;                                // [least, last]: visible positions of all rows
};

// In shared memory. q is (ROWS, pitch); keys and values share (CUDA_KEYS, pitch); scores are (CUDA_KEYS, ROWS).
template <int ROWS> struct attention_space {
    float *q, *kv, *scores;
    int pitch;
    float max[ROWS], sum[ROWS], factor[ROWS];
    query_rows<ROWS> rows;
};

__host__ __device__ inline int pitch_of(int head_dim)
{
    return (head_dim + 3) / 4 * 4 + 4; // 16-byte aligned rows that begin 4 banks apart
}

// Computes the scores of the block of keys at `first`. A thread takes one key and half of the rows.
template <int ROWS>
__device__ __forceinline__ void score_keys(const cuda_attention &job, attention_space<ROWS> &s, int first, int count)
{
    enum { EACH = ROWS > 1 ? ROWS / 2 : 1 };
    const int key = threadIdx.x % CUDA_KEYS, row0 = threadIdx.x / CUDA_KEYS * EACH, n = job.kv.head_dim;
    float dot[EACH] = {};
    if (row0 < ROWS) {
        const float *k = s.kv + key * s.pitch;
        for (int i = 0; i < n; i += 4) { // beyond n both are zeros
            const float4 a = *(const float4 *)(k + i);
#pragma unroll
            for (int r = 0; r < EACH; r++) {
                const float4 b = *(const float4 *)(s.q + (row0 + r) * s.pitch + i);
                dot[r] = fmaf(a.x, b.x, fmaf(a.y, b.y, fmaf(a.z, b.z, fmaf(a.w, b.w, dot[r]))));
            }
        }
#pragma unroll
        for (int r = 0; r < EACH; r++) {
            const int row = row0 + r, p = first + key, at = s.rows.position[row];
            float v = __fmul_rn(dot[r], job.scale);
            if (job.bias && key < count) {
                const float *bias = job.bias + (size_t)s.rows.head[row] * job.bias_stride;
                v = __fadd_rn(v, __fadd_rn(bias[p], -bias[at < 0 ? 0 : at]));
            }
            if (job.softcap != 0)
                v = __fmul_rn(job.softcap, tanhf(__fdiv_rn(v, job.softcap)));
            s.scores[key * ROWS + row] = key < count && p >= s.rows.begin[row] && p <= at ? v : -INFINITY;
        }
    }
    __syncthreads();
}

// Turns scores into weights and updates each row's maximum and sum. A warp takes every fourth row, a lane two keys.
template <int ROWS> __device__ __forceinline__ void weigh_keys(attention_space<ROWS> &s)
{
    const int lane = threadIdx.x % 32;
    for (int row = threadIdx.x / 32; row < ROWS; row += THREADS / 32) {
        const float a = s.scores[lane * ROWS + row], b = s.scores[(lane + 32) * ROWS + row];
        float max = fmaxf(a, b); // fmaxf ignores a NaN, but the sum becomes NaN
#pragma unroll
        for (int o = 16; o; o >>= 1)
            max = fmaxf(max, __shfl_xor_sync(~0u, max, o));
        const float before = s.max[row], now = fmaxf(before, max);
        const float wa = now == -INFINITY ? 0.0f : expf(a - now), wb = now == -INFINITY ? 0.0f : expf(b - now);
        float sum = wa + wb;
#pragma unroll
        for (int o = 16; o; o >>= 1)
            sum += __shfl_xor_sync(~0u, sum, o);
        s.scores[lane * ROWS + row] = wa;
        s.scores[(lane + 32) * ROWS + row] = wb;
        __syncwarp();
        if (lane == 0) {
            s.factor[row] = before == -INFINITY ? 0.0f : expf(before - now);
            s.sum[row] = fmaf(s.sum[row], s.factor[row], sum);
            s.max[row] = now;
        }
    }
    __syncthreads();
}

// out[d][row] = factor out + sum over keys of weight V[key][dim]. A thread takes dims threadIdx.x + 128 d.
template <int ROWS, int DIMS>
__device__ __forceinline__ void add_values(const cuda_attention &job, const attention_space<ROWS> &s,
                                           float (&out)[DIMS][ROWS])
{
#pragma unroll
    for (int d = 0; d < DIMS; d++) {
        const int dim = threadIdx.x + d * THREADS;
        if (dim >= job.kv.head_dim)
            break;
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            out[d][r] = __fmul_rn(out[d][r], s.factor[r]);
        for (int key = 0; key < CUDA_KEYS; key++) {
            const float v = s.kv[key * s.pitch + dim];
#pragma unroll
            for (int r = 0; r < ROWS; r++)
                out[d][r] = fmaf(s.scores[key * ROWS + r], v, out[d][r]);
        }
    }
}

// Computes one split for all rows of the block. On return out, s.max and s.sum are its partial result. DIMS: output
// elements per thread.
template <enum dtype KV, int ROWS, int DIMS>
__device__ void attend_split(const cuda_attention &job, attention_space<ROWS> &s, int head, int split,
                             float (&out)[DIMS][ROWS])
{
#pragma unroll
    for (int d = 0; d < DIMS; d++)
#pragma unroll
        for (int r = 0; r < ROWS; r++)
            out[d][r] = 0;
    if (threadIdx.x < ROWS) {
        s.max[threadIdx.x] = -INFINITY;
        s.sum[threadIdx.x] = 0;
    }
    __syncthreads();
    const unsigned char *keys = head_block(job.kv, s.rows.sequence, head, 0);
    const unsigned char *values = head_block(job.kv, s.rows.sequence, head, 1);
    const int end = min((split + 1) * CUDA_SPLIT, s.rows.last + 1);
    for (int first = split * CUDA_SPLIT; first < end; first += CUDA_KEYS) {
        if (first + CUDA_KEYS <= s.rows.least) // visible to none of the rows
            continue;
        const int count = min(CUDA_KEYS, end - first);
        load_rows<KV>(job.kv, keys, first, count, s.pitch, s.kv);
        __syncthreads();
        score_keys<ROWS>(job, s, first, count);
        load_rows<KV>(job.kv, values, first, count, s.pitch, s.kv);
        weigh_keys<ROWS>(s);
        add_values<ROWS, DIMS>(job, s, out);
        __syncthreads();
    }
}

// Fills the rows of the block and copies their queries. Returns false if no row belongs to a sequence.
template <int ROWS>
__device__ bool begin_rows(const cuda_attention &job, attention_space<ROWS> &s, int token0, int tokens, int head,
                           int first, int heads)
{
    const int group = job.heads / job.kv.kv_heads, n = job.kv.head_dim;
    if (threadIdx.x < ROWS) {
        const int r = threadIdx.x, t = r / heads, h = first + r % heads;
        const bool there = t < tokens && h < group;
        const cuda_token token = job.tokens[token0 + (there ? t : 0)];
        s.rows.token[r] = there ? token0 + t : -1;
        s.rows.head[r] = head * group + (there ? h : 0);
        s.rows.position[r] = there ? token.position : -1;
        s.rows.begin[r] = job.window ? max(0, token.position - job.window + 1) : 0;
    }
    if (threadIdx.x == 0) { // tokens of a run belong to one sequence and are in rising order
        const int to = job.tokens[token0].position, last = job.tokens[token0 + tokens - 1].position;
        s.rows.sequence = job.tokens[token0].sequence;
        s.rows.least = job.window ? max(0, to - job.window + 1) : 0;
        s.rows.last = last;
    }
    __syncthreads();
    for (int i = threadIdx.x; i < ROWS * s.pitch; i += THREADS) {
        const int r = i / s.pitch, c = i % s.pitch;
        s.q[i] = c < n && s.rows.token[r] >= 0
                     ? job.qkv[(size_t)s.rows.token[r] * job.ld + (size_t)s.rows.head[r] * n + c]
                     : 0.0f;
    }
    for (int i = threadIdx.x; i < CUDA_KEYS * s.pitch; i += THREADS)
        s.kv[i] = 0; // the padding up to the pitch stays zero
    __syncthreads();
    return s.rows.last >= 0;
}

template <int ROWS> __device__ void divide_rows(const cuda_attention &job, const query_rows<ROWS> &rows, int row,
                                                int dim, float sum, float value)
{
    if (rows.token[row] >= 0)
        job.out[(size_t)rows.token[row] * job.ldo + (size_t)rows.head[row] * job.kv.head_dim + dim] = value / sum;
}

// How tokens and heads are cut into blocks: `heads` heads of a group and ROWS / heads tokens each.
struct attention_cut {
    int heads, cuts; // heads of a group per block; blocks per group
    int tokens;      // tokens per block
    int splits;      // 0: a block goes through all splits
};

template <enum dtype KV, int ROWS, int DIMS>
__global__ void __launch_bounds__(THREADS) k_attend(const cuda_attention job, const attention_cut cut)
{
    extern __shared__ __align__(16) float shared[];
    __shared__ attention_space<ROWS> s;
    const int n = job.kv.head_dim, head = blockIdx.x / cut.cuts, first = blockIdx.x % cut.cuts * cut.heads;
    const int token0 = blockIdx.y * cut.tokens, tokens = min(cut.tokens, job.rows - token0);
    if (threadIdx.x == 0) {
        s.pitch = pitch_of(n);
        s.q = shared;
        s.kv = s.q + ROWS * s.pitch;
        s.scores = s.kv + CUDA_KEYS * s.pitch;
    }
    __syncthreads();
    // The block's tokens are cut into runs where one sequence ends and the next begins.
    for (int from = 0, to; from < tokens; from = to) {
        __syncthreads(); // all threads have finished the previous rows
        to = from + 1;
        while (to < tokens && job.tokens[token0 + to].sequence == job.tokens[token0 + from].sequence)
            to++;
        if (!begin_rows<ROWS>(job, s, token0 + from, to - from, head, first, cut.heads))
            continue;
        float out[DIMS][ROWS];
        if (cut.splits) {
            const int split = blockIdx.z;
            if (split * CUDA_SPLIT > s.rows.last || (split + 1) * CUDA_SPLIT <= s.rows.least)
                continue;
            attend_split<KV, ROWS, DIMS>(job, s, head, split, out);
            for (int r = 0; r < ROWS; r++) {
                if (s.rows.token[r] < 0)
                    continue;
                float *partial = partial_of(job, cut.splits, split, s.rows.token[r], s.rows.head[r]);
#pragma unroll
                for (int d = 0; d < DIMS; d++)
                    if (threadIdx.x + d * THREADS < n)
                        partial[threadIdx.x + d * THREADS] = out[d][r];
                if (threadIdx.x == 0) {
                    partial[n] = s.max[r];
                    partial[n + 1] = s.sum[r];
                }
            }
            continue;
        }
        float total[DIMS][ROWS] = {};
        outcome all[ROWS];
        for (int r = 0; r < ROWS; r++)
            all[r] = {-INFINITY, 0};
        for (int split = s.rows.least / CUDA_SPLIT; split <= s.rows.last / CUDA_SPLIT; split++) {
            attend_split<KV, ROWS, DIMS>(job, s, head, split, out);
#pragma unroll
            for (int r = 0; r < ROWS; r++) {
                float keep, take;
                merge(all[r], {s.max[r], s.sum[r]}, keep, take);
#pragma unroll
                for (int d = 0; d < DIMS; d++)
                    total[d][r] = blend(total[d][r], keep, out[d][r], take);
            }
            __syncthreads();
        }
#pragma unroll
        for (int r = 0; r < ROWS; r++)
#pragma unroll
            for (int d = 0; d < DIMS; d++)
                if (threadIdx.x + d * THREADS < n)
                    divide_rows<ROWS>(job, s.rows, r, threadIdx.x + d * THREADS, all[r].sum, total[d][r]);
    }
}

// Merges the splits of one head of one token.
template <int DIMS>
__global__ void __launch_bounds__(THREADS) k_merge(const cuda_attention job, int splits)
{
    const int head = blockIdx.x, token = blockIdx.y, n = job.kv.head_dim, position = job.tokens[token].position;
    if (position < 0)
        return;
    const int least = job.window ? max(0, position - job.window + 1) : 0;
    outcome all = {-INFINITY, 0};
    float total[DIMS] = {};
    for (int split = least / CUDA_SPLIT; split <= position / CUDA_SPLIT; split++) {
        const float *partial = partial_of(job, splits, split, token, head);
        float keep, take;
        merge(all, {partial[n], partial[n + 1]}, keep, take);
#pragma unroll
        for (int d = 0; d < DIMS; d++)
            if (threadIdx.x + d * THREADS < n)
                total[d] = blend(total[d], keep, partial[threadIdx.x + d * THREADS], take);
    }
#pragma unroll
    for (int d = 0; d < DIMS; d++)
        if (threadIdx.x + d * THREADS < n)
            job.out[(size_t)token * job.ldo + (size_t)head * n + threadIdx.x + d * THREADS] = total[d] / all.sum;
}

template <enum dtype KV, int ROWS, int DIMS>
void launch_dims(const cuda_attention *job, const attention_cut &cut, cudaStream_t stream)
{
    const int pitch = pitch_of(job->kv.head_dim);
    const int bytes = ((ROWS + CUDA_KEYS) * pitch + CUDA_KEYS * ROWS) * (int)sizeof(float);
    if (bytes > 40 * 1024)
        cudaFuncSetAttribute(k_attend<KV, ROWS, DIMS>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    const dim3 grid(job->kv.kv_heads * cut.cuts, ceil_div(job->rows, cut.tokens), cut.splits ? cut.splits : 1);
    k_attend<KV, ROWS, DIMS><<<grid, THREADS, bytes, stream>>>(*job, cut);
    cuda_launched();
    if (!cut.splits)
        return;
    k_merge<DIMS><<<dim3(job->heads, job->rows), THREADS, 0, stream>>>(*job, cut.splits);
    cuda_launched();
}

template <enum dtype KV, int ROWS>
void launch_rows(const cuda_attention *job, const attention_cut &cut, cudaStream_t stream)
{
    if (job->kv.head_dim <= THREADS)
        launch_dims<KV, ROWS, 1>(job, cut, stream);
    else
        launch_dims<KV, ROWS, MOST_DIM / THREADS>(job, cut, stream);
}

// In decode a block takes the heads of a group of one token. In prefill it takes 8 rows, of several tokens where groups
// are small.
template <enum dtype KV> void attend(const cuda_attention *job, cudaStream_t stream)
{
    const int group = job->heads / job->kv.kv_heads;
    attention_cut cut = {min(group, 8), 0, 1, 0};
    cut.cuts = ceil_div(group, cut.heads);
    if (job->single)
        cut.splits = ceil_div(job->most_positions, CUDA_SPLIT);
    else
        cut.tokens = 8 / cut.heads;
    const int rows = cut.heads * cut.tokens;
    if (rows == 1)
        launch_rows<KV, 1>(job, cut, stream);
    else if (rows <= 4)
        launch_rows<KV, 4>(job, cut, stream);
    else
        launch_rows<KV, 8>(job, cut, stream);
}

} // namespace

template <enum dtype KV> void cuda_attend_plain(const struct cuda_attention *job, cudaStream_t stream)
{
    attend<KV>(job, stream);
}

template void cuda_attend_plain<DT_F32>(const struct cuda_attention *, cudaStream_t);
template void cuda_attend_plain<DT_BF16>(const struct cuda_attention *, cudaStream_t);
template void cuda_attend_plain<DT_F16>(const struct cuda_attention *, cudaStream_t);
template void cuda_attend_plain<DT_I8>(const struct cuda_attention *, cudaStream_t);
template void cuda_attend_plain<DT_F8E4M3>(const struct cuda_attention *, cudaStream_t);
