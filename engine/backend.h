// backend.h - what a device must do: prepare weights once, plan a context, run a step.
//
// A step is a whole prefill chunk or decode step, so that a backend may fuse and graph as it likes.
// Each backend is one folder with one designated-initialiser table; backends.c lists them.
#ifndef ENGINE_BACKEND_H
#define ENGINE_BACKEND_H

#include "engine/engine.h"

// Where rows flow through a layer. Seen as f32, in models of scheme f32 alone.
enum engine_point {
    POINT_LAYER_INPUT, // the residual stream before the layer; may be written
    POINT_QKV_INPUT,   // what the products of q, k and v read
    POINT_O_INPUT,
    POINT_MIDDLE,   // the residual stream with what attention added
    POINT_FF_INPUT, // what gate and up read
    POINT_DOWN_INPUT,
    POINT_SHARED_DOWN_INPUT, // of the expert all tokens go through
    POINT_EXPERT_DOWN_INPUT, // of each routed expert that a pass touches, in rising order
    POINT_LAYER_OUTPUT,      // the residual stream behind the layer
    ENGINE_POINTS
};

// Rows at one point, in the order of the pass's tokens.
struct engine_rows {
    enum engine_point point;
    int layer;
    float *x; // (rows, ld), of which `cols` count
    int rows, cols;
    size_t ld;
    int expert;         // POINT_EXPERT_DOWN_INPUT: whose; the rows are those of its tokens alone,
    const float *share; // (rows) and each token takes so much of its output; NULL elsewhere
};

// Calibration's look into a step, between barriers.
struct engine_tap {
    void (*on_rows)(void *user, const struct engine_rows *rows);
    void *user;
    bool attention_alone; // nothing behind POINT_MIDDLE is wanted: feed-forwards may be left out
};

struct backend {
    enum device_kind kind;

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

    // Spans were validated; positions[i] is where span i begins. Lengths are advanced by the caller.
    enum status (*step)(void *planned, const struct span *spans, const int *positions,
                        int span_count, enum phase phase, const struct engine_observer *observer,
                        const float **logits, struct error *err);
};

extern const struct backend cpu_backend;

// The backend of a kind of device, or NULL where this build has none.
const struct backend *backend_find(enum device_kind kind);

#endif
