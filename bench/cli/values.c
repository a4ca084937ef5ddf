// values.c - what flags and positional words accept, from the tables that parse it.
#include "bench/cli/values.h"

#include <stdio.h>
#include <string.h>

#include "base/home.h"
#include "base/str.h"
#include "bench/cli/args.h"
#include "bench/cli/completion.h"
#include "bench/cli/command.h"
#include "bench/quality/quality.h"
#include "bench/suite/names.h"
#include "bench/suite/options.h"
#include "engine/engine.h"

enum { TYPES_MAX = 32 };

// Adds each word of "a b" or "a,b" once.
static void add_split(const char *text, struct arena *arena, struct words *out)
{
    char *rest = NULL, *copy = arena_strdup(arena, text);
    for (char *one = copy ? strtok_r(copy, " ,", &rest) : NULL; one;
         one = strtok_r(NULL, " ,", &rest))
        words_add_new(out, one);
}

// ---- the program's commands -----------------------------------------------------------------------

static void add_commands(struct arena *arena, struct words *out)
{
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1))
        if (!strchr((*c)->name, ' '))
            words_add(out, (*c)->name);
    cli_groups(arena, out);
    words_add(out, "options");
}

static void add_second_words(struct arena *arena, struct words *out)
{
    (void)arena;
    for (const struct command *const *c = cli_shown(cli_commands); *c; c = cli_shown(c + 1)) {
        const char *space = strchr((*c)->name, ' ');
        if (space)
            words_add_new(out, space + 1);
    }
}

static void add_shells(struct arena *arena, struct words *out)
{
    (void)arena;
    for (const struct cli_shell *s = cli_shells; s->name; s++)
        words_add(out, s->name);
}

// ---- the engine's tables --------------------------------------------------------------------------

static void add_schemes(struct arena *arena, struct words *out)
{
    (void)arena;
    plan_add_schemes(out);
}

static void add_names(size_t (*names)(const char **out, size_t max), struct words *out)
{
    const char *found[TYPES_MAX];
    size_t count = names(found, TYPES_MAX);
    for (size_t i = 0; i < count; i++)
        words_add(out, found[i]);
}

static void add_quantize_schemes(struct arena *arena, struct words *out)
{
    (void)arena;
    add_names(checkpoint_quantize_schemes, out);
}

static void add_convert_types(struct arena *arena, struct words *out)
{
    (void)arena;
    add_names(checkpoint_convert_types, out);
}

static void add_conventions(struct arena *arena, struct words *out)
{
    (void)arena;
    for (const struct quality_convention *c = quality_conventions; c->name; c++)
        words_add(out, c->name);
}

static void add_devices(struct arena *arena, struct words *out)
{
    (void)arena;
    plan_add_devices(out);
}

void cli_values_tiers(enum device_kind kind, struct arena *arena, struct words *out)
{
    char tiers[128];
    add_split("ref", arena, out);
    add_split(device_isa_text(kind, ISA_ALL, tiers, sizeof tiers), arena, out);
    add_split("all", arena, out);
}

static void add_tiers(struct arena *arena, struct words *out)
{
    for (int kind = 0; kind < DEVICE_KINDS; kind++)
        cli_values_tiers((enum device_kind)kind, arena, out);
}

// ---- the program's own files ----------------------------------------------------------------------

static void add_shapes(struct arena *arena, struct words *out)
{
    words_add(out, "models/reference");
    home_names("models/shapes", ".json", false, arena, out);
}

static void add_reference(struct arena *arena, struct words *out)
{
    (void)arena;
    words_add(out, "models/reference");
}

static void add_suites(struct arena *arena, struct words *out)
{
    home_names("suites", ".conf", true, arena, out);
}

// ---- keys of --set --------------------------------------------------------------------------------

// The sections that --set creates: those of a suite without a name.
static const struct section_kind *next_section(const struct section_kind *kind)
{
    while (kind->name && (kind->named || !kind->in_suite))
        kind++;
    return kind;
}

static void add_keys(struct arena *arena, struct words *out)
{
    for (const struct section_kind *k = next_section(option_sections); k->name;
         k = next_section(k + 1))
        for (const struct option *o = option_table; o->key; o++) {
            char text[64];
            bool given = (o->sections & k->section) && !str_equal(o->key, "include");
            snprintf(text, sizeof text, "%s.%s=", k->name, o->key);
            char *word = given ? arena_strdup(arena, text) : NULL;
            if (word)
                words_add(out, word);
        }
}

void cli_values_of_key(const char *key, struct arena *arena, struct words *out, bool *list)
{
    const char *dot = strrchr(key, '.'), *scheme = "scheme", *device = "device";
    char name[64];
    *list = false;
    snprintf(name, sizeof name, "%.*s", dot ? (int)strcspn(dot + 1, "=") : 0, dot ? dot + 1 : "");
    for (const struct option *o = option_table; o->key; o++) {
        if (!str_equal(o->key, name) || !(o->sections & (SECTION_SUITE | SECTION_DEFAULTS)))
            continue;
        *list = o->type == OPTION_WORDS || o->type == OPTION_INTS;
        if (o->choices)
            add_split(o->choices, arena, out);
        else if (str_equal(o->key, scheme))
            add_schemes(arena, out);
        else if (str_equal(o->key, device))
            add_devices(arena, out);
        return;
    }
}

// ---- the rows -------------------------------------------------------------------------------------

#define WORDS(row, ...) const struct cli_values cli_values_##row = {.name = #row, __VA_ARGS__}

WORDS(command, .add = add_commands, .open = true);
WORDS(command_second, .add = add_second_words, .open = true);
WORDS(convention, .add = add_conventions);
WORDS(convert_type, .add = add_convert_types);
WORDS(device, .add = add_devices, .open = true);
WORDS(export_format, .words = "json csv");
WORDS(file, .paths = PATHS_FILES);
WORDS(folder, .paths = PATHS_FOLDERS);
WORDS(head, .key = "head");
WORDS(isa, .add = add_tiers, .list = true, .open = true);
WORDS(key, .add = add_keys, .keys = true, .open = true);
WORDS(kv, .key = "kv");
WORDS(model, .paths = PATHS_FILES, .add = add_shapes, .open = true);
WORDS(model_file, .paths = PATHS_FILES, .add = add_reference, .open = true);
WORDS(products, .key = "products");
WORDS(prompt, .words = "random text:", .open = true);
WORDS(quantize_scheme, .add = add_quantize_schemes);
WORDS(report_format, .key = "formats", .list = true);
WORDS(run, .words = "last", .open = true);
WORDS(scheme, .add = add_schemes);
WORDS(shell, .add = add_shells);
WORDS(step, .key = "step");
WORDS(suite, .paths = PATHS_FILES, .ending = ".conf", .add = add_suites, .open = true);

void cli_values_words(const struct cli_values *values, struct arena *arena, struct words *out)
{
    if (values->words)
        add_split(values->words, arena, out);
    if (values->add)
        values->add(arena, out);
    for (const struct option *o = option_table; values->key && o->key; o++)
        if (str_equal(o->key, values->key) && o->choices) {
            add_split(o->choices, arena, out);
            return;
        }
}

char *cli_values_hint(const struct cli_values *values, const char *word, char *out,
                      size_t out_bytes)
{
    struct arena arena = {0};
    struct words known = {0};
    cli_values_words(values, &arena, &known);
    words_hint(word, known.items, known.count, out, out_bytes);
    arena_fini(&arena);
    return out;
}
