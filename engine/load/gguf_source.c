// gguf_source.c - a GGUF file as a source of weights: rows in Hugging Face's order.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "engine/load/gguf.h"

struct gguf_file {
    struct file_map map;
    struct gguf *gguf;
};

static void gguf_destroy(void *self)
{
    struct gguf_file *f = self;
    if (!f)
        return;
    gguf_free(f->gguf);
    file_unmap(&f->map);
    free(f);
}

// Row of the file that holds row `row` of the description: llama.cpp writes row i of a head's first half,
// then row i of its second, where the description has the first half and then the second.
static int permuted_row(int row, int head_dim)
{
    int head = row / head_dim, within = row % head_dim, half = head_dim / 2;
    return head * head_dim + 2 * (within % half) + within / half;
}

static bool is_permuted(const struct gguf *g, enum tensor_role role)
{
    return g->row->gguf_permuted &&
           (role == T_Q || role == T_K || role == T_Q_BIAS || role == T_K_BIAS);
}

static void gguf_read_rows(const void *self, enum tensor_role role, int layer, int row0, int rows,
                           float *out, size_t ld)
{
    const struct gguf *g = ((const struct gguf_file *)self)->gguf;
    const struct stored_tensor *t = tensor_map_at(&g->tensors, role, layer);
    struct tensor_shape shape = tensor_shape(&g->config, role);
    size_t row_bytes = stored_bytes(t->type, (size_t)shape.cols);
    bool permuted = is_permuted(g, role);
    int head_dim = g->config.head_dim;
    assert(t->data && row0 >= 0 && rows >= 0 && row0 + rows <= shape.rows);
    if (permuted && shape.rows == 1) { // a bias: its elements are the rows
        for (int i = 0; i < shape.cols && rows == 1; i++)
            convert_to_f32(out + i,
                           t->data + (size_t)permuted_row(i, head_dim) * (size_t)t->type->bytes,
                           t->type, 1);
        return;
    }
    for (int r = 0; r < rows; r++) {
        int row = permuted ? permuted_row(row0 + r, head_dim) : row0 + r;
        convert_to_f32(out + (size_t)r * ld, t->data + (size_t)row * row_bytes, t->type,
                       (size_t)shape.cols);
    }
}

static enum dtype gguf_stored_type(const void *self, enum tensor_role role, int layer)
{
    const struct gguf *g = ((const struct gguf_file *)self)->gguf;
    return tensor_map_at(&g->tensors, role, layer)->type->exact;
}

static bool gguf_stored_form(const void *self, enum tensor_role role, int layer,
                             struct stored_form *out)
{
    const struct gguf *g = ((const struct gguf_file *)self)->gguf;
    const struct stored_type *type = tensor_map_at(&g->tensors, role, layer)->type;
    struct tensor_shape shape = tensor_shape(&g->config, role);
    *out = (struct stored_form){type->name,
                                stored_bytes(type, (size_t)shape.rows * (size_t)shape.cols)};
    return true;
}

static enum status gguf_content_hash(const void *self, char hex[65], struct error *err)
{
    const struct gguf_file *f = self;
    return hash_bytes(f->map.data, f->map.size_bytes, hex, err);
}

static enum status gguf_source_tokenizer(const void *self, struct tokenizer **out,
                                         struct error *err)
{
    const struct gguf *g = ((const struct gguf_file *)self)->gguf;
    enum status status = gguf_tokenizer(g, out, err);
    if (status == OK)
        status = tokenizer_check(*out, &g->config, g->name, err);
    if (status != OK) {
        tokenizer_destroy(*out);
        *out = NULL;
    }
    return status;
}

static const struct source_ops gguf_ops = {
    .format = "gguf",
    .read_rows = gguf_read_rows,
    .stored_type = gguf_stored_type,
    .stored_form = gguf_stored_form,
    .content_hash = gguf_content_hash,
    .tokenizer = gguf_source_tokenizer,
    .destroy = gguf_destroy,
};

enum status gguf_open(const char *path, struct checkpoint *ck, struct error *err)
{
    struct gguf_file *f = calloc(1, sizeof *f);
    if (!f)
        return FAIL(err, ERR_NOMEM, "%s: no memory", path);
    enum status status = file_map(path, &f->map, err);
    if (status == OK)
        status = gguf_parse(path, f->map.data, f->map.size_bytes, &f->gguf, err);
    if (status != OK) {
        gguf_destroy(f);
        return status;
    }
    ck->config = f->gguf->config;
    ck->ops = &gguf_ops;
    ck->self = f;
    ck->unused = &f->gguf->tensors;
    return OK;
}
