// ini.h - one INI file as entries with their lines, read by the system's inih.
//
// inih as built by distributions cuts lines at 199 bytes, and section and key names at 49. It reads an indented line as
// a continuation of the value above. It reports neither line numbers nor empty sections. So it reads lines through our
// stream reader, which counts them and refuses those that would be cut or lost. Comments begin with ; or # at the start
// of a line or after a blank.
#ifndef BENCH_SUITE_INI_H
#define BENCH_SUITE_INI_H

#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"

enum { INI_LINE_MAX = 199, INI_NAME_MAX = 49, INI_FILE_MAX = 256 << 10, INI_ENTRIES_MAX = 4096 };

struct ini_entry {
    const char *section;     // "sweep core": inner blanks collapsed
    const char *key, *value; // both NULL for the section's header itself
    int line;
};

struct ini_file {
    const char *path;
    struct ini_entry *entries; // in the file's order, including headers
    size_t count;
};

// The arena owns everything. Messages call the file `name`. Errors: ERR_IO; ERR_USAGE "NAME:LINE: reason". Reasons:
// line too long, indented key, no '=', a key outside any section, a duplicate section or key (with both lines), a NUL
// byte, a file or names too large.
enum status ini_read(const char *path, const char *name, struct arena *arena, struct ini_file *out,
                     struct error *err);
enum status ini_parse_text(const char *text, size_t length, const char *name, struct arena *arena,
                           struct ini_file *out, struct error *err);

#endif
