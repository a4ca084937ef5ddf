// rope.c - RoPE in config.json: theta, the share of a head that rotates, and the scaling.
//
// Both spellings are read: transformers 4 (rope_theta, rope_scaling) and transformers 5 (rope_parameters).
// Defaults are those of transformers' modeling_rope_utils.py, and so is the attention factor's formula.
#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "base/str.h"
#include "engine/load/hf/hf.h"

static enum status read_llama3(const json_t *rope, const char *where, struct model_config *out,
                               struct error *err)
{
    out->rope_scaling = ROPE_SCALE_LLAMA3;
    TRY(hf_get_float(rope, where, "factor", &out->rope_factor, err));
    TRY(hf_get_float(rope, where, "low_freq_factor", &out->rope_low_freq, err));
    TRY(hf_get_float(rope, where, "high_freq_factor", &out->rope_high_freq, err));
    return hf_get_int(rope, where, "original_max_position_embeddings",
                      &out->rope_original_positions, err);
}

// The factor, when not given, is the ratio of the positions.
static enum status read_factor(const json_t *rope, const char *where, struct model_config *out,
                               struct error *err)
{
    double ratio = (double)out->max_positions / out->rope_original_positions;
    return hf_opt_float(rope, where, "factor", ratio, &out->rope_factor, err);
}

static double yarn_mscale(double scale, double mscale)
{
    return scale <= 1 ? 1 : 0.1 * mscale * log(scale) + 1;
}

static enum status read_yarn(const json_t *rope, const char *where, struct model_config *out,
                             struct error *err)
{
    float mscale, all_dims;
    bool truncate;
    out->rope_scaling = ROPE_SCALE_YARN;
    TRY(hf_opt_int(rope, where, "original_max_position_embeddings", out->max_positions,
                   &out->rope_original_positions, err));
    if (out->rope_original_positions < 1)
        return FAIL(err, ERR_FORMAT, "%s: original_max_position_embeddings: not positive", where);
    TRY(read_factor(rope, where, out, err));
    TRY(hf_opt_float(rope, where, "beta_fast", 32, &out->rope_beta_fast, err));
    TRY(hf_opt_float(rope, where, "beta_slow", 1, &out->rope_beta_slow, err));
    TRY(json_opt_bool(rope, where, "truncate", true, &truncate, err));
    out->rope_untruncated = !truncate;
    TRY(hf_opt_float(rope, where, "mscale", 0, &mscale, err));
    TRY(hf_opt_float(rope, where, "mscale_all_dim", 0, &all_dims, err));
    double factor = (double)out->rope_factor, attention = yarn_mscale(factor, 1);
    if (mscale != 0 && all_dims != 0)
        attention = yarn_mscale(factor, (double)mscale) / yarn_mscale(factor, (double)all_dims);
    return hf_opt_float(rope, where, "attention_factor", attention, &out->rope_attention_factor,
                        err);
}

static enum status read_factors(const json_t *rope, const char *where, const char *key, int pairs,
                                float *out, struct error *err)
{
    const json_t *list = json_object_get(rope, key);
    if (!json_is_array(list) || json_array_size(list) != (size_t)pairs)
        return FAIL(err, ERR_FORMAT, "%s: %s: not a list of %d numbers", where, key, pairs);
    for (int i = 0; i < pairs; i++) {
        const json_t *value = json_array_get(list, (size_t)i);
        if (!json_is_number(value))
            return FAIL(err, ERR_FORMAT, "%s: %s: value %d is not a number", where, key, i);
        out[i] = (float)json_number_value(value);
    }
    return OK;
}

// The original positions stand beside the object in phi-3's own files; those count first.
static enum status read_longrope(const json_t *root, const json_t *rope, const char *where,
                                 struct model_config *out, struct error *err)
{
    out->rope_scaling = ROPE_SCALE_LONGROPE;
    int inner;
    TRY(hf_opt_int(rope, where, "original_max_position_embeddings", out->max_positions, &inner,
                   err));
    TRY(hf_opt_int(root, where, "original_max_position_embeddings", inner,
                   &out->rope_original_positions, err));
    if (out->rope_original_positions < 1)
        return FAIL(err, ERR_FORMAT, "%s: original_max_position_embeddings: not positive", where);
    TRY(read_factors(rope, where, "short_factor", out->rotary / 2, out->rope_factors, err));
    TRY(read_factors(rope, where, "long_factor", out->rotary / 2, out->rope_long_factors, err));
    TRY(read_factor(rope, where, out, err));
    double factor = (double)out->rope_factor, attention = 1;
    if (factor > 1)
        attention = sqrt(1 + log(factor) / log((double)out->rope_original_positions));
    return hf_opt_float(rope, where, "attention_factor", attention, &out->rope_attention_factor,
                        err);
}

