// inspect.h - one more repetition, looked at from inside and never used as a timing.
//
// The observer reads the clock around every operation and counters run, so this pass is a little slower
// than the timed ones. It is also the one in which the memory high-water mark is taken: the canary's
// buffers are gone by then.
#ifndef BENCH_WORKER_INSPECT_H
#define BENCH_WORKER_INSPECT_H

#include <jansson.h>

#include "base/status.h"
#include "bench/probe/probe.h"
#include "bench/worker/measure.h"

// Appends to `metrics`: op_time by phase and op class, peak_mem, and counter_* by phase when `counters`
// is not NULL. The canary of the subject is destroyed.
enum status inspect(struct subject *s, struct counters *counters, json_t *metrics,
                    struct error *err);

#endif
