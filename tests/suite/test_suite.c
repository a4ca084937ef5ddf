// test_suite.c - reading suites: precedence, includes, variables, --set, errors to the letter.
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "bench/suite/ini.h"
#include "bench/suite/suite.h"

static char manual[PATH_MAX]; // its path, from before the change of folder
static char folder[] = "/tmp/test_suite.XXXXXX";

static int enter(void **state)
{
    (void)state;
    if (!realpath("docs/SUITES.md", manual))
        return -1;
    return mkdtemp(folder) && chdir(folder) == 0 ? 0 : -1;
}

static void write_bytes(const char *name, const char *text, size_t count)
{
    FILE *f = fopen(name, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, count, f), count);
    assert_int_equal(fclose(f), 0);
}

static void write_file(const char *name, const char *text)
{
    write_bytes(name, text, strlen(text));
}

static int leave(void **state)
{
    (void)state;
    static const char *const files[] = {"a.conf", "b.conf", "c.conf", "bench.conf", "sub/d.conf"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++)
        unlink(files[i]);
    rmdir("sub");
    return chdir("/") == 0 && rmdir(folder) == 0 ? 0 : -1;
}

static enum status load(const char *config, const char *set, struct suite *suite, struct error *err)
{
    struct suite_sources sources = {.suite_path = "a.conf",
                                    .config_path = config,
                                    .set = set ? &set : NULL,
                                    .set_count = set != NULL};
    memset(err, 0, sizeof *err);
    return suite_load(&sources, suite, err);
}

#define MODEL "[model m]\npath = x\n"
#define WHOLE MODEL "[sweep s]\nmodel = m\n"

static void a_whole_suite(void **state)
{
    (void)state;
    write_file("a.conf", "\xef\xbb\xbf; a comment\r\n"
                         "[suite]\r\n"
                         "name = whole ; said here\n"
                         "  # an indented comment\n"
                         "[defaults]\n"
                         "procs = 4\n"
                         "timeout = 5m\n"
                         "[model 7b]\n"
                         "shape = llama-2-7b # random\n"
                         "[ sweep   core ]\n"
                         "model=7b\n"
                         "batch = 1-8*2\n"
                         "procs = 2\n"
                         "[sweep rest]\n");
    struct suite suite;
    struct error err;
    assert_int_equal(load(NULL, NULL, &suite, &err), OK);
    assert_string_equal(suite.header.name, "whole");
    assert_int_equal(suite.model_count, 1);
    assert_string_equal(suite.models[0].shape, "llama-2-7b");
    assert_int_equal(suite.models[0].seed, 42);
    assert_int_equal(suite.sweep_count, 2);
    assert_string_equal(suite.sweeps[0].name, "core");
    assert_int_equal(suite.sweeps[0].batch.count, 4);
    assert_int_equal(suite.sweeps[0].procs, 2);
    assert_int_equal(suite.sweeps[1].procs, 4);
    assert_int_equal(suite.sweeps[1].reps, 3);
    assert_true(suite.sweeps[0].timeout_ns == 300e9);
    assert_string_equal(suite_where(&suite, "sweep core", "batch"), "a.conf:12");
    assert_string_equal(suite_where(&suite, "sweep core", "timeout"), "a.conf:7");
    assert_string_equal(suite.text,
                        "[suite]\nname = whole\n\n[defaults]\nprocs = 4\ntimeout = 5m\n\n"
                        "[model 7b]\nshape = llama-2-7b\n\n[sweep core]\nmodel = 7b\n"
                        "batch = 1-8*2\nprocs = 2\n\n[sweep rest]\n");
    suite_fini(&suite);
}

