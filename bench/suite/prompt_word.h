// prompt_word.h - the value of a suite's `prompt`: "random", or "text:" and a file.
#ifndef BENCH_SUITE_PROMPT_WORD_H
#define BENCH_SUITE_PROMPT_WORD_H

#include <string.h>

#define PROMPT_RANDOM      "random"
#define PROMPT_TEXT_PREFIX "text:"

// The path of the file in the word; NULL: the prompt is not a text.
static inline const char *prompt_text_path(const char *word)
{
    size_t length = sizeof PROMPT_TEXT_PREFIX - 1;
    return strncmp(word, PROMPT_TEXT_PREFIX, length) == 0 ? word + length : NULL;
}

#endif
