// rules.c - parses `skip` and `link`, and matches cells with rules.
#include "bench/suite/rules.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/words.h"
#include "device/device.h"
#include "bench/suite/value.h"

static const struct {
    const char *name;
    bool number, linkable;
} axes[AXIS_COUNT] = {
    [AXIS_MODEL] = {"model", false, true},
    [AXIS_SCHEME] = {"scheme", false, true},
    [AXIS_DEVICE] = {"device", false, false}, // `auto` is as many as the machine has
    [AXIS_THREADS] = {"threads", true, true},
    [AXIS_HEAD] = {"head", false, true},
    [AXIS_KV] = {"kv", false, true},
    [AXIS_STEP] = {"step", false, true},
    [AXIS_PRODUCTS] = {"products", false, true},
    [AXIS_CHUNK] = {"chunk", true, true},
    [AXIS_BATCH] = {"batch", true, true},
    [AXIS_CONTEXT] = {"context", true, true},
    [AXIS_GEN] = {"gen", true, true},
};

const char *axis_name(enum axis axis)
{
    return axes[axis].name;
}

bool axis_is_number(enum axis axis)
{
    return axes[axis].number;
}

static bool axis_find(const char *text, size_t length, enum axis *out)
{
    for (int i = 0; i < AXIS_COUNT; i++) {
        if (strlen(axes[i].name) == length && strncmp(axes[i].name, text, length) == 0) {
            *out = (enum axis)i;
            return true;
        }
    }
    return false;
}

static enum status unknown_axis(const char *name, struct error *err)
{
    const char *names[AXIS_COUNT];
    for (int i = 0; i < AXIS_COUNT; i++)
        names[i] = axes[i].name;
    char hint[WORDS_HINT_BYTES];
    return FAIL(err, ERR_USAGE, "unknown key '%s'%s", name,
                words_hint(name, names, AXIS_COUNT, hint, sizeof hint));
}

// ---- skip ---------------------------------------------------------------------------------------

static const char *skip_blanks(const char *text)
{
    return text + strspn(text, " \t");
}

static size_t word_length(const char *text)
{
    size_t length = 0;
    while (isalnum((unsigned char)text[length]) || (text[length] && strchr("._-:*?", text[length])))
        length++;
    return length;
}

static char *copy_word(struct arena *arena, const char **text)
{
    size_t length = word_length(*text);
    char *word = arena_alloc(arena, length + 1, 1);
    if (word)
        memcpy(word, *text, length);
    *text = skip_blanks(*text + length);
    return word;
}

static bool read_op(const char **text, enum rule_op *op)
{
    static const struct {
        const char *text;
        enum rule_op op;
    } ops[] = {{"<=", RULE_LE}, {">=", RULE_GE}, {"!=", RULE_NE},
               {"<", RULE_LT},  {">", RULE_GT},  {"=", RULE_EQ}};
    for (size_t i = 0; i < sizeof ops / sizeof *ops; i++) {
        if (str_starts(*text, ops[i].text)) {
            *op = ops[i].op;
            *text = skip_blanks(*text + strlen(ops[i].text));
            return true;
        }
    }
    return false;
}

static enum status read_operand(const char **text, struct arena *arena, struct rule_term *term,
                                struct error *err)
{
    char *word = copy_word(arena, text);
    if (!word)
        return FAIL(err, ERR_NOMEM, "no memory for a rule");
    const char *axis = axes[term->axis].name;
    if (axes[term->axis].number) {
        int64_t number = 0;
        if (!str_to_i64(word, &number) || number < 0 || number > INT32_MAX)
            return FAIL(err, ERR_USAGE, "'%s' is compared with a number, not with '%s'", axis,
                        word);
        term->number = (int)number;
    } else if (!*word) {
        return FAIL(err, ERR_USAGE, "'%s' is compared with nothing", axis);
    } else if (term->op != RULE_EQ && term->op != RULE_NE) {
        return FAIL(err, ERR_USAGE, "'%s' is a word: only = and != compare it", axis);
    }
    term->word = word;
    return OK;
}

// Reads one term at *text. `device`: it follows '@'.
static enum status read_term(const char **text, bool device, struct arena *arena,
                             struct rule_term *term, struct error *err)
{
    *term = (struct rule_term){.axis = device ? AXIS_DEVICE : AXIS_ANY, .op = RULE_EQ};
    char *word = copy_word(arena, text);
    if (!word)
        return FAIL(err, ERR_NOMEM, "no memory for a rule");
    if (!*word)
        return **text ? FAIL(err, ERR_USAGE, "a term is missing before '%s'", *text)
                      : FAIL(err, ERR_USAGE, "a term is missing at its end");
    term->word = word;
    if (device || !read_op(text, &term->op))
        return OK;
    if (!axis_find(word, strlen(word), &term->axis))
        return unknown_axis(word, err);
    return read_operand(text, arena, term, err);
}

