// stored.h - how a checkpoint's file holds the weights that products read.
#ifndef BENCH_ENGINES_STORED_H
#define BENCH_ENGINES_STORED_H

#include "engine/engine.h"

enum { STORED_BYTES = 128 };

// The types of the layers' matrices that are codes with scales, in the order they are met: "q4_k, q6_k".
// "" where all are plain numbers (f32, f16, bf16) or generated. A figure measured in another type says so.
void bench_engine_stored_codes(const struct checkpoint *ck, char out[STORED_BYTES]);

#endif
