// hf.h - how config.json spells the description of each architecture, as data.
//
// Several names of a key are written "hidden_size|n_embed": the first that the file has is read.
#ifndef ENGINE_LOAD_HF_HF_H
#define ENGINE_LOAD_HF_HF_H

#include <jansson.h>

#include "engine/load/tensors.h"

struct hf_arch {
    const char *name; // model_type
    // Keys of config.json. Sizes without a default are required.
    const char *width, *layers, *heads, *kv_heads, *head_dim, *ff, *positions, *eps, *activation;
    int default_kv_heads;  // where kv_heads is not given; 0: as many as heads
    int default_head_dim;  // 0: width / heads
    int ff_times;          // where ff is not given: a multiple of the width; 0: required
    int default_positions; // 0: required
    double default_eps;    // 0: 1e-6
    const char *attention_bias,
        *ff_bias; // keys that add biases to q, k, v and o; gate, up and down
    bool tied;    // when tie_word_embeddings is not given

    const char *window;         // key of the sliding window; NULL: has none
    int default_window;         // where that key is not given
    bool window_by_default;     // what use_sliding_window is where it is not given
    int full_every;             // every n-th layer has no window; 0: the first max_window_layers do
    const char *full_every_key; // key that changes full_every; NULL: none does
    bool layer_types;           // transformers goes by layer_types; elsewhere it must say the same
    bool
        layer_types_only; // which layers have windows depends on the version, unless layer_types says it

    int default_original; // original_max_position_embeddings beside the object counts; its default
    double default_theta; // 0: 10000
    double default_local_theta; // of the layers with a window; 0: they rotate as the others
    // partial_rotary_factor where it is not given; 0: the architecture rotates whole heads
    double default_rotary_share;

    // Reads what no key table can describe: nested objects, rules of its own. NULL: there is nothing more.
    enum status (*more)(const json_t *root, const char *where, struct model_config *out,
                        struct error *err);
};
const struct hf_arch *hf_arch_find(const char *name); // NULL: unknown

// ---- config.c ---------------------------------------------------------------------------------------

// A whole config.json in memory; `where` (a path) begins messages.
enum status model_config_from_json(const json_t *root, const char *where, struct model_config *out,
                                   struct error *err);

// ---- fields.c ---------------------------------------------------------------------------------------

// The first of several keys, "a|b", that the object has and is not null; the first of all when it has none.
const char *hf_key(const json_t *root, const char *keys, char out[64]);

enum status hf_get_int(const json_t *root, const char *where, const char *key, int *out,
                       struct error *err);
enum status hf_opt_int(const json_t *root, const char *where, const char *key, int fallback,
                       int *out, struct error *err);
enum status hf_get_float(const json_t *root, const char *where, const char *key, float *out,
                         struct error *err);
enum status hf_opt_float(const json_t *root, const char *where, const char *key, double fallback,
                         float *out, struct error *err);
// ERR_UNSUPPORTED when the key has a value that this engine does not compute; `why` says what is supported.
enum status hf_only_bool(const json_t *root, const char *where, const char *key, bool only,
                         const char *why, struct error *err);

// ---- spellings.c ------------------------------------------------------------------------------------

// ERR_FORMAT naming both keys where two spellings of one setting contradict each other.
enum status hf_spellings_agree(const json_t *root, const char *where, const struct hf_arch *arch,
                               struct error *err);
// quantization_config, or compression_config, its older name; NULL: neither.
const json_t *hf_quantization(const json_t *root);
// Appends a line for each setting that is spelled twice or more and of which one spelling counts. generation:
// generation_config.json, or NULL.
void hf_remarks(const json_t *root, const json_t *generation, struct str *out);

// ---- rope.c -----------------------------------------------------------------------------------------

// The object that scales RoPE: rope_scaling where it holds anything, else rope_parameters; NULL: neither.
const json_t *hf_rope_object(const json_t *root, const char **key);

// Whether a rope_type is one that this engine scales by, in this architecture.
bool hf_scaling_known(const char *arch, const char *type);

// RoPE: theta, share of the head, scaling.
enum status hf_rope(const json_t *root, const char *where, const struct hf_arch *arch,
                    struct model_config *out, struct error *err);

// ---- names.c ----------------------------------------------------------------------------------------

// What transformers calls the tensors of the description's architecture.
const struct tensor_names *hf_names(const struct model_config *config);

// ---- safetensors.c ----------------------------------------------------------------------------------

// The JSON header of a safetensors file in memory; caller json_decref's. The data begins 8 + *header_bytes in.
enum status safetensors_header(const char *name, const unsigned char *data, size_t bytes,
                               json_t **out, size_t *header_bytes, struct error *err);

// Parses one safetensors file in memory: checks its whole header (bounds, overlaps, holes, sizes) and enters
// its tensors in the map. seen (may be NULL) gets each tensor's name as a key.
enum status safetensors_parse(const char *name, const unsigned char *data, size_t bytes,
                              const struct model_config *config, struct tensor_map *map,
                              json_t *seen, struct error *err);

#endif
