// protocol.h - the messages between runner and worker.
//
// The runner gives the worker one JSON object, the job, on standard input. The worker answers with events, one JSON
// object per line, on a separate descriptor. So output of a library on standard output or error cannot mix with them.
// Times are ns, sizes bytes. In order:
//
//   {"event":"hello","version":1,"pid":412,"memory_limit":21474836480,"threads":2,"pinned":true}
//   {"event":"progress","phase":"load","done":0.41}                 at most ten a second, any phase
//   {"event":"loaded","engine":"builtin","engine_version":"ridge-2",
//     "arithmetic":"bf16 x bf16 -> f32","stored":"q8_0",            stored: null unless in codes
//     "metrics":[{"name":"load","value":1.2e9,"phase":"load","source":"host clock"}]}
//   {"event":"cell","cell":3}                                       index into the plan: it begins
//   {"event":"progress","phase":"decode","cell":3,"repetition":1,"done":0.5}
//   {"event":"repetition","cell":3,"repetition":1,"token_hash":"9f..","nonfinite":0,
//     "metrics":[{"name":"ttft","value":8.1e7,"phase":"prefill","source":"host clock"}],
//     "noise":[{"name":"steal","value":0,"source":"os"}],"token_ns":[[81000000,94000000]]}
//   {"event":"trace","cell":3,"source":"host clock, observer pass","names":["k_..."],"lost":0,
//     "rows":[[1,0,4,81000000,94000000,-1]]}                        only where the job asks for traces
//   {"event":"trial","cell":3,"metrics":[...]}                      the cell is done
//   {"event":"error","cell":3,"code":"nomem","message":"..."}       or it failed, and the next begins;
//                                                                   without "cell" the whole job failed
//   {"event":"ceilings","rows":[{"name":"read","level":"DRAM","kernel":"k_read_f32_f32_avx512",
//     "threads":2,"value":4.5e10,"low":4.4e10,"high":4.6e10,"samples":9}],"note":""}
//                                                                   only of a ceilings job
//   {"event":"quality","metrics":[{"name":"perplexity","value":17.02,"source":"..."}],"note":""}
//                                                                   only of a quality job, after "loaded"
//   {"event":"bye"}
//
// "value":null is "not measured". Names and units of metrics are the rows of results/metric.h. The runner checks every
// line. A line that is not an event, is too long or is out of order makes the current trial `crashed` and ends the
// worker.
#ifndef BENCH_PROTOCOL_PROTOCOL_H
#define BENCH_PROTOCOL_PROTOCOL_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "bench/roof/roof.h"
#include "bench/suite/plan.h"
#include "engine/engine.h"
#include "results/store.h"

enum {
    PROTOCOL_VERSION = 1,
    PROTOCOL_LINE_MAX = 64 << 20, // a repetition of 64 sequences of 32768 tokens fits
    PROTOCOL_EVENTS_FD =
        3, // descriptor of the runner's pipe; the worker gets the number as an argument
};

// ---- job: runner -> worker --------------------------------------------------------------------------

enum job_task { JOB_CELLS, JOB_CEILINGS, JOB_QUALITY };

// JOB_QUALITY: settings of the evaluation, in addition to the job's model, scheme and device.
struct job_quality {
    enum dtype kv;
    const char *text, *text_hash; // the path, and the hash of its bytes when the run was planned
    const char *convention;
    int windows; // the most windows; 0: all
};

struct job_cell {
    int index; // index into plan.cells; every event returns it
    int batch, context, gen, chunk;
    enum dtype kv;
    enum decode_form step;
    const char *prompt; // "random" or "text:FILE"
    struct sampling sampling;
    int reps;
    int64_t min_ns; // measured time after which `reps` repetitions are enough
    enum warmup warmup;
    unsigned collect;
};

struct job {
    enum job_task task;
    int threads;                // threads of the pool
    unsigned isa;               // mask of kernel tiers
    int64_t memory_limit_bytes; // 0: the available memory minus some headroom

    // JOB_CELLS and JOB_QUALITY: one model, in one scheme, on one device
    const char *engine; // a name of bench/engines
    const char *device, *scheme;
    enum dtype head;
    enum products products;
    const char *calib;                   // calibration text of int4-awq, or NULL
    const char *model_path, *shape_path; // one of them is NULL
    uint64_t seed;
    bool cold;  // drop the files from the page cache before loading, if the system allows it
    bool trace; // send the operations or kernels that the instruments saw, one by one
    struct job_cell *cells; // none in JOB_QUALITY
    size_t cell_count;
    struct job_quality quality;
};

