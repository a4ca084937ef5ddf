// quantizer.c - writes a checkpoint's layers to a folder: reads rows, scales and cuts them, rounds, writes.
//
// All threads read and round a block of rows, then one thread writes it. Codes that the source already has in the
// wanted form are copied unchanged.
#include <stdlib.h>

#include "base/arena.h"
#include "engine/quantize/product.h"
#include "engine/quantize/quantizer.h"
#include "kernels/quant.h"

enum { BLOCK_ROWS = 128 };

struct quantizer {
    const struct checkpoint *ck;
    const struct quant_output *output;
    struct pool *pool;
    struct quant_writer *writer;
    const struct layer_state *state; // of the current layer, or NULL
    enum tensor_role role;
    int layer, row0, rows, cols, groups;
    bool as_stored;
    struct quant_row data[BLOCK_ROWS];
    float *rows_f32; // (BLOCK_ROWS, widest)
    uint8_t *codes, *zeros;
    float *scales;
    int widest;
    engine_progress *progress; // or NULL; asked after each block of rows
    void *user;
    double done; // what progress receives
};

static void round_rows(void *arg, int worker, int workers)
{
    struct quantizer *b = arg;
    const struct source_ops *ops = b->ck->ops;
    int begin, end;
    pool_share(b->rows, 1, worker, workers, &begin, &end);
    for (int r = begin; r < end; r++) {
        float *row = b->rows_f32 + (size_t)r * (size_t)b->widest;
        if (b->as_stored) {
            ops->read_codes(b->ck->self, b->role, b->layer, b->row0 + r, b->data[r]);
            continue;
        }
        ops->read_rows(b->ck->self, b->role, b->layer, b->row0 + r, 1, row, (size_t)b->widest);
        if (b->state)
            layer_state_codes(b->state, b->role, b->row0 + r, 1, row, (size_t)b->widest,
                              &b->data[r]);
        else
            quant_row_rtn(b->output->type, row, b->cols, b->output->group, b->data[r]);
    }
}

static void read_plain(void *arg, int worker, int workers)
{
    struct quantizer *b = arg;
    int begin, end;
    pool_share(b->rows, 1, worker, workers, &begin, &end);
    float *rows = b->rows_f32 + (size_t)begin * (size_t)b->widest;
    if (begin == end)
        return;
    b->ck->ops->read_rows(b->ck->self, b->role, b->layer, b->row0 + begin, end - begin, rows,
                          (size_t)b->widest);
    if (b->state)
        fold_rows(&b->state->scales, &b->ck->config, b->role, b->row0 + begin, end - begin, rows,
                  (size_t)b->widest);
}

static enum status check_finite(const struct quantizer *b, struct error *err)
{
    for (int r = 0; r < b->rows; r++)
        if (!quant_row_is_finite(b->output->type, b->data[r], b->cols, b->output->group))
            return FAIL(err, ERR_FORMAT, "%s: layer %d, %s, row %d: a weight is NaN or infinite",
                        b->ck->path, b->layer, tensor_role_name(b->role), b->row0 + r);
    return OK;
}

static enum status quantize_tensor(struct quantizer *b, struct error *err)
{
    struct tensor_shape shape = tensor_shape(&b->ck->config, b->role);
    bool codes = tensor_role_is_product(b->role);
    b->cols = shape.cols;
    b->groups = quant_groups(b->output->type, b->cols, b->output->group);
    b->as_stored = codes && !b->state &&
                   source_has_codes(b->ck, b->role, b->layer, b->output->type, b->output->group);
    for (b->row0 = 0; b->row0 < shape.rows; b->row0 += b->rows) {
        b->rows = shape.rows - b->row0 < BLOCK_ROWS ? shape.rows - b->row0 : BLOCK_ROWS;
        pool_run(b->pool, codes ? round_rows : read_plain, b);
        if (codes) {
            TRY(check_finite(b, err));
            TRY(quantize_writer_codes(b->writer, b->role, b->layer, b->row0, b->rows, b->data,
                                      err));
        } else {
            TRY(quantize_writer_rows(b->writer, b->role, b->layer, b->row0, b->rows, b->rows_f32,
                                     (size_t)b->widest, err));
        }
        if (b->progress && !b->progress(b->user, b->done))
            return FAIL(err, ERR_INTERRUPTED, "stopped");
    }
    return OK;
}

