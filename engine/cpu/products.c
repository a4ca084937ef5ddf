// products.c - the linear layers: how workers share panels, and the choice of GEMV or GEMM.
//
// Matrices that read the same input (q, k, v) form one row of panels, cut into equal shares. A thread's share is then
// one or two contiguous streams, and one barrier serves all three.
#include "engine/cpu/cpu.h"

#include "base/deal.h"

// Whether the matrix's GEMV takes this many tokens.
static bool few(const struct cpu_pass *pass, const struct cpu_matrix *matrix, int tokens)
{
    const struct cpu_kernels *k = &pass->model->kernels;
    bool head = matrix == &pass->model->weights.head;
    return tokens <= (head ? k->head_gemv_tokens : k->gemv_tokens);
}

static k_linear_fn *variant(const struct cpu_pass *pass, const struct cpu_matrix *matrix,
                            int tokens)
{
    const struct cpu_kernels *k = &pass->model->kernels;
    bool gemv = few(pass, matrix, tokens);
    if (matrix == &pass->model->weights.head)
        return gemv ? k->head_gemv : k->head_gemm;
    return gemv ? k->gemv : k->gemm;
}

// ---- shares ----------------------------------------------------------------------------------------------

// A rectangle of work: panels [panel0, panel1) for tokens [token0, token0 + tokens).
struct patch {
    int panel0, panel1, token0, tokens;
};

static int token_blocks(int panels, int tokens, int workers)
{
    int wanted = (PANELS_A_WORKER * workers + panels - 1) / panels, most = tokens / BLOCK_TOKENS;
    int blocks = wanted < most ? wanted : most;
    return blocks > 1 ? blocks : 1;
}

// Cuts (token block, panel) units evenly, blocks outermost. Takes the next patch from the share [*unit, end); false
// when the share is used up.
static bool next_patch(int *unit, int end, int panels, int blocks, int tokens, struct patch *out)
{
    if (*unit >= end)
        return false;
    int block = *unit / panels, left = end - *unit;
    out->panel0 = *unit % panels;
    out->panel1 = left < panels - out->panel0 ? out->panel0 + left : panels;
    out->token0 = (int)((long long)tokens * block / blocks);
    out->tokens = (int)((long long)tokens * (block + 1) / blocks) - out->token0;
    *unit += out->panel1 - out->panel0;
    return true;
}

int cpu_piece(const struct cpu_pass *pass, const struct cpu_matrix *matrix, int tokens)
{
    return few(pass, matrix, tokens) ? GEMV_PIECE : GEMM_PIECE;
}

// ---- products --------------------------------------------------------------------------------------------

static void patch_product(const struct cpu_pass *pass, const struct cpu_matrix *m,
                          struct patch patch, struct cpu_input input, int tokens, float *y,
                          size_t ldy, bool accumulate)
{
    struct k_linear job = {
        .w = m->packed,
        .x = input.x + (size_t)patch.token0 * input.row_bytes,
        .bias = m->bias,
        .x_scale = input.scales ? input.scales + patch.token0 : NULL,
        .y = y + (size_t)patch.token0 * ldy,
        .tokens = patch.tokens,
        .rows = m->rows,
        .cols = m->cols,
        .group = m->group,
        .ldx = input.row_bytes / cpu_element_bytes(input.type),
        .ldy = ldy,
        .accumulate = accumulate,
        .streamed = pass->model->streamed,
    };
    variant(pass, m, tokens)(&job, patch.panel0, patch.panel1);
}

void cpu_products(const struct cpu_pass *pass, int worker, const struct cpu_matrix *matrices,
                  int count, struct cpu_input input, int tokens, float *const *y, size_t ldy,
                  bool accumulate)
{
    int total = 0, unit, end;
    struct deal deal;
    for (int i = 0; i < count; i++)
        total += kernel_panel_count(matrices[i].rows);
    int blocks = token_blocks(total, tokens, pass->workers);
    struct patch all;
    deal_begin(&deal, pass->b->deals, total * blocks, cpu_piece(pass, matrices, tokens), worker,
               pass->workers);
    while (deal_next(&deal, &unit, &end))
        while (next_patch(&unit, end, total, blocks, tokens, &all)) {
            int first = 0; // of the matrix's panels among all
            for (int i = 0; i < count; i++) {
                int panels = kernel_panel_count(matrices[i].rows);
                struct patch own = all;
                own.panel0 = all.panel0 > first ? all.panel0 - first : 0;
                own.panel1 = all.panel1 - first < panels ? all.panel1 - first : panels;
                if (own.panel0 < own.panel1)
                    patch_product(pass, &matrices[i], own, input, tokens, y[i], ldy, accumulate);
                first += panels;
            }
        }
}

