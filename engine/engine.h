// engine.h - the inference engine's only public header.
//
// Reading order: checkpoint_open (what the model is), model_load (weights packed once for a scheme and a device),
// context_create (KV cache and scratch for one cell). Then context_sample (how ids are drawn), context_step (one for
// each prefill chunk) and context_decode (runs of decode steps). The engine takes ids; tokenizers are separate.
//
// Every object is used by one thread at a time; a model may serve many contexts in turn.
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "device/device.h"
#include "kernels/kernels.h"

// ---- what a model is -------------------------------------------------------------------------------

enum rope_kind { ROPE_NONE, ROPE_HALF, ROPE_INTERLEAVED };
enum rope_scaling {
    ROPE_SCALE_NONE,
    ROPE_SCALE_LINEAR,
    ROPE_SCALE_LLAMA3,
    ROPE_SCALE_FACTORS, // one divisor per pair
    ROPE_SCALE_YARN,    // Peng et al. 2023
    ROPE_SCALE_LONGROPE, // one divisor per pair, with a second set for contexts beyond the original positions
};
enum norm_kind { NORM_RMS, NORM_LAYER };
enum activation { ACT_SILU, ACT_GELU, ACT_GELU_TANH, ACT_RELU };
// Biases of scores that fall with the distance (Press et al. 2021). The kinds differ in slopes, rounding and scaling:
// model/alibi.h.
enum alibi_kind { ALIBI_NONE, ALIBI_BLOOM, ALIBI_FALCON, ALIBI_MPT };
enum { MODEL_NAME_BYTES = 96, MODEL_MAX_HEAD_DIM = 512, MODEL_MAX_LAYERS = 4096 };

// An architecture as data. The forward pass reads it, and a new architecture is a new row (engine/model/arch.c). With
// all fields zero except the sizes it is llama: pre-norm RMSNorm blocks, one after the other, with gated SiLU.
struct model_config {
    char arch[32];               // "llama", "qwen2", "mistral"
    char name[MODEL_NAME_BYTES]; // folder, file or shape name
    int layers, width, heads, kv_heads, head_dim, ff, vocab;
    int max_positions;

    // norms and blocks
    enum norm_kind norm;
    bool norm_bias; // in all norms except those of q and k
    float norm_eps;
    bool embedding_norm; // the embedding is normed before the first layer
    bool post_norms;     // outputs of attention and feed-forward are normed before they are added
    bool qk_norm;        // RMSNorm of each head of q and k, before they are rotated
    bool parallel;       // x += attention(norm(x)) + feed-forward(norm(x))
    bool shared_norm;    // in parallel blocks: one norm for both

    // positions
    enum rope_kind rope;
    int rotary; // the first `rotary` dimensions of a head rotate
    float rope_theta;
    enum rope_scaling rope_scaling;
    float rope_factor, rope_low_freq, rope_high_freq; // llama3: wavelength bands
    float rope_beta_fast, rope_beta_slow;             // yarn: turns within the original positions
    bool rope_untruncated;                            // yarn: bounds are not rounded to whole pairs
    int rope_original_positions;
    bool rope_original_assumed;  // the file has none: max_positions is used, as in transformers
    float rope_attention_factor; // factor of cosines and sines; 0: 1
    // ROPE_SCALE_FACTORS and _LONGROPE: the divisor of each pair's frequency (GGUF's rope_freqs.weight). _LONGROPE uses
    // the second array in contexts beyond the original positions.
    float rope_factors[MODEL_MAX_HEAD_DIM / 2], rope_long_factors[MODEL_MAX_HEAD_DIM / 2];
    float rope_local_theta; // for layers with a window, unscaled; 0: same as the others
    enum alibi_kind alibi;
    float alibi_max;       // mpt: the steepest slope is 2^-(alibi_max / heads)
    int learned_positions; // rows of a table added to the embedding; 0: none

