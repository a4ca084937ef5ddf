// cuda.h - what the NVIDIA kernels compute, as the rest of the program calls them: plain C, no CUDA header.
//
// A launcher enqueues one operation on a stream and returns at once; `stream` is a CUstream, which is a
// cudaStream_t. All pointers in a job are device memory, the job itself is copied. A launch that the driver
// refuses shows in cuda_launch_error, once, for whatever was launched since it was asked last: launchers have
// no status, as kernels on the host have none. Shapes are checked before. No launcher allocates or waits, so
// that a step can be captured into a graph.
//
// Meanings, and what a comment here leaves out, are those of kernels.h: kernels/ref is the definition of right.
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include "kernels/cuda/pack.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- products --------------------------------------------------------------------------------------------

// Up to so many tokens a product is bound by reading the weights.
enum { CUDA_FEW_TOKENS = 64 };
// So many tiles of rows fill any chip: their spans are never split over the grid.
enum { CUDA_FULL_TILES = 512 };

/* y[t][r] = sum_c x[t][c] W[r][c] + bias[r] (+ y[t][r] when accumulate)
 * w: cuda_layout_bytes() as pack.h lays them out; x: (tokens, ldx), zeros from cols to cuda_padded_cols(cols),
 *   rows 16-byte aligned; x_scale: (tokens) of int8 inputs; bias: (rows) or NULL
 * y: (tokens, ldy) f32; partial: cuda_partial_bytes() of scratch, or NULL where tokens > CUDA_FEW_TOKENS
 * Order of a sum: pack.h; the same for every number of tokens, so a token's bits do not depend on the others.
 *   int8: exact integers. int4: (code - zero) is exact in bf16, a group's sum is scaled in f32
 * Types: x is f32 for f32 weights, f16 for f16, i8 for i8, bf16 for bf16, f8e4m3 and i4 */
struct cuda_linear {
    struct cuda_layout layout;
    const void *w, *x;
    const float *bias, *x_scale;
    float *y;
    void *partial;
    int tokens;
    int multiprocessors; // of the device
    size_t ldx, ldy;
    bool accumulate;
};
typedef void cuda_linear_fn(const struct cuda_linear *job, void *stream);
size_t cuda_partial_bytes(const struct cuda_layout *layout, int tokens);

// Tokens of a pass, one entry each. A token of no sequence has both -1: nothing is stored and no
// attention is computed for it.
struct cuda_token {
    int32_t sequence, position;
};

// ---- rows ------------------------------------------------------------------------------------------------

/* out = norm(x) cast to the row's type, zeros from n to padded. RMS where `bias` and `centered` are not set.
 * x: (rows, ldx) f32; index: (rows) which rows of x, or NULL; weight, bias: (n) f32; weight NULL: no norm, a cast
 * out: (rows, ldo); scale: (rows) of int8 outputs */
struct cuda_norm {
    const float *x, *weight, *bias;
    const int32_t *index;
    void *out;
    float *scale;
    int rows, n, padded;
    size_t ldx, ldo;
    float eps;
    bool centered; // LayerNorm
};
typedef void cuda_norm_fn(const struct cuda_norm *job, void *stream);

/* out[r][i] = act(gate[r][i]) * up[r][i], or act(up[r][i]) where gate is NULL; cast as cuda_norm casts.
 * gate, up: (rows, ldx) f32 */
struct cuda_activate {
    enum kernel_op op; // KOP_SWIGLU, KOP_GELU, KOP_GELU_TANH, KOP_RELU
    const float *gate, *up;
    void *out;
    float *scale;
    int rows, n, padded;
    size_t ldx, ldo;
};
typedef void cuda_activate_fn(const struct cuda_activate *job, void *stream);

/* x[index[r]] += share[r] * y[r] over n elements; index NULL: row r; share NULL: 1. No index twice in a job. */
struct cuda_add {
    float *x;
    const float *y, *share;
    const int32_t *index;
    int rows, n;
    size_t ldx, ldy;
};
typedef void cuda_add_fn(const struct cuda_add *job, void *stream);

