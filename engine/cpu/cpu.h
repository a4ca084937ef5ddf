// cpu.h - the CPU backend's inner structures, in reading order: kernels, weights, buffers, one pass.
//
// weights.c says where each weight lies, pack.c packs them, prepare.c makes a model ready. plan.c lays out a context's
// arena. forward.c runs a step. products.c, attend.c, experts.c and sample.c do its heavy work, and pass.c has the
// functions that they share. Each function that lays out memory runs twice: once without memory to measure, and once to
// place. So a plan and the memory taken cannot differ.
#ifndef ENGINE_CPU_CPU_H
#define ENGINE_CPU_CPU_H

#include "base/deal.h"
#include "engine/backend.h"
#include "engine/model/kv.h"
#include "engine/model/observe.h"
#include "engine/model/sampler.h"
#include "engine/model/weights.h"
#include "kernels/quant.h"

// ---- laying out memory -------------------------------------------------------------------------------

struct cpu_cursor {
    unsigned char *base; // NULL: only measure
    size_t used_bytes;
};
// 64-byte aligned; NULL while measuring.
void *cpu_take(struct cpu_cursor *cursor, size_t count, size_t size_bytes);

size_t cpu_element_bytes(enum dtype type);

// ---- a prepared model --------------------------------------------------------------------------------

// The variants chosen at load for scheme and device. A context chooses those for its KV type.
struct cpu_kernels {
    k_linear_fn *gemv, *gemm, *head_gemv, *head_gemm;
    int gemv_tokens, head_gemv_tokens; // most tokens for which GEMV is used
    k_linear_fn *router;         // f32 in every scheme, because it is small and makes decisions
    k_cast_fn *cast, *head_cast; // to the type that products read
    k_cast_fn *stage;            // to cpu_staged()
    k_cast_fn *embedding_cast;
    k_rmsnorm_fn *rmsnorm;
    k_layernorm_fn *layernorm;
    k_rope_fn *rope;
    k_activate_fn *activate; // the description's
    k_softcap_fn *softcap;
    k_add_fn *add;
};

struct cpu_matrix {
    unsigned char *packed; // panels, see kernels.h
    float *bias;           // (rows) or NULL
    enum dtype type;
    int rows, cols;
    int group; // types in groups: inputs that share a scale
};
size_t cpu_panel_bytes(const struct cpu_matrix *m);

// weight NULL: the description has no such norm; bias NULL: the norm has no bias.
struct cpu_norm {
    float *weight, *bias;
};

struct cpu_expert {
    struct cpu_matrix gate, up; // (ff, width)
    struct cpu_matrix down;     // (width, ff)
};

struct cpu_layer {
    struct cpu_norm attn_norm, ff_norm;           // (width)
    struct cpu_norm attn_post_norm, ff_post_norm; // (width)
    float *q_norm, *k_norm;                       // (head_dim) or NULL
    struct cpu_matrix qkv[3];                     // q, k, v: one stream of panels
    struct cpu_matrix out;                        // (width, heads * head_dim)
    struct cpu_matrix gate, up;                   // (ff, width); gate has 0 rows if there is none
    struct cpu_matrix down;                       // (width, ff)
    // With experts, these replace gate, up and down:
    struct cpu_matrix router, shared_router; // (experts, width), (1, width) in f32
    struct cpu_expert *experts;              // (experts)
    struct cpu_expert shared;                // width shared_ff; 0 rows if there is none
};

struct cpu_weights {
    struct cpu_layer *layers;
    struct cpu_expert *experts; // (layers, experts): the layers point into it
    unsigned char *embedding;   // (vocab, width) rows of type scheme_embedding(); NULL when tied
    unsigned char *positions;   // (learned_positions, width), as the embedding; NULL: none
    struct cpu_norm embedding_norm, final_norm; // (width)
    struct cpu_matrix head;                     // (vocab, width)
};

struct cpu_model {
    struct model_config config;
    const struct scheme *scheme;
    struct device *device; // borrowed
    struct pool *pool;     // its threads
    struct cpu_kernels kernels;
    struct cpu_weights weights;
    bool streamed; // the weights exceed the last-level cache: every step reads them from memory
    void *memory;  // the memory that weights point into
};

