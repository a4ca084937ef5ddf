// measure.c - the timed loop.
#include "bench/worker/measure.h"

#include <math.h>

#include "base/clock.h"
#include "base/stat.h"

// ---- steps ------------------------------------------------------------------------------------------------

// Runs prompt tokens [first, first + count) of all sequences. `sample`: draws the first id of each.
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
    return s->engine->step(s->run, s->spans, s->cell->batch, PHASE_PREFILL, result, err);
}

// Prepares a step that makes token `token` of every sequence from the previous one. Without `sample`, logits are
// computed but nothing is drawn, so that the random streams do not advance.
static void decode_spans(struct subject *s, int token, bool sample)
{
    for (int i = 0; i < s->cell->batch; i++)
        s->spans[i] = (struct span){
            .sequence = i,
            .count = 1,
            .tokens = &s->ids[subject_at(s, i, token - 1)],
            .logits = sample ? LOGITS_NONE : LOGITS_LAST,
            .sample = sample,
        };
}

static enum status untimed_step(struct subject *s, int token, bool sample, struct error *err)
{
    struct step_result unused;
    decode_spans(s, token, sample);
    return s->engine->step(s->run, s->spans, s->cell->batch, PHASE_DECODE, &unused, err);
}

// Stores the ids that a step drew as token `token` of every sequence, and their times. If nothing could be drawn the id
// is 0, so that the repetition continues. Its logits count as non-finite and make it `wrong`.
static void keep_tokens(struct subject *s, const struct timeline *t, int token,
                        const struct step_result *result, struct repetition *out)
{
    for (int i = 0; i < s->cell->batch; i++) {
        int32_t id = result->ids[i];
        s->ids[subject_at(s, i, token)] = id < 0 ? 0 : id;
        s->token_ns[subject_at(s, i, token)] = timeline_at(t, result->end_ns);
    }
    out->nonfinite_logits += result->nonfinite;
}

// ---- canaries ----------------------------------------------------------------------------------------------

// Before the bandwidth is probed: the device has just worked for the engine.
static void look_at_vitals(struct subject *s, struct noise_vitals *seen)
{
    struct device_vitals now = s->probes.vitals(s->canary);
    if (isnan(now.clock_hz))
        return;
    seen->clock_hz = fmin(seen->clock_hz, now.clock_hz); // fmin and fmax drop the first NaN
    seen->memory_clock_hz = fmin(seen->memory_clock_hz, now.memory_clock_hz);
    seen->power_w = fmax(seen->power_w, now.power_w);
    seen->temperature_c = fmax(seen->temperature_c, now.temperature_c);
    seen->looks++;
    seen->held[now.hold]++;
}

static double look(struct subject *s, struct noise *noise)
{
    double bytes_per_s = s->probes.bandwidth(s->canary);
    noise->bandwidth_min =
        fmin(noise->bandwidth_min, bytes_per_s); // fmin and fmax drop the first NaN
    noise->bandwidth_max = fmax(noise->bandwidth_max, bytes_per_s);
    return bytes_per_s;
}

static double median_look(struct subject *s, struct noise *noise)
{
    double rates[CANARY_LOOKS];
    struct error ignored = {0}; // the median of so few values needs no memory
    for (int i = 0; i < CANARY_LOOKS; i++)
        rates[i] = look(s, noise);
    return stat_median(rates, CANARY_LOOKS, &ignored);
}

