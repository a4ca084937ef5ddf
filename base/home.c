// home.c - installed files stand beside the executable's folder, a build stands inside its source tree.
#include "base/home.h"

#include <stdlib.h>
#include <string.h>

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
    char *dir = os_executable_dir(), *found = NULL;
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
