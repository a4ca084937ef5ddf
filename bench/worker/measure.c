// measure.c - the timed loop.
#include "bench/worker/measure.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/stat.h"
#include "bench/roof/roof.h"
#include "bench/worker/prompt.h"
#include "results/metric.h"

#define SOURCE_CLOCK "host clock"

// ---- the timeline ---------------------------------------------------------------------------------------

// Time since the request with pauses cut out, and the device's waits likewise. All of it on the clock of the
// context's device, on which steps are stamped too.
struct timeline {
    const struct context *ctx;
    uint64_t start_ns, paused_ns, pause_began_ns;
    uint64_t start_wait_ns, paused_wait_ns, pause_began_wait_ns;
};

static void timeline_start(struct timeline *t, const struct context *ctx)
{
    *t = (struct timeline){.ctx = ctx, .start_wait_ns = context_wait_ns(ctx)};
    t->start_ns = context_clock_ns(ctx);
}

// The place on the timeline of a moment at which it was not paused, and after which it was not.
static int64_t timeline_at(const struct timeline *t, uint64_t device_ns)
{
    return (int64_t)(device_ns - t->start_ns - t->paused_ns);
}

static int64_t timeline_wait(const struct timeline *t)
{
    return (int64_t)(context_wait_ns(t->ctx) - t->start_wait_ns - t->paused_wait_ns);
}

static void timeline_pause(struct timeline *t)
{
    t->pause_began_ns = context_clock_ns(t->ctx);
    t->pause_began_wait_ns = context_wait_ns(t->ctx);
}

static void timeline_resume(struct timeline *t)
{
    t->paused_wait_ns += context_wait_ns(t->ctx) - t->pause_began_wait_ns;
    t->paused_ns += context_clock_ns(t->ctx) - t->pause_began_ns;
}

// ---- steps ------------------------------------------------------------------------------------------------

static size_t id_at(const struct subject *s, int sequence, int token)
{
    return (size_t)sequence * (size_t)s->cell->gen + (size_t)token;
}

// All sequences' prompt tokens [first, first + count); `sample`: draws the first id of each.
static enum status prompt_step(struct subject *s, int first, int count, bool sample,
                               struct step_result *result, struct error *err)
{
    for (int i = 0; i < s->cell->batch; i++)
        s->spans[i] = (struct span){
            .sequence = i,
            .count = count,
            .tokens = s->prompt + (size_t)i * (size_t)s->prompt_tokens + (size_t)first,
            .sample = sample,
        };
    return context_step(s->ctx, s->spans, s->cell->batch, PHASE_PREFILL, result, err);
}

// `result` is the last step's. The timeline goes on from that step's end.
static enum status prefill(struct subject *s, struct timeline *t, int number,
                           struct step_result *result, struct error *err)
{
    for (int first = 0; first < s->prompt_tokens;) {
        int left = s->prompt_tokens - first;
        int count = left < s->cell->chunk ? left : s->cell->chunk;
        TRY(prompt_step(s, first, count, count == left, result, err));
        first += count;
        if (count == left)
            return OK;
        timeline_pause(t);
        wire_progress(s->wire, "prefill", s->cell->index, number, (double)first / s->prompt_tokens);
        timeline_resume(t);
    }
    return OK;
}

// The step that makes token `token` of every sequence out of the one before. Without `sample` the logits are made
// and nothing is drawn, so that the random streams stay where they are.
static enum status decode_step(struct subject *s, int token, bool sample,
                               struct step_result *result, struct error *err)
{
    for (int i = 0; i < s->cell->batch; i++)
        s->spans[i] = (struct span){
            .sequence = i,
            .count = 1,
            .tokens = &s->ids[id_at(s, i, token - 1)],
            .logits = sample ? LOGITS_NONE : LOGITS_LAST,
            .sample = sample,
        };
    return context_step(s->ctx, s->spans, s->cell->batch, PHASE_DECODE, result, err);
}

// Keeps what a step drew as token `token` of every sequence, and when. Where nothing could be drawn the id is 0,
// so that the repetition goes on; its logits are counted as not finite and make it `wrong`.
static void keep_tokens(struct subject *s, const struct timeline *t, int token,
                        const struct step_result *result, struct repetition *out)
{
    for (int i = 0; i < s->cell->batch; i++) {
        int32_t id = result->ids[i];
        s->ids[id_at(s, i, token)] = id < 0 ? 0 : id;
        s->token_ns[id_at(s, i, token)] = timeline_at(t, result->end_ns);
    }
    out->nonfinite_logits += result->nonfinite;
}

