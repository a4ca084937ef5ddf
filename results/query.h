// query.h - reading the store: runs, cells, their figures over trials, verdicts, ceilings, noise.
//
// The unit of every figure is one trial: the median over its repetitions (summary.c). Over the trials of a cell there
// are the median, the MAD, and an interval with its actual level (base/stat.h). Rows and their strings live in the
// caller's arena. A value that was not measured is NaN. A text that was not stored is NULL, or "" if the field is
// marked never NULL.
#ifndef RESULTS_QUERY_H
#define RESULTS_QUERY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/stat.h"
#include "base/status.h"
#include "results/store.h"

// Between these two calls every query sees the store as it was at the first one, even while a run writes.
enum status query_begin(struct store *store, struct error *err);
void query_end(struct store *store);

// ---- runs ---------------------------------------------------------------------------------------

struct run_row {
    int64_t id;
    const char *suite_name, *suite_text, *command, *status;   // never NULL
    const char *fingerprint, *hardware, *environment, *build; // never NULL; JSON except the first
    int64_t started_ns, ended_ns;                             // wall clock; ended 0: not yet
    int64_t cells, trials;                                    // their numbers
    int64_t failed, left_out;  // cells that failed; cells that were skipped or are unsupported
    int64_t ok, disturbed;     // cells ok; cells noisy or throttled
    int64_t pending;           // cells without a trial that were not skipped
    const char *owner;         // JSON of the process that writes it, or NULL
    const char *ceilings_note; // what was disturbed or not measured; never NULL, "" for none
};
// Lists the runs, newest last.
enum status query_runs(struct store *store, struct arena *arena, struct run_row **rows,
                       size_t *count, struct error *err);
// which: a run's number, "last", or the name of a suite, which means its newest run. NULL is "last". ERR_USAGE if there
// is none: with the nearest known suite, or NOTHING_MEASURED.
#define NOTHING_MEASURED "nothing measured yet; try: bench run suites/smoke.conf"
enum status query_run(struct store *store, struct arena *arena, const char *which,
                      struct run_row *out, struct error *err);

// ---- cells --------------------------------------------------------------------------------------

struct cell_row {
    int64_t id, run;
    const char *key, *label, *params;            // never NULL
    const char *model, *scheme, *device, *sweep; // never NULL
    const char *engine;                          // never NULL: STORE_ENGINE if none is named
    int threads, batch, context, gen;            // 0: not stored
    const char *status, *reason;                 // never NULL; derived: schema.c, view cell_state
    int trials, trials_planned;
    int disturbed; // trials that were noisy or throttled
    double predicted_memory_bytes, predicted_ns;
    const char *prediction; // JSON or NULL
    const char *arithmetic; // of the first trial that reported it, or ""
    const char *stored;     // types of weights that the file stores as codes: "q8_0"; else ""
    const char
        *products; // of prefill: the library and its picks, as the first trial had them; or ""
    const char *step_form; // of decode steps, of the first trial that was measured; or ""
    const char *step;      // the same with its reason: "graph: as asked"; or ""
    const char *
        weights_caveat; // "stored q8_0, measured as bf16" if the file's codes are not what ran, else ""
    // That, and a form of decode steps that was requested but did not run; or "". Show it wherever a figure of the cell
    // is shown.
    const char *caveat;
};
// Lists the cells in the order of the plan.
enum status query_cells(struct store *store, struct arena *arena, int64_t run,
                        struct cell_row **rows, size_t *count, struct error *err);
// Finds one cell by a prefix of its key (QUERY_KEY_DIGITS or more) or by its label. run 0: the newest run that has it.
// ERR_USAGE if none or several match.
enum { QUERY_KEY_DIGITS = 6 };
enum status query_cell(struct store *store, struct arena *arena, int64_t run, const char *which,
                       struct cell_row *out, struct error *err);

// By the status of a trial, a cell or a quality.
bool query_status_failed(const char *status);   // wrong, oom, timeout, crashed, failed
bool query_status_measured(const char *status); // ok, noisy, throttled
bool query_cell_failed(const struct cell_row *cell);
bool query_cell_left_out(const struct cell_row *cell); // skipped, unsupported
bool query_cell_measured(const struct cell_row *cell);
bool query_device_is_host(const char *device); // by the word that cells name it with
// Whether a cell ran on the host itself. Its memory is then that of the process, and the machine record describes its
// device.
bool query_cell_on_host(const struct cell_row *cell);
// The measured peak over the prediction; NaN if one is missing, and for a GPU's cell, because its memory is predicted
// but that of the process is measured.
double query_cell_memory_ratio(const struct cell_row *cell, double peak_bytes);

// One metric of one cell over its trials. Rates are those of median times (metric.h). The interval of a time or rate
// includes the variation between runs, as far as the store knows it (spread.h).
struct summary_row {
    int64_t cell;
    const char *name, *unit, *source; // never NULL
    const char *phase, *op;           // or NULL
    struct stat_summary stat;
    const char *interval; // source of its width: "trials", "canaries", "runs"
};
// Sorted by cell. Includes the rows by op class.
enum status query_summaries(struct store *store, struct arena *arena, int64_t run,
                            struct summary_row **rows, size_t *count, struct error *err);
// The row of a cell's metric for the whole phase; phase NULL: any. NULL if there is none.
const struct summary_row *query_summary_find(const struct summary_row *rows, size_t count,
                                             int64_t cell, const char *name, const char *phase);

