// options.c - the option table and the functions that read it.
#include "bench/suite/options.h"

#include <assert.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/plain.h"
#include "base/str.h"
#include "base/table.h"
#include "base/words.h"
#include "bench/suite/suite.h"

const struct section_kind option_sections[] = {
    {SECTION_BENCH, "bench", false, true, false, "settings of this machine, in bench.conf"},
    {SECTION_SUITE, "suite", false, false, true, "what the suite is"},
    {SECTION_DEFAULTS, "defaults", false, true, true, "defaults of every sweep"},
    {SECTION_MODEL, "model", true, false, true, "a model, by the name sweeps and rules use"},
    {SECTION_SWEEP, "sweep", true, false, true,
     "cells: the cross product of the lists; takes all keys of [defaults] except the suite-wide "
     "ones"},
    {SECTION_REPORT, "report", false, true, false, "what `bench report` writes, in bench.conf"},
    {0},
};

#define OF(type, field) offsetof(struct type, field)

enum { BOTH = SECTION_DEFAULTS | SECTION_SWEEP };
#define TOKENS_MAX 16777216

const struct option option_table[] = {
    {SECTION_BENCH, "db", OPTION_TEXT, OF(suite_bench, db), NULL, 0, 0, NULL,
     "the store, if --db does not name one; default: ~/.local/share/ridge/bench.db"},

    {SECTION_SUITE, "name", OPTION_TEXT, OF(suite_header, name), NULL, 0, 0, NULL,
     "name of the suite; default: the name of its file"},
    {SECTION_SUITE, "about", OPTION_TEXT, OF(suite_header, about), NULL, 0, 0, NULL,
     "one line for the reader"},
    {SECTION_SUITE, "include", OPTION_WORDS, OF(suite_header, include), NULL, 0, 0, NULL,
     "suite files read first; keys of this suite win"},

    {SECTION_MODEL, "path", OPTION_TEXT, OF(suite_model, path), NULL, 0, 0, NULL,
     "a Hugging Face folder or a .gguf file"},
    {SECTION_MODEL, "shape", OPTION_TEXT, OF(suite_model, shape), NULL, 0, 0, NULL,
     "random weights in the shape of a real model: a name in models/shapes or a config.json"},
    {SECTION_MODEL, "seed", OPTION_INT, OF(suite_model, seed), "42", 0, 9007199254740992.0, NULL,
     "seed of a shape's weights"},

    {BOTH, "model", OPTION_WORDS, OF(suite_sweep, model), NULL, 0, 0, NULL,
     "names of [model] sections; default: all of them"},
    {BOTH, "scheme", OPTION_WORDS, OF(suite_sweep, scheme), "bf16", 0, 0, NULL,
     "f32, bf16, int8, int4-rtn, int4-awq, fp8, fp8-w8a8, ...: how weights are stored and "
     "multiplied"},
    {BOTH, "device", OPTION_WORDS, OF(suite_sweep, device), "auto", 0, 0, NULL,
     "cpu, cuda:N, metal; auto: every device that is available here"},
    {BOTH, "threads", OPTION_INTS, OF(suite_sweep, threads), "auto", 1, 4096, "auto",
     "threads of the pool; auto: one per physical core, at most the CPU quota rounded up"},
    {BOTH, "head", OPTION_WORDS, OF(suite_sweep, head), "auto", 0, 0,
     "auto f32 bf16 f16 int8 int4 fp8",
     "type of the head, and of an embedding that is tied to it; auto: the scheme's"},
    {BOTH, "kv", OPTION_WORDS, OF(suite_sweep, kv), "auto", 0, 0, "auto f32 f16 bf16 int8 fp8",
     "type of the KV cache; auto: the scheme's; int8 and fp8 have a scale per position and head"},
    {BOTH, "step", OPTION_WORDS, OF(suite_sweep, step), "auto", 0, 0, "auto graph persistent",
     "decode steps on cuda: a graph of kernels, or one persistent kernel if it serves the cell; "
     "auto: the faster one, as measured by the first trial"},
    {BOTH, "products", OPTION_WORDS, OF(suite_sweep, products), "own", 0, 0, "own cublaslt",
     "products of prefill passes on cuda: this program's, or cuBLASLt's, which needs a second copy "
     "of the layers' weights as plain rows; serves bf16, f16, int8 and fp8-w8a8"},
    {BOTH, "chunk", OPTION_INTS, OF(suite_sweep, chunk), "512", 1, 1048576, NULL,
     "most tokens of one sequence in one prefill step"},
    {BOTH, "batch", OPTION_INTS, OF(suite_sweep, batch), "1", 1, 65536, NULL,
     "sequences at a time"},
    {BOTH, "context", OPTION_INTS, OF(suite_sweep, context), "512", 2, TOKENS_MAX, NULL,
     "positions per sequence, prompt and generated together"},
    {BOTH, "gen", OPTION_INTS, OF(suite_sweep, gen), "128", 1, TOKENS_MAX, NULL,
     "tokens generated per sequence; the prompt has context - gen"},
    {BOTH, "skip", OPTION_RULES, OF(suite_sweep, skip), NULL, 0, 0, NULL,
     "rules of cells to skip: fp8 @ metal, 7b & batch>=8"},
    {BOTH, "link", OPTION_LINKS, OF(suite_sweep, link), NULL, 0, 0, NULL,
     "keys whose lists are paired: batch context"},
    {BOTH, "prompt", OPTION_TEXT, OF(suite_sweep, prompt), "random", 0, 0, NULL,
     "random (ids from the seed) or text:FILE"},
    {BOTH, "calib", OPTION_TEXT, OF(suite_sweep, calib), NULL, 0, 0, NULL,
     "calibration text of int4-awq; default: models/reference/calib.txt"},
    {BOTH, "seed", OPTION_INT, OF(suite_sweep, seed), "42", 0, 9007199254740992.0, NULL,
     "seed of random prompts and of sampling"},
    {BOTH, "temperature", OPTION_FLOAT, OF(suite_sweep, temperature), "0", 0, 100, NULL,
     "0: greedy, and top_k and top_p are ignored"},
    {BOTH, "top_k", OPTION_INT, OF(suite_sweep, top_k), "0", 0, INT_MAX, NULL, "0: off"},
    {BOTH, "top_p", OPTION_FLOAT, OF(suite_sweep, top_p), "1", 0, 1, NULL, "1: off"},
    {BOTH, "procs", OPTION_INT, OF(suite_sweep, procs), "6", 1, 1000, NULL,
     "trials per cell, each in a new process"},
    {BOTH, "retries", OPTION_INT, OF(suite_sweep, retries), "3", 0, 1000, NULL,
     "most trials added to a cell while at least half of its trials are disturbed"},
    {BOTH, "reps", OPTION_INT, OF(suite_sweep, reps), "3", 1, 1000, NULL,
     "least number of timed repetitions per trial"},
    {BOTH, "min_time", OPTION_TIME, OF(suite_sweep, min_time_ns), "1s", 0, 1e17, NULL,
     "least measured time per trial; repetitions are added to reach it (at most 100 in all)"},
    {BOTH, "warmup", OPTION_CHOICE, OF(suite_sweep, warmup), "full", 0, 0, "none short full",
     "warm-up before the repetitions; short: one step of each phase; full: the same shape"},
    {BOTH, "collect", OPTION_WORDS, OF(suite_sweep, collect), "timing, memory", 0, 0,
     "timing memory counters quality energy activity", "what is recorded; timing always is"},
    {BOTH, "quality_text", OPTION_TEXT, OF(suite_sweep, quality_text), "models/reference/eval.txt",
     0, 0, NULL, "text for measuring quality; never a calibration text"},
    {BOTH, "quality_convention", OPTION_CHOICE, OF(suite_sweep, quality_convention), "half-512", 0,
     0, "half-512 llama-512 full-2048", "which of its tokens are scored, in which windows"},
    {BOTH, "quality_windows", OPTION_INT, OF(suite_sweep, quality_windows), "200", 0, 1048576, NULL,
     "most windows that are scored; 0: all"},
    {BOTH, "timeout", OPTION_TIME, OF(suite_sweep, timeout_ns), "300s", 1e6, 1e17, NULL,
     "time limit of one trial of one cell"},
    {BOTH, "max_cell_time", OPTION_TIME, OF(suite_sweep, max_cell_time_ns), "120s", 1e6, 1e17, NULL,
     "a cell whose trials together are predicted to take longer is skipped"},
    {SECTION_DEFAULTS, "order", OPTION_CHOICE, OF(suite_sweep, order), "interleaved", 0, 0,
     "interleaved sequential",
     "suite-wide; interleaved: trials outside, cells inside, so that drift affects all cells "
     "alike"},
    {SECTION_DEFAULTS, "on_oom", OPTION_CHOICE, OF(suite_sweep, on_oom), "prune_larger", 0, 0,
     "prune_larger go_on",
     "suite-wide; prune_larger: after an oom the larger cells of model, scheme and device are "
     "skipped"},
    {SECTION_DEFAULTS, "memory", OPTION_BYTES, OF(suite_sweep, memory_bytes), NULL, 0x1p20, 1e18,
     NULL, "suite-wide; most memory of a worker; default: the free memory of the machine"},

    {SECTION_REPORT, "formats", OPTION_WORDS, OF(suite_report, formats), "html, png", 0, 0,
     "html png csv", "files of a report, if --format does not name them"},
    {0},
};

