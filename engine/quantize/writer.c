// writer.c - quantized weights written as Hugging Face folders that other programs read.
//
// A "target" is one stored tensor of the architecture's names, which several roles may share (fused q, k
// and v); plain ones are one tensor of a file, quantized ones several. Codes are put straight into the mapped
// file, in the layout the file has.
#include "engine/quantize/writer.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/fp.h"
#include "engine/load/parse.h"
#include "engine/quantize/folder.h"
#include "engine/quantize/shards.h"
#include "kernels/quant.h"

#define FILE_BYTES UINT64_C(5000000000)

enum part { PART_CODES, PART_SCALES, PART_ZEROS, PARTS };

struct target {
    bool quantized;
    int rows, cols;       // of the stored tensor, all its roles together
    uint64_t rows_left;   // that have not come
    size_t tensor[PARTS]; // in shards; plain: the first one
};

struct quant_writer {
    const struct checkpoint *source;
    const struct tensor_names *names;
    struct quant_output output;
    struct shards *shards;
    struct target *targets;
    size_t count;
    size_t *at; // (layer + 1, role, expert) -> target
    int experts;
    char *out, *temporary; // temporary: NULL until the folder is made
};

// ---- what goes where ----------------------------------------------------------------------------------

bool quant_writer_wants_codes(const struct quant_writer *w, enum tensor_role role)
{
    (void)w;
    return role > T_FINAL_NORM && !tensor_role_is_vector(role) && role != T_ROUTER &&
           role != T_SHARED_ROUTER;
}

static size_t *slot(const struct quant_writer *w, enum tensor_role role, int layer, int expert)
{
    size_t line = ((size_t)layer + 1) * T_ROLE_COUNT + role;
    return &w->at[line * (size_t)w->experts + (size_t)expert];
}

// The first role that lies in the same stored tensor.
static enum tensor_role leader(const struct quant_writer *w, enum tensor_role role)
{
    for (int i = 0; i < (int)role; i++)
        if (w->names->at[i].name && str_equal(w->names->at[i].name, w->names->at[role].name) &&
            tensor_shape(&w->source->config, (enum tensor_role)i).rows)
            return (enum tensor_role)i;
    return role;
}

static enum status add_part(struct quant_writer *w, struct target *t, enum part part,
                            const char *name, const char *type, unsigned element, int rows,
                            int cols, struct error *err)
{
    uint64_t shape[2] = {(uint64_t)rows, (uint64_t)cols};
    return shards_add(w->shards, name, type, element, cols ? 2 : 1, shape, &t->tensor[part], err);
}

// "x.weight" and ".qweight" -> "x.qweight".
static const char *part_name(const char *name, const char *suffix, char out[256])
{
    size_t stem = strlen(name);
    if (stem > 7 && strcmp(name + stem - 7, ".weight") == 0)
        stem -= 7;
    snprintf(out, 256, "%.*s%s", (int)stem, name, suffix);
    return out;
}

static enum status add_quantized(struct quant_writer *w, struct target *t, const char *name,
                                 struct error *err)
{
    char part[256];
    enum dtype type = w->output.type;
    if (type != DT_I4) {
        TRY(add_part(w, t, PART_CODES, name, type == DT_I8 ? "I8" : "F8_E4M3", 1, t->rows, t->cols,
                     err));
        return add_part(w, t, PART_SCALES, part_name(name, ".weight_scale", part), "F32", 4,
                        t->rows, 1, err);
    }
    if (t->rows % 8)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: %d outputs of %s are no multiple of 8, as AutoAWQ's layout needs",
                    w->source->path, t->rows, name);
    int groups = quant_groups(type, t->cols, w->output.group);
    TRY(add_part(w, t, PART_CODES, part_name(name, ".qweight", part), "I32", 4, t->cols,
                 t->rows / 8, err));
    TRY(add_part(w, t, PART_ZEROS, part_name(name, ".qzeros", part), "I32", 4, groups, t->rows / 8,
                 err));
    return add_part(w, t, PART_SCALES, part_name(name, ".scales", part), "F16", 2, groups, t->rows,
                    err);
}

static enum status add_target(struct quant_writer *w, enum tensor_role role, int layer, int expert,
                              struct error *err)
{
    static const char *const plain[] = {[DT_F32] = "F32", [DT_F16] = "F16", [DT_BF16] = "BF16"};
    const struct model_config *config = &w->source->config;
    struct tensor_shape shape = tensor_names_shape(w->names, config, role);
    struct target *t = &w->targets[w->count];
    bool vector = tensor_role_is_vector(role);
    char name[256];
    *slot(w, role, layer, expert) = w->count++;
    tensor_names_text(w->names, role, layer, expert, name, sizeof name);
    *t = (struct target){.quantized = quant_writer_wants_codes(w, role),
                         .rows = shape.rows,
                         .cols = shape.cols,
                         .rows_left = (uint64_t)(vector ? shape.cols : shape.rows)};
    if (w->names->at[role].transposed)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: %s is stored transposed, for which the quantized layouts have no form",
                    w->source->path, name);
    if (t->quantized)
        return add_quantized(w, t, name, err);
    return add_part(w, t, PART_CODES, name, plain[w->output.plain],
                    w->output.plain == DT_F32 ? 4 : 2, vector ? shape.cols : shape.rows,
                    vector ? 0 : shape.cols, err);
}

