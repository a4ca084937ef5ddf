// convert.c - converts any checkpoint to one GGUF file that llama.cpp and its relatives read.
//
// Names and keys come from the tables of the loader (gguf_plan.h). Memory: a batch of rows, and the tokenizer's keys.
// Vectors stay f32, as in llama.cpp. A matrix whose rows are not whole blocks of the requested type is written as f16
// and counted. Values that would be infinite or NaN in the file are refused.
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"
#include "base/words.h"
#include "engine/load/gguf/gguf.h"
#include "engine/model/rope.h"
#include "engine/save/gguf_check.h"
#include "engine/save/gguf_plan.h"
#include "engine/save/gguf_vocab.h"

enum { BATCH_FLOATS = 1 << 20, TYPES_MAX = 32 };
#define NEW ".new-" // and the process id: suffix of the name until the file is complete

struct converting {
    struct checkpoint *ck;
    const struct stored_type *asked; // NULL: same as stored
    struct gguf_writer *writer;
    struct conversion *report;
    struct gguf_plan plan;
    const struct stored_type **types; // types of the plan's tensors
    float *rows_f32;                  // a batch of rows,
    unsigned char *stored;            // the same rows as written,
    float *back;                      // and as a reader will see them
    size_t widest;
    uint64_t rows_done, rows_all;
    engine_progress *progress;
    void *user;
};

// ---- types ----------------------------------------------------------------------------------------

// The requested type or, if there is none, the type that holds the source's values exactly.
static const struct stored_type *type_for(struct converting *c, const struct gguf_tensor *t)
{
    const struct stored_type *type = c->asked;
    if (t->plain)
        return stored_f32;
    if (!type) {
        enum dtype exact = c->ck->ops->stored_type(c->ck->self, t->roles[0], t->layer);
        type = stored_find(exact == DT_BF16 ? "bf16" : exact == DT_F32 ? "f32" : "f16");
    }
    if (t->cols % (uint64_t)type->block == 0)
        return type;
    c->report->unblocked++;
    return stored_find("f16");
}

// llama.cpp's number for the type of the matrices; -1 if they have several types.
static int file_type(const struct converting *c)
{
    static const struct {
        const char *name;
        int number;
    } numbers[] = {{"f32", 0}, {"f16", 1}, {"q4_0", 2}, {"q8_0", 7}, {"bf16", 32}};
    const struct stored_type *all = c->asked;
    for (size_t i = 0; !c->asked && i < c->plan.count; i++) {
        if (c->plan.tensors[i].plain)
            continue;
        if (all && all != c->types[i])
            return -1;
        all = c->types[i];
    }
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++)
        if (all && str_equal(numbers[i].name, all->name))
            return numbers[i].number;
    return -1;
}

// ---- the head -------------------------------------------------------------------------------------

// A model without a tokenizer still runs on ids alone (llama-bench), if the file says so.
static void put_no_tokenizer(struct converting *c, const char *reason)
{
    snprintf(c->report->no_tokenizer, sizeof c->report->no_tokenizer, "%.255s", reason);
    gguf_put_text(c->writer, "tokenizer.ggml.model", "no_vocab");
}

static enum status put_own_tokenizer(struct converting *c, struct error *err)
{
    const struct model_config *config = &c->ck->config;
    struct tokenizer *tok = NULL;
    struct error why = {0};
    enum status status = checkpoint_tokenizer(c->ck, &tok, &why);
    if (status == OK)
        status = gguf_put_tokenizer(c->writer, tok, config, &why);
    tokenizer_destroy(tok);
    if (status == OK)
        return OK;
    // A tokenizer that is missing, or that GGUF cannot express, is named in the report; a broken one is an error.
    if (status != ERR_UNSUPPORTED && status != ERR_IO)
        return FAIL(err, status, "%s", why.message);
    put_no_tokenizer(c, why.message);
    if (config->bos >= 0)
        gguf_put_u32(c->writer, "tokenizer.ggml.bos_token_id", (uint32_t)config->bos);
    if (config->eos >= 0)
        gguf_put_u32(c->writer, "tokenizer.ggml.eos_token_id", (uint32_t)config->eos);
    return OK;
}

