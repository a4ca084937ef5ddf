// checkpoint.c - finds models by path or name and schemes by name, and encodes prompts.
#include "bench/cli/checkpoint.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/home.h"
#include "base/str.h"
#include "bench/cli/values.h"

enum { SHAPE_SEED = 42 };

static bool is_there(const char *path)
{
    return file_exists(path) || file_is_dir(path);
}

// Lists shapes as well if the command accepts them.
static enum status no_such_model(const char *name, bool shapes, struct error *err)
{
    char hint[WORDS_HINT_BYTES];
    return FAIL(err, ERR_USAGE, "%s: no such file or folder%s%s", name,
                shapes ? ", and no shape" : "",
                cli_values_hint(shapes ? &cli_values_model : &cli_values_model_file, name, hint,
                                sizeof hint));
}

// The file or folder of this name: as it is, or among the program's own files. NULL: there is none. Caller frees.
static char *place_of(const char *name)
{
    return is_there(name) ? strdup(name) : home_find(name);
}

enum status cli_checkpoint_find(const char *name, struct checkpoint **out, struct error *err)
{
    char *place = place_of(name);
    enum status status = place ? checkpoint_open(place, out, err) : no_such_model(name, false, err);
    free(place);
    return status;
}

static bool is_shape_name(const char *name)
{
    return !is_there(name) && !strchr(name, '/');
}

enum status cli_checkpoint_path(const char *name, char **path, struct error *err)
{
    *path = NULL;
    if (is_shape_name(name))
        return OK;
    char *place = place_of(name);
    if (!place)
        return no_such_model(name, false, err);
    if (str_ends(place, ".json") && !file_is_dir(place))
        free(place);
    else
        *path = place;
    return OK;
}

enum status cli_checkpoint_or_shape_find(const char *name, struct checkpoint **out,
                                         struct error *err)
{
    char *path;
    TRY(cli_checkpoint_path(name, &path, err));
    if (path) {
        enum status status = checkpoint_open(path, out, err);
        free(path);
        return status;
    }
    struct str relative = {0};
    str_printf(&relative, "models/shapes/%s.json", name);
    char *shape = is_shape_name(name) ? home_find(str_text(&relative)) : place_of(name);
    enum status status =
        shape ? checkpoint_synthetic(shape, SHAPE_SEED, out, err) : no_such_model(name, true, err);
    free(shape);
    str_fini(&relative);
    return status;
}

enum status cli_scheme_read(const char *name, const struct scheme **out, struct error *err)
{
    *out = scheme_find(name);
    if (*out)
        return OK;
    if (scheme_is_planned(name))
        return FAIL(err, ERR_UNSUPPORTED, "--scheme %s: not implemented yet", name);
    char hint[WORDS_HINT_BYTES];
    return FAIL(err, ERR_USAGE, "--scheme: unknown scheme '%s'%s", name,
                cli_values_hint(&cli_values_scheme, name, hint, sizeof hint));
}

// Reads a flag's value that names an element type: f32, bf16, ...
static enum status dtype_read(const char *flag, const struct cli_values *values, const char *name,
                              enum dtype *out, struct error *err)
{
    char hint[WORDS_HINT_BYTES];
    if (storage_parse(name, out))
        return OK;
    return FAIL(err, ERR_USAGE, "%s: unknown type '%s'%s", flag, name,
                cli_values_hint(values, name, hint, sizeof hint));
}

enum status cli_scheme_flags_read(const struct arguments *args, struct device_target target,
                                  struct scheme *out, enum dtype *kv, struct error *err)
{
    const char *head_word = cli_flag_string(args, "head"), *kv_word = cli_flag_string(args, "kv");
    const struct scheme *row = NULL;
    TRY(cli_scheme_read(cli_flag_string(args, "scheme"), &row, err));
    enum dtype head = row->head;
    *kv = row->default_kv;
    if (head_word && !str_equal(head_word, "auto"))
        TRY(dtype_read("--head", &cli_values_head, head_word, &head, err));
    if (kv_word && !str_equal(kv_word, "auto"))
        TRY(dtype_read("--kv", &cli_values_kv, kv_word, kv, err));
    *out = scheme_resolve(row, head, target);
    return OK;
}

enum status cli_calib_read(const struct arguments *args, const char *scheme, const char **out,
                           struct error *err)
{
    struct file_map map;
    *out = cli_flag_string(args, "calib");
    if (!*out)
        return OK;
    if (strcmp(scheme, "int4-awq") != 0)
        return FAIL(err, ERR_USAGE, "--calib: only int4-awq calibrates");
    if (file_map(*out, &map, err) != OK)
        return error_context(err, "--calib");
    file_unmap(&map);
    return OK;
}

enum status cli_prompt_ids(const struct checkpoint *ck, const struct tokenizer *tok,
                           const char *text, size_t bytes, int32_t **ids, size_t *count,
                           struct error *err)
{
    int32_t bos = checkpoint_config(ck)->bos, *encoded = NULL;
    size_t n = 0, first = bos >= 0;
    *ids = NULL;
    TRY(tokenizer_encode(tok, text, bytes, &encoded, &n, err));
    *count = n + first;
    if (*count == 0) {
        free(encoded);
        return FAIL(err, ERR_USAGE, "the prompt is empty, and the model has no bos token");
    }
    *ids = calloc(*count, sizeof **ids);
    if (*ids) {
        (*ids)[0] = bos;
        if (n)
            memcpy(*ids + first, encoded, n * sizeof **ids);
    }
    free(encoded);
    return *ids ? OK : FAIL(err, ERR_NOMEM, "a prompt of %zu tokens", *count);
}
