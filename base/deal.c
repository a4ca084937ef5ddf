// deal.c - counters from which free workers take work. See deal.h for why.
//
// The counters order nothing but themselves: barriers before and after order the reads and writes of the units.
#include "base/deal.h"

#include "base/pool.h"

void deal_begin(struct deal *deal, struct deal_slot *slots, int count, int piece, int worker,
                int workers)
{
    struct deal_slot *own = &slots[worker];
    int round = (int)(own->deals++ % DEAL_ROUNDS);
    *deal = (struct deal){
        .slots = slots,
        .worker = worker,
        .workers = workers,
        .round = round,
        .count = count,
        .piece = piece,
    };
    atomic_store_explicit(&own->next[(round + 1) % DEAL_ROUNDS], 0, memory_order_relaxed);
}

bool deal_next(struct deal *deal, int *begin, int *end)
{
    for (; deal->helped < deal->workers; deal->helped++) {
        int owner = (deal->worker + deal->helped) % deal->workers, first, last;
        _Atomic int *next = &deal->slots[owner].next[deal->round];
        pool_share(deal->count, 1, owner, deal->workers, &first, &last);
        int share = last - first;
        if (atomic_load_explicit(next, memory_order_relaxed) >= share)
            continue;
        int taken = atomic_fetch_add_explicit(next, deal->piece, memory_order_relaxed);
        if (taken >= share)
            continue;
        *begin = first + taken;
        *end = share - taken < deal->piece ? last : *begin + deal->piece;
        return true;
    }
    return false;
}
