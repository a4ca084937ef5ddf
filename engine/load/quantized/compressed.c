// compressed.c - quantization_config of compressed-tensors: the layout, and the extent of a scale.
//
// Supports int-quantized and float-quantized of 8 bits, and pack-quantized of 4 and 8. All groups of the config must
// quantize weights alike; their settings for inputs are not used.
// Source: compressed-tensors, quantization/quant_args.py and quant_config.py.
#include <stdio.h>

#include "base/json.h"
#include "engine/load/quantized/layout.h"

static const char supported[] =
    "int-quantized and float-quantized of 8 bits and pack-quantized of 4 and 8 are";

static enum status read_strategy(const json_t *weights, const char *where,
                                 struct quant_config *config, struct error *err)
{
    static const char *const names[] = {[QUANT_TENSOR] = "tensor",
                                        [QUANT_CHANNEL] = "channel",
                                        [QUANT_GROUP_OF] = "group",
                                        [QUANT_BLOCK] = "block"};
    const char *name;
    TRY(quantized_group_size(weights, where, &config->group, err));
    TRY(json_opt_string(weights, where, "strategy", config->group > 0 ? "group" : "tensor", &name,
                        err));
    for (int i = QUANT_TENSOR; i <= QUANT_BLOCK; i++)
        if (str_equal(names[i], name)) {
            config->strategy = (enum quant_strategy)i;
            if (i == QUANT_GROUP_OF && config->group < 1)
                return FAIL(err, ERR_FORMAT, "%s: strategy group without a group_size", where);
            if (i != QUANT_BLOCK)
                return OK;
            const json_t *block = json_object_get(weights, "block_structure");
            json_int_t rows = json_integer_value(json_array_get(block, 0)),
                       cols = json_integer_value(json_array_get(block, 1));
            if (json_array_size(block) != 2 || rows < 1 || rows > 1 << 20 || cols < 1 ||
                cols > 1 << 20)
                return FAIL(err, ERR_FORMAT, "%s: block_structure: not two sizes", where);
            config->block_rows = (int)rows;
            config->group = (int)cols;
            return OK;
        }
    return FAIL(err, ERR_UNSUPPORTED,
                "%s: strategy '%.64s' is not supported (tensor, channel, group and block are)",
                where, name);
}

static enum status read_weights(const json_t *weights, const char *where,
                                struct quant_config *config, struct error *err)
{
    const char *type, *order;
    int64_t bits;
    bool dynamic;
    TRY(json_opt_i64(weights, where, "num_bits", 1, 32, 8, &bits, err));
    TRY(json_opt_string(weights, where, "type", "int", &type, err));
    if (!str_equal(type, "int") && !str_equal(type, "float"))
        return FAIL(err, ERR_UNSUPPORTED, "%s: type '%.64s' is not supported (int and float are)",
                    where, type);
    config->bits = (int)bits;
    config->is_float = str_equal(type, "float");
    TRY(json_opt_bool(weights, where, "symmetric", true, &config->symmetric, err));
    TRY(json_opt_bool(weights, where, "dynamic", false, &dynamic, err));
    if (dynamic)
        return FAIL(err, ERR_UNSUPPORTED, "%s: dynamic weights are not supported", where);
    const json_t *actorder = json_object_get(weights, "actorder");
    order = json_is_string(actorder) ? json_string_value(actorder) : "";
    config->act_order = json_is_true(actorder) || str_equal(order, "group");
    return read_strategy(weights, where, config, err);
}

static bool same(const struct quant_config *a, const struct quant_config *b)
{
    return a->bits == b->bits && a->strategy == b->strategy && a->group == b->group &&
           a->block_rows == b->block_rows && a->symmetric == b->symmetric &&
           a->act_order == b->act_order && a->is_float == b->is_float;
}

