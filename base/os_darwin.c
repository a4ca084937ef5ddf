// os_darwin.c - os.h on macOS: sysctl, Mach, dyld.
//
// Sources: sysctl(3), <mach/mach_host.h>, <mach/task_info.h>, dyld(3). macOS has no enforced limit on a process's
// memory, no page-cache advice, and no steal or pressure counts. Those functions report that.
#ifdef __APPLE__
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <mach-o/dyld.h>
#include <mach/mach.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/sysctl.h>
#include <unistd.h>

int64_t os_memory_total_bytes(void)
{
    uint64_t bytes = 0;
    size_t size = sizeof bytes;
    return sysctlbyname("hw.memsize", &bytes, &size, NULL, 0) == 0 ? (int64_t)bytes : OS_UNKNOWN;
}

int64_t os_memory_available_bytes(void)
{
    vm_statistics64_data_t pages;
    mach_msg_type_number_t count = HOST_VM_INFO64_COUNT;
    mach_port_t host = mach_host_self();
    kern_return_t result = host_statistics64(host, HOST_VM_INFO64, (host_info64_t)&pages, &count);
    mach_port_deallocate(mach_task_self(), host);
    if (result != KERN_SUCCESS)
        return OS_UNKNOWN;
    // Free pages, and those that can be dropped without writing: the file cache's inactive and purgeable pages.
    return ((int64_t)pages.free_count + pages.inactive_count + pages.purgeable_count) *
           (int64_t)vm_kernel_page_size;
}

int64_t os_memory_limit_bytes(void)
{
    return os_memory_total_bytes();
}

static bool task_memory(struct mach_task_basic_info *info)
{
    mach_msg_type_number_t count = MACH_TASK_BASIC_INFO_COUNT;
    return task_info(mach_task_self(), MACH_TASK_BASIC_INFO, (task_info_t)info, &count) ==
           KERN_SUCCESS;
}

int64_t os_rss_bytes(void)
{
    struct mach_task_basic_info info;
    return task_memory(&info) ? (int64_t)info.resident_size : OS_UNKNOWN;
}

int64_t os_rss_peak_bytes(void)
{
    struct mach_task_basic_info info;
    return task_memory(&info) ? (int64_t)info.resident_size_max : OS_UNKNOWN;
}

bool os_rss_peak_reset(void)
{
    return false;
}

void os_return_freed_memory(void)
{
}

enum status os_limit_memory(int64_t bytes, struct error *err)
{
    return FAIL(err, ERR_UNSUPPORTED, "memory limit of %lld bytes: macOS enforces none",
                (long long)bytes);
}

void os_noise_read(struct os_noise *out)
{
    struct rusage usage;
    bool known = getrusage(RUSAGE_SELF, &usage) == 0;
    *out = (struct os_noise){
        .steal_ns = OS_UNKNOWN,
        .throttled_ns = OS_UNKNOWN,
        .throttled_periods = OS_UNKNOWN,
        .involuntary_switches = known ? usage.ru_nivcsw : OS_UNKNOWN,
        .major_faults = known ? usage.ru_majflt : OS_UNKNOWN,
        .psi_cpu_ns = OS_UNKNOWN,
        .psi_memory_ns = OS_UNKNOWN,
        .psi_io_ns = OS_UNKNOWN,
    };
}

void os_run_waits_read(struct os_run_waits *out)
{
    out->count = 0;
}

struct os_steal_resolution os_steal_resolution(void)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    return (struct os_steal_resolution){.tick_ns = OS_UNKNOWN,
                                        .processors = processors > 0 ? (int)processors : 1};
}

int64_t os_cpu_quota_millis(void)
{
    return OS_UNKNOWN;
}

void os_random(void *bytes, size_t count)
{
    arc4random_buf(bytes, count);
}

bool os_process_find(int64_t pid, struct os_process *out)
{
    struct kinfo_proc info;
    size_t size = sizeof info, boot_bytes = sizeof out->boot - 1;
    int name[] = {CTL_KERN, KERN_PROC, KERN_PROC_PID, (int)pid};
    *out = (struct os_process){.pid = pid, .started = OS_UNKNOWN};
    if (sysctl(name, 4, &info, &size, NULL, 0) == 0 && size == sizeof info &&
        info.kp_proc.p_stat != SZOMB)
        out->started =
            (int64_t)info.kp_proc.p_starttime.tv_sec * 1000000 + info.kp_proc.p_starttime.tv_usec;
    if (sysctlbyname("kern.bootsessionuuid", out->boot, &boot_bytes, NULL, 0) != 0)
        out->boot[0] = '\0';
    if (gethostname(out->host, sizeof out->host - 1) != 0)
        out->host[0] = '\0';
    return out->started != OS_UNKNOWN;
}

bool os_advise_huge(void *memory, size_t bytes)
{
    (void)memory;
    (void)bytes;
    return false;
}

bool os_drop_file_cache(const char *path)
{
    (void)path;
    return false;
}

int64_t os_oom_kill_count(void)
{
    return OS_UNKNOWN;
}

bool os_die_with_parent(void)
{
    return false;
}

char *os_executable_path(void)
{
    char path[PATH_MAX];
    uint32_t size = sizeof path;
    return _NSGetExecutablePath(path, &size) == 0 ? realpath(path, NULL) : NULL;
}

const char *os_user_data_folder(void)
{
    return "Library/Application Support";
}

const char *os_user_cache_folder(void)
{
    return "Library/Caches";
}

int os_file_reserve(int fd, int64_t bytes)
{
    fstore_t room = {.fst_flags = F_ALLOCATEALL, .fst_posmode = F_PEOFPOSMODE, .fst_length = bytes};
    if (fcntl(fd, F_PREALLOCATE, &room) != 0 && errno != ENOTSUP)
        return errno;
    return ftruncate(fd, bytes) != 0 ? errno : 0;
}

#endif
