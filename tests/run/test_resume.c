// test_resume.c - a run that is interrupted or killed leaves a consistent store, no workers, and can be
// taken up: exactly the trials that are missing are run.
#include "tests/run/fixture.h"

#include <errno.h>
#include <sys/wait.h>
#include <time.h>

#define MODEL "tests/golden/models/llama-gqa3"

enum { PATIENCE_MS = 20000 };

static void nap(void)
{
    nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
}

// Runs the plan in a process of its own, which can be killed.
static pid_t run_apart(struct test_plan *t, const char *kind, const char *cell)
{
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct error err = {0};
        signal(SIGTSTP, SIG_DFL); // whatever this test was started with
        signal(SIGHUP, SIG_DFL);
        signal(SIGQUIT, SIG_DFL);
        _exit((int)run_with(t, kind, cell, false, &err));
    }
    return pid;
}

// Waits until the newest run has `trials` trials.
static void wait_for_trials(const struct test_plan *t, int64_t trials)
{
    struct error err = {0};
    for (int waited = 0; waited < PATIENCE_MS; waited += 10, nap()) {
        struct store *store = NULL;
        struct arena arena = {0};
        struct run_row run = {0};
        error_clear(&err);
        if (store_open(t->database, STORE_READ, &store, &err) == OK)
            query_run(store, &arena, NULL, &run, &err);
        int64_t have = run.trials;
        store_close(store);
        arena_fini(&arena);
        if (have >= trials)
            return;
    }
    fail_msg("no %lld trials came: %s", (long long)trials, err.message);
}

// A process that ended and waits to be reaped runs no more.
static bool running(int pid)
{
    char path[64], state = '?';
    if (kill(pid, 0) != 0)
        return false;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file && fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
        state = 'Z'; // it went while we looked
    if (file)
        fclose(file);
    return state != 'Z';
}

static int workers_alive(const struct test_plan *t)
{
    int pid = 0, count = 0, all = 0;
    FILE *file = fopen(t->pids, "r");
    assert_non_null(file);
    for (; fscanf(file, "%d", &pid) == 1; all++)
        count += running(pid);
    fclose(file);
    assert_true(all > 0);
    return count;
}

static void wait_for_no_workers(const struct test_plan *t)
{
    for (int waited = 0; waited < PATIENCE_MS && workers_alive(t) > 0; waited += 10)
        nap();
    assert_int_equal(workers_alive(t), 0);
}

