// config.c - config.json of a Hugging Face folder to struct model_config.
//
// Both spellings of RoPE are read: transformers 4 (rope_theta, rope_scaling) and transformers 5
// (rope_parameters). What this engine would compute differently from transformers is refused, never
// ignored. Defaults are those of transformers' configuration classes.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "engine/load/parse.h"
#include "engine/model/arch.h"

enum { CONFIG_MAX_BYTES = 1 << 20 };

static enum status get_int(const json_t *root, const char *where, const char *key, int *out,
                           struct error *err)
{
    int64_t value;
    TRY(json_get_i64(root, where, key, 1, INT_MAX, &value, err));
    *out = (int)value;
    return OK;
}

static enum status opt_int(const json_t *root, const char *where, const char *key, int fallback,
                           int *out, struct error *err)
{
    int64_t value;
    TRY(json_opt_i64(root, where, key, 0, INT_MAX, fallback, &value, err));
    *out = (int)value;
    return OK;
}

static enum status opt_float(const json_t *root, const char *where, const char *key,
                             double fallback, float *out, struct error *err)
{
    double value;
    TRY(json_opt_f64(root, where, key, fallback, &value, err));
    *out = (float)value;
    return OK;
}

static enum status get_float(const json_t *root, const char *where, const char *key, float *out,
                             struct error *err)
{
    double value;
    TRY(json_get_f64(root, where, key, &value, err));
    *out = (float)value;
    return OK;
}

// A number, the first of a list of numbers, or null.
static enum status get_token(const json_t *root, const char *where, const char *key, int32_t *out,
                             struct error *err)
{
    const json_t *value = json_object_get(root, key);
    if (json_is_array(value))
        value = json_array_get(value, 0); // NULL when it is empty
    *out = -1;
    if (!value || json_is_null(value))
        return OK;
    if (!json_is_integer(value) || json_integer_value(value) < 0 ||
        json_integer_value(value) > INT32_MAX)
        return FAIL(err, ERR_FORMAT, "%s: %s: not a token id", where, key);
    *out = (int32_t)json_integer_value(value);
    return OK;
}

static enum status refuse_true(const json_t *root, const char *where, const char *key,
                               const char *what, struct error *err)
{
    bool value;
    TRY(json_opt_bool(root, where, key, false, &value, err));
    if (value)
        return FAIL(err, ERR_UNSUPPORTED, "%s: %s: %s not supported", where, key, what);
    return OK;
}

static enum status read_rope_scaling(const json_t *rope, const char *where,
                                     struct model_config *out, struct error *err)
{
    const char *type, *older;
    TRY(json_opt_string(rope, where, "type", "default", &older, err));
    TRY(json_opt_string(rope, where, "rope_type", older, &type, err));
    if (str_equal(type, "default"))
        return OK;
    if (!str_equal(type, "linear") && !str_equal(type, "llama3"))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: rope_type '%s' is not supported (default, linear and llama3 are)", where,
                    type);
    TRY(get_float(rope, where, "factor", &out->rope_factor, err));
    out->rope_scaling = ROPE_SCALE_LINEAR;
    if (str_equal(type, "linear"))
        return OK;
    out->rope_scaling = ROPE_SCALE_LLAMA3;
    TRY(get_float(rope, where, "low_freq_factor", &out->rope_low_freq, err));
    TRY(get_float(rope, where, "high_freq_factor", &out->rope_high_freq, err));
    return get_int(rope, where, "original_max_position_embeddings", &out->rope_original_positions,
                   err);
}

static enum status refuse_partial_rope(const json_t *object, const char *where, struct error *err)
{
    double share;
    TRY(json_opt_f64(object, where, "partial_rotary_factor", 1, &share, err));
    if (share != 1)
        return FAIL(err, ERR_UNSUPPORTED, "%s: partial_rotary_factor: %g is not supported, only 1",
                    where, share);
    return OK;
}

static enum status read_rope(const json_t *root, const char *where, struct model_config *out,
                             struct error *err)
{
    static const char *const keys[] = {"rope_parameters", "rope_scaling"};
    TRY(refuse_partial_rope(root, where, err));
    TRY(opt_float(root, where, "rope_theta", 10000, &out->rope_theta, err));
    for (int i = 0; i < 2; i++) {
        const json_t *rope = json_object_get(root, keys[i]);
        if (!rope || json_is_null(rope))
            continue;
        char place[512];
        snprintf(place, sizeof place, "%s: %s", where, keys[i]);
        if (!json_is_object(rope))
            return FAIL(err, ERR_FORMAT, "%s: not an object", place);
        TRY(refuse_partial_rope(rope, place, err));
        TRY(opt_float(rope, place, "rope_theta", (double)out->rope_theta, &out->rope_theta, err));
        return read_rope_scaling(rope, place, out, err);
    }
    return OK;
}

// One window for all layers or none: what transformers' layer_types and max_window_layers amount to.
static enum status read_window(const json_t *root, const char *where, const struct arch *arch,
                               struct model_config *out, struct error *err)
{
    if (!arch->windowed)
        return OK;
    bool use;
    int window, first = 0;
    TRY(json_opt_bool(root, where, "use_sliding_window", arch->window_by_default, &use, err));
    TRY(opt_int(root, where, "sliding_window", 0, &window, err));
    if (!arch->window_by_default)
        TRY(opt_int(root, where, "max_window_layers", 28, &first, err));
    const json_t *types = json_object_get(root, "layer_types");
    int windowed = first < out->layers ? out->layers - first : 0;
    if (json_is_array(types)) {
        size_t i;
        const json_t *type;
        windowed = 0;
        json_array_foreach(types, i, type) windowed +=
            str_equal(json_string_value(type), "sliding_attention");
    }
    if (!use || !window || !windowed)
        return OK;
    if (windowed != out->layers)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: sliding_window: a window in %d of %d layers is not supported", where,
                    windowed, out->layers);
    out->window = window;
    return OK;
}

