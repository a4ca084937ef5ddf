// cuda.h - what the NVIDIA kernels compute, as the rest of the program calls them. Plain C, no CUDA header.
//
// launchers.h declares the types of the launchers, and rows.def lists their rows of the registry. All pointers in a job
// are device memory; the job itself is copied. Launchers return no status, like kernels on the host. If the driver
// refuses a launch, cuda_launch_error reports the first such failure since its last call. Shapes are checked before a
// launch. No launcher allocates or waits, so a step can be captured into a graph.
//
// kernels.h defines the meaning of each operation and everything that a comment here leaves out. A result is right if
// it agrees with kernels/ref.
#ifndef KERNELS_CUDA_CUDA_H
#define KERNELS_CUDA_CUDA_H

#include "kernels/cuda/pack.h"
#include "kernels/cuda/step.h"

#ifdef __cplusplus
extern "C" {
#endif

// ---- products --------------------------------------------------------------------------------------------

// Up to this many tokens, reading the weights limits a product.
enum { CUDA_FEW_TOKENS = 16 };
// Most tiles whose spans several blocks may share. Each has a counter in front of the partial sums.
enum { CUDA_COUNTERS = 1 << 15 };
// Most blocks of 128 rows by up to 256 tokens that may share the inputs of tiles.
enum { CUDA_WIDE_BLOCKS = 160 };

/* The RMS norm between two products, fused into them, so that it needs no launch of its own. For bf16 inputs and up to
 * CUDA_FEW_TOKENS tokens. The first product carries the norm (weight), the second applies its factor (from).
 * weight: (rows) of the RMS norm that follows: out[t][r] = y[t][r] * weight[r] once y is stored, and
 *   squares[t * tiles + i] = the sum of y[t][r]^2 over tile i. rows is a multiple of CUDA_UNIT_COLS
 * out: bf16 in `order`, inputs of the next product but for the norm's factor
 * from: such squares of the inputs, (tokens, from_tiles); sums are multiplied by 1 / sqrt(sum / cols + eps). NULL: the
 *   inputs are whole */
struct cuda_carry {
    const float *weight, *from;
    void *out;
    float *squares;
    enum cuda_order order;
    int from_tiles;
    float eps;
};

/* y[t][r] = sum_c x[t][c] W[r][c] + bias[r] (+ y[t][r] when accumulate)
 * w: cuda_layout_bytes() bytes in the layout of pack.h
 * x: inputs in the order of the types (cuda_order_of), zeros from cols to cuda_padded_cols(cols), in whole
 *   groups of tokens. Values of tokens beyond `tokens` are not used. f32: rows of ldx elements, 16-byte aligned
 * x_scale: (tokens) scales of int8 and f8e4m3 inputs; bias: (rows) or NULL
 * y: (tokens, ldy) f32
 * partial: cuda_partial_bytes() bytes of scratch, zeroed before its first launch. Launches on one stream share it
 * Order of a sum: for up to CUDA_FEW_TOKENS tokens, the spans of pack.h are summed, whatever the number of tokens. For
 *   more tokens, inputs are cut into as many runs as fill the chip, because registers have no room for a second set of
 *   accumulators. There the bits depend on the number of tokens, but never on the other tokens' values or places. int8:
 *   sums of integers are exact in any order. int4: (code - zero) is exact in bf16; the sum of a group is scaled in f32.
 *   f8e4m3 by f8e4m3: up to CUDA_FEW_TOKENS tokens are summed in f32. For more, Hopper's products of f8e4m3 keep about
 *   14 bits of a sum, so every 128 inputs are added up in f32
 * Types: x is f32 for f32 weights, f16 for f16, i8 for i8, bf16 for bf16 and i4, bf16 or f8e4m3 for f8e4m3 */
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
    struct cuda_carry carry;
};
size_t cuda_partial_bytes(const struct cuda_layout *layout, int tokens);

// One token of a pass. A token that belongs to no sequence has -1 in both fields: it is not stored, and no attention is
// computed for it.
struct cuda_token {
    int32_t sequence, position;
};

// ---- rows ------------------------------------------------------------------------------------------------

/* out = norm(x), cast to the kernel's type, in the order of a product's inputs, zeros from n to padded.
 * It is an RMS norm where `bias` and `centered` are not set.
 * x: (rows, ldx) f32; index: (rows) rows of x to read, or NULL; weight, bias: (n) f32; weight NULL: a cast without a
 *   norm
 * out: in `order`, (rows, ldo) for CUDA_ROWS; scale: (rows) scales of int8 and f8e4m3 outputs */
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

/* out[r][i] = act(gate[r][i]) * up[r][i], or act(up[r][i]) where gate is NULL, cast like the output of cuda_norm.
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

/* x[index[r]] += share[r] * y[r] over n elements; index NULL: row r; share NULL: 1. An index occurs once in a job. */
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
 * table: plain rows of `type` (ld elements); where `packed` is set, the rows of a packed matrix (a tied head)
 * positions: (learned, n) of `type`, or NULL */
struct cuda_embed {
    float *x;
    const void *table, *positions;
    const int32_t *ids;
    const struct cuda_token *tokens;
    struct cuda_layout layout; // of a packed table
    bool packed;
    enum dtype type;
    int rows, n;
    size_t ldx;
    float scale; // 0: 1
};

// ---- attention -------------------------------------------------------------------------------------------

// The place of one layer's cache on the device, in the layout of engine/model/kv.h.
struct cuda_kv {
    unsigned char *layer;              // the first sequence's first head's K
    size_t block_bytes, scales_offset; // as in kv_cache
    int kv_heads, head_dim;
    enum dtype type;
};

