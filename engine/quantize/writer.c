// writer.c - writes quantized weights as Hugging Face folders that other programs read.
//
// A target is one stored tensor by the architecture's names; several roles may share it (fused q, k and v). A plain
// target is one tensor of a file, a quantized one several. Codes are written straight into the mapped file, in its
// layout.
#include "engine/quantize/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/fp.h"
#include "engine/load/tensors.h"
#include "engine/quantize/folder.h"
#include "kernels/quant.h"

#define TEMPORARY ".tmp-"

struct quant_writer {
    struct targets plan;
    char *out, *temporary; // temporary: NULL until the folder is made
};

// ---- opening ------------------------------------------------------------------------------------------

static enum status make_temporary(struct quant_writer *w, const char *out, struct error *err)
{
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/')
        length--;
    w->out = strndup(out, length);
    if (!w->out)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its name", out);
    file_sweep_beside(w->out, TEMPORARY);
    return file_temporary_dir(w->out, TEMPORARY, &w->temporary, err);
}

static enum status open_writer(struct quant_writer *w, const struct checkpoint *source,
                               const struct quant_output *output, const char *out,
                               struct error *err)
{
    TRY(file_refuse_dangling(out, err));
    if (file_exists(out))
        return FAIL(err, ERR_USAGE, "%s: exists already, and is not overwritten", out);
    if (!output->by_role && !file_is_dir(source->path))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: only a Hugging Face folder can be quantized to one (its config.json and "
                    "tokenizer are copied)",
                    source->path);
    TRY(targets_init(&w->plan, source, output, err));
    TRY(make_temporary(w, out, err));
    return shards_begin(w->plan.shards, w->temporary, targets_shard_bytes(&w->plan),
                        output->made_by, err);
}

enum status quantize_writer_open(const struct checkpoint *source, const struct quant_output *output,
                                 const char *out, struct quant_writer **writer, struct error *err)
{
    struct quant_writer *w = calloc(1, sizeof *w);
    *writer = NULL;
    if (!w)
        return FAIL(err, ERR_NOMEM, "%s: no memory", out);
    enum status status = open_writer(w, source, output, out, err);
    error_replace(err, w->temporary, w->out);
    if (status == OK)
        *writer = w;
    else
        quantize_writer_destroy(w);
    return status;
}

void quantize_writer_destroy(struct quant_writer *w)
{
    if (!w)
        return;
    struct error ignored = {0};
    targets_fini(&w->plan);
    if (w->temporary)
        file_remove_tree(w->temporary, &ignored);
    free(w->temporary);
    free(w->out);
    free(w);
}

// ---- tensors ------------------------------------------------------------------------------------------

static void put_plain(enum dtype type, void *out, size_t at, const float *data, int n, float minus)
{
    for (int i = 0; i < n; i++) {
        float value = data[i] - minus;
        if (type == DT_F32)
            ((float *)out)[at + (size_t)i] = value;
        else
            ((uint16_t *)out)[at + (size_t)i] =
                type == DT_F16 ? f16_from_f32(value) : bf16_from_f32(value);
    }
}

static enum status check_rows(struct target *t, enum tensor_role role, int layer, int rows,
                              struct error *err)
{
    if (t->rows_left < (uint64_t)rows)
        return FAIL(err, ERR_INTERNAL, "layer %d, %s: given twice", layer, tensor_role_name(role));
    t->rows_left -= (uint64_t)rows;
    return OK;
}

enum status quantize_writer_rows(struct quant_writer *w, enum tensor_role role, int layer, int row0,
                                 int rows, const float *data, size_t ld, struct error *err)
{
    const struct targets *p = &w->plan;
    const struct model_config *config = &p->source->config;
    float minus = p->names->norm_minus_one && tensor_role_is_norm(role);
    int stored, cols = tensor_shape(config, role).cols;
    for (int r = 0; r < rows; r++) {
        struct target *t = targets_find(p, role, layer, row0 + r, &stored);
        void *out = shards_data(p->shards, t->tensor[PART_CODES]);
        if (!tensor_role_is_vector(role)) {
            TRY(check_rows(t, role, layer, 1, err));
            put_plain(p->output.plain, out, (size_t)stored * (size_t)cols, data + (size_t)r * ld,
                      cols, minus);
            continue;
        }
        TRY(check_rows(t, role, layer, cols, err));
        for (int i = 0; i < cols; i++)
            put_plain(p->output.plain, out, (size_t)tensor_names_row(p->names, config, role, i),
                      data + i, 1, minus);
    }
    return OK;
}

