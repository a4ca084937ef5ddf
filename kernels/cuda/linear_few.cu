// linear_few.cu - products of up to 16 tokens, limited by reading the weights, which stream through shared memory.
//
// Each multiprocessor has one block, which takes an even share of the tiles and keeps the inputs of its spans in shared
// memory. Its warps form teams. A team takes one tile at a time, and each of its warps one span, through a ring of its
// own. The warps of a team take turns at finishing a tile: one adds up the spans and stores the outputs. It does so
// after its span of the next tile. By then all spans of the first tile are complete, and no warp waits for it unless it
// takes longer than a tile. Where a block does not have all spans, sums go through memory, and the last block to arrive
// at a tile adds them. In both cases the spans are added as a tree (pack.h).
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/wgmma.cuh"

namespace {

enum { MOST_WARPS = 16 };
enum { PIECES = 4 }; // that a block's inputs come in: the first unit of each span, the second, .., the rest

struct few_job {
    linear_out out;
    cuda_carry carry;
    const unsigned char *w, *x;
    void *partial; // (sets, tiles, sums of a lane, 32)
    uint32_t *counters;
    size_t tile_bytes, header_bytes;
    int tiles, units, spans;
    int team, sets;    // spans of a block; blocks that make up all spans
    int groups, group; // groups of 8 tokens, and the first group of this launch
    int x_shift;       // inputs of 1 << x_shift tokens of a group are kept; lanes of other tokens read the last one's
    int sums_at, meets_at, inputs_at, rings_at; // offsets in shared memory, behind the inputs
};

// One request of a warp: 2 KiB of a tile, which types in groups follow with their scales.
template <enum dtype T, int GROUP> struct chunk {
    enum {
        BLOCKS = 2048 / (weights<T>::words * 512),
        OF_UNIT = CUDA_BLOCKS / BLOCKS,
        BYTES = 2048 + run_scales(T, GROUP),
    };
};
// Bytes from the inputs of one pair of steps to those of the next.
template <int NT> __device__ __forceinline__ uint32_t pair_bytes(const few_job &job)
{
    return NT == 1 ? 64 << job.x_shift : 512;
}

// to, from: addresses of the lane's first 16 bytes.
template <int BYTES> __device__ __forceinline__ void request(uint32_t to, const unsigned char *from, int lane)
{
#pragma unroll
    for (int i = 0; i < BYTES / 512; i++)
        copy_async(to + i * 512, from + i * 512);
    if (BYTES % 512 && lane < BYTES % 512 / 16)
        copy_async(to + BYTES / 512 * 512, from + BYTES / 512 * 512);
}

template <enum dtype T>
__device__ __forceinline__ void load_block(const unsigned char *stage, int block, int lane,
                                           uint4 (&v)[weights<T>::words])
{
    typedef weights<T> W;
#pragma unroll
    for (int i = 0; i < W::words; i++)
        v[i] = *reinterpret_cast<const uint4 *>(stage + (block * W::words + i) * 512 + lane * 16);
}

// Multiplies one chunk by NT times 8 tokens. x: the lane's inputs of the chunk, `pair` bytes from one pair of steps to
// the next.
template <enum dtype T, int NT>
__device__ __forceinline__ void multiply(const unsigned char *stage, uint32_t x, uint32_t pair, int lane,
                                         typename weights<T>::sum (&acc)[NT][4])
{
    typedef weights<T> W;
    enum { PAIRS = W::steps / 2 };
#pragma unroll
    for (int b = 0; b < chunk<T, 0>::BLOCKS; b++) {
        uint4 v[W::words];
        load_block<T>(stage, b, lane, v);
#pragma unroll
        for (int p = 0; p < PAIRS; p++) {
            uint32_t a[2][4];
            W::fragment(v, 2 * p, a[0]);
            W::fragment(v, 2 * p + 1, a[1]);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                uint32_t in[4];
                load_inputs(x + ((b * NT + n) * PAIRS + p) * pair, in);
                W::multiply(acc[n], a[0], in[0], in[1]);
                W::multiply(acc[n], a[1], in[2], in[3]);
            }
        }
    }
}

