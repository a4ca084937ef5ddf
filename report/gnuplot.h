// gnuplot.h - one picture drawn by the gnuplot program: no shell, a time limit, a reason on failure.
#ifndef REPORT_GNUPLOT_H
#define REPORT_GNUPLOT_H

#include "base/status.h"

struct gnuplot {
    // A path (relative to the caller's folder) or a name looked up in PATH.
    const char *program;
    int timeout_ms;
};

// Runs `program -c script args...` in the folder `dir`, which has its data and gets its pictures. `args` ends with NULL
// and must not contain names from the store: those go into data files. Errors: ERR_UNSUPPORTED if there is no such
// program. ERR_TIMEOUT: it was killed with its children. ERR_INTERRUPTED: the same because a signal of interrupt.h is
// pending. ERR_IO with the first line of its error output.
enum status gnuplot_run(const struct gnuplot *gnuplot, const char *dir, const char *script,
                        const char *const *args, struct error *err);

// Checks that there is such a program, before anything is written. ERR_USAGE: there is none, or the name is empty.
enum status gnuplot_check(const char *program, struct error *err);

#endif
