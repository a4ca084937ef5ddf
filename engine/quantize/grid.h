// grid.h - the search over exponents of AWQ's scales, mean|x|^alpha.
#ifndef ENGINE_QUANTIZE_GRID_H
#define ENGINE_QUANTIZE_GRID_H

#include "base/status.h"

enum { AWQ_ALPHAS = 20 }; // alpha = 0, 1/20 .. 1, given by its numerator; 0: no scale

struct grid_best {
    double loss;
    int alpha;
};
typedef enum status grid_try(void *user, int alpha, double *loss, struct error *err);

// Tries every second alpha, then both neighbours of the best. best: the caller sets it to the loss of alpha 0, which
// is not tried again. Among equals the first tried wins. Errors: those of `try`, which end the search.
enum status awq_grid_search(grid_try *try, void *user, struct grid_best *best, struct error *err);

#endif
