// file.c - maps, reads whole, writes by rename; POSIX only.
#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/home.h"
#include "base/os.h"
#include "base/str.h"

#define TEMPORARY_MARK ".tmp-"

// Opens a regular file and reads its size. Anything else (a folder, a pipe that would never answer) is refused.
static enum status open_regular(const char *path, int *fd, size_t *size_bytes, struct error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0)
        return FAIL_OS(err, errno, "%s", path);
    struct stat info;
    enum status status = OK;
    if (fstat(*fd, &info) != 0)
        status = FAIL_OS(err, errno, "%s", path);
    else if (S_ISDIR(info.st_mode))
        status = FAIL(err, ERR_IO, "%s: is a directory, not a file", path);
    else if (!S_ISREG(info.st_mode))
        status = FAIL(err, ERR_IO, "%s: not a regular file", path);
    else if ((uintmax_t)info.st_size > SIZE_MAX - 1)
        status = FAIL(err, ERR_NOMEM, "%s: too large for this machine's addresses", path);
    if (status != OK)
        close(*fd);
    else
        *size_bytes = (size_t)info.st_size;
    return status;
}

enum status file_map(const char *path, struct file_map *out, struct error *err)
{
    int fd = -1;
    size_t size_bytes = 0;
    *out = (struct file_map){0};
    TRY(open_regular(path, &fd, &size_bytes, err));
    enum status status = OK;
    if (size_bytes) {
        void *memory = mmap(NULL, size_bytes, PROT_READ, MAP_PRIVATE, fd, 0);
        if (memory == MAP_FAILED)
            status = FAIL_OS(err, errno, "%s: cannot be mapped", path);
        else
            *out = (struct file_map){.data = memory, .size_bytes = size_bytes};
    }
    close(fd);
    return status;
}

void file_unmap(struct file_map *map)
{
    if (map->data)
        munmap((void *)(uintptr_t)map->data, map->size_bytes);
    *map = (struct file_map){0};
}

void file_map_release(const void *begin, const void *end)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    uintptr_t first = ((uintptr_t)begin + page - 1) / page * page,
              last = (uintptr_t)end / page * page;
    if (first < last)
        madvise((void *)first, last - first, MADV_DONTNEED);
}

// Reads exactly `count` bytes, or fewer when the file ended early; the number read, or -1.
static ssize_t read_full(int fd, char *bytes, size_t count)
{
    size_t done = 0;
    while (done < count) {
        ssize_t got = read(fd, bytes + done, count - done);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        done += (size_t)got;
    }
    return (ssize_t)done;
}

enum status file_read(const char *path, size_t max_bytes, char **out, size_t *size_bytes,
                      struct error *err)
{
    int fd = -1;
    size_t size = 0;
    *out = NULL;
    TRY(open_regular(path, &fd, &size, err));
    enum status status = OK;
    char *text = NULL;
    if (size > max_bytes) {
        status =
            FAIL(err, ERR_FORMAT, "%s: %zu bytes, at most %zu are accepted", path, size, max_bytes);
        goto out;
    }
    text = malloc(size + 1);
    if (!text) {
        status = FAIL(err, ERR_NOMEM, "%s: no memory for %zu bytes", path, size);
        goto out;
    }
    ssize_t got = read_full(fd, text, size);
    if (got < 0) {
        status = FAIL_OS(err, errno, "%s", path);
        goto out;
    }
    text[got] = '\0';
    if (size_bytes)
        *size_bytes = (size_t)got;
    *out = text;
    text = NULL;
out:
    free(text);
    close(fd);
    return status;
}

static bool write_full(int fd, const char *bytes, size_t count)
{
    while (count) {
        ssize_t put = write(fd, bytes, count);
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0)
            return false;
        bytes += put;
        count -= (size_t)put;
    }
    return true;
}

// ---- temporary names -----------------------------------------------------------------------------------

char *file_temporary_name(const char *stem, const char *mark)
{
    uint64_t random = 0;
    struct str name = {0};
    os_random(&random, sizeof random);
    str_printf(&name, "%s%s%ld-%016llx", stem, mark, (long)getpid(), (unsigned long long)random);
    return str_take(&name);
}

