// test_safetensors.c - folders: whole, sharded, and broken in every way a header can be.
#include "tests/load/load_fixture.h"

#include "base/json.h"

#define WHOLE MODELS "llama-gqa3"

static void whole(void **state)
{
    (void)state;
    struct checkpoint *ck = open_ok(WHOLE);
    const struct model_config *c = checkpoint_config(ck);
    assert_string_equal(c->name, "llama-gqa3");
    assert_string_equal(checkpoint_format(ck), "safetensors");
    assert_false(checkpoint_is_synthetic(ck));
    assert_int_equal(c->vocab, 331);
    assert_int_equal(c->head_dim, 20);
    assert_string_equal(checkpoint_unused_tensors(ck), "");
    struct tensor_class classes[8];
    size_t n = checkpoint_tensor_classes(ck, classes, 8);
    uint64_t parameters = 0, bytes = 0;
    assert_int_equal(n, 5);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(classes[i].type, "f32");
        parameters += classes[i].parameters;
        bytes += classes[i].bytes;
    }
    assert_int_equal(bytes, 4 * parameters);
    assert_int_equal(checkpoint_tensor_classes(ck, classes, 2), 2);
    checkpoint_destroy(ck);
    checkpoint_destroy(NULL);
}

static float *rows_of(struct checkpoint *ck, enum tensor_role role, int layer, int row0, int rows)
{
    size_t cols = (size_t)tensor_shape(checkpoint_config(ck), role).cols;
    float *out = calloc((size_t)rows, cols * sizeof *out);
    assert_non_null(out);
    ck->ops->read_rows(ck->self, role, layer, row0, rows, out, cols);
    return out;
}

// Values of tensors, f32 bits at known places of the file.
static void values(void **state)
{
    (void)state;
    struct checkpoint *ck = open_ok(WHOLE);
    size_t count;
    char *file = slurp(WHOLE "/model.safetensors", &count);
    uint64_t header;
    memcpy(&header, file, 8);
    char *entry = strstr(file + 8, "\"model.layers.1.mlp.down_proj.weight\""), *range;
    assert_non_null(entry);
    assert_non_null(range = strstr(entry, "\"data_offsets\":["));
    size_t begin = (size_t)atoll(range + 16);
    float *rows = rows_of(ck, T_DOWN, 1, 3, 2);
    size_t cols = (size_t)checkpoint_config(ck)->ff;
    assert_memory_equal(rows, file + 8 + header + begin + 3 * cols * 4, 2 * cols * 4);
    free(rows);
    free(file);
    checkpoint_destroy(ck);
}

static void sharded(void **state)
{
    (void)state;
    struct checkpoint *ck = open_ok(MODELS "qwen2-sharded");
    struct tensor_class classes[8];
    size_t n = checkpoint_tensor_classes(ck, classes, 8);
    for (size_t i = 0; i < n; i++)
        assert_string_equal(classes[i].type, "bf16");
    assert_true(checkpoint_config(ck)->qkv_bias);
    assert_int_equal(checkpoint_config(ck)->window, 0);
    float *bias = rows_of(ck, T_K_BIAS, 1, 0, 1);
    assert_true(bias[0] != 0);
    free(bias);
    checkpoint_destroy(ck);
}

static void content_hash(void **state)
{
    (void)state;
    struct error err = {0};
    char first[65], again[65], moved[65], other[65];
    struct checkpoint *ck = open_ok(WHOLE);
    expect_ok(checkpoint_content_hash(ck, first, &err), &err, "hash");
    expect_ok(checkpoint_content_hash(ck, again, &err), &err, "hash");
    checkpoint_destroy(ck);
    assert_string_equal(first, again);
    assert_int_equal(strlen(first), 64);
    const char *dir = scratch_make();
    copy(WHOLE, "config.json", dir);
    copy(WHOLE, "model.safetensors", dir);
    ck = open_ok(dir);
    expect_ok(checkpoint_content_hash(ck, moved, &err), &err, "hash");
    checkpoint_destroy(ck);
    assert_string_equal(first, moved); // the place does not count
    size_t count;
    char *file = slurp(WHOLE "/model.safetensors", &count);
    file[count - 1] ^= 1;
    put(dir, "model.safetensors", file, count);
    ck = open_ok(dir);
    expect_ok(checkpoint_content_hash(ck, other, &err), &err, "hash");
    checkpoint_destroy(ck);
    assert_string_not_equal(first, other);
    free(file);
    scratch_remove(dir);
}

