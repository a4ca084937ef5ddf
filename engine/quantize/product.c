// product.c - rows scaled, cut and rounded, and the search for cuts, 16 rows and one group at a time.
#include "engine/quantize/product.h"

#include <assert.h>
#include <string.h>

enum { SEARCHES_AGAIN = 2 };

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

// out = the values of the codes of cut row `w`.
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

// change[r] = the change that cutting and rounding row r makes to the weights of unscaled inputs.
static void change_row(const struct block *b, int r, int cut, float *change)
{
    const float *w = b->w + (size_t)r * b->ld;
    round_row(w, b->cols, cut, change);
    for (int c = 0; c < b->cols; c++)
        change[c] = (change[c] - w[c]) / (b->columns ? b->columns[c] : 1);
}

// best[r]: the cut of row r whose rounding changes the group's output least; the smallest among equals.
static void search_cuts(const struct block *b, const struct moments *moments,
                        uint8_t best[PANEL_ROWS])
{
    _Alignas(64) float e[PANEL_ROWS * MOMENTS_GROUP_MAX];
    double error[PANEL_ROWS], least[PANEL_ROWS];
    for (int cut = 0; cut <= CUTS; cut++) {
        for (int r = 0; r < b->rows; r++)
            change_row(b, r, cut, e + r * MOMENTS_GROUP_MAX);
        moments_error(moments, b->first, e, b->rows, MOMENTS_GROUP_MAX, error);
        for (int r = 0; r < b->rows; r++)
            if (cut == 0 || error[r] < least[r]) {
                least[r] = error[r];
                best[r] = (uint8_t)cut;
            }
    }
}

static double dot(const float *a, const float *b, int n)
{
    double sum = 0;
    for (int i = 0; i < n; i++)
        sum += (double)a[i] * (double)b[i];
    return sum;
}

// The same with the changes c of the rows' other groups. A change d of this group makes the output error d^T M d + 2
// d^T M c plus a term without d. `changes`: (rows, ld) of whole rows. This group's are replaced by those of the best
// cut.
static void search_again(const struct block *b, const struct moments *moments, float *changes,
                         size_t ld, uint8_t best[PANEL_ROWS])
{
    _Alignas(64) float e[PANEL_ROWS * MOMENTS_GROUP_MAX], own[PANEL_ROWS * MOMENTS_GROUP_MAX];
    _Alignas(64) float others[PANEL_ROWS * MOMENTS_GROUP_MAX];
    double least[PANEL_ROWS];
    for (int r = 0; r < b->rows; r++)
        memcpy(e + r * MOMENTS_GROUP_MAX, changes + (size_t)r * ld + b->first,
               (size_t)b->cols * sizeof *e);
    moments_own(moments, b->first, e, b->rows, MOMENTS_GROUP_MAX, own);
    moments_seen(moments, b->first, changes, b->rows, ld, others);
    for (int r = 0; r < b->rows; r++) {
        int at = r * MOMENTS_GROUP_MAX;
        for (int c = 0; c < b->cols; c++)
            others[at + c] -= own[at + c];
        least[r] = dot(e + at, own + at, b->cols) + 2 * dot(e + at, others + at, b->cols);
    }
    for (int cut = 0; cut <= CUTS; cut++) {
        for (int r = 0; r < b->rows; r++)
            change_row(b, r, cut, e + r * MOMENTS_GROUP_MAX);
        moments_own(moments, b->first, e, b->rows, MOMENTS_GROUP_MAX, own);
        for (int r = 0; r < b->rows; r++) {
            int at = r * MOMENTS_GROUP_MAX;
            double error = dot(e + at, own + at, b->cols) + 2 * dot(e + at, others + at, b->cols);
            if (error >= least[r])
                continue;
            least[r] = error;
            best[r] = (uint8_t)cut;
            memcpy(changes + (size_t)r * ld + b->first, e + at, (size_t)b->cols * sizeof *e);
        }
    }
}

// Up to PANEL_ROWS folded rows of a role, walked group by group.
struct stripe {
    const struct layer_state *state;
    enum tensor_role role;
    int row, rows, cols;
    float *data;
    size_t ld;
};

