// backend.h - the interface of a backend: prepare weights once, plan a context, run steps.
//
// A step is a whole prefill chunk or decode step, so that a backend is free to fuse operations and to record graphs.
// Each backend is one folder with one designated-initialiser table; backends.c lists them.
#ifndef ENGINE_BACKEND_H
#define ENGINE_BACKEND_H

#include "engine/engine.h"

// Points of a layer where a tap can read rows. Only models of scheme f32 are tapped, so rows are f32.
enum engine_point {
    POINT_LAYER_INPUT, // the residual stream before the layer; may be written
    POINT_QKV_INPUT,   // input of the products of q, k and v
    POINT_O_INPUT,
    POINT_MIDDLE,   // the residual stream after attention
    POINT_FF_INPUT, // input of gate and up
    POINT_DOWN_INPUT,
    POINT_SHARED_DOWN_INPUT, // of the shared expert, which all tokens use
    POINT_EXPERT_DOWN_INPUT, // of each routed expert that a pass uses, in rising order
    POINT_LAYER_OUTPUT,      // the residual stream after the layer
    ENGINE_POINTS
};

// Rows at one point, in the order of the pass's tokens.
struct engine_rows {
    enum engine_point point;
    int layer;
    float *x; // (rows, ld), of which `cols` are used
    int rows, cols;
    size_t ld;
    int expert; // POINT_EXPERT_DOWN_INPUT: number of the expert; rows are only those of its tokens
    const float *share; // (rows) the factor of its output for each token; NULL at other points
};

// Calibration's view of a step. Called between barriers, on the calling thread.
struct engine_tap {
    void (*on_rows)(void *user, const struct engine_rows *rows);
    void *user;
    bool attention_alone; // nothing after POINT_MIDDLE is needed: feed-forwards may be skipped
};

// A step as the backend sees it. Spans were validated; the caller advances the lengths afterwards.
struct engine_step {
    const struct span *spans;
    const int *positions; // where each span begins
    int span_count;
    enum phase phase;
    const struct engine_observer *observer; // NULL: no operations are reported
};

// Whether steps must wait for each operation in order to report it. Such steps run neither as graphs nor ahead of the
// host. Only an observer with on_enqueued alone does not require this.
static inline bool engine_observer_waits(const struct engine_observer *observer)
{
    return observer && (!observer->on_enqueued || observer->on_event || observer->tap);
}

// The rows of logits that a step computes for a span: those for the host, and the last one if an id is drawn from it.
static inline int span_logit_rows(const struct span *span)
{
    return span->logits == LOGITS_ALL ? span->count : span->logits == LOGITS_LAST || span->sample;
}

struct backend {
    enum device_kind kind;
    int pass_tokens; // most tokens of one pass, see engine_pass_tokens

    // model_load: *prepared is the backend's own.
    enum status (*prepare)(struct checkpoint *ck, const struct engine_options *options,
                           engine_progress *progress, void *user, void **prepared,
                           struct error *err);
    void (*prepared_destroy)(void *prepared);

    struct memory_plan (*memory_plan)(const struct device_info *device,
                                      const struct model_config *config,
                                      const struct scheme *scheme,
                                      const struct context_options *options, int threads);

    enum status (*context)(void *prepared, const struct context_options *options, void **planned,
                           struct error *err);
    void (*context_destroy)(void *planned);

    // Sets how ids are drawn and restarts the streams. Options are already validated. Called once before any step.
    enum status (*sample)(void *planned, const struct sampling *sampling, struct error *err);

    // Fills in every field of *result.
    enum status (*step)(void *planned, const struct engine_step *step, struct step_result *result,
                        struct error *err);

    // Runs of decode steps: context_ahead and context_decode. `first` is the run's first step, validated for all of
    // them. Called only if `ahead` is above 0 and there is no observer. Both NULL: a run is a loop of steps.
    int (*ahead)(const void *planned);
    enum status (*decode)(void *planned, const struct engine_step *first,
                          const struct decode_run *run, int *made, struct error *err);

    // context_decode_choice. NULL: decode steps have one form.
    struct decode_choice (*decode_choice)(const void *planned);

    // context_products. NULL: no library is used.
    const char *(*products)(void *planned);
};

extern const struct backend cpu_backend, cuda_backend;

// The backend of a kind of device, or NULL if this build has none.
const struct backend *backend_find(enum device_kind kind);

#endif
