// dry_run.h - what `bench run --dry-run` prints of a plan.
#ifndef BENCH_CLI_DRY_RUN_H
#define BENCH_CLI_DRY_RUN_H

#include <stdio.h>

#include "base/status.h"
#include "bench/suite/plan.h"

// basis: where the times come from, "ceilings of run 3".
void cli_dry_run_print(const struct plan *plan, const char *basis, FILE *out);
enum status cli_dry_run_print_json(const struct plan *plan, const char *basis, FILE *out,
                                   struct error *err);

#endif
