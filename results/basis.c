// basis.c - the order of the bases of verdicts, and a share of the roof as text.
#include "results/basis.h"

#include <math.h>
#include <stdio.h>

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

// "86", "under 1" for a share that would round to 0.
static void percent_words(double share, char *out, size_t out_bytes)
{
    if (share > 0 && share < 0.005)
        snprintf(out, out_bytes, "under 1");
    else
        snprintf(out, out_bytes, "%.0f", 100 * share);
}

bool metric_share(double share, double low, double high, char *out, size_t out_bytes)
{
    char low_words[24], high_words[24], middle[24];
    percent_words(low, low_words, sizeof low_words);
    percent_words(high, high_words, sizeof high_words);
    percent_words(share, middle, sizeof middle);
    bool range = !isnan(low) && !isnan(high) && !str_equal(low_words, high_words);
    if (range)
        snprintf(out, out_bytes, "%s to %s %%", low_words, high_words);
    else
        snprintf(out, out_bytes, "%s %%", middle);
    return range;
}

const char *metric_allows(const char *bound)
{
    if (str_equal(bound, "balanced"))
        return "memory and compute allow";
    return str_equal(bound, "compute") ? "compute allows" : "memory allows";
}