    // attention
    int window; // sliding window, 0: none; applies to every layer except those whose bit is set here:
    uint64_t full_layers[MODEL_MAX_LAYERS / 64];
    bool qkv_bias, o_bias;
    float attention_scale;   // of q k; 0: 1 / sqrt(head_dim)
    float attention_softcap; // scores = cap tanh(scores / cap); 0: none
    float clip_qkv;          // q, k and v are clamped to +-clip_qkv; 0: no limit

    // feed-forward
    enum activation activation;
    bool plain_ff; // down(act(up x)), no gate
    bool ff_bias;  // on gate, up and down

    // experts; none: all 0. ff is then an expert's width.
    int experts, experts_used; // their number, and the number that each token uses
    bool experts_renormed;     // probabilities of the chosen experts are scaled to a sum of 1
    int shared_ff;             // width of the shared expert, which all tokens use; 0: none
    bool shared_gated;         // its output is multiplied by the sigmoid of another product

    // embedding and head
    float embedding_scale; // 0: 1
    float logit_softcap;   // 0: none
    bool head_bias;
    bool tied;        // the head is the embedding
    int32_t bos, eos; // -1: none
};

// The window of one layer, 0: none.
static inline int model_window(const struct model_config *c, int layer)
{
    return c->full_layers[layer / 64] >> (layer % 64) & 1 ? 0 : c->window;
}

static inline int model_windowed_layers(const struct model_config *c)
{
    int count = 0;
    for (int i = 0; i < c->layers; i++)
        count += model_window(c, i) > 0;
    return count;
}

// The settings of positions that the file lacks, and the values used instead; "" if it lacks none.
enum { FALLBACK_BYTES = 160 };
void model_fallback_text(const struct model_config *c, char *out, size_t out_bytes);

// The share of a KV cache of this many positions that the layers ever read; layers without a window read all of it. The
// cache holds all positions of every layer, because kernels address a position by its number.
static inline double model_window_share(const struct model_config *c, int positions)
{
    double rows = 0;
    for (int i = 0; i < c->layers; i++) {
        int window = model_window(c, i);
        rows += window > 0 && window < positions ? window : positions;
    }
    return rows / ((double)c->layers * positions);
}

// Classes by which bytes, operations and time are counted.
enum op_class {
    OPC_QKV,
    OPC_ATTENTION,
    OPC_OUTPUT,
    OPC_GATE_UP,
    OPC_DOWN,
    OPC_HEAD,
    OPC_REST, // norms, rope, activation, residual, embedding
    OPC_COUNT
};
const char *op_class_name(enum op_class class);

// ---- checkpoints --------------------------------------------------------------------------------------

struct checkpoint;

// path: a Hugging Face folder or a .gguf file. Reads only headers, and the scales of a quantized folder; data is
// mapped.
// Errors: ERR_IO, ERR_FORMAT (file, place and reason), ERR_UNSUPPORTED (what was found, what is known).
enum status checkpoint_open(const char *path, struct checkpoint **out, struct error *err);

// One property that a checkpoint needs, and whether this program supports it.
struct checkpoint_item {
    const char
        *area; // "architecture", "rope scaling", "quantization", "stored types", "tokenizer", ...
    char found[128]; // as in the files
    bool supported;
    char note[256]; // why it is not supported
};
// Checks each property separately, so that an unsupported one hides no other. "loading" comes last and reports whether
// checkpoint_open accepts the checkpoint. Reads only headers. Returns the number of items; 16 are enough.
size_t checkpoint_inspect(const char *path, struct checkpoint_item *out, size_t max);

// Random weights in the shape of a real model: config is a config.json (models/shapes/NAME.json). Values are uniform
// with the usual standard deviation; norm weights are 1, biases have mean 0. Element (tensor, row, col) depends only on
// the seed.
enum status checkpoint_synthetic(const char *config_path, uint64_t seed, struct checkpoint **out,
                                 struct error *err);
void checkpoint_destroy(struct checkpoint *ck);

// Borrowed until the checkpoint is destroyed.
const struct model_config *checkpoint_config(const struct checkpoint *ck);
bool checkpoint_is_synthetic(const struct checkpoint *ck);
const char *checkpoint_format(const struct checkpoint *ck); // "safetensors", "gguf", "synthetic"

