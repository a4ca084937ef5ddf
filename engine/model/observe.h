// observe.h - bytes and operations of one operation, for every backend: docs/METRICS.md, "Bytes and operations".
//
// Costs are counted from the step that runs (spans, packed bytes), not from the cell's parameters. The analytic model
// in bench/roof is independent of this, and a test compares the two. Bytes are compulsory traffic: each byte counts
// once per operation, however often caches move it.
#ifndef ENGINE_MODEL_OBSERVE_H
#define ENGINE_MODEL_OBSERVE_H

#include "engine/engine.h"

struct op_cost {
    uint64_t weight_bytes, kv_read_bytes, kv_write_bytes, activation_bytes;
    uint64_t flop; // multiplications and additions of products; 0 for OPC_REST
};

// Reports one operation that began at begin_ns (clock_ns) and ends now. Returns the begin of the next one, so that the
// observer's own time is in no event. Requires observer->on_event.
uint64_t observe_emit(const struct engine_observer *observer, enum phase phase, int layer,
                      enum op_class op, struct op_cost cost, uint64_t begin_ns);

// y (tokens, rows) = x (tokens, cols) W, with input_bytes bytes per element of x and 4 per element of y.
struct op_cost cost_linear(uint64_t tokens, uint64_t rows, uint64_t cols, uint64_t weight_bytes,
                           uint64_t input_bytes);

// `tokens` new tokens of one sequence that begin at position `first`, in one layer: stores their K and V,
// then attends. q and the output are f32.
struct op_cost cost_attention(const struct model_config *config, int layer, enum dtype kv,
                              uint64_t first, uint64_t tokens);

// An operation on f32 rows: each element read and written once.
struct op_cost cost_rows(int tokens, int width, uint64_t weight_bytes);
struct op_cost cost_norm(int tokens, int width, bool has_bias); // its weights are f32

// The processing of q, k and v before they are stored: clipping, norms, rotation, as the description requires.
struct op_cost cost_rotation(const struct model_config *config, int tokens);

// The sum, member by member.
struct op_cost cost_add(struct op_cost a, struct op_cost b);

#endif
