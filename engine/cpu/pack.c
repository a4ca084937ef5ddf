// pack.c - packs weights once: source rows -> 16 f32 rows of scratch per thread -> one panel.
// Quantized weights pass through codes. These are the checkpoint's own codes if it stores them in the same format.
//
// Each thread packs the panels that it reads in decode, so that on a machine with several memory nodes they are local
// to it. No f32 copy exceeds 16 rows, and pages of the source are released at once. So a load needs memory for the
// packed model and for the part of the file being read.
#include "engine/cpu/cpu.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/arena.h"
#include "base/pool.h"
#include "engine/load/source.h"
#include "engine/model/sizes.h"

// One thread's scratch: 16 rows as f32, and as codes with scales and zeros.
struct packing_scratch {
    float *rows, *scales;
    uint8_t *codes, *zeros;
};

struct packing {
    const struct checkpoint *ck;
    struct cpu_model *model;
    struct packing_scratch *scratch; // (threads)
    size_t widest;
    engine_progress *progress; // called by worker 0
    void *user;
    atomic_bool stop; // progress asked to stop: no worker packs another row
    atomic_flag *bad; // set by the first thread that finds a weight that is not finite;
    char *bad_text;   // its location, TENSOR_BAD_BYTES
};

struct pack_worker {
    struct packing *packing;
    int worker, workers;
    int steps; // layers that are done
};

// Whether to continue. Worker 0 asks before each few rows, so that a request to stop does not wait for a layer.
static bool is_wanted(const struct pack_worker *w)
{
    struct packing *p = w->packing;
    double steps = p->model->config.layers + 1;
    if (w->worker == 0 && p->progress && !atomic_load_explicit(&p->stop, memory_order_relaxed) &&
        !p->progress(p->user, w->steps / steps))
        atomic_store_explicit(&p->stop, true, memory_order_relaxed);
    return !atomic_load_explicit(&p->stop, memory_order_relaxed);
}

static void say_bad(const struct packing *p, enum tensor_role role, int layer, int row, float value)
{
    if (!atomic_flag_test_and_set(p->bad))
        tensor_bad_text(role, layer, row, value, p->bad_text);
}

// Reads rows as f32 and checks each weight, because a single NaN would spoil every later token.
static void read_rows(const struct packing *p, enum tensor_role role, int layer, int row0, int rows,
                      float *out, size_t ld)
{
    int cols = tensor_shape(&p->model->config, role).cols;
    p->ck->ops->read_rows(p->ck->self, role, layer, row0, rows, out, ld);
    for (int r = 0; r < rows; r++) {
        const float *row = out + (size_t)r * ld;
        bool finite = true;
        for (int c = 0; c < cols; c++)
            finite &= fabsf(row[c]) <= FLT_MAX;
        for (int c = 0; !finite && c < cols; c++)
            if (!isfinite(row[c]))
                say_bad(p, role, layer, row0 + r, row[c]);
    }
}

static void release_rows(const struct packing *p, enum tensor_role role, int layer, int row0,
                         int rows)
{
    if (p->ck->ops->release && rows > 0)
        p->ck->ops->release(p->ck->self, role, layer, row0, rows);
}

static void pack_quantized(const struct packing *p, const struct packing_scratch *s,
                           const struct cpu_matrix *matrix, enum tensor_role role, int layer,
                           int row0, int rows, void *panel)
{
    struct quant_row row[PANEL_ROWS];
    bool stored = source_has_codes(p->ck, role, layer, matrix->type, matrix->group);
    if (!stored)
        read_rows(p, role, layer, row0, rows, s->rows, p->widest);
    for (int r = 0; r < rows; r++) {
        size_t at = (size_t)r * p->widest;
        row[r] = (struct quant_row){s->codes + at, s->scales + at, s->zeros + at};
        if (stored)
            p->ck->ops->read_codes(p->ck->self, role, layer, row0 + r, row[r]);
        else
            quant_row_rtn(matrix->type, s->rows + at, matrix->cols, matrix->group, row[r]);
        if (!quant_row_is_finite(matrix->type, row[r], matrix->cols, matrix->group))
            say_bad(p, role, layer, row0 + r, NAN);
    }
    quant_pack_panel(matrix->type, row, rows, matrix->cols, matrix->group, panel);
}

// Packs this worker's share of a matrix's panels.
static void pack_matrix(const struct pack_worker *w, const struct weight *weight)
{
    const struct packing *p = w->packing;
    const struct weight_part *part = weight->part; // the CPU backend stacks nothing
    const struct cpu_matrix *matrix = weight->to;
    float *scratch = p->scratch[w->worker].rows;
    size_t bytes = cpu_panel_bytes(matrix);
    int begin, end;
    pool_share(kernel_panel_count(matrix->rows), 1, w->worker, w->workers, &begin, &end);
    for (int panel = begin; panel < end && is_wanted(w); panel++) {
        int row0 = panel * PANEL_ROWS, rows = matrix->rows - row0;
        if (rows > PANEL_ROWS)
            rows = PANEL_ROWS;
        unsigned char *to = matrix->packed + (size_t)panel * bytes;
        if (dtype_is_quantized(matrix->type)) {
            pack_quantized(p, &p->scratch[w->worker], matrix, part->role, weight->layer,
                           part->row0 + row0, rows, to);
            continue;
        }
        read_rows(p, part->role, weight->layer, part->row0 + row0, rows, scratch, p->widest);
        kernel_pack_panel(matrix->type, scratch, rows, matrix->cols, p->widest, to);
    }
    int row0 = begin * PANEL_ROWS, row1 = end * PANEL_ROWS;
    release_rows(p, part->role, weight->layer, part->row0 + row0,
                 (row1 < matrix->rows ? row1 : matrix->rows) - row0);
}

