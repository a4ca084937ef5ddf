// words.c - finds words that begin with a mistyped one, contain it, or differ from it by a few letters.
#include "base/words.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/str.h"

enum { LETTERS_MAX = 64, NEAR_MAX = 6, LIST_LETTERS = 240, PART_LETTERS = 2, SHORT_LETTERS = 3 };

void words_add(struct words *words, const char *word)
{
    if (words->count < WORDS_MAX)
        words->items[words->count++] = word;
}

void words_add_new(struct words *words, const char *word)
{
    for (size_t i = 0; i < words->count; i++)
        if (strcmp(words->items[i], word) == 0)
            return;
    words_add(words, word);
}

// ---- three kinds of nearness ----------------------------------------------------------------------------

static bool begins(const char *known, const char *word)
{
    return strlen(word) >= PART_LETTERS && strncasecmp(known, word, strlen(word)) == 0;
}

static bool holds(const char *known, const char *word)
{
    size_t length = strlen(word);
    if (length < PART_LETTERS)
        return false;
    for (; *known; known++)
        if (strncasecmp(known, word, length) == 0)
            return true;
    return false;
}

static bool same_letter(char a, char b)
{
    return tolower((unsigned char)a) == tolower((unsigned char)b);
}

static size_t smallest(size_t a, size_t b, size_t c)
{
    size_t least = a < b ? a : b;
    return least < c ? least : c;
}

// The number of letters that are missing, added or wrong. Two swapped neighbours count once.
static size_t edit_distance(const char *a, const char *b)
{
    size_t la = strlen(a), lb = strlen(b), rows[3][LETTERS_MAX + 1];
    if (la > LETTERS_MAX || lb > LETTERS_MAX)
        return SIZE_MAX; // no known word is that long
    size_t *before = rows[0], *above = rows[1], *row = rows[2];
    for (size_t j = 0; j <= lb; j++)
        above[j] = j;
    for (size_t i = 1; i <= la; i++) {
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            row[j] = smallest(above[j] + 1, row[j - 1] + 1,
                              above[j - 1] + !same_letter(a[i - 1], b[j - 1]));
            if (i > 1 && j > 1 && same_letter(a[i - 1], b[j - 2]) &&
                same_letter(a[i - 2], b[j - 1]) && before[j - 2] + 1 < row[j])
                row[j] = before[j - 2] + 1;
        }
        size_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[lb];
}

// The words with the fewest mistakes, if those are few enough.
static void nearest(const char *word, const char *const *known, size_t count, struct words *out)
{
    size_t letters = strlen(word + strspn(word, "-")); // the dashes of a flag are not letters
    size_t least = letters > SHORT_LETTERS ? letters / 3 : 1;
    for (size_t i = 0; i < count; i++) {
        size_t distance = edit_distance(word, known[i]);
        // In a short word the first letter must match: "gpu" does not suggest "cpu".
        if (distance > least || (letters <= SHORT_LETTERS && !same_letter(*word, *known[i])))
            continue;
        if (distance < least)
            out->count = 0;
        least = distance;
        words_add_new(out, known[i]);
    }
}

// ---- the words as text ------------------------------------------------------------------------------------

// The words that `test` accepts (NULL: all), each once. Returns how many.
static size_t pick(bool (*test)(const char *known, const char *word), const char *word,
                   const char *const *known, size_t count, struct words *out)
{
    out->count = 0;
    for (size_t i = 0; i < count; i++)
        if (!test || test(known[i], word))
            words_add_new(out, known[i]);
    return out->count;
}

// Words beyond WORDS_MAX were dropped, so their number is not known.
static const char *at_least(const struct words *words)
{
    return words->count == WORDS_MAX ? "at least " : "";
}

static void write_near(const struct words *near, char *out, size_t out_bytes)
{
    struct str text = {0};
    size_t shown = near->count > NEAR_MAX ? NEAR_MAX : near->count;
    str_append(&text, ": did you mean ");
    for (size_t i = 0; i < shown; i++)
        str_printf(&text, "%s'%s'",
                   i == 0                 ? ""
                   : i + 1 == near->count ? " or "
                                          : ", ",
                   near->items[i]);
    if (shown < near->count)
        str_printf(&text, " or one of %s%zu more", at_least(near), near->count - shown);
    str_append(&text, "?");
    snprintf(out, out_bytes, "%s", str_text(&text));
    str_fini(&text);
}

bool words_near(const char *word, const char *const *known, size_t count, char *out,
                size_t out_bytes)
{
    struct words near = {0};
    if (!pick(begins, word, known, count, &near) && !pick(holds, word, known, count, &near))
        nearest(word, known, count, &near);
    out[0] = '\0';
    if (near.count)
        write_near(&near, out, out_bytes);
    return near.count > 0;
}

char *words_list(const char *const *known, size_t count, char *out, size_t out_bytes)
{
    struct words all;
    struct str text = {0};
    size_t shown = 0;
    out[0] = '\0';
    if (!pick(NULL, NULL, known, count, &all))
        return out;
    for (; shown < all.count && text.length < LIST_LETTERS; shown++)
        str_printf(&text, "%s%s", shown ? ", " : " (known: ", all.items[shown]);
    if (shown < all.count)
        str_printf(&text, " and %s%zu more", at_least(&all), all.count - shown);
    snprintf(out, out_bytes, "%s)", str_text(&text));
    str_fini(&text);
    return out;
}

char *words_hint(const char *word, const char *const *known, size_t count, char *out,
                 size_t out_bytes)
{
    return words_near(word, known, count, out, out_bytes)
               ? out
               : words_list(known, count, out, out_bytes);
}

char *words_hint_glob(const char *pattern, const char *const *known, size_t count, char *out,
                      size_t out_bytes)
{
    struct str part = {0};
    size_t parts = 0;
    str_printf(&part, "*%s*", pattern);
    for (size_t i = 0; i < count; i++)
        parts += str_glob(str_text(&part), known[i]);
    if (*pattern && parts)
        snprintf(out, out_bytes, ": did you mean '%s' (%zu of them)?", str_text(&part), parts);
    else
        words_hint(pattern, known, count, out, out_bytes);
    str_fini(&part);
    return out;
}
