// profile.c - `bench profile MODEL`: measures one cell with all instruments, and shows where its time goes.
//
// The cell is a plan of one, run as `bench run` does: ceilings and trial in workers, results in the store. Flags are
// keys of the option table, so their values, ranges and errors are those of suites.
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/plain.h"
#include "base/str.h"
#include "bench/cli/checkpoint.h"
#include "bench/cli/command.h"
#include "bench/cli/device_flag.h"
#include "bench/cli/prepare.h"
#include "bench/cli/profile_view.h"
#include "bench/cli/values.h"
#include "bench/cli/view.h"
#include "bench/run/runner.h"
#include "bench/run/trace.h"
#include "report/profile.h"

#define SWEEP "sweep profile"

// Flags that are keys of a sweep, by the same name.
static const char *const keys[] = {"scheme",   "batch",   "context", "gen",   "chunk",
                                   "device",   "threads", "head",    "kv",    "step",
                                   "products", "calib",   "prompt",  "procs", "reps"};
// What the command sets itself. A cell whose time is asked for is not left out because it is slow.
static const struct suite_given own[] = {
    {"suite", "name", "profile", "bench profile"},
    {SWEEP, "retries", "0", "bench profile"},
    {SWEEP, "collect", "timing, memory, counters, energy, activity", "bench profile"},
    {SWEEP, "timeout", "30m", "bench profile"},
    {SWEEP, "max_cell_time", "6h", "bench profile"},
};

enum {
    KEYS = sizeof keys / sizeof *keys,
    OWN = sizeof own / sizeof *own,
    GIVEN_MAX = KEYS + OWN + 2,
    WHERE_BYTES = 24,
    NAME_BYTES = 64,
};

struct request {
    const struct arguments *args;
    char *path;                    // of the checkpoint, owned; NULL: the model is a shape
    char model[NAME_BYTES];        // the name of its section, a label
    char section[NAME_BYTES + 8];  // "model NAME"
    char where[KEYS][WHERE_BYTES]; // "--batch"
    struct suite_given given[GIVEN_MAX];
    size_t count;
    struct preparation preparation;
    struct trace trace;
    int64_t run;
};

// ---- the plan ---------------------------------------------------------------------------------------------

static void give(struct request *r, struct suite_given given)
{
    r->given[r->count++] = given;
}

// The last part of a path, with the characters that a name of a suite may have.
static void name_model(const char *word, char out[NAME_BYTES])
{
    size_t length = strlen(word), used = 0;
    while (length > 1 && word[length - 1] == '/')
        length--;
    size_t first = length;
    while (first > 0 && word[first - 1] != '/')
        first--;
    for (size_t i = first; i < length && used + 1 < NAME_BYTES; i++)
        out[used++] = isalnum((unsigned char)word[i]) || strchr("._", word[i]) ? word[i] : '-';
    out[used] = '\0';
    if (used == 0)
        snprintf(out, NAME_BYTES, "model");
}

static enum status give_model(struct request *r, const char *word, struct error *err)
{
    TRY(cli_checkpoint_path(word, &r->path, err));
    name_model(word, r->model);
    snprintf(r->section, sizeof r->section, "model %s", r->model);
    give(r, (struct suite_given){r->section, r->path ? "path" : "shape", r->path ? r->path : word,
                                 "MODEL"});
    give(r, (struct suite_given){SWEEP, "model", r->model, "MODEL"});
    return OK;
}

static void give_flags(struct request *r)
{
    for (size_t i = 0; i < OWN; i++)
        give(r, own[i]);
    for (size_t i = 0; i < KEYS; i++) {
        const char *value = cli_flag_string(r->args, keys[i]);
        snprintf(r->where[i], sizeof r->where[i], "--%s", keys[i]);
        if (value)
            give(r, (struct suite_given){SWEEP, keys[i], value, r->where[i]});
    }
}

