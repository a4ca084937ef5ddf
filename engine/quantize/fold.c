// fold.c - lists the inputs of a layer by its description, and folds scales into rows and columns.
#include "engine/quantize/fold.h"

#include <assert.h>

static bool has(const struct model_config *c, enum tensor_role role)
{
    return tensor_shape(c, role).rows > 0;
}

static void add_reader(const struct model_config *c, struct fold_site *site, enum tensor_role role)
{
    if (!has(c, role))
        return;
    assert(site->count < FOLD_READERS_MAX);
    site->readers[site->count++] = role;
}

static void set_target(const struct model_config *c, struct fold_site *site,
                       enum tensor_role target, enum tensor_role bias)
{
    site->target = target;
    site->target_bias = has(c, bias) ? bias : T_ROLE_COUNT;
}

static struct fold_site site_at(enum engine_point point)
{
    return (struct fold_site){.point = point, .target = T_ROLE_COUNT, .target_bias = T_ROLE_COUNT};
}

static void add_ff_readers(const struct model_config *c, struct fold_site *site)
{
    static const enum tensor_role readers[] = {T_GATE,      T_UP,           T_EXPERT_GATE,
                                               T_EXPERT_UP, T_SHARED_GATE,  T_SHARED_UP,
                                               T_ROUTER,    T_SHARED_ROUTER};
    for (size_t i = 0; i < sizeof readers / sizeof *readers; i++)
        add_reader(c, site, readers[i]);
}

// q, k and v; also the feed-forward's products where one norm feeds both blocks.
static struct fold_site attention_input(const struct model_config *c)
{
    struct fold_site site = site_at(POINT_QKV_INPUT);
    add_reader(c, &site, T_Q);
    add_reader(c, &site, T_K);
    add_reader(c, &site, T_V);
    if (c->shared_norm)
        add_ff_readers(c, &site);
    set_target(c, &site, T_ATTN_NORM, T_ATTN_NORM_BIAS);
    return site;
}

// A sum over positions of v: linear in v's rows, unless they are clamped or several heads share one.
static struct fold_site output_input(const struct model_config *c)
{
    struct fold_site site = site_at(POINT_O_INPUT);
    add_reader(c, &site, T_O);
    if (c->heads == c->kv_heads && !(c->clip_qkv > 0))
        set_target(c, &site, T_V, T_V_BIAS);
    return site;
}

static struct fold_site ff_input(const struct model_config *c)
{
    struct fold_site site = site_at(POINT_FF_INPUT);
    add_ff_readers(c, &site);
    set_target(c, &site, T_FF_NORM, T_FF_NORM_BIAS);
    return site;
}

// act(gate) * up is linear in up; an activation alone only where it is ReLU, for s > 0.
static struct fold_site down_input(const struct model_config *c, enum engine_point point,
                                   enum tensor_role down, enum tensor_role up,
                                   enum tensor_role bias)
{
    struct fold_site site = site_at(point);
    add_reader(c, &site, down);
    if (!c->plain_ff || c->activation == ACT_RELU)
        set_target(c, &site, up, bias);
    return site;
}

int fold_sites(const struct model_config *c, struct fold_site out[FOLD_SITES_MAX])
{
    int count = 0;
    out[count++] = attention_input(c);
    out[count++] = output_input(c);
    if (!c->shared_norm)
        out[count++] = ff_input(c);
    if (has(c, T_DOWN))
        out[count++] = down_input(c, POINT_DOWN_INPUT, T_DOWN, T_UP, T_UP_BIAS);
    if (has(c, T_SHARED_DOWN))
        out[count++] =
            down_input(c, POINT_SHARED_DOWN_INPUT, T_SHARED_DOWN, T_SHARED_UP, T_ROLE_COUNT);
    if (has(c, T_EXPERT_DOWN))
        out[count++] =
            down_input(c, POINT_EXPERT_DOWN_INPUT, T_EXPERT_DOWN, T_EXPERT_UP, T_ROLE_COUNT);
    return count;
}

int fold_rows_alike(const struct model_config *c, enum tensor_role role)
{
    return tensor_shape(c, role).rows / (role == T_EXPERT_DOWN ? c->experts : 1);
}

size_t fold_scale_length(const struct model_config *c, const struct fold_site *site)
{
    struct tensor_shape shape = tensor_shape(c, site->readers[0]);
    return (size_t)(shape.rows / fold_rows_alike(c, site->readers[0])) * (size_t)shape.cols;
}

void fold_enter(const struct fold_site *site, const float *scale, struct fold_scales *scales)
{
    if (site->target == T_ROLE_COUNT)
        return;
    for (int i = 0; i < site->count; i++)
        scales->columns[site->readers[i]] = scale;
    scales->rows[site->target] = scale;
    if (site->target_bias != T_ROLE_COUNT)
        scales->rows[site->target_bias] = scale;
}

const float *fold_columns(const struct fold_scales *scales, const struct model_config *config,
                          enum tensor_role role, int row)
{
    const float *columns = scales->columns[role];
    size_t input = columns ? (size_t)(row / fold_rows_alike(config, role)) : 0;
    return columns ? columns + input * (size_t)tensor_shape(config, role).cols : NULL;
}

void fold_rows(const struct fold_scales *scales, const struct model_config *config,
               enum tensor_role role, int row0, int rows, float *data, size_t ld)
{
    const float *divisors = scales->rows[role];
    int cols = tensor_shape(config, role).cols;
    bool vector = tensor_role_is_vector(role);
    for (int r = 0; r < rows; r++) {
        float *row = data + (size_t)r * ld;
        const float *columns = fold_columns(scales, config, role, row0 + r);
        for (int c = 0; columns && c < cols; c++)
            row[c] *= columns[c];
        for (int c = 0; divisors && c < cols; c++)
            row[c] /= divisors[vector ? c : row0 + r];
    }
}
