// ini.c - feeds inih line by line, and refuses lines that it would cut, swallow or misread.
#include "bench/suite/ini.h"

#include <ctype.h>
#include <ini.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"

// Shared by reader and handler. inih handles each line before it asks for the next, so `line` is always the line of the
// key being handled.
struct reading {
    const char *name;
    const char *next, *end; // text not yet read
    int line;
    const char *section; // the last header
    struct arena *arena;
    struct ini_file *out;
    struct error *err;
};

static enum status add_entry(struct reading *r, const char *key, const char *value)
{
    if (r->out->count == INI_ENTRIES_MAX)
        return FAIL(r->err, ERR_USAGE, "%s:%d: more than %d lines with content", r->name, r->line,
                    INI_ENTRIES_MAX);
    char *own_key = key ? arena_strdup(r->arena, key) : NULL;
    char *own_value = value ? arena_strdup(r->arena, value) : NULL;
    if ((key && !own_key) || (value && !own_value))
        return FAIL(r->err, ERR_NOMEM, "%s: no memory for its entries", r->name);
    r->out->entries[r->out->count++] = (struct ini_entry){r->section, own_key, own_value, r->line};
    return OK;
}

// "[ sweep   core ]" -> "sweep core" in the arena.
static enum status begin_section(struct reading *r, const char *text, size_t length)
{
    const char *close = memchr(text, ']', length);
    if (!close)
        return FAIL(r->err, ERR_USAGE, "%s:%d: '[' without ']'", r->name, r->line);
    size_t after = (size_t)(close + 1 - text);
    while (after < length && isspace((unsigned char)text[after]))
        after++;
    if (after < length && text[after] != ';')
        return FAIL(r->err, ERR_USAGE, "%s:%d: text after ']'", r->name, r->line);
    if (close - text - 1 > INI_NAME_MAX)
        return FAIL(r->err, ERR_USAGE, "%s:%d: section name longer than %d bytes", r->name, r->line,
                    INI_NAME_MAX);
    char *name = arena_alloc(r->arena, INI_NAME_MAX + 1, 1);
    if (!name)
        return FAIL(r->err, ERR_NOMEM, "%s: no memory for its entries", r->name);
    size_t used = 0;
    for (const char *c = text + 1; c < close; c++) {
        if (!isspace((unsigned char)*c))
            name[used++] = *c;
        else if (used && name[used - 1] != ' ')
            name[used++] = ' ';
    }
    if (used && name[used - 1] == ' ')
        name[--used] = '\0';
    if (!used)
        return FAIL(r->err, ERR_USAGE, "%s:%d: section without a name", r->name, r->line);
    for (size_t i = 0; i < r->out->count; i++)
        if (!r->out->entries[i].key && strcmp(r->out->entries[i].section, name) == 0)
            return FAIL(r->err, ERR_USAGE, "%s:%d: duplicate section [%s] (first at line %d)",
                        r->name, r->line, name, r->out->entries[i].line);
    r->section = name;
    return add_entry(r, NULL, NULL);
}

// Refuses lines that inih would misread. Strips a comment that begins with '#' after a blank, which inih would keep.
static enum status check_line(struct reading *r, const char *text, size_t *length)
{
    if (*length > INI_LINE_MAX)
        return FAIL(r->err, ERR_USAGE, "%s:%d: line of %zu bytes: at most %d", r->name, r->line,
                    *length, INI_LINE_MAX);
    if (memchr(text, '\0', *length))
        return FAIL(r->err, ERR_USAGE, "%s:%d: a NUL byte: not a text file", r->name, r->line);
    size_t blank = 0;
    while (blank < *length && isspace((unsigned char)text[blank]))
        blank++;
    if (blank == *length || text[blank] == ';' || text[blank] == '#') {
        *length = 0;
        return OK;
    }
    for (size_t i = 1; i < *length; i++)
        if (text[i] == '#' && isspace((unsigned char)text[i - 1]))
            *length = i;
    if (blank)
        return FAIL(r->err, ERR_USAGE, "%s:%d: indented line: keys begin in the first column",
                    r->name, r->line);
    if (text[0] == '[')
        return begin_section(r, text, *length);
    size_t key = 0;
    while (key < *length && text[key] != '=')
        key++;
    if (key == *length)
        return FAIL(r->err, ERR_USAGE, "%s:%d: neither 'key = value' nor '[section]'", r->name,
                    r->line);
    while (key && isspace((unsigned char)text[key - 1]))
        key--;
    if (!key || key > INI_NAME_MAX || memchr(text, ':', key) || memchr(text, ';', key))
        return FAIL(r->err, ERR_USAGE, "%s:%d: not the name of a key before '='", r->name, r->line);
    if (!r->section)
        return FAIL(r->err, ERR_USAGE, "%s:%d: a key before the first [section]", r->name, r->line);
    return OK;
}

// inih's reader: like fgets on the text, one line per call, without its line end.
static char *read_line(char *buffer, int size, void *user)
{
    struct reading *r = user;
    if (r->err->code != OK || r->next >= r->end)
        return NULL;
    const char *line = r->next;
    const char *stop = memchr(line, '\n', (size_t)(r->end - line));
    r->next = stop ? stop + 1 : r->end;
    size_t length = (size_t)((stop ? stop : r->end) - line);
    if (length && line[length - 1] == '\r')
        length--;
    if (r->line++ == 0 && length >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0) {
        line += 3;
        length -= 3;
    }
    if (check_line(r, line, &length) != OK)
        return NULL;
    if (length + 1 > (size_t)size) { // an inih built for shorter lines than any known one
        FAIL(r->err, ERR_USAGE, "%s:%d: line of %zu bytes: this inih takes %d", r->name, r->line,
             length, size - 1);
        return NULL;
    }
    memcpy(buffer, line, length);
    buffer[length] = '\0';
    return buffer;
}

static int handle_key(void *user, const char *section, const char *key, const char *value)
{
    (void)section; // the reader knows it, with blanks collapsed
    struct reading *r = user;
    for (size_t i = r->out->count; i-- > 0 && r->out->entries[i].key;) {
        if (strcmp(r->out->entries[i].key, key) == 0) {
            FAIL(r->err, ERR_USAGE, "%s:%d: duplicate key '%s' (first at line %d)", r->name,
                 r->line, key, r->out->entries[i].line);
            return 0;
        }
    }
    return add_entry(r, key, value ? value : "") == OK;
}

enum status ini_parse_text(const char *text, size_t length, const char *name, struct arena *arena,
                           struct ini_file *out, struct error *err)
{
    *out = (struct ini_file){0};
    out->path = arena_strdup(arena, name);
    out->entries = arena_alloc(arena, INI_ENTRIES_MAX, sizeof *out->entries);
    if (!out->path || !out->entries)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its entries", name);
    struct reading reading = {
        .name = name, .next = text, .end = text + length, .arena = arena, .out = out, .err = err};
    int bad_line = ini_parse_stream(read_line, &reading, handle_key, &reading);
    if (err->code != OK)
        return err->code;
    if (bad_line)
        return FAIL(err, ERR_USAGE, "%s:%d: neither 'key = value' nor '[section]'", name, bad_line);
    return OK;
}

enum status ini_read(const char *path, const char *name, struct arena *arena, struct ini_file *out,
                     struct error *err)
{
    char *text = NULL;
    size_t length = 0;
    TRY(file_read(path, INI_FILE_MAX, &text, &length, err));
    enum status status = ini_parse_text(text, length, name, arena, out, err);
    free(text);
    return status;
}
