// test_report.c - the page is whole whatever the names in the store are.
#include "tests/report/pages.h"

#include <sqlite3.h>

#include "report/html.h"
#include "report/pictures.h"
#include "tests/report/make_store.c"

static size_t occurrences(const char *page, const char *text)
{
    size_t count = 0;
    for (const char *p = page; (p = strstr(p, text)) != NULL; p++)
        count++;
    return count;
}

// Every link inside the page has its one target.
static void check_links(const char *page)
{
    static const char link[] = "href=\"#";
    size_t links = 0;
    for (const char *p = page; (p = strstr(p, link)) != NULL; p++, links++) {
        char bare[96], quoted[96];
        int length = (int)strcspn(p + sizeof link - 1, "\"");
        snprintf(bare, sizeof bare, " id=%.*s>", length, p + sizeof link - 1);
        snprintf(quoted, sizeof quoted, " id=\"%.*s\">", length, p + sizeof link - 1);
        if (occurrences(page, bare) + occurrences(page, quoted) != 1)
            fail_msg("a link to #%.*s has not one target", length, p + sizeof link - 1);
    }
    assert_true(links > 20);
}

// A term is linked once, to an entry of the glossary, which is closed and has no entry that nothing links to.
static void check_glossary(const char *page)
{
    has(page, ">TPOT</a></th>");
    assert_int_equal(occurrences(page, "<a class=term href=\"#term-roof\">"), 1);
    has(page, "<details class=glossary><summary>");
    has(page, "<dt id=\"term-tpot\">TPOT</dt><dd>Time per output token: ");
    has(page, "<dt id=\"term-rho\">rho</dt>"); // linked by an entry alone
    assert_null(strstr(page, "term-alibi"));
}

// Text that gnuplot fills with a colour of its own has one for the dark page too: the selector is spelled as gnuplot
// spells the colour.
static void check_text_colours(const char *page)
{
    static const char fill[] = "fill=\"rgb(";
    const char *end = strstr(page, "</style>"), *at = end;
    int seen = 0;
    assert_non_null(end);
    while ((at = strstr(at, fill)) != NULL) {
        char selector[64];
        int length = (int)(strcspn(at, ")") + 2);
        snprintf(selector, sizeof selector, "[%.*s]", length, at);
        const char *rule = strstr(page, selector);
        if (!rule || rule > end)
            fail_msg("page.css has no %s", selector);
        at += length;
        seen++;
    }
    assert_true(seen > 0);
}

static bool have_gnuplot(void)
{
    if (system("gnuplot --version >/dev/null 2>&1") == 0)
        return true;
    print_message("gnuplot is not installed: pictures are not checked\n");
    return false;
}

// Tables scroll within a frame of their own, so that the page never does; on a phone their first column stays in sight.
static void check_tables(const char *page)
{
    static const char frame[] = "<div class=scroll>";
    size_t tables = 0;
    for (const char *p = page; (p = strstr(p, "<table")); p++, tables++)
        if (strncmp(p - strlen(frame), frame, strlen(frame)) != 0)
            fail_msg("a table has no frame: %.80s", p);
    assert_true(tables > 4);
    const char *phone = strstr(page, "@media (max-width: 520px)");
    assert_non_null(phone);
    const char *first = strstr(phone, ".scroll th:first-child, .scroll td:first-child");
    assert_true(first && strstr(first, "position: sticky; left: 0"));
}

static void test_whole_report(void **state)
{
    struct fixture *f = *state;
    char dir[128];
    struct str note = {0};
    if (!have_gnuplot())
        skip();
    struct store *store = made(f->path, small(NULL));
    char *page = page_of(f, store, "gnuplot", 30000, &note);
    snprintf(dir, sizeof dir, "%s/out", f->dir);
    assert_string_equal(str_text(&note), "");
    assert_int_equal(files_in(dir, ".svg"), 9);
    assert_int_equal(files_in(dir, ".png"), 9);
    assert_int_equal(files_in(dir, ".csv"), 1);
    assert_int_equal(files_in(dir, ".dat"), 0);
    check_nesting(page);
    check_links(page);
    check_tables(page);
    check_glossary(page);
    check_text_colours(page);
    has(page, "is limited by memory");
    has(page, "2.1 GiB for KV cache do not fit");
    has(page, "bench run suites/made.conf --set &#39;defaults.reps=3&#39;");
    assert_null(strstr(page, "src=")); // nothing is fetched
    assert_null(strstr(page, "url("));
    assert_null(strstr(page, "<script"));
    assert_true(strlen(page) < 1 << 20);
    free(page);
    str_fini(&note);
    store_close(store);
}

