// instruments.h - what is measured next to time: op classes, memory, counters, energy. One row an instrument.
//
// Each instrument runs in a repetition of its own, without canaries and never in a timed one, so it may slow the
// engine down. What it could not measure is reported with the reason: a metric "instrument_NAME" without a value,
// whose source is the reason. CONTRIBUTING.md says how to add one.
#ifndef BENCH_WORKER_INSTRUMENTS_H
#define BENCH_WORKER_INSTRUMENTS_H

#include <jansson.h>
#include <stdbool.h>

#include "base/status.h"
#include "bench/worker/measure.h"

enum { INSTRUMENT_REASON_BYTES = 1024, INSTRUMENTS_MAX = 8 };

struct instrument {
    const char *name;
    unsigned collect; // the bit of enum collect that asks for it
    bool inside;      // sees the engine only where the harness drives it in this process
    // Once a worker, before the model is loaded: the pool's threads are there. device: the one that the worker runs on,
    // borrowed until close. *state: its own, or NULL.
    // False: it can measure nothing here. reason: why, or what part it cannot measure; else "".
    bool (*open)(struct device *device, void **state, char reason[INSTRUMENT_REASON_BYTES]);
    // Runs the subject as it likes; begin and end are not called. NULL: one repetition, with those around its phases.
    enum status (*run)(void *state, struct subject *s, struct error *err);
    // Around each phase of its repetition, outside the timeline.
    void (*begin)(void *state, struct subject *s, enum phase phase);
    void (*end)(void *state, struct subject *s, enum phase phase);
    void (*report)(void *state, const struct subject *s, json_t *metrics);
    void (*close)(void *state); // of what open made
};

extern const struct instrument instrument_observer; // time of each op class
extern const struct instrument instrument_memory;   // high-water mark
extern const struct instrument instrument_counters; // hardware and software events
extern const struct instrument instrument_energy;   // J a token

struct instruments {
    size_t count;
    struct {
        const struct instrument *row;
        void *state;
        bool works;
        char reason[INSTRUMENT_REASON_BYTES];
    } at[INSTRUMENTS_MAX];
};

// Opens the instruments that `collect` asks for. One that cannot be opened stays in the list with its reason.
void instruments_open(struct instruments *out, struct device *device, unsigned collect);
void instruments_close(struct instruments *instruments);

// One repetition for each instrument that the subject's cell asks for; figures and reasons are appended to `metrics`.
// Destroys the subject's canary. Errors: those of the repetitions.
enum status instruments_run(struct instruments *instruments, struct subject *s, json_t *metrics,
                            struct error *err);

// Appends the reason why an instrument did not measure all it should.
void instrument_cannot(const struct instrument *row, const char *reason, json_t *metrics);

// Steps of a phase that its figures are divided by: 1 of a prefill, gen - 1 of a decode.
double instrument_steps(const struct subject *s, enum phase phase);

#endif
