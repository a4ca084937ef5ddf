// test_words.c - what a mistyped word may have meant.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/words.h"

#define COUNT(list) (sizeof(list) / sizeof *(list))

static const char *const schemes[] = {"f32", "bf16", "f16", "int8", "int4-rtn", "int4-awq", "fp8"};

static void hints(const char *word, const char *const *known, size_t count, const char *expected)
{
    char out[WORDS_HINT_BYTES] = "something";
    assert_string_equal(words_hint(word, known, count, out, sizeof out), expected);
}

static void beginnings_come_first_then_parts_then_letters(void **state)
{
    (void)state;
    hints("int4", schemes, COUNT(schemes), ": did you mean 'int4-rtn' or 'int4-awq'?"); // not int8
    hints("int", schemes, COUNT(schemes), ": did you mean 'int8', 'int4-rtn' or 'int4-awq'?");
    hints("awq", schemes, COUNT(schemes), ": did you mean 'int4-awq'?");
    hints("BF16", schemes, COUNT(schemes), ": did you mean 'bf16'?");
    hints("int5", schemes, COUNT(schemes), ": did you mean 'int8'?");
    hints("f31", schemes, COUNT(schemes), ": did you mean 'f32'?");
    hints("bf17", schemes, COUNT(schemes), ": did you mean 'bf16'?");
    hints("ni8", schemes, COUNT(schemes),
          " (known: f32, bf16, f16, int8, int4-rtn, int4-awq, fp8)");
    hints("itn8", schemes, COUNT(schemes), ": did you mean 'int8'?"); // a swap is one mistake
    hints("nit9", schemes, COUNT(schemes),
          " (known: f32, bf16, f16, int8, int4-rtn, int4-awq, fp8)");
    hints("int4-rnt", schemes, COUNT(schemes), ": did you mean 'int4-rtn'?");
}

static void a_short_word_keeps_its_first_letter(void **state)
{
    (void)state;
    static const char *const devices[] = {"cpu", "cuda", "metal"};
    hints("gpu", devices, COUNT(devices), " (known: cpu, cuda, metal)");
    hints("cqu", devices, COUNT(devices), ": did you mean 'cpu'?");
    hints("mtal", devices, COUNT(devices), ": did you mean 'metal'?");
    hints("accelerator", devices, COUNT(devices), " (known: cpu, cuda, metal)");
}

static void a_known_word_is_not_added_again(void **state)
{
    (void)state;
    struct words words = {0};
    const char *const added[] = {"model", "kernel", "model", "kern", "kernel"};
    for (size_t i = 0; i < COUNT(added); i++)
        words_add_new(&words, added[i]);
    assert_int_equal(words.count, 3);
    assert_string_equal(words.items[2], "kern");
}

static void a_word_is_named_once_and_many_are_counted(void **state)
{
    (void)state;
    static const char *const runs[] = {"smoke", "m1", "smoke", "smoke"};
    hints("smok", runs, COUNT(runs), ": did you mean 'smoke'?");
    hints("night", runs, COUNT(runs), " (known: smoke, m1)");
    static const char *const cells[] = {"tiny 1", "tiny 2", "tiny 3", "tiny 4", "tiny 2",
                                        "tiny 5", "tiny 6", "tiny 7", "tiny 8"};
    hints("tiny", cells, COUNT(cells),
          ": did you mean 'tiny 1', 'tiny 2', 'tiny 3', 'tiny 4', 'tiny 5', 'tiny 6' or one of 2 "
          "more?");
}

static void a_long_list_is_cut_at_a_word(void **state)
{
    (void)state;
    char names[100][16], out[WORDS_HINT_BYTES];
    const char *known[100];
    for (int i = 0; i < 100; i++) {
        snprintf(names[i], sizeof names[i], "name number %02d", i);
        known[i] = names[i];
    }
    words_list(known, 100, out, sizeof out);
    const char *more = strstr(out, " and ");
    assert_non_null(more);
    assert_string_equal(more, " and 85 more)");
    assert_memory_equal(more - 14, "name number 14", 14);
}

// More words than are gathered: the number that is left is a lower bound, and called one.
static void words_beyond_the_most_are_not_miscounted(void **state)
{
    (void)state;
    static char names[WORDS_MAX + 44][16];
    const char *known[COUNT(names)];
    char out[WORDS_HINT_BYTES];
    for (size_t i = 0; i < COUNT(names); i++) {
        snprintf(names[i], sizeof names[i], "name %03zu", i);
        known[i] = names[i];
    }
    words_list(known, COUNT(names), out, sizeof out);
    assert_non_null(strstr(out, " and at least 23"));
    words_near("name", known, COUNT(names), out, sizeof out);
    assert_non_null(strstr(out, " or one of at least 250 more?"));
    words_near("name", known, WORDS_MAX - 1, out, sizeof out);
    assert_non_null(strstr(out, " or one of 249 more?"));
}

static void nothing_known_gives_no_hint(void **state)
{
    (void)state;
    char endless[500];
    memset(endless, 'x', sizeof endless - 1);
    endless[sizeof endless - 1] = '\0';
    hints("batch", schemes, 0, "");
    hints(endless, schemes, 2, " (known: f32, bf16)");
    hints("", schemes, 2, " (known: f32, bf16)");
}

static void a_part_of_a_label_gets_its_stars(void **state)
{
    (void)state;
    static const char *const labels[] = {"tiny f32 cpu b1", "tiny f32 cpu b4", "big f32 cpu b1"};
    char out[WORDS_HINT_BYTES];
    assert_string_equal(words_hint_glob("tiny", labels, 3, out, sizeof out),
                        ": did you mean '*tiny*' (2 of them)?");
    assert_string_equal(words_hint_glob("tinny*", labels, 3, out, sizeof out),
                        " (known: tiny f32 cpu b1, tiny f32 cpu b4, big f32 cpu b1)");
    assert_string_equal(words_hint_glob("", labels, 3, out, sizeof out),
                        " (known: tiny f32 cpu b1, tiny f32 cpu b4, big f32 cpu b1)");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beginnings_come_first_then_parts_then_letters),
        cmocka_unit_test(a_short_word_keeps_its_first_letter),
        cmocka_unit_test(a_known_word_is_not_added_again),
        cmocka_unit_test(a_word_is_named_once_and_many_are_counted),
        cmocka_unit_test(a_long_list_is_cut_at_a_word),
        cmocka_unit_test(words_beyond_the_most_are_not_miscounted),
        cmocka_unit_test(nothing_known_gives_no_hint),
        cmocka_unit_test(a_part_of_a_label_gets_its_stars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
