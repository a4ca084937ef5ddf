// step_ring.cuh - the persistent kernel's ring of stages in shared memory, the warp that fills it, and the words that
// pass between blocks. For step_kernel.cuh only.
#pragma once

#include <cuda_runtime.h>

#include "kernels/cuda/fragments.cuh"

// The layout of shared memory: struct space_of, then the ring, then the inputs of a product.
struct step_space {
    cuda_step job;
    uint64_t full[STEP_MOST_STAGES], empty[STEP_MOST_STAGES];
    float scales[16 * 16]; // scales of the rows of tiles
    float q[STEP_MOST_HEAD_DIM], k[STEP_MOST_HEAD_DIM], v[STEP_MOST_HEAD_DIM];
    float max[STEP_WARPS], sum[STEP_WARPS];
    int sequence[STEP_MOST_TOKENS], position[STEP_MOST_TOKENS];
    int phase; // the block's current phase, counted over all layers
};

// What depends on the number of tokens that a kernel serves. The wide form has two buffers of sums, which take turns.
template <int TOK> struct space_of : step_space {
    enum { WIDE = TOK > STEP_FEW_TOKENS, BUFFERS = WIDE ? 2 : 1, TOKENS = WIDE ? TOK : STEP_FEW_TOKENS };
    enum { BYTES = WIDE ? STEP_WIDE_SPACE_BYTES : STEP_SPACE_BYTES };
    float part[BUFFERS * 4096]; // sums: of products (tile, warp, token, row), of attention (warp, dimension)
    float squares[STEP_WARPS][TOKENS], largest[STEP_WARPS][TOKENS];
    float times[TOKENS], factor[TOKENS];    // wide: what a row's inputs are multiplied by, and a row's outputs
    float turn[TOKENS][STEP_MOST_HEAD_DIM]; // cosines, then sines
};
static_assert(sizeof(space_of<1>) <= STEP_SPACE_BYTES, "step.h says how much there is");
static_assert(sizeof(space_of<STEP_MOST_TOKENS>) <= STEP_WIDE_SPACE_BYTES, "step.h says how much there is");

static __device__ __forceinline__ unsigned char *shared_memory()
{
    extern __shared__ __align__(1024) unsigned char shared[];
    return shared;
}

// ---- words between blocks --------------------------------------------------------------------------------

static __device__ __forceinline__ void store_word(uint32_t *at, uint32_t word)
{
    asm volatile("st.relaxed.gpu.global.u32 [%0], %1;" ::"l"(at), "r"(word) : "memory");
}

