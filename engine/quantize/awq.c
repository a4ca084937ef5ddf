// awq.c - the search: which scale for each input, which cut for each group, layer after layer.
#include "engine/quantize/awq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "engine/quantize/flow.h"
#include "engine/quantize/layer_view.h"

enum {
    WINDOWS_MIN = 2,
    WINDOWS_MAX = 8,
    COARSE =
        2, // the grid's first walk takes every second alpha, the second the neighbours of the best
    RUNS_A_SITE = 14, // of a layer, for the progress line: trials of alpha and of cuts
};
static const double tokens_times_weights = 0x1p36; // of one run of a layer

struct search {
    const struct checkpoint *ck;
    const struct awq_options *options;
    struct flow flow;
    int layer;
    float *x;                             // (tokens, width) before the layer
    struct flow_rows kept[ENGINE_POINTS]; // of the layer as it is
    struct flow_rows run[ENGINE_POINTS];  // of the layer tried: the residual stream alone
    struct fold_site sites[FOLD_SITES_MAX];
    struct moments *moments[FOLD_SITES_MAX];
    float *scale[FOLD_SITES_MAX], *trial; // (widest input)
    int count;
    struct layer_state state;
};

int awq_windows(const struct model_config *config)
{
    double weights = 0;
    for (int role = T_FINAL_NORM + 1; role < T_ROLE_COUNT; role++) {
        struct tensor_shape shape = tensor_shape(config, (enum tensor_role)role);
        weights += (double)shape.rows * shape.cols;
    }
    double windows = tokens_times_weights / weights / AWQ_WINDOW;
    return windows > WINDOWS_MAX ? WINDOWS_MAX : windows < WINDOWS_MIN ? WINDOWS_MIN : (int)windows;
}

// ---- memory ----------------------------------------------------------------------------------------------

static int widest(const struct model_config *c)
{
    int most = c->width;
    most = c->heads * c->head_dim > most ? c->heads * c->head_dim : most;
    return c->ff > most ? c->ff : most;
}

static int reader_cols(const struct search *s, const struct fold_site *site)
{
    return tensor_shape(&s->ck->config, site->readers[0]).cols;
}

static enum status rows_alloc(const struct search *s, struct flow_rows *rows, int cols,
                              struct error *err)
{
    size_t count = 0, bytes = 0;
    TRY(size_mul(flow_tokens(&s->flow), (size_t)cols, &count, "calibration", err));
    TRY(size_mul(count, sizeof(float), &bytes, "calibration", err));
    rows->cols = cols;
    rows->x = aligned_alloc_zeroed(bytes);
    return rows->x ? OK : FAIL(err, ERR_NOMEM, "%zu bytes of inputs to calibrate on", bytes);
}

// Room for the changes of a role's weights. Cuts of groups that are no whole panels are looked for one by
// one, without.
static float *changes_alloc(const struct search *s, struct tensor_shape shape)
{
    size_t floats = 0, bytes = 0;
    struct error err = {0};
    if (size_mul((size_t)shape.rows, changes_ld(shape.cols), &floats, "changes", &err) != OK ||
        size_mul(floats, sizeof(float), &bytes, "changes", &err) != OK)
        return NULL;
    return s->options->group % PANEL_ROWS ? NULL : aligned_alloc_zeroed(bytes);
}

