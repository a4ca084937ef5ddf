// run.c - `bench run SUITE`: from a suite file to a plan, and from there to the runner.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/home.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/str.h"
#include "bench/cli/command.h"
#include "bench/cli/dry_run.h"
#include "bench/cli/prepare.h"
#include "bench/cli/values.h"
#include "bench/run/runner.h"

// ---- the suite ----------------------------------------------------------------------------------

// Finds a suite by its path, else among the program's own files: `bench run suites/m1.conf` works from any folder.
static enum status find_suite(const char *name, char **out, struct error *err)
{
    char hint[WORDS_HINT_BYTES];
    *out = file_exists(name) || name[0] == '/' ? strdup(name) : home_find(name);
    if (*out)
        return OK;
    return FAIL(err, ERR_USAGE, "there is no suite %s%s", name,
                cli_values_hint(&cli_values_suite, name, hint, sizeof hint));
}

static enum status prepare(const struct arguments *args, struct preparation *p, struct error *err)
{
    struct prepare_wish wish = {.only = cli_flag_string(args, "only"),
                                .resume = cli_flag_bool(args, "resume"),
                                .take_over = cli_flag_bool(args, "take-over"),
                                .quiet = cli_flag_bool(args, "quiet")};
    p->config_path = suite_config_path();
    TRY(find_suite(cli_positional(args, 0), &p->suite_path, err));
    struct suite_sources sources = {.suite_path = p->suite_path, .config_path = p->config_path};
    sources.set_count = cli_flag_list(args, "set", &sources.set);
    return cli_prepare(args, &sources, &wish, p, err);
}

// ---- the command --------------------------------------------------------------------------------

// The command that reproduces the run, without --db, --resume and the flags for output.
static char *command_text(const struct arguments *args)
{
    const char *const *set = NULL;
    size_t set_count = cli_flag_list(args, "set", &set);
    struct str text = {0};
    str_append(&text, "bench run ");
    str_append_shell(&text, cli_positional(args, 0));
    for (size_t i = 0; i < set_count; i++) {
        str_append(&text, " --set ");
        str_append_shell(&text, set[i]);
    }
    if (cli_flag_string(args, "only")) {
        str_append(&text, " --only ");
        str_append_shell(&text, cli_flag_string(args, "only"));
    }
    return str_take(&text);
}

static enum exit_code run_plan(const struct arguments *args, const struct preparation *p,
                               struct error *err)
{
    char *command = command_text(args);
    if (!command) {
        FAIL(err, ERR_NOMEM, "no memory for the command's text");
        return EXIT_ERROR;
    }
    struct runner_options options = {
        .database = p->database,
        .command = command,
        .resume = cli_flag_bool(args, "resume"),
        .take_over = cli_flag_bool(args, "take-over"),
        .output = cli_flag_bool(args, "quiet") ? RUNNER_QUIET : RUNNER_AUTO,
        .own_store = command_database_is_own(p->database),
        .memory_limit_bytes = (int64_t)p->suite.defaults.memory_bytes,
    };
    if (p->plan->threads_note[0] && options.output != RUNNER_QUIET)
        log_line(LOG_INFO, "%s", p->plan->threads_note);
    enum exit_code code = runner_run(p->plan, &options, err);
    free(command);
    return code;
}

static enum exit_code prepare_and_run(const struct arguments *args, struct error *err)
{
    struct preparation p = {0};
    enum exit_code code = EXIT_ERROR;
    bool dry = cli_flag_bool(args, "dry-run"), json = cli_flag_bool(args, "json");
    if (cli_flag_bool(args, "take-over") && !cli_flag_bool(args, "resume")) {
        FAIL(err, ERR_USAGE, "run: --take-over goes with --resume");
    } else if (json && !dry) {
        FAIL(err, ERR_USAGE, "run: --json goes with --dry-run (results: bench export)");
    } else if (prepare(args, &p, err) == OK) {
        code = EXIT_FINE;
        if (!dry)
            code = run_plan(args, &p, err);
        else if (json)
            cli_dry_run_print_json(p.plan, p.basis, stdout, err);
        else
            cli_dry_run_print(p.plan, p.basis, stdout);
        if (dry && plan_check_any(p.plan, err) != OK)
            code = EXIT_ERROR;
    }
    cli_preparation_fini(&p);
    return err->code == ERR_INTERRUPTED ? EXIT_INTERRUPTED : code;
}

// A signal that arrives before the run is in the store also ends the command with one line, and nothing is stored.
static enum exit_code run_run(const struct arguments *args, struct error *err)
{
    struct interrupt interrupt;
    interrupt_begin(&interrupt);
    enum exit_code code = prepare_and_run(args, err);
    interrupt_end(&interrupt);
    return interrupt.arrived && code == EXIT_FINE ? EXIT_INTERRUPTED : code;
}

static const struct flag flags[] = {
    {"db", 0, FLAG_STRING, "FILE", NULL,
     "the store to write (default: that of bench.conf, else your own)", &cli_values_file},
    {"set", 0, FLAG_LIST, "SECTION.KEY=VALUE", NULL,
     "replace a value of the suite: 'sweep core.batch=1,2', defaults.procs=1", &cli_values_key},
    {"only", 0, FLAG_STRING, "PATTERN", NULL,
     "only cells whose label matches (* and ?), or whose key begins with it"},
    {"dry-run", 'n', FLAG_BOOL, NULL, NULL, "print the plan: cells, memory, time, what is skipped"},
    {"resume", 0, FLAG_BOOL, NULL, NULL, "run the missing trials of the suite's last run"},
    {"take-over", 0, FLAG_BOOL, NULL, NULL,
     "with --resume: continue although this machine cannot verify that the run's owner has ended"},
    {"quiet", 'q', FLAG_BOOL, NULL, NULL, "print nothing but errors"},
    {"json", 0, FLAG_BOOL, NULL, NULL, "the plan of --dry-run as JSON"},
    {0},
};

const struct command command_run = {
    .name = "run",
    .positional = "SUITE",
    .min_positional = 1,
    .max_positional = 1,
    .accepts = {&cli_values_suite},
    .summary = "measure a suite into the store",
    .details = "SUITE is a file. The suites that come with the program, like suites/smoke.conf, "
               "are found\n"
               "from any folder. `bench help options` lists a suite's keys; docs/SUITES.md "
               "explains them.\n"
               "--dry-run shows how long the run will take.",
    .flags = flags,
    .run = run_run,
};
