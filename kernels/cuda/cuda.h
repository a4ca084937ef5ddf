// cuda.h - what the NVIDIA kernels compute, as the rest of the program calls them: plain C, no CUDA header.
//
// launchers.h has the launchers' types, rows.def their rows in the registry.
// All pointers in a job are device memory, the job itself is copied. A launch that the driver
// refuses shows in cuda_launch_error, once, for whatever was launched since it was asked last: launchers have
// no status, as kernels on the host have none. Shapes are checked before. No launcher allocates or waits, so
// that a step can be captured into a graph.
//
// Meanings, and what a comment here leaves out, are those of kernels.h: kernels/ref is the definition of right.
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include "kernels/cuda/pack.h"
#include "kernels/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- products --------------------------------------------------------------------------------------------

// Up to so many tokens a product is bound by reading the weights.
enum { CUDA_FEW_TOKENS = 16 };
// Tiles of rows whose spans several blocks may share; a counter each in front of the partial sums.
enum { CUDA_COUNTERS = 1 << 15 };
// Blocks of 128 rows by up to 256 tokens that may share tiles' inputs.
enum { CUDA_WIDE_BLOCKS = 160 };

/* y[t][r] = sum_c x[t][c] W[r][c] + bias[r] (+ y[t][r] when accumulate)
 * w: cuda_layout_bytes() as pack.h lays them out
 * x: inputs in the order of the weights' type (cuda_order_of), zeros from cols to cuda_padded_cols(cols), whole
 *   groups of tokens; what stands for tokens beyond `tokens` is not used. f32: rows of ldx, 16-byte aligned
 * x_scale: (tokens) of int8 inputs; bias: (rows) or NULL
 * y: (tokens, ldy) f32
 * partial: cuda_partial_bytes() of scratch that was zeros before its first launch; launches on one stream share it
 * Order of a sum: up to CUDA_FEW_TOKENS tokens are summed in pack.h's spans, whatever their number. More are summed
 *   in as many runs of inputs as fill the chip, because a second set of accumulators for spans has no room. There
 *   bits depend on the number of tokens, but never on the other tokens' values or places.
 *   int8: integers, which are exact in any order. int4: (code - zero) is exact in bf16, a group's sum is scaled in f32
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
size_t cuda_partial_bytes(const struct cuda_layout *layout, int tokens);

// Tokens of a pass, one entry each. A token of no sequence has both -1: nothing is stored and no
// attention is computed for it.
struct cuda_token {
    int32_t sequence, position;
};

// ---- rows ------------------------------------------------------------------------------------------------

/* out = norm(x) cast to the row's type in the order of a product's inputs, zeros from n to padded.
 * RMS where `bias` and `centered` are not set.
 * x: (rows, ldx) f32; index: (rows) which rows of x, or NULL; weight, bias: (n) f32; weight NULL: no norm, a cast
 * out: `order`; CUDA_ROWS: (rows, ldo); scale: (rows) of int8 outputs */
struct cuda_norm {
    const float *x, *weight, *bias;
    const int32_t *index;
    void *out;
    float *scale;
    enum cuda_order order;
    int rows, n, padded; // padded: a multiple of 64 but for CUDA_ROWS
    size_t ldx, ldo;
    float eps;
    bool centered; // LayerNorm
};

/* out[r][i] = act(gate[r][i]) * up[r][i], or act(up[r][i]) where gate is NULL; cast as cuda_norm casts.
 * gate, up: (rows, ldx) f32 */
struct cuda_activate {
    enum kernel_op op; // KOP_SWIGLU, KOP_GELU, KOP_GELU_TANH, KOP_RELU
    const float *gate, *up;
    void *out;
    float *scale;
    enum cuda_order order;
    int rows, n, padded; // as in cuda_norm
    size_t ldx, ldo;
};

/* x[index[r]] += share[r] * y[r] over n elements; index NULL: row r; share NULL: 1. No index twice in a job. */
struct cuda_add {
    float *x;
    const float *y, *share;
    const int32_t *index;
    int rows, n;
    size_t ldx, ldy;
};

