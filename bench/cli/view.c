// view.c - opening the store for a command, and printing what it holds.
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

void cli_view_text(struct str *out, const char *text)
{
    if (text)
        str_append_plain(out, text, strlen(text));
}

// ---- tables -------------------------------------------------------------------------------------

static struct str *add_cell(struct view_table *table)
{
    if (table->count == table->capacity) {
        size_t capacity = table->capacity ? 2 * table->capacity : 256;
        struct str *cells = realloc(table->cells, capacity * sizeof *cells);
        if (cells == NULL) {
            table->failed = true;
            return NULL;
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    struct str *cell = &table->cells[table->count++];
    *cell = (struct str){0};
    return cell;
}

void cli_view_begin(struct view_table *table, const char *const *heads)
{
    *table = (struct view_table){0};
    for (; heads[table->columns]; table->columns++) {
        struct str *cell = add_cell(table);
        if (cell)
            str_append(cell, heads[table->columns]);
    }
}

void cli_view_cell(struct view_table *table, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    struct str *cell = add_cell(table);
    if (cell)
        cli_view_text(cell, text);
}

// Letters of UTF-8 text.
static int letters(const char *text)
{
    int count = 0;
    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static bool to_the_right(const struct view_table *table, size_t column)
{
    return str_text(&table->cells[column])[0] == '>';
}

static void print_row(const struct view_table *table, size_t row, const int *widths)
{
    for (size_t c = 0; c < table->columns; c++) {
        bool right = to_the_right(table, c);
        const char *text = str_text(&table->cells[row * table->columns + c]);
        if (row == 0)
            text += right;
        int pad = widths[c] - letters(text);
        if (right)
            printf("%*s%s", pad, "", text);
        else if (c + 1 < table->columns)
            printf("%s%*s", text, pad, "");
        else
            printf("%s", text);
        fputs(c + 1 < table->columns ? "  " : "\n", stdout);
    }
}

enum status cli_view_print(struct view_table *table, struct error *err)
{
    size_t rows = table->columns ? table->count / table->columns : 0;
    int *widths = calloc(table->columns + 1, sizeof *widths);
    enum status status = OK;
    for (size_t i = 0; i < table->count; i++)
        table->failed |= table->cells[i].failed;
    if (widths == NULL || table->failed) {
        status = FAIL(err, ERR_NOMEM, "no memory for the table");
    } else {
        for (size_t i = 0; i < rows * table->columns; i++) {
            size_t column = i % table->columns;
            int width = letters(str_text(&table->cells[i])) -
                        (i < table->columns && to_the_right(table, column));
            widths[column] = width > widths[column] ? width : widths[column];
        }
        for (size_t row = 0; row < rows; row++)
            print_row(table, row, widths);
    }
    for (size_t i = 0; i < table->count; i++)
        str_fini(&table->cells[i]);
    free(table->cells);
    free(widths);
    *table = (struct view_table){0};
    return status;
}
