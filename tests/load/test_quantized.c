// test_quantized.c - quantized folders: every weight as its format's own dequantization has it, codes that
// expand to the same weights, and what is refused.
//
// weights.sum next to each model (tools/golden/make_quantized.py) holds the SHA-256 of each product's f32 bytes.
#include "tests/load/load_fixture.h"

#include "base/hash.h"
#include "base/json.h"
#include "engine/load/quantized/quantized.h"
#include "kernels/quant.h"

static const struct {
    const char *name;
    enum dtype codes; // DT_COUNT: weights alone
    int group;
    const char *text;
} cases[] = {
    {"awq-g128", DT_I4, 128, "AutoAWQ gemm, 4 bits, groups of 128, zero points"},
    {"awq-g32-qwen2", DT_I4, 32, "AutoAWQ gemm, 4 bits, groups of 32, zero points"},
    {"awq-g32-phi3", DT_I4, 32, "AutoAWQ gemm, 4 bits, groups of 32, zero points"}, // fused
    {"awq-row", DT_I4, 0, "AutoAWQ gemm, 4 bits, one group per row, zero points"},
    {"gptq-v1-asym", DT_I4, 128, "GPTQ version 1, 4 bits, groups of 128, zero points"},
    {"gptq-v2-asym", DT_I4, 64, "GPTQ version 2, 4 bits, groups of 64, zero points"},
    {"gptq-v1-sym", DT_I4, 0, "GPTQ version 1, 4 bits, one group per row, symmetric"},
    {"gptq-act-order", DT_COUNT, 0,
     "GPTQ version 1, 4 bits, groups of 32, zero points, activation order"},
    {"gptq-8bit", DT_COUNT, 0, "GPTQ version 1, 8 bits, groups of 32, zero points"},
    {"fp8-static", DT_F8E4M3, 0, "FP8 E4M3, one scale per tensor, static input scales (not used)"},
    {"fp8-dynamic", DT_F8E4M3, 0, "FP8 E4M3, one scale per tensor, dynamic inputs"},
    {"fp8-block", DT_F8E4M3, 0, "FP8 E4M3, a scale for each block of 128x128, dynamic inputs"},
    {"ct-fp8-channel", DT_F8E4M3, 0,
     "compressed-tensors float-quantized, E4M3 of 8 bits, one scale per row, symmetric"},
    {"ct-fp8-tensor", DT_F8E4M3, 0,
     "compressed-tensors float-quantized, E4M3 of 8 bits, one scale per tensor, symmetric"},
    {"ct-int8", DT_I8, 0,
     "compressed-tensors int-quantized, integers of 8 bits, one scale per row, symmetric"},
    {"ct-int8-mixtral", DT_I8, 0, // experts
     "compressed-tensors int-quantized, integers of 8 bits, one scale per row, symmetric"},
    {"ct-int8-asym", DT_COUNT, 0,
     "compressed-tensors int-quantized, integers of 8 bits, one scale per row, zero points"},
    {"ct-pack-g64", DT_I4, 64,
     "compressed-tensors pack-quantized, integers of 4 bits, groups of 64, symmetric"},
    {"ct-pack-asym", DT_I4, 0,
     "compressed-tensors pack-quantized, integers of 4 bits, one scale per row, zero points"},
    {"ct-pack-8bit", DT_COUNT, 0,
     "compressed-tensors pack-quantized, integers of 8 bits, groups of 32, symmetric"},
};
enum { CASES = sizeof cases / sizeof *cases };

// The role and layer of a tensor name of Hugging Face's.
static struct tensor_place place_of(const struct checkpoint *ck, const char *name)
{
    struct tensor_place place;
    if (!tensor_names_find(hf_names(&ck->config), name, &ck->config, &place))
        fail_msg("%s is none of the model's tensors", name);
    return place;
}

// Rows of a role that one stored tensor holds: all of them, or those of one expert.
struct range {
    enum tensor_role role;
    int layer, row0, rows, cols;
};

