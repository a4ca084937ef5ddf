// plain.c - prints untrusted text.
#include "base/plain.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/str.h"

void plain_printf(FILE *out, const char *format, ...)
{
    va_list args, again;
    va_start(args, format);
    va_copy(again, args);
    int length = vsnprintf(NULL, 0, format, args);
    char *text = length < 0 ? NULL : malloc((size_t)length + 1);
    if (text) {
        vsnprintf(text, (size_t)length + 1, format, again);
        str_plain_lines(text);
        fputs(text, out);
        free(text);
    }
    va_end(again);
    va_end(args);
}

bool plain_is_terminal(FILE *out)
{
    int fd = fileno(out);
    return fd >= 0 && isatty(fd) == 1;
}

int plain_columns(FILE *out)
{
    enum { COLUMNS_USUAL = 80, COLUMNS_LEAST = 20 };
    struct winsize size;
    const char *set = getenv("COLUMNS");
    int64_t columns = 0;
    if (!plain_is_terminal(out))
        return 0;
    if (set && str_to_i64(set, &columns) && columns >= COLUMNS_LEAST && columns <= INT16_MAX)
        return (int)columns;
    bool known = ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col >= COLUMNS_LEAST;
    return known ? size.ws_col : COLUMNS_USUAL;
}

// A NUL would end the text early, so it counts as a control character as well.
static void append_plain(struct str *to, const char *bytes, size_t count)
{
    size_t began = to->length;
    str_append_bytes(to, bytes, count);
    if (to->failed)
        return;
    for (size_t i = began; i < to->length; i++)
        if (to->data[i] == '\0')
            to->data[i] = '\x01';
    str_plain_lines(to->data + began);
}

static void write_str(FILE *out, struct str *text)
{
    fwrite(str_text(text), 1, text->length, out);
    str_fini(text);
}

void plain_write(FILE *out, const char *bytes, size_t count)
{
    struct str text = {0};
    if (!plain_is_terminal(out)) {
        fwrite(bytes, 1, count, out);
        return;
    }
    append_plain(&text, bytes, count);
    write_str(out, &text);
}

// The number of bytes at the end that begin an incomplete character: at most 3.
static size_t unfinished(const char *bytes, size_t count)
{
    for (size_t back = 1; back <= 3 && back <= count; back++) {
        unsigned char c = (unsigned char)bytes[count - back];
        if ((c & 0xc0) == 0x80)
            continue;
        size_t needs = c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 1;
        return needs > back ? back : 0;
    }
    return 0;
}

void plain_stream_append(struct plain_stream *stream, struct str *to, const char *bytes,
                         size_t count)
{
    struct str all = {0};
    str_append_bytes(&all, stream->waiting, stream->count);
    str_append_bytes(&all, bytes, count);
    size_t rest = unfinished(str_text(&all), all.length);
    append_plain(to, str_text(&all), all.length - rest);
    memcpy(stream->waiting, str_text(&all) + all.length - rest, rest);
    stream->count = rest;
    str_fini(&all);
}

void plain_stream_write(struct plain_stream *stream, FILE *out, const char *bytes, size_t count)
{
    struct str text = {0};
    if (!plain_is_terminal(out)) {
        fwrite(bytes, 1, count, out);
        return;
    }
    plain_stream_append(stream, &text, bytes, count);
    write_str(out, &text);
}

void plain_stream_end(struct plain_stream *stream, FILE *out)
{
    plain_write(out, stream->waiting, stream->count);
    stream->count = 0;
}
