// os_linux.c - os.h on Linux: /proc, limits, page cache.
//
// Sources: proc(5), getrlimit(2), Documentation/accounting/psi.rst, admin-guide/cgroup-v2.rst and
// cgroup-v1/memory.rst of the kernel. The control groups are in os_cgroup.c.
#ifdef __linux__
#include "base/os.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/os_cgroup.h"

// The number after `name` at the start of a line of a /proc file of "name: value" lines.
static int64_t proc_value(const char *path, const char *name)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return OS_UNKNOWN;
    char line[256];
    int64_t value = OS_UNKNOWN;
    size_t length = strlen(name);
    while (value == OS_UNKNOWN && fgets(line, sizeof line, file)) {
        long long number;
        if (strncmp(line, name, length) == 0 && sscanf(line + length, "%lld", &number) == 1)
            value = number;
    }
    fclose(file);
    return value;
}

static int64_t from_kib(int64_t kib)
{
    return kib == OS_UNKNOWN ? OS_UNKNOWN : kib * 1024;
}

static int64_t smaller_known(int64_t a, int64_t b)
{
    if (a == OS_UNKNOWN || b == OS_UNKNOWN)
        return a == OS_UNKNOWN ? b : a;
    return a < b ? a : b;
}

// ---- memory --------------------------------------------------------------------------------------

int64_t os_memory_total_bytes(void)
{
    return from_kib(proc_value("/proc/meminfo", "MemTotal:"));
}

int64_t os_memory_available_bytes(void)
{
    int64_t machine = from_kib(proc_value("/proc/meminfo", "MemAvailable:"));
    return smaller_known(machine, cgroup_memory_free_bytes(""));
}

int64_t os_memory_limit_bytes(void)
{
    return smaller_known(os_memory_total_bytes(), cgroup_memory_limit_bytes(""));
}

int64_t os_rss_bytes(void)
{
    return from_kib(proc_value("/proc/self/status", "VmRSS:"));
}

int64_t os_rss_peak_bytes(void)
{
    return from_kib(proc_value("/proc/self/status", "VmHWM:"));
}

bool os_rss_peak_reset(void)
{
    int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    bool done = write(fd, "5", 1) == 1; // 5: reset the high-water mark to what is resident now
    close(fd);
    return done;
}

// glibc maps allocations above a threshold separately. Each time one is freed, the threshold grows to its size, up to
// 32 MiB. Smaller allocations then come from the heap, which keeps twice that (mallopt(3)). A threshold that was set
// explicitly stays.
void os_return_freed_memory(void)
{
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, 1 << 20);
#endif
}

// RLIMIT_DATA counts private writable memory, heap and anonymous mappings (since Linux 4.7). RLIMIT_AS would also count
// the weights mapped from their file and the reservations of a GPU driver.
enum status os_limit_memory(int64_t bytes, struct error *err)
{
    int64_t used = from_kib(proc_value("/proc/self/status", "VmData:"));
    if (used != OS_UNKNOWN && used >= bytes)
        return FAIL(err, ERR_UNSUPPORTED,
                    "memory limit of %lld bytes: the process has reserved %lld already "
                    "(a sanitizer does that)",
                    (long long)bytes, (long long)used);
    struct rlimit limit;
    if (getrlimit(RLIMIT_DATA, &limit) != 0)
        return FAIL(err, ERR_UNSUPPORTED, "memory limit: %s", strerror(errno));
    limit.rlim_cur = (rlim_t)bytes; // only the soft limit, so that it can be raised later
    if (limit.rlim_max != RLIM_INFINITY && limit.rlim_cur > limit.rlim_max)
        limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_DATA, &limit) != 0)
        return FAIL(err, ERR_UNSUPPORTED, "memory limit: %s", strerror(errno));
    return OK;
}

bool os_advise_huge(void *memory, size_t bytes)
{
    char setting[64] = "";
    FILE *file = fopen("/sys/kernel/mm/transparent_hugepage/enabled", "re");
    if (!file)
        return false;
    bool read = fgets(setting, sizeof setting, file) != NULL;
    fclose(file);
    if (!read || strstr(setting, "[never]"))
        return false;
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), begin = (uintptr_t)memory;
    uintptr_t first = (begin + page - 1) / page * page, last = (begin + bytes) / page * page;
    return first < last && madvise((void *)first, last - first, MADV_HUGEPAGE) == 0;
}

