// kernels.h - the compute kernels: what each operation computes, and how to find its fastest variant.
//
// One table (registry.c) has a row for each variant: operation, weight format, activation format, the kind of device
// it runs on, the tiers it needs there, its function. Rows are in rising order of speed. Portable C (kernels/ref)
// comes first and defines the correct result. kernel_find() returns the last row that a target can run. The target is
// an argument everywhere, so any tier can be forced and each variant is tested on one machine. There is no global
// state.
//
// Kernels never fail and never allocate: the caller checks shapes before dispatch. Strides and lengths count
// elements unless the name says bytes. Names: k_<op>_<weights>_<activations>_<isa>[_<tile>].
#ifndef KERNELS_KERNELS_H
#define KERNELS_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "device/device.h"
#include "kernels/cuda/launchers.h"

// ---- element types and packed weights ------------------------------------------------------------

// DT_I8G: int8 codes with a scale for each group of inputs; DT_I8 has one for each row.
enum dtype { DT_F32, DT_F16, DT_BF16, DT_I8, DT_F8E4M3, DT_I4, DT_I8G, DT_COUNT };

const char *dtype_name(enum dtype type); // "f32", "bf16", ...

// A packed weight matrix is cut into panels of PANEL_ROWS output rows. Within a panel the input dimension is
// outermost, in groups of kernel_panel_group(type) inputs: group g holds `group` consecutive inputs of each of the
// 16 rows. Groups have 1 input for f32, 2 for f16 and bf16, 4 for i8, i8g and f8, 8 for i4. So a group is 64 bytes: one
// AVX-512 register, two AVX2 ones, four NEON ones, one row of an AMX tile. Dot-product instructions take these pairs
// and quads. One layout serves all instruction sets, GEMV and GEMM, and a panel is one contiguous stream. Rows and
// inputs beyond the matrix are zeros. A panel of a quantized type (i8, i8g, i4, f8) begins with its scales
// (kernels/quant.h).
enum { PANEL_ROWS = 16, PANEL_ALIGN = 64 };
enum { QUANT_GROUP = 128 }; // grouped types: inputs that share a scale and a zero, by default

// Inputs of a group, see above: 1, 2, 4 or 8.
int kernel_panel_group(enum dtype type);
int kernel_panel_count(int rows);                     // panels of `rows` rows
size_t kernel_panel_bytes(enum dtype type, int cols); // one panel; in groups of QUANT_GROUP
size_t kernel_packed_bytes(enum dtype type, int rows, int cols); // all panels
// The same for i4 and i8g in groups of `group` inputs, a multiple of 8 (quant.h).
size_t quant_packed_bytes(enum dtype type, int rows, int cols, int group);
bool dtype_is_quantized(enum dtype type);          // i8, i8g, i4, f8e4m3: codes with scales
bool dtype_is_grouped(enum dtype type);            // i8g, i4: a scale for each group of inputs
int kernel_packed_cols(enum dtype type, int cols); // cols rounded up to whole groups

// Packs up to 16 f32 rows (row stride ld) into one panel, and fills missing rows with zeros. Rounds to nearest even.
// Plain types only; quant_pack_panel packs the others. Threads: panels are independent.
void kernel_pack_panel(enum dtype type, const float *rows_f32, int rows, int cols, size_t ld,
                       void *panel);

// Expands one row of a packed matrix to f32 (cols elements), for tied embeddings, tests and info. Any type, i4
// and i8g in groups of QUANT_GROUP.
void kernel_unpack_row(enum dtype type, const void *packed, int row, int cols, float *out);

// ---- operations ------------------------------------------------------------------------------------

enum kernel_op {
    KOP_GEMV, // linear, few tokens: limited by reading the weights
    KOP_GEMM, // linear, many tokens: limited by arithmetic
    KOP_CAST, // f32 -> activation type of a product, with its scale
    KOP_RMSNORM,
    KOP_LAYERNORM,
    KOP_ROPE,
    KOP_SWIGLU, // activations of the feed-forward: SiLU
    KOP_GELU,   // exact
    KOP_GELU_TANH,
    KOP_RELU,
    KOP_SOFTCAP,
    KOP_ADD,       // residual
    KOP_ATTENTION, // flash-style, one KV head and its group of query heads
    KOP_KV_STORE,  // f32 -> KV cache element type, with its scale
    KOP_READ,      // bandwidth probes: ceilings are measured by kernels too
    KOP_COPY,
    KOP_TRIAD,
    KOP_PEAK, // register-resident arithmetic of one datapath

