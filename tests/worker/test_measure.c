// test_measure.c - the true worker on a tiny model: its figures are those of its token times, and repeatable.
#include "tests/run/fixture.h"

#include <sqlite3.h>

#include "tests/sanitized.h"

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
    if (!query_cell_measured(&l->cells[cell]))
        fail_msg("cell %zu is %s: %s", cell, l->cells[cell].status, l->cells[cell].reason);
    assert_int_equal(l->cells[cell].trials, trials);
}

// The token times of one repetition, as stored: (sequences, tokens).
struct times {
    int sequences, tokens;
    double at_ns[8][64];
};

static void read_times(const struct test_plan *t, int64_t trial, int repetition, struct times *out)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *rows = NULL;
    memset(out, 0, sizeof *out);
    assert_int_equal(sqlite3_open_v2(t->database, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db,
                           "SELECT sequence, token, time_ns FROM token_time JOIN sample"
                           " ON sample.id = sample_id WHERE trial_id = ? AND repetition = ?",
                           -1, &rows, NULL),
        SQLITE_OK);
    sqlite3_bind_int64(rows, 1, trial);
    sqlite3_bind_int(rows, 2, repetition);
    while (sqlite3_step(rows) == SQLITE_ROW) {
        int sequence = sqlite3_column_int(rows, 0), token = sqlite3_column_int(rows, 1);
        assert_in_range(sequence, 0, 7);
        assert_in_range(token, 0, 63);
        out->at_ns[sequence][token] = (double)sqlite3_column_int64(rows, 2);
        out->sequences = sequence >= out->sequences ? sequence + 1 : out->sequences;
        out->tokens = token >= out->tokens ? token + 1 : out->tokens;
    }
    sqlite3_finalize(rows);
    sqlite3_close(db);
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

// Hyndman and Fan, definition 7.
static double quantile(const double *sorted, int count, double q)
{
    double at = q * (count - 1);
    int below = (int)at;
    double above = below + 1 < count ? sorted[below + 1] : sorted[below];
    return sorted[below] + (at - below) * (above - sorted[below]);
}

static void assert_near(const char *name, double stored, double expected)
{
    if (!(fabs(stored - expected) <= 1e-9 * fabs(expected)))
        fail_msg("%s: %.17g is stored, the token times say %.17g", name, stored, expected);
}

// Every figure that people quote, recomputed from the token times by the definitions of docs/METRICS.md.
static void assert_figures(struct look *l, size_t cell, int r, const struct cell *c,
                           const struct times *t)
{
    double ttft = 0, tpot = 0, first = 0, last = 0, gaps[8 * 64];
    int gap_count = 0;
    assert_int_equal(t->sequences, c->batch);
    assert_int_equal(t->tokens, c->gen);
    for (int s = 0; s < c->batch; s++) {
        const double *at = t->at_ns[s];
        ttft += at[0] / c->batch;
        tpot += (at[c->gen - 1] - at[0]) / (c->gen - 1) / c->batch;
        first = fmax(first, at[0]);
        last = fmax(last, at[c->gen - 1]);
        for (int i = 1; i < c->gen; i++) {
            gaps[gap_count++] = at[i] - at[i - 1];
            assert_true(at[i] > at[i - 1]);
        }
    }
    qsort(gaps, (size_t)gap_count, sizeof *gaps, by_size);
    double prefill = value_of(l, cell, METRIC_PREFILL_TIME, "prefill", NULL, r);
    assert_true(prefill > 0 && prefill <= ttft);
    int prompt = c->context - c->gen;
    const struct {
        const char *name, *phase;
        double expected;
    } figures[] = {
        {METRIC_TTFT, "prefill", ttft},
        {METRIC_PREFILL_TPS, "prefill", 1e9 * c->batch * prompt / prefill},
        {METRIC_TPOT, "decode", tpot},
        {METRIC_DECODE_TPS, "decode", 1e9 * c->batch * (c->gen - 1) / (last - first)},
        {METRIC_ITL_P50, "decode", quantile(gaps, gap_count, 0.5)},
        {METRIC_ITL_P90, "decode", quantile(gaps, gap_count, 0.9)},
        {METRIC_ITL_P99, "decode", quantile(gaps, gap_count, 0.99)},
        {METRIC_E2E, NULL, last},
    };
    for (size_t i = 0; i < sizeof figures / sizeof *figures; i++)
        assert_near(figures[i].name, value_of(l, cell, figures[i].name, figures[i].phase, NULL, r),
                    figures[i].expected);
}