static struct range range_of(const struct checkpoint *ck, const struct tensor_place *place, int i)
{
    struct tensor_shape shape = tensor_shape(&ck->config, place->roles[i]);
    int rows = place->expert < 0 ? shape.rows : shape.rows / ck->config.experts;
    return (struct range){place->roles[i], place->layer,
                          place->expert < 0 ? 0 : place->expert * rows, rows, shape.cols};
}

// Codes and scales say the same weights as read_rows, to the last bit.
static void check_codes(const struct checkpoint *ck, struct range range,
                        const struct stored_quant *stored, const float *rows)
{
    size_t cols = (size_t)range.cols;
    int groups = quant_groups(stored->type, range.cols, stored->group);
    uint8_t *codes = malloc(cols), *zeros = malloc((size_t)groups);
    float *scales = malloc((size_t)groups * sizeof *scales), *row = malloc(cols * sizeof *row);
    assert_true(codes && zeros && scales && row);
    for (int r = 0; r < range.rows; r++) {
        struct quant_row out = {codes, scales, zeros};
        ck->ops->read_codes(ck->self, range.role, range.layer, range.row0 + r, out);
        quant_row_expand(stored->type, out, range.cols, stored->group, row);
        assert_memory_equal(row, rows + (size_t)r * cols, cols * sizeof *row);
    }
    free(codes);
    free(zeros);
    free(scales);
    free(row);
}

// One line of weights.sum: the tensor's f32 bytes, all roles it holds one after another.
static void check_tensor(const struct checkpoint *ck, size_t n, const char *name, const char *want)
{
    struct tensor_place place = place_of(ck, name);
    struct hash *hash = hash_create();
    char got[65];
    for (int i = 0; i < place.count; i++) {
        struct stored_quant stored;
        struct range range = range_of(ck, &place, i);
        size_t cols = (size_t)range.cols, count = (size_t)range.rows * cols;
        float *rows = calloc(count, sizeof *rows);
        assert_non_null(rows);
        ck->ops->read_rows(ck->self, range.role, range.layer, range.row0, range.rows, rows, cols);
        hash_update(hash, rows, count * sizeof *rows);
        bool codes = ck->ops->quantization(ck->self, range.role, range.layer, &stored);
        // a row of one block has one scale, as kernels/quant.h wants it
        bool one_scale = strcmp(cases[n].name, "fp8-block") != 0 || range.cols <= 128;
        assert_int_equal(codes, cases[n].codes != DT_COUNT && one_scale);
        if (codes) {
            assert_int_equal(stored.type, cases[n].codes);
            if (stored.type == DT_I4)
                assert_int_equal(stored.group, cases[n].group ? cases[n].group : range.cols);
            check_codes(ck, range, &stored, rows);
        }
        free(rows);
    }
    hash_finish(hash, got);
    if (strcmp(want, got) != 0)
        fail_msg("%s: %s: not the weights its format means", cases[n].name, name);
}

static void check_case(size_t n)
{
    char path[256], line[512];
    snprintf(path, sizeof path, MODELS "%s/weights.sum", cases[n].name);
    FILE *sums = fopen(path, "r");
    assert_non_null(sums);
    snprintf(path, sizeof path, MODELS "%s", cases[n].name);
    struct checkpoint *ck = open_ok(path);
    int products = 0;
    for (; fgets(line, sizeof line, sums); products++) {
        char want[65], name[256];
        assert_int_equal(sscanf(line, "%64s %255s", want, name), 2);
        check_tensor(ck, n, name, want);
    }
    assert_in_range(products, 4, 13);
    assert_string_equal(checkpoint_quantization(ck)->text, cases[n].text);
    assert_string_equal(checkpoint_unused_tensors(ck), "");
    checkpoint_destroy(ck);
    fclose(sums);
}

static void weights_bit_for_bit(void **state)
{
    (void)state;
    for (size_t i = 0; i < CASES; i++)
        check_case(i);
}

