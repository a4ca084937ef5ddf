// table.c - widths of columns, which of them are shown, and the wrapping of the last one shown.
#include "base/table.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { GAP = 2, WRAP_LEAST = 28, TEXT_LEAST = 16 };

// ---- filling ----------------------------------------------------------------------------------------------

void table_begin(struct table *table, const char *const *heads)
{
    *table = (struct table){.heads = heads};
    while (heads[table->columns])
        table->columns++;
}

static struct str *add_cell(struct table *table)
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

void table_cell(struct table *table, const char *format, ...)
{
    struct str *cell = add_cell(table);
    if (cell == NULL)
        return;
    va_list args;
    va_start(args, format);
    str_vprintf(cell, format, args);
    va_end(args);
    if (cell->data)
        str_plain(cell->data);
}

// ---- widths -----------------------------------------------------------------------------------------------

// The number of letters in UTF-8 text.
static int letters(const char *text)
{
    int count = 0;
    for (; *text; text++)
        count += ((unsigned char)*text & 0xc0) != 0x80;
    return count;
}

static int rank_of(const char *head)
{
    return isdigit((unsigned char)*head) ? *head - '0' : 0;
}

static bool to_the_right(const char *head)
{
    return head[rank_of(head) > 0] == '>';
}

static const char *title_of(const char *head)
{
    head += rank_of(head) > 0;
    return head + (*head == '>');
}

static const char *text_at(const struct table *table, size_t row, size_t column)
{
    return row == 0 ? title_of(table->heads[column])
                    : str_text(&table->cells[(row - 1) * table->columns + column]);
}

// One column of the printed table.
struct layout {
    int width;
    bool hidden;
};

static void measure(const struct table *table, size_t rows, struct layout *layout)
{
    for (size_t row = 0; row < rows; row++)
        for (size_t c = 0; c < table->columns; c++) {
            int width = letters(text_at(table, row, c));
            layout[c].width = width > layout[c].width ? width : layout[c].width;
        }
}

static size_t last_shown(const struct table *table, const struct layout *layout)
{
    size_t last = table->columns - 1;
    while (last > 0 && layout[last].hidden)
        last--;
    return last;
}

// The width of all shown columns in front of a column.
static int width_before(const struct layout *layout, size_t column)
{
    int sum = 0;
    for (size_t c = 0; c < column; c++)
        sum += layout[c].hidden ? 0 : layout[c].width + GAP;
    return sum;
}

// The least width of the table: its last column can be wrapped where it is text.
static int least_width(const struct table *table, const struct layout *layout)
{
    size_t last = last_shown(table, layout);
    int own = layout[last].width;
    bool whole = to_the_right(table->heads[last]) || own < WRAP_LEAST;
    return width_before(layout, last) + (whole ? own : WRAP_LEAST);
}

// The dispensable column to leave out next, or NULL.
static struct layout *least_wanted(const struct table *table, struct layout *layout)
{
    struct layout *found = NULL;
    int most = 0;
    for (size_t c = 0; c < table->columns; c++)
        if (!layout[c].hidden && rank_of(table->heads[c]) > most) {
            most = rank_of(table->heads[c]);
            found = &layout[c];
        }
    return found;
}

// Leaves columns out until the rest fits.
static void fit(const struct table *table, int width, struct layout *layout)
{
    struct layout *next;
    while (least_width(table, layout) > width && (next = least_wanted(table, layout)) != NULL)
        next->hidden = true;
    size_t last = last_shown(table, layout);
    int room = width - width_before(layout, last);
    if (room < layout[last].width && !to_the_right(table->heads[last]))
        layout[last].width = room > TEXT_LEAST ? room : TEXT_LEAST;
}

// ---- printing ---------------------------------------------------------------------------------------------

// The number of bytes of the text that go on a line of this width. Breaks at a blank where there is one, but not
// between "16" and "%".
static size_t line_bytes(const char *text, int width)
{
    size_t at = 0, blank = 0;
    for (int seen = 0; text[at]; at++) {
        if (text[at] == ' ' && at && text[at + 1] != '%')
            blank = at;
        if (((unsigned char)text[at] & 0xc0) != 0x80 && seen++ == width)
            return blank ? blank : at;
    }
    return at;
}

// Prints the lines of a text from the cursor on, later lines indented.
static void print_lines(FILE *out, int indent, int width, const char *text)
{
    for (;;) {
        size_t bytes = width ? line_bytes(text, width) : strlen(text);
        fprintf(out, "%.*s\n", (int)bytes, text);
        text += bytes;
        text += strspn(text, " ");
        if (!*text)
            return;
        fprintf(out, "%*s", indent, "");
    }
}

void table_text(FILE *out, int indent, int width, const char *text)
{
    struct str plain = {0};
    str_append_plain(&plain, text, strlen(text));
    int room = width - indent;
    print_lines(out, indent, width ? (room > TEXT_LEAST ? room : TEXT_LEAST) : 0, str_text(&plain));
    str_fini(&plain);
}

static void print_row(const struct table *table, size_t row, const struct layout *layout, bool wrap,
                      FILE *out)
{
    size_t last = last_shown(table, layout);
    for (size_t c = 0; c <= last; c++) {
        const char *text = text_at(table, row, c), *end = c < last ? "  " : "\n";
        int pad = layout[c].width - letters(text);
        if (layout[c].hidden)
            continue;
        if (to_the_right(table->heads[c]))
            fprintf(out, "%*s%s%s", pad, "", text, end);
        else if (c < last)
            fprintf(out, "%s%*s%s", text, pad, "", end);
        else
            print_lines(out, width_before(layout, c), wrap ? layout[c].width : 0, text);
    }
}

static void print_hidden(const struct table *table, const struct layout *layout, int width,
                         FILE *out)
{
    struct str text = {0};
    for (size_t c = 0; c < table->columns; c++)
        if (layout[c].hidden)
            str_printf(&text, "%s%s",
                       text.length ? ", " : "(no room for: ", title_of(table->heads[c]));
    if (text.length) {
        str_append(&text, "; a wider terminal, a file or a pipe gets all)");
        table_text(out, 0, width, str_text(&text));
    }
    str_fini(&text);
}

enum status table_print(struct table *table, FILE *out, int width, struct error *err)
{
    size_t rows = table->columns ? 1 + table->count / table->columns : 0;
    struct layout *layout = calloc(table->columns + 1, sizeof *layout);
    enum status status = OK;
    for (size_t i = 0; i < table->count; i++)
        table->failed |= table->cells[i].failed;
    if (layout == NULL || table->failed) {
        status = FAIL(err, ERR_NOMEM, "no memory for the table");
    } else if (rows) {
        measure(table, rows, layout);
        if (width)
            fit(table, width, layout);
        for (size_t row = 0; row < rows; row++)
            print_row(table, row, layout, width > 0, out);
        print_hidden(table, layout, width, out);
    }
    for (size_t i = 0; i < table->count; i++)
        str_fini(&table->cells[i]);
    free(table->cells);
    free(layout);
    *table = (struct table){0};
    return status;
}