// bench.conf < include < suite < --set, key by key; a sweep's own key over the defaults of all.
static void precedence(void **state)
{
    (void)state;
    struct suite suite;
    struct error err;
    mkdir("sub", 0777);
    write_file("bench.conf", "[bench]\ndb = x.db\n[defaults]\nprocs = 10\nreps = 10\nseed = 10\n"
                             "top_k = 10\n");
    write_file("a.conf",
               "[suite]\ninclude = sub/d.conf\n[defaults]\nseed = 30\ntop_k = 30\n" WHOLE);
    write_file("sub/d.conf", "[suite]\ninclude = ../b.conf\n[defaults]\nreps = 20\nseed = 20\n"
                             "top_k = 20\n");
    write_file("b.conf", "[suite]\nname = base\n");
    assert_int_equal(load("bench.conf", "defaults.top_k=40", &suite, &err), OK);
    assert_string_equal(suite.header.name, "base");
    assert_string_equal(suite.bench.db, "x.db");
    assert_int_equal(suite.sweeps[0].procs, 10);
    assert_int_equal(suite.sweeps[0].reps, 20);
    assert_int_equal(suite.sweeps[0].seed, 30);
    assert_int_equal(suite.sweeps[0].top_k, 40);
    assert_null(strstr(suite.text, "x.db"));
    suite_fini(&suite);
}

static void set_reaches_sections(void **state)
{
    (void)state;
    struct suite suite;
    struct error err;
    write_file("a.conf", "[model 1.5b]\npath = x\n[sweep a]\nprocs = 3\n[sweep b]\n");
    assert_int_equal(load(NULL, "sweep *.procs=1", &suite, &err), OK);
    assert_int_equal(suite.sweeps[0].procs, 1);
    assert_int_equal(suite.sweeps[1].procs, 1);
    suite_fini(&suite);
    assert_int_equal(load(NULL, "model 1.5b.path=a.b=c", &suite, &err), OK);
    assert_string_equal(suite.models[0].path, "a.b=c");
    suite_fini(&suite);
    assert_int_equal(load(NULL, "defaults.batch=1,2", &suite, &err), OK);
    assert_int_equal(suite.sweeps[1].batch.count, 2);
    suite_fini(&suite);
}

static void variables(void **state)
{
    (void)state;
    struct suite suite;
    struct error err;
    setenv("TEST_SUITE_A", "here", 1);
    setenv("TEST_SUITE_EMPTY", "", 1);
    unsetenv("TEST_SUITE_NONE");
    write_file("a.conf", "[model m]\npath = ${TEST_SUITE_A}/${TEST_SUITE_NONE:-a b}$"
                         "${TEST_SUITE_EMPTY:-c}\n[sweep s]\n");
    assert_int_equal(load(NULL, NULL, &suite, &err), OK);
    assert_string_equal(suite.models[0].path, "here/a b$c");
    suite_fini(&suite);
}

