// plan.h - a suite expanded: every cell, with what it will need and why some are left out.
//
// suite file (+ includes, bench.conf below it, --set above it) -> struct suite (suite.h) -> struct plan.
// The plan is all the runner knows: no file is read again during a run.
#ifndef BENCH_SUITE_PLAN_H
#define BENCH_SUITE_PLAN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "engine/engine.h"

enum collect {
    COLLECT_TIMING = 1 << 0, // always on
    COLLECT_MEMORY = 1 << 1,
    COLLECT_ENERGY = 1 << 2,
    COLLECT_COUNTERS = 1 << 3,
    COLLECT_QUALITY = 1 << 4,
};

enum warmup { WARMUP_NONE, WARMUP_SHORT, WARMUP_FULL }; // short: one decode step; full: same shape

// A model as a suite names it.
struct plan_model {
    const char *label;      // "7b"
    const char *path;       // checkpoint, or NULL
    const char *shape;      // "llama-2-7b", or NULL
    const char *shape_path; // its config.json
    uint64_t seed;          // of a shape's weights
    struct model_config config;
    char content[65]; // hash of content, or of config and seed: goes into the key
    bool readable;    // false: `reason` says why every cell of it is skipped
    const char *reason;
};

// Everything that changes the work; the canonical JSON of these is what the key hashes.
struct cell {
    char key[65];
    json_t *params; // owned by the plan; canonical form is what `key` is the SHA-256 of
    const struct plan_model *model;
    const char *sweep; // section it came from (not in the key)
    const char *scheme_name;
    const struct scheme *scheme; // NULL when planned but not implemented: the cell is skipped
    const char *device;
    enum dtype head, kv;
    int threads, chunk;
    int batch;
    int context;        // positions a sequence: prompt and generated together
    int gen;            // tokens generated a sequence; prompt length is context - gen
    const char *prompt; // "random" or "text:FILE"
    struct sampling sampling;

    // how it is measured (not in the key)
    int procs, reps;
    enum warmup warmup;
    uint64_t timeout_ns;
    unsigned collect;

    // what is expected of it
    struct memory_plan memory;
    double
        predicted_ns;  // all trials, loads and warm-ups; from the ceilings known, or rough figures
    const char *skip;  // reason, or NULL: it will run
    bool beyond_limit; // context beyond the model's own limit (allowed for shapes, marked)
};

// Cells that share model, scheme and device run in one worker process a trial.
struct cell_group {
    size_t first, count; // into plan.order
};

struct plan {
    struct arena arena; // owns every string and array below
    const char *suite_name, *suite_path;
    const char *suite_text; // resolved: after includes, environment and --set; stored with the run
    struct plan_model *models;
    size_t model_count;
    struct cell *cells;
    size_t cell_count;
    size_t *order; // indices of cells, grouped
    struct cell_group *groups;
    size_t group_count;
    bool interleaved; // trials outside, cells inside
    bool prune_larger_on_oom;
    uint64_t seed;
    const char *report_formats; // "html,png,csv"
};

void plan_destroy(struct plan *plan);

#endif
