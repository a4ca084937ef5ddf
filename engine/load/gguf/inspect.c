// inspect.c - checks each part of a GGUF file: architecture, scaling, stored types, tokenizer.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/load/gguf/gguf.h"
#include "engine/load/inspect.h"
#include "engine/load/stored.h"

static const char *text_of(const struct gguf *g, const char *key, char out[48])
{
    struct gguf_text text;
    if (!gguf_string(g, key, &text))
        return "none";
    snprintf(out, 48, "%.*s", (int)(text.bytes > 40 ? 40 : text.bytes), text.text);
    return out;
}

static void inspect_architecture(struct gguf *g, struct inspection *list)
{
    char name[48], known[ARCH_NAMES_BYTES], key[80], scaling[48];
    struct error err = {0};
    const char *arch = text_of(g, "general.architecture", name);
    if (!arch_find_gguf(arch)) {
        FAIL(&err, ERR_UNSUPPORTED, "supported are %s", arch_names(known, sizeof known));
        inspect_add(list, "architecture", arch, err.code, &err, NULL);
        return;
    }
    inspect_add(list, "architecture", arch, OK, &err, NULL);
    enum status status = gguf_read_config(g, &err);
    snprintf(key, sizeof key, "%.40s.rope.scaling.type", arch);
    bool of_scaling = status != OK && strstr(err.message, "rope.scaling");
    if (gguf_find(g, key))
        inspect_add(list, "rope scaling", text_of(g, key, scaling), of_scaling ? status : OK, &err,
                    NULL);
    if (!of_scaling)
        inspect_add(list, "description",
                    status == OK ? "understood" : "not as this engine computes", status, &err,
                    NULL);
}

static void inspect_stored(const struct gguf *g, struct inspection *list)
{
    struct type_counts counts = {0};
    for (size_t i = 0; i < g->all.count; i++) {
        const struct gguf_info *t = &g->all.at[i];
        inspect_type_count(&counts, stored_ggml_name(t->type_number), t->type && t->type->expand);
    }
    inspect_types(list, &counts);
}

static void inspect_words(const struct gguf *g, struct inspection *list)
{
    struct error err = {0};
    struct tokenizer *tok = NULL;
    char model[48];
    gguf_tokenizer(g, &tok, &err);
    inspect_add(list, "tokenizer", text_of(g, "tokenizer.ggml.model", model), err.code, &err, NULL);
    tokenizer_destroy(tok);
}

void gguf_inspect(const char *path, struct inspection *list)
{
    struct gguf_files files = {0};
    struct error err = {0};
    enum status status = gguf_files_open(path, &files, &err);
    if (status == OK) {
        inspect_architecture(files.gguf, list);
        inspect_stored(files.gguf, list);
        inspect_words(files.gguf, list);
    } else {
        inspect_add(list, "file", "not readable as GGUF", status, &err, NULL);
    }
    gguf_files_close(&files);
}
