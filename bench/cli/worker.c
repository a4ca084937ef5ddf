// worker.c - `bench worker`: started by the runner, not by users.
#include "bench/cli/command.h"

#include "bench/worker/worker.h"

static const struct flag flags[] = {
    {"events", 0, FLAG_INT, "FD", NULL, "descriptor to write events to"},
    {0},
};

static enum exit_code run(const struct arguments *args, struct error *err)
{
    if (!cli_flag_given(args, "events")) {
        FAIL(err, ERR_USAGE, "worker: started by `bench run`, which passes --events");
        return EXIT_ERROR;
    }
    return worker_main((int)cli_flag_int(args, "events"), err) == OK ? EXIT_FINE : EXIT_ERROR;
}

const struct command command_worker = {
    .name = "worker",
    .summary = "measures cells for `bench run`",
    .flags = flags,
    .hidden = true,
    .run = run,
};