static enum status make_plan(struct request *r, struct error *err)
{
    struct device_info info;
    struct prepare_wish wish = {.roughly = true, .quiet = cli_flag_bool(r->args, "quiet")};
    struct preparation *p = &r->preparation;
    TRY(cli_device_find(r->args, &info, err));
    p->config_path = suite_config_path();
    TRY(give_model(r, cli_positional(r->args, 0), err));
    give_flags(r);
    struct suite_sources sources = {
        .config_path = p->config_path, .given = r->given, .given_count = r->count};
    sources.set_count = cli_flag_list(r->args, "set", &sources.set);
    TRY(cli_prepare(r->args, &sources, &wish, p, err));
    if (p->plan->cell_count != 1)
        return FAIL(err, ERR_USAGE,
                    "profile: these flags make %zu cells; one value of each is accepted (bench run "
                    "measures many)",
                    p->plan->cell_count);
    return plan_check_any(p->plan, err);
}

// Refuses a file that could not be written, before anything is measured.
static enum status check_output(const struct arguments *args, const char *flag, const char *path,
                                struct error *err)
{
    struct file_writer *writer = NULL;
    if (!path)
        return OK;
    TRY(command_check_output(args, flag, path, err));
    if (file_is_dir(path))
        return FAIL(err, ERR_USAGE, "%s %s: it is a folder; the name of a file is accepted", flag,
                    path);
    if (file_writer_open(path, &writer, err) != OK)
        return error_context(err, "%s", flag);
    file_writer_abandon(writer);
    return OK;
}

// ---- the run ----------------------------------------------------------------------------------------------

// The command that reproduces the run, without --db and the flags for output.
static char *command_text(const struct arguments *args)
{
    const char *const *set = NULL;
    size_t set_count = cli_flag_list(args, "set", &set);
    struct str text = {0};
    str_append(&text, "bench profile ");
    str_append_shell(&text, cli_positional(args, 0));
    for (size_t i = 0; i < KEYS; i++)
        if (cli_flag_given(args, keys[i])) {
            str_printf(&text, " --%s ", keys[i]);
            str_append_shell(&text, cli_flag_string(args, keys[i]));
        }
    for (size_t i = 0; i < set_count; i++) {
        str_append(&text, " --set ");
        str_append_shell(&text, set[i]);
    }
    return str_take(&text);
}

static enum exit_code measure(struct request *r, struct error *err)
{
    const struct preparation *p = &r->preparation;
    char *command = command_text(r->args);
    if (!command) {
        FAIL(err, ERR_NOMEM, "no memory for the command's text");
        return EXIT_ERROR;
    }
    struct runner_options options = {
        .database = p->database,
        .command = command,
        .output = cli_flag_bool(r->args, "quiet") ? RUNNER_QUIET : RUNNER_AUTO,
        .own_store = command_database_is_own(p->database),
        .no_table = true,
        .no_resume = true,
        .trace = cli_flag_string(r->args, "trace") ? &r->trace : NULL,
        .run = &r->run,
        .memory_limit_bytes = (int64_t)p->suite.defaults.memory_bytes,
    };
    if (p->plan->threads_note[0] && options.output != RUNNER_QUIET)
        log_line(LOG_INFO, "%s", p->plan->threads_note);
    enum exit_code code = runner_run(p->plan, &options, err);
    free(command);
    return code;
}

// ---- the results ------------------------------------------------------------------------------------------

static enum status write_html(const struct profile *profile, const char *path, struct error *err)
{
    struct str page = {0};
    enum status status = report_profile_page(profile, &page, err);
    if (status == OK)
        status = file_write(path, str_text(&page), page.length, err);
    str_fini(&page);
    return status;
}

static enum status write_trace(const struct request *r, const struct profile *profile,
                               const char *path, struct error *err)
{
    TRY(trace_write(&r->trace, profile->cell->label, path, err));
    if (trace_lost(&r->trace) > 0)
        log_line(LOG_WARN, "--trace: %lld operations had no room and are not in %s",
                 (long long)trace_lost(&r->trace), path);
    return OK;
}

