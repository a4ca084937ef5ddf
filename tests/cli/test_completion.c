// test_completion.c - the completion scripts: every command, flag and word of the tables, and what each shell offers.
//
// The tables are walked, so that a new row is checked without an edit. A missing shell is skipped by name.
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/str.h"
#include "bench/cli/completion.h"
#include "bench/suite/options.h"
#include "engine/engine.h"
#include "tests/cli/fixture.h"

extern const struct command command_completion;

static char dir[] = "/tmp/test_completion-XXXXXX";
static char script[1 << 17];

static const char *script_of(const char *shell)
{
    struct error err = {0};
    const char *words[] = {shell, NULL};
    assert_int_equal(run_command(&command_completion, words, script, sizeof script, &err),
                     EXIT_FINE);
    assert_true(strlen(script) < sizeof script - 1);
    return script;
}

static void has(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("the script lacks: %s", what);
}

// ---- the text of the scripts ----------------------------------------------------------------------

// The lines of a command in a script, ended with a NUL in `out`.
static const char *part_of(const char *shell, const struct command *command, char *out,
                           size_t out_bytes)
{
    char begin[64];
    bool fish = str_equal(shell, "fish");
    snprintf(begin, sizeof begin, fish ? "-n '__bench_at \"%s\"' " : "\n    '%s')\n",
             command->name);
    const char *at = strstr(script, begin);
    if (!at)
        fail_msg("%s: no part for %s", shell, command->name);
    const char *end = strstr(at, fish ? "\n\n" : "        ;;\n");
    snprintf(out, out_bytes, "%.*s", end ? (int)(end - at) : (int)strlen(at), at);
    return out;
}

static void every_command_and_flag_is_in_every_script(void **state)
{
    (void)state;
    static char part[1 << 14];
    char text[64];
    for (const struct cli_shell *s = cli_shells; s->name; s++) {
        script_of(s->name);
        assert_null(strstr(script, "worker"));
        for (const struct command *const *c = cli_commands; *c; c++) {
            if ((*c)->hidden)
                continue;
            part_of(s->name, *c, part, sizeof part);
            for (const struct flag *f = cli_completion_flag(*c, NULL); f;
                 f = cli_completion_flag(*c, f)) {
                snprintf(text, sizeof text, str_equal(s->name, "fish") ? " -l %s " : "--%s",
                         f->name);
                has(part, text);
            }
        }
    }
}

static void every_key_is_in_every_script(void **state)
{
    (void)state;
    char text[64];
    for (const struct cli_shell *s = cli_shells; s->name; s++) {
        script_of(s->name);
        for (const struct option *o = option_table; o->key; o++) {
            snprintf(text, sizeof text, "defaults.%s=", o->key);
            if (option_find(SECTION_DEFAULTS, o->key))
                has(script, text);
            else
                assert_null(strstr(script, text));
        }
    }
}

// The walk visits each flag once, the common ones last.
static void the_walk_visits_all_flags(void **state)
{
    (void)state;
    for (const struct command *const *c = cli_commands; *c; c++) {
        size_t count = 0, expected = 0;
        for (const struct flag *f = (*c)->flags; f && f->name; f++)
            expected++;
        for (const struct flag *f = cli_common_flags; f->name; f++)
            expected++;
        for (const struct flag *f = cli_completion_flag(*c, NULL); f && count < 100;
             f = cli_completion_flag(*c, f))
            count++;
        assert_int_equal(count, expected);
    }
}

// A flag whose value is a file or a folder completes them, and a word of a table has its words.
static void rows_say_what_they_accept(void **state)
{
    (void)state;
    for (const struct command *const *c = cli_commands; *c; c++) {
        for (const struct flag *f = (*c)->flags; f && f->name; f++) {
            if (f->values == NULL) {
                assert_false(f->value &&
                             (str_equal(f->value, "FILE") || str_equal(f->value, "DIR")));
                continue;
            }
            assert_non_null(f->value);
            struct arena arena = {0};
            struct words words = {0};
            cli_values_words(f->values, &arena, &words);
            assert_true(f->values->paths != PATHS_NONE || words.count > 0);
            assert_true(words.count < WORDS_MAX); // none was dropped
            arena_fini(&arena);
        }
        for (int i = (*c)->max_positional; i < 2; i++)
            assert_null((*c)->accepts[i]);
    }
}