// The job as text; caller frees. NULL when memory is exhausted.
char *job_encode(const struct job *job);

// Strings are borrowed from *root, which the caller json_decref's afterwards. The caller frees the cells.
enum status job_decode(const char *text, size_t length, struct job *out, json_t **root,
                       struct error *err);

// ---- events: worker -> runner -----------------------------------------------------------------------

// One operation of an engine, or one kernel or copy of a device, in an instrument's repetition. Times are on one clock
// for all rows of a source.
struct trace_row {
    enum phase phase; // PHASE_LOAD: of no phase
    int layer;        // -1: embedding, head, end of a step
    int op;           // enum op_class; OPC_COUNT: of none
    int64_t begin_ns, end_ns;
    int name; // of the kernel, an index into the event's names; -1: an operation, which has none
};
enum {
    TRACE_ROWS_MAX = 1 << 15, // of one event; a trace may have many
    TRACE_NAMES_MAX = 1024,
    TRACE_LAYERS_MAX = 1 << 16,
};

enum event_type {
    EVENT_HELLO,
    EVENT_PROGRESS,
    EVENT_LOADED,
    EVENT_CELL,
    EVENT_REPETITION,
    EVENT_TRACE,
    EVENT_TRIAL,
    EVENT_ERROR,
    EVENT_CEILINGS,
    EVENT_QUALITY,
    EVENT_BYE,
    EVENT_TYPE_COUNT
};

// One line, checked. Fields that the type does not have are zero, NULL or -1 (cell).
struct event {
    enum event_type type;
    json_t *root;      // owns every string below
    int cell;          // index into the plan, -1: none
    int repetition;    // from 1
    const char *phase; // "load", WIRE_CALIBRATE, "prefill", "decode", "quality"
    double done;       // share of the phase
    // of a loaded event; stored: types of weights that the file stores as codes, or NULL
    const char *engine, *engine_version, *arithmetic, *stored;
    const char *token_hash;
    // of a trial event: the form of decode steps and the reason; NULL: there is only one form
    const char *step_form, *step_reason;
    // of a trial event: the library of prefill products, its version and its picks; NULL: none was used
    const char *products;
    int64_t nonfinite;
    struct store_metric *metrics, *noise; // owned
    size_t metric_count, noise_count;
    int64_t *token_ns; // owned: (sequences, tokens)
    int sequences, tokens;
    const char *source;       // of a trace event
    struct trace_row *trace;  // owned
    const char **trace_names; // owned
    size_t trace_count, trace_name_count;
    int64_t trace_lost;        // operations that had no room
    enum status code;          // of an error
    const char *message;       // of an error; of a quality event: what was not measured, and why
    struct ceilings *ceilings; // owned; without levels, which the runner reads itself
};

// Errors: ERR_FORMAT with the fault in the line; ERR_NOMEM. *out is then empty.
enum status event_parse(const char *line, size_t length, struct event *out, struct error *err);
void event_fini(struct event *event);

// ---- writing events: the worker's side ----------------------------------------------------------------

struct wire {
    int fd;
    uint64_t last_progress_ns;
};

// Takes `event`. If the runner has ended, SIGPIPE ends the worker.
enum status wire_send(struct wire *wire, json_t *event, struct error *err);

// {"event": name}, to be filled and sent.
json_t *wire_event(const char *name);

// A "loaded" event, to be sent. Takes `metrics`. stored: "" or NULL for plain numbers.
struct wire_loaded {
    const char *engine, *engine_version, *arithmetic, *stored;
};
json_t *wire_loaded(const struct wire_loaded *loaded, json_t *metrics);

// Appends one metric to the array `metrics`. phase, op: NULL for none. NaN is sent as null.
void wire_metric(json_t *metrics, const char *name, double value, const char *phase, const char *op,
                 const char *source);

// The phase that calibrates int4-awq. It runs once per model and text, and does not count against the time limit of a
// trial.
#define WIRE_CALIBRATE "calibrate"

// Sends rows as a trace event. names: what the rows' indices mean; at most TRACE_NAMES_MAX and TRACE_ROWS_MAX.
struct wire_trace {
    const char *source;
    const struct trace_row *rows;
    size_t count;
    const char *const *names;
    size_t name_count;
    int64_t lost;
};
enum status wire_send_trace(struct wire *wire, int cell, const struct wire_trace *trace,
                            struct error *err);

// Reports the progress of the current phase, at most ten times a second. cell < 0: none; repetition 0: none.
void wire_progress(struct wire *wire, const char *phase, int cell, int repetition, double done);

#endif
