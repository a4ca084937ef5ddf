// worker.c - the worker process: reads a job, loads the model, measures each cell, sends events.
#include "bench/worker/worker.h"

#include <dirent.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/os.h"
#include "base/str.h"
#include "bench/engines/builtin.h"
#include "bench/engines/engines.h"
#include "bench/protocol/protocol.h"
#include "bench/suite/prompt_word.h"
#include "bench/worker/evaluate.h"
#include "bench/worker/instruments.h"
#include "bench/worker/measure.h"
#include "bench/worker/trace.h"
#include "results/metric.h"

enum { JOB_TEXT_MAX = 64 << 20 };

struct worker {
    struct wire wire;
    struct job job;
    json_t *job_root; // owns the job's strings
    struct device *device;
    const struct bench_engine *engine;
    void *model; // the engine's model, owned
    struct instruments instruments;
    struct worker_trace trace; // of the current cell, where the job asks for one
};

// ---- start ---------------------------------------------------------------------------------------------

static enum status job_read(struct worker *w, struct error *err)
{
    struct str text = {0};
    char block[65536];
    ssize_t count;
    while ((count = read(STDIN_FILENO, block, sizeof block)) > 0 && text.length < JOB_TEXT_MAX)
        str_append_bytes(&text, block, (size_t)count);
    if (text.failed)
        FAIL(err, ERR_NOMEM, "worker: reading the job");
    else if (count != 0)
        FAIL(err, ERR_IO, "worker: the job on standard input does not end");
    else
        job_decode(str_text(&text), text.length, &w->job, &w->job_root, err);
    str_fini(&text);
    return err->code;
}

static enum status hello(struct worker *w, int64_t limit, struct error *err)
{
    json_t *event = wire_event("hello");
    json_object_set_new(event, "version", json_integer(PROTOCOL_VERSION));
    json_object_set_new(event, "pid", json_integer(getpid()));
    json_object_set_new(event, "memory_limit",
                        limit == OS_UNKNOWN ? json_null() : json_integer(limit));
    struct pool *pool = device_pool(w->device);
    json_object_set_new(event, "threads", json_integer(pool ? pool_threads(pool) : 0));
    json_object_set_new(event, "pinned", json_boolean(pool && pool_pinned(pool)));
    return wire_send(&w->wire, event, err);
}

// ---- load ----------------------------------------------------------------------------------------------

// Drops every file of a checkpoint from the page cache. The load is cold only when all were dropped (true).
static bool drop_cache(const char *path)
{
    if (!file_is_dir(path))
        return os_drop_file_cache(path);
    DIR *dir = opendir(path);
    bool dropped = dir != NULL;
    for (struct dirent *entry; dir && (entry = readdir(dir)) != NULL;) {
        char *file = file_join(path, entry->d_name);
        if (file && !file_is_dir(file))
            dropped &= os_drop_file_cache(file);
        free(file);
    }
    if (dir)
        closedir(dir);
    return dropped;
}

static void load_progress(void *user, const char *phase, double done)
{
    struct worker *w = user;
    wire_progress(&w->wire, phase, -1, 0, done);
}

static bool wants_text(const struct job *job)
{
    bool text = false;
    for (size_t i = 0; i < job->cell_count; i++)
        text |= prompt_text_path(job->cells[i].prompt) != NULL;
    return text;
}

static enum status send_loaded(struct worker *w, bool cold, double load_ns, struct error *err)
{
    struct bench_engine_facts facts;
    json_t *metrics = json_array();
    w->engine->describe(w->model, &facts);
    if (facts
            .calibration) { // its codes were just written, or read and hashed, so they are never cold
        load_ns -= facts.calibration->needed_ns;
        wire_metric(metrics, METRIC_CALIBRATION, facts.calibration->time_ns, "load", NULL,
                    facts.calibration->kept ? "host clock, when it was calibrated" : "host clock");
    }
    wire_metric(metrics, cold && !facts.calibration ? METRIC_LOAD_COLD : METRIC_LOAD, load_ns,
                "load", NULL, w->job.shape_path ? "host clock, weights generated" : "host clock");
    struct wire_loaded loaded = {.engine = w->engine->name,
                                 .engine_version = facts.version,
                                 .arithmetic = facts.arithmetic,
                                 .stored = facts.stored};
    return wire_send(&w->wire, wire_loaded(&loaded, metrics), err);
}

static enum status load(struct worker *w, struct error *err)
{
    const struct job *job = &w->job;
    bool cold = job->cold && job->model_path && drop_cache(job->model_path);
    struct bench_engine_load in = {.job = job,
                                   .device = w->device,
                                   .tokenizer = wants_text(job),
                                   .progress = load_progress,
                                   .user = w};
    uint64_t begin_ns = clock_ns();
    if (w->engine->load(&in, &w->model, err) != OK)
        return error_context(err, "loading %s",
                             job->model_path ? job->model_path : job->shape_path);
    return send_loaded(w, cold, (double)(clock_ns() - begin_ns), err);
}