/* y[i] = cap tanh(y[i] / cap) */
struct cuda_softcap {
    float *y;
    size_t n;
    float cap;
};
typedef void cuda_softcap_fn(const struct cuda_softcap *job, void *stream);

/* x[r] = scale * table[ids[r]] + positions[tokens[r].position]
 * table: plain rows of `type` (ld elements), or `packed` where set: rows of a packed matrix (a tied head)
 * positions: (learned, n) of `type`, or NULL */
struct cuda_embed {
    float *x;
    const void *table, *positions;
    const int32_t *ids;
    const struct cuda_token *tokens;
    struct cuda_layout layout; // of the table where `packed`
    bool packed;
    enum dtype type;
    int rows, n;
    size_t ldx;
    float scale; // 0: 1
};
typedef void cuda_embed_fn(const struct cuda_embed *job, void *stream);

/* out[r] = x[index[r]]: rows of `bytes`, a multiple of 4; and their scales where there are some. */
struct cuda_gather {
    void *out;
    const void *x;
    float *out_scale;
    const float *scale;
    const int32_t *index;
    int rows;
    size_t bytes;
};
typedef void cuda_gather_fn(const struct cuda_gather *job, void *stream);

// ---- attention -------------------------------------------------------------------------------------------

// Where the cache of one layer lies: the layout of engine/model/kv.h, for the device.
struct cuda_kv {
    unsigned char *layer;              // the first sequence's first head's K
    size_t block_bytes, scales_offset; // as in kv_cache
    int kv_heads, head_dim;
    enum dtype type;
};

/* Clips, norms and rotates q, k and v of each token in place, then stores k and v in the cache.
 * qkv: (rows, ld) f32: heads, KV heads, KV heads of head_dim; q_norm, k_norm: (head_dim) or NULL
 * cos, sin: (positions, rotary / 2) */
struct cuda_rotate {
    float *qkv;
    const struct cuda_token *tokens;
    const float *q_norm, *k_norm, *cos, *sin;
    struct cuda_kv kv;
    int rows, heads, rotary; // rotary 0: no rotation
    size_t ld;
    float clip, eps;
    bool interleaved;
};
typedef void cuda_rotate_fn(const struct cuda_rotate *job, void *stream);

/* Attention of `rows` tokens over the cache; scores, window, cap and bias as in struct k_attention.
 * qkv: (rows, ld), of which the heads are read; out: (rows, ldo) f32
 * bias: (heads, bias_stride) or NULL; partial: cuda_attention_bytes() of scratch
 * Positions are taken in splits of CUDA_SPLIT, aligned, each in blocks of CUDA_KEYS; splits are merged in rising
 * order. So a token's bits depend neither on the other tokens nor on whether splits ran side by side. */
struct cuda_attention {
    const float *qkv;
    const struct cuda_token *tokens;
    struct cuda_kv kv;
    const float *bias;
    float *out;
    void *partial;
    int rows, heads, window;
    int most_positions; // of any sequence: the splits launched
    bool single;        // no two tokens are of one sequence: a decode step
    size_t ld, ldo, bias_stride;
    float scale, softcap;
};
typedef void cuda_attention_fn(const struct cuda_attention *job, void *stream);
enum { CUDA_SPLIT = 256, CUDA_KEYS = 64, CUDA_MOST_HEAD_DIM = 512 };
size_t cuda_attention_bytes(int rows, int heads, int head_dim, int positions);

// ---- the end of a step -----------------------------------------------------------------------------------

/* id[i] = the next id of sequence sequence[i] from logits[i], as sampler_next draws it with the stream of that
 * sequence; -1, and nothing is drawn, where sequence[i] is -1
 * streams: (sequences) states, advanced by one draw where sampler_next draws.
 * Weights are summed as integers of 2^-40 of the largest, in any order the same: a draw that falls within 2^-23
 * of a boundary in that unit may differ from the host's sum of doubles.
 * nonfinite: one counter, to which logits that are NaN or infinite are added
 * scratch: (sequences, vocab) of 8 bytes; no sequence is drawn for twice in one job */
