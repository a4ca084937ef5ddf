// rope.c - RoPE in config.json: theta, the share of a head that rotates, and the scaling.
//
// transformers 4 has rope_theta and rope_scaling, transformers 5 rope_parameters. If a file has both, rope_scaling
// takes precedence. A rope_theta inside the object takes precedence over the one next to it. Then transformers drops a
// rope_theta or share that only rope_parameters has. This engine refuses such a file. Defaults and the formula of the
// attention factor are those of transformers' modeling_rope_utils.py.
#include <math.h>
#include <stdio.h>

#include "base/json.h"
#include "base/str.h"
#include "engine/load/hf/hf.h"

// The original positions may be inside the object and next to it. phi3 uses the latter. For the others versions of
// transformers differ, so the two must agree.
static enum status read_original(const json_t *root, const json_t *rope, const char *where,
                                 struct model_config *out, struct error *err)
{
    static const char key[] = "original_max_position_embeddings";
    const struct hf_arch *arch = hf_arch_find(out->arch);
    int inner, outer;
    const json_t *inside = json_object_get(rope, key), *next_to = json_object_get(root, key);
    out->rope_original_assumed = !arch->default_original && (!inside || json_is_null(inside)) &&
                                 (!next_to || json_is_null(next_to));
    TRY(hf_opt_int(rope, where, key, out->max_positions, &inner, err));
    TRY(hf_opt_int(root, where, key, arch->default_original ? arch->default_original : inner,
                   &outer, err));
    if (outer != inner && !arch->default_original)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: %s is %d here and %d next to it: versions of transformers differ in which "
                    "counts",
                    where, key, inner, outer);
    if (outer < 1)
        return FAIL(err, ERR_FORMAT, "%s: %s: not positive", where, key);
    out->rope_original_positions = outer;
    return OK;
}

static enum status read_llama3(const json_t *root, const json_t *rope, const char *where,
                               struct model_config *out, struct error *err)
{
    out->rope_scaling = ROPE_SCALE_LLAMA3;
    TRY(hf_get_float(rope, where, "factor", &out->rope_factor, err));
    TRY(hf_get_float(rope, where, "low_freq_factor", &out->rope_low_freq, err));
    TRY(hf_get_float(rope, where, "high_freq_factor", &out->rope_high_freq, err));
    return read_original(root, rope, where, out, err);
}

// The default factor is the ratio of the positions.
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