static enum status read_rule(const char *text, struct arena *arena, struct rule *rule,
                             struct error *err)
{
    *rule = (struct rule){.text = text};
    bool device = false;
    for (const char *at = skip_blanks(text);;) {
        if (rule->term_count == RULE_TERMS_MAX)
            return FAIL(err, ERR_USAGE, "rule '%s': more than %d terms", text, RULE_TERMS_MAX);
        if (read_term(&at, device, arena, &rule->terms[rule->term_count++], err) != OK)
            return error_context(err, "rule '%s'", text);
        if (!*at)
            return OK;
        if (*at != '&' && *at != '@')
            return FAIL(err, ERR_USAGE, "rule '%s': '&' or '@' expected before '%s'", text, at);
        device = *at == '@';
        at = skip_blanks(at + 1);
    }
}

enum status rules_parse(const char *text, struct arena *arena, struct rule_list *out,
                        struct error *err)
{
    struct word_list texts;
    TRY(value_words(text, arena, &texts, err));
    if (texts.count > RULES_MAX)
        return FAIL(err, ERR_USAGE, "more than %d rules", RULES_MAX);
    out->items = arena_alloc(arena, texts.count, sizeof *out->items);
    if (!out->items)
        return FAIL(err, ERR_NOMEM, "no memory for rules");
    out->count = texts.count;
    for (size_t i = 0; i < texts.count; i++)
        TRY(read_rule(texts.items[i], arena, &out->items[i], err));
    return OK;
}

// "cuda" matches every cuda:N.
static bool device_matches(const char *pattern, const char *device)
{
    return str_glob(pattern, device) || device_word_matches(device, pattern);
}

static bool word_matches(enum axis axis, const char *word, const struct point *point)
{
    if (axis == AXIS_DEVICE)
        return device_matches(word, point->word[AXIS_DEVICE]);
    if (axis != AXIS_ANY)
        return str_glob(word, point->word[axis]);
    return str_glob(word, point->word[AXIS_MODEL]) || str_glob(word, point->word[AXIS_SCHEME]) ||
           device_matches(word, point->word[AXIS_DEVICE]);
}

static bool term_matches(const struct rule_term *term, const struct point *point)
{
    if (term->axis == AXIS_ANY || !axes[term->axis].number)
        return word_matches(term->axis, term->word, point) == (term->op == RULE_EQ);
    int number = point->number[term->axis];
    switch (term->op) {
    case RULE_EQ:
        return number == term->number;
    case RULE_NE:
        return number != term->number;
    case RULE_LT:
        return number < term->number;
    case RULE_LE:
        return number <= term->number;
    case RULE_GT:
        return number > term->number;
    case RULE_GE:
        return number >= term->number;
    }
    return false;
}

const struct rule *rules_match(const struct rule_list *rules, const struct point *point)
{
    for (size_t i = 0; i < rules->count; i++) {
        const struct rule *rule = &rules->items[i];
        int term = 0;
        while (term < rule->term_count && term_matches(&rule->terms[term], point))
            term++;
        if (term == rule->term_count)
            return rule;
    }
    return NULL;
}

// ---- link ---------------------------------------------------------------------------------------

void links_none(struct link_list *out)
{
    for (int i = 0; i < AXIS_COUNT; i++)
        out->leader[i] = (enum axis)i;
}

static enum status read_link(const char *text, struct link_list *out, struct error *err)
{
    enum axis group[AXIS_COUNT], first = AXIS_COUNT;
    int count = 0;
    for (const char *at = skip_blanks(text); *at; at = skip_blanks(at)) {
        char name[32];
        size_t length = strcspn(at, " \t");
        snprintf(name, sizeof name, "%.*s", (int)length, at);
        enum axis axis;
        if (!axis_find(at, length, &axis))
            return unknown_axis(name, err);
        if (!axes[axis].linkable)
            return FAIL(err, ERR_USAGE, "'%s' cannot be linked", name);
        for (int i = 0; i < count; i++)
            if (group[i] == axis)
                return FAIL(err, ERR_USAGE, "'%s' is listed twice", name);
        for (int i = 0; i < AXIS_COUNT; i++)
            if (out->leader[i] != (enum axis)i && ((enum axis)i == axis || out->leader[i] == axis))
                return FAIL(err, ERR_USAGE, "'%s' is linked twice", name);
        group[count++] = axis;
        first = axis < first ? axis : first;
        at += length;
    }
    if (count < 2)
        return FAIL(err, ERR_USAGE, "'%s' links fewer than two keys", text);
    for (int i = 0; i < count; i++)
        out->leader[group[i]] = first;
    return OK;
}

enum status links_parse(const char *text, struct arena *arena, struct link_list *out,
                        struct error *err)
{
    struct word_list texts;
    links_none(out);
    TRY(value_words(text, arena, &texts, err));
    for (size_t i = 0; i < texts.count; i++)
        TRY(read_link(texts.items[i], out, err));
    return OK;
}