static int exit_of(pid_t pid)
{
    int status = 0;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

// Every cell has its two trials, and the first `kept` of the run are those that were there before.
static void assert_whole(const struct test_plan *t, int64_t run, const int64_t *ids, size_t kept)
{
    struct look l;
    size_t count = 0, found = 0;
    look_open(&l, t);
    assert_int_equal(l.run.id, run);
    assert_string_equal(l.run.status, "done");
    for (size_t i = 0; i < l.count; i++) {
        assert_cell(&l, i, "ok", 2, "");
        struct trial_row *trials = look_trials(&l, i, &count);
        for (size_t k = 0; k < count; k++)
            for (size_t j = 0; j < kept; j++)
                found += trials[k].id == ids[j];
    }
    assert_int_equal(found, kept);
    look_close(&l);
}

static size_t all_trials(const struct test_plan *t, int64_t *run, int64_t *ids)
{
    struct look l;
    size_t count = 0, total = 0;
    look_open(&l, t);
    *run = l.run.id;
    for (size_t i = 0; i < l.count; i++) {
        struct trial_row *trials = look_trials(&l, i, &count);
        for (size_t k = 0; k < count; k++)
            ids[total++] = trials[k].id;
    }
    look_close(&l);
    return total;
}

// Ends the run by `signal` while cell 2 hangs in trial 1, then resumes it.
static void end_and_resume(int signal, int expected_exit, const char *expected_status)
{
    struct test_plan t;
    struct look l;
    struct error err = {0};
    int64_t run = 0, ids[16];
    test_plan_make(&t, MODEL, 4, 2);
    pid_t pid = run_apart(&t, "hang", "2");
    wait_for_trials(&t, 2);
    kill(pid, signal);
    assert_int_equal(exit_of(pid), expected_exit);
    wait_for_no_workers(&t);

    look_open(&l, &t);
    assert_string_equal(l.run.status, expected_status);
    look_close(&l);
    assert_int_equal(all_trials(&t, &run, ids), 2);

    assert_int_equal(run_with(&t, "good", "-1", true, &err), EXIT_FINE);
    assert_whole(&t, run, ids, 2);
    test_plan_fini(&t);
}

static void interrupt_is_marked_and_resumed(void **state)
{
    (void)state;
    end_and_resume(SIGINT, EXIT_INTERRUPTED, "interrupted");
}

static void terminate_is_marked_and_resumed(void **state)
{
    (void)state;
    end_and_resume(SIGTERM, EXIT_INTERRUPTED, "interrupted");
}

static void hangup_and_quit_are_marked_and_resumed(void **state)
{
    (void)state;
    end_and_resume(SIGHUP, EXIT_INTERRUPTED, "interrupted");
    end_and_resume(SIGQUIT, EXIT_INTERRUPTED, "interrupted");
}

static void kill_leaves_no_worker_and_is_resumed(void **state)
{
    (void)state;
    end_and_resume(SIGKILL, -SIGKILL, "interrupted"); // its owner is gone
}

// ---- stopped and continued ---------------------------------------------------------------------------

// Waits until /proc says this of the process.
static void wait_for_state(pid_t pid, char wanted)
{
    char path[64], state = '?';
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    for (int waited = 0; waited < PATIENCE_MS && state != wanted; waited += 10, nap()) {
        FILE *file = fopen(path, "r");
        if (!file || fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
            state = '?';
        if (file)
            fclose(file);
    }
    if (state != wanted)
        fail_msg("process %d is %c, not %c", (int)pid, state, wanted);
}

// The last process in the file of workers, once there is one.
static pid_t last_worker(const struct test_plan *t)
{
    int pid = 0;
    for (int waited = 0; waited < PATIENCE_MS && pid == 0; waited += 10, nap()) {
        FILE *file = fopen(t->pids, "r");
        while (file && fscanf(file, "%d", &pid) == 1)
            ;
        if (file)
            fclose(file);
    }
    assert_true(pid > 0);
    return (pid_t)pid;
}

static void let_go(const struct test_plan *t)
{
    char path[160];
    snprintf(path, sizeof path, "%s.go", t->pids);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fclose(file);
}

// The runner stands still for longer than the timeout, while its worker ends in good time.
static void a_stopped_runner_times_nothing_out(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 1, 1);
    t.cells[0].timeout_ns = 3000000000u;
    pid_t pid = run_apart(&t, "patient", "0"), worker = last_worker(&t);
    kill(pid, SIGSTOP);
    wait_for_state(pid, 'T');
    sleep(4);
    let_go(&t);
    wait_for_state(worker, 'Z');
    kill(pid, SIGCONT);
    assert_int_equal(exit_of(pid), EXIT_FINE);
    look_open(&l, &t);
    assert_cell(&l, 0, "noisy", 1, "the run was stopped for");
    look_close(&l);
    test_plan_fini(&t);
}

static void ctrl_z_stops_the_worker_too(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    test_plan_make(&t, MODEL, 1, 1);
    pid_t pid = run_apart(&t, "patient", "0"), worker = last_worker(&t);
    kill(pid, SIGTSTP);
    wait_for_state(worker, 'T');
    wait_for_state(pid, 'T');
    kill(pid, SIGCONT);
    let_go(&t);
    assert_int_equal(exit_of(pid), EXIT_FINE);
    look_open(&l, &t);
    assert_cell(&l, 0, "noisy", 1, "the run was stopped for");
    look_close(&l);
    test_plan_fini(&t);
}

// A run that is still running belongs to its owner alone, and stays complete.
static void a_live_run_is_not_joined(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    struct error err = {0};
    char number[32];
    test_plan_make(&t, MODEL, 2, 2);
    pid_t pid = run_apart(&t, "patient", "1");
    wait_for_trials(&t, 1);
    assert_int_equal(run_with(&t, "good", "-1", true, &err), EXIT_ERROR);
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.message, "run 1 of suite test is still running"));
    snprintf(number, sizeof number, "process %d", (int)pid);
    assert_non_null(strstr(err.message, number));
    look_open(&l, &t);
    assert_string_equal(l.run.status, "running");
    look_close(&l);
    let_go(&t);
    assert_int_equal(exit_of(pid), EXIT_FINE);
    look_open(&l, &t);
    assert_int_equal(l.run.id, 1);
    assert_string_equal(l.run.status, "done");
    assert_cell(&l, 0, "ok", 2, "");
    assert_cell(&l, 1, "ok", 2, "");
    look_close(&l);
    test_plan_fini(&t);
}

