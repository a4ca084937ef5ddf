// synthetic.c - random weights of a real model's shape, generated row by row on request.
//
// Speed does not depend on the values of weights, so a shape can replace a model: same bytes, same operations, no
// download. Nothing is stored: one 64-bit hash of (seed, tensor, row, column / 4) gives four elements, so any thread
// can generate any row, in any order.
// Matrices are uniform with standard deviation 0.02, the usual initializer_range. Norm weights are 1.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"
#include "base/str.h"
#include "engine/load/source.h"
#include "engine/model/arch.h"

struct synthetic {
    struct model_config config;
    uint64_t seed;
};

// The number of one tensor. Roles added after the first 15 are numbered after all layers of those.
static uint64_t tensor_number(enum tensor_role role, int layer)
{
    enum { FIRST_ROLES = 15, LATER_ROLES = 64 };
    uint64_t number = (uint64_t)tensor_role_number(role), block = (uint64_t)(layer + 1);
    _Static_assert(T_ROLE_COUNT <= FIRST_ROLES + LATER_ROLES, "numbers of two layers would meet");
    if (number < FIRST_ROLES)
        return block * FIRST_ROLES + number;
    return (UINT64_C(1) << 32) + block * LATER_ROLES + number - FIRST_ROLES;
}

// The start of a tensor's counters. Hashing keeps starts far apart, so no two tensors share elements.
static uint64_t tensor_key(uint64_t seed, enum tensor_role role, int layer)
{
    return rng_hash(rng_hash(seed) + tensor_number(role, layer));
}

// n elements, uniform on 65536 evenly spaced values symmetric about 0, of standard deviation 0.02.
static void fill_row(float *out, uint64_t counter, size_t n)
{
    const float step = 0.02f * 1.7320508f / 32768.0f, centre = -32767.5f;
    size_t i = 0;
    for (; i + 4 <= n; i += 4, counter++) {
        uint64_t bits = rng_hash(counter);
        for (int j = 0; j < 4; j++)
            out[i + (size_t)j] = ((float)(int32_t)(bits >> (16 * j) & 0xffff) + centre) * step;
    }
    uint64_t bits = rng_hash(counter);
    for (; i < n; i++, bits >>= 16)
        out[i] = ((float)(int32_t)(bits & 0xffff) + centre) * step;
}

static void synthetic_read_rows(const void *self, enum tensor_role role, int layer, int row0,
                                int rows, float *out, size_t ld)
{
    const struct synthetic *s = self;
    size_t cols = (size_t)tensor_shape(&s->config, role).cols;
    uint64_t hashes = (cols + 3) / 4, key = tensor_key(s->seed, role, layer);
    for (int r = 0; r < rows; r++) {
        float *row = out + (size_t)r * ld;
        if (tensor_role_is_norm(role))
            for (size_t i = 0; i < cols; i++)
                row[i] = 1;
        else
            fill_row(row, key + (uint64_t)(row0 + r) * hashes, cols);
    }
}

static enum dtype synthetic_stored_type(const void *self, enum tensor_role role, int layer)
{
    (void)self, (void)role, (void)layer;
    return DT_F32; // the generator's type; nothing is stored
}

// Appends fields that the first architectures lacked, if they are set: older hashes stay valid.
static void describe_more(const struct model_config *c, struct str *text)
{
    const struct {
        const char *name;
        double value;
    } fields[] = {{"norm", (int)c->norm},
                  {"norm_bias", c->norm_bias},
                  {"embedding_norm", c->embedding_norm},
                  {"post_norms", c->post_norms},
                  {"qk_norm", c->qk_norm},
                  {"parallel", c->parallel},
                  {"shared_norm", c->shared_norm},
                  {"beta_fast", (double)c->rope_beta_fast},
                  {"beta_slow", (double)c->rope_beta_slow},
                  {"untruncated", c->rope_untruncated},
                  {"attention_factor", (double)c->rope_attention_factor},
                  {"local_theta", (double)c->rope_local_theta},
                  {"alibi", (int)c->alibi},
                  {"alibi_max", (double)c->alibi_max},
                  {"learned", c->learned_positions},
                  {"o_bias", c->o_bias},
                  {"attention_scale", (double)c->attention_scale},
                  {"attention_softcap", (double)c->attention_softcap},
                  {"clip_qkv", (double)c->clip_qkv},
                  {"activation", (int)c->activation},
                  {"plain_ff", c->plain_ff},
                  {"ff_bias", c->ff_bias},
                  {"experts", c->experts},
                  {"experts_used", c->experts_used},
                  {"renormed", c->experts_renormed},
                  {"shared_ff", c->shared_ff},
                  {"shared_gated", c->shared_gated},
                  {"embedding_scale", (double)c->embedding_scale},
                  {"logit_softcap", (double)c->logit_softcap},
                  {"head_bias", c->head_bias}};
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++)
        if (fields[i].value != 0)
            str_printf(text, " %s %.9g", fields[i].name, fields[i].value);
    for (int i = 0; c->window && i < c->layers; i++)
        if (model_window(c, i) == 0)
            str_printf(text, " full %d", i);
    for (int i = 0; c->rope_scaling == ROPE_SCALE_LONGROPE && i < c->rotary / 2; i++)
        str_printf(text, " %.9g %.9g", (double)c->rope_factors[i], (double)c->rope_long_factors[i]);
}

// Hashes the description and the seed, not the file's spelling. The number is the generator's version.
static enum status synthetic_content_hash(const void *self, char hex[65], struct error *err)
{
    const struct synthetic *s = self;
    const struct model_config *c = &s->config;
    struct str text = {0};
    str_printf(&text,
               "synthetic 1 seed %llu arch %s layers %d width %d heads %d kv %d head %d ff %d",
               (unsigned long long)s->seed, c->arch, c->layers, c->width, c->heads, c->kv_heads,
               c->head_dim, c->ff);
    str_printf(&text, " vocab %d positions %d eps %.9g rope %d %d theta %.9g scaling %d", c->vocab,
               c->max_positions, (double)c->norm_eps, (int)c->rope, c->rotary,
               (double)c->rope_theta, (int)c->rope_scaling);
    str_printf(&text, " %.9g %.9g %.9g %d window %d bias %d tied %d", (double)c->rope_factor,
               (double)c->rope_low_freq, (double)c->rope_high_freq, c->rope_original_positions,
               c->window, c->qkv_bias, c->tied);
    describe_more(c, &text);
    enum status status = text.failed ? FAIL(err, ERR_NOMEM, "%s: no memory for its hash", c->name)
                                     : hash_bytes(str_text(&text), text.length, hex, err);
    str_fini(&text);
    return status;
}

static const struct source_ops synthetic_ops = {
    .format = "synthetic",
    .read_rows = synthetic_read_rows,
    .stored_type = synthetic_stored_type,
    .content_hash = synthetic_content_hash,
    .destroy = free,
};

enum status synthetic_open(const char *config_path, uint64_t seed, struct checkpoint *ck,
                           struct error *err)
{
    struct synthetic *s = calloc(1, sizeof *s);
    if (!s)
        return FAIL(err, ERR_NOMEM, "%s: no memory", config_path);
    s->seed = seed;
    enum status status = model_config_read(config_path, &s->config, err);
    if (status != OK) {
        free(s);
        return status;
    }
    ck->config = s->config;
    ck->ops = &synthetic_ops;
    ck->self = s;
    return OK;
}