// The same for types in groups, where a chunk is a run. Each group is summed by itself, then scaled and added.
template <enum dtype T, int GROUP, int NT>
__device__ __forceinline__ void multiply_groups(const unsigned char *stage, uint32_t x, uint32_t pair, int lane,
                                                float (&acc)[NT][4])
{
    typedef weights<T> W;
    float sum[NT][4];
    group_scales s;
#pragma unroll
    for (int b = 0; b < W::run; b++) {
        uint4 v[W::words];
        load_block<T>(stage, b, lane, v);
#pragma unroll
        for (int p = 0; p < 2; p++) {
            uint32_t a[2][4];
            if (group_begins<GROUP>(b, p)) {
                s = load_group<T>(stage + 2048, group_of<GROUP>(b, p), lane / 4);
#pragma unroll
                for (int n = 0; n < NT; n++)
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        sum[n][i] = 0;
            }
            W::fragment(v, 2 * p, a[0], s);
            W::fragment(v, 2 * p + 1, a[1], s);
#pragma unroll
            for (int n = 0; n < NT; n++) {
                uint32_t in[4];
                load_inputs(x + ((b * NT + n) * 2 + p) * pair, in);
                W::multiply(sum[n], a[0], in[0], in[1]);
                W::multiply(sum[n], a[1], in[2], in[3]);
                if (group_ends<GROUP>(b, p)) {
#pragma unroll
                    for (int i = 0; i < 4; i++)
                        acc[n][i] = fmaf(s.scale[i / 2], sum[n][i], acc[n][i]);
                }
            }
        }
    }
}

// The spans of a block, and the barriers that signal which inputs have arrived, and that the norm's factors are ready.
struct few_inputs {
    int begin[CUDA_MOST_SPANS + 1]; // units
    float factor[CUDA_FEW_TOKENS];  // of a launch's tokens
    __align__(8) uint64_t full[PIECES], factored;
};

// Whether a run of units of the launch's inputs is one piece of memory, as bulk copies need it.
template <int NT> __device__ __forceinline__ bool inputs_whole(const few_job &job)
{
#if __CUDA_ARCH_FEAT_SM90_ALL
    return job.groups == NT && job.x_shift == 3;
#else
    return false;
#endif
}

