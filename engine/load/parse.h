// parse.h - the parsers of this folder over bytes in memory: what files are read through, and what the
// fuzz targets call.
//
// Everything here takes input from strangers: counts and lengths are checked against what is there
// before anything is allocated or followed. `name` begins error messages.
#ifndef ENGINE_LOAD_PARSE_H
#define ENGINE_LOAD_PARSE_H

#include <jansson.h>

#include "base/str.h"
#include "engine/load/source.h"
#include "engine/load/stored.h"

// ---- config.json ------------------------------------------------------------------------------------

enum status model_config_from_json(const json_t *root, const char *where, struct model_config *out,
                                   struct error *err);

// What a model is called by its path: the folder's, file's or shape's name without ".json" or ".gguf"; of
// .../NAME/config.json and .../NAME/model.gguf it is NAME.
void model_name_from_path(const char *path, char out[MODEL_NAME_BYTES]);

// ---- tensors ----------------------------------------------------------------------------------------

// Where one tensor of the description lies. Its type can be expanded, and its rows are whole blocks.
struct stored_tensor {
    const unsigned char *data; // NULL: not found (yet)
    const struct stored_type *type;
};

// All tensors of a description; extras are tensors of a file that it does not name.
struct tensor_map {
    struct stored_tensor *at; // (layers + 1) x T_ROLE_COUNT; row 0 is outside the layers
    int layers;
    struct str extra_names; // one a line
    uint64_t extras, extra_bytes;
};
enum status tensor_map_init(struct tensor_map *map, int layers, struct error *err);
void tensor_map_fini(struct tensor_map *map);
struct stored_tensor *tensor_map_at(const struct tensor_map *map, enum tensor_role role, int layer);
void tensor_map_extra(struct tensor_map *map, const char *name, size_t name_bytes, uint64_t bytes);

// How a format names the tensors: outside the layers whole names, inside prefix + number + suffix.
struct tensor_names {
    const char *layer_prefix; // "model.layers."
    const char *name[T_ROLE_COUNT];
};
extern const struct tensor_names hf_names; // Hugging Face's names

// False: none of the description's tensors. Layer numbers beyond the description are none too.
bool tensor_names_find(const struct tensor_names *names, const char *name, int layers,
                       enum tensor_role *role, int *layer);
// The name a format gives a tensor, for error messages. Returns `out`.
char *tensor_names_text(const struct tensor_names *names, enum tensor_role role, int layer,
                        char *out, size_t out_bytes);
// ERR_FORMAT naming the first tensor of the description that the map lacks.
enum status tensor_map_complete(const struct tensor_map *map, const struct model_config *config,
                                const struct tensor_names *names, const char *where,
                                struct error *err);

// One safetensors file in memory: its header is checked whole (bounds, overlaps, holes, sizes), and its
// tensors are entered in the map. seen (may be NULL) gets each tensor's name as a key.
enum status safetensors_parse(const char *name, const unsigned char *data, size_t bytes,
                              const struct model_config *config, struct tensor_map *map,
                              json_t *seen, struct error *err);

// A whole GGUF file in memory; `data` must outlive *out.
struct gguf;
enum status gguf_parse(const char *name, const unsigned char *data, size_t bytes, struct gguf **out,
                       struct error *err);
void gguf_free(struct gguf *gguf);
const struct model_config *gguf_config(const struct gguf *gguf);
const struct tensor_map *gguf_tensors(const struct gguf *gguf);
enum status gguf_tokenizer(const struct gguf *gguf, struct tokenizer **out, struct error *err);

// ---- tokenizers -------------------------------------------------------------------------------------

enum status tokenizer_parse(const char *name, const char *text, size_t bytes,
                            struct tokenizer **out, struct error *err);
// The same of a GGUF file, of which the metadata alone is looked at.
enum status gguf_tokenizer_parse(const char *name, const unsigned char *data, size_t bytes,
                                 struct tokenizer **out, struct error *err);

// ERR_FORMAT when ids of the tokenizer do not exist in the model, or the model's in the tokenizer.
enum status tokenizer_check(const struct tokenizer *tok, const struct model_config *config,
                            const char *where, struct error *err);

#endif
