// check_sample.c - checks the end of a step on a GPU: ids, streams, counts of non-finite logits, and the clock.
//
// The rule for drawing is written here in its simplest form: sort, sum, walk. tests/cuda/test_sample.c also compares
// with the CPU's sampler. A draw within 2^-22 of a boundary may fall on either side (cuda.h).
#include "kernels/cuda/check.h"

#include <math.h>
#include <stdlib.h>

enum { ROWS = 4 };

struct candidate {
    float logit;
    int32_t id;
    double weight;
};

struct draw {
    struct cuda_check *k;
    int vocab, top_k;
    float temperature, top_p;
    float *logits; // (ROWS, vocab)
    struct candidate *sorted;
    uint64_t stream[ROWS]; // of the sequences
    int32_t sequence[ROWS];
};

static int falling(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit)
        return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : x->id > y->id;
}

static int rising_ids(const void *a, const void *b)
{
    const struct candidate *x = a, *y = b;
    return x->id < y->id ? -1 : x->id > y->id;
}

// Fills the logits: widely spread, flat, full of ties, or with some that are not finite.
static void fill_logits(struct draw *d)
{
    struct check_case *c = &d->k->c;
    size_t n = (size_t)(ROWS * d->vocab);
    int kind = kernel_check_between(c, 0, 2);
    for (size_t i = 0; i < n; i++)
        d->logits[i] = kind == 0   ? 10 * d->logits[i]
                       : kind == 1 ? d->logits[i] / 100
                                   : roundf(3 * d->logits[i]);
    if (c->index % 4 != 3)
        return;
    for (size_t i = 3; i < n; i += 7)
        d->logits[i] = -INFINITY;
    d->logits[kernel_check_between(c, 0, d->vocab - 1)] = NAN;
    d->logits[d->vocab + kernel_check_between(c, 0, d->vocab - 1)] = INFINITY;
    for (int i = 0; i < d->vocab; i++)
        d->logits[2 * d->vocab + i] = -INFINITY;
}

static void draw_make(struct draw *d, struct cuda_check *k)
{
    static const int vocabs[] = {1, 2, 31, 1000, 4001, 32000};
    struct check_case *c = &k->c;
    c->mode = CHECK_PLAIN;
    *d = (struct draw){.k = k, .vocab = vocabs[c->index % 6]};
    d->temperature = c->index % 3 == 0 ? 0 : 0.05f + 1.5f * rng_f32(&c->rng);
    d->top_k = kernel_check_flip(c) ? kernel_check_between(c, 1, 60) : 0;
    d->top_p = kernel_check_flip(c) ? 1 : 0.3f + 0.69f * rng_f32(&c->rng);
    d->logits = cuda_check_values(k, (size_t)(ROWS * d->vocab));
    d->sorted = cuda_check_host(k, (size_t)d->vocab * sizeof *d->sorted);
    if (!c->failed)
        fill_logits(d);
    for (int i = 0; i < ROWS; i++) {
        d->stream[i] = rng_u64(&c->rng);
        d->sequence[i] = (i + 1) % ROWS;
    }
    d->sequence[3] = kernel_check_flip(c) ? -1 : 0; // -1: nothing is drawn for this row
    kernel_check_shape(c, "vocab=%d temperature=%g top_k=%d top_p=%g", d->vocab,
                       (double)d->temperature, d->top_k, (double)d->top_p);
}

// The candidates that pass the filters, in the order of the walk. *kept: the sum of their weights.
static int keep(const struct draw *d, const float *row, double *kept)
{
    struct candidate *s = d->sorted;
    double total = 0;
    for (int i = 0; i < d->vocab; i++)
        s[i] = (struct candidate){row[i], i, 0};
    qsort(s, (size_t)d->vocab, sizeof *s, falling);
    int most = d->top_k && d->top_k < d->vocab ? d->top_k : d->vocab, count = 0;
    for (int i = 0; i < most; i++)
        total += s[i].weight =
            exp(((double)s[i].logit - (double)s[0].logit) / (double)d->temperature);
    for (*kept = 0; count < most && (count == 0 || *kept < (double)d->top_p * total); count++)
        *kept += s[count].weight;
    if (d->top_k == 0 && d->top_p >= 1)
        qsort(s, (size_t)count, sizeof *s, rising_ids);
    return count;
}

