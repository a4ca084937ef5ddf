// observe.c - names of op classes and phases, and the bytes and operations behind an event.
#include "engine/model/observe.h"

#include "base/clock.h"
#include "engine/model/kv.h"

const char *op_class_name(enum op_class class)
{
    static const char *const names[OPC_COUNT] = {
        [OPC_QKV] = "qkv",         [OPC_ATTENTION] = "attention", [OPC_OUTPUT] = "output",
        [OPC_GATE_UP] = "gate-up", [OPC_DOWN] = "down",           [OPC_HEAD] = "head",
        [OPC_REST] = "rest"};
    return (unsigned)class < OPC_COUNT ? names[class] : "unknown";
}

const char *phase_name(enum phase phase)
{
    static const char *const names[PHASE_COUNT] = {
        [PHASE_LOAD] = "load", [PHASE_PREFILL] = "prefill", [PHASE_DECODE] = "decode"};
    return (unsigned)phase < PHASE_COUNT ? names[phase] : "unknown";
}

uint64_t observe_emit(const struct engine_observer *observer, enum phase phase, int layer,
                      enum op_class op, struct op_cost cost, uint64_t begin_ns)
{
    struct engine_event event = {
        .phase = phase,
        .layer = layer,
        .op = op,
        .weight_bytes = cost.weight_bytes,
        .kv_read_bytes = cost.kv_read_bytes,
        .kv_write_bytes = cost.kv_write_bytes,
        .activation_bytes = cost.activation_bytes,
        .flop = cost.flop,
        .begin_ns = begin_ns,
        .end_ns = clock_ns(),
    };
    observer->on_event(observer->user, &event);
    return clock_ns();
}

struct op_cost cost_linear(uint64_t tokens, uint64_t rows, uint64_t cols, uint64_t weight_bytes,
                           uint64_t input_bytes)
{
    return (struct op_cost){
        .weight_bytes = weight_bytes,
        .activation_bytes = tokens * (cols * input_bytes + rows * sizeof(float)),
        .flop = 2 * tokens * rows * cols,
    };
}

// The total number of positions that the tokens see: token t sees min(first + t + 1, window).
static uint64_t positions_seen(uint64_t first, uint64_t tokens, uint64_t window)
{
    if (!window || first + tokens <= window)
        return tokens * first + tokens * (tokens + 1) / 2;
    uint64_t growing = first < window ? window - first : 0; // tokens whose view still grows
    return growing * first + growing * (growing + 1) / 2 + (tokens - growing) * window;
}

struct op_cost cost_attention(const struct model_config *config, int layer, enum dtype kv,
                              uint64_t first, uint64_t tokens)
{
    uint64_t window = (uint64_t)model_window(config, layer), s = (uint64_t)config->head_dim;
    uint64_t earlier = window && first >= window ? window - 1 : first;
    uint64_t position_bytes = 2 * (uint64_t)config->kv_heads * kv_row_bytes(kv, config->head_dim);
    uint64_t query = (uint64_t)config->heads * s;
    return (struct op_cost){
        .kv_read_bytes = (earlier + tokens) * position_bytes,
        .kv_write_bytes = tokens * position_bytes,
        .activation_bytes = 2 * tokens * query * sizeof(float),
        .flop = 4 * query * positions_seen(first, tokens, window),
    };
}

struct op_cost cost_rows(int tokens, int width, uint64_t weight_bytes)
{
    return (struct op_cost){
        .weight_bytes = weight_bytes,
        .activation_bytes = 2 * (uint64_t)tokens * (uint64_t)width * sizeof(float),
    };
}

struct op_cost cost_norm(int tokens, int width, bool has_bias)
{
    return cost_rows(tokens, width, (has_bias ? 2 : 1) * (uint64_t)width * sizeof(float));
}

struct op_cost cost_rotation(const struct model_config *c, int tokens)
{
    int heads = c->heads + c->kv_heads, n = c->head_dim;
    struct op_cost cost = {0};
    if (c->clip_qkv != 0)
        cost = cost_add(cost, cost_rows(tokens, (heads + c->kv_heads) * n, 0));
    if (c->qk_norm)
        cost = cost_add(cost, cost_rows(tokens, heads * n, 2 * (uint64_t)n * sizeof(float)));
    if (c->rope != ROPE_NONE)
        cost = cost_add(cost, cost_rows(tokens, heads * n, 0));
    return cost;
}

struct op_cost cost_add(struct op_cost a, struct op_cost b)
{
    return (struct op_cost){
        .weight_bytes = a.weight_bytes + b.weight_bytes,
        .kv_read_bytes = a.kv_read_bytes + b.kv_read_bytes,
        .kv_write_bytes = a.kv_write_bytes + b.kv_write_bytes,
        .activation_bytes = a.activation_bytes + b.activation_bytes,
        .flop = a.flop + b.flop,
    };
}
