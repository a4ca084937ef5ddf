// grid.c - a coarse search over the exponents, then the neighbours of the best.
#include "engine/quantize/grid.h"

enum { COARSE = 2 };

static enum status look(grid_try *try, void *user, int alpha, struct grid_best *best,
                        struct error *err)
{
    double loss;
    if (alpha < 0 || alpha > AWQ_ALPHAS)
        return OK;
    TRY(try(user, alpha, &loss, err));
    if (loss < best->loss)
        *best = (struct grid_best){loss, alpha};
    return OK;
}

enum status awq_grid_search(grid_try *try, void *user, struct grid_best *best, struct error *err)
{
    best->alpha = 0;
    for (int alpha = COARSE; alpha <= AWQ_ALPHAS; alpha += COARSE)
        TRY(look(try, user, alpha, best, err));
    int middle = best->alpha;
    TRY(look(try, user, middle - 1, best, err));
    return look(try, user, middle + 1, best, err);
}
