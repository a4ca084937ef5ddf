// scripted.h - an engine whose clock is a script: steps take known times, and the clock jumps in every pause.
#ifndef TESTS_WORKER_SCRIPTED_H
#define TESTS_WORKER_SCRIPTED_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bench/worker/instruments.h"
#include "bench/worker/measure.h"

enum {
    CHUNK_NS = 5000000,     // a timed prefill step
    LOGITS_BEFORE_NS = 700, // time by which the logits are complete before the ids
    STEP_WAIT_NS = 300,     // waits in a timed step
    PAUSE_WAIT_NS = 9000000 // waits in a probe or an untimed step
};

// The time that token `token` (from 1) takes; no two take the same.
static inline uint64_t token_takes_ns(int token)
{
    return 1000000 + (uint64_t)token * 1000;
}

struct script {
    uint64_t now_ns, wait_ns;
    uint64_t jump_ns;   // of the clock, whenever it is read in a pause
    uint64_t gap_ns;    // before each timed decode step, on the timeline
    bool unread;        // a timed step has ended, and the clock has not been read since
    int token;          // the next that a timed decode step makes
    int prompt_tokens;  // positions of the prompt that ran
    int begun;          // repetitions and resets
    int ahead, runs;    // of decode: steps under way at once; calls
    int steps, untimed; // timed steps; the others
    int ties;           // readings of the clocks' tie
    int probes, states; // probes of the bandwidth, and of the machine's state
    double rate;        // that the next bandwidth probe sees
    int vitals;         // readings of the vital signs, if the device has them
    // The clock shown; each reading has 1 MHz less, and 10 W and 1 C more. 0: it shows nothing.
    double clock_hz;
    int32_t ids[8];
    const struct engine_observer *observer;
    int observed; // operations reported
};

static inline enum status script_begin(void *run, const struct sampling *sampling,
                                       struct error *err)
{
    struct script *s = run;
    (void)sampling;
    (void)err;
    s->begun++;
    s->token = 1;
    return OK;
}

// Prompt steps that draw no id and are one token long come before the timeline: they warm the caches.
static inline enum status script_step(void *run, const struct span *spans, int count,
                                      enum phase phase, struct step_result *result,
                                      struct error *err)
{
    struct script *s = run;
    (void)err;
    bool prompt = phase == PHASE_PREFILL, sample = spans[0].sample;
    bool timed = prompt ? sample || spans[0].count > 1 : sample;
    if (s->unread) // the timeline was not stopped, so the pause is on it
        s->now_ns += s->jump_ns;
    s->unread = false;
    s->now_ns += timed && !prompt ? s->gap_ns : 0;
    *result = (struct step_result){.ids = s->ids, .begin_ns = s->now_ns};
    if (!timed) {
        s->untimed++;
        s->now_ns += s->jump_ns;
        s->wait_ns += PAUSE_WAIT_NS;
    } else {
        s->steps++;
        s->now_ns += prompt ? CHUNK_NS : token_takes_ns(s->token++);
        s->wait_ns += STEP_WAIT_NS;
        s->unread = true;
    }
    if (s->observer)
        s->observer->on_event(s->observer->user,
                              &(struct engine_event){.phase = phase,
                                                     .op = prompt ? OPC_HEAD : OPC_DOWN,
                                                     .begin_ns = result->begin_ns,
                                                     .end_ns = s->now_ns});
    for (int i = 0; i < count; i++)
        s->ids[i] = s->token * 10 + i;
    result->logits_ns = s->now_ns - LOGITS_BEFORE_NS;
    result->end_ns = s->now_ns;
    return OK;
}

// Steps that run ahead follow each other at once, and results come when `ahead` of them are under way.
static inline enum status script_decode(void *run, const struct decode_run *decode, int *made,
                                        struct error *err)
{
    struct script *s = run;
    int limit = decode->steps;
    s->runs++;
    for (*made = 0; *made < limit;) {
        struct step_result result;
        s->unread = s->unread && *made == 0; // the steps of a run do not wait
        script_step(run, decode->spans, decode->span_count, PHASE_DECODE, &result, err);
        bool more = decode->done(decode->user, (*made)++, &result);
        if (!more && limit > *made + s->ahead)
            limit = *made + s->ahead;
    }
    return OK;
}

static inline int script_ahead(const void *run)
{
    return ((const struct script *)run)->ahead;
}

static inline struct device_clock_tie script_tie(const void *run)
{
    struct script *s = (struct script *)(uintptr_t)run;
    s->ties++;
    return (struct device_clock_tie){.ahead_ns = 1000 * s->ties * s->ties,
                                     .uncertain_ns = (uint64_t)(500 - s->ties)};
}

static inline void script_truncate(void *run, int sequence, int length)
{
    (void)run;
    (void)sequence;
    (void)length;
}

