// database.c - which store an invocation means.
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "bench/cli/command.h"

// $XDG_DATA_HOME/ridge/bench.db, or ~/.local/share/ridge/bench.db as the XDG base directory
// specification has it where the variable is not set.
static char *user_database(struct error *err)
{
    const char *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    struct str path = {0};
    if (data && data[0] == '/')
        str_printf(&path, "%s/ridge/bench.db", data);
    else if (home && home[0])
        str_printf(&path, "%s/.local/share/ridge/bench.db", home);
    else {
        FAIL(err, ERR_USAGE, "no database: give --db FILE (neither XDG_DATA_HOME nor HOME is set)");
        return NULL;
    }
    char *text = str_take(&path);
    if (!text)
        FAIL(err, ERR_NOMEM, "no memory for the database's path");
    return text;
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
