// inspect.c - checks each part of a Hugging Face folder: architecture, scaling, quantization, weights, tokenizer.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/str.h"
#include "engine/load/hf/hf.h"
#include "engine/load/inspect.h"
#include "engine/load/quantized/quantized.h"
#include "engine/load/stored.h"
#include "engine/model/arch.h"

enum { FOLDER_JSON_MAX = 100 << 20 };

static json_t *read_json(const char *dir, const char *name, struct error *err)
{
    json_t *root = NULL;
    char *path = file_join(dir, name);
    if (!path)
        FAIL(err, ERR_NOMEM, "%s: no memory", dir);
    else
        json_read(path, FOLDER_JSON_MAX, &root, err);
    free(path);
    return root;
}

// ---- config.json ------------------------------------------------------------------------------------

static const char *text_of(const json_t *root, const char *key, const char *fallback)
{
    const char *text = json_string_value(json_object_get(root, key));
    return text ? text : fallback;
}

static const char *scaling_of(const json_t *root)
{
    const char *key;
    const json_t *rope = hf_rope_object(root, &key);
    const char *type = text_of(rope, "rope_type", text_of(rope, "type", NULL));
    return type ? type : json_is_object(rope) ? "default" : "none";
}

// Parses the description with and without RoPE scaling. An error in the first alone is the scaling's.
static void inspect_description(const json_t *root, const char *model, struct inspection *list)
{
    struct model_config config;
    struct error whole = {0}, without = {0};
    const char *type = scaling_of(root);
    json_t *plain = json_copy((json_t *)root);
    model_config_from_json(root, "config.json", &config, &whole);
    json_object_del(plain, "rope_parameters");
    json_object_del(plain, "rope_scaling");
    model_config_from_json(plain, "config.json", &config, &without);
    json_decref(plain);
    if (strcmp(whole.message, without.message) == 0)
        whole = (struct error){0};
    if (!whole.code && !str_equal(type, "none") && !hf_scaling_known(model, type))
        FAIL(&whole, ERR_UNSUPPORTED, "default, linear, llama3, yarn and longrope are supported");
    if (config.rope != ROPE_NONE)
        inspect_add(list, "rope scaling", type, whole.code, &whole, NULL);
    inspect_add(list, "description", without.code ? "not as this engine computes" : "understood",
                without.code, &without, NULL);
}

static void inspect_quantization(const json_t *root, const char *where, struct inspection *list)
{
    const json_t *config = hf_quantization(root);
    struct quantized *q = NULL;
    struct error err = {0};
    if (!config) {
        inspect_add(list, "quantization", "none", OK, &err, NULL);
        return;
    }
    quantized_create(config, where, &q, &err);
    inspect_add(list, "quantization", text_of(config, "quant_method", "not named"), err.code, &err,
                NULL);
    quantized_destroy(q);
}

static void inspect_config(const char *dir, struct inspection *list)
{
    struct error err = {0};
    char known[ARCH_NAMES_BYTES];
    json_t *root = read_json(dir, "config.json", &err);
    if (!root) {
        inspect_add(list, "config.json", "not readable", err.code, &err, NULL);
        return;
    }
    const char *model = text_of(root, "model_type", "not named");
    if (!arch_find(model) || !hf_arch_find(model))
        FAIL(&err, ERR_UNSUPPORTED, "supported are %s", arch_names(known, sizeof known));
    inspect_add(list, "architecture", model, err.code, &err, NULL);
    if (err.code == OK)
        inspect_description(root, model, list);
    inspect_quantization(root, "config.json", list);
    json_decref(root);
}

// ---- weights ----------------------------------------------------------------------------------------

// An unknown type matters only for tensors of the description, if there is one.
static bool type_matters(const char *name, const struct model_config *config)
{
    struct tensor_place place;
    return !config || tensor_names_find(hf_names(config), name, config, &place) ||
           tensor_names_stray(hf_names(config), name, config) || quantized_name(name);
}

