// layer_view.c - a source of weights that reads one layer of another source.
#include "engine/quantize/layer_view.h"

#include <stdlib.h>
#include <string.h>

#include "engine/model/arch.h"

struct layer_view {
    const struct checkpoint *source;
    int layer;
    const struct layer_state *state;
    const int32_t *ids;
};

static void view_read_rows(const void *self, enum tensor_role role, int layer, int row0, int rows,
                           float *out, size_t ld)
{
    const struct layer_view *v = self;
    const struct source_ops *ops = v->source->ops;
    if (role == T_EMBEDDING && v->ids) {
        for (int r = 0; r < rows; r++)
            ops->read_rows(v->source->self, role, -1, v->ids[row0 + r], 1, out + (size_t)r * ld,
                           ld);
        return;
    }
    ops->read_rows(v->source->self, role, layer < 0 ? -1 : v->layer, row0, rows, out, ld);
    if (v->state && layer == 0)
        layer_state_apply(v->state, role, row0, rows, out, ld);
}

static enum dtype view_stored_type(const void *self, enum tensor_role role, int layer)
{
    (void)self, (void)role, (void)layer;
    return DT_F32;
}

static enum status view_content_hash(const void *self, char hex[65], struct error *err)
{
    (void)self, (void)hex;
    return FAIL(err, ERR_INTERNAL, "a layer of a model has no hash of its own");
}

static const struct source_ops view_ops = {
    .format = "layer",
    .read_rows = view_read_rows,
    .stored_type = view_stored_type,
    .content_hash = view_content_hash,
    .destroy = free,
};

static void config_of_layer(struct model_config *c, int layer, int vocab)
{
    bool windowed = model_window(c, layer) > 0;
    memset(c->full_layers, 0, sizeof c->full_layers);
    c->full_layers[0] = windowed ? 0 : 1;
    c->layers = 1;
    c->vocab = vocab;
    c->tied = true;
    c->head_bias = false;
    c->bos = c->eos = -1;
}

enum status layer_view_create(const struct checkpoint *source, int layer,
                              const struct layer_state *state, const int32_t *ids, int vocab,
                              struct checkpoint **out, struct error *err)
{
    struct checkpoint *ck = calloc(1, sizeof *ck);
    struct layer_view *view = calloc(1, sizeof *view);
    *out = NULL;
    if (!ck || !view) {
        free(ck);
        free(view);
        return FAIL(err, ERR_NOMEM, "a layer of %s", source->config.name);
    }
    *view = (struct layer_view){.source = source, .layer = layer, .state = state, .ids = ids};
    ck->config = source->config;
    config_of_layer(&ck->config, layer, ids ? vocab : 1);
    ck->ops = &view_ops;
    ck->self = view;
    *out = ck;
    return OK;
}
