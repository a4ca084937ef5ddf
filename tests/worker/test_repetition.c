// test_repetition.c - the timed loop under a scripted clock: every figure is known to the nanosecond.
#include "tests/worker/scripted.h"

#include "results/metric.h"

enum { BATCH = 2, PROMPT = 10, CHUNK = 4, GEN = 40, CHUNKS = 3, SECOND = 1000000000 };

static struct job_cell cell_of(int batch, int gen)
{
    return (struct job_cell){.index = 0,
                             .batch = batch,
                             .context = PROMPT + gen,
                             .gen = gen,
                             .chunk = CHUNK,
                             .reps = 1,
                             .warmup = WARMUP_NONE,
                             .collect = COLLECT_TIMING};
}

// When token `token` comes if nothing but timed steps counts.
static int64_t comes_at(int token)
{
    int64_t at = (int64_t)CHUNKS * CHUNK_NS;
    for (int t = 1; t <= token; t++)
        at += (int64_t)token_takes_ns(t);
    return at;
}

static void assert_token_times(const struct subject *s)
{
    for (int i = 0; i < s->cell->batch; i++)
        for (int t = 0; t < s->cell->gen; t++)
            if (s->token_ns[i * s->cell->gen + t] != comes_at(t))
                fail_msg("token %d of sequence %d came at %lld, expected %lld", t, i,
                         (long long)s->token_ns[i * s->cell->gen + t], (long long)comes_at(t));
}

static void repeat(struct subject *s, bool canaries, struct repetition *r)
{
    struct error err = {0};
    struct repetition_options options = {.number = 1, .canaries = canaries};
    if (measure_repetition(s, &options, r, &err) != OK)
        fail_msg("%s", err.message);
}

// The clock jumps by a second in every pause, and no figure sees it.
static void pauses_are_cut_out(void **state)
{
    (void)state;
    struct job_cell cell = cell_of(BATCH, GEN);
    static const struct {
        bool canaries, streaming;
        int looks, untimed;
    } cases[] = {
        {false, false, 0, 0},
        {true, false, 3,
         1 + 3}, // before tokens 1, 17 and 33, each with an untimed step; one before the prefill
        {true, true, GEN - 1, 1}, // before every token, and no step is repeated
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct script script = {.now_ns = 5, .jump_ns = SECOND};
        struct subject s;
        struct repetition r;
        scripted_subject(&script, &cell, &SCRIPTED, &s);
        s.streaming = cases[i].streaming;
        repeat(&s, cases[i].canaries, &r);
        assert_token_times(&s);
        assert_int_equal(r.measured_ns, comes_at(GEN - 1));
        assert_true(r.prefill_ns == CHUNKS * CHUNK_NS - LOGITS_BEFORE_NS);
        assert_true(r.prefill_wait_ns == CHUNKS * STEP_WAIT_NS);
        assert_true(r.decode_wait_ns == (GEN - 1) * STEP_WAIT_NS);
        assert_int_equal(s.look_count, cases[i].looks);
        assert_int_equal(script.untimed, cases[i].untimed);
        assert_int_equal(script.steps, CHUNKS + GEN - 1);
        assert_int_equal(s.ids[1], 20); // token 1 of the first sequence: what the step drew
        scripted_fini(&s);
    }
}

// Steps that run ahead are one run between two pauses. It ends 25 ms after it began, at the 25th step, and with the
// three that were under way then.
static void runs_lie_between_pauses(void **state)
{
    (void)state;
    struct job_cell cell = cell_of(BATCH, GEN);
    static const struct {
        bool canaries;
        int looks, untimed;
    } cases[] = {{false, 0, 0}, {true, 2, 1 + 2}}; // looks before tokens 1 and 29
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct script script = {.now_ns = 5, .jump_ns = SECOND, .ahead = 3};
        struct subject s;
        struct repetition r;
        scripted_subject(&script, &cell, &SCRIPTED, &s);
        repeat(&s, cases[i].canaries, &r);
        assert_token_times(&s);
        assert_int_equal(script.runs, 2);
        assert_int_equal(script.steps, CHUNKS + GEN - 1);
        assert_int_equal(script.untimed, cases[i].untimed);
        assert_int_equal(s.look_count, cases[i].looks);
        if (cases[i].canaries)
            assert_int_equal(s.looks[1].at_ns, comes_at(28));
        for (int t = 1; t < GEN; t++) // each token is what its own step drew
            assert_int_equal(s.ids[t], 10 * (t + 1));
        assert_true(r.decode_wait_ns == (GEN - 1) * STEP_WAIT_NS);
        scripted_fini(&s);
    }
}

