// whole.c - the beginning and the end of a picture's file.
#include "report/whole.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/file.h"
#include "base/str.h"

enum { PICTURE_MAX = 16 << 20 };

struct form {
    const char *ending;
    const char *begin;
    size_t begin_bytes;
    const char *end; // trailing blanks do not count if `blanks` is set
    size_t end_bytes;
    bool blanks;
};

static const struct form svg = {".svg", "<?xml", 5, "</svg>", 6, true};
static const struct form png = {".png", "\x89PNG\r\n\x1a\n", 8, "\0\0\0\0IEND\xae\x42\x60\x82", 12,
                                false};

static bool is_whole(const struct form *form, const char *bytes, size_t count)
{
    while (form->blanks && count && strchr(" \t\r\n", bytes[count - 1]))
        count--;
    return count > form->begin_bytes + form->end_bytes &&
           memcmp(bytes, form->begin, form->begin_bytes) == 0 &&
           memcmp(bytes + count - form->end_bytes, form->end, form->end_bytes) == 0;
}

static enum status check(const struct form *form, const char *dir, const char *name,
                         struct error *err)
{
    struct str path = {0};
    struct error unread = {0};
    char *bytes = NULL;
    size_t count = 0;
    enum status status = OK;
    str_printf(&path, "%s/%s%s", dir, name, form->ending);
    if (path.failed)
        status = FAIL(err, ERR_NOMEM, "%s%s: no memory for its path", name, form->ending);
    else if (access(str_text(&path), F_OK) != 0 && errno == ENOENT)
        status = FAIL(err, ERR_IO, "%s%s was not written", name, form->ending);
    else if (file_read(str_text(&path), PICTURE_MAX, &bytes, &count, &unread) != OK)
        status = FAIL(err, unread.code, "%s", unread.message);
    else if (!is_whole(form, bytes, count))
        status = FAIL(err, ERR_IO, "%s%s is not whole after %zu bytes: is the disk full?", name,
                      form->ending, count);
    else
        status = file_sync(str_text(&path), err);
    free(bytes);
    str_fini(&path);
    return status;
}

enum status picture_svg_check(const char *dir, const char *name, struct error *err)
{
    return check(&svg, dir, name, err);
}

enum status picture_png_check(const char *dir, const char *name, struct error *err)
{
    return check(&png, dir, name, err);
}
