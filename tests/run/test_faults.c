// test_faults.c - whatever a worker does, the runner turns it into a status with a reason and continues.
#include "bench/run/record.h"
#include "tests/pending.h"
#include "tests/run/fixture.h"

#define MODEL "tests/golden/models/llama-gqa3"

// Cell 1 of three meets `kind` in each of its trials; the others are none the worse.
static void one_fault(const char *kind, const char *status, int trials, const char *reason)
{
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 3, 2);
    if (trials == 1) // what is waited for
        t.cells[1].timeout_ns = 400000000;
    assert_int_equal(run_ok(&t, kind, "1"), EXIT_CELL_FAILED);
    look_open(&l, &t);
    assert_string_equal(l.run.status, "done");
    assert_cell(&l, 0, "ok", 2, "");
    assert_cell(&l, 1, status, trials, reason);
    assert_cell(&l, 2, "ok", 2, "");
    look_close(&l);
    test_plan_fini(&t);
}

// Rows of one name, level and thread count that differ in the size of what was read.
static int sets_stored(struct look *l)
{
    struct error err = {0};
    struct ceiling_row *rows = NULL;
    size_t count = 0;
    int sets = 0;
    assert_int_equal(query_ceilings(l->store, &l->arena, l->run.id, &rows, &count, &err), OK);
    for (size_t i = 0; i < count; i++)
        sets += str_equal(rows[i].name, "read_set");
    return sets;
}

static void good_workers_make_ok(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 3, 2);
    t.cells[2].skip = "does not fit";
    t.plan.run_count = t.group.count = 2;
    assert_int_equal(run_ok(&t, "good", "-1"), EXIT_FINE);
    look_open(&l, &t);
    assert_int_equal(l.run.trials, 4);
    assert_cell(&l, 0, "ok", 2, "");
    assert_cell(&l, 1, "ok", 2, "");
    assert_cell(&l, 2, "skipped", 0, "does not fit");
    assert_int_equal(sets_stored(&l), 2);
    assert_string_equal(l.run.ceilings_note, "cpu with 1 thread: 3 of 90 windows were disturbed");
    look_close(&l);
    test_plan_fini(&t);
}

// Cells are measured without ceilings too. The run has the reason why there are none; a GPU's names no threads.
static void ceilings_that_fail_are_noted(void **state)
{
    (void)state;
    static const char *const notes[][2] = {{"cpu", "cpu with 1 thread: the probe is lost"},
                                           {"cuda:0", "cuda:0: the probe is lost"}};
    for (size_t i = 0; i < 2; i++) {
        struct test_plan t;
        struct look l;
        test_plan_make(&t, MODEL, 1, 1);
        t.cells[0].device = notes[i][0];
        assert_int_equal(run_ok(&t, "no-ceilings", "-1"), EXIT_FINE);
        look_open(&l, &t);
        assert_cell(&l, 0, "ok", 1, "");
        assert_int_equal(sets_stored(&l), 0);
        assert_string_equal(l.run.ceilings_note, notes[i][1]);
        look_close(&l);
        test_plan_fini(&t);
    }
}

// The reason is in the store and in the error: a night whose every cell was left out does not look like success.
static void a_run_of_nothing_fails(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    struct error err = {0};
    test_plan_make(&t, MODEL, 2, 2);
    for (int i = 0; i < 2; i++) {
        t.cells[i].skip = "metal: it is not here";
        t.cells[i].unsupported = true;
    }
    t.plan.run_count = t.plan.group_count = 0;
    assert_int_equal(run_with(&t, "good", "-1", false, &err), EXIT_ERROR);
    assert_int_equal(err.code, ERR_UNSUPPORTED);
    assert_string_equal(err.message, "nothing of suite test can be measured: tiny f32 cpu b1: "
                                     "metal: it is not here; 1 more is left out");
    look_open(&l, &t);
    assert_string_equal(l.run.status, "done");
    assert_cell(&l, 0, "unsupported", 0, "metal: it is not here");
    assert_cell(&l, 1, "unsupported", 0, "metal: it is not here");
    look_close(&l);
    test_plan_fini(&t);
}

// A ceiling stays its device's through the wire and the store: a resumed run finds each under its name.
static void ceilings_keep_their_device(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    struct error err = {0};
    struct ceilings *c = calloc(1, sizeof *c);
    test_plan_make(&t, MODEL, 1, 1);
    assert_int_equal(run_ok(&t, "good", "-1"), EXIT_FINE);
    look_open(&l, &t);
    assert_int_equal(record_ceilings_of(l.store, l.run.id, c, &err), OK);
    assert_int_equal(c->count, 5);
    assert_float_equal(ceilings_find(c, "cpu", "read", "DRAM", 1)->value, 2e10, 0);
    assert_float_equal(ceilings_find(c, "cuda:0", "read", "DRAM", 1)->value, 3e12, 0);
    assert_null(ceilings_find(c, "cuda:0", "f32_fma", "", 1));
    struct ceiling_row *rows = NULL;
    size_t count = 0;
    assert_int_equal(query_ceilings(l.store, &l.arena, l.run.id, &rows, &count, &err), OK);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(rows[i].source,
                            str_equal(rows[i].device, "cpu") ? "host clock" : "device event");
    look_close(&l);
    test_plan_fini(&t);
    free(c);
}