// ---- canaries ----------------------------------------------------------------------------------------------

static double look(struct subject *s, struct noise *noise)
{
    double bytes_per_s = canary_bandwidth(s->canary);
    noise->bandwidth_min =
        fmin(noise->bandwidth_min, bytes_per_s); // fmin and fmax drop the first NaN
    noise->bandwidth_max = fmax(noise->bandwidth_max, bytes_per_s);
    return bytes_per_s;
}

static double median_look(struct subject *s, struct noise *noise)
{
    double rates[CANARY_LOOKS];
    struct error ignored = {0}; // the median of so few needs no memory
    for (int i = 0; i < CANARY_LOOKS; i++)
        rates[i] = look(s, noise);
    return stat_median(rates, CANARY_LOOKS, &ignored);
}

// The machine's state, kept with the others of the repetition.
static void look_at_state(struct subject *s)
{
    if (s->state_count < s->state_room)
        s->states[s->state_count++] = canary_state(s->canary);
}

static double state_median(struct subject *s, size_t offset)
{
    double *x = s->state_scratch;
    struct error ignored = {0};
    for (size_t i = 0; i < s->state_count; i++)
        x[i] = *(const double *)((const char *)&s->states[i] + offset);
    return s->state_count && !isnan(x[0]) ? stat_median(x, s->state_count, &ignored) : NAN;
}

static struct machine_state median_state(struct subject *s)
{
    return (struct machine_state){
        .sync_ns = state_median(s, offsetof(struct machine_state, sync_ns)),
        .latency_ns = state_median(s, offsetof(struct machine_state, latency_ns)),
        .work_ns = state_median(s, offsetof(struct machine_state, work_ns)),
    };
}

// The best of three: what preempts one of them says nothing about the processor's clock.
static double compute_canary(struct canary *canary)
{
    double best = canary_compute_ns(canary);
    for (int i = 0; i < 2; i++)
        best = fmin(best, canary_compute_ns(canary));
    return best;
}

// A canary in front of the step that makes `token`, then that step once for the caches' sake.
static enum status canary_before(struct subject *s, int token, int64_t at_ns, struct noise *noise,
                                 struct error *err)
{
    struct step_result unused;
    s->looks[s->look_count++] = (struct canary_look){at_ns, look(s, noise)};
    look_at_state(s);
    if (s->streaming)
        return OK;
    TRY(decode_step(s, token, false, &unused, err));
    for (int i = 0; i < s->cell->batch; i++)
        context_truncate(s->ctx, i, s->prompt_tokens + token - 1);
    return OK;
}

// Canaries in front of the prefill, then one prompt token of every sequence: the weights pass through
// the caches as a prefill's would have.
static enum status canary_first(struct subject *s, struct noise *noise, struct error *err)
{
    struct step_result unused;
    noise->compute_canary_ns = compute_canary(s->canary);
    noise->bandwidth_before = median_look(s, noise);
    look_at_state(s);
    TRY(prompt_step(s, 0, 1, false, &unused, err));
    context_reset(s->ctx);
    return OK;
}

// The mean bandwidth over the decode's time: between two canaries, what they saw on average. NaN when none
// ran or no time passed.
static double bandwidth_over(const struct canary_look *looks, size_t count, struct canary_look last)
{
    double bytes = 0, ns = 0;
    for (size_t i = 0; i < count; i++) {
        struct canary_look next = i + 1 < count ? looks[i + 1] : last;
        double part_ns = (double)(next.at_ns - looks[i].at_ns);
        bytes += part_ns * (looks[i].bytes_per_s + next.bytes_per_s) / 2;
        ns += part_ns;
    }
    return ns > 0 ? bytes / ns : (double)NAN;
}

static void canary_last(struct subject *s, int64_t at_ns, struct noise *noise)
{
    noise->bandwidth_after = median_look(s, noise);
    look_at_state(s);
    noise->state = median_state(s);
    noise->bandwidth_during = bandwidth_over(s->looks, s->look_count,
                                             (struct canary_look){at_ns, noise->bandwidth_after});
    noise->compute_canary_ns = (noise->compute_canary_ns + compute_canary(s->canary)) / 2;
}

// ---- a repetition --------------------------------------------------------------------------------------------

static void noise_difference(struct os_noise *now, const struct os_noise *before)
{
    int64_t *a = (int64_t *)now;
    const int64_t *b = (const int64_t *)before;
    for (size_t i = 0; i < sizeof *now / sizeof *a; i++)
        a[i] = a[i] == OS_UNKNOWN || b[i] == OS_UNKNOWN ? OS_UNKNOWN : a[i] - b[i];
}

