// sources.c - merges bench.conf, includes, suite, given keys and --set into one list: the later one wins, key by key.
#include "bench/suite/sources.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/str.h"
#include "base/words.h"
#include "bench/suite/ini.h"

struct merging {
    struct arena *arena;
    struct entry_list *out;
    const char *open[INCLUDES_MAX];  // real paths of the files being read, outermost first
    const char *shown[INCLUDES_MAX]; // the same, as the user named them
    size_t open_count;
    const char *done[INCLUDES_MAX]; // real paths of included files already merged
    size_t done_count;
    bool config; // reading bench.conf
    struct error *err;
};

const char *suite_path_next_to(struct arena *arena, const char *base, const char *name)
{
    const char *slash = base ? strrchr(base, '/') : NULL;
    if (name[0] == '/' || !slash)
        return arena_strdup(arena, name);
    size_t dir = (size_t)(slash - base) + 1, length = strlen(name) + 1;
    char *path = arena_alloc(arena, dir + length, 1);
    if (!path)
        return NULL;
    memcpy(path, base, dir);
    memcpy(path + dir, name, length);
    return path;
}

static enum status no_memory(struct error *err)
{
    return FAIL(err, ERR_NOMEM, "no memory for the suite");
}

// ---- ${NAME} and ${NAME:-default} ---------------------------------------------------------------

static enum status append_variable(struct str *out, const char *text, size_t length,
                                   const char *where, struct error *err)
{
    char name[INI_LINE_MAX + 1];
    size_t name_length = 0;
    while (name_length < length &&
           (isalnum((unsigned char)text[name_length]) || text[name_length] == '_'))
        name_length++;
    const char *fallback = NULL;
    if (length - name_length >= 2 && strncmp(text + name_length, ":-", 2) == 0)
        fallback = text + name_length + 2;
    if (!name_length || name_length >= sizeof name || (!fallback && name_length < length))
        return FAIL(err, ERR_USAGE, "%s: '${%.*s}' is neither ${NAME} nor ${NAME:-default}", where,
                    (int)length, text);
    snprintf(name, sizeof name, "%.*s", (int)name_length, text);
    const char *value = getenv(name);
    if (value && (*value || !fallback))
        str_append(out, value);
    else if (fallback)
        str_append_bytes(out, fallback, (size_t)(text + length - fallback));
    else
        return FAIL(err, ERR_USAGE, "%s: the environment has no %s (${%s:-default} gives one)",
                    where, name, name);
    return OK;
}

static enum status fill_variables(struct merging *m, const char *value, const char *where,
                                  const char **out)
{
    struct str text = {0};
    while (*value && m->err->code == OK) {
        const char *dollar = strstr(value, "${");
        if (!dollar) {
            str_append(&text, value);
            break;
        }
        const char *close = strchr(dollar, '}'), *inner = strstr(dollar + 2, "${");
        str_append_bytes(&text, value, (size_t)(dollar - value));
        if (!close) {
            FAIL(m->err, ERR_USAGE, "%s: '${' without '}'", where);
            break;
        }
        if (inner && inner < close) {
            FAIL(m->err, ERR_USAGE,
                 "%s: '%.*s}' has a variable within a variable: ${NAME} or ${NAME:-default}, with "
                 "a plain default, are accepted",
                 where, (int)(close - dollar), dollar);
            break;
        }
        append_variable(&text, dollar + 2, (size_t)(close - dollar - 2), where, m->err);
        value = close + 1;
    }
    *out = arena_strdup(m->arena, str_text(&text));
    if (!*out || text.failed)
        no_memory(m->err);
    str_fini(&text);
    return m->err->code;
}

// ---- sections and keys --------------------------------------------------------------------------

static enum status unknown_section(struct merging *m, const char *section, const char *where)
{
    struct words known = {0};
    char kind[INI_NAME_MAX + 1], hint[WORDS_HINT_BYTES];
    snprintf(kind, sizeof kind, "%.*s", (int)strcspn(section, " "), section);
    for (const struct section_kind *k = option_sections; k->name; k++)
        if (m->config ? k->in_config : k->in_suite)
            words_add(&known, k->name);
    for (const struct section_kind *k = option_sections; k->name; k++)
        if (strcmp(k->name, kind) == 0)
            return FAIL(m->err, ERR_USAGE, "%s: [%s] belongs in %s, not in %s", where, kind,
                        m->config ? "suites" : "bench.conf", m->config ? "bench.conf" : "suites");
    return FAIL(m->err, ERR_USAGE, "%s: unknown section [%s]%s", where, section,
                words_hint(kind, known.items, known.count, hint, sizeof hint));
}

// Names of models and sweeps appear in labels, rules and --set: no blanks, no operators.
static bool good_name(const char *name)
{
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && !strchr("._-", *name))
            return false;
    return true;
}

