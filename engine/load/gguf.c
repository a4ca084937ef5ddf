// gguf.c - GGUF files (versions 2 and 3, little-endian): metadata, tensors, model description.
//
// A file is a head (magic, version, counts), typed key-value metadata, tensor descriptions, and aligned data.
// Everything is walked with a cursor that knows the end of the file; nothing is allocated by a count the
// file could not hold. llama.cpp stores the rows of each Q and K head of the llama family with the two
// halves interleaved; rows are handed out in Hugging Face's order, so rope stays ROPE_HALF and the same
// model has the same weights whichever format it came in.
// Source: the format's description in ggml's docs/gguf.md; llama.cpp's converter for names and order.
#include "engine/load/gguf.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/file.h"
#include "base/hash.h"
#include "engine/model/arch.h"

enum { TENSORS_MAX = 1 << 17 };

static const struct tensor_names llama_names = {
    .layer_prefix = "blk.",
    .at = {[T_EMBEDDING] = {"token_embd.weight"},
           [T_HEAD] = {"output.weight"},
           [T_FINAL_NORM] = {"output_norm.weight"},
           [T_ATTN_NORM] = {"attn_norm.weight"},
           [T_Q] = {"attn_q.weight"},
           [T_K] = {"attn_k.weight"},
           [T_V] = {"attn_v.weight"},
           [T_O] = {"attn_output.weight"},
           [T_Q_BIAS] = {"attn_q.bias"},
           [T_K_BIAS] = {"attn_k.bias"},
           [T_V_BIAS] = {"attn_v.bias"},
           [T_FF_NORM] = {"ffn_norm.weight"},
           [T_GATE] = {"ffn_gate.weight"},
           [T_UP] = {"ffn_up.weight"},
           [T_DOWN] = {"ffn_down.weight"}},
};

void gguf_names(const struct model_config *config, struct tensor_names *out)
{
    (void)config;
    *out = llama_names;
}

// ---- the description ------------------------------------------------------------------------------

static char *full_key(const struct gguf *g, const char *key, char out[128])
{
    snprintf(out, 128, "%s.%s", g->arch, key);
    return out;
}

// fallback < 0: the key is required.
static enum status config_int(const struct gguf *g, const char *key, int64_t fallback, int *out,
                              struct error *err)
{
    char full[128];
    const struct gguf_entry *e = gguf_find(g, full_key(g, key, full));
    int64_t value = fallback;
    if (!e && fallback < 0)
        return FAIL(err, ERR_FORMAT, "%s: %s: missing", g->name, full);
    if (e && !gguf_is_integer(e->type))
        return FAIL(
            err, e->type == GGUF_ARRAY ? ERR_UNSUPPORTED : ERR_FORMAT, "%s: %s: %s", g->name, full,
            e->type == GGUF_ARRAY ? "a value for each layer is not supported" : "not an integer");
    if (e)
        value = gguf_integer_at(g, e->type, e->first);
    if (value < 0 || value > INT32_MAX)
        return FAIL(err, ERR_FORMAT, "%s: %s: %lld is not a size", g->name, full, (long long)value);
    *out = (int)value;
    return OK;
}

static enum status config_float(const struct gguf *g, const char *key, float fallback, float *out,
                                struct error *err)
{
    char full[128];
    const struct gguf_entry *e = gguf_find(g, full_key(g, key, full));
    *out = fallback;
    if (!e && isnan(fallback))
        return FAIL(err, ERR_FORMAT, "%s: %s: missing", g->name, full);
    if (!e)
        return OK;
    double wide;
    if (e->type == GGUF_F32) {
        memcpy(out, g->data + e->first, 4);
    } else if (e->type == GGUF_F64) {
        memcpy(&wide, g->data + e->first, 8);
        *out = (float)wide;
    } else {
        return FAIL(err, ERR_FORMAT, "%s: %s: not a number with a fraction", g->name, full);
    }
    return OK;
}

static enum status config_token(const struct gguf *g, const char *key, int32_t *out,
                                struct error *err)
{
    const struct gguf_entry *e = gguf_find(g, key);
    *out = -1;
    if (!e)
        return OK;
    int64_t value = gguf_is_integer(e->type) ? gguf_integer_at(g, e->type, e->first) : -1;
    if (value < 0 || value > INT32_MAX)
        return FAIL(err, ERR_FORMAT, "%s: %s: not a token id", g->name, key);
    *out = (int32_t)value;
    return OK;
}