struct cuda_sample {
    const float *logits;
    const int32_t *sequence;
    uint64_t *streams;
    int32_t *id;
    unsigned long long *nonfinite;
    void *scratch;
    int rows, vocab;
    float temperature, top_p;
    int top_k;
};
typedef void cuda_sample_fn(const struct cuda_sample *job, void *stream);

// What a step hands over to the host, in memory that both see.
struct cuda_arrival {
    uint64_t number; // of the step, from 1; written last
    uint64_t begin_ns, logits_ns, end_ns, nonfinite;
};

/* The end of a step. It hands over what was drawn, in the ring's slot (*number % slots), and makes it the next step's
 * input.
 * drawn: (rows); ids, tokens: of the pass. ids[i] = drawn[i], or 0 where that is negative, and tokens[i].position
 *   moves on by one, for i < next
 * stamps: begin and logits; *nonfinite becomes 0; *number grows by one
 * ring: (slots) and ring_ids: (slots, ld), pinned */
struct cuda_advance {
    const int32_t *drawn;
    int32_t *ids;
    struct cuda_token *tokens;
    const uint64_t *stamps;
    unsigned long long *nonfinite;
    uint64_t *number;
    struct cuda_arrival *ring;
    int32_t *ring_ids;
    size_t ld;
    int rows, next, slots;
};
typedef void cuda_advance_fn(const struct cuda_advance *job, void *stream);

// ---- bandwidth -------------------------------------------------------------------------------------------

/* Reads `bytes` at a (READ), copies them to dst (COPY), or dst = a + s b (TRIAD); multiples of 16. *sink depends
 * on every byte read. */
struct cuda_stream {
    void *dst;
    const void *a, *b;
    size_t bytes;
    uint32_t *sink;
    int multiprocessors;
};
typedef void cuda_stream_fn(const struct cuda_stream *job, void *stream);

/* *out = the device's nanosecond clock when all before it on the stream is done. */
typedef void cuda_stamp_fn(uint64_t *out, void *stream);

// ---- the table -------------------------------------------------------------------------------------------

// The text of the first launch that failed since the last call, or NULL.
const char *cuda_launch_error(void);

union cuda_fn {
    cuda_linear_fn *linear;
    cuda_norm_fn *norm;
    cuda_activate_fn *activate;
    cuda_add_fn *add;
    cuda_softcap_fn *softcap;
    cuda_embed_fn *embed;
    cuda_gather_fn *gather;
    cuda_rotate_fn *rotate;
    cuda_attention_fn *attention;
    cuda_sample_fn *sample;
    cuda_advance_fn *advance;
    cuda_stream_fn *stream;
    cuda_stamp_fn *stamp;
};

// Operations that only a device has, beside those of kernels.h.
enum cuda_op {
    CUOP_LINEAR, // for any number of tokens
    CUOP_NORM,   // to an activation type
    CUOP_ACTIVATE,
    CUOP_ADD,
    CUOP_SOFTCAP,
    CUOP_EMBED,
    CUOP_GATHER,
    CUOP_ROTATE, // and KV append
    CUOP_ATTENTION,
    CUOP_SAMPLE,
    CUOP_ADVANCE,
    CUOP_READ,
    CUOP_COPY,
    CUOP_TRIAD,
    CUOP_STAMP,
};

struct cuda_kernel {
    const char *name;
    enum cuda_op op;
    enum dtype w, x; // as in struct kernel
    union cuda_fn fn;
};

// The rows of this build, none without nvcc; rows.def.
const struct cuda_kernel *cuda_table(size_t *count);
// The row of an operation and types; NULL: this build has none.
const struct cuda_kernel *cuda_find(enum cuda_op op, enum dtype w, enum dtype x);

#ifdef __cplusplus
}
#endif

#endif
