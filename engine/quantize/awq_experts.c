// awq_experts.c - one expert's down projection: its inputs, the error of a scale and of cuts, the search.
#include "engine/quantize/awq_experts.h"

#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "engine/quantize/grid.h"

// One expert, rounded by `state`.
struct judging {
    const struct awq_expert_search *search;
    struct layer_state state;
    struct moments *moments;
    int expert, tokens, rows, cols; // (rows, cols) of its matrix
    float *x;                       // (tokens, cols) its inputs
    unsigned char *packed;          // the same as a product's weights
    float *scale;                   // (cols) its part of the search's scales
    float *scratch;                 // for each worker, see judge_panel
    size_t scratch_floats;
    double *loss; // (panels)
};

// ---- inputs ------------------------------------------------------------------------------------------------

static int count_tokens(const struct awq_expert_search *s, int expert)
{
    int count = 0;
    for (size_t i = 0; i < s->slots; i++)
        count += s->inputs->expert[i] == expert;
    return count;
}

static void gather(struct judging *j)
{
    const struct flow_rows *inputs = j->search->inputs;
    size_t cols = (size_t)j->cols, panel = kernel_panel_bytes(DT_F32, j->cols);
    float *to = j->x;
    for (size_t i = 0; i < j->search->slots; i++)
        if (inputs->expert[i] == j->expert) {
            memcpy(to, inputs->x + i * cols, cols * sizeof *to);
            to += cols;
        }
    for (int row = 0; row < j->tokens; row += PANEL_ROWS)
        kernel_pack_panel(DT_F32, j->x + (size_t)row * cols,
                          j->tokens - row < PANEL_ROWS ? j->tokens - row : PANEL_ROWS, j->cols,
                          cols, j->packed + (size_t)(row / PANEL_ROWS) * panel);
}

static enum status judging_init(struct judging *j, struct error *err)
{
    const struct awq_expert_search *s = j->search;
    size_t inputs = 0, bytes = 0, threads = (size_t)pool_threads(device_pool(s->device));
    j->scratch_floats = PANEL_ROWS * (2 * changes_ld(j->cols) + changes_ld(j->tokens));
    TRY(size_mul((size_t)j->tokens, (size_t)j->cols * sizeof(float), &inputs, "inputs", err));
    TRY(size_mul(threads, j->scratch_floats * sizeof(float), &bytes, "rows of weights", err));
    j->x = aligned_alloc_zeroed(inputs);
    j->packed = aligned_alloc_zeroed(kernel_packed_bytes(DT_F32, j->tokens, j->cols));
    j->scratch = aligned_alloc_zeroed(bytes);
    j->loss = calloc((size_t)kernel_panel_count(j->rows), sizeof *j->loss);
    if (!j->x || !j->packed || !j->scratch || !j->loss)
        return FAIL(err, ERR_NOMEM, "%d inputs of an expert", j->tokens);
    gather(j);
    return moments_create(j->x, (size_t)j->cols, j->tokens, j->cols, j->state.group, s->device,
                          &j->moments, err);
}

static void judging_fini(struct judging *j)
{
    moments_destroy(j->moments);
    aligned_release(j->x);
    aligned_release(j->packed);
    aligned_release(j->scratch);
    free(j->loss);
}

// ---- the error of one expert -------------------------------------------------------------------------------