static void what_it_says_of_itself(void **state)
{
    (void)state;
    struct checkpoint *ck = open_ok(MODELS "awq-g32-qwen2");
    const struct checkpoint_quantization *q = checkpoint_quantization(ck);
    assert_string_equal(q->method, "awq");
    assert_int_equal(q->bits, 4);
    assert_int_equal(q->group, 32);
    assert_true(q->zero_points);
    assert_string_equal(q->plain, "down_proj\n");
    struct tensor_class classes[8];
    size_t n = checkpoint_tensor_classes(ck, classes, 8);
    for (size_t i = 0; i < n; i++)
        if (strcmp(classes[i].name, "attention") == 0)
            assert_string_equal(classes[i].type, "int4, bf16"); // biases
    checkpoint_destroy(ck);
    ck = open_ok(MODELS "llama-gqa3");
    assert_null(checkpoint_quantization(ck));
    checkpoint_destroy(ck);
}

// A group longer than all rows and no multiple of 8, which panels of int4 do not have: the same weights, but their
// codes are recomputed.
static void groups_that_panels_do_not_have(void **state)
{
    (void)state;
    static const char from[] = "\"group_size\": -1", to[] = "\"group_size\": 1004";
    const char *dir = scratch_make();
    size_t count;
    char *text = slurp(MODELS "awq-row/config.json", &count), *hit = strstr(text, from);
    struct str config = {0};
    struct stored_quant stored;
    assert_non_null(hit);
    str_append_bytes(&config, text, (size_t)(hit - text));
    str_append(&config, to);
    str_append(&config, hit + strlen(from));
    put(dir, "config.json", str_text(&config), config.length);
    copy(MODELS "awq-row", "model.safetensors", dir);
    struct checkpoint *ck = open_ok(MODELS "awq-row"), *odd = open_ok(dir);
    assert_true(ck->ops->quantization(ck->self, T_Q, 0, &stored));
    assert_false(odd->ops->quantization(odd->self, T_Q, 0, &stored));
    struct device *device = device_of(1);
    model_destroy(load(dir, "int4-rtn", device));
    device_close(device);
    checkpoint_destroy(ck);
    checkpoint_destroy(odd);
    str_fini(&config);
    free(text);
    scratch_remove(dir);
}

// ---- what is refused ----------------------------------------------------------------------------------

// The quantization_config of a case with `key` set to a JSON value, or removed; then opened.
static void config_refused(const char *name, const char *key, const char *value, enum status code,
                           const char *word)
{
    struct error err = {0};
    struct quantized *q = NULL;
    char path[256];
    json_t *root = NULL;
    snprintf(path, sizeof path, MODELS "%s/config.json", name);
    expect_ok(json_read(path, 1 << 20, &root, &err), &err, path);
    json_t *config = json_object_get(root, "quantization_config");
    expect_ok(quantized_create(config, "c", &q, &err), &err, "the well-formed twin");
    quantized_destroy(q);
    for (const char *dot; (dot = strchr(key, '.')); key = dot + 1) {
        char part[64];
        snprintf(part, sizeof part, "%.*s", (int)(dot - key), key);
        config = json_object_get(config, part);
        assert_non_null(config);
    }
    if (value)
        json_object_set_new(config, key, json_loads(value, JSON_DECODE_ANY, NULL));
    else
        json_object_del(config, key);
    expect_error(quantized_create(json_object_get(root, "quantization_config"), "c", &q, &err),
                 &err, code, "c: quantization_config", word);
    assert_null(q);
    json_decref(root);
}

#define WEIGHTS "config_groups.group_0.weights."

