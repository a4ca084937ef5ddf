// step_block.cuh - shared by all phases of the persistent kernel: a block's state, its waits, and the exchange words by
// phase, item and row. For step.cu only.
#pragma once

#include "kernels/cuda/fragments.cuh"
#include "kernels/cuda/rows.cuh"
#include "kernels/cuda/step_ring.cuh"

// The inputs of a part, its blocks of 64, and the lanes that gather its inputs, 8 each.
template <enum dtype T> struct part_of {
    enum { blocks = STEP_VECTORS / weights<T>::words, cols = blocks * CUDA_BLOCK_COLS, lanes = cols / 8 };
    // whole: a row is rounded only once all of it has arrived.
    enum { whole = T == DT_I8 || T == DT_F16 };
    // The rounded inputs of a block, in the order of its columns: a lane's 16 inputs lie together in `vectors` 16-byte
    // vectors.
    enum { element_bytes = T == DT_I8 ? 1 : 2, vectors = element_bytes };
    static constexpr int bytes = step_input_bytes(T); // bytes of the inputs of a part
};

// The position of a block, which passes from phase to phase.
struct block_place {
    int layer, phase;       // phase: counted over all layers
    uint32_t tag, arrivals; // arrivals: the count that the next wait expects
    ring_at at;
};

// A block_place with the values that follow from it. Inlined code uses the job in the kernel's parameter, so that its
// fields are operands. Functions that are not inlined take the block_place and use the copy of the job in shared
// memory.
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

    // Waits for all warps that compute.
    __device__ __forceinline__ void sync() const
    {
        asm volatile("bar.sync 1, %0;" ::"n"(STEP_WARPS * 32) : "memory");
    }

    // Waits for the next stage of the ring, which may be read until release.
    __device__ __forceinline__ const unsigned char *wait() const
    {
        barrier_wait(&s.full[at.slot], at.parity);
        return ring + at.slot * stage_bytes;
    }
    // Every lane releases the stage itself. One lane could arrive for its warp, but racecheck cannot follow that.
    __device__ __forceinline__ void release()
    {
        barrier_arrive(&s.empty[at.slot]);
        at.next(slots);
    }

    // Ends a phase: this block has posted its words.
    __device__ __forceinline__ void leave_phase()
    {
        sync();
        if (threadIdx.x == 0)
            arrive(job.exchange + job.counters);
    }
    // Waits until all blocks have left the previous phase. This is only a hint, because each word shows whether it has
    // arrived.
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
        return (uint32_t)job.slots[which] + step_row_at(&job, step_slot(&job, start, row / CUDA_TILE_ROWS), token,
                                              row % CUDA_TILE_ROWS);
    }
};
