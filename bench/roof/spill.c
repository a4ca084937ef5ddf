// spill.c - the bytes of activations that a layer moves beyond the last cache.
//
// A layer is a list of operations, in the order of the backends' forward passes. Each touches its weights, or keys and
// values, and rows of activations. Rows that an operation reads come from memory if more bytes were touched since they
// were last touched than the cache holds. Rows that it writes go to memory if the whole layer touches more than that:
// they are written again a layer later, and the cache has replaced them by then. docs/METRICS.md has the table.
#include "bench/roof/spill.h"

#include <assert.h>

enum { OPERATIONS_MAX = 14 }; // 10, and two more for each norm of an output

struct operation {
    enum op_class class;
    double other_bytes; // weights, keys and values
    double reads;       // bytes of rows that the operation before has just written
    double again;       // bytes of rows that operation `from` touched last
    double writes;
    double in_place; // of the bytes written, those that it has read
    int from; // an operation of this layer, or of the layer before if it does not come earlier
};

struct layer {
    const struct work_input *in;
    double tokens;
    struct operation op[OPERATIONS_MAX];
    int count;
};

static int add(struct layer *l, struct operation operation)
{
    assert(l->count < OPERATIONS_MAX);
    l->op[l->count] = operation;
    return l->count++;
}

// ---- the list ---------------------------------------------------------------------------------------------

// input = cast(norm(x)): (T, d)
static int add_norm(struct layer *l, int from)
{
    const double elements = l->tokens * l->in->config->width;
    return add(
        l, (struct operation){.class = OPC_REST,
                              .again = 4 * elements,
                              .writes = work_element_bytes(l->in->scheme->activations) * elements,
                              .from = from});
}

// x += W input: (T, d). An output with a norm of its own goes through a buffer. Returns what touched x last.
static int add_branch(struct layer *l, struct operation product, int from)
{
    const double rows = 4 * l->tokens * l->in->config->width;
    struct operation sum = {.class = OPC_REST,
                            .reads = rows,
                            .again = rows,
                            .writes = rows,
                            .in_place = rows,
                            .from = from};
    product.writes = rows;
    if (l->in->config->post_norms) {
        add(l, product);
        add(l,
            (struct operation){.class = OPC_REST, .reads = rows, .writes = rows, .in_place = rows});
        return add(l, sum);
    }
    product.again = product.in_place = rows;
    product.from = from;
    return add(l, product);
}

// q, k, v; rotation, and keys and values into the cache; attention; its cast; the output projection
static int add_attention(struct layer *l, const struct work of[OPC_COUNT], int norm)
{
    const struct model_config *c = l->in->config;
    const double input_bytes = work_element_bytes(l->in->scheme->activations);
    const double query = l->tokens * c->heads * c->head_dim;
    const double all = 4 * (query + 2 * l->tokens * c->kv_heads * c->head_dim);
    add(l, (struct operation){.class = OPC_QKV,
                              .other_bytes = of[OPC_QKV].weight_bytes,
                              .reads = input_bytes * l->tokens * c->width,
                              .writes = all});
    add(l, (struct operation){.class = OPC_REST,
                              .other_bytes = of[OPC_ATTENTION].kv_write_bytes,
                              .reads = all,
                              .writes = all,
                              .in_place = all});
    add(l, (struct operation){.class = OPC_ATTENTION,
                              .other_bytes = of[OPC_ATTENTION].kv_read_bytes,
                              .reads = 4 * query,
                              .writes = 4 * query});
    add(l, (struct operation){
               .class = OPC_ATTENTION, .reads = 4 * query, .writes = input_bytes * query});
    return add_branch(l,
                      (struct operation){.class = OPC_OUTPUT,
                                         .other_bytes = of[OPC_OUTPUT].weight_bytes,
                                         .reads = input_bytes * query},
                      norm);
}

// gate and up; the activation, which casts; down
static int add_feed_forward(struct layer *l, const struct work of[OPC_COUNT], int norm)
{
    const struct model_config *c = l->in->config;
    const double input_bytes = work_element_bytes(l->in->scheme->activations);
    const double elements = l->tokens * c->ff, sums = (c->plain_ff ? 4 : 8) * elements;
    add(l, (struct operation){.class = OPC_GATE_UP,
                              .other_bytes = of[OPC_GATE_UP].weight_bytes,
                              .reads = input_bytes * l->tokens * c->width,
                              .writes = sums});
    add(l,
        (struct operation){.class = OPC_GATE_UP, .reads = sums, .writes = input_bytes * elements});
    return add_branch(l,
                      (struct operation){.class = OPC_DOWN,
                                         .other_bytes = of[OPC_DOWN].weight_bytes,
                                         .reads = input_bytes * elements},
                      norm);
}

static void make_layer(struct layer *l, const struct work of[OPC_COUNT])
{
    int last = add_attention(l, of, add_norm(l, 0));
    last = add_norm(l, last);
    if (l->in->config->experts) // what they move of activations is counted by the caller
        last = add(l, (struct operation){.class = OPC_GATE_UP,
                                         .other_bytes = work_bytes(&of[OPC_GATE_UP]) +
                                                        work_bytes(&of[OPC_DOWN])});
    else
        last = add_feed_forward(l, of, last);
    l->op[0].from = last; // of the layer before
}

// ---- the cache --------------------------------------------------------------------------------------------

// Bytes that an operation touches.
static double touched(const struct operation *o)
{
    return o->other_bytes + o->reads + o->again + o->writes - o->in_place;
}

// Whether the rows that operation `from` touched have left the cache before operation `to` reads them all.
static bool left(const struct layer *l, int from, int to, double rows)
{
    double bytes = -rows; // both touch them
    for (int i = from;; i = (i + 1) % l->count) {
        bytes += touched(&l->op[i]);
        if (i == to)
            break;
    }
    return bytes > l->in->cache_bytes;
}

void work_spill_layer(const struct work_input *in, double tokens, struct work of[OPC_COUNT])
{
    struct layer l = {.in = in, .tokens = tokens};
    double all = 0;
    make_layer(&l, of);
    for (int i = 0; i < l.count; i++)
        all += touched(&l.op[i]);
    for (int i = 0; i < OPC_COUNT; i++)
        if (!in->config->experts || (i != OPC_GATE_UP && i != OPC_DOWN))
            of[i].activation_bytes = 0;
    for (int i = 0; i < l.count; i++) {
        const struct operation *o = &l.op[i];
        double *bytes = &of[o->class].activation_bytes;
        if (o->reads > 0 && left(&l, i - 1, i, o->reads))
            *bytes += o->reads;
        if (o->again > 0 && left(&l, o->from, i, o->again))
            *bytes += o->again;
        if (all > in->cache_bytes)
            *bytes += o->writes;
    }
}
