// sampler.h - draws an id from a row of logits: the arithmetic that all backends on the host share.
//
// All threads scan pieces of a row, and the pieces are joined. One thread then draws from the whole row. The result
// does not depend on the cut of the row.
#ifndef ENGINE_MODEL_SAMPLER_H
#define ENGINE_MODEL_SAMPLER_H

#include "base/rng.h"
#include "engine/engine.h"

// Errors: ERR_USAGE with the value and what is accepted.
enum status sampling_check(const struct sampling *sampling, struct error *err);

// The result of one pass over logits [begin, end) of a row.
struct logits_scan {
    int best;    // lowest index of the largest; -1 if nothing was scanned or all are NaN
    float max;   // its value
    int finite;  // number of finite logits
    int unusual; // number of NaN and infinite logits
    bool nan;
};
struct logits_scan logits_scan(const float *row, int begin, int end);
// The scan of two neighbouring pieces; `left` has the lower indices. The scan of an empty piece changes nothing.
struct logits_scan logits_scan_join(struct logits_scan left, struct logits_scan right);

// The number of NaN and infinite values among n logits.
int64_t logits_nonfinite(const float *logits, size_t n);

// The stream of one sequence at its start.
struct rng sampling_stream(uint64_t seed, int sequence);

// One thread's candidates, for a temperature above 0. Owned by the caller: sampler_init, sampler_fini.
struct sampler {
    struct candidate *heap; // (vocab)
    double *weights;        // (vocab) weights of the kept candidates, in falling order
};
enum status sampler_init(struct sampler *s, int vocab, struct error *err);
void sampler_fini(struct sampler *s); // legal on a zeroed struct

// The next id, or -1 if the row holds a NaN or no finite number. Takes at most one number from the stream. scan: of the
// whole row. s and stream are not read if the temperature is 0.
int32_t sampler_next(struct sampler *s, const struct sampling *sampling, struct rng *stream,
                     const float *row, int vocab, const struct logits_scan *scan);

#endif