static struct block block_at(const struct stripe *s, int first)
{
    const float *columns = fold_columns(&s->state->scales, s->state->config, s->role, s->row);
    int group = s->state->group;
    return (struct block){
        .w = s->data + first,
        .ld = s->ld,
        .rows = s->rows,
        .cols = s->cols - first < group ? s->cols - first : group,
        .columns = columns ? columns + first : NULL,
        .first = first,
    };
}

// The stored cuts of the group at `first`; that of row r is at r * groups.
static uint8_t *kept_cuts(const struct stripe *s, int first)
{
    size_t groups = (size_t)quant_groups(DT_I4, s->cols, s->state->group);
    uint8_t *cuts = s->state->cuts[s->role];
    return cuts ? cuts + (size_t)s->row * groups + (size_t)(first / s->state->group) : NULL;
}

static void get_cuts(const struct stripe *s, int first, uint8_t cuts[PANEL_ROWS])
{
    size_t groups = (size_t)quant_groups(DT_I4, s->cols, s->state->group);
    const uint8_t *kept = kept_cuts(s, first);
    memset(cuts, 0, PANEL_ROWS);
    for (int r = 0; kept && r < s->rows; r++)
        cuts[r] = kept[(size_t)r * groups];
}

static void set_cuts(const struct stripe *s, int first, const uint8_t cuts[PANEL_ROWS])
{
    size_t groups = (size_t)quant_groups(DT_I4, s->cols, s->state->group);
    uint8_t *kept = kept_cuts(s, first);
    for (int r = 0; r < s->rows; r++)
        kept[(size_t)r * groups] = cuts[r];
}

// The buffer for changes of the stripe's rows, or NULL.
static float *changes_at(const struct stripe *s)
{
    float *changes = s->state->changes[s->role];
    int row = s->row % fold_rows_alike(s->state->config, s->role);
    return changes ? changes + (size_t)row * changes_ld(s->cols) : NULL;
}

// Searches each group alone, then all of them twice with the changes of the others.
static void search_stripe(const struct stripe *s)
{
    const struct layer_state *state = s->state;
    const struct moments *moments = state->search[s->role];
    size_t ld = changes_ld(s->cols);
    float *changes = changes_at(s);
    uint8_t cuts[PANEL_ROWS];
    for (int first = 0; first < s->cols; first += state->group) {
        struct block b = block_at(s, first);
        search_cuts(&b, moments, cuts);
        set_cuts(s, first, cuts);
        for (int r = 0; changes && r < s->rows; r++)
            change_row(&b, r, cuts[r], changes + (size_t)r * ld + first);
    }
    for (int pass = 0; changes && pass < SEARCHES_AGAIN; pass++)
        for (int first = 0; first < s->cols; first += state->group) {
            struct block b = block_at(s, first);
            get_cuts(s, first, cuts);
            search_again(&b, moments, changes, ld, cuts);
            set_cuts(s, first, cuts);
        }
}

typedef void block_fn(const struct block *b, const uint8_t *cuts);

// Walks the groups of up to 16 rows of the role that read the same input, folded, with their cuts.
static void walk(const struct layer_state *state, enum tensor_role role, int row0, int rows,
                 float *data, size_t ld, block_fn *fn)
{
    int cols = tensor_shape(state->config, role).cols;
    int alike = fold_rows_alike(state->config, role);
    assert(state->group <= MOMENTS_GROUP_MAX);
    fold_rows(&state->scales, state->config, role, row0, rows, data, ld);
    for (int r = 0, count; r < rows; r += count) {
        int left = alike - (row0 + r) % alike;
        count = rows - r < left ? rows - r : left;
        count = count < PANEL_ROWS ? count : PANEL_ROWS;
        struct stripe s = {
            .state = state,
            .role = role,
            .row = row0 + r,
            .rows = count,
            .cols = cols,
            .data = data + (size_t)r * ld,
            .ld = ld,
        };
        if (state->search[role])
            search_stripe(&s);
        for (int first = 0; first < cols; first += state->group) {
            uint8_t cuts[PANEL_ROWS];
            struct block b = block_at(&s, first);
            get_cuts(&s, first, cuts);
            fn(&b, cuts);
        }
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
    const float *factors = scales->rows[role];
    int cols = tensor_shape(config, role).cols;
    for (int r = 0; r < rows; r++) {
        float *row = data + (size_t)r * ld;
        const float *columns = fold_columns(scales, config, role, row0 + r);
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