// Packs a whole vector; workers take vectors in turn.
static void pack_vector(const struct pack_worker *w, const struct weight *weight)
{
    const struct weight_part *part = weight->part;
    if ((weight->layer + 1 + (int)part->role) % w->workers == w->worker)
        read_rows(w->packing, part->role, weight->layer, 0, 1, *(float **)weight->to,
                  (size_t)weight->cols);
}

// Packs rows of a table as they are added to the residual stream: in a plain type, not in panels.
static void pack_table(const struct pack_worker *w, const struct weight *weight)
{
    const struct packing *p = w->packing;
    const struct cpu_model *m = p->model;
    const struct weight_part *part = weight->part;
    int width = weight->cols, begin, end;
    float *row = p->scratch[w->worker].rows;
    unsigned char *table = *(unsigned char **)weight->to;
    size_t row_bytes = (size_t)width * cpu_element_bytes(scheme_embedding(m->scheme));
    pool_share(part->rows, 1, w->worker, w->workers, &begin, &end);
    for (int i = begin; i < end && (i % PANEL_ROWS || is_wanted(w)); i++) {
        read_rows(p, part->role, -1, i, 1, row, p->widest);
        m->kernels.embedding_cast(table + (size_t)i * row_bytes, row, width, width);
    }
    release_rows(p, part->role, -1, begin, end - begin);
}

static void pack_weight(void *arg, const struct weight *weight)
{
    switch (weight->kind) {
    case WEIGHT_VECTOR:
        pack_vector(arg, weight);
        break;
    case WEIGHT_TABLE:
        pack_table(arg, weight);
        break;
    case WEIGHT_PRODUCT:
    case WEIGHT_ROUTER:
    case WEIGHT_HEAD:
        pack_matrix(arg, weight);
        break;
    }
}

static void pack_job(void *arg, int worker, int workers)
{
    struct packing *p = arg;
    struct pack_worker w = {p, worker, workers, 0};
    const struct model_config *config = &p->model->config;
    for (; w.steps <= config->layers && is_wanted(&w);
         w.steps++) // last: what is outside the layers
        cpu_weights_walk(config, p->model->scheme, &p->model->weights,
                         w.steps < config->layers ? w.steps : -1, pack_weight, &w);
    is_wanted(&w);
}

// Cuts one block of memory into scratch for every thread; measures it if there is no memory yet.
static size_t scratch_place(struct packing *p, unsigned char *memory, int threads)
{
    struct cpu_cursor cursor = {.base = memory};
    size_t n = sat_mul(PANEL_ROWS, p->widest);
    for (int i = 0; i < threads; i++) {
        p->scratch[i].rows = cpu_take(&cursor, n, sizeof(float));
        p->scratch[i].scales = cpu_take(&cursor, n, sizeof(float));
        p->scratch[i].codes = cpu_take(&cursor, n, 1);
        p->scratch[i].zeros = cpu_take(&cursor, n, 1);
    }
    return cursor.used_bytes;
}

enum status cpu_pack(struct cpu_model *m, const struct checkpoint *ck, engine_progress *progress,
                     void *user, struct error *err)
{
    atomic_flag bad = ATOMIC_FLAG_INIT;
    char bad_text[TENSOR_BAD_BYTES] = "";
    struct packing p = {
        .ck = ck,
        .model = m,
        .widest = sat_align((size_t)tensor_widest_row(&m->config)),
        .progress = progress,
        .user = user,
        .bad = &bad,
        .bad_text = bad_text,
    };
    int threads = pool_threads(m->pool);
    p.scratch = calloc((size_t)threads, sizeof *p.scratch);
    size_t bytes = p.scratch ? scratch_place(&p, NULL, threads) : 0;
    unsigned char *memory = p.scratch ? aligned_alloc_zeroed(bytes) : NULL;
    if (memory) {
        scratch_place(&p, memory, threads);
        pool_run(m->pool, pack_job, &p);
    } else {
        FAIL(err, ERR_NOMEM, "%zu bytes to pack weights in", bytes);
    }
    aligned_release(memory);
    free(p.scratch);
    if (bad_text[0])
        FAIL(err, ERR_FORMAT, "%s", bad_text);
    else if (atomic_load(&p.stop))
        FAIL(err, ERR_INTERRUPTED, "stopped");
    return err->code;
}
