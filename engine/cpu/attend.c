// attend.c - attention over the KV cache: rotation, storing keys and values, and how the work is split.
//
// Units are assigned to workers round robin (unit i to worker i mod workers), because causal tiles grow and neighbours
// cost about the same. In a decode step rotation, storing and attention have the same units, (sequence, KV head) pairs.
// Each worker then reads what it wrote itself, and no barrier is needed.
#include "engine/cpu/cpu.h"

#include <math.h>

static int group_of(const struct cpu_pass *pass)
{
    return pass->model->config.heads / pass->model->config.kv_heads;
}

// With fewer (part, tile, KV head) units than workers, the query heads of a group are split as well. Several
// workers then read the same K and V, through a cache they share.
static int group_splits(const struct cpu_pass *pass)
{
    int units = 0;
    for (int i = 0; i < pass->parts; i++)
        units += (pass->b->parts[i].count + pass->b->tile - 1) / pass->b->tile;
    units *= pass->model->config.kv_heads;
    int splits = (pass->workers + units - 1) / units, group = group_of(pass);
    return splits < group ? splits : group;
}

bool cpu_attention_shares_keys(const struct cpu_pass *pass)
{
    return !pass->single || group_splits(pass) > 1;
}

static float *query(const struct cpu_pass *pass, int row, int head)
{
    return pass->b->qkv + (size_t)row * pass->b->qkv_width +
           (size_t)head * (size_t)pass->model->config.head_dim;
}

static void clip(float *x, int n, float limit)
{
    for (int i = 0; i < n; i++)
        x[i] = x[i] < -limit ? -limit : x[i] > limit ? limit : x[i]; // NaN stays
}

// Prepares the q heads of one KV head's group, its k and its v, for one token, as the description says.
static void prepare_heads(const struct cpu_pass *pass, int layer, int row, int kv_head,
                          struct k_rope *job)
{
    const struct model_config *c = &pass->model->config;
    const struct cpu_layer *w = &pass->model->weights.layers[layer];
    int group = group_of(pass), n = c->head_dim;
    float *q = query(pass, row, kv_head * group), *k = query(pass, row, c->heads + kv_head);
    if (c->clip_qkv != 0) {
        clip(q, group * n, c->clip_qkv);
        clip(k, n, c->clip_qkv);
        clip(query(pass, row, c->heads + c->kv_heads + kv_head), n, c->clip_qkv);
    }
    for (int i = 0; w->q_norm && i < group; i++)
        pass->model->kernels.rmsnorm(q + i * n, q + i * n, w->q_norm, n, c->norm_eps);
    if (w->k_norm)
        pass->model->kernels.rmsnorm(k, k, w->k_norm, n, c->norm_eps);
    if (c->rope == ROPE_NONE)
        return;
    job->x = q;
    job->heads = group;
    pass->model->kernels.rope(job);
    job->x = k;
    job->heads = 1;
    pass->model->kernels.rope(job);
}

void cpu_rotate(const struct cpu_pass *pass, int worker, int layer)
{
    const struct model_config *c = &pass->model->config;
    const struct cpu_buffers *b = pass->b;
    bool local = b->local_freq && model_window(c, layer);
    const float *cosine = local ? b->local_cos : b->cos, *sine = local ? b->local_sin : b->sin;
    int unit = 0;
    if (c->rope == ROPE_NONE && !c->qk_norm && c->clip_qkv == 0)
        return;
    for (int i = 0; i < pass->parts; i++) {
        const struct cpu_part *part = &b->parts[i];
        for (int t = 0; t < part->count; t++) {
            size_t angles = (size_t)(part->first + t) * ((size_t)c->rotary / 2);
            struct k_rope job = {
                .cos = cosine + angles,
                .sin = sine + angles,
                .head_dim = c->head_dim,
                .rotary = c->rotary,
                .interleaved = c->rope == ROPE_INTERLEAVED,
            };
            for (int head = 0; head < c->kv_heads; head++)
                if (unit++ % pass->workers == worker)
                    prepare_heads(pass, layer, part->row + t, head, &job);
        }
    }
}