/* Clips, norms and rotates q, k and v of each token in place, then stores k and v in the cache.
 * qkv: (rows, ld) f32, a row holds heads of q, KV heads of k and of v; q_norm, k_norm: (head_dim) or NULL
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
 * qkv: (rows, ld), of which q is read, ld a multiple of 4; out: (rows, ldo) f32
 * bias: (heads, bias_stride) or NULL
 * partial: cuda_attention_bytes() bytes of scratch, zeroed before its first job. Jobs that share it run one after
 *   another
 *
 * f32 arithmetic serves f32 caches, heads whose size is no multiple of 16 bytes, and heads of over 256 elements.
 * Positions are cut into aligned splits of CUDA_SPLIT, and a split into blocks of CUDA_KEYS. Splits are merged in
 * rising order. A token's bits are the same in a chunk and in a decode step.
 * Tensor cores serve all others: cache codes are exact, and sums are f32.
 *   single: queries and weights are pairs of 16-bit floats, which keep at least 16 significant bits. Splits have
 *     cuda_split_length() positions and start at the first position that the token sees, rounded down to a multiple of
 *     4. The block that ends last merges them in rising order. Scales of V below 2^-90 count as 2^-90
 *   else: queries and weights are rounded to bf16 (f16 for f16 caches). Blocks are aligned and have 64 or 128
 *     positions, by the device, the type and the size of a head.
 * In each form a token's bits depend on its own sequence alone: not on the other tokens, the chunk or the batch. The
 * two forms round differently, so all tokens of a prompt use the second one, even in a chunk of one token.
 *
 * On sm_90 a decode kernel may start before earlier kernels have ended, but never before the end of the last kernel
 * that was launched without launch_early. Each pass begins with such a kernel. Until the launch in front has ended, the
 * kernel reads only `tokens` and the cache rows below each token's own position. Earlier passes wrote these. */
struct cuda_attention {
    const float *qkv;
    const struct cuda_token *tokens;
    struct cuda_kv kv;
    const float *bias;
    float *out;
    void *partial;
    int rows, heads, window;
    int most_positions;  // of any sequence; decides how many splits there is room for
    int multiprocessors; // of the device
    bool single;         // a decode step: no two tokens belong to one sequence
    size_t ld, ldo, bias_stride;
    float scale, softcap;
};
enum { CUDA_SPLIT = 256, CUDA_KEYS = 64, CUDA_MOST_HEAD_DIM = 512 };
size_t cuda_attention_bytes(int rows, int heads, int kv_heads, int head_dim, int positions);

// The number of splits of one sequence, over all KV heads, that fills a chip, and the granularity of their length.
enum { CUDA_DECODE_BLOCKS = 256, CUDA_LEAST_SPLIT = 128 };
// The length of a split for a token that sees `seen` positions.
static CUDA_BOTH inline int cuda_split_length(int kv_heads, int seen)
{
    long long each = (long long)CUDA_DECODE_BLOCKS * CUDA_LEAST_SPLIT,
              all = (long long)seen * kv_heads;
    return all > each ? (int)((all + each - 1) / each) * CUDA_LEAST_SPLIT : (int)CUDA_LEAST_SPLIT;
}
// Bytes of the counters, one for each token and head, which precede the partial results.
static CUDA_BOTH inline size_t cuda_attention_counters(int rows, int heads)
{
    return ((size_t)rows * (size_t)heads * 4 + 255) / 256 * 256;
}

// ---- a decode step in one kernel, on sm_90 only; step.h ------------------------------------------------------

typedef void cuda_step_fn(const struct cuda_step *job, void *stream);
// The launcher for these weights and inputs on the current device, or NULL. It is no row of the registry, because
// nothing in kernels/ref computes a whole step. tests/cuda/test_step.c compares it with the separate kernels.
cuda_step_fn *cuda_step_find(enum dtype w, enum dtype x);
// Tests only: the launcher of a separate kernel, whose blocks also write the clocks of their phases to job->stamps. The
// other kernel pays nothing for stamps.
cuda_step_fn *cuda_step_find_stamped(enum dtype w, enum dtype x);

// ---- the end of a step -----------------------------------------------------------------------------------

/* id[i] = the next id of sequence sequence[i] from logits[i], as sampler_next draws it with the stream of that
 * sequence. Where sequence[i] is -1 nothing is drawn and id[i] is -1.
 * streams: (sequences) states, advanced by one draw where sampler_next draws.
 * Weights are summed as integers in units of 2^-40 of the largest, so the sum is the same in any order. A draw within
 * 2^-23 of a boundary may differ from the host's, which sums doubles
 * nonfinite: one counter, which grows by the number of logits that are NaN or infinite
 * scratch: (sequences, vocab) elements of 8 bytes; a sequence occurs once in a job */
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

// What a step hands to the host, in memory that both can access.
struct cuda_arrival {
    uint64_t number; // of the step, from 1; written last
    uint64_t begin_ns, logits_ns, end_ns, nonfinite;
};

/* The end of a step: hands the drawn ids to the host in slot (*number % slots) of the ring, and makes them the next
 * step's input.
 * drawn: (rows); ids, tokens: of the pass. For i < next: ids[i] = drawn[i], or 0 where that is negative, and
 *   tokens[i].position grows by one
 * stamps: the times of the begin and of the logits; *nonfinite is set to 0; *number grows by one
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

// The driver's text of the first launch that failed since the last call, or NULL. *code: the driver's code, as
// device_launch_failed takes it, or 0 if none failed. code NULL: the code is not reported.
const char *cuda_launch_error(int *code);

#ifdef __cplusplus
}
#endif

#endif
