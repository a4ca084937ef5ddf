// tensors.h - where the tensors of a description lie in a checkpoint: slots by role and layer, and what each
// format calls them.
//
// A format gives a table of names (struct tensor_names); its files fill a struct tensor_map through it. Rows
// are then read by role, whatever the file's names, fusions and orders are. Names and shapes come from files
// of strangers: numbers of layers and experts are checked against the description before they are followed.
#ifndef ENGINE_LOAD_TENSORS_H
#define ENGINE_LOAD_TENSORS_H

#include "base/str.h"
#include "engine/load/source.h"
#include "engine/load/stored.h"

// ---- the map ----------------------------------------------------------------------------------------

// The place of one tensor. Its type can be expanded, and its rows are whole blocks.
struct stored_tensor {
    const unsigned char *data; // NULL: not found (yet)
    const struct stored_type *type;
    const struct quant_linear
        *quant; // what it is read by when it is quantized (quantized/); or NULL
};

// All tensors of a description; extras are tensors of a file that it does not name. Roles of one fused
// tensor hold the same data.
struct tensor_map {
    struct stored_tensor *at; // (layers + 1) rows of slots; row 0 is outside the layers
    int layers, experts;      // experts: at least 1
    struct str extra_names;   // one a line
    uint64_t extras, extra_bytes;
    struct quantized
        *quantized; // keeps the parts of quantized products; NULL: there are none; borrowed
};
enum status tensor_map_init(struct tensor_map *map, const struct model_config *config,
                            struct error *err);
void tensor_map_fini(struct tensor_map *map);
struct stored_tensor *tensor_map_at(const struct tensor_map *map, enum tensor_role role, int layer);
// The slot of one expert; expert 0 is tensor_map_at. Where one tensor holds all experts, only 0 is used.
struct stored_tensor *tensor_map_expert(const struct tensor_map *map, enum tensor_role role,
                                        int layer, int expert);
void tensor_map_extra(struct tensor_map *map, const char *name, size_t name_bytes, uint64_t bytes);

// The order of rows in a stored tensor that several roles share.
enum tensor_order {
    ORDER_PLAIN,   // one role alone
    ORDER_STACKED, // one role after the other, in the order of enum tensor_role: q, k, v; gate, up
    ORDER_GROUPED, // by KV head: the q heads of its group, its k head, its v head
    ORDER_INTERLEAVED, // one role alone; of each head row 0 of its first half, row 0 of its second, ...
};

// The format's name of a role's tensor, and the order of rows in it. Roles with the same name share one fused
// tensor. In expert roles '*' is the number of the expert; without it the tensor holds all experts.
struct tensor_name {
    const char *name; // NULL: the format has no such tensor
    enum tensor_order order;
    bool transposed; // stored (cols, rows)
};

// A format's names for an architecture: whole names outside the layers, prefix + number + '.' + name inside.
struct tensor_names {
    const char *base;         // "model.": what all but the head begin with; some files leave it out
    const char *layer_prefix; // "model.layers."
    struct tensor_name at[T_ROLE_COUNT];
    bool norm_minus_one; // stored are the norms' weights minus 1
    const char *const
        *ignored; // names within a layer that hold no weights; ends with NULL, or is NULL
};

// The layer, expert and roles of a stored tensor.
struct tensor_place {
    int layer;  // -1: outside
    int expert; // -1: not one expert's
    int count;  // roles it holds, in rising order; more than one: fused
    enum tensor_role roles[4];
};
// False: the description has no such tensor. That includes layers and experts beyond its numbers.
bool tensor_names_find(const struct tensor_names *names, const char *name,
                       const struct model_config *config, struct tensor_place *place);
// True for a name that was not found, is inside a layer and is not ignored there: it belongs to a computation
// that the description leaves out.
bool tensor_names_stray(const struct tensor_names *names, const char *name,
                        const struct model_config *config);
// The format's name of a tensor, for error messages and for writing. With expert -1 it is expert 0's. Returns `out`.
char *tensor_names_text(const struct tensor_names *names, enum tensor_role role, int layer,
                        int expert, char *out, size_t out_bytes);

// (rows, cols) as stored of the tensor that holds a role, with all fused roles; transposed where the file has it
// so, and of one expert where each has its own tensor.
struct tensor_shape tensor_names_shape(const struct tensor_names *names,
                                       const struct model_config *config, enum tensor_role role);
// The stored row of row `row` of the role (of an expert); for vectors, the element.
int tensor_names_row(const struct tensor_names *names, const struct model_config *config,
                     enum tensor_role role, int row);

// True when the file holds the role's experts in tensors of their own.
bool tensor_names_apart(const struct tensor_names *names, enum tensor_role role);

// ERR_FORMAT naming the first tensor of the description that the map lacks.
enum status tensor_map_complete(const struct tensor_map *map, const struct model_config *config,
                                const struct tensor_names *names, const char *where,
                                struct error *err);
// The stored type of a role. Where experts in tensors of their own differ it is f32, which holds all types.
const struct stored_type *tensor_map_type(const struct tensor_map *map,
                                          const struct tensor_names *names, enum tensor_role role,
                                          int layer);
// Implements source_ops.stored_form.
bool tensor_map_form(const struct tensor_map *map, const struct model_config *config,
                     const struct tensor_names *names, enum tensor_role role, int layer,
                     struct stored_form *out);
// Implements source_ops.read_rows: rows of a role as f32.
void tensor_map_read(const struct tensor_map *map, const struct model_config *config,
                     const struct tensor_names *names, enum tensor_role role, int layer, int row0,
                     int rows, float *out, size_t ld);
// The bytes of a row of a matrix that is not transposed.
const unsigned char *tensor_map_row(const struct tensor_map *map, const struct model_config *config,
                                    const struct tensor_names *names, enum tensor_role role,
                                    int layer, int row);
// Implements source_ops.release: lets the pages of those rows leave memory (file_map_release).
void tensor_map_release(const struct tensor_map *map, const struct model_config *config,
                        const struct tensor_names *names, enum tensor_role role, int layer,
                        int row0, int rows);

#endif