bool hf_scaling_known(const char *arch, const char *type)
{
    static const char *const known[] = {"default", "linear", "llama3", "yarn", "longrope"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_equal(known[i], type))
            return true;
    return str_equal(arch, "phi3") && str_equal(type, "su");
}

static enum status read_scaling(const json_t *root, const json_t *rope, const char *where,
                                struct model_config *out, struct error *err)
{
    const char *type, *older;
    TRY(json_opt_string(rope, where, "type", "default", &older, err));
    TRY(json_opt_string(rope, where, "rope_type", older, &type, err));
    bool phi3 = str_equal(out->arch, "phi3"); // whose "su" and "yarn" were early names of longrope
    if (!hf_scaling_known(out->arch, type))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: rope_type '%.32s' is not supported (default, linear, llama3, yarn and "
                    "longrope are)",
                    where, type);
    if (str_equal(type, "default"))
        return OK;
    if (str_equal(type, "longrope") || (phi3 && (str_equal(type, "su") || str_equal(type, "yarn"))))
        return read_longrope(root, rope, where, out, err);
    if (str_equal(type, "llama3"))
        return read_llama3(rope, where, out, err);
    if (str_equal(type, "yarn"))
        return read_yarn(rope, where, out, err);
    out->rope_scaling = ROPE_SCALE_LINEAR;
    return hf_get_float(rope, where, "factor", &out->rope_factor, err);
}

static enum status read_share(const json_t *object, const char *where, const struct hf_arch *arch,
                              double *share, struct error *err)
{
    TRY(json_opt_f64(object, where, "partial_rotary_factor", *share, share, err));
    if (!(*share > 0) || !(*share <= 1))
        return FAIL(err, ERR_FORMAT, "%s: partial_rotary_factor: %g is not within 0..1", where,
                    *share);
    if (*share != 1 && arch->default_rotary_share == 0)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: partial_rotary_factor: %g is not supported for %s, only 1 is", where,
                    *share, arch->name);
    return OK;
}

// The object that holds the parameters, or NULL; `place` is what it is called.
static enum status find_parameters(const json_t *root, const char *where, const json_t **out,
                                   char place[512], struct error *err)
{
    static const char *const keys[] = {"rope_parameters", "rope_scaling"};
    *out = NULL;
    for (int i = 0; i < 2 && !*out; i++) {
        const json_t *rope = json_object_get(root, keys[i]);
        *out = json_is_null(rope) ? NULL : rope;
        snprintf(place, 512, "%s: %s", where, keys[i]);
        if (*out && !json_is_object(*out))
            return FAIL(err, ERR_FORMAT, "%s: not an object", place);
    }
    return OK;
}

// Layers with a window that rotate by a theta of their own: gemma 3. In transformers 5 there is an object of
// parameters for each kind of layer, before that a key for this theta alone.
static enum status read_local(const json_t *root, const char *where, const struct hf_arch *arch,
                              const json_t **rope, struct model_config *out, struct error *err)
{
    const json_t *full = json_object_get(*rope, "full_attention");
    const json_t *local = json_object_get(*rope, "sliding_attention");
    const char *type;
    TRY(hf_opt_float(root, where, "rope_local_base_freq", arch->default_local_theta,
                     &out->rope_local_theta, err));
    if (json_is_object(local)) {
        TRY(hf_opt_float(local, where, "rope_theta", (double)out->rope_local_theta,
                         &out->rope_local_theta, err));
        TRY(json_opt_string(local, where, "rope_type", "default", &type, err));
        if (!str_equal(type, "default"))
            return FAIL(err, ERR_UNSUPPORTED,
                        "%s: rope_parameters: sliding_attention: rope_type '%.32s' is not "
                        "supported (default is)",
                        where, type);
    }
    if (full || local)
        *rope = json_is_object(full) ? full : NULL;
    return OK;
}

enum status hf_rope(const json_t *root, const char *where, const struct hf_arch *arch,
                    struct model_config *out, struct error *err)
{
    const json_t *rope;
    char place[512];
    double share = arch->default_rotary_share != 0 ? arch->default_rotary_share : 1;
    if (out->rope == ROPE_NONE || out->head_dim > MODEL_MAX_HEAD_DIM) // the latter is refused later
        return OK;
    TRY(read_share(root, where, arch, &share, err));
    TRY(hf_opt_float(root, where, "rope_theta",
                     arch->default_theta != 0 ? arch->default_theta : 10000, &out->rope_theta,
                     err));
    TRY(find_parameters(root, where, &rope, place, err));
    if (arch->default_local_theta != 0)
        TRY(read_local(root, where, arch, &rope, out, err));
    if (rope) {
        TRY(read_share(rope, place, arch, &share, err));
        TRY(hf_opt_float(rope, place, "rope_theta", (double)out->rope_theta, &out->rope_theta,
                         err));
    }
    out->rotary = (int)(out->head_dim * share);
    return rope ? read_scaling(root, rope, place, out, err) : OK;
}
