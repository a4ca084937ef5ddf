// source.h - where weights come from: the seam between checkpoint formats and backends.
//
// A format (safetensors, GGUF, synthetic) is one file with one table of functions. Callers name tensors by role, so
// backends know no formats. Rows are returned as f32, in the order of the model's description; GGUF's Q/K permutation
// is undone here.
#ifndef ENGINE_LOAD_SOURCE_H
#define ENGINE_LOAD_SOURCE_H

#include "engine/engine.h"
#include "engine/model/roles.h"

// Stored codes with exactly the meaning of kernels/quant.h, so that a scheme of the same kind packs them bit for bit.
// group: inputs per scale (DT_I4 and DT_I8G alone).
struct quant_row;
struct stored_quant {
    enum dtype type; // one of dtype_is_quantized()
    int group;
};

// A tensor that no enum dtype describes: codes in blocks or groups, with scales.
struct stored_form {
    const char *type; // for messages: "awq int4", "q4_k"
    uint64_t bytes;   // with scales and zeros
};

struct source_ops {
    const char *format; // "safetensors", "gguf", "synthetic"
    // Reads rows [row0, row0 + rows) of a tensor as f32, row stride ld. Thread-safe. Cannot fail: headers, shapes and
    // bounds were checked at open.
    void (*read_rows)(const void *self, enum tensor_role role, int layer, int row0, int rows,
                      float *out, size_t ld);
    // Releases the pages of rows that will not be read soon, so that a load never holds the file and the packed model
    // together. Reading them again is legal. NULL: nothing to release. Thread-safe.
    void (*release)(const void *self, enum tensor_role role, int layer, int row0, int rows);
    enum dtype (*stored_type)(const void *self, enum tensor_role role, int layer);
    // The next three may be NULL; they return false for a tensor without such a form.
    // The form of a tensor that no enum dtype describes; stored_type is then the type that holds its rows exactly.
    bool (*stored_form)(const void *self, enum tensor_role role, int layer,
                        struct stored_form *out);
    // Whether read_codes can read this tensor. read_rows works too, as code times scale in f32.
    bool (*quantization)(const void *self, enum tensor_role role, int layer,
                         struct stored_quant *out);
    // Reads one row into the buffers of `out`. Thread-safe. Cannot fail. Requires: quantization() was true.
    void (*read_codes)(const void *self, enum tensor_role role, int layer, int row,
                       struct quant_row out);
    enum status (*content_hash)(const void *self, char hex[65], struct error *err);
    // NULL: the format has no tokenizer
    enum status (*tokenizer)(const void *self, struct tokenizer **out, struct error *err);
    void (*destroy)(void *self);
};

struct checkpoint {
    struct model_config config;
    const struct source_ops *ops;
    void *self; // owned by ops
    // The map of stored tensors, or NULL. Its extras are the tensors that the description does not have.
    const struct tensor_map *unused;
    const struct checkpoint_quantization *quantization; // owned by ops; or NULL
    const char *remarks; // decisions where the files contradict themselves, one per line; or NULL
    bool synthetic;
    char *path;
    char hash[65]; // empty until computed
};

// Whether read_codes returns a tensor in codes of exactly this type and, for types in groups, this group. They are
// then packed bit for bit.
bool source_has_codes(const struct checkpoint *ck, enum tensor_role role, int layer,
                      enum dtype type, int group);

// Parses a Hugging Face config.json of a known architecture (engine/model/arch.c has the table).
enum status model_config_read(const char *path, struct model_config *out, struct error *err);

// A model's name from its path: the name of the folder, file or shape without ".json" or ".gguf". For
// .../NAME/config.json and .../NAME/model.gguf it is NAME.
void model_name_from_path(const char *path, char out[MODEL_NAME_BYTES]);

// Each fills in an empty *ck, which then owns what was opened. Errors: ERR_IO, ERR_FORMAT, ERR_UNSUPPORTED, ERR_NOMEM,
// naming file and place; nothing is left open.
enum status safetensors_open(const char *dir, struct checkpoint *ck, struct error *err);
enum status gguf_open(const char *path, struct checkpoint *ck, struct error *err);
enum status synthetic_open(const char *config_path, uint64_t seed, struct checkpoint *ck,
                           struct error *err);

#endif