static enum status plan_role(struct quant_writer *w, enum tensor_role role, int layer,
                             struct error *err)
{
    bool apart = tensor_names_apart(w->names, role);
    if (tensor_role_is_expert(role) && !apart)
        return FAIL(err, ERR_UNSUPPORTED, "%s: experts in one tensor have no quantized layout",
                    w->source->path);
    for (int expert = 0; expert < (apart ? w->experts : 1); expert++) {
        enum tensor_role first = leader(w, role);
        if (first != role)
            *slot(w, role, layer, expert) = *slot(w, first, layer, expert);
        else
            TRY(add_target(w, role, layer, expert, err));
    }
    return OK;
}

static enum status plan(struct quant_writer *w, struct error *err)
{
    const struct model_config *config = &w->source->config;
    w->names = hf_names(config);
    w->experts = config->experts > 1 ? config->experts : 1;
    size_t slots = ((size_t)config->layers + 1) * T_ROLE_COUNT * (size_t)w->experts;
    w->at = calloc(slots, sizeof *w->at);
    w->targets = calloc(slots, sizeof *w->targets);
    if (!w->at || !w->targets)
        return FAIL(err, ERR_NOMEM, "%s: no memory to plan its tensors", w->source->path);
    for (int layer = -1; layer < config->layers; layer++)
        for (int role = 0; role < T_ROLE_COUNT; role++)
            if ((role <= T_FINAL_NORM) == (layer < 0) &&
                tensor_shape(config, (enum tensor_role)role).rows)
                TRY(plan_role(w, (enum tensor_role)role, layer, err));
    return OK;
}

// ---- opening ------------------------------------------------------------------------------------------

static enum status make_temporary(struct quant_writer *w, const char *out, struct error *err)
{
    struct str name = {0};
    size_t length = strlen(out);
    while (length > 1 && out[length - 1] == '/')
        length--;
    w->out = strndup(out, length);
    str_printf(&name, "%.*s.tmp-%ld", (int)length, out, (long)getpid());
    char *temporary = str_take(&name);
    if (!w->out || !temporary) {
        free(temporary);
        return FAIL(err, ERR_NOMEM, "%s: no memory for its name", out);
    }
    if (mkdir(temporary, 0777) != 0) {
        enum status status =
            FAIL(err, ERR_IO, "%s: folder cannot be made: %s", temporary, strerror(errno));
        free(temporary);
        return status;
    }
    w->temporary = temporary;
    return OK;
}

static enum status open_writer(struct quant_writer *w, const char *out, struct error *err)
{
    if (file_exists(out))
        return FAIL(err, ERR_USAGE, "%s: exists already, and is not overwritten", out);
    if (!file_is_dir(w->source->path))
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: only a Hugging Face folder can be quantized to one (its config.json and "
                    "tokenizer are taken over)",
                    w->source->path);
    TRY(shards_create(&w->shards, err));
    TRY(plan(w, err));
    TRY(make_temporary(w, out, err));
    return shards_begin(w->shards, w->temporary,
                        w->output.shard_bytes ? w->output.shard_bytes : FILE_BYTES,
                        w->output.made_by, err);
}

enum status quant_writer_open(const struct checkpoint *source, const struct quant_output *output,
                              const char *out, struct quant_writer **writer, struct error *err)
{
    struct quant_writer *w = calloc(1, sizeof *w);
    *writer = NULL;
    if (!w)
        return FAIL(err, ERR_NOMEM, "%s: no memory", out);
    w->source = source;
    w->output = *output;
    enum status status = open_writer(w, out, err);
    if (status == OK)
        *writer = w;
    else
        quant_writer_destroy(w);
    return status;
}

void quant_writer_destroy(struct quant_writer *w)
{
    if (!w)
        return;
    shards_destroy(w->shards);
    if (w->temporary)
        quant_folder_remove(w->temporary);
    free(w->temporary);
    free(w->out);
    free(w->at);
    free(w->targets);
    free(w);
}

// ---- tensors ------------------------------------------------------------------------------------------

