// step.h - a decode step as one persistent kernel: its job, the order of its reads, and the words that its blocks
// exchange. It is plain C, so that tests on the host cover the plan and the protocol.
//
// The kernel runs one block on each multiprocessor, all of them at once. A layer is five phases: qkv, attention,
// output, gate and up, down; the head follows the last layer. A phase is cut into items: tiles of rows, pairs of a gate
// tile and an up tile, or parts of a head's attention. Item i of a phase belongs to block (i + start) mod blocks.
// `start` advances from phase to phase and from layer to layer, so that no block has more than its share for long. A
// producer warp streams the weights of a block's items into a ring in shared memory, in order and over all phases
// (struct step_cursor). It does not wait where a phase begins, because weights do not depend on other blocks.
//
// The exchange. A block posts each value as one 32-bit word: an f32 rounded to 16 significant bits, whose low 8 bits
// hold a tag. Attention and the gate and up phase post four values of 12 bits each as one 64-bit word. The tag counts
// layers, over all launches. A reader loads a word until its tag is the current one.
// This is correct under the memory model of PTX. All accesses to words are relaxed, of GPU scope, of 32 or 64 bits; a
// vector is that many accesses.
// - An access to a word is single-copy atomic, so the value belongs to its tag. It orders no other access, and none
//   needs to be ordered: a reader uses nothing but the word itself.
// - Words live in slots. A slot belongs to a thread of a block, not to a row: the item of a block's n-th round lies in
//   slot n * blocks + block. The same thread writes a slot in all layers and launches, so program order decides the
//   coherence order of its values. A partial last round leaves out some blocks, and in each layer different ones. But
//   every launch writes a slot in the same layers, so a value replaces one that is at most `layers` tags old.
//   STEP_MOST_LAYERS is less than the number of tags, so a stale word is never taken for a new one.
// - A slot is written again a layer later at the earliest. Each output of a product depends on all inputs. So the new
//   value depends, through words and shared memory, on the values that every reader of the slot made from the old one.
//   Overwriting a word before it was read would need a cycle of dependencies and reads, which the model forbids (No
//   Thin Air). The end of each kernel orders the launches.
// - The residual stream is passed exactly: all blocks read the rounded word, and a second word holds the rest.
// One thread of each block polls a counter of arrivals. It is a hint that keeps the others off the memory system; no
// value relies on it.
//
// The wide form, for contexts of more than STEP_FEW_TOKENS sequences, passes plain rows instead of words: each block
// reads the inputs of all tokens, and words would double these bytes. The products that feed a norm multiply by its
// weights, and store bf16 rows with a sum of squares and a largest magnitude for each tile. The residual stream is f32.
// This is correct under the memory model of PTX:
// - A block's threads store rows, then meet at a barrier. One of them adds to the counter with release at GPU scope.
//   The barrier orders the other threads' stores before it, and release is cumulative.
// - One thread of a block reads the counter with acquire until all blocks have arrived, then all threads meet at a
//   barrier, then they load. So every store of the previous phase happens before these loads. The additions are
//   read-modify-writes, so the last one continues the release sequences of all.
// - Rows of a phase are read only in the phase that follows. A block stores them again a layer later, after it has
//   entered a phase that every block enters past those reads. So the reads happen before the stores. An element of the
//   residual stream is loaded and stored by one thread in a phase, and by another one no earlier than two phases later.
// - The counter is never reset while launches run. Each launch adds the same count, which a block keeps for itself.
#ifndef KERNELS_CUDA_STEP_H
#define KERNELS_CUDA_STEP_H

#include <math.h>
#include <string.h>

#include "kernels/cuda/pack.h"