// The type that attention and SwiGLU write for the next product: its input type, or f32 where that is quantized. A
// token's scale is not known until its row is complete (see ready_input).
enum dtype cpu_staged(const struct scheme *scheme);

// Visits each weight of one layer or (-1) outside the layers; vectors are float *, tables unsigned char *, all others
// struct cpu_matrix. Where weights->layers is NULL, as while measuring, layers share one unnamed field each.
void cpu_weights_walk(const struct model_config *config, const struct scheme *scheme,
                      struct cpu_weights *weights, int layer, weight_visit *visit, void *arg);
// Places (or measures) all weights. The caller owns the arrays of layers and experts; both are NULL while measuring.
void cpu_weights_place(struct cpu_cursor *cursor, const struct model_config *config,
                       const struct scheme *scheme, struct cpu_weights *weights);
// Fills placed weights from the checkpoint, on the model's pool. Errors: ERR_FORMAT if a weight is NaN or infinite,
// ERR_INTERRUPTED if `progress` asks to stop, ERR_NOMEM for scratch.
enum status cpu_pack(struct cpu_model *m, const struct checkpoint *ck, engine_progress *progress,
                     void *user, struct error *err);

enum status cpu_prepare(struct checkpoint *ck, const struct engine_options *options,
                        engine_progress *progress, void *user, void **prepared, struct error *err);
void cpu_prepared_destroy(void *prepared);

// ---- a planned context ---------------------------------------------------------------------------------

enum {
    // Up to this many tokens each worker norms all rows itself: cheaper than a barrier.
    SHARED_NORM_TOKENS = 4,
    // Floats of gate, and of up, in one block of rows. Both stay in a core's L2 until SwiGLU has read them.
    FF_BLOCK_FLOATS = 64 * 1024,
    // With fewer panels per thread than this, the tokens of a product are split as well, into blocks of at least
    // BLOCK_TOKENS. Several threads then read the same panel, which costs little where many tokens share it.
    PANELS_A_WORKER = 8,
    BLOCK_TOKENS = 32,
    // Panels that a thread takes at a time. A piece takes tens of microseconds or more, and other threads take
    // the rest of a delayed thread.
    GEMV_PIECE = 4,
    GEMM_PIECE = 12,
    // Query rows (tokens x heads of a group) of one attention call in prefill.
    ATTEND_ROWS = 256,
};

// The experts of each token. Every worker computes its own identical copy. See model/route.h.
struct cpu_routing {
    int *chosen;          // (SHARED_NORM_TOKENS, experts_used)
    float *shares;        // (SHARED_NORM_TOKENS, experts_used)
    int *first;           // (experts + 1)
    int *slot_token;      // (rows * experts_used)
    float *slot_share;    // (rows * experts_used)
    unsigned char *input; // (SHARED_NORM_TOKENS, input stride) rows of one expert
    float *scales;        // (SHARED_NORM_TOKENS) of input
};

// Buffers for experts. Slots are (token, expert) pairs; those of an expert are consecutive.
struct cpu_expert_buffers {
    float *scores;         // (rows, score_stride): scores of the router, then of the shared expert
    int *chosen;           // (rows, experts_used)
    float *shares;         // (rows, experts_used)
    unsigned char *input;  // (slots, input_bytes): inputs of the routed experts' products
    float *scales;         // (slots) of input
    unsigned char *shared; // (rows, shared_bytes): input of the shared expert's down projection
    size_t score_stride, input_bytes, shared_bytes;
};

// Scratch of one thread.
struct cpu_worker {
    float *row;           // (width) a normed row before it is cast
    unsigned char *input; // (SHARED_NORM_TOKENS, input stride)
    float *scales;        // (SHARED_NORM_TOKENS) of input
    float *gate, *up;     // (FF_BLOCK_FLOATS)
    struct cpu_routing routing;
    float *attended; // (tile tokens, group, head_dim)
    void *attend_scratch;
    struct sampler sampler; // owned; zeros until a temperature above 0 is set
};

// Tokens of one sequence within a pass.
struct cpu_part {
    int sequence, first, count; // positions first .. first + count - 1
    int row;                    // row of its first token in the pass
};