// The target of a role's row, and which row of the target it is.
static struct target *find(const struct quant_writer *w, enum tensor_role role, int layer, int row,
                           int *stored)
{
    const struct model_config *config = &w->source->config;
    int expert = 0;
    if (tensor_role_is_expert(role)) {
        int each = tensor_shape(config, role).rows / w->experts;
        expert = row / each;
        row %= each;
    }
    *stored = tensor_names_row(w->names, config, role, row);
    return &w->targets[*slot(w, role, layer, expert)];
}

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

enum status quant_writer_rows(struct quant_writer *w, enum tensor_role role, int layer, int row0,
                              int rows, const float *data, size_t ld, struct error *err)
{
    float minus = w->names->norm_minus_one && tensor_role_is_norm(role);
    int stored, cols = tensor_shape(&w->source->config, role).cols;
    for (int r = 0; r < rows; r++) {
        struct target *t = find(w, role, layer, row0 + r, &stored);
        void *out = shards_data(w->shards, t->tensor[PART_CODES]);
        if (!tensor_role_is_vector(role)) {
            TRY(check_rows(t, role, layer, 1, err));
            put_plain(w->output.plain, out, (size_t)stored * (size_t)cols, data + (size_t)r * ld,
                      cols, minus);
            continue;
        }
        TRY(check_rows(t, role, layer, cols, err));
        for (int i = 0; i < cols; i++)
            put_plain(w->output.plain, out,
                      (size_t)tensor_names_row(w->names, &w->source->config, role, i), data + i, 1,
                      minus);
    }
    return OK;
}

// One row of AutoAWQ's layout (engine/load/quantized/awq.c): words run along the outputs.
static void put_awq(const struct quant_writer *w, const struct target *t, int row,
                    const struct quant_row *data)
{
    static const unsigned char shift_of[8] = {0, 16, 4, 20, 8, 24, 12, 28};
    uint32_t *codes = shards_data(w->shards, t->tensor[PART_CODES]);
    uint32_t *zeros = shards_data(w->shards, t->tensor[PART_ZEROS]);
    uint16_t *scales = shards_data(w->shards, t->tensor[PART_SCALES]);
    size_t words = (size_t)t->rows / 8, word = (size_t)row / 8;
    unsigned shift = shift_of[row % 8];
    for (int i = 0; i < t->cols; i++)
        codes[(size_t)i * words + word] |= (uint32_t)data->codes[i] << shift;
    int groups = quant_groups(DT_I4, t->cols, w->output.group);
    for (int g = 0; g < groups; g++) {
        zeros[(size_t)g * words + word] |= (uint32_t)data->zeros[g] << shift;
        scales[(size_t)g * (size_t)t->rows + (size_t)row] = f16_from_f32(data->scales[g]);
    }
}

enum status quant_writer_codes(struct quant_writer *w, enum tensor_role role, int layer, int row0,
                               int rows, const struct quant_row *data, struct error *err)
{
    int stored;
    for (int r = 0; r < rows; r++) {
        struct target *t = find(w, role, layer, row0 + r, &stored);
        TRY(check_rows(t, role, layer, 1, err));
        if (w->output.type == DT_I4) {
            put_awq(w, t, stored, &data[r]);
            continue;
        }
        unsigned char *codes = shards_data(w->shards, t->tensor[PART_CODES]);
        float *scales = shards_data(w->shards, t->tensor[PART_SCALES]);
        memcpy(codes + (size_t)stored * (size_t)t->cols, data[r].codes, (size_t)t->cols);
        scales[stored] = data[r].scales[0];
    }
    return OK;
}

// ---- finishing ----------------------------------------------------------------------------------------

static enum status check_whole(const struct quant_writer *w, struct error *err)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->targets[i].rows_left)
            return FAIL(err, ERR_INTERNAL, "%s: tensor %zu of %zu lacks %llu rows", w->out, i,
                        w->count, (unsigned long long)w->targets[i].rows_left);
    return OK;
}

static enum status finish(struct quant_writer *w, struct error *err)
{
    TRY(check_whole(w, err));
    TRY(shards_finish(w->shards, err));
    TRY(quant_folder_config(w->source->path, w->temporary, &w->output,
                            w->source->config.experts > 0, err));
    TRY(quant_folder_copy(w->source->path, w->temporary, err));
    if (file_exists(w->out)) // made meanwhile: rename would replace an empty folder
        return FAIL(err, ERR_IO, "%s: has been made by someone else meanwhile", w->out);
    if (rename(w->temporary, w->out) != 0)
        return FAIL(err, ERR_IO, "%s: cannot be made: %s", w->out, strerror(errno));
    free(w->temporary);
    w->temporary = NULL;
    return OK;
}

enum status quant_writer_finish(struct quant_writer *w, struct error *err)
{
    enum status status = finish(w, err);
    quant_writer_destroy(w);
    return status;
}