// Copies another GGUF file's tokenizer unchanged; with fewer tokens than rows it is rewritten.
static enum status copy_tokenizer(struct converting *c, struct error *err)
{
    struct file_map map;
    struct gguf *from = NULL;
    TRY(file_map(c->ck->path, &map, err));
    enum status status = gguf_begin(c->ck->path, map.data, map.size_bytes, &from, err);
    const struct gguf_entry *tokens = from ? gguf_find(from, "tokenizer.ggml.tokens") : NULL;
    bool whole = !tokens || tokens->count == (uint64_t)c->ck->config.vocab;
    for (size_t i = 0; status == OK && whole && i < from->entry_count; i++)
        if (from->entries[i].key.bytes > 10 &&
            memcmp(from->entries[i].key.text, "tokenizer.", 10) == 0)
            gguf_put_entry(c->writer, from, &from->entries[i]);
    if (status == OK && !gguf_find(from, "tokenizer.ggml.model"))
        put_no_tokenizer(c, "the file holds no tokenizer");
    gguf_free(from);
    file_unmap(&map);
    return whole ? status : put_own_tokenizer(c, err);
}

static enum status put_tokenizer(struct converting *c, struct error *err)
{
    return str_equal(c->ck->ops->format, "gguf") ? copy_tokenizer(c, err)
                                                 : put_own_tokenizer(c, err);
}

// ---- factors of the rotation ------------------------------------------------------------------------

struct factors {
    const char *name; // NULL: none
    float value[MODEL_MAX_HEAD_DIM / 2];
};

// The divisors of the pairs' frequencies, if no key describes the scaling.
static void find_factors(const struct model_config *config, struct factors out[2])
{
    size_t bytes = sizeof(float) * (size_t)config->rotary / 2;
    out[0].name = out[1].name = NULL;
    if (config->rope_scaling == ROPE_SCALE_FACTORS) {
        out[0].name = "rope_freqs.weight";
        memcpy(out[0].value, config->rope_factors, bytes);
    } else if (config->rope_scaling == ROPE_SCALE_LONGROPE) {
        out[0].name = "rope_factors_long.weight";
        memcpy(out[0].value, config->rope_long_factors, bytes);
        out[1].name = "rope_factors_short.weight";
        memcpy(out[1].value, config->rope_factors, bytes);
    } else if (config->rope_scaling == ROPE_SCALE_LLAMA3) {
        struct model_config plain = *config;
        float scaled[MODEL_MAX_HEAD_DIM / 2];
        plain.rope_scaling = ROPE_SCALE_NONE;
        out[0].name = "rope_freqs.weight";
        rope_frequencies(&plain, 1, out[0].value);
        rope_frequencies(config, 1, scaled);
        for (int i = 0; i < config->rotary / 2; i++)
            out[0].value[i] /= scaled[i];
    }
}

static enum status write_factors(struct converting *c, const struct factors *factors,
                                 struct error *err)
{
    if (!factors->name)
        return OK;
    size_t bytes = sizeof(float) * (size_t)c->ck->config.rotary / 2;
    TRY(gguf_writer_data(c->writer, factors->value, bytes, err));
    return gguf_writer_align(c->writer, err);
}

// ---- rows -------------------------------------------------------------------------------------------

// Reads rows [row0, row0 + rows) of one role in the file's order; a vector's elements are its rows.
static void read_rows(const struct converting *c, enum tensor_role role, int layer,
                      struct tensor_shape shape, int row0, int rows, float *out)
{
    const struct source_ops *ops = c->ck->ops;
    const struct model_config *config = &c->ck->config;
    bool permuted = gguf_plan_row(config, role, 1) != 1;
    if (shape.rows == 1) {
        float *straight = permuted ? c->back : out;
        ops->read_rows(c->ck->self, role, layer, 0, 1, straight, (size_t)shape.cols);
        for (int i = 0; permuted && i < shape.cols; i++)
            out[i] = straight[gguf_plan_row(config, role, i)];
        return;
    }
    if (!permuted)
        ops->read_rows(c->ck->self, role, layer, row0, rows, out, (size_t)shape.cols);
    for (int r = 0; permuted && r < rows; r++)
        ops->read_rows(c->ck->self, role, layer, gguf_plan_row(config, role, row0 + r), 1,
                       out + (size_t)r * (size_t)shape.cols, (size_t)shape.cols);
}