static void unsupported_configs(void **state)
{
    (void)state;
    config_refused("awq-g128", "quant_method", "\"bitsandbytes\"", ERR_UNSUPPORTED,
                   "'bitsandbytes' is not supported (awq, gptq, fp8 and compressed-tensors are)");
    config_refused("awq-g128", "quant_method", NULL, ERR_UNSUPPORTED, "'none'");
    config_refused("awq-g128", "bits", "3", ERR_UNSUPPORTED, "3 bits is not supported (4 are)");
    config_refused("awq-g128", "bits", NULL, ERR_FORMAT, "bits");
    config_refused("awq-g128", "version", "\"gemv\"", ERR_UNSUPPORTED, "'gemv'");
    config_refused("awq-g128", "zero_point", "false", ERR_UNSUPPORTED, "zero point");
    config_refused("awq-g128", "group_size", "0", ERR_FORMAT, "group_size");
    config_refused("awq-g128", "group_size", "\"x\"", ERR_FORMAT, "group_size");
    config_refused("awq-g128", "modules_to_not_convert", "7", ERR_FORMAT, "not a list");
    config_refused("awq-g128", "modules_to_not_convert", "[7]", ERR_FORMAT, "list of names");
    config_refused("gptq-8bit", "bits", "3", ERR_UNSUPPORTED, "4 and 8 are");
    config_refused("gptq-8bit", "checkpoint_format", "\"marlin\"", ERR_UNSUPPORTED, "'marlin'");
    config_refused("gptq-8bit", "dynamic", "{\"-:x\": {}}", ERR_UNSUPPORTED, "mixes schemes");
    config_refused("gptq-8bit", "pack_dtype", "\"int16\"", ERR_UNSUPPORTED, "'int16'");
    config_refused("fp8-block", "fmt", "\"e5m2\"", ERR_UNSUPPORTED, "'e5m2'");
    config_refused("fp8-block", "activation_scheme", "\"no\"", ERR_UNSUPPORTED, "'no'");
    config_refused("fp8-block", "weight_block_size", "[128]", ERR_FORMAT, "weight_block_size");
    config_refused("fp8-block", "weight_block_size", "[128, 0]", ERR_FORMAT, "weight_block_size");
    config_refused("ct-int8", "format", "\"nvfp4-pack-quantized\"", ERR_UNSUPPORTED,
                   "'nvfp4-pack-quantized' of 8-bit integers is not supported");
    config_refused("ct-int8", "format", NULL, ERR_FORMAT, "format");
    config_refused("ct-int8", "quantization_status", "\"frozen\"", ERR_UNSUPPORTED, "'frozen'");
    config_refused("ct-int8", "sparsity_config", "{\"format\": \"sparse-24-bitmask\"}",
                   ERR_UNSUPPORTED, "sparse-24-bitmask");
    config_refused("ct-int8", "config_groups", "[]", ERR_FORMAT, "config_groups");
    config_refused("ct-int8", "config_groups.group_1",
                   "{\"weights\": {\"num_bits\": 4, \"strategy\": \"channel\"}}", ERR_UNSUPPORTED,
                   "mix schemes");
    config_refused("ct-int8", WEIGHTS "num_bits", "4", ERR_UNSUPPORTED, "4-bit");
    config_refused("ct-int8", WEIGHTS "type", "\"nvfp\"", ERR_UNSUPPORTED, "'nvfp'");
    config_refused("ct-int8", WEIGHTS "strategy", "\"token\"", ERR_UNSUPPORTED, "'token'");
    config_refused("ct-int8", WEIGHTS "strategy", "\"group\"", ERR_FORMAT, "group_size");
    config_refused("ct-int8", WEIGHTS "strategy", "\"block\"", ERR_FORMAT, "block_structure");
    config_refused("ct-int8", WEIGHTS "dynamic", "true", ERR_UNSUPPORTED, "dynamic");
}

// Where the bytes of a tensor begin in a file.
static char *tensor_bytes(char *file, size_t count, const char *name)
{
    struct error err = {0};
    json_t *header = NULL;
    uint64_t length;
    memcpy(&length, file, 8);
    assert_true(length < count);
    expect_ok(json_parse("header", file + 8, length, &header, &err), &err, "header");
    json_t *range = json_object_get(json_object_get(header, name), "data_offsets");
    assert_non_null(range);
    char *at = file + 8 + length + json_integer_value(json_array_get(range, 0));
    json_decref(header);
    return at;
}

