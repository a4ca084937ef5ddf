// folder.c - Hugging Face folders: config.json, and one safetensors file or several with an index.
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "base/json.h"
#include "base/str.h"
#include "engine/load/hf/hf.h"
#include "engine/text/tokenizer.h"
#include "engine/load/quantized/quantized.h"
#include "kernels/quant.h"

enum { CONFIG_MAX_BYTES = 1 << 20, INDEX_MAX_BYTES = 100 << 20, SHARDS_MAX = 4096 };

struct folder {
    char *dir;
    struct model_config config;
    struct tensor_map tensors;
    struct quantized *quantized; // or NULL
    struct str remarks;          // one per line
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
    str_fini(&f->remarks);
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

// Each tensor of the index must be in the file that the index names for it.
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

// The alphabetically first file of the folder whose name matches the pattern, or "".
static void find_like(const char *dir, const char *pattern, char out[NAME_MAX + 1])
{
    DIR *list = opendir(dir);
    const struct dirent *entry;
    out[0] = '\0';
    while (list && (entry = readdir(list)) != NULL)
        if (str_glob(pattern, entry->d_name) && (!out[0] || strcmp(entry->d_name, out) < 0))
            snprintf(out, NAME_MAX + 1, "%s", entry->d_name);
    if (list)
        closedir(list);
}

// Names the weights found in another format, and explains how to get safetensors.
static enum status refuse_weights(const struct folder *f, struct error *err)
{
    static const char save[] =
        "save it as safetensors, with transformers: AutoModelForCausalLM.from_pretrained(FOLDER)"
        ".save_pretrained(NEW)";
    static const char merge[] =
        "it is an adapter: merge it into its base model, with peft: merge_and_unload()";
    static const struct {
        const char *pattern, *advice;
    } others[] = {
        {"model-*-of-*.safetensors",
         "it is one of several: model.safetensors.index.json, which lists them, is missing"},
        {"pytorch_model*.bin", save},
        {"pytorch_model.bin.index.json", save},
        {"tf_model*.h5", save},
        {"flax_model*.msgpack", save},
        {"adapter_model.safetensors", merge},
        {"adapter_model.bin", merge},
        {"consolidated*.safetensors", "its tensors have other names: take the folder in Hugging "
                                      "Face's format, with model.safetensors"},
        {"consolidated*.pth", "take the folder in Hugging Face's format, with model.safetensors"},
        {"*.gguf", "give the path of that file instead of its folder's"},
        {"*.safetensors", "name it model.safetensors if it holds the whole model"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        char name[NAME_MAX + 1];
        find_like(f->dir, others[i].pattern, name);
        if (name[0])
            return FAIL(err, ERR_UNSUPPORTED,
                        "%s: no model.safetensors, but %s, which is not read; %s", f->dir, name,
                        others[i].advice);
    }
    return FAIL(err, ERR_IO, "%s: neither model.safetensors nor its index: No such file", f->dir);
}

static enum status open_weights(struct folder *f, struct error *err)
{
    char *single = file_join(f->dir, "model.safetensors");
    char *index = file_join(f->dir, "model.safetensors.index.json");
    json_t *root = NULL;
    enum status status = OK;
    if (!single || !index) {
        status = FAIL(err, ERR_NOMEM, "%s: no memory", f->dir);
    } else if (file_exists(single)) {
        status = add_shard(f, "model.safetensors", f->dir, err);
        if (status == OK)
            status = open_shards(f, NULL, err);
    } else if (file_exists(index)) {
        status = json_read(index, INDEX_MAX_BYTES, &root, err);
        if (status == OK)
            status = read_index(f, index, root, err);
    } else {
        status = refuse_weights(f, err);
    }
    json_decref(root);
    free(single);
    free(index);
    return status;
}

// generation_config.json, or NULL. It decides nothing here, so a broken file is ignored.
static json_t *read_generation(const struct folder *f)
{
    struct error ignored = {0};
    json_t *root = NULL;
    char *path = file_join(f->dir, "generation_config.json");
    if (path && file_exists(path))
        json_read(path, CONFIG_MAX_BYTES, &root, &ignored);
    free(path);
    return root;
}

static enum status open_quantization(struct folder *f, const json_t *root, const char *path,
                                     struct error *err)
{
    const json_t *config = hf_quantization(root);
    if (!config)
        return OK;
    TRY(quantized_create(config, path, &f->quantized, err));
    const struct checkpoint_quantization *q = quantized_info(f->quantized);
    if (q->bits == 0)
        str_printf(&f->remarks, "quantization_config: %s: weights are plain\n", q->text);
    return OK;
}

static enum status open_config(struct folder *f, struct error *err)
{
    char *path = file_join(f->dir, "config.json"), gguf[NAME_MAX + 1];
    if (!path)
        return FAIL(err, ERR_NOMEM, "%s: no memory", f->dir);
    json_t *root = NULL, *generation = NULL;
    find_like(f->dir, "*.gguf", gguf);
    enum status status =
        gguf[0] && !file_exists(path)
            ? FAIL(err, ERR_UNSUPPORTED, "%s: no config.json, but %s; give the path of that file",
                   f->dir, gguf)
            : model_config_read(path, &f->config, err);
    if (status == OK)
        status = json_read(path, CONFIG_MAX_BYTES, &root, err);
    if (status == OK) {
        generation = read_generation(f);
        hf_remarks(root, generation, &f->remarks);
        status = open_quantization(f, root, path, err);
    }
    json_decref(generation);
    json_decref(root);
    free(path);
    return status;
}

// ---- the head ---------------------------------------------------------------------------------------

static bool same_rows(const struct stored_tensor *a, const struct stored_tensor *b, size_t elements)
{
    if (a->quant || b->quant || a->type != b->type)
        return false;
    size_t bytes = stored_bytes(a->type, elements);
    bool same = memcmp(a->data, b->data, bytes) == 0;
    file_map_release(a->data, a->data + bytes);
    file_map_release(b->data, b->data + bytes);
    return same;
}

// config.json ties the head to the embedding, but the file may have both tensors. As in transformers 5, a head with
// other values is used, and a head without an embedding serves as both. (transformers 4 always ties them.)
static void tie_head(struct folder *f)
{
    struct stored_tensor *embedding = tensor_map_at(&f->tensors, T_EMBEDDING, -1);
    struct stored_tensor *head = tensor_map_at(&f->tensors, T_HEAD, -1);
    const char *name = hf_names(&f->config)->at[T_HEAD].name;
    struct tensor_shape shape = tensor_shape(&f->config, T_HEAD);
    size_t elements = (size_t)shape.rows * (size_t)shape.cols;
    if (head->data && !embedding->data) {
        *embedding = *head;
        str_printf(&f->remarks, "%s is the embedding too: the file has no other\n", name);
    } else if (head->data && !same_rows(embedding, head, elements)) {
        str_printf(&f->remarks,
                   "%s counts: config.json ties it to the embedding, but the file has another, as "
                   "in transformers 5\n",
                   name);
        return;
    } else if (head->data) {
        tensor_map_extra(&f->tensors, name, strlen(name), stored_bytes(head->type, elements));
    }
    memset(head, 0, sizeof *head);
    f->config.tied = true;
}

// Tied heads are entered like others, and decided when all tensors are known.
static enum status open_tensors(struct folder *f, struct error *err)
{
    const struct tensor_names *names = hf_names(&f->config);
    bool tied = f->config.tied;
    f->config.tied = false;
    TRY(tensor_map_init(&f->tensors, &f->config, err));
    f->tensors.quantized = f->quantized;
    TRY(open_weights(f, err));
    if (f->quantized)
        TRY(quantized_enter(f->quantized, &f->config, names, &f->tensors, f->dir, err));
    if (tied)
        tie_head(f);
    return tensor_map_complete(&f->tensors, &f->config, names, f->dir, err);
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

// Hashes one file's name, size and bytes. A missing file adds nothing.
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
        status = hash_update_file(hash, map->data, map->size_bytes, err);
    }
    file_unmap(&opened);
    free(path);
    return status;
}

// The tokenizer is hashed too: it decides which ids a text becomes.
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
    if ((status = open_tensors(f, err)) != OK)
        goto out;
    ck->config = f->config;
    ck->ops = &safetensors_ops;
    ck->self = f;
    ck->unused = &f->tensors;
    ck->remarks = str_text(&f->remarks);
    if (f->quantized && quantized_info(f->quantized)->bits)
        ck->quantization = quantized_info(f->quantized);
    return OK;
out:
    folder_destroy(f);
    return status;
}