// Index of the first non-finite element; n: none.
static size_t first_nonfinite(const float *x, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (!isfinite(x[i]))
            return i;
    return n;
}

static enum status write_rows(struct converting *c, const struct gguf_tensor *t,
                              const struct stored_type *type, int row0, size_t n, struct error *err)
{
    size_t bad = first_nonfinite(c->rows_f32, n);
    if (bad < n)
        return FAIL(err, ERR_FORMAT, "tensor %s: row %llu holds %g", t->name,
                    (unsigned long long)((uint64_t)row0 + bad / t->cols), (double)c->rows_f32[bad]);
    stored_from_f32(c->stored, c->rows_f32, type, n);
    stored_to_f32(c->back, c->stored, type, n);
    bad = first_nonfinite(c->back, n);
    if (bad < n)
        return FAIL(err, ERR_UNSUPPORTED, "tensor %s: row %llu holds %g, which %s cannot hold",
                    t->name, (unsigned long long)((uint64_t)row0 + bad / t->cols),
                    (double)c->rows_f32[bad], type->name);
    return gguf_writer_data(c->writer, c->stored, stored_bytes(type, n), err);
}

static enum status write_role(struct converting *c, const struct gguf_tensor *t,
                              const struct stored_type *type, enum tensor_role role,
                              struct error *err)
{
    struct tensor_shape shape = tensor_shape(&c->ck->config, role);
    int batch = (int)(BATCH_FLOATS / c->widest);
    batch = batch < 1 ? 1 : batch;
    for (int row0 = 0; row0 < shape.rows; row0 += batch) {
        int rows = shape.rows - row0 < batch ? shape.rows - row0 : batch;
        read_rows(c, role, t->layer, shape, row0, rows, c->rows_f32);
        TRY(write_rows(c, t, type, row0, (size_t)rows * (size_t)shape.cols, err));
        if (c->ck->ops->release)
            c->ck->ops->release(c->ck->self, role, t->layer, row0, rows);
        c->rows_done += (uint64_t)rows * (uint64_t)shape.cols;
        if (c->progress && !c->progress(c->user, (double)c->rows_done / (double)c->rows_all))
            return FAIL(err, ERR_INTERRUPTED, "stopped");
    }
    return OK;
}

static enum status write_tensors(struct converting *c, struct error *err)
{
    for (size_t i = 0; i < c->plan.count; i++) {
        const struct gguf_tensor *t = &c->plan.tensors[i];
        for (int r = 0; r < t->role_count; r++)
            TRY(write_role(c, t, c->types[i], t->roles[r], err));
        TRY(gguf_writer_align(c->writer, err));
    }
    return OK;
}

// ---- the conversion ----------------------------------------------------------------------------------------

static enum status plan_tensors(struct converting *c, const struct factors *factors,
                                struct error *err)
{
    const struct model_config *config = &c->ck->config;
    for (int i = 0; i < 2; i++)
        if (factors[i].name)
            gguf_add_tensor(c->writer, factors[i].name, stored_f32,
                            (uint64_t[]){(uint64_t)config->rotary / 2}, 1);
    TRY(gguf_plan_make(config, &c->plan, err));
    c->types = calloc(c->plan.count, sizeof *c->types);
    if (!c->types)
        return FAIL(err, ERR_NOMEM, "no memory for %zu tensors", c->plan.count);
    for (size_t i = 0; i < c->plan.count; i++) {
        const struct gguf_tensor *t = &c->plan.tensors[i];
        uint64_t dims[3] = {t->cols, t->rows / t->matrices, t->matrices};
        c->types[i] = type_for(c, t);
        gguf_add_tensor(c->writer, t->name, c->types[i], dims,
                        t->matrices > 1 ? 3
                        : t->rows > 1   ? 2
                                        : 1);
        c->rows_all += t->rows * t->cols;
        c->widest = t->cols > c->widest ? (size_t)t->cols : c->widest;
    }
    c->report->tensors = c->plan.count;
    size_t n = c->widest > BATCH_FLOATS ? c->widest : BATCH_FLOATS;
    c->rows_f32 = malloc(n * sizeof *c->rows_f32);
    c->back = malloc(n * sizeof *c->back);
    c->stored = malloc(n * sizeof(float)); // no type is wider
    if (!c->rows_f32 || !c->back || !c->stored)
        return FAIL(err, ERR_NOMEM, "no memory for rows of %zu", c->widest);
    return OK;
}

