// profile.h - where the time of one cell goes, from the store: what `bench profile` shows in a terminal, as a page and
// as JSON.
//
// Every figure is a row of the store, or a quotient of two. Times of op classes and kernels come from repetitions of
// their own, so they need not add up to the phase; `accounted` says how nearly they do.
#ifndef REPORT_PROFILE_H
#define REPORT_PROFILE_H

#include "base/str.h"
#include "results/query.h"

struct report_data; // data.h

enum {
    PROFILE_PHASES = 2,
    PROFILE_CLASSES = 16,
    PROFILE_PARTS = 8,
    PROFILE_KERNELS = 16,
    PROFILE_GAINS = 32,
    PROFILE_MISSING = 8,
};

// One op class of a phase: the whole prefill, or one decode step.
struct profile_class {
    const char *op;
    double time_ns, share; // share of the phase's time
    double bytes, flop;    // at least
    double memory_share,
        compute_share; // reached of the bandwidth and of the peak: T_memory and T_compute over time
    double roof_ns;
    const struct verdict_row *verdict; // NULL: none
};

// A part of a phase that is no product: what the overhead is made of.
struct profile_part {
    const char *name, *note;
    double ns;   // NaN: not measured
    bool within; // already in the classes' times
};

struct profile_kernel {
    const char *name;
    double ns;
};

// Joules a token without those of rest, and mean watts. NaN: not measured.
struct profile_energy {
    double token_j, power_w;
};

struct profile_phase {
    const char *name; // "prefill", "decode"
    const char *unit; // what the times are of: "the whole prefill", "one step"
    double time_ns;
    double times;                      // how often the phase's time is in a request: 1, or gen - 1
    const struct verdict_row *verdict; // of the best basis; NULL: none
    // The one by analytic bytes, if `verdict` is by counted ones; else NULL.
    const struct verdict_row *analytic;
    const char *source;                            // of the classes' times; NULL: none has one
    struct profile_class classes[PROFILE_CLASSES]; // by time, the longest first
    size_t class_count;
    double apart_ns; // classes that together exceed the phase, so that none is a part of it; else 0
    struct profile_part parts[PROFILE_PARTS];
    size_t part_count;
    struct profile_kernel kernels[PROFILE_KERNELS]; // by time
    size_t kernel_count;
    double layer_ns, layer_most_ns; // of the median and the slowest layer; NaN: no trace
    const char *layer_most;         // "layer 31"; NULL: no trace
    double launches;                // NaN: no trace
    bool traced;                    // a trace saw all that the device did
    double seen_ns;                 // classes, end of step and gaps together; all that a trace saw
    double traced_ns, untraced_ns;  // while it was traced, and right after; NaN: no trace
    struct profile_energy energy;
};

// One change that would save time, and how much by the roof.
struct profile_gain {
    const struct profile_phase *phase;
    const char *what;                // "gate-up at its roof"
    const char *words;               // the reason, and what it would give
    double saved_ns;                 // of the phase's time
    double phase_gain, request_gain; // how many times as fast
};

// What an instrument could not measure, and what would lift it.
struct profile_missing {
    const char *instrument, *reason;
};

struct profile {
    struct report_data *data; // owned, with every string below
    const struct cell_row *cell;
    double request_ns; // first id handed over to the last token
    struct profile_phase phases[PROFILE_PHASES];
    size_t phase_count;
    struct profile_gain gains[PROFILE_GAINS]; // the largest first
    size_t gain_count;
    struct profile_missing missing[PROFILE_MISSING];
    size_t missing_count;
    double idle_w; // power at rest; NaN: not measured
    bool counted;  // a verdict is from counters; else all are analytic
};

// Reads a cell of a run; cell 0: its only one. On failure nothing needs freeing. Errors: ERR_USAGE if the run has no
// such cell, or none or several for 0; those of the store.
enum status report_profile_load(struct store *store, const char *run, int64_t cell,
                                struct profile *out, struct error *err);
void report_profile_fini(struct profile *profile);

// The share of a phase that its classes, the end of the step and the gaps explain; NaN: not known. Times of other
// repetitions than the phase's may add up to more.
double report_profile_accounted(const struct profile_phase *phase);
// The same as a sentence, with what the trace costs. Appends nothing where nothing is known.
void report_profile_sum(const struct profile_phase *phase, struct str *out);

// The page as one file, with the styles of the report. Errors: ERR_IO without the styles; ERR_NOMEM.
enum status report_profile_page(const struct profile *profile, struct str *out, struct error *err);

#endif
