// basis.c - the order of the bases of verdicts.
#include "results/basis.h"

#include "base/str.h"

int metric_basis_rank(const char *basis)
{
    static const char *const best_first[] = {BASIS_COUNTERS, BASIS_ACTIVITY, BASIS_EVENTS,
                                             BASIS_CLOCK};
    int rank = 0, known = (int)(sizeof best_first / sizeof best_first[0]);
    while (rank < known && !str_starts(basis, best_first[rank]))
        rank++;
    return rank;
}
