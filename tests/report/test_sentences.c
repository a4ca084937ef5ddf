// test_sentences.c - what the page says of a run is true of that run: which cells it picks, what is missing
// and why, and how the file holds the weights.
#include "tests/results/fixture.h"

#include "report/html.h"
#include "report/page.h"
#include "results/metric.h"

struct made_cell {
    const char *status; // of its one trial; NULL: it has none yet
    double tpot_ns;
    int batch;
    const char *stored;
};

static void add_cell(struct store *store, int64_t run, const struct made_cell *from, int number)
{
    struct error err = {0};
    char key[16], label[64];
    int64_t id = 0;
    snprintf(key, sizeof key, "%08d", number);
    snprintf(label, sizeof label, "m bf16 cpu b%d c%d", from->batch, 64 * number);
    struct store_cell cell = {.run = run,
                              .key = key,
                              .params_json = "{}",
                              .label = label,
                              .model = "m",
                              .scheme = "bf16",
                              .device = "cpu",
                              .threads = 1,
                              .batch = from->batch,
                              .context = 64 * number,
                              .gen = 8,
                              .trials_planned = 1,
                              .predicted_memory_bytes = NAN};
    struct store_metric rows[] = {
        {METRIC_TPOT, "ns", "host clock", "decode", NULL, from->tpot_ns},
        {METRIC_DECODE_TPS, "token/s", "host clock", "decode", NULL,
         1e9 * from->batch / from->tpot_ns},
        {METRIC_TTFT, "ns", "host clock", "prefill", NULL, 10 * from->tpot_ns},
        {METRIC_PREFILL_TPS, "token/s", "host clock", "prefill", NULL, 1e10 / from->tpot_ns},
    };
    struct store_sample sample = {.repetition = 1, .metrics = rows, .metric_count = 4};
    struct store_trial trial = {.number = 1,
                                .status = from->status,
                                .reason =
                                    from->status && !str_equal(from->status, "ok") ? "why" : "",
                                .arithmetic = "bf16 x bf16 -> f32",
                                .stored = from->stored,
                                .samples = &sample,
                                .sample_count = 1};
    must(store_cell(store, &cell, &trial.cell, &err), &err);
    if (from->status)
        must(store_trial(store, &trial, &id, &err), &err);
}

// The whole page of a run with these cells, without pictures. The caller frees it.
static char *page_with(const struct fixture *f, const char *suite, const char *status,
                       const struct made_cell *cells, size_t count)
{
    struct error err = {0};
    struct report_data data;
    struct pictures pictures = {0};
    struct str page = {0};
    struct store_run row = {
        .suite_name = "s", .suite_text = suite, .command = "c", .started_ns = 1};
    int64_t run = 0;
    unlink(f->path);
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    must(store_machine(store, "print", "{}", &row.machine, &err), &err);
    must(store_environment(store, "{}", &row.environment, &err), &err);
    must(store_build(store, "{}", &row.build, &err), &err);
    must(store_run_begin(store, &row, &run, &err), &err);
    for (size_t i = 0; i < count; i++)
        add_cell(store, run, &cells[i], (int)i + 1);
    must(store_run_end(store, run, status, 2, &err), &err);
    must(report_data_load(store, NULL, &data, &err), &err);
    page_write(&page, &data, &pictures, "");
    report_data_fini(&data);
    pictures_fini(&pictures);
    store_close(store);
    return str_take(&page);
}

static void has(const char *page, const char *text)
{
    if (!strstr(page, text))
        fail_msg("the page does not say '%s'", text);
}

static void has_not(const char *page, const char *text)
{
    if (strstr(page, text))
        fail_msg("the page says '%s'", text);
}

// The first screen alone: up to the list of sections.
static char *card_of(char *page)
{
    char *end = strstr(page, "<nav>");
    assert_non_null(end);
    *end = '\0';
    return page;
}

