// test_measure.c - the true worker on a tiny model: what it measures is whole, consistent and repeatable.
#include "tests/run/fixture.h"

#define MODEL "tests/golden/models/llama-gqa3"

static double value_of(struct look *l, size_t cell, const char *name, const char *phase,
                       const char *op, int repetition)
{
    struct error err = {0};
    struct value_row *rows = NULL;
    size_t trials = 0, count = 0;
    struct trial_row *trial = look_trials(l, cell, &trials);
    assert_true(trials > 0);
    if (query_values(l->store, &l->arena, trial[0].id, &rows, &count, &err) != OK)
        fail_msg("%s", err.message);
    for (size_t i = 0; i < count; i++)
        if (str_equal(rows[i].name, name) && (!phase || str_equal(rows[i].phase, phase)) &&
            str_equal(rows[i].op, op) && rows[i].repetition == repetition)
            return rows[i].value;
    fail_msg("cell %zu has no %s of repetition %d", cell, name, repetition);
    return NAN;
}

static void assert_measured(struct look *l, size_t cell, int trials)
{
    if (!cell_measured(&l->cells[cell]))
        fail_msg("cell %zu is %s: %s", cell, l->cells[cell].status, l->cells[cell].reason);
    assert_int_equal(l->cells[cell].trials, trials);
}

static void figures_are_whole_and_agree(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 2, 2);
    t.cells[1].collect |= COLLECT_COUNTERS;
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_FINE);
    look_open(&l, &t);
    for (size_t cell = 0; cell < 2; cell++) {
        const struct cell *c = &t.cells[cell];
        assert_measured(&l, cell, 2);
        for (int r = 1; r <= 3; r++) {
            double ttft = value_of(&l, cell, METRIC_TTFT, "prefill", NULL, r);
            double prefill = value_of(&l, cell, METRIC_PREFILL_TIME, "prefill", NULL, r);
            double tps = value_of(&l, cell, METRIC_PREFILL_TPS, "prefill", NULL, r);
            double tpot = value_of(&l, cell, METRIC_TPOT, "decode", NULL, r);
            double e2e = value_of(&l, cell, METRIC_E2E, NULL, NULL, r);
            double wait = value_of(&l, cell, METRIC_WAIT, "decode", NULL, r);
            assert_true(prefill > 0 && prefill <= ttft && ttft < e2e);
            assert_true(fabs(tps * prefill / 1e9 / (c->batch * (c->context - c->gen)) - 1) < 1e-6);
            // sequences are sampled one after another: the last ends a little after the mean one
            assert_true(ttft + tpot * (c->gen - 1) <= e2e * (1 + 1e-9));
            assert_true(wait >= 0 && wait < tpot);
            assert_true(value_of(&l, cell, METRIC_MBU, "decode", NULL, r) > 0);
            assert_true(value_of(&l, cell, NOISE_BANDWIDTH_MIN, NULL, NULL, r) > 0);
            assert_true(value_of(&l, cell, NOISE_COMPUTE_CANARY, NULL, NULL, r) > 0);
        }
        assert_true(value_of(&l, cell, METRIC_MEM_WEIGHTS, NULL, NULL, 0) > 0);
        assert_true(value_of(&l, cell, METRIC_PEAK_MEM, NULL, NULL, 0) >
                    value_of(&l, cell, METRIC_MEM_KV, NULL, NULL, 0));
        assert_true(value_of(&l, cell, METRIC_OP_TIME, "decode", "head", 0) > 0);
        assert_true(value_of(&l, cell, METRIC_OP_TIME, "prefill", "attention", 0) > 0);
        assert_true(value_of(&l, cell, METRIC_FLOP, "decode", "gate-up", 0) > 0);
    }
    look_close(&l);
    test_plan_fini(&t);
}

// Two runs of a cell, and batches that hold the same first sequence, generate the same tokens: the hash is
// of what was computed, not of when.
static void tokens_repeat_over_runs(void **state)
{
    (void)state;
    struct error err = {0};
    struct arena arena = {0};
    const char *hash[2] = {NULL, NULL};
    for (int i = 0; i < 2; i++) {
        struct test_plan t;
        struct look l;
        test_plan_make(&t, MODEL, 1, 1);
        if (i == 1)
            t.cells[0].warmup = WARMUP_NONE;
        assert_int_equal(run_ok(&t, "real", "-1"), EXIT_FINE);
        look_open(&l, &t);
        assert_measured(&l, 0, 1);
        assert_int_equal(query_token_hash(l.store, &arena, l.cells[0].id, &hash[i], &err), OK);
        assert_int_equal(strlen(hash[i]), 64);
        look_close(&l);
        test_plan_fini(&t);
    }
    assert_string_equal(hash[0], hash[1]);
    arena_fini(&arena);
}

