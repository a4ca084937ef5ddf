// text.h - calibration text as token ids: windows of equal length, evenly spaced over the text.
#ifndef ENGINE_QUANTIZE_TEXT_H
#define ENGINE_QUANTIZE_TEXT_H

#include "engine/engine.h"

struct calib_text {
    int32_t *ids;        // (windows, length)
    int windows, length; // of each, in tokens
    char hash[65];       // SHA-256 of the file
};

// Reads a UTF-8 file whose documents are separated by lines with a form feed. Each document begins with the model's bos
// id, if it has one. The documents are joined and cut into windows of `length` tokens, or one shorter window when the
// text has fewer. At most `windows` of them are kept, evenly spaced.
// Errors: those of reading and of the tokenizer; ERR_FORMAT for a text of fewer than CALIB_MIN_TOKENS tokens, or for
// ids that the model does not have.
enum { CALIB_MIN_TOKENS = 32, CALIB_TEXT_MAX = 256 << 20 };
enum status calib_text_read(const char *path, const struct checkpoint *ck, int windows, int length,
                            struct calib_text *out, struct error *err);
void calib_text_fini(struct calib_text *text);

// The hash alone, without the tokenizer.
enum status calib_text_hash(const char *path, char hex[65], struct error *err);

#endif
