// flow.c - loads one layer, runs it on all windows and reads its tap points.
#include "engine/quantize/flow.h"

#include <stdlib.h>
#include <string.h>

#include "engine/model/model.h"
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

// Rows [at, at + rows->rows) of `kept` become an expert's inputs times its shares in the tokens' sums.
static void weigh(const struct flow_rows *kept, size_t at, const struct engine_rows *rows)
{
    for (int r = 0; r < rows->rows; r++) {
        float *x = kept->x + (at + (size_t)r) * (size_t)rows->cols;
        kept->expert[at + (size_t)r] = rows->expert;
        for (int c = 0; c < rows->cols; c++)
            x[c] *= rows->share[r];
    }
}

static void on_rows(void *user, const struct engine_rows *rows)
{
    struct tapping *t = user;
    const struct flow_rows *kept = &t->kept[rows->point];
    size_t cols = (size_t)rows->cols, at = t->seen[rows->point];
    t->seen[rows->point] += (size_t)rows->rows;
    if (rows->point == POINT_LAYER_INPUT && t->in)
        copy_rows(rows->x, rows->ld, t->in + at * cols, cols, rows->rows, rows->cols);
    if (!kept->x)
        return;
    copy_rows(kept->x + at * cols, cols, rows->x, rows->ld, rows->rows, rows->cols);
    if (rows->share)
        weigh(kept, at, rows);
}

// ---- runs ------------------------------------------------------------------------------------------------

// Each window is a sequence. tokens: (windows, length) ids; NULL: all 0.
// The progress of the flow's owner, whatever a layer's load reports.
static bool ask(void *user, double done)
{
    const struct flow *flow = user;
    (void)done;
    return !flow->progress || flow->progress(flow->user, flow->done);
}

// Windows run one by one, so that a stop request is answered soon. One step for all would give the same bits.
static enum status step_all(const struct flow *flow, struct context *ctx, const int32_t *tokens,
                            struct error *err)
{
    enum status status = OK;
    struct step_result unused;
    int32_t *zeros = calloc((size_t)flow->length, sizeof *zeros);
    if (!zeros)
        status = FAIL(err, ERR_NOMEM, "ids of %d tokens", flow->length);
    for (int i = 0; status == OK && i < flow->windows; i++) {
        struct span span = {
            .sequence = i,
            .count = flow->length,
            .tokens = tokens ? tokens + (size_t)i * (size_t)flow->length : zeros,
            .logits = LOGITS_NONE,
        };
        status = ask((void *)(uintptr_t)flow, 0)
                     ? context_step(ctx, &span, 1, PHASE_PREFILL, &unused, err)
                     : FAIL(err, ERR_INTERRUPTED, "stopped");
    }
    free(zeros);
    return status;
}

// If the run never reached a requested point, its rows would silently be zeros.
static enum status check_shown(const struct flow *flow, const struct model_config *config,
                               const struct tapping *tapping, struct error *err)
{
    for (int p = 0; p < ENGINE_POINTS; p++) {
        size_t rows = flow_tokens(flow);
        if (p == POINT_EXPERT_DOWN_INPUT)
            rows *= (size_t)config->experts_used;
        if (tapping->kept[p].x && tapping->seen[p] != rows)
            return FAIL(err, ERR_INTERNAL, "%zu of %zu rows were shown at point %d of a layer",
                        tapping->seen[p], rows, p);
    }
    return OK;
}

static bool attention_alone(const struct flow_rows *kept)
{
    for (int p = POINT_MIDDLE + 1; p < ENGINE_POINTS; p++)
        if (kept[p].x)
            return false;
    return true;
}

static enum status run(const struct flow *flow, struct checkpoint *layer, const int32_t *tokens,
                       struct tapping *tapping, struct error *err)
{
    const struct scheme *row = scheme_find("f32");
    const struct scheme f32 = scheme_resolve(row, row->head, device_target(flow->device));
    struct engine_options options = {.device = flow->device, .scheme = &f32};
    struct context_options shape = {
        .batch = flow->windows, .positions = flow->length, .chunk = flow->length, .kv = DT_F32};
    struct engine_tap tap = {
        .on_rows = on_rows, .user = tapping, .attention_alone = attention_alone(tapping->kept)};
    struct engine_observer observer = {.tap = &tap};
    struct model *model = NULL;
    struct context *ctx = NULL;
    if (model_create(&layer->config, layer, &options, ask, (void *)(uintptr_t)flow, &model, err) ==
            OK &&
        context_create(model, &shape, &ctx, err) == OK) {
        context_observe(ctx, &observer);
        if (step_all(flow, ctx, tokens, err) == OK)
            check_shown(flow, &layer->config, tapping, err);
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

// Writes the distinct ids in rising order. Returns their number.
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

// The view has only the embedding rows that the text uses: vocabularies are large.
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