/* y[i] = cap tanh(y[i] / cap) */
struct cuda_softcap {
    float *y;
    size_t n;
    float cap;
};

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

/* Attention of `rows` tokens over the cache; scores, window, cap and bias as in struct k_attention.
 * qkv: (rows, ld), of which the heads are read, ld a multiple of 4; out: (rows, ldo) f32
 * bias: (heads, bias_stride) or NULL
 * partial: cuda_attention_bytes() of scratch, zeros before the first job on it; jobs on it run one after another
 *
 * f32 caches, and heads that are no multiple of 16 bytes or have more than 256 elements: f32 arithmetic. Positions are
 * taken in splits of CUDA_SPLIT, aligned, each in blocks of CUDA_KEYS; splits are merged in rising order. A token's
 * bits are the same in a chunk and in a decode step.
 * Else tensor cores: cache codes are exact, sums are f32.
 *   single: queries and weights are pairs of 16-bit floats, 16 bits or more of each. Splits of cuda_split_length()
 *     positions from the first that the token sees, merged in rising order by the block that ends last
 *   else: queries and weights are rounded to bf16 (f16 for f16 caches). Blocks of 64 or 128 positions,
 *     by the device, type and size of head; aligned
 * In each form a token's bits depend on its own sequence alone: not on the other tokens, the chunk or the batch. The two
 * forms round differently, so a prompt's tokens keep to one of them: its chunks of one token are no decode step.
 *
 * On sm_90 a decode kernel may start before earlier ones have ended, as far back as the last launch that starts no
 * kernel early; a pass begins with one. Until the launch in front has ended it reads only `tokens` and the cache's rows
 * below each token's own position: earlier passes wrote these. */
struct cuda_attention {
    const float *qkv;
    const struct cuda_token *tokens;
    struct cuda_kv kv;
    const float *bias;
    float *out;
    void *partial;
    int rows, heads, window;
    int most_positions;  // of any sequence: the splits that there is room for
    int multiprocessors; // of the device
    bool single;         // no two tokens are of one sequence: a decode step
    size_t ld, ldo, bias_stride;
    float scale, softcap;
};
enum { CUDA_SPLIT = 256, CUDA_KEYS = 64, CUDA_MOST_HEAD_DIM = 512 };
size_t cuda_attention_bytes(int rows, int heads, int kv_heads, int head_dim, int positions);

// Splits of one sequence over all KV heads that fill a chip, and the multiple that their length is of.
enum { CUDA_DECODE_BLOCKS = 128, CUDA_LEAST_SPLIT = 64 };
// Of a token that sees `seen` positions.
static CUDA_BOTH inline int cuda_split_length(int kv_heads, int seen)
{
    long long each = (long long)CUDA_DECODE_BLOCKS * CUDA_LEAST_SPLIT,
              all = (long long)seen * kv_heads;
    return all > each ? (int)((all + each - 1) / each) * CUDA_LEAST_SPLIT : (int)CUDA_LEAST_SPLIT;
}
// One counter a token and head, ahead of the outcomes.
static CUDA_BOTH inline size_t cuda_attention_counters(int rows, int heads)
{
    return ((size_t)rows * (size_t)heads * 4 + 255) / 256 * 256;
}

// ---- a decode step in one kernel, sm_90 alone; step.h ------------------------------------------------------

typedef void cuda_step_fn(const struct cuda_step *job, void *stream);
// The launcher for these weights and inputs on the current device; NULL: there is none. It is no row of the registry:
// nothing in kernels/ref computes a whole step, and tests/cuda/test_step.c holds it to the kernels of one.
cuda_step_fn *cuda_step_find(enum dtype w, enum dtype x);

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

// ---- launches ---------------------------------------------------------------------------------------------

// The text of the first launch that failed since the last call, or NULL. *code: the device's code for it, as
// device_launch_failed takes it; 0 where none failed. code NULL: not reported.
const char *cuda_launch_error(int *code);

#ifdef __cplusplus
}
#endif

#endif
