// test_view.c - what `bench list` and `bench show` print of a store, on paper and on terminals.
#include "tests/cli/fixture.h"

#include <fcntl.h>
#include <jansson.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "bench/cli/command.h"
#include "bench/cli/view.h"
#include "results/query.h"
#include "tests/report/make_store.c"

extern const struct command command_export, command_list, command_model_logits, command_show;

enum { OUT_BYTES = 1 << 20 };

static char dir[] = "/tmp/ridge-view-XXXXXX", db[64], out[OUT_BYTES];

// 48 cells of one model that were run, four of which failed and one was noisy; one left out and two not run yet.
static int make(void **state)
{
    const struct made_store what = {.models = 1,
                                    .schemes = 4,
                                    .batches = 3,
                                    .contexts = 4,
                                    .trials = 2,
                                    .reps = 2,
                                    .seed = 1,
                                    .failures = true};
    struct store *store = NULL;
    struct error err = {0};
    int64_t run = 0, cell = 0;
    (void)state;
    assert_non_null(mkdtemp(dir));
    snprintf(db, sizeof db, "%s/a b.db", dir);
    if (store_open(db, STORE_WRITE, &store, &err) != OK || make_run(store, &what, &run, &err) != OK)
        fail_msg("%s", err.message);
    for (int i = 0; i < 3; i++) {
        char key[65], label[32];
        snprintf(key, sizeof key, "%064d", i);
        snprintf(label, sizeof label, "big f32 cpu b%d c64", i + 1);
        struct store_cell more = {.run = run,
                                  .key = key,
                                  .params_json = "{}",
                                  .label = label,
                                  .model = "big",
                                  .scheme = "f32",
                                  .device = "cpu",
                                  .trials_planned = 2,
                                  .skip_status = "skipped",
                                  .skip_reason = i ? NULL : "too large"};
        if (store_cell(store, &more, &cell, &err) != OK)
            fail_msg("%s", err.message);
    }
    store_close(store);
    return 0;
}

static int clean(void **state)
{
    char command[64];
    (void)state;
    snprintf(command, sizeof command, "rm -r %s", dir);
    return system(command);
}

static const char *printed(const struct command *command, const char *word, const char *option)
{
    const char *const words[] = {"--db", db, word ? word : option, word ? option : NULL, NULL};
    struct error err = {0};
    if (run_command(command, words, out, sizeof out, &err) != EXIT_FINE)
        fail_msg("%s", err.message);
    return out;
}

static void has(const char *text, const char *part)
{
    if (!strstr(text, part))
        fail_msg("'%s' is not in: %s", part, text);
}

// ---- counts ---------------------------------------------------------------------------------------------

// Cells, ok, noisy, failed, pending, left out, trials.
enum { COUNTS = 7 };
static const int made_counts[COUNTS] = {51, 43, 1, 4, 2, 1, 96};

static void runs_are_listed_with_their_counts(void **state)
{
    (void)state;
    const char *text = printed(&command_list, NULL, NULL), *row = strchr(text, '\n');
    char suite[16], started[32], status[16];
    int id, got[COUNTS];
    has(text, "cells  ok  noisy  failed  not run  left out  trials\n");
    assert_int_equal(sscanf(row, "%d %15s %31s %15s %d %d %d %d %d %d %d", &id, suite, started,
                            status, &got[0], &got[1], &got[2], &got[3], &got[4], &got[5], &got[6]),
                     11);
    assert_string_equal(suite, "made");
    assert_memory_equal(got, made_counts, sizeof got);
}

static enum exit_code print_fields(const struct arguments *args, struct error *err)
{
    (void)args;
    (void)err;
    cli_view_json_fields("hardware", "{\"cores\": [{\"kind\": 1, \"count\": 2}], \"isa\": [\"a\", "
                                     "\"b\"], \"caches\": {\"l2\": [{\"level\": 2, \"bytes\": 8}, "
                                     "{\"level\": 3}], \"packages\": [1], \"units\": 4}}");
    return EXIT_FINE;
}

// Values of one member do not run into the next member.
static void nested_json_has_parentheses(void **state)
{
    (void)state;
    static const struct command command = {.name = "fields", .run = print_fields};
    const char *words[] = {NULL};
    struct error err = {0};
    assert_int_equal(run_command(&command, words, out, sizeof out, &err), EXIT_FINE);
    assert_non_null(strstr(out, "kind 1, count 2\n"));
    assert_non_null(strstr(out, "a, b\n"));
    assert_non_null(strstr(out, "l2 (level 2, bytes 8; level 3), packages 1, units 4\n"));
}

static void json_has_the_same_counts(void **state)
{
    (void)state;
    json_t *runs = json_loads(printed(&command_list, NULL, "--json"), 0, NULL);
    int got[COUNTS];
    assert_int_equal(json_array_size(runs), 1);
    assert_int_equal(json_unpack(json_array_get(runs, 0), "{si si si si si si si}", "cells",
                                 &got[0], "ok", &got[1], "disturbed", &got[2], "failed", &got[3],
                                 "pending", &got[4], "left_out", &got[5], "trials", &got[6]),
                     0);
    assert_memory_equal(got, made_counts, sizeof got);
    json_decref(runs);
}

static void a_run_is_shown_with_its_counts(void **state)
{
    (void)state;
    has(printed(&command_show, "1", NULL),
        "cells          51: 43 ok, 1 noisy or throttled, 4 failed, 2 not run yet, 1 left out\n");
}

// ---- a cell ---------------------------------------------------------------------------------------------