// Why a cell's memory controllers were not counted though it collects counters, of its last trial that says so.
struct uncounted_row {
    int64_t cell;
    const char *reason; // never NULL
};
// Sorted by cell.
enum status query_uncounted(struct store *store, struct arena *arena, int64_t run,
                            struct uncounted_row **rows, size_t *count, struct error *err);
// The reason of a cell, or NULL.
const char *query_uncounted_find(const struct uncounted_row *rows, size_t count, int64_t cell);

// ---- verdicts, ceilings, noise ------------------------------------------------------------------

// What limits one phase of one cell, from the verdicts of its trials. The bound is that of most trials, or
// "undetermined" if fewer than two in three agree; figures are medians.
struct verdict_row {
    int64_t cell;
    const char *phase, *bound, *basis; // never NULL
    const char *op;                    // or NULL: the whole phase
    // Of the trial with this bound whose eta is nearest to the median. `text` is a sentence for people.
    const char *text;
    const char *finding; // FINDING_* of basis.h; NULL: there is no share, or the trials disagree
    const char *reason;  // text, for a bound that needs one; or NULL
    const char *loss_op; // the op class that loses most, or NULL
    double loss_share;   // of that, of all that is lost; NaN: not known
    int trials, agree;
    double t_roof_ns, t_memory_ns, t_compute_ns, measured_ns, eta, rho, overhead_share;
    double eta_low, eta_high; // the ends of eta where bandwidth moved; NaN: not recorded
    double bandwidth_moved;   // as a share of the most that was seen; NaN: not recorded
};
// Sorted by cell.
enum status query_verdicts(struct store *store, struct arena *arena, int64_t run,
                           struct verdict_row **rows, size_t *count, struct error *err);
// The verdict with the best basis (basis.h) on a whole phase of a cell, or NULL.
const struct verdict_row *query_verdict_find(const struct verdict_row *rows, size_t count,
                                             int64_t cell, const char *phase);

struct ceiling_row {
    const char *name, *level, *kernel, *unit, *source; // never NULL
    const char *device; // as named by cells; never NULL: "cpu" in files from before schema 4
    const char *device_content; // JSON, or NULL: not recorded
    int threads, samples;
    double value, low, high;
    double set_bytes; // set that all threads read repeatedly; NaN: not recorded
    double clock_low_hz, clock_high_hz, memory_clock_hz; // as in store.h; NaN: not recorded
};
// The ceilings of a run, in the order in which they were stored; rows live in the arena. Errors: ERR_NOMEM, ERR_IO.
enum status query_ceilings(struct store *store, struct arena *arena, int64_t run,
                           struct ceiling_row **rows, size_t *count, struct error *err);

// One kind of noise over all repetitions of one cell.
struct noise_row {
    int64_t cell;
    const char *name, *unit; // never NULL
    int repetitions;
    double median, min, max, sum;
};
enum status query_noise(struct store *store, struct arena *arena, int64_t run,
                        struct noise_row **rows, size_t *count, struct error *err);

// ---- quality ----------------------------------------------------------------------------------------

// The status of the evaluation that a cell shares with others. Its figures are among the cell's summaries.
struct quality_row {
    int64_t cell, id;            // of the evaluation: equal where it is shared
    const char *status, *reason; // never NULL; for ok the reason names what is missing
    const char *params;     // JSON: model, scheme, head, kv, text, convention, windows; never NULL
    const char *arithmetic; // or NULL
    const char *build;      // JSON of the build that measured it, or NULL: not recorded
    int64_t run;            // the run that measured it; an earlier one if it was reused
};
// Sorted by cell; only cells with a quality.
enum status query_quality(struct store *store, struct arena *arena, int64_t run,
                          struct quality_row **rows, size_t *count, struct error *err);
const struct quality_row *query_quality_find(const struct quality_row *rows, size_t count,
                                             int64_t cell);

// ---- trials of one cell ---------------------------------------------------------------------------

struct trial_row {
    int64_t id;
    int number, samples;
    const char *status, *reason; // never NULL
    const char *arithmetic;      // or NULL
    const char *stored;          // as in a cell, or NULL
    const char
        *engine_version;  // in the engine's own words, or NULL: none was loaded, or not recorded
    const char *products; // of prefill: a library and its picks; NULL: none
    const char *step_form, *step_reason; // of decode steps; NULL: only one form, or not recorded
    int64_t build_id;                    // 0: not recorded, as in files from before schema 4
    const char *build;                   // JSON, or NULL
    int64_t started_ns, ended_ns;
};
enum status query_trials(struct store *store, struct arena *arena, int64_t cell,
                         struct trial_row **rows, size_t *count, struct error *err);

// The hash of the tokens that a cell generated in its first measured trial, or "". Later trials must agree.
enum status query_token_hash(struct store *store, struct arena *arena, int64_t cell,
                             const char **hash, struct error *err);
// The form of the decode steps of that trial, or "". Later trials use the same form, because another one may generate
// other tokens.
enum status query_step_form(struct store *store, struct arena *arena, int64_t cell,
                            const char **form, struct error *err);

// Everything measured in one trial, as stored: its own figures (repetition 0), then each repetition's.
struct value_row {
    int repetition;
    const char *name, *unit, *source; // never NULL
    const char *phase, *op;           // or NULL
    double value;
    bool noise; // of the table noise
};
enum status query_values(struct store *store, struct arena *arena, int64_t trial,
                         struct value_row **rows, size_t *count, struct error *err);

#endif