enum status file_temporary(const char *stem, const char *mark, char **name, int *fd,
                           struct error *err)
{
    *fd = -1;
    *name = file_temporary_name(stem, mark);
    if (!*name)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its name", stem);
    *fd = open(*name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (*fd >= 0)
        return OK;
    FAIL_OS(err, errno, "%s: cannot be written", stem);
    free(*name);
    *name = NULL;
    return err->code;
}

enum status file_temporary_dir(const char *stem, const char *mark, char **name, struct error *err)
{
    *name = file_temporary_name(stem, mark);
    if (!*name)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its name", stem);
    if (mkdir(*name, 0777) == 0)
        return OK;
    FAIL_OS(err, errno, "%s: folder cannot be made", stem);
    free(*name);
    *name = NULL;
    return err->code;
}

enum status file_unnamed(const void *bytes, size_t count, int *fd, struct error *err)
{
    const char *dir = home_temporary_dir();
    char *stem = file_join(dir, "ridge"), *name = NULL;
    *fd = -1;
    if (!stem)
        return FAIL(err, ERR_NOMEM, "%s: no memory for a temporary file's name", dir);
    if (file_temporary(stem, TEMPORARY_MARK, &name, fd, err) == OK) {
        unlink(name);
        if (!write_full(*fd, bytes, count) || lseek(*fd, 0, SEEK_SET) != 0) {
            FAIL_OS(err, errno, "%s: cannot be written", stem);
            close(*fd);
            *fd = -1;
        }
    }
    error_replace(err, stem, dir); // the file's name is gone
    free(name);
    free(stem);
    return error_context(err, "a temporary file in TMPDIR");
}

// ---- writing whole or not at all ---------------------------------------------------------------------

struct file_writer {
    char *path;
    char *temporary; // NULL: a device or a pipe, which is written directly
    int fd;          // -1: closed
    char *held;
    size_t held_bytes; // bytes not yet written
};

enum { HELD_MAX = 1 << 16 };

static enum status refused(const struct file_writer *w, int os_error, struct error *err)
{
    return FAIL_OS(err, os_error, "%s: cannot be written", w->path);
}

enum status file_refuse_dangling(const char *path, struct error *err)
{
    char target[256];
    struct stat info;
    if (lstat(path, &info) != 0 || !S_ISLNK(info.st_mode) || file_exists(path))
        return OK;
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length > 0 ? length : 0] = '\0';
    return FAIL(err, ERR_IO, "%s: a link to %s, which does not exist", path, target);
}

// The target of the rename, with links resolved, so that a link stays a link. Caller frees; NULL when memory is
// exhausted.
static char *behind_links(const char *path)
{
    struct stat info;
    char *target = lstat(path, &info) == 0 && S_ISLNK(info.st_mode) ? realpath(path, NULL) : NULL;
    return target ? target : strdup(path);
}

enum status file_writer_open(const char *path, struct file_writer **out, struct error *err)
{
    struct stat info;
    bool straight = stat(path, &info) == 0 && !S_ISREG(info.st_mode);
    *out = NULL;
    if (!path[0])
        return FAIL(err, ERR_USAGE, "the name of a file to write is empty");
    TRY(file_refuse_dangling(path, err));
    struct file_writer *w = calloc(1, sizeof *w);
    if (w)
        *w = (struct file_writer){.path = straight ? strdup(path) : behind_links(path),
                                  .fd = -1,
                                  .held = malloc(HELD_MAX)};
    if (!w || !w->path || !w->held) {
        FAIL(err, ERR_NOMEM, "%s: no memory to write it", path);
    } else if (!straight) {
        file_sweep_beside(w->path, TEMPORARY_MARK);
        file_temporary(w->path, TEMPORARY_MARK, &w->temporary, &w->fd, err);
    } else {
        w->fd = open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        if (w->fd < 0)
            refused(w, errno, err);
    }
    if (err->code == OK)
        *out = w;
    else
        file_writer_abandon(w);
    return err->code;
}

void file_writer_abandon(struct file_writer *w)
{
    if (!w)
        return;
    if (w->fd >= 0)
        close(w->fd);
    if (w->fd >= 0 && w->temporary)
        unlink(w->temporary);
    free(w->path);
    free(w->temporary);
    free(w->held);
    free(w);
}

static enum status flush(struct file_writer *w, struct error *err)
{
    size_t count = w->held_bytes;
    w->held_bytes = 0;
    return write_full(w->fd, w->held, count) ? OK : refused(w, errno, err);
}

enum status file_writer_put(struct file_writer *w, const void *bytes, size_t count,
                            struct error *err)
{
    if (count > HELD_MAX - w->held_bytes)
        TRY(flush(w, err));
    if (count > HELD_MAX)
        return write_full(w->fd, bytes, count) ? OK : refused(w, errno, err);
    if (count)
        memcpy(w->held + w->held_bytes, bytes, count);
    w->held_bytes += count;
    return OK;
}

enum status file_writer_finish(struct file_writer *w, struct error *err)
{
    enum status status = flush(w, err);
    if (status == OK && w->temporary && fsync(w->fd) != 0)
        status = refused(w, errno, err);
    if (status == OK && w->temporary && rename(w->temporary, w->path) != 0)
        status = refused(w, errno, err);
    if (status == OK) { // the temporary name is gone: nothing to unlink
        close(w->fd);
        w->fd = -1;
    }
    file_writer_abandon(w);
    return status;
}

