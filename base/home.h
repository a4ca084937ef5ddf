// home.h - the folders of the program's own files, and of the user's data and cache.
#ifndef BASE_HOME_H
#define BASE_HOME_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/words.h"

// The path of "suites/m1.conf", "models/shapes/llama-2-7b.json", ...: PREFIX/share/ridge/ of an installed
// program, else the source tree the program was built in. The working directory does not matter.
// A new string the caller frees; NULL when there is no such file or folder.
char *home_find(const char *relative);

// Adds the program's own files with this ending to `out`, sorted: "suites" and ".conf" give "suites/m1.conf", and without
// `whole` "m1". They are the arena's. Nothing is added where the folder or memory is missing.
void home_names(const char *folder, const char *ending, bool whole, struct arena *arena,
                struct words *out);

// The user's own folders, which need not exist yet. The database is in $XDG_DATA_HOME/ridge or ~/.local/share/ridge,
// packed weights are in $XDG_CACHE_HOME/ridge or ~/.cache/ridge. On macOS, where the XDG variable is not set:
// ~/Library/Application Support/ridge and ~/Library/Caches/ridge. Only absolute paths count, as the XDG base directory
// specification asks. ERR_USAGE when neither variable nor HOME is set. Caller frees *out.
enum status home_data_dir(char **out, struct error *err);
enum status home_cache_dir(char **out, struct error *err);

// $TMPDIR where it is an absolute path, else /tmp. Borrowed from the environment.
const char *home_temporary_dir(void);

// Whether this user may start the program: a path, or a name that is looked up in PATH.
bool home_has_program(const char *program);

#endif
