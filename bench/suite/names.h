// names.h - the names of schemes and devices, and checks that those of a sweep and its rules exist.
#ifndef BENCH_SUITE_NAMES_H
#define BENCH_SUITE_NAMES_H

#include <stdbool.h>

#include "base/status.h"
#include "base/words.h"
#include "bench/suite/plan.h"
#include "bench/suite/suite.h"

const struct plan_model *plan_model_find(const struct plan *plan, const char *label);

// Adds every scheme of the engine's table, or every word that names devices.
void plan_add_schemes(struct words *names);
void plan_add_devices(struct words *names);

// ERR_USAGE with "file:line: key: unknown ...", and the nearest known name.
enum status plan_names_check(const struct suite *suite, const char *section,
                             const struct suite_sweep *sweep, struct error *err);

#endif
