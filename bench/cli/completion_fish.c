// completion_fish.c - the completion script for fish: one `complete` line for each command and flag.
//
// A line holds where its condition does: the command on the line, and for a positional word its number. Each row of
// values is one function.
#include <string.h>

#include "bench/cli/completion.h"

// fish escapes a single quote within single quotes by a backslash.
static void write_quoted(const char *text, FILE *out)
{
    fputc('\'', out);
    for (; *text; text++)
        fprintf(out, "%s%c", *text == '\'' || *text == '\\' ? "\\" : "",
                *text == '\n' ? ' ' : *text);
    fputc('\'', out);
}

static const char head[] =
    "# bench.fish - completes the commands, flags and values of bench.\n"
    "# Printed by `bench completion fish`.\n"
    "\n"
    "# Whether the line has this command, and the cursor is at this positional word.\n"
    "function __bench_at --argument-names command position\n"
    "    set -l words (commandline -opc)\n"
    "    set -l count (count (string split ' ' -- $command))\n"
    "    set -e words[1]\n"
    "    test \"$words[1..$count]\" = \"$command\"; or return 1\n"
    "    test -z \"$position\"; and return 0\n"
    "    set -l valued (__bench_valued $command)\n"
    "    set -l at 1\n"
    "    set -l value\n"
    "    for word in $words[(math $count + 1)..-1]\n"
    "        if test -n \"$value\"\n"
    "            set value\n"
    "        else if contains -- $word $valued\n"
    "            set value $word\n"
    "        else if not string match -q -- '-*' $word\n"
    "            set at (math $at + 1)\n"
    "        end\n"
    "    end\n"
    "    test $at -eq $position\n"
    "end\n"
    "\n"
    "# The flags of a command that take a value.\n"
    "function __bench_valued --argument-names command\n"
    "    switch $command\n";

static void write_valued(FILE *out)
{
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1)) {
        fprintf(out, "        case '%s'\n            string join \\n --", (*c)->name);
        for (const struct flag *f = cli_completion_flag(*c, NULL); f;
             f = cli_completion_flag(*c, f)) {
            if (!f->value)
                continue;
            fprintf(out, " --%s", f->name);
            if (f->letter)
                fprintf(out, " -%c", f->letter);
        }
        fputc('\n', out);
    }
    fputs("    end\nend\n\n", out);
}

static void write_key(FILE *out, const char *key, const struct words *words, bool list)
{
    (void)list; // a word after a comma is not completed here
    fprintf(out, "        case '*%s*'\n            string join \\n --", key);
    for (size_t i = 0; i < words->count; i++)
        fprintf(out, " %s%s", key, words->items[i]);
    fputc('\n', out);
}

static void write_values(const struct cli_values *values, FILE *out)
{
    fprintf(out, "function __bench_%s\n", values->name);
    if (values->keys) {
        fputs("    switch (commandline -ct)\n", out);
        cli_completion_keys(out, write_key);
        fputs("        case '*'\n            string split ' ' -- '", out);
        cli_completion_words(values, out);
        fputs("'\n    end\n", out);
    } else if (values->paths == PATHS_FOLDERS) {
        fputs("    __fish_complete_directories (commandline -ct)\n", out);
    } else {
        if (values->ending)
            fprintf(out, "    __fish_complete_suffix %s\n", values->ending);
        fputs(values->list ? "    __fish_append , " : "    string split ' ' -- '", out);
        cli_completion_words(values, out);
        fputs(values->list ? "\n" : "'\n", out);
    }
    fputs("end\n\n", out);
}

// " -x -a '(__bench_scheme)'": what a flag's value or a positional word is.
static void write_arguments(const struct cli_values *values, FILE *out)
{
    bool words =
        values && (values->words || values->add || values->key || values->paths == PATHS_FOLDERS);
    if (values && values->paths == PATHS_FILES && !values->ending)
        fputs(" -F", out);
    else
        fputs(" -f", out);
    if (words)
        fprintf(out, " -a '(__bench_%s)'", values->name);
}

static void write_flag(const char *condition, const struct flag *flag, FILE *out)
{
    fprintf(out, "complete -c bench -n %s", condition);
    if (flag->letter)
        fprintf(out, " -s %c", flag->letter);
    fprintf(out, " -l %s", flag->name);
    if (flag->value) {
        fputs(" -r", out);
        write_arguments(flag->values, out);
    }
    fputs(" -d ", out);
    write_quoted(flag->help, out);
    fputc('\n', out);
}

static void write_command(const struct command *command, FILE *out)
{
    char condition[64];
    fputc('\n', out);
    for (int i = 0; i < command->max_positional; i++) {
        if (!command->accepts[i])
            continue;
        fprintf(out, "complete -c bench -n '__bench_at \"%s\" %d'", command->name, i + 1);
        write_arguments(command->accepts[i], out);
        fputc('\n', out);
    }
    snprintf(condition, sizeof condition, "'__bench_at \"%s\"'", command->name);
    for (const struct flag *f = cli_completion_flag(command, NULL); f;
         f = cli_completion_flag(command, f))
        write_flag(condition, f, out);
}

static void write_names(const struct words *groups, FILE *out)
{
    fputs("complete -c bench -f\n", out);
    for (const struct flag *f = cli_completion_flag(NULL, NULL); f;
         f = cli_completion_flag(NULL, f))
        write_flag("__fish_use_subcommand", f, out);
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1)) {
        const char *space = strchr((*c)->name, ' ');
        if (space)
            fprintf(out, "complete -c bench -n '__bench_at \"%.*s\" 1' -a %s -d ",
                    (int)(space - (*c)->name), (*c)->name, space + 1);
        else
            fprintf(out, "complete -c bench -n __fish_use_subcommand -a %s -d ", (*c)->name);
        write_quoted((*c)->summary, out);
        fputc('\n', out);
    }
    for (size_t i = 0; i < groups->count; i++)
        fprintf(out, "complete -c bench -n __fish_use_subcommand -a %s -d 'commands of %s'\n",
                groups->items[i], groups->items[i]);
}

void cli_completion_fish(const struct cli_tables *tables, FILE *out)
{
    fputs(head, out);
    write_valued(out);
    for (size_t i = 0; i < tables->value_count; i++)
        if (tables->values[i]->paths != PATHS_FILES || tables->values[i]->add)
            write_values(tables->values[i], out);
    write_names(&tables->groups, out);
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1))
        write_command(*c, out);
}
