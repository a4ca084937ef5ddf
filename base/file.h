// file.h - files read by mapping, files written whole or not at all.
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

// A file mapped read-only. Pages are read when touched. If another program truncates a mapped file, access raises
// SIGBUS, which the worker reports as a crash.
struct file_map {
    const unsigned char *data; // NULL when the file is empty
    size_t size_bytes;
};

// Errors: ERR_IO with the path; *out is then empty. file_unmap of an empty map does nothing.
enum status file_map(const char *path, struct file_map *out, struct error *err);
void file_unmap(struct file_map *map);

// Drops the pages between two addresses of a mapping from this process's memory. The next read maps them again from the
// page cache. Pages that are only partly in the range stay.
void file_map_release(const void *begin, const void *end);

// Reads the whole file as text and adds a NUL; caller frees *out. Refuses more than max_bytes and names both sizes, so
// that an absurd file is an error and not an allocation.
enum status file_read(const char *path, size_t max_bytes, char **out, size_t *size_bytes,
                      struct error *err);

// Writes a temporary file next to `path`, syncs it and renames it to `path`: readers see the old file or the new one. A
// link stays a link and its target is replaced. Devices and pipes are written directly.
enum status file_write(const char *path, const void *bytes, size_t count, struct error *err);

// The same in pieces, for files too large to hold: finish syncs and renames, and until then the old file
// keeps its name. Errors: ERR_IO naming path, ERR_USAGE for an empty path, ERR_NOMEM; the first one sticks.
struct file_writer;
enum status file_writer_open(const char *path, struct file_writer **out, struct error *err);
enum status file_writer_put(struct file_writer *w, const void *bytes, size_t count,
                            struct error *err);
enum status file_writer_finish(struct file_writer *w, struct error *err); // frees w in any case
void file_writer_abandon(struct file_writer *w); // frees w; nothing is left behind

// Errors: ERR_IO for a dangling link. No file is created through it, because someone else may have chosen its target.
enum status file_refuse_dangling(const char *path, struct error *err);

// Writes what the system still holds of a file to its disk, before a rename makes it the only one.
enum status file_sync(const char *path, struct error *err);

// Links are followed.
bool file_exists(const char *path);
// Whether both paths lead to one file. NULL: false.
bool file_same(const char *a, const char *b);
bool file_is_dir(const char *path);

// mkdir -p. OK if it already exists. private: only the user can read new folders (0700).
enum status file_make_dirs(const char *path, struct error *err);
enum status file_make_private_dirs(const char *path, struct error *err);

// rm -rf; links are removed, not followed. OK if nothing has that name.
enum status file_remove_tree(const char *path, struct error *err);

// Temporary names are STEM MARK PID-RANDOM, as in "out.tmp-123-5f2e01c77a90b3d4". They cannot be guessed, and a sweep
// can tell which process owns them. The file or folder is created; an existing one, or a link of that name, is an
// error. The caller frees *name, closes *fd and removes the file.
char *file_temporary_name(const char *stem, const char *mark); // NULL when memory is exhausted
enum status file_temporary(const char *stem, const char *mark, char **name, int *fd,
                           struct error *err);
enum status file_temporary_dir(const char *stem, const char *mark, char **name, struct error *err);
// A file without a name that holds `bytes`, open at its start, in home_temporary_dir(). Caller closes *fd.
enum status file_unnamed(const void *bytes, size_t count, int *fd, struct error *err);

// Removes from `dir` the temporary files and folders of processes that no longer run, whether or not the name ends as a
// file_writer's does. stem NULL: any. This process counts as gone, so it must sweep before it creates its own. Files
// that cannot be removed stay. A process of another machine that shares the folder counts as gone.
void file_sweep(const char *dir, const char *stem, const char *mark);
void file_sweep_beside(const char *path,
                       const char *mark); // in the folder of `path`, for files of this name

// "dir/name" in a new string the caller frees; NULL when memory is exhausted.
char *file_join(const char *dir, const char *name);

#endif
