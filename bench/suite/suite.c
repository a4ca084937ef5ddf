// suite.c - parses merged entries into the structs of suite.h, through the option table.
#include "bench/suite/suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/home.h"
#include "base/str.h"
#include "bench/suite/sources.h"

static enum status no_memory(struct error *err)
{
    return FAIL(err, ERR_NOMEM, "no memory for the suite");
}

static enum status apply(struct suite *suite, const struct suite_entry *entry, void *base,
                         struct error *err)
{
    if (!entry->option)
        return OK;
    if (option_parse(entry->option, entry->value, &suite->arena, base, err) != OK)
        return entry->file ? error_context(err, "%s: %s", entry->where, entry->option->key)
                           : error_context(err, "%s", entry->where);
    return OK;
}

// Parses all entries of one kind (and name) into the struct at `base`.
static enum status apply_section(struct suite *suite, enum section section, const char *name,
                                 void *base, struct error *err)
{
    for (size_t i = 0; i < suite->entry_count; i++) {
        const struct suite_entry *entry = &suite->entries[i];
        if (entry->kind->section == section && str_equal(entry->name, name))
            TRY(apply(suite, entry, base, err));
    }
    return OK;
}

static size_t count_sections(const struct suite *suite, enum section section)
{
    size_t count = 0;
    for (size_t i = 0; i < suite->entry_count; i++)
        count += suite->entries[i].kind->section == section && !suite->entries[i].option;
    return count;
}

static enum status make_model(struct suite *suite, const struct suite_entry *header,
                              struct error *err)
{
    struct suite_model *model = &suite->models[suite->model_count++];
    model->name = header->name;
    TRY(options_default(SECTION_MODEL, &suite->arena, model, err));
    TRY(apply_section(suite, SECTION_MODEL, header->name, model, err));
    if (!model->path == !model->shape)
        return FAIL(err, ERR_USAGE, "%s: [%s] needs %s", header->where, header->section,
                    model->path ? "either path or shape, not both" : "a path or a shape");
    return OK;
}

static enum status make_sweep(struct suite *suite, const struct suite_entry *header,
                              struct error *err)
{
    struct suite_sweep *sweep = &suite->sweeps[suite->sweep_count++];
    *sweep = suite->defaults;
    sweep->name = header->name;
    return apply_section(suite, SECTION_SWEEP, header->name, sweep, err);
}

static enum status make_sections(struct suite *suite, struct error *err)
{
    suite->models =
        arena_alloc(&suite->arena, count_sections(suite, SECTION_MODEL) + 1, sizeof *suite->models);
    suite->sweeps =
        arena_alloc(&suite->arena, count_sections(suite, SECTION_SWEEP) + 1, sizeof *suite->sweeps);
    if (!suite->models || !suite->sweeps)
        return no_memory(err);
    for (size_t i = 0; i < suite->entry_count; i++) {
        const struct suite_entry *header = &suite->entries[i];
        if (header->option)
            continue;
        if (header->kind->section == SECTION_MODEL)
            TRY(make_model(suite, header, err));
        if (header->kind->section == SECTION_SWEEP)
            TRY(make_sweep(suite, header, err));
    }
    if (suite->path && !suite->sweep_count)
        return FAIL(err, ERR_USAGE, "%s: no [sweep NAME] section: nothing to measure", suite->path);
    if (suite->path && !suite->model_count)
        return FAIL(err, ERR_USAGE, "%s: no [model NAME] section: nothing to measure", suite->path);
    return OK;
}

static enum status default_name(struct suite *suite, struct error *err)
{
    if (suite->header.name || !suite->path)
        return OK;
    const char *slash = strrchr(suite->path, '/');
    char *name = arena_strdup(&suite->arena, slash ? slash + 1 : suite->path);
    if (!name)
        return no_memory(err);
    char *dot = strrchr(name, '.');
    if (dot && dot != name)
        *dot = '\0';
    suite->header.name = name;
    return OK;
}

// Makes the text that describes the run without the files it came from. Sections that only bench.conf may have describe
// the machine and are omitted.
static enum status make_text(struct suite *suite, struct error *err)
{
    struct str text = {0};
    for (size_t i = 0; i < suite->entry_count; i++) {
        const struct suite_entry *header = &suite->entries[i];
        if (header->option || !header->kind->in_suite)
            continue;
        str_printf(&text, "%s[%s]\n", text.length ? "\n" : "", header->section);
        for (size_t k = 0; k < suite->entry_count; k++) {
            const struct suite_entry *entry = &suite->entries[k];
            if (entry->option && strcmp(entry->section, header->section) == 0)
                str_printf(&text, "%s = %s\n", entry->option->key, entry->value);
        }
    }
    suite->text = text.failed ? NULL : arena_strdup(&suite->arena, str_text(&text));
    str_fini(&text);
    return suite->text ? OK : no_memory(err);
}

