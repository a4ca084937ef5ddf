// test_status.c - the first failure is kept, and callers put where they were before it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include <errno.h>
#include <stdio.h>

#include "base/status.h"

static void the_first_failure_wins(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(FAIL(&err, ERR_FORMAT, "bad magic %d", 7), ERR_FORMAT);
    int line = __LINE__ - 1;
    assert_int_equal(FAIL(&err, ERR_IO, "close failed"), ERR_FORMAT);
    assert_string_equal(err.message, "bad magic 7");
    assert_int_equal(err.line, line);
    assert_non_null(strstr(err.file, "test_status.c"));
    error_clear(&err);
    assert_int_equal(err.code, OK);
    assert_int_equal(FAIL(&err, ERR_IO, "next"), ERR_IO);
}

static void context_comes_before_the_message(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(error_context(&err, "nothing failed"), OK);
    assert_string_equal(err.message, "");
    FAIL(&err, ERR_FORMAT, "not a number");
    error_context(&err, "%s", "hidden_size");
    assert_int_equal(error_context(&err, "config.json"), ERR_FORMAT);
    assert_string_equal(err.message, "config.json: hidden_size: not a number");
}

static void long_messages_are_cut_and_still_end(void **state)
{
    (void)state;
    char text[3000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (size_t length = 1015; length <= 1030; length++) {
        struct error err = {0};
        FAIL(&err, ERR_IO, "reason");
        error_context(&err, "%.*s", (int)length, text);
        assert_true(strlen(err.message) < sizeof err.message);
        assert_true(strlen(err.message) >= 1015);
    }
    struct error err = {0};
    FAIL(&err, ERR_IO, "%s", text);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
    error_context(&err, "place");
    assert_int_equal(strncmp(err.message, "place: xxx", 10), 0);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
}

static void a_message_is_one_line(void **state)
{
    (void)state;
    struct error err = {0};
    FAIL(&err, ERR_FORMAT, "tensor %.5s", "ab\n\xc3\xa9\xc3\xa9");
    error_context(&err, "%s", "a\x1b[2Jfile");
    assert_string_equal(err.message, "a?[2Jfile: tensor ab?\xc3\xa9");
    error_clear(&err);
    FAIL(&err, ERR_FORMAT, "tensor %.4s", "ab\n\xc3\xa9"); // cut within a character
    assert_string_equal(err.message, "tensor ab??");
}

static void a_name_is_replaced_by_the_one_that_was_asked_for(void **state)
{
    (void)state;
    struct error err = {0};
    char longer[2000];
    error_replace(&err, "a", "b");
    assert_string_equal(err.message, "");
    FAIL(&err, ERR_IO, "out.tmp-7/x: cannot be written beside out.tmp-7: disk full");
    error_replace(&err, NULL, "out");
    error_replace(&err, "out.tmp-7", NULL);
    error_replace(&err, "", "out");
    error_replace(&err, "elsewhere", "out");
    error_replace(&err, "out.tmp-7", "out");
    assert_string_equal(err.message, "out/x: cannot be written beside out: disk full");
    memset(longer, 'y', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    error_replace(&err, "out", longer);
    assert_int_equal(strlen(err.message), sizeof err.message - 1);
}

static enum status passes_on(enum status status, int *reached)
{
    TRY(status);
    *reached = 1;
    return OK;
}

static void try_leaves_with_the_status(void **state)
{
    (void)state;
    int reached = 0;
    assert_int_equal(passes_on(ERR_TIMEOUT, &reached), ERR_TIMEOUT);
    assert_int_equal(reached, 0);
    assert_int_equal(passes_on(OK, &reached), OK);
    assert_int_equal(reached, 1);
}

// The value is the caller's: what errno says by now does not matter.
static void the_system_gives_the_reason(void **state)
{
    (void)state;
    struct error err = {0};
    errno = ENOENT;
    assert_int_equal(FAIL_OS(&err, EACCES, "%s: cannot be written", "a/b"), ERR_IO);
    char expected[128];
    snprintf(expected, sizeof expected, "a/b: cannot be written: %s", strerror(EACCES));
    assert_string_equal(err.message, expected);
    error_clear(&err);
    assert_int_equal(FAIL_OS(&err, ENOMEM, "x"), ERR_NOMEM);
}

static void every_status_has_a_name(void **state)
{
    (void)state;
    assert_string_equal(status_name(OK), "ok");
    assert_string_equal(status_name(ERR_USAGE), "usage");
    assert_string_equal(status_name(ERR_NOMEM), "nomem");
    assert_string_equal(status_name(ERR_INTERRUPTED), "interrupted");
    assert_string_equal(status_name(ERR_INTERNAL), "internal");
    assert_string_equal(status_name((enum status)99), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_failure_wins),
        cmocka_unit_test(context_comes_before_the_message),
        cmocka_unit_test(long_messages_are_cut_and_still_end),
        cmocka_unit_test(a_message_is_one_line),
        cmocka_unit_test(a_name_is_replaced_by_the_one_that_was_asked_for),
        cmocka_unit_test(try_leaves_with_the_status),
        cmocka_unit_test(the_system_gives_the_reason),
        cmocka_unit_test(every_status_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
