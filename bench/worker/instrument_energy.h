// instrument_energy.h - the meter inside the instrument `energy`, on a counter and a clock that a test may script.
#ifndef BENCH_WORKER_INSTRUMENT_ENERGY_H
#define BENCH_WORKER_INSTRUMENT_ENERGY_H

#include "bench/worker/instruments.h"

// What a meter reads, and how it waits.
struct energy_source {
    enum status (*read)(void *user, struct device_energy *out, struct error *err);
    uint64_t (*now_ns)(void *user);
    void (*rest)(void *user, uint64_t ns);
    void *user;
};

// From one movement of the counter to another.
struct energy_window {
    double joules;
    uint64_t ns, active_ns; // whole; until the last pass ended
    int passes;             // of the phase
};

struct energy_meter {
    struct energy_source source;
    struct device_energy first;              // what is known of the counter
    struct energy_window idle;               // nothing ran
    struct energy_window phase[PHASE_COUNT]; // passes 0: not measured
    char reason[INSTRUMENT_REASON_BYTES];    // why the rest was not measured, or ""
};

// Rests, then runs each phase until its window is long enough. Errors: the engine's. A counter that fails or stands
// still is a reason.
enum status instrument_energy_run(struct energy_meter *meter, struct subject *s, struct error *err);
void instrument_energy_report(const struct energy_meter *meter, const struct subject *s,
                              json_t *metrics);

#endif
