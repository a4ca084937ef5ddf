// str.c - growing text, glob, nearest word, numbers for people.
#include "base/str.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool reserve(struct str *s, size_t more)
{
    if (s->failed)
        return false;
    if (s->capacity - s->length > more)
        return true;
    size_t want = s->capacity ? s->capacity : 64;
    while (want - s->length <= more)
        want *= 2;
    char *grown = realloc(s->data, want);
    if (!grown) {
        s->failed = true;
        return false;
    }
    s->data = grown;
    s->capacity = want;
    return true;
}

void str_append_bytes(struct str *s, const void *bytes, size_t count)
{
    if (!reserve(s, count))
        return;
    if (count)
        memcpy(s->data + s->length, bytes, count);
    s->length += count;
    s->data[s->length] = '\0';
}

void str_append(struct str *s, const char *text)
{
    str_append_bytes(s, text, strlen(text));
}

void str_append_shell(struct str *s, const char *word)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
                                "_-+=:,./@%^";
    if (*word && !word[strspn(word, plain)]) {
        str_append(s, word);
        return;
    }
    str_append(s, "'");
    for (; *word; word++) {
        if (*word == '\'')
            str_append(s, "'\\''");
        else
            str_append_bytes(s, word, 1);
    }
    str_append(s, "'");
}

void str_printf(struct str *s, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    str_vprintf(s, format, args);
    va_end(args);
}

void str_vprintf(struct str *s, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int need = vsnprintf(NULL, 0, format, args);
    if (need >= 0 && reserve(s, (size_t)need)) {
        vsnprintf(s->data + s->length, (size_t)need + 1, format, again);
        s->length += (size_t)need;
    }
    va_end(again);
}

const char *str_text(const struct str *s)
{
    return s->data ? s->data : "";
}

char *str_take(struct str *s)
{
    char *text = NULL;
    str_append(s, ""); // an empty str still yields an owned ""
    if (!s->failed)
        text = s->data;
    else
        free(s->data);
    memset(s, 0, sizeof *s);
    return text;
}

void str_fini(struct str *s)
{
    free(s->data);
    memset(s, 0, sizeof *s);
}

// Whether the well-formed character at p moves text instead of being text. These are line separators and controls of
// bidirectional text (Unicode 15, Bidi_Control), which can show a name in another order.
static bool moves_text(const unsigned char *p)
{
    static const unsigned char pairs[][4] = {
        // first two bytes (E2 xx) and the range of the third
        {0xe2, 0x80, 0x8e, 0x8f}, // U+200E, U+200F
        {0xe2, 0x80, 0xa8, 0xae}, // U+2028 to U+202E
        {0xe2, 0x81, 0xa6, 0xa9}, // U+2066 to U+2069
    };
    if (p[0] == 0xd8)
        return p[1] == 0x9c; // U+061C
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (p[0] == pairs[i][0] && p[1] == pairs[i][1] && p[2] >= pairs[i][2] &&
            p[2] <= pairs[i][3])
            return true;
    return false;
}

// The number of bytes of the printable, well-formed character at p. 0 for a control character or a malformed sequence
// (Unicode 15, table 3-7).
static size_t printable(const unsigned char *p)
{
    size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    bool control = p[0] < 0x20 || p[0] == 0x7f || (p[0] == 0xc2 && p[1] < 0xa0);
    bool wrong = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
                 (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f) || p[0] > 0xf4;
    for (size_t i = 1; i < n && !wrong; i++) // ends at the NUL
        wrong = (p[i] & 0xc0) != 0x80;
    return control || wrong || moves_text(p) ? 0 : n;
}

void str_plain(char *text)
{
    for (size_t n; *text; text += n ? n : 1)
        if ((n = printable((const unsigned char *)text)) == 0)
            *text = '?';
}

