// value.h - parses the values in suites: numbers with units, lists, ranges.
//
// Errors only describe the fault in the text; the caller adds file, line and key in front (error_context). Lists live
// in the caller's arena.
#ifndef BENCH_SUITE_VALUE_H
#define BENCH_SUITE_VALUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"

enum { LIST_MAX = 256 }; // most values of one list, with ranges expanded

struct word_list {
    const char **items;
    size_t count;
};
struct int_list {
    int *items;
    size_t count;
};

// A number from min to max, with nothing behind it. Errors: ERR_USAGE with the text and the range.
enum status value_int(const char *text, double min, double max, int64_t *out, struct error *err);
enum status value_float(const char *text, double min, double max, double *out, struct error *err);
// Parses "300s", "5m", "1.5h", "200ms", "10us" or "1ns" to ns; the unit is required.
enum status value_time(const char *text, double *ns, struct error *err);
// Parses "64MiB", "16GiB", "4096B" (powers of 1024) or "16GB" (powers of 1000); the unit is required.
enum status value_bytes(const char *text, double *bytes, struct error *err);

// Parses "a, b": words are trimmed, not empty and unique.
enum status value_words(const char *text, struct arena *arena, struct word_list *out,
                        struct error *err);
// "1, 4" "1-16*2" (1, 2, 4, 8, 16) "1-8+2" (1, 3, 5, 7) "1-4" (1, 2, 3, 4), and lists of these; `word` (may be NULL) is
// a word that means 0: "auto". Values are in [min, max] and unique.
enum status value_ints(const char *text, double min, double max, const char *word,
                       struct arena *arena, struct int_list *out, struct error *err);

#endif
