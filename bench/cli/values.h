// values.h - what a flag or a positional word accepts: words of a table, files, folders.
//
// Help, completion, the manual page and the hints of errors read these rows. The words come from the table that parses
// them: a new scheme, device, type or key appears without an edit here.
#ifndef BENCH_CLI_VALUES_H
#define BENCH_CLI_VALUES_H

#include <stdbool.h>

#include "base/arena.h"
#include "base/words.h"
#include "device/device.h"

enum cli_paths { PATHS_NONE, PATHS_FILES, PATHS_FOLDERS };

struct cli_values {
    const char *name;     // "scheme": in names of the shells' functions
    enum cli_paths paths; // accepted next to the words
    const char *ending;   // of files: ".conf"; NULL: any
    const char *key;   // the words are the choices of this key of the option table; NULL: see add
    const char *words; // the words themselves: "json csv"
    void (*add)(struct arena *arena, struct words *out); // adds the words; NULL: none
    bool list;                                           // several words with commas between them
    bool keys;                                           // the words are keys: "defaults.batch="
    bool open; // these words are examples, or too many for help
};

extern const struct cli_values cli_values_command, cli_values_command_second, cli_values_convention,
    cli_values_convert_type, cli_values_device, cli_values_export_format, cli_values_file,
    cli_values_folder, cli_values_head, cli_values_isa, cli_values_key, cli_values_kv,
    cli_values_model, cli_values_model_file, cli_values_products, cli_values_prompt,
    cli_values_quantize_scheme, cli_values_report_format, cli_values_run, cli_values_scheme,
    cli_values_shell, cli_values_step, cli_values_suite;

// Adds the tiers of a kind of device, as --isa takes them: "ref", "avx2", ..., "all".
void cli_values_tiers(enum device_kind kind, struct arena *arena, struct words *out);

// Adds the words to `out`. The arena or static memory owns them. Without memory some are missing.
void cli_values_words(const struct cli_values *values, struct arena *arena, struct words *out);
// As words_hint, for a word that is none of these.
char *cli_values_hint(const struct cli_values *values, const char *word, char *out,
                      size_t out_bytes);

// The choices of the key that a word of cli_values_key names ("defaults.kv="). *list: several are accepted. Adds
// nothing for a key without choices.
void cli_values_of_key(const char *key, struct arena *arena, struct words *out, bool *list);

#endif
