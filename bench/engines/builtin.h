// builtin.h - parts of the built-in engine that measurements of speed and of quality share.
#ifndef BENCH_ENGINES_BUILTIN_H
#define BENCH_ENGINES_BUILTIN_H

#include "base/status.h"
#include "bench/protocol/protocol.h"
#include "device/device.h"
#include "engine/engine.h"

// The job's scheme with its head, as the target runs it. Errors: ERR_UNSUPPORTED.
enum status bench_engine_builtin_scheme(const struct job *job, struct device_target target,
                                        struct scheme *out, struct error *err);

#endif