// The folder of a case with a piece of the file's header replaced by one of the same length.
static void header_refused(const char *name, const char *from, const char *to, const char *word,
                           const char *other)
{
    const char *dir = scratch_make();
    char path[256];
    size_t count;
    snprintf(path, sizeof path, MODELS "%s", name);
    copy(path, "config.json", dir);
    snprintf(path, sizeof path, MODELS "%s/model.safetensors", name);
    char *file = slurp(path, &count), *at = memmem(file, count, from, strlen(from));
    assert_int_equal(strlen(from), strlen(to));
    assert_non_null(at);
    put(dir, "model.safetensors", file, count);
    checkpoint_destroy(open_ok(dir)); // the well-formed twin
    memcpy(at, to, strlen(to));
    put(dir, "model.safetensors", file, count);
    open_fails(dir, ERR_FORMAT, word, other);
    free(file);
    scratch_remove(dir);
}

#define Q "model.layers.0.self_attn.q_proj"
#define K "model.layers.0.self_attn.k_proj"

static void broken_products(void **state)
{
    (void)state;
    header_refused("awq-g128", Q ".scales",
                   "xodel.layers.0.self_attn.q_proj"
                   ".scales",
                   Q ".scales is missing", "");
    header_refused("awq-g128", Q ".qzeros",
                   "xodel.layers.0.self_attn.q_proj"
                   ".qzeros",
                   Q ".qzeros is missing", "");
    header_refused("awq-g128", Q ".qweight",
                   "xodel.layers.0.self_attn.q_proj"
                   ".qweight",
                   Q ".qweight is missing", "");
    header_refused("ct-int8", Q ".weight_scale",
                   "xodel.layers.0.self_attn.q_proj"
                   ".weight_scale",
                   Q ".weight_scale is missing", "");
    header_refused("awq-g128", "\"" Q ".qzeros\":{\"dtype\":\"I32\",\"shape\":[1,16]",
                   "\"" Q ".qzeros\":{\"dtype\":\"I32\",\"shape\":[16,1]",
                   "shape (16, 1), but config.json makes it (1, 16)", Q ".qzeros");
    header_refused("awq-g128", "\"" Q ".scales\":{\"dtype\":\"F16\"",
                   "\"" Q ".scales\":{\"dtype\":\"I16\"", "dtype", Q ".scales");
    header_refused("ct-fp8-channel", "\"" K ".weight_scale\":{\"dtype\":\"BF16\",\"shape\":[32,1]",
                   "\"" K ".weight_scale\":{\"dtype\":\"BF16\",\"shape\":[1,32]",
                   K ".weight_scale: shape (1, 32), but config.json makes it (32, 1)", "");
    header_refused("fp8-dynamic", Q ".weight_scale\"", Q ".weight_g_idx\"", "mixes schemes",
                   Q ".weight_g_idx");
}

static void scale_refused(const char *name, const char *tensor, const void *bytes, size_t count,
                          const char *word)
{
    const char *dir = scratch_make();
    char path[256];
    size_t length;
    snprintf(path, sizeof path, MODELS "%s", name);
    copy(path, "config.json", dir);
    snprintf(path, sizeof path, MODELS "%s/model.safetensors", name);
    char *file = slurp(path, &length);
    memcpy(tensor_bytes(file, length, tensor), bytes, count);
    put(dir, "model.safetensors", file, length);
    open_fails(dir, ERR_FORMAT, tensor, word);
    free(file);
    scratch_remove(dir);
}