// What a decode carries from token to token.
struct decode {
    struct subject *s;
    struct timeline *timeline;
    int number; // of the repetition
    bool canaries;
    int last_canary; // token in front of which the last canary ran
    uint64_t last_canary_ns;
};

// The untimed part between two tokens: progress is reported, and now and then a canary runs.
static enum status between_tokens(struct decode *d, int token, struct noise *noise,
                                  struct error *err)
{
    struct subject *s = d->s;
    enum status status = OK;
    timeline_pause(d->timeline);
    wire_progress(s->wire, "decode", s->cell->index, d->number, (double)token / s->cell->gen);
    int steps = s->streaming ? 1 : CANARY_EVERY_STEPS;
    bool due = token == 1 || (token - d->last_canary >= steps &&
                              clock_ns() - d->last_canary_ns >= CANARY_EVERY_NS);
    if (d->canaries && due) {
        status = canary_before(s, token, s->token_ns[id_at(s, 0, token - 1)], noise, err);
        d->last_canary = token;
        d->last_canary_ns = clock_ns();
    }
    timeline_resume(d->timeline);
    return status;
}

static enum status decode(struct decode *d, struct repetition *out, struct error *err)
{
    struct subject *s = d->s;
    int64_t wait_ns = timeline_wait(d->timeline);
    for (int token = 1; token < s->cell->gen; token++) {
        struct step_result result;
        TRY(between_tokens(d, token, &out->noise, err));
        TRY(decode_step(s, token, true, &result, err));
        keep_tokens(s, d->timeline, token, &result, out);
    }
    out->decode_wait_ns = timeline_wait(d->timeline) - wait_ns;
    return OK;
}

enum status measure_repetition(struct subject *s, int number, bool canaries, struct repetition *out,
                               struct error *err)
{
    struct os_noise before;
    struct timeline timeline;
    struct step_result first;
    struct decode d = {.s = s, .timeline = &timeline, .number = number, .canaries = canaries};
    *out = (struct repetition){.noise = {.compute_canary_ns = NAN,
                                         .state = {NAN, NAN, NAN},
                                         .bandwidth_before = NAN,
                                         .bandwidth_during = NAN,
                                         .bandwidth_after = NAN,
                                         .bandwidth_min = NAN,
                                         .bandwidth_max = NAN}};
    s->look_count = s->state_count = 0;
    TRY(context_sample(s->ctx, &s->cell->sampling, err));
    context_reset(s->ctx);
    os_noise_read(&before);
    uint64_t window_ns = clock_ns();
    if (canaries)
        TRY(canary_first(s, &out->noise, err));

    timeline_start(&timeline, s->ctx);
    TRY(prefill(s, &timeline, number, &first, err));
    out->prefill_ns = timeline_at(&timeline, first.logits_ns);
    out->prefill_wait_ns = timeline_wait(&timeline);
    keep_tokens(s, &timeline, 0, &first, out);
    TRY(decode(&d, out, err));
    out->measured_ns = s->token_ns[id_at(s, 0, s->cell->gen - 1)];

    if (canaries)
        canary_last(s, out->measured_ns, &out->noise);
    os_noise_read(&out->noise.os);
    out->noise.window_ns = (int64_t)(clock_ns() - window_ns);
    noise_difference(&out->noise.os, &before);
    return OK;
}

enum status measure_short_warmup(struct subject *s, struct error *err)
{
    struct step_result unused;
    context_reset(s->ctx);
    TRY(prompt_step(s, 0, 1, true, &unused, err));
    for (int i = 0; i < s->cell->batch; i++)
        s->ids[id_at(s, i, 0)] = s->prompt[(size_t)i * (size_t)s->prompt_tokens];
    return decode_step(s, 1, true, &unused, err);
}

// ---- the subject ------------------------------------------------------------------------------------------------

static enum status subject_arrays(struct subject *s, struct error *err)
{
    size_t batch = (size_t)s->cell->batch, tokens = 0;
    TRY(size_mul(batch, (size_t)s->cell->gen, &tokens, "generated tokens", err));
    s->ids = calloc(tokens, sizeof *s->ids);
    s->token_ns = calloc(tokens, sizeof *s->token_ns);
    s->spans = calloc(batch, sizeof *s->spans);
    s->looks = calloc((size_t)s->cell->gen, sizeof *s->looks);
    s->state_room = (size_t)s->cell->gen + 2; // before and after, and at most one a token
    s->states = calloc(s->state_room, sizeof *s->states);
    s->state_scratch = calloc(s->state_room, sizeof *s->state_scratch);
    if (!s->ids || !s->token_ns || !s->spans || !s->looks || !s->states || !s->state_scratch)
        return FAIL(err, ERR_NOMEM, "times of %zu tokens", tokens);
    return OK;
}