static void test_the_best_cell_is_an_undisturbed_one(void **state)
{
    static const struct made_cell cells[] = {{"noisy", 1e6, 1, NULL},
                                             {"ok", 4e6, 1, NULL},
                                             {"throttled", 2e6, 1, NULL},
                                             {"crashed", 5e5, 1, NULL}};
    char *card = card_of(page_with(*state, "", "done", cells, 4));
    has(card, ">250 tok/s"); // of the second, the slowest
    has(card, "bf16 on cpu, batch 1, context 128");
    has_not(card, ">1,000 tok/s");
    has_not(card, ">500 tok/s");
    has_not(card, ">2,000 tok/s");
    has_not(card, "come from disturbed cells");
    free(card);
}

// Cells that differ in more than batch and context are of two series, named by what differs.
static void test_threads_make_a_series_of_their_own(void **state)
{
    const struct fixture *f = *state;
    struct error err = {0};
    struct report_data data;
    int64_t id, first;
    unlink(f->path);
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    int64_t run = add_run(store, &first); // 1 thread, {"batch":1}
    static const char *const params[] = {"{\"batch\":4,\"threads\":1}",
                                         "{\"batch\":4,\"threads\":2}"};
    for (int i = 0; i < 2; i++) {
        struct store_cell cell = {.run = run,
                                  .key = i ? "22222222" : "11111111",
                                  .params_json = params[i],
                                  .label = "x",
                                  .model = "m",
                                  .scheme = "bf16",
                                  .device = "cpu",
                                  .threads = i + 1,
                                  .batch = 4,
                                  .context = 64,
                                  .gen = 8,
                                  .trials_planned = 1,
                                  .predicted_memory_bytes = NAN};
        must(store_cell(store, &cell, &id, &err), &err);
    }
    must(report_data_load(store, NULL, &data, &err), &err);
    assert_int_equal(data.series_count, 3);
    assert_string_equal(data.series[1].label, "m bf16 cpu threads=1");
    assert_string_equal(data.series[2].label, "m bf16 cpu threads=2");
    assert_int_equal(data.series[1].cell_count, 1);
    report_data_fini(&data);
    store_close(store);
}

static void test_only_disturbed_cells_say_so(void **state)
{
    static const struct made_cell cells[] = {
        {"noisy", 4e6, 1, NULL}, {"throttled", 2e6, 1, NULL}, {"crashed", 5e5, 1, NULL}};
    char *card = card_of(page_with(*state, "", "done", cells, 3));
    has(card, ">500 tok/s"); // the better of the two
    has(card, "Figures marked noisy or throttled come from disturbed cells");
    has(card, ">throttled</span>");
    free(card);
}

static void test_quality_that_did_not_come_yet(void **state)
{
    static const struct made_cell cells[] = {{"ok", 1e6, 1, NULL}, {NULL, 1e6, 1, NULL}};
    static const char asks[] = "[sweep core]\ncollect = timing, memory, quality\n";
    static const char asks_not[] = "[sweep core]\nquality_text = x\ncollect = timing, qualityx\n";
    char *page = page_with(*state, asks, "interrupted", cells, 2);
    has(page, "Not measured yet: the suite asks for it (collect = quality), it comes after the "
              "trials, and the run is interrupted.");
    has_not(page, "no sweep of the suite asks for it");
    free(page);
    page = page_with(*state, asks, "done", cells, 1);
    has(page, "The suite asks for it (collect = quality), but no cell has it");
    free(page);
    page = page_with(*state, asks_not, "interrupted", cells, 2);
    has(page, "no sweep of the suite asks for it");
    free(page);
}