    // Operations that only GPUs have; kernels/cuda/cuda.h defines their jobs. KOP_ADD, KOP_SOFTCAP and
    // KOP_ATTENTION have jobs there too.
    KOP_LINEAR, // a product of any number of tokens
    KOP_NORM,   // RMS, LayerNorm or none, cast to an activation type
    KOP_ACTIVATE,
    KOP_EMBED,
    KOP_ROTATE, // and append to the KV cache
    KOP_SAMPLE,
    KOP_ADVANCE, // the end of a step
    KOP_STAMP,   // the device's clock
    KOP_COUNT
};

/* y[t][r] = sum_c x[t][c] * W[r][c] + bias[r] (+ y[t][r] when accumulate), for the panels [panel0, panel1)
 * w: packed (rows, cols) in the row's weight type
 * x: (tokens, ldx) in the row's activation type, cols zero-padded to whole groups of w, 64-byte aligned rows
 * y: (tokens, ldy) f32, must not alias x
 * bias: (rows) f32 or NULL; x_scale: (tokens) results of the casts to i8 or f8, NULL for plain inputs
 * Arithmetic: products and sums in f32; bf16 pairs as the dot instruction adds them; ref sums in f64.
 * Quantized weights (quant.h): codes are multiplied and summed. The sum is then scaled in f32 by the row's (i4, i8g:
 * the group's) scale and the token's. Inputs in i8: sums of a row (i4, i8g: of a group) are exact integers
 * Requires: i8 x i8: cols up to I8_COLS_MAX, so that the exact sum fits 32 bits
 * Cost: 2*tokens*rows*cols FLOP; reads W once (GEMV), or once per token tile that misses the cache (GEMM)
 * Threads: the caller splits panels. Tolerance against ref: the formula in kernels/check.c bounds rounding and the
 * order of the sums */
struct k_linear {
    const void *w;
    const void *x;
    const float *bias;
    const float *x_scale;
    float *y;
    int tokens, rows, cols;
    int group; // grouped types: inputs that share a scale; 0: QUANT_GROUP
    size_t ldx, ldy;
    bool accumulate;
    bool streamed; // a hint that changes no result: the weights come from memory, not from a cache
};
typedef void k_linear_fn(const struct k_linear *job, int panel0, int panel1);
enum { I8_COLS_MAX = 131072 };

/* dst[i] = round(src[i] / s), to nearest even; then zeros up to padded. Returns s, which is 1 for plain types. For i8
 * and f8 it is the row's scale by the rule of quant_row_rtn (quant.h): 0 for a row of zeros, NaN if src has a NaN or an
 * infinity. Tolerance against ref: none, also for the scale */
typedef float k_cast_fn(void *dst, const float *src, int n, int padded);

/* y[i] = x[i] * w[i] / sqrt(mean(x^2) + eps), n elements; y may be x. Source: Zhang, Sennrich 2019 */
typedef void k_rmsnorm_fn(float *y, const float *x, const float *w, int n, float eps);

/* y[i] = (x[i] - mean(x)) * w[i] / sqrt(mean((x - mean(x))^2) + eps) + b[i], n elements; y may be x; b may be
 * NULL. Source: Ba, Kiros, Hinton 2016 */
typedef void k_layernorm_fn(float *y, const float *x, const float *w, const float *b, int n,
                            float eps);

/* Rotates the first `rotary` dims of each head of x (heads, head_dim) in place, in pairs. cos, sin: of this position's
 * rotary/2 angles. Half-split: pair i is (i, i + rotary/2). Interleaved: (2i, 2i+1).
 * Source: Su et al. 2021 */
struct k_rope {
    float *x;
    const float *cos, *sin;
    int heads, head_dim, rotary;
    bool interleaved;
};
typedef void k_rope_fn(const struct k_rope *job);

