// test_args.c - the command line: values, defaults, and the one line for each mistake.
#include <string.h>

#include "tests/cli/fixture.h"

extern const struct command command_help, command_kernel_bench, command_kernel_check;

static const struct flag flags[] = {
    {"db", 0, FLAG_STRING, "FILE", NULL, "the store"},
    {"out", 'o', FLAG_STRING, "DIR", "report-out", "where to write"},
    {"seed", 's', FLAG_INT, "N", "42", "of the weights"},
    {"share", 0, FLAG_FLOAT, "X", "0.5", "a share"},
    {"set", 0, FLAG_LIST, "KEY=VALUE", NULL, "an option"},
    {"json", 0, FLAG_BOOL, NULL, NULL, "as JSON"},
    {0},
};
static const struct command command = {
    .name = "try it",
    .positional = "SUITE [RUN]",
    .min_positional = 1,
    .max_positional = 2,
    .summary = "a command of the test",
    .flags = flags,
};

static struct arguments *parse(struct error *err, int argc, ...)
{
    char *argv[16];
    va_list list;
    va_start(list, argc);
    for (int i = 0; i < argc; i++)
        argv[i] = va_arg(list, char *);
    va_end(list);
    struct arguments *args = NULL;
    memset(err, 0, sizeof *err);
    enum status status = cli_arguments_parse(&command, argc, argv, &args, err);
    assert_int_equal(status, err->code);
    assert_true((status == OK) == (args != NULL));
    return args;
}

static void values_and_defaults(void **state)
{
    (void)state;
    struct error err;
    struct arguments *args = parse(&err, 9, "a.conf", "--db=x.db", "-oout", "--seed", "-7", "--set",
                                   "a.b=1", "--set=c.d=2", "--json");
    assert_non_null(args);
    assert_string_equal(cli_flag_string(args, "db"), "x.db");
    assert_string_equal(cli_flag_string(args, "out"), "out");
    assert_int_equal(cli_flag_int(args, "seed"), -7);
    assert_true(cli_flag_float(args, "share") == 0.5);
    assert_false(cli_flag_given(args, "share"));
    assert_true(cli_flag_bool(args, "json"));
    const char *const *list = NULL;
    assert_int_equal(cli_flag_list(args, "set", &list), 2);
    assert_string_equal(list[0], "a.b=1");
    assert_string_equal(list[1], "c.d=2");
    assert_int_equal(cli_positional_count(args), 1);
    assert_string_equal(cli_positional(args, 0), "a.conf");
    assert_null(cli_positional(args, 1));
    cli_arguments_destroy(args);
}

static void words_after_two_dashes_are_positional(void **state)
{
    (void)state;
    struct error err;
    struct arguments *args = parse(&err, 3, "a.conf", "--", "--json");
    assert_non_null(args);
    assert_false(cli_flag_bool(args, "json"));
    assert_string_equal(cli_positional(args, 1), "--json");
    cli_arguments_destroy(args);
}

static void help_needs_no_words(void **state)
{
    (void)state;
    struct error err;
    struct arguments *args = parse(&err, 1, "-h");
    assert_non_null(args);
    assert_true(cli_flag_bool(args, "help"));
    cli_arguments_destroy(args);
}

#define REFUSES(text, ...)                                                                         \
    do {                                                                                           \
        struct error err_;                                                                         \
        assert_null(parse(&err_, __VA_ARGS__));                                                    \
        assert_string_equal(err_.message, text);                                                   \
        assert_int_equal(err_.code, ERR_USAGE);                                                    \
    } while (0)

static void each_mistake_is_one_line(void **state)
{
    (void)state;
    REFUSES("try it: SUITE [RUN] expected (usage: bench try it SUITE [RUN])", 0);
    REFUSES("try it: unexpected 'c' (usage: bench try it SUITE [RUN])", 3, "a", "b", "c");
    REFUSES("try it: unknown flag '--jsn': did you mean '--json'?", 2, "a", "--jsn");
    REFUSES("try it: unknown flag '--sed': did you mean '--seed' or '--set'?", 2, "a", "--sed=4");
    REFUSES("try it: unknown flag '--quux' (see bench try it --help)", 2, "a", "--quux");
    REFUSES("try it: unknown flag '-x' (see bench try it --help)", 2, "a", "-x");
    REFUSES("try it: --db needs a value: FILE", 2, "a", "--db");
    REFUSES("try it: --json takes no value", 2, "a", "--json=1");
    REFUSES("try it: --seed: '4x' is not a whole number", 3, "a", "--seed", "4x");
    REFUSES("try it: --share: 'nan' is not a number", 2, "a", "--share=nan");
    REFUSES("try it: --db given twice", 3, "a", "--db=1", "--db=2");
}

static void commands_are_found_by_their_words(void **state)
{
    (void)state;
    struct error err = {0};
    int words = 0;
    char *good[] = {(char *)"bench", (char *)"help", (char *)"x"};
    const struct command *found = command_find(3, good, &words, &err);
    assert_non_null(found);
    assert_string_equal(found->name, "help");
    assert_int_equal(words, 2);
    char *two[] = {(char *)"bench", (char *)"model", (char *)"info", (char *)"x"};
    found = command_find(4, two, &words, &err);
    assert_non_null(found);
    assert_string_equal(found->name, "model info");
    assert_int_equal(words, 3);
    two[2] = (char *)"inf"; // both words, whole
    assert_null(command_find(4, two, &words, &err));
    assert_non_null(strstr(err.message, "unknown command 'model inf': did you mean 'info'?"));
    error_clear(&err);
    char *bad[] = {(char *)"bench", (char *)"hlep"};
    assert_null(command_find(2, bad, &words, &err));
    assert_string_equal(err.message, "unknown command 'hlep': did you mean 'help'?");
    error_clear(&err);
    bad[1] = (char *)"--verison";
    assert_null(command_find(2, bad, &words, &err));
    assert_string_equal(err.message, "unknown flag '--verison': did you mean '--version'?");
    error_clear(&err);
    bad[1] = (char *)"--db";
    assert_null(command_find(2, bad, &words, &err));
    assert_string_equal(err.message,
                        "unknown flag '--db': a command is expected first (see bench --help)");
}