// ---- broken files ---------------------------------------------------------------------------------

static void missing_and_cut(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    size_t count;
    char *file = slurp(WHOLE "/model.safetensors", &count);
    open_fails("/nonexistent/model", ERR_IO, "/nonexistent/model", "no such file");
    open_fails(dir, ERR_IO, "config.json", "No such file");
    copy(WHOLE, "config.json", dir);
    open_fails(dir, ERR_IO, "model.safetensors", "No such file");
    put(dir, "model.safetensors", "", 0);
    open_fails(dir, ERR_FORMAT, "model.safetensors", "too few");
    static const size_t cuts[] = {4, 8, 9, 100, 2000};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        put(dir, "model.safetensors", file, cuts[i]);
        open_fails(dir, ERR_FORMAT, "model.safetensors", "");
    }
    put(dir, "model.safetensors", file, count - 1);
    open_fails(dir, ERR_FORMAT, "data_offsets", "truncated");
    char *longer = calloc(1, count + 1);
    memcpy(longer, file, count);
    put(dir, "model.safetensors", longer, count + 1);
    open_fails(dir, ERR_FORMAT, "1 bytes of data belong to no tensor", "");
    memset(longer, 0xff, 8);
    put(dir, "model.safetensors", longer, count);
    open_fails(dir, ERR_FORMAT, "18446744073709551615", "does not fit");
    put(dir, "model.safetensors", "GGUF\0\0\0\0\0\0", 10);
    open_fails(dir, ERR_FORMAT, "model.safetensors", "");
    put(dir, "model.safetensors", file, count); // the well-formed twin
    checkpoint_destroy(open_ok(dir));
    char path[128];
    snprintf(path, sizeof path, "%s/model.safetensors", dir);
    open_fails(path, ERR_USAGE, "folder", path);
    free(longer);
    free(file);
    scratch_remove(dir);
}

// A header of two vectors over 12 bytes of data, entered in a map.
static enum status parse_header(const char *header, size_t data, struct error *err)
{
    struct model_config config = {.layers = 1,
                                  .width = 2,
                                  .heads = 1,
                                  .kv_heads = 1,
                                  .head_dim = 2,
                                  .ff = 2,
                                  .vocab = 3,
                                  .tied = true};
    struct tensor_map map;
    unsigned char file[1024] = {0};
    uint64_t length = strlen(header);
    memcpy(file, &length, 8);
    memcpy(file + 8, header, length);
    for (char *p = (char *)file + 8; *p; p++)
        *p = *p == '\'' ? '"' : *p;
    assert_true(8 + length + data <= sizeof file);
    assert_int_equal(tensor_map_init(&map, &config, err), OK);
    enum status status = safetensors_parse("f", file, 8 + length + data, &config, &map, NULL, err);
    tensor_map_fini(&map);
    return status;
}

static void header_refused(const char *header, size_t data, enum status code, const char *word)
{
    struct error err = {0};
    expect_error(parse_header(header, data, &err), &err, code, "f", word);
}

#define NORM "'model.norm.weight':{'dtype':'F32','shape':[2],'data_offsets':[0,8]}"