// Of an owner in another container nothing can be known: the person says that it has ended.
static void an_unseen_owner_is_taken_over_when_told(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    struct error err = {0};
    struct store *store = NULL;
    test_plan_make(&t, MODEL, 2, 1);
    pid_t pid = run_apart(&t, "hang", "1");
    wait_for_trials(&t, 1);
    kill(pid, SIGKILL);
    exit_of(pid);
    wait_for_no_workers(&t);
    assert_int_equal(store_open(t.database, STORE_WRITE, &store, &err), OK);
    look_open(&l, &t);
    assert_int_equal(store_run_resume(store, 1, l.run.owner,
                                      "{\"boot\":\"b\",\"host\":\"h\",\"pid\":5,\"started\":1}",
                                      &err),
                     OK);
    look_close(&l);
    store_close(store);
    assert_int_equal(run_with(&t, "good", "-1", true, &err), EXIT_ERROR);
    assert_non_null(strstr(err.message, "process 5 of h"));
    assert_non_null(strstr(err.message, "--take-over"));
    error_clear(&err);
    t.take_over = true;
    assert_int_equal(run_with(&t, "good", "-1", true, &err), EXIT_FINE);
    look_open(&l, &t);
    assert_string_equal(l.run.status, "done");
    look_close(&l);
    test_plan_fini(&t);
}

static void second_interrupt_ends_at_once(void **state)
{
    (void)state;
    struct test_plan t;
    test_plan_make(&t, MODEL, 2, 1);
    pid_t pid = run_apart(&t, "deaf", "1"); // takes two seconds to stop
    wait_for_trials(&t, 1);
    kill(pid, SIGINT);
    nap();
    kill(pid, SIGINT);
    int code = exit_of(pid);
    assert_true(code == EXIT_INTERRUPTED || code == -SIGINT);
    wait_for_no_workers(&t);
    test_plan_fini(&t);
}

static void nothing_to_resume_is_an_error(void **state)
{
    (void)state;
    struct test_plan t;
    struct error err = {0};
    test_plan_make(&t, MODEL, 1, 1);
    assert_int_equal(run_with(&t, "good", "-1", true, &err), EXIT_ERROR);
    assert_int_equal(err.code, ERR_USAGE);
    assert_non_null(strstr(err.message, "no unfinished run"));
    error_clear(&err);
    assert_int_equal(run_with(&t, "good", "-1", false, &err), EXIT_FINE);
    assert_int_equal(run_with(&t, "good", "-1", true, &err), EXIT_ERROR); // it is done
    test_plan_fini(&t);
}

// A changed suite is another run's: it is not taken up.
static void other_suite_is_not_resumed(void **state)
{
    (void)state;
    struct test_plan t;
    struct error err = {0};
    test_plan_make(&t, MODEL, 2, 1);
    pid_t pid = run_apart(&t, "hang", "1");
    wait_for_trials(&t, 1);
    kill(pid, SIGINT);
    assert_int_equal(exit_of(pid), EXIT_INTERRUPTED);
    t.plan.suite_text = "[suite]\nname = test\n[defaults]\nreps = 4\n";
    assert_int_equal(run_with(&t, "good", "-1", true, &err), EXIT_ERROR);
    assert_int_equal(err.code, ERR_USAGE);
    test_plan_fini(&t);
}

