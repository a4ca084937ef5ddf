// os_cgroup.c - control groups, version 2 and the memory controller of version 1.
//
// Our own group is named in /proc/self/cgroup. In a container that path may be the host's and not be
// there; every folder from it up to the mount point is tried, so that the container's own root, which
// is where the limit then stands, is found as well.
#ifdef __linux__
#include "base/os_cgroup.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/os.h"

enum { PATH_BYTES = 4096 };

// How the two versions spell the same things.
struct spelling {
    const char *mount, *mount_hybrid; // where it is mounted; where systemd's hybrid layout puts it
    const char *controllers;          // the second field in /proc/self/cgroup
    const char *limit, *usage, *stat, *cache_key, *events, *kill_key;
};

static const struct spelling spellings[] = {
    {"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "", "memory.max", "memory.current", "memory.stat",
     "inactive_file ", "memory.events", "oom_kill "},
    {"/sys/fs/cgroup/memory", NULL, "memory", "memory.limit_in_bytes", "memory.usage_in_bytes",
     "memory.stat", "total_inactive_file ", "memory.oom_control", "oom_kill "},
};
enum { SPELLINGS = sizeof spellings / sizeof *spellings };

// The number in a file of one number (key NULL), or after `key` at the start of a line. "max" is none.
static int64_t read_number(const char *folder, const char *name, const char *key)
{
    char path[PATH_BYTES + 64], line[256];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "re");
    if (!file)
        return OS_UNKNOWN;
    int64_t value = OS_UNKNOWN;
    size_t skip = key ? strlen(key) : 0;
    while (value == OS_UNKNOWN && fgets(line, sizeof line, file)) {
        long long number;
        if ((!key || strncmp(line, key, skip) == 0) && sscanf(line + skip, "%lld", &number) == 1)
            value = number;
    }
    fclose(file);
    return value;
}

// Our group's path below the mount point ("/user.slice/x"), as /proc/self/cgroup tells it.
static bool own_path(const char *controllers, char *out, size_t out_bytes)
{
    FILE *file = fopen("/proc/self/cgroup", "re");
    if (!file)
        return false;
    char line[PATH_BYTES];
    bool found = false;
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = '\0';
        char *name = strchr(line, ':'), *path = name ? strchr(name + 1, ':') : NULL;
        if (!path)
            continue;
        *path++ = '\0';
        found = strcmp(name + 1, controllers) == 0;
        if (found)
            snprintf(out, out_bytes, "%s", strcmp(path, "/") == 0 ? "" : path);
    }
    fclose(file);
    return found;
}

// Calls `look` for our group's folder and every folder above it, until it says that it has enough.
typedef bool look_fn(const char *folder, const struct spelling *words, int64_t *value);

static int64_t walk(look_fn *look)
{
    int64_t value = OS_UNKNOWN;
    for (int i = 0; i < SPELLINGS; i++) {
        const struct spelling *words = &spellings[i];
        const char *mounts[] = {words->mount, words->mount_hybrid};
        char below[PATH_BYTES / 2], folder[PATH_BYTES];
        if (!own_path(words->controllers, below, sizeof below))
            continue;
        for (int m = 0; m < 2; m++) {
            if (!mounts[m])
                continue;
            snprintf(folder, sizeof folder, "%s%s", mounts[m], below);
            size_t root = strlen(mounts[m]);
            for (;;) {
                if (look(folder, words, &value))
                    return value;
                char *slash = strrchr(folder, '/');
                if (!slash || (size_t)(slash - folder) < root)
                    break;
                *slash = '\0';
            }
        }
    }
    return value;
}

static bool look_limit(const char *folder, const struct spelling *words, int64_t *value)
{
    int64_t limit = read_number(folder, words->limit, NULL);
    // Version 1 writes "no limit" as a number near 2^63.
    if (limit != OS_UNKNOWN && limit < INT64_MAX / 2 && (*value == OS_UNKNOWN || limit < *value))
        *value = limit;
    return false;
}

static bool look_free(const char *folder, const struct spelling *words, int64_t *value)
{
    int64_t limit = read_number(folder, words->limit, NULL);
    int64_t usage = read_number(folder, words->usage, NULL);
    int64_t cache = read_number(folder, words->stat, words->cache_key);
    if (limit == OS_UNKNOWN || limit >= INT64_MAX / 2 || usage == OS_UNKNOWN)
        return false;
    int64_t left = limit - usage + (cache == OS_UNKNOWN ? 0 : cache);
    left = left < 0 ? 0 : left;
    if (*value == OS_UNKNOWN || left < *value)
        *value = left;
    return false;
}

static bool look_kills(const char *folder, const struct spelling *words, int64_t *value)
{
    *value = read_number(folder, words->events, words->kill_key);
    return *value != OS_UNKNOWN;
}

int64_t cgroup_memory_limit_bytes(void)
{
    return walk(look_limit);
}

int64_t cgroup_memory_free_bytes(void)
{
    return walk(look_free);
}

int64_t cgroup_oom_kill_count(void)
{
    return walk(look_kills);
}
#endif
