// sampler.c - picks the next id from logits: greedily, or by a draw after temperature, top-k and top-p.
//
// The filters act in the order of transformers: temperature, then the k most likely ids, then the smallest set of those
// that holds top_p of their probability. Each sequence draws from its own stream, named by (seed, sequence), one number
// per token. So its ids do not depend on the batch.
#include "engine/model/sampler.h"

#include <math.h>
#include <stdlib.h>

struct candidate {
    float logit;
    int32_t id;
};

enum status sampling_check(const struct sampling *sampling, struct error *err)
{
    if (!(sampling->temperature >= 0) || isinf(sampling->temperature))
        return FAIL(err, ERR_USAGE, "temperature %g: must be 0 or more", sampling->temperature);
    if (sampling->top_k < 0)
        return FAIL(err, ERR_USAGE, "top_k %d: must be 0 (off) or more", sampling->top_k);
    if (!(sampling->top_p > 0 && sampling->top_p <= 1) && sampling->temperature > 0)
        return FAIL(err, ERR_USAGE, "top_p %g: must be above 0 and at most 1", sampling->top_p);
    return OK;
}

// ---- scanning --------------------------------------------------------------------------------------------

enum { LANES = 16 }; // independent chains that a compiler can keep in vector registers

int64_t logits_nonfinite(const float *logits, size_t n)
{
    int64_t count = 0;
    for (size_t i = 0; i < n; i++)
        count += !isfinite(logits[i]);
    return count;
}

// The largest of n numbers, ignoring NaN; -INFINITY if there is none.
static float largest(const float *x, int n)
{
    float lane[LANES], most = -INFINITY;
    int i = 0;
    for (int l = 0; l < LANES; l++)
        lane[l] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int l = 0; l < LANES; l++)
            lane[l] = x[i + l] > lane[l] ? x[i + l] : lane[l];
    for (; i < n; i++)
        most = x[i] > most ? x[i] : most;
    for (int l = 0; l < LANES; l++)
        most = lane[l] > most ? lane[l] : most;
    return most;
}

struct logits_scan logits_scan(const float *row, int begin, int end)
{
    int n = end - begin;
    struct logits_scan s = {.best = -1, .max = -INFINITY};
    if (n <= 0)
        return s;
    s.max = largest(row + begin, n);
    for (int i = begin; i < end; i++) {
        s.finite += isfinite(row[i]) != 0;
        s.nan |= isnan(row[i]) != 0;
    }
    s.unusual = n - s.finite;
    for (int i = begin; i < end && s.best < 0; i++)
        if (row[i] == s.max)
            s.best = i;
    return s;
}

struct logits_scan logits_scan_join(struct logits_scan left, struct logits_scan right)
{
    bool later = left.best < 0 || (right.best >= 0 && right.max > left.max);
    return (struct logits_scan){
        .best = later ? right.best : left.best,
        .max = later ? right.max : left.max,
        .finite = left.finite + right.finite,
        .unusual = left.unusual + right.unusual,
        .nan = left.nan || right.nan,
    };
}

// ---- drawing ---------------------------------------------------------------------------------------------

struct rng sampling_stream(uint64_t seed, int sequence)
{
    return (struct rng){.state = rng_hash(seed ^ rng_hash((uint64_t)sequence))};
}

enum status sampler_init(struct sampler *s, int vocab, struct error *err)
{
    *s = (struct sampler){
        .heap = calloc((size_t)vocab, sizeof *s->heap),
        .weights = calloc((size_t)vocab, sizeof *s->weights),
    };
    if (s->heap && s->weights)
        return OK;
    sampler_fini(s);
    return FAIL(err, ERR_NOMEM, "sampler: candidates for a vocabulary of %d", vocab);
}

void sampler_fini(struct sampler *s)
{
    free(s->heap);
    free(s->weights);
    *s = (struct sampler){0};
}

