// test_summary.c - the verdicts of trials become one of their cell.
#include "tests/results/fixture.h"

#include "results/basis.h"
#include "results/query.h"

static enum status add_verdicts(struct store *store, int64_t cell, int number, const char *status,
                                struct store_verdict *verdicts, size_t count)
{
    struct error err = {0};
    int64_t id;
    struct store_trial trial = {.cell = cell,
                                .number = number,
                                .status = status,
                                .reason = str_equal(status, "ok") ? "" : "made up",
                                .verdicts = verdicts,
                                .verdict_count = count};
    return store_trial(store, &trial, &id, &err);
}

static void put_verdict(struct store *store, int64_t cell, int number, const char *status,
                        const char *bound, double eta)
{
    struct store_verdict v = {
        .phase = "decode", .basis = "b", .bound = bound, .text = bound, .eta = eta};
    assert_int_equal(add_verdicts(store, cell, number, status, &v, 1), OK);
}

// Trials that disagree about the bound are not averaged into a wrong word.
static void test_verdicts_must_agree(void **state)
{
    static const char *const bounds[][4] = {{"memory", "memory", "compute", "memory"},
                                            {"memory", "compute", "compute", "memory"}};
    struct fixture *f = *state;
    struct error err = {0};
    for (int i = 0; i < 2; i++) {
        struct store *store = open_or_fail(f->path, STORE_WRITE);
        struct arena arena = {0};
        struct verdict_row *rows;
        size_t count;
        int64_t cell = 0, run = add_run(store, &cell);
        for (int t = 0; t < 4; t++)
            put_verdict(store, cell, t + 1, "ok", bounds[i][t], 0.1 * (t + 1));
        must(query_verdicts(store, &arena, run, &rows, &count, &err), &err);
        assert_int_equal(count, 1);
        assert_string_equal(rows[0].bound, i == 0 ? "memory" : "undetermined");
        assert_true(fabs(rows[0].eta - 0.25) < 1e-12);
        arena_fini(&arena);
        store_close(store);
        unlink(f->path);
    }
}

// Figures are medians; words are those of the trial in the middle. Trials that disagree found nothing together.
static void test_columns_of_a_verdict(void **state)
{
    static const double etas[] = {0.3, 0.2, 0.4};
    struct fixture *f = *state;
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    struct arena arena = {0};
    struct verdict_row *rows;
    size_t count;
    int64_t cell = 0, run = add_run(store, &cell);
    for (int t = 0; t < 3; t++) {
        struct store_verdict v = {.phase = "decode",
                                  .basis = "b",
                                  .bound = "memory",
                                  .text = "t",
                                  .finding = t == 0 ? "inefficient" : "reached",
                                  .reason = t == 0 ? "why" : "",
                                  .loss_op = t == 0 ? "down" : NULL,
                                  .eta = etas[t],
                                  .eta_low = etas[t] - 0.1,
                                  .eta_high = etas[t] + 0.1,
                                  .bandwidth_moved = t == 0 ? (double)NAN : etas[t] / 2,
                                  .loss_share = t == 0 ? 0.6 : (double)NAN};
        assert_int_equal(add_verdicts(store, cell, t + 1, "ok", &v, 1), OK);
    }
    must(query_verdicts(store, &arena, run, &rows, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].finding, "inefficient");
    assert_string_equal(rows[0].reason, "why");
    assert_string_equal(rows[0].loss_op, "down");
    assert_float_equal(rows[0].loss_share, 0.6, 0);
    assert_float_equal(rows[0].eta_low, 0.2, 1e-12);
    assert_float_equal(rows[0].eta_high, 0.4, 1e-12);
    assert_float_equal(rows[0].bandwidth_moved, 0.15, 1e-12); // of the two that were recorded
    put_verdict(store, cell, 4, "ok", "compute", 0.3);
    put_verdict(store, cell, 5, "ok", "compute", 0.3);
    must(query_verdicts(store, &arena, run, &rows, &count, &err), &err);
    assert_string_equal(rows[0].bound, "undetermined"); // 3 of 5
    assert_null(rows[0].finding);
    assert_null(rows[0].reason);
    assert_null(rows[0].loss_op);
    assert_true(isnan(rows[0].loss_share));
    struct store_verdict odd = {
        .phase = "decode", .basis = "b", .bound = "memory", .text = "t", .finding = "odd"};
    assert_int_equal(add_verdicts(store, cell, 6, "ok", &odd, 1), ERR_INTERNAL);
    arena_fini(&arena);
    store_close(store);
}

