// session.c - listens to one worker and turns its events, and its end, into trials.
#include "bench/run/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "bench/run/child.h"
#include "bench/protocol/protocol.h"
#include "bench/run/trial.h"
#include "bench/run/verdict.h"
#include "results/query.h"

struct session {
    struct run_context *run;
    const size_t *cells; // indices into the plan, in the order of the job
    size_t count, at;    // at: the first one without a trial
    int number;
    struct child *child;
    uint64_t deadline_ns; // on child_clock_ns
    struct event loaded;  // type EVENT_LOADED once it has arrived
    bool in_cell;         // the worker has reported the start of cells[at]
    struct trial trial;   // of cells[at]
    char phase[32];       // the last reported phase
    bool over;            // this worker is no longer needed
};

static const struct cell *current(const struct session *s)
{
    return &s->run->plan->cells[s->cells[s->at]];
}

static void begin_trial(struct session *s)
{
    if (s->at == s->count)
        return;
    const struct event *loaded = s->loaded.type == EVENT_LOADED ? &s->loaded : NULL;
    trial_begin(&s->trial, current(s), s->run->record.cells[s->cells[s->at]], s->number, loaded);
    if (s->child) // else it has ended, and so has the session
        s->deadline_ns = child_clock_ns(s->child) + current(s)->timeout_ns;
    s->in_cell = false;
    live_cell(&s->run->live, current(s));
}

// ---- memory ran out ------------------------------------------------------------------------------------------

static double needs_bytes(const struct cell *c)
{
    return (double)c->memory.weights_bytes + (double)c->memory.kv_bytes +
           (double)c->memory.scratch_bytes;
}

// Whether `other` must fail as well because `cell` ran out of memory: it needs at least as much of everything, and as
// much memory in total.
static bool as_large(const struct cell *other, const struct cell *cell, bool loading)
{
    if (other->model != cell->model || other->scheme != cell->scheme ||
        !str_equal(other->device, cell->device))
        return false;
    return loading || (other->batch >= cell->batch && other->context >= cell->context &&
                       needs_bytes(other) >= needs_bytes(cell));
}

static size_t trials_left(const struct run_context *run, size_t cell, int from)
{
    int left = run->plan->cells[cell].procs - from + 1;
    return run->record.stopped[cell] || left < 0 ? 0 : (size_t)left;
}

// Removes the trials of a cell from `from` on from the work to do.
static void drop_trials(struct run_context *run, size_t cell, int from)
{
    size_t left = trials_left(run, cell, from);
    const struct cell *c = &run->plan->cells[cell];
    live_drop(&run->live, left, c->predicted_ns / c->procs * (double)left);
}

static enum status prune(struct session *s, bool loading, struct error *err)
{
    struct run_context *run = s->run;
    const struct cell *cell = current(s);
    char reason[256];
    snprintf(reason, sizeof reason, "pruned: %s ran out of memory%s", cell->label,
             loading ? " while loading" : "");
    for (size_t i = 0; run->plan->prune_larger_on_oom && i < run->plan->cell_count; i++) {
        const struct cell *other = &run->plan->cells[i];
        if (other == cell || run->record.stopped[i] || !as_large(other, cell, loading))
            continue;
        drop_trials(run, i, s->number);
        TRY(record_skip(&run->record, i, reason, err));
    }
    return OK;
}

// Whether any of the remaining cells was just pruned: the worker must not begin it.
static bool rest_is_pruned(const struct session *s)
{
    for (size_t i = s->at; i < s->count; i++)
        if (s->run->record.stopped[s->cells[i]])
            return true;
    return false;
}

// ---- the form of decode steps -----------------------------------------------------------------------------------

// The form of decode steps for a trial. A cell's first trial chooses it and the others use it, because another form may
// generate other tokens.
static enum status step_of(const struct session *s, size_t index, enum decode_form *form,
                           struct error *err)
{
    struct arena arena = {0};
    const char *known = "";
    enum status status = OK;
    *form = s->run->plan->cells[index].step;
    if (*form == DECODE_AUTO)
        status =
            query_step_form(s->run->record.store, &arena, s->run->record.cells[index], &known, err);
    context_form_parse(known, form);
    arena_fini(&arena);
    return status;
}

