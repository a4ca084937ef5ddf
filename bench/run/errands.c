// errands.c - runs jobs that measure no cell: the ceilings of the machine, and the quality of a scheme.
#include "bench/run/session.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/str.h"
#include "bench/run/child.h"
#include "bench/protocol/protocol.h"

static const uint64_t ceilings_timeout_ns = 300000000000;

// One worker on one errand, and how it ended.
struct errand {
    struct child *child;
    uint64_t deadline_ns;
    uint64_t limit_ns;
    struct live *live;
    struct event *answers[EVENT_TYPE_COUNT]; // where events of each type go; NULL: unwanted
    struct error failure;                    // why it did not answer; OK if it did
    bool reported;                           // by the worker itself
    struct child_end end;
};

// Keeps a wanted event. Any other event is a failure.
static void take(struct errand *e, struct event *event)
{
    struct event *slot = e->answers[event->type];
    if (event->type == EVENT_ERROR) {
        FAIL(&e->failure, event->code, "%s", event->message);
        e->reported = true;
    }
    if (event->type == EVENT_PROGRESS)
        live_progress(e->live, event->phase, 0, event->done);
    if (event->type == EVENT_PROGRESS && str_equal(event->phase, WIRE_CALIBRATE))
        e->deadline_ns = child_clock_ns(e->child) + e->limit_ns;
    if (slot && slot->root == NULL) {
        *slot = *event;
        *event = (struct event){.cell = -1};
    } else if (event->type != EVENT_HELLO && event->type != EVENT_PROGRESS &&
               event->type != EVENT_ERROR && event->type != EVENT_BYE) {
        FAIL(&e->failure, ERR_FORMAT, "it sent an unexpected answer");
    }
}

// Reads events until the worker ends. Returns whether it closed its end itself.
static bool listen(struct errand *e)
{
    while (e->failure.code == OK) {
        const char *line = NULL;
        size_t length = 0;
        struct event event;
        char limit[32];
        switch (child_next(e->child, e->deadline_ns, &line, &length)) {
        case CHILD_LINE:
            if (event_parse(line, length, &event, &e->failure) == OK)
                take(e, &event);
            event_fini(&event);
            break;
        case CHILD_QUIET:
            live_tick(e->live);
            break;
        case CHILD_CLOSED:
            return true;
        case CHILD_INTERRUPTED:
            FAIL(&e->failure, ERR_INTERRUPTED, "interrupted");
            break;
        case CHILD_TIMEOUT:
            FAIL(&e->failure, ERR_TIMEOUT, "no end within %s",
                 format_limit_ns((double)e->limit_ns, limit, sizeof limit));
            break;
        case CHILD_TOO_LONG:
            FAIL(&e->failure, ERR_FORMAT, "an endless line");
            break;
        }
    }
    return false;
}

// Runs the job. `wanted` is the event that must arrive. Errors: the runner's own; ERR_INTERRUPTED.
static enum status errand_run(struct run_context *run, const struct job *job, struct errand *e,
                              enum event_type wanted, struct error *err)
{
    char *text = job_encode(job);
    if (!text)
        return FAIL(err, ERR_NOMEM, "runner: a job");
    enum status status = child_start(run->worker_command, text, &e->child, err);
    free(text);
    if (status != OK)
        return status;
    e->live = &run->live;
    e->deadline_ns = child_clock_ns(e->child) + e->limit_ns;
    bool closed = listen(e);
    child_end(e->child, closed ? CHILD_STOP_GENTLY : CHILD_STOP_TERM, &e->end);
    if (e->failure.code == ERR_INTERRUPTED)
        return FAIL(err, ERR_INTERRUPTED, "interrupted");
    if (e->failure.code == OK && e->answers[wanted]->root == NULL)
        FAIL(&e->failure, e->end.out_of_memory ? ERR_NOMEM : ERR_IO,
             "the worker ended without a result: %s", e->end.words);
    return OK;
}

// An error that the worker did not report itself means that it died or broke the protocol.
static const char *status_of(const struct errand *e)
{
    if (e->failure.code == OK)
        return "ok";
    const char *status = session_status_of(e->failure.code);
    return str_equal(status, "failed") && !e->reported ? "crashed" : status;
}

