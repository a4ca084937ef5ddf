// home.c - installed files are next to the executable's folder, a build is inside its source tree.
#include "base/home.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/os.h"
#include "base/str.h"

enum { LEVELS_UP = 4 }; // build/asan/tests/base/test_home -> the source tree

// "a/b" -> "a"; false at the root.
static bool go_up(char *dir)
{
    char *slash = strrchr(dir, '/');
    if (!slash || slash == dir)
        return false;
    *slash = '\0';
    return true;
}

static char *if_exists(const char *dir, const char *between, const char *relative)
{
    struct str path = {0};
    str_printf(&path, "%s/%s%s", dir, between, relative);
    char *text = str_take(&path);
    if (text && (file_exists(text) || file_is_dir(text)))
        return text;
    free(text);
    return NULL;
}

char *home_find(const char *relative)
{
    char *dir = *relative ? os_executable_dir() : NULL, *found = NULL;
    if (!dir)
        return NULL;
    if (go_up(dir)) {
        found = if_exists(dir, "share/ridge/", relative);
        for (int i = 0; !found && i < LEVELS_UP; i++) {
            found = if_exists(dir, "", relative);
            if (!go_up(dir))
                break;
        }
    }
    free(dir);
    return found;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static char *shown_name(const char *folder, const char *name, const char *ending, bool whole,
                        struct arena *arena)
{
    struct str text = {0};
    if (whole)
        str_printf(&text, "%s/%s", folder, name);
    else
        str_append_bytes(&text, name, strlen(name) - strlen(ending));
    char *copy = text.failed ? NULL : arena_strdup(arena, str_text(&text));
    str_fini(&text);
    return copy;
}

void home_names(const char *folder, const char *ending, bool whole, struct arena *arena,
                struct words *out)
{
    char *path = home_find(folder);
    DIR *dir = path ? opendir(path) : NULL;
    size_t first = out->count;
    free(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        char *name = e->d_name[0] != '.' && str_ends(e->d_name, ending)
                         ? shown_name(folder, e->d_name, ending, whole, arena)
                         : NULL;
        if (name)
            words_add(out, name);
    }
    if (dir)
        closedir(dir);
    qsort(out->items + first, out->count - first, sizeof *out->items, by_name);
}

static enum status user_dir(const char *variable, const char *below_home, char **out,
                            struct error *err)
{
    const char *set = getenv(variable), *home = getenv("HOME");
    struct str path = {0};
    *out = NULL;
    if (set && set[0] == '/')
        str_printf(&path, "%s/ridge", set);
    else if (home && home[0] == '/')
        str_printf(&path, "%s/%s/ridge", home, below_home);
    else
        return FAIL(err, ERR_USAGE, "no user folder: neither %s nor HOME is set", variable);
    *out = str_take(&path);
    return *out ? OK : FAIL(err, ERR_NOMEM, "no memory for a path");
}

enum status home_data_dir(char **out, struct error *err)
{
    return user_dir("XDG_DATA_HOME", os_user_data_folder(), out, err);
}

enum status home_cache_dir(char **out, struct error *err)
{
    return user_dir("XDG_CACHE_HOME", os_user_cache_folder(), out, err);
}

const char *home_temporary_dir(void)
{
    const char *set = getenv("TMPDIR");
    return set && set[0] == '/' ? set : "/tmp";
}

static bool can_be_started(const char *path)
{
    return !file_is_dir(path) && access(path, X_OK) == 0;
}

bool home_has_program(const char *program)
{
    const char *path = getenv("PATH"), *at = path ? path : "/usr/bin:/bin";
    if (strchr(program, '/'))
        return can_be_started(program);
    for (bool found = false; *program;) {
        size_t length = strcspn(at, ":");
        char *dir = length ? strndup(at, length) : strdup(".");
        char *name = dir ? file_join(dir, program) : NULL;
        found = name && can_be_started(name);
        free(name);
        free(dir);
        if (found || !at[length])
            return found;
        at += length + 1;
    }
    return false;
}