static enum status read_dimensions(const json_t *root, const char *where, const struct arch *arch,
                                   struct model_config *out, struct error *err)
{
    TRY(get_int(root, where, "hidden_size", &out->width, err));
    TRY(get_int(root, where, "num_hidden_layers", &out->layers, err));
    TRY(get_int(root, where, "num_attention_heads", &out->heads, err));
    TRY(get_int(root, where, "intermediate_size", &out->ff, err));
    TRY(get_int(root, where, "vocab_size", &out->vocab, err));
    TRY(get_int(root, where, "max_position_embeddings", &out->max_positions, err));
    int kv = arch->default_kv_heads ? arch->default_kv_heads : out->heads;
    if (json_is_null(json_object_get(root, "num_key_value_heads")))
        kv = out->heads;
    TRY(opt_int(root, where, "num_key_value_heads", kv, &out->kv_heads, err));
    TRY(opt_int(root, where, "head_dim", 0, &out->head_dim, err));
    if (out->head_dim == 0 && out->width % out->heads)
        return FAIL(err, ERR_FORMAT,
                    "%s: hidden_size: %d is no multiple of num_attention_heads %d, and there is no "
                    "head_dim",
                    where, out->width, out->heads);
    if (out->head_dim == 0)
        out->head_dim = out->width / out->heads;
    out->rotary = out->head_dim;
    return opt_float(root, where, "rms_norm_eps", 1e-6, &out->norm_eps, err);
}

static enum status read_arch(const json_t *root, const char *where, const struct arch **arch,
                             struct error *err)
{
    const char *type, *act;
    char known[128];
    TRY(json_get_string(root, where, "model_type", &type, err));
    *arch = arch_find(type);
    if (!*arch)
        return FAIL(err, ERR_UNSUPPORTED, "%s: model_type: '%.64s' is not supported (%s are)",
                    where, type, arch_names(known, sizeof known));
    TRY(json_opt_string(root, where, "hidden_act", "silu", &act, err));
    if (!str_equal(act, "silu") && !str_equal(act, "swish"))
        return FAIL(err, ERR_UNSUPPORTED, "%s: hidden_act: '%.64s' is not supported (silu is)",
                    where, act);
    const json_t *quant = json_object_get(root, "quantization_config");
    if (quant && !json_is_null(quant))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: quantization_config: quantized checkpoints are not supported", where);
    if (!(*arch)->qkv_bias)
        TRY(refuse_true(root, where, "attention_bias", "a bias of the attention's output is", err));
    return refuse_true(root, where, "mlp_bias", "biases of the feed-forward products are", err);
}

enum status model_config_from_json(const json_t *root, const char *where, struct model_config *out,
                                   struct error *err)
{
    const struct arch *arch;
    memset(out, 0, sizeof *out);
    if (!json_is_object(root))
        return FAIL(err, ERR_FORMAT, "%s: not a JSON object", where);
    TRY(read_arch(root, where, &arch, err));
    snprintf(out->arch, sizeof out->arch, "%s", arch->name);
    out->rope = arch->rope;
    out->qkv_bias = arch->qkv_bias;
    TRY(read_dimensions(root, where, arch, out, err));
    TRY(read_rope(root, where, out, err));
    TRY(read_window(root, where, arch, out, err));
    TRY(json_opt_bool(root, where, "tie_word_embeddings", false, &out->tied, err));
    TRY(get_token(root, where, "bos_token_id", &out->bos, err));
    TRY(get_token(root, where, "eos_token_id", &out->eos, err));
    return model_config_check(out, where, err);
}

// The last part of path[0..*end): its beginning; *end moves before slashes that trail it.
static const char *last_part(const char *path, const char **end)
{
    while (*end > path && (*end)[-1] == '/')
        (*end)--;
    const char *base = *end;
    while (base > path && base[-1] != '/')
        base--;
    return base;
}

void model_name_from_path(const char *path, char out[MODEL_NAME_BYTES])
{
    const char *end = path + strlen(path), *base = last_part(path, &end);
    size_t length = (size_t)(end - base);
    bool generic = (length == 11 && memcmp(base, "config.json", 11) == 0) ||
                   (length == 10 && memcmp(base, "model.gguf", 10) == 0);
    if (generic && base > path) {
        end = base;
        base = last_part(path, &end);
    } else if (length > 5 &&
               (memcmp(end - 5, ".json", 5) == 0 || memcmp(end - 5, ".gguf", 5) == 0)) {
        end -= 5;
    }
    snprintf(out, MODEL_NAME_BYTES, "%.*s", (int)(end - base), base);
}

enum status model_config_read(const char *path, struct model_config *out, struct error *err)
{
    json_t *root = NULL;
    TRY(json_read(path, CONFIG_MAX_BYTES, &root, err));
    enum status status = model_config_from_json(root, path, out, err);
    json_decref(root);
    model_name_from_path(path, out->name);
    return status;
}