// ---- page cache ----------------------------------------------------------------------------------

// The number of pages of a mapped file that are in memory, or -1.
static int64_t resident_pages(void *memory, size_t bytes, size_t page)
{
    size_t pages = (bytes + page - 1) / page;
    unsigned char *present = malloc(pages);
    int64_t count = -1;
    if (present && mincore(memory, bytes, present) == 0) {
        count = 0;
        for (size_t i = 0; i < pages; i++)
            count += present[i] & 1;
    }
    free(present);
    return count;
}

// fadvise is only advice, so mincore checks whether the pages are gone. A mapped file keeps its pages. The file still
// counts as dropped if up to a hundredth stays, because the kernel keeps pages in flight.
bool os_drop_file_cache(const char *path)
{
    bool dropped = false;
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return false;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode) || info.st_size <= 0)
        goto out;
    fdatasync(fd); // dirty pages are not dropped
    if (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) != 0)
        goto out;
    size_t bytes = (size_t)info.st_size, page = (size_t)sysconf(_SC_PAGESIZE);
    void *memory = mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        goto out;
    int64_t left = resident_pages(memory, bytes, page);
    dropped = left >= 0 && (size_t)left <= bytes / page / 100;
    munmap(memory, bytes);
out:
    close(fd);
    return dropped;
}

// ---- noise ---------------------------------------------------------------------------------------

// The eighth number of the "cpu" line of /proc/stat, in ticks.
static int64_t steal_ns(void)
{
    FILE *file = fopen("/proc/stat", "re");
    if (!file)
        return OS_UNKNOWN;
    long long ticks = 0;
    bool read = fscanf(file, "cpu %*d %*d %*d %*d %*d %*d %*d %lld", &ticks) == 1;
    fclose(file);
    int64_t tick_ns = os_steal_resolution().tick_ns;
    return read && tick_ns != OS_UNKNOWN ? ticks * tick_ns : OS_UNKNOWN;
}

struct os_steal_resolution os_steal_resolution(void)
{
    long ticks_per_s = sysconf(_SC_CLK_TCK), processors = sysconf(_SC_NPROCESSORS_ONLN);
    return (struct os_steal_resolution){
        .tick_ns = ticks_per_s > 0 ? 1000000000 / ticks_per_s : OS_UNKNOWN,
        .processors = processors > 0 ? (int)processors : 1,
    };
}

// "some avg10=0.00 avg60=0.00 avg300=0.00 total=MICROSECONDS"
static int64_t pressure_ns(const char *path)
{
    FILE *file = fopen(path, "re");
    if (!file)
        return OS_UNKNOWN;
    long long us = 0;
    bool read = fscanf(file, "some avg10=%*f avg60=%*f avg300=%*f total=%lld", &us) == 1;
    fclose(file);
    return read ? us * 1000 : OS_UNKNOWN;
}

void os_noise_read(struct os_noise *out)
{
    struct rusage usage;
    bool known = getrusage(RUSAGE_SELF, &usage) == 0;
    *out = (struct os_noise){
        .steal_ns = steal_ns(),
        .throttled_ns = cgroup_throttled_ns(""),
        .throttled_periods = cgroup_throttled_periods(""),
        .involuntary_switches = known ? usage.ru_nivcsw : OS_UNKNOWN,
        .major_faults = known ? usage.ru_majflt : OS_UNKNOWN,
        .psi_cpu_ns = pressure_ns("/proc/pressure/cpu"),
        .psi_memory_ns = pressure_ns("/proc/pressure/memory"),
        .psi_io_ns = pressure_ns("/proc/pressure/io"),
    };
}