// One file, and the line a person reads.
static const struct {
    const char *text, *message;
} bad_files[] = {
    {"", "a.conf: no [sweep NAME] section: nothing to measure"},
    {"[sweep s]\n", "a.conf: no [model NAME] section: nothing to measure"},
    {"a = b\n", "a.conf:1: a key before the first [section]"},
    {"[suite]\nname\n", "a.conf:2: neither 'key = value' nor '[section]'"},
    {"[suite]\n= x\n", "a.conf:2: not the name of a key before '='"},
    {"[suite\n", "a.conf:1: '[' without ']'"},
    {"[suite] x\n", "a.conf:1: text after ']'"},
    {"[ ]\n", "a.conf:1: section without a name"},
    {"[suite]\nname = x\n  more\n", "a.conf:3: indented line: keys begin in the first column"},
    {"[suite]\n [defaults]\n", "a.conf:2: indented line: keys begin in the first column"},
    {"[suite]\nname = x\n\nname = y\n", "a.conf:4: duplicate key 'name' (first at line 2)"},
    {"[suite]\n[sweep  a]\n[sweep a]\n", "a.conf:3: duplicate section [sweep a] (first at line 2)"},
    {"[siute]\n", "a.conf:1: unknown section [siute]: did you mean 'suite'?"},
    {"[weather]\n", "a.conf:1: unknown section [weather] (known: suite, defaults, model, sweep)"},
    {"[bench]\ndb = x\n", "a.conf:1: [bench] belongs in bench.conf, not in suites"},
    {"[sweep]\n", "a.conf:1: [sweep] needs a name: [sweep NAME]"},
    {"[suite x]\n", "a.conf:1: [suite] takes no name"},
    {"[model a@b]\n", "a.conf:1: [model a@b]: a name has letters, digits, '.', '_' and '-' only"},
    {"[defaults]\nbacth = 1\n",
     "a.conf:2: unknown key 'bacth' in [defaults]: did you mean 'batch'?"},
    {"[sweep s]\norder = sequential\n",
     "a.conf:2: unknown key 'order' in [sweep s]: it is a key of [defaults]"},
    {"[defaults]\nbatch =\n" WHOLE, "a.conf:2: batch: a value is missing"},
    {"[defaults]\nbatch = ; none\n" WHOLE, "a.conf:2: batch: a value is missing"},
    {"[defaults]\nbatch = 8-2\n" WHOLE, "a.conf:2: batch: range '8-2' ends below its start"},
    {"[defaults]\nprocs = 0\n" WHOLE, "a.conf:2: procs: 0 is not within 1 and 1000"},
    {"[defaults]\ntimeout = 5\n" WHOLE,
     "a.conf:2: timeout: '5' needs a unit: ns, us, ms, s, m or h"},
    {"[defaults]\ntimeout = 0s\n" WHOLE, "a.conf:2: timeout: 0s is too small"},
    {"[defaults]\nwarmup = long\n" WHOLE,
     "a.conf:2: warmup: unknown value 'long' (known: none, short, full)"},
    {"[defaults]\ntop_p = 1.5\n" WHOLE, "a.conf:2: top_p: 1.5 is not within 0 and 1"},
    {"[defaults]\ncollect = timing, heat\n" WHOLE,
     "a.conf:2: collect: unknown value 'heat' (known: timing, memory, counters, quality, "
     "energy, activity)"},
    {"[defaults]\nskip = bacth=1\n" WHOLE,
     "a.conf:2: skip: rule 'bacth=1': unknown key 'bacth': did you mean 'batch'?"},
    {"[defaults]\nlink = batch\n" WHOLE, "a.conf:2: link: 'batch' links fewer than two keys"},
    {"[gate]\nmetric = tpot\n" WHOLE,
     "a.conf:1: unknown section [gate] (known: suite, defaults, model, sweep)"},
    {"[report]\nformats = html\n" WHOLE, "a.conf:1: [report] belongs in bench.conf, not in suites"},
    {"[model m]\n[sweep s]\n", "a.conf:1: [model m] needs a path or a shape"},
    {"[model m]\npath = a\nshape = b\n[sweep s]\n",
     "a.conf:1: [model m] needs either path or shape, not both"},
    {"[model m]\npath = ${TEST_SUITE_NONE}\n",
     "a.conf:2: the environment has no TEST_SUITE_NONE (${TEST_SUITE_NONE:-default} gives one)"},
    {"[model m]\npath = ${A\n", "a.conf:2: '${' without '}'"},
    {"[model m]\npath = ${A:-${B}}\n",
     "a.conf:2: '${A:-${B}' has a variable within a variable: ${NAME} or ${NAME:-default}, with a "
     "plain default, are accepted"},
    {"[model m]\npath = ${A B}\n", "a.conf:2: '${A B}' is neither ${NAME} nor ${NAME:-default}"},
    {"[suite]\ninclude = nowhere.conf\n",
     "a.conf:2: include: nowhere.conf: No such file or directory"},
    {"[suite]\ninclude = a.conf\n", "a.conf:2: includes form a cycle: a.conf -> a.conf"},
    {"[suite]\ninclude = c.conf\n",
     "b.conf:2: includes form a cycle: a.conf -> c.conf -> b.conf -> a.conf"},
};

static void each_bad_file_is_one_line(void **state)
{
    (void)state;
    write_file("c.conf", "[suite]\ninclude = b.conf\n");
    write_file("b.conf", "[suite]\ninclude = a.conf\n");
    for (size_t i = 0; i < sizeof bad_files / sizeof *bad_files; i++) {
        struct suite suite;
        struct error err;
        write_file("a.conf", bad_files[i].text);
        assert_int_not_equal(load(NULL, NULL, &suite, &err), OK);
        assert_string_equal(err.message, bad_files[i].message);
        assert_null(suite.sweeps); // nothing is left
    }
}