static enum status convert_all(struct converting *c, struct error *err)
{
    struct factors factors[2];
    find_factors(&c->ck->config, factors);
    TRY(gguf_put_description(c->writer, &c->ck->config, err));
    TRY(plan_tensors(c, factors, err));
    int number = file_type(c);
    if (number >= 0)
        gguf_put_u32(c->writer, "general.file_type", (uint32_t)number);
    if (c->asked && c->asked->block > 1)
        gguf_put_u32(c->writer, "general.quantization_version", 2);
    TRY(put_tokenizer(c, err));
    TRY(gguf_writer_begin(c->writer, err));
    TRY(write_factors(c, &factors[0], err));
    TRY(write_factors(c, &factors[1], err));
    TRY(write_tensors(c, err));
    c->report->data_bytes = gguf_writer_data_bytes(c->writer);
    struct gguf_writer *writer = c->writer;
    c->writer = NULL;
    return gguf_writer_finish(writer, err);
}

size_t checkpoint_convert_types(const char **out, size_t max)
{
    return stored_writable(out, max);
}

// A mistyped word gets a near one. A type that exists gets all that can be written: it is no typing mistake.
static enum status unwritable(const char *type, struct error *err)
{
    const char *known[TYPES_MAX];
    char hint[WORDS_HINT_BYTES];
    size_t count = checkpoint_convert_types(known, TYPES_MAX);
    return FAIL(err, ERR_USAGE, "--type: '%s' cannot be written%s", type,
                stored_find(type) ? words_list(known, count, hint, sizeof hint)
                                  : words_hint(type, known, count, hint, sizeof hint));
}

static enum status check_type(const char *type, const struct stored_type **out, struct error *err)
{
    *out = type ? stored_find(type) : NULL;
    if (type && (!*out || !(*out)->shrink || !(*out)->ggml))
        return unwritable(type, err);
    return OK;
}

// Converts to a temporary name, which is renamed after the file was read back.
static enum status convert_checked(struct converting *c, const char *path, struct error *err)
{
    char *name = file_temporary_name(path, NEW);
    if (!name)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its name", path);
    file_sweep_beside(path, NEW);
    enum status status = gguf_writer_create(name, &c->writer, err);
    if (status == OK && (status = convert_all(c, err)) == OK) {
        status = gguf_check_written(name, &c->ck->config, err);
        if (status == OK && rename(name, path) != 0)
            status = FAIL_OS(err, errno, "%s: cannot be written", path);
        if (status != OK)
            unlink(name);
    }
    error_replace(err, name, path);
    gguf_writer_destroy(c->writer);
    free(name);
    return status;
}

enum status checkpoint_convert(struct checkpoint *ck, const char *type, const char *path,
                               engine_progress *progress, void *user, struct conversion *out,
                               struct error *err)
{
    struct converting c = {.ck = ck, .report = out, .progress = progress, .user = user};
    memset(out, 0, sizeof *out);
    TRY(check_type(type, &c.asked, err));
    TRY(file_refuse_dangling(path, err));
    if (file_exists(path))
        return FAIL(err, ERR_USAGE, "%s: exists already", path);
    if (convert_checked(&c, path, err) != OK)
        error_context(err, "converting %s", ck->path);
    gguf_plan_fini(&c.plan);
    free(c.types);
    free(c.rows_f32);
    free(c.back);
    free(c.stored);
    return err->code;
}