/* y[i] = f(x[i]) * up[i], or f(x[i]) when up is NULL; y may be x. f of
 *   SWIGLU: x sigmoid(x); relative error of exp: 2^-20 or better (Shazeer 2020)
 *   GELU: x Phi(x), Phi the normal distribution; GELU_TANH: its approximation
 *   x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2 (Hendrycks, Gimpel 2016)
 *   RELU: max(x, 0) */
typedef void k_activate_fn(float *y, const float *x, const float *up, int n);
typedef k_activate_fn k_swiglu_fn;

/* y[i] = cap * tanh(y[i] / cap): absolute error up to cap 2^-21 */
typedef void k_softcap_fn(float *y, int n, float cap);

typedef void k_add_fn(float *y, const float *x, int n); // y += x

/* Attention of one KV head of one sequence: `tokens` new tokens with `group` query heads each.
 * q: row (t, g) at q + t*q_stride + g*head_dim, f32; the new tokens are at positions first..first+tokens-1
 * k, v: (positions, head_dim) of the row's weight type (the cache's), contiguous, rows 0..first+tokens-1 filled
 * k_scale, v_scale: (positions) for i8 and f8: a row is its codes times its scale; NULL for plain types
 * out: addressed like q, with out_stride, f32
 * Token t sees positions max(0, first+t-window+1) .. first+t  (window 0: no limit)
 * score of position p = scale * q k (+ bias[g][p] - bias[g][first+t]), then capped; bias: (group, bias_stride)
 * f32 or NULL: ALiBi, and any other term that depends on head and position alone
 * softmax in f32, running maximum; memory: scratch of kernel_attention_scratch(tokens, group, head_dim) bytes
 * Cost: 4*tokens*group*head_dim*(mean positions seen) FLOP; reads K and V once per query tile
 * Source: Dao et al. 2022 (FlashAttention), Milakov and Gimelshein 2018 (online softmax) */
struct k_attention {
    const float *q;
    const void *k, *v;
    const float *k_scale, *v_scale;
    float *out;
    void *scratch;
    size_t q_stride, out_stride;
    int tokens, group, head_dim, first, window;
    float scale;
    float softcap; // 0: none; else scores = softcap * tanh(scores / softcap)
    const float *bias;
    size_t bias_stride;
};
typedef void k_attention_fn(const struct k_attention *job);
// Bytes of scratch that are enough for every variant. The scratch may have any alignment.
size_t kernel_attention_scratch(int tokens, int group, int head_dim);

/* Reads (READ), copies (COPY: dst = src) or computes a[i] = b[i] + s*c[i] (TRIAD) on `bytes` of each array, 64-byte
 * aligned and a multiple of 64. Returns a value that depends on every byte read, so that the compiler drops no read.
 * Bytes moved: bytes; 2*bytes; 3*bytes. The caller adds the reads for ownership of stores. */
typedef uint64_t k_stream_fn(void *dst, const void *a, const void *b, size_t bytes);

/* Runs `rounds` rounds of independent dot or FMA chains in registers on the 4 KiB of random values at `seed`. Returns
 * the number of operations (a multiply and an add count two). *sink depends on all of them. */
typedef uint64_t k_peak_fn(const void *seed, uint64_t rounds, float *sink);

// Fills the 4 KiB that a PEAK kernel reads with random values of the datapath's type. Floats are below 1 in magnitude,
// so no sum overflows, and no operand is denormal.
enum { PEAK_SEED_BYTES = 4096 };
void kernel_peak_seed(enum dtype datapath, uint64_t seed, void *out);

union kernel_fn {
    k_linear_fn *linear;
    k_cast_fn *cast;
    k_rmsnorm_fn *rmsnorm;
    k_layernorm_fn *layernorm;
    k_rope_fn *rope;
    k_swiglu_fn *swiglu;
    k_activate_fn *activate;
    k_softcap_fn *softcap;
    k_add_fn *add;
    k_attention_fn *attention;
    k_stream_fn *stream;
    k_peak_fn *peak;
    union cuda_fn cuda; // for rows whose `where` is DEVICE_CUDA
};

// ---- the registry ------------------------------------------------------------------------------------