static enum status search_alloc(struct search *s, struct error *err)
{
    const struct model_config *c = &s->ck->config;
    struct flow_rows x = {0};
    s->count = fold_sites(c, s->sites);
    TRY(rows_alloc(s, &x, c->width, err));
    s->x = x.x;
    TRY(rows_alloc(s, &s->kept[POINT_MIDDLE], c->width, err));
    TRY(rows_alloc(s, &s->kept[POINT_LAYER_OUTPUT], c->width, err));
    TRY(rows_alloc(s, &s->run[POINT_MIDDLE], c->width, err));
    TRY(rows_alloc(s, &s->run[POINT_LAYER_OUTPUT], c->width, err));
    s->trial = calloc((size_t)widest(c), sizeof *s->trial);
    bool there = s->trial != NULL;
    for (int i = 0; i < s->count; i++) {
        s->scale[i] = calloc((size_t)reader_cols(s, &s->sites[i]), sizeof **s->scale);
        there = there && s->scale[i];
    }
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        struct tensor_shape shape = tensor_shape(c, (enum tensor_role)role);
        if (!tensor_role_is_product((enum tensor_role)role) || !shape.rows)
            continue;
        size_t groups = (size_t)quant_groups(DT_I4, shape.cols, s->options->group);
        s->state.cuts[role] = calloc((size_t)shape.rows * groups, 1);
        s->state.changes[role] = changes_alloc(s, shape);
        there = there && s->state.cuts[role] &&
                (s->state.changes[role] || s->options->group % PANEL_ROWS);
    }
    return there ? OK : FAIL(err, ERR_NOMEM, "scales and cuts of a layer");
}

static void forget_inputs(struct search *s)
{
    for (int p = 0; p < ENGINE_POINTS; p++)
        if (p != POINT_MIDDLE && p != POINT_LAYER_OUTPUT) {
            aligned_release(s->kept[p].x);
            s->kept[p].x = NULL;
        }
}

static void forget_moments(struct search *s)
{
    for (int i = 0; i < s->count; i++) {
        moments_destroy(s->moments[i]);
        s->moments[i] = NULL;
    }
}

static void search_fini(struct search *s)
{
    forget_inputs(s);
    forget_moments(s);
    aligned_release(s->x);
    aligned_release(s->kept[POINT_MIDDLE].x);
    aligned_release(s->kept[POINT_LAYER_OUTPUT].x);
    aligned_release(s->run[POINT_MIDDLE].x);
    aligned_release(s->run[POINT_LAYER_OUTPUT].x);
    for (int i = 0; i < FOLD_SITES_MAX; i++)
        free(s->scale[i]);
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        free(s->state.cuts[role]);
        aligned_release(s->state.changes[role]);
    }
    free(s->trial);
}

// ---- one run of the layer ----------------------------------------------------------------------------------

static enum status run_layer(struct search *s, const struct layer_state *state,
                             const struct flow_rows *kept, struct error *err)
{
    struct checkpoint *view = NULL;
    enum status status = layer_view_create(s->ck, s->layer, state, NULL, 1, &view, err);
    if (status == OK)
        status = flow_run(&s->flow, view, s->x, kept, err);
    checkpoint_destroy(view);
    return status;
}

// Mean squared error of the residual stream at `point`, with the layer as `s->state` says.
static enum status measure(struct search *s, enum engine_point point, double *loss,
                           struct error *err)
{
    size_t n = flow_tokens(&s->flow) * (size_t)s->flow.width;
    const float *is = s->kept[point].x, *got = s->run[point].x;
    double sum = 0;
    TRY(run_layer(s, &s->state, s->run, err));
    for (size_t i = 0; i < n; i++)
        sum += ((double)got[i] - (double)is[i]) * ((double)got[i] - (double)is[i]);
    *loss = sum / (double)n;
    if (!isfinite(sum))
        return FAIL(err, ERR_FORMAT,
                    "layer %d of %s: its weights or what they make of the text "
                    "are not all finite",
                    s->layer, s->ck->config.name);
    return OK;
}

// Between runs of the layer, so that who asks it to stop does not wait for long.
static enum status report(const struct search *s, int site, int run, struct error *err)
{
    double runs = (double)s->count * RUNS_A_SITE, done = site * RUNS_A_SITE + run;
    if (s->options->progress &&
        !s->options->progress(s->options->user,
                              (s->layer + (done < runs ? done / runs : 1)) / s->ck->config.layers))
        return FAIL(err, ERR_INTERRUPTED, "stopped");
    return OK;
}

// ---- one input ---------------------------------------------------------------------------------------------

// s = mean|x|^alpha, as published: not below 1e-4, and centred so that largest and least multiply to one.
static void scale_of(const struct moments *m, double alpha, float *out)
{
    double least = INFINITY, most = 0;
    for (int c = 0; c < m->cols; c++) {
        double s = pow((double)m->mean_abs[c], alpha);
        s = s > 1e-4 ? s : 1e-4;
        least = s < least ? s : least;
        most = s > most ? s : most;
        out[c] = (float)s;
    }
    for (int c = 0; c < m->cols; c++)
        out[c] = (float)((double)out[c] / sqrt(least * most));
}

