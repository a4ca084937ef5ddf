// builtin.c - the program's own engine, in this process: the harness runs each step.
#include "bench/engines/builtin.h"

#include <stdlib.h>

#include "base/str.h"
#include "bench/engines/engines.h"
#include "bench/engines/stored.h"
#include "bench/suite/plan.h"
#include "results/store.h"

struct builtin_model {
    struct model *model;
    struct tokenizer *tokenizer; // NULL: all prompts are random
    struct scheme scheme;
    char stored[STORED_BYTES];
    struct device *device; // borrowed
    int threads;
};

enum status bench_engine_builtin_scheme(const struct job *job, struct device_target target,
                                        struct scheme *out, struct error *err)
{
    const struct scheme *row = scheme_find(job->scheme);
    if (!row)
        return FAIL(err, ERR_UNSUPPORTED, "scheme %s is not implemented in this build",
                    job->scheme);
    struct scheme asked = *row;
    asked.products = job->products;
    *out = scheme_resolve(&asked, job->head, target);
    return OK;
}

// ---- the model -------------------------------------------------------------------------------------------

static bool load_progress(void *user, double done)
{
    const struct bench_engine_load *in = user;
    in->progress(in->user, "load", done);
    return true;
}

static bool calibration_progress(void *user, double done)
{
    const struct bench_engine_load *in = user;
    in->progress(in->user, WIRE_CALIBRATE, done);
    return true;
}

static enum status checkpoint_for(const struct job *job, struct checkpoint **out, struct error *err)
{
    if (job->model_path)
        return checkpoint_open(job->model_path, out, err);
    return checkpoint_synthetic(job->shape_path, job->seed, out, err);
}

static struct context_options context_of(const struct job_cell *cell)
{
    return (struct context_options){.batch = cell->batch,
                                    .positions = cell->context,
                                    .chunk = cell->chunk,
                                    .prompt = cell->context - cell->gen,
                                    .kv = cell->kv,
                                    .decode = cell->step};
}

static double plan_bytes(const struct memory_plan *plan)
{
    return (double)plan->weights_bytes + (double)plan->kv_bytes + (double)plan->scratch_bytes;
}

// Refuses a job whose smallest cell does not fit the device's free memory, because loading may take minutes. Larger
// cells are checked when they are opened.
static enum status room_check(const struct bench_engine_load *in, const struct checkpoint *ck,
                              const struct scheme *scheme, struct error *err)
{
    const struct job *job = in->job;
    struct memory_plan least = {0};
    char need[32], weights[32], have[32];
    for (size_t i = 0; i < job->cell_count; i++) {
        struct context_options options = context_of(&job->cells[i]);
        struct memory_plan plan;
        TRY(engine_memory_plan(device_info(in->device), checkpoint_config(ck), scheme, &options,
                               job->threads, &plan, err));
        if (i == 0 || plan_bytes(&plan) < plan_bytes(&least))
            least = plan;
    }
    double available = (double)device_memory(in->device).available_bytes;
    if (available == 0 || plan_bytes(&least) <= available) // 0: unknown
        return OK;
    return FAIL(err, ERR_NOMEM,
                "the smallest cell needs %s (weights %s) and does not fit: %s available on %s",
                format_bytes(plan_bytes(&least), need, sizeof need),
                format_bytes((double)least.weights_bytes, weights, sizeof weights),
                format_bytes(available, have, sizeof have), device_info(in->device)->name);
}

static enum status load_from(const struct bench_engine_load *in, struct checkpoint *ck,
                             struct builtin_model *out, struct error *err)
{
    const struct job *job = in->job;
    struct bench_engine_load progress = *in;
    struct engine_options options = {
        .device = in->device,
        .scheme = &out->scheme,
        .calib = job->calib,
        .calibrating = calibration_progress,
    };
    bench_engine_stored_codes(ck, out->stored);
    TRY(room_check(in, ck, &out->scheme, err));
    TRY(model_load(ck, &options, load_progress, &progress, &out->model, err));
    if (!in->tokenizer)
        return OK;
    TRY(checkpoint_tokenizer(ck, &out->tokenizer, err));
    if (!out->tokenizer)
        return FAIL(err, ERR_UNSUPPORTED, "it has no tokenizer to read a prompt's text with");
    return OK;
}