// The bytes a decode step touches decide the level that canaries probe.
static enum status subject_canary(struct subject *s, struct model *model, struct error *err)
{
    struct phase_work work;
    work_decode_step(&(struct work_input){.config = model_config(model),
                                          .scheme = model_scheme(model),
                                          .kv = s->cell->kv,
                                          .batch = s->cell->batch,
                                          .prompt = s->prompt_tokens,
                                          .chunk = s->cell->chunk,
                                          .gen = s->cell->gen},
                     &work);
    size_t caches = device_info(s->device)->cache_bytes;
    s->streaming = caches > 0 && work.working_set_bytes > (double)STREAMING_CACHES * (double)caches;
    return canary_create(s->device, (size_t)work.working_set_bytes, &s->canary, err);
}

enum status subject_create(const struct job_cell *cell, struct model *model,
                           const struct tokenizer *tok, struct device *device, struct wire *wire,
                           struct subject *out, double *tokenize_ns, struct error *err)
{
    *out = (struct subject){
        .cell = cell,
        .device = device,
        .wire = wire,
        .vocab = model_config(model)->vocab,
        .prompt_tokens = cell->context - cell->gen,
    };
    struct context_options options = {
        .batch = cell->batch,
        .positions = cell->context,
        .chunk = cell->chunk,
        .kv = cell->kv,
    };
    if (prompt_make(cell, tok, out->vocab, &out->prompt, tokenize_ns, err) == OK &&
        subject_arrays(out, err) == OK && context_create(model, &options, &out->ctx, err) == OK &&
        subject_canary(out, model, err) == OK)
        return OK;
    subject_fini(out);
    return err->code;
}

void subject_fini(struct subject *s)
{
    context_destroy(s->ctx);
    canary_destroy(s->canary);
    free(s->prompt);
    free(s->ids);
    free(s->token_ns);
    free(s->spans);
    free(s->looks);
    free(s->states);
    free(s->state_scratch);
    memset(s, 0, sizeof *s);
}

// ---- figures ----------------------------------------------------------------------------------------------------

// When the last of all sequences had its token `token`.
static double last_at(const struct subject *s, int token)
{
    int64_t last = 0;
    for (int i = 0; i < s->cell->batch; i++)
        if (s->token_ns[id_at(s, i, token)] > last)
            last = s->token_ns[id_at(s, i, token)];
    return (double)last;
}

static double mean_ttft(const struct subject *s)
{
    double sum = 0;
    for (int i = 0; i < s->cell->batch; i++)
        sum += (double)s->token_ns[id_at(s, i, 0)];
    return sum / s->cell->batch;
}

// (E2E - TTFT) / (gen - 1) of each request, then their mean.
static double mean_tpot(const struct subject *s)
{
    int gen = s->cell->gen;
    double sum = 0;
    for (int i = 0; i < s->cell->batch; i++)
        sum += (double)(s->token_ns[id_at(s, i, gen - 1)] - s->token_ns[id_at(s, i, 0)]);
    return sum / (gen - 1) / s->cell->batch;
}

// Every gap between successive tokens of one sequence; NULL when memory is exhausted. Caller frees.
static double *all_gaps(const struct subject *s, size_t *count)
{
    int gen = s->cell->gen;
    double *gaps = calloc((size_t)s->cell->batch * (size_t)(gen - 1), sizeof *gaps);
    *count = 0;
    for (int i = 0; gaps && i < s->cell->batch; i++)
        for (int t = 1; t < gen; t++)
            gaps[(*count)++] =
                (double)(s->token_ns[id_at(s, i, t)] - s->token_ns[id_at(s, i, t - 1)]);
    return gaps;
}

