// config.c - parses config.json of a Hugging Face folder into struct model_config, by the rows of hf/arch.c.
//
// A setting that this engine would compute differently from transformers is refused, never ignored.
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "base/str.h"
#include "engine/load/hf/hf.h"
#include "engine/model/arch.h"

enum { CONFIG_MAX_BYTES = 1 << 20 };

// A number, the first of a list of numbers, or null. An id beyond the vocabulary can never be generated and counts as
// none: configurations of small models keep the ids of large ones, and transformers only warns.
static enum status get_token(const json_t *root, const char *where, const char *key, int vocab,
                             int32_t *out, struct error *err)
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
    if (json_integer_value(value) < vocab)
        *out = (int32_t)json_integer_value(value);
    return OK;
}

// ---- the description ------------------------------------------------------------------------------

// The activations of transformers' table that this engine computes.
static enum status activation_of(const char *where, const char *key, const char *name,
                                 enum activation *out, struct error *err)
{
    static const struct {
        const char *name;
        enum activation activation;
    } known[] = {{"silu", ACT_SILU},
                 {"swish", ACT_SILU},
                 {"gelu", ACT_GELU},
                 {"gelu_python", ACT_GELU},
                 {"gelu_new", ACT_GELU_TANH},
                 {"gelu_fast", ACT_GELU_TANH},
                 {"gelu_pytorch_tanh", ACT_GELU_TANH},
                 {"gelu_accurate", ACT_GELU_TANH},
                 {"relu", ACT_RELU}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (str_equal(known[i].name, name)) {
            *out = known[i].activation;
            return OK;
        }
    return FAIL(
        err, ERR_UNSUPPORTED,
        "%s: %s: '%.64s' is not supported (silu, gelu, gelu_new, gelu_pytorch_tanh and relu "
        "are)",
        where, key, name);
}

static enum status read_activation(const json_t *root, const char *where,
                                   const struct hf_arch *arch, struct model_config *out,
                                   struct error *err)
{
    const char *name;
    if (!arch->activation)
        return OK;
    TRY(json_opt_string(root, where, arch->activation, "", &name, err));
    return *name ? activation_of(where, arch->activation, name, &out->activation, err) : OK;
}

// Refuses other kinds of attention.
static enum status check_layer_types(const json_t *types, const char *where, struct error *err)
{
    size_t i;
    const json_t *type;
    if (types && !json_is_null(types) && !json_is_array(types))
        return FAIL(err, ERR_FORMAT, "%s: layer_types: not a list", where);
    json_array_foreach(types, i, type)
    {
        const char *name = json_string_value(type);
        if (!str_equal(name, "full_attention") && !str_equal(name, "sliding_attention"))
            return FAIL(err, ERR_UNSUPPORTED,
                        "%s: layer_types: %zu: '%.64s' is not supported (full_attention and "
                        "sliding_attention are)",
                        where, i, name ? name : "no name");
    }
    return OK;
}

// The window by the settings; 0: none. *why: the key that decides it.
static enum status window_size(const json_t *root, const char *where, const struct hf_arch *arch,
                               int *out, const char **why, struct error *err)
{
    bool use, named = json_is_boolean(json_object_get(root, "use_sliding_window"));
    *out = 0;
    *why = arch->window;
    if (json_is_null(json_object_get(root, arch->window)))
        return OK;
    TRY(json_opt_bool(root, where, "use_sliding_window", arch->window_by_default, &use, err));
    TRY(hf_opt_int(root, where, arch->window, arch->default_window, out, err));
    if (use || *out == 0)
        return OK;
    if (arch->window_by_default && named)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: use_sliding_window is false and %s is %d: transformers has no such key "
                    "for %s and uses the window; set %s to null",
                    where, arch->window, *out, arch->name, arch->window);
    *why = "use_sliding_window";
    *out = 0;
    return OK;
}

