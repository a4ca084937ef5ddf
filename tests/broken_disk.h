// broken_disk.h - fsync and msync of a test program, which fail with EIO while `broken_disk` is set.
#ifndef TESTS_BROKEN_DISK_H
#define TESTS_BROKEN_DISK_H

#include <errno.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

static bool broken_disk;
static int disk_syncs; // calls of fsync

static int broken_disk_answer(void)
{
    if (broken_disk)
        errno = EIO;
    return broken_disk ? -1 : 0;
}

int fsync(int fd)
{
    (void)fd;
    disk_syncs++;
    return broken_disk_answer();
}

int msync(void *begin, size_t bytes, int flags)
{
    (void)begin, (void)bytes, (void)flags;
    return broken_disk_answer();
}

#endif
