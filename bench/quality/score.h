// score.h - one scored token: reduces its row of logits, and that of the f32 model, to the numbers that are kept.
#ifndef BENCH_QUALITY_SCORE_H
#define BENCH_QUALITY_SCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bench/quality/quality.h"

// P is the f32 model, Q the judged one. Without P all fields except nll are NaN, and same_top is false.
struct score {
    double nll, nll_f32; // -ln of the probability that Q, or P, gives the actual token
    double kl;           // KL(P || Q), nat
    double delta_p;      // Q's probability of that token minus P's
    bool same_top;       // the most likely ids agree; ties go to the lowest id
};

// logits, base: (vocab) f32; base may be NULL. A non-finite value in a row makes nll or kl non-finite. The largest
// logit is subtracted first; exponentials are in f32 (relative error below 2e-7), sums in double.
struct score quality_score_row(const float *logits, const float *base, int vocab, int32_t target);

// The figures of n scores. The caller sets time_ns and windows.
enum status quality_score_summarize(const struct score *scores, size_t n, bool with_base,
                                    struct quality *out, struct error *err);

#endif