const struct option *option_find(enum section section, const char *key)
{
    for (const struct option *o = option_table; o->key; o++)
        if ((o->sections & section) && strcmp(o->key, key) == 0)
            return o;
    return NULL;
}

// The first kind of section that has the key, or NULL.
static const char *section_of(const char *key)
{
    for (const struct section_kind *k = option_sections; k->name; k++)
        if (option_find(k->section, key))
            return k->name;
    return NULL;
}

char *option_hint(enum section section, const char *key, char *out, size_t out_bytes)
{
    struct words known = {0};
    for (const struct option *o = option_table; o->key; o++)
        if (o->sections & section)
            words_add(&known, o->key);
    const char *other = section_of(key);
    if (other)
        snprintf(out, out_bytes, ": it is a key of [%s]", other);
    else if (!words_near(key, known.items, known.count, out, out_bytes))
        snprintf(out, out_bytes, " (see bench help options)");
    return out;
}

// The index of `word` in "none short full"; -1: not one of them.
static int choice_index(const char *choices, const char *word)
{
    int index = 0;
    size_t length = strlen(word);
    for (const char *at = choices; *at; index++) {
        size_t here = strcspn(at, " ");
        if (here == length && strncmp(at, word, length) == 0)
            return index;
        at += here + (at[here] == ' ');
    }
    return -1;
}

