// work.c - the analytic model: bytes and operations of a phase by op class, from the shapes alone.
//
// docs/METRICS.md, "Bytes and operations", has the formulas. This file shares no code with the engine's own count
// (engine/model/observe.c); tests/roof/test_work.c compares the two. All traffic is compulsory: each byte counts once
// per operation, each weight once per pass. spill.c finds the activations that leave the last cache in between.
#include <math.h>
#include <string.h>

#include "bench/roof/spill.h"

// The engine runs the new tokens of a step in passes, filled sequence after sequence.
// Each pass reads the weights. This struct counts one pass.
struct pass {
    const struct work_input *in;
    int most;      // tokens of a pass on the cell's device
    double tokens; // of all sequences
    double wanted; // positions whose logits are computed
    bool resident; // count all experts, not only those that one pass touches
    // The work of one layer, summed over the parts of sequences in the pass. [0]: layers that see all positions; [1]:
    // layers with a window.
    struct work attention[2];
};

double work_bytes(const struct work *work)
{
    return work->weight_bytes + work->kv_read_bytes + work->kv_write_bytes + work->activation_bytes;
}

double work_element_bytes(enum dtype type)
{
    switch (type) {
    case DT_F32:
        return 4;
    case DT_F16:
    case DT_BF16:
        return 2;
    case DT_I8:
    case DT_I8G:
    case DT_F8E4M3:
        return 1;
    default:
        return 0.5; // DT_I4
    }
}

// ---- classes ----------------------------------------------------------------------------------------------

// Outside the layers, inputs and outputs that do not fit the last cache are read from and written to memory. Within
// them spill.c replaces these bytes, but for those of experts.
static double beyond_cache(const struct work_input *in, double bytes)
{
    return bytes > in->cache_bytes ? bytes : 0;
}

// The operands of a product: its weights (int4 and int8 in groups) and its inputs.
struct product {
    enum dtype weights, inputs;
    int group;
};

static struct product layer_product(const struct scheme *scheme)
{
    return (struct product){scheme->weights, scheme->activations, scheme->group};
}

// y = W x: `rows` outputs from `cols` inputs for `tokens` tokens. Stored scales and zeros of quantized weights count;
// the few bytes of the tokens' own scales do not.
static void add_linear(struct work *work, const struct work_input *in, struct product p, int rows,
                       int cols, double tokens)
{
    double inputs = tokens * cols * work_element_bytes(p.inputs), outputs = tokens * rows * 4;
    work->weight_bytes += (double)quant_packed_bytes(p.weights, rows, cols, p.group);
    work->activation_bytes += beyond_cache(in, inputs + outputs);
    work->flop += 2 * tokens * rows * cols;
}

// Reads and writes of f32 rows: norms, rotation, embedding.
static void add_rows(struct work *work, const struct work_input *in, double tokens, double width)
{
    work->activation_bytes += beyond_cache(in, 2 * tokens * width * 4);
}

static void add_norm(struct work *work, const struct work_input *in, double tokens, bool bias)
{
    work->weight_bytes += 4.0 * in->config->width * (bias ? 2 : 1);
    add_rows(work, in, tokens, in->config->width);
}

static void add_bias(struct work *work, bool there, int rows)
{
    work->weight_bytes += there ? 4.0 * rows : 0;
}

// The expected number of experts that at least one token uses, if every choice is equally likely. The shape does not
// tell which experts a trained router prefers. The engine's observer counts those actually touched.
static double experts_touched(const struct pass *pass)
{
    const struct model_config *c = pass->in->config;
    double missed = 1 - (double)c->experts_used / c->experts;
    return pass->resident ? c->experts : c->experts * (1 - pow(missed, pass->tokens));
}

// Adds reads of `count` experts, and the computation for `tokens` tokens over all of them.
static void add_expert_linear(struct work *work, const struct work_input *in, double count,
                              int rows, int cols, double tokens)
{
    struct work one = {0};
    add_linear(&one, in, layer_product(in->scheme), rows, cols, tokens);
    work->weight_bytes += count * one.weight_bytes;
    work->activation_bytes += one.activation_bytes;
    work->flop += one.flop;
}

