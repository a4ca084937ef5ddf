// str.h - growing text, and the few string habits the tree shares.
#ifndef BASE_STR_H
#define BASE_STR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

// Text that grows. Zero-initialised is empty. After an allocation failure `failed` stays set, further
// appends do nothing, and str_text gives what was there: check once, at the end.
struct str {
    char *data;
    size_t length, capacity;
    bool failed;
};

// A failed allocation sets `failed`; later appends then do nothing, so callers check once, at str_take.
void str_append(struct str *s, const char *text);
void str_append_bytes(struct str *s, const void *bytes, size_t count);
void str_printf(struct str *s, const char *format, ...) PRINTF_LIKE(2, 3);
void str_vprintf(struct str *s, const char *format, va_list args) PRINTF_LIKE(2, 0);
const char *
str_text(const struct str *s); // never NULL, NUL-terminated; borrowed until the next append
// Appends one word for a POSIX shell, in single quotes where needed.
void str_append_shell(struct str *s, const char *word);
char *str_take(struct str *s); // caller owns and frees; NULL after a failure; s is empty
void str_fini(struct str *s);

bool str_equal(const char *a, const char *b); // NULL equals only NULL
// Neither argument may be NULL.
bool str_starts(const char *text, const char *prefix);
bool str_ends(const char *text, const char *ending);

// Makes text safe for a terminal, a page, a line of a log and JSON, in place. Each byte of a control character, of a
// bidirectional control or of malformed UTF-8 becomes "?". For names and texts from files. plain.h prints text that
// went through it.
void str_plain(char *text);
void str_plain_lines(char *text); // the same, but line ends and tabs stay
void str_append_plain(struct str *s, const char *text, size_t count); // appends text made plain

// Shell-style match: * any run, ? one character; nothing else is special.
bool str_glob(const char *pattern, const char *text);

// Whole-string conversions: false when the text is empty, has anything after the number, or overflows.
bool str_to_i64(const char *text, int64_t *out);
bool str_to_f64(const char *text, double *out); // finite values only

// "1.5 GiB", "12.3 ms": three significant digits, binary for bytes, SI for the rest. Returns `out`.
char *format_bytes(double bytes, char *out, size_t out_bytes);
char *format_time_ns(double ns, char *out, size_t out_bytes);
// A time that somebody set, as it would be written: "60 s", "1.5 s", "400 ms", "10 min".
char *format_limit_ns(double ns, char *out, size_t out_bytes);
// A waiting time: "1 h 02 min", "4 min 10 s", "12.3 s", "3.00 ms"; "not known" for 0 and less.
char *format_wait_ns(double ns, char *out, size_t out_bytes);
char *format_rate(double per_s, const char *unit, char *out, size_t out_bytes); // "45.1 GB/s"

#endif
