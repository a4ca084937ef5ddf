// spellings.c - settings that config.json can spell in two ways.
//
// transformers renamed keys over the years and reads old and new ones; edited files can have both. Equal values are
// fine. If they differ, the file is refused with the names of both keys. Where the reference has a precedence that
// loses nothing, that key is used and a remark records it. rope.c decides RoPE's own keys, config.c windows. Reference:
// transformers 5.24, configuration_utils.py and the configuration of each model.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/load/hf/hf.h"

static const struct {
    const char *arch; // NULL: all
    const char *keys; // "a|b"
} twins[] = {
    {NULL, "quantization_config|compression_config"},
    {"mixtral", "num_local_experts|num_experts"},
    {"gemma2", "hidden_activation|hidden_act"},
    {"gemma3_text", "hidden_activation|hidden_act"},
};

static const json_t *given(const json_t *root, const char *key)
{
    const json_t *value = json_object_get(root, key);
    return json_is_null(value) ? NULL : value;
}

// 64 and 64.0 are one number.
static bool same(const json_t *a, const json_t *b)
{
    if (json_is_number(a) && json_is_number(b))
        return json_number_value(a) >= json_number_value(b) &&
               json_number_value(a) <= json_number_value(b);
    return json_equal(a, b) != 0;
}

static void show(const json_t *value, char out[48])
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);
    snprintf(out, 48, "%.40s%s", text ? text : "?", text && strlen(text) > 40 ? "..." : "");
    free(text);
}

// Those of the keys "a|b|c" that the file has must have the same value.
static enum status agree(const json_t *root, const char *where, const char *keys, struct error *err)
{
    const json_t *first = NULL;
    char name[64], first_name[64] = "", a[48], b[48];
    for (const char *at = keys; at && *at;) {
        size_t length = strcspn(at, "|");
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        const json_t *value = given(root, name);
        if (value && !first) {
            first = value;
            snprintf(first_name, sizeof first_name, "%s", name);
        } else if (value && !same(first, value)) {
            show(first, a);
            show(value, b);
            return FAIL(err, ERR_FORMAT,
                        "%s: %s is %s and %s is %s: two spellings of one setting that contradict "
                        "each other",
                        where, first_name, a, name, b);
        }
        at += length + (at[length] == '|');
    }
    return OK;
}

enum status hf_spellings_agree(const json_t *root, const char *where, const struct hf_arch *arch,
                               struct error *err)
{
    const char *const keys[] = {arch->width, arch->layers,    arch->heads, arch->kv_heads,
                                arch->ff,    arch->positions, arch->eps,   arch->activation};
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        TRY(agree(root, where, keys[i], err));
    for (size_t i = 0; i < sizeof twins / sizeof *twins; i++)
        if (!twins[i].arch || str_equal(twins[i].arch, arch->name))
            TRY(agree(root, where, twins[i].keys, err));
    return OK;
}

const json_t *hf_quantization(const json_t *root)
{
    const json_t *config = given(root, "quantization_config");
    return config ? config : given(root, "compression_config");
}

// ---- remarks ----------------------------------------------------------------------------------------

static void remark_ends(const json_t *root, const char *file, struct str *out)
{
    const json_t *ends = given(root, "eos_token_id");
    char text[48];
    show(ends, text);
    if (json_array_size(ends) > 1)
        str_printf(out, "%s: eos_token_id lists %s: the first is kept, and nothing stops at it\n",
                   file, text);
}

// RoPE's own values may be next to its object and inside it; the inner one takes precedence.
static void remark_next_to(const json_t *root, const char *outer_key, const json_t *rope,
                           const char *key, const char *where, struct str *out)
{
    const json_t *outer = given(root, outer_key), *inner = given(rope, key);
    char a[48], b[48];
    if (!outer || !inner || same(outer, inner))
        return;
    show(inner, a);
    show(outer, b);
    str_printf(out, "%s is %s in %s and counts: %s %s next to it does not\n", key, a, where,
               str_equal(key, outer_key) ? "the" : outer_key, b);
}

static void remark_inner(const json_t *root, struct str *out)
{
    const char *key;
    const json_t *rope = hf_rope_object(root, &key);
    const json_t *full = given(rope, "full_attention"), *local = given(rope, "sliding_attention");
    char a[48], b[48];
    remark_next_to(root, "rope_theta", rope, "rope_theta", key, out);
    remark_next_to(root, "partial_rotary_factor", rope, "partial_rotary_factor", key, out);
    remark_next_to(root, "rope_theta", full, "rope_theta", "full_attention", out);
    remark_next_to(root, "rope_local_base_freq", local, "rope_theta", "sliding_attention", out);
    const json_t *type = given(rope, "rope_type"), *older = given(rope, "type");
    if (type && older && !same(type, older)) {
        show(type, a);
        show(older, b);
        str_printf(out, "rope_type is %s in %s and counts: its older name type, %s, does not\n", a,
                   key, b);
    }
}

void hf_remarks(const json_t *root, const json_t *generation, struct str *out)
{
    const json_t *dtype = given(root, "dtype"), *older = given(root, "torch_dtype");
    const json_t *scaling = given(root, "rope_scaling");
    const json_t *parameters = given(root, "rope_parameters");
    const json_t *ends = given(generation, "eos_token_id");
    char a[48], b[48];
    if (json_object_size(scaling) && json_object_size(parameters) && !same(scaling, parameters))
        str_append(out, "rope_scaling counts where it differs from rope_parameters, as in "
                        "transformers\n");
    remark_inner(root, out);
    if (dtype && older && !same(dtype, older)) {
        show(dtype, a);
        show(older, b);
        str_printf(out, "dtype is %s and torch_dtype %s: tensors keep the types they have\n", a, b);
    }
    remark_ends(root, "config.json", out);
    if (ends && !same(ends, given(root, "eos_token_id"))) {
        show(ends, a);
        str_printf(
            out, "generation_config.json: eos_token_id is %s: not used, config.json's counts\n", a);
    }
}