// The interval of the drawn id must hold u.
static void check_drawn(const struct draw *d, int row, double u, int32_t id)
{
    double kept, reached = 0;
    int count = keep(d, d->logits + (size_t)(row * d->vocab), &kept), at = 0;
    for (; at < count && d->sorted[at].id != id; at++)
        reached += d->sorted[at].weight;
    double low = reached / kept, high = at < count ? low + d->sorted[at].weight / kept : 0;
    if (at == count)
        kernel_check_fail(&d->k->c, "row %d drew %d, which the filters leave out", row, (int)id);
    else if (u < low - 0x1p-22 || u > high + 0x1p-22)
        kernel_check_fail(&d->k->c, "row %d drew %d, of [%.9g, %.9g), with %.9g", row, (int)id, low,
                          high, u);
}

// Checks the id that a row draws, and the state of its stream afterwards.
static void check_row(const struct draw *d, int row, int32_t id, uint64_t *stream)
{
    const float *x = d->logits + (size_t)(row * d->vocab);
    float most = -INFINITY;
    int best = -1, finite = 0;
    bool nan = false;
    for (int i = 0; i < d->vocab; i++) {
        finite += isfinite(x[i]) != 0;
        nan |= isnan(x[i]) != 0;
        if (x[i] > most) {
            most = x[i];
            best = i;
        }
    }
    bool certain = most == INFINITY && finite > 0;
    bool none = d->sequence[row] < 0 || nan || best < 0 || (!certain && !isfinite(most));
    struct rng rng = {*stream};
    double u = (double)(rng_u64(&rng) >> 11) * 0x1p-53;
    if (!none && d->temperature > 0)
        *stream = rng.state;
    if (none || d->temperature == 0 || certain) {
        if (id != (none ? -1 : best))
            kernel_check_fail(&d->k->c, "row %d drew %d, expected %d", row, (int)id,
                              none ? -1 : best);
    } else {
        check_drawn(d, row, u, id);
    }
}

void cuda_check_sample(struct cuda_check *k)
{
    struct draw d;
    struct check_case *c = &k->c;
    draw_make(&d, k);
    int32_t id[ROWS] = {0};
    uint64_t stream[ROWS] = {0};
    unsigned long long before = 5, odd = 0, expected = before;
    size_t floats = (size_t)(ROWS * d.vocab);
    void *ids = cuda_check_out(k, NULL, sizeof id), *count = cuda_check_out(k, &before, sizeof odd);
    void *streams = cuda_check_out(k, d.stream, sizeof d.stream);
    struct cuda_sample job = {.logits = cuda_check_in(k, d.logits, floats * 4),
                              .sequence = cuda_check_in(k, d.sequence, sizeof d.sequence),
                              .streams = streams,
                              .id = ids,
                              .nonfinite = count,
                              .scratch = cuda_check_out(k, NULL, floats * 8),
                              .rows = ROWS,
                              .vocab = d.vocab,
                              .temperature = d.temperature,
                              .top_p = d.top_p,
                              .top_k = d.top_k};
    if (!c->failed)
        c->kernel->fn.cuda.sample(&job, cuda_check_stream(k));
    cuda_check_back(k, id, ids, sizeof id);
    cuda_check_back(k, stream, streams, sizeof stream);
    cuda_check_back(k, &odd, count, sizeof odd);
    cuda_check_release(k); // before the host's arrays, which it compares with, are freed
    for (size_t i = 0; i < floats && !c->failed; i++)
        expected += !isfinite(d.logits[i]);
    for (int r = 0; r < ROWS && !c->failed; r++) {
        uint64_t unused = 0;
        check_row(&d, r, id[r], d.sequence[r] < 0 ? &unused : &d.stream[d.sequence[r]]);
    }
    for (int i = 0; i < ROWS && !c->failed; i++)
        if (stream[i] != d.stream[i])
            kernel_check_fail(c, "the stream of sequence %d was not advanced as it should be", i);
    if (!c->failed && odd != expected)
        kernel_check_fail(c, "%llu logits not finite were counted, expected %llu", odd, expected);
}

