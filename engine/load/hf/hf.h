// hf.h - the keys of each architecture's config.json, as data.
//
// "hidden_size|n_embed" lists several names of a key: the first one in the file is read.
#ifndef ENGINE_LOAD_HF_HF_H
#define ENGINE_LOAD_HF_HF_H

#include <jansson.h>

#include "engine/load/tensors.h"

struct hf_arch {
    const char *name; // model_type
    // Keys of config.json. Sizes without a default are required.
    const char *width, *layers, *heads, *kv_heads, *head_dim, *ff, *positions, *eps, *activation;
    int default_kv_heads;  // without kv_heads; 0: as many as heads
    int default_head_dim;  // 0: width / heads
    int ff_times;          // without ff: this multiple of the width; 0: ff is required
    int default_positions; // 0: required
    double default_eps;    // 0: 1e-6
    // Keys that add biases to q, k, v and o; gate, up and down
    const char *attention_bias, *ff_bias;
    bool tied; // without tie_word_embeddings

    const char *window;     // key of the sliding window; NULL: no window
    int default_window;     // without that key
    bool window_by_default; // the default of use_sliding_window
    int full_every; // every n-th layer has no window; 0: the first max_window_layers have none
    const char *full_every_key; // key that changes full_every; NULL: no key does
    bool layer_types;           // transformers reads layer_types; for others it must agree
    // Without layer_types the layers with windows depend on transformers' version.
    bool layer_types_only;

    int default_original; // original_max_position_embeddings next to the object counts; its default
    double default_theta; // 0: 10000
    double default_local_theta; // of the layers with a window; 0: they rotate like the others
    // The default of partial_rotary_factor; 0: the architecture rotates whole heads.
    double default_rotary_share;

    // Reads what no key table can describe: nested objects, special rules. NULL: nothing more.
    enum status (*more)(const json_t *root, const char *where, struct model_config *out,
                        struct error *err);
};
const struct hf_arch *hf_arch_find(const char *name); // NULL: unknown

// ---- config.c ---------------------------------------------------------------------------------------

// Parses a whole config.json in memory. `where` (a path) begins messages.
enum status model_config_from_json(const json_t *root, const char *where, struct model_config *out,
                                   struct error *err);

// ---- fields.c ---------------------------------------------------------------------------------------

// The first of several keys, "a|b", that the object has with a value other than null; else the first key of all.
const char *hf_key(const json_t *root, const char *keys, char out[64]);

enum status hf_get_int(const json_t *root, const char *where, const char *key, int *out,
                       struct error *err);
enum status hf_opt_int(const json_t *root, const char *where, const char *key, int fallback,
                       int *out, struct error *err);
enum status hf_get_float(const json_t *root, const char *where, const char *key, float *out,
                         struct error *err);
enum status hf_opt_float(const json_t *root, const char *where, const char *key, double fallback,
                         float *out, struct error *err);
// ERR_UNSUPPORTED when the key has a value that this engine does not compute; `why` names what is supported.
enum status hf_only_bool(const json_t *root, const char *where, const char *key, bool only,
                         const char *why, struct error *err);

// ---- spellings.c ------------------------------------------------------------------------------------

// ERR_FORMAT naming both keys where two spellings of one setting contradict each other.
enum status hf_spellings_agree(const json_t *root, const char *where, const struct hf_arch *arch,
                               struct error *err);
// quantization_config, or compression_config, its older name; NULL: neither exists.
const json_t *hf_quantization(const json_t *root);
// Appends a line for each setting with two or more differing spellings of which one takes precedence. generation:
// generation_config.json, or NULL.
void hf_remarks(const json_t *root, const json_t *generation, struct str *out);

// ---- rope.c -----------------------------------------------------------------------------------------

// The object that scales RoPE: rope_scaling unless it is empty, else rope_parameters; NULL: neither exists.
const json_t *hf_rope_object(const json_t *root, const char **key);

// Whether this engine supports a rope_type in this architecture.
bool hf_scaling_known(const char *arch, const char *type);

// Reads RoPE: theta, share of the head, scaling.
enum status hf_rope(const json_t *root, const char *where, const struct hf_arch *arch,
                    struct model_config *out, struct error *err);

// ---- names.c ----------------------------------------------------------------------------------------

// transformers' names of an architecture's tensors.
const struct tensor_names *hf_names(const struct model_config *config);

// ---- safetensors.c ----------------------------------------------------------------------------------

// The JSON header of a safetensors file in memory; caller json_decref's. The data begins 8 + *header_bytes in.
enum status safetensors_header(const char *name, const unsigned char *data, size_t bytes,
                               json_t **out, size_t *header_bytes, struct error *err);

// Parses one safetensors file in memory. It checks the whole header (bounds, overlaps, holes, sizes) and enters the
// tensors in the map. seen (or NULL) gets each tensor's name as a key.
enum status safetensors_parse(const char *name, const unsigned char *data, size_t bytes,
                              const struct model_config *config, struct tensor_map *map,
                              json_t *seen, struct error *err);

#endif
