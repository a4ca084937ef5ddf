// test_profile.c - `bench profile`: bad words are one error before anything is measured. A stored cell is shown as
// text, JSON and a page. Its figures are printed although the page cannot be written. Help has the defaults of suites.
#include "tests/cli/fixture.h"

#include <jansson.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "bench/cli/command.h"
#include "bench/suite/options.h"
#include "results/basis.h"
#include "results/query.h"
#include "tests/report/make_store.c"

extern const struct command command_profile;

enum { OUT_BYTES = 1 << 18 };

static char dir[] = "/tmp/ridge-profile-XXXXXX", db[64], page[64], out[OUT_BYTES];

static int make(void **state)
{
    const struct made_store what = {
        .models = 1, .schemes = 2, .batches = 1, .contexts = 1, .trials = 1, .reps = 2, .seed = 1};
    struct store *store = NULL;
    struct error err = {0};
    int64_t run = 0;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(db, sizeof db, "%s/bench.db", dir);
    snprintf(page, sizeof page, "%s/page.html", dir);
    if (store_open(db, STORE_WRITE, &store, &err) != OK || make_run(store, &what, &run, &err) != OK)
        fail_msg("%s", err.message);
    store_close(store);
    return 0;
}

static int clear(void **state)
{
    char command[96];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

// Each is refused with exit 1 and these words. `{}` stands for the folder of the test.
static const struct {
    const char *words[8], *says;
    enum status code;
} refused[] = {
    {{NULL}, "a MODEL to measure is missing, or --cell CELL to show", ERR_USAGE},
    {{"no-such-shape", NULL}, "MODEL: unknown shape 'no-such-shape'", ERR_USAGE},
    {{"no/such/folder", NULL}, "no/such/folder: no such file or folder", ERR_USAGE},
    {{"models/referenc", NULL}, "did you mean 'models/reference'?", ERR_USAGE},
    {{"models/reference", "--scheme", "int5", NULL}, "--scheme: unknown scheme 'int5'", ERR_USAGE},
    {{"models/reference", "--batch", "0", NULL}, "--batch: 0 is not within 1 and 65536", ERR_USAGE},
    {{"models/reference", "--batch", "1,2", NULL}, "these flags make 2 cells", ERR_USAGE},
    {{"models/reference", "--kv", "f33", NULL}, "--kv: unknown value 'f33'", ERR_USAGE},
    {{"models/reference", "--set", "sweep profile.kv=f33", NULL},
     "--set 'sweep profile.kv=f33': unknown value 'f33'",
     ERR_USAGE},
    {{"models/reference", "--prompt", "text:/no/file", NULL},
     "--prompt: there is no file /no/file",
     ERR_USAGE},
    {{"models/reference", "--scheme", "int4-awq", "--calib", "nofile", NULL},
     "--calib: there is no file nofile",
     ERR_USAGE},
    {{"models/reference", "--calib", "nofile", NULL},
     "--calib: nothing reads it: only int4-awq calibrates",
     ERR_USAGE},
    {{"models/reference", "--step", "graph", NULL}, "--step: nothing reads it", ERR_USAGE},
    {{"models/reference", "--products", "cublaslt", NULL},
     "--products: nothing reads it: only devices of kind cuda have a choice",
     ERR_USAGE},
    {{"models/reference", "--set", "sweep profile.quality_windows=1", NULL},
     "--set 'sweep profile.quality_windows=1': nothing reads it: only collect = quality reads it",
     ERR_USAGE},
    {{"models/reference", "--device", "gpu9", NULL}, "--device", ERR_USAGE},
    {{"models/reference", "--html", "/tmp", NULL}, "--html /tmp: it is a folder", ERR_USAGE},
    {{"models/reference", "--trace", "/no-such-folder/t", NULL}, "--trace", ERR_IO},
    {{"models/reference", "--set", "sweep profile.btach=1", NULL},
     "unknown key 'btach'",
     ERR_USAGE},
    {{"models/reference", "--gen", "8", "--context", "8", NULL}, "context", ERR_USAGE},
    {{"models/reference", "--cell", "tiny", NULL}, "MODEL and --trace go without it", ERR_USAGE},
    {{"--cell", "tiny", "--batch", "4", NULL}, "--batch goes without it", ERR_USAGE},
    {{"models/reference", "--trace", "", NULL}, "--trace: the name of a file", ERR_USAGE},
    {{"models/reference", "--html", "/tmp/x", "--trace", "/tmp/x", NULL},
     "--html and --trace: both name /tmp/x",
     ERR_USAGE},
    {{"--cell", "nothing-like-it", NULL}, "nothing-like-it", ERR_USAGE},
};

static void bad_words_are_one_error(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        const char *words[12] = {NULL};
        struct error err = {0};
        char fresh[96];
        size_t count = 0;
        for (; refused[i].words[count]; count++)
            words[count] = refused[i].words[count];
        snprintf(fresh, sizeof fresh, "%s/%s.db", dir,
                 str_equal(words[0], "--cell") ? "bench" : "fresh");
        words[count] = "--db";
        words[count + 1] = fresh;
        words[count + 2] = NULL;
        enum exit_code code = run_command(&command_profile, words, out, sizeof out, &err);
        if (code != EXIT_ERROR || !strstr(err.message, refused[i].says))
            fail_msg("case %zu: exit %d, %s", i, (int)code, err.message);
        assert_string_equal(out, "");
        assert_true(strchr(err.message, '\n') == NULL);
        snprintf(fresh, sizeof fresh, "%s/fresh.db", dir);
        assert_false(file_exists(fresh)); // nothing was measured
    }
}