static __device__ __forceinline__ uint32_t load_word(const uint32_t *at)
{
    uint32_t v;
    asm volatile("ld.relaxed.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
    return v;
}

// Each word of the vector is a separate access.
static __device__ __forceinline__ uint4 load_words(const uint32_t *at)
{
    uint4 v;
    asm volatile("ld.relaxed.gpu.global.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w)
                 : "l"(at)
                 : "memory");
    return v;
}

static __device__ __forceinline__ bool fresh(const uint4 &v, uint32_t tag)
{
    return (((v.x ^ tag) | (v.y ^ tag) | (v.z ^ tag) | (v.w ^ tag)) & 0xff) == 0;
}

static __device__ __forceinline__ void await(uint4 &v, const uint32_t *at, uint32_t tag)
{
    while (!fresh(v, tag))
        v = load_words(at);
}

// Stores one packed word of 64 bits, or two of them.
static __device__ __forceinline__ void store_packed(uint32_t *at, uint32_t low, uint32_t high)
{
    const uint64_t word = (uint64_t)high << 32 | low;
    asm volatile("st.relaxed.gpu.global.u64 [%0], %1;" ::"l"(at), "l"(word) : "memory");
}

static __device__ __forceinline__ uint2 load_packed(const uint32_t *at)
{
    uint64_t v;
    asm volatile("ld.relaxed.gpu.global.u64 %0, [%1];" : "=l"(v) : "l"(at) : "memory");
    return make_uint2((uint32_t)v, (uint32_t)(v >> 32));
}

static __device__ __forceinline__ uint4 load_two_packed(const uint32_t *at)
{
    uint64_t v, w;
    asm volatile("ld.relaxed.gpu.global.v2.u64 {%0, %1}, [%2];" : "=l"(v), "=l"(w) : "l"(at) : "memory");
    return make_uint4((uint32_t)v, (uint32_t)(v >> 32), (uint32_t)w, (uint32_t)(w >> 32));
}

static __device__ __forceinline__ void await_packed(uint2 &v, const uint32_t *at, uint32_t tag)
{
    while ((v.x ^ tag) & 0xff)
        v = load_packed(at);
}
static __device__ __forceinline__ void await_packed(uint4 &v, const uint32_t *at, uint32_t tag)
{
    while (((v.x ^ tag) | (v.z ^ tag)) & 0xff)
        v = load_two_packed(at);
}

// 8 words per lane, 16 per pair of lanes. A load moves whole sectors of 32 bytes, so the lanes of a pair read 4
// adjacent words each and swap those that belong to the other. `at`: this lane's first word.
struct eight_words {
    uint4 v[2];
    // Called by all lanes of the warp. Words that are not here are zeros.
    __device__ __forceinline__ void take(const uint32_t *at, int lane, bool here, uint32_t tag)
    {
        const bool odd = lane % 2;
        at -= odd ? 4 : 0;
        v[0] = v[1] = make_uint4(0, 0, 0, 0);
        for (bool stale = here; stale; stale = !fresh(v[0], tag) || !fresh(v[1], tag)) {
            v[0] = load_words(at);
            v[1] = load_words(at + 8);
        }
        __syncwarp();
        const uint4 give = odd ? v[0] : v[1];
        uint4 got;
        got.x = __shfl_xor_sync(~0u, give.x, 1);
        got.y = __shfl_xor_sync(~0u, give.y, 1);
        got.z = __shfl_xor_sync(~0u, give.z, 1);
        got.w = __shfl_xor_sync(~0u, give.w, 1);
        if (odd)
            v[0] = got;
        else
            v[1] = got;
    }
};

static __device__ __forceinline__ void arrive(uint32_t *counter)
{
    asm volatile("red.relaxed.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

// The same for plain rows: what the block stored before its last barrier happens before what others load after they
// have seen the arrival.
static __device__ __forceinline__ void arrive_release(uint32_t *counter)
{
    asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(counter) : "memory");
}

static __device__ __forceinline__ uint32_t load_acquire(const uint32_t *at)
{
    uint32_t v;
    asm volatile("ld.acquire.gpu.global.u32 %0, [%1];" : "=r"(v) : "l"(at) : "memory");
    return v;
}

// Tells the producer which phase its block is in. It is a hint, which orders nothing.
static __device__ __forceinline__ void set_phase(int *at, int phase)
{
    atomicExch_block(at, phase);
}
static __device__ __forceinline__ int get_phase(int *at)
{
    return atomicAdd_block(at, 0);
}

// ---- barriers and copies of shared memory ----------------------------------------------------------------

static __device__ __forceinline__ void barrier_init(uint64_t *barrier, int count)
{
    asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(count) : "memory");
}

static __device__ __forceinline__ void barrier_arrive(uint64_t *barrier)
{
    asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
}

static __device__ __forceinline__ void barrier_expect(uint64_t *barrier, int bytes)
{
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)), "r"(bytes)
                 : "memory");
}

static __device__ __forceinline__ bool barrier_test(uint64_t *barrier, uint32_t parity)
{
    uint32_t done;
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
    return done;
}

static __device__ __forceinline__ bool barrier_peek(uint64_t *barrier, uint32_t parity)
{
    uint32_t done;
    asm volatile("{\n.reg .pred p;\n"
                 "mbarrier.test_wait.parity.shared::cta.b64 p, [%1], %2;\n"
                 "selp.u32 %0, 1, 0, p;\n}"
                 : "=r"(done)
                 : "r"(shared_address(barrier)), "r"(parity)
                 : "memory");
    return done;
}