// Names of stored tensors that the description does not use (rotary tables of old checkpoints), one per line; empty if
// there are none. Borrowed.
const char *checkpoint_unused_tensors(const struct checkpoint *ck);

// SHA-256 of everything that decides the results: the content of the files, or config and seed. The first call reads
// everything once (about 2 GB/s) and keeps the hash.
enum status checkpoint_content_hash(struct checkpoint *ck, char hex[65], struct error *err);

// Receives the progress of a long call, 0..1, on the calling thread. Returning false stops the call: it soon fails with
// ERR_INTERRUPTED and leaves no files. A NULL pointer is legal: no progress is reported.
typedef bool engine_progress(void *user, double done);

// Writes a checkpoint as one GGUF file, in the conventions of llama.cpp. type: the type of matrices, one of
// checkpoint_convert_types. NULL: for each matrix the smallest plain type that holds the stored values exactly. Vectors
// stay f32. Memory: a few rows, and the tokenizer. The file appears when it is complete; leftovers of killed processes
// are removed.
// Errors: ERR_USAGE if `path` exists or the type is none of these; ERR_FORMAT, ERR_UNSUPPORTED for values that are not
// finite, stored or in the new type; ERR_IO.
struct conversion {
    size_t tensors,
        unblocked; // unblocked: matrices written as f16 because their rows are not whole blocks
    uint64_t data_bytes;
    char no_tokenizer[256]; // why none was written; "": one was written
};
// The types it writes: "f32", "q8_0"; at most `max` of them. Returns their number.
size_t checkpoint_convert_types(const char **out, size_t max);
enum status checkpoint_convert(struct checkpoint *ck, const char *type, const char *path,
                               engine_progress *progress, void *user, struct conversion *out,
                               struct error *err);

// Parameters and stored bytes by class of tensor, for `bench model info`.
struct tensor_class {
    const char *name; // "embedding", "attention", "feed-forward", "experts", "norm", "head",
                      // "other" (not used)
    char type
        [64]; // stored types in order of occurrence: "q4_k, q6_k"; "generated" (0 bytes) for a shape; "unused"
    uint64_t tensors, parameters, bytes;
};
enum { CHECKPOINT_CLASSES_MAX = 8 }; // the most that any checkpoint has
size_t checkpoint_tensor_classes(const struct checkpoint *ck, struct tensor_class *out, size_t max);

// How the products of a quantized folder are stored.
struct checkpoint_quantization {
    char method[32];   // quant_method: "awq"
    char text[192];    // for people: "AutoAWQ gemm, 4 bits, groups of 128, zero points"
    int bits;          // bits per code
    int group;         // inputs per scale; 0: all of a row
    bool zero_points;  // codes are not symmetric
    const char *plain; // modules that the folder lists as not quantized, one per line; borrowed
};
// NULL: the folder is not quantized. (For the types in a GGUF file, see checkpoint_tensor_classes.)
const struct checkpoint_quantization *checkpoint_quantization(const struct checkpoint *ck);

// The tokenizer next to or in the checkpoint, checked against the model's vocabulary. Errors: ERR_UNSUPPORTED for a
// shape or an unknown kind of tokenizer, ERR_IO if there is none, ERR_FORMAT ("of another model").
struct tokenizer;
enum status checkpoint_tokenizer(const struct checkpoint *ck, struct tokenizer **out,
                                 struct error *err);

// Quantizes a Hugging Face folder to another one, in layouts that other programs read: int4-* as AutoAWQ's gemm, int8
// and fp8 as compressed-tensors. Products inside the layers are quantized; all else is kept. `out` appears when it is
// complete; leftovers of killed processes are removed.
// Errors: ERR_USAGE if `out` exists. ERR_UNSUPPORTED for another scheme, a source that is not a folder, or a shape that
// the layout cannot hold. ERR_FORMAT if a weight is NaN or infinite. ERR_IO (disk full).
struct quantize_options {
    const char *scheme;    // one of checkpoint_quantize_schemes
    int group;             // int4: inputs per scale; 0: 128
    struct device *device; // borrowed; a host, whose threads do the work
    const char *
        calib; // int4-awq: UTF-8 calibration text; lines with a form feed separate documents. NULL: the text shipped
               // with the program
};
// The schemes it writes; at most `max` of them. Returns their number.
size_t checkpoint_quantize_schemes(const char **out, size_t max);
enum status checkpoint_quantize(const struct checkpoint *ck, const struct quantize_options *options,
                                const char *out, engine_progress *progress, void *user,
                                struct error *err);

