// gguf_plan.c - the tensors of a description in a GGUF file, with the names that the loader reads.
#include "engine/save/gguf_plan.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "engine/load/tensors.h"

static bool is_plain(enum tensor_role role, struct tensor_shape shape)
{
    return shape.rows == 1 || tensor_role_is_vector(role) || role == T_ROUTER ||
           role == T_POSITIONS;
}

// The tensor that an earlier role began and that this role's rows belong to, or NULL.
static struct gguf_tensor *begun(struct gguf_plan *plan, const char *name)
{
    struct gguf_tensor *last = plan->count ? &plan->tensors[plan->count - 1] : NULL;
    for (size_t i = plan->count; last && i-- > 0 && plan->tensors[i].layer == last->layer;)
        if (str_equal(plan->tensors[i].name, name))
            return &plan->tensors[i];
    return NULL;
}

static enum status add_role(struct gguf_plan *plan, const struct model_config *config,
                            const struct tensor_names *names, enum tensor_role role, int layer,
                            struct error *err)
{
    struct tensor_shape shape = tensor_shape(config, role);
    char name[128];
    if (shape.rows == 0)
        return OK;
    if (!names->at[role].name)
        return FAIL(err, ERR_UNSUPPORTED, "GGUF has no place for the %s of architecture %s",
                    tensor_role_name(role), config->arch);
    tensor_names_text(names, role, layer, -1, name, sizeof name);
    struct gguf_tensor *t = begun(plan, name);
    if (!t) {
        t = &plan->tensors[plan->count++];
        *t = (struct gguf_tensor){.layer = layer,
                                  .cols = (uint64_t)shape.cols,
                                  .matrices = 1,
                                  .plain = is_plain(role, shape)};
        memcpy(t->name, name, strlen(name) < sizeof t->name ? strlen(name) : sizeof t->name - 1);
    } else if (shape.rows == 1) { // a fused vector grows in its only dimension
        t->cols += (uint64_t)shape.cols;
    }
    if (t->role_count == GGUF_FUSED_MAX)
        return FAIL(err, ERR_INTERNAL, "tensor %s: more than %d roles", t->name, GGUF_FUSED_MAX);
    t->roles[t->role_count++] = role;
    t->rows = shape.rows == 1 ? 1 : t->rows + (uint64_t)shape.rows;
    if (tensor_role_is_expert(role))
        t->matrices = (uint64_t)config->experts;
    return OK;
}

bool gguf_plan_unties(const struct model_config *config)
{
    return config->tied && (str_equal(config->arch, "gpt2") || str_equal(config->arch, "bloom"));
}

// Adds the embedding a second time, under the head's name.
static void add_tied_head(struct gguf_plan *plan, const struct model_config *config,
                          const struct tensor_names *names)
{
    struct gguf_tensor *t = &plan->tensors[plan->count++];
    *t = (struct gguf_tensor){.layer = -1,
                              .role_count = 1,
                              .roles = {T_EMBEDDING},
                              .rows = (uint64_t)config->vocab,
                              .cols = (uint64_t)config->width,
                              .matrices = 1};
    tensor_names_text(names, T_HEAD, -1, -1, t->name, sizeof t->name);
}

enum status gguf_plan_make(const struct model_config *config, struct gguf_plan *out,
                           struct error *err)
{
    struct tensor_names names;
    gguf_names(config, &names);
    *out = (struct gguf_plan){0};
    out->tensors = calloc(((size_t)config->layers + 1) * T_ROLE_COUNT, sizeof *out->tensors);
    if (!out->tensors)
        return FAIL(err, ERR_NOMEM, "no memory for the tensors of %d layers", config->layers);
    enum status status = OK;
    for (int layer = -1; layer < config->layers && status == OK; layer++)
        for (int role = 0; role < T_ROLE_COUNT && status == OK; role++)
            if ((role <= T_FINAL_NORM) == (layer < 0))
                status = add_role(out, config, &names, (enum tensor_role)role, layer, err);
    if (status == OK && gguf_plan_unties(config))
        add_tied_head(out, config, &names);
    if (status != OK)
        gguf_plan_fini(out);
    return status;
}

void gguf_plan_fini(struct gguf_plan *plan)
{
    free(plan->tensors);
    *plan = (struct gguf_plan){0};
}

int gguf_plan_row(const struct model_config *config, enum tensor_role role, int row)
{
    struct tensor_names names;
    gguf_names(config, &names);
    if (names.at[role].order != ORDER_INTERLEAVED)
        return row;
    int head = row / config->head_dim, within = row % config->head_dim;
    return head * config->head_dim + within % 2 * (config->head_dim / 2) + within / 2;
}
