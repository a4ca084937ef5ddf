// cache.c - finds, verifies, begins, commits and removes entries of calibrated models.
#include "engine/quantize/cache.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/home.h"
#include "base/json.h"
#include "base/log.h"
#include "base/str.h"

enum { RECORD_MAX_BYTES = 1 << 20 };
#define RECORD "calibration.json"
#define MAKING ".making-"

enum status calib_cache_key(const struct calib_cache_recipe *recipe, char key[65],
                            struct error *err)
{
    struct str text = {0};
    str_printf(&text, "algorithm %s\nparameters %s\nmodel %s\ntext %s\n", recipe->algorithm,
               recipe->parameters, recipe->model, recipe->text);
    if (text.failed)
        FAIL(err, ERR_NOMEM, "no memory for the key of a calibrated model");
    else
        hash_bytes(str_text(&text), text.length, key, err);
    str_fini(&text);
    return err->code;
}

static char *entry_path(const char *dir, const char *key, const char *below)
{
    struct str path = {0};
    str_printf(&path, "%s/%s%s%s", dir, key, *below ? "/" : "", below);
    return str_take(&path);
}

static enum status no_memory(const char *dir, struct error *err)
{
    return FAIL(err, ERR_NOMEM, "%s: no memory", dir);
}

// ---- files and their hashes ---------------------------------------------------------------------------------

static enum status file_facts(const char *dir, const char *name, json_t **out, struct error *err)
{
    char hash[HASH_HEX_BYTES], *path = file_join(dir, name);
    struct file_map map = {0};
    *out = NULL;
    if (!path)
        return no_memory(dir, err);
    enum status status = file_map(path, &map, err);
    if (status == OK)
        status = hash_bytes(map.data, map.size_bytes, hash, err);
    if (status == OK)
        *out = json_pack("{s:I, s:s}", "bytes", (json_int_t)map.size_bytes, "sha256", hash);
    file_unmap(&map);
    free(path);
    return status == OK && !*out ? no_memory(dir, err) : status;
}

// {"config.json": {"bytes": 1, "sha256": ".."}, ...} of every file of a folder.
static enum status folder_facts(const char *dir, json_t **out, struct error *err)
{
    DIR *folder = opendir(dir);
    if (!folder)
        return FAIL_OS(err, errno, "%s", dir);
    json_t *files = json_object(), *facts = NULL;
    for (struct dirent *entry; err->code == OK && (entry = readdir(folder)) != NULL;)
        if (entry->d_name[0] != '.' && file_facts(dir, entry->d_name, &facts, err) == OK &&
            json_object_set_new(files, entry->d_name, facts) != 0)
            no_memory(dir, err);
    closedir(folder);
    if (err->code == OK && !files)
        no_memory(dir, err);
    if (err->code == OK)
        *out = files;
    else
        json_decref(files);
    return err->code;
}

// ---- finding -----------------------------------------------------------------------------------------------

// OK when the record has this key and each file matches it; fills *name and *time_ns. Otherwise `why` has the reason.
static enum status entry_prove(const char *entry, const char *key, const json_t *record,
                               const char **name, double *time_ns, struct error *why)
{
    const char *recorded;
    json_t *found = NULL;
    TRY(json_get_string(record, RECORD, "key", &recorded, why));
    TRY(json_get_string(record, RECORD, "name", name, why));
    TRY(json_get_f64(record, RECORD, "time_ns", time_ns, why));
    if (!str_equal(recorded, key))
        return FAIL(why, ERR_FORMAT, "it is of another key");
    if (!**name || strchr(*name, '/') || **name == '.')
        return FAIL(why, ERR_FORMAT, "its name is no folder's");
    char *dir = file_join(entry, *name);
    if (!dir)
        return no_memory(entry, why);
    enum status status = folder_facts(dir, &found, why);
    free(dir);
    TRY(status);
    bool same = json_equal(found, json_object_get(record, "files"));
    json_decref(found);
    return same ? OK : FAIL(why, ERR_FORMAT, "its files are not those that were written");
}

