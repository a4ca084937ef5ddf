// os_cgroup.h - reads the limits of the process's control group (Linux). No other file does.
//
// `root` is put in front of every path: "" for this machine, a folder for a captured one. A value is OS_UNKNOWN if no
// group has it.
#ifndef BASE_OS_CGROUP_H
#define BASE_OS_CGROUP_H

#include <stdint.h>

// The smallest memory limit of the group and its ancestors.
int64_t cgroup_memory_limit_bytes(const char *root);

// The memory left below that limit; file cache counts as free.
int64_t cgroup_memory_free_bytes(const char *root);

// Kills for lack of memory, in the nearest group that counts them.
int64_t cgroup_oom_kill_count(const char *root);

// The smallest CPU quota (CFS bandwidth) of the group and its ancestors, in thousandths of a processor.
int64_t cgroup_cpu_quota_millis(const char *root);

// How long, and in how many periods, the quota has throttled the nearest group that counts.
int64_t cgroup_throttled_ns(const char *root);
int64_t cgroup_throttled_periods(const char *root);

#endif
