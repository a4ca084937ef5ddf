// folder.c - Hugging Face folders: config.json, and one safetensors file or several with an index.
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "engine/load/parse.h"
#include "engine/text/tokenizer.h"
#include "engine/load/quantized/quantized.h"
#include "kernels/quant.h"

enum { CONFIG_MAX_BYTES = 1 << 20, INDEX_MAX_BYTES = 100 << 20, SHARDS_MAX = 4096 };

struct folder {
    char *dir;
    struct model_config config;
    struct tensor_map tensors;
    struct quantized *quantized; // or NULL
    struct file_map maps[SHARDS_MAX];
    char *names[SHARDS_MAX]; // within the folder, sorted
    int shards;
};

static void folder_destroy(void *self)
{
    struct folder *f = self;
    if (!f)
        return;
    for (int i = 0; i < f->shards; i++) {
        file_unmap(&f->maps[i]);
        free(f->names[i]);
    }
    tensor_map_fini(&f->tensors);
    quantized_destroy(f->quantized);
    free(f->dir);
    free(f);
}

static enum status add_shard(struct folder *f, const char *name, const char *where,
                             struct error *err)
{
    for (int i = 0; i < f->shards; i++)
        if (strcmp(f->names[i], name) == 0)
            return OK;
    if (!*name || *name == '.' || strchr(name, '/'))
        return FAIL(err, ERR_FORMAT, "%s: weight_map: '%.128s' is not a file of the folder", where,
                    name);
    if (f->shards == SHARDS_MAX)
        return FAIL(err, ERR_FORMAT, "%s: weight_map: more than %d files", where, SHARDS_MAX);
    f->names[f->shards] = strdup(name);
    if (!f->names[f->shards])
        return FAIL(err, ERR_NOMEM, "%s: no memory", where);
    f->shards++;
    return OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static enum status open_shards(struct folder *f, json_t *seen, struct error *err)
{
    qsort(f->names, (size_t)f->shards, sizeof *f->names, by_name);
    for (int i = 0; i < f->shards; i++) {
        char *path = file_join(f->dir, f->names[i]);
        if (!path)
            return FAIL(err, ERR_NOMEM, "%s: no memory", f->dir);
        enum status status = file_map(path, &f->maps[i], err);
        if (status == OK)
            status = safetensors_parse(path, f->maps[i].data, f->maps[i].size_bytes, &f->config,
                                       &f->tensors, seen, err);
        free(path);
        TRY(status);
    }
    return OK;
}

// Every tensor of the index must stand in the file the index says.
static enum status check_index(const char *path, const json_t *weights, const json_t *seen,
                               struct error *err)
{
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)weights, tensor, file)
    {
        const char *found = json_string_value(json_object_get(seen, tensor));
        if (!found || !str_equal(strrchr(found, '/') + 1, json_string_value(file)))
            return FAIL(err, ERR_FORMAT, "%s: weight_map: tensor %.128s is not in %.128s", path,
                        tensor, json_string_value(file));
    }
    return OK;
}

static enum status read_index(struct folder *f, const char *path, const json_t *root,
                              struct error *err)
{
    const json_t *weights = json_object_get(root, "weight_map");
    const char *tensor;
    json_t *file;
    if (!json_is_object(weights) || json_object_size(weights) == 0)
        return FAIL(err, ERR_FORMAT, "%s: weight_map: missing, empty or not an object", path);
    json_object_foreach((json_t *)weights, tensor, file)
    {
        if (!json_is_string(file))
            return FAIL(err, ERR_FORMAT, "%s: weight_map: %.128s: not a file name", path, tensor);
        TRY(add_shard(f, json_string_value(file), path, err));
    }
    json_t *seen = json_object();
    if (!seen)
        return FAIL(err, ERR_NOMEM, "%s: no memory", path);
    enum status status = open_shards(f, seen, err);
    if (status == OK)
        status = check_index(path, weights, seen, err);
    json_decref(seen);
    return status;
}

static enum status open_weights(struct folder *f, struct error *err)
{
    char *single = file_join(f->dir, "model.safetensors");
    char *index = file_join(f->dir, "model.safetensors.index.json");
    json_t *root = NULL;
    enum status status = OK;
    if (!single || !index) {
        status = FAIL(err, ERR_NOMEM, "%s: no memory", f->dir);
    } else if (file_exists(single) || !file_exists(index)) {
        status = add_shard(f, "model.safetensors", f->dir, err);
        if (status == OK)
            status = open_shards(f, NULL, err);
    } else {
        status = json_read(index, INDEX_MAX_BYTES, &root, err);
        if (status == OK)
            status = read_index(f, index, root, err);
    }
    json_decref(root);
    free(single);
    free(index);
    return status;
}

static enum status open_config(struct folder *f, struct error *err)
{
    char *path = file_join(f->dir, "config.json");
    if (!path)
        return FAIL(err, ERR_NOMEM, "%s: no memory", f->dir);
    json_t *root = NULL;
    enum status status = model_config_read(path, &f->config, err);
    if (status == OK)
        status = json_read(path, CONFIG_MAX_BYTES, &root, err);
    const json_t *quantization = json_object_get(root, "quantization_config");
    if (status == OK && quantization && !json_is_null(quantization))
        status = quantized_create(quantization, path, &f->quantized, err);
    json_decref(root);
    free(path);
    return status;
}

