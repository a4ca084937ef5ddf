// cuda.h - the inner structures of the CUDA backend, in reading order: weights, a context's memory, one pass.
//
// weights.c says where each weight lies, pack.c packs and uploads them, prepare.c makes a model ready. plan.c lays out
// a context, forward.c enqueues a pass, experts.c the routed experts. step.c runs steps, decode.c draws ids and runs
// decode steps ahead of the host, persistent.c runs them as one kernel. library.c lets cuBLASLt multiply. Each function
// that lays out memory runs twice: once without memory to measure, once to place. All pointers are device memory unless
// their comment says host. Shapes: T tokens of a pass, d width, f feed-forward.
#ifndef ENGINE_CUDA_CUDA_H
#define ENGINE_CUDA_CUDA_H

#include "device/cuda.h"
#include "engine/backend.h"
#include "engine/model/kv.h"
#include "engine/model/observe.h"
#include "engine/model/weights.h"
#include "kernels/cuda/cuda.h"

// ---- laying out memory -------------------------------------------------------------------------------

struct gpu_cursor {
    unsigned char *base; // NULL: only measure
    size_t used_bytes;
};
// 256-byte aligned; NULL while measuring.
void *gpu_take(struct gpu_cursor *cursor, size_t count, size_t size_bytes);

// ---- a prepared model --------------------------------------------------------------------------------

struct gpu_matrix {
    struct cuda_layout layout; // 0 rows: the description has no such product
    void *w;
    float *bias; // (rows) or NULL
    // For products by the library, else NULL: plain rows of plain_ld elements, and the (rows) scales of codes.
    void *plain;
    float *plain_scale;
    size_t plain_ld;
};

struct gpu_norm {
    float *weight, *bias; // weight NULL: no norm
};

struct gpu_expert {
    struct gpu_matrix gate_up, down; // rows of gate, then up; only up if there is no gate
};

struct gpu_layer {
    struct gpu_norm attn_norm, ff_norm, attn_post_norm, ff_post_norm; // (d)
    float *q_norm, *k_norm;                                           // (head_dim) or NULL
    struct gpu_matrix qkv;                                            // rows of q, then k, then v
    struct gpu_matrix out, gate_up, down;
    // With experts, these replace gate, up and down:
    struct gpu_matrix router, shared_router; // f32
    struct gpu_expert *experts;              // (experts), host
    struct gpu_expert shared;
};

struct gpu_weights {
    struct gpu_layer *layers;   // host
    struct gpu_expert *experts; // (layers, experts), host; the experts of the layers point into it
    void *embedding;            // (vocab, d) in the type of scheme_embedding(); NULL when tied
    void *positions;            // (learned_positions, d), same type; NULL: none
    struct gpu_norm embedding_norm, final_norm;
    struct gpu_matrix head;
};

// The kernels of a scheme.
struct gpu_kernels {
    cuda_linear_fn *linear, *head, *router;
    cuda_norm_fn *norm, *head_norm, *plain_norm; // outputs: the scheme's inputs, the head's, f32
    cuda_activate_fn *activate;
    cuda_add_fn *add;
    cuda_softcap_fn *softcap;
    cuda_embed_fn *embed;
    cuda_rotate_fn *rotate;
    cuda_sample_fn *sample;
    cuda_advance_fn *advance;
    cuda_stamp_fn *stamp;
};

struct gpu_model {
    struct model_config config;
    const struct scheme *scheme;
    struct device *device; // borrowed
    struct gpu_kernels kernels;
    struct gpu_weights weights;
    void *memory; // the memory that weights point into
    size_t weights_bytes;
    struct cuda_products
        *library;        // multiplies in prefill passes; NULL: the scheme does not ask for it
    bool library_scales; // it scales sums of codes by itself
};

// Visits every weight of the description, in memory order. Vectors are float *, tables void *, all others struct
// gpu_matrix. weights->layers and weights->experts must be allocated.
void gpu_weights_walk(const struct model_config *config, const struct scheme *scheme,
                      struct gpu_weights *weights, weight_visit *visit, void *arg);
