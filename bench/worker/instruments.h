// instruments.h - what is measured besides time: op classes, activity, memory, counters, energy. Each instrument is one
// row of the table in instruments.c.
//
// Each instrument runs in a separate repetition, which is not timed and has no canaries, so it may slow the engine
// down. What it could not measure is reported as a metric "instrument_NAME" without a value, whose source is the
// reason. CONTRIBUTING.md explains how to add one.
#ifndef BENCH_WORKER_INSTRUMENTS_H
#define BENCH_WORKER_INSTRUMENTS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "bench/worker/measure.h"

enum { INSTRUMENT_REASON_BYTES = 2560, INSTRUMENTS_MAX = 8 };

struct instrument {
    const char *name;
    unsigned collect; // the bit of enum collect that asks for it
    bool inside;      // sees the engine only where the harness drives it in this process
    // Called once per worker, before the model is loaded, when the pool's threads exist. device: the worker's device,
    // borrowed until close. *state: the instrument's own, or NULL. Returns false if it can measure nothing here.
    // reason: why, or which part it cannot measure; else "".
    bool (*open)(struct device *device, void **state, char reason[INSTRUMENT_REASON_BYTES]);
    // Runs its own repetitions. begin and end are then not called. NULL: one repetition is run, with begin and end
    // around each phase.
    enum status (*run)(void *state, struct subject *s, struct error *err);
    // Called before and after each phase of its repetition, outside the timeline.
    void (*begin)(void *state, struct subject *s, enum phase phase);
    void (*end)(void *state, struct subject *s, enum phase phase);
    void (*report)(void *state, const struct subject *s, json_t *metrics);
    void (*close)(void *state); // frees what open made
};

extern const struct instrument instrument_observer; // time of each op class
extern const struct instrument instrument_memory;   // high-water mark
extern const struct instrument instrument_counters; // hardware and software events
extern const struct instrument instrument_energy;   // J per token
extern const struct instrument instrument_activity; // what a GPU did, kernel by kernel

struct instruments {
    size_t count;
    struct {
        const struct instrument *row;
        void *state;
        bool works;
        char reason[INSTRUMENT_REASON_BYTES];
    } at[INSTRUMENTS_MAX];
};

// Opens the instruments that `collect` requests. An instrument that cannot be opened stays in the list with its reason.
void instruments_open(struct instruments *out, struct device *device, unsigned collect);
void instruments_close(struct instruments *instruments);

// Runs one repetition for each instrument that the subject's cell requests, and appends figures and reasons to
// `metrics`. Destroys the subject's canary. Errors: those of the repetitions.
enum status instruments_run(struct instruments *instruments, struct subject *s, json_t *metrics,
                            struct error *err);

// Appends the reason why an instrument did not measure everything.
void instrument_cannot(const struct instrument *row, const char *reason, json_t *metrics);

// Whether an earlier instrument has already reported this figure for this phase.
bool instrument_reported(const json_t *metrics, const char *name, enum phase phase);

// The number of steps by which figures of a phase are divided: 1 for a prefill, gen - 1 for a decode.
double instrument_steps(const struct subject *s, enum phase phase);

#endif