// layer_types must agree with the keys that switch windows on, as transformers reads them.
static enum status check_types_agree(const json_t *types, const char *where,
                                     const struct hf_arch *arch, int window, const char *why,
                                     struct error *err)
{
    size_t i;
    const json_t *type;
    json_array_foreach(types, i, type)
    {
        bool windowed = str_equal(json_string_value(type), "sliding_attention");
        if (windowed && window == 0)
            return FAIL(err, ERR_FORMAT,
                        "%s: layer_types: %zu is sliding_attention, but %s says that there is no "
                        "window",
                        where, i, why);
        if (!windowed && window && !arch->layer_types)
            return FAIL(err, ERR_UNSUPPORTED,
                        "%s: layer_types: %zu is full_attention, but %s gives all layers of %s a "
                        "window, in transformers too",
                        where, i, why, arch->name);
    }
    return OK;
}

// The layers with a window are those that layer_types names, else those of the row's rule.
static enum status mark_layers(const json_t *root, const char *where, const struct hf_arch *arch,
                               int window, struct model_config *out, struct error *err)
{
    int every = arch->full_every, first = 0, windowed = 0;
    const json_t *types = json_object_get(root, "layer_types");
    bool listed = json_is_array(types);
    if (arch->full_every_key)
        TRY(hf_opt_int(root, where, arch->full_every_key, every, &every, err));
    if (arch->full_every && every < 1)
        return FAIL(err, ERR_FORMAT, "%s: %s: not positive", where, arch->full_every_key);
    if (!arch->window_by_default)
        TRY(hf_opt_int(root, where, "max_window_layers", 28, &first, err));
    if (listed && json_array_size(types) != (size_t)out->layers)
        return FAIL(err, ERR_FORMAT, "%s: layer_types: names %zu of %d layers", where,
                    json_array_size(types), out->layers);
    for (int i = 0; i < out->layers && i < MODEL_MAX_LAYERS; i++) {
        const char *type = json_string_value(json_array_get(types, (size_t)i));
        bool full = listed  ? !str_equal(type, "sliding_attention")
                    : every ? (i + 1) % every == 0
                            : i < first;
        if (full)
            out->full_layers[i / 64] |= UINT64_C(1) << (i % 64);
        else
            windowed++;
    }
    if (windowed)
        out->window = window;
    else
        memset(out->full_layers, 0, sizeof out->full_layers);
    return OK;
}

static enum status read_window(const json_t *root, const char *where, const struct hf_arch *arch,
                               struct model_config *out, struct error *err)
{
    int window;
    const char *why;
    const json_t *types = json_object_get(root, "layer_types");
    if (!arch->window)
        return OK;
    TRY(check_layer_types(types, where, err));
    TRY(window_size(root, where, arch, &window, &why, err));
    TRY(check_types_agree(types, where, arch, window, why, err));
    if (window == 0)
        return OK;
    if (arch->layer_types_only && !json_is_array(types))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: use_sliding_window without layer_types is not supported: versions of "
                    "transformers differ in the layers that get the window",
                    where);
    return mark_layers(root, where, arch, window, out, err);
}

static enum status read_heads(const json_t *root, const char *where, const struct hf_arch *arch,
                              struct model_config *out, struct error *err)
{
    char name[64];
    TRY(hf_get_int(root, where, arch->heads, &out->heads, err));
    out->kv_heads = out->heads;
    if (arch->kv_heads) {
        // null means as many as heads; a missing key means the class's default
        bool given = json_object_get(root, hf_key(root, arch->kv_heads, name)) != NULL;
        int fallback = given || !arch->default_kv_heads ? out->heads : arch->default_kv_heads;
        TRY(hf_opt_int(root, where, arch->kv_heads, fallback, &out->kv_heads, err));
    }
    if (arch->head_dim)
        TRY(hf_opt_int(root, where, arch->head_dim, arch->default_head_dim, &out->head_dim, err));
    if (out->head_dim == 0 && out->width % out->heads)
        return FAIL(err, ERR_FORMAT, "%s: %s: %d is no multiple of %s %d, and there is no head_dim",
                    where, hf_key(root, arch->width, (char[64]){0}), out->width,
                    hf_key(root, arch->heads, name), out->heads);
    if (out->head_dim == 0)
        out->head_dim = out->width / out->heads;
    return OK;
}

