// source.c - a GGUF file as a source of weights: rows in Hugging Face's order.
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "engine/load/gguf/gguf.h"
#include "engine/text/tokenizer.h"
#include "kernels/quant.h"

static void gguf_destroy(void *self)
{
    gguf_files_close(self);
    free(self);
}

static void gguf_read_rows(const void *self, enum tensor_role role, int layer, int row0, int rows,
                           float *out, size_t ld)
{
    const struct gguf *g = ((const struct gguf_files *)self)->gguf;
    tensor_map_read(&g->tensors, &g->config, &g->names, role, layer, row0, rows, out, ld);
}

static void gguf_release(const void *self, enum tensor_role role, int layer, int row0, int rows)
{
    const struct gguf *g = ((const struct gguf_files *)self)->gguf;
    tensor_map_release(&g->tensors, &g->config, &g->names, role, layer, row0, rows);
}

static enum dtype gguf_stored_type(const void *self, enum tensor_role role, int layer)
{
    const struct gguf *g = ((const struct gguf_files *)self)->gguf;
    return tensor_map_type(&g->tensors, &g->names, role, layer)->exact;
}

static bool gguf_stored_form(const void *self, enum tensor_role role, int layer,
                             struct stored_form *out)
{
    const struct gguf *g = ((const struct gguf_files *)self)->gguf;
    return tensor_map_form(&g->tensors, &g->config, &g->names, role, layer, out);
}

// Q4_0 is int4 in groups of 32, with the zero in the middle and an f16 scale. Q8_0 is int8 in groups of 32. The other
// types have scales or minima that kernels/quant.h cannot hold.
static bool gguf_quantization(const void *self, enum tensor_role role, int layer,
                              struct stored_quant *out)
{
    const struct gguf *g = ((const struct gguf_files *)self)->gguf;
    const struct stored_type *type = tensor_map_type(&g->tensors, &g->names, role, layer);
    bool int4 = type && type->expand == stored_expand_q4_0;
    *out = (struct stored_quant){.type = int4 ? DT_I4 : DT_I8G, .group = type ? type->block : 0};
    return int4 || (type && type->expand == stored_expand_q8_0);
}

static void gguf_read_codes(const void *self, enum tensor_role role, int layer, int row,
                            struct quant_row out)
{
    const struct gguf *g = ((const struct gguf_files *)self)->gguf;
    const struct stored_type *type = tensor_map_type(&g->tensors, &g->names, role, layer);
    bool int4 = type->expand == stored_expand_q4_0;
    int groups = tensor_shape(&g->config, role).cols / 32;
    const unsigned char *block =
        tensor_map_row(&g->tensors, &g->config, &g->names, role, layer, row);
    for (int i = 0; i < groups; i++, block += type->bytes) {
        if (!int4) {
            stored_codes_q8_0(out.codes + 32 * i, &out.scales[i], block);
            continue;
        }
        stored_codes_q4_0(out.codes + 32 * i, &out.scales[i], block);
        out.zeros[i] = 8;
    }
}

static enum status gguf_content_hash(const void *self, char hex[65], struct error *err)
{
    const struct gguf_files *f = self;
    struct hash *hash = hash_create();
    if (!hash)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its hash", f->gguf->name);
    enum status status = OK;
    for (int i = 0; i < f->count && status == OK; i++)
        status = hash_update_file(hash, f->maps[i].data, f->maps[i].size_bytes, err);
    if (status == OK)
        hash_finish(hash, hex);
    else
        hash_destroy(hash);
    return status;
}

static enum status gguf_source_tokenizer(const void *self, struct tokenizer **out,
                                         struct error *err)
{
    const struct gguf *g = ((const struct gguf_files *)self)->gguf;
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
    .release = gguf_release,
    .stored_type = gguf_stored_type,
    .stored_form = gguf_stored_form,
    .quantization = gguf_quantization,
    .read_codes = gguf_read_codes,
    .content_hash = gguf_content_hash,
    .tokenizer = gguf_source_tokenizer,
    .destroy = gguf_destroy,
};

enum status gguf_open(const char *path, struct checkpoint *ck, struct error *err)
{
    struct gguf_files *f = calloc(1, sizeof *f);
    if (!f)
        return FAIL(err, ERR_NOMEM, "%s: no memory", path);
    if (gguf_files_open(path, f, err) != OK || gguf_finish(f->gguf, err) != OK) {
        gguf_destroy(f);
        return err->code;
    }
    ck->config = f->gguf->config;
    ck->ops = &gguf_ops;
    ck->self = f;
    ck->unused = &f->gguf->tensors;
    return OK;
}
