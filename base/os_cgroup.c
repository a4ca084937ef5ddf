// os_cgroup.c - control groups, version 2 and the memory and cpu controllers of version 1.
//
// /proc/self/cgroup names our own group. In a container that path may be the host's and not exist inside. So every
// folder from it up to the mount point is tried, among them the container's own root, which then has the limit.
//
// Sources: admin-guide/cgroup-v2.rst, cgroup-v1/memory.rst and scheduler/sched-bwc.rst of the kernel.
#ifdef __linux__
#include "base/os_cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"

enum { PATH_BYTES = 4096, MOUNTS = 2 };

// The files and words of the two versions.
struct spelling {
    const char *mounts[MOUNTS];         // where distributions mount it
    const char *controller;             // one of those in the second field of /proc/self/cgroup
    const char *limit, *period, *usage; // files with one number; period NULL: it is in `limit`
    const char *stat, *stat_key, *stat_count; // a file of lines, and keys in it
    int64_t stat_unit;                        // ns of stat_key's value
    const char *events, *kill_key;
};

static const struct spelling memory[] = {
    {.mounts = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"}, // the second is systemd's hybrid
     .controller = "",
     .limit = "memory.max",
     .usage = "memory.current",
     .stat = "memory.stat",
     .stat_key = "inactive_file ",
     .events = "memory.events",
     .kill_key = "oom_kill "},
    {.mounts = {"/sys/fs/cgroup/memory"},
     .controller = "memory",
     .limit = "memory.limit_in_bytes",
     .usage = "memory.usage_in_bytes",
     .stat = "memory.stat",
     .stat_key = "total_inactive_file ",
     .events = "memory.oom_control",
     .kill_key = "oom_kill "},
    {.controller = NULL},
};

static const struct spelling cpu[] = {
    {.mounts = {"/sys/fs/cgroup", "/sys/fs/cgroup/unified"},
     .controller = "",
     .limit = "cpu.max",
     .stat = "cpu.stat",
     .stat_key = "throttled_usec ",
     .stat_count = "nr_throttled ",
     .stat_unit = 1000},
    {.mounts = {"/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu,cpuacct"},
     .controller = "cpu",
     .limit = "cpu.cfs_quota_us",
     .period = "cpu.cfs_period_us",
     .stat = "cpu.stat",
     .stat_key = "throttled_time ",
     .stat_count = "nr_throttled ",
     .stat_unit = 1},
    {.controller = NULL},
};

