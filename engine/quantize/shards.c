// shards.c - safetensors files of planned tensors, written in any order or found again.
#include "engine/quantize/shards.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "base/os.h"
#include "base/str.h"

struct planned {
    char *name;
    const char *type;
    unsigned element;
    int dims;
    uint64_t shape[2], bytes;
    int shard;
    uint64_t offset; // in the shard's data
};

struct shard {
    char *path;
    int fd;
    unsigned char *map;
    uint64_t data_bytes, header_bytes, bytes;
};

struct shards {
    struct planned *tensors;
    size_t count, capacity;
    struct shard *files;
    int file_count;
};

enum status shards_create(struct shards **out, struct error *err)
{
    *out = calloc(1, sizeof **out);
    return *out ? OK : FAIL(err, ERR_NOMEM, "no memory for the files to write");
}

void shards_destroy(struct shards *s)
{
    if (!s)
        return;
    for (int i = 0; i < s->file_count; i++) {
        if (s->files[i].map)
            munmap(s->files[i].map, s->files[i].bytes);
        if (s->files[i].fd >= 0)
            close(s->files[i].fd);
        free(s->files[i].path);
    }
    for (size_t i = 0; i < s->count; i++)
        free(s->tensors[i].name);
    free(s->tensors);
    free(s->files);
    free(s);
}

// ---- planning -----------------------------------------------------------------------------------------

enum status shards_add(struct shards *s, const char *name, const char *type, unsigned element,
                       int dims, const uint64_t shape[2], size_t *index, struct error *err)
{
    if (s->count == s->capacity) {
        size_t capacity = s->capacity ? 2 * s->capacity : 256;
        void *grown = realloc(s->tensors, capacity * sizeof *s->tensors);
        if (!grown)
            return FAIL(err, ERR_NOMEM, "no memory for the tensors to write");
        s->tensors = grown;
        s->capacity = capacity;
    }
    struct planned *t = &s->tensors[s->count];
    *t = (struct planned){strdup(name), type, element, dims, {shape[0], 1}, 0, 0, 0};
    if (!t->name)
        return FAIL(err, ERR_NOMEM, "no memory for the tensors to write");
    if (dims > 1)
        t->shape[1] = shape[1];
    t->bytes = t->shape[0] * t->shape[1] * element;
    *index = s->count++;
    return OK;
}

// Tensors are assigned to files in planned order. Within a file wide elements come first: all are then aligned without
// holes, which the format forbids.
static int place(struct shards *s, uint64_t limit)
{
    uint64_t used = 0;
    int shard = 0;
    for (size_t i = 0; i < s->count; i++) {
        if (used && used + s->tensors[i].bytes > limit) {
            shard++;
            used = 0;
        }
        used += s->tensors[i].bytes;
        s->tensors[i].shard = shard;
    }
    return shard + 1;
}

static void place_within(struct shards *s, int shard)
{
    struct shard *file = &s->files[shard];
    for (unsigned element = 8; element; element /= 2)
        for (size_t i = 0; i < s->count; i++) {
            struct planned *t = &s->tensors[i];
            if (t->shard != shard || t->element != element)
                continue;
            t->offset = file->data_bytes;
            file->data_bytes += t->bytes;
        }
}

static void header_text(const struct shards *s, int shard, const char *made_by, struct str *out)
{
    json_t *by = json_sprintf("ridge, %s", made_by);
    json_t *meta = json_pack("{s:s, s:o}", "format", "pt", "made_by", by);
    char *text = json_dumps(meta, JSON_COMPACT);
    str_printf(out, "{\"__metadata__\":%s", text ? text : "{}");
    out->failed = out->failed || !text;
    free(text);
    json_decref(meta);
    for (size_t i = 0; i < s->count; i++) {
        const struct planned *t = &s->tensors[i];
        if (t->shard != shard)
            continue;
        str_printf(out, ",\"%s\":{\"dtype\":\"%s\",\"shape\":[%llu", t->name, t->type,
                   (unsigned long long)t->shape[0]);
        if (t->dims > 1)
            str_printf(out, ",%llu", (unsigned long long)t->shape[1]);
        str_printf(out, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)t->offset,
                   (unsigned long long)(t->offset + t->bytes));
    }
    str_append(out, "}");
    while (out->length % 8 && !out->failed)
        str_append(out, " ");
}

// ---- files --------------------------------------------------------------------------------------------

static void file_name(const struct shards *s, int shard, char out[64])
{
    if (s->file_count == 1)
        snprintf(out, 64, "model.safetensors");
    else
        snprintf(out, 64, "model-%05d-of-%05d.safetensors", shard + 1, s->file_count);
}