// Probes the machine's state and stores it with the others of the repetition.
static void look_at_state(struct subject *s)
{
    if (s->state_count < s->state_room)
        s->states[s->state_count++] = s->probes.state(s->canary);
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

// The best of three, because a preempted run says nothing about the clock rate.
static double compute_canary(const struct subject *s)
{
    double best = s->probes.compute_ns(s->canary);
    for (int i = 0; i < 2; i++)
        best = fmin(best, s->probes.compute_ns(s->canary));
    return best;
}

// Runs a canary before the step that makes `token`, then that step once, untimed, to warm the caches.
static enum status canary_before(struct subject *s, int token, int64_t at_ns, struct noise *noise,
                                 struct error *err)
{
    look_at_vitals(s, &noise->vitals);
    s->looks[s->look_count++] = (struct canary_look){at_ns, look(s, noise)};
    look_at_state(s);
    if (s->streaming)
        return OK;
    TRY(untimed_step(s, token, false, err));
    for (int i = 0; i < s->cell->batch; i++)
        s->engine->truncate(s->run, i, s->prompt_tokens + token - 1);
    return OK;
}

// Runs canaries before the prefill, then one prompt token of every sequence. This moves the weights through the caches,
// as steps before a prefill would.
static enum status canary_first(struct subject *s, struct noise *noise, struct error *err)
{
    struct step_result unused;
    noise->compute_canary_ns = compute_canary(s);
    noise->bandwidth_before = median_look(s, noise);
    look_at_state(s);
    if (!s->engine->step)
        return OK;
    TRY(prompt_step(s, 0, 1, false, &unused, err));
    return s->engine->begin(s->run, &s->cell->sampling, err);
}

// The mean bandwidth over the time of the decode. Between two canaries it is their mean. NaN if none ran or no time
// passed.
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
    look_at_vitals(s, &noise->vitals);
    noise->bandwidth_after = median_look(s, noise);
    look_at_state(s);
    noise->state = median_state(s);
    noise->bandwidth_during = bandwidth_over(s->looks, s->look_count,
                                             (struct canary_look){at_ns, noise->bandwidth_after});
    noise->compute_canary_ns = (noise->compute_canary_ns + compute_canary(s)) / 2;
}

// ---- a repetition --------------------------------------------------------------------------------------------

static void noise_difference(struct os_noise *now, const struct os_noise *before)
{
    int64_t *a = (int64_t *)now;
    const int64_t *b = (const int64_t *)before;
    for (size_t i = 0; i < sizeof *now / sizeof *a; i++)
        a[i] = a[i] == OS_UNKNOWN || b[i] == OS_UNKNOWN ? OS_UNKNOWN : a[i] - b[i];
}

// The state of a driven repetition from token to token.
struct drive {
    struct subject *s;
    const struct repetition_options *options;
    struct repetition *out;
    struct timeline timeline;
    int last_canary; // the token before which the last canary ran
    uint64_t last_canary_ns;
    int run_token; // the token that the first step of the current run makes
    uint64_t run_began_ns;
};

static void watch_begin(const struct drive *d, enum phase phase)
{
    if (d->options->watch)
        d->options->watch->begin(d->options->watch->user, phase);
}

static void watch_end(const struct drive *d, enum phase phase)
{
    if (d->options->watch)
        d->options->watch->end(d->options->watch->user, phase);
}

// `result` belongs to the last step. The timeline continues from the end of that step.
static enum status prefill(struct drive *d, struct step_result *result, struct error *err)
{
    struct subject *s = d->s;
    for (int first = 0; first < s->prompt_tokens;) {
        int left = s->prompt_tokens - first;
        int count = left < s->cell->chunk ? left : s->cell->chunk;
        TRY(prompt_step(s, first, count, count == left, result, err));
        first += count;
        if (count == left)
            return OK;
        timeline_pause(&d->timeline);
        wire_progress(s->wire, "prefill", s->cell->index, d->options->number,
                      (double)first / s->prompt_tokens);
        timeline_resume(&d->timeline);
    }
    return OK;
}

static bool canary_due(const struct drive *d, int token)
{
    const struct subject *s = d->s;
    int steps = s->streaming ? 1 : CANARY_EVERY_STEPS;
    if (!d->options->canaries)
        return false;
    return token == 1 || (token - d->last_canary >= steps &&
                          s->clock.now_ns(s->clock.user) - d->last_canary_ns >= CANARY_EVERY_NS);
}

// The untimed part between two tokens: reports progress and, at intervals, runs a canary.
static enum status between_tokens(struct drive *d, int token, struct noise *noise,
                                  struct error *err)
{
    struct subject *s = d->s;
    enum status status = OK;
    timeline_pause(&d->timeline);
    wire_progress(s->wire, "decode", s->cell->index, d->options->number,
                  (double)token / s->cell->gen);
    if (canary_due(d, token)) {
        status = canary_before(s, token, s->token_ns[subject_at(s, 0, token - 1)], noise, err);
        d->last_canary = token;
        d->last_canary_ns = s->clock.now_ns(s->clock.user);
    }
    if (token == 1)
        watch_begin(d, PHASE_DECODE);
    timeline_resume(&d->timeline);
    return status;
}

