// test_spread.c - intervals of times include what moves between runs: by past runs, or by canaries.
#include "tests/results/fixture.h"

#include "results/db.h"
#include "results/metric.h"
#include "results/query.h"
#include "results/spread.h"

// One trial of `cell`: a repetition for each of the work canaries, all with this TPOT.
static void put_trial_as(struct store *store, int64_t cell, int number, const char *status,
                         double tpot, const double *canaries, size_t count)
{
    struct error err = {0};
    int64_t id;
    struct store_metric metric = {.name = METRIC_TPOT,
                                  .unit = "ns",
                                  .source = "host clock",
                                  .phase = "decode",
                                  .value = tpot};
    struct store_metric noise[8];
    struct store_sample samples[8];
    for (size_t i = 0; i < count; i++) {
        noise[i] = (struct store_metric){
            .name = NOISE_WORK_CANARY, .unit = "ns", .source = "host clock", .value = canaries[i]};
        samples[i] = (struct store_sample){.repetition = (int)i + 1,
                                           .token_hash = "h",
                                           .metrics = &metric,
                                           .metric_count = 1,
                                           .noise = &noise[i],
                                           .noise_count = 1};
    }
    struct store_trial trial = {.cell = cell,
                                .number = number,
                                .status = status,
                                .reason = strcmp(status, "ok") == 0 ? "" : "made up",
                                .started_ns = 1,
                                .ended_ns = 2,
                                .samples = samples,
                                .sample_count = count};
    must(store_trial(store, &trial, &id, &err), &err);
}

static void put_trial(struct store *store, int64_t cell, int number, double tpot,
                      const double *canaries, size_t count)
{
    put_trial_as(store, cell, number, "ok", tpot, canaries, count);
}

static struct summary_row tpot_of(struct store *store, int64_t run, int64_t cell)
{
    struct error err = {0};
    struct arena arena = {0};
    struct summary_row *rows = NULL, found;
    size_t count = 0;
    must(query_summaries(store, &arena, run, &rows, &count, &err), &err);
    const struct summary_row *row = query_summary_find(rows, count, cell, METRIC_TPOT, "decode");
    assert_non_null(row);
    found = *row;
    arena_fini(&arena);
    return found;
}

static void by_canaries(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell, run = add_run(store, &cell);
    static const double slow[] = {210, 400, 100}, even[] = {200, 200}, fast[] = {180, 200};
    put_trial(store, cell, 1, 1000, even, 2);
    struct summary_row row = tpot_of(store, run, cell);
    assert_string_equal(row.interval, "trials");
    assert_float_equal(row.stat.median_interval.low, 1000, 0);
    assert_float_equal(row.stat.median_interval.high, 1000, 0);
    put_trial(store, cell, 2, 1000, slow, 3);
    put_trial(store, cell, 3, 1000, fast, 2);
    row = tpot_of(store, run, cell);
    // trials 200, 210 and 190: shares 1, 1.05 and 0.95, quantiles 0.96 and 1.04
    assert_string_equal(row.interval, "canaries");
    assert_float_equal(row.stat.median_interval.high, 1080, 1e-6);
    assert_float_equal(row.stat.median_interval.low, 1000 / 1.08, 1e-6);
    store_close(store);
}