enum status file_write(const char *path, const void *bytes, size_t count, struct error *err)
{
    struct file_writer *w;
    TRY(file_writer_open(path, &w, err));
    if (file_writer_put(w, bytes, count, err) == OK)
        return file_writer_finish(w, err);
    file_writer_abandon(w);
    return err->code;
}

enum status file_sync(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    int failed = fd < 0 || fsync(fd) != 0 ? errno : 0;
    if (fd >= 0)
        close(fd);
    return failed ? FAIL_OS(err, failed, "%s: cannot be written", path) : OK;
}

bool file_same(const char *a, const char *b)
{
    struct stat of_a, of_b;
    if (!a || !b)
        return false;
    return str_equal(a, b) || (stat(a, &of_a) == 0 && stat(b, &of_b) == 0 &&
                               of_a.st_dev == of_b.st_dev && of_a.st_ino == of_b.st_ino);
}

bool file_exists(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0;
}

bool file_is_dir(const char *path)
{
    struct stat info;
    return stat(path, &info) == 0 && S_ISDIR(info.st_mode);
}

static enum status make_dirs(const char *path, mode_t mode, struct error *err)
{
    char *partial = strdup(path);
    if (!partial)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its name", path);
    size_t length = strlen(partial);
    for (size_t i = 1; i <= length && err->code == OK; i++) {
        if (partial[i] != '/' && partial[i] != '\0')
            continue;
        char kept = partial[i];
        partial[i] = '\0';
        int failed = mkdir(partial, mode) == 0 ? 0 : errno;
        if (failed && !file_is_dir(partial)) {
            if (failed == EEXIST && file_refuse_dangling(partial, err) == OK)
                FAIL(err, ERR_IO, "%s: folder cannot be made: a file has that name", partial);
            else if (failed != EEXIST)
                FAIL_OS(err, failed, "%s: folder cannot be made", partial);
        }
        partial[i] = kept;
    }
    free(partial);
    return err->code;
}

enum status file_make_dirs(const char *path, struct error *err)
{
    return make_dirs(path, 0777, err);
}

enum status file_make_private_dirs(const char *path, struct error *err)
{
    return make_dirs(path, 0700, err);
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info, (void)kind, (void)walk;
    return remove(path);
}

enum status file_remove_tree(const char *path, struct error *err)
{
    if (nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        return FAIL_OS(err, errno, "%s: cannot be removed", path);
    return OK;
}

// ---- leftovers of killed processes -----------------------------------------------------------------------

// This process's own number counts as gone: an earlier process had it, as happens in containers.
static bool is_gone(long pid)
{
    return pid <= INT32_MAX &&
           (pid == (long)getpid() || (kill((pid_t)pid, 0) != 0 && errno == ESRCH));
}

// Skips "123" or "123-0123456789abcdef" and returns the rest; NULL if the text does not begin that way.
static const char *skip_number(const char *text, long *pid)
{
    char *end;
    if (*text < '1' || *text > '9')
        return NULL;
    *pid = strtol(text, &end, 10);
    size_t digits = *end == '-' ? strspn(end + 1, "0123456789abcdef") : 0;
    return digits == 16 ? end + 1 + digits : end;
}

static bool left_behind(const char *name, const char *stem, const char *mark)
{
    long pid = 0, writer = 0;
    size_t length = stem ? strlen(stem) : 0;
    const char *at = stem ? name + length : strstr(name, mark);
    if ((stem && strncmp(name, stem, length) != 0) || !at || !str_starts(at, mark))
        return false;
    at = skip_number(at + strlen(mark), &pid);
    if (at && str_starts(at, TEMPORARY_MARK)) { // a file_writer's own ending
        at = skip_number(at + strlen(TEMPORARY_MARK), &writer);
        if (writer != pid)
            return false;
    }
    return at && !*at && is_gone(pid);
}

void file_sweep(const char *dir, const char *stem, const char *mark)
{
    struct error ignored = {0};
    DIR *folder = opendir(dir);
    for (struct dirent *entry; folder && (entry = readdir(folder)) != NULL;) {
        char *path = left_behind(entry->d_name, stem, mark) ? file_join(dir, entry->d_name) : NULL;
        if (path)
            file_remove_tree(path, &ignored);
        free(path);
    }
    if (folder)
        closedir(folder);
}

void file_sweep_beside(const char *path, const char *mark)
{
    const char *slash = strrchr(path, '/');
    char *dir = slash ? strndup(path, (size_t)(slash - path) + 1) : strdup(".");
    if (dir)
        file_sweep(dir, slash ? slash + 1 : path, mark);
    free(dir);
}

char *file_join(const char *dir, const char *name)
{
    size_t length = strlen(dir);
    bool slashed = length && dir[length - 1] == '/';
    struct str path = {0};
    str_printf(&path, "%s%s%s", dir, slashed || !length ? "" : "/", name);
    return str_take(&path);
}
