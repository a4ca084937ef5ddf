// test_store.c - what is written comes back; what must not be written is not.
#include "base/owner.h"
#include "tests/results/fixture.h"

#include "results/db.h"
#include "results/metric.h"
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
    int64_t cell = 0, again = 0, run = add_run(store, &cell);
    bool done[4] = {false};
    must(add_trial(store, cell, 1, "ok", 1, &err), &err);
    must(add_trial(store, cell, 3, "crashed", 1, &err), &err);
    must(store_trials_done(store, cell, done, 4, &err), &err);
    assert_true(done[0] && !done[1] && done[2] && !done[3]);
    struct store_cell c = {.run = run, .key = "0123abcd", .params_json = "{}", .label = "other"};
    must(store_cell(store, &c, &again, &err), &err);
    assert_int_equal(again, cell);
    must(store_run_end(store, run, "interrupted", 2, &err), &err);
    must(store_run_resume(store, run, NULL, "{\"pid\":7}", &err), &err);
    struct arena arena = {0};
    struct run_row row;
    must(query_run(store, &arena, NULL, &row, &err), &err);
    assert_string_equal(row.status, "interrupted"); // such an owner does not run
    assert_string_equal(row.owner, "{\"pid\":7}");
    assert_int_equal(row.ended_ns, 0);
    char *self = owner_self();
    must(store_run_resume(store, run, row.owner, self, &err), &err);
    must(query_run(store, &arena, NULL, &row, &err), &err);
    assert_string_equal(row.status, "running");
    assert_string_equal(row.owner, self);
    // the slower of two that resume it
    assert_int_equal(store_run_resume(store, run, "{\"pid\":7}", "{\"pid\":8}", &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "taken up by another process"));
    free(self);
    arena_fini(&arena);
    store_close(store);
}

// A trial stored twice, an unknown status, a failure without a reason: refused, and
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
        {{"failed", "ok", "crashed", NULL}, "crashed", 0},
        {{"oom", "failed", "ok", NULL}, "failed", 0},
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
    assert_true(query_cell_left_out(&cells[0]) && !query_cell_failed(&cells[0]) &&
                !query_cell_measured(&cells[0]));
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
    must(query_cell(store, &arena, 0, "0123ab", &row, &err), &err);
    assert_int_equal(row.run, newest);
    must(query_cell(store, &arena, 1, "tiny f32 cpu b1 c64", &row, &err), &err);
    assert_int_equal(row.run, 1);
    assert_int_equal(query_cell(store, &arena, 0, "0123a", &row, &err), ERR_USAGE); // too short
    arena_fini(&arena);
    store_close(store);
}

// A figure that both phases have is that of the phase asked for.
static void test_figures_are_of_their_phase(void **state)
{
    (void)state;
    const struct summary_row rows[] = {
        {.cell = 1, .name = "wait", .phase = "prefill", .stat = {.median = 1}},
        {.cell = 2, .name = "wait", .phase = "decode", .op = "qkv", .stat = {.median = 2}},
        {.cell = 2, .name = "wait", .phase = "decode", .stat = {.median = 3}},
        {.cell = 2, .name = "wait", .phase = "prefill", .stat = {.median = 4}},
    };
    assert_ptr_equal(query_summary_find(rows, 4, 2, "wait", "decode"), &rows[2]);
    assert_ptr_equal(query_summary_find(rows, 4, 2, "wait", "prefill"), &rows[3]);
    assert_ptr_equal(query_summary_find(rows, 4, 2, "wait", NULL), &rows[2]);
    assert_ptr_equal(query_summary_find(rows, 4, 1, "wait", "prefill"), &rows[0]);
    assert_null(query_summary_find(rows, 4, 1, "wait", "decode"));
    assert_null(query_summary_find(rows, 4, 3, "wait", NULL));
}

// ---- quality ------------------------------------------------------------------------------------

static int64_t add_quality(struct store *store, int64_t run, const char *key, const char *status,
                           const char *reason, double perplexity)
{
    struct error err = {0};
    int64_t id = 0;
    const struct store_metric metrics[] = {
        {"perplexity", "ppl", "half-512", NULL, NULL, perplexity},
        {"kl_mean", "nat", "half-512", NULL, NULL, NAN},
    };
    bool ok = str_equal(status, "ok");
    struct store_quality row = {.run = run,
                                .key = key,
                                .params_json = "{\"windows\":4}",
                                .status = status,
                                .reason = reason,
                                .arithmetic = ok ? "f32 x f32 -> f32" : NULL,
                                .started_ns = 1,
                                .ended_ns = 2,
                                .metrics = metrics,
                                .metric_count = ok ? 2 : 0};
    must(store_quality(store, &row, &id, &err), &err);
    assert_true(id > 0);
    return id;
}

