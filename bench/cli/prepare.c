// prepare.c - from the sources of a suite to a plan of this machine: the machine, its ceilings, the database.
#include "bench/cli/prepare.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/log.h"
#include "base/os.h"
#include "base/str.h"
#include "bench/cli/command.h"
#include "bench/probe/probe.h"
#include "bench/run/record.h"
#include "results/query.h"

// ---- waits before the plan ----------------------------------------------------------

static void tell_reading(const char *model, double bytes)
{
    char size[32];
    log_line(LOG_INFO, "reading %s for its hash: %s", model,
             format_bytes(bytes, size, sizeof size));
}

// ---- the machine --------------------------------------------------------------------

// The ceilings of the newest run in the store that was on this machine.
static enum status stored_ceilings(struct preparation *p, struct store *store,
                                   const char *fingerprint, struct arena *arena, struct error *err)
{
    struct run_row *runs = NULL;
    size_t run_count = 0;
    TRY(query_runs(store, arena, &runs, &run_count, err));
    for (size_t i = run_count; i-- > 0 && !p->ceilings->count;) {
        if (!record_same_machine(&runs[i], fingerprint))
            continue;
        TRY(record_ceilings_of(store, runs[i].id, p->ceilings, err));
        snprintf(p->basis, sizeof p->basis, "from the ceilings of run %lld", (long long)runs[i].id);
    }
    return OK;
}

// Checks, before anything is measured, that there is a run to resume. Also reads the machine's ceilings.
static enum status ask_store(struct preparation *p, bool resume, bool take_over, struct error *err)
{
    struct store *store = NULL;
    struct machine machine = {0};
    struct arena arena = {0};
    const struct run_row *run;
    bool there = file_exists(p->database);
    TRY(file_refuse_dangling(p->database, err));
    if (!there && !resume)
        return OK;
    if (there)
        TRY(store_open(p->database, STORE_READ, &store, err));
    if (machine_probe(&machine, err) == OK && resume) {
        struct record_wish wish = {.database = p->database,
                                   .suite_name = p->suite.header.name,
                                   .suite_text = p->suite.text,
                                   .fingerprint = machine.fingerprint,
                                   .take_over = take_over};
        record_resumable(store, &wish, &arena, &run, err);
    }
    if (!err->code && there)
        stored_ceilings(p, store, machine.fingerprint, &arena, err);
    machine_fini(&machine);
    arena_fini(&arena);
    store_close(store);
    return err->code;
}

// Measures ceilings where the store has none, quickly. They only predict times. user: the preparation.
static enum status quick_ceilings(void *user, const struct ceilings **out, struct error *err)
{
    struct preparation *p = user;
    struct device *device = NULL;
    struct device_options options = {.pin = true, .isa = ISA_ALL};
    TRY(device_open(DEVICE_DEFAULT, &options, &device, err));
    snprintf(p->basis, sizeof p->basis, "from ceilings measured just now, quickly");
    if (!p->quiet)
        log_line(LOG_INFO, "measuring ceilings quickly, to predict times");
    ceilings_measure(device, true, p->ceilings, err);
    device_close(device);
    *out = p->ceilings;
    return interrupt_check(err);
}

static enum status look_at_machine(struct preparation *p, const struct prepare_wish *wish,
                                   struct error *err)
{
    TRY(pool_room(&p->room, err));
    p->machine.most_threads = p->room.units;
    p->machine.threads_note = pool_room_note(&p->room, p->threads_note, sizeof p->threads_note);
    p->ceilings = calloc(1, sizeof *p->ceilings);
    if (!p->ceilings)
        return FAIL(err, ERR_NOMEM, "no memory for the ceilings");
    TRY(ask_store(p, wish->resume, wish->take_over, err));
    p->machine.physical_cores = p->room.automatic;
    p->machine.ceilings = p->ceilings->count ? p->ceilings : NULL;
    int64_t memory = machine_room_bytes();
    p->machine.memory_bytes = memory == OS_UNKNOWN ? 0 : memory;
    p->machine.device_count = device_list(p->devices, DEVICES_MAX);
    p->machine.devices = p->devices;
    p->machine.resuming = wish->resume;
    p->machine.measure = wish->roughly ? NULL : quick_ceilings;
    p->machine.user = p;
    p->quiet = wish->quiet;
    p->machine.reading = wish->quiet ? NULL : tell_reading;
    return interrupt_check(err);
}

// Names the devices of the plan that have not been measured yet.
static void note_unmeasured(struct preparation *p)
{
    for (size_t d = 0; d < p->machine.device_count; d++) {
        const char *name = p->devices[d].name;
        bool used = false, measured = false;
        for (size_t i = 0; i < p->plan->run_count; i++)
            used |= str_equal(p->plan->cells[p->plan->order[i]].device, name);
        for (int i = 0; i < p->ceilings->count; i++)
            measured |= str_equal(p->ceilings->row[i].device, name);
        size_t length = strlen(p->basis);
        if (used && !measured)
            snprintf(p->basis + length, sizeof p->basis - length,
                     "; %s is not measured yet: roughly, by its clocks", name);
    }
}

enum status cli_prepare(const struct arguments *args, const struct suite_sources *sources,
                        const struct prepare_wish *wish, struct preparation *p, struct error *err)
{
    TRY(suite_load(sources, &p->suite, err));
    p->database = command_database(args, err);
    if (!p->database)
        return err->code;
    TRY(look_at_machine(p, wish, err));
    TRY(plan_create(&p->suite, &p->machine, wish->only, &p->plan, err));
    if (!p->plan->run_count && !p->basis[0])
        snprintf(p->basis, sizeof p->basis, "no cell runs");
    note_unmeasured(p);
    return interrupt_check(err);
}

void cli_preparation_fini(struct preparation *p)
{
    plan_destroy(p->plan);
    suite_fini(&p->suite);
    free(p->ceilings);
    free(p->database);
    free(p->suite_path);
    free(p->config_path);
}
