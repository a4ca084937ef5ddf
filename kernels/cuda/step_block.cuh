// step_block.cuh - what all phases of the persistent kernel share: a block's state, its waits, and exchange words by
// phase, item and row. For step.cu alone.
#pragma once

#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/step_ring.cuh"

// Inputs of a part, its blocks of 64, and lanes that gather its inputs, 8 each.
template <enum dtype T> struct part_of {
    enum { blocks = STEP_VECTORS / weights<T>::words, cols = blocks * CUDA_BLOCK_COLS, lanes = cols / 8 };
    // Rows are rounded when all of them is there.
    enum { whole = T == DT_I8 || T == DT_F16 };
    // Of a block, rounded, in the order of its columns: a lane's 16 inputs lie together, `vectors` of 16 bytes.
    enum { element_bytes = T == DT_I8 ? 1 : 2, vectors = element_bytes };
    static constexpr int bytes = step_input_bytes(T); // of its inputs
};

// Where a block is: what passes from phase to phase.
struct block_place {
    int layer, phase;       // phase: over all layers
    uint32_t tag, arrivals; // arrivals: that the next wait expects
    ring_at at;
};

// The same with what follows from it. The job is the kernel's parameter where all is inlined, so that its fields are
// operands; functions that are not inlined take the place, and the copy in shared memory.
struct block_state : block_place {
    step_space &s;
    const cuda_step &job;
    unsigned char *ring, *inputs;
    int lane, warp, slots, stage_bytes;

    __device__ __forceinline__ block_state(const block_place &place)
        : block_state(place, reinterpret_cast<step_space *>(shared_memory())->job)
    {
    }
    __device__ __forceinline__ block_state(const block_place &place, const cuda_step &of)
        : block_place(place), s(*reinterpret_cast<step_space *>(shared_memory())), job(of),
          ring(shared_memory() + STEP_SPACE_BYTES), inputs(ring + (size_t)job.ring * job.stage_bytes),
          lane(threadIdx.x % 32), warp(threadIdx.x / 32), slots(job.ring), stage_bytes(job.stage_bytes)
    {
    }

    // All warps that compute.
    __device__ __forceinline__ void sync() const
    {
        asm volatile("bar.sync 1, %0;" ::"n"(STEP_WARPS * 32) : "memory");
    }

    // The next stage of the ring; it is read until release.
    __device__ __forceinline__ const unsigned char *wait() const
    {
        barrier_wait(&s.full[at.slot], at.parity);
        return ring + at.slot * stage_bytes;
    }
    // Every lane gives back what it read itself: one that arrived for its warp would be as right, but racecheck does not
    // follow that.
    __device__ __forceinline__ void release()
    {
        barrier_arrive(&s.empty[at.slot]);
        at.next(slots);
    }

    // The end of a phase: this block's words are posted.
    __device__ __forceinline__ void leave_phase()
    {
        sync();
        if (threadIdx.x == 0)
            arrive(job.exchange + job.counters);
    }
    // All blocks have left the phase before. A hint: words themselves say whether they are there.
    __device__ __forceinline__ void enter_phase() const
    {
        if (threadIdx.x == 0) {
            const uint32_t *counter = job.exchange + job.counters;
            while ((int)(load_word(counter) - arrivals) < 0) {
            }
            set_phase(&s.phase, phase);
        }
        sync();
    }
    __device__ __forceinline__ void next_phase()
    {
        leave_phase();
        phase++;
        arrivals += job.blocks;
    }

    __device__ __forceinline__ void post(uint32_t word, float v) const
    {
        store_word(job.exchange + word, step_word(v, tag));
    }

    // Four lanes next to each other post their values as one packed word, at the first one's.
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

    // Where the words of a row begin that `phase` wrote with these starts; rows of 16 are contiguous.
    __device__ __forceinline__ uint32_t row_word(int which, int start, int token, int row) const
    {
        return (uint32_t)job.slots[which] + step_row_at(&job, step_slot(&job, start, row / CUDA_TILE_ROWS), token,
                                              row % CUDA_TILE_ROWS);
    }
};