static void one_cell_after_another_too(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    size_t count = 0;
    test_plan_make(&t, MODEL, 2, 2);
    t.plan.interleaved = false;
    assert_int_equal(run_ok(&t, "good", "-1"), EXIT_FINE);
    look_open(&l, &t);
    struct trial_row *first = look_trials(&l, 0, &count);
    assert_int_equal(count, 2);
    assert_true(first[1].id < look_trials(&l, 1, &count)[0].id);
    look_close(&l);
    test_plan_fini(&t);
}

static void crash_names_the_signal(void **state)
{
    (void)state;
    one_fault("segv", "crashed", 2, "SIGSEGV");
}

static void exit_brings_the_last_words(void **state)
{
    (void)state;
    one_fault("exit", "crashed", 2, "status 7; its last words: the reason why");
}

static void ending_without_a_word_is_a_crash(void **state)
{
    (void)state;
    one_fault("quiet-exit", "crashed", 2, "without a result");
}

static void kill_is_no_oom_without_evidence(void **state)
{
    (void)state;
    one_fault("kill", "crashed", 2, "SIGKILL");
}

static void hang_is_a_timeout_and_not_tried_again(void **state)
{
    (void)state;
    one_fault("hang", "timeout", 1, "no end within 400 ms");
}

// A worker that never falls silent does not escape its deadline.
static void chatter_is_a_timeout_too(void **state)
{
    (void)state;
    one_fault("chatter", "timeout", 1, "no end within 400 ms");
}

static void deaf_worker_is_killed(void **state)
{
    (void)state;
    one_fault("deaf", "timeout", 1, "no end within 400 ms");
}

static void rubbish_is_a_crash(void **state)
{
    (void)state;
    one_fault("rubbish", "crashed", 2, "violates the protocol");
    one_fault("half-line", "crashed", 2, "violates the protocol");
    one_fault("other-cell", "crashed", 2, "out of order");
    one_fault("bye", "crashed", 2, "2 cells to measure");
    one_fault("unknown-metric", "crashed", 2, "no metric 'beauty'");
    one_fault("endless", "crashed", 2, "endless line");
}

static void silence_is_a_timeout(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 1, 2);
    t.cells[0].timeout_ns = 300000000;
    assert_int_equal(run_ok(&t, "silent", "0"), EXIT_CELL_FAILED);
    look_open(&l, &t);
    assert_cell(&l, 0, "timeout", 1, "in its start");
    look_close(&l);
    test_plan_fini(&t);
}

// The first trial of a cell chooses the form of its decode steps, and later ones run in it.
static void the_first_trial_chooses_the_form(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    size_t count;
    test_plan_make(&t, MODEL, 2, 3);
    t.cells[0].step = DECODE_AUTO;
    assert_int_equal(run_ok(&t, "chooses", "0"), EXIT_FINE);
    look_open(&l, &t);
    assert_string_equal(l.cells[0].step, "persistent: the faster");
    assert_string_equal(l.cells[1].step, "");
    struct trial_row *trials = look_trials(&l, 0, &count);
    assert_int_equal(count, 3);
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(trials[i].step_form, "persistent");
        assert_string_equal(trials[i].step_reason,
                            i ? "as the cell's first trial chose" : "the faster");
    }
    look_close(&l);
    test_plan_fini(&t);
}

static void wrong_tokens_are_wrong(void **state)
{
    (void)state;
    one_fault("wrong", "wrong", 2, "repetition 2 generated other tokens");
    one_fault("wrong-trial", "wrong", 2, "than an earlier trial");
    one_fault("nan", "wrong", 2, "not finite");
}

static void spread_is_noisy(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 2, 2);
    assert_int_equal(run_ok(&t, "spread", "1"), EXIT_FINE);
    look_open(&l, &t);
    assert_cell(&l, 0, "ok", 2, "");
    assert_cell(&l, 1, "noisy", 2, "half of 3 repetitions are 50 % or more off the median TPOT");
    look_close(&l);
    test_plan_fini(&t);
}

// A disturbed cell gets trials until the calm ones are more, an undisturbed one none.
static void calm_trials_are_added(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 2, 1);
    t.cells[0].retries = t.cells[1].retries = 5;
    assert_int_equal(run_ok(&t, "calms", "1"), EXIT_FINE);
    look_open(&l, &t);
    assert_cell(&l, 0, "ok", 1, "");
    assert_cell(&l, 1, "ok", 3, "");
    look_close(&l);
    test_plan_fini(&t);
}

static void added_trials_have_an_end(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 2, 2);
    t.cells[1].retries = 2;
    t.plan.interleaved = false;
    assert_int_equal(run_ok(&t, "spread", "1"), EXIT_FINE);
    look_open(&l, &t);
    assert_cell(&l, 0, "ok", 2, "");
    assert_cell(&l, 1, "noisy", 4, "off the median TPOT");
    look_close(&l);
    test_plan_fini(&t);
}