// Sampling with a temperature is as repeatable: every repetition begins the same stream.
static void sampled_tokens_repeat(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 1, 2);
    t.cells[0].sampling = (struct sampling){.temperature = 1, .top_p = 0.9f, .seed = 7};
    t.cells[0].warmup = WARMUP_SHORT;
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_FINE);
    look_open(&l, &t);
    assert_measured(&l, 0, 2);
    look_close(&l);
    test_plan_fini(&t);
}

// One token has no gap: the figures of decode are absent, not zero.
static void one_token_has_no_decode(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    struct error err = {0};
    struct summary_row *rows = NULL;
    size_t count = 0;
    test_plan_make(&t, MODEL, 1, 1);
    t.cells[0].gen = 1;
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_FINE);
    look_open(&l, &t);
    assert_measured(&l, 0, 1);
    assert_int_equal(query_summaries(l.store, &l.arena, l.run.id, &rows, &count, &err), OK);
    int64_t id = l.cells[0].id;
    assert_non_null(summary_find(rows, count, id, METRIC_TTFT, "prefill"));
    assert_null(summary_find(rows, count, id, METRIC_TPOT, NULL));
    assert_null(summary_find(rows, count, id, METRIC_DECODE_TPS, NULL));
    look_close(&l);
    test_plan_fini(&t);
}

// An allocation beyond the worker's limit fails in it: oom, with the engine's words, and no signal.
static void memory_limit_makes_oom(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    struct error err = {0};
    if (os_limit_memory(INT64_C(1) << 40, &err) != OK) {
        print_message("skipped: %s\n", err.message); // a sanitizer has reserved more than any limit
        skip();
    }
    test_plan_make(&t, MODEL, 2, 1);
    t.plan.memory_bytes = 512 << 20;
    t.cells[1].context = 2000000; // some GiB of KV
    t.cells[1].timeout_ns = 60000000000u;
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_CELL_FAILED);
    look_open(&l, &t);
    assert_measured(&l, 0, 1);
    assert_cell(&l, 1, "oom", 1, "");
    assert_null(strstr(l.cells[1].reason, "SIG"));
    look_close(&l);
    test_plan_fini(&t);
}

static void missing_model_is_told(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 1, 1);
    t.model.path = "tests/golden/models/nothing-here";
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_CELL_FAILED);
    look_open(&l, &t);
    assert_cell(&l, 0, "crashed", 1, "nothing-here");
    look_close(&l);
    test_plan_fini(&t);
}

static void text_prompts_are_read(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, "models/reference", 1, 1);
    t.cells[0].prompt = "text:models/reference/eval.txt";
    t.cells[0].reps = 1;
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_FINE);
    look_open(&l, &t);
    assert_measured(&l, 0, 1);
    assert_true(value_of(&l, 0, METRIC_TOKENIZE, NULL, NULL, 0) > 0);
    look_close(&l);
    test_plan_fini(&t);

    test_plan_make(&t, MODEL, 1, 1); // has no tokenizer
    t.cells[0].prompt = "text:models/reference/eval.txt";
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_CELL_FAILED);
    look_open(&l, &t);
    assert_cell(&l, 0, "crashed", 1, "tokenizer.json");
    look_close(&l);
    test_plan_fini(&t);
}

// Repetitions are added until they took min_time together, and no more.
static void min_time_adds_repetitions(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    struct error err = {0};
    test_plan_make(&t, MODEL, 1, 1);
    t.cells[0].reps = 1;
    t.cells[0].min_time_ns = 30000000;
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_FINE);
    look_open(&l, &t);
    struct value_row *rows = NULL;
    size_t trials = 0, count = 0;
    struct trial_row *trial = look_trials(&l, 0, &trials);
    assert_int_equal(trials, 1);
    assert_int_equal(query_values(l.store, &l.arena, trial[0].id, &rows, &count, &err), OK);
    double sum_ns = 0, last_ns = 0;
    int repetitions = 0;
    for (size_t i = 0; i < count; i++) {
        if (!str_equal(rows[i].name, METRIC_E2E))
            continue;
        sum_ns += last_ns = rows[i].value;
        repetitions++;
    }
    assert_in_range(repetitions, 1, 100);
    if (repetitions < 100)
        assert_true(sum_ns >= 30000000);
    if (repetitions > 1)
        assert_true(sum_ns - last_ns < 30000000);
    look_close(&l);
    test_plan_fini(&t);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return worker_of_test(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_whole_and_agree), cmocka_unit_test(tokens_repeat_over_runs),
        cmocka_unit_test(sampled_tokens_repeat),       cmocka_unit_test(one_token_has_no_decode),
        cmocka_unit_test(memory_limit_makes_oom),      cmocka_unit_test(missing_model_is_told),
        cmocka_unit_test(text_prompts_are_read),       cmocka_unit_test(min_time_adds_repetitions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
