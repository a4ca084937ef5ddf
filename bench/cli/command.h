// command.h - a command of `bench`: one file, one row in the table of commands.c.
//
// Flags are rows too. main parses them, checks types, and prints --help and "did you mean" from the same rows; it
// passes each command its parsed values. A command returns its exit code and never calls exit.
#ifndef BENCH_CLI_COMMAND_H
#define BENCH_CLI_COMMAND_H

#include <stdbool.h>
#include <stdint.h>
#include <stddef.h>

#include "base/status.h"
#include "bench/exit_code.h"

struct cli_values; // values.h

enum flag_type { FLAG_BOOL, FLAG_STRING, FLAG_INT, FLAG_FLOAT, FLAG_LIST };

// One flag of one command: "--db FILE". A FLAG_LIST may be given several times.
struct flag {
    const char *name; // "db"
    char letter;      // 'o' for -o, or 0
    enum flag_type type;
    const char *value;    // "FILE", shown in help; NULL for FLAG_BOOL
    const char *fallback; // default as text, shown in help, or NULL
    const char *help;
    const struct cli_values *values; // what it accepts, for help and completion; NULL: any text
};

struct arguments; // parsed flags and positional words of one invocation

// The value of a flag of the command's table, or its fallback if it was not given. A name that the table lacks, or one
// of another type, is a programmer's mistake (assert).
bool cli_flag_bool(const struct arguments *args, const char *name);
const char *cli_flag_string(const struct arguments *args, const char *name); // fallback or NULL
int64_t cli_flag_int(const struct arguments *args, const char *name);
double cli_flag_float(const struct arguments *args, const char *name);
bool cli_flag_given(const struct arguments *args, const char *name);
size_t cli_flag_list(const struct arguments *args, const char *name, const char *const **values);
size_t cli_positional_count(const struct arguments *args);
const char *cli_positional(const struct arguments *args, size_t i); // NULL beyond the last

struct command {
    const char *name;       // "run", or "model info" for a command of two words
    const char *positional; // "SUITE", "MODEL PROMPT", "[RUN]"
    int min_positional, max_positional;
    const struct cli_values *accepts[2]; // what the positional words are; NULL: any text
    const char *summary;                 // one line for `bench --help`
    const char *details;                 // further help text, or NULL
    const struct flag *flags;            // ends with a NULL name
    bool hidden;                         // not in --help (the worker)
    enum exit_code (*run)(const struct arguments *args, struct error *err);
};

// The table, ended by a NULL pointer (commands.c). Each command file exports one `const struct command`.
extern const struct command *const cli_commands[];

// EXIT_FINE, EXIT_INTERRUPTED for ERR_INTERRUPTED, else EXIT_ERROR.
enum exit_code cli_exit_code(const struct error *err);

struct suite;
// Reads only bench.conf, with the table's defaults for missing keys. The caller calls suite_fini. *path: the path of
// the file, owned by the suite's arena; NULL: there is no file.
enum status command_config(struct suite *out, const char **path, struct error *err);

// The formats of a report (report_formats): from --format, else bench.conf, else the option table.
enum status command_report_formats(const struct arguments *args, unsigned *formats,
                                   struct error *err);

// Database of this invocation: --db, else bench.conf's, else the user's data directory. Caller frees.
char *command_database(const struct arguments *args, struct error *err);
// Whether this is the database that is used without --db.
bool command_database_is_own(const char *path);
// Refuses an output file that would replace the database. path NULL: OK.
enum status command_check_output(const struct arguments *args, const char *flag, const char *path,
                                 struct error *err);

#endif
