// pass.c - shared by all phases of a pass: events, the tap, norms, and inputs of products.
#include "engine/cpu/cpu.h"

#include "base/pool.h"

// ---- observing -------------------------------------------------------------------------------------------

// In phases that end at a barrier, the event's time includes the wait for the other workers.
bool cpu_observed(const struct cpu_pass *pass, int worker)
{
    return pass->observer && pass->observer->on_event && worker == 0;
}

void cpu_emit(struct cpu_pass *pass, int layer, enum op_class op, struct op_cost cost)
{
    pass->mark_ns = observe_emit(pass->observer, pass->phase, layer, op, cost, pass->mark_ns);
}

bool cpu_tapped(const struct cpu_pass *pass)
{
    return pass->observer && pass->observer->tap;
}

void cpu_show(const struct cpu_pass *pass, int worker, const struct engine_rows *rows)
{
    if (!cpu_tapped(pass))
        return;
    pool_barrier(pass->model->pool, worker);
    if (worker == 0)
        pass->observer->tap->on_rows(pass->observer->tap->user, rows);
    pool_barrier(pass->model->pool, worker);
}

void cpu_show_input(const struct cpu_pass *pass, int worker, enum engine_point point, int layer,
                    struct cpu_input input, int cols)
{
    cpu_show(pass, worker,
             &(struct engine_rows){
                 .point = point,
                 .layer = layer,
                 .x = (float *)(uintptr_t)input.x,
                 .rows = pass->tokens,
                 .cols = cols,
                 .ld = input.row_bytes / sizeof(float),
             });
}

// ---- costs ------------------------------------------------------------------------------------------------

struct op_cost cpu_product_cost(const struct cpu_pass *pass, const struct cpu_matrix *m, int tokens)
{
    const struct scheme *scheme = pass->model->scheme;
    bool head = m == &pass->model->weights.head;
    enum dtype input = head                ? scheme->head_activations
                       : m->type == DT_F32 ? DT_F32 // a router, whatever the scheme
                                           : scheme->activations;
    uint64_t bytes = (uint64_t)kernel_panel_count(m->rows) * cpu_panel_bytes(m);
    if (m->bias)
        bytes += (uint64_t)m->rows * sizeof(float);
    return cost_linear((uint64_t)tokens, (uint64_t)m->rows, (uint64_t)m->cols, bytes,
                       cpu_element_bytes(input));
}

struct op_cost cpu_norm_cost(const struct cpu_pass *pass, int tokens, const struct cpu_norm *norm)
{
    return cost_norm(tokens, pass->model->config.width, norm->bias != NULL);
}

// ---- norms and inputs of products ------------------------------------------------------------------------

void cpu_norm_row(const struct cpu_pass *pass, const float *x, const struct cpu_norm *norm,
                  float *out)
{
    const struct model_config *c = &pass->model->config;
    if (c->norm == NORM_RMS)
        pass->model->kernels.rmsnorm(out, x, norm->weight, c->width, c->norm_eps);
    else
        pass->model->kernels.layernorm(out, x, norm->weight, norm->bias, c->width, c->norm_eps);
}

struct cpu_rows cpu_rows_begin(const struct cpu_pass *pass, int worker, int rows, enum dtype type)
{
    const struct cpu_buffers *b = pass->b;
    const struct cpu_worker *w = &b->workers[worker];
    bool quantized = dtype_is_quantized(type);
    struct cpu_rows m = {.alone = rows <= SHARED_NORM_TOKENS, .end = rows, .type = type};
    m.rows = m.alone ? w->input : quantized ? b->codes : b->input;
    m.scales = m.alone ? w->scales : b->scales;
    m.row_bytes = quantized ? b->codes_bytes : b->input_bytes;
    if (!m.alone)
        pool_share(rows, 1, worker, pass->workers, &m.begin, &m.end);
    return m;
}

struct cpu_input cpu_rows_end(const struct cpu_pass *pass, int worker, const struct cpu_rows *m)
{
    if (!m->alone)
        pool_barrier(pass->model->pool, worker);
    return (struct cpu_input){m->rows, m->row_bytes, m->type,
                              dtype_is_quantized(m->type) ? m->scales : NULL};
}

void cpu_rows_cast(const struct cpu_rows *m, int index, const float *x, int n, k_cast_fn *cast,
                   enum dtype weights)
{
    m->scales[index] = cast(m->rows + (size_t)index * m->row_bytes, x, n, cpu_padded(weights, n));
}
