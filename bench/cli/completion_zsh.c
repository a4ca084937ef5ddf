// completion_zsh.c - the completion script for zsh: one `_arguments` call for each command.
//
// The file works as `_bench` in a folder of $fpath and when it is sourced. Each row of values is one function.
#include "bench/cli/completion.h"

// Special in descriptions within brackets, and in the fields of a specification.
#define SPECIAL "[]:\\"

static void write_key(FILE *out, const char *key, const struct words *words, bool list)
{
    fprintf(out, "        *%s) %s", key, list ? "_sequence compadd -" : "compadd --");
    for (size_t i = 0; i < words->count; i++)
        fprintf(out, " %s", words->items[i]);
    fputs(" ;;\n", out);
}

static void write_keys(const struct cli_values *values, FILE *out)
{
    fputs("    if compset -P '*='; then\n        case $IPREFIX in\n", out);
    cli_completion_keys(out, write_key);
    fputs("        esac\n    else\n        compadd -S '' -- ", out);
    cli_completion_words(values, out);
    fputs("\n    fi\n", out);
}

static void write_values(const struct cli_values *values, FILE *out)
{
    fprintf(out, "(( $+functions[_bench_%s] )) ||\n_bench_%s() {\n", values->name, values->name);
    if (values->keys) {
        write_keys(values, out);
    } else if (values->paths == PATHS_FOLDERS) {
        fputs("    _files -/\n", out);
    } else if (values->paths == PATHS_FILES && !values->add) {
        fputs("    _files\n", out);
    } else if (values->paths == PATHS_FILES) {
        fprintf(out, "    _alternative 'files:file:_files%s%s%s' 'names:%s:(",
                values->ending ? " -g \"*" : "", values->ending ? values->ending : "",
                values->ending ? "\"" : "", values->name);
        cli_completion_words(values, out);
        fputs(")'\n", out);
    } else {
        fputs(values->list ? "    _sequence compadd - " : "    compadd \"$@\" -- ", out);
        cli_completion_words(values, out);
        fputc('\n', out);
    }
    fputs("}\n\n", out);
}

static void write_action(const char *title, const struct cli_values *values, FILE *out)
{
    fputc(':', out);
    cli_completion_quoted(title, SPECIAL, out);
    if (values)
        fprintf(out, ":_bench_%s", values->name);
    else
        fputs(": ", out);
}

// '(-o --output)'{-o+,--output=}'[help]:FILE:_bench_file'
static void write_flag(const struct flag *flag, FILE *out)
{
    const char *repeated = flag->type == FLAG_LIST ? "*" : "";
    fputs("            ", out);
    if (flag->letter && !*repeated)
        fprintf(out, "'(-%c --%s)'", flag->letter, flag->name);
    if (flag->letter)
        fprintf(out, "%s{-%c%s,--%s%s}'[", *repeated ? "'*'" : "", flag->letter,
                flag->value ? "+" : "", flag->name, flag->value ? "=" : "");
    else
        fprintf(out, "'%s--%s%s[", repeated, flag->name, flag->value ? "=" : "");
    cli_completion_quoted(flag->help, SPECIAL, out);
    fputc(']', out);
    if (flag->value)
        write_action(flag->value, flag->values, out);
    fputs("' \\\n", out);
}

static void write_positional(const struct command *command, FILE *out)
{
    for (int i = 0; i < command->max_positional; i++) {
        char word[40];
        cli_completion_word(command, i, word, sizeof word);
        fprintf(out, "            '%d%s", i + 1, i < command->min_positional ? "" : ":");
        write_action(*word ? word : "word", command->accepts[i], out);
        fputs("' \\\n", out);
    }
}

static void write_command(const struct command *command, FILE *out)
{
    fprintf(out, "    '%s')\n        _arguments -S : \\\n", command->name);
    for (const struct flag *f = cli_completion_flag(command, NULL); f;
         f = cli_completion_flag(command, f))
        write_flag(f, out);
    write_positional(command, out);
    fputs("            && ret=0\n        ;;\n", out);
}

// An item of _describe: 'run:measure a suite into the store'.
static void write_item(const char *name, const char *text, FILE *out)
{
    fputs("            '", out);
    cli_completion_quoted(name, ":\\", out);
    fputc(':', out);
    cli_completion_quoted(text, "\\", out);
    fputs("'\n", out);
}

// The first words of all commands and the groups, or the second words of one group.
static void write_describe(const char *group, const struct words *groups, FILE *out)
{
    fputs("        commands=(\n", out);
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1)) {
        const char *name = cli_completion_name(*c, group);
        if (name)
            write_item(name, (*c)->summary, out);
    }
    for (size_t i = 0; !group && i < groups->count; i++) {
        char text[40];
        snprintf(text, sizeof text, "commands of %s", groups->items[i]);
        write_item(groups->items[i], text, out);
    }
    fprintf(out, "        )\n        _describe -t commands 'bench%s%s command' commands && ret=0\n",
            group ? " " : "", group ? group : "");
}

static void write_dispatch(const struct words *groups, FILE *out)
{
    fputs("_bench() {\n"
          "    local ret=1 command context state line curcontext=$curcontext\n"
          "    local -a commands\n"
          "    local -A opt_args\n"
          "    if (( CURRENT == 2 )); then\n",
          out);
    fputs("        _arguments \\\n", out);
    for (const struct flag *f = cli_completion_flag(NULL, NULL); f;
         f = cli_completion_flag(NULL, f))
        write_flag(f, out);
    fputs("            && ret=0\n", out);
    write_describe(NULL, groups, out);
    fputs("        return ret\n"
          "    fi\n"
          "    shift words\n"
          "    (( CURRENT-- ))\n"
          "    command=$words[1]\n"
          "    case $command in\n",
          out);
    for (size_t i = 0; i < groups->count; i++) {
        fprintf(out, "    %s)\n        if (( CURRENT == 2 )); then\n", groups->items[i]);
        write_describe(groups->items[i], groups, out);
        fputs("        return ret\n"
              "        fi\n"
              "        command+=\" $words[2]\"\n"
              "        shift words\n"
              "        (( CURRENT-- ))\n"
              "        ;;\n",
              out);
    }
    fputs("    esac\n    case $command in\n", out);
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1))
        write_command(*c, out);
    fputs("    esac\n    return ret\n}\n\n", out);
}

void cli_completion_zsh(const struct cli_tables *tables, FILE *out)
{
    fputs("#compdef bench\n\n"
          "# _bench - completes the commands, flags and values of bench.\n"
          "# Printed by `bench completion zsh`.\n\n",
          out);
    for (size_t i = 0; i < tables->value_count; i++)
        write_values(tables->values[i], out);
    write_dispatch(&tables->groups, out);
    fputs("if [[ $funcstack[1] == _bench ]]; then\n"
          "    _bench \"$@\"\n"
          "else\n"
          "    compdef _bench bench\n"
          "fi\n",
          out);
}