static void builtin_unload(void *model)
{
    struct builtin_model *m = model;
    if (!m)
        return;
    model_destroy(m->model);
    tokenizer_destroy(m->tokenizer);
    free(m);
}

// The checkpoint is closed once everything is packed, because its mapped pages would count as the cell's memory.
static enum status builtin_load(const struct bench_engine_load *in, void **model, struct error *err)
{
    struct checkpoint *ck = NULL;
    struct builtin_model *m = calloc(1, sizeof *m);
    if (!m)
        return FAIL(err, ERR_NOMEM, "the engine");
    m->threads = in->job->threads;
    m->device = in->device;
    if (bench_engine_builtin_scheme(in->job, device_target(in->device), &m->scheme, err) == OK &&
        checkpoint_for(in->job, &ck, err) == OK)
        load_from(in, ck, m, err);
    checkpoint_destroy(ck);
    if (err->code == OK)
        *model = m;
    else
        builtin_unload(m);
    return err->code;
}

static void builtin_describe(const void *model, struct bench_engine_facts *out)
{
    const struct builtin_model *m = model;
    *out = (struct bench_engine_facts){
        .version = PLAN_ENGINE_WORK,
        .arithmetic = model_scheme(m->model)->arithmetic,
        .stored = m->stored,
        .config = model_config(m->model),
        .scheme = model_scheme(m->model),
        .tokenizer = m->tokenizer,
        .calibration = model_calibration(m->model),
    };
}

static enum status builtin_memory(const void *model, const struct job_cell *cell,
                                  struct memory_plan *out, struct error *err)
{
    const struct builtin_model *m = model;
    struct context_options options = context_of(cell);
    return engine_memory_plan(device_info(m->device), model_config(m->model),
                              model_scheme(m->model), &options, m->threads, out, err);
}

// ---- a cell ----------------------------------------------------------------------------------------------

static enum status builtin_open(void *model, const struct job_cell *cell, void **run,
                                struct error *err)
{
    struct builtin_model *m = model;
    struct context_options options = context_of(cell);
    struct context *ctx = NULL;
    TRY(context_create(m->model, &options, &ctx, err));
    *run = ctx;
    return OK;
}

static void builtin_close(void *run)
{
    context_destroy(run);
}

static enum status builtin_begin(void *run, const struct sampling *sampling, struct error *err)
{
    TRY(context_sample(run, sampling, err));
    context_reset(run);
    return OK;
}

static enum status builtin_step(void *run, const struct span *spans, int count, enum phase phase,
                                struct step_result *result, struct error *err)
{
    return context_step(run, spans, count, phase, result, err);
}

static enum status builtin_decode(void *run, const struct decode_run *decode, int *made,
                                  struct error *err)
{
    return context_decode(run, decode, made, err);
}

static int builtin_ahead(const void *run)
{
    return context_ahead(run);
}

static struct decode_choice builtin_decode_choice(const void *run)
{
    return context_decode_choice(run);
}

static const char *builtin_products(void *run)
{
    return context_products(run);
}

static void builtin_truncate(void *run, int sequence, int length)
{
    context_truncate(run, sequence, length);
}

static uint64_t builtin_clock_ns(const void *run)
{
    return context_clock_ns(run);
}

static struct device_clock_tie builtin_clock_tie(const void *run)
{
    return context_clock_tie(run);
}

static uint64_t builtin_wait_ns(const void *run)
{
    return context_wait_ns(run);
}

static void builtin_observe(void *run, const struct engine_observer *observer)
{
    context_observe(run, observer);
}

const struct bench_engine bench_engine_builtin = {
    .name = STORE_ENGINE,
    .load = builtin_load,
    .describe = builtin_describe,
    .memory = builtin_memory,
    .unload = builtin_unload,
    .open = builtin_open,
    .close = builtin_close,
    .begin = builtin_begin,
    .step = builtin_step,
    .decode = builtin_decode,
    .ahead = builtin_ahead,
    .decode_choice = builtin_decode_choice,
    .products = builtin_products,
    .truncate = builtin_truncate,
    .clock_ns = builtin_clock_ns,
    .clock_tie = builtin_clock_tie,
    .wait_ns = builtin_wait_ns,
    .observe = builtin_observe,
};