static enum status read_arch(struct gguf *g, struct error *err)
{
    struct gguf_text text;
    char known[ARCH_NAMES_BYTES];
    if (!gguf_string(g, "general.architecture", &text))
        return FAIL(err, ERR_FORMAT, "%s: general.architecture: missing", g->name);
    snprintf(g->arch, sizeof g->arch, "%.*s", (int)(text.bytes > 31 ? 31 : text.bytes), text.text);
    g->row = arch_find_gguf(g->arch);
    if (!g->row)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: general.architecture: '%s' is not supported (%s are)", g->name, g->arch,
                    arch_names(known, sizeof known));
    arch_start(g->row, &g->config);
    return OK;
}

static enum status read_dimensions(struct gguf *g, struct error *err)
{
    struct model_config *c = &g->config;
    int value_length, experts;
    TRY(config_int(g, "block_count", -1, &c->layers, err));
    TRY(config_int(g, "embedding_length", -1, &c->width, err));
    TRY(config_int(g, "feed_forward_length", -1, &c->ff, err));
    TRY(config_int(g, "attention.head_count", -1, &c->heads, err));
    TRY(config_int(g, "attention.head_count_kv", c->heads, &c->kv_heads, err));
    TRY(config_int(g, "context_length", -1, &c->max_positions, err));
    TRY(config_int(g, "attention.sliding_window", 0, &c->window, err));
    TRY(config_int(g, "expert_count", 0, &experts, err));
    if (c->heads < 1 || c->width < 1)
        return FAIL(err, ERR_FORMAT, "%s: %d heads and a width of %d", g->name, c->heads, c->width);
    TRY(config_int(g, "attention.key_length", c->width / c->heads, &c->head_dim, err));
    TRY(config_int(g, "attention.value_length", c->head_dim, &value_length, err));
    TRY(config_int(g, "rope.dimension_count", c->head_dim, &c->rotary, err));
    TRY(config_float(g, "attention.layer_norm_rms_epsilon", NAN, &c->norm_eps, err));
    if (experts)
        return FAIL(err, ERR_UNSUPPORTED, "%s: a mixture of %d experts is not supported", g->name,
                    experts);
    if (g->row->gguf_permuted && c->rotary != c->head_dim)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: rotating %d of %d dimensions of a permuted head is not supported", g->name,
                    c->rotary, c->head_dim);
    if (value_length != c->head_dim)
        return FAIL(err, ERR_UNSUPPORTED, "%s: keys of %d and values of %d are not supported",
                    g->name, c->head_dim, value_length);
    TRY(config_token(g, "tokenizer.ggml.bos_token_id", &c->bos, err));
    return config_token(g, "tokenizer.ggml.eos_token_id", &c->eos, err);
}

static enum status read_rope(struct gguf *g, struct error *err)
{
    struct model_config *c = &g->config;
    struct gguf_text type = {"none", 4};
    char full[128];
    float older;
    TRY(config_float(g, "rope.freq_base", 10000, &c->rope_theta, err));
    TRY(config_float(g, "rope.scale_linear", 1, &older, err)); // before rope.scaling.*
    TRY(config_float(g, "rope.scaling.factor", older, &c->rope_factor, err));
    if (!gguf_string(g, full_key(g, "rope.scaling.type", full), &type) && older != 1)
        type = (struct gguf_text){"linear", 6};
    if (type.bytes == 6 && memcmp(type.text, "linear", 6) == 0)
        c->rope_scaling = ROPE_SCALE_LINEAR;
    else if (type.bytes != 4 || memcmp(type.text, "none", 4) != 0)
        return FAIL(err, ERR_UNSUPPORTED, "%s: %s: '%.*s' is not supported (none and linear are)",
                    g->name, full, (int)(type.bytes > 32 ? 32 : type.bytes), type.text);
    return OK;
}

// ---- tensors --------------------------------------------------------------------------------------

struct tensor_info {
    char *name; // NUL-terminated, owned
    uint64_t dims[4], offset, bytes;
    uint32_t dim_count, type_number;
    const struct stored_type *type; // NULL: not one of ours, and bytes are not known
};