// Squared error of 16 rows of the matrix over all its tokens: the product of their changes with the inputs.
static void judge_panel(struct judging *j, int panel, float *scratch)
{
    const struct checkpoint *ck = j->search->ck;
    size_t ld = changes_ld(j->cols), ldy = changes_ld(j->tokens);
    float *was = scratch, *change = was + PANEL_ROWS * ld, *y = change + PANEL_ROWS * ld;
    int row = panel * PANEL_ROWS, row0 = j->expert * j->rows + row;
    int rows = j->rows - row < PANEL_ROWS ? j->rows - row : PANEL_ROWS;
    ck->ops->read_rows(ck->self, T_EXPERT_DOWN, j->search->layer, row0, rows, was, ld);
    memcpy(change, was, (size_t)rows * ld * sizeof *change);
    layer_state_apply(&j->state, T_EXPERT_DOWN, row0, rows, change, ld);
    for (size_t i = 0; i < (size_t)rows * ld; i++)
        change[i] -= was[i];
    struct k_linear job = {
        .w = j->packed,
        .x = change,
        .y = y,
        .tokens = rows,
        .rows = j->tokens,
        .cols = j->cols,
        .ldx = ld,
        .ldy = ldy,
    };
    j->moments->product(&job, 0, kernel_panel_count(j->tokens));
    double sum = 0;
    for (int r = 0; r < rows; r++)
        for (int t = 0; t < j->tokens; t++)
            sum += (double)y[(size_t)r * ldy + (size_t)t] * (double)y[(size_t)r * ldy + (size_t)t];
    j->loss[panel] = sum;
}

static void judge_job(void *arg, int worker, int workers)
{
    struct judging *j = arg;
    int begin, end;
    pool_share(kernel_panel_count(j->rows), 1, worker, workers, &begin, &end);
    for (int panel = begin; panel < end; panel++)
        judge_panel(j, panel, j->scratch + (size_t)worker * j->scratch_floats);
}

static double judge(struct judging *j)
{
    double sum = 0;
    pool_run(device_pool(j->search->device), judge_job, j);
    for (int panel = 0; panel < kernel_panel_count(j->rows); panel++)
        sum += j->loss[panel];
    return sum;
}

// ---- the search --------------------------------------------------------------------------------------------

static void set_scale(struct judging *j, int alpha)
{
    moments_scale(j->moments, (double)alpha / AWQ_ALPHAS, j->scale);
}

static enum status try_alpha(void *user, int alpha, double *loss, struct error *err)
{
    (void)err;
    set_scale(user, alpha);
    *loss = judge(user);
    return OK;
}

// The cuts are kept where they lower the error.
static void search_cuts(struct judging *j, double least)
{
    size_t groups = (size_t)quant_groups(DT_I4, j->cols, j->state.group);
    size_t of_expert = (size_t)j->rows * groups;
    uint8_t *cuts = j->state.cuts[T_EXPERT_DOWN] + (size_t)j->expert * of_expert;
    j->state.search[T_EXPERT_DOWN] = j->moments;
    if (!(judge(j) < least))
        memset(cuts, 0, of_expert);
    j->state.search[T_EXPERT_DOWN] = NULL;
}

static enum status search(struct judging *j, struct error *err)
{
    struct grid_best best = {0};
    best.loss = judge(j);
    if (j->search->scaled)
        TRY(awq_grid_search(try_alpha, j, &best, err));
    set_scale(j, best.alpha);
    search_cuts(j, best.loss);
    return OK;
}

enum status awq_expert_search(const struct awq_expert_search *s, int expert, bool *alone,
                              struct error *err)
{
    struct tensor_shape shape = tensor_shape(&s->ck->config, T_EXPERT_DOWN);
    struct judging j = {
        .search = s,
        .state = *s->state,
        .expert = expert,
        .tokens = count_tokens(s, expert),
        .rows = fold_rows_alike(&s->ck->config, T_EXPERT_DOWN),
        .cols = shape.cols,
        .scale = s->scales + (size_t)expert * (size_t)shape.cols,
    };
    j.state.quantized[T_EXPERT_DOWN] = true;
    j.state.scales.columns[T_EXPERT_DOWN] = s->scales;
    for (int c = 0; c < j.cols; c++)
        j.scale[c] = 1;
    *alone = j.tokens < EXPERT_TOKENS_MIN;
    if (*alone)
        return OK;
    enum status status = judging_init(&j, err);
    if (status == OK)
        status = search(&j, err);
    judging_fini(&j);
    return status;
}