// Renames the entry first, so that no reader finds half of it, then removes it.
static void entry_remove(const char *dir, const char *key)
{
    struct error ignored = {0};
    char *entry = entry_path(dir, key, "");
    char *aside = entry ? file_temporary_name(entry, MAKING) : NULL;
    if (aside && rename(entry, aside) == 0)
        file_remove_tree(aside, &ignored);
    free(entry);
    free(aside);
}

enum status calib_cache_find(const char *dir, const char *key, char **path, double *time_ns,
                             struct error *err)
{
    struct error why = {0};
    json_t *record = NULL;
    const char *name = NULL;
    char *entry = entry_path(dir, key, ""), *file = entry_path(dir, key, RECORD);
    *path = NULL;
    if (!entry || !file) {
        no_memory(dir, err);
    } else if (file_is_dir(entry)) {
        if (json_read(file, RECORD_MAX_BYTES, &record, &why) == OK &&
            entry_prove(entry, key, record, &name, time_ns, &why) == OK) {
            *path = file_join(entry, name);
            if (!*path)
                no_memory(dir, err);
        } else if (why.code == ERR_NOMEM) {
            no_memory(dir, err);
        } else {
            log_line(LOG_WARN, "the calibrated model %s is damaged and is computed again: %s",
                     entry, why.message);
            entry_remove(dir, key);
        }
    }
    json_decref(record);
    free(entry);
    free(file);
    return err->code;
}

// ---- making ------------------------------------------------------------------------------------------------

enum status calib_cache_begin(const char *dir, const char *key, char **making, struct error *err)
{
    char *entry = entry_path(dir, key, "");
    *making = NULL;
    if (!entry)
        return no_memory(dir, err);
    file_sweep(dir, NULL, MAKING);
    if (file_make_private_dirs(dir, err) == OK)
        file_temporary_dir(entry, MAKING, making, err);
    free(entry);
    return err->code;
}

static enum status record_write(const char *making, const char *key, const char *name,
                                const struct calib_cache_recipe *recipe, double time_ns,
                                struct error *err)
{
    char when[32], *folder = file_join(making, name), *file = file_join(making, RECORD);
    json_t *files = NULL, *record = NULL;
    char *text = NULL;
    if (folder && file && folder_facts(folder, &files, err) == OK) {
        record = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:f, s:s, s:O}", "key", key, "name",
                           name, "algorithm", recipe->algorithm, "parameters", recipe->parameters,
                           "model_sha256", recipe->model, "text_sha256", recipe->text, "time_ns",
                           time_ns, "made", clock_iso8601(clock_wall_ns(), when, sizeof when),
                           "files", files);
        text = record ? json_dumps(record, JSON_INDENT(1)) : NULL;
        if (text)
            file_write(file, text, strlen(text), err);
    }
    if (err->code == OK && !text)
        no_memory(making, err);
    free(text);
    json_decref(record);
    json_decref(files);
    free(folder);
    free(file);
    return err->code;
}

enum status calib_cache_commit(const char *dir, const char *key, const char *making,
                               const char *name, const struct calib_cache_recipe *recipe,
                               double time_ns, char **path, struct error *err)
{
    struct error ignored = {0};
    char *entry = entry_path(dir, key, "");
    *path = NULL;
    if (!entry)
        no_memory(dir, err);
    else if (record_write(making, key, name, recipe, time_ns, err) == OK &&
             rename(making, entry) != 0 && errno != EEXIST && errno != ENOTEMPTY)
        FAIL_OS(err, errno, "%s: cannot be renamed to its key", making);
    if (err->code == OK && !(*path = file_join(entry, name)))
        no_memory(dir, err);
    file_remove_tree(making, &ignored); // of an error, or of the slower of two
    free(entry);
    return err->code;
}