static enum status write_files(const struct request *r, const struct profile *profile,
                               struct error *err)
{
    const char *html = cli_flag_string(r->args, "html"), *trace = cli_flag_string(r->args, "trace");
    if (html)
        TRY(write_html(profile, html, err));
    return trace ? write_trace(r, profile, trace, err) : OK;
}

// A cell that failed has no figures: its reason is the result. A file that cannot be written does not hide the figures.
static enum status present(const struct request *r, const struct profile *profile,
                           struct error *err)
{
    const struct cell_row *cell = profile->cell;
    struct error files = {0};
    if (!query_cell_measured(cell))
        return FAIL(err, ERR_UNSUPPORTED, "profile: the cell is %s: %s", cell->status,
                    cell->reason);
    write_files(r, profile, &files);
    if (cli_flag_bool(r->args, "json"))
        cli_view_json(cli_profile_json(profile), err);
    else
        cli_profile_print(profile, err);
    if (files.code != OK)
        *err = files;
    return err->code;
}

// cell 0: the run's only one.
static enum status show(const struct request *r, struct store *store, int64_t run, int64_t cell,
                        struct error *err)
{
    struct profile profile;
    char number[24];
    snprintf(number, sizeof number, "%lld", (long long)run);
    TRY(report_profile_load(store, number, cell, &profile, err));
    present(r, &profile, err);
    report_profile_fini(&profile);
    return err->code;
}

static enum exit_code measure_and_show(struct request *r, struct error *err)
{
    struct store *store = NULL;
    if (make_plan(r, err) != OK)
        return cli_exit_code(err);
    enum exit_code code = measure(r, err);
    if (code != EXIT_FINE && code != EXIT_CELL_FAILED)
        return code;
    if (store_open(r->preparation.database, STORE_READ, &store, err) == OK)
        show(r, store, r->run, 0, err);
    store_close(store);
    return err->code == OK || code == EXIT_CELL_FAILED ? code : cli_exit_code(err);
}

// Flags of a measurement would have no effect on a cell that was measured.
static enum status check_shows(const struct arguments *args, struct error *err)
{
    if (cli_positional_count(args) || cli_flag_string(args, "trace"))
        return FAIL(err, ERR_USAGE,
                    "profile: --cell shows what was measured; MODEL and --trace go without it");
    for (size_t i = 0; i < KEYS; i++)
        if (cli_flag_given(args, keys[i]))
            return FAIL(err, ERR_USAGE,
                        "profile: --cell shows what was measured; --%s goes without it", keys[i]);
    return OK;
}

// Shows a cell that is in the store. Nothing is measured.
static enum status show_stored(struct request *r, const char *which, struct error *err)
{
    struct store *store = NULL;
    struct arena arena = {0};
    struct cell_row cell;
    TRY(check_shows(r->args, err));
    if (cli_view_open(r->args, &store, err) == OK &&
        query_cell(store, &arena, 0, which, &cell, err) == OK)
        show(r, store, cell.run, cell.id, err);
    arena_fini(&arena);
    store_close(store);
    return err->code;
}

static enum status check_outputs(const struct arguments *args, struct error *err)
{
    const char *html = cli_flag_string(args, "html"), *trace = cli_flag_string(args, "trace");
    if (file_same(html, trace))
        return FAIL(err, ERR_USAGE, "--html and --trace: both name %s; two files are needed", html);
    TRY(check_output(args, "--html", html, err));
    return check_output(args, "--trace", trace, err);
}

static enum exit_code profile(struct request *r, struct error *err)
{
    const char *cell = cli_flag_string(r->args, "cell");
    if (check_outputs(r->args, err) != OK)
        return cli_exit_code(err);
    if (cell) {
        show_stored(r, cell, err);
        return cli_exit_code(err);
    }
    if (!cli_positional_count(r->args)) {
        FAIL(err, ERR_USAGE, "profile: a MODEL to measure is missing, or --cell CELL to show");
        return EXIT_ERROR;
    }
    return measure_and_show(r, err);
}

