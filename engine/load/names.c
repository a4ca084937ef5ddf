// names.c - maps stored names to roles and back, and finds a role's rows in a stored tensor.
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "engine/load/tensors.h"

// ---- names ----------------------------------------------------------------------------------------

// Parses a number without leading zeros at *text, and moves *text past it. False: no number, or not below `end`.
static bool take_number(const char **text, int end, int *out)
{
    const char *p = *text;
    int number = 0, digits = 0;
    for (; *p >= '0' && *p <= '9' && digits < 6; p++, digits++)
        number = number * 10 + (*p - '0');
    if (digits == 0 || (digits > 1 && **text == '0') || number >= end)
        return false;
    *text = p;
    *out = number;
    return true;
}

// `pattern` is a name whose '*' matches an expert's number.
static bool matches(const char *pattern, const char *name, int experts, int *expert)
{
    *expert = -1;
    for (; *pattern && *pattern != '*'; pattern++, name++)
        if (*pattern != *name)
            return false;
    if (!*pattern)
        return *name == '\0';
    return take_number(&name, experts, expert) && strcmp(pattern + 1, name) == 0;
}

// `name` after `prefix`, whose first part (names->base) files may omit; NULL: it does not begin so.
static const char *after_prefix(const struct tensor_names *names, const char *prefix,
                                const char *name)
{
    size_t base = names->base ? strlen(names->base) : 0, length = strlen(prefix);
    if (strncmp(name, prefix, length) == 0)
        return name + length;
    if (base && strncmp(prefix, names->base, base) == 0 &&
        strncmp(name, prefix + base, length - base) == 0)
        return name + length - base;
    return NULL;
}

// The part of a name inside its layer; NULL: it is outside.
static const char *within_layer(const struct tensor_names *names, const char *name, int layers,
                                int *layer)
{
    const char *rest = after_prefix(names, names->layer_prefix, name);
    if (!rest || !take_number(&rest, layers, layer) || *rest != '.')
        return NULL;
    return rest + 1;
}

bool tensor_names_find(const struct tensor_names *names, const char *name,
                       const struct model_config *config, struct tensor_place *place)
{
    const char *inner = within_layer(names, name, config->layers, &place->layer);
    int begin = inner ? T_FINAL_NORM + 1 : 0, end = inner ? T_ROLE_COUNT : T_FINAL_NORM + 1;
    place->count = 0;
    place->expert = -1;
    if (!inner)
        place->layer = -1;
    for (int i = begin; i < end; i++) {
        const char *known = names->at[i].name;
        int expert = -1;
        if (!known || tensor_shape(config, (enum tensor_role)i).rows == 0)
            continue;
        const char *rest = inner ? NULL : after_prefix(names, known, name);
        if (inner ? !matches(known, inner, config->experts, &expert) : !rest || *rest)
            continue;
        place->expert = expert;
        place->roles[place->count++] = (enum tensor_role)i;
    }
    return place->count > 0;
}

bool tensor_names_stray(const struct tensor_names *names, const char *name,
                        const struct model_config *config)
{
    int layer;
    const char *inner = within_layer(names, name, config->layers, &layer);
    for (int i = 0; inner && names->ignored && names->ignored[i]; i++)
        if (strcmp(inner, names->ignored[i]) == 0)
            return false;
    return inner != NULL;
}

char *tensor_names_text(const struct tensor_names *names, enum tensor_role role, int layer,
                        int expert, char *out, size_t out_bytes)
{
    const char *name = names->at[role].name ? names->at[role].name : tensor_role_name(role);
    const char *star = strchr(name, '*');
    char number[16] = "";
    if (star)
        snprintf(number, sizeof number, "%d", expert > 0 ? expert : 0);
    int head = star ? (int)(star - name) : (int)strlen(name);
    const char *tail = star ? star + 1 : "";
    if (layer < 0)
        snprintf(out, out_bytes, "%s", name);
    else
        snprintf(out, out_bytes, "%s%d.%.*s%s%s", names->layer_prefix, layer, head, name, number,
                 tail);
    return out;
}

bool tensor_names_apart(const struct tensor_names *names, enum tensor_role role)
{
    return tensor_role_is_expert(role) && names->at[role].name && strchr(names->at[role].name, '*');
}

// ---- stored rows ----------------------------------------------------------------------------------

static bool fused(const struct tensor_names *names, enum tensor_role a, enum tensor_role b)
{
    return names->at[a].name && str_equal(names->at[a].name, names->at[b].name);
}

// Rows of a role in one stored tensor; of a vector, its elements.
static int own_rows(const struct tensor_names *names, const struct model_config *config,
                    enum tensor_role role)
{
    struct tensor_shape shape = tensor_shape(config, role);
    if (tensor_role_is_vector(role))
        return shape.cols;
    return tensor_names_apart(names, role) ? shape.rows / config->experts : shape.rows;
}

struct tensor_shape tensor_names_shape(const struct tensor_names *names,
                                       const struct model_config *config, enum tensor_role role)
{
    int rows = 0, cols = tensor_shape(config, role).cols;
    for (int i = 0; i < T_ROLE_COUNT; i++)
        if (i == (int)role || fused(names, (enum tensor_role)i, role))
            rows += own_rows(names, config, (enum tensor_role)i);
    if (tensor_role_is_vector(role))
        return (struct tensor_shape){1, rows};
    return names->at[role].transposed ? (struct tensor_shape){cols, rows}
                                      : (struct tensor_shape){rows, cols};
}

// For each KV head: the q heads of its group, then its k head, then its v head.
static int grouped_row(const struct model_config *config, enum tensor_role role, int row)
{
    int group = config->heads / config->kv_heads, head = row / config->head_dim;
    int stored = 0;
    switch (role) {
    case T_Q:
    case T_Q_BIAS:
        stored = head / group * (group + 2) + head % group;
        break;
    case T_K:
    case T_K_BIAS:
        stored = head * (group + 2) + group;
        break;
    default:
        stored = head * (group + 2) + group + 1;
        break;
    }
    return stored * config->head_dim + row % config->head_dim;
}

// llama.cpp's order of Q and K; the description has a head's first half, then its second.
static int interleaved_row(const struct model_config *config, int row)
{
    int head = row / config->head_dim, within = row % config->head_dim, half = config->head_dim / 2;
    return head * config->head_dim + 2 * (within % half) + within / half;
}

int tensor_names_row(const struct tensor_names *names, const struct model_config *config,
                     enum tensor_role role, int row)
{
    switch (names->at[role].order) {
    case ORDER_PLAIN:
        break;
    case ORDER_STACKED: // the roles of one tensor stand next to each other
        for (int i = (int)role - 1; i >= 0 && fused(names, (enum tensor_role)i, role); i--)
            row += own_rows(names, config, (enum tensor_role)i);
        break;
    case ORDER_GROUPED:
        return grouped_row(config, role, row);
    case ORDER_INTERLEAVED:
        return interleaved_row(config, row);
    }
    return row;
}
