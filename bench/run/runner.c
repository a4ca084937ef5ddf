// runner.c - runs the parts of a run in order: ceilings first, then trial after trial, group after group.
#include "bench/run/runner.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/os.h"
#include "base/str.h"
#include "bench/run/child.h"
#include "bench/run/live.h"
#include "bench/run/qualities.h"
#include "bench/run/record.h"
#include "bench/run/session.h"
#include "bench/suite/prompt_word.h"

struct runner {
    struct run_context context;
    struct interrupt interrupt;
    char *executable;
    const char *own_worker[3]; // executable, "worker", NULL
    size_t *picked;            // (plan->cell_count) cells of the next job
    size_t failed_qualities;   // qualities that ended in oom, timeout, crashed or failed
};

// ---- which cells next --------------------------------------------------------------------------------------

static enum status wanted(const struct runner *r, size_t cell, int number, bool *out,
                          struct error *err)
{
    const struct run_context *c = &r->context;
    const struct cell *what = &c->plan->cells[cell];
    bool done = false, disturbed = true;
    *out = false;
    if (c->record.stopped[cell] || what->skip || number > what->procs + what->retries)
        return OK;
    TRY(record_has(&c->record, c->plan, cell, number, &done, err));
    if (!done && number > what->procs)
        TRY(record_disturbed(&c->record, cell, &disturbed, err));
    *out = !done && disturbed;
    return OK;
}

// Whether two cells can share a worker: a job has one pool, one packing of the weights and one tokenizer.
static bool same_process(const struct cell *a, const struct cell *b)
{
    return a->threads == b->threads && a->head == b->head && a->runs.products == b->runs.products &&
           str_equal(a->calib, b->calib) &&
           !prompt_text_path(a->prompt) == !prompt_text_path(b->prompt);
}

// Picks, from `count` cells of the plan's order, the first that lacks trial `number`, and all others that lack it and
// can share its worker.
static enum status pick(struct runner *r, size_t first, size_t count, int number, size_t *picked,
                        struct error *err)
{
    const struct plan *plan = r->context.plan;
    *picked = 0;
    for (size_t i = first; i < first + count; i++) {
        size_t cell = plan->order[i];
        bool want = false;
        TRY(wanted(r, cell, number, &want, err));
        if (want && (*picked == 0 || same_process(&plan->cells[r->picked[0]], &plan->cells[cell])))
            r->picked[(*picked)++] = cell;
    }
    return OK;
}

// Runs trial `number` of a stretch of the plan's order, in as many workers as needed.
static enum status run_stretch(struct runner *r, size_t first, size_t count, int number,
                               struct error *err)
{
    for (;;) {
        size_t picked = 0;
        TRY(pick(r, first, count, number, &picked, err));
        if (picked == 0)
            return OK;
        for (size_t i = 0; i < picked; i++)
            if (number > r->context.plan->cells[r->picked[i]].procs)
                live_add(&r->context.live, &r->context.plan->cells[r->picked[i]]);
        TRY(session_cells(&r->context, r->picked, picked, number, err));
    }
}

// The most trials of a cell, including those added to disturbed cells.
static int most_trials(const struct plan *plan)
{
    int most = 0;
    for (size_t i = 0; i < plan->cell_count; i++)
        if (plan->cells[i].procs + plan->cells[i].retries > most)
            most = plan->cells[i].procs + plan->cells[i].retries;
    return most;
}

static enum status run_trials(struct runner *r, struct error *err)
{
    const struct plan *plan = r->context.plan;
    int most = most_trials(plan);
    for (int number = 1; plan->interleaved && number <= most; number++)
        for (size_t g = 0; g < plan->group_count; g++)
            TRY(run_stretch(r, plan->groups[g].first, plan->groups[g].count, number, err));
    for (size_t i = 0; !plan->interleaved && i < plan->run_count; i++)
        for (int number = 1; number <= most; number++)
            TRY(run_stretch(r, i, 1, number, err));
    return OK;
}

// ---- before the trials ---------------------------------------------------------------------------------------

