// targets.c - the plan of a folder of quantized weights: names, shapes and types of what is stored.
#include "engine/quantize/targets.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/load/hf/hf.h"
#include "kernels/quant.h"

#define FILE_BYTES UINT64_C(5000000000)

static size_t *slot(const struct targets *t, enum tensor_role role, int layer, int expert)
{
    size_t line = ((size_t)layer + 1) * T_ROLE_COUNT + role;
    return &t->at[line * (size_t)t->experts + (size_t)expert];
}

// The first role in the same stored tensor.
static enum tensor_role leader(const struct targets *t, enum tensor_role role)
{
    for (int i = 0; i < (int)role; i++)
        if (t->names->at[i].name && str_equal(t->names->at[i].name, t->names->at[role].name) &&
            tensor_shape(&t->source->config, (enum tensor_role)i).rows)
            return (enum tensor_role)i;
    return role;
}

// "x.weight" and ".qweight" -> "x.qweight".
static const char *part_name(const char *name, const char *suffix, char out[256])
{
    size_t stem = strlen(name);
    if (stem > 7 && strcmp(name + stem - 7, ".weight") == 0)
        stem -= 7;
    snprintf(out, 256, "%.*s%s", (int)stem, name, suffix);
    return out;
}

// cols 0: a vector of `rows` elements.
static enum status add_part(struct targets *t, struct target *target, enum part part,
                            const char *name, const char *suffix, const char *type,
                            unsigned element, int rows, int cols, struct error *err)
{
    char text[256];
    uint64_t shape[2] = {(uint64_t)rows, (uint64_t)cols};
    return shards_add(t->shards, suffix ? part_name(name, suffix, text) : name, type, element,
                      cols ? 2 : 1, shape, &target->tensor[part], err);
}

static enum status add_by_role(struct targets *t, struct target *target, const char *name,
                               struct error *err)
{
    int groups = quant_groups(DT_I4, target->cols, t->output.group);
    TRY(add_part(t, target, PART_CODES, name, ".codes", "U8", 1, target->rows,
                 (int)nibble_bytes(target->cols), err));
    TRY(add_part(t, target, PART_SCALES, name, ".scales", "F16", 2, target->rows, groups, err));
    return add_part(t, target, PART_ZEROS, name, ".zeros", "U8", 1, target->rows,
                    (int)nibble_bytes(groups), err);
}

static enum status add_awq(struct targets *t, struct target *target, const char *name,
                           struct error *err)
{
    if (target->rows % 8)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: %d outputs of %s are no multiple of 8, as AutoAWQ's layout needs",
                    t->source->path, target->rows, name);
    int groups = quant_groups(DT_I4, target->cols, t->output.group), words = target->rows / 8;
    TRY(add_part(t, target, PART_CODES, name, ".qweight", "I32", 4, target->cols, words, err));
    TRY(add_part(t, target, PART_ZEROS, name, ".qzeros", "I32", 4, groups, words, err));
    return add_part(t, target, PART_SCALES, name, ".scales", "F16", 2, groups, target->rows, err);
}

static enum status add_quantized(struct targets *t, struct target *target, const char *name,
                                 struct error *err)
{
    if (t->output.by_role)
        return add_by_role(t, target, name, err);
    if (t->output.type == DT_I4)
        return add_awq(t, target, name, err);
    TRY(add_part(t, target, PART_CODES, name, NULL, t->output.type == DT_I8 ? "I8" : "F8_E4M3", 1,
                 target->rows, target->cols, err));
    return add_part(t, target, PART_SCALES, name, ".weight_scale", "F32", 4, target->rows, 1, err);
}