static void scales_that_are_no_numbers(void **state)
{
    (void)state;
    static const unsigned char f16_nan[] = {1, 0x7c}, f16_inf[] = {0, 0xfc},
                               bf16_inf[] = {0x80, 0x7f}, f32_nan[] = {0, 0, 0xc0, 0xff},
                               f32_inf[] = {0, 0, 0x80, 0x7f}, large[] = {0, 0, 1, 0},
                               minus[] = {255, 255, 255, 255};
    scale_refused("awq-g128", Q ".scales", f16_nan, 2, "scale 0 of 128 is NaN");
    scale_refused("gptq-8bit", Q ".scales", f16_inf, 2, "is infinite");
    scale_refused("ct-fp8-channel", Q ".weight_scale", bf16_inf, 2, "is infinite");
    scale_refused("fp8-block", Q ".weight_scale_inv", f32_nan, 4, "is NaN");
    scale_refused("ct-int8", Q ".weight_scale", f32_inf, 4, "is infinite");
    scale_refused("gptq-v2-asym", Q ".g_idx", large, 4, "input 0 is of group 65536");
    scale_refused("gptq-v2-asym", Q ".g_idx", minus, 4, "input 0 is of group -1");
}

static void no_quantization_config(void **state)
{
    (void)state;
    static const char *const names[] = {"awq-g128", "fp8-static", "ct-pack-g64"};
    for (size_t i = 0; i < 3; i++) {
        const char *dir = scratch_make();
        char path[256];
        json_t *root = NULL;
        struct error err = {0};
        snprintf(path, sizeof path, MODELS "%s", names[i]);
        copy(path, "model.safetensors", dir);
        snprintf(path, sizeof path, MODELS "%s/config.json", names[i]);
        expect_ok(json_read(path, 1 << 20, &root, &err), &err, path);
        json_object_del(root, "quantization_config");
        char *text = json_dumps(root, 0);
        put(dir, "config.json", text, strlen(text));
        open_fails(dir, ERR_FORMAT, "config.json has no quantization_config", dir);
        free(text);
        json_decref(root);
        scratch_remove(dir);
    }
}

// ---- quantization of other things than weights -------------------------------------------------------------------

// A model's folder with one more field in config.json and one more tensor, an F32 of one element.
static const char *with_tensor(const char *model, const char *key, const char *value,
                               const char *tensor)
{
    const char *dir = scratch_make();
    char path[256], entry[256];
    size_t count;
    uint64_t header;
    json_t *config = NULL, *field = json_loads(value, 0, NULL);
    struct error err = {0};
    struct str out = {0};
    snprintf(path, sizeof path, MODELS "%s/config.json", model);
    expect_ok(json_read(path, 1 << 20, &config, &err), &err, path);
    if (key)
        json_object_set(config, key, field);
    char *text = json_dumps(config, 0);
    put(dir, "config.json", text, strlen(text));
    snprintf(path, sizeof path, MODELS "%s/model.safetensors", model);
    char *file = slurp(path, &count);
    memcpy(&header, file, 8);
    size_t data = count - 8 - header, close = header;
    while (file[8 + close - 1] != '}')
        close--;
    snprintf(entry, sizeof entry,
             ",\"%s\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[%zu,%zu]}}", tensor, data,
             data + 4);
    header = close - 1 + strlen(entry);
    str_append_bytes(&out, (const char *)&header, 8);
    str_append_bytes(&out, file + 8, close - 1);
    str_append(&out, entry);
    str_append_bytes(&out, file + count - data, data);
    str_append_bytes(&out, "\0\0\200?", 4); // 1.0
    put(dir, "model.safetensors", str_text(&out), out.length);
    str_fini(&out);
    free(file);
    free(text);
    json_decref(field);
    json_decref(config);
    return dir;
}