static void headers(void **state)
{
    (void)state;
    struct error err = {0};
    expect_ok(
        parse_header("{" NORM ",'x':{'dtype':'U8','shape':[4],'data_offsets':[8,12]}}", 12, &err),
        &err, "the well-formed twin");
    expect_ok(parse_header("{'__metadata__':{'format':'pt'}," NORM "}  ", 8, &err), &err, "padded");
    header_refused("{" NORM ",'x':{'dtype':'U8','shape':[8],'data_offsets':[4,12]}}", 12,
                   ERR_FORMAT, "overlaps");
    header_refused("{" NORM ",'x':{'dtype':'U8','shape':[2],'data_offsets':[10,12]}}", 12,
                   ERR_FORMAT, "hole");
    header_refused("{" NORM ",'x':{'dtype':'U8','shape':[8],'data_offsets':[8,16]}}", 12,
                   ERR_FORMAT, "outside");
    header_refused("{" NORM ",'x':{'dtype':'U8','shape':[4],'data_offsets':[12,8]}}", 12,
                   ERR_FORMAT, "data_offsets");
    header_refused("{" NORM ",'x':{'dtype':'U8','shape':[4],'data_offsets':[-4,12]}}", 12,
                   ERR_FORMAT, "data_offsets");
    header_refused("{" NORM ",'x':{'dtype':'U8','shape':[5],'data_offsets':[8,12]}}", 12,
                   ERR_FORMAT, "do not take");
    header_refused("{" NORM ",'x':{'dtype':'U8','shape':[-1],'data_offsets':[8,12]}}", 12,
                   ERR_FORMAT, "shape");
    header_refused("{" NORM ",'x':{'dtype':'U8','shape':[1099511627776,1099511627776],"
                   "'data_offsets':[8,12]}}",
                   12, ERR_FORMAT, "shape");
    // A type that is not known matters where weights are read, and its bytes cannot be checked.
    expect_ok(
        parse_header("{" NORM ",'x':{'dtype':'F4','shape':[8],'data_offsets':[8,12]}}", 12, &err),
        &err, "F4, not used");
    header_refused("{'model.norm.weight':{'dtype':'F4','shape':[2],'data_offsets':[0,1]}}", 1,
                   ERR_UNSUPPORTED, "dtype F4 is not known");
    header_refused("{" NORM ",'x':{'dtype':'F4','shape':[8],'data_offsets':[8,16]}}", 12,
                   ERR_FORMAT, "outside");
    header_refused("{" NORM ",'x':{'dtype':'U8','shape':[4]}}", 12, ERR_FORMAT, "data_offsets");
    header_refused("{" NORM ",'x':{'shape':[4],'data_offsets':[8,12]}}", 12, ERR_FORMAT, "dtype");
    header_refused("{" NORM ",'x':7}", 12, ERR_FORMAT, "object");
    header_refused("{" NORM "," NORM "}", 8, ERR_FORMAT, "f");
    header_refused("{'model.norm.weight':{'dtype':'F32','shape':[1,2],'data_offsets':[0,8]}}", 8,
                   ERR_FORMAT, "shape");
    header_refused("{'model.norm.weight':{'dtype':'I32','shape':[2],'data_offsets':[0,8]}}", 8,
                   ERR_UNSUPPORTED, "I32");
    header_refused("{'model.norm.weight':{'dtype':'F8_E4M3','shape':[2],'data_offsets':[0,4]}}", 4,
                   ERR_FORMAT, "2 elements of F8_E4M3 do not take 4 bytes");
    header_refused("{" NORM ",'x':{'dtype':'I64','shape':[2],'data_offsets':[8,16]}}", 16,
                   ERR_FORMAT, "2 elements of I64 do not take 8 bytes");
    expect_ok(
        parse_header("{'model.norm.weight':{'dtype':'F8_E4M3','shape':[2],'data_offsets':[0,2]}}",
                     2, &err),
        &err, "F8_E4M3");
    header_refused("{", 0, ERR_FORMAT, "f");
    header_refused("[1]", 0, ERR_FORMAT, "object");
}

// Renames a tensor in the header without moving anything; from and to are equally long.
static void rename_in(char *file, size_t count, const char *from, const char *to)
{
    char *at = memmem(file, count, from, strlen(from));
    assert_non_null(at);
    memcpy(at, to, strlen(to));
}