static void test_quality_is_a_figure_of_its_cells(void **state)
{
    struct fixture *f = *state;
    struct arena arena = {0};
    struct error err = {0};
    struct quality_row *rows = NULL;
    struct summary_row *figures = NULL;
    size_t count = 0, figure_count = 0;
    int64_t cell = 0;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t run = add_run(store, &cell);
    must(add_trial(store, cell, 1, "ok", 2, &err), &err);
    must(query_quality(store, &arena, run, &rows, &count, &err), &err);
    assert_int_equal(count, 0); // none was asked for
    int64_t id = add_quality(store, run, "k", "ok", "f32 does not fit", 17.02);
    must(store_cell_quality(store, cell, id, &err), &err);
    must(query_quality(store, &arena, run, &rows, &count, &err), &err);
    assert_int_equal(count, 1);
    assert_ptr_equal(query_quality_find(rows, count, cell), rows);
    assert_null(query_quality_find(rows, count, cell + 1));
    assert_int_equal(rows[0].id, id);
    assert_string_equal(rows[0].status, "ok");
    assert_string_equal(rows[0].reason, "f32 does not fit");
    assert_string_equal(rows[0].params, "{\"windows\":4}");
    must(query_summaries(store, &arena, run, &figures, &figure_count, &err), &err);
    const struct summary_row *row =
        query_summary_find(figures, figure_count, cell, "perplexity", NULL);
    assert_non_null(row);
    assert_true(row->stat.median == 17.02 && row->stat.n == 1);
    assert_string_equal(row->unit, "ppl");
    assert_string_equal(row->source, "half-512");
    assert_null(query_summary_find(figures, figure_count, cell, "kl_mean", NULL)); // NULL, not zero
    assert_non_null(query_summary_find(figures, figure_count, cell, "ttft", NULL));
    arena_fini(&arena);
    store_close(store);
}

// Taken over: what is whole or unsupported, by the same build on the same machine; the newest.
static void test_quality_is_measured_once(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    int64_t cell = 0, other_build = 0, found = 0, other_run = 0;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t run = add_run(store, &cell);
    add_quality(store, run, "partial", "ok", "f32 does not fit", 17);
    add_quality(store, run, "failed", "oom", "too much", 17);
    add_quality(store, run, "skipped", "skipped", "too long", 17);
    add_quality(store, run, "whole", "ok", "", 17);
    int64_t whole = add_quality(store, run, "whole", "ok", "", 18);
    int64_t none = add_quality(store, run, "shape", "unsupported", "no quality", 17);
    static const char *const again[] = {"partial", "failed", "skipped", "never"};
    for (int i = 0; i < 4; i++) {
        found = 77;
        must(store_quality_find(store, run, 1, again[i], &found, &err), &err);
        assert_int_equal(found, 0);
    }
    must(store_quality_find(store, run, 1, "whole", &found, &err), &err);
    assert_int_equal(found, whole);
    must(store_quality_find(store, run, 1, "shape", &found, &err), &err);
    assert_int_equal(found, none);

    struct store_run row = {
        .suite_name = "s", .suite_text = "text", .command = "c", .started_ns = 3};
    must(store_machine(store, "print", "{}", &row.machine, &err), &err);
    must(store_environment(store, "{}", &row.environment, &err), &err);
    must(store_build(store, "{\"commit\":\"later\"}", &other_build, &err), &err);
    row.build = other_build;
    must(store_run_begin(store, &row, &other_run, &err), &err);
    must(store_quality_find(store, other_run, other_build, "whole", &found, &err), &err);
    assert_int_equal(found, 0);
    store_close(store);
}