static void bad_bytes_and_lengths(void **state)
{
    (void)state;
    struct suite suite;
    struct error err;
    char text[512];
    write_bytes("a.conf", "[suite]\nname = a\0b\n", 19);
    assert_int_equal(load(NULL, NULL, &suite, &err), ERR_USAGE);
    assert_string_equal(err.message, "a.conf:2: a NUL byte: not a text file");

    int head = snprintf(text, sizeof text, WHOLE "[suite]\n");
    memset(text + head, 'x', 200);
    memcpy(text + head, "about = ", 8);
    write_bytes("a.conf", text,
                (size_t)head + 199); // as long as a line may be, the last of the file
    assert_int_equal(load(NULL, NULL, &suite, &err), OK);
    assert_int_equal(strlen(suite.header.about), 191); // nothing cut
    suite_fini(&suite);
    write_bytes("a.conf", text, (size_t)head + 200);
    assert_int_equal(load(NULL, NULL, &suite, &err), ERR_USAGE);
    assert_string_equal(err.message, "a.conf:6: line of 200 bytes: at most 199");

    char section[] = "[sweep 01234567890123456789012345678901234567890123]\n";
    write_file("a.conf", section); // 50 bytes between the brackets
    assert_int_equal(load(NULL, NULL, &suite, &err), ERR_USAGE);
    assert_string_equal(err.message, "a.conf:1: section name longer than 49 bytes");
}

static const char *const bad_sets[][2] = {
    {"batch=1", "--set 'batch=1': not of the form section.key=value, such as defaults.batch=1"},
    {"sweep s.batch",
     "--set 'sweep s.batch': not of the form section.key=value, such as defaults.batch=1"},
    {"suite.include=x.conf", "--set 'suite.include=x.conf': include is a key of files"},
    {"report.formats=csv",
     "--set 'report.formats=csv': [report] belongs in bench.conf, not in suites"},
    {"bench.db=x", "--set 'bench.db=x': [bench] belongs in bench.conf, not in suites"},
    {".batch=1", "--set '.batch=1': not of the form section.key=value, such as defaults.batch=1"},
    {"sweep s.=1",
     "--set 'sweep s.=1': not of the form section.key=value, such as defaults.batch=1"},
    {"sweep z.batch=1",
     "--set 'sweep z.batch=1': there is no section [sweep z]: did you mean 'sweep s'?"},
    {"swoop.batch=1",
     "--set 'swoop.batch=1': unknown section [swoop] (known: suite, defaults, model, sweep)"},
    {"sweep s.bach=1", "--set 'sweep s.bach=1': unknown key 'bach' in [sweep s]: did you mean "
                       "'batch'?"},
    {"sweep s.batch=x", "--set 'sweep s.batch=x': 'x' is neither a number nor a range "
                        "(1-16*2, 1-8+2, 1-4)"},
    {"sweep s.batch=", "--set 'sweep s.batch=': a value is missing"},
};

static void bad_set(void **state)
{
    (void)state;
    write_file("a.conf", WHOLE);
    for (size_t i = 0; i < sizeof bad_sets / sizeof *bad_sets; i++) {
        struct suite suite;
        struct error err;
        assert_int_equal(load(NULL, bad_sets[i][0], &suite, &err), ERR_USAGE);
        assert_string_equal(err.message, bad_sets[i][1]);
    }
}

static void bench_conf_has_its_own_sections(void **state)
{
    (void)state;
    struct suite suite;
    struct error err;
    write_file("a.conf", WHOLE);
    write_file("bench.conf", "[sweep s]\n");
    assert_int_equal(load("bench.conf", NULL, &suite, &err), ERR_USAGE);
    assert_string_equal(err.message, "bench.conf:1: [sweep] belongs in suites, not in bench.conf");
    write_file("bench.conf", "[report]\nformats = html\n");
    assert_int_equal(load("bench.conf", "report.formats=csv", &suite, &err), ERR_USAGE);
    assert_string_equal(
        err.message, "--set 'report.formats=csv': [report] belongs in bench.conf, not in suites");
}