static void set_readers(struct search *s, const struct fold_site *site, bool quantized)
{
    for (int i = 0; i < site->count; i++)
        s->state.quantized[site->readers[i]] =
            quantized && tensor_role_is_product(site->readers[i]);
}

// Columns alone: while its site is searched a scale is taken out again, and the giver stays as it is.
static void set_columns(struct search *s, const struct fold_site *site, const float *scale)
{
    for (int i = 0; i < site->count; i++)
        s->state.scales.columns[site->readers[i]] = scale;
}

struct best {
    double loss;
    int alpha; // of AWQ_ALPHAS; 0: no scale
};

static enum status try_alpha(struct search *s, int index, enum engine_point point, int alpha,
                             struct best *best, struct error *err)
{
    const struct fold_site *site = &s->sites[index];
    double loss;
    scale_of(s->moments[index], (double)alpha / AWQ_ALPHAS, s->trial);
    set_columns(s, site, s->trial);
    TRY(measure(s, point, &loss, err));
    if (loss < best->loss)
        *best = (struct best){loss, alpha};
    return OK;
}

// Every second alpha, then both neighbours of the best.
static enum status search_scale(struct search *s, int index, enum engine_point point,
                                struct best *best, struct error *err)
{
    int run = 0;
    for (int alpha = COARSE; alpha <= AWQ_ALPHAS; alpha += COARSE) {
        TRY(try_alpha(s, index, point, alpha, best, err));
        TRY(report(s, index, ++run, err));
    }
    int middle = best->alpha;
    if (middle > 0)
        TRY(try_alpha(s, index, point, middle - 1, best, err));
    TRY(report(s, index, ++run, err));
    if (middle < AWQ_ALPHAS)
        TRY(try_alpha(s, index, point, middle + 1, best, err));
    return report(s, index, ++run, err);
}

static void clear_cuts(struct search *s, enum tensor_role role)
{
    struct tensor_shape shape = tensor_shape(&s->ck->config, role);
    if (s->state.cuts[role])
        memset(s->state.cuts[role], 0,
               (size_t)shape.rows * (size_t)quant_groups(DT_I4, shape.cols, s->options->group));
}

static enum status search_cuts(struct search *s, int index, enum engine_point point,
                               struct best *best, struct error *err)
{
    const struct fold_site *site = &s->sites[index];
    double loss;
    for (int i = 0; i < site->count; i++)
        s->state.search[site->readers[i]] = s->moments[index];
    enum status status = measure(s, point, &loss, err);
    for (int i = 0; i < site->count; i++) {
        s->state.search[site->readers[i]] = NULL;
        if (status != OK || loss >= best->loss)
            clear_cuts(s, site->readers[i]);
    }
    return status;
}

static enum status search_site(struct search *s, int index, struct error *err)
{
    const struct fold_site *site = &s->sites[index];
    bool attention =
        site->readers[0] == T_O || (site->readers[0] == T_Q && !s->ck->config.shared_norm);
    enum engine_point point = attention ? POINT_MIDDLE : POINT_LAYER_OUTPUT;
    struct best best = {0};
    set_readers(s, site, true);
    TRY(measure(s, point, &best.loss, err));
    if (site->giver != T_ROLE_COUNT)
        TRY(search_scale(s, index, point, &best, err));
    scale_of(s->moments[index], (double)best.alpha / AWQ_ALPHAS, s->scale[index]);
    set_columns(s, site, best.alpha ? s->scale[index] : NULL);
    TRY(search_cuts(s, index, point, &best, err));
    return report(s, index, RUNS_A_SITE, err);
}

// ---- one layer ---------------------------------------------------------------------------------------------

static void state_reset(struct search *s)
{
    memset(&s->state.scales, 0, sizeof s->state.scales);
    memset(s->state.quantized, 0, sizeof s->state.quantized);
    memset(s->state.search, 0, sizeof s->state.search);
    for (int role = 0; role < T_ROLE_COUNT; role++)
        clear_cuts(s, (enum tensor_role)role);
}

