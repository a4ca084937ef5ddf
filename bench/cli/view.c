// view.c - opens the store for a command, and prints its contents.
#include "bench/cli/view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/plain.h"

enum status cli_view_open(const struct arguments *args, struct store **out, struct error *err)
{
    *out = NULL;
    char *path = command_database(args, err);
    if (path == NULL)
        return err->code;
    bool named = cli_flag_string(args, "db") != NULL;
    enum status status = store_open(path, named ? STORE_READ : STORE_READ_OR_NONE, out, err);
    free(path);
    return status;
}

size_t cli_view_json_ascii(FILE *out)
{
    return out && plain_is_terminal(out) ? JSON_ENSURE_ASCII : 0;
}

enum status cli_view_json(json_t *value, struct error *err)
{
    size_t flags = JSON_INDENT(1) | JSON_REAL_PRECISION(17) | cli_view_json_ascii(stdout);
    char *text = value ? json_dumps(value, flags) : NULL;
    json_decref(value);
    if (text == NULL)
        return FAIL(err, ERR_NOMEM, "no memory for the JSON");
    plain_write(stdout, text, strlen(text));
    putchar('\n');
    free(text);
    return OK;
}

const char *cli_view_clocks(double low_hz, double high_hz, double memory_hz, char *out,
                            size_t out_bytes)
{
    char range[40] = "", memory[40] = "";
    if (high_hz > low_hz)
        snprintf(range, sizeof range, "%.0f to %.0f MHz", low_hz / 1e6, high_hz / 1e6);
    else if (low_hz > 0)
        snprintf(range, sizeof range, "%.0f MHz", low_hz / 1e6);
    if (memory_hz > 0)
        snprintf(memory, sizeof memory, "memory %.0f MHz", memory_hz / 1e6);
    snprintf(out, out_bytes, "%s%s%s", range, *range && *memory ? ", " : "", memory);
    return out;
}

void cli_view_threads(struct table *table, int threads)
{
    if (threads)
        table_cell(table, "%d", threads);
    else
        table_cell(table, "%s", "");
}

enum status cli_view_table(struct table *table, struct error *err)
{
    return table_print(table, stdout, plain_columns(stdout), err);
}

// ---- fields ---------------------------------------------------------------------------------------------

enum { NAME_COLUMN = 15, MEMBER_COLUMN = 36 };

void cli_view_field(const char *name, const char *text)
{
    printf("%-*s", NAME_COLUMN, name);
    table_text(stdout, NAME_COLUMN, plain_columns(stdout), text);
}

void cli_view_parts(const char *name, const char *text)
{
    for (const char *end; text; text = end ? end + strlen("; ") : NULL, name = "") {
        struct str part = {0};
        end = strstr(text, "; ");
        str_append_bytes(&part, text, end ? (size_t)(end - text) : strlen(text));
        cli_view_field(name, str_text(&part));
        str_fini(&part);
    }
}

// Appends a value as text: "2 cores". Members of objects are "name value", separated by commas.
static void append_words(struct str *out, const json_t *value)
{
    const char *key;
    json_t *member;
    size_t i = 0;
    if (json_is_string(value))
        str_append(out, json_string_value(value));
    else if (json_is_integer(value))
        str_printf(out, "%lld", (long long)json_integer_value(value));
    else if (json_is_real(value))
        str_printf(out, "%g", json_real_value(value));
    else if (json_is_boolean(value))
        str_append(out, json_is_true(value) ? "yes" : "no");
    else if (json_is_null(value))
        str_append(out, "none");
    json_array_foreach(value, i, member)
    {
        str_append(out, i == 0 ? "" : json_is_object(member) ? "; " : ", ");
        append_words(out, member);
    }
    json_object_foreach((json_t *)(uintptr_t)value, key, member)
    {
        bool many = json_object_size(member) > 1 || json_array_size(member) > 1 ||
                    json_object_size(json_array_get(member, 0)) > 1;
        str_printf(out, "%s%s %s", i++ ? ", " : "", key, many ? "(" : "");
        append_words(out, member);
        str_append(out, many ? ")" : "");
    }
}

void cli_view_json_fields(const char *name, const char *json)
{
    const char *key;
    json_t *root = json ? json_loads(json, 0, NULL) : NULL, *member;
    if (!json_is_object(root) || json_object_size(root) == 0)
        cli_view_field(name, json ? json : "");
    json_object_foreach(root, key, member)
    {
        struct str words = {0}, plain = {0};
        append_words(&words, member);
        str_append_plain(&plain, key, strlen(key));
        printf("%-*s%-*s  ", NAME_COLUMN, name, MEMBER_COLUMN - NAME_COLUMN - 2, str_text(&plain));
        table_text(stdout, MEMBER_COLUMN, plain_columns(stdout), str_text(&words));
        str_fini(&words);
        str_fini(&plain);
        name = "";
    }
    json_decref(root);
}
