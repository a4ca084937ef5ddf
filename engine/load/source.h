// source.h - where weights come from: the seam between checkpoint formats and backends.
//
// A format (safetensors, GGUF, synthetic) is one file with one table of functions. It names tensors by
// their role, not by the format's own names, so backends know nothing of formats. Rows come as f32, in the
// order of the model's description (GGUF's Q/K permutation is undone here).
#ifndef ENGINE_LOAD_SOURCE_H
#define ENGINE_LOAD_SOURCE_H

#include "engine/engine.h"
#include "engine/model/roles.h"

// Codes as they are stored, in exactly the meaning of kernels/quant.h, so that a scheme of the same kind packs
// them bit for bit. group: inputs a scale covers (DT_I4 alone).
struct quant_row;
struct stored_quant {
    enum dtype type; // DT_I8, DT_F8E4M3 or DT_I4
    int group;
};

// A tensor that no enum dtype describes: codes in blocks or groups, with scales beside them.
struct stored_form {
    const char *type; // for people: "awq int4", "q4_k"
    uint64_t bytes;   // all of them, scales and zeros included
};

struct source_ops {
    const char *format; // "safetensors", "gguf", "synthetic"
    // Rows [row0, row0 + rows) of a tensor as f32, row stride ld. Thread-safe; cannot fail: headers,
    // shapes and bounds were all proved at open.
    void (*read_rows)(const void *self, enum tensor_role role, int layer, int row0, int rows,
                      float *out, size_t ld);
    // Releases the pages of rows that will not be read soon, so that a load never holds the file and the packed
    // model at once. Reading them again is legal. NULL: nothing to release. Thread-safe.
    void (*release)(const void *self, enum tensor_role role, int layer, int row0, int rows);
    enum dtype (*stored_type)(const void *self, enum tensor_role role, int layer);
    // The three below may be NULL, and say false for a tensor that has no such thing.
    // The form of a tensor that no enum dtype describes; stored_type is then what read_rows is exact in.
    bool (*stored_form)(const void *self, enum tensor_role role, int layer,
                        struct stored_form *out);
    // Whether read_codes gives this tensor; read_rows works too, as code times scale in f32.
    bool (*quantization)(const void *self, enum tensor_role role, int layer,
                         struct stored_quant *out);
    // Reads one row into the buffers of `out`. Thread-safe, cannot fail; only where quantization() was true.
    void (*read_codes)(const void *self, enum tensor_role role, int layer, int row,
                       struct quant_row out);
    enum status (*content_hash)(const void *self, char hex[65], struct error *err);
    // NULL: the format carries none
    enum status (*tokenizer)(const void *self, struct tokenizer **out, struct error *err);
    void (*destroy)(void *self);
};

struct checkpoint {
    struct model_config config;
    const struct source_ops *ops;
    void *self; // owned by ops
    const struct tensor_map
        *unused; // for its extras: tensors the description does not name; or NULL
    const struct checkpoint_quantization *quantization; // owned by ops; or NULL
    const char
        *remarks; // what was decided where the files contradict themselves, one a line; or NULL
    bool synthetic;
    char *path;
    char hash[65]; // empty until computed
};

// Whether read_codes hands out a tensor in exactly the codes of this type and, for DT_I4, this group: they are then
// packed bit for bit.
bool source_has_codes(const struct checkpoint *ck, enum tensor_role role, int layer,
                      enum dtype type, int group);

// Parses a Hugging Face config.json of a known architecture (engine/model/arch.c has the table).
enum status model_config_read(const char *path, struct model_config *out, struct error *err);

// What a model is called by its path: the folder's, file's or shape's name without ".json" or ".gguf"; of
// .../NAME/config.json and .../NAME/model.gguf it is NAME.
void model_name_from_path(const char *path, char out[MODEL_NAME_BYTES]);

enum status safetensors_open(const char *dir, struct checkpoint *ck, struct error *err);
enum status gguf_open(const char *path, struct checkpoint *ck, struct error *err);
enum status synthetic_open(const char *config_path, uint64_t seed, struct checkpoint *ck,
                           struct error *err);

#endif