// Stores the results of a step of a run. The run ends where a canary may be due and where progress is reported. The
// clock is not read, because reading it may delay the steps in flight.
static bool keep_step(void *user, int step, const struct step_result *result)
{
    struct drive *d = user;
    struct subject *s = d->s;
    int token = d->run_token + step;
    int64_t before = worker_subject_last_ns(s, token - 1);
    d->out->between_ns += (double)(timeline_at(&d->timeline, result->begin_ns) - before);
    keep_tokens(s, &d->timeline, token, result, d->out);
    if (step == 0)
        d->run_began_ns = result->begin_ns;
    return result->end_ns - d->run_began_ns < CANARY_EVERY_NS;
}

// Runs as many steps as the engine takes at once, beginning with the one that makes `token`.
static enum status decode_run(struct drive *d, int token, int *made, struct error *err)
{
    struct subject *s = d->s;
    struct decode_run run = {
        .spans = s->spans,
        .span_count = s->cell->batch,
        .steps = s->engine->ahead(s->run) ? s->cell->gen - token : 1,
        .done = keep_step,
        .user = d,
    };
    d->run_token = token;
    decode_spans(s, token, true);
    return s->engine->decode(s->run, &run, made, err);
}

static enum status decode(struct drive *d, struct error *err)
{
    struct subject *s = d->s;
    double wait_ns = timeline_wait_ns(&d->timeline);
    d->out->between_ns = 0;
    for (int token = 1, made; token < s->cell->gen; token += made) {
        TRY(between_tokens(d, token, &d->out->noise, err));
        TRY(decode_run(d, token, &made, err));
    }
    d->out->decode_wait_ns = timeline_wait_ns(&d->timeline) - wait_ns;
    if (s->cell->gen > 1)
        watch_end(d, PHASE_DECODE);
    return OK;
}

// Runs the repetition step by step.
static enum status drive(struct subject *s, const struct repetition_options *options,
                         struct repetition *out, struct error *err)
{
    struct drive d = {.s = s, .options = options, .out = out};
    struct step_result first;
    watch_begin(&d, PHASE_PREFILL);
    timeline_start(&d.timeline, &s->clock);
    TRY(prefill(&d, &first, err));
    out->prefill_ns = (double)timeline_at(&d.timeline, first.logits_ns);
    out->prefill_wait_ns = timeline_wait_ns(&d.timeline);
    keep_tokens(s, &d.timeline, 0, &first, out);
    if (options->watch) {
        timeline_pause(&d.timeline);
        watch_end(&d, PHASE_PREFILL);
        timeline_resume(&d.timeline);
    }
    return decode(&d, err);
}

// Runs the whole request on an engine that returns only token times.
static enum status generate(struct subject *s, struct repetition *out, struct error *err)
{
    struct bench_engine_request request = {.prompt = s->prompt,
                                           .prompt_tokens = s->prompt_tokens,
                                           .ids = s->ids,
                                           .token_ns = s->token_ns};
    TRY(s->engine->generate(s->run, &request, err));
    out->nonfinite_logits = request.nonfinite;
    return OK;
}

// Step times are on the device's clock. The ties before and after show how well it agrees with the host's.
static void tie_clocks(struct repetition *out, struct device_clock_tie first,
                       struct device_clock_tie last)
{
    uint64_t ns = first.uncertain_ns > last.uncertain_ns ? first.uncertain_ns : last.uncertain_ns;
    out->clock_tie_ns = ns == UINT64_MAX ? (double)NAN : (double)ns;
    out->clock_drift_ns = (double)(last.ahead_ns - first.ahead_ns);
}

static enum status tied_drive(struct subject *s, const struct repetition_options *options,
                              struct repetition *out, struct error *err)
{
    struct device_clock_tie first = s->engine->clock_tie(s->run);
    TRY(drive(s, options, out, err));
    tie_clocks(out, first, s->engine->clock_tie(s->run));
    return OK;
}