// Cell 1 has batch 2: cell 0 is smaller and runs, 2 and 3 are larger and are pruned.
// One bad repetition does not move the median.
static void an_outlier_is_not_noise(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 2, 1);
    assert_int_equal(run_ok(&t, "outlier", "1"), EXIT_FINE);
    look_open(&l, &t);
    assert_cell(&l, 1, "ok", 1, "");
    look_close(&l);
    test_plan_fini(&t);
}

static void oom_prunes_what_is_larger(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 4, 2);
    assert_int_equal(run_ok(&t, "oom", "1"), EXIT_CELL_FAILED);
    look_open(&l, &t);
    assert_cell(&l, 0, "ok", 2, "");
    assert_cell(&l, 1, "oom", 1, "KV cache: 9 TiB");
    assert_cell(&l, 2, "skipped", 0, "pruned: tiny f32 cpu b2 ran out of memory");
    assert_cell(&l, 3, "skipped", 0, "pruned");
    look_close(&l);
    test_plan_fini(&t);

    test_plan_make(&t, MODEL, 3, 1);
    t.plan.prune_larger_on_oom = false;
    assert_int_equal(run_ok(&t, "oom", "1"), EXIT_CELL_FAILED);
    look_open(&l, &t);
    assert_cell(&l, 1, "oom", 1, "KV cache");
    assert_cell(&l, 2, "ok", 1, "");
    look_close(&l);
    test_plan_fini(&t);
}

static void oom_while_loading_prunes_all(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 3, 2);
    assert_int_equal(run_ok(&t, "load-oom", "0"), EXIT_CELL_FAILED);
    look_open(&l, &t);
    assert_cell(&l, 0, "oom", 1, "weights: 9 TiB");
    assert_cell(&l, 1, "skipped", 0, "while loading");
    assert_cell(&l, 2, "skipped", 0, "while loading");
    look_close(&l);
    test_plan_fini(&t);
}

static void worker_that_cannot_start_fails_the_run(void **state)
{
    (void)state;
    struct test_plan t;
    struct error err = {0};
    struct look l;
    const char *nothing[] = {"/nonexistent/bench", NULL};
    test_plan_make(&t, MODEL, 1, 1);
    struct runner_options options = {.database = t.database,
                                     .command = "bench run test.conf",
                                     .output = RUNNER_QUIET,
                                     .worker_command = nothing};
    assert_int_equal(runner_run(&t.plan, &options, &err), EXIT_ERROR);
    assert_int_equal(err.code, ERR_IO);
    assert_non_null(strstr(err.message, "/nonexistent/bench"));
    look_open(&l, &t);
    assert_string_equal(l.run.status, "failed");
    look_close(&l);
    test_plan_fini(&t);
}

// Each cell waits for the disk: a signal ends a plan of thousands before the next one is stored.
static void a_signal_stops_the_storing_of_cells(void **state)
{
    (void)state;
    struct test_plan t;
    struct error err = {0};
    struct record record;
    struct interrupt in;
    struct ceilings *none = calloc(1, sizeof *none);
    test_plan_make(&t, MODEL, 2, 1);
    const struct runner_options options = {.database = t.database, .command = "bench run"};
    if (record_open(&t.plan, &options, &record, &err) != OK)
        fail_msg("%s", err.message);
    pending_begin(&in, SIGINT);
    assert_int_equal(record_cells(&record, &t.plan, none, &err), ERR_INTERRUPTED);
    interrupt_end(&in);
    assert_int_equal(record.cells[0], 0);
    record_close(&record);
    test_plan_fini(&t);
    free(none);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return worker_of_test(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_workers_make_ok),
        cmocka_unit_test(ceilings_that_fail_are_noted),
        cmocka_unit_test(a_run_of_nothing_fails),
        cmocka_unit_test(ceilings_keep_their_device),
        cmocka_unit_test(one_cell_after_another_too),
        cmocka_unit_test(crash_names_the_signal),
        cmocka_unit_test(exit_brings_the_last_words),
        cmocka_unit_test(ending_without_a_word_is_a_crash),
        cmocka_unit_test(kill_is_no_oom_without_evidence),
        cmocka_unit_test(hang_is_a_timeout_and_not_tried_again),
        cmocka_unit_test(chatter_is_a_timeout_too),
        cmocka_unit_test(deaf_worker_is_killed),
        cmocka_unit_test(rubbish_is_a_crash),
        cmocka_unit_test(silence_is_a_timeout),
        cmocka_unit_test(the_first_trial_chooses_the_form),
        cmocka_unit_test(wrong_tokens_are_wrong),
        cmocka_unit_test(spread_is_noisy),
        cmocka_unit_test(calm_trials_are_added),
        cmocka_unit_test(added_trials_have_an_end),
        cmocka_unit_test(an_outlier_is_not_noise),
        cmocka_unit_test(oom_prunes_what_is_larger),
        cmocka_unit_test(oom_while_loading_prunes_all),
        cmocka_unit_test(worker_that_cannot_start_fails_the_run),
        cmocka_unit_test(a_signal_stops_the_storing_of_cells),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