// int4-awq of a checkpoint in any format that has no int4 codes of its own. Codes and scaled weights of its layers are
// kept in the user's cache. The key is the hash of the model's content, of the text and of all parameters. Missing
// entries are computed, which takes seconds for millions of weights and minutes for billions.
struct calibration {
    char path[1024];
    char text[65];    // SHA-256 of the calibration text
    double time_ns;   // time of the calibration, when it was computed
    double needed_ns; // time of this call: hashing, finding or calibrating
    bool kept;        // it was in the cache
};
// *out: the quantized checkpoint. It also reads from ck, which must outlive it. Errors: ERR_FORMAT if a weight is NaN
// or infinite; ERR_IO, ERR_NOMEM, and those of text and tokenizer; ERR_USAGE if there is no folder for the cache.
enum status checkpoint_calibrated(struct checkpoint *ck, const struct quantize_options *options,
                                  engine_progress *progress, void *user, struct checkpoint **out,
                                  struct calibration *result, struct error *err);
// Whether a text can calibrate the checkpoint: OK, or the error that loading in int4-awq would return for the text. OK
// also if the checkpoint has int4 codes of its own, because no text is read then.
enum status checkpoint_calibration_check(const struct checkpoint *ck, const char *calib,
                                         struct error *err);
// The path of the text shipped with the program; caller frees. ERR_IO if it is not among the program's files.
enum status calib_default(char **path, struct error *err);
// The folder of calibrations in the cache ("~/.cache/ridge/awq"); caller frees.
enum status calib_cache_folder(char **dir, struct error *err);

// ---- tokenizers -----------------------------------------------------------------------------------------

// path: a tokenizer.json, or a .gguf file, of which only the metadata is read.
enum status tokenizer_open(const char *path, struct tokenizer **out, struct error *err);
void tokenizer_destroy(struct tokenizer *tok);
int tokenizer_vocab(const struct tokenizer *tok); // number of ids, including added tokens
// Encodes UTF-8 (invalid bytes first become U+FFFD, as in the tokenizers library). Adds no bos. *ids is a new array,
// which the caller frees. Errors: ERR_FORMAT if an id exceeds the model's vocabulary (known after
// checkpoint_tokenizer).
enum status tokenizer_encode(const struct tokenizer *tok, const char *text, size_t bytes,
                             int32_t **ids, size_t *count, struct error *err);
// The same, but the spelling of a special token counts as plain text, as when llama.cpp's tools read a file.
enum status tokenizer_encode_literal(const struct tokenizer *tok, const char *text, size_t bytes,
                                     int32_t **ids, size_t *count, struct error *err);
// The ids that the model's own tokenizer puts around a text; -1: none.
struct tokenizer_ends {
    int32_t before, after;
};
struct tokenizer_ends tokenizer_ends(const struct tokenizer *tok);
// Appends the bytes of one id to `out` (a token may be part of a character): caller's struct str.
struct str;
void tokenizer_decode(const struct tokenizer *tok, int32_t id, struct str *out);
// Appends the text of a whole list of ids as the tokenizers library decodes it, including special tokens. Bytes that
// form no character become U+FFFD, and a space that encoding added before the text is dropped.
void tokenizer_text(const struct tokenizer *tok, const int32_t *ids, size_t count, struct str *out);

// ---- schemes -------------------------------------------------------------------------------------------

// Who multiplies in the layers of prefill passes on a GPU: this program's kernels, or NVIDIA's cuBLASLt.
enum products { PRODUCTS_OWN, PRODUCTS_CUBLASLT };
bool engine_products(enum device_kind kind);              // there is a choice on such a device
const char *scheme_products_name(enum products products); // "own", "cublaslt"
bool scheme_products_parse(const char *name, enum products *out);