void str_plain_lines(char *text)
{
    for (char *end; *text; text = end) {
        for (end = text; *end && *end != '\n' && *end != '\t' && strncmp(end, "\r\n", 2) != 0;
             end++)
            ;
        char kept = *end;
        *end = '\0';
        str_plain(text);
        *end = kept;
        while (*end == '\n' || *end == '\t' || strncmp(end, "\r\n", 2) == 0)
            end++;
    }
}

void str_append_plain(struct str *s, const char *text, size_t count)
{
    size_t began = s->length;
    str_append_bytes(s, text, count);
    if (!s->failed)
        str_plain(s->data + began);
}

bool str_equal(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

bool str_starts(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

bool str_ends(const char *text, const char *ending)
{
    size_t n = strlen(text), m = strlen(ending);
    return n >= m && strcmp(text + n - m, ending) == 0;
}

bool str_glob(const char *pattern, const char *text)
{
    const char *star = NULL,
               *resume = NULL; // where to continue if the * matched too little
    while (*text) {
        if (*pattern == '*') {
            star = pattern++;
            resume = text;
        } else if (*pattern == '?' || *pattern == *text) {
            pattern++, text++;
        } else if (star) {
            pattern = star + 1;
            text = ++resume;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

bool str_to_i64(const char *text, int64_t *out)
{
    char *end = NULL;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || end == text || *end || text[0] == ' ')
        return false;
    *out = value;
    return true;
}

bool str_to_f64(const char *text, double *out)
{
    char *end = NULL;
    errno = 0;
    double value = strtod(text, &end);
    if (errno || end == text || *end || text[0] == ' ' || !isfinite(value))
        return false;
    *out = value;
    return true;
}

static char *format_scaled(double value, double step, const char *const *units, int count,
                           char *out, size_t out_bytes)
{
    int unit = 0;
    while (fabs(value) >= step && unit < count - 1) {
        value /= step;
        unit++;
    }
    int decimals = fabs(value) < 10 ? 2 : fabs(value) < 100 ? 1 : 0;
    snprintf(out, out_bytes, "%.*f %s", decimals, value, units[unit]);
    return out;
}

char *format_bytes(double bytes, char *out, size_t out_bytes)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    return format_scaled(bytes, 1024, units, 5, out, out_bytes);
}

char *format_time_ns(double ns, char *out, size_t out_bytes)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    return format_scaled(ns, 1000, units, 4, out, out_bytes);
}

char *format_limit_ns(double ns, char *out, size_t out_bytes)
{
    static const struct {
        double ns;
        const char *word;
        double least; // of this unit
    } units[] = {{3600e9, "h", 1}, {60e9, "min", 2}, {1e9, "s", 1}, {1e6, "ms", 1}, {1e3, "us", 1}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        double value = ns / units[i].ns;
        if (value >= units[i].least && (value == rint(value) || units[i].ns < 60e9)) {
            snprintf(out, out_bytes, "%.6g %s", value, units[i].word);
            return out;
        }
    }
    snprintf(out, out_bytes, "%.6g ns", ns);
    return out;
}

char *format_wait_ns(double ns, char *out, size_t out_bytes)
{
    double s = ns / 1e9;
    if (!(ns > 0))
        snprintf(out, out_bytes, "not known");
    else if (s < 59.95) // 59.96 would read "60.0 s"
        format_time_ns(ns, out, out_bytes);
    else if (s < 3599.5)
        snprintf(out, out_bytes, "%d min %02d s", (int)(s + 0.5) / 60, (int)(s + 0.5) % 60);
    else
        snprintf(out, out_bytes, "%.0f h %02.0f min", floor((s + 30) / 3600),
                 floor(fmod(s + 30, 3600) / 60));
    return out;
}

char *format_rate(double per_s, const char *unit, char *out, size_t out_bytes)
{
    static const char *const prefixes[] = {"", "k", "M", "G", "T", "P"};
    char number[48];
    format_scaled(per_s, 1000, prefixes, 6, number, sizeof number);
    snprintf(out, out_bytes, "%s%s/s", number, unit);
    return out;
}
