// expand.h - the steps from a suite to a plan; plan.c calls them in this order.
#ifndef BENCH_SUITE_EXPAND_H
#define BENCH_SUITE_EXPAND_H

#include "base/status.h"
#include "bench/suite/plan.h"
#include "bench/suite/suite.h"

struct quality_convention;

struct tokenizer;

// Whether one model's tokenizer can encode one text (texts.c).
struct text_verdict {
    const struct plan_model *model;
    const struct quality_convention *convention; // NULL: a prompt or a calibration text
    bool calibration;
    const char *path, *refused;
};

// A plan under construction. Cells grow in one array.
struct expansion {
    struct suite *suite;
    const struct plan_machine *machine;
    struct plan *plan;
    struct text_verdict *texts; // in the plan's arena
    size_t text_count;
    struct tokenizer *tokenizer; // of the model whose texts were checked last, or NULL
    const struct plan_model *tokenizer_of;
};

// models.c: opens every model's headers, hashes its content, fills plan->models.
enum status expand_models(struct expansion *x, struct error *err);

// expand.c: expands the cross product of every sweep into plan->cells, with keys. Cells that cannot run have a reason.
enum status expand_sweeps(struct expansion *x, struct error *err);
// expand.c: predicts the times of the cells that may run, each for the cell alone. Cells that take too long get a
// reason.
void expand_times(struct expansion *x);

// key.c: the same for an evaluation of quality.
enum status plan_quality_key(struct plan_quality *quality, struct error *err);

// key.c: cell->params and cell->key. prompt_hash: SHA-256 of the prompt's text, NULL for random.
enum status plan_cell_key(struct cell *cell, const char *prompt_hash, struct error *err);

// quality.c: finds the text that a sweep names; the result is in the plan's arena. Errors: ERR_USAGE with file and
// line.
enum status expand_quality_wish(struct expansion *x, const char *section,
                                const struct suite_sweep *sweep, struct quality_wish **out,
                                struct error *err);
// quality.c: adds the evaluations of quality that the cells to run share.
enum status expand_qualities(struct expansion *x, struct error *err);

// texts.c: the reason why the model cannot encode the text, in the plan's arena; NULL: it can. Reasons: it has no
// tokenizer or another model's, ids exceed the vocabulary, the text is too short for the convention. convention NULL:
// the text is a prompt. The tokenizer is opened for a model's first text and kept for the next ones, until
// expand_close_texts.
const char *plan_text_refused(struct expansion *x, const struct plan_model *model, const char *path,
                              const struct quality_convention *convention);
void expand_close_texts(struct expansion *x);
// The same for a text that int4-awq calibrates the model on.
const char *plan_calibration_refused(struct expansion *x, const struct plan_model *model,
                                     const char *path);

// predict.c: predicts times from the analytic model, the machine's ceilings and calibrated shares of them. Without
// ceilings it uses rough figures for the host, and estimates from a GPU's clock and multiprocessors. PREDICT_UNKNOWN if
// those are unknown too.
#define PREDICT_UNKNOWN 0.0
double predict_load_ns(const struct cell *cell); // one worker: start and load
double predict_trial_ns(const struct cell *cell,
                        const struct plan_machine *machine); // without the load
double predict_quality_ns(const struct plan_quality *quality, const struct plan_machine *machine);
double predict_ceilings_ns(void); // the runner's full measurement at its start

// expand.c: the machine's row of a device, or NULL.
const struct device_info *plan_device(const struct plan_machine *machine, const char *name);

// Formats a text in the plan's arena; NULL without memory.
const char *plan_text(struct plan *plan, const char *format, ...) PRINTF_LIKE(2, 3);

#endif