static void count_types(const char *path, const struct model_config *config,
                        struct type_counts *counts, struct error *err)
{
    struct file_map map = {0};
    json_t *header = NULL, *tensor;
    const char *name;
    size_t header_bytes;
    if (file_map(path, &map, err) == OK &&
        safetensors_header(path, map.data, map.size_bytes, &header, &header_bytes, err) == OK)
        json_object_foreach(header, name, tensor)
        {
            const char *type = text_of(tensor, "dtype", "not named");
            if (!str_equal(name, "__metadata__"))
                inspect_type_count(counts, type,
                                   stored_find_safetensors(type) != NULL ||
                                       !type_matters(name, config));
        }
    json_decref(header);
    file_unmap(&map);
}

// The distinct names of an index's files.
static json_t *index_files(const json_t *index)
{
    json_t *files = json_object(), *file;
    const char *tensor;
    json_object_foreach(json_object_get(index, "weight_map"), tensor, file)
    {
        if (json_is_string(file))
            json_object_set_new(files, json_string_value(file), json_true());
    }
    return files;
}

static void inspect_files(const char *dir, json_t *files, struct inspection *list)
{
    struct model_config config;
    struct error unread = {0};
    char *description = file_join(dir, "config.json");
    bool described = description && model_config_read(description, &config, &unread) == OK;
    free(description);
    struct type_counts counts = {0};
    struct error missing = {0};
    const char *name;
    json_t *unused;
    char found[64];
    int absent = 0;
    json_object_foreach(files, name, unused)
    {
        struct error err = {0};
        char *path = file_join(dir, name);
        if (path && file_exists(path))
            count_types(path, described ? &config : NULL, &counts, &err);
        else if (absent++ == 0)
            FAIL(&missing, ERR_IO, "%s: missing", name);
        if (err.code != OK)
            inspect_add(list, "weights", name, err.code, &err, NULL);
        free(path);
    }
    snprintf(found, sizeof found, "%zu safetensors file%s%s", json_object_size(files),
             json_object_size(files) == 1 ? "" : "s", absent ? ", not all of them there" : "");
    inspect_add(list, "weights", found, missing.code, &missing, NULL);
    inspect_types(list, &counts);
}

static void inspect_weights(const char *dir, struct inspection *list)
{
    struct error err = {0};
    json_t *files = json_object(), *index = NULL;
    char *single = file_join(dir, "model.safetensors");
    if (single && file_exists(single)) {
        json_object_set_new(files, "model.safetensors", json_true());
    } else if ((index = read_json(dir, "model.safetensors.index.json", &err))) {
        json_decref(files);
        files = index_files(index);
    } else {
        FAIL(&err, ERR_IO, "%s: no weights", dir);
        inspect_add(list, "weights", "neither model.safetensors nor its index", err.code, &err,
                    NULL);
    }
    if (files && json_object_size(files))
        inspect_files(dir, files, list);
    json_decref(files);
    json_decref(index);
    free(single);
}

static void inspect_tokenizer(const char *dir, struct inspection *list)
{
    struct error err = {0};
    struct tokenizer *tok = NULL;
    char *path = file_join(dir, "tokenizer.json");
    char found[64] = "none";
    if (path && file_exists(path)) {
        json_t *root = read_json(dir, "tokenizer.json", &err);
        snprintf(found, sizeof found, "%.40s",
                 text_of(json_object_get(root, "model"), "type", "?"));
        json_decref(root);
        if (err.code == OK)
            tokenizer_open(path, &tok, &err);
    } else {
        FAIL(&err, ERR_IO, "no tokenizer.json: token ids alone can be given");
    }
    inspect_add(list, "tokenizer", found, err.code, &err, NULL);
    tokenizer_destroy(tok);
    free(path);
}

void hf_inspect(const char *dir, struct inspection *list)
{
    inspect_config(dir, list);
    inspect_weights(dir, list);
    inspect_tokenizer(dir, list);
}
