// help.c - what `bench --help`, `bench CMD --help` and `bench help` print, all from the rows.
#include <stdio.h>
#include <string.h>

#include "base/plain.h"
#include "base/str.h"
#include "base/table.h"
#include "base/words.h"
#include "bench/cli/args.h"
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
        str_append(&help, flags->help);
        if (flags->fallback)
            str_printf(&help, " (default: %s)", flags->fallback);
        if (flags->type == FLAG_LIST)
            str_append(&help, "; may be repeated");
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
    size_t length = strlen(word), count = 0;
    for (const struct command *const *c = cli_commands; *c; c++) {
        if (strncmp((*c)->name, word, length) != 0 || (*c)->name[length] != ' ')
            continue;
        if (count++ == 0)
            fprintf(out, "usage: bench %s COMMAND [arguments] [flags]\n\n", word);
        print_row(out, 16, (*c)->name, (*c)->summary);
    }
    return count > 0;
}

void cli_help_program(FILE *out)
{
    fputs("usage: bench COMMAND [arguments] [flags]\n\n"
          "Measures LLM inference on this machine and says what limits it.\n\n"
          "commands:\n",
          out);
    for (const struct command *const *c = cli_commands; *c; c++) {
        if ((*c)->hidden)
            continue;
        char left[64];
        snprintf(left, sizeof left, "%s%s%s", (*c)->name, (*c)->positional ? " " : "",
                 (*c)->positional ? (*c)->positional : "");
        print_row(out, COMMAND_COLUMN, left, (*c)->summary);
    }
    fputs(
        "\n`bench COMMAND --help` lists the flags of a command, `bench help options` the keys of a "
        "suite.\ndocs/GLOSSARY.md explains the terms.\n\n"
        "exit codes:\n  0    fine, even if cells were skipped\n  1    wrong usage, or an internal "
        "error\n"
        "  4    a cell ended in wrong, oom, timeout, crashed or failed\n  130  interrupted\n",
        out);
}

static enum exit_code run_help(const struct arguments *args, struct error *err)
{
    char *words[3] = {(char *)"bench", (char *)cli_positional(args, 0),
                      (char *)cli_positional(args, 1)};
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
    {"markdown", 0, FLAG_BOOL, NULL, NULL, "`help options` as docs/SUITES.md has it"},
    {0},
};

const struct command command_help = {
    .name = "help",
    .positional = "[COMMAND|options]",
    .max_positional = 2,
    .summary = "what a command does and the flags it takes; the keys of suites",
    .flags = flags,
    .run = run_help,
};