static enum status read_info(struct gguf_cursor *c, struct tensor_info *t, struct error *err)
{
    struct gguf_text name;
    TRY(gguf_take_string(c, &name, err));
    if (name.bytes == 0 || name.bytes > NAME_MAX_BYTES || memchr(name.text, '\0', name.bytes))
        return FAIL(err, ERR_FORMAT, "%s: a tensor name of %zu bytes before byte %zu", c->file,
                    name.bytes, c->at);
    if (!(t->name = strndup(name.text, name.bytes)))
        return FAIL(err, ERR_NOMEM, "%s: no memory", c->file);
    TRY(gguf_take_u32(c, &t->dim_count, err));
    if (t->dim_count < 1 || t->dim_count > 4)
        return FAIL(err, ERR_FORMAT, "%s: tensor %.64s: %u dimensions", c->file, t->name,
                    t->dim_count);
    uint64_t elements = 1;
    for (uint32_t i = 0; i < t->dim_count; i++) {
        TRY(gguf_take_u64(c, &t->dims[i], err));
        if (__builtin_mul_overflow(elements, t->dims[i], &elements) || elements > UINT64_C(1) << 48)
            return FAIL(err, ERR_FORMAT, "%s: tensor %.64s: absurdly many elements", c->file,
                        t->name);
    }
    TRY(gguf_take_u32(c, &t->type_number, err));
    TRY(gguf_take_u64(c, &t->offset, err));
    t->type = stored_find_ggml(t->type_number);
    if (!t->type)
        return OK;
    if (t->dims[0] % (uint64_t)t->type->block)
        return FAIL(err, ERR_FORMAT,
                    "%s: tensor %.64s: rows of %llu are no multiple of %s's blocks of %d", c->file,
                    t->name, (unsigned long long)t->dims[0], t->type->ggml, t->type->block);
    t->bytes = elements / (uint64_t)t->type->block * (uint64_t)t->type->bytes;
    return OK;
}

static int by_offset(const void *a, const void *b)
{
    const struct tensor_info *x = a, *y = b;
    if (x->offset != y->offset)
        return x->offset < y->offset ? -1 : 1;
    return strcmp(x->name, y->name);
}

// Data stands in the order of offsets, each tensor on the alignment, without holes. Where a type's size
// is not known (it is not one this engine reads), only that offsets rise.
static enum status check_layout(struct gguf *g, struct tensor_info *infos, size_t count,
                                struct error *err)
{
    uint64_t at = 0;
    qsort(infos, count, sizeof *infos, by_offset);
    for (size_t i = 0; i < count; i++) {
        const struct tensor_info *t = &infos[i];
        if (t->offset % g->alignment)
            return FAIL(err, ERR_FORMAT, "%s: tensor %.64s: offset %llu is not aligned to %u",
                        g->name, t->name, (unsigned long long)t->offset, g->alignment);
        if (t->offset > g->data_bytes || t->bytes > g->data_bytes - t->offset)
            return FAIL(
                err, ERR_FORMAT,
                "%s: tensor %.64s: %llu bytes at %llu are outside the file's %zu bytes of data",
                g->name, t->name, (unsigned long long)t->bytes, (unsigned long long)t->offset,
                g->data_bytes);
        if (t->offset < at)
            return FAIL(err, ERR_FORMAT, "%s: tensor %.64s: its data overlaps that of %.64s",
                        g->name, t->name, infos[i - 1].name);
        if ((i == 0 || infos[i - 1].type) && t->offset - at >= g->alignment)
            return FAIL(err, ERR_FORMAT, "%s: tensor %.64s: a hole before its data", g->name,
                        t->name);
        at = t->offset + t->bytes;
    }
    return OK;
}

static const struct tensor_info *find_info(const struct tensor_info *infos, size_t count,
                                           const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(infos[i].name, name) == 0)
            return &infos[i];
    return NULL;
}

