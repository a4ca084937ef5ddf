// enter.c - enters a folder's quantized products in the map of its tensors, and reads them.
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "engine/load/tensors.h"
#include "engine/load/quantized/folder.h"
#include "kernels/quant.h"

// ---- entering -----------------------------------------------------------------------------------------

static enum status enter_roles(struct quant_linear *l, const struct tensor_place *place,
                               struct tensor_map *map, const char *where, struct error *err)
{
    for (int i = 0; i < place->count; i++) {
        int expert = place->expert > 0 ? place->expert : 0;
        struct stored_tensor *slot = tensor_map_expert(map, place->roles[i], place->layer, expert);
        if (slot->data)
            return FAIL(err, ERR_FORMAT,
                        "%s: %s is stored both quantized and plain: the checkpoint mixes schemes, "
                        "which is not supported",
                        where, l->name);
        slot->data = l->part[PART_WEIGHT].data;
        slot->type = stored_f32; // holds its values exactly
        slot->quant = l;
    }
    return OK;
}

enum status quantized_enter(struct quantized *q, const struct model_config *config,
                            const struct tensor_names *names, struct tensor_map *map,
                            const char *where, struct error *err)
{
    for (size_t i = 0; i < q->count; i++) {
        struct quant_linear *l = q->linears[i];
        struct tensor_place place;
        char name[300];
        if (l->part[PART_WEIGHT].type == PART_ABSENT && l->part[PART_SCALE].type == PART_ABSENT &&
            l->part[PART_SCALE_INV].type == PART_ABSENT)
            continue; // a bias of zeros next to a plain product
        snprintf(name, sizeof name, "%s.weight", l->name);
        if (!tensor_names_find(names, name, config, &place)) {
            tensor_map_extra(map, l->name, strlen(l->name), quantized_linear_bytes(l));
            continue;
        }
        enum tensor_role role = place.roles[0];
        if (tensor_role_is_vector(role) ||
            (tensor_role_is_expert(role) && !tensor_names_apart(names, role)))
            return FAIL(err, ERR_UNSUPPORTED, "%s: %s: only matrices can be quantized", where,
                        l->name);
        struct tensor_shape shape = tensor_names_shape(names, config, role);
        bool transposed = names->at[role].transposed; // quantized tensors are never transposed
        l->rows = transposed ? shape.cols : shape.rows;
        l->cols = transposed ? shape.rows : shape.cols;
        TRY(q->config.layout->bind(l, where, err));
        TRY(enter_roles(l, &place, map, where, err));
    }
    return OK;
}

// ---- reading ------------------------------------------------------------------------------------------

void quantized_linear_row(const struct quant_linear *l, int row, float *out)
{
    l->config->layout->row(l, row, out);
}

bool quantized_linear_stored(const struct quant_linear *l, struct stored_quant *out)
{
    // A group longer than a row keeps its size: a scheme with the same size packs the same codes.
    const struct quant_config *c = l->config;
    bool grouped = c->strategy == QUANT_GROUP_OF && c->group > 0;
    out->type = c->is_float ? DT_F8E4M3 : DT_I4;
    if (c->bits == 8 && !c->is_float)
        out->type = DT_I8;
    out->group = c->bits != 4 ? 0 : grouped ? c->group : l->cols;
    return l->exact && out->group % 8 == 0; // panels support no other groups (quant.h)
}

void quantized_linear_codes(const struct quant_linear *l, int row, struct quant_row out)
{
    l->config->layout->codes(l, row, out);
}

void quantized_linear_release(const struct quant_linear *l, int first, int last)
{
    const struct quant_part *codes = &l->part[PART_WEIGHT];
    size_t row_bytes = (size_t)codes->bytes / (size_t)l->rows;
    if (l->config->layout->by_rows)
        file_map_release(codes->data + (size_t)first * row_bytes,
                         codes->data + ((size_t)last + 1) * row_bytes);
    else
        file_map_release(codes->data, codes->data + codes->bytes);
}

uint64_t quantized_linear_bytes(const struct quant_linear *l)
{
    uint64_t bytes = 0;
    for (int i = 0; i < PART_ROLES; i++)
        bytes += l->part[i].bytes;
    return bytes;
}

const char *quantized_linear_type(const struct quant_linear *l)
{
    return l->config->is_float ? "fp8" : l->config->bits == 8 ? "int8" : "int4";
}

// ---- by role ------------------------------------------------------------------------------------------

// The product that holds a row of a role; NULL: the role is plain. Changes *row from the role's to the product's.
static const struct quant_linear *find(const struct tensor_map *map,
                                       const struct model_config *config,
                                       const struct tensor_names *names, enum tensor_role role,
                                       int layer, int *row)
{
    int expert = 0;
    if (tensor_names_apart(names, role)) {
        int each = tensor_shape(config, role).rows / map->experts;
        expert = *row / each;
        *row %= each;
    }
    *row = tensor_names_row(names, config, role, *row);
    return tensor_map_expert(map, role, layer, expert)->quant;
}

bool quantized_form(const struct tensor_map *map, const struct model_config *config,
                    const struct tensor_names *names, enum tensor_role role, int layer,
                    struct stored_form *out)
{
    int experts = tensor_names_apart(names, role) ? map->experts : 1;
    uint64_t rows = (uint64_t)tensor_shape(config, role).rows / (uint64_t)experts;
    struct stored_form form = {NULL, 0};
    for (int i = 0; i < experts; i++) {
        const struct quant_linear *l = tensor_map_expert(map, role, layer, i)->quant;
        if (!l)
            return false;
        form.type = quantized_linear_type(l);
        form.bytes += quantized_linear_bytes(l) * rows /
                      (uint64_t)l->rows; // the role's share of a fused product
    }
    *out = form;
    return true;
}

bool quantized_stored(const struct tensor_map *map, const struct tensor_names *names,
                      enum tensor_role role, int layer, struct stored_quant *out)
{
    int experts = tensor_names_apart(names, role) ? map->experts : 1;
    for (int i = 0; i < experts; i++) {
        const struct quant_linear *l = tensor_map_expert(map, role, layer, i)->quant;
        if (!l || !quantized_linear_stored(l, out))
            return false;
    }
    return true;
}

void quantized_codes(const struct tensor_map *map, const struct model_config *config,
                     const struct tensor_names *names, enum tensor_role role, int layer, int row,
                     struct quant_row out)
{
    const struct quant_linear *l = find(map, config, names, role, layer, &row);
    assert(l && row < l->rows);
    quantized_linear_codes(l, row, out);
}