static enum status read_dimensions(const json_t *root, const char *where,
                                   const struct hf_arch *arch, struct model_config *out,
                                   struct error *err)
{
    TRY(hf_get_int(root, where, arch->width, &out->width, err));
    TRY(hf_get_int(root, where, arch->layers, &out->layers, err));
    TRY(hf_get_int(root, where, "vocab_size", &out->vocab, err));
    TRY(read_heads(root, where, arch, out, err));
    if (out->width <= INT_MAX / 64 && arch->ff_times)
        out->ff = arch->ff_times * out->width;
    if (arch->ff && arch->ff_times)
        TRY(hf_opt_int(root, where, arch->ff, out->ff, &out->ff, err));
    else if (arch->ff)
        TRY(hf_get_int(root, where, arch->ff, &out->ff, err));
    if (arch->default_positions)
        TRY(hf_opt_int(root, where, arch->positions, arch->default_positions, &out->max_positions,
                       err));
    else
        TRY(hf_get_int(root, where, arch->positions, &out->max_positions, err));
    return hf_opt_float(root, where, arch->eps, arch->default_eps != 0 ? arch->default_eps : 1e-6,
                        &out->norm_eps, err);
}

static enum status read_biases(const json_t *root, const char *where, const struct hf_arch *arch,
                               struct model_config *out, struct error *err)
{
    bool attention = false, ff = false;
    if (arch->attention_bias)
        TRY(json_opt_bool(root, where, arch->attention_bias, false, &attention, err));
    if (arch->ff_bias)
        TRY(json_opt_bool(root, where, arch->ff_bias, false, &ff, err));
    out->qkv_bias = out->qkv_bias || attention;
    out->o_bias = out->o_bias || attention;
    out->ff_bias = out->ff_bias || ff;
    return OK;
}

static enum status read_arch(const json_t *root, const char *where, const struct arch **arch,
                             const struct hf_arch **hf, struct error *err)
{
    const char *type;
    char known[ARCH_NAMES_BYTES];
    TRY(json_get_string(root, where, "model_type", &type, err));
    *arch = arch_find(type);
    *hf = hf_arch_find(type);
    if (!*arch || !*hf)
        return FAIL(err, ERR_UNSUPPORTED, "%s: model_type: '%.64s' is not supported (%s are)",
                    where, type, arch_names(known, sizeof known));
    return OK;
}

enum status model_config_from_json(const json_t *root, const char *where, struct model_config *out,
                                   struct error *err)
{
    const struct arch *arch;
    const struct hf_arch *hf;
    memset(out, 0, sizeof *out);
    if (!json_is_object(root))
        return FAIL(err, ERR_FORMAT, "%s: not a JSON object", where);
    TRY(read_arch(root, where, &arch, &hf, err));
    arch_start(arch, out);
    TRY(hf_spellings_agree(root, where, hf, err));
    TRY(read_dimensions(root, where, hf, out, err));
    TRY(read_activation(root, where, hf, out, err));
    TRY(read_biases(root, where, hf, out, err));
    if (hf->more)
        TRY(hf->more(root, where, out, err));
    TRY(hf_rope(root, where, hf, out, err));
    TRY(read_window(root, where, hf, out, err));
    TRY(json_opt_bool(root, where, "tie_word_embeddings", hf->tied, &out->tied, err));
    TRY(get_token(root, where, "bos_token_id", out->vocab, &out->bos, err));
    TRY(get_token(root, where, "eos_token_id", out->vocab, &out->eos, err));
    arch_finish(arch, out);
    return model_config_check(out, where, err);
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
