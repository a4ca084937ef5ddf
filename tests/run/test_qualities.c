// test_qualities.c - quality next to speed. It is measured once for the cells that share it, taken over where it is
// known, and stored with a reason where there is none. A worker that fails at it costs no trial.
#include "tests/run/fixture.h"

#include "base/file.h"
#include "base/hash.h"

#define MODEL "tests/golden/models/llama-gqa3"
#define EVAL  "models/reference/eval.txt"

// Two cells that share an evaluation, in a plan of `t`.
struct shared {
    struct test_plan t;
    struct quality_wish wish;
    struct plan_quality quality;
};

static void shared_make(struct shared *s, const char *model)
{
    struct error err = {0};
    char *text = NULL;
    size_t size = 0;
    static char hash[HASH_HEX_BYTES];
    test_plan_make(&s->t, model, 2, 1);
    if (file_read(EVAL, 1 << 24, &text, &size, &err) != OK ||
        hash_bytes(text, size, hash, &err) != OK)
        fail_msg("%s", err.message);
    free(text);
    s->wish = (struct quality_wish){
        .text = EVAL, .text_hash = hash, .convention = "half-512", .windows = 1};
    s->quality = (struct plan_quality){
        .key = "feed",
        .params = json_pack("{si}", "windows", 1),
        .label = "tiny f32 cpu",
        .wish = &s->wish,
        .model = &s->t.model,
        .scheme = scheme_find("f32"),
        .device = "cpu",
        .head = DT_F32,
        .kv = DT_F32,
        .threads = 1,
        .timeout_ns = 60000000000u,
    };
    for (int i = 0; i < 2; i++)
        s->t.cells[i].quality = &s->quality;
    s->t.plan.qualities = &s->quality;
    s->t.plan.quality_count = 1;
}

static void shared_fini(struct shared *s)
{
    json_decref(s->quality.params);
    test_plan_fini(&s->t);
}

// How often a worker was started for quality.
static int evaluations(const struct shared *s)
{
    char line[64];
    int count = 0;
    FILE *file = fopen(s->t.pids, "r");
    assert_non_null(file);
    while (fgets(line, sizeof line, file))
        count += str_equal(line, "quality\n");
    fclose(file);
    return count;
}

// Both cells have the same evaluation, with this status and words.
static void assert_quality(struct look *l, const char *status, const char *reason_part)
{
    struct error err = {0};
    struct quality_row *rows = NULL;
    size_t count = 0;
    assert_int_equal(query_quality(l->store, &l->arena, l->run.id, &rows, &count, &err), OK);
    assert_int_equal(count, 2);
    assert_int_equal(rows[0].id, rows[1].id);
    assert_string_equal(rows[0].status, status);
    if (!strstr(rows[0].reason, reason_part))
        fail_msg("'%s' does not say '%s'", rows[0].reason, reason_part);
}

static double perplexity(struct look *l, size_t cell)
{
    struct error err = {0};
    struct summary_row *rows = NULL;
    size_t count = 0;
    assert_int_equal(query_summaries(l->store, &l->arena, l->run.id, &rows, &count, &err), OK);
    const struct summary_row *row =
        query_summary_find(rows, count, l->cells[cell].id, METRIC_PERPLEXITY, NULL);
    return row ? row->stat.median : NAN;
}

static void cells_share_one_evaluation(void **state)
{
    (void)state;
    struct shared s;
    struct look l;
    shared_make(&s, MODEL);
    assert_int_equal(run_ok(&s.t, "good", "-1"), EXIT_FINE);
    assert_int_equal(evaluations(&s), 1);
    assert_int_equal(run_ok(&s.t, "good", "-1"), EXIT_FINE); // known by now
    assert_int_equal(evaluations(&s), 1);
    look_open(&l, &s.t);
    assert_int_equal(l.run.id, 2);
    assert_quality(&l, "ok", "");
    assert_true(perplexity(&l, 0) == 17.5 && perplexity(&l, 1) == 17.5);
    look_close(&l);
    shared_fini(&s);
}

