// json.c - jansson with one-line errors, typed fields, and a canonical text of our own.
//
// jansson prints doubles differently from version to version, and a cell key must not depend on the installed library.
// So canonical text is written here.
#include "base/json.h"

#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"

enum status json_parse(const char *name, const char *text, size_t count, json_t **out,
                       struct error *err)
{
    json_error_t at;
    *out = json_loadb(text, count, JSON_REJECT_DUPLICATES, &at);
    if (*out)
        return OK;
    if (json_error_code(&at) == json_error_out_of_memory)
        return FAIL(err, ERR_NOMEM, "%s: no memory to read its JSON", name);
    return FAIL(err, ERR_FORMAT, "%s:%d:%d: %s", name, at.line < 1 ? 1 : at.line,
                at.column < 1 ? 1 : at.column, at.text);
}

enum status json_read(const char *path, size_t max_bytes, json_t **out, struct error *err)
{
    char *text = NULL;
    size_t count = 0;
    *out = NULL;
    TRY(file_read(path, max_bytes, &text, &count, err));
    enum status status = json_parse(path, text, count, out, err);
    free(text);
    return status;
}

static const char *type_name(const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
        return "an integer";
    case JSON_REAL:
        return "a number with a fraction";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        break;
    }
    return "null";
}

static enum status wrong_type(const json_t *value, const char *where, const char *key,
                              const char *wanted, struct error *err)
{
    return FAIL(err, ERR_FORMAT, "%s: %s: %s expected, found %s", where, key, wanted,
                type_name(value));
}

// The field, or NULL when it is missing or null.
static const json_t *field(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_null(value) ? NULL : value;
}

static enum status required(const json_t *object, const char *where, const char *key,
                            const json_t **out, struct error *err)
{
    if (!json_is_object(object))
        return FAIL(err, ERR_FORMAT, "%s: an object expected, found %s", where,
                    object ? type_name(object) : "nothing");
    *out = field(object, key);
    if (!*out)
        return FAIL(err, ERR_FORMAT, "%s: %s: missing", where, key);
    return OK;
}

static enum status to_i64(const json_t *value, const char *where, const char *key, int64_t min,
                          int64_t max, int64_t *out, struct error *err)
{
    if (!json_is_integer(value))
        return wrong_type(value, where, key, "an integer", err);
    int64_t number = json_integer_value(value);
    if (number < min || number > max)
        return FAIL(err, ERR_FORMAT, "%s: %s: %lld is outside %lld..%lld", where, key,
                    (long long)number, (long long)min, (long long)max);
    *out = number;
    return OK;
}

static enum status to_f64(const json_t *value, const char *where, const char *key, double *out,
                          struct error *err)
{
    if (!json_is_number(value))
        return wrong_type(value, where, key, "a number", err);
    *out = json_number_value(value);
    return OK;
}

static enum status to_string(const json_t *value, const char *where, const char *key,
                             const char **out, struct error *err)
{
    if (!json_is_string(value))
        return wrong_type(value, where, key, "a string", err);
    *out = json_string_value(value);
    return OK;
}

enum status json_get_i64(const json_t *object, const char *where, const char *key, int64_t min,
                         int64_t max, int64_t *out, struct error *err)
{
    const json_t *value = NULL;
    TRY(required(object, where, key, &value, err));
    return to_i64(value, where, key, min, max, out, err);
}

enum status json_get_f64(const json_t *object, const char *where, const char *key, double *out,
                         struct error *err)
{
    const json_t *value = NULL;
    TRY(required(object, where, key, &value, err));
    return to_f64(value, where, key, out, err);
}

enum status json_get_string(const json_t *object, const char *where, const char *key,
                            const char **out, struct error *err)
{
    const json_t *value = NULL;
    TRY(required(object, where, key, &value, err));
    return to_string(value, where, key, out, err);
}

enum status json_opt_i64(const json_t *object, const char *where, const char *key, int64_t min,
                         int64_t max, int64_t fallback, int64_t *out, struct error *err)
{
    const json_t *value = field(object, key);
    *out = fallback;
    return value ? to_i64(value, where, key, min, max, out, err) : OK;
}

enum status json_opt_f64(const json_t *object, const char *where, const char *key, double fallback,
                         double *out, struct error *err)
{
    const json_t *value = field(object, key);
    *out = fallback;
    return value ? to_f64(value, where, key, out, err) : OK;
}

enum status json_opt_string(const json_t *object, const char *where, const char *key,
                            const char *fallback, const char **out, struct error *err)
{
    const json_t *value = field(object, key);
    *out = fallback;
    return value ? to_string(value, where, key, out, err) : OK;
}

enum status json_opt_bool(const json_t *object, const char *where, const char *key, bool fallback,
                          bool *out, struct error *err)
{
    const json_t *value = field(object, key);
    *out = fallback;
    if (!value)
        return OK;
    if (!json_is_boolean(value))
        return wrong_type(value, where, key, "a boolean", err);
    *out = json_is_true(value);
    return OK;
}

// ---- canonical text ------------------------------------------------------------------------------

static void write_value(struct str *out, const json_t *value);

static void write_string(struct str *out, const char *text)
{
    str_append(out, "\"");
    for (const char *c = text; *c; c++) {
        unsigned char byte = (unsigned char)*c;
        if (byte == '"' || byte == '\\')
            str_printf(out, "\\%c", byte);
        else if (byte < 0x20)
            str_printf(out, "\\u%04x", byte);
        else
            str_append_bytes(out, c, 1);
    }
    str_append(out, "\"");
}

// The fewest digits that read back as the same double; ".0" keeps 1.0 apart from the integer 1.
static void write_real(struct str *out, double value)
{
    char text[40];
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    str_append(out, text);
    if (!strpbrk(text, ".e"))
        str_append(out, ".0");
}

static int compare_keys(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static void write_object(struct str *out, const json_t *object)
{
    size_t count = json_object_size(object), used = 0;
    const char **keys = calloc(count ? count : 1, sizeof *keys);
    if (!keys) {
        out->failed = true;
        return;
    }
    json_t *walked =
        (json_t *)(uintptr_t)object; // jansson's iterators are not const, and change nothing
    for (void *it = json_object_iter(walked); it; it = json_object_iter_next(walked, it))
        keys[used++] = json_object_iter_key(it);
    qsort(keys, used, sizeof *keys, compare_keys);
    str_append(out, "{");
    for (size_t i = 0; i < used; i++) {
        str_append(out, i ? "," : "");
        write_string(out, keys[i]);
        str_append(out, ":");
        write_value(out, json_object_get(object, keys[i]));
    }
    str_append(out, "}");
    free(keys);
}

static void write_array(struct str *out, const json_t *array)
{
    str_append(out, "[");
    for (size_t i = 0; i < json_array_size(array); i++) {
        str_append(out, i ? "," : "");
        write_value(out, json_array_get(array, i));
    }
    str_append(out, "]");
}

static void write_value(struct str *out, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        write_object(out, value);
        break;
    case JSON_ARRAY:
        write_array(out, value);
        break;
    case JSON_STRING:
        write_string(out, json_string_value(value));
        break;
    case JSON_INTEGER:
        str_printf(out, "%lld", (long long)json_integer_value(value));
        break;
    case JSON_REAL:
        write_real(out, json_real_value(value));
        break;
    case JSON_TRUE:
    case JSON_FALSE:
        str_append(out, json_is_true(value) ? "true" : "false");
        break;
    case JSON_NULL:
        str_append(out, "null");
        break;
    }
}

char *json_canonical(const json_t *value)
{
    struct str out = {0};
    write_value(&out, value);
    return str_take(&out);
}