// The time between steps is what pauses leave of it, in single steps and in runs.
static void time_between_steps(void **state)
{
    (void)state;
    struct job_cell cell = cell_of(BATCH, GEN);
    for (int ahead = 0; ahead <= 3; ahead += 3) {
        struct script script = {.jump_ns = SECOND, .gap_ns = 5000, .ahead = ahead};
        struct subject s;
        struct repetition r;
        scripted_subject(&script, &cell, &SCRIPTED, &s);
        repeat(&s, true, &r);
        assert_true(r.between_ns == 5000 * (GEN - 1));
        json_t *m = repetition_metrics(&s, &r);
        double decode_ns = (double)(comes_at(GEN - 1) - comes_at(0)) + 5000 * (GEN - 1);
        assert_close(metric_value(m, METRIC_BETWEEN, "decode"), 5000 * (GEN - 1) / decode_ns);
        json_decref(m);
        scripted_fini(&s);
    }
}

// The clocks are tied before and after: looks k are 500 - k ns uncertain, and the device's is 1000 k k ns ahead.
static void clocks_are_tied_around(void **state)
{
    (void)state;
    struct job_cell cell = cell_of(1, 3);
    struct script script = {.jump_ns = SECOND};
    struct subject s;
    struct repetition r;
    scripted_subject(&script, &cell, &SCRIPTED, &s);
    repeat(&s, false, &r);
    json_t *noise = repetition_noise(&s, &r);
    assert_int_equal(script.ties, 2);
    assert_close(metric_value(noise, NOISE_CLOCK_TIE, NULL), 499);
    assert_close(metric_value(noise, NOISE_CLOCK_DRIFT, NULL), 3000);
    json_decref(noise);
    scripted_fini(&s);
}

static uint64_t unknown_wait_ns(const void *run)
{
    (void)run;
    return DEVICE_WAIT_UNKNOWN;
}

// A device that does not measure its waits has none that are zero.
static void unknown_waits_are_not_measured(void **state)
{
    (void)state;
    struct job_cell cell = cell_of(BATCH, GEN);
    struct script script = {.jump_ns = SECOND};
    struct subject s;
    struct repetition r;
    scripted_subject(&script, &cell, &SCRIPTED, &s);
    s.clock.wait_ns = unknown_wait_ns;
    repeat(&s, true, &r);
    assert_true(isnan(r.prefill_wait_ns) && isnan(r.decode_wait_ns));
    json_t *m = repetition_metrics(&s, &r);
    assert_true(isnan(metric_value(m, METRIC_WAIT, "prefill")));
    assert_true(isnan(metric_value(m, METRIC_WAIT, "decode")));
    json_decref(m);
    scripted_fini(&s);
}

// Canaries are 25 ms apart, whatever the number of steps: 15 steps of a little over a millisecond are not enough.
static void canaries_keep_their_distance(void **state)
{
    (void)state;
    struct job_cell cell = cell_of(1, GEN);
    struct script script = {.jump_ns = 0};
    struct subject s;
    struct repetition r;
    scripted_subject(&script, &cell, &SCRIPTED, &s);
    s.streaming = true;
    repeat(&s, true, &r);
    assert_int_equal(s.look_count, 2);
    int64_t apart = s.looks[1].at_ns - s.looks[0].at_ns;
    assert_true(apart >= CANARY_EVERY_NS && apart < CANARY_EVERY_NS + 2000000);
    scripted_fini(&s);
}

// Probes see 1, 2, 3 ... GB/s: three before, one before each of tokens 1, 17 and 33, three after.
static void bandwidth_is_the_mean_over_the_decode(void **state)
{
    (void)state;
    struct job_cell cell = cell_of(BATCH, GEN);
    struct script script = {.jump_ns = SECOND};
    struct subject s;
    struct repetition r;
    scripted_subject(&script, &cell, &SCRIPTED, &s);
    repeat(&s, true, &r);
    double first = (double)(comes_at(16) - comes_at(0)),
           second = (double)(comes_at(32) - comes_at(16)),
           third = (double)(comes_at(GEN - 1) - comes_at(32));
    assert_int_equal(script.probes, 9);
    assert_close(r.noise.bandwidth_before, 2e9); // the median of 1, 2, 3
    assert_close(r.noise.bandwidth_after, 8e9);  // of 7, 8, 9
    // between 4 and 5, 5 and 6, 6 and 8 GB/s
    assert_close(r.noise.bandwidth_during,
                 (4.5e9 * first + 5.5e9 * second + 7e9 * third) / (first + second + third));
    assert_close(r.noise.bandwidth_min, 1e9);
    assert_close(r.noise.bandwidth_max, 9e9);
    assert_close(r.noise.compute_canary_ns, 2e5);
    // the state is looked at as often as the bandwidth, but once before and once after: the median of 1 to 5
    assert_int_equal(script.states, 5);
    assert_close(r.noise.state.sync_ns, 3);
    assert_close(r.noise.state.latency_ns, 30);
    assert_close(r.noise.state.work_ns, 300);
    scripted_fini(&s);
}

