// route.c - top-k of the router's scores, and a counting sort of the slots. See route.h.
#include "engine/model/route.h"

#include <assert.h>
#include <math.h>
#include <string.h>

// Whether score a of expert i ranks before score b of expert j.
static bool before(float a, int i, float b, int j)
{
    if (isnan(b))
        return !isnan(a) || i < j;
    return a > b || (a == b && i < j);
}

// Inserts an expert into the sorted list of the best so far; `used` is small.
static int insert(const float *scores, int *chosen, int count, int used, int expert)
{
    int at = count;
    while (at > 0 && before(scores[expert], expert, scores[chosen[at - 1]], chosen[at - 1]))
        at--;
    if (at == used)
        return count;
    int moved = (count < used ? count : used - 1) - at;
    memmove(chosen + at + 1, chosen + at, (size_t)moved * sizeof *chosen);
    chosen[at] = expert;
    return count < used ? count + 1 : used;
}

void route_choose(const float *scores, int experts, int used, bool renormed, int *chosen,
                  float *shares)
{
    assert(used >= 1 && used <= experts);
    int count = 0;
    for (int e = 0; e < experts; e++)
        count = insert(scores, chosen, count, used, e);
    float most = scores[chosen[0]], all = 0, of_chosen = 0;
    for (int e = 0; e < experts; e++)
        all += expf(scores[e] - most);
    for (int i = 0; i < used; i++) {
        shares[i] = expf(scores[chosen[i]] - most);
        of_chosen += shares[i];
    }
    for (int i = 0; i < used; i++)
        shares[i] /= renormed ? of_chosen : all;
}

void route_group(const int *chosen, const float *shares, int tokens, int used, int experts,
                 struct route_groups *out)
{
    int *first = out->first;
    memset(first, 0, ((size_t)experts + 1) * sizeof *first);
    for (int i = 0; i < tokens * used; i++)
        first[chosen[i] + 1]++;
    for (int e = 0; e < experts; e++)
        first[e + 1] += first[e];
    for (int i = 0; i < tokens * used; i++) { // first[e] runs ahead to the expert's end
        int slot = first[chosen[i]]++;
        out->token[slot] = i / used;
        out->share[slot] = shares[i];
    }
    memmove(first + 1, first, (size_t)experts * sizeof *first); // and back: ends are beginnings
    first[0] = 0;
}
