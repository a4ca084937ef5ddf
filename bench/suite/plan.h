// plan.h - a suite expanded: every cell, with what it will need and why some are left out.
//
// suite file (+ includes, bench.conf below it, --set above it) -> struct suite (suite.h) -> struct
// plan. The plan is all the runner knows: no file is read again during a run.
#ifndef BENCH_SUITE_PLAN_H
#define BENCH_SUITE_PLAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "engine/engine.h"

// In the order of the words that the option `collect` takes.
enum collect {
    COLLECT_TIMING = 1 << 0, // always on
    COLLECT_MEMORY = 1 << 1,
    COLLECT_COUNTERS = 1 << 2,
    COLLECT_QUALITY = 1 << 3,
    COLLECT_ENERGY = 1 << 4,
};

// What the worker's table of instruments measures, each in a repetition of its own.
enum { COLLECT_INSTRUMENTS = COLLECT_TIMING | COLLECT_MEMORY | COLLECT_COUNTERS | COLLECT_ENERGY };

// The program's own engine and the version of what it computes. Raised when the same cell begins to do other work
// (not when it does the same work faster).
#define PLAN_ENGINE_WORK "ridge-2"

enum warmup { WARMUP_NONE, WARMUP_SHORT, WARMUP_FULL }; // short: one decode step; full: same shape

// A model as a suite names it.
enum { PLAN_SCHEMES = 16 }; // rows of scheme_table, at most

struct plan_model {
    const char *label;      // "7b"
    const char *path;       // checkpoint, or NULL
    const char *shape;      // "llama-2-7b", or NULL
    const char *shape_path; // its config.json
    uint64_t seed;          // of a shape's weights
    struct model_config config;
    char content[65];                // hash of content, or of config and seed: part of the key
    double parameters, stored_bytes; // for the load's prediction; stored_bytes 0 of a shape
    // In each scheme, in scheme_table's order: inputs that share a scale, and why it cannot run, or NULL.
    int group[PLAN_SCHEMES];
    const char *refused[PLAN_SCHEMES];
};

// What a sweep that collects quality asks for.
struct quality_wish {
    const char *text;      // path
    const char *text_hash; // of its bytes
    double text_bytes;
    const char *convention; // of bench/quality/quality.h
    int windows;            // at most; 0: all
    double max_ns;          // predicted to take longer: skipped
};

// One evaluation of quality, for all cells of the same model, scheme, head, KV type, device and wish. It runs in a
// separate worker, after the trials.
struct plan_quality {
    char key[65];
    json_t *params;    // owned by the plan; canonical form is what `key` is the SHA-256 of
    const char *label; // "tiny int8 cpu, half-512"
    const struct quality_wish *wish;
    const struct plan_model *model;
    const struct scheme *scheme;
    const char *device;
    const char *arithmetic; // of the scheme as the device runs it
    enum dtype head, kv;
    const char *calib, *calib_hash; // as a cell's
    int threads;                    // the most its cells have; changes no figure
    uint64_t timeout_ns;
    double predicted_ns; // both models loaded and run; 0: not known
    const char *skip;    // reason, or NULL: it will run
    bool unsupported;    // of a skipped one: "unsupported", not "skipped"
};

// Repetitions that min_time adds up to; `reps` may ask for more.
enum { REPETITIONS_MOST = 100 };

// Everything that changes the work; the canonical JSON of these is what the key hashes.
struct cell {
    char key[65];
    const char *label; // "7b int8 cpu b1 c512": what varies in this plan; unique in it
    json_t *params;    // owned by the plan; canonical form is what `key` is the SHA-256 of
    const struct plan_model *model;
    const char *sweep;  // section it came from (not in the key)
    const char *engine; // a name of bench/engines
    const char *scheme_name;
    const struct scheme *scheme; // NULL when planned but not implemented: the cell is skipped
    struct scheme runs;          // what it is with this head and the kernels of its device
    const char *device;
    enum dtype head, kv;
    enum decode_form step; // DECODE_AUTO where the device has one form
    int threads, chunk;
    int batch;
    int context;        // positions a sequence: prompt and generated together
    int gen;            // tokens generated a sequence; prompt length is context - gen
    const char *prompt; // "random" or "text:FILE"; the key has the hash of FILE's bytes
    const char *calib,
        *calib_hash;          // int4-awq of a checkpoint: its text and the SHA-256 of it; or NULL
    struct sampling sampling; // its seed makes the random prompt, too