static enum status add_target(struct targets *t, enum tensor_role role, int layer, int expert,
                              struct error *err)
{
    static const char *const plain[] = {[DT_F32] = "F32", [DT_F16] = "F16", [DT_BF16] = "BF16"};
    struct tensor_shape shape = tensor_names_shape(t->names, &t->source->config, role);
    struct target *target = &t->all[t->count];
    bool vector = tensor_role_is_vector(role);
    char name[256];
    *slot(t, role, layer, expert) = t->count++;
    tensor_names_text(t->names, role, layer, expert, name, sizeof name);
    *target = (struct target){.quantized = tensor_role_is_product(role),
                              .rows = shape.rows,
                              .cols = shape.cols,
                              .rows_left = (uint64_t)(vector ? shape.cols : shape.rows)};
    if (t->names->at[role].transposed)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: %s is stored transposed, for which the quantized layouts have no form",
                    t->source->path, name);
    if (target->quantized)
        return add_quantized(t, target, name, err);
    return add_part(t, target, PART_CODES, name, NULL, plain[t->output.plain],
                    t->output.plain == DT_F32 ? 4 : 2, vector ? shape.cols : shape.rows,
                    vector ? 0 : shape.cols, err);
}

static enum status plan_role(struct targets *t, enum tensor_role role, int layer, struct error *err)
{
    bool apart = tensor_names_apart(t->names, role);
    if (tensor_role_is_expert(role) && !apart && !t->output.by_role)
        return FAIL(err, ERR_UNSUPPORTED, "%s: experts in one tensor have no quantized layout",
                    t->source->path);
    for (int expert = 0; expert < (apart ? t->experts : 1); expert++) {
        enum tensor_role first = leader(t, role);
        if (first != role)
            *slot(t, role, layer, expert) = *slot(t, first, layer, expert);
        else
            TRY(add_target(t, role, layer, expert, err));
    }
    return OK;
}

static const struct tensor_names *name_by_role(struct tensor_names *names)
{
    *names = (struct tensor_names){.layer_prefix = "layers."};
    for (int role = T_FINAL_NORM + 1; role < T_ROLE_COUNT; role++)
        names->at[role].name = tensor_role_name((enum tensor_role)role);
    return names;
}

enum status targets_init(struct targets *t, const struct checkpoint *source,
                         const struct quant_output *output, struct error *err)
{
    const struct model_config *config = &source->config;
    *t = (struct targets){.source = source, .output = *output};
    t->names = output->by_role ? name_by_role(&t->role_names) : hf_names(config);
    t->experts = config->experts > 1 ? config->experts : 1;
    TRY(shards_create(&t->shards, err));
    size_t slots = ((size_t)config->layers + 1) * T_ROLE_COUNT * (size_t)t->experts;
    t->at = calloc(slots, sizeof *t->at);
    t->all = calloc(slots, sizeof *t->all);
    if (!t->at || !t->all)
        return FAIL(err, ERR_NOMEM, "%s: no memory to plan its tensors", source->path);
    for (int layer = output->by_role ? 0 : -1; layer < config->layers; layer++)
        for (int role = 0; role < T_ROLE_COUNT; role++)
            if ((role <= T_FINAL_NORM) == (layer < 0) &&
                tensor_shape(config, (enum tensor_role)role).rows)
                TRY(plan_role(t, (enum tensor_role)role, layer, err));
    return OK;
}

void targets_fini(struct targets *t)
{
    shards_destroy(t->shards);
    free(t->at);
    free(t->all);
    memset(t, 0, sizeof *t);
}

struct target *targets_find(const struct targets *t, enum tensor_role role, int layer, int row,
                            int *stored)
{
    const struct model_config *config = &t->source->config;
    int expert = 0;
    if (tensor_role_is_expert(role) && tensor_names_apart(t->names, role)) {
        int each = tensor_shape(config, role).rows / t->experts;
        expert = row / each;
        row %= each;
    }
    *stored = tensor_names_row(t->names, config, role, row);
    return &t->all[*slot(t, role, layer, expert)];
}

uint64_t targets_shard_bytes(const struct targets *t)
{
    return t->output.shard_bytes ? t->output.shard_bytes : FILE_BYTES;
}