// How weights are stored and how inputs of products are rounded: a row of the table in schemes.c. scheme_resolve
// derives the scheme that runs on a target.
struct scheme {
    const char *name;       // "f32", "bf16", "int4-awq"
    enum dtype weights;     // packed linear weights
    enum dtype activations; // at the input of each product
    int group;              // types in groups: inputs that share a scale
    enum dtype
        head; // type of the head, and of the embedding if it is the head or can have this type
    enum dtype head_activations; // at the head's input
    enum dtype default_kv;
    enum products
        products; // PRODUCTS_OWN in the table; a resolved scheme has it on a device with a choice
    char arithmetic[224]; // "bf16 x bf16 -> f32": stored with every result
};
const struct scheme *scheme_find(const char *name); // NULL: unknown
const struct scheme *scheme_table(size_t *count);   // the implemented schemes
// Planned schemes are known by name (docs/SCHEMES.md), so that a suite records them as unsupported.
bool scheme_is_planned(const char *name);
// The row with this type of head, as the target's kernels run it. int4 is multiplied by int8 inputs if the target has
// an integer dot product (w4a8), else by bf16 inputs (w4a16). An fp8 head has the inputs of fp8 layers, else bf16.
// Idempotent.
struct scheme scheme_resolve(const struct scheme *row, enum dtype head,
                             struct device_target target);
// The same for a checkpoint, with the row's own head: int4 has the group size of the checkpoint's codes if those are
// packed unchanged. The arithmetic does not yet mention calibration. Group and refusal depend only on the checkpoint.
// ERR_UNSUPPORTED if the scheme cannot run on it (q4_0 needs a q4_0 file, q8_0 a q8_0 file).
enum status checkpoint_scheme(const struct checkpoint *ck, const struct scheme *row,
                              struct device_target target, struct scheme *out, struct error *err);
// The type of an embedding table that is not the head: the head's type, or bf16 if the head is quantized.
enum dtype scheme_embedding(const struct scheme *scheme);

// Why the library does not serve a resolved scheme or a description; NULL: it does, or it is not asked for. Static.
const char *scheme_products_refused(const struct scheme *scheme, const struct model_config *config);

// Types of heads and KV caches by the words of suites and flags: f32, f16, bf16, int8, int4, fp8.
bool storage_parse(const char *word, enum dtype *out);
const char *storage_name(enum dtype type);

// ---- observer ----------------------------------------------------------------------------------------------

enum phase { PHASE_LOAD, PHASE_PREFILL, PHASE_DECODE, PHASE_COUNT };
// "load", "prefill", "decode". Static.
const char *phase_name(enum phase phase);

// One operation of a step, over all of its sequences.
struct engine_event {
    enum phase phase;
    int layer;        // -1: embedding, head, end of the step
    enum op_class op; // OPC_COUNT: of no class: sampling, on the CPU
    // activation_bytes: inputs read and outputs written, cached or not.
    uint64_t weight_bytes, kv_read_bytes, kv_write_bytes, activation_bytes;
    uint64_t flop;             // operations of products; OPC_REST has none
    uint64_t begin_ns, end_ns; // clock_ns
};

// Without an observer, an operation costs one extra branch.
struct engine_tap;
struct engine_observer {
    void (*on_event)(void *user, const struct engine_event *event); // NULL: no events are emitted
    // Called after an operation has been enqueued or recorded into a graph. It covers the work since the previous call
    // and waits for nothing. A tracer uses it to label the work. Only GPU backends call it, and only if on_event is
    // NULL. OPC_COUNT: no class, such as sampling.
    void (*on_enqueued)(void *user, enum phase phase, int layer, enum op_class op);
    void *user;
    const struct engine_tap
        *tap; // for calibration inside the engine (engine/backend.h); NULL: no tap
};

// ---- models on a device -----------------------------------------------------------------------------------

