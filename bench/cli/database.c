// database.c - the settings of bench.conf, and the store an invocation uses: --db, else bench.conf's, else the
// user's own.
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/home.h"
#include "base/str.h"
#include "bench/cli/command.h"
#include "bench/suite/sources.h"

// bench.db in the user's data folder.
static char *user_database(struct error *err)
{
    char *dir = NULL;
    if (home_data_dir(&dir, err) != OK) {
        error_context(err, "no database: give --db FILE");
        return NULL;
    }
    char *path = file_join(dir, "bench.db");
    free(dir);
    if (!path)
        FAIL(err, ERR_NOMEM, "no memory for the database's path");
    return path;
}

enum status command_config(struct suite *out, const char **path, struct error *err)
{
    char *config = suite_config_path();
    struct suite_sources sources = {.config_path = config};
    enum status status = suite_load(&sources, out, err);
    *path = NULL;
    if (status == OK && config && !(*path = arena_strdup(&out->arena, config))) {
        status = FAIL(err, ERR_NOMEM, "no memory for the path of bench.conf");
        suite_fini(out);
    }
    free(config);
    return status;
}

// `db` of bench.conf, relative to that file's folder. NULL without an error when it names no store.
static char *configured_database(struct error *err)
{
    struct suite suite;
    const char *config = NULL;
    char *path = NULL;
    if (command_config(&suite, &config, err) != OK)
        return NULL;
    if (suite.bench.db) {
        const char *beside = suite_path_next_to(&suite.arena, config, suite.bench.db);
        path = beside ? strdup(beside) : NULL;
        if (!path)
            FAIL(err, ERR_NOMEM, "no memory for the database's path");
    }
    suite_fini(&suite);
    return path;
}

static char *own_database(struct error *err)
{
    char *path = configured_database(err);
    return path || err->code != OK ? path : user_database(err);
}

bool command_database_is_own(const char *path)
{
    struct error none = {0};
    char *without = own_database(&none);
    bool same = file_same(path, without);
    free(without);
    return same;
}

char *command_database(const struct arguments *args, struct error *err)
{
    const char *given = cli_flag_string(args, "db");
    if (!given)
        return own_database(err);
    char *copy = strdup(given);
    if (!copy)
        FAIL(err, ERR_NOMEM, "no memory for the database's path");
    return copy;
}

enum status command_check_output(const struct arguments *args, const char *flag, const char *path,
                                 struct error *err)
{
    char *database = path ? command_database(args, err) : NULL;
    if (database && file_same(path, database))
        FAIL(err, ERR_USAGE, "%s %s: it is the database; another file is needed", flag, path);
    free(database);
    return err->code;
}
