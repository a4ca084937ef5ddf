// completion.h - the shells that `bench completion` writes a script for, and what their writers share.
//
// A writer walks the shown commands and prints the script. It writes words from the tables only; the rest of a script
// is the shell's own idiom.
#ifndef BENCH_CLI_COMPLETION_H
#define BENCH_CLI_COMPLETION_H

#include <stdio.h>

#include "bench/cli/args.h"
#include "bench/cli/values.h"

enum { CLI_VALUES_MAX = 48 };

// What is gathered from the rows of the shown commands, each once.
struct cli_tables {
    struct words groups; // the first words of commands of two: "kernel", "model"
    const struct cli_values *values[CLI_VALUES_MAX];
    size_t value_count;
};

struct cli_shell {
    const char *name;                                          // "bash"
    void (*write)(const struct cli_tables *tables, FILE *out); // the script
};
extern const struct cli_shell cli_shells[]; // ends with a NULL name

void cli_completion_bash(const struct cli_tables *tables, FILE *out);
void cli_completion_zsh(const struct cli_tables *tables, FILE *out);
void cli_completion_fish(const struct cli_tables *tables, FILE *out);

// The next flag of a command after `flag` (NULL: the first), the common ones last; NULL after the last. command NULL:
// the flags of the program itself.
const struct flag *cli_completion_flag(const struct command *command, const struct flag *flag);

// The word of a command that follows `group` on a line, or that begins a line (group NULL). NULL: none does.
const char *cli_completion_name(const struct command *command, const char *group);

// What a script needs of the i-th positional word: "MODEL", without brackets; "" beyond the last.
const char *cli_completion_word(const struct command *command, int i, char *out, size_t out_bytes);

// Prints the words of a row with blanks between them.
void cli_completion_words(const struct cli_values *values, FILE *out);

// Prints `text` for a place within single quotes: a backslash before each character of `special`, '\'' for a single
// quote, a blank for a line's end.
void cli_completion_quoted(const char *text, const char *special, FILE *out);

// Calls `each` for every key of --set that has words of its own: "defaults.kv=", "auto f32", list.
void cli_completion_keys(FILE *out, void (*each)(FILE *out, const char *key,
                                                 const struct words *words, bool list));

#endif