struct cpu_buffers {
    struct kv_cache kv;
    float *freq, *cos, *sin;                   // (rotary/2), (positions, rotary/2)
    float *local_freq, *local_cos, *local_sin; // for layers with a window; NULL: the same
    float *bias;                               // (heads, positions) ALiBi; NULL: none
    float *branch; // (rows, width): outputs that are normed before they are added; NULL: none are
    float *x;      // (rows, width): the residual stream
    float *qkv;    // (rows, qkv_width): q heads, k heads, v heads of a token
    // (rows, input_bytes): inputs of the next product, or the values that they are quantized from.
    unsigned char *input;
    // (rows, ff_bytes): the same for the down projection; with experts (slots, ...)
    unsigned char *ff;
    unsigned char *codes; // (rows, codes_bytes): quantized inputs; NULL if there are none
    float *scales;        // (rows) of codes
    struct cpu_expert_buffers experts;
    float *logits;             // (logit_rows, vocab)
    struct cpu_part *parts;    // (rows)
    const int32_t **tokens;    // (rows) ids of each part
    int *wanted;               // (rows) rows of the pass whose logits are computed
    int32_t *ids;              // (batch) drawn ids, by span of the step
    struct rng *streams;       // (batch) by sequence
    struct logits_scan *scans; // (batch, threads) of sampled rows, by span
    int64_t *nonfinite;        // (threads) number of non-finite logits
    struct deal_slot *deals;   // (threads) shares taken of the current product
    struct cpu_worker *workers;

    int rows; // most tokens per pass
    int tile; // tokens per attention call
    size_t qkv_width, input_bytes, ff_bytes, codes_bytes;
};

struct cpu_context {
    struct cpu_model *model; // borrowed
    struct cpu_buffers buffers;
    struct sampling sampling;
    k_attention_fn *attention;
    k_cast_fn *kv_store;
    void *memory;
};

// Places (or measures) KV cache and scratch; b->workers must hold `threads` (NULL while measuring).
void cpu_buffers_place(struct cpu_cursor *cursor, const struct model_config *config,
                       const struct scheme *scheme, const struct context_options *options,
                       int threads, struct cpu_buffers *b);
struct memory_plan cpu_memory_plan(const struct device_info *device,
                                   const struct model_config *config, const struct scheme *scheme,
                                   const struct context_options *options, int threads);
enum status cpu_context_create(void *prepared, const struct context_options *options,
                               void **planned, struct error *err);
void cpu_context_destroy(void *planned);
enum status cpu_context_sample(void *planned, const struct sampling *sampling, struct error *err);

// ---- one pass --------------------------------------------------------------------------------------------

// Up to engine_pass_tokens tokens through the whole model. All workers read it; only worker 0 writes, and only
// the mark.
struct cpu_pass {
    const struct cpu_context *ctx;
    const struct cpu_model *model;
    const struct cpu_buffers *b;
    int tokens, parts, workers;
    int wanted;    // rows whose logits are computed
    float *logits; // (wanted, vocab)
    bool single;   // a decode step: every part is one token
    enum phase phase;
    const struct engine_observer *observer;
    uint64_t mark_ns; // end of the last event
};

enum status cpu_step(void *planned, const struct engine_step *step, struct step_result *result,
                     struct error *err);
// Counts non-finite logits, draws ids for spans that request them, and returns the requested rows: fills in ids,
// nonfinite and logits of *result (sample.c).
void cpu_sample(const struct cpu_context *ctx, const struct engine_step *step,
                struct step_result *result);

// Only worker 0 emits events, and only if cpu_observed returns true. An event's time begins at the end of the previous
// one.
bool cpu_observed(const struct cpu_pass *pass, int worker);
void cpu_emit(struct cpu_pass *pass, int layer, enum op_class op, struct op_cost cost);
// The cost of a product over `tokens` tokens, and of norming that many rows of the residual stream.
struct op_cost cpu_product_cost(const struct cpu_pass *pass, const struct cpu_matrix *m,
                                int tokens);
struct op_cost cpu_norm_cost(const struct cpu_pass *pass, int tokens, const struct cpu_norm *norm);

