// checkpoint.c - opens a model of any format, and answers questions about it before it is loaded.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "engine/load/gguf/gguf.h"
#include "engine/text/tokenizer.h"

static enum status create(const char *path, struct checkpoint **out, struct error *err)
{
    *out = calloc(1, sizeof **out);
    if (*out)
        (*out)->path = strdup(path);
    if (*out && (*out)->path)
        return OK;
    free(*out);
    *out = NULL;
    return FAIL(err, ERR_NOMEM, "%s: no memory", path);
}

static enum status open_any(const char *path, struct checkpoint *ck, struct error *err)
{
    if (file_is_dir(path))
        return safetensors_open(path, ck, err);
    if (!file_exists(path))
        return FAIL(err, ERR_IO, "%s: no such file or folder", path);
    if (str_ends(path, ".safetensors") || str_ends(path, ".json"))
        return FAIL(err, ERR_USAGE, "%s: name the folder that holds config.json and the weights",
                    path);
    return gguf_open(path, ck, err);
}

enum status checkpoint_open(const char *path, struct checkpoint **out, struct error *err)
{
    TRY(create(path, out, err));
    enum status status = open_any(path, *out, err);
    if (status != OK) {
        checkpoint_destroy(*out);
        *out = NULL;
    }
    return status;
}

enum status checkpoint_synthetic(const char *config_path, uint64_t seed, struct checkpoint **out,
                                 struct error *err)
{
    TRY(create(config_path, out, err));
    (*out)->synthetic = true;
    enum status status = synthetic_open(config_path, seed, *out, err);
    if (status != OK) {
        checkpoint_destroy(*out);
        *out = NULL;
    }
    return status;
}

void checkpoint_destroy(struct checkpoint *ck)
{
    if (!ck)
        return;
    if (ck->ops)
        ck->ops->destroy(ck->self);
    free(ck->path);
    free(ck);
}

const struct model_config *checkpoint_config(const struct checkpoint *ck)
{
    return &ck->config;
}

bool checkpoint_is_synthetic(const struct checkpoint *ck)
{
    return ck->synthetic;
}

const char *checkpoint_format(const struct checkpoint *ck)
{
    return ck->ops->format;
}

const struct checkpoint_quantization *checkpoint_quantization(const struct checkpoint *ck)
{
    return ck->quantization;
}

const char *checkpoint_unused_tensors(const struct checkpoint *ck)
{
    return ck->unused ? str_text(&ck->unused->extra_names) : "";
}

enum status checkpoint_content_hash(struct checkpoint *ck, char hex[65], struct error *err)
{
    if (!ck->hash[0])
        TRY(ck->ops->content_hash(ck->self, ck->hash, err));
    memcpy(hex, ck->hash, sizeof ck->hash);
    return OK;
}

bool source_has_codes(const struct checkpoint *ck, enum tensor_role role, int layer,
                      enum dtype type, int group)
{
    struct stored_quant stored;
    return ck->ops->quantization && ck->ops->quantization(ck->self, role, layer, &stored) &&
           stored.type == type && (!dtype_is_grouped(type) || stored.group == group);
}

enum status checkpoint_tokenizer(const struct checkpoint *ck, struct tokenizer **out,
                                 struct error *err)
{
    *out = NULL;
    if (!ck->ops->tokenizer)
        return FAIL(err, ERR_UNSUPPORTED, "%s: a shape has no tokenizer", ck->path);
    return ck->ops->tokenizer(ck->self, out, err);
}

// ---- classes of tensors ---------------------------------------------------------------------------

// Appends a word to the list, unless the list has it or is full.
static void add_type(struct tensor_class *class, const char *name)
{
    size_t length = strlen(name), used = strlen(class->type);
    for (const char *at = class->type; (at = strstr(at, name)); at += length)
        if ((at == class->type || at[-1] == ' ') && (at[length] == ',' || !at[length]))
            return;
    if (used + length + 3 <= sizeof class->type)
        snprintf(class->type + used, sizeof class->type - used, "%s%s", used ? ", " : "", name);
}

static void add_tensor(const struct checkpoint *ck, enum tensor_role role, int layer,
                       struct tensor_class *class)
{
    struct tensor_shape shape = tensor_shape(&ck->config, role);
    uint64_t elements = (uint64_t)shape.rows * (uint64_t)shape.cols;
    enum dtype type = ck->ops->stored_type(ck->self, role, layer);
    struct stored_form form = {dtype_name(type), 0};
    if (!ck->ops->stored_form || !ck->ops->stored_form(ck->self, role, layer, &form))
        form.bytes = stored_bytes(stored_find(dtype_name(type)), elements);
    const char *name = ck->synthetic ? "generated" : form.type;
    add_type(class, name);
    class->tensors++;
    class->parameters += elements;
    class->bytes += ck->synthetic ? 0 : form.bytes;
}

size_t checkpoint_tensor_classes(const struct checkpoint *ck, struct tensor_class *out, size_t max)
{
    struct tensor_class all[] = {
        [CLASS_EMBEDDING] = {.name = "embedding"}, [CLASS_ATTENTION] = {.name = "attention"},
        [CLASS_FEED] = {.name = "feed-forward"},   [CLASS_EXPERTS] = {.name = "experts"},
        [CLASS_NORM] = {.name = "norm"},           [CLASS_HEAD] = {.name = "head"},
        [CLASS_OTHER] = {.name = "other"}};
    _Static_assert(sizeof all / sizeof *all <= CHECKPOINT_CLASSES_MAX, "callers have room");
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        enum tensor_role r = (enum tensor_role)role;
        bool outside = r <= T_FINAL_NORM;
        if (tensor_shape(&ck->config, r).rows == 0)
            continue;
        for (int layer = outside ? -1 : 0; layer < (outside ? 0 : ck->config.layers); layer++)
            add_tensor(ck, r, layer, &all[tensor_role_class(r)]);
    }
    if (ck->unused) { // stored but not in the description: only their bytes count
        all[CLASS_OTHER].tensors = ck->unused->extras;
        all[CLASS_OTHER].bytes = ck->unused->extra_bytes;
        add_type(&all[CLASS_OTHER], "unused");
    }
    size_t count = 0;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (all[i].tensors && count < max)
            out[count++] = all[i];
    return count;
}

enum status tokenizer_open(const char *path, struct tokenizer **out, struct error *err)
{
    size_t length = strlen(path);
    if (length > 5 && strcmp(path + length - 5, ".gguf") == 0)
        return gguf_tokenizer_open(path, out, err);
    return tokenizer_json_open(path, out, err);
}

// ---- names ------------------------------------------------------------------------------------------

// The start of the last part of path[0..*end). Moves *end before trailing slashes.
static const char *last_part(const char *path, const char **end)
{
    while (*end > path && (*end)[-1] == '/')
        (*end)--;
    const char *base = *end;
    while (base > path && base[-1] != '/')
        base--;
    return base;
}

void model_name_from_path(const char *path, char out[MODEL_NAME_BYTES])
{
    const char *end = path + strlen(path), *base = last_part(path, &end);
    size_t length = (size_t)(end - base);
    bool generic = (length == 11 && memcmp(base, "config.json", 11) == 0) ||
                   (length == 10 && memcmp(base, "model.gguf", 10) == 0);
    if (generic && base > path) {
        end = base;
        base = last_part(path, &end);
    } else if (length > 5 &&
               (memcmp(end - 5, ".json", 5) == 0 || memcmp(end - 5, ".gguf", 5) == 0)) {
        end -= 5;
    }
    snprintf(out, MODEL_NAME_BYTES, "%.*s", (int)(end - base), base);
    str_plain(out);
}
