// sampler.h - how an id is drawn from a row of logits: the arithmetic that every backend on the host shares.
//
// A row is scanned in pieces, by as many threads as there are, and the pieces are joined. One thread then draws
// from the whole row. The result does not depend on how the row was cut.
#ifndef ENGINE_MODEL_SAMPLER_H
#define ENGINE_MODEL_SAMPLER_H

#include "base/rng.h"
#include "engine/engine.h"

// Errors: ERR_USAGE with the value and what is accepted.
enum status sampling_check(const struct sampling *sampling, struct error *err);

// What one pass over logits [begin, end) of a row finds.
struct logits_scan {
    int best;    // the lowest index of the largest; -1 when nothing was scanned or all of it is NaN
    float max;   // its value
    int finite;  // how many are neither NaN nor infinite
    int unusual; // how many are
    bool nan;
};
struct logits_scan logits_scan(const float *row, int begin, int end);
// The scan of two neighbouring pieces; `left` has the lower indices. The scan of an empty piece changes nothing.
struct logits_scan logits_scan_join(struct logits_scan left, struct logits_scan right);

// How many of n logits are NaN or infinite.
int64_t logits_nonfinite(const float *logits, size_t n);

// The stream of one sequence at its start.
struct rng sampling_stream(uint64_t seed, int sequence);

// One thread's candidates, for a temperature above 0. Owned by the caller: sampler_init, sampler_fini.
struct sampler {
    struct candidate *heap; // (vocab)
    double *weights;        // (vocab) of the candidates kept, in falling order
};
enum status sampler_init(struct sampler *s, int vocab, struct error *err);
void sampler_fini(struct sampler *s); // legal on a zeroed one

// The next id, or -1 when the row holds a NaN or no finite number to choose by. Takes at most one number from
// the stream. scan: of the whole row. s and stream are not read when the temperature is 0.
int32_t sampler_next(struct sampler *s, const struct sampling *sampling, struct rng *stream,
                     const float *row, int vocab, const struct logits_scan *scan);

#endif