// Reads up to two numbers of a file: from its first line (key NULL), or after `key` at the start of a line. Returns
// their count; "max" is no number.
static int read_numbers(const char *folder, const char *name, const char *key, long long out[2])
{
    char path[PATH_BYTES + 64], line[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    int count = 0;
    size_t skip = key ? strlen(key) : 0;
    while (file && count <= 0 && fgets(line, sizeof line, file))
        if (!key || strncmp(line, key, skip) == 0)
            count = sscanf(line + skip, "%lld %lld", &out[0], &out[1]);
    if (file)
        fclose(file);
    return count > 0 ? count : 0;
}

static int64_t read_number(const char *folder, const char *name, const char *key)
{
    long long numbers[2];
    return name && read_numbers(folder, name, key, numbers) ? numbers[0] : OS_UNKNOWN;
}

// Whether "cpu,cpuacct" has "cpu"; "" has "" alone.
static bool has_controller(const char *list, const char *name)
{
    size_t length = strlen(name);
    for (;;) {
        size_t here = strcspn(list, ",");
        if (here == length && strncmp(list, name, length) == 0)
            return true;
        if (!list[here])
            return false;
        list += here + 1;
    }
}

// Our group's path below the mount point ("/user.slice/x"); "" for the root, or if the file does not name it.
static void own_path(const char *root, const char *controller, char *out, size_t out_bytes)
{
    char line[PATH_BYTES];
    out[0] = '\0';
    snprintf(line, sizeof line, "%s/proc/self/cgroup", root);
    FILE *file = fopen(line, "re");
    bool found = false;
    while (file && !found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *name = strchr(line, ':'), *path = name ? strchr(name + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        found = has_controller(name + 1, controller);
        if (found && strcmp(path, "/") != 0)
            snprintf(out, out_bytes, "%s", path);
    }
    if (file)
        fclose(file);
}

// Calls `look` for our group's folder and every folder above it, until it returns true. `value` is
// OS_UNKNOWN at first.
typedef bool look_fn(const char *folder, const struct spelling *words, int64_t *value);

static int64_t walk(const char *root, const struct spelling *words, look_fn *look)
{
    int64_t value = OS_UNKNOWN;
    for (; words->controller; words++) {
        char below[PATH_BYTES / 2], folder[PATH_BYTES];
        own_path(root, words->controller, below, sizeof below);
        for (int m = 0; m < MOUNTS && words->mounts[m]; m++) {
            int top = snprintf(folder, sizeof folder, "%s%s", root, words->mounts[m]);
            if (top < 0 || (size_t)top >= sizeof folder)
                continue;
            snprintf(folder + top, sizeof folder - (size_t)top, "%s", below);
            for (;;) {
                if (look(folder, words, &value))
                    return value;
                char *slash = strrchr(folder, '/');
                if (!slash || slash < folder + top)
                    break;
                *slash = '\0';
            }
        }
    }
    return value;
}

static void keep_smaller(int64_t *value, int64_t other)
{
    if (*value == OS_UNKNOWN || other < *value)
        *value = other;
}

// ---- memory ---------------------------------------------------------------------------------------

// The limit of one group. Version 1 writes "no limit" as a number near 2^63.
static int64_t limit_of(const char *folder, const struct spelling *words)
{
    int64_t limit = read_number(folder, words->limit, NULL);
    return limit != OS_UNKNOWN && limit >= INT64_MAX / 2 ? OS_UNKNOWN : limit;
}

static bool look_limit(const char *folder, const struct spelling *words, int64_t *value)
{
    int64_t limit = limit_of(folder, words);
    if (limit != OS_UNKNOWN)
        keep_smaller(value, limit);
    return false;
}

static bool look_free(const char *folder, const struct spelling *words, int64_t *value)
{
    int64_t limit = limit_of(folder, words);
    int64_t usage = read_number(folder, words->usage, NULL);
    int64_t cache = read_number(folder, words->stat, words->stat_key);
    if (limit == OS_UNKNOWN || usage == OS_UNKNOWN)
        return false;
    int64_t left = limit - usage + (cache == OS_UNKNOWN ? 0 : cache);
    keep_smaller(value, left < 0 ? 0 : left);
    return false;
}

static bool look_kills(const char *folder, const struct spelling *words, int64_t *value)
{
    *value = read_number(folder, words->events, words->kill_key);
    return *value != OS_UNKNOWN;
}

int64_t cgroup_memory_limit_bytes(const char *root)
{
    return walk(root, memory, look_limit);
}

int64_t cgroup_memory_free_bytes(const char *root)
{
    return walk(root, memory, look_free);
}

int64_t cgroup_oom_kill_count(const char *root)
{
    return walk(root, memory, look_kills);
}

// ---- processors -----------------------------------------------------------------------------------

// Version 2 writes "max 100000" or "150000 100000" (us); version 1 a quota of -1 for none.
static bool look_quota(const char *folder, const struct spelling *words, int64_t *value)
{
    long long numbers[2] = {0, 0};
    int count = read_numbers(folder, words->limit, NULL, numbers);
    int64_t period = words->period ? read_number(folder, words->period, NULL) : numbers[1];
    if (count >= (words->period ? 1 : 2) && numbers[0] > 0 && period > 0)
        keep_smaller(value, numbers[0] * 1000 / period);
    return false;
}

static bool look_throttled_ns(const char *folder, const struct spelling *words, int64_t *value)
{
    int64_t waited = read_number(folder, words->stat, words->stat_key);
    *value = waited == OS_UNKNOWN ? OS_UNKNOWN : waited * words->stat_unit;
    return *value != OS_UNKNOWN;
}

static bool look_throttled_periods(const char *folder, const struct spelling *words, int64_t *value)
{
    *value = read_number(folder, words->stat, words->stat_count);
    return *value != OS_UNKNOWN;
}

int64_t cgroup_cpu_quota_millis(const char *root)
{
    return walk(root, cpu, look_quota);
}

int64_t cgroup_throttled_ns(const char *root)
{
    return walk(root, cpu, look_throttled_ns);
}

int64_t cgroup_throttled_periods(const char *root)
{
    return walk(root, cpu, look_throttled_periods);
}
#endif