// Call before request_inputs, with a block barrier in between.
template <int NT> __device__ __forceinline__ void plan_inputs(const few_job &job, int span0, few_inputs &inputs)
{
    const int thread = threadIdx.x;
    if (thread <= job.team)
        inputs.begin[thread] = cuda_span_begin(job.units, job.spans, min(span0 + thread, job.spans));
    if (thread < PIECES)
        barrier_init(shared_address(inputs.full + thread), inputs_whole<NT>(job) ? job.team : blockDim.x);
    if (thread == PIECES)
        barrier_init(shared_address(&inputs.factored), blockDim.x);
#if __CUDA_ARCH_FEAT_SM90_ALL
    if (thread <= PIECES)
        asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

// The inputs of a block's spans to shared memory: (blocks, NT, lines, x_rows, 16 bytes). A lane copies a span.
template <enum dtype T, int NT>
__device__ __forceinline__ void request_inputs(const few_job &job, const few_inputs &inputs, uint32_t to)
{
    enum { LINES = weights<T>::x_bytes / 128, UNIT = CUDA_BLOCKS * NT * weights<T>::x_bytes };
    const int first = inputs.begin[0], thread = threadIdx.x;
    const uint32_t full = shared_address(inputs.full);
    if (inputs_whole<NT>(job)) {
#if __CUDA_ARCH_FEAT_SM90_ALL
        for (int p = 0; thread < job.team && p < PIECES; p++) {
            const int end = inputs.begin[thread + 1], unit = min(inputs.begin[thread] + p, end);
            const uint32_t bytes = (p + 1 == PIECES ? end - unit : min(end - unit, 1)) * UNIT;
            barrier_expect(full + p * 8, bytes);
            if (bytes)
                copy_bulk(to + (unit - first) * UNIT, job.x + (size_t)unit * UNIT, bytes, full + p * 8);
        }
#endif
        return;
    }
    const int shift = NT == 1 ? job.x_shift : 3;
    const int all = (inputs.begin[job.team] - first) * CUDA_BLOCKS * NT * LINES << shift;
    const unsigned char *x = job.x + ((size_t)first * CUDA_BLOCKS * job.groups + job.group) * (LINES * 128);
    for (int i = thread; i < all; i += blockDim.x) {
        const int line = i >> shift, group = line / LINES, row = i - (line << shift);
        copy_async(to + i * 16, x + ((size_t)(group / NT) * job.groups + group % NT) * (LINES * 128) +
                                    line % LINES * 128 + row * 16);
    }
#pragma unroll
    for (int p = 0; p < PIECES; p++)
        copies_arrive(full + p * 8);
}

// 1 / rms of each token of the launch, from the squares that the product before has left. A warp has a token.
__device__ __forceinline__ void find_factors(const few_job &job, int tokens, few_inputs &inputs)
{
    const int lane = threadIdx.x % 32;
    for (int t = threadIdx.x / 32; t < tokens; t += blockDim.x / 32) {
        const int token = job.group * 8 + t;
        float sum = 0;
        for (int i = lane; token < job.out.tokens && i < job.carry.from_tiles; i += 32)
            sum += __ldcg(job.carry.from + (size_t)token * job.carry.from_tiles + i);
#pragma unroll
        for (int o = 16; o; o >>= 1)
            sum += __shfl_xor_sync(~0u, sum, o);
        if (lane == 0)
            inputs.factor[t] = 1.0f / sqrtf(sum / (float)(job.carry.from_tiles * CUDA_TILE_ROWS) + job.carry.eps);
    }
    barrier_arrive(shared_address(&inputs.factored));
}

// Four sums of one lane.
template <typename SUM> struct __align__(16) four {
    SUM of[4];
};

// The sum of spans [0, there) of up to COUNT, `stride` apart, as a tree.
template <typename SUM, int COUNT>
__device__ __forceinline__ four<SUM> add_tree(const four<SUM> *spans, int stride, int there)
{
    four<SUM> v[COUNT];
#pragma unroll
    for (int s = 0; s < COUNT; s++)
        if (s < there)
            v[s] = spans[s * stride];
#pragma unroll
    for (int step = 1; step < COUNT; step *= 2)
#pragma unroll
        for (int s = 0; s + step < COUNT; s += 2 * step)
            if (s + step < there)
#pragma unroll
                for (int i = 0; i < 4; i++)
                    v[s].of[i] += v[s + step].of[i];
    return v[0];
}

// The place where the warps of a team store their sums, with room for two tiles in turn. Each tile has two barriers:
// `full` once all warps have stored their sums, and `empty` once these are added up. Every lane arrives by itself,
// because racecheck can follow that.
template <typename SUM, int N> struct team_sums {
    four<SUM> *own; // the lane's place in (2, warps of the block, N / 4, 32)
    uint32_t meets; // barriers: (2) full, (2) empty
    int stride;     // from a tile's sums to the next one's
    int rank, size;

    __device__ __forceinline__ team_sums(const few_job &job, unsigned char *shared, int lane)
    {
        const int warp = threadIdx.x / 32, team = warp / job.team;
        own = reinterpret_cast<four<SUM> *>(shared + job.sums_at) + team * job.team * (N / 4 * 32) + lane;
        meets = shared_address(shared + job.meets_at) + team * 32;
        stride = blockDim.x * (N / 4);
        rank = warp % job.team;
        size = job.team;
        if (rank == 0 && lane < 4)
            barrier_init(meets + lane * 8, lane < 2 ? size * 32 : 32);
    }
    // Stores this warp's sums of the team's tile number `tile`.
    __device__ __forceinline__ void leave(int tile, const SUM (&acc)[N])
    {
        four<SUM> *to = own + tile % 2 * stride + rank * (N / 4 * 32);
        if (tile >= 2)
            barrier_wait(meets + 16 + tile % 2 * 8, (tile / 2 - 1) % 2);
#pragma unroll
        for (int i = 0; i < N; i += 4)
            to[i / 4 * 32] = {acc[i], acc[i + 1], acc[i + 2], acc[i + 3]};
        barrier_arrive(meets + tile % 2 * 8);
    }
    // Adds up the sums of spans [0, there) of the team.
    __device__ __forceinline__ void add(int tile, int there, SUM (&acc)[N])
    {
        barrier_wait(meets + tile % 2 * 8, tile / 2 % 2);
#pragma unroll
        for (int i = 0; i < N; i += 4) {
            const four<SUM> sum =
                add_tree<SUM, CUDA_MOST_SPANS>(own + tile % 2 * stride + i / 4 * 32, N / 4 * 32, there);
#pragma unroll
            for (int j = 0; j < 4; j++)
                acc[i + j] = sum.of[j];
        }
        barrier_arrive(meets + 16 + tile % 2 * 8);
    }
};

// Stores a set's sum of a tile. Returns true for the last set to arrive, which gets the total.
template <typename SUM, int N>
__device__ __forceinline__ bool add_sets(const few_job &job, int set, int tile, int lane, SUM (&acc)[N])
{
    SUM *partial = static_cast<SUM *>(job.partial) + lane;
    SUM *own = partial + ((size_t)set * job.tiles + tile) * N * 32;
    uint32_t before = 0;
#pragma unroll
    for (int i = 0; i < N; i++)
        __stcg(own + i * 32, acc[i]);
    __threadfence();
    __syncwarp();
    if (lane == 0)
        before = atomicAdd(job.counters + tile, 1);
    if (__shfl_sync(~0u, before, 0) != (uint32_t)job.sets - 1)
        return false;
    __threadfence();
    if (lane == 0)
        job.counters[tile] = 0;
#pragma unroll
    for (int i = 0; i < N; i++) {
        SUM v[CUDA_MOST_SPANS];
#pragma unroll
        for (int s = 0; s < CUDA_MOST_SPANS; s++)
            v[s] = s < job.sets ? __ldcg(partial + (((size_t)s * job.tiles + tile) * N + i) * 32) : 0;
#pragma unroll
        for (int stride = 1; stride < CUDA_MOST_SPANS; stride *= 2)
#pragma unroll
            for (int s = 0; s + stride < CUDA_MOST_SPANS; s += 2 * stride)
                if (s + stride < job.sets)
                    v[s] += v[s + stride];
        acc[i] = v[0];
    }
    return true;
}

// The factors and addends of a lane's sums of a tile, for rows lane / 4 and lane / 4 + 8.
template <enum dtype T, int NT> struct tile_end {
    float scale[2], bias[2], before[NT][4];

    // Requests those of the tile at row0, for tokens from token0 on. Nothing waits for these loads yet.
    __device__ __forceinline__ void request(const linear_out &out, int row0, int token0, int lane)
    {
#pragma unroll
        for (int i = 0; i < 2; i++) {
            const int row = row0 + lane / 4 + 8 * i;
            const bool there = row < out.rows;
            scale[i] = there ? row_scale_of<T>(out, row) : 0;
            bias[i] = there && out.bias ? __ldg(out.bias + row) : 0;
#pragma unroll
            for (int n = 0; n < NT; n++)
#pragma unroll
                for (int j = 0; j < 2; j++) {
                    const int token = token0 + n * 8 + lane % 4 * 2 + j;
                    before[n][2 * i + j] = there && out.accumulate && token < out.tokens
                                               ? __ldcg(out.y + (size_t)token * out.ldy + row)
                                               : 0;
                }
        }
    }
};

// Finishes a tile once its sums are complete: scales, bias, residual, and the parts of a fused norm. A lane has rows
// lane / 4 and 8 more, of tokens 2 (lane % 4) and the next in each group.
template <enum dtype T, int NT> struct tile_rest {
    enum { N = NT * 4, CARRIES = T == DT_BF16 || T == DT_F8E4M3 || scales_groups(T) };
    float token_scale[scales_tokens(T) ? N / 2 : 1];

    __device__ __forceinline__ tile_rest(const few_job &job, int lane)
    {
#pragma unroll
        for (int i = 0; scales_tokens(T) && i < N / 2; i++) {
            const int token = (job.group + i / 2) * 8 + lane % 4 * 2 + i % 2;
            token_scale[i] = token < job.out.tokens ? __ldcg(job.out.x_scale + token) : 0;
        }
    }
    static __device__ __forceinline__ int row_of(int tile, int i, int lane)
    {
        return tile * CUDA_TILE_ROWS + lane / 4 + i % 4 / 2 * 8;
    }
    static __device__ __forceinline__ int token_of(const few_job &job, int i, int lane)
    {
        return (job.group + i / 4) * 8 + lane % 4 * 2 + i % 2;
    }
    // Sums become elements of y.
    __device__ __forceinline__ void finish(const few_job &job, const few_inputs &inputs, const tile_end<T, NT> &by,
                                           int lane, const typename weights<T>::sum (&sums)[N], float (&v)[N])
    {
        if (CARRIES && job.carry.from)
            barrier_wait(shared_address(&inputs.factored), 0);
#pragma unroll
        for (int i = 0; i < N; i++) {
            const sum_factors factors = {by.scale[i % 4 / 2], token_scale[scales_tokens(T) ? i / 4 * 2 + i % 2 : 0],
                                         by.bias[i % 4 / 2], by.before[i / 4][i % 4]};
            typename weights<T>::sum sum = sums[i];
            if (CARRIES && job.carry.from)
                sum *= inputs.factor[i / 4 * 8 + lane % 4 * 2 + i % 2];
            v[i] = finish_sum<T>(job.out, sum, factors);
        }
    }
    // Element `row` of a token's inputs of the next product.
    static __device__ __forceinline__ void put_input(const few_job &job, int row, int token, float v)
    {
        int i;
        const int line = cuda_col_line(job.carry.order, row % CUDA_BLOCK_COLS, &i);
        unsigned char *to = static_cast<unsigned char *>(job.carry.out) +
                            cuda_line_at(job.carry.order, job.out.tokens, token, row / CUDA_BLOCK_COLS, line);
        store_element<DT_BF16>(to, i, v);
    }
    __device__ __forceinline__ void put(const few_job &job, int tile, int lane, const float (&v)[N])
    {
#pragma unroll
        for (int i = 0; i < N; i++) {
            const int row = row_of(tile, i, lane), token = token_of(job, i, lane);
            if (row < job.out.rows && token < job.out.tokens)
                job.out.y[(size_t)token * job.out.ldy + row] = v[i];
        }
        if constexpr (CARRIES)
            if (job.carry.weight)
                put_norm(job, tile, lane, v);
    }
    __device__ __forceinline__ void put_norm(const few_job &job, int tile, int lane, const float (&v)[N])
    {
#pragma unroll
        for (int i = 0; i < N; i++) {
            const int row = row_of(tile, i, lane), token = token_of(job, i, lane);
            if (token < job.out.tokens)
                put_input(job, row, token, __fmul_rn(v[i], __ldg(job.carry.weight + row)));
            if (i % 4 >= 2)
                continue;
            float squares = fmaf(v[i], v[i], v[i + 2] * v[i + 2]);
#pragma unroll
            for (int o = 16; o >= 4; o >>= 1)
                squares += __shfl_xor_sync(~0u, squares, o);
            if (lane < 4 && token < job.out.tokens)
                job.carry.squares[(size_t)token * job.tiles + tile] = squares;
        }
    }
};

// SLOTS: slots of a warp's ring, one of which is being read.
template <enum dtype T, int GROUP, int NT, int SLOTS>
__global__ void __launch_bounds__(MOST_WARPS * 32, 1) k_few(const few_job job)
{
    typedef chunk<T, GROUP> C;
    typedef typename weights<T>::sum sum;
    enum { N = NT * 4 };
    extern __shared__ __align__(128) unsigned char shared[];
    few_inputs &inputs = *reinterpret_cast<few_inputs *>(shared + job.inputs_at);
    const int lane = threadIdx.x % 32, warp = threadIdx.x / 32, teams = blockDim.x / 32 / job.team;
    const int set = blockIdx.x % job.sets, block = blockIdx.x / job.sets, blocks = gridDim.x / job.sets;
    const int first = (int)((long long)job.tiles * block / blocks) + warp / job.team;
    const int last = (int)((long long)job.tiles * (block + 1) / blocks);
    const int span0 = set * job.team, span = span0 + warp % job.team;
    const bool idle = span >= job.spans;
    const int x_begin = cuda_span_begin(job.units, job.spans, span0);
    const int begin = idle ? 0 : cuda_span_begin(job.units, job.spans, span) * C::OF_UNIT;
    const int end = idle ? 0 : cuda_span_begin(job.units, job.spans, span + 1) * C::OF_UNIT;
    const unsigned char *ring = shared + job.rings_at + warp * (SLOTS * C::BYTES);
    const unsigned char *w = job.w + job.header_bytes;
    const uint32_t to = shared_address(ring) + lane * 16;
    const unsigned char *from = w + first * job.tile_bytes + (size_t)begin * C::BYTES + lane * 16;
    const size_t next_tile = teams * job.tile_bytes - (size_t)(end - begin) * C::BYTES;
    int asked_tile = idle ? last : first, asked = begin;
    uint32_t asked_slot = to;

    const auto ask = [&] {
        if (asked_tile < last) {
            request<C::BYTES>(asked_slot, from, lane);
            from += C::BYTES;
            if (++asked == end) {
                asked = begin;
                asked_tile += teams;
                from += next_tile;
            }
        }
        asked_slot = asked_slot == to + (SLOTS - 1) * C::BYTES ? to : asked_slot + C::BYTES;
        copies_commit();
    };

    next_may_start();
    for (int i = 0; i < SLOTS - 1; i++)
        ask(); // weights do not depend on earlier kernels
    team_sums<sum, N> sums(job, shared, lane);
    plan_inputs<NT>(job, span0, inputs);
    __syncthreads();
    previous_wait();
    request_inputs<T, NT>(job, inputs, shared_address(shared));
    if (job.carry.from)
        find_factors(job, NT * 8, inputs);

    const uint32_t pair = pair_bytes<NT>(job), chunk_pairs = C::BLOCKS * NT * weights<T>::steps / 2;
    const uint32_t x0 = shared_address(shared) + lane / 8 * (pair / 4) + min(lane % 8, (int)pair / 64 - 1) * 16 -
                        x_begin * C::OF_UNIT * chunk_pairs * pair;
    tile_end<T, NT> tile_by = {};
    tile_rest<T, NT> rest(job, lane);
    const auto end_tile = [&](int tile, sum(&flat)[N]) {
        if (job.sets > 1 && !add_sets<sum, N>(job, set, tile, lane, flat))
            return;
        float v[N];
        rest.finish(job, inputs, tile_by, lane, flat, v);
        rest.put(job, tile, lane, v);
    };
    const int there = min(job.team, job.spans - span0);
    int slot = 0, ender = 0, ends = -1; // ends: the previous tile, if this warp has to finish it
    int tile = first, number = 0, piece = 0, due = begin; // due: the first chunk whose inputs may not have arrived
    for (; tile < last; tile += teams, number++) {
        sum acc[NT][4] = {};
        sum(&flat)[N] = reinterpret_cast<sum(&)[N]>(acc);
        if (job.team == 1 || ends >= 0)
            tile_by.request(job.out, (job.team == 1 ? tile : ends) * CUDA_TILE_ROWS, job.group * 8, lane);
        for (int c = begin; c < end; c++) {
            copies_wait<SLOTS - 2>();
            __syncwarp(); // all lanes' copies have arrived, and no lane reads the slot requested next
            ask();
            if (c == due) {
                barrier_wait(shared_address(inputs.full + piece), 0);
                due = ++piece < PIECES ? due + C::OF_UNIT : -1;
            }
            const uint32_t x = x0 + c * (chunk_pairs * pair);
            if constexpr (scales_groups(T))
                multiply_groups<T, GROUP, NT>(ring + slot * C::BYTES, x, pair, lane, acc);
            else
                multiply<T, NT>(ring + slot * C::BYTES, x, pair, lane, acc);
            slot = slot + 1 == SLOTS ? 0 : slot + 1;
        }
        if (job.team == 1) {
            end_tile(tile, flat);
            continue;
        }
        sums.leave(number, flat);
        if (ends >= 0) {
            sums.add(number - 1, there, flat);
            end_tile(ends, flat);
        }
        ends = sums.rank == ender ? tile : -1;
        ender = ender + 1 == job.team ? 0 : ender + 1;
    }
    if (ends >= 0) {
        sum flat[N];
        tile_by.request(job.out, ends * CUDA_TILE_ROWS, job.group * 8, lane);
        sums.add(number - 1, there, flat);
        end_tile(ends, flat);
    }
}

// ---- launching -------------------------------------------------------------------------------------------

// The cut of a launch.
struct few_plan {
    int warps, team, sets, slots, sums_at, meets_at, inputs_at, rings_at, bytes;
    double worth; // share of the chip's time spent on reading weights; 0: does not fit
};

// block_inputs: bytes of a block of 64 inputs of all tokens of the launch; chunk_bytes: bytes of a slot of a ring.
few_plan plan_of(const struct cuda_layout *l, int multiprocessors, const few_plan &cut, int block_inputs,
                 int chunk_bytes, int groups)
{
    few_plan plan = cut;
    plan.sets = ceil_div(l->spans, plan.team);
    int units = 0;
    for (int s = 0; s < l->spans; s += plan.team)
        units = max(units, cuda_span_begin(l->units, l->spans, min(s + plan.team, l->spans)) -
                               cuda_span_begin(l->units, l->spans, s));
    plan.sums_at = units * CUDA_BLOCKS * block_inputs;
    plan.meets_at = plan.sums_at + (plan.team > 1 ? 2 * plan.warps * groups * 512 : 0);
    plan.inputs_at = plan.meets_at + MOST_WARPS * 32;
    plan.rings_at = plan.inputs_at + ceil_div(sizeof(few_inputs), 128) * 128;
    plan.bytes = plan.rings_at + plan.warps * plan.slots * chunk_bytes;
    if (plan.warps % plan.team || plan.bytes > cuda_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin) ||
        l->tiles > CUDA_COUNTERS)
        return plan;
    const int blocks = max(1, multiprocessors / plan.sets), of_block = ceil_div(l->tiles, blocks);
    plan.worth = (double)l->tiles * plan.sets / ((double)of_block * max(1, multiprocessors));
    // Sums that go through memory keep a warp from its weights for about 3 us per tile. Idle warps also cost time.
    if (plan.sets > 1)
        plan.worth *= 0.85 / (1 + (double)plan.sets * groups * 8 * CUDA_TILE_ROWS * 4 / (double)l->tile_bytes);
    const double busy = (double)min(of_block * plan.team, plan.warps) / MOST_WARPS;
    plan.worth *= min(1.0, 2 * busy);
    // A warp that ends after a few chunks costs more to start than its reads gain; then fewer warps are better.
    const int teams = plan.warps / plan.team, tiles = ceil_div(of_block, teams);
    const double chunks = (double)l->tile_bytes / chunk_bytes / l->spans * tiles;
    plan.worth *= 0.8 + 0.2 * min(1.0, chunks / 8);
    return plan;
}

