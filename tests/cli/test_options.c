// test_options.c - every row of the option table is read: another value gives another plan, or another answer
// of the command that reads it. A row without a case here fails, and so does a choice that changes nothing.
#include "tests/cli/fixture.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/file.h"
#include "base/str.h"
#include "bench/cli/command.h"
#include "bench/suite/plan.h"
#include "bench/suite/suite.h"
#include "report/report.h"

extern const struct command command_report;

#define ONE "tests/golden/models/llama-gqa3"
#define TWO "tests/golden/models/phi3"
#define SWEEP                                                                                      \
    "[defaults]\ndevice = cpu\nscheme = f32\ncontext = 16\ngen = 4\ncollect = timing, quality\n"   \
    "quality_text = docs/SUITES.md\n[sweep s]\nmodel = m\n"
#define STORED SWEEP "[model m]\npath = " ONE "\n[model o]\npath = " TWO "\n"
#define SHAPED SWEEP "[model m]\nshape = llama-2-7b\n"
#define BARE   SWEEP "[model m]\n"

// Two values of a key, in a suite in which they matter.
static const struct probe {
    const char *section, *key, *base, *value, *other;
    const char *with; // one more --set for both, or NULL
} probes[] = {
    {"suite", "name", STORED, "a", "b", NULL},
    {"suite", "about", STORED, "a", "b", NULL},
    {"suite", "include", STORED, "one.conf", "two.conf", NULL}, // in the file itself
    {"model m", "path", BARE, ONE, TWO, NULL},
    {"model m", "shape", BARE, "llama-2-7b", "llama-2-13b", NULL},
    {"model m", "seed", SHAPED, "1", "2", NULL},
    {"sweep s", "model", STORED, "m", "o", NULL},
    {"defaults", "scheme", STORED, "f32", "bf16", NULL},
    {"defaults", "device", STORED, "cpu", "gpu", NULL},
    {"defaults", "threads", STORED, "1", "2", NULL},
    {"defaults", "head", STORED, "f32", "bf16", NULL},
    {"defaults", "kv", STORED, "f32", "f16", NULL},
    {"defaults", "step", STORED, "graph", "persistent", "defaults.device=cuda:0"},
    {"defaults", "products", STORED, "own", "cublaslt",
     "defaults.device=cuda:0;defaults.scheme=bf16"},
    {"defaults", "chunk", STORED, "8", "16", NULL},
    {"defaults", "batch", STORED, "1", "2", NULL},
    {"defaults", "context", STORED, "16", "24", NULL},
    {"defaults", "gen", STORED, "2", "3", NULL},
    {"defaults", "skip", STORED, "batch=1", "batch=2", NULL},
    {"defaults", "link", STORED, "batch context", "batch gen",
     "defaults.batch=1,2;defaults.context=16,24;defaults.gen=2,3"},
    {"defaults", "prompt", STORED, "text:README.md", "text:CONTRIBUTING.md", NULL},
    {"defaults", "calib", STORED, "README.md", "CONTRIBUTING.md", "defaults.scheme=int4-awq"},
    {"defaults", "seed", STORED, "1", "2", NULL},
    {"defaults", "temperature", STORED, "0.5", "0.7", NULL},
    {"defaults", "top_k", STORED, "3", "4", "defaults.temperature=1"},
    {"defaults", "top_p", STORED, "0.8", "0.9", "defaults.temperature=1"},
    {"defaults", "procs", STORED, "1", "2", NULL},
    {"defaults", "retries", STORED, "1", "2", NULL},
    {"defaults", "reps", STORED, "1", "2", NULL},
    {"defaults", "min_time", STORED, "1s", "2s", NULL},
    {"defaults", "warmup", STORED, "none", "full", NULL},
    {"defaults", "collect", STORED, "timing", "memory", NULL},
    {"defaults", "quality_text", STORED, "README.md", "CONTRIBUTING.md", NULL},
    {"defaults", "quality_convention", STORED, "half-512", "full-2048", NULL},
    {"defaults", "quality_windows", STORED, "1", "2", NULL},
    {"defaults", "timeout", STORED, "100s", "200s", NULL},
    {"defaults", "max_cell_time", STORED, "1ms", "1h", NULL},
    {"defaults", "order", STORED, "interleaved", "sequential", NULL},
    {"defaults", "on_oom", STORED, "prune_larger", "go_on", NULL},
    {"defaults", "memory", STORED, "1MiB", "1GiB", NULL},
    {"bench", "db", NULL, "one.db", "two.db", NULL},
    {"report", "formats", NULL, "html", "csv", NULL},
};
enum { PROBES = sizeof probes / sizeof *probes };

static char folder[] = "/tmp/ridge-test-options-XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) && setenv("XDG_CONFIG_HOME", folder, 1) == 0 ? 0 : -1;
}