// The engine was given the form that the first trial chose; the suite had requested none.
static enum status name_step(struct session *s, struct error *err)
{
    struct event *trial = &s->trial.summary;
    enum decode_form form;
    if (current(s)->step != DECODE_AUTO || !trial->step_form)
        return OK;
    TRY(step_of(s, s->cells[s->at], &form, err));
    if (form != DECODE_AUTO && str_equal(trial->step_form, context_form_name(form)))
        trial->step_reason = "as the cell's first trial chose";
    return OK;
}

// ---- a trial ends -----------------------------------------------------------------------------------------------

// Stores and shows a judged or failed trial, and moves on to the next.
static enum status end_trial(struct session *s, struct error *err)
{
    struct trial *t = &s->trial;
    bool oom = str_equal(t->status, "oom");
    bool again = !oom && !str_equal(t->status, "timeout") && !str_equal(t->status, "unsupported");
    if (trial_measured(t) && s->run->ceilings->count > 0)
        TRY(trial_verdicts(t, s->run->ceilings, s->run->thresholds, err));
    TRY(name_step(s, err));
    TRY(trial_store(t, s->run->record.store, s->run->record.build, err));
    live_trial(&s->run->live, t);
    if (oom)
        TRY(prune(s, s->loaded.type != EVENT_LOADED, err));
    if (!again) { // it would end the same way again
        drop_trials(s->run, s->cells[s->at], s->number + 1);
        s->run->record.stopped[s->cells[s->at]] = true;
    }
    trial_fini(t);
    if (s->child)
        child_take_stopped_ns(s->child); // drops the stops of the trial that ended
    s->at++;
    s->over |= rest_is_pruned(s);
    begin_trial(s);
    return OK;
}

// Judges a trial during which the worker was stopped: its figures are distorted. A stop during the load counts as well,
// because the runner may have been stopped before it read that the load was over.
static void judge_stopped(struct session *s)
{
    char stopped[32];
    uint64_t stopped_ns = child_take_stopped_ns(s->child);
    if (stopped_ns > 0 && str_equal(s->trial.status, "ok"))
        trial_fail(&s->trial, "noisy", "the run was stopped for %s during this trial or its load",
                   format_time_ns((double)stopped_ns, stopped, sizeof stopped));
}

static enum status end_trial_well(struct session *s, struct error *err)
{
    struct arena arena = {0};
    const char *hash = "";
    enum status status =
        query_token_hash(s->run->record.store, &arena, s->trial.cell_id, &hash, err);
    if (status == OK)
        trial_judge(&s->trial, hash);
    if (status == OK)
        judge_stopped(s);
    arena_fini(&arena);
    return status == OK ? end_trial(s, err) : status;
}

const char *session_status_of(enum status code)
{
    switch (code) {
    case ERR_NOMEM:
        return "oom";
    case ERR_UNSUPPORTED:
        return "unsupported";
    case ERR_TIMEOUT:
        return "timeout";
    default:
        return "failed";
    }
}

// ---- events -----------------------------------------------------------------------------------------------------

static enum status on_error(struct session *s, const struct event *event, struct error *err)
{
    if (event->cell < 0) // the whole job failed: the next cell gets a new worker
        s->over = true;
    trial_fail(&s->trial, session_status_of(event->code), "%s", event->message);
    return end_trial(s, err);
}

