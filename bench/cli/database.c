// database.c - which store an invocation means.
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/home.h"
#include "bench/cli/command.h"

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

char *command_database(const struct arguments *args, struct error *err)
{
    const char *given = flag_string(args, "db");
    if (!given)
        return user_database(err);
    char *copy = strdup(given);
    if (!copy)
        FAIL(err, ERR_NOMEM, "no memory for the database's path");
    return copy;
}
