// targets.h - the plan of a folder of quantized weights: to which stored tensor each row of a role goes.
//
// The plan follows from the description alone, before a byte is read or written. So tensors may come in any order, and
// a folder written by role is read again without parsing it.
//
//   for other programs    the architecture's own names (engine/load/hf/names.c), with its fused tensors (q, k and v);
//                         int4 in AutoAWQ's gemm layout, int8 and fp8 in that of compressed-tensors
//   by role               the engine's own (overlay.h): layers alone, "layers.3.q" with .codes, .scales and .zeros, row
//                         by row; the rows of all experts in one tensor; tensors that are not quantized as f32
#ifndef ENGINE_QUANTIZE_TARGETS_H
#define ENGINE_QUANTIZE_TARGETS_H

#include "engine/load/tensors.h"
#include "engine/quantize/shards.h"

struct quant_output {
    enum dtype type;      // of the products: DT_I4, DT_I8 or DT_F8E4M3
    int group;            // DT_I4: inputs per group; the last group may be shorter
    enum dtype plain;     // of all other tensors: DT_F32, DT_F16 or DT_BF16
    bool by_role;         // for the engine's own cache; int4 alone
    const char *made_by;  // "int4-rtn", "int4-awq": written to the files' metadata
    uint64_t shard_bytes; // most data in one file; 0: 5 GB
};

enum part { PART_CODES, PART_SCALES, PART_ZEROS, PARTS };

struct target {
    bool quantized;
    int rows, cols;       // of the stored tensor, all its roles together
    uint64_t rows_left;   // not written yet (vectors: elements)
    size_t tensor[PARTS]; // in shards; plain: the first one
};

struct targets {
    const struct checkpoint *source; // borrowed
    struct quant_output output;
    const struct tensor_names *names;
    struct tensor_names role_names; // `names` points here by role, so a plan must not be copied
    struct shards *shards;
    struct target *all;
    size_t count;
    size_t *at; // (layer + 1, role, expert) -> number in `all`
    int experts;
};

// Plans all tensors; t->shards has no files yet. Errors: ERR_UNSUPPORTED naming what the layout cannot hold;
// ERR_NOMEM. Call targets_fini in any case.
enum status targets_init(struct targets *t, const struct checkpoint *source,
                         const struct quant_output *output, struct error *err);
void targets_fini(struct targets *t);

// The target of a role's row; *stored is the row (vectors: the element) of the target.
struct target *targets_find(const struct targets *t, enum tensor_role role, int layer, int row,
                            int *stored);

// Most data in one file.
uint64_t targets_shard_bytes(const struct targets *t);

// Bytes of a row of codes, or of its zeros, by role: two per byte, the earlier one in the low half.
static inline size_t nibble_bytes(int count)
{
    return ((size_t)count + 1) / 2;
}

#endif
