// products.c - the linear layers: whose panels are whose, and GEMV or GEMM.
//
// Matrices that read the same input (q, k, v) form one row of panels that is cut into equal shares, so
// that a thread's share is one or two contiguous streams and one barrier serves all three.
#include "engine/cpu/cpu.h"

#include "base/pool.h"

static k_linear_fn *variant(const struct cpu_pass *pass, const struct cpu_matrix *matrix,
                            int tokens)
{
    const struct cpu_kernels *k = &pass->model->kernels;
    bool few = tokens <= GEMV_MAX_TOKENS;
    if (matrix == &pass->model->weights.head)
        return few ? k->head_gemv : k->head_gemm;
    return few ? k->gemv : k->gemm;
}

void products(const struct cpu_pass *pass, int worker, const struct cpu_matrix *matrices, int count,
              struct cpu_input input, int tokens, float *const *y, size_t ldy, bool accumulate)
{
    int total = 0, begin, end;
    for (int i = 0; i < count; i++)
        total += panel_count(matrices[i].rows);
    pool_share(total, 1, worker, pass->workers, &begin, &end);
    for (int i = 0; i < count; i++) {
        const struct cpu_matrix *m = &matrices[i];
        int panels = panel_count(m->rows);
        int from = begin > 0 ? begin : 0, to = end < panels ? end : panels;
        if (from < to) {
            struct k_linear job = {
                .w = m->packed,
                .x = input.x,
                .bias = m->bias,
                .y = y[i],
                .tokens = tokens,
                .rows = m->rows,
                .cols = m->cols,
                .ldx = input.ld,
                .ldy = ldy,
                .accumulate = accumulate,
            };
            variant(pass, m, tokens)(&job, from, to);
        }
        begin -= panels; // the next matrix's panels are numbered from its own beginning
        end -= panels;
    }
}

// Rows [row0, row0 + rows) of gate or up, a whole number of panels except at the end, into `y`.
static void block_product(const struct cpu_pass *pass, const struct cpu_matrix *m, int row0,
                          int rows, struct cpu_input input, float *y)
{
    size_t panel = panel_bytes(m->type, m->cols);
    struct k_linear job = {
        .w = m->packed + (size_t)(row0 / PANEL_ROWS) * panel,
        .x = input.x,
        .y = y,
        .tokens = pass->tokens,
        .rows = rows,
        .cols = m->cols,
        .ldx = input.ld,
        .ldy = (size_t)rows,
    };
    variant(pass, m, pass->tokens)(&job, 0, panel_count(rows));
}

// Rows of gate and up that fit the thread's buffers for this many tokens: whole panels, at least one.
static int block_rows(int tokens)
{
    int rows = FF_BLOCK_FLOATS / tokens / PANEL_ROWS * PANEL_ROWS;
    return rows > PANEL_ROWS ? rows : PANEL_ROWS;
}

void gated(const struct cpu_pass *pass, int worker, const struct cpu_layer *layer,
           struct cpu_input input)
{
    const struct cpu_buffers *b = pass->b;
    const struct cpu_worker *w = &b->workers[worker];
    const struct cpu_kernels *k = &pass->model->kernels;
    int ff = layer->gate.rows, begin, end;
    int padded = packed_cols(pass->model->scheme->activations, ff);
    size_t element = cpu_element_bytes(pass->model->scheme->activations);
    pool_share(panel_count(ff), 1, worker, pass->workers, &begin, &end);
    int last = end * PANEL_ROWS < ff ? end * PANEL_ROWS : ff;
    int step = block_rows(pass->tokens);
    for (int row0 = begin * PANEL_ROWS; row0 < last; row0 += step) {
        int rows = last - row0 < step ? last - row0 : step;
        block_product(pass, &layer->gate, row0, rows, input, w->gate);
        block_product(pass, &layer->up, row0, rows, input, w->up);
        int to = row0 + rows == ff ? padded - row0 : rows;
        for (int t = 0; t < pass->tokens; t++) {
            float *gate = w->gate + (size_t)t * (size_t)rows;
            k->swiglu(gate, gate, w->up + (size_t)t * (size_t)rows, rows);
            k->cast(b->ff + (size_t)t * b->ff_bytes + (size_t)row0 * element, gate, rows, to);
        }
    }
}
