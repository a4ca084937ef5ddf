// test_store.c - what is written comes back; what must not be written is not.
#include "tests/results/fixture.h"

#include "results/db.h"
#include "results/query.h"

static int64_t number(struct store *store, const char *sql)
{
    struct error err = {0};
    int64_t value = -1;
    must(db_int(store->db, store->path, sql, &value, &err), &err);
    return value;
}

static void test_round_trip(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell = 0, run = add_run(store, &cell);
    must(add_trial(store, cell, 1, "ok", 5, &err), &err);
    must(store_run_end(store, run, "done", 9, &err), &err);
    store_close(store);

    store = open_or_fail(f->path, STORE_READ);
    struct arena arena = {0};
    struct run_row row;
    struct cell_row *cells;
    struct summary_row *sums;
    struct verdict_row *verdicts;
    size_t count;
    must(query_run(store, &arena, "last", &row, &err), &err);
    assert_int_equal(row.id, run);
    assert_string_equal(row.status, "done");
    assert_int_equal(row.ended_ns, 9);
    assert_int_equal(row.trials, 1);
    must(query_cells(store, &arena, run, &cells, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_string_equal(cells[0].status, "ok");
    assert_true(isnan(cells[0].predicted_memory_bytes));
    must(query_summaries(store, &arena, run, &sums, &count, &err), &err);
    assert_int_equal(count, 1); // energy was not measured: no figure, and no zero
    assert_string_equal(sums[0].name, "ttft");
    assert_true(sums[0].stat.median == 15);
    must(query_verdicts(store, &arena, run, &verdicts, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_true(isnan(verdicts[0].overhead_share));
    assert_true(isnan(verdicts[0].rho));
    assert_int_equal(number(store, "SELECT count(*) FROM token_time"), 10);
    assert_int_equal(number(store, "SELECT count(*) FROM metric WHERE value IS NULL"), 1);
    arena_fini(&arena);
    store_close(store);
}

static void test_same_rows_are_shared(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t a = 0, b = 0, c = 0;
    must(store_machine(store, "x", "{\"n\":1}", &a, &err), &err);
    must(store_machine(store, "x", "{\"n\":1}", &b, &err), &err);
    must(store_machine(store, "y", "{\"n\":2}", &c, &err), &err);
    assert_int_equal(a, b);
    assert_int_not_equal(a, c);
    assert_int_equal(store_build(store, "no json", &a, &err), ERR_INTERNAL);
    store_close(store);
}

static void test_resume(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell = 0, again = 0, run = add_run(store, &cell), unfinished = 0;
    bool done[4] = {false};
    must(add_trial(store, cell, 1, "ok", 1, &err), &err);
    must(add_trial(store, cell, 3, "crashed", 1, &err), &err);
    must(store_trials_done(store, cell, done, 4, &err), &err);
    assert_true(done[0] && !done[1] && done[2] && !done[3]);
    must(store_run_unfinished(store, "text", 1, &unfinished, &err), &err);
    assert_int_equal(unfinished, run);
    must(store_run_unfinished(store, "other text", 1, &unfinished, &err), &err);
    assert_int_equal(unfinished, 0);
    struct store_cell c = {.run = run, .key = "0123abcd", .params_json = "{}", .label = "other"};
    must(store_cell(store, &c, &again, &err), &err);
    assert_int_equal(again, cell);
    must(store_run_end(store, run, "done", 2, &err), &err);
    must(store_run_unfinished(store, "text", 1, &unfinished, &err), &err);
    assert_int_equal(unfinished, 0);
    store_close(store);
}

// A trial stored twice, a status that is no word of ours, a failure without a reason: refused, and
// nothing of them is left.
static void test_refused_trials_leave_nothing(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell = 0;
    add_run(store, &cell);
    must(add_trial(store, cell, 1, "ok", 3, &err), &err);
    int64_t before = number(store, "SELECT total FROM (SELECT (SELECT count(*) FROM trial) +"
                                   " (SELECT count(*) FROM sample) + (SELECT count(*) FROM metric)"
                                   " + (SELECT count(*) FROM token_time) AS total)");
    assert_int_equal(add_trial(store, cell, 1, "ok", 3, &err), ERR_INTERNAL);
    error_clear(&err);
    assert_int_equal(add_trial(store, cell, 2, "splendid", 3, &err), ERR_INTERNAL);
    error_clear(&err);
    assert_int_equal(add_trial(store, 999, 1, "ok", 3, &err), ERR_INTERNAL); // no such cell
    int64_t after = number(store, "SELECT total FROM (SELECT (SELECT count(*) FROM trial) +"
                                  " (SELECT count(*) FROM sample) + (SELECT count(*) FROM metric)"
                                  " + (SELECT count(*) FROM token_time) AS total)");
    assert_int_equal(before, after);
    error_clear(&err);
    must(add_trial(store, cell, 2, "ok", 3, &err), &err); // and the store still works
    store_close(store);
}

static void test_cell_status_is_derived(void **state)
{
    static const struct {
        const char *trials[5];
        const char *status;
        int disturbed;
    } cases[] = {
        {{NULL}, "pending", 0},
        {{"ok", "ok", NULL}, "ok", 0},
        {{"ok", "ok", "noisy", NULL}, "ok", 1},
        {{"ok", "noisy", NULL}, "noisy", 1},
        {{"throttled", "noisy", "ok", NULL}, "noisy", 2},
        {{"throttled", "throttled", "ok", NULL}, "throttled", 2},
        {{"ok", "ok", "ok", "oom", NULL}, "oom", 0},
        {{"timeout", "oom", NULL}, "oom", 0},
        {{"crashed", "wrong", "oom", NULL}, "wrong", 0},
        {{"ok", "crashed", "timeout", NULL}, "crashed", 0},
    };
    struct fixture *f = *state;
    struct error err = {0};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct store *store = open_or_fail(f->path, STORE_WRITE);
        struct arena arena = {0};
        struct cell_row *cells;
        size_t count;
        int64_t cell = 0, run = add_run(store, &cell);
        for (int t = 0; cases[i].trials[t]; t++)
            must(add_trial(store, cell, t + 1, cases[i].trials[t], 1, &err), &err);
        must(query_cells(store, &arena, run, &cells, &count, &err), &err);
        assert_string_equal(cells[0].status, cases[i].status);
        assert_int_equal(cells[0].disturbed, cases[i].disturbed);
        bool plain = str_equal(cells[0].status, "ok") || str_equal(cells[0].status, "pending");
        assert_string_equal(cells[0].reason, plain ? "" : "because");
        arena_fini(&arena);
        store_close(store);
        unlink(f->path);
    }
}

static void test_failed_trials_have_no_speed(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    struct arena arena = {0};
    struct summary_row *sums;
    size_t count;
    int64_t cell = 0, run = add_run(store, &cell);
    must(add_trial(store, cell, 1, "wrong", 1, &err), &err);
    must(query_summaries(store, &arena, run, &sums, &count, &err), &err);
    assert_int_equal(count, 0);
    arena_fini(&arena);
    store_close(store);
}

static void test_skipped_cells(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    struct arena arena = {0};
    struct cell_row *cells;
    size_t count;
    int64_t cell = 0, run = add_run(store, &cell);
    must(store_cell_skip(store, cell, "skipped", "a smaller one ran out of memory", &err), &err);
    must(query_cells(store, &arena, run, &cells, &count, &err), &err);
    assert_string_equal(cells[0].status, "skipped");
    assert_string_equal(cells[0].reason, "a smaller one ran out of memory");
    assert_true(cell_left_out(&cells[0]) && !cell_failed(&cells[0]) && !cell_measured(&cells[0]));
    assert_int_equal(store_cell_skip(store, cell, "lost", "?", &err), ERR_INTERNAL);
    arena_fini(&arena);
    store_close(store);
}

static void test_addressing(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    struct arena arena = {0};
    struct run_row run;
    struct cell_row row;
    int64_t cell = 0;
    assert_int_equal(query_run(store, &arena, "last", &run, &err), ERR_USAGE); // empty
    error_clear(&err);
    add_run(store, &cell);
    int64_t newest = add_run(store, &cell);
    must(query_run(store, &arena, NULL, &run, &err), &err);
    assert_int_equal(run.id, newest);
    must(query_run(store, &arena, "1", &run, &err), &err);
    assert_int_equal(run.id, 1);
    must(query_run(store, &arena, "s", &run, &err), &err);
    assert_int_equal(run.id, newest);
    assert_int_equal(query_run(store, &arena, "77", &run, &err), ERR_USAGE);
    error_clear(&err);
    must(query_cell(store, &arena, 0, "0123", &row, &err), &err);
    assert_int_equal(row.run, newest);
    must(query_cell(store, &arena, 1, "tiny f32 cpu b1 c64", &row, &err), &err);
    assert_int_equal(row.run, 1);
    assert_int_equal(query_cell(store, &arena, 0, "012", &row, &err), ERR_USAGE); // too short
    arena_fini(&arena);
    store_close(store);
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
        int64_t cell = 0, id, run = add_run(store, &cell);
        for (int t = 0; t < 4; t++) {
            struct store_verdict v = {.phase = "decode",
                                      .basis = "b",
                                      .bound = bounds[i][t],
                                      .text = "",
                                      .eta = 0.1 * (t + 1)};
            struct store_trial trial = {
                .cell = cell, .number = t + 1, .status = "ok", .verdicts = &v, .verdict_count = 1};
            must(store_trial(store, &trial, &id, &err), &err);
        }
        must(query_verdicts(store, &arena, run, &rows, &count, &err), &err);
        assert_int_equal(count, 1);
        assert_string_equal(rows[0].bound, i == 0 ? "memory" : "undetermined");
        assert_true(fabs(rows[0].eta - 0.25) < 1e-12);
        arena_fini(&arena);
        store_close(store);
        unlink(f->path);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_round_trip, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_same_rows_are_shared, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_resume, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_refused_trials_leave_nothing, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_cell_status_is_derived, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_failed_trials_have_no_speed, fixture_setup,
                                        fixture_teardown),
        cmocka_unit_test_setup_teardown(test_skipped_cells, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_addressing, fixture_setup, fixture_teardown),
        cmocka_unit_test_setup_teardown(test_verdicts_must_agree, fixture_setup, fixture_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
