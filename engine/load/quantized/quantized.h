// quantized.h - Hugging Face folders whose products are stored as codes with scales.
//
// A quantized product NAME has parts instead of a plain NAME.weight: NAME.qweight, NAME.scales and the like. First,
// quantized_create reads config.json's quantization_config. Then quantized_take collects parts while the headers of the
// files are read. When all files are read, quantized_enter checks the parts of each product (present, right type and
// shape, finite scales) and enters a struct quant_linear in the map of tensors. Reading rows and codes then cannot
// fail. A method is a row in methods.c, a layout is a file.
#ifndef ENGINE_LOAD_QUANTIZED_QUANTIZED_H
#define ENGINE_LOAD_QUANTIZED_QUANTIZED_H

#include <jansson.h>

#include "engine/load/source.h"

struct tensor_map;
struct tensor_names;
struct quantized;    // all of one folder
struct quant_linear; // one product, as stored: (rows, cols) = (outputs, inputs)

// One tensor of a file by its header; data holds as many bytes as type and shape say.
struct quant_header {
    const char *name, *type; // "model.layers.0.mlp.up_proj.qweight", "I32"
    int dims;
    const uint64_t *shape;
    const unsigned char *data;
    uint64_t bytes;
    bool named; // the description has a tensor with this name
};

// Reads the quantization_config of a config.json. `where` (a path) begins messages. Errors: ERR_FORMAT, or
// ERR_UNSUPPORTED naming what was found and what is supported.
enum status quantized_create(const json_t *quantization_config, const char *where,
                             struct quantized **out, struct error *err);
void quantized_destroy(struct quantized *q);

// Keeps the tensor if it is a part of a product. Call it for each tensor, since codes may have the plain name. Errors:
// ERR_FORMAT for a part of another method than the folder's, or for a duplicate.
enum status quantized_take(struct quantized *q, const char *file, const struct quant_header *tensor,
                           bool *taken, struct error *err);

// Checks the parts of each product and enters it in the map, at all of its roles. Products that the description does
// not have become extras. `where` begins messages. Parts are borrowed until quantized_destroy. Errors: ERR_FORMAT for a
// part that is missing or does not fit, a scale that is not finite, a product that is also stored plain.
enum status quantized_enter(struct quantized *q, const struct model_config *config,
                            const struct tensor_names *names, struct tensor_map *map,
                            const char *where, struct error *err);

// These implement source_ops for a tensor of the map: its form, whether its codes can be read (for all experts), and
// one row of codes.
bool quantized_form(const struct tensor_map *map, const struct model_config *config,
                    const struct tensor_names *names, enum tensor_role role, int layer,
                    struct stored_form *out);
bool quantized_stored(const struct tensor_map *map, const struct tensor_names *names,
                      enum tensor_role role, int layer, struct stored_quant *out);
void quantized_codes(const struct tensor_map *map, const struct model_config *config,
                     const struct tensor_names *names, enum tensor_role role, int layer, int row,
                     struct quant_row out);

const struct checkpoint_quantization *quantized_info(const struct quantized *q);

// ---- one product ----------------------------------------------------------------------------------

// Reads cols values as code times scale in f32: integers are exact, the product is rounded once.
void quantized_linear_row(const struct quant_linear *linear, int row, float *out);

// Releases the pages of rows first..last, or of all rows if the codes are not stored by rows.
void quantized_linear_release(const struct quant_linear *linear, int first, int last);

// Whether the codes have exactly the meaning of kernels/quant.h.
bool quantized_linear_stored(const struct quant_linear *linear, struct stored_quant *out);
void quantized_linear_codes(const struct quant_linear *linear, int row, struct quant_row out);

// Its bytes in the file, and its name: "int4", "int8", "fp8".
uint64_t quantized_linear_bytes(const struct quant_linear *linear);
const char *quantized_linear_type(const struct quant_linear *linear);

// Whether only quantized folders have a tensor with this name; checked in folders without a quantization_config.
bool quantized_name(const char *tensor);

#endif