static enum status read_groups(const json_t *q, const char *where, struct quant_config *config,
                               struct error *err)
{
    json_t *groups = json_object_get(q, "config_groups"), *group;
    const char *name;
    bool first = true;
    if (!json_is_object(groups))
        return FAIL(err, ERR_FORMAT, "%s: config_groups: missing or not an object", where);
    json_object_foreach(groups, name, group)
    {
        char place[600];
        struct quant_config found = {0};
        const json_t *weights = json_object_get(group, "weights");
        snprintf(place, sizeof place, "%.450s: config_groups.%.64s.weights", where, name);
        if (!json_is_object(weights))
            return FAIL(err, ERR_FORMAT, "%s: missing or not an object", place);
        TRY(read_weights(weights, place, &found, err));
        if (!first && !same(&found, config))
            return FAIL(err, ERR_UNSUPPORTED,
                        "%s: differs from another group: checkpoints that mix schemes are not "
                        "supported",
                        place);
        *config = found;
        first = false;
    }
    return OK;
}

static enum status pick_layout(const char *format, const char *where, struct quant_config *c,
                               struct error *err)
{
    bool naive = str_equal(format, "naive-quantized"), eight = c->bits == 8;
    if (eight && !c->is_float && (naive || str_equal(format, "int-quantized")))
        c->layout = &quantized_scaled_layout;
    else if (eight && c->is_float && (naive || str_equal(format, "float-quantized")))
        c->layout = &quantized_scaled_layout;
    else if (!c->is_float && (eight || c->bits == 4) && str_equal(format, "pack-quantized") &&
             (c->strategy == QUANT_GROUP_OF || c->strategy == QUANT_CHANNEL))
        c->layout = &quantized_packed_layout;
    else
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: compressed-tensors format '%.64s' of %d-bit %s is not supported (%s)",
                    where, format, c->bits, c->is_float ? "floats" : "integers", supported);
    if (c->act_order && c->layout != &quantized_packed_layout)
        return FAIL(err, ERR_UNSUPPORTED, "%s: actorder is supported in pack-quantized alone",
                    where);
    return OK;
}

static void tell(const struct quant_config *c, const char *format,
                 struct checkpoint_quantization *info)
{
    char scales[64] = "one scale per tensor";
    if (c->strategy == QUANT_CHANNEL)
        snprintf(scales, sizeof scales, "one scale per row");
    else if (c->strategy == QUANT_GROUP_OF)
        snprintf(scales, sizeof scales, "groups of %d", c->group);
    else if (c->strategy == QUANT_BLOCK)
        snprintf(scales, sizeof scales, "a scale for each block of %dx%d", c->block_rows, c->group);
    snprintf(info->text, sizeof info->text, "compressed-tensors %.32s, %s of %d bits, %s, %s%s",
             format, c->is_float ? "E4M3" : "integers", c->bits, scales,
             c->symmetric ? "symmetric" : "zero points", c->act_order ? ", activation order" : "");
}

enum status quantized_compressed_configure(const json_t *q, const char *where,
                                           struct quant_config *config,
                                           struct checkpoint_quantization *info, struct error *err)
{
    const char *format, *state, *sparsity;
    TRY(json_opt_string(q, where, "quantization_status", "compressed", &state, err));
    if (!str_equal(state, "compressed"))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: quantization_status '%.64s' is not supported (compressed is)", where,
                    state);
    const json_t *sparse = json_object_get(q, "sparsity_config");
    if (json_object_size(sparse) > 0) {
        TRY(json_opt_string(sparse, where, "format", "dense", &sparsity, err));
        if (!str_equal(sparsity, "dense"))
            return FAIL(err, ERR_UNSUPPORTED,
                        "%s: sparsity_config: format '%.64s' is not supported (dense is)", where,
                        sparsity);
    }
    if (json_object_size(json_object_get(json_object_get(q, "transform_config"), "config_groups")))
        return FAIL(err, ERR_UNSUPPORTED, "%s: transform_config is not supported", where);
    const json_t *groups = json_object_get(q, "config_groups");
    if (json_is_object(groups) && json_object_size(groups) == 0) {
        quantized_cache_alone(config, info);
        return OK;
    }
    TRY(json_get_string(q, where, "format", &format, err));
    TRY(read_groups(q, where, config, err));
    TRY(pick_layout(format, where, config, err));
    tell(config, format, info);
    return OK;
}