// The most slots of a ring. Types that need decoding are limited by instructions before a fifth slot pays for its fill.
template <enum dtype T, int NT> constexpr int most_slots()
{
    return NT == 1 && !scales_groups(T) && T != DT_F8E4M3 ? 5 : 4;
}

template <enum dtype T, int GROUP, int NT>
bool launch_groups(const struct cuda_linear *job, int group, cudaStream_t stream)
{
    const struct cuda_layout *l = &job->layout;
    int x_shift = NT == 1 ? 0 : 3; // for whole lines, a power of two
    while (1 << x_shift < min(8, job->tokens - group * 8))
        x_shift++;
    few_plan best = {};
    for (int warps = MOST_WARPS; warps >= 4; warps -= 4)
        for (int slots = most_slots<T, NT>(); slots >= 4; slots--)
            for (int team = 1; team <= CUDA_MOST_SPANS && team < 2 * l->spans; team *= 2) {
                few_plan cut = {};
                cut.warps = warps;
                cut.team = team;
                cut.slots = slots;
                const few_plan plan = plan_of(l, job->multiprocessors, cut, NT * weights<T>::x_bytes / 8 << x_shift,
                                              chunk<T, GROUP>::BYTES, NT);
                if (plan.worth > best.worth * 1.02)
                    best = plan;
            }
    if (best.worth == 0)
        return false;
    few_job few = linear_job_of<few_job>(job);
    few.carry = job->carry;
    few.tile_bytes = l->tile_bytes;
    few.spans = l->spans;
    few.team = best.team;
    few.sets = best.sets;
    few.group = group;
    few.x_shift = x_shift;
    few.sums_at = best.sums_at;
    few.meets_at = best.meets_at;
    few.inputs_at = best.inputs_at;
    few.rings_at = best.rings_at;
    const int blocks = min(l->tiles, max(1, job->multiprocessors / best.sets)) * best.sets;
    const auto kernel = best.slots == 5 ? k_few<T, GROUP, NT, most_slots<T, NT>()> : k_few<T, GROUP, NT, 4>;
    cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, best.bytes);
    launch_early(kernel, dim3(blocks), best.warps * 32, best.bytes, stream, few);
    return true;
}

