// fixture.h - runs a command in this process and keeps what it prints.
#ifndef TESTS_CLI_FIXTURE_H
#define TESTS_CLI_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "bench/cli/args.h"

enum { MAX_WORDS = 12 };

// Runs the command with standard output in a file, and gives back what it wrote.
static inline enum exit_code run_command(const struct command *command, const char *const *words,
                                         char *out, size_t out_bytes, struct error *err)
{
    char *argv[MAX_WORDS];
    int argc = 0;
    while (words[argc]) {
        argv[argc] = (char *)words[argc];
        argc++;
    }
    struct arguments *args = NULL;
    FILE *file = tmpfile();
    assert_non_null(file);
    fflush(stdout);
    int kept = dup(STDOUT_FILENO);
    dup2(fileno(file), STDOUT_FILENO);
    enum exit_code code = EXIT_ERROR;
    if (cli_arguments_parse(command, argc, argv, &args, err) == OK)
        code = command->run(args, err);
    fflush(stdout);
    dup2(kept, STDOUT_FILENO);
    close(kept);
    cli_arguments_destroy(args);
    rewind(file);
    out[fread(out, 1, out_bytes - 1, file)] = 0;
    fclose(file);
    return code;
}

#endif