static void test_refused_quality_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    int64_t cell = 0, id = 0;
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t run = add_run(store, &cell);
    const struct store_metric twice[] = {{"a", "1", "s", NULL, NULL, 1},
                                         {"a", "1", "s", NULL, NULL, 2}};
    struct store_quality row = {.run = run,
                                .key = "k",
                                .params_json = "{}",
                                .status = "ok",
                                .metrics = twice,
                                .metric_count = 2};
    assert_int_not_equal(store_quality(store, &row, &id, &err), OK);
    error_clear(&err);
    must(store_quality_find(store, run, 1, "k", &id, &err), &err);
    assert_int_equal(id, 0);
    row.status = "oom"; // without words
    row.metric_count = 0;
    assert_int_not_equal(store_quality(store, &row, &id, &err), OK);
    store_close(store);
}

// ---- who measured -------------------------------------------------------------------------------

static void test_a_trial_knows_its_build(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct arena arena = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell = 0, build = 0, id = 0;
    struct trial_row *trials;
    struct cell_row *cells;
    size_t count;
    int64_t run = add_run(store, &cell);
    must(store_build(store, "{\"commit\":\"later\"}", &build, &err), &err);
    struct store_trial trial = {.cell = cell,
                                .number = 1,
                                .status = "ok",
                                .arithmetic = "bf16 x bf16 -> f32",
                                .stored = "q8_0",
                                .engine_version = "ridge-9",
                                .step_form = "graph",
                                .step_reason = "as asked",
                                .products = "cuBLASLt 13.1.0: one pick",
                                .build = build};
    const char *form = NULL;
    must(query_step_form(store, &arena, cell, &form, &err), &err);
    assert_string_equal(form, ""); // no trial yet
    must(store_trial(store, &trial, &id, &err), &err);
    must(query_step_form(store, &arena, cell, &form, &err), &err);
    assert_string_equal(form, "graph");
    must(query_trials(store, &arena, cell, &trials, &count, &err), &err);
    assert_int_equal(trials[0].build_id, build);
    assert_string_equal(trials[0].build, "{\"commit\":\"later\"}");
    assert_string_equal(trials[0].stored, "q8_0");
    assert_string_equal(trials[0].engine_version, "ridge-9");
    assert_string_equal(trials[0].step_form, "graph");
    assert_string_equal(trials[0].step_reason, "as asked");
    assert_string_equal(trials[0].products, "cuBLASLt 13.1.0: one pick");
    must(query_cells(store, &arena, run, &cells, &count, &err), &err);
    assert_string_equal(cells[0].stored, "q8_0");
    assert_string_equal(cells[0].caveat, "stored q8_0, measured as f32"); // the cell's scheme
    assert_string_equal(cells[0].step, "graph: as asked");
    assert_string_equal(cells[0].products, "cuBLASLt 13.1.0: one pick");
    arena_fini(&arena);
    store_close(store);
}

// A trial that failed chose nothing. The form, its reason and the form that later trials take over are of one trial.
static void test_a_failed_trial_chooses_no_step(void **state)
{
    static const char *const statuses[] = {"wrong", "noisy", "ok"};
    static const char *const forms[] = {"graph", "persistent", "graph"};
    struct fixture *f = *state;
    struct error err = {0};
    struct arena arena = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell = 0, id = 0, run = add_run(store, &cell);
    struct cell_row *cells;
    size_t count;
    for (int i = 0; i < 3; i++) {
        const char *form = NULL;
        struct store_trial trial = {.cell = cell,
                                    .number = i + 1,
                                    .status = statuses[i],
                                    .reason = i < 2 ? "why" : "",
                                    .step_form = forms[i],
                                    .step_reason = i == 1 ? "the faster" : "something else"};
        must(store_trial(store, &trial, &id, &err), &err);
        must(query_step_form(store, &arena, cell, &form, &err), &err);
        assert_string_equal(form, i ? "persistent" : "");
        must(query_cells(store, &arena, run, &cells, &count, &err), &err);
        assert_string_equal(cells[0].step_form, i ? "persistent" : "");
        assert_string_equal(cells[0].step, i ? "persistent: the faster" : "");
    }
    arena_fini(&arena);
    store_close(store);
}

