// methods.c - the table of quantization methods, and the keys of quantization_config that they share.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "engine/load/quantized/folder.h"

static const struct quant_method table[] = {
    {"awq", quantized_awq_configure},
    {"gptq", quantized_gptq_configure},
    {"fp8", quantized_fp8_configure},
    {"compressed-tensors", quantized_compressed_configure},
};
enum { METHOD_COUNT = sizeof table / sizeof *table };

static const struct quant_layout *const layouts[] = {&quantized_awq_layout, &quantized_gptq_layout,
                                                     &quantized_scaled_layout,
                                                     &quantized_packed_layout};
enum { LAYOUT_COUNT = sizeof layouts / sizeof *layouts };

enum status quantized_group_size(const json_t *q, const char *where, int *out, struct error *err)
{
    int64_t value;
    TRY(json_opt_i64(q, where, "group_size", -1, 1 << 20, -1, &value, err));
    if (value == 0)
        return FAIL(err, ERR_FORMAT, "%s: group_size: 0 is neither -1 nor a number of inputs",
                    where);
    *out = (int)value;
    return OK;
}

// ---- modules that are not quantized -------------------------------------------------------------------

static enum status read_plain(const json_t *q, const char *where, struct quantized *out,
                              struct error *err)
{
    static const char *const keys[] = {"modules_to_not_convert", "ignored_layers", "ignore"};
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const json_t *list = json_object_get(q, keys[k]), *name;
        size_t i;
        if (!list || json_is_null(list))
            continue;
        if (!json_is_array(list))
            return FAIL(err, ERR_FORMAT, "%s: %s: not a list", where, keys[k]);
        json_array_foreach(list, i, name)
        {
            if (!json_is_string(name))
                return FAIL(err, ERR_FORMAT, "%s: %s: not a list of names", where, keys[k]);
            str_append_plain(&out->plain, json_string_value(name), json_string_length(name));
            str_append(&out->plain, "\n");
        }
    }
    out->info.plain = str_text(&out->plain);
    return out->plain.failed ? FAIL(err, ERR_NOMEM, "%s: no memory", where) : OK;
}

static enum status read_config(const json_t *q, const char *where, struct quantized *out,
                               struct error *err)
{
    const char *name;
    if (!json_is_object(q))
        return FAIL(err, ERR_FORMAT, "%s: not an object", where);
    TRY(json_opt_string(q, where, "quant_method", "none", &name, err));
    for (int i = 0; i < METHOD_COUNT; i++)
        if (str_equal(table[i].name, name)) {
            snprintf(out->info.method, sizeof out->info.method, "%s", name);
            TRY(table[i].configure(q, where, &out->config, &out->info, err));
            out->info.bits = out->config.bits;
            out->info.group = out->config.group > 0 ? out->config.group : 0;
            out->info.zero_points = !out->config.symmetric;
            return read_plain(q, where, out, err);
        }
    return FAIL(err, ERR_UNSUPPORTED,
                "%s: quant_method: '%.64s' is not supported (awq, gptq, fp8 and "
                "compressed-tensors are)",
                where, name);
}

enum status quantized_create(const json_t *q, const char *path, struct quantized **out,
                             struct error *err)
{
    char where[512];
    snprintf(where, sizeof where, "%.400s: quantization_config", path);
    *out = calloc(1, sizeof **out);
    if (*out)
        (*out)->index = json_object();
    if (!*out || !(*out)->index) {
        quantized_destroy(*out);
        *out = NULL;
        return FAIL(err, ERR_NOMEM, "%s: no memory", where);
    }
    enum status status = read_config(q, where, *out, err);
    if (status != OK) {
        quantized_destroy(*out);
        *out = NULL;
    }
    return status;
}

void quantized_destroy(struct quantized *q)
{
    if (!q)
        return;
    for (size_t i = 0; i < q->count; i++) {
        free(q->linears[i]->name);
        free(q->linears[i]);
    }
    free(q->linears);
    json_decref(q->index);
    str_fini(&q->plain);
    free(q);
}

const struct checkpoint_quantization *quantized_info(const struct quantized *q)
{
    return &q->info;
}

// ---- names of parts -----------------------------------------------------------------------------------

// The bytes of `name` before `suffix`; 0: it ends otherwise, or has nothing before it.
static size_t stem_of(const char *name, const char *suffix)
{
    size_t n = strlen(name), m = suffix ? strlen(suffix) : 0;
    return m && n > m && strcmp(name + n - m, suffix) == 0 ? n - m : 0;
}

size_t quantized_layout_part(const struct quant_layout *layout, const char *name,
                             enum part_role *role)
{
    for (int i = 0; i < PART_ROLES; i++) {
        size_t stem = stem_of(name, layout->suffix[i]);
        *role = (enum part_role)i;
        if (stem)
            return stem;
    }
    return 0;
}

bool quantized_name(const char *tensor)
{
    enum part_role role;
    for (int i = 0; i < LAYOUT_COUNT; i++)
        if (quantized_layout_part(layouts[i], tensor, &role) && role < PART_BIAS &&
            !stem_of(tensor, ".weight"))
            return true;
    return false;
}
