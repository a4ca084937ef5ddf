// test_log.c - one write per line, prefixed, cut where it would not fit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

// What log_line writes to standard error, through a pipe in its place.
static void captured(enum log_level level, const char *text, char *out, size_t out_bytes)
{
    int ends[2], kept = dup(STDERR_FILENO);
    assert_int_equal(pipe(ends), 0);
    fflush(stderr);
    dup2(ends[1], STDERR_FILENO);
    log_line(level, "%s", text);
    fflush(stderr);
    dup2(kept, STDERR_FILENO);
    close(kept);
    close(ends[1]);
    ssize_t got = read(ends[0], out, out_bytes - 1);
    close(ends[0]);
    out[got > 0 ? got : 0] = '\0';
}

static void lines_carry_their_level(void **state)
{
    (void)state;
    char text[256];
    captured(LOG_ERROR, "no such model", text, sizeof text);
    assert_string_equal(text, "bench: error: no such model\n");
    captured(LOG_WARN, "100%", text, sizeof text);
    assert_string_equal(text, "bench: warning: 100%\n");
    captured(LOG_WARN, "a name\nof\x1b[2J two lines", text, sizeof text);
    assert_string_equal(text, "bench: warning: a name?of?[2J two lines\n");
    captured(LOG_INFO, "on we go", text, sizeof text);
    assert_string_equal(text, "bench: on we go\n");
}

static void levels_above_the_threshold_are_silent(void **state)
{
    (void)state;
    char text[256];
    captured(LOG_DEBUG, "detail", text, sizeof text);
    assert_string_equal(text, "");
    log_set_level(LOG_DEBUG);
    captured(LOG_DEBUG, "detail", text, sizeof text);
    assert_string_equal(text, "bench: debug: detail\n");
    log_set_level(LOG_ERROR);
    captured(LOG_WARN, "detail", text, sizeof text);
    assert_string_equal(text, "");
    log_set_level(LOG_INFO);
}

static void a_long_line_is_cut_and_still_ends(void **state)
{
    (void)state;
    char line[5000], text[6000];
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    captured(LOG_INFO, line, text, sizeof text);
    assert_int_equal(strlen(text), 2047);
    assert_int_equal(text[2046], '\n');
    assert_int_equal(text[2045], 'x');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_carry_their_level),
        cmocka_unit_test(levels_above_the_threshold_are_silent),
        cmocka_unit_test(a_long_line_is_cut_and_still_ends),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