struct engine_options {
    struct device *device;       // borrowed until model_destroy; runs all steps
    const struct scheme *scheme; // a row or a resolved one; resolved for the device and copied
    const char *calib;           // int4-awq: as in struct quantize_options
    engine_progress *
        calibrating; // progress of calibration, with model_load's user; NULL: no progress is reported
};

struct model;

// Packs every weight for the scheme, panel by panel, directly from the mapping or the generator. Peak memory is the
// packed model and 16 rows per thread.
enum status model_load(struct checkpoint *ck, const struct engine_options *options,
                       engine_progress *progress, void *user, struct model **out,
                       struct error *err);
void model_destroy(struct model *model);
// The calibration that loading needed; NULL: the scheme needs no calibration.
const struct calibration *model_calibration(const struct model *model);
const struct model_config *model_config(const struct model *model);
const struct scheme *model_scheme(const struct model *model);

// The memory of a model and a context, known before either is created: for dry runs and `model info`.
struct memory_plan {
    size_t weights_bytes, kv_bytes, scratch_bytes;
    // Of weights_bytes: the second copy of the layers' weights, as plain rows, that products by a library read.
    size_t copy_bytes;
};
// The form of decode steps on a GPU: a graph of kernels, or one persistent kernel. The persistent kernel needs support
// by the device and the description, and a batch of at most 8; otherwise the graph runs. DECODE_AUTO measures both when
// the context is created and uses the faster one. The two sum in different orders, so token ids may differ
// (docs/ARCHITECTURE.md). The CPU has one form and ignores this.
enum decode_form { DECODE_GRAPH, DECODE_PERSISTENT, DECODE_AUTO };
bool engine_decode_forms(enum device_kind kind); // decode steps have several forms on such a device
const char *context_form_name(enum decode_form form); // "graph", "persistent", "auto"
bool context_form_parse(const char *name, enum decode_form *out);
struct context_options {
    int batch;     // sequences
    int positions; // KV capacity of a sequence: prompt and generated together
    int chunk;     // most tokens of one sequence in one step
    int prompt; // tokens of each sequence's prompt, so that its passes are planned with the context; 0: not known
    enum dtype
        kv; // DT_F32, DT_F16, DT_BF16; or DT_I8, DT_F8E4M3 with a scale per position and head
    int logit_rows; // most rows of logits that a step may request; at least `batch`, which 0 also means
    enum decode_form decode;
};

// A step runs in passes of at most this many tokens on such a device, so that scratch does not grow with batch x chunk.
// Each pass reads the weights once; with this many tokens a pass is limited by computation, not by that read.
// INT_MAX where this build has no backend for the device: nothing cuts a step.
int engine_pass_tokens(enum device_kind kind);

// device: where the model would be, opened or not. scheme: resolved for it. threads: for a host. Errors:
// ERR_UNSUPPORTED if this build has no backend for the device; *out is then all zeros.
enum status engine_memory_plan(const struct device_info *device, const struct model_config *config,
                               const struct scheme *scheme, const struct context_options *options,
                               int threads, struct memory_plan *out, struct error *err);

// ---- contexts ---------------------------------------------------------------------------------------------

struct context;

// One arena for KV and scratch; steps allocate nothing. Errors: ERR_NOMEM with both sizes.
enum status context_create(struct model *model, const struct context_options *options,
                           struct context **out, struct error *err);
void context_destroy(struct context *ctx);
void context_reset(struct context *ctx); // empties every sequence
void context_observe(struct context *ctx,
                     const struct engine_observer *observer); // NULL: stop reporting
// Tests only: the positions of a sequence that are filled.
int context_length(const struct context *ctx, int sequence);
// Drops the positions of a sequence from `length` on (at most its current length). The same step can then run again,
// which the harness does, untimed, to warm the caches after a probe. Random streams are not rewound.
void context_truncate(struct context *ctx, int sequence, int length);

// The current time on the clock of the context's device. The host's clock is clock_ns.
uint64_t context_clock_ns(const struct context *ctx);
// The offset of that clock from the host's, measured now. Cost: about ten readings of the clock.
struct device_clock_tie context_clock_tie(const struct context *ctx);
// The time that the device has spent waiting since it was opened. On the host these are the calling thread's waits for
// the other threads of the pool. DEVICE_WAIT_UNKNOWN: not measured. Callers take differences.
uint64_t context_wait_ns(const struct context *ctx);