// Takes memory for all weights, or measures it. False: the kernels do not serve this size of groups.
// *copy_bytes: of them, those of plain rows for the library, which come last.
bool gpu_weights_place(struct gpu_cursor *cursor, const struct model_config *config,
                       const struct scheme *scheme, struct gpu_weights *weights,
                       size_t *copy_bytes);
// Packs the weights of `ck` and uploads them to their places. Errors: ERR_FORMAT for a weight that is not finite;
// ERR_NOMEM; ERR_INTERRUPTED; ERR_IO from the device.
enum status gpu_pack(struct gpu_model *m, const struct checkpoint *ck, engine_progress *progress,
                     void *user, struct error *err);

// ---- a planned context -------------------------------------------------------------------------------

// The most decode steps in flight, and the number of slots for results.
enum { GPU_AHEAD = 8 };

// The host's side of a pass, in pinned memory: inputs copied in before it, and results copied back after it.
struct gpu_host {
    struct cuda_token *tokens; // (rows)
    int32_t *ids;              // (rows)
    int32_t *wanted;           // (rows) rows of the pass whose logits are computed
    int32_t *sequence;         // (logit rows) sequence whose stream draws for a row; -1: none
    struct cuda_arrival *ring; // (GPU_AHEAD)
    int32_t *ring_ids;         // (GPU_AHEAD, logit rows)
    float *logits;             // (logit rows, vocab)
    float *scores;             // experts: (rows, experts + 1)
    int32_t *slot_token;
    float *slot_share; // (rows * used + rows)
};

struct gpu_buffers {
    struct kv_cache kv;
    float *cos, *sin, *local_cos, *local_sin; // (positions, rotary / 2)
    float *bias;                              // (heads, positions) of ALiBi; NULL: none
    struct cuda_token *tokens;                // (rows)
    int32_t *ids, *wanted;                    // (rows)
    float *x, *branch;                        // (rows, d); branch NULL: no norm follows a branch
    float *qkv, *attended;                    // (rows, qkv width), (rows, heads * head_dim)
    // Inputs of a product in the order of its weights: whole groups of rows of input_ld.
    void *input;
    float *input_scale; // (rows)
    // NULL unless norms are fused into products (gpu_carries). carried: ordered like input, for CUDA_GROUP_TOKENS
    // tokens, without the norm's factor; squares: (CUDA_GROUP_TOKENS, d / 16)
    void *carried;
    float *squares;
    float *gate_up;   // (slots, 2 f)
    void *ff;         // ordered like input: (slots, ff_ld)
    float *ff_scale;  // (slots)
    void *head_input; // ordered like input: (rows, head_ld)
    float *head_scale;
    void *linear_partial, *attention_partial;
    float *normed, *scores; // experts: (rows, padded d), (rows, experts + 1)
    void *slot_input;       // ordered like input: the tokens of one expert
    float *slot_scale, *slot_y;
    int32_t *slot_token;
    float *slot_share;
    // NULL unless the library multiplies: its workspace, and unscaled sums of codes that are added to x: (rows, d)
    void *library_workspace, *library_sums;
    uint32_t *exchange; // words of the persistent step
    float *logits;      // (logit rows, vocab)
    int32_t *sequence, *drawn;
    unsigned long long *nonfinite;
    uint64_t *streams; // (batch)
    void *candidates;  // (batch, vocab) of 8 bytes: weights for the draw
    uint64_t *stamps;  // times of the begin and of the logits
    uint64_t *number;  // number of finished steps

    int rows, logit_rows, positions, batch;
    size_t qkv_width, input_ld, ff_ld, head_ld;
};

// The decode step as one kernel.
struct gpu_persistent {
    const char *why_not; // reason; NULL: the form serves this context
    cuda_step_fn *step;
    struct cuda_step job[STEP_MOST_TOKENS]; // indexed by the number of tokens minus one
    int most_tokens;                        // the most that it serves; 0: none
    int tokens;                             // of the last step, for which the exchange is laid out
    bool chosen;                            // decode steps run in this form
    char reason[128];                       // why this form was chosen
};