// ---- cells ---------------------------------------------------------------------------------------------

static enum status send_repetition(void *user, const struct subject *s, const struct repetition *r,
                                   int number, struct error *err)
{
    struct worker *w = user;
    const struct job_cell *c = s->cell;
    char hash[HASH_HEX_BYTES];
    TRY(hash_bytes(s->ids, (size_t)c->batch * (size_t)c->gen * sizeof *s->ids, hash, err));
    json_t *times = json_array();
    for (int i = 0; i < c->batch; i++) {
        json_t *row = json_array();
        for (int t = 0; t < c->gen; t++)
            json_array_append_new(row, json_integer(s->token_ns[subject_at(s, i, t)]));
        json_array_append_new(times, row);
    }
    json_t *event = wire_event("repetition");
    json_object_set_new(event, "cell", json_integer(c->index));
    json_object_set_new(event, "repetition", json_integer(number));
    json_object_set_new(event, "token_hash", json_string(hash));
    json_object_set_new(event, "nonfinite", json_integer(r->nonfinite_logits));
    json_object_set_new(event, "metrics", repetition_metrics(s, r));
    json_object_set_new(event, "noise", repetition_noise(s, r));
    json_object_set_new(event, "token_ns", times);
    return wire_send(&w->wire, event, err);
}

// Layers with a window keep every position, because kernels address positions by number. The source also states the
// size of the windows alone.
static void kv_source(const struct worker *w, const struct job_cell *cell, double kv_bytes,
                      char *out, size_t bytes)
{
    struct bench_engine_facts facts;
    char within[32];
    w->engine->describe(w->model, &facts);
    double share = facts.config ? model_window_share(facts.config, cell->context) : 1;
    snprintf(out, bytes, "engine");
    if (share < 1)
        snprintf(out, bytes, METRIC_KV_WHOLE "%s",
                 format_bytes(share * kv_bytes, within, sizeof within));
}

static enum status memory_metrics(const struct worker *w, const struct job_cell *cell,
                                  json_t *metrics, struct error *err)
{
    struct memory_plan plan;
    char source[96];
    if (!w->engine->memory)
        return OK;
    TRY(w->engine->memory(w->model, cell, &plan, err));
    wire_metric(metrics, METRIC_MEM_WEIGHTS, (double)plan.weights_bytes, NULL, NULL, "engine");
    if (plan.copy_bytes)
        wire_metric(metrics, METRIC_MEM_COPY, (double)plan.copy_bytes, NULL, NULL, "engine");
    kv_source(w, cell, (double)plan.kv_bytes, source, sizeof source);
    wire_metric(metrics, METRIC_MEM_KV, (double)plan.kv_bytes, NULL, NULL, source);
    wire_metric(metrics, METRIC_MEM_SCRATCH, (double)plan.scratch_bytes, NULL, NULL, "engine");
    return OK;
}

// A trial event without its metrics. The open context knows the form of decode steps.
static json_t *trial_event(const struct worker *w, const struct job_cell *cell,
                           const struct subject *s)
{
    json_t *event = wire_event("trial");
    struct decode_choice choice = {0};
    if (w->engine->decode_choice)
        choice = w->engine->decode_choice(s->run);
    json_object_set_new(event, "cell", json_integer(cell->index));
    if (choice.form) {
        json_object_set_new(event, "step_form", json_string(choice.form));
        json_object_set_new(event, "step_reason", json_string(choice.reason));
    }
    const char *products = w->engine->products ? w->engine->products(s->run) : NULL;
    if (products)
        json_object_set_new(event, "products", json_string(products));
    return event;
}

static enum status measure_cell(struct worker *w, const struct job_cell *cell, struct error *err)
{
    struct subject subject;
    double tokenize_ns = NAN;
    json_t *event = wire_event("cell");
    json_object_set_new(event, "cell", json_integer(cell->index));
    TRY(wire_send(&w->wire, event, err));
    TRY(worker_subject_create(cell, w->engine, w->model, w->device, &w->wire, &subject,
                              &tokenize_ns, err));

