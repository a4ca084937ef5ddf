// help.c - what `bench --help`, `bench CMD --help` and `bench help` print, all from the rows.
#include <stdio.h>
#include <string.h>

#include "base/plain.h"
#include "base/str.h"
#include "base/table.h"
#include "base/words.h"
#include "bench/cli/args.h"
#include "bench/cli/manual.h"
#include "bench/cli/values.h"
#include "bench/suite/options.h"

enum { FLAG_COLUMN = 24, COMMAND_COLUMN = 28 };

// Prints a row of two columns; the second is wrapped to a terminal's width.
static void print_row(FILE *out, int column, const char *left, const char *right)
{
    int width = (int)strlen(left) > column ? (int)strlen(left) : column;
    fprintf(out, "  %-*s  ", column, left);
    table_text(out, width + 4, plain_columns(out), right);
}

// Prints lines, each wrapped to a terminal's width.
static void print_lines(FILE *out, const char *text)
{
    while (*text) {
        struct str line = {0};
        size_t bytes = strcspn(text, "\n");
        str_append_bytes(&line, text, bytes);
        table_text(out, 0, plain_columns(out), str_text(&line));
        str_fini(&line);
        text += bytes + (text[bytes] == '\n');
    }
}

// " (one of: auto f32 bf16)", as help on options has it.
static void append_words(const struct cli_values *values, struct str *out)
{
    struct arena arena = {0};
    struct words words = {0};
    cli_values_words(values, &arena, &words);
    str_append(out, values->list ? " (of:" : " (one of:");
    for (size_t i = 0; i < words.count; i++)
        str_printf(out, " %s", words.items[i]);
    str_append(out, ")");
    arena_fini(&arena);
}

void cli_help_flag(const struct flag *flag, struct str *out)
{
    str_append(out, flag->help);
    if (flag->values && flag->values->paths == PATHS_NONE && !flag->values->open)
        append_words(flag->values, out);
    if (flag->fallback)
        str_printf(out, " (default: %s)", flag->fallback);
    if (flag->type == FLAG_LIST)
        str_append(out, "; may be repeated");
}

static void print_flags(const struct flag *flags, FILE *out)
{
    for (; flags && flags->name; flags++) {
        char left[64];
        char letter[8] = "    ";
        if (flags->letter)
            snprintf(letter, sizeof letter, "-%c, ", flags->letter);
        snprintf(left, sizeof left, "%s--%s%s%s", letter, flags->name, flags->value ? " " : "",
                 flags->value ? flags->value : "");
        struct str help = {0};
        cli_help_flag(flags, &help);
        print_row(out, FLAG_COLUMN, left, str_text(&help));
        str_fini(&help);
    }
}

void cli_help_command(const struct command *command, FILE *out)
{
    fprintf(out, "usage: bench %s%s%s [flags]\n\n", command->name, command->positional ? " " : "",
            command->positional ? command->positional : "");
    print_lines(out, command->summary);
    if (command->details) {
        fputc('\n', out);
        print_lines(out, command->details);
    }
    fputs("\nflags:\n", out);
    print_flags(command->flags, out);
    print_flags(cli_common_flags, out);
}

bool cli_help_group(const char *word, FILE *out)
{
    size_t count = 0;
    for (const struct command *const *c = cli_commands; *c; c++) {
        if (!cli_second_word(*c, word))
            continue;
        if (count++ == 0)
            fprintf(out, "usage: bench %s COMMAND [arguments] [flags]\n\n", word);
        print_row(out, 16, (*c)->name, (*c)->summary);
    }
    return count > 0;
}

const char cli_program_text[] = "Measures LLM inference on this machine and says what limits it.";

const struct cli_exit_text cli_exit_texts[] = {
    {EXIT_FINE, "fine, even if cells were skipped"},
    {EXIT_ERROR, "wrong usage, or an internal error"},
    {EXIT_CELL_FAILED, "a cell ended in wrong, oom, timeout, crashed or failed"},
    {EXIT_INTERRUPTED, "interrupted"},
    {0},
};

void cli_help_program(FILE *out)
{
    fprintf(out, "usage: bench COMMAND [arguments] [flags]\n\n%s\n\ncommands:\n", cli_program_text);
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1)) {
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", (*c)->name, (*c)->positional ? " " : "",
                 (*c)->positional ? (*c)->positional : "");
        print_row(out, COMMAND_COLUMN, left, (*c)->summary);
    }
    fputs("\nflags:\n", out);
    print_flags(cli_program_flags, out);
    fputs(
        "\n`bench COMMAND --help` lists the flags of a command, `bench help options` the keys of a "
        "suite.\ndocs/GLOSSARY.md explains the terms.\n\nexit codes:\n",
        out);
    for (const struct cli_exit_text *e = cli_exit_texts; e->text; e++)
        fprintf(out, "  %-4d %s\n", e->code, e->text);
}

static enum exit_code run_help(const struct arguments *args, struct error *err)
{
    char *words[3] = {(char *)"bench", (char *)cli_positional(args, 0),
                      (char *)cli_positional(args, 1)};
    if (cli_flag_bool(args, "man")) {
        cli_manual(stdout);
        return EXIT_FINE;
    }
    if (!words[1]) {
        cli_help_program(stdout);
        return EXIT_FINE;
    }
    if (str_equal(words[1], "options")) {
        cli_flag_bool(args, "markdown") ? options_print_markdown(stdout)
                                        : options_print_help(stdout);
        return EXIT_FINE;
    }
    int taken = 0;
    int count = 1 + (int)cli_positional_count(args);
    if (count == 2 && cli_help_group(words[1], stdout))
        return EXIT_FINE;
    static const char *const topics[] = {"options"};
    char near[WORDS_HINT_BYTES];
    if (count == 2 && words_near(words[1], topics, 1, near, sizeof near)) {
        FAIL(err, ERR_USAGE, "help: unknown command '%s'%s", words[1], near);
        return EXIT_ERROR;
    }
    const struct command *command = command_find(count, words, &taken, err);
    if (command && taken < count)
        FAIL(err, ERR_USAGE, "help: '%s' takes no second word: '%s'", command->name, words[taken]);
    else if (command)
        cli_help_command(command, stdout);
    return cli_exit_code(err);
}

static const struct flag flags[] = {
    {"man", 0, FLAG_BOOL, NULL, NULL, "the manual page, as roff for man(1)"},
    {"markdown", 0, FLAG_BOOL, NULL, NULL, "`help options` as docs/SUITES.md has it"},
    {0},
};

const struct command command_help = {
    .name = "help",
    .positional = "[COMMAND|options]",
    .max_positional = 2,
    .accepts = {&cli_values_command, &cli_values_command_second},
    .summary = "what a command does and the flags it takes; the keys of suites",
    .flags = flags,
    .run = run_help,
};