// Whether this event may arrive now. Returns OK, or puts the reason in `bad`.
static enum status in_turn(const struct session *s, const struct event *event, struct error *bad)
{
    bool loaded = s->loaded.type == EVENT_LOADED;
    bool errand = event->type == EVENT_CEILINGS || event->type == EVENT_QUALITY;
    bool about_cell = event->type == EVENT_CELL || event->type == EVENT_REPETITION ||
                      event->type == EVENT_TRACE || event->type == EVENT_TRIAL;
    if (s->at == s->count)
        return event->type == EVENT_BYE ? OK
                                        : FAIL(bad, ERR_FORMAT, "it sent an event after the end");
    if (event->type == EVENT_BYE)
        return FAIL(bad, ERR_FORMAT, "it ended with %zu cells to measure", s->count - s->at);
    if (errand || (event->type == EVENT_LOADED && loaded))
        return FAIL(bad, ERR_FORMAT, "it sent an unexpected answer");
    if (event->type == EVENT_LOADED && !str_equal(event->engine, current(s)->engine))
        return FAIL(bad, ERR_FORMAT, "it loaded engine %.40s, the cell's is %s", event->engine,
                    current(s)->engine);
    if ((about_cell && !loaded) || (event->cell >= 0 && event->cell != (int)s->cells[s->at]))
        return FAIL(bad, ERR_FORMAT, "it sent an event of cell %d out of order", event->cell);
    if (about_cell && (event->type == EVENT_CELL) == s->in_cell)
        return FAIL(bad, ERR_FORMAT, "it measured a cell it had not begun, or began one twice");
    return OK;
}

// Handles the next event. `bad`: the event is invalid. `err`: the runner itself failed.
static enum status on_event(struct session *s, struct event *event, struct error *bad,
                            struct error *err)
{
    switch (event->type) {
    case EVENT_PROGRESS:
        snprintf(s->phase, sizeof s->phase, "%s", event->phase);
        if (str_equal(event->phase, WIRE_CALIBRATE))
            s->deadline_ns = child_clock_ns(s->child) + current(s)->timeout_ns;
        live_progress(&s->run->live, event->phase, event->repetition, event->done);
        return OK;
    case EVENT_LOADED:
        s->loaded = *event;
        *event = (struct event){.cell = -1};
        trial_fini(&s->trial);
        begin_trial(s);
        return OK;
    case EVENT_CELL:
        s->in_cell = true;
        trace_clear(s->run->trace); // an earlier trial's
        return OK;
    case EVENT_TRACE:
        return trace_add(s->run->trace, event, err);
    case EVENT_REPETITION:
        return trial_add(&s->trial, event, bad);
    case EVENT_TRIAL:
        TRY(trial_add(&s->trial, event, bad));
        return end_trial_well(s, err);
    case EVENT_ERROR:
        return on_error(s, event, err);
    default:
        return OK;
    }
}

// ---- the worker's end -------------------------------------------------------------------------------------------

// Fails the current cell, because its worker must be ended.
static enum status fail_current(struct session *s, const char *status, const char *words,
                                struct error *err)
{
    s->over = true;
    if (s->at == s->count)
        return OK;
    const char *during = s->loaded.type == EVENT_LOADED ? "" : " while loading";
    trial_fail(&s->trial, status, "the worker was stopped%s: %s", during, words);
    return end_trial(s, err);
}

// Reaps the worker. If a cell was running, it fails with the reason for the worker's end.
static enum status on_closed(struct session *s, struct error *err)
{
    struct child_end end;
    char words[700];
    child_end(s->child, CHILD_STOP_GENTLY, &end);
    s->child = NULL;
    s->over = true;
    if (s->at == s->count && !end.exited_well) {
        live_wipe(&s->run->live);
        log_line(LOG_WARN, "a worker was done, and then %s", end.words);
    }
    if (s->at == s->count)
        return OK;
    snprintf(words, sizeof words, "the worker ended in %s without a result: %s",
             s->phase[0] ? s->phase : "its start", end.words);
    trial_fail(&s->trial, end.out_of_memory ? "oom" : "crashed", "%s", words);
    return end_trial(s, err);
}

static enum status on_timeout(struct session *s, struct error *err)
{
    char words[128], limit[32];
    format_limit_ns((double)current(s)->timeout_ns, limit, sizeof limit);
    snprintf(words, sizeof words, "no end within %s, in %s", limit,
             s->phase[0] ? s->phase : "its start");
    return fail_current(s, "timeout", words, err);
}

