// options.h - the option table: every key of bench.conf, of suites and of --set is one row.
//
// Parsing, checks, defaults, `bench help options` and the table in docs/SUITES.md all read that row. A new option is a
// row here and a field in suite.h.
#ifndef BENCH_SUITE_OPTIONS_H
#define BENCH_SUITE_OPTIONS_H

#include <stdbool.h>
#include <stdio.h>

#include "base/arena.h"
#include "base/status.h"

// Kinds of section, as bits: a row may belong to several.
enum section {
    SECTION_BENCH = 1 << 0,    // [bench], only in bench.conf
    SECTION_SUITE = 1 << 1,    // [suite]
    SECTION_DEFAULTS = 1 << 2, // [defaults]: for every sweep
    SECTION_MODEL = 1 << 3,    // [model NAME]
    SECTION_SWEEP = 1 << 4,    // [sweep NAME]
    SECTION_REPORT = 1 << 5,   // [report], only in bench.conf
};

struct section_kind {
    enum section section;
    const char *name;
    bool named;     // [model NAME]
    bool in_config; // bench.conf may have it
    bool in_suite;
    const char *help;
};
extern const struct section_kind option_sections[]; // ends with a NULL name

enum option_type {
    OPTION_TEXT,
    OPTION_INT,    // int64_t
    OPTION_FLOAT,  // double
    OPTION_TIME,   // double, ns
    OPTION_BYTES,  // double
    OPTION_CHOICE, // int: index into choices
    OPTION_WORDS,  // struct word_list; each word is one of `choices`, if there are any
    OPTION_INTS,   // struct int_list; choices: the word that means 0
    OPTION_RULES,  // struct rule_list (rules.h)
    OPTION_LINKS,  // struct link_list (rules.h)
};

struct option {
    unsigned sections;
    const char *key;
    enum option_type type;
    size_t offset;        // offset in the struct of its section (suite.h)
    const char *fallback; // as text; NULL: the type's zero, shown as "none" in help
    double min, max;      // of numbers
    const char *choices;  // "none short full"
    const char *help;
};
extern const struct option option_table[]; // ends with a NULL key

const struct option *option_find(enum section section, const char *key);
// Writes a hint for a wrong key of a section: the kind of section that has it, a near key (words_near), or where the
// keys are listed. Returns `out`.
char *option_hint(enum section section, const char *key, char *out, size_t out_bytes);

// For an OPTION_WORDS row: bit i is set for choice i. Requires: the row has parsed the words.
struct word_list;
unsigned option_mask(const struct option *option, const struct word_list *words);

// Parses text into the field at base + offset. Errors only describe the fault in the text.
enum status option_parse(const struct option *option, const char *text, struct arena *arena,
                         void *base, struct error *err);
// Sets every field of a section to its fallback.
enum status options_default(enum section section, struct arena *arena, void *base,
                            struct error *err);

void options_print_help(FILE *out);     // for a terminal
void options_print_markdown(FILE *out); // the key tables of docs/SUITES.md

#endif
