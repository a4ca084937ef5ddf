// os_cgroup.h - what the process's control group allows it (Linux). For os_linux.c alone.
#ifndef BASE_OS_CGROUP_H
#define BASE_OS_CGROUP_H

#include <stdint.h>

// The smallest memory limit of the group and the groups above it; OS_UNKNOWN when there is none.
int64_t cgroup_memory_limit_bytes(void);

// What is left below that limit, file cache counted as free; OS_UNKNOWN when there is no limit.
int64_t cgroup_memory_free_bytes(void);

// Kills for lack of memory, in the nearest group that counts them; OS_UNKNOWN when none does.
int64_t cgroup_oom_kill_count(void);

#endif
