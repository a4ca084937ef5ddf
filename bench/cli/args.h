// args.h - command lines into parsed flags, and help out of the same rows.
//
// Commands see only command.h; this is for main, `bench help` and the tests.
#ifndef BENCH_CLI_ARGS_H
#define BENCH_CLI_ARGS_H

#include <stdio.h>

#include "base/status.h"
#include "bench/cli/command.h"

// What every command takes besides its own rows: --help, --verbose. Ends with a NULL name.
extern const struct flag cli_common_flags[];

// The command that argv[1] (and argv[2], for names of two words) asks for; *words is how many of
// argv it took, the program's name included. NULL with an error that names the nearest known
// command.
const struct command *command_find(int argc, char *const *argv, int *words, struct error *err);

// Parses the arguments after the command's name. argv is borrowed until cli_arguments_destroy.
// After "--" every word is positional. Errors: ERR_USAGE for an unknown flag (the nearest known is
// named), a missing or malformed value, a flag given twice that is no list, too few or many words.
// With --help among the flags the count of positional words is not checked.
enum status cli_arguments_parse(const struct command *command, int argc, char *const *argv,
                                struct arguments **out, struct error *err);
void cli_arguments_destroy(struct arguments *args);

void cli_help_program(FILE *out);
// The commands whose first word is `word` ("model"); false, and nothing printed, when there are none.
bool cli_help_group(const char *word, FILE *out);
void cli_help_command(const struct command *command, FILE *out);

#endif