unsigned option_mask(const struct option *option, const struct word_list *words)
{
    unsigned mask = 0;
    for (size_t i = 0; i < words->count; i++)
        mask |= 1u << choice_index(option->choices, words->items[i]);
    return mask;
}

static enum status unknown_choice(const char *choices, const char *word, struct error *err)
{
    enum { CHOICES_BYTES = 256 };
    char text[CHOICES_BYTES], hint[WORDS_HINT_BYTES], *rest = NULL;
    struct words known = {0};
    snprintf(text, sizeof text, "%s", choices);
    for (char *one = strtok_r(text, " ", &rest); one; one = strtok_r(NULL, " ", &rest))
        words_add(&known, one);
    return FAIL(err, ERR_USAGE, "unknown value '%s'%s", word,
                words_hint(word, known.items, known.count, hint, sizeof hint));
}

static enum status check_choices(const struct option *option, const struct word_list *words,
                                 struct error *err)
{
    for (size_t i = 0; option->choices && i < words->count; i++)
        if (choice_index(option->choices, words->items[i]) < 0)
            return unknown_choice(option->choices, words->items[i], err);
    return OK;
}

static enum status parse_text(const char *text, struct arena *arena, const char **out,
                              struct error *err)
{
    *out = arena_strdup(arena, text);
    return *out ? OK : FAIL(err, ERR_NOMEM, "no memory for its text");
}

static enum status parse_choice(const struct option *option, const char *text, int *out,
                                struct error *err)
{
    *out = choice_index(option->choices, text);
    if (*out < 0)
        return unknown_choice(option->choices, text, err);
    return OK;
}

static enum status check_range(const struct option *option, const char *text, double value,
                               struct error *err)
{
    if (option->max > 0 && (value < option->min || value > option->max))
        return FAIL(err, ERR_USAGE, "%s is too %s", text, value < option->min ? "small" : "large");
    return OK;
}

