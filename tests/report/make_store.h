// make_store.h - a store that looks like a real one, for the tests of readers and of the report.
//
// Figures follow a small roofline with noise from a printed seed. So a picture of them has the shapes a person expects:
// decode that falls with context, prefill that saturates with batch.
#ifndef TESTS_REPORT_MAKE_STORE_H
#define TESTS_REPORT_MAKE_STORE_H

#include <stdint.h>

#include "base/status.h"
#include "results/store.h"

struct made_store {
    int models, schemes; // series of lines
    int batches, contexts;
    int trials, reps;
    uint64_t seed;
    const char *model_name; // of the first model; NULL: "tiny"
    bool failures;          // some cells end in oom, timeout, wrong, noisy, or are skipped
    bool quality;           // of all but the last scheme
};

// Adds one run to `store`; *run is its id.
enum status make_run(struct store *store, const struct made_store *made, int64_t *run,
                     struct error *err);

#endif