static enum exit_code run_profile(const struct arguments *args, struct error *err)
{
    struct request *r = calloc(1, sizeof *r);
    struct interrupt interrupt;
    if (!r) {
        FAIL(err, ERR_NOMEM, "no memory for the profile");
        return EXIT_ERROR;
    }
    r->args = args;
    interrupt_begin(&interrupt);
    enum exit_code code = profile(r, err);
    interrupt_end(&interrupt);
    cli_preparation_fini(&r->preparation);
    trace_fini(&r->trace);
    free(r->path);
    free(r);
    return interrupt.arrived && code == EXIT_FINE ? EXIT_INTERRUPTED : code;
}

static const struct flag flags[] = {
    {"scheme", 's', FLAG_STRING, "NAME", NULL, "how weights are stored and multiplied (bf16)",
     &cli_values_scheme},
    {"batch", 'b', FLAG_STRING, "N", NULL, "sequences at a time (1)"},
    {"context", 'c', FLAG_STRING, "N", NULL, "positions per sequence, prompt and generated (512)"},
    {"gen", 'n', FLAG_STRING, "N", NULL, "tokens generated per sequence (128)"},
    DEVICE_FLAG,
    {"threads", 't', FLAG_STRING, "N", NULL, "threads of the pool (one per physical core)"},
    {"chunk", 0, FLAG_STRING, "N", NULL, "most tokens of one sequence in one prefill step (512)"},
    {"head", 0, FLAG_STRING, "TYPE", NULL, "type of head and embedding (the scheme's)",
     &cli_values_head},
    {"kv", 0, FLAG_STRING, "TYPE", NULL, "type of the KV cache (the scheme's)", &cli_values_kv},
    {"step", 0, FLAG_STRING, "FORM", NULL, "form of decode steps on a GPU (the faster one)",
     &cli_values_step},
    {"products", 0, FLAG_STRING, "WHO", NULL, "matrix products of prefill on a GPU (own)",
     &cli_values_products},
    {"calib", 0, FLAG_STRING, "FILE", NULL, "calibration text of int4-awq (the program's own)",
     &cli_values_file},
    {"prompt", 0, FLAG_STRING, "TEXT", NULL, "random, or text:FILE (random)", &cli_values_prompt},
    {"procs", 0, FLAG_STRING, "N", "1", "trials, each in a new process"},
    {"reps", 0, FLAG_STRING, "N", NULL, "least number of timed repetitions per trial (3)"},
    {"html", 0, FLAG_STRING, "FILE", NULL, "write the profile as a page", &cli_values_file},
    {"trace", 0, FLAG_STRING, "FILE", NULL,
     "write every operation or kernel as a trace for Perfetto or chrome://tracing",
     &cli_values_file},
    {"cell", 0, FLAG_STRING, "CELL", NULL,
     "show a cell of the store, by its key or label, and measure nothing"},
    {"db", 0, FLAG_STRING, "FILE", NULL, "the store to write; default: as for bench run",
     &cli_values_file},
    {"set", 0, FLAG_LIST, "SECTION.KEY=VALUE", NULL,
     "any other key of a suite: 'sweep profile.temperature=0.7'", &cli_values_key},
    {"quiet", 'q', FLAG_BOOL, NULL, NULL, "print no progress"},
    {"json", 0, FLAG_BOOL, NULL, NULL, "print JSON"},
    {0},
};

const struct command command_profile = {
    .name = "profile",
    .positional = "[MODEL]",
    .max_positional = 1,
    .accepts = {&cli_values_model},
    .summary = "where the time of one cell goes, and what would help most",
    .details =
        "MODEL is a Hugging Face folder, a .gguf file, a config.json or the name of a shape.\n"
        "The cell is measured with all instruments and stored as `bench run` does. Defaults in\n"
        "parentheses are those of suites; bench.conf may change them. docs/PROFILE.md explains\n"
        "the page.",
    .flags = flags,
    .run = run_profile,
};