// One row of AutoAWQ's layout (engine/load/quantized/awq.c): words run along the outputs.
static void put_awq(const struct targets *p, const struct target *t, int row,
                    const struct quant_row *data)
{
    static const unsigned char shift_of[8] = {0, 16, 4, 20, 8, 24, 12, 28};
    uint32_t *codes = shards_data(p->shards, t->tensor[PART_CODES]);
    uint32_t *zeros = shards_data(p->shards, t->tensor[PART_ZEROS]);
    uint16_t *scales = shards_data(p->shards, t->tensor[PART_SCALES]);
    size_t words = (size_t)t->rows / 8, word = (size_t)row / 8;
    unsigned shift = shift_of[row % 8];
    for (int i = 0; i < t->cols; i++)
        codes[(size_t)i * words + word] |= (uint32_t)data->codes[i] << shift;
    int groups = quant_groups(DT_I4, t->cols, p->output.group);
    for (int g = 0; g < groups; g++) {
        zeros[(size_t)g * words + word] |= (uint32_t)data->zeros[g] << shift;
        scales[(size_t)g * (size_t)t->rows + (size_t)row] = f16_from_f32(data->scales[g]);
    }
}

static void put_nibbles(uint8_t *out, const uint8_t *codes, int count)
{
    for (int i = 0; i < count; i++)
        out[i / 2] |= (uint8_t)(codes[i] << 4 * (i % 2));
}

// By role; overlay.c reads it.
static void put_row(const struct targets *p, const struct target *t, int row,
                    const struct quant_row *data)
{
    int groups = quant_groups(DT_I4, t->cols, p->output.group);
    uint8_t *codes = shards_data(p->shards, t->tensor[PART_CODES]);
    uint8_t *zeros = shards_data(p->shards, t->tensor[PART_ZEROS]);
    uint16_t *scales = shards_data(p->shards, t->tensor[PART_SCALES]);
    put_nibbles(codes + (size_t)row * nibble_bytes(t->cols), data->codes, t->cols);
    put_nibbles(zeros + (size_t)row * nibble_bytes(groups), data->zeros, groups);
    for (int g = 0; g < groups; g++)
        scales[(size_t)row * (size_t)groups + (size_t)g] = f16_from_f32(data->scales[g]);
}

static void put_bytes(const struct targets *p, const struct target *t, int row,
                      const struct quant_row *data)
{
    uint8_t *codes = shards_data(p->shards, t->tensor[PART_CODES]);
    float *scales = shards_data(p->shards, t->tensor[PART_SCALES]);
    memcpy(codes + (size_t)row * (size_t)t->cols, data->codes, (size_t)t->cols);
    scales[row] = data->scales[0];
}

enum status quantize_writer_codes(struct quant_writer *w, enum tensor_role role, int layer,
                                  int row0, int rows, const struct quant_row *data,
                                  struct error *err)
{
    const struct targets *p = &w->plan;
    int stored;
    for (int r = 0; r < rows; r++) {
        struct target *t = targets_find(p, role, layer, row0 + r, &stored);
        TRY(check_rows(t, role, layer, 1, err));
        if (p->output.by_role)
            put_row(p, t, stored, &data[r]);
        else if (p->output.type == DT_I4)
            put_awq(p, t, stored, &data[r]);
        else
            put_bytes(p, t, stored, &data[r]);
    }
    return OK;
}

// ---- finishing ----------------------------------------------------------------------------------------

static enum status check_whole(const struct quant_writer *w, struct error *err)
{
    const struct targets *p = &w->plan;
    for (size_t i = 0; i < p->count; i++)
        if (p->all[i].rows_left)
            return FAIL(err, ERR_INTERNAL, "%s: tensor %zu of %zu lacks %llu rows", w->out, i,
                        p->count, (unsigned long long)p->all[i].rows_left);
    return OK;
}

static enum status finish(struct quant_writer *w, struct error *err)
{
    TRY(check_whole(w, err));
    const struct checkpoint *source = w->plan.source;
    TRY(shards_finish(w->plan.shards, err));
    if (!w->plan.output.by_role) {
        TRY(quantize_folder_config(source->path, w->temporary, &w->plan.output,
                                   source->config.experts > 0, err));
        TRY(quantize_folder_copy(source->path, w->temporary, err));
    }
    if (file_exists(w->out)) // made meanwhile: rename would replace an empty folder
        return FAIL(err, ERR_IO, "%s: another process has created it meanwhile", w->out);
    if (rename(w->temporary, w->out) != 0)
        return FAIL_OS(err, errno, "%s: cannot be made", w->out);
    free(w->temporary);
    w->temporary = NULL;
    return OK;
}

enum status quantize_writer_finish(struct quant_writer *w, struct error *err)
{
    enum status status = finish(w, err);
    error_replace(err, w->temporary, w->out);
    quantize_writer_destroy(w);
    return status;
}