static __device__ __forceinline__ void barrier_wait(uint64_t *barrier, uint32_t parity)
{
    while (!barrier_test(barrier, parity)) {
    }
}

static __device__ __forceinline__ void copy_stage(void *to, const void *from, uint32_t bytes, uint64_t *barrier,
                                                  uint64_t policy)
{
    asm volatile("cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.L2::cache_hint "
                 "[%0], [%1], %2, [%3], %4;" ::"r"(shared_address(to)),
                 "l"(from), "r"(bytes), "r"(shared_address(barrier)), "l"(policy)
                 : "memory");
}

// ---- the ring --------------------------------------------------------------------------------------------

// A place in the ring, and the parity of the current phase of its barriers.
struct ring_at {
    int slot;
    uint32_t parity;
    __device__ __forceinline__ void next(int slots)
    {
        if (++slot == slots) {
            slot = 0;
            parity ^= 1;
        }
    }
};

// Loads one stage. Keys, values and their scales are apart in the cache, and at fixed places in a stage.
static __device__ __forceinline__ void load_stage(const cuda_step &job, const step_stage &stage, unsigned char *to,
                                                  uint64_t *barrier, uint64_t policy)
{
    barrier_expect(barrier, stage.total_bytes);
    copy_stage(to, stage.from, stage.bytes, barrier, policy);
    if (!stage.values)
        return;
    const int all = job.key_stage * step_key_bytes(&job);
    copy_stage(to + all, stage.values, stage.bytes, barrier, policy);
    if (!stage.scales)
        return;
    copy_stage(to + 2 * all, stage.scales, stage.scales_bytes, barrier, policy);
    copy_stage(to + 2 * all + job.key_stage * 4, stage.scales + job.kv_block_bytes, stage.scales_bytes, barrier,
               policy);
}

static __device__ __forceinline__ void prefetch(const void *from, uint32_t bytes)
{
    asm volatile("cp.async.bulk.prefetch.L2.global [%0], %1;" ::"l"(from), "r"(bytes) : "memory");
}

// Prefetches stages further ahead into the L2, at intervals, while the ring is full.
struct prefetcher {
    step_cursor cursor;
    int made; // stages prefetched so far
    long long last;

    __device__ __forceinline__ void poll(const cuda_step &job, const step_space &s, int done, const step_cursor &at)
    {
        const long long now = clock64();
        if (now - last < job.pace || made >= done + job.far)
            return;
        if (made < done) {
            made = done;
            cursor = at;
        }
        step_stage stage;
        last = now;
        made++;
        if (!step_next(&job, blockIdx.x, s.sequence, s.position, &cursor, &stage))
            return;
        prefetch(stage.from, stage.bytes);
        if (stage.values)
            prefetch(stage.values, stage.bytes);
    }
};

// One thread streams all of the block's stages. Past the block's current phase it keeps fewer in flight, so that
// exchanged words do not queue behind them.
static __device__ __forceinline__ void stream_stages(const cuda_step &job, step_space &s, unsigned char *ring)
{
    ring_at put = {0, 0}, landed = {0, 0};
    int done = 0, arrived = 0;
    uint64_t policy;
    step_cursor cursor;
    step_stage stage;
    asm volatile("createpolicy.fractional.L2::evict_first.b64 %0, 1.0;" : "=l"(policy));
    step_begin(&job, blockIdx.x, &cursor);
    prefetcher far = {cursor, 0, clock64()};
    while (step_next(&job, blockIdx.x, s.sequence, s.position, &cursor, &stage)) {
        while (!barrier_peek(&s.empty[put.slot], put.parity ^ 1))
            far.poll(job, s, done + 1, cursor);
        while (done - arrived >= (stage.phase > get_phase(&s.phase) ? job.ahead : job.inside)) {
            barrier_wait(&s.full[landed.slot], landed.parity);
            landed.next(job.ring);
            arrived++;
        }
        load_stage(job, stage, ring + put.slot * job.stage_bytes, &s.full[put.slot], policy);
        far.last = clock64();
        put.next(job.ring);
        done++;
    }
}