    json_t *metrics = json_array();
    if (!isnan(tokenize_ns))
        wire_metric(metrics, METRIC_TOKENIZE, tokenize_ns, NULL, NULL, "host clock");
    enum status status = OK;
    if (cell->collect & COLLECT_MEMORY)
        status = memory_metrics(w, cell, metrics, err);
    if (status == OK)
        status = measure_trial(&subject, send_repetition, w, err);
    subject.trace = w->job.trace ? &w->trace : NULL;
    if (status == OK)
        status = instruments_run(&w->instruments, &subject, metrics, err);
    worker_trace_fini(&w->trace);
    event = status == OK ? trial_event(w, cell, &subject) : NULL;
    worker_subject_fini(&subject);
    if (status != OK) {
        json_decref(metrics);
        return status;
    }
    json_object_set_new(event, "metrics", metrics);
    return wire_send(&w->wire, event, err);
}

// Reports a failure to the runner; cell < 0: of the whole job.
static enum status send_error(struct worker *w, int cell, const struct error *failure,
                              struct error *err)
{
    json_t *event = wire_event("error");
    if (cell >= 0)
        json_object_set_new(event, "cell", json_integer(cell));
    json_object_set_new(event, "code", json_string(status_name(failure->code)));
    json_t *message = json_string(failure->message);
    json_object_set_new(event, "message", message ? message : json_string("not valid UTF-8"));
    return wire_send(&w->wire, event, err);
}

static enum status run_cells(struct worker *w, struct error *err)
{
    unsigned collect = 0;
    w->engine = bench_engine_find(w->job.engine);
    if (!w->engine)
        return FAIL(err, ERR_UNSUPPORTED, "this build has no engine %s", w->job.engine);
    for (size_t i = 0; i < w->job.cell_count; i++)
        collect |= w->job.cells[i].collect;
    instruments_open(&w->instruments, w->device, collect);
    TRY(load(w, err));
    for (size_t i = 0; i < w->job.cell_count; i++) {
        struct error failure = {0};
        if (measure_cell(w, &w->job.cells[i], &failure) != OK)
            TRY(send_error(w, w->job.cells[i].index, &failure, err));
    }
    return OK;
}

// ---- ceilings ------------------------------------------------------------------------------------------

static json_t *ceiling_json(const struct ceiling *c)
{
    return json_pack("{ss ss ss ss si sf sf sf si sf sf sf sf}", "device", c->device, "name",
                     c->name, "level", c->level, "kernel", c->kernel, "threads", c->threads,
                     "value", c->value, "low", c->low, "high", c->high, "samples", c->samples,
                     "set_bytes", c->set_bytes, "clock_low_hz", c->clock_low_hz, "clock_high_hz",
                     c->clock_high_hz, "memory_clock_hz", c->memory_clock_hz);
}

static enum status run_ceilings(struct worker *w, struct error *err)
{
    struct ceilings *ceilings = calloc(1, sizeof *ceilings);
    if (!ceilings)
        return FAIL(err, ERR_NOMEM, "worker: ceilings");
    enum status status = ceilings_measure(w->device, false, ceilings, err);
    if (status == OK) {
        json_t *event = wire_event("ceilings"), *rows = json_array();
        for (int i = 0; i < ceilings->count; i++)
            json_array_append_new(rows, ceiling_json(&ceilings->row[i]));
        json_object_set_new(event, "rows", rows);
        json_object_set_new(event, "note", json_string(ceilings->note));
        status = wire_send(&w->wire, event, err);
    }
    free(ceilings);
    return status;
}

// ---- the worker ---------------------------------------------------------------------------------------------

static enum status work(struct worker *w, struct error *err)
{
    struct scheme scheme;
    TRY(job_read(w, err));
    // Without a limit, exhausted memory kills the worker, and the runner asks the kernel why.
    int64_t limit = machine_limit_memory(w->job.memory_limit_bytes);
    struct device_options options = {.threads = w->job.threads, .pin = true, .isa = w->job.isa};
    TRY(device_open(w->job.device, &options, &w->device, err));
    TRY(hello(w, limit, err));
    switch (w->job.task) {
    case JOB_CEILINGS:
        return run_ceilings(w, err);
    case JOB_QUALITY:
        TRY(bench_engine_builtin_scheme(&w->job, device_target(w->device), &scheme, err));
        return worker_evaluate(&w->job, &scheme, w->device, &w->wire, err);
    case JOB_CELLS:
        break;
    }
    return run_cells(w, err);
}

static void worker_fini(struct worker *w)
{
    instruments_close(&w->instruments);
    if (w->engine)
        w->engine->unload(w->model);
    device_close(w->device);
    free(w->job.cells);
    json_decref(w->job_root);
}

enum status worker_main(int events_fd, struct error *err)
{
    struct worker worker = {.wire = {.fd = events_fd}};
    struct error untold = {0};
    os_die_with_parent();
    os_return_freed_memory(); // peak memory is measured after canaries are freed
    if (work(&worker, err) != OK)
        send_error(&worker, -1, err, &untold);
    else
        wire_send(&worker.wire, wire_event("bye"), err);
    worker_fini(&worker);
    return err->code;
}
