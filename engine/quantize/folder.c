// folder.c - the small files of a written folder: config.json and tokenizer.
//
// The quantization_config is the one that AutoAWQ and compressed-tensors write for these layouts.
#include "engine/quantize/folder.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"

enum { CONFIG_MAX_BYTES = 1 << 20, SMALL_MAX_BYTES = 256 << 20 };

// Modules are excluded by a part of their names.
static json_t *awq_config(const struct quant_output *output, bool experts)
{
    json_t *skip = experts ? json_pack("[s, s]", "gate", "shared_expert_gate") : json_null();
    return json_pack("{s:s, s:i, s:i, s:b, s:s, s:o}", "quant_method", "awq", "bits", 4,
                     "group_size", output->group, "zero_point", 1, "version", "gemm",
                     "modules_to_not_convert", skip);
}

static json_t *compressed_config(const struct quant_output *output, bool experts)
{
    bool integer = output->type == DT_I8;
    const char *type = integer ? "int" : "float";
    json_t *weights = json_pack("{s:i, s:s, s:s, s:b, s:b, s:n, s:n, s:n, s:s}", "num_bits", 8,
                                "type", type, "strategy", "channel", "symmetric", 1, "dynamic", 0,
                                "group_size", "block_structure", "actorder", "observer", "minmax");
    json_t *inputs =
        json_pack("{s:i, s:s, s:s, s:b, s:b, s:n, s:n}", "num_bits", 8, "type", type, "strategy",
                  "token", "symmetric", 1, "dynamic", 1, "group_size", "block_structure");
    json_t *ignore = json_pack("[s]", "lm_head");
    if (experts) {
        json_array_append_new(ignore, json_string("re:.*\\.gate$"));
        json_array_append_new(ignore, json_string("re:.*shared_expert_gate$"));
    }
    return json_pack("{s:s, s:s, s:s, s:{s:{s:[s], s:o, s:o, s:n}}, s:o, s:n}", "quant_method",
                     "compressed-tensors", "format", integer ? "int-quantized" : "float-quantized",
                     "quantization_status", "compressed", "config_groups", "group_0", "targets",
                     "Linear", "weights", weights, "input_activations", inputs,
                     "output_activations", "ignore", ignore, "kv_cache_scheme");
}

static void set_type(json_t *root, enum dtype plain)
{
    static const char *const names[] = {
        [DT_F32] = "float32", [DT_F16] = "float16", [DT_BF16] = "bfloat16"};
    const char *key = json_object_get(root, "torch_dtype") ? "torch_dtype" : "dtype";
    json_object_set_new(root, key, json_string(names[plain]));
}

enum status quantize_folder_config(const char *source, const char *dir,
                                   const struct quant_output *output, bool experts,
                                   struct error *err)
{
    char *from = file_join(source, "config.json"), *to = file_join(dir, "config.json");
    char *text = NULL;
    json_t *root = NULL;
    enum status status;
    if (!from || !to) {
        status = FAIL(err, ERR_NOMEM, "%s: no memory for its config.json", dir);
        goto out;
    }
    if ((status = json_read(from, CONFIG_MAX_BYTES, &root, err)) != OK)
        goto out;
    json_t *config =
        output->type == DT_I4 ? awq_config(output, experts) : compressed_config(output, experts);
    set_type(root, output->plain);
    if (json_object_set_new(root, "quantization_config", config) != 0 ||
        !(text = json_dumps(root, JSON_INDENT(2))))
        status = FAIL(err, ERR_NOMEM, "%s: no memory for its config.json", dir);
    else
        status = file_write(to, text, strlen(text), err);
out:
    json_decref(root);
    free(text);
    free(from);
    free(to);
    return status;
}

static enum status copy(const char *source, const char *dir, const char *name, struct error *err)
{
    char *from = file_join(source, name), *to = file_join(dir, name);
    struct file_map map = {0};
    enum status status = OK;
    if (!from || !to)
        status = FAIL(err, ERR_NOMEM, "%s: no memory for its files", dir);
    else if (file_exists(from) && (status = file_map(from, &map, err)) == OK)
        status = file_write(to, map.data, map.size_bytes, err);
    file_unmap(&map);
    free(from);
    free(to);
    return status;
}

enum status quantize_folder_copy(const char *source, const char *dir, struct error *err)
{
    static const char *const names[] = {"tokenizer.json",
                                        "tokenizer_config.json",
                                        "special_tokens_map.json",
                                        "tokenizer.model",
                                        "added_tokens.json",
                                        "vocab.json",
                                        "merges.txt",
                                        "chat_template.jinja",
                                        "chat_template.json",
                                        "generation_config.json",
                                        "LICENSE",
                                        "LICENSE.txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        TRY(copy(source, dir, names[i], err));
    return OK;
}
