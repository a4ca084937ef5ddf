// layout.h - the interface of quantization methods and layouts; private to engine/load/quantized.
//
// A method reads its quantization_config and picks a layout. A layout has the names of a product's parts, checks them
// and reads rows. Scales and codes stay in the mapped file: nothing is copied at load.
#ifndef ENGINE_LOAD_QUANTIZED_LAYOUT_H
#define ENGINE_LOAD_QUANTIZED_LAYOUT_H

#include "base/str.h"
#include "engine/load/quantized/quantized.h"

// ---- parts ------------------------------------------------------------------------------------------

enum part_role {
    PART_WEIGHT,
    PART_SCALE,
    PART_SCALE_INV, // another name of the scale; it is multiplied despite the name
    PART_ZERO,
    PART_INDEX, // which group an input belongs to
    PART_SHAPE,
    PART_INPUT,       // scale of the inputs: not used, this engine scales inputs by their values
    PART_INPUT_OTHER, // another name of it
    PART_OUTPUT,      // scales of outputs, queries, the KV cache and attention: not used either
    PART_QUERY,
    PART_KEY,
    PART_VALUE,
    PART_KEY_VALUE, // one for both, in folders of AutoFP8
    PART_PROBABILITY,
    PART_PROBABILITY_OTHER, // its name in folders of Quark
    PART_BIAS,              // all zeros; some writers add it
    PART_ROLES
};

// Suffixes of the scales around attention, for every layout that may have them. Source: vLLM,
// model_loader/weight_utils.py and quantization/quark.
#define PARTS_OF_ATTENTION                                                                         \
    [PART_QUERY] = ".q_scale", [PART_KEY] = ".k_scale", [PART_VALUE] = ".v_scale",                 \
    [PART_KEY_VALUE] = ".kv_scale", [PART_PROBABILITY] = ".prob_scale",                            \
    [PART_PROBABILITY_OTHER] = ".prob_output_scale"

enum part_type {
    PART_ABSENT,
    PART_F32,
    PART_F16,
    PART_BF16,
    PART_E8M0, // a power of two
    PART_E4M3,
    PART_I8,
    PART_I32,
    PART_I64,
    PART_OTHER
};

struct quant_part {
    enum part_type type;
    int dims;
    uint64_t shape[2]; // a tensor of more dimensions is PART_OTHER
    const unsigned char *data;
    uint64_t bytes;
    const char *suffix; // of the tensor's name
};

struct quant_linear {
    char *name; // without ".weight"
    const struct quant_config *config;
    int rows, cols; // outputs, inputs; 0 until bound
    int group;      // inputs per scale
    int group_rows; // outputs per scale
    int scale_cols; // scales along the inputs
    bool exact;     // codes have the meaning that kernels/quant.h defines
    struct quant_part part[PART_ROLES];
};

// ---- methods and layouts ---------------------------------------------------------------------------

enum quant_strategy { QUANT_TENSOR, QUANT_CHANNEL, QUANT_GROUP_OF, QUANT_BLOCK };

struct quant_config {
    const struct quant_layout *layout;
    int bits;
    enum quant_strategy strategy;
    int group;       // inputs per scale; -1: all
    int block_rows;  // QUANT_BLOCK: outputs per scale
    bool symmetric;  // zero points are not stored, or all are the middle
    bool act_order;  // groups are not runs of consecutive inputs
    int zero_offset; // added to a stored zero point
    bool is_float;   // codes are E4M3
};

struct quant_layout {
    const char *suffix[PART_ROLES]; // ".qweight"; NULL: has no such part
    bool by_rows;                   // the codes of an output are contiguous
    // Checks all parts against rows, cols and config, and fills group, group_rows, scale_cols, exact.
    enum status (*bind)(struct quant_linear *linear, const char *where, struct error *err);
    void (*row)(const struct quant_linear *linear, int row, float *out);
    void (*codes)(const struct quant_linear *linear, int row, struct quant_row out);
};
extern const struct quant_layout quantized_awq_layout, quantized_gptq_layout,
    quantized_scaled_layout, quantized_packed_layout;

// Reads a quantization_config into *config, and describes it in `info` for messages.
struct quant_method {
    const char *name; // quant_method
    enum status (*configure)(const json_t *q, const char *where, struct quant_config *config,
                             struct checkpoint_quantization *info, struct error *err);
};
enum status quantized_awq_configure(const json_t *q, const char *where, struct quant_config *config,
                                    struct checkpoint_quantization *info, struct error *err);
enum status quantized_gptq_configure(const json_t *q, const char *where,
                                     struct quant_config *config,
                                     struct checkpoint_quantization *info, struct error *err);
enum status quantized_fp8_configure(const json_t *q, const char *where, struct quant_config *config,
                                    struct checkpoint_quantization *info, struct error *err);
enum status quantized_compressed_configure(const json_t *q, const char *where,
                                           struct quant_config *config,
                                           struct checkpoint_quantization *info, struct error *err);

// Sets a config that quantizes no weights: bits is 0 (cache.c).
void quantized_cache_alone(struct quant_config *config, struct checkpoint_quantization *info);

// "group_size": a number of inputs, or -1 for all of them.
enum status quantized_group_size(const json_t *q, const char *where, int *out, struct error *err);

// ---- for layouts ------------------------------------------------------------------------------------

// The part must exist, with one of the types (a mask of 1 << enum part_type) and this shape. Trailing dimensions of 1
// may be missing.
enum { PARTS_SCALE = 1 << PART_F32 | 1 << PART_F16 | 1 << PART_BF16 };
enum status quantized_part_expect(const struct quant_linear *linear, enum part_role role,
                                  unsigned types, uint64_t rows, uint64_t cols, const char *where,
                                  struct error *err);
// All scales are finite; *exact_f16: each is also an f16 value.
enum status quantized_part_finite(const struct quant_linear *linear, const char *where,
                                  bool *exact_f16, struct error *err);

float quantized_part_float(const struct quant_part *part, size_t i);   // of a scale
uint32_t quantized_part_word(const struct quant_part *part, size_t i); // of PART_I32

// The places of grouped codes (grouped.c) in a layout: word i of a row's codes; scale and zero of a row's group.
struct quant_grid {
    uint32_t (*word)(const struct quant_linear *linear, int row, size_t i);
    float (*scale)(const struct quant_linear *linear, int row, size_t group);
    uint32_t (*zero)(const struct quant_linear *linear, int row, size_t group);
};
// Checks that each input's index, if there is one, is a group. *runs: the index changes nothing.
enum status quantized_grouped_index(const struct quant_linear *linear, const char *where,
                                    bool *runs, struct error *err);
void quantized_grouped_row(const struct quant_linear *linear, const struct quant_grid *grid,
                           int row, float *out);
void quantized_grouped_codes(const struct quant_linear *linear, const struct quant_grid *grid,
                             int row, struct quant_row out);

static inline uint64_t ceil_div(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

#endif