// ---- ceilings ---------------------------------------------------------------------------------------

// Whether two ceilings are the same limit. Sets of several sizes share one name and level.
static bool is_same_limit(const struct ceiling *a, const struct ceiling *b)
{
    return str_equal(a->device, b->device) && str_equal(a->name, b->name) &&
           str_equal(a->level, b->level) && a->threads == b->threads &&
           a->set_bytes == b->set_bytes;
}

// Appends new ceilings. Those measured earlier with other numbers of threads arrive again and are skipped.
static void append_ceilings(struct ceilings *all, const struct ceilings *more)
{
    for (int i = 0; i < more->count && all->count < CEILINGS_MAX; i++) {
        int at = 0;
        while (at < all->count && !is_same_limit(&all->row[at], &more->row[i]))
            at++;
        if (at == all->count)
            all->row[all->count++] = more->row[i];
    }
}

// Adds what a measurement of ceilings noted: "cpu with 2 threads: 3 of 90 windows were disturbed".
static void add_note(struct str *notes, const char *device, int threads, const char *note)
{
    if (!note[0])
        return;
    str_printf(notes, "%s%s", notes->length ? "; " : "", device);
    if (device_word_kind(device) ==
        DEVICE_HOST) // a GPU's are not measured with threads of the host
        str_printf(notes, " with %d thread%s", threads, threads == 1 ? "" : "s");
    str_append(notes, ": ");
    str_append_plain(notes, note, strlen(note));
}

enum status session_ceilings(struct run_context *run, const char *device, int threads,
                             struct error *err)
{
    struct job job = {.task = JOB_CEILINGS,
                      .device = device,
                      .threads = threads,
                      .isa = ISA_ALL,
                      .memory_limit_bytes = run->memory_limit_bytes};
    struct event answer = {.cell = -1};
    struct errand e = {.limit_ns = ceilings_timeout_ns, .answers = {[EVENT_CEILINGS] = &answer}};
    enum status status = errand_run(run, &job, &e, EVENT_CEILINGS, err);
    if (status == OK && e.failure.code == OK) {
        append_ceilings(run->ceilings, answer.ceilings);
        add_note(&run->ceilings_note, device, threads, answer.ceilings->note);
    } else if (status == OK) {
        add_note(&run->ceilings_note, device, threads, e.failure.message);
        live_wipe(&run->live);
        log_line(LOG_WARN,
                 "ceilings for %d threads were not measured (%s): cells that use them get no "
                 "verdict",
                 threads, e.failure.message);
    }
    event_fini(&answer);
    return status;
}

// ---- quality ----------------------------------------------------------------------------------------

enum status session_quality(struct run_context *run, const struct plan_quality *q,
                            struct quality_outcome *out, struct error *err)
{
    struct job job = {
        .task = JOB_QUALITY,
        .engine = STORE_ENGINE,
        .threads = q->threads,
        .isa = ISA_ALL,
        .memory_limit_bytes = run->memory_limit_bytes,
        .device = q->device,
        .scheme = q->scheme->name,
        .head = q->head,
        .products = q->products,
        .calib = q->calib,
        .model_path = q->model->path,
        .shape_path = q->model->path ? NULL : q->model->shape_path,
        .seed = q->model->seed,
        .quality = {.kv = q->kv,
                    .text = q->wish->text,
                    .text_hash = q->wish->text_hash,
                    .convention = q->wish->convention,
                    .windows = q->wish->windows},
    };
    *out = (struct quality_outcome){.loaded = {.cell = -1}, .figures = {.cell = -1}};
    struct errand e = {
        .limit_ns = q->timeout_ns,
        .answers = {[EVENT_LOADED] = &out->loaded, [EVENT_QUALITY] = &out->figures},
    };
    TRY(errand_run(run, &job, &e, EVENT_QUALITY, err));
    out->status = status_of(&e);
    snprintf(out->reason, sizeof out->reason, "%.590s",
             e.failure.code == OK ? out->figures.message : e.failure.message);
    return OK;
}
