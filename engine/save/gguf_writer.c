// gguf_writer.c - assembles the head of a GGUF file in memory, and writes the data directly to the file.
#include "engine/save/gguf_writer.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"

struct gguf_writer {
    struct file_writer *file;
    struct str keys, tensors; // in the file's form
    uint64_t key_count, tensor_count;
    uint64_t planned, written; // bytes of data
};

enum status gguf_writer_create(const char *path, struct gguf_writer **out, struct error *err)
{
    *out = NULL;
    struct gguf_writer *w = calloc(1, sizeof *w);
    if (!w)
        return FAIL(err, ERR_NOMEM, "%s: no memory to write it", path);
    if (file_writer_open(path, &w->file, err) != OK) {
        gguf_writer_destroy(w);
        return err->code;
    }
    *out = w;
    return OK;
}

void gguf_writer_destroy(struct gguf_writer *w)
{
    if (!w)
        return;
    file_writer_abandon(w->file);
    str_fini(&w->keys);
    str_fini(&w->tensors);
    free(w);
}

// ---- little-endian --------------------------------------------------------------------------------

static void append_little(struct str *s, uint64_t value, int bytes)
{
    unsigned char out[8];
    for (int i = 0; i < bytes; i++)
        out[i] = (unsigned char)(value >> (8 * i));
    str_append_bytes(s, out, (size_t)bytes);
}

static void append_text(struct str *s, const char *text, size_t bytes)
{
    append_little(s, bytes, 8);
    str_append_bytes(s, text, bytes);
}

static uint32_t bits_of(float value)
{
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

// ---- keys -----------------------------------------------------------------------------------------

static void begin_key(struct gguf_writer *w, const char *key, uint32_t type)
{
    append_text(&w->keys, key, strlen(key));
    append_little(&w->keys, type, 4);
    w->key_count++;
}

void gguf_put_u32(struct gguf_writer *w, const char *key, uint32_t value)
{
    begin_key(w, key, GGUF_U32);
    append_little(&w->keys, value, 4);
}

void gguf_put_f32(struct gguf_writer *w, const char *key, float value)
{
    begin_key(w, key, GGUF_F32);
    append_little(&w->keys, bits_of(value), 4);
}

void gguf_put_bool(struct gguf_writer *w, const char *key, bool value)
{
    begin_key(w, key, GGUF_BOOL);
    append_little(&w->keys, value, 1);
}

void gguf_put_text(struct gguf_writer *w, const char *key, const char *value)
{
    begin_key(w, key, GGUF_STRING);
    append_text(&w->keys, value, strlen(value));
}

void gguf_put_list(struct gguf_writer *w, const char *key, uint32_t element, uint64_t count)
{
    begin_key(w, key, GGUF_ARRAY);
    append_little(&w->keys, element, 4);
    append_little(&w->keys, count, 8);
}

void gguf_item_text(struct gguf_writer *w, const char *text, size_t bytes)
{
    append_text(&w->keys, text, bytes);
}

void gguf_item_i32(struct gguf_writer *w, int32_t value)
{
    append_little(&w->keys, (uint32_t)value, 4);
}

void gguf_item_f32(struct gguf_writer *w, float value)
{
    append_little(&w->keys, bits_of(value), 4);
}

void gguf_put_entry(struct gguf_writer *w, const struct gguf *from, const struct gguf_entry *entry)
{
    append_text(&w->keys, entry->key.text, entry->key.bytes);
    append_little(&w->keys, entry->type, 4);
    str_append_bytes(&w->keys, from->data + entry->begin, entry->end - entry->begin);
    w->key_count++;
}

// ---- tensors --------------------------------------------------------------------------------------

static uint64_t aligned(uint64_t bytes)
{
    return (bytes + GGUF_ALIGNMENT - 1) / GGUF_ALIGNMENT * GGUF_ALIGNMENT;
}

void gguf_add_tensor(struct gguf_writer *w, const char *name, const struct stored_type *type,
                     const uint64_t *dims, uint32_t dim_count)
{
    uint64_t elements = 1;
    append_text(&w->tensors, name, strlen(name));
    append_little(&w->tensors, dim_count, 4);
    for (uint32_t i = 0; i < dim_count; i++) {
        append_little(&w->tensors, dims[i], 8);
        elements *= dims[i];
    }
    append_little(&w->tensors, (uint32_t)type->ggml_number, 4);
    append_little(&w->tensors, w->planned, 8);
    w->planned += aligned(stored_bytes(type, (size_t)elements));
    w->tensor_count++;
}

uint64_t gguf_writer_data_bytes(const struct gguf_writer *w)
{
    return w->planned;
}

enum status gguf_writer_begin(struct gguf_writer *w, struct error *err)
{
    static const char zeros[GGUF_ALIGNMENT] = {0};
    struct str head = {0};
    str_append(&head, "GGUF");
    append_little(&head, 3, 4);
    append_little(&head, w->tensor_count, 8);
    append_little(&head, w->key_count, 8);
    uint64_t bytes = head.length + w->keys.length + w->tensors.length;
    enum status status = OK;
    if (head.failed || w->keys.failed || w->tensors.failed)
        status = FAIL(err, ERR_NOMEM, "no memory for the file's metadata");
    if (status == OK)
        status = file_writer_put(w->file, head.data, head.length, err);
    if (status == OK)
        status = file_writer_put(w->file, str_text(&w->keys), w->keys.length, err);
    if (status == OK)
        status = file_writer_put(w->file, str_text(&w->tensors), w->tensors.length, err);
    if (status == OK)
        status = file_writer_put(w->file, zeros, (size_t)(aligned(bytes) - bytes), err);
    str_fini(&head);
    return status;
}

enum status gguf_writer_data(struct gguf_writer *w, const void *bytes, size_t count,
                             struct error *err)
{
    w->written += count;
    return file_writer_put(w->file, bytes, count, err);
}

enum status gguf_writer_align(struct gguf_writer *w, struct error *err)
{
    static const char zeros[GGUF_ALIGNMENT] = {0};
    return gguf_writer_data(w, zeros, (size_t)(aligned(w->written) - w->written), err);
}

enum status gguf_writer_finish(struct gguf_writer *w, struct error *err)
{
    enum status status = OK;
    if (w->written != w->planned)
        status = FAIL(err, ERR_INTERNAL, "%llu bytes of data were written, %llu were planned",
                      (unsigned long long)w->written, (unsigned long long)w->planned);
    if (status == OK) {
        struct file_writer *file = w->file;
        w->file = NULL;
        status = file_writer_finish(file, err);
    }
    gguf_writer_destroy(w);
    return status;
}
