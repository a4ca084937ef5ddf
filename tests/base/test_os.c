// test_os.c - what the system tells, what it enforces, and what it does when a parent goes.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/os.h"
#include "tests/pid.h"
#include "tests/sanitized.h"

enum { MIB = 1 << 20 };

static void memory_figures_are_in_order(void **state)
{
    (void)state;
    int64_t total = os_memory_total_bytes(), limit = os_memory_limit_bytes();
    assert_true(total > 64 * MIB);
    assert_true(limit > 0 && limit <= total);
    assert_true(os_memory_available_bytes() > 0 && os_memory_available_bytes() <= total);
    assert_true(os_rss_bytes() > 100 * 1024 && os_rss_bytes() < total);
    int64_t resident = os_rss_bytes();
    assert_true(os_rss_peak_bytes() >= resident - MIB); // the kernel counts in batches
}

static void the_high_water_mark_can_be_lowered(void **state)
{
    (void)state;
    int64_t before = os_rss_bytes();
    char *memory = mmap(NULL, 64 * MIB, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(memory != MAP_FAILED);
    memset(memory, 1, 64 * MIB);
    munmap(memory, 64 * MIB);
    int64_t peak = os_rss_peak_bytes();
    assert_true(peak >= before + 60 * MIB);
    if (!os_rss_peak_reset()) {
        print_message("skipped: this system cannot reset the high-water mark\n");
        skip();
    }
    assert_true(os_rss_peak_bytes() <= peak - 50 * MIB);
}

// In a child, since a limit stays: 0 when small allocations succeed and large ones fail with ENOMEM.
static int try_limit(int64_t headroom_bytes)
{
    struct error err = {0};
    enum status status = os_limit_memory(os_rss_bytes() + 64 * MIB + headroom_bytes, &err);
    if (status != OK)
        return status == ERR_UNSUPPORTED ? 77 : 1;
    void *small = malloc((size_t)headroom_bytes / 2);
    if (!small)
        return 2;
    errno = 0;
    void *volatile large = malloc((size_t)headroom_bytes + 256 * MIB);
    if (large || errno != ENOMEM)
        return 3;
    void *mapped = mmap(NULL, (size_t)headroom_bytes + 256 * MIB, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapped != MAP_FAILED)
        return 4;
    // Weights are mapped read-only and do not count.
    mapped = mmap(NULL, (size_t)headroom_bytes + 256 * MIB, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS,
                  -1, 0);
    free(small);
    return mapped == MAP_FAILED ? 5 : 0;
}

static void beyond_the_limit_an_allocation_fails(void **state)
{
    (void)state;
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(try_limit(64 * MIB));
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77) {
        print_message("skipped: no memory limit here (macOS, or a sanitizer's shadow memory)\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void touch_and_free(size_t bytes)
{
    volatile char *memory =
        malloc(bytes); // a memset in front of free is dead, and compilers drop it
    for (size_t i = 0; memory && i < bytes; i += 1024)
        memory[i] = 1;
    free((char *)memory);
}

// In a child, since the setting stays. The first allocation's end is what makes glibc keep the second's pages.
static int kept_after_free(void)
{
    os_return_freed_memory();
    touch_and_free(24 * MIB);
    int64_t before = os_rss_bytes();
    touch_and_free(16 * MIB);
    return os_rss_bytes() - before > 4 * MIB;
}

static void freed_memory_goes_back(void **state)
{
    (void)state;
#ifdef SANITIZED
    print_message("skipped: a sanitizer keeps what is freed\n");
    skip();
#endif
    int status = 0;
    pid_t child = fork();
    if (child == 0)
        _exit(kept_after_free());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void an_unreachable_limit_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    assert_int_equal(os_limit_memory(4096, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "4096 bytes"));
}

// The same process is the same each time; another one, and one that is gone, are not it.
static void a_process_is_known_again(void **state)
{
    (void)state;
    struct os_process self, again, other;
    assert_true(os_process_find(getpid(), &self));
    assert_true(os_process_find(getpid(), &again));
    assert_int_equal(self.pid, getpid());
    assert_int_equal(self.started, again.started);
    assert_true(self.started > 0);
    assert_string_equal(self.boot, again.boot);
    assert_string_equal(self.host, again.host);
    assert_true(self.boot[0] != '\0' && self.host[0] != '\0');
    assert_true(os_process_find(getppid(), &other));
    assert_string_equal(other.boot, self.boot);
    assert_false(os_process_find(gone_pid(), &other));
    pid_t ended = fork();
    if (ended == 0)
        _exit(0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)ended, &info, WEXITED | WNOWAIT), 0);
    assert_false(os_process_find(ended, &other)); // not reaped, but it runs no more
    waitpid(ended, NULL, 0);
}

static void random_bytes_differ(void **state)
{
    (void)state;
    unsigned char a[32] = {0}, b[32] = {0};
    os_random(a, sizeof a);
    os_random(b, sizeof b);
    assert_memory_not_equal(a, b, sizeof a);
}

static void noise_counts_go_up(void **state)
{
    (void)state;
    struct os_noise before, after;
    os_noise_read(&before);
    os_noise_read(&after);
    assert_true(before.involuntary_switches >= 0 &&
                after.involuntary_switches >= before.involuntary_switches);
    assert_true(before.major_faults >= 0 && after.major_faults >= before.major_faults);
    assert_true(after.steal_ns >= before.steal_ns); // unknown is the same both times
    assert_true(after.throttled_ns >= before.throttled_ns);
    assert_true(after.throttled_periods >= before.throttled_periods);
    struct os_steal_resolution steal = os_steal_resolution();
    assert_int_equal(steal.processors, sysconf(_SC_NPROCESSORS_ONLN));
    if (after.steal_ns == OS_UNKNOWN)
        assert_true(steal.tick_ns == OS_UNKNOWN);
    else
        assert_true(steal.tick_ns > 0 && after.steal_ns % steal.tick_ns == 0);
    assert_true(after.psi_cpu_ns >= before.psi_cpu_ns);
    assert_true((after.psi_io_ns == OS_UNKNOWN) == (before.psi_io_ns == OS_UNKNOWN));
    assert_true(os_oom_kill_count() == OS_UNKNOWN || os_oom_kill_count() >= 0);
}

static void the_longest_wait_of_one_thread_counts(void **state)
{
    (void)state;
    static const struct os_run_waits none = {0},
                                     before = {2,
                                               {{.thread = 7, .wait_ns = 1000},
                                                {.thread = 9, .wait_ns = 50}}},
                                     after = {3,
                                              {{.thread = 9, .wait_ns = 350},
                                               {.thread = 11, .wait_ns = 299},
                                               {.thread = 7, .wait_ns = 1200}}};
    assert_int_equal(os_run_wait_longest_ns(&before, &after), 300);
    assert_int_equal(os_run_wait_longest_ns(&none, &after), 1200); // new threads count from 0
    assert_true(os_run_wait_longest_ns(&before, &none) == OS_UNKNOWN);
}

static void *look_at_waits(void *arg)
{
    os_run_waits_read(arg);
    return NULL;
}

// Every thread of this process is among them, by its own number, where the system counts at all.
static void waits_are_read_of_each_thread(void **state)
{
    (void)state;
    struct os_run_waits *alone = calloc(1, sizeof *alone), *two = calloc(1, sizeof *two);
    pthread_t thread;
    assert_true(alone && two);
    os_run_waits_read(alone);
    assert_int_equal(pthread_create(&thread, NULL, look_at_waits, two), 0);
    pthread_join(thread, NULL);
    if (alone->count > 0) {
        // The thread sanitizer starts a thread of its own next to the first one.
        assert_true(two->count > alone->count);
        for (int i = 1; i < two->count; i++)
            assert_true(two->of[i].thread != two->of[i - 1].thread);
        assert_true(os_run_wait_longest_ns(alone, two) >= 0);
    }
    free(alone);
    free(two);
}

static void the_file_cache_is_called_dropped_only_when_it_is(void **state)
{
    (void)state;
    struct error err = {0};
    struct file_map map;
    char path[] = "/tmp/ridge-test-os-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    close(fd);
    assert_false(os_drop_file_cache("/tmp"));
    assert_false(os_drop_file_cache("no/such/file"));
    assert_int_equal(file_write(path, "weights", 7, &err), OK);
    assert_int_equal(file_map(path, &map, &err), OK);
    assert_int_equal(map.data[0], 'w'); // a page in use is not dropped
    assert_false(os_drop_file_cache(path));
    file_unmap(&map);
    remove(path);
}

static void huge_pages_are_asked_for_whole_pages_only(void **state)
{
    (void)state;
    static char little[64];
    assert_false(os_advise_huge(little, sizeof little));
}

// The grandchild lives as long as the pipe's writing end is open.
static void grandchild(int to_test, int to_child)
{
    char told = os_die_with_parent() ? 'y' : 'n';
    if (write(to_child, &told, 1) == 1 && told == 'y')
        for (;;)
            pause();
    if (write(to_test, &told, 1) != 1)
        _exit(1);
    _exit(0);
}

static void a_worker_does_not_outlive_its_runner(void **state)
{
    (void)state;
    int to_test[2], to_child[2];
    char byte = 0;
    assert_int_equal(pipe(to_test), 0);
    pid_t child = fork();
    if (child == 0) {
        close(to_test[0]);
        if (pipe(to_child) != 0)
            _exit(1);
        if (fork() == 0)
            grandchild(to_test[1], to_child[1]);
        _exit(read(to_child[0], &byte, 1) == 1 ? 0 : 1); // leaves the grandchild alone
    }
    close(to_test[1]);
    alarm(30); // if it does live on, this test ends by SIGALRM instead of hanging
    ssize_t got = read(to_test[0], &byte, 1);
    alarm(0);
    close(to_test[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    if (got == 1) {
        print_message("skipped: this system does not end children with their parent\n");
        skip();
    }
    assert_int_equal(got, 0);
}

static void the_executable_knows_where_it_is(void **state)
{
    (void)state;
    char *path = os_executable_path(), *dir = os_executable_dir();
    assert_non_null(path);
    assert_true(file_exists(path));
    assert_true(file_is_dir(dir));
    assert_int_equal(strncmp(path, dir, strlen(dir)), 0);
    assert_non_null(strstr(path, "test_os"));
    free(path);
    free(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_figures_are_in_order),
        cmocka_unit_test(the_high_water_mark_can_be_lowered),
        cmocka_unit_test(beyond_the_limit_an_allocation_fails),
        cmocka_unit_test(freed_memory_goes_back),
        cmocka_unit_test(an_unreachable_limit_is_refused),
        cmocka_unit_test(a_process_is_known_again),
        cmocka_unit_test(random_bytes_differ),
        cmocka_unit_test(noise_counts_go_up),
        cmocka_unit_test(the_longest_wait_of_one_thread_counts),
        cmocka_unit_test(waits_are_read_of_each_thread),
        cmocka_unit_test(the_file_cache_is_called_dropped_only_when_it_is),
        cmocka_unit_test(huge_pages_are_asked_for_whole_pages_only),
        cmocka_unit_test(a_worker_does_not_outlive_its_runner),
        cmocka_unit_test(the_executable_knows_where_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
