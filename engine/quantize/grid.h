// grid.h - the exponents of AWQ's scales, mean|x|^alpha, and the walk over them.
#ifndef ENGINE_QUANTIZE_GRID_H
#define ENGINE_QUANTIZE_GRID_H

#include "base/status.h"

enum { AWQ_ALPHAS = 20 }; // alpha = 0, 1/20 .. 1, told by their numerators; 0: no scale

struct grid_best {
    double loss;
    int alpha;
};
typedef enum status grid_try(void *user, int alpha, double *loss, struct error *err);

// Every second alpha, then both neighbours of the best. best: comes with the loss of alpha 0, which is not
// tried again; of equals the one tried first stays. Errors: those of `try`, which end it.
enum status awq_grid_search(grid_try *try, void *user, struct grid_best *best, struct error *err);

#endif