static enum status load(const struct suite_sources *sources, struct suite *suite, struct error *err)
{
    struct arena *arena = &suite->arena;
    struct entry_list entries = {0};
    TRY(suite_sources_merge(sources, arena, &entries, err));
    suite->entries = entries.items;
    suite->entry_count = entries.count;
    if (sources->suite_path) {
        suite->path = arena_strdup(arena, sources->suite_path);
        if (!suite->path)
            return no_memory(err);
    }
    TRY(options_default(SECTION_DEFAULTS, arena, &suite->defaults, err));
    TRY(options_default(SECTION_REPORT, arena, &suite->report, err));
    TRY(apply_section(suite, SECTION_BENCH, NULL, &suite->bench, err));
    TRY(apply_section(suite, SECTION_SUITE, NULL, &suite->header, err));
    TRY(apply_section(suite, SECTION_DEFAULTS, NULL, &suite->defaults, err));
    TRY(apply_section(suite, SECTION_REPORT, NULL, &suite->report, err));
    TRY(make_sections(suite, err));
    TRY(default_name(suite, err));
    return make_text(suite, err);
}

enum status suite_load(const struct suite_sources *sources, struct suite *out, struct error *err)
{
    memset(out, 0, sizeof *out);
    enum status status = load(sources, out, err);
    if (status != OK)
        suite_fini(out);
    return status;
}

void suite_fini(struct suite *suite)
{
    arena_fini(&suite->arena);
    memset(suite, 0, sizeof *suite);
}

static const struct suite_entry *find_entry(const struct suite *suite, const char *section,
                                            const char *key)
{
    for (size_t i = 0; i < suite->entry_count; i++) {
        const struct suite_entry *entry = &suite->entries[i];
        const char *entry_key = entry->option ? entry->option->key : NULL;
        if (strcmp(entry->section, section) == 0 && str_equal(entry_key, key))
            return entry;
    }
    return NULL;
}

// The entry that set a key of this section, perhaps in [defaults]; else the section's header, or NULL.
static const struct suite_entry *entry_of(const struct suite *suite, const char *section,
                                          const char *key)
{
    const struct suite_entry *entry = find_entry(suite, section, key);
    if (!entry && str_starts(section, "sweep "))
        entry = find_entry(suite, "defaults", key);
    return entry ? entry : find_entry(suite, section, NULL);
}

const char *suite_where(const struct suite *suite, const char *section, const char *key)
{
    const struct suite_entry *entry = entry_of(suite, section, key);
    return entry ? entry->where : suite->path ? suite->path : "bench.conf";
}

// A key that no file set: by a flag or --set, whose place names it.
static bool is_given(const struct suite_entry *entry)
{
    return entry && entry->option && !entry->file;
}

bool suite_key_given(const struct suite *suite, const char *section, const char *key)
{
    const struct suite_entry *entry = entry_of(suite, section, key);
    return is_given(entry) && !str_equal(entry->value, entry->option->fallback);
}

char *suite_place(const struct suite *suite, const char *section, const char *key,
                  char out[SUITE_PLACE_BYTES])
{
    bool named = is_given(entry_of(suite, section, key));
    snprintf(out, SUITE_PLACE_BYTES, "%s%s%s", suite_where(suite, section, key), named ? "" : ": ",
             named ? "" : key);
    return out;
}

static bool exists(const char *path)
{
    return file_exists(path) || file_is_dir(path);
}

const char *suite_find_file(struct suite *suite, const char *section, const char *key,
                            const char *name)
{
    const struct suite_entry *entry = find_entry(suite, section, key);
    const char *path = suite_path_next_to(&suite->arena, entry ? entry->file : NULL, name);
    if (path && exists(path))
        return path;
    if (name[0] == '/')
        return NULL;
    if (exists(name))
        return arena_strdup(&suite->arena, name);
    char *found = home_find(name);
    path = found ? arena_strdup(&suite->arena, found) : NULL;
    free(found);
    return path;
}

char *suite_config_path(void)
{
    const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    struct str path = {0};
    if (config && config[0] == '/')
        str_printf(&path, "%s/ridge/bench.conf", config);
    else if (home && home[0])
        str_printf(&path, "%s/.config/ridge/bench.conf", home);
    char *text = str_take(&path);
    if (text && *text && file_exists(text))
        return text;
    free(text);
    return home_find("bench.conf");
}