static int remove_folder(void **state)
{
    (void)state;
    struct error err = {0};
    return file_remove_tree(folder, &err) == OK ? 0 : -1;
}

// Writes a file of the folder and returns its path.
static const char *put(const char *name, const char *text)
{
    static char path[256];
    struct error err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    *strrchr(path, '/') = '\0';
    file_make_dirs(path, &err);
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (err.code != OK || file_write(path, text, strlen(text), &err) != OK)
        fail_msg("%s", err.message);
    return path;
}

// ---- a plan as text --------------------------------------------------------------------------------

static void print_cell_text(const struct cell *c, struct str *out)
{
    char *params = json_dumps(c->params, JSON_COMPACT | JSON_SORT_KEYS);
    str_printf(out, "%s %s %s %d %d %d %llu %d %llu %u %s\n", c->key, c->sweep, params, c->procs,
               c->reps, c->retries, (unsigned long long)c->min_time_ns, (int)c->warmup,
               (unsigned long long)c->timeout_ns, c->collect, c->skip ? c->skip : "");
    free(params);
}

static void print_plan_text(const struct plan *plan, struct str *out)
{
    str_printf(out, "%s %s %d %d %lld\n", plan->suite_name,
               plan->suite_about ? plan->suite_about : "", plan->interleaved,
               plan->prune_larger_on_oom, (long long)plan->memory_bytes);
    for (size_t i = 0; i < plan->cell_count; i++)
        print_cell_text(&plan->cells[i], out);
    for (size_t i = 0; i < plan->quality_count; i++)
        str_printf(out, "%s\n", plan->qualities[i].key);
}

// The plan of a suite with these --set, as text; caller frees.
static char *plan_of(const char *text, const char *const *set, size_t count)
{
    static const struct device_info devices[] = {{.name = "cpu", .available = true}};
    struct plan_machine machine = {.memory_bytes = 1 << 28,
                                   .physical_cores = 2,
                                   .most_threads = 2,
                                   .devices = devices,
                                   .device_count = 1};
    struct suite_sources sources = {
        .suite_path = put("suite.conf", text), .set = set, .set_count = count};
    struct suite suite;
    struct plan *plan = NULL;
    struct error err = {0};
    struct str out = {0};
    if (suite_load(&sources, &suite, &err) != OK)
        fail_msg("%s", err.message);
    if (plan_create(&suite, &machine, NULL, &plan, &err) != OK)
        str_printf(&out, "%s", err.message); // as good an answer as a plan
    else
        print_plan_text(plan, &out);
    plan_destroy(plan);
    suite_fini(&suite);
    return str_take(&out);
}

static char *suite_answer(const struct probe *p, const char *value)
{
    enum { SETS = 5 };
    char sets[SETS][128], with[128];
    const char *set[SETS];
    size_t count = 0;
    snprintf(with, sizeof with, "%s", p->with ? p->with : "");
    for (char *rest = with, *one; (one = strtok_r(rest, ";", &rest));)
        snprintf(sets[count++], sizeof sets[0], "%s", one);
    if (str_equal(p->key, "include")) { // stands in a file alone
        char text[1024];
        put("one.conf", "[defaults]\nprocs = 1\n");
        put("two.conf", "[defaults]\nprocs = 2\n");
        snprintf(text, sizeof text, "[suite]\ninclude = %s\n%s", value, p->base);
        return plan_of(text, NULL, 0);
    }
    snprintf(sets[count++], sizeof sets[0], "%s.%s=%s", p->section, p->key, value);
    for (size_t i = 0; i < count; i++)
        set[i] = sets[i];
    return plan_of(p->base, set, count);
}

// What the commands make of a bench.conf with this value.
static char *config_answer(const struct probe *p, const char *value)
{
    char text[256];
    struct arguments *args = NULL;
    struct error err = {0};
    struct str out = {0};
    unsigned formats = 0;
    snprintf(text, sizeof text, "[%s]\n%s = %s\n", p->section, p->key, value);
    put("ridge/bench.conf", text);
    if (cli_arguments_parse(&command_report, 0, NULL, &args, &err) != OK ||
        command_report_formats(args, &formats, &err) != OK)
        fail_msg("%s", err.message);
    char *database = command_database(args, &err);
    assert_non_null(database);
    str_printf(&out, "%s %u", database, formats);
    free(database);
    cli_arguments_destroy(args);
    return str_take(&out);
}

static char *answer(const struct probe *p, const char *value)
{
    return p->base ? suite_answer(p, value) : config_answer(p, value);
}

// ---- tests -----------------------------------------------------------------------------------------

static enum section section_of(const struct probe *p)
{
    for (const struct section_kind *k = option_sections; k->name; k++)
        if (strncmp(p->section, k->name, strlen(k->name)) == 0)
            return k->section;
    fail_msg("no section [%s]", p->section);
    return 0;
}

