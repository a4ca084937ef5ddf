// step_block.cuh - shared by all phases of the persistent kernel: a block's state, its waits, and the exchange words by
// phase, item and row. For step_kernel.cuh only.
#pragma once

#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/step_ring.cuh"

// The inputs of a part, its blocks of 64, and the lanes that gather its inputs, 8 each.
template <enum dtype T, bool WIDE = false> struct part_of {
    enum { blocks = STEP_VECTORS / weights<T>::words, cols = blocks * CUDA_BLOCK_COLS, lanes = cols / 8 };
    // whole: a row is rounded only once all of it has arrived.
    enum { whole = T == DT_I8 || T == DT_F16 };
    // The rounded inputs of a block, in the order of its columns: a lane's 16 inputs lie together in `vectors` 16-byte
    // vectors.
    enum { element_bytes = T == DT_I8 ? 1 : 2, vectors = element_bytes };
    static constexpr int bytes = step_input_bytes(T, WIDE); // bytes of the inputs of a part
};

// The larger of two magnitudes. A NaN stays a NaN.
static __device__ __forceinline__ float larger(float a, float b)
{
    float v;
    asm("max.NaN.f32 %0, %1, %2;" : "=f"(v) : "f"(a), "f"(b));
    return v;
}

// The scale of inputs that have one per part or row, and its inverse: powers of 2, by the exponent of the largest one.
// Scaled inputs are below 2^14. Inputs that no f32 can scale become NaNs, and inputs below 2^-100 become zeros.
static __device__ __forceinline__ float part_scale(int exponent)
{
    return exponent < 27 ? 0.0f : exponent > 246 ? NAN : step_power(exponent - 13);
}
static __device__ __forceinline__ float part_inverse(int exponent)
{
    return exponent < 27 || exponent > 246 ? 0.0f : step_power(267 - exponent);
}

static __device__ __forceinline__ float power_of_2(float x)
{
    float v;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(v) : "f"(x));
    return v;
}

// The position of a block, which passes from phase to phase.
struct block_place {
    int layer, phase;       // phase: counted over all layers
    uint32_t tag, arrivals; // arrivals: the count that the next wait expects
    ring_at at;
};

// Clock stamps of a block's phases, by one thread. Without STAMPED there is no code.
template <bool STAMPED> struct block_stamps {
    __device__ __forceinline__ void mark(const cuda_step &, int, enum step_mark) const
    {
    }
    __device__ __forceinline__ void wait_begins()
    {
    }
    __device__ __forceinline__ void wait_ends()
    {
    }
};

template <> struct block_stamps<true> {
    long long waited = 0; // clocks that thread 0 waited for stages of the ring in this phase
    __device__ __forceinline__ void mark(const cuda_step &job, int phase, enum step_mark mark)
    {
        if (threadIdx.x)
            return;
        uint64_t *to = job.stamps + step_stamps_at(&job, blockIdx.x, phase);
        to[mark] = (uint64_t)clock64();
        if (mark == STEP_MARK_SUMMED)
            to[STEP_MARK_WAITED] = (uint64_t)waited;
        if (mark == STEP_MARK_BEGIN) {
            asm volatile("mov.u64 %0, %globaltimer;" : "=l"(to[STEP_MARK_NS]));
            waited = 0;
        }
    }
    __device__ __forceinline__ void wait_begins()
    {
        waited -= clock64();
    }
    __device__ __forceinline__ void wait_ends()
    {
        waited += clock64();
    }
};

