// files.c - the files of one GGUF model: one, or the parts of gguf-split.
//
// Part 1 has the metadata. The others are next to it as NAME-00002-of-00003.gguf and have only tensors. A model is
// opened by its first part.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "engine/load/gguf/gguf.h"

// NAME-00001-of-00003.gguf -> NAME-00002-of-00003.gguf, which the caller frees. NULL after an error: ERR_USAGE for a
// name of another form, ERR_NOMEM.
static char *part_path(const char *first, int part, int parts, struct error *err)
{
    char ending[48];
    size_t length = strlen(first);
    size_t tail = (size_t)snprintf(ending, sizeof ending, "-%05d-of-%05d.gguf", 1, parts);
    if (length < tail || strcmp(first + length - tail, ending) != 0) {
        FAIL(err, ERR_USAGE, "%s: is the first of %d parts, but its name does not end with %s",
             first, parts, ending);
        return NULL;
    }
    struct str path = {0};
    str_printf(&path, "%.*s-%05d-of-%05d.gguf", (int)(length - tail), first, part + 1, parts);
    char *text = str_take(&path);
    if (!text)
        FAIL(err, ERR_NOMEM, "%s: no memory", first);
    return text;
}

static enum status add_file(struct gguf_files *f, const char *path, struct gguf **out,
                            struct error *err)
{
    struct file_map *map = &f->maps[f->count];
    TRY(file_map(path, map, err));
    f->count++;
    return gguf_begin(path, map->data, map->size_bytes, out, err);
}

static enum status add_part(struct gguf_files *f, const char *path, int part, int parts,
                            struct error *err)
{
    struct gguf *g = NULL;
    int is, of;
    TRY(add_file(f, path, &g, err));
    if (gguf_split(g, &is, &of, err) == OK && (is != part || of != parts))
        FAIL(err, ERR_FORMAT, "%s: says that it is part %d of %d", path, is + 1, of);
    if (err->code == OK)
        return gguf_join(f->gguf, g, err);
    gguf_free(g);
    return err->code;
}

static enum status add_parts(struct gguf_files *f, const char *path, int parts, struct error *err)
{
    struct file_map *maps = realloc(f->maps, (size_t)parts * sizeof *maps);
    if (!maps)
        return FAIL(err, ERR_NOMEM, "%s: no memory for %d parts", path, parts);
    f->maps = maps;
    for (int i = 1; i < parts; i++) {
        char *name = part_path(path, i, parts, err);
        if (name)
            add_part(f, name, i, parts, err);
        free(name);
        if (err->code != OK)
            return err->code;
    }
    return OK;
}

static enum status open_all(const char *path, struct gguf_files *f, struct error *err)
{
    int part, parts;
    f->maps = calloc(1, sizeof *f->maps);
    if (!f->maps)
        return FAIL(err, ERR_NOMEM, "%s: no memory", path);
    TRY(add_file(f, path, &f->gguf, err));
    TRY(gguf_split(f->gguf, &part, &parts, err));
    if (part > 0)
        return FAIL(err, ERR_USAGE, "%s: is part %d of %d: name the first one", path, part + 1,
                    parts);
    return parts > 1 ? add_parts(f, path, parts, err) : OK;
}

enum status gguf_files_open(const char *path, struct gguf_files *out, struct error *err)
{
    *out = (struct gguf_files){0};
    enum status status = open_all(path, out, err);
    if (status != OK)
        gguf_files_close(out);
    return status;
}

void gguf_files_close(struct gguf_files *f)
{
    gguf_free(f->gguf);
    for (int i = 0; i < f->count; i++)
        file_unmap(&f->maps[i]);
    free(f->maps);
    *f = (struct gguf_files){0};
}