static void missing_tensor(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    size_t count;
    char *file = slurp(WHOLE "/model.safetensors", &count);
    copy(WHOLE, "config.json", dir);
    rename_in(file, count, "model.layers.1.self_attn.o_proj.weight",
              "model.layers.7.self_attn.o_proj.weight");
    put(dir, "model.safetensors", file, count);
    open_fails(dir, ERR_FORMAT, "model.layers.1.self_attn.o_proj.weight is missing", dir);
    rename_in(file, count, "model.layers.7.self_attn.o_proj.weight",
              "model.layers.1.self_attn.o_proj.weight");
    put(dir, "model.safetensors", file, count);
    checkpoint_destroy(open_ok(dir));
    // config.json of other dimensions
    char *config = slurp(WHOLE "/config.json", &count),
         *width = strstr(config, "\"hidden_size\": 60");
    assert_non_null(width);
    width[15] = '9';
    put(dir, "config.json", config, count);
    open_fails(dir, ERR_FORMAT, "shape", "model.safetensors");
    free(config);
    free(file);
    scratch_remove(dir);
}

// config.json says tied; the tensors say otherwise.
static void heads_of_a_tied_model(void **state)
{
    (void)state;
    struct checkpoint *ck = open_ok(MODELS "qwen2-own-head");
    assert_false(ck->config.tied);
    assert_string_equal(checkpoint_unused_tensors(ck), "");
    assert_non_null(strstr(ck->remarks, "lm_head.weight counts"));
    checkpoint_destroy(ck);
    ck = open_ok(MODELS "qwen2-head-alone");
    assert_true(ck->config.tied);
    assert_string_equal(checkpoint_unused_tensors(ck), "");
    assert_non_null(strstr(ck->remarks, "lm_head.weight is the embedding too"));
    checkpoint_destroy(ck);
}

// The embedding's bytes again under the head's name: tied all the same, and the second is not used.
static void the_same_head_twice(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    size_t count;
    char *file = slurp(MODELS "qwen2-own-head/model.safetensors", &count);
    uint64_t header;
    memcpy(&header, file, 8);
    struct error err = {0};
    json_t *root = NULL;
    expect_ok(json_parse("header", file + 8, header, &root, &err), &err, "header");
    size_t begin[2];
    static const char *const names[] = {"lm_head.weight", "model.embed_tokens.weight"};
    for (int i = 0; i < 2; i++)
        begin[i] = (size_t)json_integer_value(
            json_array_get(json_object_get(json_object_get(root, names[i]), "data_offsets"), 0));
    memcpy(file + 8 + header + begin[0], file + 8 + header + begin[1], 97 * 32 * 2);
    put(dir, "model.safetensors", file, count);
    copy(MODELS "qwen2-own-head", "config.json", dir);
    struct checkpoint *ck = open_ok(dir);
    struct tensor_class classes[8];
    size_t n = checkpoint_tensor_classes(ck, classes, 8);
    assert_true(ck->config.tied);
    assert_string_equal(ck->remarks, "");
    assert_string_equal(checkpoint_unused_tensors(ck), "lm_head.weight\n");
    assert_string_equal(classes[n - 1].name, "other");
    assert_int_equal(classes[n - 1].tensors, 1);
    assert_int_equal(classes[n - 1].bytes, 97 * 32 * 2);
    checkpoint_destroy(ck);
    json_decref(root);
    free(file);
    scratch_remove(dir);
}