// ---- figures ---------------------------------------------------------------------------------------------

// Two sequences of five tokens, all gaps different; times in ns.
static void figures_of_known_times(void **state)
{
    (void)state;
    struct job_cell cell = cell_of(2, 5);
    struct script script = {0};
    struct subject s;
    struct repetition r = {.prefill_ns = 800, .prefill_wait_ns = 30, .decode_wait_ns = 48};
    static const int64_t times[] = {1000, 1010, 1030, 1060, 1100, 1400, 1450, 1510, 1580, 1660};
    scripted_subject(&script, &cell, &SCRIPTED, &s);
    memcpy(s.token_ns, times, sizeof times);
    json_t *m = repetition_metrics(&s, &r);
    assert_close(metric_value(m, METRIC_TTFT, "prefill"), 1200);
    assert_close(metric_value(m, METRIC_PREFILL_TIME, "prefill"), 800);
    assert_close(metric_value(m, METRIC_PREFILL_TPS, "prefill"), 1e9 * 2 * PROMPT / 800);
    assert_close(metric_value(m, METRIC_WAIT, "prefill"), 30);
    assert_close(metric_value(m, METRIC_E2E, NULL), 1660);
    assert_close(metric_value(m, METRIC_TPOT, "decode"), (25 + 65) / 2.0); // 100 / 4 and 260 / 4
    assert_close(metric_value(m, METRIC_DECODE_TPS, "decode"), 1e9 * 2 * 4 / (1660 - 1400));
    assert_close(metric_value(m, METRIC_WAIT, "decode"), 12); // a step
    // gaps 10 20 30 40 50 60 70 80: order statistics at 3.5, 6.3 and 6.93
    assert_close(metric_value(m, METRIC_ITL_P50, "decode"), 45);
    assert_close(metric_value(m, METRIC_ITL_P90, "decode"), 73);
    assert_close(metric_value(m, METRIC_ITL_P99, "decode"), 79.3);
    json_decref(m);
    scripted_fini(&s);
}

static void expect_source(json_t *metrics, const char *name, const char *source)
{
    assert_string_equal(
        json_string_value(json_object_get(metric_row(metrics, name, NULL), "source")), source);
}

// Each figure names the clock that its times were read from.
static void figures_name_their_clock(void **state)
{
    (void)state;
    static const struct {
        enum device_kind where;
        const char *source;
    } cases[] = {{DEVICE_HOST, "host clock"}, {DEVICE_CUDA, "device event"}};
    struct job_cell cell = cell_of(2, 5);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct script script = {0};
        struct subject s;
        struct repetition r = {.prefill_ns = 800};
        scripted_subject(&script, &cell, &SCRIPTED, &s);
        s.where = cases[i].where;
        json_t *m = repetition_metrics(&s, &r), *noise = repetition_noise(&s, &r);
        expect_source(m, METRIC_TTFT, cases[i].source);
        expect_source(m, METRIC_TPOT, cases[i].source);
        expect_source(m, METRIC_ITL_P99, cases[i].source);
        expect_source(noise, NOISE_BANDWIDTH_DURING, cases[i].source);
        expect_source(noise, NOISE_WINDOW, "host clock");
        expect_source(noise, NOISE_STEAL, "os");
        json_decref(m);
        json_decref(noise);
        scripted_fini(&s);
    }
}

static void one_token_has_no_gaps(void **state)
{
    (void)state;
    struct job_cell cell = cell_of(1, 1);
    struct script script = {.jump_ns = SECOND};
    struct subject s;
    struct repetition r;
    scripted_subject(&script, &cell, &SCRIPTED, &s);
    repeat(&s, true, &r);
    json_t *m = repetition_metrics(&s, &r);
    assert_close(metric_value(m, METRIC_E2E, NULL), CHUNKS * CHUNK_NS);
    assert_null(metric_row(m, METRIC_TPOT, NULL));
    assert_null(metric_row(m, METRIC_DECODE_TPS, NULL));
    assert_null(metric_row(m, METRIC_ITL_P50, NULL));
    assert_null(metric_row(m, METRIC_BETWEEN, NULL));
    assert_null(metric_row(m, METRIC_WAIT, "decode"));
    json_decref(m);
    scripted_fini(&s);
}

