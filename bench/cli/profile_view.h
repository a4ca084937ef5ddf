// profile_view.h - a profile in the terminal, and as JSON.
#ifndef BENCH_CLI_PROFILE_VIEW_H
#define BENCH_CLI_PROFILE_VIEW_H

#include <jansson.h>

#include "base/status.h"
#include "report/profile.h"

// Prints it on standard output. Errors: ERR_NOMEM.
enum status cli_profile_print(const struct profile *profile, struct error *err);

json_t *cli_profile_json(const struct profile *profile);

#endif