// The page of a store whose decode verdicts have these columns. Their sentence is not read.
static char *page_of_verdict(struct fixture *f, const char *columns)
{
    char sql[512];
    struct str note = {0};
    sqlite3 *db = NULL;
    struct store *store = made(f->path, small(NULL));
    snprintf(sql, sizeof sql,
             "UPDATE verdict SET explanation = 'a sentence', %s WHERE phase = 'decode'", columns);
    assert_int_equal(sqlite3_open(f->path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    char *page = page_of(f, store, "gnuplot-that-is-not-there", 30000, &note);
    str_fini(&note);
    store_close(store);
    return page;
}

// Far below the roof the page does not say what a perfect kernel would wait for, but what this run loses.
static void test_inefficient(void **state)
{
    char *page = page_of_verdict(*state, "eta = 0.15, bound = 'memory', finding = 'inefficient',"
                                         " loss_op = 'down', loss_share = 0.6");
    has(page,
        "</b> is inefficient here: 15 % of what memory allows; down loses most, 60 % of what is "
        "lost.</p>");
    assert_null(strstr(page, "it reaches 15"));
    has(page, "<td class=limit>inefficient <small>15 % of what memory allows</small></td>");
    has(page, "<td class=\"memory inefficient\" title=");
    free(page);
    page = page_of_verdict(*state, "eta = 0.15, eta_low = 0.14, eta_high = 0.151,"
                                   " bandwidth_moved = 0.06, bound = 'balanced',"
                                   " finding = 'inefficient', loss_op = 'rest', loss_share = 0.7");
    has(page, "<td class=limit>inefficient <small>14 to 15 % of what memory and compute allow"
              "</small></td>");
    has(page, "is inefficient here: 14 to 15 % of what memory and compute allow (<a class=term "
              "href=\"#term-bandwidth-moved\">bandwidth moved</a> by 6 % while it ran); rest loses "
              "most, 70 % of what is lost.</p>");
    free(page);
}

// Where bandwidth moved the page gives the range, and calls nothing wrong that is possible at one end of it.
static void test_a_range_of_the_roof(void **state)
{
    char *page = page_of_verdict(*state, "eta = 1.10, eta_low = 0.95, eta_high = 1.55,"
                                         " bandwidth_moved = 0.39, bound = 'memory',"
                                         " finding = 'reached'");
    has(page, "is limited by memory: it reaches 95 to 155 % of the roof (<a class=term "
              "href=\"#term-bandwidth-moved\">bandwidth moved</a> by 39 % while it ran).</p>");
    assert_null(strstr(page, "110&#8239;%&#8239;!"));
    assert_null(strstr(page, "which cannot be"));
    free(page);
    page = page_of_verdict(*state, "eta = 0.80, eta_low = 0.78, eta_high = 0.82,"
                                   " bandwidth_moved = 0.39, bound = 'compute',"
                                   " finding = 'reached'");
    has(page, "is limited by compute: it reaches 78 to 82 % of the roof (<a class=term "
              "href=\"#term-bandwidth-moved\">bandwidth moved</a> by 39 % while it ran).</p>");
    free(page);
}

static void test_above_the_roof(void **state)
{
    char *page = page_of_verdict(*state, "eta = 1.33, bound = 'memory', finding = 'wrong'");
    has(page, "133&#8239;%&#8239;!");
    has(page, "it is at 133 % of the measured roof, which cannot be");
    free(page);
}

// A bound that needs a reason has it, with the share that was reached; and a tiny share is not none.
static void test_reasons_and_tiny_shares(void **state)
{
    char *page = page_of_verdict(*state, "eta = 0.004, bound = 'overhead', finding = 'reached',"
                                         " reason = '62 % of the time is waiting'");
    has(page, "is limited by overhead: 62 % of the time is waiting, under 1 % of the roof.</p>");
    has(page, "<td class=limit>overhead <small>under 1 % of the roof</small></td>");
    assert_null(strstr(page, ">0 % of the roof"));
    free(page);
    page = page_of_verdict(*state, "eta = NULL, bound = 'undetermined', finding = NULL,"
                                   " reason = 'nothing is moved or computed'");
    has(page, "has no clear limit: nothing is moved or computed.</p>");
    free(page);
    page = page_of_verdict(*state, "eta = NULL, bound = 'memory', finding = NULL");
    has(page, "is limited by memory.</p>");
    free(page);
}

static const char *const hostile_names[] = {
    "</title><script>alert(1)</script>",
    "\" onload=\"alert(1)",
    "' `touch /tmp/ridge-owned` $(touch /tmp/ridge-owned) \\",
    "a\tb\nc\r\n# comment\n\n\n1 2 3",
    "# x",
    "{/Bold x}^2_3 @DRAW %s %n",
    "",
    "   ",
    "\xff\xfe broken \xc3",
    ("\x1b[31mred\x1b]0;title\x07 \xc2\x9b"
     "31m"),
    "model\xe2\x80\xaegnp.exe \xe2\x81\xa6x",
    "\xe6\xa8\xa1\xe5\x9e\x8b \xf0\x9f\xa6\x99",
    "a very long name that goes on and on and on and on and on and on and on and on and on and on",
};

static void test_hostile_names(void **state)
{
    struct fixture *f = *state;
    bool gnuplot = have_gnuplot();
    for (size_t i = 0; i < sizeof hostile_names / sizeof hostile_names[0]; i++) {
        struct str note = {0};
        char dir[128];
        struct store *store = made(f->path, small(hostile_names[i]));
        char *page = page_of(f, store, gnuplot ? "gnuplot" : "no-such-program", 30000, &note);
        if (gnuplot && note.length)
            fail_msg("'%s': %s", hostile_names[i], str_text(&note));
        check_nesting(page);
        assert_null(strstr(page, "<script"));
        assert_null(strstr(page, "\" onload"));
        for (const char *p = page; *p; p++) // no escape sequence, no bidirectional control
            assert_true((unsigned char)*p >= 0x20 || strchr("\r\n\t", *p));
        assert_null(strstr(page, "\xc2\x9b"));
        assert_null(strstr(page, "\xe2\x80\xae"));
        assert_null(strstr(page, "\xe2\x81\xa6"));
        assert_int_not_equal(access("/tmp/ridge-owned", F_OK), 0);
        snprintf(dir, sizeof dir, "%s/out", f->dir);
        assert_int_equal(files_in(dir, ".svg"), gnuplot ? 9 : 0);
        free(page);
        str_fini(&note);
        store_close(store);
        unlink(f->path);
    }
}

// Bars are labelled with whole series, so a label may be as long as labels get. Each stays within the picture's 560
// units; a letter of this size is about 8 wide.
static void test_long_labels_of_bars_are_in_the_picture(void **state)
{
    enum { WIDTH = 560, LETTER = 9 };
    static const char place[] = "translate(", anchor[] = "text-anchor=\"";
    struct fixture *f = *state;
    struct error err = {0};
    struct str note = {0};
    char path[160], *svg = NULL;
    size_t size = 0;
    int labels = 0;
    if (!have_gnuplot())
        skip();
    struct store *store = made(f->path, small("a name so long that it fills the label by itself"));
    free(page_of(f, store, "gnuplot", 30000, &note));
    snprintf(path, sizeof path, "%s/out/memory.svg", f->dir);
    must(file_read(path, 1 << 20, &svg, &size, &err), &err);
    for (const char *p = svg; (p = strstr(p, "<text>a name so long")) != NULL; p++) {
        const char *at = p, *how = p;
        while (strncmp(at, place, sizeof place - 1) != 0)
            at--;
        while (strncmp(how, anchor, sizeof anchor - 1) != 0)
            how--;
        double x = atof(at + sizeof place - 1);
        assert_int_equal(strncmp(how + sizeof anchor - 1, "start", 5), 0);
        assert_true(x >= 0 && x + LETTER * (double)strcspn(p + 6, "<") <= WIDTH);
        labels++;
    }
    assert_true(labels > 0);
    free(svg);
    str_fini(&note);
    store_close(store);
}

// ---- quality ------------------------------------------------------------------------------------

// In the row of the speed, with its change; where there is none, with the reason.
static void test_quality_stands_beside_the_speed(void **state)
{
    struct fixture *f = *state;
    struct str note = {0};
    struct made_store what = {
        .models = 1, .schemes = 4, .batches = 1, .contexts = 1, .quality = true};
    struct store *store = made(f->path, what);
    char *page = page_of(f, store, "no-such-program", 300, &note);
    check_nesting(page);
    has(page, "<td class=n>17.02 <small>+0.000&#8239;%</small></td>");
    has(page, "<td class=n>17.19 <small>+1&#8239;%</small></td>");
    has(page, "<td class=n>17.71 <small>+4.1&#8239;%</small></td>");
    has(page, "title=\"synthetic weights have no quality\">not measured</span>");
    has(page, "kv bf16, head bf16, half-512");
    has(page, "<td class=n>98.00&#8239;%</td>"); // same top
    has(page, "0.006 nat");
    free(page);
    store_close(store);
    unlink(f->path);
    what.quality = false;
    store = made(f->path, what);
    page = page_of(f, store, "no-such-program", 300, &note);
    check_nesting(page);
    has(page, "Not collected in this run");
    assert_null(strstr(page, "synthetic weights"));
    free(page);
    str_fini(&note);
    store_close(store);
}

static void expect_data(const char *dir, const char *name, const char *expected)
{
    char path[160], *text = NULL;
    struct error err = {0};
    size_t size = 0;
    snprintf(path, sizeof path, "%s/%s.dat", dir, name);
    must(file_read(path, 1 << 16, &text, &size, &err), &err);
    if (!str_glob(expected, text))
        assert_string_equal(text, expected); // shows both
    free(text);
}

// Speed falls and perplexity rises with every scheme of the first model: all are on the front. bf16 of
// the second is slower than int8 and worse: it is not. Where these two stand close the lower one is named below.
static void test_pareto_fronts(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct report_data data;
    struct pictures pictures = {0};
    struct made_store what = {
        .models = 2, .schemes = 4, .batches = 2, .contexts = 2, .quality = true};
    struct store *store = made(f->path, what);
    must(report_data_load(store, NULL, &data, &err), &err);
    must(picture_pareto(&data, f->dir, &pictures, &err), &err);
    assert_int_equal(pictures.count, 4);
    assert_string_equal(pictures.row[0].title,
                        "Decode speed against perplexity, tiny (batch 1, context 512)");
    expect_data(f->dir, "pareto-decode",
                "f32\t*\t17.02\t1\nbf16\t*\t17.19*\t1\nint8\t*\t17.71*\t1\n\n\n"
                "none\t?\t?\t1\n\n\n");
    expect_data(f->dir, "pareto-decode-2",
                "f32\t*\t17.02\t1\nint8\t*\t20.58*\t1\n\n\nbf16\t*\t20.78*\t1\n\n\n");
    expect_data(f->dir, "pareto-memory-2",
                "int8\t*\t20.58*\t-1\nf32\t*\t17.02\t1\n\n\nbf16\t*\t20.78*\t1\n\n\n");
    pictures_fini(&pictures);
    report_data_fini(&data);
    store_close(store);
}

// However many series a run has, each that was measured is in one picture, and what a picture has no room for is named.
static void test_no_series_is_lost(void **state)
{
    enum { SERIES = 150, MODELS = 15 };
    (void)state;
    static char models[MODELS][16];
    static struct series series[SERIES];
    struct error err = {0};
    struct pictures pictures = {0};
    struct report_data data = {.series = series, .series_count = SERIES};
    struct series_group *groups;
    size_t count, held = 0;
    for (int i = 0; i < SERIES; i++) {
        snprintf(models[i % MODELS], sizeof models[0], "model %d", i % MODELS);
        series[i] = (struct series){
            .label = models[i % MODELS], .model = models[i % MODELS], .measured = i != 7};
    }
    must(picture_groups(&data, &pictures, &groups, &count, &err), &err);
    assert_int_equal(count, 2 * MODELS); // ten series of a model, eight in a picture
    for (size_t g = 0; g < count; g++)
        for (size_t i = 0; i < groups[g].count; i++, held++)
            assert_string_equal(groups[g].series[i]->model, groups[g].model);
    assert_int_equal(held, SERIES - 1);
    for (int i = 0; i < PICTURES_MAX; i++)
        assert_non_null(picture_add(&pictures, "p", "lines.gp", "t", "a"));
    assert_int_equal(pictures.absent_count, 0);
    assert_null(picture_add(&pictures, "p", "lines.gp", "One more", "a"));
    assert_null(picture_add(&pictures, "p", "lines.gp", "another", "a"));
    assert_int_equal(pictures.absent_count, 1); // a reason is there once
    assert_string_equal(pictures.absent[0].reason, "a report has at most 48 pictures");
    assert_string_equal(pictures.absent[0].what, "One more; another");
    pictures_fini(&pictures);
}

// One bar per series, of the first sixteen; the number of the others is text.
static void test_bars_without_room_are_counted(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct report_data data;
    struct pictures pictures = {0};
    struct made_store what = {.models = 5, .schemes = 4, .batches = 1, .contexts = 1};
    struct store *store = made(f->path, what);
    must(report_data_load(store, NULL, &data, &err), &err);
    must(picture_memory(&data, f->dir, &pictures, &err), &err);
    assert_int_equal(pictures.absent_count, 1);
    assert_string_equal(pictures.absent[0].what, "Memory of 4 more series");
    pictures_fini(&pictures);
    report_data_fini(&data);
    store_close(store);
}

// ---- errors -------------------------------------------------------------------------------------

static void check_unwritable(const char *path)
{
    struct error err = {0};
    struct store *store = NULL;
    struct str note = {0};
    char *index = NULL;
    struct report_options options = {
        .dir = "/proc/nowhere/out", .formats = REPORT_HTML, .gnuplot = "true", .timeout_ms = 1000};
    must(store_open(path, STORE_READ, &store, &err), &err);
    assert_int_equal(report_write(store, NULL, &options, &index, &note, &err), ERR_IO);
    assert_null(index);
    assert_non_null(strstr(err.message, "/proc/nowhere"));
    store_close(store);
}

static void test_errors(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct str note = {0};
    char dir[128], *index = NULL;
    unsigned formats = 0;
    struct store *store = made(f->path, small(NULL));
    check_unwritable(f->path);
    struct report_options options = report_to(f, dir, REPORT_HTML, "true", 1000);
    assert_int_equal(report_write(store, "42", &options, &index, &note, &err), ERR_USAGE);
    assert_int_not_equal(access(dir, F_OK), 0); // nothing was made
    error_clear(&err);
    assert_int_equal(report_formats("html,pdf", &formats, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "'pdf'"));
    error_clear(&err);
    assert_int_equal(report_formats("", &formats, &err), ERR_USAGE);
    error_clear(&err);
    must(report_formats("csv, html", &formats, &err), &err);
    assert_int_equal(formats, REPORT_CSV | REPORT_HTML);
    store_close(store);
}

// A run without cells, one without ceilings, and one with forty series.
static void test_odd_runs(void **state)
{
    struct fixture *f = *state;
    struct str note = {0};
    bool gnuplot = have_gnuplot();
    const char *program = gnuplot ? "gnuplot" : "no-such-program";
    static const struct made_store odd[] = {
        {.models = 0, .schemes = 1, .batches = 1, .contexts = 1},
        {.models = 1, .schemes = 1, .batches = 1, .contexts = 1, .trials = 1},
        {.models = 5, .schemes = 4, .batches = 3, .contexts = 2, .quality = true},
    };
    for (size_t i = 0; i < sizeof odd / sizeof odd[0]; i++) {
        struct store *store = made(f->path, odd[i]);
        char *page = page_of(f, store, program, 30000, &note);
        check_nesting(page);
        assert_true(strlen(page) < 3 << 20);
        if (gnuplot)
            assert_string_equal(str_text(&note), "");
        free(page);
        store_close(store);
        unlink(f->path);
    }
    str_fini(&note);
}

static void test_labels(void **state)
{
    static const char *const cases[][2] = {
        {"7b int8 cpu", "7b int8 cpu"},
        {"a\tb\nc", "a?b?c"},
        {"\"q\" \\n", "'q' /n"},
        {"", "(no name)"},
        {"  ", "(no name)"},
        {"\xff", "?"},
        {"\xc3\xa9", "\xc3\xa9"},
        {"0123456789012345678901234567890123456789012345",
         "01234567890123456789012345678901234567890123..."},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct str out = {0};
        picture_label(&out, cases[i][0]);
        assert_string_equal(str_text(&out), cases[i][1]);
        str_fini(&out);
    }
}

static void test_figures(void **state)
{
    (void)state;
    struct stat_summary s = {.n = 6, .median = 41.2e6, .median_interval = {40.9e6, 41.6e6, 0.97}};
    struct str out = {0};
    html_figure(&out, &s, "ns");
    assert_string_equal(str_text(&out), "41.2 ms <small>40.9\xe2\x80\x93"
                                        "41.6</small>");
    str_fini(&out);
    s.median_interval.low = 0.9e6; // another unit: both are said
    html_figure(&out, &s, "ns");
    assert_string_equal(str_text(&out), "41.2 ms <small>900 us\xe2\x80\x93"
                                        "41.6 ms</small>");
    str_fini(&out);
    html_figure(&out, NULL, "ns");
    assert_non_null(strstr(str_text(&out), "not measured"));
    str_fini(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(test_whole_report),
        fixture_test(test_inefficient),
        fixture_test(test_a_range_of_the_roof),
        fixture_test(test_above_the_roof),
        fixture_test(test_reasons_and_tiny_shares),
        fixture_test(test_hostile_names),
        fixture_test(test_long_labels_of_bars_are_in_the_picture),
        fixture_test(test_quality_stands_beside_the_speed),
        fixture_test(test_pareto_fronts),
        cmocka_unit_test(test_no_series_is_lost),
        fixture_test(test_bars_without_room_are_counted),
        fixture_test(test_errors),
        fixture_test(test_odd_runs),
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_figures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