static void figures_are_those_of_the_token_times(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 3, 2);
    t.cells[1].collect |= COLLECT_COUNTERS;
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_FINE);
    look_open(&l, &t);
    for (size_t cell = 0; cell < 3; cell++) {
        const struct cell *c = &t.cells[cell];
        size_t trials = 0;
        struct trial_row *trial = look_trials(&l, cell, &trials);
        assert_measured(&l, cell, 2);
        for (int r = 1; r <= c->reps; r++) {
            struct times times;
            read_times(&t, trial[0].id, r, &times);
            assert_figures(&l, cell, r, c, &times);
            assert_true(value_of(&l, cell, METRIC_WAIT, "decode", NULL, r) >= 0);
            assert_true(value_of(&l, cell, METRIC_MBU, "decode", NULL, r) > 0);
            assert_true(value_of(&l, cell, NOISE_WINDOW, NULL, NULL, r) >
                        value_of(&l, cell, METRIC_E2E, NULL, NULL, r));
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

// A cell's peak holds neither its canaries' buffers nor what earlier cells of the worker freed: above the parts it is
// the program, its libraries and small allocations alone.
static void the_peak_is_the_cells_own(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
#ifdef SANITIZED
    print_message("skipped: a sanitizer keeps what is freed\n");
    skip();
#endif
    test_plan_make(&t, "models/reference", 3, 1);
    for (size_t i = 0; i < 3; i++) {
        t.cells[i].batch = 1;
        t.cells[i].context = 64 << i;
        t.cells[i].gen = 4;
        t.cells[i].reps = 1;
        t.cells[i].warmup = WARMUP_NONE;
    }
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_FINE);
    look_open(&l, &t);
    for (size_t i = 0; i < 3; i++) {
        double parts = value_of(&l, i, METRIC_MEM_WEIGHTS, NULL, NULL, 0) +
                       value_of(&l, i, METRIC_MEM_KV, NULL, NULL, 0) +
                       value_of(&l, i, METRIC_MEM_SCRATCH, NULL, NULL, 0);
        double rest_mib = (value_of(&l, i, METRIC_PEAK_MEM, NULL, NULL, 0) - parts) / (1 << 20);
        if (rest_mib > 20)
            fail_msg("cell %zu: %.1f MiB beyond weights, KV cache and scratch", i, rest_mib);
    }
    look_close(&l);
    test_plan_fini(&t);
}

// The memory row of a model with windows says what the windows would take alone.
static void windows_are_told_beside_the_memory(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    struct error err = {0};
    struct summary_row *rows;
    size_t count;
    test_plan_make(&t, "tests/golden/models/gemma3", 1, 1);
    const struct model_config *config = &t.model.config;
    double share = model_window_share(config, t.cells[0].context);
    assert_true(share < 1);
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_FINE);
    look_open(&l, &t);
    if (query_summaries(l.store, &l.arena, l.run.id, &rows, &count, &err) != OK)
        fail_msg("%s", err.message);
    const struct summary_row *kv =
        query_summary_find(rows, count, l.cells[0].id, METRIC_MEM_KV, NULL);
    assert_non_null(kv);
    char expected[160], size[32];
    snprintf(expected, sizeof expected, METRIC_KV_WHOLE "%s",
             format_bytes(share * kv->stat.median, size, sizeof size));
    assert_string_equal(kv->source, expected);
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
    assert_non_null(query_summary_find(rows, count, id, METRIC_TTFT, "prefill"));
    assert_null(query_summary_find(rows, count, id, METRIC_TPOT, NULL));
    assert_null(query_summary_find(rows, count, id, METRIC_DECODE_TPS, NULL));
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

static void missing_model_is_reported(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 1, 1);
    t.model.path = "tests/golden/models/nothing-here";
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_CELL_FAILED);
    look_open(&l, &t);
    assert_cell(&l, 0, "failed", 1, "nothing-here");
    look_close(&l);
    test_plan_fini(&t);
}

// An error about a file is no crash: the reason has the file and the cause, and the other cells are measured.
static void a_cache_that_takes_no_codes_fails_its_cells(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, "models/reference", 1, 1);
    t.cells[0].scheme = scheme_find("int4-awq");
    t.cells[0].reps = 1;
    setenv("XDG_CACHE_HOME", "/dev/full", 1);
    assert_int_equal(run_ok(&t, "real", "-1"), EXIT_CELL_FAILED);
    unsetenv("XDG_CACHE_HOME");
    look_open(&l, &t);
    assert_cell(&l, 0, "failed", 1, "/dev/full");
    assert_non_null(strstr(l.cells[0].reason, "a file has that name"));
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
    assert_cell(&l, 0, "failed", 1, "tokenizer.json");
    look_close(&l);
    test_plan_fini(&t);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return worker_of_test(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(figures_are_those_of_the_token_times),
        cmocka_unit_test(the_peak_is_the_cells_own),
        cmocka_unit_test(windows_are_told_beside_the_memory),
        cmocka_unit_test(tokens_repeat_over_runs),
        cmocka_unit_test(sampled_tokens_repeat),
        cmocka_unit_test(one_token_has_no_decode),
        cmocka_unit_test(memory_limit_makes_oom),
        cmocka_unit_test(missing_model_is_reported),
        cmocka_unit_test(a_cache_that_takes_no_codes_fails_its_cells),
        cmocka_unit_test(text_prompts_are_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