static enum status classify(struct merging *m, const char *section, const char *where,
                            struct suite_entry *entry)
{
    size_t length = strcspn(section, " ");
    const struct section_kind *kind = option_sections;
    while (kind->name && (strlen(kind->name) != length || strncmp(kind->name, section, length)))
        kind++;
    if (!kind->name || !(m->config ? kind->in_config : kind->in_suite))
        return unknown_section(m, section, where);
    const char *name = section[length] ? section + length + 1 : NULL;
    if (kind->named && !name)
        return FAIL(m->err, ERR_USAGE, "%s: [%s] needs a name: [%s NAME]", where, section, section);
    if (!kind->named && name)
        return FAIL(m->err, ERR_USAGE, "%s: [%s] takes no name", where, kind->name);
    if (name && !good_name(name))
        return FAIL(m->err, ERR_USAGE,
                    "%s: [%s]: a name has letters, digits, '.', '_' and '-' only", where, section);
    entry->section = section;
    entry->kind = kind;
    entry->name = name;
    entry->where = where;
    return OK;
}

static enum status find_option(struct merging *m, struct suite_entry *entry, const char *key)
{
    entry->option = option_find(entry->kind->section, key);
    if (entry->option)
        return OK;
    char hint[WORDS_HINT_BYTES];
    return FAIL(m->err, ERR_USAGE, "%s: unknown key '%s' in [%s]%s", entry->where, key,
                entry->section, option_hint(entry->kind->section, key, hint, sizeof hint));
}

static enum status put(struct merging *m, const struct suite_entry *entry)
{
    for (size_t i = 0; i < m->out->count; i++) {
        struct suite_entry *known = &m->out->items[i];
        if (known->option == entry->option && strcmp(known->section, entry->section) == 0) {
            *known = *entry;
            return OK;
        }
    }
    if (m->out->count == ENTRIES_MAX)
        return FAIL(m->err, ERR_USAGE, "%s: more than %d keys in all files", entry->where,
                    ENTRIES_MAX);
    m->out->items[m->out->count++] = *entry;
    return OK;
}

static const char *place(struct merging *m, const char *file, int line)
{
    struct str text = {0};
    str_printf(&text, "%s:%d", file, line);
    const char *where = text.failed ? NULL : arena_strdup(m->arena, text.data);
    str_fini(&text);
    return where;
}

static bool is_include(const struct ini_entry *e)
{
    return e->key && strcmp(e->section, "suite") == 0 && strcmp(e->key, "include") == 0;
}

static enum status merge_file(struct merging *m, const char *path, const char *from);

static enum status merge_includes(struct merging *m, const char *path, const char *value,
                                  const char *where)
{
    struct word_list names;
    if (fill_variables(m, value, where, &value) != OK)
        return m->err->code;
    if (value_words(value, m->arena, &names, m->err) != OK)
        return error_context(m->err, "%s: include", where);
    for (size_t i = 0; i < names.count; i++) {
        const char *included = suite_path_next_to(m->arena, path, names.items[i]);
        if (!included)
            return no_memory(m->err);
        TRY(merge_file(m, included, where));
    }
    return OK;
}

static enum status merge_entries(struct merging *m, const struct ini_file *file)
{
    for (size_t i = 0; i < file->count; i++) {
        const struct ini_entry *raw = &file->entries[i];
        struct suite_entry entry = {.file = file->path};
        const char *where = place(m, file->path, raw->line);
        if (!where)
            return no_memory(m->err);
        TRY(classify(m, raw->section, where, &entry));
        if (is_include(raw))
            continue;
        if (raw->key) {
            TRY(find_option(m, &entry, raw->key));
            TRY(fill_variables(m, raw->value, where, &entry.value));
        }
        TRY(put(m, &entry));
    }
    return OK;
}

// Fails because a file includes one of the files that it is included from. Names the whole cycle.
static enum status cycle(struct merging *m, size_t first, const char *path, const char *from)
{
    struct str circle = {0};
    for (size_t i = first; i < m->open_count; i++)
        str_printf(&circle, "%s -> ", m->shown[i]);
    FAIL(m->err, ERR_USAGE, "%s: includes form a cycle: %s%s", from, str_text(&circle), path);
    str_fini(&circle);
    return m->err->code;
}

// from: "file:line" of the include, or NULL for a file that the user named.
static enum status merge_file(struct merging *m, const char *path, const char *from)
{
    char *real = realpath(path, NULL);
    const char *own = real ? arena_strdup(m->arena, real) : path;
    free(real);
    if (!own)
        return no_memory(m->err);
    for (size_t i = 0; i < m->open_count; i++)
        if (strcmp(m->open[i], own) == 0)
            return cycle(m, i, path, from);
    for (size_t i = 0; i < m->done_count; i++)
        if (strcmp(m->done[i], own) == 0)
            return OK;
    if (m->open_count == INCLUDES_MAX || m->done_count == INCLUDES_MAX)
        return FAIL(m->err, ERR_USAGE, "%s: more than %d included files", from, INCLUDES_MAX);
    struct ini_file file;
    if (ini_read(path, path, m->arena, &file, m->err) != OK)
        return from && m->err->code != ERR_USAGE ? error_context(m->err, "%s: include", from)
                                                 : m->err->code;
    m->shown[m->open_count] = path;
    m->open[m->open_count++] = own;
    for (size_t i = 0; i < file.count && !m->config; i++)
        if (is_include(&file.entries[i]))
            TRY(merge_includes(m, path, file.entries[i].value,
                               place(m, path, file.entries[i].line)));
    TRY(merge_entries(m, &file));
    m->open_count--;
    if (from)
        m->done[m->done_count++] = own;
    return OK;
}

