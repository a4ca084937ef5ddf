// names.c - checks the names in a suite; errors have file, line and the nearest known name.
#include "bench/suite/names.h"

#include <string.h>

static void add_models(struct words *names, const struct suite *suite)
{
    for (size_t i = 0; i < suite->model_count; i++)
        words_add(names, suite->models[i].name);
}

void plan_add_schemes(struct words *names)
{
    size_t count = 0;
    const struct scheme *schemes = scheme_table(&count);
    for (size_t i = 0; i < count; i++)
        words_add(names, schemes[i].name);
}

void plan_add_devices(struct words *names)
{
    const char *const *words;
    size_t count = device_words(&words);
    for (size_t i = 0; i < count; i++)
        words_add(names, words[i]);
}

static bool is_scheme(const char *word)
{
    return scheme_find(word) || scheme_is_planned(word);
}

static bool is_model(const struct suite *suite, const char *word)
{
    for (size_t i = 0; i < suite->model_count; i++)
        if (strcmp(suite->models[i].name, word) == 0)
            return true;
    return false;
}

const struct plan_model *plan_model_find(const struct plan *plan, const char *label)
{
    for (size_t i = 0; i < plan->model_count; i++)
        if (strcmp(plan->models[i].label, label) == 0)
            return &plan->models[i];
    return NULL;
}

static enum status unknown(const char *place, const char *kind, const char *word,
                           const struct words *names, struct error *err)
{
    char hint[WORDS_HINT_BYTES];
    return FAIL(err, ERR_USAGE, "%s: unknown %s '%s'%s", place, kind, word,
                words_hint(word, names->items, names->count, hint, sizeof hint));
}

static enum status check_axis(const struct suite *suite, const char *place, enum axis axis,
                              const char *word, struct error *err)
{
    struct words names = {0};
    if (axis == AXIS_MODEL && !is_model(suite, word)) {
        add_models(&names, suite);
        return unknown(place, "model", word, &names, err);
    }
    if (axis == AXIS_SCHEME && !is_scheme(word)) {
        plan_add_schemes(&names);
        return unknown(place, "scheme", word, &names, err);
    }
    if (axis == AXIS_DEVICE && !device_word_known(word)) {
        plan_add_devices(&names);
        return unknown(place, "device", word, &names, err);
    }
    if (axis == AXIS_ANY && !is_model(suite, word) && !is_scheme(word) &&
        !device_word_known(word)) {
        add_models(&names, suite);
        plan_add_schemes(&names);
        plan_add_devices(&names);
        return unknown(place, "model, scheme or device", word, &names, err);
    }
    return OK;
}

static enum status check_rules(const struct suite *suite, const char *section,
                               const struct suite_sweep *sweep, struct error *err)
{
    char place[SUITE_PLACE_BYTES];
    suite_place(suite, section, "skip", place);
    for (size_t i = 0; i < sweep->skip.count; i++) {
        const struct rule *rule = &sweep->skip.items[i];
        for (int t = 0; t < rule->term_count; t++) {
            const struct rule_term *term = &rule->terms[t];
            if (term->word && !strpbrk(term->word, "*?"))
                TRY(check_axis(suite, place, term->axis, term->word, err));
        }
    }
    return OK;
}

enum status plan_names_check(const struct suite *suite, const char *section,
                             const struct suite_sweep *sweep, struct error *err)
{
    char place[SUITE_PLACE_BYTES];
    suite_place(suite, section, "model", place);
    for (size_t i = 0; i < sweep->model.count; i++)
        TRY(check_axis(suite, place, AXIS_MODEL, sweep->model.items[i], err));
    suite_place(suite, section, "scheme", place);
    for (size_t i = 0; i < sweep->scheme.count; i++)
        TRY(check_axis(suite, place, AXIS_SCHEME, sweep->scheme.items[i], err));
    suite_place(suite, section, "device", place);
    for (size_t i = 0; i < sweep->device.count; i++)
        if (strcmp(sweep->device.items[i], "auto") != 0)
            TRY(check_axis(suite, place, AXIS_DEVICE, sweep->device.items[i], err));
    return check_rules(suite, section, sweep, err);
}
