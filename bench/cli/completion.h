// completion.h - the shells that `bench completion` writes a script for, and what their writers share.
//
// A writer walks the command table and prints the script. It writes words from the tables only; the rest of a script is
// the shell's own idiom.
#ifndef BENCH_CLI_COMPLETION_H
#define BENCH_CLI_COMPLETION_H

#include <stdio.h>

#include "bench/cli/command.h"
#include "bench/cli/values.h"

struct cli_shell {
    const char *name;         // "bash"
    void (*write)(FILE *out); // the script
};
extern const struct cli_shell cli_shells[]; // ends with a NULL name

void cli_completion_bash(FILE *out);
void cli_completion_zsh(FILE *out);
void cli_completion_fish(FILE *out);

// The next flag of a command after `flag` (NULL: the first), the common ones last; NULL after the last. command NULL:
// the flags of the program itself.
const struct flag *cli_completion_flag(const struct command *command, const struct flag *flag);

// The rows of values that commands name, each once; at most `max`. Returns their number.
size_t cli_completion_values(const struct cli_values **out, size_t max);

// What a script needs of the i-th positional word: "MODEL", without brackets; "" beyond the last.
const char *cli_completion_word(const struct command *command, int i, char *out, size_t out_bytes);

// Prints the words of a row with blanks between them.
void cli_completion_words(const struct cli_values *values, FILE *out);

// The commands that are shown, and the words before and after the blank of their names.
struct cli_names {
    const char *groups[8]; // "kernel", "model"
    size_t group_count;
    char text[8][24];
};
void cli_completion_groups(struct cli_names *out);

// Prints `text` with a backslash before each of `special`, and every single quote as a shell has it within single
// quotes.
void cli_completion_quoted(const char *text, const char *special, FILE *out);

// Calls `each` for every key of --set that has words of its own: "defaults.kv=", "auto f32", list.
void cli_completion_keys(FILE *out, void (*each)(FILE *out, const char *key,
                                                 const struct words *words, bool list));

#endif
