// test_export.c - CSV and JSON say what the store holds, whatever the names in it are made of.
#include "tests/results/fixture.h"

#include "results/export.h"
#include "tests/report/make_store.c"

static const char hostile[] = "a,\"b\"\r\n=cmd|'/C calc'!A0 <script>\xc3\xa9\t\x01 'x";

static struct store *made(const char *path, const char *name, bool failures)
{
    struct made_store what = {.models = 1,
                              .schemes = 2,
                              .batches = 2,
                              .contexts = 3,
                              .trials = 3,
                              .reps = 2,
                              .seed = 7,
                              .model_name = name,
                              .failures = failures};
    struct error err = {0};
    int64_t run = 0;
    struct store *store = open_or_fail(path, STORE_WRITE);
    must(make_run(store, &what, &run, &err), &err);
    return store;
}

// ---- a reader of RFC 4180, written from the RFC --------------------------------------------------

struct csv {
    char *fields[16384];
    size_t columns, count; // of the first record; fields in all
};

// Reads one field at *p into a new string; *end is what stopped it: ',' or '\n' or 0.
static char *csv_read(const char **p, char *end)
{
    struct str field = {0};
    if (**p == '"') {
        for ((*p)++; **p && !(**p == '"' && (*p)[1] != '"'); (*p)++) {
            *p += **p == '"'; // the first of a doubled pair
            str_append_bytes(&field, *p, 1);
        }
        assert_int_equal(**p, '"');
        (*p)++;
    } else {
        for (; **p && **p != ',' && **p != '\r'; (*p)++) {
            assert_int_not_equal(**p, '"');
            assert_int_not_equal(**p, '\n');
            str_append_bytes(&field, *p, 1);
        }
    }
    *end = **p;
    if (**p == '\r') {
        assert_int_equal((*p)[1], '\n');
        *end = '\n';
        (*p)++;
    }
    if (**p)
        (*p)++;
    str_append(&field, "");
    char *text = str_take(&field);
    return text ? text : strdup("");
}

static void csv_parse(const char *text, struct csv *out)
{
    memset(out, 0, sizeof *out);
    size_t in_record = 0;
    for (const char *p = text; *p;) {
        char end;
        assert_true(out->count < 16384);
        out->fields[out->count++] = csv_read(&p, &end);
        in_record++;
        if (end == ',')
            continue;
        if (out->columns == 0)
            out->columns = in_record;
        assert_int_equal(in_record, out->columns);
        in_record = 0;
    }
    assert_int_equal(in_record, 0); // the last record ends with CRLF
}

static void csv_free(struct csv *csv)
{
    for (size_t i = 0; i < csv->count; i++)
        free(csv->fields[i]);
}

static size_t column(const struct csv *csv, const char *name)
{
    for (size_t i = 0; i < csv->columns; i++)
        if (str_equal(csv->fields[i], name))
            return i;
    fail_msg("no column %s", name);
    return 0;
}

static void test_csv_round_trip(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct arena arena = {0};
    struct cell_row *cells;
    struct summary_row *sums;
    size_t cell_count, sum_count;
    struct str text = {0};
    static struct csv csv;
    struct store *store = made(f->path, hostile, false);
    must(export_csv(store, NULL, &text, &err), &err);
    must(query_cells(store, &arena, 1, &cells, &cell_count, &err), &err);
    must(query_summaries(store, &arena, 1, &sums, &sum_count, &err), &err);
    csv_parse(str_text(&text), &csv);
    assert_int_equal(csv.count, csv.columns * (1 + sum_count));
    size_t model = column(&csv, "model"), median = column(&csv, "median"),
           metric = column(&csv, "metric"), level = column(&csv, "level");
    for (size_t i = 0; i < sum_count; i++) {
        char **record = &csv.fields[csv.columns * (1 + i)];
        assert_string_equal(record[model], hostile);
        assert_string_equal(record[metric], sums[i].name);
        assert_true(strtod(record[median], NULL) == sums[i].stat.median); // to the last bit
        assert_true(strtod(record[level], NULL) == sums[i].stat.median_interval.level);
    }
    csv_free(&csv);
    str_fini(&text);
    arena_fini(&arena);
    store_close(store);
}

// Three trials of 900, 1000 and 1200 ns, threads 1, batch 1, context 64, gen 8: a record field by field.
static void test_csv_record(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct str text = {0};
    int64_t cell, id;
    static const double tpot[] = {1000, 900, 1200};
    struct store *store = open_or_fail(f->path, STORE_WRITE);
    add_run(store, &cell);
    for (int i = 0; i < 3; i++) {
        struct store_metric m = {"tpot", "ns", "host clock", "decode", NULL, tpot[i]};
        struct store_sample sample = {
            .repetition = 1, .token_hash = "h", .metrics = &m, .metric_count = 1};
        struct store_trial trial = {
            .cell = cell, .number = i + 1, .status = "ok", .samples = &sample, .sample_count = 1};
        must(store_trial(store, &trial, &id, &err), &err);
    }
    must(export_csv(store, NULL, &text, &err), &err);
    const char *record = strstr(str_text(&text), "\r\n") + 2;
    static const char begins[] =
        "1,0123abcd,tiny f32 cpu b1 c64,tiny,f32,cpu,1,1,64,8,ok,,3,tpot,decode,,ns,host clock,3,"
        "1000,900,1200,0.75,100,0,";
    if (!str_starts(record, begins))
        assert_string_equal(record, begins);
    str_fini(&text);
    store_close(store);
}

