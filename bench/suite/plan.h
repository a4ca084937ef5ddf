// plan.h - an expanded suite: every cell with its needs, and the reason for each skipped cell.
//
// suite file (+ includes, bench.conf below it, --set above it) -> struct suite (suite.h) -> struct plan. The runner
// knows only the plan: no file is read again during a run.
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
    COLLECT_ACTIVITY = 1 << 5,
};

// Measured by the worker's table of instruments, each in a separate repetition.
enum {
    COLLECT_INSTRUMENTS =
        COLLECT_TIMING | COLLECT_MEMORY | COLLECT_COUNTERS | COLLECT_ENERGY | COLLECT_ACTIVITY
};

// The program's own engine and the version of what it computes. It changes when the same cell does different work, not
// when it does the same work faster.
#define PLAN_ENGINE_WORK "ridge-2"

enum warmup { WARMUP_NONE, WARMUP_SHORT, WARMUP_FULL }; // short: one decode step; full: same shape

// A model as a suite names it.
enum { PLAN_SCHEMES = 16 }; // most rows of scheme_table

struct plan_model {
    const char *label;      // "7b"
    const char *path;       // checkpoint, or NULL
    const char *shape;      // "llama-2-7b", or NULL
    const char *shape_path; // its config.json
    uint64_t seed;          // seed of a shape's weights
    struct model_config config;
    const char *fallback; // the settings that its file lacks, and the values used instead; "": none
    char content[65];     // hash of the content, or of config and seed: part of the key
    double parameters, stored_bytes; // for predicting the load; stored_bytes is 0 for a shape
    // For each scheme, in the order of scheme_table: inputs that share a scale; why it cannot run, or NULL.
    int group[PLAN_SCHEMES];
    const char *refused[PLAN_SCHEMES];
};

// The request of a sweep that collects quality.
struct quality_wish {
    const char *text;      // path
    const char *text_hash; // hash of its bytes
    double text_bytes;
    const char *convention; // a name of bench/quality/quality.h
    int windows;            // the most windows; 0: all
    double max_ns;          // skipped if predicted to take longer
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
    const char *arithmetic; // arithmetic of the scheme on the device
    enum dtype head, kv;
    enum products products;
    const char *calib, *calib_hash; // as in struct cell
    int threads;                    // the most of its cells; changes no figure
    uint64_t timeout_ns;
    double predicted_ns; // for loading and running both models; 0: unknown
    const char *skip;    // reason, or NULL: it will run
    bool unsupported;    // skipped with status "unsupported" instead of "skipped"
};

// The most repetitions that min_time may add; `reps` may ask for more.
enum { REPETITIONS_MOST = 100 };

// One cell: everything that changes the work. The key hashes the canonical JSON of these.
struct cell {
    char key[65];
    const char *label; // "7b int8 cpu b1 c512": what varies in this plan; unique in the plan
    json_t *params;    // owned by the plan; canonical form is what `key` is the SHA-256 of
    const struct plan_model *model;
    const char *sweep;  // name of its sweep (not in the key)
    const char *engine; // a name of bench/engines
    const char *scheme_name;
    const struct scheme *scheme; // NULL if planned but not implemented: the cell is skipped
    struct scheme runs;          // the scheme with this head and the kernels of its device
    const char *device;
    size_t device_cache_bytes; // its last level; 0: unknown, as of the host before it is opened
    enum dtype head, kv;
    enum decode_form step; // DECODE_AUTO if the device has only one form
    int threads, chunk;
    int batch;
    int context;        // positions per sequence: prompt and generated together
    int gen;            // tokens generated per sequence; the prompt has context - gen
    const char *prompt; // "random" or "text:FILE"; the key has the hash of FILE's bytes
    const char *calib,
        *calib_hash;          // int4-awq of a checkpoint: calibration text and its SHA-256; or NULL
    struct sampling sampling; // its seed also makes the random prompt