// Launches as many groups of tokens at a time as fit, because shared memory holds all inputs of a span.
template <enum dtype T, int GROUP> void launch_few(const struct cuda_linear *job, cudaStream_t stream)
{
    const int groups = ceil_div(job->tokens, CUDA_GROUP_TOKENS);
    for (int group = 0; group < groups;) {
        if (groups - group > 1 && launch_groups<T, GROUP, 2>(job, group, stream)) {
            group += 2;
        } else if (launch_groups<T, GROUP, 1>(job, group, stream)) {
            group += 1;
        } else {
            cuda_launch_refused(); // a span has too many inputs, or there are too many tiles
            return;
        }
    }
}

} // namespace

template <enum dtype T> void cuda_linear_few(const struct cuda_linear *job, cudaStream_t stream)
{
    if constexpr (T == DT_I4) {
        if (job->layout.group == 32)
            launch_few<T, 32>(job, stream);
        else
            launch_few<T, 128>(job, stream);
    } else {
        launch_few<T, T == DT_I8G ? 32 : 0>(job, stream);
    }
}

template void cuda_linear_few<DT_BF16>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_few<DT_F16>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_few<DT_I8>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_few<DT_F8E4M3>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_few<F8_BY_F8>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_few<DT_I4>(const struct cuda_linear *, cudaStream_t);
template void cuda_linear_few<DT_I8G>(const struct cuda_linear *, cudaStream_t);