// What ran out of memory or was pruned before the interruption is not tried again.
static void ends_are_kept_over_a_resume(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    struct error err = {0};
    test_plan_make(&t, MODEL, 3, 2);
    t.cells[2].batch = 1; // smaller than the one that fails: it hangs and is interrupted
    pid_t pid = run_apart(&t, "oom-then-hang", "1");
    wait_for_trials(&t, 2);
    kill(pid, SIGINT);
    assert_int_equal(exit_of(pid), EXIT_INTERRUPTED);
    assert_int_equal(run_with(&t, "good", "-1", true, &err), EXIT_CELL_FAILED);
    look_open(&l, &t);
    assert_cell(&l, 0, "ok", 2, "");
    assert_cell(&l, 1, "oom", 1, "9 TiB");
    assert_cell(&l, 2, "ok", 2, "");
    look_close(&l);
    test_plan_fini(&t);
}

// A cell's form is in the store: another process's trial runs in the one that the first trial chose.
static void the_form_is_kept_over_a_resume(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    struct error err = {0};
    size_t count = 0;
    test_plan_make(&t, MODEL, 1, 2);
    t.cells[0].step = DECODE_AUTO;
    pid_t pid = run_apart(&t, "chooses-then-hangs", "0");
    wait_for_trials(&t, 1);
    kill(pid, SIGKILL);
    exit_of(pid);
    wait_for_no_workers(&t);
    assert_int_equal(run_with(&t, "chooses", "0", true, &err), EXIT_FINE);
    look_open(&l, &t);
    assert_cell(&l, 0, "ok", 2, "");
    struct trial_row *trials = look_trials(&l, 0, &count);
    assert_string_equal(trials[0].step_reason, "the faster");
    assert_string_equal(trials[1].step_form, "persistent");
    assert_string_equal(trials[1].step_reason, "as the cell's first trial chose");
    look_close(&l);
    test_plan_fini(&t);
}

// --only with --resume runs a part of what is missing: the run is not done by that.
static void a_part_leaves_the_run_open(void **state)
{
    (void)state;
    struct test_plan t;
    struct look l;
    struct error err = {0};
    int64_t run = 0, ids[16];
    test_plan_make(&t, MODEL, 3, 1);
    pid_t pid = run_apart(&t, "hang", "1");
    wait_for_trials(&t, 1);
    kill(pid, SIGINT);
    assert_int_equal(exit_of(pid), EXIT_INTERRUPTED);
    assert_int_equal(all_trials(&t, &run, ids), 1);
    t.plan.cell_count = t.plan.run_count = t.group.count = 2;
    assert_int_equal(run_with(&t, "good", "-1", true, &err), EXIT_FINE);
    look_open(&l, &t);
    assert_string_equal(l.run.status, "interrupted");
    assert_cell(&l, 1, "ok", 1, "");
    assert_cell(&l, 2, "pending", 0, "");
    look_close(&l);
    t.plan.cell_count = t.plan.run_count = t.group.count = 3;
    assert_int_equal(run_with(&t, "good", "-1", true, &err), EXIT_FINE);
    look_open(&l, &t);
    assert_int_equal(l.run.id, run);
    assert_string_equal(l.run.status, "done");
    assert_cell(&l, 2, "ok", 1, "");
    look_close(&l);
    test_plan_fini(&t);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return worker_of_test(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(interrupt_is_marked_and_resumed),
        cmocka_unit_test(terminate_is_marked_and_resumed),
        cmocka_unit_test(hangup_and_quit_are_marked_and_resumed),
        cmocka_unit_test(kill_leaves_no_worker_and_is_resumed),
        cmocka_unit_test(a_stopped_runner_times_nothing_out),
        cmocka_unit_test(ctrl_z_stops_the_worker_too),
        cmocka_unit_test(a_live_run_is_not_joined),
        cmocka_unit_test(an_unseen_owner_is_taken_over_when_told),
        cmocka_unit_test(second_interrupt_ends_at_once),
        cmocka_unit_test(nothing_to_resume_is_an_error),
        cmocka_unit_test(other_suite_is_not_resumed),
        cmocka_unit_test(ends_are_kept_over_a_resume),
        cmocka_unit_test(the_form_is_kept_over_a_resume),
        cmocka_unit_test(a_part_leaves_the_run_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