// A block_place with the values that follow from it. The job is the kernel's parameter, so its fields are operands.
template <int TOK, bool STAMPED> struct block_of : block_place {
    typedef space_of<TOK> space;
    enum { WIDE = space::WIDE };
    space &s;
    const cuda_step &job;
    unsigned char *ring, *inputs;
    int thread, lane, warp, slots, stage_bytes;
    block_stamps<STAMPED> stamps;

    __device__ __forceinline__ block_of(const block_place &place, const cuda_step &of)
        : block_place(place), s(*reinterpret_cast<space *>(shared_memory())), job(of),
          ring(shared_memory() + space::BYTES), inputs(ring + (size_t)job.ring * job.stage_bytes), slots(job.ring),
          stage_bytes(job.stage_bytes)
    {
        locate();
    }

    // Each phase reads the thread's number again, from an instruction that the compiler cannot move. Otherwise it would
    // compute addresses once, before all layers, and spill them. Spilled registers of 544 threads do not fit the cache
    // that is left next to the ring, so each reload would wait for the L2.
    __device__ __forceinline__ void locate()
    {
        asm volatile("mov.u32 %0, %%tid.x;" : "=r"(thread));
        lane = thread % 32;
        warp = thread / 32;
    }

    // Waits for all warps that compute.
    __device__ __forceinline__ void sync() const
    {
        asm volatile("bar.sync 1, %0;" ::"n"(STEP_WARPS * 32) : "memory");
    }

    // Waits for the next stage of the ring, which may be read until release.
    __device__ __forceinline__ const unsigned char *wait()
    {
        stamps.wait_begins();
        barrier_wait(&s.full[at.slot], at.parity);
        stamps.wait_ends();
        return ring + at.slot * stage_bytes;
    }
    // Every lane releases the stage itself: one lane could arrive for its warp, but racecheck cannot follow that. Call
    // this after the products of what was read. Instructions issue in order and a product waits for its operands, so
    // all reads of shared memory have ended by then. An arrive right after the reads would not wait for them, and the
    // next copy could overwrite the stage.
    __device__ __forceinline__ void release()
    {
        barrier_arrive(&s.empty[at.slot]);
        at.next(slots);
    }

    __device__ __forceinline__ void mark(enum step_mark mark)
    {
        stamps.mark(job, phase, mark);
    }

    // Announces that this block is about to post its words. Posting takes less time than a poll of the others.
    __device__ __forceinline__ void announce()
    {
        if (!WIDE && threadIdx.x == 0)
            arrive(job.exchange + job.counters);
    }
    // In the wide form, announces rows that all threads of the block have stored.
    __device__ __forceinline__ void leave_phase()
    {
        if (!WIDE)
            return;
        sync();
        if (threadIdx.x == 0)
            arrive_release(job.exchange + job.counters);
    }
    // Waits until all blocks have announced the words of the previous phase. This is only a hint: each word shows
    // whether it has arrived. In the wide form all rows of the previous phase may be loaded from then on.
    __device__ __forceinline__ void enter_phase()
    {
        mark(STEP_MARK_READY);
        if (threadIdx.x == 0) {
            const uint32_t *counter = job.exchange + job.counters;
            while ((int)((WIDE ? load_acquire(counter) : load_word(counter)) - arrivals) < 0) {
            }
        }
        sync();
        if (threadIdx.x == 0)
            set_phase(&s.phase, phase);
        mark(STEP_MARK_ENTERED);
    }
    __device__ __forceinline__ void next_phase()
    {
        phase++;
        arrivals += job.blocks;
        mark(STEP_MARK_BEGIN);
    }

    __device__ __forceinline__ void post(uint32_t word, float v) const
    {
        store_word(job.exchange + word, step_word(v, tag));
    }

    // Four neighbouring lanes post their values as one packed word, at the first lane's place.
    __device__ __forceinline__ void post_packed(uint32_t word, float v) const
    {
        const uint32_t four = 0xfu << (lane & 28);
        uint32_t largest = step_bits(fabsf(v));
        largest = max(largest, __shfl_xor_sync(four, largest, 1));
        largest = max(largest, __shfl_xor_sync(four, largest, 2));
        const int exponent = largest >> 23;
        const uint32_t mine = step_mantissa(v, exponent);
        const uint32_t half = mine << 8 | __shfl_xor_sync(four, mine, 1) << 20;
        const uint32_t high = __shfl_xor_sync(four, half, 2);
        if (lane % 4 == 0)
            store_packed(job.exchange + word, half | tag, high | exponent);
    }

    // The first word of a row that phase `which` wrote with this start. Rows of 16 are contiguous.
    __device__ __forceinline__ uint32_t row_word(int which, int start, int token, int row) const
    {
        return (uint32_t)job.slots[which] +
               step_row_at(&job, step_slot(&job, start, row / CUDA_TILE_ROWS), token, row % CUDA_TILE_ROWS);
    }
};
