// evaluate.c - the worker's side of `collect = quality`.
#include "bench/worker/evaluate.h"

#include <math.h>

#include "base/str.h"
#include "bench/engines/engines.h"
#include "bench/engines/stored.h"
#include "bench/probe/probe.h"
#include "bench/quality/quality.h"

struct evaluation {
    const struct job *job;
    struct engine_options options;
    const struct quality_convention *convention;
    struct wire *wire;
    const char *phase; // reported with the progress
    struct checkpoint *ck;
    struct model *model, *baseline; // the same model if the job is in f32
    struct quality_text text;
    char why[256]; // why nothing is compared with f32; "": it is compared
};

static bool tell_progress(void *user, double done)
{
    struct evaluation *e = user;
    wire_progress(e->wire, e->phase, -1, 0, done);
    return true;
}

static bool tell_calibration(void *user, double done)
{
    struct evaluation *e = user;
    wire_progress(e->wire, WIRE_CALIBRATE, -1, 0, done);
    return true;
}

// Refuses a text whose bytes have changed since the run was planned: its hash is in the key.
static enum status read_text(struct evaluation *e, struct error *err)
{
    const struct job_quality *q = &e->job->quality;
    struct tokenizer *tok = NULL;
    TRY(checkpoint_tokenizer(e->ck, &tok, err));
    if (!tok)
        return FAIL(err, ERR_UNSUPPORTED, "it has no tokenizer to read the quality text with");
    enum status status =
        quality_text_read(q->text, e->convention, tok, checkpoint_config(e->ck), &e->text, err);
    tokenizer_destroy(tok);
    if (status == OK && !str_equal(e->text.hash, q->text_hash))
        status =
            FAIL(err, ERR_FORMAT, "%s: it is another text than when the run was planned", q->text);
    return status == OK ? quality_check_length(e->convention, &e->text, err) : status;
}

static enum status open_all(struct evaluation *e, struct error *err)
{
    const struct job *job = e->job;
    e->convention = quality_convention_find(job->quality.convention);
    if (!e->convention)
        return FAIL(err, ERR_UNSUPPORTED, "there is no convention %s", job->quality.convention);
    if (!job->model_path)
        return FAIL(err, ERR_UNSUPPORTED, "synthetic weights have no quality");
    TRY(checkpoint_open(job->model_path, &e->ck, err));
    TRY(quality_check(e->ck, e->convention, err));
    TRY(read_text(e, err));
    return model_load(e->ck, &e->options, tell_progress, e, &e->model, err);
}

static enum status send_loaded(struct evaluation *e, struct error *err)
{
    char stored[STORED_BYTES];
    bench_engine_stored_codes(e->ck, stored);
    struct wire_loaded loaded = {.engine = bench_engine_builtin.name,
                                 .engine_version = PLAN_ENGINE_WORK,
                                 .arithmetic = model_scheme(e->model)->arithmetic,
                                 .stored = stored};
    return wire_send(e->wire, wire_loaded(&loaded, json_array()), err);
}

static enum status load_baseline(struct evaluation *e, struct error *err)
{
    struct quality_baseline in = {
        .ck = e->ck,
        .model = e->model,
        .kv = e->job->quality.kv,
        .convention = e->convention,
        .options = &e->options,
        .free_bytes = machine_room_bytes(),
        .progress = tell_progress,
        .user = e,
    };
    return quality_baseline_load(&in, &e->baseline, e->why, sizeof e->why, err);
}

static enum status measure(struct evaluation *e, struct error *err)
{
    struct quality quality;
    struct quality_input in = {
        .model = e->model,
        .kv = e->job->quality.kv,
        .baseline = e->baseline,
        .convention = e->convention,
        .text = &e->text,
        .windows = (size_t)e->job->quality.windows,
        .pool = device_pool(e->options.device),
        .progress = tell_progress,
        .user = e,
    };
    e->phase = "quality";
    TRY(quality_measure(&in, &quality, err));
    json_t *event = wire_event("quality"), *metrics = json_array();
    for (const struct quality_figure *f = quality_figures; f->metric; f++)
        if (!isnan(quality_get(&quality, f)))
            wire_metric(metrics, f->metric, quality_get(&quality, f), NULL, NULL,
                        e->convention->name);
    json_object_set_new(event, "metrics", metrics);
    json_object_set_new(event, "note", json_string(e->why));
    return wire_send(e->wire, event, err);
}

enum status worker_evaluate(const struct job *job, const struct scheme *scheme,
                            struct device *device, struct wire *wire, struct error *err)
{
    struct evaluation e = {
        .job = job,
        .options = {.device = device,
                    .scheme = scheme,
                    .calib = job->calib,
                    .calibrating = tell_calibration},
        .wire = wire,
        .phase = "load",
    };
    if (open_all(&e, err) == OK && send_loaded(&e, err) == OK && load_baseline(&e, err) == OK)
        measure(&e, err);
    if (e.baseline != e.model)
        model_destroy(e.baseline);
    model_destroy(e.model);
    checkpoint_destroy(e.ck);
    quality_text_fini(&e.text);
    return err->code;
}