// The bound is that of two trials in three, wherever they stand; trials that failed have no say.
static void test_most_trials_decide(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    struct arena arena = {0};
    struct verdict_row *rows;
    size_t count;
    int64_t cell = 0, run = add_run(store, &cell);
    put_verdict(store, cell, 1, "ok", "memory", 0.1);
    put_verdict(store, cell, 2, "noisy", "compute", 0.2);
    put_verdict(store, cell, 3, "throttled", "compute", 0.6);
    must(query_verdicts(store, &arena, run, &rows, &count, &err), &err);
    assert_string_equal(rows[0].bound, "compute");
    assert_int_equal(rows[0].agree, 2);
    put_verdict(store, cell, 4, "wrong", "memory", 0.9);
    put_verdict(store, cell, 5, "wrong", "memory", 0.9);
    must(query_verdicts(store, &arena, run, &rows, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_string_equal(rows[0].bound, "compute");
    assert_string_equal(rows[0].text, "compute");
    assert_int_equal(rows[0].trials, 3);
    assert_float_equal(rows[0].eta, 0.2, 0);
    arena_fini(&arena);
    store_close(store);
}

static void test_the_best_basis_speaks(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct arena arena = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell = 0, run = add_run(store, &cell);
    // best first, while the alphabet would have "activity" before "counters"
    static const char *const bases[] = {BASIS_COUNTERS, BASIS_ACTIVITY, BASIS_EVENTS, BASIS_CLOCK,
                                        "a guess"};
    for (int first = 4; first >= 0; first--) {
        struct store_verdict verdicts[5];
        struct verdict_row *rows;
        size_t count;
        for (int i = first; i < 5; i++)
            verdicts[i - first] = (struct store_verdict){.phase = "decode",
                                                         .basis = bases[i],
                                                         .bound = i == first ? "compute" : "memory",
                                                         .text = "t"};
        struct store_cell one = {
            .run = run, .key = bases[first], .params_json = "{}", .label = "l"};
        must(store_cell(store, &one, &cell, &err), &err);
        assert_int_equal(add_verdicts(store, cell, 1, "ok", verdicts, (size_t)(5 - first)), OK);
        must(query_verdicts(store, &arena, run, &rows, &count, &err), &err);
        const struct verdict_row *v = query_verdict_find(rows, count, cell, "decode");
        assert_string_equal(v->basis, bases[first]);
        assert_string_equal(v->bound, "compute");
    }
    assert_true(metric_basis_rank("host clock + analytic + canary") ==
                metric_basis_rank(BASIS_CLOCK));
    arena_fini(&arena);
    store_close(store);
}

// Each figure that differs by more than 10 % is named with what explains it; NaN is none.
static void what_disagrees_is_named(void **state)
{
    static const struct {
        double bytes, operations;
        bool host;
        const char *words;
    } cases[] = {
        {1.09, 0.91, true, ""},
        {NAN, NAN, false, ""},
        {1.62, 1, false,
         "; 1.62 times the analytic bytes were counted (the last cache lost data that is used "
         "again, or the device did other work)"},
        {1.62, NAN, true,
         "; 1.62 times the analytic bytes were counted (caches lost data that is used again, or "
         "other programs used memory)"},
        {0.5, 7.84, false,
         "; 0.50 times the analytic bytes were counted (caches kept part of what the model reads "
         "from memory); 7.84 times the analytic operations were counted (tiles are wider than the "
         "tokens of a step)"},
        {1, 0.5, false,
         "; 0.50 times the analytic operations were counted (part of the products ran outside the "
         "tensor cores)"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[512] = "old";
        metric_counted_findings(cases[i].bytes, cases[i].operations, cases[i].host, "; ", text,
                                sizeof text);
        assert_string_equal(text, cases[i].words);
    }
}

static enum status add_refusal(struct store *store, int64_t cell, int number, const char *name,
                               double value, const char *source)
{
    struct error err = {0};
    int64_t id = 0;
    const struct store_metric metric = {.name = name, .unit = "", .source = source, .value = value};
    const struct store_trial trial = {.cell = cell,
                                      .number = number,
                                      .status = "ok",
                                      .reason = "",
                                      .metrics = &metric,
                                      .metric_count = 1};
    return store_trial(store, &trial, &id, &err);
}

// Why memory controllers were not counted: the end of that instrument's reason, as the last trial gives it.
static void test_why_bytes_were_not_counted(void **state)
{
    struct fixture *f = *state;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    struct arena arena = {0};
    struct error err = {0};
    struct uncounted_row *rows = NULL;
    size_t count = 9;
    int64_t cell = 0, run = add_run(store, &cell);
    must(query_uncounted(store, &arena, run, &rows, &count, &err), &err);
    assert_int_equal(count, 0);
    assert_null(query_uncounted_find(rows, count, cell));
    assert_int_equal(add_refusal(store, cell, 1, "instrument_counters", NAN,
                                 "papi cycles: none; DRAM bytes: there is no PMU"),
                     OK);
    assert_int_equal(
        add_refusal(store, cell, 2, "instrument_counters", NAN, "DRAM bytes: not permitted"), OK);
    assert_int_equal(add_refusal(store, cell, 3, "instrument_counters", NAN, "papi cycles: none"),
                     OK); // counted then
    assert_int_equal(
        add_refusal(store, cell, 4, "instrument_energy", NAN, "DRAM bytes: of another"), OK);
    must(query_uncounted(store, &arena, run, &rows, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_string_equal(query_uncounted_find(rows, count, cell), "not permitted");
    assert_null(query_uncounted_find(rows, count, cell + 1));
    arena_fini(&arena);
    store_close(store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_verdicts_must_agree),        fixture_test(test_columns_of_a_verdict),
        fixture_test(test_most_trials_decide),         fixture_test(test_the_best_basis_speaks),
        fixture_test(test_why_bytes_were_not_counted), cmocka_unit_test(what_disagrees_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
