// pack.c - packs weights once, tile by tile on all cores, and uploads them in pieces.
//
// Host memory holds one piece of a matrix at a time. Codes of the checkpoint are used unchanged where it stores them in
// the scheme's format.
#include "engine/cuda/cuda.h"

#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/pool.h"
#include "engine/load/source.h"
#include "engine/model/sizes.h"

enum { PIECE_BYTES = 64 << 20 };

// Scratch of one thread: 16 rows as f32, and as codes with their scales and zeros.
struct packing_scratch {
    float *rows, *scales;
    uint8_t *codes, *zeros;
};

struct packing {
    const struct checkpoint *ck;
    struct gpu_model *model;
    struct pool *pool;
    struct packing_scratch *scratch; // (threads)
    size_t widest;
    unsigned char *piece; // (PIECE_BYTES, or a tile where that is larger)
    size_t piece_bytes;
    const struct weight *item; // the current weight: its tiles, or rows, [begin, end)
    int begin, end;
    int done; // layers so far
    engine_progress *progress;
    void *user;
    bool stop;
    atomic_flag bad; // set by the first thread that finds a weight that is not finite
    char bad_text[TENSOR_BAD_BYTES];
    struct error *err;
};

static void say_bad(struct packing *p, enum tensor_role role, int layer, int row, float value)
{
    if (!atomic_flag_test_and_set(&p->bad))
        tensor_bad_text(role, layer, row, value, p->bad_text);
}

static void read_row(struct packing *p, enum tensor_role role, int layer, int row, int cols,
                     float *out)
{
    p->ck->ops->read_rows(p->ck->self, role, layer, row, 1, out, (size_t)cols);
    for (int c = 0; c < cols; c++)
        if (!isfinite(out[c])) {
            say_bad(p, role, layer, row, out[c]);
            return;
        }
}

// The role that a stacked row belongs to, and its row in that role.
static enum tensor_role role_of(const struct weight *item, int row, int *own)
{
    int i = 0;
    while (row >= item->part[i].rows)
        row -= item->part[i++].rows;
    *own = item->part[i].row0 + row;
    return item->part[i].role;
}

// Copies the codes of the checkpoint where they have the meaning of this matrix's codes; else rounds to nearest.
static void code_row(struct packing *p, enum tensor_role role, int row, float *space,
                     struct quant_row out)
{
    const struct weight *item = p->item;
    if (source_has_codes(p->ck, role, item->layer, item->type, item->group)) {
        p->ck->ops->read_codes(p->ck->self, role, item->layer, row, out);
    } else {
        read_row(p, role, item->layer, row, item->cols, space);
        quant_row_rtn(item->type, space, item->cols, item->group, out);
    }
    if (!quant_row_is_finite(item->type, out, item->cols, item->group))
        say_bad(p, role, item->layer, row, NAN);
}

static void pack_tile(struct packing *p, int worker, int tile, void *to)
{
    const struct weight *item = p->item;
    const struct gpu_matrix *m = item->to;
    const struct packing_scratch *s = &p->scratch[worker];
    struct quant_row row[CUDA_TILE_ROWS];
    int row0 = tile * CUDA_TILE_ROWS, count = m->layout.rows - row0, own;
    count = count < CUDA_TILE_ROWS ? count : CUDA_TILE_ROWS;
    for (int r = 0; r < count; r++) {
        enum tensor_role role = role_of(item, row0 + r, &own);
        size_t at = (size_t)r * p->widest;
        row[r] = (struct quant_row){s->codes + at, s->scales + at, s->zeros + at};
        if (dtype_is_quantized(item->type))
            code_row(p, role, own, s->rows + at, row[r]);
        else
            read_row(p, role, item->layer, own, item->cols, s->rows + at);
    }
    if (dtype_is_quantized(item->type))
        cuda_pack_codes(&m->layout, row, count, item->group, to);
    else
        cuda_pack_plain(&m->layout, s->rows, count, p->widest, to);
}

static void pack_job(void *arg, int worker, int workers)
{
    struct packing *p = arg;
    const struct weight *item = p->item;
    int begin, end, own;
    pool_share(p->end - p->begin, 1, worker, workers, &begin, &end);
    if (weight_is_matrix(item->kind)) {
        size_t bytes = ((const struct gpu_matrix *)item->to)->layout.tile_bytes;
        for (int t = begin; t < end; t++)
            pack_tile(p, worker, p->begin + t, p->piece + (size_t)t * bytes);
        return;
    }
    const struct kernel *cast = kernel_reference(KOP_CAST, DT_F32, item->type);
    size_t bytes = (size_t)item->cols * (size_t)cuda_element_bytes(item->type);
    for (int r = begin; r < end; r++) {
        float *row = p->scratch[worker].rows;
        enum tensor_role role = role_of(item, p->begin + r, &own);
        read_row(p, role, item->layer, own, item->cols, row);
        cast->fn.cast(p->piece + (size_t)r * bytes, row, item->cols, item->cols);
    }
}

