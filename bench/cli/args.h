// args.h - walks the table of commands, parses command lines into flags, and prints help from the same rows.
//
// Commands include command.h only; this header is for main, `bench help` and the tests.
#ifndef BENCH_CLI_ARGS_H
#define BENCH_CLI_ARGS_H

#include <stdio.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/str.h"
#include "base/words.h"
#include "bench/cli/command.h"

// Flags of all commands: --help, --verbose; and those of `bench` without a command. End with a NULL name.
extern const struct flag cli_common_flags[], cli_program_flags[];

// The first command from `at` on that is shown; the NULL at the table's end if there is none.
const struct command *const *cli_shown(const struct command *const *at);
// The second word of a command whose first word is `group` ("model"); NULL: it is not of this group.
const char *cli_second_word(const struct command *command, const char *group);
// Adds the first words of the shown commands that have two, each once. The arena owns them.
void cli_groups(struct arena *arena, struct words *out);

// Finds the command that argv[1] names (and argv[2], for names of two words). *words: the number of words of argv used,
// including the program's name. Returns NULL with an error that names the nearest known command.
const struct command *command_find(int argc, char *const *argv, int *words, struct error *err);

// Parses the arguments after the command's name. argv is borrowed until cli_arguments_destroy. After "--" all words are
// positional. Errors: ERR_USAGE for an unknown flag (naming the nearest known one), a missing or malformed value, a
// repeated flag that is not a list, too few or too many words. With --help the number of positional words is not
// checked.
enum status cli_arguments_parse(const struct command *command, int argc, char *const *argv,
                                struct arguments **out, struct error *err);
void cli_arguments_destroy(struct arguments *args);

// What the program is, in one sentence, and its exit codes; the rows end with a NULL text.
extern const char cli_program_text[];
struct cli_exit_text {
    enum exit_code code;
    const char *text;
};
extern const struct cli_exit_text cli_exit_texts[];

void cli_help_program(FILE *out);
// Appends what help says about a flag: its text, the words it accepts, its default.
void cli_help_flag(const struct flag *flag, struct str *out);
// Prints the commands whose first word is `word` ("model"). Returns false and prints nothing if there are none.
bool cli_help_group(const char *word, FILE *out);
void cli_help_command(const struct command *command, FILE *out);

#endif
