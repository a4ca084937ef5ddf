// linear_few.cu - products of up to 64 tokens: bound by reading the weights, so each is read once, 16 bytes a lane,
// straight into registers.
//
// A warp sums one span of one or two tiles of rows for all tokens. Where there are enough tiles to fill the chip
// a block's warps are the spans of its tiles, and the block adds them up; else each warp is a block of its own
// and its sums go to memory, to be added by a second launch. Both add in the order of the spans.
#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/launch.cuh"

namespace {

struct few_job {
    linear_out out;
    const unsigned char *w, *x;
    void *partial; // (spans, 8-rounded tokens, 16 tiles); NULL: the block holds all spans
    size_t x_row_bytes, tile_bytes, unit_bytes, header_bytes;
    int tiles, units, spans, span_units;
};

// One lane's inputs of a block of 64, of one token; zeros beyond the tokens.
template <enum dtype T>
__device__ __forceinline__ void load_inputs(const few_job &job, const unsigned char *x, int token,
                                            uint32_t (&out)[weights<T>::inputs])
{
    typedef weights<T> W;
#pragma unroll
    for (int i = 0; i < W::inputs / 4; i++) {
        uint4 v = make_uint4(0, 0, 0, 0);
        if (token < job.out.tokens)
            v = __ldg(reinterpret_cast<const uint4 *>(x + (size_t)token * job.x_row_bytes + i * W::vector_bytes));
        out[4 * i] = v.x;
        out[4 * i + 1] = v.y;
        out[4 * i + 2] = v.z;
        out[4 * i + 3] = v.w;
    }
}

// Units [begin, end) of RT tiles from `tile` on, for NT times 8 tokens.
template <enum dtype T, int NT, int RT>
__device__ __forceinline__ void sum_span(const few_job &job, int tile, int begin, int end,
                                         typename weights<T>::sum (&acc)[RT][NT][4])
{
    typedef weights<T> W;
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const unsigned char *w[RT];
#pragma unroll
    for (int r = 0; r < RT; r++)
        w[r] = job.w + (size_t)min(tile + r, job.tiles - 1) * job.tile_bytes + job.header_bytes +
               (size_t)begin * job.unit_bytes + lane * 16;
    const unsigned char *x = job.x + (size_t)begin * CUDA_UNIT_COLS * W::element_bytes + t * W::lane_bytes;
    enum { LOADED = RT == 1 ? CUDA_BLOCKS : CUDA_BLOCKS / 2 }; // blocks in registers at a time
    for (int u = begin * CUDA_BLOCKS; u < end * CUDA_BLOCKS; u += LOADED) {
        uint4 v[LOADED][RT][W::words];
#pragma unroll
        for (int b = 0; b < LOADED; b++)
#pragma unroll
            for (int r = 0; r < RT; r++)
#pragma unroll
                for (int i = 0; i < W::words; i++)
                    v[b][r][i] = load_weights(w[r] + (b * W::words + i) * 512);
#pragma unroll
        for (int b = 0; b < LOADED; b++)
#pragma unroll
            for (int n = 0; n < NT; n++) {
                uint32_t in[W::inputs];
                load_inputs<T>(job, x + b * CUDA_BLOCK_COLS * W::element_bytes, 8 * n + g, in);
#pragma unroll
                for (int r = 0; r < RT; r++)
#pragma unroll
                    for (int m = 0; m < W::steps; m++)
                        W::step(v[b][r], m, in, acc[r][n]);
            }
#pragma unroll
        for (int r = 0; r < RT; r++)
            w[r] += LOADED * W::words * 512;
        x += LOADED * CUDA_BLOCK_COLS * W::element_bytes;
    }
}

// The same of int4: each group is summed by itself, then scaled and added.
template <int GROUP, int NT>
__device__ __forceinline__ void sum_span_i4(const few_job &job, int tile, int begin, int end, float (&acc)[1][NT][4])
{
    typedef weights<DT_I4> W;
    const int lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
    const unsigned char *w = job.w + (size_t)tile * job.tile_bytes + (size_t)begin * job.unit_bytes;
    const unsigned char *x = job.x + (size_t)begin * CUDA_UNIT_COLS * 2 + t * W::lane_bytes;
    for (int u = begin; u < end; u++, w += job.unit_bytes, x += CUDA_UNIT_COLS * 2) {
        uint4 v[CUDA_BLOCKS];
        group_scales s[CUDA_UNIT_COLS / GROUP];
#pragma unroll
        for (int b = 0; b < CUDA_BLOCKS; b++)
            v[b] = load_weights(w + lane * 16 + b * 512);
#pragma unroll
        for (int i = 0; i < CUDA_UNIT_COLS / GROUP; i++)
            s[i] = load_group(w + CUDA_BLOCKS * 512 + i * CUDA_TILE_ROWS * 4, g);
#pragma unroll
        for (int n = 0; n < NT; n++) {
            float sum[4] = {0, 0, 0, 0};
#pragma unroll
            for (int b = 0; b < CUDA_BLOCKS; b++) {
                uint32_t in[W::inputs];
                load_inputs<DT_I4>(job, x + b * CUDA_BLOCK_COLS * 2, 8 * n + g, in);
#pragma unroll
                for (int m = 0; m < W::steps; m++) {
                    const group_scales &of = s[group_of<GROUP>(b, m)];
                    W::step(&v[b], m, in, sum, of.offset);
                    if (!group_ends<GROUP>(b, m))
                        continue;
#pragma unroll
                    for (int i = 0; i < 4; i++) {
                        acc[0][n][i] = fmaf(of.scale[i / 2], sum[i], acc[0][n][i]);
                        sum[i] = 0;
                    }
                }
            }
        }
    }
}

// Row and token of sum i of a lane, within a tile and 8 tokens.
__device__ __forceinline__ int row_of(int lane, int i)
{
    return lane / 4 + i / 2 * 8;
}
__device__ __forceinline__ int token_of(int lane, int i)
{
    return lane % 4 * 2 + i % 2;
}

// Adds the block's spans up in shared memory, (span, token, row).
template <enum dtype T, int NT, int RT>
__device__ __forceinline__ void add_spans(const few_job &job, int tile, typename weights<T>::sum (&acc)[RT][NT][4])
{
    typedef typename weights<T>::sum sum;
    enum { ROWS = RT * CUDA_TILE_ROWS, SUMS = ROWS * NT * 8 };
    extern __shared__ __align__(16) unsigned char shared[];
    sum *part = reinterpret_cast<sum *>(shared);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32;
#pragma unroll
    for (int r = 0; r < RT; r++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++)
                part[warp * SUMS + (8 * n + token_of(lane, i)) * ROWS + r * CUDA_TILE_ROWS + row_of(lane, i)] =
                    acc[r][n][i];
    __syncthreads();
    for (int i = threadIdx.x; i < SUMS; i += blockDim.x) {
        sum total = part[i];
        for (int s = 1; s < job.spans; s++)
            total += part[s * SUMS + i];
        put_sum<T>(job.out, tile * CUDA_TILE_ROWS + i % ROWS, i / ROWS, total);
    }
}

template <enum dtype T, int NT, int RT>
__device__ __forceinline__ void store_span(const few_job &job, int tile, int span,
                                           typename weights<T>::sum (&acc)[RT][NT][4])
{
    typedef typename weights<T>::sum sum;
    const int lane = threadIdx.x % 32, tokens = (job.out.tokens + 7) / 8 * 8;
    sum *to = reinterpret_cast<sum *>(job.partial) + (size_t)span * tokens * job.tiles * CUDA_TILE_ROWS;
#pragma unroll
    for (int r = 0; r < RT; r++)
#pragma unroll
        for (int n = 0; n < NT; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) {
                int token = 8 * n + token_of(lane, i);
                if (tile + r < job.tiles && token < tokens)
                    to[((size_t)token * job.tiles + tile + r) * CUDA_TILE_ROWS + row_of(lane, i)] = acc[r][n][i];
            }
}

// GROUP: of DT_I4; RT is 1 there.
template <enum dtype T, int GROUP, int NT, int RT>
__global__ void __launch_bounds__(CUDA_MOST_SPANS * 32, 1) k_few(const few_job job)
{
    const int tile = blockIdx.x * RT, span = job.partial ? blockIdx.y : threadIdx.x / 32;
    const int begin = span * job.span_units, end = min(begin + job.span_units, job.units);
    typename weights<T>::sum acc[RT][NT][4] = {};
    if constexpr (T == DT_I4)
        sum_span_i4<GROUP, NT>(job, tile, begin, end, acc);
    else
        sum_span<T, NT, RT>(job, tile, begin, end, acc);
    if (job.partial)
        store_span<T, NT, RT>(job, tile, span, acc);
    else
        add_spans<T, NT, RT>(job, tile, acc);
}

// Adds spans that lie in memory.
template <enum dtype T> __global__ void k_fold(const few_job job)
{
    typedef typename weights<T>::sum sum;
    const int row = blockIdx.x * blockDim.x + threadIdx.x, token = blockIdx.y;
    const int tokens = (job.out.tokens + 7) / 8 * 8, rows = job.tiles * CUDA_TILE_ROWS;
    if (row >= job.out.rows)
        return;
    const sum *from = reinterpret_cast<const sum *>(job.partial) + (size_t)token * rows + row;
    sum total = from[0];
    for (int s = 1; s < job.spans; s++)
        total += from[(size_t)s * tokens * rows];
    put_sum<T>(job.out, row, token, total);
}

template <enum dtype T, int GROUP, int NT, int RT> void launch_few(const few_job &job, cudaStream_t stream)
{
    const int blocks = ceil_div(job.tiles, RT);
    if (job.partial) {
        k_few<T, GROUP, NT, RT><<<dim3(blocks, job.spans), 32, 0, stream>>>(job);
        cuda_launched();
        k_fold<T><<<dim3(ceil_div(job.out.rows, 128), job.out.tokens), 128, 0, stream>>>(job);
        cuda_launched();
        return;
    }
    const int bytes = job.spans * RT * CUDA_TILE_ROWS * NT * 8 * (int)sizeof(float);
    if (bytes > 48 * 1024)
        cudaFuncSetAttribute(k_few<T, GROUP, NT, RT>, cudaFuncAttributeMaxDynamicSharedMemorySize, bytes);
    k_few<T, GROUP, NT, RT><<<blocks, job.spans * 32, bytes, stream>>>(job);
    cuda_launched();
}

template <enum dtype T, int GROUP> void launch_tokens(const few_job &job, cudaStream_t stream)
{
    constexpr int RT = T == DT_I4 ? 1 : 2;
    if (job.out.tokens <= 8)
        launch_few<T, GROUP, 1, 1>(job, stream);
    else if (job.out.tokens <= 16)
        launch_few<T, GROUP, 2, 1>(job, stream);
    else if (job.out.tokens <= 32)
        launch_few<T, GROUP, 4, RT>(job, stream);
    else
        launch_few<T, GROUP, 8, RT>(job, stream);
}

} // namespace

template <enum dtype T> void cuda_linear_few(const struct cuda_linear *job, cudaStream_t stream)
{
    const struct cuda_layout *l = &job->layout;
    few_job few = {linear_out_of(job),
                   (const unsigned char *)job->w,
                   (const unsigned char *)job->x,
                   job->partial,
                   job->ldx * weights<T>::element_bytes,
                   l->tile_bytes,
                   l->unit_bytes,
                   l->header_bytes,
                   l->tiles,
                   l->units,
                   l->spans,
                   l->span_units};
    // Two blocks of a tile on every multiprocessor keep enough loads in flight.
    if (l->spans == 1 || l->tiles >= min(2 * job->multiprocessors, (int)CUDA_FULL_TILES))
        few.partial = NULL;
    if constexpr (T == DT_I4) {
        if (l->group == 32)
            launch_tokens<T, 32>(few, stream);
        else
            launch_tokens<T, 128>(few, stream);
    } else {
        launch_tokens<T, 0>(few, stream);
    }
}

template void cuda_linear_few<DT_BF16>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_few<DT_F16>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_few<DT_I8>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_few<DT_F8E4M3>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_few<DT_I4>(const struct cuda_linear *, cudaStream_t);