static void test_verdict_fields(void **state)
{
    (void)state;
    const struct verdict_row v = {.phase = "decode",
                                  .bound = "memory",
                                  .basis = "b",
                                  .text = "t",
                                  .trials = 4,
                                  .agree = 3,
                                  .t_roof_ns = 5,
                                  .t_memory_ns = 6,
                                  .t_compute_ns = 7,
                                  .measured_ns = 8,
                                  .eta = 9,
                                  .rho = 10,
                                  .overhead_share = 11,
                                  .eta_low = 12,
                                  .eta_high = 13,
                                  .bandwidth_moved = 14,
                                  .loss_share = 15,
                                  .finding = "inefficient",
                                  .reason = "why",
                                  .loss_op = "down"};
    static const char *const keys[] = {
        "trials",    "agree", "t_roof_ns",      "t_memory_ns", "t_compute_ns", "measured_ns",
        "eta",       "rho",   "overhead_share", "eta_low",     "eta_high",     "bandwidth_moved",
        "loss_share"};
    static const char *const words[][2] = {
        {"finding", "inefficient"}, {"reason", "why"}, {"loss_op", "down"}};
    json_t *object = export_verdict(&v);
    for (int i = 0; i < 13; i++) // 4, 3, 5, 6, 7, ...
        assert_float_equal(json_number_value(json_object_get(object, keys[i])),
                           i < 2 ? 4 - i : 3 + i, 0);
    for (int i = 0; i < 3; i++)
        assert_string_equal(json_string_value(json_object_get(object, words[i][0])), words[i][1]);
    json_decref(object);
}

// A run that is still running has not ended in 1970.
static void test_a_time_that_has_not_been(void **state)
{
    (void)state;
    const struct run_row run = {.started_ns = 7};
    json_t *object = export_run(&run);
    assert_int_equal(json_integer_value(json_object_get(object, "started_ns")), 7);
    assert_true(json_is_null(json_object_get(object, "ended_ns")));
    json_decref(object);
}

static void test_csv_names_cells_without_figures(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct str text = {0};
    static struct csv csv;
    struct store *store = made(f->path, "m", true);
    must(export_csv(store, "last", &text, &err), &err);
    csv_parse(str_text(&text), &csv);
    size_t status = column(&csv, "status"), median = column(&csv, "median"), seen = 0;
    for (size_t i = csv.columns; i < csv.count; i += csv.columns)
        if (str_equal(csv.fields[i + status], "oom")) {
            assert_string_equal(csv.fields[i + median], ""); // not zero
            seen++;
        }
    assert_int_equal(seen, 1);
    csv_free(&csv);
    str_fini(&text);
    store_close(store);
}

static void test_json(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    json_t *root = NULL;
    struct store *store = made(f->path, hostile, false);
    must(export_json(store, "made", &root, &err), &err);
    char *text = json_dumps(root, JSON_REAL_PRECISION(17));
    json_decref(root);
    root = json_loads(text, 0, NULL);
    assert_non_null(root);
    const json_t *cells = json_object_get(root, "cells"), *cell = json_array_get(cells, 0);
    assert_int_equal(json_array_size(cells), 12);
    assert_string_equal(json_string_value(json_object_get(cell, "model")), hostile);
    const json_t *trials = json_object_get(cell, "stored_trials");
    assert_int_equal(json_array_size(trials), 3);
    size_t nulls = 0, i;
    json_t *value;
    json_array_foreach(json_object_get(json_array_get(trials, 0), "values"), i, value)
    {
        nulls += json_is_null(json_object_get(value, "value"));
    }
    assert_int_equal(nulls, 1);                                  // the energy that was not measured
    assert_true(json_is_null(json_object_get(cell, "quality"))); // not asked for
    free(text);
    json_decref(root);
    store_close(store);
}

static void test_json_of_bytes_that_are_no_text(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    json_t *root = NULL;
    struct store *store = made(f->path, "bad \xff\xfe bytes", false);
    must(export_json(store, NULL, &root, &err), &err);
    const json_t *cell = json_array_get(json_object_get(root, "cells"), 0);
    assert_string_equal(json_string_value(json_object_get(cell, "model")), "bad ?? bytes");
    json_decref(root);
    assert_int_equal(export_json(store, "nope", &root, &err), ERR_USAGE);
    assert_null(root);
    store_close(store);
}

static void test_csv_fields(void **state)
{
    static const char *const cases[][2] = {
        {"", ""},           {"plain", "plain"},   {"a,b", "\"a,b\""},
        {"\"", "\"\"\"\""}, {"a\nb", "\"a\nb\""}, {" space ", " space "},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct str out = {0};
        export_csv_field(&out, cases[i][0]);
        assert_string_equal(str_text(&out), cases[i][1]);
        str_fini(&out);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_csv_round_trip),
        fixture_test(test_csv_record),
        cmocka_unit_test(test_verdict_fields),
        cmocka_unit_test(test_a_time_that_has_not_been),
        fixture_test(test_csv_names_cells_without_figures),
        fixture_test(test_json),
        fixture_test(test_json_of_bytes_that_are_no_text),
        cmocka_unit_test(test_csv_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