// The second field of /proc/self/task/ID/schedstat (the kernel's sched-stats.rst); the third counts the thread's turns.
// All are 0 if the kernel keeps no counts.
static bool run_wait_of(int folder, const char *name, struct os_run_wait *out)
{
    char path[64], text[96];
    long long on_ns = 0, wait_ns = 0, turns = 0, thread = 0;
    snprintf(path, sizeof path, "%.20s/schedstat", name);
    int fd = openat(folder, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t length = read(fd, text, sizeof text - 1);
    close(fd);
    text[length > 0 ? length : 0] = '\0';
    if (sscanf(name, "%lld", &thread) != 1 ||
        sscanf(text, "%lld %lld %lld", &on_ns, &wait_ns, &turns) != 3 || turns == 0)
        return false;
    *out = (struct os_run_wait){.thread = thread, .wait_ns = wait_ns};
    return true;
}

void os_run_waits_read(struct os_run_waits *out)
{
    DIR *threads = opendir("/proc/self/task");
    out->count = 0;
    for (struct dirent *entry;
         threads && out->count < OS_THREADS_MOST && (entry = readdir(threads)) != NULL;)
        if (entry->d_name[0] != '.')
            out->count += run_wait_of(dirfd(threads), entry->d_name, &out->of[out->count]);
    if (threads)
        closedir(threads);
}

int64_t os_oom_kill_count(void)
{
    int64_t group = cgroup_oom_kill_count("");
    return group != OS_UNKNOWN ? group : proc_value("/proc/vmstat", "oom_kill ");
}

int64_t os_cpu_quota_millis(void)
{
    return cgroup_cpu_quota_millis("");
}

// The signal comes when the thread that started us ends: the runner starts workers from its main thread.
bool os_die_with_parent(void)
{
    return prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0;
}

// ---- processes -----------------------------------------------------------------------------------

// A sandbox may refuse the call; then the device file provides random bytes.
void os_random(void *bytes, size_t count)
{
    char *at = bytes;
    while (count) {
        ssize_t got = getrandom(at, count, 0);
        if (got < 0 && errno != EINTR)
            break;
        at += got > 0 ? got : 0;
        count -= got > 0 ? (size_t)got : 0;
    }
    FILE *file = count ? fopen("/dev/urandom", "re") : NULL;
    if (file) {
        count -= fread(at, 1, count, file);
        fclose(file);
    }
    // Without either, names differ only by time. Their files are still created with O_EXCL.
    uint64_t time_ns = clock_ns();
    for (size_t i = 0; i < count; i++)
        at[i] = (char)(time_ns >> (8 * (i % sizeof time_ns)));
}

// The 22nd field of /proc/PID/stat, in ticks since boot. The second field, the name in parentheses, may
// itself hold blanks and parentheses.
static int64_t started_ticks(int64_t pid)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%lld/stat", (long long)pid);
    FILE *file = fopen(path, "re");
    if (!file)
        return OS_UNKNOWN;
    text[fread(text, 1, sizeof text - 1, file)] = '\0';
    fclose(file);
    long long ticks = 0;
    char state = 'X';
    const char *after = strrchr(text, ')');
    if (!after || sscanf(after + 1,
                         " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d"
                         " %*d %lld",
                         &state, &ticks) != 2)
        return OS_UNKNOWN;
    return state == 'Z' || state == 'X' ? OS_UNKNOWN : ticks;
}

bool os_process_find(int64_t pid, struct os_process *out)
{
    char space[64] = "", id[40] = "";
    *out = (struct os_process){.pid = pid, .started = started_ticks(pid)};
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file && fscanf(file, "%39s", id) != 1)
        id[0] = '\0';
    if (file)
        fclose(file);
    ssize_t length = readlink("/proc/self/ns/pid", space, sizeof space - 1);
    space[length > 0 ? length : 0] = '\0';
    snprintf(out->boot, sizeof out->boot, "%s%s%s", id, space[0] ? " " : "", space);
    if (gethostname(out->host, sizeof out->host - 1) != 0)
        out->host[0] = '\0';
    return out->started != OS_UNKNOWN;
}

// ---- the executable ------------------------------------------------------------------------------

char *os_executable_path(void)
{
    char path[4096];
    ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
    if (length <= 0 || (size_t)length >= sizeof path - 1)
        return NULL;
    path[length] = '\0';
    return strdup(path);
}

const char *os_user_data_folder(void)
{
    return ".local/share";
}

const char *os_user_cache_folder(void)
{
    return ".cache";
}

int os_file_reserve(int fd, int64_t bytes)
{
    int refused;
    do
        refused = posix_fallocate(fd, 0, bytes);
    while (refused == EINTR);
    return refused;
}

#endif