enum status measure_repetition(struct subject *s, const struct repetition_options *options,
                               struct repetition *out, struct error *err)
{
    struct os_noise before;
    *out = (struct repetition){.prefill_ns = NAN,
                               .prefill_wait_ns = NAN,
                               .decode_wait_ns = NAN,
                               .between_ns = NAN,
                               .clock_tie_ns = NAN,
                               .clock_drift_ns = NAN,
                               .noise = {.compute_canary_ns = NAN,
                                         .state = {NAN, NAN, NAN},
                                         .bandwidth_before = NAN,
                                         .bandwidth_during = NAN,
                                         .bandwidth_after = NAN,
                                         .bandwidth_min = NAN,
                                         .bandwidth_max = NAN,
                                         .vitals = {NAN, NAN, NAN, NAN}}};
    s->look_count = s->state_count = 0;
    TRY(s->engine->begin(s->run, &s->cell->sampling, err));
    uint64_t window_began_ns = clock_ns();
    os_noise_read(&before);
    os_run_waits_read(&s->waits[0]);
    if (options->canaries)
        TRY(canary_first(s, &out->noise, err));
    if (s->engine->step)
        TRY(tied_drive(s, options, out, err));
    else
        TRY(generate(s, out, err));
    out->measured_ns = worker_subject_last_ns(s, s->cell->gen - 1);
    if (options->canaries)
        canary_last(s, out->measured_ns, &out->noise);
    os_noise_read(&out->noise.os);
    noise_difference(&out->noise.os, &before);
    os_run_waits_read(&s->waits[1]);
    out->noise.run_wait_ns = os_run_wait_longest_ns(&s->waits[0], &s->waits[1]);
    out->noise.window_ns = (int64_t)(clock_ns() - window_began_ns);
    return OK;
}

// ---- one phase, again and again ----------------------------------------------------------------------------

// The prompt of empty sequences. Its first tokens are where the decode begins.
static enum status repeat_prefill(struct drive *d, struct error *err)
{
    struct step_result first;
    TRY(d->s->engine->begin(d->s->run, &d->s->cell->sampling, err));
    TRY(prefill(d, &first, err));
    keep_tokens(d->s, &d->timeline, 0, &first, d->out);
    return OK;
}

static enum status repeat_decode(struct drive *d, struct error *err)
{
    for (int i = 0; i < d->s->cell->batch; i++)
        d->s->engine->truncate(d->s->run, i, d->s->prompt_tokens);
    return decode(d, err);
}

enum status measure_phase(struct subject *s, enum phase phase, phase_more *more, void *user,
                          struct error *err)
{
    struct repetition unused = {0};
    struct drive d = {.s = s, .options = &(struct repetition_options){0}, .out = &unused};
    timeline_start(&d.timeline, &s->clock);
    TRY(repeat_prefill(&d, err));
    for (int done = 1;; done++) {
        bool go_on = true;
        if (phase == PHASE_DECODE)
            TRY(repeat_decode(&d, err));
        else
            TRY(repeat_prefill(&d, err));
        TRY(more(user, done, &go_on, err));
        if (!go_on)
            return OK;
    }
}

// ---- a trial ---------------------------------------------------------------------------------------------------

// Runs one prompt token and one decode step.
static enum status short_warmup(struct subject *s, struct error *err)
{
    struct step_result unused;
    TRY(s->engine->begin(s->run, &s->cell->sampling, err));
    TRY(prompt_step(s, 0, 1, true, &unused, err));
    for (int i = 0; i < s->cell->batch; i++)
        s->ids[subject_at(s, i, 0)] = s->prompt[(size_t)i * (size_t)s->prompt_tokens];
    return untimed_step(s, 1, true, err);
}

static enum status warm_up(struct subject *s, struct error *err)
{
    struct repetition unused;
    if (s->cell->warmup == WARMUP_NONE)
        return OK;
    if (s->cell->warmup == WARMUP_SHORT && s->engine->step)
        return short_warmup(s, err);
    return measure_repetition(s, &(struct repetition_options){0}, &unused, err);
}

static bool repetition_due(const struct job_cell *cell, int done, int64_t measured_ns)
{
    return done < cell->reps || (done < REPETITIONS_MOST && measured_ns < cell->min_ns);
}

enum status measure_trial(struct subject *s, keep_repetition *keep, void *user, struct error *err)
{
    int64_t measured_ns = 0;
    TRY(warm_up(s, err));
    for (int done = 0; repetition_due(s->cell, done, measured_ns); done++) {
        struct repetition repetition;
        struct repetition_options options = {.number = done + 1, .canaries = true};
        TRY(measure_repetition(s, &options, &repetition, err));
        TRY(keep(user, s, &repetition, done + 1, err));
        measured_ns += repetition.measured_ns;
    }
    return OK;
}
