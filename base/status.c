// status.c - keeps the first failure and the path that led to it.
#include "base/status.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "base/str.h"

enum status error_set(struct error *err, enum status code, const char *file, int line,
                      const char *format, ...)
{
    if (err->code != OK)
        return err->code;
    err->code = code;
    err->file = file;
    err->line = line;
    va_list args;
    va_start(args, format);
    vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    str_plain(err->message);
    return code;
}

// "File too large" for 100 KB means a limit of the process, not of the file system.
const char *error_reason(int os_error, char *out, size_t out_bytes)
{
    struct rlimit limit;
    if (os_error == EFBIG && getrlimit(RLIMIT_FSIZE, &limit) == 0 &&
        limit.rlim_cur != RLIM_INFINITY)
        snprintf(out, out_bytes, "the process may write no file beyond %llu bytes (ulimit -f)",
                 (unsigned long long)limit.rlim_cur);
    else
        snprintf(out, out_bytes, "%s", strerror(os_error));
    return out;
}

enum status error_set_os(struct error *err, int os_error, const char *file, int line,
                         const char *format, ...)
{
    char what[sizeof err->message];
    va_list args;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    char reason[ERROR_REASON_BYTES];
    return error_set(err, os_error == ENOMEM ? ERR_NOMEM : ERR_IO, file, line, "%s: %s", what,
                     error_reason(os_error, reason, sizeof reason));
}

enum status error_context(struct error *err, const char *format, ...)
{
    if (err->code == OK)
        return OK;
    char inner[sizeof err->message];
    memcpy(inner, err->message, sizeof inner);
    va_list args;
    va_start(args, format);
    int used = vsnprintf(err->message, sizeof err->message, format, args);
    va_end(args);
    size_t at = used < 0 ? 0 : (size_t)used;
    if (at < sizeof err->message - 2) { // else the context alone fills the message
        memcpy(err->message + at, ": ", 2);
        size_t room = sizeof err->message - at - 2;
        memcpy(err->message + at + 2, inner, room);
        err->message[sizeof err->message - 1] = '\0';
    }
    str_plain(err->message);
    return err->code;
}

void error_replace(struct error *err, const char *was, const char *is)
{
    if (err->code == OK || !was || !*was || !is)
        return;
    char kept[sizeof err->message];
    memcpy(kept, err->message, sizeof kept);
    size_t used = 0;
    for (const char *at = kept, *found; *at && used < sizeof err->message - 1; at = found) {
        found = strstr(at, was);
        if (found == at) {
            found = at + strlen(was);
            used += (size_t)snprintf(err->message + used, sizeof err->message - used, "%s", is);
        } else {
            if (!found)
                found = at + strlen(at);
            used += (size_t)snprintf(err->message + used, sizeof err->message - used, "%.*s",
                                     (int)(found - at), at);
        }
    }
    str_plain(err->message); // a cut may have split a character
}

void error_clear(struct error *err)
{
    memset(err, 0, sizeof *err);
}

const char *status_name(enum status code)
{
    static const char *const names[] = {"ok",          "usage",   "io",          "format",  "nomem",
                                        "unsupported", "timeout", "interrupted", "internal"};
    return (size_t)code < sizeof names / sizeof *names ? names[code] : "unknown";
}
