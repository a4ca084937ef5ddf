// prepare.h - what a command that measures gathers before anything is measured: suite, machine, plan.
#ifndef BENCH_CLI_PREPARE_H
#define BENCH_CLI_PREPARE_H

#include "base/pool.h"
#include "base/status.h"
#include "bench/roof/roof.h"
#include "bench/suite/plan.h"
#include "bench/suite/suite.h"
#include "device/device.h"

struct arguments;

struct preparation {
    char *config_path, *suite_path; // owned, set by the caller, NULL: none; the suite borrows them
    char *database;                 // owned
    struct suite suite;
    struct ceilings *ceilings; // owned
    struct pool_room room;
    char threads_note[128];
    char basis[192]; // the source of the ceilings and the times
    bool quiet;      // as wished
    struct device_info devices[DEVICES_MAX];
    struct plan_machine machine;
    struct plan *plan;
};

struct prepare_wish {
    const char *only; // as for plan_create
    bool resume, take_over;
    bool quiet;   // waits are not announced
    bool roughly; // nothing is measured: without ceilings in the store times are predicted roughly
};

// Loads the suite, finds the database (--db), looks at the machine and makes the plan. *p is zero before, but for its
// paths, which `sources` names. The ceilings are those of the newest run in the database that was on this machine.
// Without one they are measured, quickly, once the plan has a cell to run, unless `roughly` is set. The caller calls
// cli_preparation_fini in any case.
// Errors: those of suite_load and plan_create; ERR_USAGE if there is no run to resume; ERR_INTERRUPTED.
enum status cli_prepare(const struct arguments *args, const struct suite_sources *sources,
                        const struct prepare_wish *wish, struct preparation *p, struct error *err);
void cli_preparation_fini(struct preparation *p);

#endif
