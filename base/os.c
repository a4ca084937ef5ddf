// os.c - the part of os.h that is the same on every system.
#include "base/os.h"

#include <string.h>

int64_t os_run_wait_longest_ns(const struct os_run_waits *before, const struct os_run_waits *after)
{
    int64_t longest_ns = OS_UNKNOWN;
    for (int i = 0; i < after->count; i++) {
        int64_t wait_ns = after->of[i].wait_ns;
        for (int k = 0; k < before->count; k++)
            if (before->of[k].thread == after->of[i].thread) {
                wait_ns -= before->of[k].wait_ns;
                break;
            }
        if (wait_ns > longest_ns)
            longest_ns = wait_ns;
    }
    return longest_ns;
}

char *os_executable_dir(void)
{
    char *path = os_executable_path();
    char *slash = path ? strrchr(path, '/') : NULL;
    if (slash)
        slash[slash == path] = '\0'; // "/bench" is in "/"
    return path;
}
