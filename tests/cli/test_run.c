// test_run.c - a signal that arrives before the store has the run: nothing is stored, and the exit says so.
#include "tests/cli/fixture.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/interrupt.h"

extern const struct command command_run, command_machine;

// Runs the command with `number` pending, as if it came in the first moment.
static enum exit_code interrupted(const struct command *command, int number,
                                  const char *const *words, struct error *err)
{
    char out[4096];
    struct interrupt interrupt;
    interrupt_begin(&interrupt);
    raise(number);
    enum exit_code code = run_command(command, words, out, sizeof out, err);
    interrupt_end(&interrupt);
    assert_string_equal(out, "");
    assert_false(interrupt.arrived); // the command took it
    return code;
}

static void nothing_is_stored(void **state)
{
    (void)state;
    static const int signals[] = {SIGINT, SIGHUP};
    static const char suite[] =
        "[model tiny]\nshape = tiny\n[sweep s]\nscheme = f32\ndevice = cpu\n"
        "context = 64\ngen = 2\n";
    char dir[] = "/tmp/ridge-run-XXXXXX", conf[64], db[64], command[64];
    struct error err = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(conf, sizeof conf, "%s/a.conf", dir);
    snprintf(db, sizeof db, "%s/bench.db", dir);
    assert_int_equal(file_write(conf, suite, strlen(suite), &err), OK);
    const char *const words[] = {conf, "--db", db, NULL}, *const dry[] = {conf, "--db", db,
                                                                          "--dry-run", NULL};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        error_clear(&err);
        assert_int_equal(interrupted(&command_run, signals[i], words, &err), EXIT_INTERRUPTED);
        assert_int_equal(err.code, ERR_INTERRUPTED); // main prints its line
        assert_false(file_exists(db));
    }
    error_clear(&err);
    assert_int_equal(interrupted(&command_run, SIGTERM, dry, &err), EXIT_INTERRUPTED);
    snprintf(command, sizeof command, "rm -r %s", dir);
    assert_int_equal(system(command), 0);
}

static void the_ceilings_of_a_machine_stop(void **state)
{
    (void)state;
    static const char *const words[] = {NULL};
    struct error err = {0};
    assert_int_equal(interrupted(&command_machine, SIGINT, words, &err), EXIT_INTERRUPTED);
    assert_int_equal(err.code, ERR_INTERRUPTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_stored),
        cmocka_unit_test(the_ceilings_of_a_machine_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
