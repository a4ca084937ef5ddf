// stored.h - the types in which a checkpoint's file stores the products' weights.
#ifndef BENCH_ENGINES_STORED_H
#define BENCH_ENGINES_STORED_H

#include "engine/engine.h"

enum { STORED_BYTES = 128 };

// Lists the types of the layers' matrices that are codes with scales, in order of first use: "q4_k, q6_k". "" when all
// are plain numbers (f32, f16, bf16) or generated. A figure measured in another type is marked with these types.
void bench_engine_stored_codes(const struct checkpoint *ck, char out[STORED_BYTES]);

#endif
