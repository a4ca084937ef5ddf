// manual.h - the manual page bench(1).
#ifndef BENCH_CLI_MANUAL_H
#define BENCH_CLI_MANUAL_H

#include <stdio.h>

// Prints the page in the man macros, which man(1) of every system reads. Commands, flags, defaults and exit codes come
// from the tables that help prints.
void cli_manual(FILE *out);

#endif
