// stored.c - which of a checkpoint's types are codes.
#include "bench/engines/stored.h"

#include <stdio.h>
#include <string.h>

#include "base/str.h"

static bool is_one_of(const char *word, const char *const *words)
{
    for (; *words; words++)
        if (str_equal(word, *words))
            return true;
    return false;
}

// Whether the list has the word already.
static bool has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; (at = strstr(at, word)) != NULL; at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == ',' || at[length] == '\0'))
            return true;
    return false;
}

static void add_codes(const char *types, char out[STORED_BYTES])
{
    static const char *const plain[] = {"f32", "f16", "bf16", "f64", "generated", "unused", NULL};
    while (*types) {
        char word[64];
        size_t length = strcspn(types, ","), used = strlen(out);
        snprintf(word, sizeof word, "%.*s", (int)length, types);
        if (word[0] && !is_one_of(word, plain) && !has_word(out, word))
            snprintf(out + used, STORED_BYTES - used, "%s%s", used ? ", " : "", word);
        types += length;
        types += strspn(types, ", ");
    }
}

void bench_engine_stored_codes(const struct checkpoint *ck, char out[STORED_BYTES])
{
    static const char *const products[] = {"attention", "feed-forward", "experts", NULL};
    struct tensor_class classes[CHECKPOINT_CLASSES_MAX];
    size_t count = checkpoint_tensor_classes(ck, classes, CHECKPOINT_CLASSES_MAX);
    out[0] = '\0';
    for (size_t i = 0; i < count; i++)
        if (is_one_of(classes[i].name, products))
            add_codes(classes[i].type, out);
}
