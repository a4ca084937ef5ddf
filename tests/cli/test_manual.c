// test_manual.c - the manual page: every command and flag, its examples, and what groff and mandoc say of it.
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "tests/cli/fixture.h"

extern const struct command command_help;

static char page[1 << 17];

static void print_page(void)
{
    struct error err = {0};
    const char *words[] = {"--man", NULL};
    assert_int_equal(run_command(&command_help, words, page, sizeof page, &err), EXIT_FINE);
    assert_true(strlen(page) < sizeof page - 1);
}

// "take-over" as roff has it: "take\-over".
static const char *roff(const char *text, char *out, size_t out_bytes)
{
    size_t used = 0;
    for (; *text && used + 3 < out_bytes; text++) {
        if (*text == '-')
            out[used++] = '\\';
        out[used++] = *text;
    }
    out[used] = 0;
    return out;
}

static void has_every_command_and_flag(void **state)
{
    (void)state;
    char head[96], line[96], name[64];
    print_page();
    for (const struct command *const *c = cli_commands; *c; c++) {
        snprintf(head, sizeof head, ".SS \"bench %s%s", (*c)->name, (*c)->positional ? " " : "\"");
        const char *at = strstr(page, head);
        assert_true((at == NULL) == (*c)->hidden);
        const char *end = at ? strstr(at + 1, "\n.S") : NULL;
        for (const struct flag *f = at ? (*c)->flags : NULL; f && f->name; f++) {
            snprintf(line, sizeof line, "\\fB\\-\\-%s\\fR", roff(f->name, name, sizeof name));
            const char *found = strstr(at, line);
            if (!found || found > end)
                fail_msg("%s lacks --%s", head, f->name);
        }
    }
    for (const struct cli_exit_text *e = cli_exit_texts; e->text; e++) {
        snprintf(line, sizeof line, ".TP\n.B %d\n", e->code);
        assert_non_null(strstr(strstr(page, ".SH EXIT STATUS"), line));
    }
}

// Splits "bench export 'a b'" into words, in place.
static int split(char *text, char **words, int max)
{
    int count = 0;
    while (*text && count < max) {
        char end = *text == '\'' ? '\'' : ' ';
        text += end == '\'';
        words[count++] = text;
        text += strcspn(text, end == '\'' ? "'" : " ");
        if (*text)
            *text++ = 0;
        text += strspn(text, " ");
    }
    return count;
}

// Every example is a command line that parses.
static void examples_parse(void **state)
{
    (void)state;
    char line[256], *words[16];
    size_t count = 0;
    print_page();
    const char *at = strstr(page, ".SH EXAMPLES");
    assert_non_null(at);
    while ((at = strstr(at, "\n.B ")) && ++count) {
        at += strlen("\n.B ");
        size_t used = 0;
        for (; *at != '\n'; at++) {
            bool quote = strncmp(at, "\\(aq", 4) == 0;
            at += quote ? 3 : *at == '\\';
            line[used++] = quote ? '\'' : *at;
        }
        line[used] = 0;
        struct error err = {0};
        struct arguments *args = NULL;
        int taken = 0, argc = split(line, words, 16);
        const struct command *command = command_find(argc, words, &taken, &err);
        if (!command ||
            cli_arguments_parse(command, argc - taken, words + taken, &args, &err) != OK)
            fail_msg("%s: %s", line, err.message);
        cli_arguments_destroy(args);
    }
    assert_true(count > 3);
}

static void is_clean(const char *program, const char *check)
{
    char command[256], path[] = "/tmp/test_manual-XXXXXX", out[2048];
    snprintf(command, sizeof command, "command -v %s >/dev/null", program);
    if (system(command) != 0) {
        print_message("skipped: no %s\n", program);
        skip();
    }
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    print_page();
    assert_int_equal(write(fd, page, strlen(page)), strlen(page));
    close(fd);
    snprintf(command, sizeof command, check, path);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    out[fread(out, 1, sizeof out - 1, pipe)] = 0;
    int status = pclose(pipe);
    unlink(path);
    assert_string_equal(out, "");
    assert_int_equal(status, 0);
}

static void groff_has_no_warning(void **state)
{
    (void)state;
    is_clean("groff", "groff -man -Tutf8 -ww %s 2>&1 >/dev/null");
}

static void mandoc_has_no_warning(void **state)
{
    (void)state;
    is_clean("mandoc", "mandoc -Tlint %s 2>&1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(has_every_command_and_flag),
        cmocka_unit_test(examples_parse),
        cmocka_unit_test(groff_has_no_warning),
        cmocka_unit_test(mandoc_has_no_warning),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
