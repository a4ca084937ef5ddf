// targets.h - which stored tensor each row of a role goes to, in a folder of quantized weights.
//
// Planned from the description alone, before a byte is read or written: so tensors may come in any order, and
// who wrote a folder by role finds everything in it again without parsing it.
//
//   a folder for others   the architecture's own names (engine/load/hf/names.c): roles that share a tensor
//                         (fused q, k and v) share it here; int4 as AutoAWQ's gemm layout, int8 and fp8 as
//                         compressed-tensors
//   by role               the engine's own (overlay.h): layers alone, "layers.3.q" with .codes, .scales and
//                         .zeros, row after row; the rows of all experts in one tensor; what is not quantized
//                         as f32
#ifndef ENGINE_QUANTIZE_TARGETS_H
#define ENGINE_QUANTIZE_TARGETS_H

#include "engine/load/tensors.h"
#include "engine/quantize/shards.h"

struct quant_output {
    enum dtype type;      // of the products: DT_I4, DT_I8 or DT_F8E4M3
    int group;            // DT_I4: inputs a group; the last one may be shorter
    enum dtype plain;     // of all other tensors: DT_F32, DT_F16 or DT_BF16
    bool by_role;         // not for others: int4 alone
    const char *made_by;  // "int4-rtn", "int4-awq": noted in the files' metadata
    uint64_t shard_bytes; // most data in one file; 0: 5 GB
};

enum part { PART_CODES, PART_SCALES, PART_ZEROS, PARTS };

struct target {
    bool quantized;
    int rows, cols;       // of the stored tensor, all its roles together
    uint64_t rows_left;   // that have not come (vectors: elements)
    size_t tensor[PARTS]; // in shards; plain: the first one
};

struct targets {
    const struct checkpoint *source; // borrowed
    struct quant_output output;
    const struct tensor_names *names;
    struct tensor_names role_names; // what `names` points to by role: a plan is not copied
    struct shards *shards;
    struct target *all;
    size_t count;
    size_t *at; // (layer + 1, role, expert) -> number in `all`
    int experts;
};

// Plans all tensors; what is at t->shards is not yet anywhere. Errors: ERR_UNSUPPORTED for what the layout
// cannot hold, by name; ERR_NOMEM. targets_fini in any case.
enum status targets_init(struct targets *t, const struct checkpoint *source,
                         const struct quant_output *output, struct error *err);
void targets_fini(struct targets *t);

// The target of a role's row, and which row of the target it is (vectors: of the element).
struct target *targets_find(const struct targets *t, enum tensor_role role, int layer, int row,
                            int *stored);

// Most data in one file.
uint64_t targets_shard_bytes(const struct targets *t);

// Bytes of a row of codes by role, two codes a byte, the earlier one low; of its zeros likewise.
static inline size_t nibble_bytes(int count)
{
    return ((size_t)count + 1) / 2;
}

#endif
