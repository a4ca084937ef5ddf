// tensors.c - where the tensors of a description lie, and how formats name them.
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "engine/load/parse.h"

// ---- the map --------------------------------------------------------------------------------------

enum status tensor_map_init(struct tensor_map *map, int layers, struct error *err)
{
    memset(map, 0, sizeof *map);
    map->layers = layers;
    map->at = calloc(((size_t)layers + 1) * T_ROLE_COUNT, sizeof *map->at);
    return map->at ? OK : FAIL(err, ERR_NOMEM, "no memory for the tensors of %d layers", layers);
}

void tensor_map_fini(struct tensor_map *map)
{
    free(map->at);
    str_fini(&map->extra_names);
    memset(map, 0, sizeof *map);
}

struct stored_tensor *tensor_map_at(const struct tensor_map *map, enum tensor_role role, int layer)
{
    assert(layer >= -1 && layer < map->layers && role < T_ROLE_COUNT);
    return &map->at[(size_t)(layer + 1) * T_ROLE_COUNT + role];
}

void tensor_map_extra(struct tensor_map *map, const char *name, size_t name_bytes, uint64_t bytes)
{
    map->extras++;
    map->extra_bytes += bytes;
    str_append_bytes(&map->extra_names, name, name_bytes);
    str_append(&map->extra_names, "\n");
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
            if (!tensor_map_at(map, r, layer)->data)
                return FAIL(err, ERR_FORMAT, "%s: tensor %s is missing", where,
                            tensor_names_text(names, r, layer, text, sizeof text));
        }
    return OK;
}

// ---- names ----------------------------------------------------------------------------------------

bool tensor_names_find(const struct tensor_names *names, const char *name, int layers,
                       enum tensor_role *role, int *layer)
{
    size_t prefix = strlen(names->layer_prefix);
    *layer = -1;
    if (strncmp(name, names->layer_prefix, prefix) == 0) {
        const char *p = name + prefix;
        int number = 0, digits = 0;
        for (; *p >= '0' && *p <= '9' && digits < 6; p++, digits++)
            number = number * 10 + (*p - '0');
        bool canonical = digits > 0 && (digits == 1 || name[prefix] != '0');
        if (!canonical || *p != '.' || number >= layers)
            return false;
        *layer = number;
        name = p + 1;
    }
    int begin = *layer < 0 ? 0 : T_FINAL_NORM + 1,
        end = *layer < 0 ? T_FINAL_NORM + 1 : T_ROLE_COUNT;
    for (int i = begin; i < end; i++)
        if (strcmp(name, names->name[i]) == 0) {
            *role = (enum tensor_role)i;
            return true;
        }
    return false;
}

char *tensor_names_text(const struct tensor_names *names, enum tensor_role role, int layer,
                        char *out, size_t out_bytes)
{
    if (layer < 0)
        snprintf(out, out_bytes, "%s", names->name[role]);
    else
        snprintf(out, out_bytes, "%s%d.%s", names->layer_prefix, layer, names->name[role]);
    return out;
}
