// test_hostile.c - names and texts out of a store, a suite or a vocabulary: no command lets a terminal obey them.
//
// Lines for people are plain everywhere. Data (JSON, CSV, decoded text) is untouched in a file and plain on a
// terminal, for which a pseudo-terminal stands here.
#include "tests/cli/fixture.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <termios.h>

#include "base/str.h"
#include "bench/cli/dry_run.h"
#include "results/store.h"

#define HOSTILE                                                                                    \
    "\x1b]0;owned\x07\x1b[31m \xc2\x9b"                                                            \
    "2J \xe2\x80\xaegnp \xff"

extern const struct command command_list, command_show, command_export, command_model_tokenize;

enum { OUT_BYTES = 1 << 20 };

struct place {
    char dir[64], db[96];
    char *out; // (OUT_BYTES)
};

static int setup(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    p->out = calloc(1, OUT_BYTES);
    strcpy(p->dir, "/tmp/ridge-hostile-XXXXXX");
    if (!p->out || !mkdtemp(p->dir))
        return -1;
    snprintf(p->db, sizeof p->db, "%s/bench.db", p->dir);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct place *p = *state;
    char command[96];
    snprintf(command, sizeof command, "rm -rf %s", p->dir);
    int failed = system(command);
    free(p->out);
    free(p);
    return failed;
}

static void must(enum status status, const struct error *err)
{
    if (status != OK)
        fail_msg("%s", err->message);
}

// Every text that a run, a suite or a program of others can choose.
static void make_hostile_store(const char *path)
{
    struct error err = {0};
    struct store *store = NULL;
    int64_t run = 0, id = 0;
    struct store_run row = {
        .suite_name = HOSTILE, .suite_text = HOSTILE, .command = HOSTILE, .started_ns = 1};
    must(store_open(path, STORE_WRITE, &store, &err), &err);
    must(store_machine(store, HOSTILE, "{}", &row.machine, &err), &err);
    must(store_environment(store, "{}", &row.environment, &err), &err);
    must(store_build(store, "{}", &row.build, &err), &err);
    must(store_run_begin(store, &row, &run, &err), &err);
    struct store_cell cell = {.run = run,
                              .key = "0123abcd",
                              .params_json = "{}",
                              .label = HOSTILE,
                              .sweep = HOSTILE,
                              .model = HOSTILE,
                              .scheme = HOSTILE,
                              .device = HOSTILE,
                              .engine = HOSTILE,
                              .trials_planned = 1};
    struct store_ceiling ceiling = {
        .name = HOSTILE, .level = HOSTILE, .kernel = HOSTILE, .unit = HOSTILE, .source = HOSTILE};
    struct store_metric metric = {HOSTILE, HOSTILE, HOSTILE, HOSTILE, NULL, 1};
    struct store_sample sample = {.repetition = 1, .metrics = &metric, .metric_count = 1};
    struct store_trial trial = {.number = 1,
                                .status = "noisy",
                                .reason = HOSTILE,
                                .arithmetic = HOSTILE,
                                .stored = HOSTILE,
                                .engine_version = HOSTILE,
                                .samples = &sample,
                                .sample_count = 1};
    must(store_ceilings(store, run, &ceiling, 1, &err), &err);
    must(store_cell(store, &cell, &trial.cell, &err), &err);
    must(store_trial(store, &trial, &id, &err), &err);
    store_close(store);
}

// Nothing of it is obeyed: what is not printable is a line end or a tab, and all is UTF-8.
static void assert_plain(const char *text)
{
    char *copy = strdup(text);
    assert_non_null(copy);
    assert_true(strlen(text) > 0);
    str_plain_lines(copy);
    assert_string_equal(text, copy);
    free(copy);
}

static void run_on_file(const struct command *command, const char *const *words, struct place *p)
{
    struct error err = {0};
    if (run_command(command, words, p->out, OUT_BYTES, &err) != EXIT_FINE)
        fail_msg("%s: %s", words[0], err.message);
}

// The same with a terminal as standard output. What it prints must fit the terminal's buffer.
static void run_on_terminal(const struct command *command, const char *const *words,
                            struct place *p)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY), kept = dup(STDOUT_FILENO);
    assert_true(master >= 0 && grantpt(master) == 0 && unlockpt(master) == 0);
    int slave = open(ptsname(master), O_RDWR | O_NOCTTY);
    struct termios raw;
    assert_int_equal(tcgetattr(slave, &raw), 0);
    cfmakeraw(&raw);
    assert_int_equal(tcsetattr(slave, TCSANOW, &raw), 0);
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        struct arguments *args = NULL;
        struct error err = {0};
        char *argv[MAX_WORDS];
        int argc = 0;
        for (; words[argc]; argc++)
            argv[argc] = (char *)words[argc];
        dup2(slave, STDOUT_FILENO);
        bool fine = cli_arguments_parse(command, argc, argv, &args, &err) == OK &&
                    command->run(args, &err) == EXIT_FINE;
        fflush(stdout);
        _exit(fine ? 0 : 1);
    }
    close(slave);
    size_t count = 0;
    for (ssize_t got; (got = read(master, p->out + count, OUT_BYTES - 1 - count)) > 0;)
        count += (size_t)got;
    p->out[count] = '\0';
    close(master);
    close(kept);
    assert_int_equal(waitpid(child, &(int){0}, 0), child);
}

