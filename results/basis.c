// basis.c - the order of the bases of verdicts, and a share of the roof as text.
#include "results/basis.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

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

bool metric_agrees(double ratio)
{
    return fabs(ratio - 1) <= BASIS_AGREE;
}

const char *metric_bytes_cause(double ratio, bool on_host)
{
    if (ratio < 1)
        return "caches kept part of what the model reads from memory";
    return on_host ? "caches lost data that is used again, or other programs used memory"
                   : "the last cache lost data that is used again, or the device did other work";
}

const char *metric_operations_cause(double ratio)
{
    return ratio < 1 ? "part of the products ran outside the tensor cores"
                     : "tiles are wider than the tokens of a step";
}

void metric_counted_findings(double bytes_ratio, double operations_ratio, bool on_host,
                             const char *before, char *out, size_t out_bytes)
{
    const struct {
        double ratio;
        const char *what, *cause;
    } of[] = {{bytes_ratio, "bytes", metric_bytes_cause(bytes_ratio, on_host)},
              {operations_ratio, "operations", metric_operations_cause(operations_ratio)}};
    out[0] = '\0';
    for (size_t i = 0; i < sizeof of / sizeof *of; i++) {
        size_t used = strlen(out);
        if (!isnan(of[i].ratio) && !metric_agrees(of[i].ratio))
            snprintf(out + used, out_bytes - used, "%s%.2f times the analytic %s were counted (%s)",
                     before, of[i].ratio, of[i].what, of[i].cause);
    }
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
