// store.h - the SQLite store: what it keeps, and the only way to write it.
//
// Tables: machine, environment, build, device, run, cell, trial, sample (one repetition), token_time, ceiling, metric,
// noise, verdict, quality and quality_value. A metric has name, value, unit and source, so a new metric is just a row.
// A quality belongs to a model in a scheme over a text, and its cells share it. Tables are STRICT, with foreign keys
// and WAL; migrations use user_version (schema.c). A trial and all its values are one transaction: a killed run loses
// only the current trial. A value that was not measured is NULL, never zero.
//
// Readers use the queries of query.h. Times are ns, sizes bytes, rates per second. The names of metrics, their units
// and meanings are the rows of metric.h; a name without a row there is also stored and shown, but without a title.
#ifndef RESULTS_STORE_H
#define RESULTS_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct store;

enum store_mode {
    STORE_READ,         // must exist; nothing changes, not even by a migration
    STORE_READ_OR_NONE, // the same, but a missing file is an empty store
    STORE_WRITE,        // created if missing, with its folder (0700); migrated if older
};
// An empty file is a store without measurements, for readers and writers alike. A reader of an older version reads a
// migrated copy in memory. If SQLite's side files cannot be created, a reader opens the file as immutable and reports
// that on standard error.
// Errors: ERR_FORMAT (not a database; made by a newer version; of another program), ERR_IO (read-only, locked for over
// 5 s, folder missing, disk full), each naming the file. Nothing is then written.
enum status store_open(const char *path, enum store_mode mode, struct store **out,
                       struct error *err);
void store_close(struct store *store);
const char *store_path(const struct store *store);

// ---- who measured -----------------------------------------------------------------------------------
// Each returns the row with the same content if there is one. JSON texts are canonical.
enum status store_machine(struct store *store, const char *fingerprint, const char *hardware_json,
                          int64_t *id, struct error *err);
enum status store_environment(struct store *store, const char *json, int64_t *id,
                              struct error *err);
enum status store_build(struct store *store, const char *json, int64_t *id, struct error *err);
// word: as named by cells ("cpu"). content: known facts; the fingerprint hashes the identifying ones.
enum status store_device(struct store *store, const char *fingerprint, const char *word,
                         const char *json, int64_t *id, struct error *err);

// ---- runs and cells ----------------------------------------------------------------------------------
struct store_run {
    const char *suite_name, *suite_text; // resolved text
    const char *command;                 // exact command to reproduce
    int64_t machine, environment, build;
    int64_t started_ns;     // wall clock
    const char *owner_json; // the process that writes it, or NULL
};
// *id is the new run, which is "running". Errors: ERR_IO naming the file; nothing is stored then.
enum status store_run_begin(struct store *store, const struct store_run *run, int64_t *id,
                            struct error *err);
// status: "done", "interrupted" or "failed" (the harness itself broke). A run is "running" before.
enum status store_run_end(struct store *store, int64_t run, const char *status, int64_t ended_ns,
                          struct error *err);
// Marks an unfinished run as "running" again, with this owner instead of `before` (either may be NULL). ERR_USAGE if it
// has another owner by now.
enum status store_run_resume(struct store *store, int64_t run, const char *before,
                             const char *owner_json, struct error *err);

#define STORE_ENGINE "builtin" // the engine of cells that name no other

struct store_cell {
    int64_t run;
    const char *key, *params_json;
    const char *label; // "7b int8 cpu b1 c512"
    const char *sweep;
    const char *engine; // NULL: STORE_ENGINE
    // the axes of a report, as named in the suite; params_json holds these and more
    const char *model, *scheme, *device;
    int threads, batch, context, gen;
    const char *skip_reason; // NULL if the cell will run; else its status is skipped or unsupported
    const char *skip_status; // "skipped" or "unsupported"
    int trials_planned;
    double predicted_memory_bytes, predicted_ns;
    const char *prediction_json; // memory split, analytic work by phase and op class; may be NULL
};
enum status store_cell(struct store *store, const struct store_cell *cell, int64_t *id,
                       struct error *err); // returns the existing row if run and key exist
// Skips a planned cell, because a smaller one ran out of memory or the time is up. status: "skipped" or "unsupported".
// Trials already stored stay and decide the status.
enum status store_cell_skip(struct store *store, int64_t cell, const char *status,
                            const char *reason, struct error *err);

struct store_ceiling {
    const char *name, *level, *kernel, *unit,
        *source; // unit "B/s", "FLOP/s" ("op/s" for integers) or "ns"
    int threads, samples;
    double value, low, high;
    double set_bytes; // of a bandwidth: set that all threads read repeatedly; 0: unknown
    int64_t device;   // 0: not known
    // Clocks of the device around the samples: the lowest and the highest, and the lowest of its memory. 0: not
    // measured.
    double clock_low_hz, clock_high_hz, memory_clock_hz;
};
// What was disturbed or could not be measured, as text, for the whole run.
enum status store_ceilings_note(struct store *store, int64_t run, const char *note,
                                struct error *err);