static void words_are(const struct cli_values *values, const char *const *expected, size_t count)
{
    struct arena arena = {0};
    struct words words = {0};
    cli_values_words(values, &arena, &words);
    assert_int_equal(words.count, count);
    for (size_t i = 0; i < count; i++)
        assert_string_equal(words.items[i], expected[i]);
    arena_fini(&arena);
}

// The words are those of the tables that parse them, and every word is parsed.
static void words_are_those_that_are_parsed(void **state)
{
    (void)state;
    size_t count;
    const char *names[64];
    const struct scheme *schemes = scheme_table(&count);
    for (size_t i = 0; i < count; i++)
        names[i] = schemes[i].name;
    words_are(&cli_values_scheme, names, count);
    const char *const *devices;
    count = device_words(&devices);
    words_are(&cli_values_device, devices, count);
    words_are(&cli_values_quantize_scheme, names, checkpoint_quantize_schemes(names, 64));
    words_are(&cli_values_convert_type, names, checkpoint_convert_types(names, 64));

    struct arena arena = {0};
    struct words words = {0};
    cli_values_words(&cli_values_isa, &arena, &words);
    for (size_t i = 0; i < words.count; i++) {
        unsigned mask, parsed = 0;
        for (int kind = 0; kind < DEVICE_KINDS; kind++)
            parsed += device_isa_parse((enum device_kind)kind, words.items[i], &mask);
        assert_true(parsed > 0);
    }
    words.count = 0;
    cli_values_words(&cli_values_head, &arena, &words);
    cli_values_words(&cli_values_kv, &arena, &words);
    for (size_t i = 0; i < words.count; i++) {
        enum dtype type;
        assert_true(str_equal(words.items[i], "auto") || storage_parse(words.items[i], &type));
    }
    words.count = 0;
    cli_values_words(&cli_values_command, &arena, &words);
    for (const struct command *const *c = cli_commands; *c; c++) {
        bool found = false;
        for (size_t i = 0; i < words.count; i++)
            found = found || (str_starts((*c)->name, words.items[i]) &&
                              strchr(" ", (*c)->name[strlen(words.items[i])]));
        assert_int_equal(found, !(*c)->hidden);
    }
    arena_fini(&arena);
}

static void an_unknown_shell_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    char out[64];
    const char *words[] = {"fsh", NULL};
    assert_int_equal(run_command(&command_completion, words, out, sizeof out, &err), EXIT_ERROR);
    assert_string_equal(err.message, "completion: no script for 'fsh': did you mean 'fish'?");
    assert_string_equal(out, "");
}

// ---- the shells -----------------------------------------------------------------------------------

static const char *which(const char *shell)
{
    static char path[256];
    char command[64];
    snprintf(command, sizeof command, "command -v %s 2>/dev/null", shell);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    path[fread(path, 1, sizeof path - 1, pipe)] = 0;
    return pclose(pipe) == 0 ? path : NULL;
}

static void write_script(const char *shell)
{
    char path[128];
    snprintf(path, sizeof path, "%s/%s", dir, shell);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(script_of(shell), file);
    assert_int_equal(fclose(file), 0);
}

static const struct {
    const char *line, *words; // words NULL: those of `values`
    const struct cli_values *values;
} lines[] = {
    {"bench ru", "run", NULL},
    {"bench ker", "kernel", NULL},
    {"bench kernel ", "list check bench", NULL},
    {"bench model tok", "tokenize", NULL},
    {"bench work", "", NULL},
    {"bench --v", "--version", NULL},
    {"bench run --re", "--resume", NULL},
    {"bench run x --",
     "--db --set --only --dry-run --resume --take-over --quiet --json --help --verbose", NULL},
    {"bench run x -n --re", "--resume", NULL}, // -n takes no value here
    {"bench generate x y -n ", "", NULL},      // and one here
    {"bench kernel check --js", "--json", NULL},
    {"bench export -- l", "last", NULL},
    {"bench export --db x l", "last", NULL},
    {"bench report -o x --format html,p", "html,png", NULL},
    {"bench help kernel c", "check", NULL},
    {"bench completion ", NULL, &cli_values_shell},
    {"bench generate x y --scheme ", NULL, &cli_values_scheme},
    {"bench generate x y --scheme=", NULL, &cli_values_scheme},
    {"bench generate x y -s ", NULL, &cli_values_scheme},
    {"bench quantize x --scheme ", NULL, &cli_values_quantize_scheme},
    {"bench convert x --type ", NULL, &cli_values_convert_type},
    {"bench quality x --kv ", NULL, &cli_values_kv},
    {"bench profile x --set defaults.kv=", NULL, &cli_values_kv},
    {"bench profile x --set=defaults.head=", NULL, &cli_values_head},
    {"bench run x --set defaults.kv", "defaults.kv=", NULL},
    {"bench kernel bench --isa ", NULL, &cli_values_isa},
    {"bench machine -d ", NULL, &cli_values_device},
    {"bench run ../../suites/smo", "smoke.conf", NULL},
    {"bench run suites/smo", "smoke.conf", NULL}, // from any folder: the program's own
    {"bench quality x --windows ", "", NULL},     // a number: nothing, and no files
};
enum { LINES = sizeof lines / sizeof *lines };
static char answers[LINES][1 << 12];

