// calibrated.c - a model with calibrated codes: found in the cache, or calibrated into it.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/home.h"
#include "base/str.h"
#include "engine/quantize/awq.h"
#include "engine/quantize/cache.h"
#include "engine/quantize/overlay.h"
#include "engine/quantize/awq_folder.h"

enum status calib_cache_folder(char **dir, struct error *err)
{
    char *cache = NULL;
    *dir = NULL;
    TRY(home_cache_dir(&cache, err));
    *dir = file_join(cache, "awq");
    free(cache);
    return *dir ? OK : FAIL(err, ERR_NOMEM, "the cache's path");
}

// Everything that decides the codes. The tier of the kernels is left out: tiers differ in the last bits of a loss,
// which seldom changes a choice.
static enum status recipe_of(struct checkpoint *ck, int group, const char *text,
                             struct calib_cache_recipe *recipe, char parameters[128],
                             struct error *err)
{
    snprintf(parameters, 128,
             "group %d, %d windows of %d, alpha in %d steps, %d cuts of %g, kept by role", group,
             awq_windows(&ck->config), AWQ_WINDOW, AWQ_ALPHAS, CUTS, (double)CUT_STEP);
    recipe->algorithm = AWQ_ALGORITHM;
    recipe->parameters = parameters;
    TRY(checkpoint_content_hash(ck, recipe->model, err));
    if (calib_text_hash(text, recipe->text, err) != OK)
        return error_context(err, "calibration text");
    return OK;
}

static enum status make(struct checkpoint *ck, const struct quantize_options *options,
                        const struct quant_output *output, const char *dir, const char *key,
                        const struct calib_cache_recipe *recipe, engine_progress *progress,
                        void *user, char **path, double *time_ns, struct error *err)
{
    struct error ignored = {0};
    char *making = NULL, *folder = NULL;
    uint64_t begin_ns = clock_ns();
    TRY(calib_cache_begin(dir, key, &making, err));
    folder = file_join(making, ck->config.name);
    if (!folder)
        FAIL(err, ERR_NOMEM, "%s: no memory", making);
    else
        quantize_awq(ck, options, output, folder, progress, user, err);
    *time_ns = (double)(clock_ns() - begin_ns);
    if (err->code == OK)
        calib_cache_commit(dir, key, making, ck->config.name, recipe, *time_ns, path, err);
    else
        file_remove_tree(making, &ignored);
    char *entry = file_join(dir, key);
    error_replace(err, making, entry);
    free(entry);
    free(folder);
    free(making);
    return err->code;
}

static enum status find_or_make(struct checkpoint *ck, const struct quantize_options *options,
                                const struct quant_output *output, const char *dir,
                                engine_progress *progress, void *user, struct calibration *result,
                                struct error *err)
{
    struct calib_cache_recipe recipe = {0};
    char parameters[128], key[65], *path = NULL;
    TRY(recipe_of(ck, output->group, options->calib, &recipe, parameters, err));
    TRY(calib_cache_key(&recipe, key, err));
    TRY(calib_cache_find(dir, key, &path, &result->time_ns, err));
    result->kept = path != NULL;
    if (!path)
        TRY(make(ck, options, output, dir, key, &recipe, progress, user, &path, &result->time_ns,
                 err));
    size_t length = strlen(path);
    if (length < sizeof result->path)
        memcpy(result->path, path, length + 1);
    else
        FAIL(err, ERR_UNSUPPORTED, "%s: too long a path", path);
    memcpy(result->text, recipe.text, sizeof result->text);
    free(path);
    return err->code;
}

enum status checkpoint_calibrated(struct checkpoint *ck, const struct quantize_options *options,
                                  engine_progress *progress, void *user, struct checkpoint **out,
                                  struct calibration *result, struct error *err)
{
    struct quantize_options wanted = *options;
    struct quant_output output = awq_output(options->group, true);
    char *dir = NULL, *shipped = NULL;
    uint64_t begin_ns = clock_ns();
    *out = NULL;
    memset(result, 0, sizeof *result);
    if (!wanted.calib) {
        TRY(calib_default(&shipped, err));
        wanted.calib = shipped;
    }
    if (calib_cache_folder(&dir, err) == OK &&
        find_or_make(ck, &wanted, &output, dir, progress, user, result, err) == OK)
        overlay_open(ck, &output, result->path, out, err);
    result->needed_ns = (double)(clock_ns() - begin_ns);
    if (err->code != OK)
        result->path[0] = '\0';
    free(dir);
    free(shipped);
    return err->code;
}