// rope_freqs.weight: what each pair's frequency is divided by; on top of linear scaling when both stand.
static enum status read_factors(struct gguf *g, const struct tensor_info *t, struct error *err)
{
    struct model_config *c = &g->config;
    if (t->type != stored_f32 || t->dim_count != 1 || t->dims[0] != (uint64_t)c->rotary / 2)
        return FAIL(err, ERR_FORMAT, "%s: tensor %s: not %d values in F32", g->name, t->name,
                    c->rotary / 2);
    memcpy(c->rope_factors, g->tensor_data + t->offset, (size_t)t->bytes);
    for (int i = 0; i < c->rotary / 2; i++) {
        if (c->rope_scaling == ROPE_SCALE_LINEAR)
            c->rope_factors[i] *= c->rope_factor;
        if (!(c->rope_factors[i] > 0) || !isfinite(c->rope_factors[i]))
            return FAIL(err, ERR_FORMAT, "%s: tensor %s: value %d is not positive", g->name,
                        t->name, i);
    }
    c->rope_scaling = ROPE_SCALE_FACTORS;
    return OK;
}

// What the tensors themselves tell of the description.
static enum status complete_config(struct gguf *g, const struct tensor_info *infos, size_t count,
                                   struct error *err)
{
    struct model_config *c = &g->config;
    const struct tensor_info *embedding = find_info(infos, count, "token_embd.weight");
    const struct tensor_info *factors = find_info(infos, count, "rope_freqs.weight");
    if (!embedding || embedding->dim_count != 2 || embedding->dims[1] > INT32_MAX)
        return FAIL(err, ERR_FORMAT, "%s: tensor token_embd.weight is missing or no matrix",
                    g->name);
    c->vocab = (int)embedding->dims[1];
    c->tied = !find_info(infos, count, "output.weight");
    c->qkv_bias = c->qkv_bias || find_info(infos, count, "blk.0.attn_q.bias");
    arch_finish(g->row, c);
    TRY(model_config_check(c, g->name, err));
    return factors ? read_factors(g, factors, err) : OK;
}

static bool shape_matches(const struct tensor_info *t, struct tensor_shape want)
{
    uint64_t rows = t->dim_count > 1 ? t->dims[1] : 1;
    bool flat = t->dim_count < 3 || (t->dims[2] == 1 && (t->dim_count < 4 || t->dims[3] == 1));
    return flat && t->dims[0] == (uint64_t)want.cols && rows == (uint64_t)want.rows;
}

static enum status enter(struct gguf *g, const struct tensor_info *t, struct error *err)
{
    struct tensor_place place;
    char known[128];
    if (!tensor_names_find(&llama_names, t->name, &g->config, &place)) {
        // Inside a layer an unknown tensor means a computation this engine would leave out.
        if (str_starts(t->name, llama_names.layer_prefix))
            return FAIL(err, ERR_UNSUPPORTED,
                        "%s: tensor %.64s is not part of a supported architecture", g->name,
                        t->name);
        if (strcmp(t->name, "rope_freqs.weight") != 0)
            tensor_map_extra(&g->tensors, t->name, strlen(t->name), t->bytes);
        return OK;
    }
    struct tensor_shape want = tensor_names_shape(&llama_names, &g->config, place.roles[0]);
    if (!shape_matches(t, want))
        return FAIL(err, ERR_FORMAT,
                    "%s: tensor %s: shape (%llu, %llu), but the metadata makes it (%d, %d)",
                    g->name, t->name, (unsigned long long)(t->dim_count > 1 ? t->dims[1] : 1),
                    (unsigned long long)t->dims[0], want.rows, want.cols);
    if (!t->type || !t->type->expand)
        return FAIL(err, ERR_UNSUPPORTED, "%s: tensor %s: type %s (%u) is not supported (%s are)",
                    g->name, t->name, stored_ggml_name(t->type_number), t->type_number,
                    stored_ggml_names(known, sizeof known));
    if (want.rows == 1 && t->type->block != 1)
        return FAIL(err, ERR_UNSUPPORTED,
                    "%s: tensor %s: a vector in blocks of %s is not supported (plain numbers are)",
                    g->name, t->name, t->type->ggml);
    for (int i = 0; i < place.count; i++) {
        struct stored_tensor *slot = tensor_map_at(&g->tensors, place.roles[i], place.layer);
        if (slot->data)
            return FAIL(err, ERR_FORMAT, "%s: tensor %s stands twice", g->name, t->name);
        *slot = (struct stored_tensor){g->tensor_data + t->offset, t->type};
    }
    return OK;
}