static void what_is_not_whole_is_measured_again(void **state)
{
    (void)state;
    struct shared s;
    struct look l;
    shared_make(&s, MODEL);
    assert_int_equal(run_ok(&s.t, "quality-note", "-1"), EXIT_FINE);
    assert_int_equal(run_ok(&s.t, "quality-note", "-1"), EXIT_FINE);
    assert_int_equal(evaluations(&s), 2);
    look_open(&l, &s.t);
    assert_quality(&l, "ok", "f32 does not fit");
    look_close(&l);
    shared_fini(&s);
}

static void a_failed_evaluation_costs_no_trial(void **state)
{
    (void)state;
    static const char *const cases[][3] = {
        {"quality-exit", "crashed", "ended with status 7"},
        {"quality-oom", "oom", "weights: 9 TiB"},
        {"quality-hang", "timeout", "no end within"},
        {"quality-trial", "crashed", "unexpected answer"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct shared s;
        struct look l;
        shared_make(&s, MODEL);
        if (str_equal(cases[i][1], "timeout"))
            s.quality.timeout_ns = 300000000;
        assert_int_equal(run_ok(&s.t, cases[i][0], "-1"), EXIT_CELL_FAILED);
        look_open(&l, &s.t);
        assert_cell(&l, 0, "ok", 1, "");
        assert_cell(&l, 1, "ok", 1, "");
        assert_quality(&l, cases[i][1], cases[i][2]);
        assert_true(isnan(perplexity(&l, 0)));
        look_close(&l);
        shared_fini(&s);
    }
}

static void what_is_left_out_says_why(void **state)
{
    (void)state;
    struct shared s;
    struct look l;
    shared_make(&s, MODEL);
    s.quality.skip = "synthetic weights have no quality";
    s.quality.unsupported = true;
    assert_int_equal(run_ok(&s.t, "good", "-1"), EXIT_FINE);
    assert_int_equal(evaluations(&s), 0);
    look_open(&l, &s.t);
    assert_quality(&l, "unsupported", "synthetic weights have no quality");
    assert_true(isnan(perplexity(&l, 0)));
    look_close(&l);
    shared_fini(&s);
}

// The true worker on the reference model, and on one without a tokenizer.
static void the_true_worker_measures(void **state)
{
    (void)state;
    struct shared s;
    struct look l;
    shared_make(&s, "models/reference");
    s.quality.scheme = scheme_find("bf16");
    s.quality.head = s.quality.kv = DT_BF16;
    for (int i = 0; i < 2; i++)
        s.t.cells[i].reps = 1;
    assert_int_equal(run_ok(&s.t, "real", "-1"), EXIT_FINE);
    look_open(&l, &s.t);
    assert_quality(&l, "ok", "");
    assert_true(perplexity(&l, 0) > 5 && perplexity(&l, 0) < 100);
    look_close(&l);
    s.wish.text_hash = "another text's";
    memcpy(s.quality.key, "beef", 4);
    assert_int_equal(run_ok(&s.t, "real", "-1"), EXIT_CELL_FAILED);
    look_open(&l, &s.t);
    assert_quality(&l, "failed", "another text than when the run was planned");
    look_close(&l);
    shared_fini(&s);

    shared_make(&s, MODEL);
    run_ok(&s.t, "real", "-1");
    look_open(&l, &s.t);
    assert_quality(&l, "failed", "tokenizer.json");
    look_close(&l);
    shared_fini(&s);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return worker_of_test(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cells_share_one_evaluation),
        cmocka_unit_test(what_is_not_whole_is_measured_again),
        cmocka_unit_test(a_failed_evaluation_costs_no_trial),
        cmocka_unit_test(what_is_left_out_says_why),
        cmocka_unit_test(the_true_worker_measures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
