// cache.h - calibrated models in the user's cache folder, found by what they were made of.
//
//   CACHE/awq/KEY/calibration.json   its recipe, the time it took, each file's size and SHA-256
//   CACHE/awq/KEY/NAME/              the layers, written by role (targets.h); NAME is the model's
//   CACHE/awq/KEY.making-PID/        unfinished work of that process
//
// One rename makes an entry appear whole. When two processes make the same entry, the later one discards its own.
// An entry is used only when every file matches calibration.json, so damage is noticed.
#ifndef ENGINE_QUANTIZE_CACHE_H
#define ENGINE_QUANTIZE_CACHE_H

#include "engine/engine.h"

// What an entry is made of. Its key is the SHA-256 of all fields.
struct calib_cache_recipe {
    const char *algorithm; // name and version
    const char *parameters;
    char model[65], text[65]; // SHA-256 of contents
};
enum status calib_cache_key(const struct calib_cache_recipe *recipe, char key[65],
                            struct error *err);

// Looks an entry up. *path: the folder of its layers, which the caller frees; NULL when there is no entry. A damaged
// entry is removed with a warning and counts as none. *time_ns: the time it took to make.
// Errors: ERR_IO, ERR_NOMEM.
enum status calib_cache_find(const char *dir, const char *key, char **path, double *time_ns,
                             struct error *err);

// Begins an entry: *making is the path of a new folder (caller frees), in which the caller makes the folder NAME.
// Leftovers of dead processes are removed first.
enum status calib_cache_begin(const char *dir, const char *key, char **making, struct error *err);

// Writes calibration.json and renames. *path as in calib_cache_find. On error the entry is removed.
enum status calib_cache_commit(const char *dir, const char *key, const char *making,
                               const char *name, const struct calib_cache_recipe *recipe,
                               double time_ns, char **path, struct error *err);

#endif
