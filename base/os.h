// os.h - the calls of the operating system that differ between POSIX systems.
//
// One file per system behind it (os_linux.c, os_darwin.c); no other file has an #ifdef on the system.
// A value the system does not report is OS_UNKNOWN, never zero.
#ifndef BASE_OS_H
#define BASE_OS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

#define OS_UNKNOWN INT64_MIN

int64_t os_memory_total_bytes(void);
int64_t os_memory_available_bytes(void); // memory available without swapping (MemAvailable)

// The memory that the process may use: the smaller of physical memory and the control group's limit.
int64_t os_memory_limit_bytes(void);

int64_t os_rss_bytes(void);      // Tests only: resident now
int64_t os_rss_peak_bytes(void); // high-water mark since start or the last reset

// Resets the high-water mark. False if the system cannot; the peak then counts from the start.
bool os_rss_peak_reset(void);

// From now on a freed large allocation returns its pages to the system. Otherwise the C library may keep tens of MiB,
// and resident memory exceeds what the process uses. No effect if the C library has no such setting.
void os_return_freed_memory(void);

// Makes allocations beyond a total of `bytes` fail in this process, so that it neither swaps nor is killed.
// ERR_UNSUPPORTED if the system has no such limit.
enum status os_limit_memory(int64_t bytes, struct error *err);

// Processor time that the control groups allow this process, in thousandths of a processor: 1500 is one and a half. It
// is the smallest quota of the group and its ancestors. OS_UNKNOWN: no quota.
int64_t os_cpu_quota_millis(void);

// Counts of events of this process and machine that disturb a measurement. Callers use differences.
struct os_noise {
    int64_t steal_ns;             // taken by the hypervisor, summed over processors
    int64_t throttled_ns;         // this control group waited for its next CPU quota
    int64_t throttled_periods;    // quota periods in which it waited
    int64_t involuntary_switches; // of this process
    int64_t major_faults;         // of this process
    int64_t psi_cpu_ns, psi_memory_ns, psi_io_ns; // "some" pressure totals
};
void os_noise_read(struct os_noise *out);

// How long each thread of this process has been runnable without a processor, in ns. A wait is counted when it ends.
// count 0: the system does not count them. Threads beyond OS_THREADS_MOST are left out.
enum { OS_THREADS_MOST = 1024 };
struct os_run_waits {
    int count;
    struct os_run_wait {
        int64_t thread, wait_ns;
    } of[OS_THREADS_MOST];
};
void os_run_waits_read(struct os_run_waits *out); // cost: some us per thread

// The longest wait of one thread between two readings. OS_UNKNOWN without counts.
int64_t os_run_wait_longest_ns(const struct os_run_waits *before, const struct os_run_waits *after);

// The resolution of differences of steal_ns: the system counts whole ticks of each processor, so a window of a few
// ticks says nothing. tick_ns OS_UNKNOWN: this system does not count steal.
struct os_steal_resolution {
    int64_t tick_ns;
    int processors; // online processors, over which steal_ns is summed
};
struct os_steal_resolution os_steal_resolution(void);

// Asks for huge pages for a range. False if the system cannot provide them.
bool os_advise_huge(void *memory, size_t bytes);

// Drops a file's pages from the page cache, to measure a cold load. False where impossible.
bool os_drop_file_cache(const char *path);

// Fills with unpredictable bytes.
void os_random(void *bytes, size_t count);

// Identifies a process among all that have run on this machine: its number, and its start time in the system's own
// units. The number is valid within one boot and one process namespace.
struct os_process {
    int64_t pid, started; // started OS_UNKNOWN: there is no such process, or it cannot be seen
    char boot[112];       // "" where the system does not report it
    char host[72];
};
// Finds the process `pid`, as seen from here. False if it does not run.
bool os_process_find(int64_t pid, struct os_process *out);

// Sets the size of an open file and reserves its space on disk. Returns 0 or an errno value.
int os_file_reserve(int fd, int64_t bytes);

// How often the kernel has killed a process of this control group, or any process, for lack of memory. It is the only
// evidence on which a SIGKILL is reported as "oom". OS_UNKNOWN if the system does not count.
int64_t os_oom_kill_count(void);

// Asks the system to kill this process when its parent ends. False if the system cannot; the process must then detect
// it itself.
bool os_die_with_parent(void);

// Directory of the running executable, caller frees; NULL when the system does not report it.
char *os_executable_dir(void);
char *os_executable_path(void);

// The system's folder for a user's data or cache, below the home folder: ".local/share".
const char *os_user_data_folder(void);
const char *os_user_cache_folder(void);

#endif