static void gap_metrics(const struct subject *s, json_t *out)
{
    static const struct {
        const char *name;
        double q;
    } quantiles[] = {{METRIC_ITL_P50, 0.5}, {METRIC_ITL_P90, 0.9}, {METRIC_ITL_P99, 0.99}};
    size_t count = 0;
    double *gaps = all_gaps(s, &count);
    for (size_t i = 0; i < sizeof quantiles / sizeof *quantiles; i++) {
        struct error ignored = {0}; // a quantile that cannot be had is sent as not measured
        double value = gaps ? stat_quantile(gaps, count, quantiles[i].q, &ignored) : NAN;
        wire_metric(out, quantiles[i].name, value, "decode", NULL, SOURCE_CLOCK);
    }
    free(gaps);
}

json_t *repetition_metrics(const struct subject *s, const struct repetition *r)
{
    const struct job_cell *c = s->cell;
    json_t *out = json_array();
    double prefill_ns = (double)r->prefill_ns, steps = c->gen - 1;
    wire_metric(out, METRIC_TTFT, mean_ttft(s), "prefill", NULL, SOURCE_CLOCK);
    wire_metric(out, METRIC_PREFILL_TIME, prefill_ns, "prefill", NULL, SOURCE_CLOCK);
    wire_metric(out, METRIC_PREFILL_TPS, 1e9 * c->batch * s->prompt_tokens / prefill_ns, "prefill",
                NULL, SOURCE_CLOCK);
    wire_metric(out, METRIC_WAIT, (double)r->prefill_wait_ns, "prefill", NULL, SOURCE_CLOCK);
    wire_metric(out, METRIC_E2E, last_at(s, c->gen - 1), NULL, NULL, SOURCE_CLOCK);
    if (c->gen > 1) { // one token has no gap
        double decode_ns = last_at(s, c->gen - 1) - last_at(s, 0);
        wire_metric(out, METRIC_TPOT, mean_tpot(s), "decode", NULL, SOURCE_CLOCK);
        wire_metric(out, METRIC_DECODE_TPS, 1e9 * c->batch * steps / decode_ns, "decode", NULL,
                    SOURCE_CLOCK);
        wire_metric(out, METRIC_WAIT, (double)r->decode_wait_ns / steps, "decode", NULL,
                    SOURCE_CLOCK);
        gap_metrics(s, out);
    }
    return out;
}

static double known(int64_t value)
{
    return value == OS_UNKNOWN ? NAN : (double)value;
}

json_t *repetition_noise(const struct repetition *r)
{
    const struct noise *n = &r->noise;
    json_t *out = json_array();
    wire_metric(out, NOISE_STEAL, known(n->os.steal_ns), NULL, NULL, "os");
    wire_metric(out, NOISE_THROTTLED, known(n->os.throttled_ns), NULL, NULL, "os");
    wire_metric(out, NOISE_WINDOW, (double)n->window_ns, NULL, NULL, SOURCE_CLOCK);
    wire_metric(out, NOISE_SWITCHES, known(n->os.involuntary_switches), NULL, NULL, "os");
    wire_metric(out, NOISE_MAJOR_FAULTS, known(n->os.major_faults), NULL, NULL, "os");
    wire_metric(out, NOISE_PSI_CPU, known(n->os.psi_cpu_ns), NULL, NULL, "os");
    wire_metric(out, NOISE_PSI_MEMORY, known(n->os.psi_memory_ns), NULL, NULL, "os");
    wire_metric(out, NOISE_PSI_IO, known(n->os.psi_io_ns), NULL, NULL, "os");
    wire_metric(out, NOISE_COMPUTE_CANARY, n->compute_canary_ns, NULL, NULL, SOURCE_CLOCK);
    wire_metric(out, NOISE_SYNC_CANARY, n->state.sync_ns, NULL, NULL, SOURCE_CLOCK);
    wire_metric(out, NOISE_LATENCY_CANARY, n->state.latency_ns, NULL, NULL, SOURCE_CLOCK);
    wire_metric(out, NOISE_WORK_CANARY, n->state.work_ns, NULL, NULL, SOURCE_CLOCK);
    wire_metric(out, NOISE_BANDWIDTH_FIRST, n->bandwidth_before, NULL, NULL, SOURCE_CLOCK);
    wire_metric(out, NOISE_BANDWIDTH_DURING, n->bandwidth_during, NULL, NULL, SOURCE_CLOCK);
    wire_metric(out, NOISE_BANDWIDTH_LAST, n->bandwidth_after, NULL, NULL, SOURCE_CLOCK);
    wire_metric(out, NOISE_BANDWIDTH_MIN, n->bandwidth_min, NULL, NULL, SOURCE_CLOCK);
    wire_metric(out, NOISE_BANDWIDTH_MAX, n->bandwidth_max, NULL, NULL, SOURCE_CLOCK);
    return out;
}