// The router multiplies in f32. It counts with gate and up.
static void add_experts(const struct pass *pass, struct work op[OPC_COUNT])
{
    const struct work_input *in = pass->in;
    const struct model_config *c = in->config;
    double touched = experts_touched(pass), routed = pass->tokens * c->experts_used;
    struct work *up = &op[OPC_GATE_UP], *down = &op[OPC_DOWN];
    const struct product router = {DT_F32, DT_F32, 0};
    add_linear(up, in, router, c->experts, c->width, pass->tokens);
    add_expert_linear(up, in, touched, c->ff, c->width, routed);
    add_expert_linear(up, in, touched, c->ff, c->width, routed);
    add_expert_linear(down, in, touched, c->width, c->ff, routed);
    if (c->shared_ff == 0)
        return;
    if (c->shared_gated)
        add_linear(up, in, router, 1, c->width, pass->tokens);
    add_expert_linear(up, in, 1, c->shared_ff, c->width, pass->tokens);
    add_expert_linear(up, in, 1, c->shared_ff, c->width, pass->tokens);
    add_expert_linear(down, in, 1, c->width, c->shared_ff, pass->tokens);
}

static void add_feed_forward(const struct pass *pass, struct work op[OPC_COUNT])
{
    const struct work_input *in = pass->in;
    const struct model_config *c = in->config;
    struct product p = layer_product(in->scheme);
    for (int i = c->plain_ff ? 1 : 0; i < 2; i++) { // gate, up
        add_linear(&op[OPC_GATE_UP], in, p, c->ff, c->width, pass->tokens);
        add_bias(&op[OPC_GATE_UP], c->ff_bias, c->ff);
    }
    add_linear(&op[OPC_DOWN], in, p, c->width, c->ff, pass->tokens);
    add_bias(&op[OPC_DOWN], c->ff_bias, c->width);
}

// Norms, clipping and rotation of one layer.
static void add_rest(const struct pass *pass, struct work *rest)
{
    const struct work_input *in = pass->in;
    const struct model_config *c = in->config;
    double query = c->heads * c->head_dim, key = c->kv_heads * c->head_dim;
    for (int i = c->shared_norm ? 1 : 0; i < 2; i++)
        add_norm(rest, in, pass->tokens, c->norm_bias);
    for (int i = 0; i < 2 && c->post_norms; i++)
        add_norm(rest, in, pass->tokens, false);
    if (c->clip_qkv > 0)
        add_rows(rest, in, pass->tokens, query + 2 * key);
    if (c->qk_norm) {
        add_rows(rest, in, pass->tokens, query + key);
        rest->weight_bytes += 2 * 4.0 * c->head_dim;
    }
    if (c->rope != ROPE_NONE)
        add_rows(rest, in, pass->tokens, query + key);
}

static void add_layer(const struct pass *pass, struct work op[OPC_COUNT])
{
    const struct work_input *in = pass->in;
    const struct model_config *c = in->config;
    struct product p = layer_product(in->scheme);
    int query = c->heads * c->head_dim, key = c->kv_heads * c->head_dim;

    add_linear(&op[OPC_QKV], in, p, query, c->width, pass->tokens);
    add_linear(&op[OPC_QKV], in, p, key, c->width, pass->tokens);
    add_linear(&op[OPC_QKV], in, p, key, c->width, pass->tokens);
    add_bias(&op[OPC_QKV], c->qkv_bias, query + 2 * key);
    add_linear(&op[OPC_OUTPUT], in, p, c->width, query, pass->tokens);
    add_bias(&op[OPC_OUTPUT], c->o_bias, c->width);
    if (c->experts)
        add_experts(pass, op);
    else
        add_feed_forward(pass, op);
    add_rest(pass, &op[OPC_REST]);
}

// The total number of positions that the new tokens of one sequence see: token t (from 1) sees min(earlier + t,
// window).
static double positions_seen(double earlier, double tokens, double window)
{
    double all = tokens * earlier + tokens * (tokens + 1) / 2;
    if (window == 0 || earlier + tokens <= window)
        return all;
    double beyond = tokens; // tokens whose view the window cuts short
    if (earlier < window)
        beyond = earlier + tokens - window;
    double excess_last =
        earlier + tokens - window; // of the last token; one less for each earlier token
    return all - beyond * excess_last + beyond * (beyond - 1) / 2;
}

