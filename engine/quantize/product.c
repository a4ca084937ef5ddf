// product.c - rows scaled, cut and rounded, and the search for cuts, 16 rows and one group at a time.
#include "engine/quantize/product.h"

#include <assert.h>
#include <string.h>

// One group of up to PANEL_ROWS rows, folded.
struct block {
    float *w;
    size_t ld;
    int rows, cols;       // cols: of the group
    const float *columns; // scales of the group's inputs, or NULL
    int first;            // column
};

static void cut_row(const float *w, int n, int cut, float *out)
{
    float low = 0, high = 0, left = 1 - (float)cut * CUT_STEP;
    for (int i = 0; i < n; i++) {
        low = w[i] < low ? w[i] : low;
        high = w[i] > high ? w[i] : high;
    }
    low *= left;
    high *= left;
    for (int i = 0; i < n; i++)
        out[i] = w[i] > high ? high : w[i] < low ? low : w[i];
}

// out = what the codes of cut row `w` stand for.
static void round_row(const float *w, int n, int cut, float *out)
{
    float clamped[MOMENTS_GROUP_MAX], scale;
    uint8_t codes[MOMENTS_GROUP_MAX], zero;
    struct quant_row row = {.codes = codes, .scales = &scale, .zeros = &zero};
    if (cut)
        cut_row(w, n, cut, clamped);
    quant_row_rtn(DT_I4, cut ? clamped : w, n, n, row);
    quant_row_expand(DT_I4, row, n, n, out);
}

// best[r]: the cut of row r whose rounding changes the group's output least; the smallest of equals.
static void search_cuts(const struct block *b, const struct moments *moments,
                        uint8_t best[PANEL_ROWS])
{
    _Alignas(64) float e[PANEL_ROWS * MOMENTS_GROUP_MAX];
    double error[PANEL_ROWS], least[PANEL_ROWS];
    for (int cut = 0; cut <= CUTS; cut++) {
        for (int r = 0; r < b->rows; r++) {
            const float *w = b->w + (size_t)r * b->ld;
            float *change = e + r * MOMENTS_GROUP_MAX;
            round_row(w, b->cols, cut, change);
            for (int c = 0; c < b->cols; c++)
                change[c] = (change[c] - w[c]) / (b->columns ? b->columns[c] : 1);
        }
        moments_error(moments, b->first, e, b->rows, MOMENTS_GROUP_MAX, error);
        for (int r = 0; r < b->rows; r++)
            if (cut == 0 || error[r] < least[r]) {
                least[r] = error[r];
                best[r] = (uint8_t)cut;
            }
    }
}

// The cuts of a block: looked for, or as they are kept.
static void block_cuts(const struct layer_state *state, enum tensor_role role,
                       const struct block *b, int row, uint8_t cuts[PANEL_ROWS])
{
    int cols = tensor_shape(state->config, role).cols;
    size_t groups = (size_t)quant_groups(DT_I4, cols, state->group);
    size_t at = (size_t)row * groups + (size_t)(b->first / state->group);
    memset(cuts, 0, PANEL_ROWS);
    if (state->search[role]) {
        search_cuts(b, state->search[role], cuts);
        for (int r = 0; state->cuts[role] && r < b->rows; r++)
            state->cuts[role][at + (size_t)r * groups] = cuts[r];
    } else if (state->cuts[role]) {
        for (int r = 0; r < b->rows; r++)
            cuts[r] = state->cuts[role][at + (size_t)r * groups];
    }
}

typedef void block_fn(const struct block *b, const uint8_t *cuts);

// Each group of up to 16 rows of the role, folded, with its cuts.
static void walk(const struct layer_state *state, enum tensor_role role, int row0, int rows,
                 float *data, size_t ld, block_fn *fn)
{
    int cols = tensor_shape(state->config, role).cols;
    const float *columns = state->scales.columns[role];
    assert(state->group <= MOMENTS_GROUP_MAX);
    fold_rows(&state->scales, state->config, role, row0, rows, data, ld);
    for (int r = 0; r < rows; r += PANEL_ROWS)
        for (int first = 0; first < cols; first += state->group) {
            uint8_t cuts[PANEL_ROWS];
            struct block b = {
                .w = data + (size_t)r * ld + first,
                .ld = ld,
                .rows = rows - r < PANEL_ROWS ? rows - r : PANEL_ROWS,
                .cols = cols - first < state->group ? cols - first : state->group,
                .columns = columns ? columns + first : NULL,
                .first = first,
            };
            block_cuts(state, role, &b, row0 + r, cuts);
            fn(&b, cuts);
        }
}

static void round_block(const struct block *b, const uint8_t *cuts)
{
    float rounded[MOMENTS_GROUP_MAX];
    for (int r = 0; r < b->rows; r++) {
        float *w = b->w + (size_t)r * b->ld;
        round_row(w, b->cols, cuts[r], rounded);
        memcpy(w, rounded, (size_t)b->cols * sizeof *w);
    }
}

static void cut_block(const struct block *b, const uint8_t *cuts)
{
    for (int r = 0; r < b->rows; r++) {
        float *w = b->w + (size_t)r * b->ld;
        if (cuts[r])
            cut_row(w, b->cols, cuts[r], w);
    }
}

static void unfold_rows(const struct fold_scales *scales, const struct model_config *config,
                        enum tensor_role role, int row0, int rows, float *data, size_t ld)
{
    const float *columns = scales->columns[role], *factors = scales->rows[role];
    int cols = tensor_shape(config, role).cols;
    for (int r = 0; r < rows; r++) {
        float *row = data + (size_t)r * ld;
        for (int c = 0; columns && c < cols; c++)
            row[c] /= columns[c];
        for (int c = 0; factors && c < cols; c++)
            row[c] *= factors[row0 + r];
    }
}

void layer_state_apply(const struct layer_state *state, enum tensor_role role, int row0, int rows,
                       float *data, size_t ld)
{
    if (!state->quantized[role])
        return;
    walk(state, role, row0, rows, data, ld, round_block);
    unfold_rows(&state->scales, state->config, role, row0, rows, data, ld);
}

void layer_state_codes(const struct layer_state *state, enum tensor_role role, int row0, int rows,
                       float *data, size_t ld, const struct quant_row *out)
{
    int cols = tensor_shape(state->config, role).cols;
    walk(state, role, row0, rows, data, ld, cut_block);
    for (int r = 0; r < rows; r++)
        quant_row_rtn(DT_I4, data + (size_t)r * ld, cols, state->group, out[r]);
}