static void unknown_noise_is_not_measured(void **state)
{
    (void)state;
    struct repetition r = {.noise = {.run_wait_ns = 18,
                                     .window_ns = 7000000,
                                     .compute_canary_ns = 3,
                                     .state = {21, 22, 23},
                                     .bandwidth_before = NAN}};
    r.noise.os = (struct os_noise){.steal_ns = OS_UNKNOWN,
                                   .throttled_ns = 11,
                                   .throttled_periods = 12,
                                   .involuntary_switches = 13,
                                   .major_faults = 14,
                                   .psi_cpu_ns = 15,
                                   .psi_memory_ns = 16,
                                   .psi_io_ns = 17};
    struct subject s = {.where = DEVICE_HOST};
    json_t *m = repetition_noise(&s, &r);
    assert_true(isnan(metric_value(m, NOISE_STEAL, NULL)));
    assert_true(isnan(metric_value(m, NOISE_BANDWIDTH_FIRST, NULL)));
    static const struct {
        const char *name;
        double value;
    } known[] = {{NOISE_WINDOW, 7e6},     {NOISE_RUN_WAIT, 18},       {NOISE_THROTTLED, 11},
                 {NOISE_SWITCHES, 13},    {NOISE_MAJOR_FAULTS, 14},   {NOISE_PSI_CPU, 15},
                 {NOISE_PSI_MEMORY, 16},  {NOISE_PSI_IO, 17},         {NOISE_COMPUTE_CANARY, 3},
                 {NOISE_SYNC_CANARY, 21}, {NOISE_LATENCY_CANARY, 22}, {NOISE_WORK_CANARY, 23}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        assert_close(metric_value(m, known[i].name, NULL), known[i].value);
    json_decref(m);
}

// The worst value seen, and the share of the readings in which the device was held back.
static void vital_signs_are_noise(void **state)
{
    (void)state;
    struct job_cell cell = cell_of(1, GEN);
    struct script script = {.jump_ns = SECOND, .clock_hz = 1980e6};
    struct subject s;
    struct repetition r;
    scripted_subject(&script, &cell, &SCRIPTED, &s);
    repeat(&s, true, &r);
    json_t *m = repetition_noise(&s, &r);
    assert_int_equal(script.vitals, 4); // before tokens 1, 17 and 33, and at the end
    assert_close(metric_value(m, NOISE_DEVICE_CLOCK, NULL), 1977e6);
    assert_true(isnan(metric_value(m, NOISE_DEVICE_MEMORY_CLOCK, NULL)));
    assert_close(metric_value(m, NOISE_DEVICE_POWER, NULL), 530);
    assert_close(metric_value(m, NOISE_DEVICE_TEMPERATURE, NULL), 63);
    assert_close(metric_value(m, NOISE_HELD_POWER, NULL), 0.25);
    assert_close(metric_value(m, NOISE_HELD_THERMAL, NULL), 0.25);
    assert_close(metric_value(m, NOISE_HELD_BRAKE, NULL), 0);
    json_decref(m);
    scripted_fini(&s);
    script.clock_hz = 0; // a device without them: nothing is stored
    scripted_subject(&script, &cell, &SCRIPTED, &s);
    repeat(&s, true, &r);
    m = repetition_noise(&s, &r);
    assert_null(metric_row(m, NOISE_DEVICE_CLOCK, NULL));
    assert_null(metric_row(m, NOISE_HELD_POWER, NULL));
    json_decref(m);
    scripted_fini(&s);
}

// ---- a trial ---------------------------------------------------------------------------------------------

struct kept {
    int count;
    int fail_at; // 0: never
};

static enum status keep(void *user, const struct subject *s, const struct repetition *r, int number,
                        struct error *err)
{
    struct kept *kept = user;
    (void)s;
    (void)r;
    assert_int_equal(number, ++kept->count);
    return number == kept->fail_at ? FAIL(err, ERR_IO, "full") : OK;
}

// Repetitions are added until min_time is measured, and not one more.
static void min_time_adds_repetitions(void **state)
{
    (void)state;
    const int64_t one_ns = comes_at(GEN - 1);
    static const int64_t none = 0;
    const struct {
        int reps;
        int64_t min_ns;
        int expected;
    } cases[] = {
        {1, none, 1},
        {5, none, 5},
        {1, 3 * one_ns, 3},
        {1, 3 * one_ns + 1, 4},
        {3, 2 * one_ns, 3},
        {1, INT64_C(1) << 60, REPETITIONS_MOST},
        {REPETITIONS_MOST + 7, INT64_C(1) << 60, REPETITIONS_MOST + 7},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct job_cell cell = cell_of(1, GEN);
        struct script script = {.jump_ns = SECOND};
        struct subject s;
        struct kept kept = {0};
        struct error err = {0};
        cell.reps = cases[i].reps;
        cell.min_ns = cases[i].min_ns;
        scripted_subject(&script, &cell, &SCRIPTED, &s);
        assert_int_equal(measure_trial(&s, keep, &kept, &err), OK);
        assert_int_equal(kept.count, cases[i].expected);
        scripted_fini(&s);
    }
}

static void warm_ups_are_not_kept(void **state)
{
    (void)state;
    static const int steps[] = {[WARMUP_NONE] = 0,
                                [WARMUP_SHORT] = 2, // one prompt token, one decode step
                                [WARMUP_FULL] = CHUNKS + GEN - 1};
    for (int warmup = WARMUP_NONE; warmup <= WARMUP_FULL; warmup++) {
        struct job_cell cell = cell_of(1, GEN);
        struct script script = {0};
        struct subject s;
        struct kept kept = {.fail_at = 1};
        struct error err = {0};
        cell.warmup = (enum warmup)warmup;
        scripted_subject(&script, &cell, &SCRIPTED, &s);
        assert_int_equal(measure_trial(&s, keep, &kept, &err), ERR_IO); // what keeping says ends it
        assert_int_equal(kept.count, 1);
        assert_int_equal(script.steps, steps[warmup] + CHUNKS + GEN - 1);
        scripted_fini(&s);
    }
}

// ---- engines that run requests whole ---------------------------------------------------------------------

static enum status whole_generate(void *run, struct bench_engine_request *request,
                                  struct error *err)
{
    struct script *s = run;
    (void)err;
    s->steps++;
    assert_int_equal(request->prompt_tokens, PROMPT);
    for (int i = 0; i < BATCH; i++)
        for (int t = 0; t < 3; t++) {
            request->ids[i * 3 + t] = 7 + t;
            request->token_ns[i * 3 + t] = 1000 * (t + 1) + 100 * i;
        }
    request->nonfinite = 2;
    return OK;
}

static const struct bench_engine WHOLE = {
    .name = "whole", .begin = script_begin, .close = script_close, .generate = whole_generate};

static void token_times_are_enough(void **state)
{
    (void)state;
    struct job_cell cell = cell_of(BATCH, 3);
    struct script script = {0};
    struct subject s;
    struct repetition r;
    scripted_subject(&script, &cell, &WHOLE, &s);
    repeat(&s, true, &r);
    assert_int_equal(r.measured_ns, 3100);
    assert_int_equal(r.nonfinite_logits, 2);
    assert_close(r.noise.bandwidth_before, 2e9);
    assert_close(r.noise.bandwidth_after, 5e9);
    assert_true(isnan(r.noise.bandwidth_during)); // no canary can run between its tokens
    json_t *m = repetition_metrics(&s, &r);
    assert_close(metric_value(m, METRIC_TTFT, "prefill"), 1050);
    assert_close(metric_value(m, METRIC_TPOT, "decode"), 1000);
    assert_true(isnan(metric_value(m, METRIC_PREFILL_TIME, "prefill")));
    assert_true(isnan(metric_value(m, METRIC_PREFILL_TPS, "prefill")));
    assert_true(isnan(metric_value(m, METRIC_WAIT, "prefill")));
    assert_true(isnan(metric_value(m, METRIC_WAIT, "decode")));
    assert_true(isnan(metric_value(m, METRIC_BETWEEN, "decode")));
    json_decref(m);
    scripted_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pauses_are_cut_out),
        cmocka_unit_test(runs_lie_between_pauses),
        cmocka_unit_test(time_between_steps),
        cmocka_unit_test(clocks_are_tied_around),
        cmocka_unit_test(unknown_waits_are_not_measured),
        cmocka_unit_test(canaries_keep_their_distance),
        cmocka_unit_test(bandwidth_is_the_mean_over_the_decode),
        cmocka_unit_test(figures_of_known_times),
        cmocka_unit_test(figures_name_their_clock),
        cmocka_unit_test(one_token_has_no_gaps),
        cmocka_unit_test(unknown_noise_is_not_measured),
        cmocka_unit_test(vital_signs_are_noise),
        cmocka_unit_test(min_time_adds_repetitions),
        cmocka_unit_test(warm_ups_are_not_kept),
        cmocka_unit_test(token_times_are_enough),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