// K or V of one position and head, with its scale if it is quantized.
static double kv_row_bytes(const struct work_input *in)
{
    double scale = dtype_is_quantized(in->kv) ? 4 : 0;
    return in->config->head_dim * work_element_bytes(in->kv) + scale;
}

// `tokens` new tokens of one sequence behind `earlier` positions, in one layer with this window (0: none).
static void add_attention(struct work *work, const struct work_input *in, double window,
                          double earlier, double tokens)
{
    const struct model_config *c = in->config;
    double row_bytes = 2.0 * c->kv_heads * kv_row_bytes(in); // K and V
    double query = (double)c->heads * c->head_dim;
    double seen = window > 0 && earlier > window - 1 ? window - 1 : earlier;
    work->kv_read_bytes += (seen + tokens) * row_bytes;
    work->kv_write_bytes += tokens * row_bytes;
    work->activation_bytes += 2 * tokens * query * 4;
    work->flop += 4 * query * positions_seen(earlier, tokens, window);
}

static void add_scaled(struct work *sum, const struct work *work, double factor)
{
    sum->weight_bytes += factor * work->weight_bytes;
    sum->kv_read_bytes += factor * work->kv_read_bytes;
    sum->kv_write_bytes += factor * work->kv_write_bytes;
    sum->activation_bytes += factor * work->activation_bytes;
    sum->flop += factor * work->flop;
}

// One row of the embedding: from the head's matrix if tied, else from a table in a plain type.
static double embedding_row_bytes(const struct work_input *in)
{
    const struct model_config *c = in->config;
    enum dtype head = in->scheme->head;
    if (!c->tied || !dtype_is_quantized(head))
        return c->width * work_element_bytes(scheme_embedding(in->scheme));
    double groups = ceil((double)c->width / QUANT_GROUP);
    return ceil(c->width * work_element_bytes(head) + (head == DT_I4 ? 2.5 * groups : 4));
}

// Adds the work outside the layers.
static void add_outside(const struct pass *pass, struct work op[OPC_COUNT])
{
    const struct work_input *in = pass->in;
    const struct model_config *c = in->config;
    struct product head = {in->scheme->head, in->scheme->head_activations, QUANT_GROUP};
    struct work *rest = &op[OPC_REST];
    rest->weight_bytes += pass->tokens * embedding_row_bytes(in);
    if (c->learned_positions)
        rest->weight_bytes +=
            pass->tokens * c->width * work_element_bytes(scheme_embedding(in->scheme));
    add_rows(rest, in, pass->tokens, c->width);
    if (c->embedding_norm)
        add_norm(rest, in, pass->tokens, c->norm_bias);
    if (pass->wanted == 0)
        return;
    add_norm(rest, in, pass->wanted, c->norm_bias);
    add_linear(&op[OPC_HEAD], in, head, c->vocab, c->width, pass->wanted);
    add_bias(&op[OPC_HEAD], c->head_bias, c->vocab);
    if (c->logit_softcap > 0)
        add_rows(rest, in, pass->wanted, c->vocab);
}

// Replaces the activation bytes of a layer, and those of attention in the pass. A layer's keys and values are those of
// the mean layer.
static void spill_pass(struct pass *pass, int windowed, struct work layer[OPC_COUNT])
{
    const struct work_input *in = pass->in;
    const double share = (double)windowed / in->config->layers;
    struct work *mean = &layer[OPC_ATTENTION];
    add_scaled(mean, &pass->attention[0], 1 - share);
    add_scaled(mean, &pass->attention[1], share);
    work_spill_layer(in, pass->tokens, layer);
    for (int i = 0; i < 2; i++)
        pass->attention[i].activation_bytes = mean->activation_bytes;
    *mean = (struct work){0};
}

// Adds a full pass to `op` and resets it.
static void end_pass(struct pass *pass, struct work op[OPC_COUNT])
{
    const struct work_input *in = pass->in;
    struct work layer[OPC_COUNT] = {0};
    int windowed = model_windowed_layers(in->config);
    add_layer(pass, layer);
    if (in->cache_bytes > 0)
        spill_pass(pass, windowed, layer);
    for (int i = 0; i < OPC_COUNT; i++)
        add_scaled(&op[i], &layer[i], in->config->layers);
    for (int i = 0; i < 2; i++) {
        add_scaled(&op[OPC_ATTENTION], &pass->attention[i],
                   i ? windowed : in->config->layers - windowed);
    }
    add_outside(pass, op);
    *pass = (struct pass){.in = in, .most = pass->most, .resident = pass->resident};
}