// One draw from a row whose largest logit is `max`.
struct draw {
    const struct sampling *sampling;
    struct sampler *scratch;
    const float *row;
    int vocab;
    float max;
};

static bool before(struct candidate a, struct candidate b)
{
    return a.logit > b.logit || (a.logit == b.logit && a.id < b.id);
}

static void sift_down(struct candidate *heap, int count, int at)
{
    struct candidate moving = heap[at];
    for (int child; (child = 2 * at + 1) < count; at = child) {
        if (child + 1 < count && before(heap[child + 1], heap[child]))
            child++;
        if (!before(heap[child], moving))
            break;
        heap[at] = heap[child];
    }
    heap[at] = moving;
}

// Takes the first element of the heap and stores it just past the end of the shrunken heap. After k pops the k
// likeliest ids are at the end of the array, the likeliest last.
static struct candidate heap_pop(struct candidate *heap, int *count)
{
    struct candidate first = heap[0];
    heap[0] = heap[--*count];
    heap[*count] = first;
    sift_down(heap, *count, 0);
    return first;
}

static double weight(const struct draw *d, float logit)
{
    return exp(((double)logit - (double)d->max) / (double)d->sampling->temperature);
}

// Draws without a filter: one pass over the vocabulary in id order.
static int32_t draw_from_all(const struct draw *d, double u)
{
    double *weights = d->scratch->weights, total = 0, reached = 0;
    for (int i = 0; i < d->vocab; i++)
        total += weights[i] = weight(d, d->row[i]);
    int32_t last = 0;
    for (int i = 0; i < d->vocab; i++) {
        if (weights[i] == 0)
            continue;
        last = i;
        reached += weights[i];
        if (reached > u * total)
            return i;
    }
    return last;
}

// Draws from the candidates in falling order, as many as top_k and top_p keep.
static int32_t draw_from_top(const struct draw *d, double u)
{
    struct candidate *heap = d->scratch->heap;
    double *weights = d->scratch->weights, top_p = d->sampling->top_p, total = 0, kept = 0;
    int top_k = d->sampling->top_k, k = top_k && top_k < d->vocab ? top_k : d->vocab;
    for (int i = 0; i < d->vocab; i++) {
        heap[i] = (struct candidate){d->row[i], i};
        total += weight(d, d->row[i]);
    }
    for (int i = d->vocab / 2 - 1; i >= 0; i--)
        sift_down(heap, d->vocab, i);
    int left = d->vocab, count = 0;
    if (k < d->vocab) { // top_p is a share of what top_k keeps
        total = 0;
        for (; count < k; count++)
            total += weights[count] = weight(d, heap_pop(heap, &left).logit);
        for (count = 0; count < k && kept < top_p * total; count++)
            kept += weights[count];
    } else {
        for (; count < k && kept < top_p * total; count++)
            kept += weights[count] = weight(d, heap_pop(heap, &left).logit);
    }
    double reached = 0;
    int chosen = 0;
    for (; chosen < count - 1; chosen++) {
        reached += weights[chosen];
        if (reached > u * kept)
            break;
    }
    return heap[d->vocab - 1 - chosen].id;
}

int32_t sampler_next(struct sampler *s, const struct sampling *sampling, struct rng *stream,
                     const float *row, int vocab, const struct logits_scan *scan)
{
    bool certain = scan->max == INFINITY && scan->finite > 0; // plus infinity among finite logits
    if (scan->nan || scan->best < 0 || (!certain && !isfinite(scan->max)))
        return -1;
    if (sampling->temperature == 0)
        return scan->best;
    double u = (double)(rng_u64(stream) >> 11) * 0x1p-53;
    if (certain)
        return scan->best;
    struct draw d = {sampling, s, row, vocab, scan->max};
    return sampling->top_k == 0 && sampling->top_p >= 1 ? draw_from_all(&d, u)
                                                        : draw_from_top(&d, u);
}