    // how it is measured (not in the key)
    int procs, reps;
    int retries;          // trials beyond `procs` while half or more were noisy or throttled
    uint64_t min_time_ns; // repetitions beyond `reps` until this much is measured
    enum warmup warmup;
    uint64_t timeout_ns;
    unsigned collect;
    const struct quality_wish *wish;    // NULL: quality is not collected
    const struct plan_quality *quality; // NULL: not collected, or the cell does not run

    // what is expected of it
    struct memory_plan memory;
    double predicted_ns; // all trials, with its share of the loads; 0: not known
    const char *skip;    // reason, or NULL: it will run
    bool unsupported;    // of a skipped one: its status is "unsupported", not "skipped"
    bool beyond_limit;   // context beyond the model's own limit (allowed for shapes, marked)
};

// Cells that share model, scheme, device, threads and procs. For each trial one worker process runs the group.
// Only cells that will run are in groups.
struct cell_group {
    size_t first, count; // into plan.order
    double load_ns;      // predicted start of one worker and load of the model
};

struct plan {
    struct arena arena; // owns every string and array below
    const char *suite_name, *suite_path;
    const char *suite_about; // or NULL
    const char *suite_text;  // resolved: after includes, environment and --set; stored with the run
    struct plan_model *models;
    size_t model_count;
    struct cell *cells;
    size_t cell_count;
    size_t *order;    // indices of the cells that will run, grouped
    size_t run_count; // how many
    struct cell_group *groups;
    size_t group_count;
    struct plan_quality *qualities;
    size_t quality_count;
    bool interleaved; // trials outside, cells inside
    bool prune_larger_on_oom;
    const char *threads_note; // "threads = auto is 2: ..." where a quota decides, else ""
    double predicted_ns;      // of the whole run, ceilings included
    size_t unpredicted;       // cells that run and whose time is not known: not part of it
    int64_t memory_bytes; // most a worker may take of the host; what is planned above it is skipped
    size_t duplicates;    // cells that several sweeps have: the first one's settings hold
};

struct ceilings;

// What the machine offers, so that a test can plan for one that is not there.
struct plan_machine {
    const struct ceilings *ceilings; // bench/roof/roof.h; NULL: rough figures, and the plan says so
    int64_t memory_bytes;            // most a worker may take of the host
    int physical_cores;              // what threads = auto is
    int most_threads;                // processing units a worker may use; 0: not known
    const char *threads_note;        // why auto is less than the cores; NULL or "": it is not
    const struct device_info *devices; // there or not
    size_t device_count;
    // --resume continues a run. Its record says which cells memory and time left out when it began. A new
    // decision, from today's ceilings, could drop a cell whose trials are missing.
    bool resuming;
};

struct suite;

// Expands a suite: reads each model's headers and hashes its content. Cells are in the order of the sweeps, and within
// one in the order of the axes of rules.h. only: NULL, a glob over labels, or the first 6 or more digits of a key.
// Other cells are not part of the plan. Errors: ERR_USAGE with "file:line: reason" (a model that cannot be opened,
// unknown names, lists of linked keys of different length, more than PLAN_CELLS_MAX cells, nothing matches `only`);
// ERR_NOMEM.
enum { PLAN_CELLS_MAX = 10000 };
enum status plan_create(struct suite *suite, const struct plan_machine *machine, const char *only,
                        struct plan **out, struct error *err);

// ERR_UNSUPPORTED, with the first reason, when nothing of the plan will run.
enum status plan_check_any(const struct plan *plan, struct error *err);

void plan_destroy(struct plan *plan); // NULL is legal

#endif
