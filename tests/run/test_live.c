// test_live.c - what a person sees of a run: redrawn lines are wiped before others come, errands show that
// they go on, and none of it goes to standard output.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/os.h"
#include "base/str.h"
#include "bench/run/live.h"
#include "tests/report/make_store.c"

#define WIPE "\r\033[K"

struct screen {
    struct live live;
    char *text;
    size_t bytes;
};

static void screen_open(struct screen *s, enum runner_output output)
{
    memset(s, 0, sizeof *s);
    live_begin(&s->live, output, true);
    assert_ptr_equal(s->live.out, stderr);
    s->live.out = open_memstream(&s->text, &s->bytes);
    s->live.columns = 80;
    assert_non_null(s->live.out);
}

// expected: a glob, for times.
static void assert_screen(struct screen *s, const char *expected)
{
    fclose(s->live.out);
    if (!str_glob(expected, s->text))
        assert_string_equal(s->text, expected); // shows both
    free(s->text);
}

static struct cell a_cell(void)
{
    return (struct cell){.label = "tiny f32 cpu", .procs = 2, .predicted_ns = 2e9};
}

static struct trial a_trial(const struct cell *cell)
{
    return (struct trial){.cell = cell, .number = 1, .status = "crashed", .reason = "it fell"};
}

static void what_a_file_does_not_say(void **state)
{
    (void)state;
    struct screen s;
    struct plan_model models[] = {{.label = "a", .fallback = ""},
                                  {.label = "b", .fallback = "64 positions are taken"}};
    struct plan plan = {.models = models, .model_count = 2};
    screen_open(&s, RUNNER_PLAIN);
    live_models(&s.live, &plan);
    assert_screen(&s, "b: 64 positions are taken\n");
}

// From the errand over its ticks to the first cell and its trial: nothing is glued to what was there before.
static void a_redrawn_line_is_wiped_before_the_next(void **state)
{
    (void)state;
    struct screen s;
    struct cell cell = a_cell();
    struct trial trial = a_trial(&cell);
    screen_open(&s, RUNNER_LIVE);
    live_note(&s.live, "measuring what this machine can do");
    live_expect(&s.live, 2, 2e9);
    live_cell(&s.live, &cell);
    live_tick(&s.live); // of an errand that is over
    live_progress(&s.live, "decode", 1, 0.5);
    live_trial(&s.live, &trial);
    live_line(&s.live, "the end");
    assert_screen(
        &s, "measuring what this machine can do" WIPE
            "trial 1 of 2, about 0:02 left  tiny f32 cpu  [########........] decode, rep 1" WIPE
            "trial 1 of 2  tiny f32 cpu  \033[31mcrashed\033[0m: it fell\n"
            "the end\n");
}

static void a_long_line_is_cut_to_the_terminal(void **state)
{
    (void)state;
    struct screen s;
    screen_open(&s, RUNNER_LIVE);
    s.live.columns = 20;
    live_note(&s.live, "measuring what this machine can do");
    assert_screen(&s, "measuring what this");
}

// The clock of the errand is moved back, which is as good as waiting.
static void an_errand_shows_how_long_it_takes(void **state)
{
    (void)state;
    struct screen s;
    screen_open(&s, RUNNER_LIVE);
    live_note(&s.live, "measuring");
    s.live.noted_ns = clock_ns() - 65500000000u;
    live_tick(&s.live);
    assert_screen(&s, "measuring" WIPE "measuring  1:??");

    screen_open(&s, RUNNER_PLAIN);
    live_note(&s.live, "measuring");
    live_tick(&s.live);
    s.live.noted_ns = clock_ns() - 10400000000u;
    s.live.last_say_ns = s.live.noted_ns;
    live_tick(&s.live);
    live_tick(&s.live);
    assert_screen(&s, "measuring\nmeasuring: 0:?? so far\n");
}

// The time left as it is drawn, in a terminal wide enough.
static void assert_left(struct live live, const char *expected)
{
    struct screen s = {.live = live};
    char line[128];
    s.live.out = open_memstream(&s.text, &s.bytes);
    live_progress(&s.live, "decode", 0, 0);
    snprintf(line, sizeof line, "trial * of 4, about %s left  *", expected);
    assert_screen(&s, line);
}

