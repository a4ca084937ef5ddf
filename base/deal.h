// deal.h - dynamic work sharing: each worker does its own share first, then helps the others.
//
// Equal shares take equal time only on equally fast processors. On a shared host, or where two cores split one memory
// bus unevenly, all would wait at the barrier for the slowest. Here each worker takes its contiguous share of [0,
// count) piece by piece, and helps the others when it is done.
//
// All workers begin each deal, and between two deals on the same slots they meet at a barrier or at the end of the job.
// Deals alternate between two sets of counters. In one deal each worker clears its counter of the other set, which no
// worker reads at that time. So no extra barrier is needed.
#ifndef BASE_DEAL_H
#define BASE_DEAL_H

#include <stdatomic.h>
#include <stdbool.h>

enum { DEAL_ROUNDS = 2 };

// How much of its share a worker has taken, by round. Each slot fills one cache line.
struct deal_slot {
    _Alignas(64) _Atomic int next[DEAL_ROUNDS];
    unsigned deals; // deals begun by this worker
};

// One worker's view of a deal.
struct deal {
    struct deal_slot *slots;
    int worker, workers, round, count, piece;
    int helped; // shares that this worker has finished, its own first
};

// slots: (workers), borrowed, all zeros before the first deal. piece: units taken at a time, at least 1.
void deal_begin(struct deal *deal, struct deal_slot *slots, int count, int piece, int worker,
                int workers);

// Takes the next units [*begin, *end) for this worker; false when all are taken. Every unit is taken once.
bool deal_next(struct deal *deal, int *begin, int *end);

#endif