static enum status read_alignment(struct gguf *g, struct error *err)
{
    const struct gguf_entry *e = gguf_find(g, "general.alignment");
    int64_t value = !e ? 32 : gguf_is_integer(e->type) ? gguf_integer_at(g, e->type, e->first) : 0;
    if (value < 1 || value > 1 << 20 || (value & (value - 1)))
        return FAIL(err, ERR_FORMAT, "%s: general.alignment: not a power of two", g->name);
    g->alignment = (uint32_t)value;
    return OK;
}

static enum status read_tensors(struct gguf *g, struct gguf_cursor *c, struct tensor_info *infos,
                                size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++)
        TRY(read_info(c, &infos[i], err));
    TRY(read_alignment(g, err));
    size_t begin = (c->at + g->alignment - 1) / g->alignment * g->alignment;
    if (begin > c->end && count)
        return FAIL(err, ERR_FORMAT, "%s: truncated: the data should begin at byte %zu of %zu",
                    g->name, begin, c->end);
    g->tensor_data = g->data + begin;
    g->data_bytes = begin > c->end ? 0 : c->end - begin;
    TRY(check_layout(g, infos, count, err));
    TRY(complete_config(g, infos, count, err));
    TRY(tensor_map_init(&g->tensors, &g->config, err));
    for (size_t i = 0; i < count; i++)
        TRY(enter(g, &infos[i], err));
    return tensor_map_complete(&g->tensors, &g->config, &llama_names, g->name, err);
}

enum status gguf_read_head(struct gguf_cursor *c, uint64_t *tensors, uint64_t *entries,
                           struct error *err)
{
    const unsigned char *magic;
    uint32_t version;
    if (c->end < 4 || memcmp(c->data, "GGUF", 4) != 0)
        return FAIL(err, ERR_FORMAT, "%s: does not begin with GGUF", c->file);
    TRY(gguf_take(c, 4, &magic, err));
    TRY(gguf_take_u32(c, &version, err));
    if (version == 0x03000000 || version == 0x02000000)
        return FAIL(err, ERR_UNSUPPORTED, "%s: big-endian GGUF is not supported", c->file);
    if (version != 2 && version != 3)
        return FAIL(err, ERR_UNSUPPORTED, "%s: GGUF version %u is not supported (2 and 3 are)",
                    c->file, version);
    TRY(gguf_take_u64(c, tensors, err));
    return gguf_take_u64(c, entries, err);
}

static enum status parse(struct gguf *g, size_t bytes, struct error *err)
{
    struct gguf_cursor c = {g->name, g->data, 0, bytes};
    uint64_t count, entries;
    TRY(gguf_read_head(&c, &count, &entries, err));
    TRY(gguf_read_entries(g, &c, entries, err));
    TRY(read_arch(g, err));
    TRY(read_dimensions(g, err));
    TRY(read_rope(g, err));
    if (count > TENSORS_MAX || count > (c.end - c.at) / 32)
        return FAIL(err, ERR_FORMAT, "%s: %llu tensors are more than the file can hold", g->name,
                    (unsigned long long)count);
    struct tensor_info *infos = calloc((size_t)count + 1, sizeof *infos);
    if (!infos)
        return FAIL(err, ERR_NOMEM, "%s: no memory for its tensors", g->name);
    enum status status = read_tensors(g, &c, infos, (size_t)count, err);
    for (size_t i = 0; i < count; i++)
        free(infos[i].name);
    free(infos);
    return status;
}

enum status gguf_parse(const char *name, const unsigned char *data, size_t bytes, struct gguf **out,
                       struct error *err)
{
    *out = NULL;
    struct gguf *g = calloc(1, sizeof *g);
    if (!g || !(g->name = strdup(name))) {
        free(g);
        return FAIL(err, ERR_NOMEM, "%s: no memory", name);
    }
    g->data = data;
    enum status status = parse(g, bytes, err);
    if (status != OK) {
        gguf_free(g);
        return status;
    }
    model_name_from_path(name, g->config.name);
    *out = g;
    return OK;
}

void gguf_free(struct gguf *g)
{
    if (!g)
        return;
    tensor_map_fini(&g->tensors);
    free(g->entries);
    free(g->name);
    free(g);
}

const struct model_config *gguf_config(const struct gguf *g)
{
    return &g->config;
}

const struct tensor_map *gguf_tensors(const struct gguf *g)
{
    return &g->tensors;
}