// Whether to continue. Called before each piece, so that a request to stop does not wait for a layer.
static bool is_wanted(struct packing *p)
{
    double steps = p->model->config.layers + 1;
    p->stop = p->stop || (p->progress && !p->progress(p->user, (p->done - 1) / steps));
    return !p->stop;
}

// Uploads `count` tiles of a matrix or rows of a table, `bytes` each, to `to`.
static void upload(struct packing *p, const struct weight *item, unsigned char *to, int count,
                   size_t bytes)
{
    int most = (int)(p->piece_bytes / bytes);
    for (int at = 0; at < count && !p->err->code && is_wanted(p); at += most) {
        p->item = item;
        p->begin = at;
        p->end = at + most < count ? at + most : count;
        pool_run(p->pool, pack_job, p);
        device_copy_in(p->model->device, to + (size_t)at * bytes, p->piece,
                       (size_t)(p->end - at) * bytes, p->err);
    }
}

static void upload_vector(struct packing *p, const struct weight *item)
{
    float *to = *(float **)item->to, *row = p->scratch[0].rows;
    for (int i = 0; i < item->parts; i++) {
        int cols = item->part[i].cols;
        read_row(p, item->part[i].role, item->layer, 0, cols, row);
        if (device_copy_in(p->model->device, to, row, (size_t)cols * sizeof *row, p->err) != OK)
            return;
        to += cols;
    }
}

static void pack_item(void *arg, const struct weight *item)
{
    struct packing *p = arg;
    if (p->err->code || p->stop)
        return;
    if (item->layer + 1 > p->done)
        p->done = item->layer + 1;
    if (item->kind == WEIGHT_VECTOR) {
        upload_vector(p, item);
    } else if (weight_is_matrix(item->kind)) {
        const struct gpu_matrix *m = item->to;
        upload(p, item, m->w, m->layout.tiles, m->layout.tile_bytes);
    } else {
        upload(p, item, *(void **)item->to, weight_rows(item),
               (size_t)item->cols * (size_t)cuda_element_bytes(item->type));
    }
    for (int i = 0; i < item->parts && p->ck->ops->release; i++)
        p->ck->ops->release(p->ck->self, item->part[i].role, item->layer, item->part[i].row0,
                            item->part[i].rows);
}

// Updates the longest row, and the largest tile or table row.
static void size_item(void *arg, const struct weight *item)
{
    struct packing *p = arg;
    size_t bytes = (size_t)item->cols * 4;
    for (int i = 0; i < item->parts; i++)
        if ((size_t)item->part[i].cols > p->widest)
            p->widest = (size_t)item->part[i].cols;
    if (weight_is_matrix(item->kind))
        bytes = ((const struct gpu_matrix *)item->to)->layout.tile_bytes;
    if (bytes > p->piece_bytes)
        p->piece_bytes = bytes;
}

static void *scratch_make(struct packing *p, int threads)
{
    size_t n = CUDA_TILE_ROWS * p->widest, each = n * (2 * sizeof(float) + 2);
    unsigned char *memory = malloc(sat_mul((size_t)threads, each));
    for (int i = 0; memory && i < threads; i++) {
        unsigned char *at = memory + (size_t)i * each;
        p->scratch[i].rows = (float *)(void *)at;
        p->scratch[i].scales = p->scratch[i].rows + n;
        p->scratch[i].codes = at + 2 * n * sizeof(float);
        p->scratch[i].zeros = p->scratch[i].codes + n;
    }
    return memory;
}

enum status gpu_pack(struct gpu_model *m, const struct checkpoint *ck, engine_progress *progress,
                     void *user, struct error *err)
{
    struct packing p = {
        .ck = ck,
        .model = m,
        .piece_bytes = PIECE_BYTES,
        .progress = progress,
        .user = user,
        .bad = ATOMIC_FLAG_INIT,
        .err = err,
    };
    TRY(pool_create(0, false, &p.pool, err));
    int threads = pool_threads(p.pool);
    gpu_weights_walk(&m->config, m->scheme, &m->weights, size_item, &p);
    p.scratch = calloc((size_t)threads, sizeof *p.scratch);
    void *memory = p.scratch ? scratch_make(&p, threads) : NULL;
    p.piece = malloc(p.piece_bytes);
    if (memory && p.piece)
        gpu_weights_walk(&m->config, m->scheme, &m->weights, pack_item, &p);
    else
        FAIL(err, ERR_NOMEM, "%zu bytes to pack weights in", p.piece_bytes);
    free(p.piece);
    free(memory);
    free(p.scratch);
    pool_destroy(p.pool);
    if (p.bad_text[0])
        FAIL(err, ERR_FORMAT, "%s", p.bad_text);
    else if (p.stop)
        FAIL(err, ERR_INTERRUPTED, "stopped");
    else if (!err->code && progress && !progress(user, 1))
        FAIL(err, ERR_INTERRUPTED, "stopped");
    return err->code;
}