static enum status read_yarn(const json_t *root, const json_t *rope, const char *where,
                             struct model_config *out, struct error *err)
{
    float mscale, all_dims;
    bool truncate;
    out->rope_scaling = ROPE_SCALE_YARN;
    TRY(read_original(root, rope, where, out, err));
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

static enum status read_longrope(const json_t *root, const json_t *rope, const char *where,
                                 struct model_config *out, struct error *err)
{
    out->rope_scaling = ROPE_SCALE_LONGROPE;
    TRY(read_original(root, rope, where, out, err));
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
        return read_llama3(root, rope, where, out, err);
    if (str_equal(type, "yarn"))
        return read_yarn(root, rope, where, out, err);
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

const json_t *hf_rope_object(const json_t *root, const char **key)
{
    const json_t *scaling = json_object_get(root, "rope_scaling");
    bool empty = json_is_object(scaling) && json_object_size(scaling) == 0;
    if (scaling && !json_is_null(scaling) && !empty) {
        *key = "rope_scaling";
        return scaling;
    }
    const json_t *parameters = json_object_get(root, *key = "rope_parameters");
    return json_is_null(parameters) ? NULL : parameters;
}

static enum status find_parameters(const json_t *root, const char *where, const json_t **out,
                                   char place[512], struct error *err)
{
    const char *key;
    const json_t *parameters = json_object_get(root, "rope_parameters");
    *out = NULL;
    if (parameters && !json_is_null(parameters) && !json_is_object(parameters))
        return FAIL(err, ERR_FORMAT, "%s: rope_parameters: not an object", where);
    *out = hf_rope_object(root, &key);
    snprintf(place, 512, "%.450s: %s", where, key);
    if (*out && !json_is_object(*out))
        return FAIL(err, ERR_FORMAT, "%s: not an object", place);
    return OK;
}

// Refuses a theta or share that only rope_parameters has when rope_scaling counts.
static enum status check_unused(const json_t *root, const char *where, const json_t *used,
                                double theta, double share, struct error *err)
{
    const struct {
        const char *key;
        double value;
    } fields[] = {{"rope_theta", theta}, {"partial_rotary_factor", share}};
    const json_t *other = json_object_get(root, "rope_parameters");
    for (size_t i = 0; i < sizeof fields / sizeof *fields && other != used; i++) {
        const json_t *value = json_object_get(other, fields[i].key);
        if (json_is_number(value) && fabs(json_number_value(value) / fields[i].value - 1) > 1e-6)
            return FAIL(err, ERR_FORMAT,
                        "%s: %s is %g in rope_parameters, but rope_scaling is there too and "
                        "takes precedence, with %g: set it in rope_scaling",
                        where, fields[i].key, json_number_value(value), fields[i].value);
    }
    return OK;
}

// In gemma 3, layers with a window rotate by a theta of their own. transformers 5 has an object for each kind of layer;
// earlier versions had a key for this theta.
static enum status read_local(const json_t *root, const char *where, const struct hf_arch *arch,
                              struct model_config *out, struct error *err)
{
    const json_t *rope = json_object_get(root, "rope_parameters");
    const json_t *local = json_object_get(rope, "sliding_attention");
    const char *type;
    TRY(hf_opt_float(root, where, "rope_local_base_freq", arch->default_local_theta,
                     &out->rope_local_theta, err));
    if (json_object_size(rope) && !local && !json_object_get(rope, "full_attention"))
        return FAIL(err, ERR_FORMAT,
                    "%s: rope_parameters: holds neither full_attention nor sliding_attention",
                    where);
    if (!json_is_object(local))
        return OK;
    TRY(hf_opt_float(local, where, "rope_theta", (double)out->rope_local_theta,
                     &out->rope_local_theta, err));
    TRY(json_opt_string(local, where, "rope_type", "default", &type, err));
    if (!str_equal(type, "default"))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: rope_parameters: sliding_attention: rope_type '%.32s' is not supported "
                    "(default is)",
                    where, type);
    return OK;
}

// gemma 3's parameters of the layers without a window, overridden by rope_scaling. The caller json_decref's.
static json_t *full_object(const json_t *root)
{
    json_t *all = json_object_get(root, "rope_parameters");
    json_t *full = json_object_get(all, "full_attention");
    json_t *scaling = json_object_get(root, "rope_scaling"), *out = json_object();
    if (json_is_object(full))
        json_object_update(out, full);
    if (json_is_object(scaling))
        json_object_update(out, scaling);
    return out;
}

static enum status read_object(const json_t *root, const char *where, const json_t *rope,
                               const char *place, const struct hf_arch *arch,
                               struct model_config *out, struct error *err)
{
    double share = arch->default_rotary_share != 0 ? arch->default_rotary_share : 1;
    TRY(read_share(root, where, arch, &share, err));
    TRY(hf_opt_float(root, where, "rope_theta",
                     arch->default_theta != 0 ? arch->default_theta : 10000, &out->rope_theta,
                     err));
    if (rope &&
        (json_object_get(rope, "full_attention") || json_object_get(rope, "sliding_attention")))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: full_attention, sliding_attention: not supported here for %s", place,
                    arch->name);
    if (rope) {
        TRY(read_share(rope, place, arch, &share, err));
        TRY(hf_opt_float(rope, place, "rope_theta", (double)out->rope_theta, &out->rope_theta,
                         err));
    }
    if (arch->default_local_theta == 0)
        TRY(check_unused(root, where, rope, (double)out->rope_theta, share, err));
    out->rotary = (int)(out->head_dim * share);
    return rope ? read_scaling(root, rope, place, out, err) : OK;
}

enum status hf_rope(const json_t *root, const char *where, const struct hf_arch *arch,
                    struct model_config *out, struct error *err)
{
    const json_t *rope;
    char place[512];
    if (out->rope == ROPE_NONE || out->head_dim > MODEL_MAX_HEAD_DIM) // the latter is refused later
        return OK;
    TRY(find_parameters(root, where, &rope, place, err));
    if (arch->default_local_theta == 0)
        return read_object(root, where, rope, place, arch, out, err);
    TRY(read_local(root, where, arch, out, err));
    json_t *full = full_object(root);
    enum status status = read_object(root, where, full, place, arch, out, err);
    json_decref(full);
    return status;
}