// The layout of a product's weights in memory. A model is packed for the layout of the row that will read it.
enum kernel_layout {
    LAYOUT_NONE,    // the operation reads no packed weights
    LAYOUT_PANEL16, // panels of PANEL_ROWS output rows, see above
    LAYOUT_TILE16,  // tiles of 16 output rows for tensor cores: kernels/cuda/pack.h
};

// The largest tile of a product: output panels by tokens. Zeros: the variant has no tiles.
struct kernel_tile {
    int panels, tokens;
    int streamed; // panels when the weights stream from memory
};

enum { ALL_TOKENS = 0x7fffffff };

struct kernel {
    const char *name; // "k_gemv_bf16_bf16_avx512_bf16"
    enum kernel_op op;
    // Types of weights and activations; DT_F32 if none applies. Other operations:
    enum dtype w, x;
    // CAST (f32, to), ATTENTION and KV_STORE (cache, f32), PEAK (datapath, f32)
    enum device_kind where;
    unsigned isa; // every tier of `where` needed to run it; 0: portable C on the host
    // For products; zeros for all other operations.
    enum kernel_layout layout;
    struct kernel_tile tile;
    int most_tokens; // a GEMV row is used for up to this many tokens, GEMM for more (measured: docs/KERNELS.md)
    union kernel_fn fn;
};

// All rows, in rising order within one (where, op, w, x). Borrowed, static.
const struct kernel *kernel_table(size_t *count);
// Writes a hint for a pattern that matches no row of this kind of device (words_hint_glob). Returns `out`.
char *kernel_hint(const char *pattern, enum device_kind where, char *out, size_t out_bytes);

// The row is of the target's kind, and the target has every tier that it needs.
bool kernel_runs_on(const struct kernel *row, struct device_target target);

// The best row that runs on the target, or NULL if the operation has no such types there.
const struct kernel *kernel_find(enum kernel_op op, enum dtype w, enum dtype x,
                                 struct device_target target);
// The row in portable C, which defines the correct result; NULL if the operation has no such types.
const struct kernel *kernel_reference(enum kernel_op op, enum dtype w, enum dtype x);

// The type whose peak a row is compared with: that of the units that it uses.
enum dtype kernel_datapath(const struct kernel *row);

// "gemv", "gemm", ...
const char *kernel_op_name(enum kernel_op op);

// ---- proof and timing --------------------------------------------------------------------------------

// Refuses a pattern (glob) that matches no row which runs on the device: ERR_USAGE, with near names.
enum status kernel_pattern_check(const char *pattern, const struct device *device,
                                 struct error *err);

// One variant compared with kernels/ref on random, extreme, tail and misaligned shapes.
struct kernel_check_result {
    const struct kernel *kernel;
    int cases, failures;
    char reason[256]; // the first failure: shape, seed, element, both values; or the signal caught
};
typedef void kernel_check_report(void *user, const struct kernel_check_result *result);

// Checks each row that runs on the device and whose name matches `pattern` (glob), in `cases` cases each (0: enough for
// a proof). Buffers have guard bytes, and guard pages on the host. SIGILL, SIGSEGV and SIGBUS are caught and attributed
// to the row. Prints nothing. Failures are in the results; the status is still OK. Errors: ERR_USAGE if nothing
// matches; ERR_IO if a GPU failed and nothing more can run on it.
enum status kernel_check(const char *pattern, struct device *device, uint64_t seed, int cases,
                         kernel_check_report *report, void *user, struct error *err);

// One variant timed at one shape. Figures are medians over repeated calls of at least 1 ms.
struct kernel_bench_result {
    const struct kernel *kernel;
    char shape[64]; // "m=1 n=5632 k=2048"
    double time_ns; // of one call
    double bytes;   // compulsory traffic
    double flop;
    bool in_cache;  // working set fits the last-level cache
    bool disturbed; // other programs ran on the processors in most samples, so the time is too long
};
typedef void kernel_bench_report(void *user, const struct kernel_bench_result *result);
// Times each matching row that runs on the device, with all its threads. cache_bytes: the threads' part of the
// last-level cache. Working sets up to that size count as in cache; sets timed out of cache are several times as large.
// Errors: ERR_USAGE when nothing matches; ERR_NOMEM.
enum status kernel_bench(const char *pattern, struct device *device, size_t cache_bytes,
                         kernel_bench_report *report, void *user, struct error *err);

#endif
