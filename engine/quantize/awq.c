// awq.c - the search: which scale for each input, which cut for each group, layer after layer.
#include "engine/quantize/awq.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/log.h"
#include "engine/quantize/awq_experts.h"
#include "engine/quantize/flow.h"
#include "engine/quantize/layer_view.h"

enum {
    WINDOWS_MIN = 2,
    WINDOWS_MAX = 8,
    RUNS_A_SITE = 14, // runs of a layer, for progress: trials of alpha and of cuts
};
static const double tokens_times_weights = 0x1p36; // of one run of a layer

struct search {
    const struct checkpoint *ck;
    const struct awq_options *options;
    struct flow flow;
    int layer;
    float *x;                             // (tokens, width) before the layer
    struct flow_rows kept[ENGINE_POINTS]; // of the unquantized layer
    struct flow_rows run[ENGINE_POINTS];  // of a trial: the residual stream alone
    struct fold_site sites[FOLD_SITES_MAX];
    struct moments *moments[FOLD_SITES_MAX]; // NULL for experts' down projections
    float *scale[FOLD_SITES_MAX], *trial;    // (widest input)
    int count;
    int undersampled; // experts so far with too few tokens
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
    int least = config->experts / (config->experts_used ? config->experts_used : 1);
    least = least < WINDOWS_MIN ? WINDOWS_MIN : least < WINDOWS_MAX ? least : WINDOWS_MAX;
    return windows > WINDOWS_MAX ? WINDOWS_MAX : windows < least ? least : (int)windows;
}

// ---- memory ----------------------------------------------------------------------------------------------

static int widest(const struct model_config *c)
{
    int most = c->width;
    most = c->heads * c->head_dim > most ? c->heads * c->head_dim : most;
    most = c->shared_ff > most ? c->shared_ff : most;
    return c->ff > most ? c->ff : most;
}

static int reader_cols(const struct search *s, const struct fold_site *site)
{
    return tensor_shape(&s->ck->config, site->readers[0]).cols;
}

// The rows of a site's input in one run.
static size_t rows_shown(const struct search *s, enum engine_point point)
{
    bool routed = point == POINT_EXPERT_DOWN_INPUT;
    return flow_tokens(&s->flow) * (size_t)(routed ? s->ck->config.experts_used : 1);
}

static enum status rows_alloc(struct flow_rows *rows, size_t count, int cols, struct error *err)
{
    size_t bytes = 0;
    TRY(size_mul(count, (size_t)cols * sizeof(float), &bytes, "calibration", err));
    rows->cols = cols;
    rows->x = aligned_alloc_zeroed(bytes);
    return rows->x ? OK : FAIL(err, ERR_NOMEM, "%zu bytes of inputs to calibrate on", bytes);
}

static enum status residual_alloc(const struct search *s, struct flow_rows *rows, struct error *err)
{
    return rows_alloc(rows, flow_tokens(&s->flow), s->flow.width, err);
}

static enum status inputs_alloc(struct search *s, const struct fold_site *site, struct error *err)
{
    struct flow_rows *rows = &s->kept[site->point];
    size_t count = rows_shown(s, site->point);
    TRY(rows_alloc(rows, count, reader_cols(s, site), err));
    if (site->point != POINT_EXPERT_DOWN_INPUT)
        return OK;
    rows->expert = calloc(count, sizeof *rows->expert);
    return rows->expert ? OK : FAIL(err, ERR_NOMEM, "experts of %zu inputs", count);
}

// A buffer for the changes of a role's weights. Groups that are not whole panels are searched alone, without it.
static float *changes_alloc(const struct search *s, enum tensor_role role)
{
    size_t rows = (size_t)fold_rows_alike(&s->ck->config, role), floats = 0, bytes = 0;
    int cols = tensor_shape(&s->ck->config, role).cols;
    struct error err = {0};
    if (size_mul(rows, changes_ld(cols), &floats, "changes", &err) != OK ||
        size_mul(floats, sizeof(float), &bytes, "changes", &err) != OK)
        return NULL;
    return s->options->group % PANEL_ROWS ? NULL : aligned_alloc_zeroed(bytes);
}

static enum status search_alloc(struct search *s, struct error *err)
{
    const struct model_config *c = &s->ck->config;
    struct flow_rows x = {0};
    s->count = fold_sites(c, s->sites);
    TRY(residual_alloc(s, &x, err));
    s->x = x.x;
    TRY(residual_alloc(s, &s->kept[POINT_MIDDLE], err));
    TRY(residual_alloc(s, &s->kept[POINT_LAYER_OUTPUT], err));
    TRY(residual_alloc(s, &s->run[POINT_MIDDLE], err));
    TRY(residual_alloc(s, &s->run[POINT_LAYER_OUTPUT], err));
    s->trial = calloc((size_t)widest(c), sizeof *s->trial);
    bool there = s->trial != NULL;
    for (int i = 0; i < s->count; i++) {
        s->scale[i] = calloc(fold_scale_length(c, &s->sites[i]), sizeof **s->scale);
        there = there && s->scale[i];
    }
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        struct tensor_shape shape = tensor_shape(c, (enum tensor_role)role);
        if (!tensor_role_is_product((enum tensor_role)role) || !shape.rows)
            continue;
        size_t groups = (size_t)quant_groups(DT_I4, shape.cols, s->options->group);
        s->state.cuts[role] = calloc((size_t)shape.rows * groups, 1);
        s->state.changes[role] = changes_alloc(s, (enum tensor_role)role);
        there = there && s->state.cuts[role] &&
                (s->state.changes[role] || s->options->group % PANEL_ROWS);
    }
    return there ? OK : FAIL(err, ERR_NOMEM, "scales and cuts of a layer");
}