// Two readings in the middle: the median is between them.
static void noise_of_an_even_number_of_readings(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct arena arena = {0};
    struct noise_row *rows = NULL;
    size_t count = 0;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell, run = add_run(store, &cell);
    static const double looks[] = {230, 190, 200, 210};
    put_trial(store, cell, 1, 1000, looks, 4);
    must(query_noise(store, &arena, run, &rows, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_int_equal(rows[0].repetitions, 4);
    assert_float_equal(rows[0].median, 205, 0);
    assert_float_equal(rows[0].min, 190, 0);
    assert_float_equal(rows[0].max, 230, 0);
    assert_float_equal(rows[0].sum, 830, 0);
    put_trial(store, cell, 2, 1000, looks, 1);
    must(query_noise(store, &arena, run, &rows, &count, &err), &err);
    assert_float_equal(rows[0].median, 210, 0); // of 190 200 210 230 230
    arena_fini(&arena);
    store_close(store);
}

static int count_step(void *steps)
{
    ++*(int64_t *)steps;
    return 0;
}

// SQLite's steps for the figures of one run.
static int64_t steps_of(struct store *store, int64_t run, int64_t cell)
{
    int64_t steps = 0;
    sqlite3_progress_handler(store->db, 1, count_step, &steps);
    tpot_of(store, run, cell);
    sqlite3_progress_handler(store->db, 0, NULL, NULL);
    return steps;
}

// Beyond the runs that an interval is made of, others in the store cost nothing.
static void the_cost_is_of_the_run_not_of_the_store(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    static const double looks[] = {200, 210};
    int64_t cell = 0, run = 0, few = 0;
    for (int i = 0; i < 60; i++) {
        bool between =
            i > SPREAD_RUNS_MAX && i < 60 - SPREAD_RUNS_MAX; // no interval is made of these
        run = add_run(store, &cell);
        for (int number = 1; number <= (between ? 20 : 3); number++)
            put_trial(store, cell, number, 1000 + i, looks, 2);
        if (i == SPREAD_RUNS_MAX)
            few = steps_of(store, run, cell);
    }
    assert_true(few > 100);
    assert_in_range(steps_of(store, run, cell), few / 2, few + few / 4);
    store_close(store);
}

static void by_runs(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    static const double tpot[] = {1000, 1100, 900}, still[] = {200};
    int64_t cells[3], runs[3];
    for (int i = 0; i < 3; i++) {
        runs[i] = add_run(store, &cells[i]);
        put_trial(store, cells[i], 1, tpot[i], still, 1);
        struct summary_row row = tpot_of(store, runs[i], cells[i]);
        assert_string_equal(row.interval, i < 2 ? "trials" : "runs");
    }
    struct summary_row row = tpot_of(store, runs[2], cells[2]);
    // logarithms: mean 6.90440517, deviation 0.10037729; t of 2 degrees of freedom 4.303; times sqrt(4 / 3)
    double half = 4.303 * 0.10037729 * sqrt(4.0 / 3);
    assert_float_equal(row.stat.median_interval.high, exp(6.90440517 + half), 0.01);
    assert_float_equal(row.stat.median_interval.low, exp(6.90440517 - half), 0.01);
    assert_float_equal(row.stat.median_interval.level, 0.95, 0);
    store_close(store);
}

// Earlier runs of another build, and disturbed ones, say nothing about the next one.
static void by_runs_like_this_one(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    static const double still[] = {200};
    int64_t cells[5], runs[5], build = 0;
    for (int i = 0; i < 5; i++)
        runs[i] = add_run(store, &cells[i]);
    char sql[96];
    must(store_build(store, "{\"other\":1}", &build, &err), &err);
    snprintf(sql, sizeof sql, "UPDATE run SET build_id = %lld WHERE id = %lld", (long long)build,
             (long long)runs[0]);
    assert_int_equal(sqlite3_exec(store->db, sql, NULL, NULL, NULL), SQLITE_OK);
    put_trial(store, cells[0], 1, 5000, still, 1);
    put_trial_as(store, cells[1], 1, "noisy", 3000, still, 1);
    put_trial(store, cells[2], 1, 1000, still, 1);
    put_trial(store, cells[3], 1, 1100, still, 1);
    assert_string_equal(tpot_of(store, runs[3], cells[3]).interval, "trials"); // two runs
    put_trial(store, cells[4], 1, 900, still, 1);
    static const double tpot[] = {900, 1100, 1000};
    struct summary_row row = tpot_of(store, runs[4], cells[4]);
    assert_string_equal(row.interval, "runs");
    assert_float_equal(row.stat.median_interval.high, spread_predict(tpot, 3).high, 1e-3);
    store_close(store);
}

static void equal_runs_leave_no_width(void **state)
{
    (void)state;
    static const double same[] = {5, 5, 5, 5};
    assert_float_equal(spread_predict(same, 4).low, 5, 1e-12);
    assert_float_equal(spread_predict(same, 4).high, 5, 1e-12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(by_canaries),
        fixture_test(noise_of_an_even_number_of_readings),
        fixture_test(the_cost_is_of_the_run_not_of_the_store),
        fixture_test(by_runs),
        fixture_test(by_runs_like_this_one),
        cmocka_unit_test(equal_runs_leave_no_width),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