#ifdef __cplusplus
extern "C" {
#endif

// Marks functions of a type that C++ also needs as constant expressions.
#ifdef __cplusplus
#define STEP_CONSTANT constexpr
#else
#define STEP_CONSTANT
#endif

enum step_phase {
    STEP_QKV,
    STEP_ATTEND,
    STEP_OUT,
    STEP_GATE_UP,
    STEP_DOWN,
    STEP_LAYER_PHASES,
    STEP_HEAD = STEP_LAYER_PHASES,
    STEP_PHASES,
};

enum {
    STEP_WARPS = 16,     // warps that compute; one more streams
    STEP_VECTORS = 4,    // 16-byte vectors of a lane in its part of a stage
    STEP_FEW_TOKENS = 4, // contexts of more sequences take the wide form
    STEP_MOST_TOKENS = 8,
    STEP_ROUND_COLS = STEP_WARPS * 32 * 8, // inputs that a block gathers at a time, 8 for each lane
    STEP_MOST_LAYERS = 255,                // tags have 8 bits
    STEP_MOST_BLOCKS = 256,
    STEP_MOST_HEAD_DIM = 128,
    STEP_MOST_SPLITS = 8, // splits of a head's positions
    STEP_KEYS = 16,       // splits begin at multiples of this, in positions
    STEP_SHARED_BYTES = 227 * 1024,
    STEP_LEAST_STAGES = 3, // stages of the ring
    STEP_MOST_STAGES = 8,
    STEP_SPACE_BYTES = 23 * 1024, // shared memory in front of the ring and the inputs
    STEP_WIDE_SPACE_BYTES = 42 * 1024,
    STEP_SUMS_BYTES = 64, // behind the inputs of an int4 part: a scale and a sum for each group
    STEP_PART_SCALE_BYTES = 16, // behind the inputs of an fp8 part: their scale
};

// A block's stamps of a phase, in the kernel of cuda_step_find_stamped: clocks of its multiprocessor. A comment says
// what the block does from then on.
enum step_mark {
    STEP_MARK_BEGIN,    // computes addresses
    STEP_MARK_READY,    // waits for the other blocks
    STEP_MARK_ENTERED,  // gathers inputs
    STEP_MARK_GATHERED, // sums tiles, or scores
    STEP_MARK_SUMMED,   // adds up its warps' sums, and posts outputs
    STEP_MARK_POSTED,
    STEP_MARK_WAITED, // a duration: the phase's waits for the ring
    STEP_MARK_NS,     // the phase's begin, by the clock that all multiprocessors share
    STEP_MARKS,
};

// A matrix of the first layer, or the head. A part is one warp's share of a stage: 2 KB of codes and their scales.
struct step_matrix {
    const unsigned char *w; // in the layout of pack.h
    const float *bias;      // (rows) or NULL
    int rows, cols, tiles, items;
    int parts, stages; // of a tile
    // A block reads the first stages of all its tiles, then those that follow, as far as inputs fit shared memory.
    int chunks, chunk_stages;
    int part_bytes, header_bytes;
    size_t tile_bytes;
};

/* logits[t] = head(layers(x[t])) for 1 .. STEP_MOST_TOKENS tokens of distinct sequences; k and v are appended.
 * x: (tokens, width) f32, the embedding. logits: (tokens, vocab); NULL: the head is left out
 * matrices, norms: of layer 0; those of layer l follow l * layer_stride bytes later
 * exchange: cuda_step_exchange_bytes() bytes, zeroed before the first launch and whenever `tokens` changes
 * w: bf16, f16, i8, f8e4m3, i4 of group 32 or 128. Inputs are rounded to f16 for f16 weights, to int8 per token for
 * int8 weights, and to bf16 for bf16 weights. For fp8 weights they are rounded to f16, and for int4 weights to 15 bits,
 * with a power of 2 as the scale of up to 256 inputs. Inputs of the head are rounded to f16 with f16 weights, else to
 * bf16. The wide form rounds all inputs to bf16, and then for int8 weights to int8 and for fp8 weights to f16, with a
 * scale for each row. It does not serve f16 weights */
struct cuda_step {
    enum dtype type, head_type, kv_type;
    enum kernel_op activation; // KOP_SWIGLU, KOP_GELU, KOP_GELU_TANH, KOP_RELU
    int group;
    int layers, width, heads, kv_heads, head_dim, rotary, ff, vocab;
    bool interleaved;
    bool wide;        // the wide form; set by the plan for more than STEP_FEW_TOKENS
    float eps, scale; // scale: of q k
    // most_tokens: of the context; it selects the form, so that bits do not depend on `tokens`
    int tokens, most_tokens;
    int blocks; // multiprocessors
    // 2^32 / n, rounded up, of the blocks, splits, heads, and heads of a KV head: for step_quotient
    uint32_t per_blocks, per_splits, per_heads, per_group;
    int splits;    // splits of a head's positions
    int key_stage; // positions per stage of keys and values
    int ring, stage_bytes, shared_bytes;
    struct step_matrix m[STEP_PHASES]; // of [STEP_ATTEND] only the items
    int start[STEP_PHASES], rotation;  // starts of the phases in layer 0, and what each layer adds
    size_t layer_stride;
    const float *attn_norm, *ff_norm, *final_norm, *q_norm, *k_norm; // q_norm, k_norm: NULL: none
    const float *cos, *sin;                                          // (positions, rotary / 2)
    unsigned char *kv; // layer 0, sequence 0, head 0, keys
    size_t kv_block_bytes, kv_scales_offset, kv_layer_bytes;
    const void *tokens_at; // (tokens) of struct cuda_token
    const float *x;
    float *logits;
    uint32_t *exchange;
    uint32_t slots[STEP_PHASES]; // where the words begin that a phase writes; wide: its rows
    // STEP_OUT, STEP_DOWN: where the rest of the residual stream begins. Wide: where a phase's struct step_tile_sums
    // begin, (tokens, tiles).
    uint32_t rests[STEP_PHASES];
    uint32_t residual; // wide: where the residual stream begins, (tokens, width) f32
    // Behind the words: arrivals, and each block's count of layers; wide: of arrivals.
    uint32_t counters;
    // Stages in flight past the phase, and inside it; stages prefetched, and clocks between them.
    int ahead, inside, far, pace;
    // (blocks, layers * STEP_LAYER_PHASES + 1, STEP_MARKS), for the stamped kernel only
    uint64_t *stamps;
};

// Fills in what follows from the shapes: parts and stages of matrices, splits, starts, slots, the ring. Pointers, types
// and shapes must be set. Returns false where this shape is not served; *why is the reason.
bool cuda_step_plan(struct cuda_step *job, const struct cuda_layout layouts[STEP_PHASES],
                    const char **why);
size_t cuda_step_exchange_bytes(const struct cuda_step *job);

// ---- words ---------------------------------------------------------------------------------------------

static CUDA_BOTH inline uint32_t step_bits(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits;
}

// Rounds to 16 significant bits, to nearest, ties to even. A NaN stays a NaN.
static CUDA_BOTH inline uint32_t step_word(float v, uint32_t tag)
{
    uint32_t bits = step_bits(v);
    bits = (bits & 0x7fffffffu) > 0x7f800000u ? 0x7fc00000u : bits + 0x7fu + (bits >> 8 & 1u);
    return (bits & 0xffffff00u) | tag;
}

static CUDA_BOTH inline float step_value(uint32_t word)
{
    float v;
    word &= 0xffffff00u;
    memcpy(&v, &word, sizeof v);
    return v;
}

static CUDA_BOTH inline bool step_fresh(uint32_t word, uint32_t tag)
{
    return ((word ^ tag) & 0xffu) == 0;
}

// A packed word of 64 bits holds four values of 12 bits with the exponent of the largest. Its low half is the tag, v0
// and v1 (8, 12 and 12 bits); its high half is the exponent, v2 and v3. An access of 64 bits is single-copy atomic,
// too.
static CUDA_BOTH inline int step_exponent(float largest)
{
    return (int)(step_bits(largest) >> 23 & 0xffu); // 255: infinity or NaN
}

static CUDA_BOTH inline float step_power(int field) // the power of 2 with this exponent field
{
    uint32_t bits = (uint32_t)field << 23;
    float v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

// The 12 bits of v. Values below 2^-116 become zero.
static CUDA_BOTH inline uint32_t step_mantissa(float v, int exponent)
{
    if (exponent <= 10 || exponent == 255)
        return 0;
    int m = (int)rintf(v * step_power(264 - exponent));
    return (uint32_t)(m > 2047 ? 2047 : m < -2047 ? -2047 : m) & 0xfffu;
}

static CUDA_BOTH inline float step_unit(uint32_t high)
{
    int exponent = (int)(high & 0xffu);
    return exponent == 255 ? NAN : exponent <= 10 ? 0.0f : step_power(exponent - 10);
}

static CUDA_BOTH inline void step_unpack(uint32_t low, uint32_t high, float v[4])
{
    float unit = step_unit(high);
    v[0] = unit * (float)((int32_t)(low << 12) >> 20);
    v[1] = unit * (float)((int32_t)low >> 20);
    v[2] = unit * (float)((int32_t)(high << 12) >> 20);
    v[3] = unit * (float)((int32_t)high >> 20);
}

// The same values as integers of 15 bits, in units of 2^-13 of the power of 2 with this exponent field, rounded down.
// The field is at least the word's own. The bits below a value are cleared first: they are the tag or the exponent, and
// a shift by less than 20 would leave some of them in the code.
static CUDA_BOTH inline void step_codes(uint32_t low, uint32_t high, int exponent, int code[4])
{
    int down = 17 + exponent - (int)(high & 0xffu);
    down = down < 31 ? down : 31;
    code[0] = (int32_t)((low & 0x000fff00u) << 12) >> down;
    code[1] = (int32_t)(low & 0xfff00000u) >> down;
    code[2] = (int32_t)((high & 0x000fff00u) << 12) >> down;
    code[3] = (int32_t)(high & 0xfff00000u) >> down;
}

static CUDA_BOTH inline uint32_t step_tag(uint32_t epoch, int layer)
{
    return (epoch + (uint32_t)layer + 1u) & 0xffu;
}

// ---- shares of the blocks --------------------------------------------------------------------------------------

// n / d without a division, for n >= 0 and n d < 2^32. per: the low 32 bits of 2^32 / d, rounded up; 0 for d = 1.
static CUDA_BOTH inline int step_quotient(int n, uint32_t per)
{
    return per ? (int)((uint64_t)(uint32_t)n * per >> 32) : n;
}
static inline uint32_t step_per(int d)
{
    return (uint32_t)(((UINT64_C(1) << 32) + (uint64_t)d - 1) / (uint64_t)d);
}
static CUDA_BOTH inline int step_rounds(const struct cuda_step *job, int n)
{
    return step_quotient(n, job->per_blocks);
}

// The block at which the items of a phase start in a layer. For the head, layer = layers.
static CUDA_BOTH inline int step_start(const struct cuda_step *job, int phase, int layer)
{
    int n = job->rotation * layer + job->start[phase];
    return n - step_rounds(job, n) * job->blocks;
}

// The number of inputs of a part (2 KB of codes), and the bytes of shared memory that they take for each token. int8
// needs a row's largest input, and f16 its norm, before it rounds any of them, so inputs are f32 until then. Inputs of
// int4 weights take 16 bits, in two planes of bytes.
static CUDA_BOTH inline STEP_CONSTANT int step_part_cols(enum dtype type)
{
    return type == DT_I4 ? CUDA_UNIT_COLS : type == DT_I8 || type == DT_F8E4M3 ? 128 : 64;
}
static CUDA_BOTH inline STEP_CONSTANT int step_input_bytes(enum dtype type, bool wide)
{
    return wide ? step_part_cols(type) * (type == DT_I8 ? 1 : 2)
                : step_part_cols(type) * (type == DT_I8 || type == DT_F16 ? 4 : 2) +
                      (type == DT_I4       ? STEP_SUMS_BYTES
                       : type == DT_F8E4M3 ? STEP_PART_SCALE_BYTES
                                           : 0);
}

// Bytes of a token's inputs of one round in the wide form. Rows are not whole multiples of 128 bytes apart, so that the
// lanes of a quarter warp, which read two tokens, find them in different banks.
static CUDA_BOTH inline STEP_CONSTANT int step_wide_row_bytes(enum dtype type)
{
    return STEP_ROUND_COLS / step_part_cols(type) * step_input_bytes(type, true) +
           (type == DT_I8 || type == DT_I4 ? 64 : 16);
}

static CUDA_BOTH inline bool step_wide(const struct cuda_step *job)
{
    return job->wide;
}

// Of 16 outputs of a token, in the wide form: the sum of squares, and the largest magnitude of what is stored.
struct step_tile_sums {
    float squares, largest;
};

// The first item of a block. Its others follow at distances of job->blocks.
static CUDA_BOTH inline int step_first(const struct cuda_step *job, int start, int block)
{
    int first = block - start;
    return first < 0 ? first + job->blocks : first;
}

// The slot of an item: its round times the blocks, plus its block.
static CUDA_BOTH inline int step_slot(const struct cuda_step *job, int start, int item)
{
    int round = step_rounds(job, item), at = item - round * job->blocks + start;
    return round * job->blocks + (at >= job->blocks ? at - job->blocks : at);
}

// Offsets in the exchange, in 32-bit words, of: a row of a phase's output tile; the packed words of gate and up; a
// split of attention. A split has rows of 32 bytes: its packed outputs, then the base-2 logarithm of their weight,
// after its tag.
static CUDA_BOTH inline uint32_t step_row_at(const struct cuda_step *job, int slot, int token,
                                             int row)
{
    return (uint32_t)((slot * job->tokens + token) * CUDA_TILE_ROWS + row);
}
static CUDA_BOTH inline int step_split_words(const struct cuda_step *job)
{
    return job->head_dim / 2 + 8;
}
static CUDA_BOTH inline uint32_t step_packed_at(const struct cuda_step *job, int slot, int token,
                                                int row)
{
    return (uint32_t)(((slot * job->tokens + token) * CUDA_TILE_ROWS + row) / 2);
}

// Positions [*begin, *end), of `cached` ones in the cache, that a split covers.
static CUDA_BOTH inline void step_split(const struct cuda_step *job, int cached, int split,
                                        int *begin, int *end)
{
    int each = step_quotient(cached + job->splits - 1, job->per_splits);
    each = (each + STEP_KEYS - 1) / STEP_KEYS * STEP_KEYS;
    *begin = split * each < cached ? split * each : cached;
    *end = *begin + each < cached ? *begin + each : cached;
}

// Where a block's stamps of a phase begin, counted over all layers.
static CUDA_BOTH inline size_t step_stamps_at(const struct cuda_step *job, int block, int phase)
{
    return ((size_t)block * (size_t)(job->layers * STEP_LAYER_PHASES + 1) + (size_t)phase) *
           STEP_MARKS;
}

// ---- the stream of a block ------------------------------------------------------------------------------

// One stage of the ring: a run of a tile's stream, or keys, then values, then the scales of both.
struct step_stage {
    // Values, and scales of keys, or NULL; scales of values lie one block later.
    const unsigned char *from, *values, *scales;
    uint32_t bytes, scales_bytes; // of one copy
    uint32_t total_bytes;
    int phase; // counted over all layers
};

// Walks the stages of a block: layer, phase, item, tile of a pair, stage of a tile. It must be cheap, because one
// thread feeds a whole multiprocessor.
struct step_cursor {
    int layer, phase, item, tile, all; // all: the phase counted over all layers
    int stage;                         // of keys
    int chunk;
    uint32_t header; // bytes in front of the tile's first part that are not yet requested
    uint32_t left;   // bytes of the tile's chunk not yet requested, from `at` on
    const unsigned char *at;
    bool done;
};

static CUDA_BOTH inline void step_tile(const struct cuda_step *job, struct step_cursor *c)
{
    const struct step_matrix *m = &job->m[c->phase];
    size_t layer = c->phase == STEP_HEAD ? 0 : (size_t)c->layer * job->layer_stride;
    c->stage = 0;
    c->left = 0;
    if (c->item >= m->items || c->phase == STEP_ATTEND)
        return;
    c->header = c->chunk ? 0 : (uint32_t)m->header_bytes;
    c->left = (uint32_t)m->tile_bytes;
    c->at = m->w + layer + (size_t)(c->item + c->tile * m->items) * m->tile_bytes;
    if (m->chunks == 1)
        return;
    uint32_t chunk = (uint32_t)(m->chunk_stages * STEP_WARPS * m->part_bytes), before = 0;
    if (c->chunk)
        before = (uint32_t)m->header_bytes + (uint32_t)c->chunk * chunk;
    c->at += before;
    c->left -= before;
    chunk += c->header;
    c->left = c->left < chunk ? c->left : chunk;
}

static CUDA_BOTH inline void step_enter(const struct cuda_step *job, int block,
                                        struct step_cursor *c)
{
    c->item = step_first(job, step_start(job, c->phase, c->layer), block);
    c->tile = c->chunk = 0;
    step_tile(job, c);
}

static CUDA_BOTH inline void step_begin(const struct cuda_step *job, int block,
                                        struct step_cursor *c)
{
    memset(c, 0, sizeof *c);
    step_enter(job, block, c);
}

static CUDA_BOTH inline void step_next_phase(const struct cuda_step *job, int block,
                                             struct step_cursor *c)
{
    c->all++;
    c->phase++;
    if (c->phase == STEP_LAYER_PHASES && ++c->layer < job->layers)
        c->phase = 0;
    if (c->phase == STEP_PHASES || (c->phase == STEP_HEAD && !job->logits))
        c->done = true;
    else
        step_enter(job, block, c);
}

static CUDA_BOTH inline void step_weights_stage(const struct cuda_step *job, int block,
                                                struct step_cursor *c, struct step_stage *out)
{
    const struct step_matrix *m = &job->m[c->phase];
    uint32_t bytes = (uint32_t)(STEP_WARPS * m->part_bytes) + c->header;
    c->header = 0;
    bytes = bytes < c->left ? bytes : c->left;
    out->from = c->at;
    out->values = out->scales = NULL;
    out->bytes = out->total_bytes = bytes;
    c->at += bytes;
    c->left -= bytes;
    if (c->left)
        return;
    if (c->phase == STEP_GATE_UP && c->tile == 0) {
        c->tile = 1;
    } else {
        c->tile = 0;
        c->item += job->blocks;
    }
    if (c->item >= m->items && c->chunk + 1 < m->chunks) {
        c->chunk++;
        c->item = step_first(job, step_start(job, c->phase, c->layer), block);
    }
    step_tile(job, c);
}

// Splits an item of STEP_ATTEND into token, head and split. Returns the number of cached positions of its sequence.
// positions: of each token; -1 for tokens of no sequence.
static CUDA_BOTH inline int step_attend_item(const struct cuda_step *job, int item,
                                             const int *positions, int *token, int *head,
                                             int *split)
{
    int at = step_quotient(item, job->per_splits);
    *split = item - at * job->splits;
    *token = step_quotient(at, job->per_heads);
    *head = at - *token * job->heads;
    return positions[*token] < 0 ? 0 : positions[*token];
}

// Whether the cache has one scale per row.
static CUDA_BOTH inline bool step_scaled(const struct cuda_step *job)
{
    return job->kv_type == DT_I8 || job->kv_type == DT_F8E4M3;
}
static CUDA_BOTH inline int step_key_bytes(const struct cuda_step *job)
{
    return job->head_dim * (step_scaled(job) ? 1 : 2);
}

// Makes the item's next stage; false when it has no more. sequences: of each token.
static CUDA_BOTH inline bool step_keys_stage(const struct cuda_step *job, const int *sequences,
                                             const int *positions, struct step_cursor *c,
                                             struct step_stage *out)
{
    int token, head, split, begin, end;
    int cached = step_attend_item(job, c->item, positions, &token, &head, &split);
    step_split(job, cached, split, &begin, &end);
    begin += c->stage * job->key_stage;
    if (begin >= end) {
        c->stage = 0;
        c->item += job->blocks;
        return false;
    }
    int count = end - begin < job->key_stage ? end - begin : job->key_stage;
    int kv = sequences[token] * job->kv_heads + step_quotient(head, job->per_group);
    const unsigned char *keys =
        job->kv + (size_t)c->layer * job->kv_layer_bytes + (size_t)kv * 2 * job->kv_block_bytes;
    out->from = keys + (size_t)(begin * step_key_bytes(job));
    out->values = out->from + job->kv_block_bytes;
    out->bytes = (uint32_t)(count * step_key_bytes(job));
    out->scales = step_scaled(job) ? keys + job->kv_scales_offset + (size_t)begin * 4 : NULL;
    out->scales_bytes = (uint32_t)(count + 3) / 4 * 16;
    out->total_bytes = 2 * (out->bytes + (out->scales ? out->scales_bytes : 0));
    c->stage++;
    return true;
}

// The block's next stage; false when there are no more.
static CUDA_BOTH inline bool step_next(const struct cuda_step *job, int block, const int *sequences,
                                       const int *positions, struct step_cursor *c,
                                       struct step_stage *out)
{
    while (!c->done) {
        out->phase = c->all;
        if (c->left) {
            step_weights_stage(job, block, c, out);
            return true;
        }
        if (c->item >= job->m[c->phase].items)
            step_next_phase(job, block, c);
        else if (step_keys_stage(job, sequences, positions, c, out))
            return true;
    }
    return false;
}

#ifdef __cplusplus
}
#endif

#endif