// One step: `tokens` new tokens of each sequence after `earlier` positions. logits: those of the last token are
// computed. resident: all weights count, touched or not.
static void add_step(const struct work_input *in, int tokens, int earlier, bool logits,
                     bool resident, struct work op[OPC_COUNT])
{
    struct pass pass = {.in = in, .most = engine_pass_tokens(in->where), .resident = resident};
    for (int sequence = 0; sequence < in->batch; sequence++) {
        for (int done = 0; done < tokens;) {
            int room = pass.most - (int)pass.tokens;
            int count = tokens - done < room ? tokens - done : room;
            add_attention(&pass.attention[0], in, 0, (double)earlier + done, count);
            add_attention(&pass.attention[1], in, in->config->window, (double)earlier + done,
                          count);
            pass.tokens += count;
            done += count;
            pass.wanted += logits && done == tokens;
            if (pass.tokens == pass.most)
                end_pass(&pass, op);
        }
    }
    if (pass.tokens > 0)
        end_pass(&pass, op);
}

// ---- phases -----------------------------------------------------------------------------------------------

static void set_datapaths(const struct work_input *in, struct phase_work *out)
{
    const struct scheme *scheme = in->scheme;
    // On a processor, scores and sums are f32 for any type of cache. Tensor cores multiply narrower types as bf16.
    const bool tensor = in->where != DEVICE_HOST && in->kv != DT_F32;
    for (int i = 0; i < OPC_COUNT; i++)
        out->datapath[i] = scheme->activations;
    out->datapath[OPC_HEAD] = scheme->head_activations;
    out->datapath[OPC_ATTENTION] = tensor ? DT_BF16 : DT_F32;
    out->datapath[OPC_REST] = DT_F32;
}

// The bytes that every step reads again: all weights and the KV cache. A level that holds less has lost the first byte
// before the last is read.
static double working_set(const struct work_input *in, double positions)
{
    const struct model_config *c = in->config;
    const struct work_input one = {
        .config = c, .scheme = in->scheme, .kv = in->kv, .batch = 1, .prompt = 1};
    struct work op[OPC_COUNT] = {0};
    add_step(&one, 1, 0, true, true, op);
    double bytes = 0;
    for (int i = 0; i < OPC_COUNT; i++)
        bytes += op[i].weight_bytes;
    double row_bytes = 2.0 * c->kv_heads * kv_row_bytes(in), rows = 0;
    for (int i = 0; i < c->layers; i++) {
        int window = model_window(c, i);
        rows += window > 0 && positions > window ? window : positions;
    }
    return bytes + in->batch * rows * row_bytes;
}

static void finish(struct phase_work *out, const struct work op[OPC_COUNT], double steps)
{
    for (int i = 0; i < OPC_COUNT; i++) {
        add_scaled(&out->op[i], &op[i], 1 / steps);
        add_scaled(&out->total, &out->op[i], 1);
    }
}

void work_prefill(const struct work_input *in, struct phase_work *out)
{
    struct work op[OPC_COUNT] = {0};
    memset(out, 0, sizeof *out);
    set_datapaths(in, out);
    int chunk = in->chunk > 0 && in->chunk < in->prompt ? in->chunk : in->prompt;
    for (int at = 0; at < in->prompt; at += chunk) {
        int tokens = in->prompt - at < chunk ? in->prompt - at : chunk;
        add_step(in, tokens, at, at + tokens == in->prompt, false, op);
    }
    finish(out, op, 1);
    out->working_set_bytes = working_set(in, in->prompt);
}

void work_decode_step(const struct work_input *in, struct phase_work *out)
{
    struct work op[OPC_COUNT] = {0};
    memset(out, 0, sizeof *out);
    set_datapaths(in, out);
    // Step i (from 0) of gen - 1 has prompt + i earlier positions. Steps are averaged one by one, because with a window
    // their mean is not the step at the mean position.
    int steps = in->gen > 1 ? in->gen - 1 : 1;
    for (int i = 0; i < steps; i++)
        add_step(in, 1, in->prompt + i, true, false, op);
    finish(out, op, steps);
    out->working_set_bytes = working_set(in, (double)in->prompt + steps);
}