// ---- --set --------------------------------------------------------------------------------------

static enum status no_such_section(struct merging *m, const char *section, const char *where)
{
    struct words known = {0};
    char hint[WORDS_HINT_BYTES];
    for (size_t i = 0; i < m->out->count; i++)
        if (!m->out->items[i].option)
            words_add(&known, m->out->items[i].section);
    return FAIL(m->err, ERR_USAGE, "%s: there is no section [%s]%s", where, section,
                words_hint(section, known.items, known.count, hint, sizeof hint));
}

// Includes are merged while files are read, before --set.
static enum status set_option(struct merging *m, struct suite_entry *entry, const char *key)
{
    if (strcmp(entry->section, "suite") == 0 && strcmp(key, "include") == 0)
        return FAIL(m->err, ERR_USAGE, "%s: include is a key of files", entry->where);
    return find_option(m, entry, key);
}

// "sweep *" reaches every sweep. A section without a name is created if it does not exist. Sections of bench.conf are
// not reached: `bench run` reads none of their keys from --set.
static enum status set_in_sections(struct merging *m, const char *section, const char *key,
                                   const char *value, const char *where)
{
    size_t known = m->out->count, matched = 0;
    struct suite_entry entry = {0};
    for (size_t i = 0; i < known; i++) {
        const struct suite_entry *at = &m->out->items[i];
        if (at->option || !at->kind->in_suite || !str_glob(section, at->section))
            continue;
        matched++;
        entry = *at;
        entry.where = where;
        entry.file = NULL;
        entry.value = value;
        TRY(set_option(m, &entry, key));
        TRY(put(m, &entry));
    }
    if (matched)
        return OK;
    if (strchr(section, '*') || strchr(section, ' '))
        return no_such_section(m, section, where);
    TRY(classify(m, section, where, &entry));
    TRY(put(m, &entry));
    entry.value = value;
    TRY(set_option(m, &entry, key));
    return put(m, &entry);
}

static enum status merge_set(struct merging *m, const char *text)
{
    struct str shown = {0};
    str_printf(&shown, "--set '%s'", text);
    const char *where = arena_strdup(m->arena, str_text(&shown));
    str_fini(&shown);
    char *section = arena_strdup(m->arena, text);
    if (!section || !where)
        return no_memory(m->err);
    char *equals = strchr(section, '=');
    if (equals)
        *equals = '\0';
    char *dot = strrchr(section, '.');
    if (!equals || !dot || dot == section || !dot[1])
        return FAIL(m->err, ERR_USAGE,
                    "%s: not of the form section.key=value, such as defaults.batch=1", where);
    *dot = '\0';
    const char *value = equals + 1;
    while (*value == ' ')
        value++;
    TRY(fill_variables(m, value, where, &value));
    char *end = dot + 1 + strlen(dot + 1);
    while (end > dot + 1 && end[-1] == ' ')
        *--end = '\0';
    return set_in_sections(m, section, dot + 1, value, where);
}

// ---- keys that come from no file ----------------------------------------------------------------

static enum status merge_given(struct merging *m, const struct suite_given *given)
{
    struct suite_entry entry = {0};
    const char *section = arena_strdup(m->arena, given->section);
    const char *where = arena_strdup(m->arena, given->where);
    if (!section || !where)
        return no_memory(m->err);
    TRY(classify(m, section, where, &entry));
    TRY(put(m, &entry));
    TRY(find_option(m, &entry, given->key));
    entry.value = arena_strdup(m->arena, given->value);
    return entry.value ? put(m, &entry) : no_memory(m->err);
}

enum status suite_sources_merge(const struct suite_sources *sources, struct arena *arena,
                                struct entry_list *out, struct error *err)
{
    struct merging m = {.arena = arena, .out = out, .err = err};
    out->count = 0;
    out->items = arena_alloc(arena, ENTRIES_MAX, sizeof *out->items);
    if (!out->items)
        return no_memory(err);
    if (sources->config_path) {
        m.config = true;
        TRY(merge_file(&m, sources->config_path, NULL));
        m.config = false;
    }
    if (sources->suite_path)
        TRY(merge_file(&m, sources->suite_path, NULL));
    for (size_t i = 0; i < sources->given_count; i++)
        TRY(merge_given(&m, &sources->given[i]));
    for (size_t i = 0; i < sources->set_count; i++)
        TRY(merge_set(&m, sources->set[i]));
    return OK;
}
