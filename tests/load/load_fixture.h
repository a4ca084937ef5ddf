// load_fixture.h - what the tests of the loaders share: scratch folders, and errors that must say something.
#ifndef TESTS_LOAD_LOAD_FIXTURE_H
#define TESTS_LOAD_LOAD_FIXTURE_H

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "engine/load/hf/hf.h"
#include "tests/engine/fixture.h"

// How many names a folder holds.
static inline int entries(const char *dir)
{
    int count = 0;
    DIR *d = opendir(dir);
    assert_non_null(d);
    while (readdir(d))
        count++;
    closedir(d);
    return count - 2;
}

// The call failed with this code and one line that holds each of the words; the error is forgotten.
static inline void expect_error(enum status status, struct error *err, enum status code,
                                const char *word, const char *other)
{
    if (status != code)
        fail_msg("wanted a %s error, got %s: %s", status_name(code), status_name(status),
                 err->message);
    if (!strstr(err->message, word) || !strstr(err->message, other))
        fail_msg("'%s' names neither '%s' nor '%s'", err->message, word, other);
    if (strchr(err->message, '\n'))
        fail_msg("'%s' is not one line", err->message);
    error_clear(err);
}

// A new folder; its path in a static buffer, good for one test at a time.
static inline const char *scratch_make(void)
{
    static char path[64];
    snprintf(path, sizeof path, "/tmp/ridge-load-XXXXXX");
    assert_non_null(mkdtemp(path));
    return path;
}

static inline void scratch_remove(const char *dir)
{
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            assert_int_equal(unlinkat(dirfd(d), e->d_name, 0), 0);
    closedir(d);
    assert_int_equal(rmdir(dir), 0);
}

static inline void put(const char *dir, const char *name, const void *bytes, size_t count)
{
    struct error err = {0};
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    expect_ok(file_write(path, bytes, count, &err), &err, path);
}

// What a file of the tree holds, for tests that change it; NUL-terminated, the caller frees. Not inline:
// gcc 12 would then take what strstr finds in it for a pointer to this function's variable.
__attribute__((noinline, unused)) static char *slurp(const char *path, size_t *count)
{
    struct error err = {0};
    char *bytes = NULL;
    expect_ok(file_read(path, 1 << 28, &bytes, count, &err), &err, path);
    return bytes;
}

static inline void copy(const char *from_dir, const char *name, const char *to_dir)
{
    char path[512];
    size_t count;
    snprintf(path, sizeof path, "%s/%s", from_dir, name);
    char *bytes = slurp(path, &count);
    put(to_dir, name, bytes, count);
    free(bytes);
}

static inline struct checkpoint *open_ok(const char *path)
{
    struct error err = {0};
    struct checkpoint *ck = NULL;
    expect_ok(checkpoint_open(path, &ck, &err), &err, path);
    return ck;
}

static inline void open_fails(const char *path, enum status code, const char *word,
                              const char *other)
{
    struct error err = {0};
    struct checkpoint *ck = (struct checkpoint *)&err;
    enum status status = checkpoint_open(path, &ck, &err);
    assert_null(ck);
    expect_error(status, &err, code, word, other);
}

#endif