// Asks the shell for all `lines`, and puts what it offers for each into answers: "\nfirst\nsecond\n". bash offers what
// follows the last = of a word, and zsh names files without their folders. So only that part is kept, of every shell.
static void ask(const char *shell, const char *options)
{
    struct str command = {0};
    char word[256];
    size_t at = 0;
    str_printf(&command,
               "cd tests/cli && HOME=%s XDG_CONFIG_HOME=%s XDG_DATA_HOME=%s %s %s complete.%s "
               "%s/%s",
               dir, dir, dir, shell, options, shell, dir, shell);
    for (size_t i = 0; i < LINES; i++) {
        str_append(&command, " ");
        str_append_shell(&command, lines[i].line);
        snprintf(answers[i], sizeof answers[i], "\n");
    }
    str_append(&command, " 2>&1");
    FILE *pipe = popen(str_text(&command), "r");
    assert_non_null(pipe);
    while (fgets(word, sizeof word, pipe)) {
        word[strcspn(word, "\n")] = 0;
        if (str_equal(word, "%")) {
            at++;
            continue;
        }
        assert_true(at < LINES);
        char *cut = strrchr(word, '=') ? strrchr(word, '=') : strrchr(word, '/');
        size_t used = strlen(answers[at]);
        snprintf(answers[at] + used, sizeof answers[at] - used, "%s\n",
                 cut && cut[1] ? cut + 1 : word);
    }
    int status = pclose(pipe);
    str_fini(&command);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(at, LINES);
}

static size_t lines_of(const char *text)
{
    size_t count = 0;
    for (; *text; text++)
        count += *text == '\n';
    return count - 1;
}

// The answer has exactly these words.
static void offered(const char *line, const char *answer, const struct words *words)
{
    char text[128];
    for (size_t i = 0; i < words->count; i++) {
        snprintf(text, sizeof text, "\n%s\n", words->items[i]);
        if (!strstr(answer, text))
            fail_msg("'%s' offers no '%s', but:%s", line, words->items[i], answer);
    }
    if (lines_of(answer) != words->count)
        fail_msg("'%s' offers %zu words instead of %zu:%s", line, lines_of(answer), words->count,
                 answer);
}

static void shell_offers(const char *shell, const char *options)
{
    if (!which(shell)) {
        print_message("skipped: no %s\n", shell);
        skip();
    }
    write_script(shell);
    ask(shell, options);
    for (size_t i = 0; i < LINES; i++) {
        struct arena arena = {0};
        struct words words = {0};
        char text[512], *rest = NULL;
        snprintf(text, sizeof text, "%s", lines[i].words ? lines[i].words : "");
        for (char *one = strtok_r(text, " ", &rest); one; one = strtok_r(NULL, " ", &rest))
            words_add(&words, one);
        if (lines[i].values)
            cli_values_words(lines[i].values, &arena, &words);
        offered(lines[i].line, answers[i], &words);
        arena_fini(&arena);
    }
}

static void bash_offers(void **state)
{
    (void)state;
    shell_offers("bash", "--norc");
}

static void zsh_offers(void **state)
{
    (void)state;
    shell_offers("zsh", "-f");
}

static void fish_offers(void **state)
{
    (void)state;
    shell_offers("fish", "--no-config");
}

static int setup(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    char command[64];
    snprintf(command, sizeof command, "rm -rf %s", dir);
    return system(command);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_command_and_flag_is_in_every_script),
        cmocka_unit_test(every_key_is_in_every_script),
        cmocka_unit_test(the_walk_visits_all_flags),
        cmocka_unit_test(rows_say_what_they_accept),
        cmocka_unit_test(words_are_those_that_are_parsed),
        cmocka_unit_test(an_unknown_shell_is_refused),
        cmocka_unit_test(bash_offers),
        cmocka_unit_test(zsh_offers),
        cmocka_unit_test(fish_offers),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