static enum status make_file(struct shard *f, const struct str *header, struct error *err)
{
    f->fd = open(f->path, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (f->fd < 0)
        return FAIL_OS(err, errno, "%s: cannot be made", f->path);
    int refused = os_file_reserve(f->fd, (int64_t)f->bytes);
    if (refused) {
        char size[32];
        return FAIL_OS(err, refused, "%s: %s cannot be reserved", f->path,
                       format_bytes((double)f->bytes, size, sizeof size));
    }
    void *map = mmap(NULL, f->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f->fd, 0);
    if (map == MAP_FAILED)
        return FAIL_OS(err, errno, "%s: cannot be mapped", f->path);
    f->map = map;
    for (int i = 0; i < 8; i++)
        f->map[i] = (unsigned char)((uint64_t)header->length >> 8 * i);
    memcpy(f->map + 8, header->data, header->length);
    return OK;
}

static enum status find_file(struct shard *f, const struct str *header, struct error *err)
{
    struct stat st;
    uint64_t length = 0;
    f->fd = open(f->path, O_RDONLY | O_CLOEXEC);
    if (f->fd < 0 || fstat(f->fd, &st) != 0)
        return FAIL_OS(err, errno, "%s: cannot be read", f->path);
    if ((uint64_t)st.st_size != f->bytes)
        return FAIL(err, ERR_FORMAT, "%s: %lld bytes, not %llu", f->path, (long long)st.st_size,
                    (unsigned long long)f->bytes);
    void *map = mmap(NULL, f->bytes, PROT_READ, MAP_SHARED, f->fd, 0);
    if (map == MAP_FAILED)
        return FAIL_OS(err, errno, "%s: cannot be mapped", f->path);
    f->map = map;
    for (int i = 0; i < 8; i++)
        length |= (uint64_t)f->map[i] << 8 * i;
    if (length != header->length || memcmp(f->map + 8, header->data, header->length) != 0)
        return FAIL(err, ERR_FORMAT, "%s: its tensors are not those that were planned", f->path);
    return OK;
}

// One file, created or found by `open_file`.
static enum status open_shard(struct shards *s, int shard, const char *dir, const char *made_by,
                              enum status (*open_file)(struct shard *f, const struct str *header,
                                                       struct error *err),
                              struct error *err)
{
    struct shard *f = &s->files[shard];
    struct str header = {0};
    char name[64];
    file_name(s, shard, name);
    f->path = file_join(dir, name);
    place_within(s, shard);
    header_text(s, shard, made_by, &header);
    f->header_bytes = 8 + header.length;
    f->bytes = f->header_bytes + f->data_bytes;
    if (!f->path || header.failed)
        FAIL(err, ERR_NOMEM, "%s/%s: no memory for its header", dir, name);
    else
        open_file(f, &header, err);
    str_fini(&header);
    return err->code;
}

static enum status place_files(struct shards *s, const char *dir, uint64_t limit, struct error *err)
{
    int count = place(s, limit);
    s->files = calloc((size_t)count, sizeof *s->files);
    if (!s->files)
        return FAIL(err, ERR_NOMEM, "%s: no memory for %d files", dir, count);
    s->file_count = count;
    for (int i = 0; i < count; i++)
        s->files[i].fd = -1;
    return OK;
}

static enum status write_index(const struct shards *s, const char *dir, struct error *err)
{
    json_t *map = json_object();
    uint64_t total = 0;
    char name[64];
    for (size_t i = 0; i < s->count; i++) {
        total += s->tensors[i].bytes;
        file_name(s, s->tensors[i].shard, name);
        json_object_set_new(map, s->tensors[i].name, json_string(name));
    }
    json_t *root =
        json_pack("{s:{s:I}, s:o}", "metadata", "total_size", (json_int_t)total, "weight_map", map);
    char *text = root ? json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS) : NULL;
    char *path = file_join(dir, "model.safetensors.index.json");
    enum status status = text && path ? file_write(path, text, strlen(text), err)
                                      : FAIL(err, ERR_NOMEM, "%s: no memory for its index", dir);
    free(path);
    free(text);
    json_decref(root);
    return status;
}

enum status shards_begin(struct shards *s, const char *dir, uint64_t limit, const char *made_by,
                         struct error *err)
{
    TRY(place_files(s, dir, limit, err));
    for (int i = 0; i < s->file_count; i++)
        TRY(open_shard(s, i, dir, made_by, make_file, err));
    return s->file_count > 1 ? write_index(s, dir, err) : OK;
}

enum status shards_find(struct shards *s, const char *dir, uint64_t limit, const char *made_by,
                        struct error *err)
{
    TRY(place_files(s, dir, limit, err));
    for (int i = 0; i < s->file_count; i++)
        TRY(open_shard(s, i, dir, made_by, find_file, err));
    return OK;
}

void *shards_data(const struct shards *s, size_t index)
{
    const struct planned *t = &s->tensors[index];
    const struct shard *f = &s->files[t->shard];
    return f->map + f->header_bytes + t->offset;
}

enum status shards_finish(struct shards *s, struct error *err)
{
    for (int i = 0; i < s->file_count; i++) {
        struct shard *f = &s->files[i];
        if (msync(f->map, f->bytes, MS_SYNC) != 0 || fsync(f->fd) != 0)
            return FAIL_OS(err, errno, "%s: cannot be written", f->path);
    }
    return OK;
}
