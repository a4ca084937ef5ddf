// flow.c - one layer loaded, run on all windows, and watched at its tap points.
#include "engine/quantize/flow.h"

#include <stdlib.h>
#include <string.h>

#include "engine/quantize/layer_view.h"

size_t flow_tokens(const struct flow *flow)
{
    return (size_t)flow->windows * (size_t)flow->length;
}

// ---- the tap ---------------------------------------------------------------------------------------------

// Rows come pass by pass, in the order of the windows.
struct tapping {
    const float *in;
    const struct flow_rows *kept;
    size_t seen[ENGINE_POINTS];
};

static void copy_rows(float *to, size_t to_ld, const float *from, size_t from_ld, int rows,
                      int cols)
{
    for (int r = 0; r < rows; r++)
        memcpy(to + (size_t)r * to_ld, from + (size_t)r * from_ld, (size_t)cols * sizeof *to);
}

static void on_rows(void *user, enum engine_point point, int layer, float *x, int rows, int cols,
                    size_t ld)
{
    struct tapping *t = user;
    size_t at = t->seen[point] * (size_t)cols;
    (void)layer; // there is one
    t->seen[point] += (size_t)rows;
    if (point == POINT_LAYER_INPUT && t->in)
        copy_rows(x, ld, t->in + at, (size_t)cols, rows, cols);
    if (t->kept[point].x)
        copy_rows(t->kept[point].x + at, (size_t)cols, x, ld, rows, cols);
}

// ---- runs ------------------------------------------------------------------------------------------------

// Every window is a sequence; tokens: (windows, length) ids, or NULL: all 0.
static enum status step_all(const struct flow *flow, struct context *ctx, const int32_t *tokens,
                            struct error *err)
{
    enum status status = OK;
    const float *logits;
    struct span *spans = calloc((size_t)flow->windows, sizeof *spans);
    int32_t *zeros = calloc((size_t)flow->length, sizeof *zeros);
    if (!spans || !zeros)
        status = FAIL(err, ERR_NOMEM, "spans of %d windows", flow->windows);
    for (int i = 0; status == OK && i < flow->windows; i++)
        spans[i] = (struct span){
            .sequence = i,
            .count = flow->length,
            .tokens = tokens ? tokens + (size_t)i * (size_t)flow->length : zeros,
            .logits = LOGITS_NONE,
        };
    if (status == OK)
        status = context_step(ctx, spans, flow->windows, PHASE_PREFILL, &logits, err);
    free(spans);
    free(zeros);
    return status;
}

static enum status run(const struct flow *flow, struct checkpoint *layer, const int32_t *tokens,
                       struct tapping *tapping, struct error *err)
{
    const struct scheme *f32 = scheme_find("f32");
    struct engine_options options = {
        .device = "cpu", .scheme = f32, .pool = flow->pool, .isa = flow->isa};
    struct context_options shape = {
        .batch = flow->windows, .positions = flow->length, .chunk = flow->length, .kv = DT_F32};
    struct engine_tap tap = {.on_rows = on_rows, .user = tapping};
    struct engine_observer observer = {.tap = &tap};
    struct model *model = NULL;
    struct context *ctx = NULL;
    if (model_load(layer, &options, NULL, NULL, &model, err) == OK &&
        context_create(model, &shape, &ctx, err) == OK) {
        context_observe(ctx, &observer);
        step_all(flow, ctx, tokens, err);
    }
    context_destroy(ctx);
    model_destroy(model);
    return err->code;
}

enum status flow_run(const struct flow *flow, struct checkpoint *layer, const float *in,
                     const struct flow_rows *kept, struct error *err)
{
    struct tapping tapping = {.in = in, .kept = kept};
    return run(flow, layer, NULL, &tapping, err);
}

// ---- the embedding ---------------------------------------------------------------------------------------

static int by_id(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    return (x > y) - (x < y);
}

// The distinct ids in rising order; returns how many.
static int distinct(const int32_t *ids, size_t count, int32_t *out)
{
    int kept = 0;
    memcpy(out, ids, count * sizeof *out);
    qsort(out, count, sizeof *out, by_id);
    for (size_t i = 0; i < count; i++)
        if (!kept || out[kept - 1] != out[i])
            out[kept++] = out[i];
    return kept;
}

// Only the rows of the embedding that the text has go into the view: vocabularies are large.
enum status flow_embed(const struct flow *flow, const struct checkpoint *ck,
                       const struct calib_text *text, float *out, struct error *err)
{
    size_t count = flow_tokens(flow);
    int32_t *ids = calloc(count, sizeof *ids), *tokens = calloc(count, sizeof *tokens);
    struct flow_rows kept[ENGINE_POINTS] = {[POINT_LAYER_INPUT] = {.x = out, .cols = flow->width}};
    struct tapping tapping = {.kept = kept};
    struct checkpoint *view = NULL;
    if (!ids || !tokens) {
        FAIL(err, ERR_NOMEM, "%zu token ids", count);
    } else {
        int vocab = distinct(text->ids, count, ids);
        for (size_t i = 0; i < count; i++) {
            const int32_t *at = bsearch(&text->ids[i], ids, (size_t)vocab, sizeof *ids, by_id);
            tokens[i] = (int32_t)(at - ids);
        }
        if (layer_view_create(ck, 0, NULL, ids, vocab, &view, err) == OK)
            run(flow, view, tokens, &tapping, err);
    }
    checkpoint_destroy(view);
    free(ids);
    free(tokens);
    return err->code;
}
