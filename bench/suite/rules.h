// rules.h - `skip` and `link`: which points of the cross product are skipped, and which keys vary together.
//
// skip = RULE, RULE, ...     a cell that matches any rule is skipped
// RULE = TERM & TERM ...     it matches when all its terms do; `A @ B` is `A & device = B`
// TERM = WORD                a model, a scheme or a device; "cuda" is any cuda:N; * and ? are wild
//      | AXIS = WORD         also !=; AXIS: model, scheme, device, kv, step
//      | AXIS OP NUMBER      AXIS: batch, context, gen, threads, chunk; OP: = != < <= > >=
//
// link = AXIS AXIS ..., ...  the listed keys take their values in parallel (first with first, ...), not in all
//                            combinations; their lists have the same length
#ifndef BENCH_SUITE_RULES_H
#define BENCH_SUITE_RULES_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arena.h"
#include "base/status.h"

// The axes that a sweep varies, in the order of the plan: the last varies fastest.
enum axis {
    AXIS_MODEL,
    AXIS_SCHEME,
    AXIS_DEVICE,
    AXIS_THREADS,
    AXIS_HEAD,
    AXIS_KV,
    AXIS_STEP,
    AXIS_PRODUCTS,
    AXIS_CHUNK,
    AXIS_BATCH,
    AXIS_CONTEXT,
    AXIS_GEN,
    AXIS_COUNT,
    AXIS_ANY = AXIS_COUNT, // a bare word in a rule
};
const char *axis_name(enum axis axis); // also the key of the option
bool axis_is_number(enum axis axis);

enum rule_op { RULE_EQ, RULE_NE, RULE_LT, RULE_LE, RULE_GT, RULE_GE };

enum { RULE_TERMS_MAX = 8, RULES_MAX = 32 };

struct rule_term {
    enum axis axis;
    enum rule_op op;
    const char *word; // for word axes
    int number;       // for number axes
};
struct rule {
    const char *text;
    struct rule_term terms[RULE_TERMS_MAX];
    int term_count;
};
struct rule_list {
    struct rule *items;
    size_t count;
};

// One point: words for the word axes, numbers for the others.
struct point {
    const char *word[AXIS_COUNT];
    int number[AXIS_COUNT];
};

// leader[axis] is the first axis of the group linked with `axis`, or `axis` itself if it is not linked.
struct link_list {
    enum axis leader[AXIS_COUNT];
};

// text: the value of `skip`, rules with commas between them. What *out points to lives in the arena.
// Errors: ERR_USAGE with the rule and what is accepted there; ERR_NOMEM.
enum status rules_parse(const char *text, struct arena *arena, struct rule_list *out,
                        struct error *err);
// The first rule that matches, or NULL.
const struct rule *rules_match(const struct rule_list *rules, const struct point *point);

// No axis is linked. links_parse: the value of `link`. Errors: ERR_USAGE with the group and what is accepted.
void links_none(struct link_list *out);
enum status links_parse(const char *text, struct arena *arena, struct link_list *out,
                        struct error *err);

#endif
