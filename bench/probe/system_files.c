// system_files.c - reads files of /proc and /sys below a root that tests choose.
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "bench/probe/source.h"

enum { TEXT_BYTES = 8192, PATH_BYTES = 512 };

bool system_text(const char *root, const char *path, char *out, size_t out_bytes)
{
    char full[PATH_BYTES];
    snprintf(full, sizeof full, "%s%s", root, path);
    FILE *file = fopen(full, "r");
    if (!file)
        return false;
    size_t count = fread(out, 1, out_bytes - 1, file);
    fclose(file);
    while (count && (isspace((unsigned char)out[count - 1]) || !out[count - 1]))
        count--;
    out[count] = 0;
    size_t blank = strspn(out, " \t\n");
    memmove(out, out + blank, count - blank + 1);
    return count > blank;
}

bool system_field(const char *root, const char *path, const char *key, char *out, size_t out_bytes)
{
    char text[TEXT_BYTES];
    if (!system_text(root, path, text, sizeof text))
        return false;
    size_t length = strlen(key);
    char *rest = text;
    for (char *line; (line = strtok_r(rest, "\n", &rest));) {
        char *colon = strchr(line, ':');
        if (!colon || strncmp(line, key, length) != 0 ||
            line + length + strspn(line + length, " \t") != colon)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        snprintf(out, out_bytes, "%s", colon);
        return *out != 0;
    }
    return false;
}