// Among cells that will run, and whose device and threads have no ceilings yet and are not in `tried`, the one with the
// most threads. NULL: there is none.
static const struct cell *without_ceilings(const struct run_context *c, const bool *tried)
{
    const struct cell *most = NULL;
    for (size_t i = 0; i < c->plan->cell_count; i++) {
        const struct cell *cell = &c->plan->cells[i];
        if (!cell->skip && !tried[i] && (!most || cell->threads > most->threads) &&
            !ceilings_find(c->ceilings, cell->device, "read", "DRAM", cell->threads))
            most = cell;
    }
    return most;
}

// Measures the ceilings for every device and number of threads that a cell uses. The largest number comes first,
// because smaller ones are measured with it. A resumed run already has its ceilings.
static enum status measure_ceilings(struct runner *r, struct error *err)
{
    struct run_context *c = &r->context;
    TRY(record_ceilings_of(c->record.store, c->record.run, c->ceilings, err));
    if (c->ceilings->count > 0)
        return OK;
    bool *tried = calloc(c->plan->cell_count + 1, sizeof *tried);
    if (!tried)
        return FAIL(err, ERR_NOMEM, "runner: ceilings");
    const struct cell *cell;
    enum status status = OK;
    while (status == OK && (cell = without_ceilings(c, tried)) != NULL) {
        live_note(&c->live, "measuring what %s can do with %d thread%s", cell->device,
                  cell->threads, cell->threads == 1 ? "" : "s");
        status = session_ceilings(c, cell->device, cell->threads, err);
        for (size_t i = 0; i < c->plan->cell_count; i++) // failed or not, one attempt is enough
            tried[i] |= str_equal(c->plan->cells[i].device, cell->device) &&
                        c->plan->cells[i].threads == cell->threads;
    }
    free(tried);
    if (c->ceilings_note.failed && status == OK)
        status = FAIL(err, ERR_NOMEM, "runner: the note on the ceilings");
    if (c->ceilings_note.length && status == OK) {
        live_line(&c->live, "ceilings: %s", str_text(&c->ceilings_note));
        status =
            store_ceilings_note(c->record.store, c->record.run, str_text(&c->ceilings_note), err);
    }
    return status == OK ? record_ceilings(&c->record, c->ceilings, err) : status;
}

// Counts the work to do, for the display of the remaining time.
static enum status count_work(struct runner *r, size_t *trials, double *predicted_ns,
                              struct error *err)
{
    const struct plan *plan = r->context.plan;
    *trials = 0;
    *predicted_ns = 0;
    for (size_t i = 0; i < plan->cell_count; i++) {
        for (int number = 1; number <= plan->cells[i].procs; number++) {
            bool want = false;
            TRY(wanted(r, i, number, &want, err));
            *trials += want;
            *predicted_ns += want ? plan->cells[i].predicted_ns / plan->cells[i].procs : 0;
        }
    }
    return OK;
}

static void begin_live(struct runner *r, size_t trials, double predicted_ns)
{
    const struct plan *plan = r->context.plan;
    for (size_t i = 0; i < plan->quality_count; i++)
        predicted_ns += plan->qualities[i].skip ? 0 : plan->qualities[i].predicted_ns;
    live_expect(&r->context.live, trials, predicted_ns);
}

static enum status prepare(struct runner *r, const struct runner_options *options,
                           struct error *err)
{
    struct run_context *c = &r->context;
    size_t trials = 0;
    double predicted_ns = 0;
    live_begin(&c->live, options->output, options->own_store);
    live_models(&c->live, c->plan);
    TRY(measure_ceilings(r, err));
    TRY(record_cells(&c->record, c->plan, c->ceilings, err));
    TRY(count_work(r, &trials, &predicted_ns, err));
    begin_live(r, trials, predicted_ns);
    if (c->record.resumed)
        live_line(&c->live, "resuming run %lld: %zu %s missing", (long long)c->record.run, trials,
                  trials == 1 ? "trial is" : "trials are");
    return OK;
}

// ---- the run -----------------------------------------------------------------------------------------------------

