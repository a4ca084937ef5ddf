// test_interrupt.c - signals that end a program stay pending until polled, threads of a pool do not take them, and
// afterwards they have their old actions.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/interrupt.h"
#include "base/pool.h"

static void what_comes_is_remembered_and_taken(void **state)
{
    (void)state;
    struct interrupt in;
    struct error err = {0};
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    for (size_t i = 0; i < 4; i++) {
        signal(signals[i], SIG_DFL);
        interrupt_begin(&in);
        assert_false(interrupt_pending());
        kill(getpid(), signals[i]);
        assert_true(interrupt_pending());
        assert_true(interrupt_pending()); // asking does not take it
        assert_int_equal(interrupt_check(&err), ERR_INTERRUPTED);
        error_clear(&err);
        assert_false(in.arrived);
        interrupt_end(&in);
        assert_true(in.arrived);
        assert_false(interrupt_pending());
        assert_int_equal(interrupt_check(&err), OK);
    }
    interrupt_begin(&in);
    interrupt_end(&in);
    assert_false(in.arrived);
}

// The exit status of a child that does this, or minus the signal that ended it.
static int in_child(void (*act)(struct interrupt *in))
{
    int status = 0;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct interrupt in;
        signal(SIGINT, SIG_DFL);
        signal(SIGTERM, SIG_DFL);
        interrupt_begin(&in);
        act(&in);
        _exit(7);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

static void twice_before(struct interrupt *in)
{
    (void)in;
    kill(getpid(), SIGINT);
    kill(getpid(), SIGTERM);
}

static void again_when_accepted(struct interrupt *in)
{
    twice_before(in);
    interrupt_accept(in);
    kill(getpid(), SIGINT);
}

static void again_when_ended(struct interrupt *in)
{
    twice_before(in);
    interrupt_end(in);
    kill(getpid(), SIGTERM);
}

static void after_it_signals_end_the_program(void **state)
{
    (void)state;
    assert_int_equal(in_child(twice_before), 7);
    assert_int_equal(in_child(again_when_accepted), -SIGINT);
    assert_int_equal(in_child(again_when_ended), -SIGTERM);
}

// nohup ignores SIGHUP, so a run continues without a terminal. The system still keeps a blocked signal pending.
static void an_ignored_signal_stays_ignored(void **state)
{
    (void)state;
    struct interrupt in;
    void (*before)(int) = signal(SIGHUP, SIG_IGN);
    interrupt_begin(&in);
    kill(getpid(), SIGHUP);
    assert_false(interrupt_pending());
    interrupt_end(&in);
    assert_false(in.arrived);
    sigset_t blocked;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGHUP);
    sigprocmask(SIG_BLOCK, &blocked, NULL);
    interrupt_begin(&in);
    kill(getpid(), SIGHUP);
    assert_false(interrupt_pending());
    interrupt_end(&in);
    sigprocmask(SIG_UNBLOCK, &blocked, NULL);
    signal(SIGHUP, before);
}

static void a_held_stop_is_taken(void **state)
{
    (void)state;
    struct interrupt in;
    void (*before)(int) = signal(SIGTSTP, SIG_DFL);
    interrupt_begin(&in);
    interrupt_hold_stop();
    assert_false(interrupt_take_stop());
    kill(getpid(), SIGTSTP);
    assert_false(interrupt_pending()); // it ends nothing
    assert_true(interrupt_take_stop());
    assert_false(interrupt_take_stop());
    interrupt_end(&in);
    assert_false(in.arrived);
    signal(SIGTSTP, before);
}

static const char *limited_path;

static void write_beyond_the_limit(struct interrupt *in)
{
    struct error err = {0};
    struct rlimit none = {.rlim_cur = 16, .rlim_max = 16};
    static const char bytes[64];
    int ends[2];
    interrupt_end(in);
    interrupt_spare_writes();
    if (setrlimit(RLIMIT_FSIZE, &none) != 0 ||
        file_write(limited_path, bytes, sizeof bytes, &err) != ERR_IO ||
        !strstr(err.message, ": the process may write no file beyond 16 bytes (ulimit -f)"))
        _exit(1);
    if (pipe(ends) != 0 || close(ends[0]) != 0 || write(ends[1], "x", 1) != -1 || errno != EPIPE)
        _exit(2);
    // a program that is started has the defaults again
    execl("/bin/sh", "sh", "-c", "kill -PIPE $$; exit 3", (char *)NULL);
    _exit(4);
}

static void a_write_that_may_not_be_fails_and_leaves_nothing(void **state)
{
    (void)state;
    char folder[] = "/tmp/ridge-test-limit-XXXXXX";
    assert_non_null(mkdtemp(folder));
    char *path = file_join(folder, "file");
    limited_path = path;
    assert_int_equal(in_child(write_beyond_the_limit), -SIGPIPE);
    free(path);
    assert_int_equal(rmdir(folder), 0); // it is empty
}

static void count_open(void *arg, int worker, int workers)
{
    (void)workers;
    sigset_t mask;
    pthread_sigmask(SIG_BLOCK, NULL, &mask);
    if (worker > 0 && (!sigismember(&mask, SIGINT) || !sigismember(&mask, SIGTERM)))
        atomic_fetch_add((atomic_int *)arg, 1);
    if (worker == 0 && (sigismember(&mask, SIGINT) || sigismember(&mask, SIGTERM)))
        atomic_fetch_add((atomic_int *)arg, 1);
}

// A signal to the process goes to any thread that lets it in: one of the pool's would end the program while
// the caller has it blocked.
static void threads_of_a_pool_leave_them_to_the_caller(void **state)
{
    (void)state;
    struct pool *pool = NULL;
    struct error err = {0};
    atomic_int wrong = 0;
    if (pool_create(2, false, &pool, &err) != OK) {
        print_message("%s\n", err.message);
        skip();
    }
    pool_run(pool, count_open, &wrong);
    pool_destroy(pool);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_comes_is_remembered_and_taken),
        cmocka_unit_test(after_it_signals_end_the_program),
        cmocka_unit_test(an_ignored_signal_stays_ignored),
        cmocka_unit_test(a_held_stop_is_taken),
        cmocka_unit_test(a_write_that_may_not_be_fails_and_leaves_nothing),
        cmocka_unit_test(threads_of_a_pool_leave_them_to_the_caller),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