// The first look after a timed step sees its end; each further one is in a pause, and the clock has jumped.
static inline uint64_t script_clock_ns(const void *run)
{
    struct script *s = (struct script *)(uintptr_t)run;
    if (!s->unread)
        s->now_ns += s->jump_ns;
    s->unread = false;
    return s->now_ns;
}

static inline uint64_t script_wait_ns(const void *run)
{
    return ((const struct script *)run)->wait_ns;
}

static inline void script_observe(void *run, const struct engine_observer *observer)
{
    struct script *s = run;
    s->observer = observer;
    s->observed += observer != NULL;
}

static inline void script_close(void *run)
{
    (void)run; // the test's own
}

static const struct bench_engine SCRIPTED = {
    .name = "scripted",
    .begin = script_begin,
    .close = script_close,
    .step = script_step,
    .decode = script_decode,
    .ahead = script_ahead,
    .truncate = script_truncate,
    .clock_ns = script_clock_ns,
    .clock_tie = script_tie,
    .wait_ns = script_wait_ns,
    .observe = script_observe,
};

// The script whose probes run; tests use one at a time.
static struct script *probed;

static inline double script_bandwidth(struct canary *canary)
{
    (void)canary;
    probed->now_ns += probed->jump_ns;
    probed->wait_ns += PAUSE_WAIT_NS;
    probed->probes++;
    return probed->rate += 1e9;
}

static inline double script_compute_ns(struct canary *canary)
{
    (void)canary;
    return 2e5;
}

// Looks at the state cost time too; the k-th sees k, 10 k and 100 k ns.
static inline struct machine_state script_state(struct canary *canary)
{
    (void)canary;
    probed->now_ns += probed->jump_ns;
    double k = ++probed->states;
    return (struct machine_state){.sync_ns = k, .latency_ns = 10 * k, .work_ns = 100 * k};
}

// The first look finds it held back by its power limit, the third by its temperature.
static inline struct device_vitals script_vitals(struct canary *canary)
{
    (void)canary;
    if (probed->clock_hz <= 0)
        return (struct device_vitals){NAN, NAN, NAN, NAN, DEVICE_HOLD_NONE};
    int look = probed->vitals++;
    return (struct device_vitals){.clock_hz = probed->clock_hz - 1e6 * look,
                                  .memory_clock_hz = NAN,
                                  .power_w = 500 + 10 * look,
                                  .temperature_c = 60 + look,
                                  .hold = look == 0   ? DEVICE_HOLD_POWER
                                          : look == 2 ? DEVICE_HOLD_THERMAL
                                                      : DEVICE_HOLD_NONE};
}

static struct wire nowhere;

// A subject on the script. worker_subject_fini frees it; the script stays the test's.
static inline void scripted_subject(struct script *script, const struct job_cell *cell,
                                    const struct bench_engine *engine, struct subject *out)
{
    size_t batch = (size_t)cell->batch, gen = (size_t)cell->gen;
    nowhere.fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    probed = script;
    *out = (struct subject){
        .cell = cell,
        .engine = engine,
        .run = script,
        .clock = {script_clock_ns, script_wait_ns, script},
        .probes = {script_bandwidth, script_compute_ns, script_state, script_vitals},
        .prompt_tokens = cell->context - cell->gen,
        .prompt = calloc(batch * (size_t)cell->context, sizeof *out->prompt),
        .ids = calloc(batch * gen, sizeof *out->ids),
        .token_ns = calloc(batch * gen, sizeof *out->token_ns),
        .spans = calloc(batch, sizeof *out->spans),
        .looks = calloc(gen, sizeof *out->looks),
        .states = calloc(gen + 2, sizeof *out->states),
        .state_scratch = calloc(gen + 2, sizeof *out->state_scratch),
        .state_room = gen + 2,
        .waits = calloc(2, sizeof *out->waits),
        .wire = &nowhere,
    };
}

static inline void scripted_fini(struct subject *s)
{
    worker_subject_fini(s);
    close(nowhere.fd);
}

// The row of these words in an array of metrics; NULL when there is none.
static inline json_t *metric_row(json_t *metrics, const char *name, const char *phase)
{
    size_t i;
    json_t *row;
    json_array_foreach(metrics, i, row)
    {
        const char *of = json_string_value(json_object_get(row, "phase"));
        if (strcmp(json_string_value(json_object_get(row, "name")), name) == 0 &&
            (!phase || (of && strcmp(of, phase) == 0)))
            return row;
    }
    return NULL;
}

// NaN: stored as not measured.
static inline double metric_value(json_t *metrics, const char *name, const char *phase)
{
    json_t *row = metric_row(metrics, name, phase);
    if (!row)
        fail_msg("there is no %s", name);
    json_t *value = json_object_get(row, "value");
    return json_is_null(value) ? (double)NAN : json_number_value(value);
}

static inline void assert_close(double value, double expected)
{
    if (!(fabs(value - expected) <= 1e-12 * fabs(expected)))
        fail_msg("%.17g, expected %.17g", value, expected);
}

#endif