enum status option_parse(const struct option *option, const char *text, struct arena *arena,
                         void *base, struct error *err)
{
    void *field = (char *)base + option->offset;
    if (!*text)
        return FAIL(err, ERR_USAGE, "a value is missing");
    switch (option->type) {
    case OPTION_TEXT:
        return parse_text(text, arena, field, err);
    case OPTION_INT:
        return value_int(text, option->min, option->max, field, err);
    case OPTION_FLOAT:
        return value_float(text, option->min, option->max, field, err);
    case OPTION_TIME:
        TRY(value_time(text, field, err));
        return check_range(option, text, *(double *)field, err);
    case OPTION_BYTES:
        TRY(value_bytes(text, field, err));
        return check_range(option, text, *(double *)field, err);
    case OPTION_CHOICE:
        return parse_choice(option, text, field, err);
    case OPTION_WORDS:
        TRY(value_words(text, arena, field, err));
        return check_choices(option, field, err);
    case OPTION_INTS:
        return value_ints(text, option->min, option->max, option->choices, arena, field, err);
    case OPTION_RULES:
        return rules_parse(text, arena, field, err);
    case OPTION_LINKS:
        return links_parse(text, arena, field, err);
    }
    return FAIL(err, ERR_INTERNAL, "option '%s' has no type", option->key);
}

enum status options_default(enum section section, struct arena *arena, void *base,
                            struct error *err)
{
    for (const struct option *o = option_table; o->key; o++) {
        if (!(o->sections & section))
            continue;
        if (o->type == OPTION_LINKS)
            links_none((struct link_list *)((char *)base + o->offset));
        if (o->fallback)
            TRY(option_parse(o, o->fallback, arena, base, err));
    }
    return OK;
}

// ---- help ---------------------------------------------------------------------------------------

enum { KEY_COLUMN = 18 };

static const char *type_words(const struct option *option)
{
    static const char *const words[] = {
        [OPTION_TEXT] = "text",   [OPTION_INT] = "number",   [OPTION_FLOAT] = "number",
        [OPTION_TIME] = "time",   [OPTION_BYTES] = "bytes",  [OPTION_CHOICE] = "word",
        [OPTION_WORDS] = "words", [OPTION_INTS] = "numbers", [OPTION_RULES] = "rules",
        [OPTION_LINKS] = "links",
    };
    return words[option->type];
}

static bool choices_shown(const struct option *option)
{
    return option->choices && (option->type == OPTION_CHOICE || option->type == OPTION_WORDS);
}

// A row is shown under the first of its sections.
static bool shown_in(const struct option *option, enum section section)
{
    return (option->sections & section) && (option->sections & (section - 1u)) == 0;
}

void options_print_help(FILE *out)
{
    fputs(
        "Keys of bench.conf, of suites and of --set section.key=value. Lists: a, b; numbers also\n"
        "1-16*2 (1, 2, 4, 8, 16), 1-8+2, 1-4; times 300s, 5m, 200ms; bytes 16GiB; ${VARIABLE} and\n"
        "${VARIABLE:-default} anywhere in a value. docs/SUITES.md has the rest.\n",
        out);
    for (const struct section_kind *kind = option_sections; kind->name; kind++) {
        fprintf(out, "\n[%s%s]  %s\n", kind->name, kind->named ? " NAME" : "", kind->help);
        for (const struct option *o = option_table; o->key; o++) {
            if (!shown_in(o, kind->section))
                continue;
            struct str help = {0};
            str_append(&help, o->help);
            if (choices_shown(o))
                str_printf(&help, " (%s: %s)", o->type == OPTION_CHOICE ? "one of" : "of",
                           o->choices);
            if (o->fallback)
                str_printf(&help, " (default: %s)", o->fallback);
            fprintf(out, "  %-*s %-8s ", KEY_COLUMN, o->key, type_words(o));
            table_text(out, KEY_COLUMN + 12, plain_columns(out), str_text(&help));
            str_fini(&help);
        }
    }
}

void options_print_markdown(FILE *out)
{
    for (const struct section_kind *kind = option_sections; kind->name; kind++) {
        fprintf(out, "\n### [%s%s]\n\n%s.\n\n", kind->name, kind->named ? " NAME" : "", kind->help);
        bool any = false;
        for (const struct option *o = option_table; o->key; o++) {
            if (!shown_in(o, kind->section))
                continue;
            if (!any)
                fputs("| key | value | default | meaning |\n| --- | --- | --- | --- |\n", out);
            any = true;
            fprintf(out, "| `%s` | %s%s%s | %s%s%s | %s |\n", o->key, type_words(o),
                    choices_shown(o) ? ": " : "", choices_shown(o) ? o->choices : "",
                    o->fallback ? "`" : "", o->fallback ? o->fallback : "", o->fallback ? "`" : "",
                    o->help);
        }
    }
}