static void lines_for_people(void **state)
{
    struct place *p = *state;
    make_hostile_store(p->db);
    run_on_file(&command_list, (const char *const[]){"--db", p->db, NULL}, p);
    assert_plain(p->out);
    run_on_file(&command_list, (const char *const[]){"--db", p->db, "--run", "last", NULL}, p);
    assert_plain(p->out);
    assert_non_null(strstr(p->out, "stored ?]0;owned?"));
    run_on_file(&command_show, (const char *const[]){"--db", p->db, "last", NULL}, p);
    assert_plain(p->out);
    run_on_file(&command_show, (const char *const[]){"--db", p->db, "0123abcd", NULL}, p);
    assert_plain(p->out);
}

static void data_on_a_terminal(void **state)
{
    struct place *p = *state;
    make_hostile_store(p->db);
    static const char *const forms[] = {"json", "csv"};
    for (int i = 0; i < 2; i++) {
        run_on_terminal(&command_export,
                        (const char *const[]){"--db", p->db, "--format", forms[i], NULL}, p);
        assert_plain(p->out);
    }
    run_on_terminal(&command_list,
                    (const char *const[]){"--db", p->db, "--run", "last", "--json", NULL}, p);
    assert_plain(p->out);
    for (const char *c = p->out; *c; c++) // JSON is ASCII there
        assert_true((unsigned char)*c < 0x80);
    run_on_terminal(&command_show, (const char *const[]){"--db", p->db, "last", "--json", NULL}, p);
    assert_plain(p->out);
}

// Byte-level vocabularies have a token for every byte, escape included.
static void decoded_text(void **state)
{
    struct place *p = *state;
    static const char text[] = "\x1b[31mred \xe2\x80\xae";
    char ids[512];
    run_on_file(&command_model_tokenize, (const char *const[]){"models/reference", text, NULL}, p);
    snprintf(ids, sizeof ids, "%s", p->out);
    const char *const decode[] = {"models/reference", ids, "--decode", NULL};
    run_on_file(&command_model_tokenize, decode, p);
    assert_string_equal(p->out, text); // data in a file
    run_on_terminal(&command_model_tokenize, decode, p);
    assert_string_equal(p->out, "?[31mred ???");
}

// The plan of a suite whose name is hostile: the list of what would run.
static void dry_runs(void **state)
{
    struct place *p = *state;
    struct plan plan = {.suite_name = HOSTILE, .threads_note = HOSTILE};
    FILE *file = tmpfile();
    assert_non_null(file);
    cli_dry_run_print(&plan, HOSTILE, file);
    rewind(file);
    p->out[fread(p->out, 1, OUT_BYTES - 1, file)] = '\0';
    fclose(file);
    assert_plain(p->out);
}

// And as JSON: bytes that are no UTF-8 do not cost the document.
static void dry_runs_as_json(void **state)
{
    struct place *p = *state;
    static const char odd[] = "x\xff" HOSTILE;
    struct cell cell = {.key = "0123", .label = odd, .sweep = odd, .skip = odd};
    cell.params = json_object();
    struct plan plan = {.suite_name = odd,
                        .suite_path = odd,
                        .suite_text = odd,
                        .threads_note = odd,
                        .cells = &cell,
                        .cell_count = 1};
    struct error err = {0};
    FILE *file = tmpfile();
    assert_non_null(file);
    assert_int_equal(cli_dry_run_print_json(&plan, odd, file, &err), OK);
    rewind(file);
    p->out[fread(p->out, 1, OUT_BYTES - 1, file)] = '\0';
    fclose(file);
    json_decref(cell.params);
    json_t *root = json_loads(p->out, 0, NULL);
    json_t *row = json_array_get(json_object_get(root, "cells"), 0);
    assert_int_equal(strncmp(json_string_value(json_object_get(root, "suite")), "x?", 2), 0);
    assert_int_equal(strncmp(json_string_value(json_object_get(row, "reason")), "x?", 2), 0);
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(lines_for_people, setup, teardown),
        cmocka_unit_test_setup_teardown(data_on_a_terminal, setup, teardown),
        cmocka_unit_test_setup_teardown(decoded_text, setup, teardown),
        cmocka_unit_test_setup_teardown(dry_runs, setup, teardown),
        cmocka_unit_test_setup_teardown(dry_runs_as_json, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