struct gpu_context {
    struct gpu_model *model; // borrowed
    struct device_queue *queue;
    struct gpu_buffers buffers;
    struct gpu_host host;
    cuda_attention_fn *attention;
    void *memory, *pinned;
    struct sampling sampling;
    uint64_t number; // number of the last enqueued step, from 1
    int *chosen;     // experts: (rows, used), host
    float *shares;   // (rows, used), host
    int *first;      // (experts + 1)
    struct gpu_persistent persistent;
    // The decode step as a graph, for `graph_tokens` tokens that are all drawn for, with this sampling. NULL: not
    // recorded yet.
    struct cuda_graph *graph;
    int graph_tokens;
    bool graph_persistent;
    char products[4096];                          // text of gpu_context_products
    const struct engine_observer *graph_observer; // the observer that saw the recording, or NULL
};

// Whether this context's decode steps fuse the following norm into each product (struct cuda_carry). All of its steps
// do, or none, so that a sequence's results never depend on its neighbours. Batches of more than CUDA_GROUP_TOKENS
// sequences gain nothing from it.
bool gpu_carries(const struct model_config *config, const struct scheme *scheme,
                 const struct context_options *options);
// A context's memory: laid out or measured; planned; created, with the errors of struct backend.
void gpu_buffers_place(struct gpu_cursor *cursor, const struct model_config *config,
                       const struct scheme *scheme, const struct context_options *options,
                       struct gpu_buffers *b);
struct memory_plan gpu_memory_plan(const struct device_info *device,
                                   const struct model_config *config, const struct scheme *scheme,
                                   const struct context_options *options, int threads);
enum status gpu_context_create(void *prepared, const struct context_options *options,
                               void **planned, struct error *err);
void gpu_context_destroy(void *planned);
enum status gpu_context_sample(void *planned, const struct sampling *sampling, struct error *err);

// ---- one pass ----------------------------------------------------------------------------------------

// One enqueued pass of up to engine_pass_tokens tokens through the whole model.
struct gpu_pass {
    struct gpu_context *ctx;
    const struct gpu_model *model;
    struct gpu_buffers *b;
    int tokens, wanted;
    int logits_row;  // first row of this pass in the step's logits
    bool single;     // no two tokens belong to one sequence
    bool persistent; // the pass runs as one kernel
    bool carried;    // the next norm of x is in `carried`
    bool library;    // the layers' products are the library's, and their inputs plain rows
    enum phase phase;
    const struct engine_observer *observer;
    uint64_t mark_ns;  // end of the last event
    struct error *err; // the first failure; nothing is enqueued after it
};

// Enqueues a whole pass. A failure is in pass->err.
void gpu_forward(struct gpu_pass *pass);
// x = the embeddings of the pass's tokens.
void gpu_embed(struct gpu_pass *pass);
// x += the output of the experts, which replaces the feed-forward. Waits for the router's scores.
void gpu_experts(struct gpu_pass *pass, int index);

void *gpu_stream(const struct gpu_pass *pass);
// y (tokens, ldy) = x W^T + bias (+ y)
void gpu_product(const struct gpu_pass *pass, cuda_linear_fn *linear, const struct gpu_matrix *m,
                 const void *x, size_t ldx, const float *scale, int tokens, float *y, size_t ldy,
                 bool accumulate);
// The destination of rows of inputs: an order of products, or plain rows of ld elements.
struct gpu_input {
    void *x;
    float *scale;
    enum cuda_order order;
    size_t ld;
};
// out = norm(x) as `kernel` stores it; norm->weight NULL: a cast. index: rows of x to read, or NULL for all
void gpu_norm(const struct gpu_pass *pass, cuda_norm_fn *kernel, const struct gpu_norm *norm,
              const float *x, size_t ldx, const int32_t *index, int rows, int n,
              struct gpu_input out);
// The inputs of the scheme's products: `x` with `ld` elements per row.
struct gpu_input gpu_scheme_input(const struct gpu_pass *pass, void *x, size_t ld, float *scale);
// act(gate) * up for `tokens` rows of gate_up, in the order that the down projection reads.
void gpu_activate(const struct gpu_pass *pass, const struct gpu_matrix *gate_up, const float *from,
                  int tokens, void *out, float *scale);

