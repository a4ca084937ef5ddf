// file.h - files read by mapping, files written whole or not at all.
#ifndef BASE_FILE_H
#define BASE_FILE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

// A file mapped read-only. Pages come in as they are touched; a file cut short by someone else while
// mapped raises SIGBUS, which the worker reports as a crash.
struct file_map {
    const unsigned char *data; // NULL when the file is empty
    size_t size_bytes;
};

enum status file_map(const char *path, struct file_map *out, struct error *err);
void file_unmap(struct file_map *map);

// Lets the pages between two places of a mapping leave this process's memory: they come back, from the page
// cache, when they are read again. Pages that the places cut through stay.
void file_map_release(const void *begin, const void *end);

// The whole file as text with a NUL added; caller frees *out. Refuses more than max_bytes, naming both
// sizes, so that an absurd file is an error and not an allocation.
enum status file_read(const char *path, size_t max_bytes, char **out, size_t *size_bytes,
                      struct error *err);

// Writes path.tmp-PID, syncs it and renames it to path: readers see the old file or the new one. A link stays
// one, what it points to is replaced. A device or a pipe is no file to replace: it is written as it comes.
enum status file_write(const char *path, const void *bytes, size_t count, struct error *err);

// The same for what is too large to be held: pieces go to path.tmp-PID, which finish syncs and renames.
// Until then the old file stands. Errors: ERR_IO naming path, ERR_NOMEM; the first one sticks.
struct file_writer;
enum status file_writer_open(const char *path, struct file_writer **out, struct error *err);
enum status file_writer_put(struct file_writer *w, const void *bytes, size_t count,
                            struct error *err);
enum status file_writer_finish(struct file_writer *w, struct error *err); // frees w in any case
void file_writer_abandon(struct file_writer *w); // frees w; nothing is left behind

bool file_exists(const char *path);
bool file_is_dir(const char *path);

// mkdir -p. OK when it exists already.
enum status file_make_dirs(const char *path, struct error *err);

// rm -rf; links are removed, not followed. OK when there is nothing of that name.
enum status file_remove_tree(const char *path, struct error *err);

// What a process that was killed leaves behind has its number in the name: STEM MARK NUMBER, as in
// "out.tmp-123", with or without a file_writer's own ending. Removes from `dir` all files and folders so
// called whose process is no more, or is this one, which therefore sweeps before it makes its own; stem NULL:
// any. What cannot be removed stays. A process of another machine that shares the folder counts as gone.
void file_sweep(const char *dir, const char *stem, const char *mark);
void file_sweep_beside(const char *path, const char *mark); // of this name in its folder

// "dir/name" in a new string the caller frees; NULL when memory is exhausted.
char *file_join(const char *dir, const char *name);

#endif
