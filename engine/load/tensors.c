// tensors.c - the map of a checkpoint's tensors: slots by role and layer, and reading their rows as f32.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "engine/load/tensors.h"
#include "engine/load/quantized/quantized.h"

// ---- the map --------------------------------------------------------------------------------------

// The slots of one layer: one for each role, then those of experts 1 and up.
static size_t slots(const struct tensor_map *map)
{
    return T_ROLE_COUNT + (size_t)(map->experts - 1) * (T_ROLE_COUNT - T_EXPERT_GATE);
}

enum status tensor_map_init(struct tensor_map *map, const struct model_config *config,
                            struct error *err)
{
    memset(map, 0, sizeof *map);
    map->layers = config->layers;
    map->experts = config->experts > 1 ? config->experts : 1;
    map->at = calloc(((size_t)map->layers + 1) * slots(map), sizeof *map->at);
    return map->at ? OK
                   : FAIL(err, ERR_NOMEM, "no memory for the tensors of %d layers", map->layers);
}

void tensor_map_fini(struct tensor_map *map)
{
    free(map->at);
    str_fini(&map->extra_names);
    memset(map, 0, sizeof *map);
}

struct stored_tensor *tensor_map_expert(const struct tensor_map *map, enum tensor_role role,
                                        int layer, int expert)
{
    assert(layer >= -1 && layer < map->layers && role < T_ROLE_COUNT);
    assert(expert >= 0 && expert < map->experts && (expert == 0 || tensor_role_is_expert(role)));
    size_t slot = role;
    if (expert > 0)
        slot = T_ROLE_COUNT + (size_t)(expert - 1) * (T_ROLE_COUNT - T_EXPERT_GATE) +
               (role - T_EXPERT_GATE);
    return &map->at[(size_t)(layer + 1) * slots(map) + slot];
}

struct stored_tensor *tensor_map_at(const struct tensor_map *map, enum tensor_role role, int layer)
{
    return tensor_map_expert(map, role, layer, 0);
}

void tensor_map_extra(struct tensor_map *map, const char *name, size_t name_bytes, uint64_t bytes)
{
    map->extras++;
    map->extra_bytes += bytes;
    str_append_plain(&map->extra_names, name, name_bytes);
    str_append(&map->extra_names, "\n");
}

// The number of stored tensors that hold a role.
static int parts_of(const struct tensor_map *map, const struct tensor_names *names,
                    enum tensor_role role)
{
    return tensor_names_apart(names, role) ? map->experts : 1;
}

enum status tensor_map_complete(const struct tensor_map *map, const struct model_config *config,
                                const struct tensor_names *names, const char *where,
                                struct error *err)
{
    for (int layer = -1; layer < config->layers; layer++)
        for (int role = 0; role < T_ROLE_COUNT; role++) {
            enum tensor_role r = (enum tensor_role)role;
            char text[128];
            if ((r <= T_FINAL_NORM) != (layer < 0) || tensor_shape(config, r).rows == 0)
                continue;
            for (int expert = 0; expert < parts_of(map, names, r); expert++)
                if (!tensor_map_expert(map, r, layer, expert)->data)
                    return FAIL(err, ERR_FORMAT, "%s: tensor %s is missing", where,
                                tensor_names_text(names, r, layer, expert, text, sizeof text));
        }
    return OK;
}

const struct stored_type *tensor_map_type(const struct tensor_map *map,
                                          const struct tensor_names *names, enum tensor_role role,
                                          int layer)
{
    const struct stored_type *first = tensor_map_at(map, role, layer)->type;
    for (int i = 1; i < parts_of(map, names, role); i++)
        if (tensor_map_expert(map, role, layer, i)->type != first)
            return stored_f32;
    return first;
}

bool tensor_map_form(const struct tensor_map *map, const struct model_config *config,
                     const struct tensor_names *names, enum tensor_role role, int layer,
                     struct stored_form *out)
{
    struct tensor_shape shape = tensor_shape(config, role);
    const struct stored_tensor *first = tensor_map_at(map, role, layer);
    int parts = parts_of(map, names, role);
    bool mixed = false;
    if (!first->data)
        return false;
    *out = (struct stored_form){first->type->name, 0};
    for (int i = 0; i < parts; i++) {
        const struct stored_tensor *t = tensor_map_expert(map, role, layer, i);
        size_t elements = (size_t)(shape.rows / parts) * (size_t)shape.cols;
        out->bytes += t->quant ? quantized_linear_bytes(t->quant) : stored_bytes(t->type, elements);
        mixed = mixed || t->type != first->type || !t->quant != !first->quant;
    }
    if (mixed)
        out->type = "mixed";
    return mixed || first->type->block > 1;
}

// ---- rows -----------------------------------------------------------------------------------------

// The arguments of one read.
struct reading {
    const struct model_config *config;
    const struct tensor_names *names;
    enum tensor_role role;
    const struct stored_tensor *stored;
    struct tensor_shape shape; // of the role
    struct tensor_shape whole; // of the stored tensor
};

