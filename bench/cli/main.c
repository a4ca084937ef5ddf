// main.c - finds the command, runs it, prints its error; the only file that ends the process.
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "base/interrupt.h"
#include "base/log.h"
#include "base/str.h"
#include "bench/cli/args.h"
#include "bench/cli/version.h"

static enum exit_code run_command(int argc, char **argv, const char **name, bool *verbose,
                                  struct error *err)
{
    int words = 0;
    const struct command *command = command_find(argc, argv, &words, err);
    struct arguments *args = NULL;
    if (!command || cli_arguments_parse(command, argc - words, argv + words, &args, err) != OK)
        return EXIT_ERROR;
    enum exit_code code = EXIT_FINE;
    *name = command->name;
    *verbose = cli_flag_bool(args, "verbose");
    if (*verbose)
        log_set_level(LOG_DEBUG);
    if (cli_flag_bool(args, "help"))
        cli_help_command(command, stdout);
    else
        code = command->run(args, err);
    cli_arguments_destroy(args);
    return err->code != OK && code == EXIT_FINE ? EXIT_ERROR : code;
}

// Writes again to get an errno, because that of the failed write was not kept.
static int output_refusal(void)
{
    return write(STDOUT_FILENO, "\n", 1) < 0 ? errno : EIO;
}

// Results that did not reach their file or pipe count as an error.
static enum exit_code close_output(enum exit_code code, struct error *err)
{
    bool failed_before = ferror(stdout) != 0;
    int failed = fflush(stdout) != 0 ? errno : 0;
    if (failed_before && !failed)
        failed = output_refusal();
    if (!failed)
        return code;
    FAIL_OS(err, failed, "standard output");
    return code == EXIT_FINE ? EXIT_ERROR : code;
}

static void print_error(const char *name, bool verbose, const struct error *err)
{
    if (err->code == ERR_INTERRUPTED)
        fprintf(stderr, "bench %s: interrupted; nothing was written\n", name);
    else if (verbose)
        log_line(LOG_ERROR, "%s (%s, %s:%d)", err->message, status_name(err->code), err->file,
                 err->line);
    else
        log_line(LOG_ERROR, "%s", err->message);
}

static bool asks_help(const char *word)
{
    return str_equal(word, "--help") || str_equal(word, "-h");
}

int main(int argc, char **argv)
{
    struct error err = {0};
    const char *name = "";
    bool verbose = false;
    enum exit_code code = EXIT_FINE;
    interrupt_spare_writes();
    if (argc < 2) {
        cli_help_program(stderr);
        return EXIT_ERROR;
    }
    if (asks_help(argv[1]))
        cli_help_program(stdout);
    else if (str_equal(argv[1], "--version"))
        printf("bench %s\n", BENCH_VERSION);
    else if (argc == 3 && asks_help(argv[2]) && cli_help_group(argv[1], stdout))
        ; // `bench model --help`: printed
    else
        code = run_command(argc, argv, &name, &verbose, &err);
    code = close_output(code, &err);
    if (err.code != OK)
        print_error(name, verbose, &err);
    return (int)code;
}