enum status quantizer_layer(struct quantizer *q, int layer, const struct layer_state *state,
                            struct error *err)
{
    q->layer = layer;
    q->state = state;
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        q->role = (enum tensor_role)role;
        if ((role <= T_FINAL_NORM) == (layer < 0) && tensor_shape(&q->ck->config, q->role).rows)
            TRY(quantize_tensor(q, err));
    }
    return OK;
}

// ---- opening and closing --------------------------------------------------------------------------------

static enum status take_buffers(struct quantizer *q, struct error *err)
{
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        int cols = tensor_shape(&q->ck->config, (enum tensor_role)role).cols;
        if (cols > q->widest)
            q->widest = cols;
    }
    size_t widest = (size_t)q->widest;
    size_t groups = (size_t)quant_groups(q->output->type, q->widest, q->output->group);
    q->codes = malloc(BLOCK_ROWS * widest);
    q->scales = malloc(BLOCK_ROWS * groups * sizeof *q->scales);
    q->zeros = malloc(BLOCK_ROWS * groups);
    q->rows_f32 = aligned_alloc_zeroed(BLOCK_ROWS * widest * sizeof *q->rows_f32);
    if (!q->codes || !q->scales || !q->zeros || !q->rows_f32)
        return FAIL(err, ERR_NOMEM, "%s: no memory for %d rows", q->ck->path, BLOCK_ROWS);
    for (size_t r = 0; r < BLOCK_ROWS; r++)
        q->data[r] = (struct quant_row){q->codes + r * widest, q->scales + r * groups,
                                        q->zeros + r * groups};
    return OK;
}

enum status quantizer_open(const struct checkpoint *ck, const struct quant_output *output,
                           struct pool *pool, const char *out, struct quantizer **quantizer,
                           struct error *err)
{
    struct quantizer *q = calloc(1, sizeof *q);
    *quantizer = NULL;
    if (!q)
        return FAIL(err, ERR_NOMEM, "%s: no memory", ck->path);
    q->ck = ck;
    q->output = output;
    q->pool = pool;
    if (quantize_writer_open(ck, output, out, &q->writer, err) == OK && take_buffers(q, err) == OK)
        *quantizer = q;
    else
        quantizer_destroy(q);
    return err->code;
}

void quantizer_watch(struct quantizer *q, engine_progress *progress, void *user, double done)
{
    q->progress = progress;
    q->user = user;
    q->done = done;
}

enum status quantizer_finish(struct quantizer *q, struct error *err)
{
    enum status status = quantize_writer_finish(q->writer, err);
    q->writer = NULL;
    quantizer_destroy(q);
    return status;
}

void quantizer_destroy(struct quantizer *q)
{
    if (!q)
        return;
    quantize_writer_destroy(q->writer);
    aligned_release(q->rows_f32);
    free(q->codes);
    free(q->scales);
    free(q->zeros);
    free(q);
}

enum status quantizer_rtn(const struct checkpoint *ck, const struct quant_output *output,
                          struct pool *pool, const char *out, engine_progress *progress, void *user,
                          struct error *err)
{
    struct quantizer *q = NULL;
    TRY(quantizer_open(ck, output, pool, out, &q, err));
    for (int layer = -1; layer < ck->config.layers; layer++) {
        quantizer_watch(q, progress, user, (layer + 1) / (double)(ck->config.layers + 1));
        if (quantizer_layer(q, layer, NULL, err) != OK) {
            quantizer_destroy(q);
            return err->code;
        }
    }
    if (progress && !progress(user, 1)) {
        quantizer_destroy(q);
        return FAIL(err, ERR_INTERRUPTED, "stopped");
    }
    return quantizer_finish(q, err);
}