static void kv_cache_alone(void **state)
{
    (void)state;
    static const char *const keys[] = {"quantization_config", "compression_config"};
    static const char config[] = "{\"quant_method\":\"compressed-tensors\",\"config_groups\":{},"
                                 "\"kv_cache_scheme\":{\"num_bits\":8,\"type\":\"float\"}}";
    for (int i = 0; i < 2; i++) {
        const char *dir =
            with_tensor("qwen2-own-head", keys[i], config, "model.layers.0.self_attn.k_scale");
        struct checkpoint *ck = open_ok(dir);
        assert_null(checkpoint_quantization(ck));
        assert_non_null(strstr(ck->remarks, "KV cache alone"));
        checkpoint_destroy(ck);
        scratch_remove(dir);
    }
    // weights of such a folder are not quantized after all
    const char *dir =
        with_tensor("qwen2-own-head", keys[0], config, "model.layers.0.mlp.up_proj.weight_scale");
    open_fails(dir, ERR_FORMAT, "weight_scale is no part of", "KV cache alone");
    scratch_remove(dir);
}

static void scales_around_attention(void **state)
{
    (void)state;
    static const char *const names[] = {
        "model.layers.0.self_attn.q_scale",    "model.layers.0.self_attn.q_proj.q_scale",
        "model.layers.0.self_attn.k_scale",    "model.layers.0.self_attn.kv_scale",
        "model.layers.0.self_attn.prob_scale", "model.layers.0.self_attn.prob_output_scale"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *dir = with_tensor("fp8-static", NULL, "{}", names[i]);
        checkpoint_destroy(open_ok(dir));
        scratch_remove(dir);
    }
}

static void older_key(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    size_t count;
    char *text = slurp(MODELS "ct-int8/config.json", &count);
    char *at = strstr(text, "\"quantization_config\"");
    assert_non_null(at);
    memcpy(at, "\"compression_config\" ", 21);
    put(dir, "config.json", text, count);
    copy(MODELS "ct-int8", "model.safetensors", dir);
    struct checkpoint *ck = open_ok(dir);
    assert_string_equal(checkpoint_quantization(ck)->method, "compressed-tensors");
    checkpoint_destroy(ck);
    free(text);
    scratch_remove(dir);
}

// A product that stands plain in another file.
static void plain_and_quantized(void **state)
{
    (void)state;
    static const char index[] = "{\"weight_map\":{\"" Q ".weight\":\"b.safetensors\","
                                "\"lm_head.weight\":\"a.safetensors\"}}";
    static const char entry[] = "{\"" Q ".weight\":{\"dtype\":\"F16\",\"shape\":[128,128],"
                                "\"data_offsets\":[0,32768]}}";
    enum { HEADER = sizeof entry - 1 };
    static unsigned char plain[8 + HEADER + 32768] = {HEADER};
    const char *dir = scratch_make();
    size_t count;
    memcpy(plain + 8, entry, HEADER);
    char *file = slurp(MODELS "awq-g128/model.safetensors", &count);
    copy(MODELS "awq-g128", "config.json", dir);
    put(dir, "a.safetensors", file, count);
    put(dir, "b.safetensors", plain, sizeof plain);
    put(dir, "model.safetensors.index.json", index, strlen(index));
    open_fails(dir, ERR_FORMAT, Q " is stored both quantized and plain", "mixes schemes");
    free(file);
    scratch_remove(dir);
}

static void missing_shard(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    copy(MODELS "gptq-act-order", "config.json", dir);
    copy(MODELS "gptq-act-order", "model.safetensors.index.json", dir);
    copy(MODELS "gptq-act-order", "model-00001-of-00002.safetensors", dir);
    open_fails(dir, ERR_IO, "model-00002-of-00002.safetensors", "No such file");
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(weights_bit_for_bit),
        cmocka_unit_test(what_it_says_of_itself),
        cmocka_unit_test(unsupported_configs),
        cmocka_unit_test(broken_products),
        cmocka_unit_test(scales_that_are_no_numbers),
        cmocka_unit_test(no_quantization_config),
        cmocka_unit_test(plain_and_quantized),
        cmocka_unit_test(missing_shard),
        cmocka_unit_test(kv_cache_alone),
        cmocka_unit_test(scales_around_attention),
        cmocka_unit_test(older_key),
        cmocka_unit_test(groups_that_panels_do_not_have),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