    // how the cell is measured (not in the key)
    int procs, reps;
    int retries;          // trials beyond `procs` while half or more were noisy or throttled
    uint64_t min_time_ns; // repeats beyond `reps` until this much is measured
    enum warmup warmup;
    uint64_t timeout_ns;
    double max_ns; // skipped if predicted to take longer
    unsigned collect;
    const struct quality_wish *wish;    // NULL: quality is not collected
    const struct plan_quality *quality; // NULL: not collected, or the cell does not run

    // predictions
    struct memory_plan memory;
    double predicted_ns; // all trials, with its share of the loads; 0: unknown
    const char *skip;    // reason, or NULL: it will run
    bool unsupported;    // skipped with status "unsupported" instead of "skipped"
    bool beyond_limit;   // context exceeds the model's own limit (allowed for shapes; marked)
};

// Cells that share model, scheme, device, threads and procs. For each trial one worker process runs the group.
// Only cells that will run are in groups.
struct cell_group {
    size_t first, count; // into plan.order
    double load_ns;      // predicted time for starting one worker and loading the model
};

struct plan {
    struct arena arena;                  // owns every string and array below
    const char *suite_name, *suite_path; // path "": the suite is no file
    const char *suite_about;             // or NULL
    const char *suite_text; // resolved: after includes, environment and --set; stored with the run
    struct plan_model *models;
    size_t model_count;
    struct cell *cells;
    size_t cell_count;
    size_t *order;    // indices of the cells that will run, grouped
    size_t run_count; // their number
    struct cell_group *groups;
    size_t group_count;
    struct plan_quality *qualities;
    size_t quality_count;
    bool interleaved; // trials outside, cells inside
    bool prune_larger_on_oom;
    const char *threads_note; // "threads = auto is 2: ..." if a quota decides, else ""
    double predicted_ns;      // of the whole run, ceilings included
    size_t unpredicted;       // cells to run whose time is unknown and not included
    int64_t memory_bytes;     // most host memory of a worker; cells that need more are skipped
    size_t duplicates; // cells that occur in several sweeps: the settings of the first one apply
};

struct ceilings;

// Of memory_bytes: the system keeps all that is free (machine_room_bytes). 0 means unknown.
enum { PLAN_NO_ROOM = 1 };

// The properties of the machine, so that tests can plan for other machines.
struct plan_machine {
    const struct ceilings *ceilings;   // NULL: uses rough figures, and the plan says so
    int64_t memory_bytes;              // most host memory of a worker
    int physical_cores;                // the value of threads = auto
    int most_threads;                  // processing units that a worker may use; 0: unknown
    const char *threads_note;          // why auto is less than the cores; NULL or "": it is not
    const struct device_info *devices; // available or not
    size_t device_count;
    // The plan continues a run with --resume. The run's record tells which cells were skipped for memory and time when
    // it began. A new decision from today's ceilings could drop a cell whose trials are missing.
    bool resuming;
    // Called before a wait: the content of a large model (bytes) is about to be hashed. NULL: no call.
    void (*reading)(const char *model, double bytes);
    // Called without ceilings, if a cell may run: measures them into *out. Every error in suite and `only` is reported
    // before that. NULL: no call.
    enum status (*measure)(void *user, const struct ceilings **out, struct error *err);
    void *user;
};

struct suite;

// Expands a suite: reads each model's headers and hashes its content. Cells are in the order of the sweeps and, within
// a sweep, of the axes of rules.h. only: NULL, a glob over labels, or at least the first QUERY_KEY_DIGITS of a key;
// other cells are not part of the plan. Errors: ERR_NOMEM; ERR_USAGE with "file:line: reason": a model that cannot be
// opened, unknown names, linked lists of different length, more than PLAN_CELLS_MAX cells, nothing matches `only`.
enum { PLAN_CELLS_MAX = 10000 };
enum status plan_create(struct suite *suite, const struct plan_machine *machine, const char *only,
                        struct plan **out, struct error *err);

// ERR_UNSUPPORTED, with the first reason, if no cell of the plan will run.
enum status plan_check_any(const struct plan *plan, struct error *err);

void plan_destroy(struct plan *plan); // NULL is legal

#endif