// Predictions are scaled by how true they were, and the trial that runs counts down but never below the others.
static void the_time_left_is_scaled_and_counts_down(void **state)
{
    (void)state;
    uint64_t now = clock_ns(), second = 1000000000u;
    struct live live = {.drawing = true, .speaking = true, .columns = 120, .trials = 4};
    live.predicted_ns = 400e9;
    live.running_ns = 100e9;
    live.begin_ns = live.last_done_ns =
        now - 30 * second; // nothing has ended: as predicted, less the time since
    assert_left(live, "6:10");
    live.last_done_ns = live.begin_ns = now - 500 * second; // far over its prediction
    assert_left(live, "5:00");
    live.trials_done = 2; // 200 s were predicted, 50 s it took: four times as fast
    live.predicted_done_ns = 200e9;
    live.last_done_ns = now - 10 * second;
    live.begin_ns = now - 60 * second;
    assert_left(live, "0:40");
}

static void plain_lines_have_no_colours(void **state)
{
    (void)state;
    struct screen s;
    struct cell cell = a_cell();
    struct trial trial = a_trial(&cell);
    screen_open(&s, RUNNER_PLAIN);
    live_expect(&s.live, 2, 2e9);
    live_cell(&s.live, &cell);
    live_progress(&s.live, "decode", 1, 0.5);
    live_trial(&s.live, &trial);
    assert_screen(&s, "trial 1 of 2  tiny f32 cpu  crashed: it fell\n");
}

static void quiet_is_quiet(void **state)
{
    (void)state;
    struct screen s;
    struct cell cell = a_cell();
    struct trial trial = a_trial(&cell);
    screen_open(&s, RUNNER_QUIET);
    live_note(&s.live, "measuring");
    live_tick(&s.live);
    live_cell(&s.live, &cell);
    live_progress(&s.live, "load", 0, 0.5);
    live_trial(&s.live, &trial);
    live_line(&s.live, "the end");
    assert_screen(&s, "");
    assert_int_equal(s.live.trials_done, 1);
}

// What live_table writes to standard output, in `out`.
static void table_of(struct store *store, int64_t run, bool own_store, char *out, size_t out_bytes)
{
    struct error err = {0};
    struct live live;
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    live_begin(&live, RUNNER_PLAIN, own_store);
    enum status status = live_table(&live, store, run, &err);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    assert_int_equal(status, OK);
    rewind(file);
    out[fread(out, 1, out_bytes - 1, file)] = '\0';
    fclose(file);
}

// The commands to copy name the store only where they would not find it, quoted for the shell.
static void the_next_command_finds_the_store(void **state)
{
    (void)state;
    const struct made_store what = {
        .models = 1, .schemes = 1, .batches = 1, .contexts = 1, .trials = 1, .reps = 1, .seed = 1};
    struct error err = {0};
    struct store *store = NULL;
    int64_t run = 0;
    char dir[] = "/tmp/ridge-live-XXXXXX", path[64], expected[256], program[64];
    FILE *there;
    static char out[1 << 16];
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/a b.db", dir);
    if (store_open(path, STORE_WRITE, &store, &err) != OK ||
        make_run(store, &what, &run, &err) != OK)
        fail_msg("%s", err.message);
    snprintf(program, sizeof program, "%s/bench", dir);
    assert_non_null(there = fopen(program, "w"));
    fclose(there);
    assert_int_equal(chmod(program, 0700), 0);
    assert_int_equal(setenv("PATH", dir, 1), 0);
    table_of(store, run, true, out, sizeof out);
    snprintf(expected, sizeof expected, "\nrun 1 is in %s; next: bench report 1\n", path);
    assert_non_null(strstr(out, expected));
    table_of(store, run, false, out, sizeof out);
    snprintf(expected, sizeof expected, "next: bench report 1 --db '%s'\n", path);
    assert_non_null(strstr(out, expected));
    unlink(program);
    char *self = os_executable_path(), *folder = getcwd(NULL, 0);
    size_t below = str_starts(self, folder) ? strlen(folder) + 1 : 0;
    table_of(store, run, true, out, sizeof out); // no bench in PATH: the program's path
    snprintf(expected, sizeof expected, "next: %s report 1\n", self + below);
    assert_non_null(strstr(out, expected));
    free(self);
    free(folder);
    store_close(store);
    unlink(path);
    rmdir(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_file_does_not_say),
        cmocka_unit_test(a_redrawn_line_is_wiped_before_the_next),
        cmocka_unit_test(a_long_line_is_cut_to_the_terminal),
        cmocka_unit_test(an_errand_shows_how_long_it_takes),
        cmocka_unit_test(the_time_left_is_scaled_and_counts_down),
        cmocka_unit_test(plain_lines_have_no_colours),
        cmocka_unit_test(quiet_is_quiet),
        cmocka_unit_test(the_next_command_finds_the_store),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
