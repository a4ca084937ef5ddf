// hf.h - how config.json spells the description of each architecture, as data.
//
// Several names of a key are given as "hidden_size|n_embed": the first that stands in the file counts.
#ifndef ENGINE_LOAD_HF_HF_H
#define ENGINE_LOAD_HF_HF_H

#include "engine/load/parse.h"

struct hf_arch {
    const char *name; // model_type
    // Keys of config.json. Sizes without a default are required.
    const char *width, *layers, *heads, *kv_heads, *head_dim, *ff, *positions, *eps, *activation;
    int default_kv_heads;  // where kv_heads is not given; 0: as many as heads
    int default_head_dim;  // 0: width / heads
    int ff_times;          // where ff is not given: so many times the width; 0: required
    int default_positions; // 0: required
    double default_eps;    // 0: 1e-6
    const char *attention_bias,
        *ff_bias; // keys that add biases to q, k, v and o; gate, up and down
    bool tied;    // when tie_word_embeddings is not given

    const char *window;     // key of the sliding window; NULL: has none
    int default_window;     // where that key is not given
    bool window_by_default; // what use_sliding_window is where it is not given
    int full_every;         // each so many-th layer has no window; 0: by max_window_layers

    double default_theta;       // 0: 10000
    double default_local_theta; // of the layers with a window; 0: they rotate as the others
    // partial_rotary_factor where it is not given; 0: the architecture rotates whole heads
    double default_rotary_share;

    // What no key table can say: nested objects, rules of its own. NULL: nothing.
    enum status (*more)(const json_t *root, const char *where, struct model_config *out,
                        struct error *err);
};
const struct hf_arch *hf_arch_find(const char *name); // NULL: unknown

// ---- fields.c ---------------------------------------------------------------------------------------

// The first of several keys, "a|b", that stands in the object and is not null; the first of all when
// none does.
const char *hf_key(const json_t *root, const char *keys, char out[64]);

enum status hf_get_int(const json_t *root, const char *where, const char *key, int *out,
                       struct error *err);
enum status hf_opt_int(const json_t *root, const char *where, const char *key, int fallback,
                       int *out, struct error *err);
enum status hf_get_float(const json_t *root, const char *where, const char *key, float *out,
                         struct error *err);
enum status hf_opt_float(const json_t *root, const char *where, const char *key, double fallback,
                         float *out, struct error *err);
// ERR_UNSUPPORTED when the key is not what this engine computes; `why` tells what is supported.
enum status hf_only_bool(const json_t *root, const char *where, const char *key, bool only,
                         const char *why, struct error *err);

// ---- rope.c -----------------------------------------------------------------------------------------

// Whether a rope_type is one that this engine scales by, in this architecture.
bool hf_scaling_known(const char *arch, const char *type);

// RoPE: theta, share of the head, scaling.
enum status hf_rope(const json_t *root, const char *where, const struct hf_arch *arch,
                    struct model_config *out, struct error *err);

#endif
