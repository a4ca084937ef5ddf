// suite.h - a suite as written: bench.conf, includes, file and --set are resolved, and nothing is expanded.
//
// Precedence, lowest first: defaults of the option table, bench.conf, included files, the suite, given keys, --set.
// A duplicate section or key within one file is an error. Between files the higher one wins, key by key.
#ifndef BENCH_SUITE_SUITE_H
#define BENCH_SUITE_SUITE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "bench/suite/options.h"
#include "bench/suite/rules.h"
#include "bench/suite/value.h"

struct suite_bench { // [bench]
    const char *db;
};

struct suite_header { // [suite]
    const char *name, *about;
    struct word_list include;
};

// [defaults] and [sweep NAME]: a sweep begins as a copy of the defaults.
struct suite_sweep {
    const char *name; // NULL for the defaults
    struct word_list model, scheme, device, head, kv, step, products;
    struct int_list threads, chunk, batch, context, gen;
    struct rule_list skip;
    struct link_list link;
    const char *prompt;
    const char *calib; // NULL: the text shipped with the program
    double temperature, top_p;
    int64_t top_k;
    int64_t seed;
    int64_t procs, retries, reps;
    int warmup; // enum warmup
    struct word_list collect;
    const char *quality_text;
    int quality_convention; // index into quality_conventions
    int64_t quality_windows;
    double min_time_ns, timeout_ns, max_cell_time_ns;
    // for the whole suite, only in [defaults]
    int order;           // 0: interleaved, 1: sequential
    int on_oom;          // 0: prune_larger, 1: go_on
    double memory_bytes; // 0: all free memory of the machine
};

struct suite_model { // [model NAME]
    const char *name;
    const char *path, *shape;
    int64_t seed;
};

struct suite_report { // [report]
    struct word_list formats;
};

struct suite {
    struct arena arena; // owns everything below
    const char *path;   // as given; NULL: only bench.conf was read
    char *text;         // resolved sections, keys and values, as stored with a run
    struct suite_header header;
    struct suite_bench bench;
    struct suite_sweep defaults;
    struct suite_model *models;
    size_t model_count;
    struct suite_sweep *sweeps;
    size_t sweep_count;
    struct suite_report report;
    struct suite_entry *entries; // resolved, for suite_where
    size_t entry_count;
};

// One key that comes from no file, such as a flag of a command. Wins over files; --set wins over it.
struct suite_given {
    const char *section, *key, *value;
    const char *where; // for errors: "--batch"
};

struct suite_sources {
    const char *suite_path;  // NULL: only bench.conf and what is given
    const char *config_path; // bench.conf, or NULL for none
    const struct suite_given *given;
    size_t given_count;
    const char *const *set; // "section.key=value"
    size_t set_count;
};

// Errors: one line with file, line and reason; *out is then empty.
enum status suite_load(const struct suite_sources *sources, struct suite *out, struct error *err);
void suite_fini(struct suite *suite);

// "suites/m1.conf:12" of the entry that set a key, or the suite's path if the value is a default.
const char *suite_where(const struct suite *suite, const char *section, const char *key);

// The same for an error about the key's value: "suites/m1.conf:12: batch". A flag and --set name their key already, so
// their place has no second one: "--batch". Returns `out`.
enum { SUITE_PLACE_BYTES = 512 };
char *suite_place(const struct suite *suite, const char *section, const char *key,
                  char out[SUITE_PLACE_BYTES]);

// Whether a flag or --set gives the key, with another value than the option table's default.
bool suite_key_given(const struct suite *suite, const char *section, const char *key);

// Finds a file that a suite names: an absolute path, or a path next to the file that names it, in the working
// directory, or among the program's own files. Owned by the arena; NULL if there is none.
const char *suite_find_file(struct suite *suite, const char *section, const char *key,
                            const char *name);

// The path of bench.conf: in $XDG_CONFIG_HOME/ridge, else in ~/.config/ridge, else next to the program's own files.
// Caller frees; NULL: there is none.
char *suite_config_path(void);

#endif