static void quantize_all(struct search *s)
{
    for (int role = 0; role < T_ROLE_COUNT; role++)
        s->state.quantized[role] = tensor_role_is_product((enum tensor_role)role);
}

// The layer as it is: what its blocks yield, and its inputs' moments.
static enum status observe(struct search *s, struct error *err)
{
    for (int i = 0; i < s->count; i++)
        TRY(rows_alloc(s, &s->kept[s->sites[i].point], reader_cols(s, &s->sites[i]), err));
    TRY(run_layer(s, NULL, s->kept, err));
    forget_moments(s);
    for (int i = 0; i < s->count; i++) {
        const struct flow_rows *rows = &s->kept[s->sites[i].point];
        TRY(moments_create(rows->x, (size_t)rows->cols, (int)flow_tokens(&s->flow), rows->cols,
                           s->options->group, s->options->pool, s->options->isa, &s->moments[i],
                           err));
    }
    forget_inputs(s);
    return OK;
}

// Each block is searched with the other one as it is.
static enum status search_sites(struct search *s, struct error *err)
{
    for (int i = 0; i < s->count; i++) {
        if (s->sites[i].point == POINT_FF_INPUT)
            memset(s->state.quantized, 0, sizeof s->state.quantized);
        TRY(search_site(s, i, err));
    }
    return OK;
}

// The whole layer: as found, with scales in their givers, or by rounding alone where that is better.
static enum status settle(struct search *s, struct awq_layer *out, struct error *err)
{
    struct fold_scales found = {0};
    for (int i = 0; i < s->count; i++)
        if (s->state.scales.columns[s->sites[i].readers[0]])
            fold_enter(&s->sites[i], s->scale[i], &found);
    struct layer_state as_found = s->state, plain = s->state;
    as_found.scales = found;
    memset(&plain.scales, 0, sizeof plain.scales);
    memset(plain.cuts, 0, sizeof plain.cuts);
    quantize_all(s);
    memcpy(as_found.quantized, s->state.quantized, sizeof as_found.quantized);
    memcpy(plain.quantized, s->state.quantized, sizeof plain.quantized);
    s->state = plain;
    enum status status = measure(s, POINT_LAYER_OUTPUT, &out->rounded, err);
    s->state = as_found;
    if (status == OK)
        status = measure(s, POINT_LAYER_OUTPUT, &out->found, err);
    if (status != OK || out->found <= out->rounded)
        return status;
    state_reset(s);
    quantize_all(s);
    return measure(s, POINT_LAYER_OUTPUT, &out->found, err);
}

static enum status search_layer(struct search *s, awq_take *take, void *user, struct error *err)
{
    struct awq_layer done = {.layer = s->layer, .state = &s->state};
    size_t bytes = flow_tokens(&s->flow) * (size_t)s->flow.width * sizeof *s->x;
    state_reset(s);
    TRY(observe(s, err));
    TRY(search_sites(s, err));
    TRY(settle(s, &done, err));
    memcpy(s->x, s->run[POINT_LAYER_OUTPUT].x,
           bytes); // the next layer sees what this one now yields
    return take(user, &done, err);
}

enum status awq_search(const struct checkpoint *ck, const struct calib_text *text,
                       const struct awq_options *options, awq_take *take, void *user,
                       struct error *err)
{
    struct search s = {
        .ck = ck,
        .options = options,
        .flow = {.pool = options->pool,
                 .isa = options->isa,
                 .windows = text->windows,
                 .length = text->length,
                 .width = ck->config.width},
        .state = {.config = &ck->config, .group = options->group},
    };
    enum status status = search_alloc(&s, err);
    if (status == OK)
        status = flow_embed(&s.flow, ck, text, s.x, err);
    for (; status == OK && s.layer < ck->config.layers; s.layer++)
        status = search_layer(&s, take, user, err);
    search_fini(&s);
    return status == OK ? OK : error_context(err, "calibrating %s", ck->config.name);
}
