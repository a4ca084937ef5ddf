// words.h - hints for a word that is not in its table: likely corrections, else the known words.
//
// Every table of words (commands, flags, sections, keys, schemes, devices, suites, cells) answers a mistyped word
// through these functions, so that all answers look alike.
#ifndef BASE_WORDS_H
#define BASE_WORDS_H

#include <stdbool.h>
#include <stddef.h>

enum { WORDS_MAX = 256, WORDS_HINT_BYTES = 512 };

// Known words gathered from several tables. Borrows them. Words beyond WORDS_MAX are dropped.
struct words {
    const char *items[WORDS_MAX];
    size_t count;
};
void words_add(struct words *words, const char *word);
void words_add_new(struct words *words, const char *word); // unless it has the word already

// Writes ": did you mean 'int4-rtn' or 'int4-awq'?" and returns true, or writes "" and returns false. Candidates, in
// this order: words that begin with `word`; words that contain it; words with the fewest changed letters, at most a
// third of the letters but at least one. Case does not count. A duplicate is named once.
bool words_near(const char *word, const char *const *known, size_t count, char *out,
                size_t out_bytes);

// The same, or " (known: a, b, c)" if no word is near. Empty only if no word is known. Returns `out`.
char *words_hint(const char *word, const char *const *known, size_t count, char *out,
                 size_t out_bytes);

// The same for a pattern (str_glob) that matches no whole word. If it matches a part of some, writes ": did you mean
// '*tiny*' (10 of them)?".
char *words_hint_glob(const char *pattern, const char *const *known, size_t count, char *out,
                      size_t out_bytes);

// Writes " (known: a, b, c)": as many words as fit on a line, and the number of the rest. Returns `out`.
char *words_list(const char *const *known, size_t count, char *out, size_t out_bytes);

#endif