// Marks the work enqueued since the previous call as one operation of this class; OPC_COUNT: of no class.
void gpu_enqueued(const struct gpu_pass *pass, int layer, enum op_class op);
// The same, and reports the operation to an observer that waits until it is done.
void gpu_emit(struct gpu_pass *pass, int layer, enum op_class op, struct op_cost cost);
struct op_cost gpu_product_cost(const struct gpu_matrix *m, enum dtype inputs, int tokens);
struct op_cost gpu_norm_cost(const struct gpu_pass *pass, int tokens, const struct gpu_norm *norm);

// ---- products by the library ---------------------------------------------------------------------------

// Opens the library, if the scheme asks for it, before anything is loaded. Errors: ERR_UNSUPPORTED.
enum status gpu_library_open(struct gpu_model *m, struct error *err);
// Unpacks the packed weights into plain rows.
enum status gpu_library_unpack(struct gpu_model *m, struct error *err);
// Whether a pass of this many tokens multiplies by the library: a prefill pass of more than CUDA_FEW_TOKENS.
bool gpu_library_serves(const struct gpu_context *ctx, enum phase phase, int tokens);
// Plans the products of a context's longest pass and of its prompt's passes: measures the library's algorithms in the
// context's scratch. Errors: ERR_UNSUPPORTED if the library has none.
enum status gpu_library_create(struct gpu_context *ctx, const struct context_options *options,
                               struct error *err);
// The same for the passes of a step that are not planned yet, before the step's clock starts.
enum status gpu_library_ready(struct gpu_context *ctx, const struct engine_step *step,
                              struct error *err);
// Enqueues a product of the layers, as `job` describes it except that its inputs are plain rows.
void gpu_library_product(const struct gpu_pass *pass, const struct gpu_matrix *m,
                         const struct cuda_linear *job);
const char *gpu_context_products(void *planned);

// ---- steps -------------------------------------------------------------------------------------------

// A pass over the step's tokens, none of which are uploaded yet. err: where its first failure goes.
struct gpu_pass gpu_pass_begin(struct gpu_context *ctx, const struct engine_step *step,
                               struct error *err);
// Uploads the sequence whose stream draws for each row of logits. Returns the number of rows.
int gpu_rows_upload(struct gpu_context *ctx, const struct engine_step *step, struct error *err);
// Copies a decode step's tokens into the pass and uploads them.
void gpu_decode_upload(struct gpu_pass *pass, const struct engine_step *step);

// Stores the device's clock in place `which` of the stamps, once all earlier work is done.
void gpu_stamp(const struct gpu_context *ctx, int which);
// Enqueues the end of a step: stamps its logits, counts non-finite ones, draws for `rows` rows, and hands over the
// results.
void gpu_step_end(struct gpu_context *ctx, int rows);
// Waits for step `number` and fills in *out except the logits. ids are ordered by row of logits.
enum status gpu_result(struct gpu_context *ctx, uint64_t number, struct step_result *out,
                       struct error *err);
void gpu_wait(struct gpu_context *ctx, struct error *err); // waits for all enqueued work

// Decode steps as graphs: whether this model's steps can be a graph; run the uploaded pass as one.
bool gpu_graph_fits(const struct gpu_context *ctx);
void gpu_graph_run(struct gpu_pass *pass);
int gpu_ahead(const void *planned);
enum status gpu_decode(void *planned, const struct engine_step *first, const struct decode_run *run,
                       int *made, struct error *err);

// ---- the decode step as one kernel -------------------------------------------------------------------

// Bytes of the exchange; 0: the form does not serve this description.
size_t gpu_persistent_bytes(const struct model_config *config, const struct scheme *scheme,
                            const struct context_options *options);
// Plans the form and chooses between it and the graph, as requested or by measuring both. The caches are empty, and
// later steps overwrite what the measured steps append before anything reads it.
enum status gpu_persistent_create(struct gpu_context *ctx, const struct context_options *options,
                                  struct error *err);
struct decode_choice gpu_decode_choice(const void *planned);
// Enqueues what must run before the launch of a graph of gpu_persistent_forward, outside that graph.
void gpu_persistent_ready(struct gpu_pass *pass);
void gpu_persistent_forward(struct gpu_pass *pass);

enum status gpu_step(void *planned, const struct engine_step *step, struct step_result *result,
                     struct error *err);

#endif
