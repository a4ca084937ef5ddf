// tensors.h - the places of a description's tensors in a checkpoint (slots by role and layer), and their names in each
// format.
//
// A format supplies a table of names (struct tensor_names), through which its files fill a struct tensor_map. Rows are
// then read by role, whatever the file's names, fusions and orders are. Files are not trusted: layer and expert numbers
// are checked against the description before use.
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
    const struct quant_linear *quant; // reads a quantized tensor (quantized/); or NULL
};

// All tensors of a description. Extras are tensors of a file that the description does not have. The roles of a fused
// tensor have the same data.
struct tensor_map {
    struct stored_tensor *at; // (layers + 1) rows of slots; row 0 is outside the layers
    int layers, experts;      // experts: at least 1
    struct str extra_names;   // one per line
    uint64_t extras, extra_bytes;
    // Owns the parts of quantized products; NULL: there are none; borrowed
    struct quantized *quantized;
};
enum status tensor_map_init(struct tensor_map *map, const struct model_config *config,
                            struct error *err);
void tensor_map_fini(struct tensor_map *map);
struct stored_tensor *tensor_map_at(const struct tensor_map *map, enum tensor_role role, int layer);
// The slot of one expert. Expert 0 is tensor_map_at. If one tensor holds all experts, only slot 0 is used.
struct stored_tensor *tensor_map_expert(const struct tensor_map *map, enum tensor_role role,
                                        int layer, int expert);
void tensor_map_extra(struct tensor_map *map, const char *name, size_t name_bytes, uint64_t bytes);

// The order of rows in a stored tensor that several roles share.
enum tensor_order {
    ORDER_PLAIN,   // one role alone
    ORDER_STACKED, // one role after the other, in the order of enum tensor_role: q, k, v; gate, up
    ORDER_GROUPED, // by KV head: the q heads of its group, its k head, its v head
    ORDER_INTERLEAVED, // one role alone; rows alternate between the halves of each head
};

// The format's name of a role's tensor, and the order of its rows. Roles with the same name share one fused tensor. In
// expert roles '*' is the expert's number; a name without it is a tensor of all experts.
struct tensor_name {
    const char *name; // NULL: the format has no such tensor
    enum tensor_order order;
    bool transposed; // stored (cols, rows)
};

// A format's names for an architecture: whole names outside the layers, prefix + number + '.' + name inside.
struct tensor_names {
    const char *base;         // "model.": prefix of all names except the head's; some files omit it
    const char *layer_prefix; // "model.layers."
    struct tensor_name at[T_ROLE_COUNT];
    bool norm_minus_one;        // norms are stored minus 1
    const char *const *ignored; // names in a layer that hold no weights, ending with NULL; or NULL
};

// The layer, expert and roles of a stored tensor.
struct tensor_place {
    int layer;  // -1: outside
    int expert; // -1: not one expert's
    int count;  // number of its roles, in rising order; more than one: fused
    enum tensor_role roles[4];
};
// False: the description has no such tensor, or no such layer or expert.
bool tensor_names_find(const struct tensor_names *names, const char *name,
                       const struct model_config *config, struct tensor_place *place);
// For a name that was not found: whether it is inside a layer and not ignored there. Such a tensor belongs to a
// computation that the description lacks.
bool tensor_names_stray(const struct tensor_names *names, const char *name,
                        const struct model_config *config);
// The format's name of a tensor, for error messages and for writing. With expert -1 it is expert 0's. Returns `out`.
char *tensor_names_text(const struct tensor_names *names, enum tensor_role role, int layer,
                        int expert, char *out, size_t out_bytes);

// (rows, cols), as stored, of the tensor that holds a role, with all fused roles. It is transposed if the file stores
// it that way. Where each expert has its own tensor, the shape is that of one expert.
struct tensor_shape tensor_names_shape(const struct tensor_names *names,
                                       const struct model_config *config, enum tensor_role role);
// Maps row `row` of a role (of an expert) to its stored row; for vectors, the element.
int tensor_names_row(const struct tensor_names *names, const struct model_config *config,
                     enum tensor_role role, int row);

// True when the file holds the role's experts in tensors of their own.
bool tensor_names_apart(const struct tensor_names *names, enum tensor_role role);

// Errors: ERR_FORMAT naming the first tensor of the description that the map lacks.
enum status tensor_map_complete(const struct tensor_map *map, const struct model_config *config,
                                const struct tensor_names *names, const char *where,
                                struct error *err);
// The stored type of a role. If experts in separate tensors differ it is f32, which holds all types.
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
// The bytes of one row of a matrix that is not transposed.
const unsigned char *tensor_map_row(const struct tensor_map *map, const struct model_config *config,
                                    const struct tensor_names *names, enum tensor_role role,
                                    int layer, int row);
// Implements source_ops.release (file_map_release).
void tensor_map_release(const struct tensor_map *map, const struct model_config *config,
                        const struct tensor_names *names, enum tensor_role role, int layer,
                        int row0, int rows);

#endif