void cpu_store_kv(const struct cpu_pass *pass, int worker, int layer)
{
    const struct model_config *c = &pass->model->config;
    const struct kv_cache *kv = &pass->b->kv;
    int unit = 0, n = c->head_dim;
    for (int i = 0; i < pass->parts; i++) {
        const struct cpu_part *part = &pass->b->parts[i];
        for (int t = 0; t < part->count; t++) {
            for (int head = 0; head < c->kv_heads; head++) {
                if (unit++ % pass->workers != worker)
                    continue;
                int at = part->first + t, row = part->row + t;
                float k_scale = pass->ctx->kv_store(kv_keys(kv, layer, part->sequence, head, at),
                                                    query(pass, row, c->heads + head), n, n);
                float v_scale =
                    pass->ctx->kv_store(kv_values(kv, layer, part->sequence, head, at),
                                        query(pass, row, c->heads + c->kv_heads + head), n, n);
                if (kv->scales_offset) {
                    *kv_key_scale(kv, layer, part->sequence, head, at) = k_scale;
                    *kv_value_scale(kv, layer, part->sequence, head, at) = v_scale;
                }
            }
        }
    }
}

// One attention call: query heads [head0, head0 + heads) of one KV head, tokens [t0, t0 + count).
struct tile {
    int t0, count;
    int kv_head, head0, heads;
};

static void attend_tile(const struct cpu_pass *pass, int worker, int layer,
                        const struct cpu_part *part, struct tile tile)
{
    const struct model_config *c = &pass->model->config;
    const struct cpu_buffers *b = pass->b;
    const struct cpu_worker *w = &b->workers[worker];
    enum dtype type = cpu_staged(pass->model->scheme);
    int row = part->row + tile.t0, width = tile.heads * c->head_dim;
    struct k_attention job = {
        .q = query(pass, row, tile.head0),
        .k = kv_keys(&b->kv, layer, part->sequence, tile.kv_head, 0),
        .v = kv_values(&b->kv, layer, part->sequence, tile.kv_head, 0),
        .k_scale = kv_key_scale(&b->kv, layer, part->sequence, tile.kv_head, 0),
        .v_scale = kv_value_scale(&b->kv, layer, part->sequence, tile.kv_head, 0),
        .out = w->attended,
        .scratch = w->attend_scratch,
        .q_stride = b->qkv_width,
        .out_stride = (size_t)width,
        .tokens = tile.count,
        .group = tile.heads,
        .head_dim = c->head_dim,
        .first = part->first + tile.t0,
        .window = model_window(c, layer),
        .scale = c->attention_scale != 0 ? c->attention_scale : 1.0f / sqrtf((float)c->head_dim),
        .softcap = c->attention_softcap,
        .bias = b->bias ? b->bias + (size_t)tile.head0 * (size_t)b->kv.positions : NULL,
        .bias_stride = (size_t)b->kv.positions,
    };
    pass->ctx->attention(&job);

    int column = tile.head0 * c->head_dim, padded = width;
    if (tile.head0 + tile.heads == c->heads)
        padded = cpu_padded(pass->model->scheme->weights, c->heads * c->head_dim) - column;
    for (int t = 0; t < tile.count; t++)
        pass->model->kernels.stage(b->input + (size_t)(row + t) * b->input_bytes +
                                       (size_t)column * cpu_element_bytes(type),
                                   w->attended + (size_t)t * (size_t)width, width, padded);
}

void cpu_attend(const struct cpu_pass *pass, int worker, int layer)
{
    int group = group_of(pass), splits = group_splits(pass), unit = 0;
    for (int i = 0; i < pass->parts; i++) {
        const struct cpu_part *part = &pass->b->parts[i];
        for (int t0 = 0; t0 < part->count; t0 += pass->b->tile) {
            int left = part->count - t0;
            struct tile tile = {.t0 = t0, .count = left < pass->b->tile ? left : pass->b->tile};
            for (tile.kv_head = 0; tile.kv_head < pass->model->config.kv_heads; tile.kv_head++) {
                for (int s = 0; s < splits; s++) {
                    if (unit++ % pass->workers != worker)
                        continue;
                    int begin = s * group / splits, end = (s + 1) * group / splits;
                    tile.head0 = tile.kv_head * group + begin;
                    tile.heads = end - begin;
                    attend_tile(pass, worker, layer, part, tile);
                }
            }
        }
    }
}
