// spill.h - which rows of a layer leave the last cache between the operations of a pass. For work.c.
#ifndef BENCH_ROOF_SPILL_H
#define BENCH_ROOF_SPILL_H

#include "bench/roof/roof.h"

double work_element_bytes(enum dtype type); // work.c

// Writes into activation_bytes of each class what one layer of a pass of `tokens` tokens moves of activations, and
// leaves the other members alone. in->cache_bytes: above 0. of: the layer's other bytes by class: weights, and keys and
// values. With experts, classes gate-up and down keep their value.
void work_spill_layer(const struct work_input *in, double tokens, struct work of[OPC_COUNT]);

#endif