// A form of decode steps that was asked for and that the device did not serve is named with the figures.
static void test_a_step_that_did_not_run_is_a_caveat(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct arena arena = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t first = 0, cell[2], id = 0, run = add_run(store, &first);
    struct cell_row *cells;
    size_t count;
    for (int i = 0; i < 2; i++) {
        struct store_cell c = {.run = run,
                               .key = i ? "89abcdef" : "4567abcd",
                               .params_json = "{\"step\":\"persistent\"}",
                               .label = i ? "b8" : "b1"};
        must(store_cell(store, &c, &cell[i], &err), &err);
        struct store_trial trial = {.cell = cell[i],
                                    .number = 1,
                                    .status = "ok",
                                    .arithmetic = "bf16 x bf16 -> f32",
                                    .step_form = i ? "graph" : "persistent",
                                    .step_reason = i ? "more than 4 sequences" : "as asked"};
        must(store_trial(store, &trial, &id, &err), &err);
    }
    must(query_cells(store, &arena, run, &cells, &count, &err), &err);
    assert_int_equal(count, 3);
    assert_string_equal(cells[0].caveat, ""); // nothing was asked for
    assert_string_equal(cells[1].caveat, "");
    assert_string_equal(cells[2].caveat, "requested the persistent decode step, ran as graph");
    assert_string_equal(cells[2].weights_caveat, "");
    arena_fini(&arena);
    store_close(store);
}

// Codes that run as they are stored are the scheme itself: nothing to add.
static void test_codes_as_stored_need_no_caveat(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct arena arena = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell = 0, id = 0, run = add_run(store, &cell);
    struct cell_row *cells;
    size_t count;
    struct store_trial trial = {.cell = cell,
                                .number = 1,
                                .status = "ok",
                                .arithmetic = "int4 x int8 -> f32; codes as stored",
                                .stored = "q4_0"};
    must(store_trial(store, &trial, &id, &err), &err);
    must(query_cells(store, &arena, run, &cells, &count, &err), &err);
    assert_string_equal(cells[0].stored, "q4_0");
    assert_string_equal(cells[0].caveat, "");
    arena_fini(&arena);
    store_close(store);
}

static void test_ceilings_belong_to_a_device(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct arena arena = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell = 0, gpu = 0, again = 0, run = add_run(store, &cell);
    struct ceiling_row *rows;
    size_t count;
    must(store_device(store, "GPU-1", "cuda:0", "{\"name\":\"H100\"}", &gpu, &err), &err);
    must(store_device(store, "GPU-1", "cuda:0", "{\"name\":\"H100\"}", &again, &err), &err);
    assert_int_equal(gpu, again);
    must(store_device(store, "GPU-1", "cuda:1", "{\"name\":\"H100\"}", &again, &err), &err);
    assert_int_not_equal(gpu, again); // the same one in another slot
    const struct store_ceiling ceilings[] = {
        {"read", "DRAM", "k", "B/s", "s", 1, 3, 2e12, 1.9e12, 2.1e12, 1e9, gpu, 1.9e9, 1.98e9,
         3.2e9},
        {"f32_fma", "", "k", "FLOP/s", "s", 1, 3, 5e13, 5e13, 5e13, 0, 0, 0, 0, 0},
    };
    must(store_ceilings(store, run, ceilings, 2, &err), &err);
    must(query_ceilings(store, &arena, run, &rows, &count, &err), &err);
    assert_int_equal(count, 2);
    assert_string_equal(rows[0].device, "cuda:0");
    assert_string_equal(rows[0].device_content, "{\"name\":\"H100\"}");
    assert_true(rows[0].set_bytes == 1e9);
    assert_string_equal(rows[1].device, "cpu");
    assert_true(isnan(rows[1].set_bytes));
    assert_true(rows[0].clock_low_hz == 1.9e9 && rows[0].clock_high_hz == 1.98e9);
    assert_true(rows[0].memory_clock_hz == 3.2e9);
    assert_true(isnan(rows[1].clock_low_hz) && isnan(rows[1].memory_clock_hz));
    arena_fini(&arena);
    store_close(store);
}

static void test_engine_of_a_cell(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct arena arena = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell = 0, run = add_run(store, &cell);
    struct store_cell other = {.run = run,
                               .key = "ffff0000",
                               .params_json = "{}",
                               .label = "other",
                               .engine = "llama.cpp"};
    struct cell_row *cells;
    size_t count;
    must(store_cell(store, &other, &cell, &err), &err);
    must(query_cells(store, &arena, run, &cells, &count, &err), &err);
    assert_string_equal(cells[0].engine, "builtin");
    assert_string_equal(cells[1].engine, "llama.cpp");
    arena_fini(&arena);
    store_close(store);
}

// ---- rates --------------------------------------------------------------------------------------

