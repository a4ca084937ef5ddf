// dry_run.h - prints a plan for `bench run --dry-run`.
#ifndef BENCH_CLI_DRY_RUN_H
#define BENCH_CLI_DRY_RUN_H

#include <stdio.h>

#include "base/status.h"
#include "bench/suite/plan.h"

// basis: the source of the times, "ceilings of run 3".
void cli_dry_run_print(const struct plan *plan, const char *basis, FILE *out);
enum status cli_dry_run_print_json(const struct plan *plan, const char *basis, FILE *out,
                                   struct error *err);

#endif
