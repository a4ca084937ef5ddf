// fields.c - reads fields of config.json, each by the first of its names that the file uses.
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/json.h"
#include "engine/load/hf/hf.h"

const char *hf_key(const json_t *root, const char *keys, char out[64])
{
    size_t first = strcspn(keys, "|");
    for (const char *at = keys; *at;) {
        size_t length = strcspn(at, "|");
        snprintf(out, 64, "%.*s", (int)length, at);
        const json_t *value = json_object_get(root, out);
        if (value && !json_is_null(value))
            return out;
        at += length + (at[length] == '|');
    }
    snprintf(out, 64, "%.*s", (int)first, keys);
    return out;
}

enum status hf_get_int(const json_t *root, const char *where, const char *key, int *out,
                       struct error *err)
{
    int64_t value;
    char name[64];
    TRY(json_get_i64(root, where, hf_key(root, key, name), 1, INT_MAX, &value, err));
    *out = (int)value;
    return OK;
}

enum status hf_opt_int(const json_t *root, const char *where, const char *key, int fallback,
                       int *out, struct error *err)
{
    int64_t value;
    char name[64];
    TRY(json_opt_i64(root, where, hf_key(root, key, name), 0, INT_MAX, fallback, &value, err));
    *out = (int)value;
    return OK;
}

enum status hf_opt_float(const json_t *root, const char *where, const char *key, double fallback,
                         float *out, struct error *err)
{
    double value;
    char name[64];
    TRY(json_opt_f64(root, where, hf_key(root, key, name), fallback, &value, err));
    *out = (float)value;
    return OK;
}

enum status hf_get_float(const json_t *root, const char *where, const char *key, float *out,
                         struct error *err)
{
    double value;
    TRY(json_get_f64(root, where, key, &value, err));
    *out = (float)value;
    return OK;
}

enum status hf_only_bool(const json_t *root, const char *where, const char *key, bool only,
                         const char *why, struct error *err)
{
    bool value;
    TRY(json_opt_bool(root, where, key, only, &value, err));
    if (value != only)
        return FAIL(err, ERR_UNSUPPORTED, "%s: %s: %s is not supported (%s)", where, key,
                    value ? "true" : "false", why);
    return OK;
}
