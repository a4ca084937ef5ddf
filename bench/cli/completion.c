// completion.c - `bench completion SHELL`, and what the writers of the shells share.
#include "bench/cli/completion.h"

#include <assert.h>
#include <string.h>

#include "base/str.h"

const struct cli_shell cli_shells[] = {
    {"bash", cli_completion_bash},
    {"zsh", cli_completion_zsh},
    {"fish", cli_completion_fish},
    {0},
};

// ---- walks over the tables ------------------------------------------------------------------------

const struct flag *cli_completion_flag(const struct command *command, const struct flag *flag)
{
    const struct flag *own = command ? command->flags : cli_program_flags;
    const struct flag *next = flag ? flag + 1 : own;
    if (next && next->name)
        return next;
    // `next` is the end of a table: of the command's own, or of the common ones.
    bool common_done = !command;
    for (const struct flag *f = cli_common_flags; flag && f->name; f++)
        common_done = common_done || f == flag;
    return common_done ? NULL : cli_common_flags;
}

const char *cli_completion_name(const struct command *command, const char *group)
{
    if (group)
        return cli_second_word(command, group);
    return strchr(command->name, ' ') ? NULL : command->name;
}

static void add_values(struct cli_tables *tables, const struct cli_values *values)
{
    for (size_t i = 0; i < tables->value_count; i++)
        if (tables->values[i] == values)
            return;
    if (!values)
        return;
    assert(tables->value_count < CLI_VALUES_MAX);
    tables->values[tables->value_count++] = values;
}

static void gather(struct arena *arena, struct cli_tables *out)
{
    *out = (struct cli_tables){0};
    cli_groups(arena, &out->groups);
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1)) {
        for (int i = 0; i < (*c)->max_positional; i++)
            add_values(out, (*c)->accepts[i]);
        for (const struct flag *f = cli_completion_flag(*c, NULL); f;
             f = cli_completion_flag(*c, f))
            add_values(out, f->values);
    }
}

const char *cli_completion_word(const struct command *command, int i, char *out, size_t out_bytes)
{
    const char *at = command->positional ? command->positional : "";
    for (; i > 0; i--) {
        at += strcspn(at, " ");
        at += *at == ' ';
    }
    at += *at == '[';
    snprintf(out, out_bytes, "%.*s", (int)strcspn(at, " ]"), at);
    return out;
}

void cli_completion_words(const struct cli_values *values, FILE *out)
{
    struct arena arena = {0};
    struct words words = {0};
    cli_values_words(values, &arena, &words);
    for (size_t i = 0; i < words.count; i++)
        fprintf(out, "%s%s", i ? " " : "", words.items[i]);
    arena_fini(&arena);
}

void cli_completion_quoted(const char *text, const char *special, FILE *out)
{
    for (; *text; text++) {
        if (*text == '\'')
            fputs("'\\''", out);
        else if (strchr(special, *text))
            fprintf(out, "\\%c", *text);
        else
            fputc(*text == '\n' ? ' ' : *text, out);
    }
}

void cli_completion_keys(FILE *out, void (*each)(FILE *out, const char *key,
                                                 const struct words *words, bool list))
{
    struct arena arena = {0};
    struct words keys = {0};
    cli_values_words(&cli_values_key, &arena, &keys);
    for (size_t i = 0; i < keys.count; i++) {
        struct words words = {0};
        bool list;
        cli_values_of_key(keys.items[i], &arena, &words, &list);
        if (words.count)
            each(out, keys.items[i], &words, list);
    }
    arena_fini(&arena);
}

// ---- the command ----------------------------------------------------------------------------------

static enum exit_code run_completion(const struct arguments *args, struct error *err)
{
    const char *name = cli_positional(args, 0);
    char hint[WORDS_HINT_BYTES];
    struct arena arena = {0};
    struct cli_tables tables;
    for (const struct cli_shell *s = cli_shells; s->name; s++)
        if (str_equal(s->name, name)) {
            gather(&arena, &tables);
            s->write(&tables, stdout);
            arena_fini(&arena);
            return EXIT_FINE;
        }
    FAIL(err, ERR_USAGE, "completion: no script for '%s'%s", name,
         cli_values_hint(&cli_values_shell, name, hint, sizeof hint));
    return EXIT_ERROR;
}

static const struct flag flags[] = {{0}};

const struct command command_completion = {
    .name = "completion",
    .positional = "SHELL",
    .min_positional = 1,
    .max_positional = 1,
    .accepts = {&cli_values_shell},
    .summary = "print a completion script for bash, zsh or fish",
    .details = "`make install` puts the scripts where the shells look. Without it:\n"
               "  bash  bench completion bash > ~/.local/share/bash-completion/completions/bench\n"
               "  zsh   bench completion zsh > a folder of $fpath/_bench\n"
               "  fish  bench completion fish > ~/.config/fish/completions/bench.fish",
    .flags = flags,
    .run = run_completion,
};
