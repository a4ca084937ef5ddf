// route.h - chooses the experts of each token, and groups the tokens of a pass by expert.
//
// Grouping makes an expert's tokens consecutive slots, so that a pass reads each chosen expert's weights once. Slots
// of one expert keep the order of their tokens, and experts come in rising order. A token's experts are therefore
// always added up in the same order, whatever else is in the pass.
#ifndef ENGINE_MODEL_ROUTE_H
#define ENGINE_MODEL_ROUTE_H

#include <stdbool.h>

/* Chooses the `used` experts with the highest scores, best first; ties go to the lower number.
 * scores: (experts) outputs of the router; shares: their softmax over all experts in f32. When renormed, the chosen
 * shares are scaled to a sum of 1, which equals a softmax over the chosen scores alone
 * Requires: 1 <= used <= experts. A NaN is never chosen before a number. */
void route_choose(const float *scores, int experts, int used, bool renormed, int *chosen,
                  float *shares);

// Slots by expert: those of expert e are [first[e], first[e + 1]).
struct route_groups {
    int *first;   // (experts + 1)
    int *token;   // (tokens * used) token of each slot
    float *share; // (tokens * used) share of each slot
};
// chosen, shares: (tokens, used) as route_choose left them.
void route_group(const int *chosen, const float *shares, int tokens, int used, int experts,
                 struct route_groups *out);

#endif