// Names are unique, every row has what help and parsing need, and fallbacks parse (asserted
// inside).
static void a_group_lists_its_commands(void **state)
{
    (void)state;
    char text[1024] = "";
    FILE *out = tmpfile();
    assert_non_null(out);
    assert_false(cli_help_group("run", out)); // a command, not a group
    assert_false(cli_help_group("mod", out));
    assert_int_equal(ftell(out), 0);
    assert_true(cli_help_group("model", out));
    rewind(out);
    text[fread(text, 1, sizeof text - 1, out)] = 0;
    assert_non_null(strstr(text, "model info "));
    assert_non_null(strstr(text, "model logits "));
    assert_null(strstr(text, "kernel"));
    fclose(out);
}

// `bench help WORDS` of every command, of a group, and of what is neither.
static void help_has_every_topic(void **state)
{
    (void)state;
    static char out[1 << 16];
    char line[64], first[32];
    for (const struct command *const *c = cli_commands; *c; c++) {
        struct error err = {0};
        const char *space = strchr((*c)->name, ' ');
        snprintf(first, sizeof first, "%.*s", space ? (int)(space - (*c)->name) : 31, (*c)->name);
        const char *words[] = {first, space ? space + 1 : NULL, NULL};
        assert_int_equal(run_command(&command_help, words, out, sizeof out, &err), EXIT_FINE);
        snprintf(line, sizeof line, "usage: bench %s ", (*c)->name);
        assert_memory_equal(out, line, strlen(line));
        const char *group[] = {first, NULL};
        assert_int_equal(run_command(&command_help, group, out, sizeof out, &err), EXIT_FINE);
        assert_non_null(strstr(out, (*c)->summary));
    }
    struct error err = {0};
    const char *none[] = {"modl", NULL}, *more[] = {"run", "fast", NULL};
    assert_int_equal(run_command(&command_help, none, out, sizeof out, &err), EXIT_ERROR);
    assert_string_equal(err.message, "unknown command 'modl': did you mean 'model'?");
    error_clear(&err);
    assert_int_equal(run_command(&command_help, more, out, sizeof out, &err), EXIT_ERROR);
    assert_string_equal(err.message, "help: 'run' takes no second word: 'fast'");
    error_clear(&err);
    const char *option[] = {"option", NULL};
    assert_int_equal(run_command(&command_help, option, out, sizeof out, &err), EXIT_ERROR);
    assert_string_equal(err.message, "help: unknown command 'option': did you mean 'options'?");
    error_clear(&err);
    const char *options[] = {"options", NULL}; // the longest key leaves its type in its column
    assert_int_equal(run_command(&command_help, options, out, sizeof out, &err), EXIT_FINE);
    assert_non_null(strstr(out, "\n  quality_convention word     which"));
    assert_non_null(strstr(out, "\n  seed               number   seed"));
}

// A pattern that matches no kernel prints its error alone, without the head of a table.
static void a_wrong_pattern_prints_no_head(void **state)
{
    (void)state;
    char out[256];
    struct error err = {0};
    const char *words[] = {"k_none", NULL};
    assert_int_equal(run_command(&command_kernel_check, words, out, sizeof out, &err), EXIT_ERROR);
    assert_memory_equal(err.message, "no kernel for cpu with ", 23);
    assert_string_equal(out, "");
    error_clear(&err);
    assert_int_equal(run_command(&command_kernel_bench, words, out, sizeof out, &err), EXIT_ERROR);
    assert_memory_equal(err.message, "no kernel for cpu with ", 23);
    assert_string_equal(out, "");
}

static void the_table_is_sound(void **state)
{
    (void)state;
    for (const struct command *const *c = cli_commands; *c; c++) {
        assert_non_null((*c)->summary);
        assert_true(!(*c)->positional ||
                    (*c)->positional[0]); // NULL: none, or usage has two blanks
        assert_non_null((*c)->run);
        assert_true((*c)->max_positional == 0 || (*c)->positional);
        for (const struct command *const *d = c + 1; *d; d++)
            assert_string_not_equal((*c)->name, (*d)->name);
        struct error err = {0};
        struct arguments *args = NULL;
        char *help[] = {(char *)"--help"};
        assert_int_equal(cli_arguments_parse(*c, 1, help, &args, &err), OK);
        cli_arguments_destroy(args);
        for (const struct flag *f = (*c)->flags; f && f->name; f++) {
            assert_non_null(f->help);
            assert_true((f->type == FLAG_BOOL) == (f->value == NULL));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_and_defaults),
        cmocka_unit_test(words_after_two_dashes_are_positional),
        cmocka_unit_test(help_needs_no_words),
        cmocka_unit_test(each_mistake_is_one_line),
        cmocka_unit_test(commands_are_found_by_their_words),
        cmocka_unit_test(a_group_lists_its_commands),
        cmocka_unit_test(help_has_every_topic),
        cmocka_unit_test(a_wrong_pattern_prints_no_head),
        cmocka_unit_test(the_table_is_sound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
