// score.h - one scored token: a row of logits and the f32 model's, reduced to the numbers that are kept.
#ifndef BENCH_QUALITY_SCORE_H
#define BENCH_QUALITY_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/quality/quality.h"

// P is the f32 model, Q the one that is judged. Without P all but nll are NaN, and same_top is false.
struct score {
    double nll, nll_f32; // -ln of what Q and P give the token that came
    double kl;           // KL(P || Q), nat
    double delta_p;      // Q's probability of that token less P's
    bool same_top;       // the most likely ids agree; ties go to the lowest id
};

// logits, base: (vocab) f32; base may be NULL. Anything that is not finite in a row makes nll or kl so.
// Exponentials in f32 (relative error below 2e-7), sums in double, the largest logit subtracted first.
struct score quality_score_row(const float *logits, const float *base, int vocab, int32_t target);

// The figures of n scores; time_ns and windows are the caller's.
enum status quality_score_summarize(const struct score *scores, size_t n, bool with_base,
                                    struct quality *out, struct error *err);

#endif