static void test_what_no_table_has_is_not_promised(void **state)
{
    static const struct made_cell pending[] = {{NULL, 1e6, 1, NULL}, {NULL, 1e6, 2, NULL}};
    static const struct made_cell failed[] = {{"crashed", 1e6, 1, NULL}};
    static const struct made_cell measured[] = {{"ok", 1e6, 1, NULL}};
    char *page = page_with(*state, "", "interrupted", pending, 2);
    has(page, "No speed was measured: 2 of its cells have not run yet.");
    has_not(page, "the tables have the figures");
    has(page, "No picture: nothing was measured for one.");
    free(page);
    page = page_with(*state, "", "done", failed, 1);
    has(page, "every cell failed or was skipped");
    has_not(page, "the tables have the figures");
    free(page);
    page =
        page_with(*state, "", "done", measured, 1); // speed and memory have tables, ceilings none
    const char *roofline = strstr(page, "<h2 id=roofline>");
    const char *promise = strstr(page, "the tables have the figures");
    assert_true(promise && promise < roofline);
    has(roofline, "No picture: nothing was measured for one.");
    free(page);
}

// A file in codes measured in another type says so wherever one of its figures is.
static void test_weights_in_codes_say_so(void **state)
{
    static const struct made_cell cells[] = {{"ok", 1e6, 1, "q8_0"}};
    char *page = page_with(*state, "", "done", cells, 1);
    const char *cells_at = strstr(page, "<h2 id=cells>"), *memory = strstr(page, "<h2 id=memory>");
    const char *first = strstr(page, "stored q8_0, measured as bf16");
    assert_true(first && first < strstr(page, "<nav>"));
    has(cells_at, "m bf16 cpu (stored q8_0)");
    has(memory, "m bf16 cpu b1 c64 (stored q8_0, measured as bf16)");
    free(page);
}

// A cache slower than memory, as a virtual machine measured it, is explained under the ceilings.
static void test_a_level_slower_than_memory_is_explained(void **state)
{
    struct ceiling_row rows[] = {{.name = "read",
                                  .level = "L3",
                                  .kernel = "k",
                                  .unit = "B/s",
                                  .device = "cpu",
                                  .threads = 1,
                                  .samples = 9,
                                  .value = 12.0e9,
                                  .low = 11.9e9,
                                  .high = 12.1e9,
                                  .set_bytes = 75e6},
                                 {.name = "read",
                                  .level = "DRAM",
                                  .kernel = "k",
                                  .unit = "B/s",
                                  .device = "cpu",
                                  .threads = 1,
                                  .samples = 9,
                                  .value = 16.7e9,
                                  .low = 16.5e9,
                                  .high = 16.9e9,
                                  .set_bytes = 1200e6}};
    struct report_data data = {.ceilings = rows, .ceiling_count = 2};
    struct str out = {0};
    (void)state;
    page_ceilings(&out, &data);
    has(str_text(&out), "With 1 thread L3 was read at 12.0 GB/s and DRAM at 16.7 GB/s");
    has_not(str_text(&out), "While they were measured");
    data.run.ceilings_note = "cpu with 2 threads: <3> of 90 windows were disturbed";
    page_ceilings(&out, &data);
    has(str_text(&out),
        "While they were measured: cpu with 2 threads: &lt;3&gt; of 90 windows were "
        "disturbed.</p>");
    data.run.ceilings_note = "";
    str_fini(&out);
    rows[0].value = rows[0].low = rows[0].high = 16.6e9; // within DRAM's interval
    page_ceilings(&out, &data);
    has_not(str_text(&out), "was read at");
    str_fini(&out);
}

static void test_a_long_sentence_is_whole(void **state)
{
    char words[3001];
    struct str out = {0};
    (void)state;
    memset(words, 'x', sizeof words - 1);
    words[3000] = '\0';
    html_textf(&out, "%s<end", words);
    assert_int_equal(out.length, 3000 + strlen("&lt;end"));
    str_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_the_best_cell_is_an_undisturbed_one),
        fixture_test(test_threads_make_a_series_of_their_own),
        fixture_test(test_only_disturbed_cells_say_so),
        fixture_test(test_quality_that_did_not_come_yet),
        fixture_test(test_what_no_table_has_is_not_promised),
        fixture_test(test_weights_in_codes_say_so),
        cmocka_unit_test(test_a_long_sentence_is_whole),
        cmocka_unit_test(test_a_level_slower_than_memory_is_explained),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
