// observe.h - bytes and operations of one operation, for every backend: docs/METRICS.md, "Bytes and operations".
//
// Counted from the step that really runs (spans, packed bytes), not from the cell's parameters: the
// analytic model in bench/roof is written apart from this, and a test holds the two together.
// Bytes are compulsory: each byte once an operation, however often caches make it move.
#ifndef ENGINE_MODEL_OBSERVE_H
#define ENGINE_MODEL_OBSERVE_H

#include "engine/engine.h"

struct op_cost {
    uint64_t weight_bytes, kv_read_bytes, kv_write_bytes, activation_bytes;
    uint64_t flop; // multiplications and additions of products; none for OPC_REST
};

// y (tokens, rows) = x (tokens, cols) W: input_bytes of x and 4 of y an element.
struct op_cost cost_linear(uint64_t tokens, uint64_t rows, uint64_t cols, uint64_t weight_bytes,
                           uint64_t input_bytes);

// `tokens` new tokens of one sequence that begin at position `first`, in one layer: stores their K and V,
// then attends. q and the output are f32.
struct op_cost cost_attention(const struct model_config *config, int layer, enum dtype kv,
                              uint64_t first, uint64_t tokens);

struct op_cost cost_add(struct op_cost a, struct op_cost b);

#endif
