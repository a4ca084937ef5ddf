// log.c - one write per line, so that lines of several processes do not mix.
#include "base/log.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/str.h"

static enum log_level threshold =
    LOG_INFO; // written once, before any thread starts: see log_set_level

void log_set_level(enum log_level level)
{
    threshold = level;
}

void log_line(enum log_level level, const char *format, ...)
{
    if (level > threshold)
        return;
    static const char *const prefixes[] = {
        "bench: error: ", "bench: warning: ", "bench: ", "bench: debug: "};
    char line[2048];
    int used = snprintf(line, sizeof line, "%s", prefixes[level]);
    va_list args;
    va_start(args, format);
    int more = vsnprintf(line + used, sizeof line - (size_t)used - 1, format, args);
    va_end(args);
    size_t end = (size_t)used + (more < 0 ? 0 : (size_t)more);
    if (end > sizeof line - 2)
        end = sizeof line - 2;
    line[end] = '\0';
    str_plain(line);
    line[end] = '\n';
    fwrite(line, 1, end + 1, stderr);
}
