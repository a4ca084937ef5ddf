// record.h - the run's rows in the store: written before the first trial, and read back.
#ifndef BENCH_RUN_RECORD_H
#define BENCH_RUN_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "bench/roof/roof.h"
#include "bench/run/runner.h"
#include "bench/suite/plan.h"
#include "results/query.h"
#include "results/store.h"

struct record {
    struct store *store;
    int64_t run;
    int64_t build;     // the row of this program's build
    int64_t processor; // the device row of the host processor
    bool resumed;
    int64_t *cells; // (plan->cell_count) the cells' rows in the store
    // (plan->cell_count) needs no more trials: skipped, pruned, out of memory or out of time.
    bool *stopped;
};

// Whether a stored run is from the machine with this fingerprint. Runs from before schema 4 have fingerprints by
// another rule, so theirs is recomputed from their stored hardware.
bool record_same_machine(const struct run_row *run, const char *fingerprint);

// The request of --resume.
struct record_wish {
    const char *database, *suite_name, *suite_text, *fingerprint;
    bool take_over;
};
// Finds the newest unfinished run of this suite text on this machine. Changes nothing, so that a refusal costs nothing.
// store NULL: there is no store yet. Errors: ERR_USAGE if there is no such run, or another process owns it.
enum status record_resumable(struct store *store, const struct record_wish *wish,
                             struct arena *arena, const struct run_row **run, struct error *err);

// Opens the store and probes the machine. Begins a run, or finds the newest unfinished one of the same suite text on
// the same machine. Errors: ERR_USAGE if there is nothing to resume; those of the store.
enum status record_open(const struct plan *plan, const struct runner_options *options,
                        struct record *out, struct error *err);
void record_close(struct record *record);

// Reads the ceilings stored with a run, and adds this machine's memory levels; count 0 if it has none.
enum status record_ceilings_of(struct store *store, int64_t run, struct ceilings *out,
                               struct error *err);
enum status record_ceilings(const struct record *record, const struct ceilings *ceilings,
                            struct error *err);

// Stores all cells of the plan, including skipped ones, and finds those that need no more trials.
enum status record_cells(struct record *record, const struct plan *plan,
                         const struct ceilings *ceilings, struct error *err);

// Whether all cells of the run are in the plan. A resumed run may have cells that --only left out.
enum status record_covered(const struct record *record, const struct plan *plan, bool *out,
                           struct error *err);

// Whether trial `number` of a cell is stored.
enum status record_has(const struct record *record, const struct plan *plan, size_t cell,
                       int number, bool *out, struct error *err);

// Whether at least half of a cell's trials so far were noisy or throttled.
enum status record_disturbed(const struct record *record, size_t cell, bool *out,
                             struct error *err);

// Records that a planned cell is skipped, or gets no more trials.
enum status record_skip(struct record *record, size_t cell, const char *reason, struct error *err);

// The number of cells that ended in wrong, oom, timeout, crashed or failed.
enum status record_failed(const struct record *record, size_t *failed, struct error *err);

#endif