enum status store_ceilings(struct store *store, int64_t run, const struct store_ceiling *rows,
                           size_t count, struct error *err);

// ---- trials ----------------------------------------------------------------------------------------------
struct store_metric {
    const char *name, *unit, *source;
    const char *phase; // "load", "prefill", "decode" or NULL
    const char *op;    // op class or NULL
    double value;      // NaN: not measured, stored as NULL
};
struct store_sample { // one repetition
    int repetition;
    const char *token_hash; // of all generated ids
    int64_t nonfinite_logits;
    const struct store_metric *metrics; // ttft, tpot, prefill_tps, decode_tps, peak memory, ...
    size_t metric_count;
    const struct store_metric *noise;
    size_t noise_count;
    // token_ns[s * tokens + i]: the time at which token i of sequence s was on the host, in ns after the request
    const int64_t *token_ns;
    int sequences, tokens;
};
struct store_verdict {
    const char *phase, *op;   // op NULL: the whole phase
    const char *basis;        // "host clock + analytic"
    const char *bound, *text; // the text is for people alone: programs need not parse it
    const char *finding;      // FINDING_* of basis.h; NULL: there is no share
    const char *reason;       // text, for a bound that needs one; NULL or "": none
    const char *loss_op;      // the op class that loses most, or NULL
    double t_roof_ns, t_memory_ns, t_compute_ns, measured_ns, eta, rho, rho_low, rho_high,
        overhead_share;       // NaN is stored as NULL
    double eta_low, eta_high; // with the most and the least bandwidth that canaries saw
    double bandwidth_moved;   // their difference, as a share of the larger; NaN: no canary ran
    double loss_share;        // of loss_op, of all that the classes lose
    const char *thresholds_json;
};
struct store_trial {
    int64_t cell;
    int number;         // 1..procs
    const char *status; // ok, noisy, throttled, wrong, oom, timeout, crashed, failed, unsupported
    const char *reason; // always a text; "" only for ok
    int64_t started_ns, ended_ns; // wall clock
    const char *arithmetic;
    const char *stored; // how the file holds the weights, where in codes: "q8_0"; else NULL or ""
    const char *engine_version; // in the engine's own words; NULL: none was loaded
    const char *products; // of prefill: a library, its version and its picks; NULL: none was used
    const char *step_form, *step_reason; // of decode steps; NULL: the device has only one form
    int64_t build;                       // that measured it; 0: not known
    const struct store_sample *samples;
    size_t sample_count;
    const struct store_metric *metrics; // of the trial: load times, memory split, ...
    size_t metric_count;
    const struct store_verdict *verdicts;
    size_t verdict_count;
};
enum status store_trial(struct store *store, const struct store_trial *trial, int64_t *id,
                        struct error *err);
// Finds the stored trials, 1..procs, of a cell: done[number-1] becomes true.
enum status store_trials_done(struct store *store, int64_t cell, bool *done, int procs,
                              struct error *err);
// Whether the cell is noisy or throttled, because at least half of its trials are.
enum status store_cell_disturbed(struct store *store, int64_t cell, bool *out, struct error *err);

// ---- quality ---------------------------------------------------------------------------------------------
struct store_quality { // one evaluation
    int64_t run;
    const char *key, *params_json; // canonical; all inputs of the figures
    const char *status;            // ok, wrong, oom, timeout, crashed, failed, unsupported, skipped
    const char *reason;            // text; for ok: "", or what was not measured and why
    const char *arithmetic;        // NULL: it failed earlier
    const char *stored;            // as of a trial
    const char *engine_version;    // as of a trial
    int64_t build;                 // that measured it; 0: the run's
    int64_t started_ns, ended_ns;  // wall clock
    const struct store_metric *metrics; // phase and op are not stored
    size_t metric_count;
};
// Stores an evaluation in one transaction.
enum status store_quality(struct store *store, const struct store_quality *quality, int64_t *id,
                          struct error *err);
// Finds the evaluation of this key by `build` (0: the run's) on the machine of `run` that need not be repeated: ok with
// nothing missing, or unsupported. *id 0: there is none.
enum status store_quality_find(struct store *store, int64_t run, int64_t build, const char *key,
                               int64_t *id, struct error *err);
// Links the cell to its quality.
enum status store_cell_quality(struct store *store, int64_t cell, int64_t quality,
                               struct error *err);

#endif
