// engines.h - the seam between the harness and the engines it measures.
//
// An engine is one file with one row of calls (struct bench_engine) and a line in engines.c. `cell.engine` in the
// store, `engine` in a worker's job and the worker's "loaded" event hold its name. There are two kinds:
//
//   driven   The harness runs every step and stamps every token. It pauses the timeline between tokens for canaries.
//   whole    The engine runs a request alone and returns the times of its tokens: a server, or another program.
//
// A driven engine sets all calls from step to wait_ns, and leaves generate NULL. A whole engine sets generate, and
// leaves those and observe NULL. It cannot report prefill_time, waits, the harness's own time, op classes, counters and
// memory of this process, or bandwidth between tokens. These are stored as not measured, with the reason.
#ifndef BENCH_ENGINES_ENGINES_H
#define BENCH_ENGINES_ENGINES_H

#include <stdint.h>

#include "base/status.h"
#include "bench/protocol/protocol.h"
#include "device/device.h"
#include "engine/engine.h"

// The arguments for loading a model.
struct bench_engine_load {
    const struct job *job; // model, scheme, device, memory limit; borrowed for the call
    struct device *device; // borrowed until unload
    bool tokenizer;        // needed: some prompt is a text
    // May be called at any rate. phase: "load", or WIRE_CALIBRATE, which is not part of the load time.
    void (*progress)(void *user, const char *phase, double done);
    void *user;
};

// Facts about a loaded model. Pointers are borrowed until unload.
struct bench_engine_facts {
    const char *version;    // of what the engine computes
    const char *arithmetic; // "bf16 x bf16 -> f32"
    // Types of weights that the file stores as codes ("q8_0"); "": plain numbers.
    const char *stored;
    const struct model_config *config;
    const struct scheme *scheme;           // resolved
    const struct tokenizer *tokenizer;     // NULL if the job needs none
    const struct calibration *calibration; // NULL: the scheme needs no calibration
};

// One request for every sequence of a cell, for engines that run requests whole.
struct bench_engine_request {
    const int32_t *prompt; // (batch, prompt_tokens)
    int prompt_tokens;
    // (batch, gen), filled. Any number that identifies a token: they are hashed and compared.
    int32_t *ids;
    int64_t *token_ns; // (batch, gen), filled: from sending the request to token i of sequence s
    int64_t nonfinite; // filled: number of non-finite logits, if the engine sees logits
};

struct bench_engine {
    const char *name;

    // ---- the model, once per worker ----------------------------------------------------------------
    // *model is owned by the caller. Errors: those of reading and of memory; ERR_UNSUPPORTED.
    enum status (*load)(const struct bench_engine_load *in, void **model, struct error *err);
    void (*describe)(const void *model, struct bench_engine_facts *out);
    // The memory that a cell will need. NULL: the engine does not know.
    enum status (*memory)(const void *model, const struct job_cell *cell, struct memory_plan *out,
                          struct error *err);
    void (*unload)(void *model); // NULL is legal

    // ---- a cell ------------------------------------------------------------------------------------
    // *run: memory for the cell's sequences, owned by the caller. It borrows the model.
    enum status (*open)(void *model, const struct job_cell *cell, void **run, struct error *err);
    void (*close)(void *run); // NULL is legal
    // Empties every sequence and restarts the random streams.
    enum status (*begin)(void *run, const struct sampling *sampling, struct error *err);

    // ---- driven engines ----------------------------------------------------------------------------
    // Runs the spans through the model: context_step of engine/engine.h.
    enum status (*step)(void *run, const struct span *spans, int count, enum phase phase,
                        struct step_result *result, struct error *err);
    // Runs of decode steps, and how many may be in flight at once: context_decode and context_ahead.
    enum status (*decode)(void *run, const struct decode_run *decode, int *made, struct error *err);
    int (*ahead)(const void *run);
    void (*truncate)(void *run, int sequence, int length); // drops positions from `length` on
    uint64_t (*clock_ns)(const void *run);                 // the clock that stamps steps
    struct device_clock_tie (*clock_tie)(const void *run); // ties that clock to the host's
    uint64_t (*wait_ns)(
        const void *run); // waits so far, or DEVICE_WAIT_UNKNOWN; callers take differences
    // context_decode_choice. NULL: the engine has one form of decode steps.
    struct decode_choice (*decode_choice)(const void *run);
    // context_products. NULL: the engine uses no library.
    const char *(*products)(void *run);
    // Reports each operation to the observer; NULL observer: stops reporting. The call itself may be NULL.
    void (*observe)(void *run, const struct engine_observer *observer);

    // ---- whole engines -----------------------------------------------------------------------------
    enum status (*generate)(void *run, struct bench_engine_request *request, struct error *err);
};

extern const struct bench_engine bench_engine_builtin;

// The engine of this name, or NULL.
const struct bench_engine *bench_engine_find(const char *name);

#endif
