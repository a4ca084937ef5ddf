// test_table.c - tables in full, and fitted to a width: what is wrapped, what is left out and named.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/table.h"

static const char *const heads[] = {"cell", ">time", "2>MAD", "1source", "reason", NULL};

// Two rows, printed at this width; the caller frees.
static char *printed(int width)
{
    struct error err = {0};
    struct table table;
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    assert_non_null(out);
    table_begin(&table, heads);
    static const char *const cells[] = {
        "tiny b1", "1.5 ms", "0.1 ms", "clock", "half of the repetitions are 16 % or more off",
        "tiny b4", "12 ms",  "2 ms",   "clock", "\xc3\xa9\x1b[31m"};
    for (size_t i = 0; i < sizeof cells / sizeof *cells; i++)
        table_cell(&table, "%s", cells[i]);
    assert_int_equal(table_print(&table, out, width, &err), OK);
    assert_null(table.cells);
    fclose(out);
    return text;
}

static void prints(int width, const char *expected)
{
    char *text = printed(width);
    assert_string_equal(text, expected);
    free(text);
}

static void a_file_gets_all_in_one_line_each(void **state)
{
    (void)state;
    prints(0, "cell       time     MAD  source  reason\n"
              "tiny b1  1.5 ms  0.1 ms  clock   half of the repetitions are 16 % or more off\n"
              "tiny b4   12 ms    2 ms  clock   \xc3\xa9?[31m\n");
}

static void the_last_column_wraps_first(void **state)
{
    (void)state;
    prints(62, "cell       time     MAD  source  reason\n"
               "tiny b1  1.5 ms  0.1 ms  clock   half of the repetitions are\n"
               "                                 16 % or more off\n"
               "tiny b4   12 ms    2 ms  clock   \xc3\xa9?[31m\n");
}

// "16 %" is not torn apart where the line ends between the two.
static void a_number_keeps_its_percent(void **state)
{
    (void)state;
    prints(64, "cell       time     MAD  source  reason\n"
               "tiny b1  1.5 ms  0.1 ms  clock   half of the repetitions are\n"
               "                                 16 % or more off\n"
               "tiny b4   12 ms    2 ms  clock   \xc3\xa9?[31m\n");
}

static void columns_go_by_their_rank_and_are_named(void **state)
{
    (void)state;
    prints(54, "cell       time  source  reason\n"
               "tiny b1  1.5 ms  clock   half of the repetitions are\n"
               "                         16 % or more off\n"
               "tiny b4   12 ms  clock   \xc3\xa9?[31m\n"
               "(no room for: MAD; a wider terminal, a file or a pipe\n"
               "gets all)\n");
    char *text = printed(20); // as narrow as it can be read, and no narrower
    assert_non_null(
        strstr(text, "tiny b1  1.5 ms  half of the\n                 repetitions are\n"));
    assert_non_null(strstr(text, "(no room for: MAD,\nsource; "));
    free(text);
}

static void a_right_aligned_last_column_is_not_wrapped(void **state)
{
    (void)state;
    static const char *const numbers[] = {"name", "1>low", ">trials", NULL};
    struct error err = {0};
    struct table table;
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    table_begin(&table, numbers);
    table_cell(&table, "%s", "decode");
    table_cell(&table, "%d", 1000);
    table_cell(&table, "%d", 3);
    assert_int_equal(table_print(&table, out, 16, &err), OK);
    fclose(out);
    assert_memory_equal(text, "name    trials\ndecode       3\n(no room for:", 43);
    free(text);
}

static void a_text_keeps_its_indent(void **state)
{
    (void)state;
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    fprintf(out, "name  ");
    table_text(out, 6, 24, "one two three four five");
    table_text(out, 0, 0, "one two three four five");
    table_text(out, 0, 20, "a_word_that_is_longer_than_a_line");
    table_text(out, 0, 20, "");
    fclose(out);
    assert_string_equal(text, "name  one two three four\n      five\n"
                              "one two three four five\n"
                              "a_word_that_is_longe\nr_than_a_line\n\n");
    free(text);
}

// A cell is as long as its text: nothing is cut off.
static void a_long_cell_is_whole(void **state)
{
    (void)state;
    static const char *const one[] = {"text", NULL};
    static char words[5001];
    struct error err = {0};
    struct table table;
    char *text = NULL;
    size_t bytes;
    FILE *out = open_memstream(&text, &bytes);
    memset(words, 'x', sizeof words - 1);
    table_begin(&table, one);
    table_cell(&table, "%s\x1b[end", words);
    assert_int_equal(table_print(&table, out, 0, &err), OK);
    fclose(out);
    assert_int_equal(bytes, strlen("text\n") + 5000 + strlen("?[end\n"));
    assert_non_null(strstr(text, "xx?[end\n"));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_gets_all_in_one_line_each),
        cmocka_unit_test(the_last_column_wraps_first),
        cmocka_unit_test(a_number_keeps_its_percent),
        cmocka_unit_test(columns_go_by_their_rank_and_are_named),
        cmocka_unit_test(a_right_aligned_last_column_is_not_wrapped),
        cmocka_unit_test(a_text_keeps_its_indent),
        cmocka_unit_test(a_long_cell_is_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
