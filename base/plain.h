// plain.h - prints untrusted text: escape sequences, bidirectional controls and bytes that are not UTF-8 do not
// reach a terminal (str_plain).
#ifndef BASE_PLAIN_H
#define BASE_PLAIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/status.h"

// Like fprintf, but prints plain text whatever `out` is, because a terminal may show it later. Line ends and tabs stay.
void plain_printf(FILE *out, const char *format, ...) PRINTF_LIKE(2, 3);

bool plain_is_terminal(FILE *out);

// The width to fit text to. 0 for a file or a pipe; for a terminal the variable COLUMNS, else its own width, else 80.
int plain_columns(FILE *out);

// Writes data unchanged, but makes it plain for a terminal.
void plain_write(FILE *out, const char *bytes, size_t count);

// The same for bytes in pieces that may split a character: for a terminal, an incomplete character is held back until
// its rest arrives. Zero-initialised is empty. plain_stream_end writes the bytes still held back.
struct plain_stream {
    char waiting[4];
    size_t count;
};
void plain_stream_write(struct plain_stream *stream, FILE *out, const char *bytes, size_t count);
void plain_stream_end(struct plain_stream *stream, FILE *out);
// Appends to `to` what plain_stream_write sends to a terminal for the held-back bytes followed by `bytes`.
struct str;
void plain_stream_append(struct plain_stream *stream, struct str *to, const char *bytes,
                         size_t count);

#endif
