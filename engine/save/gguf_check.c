// gguf_check.c - reads a written file's description back and compares it field by field.
#include "engine/save/gguf_check.h"

#include <math.h>
#include <stddef.h>
#include <string.h>

#include "engine/model/rope.h"
#include "engine/save/gguf_plan.h"

#define FIELD(name)                                                                                \
    {                                                                                              \
#name, offsetof(struct model_config, name), sizeof(((struct model_config *)0)->name)       \
    }

// Numbers that must be read back unchanged. Names are left out. RoPE scaling has several spellings, so the values
// computed from it are compared instead.
static const struct {
    const char *name;
    size_t offset, bytes;
} fields[] = {
    FIELD(layers),
    FIELD(width),
    FIELD(heads),
    FIELD(kv_heads),
    FIELD(head_dim),
    FIELD(ff),
    FIELD(vocab),
    FIELD(max_positions),
    FIELD(norm),
    FIELD(norm_bias),
    FIELD(norm_eps),
    FIELD(embedding_norm),
    FIELD(post_norms),
    FIELD(qk_norm),
    FIELD(parallel),
    FIELD(shared_norm),
    FIELD(rope),
    FIELD(rotary),
    FIELD(rope_local_theta),
    FIELD(alibi),
    FIELD(alibi_max),
    FIELD(learned_positions),
    FIELD(window),
    FIELD(full_layers),
    FIELD(qkv_bias),
    FIELD(o_bias),
    FIELD(attention_scale),
    FIELD(attention_softcap),
    FIELD(clip_qkv),
    FIELD(activation),
    FIELD(plain_ff),
    FIELD(ff_bias),
    FIELD(experts),
    FIELD(experts_used),
    FIELD(experts_renormed),
    FIELD(shared_ff),
    FIELD(shared_gated),
    FIELD(embedding_scale),
    FIELD(logit_softcap),
    FIELD(head_bias),
    FIELD(bos),
    FIELD(eos),
};

static enum status differs(const char *what, const struct model_config *config, struct error *err)
{
    return FAIL(
        err, ERR_UNSUPPORTED,
        "GGUF cannot say the %s of this model: for architecture %s it would be read back as "
        "something else",
        what, config->arch);
}

// Frequencies of all pairs, in a short context and in the longest; scales of the angles' tables.
static bool same_rope(const struct model_config *a, const struct model_config *b)
{
    float x[MODEL_MAX_HEAD_DIM / 2], y[MODEL_MAX_HEAD_DIM / 2];
    const int positions[] = {1, a->max_positions};
    float scale_a = a->rope_attention_factor > 0 ? a->rope_attention_factor : 1;
    float scale_b = b->rope_attention_factor > 0 ? b->rope_attention_factor : 1;
    for (int p = 0; p < 2; p++) {
        rope_frequencies(a, positions[p], x);
        rope_frequencies(b, positions[p], y);
        for (int i = 0; i < a->rotary / 2; i++)
            if (!(fabsf(x[i] - y[i]) <= 1e-6f * x[i]))
                return false;
    }
    return fabsf(scale_a - scale_b) <= 1e-6f;
}

enum status gguf_check_written(const char *path, const struct model_config *config,
                               struct error *err)
{
    struct checkpoint *ck;
    TRY(checkpoint_open(path, &ck, err));
    const struct model_config *read = checkpoint_config(ck);
    enum status status = OK;
    for (size_t i = 0; i < sizeof fields / sizeof *fields && status == OK; i++)
        if (memcmp((const char *)config + fields[i].offset, (const char *)read + fields[i].offset,
                   fields[i].bytes) != 0)
            status = differs(fields[i].name, config, err);
    if (status == OK && config->rope != ROPE_NONE && !same_rope(config, read))
        status = differs("scaling of RoPE", config, err);
    if (status == OK && read->tied != (config->tied && !gguf_plan_unties(config)))
        status = differs("tie of head and embedding", config, err);
    checkpoint_destroy(ck);
    return status;
}
