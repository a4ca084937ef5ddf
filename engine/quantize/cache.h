// cache.h - calibrated models kept in the user's cache folder, by what they were made of.
//
//   CACHE/awq/KEY/calibration.json   what it was made of, how long that took, each file's size and SHA-256
//   CACHE/awq/KEY/NAME/              the layers, written by role (targets.h); NAME is the model's
//   CACHE/awq/KEY.making-PID/        being made by that process
//
// An entry appears whole, by one rename; of two processes that make the same one the later throws its own
// away. calibration.json is believed only when every file is as it says, so that damage is noticed.
#ifndef ENGINE_QUANTIZE_CACHE_H
#define ENGINE_QUANTIZE_CACHE_H

#include "engine/engine.h"

// What an entry is made of; its key is the SHA-256 of all of it.
struct calib_cache_recipe {
    const char *algorithm; // name and version
    const char *parameters;
    char model[65], text[65]; // SHA-256 of contents
};
enum status calib_cache_key(const struct calib_cache_recipe *recipe, char key[65],
                            struct error *err);

// Looks an entry up. *path: the folder of its layers, which the caller frees; NULL when there is none, or when it
// was damaged (it is then removed, and a warning logged). *time_ns: what making it took.
// Errors: ERR_IO, ERR_NOMEM.
enum status calib_cache_find(const char *dir, const char *key, char **path, double *time_ns,
                             struct error *err);

// Begins an entry: *making is a new folder's path (caller frees) in which the folder NAME is to be
// made. Folders that processes no longer alive have left are removed first.
enum status calib_cache_begin(const char *dir, const char *key, char **making, struct error *err);

// Writes calibration.json and renames. *path as in calib_cache_find. On error nothing is left of the entry.
enum status calib_cache_commit(const char *dir, const char *key, const char *making,
                               const char *name, const struct calib_cache_recipe *recipe,
                               double time_ns, char **path, struct error *err);

#endif