static void forget_input(struct search *s, enum engine_point point)
{
    aligned_release(s->kept[point].x);
    free(s->kept[point].expert);
    s->kept[point] = (struct flow_rows){0};
}

static void forget_inputs(struct search *s)
{
    for (int p = 0; p < ENGINE_POINTS; p++)
        if (p != POINT_MIDDLE && p != POINT_LAYER_OUTPUT)
            forget_input(s, (enum engine_point)p);
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

// Mean squared error of the residual stream at `point`, with the layer in `s->state`.
static enum status measure(struct search *s, enum engine_point point, double *loss,
                           struct error *err)
{
    size_t n = flow_tokens(&s->flow) * (size_t)s->flow.width;
    const float *is = s->kept[point].x, *got = s->run[point].x;
    struct flow_rows wanted[ENGINE_POINTS] = {0};
    double sum = 0;
    wanted[point] = s->run[point];
    TRY(run_layer(s, &s->state, wanted, err));
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

// Called between runs of the layer, so that a request to stop does not wait for long.
static enum status report(struct search *s, int site, int run, struct error *err)
{
    double runs = (double)s->count * RUNS_A_SITE, done = site * RUNS_A_SITE + run;
    s->flow.done = (s->layer + (done < runs ? done / runs : 1)) / s->ck->config.layers;
    if (s->options->progress && !s->options->progress(s->options->user, s->flow.done))
        return FAIL(err, ERR_INTERRUPTED, "stopped");
    return OK;
}

// ---- one input ---------------------------------------------------------------------------------------------

static void set_readers(struct search *s, const struct fold_site *site, bool quantized)
{
    for (int i = 0; i < site->count; i++)
        s->state.quantized[site->readers[i]] =
            quantized && tensor_role_is_product(site->readers[i]);
}

// Sets columns alone: while its site is searched, a scale is removed again and the target stays unscaled.
static void set_columns(struct search *s, const struct fold_site *site, const float *scale)
{
    for (int i = 0; i < site->count; i++)
        s->state.scales.columns[site->readers[i]] = scale;
}

struct trying {
    struct search *s;
    int index, runs;
    enum engine_point point;
};

static enum status try_alpha(void *user, int alpha, double *loss, struct error *err)
{
    struct trying *t = user;
    moments_scale(t->s->moments[t->index], (double)alpha / AWQ_ALPHAS, t->s->trial);
    set_columns(t->s, &t->s->sites[t->index], t->s->trial);
    TRY(measure(t->s, t->point, loss, err));
    return report(t->s, t->index, ++t->runs, err);
}

static void clear_cuts(struct search *s, enum tensor_role role)
{
    struct tensor_shape shape = tensor_shape(&s->ck->config, role);
    if (s->state.cuts[role])
        memset(s->state.cuts[role], 0,
               (size_t)shape.rows * (size_t)quant_groups(DT_I4, shape.cols, s->options->group));
}

static enum status search_cuts(struct search *s, int index, enum engine_point point,
                               const struct grid_best *best, struct error *err)
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
    struct trying trying = {.s = s, .index = index, .point = point};
    struct grid_best best = {0};
    set_readers(s, site, true);
    TRY(measure(s, point, &best.loss, err));
    if (site->target != T_ROLE_COUNT)
        TRY(awq_grid_search(try_alpha, &trying, &best, err));
    moments_scale(s->moments[index], (double)best.alpha / AWQ_ALPHAS, s->scale[index]);
    set_columns(s, site, best.alpha ? s->scale[index] : NULL);
    TRY(search_cuts(s, index, point, &best, err));
    return report(s, index, RUNS_A_SITE, err);
}

// *undersampled: the number of experts with too few tokens.
static enum status search_experts(struct search *s, int index, int *undersampled, struct error *err)
{
    const struct fold_site *site = &s->sites[index];
    int experts = s->ck->config.experts;
    struct awq_expert_search search = {
        .ck = s->ck,
        .layer = s->layer,
        .state = &s->state,
        .inputs = &s->kept[site->point],
        .slots = rows_shown(s, site->point),
        .scaled = site->target != T_ROLE_COUNT,
        .scales = s->scale[index],
        .device = s->options->device,
    };
    for (int expert = 0; expert < experts; expert++) {
        bool alone = false;
        TRY(awq_expert_search(&search, expert, &alone, err));
        *undersampled += alone;
        TRY(report(s, index, RUNS_A_SITE * (expert + 1) / experts, err));
    }
    forget_input(s, site->point);
    set_columns(s, site, s->scale[index]);
    return OK;
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

// Runs the unquantized layer: keeps the outputs of its blocks, the moments of its inputs, and the inputs of routed
// experts.
static enum status observe(struct search *s, struct error *err)
{
    forget_inputs(s);
    forget_moments(s);
    for (int i = 0; i < s->count; i++)
        TRY(inputs_alloc(s, &s->sites[i], err));
    TRY(run_layer(s, NULL, s->kept, err));
    for (int i = 0; i < s->count; i++) {
        enum engine_point point = s->sites[i].point;
        const struct flow_rows *rows = &s->kept[point];
        if (point == POINT_EXPERT_DOWN_INPUT)
            continue;
        TRY(moments_create(rows->x, (size_t)rows->cols, (int)flow_tokens(&s->flow), rows->cols,
                           s->options->group, s->options->device, &s->moments[i], err));
        forget_input(s, point);
    }
    return OK;
}

// Each block is searched with the other one unquantized.
static enum status search_sites(struct search *s, struct awq_layer *out, struct error *err)
{
    for (int i = 0; i < s->count; i++) {
        if (s->sites[i].point == POINT_FF_INPUT)
            memset(s->state.quantized, 0, sizeof s->state.quantized);
        if (s->sites[i].point == POINT_EXPERT_DOWN_INPUT)
            TRY(search_experts(s, i, &out->experts_undersampled, err));
        else
            TRY(search_site(s, i, err));
    }
    return OK;
}

// The whole layer's error in another state than the one found, which is restored afterwards.
static enum status measure_other(struct search *s, const struct layer_state *other, double *loss,
                                 struct error *err)
{
    struct layer_state found = s->state;
    s->state = *other;
    enum status status = measure(s, POINT_LAYER_OUTPUT, loss, err);
    s->state = found;
    return status;
}

static void drop_expert_scales(struct fold_scales *scales)
{
    scales->columns[T_EXPERT_DOWN] = NULL;
    scales->rows[T_EXPERT_UP] = NULL;
}

// Finishes the whole layer: with the scales found, folded into their targets; without those of experts' down
// projections, or with rounding alone, where that is better.
static enum status settle(struct search *s, struct awq_layer *out, struct error *err)
{
    struct fold_scales found = {0};
    for (int i = 0; i < s->count; i++)
        if (s->state.scales.columns[s->sites[i].readers[0]])
            fold_enter(&s->sites[i], s->scale[i], &found);
    s->state.scales = found;
    quantize_all(s);
    struct layer_state plain = s->state, without = s->state;
    memset(&plain.scales, 0, sizeof plain.scales);
    memset(plain.cuts, 0, sizeof plain.cuts);
    drop_expert_scales(&without.scales);
    without.cuts[T_EXPERT_DOWN] = NULL;
    TRY(measure_other(s, &plain, &out->rounded, err));
    if (s->ck->config.experts)
        TRY(measure_other(s, &without, &out->experts_rounded, err));
    TRY(measure(s, POINT_LAYER_OUTPUT, &out->found, err));
    if (s->ck->config.experts && out->experts_rounded < out->found) {
        clear_cuts(s, T_EXPERT_DOWN);
        drop_expert_scales(&s->state.scales);
        TRY(measure(s, POINT_LAYER_OUTPUT, &out->found, err));
    }
    if (out->found <= out->rounded)
        return OK;
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
    TRY(search_sites(s, &done, err));
    TRY(settle(s, &done, err));
    s->undersampled += done.experts_undersampled;
    memcpy(s->x, s->run[POINT_LAYER_OUTPUT].x,
           bytes); // the next layer reads this one's quantized output
    return take(user, &done, err);
}

enum status awq_search(const struct checkpoint *ck, const struct calib_text *text,
                       const struct awq_options *options, awq_take *take, void *user,
                       struct error *err)
{
    struct search s = {
        .ck = ck,
        .options = options,
        .flow = {.device = options->device,
                 .windows = text->windows,
                 .length = text->length,
                 .width = ck->config.width,
                 .progress = options->progress,
                 .user = options->user},
        .state = {.config = &ck->config, .group = options->group},
    };
    enum status status = search_alloc(&s, err);
    if (status == OK)
        status = flow_embed(&s.flow, ck, text, s.x, err);
    for (; status == OK && s.layer < ck->config.layers; s.layer++)
        status = search_layer(&s, take, user, err);
    search_fini(&s);
    if (status == OK && s.undersampled)
        log_line(LOG_WARN,
                 "calibrating %s: %d of its %d experts' down projections are rounded to nearest: "
                 "fewer than %d tokens of the text reach them",
                 ck->config.name, s.undersampled, ck->config.layers * ck->config.experts,
                 EXPERT_TOKENS_MIN);
    return status == OK ? OK : error_context(err, "calibrating %s", ck->config.name);
}