// ---- gate and up -----------------------------------------------------------------------------------------

// The rows of an input from token0 on.
static struct cpu_input input_from(struct cpu_input input, int token0)
{
    input.x += (size_t)token0 * input.row_bytes;
    input.scales = input.scales ? input.scales + token0 : NULL;
    return input;
}

void cpu_block_product(const struct cpu_pass *pass, const struct cpu_matrix *m, int row0, int rows,
                       struct cpu_input input, int tokens, float *y)
{
    struct k_linear job = {
        .w = m->packed + (size_t)(row0 / PANEL_ROWS) * cpu_panel_bytes(m),
        .x = input.x,
        .bias = m->bias ? m->bias + row0 : NULL,
        .x_scale = input.scales,
        .y = y,
        .tokens = tokens,
        .rows = rows,
        .cols = m->cols,
        .group = m->group,
        .ldx = input.row_bytes / cpu_element_bytes(input.type),
        .ldy = (size_t)rows,
        .streamed = pass->model->streamed,
    };
    variant(pass, m, tokens)(&job, 0, kernel_panel_count(rows));
}

int cpu_block_rows(int tokens)
{
    int rows = FF_BLOCK_FLOATS / tokens / PANEL_ROWS * PANEL_ROWS;
    return rows > PANEL_ROWS ? rows : PANEL_ROWS;
}

void cpu_gate_up_panels(const struct cpu_pass *pass, int worker, const struct cpu_gate_up_job *job,
                        int panel0, int panel1)
{
    const struct cpu_worker *w = &pass->b->workers[worker];
    const struct cpu_kernels *k = &pass->model->kernels;
    bool plain = job->gate->rows == 0;
    float *in = plain ? w->up : w->gate;
    int ff = job->up->rows, padded = cpu_padded(job->next, ff), step = cpu_block_rows(job->tokens);
    int last = panel1 * PANEL_ROWS < ff ? panel1 * PANEL_ROWS : ff;
    size_t element = cpu_element_bytes(cpu_staged(pass->model->scheme));
    for (int row0 = panel0 * PANEL_ROWS; row0 < last; row0 += step) {
        int rows = last - row0 < step ? last - row0 : step;
        if (!plain)
            cpu_block_product(pass, job->gate, row0, rows, job->input, job->tokens, w->gate);
        cpu_block_product(pass, job->up, row0, rows, job->input, job->tokens, w->up);
        int to = row0 + rows == ff ? padded - row0 : rows;
        for (int t = 0; t < job->tokens; t++) {
            float *x = in + (size_t)t * (size_t)rows;
            unsigned char *out = job->out + (size_t)t * job->out_bytes;
            k->activate(x, x, plain ? NULL : w->up + (size_t)t * (size_t)rows, rows);
            k->stage(out + (size_t)row0 * element, x, rows, to);
        }
    }
}

void cpu_gate_up(const struct cpu_pass *pass, int worker, const struct cpu_layer *layer,
                 struct cpu_input input)
{
    int panels = kernel_panel_count(layer->up.rows), unit, end;
    int blocks = token_blocks(panels, pass->tokens, pass->workers);
    struct patch patch;
    struct deal deal;
    deal_begin(&deal, pass->b->deals, panels * blocks, cpu_piece(pass, &layer->up, pass->tokens),
               worker, pass->workers);
    while (deal_next(&deal, &unit, &end))
        while (next_patch(&unit, end, panels, blocks, pass->tokens, &patch)) {
            struct cpu_gate_up_job job = {
                .gate = &layer->gate,
                .up = &layer->up,
                .input = input_from(input, patch.token0),
                .tokens = patch.tokens,
                .out = pass->b->ff + (size_t)patch.token0 * pass->b->ff_bytes,
                .out_bytes = pass->b->ff_bytes,
                .next = layer->down.type,
            };
            cpu_gate_up_panels(pass, worker, &job, patch.panel0, patch.panel1);
        }
}