static void a_stored_cell_is_shown(void **state)
{
    (void)state;
    struct error err = {0};
    const char *const over[] = {"--cell", "tiny bf16 cpu b1 c512", "--db", db, "--html", db, NULL};
    assert_int_equal(run_command(&command_profile, over, out, sizeof out, &err), EXIT_ERROR);
    assert_non_null(strstr(err.message, "bench.db: it is the database"));
    error_clear(&err);
    const char *const text[] = {"--cell", "tiny bf16 cpu b1 c512", "--db", db, "--html", page,
                                NULL};
    const char *const json[] = {"--cell", "tiny bf16 cpu b1 c512", "--db", db, "--json", NULL};
    assert_int_equal(run_command(&command_profile, text, out, sizeof out, &err), EXIT_FINE);
    assert_non_null(strstr(out, "decode, one step: "));
    assert_non_null(strstr(out, "analytic: bytes and operations are computed"));
    assert_true(file_exists(page));

    assert_int_equal(run_command(&command_profile, json, out, sizeof out, &err), EXIT_FINE);
    json_error_t failed;
    json_t *root = json_loads(out, 0, &failed), *phase;
    if (!root)
        fail_msg("%d: %s", failed.line, failed.text);
    assert_string_equal(json_string_value(json_object_get(root, "label")), "tiny bf16 cpu b1 c512");
    phase = json_array_get(json_object_get(root, "phases"), 0);
    assert_string_equal(json_string_value(json_object_get(phase, "phase")), "decode");
    assert_true(json_number_value(json_object_get(phase, "time_ns")) > 0);
    assert_int_equal(json_array_size(json_object_get(phase, "classes")), 0);
    assert_true(json_is_object(json_object_get(phase, "verdict")));
    json_decref(root);
}

// Two verdicts on a phase are two sentences, and each says what it is by.
static void a_counted_phase_has_two_verdicts(void **state)
{
    (void)state;
    struct error err = {0};
    sqlite3 *store = NULL;
    const char *const text[] = {"--cell", "tiny f32 cpu b1 c512", "--db", db, NULL};
    assert_int_equal(sqlite3_open(db, &store), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(store,
                     "INSERT INTO verdict (trial_id, phase, basis, bound, explanation, t_roof_ns, "
                     "measured_ns, eta, rho) SELECT v.trial_id, v.phase, '" BASIS_COUNTERS
                     "', v.bound, 'half of it', v.t_roof_ns, v.measured_ns, v.eta, v.rho "
                     "FROM verdict v JOIN trial t ON t.id = v.trial_id JOIN cell c ON "
                     "c.id = t.cell_id WHERE v.op IS NULL AND v.phase = 'decode' "
                     "AND c.label = 'tiny f32 cpu b1 c512'",
                     NULL, NULL, NULL),
        SQLITE_OK);
    assert_true(sqlite3_changes(store) > 0);
    sqlite3_close(store);
    assert_int_equal(run_command(&command_profile, text, out, sizeof out, &err), EXIT_FINE);
    assert_non_null(strstr(out, ". By counted bytes: half of it. By analytic bytes: "));
}

// The figures are printed although the page cannot be written.
static void a_full_disk_hides_no_figures(void **state)
{
    (void)state;
    struct error err = {0};
    const char *const words[] = {
        "--cell", "tiny bf16 cpu b1 c512", "--db", db, "--html", "/dev/full", NULL};
    assert_int_equal(run_command(&command_profile, words, out, sizeof out, &err), EXIT_ERROR);
    assert_non_null(strstr(err.message, "/dev/full: cannot be written"));
    assert_non_null(strstr(out, "decode, one step: "));
}

// "sequences at a time (1)": the value in parentheses is the option table's.
static void help_has_the_defaults_of_suites(void **state)
{
    (void)state;
    int compared = 0;
    for (const struct flag *f = command_profile.flags; f->name; f++) {
        const struct option *option = option_find(SECTION_SWEEP, f->name);
        const char *open = strrchr(f->help, '(');
        char shown[64];
        if (!option || !option->fallback || str_equal(option->fallback, "auto") || !open)
            continue;
        snprintf(shown, sizeof shown, "(%s)", option->fallback);
        assert_string_equal(open, shown);
        compared++;
    }
    assert_int_equal(compared, 8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_words_are_one_error),
        cmocka_unit_test(a_stored_cell_is_shown),
        cmocka_unit_test(a_counted_phase_has_two_verdicts),
        cmocka_unit_test(a_full_disk_hides_no_figures),
        cmocka_unit_test(help_has_the_defaults_of_suites),
    };
    return cmocka_run_group_tests_name("profile command", tests, make, clear);
}