static void other_formats(void **state)
{
    (void)state;
    static const struct {
        const char *name, *word;
    } cases[] = {{"pytorch_model.bin", "save_pretrained"},
                 {"pytorch_model.bin.index.json", "save_pretrained"},
                 {"pytorch_model-00001-of-00002.bin", "save_pretrained"},
                 {"pytorch_model.fp16.bin", "save_pretrained"},
                 {"model-00001-of-00002.safetensors", "model.safetensors.index.json"},
                 {"weights.gguf", "the path of that file"},
                 {"adapter_model.safetensors", "merge_and_unload"},
                 {"consolidated.00.pth", "Hugging Face's format"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *dir = scratch_make();
        copy(WHOLE, "config.json", dir);
        open_fails(dir, ERR_IO, "neither model.safetensors nor its index", dir);
        put(dir, cases[i].name, "x", 1);
        open_fails(dir, ERR_UNSUPPORTED, cases[i].name, cases[i].word);
        scratch_remove(dir);
    }
}

static void a_folder_of_gguf_files(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    open_fails(dir, ERR_IO, "config.json", "No such file");
    put(dir, "weights.gguf", "x", 1);
    open_fails(dir, ERR_UNSUPPORTED, "weights.gguf", "give the path of that file");
    scratch_remove(dir);
}

static void index_file(void **state)
{
    (void)state;
    static const char *const shards[] = {
        "model-00001-of-00004.safetensors", "model-00002-of-00004.safetensors",
        "model-00003-of-00004.safetensors", "model-00004-of-00004.safetensors"};
    static const char index[] = "model.safetensors.index.json";
    const char *dir = scratch_make(), *from = MODELS "qwen2-sharded";
    size_t count;
    char *text = slurp(MODELS "qwen2-sharded/model.safetensors.index.json", &count), path[256];
    copy(from, "config.json", dir);
    copy(from, index, dir);
    for (int i = 0; i < 4; i++)
        copy(from, shards[i], dir);
    checkpoint_destroy(open_ok(dir));
    snprintf(path, sizeof path, "%s/%s", dir, shards[2]);
    unlink(path);
    open_fails(dir, ERR_IO, shards[2], "No such file");
    copy(from, shards[0], dir);
    put(dir, index, "{}", 2);
    open_fails(dir, ERR_FORMAT, index, "weight_map");
    put(dir, index, "{\"weight_map\":{\"a\":7}}", 22);
    open_fails(dir, ERR_FORMAT, index, "not a file name");
    put(dir, index, "{\"weight_map\":{\"a\":\"../x\"}}", 27);
    open_fails(dir, ERR_FORMAT, index, "../x");
    copy(from, shards[2], dir);
    char *wrong = strstr(text, shards[1]); // a tensor said to be in another shard
    assert_non_null(wrong);
    wrong[10] = '1';
    put(dir, index, text, count);
    open_fails(dir, ERR_FORMAT, "weight_map", "is not in");
    // the same tensors in two shards
    char *bytes = slurp(MODELS "qwen2-sharded/model-00001-of-00004.safetensors", &count);
    put(dir, shards[1], bytes, count);
    copy(from, index, dir);
    open_fails(dir, ERR_FORMAT, "in another file too", shards[1]);
    free(bytes);
    free(text);
    scratch_remove(dir);
}

// Every f16 and bf16 bit pattern, against the definition in base/fp.h's words.
static void half_types(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        unsigned char two[2] = {(unsigned char)bits, (unsigned char)(bits >> 8)};
        float wide;
        int exponent = (int)(bits >> 10 & 31), mantissa = (int)(bits & 1023);
        stored_to_f32(&wide, two, stored_find("f16"), 1);
        double want = exponent == 0 ? ldexp(mantissa, -24) : ldexp(1024 + mantissa, exponent - 25);
        if (exponent == 31)
            want = mantissa ? NAN : INFINITY;
        if (isnan(want))
            assert_true(isnan(wide));
        else
            assert_true((double)wide == (bits & 0x8000 ? -want : want));
        assert_int_equal(signbit(wide) != 0, bits >> 15);
        uint32_t raw;
        stored_to_f32(&wide, two, stored_find("bf16"), 1);
        memcpy(&raw, &wide, 4);
        assert_int_equal(raw, bits << 16);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole),
        cmocka_unit_test(values),
        cmocka_unit_test(sharded),
        cmocka_unit_test(content_hash),
        cmocka_unit_test(missing_and_cut),
        cmocka_unit_test(headers),
        cmocka_unit_test(missing_tensor),
        cmocka_unit_test(heads_of_a_tied_model),
        cmocka_unit_test(the_same_head_twice),
        cmocka_unit_test(other_formats),
        cmocka_unit_test(a_folder_of_gguf_files),
        cmocka_unit_test(index_file),
        cmocka_unit_test(half_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
