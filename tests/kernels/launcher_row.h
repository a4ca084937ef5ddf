// launcher_row.h - a row of the registry around a launcher of a test, and the words that its check must say.
#ifndef TESTS_KERNELS_LAUNCHER_ROW_H
#define TESTS_KERNELS_LAUNCHER_ROW_H

#include "kernels/kernels.h"

struct launcher_row {
    struct kernel kernel;
    const char *reason; // NULL: the launcher is right
};

#define LAUNCHER_ROW(kind, op_, w_, x_, function, words)                                           \
    {                                                                                              \
        .kernel = {.name = #function,                                                              \
                   .op = (op_),                                                                    \
                   .w = (w_),                                                                      \
                   .x = (x_),                                                                      \
                   .where = DEVICE_CUDA,                                                           \
                   .fn.cuda.kind = (function)},                                                    \
        .reason = (words),                                                                         \
    }

#endif