// Input rows of a product.
struct cpu_input {
    const unsigned char *x;
    size_t row_bytes;
    enum dtype type;
    const float *scales; // (rows) of quantized inputs, else NULL
};

// The number of inputs in a row as weights of this type read it: padded with zeros to whole groups.
int cpu_padded(enum dtype weights, int cols);

// Input rows under construction. Few: each worker computes all of them itself. Many: each computes its share, rows
// [begin, end), and all meet in cpu_rows_end.
struct cpu_rows {
    bool alone;
    int begin, end;
    unsigned char *rows;
    float *scales; // (rows) results of the casts; read if the type is quantized
    size_t row_bytes;
    enum dtype type;
};
struct cpu_rows cpu_rows_begin(const struct cpu_pass *pass, int worker, int rows, enum dtype type);
// Row `index`: x of n elements, cast for weights of that type.
void cpu_rows_cast(const struct cpu_rows *m, int index, const float *x, int n, k_cast_fn *cast,
                   enum dtype weights);
struct cpu_input cpu_rows_end(const struct cpu_pass *pass, int worker, const struct cpu_rows *m);

// Shows rows to the tap, if there is one. All workers call it; no worker writes the rows meanwhile.
bool cpu_tapped(const struct cpu_pass *pass);
void cpu_show(const struct cpu_pass *pass, int worker, const struct engine_rows *rows);
// The same for a product's f32 inputs, one row for each token of the pass.
void cpu_show_input(const struct cpu_pass *pass, int worker, enum engine_point point, int layer,
                    struct cpu_input input, int cols);

// y (tokens, ldy) = input W^T + bias (+ y) for `count` matrices that read the same input; matrix i writes to y[i]. A
// worker computes its share of the panels and, if those are few, of the tokens.
void cpu_products(const struct cpu_pass *pass, int worker, const struct cpu_matrix *matrices,
                  int count, struct cpu_input input, int tokens, float *const *y, size_t ldy,
                  bool accumulate);

// The number of panels of the matrix that a thread takes at a time, for this many tokens.
int cpu_piece(const struct cpu_pass *pass, const struct cpu_matrix *matrix, int tokens);

// Rows [row0, row0 + rows) of one product, a whole number of panels except at the end: y (tokens, rows).
void cpu_block_product(const struct cpu_pass *pass, const struct cpu_matrix *m, int row0, int rows,
                       struct cpu_input input, int tokens, float *y);
// The number of rows that fit a thread's gate and up for this many tokens: whole panels, at least one.
int cpu_block_rows(int tokens);

// act(gate) * up, or act(up): the matrices, their inputs, and the destination of the rows.
struct cpu_gate_up_job {
    const struct cpu_matrix *gate, *up; // gate has 0 rows if there is none
    struct cpu_input input;
    int tokens;
    unsigned char *out; // (tokens, out_bytes), staged for the next product
    size_t out_bytes;
    enum dtype next; // weights of the next product
};
// Computes panels [panel0, panel1) for all tokens of the job, on this worker alone.
void cpu_gate_up_panels(const struct cpu_pass *pass, int worker, const struct cpu_gate_up_job *job,
                        int panel0, int panel1);

// act(gate) * up, or act(up), for the worker's share of the feed-forward rows, cast into b->ff.
void cpu_gate_up(const struct cpu_pass *pass, int worker, const struct cpu_layer *layer,
                 struct cpu_input input);

// x += the output of the experts for h = norm(x), which replaces the feed-forward (experts.c).
void cpu_experts(struct cpu_pass *pass, int worker, int index);

// out = norm(x), one row.
void cpu_norm_row(const struct cpu_pass *pass, const float *x, const struct cpu_norm *norm,
                  float *out);

// Clips, norms and rotates q, k and v as the description says, for the worker's share of (token, KV head).
void cpu_rotate(const struct cpu_pass *pass, int worker, int layer);
// Stores k and v of the same share in the cache.
void cpu_store_kv(const struct cpu_pass *pass, int worker, int layer);
// Attention for the worker's share of (part, tile, KV head), cast into b->input.
void cpu_attend(const struct cpu_pass *pass, int worker, int layer);
// Whether some worker reads K and V that another worker stores in this pass.
bool cpu_attention_shares_keys(const struct cpu_pass *pass);

#endif