// How the next id is drawn from logits. Filters apply in this order: temperature, top_k, top_p.
struct sampling {
    float temperature; // 0: greedy, and the rest is ignored
    int top_k;         // 0: off
    float top_p;       // 1: off
    uint64_t seed;
};
// Sets how steps draw ids, and restarts the random stream of every sequence. A new context is greedy. Each sequence has
// its own stream, so that it draws the same ids in a batch as alone. Errors: ERR_USAGE for an option out of range;
// ERR_NOMEM. On error the sampling does not change.
enum status context_sample(struct context *ctx, const struct sampling *sampling, struct error *err);

enum logits_wanted { LOGITS_NONE, LOGITS_LAST, LOGITS_ALL };

// New tokens of one sequence. Sequences of one step may differ in length; each gets the same results as alone.
struct span {
    int sequence;
    int count;
    const int32_t *tokens;
    enum logits_wanted logits; // rows handed to the host
    bool sample;               // draw the next id from the last position's logits
};

// The result of a step. Pointers are borrowed until the next step.
struct step_result {
    // (spans) the id drawn for each span with `sample`. -1: the span has no `sample`, or its logits have a NaN or no
    // finite value. Among equal logits the lowest id wins.
    const int32_t *ids;
    // (rows, vocab) f32: the rows that spans request, in span order. NULL: none requested.
    const float *logits;
    int64_t nonfinite; // number of NaN and infinite logits in all computed rows
    // Times on context_clock_ns: the step began, its logits were complete, its ids were drawn and handed over.
    uint64_t begin_ns, logits_ns, end_ns;
};

// Runs all spans through the model. The device computes the logits, counts those that are not finite and draws the ids.
// Logits are copied to the host only for spans that request them. phase is only passed to the observer. Allocates
// nothing.
// Errors: ERR_USAGE for an id outside the vocabulary, a full sequence, or a span longer than the chunk; nothing is then
// done, and *result is zero. Cost: docs/METRICS.md, "Bytes and operations".
// A sequence's results have the same bits whatever the other sequences of the step are, and however its tokens are cut
// into steps. On a GPU this holds between steps of up to 16 tokens (docs/ARCHITECTURE.md, "What is exact").
enum status context_step(struct context *ctx, const struct span *spans, int span_count,
                         enum phase phase, struct step_result *result, struct error *err);

// Gets the result of step `step` (from 0) of a run, on the calling thread and in order. False: no more steps are
// enqueued.
typedef bool decode_done(void *user, int step, const struct step_result *result);

// Decode steps in one call. Each span has one token, which is the input of the first step, and draws an id. The input
// of each later step is the id that the previous step drew, or 0 if nothing could be drawn.
struct decode_run {
    const struct span *spans;
    int span_count;
    int steps;
    decode_done *done;
    void *user;
};

// The number of steps of a run that the device may have in flight when a result is handed over. 0: steps run one by
// one, and the device waits for the caller between them.
int context_ahead(const struct context *ctx);

// The form of decode steps, and why. Strings are borrowed from the context. form: "graph" or "persistent"; NULL if
// there is only one form.
struct decode_choice {
    const char *form, *reason;
};
struct decode_choice context_decode_choice(const struct context *ctx);

// The library that multiplies in prefill passes, its version, and its pick for each shape that ran, as text that is
// borrowed until the next step. NULL: no library is used.
const char *context_products(struct context *ctx);

// Runs the steps, with the same bits as `steps` calls of context_step. If the device runs ahead, no host work separates
// the tokens. After `done` returns false, the steps in flight (at most context_ahead of them) still end and are handed
// over. *made: the number of steps that ran; on an error, those handed over before it.
// Errors: those of context_step; ERR_USAGE for a span with several tokens, without `sample` or with logits for the
// host, and for a sequence without room for all steps. Nothing is then done.
enum status context_decode(struct context *ctx, const struct decode_run *run, int *made,
                           struct error *err);

#endif
