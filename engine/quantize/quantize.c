// quantize.c - a checkpoint quantized to a folder: rounding to nearest, row by row; AWQ elsewhere.
//
// Blocks of rows are read and rounded by all threads, then put into the file by one. Where the source has the
// very codes that are wanted, they go over as they are.
#include <math.h>
#include <stdlib.h>

#include "base/arena.h"
#include "engine/quantize/quantize.h"
#include "kernels/quant.h"

enum { BLOCK_ROWS = 128 };

struct block {
    const struct checkpoint *ck;
    const struct quant_output *output;
    enum tensor_role role;
    int layer, row0, rows, cols, groups;
    bool as_stored;
    struct quant_row data[BLOCK_ROWS];
    float *rows_f32; // (BLOCK_ROWS, widest)
    int widest;
};

static void round_rows(void *arg, int worker, int workers)
{
    struct block *b = arg;
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
        quant_row_rtn(b->output->type, row, b->cols, b->output->group, b->data[r]);
    }
}

static void read_plain(void *arg, int worker, int workers)
{
    struct block *b = arg;
    int begin, end;
    pool_share(b->rows, 1, worker, workers, &begin, &end);
    if (begin < end)
        b->ck->ops->read_rows(b->ck->self, b->role, b->layer, b->row0 + begin, end - begin,
                              b->rows_f32 + (size_t)begin * (size_t)b->widest, (size_t)b->widest);
}

static enum status check_finite(const struct block *b, struct error *err)
{
    for (int r = 0; r < b->rows; r++)
        for (int g = 0; g < b->groups; g++)
            if (!isfinite(b->data[r].scales[g]))
                return FAIL(err, ERR_FORMAT,
                            "%s: layer %d, %s, row %d: a weight is NaN or infinite", b->ck->path,
                            b->layer, tensor_role_name(b->role), b->row0 + r);
    return OK;
}

static bool same_codes(const struct block *b)
{
    struct stored_quant stored;
    const struct source_ops *ops = b->ck->ops;
    return ops->quantization && ops->quantization(b->ck->self, b->role, b->layer, &stored) &&
           stored.type == b->output->type &&
           (stored.type != DT_I4 || stored.group == b->output->group);
}

static enum status quantize_tensor(struct block *b, struct pool *pool, struct quant_writer *w,
                                   struct error *err)
{
    struct tensor_shape shape = tensor_shape(&b->ck->config, b->role);
    bool codes = quant_writer_wants_codes(w, b->role);
    b->cols = shape.cols;
    b->groups = quant_groups(b->output->type, b->cols, b->output->group);
    b->as_stored = codes && same_codes(b);
    for (b->row0 = 0; b->row0 < shape.rows; b->row0 += b->rows) {
        b->rows = shape.rows - b->row0 < BLOCK_ROWS ? shape.rows - b->row0 : BLOCK_ROWS;
        pool_run(pool, codes ? round_rows : read_plain, b);
        if (codes) {
            TRY(check_finite(b, err));
            TRY(quant_writer_codes(w, b->role, b->layer, b->row0, b->rows, b->data, err));
        } else {
            TRY(quant_writer_rows(w, b->role, b->layer, b->row0, b->rows, b->rows_f32,
                                  (size_t)b->widest, err));
        }
    }
    return OK;
}

static enum status quantize_all(struct block *b, struct pool *pool, struct quant_writer *w,
                                engine_progress *progress, void *user, struct error *err)
{
    const struct model_config *config = &b->ck->config;
    for (b->layer = -1; b->layer < config->layers; b->layer++) {
        for (int role = 0; role < T_ROLE_COUNT; role++) {
            b->role = (enum tensor_role)role;
            if ((role <= T_FINAL_NORM) == (b->layer < 0) && tensor_shape(config, b->role).rows)
                TRY(quantize_tensor(b, pool, w, err));
        }
        if (progress)
            progress(user, (b->layer + 2) / (double)(config->layers + 1));
    }
    return OK;
}

static enum status take_buffers(struct block *b, uint8_t **codes, float **scales, uint8_t **zeros,
                                struct error *err)
{
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        int cols = tensor_shape(&b->ck->config, (enum tensor_role)role).cols;
        if (cols > b->widest)
            b->widest = cols;
    }
    size_t widest = (size_t)b->widest;
    size_t groups = (size_t)quant_groups(b->output->type, b->widest, b->output->group);
    *codes = malloc(BLOCK_ROWS * widest);
    *scales = malloc(BLOCK_ROWS * groups * sizeof **scales);
    *zeros = malloc(BLOCK_ROWS * groups);
    b->rows_f32 = aligned_alloc_zeroed(BLOCK_ROWS * widest * sizeof *b->rows_f32);
    if (!*codes || !*scales || !*zeros || !b->rows_f32)
        return FAIL(err, ERR_NOMEM, "%s: no memory for %d rows", b->ck->path, BLOCK_ROWS);
    for (size_t r = 0; r < BLOCK_ROWS; r++)
        b->data[r] =
            (struct quant_row){*codes + r * widest, *scales + r * groups, *zeros + r * groups};
    return OK;
}

enum status quantize_rtn(const struct checkpoint *ck, const struct quant_output *output,
                         struct pool *pool, const char *out, engine_progress *progress, void *user,
                         struct error *err)
{
    struct quant_writer *writer = NULL;
    uint8_t *codes = NULL, *zeros = NULL;
    float *scales = NULL;
    struct block *b = calloc(1, sizeof *b);
    enum status status;
    if (!b)
        return FAIL(err, ERR_NOMEM, "%s: no memory", ck->path);
    b->ck = ck;
    b->output = output;
    if ((status = quant_writer_open(ck, output, out, &writer, err)) != OK)
        goto out;
    if ((status = take_buffers(b, &codes, &scales, &zeros, err)) != OK)
        goto out;
    if ((status = quantize_all(b, pool, writer, progress, user, err)) != OK)
        goto out;
    status = quant_writer_finish(writer, err);
    writer = NULL;
out:
    quant_writer_destroy(writer);
    aligned_release(b->rows_f32);
    free(codes);
    free(scales);
    free(zeros);
    free(b);
    return status;
}

// ---- the public call ----------------------------------------------------------------------------------

// Plain tensors keep the type most of them have: that of the embedding.
static enum dtype plain_type(const struct checkpoint *ck)
{
    enum dtype type = ck->ops->stored_type(ck->self, T_EMBEDDING, -1);
    return type == DT_F16 || type == DT_F32 ? type : DT_BF16;
}

enum status checkpoint_quantize(const struct checkpoint *ck, const struct quantize_options *options,
                                const char *out, engine_progress *progress, void *user,
                                struct error *err)
{
    static const struct {
        const char *scheme;
        enum dtype type;
    } kinds[] = {{"int8", DT_I8}, {"fp8", DT_F8E4M3}, {"int4-rtn", DT_I4}};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        if (str_equal(kinds[i].scheme, options->scheme)) {
            struct quant_output output = {.type = kinds[i].type,
                                          .group = options->group ? options->group : QUANT_GROUP,
                                          .plain = plain_type(ck),
                                          .made_by = options->scheme};
            return quantize_rtn(ck, &output, options->pool, out, progress, user, err);
        }
    return FAIL(err, ERR_UNSUPPORTED,
                "--scheme %s: no layout to write it in (int8, fp8 and int4-rtn have one)",
                options->scheme);
}