// Reads a vector: the order applies to its elements.
static void read_vector(const struct reading *r, float *out)
{
    size_t each = stored_bytes(r->stored->type, 1);
    if (r->names->at[r->role].order == ORDER_PLAIN)
        stored_to_f32(out, r->stored->data, r->stored->type, (size_t)r->shape.cols);
    else
        for (int i = 0; i < r->shape.cols; i++) {
            int at = tensor_names_row(r->names, r->config, r->role, i);
            stored_to_f32(out + i, r->stored->data + (size_t)at * each, r->stored->type, 1);
        }
    if (r->names->norm_minus_one && tensor_role_is_norm(r->role))
        for (int i = 0; i < r->shape.cols; i++)
            out[i] += 1;
}

static void read_row(const struct reading *r, int row, float *out)
{
    int at = tensor_names_row(r->names, r->config, r->role, row);
    if (r->stored->quant) {
        quantized_linear_row(r->stored->quant, at, out);
        return;
    }
    size_t row_bytes = stored_bytes(r->stored->type, (size_t)r->shape.cols);
    stored_to_f32(out, r->stored->data + (size_t)at * row_bytes, r->stored->type,
                  (size_t)r->shape.cols);
}

// Consecutive rows of the role are consecutive stored columns, unless they are grouped. So one visit to a stored row
// reads an element of up to 16 rows.
static void read_transposed(const struct reading *r, int row0, int rows, float *out, size_t ld)
{
    enum { RUN = 16 };
    size_t each = stored_bytes(r->stored->type, 1);
    bool grouped = r->names->at[r->role].order == ORDER_GROUPED;
    for (int done = 0, run; done < rows; done += run) {
        int at = tensor_names_row(r->names, r->config, r->role, row0 + done);
        run = grouped ? 1 : rows - done < RUN ? rows - done : RUN;
        for (int c = 0; c < r->shape.cols; c++) {
            float column[RUN];
            size_t element = (size_t)c * (size_t)r->whole.cols + (size_t)at;
            stored_to_f32(column, r->stored->data + element * each, r->stored->type, (size_t)run);
            for (int i = 0; i < run; i++)
                out[(size_t)(done + i) * ld + (size_t)c] = column[i];
        }
    }
}

void tensor_map_read(const struct tensor_map *map, const struct model_config *config,
                     const struct tensor_names *names, enum tensor_role role, int layer, int row0,
                     int rows, float *out, size_t ld)
{
    struct reading r = {
        .config = config,
        .names = names,
        .role = role,
        .stored = tensor_map_at(map, role, layer),
        .shape = tensor_shape(config, role),
    };
    assert(r.stored->data && row0 >= 0 && rows >= 0 && row0 + rows <= r.shape.rows);
    bool transposed = names->at[role].transposed, apart = tensor_names_apart(names, role);
    int each = apart ? r.shape.rows / map->experts : r.shape.rows;
    r.whole = tensor_names_shape(names, config, role);
    if (tensor_role_is_vector(role)) {
        if (rows)
            read_vector(&r, out);
        return;
    }
    for (int done = 0, run; done < rows; done += run) {
        int expert = (row0 + done) / each, row = (row0 + done) % each;
        run = rows - done < each - row ? rows - done : each - row;
        r.stored = tensor_map_expert(map, role, layer, apart ? expert : 0);
        float *to = out + (size_t)done * ld;
        bool columns = transposed && !r.stored->quant; // quantized tensors are never transposed
        if (columns)
            read_transposed(&r, row, run, to, ld);
        for (int i = 0; i < run && !columns; i++)
            read_row(&r, row + i, to + (size_t)i * ld);
    }
}

const unsigned char *tensor_map_row(const struct tensor_map *map, const struct model_config *config,
                                    const struct tensor_names *names, enum tensor_role role,
                                    int layer, int row)
{
    int cols = tensor_shape(config, role).cols, rows = tensor_shape(config, role).rows;
    bool apart = tensor_names_apart(names, role);
    int each = apart ? rows / map->experts : rows;
    const struct stored_tensor *t = tensor_map_expert(map, role, layer, apart ? row / each : 0);
    int at = tensor_names_row(names, config, role, row % each);
    assert(!names->at[role].transposed && row >= 0 && row < rows);
    return t->data + (size_t)at * stored_bytes(t->type, (size_t)cols);
}

// Releases from the first to the last stored row. Rows of other roles between them, and columns of a transposed tensor,
// are read from the file again when needed.
void tensor_map_release(const struct tensor_map *map, const struct model_config *config,
                        const struct tensor_names *names, enum tensor_role role, int layer,
                        int row0, int rows)
{
    struct tensor_shape shape = tensor_shape(config, role);
    struct tensor_shape whole = tensor_names_shape(names, config, role);
    bool apart = tensor_names_apart(names, role);
    int each = apart ? shape.rows / map->experts : shape.rows;
    for (int done = 0, run; done < rows; done += run) {
        int expert = (row0 + done) / each, row = (row0 + done) % each;
        const struct stored_tensor *t = tensor_map_expert(map, role, layer, apart ? expert : 0);
        run = rows - done < each - row ? rows - done : each - row;
        size_t row_bytes = stored_bytes(t->type, (size_t)whole.cols);
        int first = 0, last = whole.rows - 1;
        if (!names->at[role].transposed && !tensor_role_is_vector(role)) {
            first = tensor_names_row(names, config, role, row);
            last = tensor_names_row(names, config, role, row + run - 1);
        }
        if (t->quant) {
            quantized_linear_release(t->quant, first, last);
            continue;
        }
        file_map_release(t->data + (size_t)first * row_bytes,
                         t->data + ((size_t)last + 1) * row_bytes);
    }
}