static enum status runner_init(struct runner *r, const struct plan *plan,
                               const struct runner_options *options, struct error *err)
{
    struct run_context *c = &r->context;
    json_t *thresholds = bound_thresholds();
    *r = (struct runner){.executable = os_executable_path()};
    r->own_worker[0] = r->executable;
    r->own_worker[1] = "worker";
    r->picked = calloc(plan->cell_count + 1, sizeof *r->picked);
    c->plan = plan;
    c->worker_command = options->worker_command ? options->worker_command : r->own_worker;
    c->memory_limit_bytes =
        options->memory_limit_bytes ? options->memory_limit_bytes : plan->memory_bytes;
    c->trace = options->trace;
    c->ceilings = calloc(1, sizeof *c->ceilings);
    c->thresholds = thresholds ? json_dumps(thresholds, JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    json_decref(thresholds);
    if (!r->picked || !c->ceilings || !c->thresholds)
        return FAIL(err, ERR_NOMEM, "runner");
    if (!c->worker_command[0])
        return FAIL(err, ERR_IO,
                    "runner: the system does not report this program's path, so it "
                    "cannot start workers");
    return OK;
}

static void runner_fini(struct runner *r)
{
    free(r->executable);
    free(r->picked);
    free(r->context.ceilings);
    free(r->context.thresholds);
    str_fini(&r->context.ceilings_note);
}

// Writes the run's final status to the store. A run with more cells than this plan stays resumable. A failure to write
// is reported, unless something failed before.
static void end_run(struct runner *r, enum status status, struct error *err)
{
    const struct record *record = &r->context.record;
    struct error late = {0};
    bool covered = true;
    if (status == OK)
        status = record_covered(record, r->context.plan, &covered, err);
    if (!covered)
        live_line(&r->context.live,
                  "run %lld still has cells that --only excluded; continue it with --resume",
                  (long long)record->run);
    const char *word = status == OK && covered                     ? "done"
                       : status == OK || status == ERR_INTERRUPTED ? "interrupted"
                                                                   : "failed";
    if (store_run_end(record->store, record->run, word, clock_wall_ns(), &late) != OK &&
        err->code == OK)
        *err = late;
}

static enum exit_code summarize(struct runner *r, bool table, struct error *err)
{
    struct run_context *c = &r->context;
    size_t failed = 0;
    if (err->code != OK ||
        (table && live_table(&c->live, c->record.store, c->record.run, err) != OK) ||
        record_failed(&c->record, &failed, err) != OK)
        return EXIT_ERROR;
    return failed + r->failed_qualities ? EXIT_CELL_FAILED : EXIT_FINE;
}

static enum exit_code run_opened(struct runner *r, const struct runner_options *options,
                                 struct error *err)
{
    enum status status = prepare(r, options, err);
    if (status == OK)
        status = run_trials(r, err);
    if (status == OK)
        status = session_qualities(&r->context, &r->failed_qualities, err);
    if (status == ERR_INTERRUPTED) {
        error_clear(err);
        interrupt_accept(&r->interrupt);
        end_run(r, status, err);
        live_line(&r->context.live, "interrupted: what was measured is in %s%s", options->database,
                  options->no_resume ? "" : "; continue with --resume");
        return EXIT_INTERRUPTED;
    }
    end_run(r, status, err);
    if (status == OK && plan_check_any(r->context.plan, err) != OK)
        return EXIT_ERROR;
    return summarize(r, !options->no_table, err);
}

enum exit_code runner_run(const struct plan *plan, const struct runner_options *options,
                          struct error *err)
{
    struct runner runner;
    enum exit_code code = EXIT_ERROR;
    if (runner_init(&runner, plan, options, err) == OK) {
        interrupt_begin(&runner.interrupt); // before the store says that the run is running
        interrupt_hold_stop();
        if (record_open(plan, options, &runner.context.record, err) == OK) {
            if (options->run)
                *options->run = runner.context.record.run;
            code = run_opened(&runner, options, err);
            live_wipe(&runner.context.live);
            record_close(&runner.context.record);
        }
        interrupt_end(&runner.interrupt);
        if (runner.interrupt.arrived && code == EXIT_FINE)
            code = EXIT_INTERRUPTED;
    }
    runner_fini(&runner);
    return code;
}