// One trial whose repetitions have these decode times a token, at batch 1.
static void add_times(struct store *store, int64_t cell, int number, const double *tpot_ns, int n)
{
    struct store_metric rows[8][2];
    struct store_sample samples[8];
    struct error err = {0};
    int64_t id = 0;
    for (int i = 0; i < n; i++) {
        rows[i][0] = (struct store_metric){"tpot", "ns", "host clock", "decode", NULL, tpot_ns[i]};
        rows[i][1] = (struct store_metric){"decode_tps", "token/s", "host clock",
                                           "decode",     NULL,      1e9 / tpot_ns[i]};
        samples[i] =
            (struct store_sample){.repetition = i + 1, .metrics = rows[i], .metric_count = 2};
    }
    struct store_trial trial = {.cell = cell,
                                .number = number,
                                .status = "ok",
                                .samples = samples,
                                .sample_count = (size_t)n};
    must(store_trial(store, &trial, &id, &err), &err);
}

// Two repetitions of 1 and 4 ms in one trial, of 2 and 2 in the other: 2.5 and 2 ms, 2.25 ms in all. The
// medians of the rates would be 625 and 500, 562 tok/s, next to a TPOT that says 444.
static void test_rates_are_of_the_median_time(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct arena arena = {0};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t cell = 0, run = add_run(store, &cell);
    struct summary_row *rows;
    size_t count;
    add_times(store, cell, 1, (const double[]){1e6, 4e6}, 2);
    add_times(store, cell, 2, (const double[]){2e6, 2e6}, 2);
    must(query_summaries(store, &arena, run, &rows, &count, &err), &err);
    const struct stat_summary *time =
        &query_summary_find(rows, count, cell, "tpot", "decode")->stat;
    const struct stat_summary *rate =
        &query_summary_find(rows, count, cell, "decode_tps", "decode")->stat;
    assert_float_equal(time->median, 2.25e6, 1e-6);
    assert_float_equal(rate->median, 1e9 / 2.25e6, 1e-9);
    assert_float_equal(time->median_interval.low, 2e6, 1e-6);
    assert_float_equal(time->median_interval.high, 2.5e6, 1e-6);
    assert_float_equal(rate->median_interval.low, 400, 1e-9);
    assert_float_equal(rate->median_interval.high, 500, 1e-9);
    assert_true(rate->median_interval.level == time->median_interval.level);
    assert_float_equal(rate->min, 400, 1e-9);
    assert_float_equal(rate->max, 500, 1e-9);
    // scatter round that median: 44.4 and 55.6 tok/s away from it
    assert_float_equal(rate->mad, 50, 1e-9);
    arena_fini(&arena);
    store_close(store);
}

static void test_median_of_one_metric(void **state)
{
    (void)state;
    struct error err = {0};
    const double rates[] = {1000, 250};
    assert_float_equal(metric_median(rates, 2, "token/s", &err), 400, 1e-9);
    assert_float_equal(metric_median(rates, 2, "ns", &err), 625, 1e-9);
    assert_float_equal(metric_median(rates, 1, "token/s", &err), 1000, 1e-9);
    const double with_zero[] = {0, 250}; // no time belongs to it: as any other number
    assert_float_equal(metric_median(with_zero, 2, "token/s", &err), 125, 1e-9);
    assert_true(isnan(metric_median(rates, 0, "token/s", &err)));
    assert_int_equal(err.code, ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_a_trial_knows_its_build),
        fixture_test(test_a_step_that_did_not_run_is_a_caveat),
        fixture_test(test_a_failed_trial_chooses_no_step),
        fixture_test(test_codes_as_stored_need_no_caveat),
        fixture_test(test_ceilings_belong_to_a_device),
        fixture_test(test_engine_of_a_cell),
        fixture_test(test_rates_are_of_the_median_time),
        cmocka_unit_test(test_median_of_one_metric),
        fixture_test(test_quality_is_a_figure_of_its_cells),
        fixture_test(test_quality_is_measured_once),
        fixture_test(test_refused_quality_leaves_nothing),
        fixture_test(test_round_trip),
        fixture_test(test_same_rows_are_shared),
        fixture_test(test_resume),
        fixture_test(test_refused_trials_leave_nothing),
        fixture_test(test_cell_status_is_derived),
        fixture_test(test_failed_trials_have_no_speed),
        fixture_test(test_skipped_cells),
        fixture_test(test_addressing),
        cmocka_unit_test(test_figures_are_of_their_phase),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
