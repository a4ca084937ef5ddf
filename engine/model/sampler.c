// sampler.c - logits become the next id: greedy, or drawn after temperature, top-k and top-p.
//
// The filters act in this order, as transformers does: temperature, then the k most likely, then the
// smallest set of those that holds top_p of their probability. Each sequence draws from a stream of its
// own, named by (seed, sequence), one number a token: what a sequence gets does not depend on its batch.
#include <math.h>
#include <stdlib.h>

#include "base/rng.h"
#include "engine/engine.h"

struct candidate {
    float logit;
    int32_t id;
};

struct sampler {
    struct sampling options;
    int vocab;
    struct candidate *heap; // (vocab)
    double *weights;        // (vocab) of the candidates kept, in falling order
    struct rng *streams;    // (stream_count) by sequence
    int stream_count;
};

enum status sampler_create(const struct sampling *sampling, int vocab, struct sampler **out,
                           struct error *err)
{
    *out = NULL;
    if (!(sampling->temperature >= 0) || isinf(sampling->temperature))
        return FAIL(err, ERR_USAGE, "temperature %g: must be 0 or more", sampling->temperature);
    if (sampling->top_k < 0)
        return FAIL(err, ERR_USAGE, "top_k %d: must be 0 (off) or more", sampling->top_k);
    if (!(sampling->top_p > 0 && sampling->top_p <= 1) && sampling->temperature > 0)
        return FAIL(err, ERR_USAGE, "top_p %g: must be above 0 and at most 1", sampling->top_p);
    if (vocab < 1)
        return FAIL(err, ERR_USAGE, "sampler: a vocabulary of %d", vocab);
    struct sampler *s = calloc(1, sizeof *s);
    if (!s)
        return FAIL(err, ERR_NOMEM, "sampler: %zu bytes", sizeof *s);
    s->options = *sampling;
    s->vocab = vocab;
    s->heap = calloc((size_t)vocab, sizeof *s->heap);
    s->weights = calloc((size_t)vocab, sizeof *s->weights);
    if (!s->heap || !s->weights) {
        sampler_destroy(s);
        return FAIL(err, ERR_NOMEM, "sampler: candidates for a vocabulary of %d", vocab);
    }
    *out = s;
    return OK;
}

void sampler_destroy(struct sampler *s)
{
    if (!s)
        return;
    free(s->heap);
    free(s->weights);
    free(s->streams);
    free(s);
}

// The sequence's stream; grows the table the first time a sequence is met. NULL: memory is exhausted.
static struct rng *stream_of(struct sampler *s, int sequence)
{
    if (sequence >= s->stream_count) {
        int count = sequence + 1;
        struct rng *grown = realloc(s->streams, (size_t)count * sizeof *grown);
        if (!grown)
            return NULL;
        for (int i = s->stream_count; i < count; i++)
            grown[i].state = rng_hash(s->options.seed ^ rng_hash((uint64_t)i));
        s->streams = grown;
        s->stream_count = count;
    }
    return &s->streams[sequence];
}

// Lowest id among the largest logits; -1 where there is none to take.
static int32_t largest(const float *logits, int n)
{
    int32_t best = 0;
    for (int i = 0; i < n; i++) {
        if (isnan(logits[i]))
            return -1;
        if (logits[i] > logits[best])
            best = i;
    }
    if (!isinf(logits[best]))
        return best;
    for (int i = 0; logits[best] > 0 && i < n; i++)
        if (!isinf(logits[i]))
            return best; // plus infinity beside finite logits: certain
    return -1;
}

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

// Takes the first of the heap and leaves it just behind the shrunken heap, so that after k pops the k
// likeliest stand at the array's end, the likeliest last.
static struct candidate heap_pop(struct candidate *heap, int *count)
{
    struct candidate first = heap[0];
    heap[0] = heap[--*count];
    heap[*count] = first;
    sift_down(heap, *count, 0);
    return first;
}

static double weight(const struct sampler *s, float logit, float max)
{
    return exp(((double)logit - (double)max) / (double)s->options.temperature);
}

// No filter: one pass over the vocabulary in id order.
static int32_t draw_from_all(const struct sampler *s, const float *logits, float max, double u)
{
    double total = 0, reached = 0;
    for (int i = 0; i < s->vocab; i++)
        total += s->weights[i] = weight(s, logits[i], max);
    int32_t last = 0;
    for (int i = 0; i < s->vocab; i++) {
        if (s->weights[i] == 0)
            continue;
        last = i;
        reached += s->weights[i];
        if (reached > u * total)
            return i;
    }
    return last;
}

// Candidates in falling order, as many as top_k and top_p keep.
static int32_t draw_from_top(struct sampler *s, const float *logits, float max, double u)
{
    int k = s->options.top_k && s->options.top_k < s->vocab ? s->options.top_k : s->vocab;
    double total = 0, kept = 0;
    for (int i = 0; i < s->vocab; i++) {
        s->heap[i] = (struct candidate){logits[i], i};
        total += weight(s, logits[i], max);
    }
    for (int i = s->vocab / 2 - 1; i >= 0; i--)
        sift_down(s->heap, s->vocab, i);
    int left = s->vocab, count = 0;
    if (k < s->vocab) { // top_p is a share of what top_k keeps
        total = 0;
        for (; count < k; count++)
            total += s->weights[count] = weight(s, heap_pop(s->heap, &left).logit, max);
        for (count = 0; count < k && kept < s->options.top_p * total; count++)
            kept += s->weights[count];
    } else {
        for (; count < k && kept < s->options.top_p * total; count++)
            kept += s->weights[count] = weight(s, heap_pop(s->heap, &left).logit, max);
    }
    double reached = 0;
    int chosen = 0;
    for (; chosen < count - 1; chosen++) {
        reached += s->weights[chosen];
        if (reached > u * kept)
            break;
    }
    return s->heap[s->vocab - 1 - chosen].id;
}

int32_t sampler_next(struct sampler *s, int sequence, const float *logits)
{
    int32_t best = largest(logits, s->vocab);
    if (best < 0 || s->options.temperature == 0)
        return best;
    struct rng *stream = stream_of(s, sequence);
    if (!stream)
        return -1;
    double u = (double)(rng_u64(stream) >> 11) * 0x1p-53;
    if (isinf(logits[best]))
        return best;
    if (s->options.top_k == 0 && s->options.top_p >= 1)
        return draw_from_all(s, logits, logits[best], u);
    return draw_from_top(s, logits, logits[best], u);
}

int logits_nonfinite(const float *logits, size_t n)
{
    int count = 0;
    for (size_t i = 0; i < n; i++)
        count += !isfinite(logits[i]);
    return count;
}