// Runs two steps through the ring. The drawn ids must be there and be the next input, and the counts must be right.
void cuda_check_advance(struct cuda_check *k)
{
    enum { LD = ROWS + 1, SLOTS = 3, STEPS = 2 };
    struct check_case *c = &k->c;
    int rows = kernel_check_between(c, 1, ROWS), next = kernel_check_between(c, 0, rows);
    int32_t drawn[ROWS], ids[ROWS] = {0}, ring_ids[SLOTS * LD] = {0};
    struct cuda_token tokens[ROWS], moved[ROWS];
    struct cuda_arrival ring[SLOTS] = {{0}};
    uint64_t stamps[2] = {11 + rng_u64(&c->rng) % 1000, 2000};
    uint64_t first = rng_u64(&c->rng) % 1000, number = first;
    unsigned long long odd = 1 + rng_u64(&c->rng) % 100, left = odd;
    for (int i = 0; i < ROWS; i++) {
        drawn[i] = kernel_check_between(c, -1, 99);
        tokens[i] = (struct cuda_token){i, kernel_check_between(c, 0, 1000)};
    }
    struct cuda_advance job = {.drawn = cuda_check_in(k, drawn, sizeof drawn),
                               .ids = cuda_check_out(k, ids, sizeof ids),
                               .tokens = cuda_check_out(k, tokens, sizeof tokens),
                               .stamps = cuda_check_in(k, stamps, sizeof stamps),
                               .nonfinite = cuda_check_out(k, &odd, sizeof odd),
                               .number = cuda_check_out(k, &number, sizeof number),
                               .ring = cuda_check_out(k, ring, sizeof ring),
                               .ring_ids = cuda_check_out(k, ring_ids, sizeof ring_ids),
                               .ld = LD,
                               .rows = rows,
                               .next = next,
                               .slots = SLOTS};
    kernel_check_shape(c, "rows=%d next=%d number=%llu", rows, next, (unsigned long long)first);
    for (int i = 0; i < STEPS && !c->failed; i++)
        c->kernel->fn.cuda.advance(&job, cuda_check_stream(k));
    cuda_check_back(k, ids, job.ids, sizeof ids);
    cuda_check_back(k, moved, job.tokens, sizeof moved);
    cuda_check_back(k, &left, job.nonfinite, sizeof left);
    cuda_check_back(k, &number, job.number, sizeof number);
    cuda_check_back(k, ring, job.ring, sizeof ring);
    cuda_check_back(k, ring_ids, job.ring_ids, sizeof ring_ids);
    cuda_check_release(k); // before the host's arrays, which it compares with, are freed
    for (int i = 0; i < ROWS && !c->failed; i++) {
        int32_t id = i < next && drawn[i] > 0 ? drawn[i] : 0;
        if (ids[i] != id || moved[i].position != tokens[i].position + (i < next ? STEPS : 0))
            kernel_check_fail(c, "row %d: next input %d at %d, expected %d at %d", i, (int)ids[i],
                              (int)moved[i].position, (int)id,
                              (int)tokens[i].position + (i < next ? STEPS : 0));
    }
    if (!c->failed && (left != 0 || number != first + STEPS))
        kernel_check_fail(c, "%llu logits not finite are left and the number is %llu", left,
                          (unsigned long long)number);
    for (uint64_t i = first; i < first + STEPS && !c->failed; i++) {
        const struct cuda_arrival *a = &ring[i % SLOTS];
        if (a->number != i + 1 || a->begin_ns != stamps[0] || a->logits_ns != stamps[1] ||
            a->end_ns == 0 || a->nonfinite != (i == first ? odd : 0))
            kernel_check_fail(c, "the arrival of step %llu is wrong", (unsigned long long)i + 1);
        cuda_check_same(k, ring_ids + i % SLOTS * LD, drawn, (size_t)rows * sizeof *drawn,
                        "other ids in the ring");
    }
}

// The clock must not go back.
void cuda_check_stamp(struct cuda_check *k)
{
    uint64_t now[2] = {0};
    uint64_t *out = cuda_check_out(k, NULL, sizeof now);
    kernel_check_shape(&k->c, "two stamps");
    for (int i = 0; i < 2 && !k->c.failed; i++)
        k->c.kernel->fn.cuda.stamp(out + i, cuda_check_stream(k));
    cuda_check_back(k, now, out, sizeof now);
    if (!k->c.failed && (now[0] == 0 || now[1] < now[0]))
        kernel_check_fail(&k->c, "the clock read %llu, then %llu", (unsigned long long)now[0],
                          (unsigned long long)now[1]);
}
