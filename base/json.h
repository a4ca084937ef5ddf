// json.h - reading JSON (jansson) with errors that name the file, the place and the reason.
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

// Parses a file of at most max_bytes. Errors carry "path:line:column: reason". Caller json_decref's.
enum status json_read(const char *path, size_t max_bytes, json_t **out, struct error *err);
enum status json_parse(const char *name, const char *text, size_t count, json_t **out,
                       struct error *err);

// Fields of an object. Error messages begin with `where` (a path, for example). The required forms fail on a missing
// field and on a wrong type. The optional ones return the default when the field is missing or null, and fail on a
// wrong type. Strings are borrowed from the object.
enum status json_get_i64(const json_t *object, const char *where, const char *key, int64_t min,
                         int64_t max, int64_t *out, struct error *err);
enum status json_get_f64(const json_t *object, const char *where, const char *key, double *out,
                         struct error *err);
enum status json_get_string(const json_t *object, const char *where, const char *key,
                            const char **out, struct error *err);
enum status json_opt_i64(const json_t *object, const char *where, const char *key, int64_t min,
                         int64_t max, int64_t fallback, int64_t *out, struct error *err);
enum status json_opt_f64(const json_t *object, const char *where, const char *key, double fallback,
                         double *out, struct error *err);
enum status json_opt_string(const json_t *object, const char *where, const char *key,
                            const char *fallback, const char **out, struct error *err);
enum status json_opt_bool(const json_t *object, const char *where, const char *key, bool fallback,
                          bool *out, struct error *err);

// Canonical text (sorted keys, no spaces, shortest doubles that round-trip): what cell keys hash.
// Caller frees; NULL when memory is exhausted.
char *json_canonical(const json_t *value);

#endif