// 30 MB of weights and 8 of scratch are predicted; the peak is 2 % and 30 MB more.
static void a_cell_holds_its_peak_against_the_plan(void **state)
{
    (void)state;
    has(printed(&command_show, "tiny f32 cpu b1 c512", NULL),
        "memory         predicted 37.5 MiB; peak of the whole process 66.9 MiB, 1.78 times that\n");
    has(printed(&command_show, "big f32 cpu b2 c64", NULL), "memory         not predicted\n");
}

static void a_cell_has_one_verdict_a_phase(void **state)
{
    (void)state;
    const char *text = printed(&command_show, "tiny f32 cpu b1 c512", NULL);
    has(text, "host clock + analytic  memory-bound, ");
    has(text, " % of the roof\n");
    assert_null(strstr(text, "trials agree")); // all do
}

// ---- terminals ------------------------------------------------------------------------------------------

// Runs the command with a terminal of that width as its standard output.
static void on_terminal(const struct command *command, const char *word, const char *columns)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY);
    size_t used = 0;
    ssize_t got;
    if (master < 0 || grantpt(master) != 0 || unlockpt(master) != 0) {
        print_message("skipped: no pseudo-terminal here\n");
        skip();
    }
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        const char *const words[] = {"--db", db, word, NULL};
        struct arguments *args = NULL;
        struct error err = {0};
        dup2(open(ptsname(master), O_RDWR | O_NOCTTY), STDOUT_FILENO);
        setenv("COLUMNS", columns, 1);
        if (cli_arguments_parse(command, word ? 3 : 2, (char **)(uintptr_t)words, &args, &err) ==
            OK)
            command->run(args, &err);
        fflush(stdout);
        _exit(err.code != OK);
    }
    int status = 0, slave = open(ptsname(master), O_RDWR | O_NOCTTY); // the master reads no end
    bool ended = false;
    struct pollfd poll_master = {.fd = master, .events = POLLIN};
    while (!ended || poll(&poll_master, 1, 0) > 0) {
        if (poll(&poll_master, 1, 20) > 0 &&
            (got = read(master, out + used, sizeof out - 1 - used)) > 0)
            used += (size_t)got;
        ended = ended || waitpid(child, &status, WNOHANG) == child;
    }
    out[used] = '\0';
    close(slave);
    close(master);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_true(used > 0);
}

static void assert_fits(const char *text, int columns)
{
    while (*text) {
        size_t length = strcspn(text, "\r\n");
        if (length > (size_t)columns)
            fail_msg("%zu columns, %d fit: %.*s", length, columns, (int)length, text);
        text += length;
        text += strspn(text, "\r\n");
    }
}

static void nothing_is_wider_than_the_terminal(void **state)
{
    static const struct {
        const struct command *command;
        const char *word;
    } prints[] = {{&command_list, NULL},
                  {&command_list, "--run=1"},
                  {&command_show, "1"},
                  {&command_show, "tiny f32 cpu b1 c512"},
                  {&command_show, "tiny f32 cpu b2 c1024"}}; // oom
    static const char *const widths[] = {"60", "80", "132"};
    (void)state;
    for (size_t i = 0; i < sizeof prints / sizeof *prints; i++)
        for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
            on_terminal(prints[i].command, prints[i].word, widths[w]);
            assert_fits(out, atoi(widths[w]));
        }
}

// ---- which store ----------------------------------------------------------------------------------------

// A store needs no --db where commands without it look, by whatever path it was named.
static void the_own_store_is_known(void **state)
{
    (void)state;
    char *argv[] = {NULL}, link[64];
    struct arguments *args = NULL;
    struct error err = {0};
    setenv("XDG_DATA_HOME", dir, 1);
    assert_int_equal(cli_arguments_parse(&command_list, 0, argv, &args, &err), OK);
    char *own = command_database(args, &err);
    assert_non_null(own);
    assert_true(command_database_is_own(own));
    assert_false(command_database_is_own(db));
    snprintf(link, sizeof link, "%s/link.db", dir);
    assert_int_equal(symlink(own, link), 0);
    assert_int_equal(command_database_is_own(link), access(own, F_OK) == 0); // of nothing yet
    free(own);
    cli_arguments_destroy(args);
}

// What is read is never what is written, by whatever path it was named.
static void an_output_is_not_the_input(void **state)
{
    (void)state;
    char copy[64];
    struct error err = {0};
    snprintf(copy, sizeof copy, "%s/copy.db", dir);
    assert_int_equal(symlink(db, copy), 0);
    const char *const export[] = {"--db", db, "-o", copy, NULL};
    const char *const logits[] = {db, "--ids", "1", "-o", copy, NULL};
    assert_int_equal(run_command(&command_export, export, out, sizeof out, &err), EXIT_ERROR);
    assert_non_null(strstr(err.message, "copy.db: it is the database"));
    error_clear(&err);
    assert_int_equal(run_command(&command_model_logits, logits, out, sizeof out, &err), EXIT_ERROR);
    assert_non_null(strstr(err.message, "copy.db: it is the model"));
    assert_non_null(strstr(printed(&command_list, "--run", "last"), "tiny"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_are_listed_with_their_counts),
        cmocka_unit_test(json_has_the_same_counts),
        cmocka_unit_test(nested_json_has_parentheses),
        cmocka_unit_test(a_run_is_shown_with_its_counts),
        cmocka_unit_test(a_cell_holds_its_peak_against_the_plan),
        cmocka_unit_test(a_cell_has_one_verdict_a_phase),
        cmocka_unit_test(nothing_is_wider_than_the_terminal),
        cmocka_unit_test(the_own_store_is_known),
        cmocka_unit_test(an_output_is_not_the_input),
    };
    return cmocka_run_group_tests(tests, make, clean);
}