// The option table itself: no key twice in a section, defaults that parse, help for all.
static void the_table_is_sound(void **state)
{
    (void)state;
    for (const struct option *o = option_table; o->key; o++) {
        assert_true(o->help && *o->help);
        for (const struct option *p = o + 1; p->key; p++)
            assert_false((o->sections & p->sections) && strcmp(o->key, p->key) == 0);
    }
    struct arena arena = {0};
    struct error err = {0};
    struct suite_sweep sweep = {0};
    assert_int_equal(options_default(SECTION_DEFAULTS, &arena, &sweep, &err), OK);
    arena_fini(&arena);
}

// docs/SUITES.md ends with the table as the program prints it.
static void the_manual_has_the_table(void **state)
{
    (void)state;
    char *table = NULL, *page = NULL;
    size_t table_bytes = 0, page_bytes = 0;
    struct error err = {0};
    FILE *out = open_memstream(&table, &table_bytes);
    assert_non_null(out);
    options_print_markdown(out);
    fclose(out);
    assert_int_equal(file_read(manual, 1 << 20, &page, &page_bytes, &err), OK);
    assert_true(page_bytes > table_bytes);
    assert_string_equal(page + page_bytes - table_bytes, table);
    free(table);
    free(page);
}

// Keys of a command's flags: they make their sections, win over bench.conf and give way to --set.
static void keys_without_a_file(void **state)
{
    (void)state;
    struct suite suite;
    struct error err = {0};
    const char *set = "sweep p.batch=9";
    struct suite_given given[] = {
        {"suite", "name", "profile", "a command"}, {"model tiny", "path", "x y", "MODEL"},
        {"sweep p", "model", "tiny", "MODEL"},     {"sweep p", "batch", "3", "--batch"},
        {"sweep p", "gen", "5", "--gen"},
    };
    struct suite_sources sources = {
        .config_path = "bench.conf", .given = given, .given_count = sizeof given / sizeof *given};
    write_file("bench.conf", "[defaults]\ngen = 7\nchunk = 11\n");
    if (suite_load(&sources, &suite, &err) != OK)
        fail_msg("%s", err.message);
    assert_null(suite.path);
    assert_string_equal(suite.header.name, "profile");
    assert_string_equal(suite.models[0].path, "x y");
    assert_int_equal(suite.sweep_count, 1);
    assert_int_equal(suite.sweeps[0].batch.items[0], 3);
    assert_int_equal(suite.sweeps[0].gen.items[0], 5);
    assert_int_equal(suite.sweeps[0].chunk.items[0], 11);
    assert_string_equal(suite_where(&suite, "sweep p", "batch"), "--batch");
    suite_fini(&suite);

    sources.set = &set;
    sources.set_count = 1;
    assert_int_equal(suite_load(&sources, &suite, &err), OK);
    assert_int_equal(suite.sweeps[0].batch.items[0], 9);
    suite_fini(&suite);

    sources.set_count = 0;
    given[3].value = "many";
    assert_int_equal(suite_load(&sources, &suite, &err), ERR_USAGE);
    assert_int_equal(strncmp(err.message, "--batch: 'many' is", 18), 0);
    error_clear(&err);
    given[3] = (struct suite_given){"sweep p", "btach", "3", "--btach"};
    assert_int_equal(suite_load(&sources, &suite, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "--btach: unknown key 'btach'"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(keys_without_a_file),
        cmocka_unit_test(a_whole_suite),
        cmocka_unit_test(precedence),
        cmocka_unit_test(set_reaches_sections),
        cmocka_unit_test(variables),
        cmocka_unit_test(each_bad_file_is_one_line),
        cmocka_unit_test(bad_bytes_and_lengths),
        cmocka_unit_test(bad_set),
        cmocka_unit_test(bench_conf_has_its_own_sections),
        cmocka_unit_test(the_table_is_sound),
        cmocka_unit_test(the_manual_has_the_table),
    };
    return cmocka_run_group_tests(tests, enter, leave);
}