// ---- the source -----------------------------------------------------------------------------------

static void folder_read_rows(const void *self, enum tensor_role role, int layer, int row0, int rows,
                             float *out, size_t ld)
{
    const struct folder *f = self;
    tensor_map_read(&f->tensors, &f->config, hf_names(&f->config), role, layer, row0, rows, out,
                    ld);
}

static void folder_release(const void *self, enum tensor_role role, int layer, int row0, int rows)
{
    const struct folder *f = self;
    tensor_map_release(&f->tensors, &f->config, hf_names(&f->config), role, layer, row0, rows);
}

static enum dtype folder_stored_type(const void *self, enum tensor_role role, int layer)
{
    const struct folder *f = self;
    return tensor_map_type(&f->tensors, hf_names(&f->config), role, layer)->exact;
}

static bool folder_stored_form(const void *self, enum tensor_role role, int layer,
                               struct stored_form *out)
{
    const struct folder *f = self;
    const struct tensor_names *names = hf_names(&f->config);
    return quantized_form(&f->tensors, &f->config, names, role, layer, out) ||
           tensor_map_form(&f->tensors, &f->config, names, role, layer, out);
}

static bool folder_quantization(const void *self, enum tensor_role role, int layer,
                                struct stored_quant *out)
{
    const struct folder *f = self;
    return quantized_stored(&f->tensors, hf_names(&f->config), role, layer, out);
}

static void folder_read_codes(const void *self, enum tensor_role role, int layer, int row,
                              struct quant_row out)
{
    const struct folder *f = self;
    quantized_codes(&f->tensors, &f->config, hf_names(&f->config), role, layer, row, out);
}

// One file's name, size and bytes; a file that is not there adds nothing.
static enum status hash_file(struct hash *hash, const char *dir, const char *name,
                             const struct file_map *map, struct error *err)
{
    struct file_map opened = {NULL, 0};
    char *path = file_join(dir, name);
    enum status status = OK;
    if (!path)
        return FAIL(err, ERR_NOMEM, "%s: no memory", dir);
    if (!map && file_exists(path)) {
        status = file_map(path, &opened, err);
        map = &opened;
    }
    if (status == OK && map) {
        uint64_t size = map->size_bytes;
        hash_update(hash, name, strlen(name) + 1);
        hash_update(hash, &size, sizeof size);
        hash_update(hash, map->data, map->size_bytes);
    }
    file_unmap(&opened);
    free(path);
    return status;
}

// The tokenizer counts too: it decides what ids a text becomes.
static enum status folder_content_hash(const void *self, char hex[65], struct error *err)
{
    const struct folder *f = self;
    struct hash *hash = hash_create();
    if (!hash)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its hash", f->dir);
    enum status status = hash_file(hash, f->dir, "config.json", NULL, err);
    if (status == OK)
        status = hash_file(hash, f->dir, "tokenizer.json", NULL, err);
    for (int i = 0; i < f->shards && status == OK; i++)
        status = hash_file(hash, f->dir, f->names[i], &f->maps[i], err);
    if (status == OK)
        hash_finish(hash, hex);
    else
        hash_destroy(hash);
    return status;
}

static enum status folder_tokenizer(const void *self, struct tokenizer **out, struct error *err)
{
    const struct folder *f = self;
    char *path = file_join(f->dir, "tokenizer.json");
    if (!path)
        return FAIL(err, ERR_NOMEM, "%s: no memory", f->dir);
    enum status status = tokenizer_open(path, out, err);
    if (status == OK)
        status = tokenizer_check(*out, &f->config, path, err);
    if (status != OK) {
        tokenizer_destroy(*out);
        *out = NULL;
    }
    free(path);
    return status;
}

static const struct source_ops safetensors_ops = {
    .format = "safetensors",
    .read_rows = folder_read_rows,
    .release = folder_release,
    .stored_type = folder_stored_type,
    .stored_form = folder_stored_form,
    .quantization = folder_quantization,
    .read_codes = folder_read_codes,
    .content_hash = folder_content_hash,
    .tokenizer = folder_tokenizer,
    .destroy = folder_destroy,
};

enum status safetensors_open(const char *dir, struct checkpoint *ck, struct error *err)
{
    struct folder *f = calloc(1, sizeof *f);
    enum status status;
    if (!f || !(f->dir = strdup(dir))) {
        status = FAIL(err, ERR_NOMEM, "%s: no memory", dir);
        goto out;
    }
    if ((status = open_config(f, err)) != OK)
        goto out;
    if ((status = tensor_map_init(&f->tensors, &f->config, err)) != OK)
        goto out;
    f->tensors.quantized = f->quantized;
    if ((status = open_weights(f, err)) != OK)
        goto out;
    if (f->quantized && (status = quantized_enter(f->quantized, &f->config, hf_names(&f->config),
                                                  &f->tensors, dir, err)) != OK)
        goto out;
    if ((status = tensor_map_complete(&f->tensors, &f->config, hf_names(&f->config), dir, err)) !=
        OK)
        goto out;
    ck->config = f->config;
    ck->ops = &safetensors_ops;
    ck->self = f;
    ck->unused = &f->tensors;
    ck->quantization = f->quantized ? quantized_info(f->quantized) : NULL;
    return OK;
out:
    folder_destroy(f);
    return status;
}
