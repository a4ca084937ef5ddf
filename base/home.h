// home.h - the folders of the program's own files, and of the user's data and cache.
#ifndef BASE_HOME_H
#define BASE_HOME_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/words.h"

// The path of "suites/m1.conf", "models/shapes/llama-2-7b.json", ...: in PREFIX/share/ridge/ of an installed program,
// else in the source tree where the program was built. The working directory does not matter. Caller frees; NULL if
// there is no such file or folder.
char *home_find(const char *relative);

// Adds the program's own files with this ending to `out`, sorted. "suites" and ".conf" give "suites/m1.conf", or "m1"
// without `whole`. The arena owns the names. Nothing is added if the folder is missing or memory is exhausted.
void home_names(const char *folder, const char *ending, bool whole, struct arena *arena,
                struct words *out);

// The user's own folders, which need not exist yet. The database is in $XDG_DATA_HOME/ridge or ~/.local/share/ridge,
// packed weights are in $XDG_CACHE_HOME/ridge or ~/.cache/ridge. On macOS, where the XDG variable is not set:
// ~/Library/Application Support/ridge and ~/Library/Caches/ridge. Relative paths are ignored, as the XDG base directory
// specification requires. ERR_USAGE when neither variable nor HOME is set. Caller frees *out.
enum status home_data_dir(char **out, struct error *err);
enum status home_cache_dir(char **out, struct error *err);

// $TMPDIR where it is an absolute path, else /tmp. Borrowed from the environment.
const char *home_temporary_dir(void);

// Whether this user may start the program, given as a path or as a name in PATH.
bool home_has_program(const char *program);

#endif