// Handles one line: an event, or the end of this worker.
static enum status on_line(struct session *s, const char *line, size_t length, struct error *err)
{
    struct event event = {.cell = -1};
    struct error bad = {0};
    if (event_parse(line, length, &event, &bad) == OK && in_turn(s, &event, &bad) == OK &&
        event.type != EVENT_BYE)
        on_event(s, &event, &bad, err);
    event_fini(&event);
    if (err->code != OK || bad.code == OK)
        return err->code;
    char words[512];
    snprintf(words, sizeof words, "its output violates the protocol: %.450s", bad.message);
    return fail_current(s, "crashed", words, err);
}

static enum status listen(struct session *s, struct error *err)
{
    while (!s->over) {
        const char *line = NULL;
        size_t length = 0;
        switch (child_next(s->child, s->deadline_ns, &line, &length)) {
        case CHILD_LINE:
            TRY(on_line(s, line, length, err));
            break;
        case CHILD_QUIET:
            live_tick(&s->run->live);
            break;
        case CHILD_CLOSED:
            return on_closed(s, err);
        case CHILD_TOO_LONG:
            return fail_current(s, "crashed", "its output violates the protocol: an endless line",
                                err);
        case CHILD_TIMEOUT:
            if (s->at == s->count) // all trials are stored; the worker just does not end
                return OK;
            return on_timeout(s, err);
        case CHILD_INTERRUPTED:
            return FAIL(err, ERR_INTERRUPTED, "interrupted");
        }
    }
    return OK;
}

// ---- jobs -------------------------------------------------------------------------------------------------------

// The caller frees *out.
static enum status cells_job(const struct session *s, char **out, struct error *err)
{
    enum status status = OK;
    const struct cell *first = current(s);
    struct job job = {
        .task = JOB_CELLS,
        .threads = first->threads,
        .isa = ISA_ALL,
        .memory_limit_bytes = s->run->memory_limit_bytes,
        .engine = first->engine,
        .device = first->device,
        .scheme = first->scheme->name,
        .head = first->head,
        .products = first->runs.products,
        .calib = first->calib,
        .model_path = first->model->path,
        .shape_path = first->model->path ? NULL : first->model->shape_path,
        .seed = first->model->seed,
        .cold = s->number == 1,
        .trace = s->run->trace != NULL,
        .cell_count = s->count,
    };
    job.cells = calloc(s->count, sizeof *job.cells);
    for (size_t i = 0; job.cells && status == OK && i < s->count; i++) {
        const struct cell *c = &s->run->plan->cells[s->cells[i]];
        job.cells[i] = (struct job_cell){
            .index = (int)s->cells[i],
            .batch = c->batch,
            .context = c->context,
            .gen = c->gen,
            .chunk = c->chunk,
            .kv = c->kv,
            .prompt = c->prompt,
            .sampling = c->sampling,
            .reps = c->reps,
            .min_ns = (int64_t)c->min_time_ns,
            .warmup = c->warmup,
            .collect = c->collect,
        };
        status = step_of(s, s->cells[i], &job.cells[i].step, err);
    }
    *out = job.cells && status == OK ? job_encode(&job) : NULL;
    free(job.cells);
    return *out || status != OK ? status : FAIL(err, ERR_NOMEM, "runner: a job");
}

enum status session_cells(struct run_context *run, const size_t *cells, size_t count, int number,
                          struct error *err)
{
    struct session s = {.run = run, .cells = cells, .count = count, .number = number};
    struct child_end end;
    char *job;
    s.loaded.cell = -1;
    TRY(cells_job(&s, &job, err));
    enum status status = child_start(run->worker_command, job, &s.child, err);
    free(job);
    if (status != OK)
        return status;
    begin_trial(&s);
    status = listen(&s, err);
    if (s.child)
        child_end(s.child, s.at == s.count ? CHILD_STOP_GENTLY : CHILD_STOP_TERM, &end);
    if (s.at < s.count)
        trial_fini(&s.trial);
    event_fini(&s.loaded);
    return status;
}
