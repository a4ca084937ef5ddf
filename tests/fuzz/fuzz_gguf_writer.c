// fuzz_gguf_writer.c - what is read of any GGUF file can be written, and is read again the same.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/load/gguf/gguf.h"
#include "engine/save/gguf_plan.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

enum { DATA_MAX = 1 << 20 };

// Description and keys of the tokenizer, all weights zero.
static enum status write_back(const struct gguf *g, const char *path, struct error *err)
{
    static unsigned char zeros[DATA_MAX];
    struct gguf_writer *w = NULL;
    struct gguf_plan plan = {0};
    if (gguf_writer_create(path, &w, err) != OK)
        return err->code;
    enum status status = gguf_put_description(w, gguf_config(g), err);
    if (status == OK)
        status = gguf_plan_make(gguf_config(g), &plan, err);
    for (size_t i = 0; status == OK && i < g->entry_count; i++)
        if (g->entries[i].key.bytes > 10 && !memcmp(g->entries[i].key.text, "tokenizer.", 10))
            gguf_put_entry(w, g, &g->entries[i]);
    for (size_t i = 0; status == OK && i < plan.count; i++) {
        const struct gguf_tensor *t = &plan.tensors[i];
        uint64_t dims[3] = {t->cols, t->rows / t->matrices, t->matrices};
        gguf_add_tensor(w, t->name, stored_f32, dims, t->matrices > 1 ? 3 : t->rows > 1 ? 2 : 1);
    }
    if (status == OK && gguf_writer_data_bytes(w) > DATA_MAX)
        status = FAIL(err, ERR_UNSUPPORTED, "too large to try");
    if (status == OK)
        status = gguf_writer_begin(w, err);
    if (status == OK)
        status = gguf_writer_data(w, zeros, (size_t)gguf_writer_data_bytes(w), err);
    gguf_plan_fini(&plan);
    if (status == OK)
        return gguf_writer_finish(w, err);
    gguf_writer_destroy(w);
    return status;
}

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    struct gguf *g, *again = NULL;
    struct error err = {0};
    struct file_map map;
    char path[64];
    snprintf(path, sizeof path, "/tmp/ridge-fuzz-%ld.gguf", (long)getpid());
    if (gguf_parse("fuzz", data, size, &g, &err) != OK)
        return 0;
    if (write_back(g, path, &err) == OK) {
        if (file_map(path, &map, &err) != OK ||
            gguf_parse(path, map.data, map.size_bytes, &again, &err) != OK) {
            fprintf(stderr, "%s\n", err.message);
            abort();
        }
        const struct model_config *a = gguf_config(g), *b = gguf_config(again);
        if (a->width != b->width || a->ff != b->ff || a->layers != b->layers ||
            a->head_dim != b->head_dim || a->rotary != b->rotary || a->tied != b->tied ||
            a->window != b->window || a->bos != b->bos || a->eos != b->eos)
            abort();
        gguf_free(again);
        file_unmap(&map);
        unlink(path);
    }
    gguf_free(g);
    return 0;
}