static const struct probe *probe_of(const struct option *o)
{
    for (int i = 0; i < PROBES; i++)
        if ((o->sections & section_of(&probes[i])) && str_equal(probes[i].key, o->key))
            return &probes[i];
    return NULL;
}

static void every_row_is_read(void **state)
{
    (void)state;
    for (const struct option *o = option_table; o->key; o++) {
        const struct probe *p = probe_of(o);
        if (!p) {
            fail_msg("%s: no test shows who reads it", o->key);
            return;
        }
        char *first = answer(p, p->value), *again = answer(p, p->value),
             *second = answer(p, p->other);
        if (!str_equal(first, again))
            fail_msg("%s: the same value gives two plans", o->key);
        if (str_equal(first, second))
            fail_msg("%s: '%s' and '%s' make no difference:\n%s", o->key, p->value, p->other,
                     first);
        free(first);
        free(again);
        free(second);
    }
}

// A choice that changes nothing is a promise that nothing keeps.
static void every_choice_makes_a_difference(void **state)
{
    (void)state;
    enum { CHOICES = 16 };
    for (const struct option *o = option_table; o->key; o++) {
        char words[160], *answers[CHOICES], *names[CHOICES];
        int count = 0;
        const struct probe *p = probe_of(o);
        // auto is the scheme's own type, which is another choice as well
        if (!p || !o->choices || (o->type != OPTION_CHOICE && o->type != OPTION_WORDS))
            continue;
        snprintf(words, sizeof words, "%s", o->choices);
        for (char *rest = words, *word; (word = strtok_r(rest, " ", &rest)) && count < CHOICES;) {
            if (str_equal(word, "auto"))
                continue;
            names[count] = word;
            answers[count++] = answer(p, word);
        }
        for (int i = 0; i < count; i++)
            for (int k = 0; k < i; k++)
                if (str_equal(answers[i], answers[k]))
                    fail_msg("%s: '%s' and '%s' make no difference", o->key, names[k], names[i]);
        for (int i = 0; i < count; i++)
            free(answers[i]);
    }
}

static void the_flag_wins_over_bench_conf(void **state)
{
    (void)state;
    char flag[] = "--format=csv";
    char *argv[] = {flag};
    struct arguments *args = NULL;
    struct error err = {0};
    unsigned formats = 0;
    put("ridge/bench.conf", "[report]\nformats = html\n");
    assert_int_equal(cli_arguments_parse(&command_report, 1, argv, &args, &err), OK);
    assert_int_equal(command_report_formats(args, &formats, &err), OK);
    assert_int_equal(formats, REPORT_CSV);
    cli_arguments_destroy(args);
    char unknown[] = "--format=htm";
    argv[0] = unknown;
    assert_int_equal(cli_arguments_parse(&command_report, 1, argv, &args, &err), OK);
    assert_int_equal(command_report_formats(args, &formats, &err), ERR_USAGE);
    assert_string_equal(err.message, "--format: unknown report format 'htm': did you mean 'html'?");
    error_clear(&err);
    cli_arguments_destroy(args);
    put("ridge/bench.conf", "[bench]\n");
    assert_int_equal(cli_arguments_parse(&command_report, 0, NULL, &args, &err), OK);
    assert_int_equal(command_report_formats(args, &formats, &err), OK);
    assert_int_equal(formats, REPORT_HTML | REPORT_PNG);
    cli_arguments_destroy(args);
}

// Sweeps may share a --set, and --set may change the sweep that a file's key was written for.
static void a_set_that_nothing_reads_is_refused(void **state)
{
    (void)state;
    static const char more[] = STORED "[sweep t]\nmodel = m\nscheme = int4-awq\n";
    static const struct {
        const char *text, *set, *says; // says NULL: a plan is made
    } rows[] = {
        {STORED, "defaults.calib=README.md",
         "--set 'defaults.calib=README.md': nothing reads it: only int4-awq calibrates"},
        {STORED, "sweep s.step=graph",
         "--set 'sweep s.step=graph': nothing reads it: only devices of kind cuda have a choice"},
        {more, "sweep *.calib=README.md", NULL},
        {STORED, "defaults.step=auto", NULL},
        {STORED "[sweep t]\nmodel = m\ncalib = no-such-file\n", "defaults.batch=1", NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char *answer = plan_of(rows[i].text, &rows[i].set, 1);
        if (rows[i].says)
            assert_string_equal(answer, rows[i].says);
        else if (strncmp(answer, "suite ", 6) != 0)
            fail_msg("row %zu: %s", i, answer);
        free(answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_set_that_nothing_reads_is_refused),
        cmocka_unit_test(every_row_is_read),
        cmocka_unit_test(every_choice_makes_a_difference),
        cmocka_unit_test(the_flag_wins_over_bench_conf),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
