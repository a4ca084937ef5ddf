// evaluate.h - runs a quality job in the worker: both models over the text, then one event.
#ifndef BENCH_WORKER_EVALUATE_H
#define BENCH_WORKER_EVALUATE_H

#include "device/device.h"
#include "base/status.h"
#include "bench/protocol/protocol.h"
#include "engine/engine.h"

// Loads the job's model in `scheme` and sends "loaded". Loads it in f32 as well if the free memory allows. Then
// evaluates and sends the figures ("quality"). Errors: those of bench/quality/quality.h, of loading, of the wire.
enum status worker_evaluate(const struct job *job, const struct scheme *scheme,
                            struct device *device, struct wire *wire, struct error *err);

#endif
