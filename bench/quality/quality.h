// quality.h - the quality cost of a scheme: perplexity, and the distance from the same model in f32.
//
// A text becomes ids, ids become windows, and the model predicts every scored token of a window from the tokens before
// it. The same model in f32 runs next to it, window by window on the same ids. So no logits are stored: only the five
// numbers of score.h are kept for each scored token. The convention decides which tokens are scored. Perplexities of
// different conventions cannot be compared, so each figure carries the name of its convention. Formulas:
// docs/METRICS.md.
//
// The number of threads never changes a bit: threads split rows of logits, one thread scores a row, and sums run
// over tokens in order, in double.
#ifndef BENCH_QUALITY_QUALITY_H
#define BENCH_QUALITY_QUALITY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/status.h"
#include "engine/engine.h"

// ---- conventions ------------------------------------------------------------------------------------

struct quality_convention {
    const char *name;
    int window;     // tokens; an incomplete last window is dropped
    int first;      // the first scored position; all later ones are scored too
    bool documents; // the text is cut at lines with a form feed, and each document begins with bos;
                    // else it is one document with one bos before it.
    // As llama.cpp's perplexity tool reads a file: the last newline is dropped and special tokens are text. Where
    // the tokenizer adds bos, it precedes the text and replaces every window's first token. A text of fewer than
    // two windows is refused.
    bool llama;
    int revision;      // of its definition: figures of two revisions cannot be compared
    const char *words; // for help
};
// Rows end with a NULL name.
extern const struct quality_convention quality_conventions[];
const struct quality_convention *quality_convention_find(const char *name); // NULL: unknown

// Scored tokens of one window.
int quality_scored(const struct quality_convention *convention);

// ---- text -------------------------------------------------------------------------------------------

enum { QUALITY_TEXT_MAX = 256 << 20 };

struct quality_text {
    int32_t *ids; // owned
    size_t count;
    size_t documents;          // 1 if the convention does not separate documents
    int32_t window_bos;        // replaces every window's first token; -1: nothing does
    char hash[HASH_HEX_BYTES]; // of the file's bytes
};

// bos -1: the model has none, and none is inserted. Errors: ERR_IO, ERR_FORMAT (no text, ids outside the vocabulary),
// ERR_NOMEM.
enum status quality_text_read(const char *path, const struct quality_convention *convention,
                              const struct tokenizer *tok, const struct model_config *config,
                              struct quality_text *out, struct error *err);
void quality_text_fini(struct quality_text *text);

// ERR_USAGE if the text is too short for the convention.
enum status quality_check_length(const struct quality_convention *convention,
                                 const struct quality_text *text, struct error *err);

// Copies window `index`, as the model sees it, to out (convention->window).
void quality_window(const struct quality_convention *convention, const struct quality_text *text,
                    size_t index, int32_t *out);

// ---- figures ----------------------------------------------------------------------------------------

// NaN: not measured (no f32 model to compare with).
struct quality {
    double windows, tokens; // scored
    double perplexity, ln_stderr;
    double perplexity_f32, ln_ratio, ln_ratio_stderr; // ln(perplexity / perplexity_f32)
    double kl_mean, kl_median, kl_p99, kl_max;
    double same_top; // share of tokens on which both have the same most likely id
    double dp_mean, dp_rms, dp_p1, dp_p5, dp_p25, dp_median, dp_p75, dp_p95, dp_p99;
    double time_ns;
};

// The figures by the names of results/metric.h. Events, JSON and tables use these rows.
struct quality_figure {
    const char *metric;
    size_t offset; // of a double in struct quality
};
extern const struct quality_figure quality_figures[]; // ends with a NULL metric
double quality_get(const struct quality *quality, const struct quality_figure *figure);

// ---- measuring --------------------------------------------------------------------------------------

struct quality_input {
    struct model *model;
    enum dtype kv;
    struct model *baseline; // the same weights in f32, may be `model` itself; NULL: no comparison
    const struct quality_convention *convention;
    const struct quality_text *text;
    size_t windows;            // the most windows; 0: all
    struct pool *pool;         // scores rows of logits; NULL: the calling thread scores them
    engine_progress *progress; // may be NULL
    void *user;
};

// Errors: ERR_UNSUPPORTED: windows longer than the model's positions. ERR_USAGE: a text shorter than a window, or the
// text that the weights were calibrated on. ERR_FORMAT: non-finite logits, with window and token. ERR_NOMEM.
enum status quality_measure(const struct quality_input *in, struct quality *out, struct error *err);

// Errors: ERR_UNSUPPORTED, with the reason, if the convention cannot judge this model.
enum status quality_check_window(const struct model_config *config,
                                 const struct quality_convention *convention, struct error *err);
// The same; also refuses synthetic weights, which have no quality.
enum status quality_check(const struct checkpoint *ck, const struct quality_convention *convention,
                          struct error *err);

// The f32 model to compare `model` with: `model` itself if that is f32 throughout, else loaded from ck. *out is NULL,
// with the reason in `why`, if both together do not fit the free memory (OS_UNKNOWN: tries anyway). The caller destroys
// *out unless it is `model`.
struct quality_baseline {
    struct checkpoint *ck;
    struct model *model;
    enum dtype kv; // of the model's context
    const struct quality_convention *convention;
    const struct engine_options *options; // the model's
    int64_t free_bytes;
    engine_progress *progress;
    void *user;
};
enum status quality_baseline_load(const struct quality_baseline *in, struct model **out, char *why,
                                  size_t why_bytes, struct error *err);

#endif
