// test_gguf.c - GGUF: the same weights as the Hugging Face twin, every value type, broken files.
#include "tests/load/load_fixture.h"

#include "base/str.h"
#include "engine/load/gguf/gguf.h"

static void same_rows(struct checkpoint *a, struct checkpoint *b, enum tensor_role role, int layer)
{
    struct tensor_shape shape = tensor_shape(checkpoint_config(a), role);
    size_t cols = (size_t)shape.cols, bytes = cols * sizeof(float);
    float *x = malloc(bytes + 4), *y = malloc(bytes + 4);
    if (shape.rows > 1) // llama.cpp keeps vectors in f32
        assert_int_equal(a->ops->stored_type(a->self, role, layer),
                         b->ops->stored_type(b->self, role, layer));
    for (int row = 0; row < shape.rows; row++) {
        a->ops->read_rows(a->self, role, layer, row, 1, x, cols);
        b->ops->read_rows(b->self, role, layer, row, 1, y, cols);
        if (memcmp(x, y, bytes) != 0)
            fail_msg("%s of layer %d differs in row %d", tensor_role_name(role), layer, row);
    }
    free(x);
    free(y);
}

// Q and K of GQA models and odd head sizes, biases, f16 and bf16: all rows as in the folder.
static void twins(void **state)
{
    (void)state;
    static const char *const names[] = {"llama-gqa3",   "llama-wide-heads", "llama-llama3",
                                        "llama-linear", "qwen2-tied",       "mistral-window"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char folder[128], file[160];
        snprintf(folder, sizeof folder, MODELS "%s", names[i]);
        snprintf(file, sizeof file, "%s/model.gguf", folder);
        struct checkpoint *hf = open_ok(folder), *gguf = open_ok(file);
        const struct model_config *a = checkpoint_config(hf), *b = checkpoint_config(gguf);
        assert_string_equal(checkpoint_format(gguf), "gguf");
        assert_int_equal(a->layers, b->layers);
        assert_int_equal(a->width, b->width);
        assert_int_equal(a->ff, b->ff);
        assert_int_equal(a->vocab, b->vocab);
        assert_int_equal(a->heads, b->heads);
        assert_int_equal(a->kv_heads, b->kv_heads);
        assert_int_equal(a->head_dim, b->head_dim);
        assert_int_equal(a->rotary, b->rotary);
        assert_int_equal(a->rope, b->rope);
        assert_int_equal(a->window, b->window);
        assert_int_equal(a->tied, b->tied);
        assert_int_equal(a->qkv_bias, b->qkv_bias);
        assert_int_equal(a->max_positions, b->max_positions);
        assert_int_equal(a->bos, b->bos);
        assert_int_equal(a->eos, b->eos);
        assert_float_equal(a->norm_eps, b->norm_eps, 0);
        assert_float_equal(a->rope_theta, b->rope_theta, 0);
        for (int role = 0; role < T_ROLE_COUNT; role++)
            for (int layer = role <= T_FINAL_NORM ? -1 : 0;
                 layer < (role <= T_FINAL_NORM ? 0 : a->layers); layer++)
                if (tensor_shape(a, (enum tensor_role)role).rows)
                    same_rows(hf, gguf, (enum tensor_role)role, layer);
        checkpoint_destroy(hf);
        checkpoint_destroy(gguf);
    }
}

static void scaling(void **state)
{
    (void)state;
    struct checkpoint *ck = open_ok(MODELS "llama-llama3/model.gguf");
    const struct model_config *c = checkpoint_config(ck);
    assert_int_equal(c->rope_scaling, ROPE_SCALE_FACTORS);
    assert_float_equal(c->rope_factors[0], 1, 0);
    assert_float_equal(c->rope_factors[c->rotary / 2 - 1], 8, 0);
    assert_string_equal(checkpoint_unused_tensors(ck), "");
    checkpoint_destroy(ck);
    ck = open_ok(MODELS "llama-linear/model.gguf");
    assert_int_equal(checkpoint_config(ck)->rope_scaling, ROPE_SCALE_LINEAR);
    assert_float_equal(checkpoint_config(ck)->rope_factor, 4, 0);
    checkpoint_destroy(ck);
}

// ---- files made here ------------------------------------------------------------------------------

static void u32(struct str *s, uint32_t value)
{
    str_append_bytes(s, &value, 4);
}

static void u64(struct str *s, uint64_t value)
{
    str_append_bytes(s, &value, 8);
}

static void text(struct str *s, const char *value)
{
    u64(s, strlen(value));
    str_append(s, value);
}

static void key_u32(struct str *s, const char *key, uint32_t value)
{
    text(s, key);
    u32(s, GGUF_U32);
    u32(s, value);
}

enum { WIDTH = 4, VOCAB = 3 };

// The least metadata of a llama, with `extra` (`extras` keys) after it.
static void metadata(struct str *s, uint64_t tensors, const struct str *extra, uint64_t extras)
{
    float eps = 1e-5f;
    str_append(s, "GGUF");
    u32(s, 3);
    u64(s, tensors);
    u64(s, 7 + extras);
    text(s, "general.architecture");
    u32(s, GGUF_STRING);
    text(s, "llama");
    key_u32(s, "llama.block_count", 1);
    key_u32(s, "llama.embedding_length", WIDTH);
    key_u32(s, "llama.feed_forward_length", 2);
    key_u32(s, "llama.attention.head_count", 1);
    key_u32(s, "llama.context_length", 16);
    text(s, "llama.attention.layer_norm_rms_epsilon");
    u32(s, GGUF_F32);
    str_append_bytes(s, &eps, 4);
    if (extra)
        str_append_bytes(s, extra->data, extra->length);
}

struct tensor {
    const char *name;
    uint64_t cols, rows;
    uint32_t type;
    int64_t offset; // -1: where it belongs
};

static const struct tensor all[] = {
    {"token_embd.weight", WIDTH, VOCAB, 0, -1},   {"output_norm.weight", WIDTH, 0, 0, -1},
    {"blk.0.attn_norm.weight", WIDTH, 0, 0, -1},  {"blk.0.ffn_norm.weight", WIDTH, 0, 0, -1},
    {"blk.0.attn_q.weight", WIDTH, WIDTH, 0, -1}, {"blk.0.attn_k.weight", WIDTH, WIDTH, 0, -1},
    {"blk.0.attn_v.weight", WIDTH, WIDTH, 0, -1}, {"blk.0.attn_output.weight", WIDTH, WIDTH, 0, -1},
    {"blk.0.ffn_gate.weight", WIDTH, 2, 0, -1},   {"blk.0.ffn_up.weight", WIDTH, 2, 0, -1},
    {"blk.0.ffn_down.weight", 2, WIDTH, 0, -1},
};
enum { TENSORS = sizeof all / sizeof *all };

static void tensors(struct str *s, const struct tensor *list, size_t count)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        const struct tensor *t = &list[i];
        text(s, t->name);
        u32(s, t->rows ? 2 : 1);
        u64(s, t->cols);
        if (t->rows)
            u64(s, t->rows);
        u32(s, t->type);
        u64(s, t->offset >= 0 ? (uint64_t)t->offset : offset);
        offset += (t->cols * (t->rows ? t->rows : 1) * 4 + 31) / 32 * 32;
    }
    while (s->length % 32)
        str_append_bytes(s, "", 1);
    for (uint64_t i = 0; i < offset; i++)
        str_append_bytes(s, "", 1);
}

static enum status parse_bytes(const struct str *s, size_t bytes, struct error *err)
{
    struct gguf *g;
    // A copy of just this size, so that the sanitizer sees a read beyond it.
    unsigned char *exact = malloc(bytes ? bytes : 1);
    memcpy(exact, s->data, bytes);
    enum status status = gguf_parse("f.gguf", exact, bytes, &g, err);
    gguf_free(g);
    free(exact);
    return status;
}

static void made(const struct tensor *list, size_t count, const struct str *extra, uint64_t extras,
                 enum status code, const char *word)
{
    struct error err = {0};
    struct str s = {0};
    metadata(&s, count, extra, extras);
    tensors(&s, list, count);
    enum status status = parse_bytes(&s, s.length, &err);
    str_fini(&s);
    if (code == OK)
        expect_ok(status, &err, word);
    else
        expect_error(status, &err, code, "f.gguf", word);
}

static void changed_tensor(size_t which, struct tensor to, enum status code, const char *word)
{
    struct tensor list[TENSORS];
    memcpy(list, all, sizeof all);
    list[which] = to;
    made(list, TENSORS, NULL, 0, code, word);
}

static void layouts(void **state)
{
    (void)state;
    made(all, TENSORS, NULL, 0, OK, "the well-formed twin");
    made(all, TENSORS - 1, NULL, 0, ERR_FORMAT, "blk.0.ffn_down.weight is missing");
    made(all + 1, TENSORS - 1, NULL, 0, ERR_FORMAT, "token_embd.weight is missing");
    changed_tensor(1, (struct tensor){"output_norm.weight", WIDTH, 0, 0, 8}, ERR_FORMAT, "aligned");
    changed_tensor(1, (struct tensor){"output_norm.weight", WIDTH, 0, 0, 0}, ERR_FORMAT,
                   "overlaps");
    changed_tensor(1, (struct tensor){"output_norm.weight", WIDTH, 0, 0, 1 << 20}, ERR_FORMAT,
                   "hole");
    changed_tensor(10, (struct tensor){"blk.0.ffn_down.weight", 2, WIDTH, 0, 512}, ERR_FORMAT,
                   "outside");
    changed_tensor(10, (struct tensor){"blk.0.ffn_down.weight", 2, WIDTH, 0, INT64_MAX - 31},
                   ERR_FORMAT, "outside");
    changed_tensor(4, (struct tensor){"blk.0.attn_q.weight", WIDTH, WIDTH, 8, -1}, ERR_FORMAT,
                   "rows of 4 are no multiple of Q8_0's blocks of 32");
    changed_tensor(4, (struct tensor){"blk.0.attn_q.weight", WIDTH, WIDTH, 10, -1}, ERR_UNSUPPORTED,
                   "type Q2_K (10) is not supported (F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, "
                   "Q4_K, Q5_K, Q6_K are)");
    changed_tensor(4, (struct tensor){"blk.0.attn_q.weight", WIDTH, WIDTH, 26, -1}, ERR_UNSUPPORTED,
                   "type I32 (26)");
    changed_tensor(4, (struct tensor){"blk.0.attn_q.weight", WIDTH, WIDTH, 999, -1},
                   ERR_UNSUPPORTED, "999");
    changed_tensor(10, (struct tensor){"blk.0.ffn_down.weight", WIDTH, 2, 0, -1}, ERR_FORMAT,
                   "shape");
    changed_tensor(10, (struct tensor){"blk.0.ffn_norm.weight", WIDTH, 0, 0, -1}, ERR_FORMAT,
                   "twice");
    changed_tensor(10, (struct tensor){"blk.0.attn_q_norm.weight", WIDTH, 0, 0, -1},
                   ERR_UNSUPPORTED, "blk.0.attn_q_norm.weight");
    changed_tensor(10, (struct tensor){"x", UINT64_C(1) << 60, 16, 0, -1}, ERR_FORMAT, "absurdly");
    changed_tensor(10, (struct tensor){"", 4, 0, 0, -1}, ERR_FORMAT, "name");
}

// ---- parts ----------------------------------------------------------------------------------------

// Part `no` of `count`: the first holds the metadata and `mine` tensors of the list, others tensors alone.
static void part(const char *dir, const char *name, const struct tensor *list, size_t mine, int no,
                 int count)
{
    struct str s = {0}, extra = {0};
    key_u32(&extra, "split.no", (uint32_t)no);
    key_u32(&extra, "split.count", (uint32_t)count);
    if (no == 0) {
        metadata(&s, mine, &extra, 2);
    } else {
        str_append(&s, "GGUF");
        u32(&s, 3);
        u64(&s, mine);
        u64(&s, 2);
        str_append_bytes(&s, extra.data, extra.length);
    }
    tensors(&s, list, mine);
    put(dir, name, s.data, s.length);
    str_fini(&extra);
    str_fini(&s);
}

static void open_part(const char *dir, const char *name, enum status code, const char *word)
{
    struct error err = {0};
    struct checkpoint *ck = NULL;
    char path[512];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    enum status status = checkpoint_open(path, &ck, &err);
    if (code == OK)
        expect_ok(status, &err, path);
    else
        expect_error(status, &err, code, word, ".gguf");
    checkpoint_destroy(ck);
}

#define PART(i) "m-0000" #i "-of-00003.gguf"

static void parts(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    part(dir, PART(1), all, 0, 0, 3); // as gguf-split --no-tensor-first-split makes it
    part(dir, PART(2), all, 6, 1, 3);
    open_part(dir, PART(1), ERR_IO, PART(3)); // which is not there
    part(dir, PART(3), all + 6, TENSORS - 6, 2, 3);
    open_part(dir, PART(1), OK, NULL);
    open_part(dir, PART(2), ERR_USAGE, "part 2 of 3: name the first one");
    part(dir, PART(1), all, 1, 0, 3);
    open_part(dir, PART(1), ERR_FORMAT, "is in another part");
    part(dir, PART(1), all, 0, 0, 3);
    part(dir, PART(3), all + 6, TENSORS - 6, 1, 3);
    open_part(dir, PART(1), ERR_FORMAT, "says that it is part 2 of 3");
    part(dir, PART(3), all + 6, TENSORS - 7, 2, 3);
    open_part(dir, PART(1), ERR_FORMAT, "ffn_down.weight is missing");
    part(dir, PART(1), all, 0, 3, 3);
    open_part(dir, PART(1), ERR_FORMAT, "part 3 of 3");
    part(dir, PART(1), all, 0, 0, 1 << 20);
    open_part(dir, PART(1), ERR_FORMAT, "not a number");
    part(dir, "other.gguf", all, TENSORS, 0, 3);
    open_part(dir, "other.gguf", ERR_USAGE, "does not end with -00001-of-00003.gguf");
    part(dir, "other.gguf", all, TENSORS, 0, 0); // written for what is whole
    open_part(dir, "other.gguf", OK, NULL);
    scratch_remove(dir);
}

// What the description takes from a tensor is read in the part that has it.
static void factors_in_another_part(void **state)
{
    (void)state;
    struct tensor list[TENSORS + 1];
    const float factors[] = {1, 2.5f};
    const char *dir = scratch_make();
    char path[128];
    size_t count;
    memcpy(list, all, sizeof all);
    list[TENSORS] = (struct tensor){"rope_freqs.weight", WIDTH / 2, 0, 0, -1};
    part(dir, PART(1), list, 0, 0, 3);
    part(dir, PART(2), list, 6, 1, 3);
    part(dir, PART(3), list + 6, TENSORS - 5, 2, 3);
    snprintf(path, sizeof path, "%s/" PART(3), dir);
    char *bytes = slurp(path, &count);
    memcpy(bytes + count - 32, factors, sizeof factors); // the last tensor, filled up to 32 bytes
    put(dir, PART(3), bytes, count);
    snprintf(path, sizeof path, "%s/" PART(1), dir);
    struct checkpoint *ck = open_ok(path);
    assert_int_equal(checkpoint_config(ck)->rope_scaling, ROPE_SCALE_FACTORS);
    assert_memory_equal(checkpoint_config(ck)->rope_factors, factors, sizeof factors);
    checkpoint_destroy(ck);
    free(bytes);
    scratch_remove(dir);
}

static void heads(void **state)
{
    (void)state;
    struct error err = {0};
    struct str s = {0};
    metadata(&s, TENSORS, NULL, 0);
    tensors(&s, all, TENSORS);
    for (size_t cut = 0; cut + 32 < s.length; cut += cut < 900 ? 1 : 37) {
        enum status status = parse_bytes(&s, cut, &err);
        expect_error(status, &err, ERR_FORMAT, "f.gguf", "");
    }
    expect_ok(parse_bytes(&s, s.length, &err), &err, "the well-formed twin");
    char *version = s.data + 4, *tensor_count = s.data + 8, *key_count = s.data + 16;
    *version = 1;
    expect_error(parse_bytes(&s, s.length, &err), &err, ERR_UNSUPPORTED, "version 1", "f.gguf");
    memcpy(version, "\0\0\0\3", 4);
    expect_error(parse_bytes(&s, s.length, &err), &err, ERR_UNSUPPORTED, "big-endian", "f.gguf");
    memcpy(version, "\3\0\0\0", 4);
    memset(tensor_count, 0xff, 8);
    expect_error(parse_bytes(&s, s.length, &err), &err, ERR_FORMAT, "tensors are more",
                 "truncated");
    memset(tensor_count, 0, 8);
    expect_error(parse_bytes(&s, 40, &err), &err, ERR_FORMAT, "metadata keys are more",
                 "truncated");
    memset(key_count, 0x7f, 8);
    expect_error(parse_bytes(&s, s.length, &err), &err, ERR_FORMAT, "metadata keys; at most 4096",
                 "f.gguf");
    s.data[0] = 'X';
    expect_error(parse_bytes(&s, s.length, &err), &err, ERR_FORMAT, "GGUF", "f.gguf");
    str_fini(&s);
}

static void entry(struct str *s, const char *key, uint32_t type, const void *value, size_t bytes)
{
    text(s, key);
    u32(s, type);
    str_append_bytes(s, value, bytes);
}

static void array_head(struct str *s, const char *key, uint32_t element, uint64_t count)
{
    text(s, key);
    u32(s, GGUF_ARRAY);
    u32(s, element);
    u64(s, count);
}

// Every value type is walked over; the last key is read right.
static void value_types(void **state)
{
    (void)state;
    static const char zeros[8] = {0};
    static const unsigned char sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
    struct str s = {0};
    uint64_t keys = 0;
    for (uint32_t type = 0; type <= GGUF_F64; type++) {
        char key[16];
        snprintf(key, sizeof key, "k%u", type);
        if (type == GGUF_STRING)
            entry(&s, key, type, "\5\0\0\0\0\0\0\0hello", 13);
        else if (type == GGUF_ARRAY)
            array_head(&s, key, GGUF_ARRAY, 2), u32(&s, GGUF_U8), u64(&s, 3), str_append(&s, "abc"),
                u32(&s, GGUF_STRING), u64(&s, 1), text(&s, "x");
        else
            entry(&s, key, type, zeros, sizes[type]);
        keys++;
    }
    key_u32(&s, "llama.attention.sliding_window", 7);
    made(all, TENSORS, &s, keys + 1, OK, "all types");
    str_fini(&s);
}

static void bad_entry(struct str *s, enum status code, const char *word)
{
    made(all, TENSORS, s, 1, code, word);
    str_fini(s);
}

static void bad_values(void **state)
{
    (void)state;
    struct str s = {0};
    entry(&s, "k", 13, "", 0);
    bad_entry(&s, ERR_FORMAT, "value type 13");
    entry(&s, "k", GGUF_STRING, "\377\377\377\377\377\377\377\377", 8);
    bad_entry(&s, ERR_FORMAT, "string");
    array_head(&s, "k", GGUF_U64, UINT64_MAX / 4);
    bad_entry(&s, ERR_FORMAT, "array");
    array_head(&s, "k", GGUF_STRING, 1 << 30);
    bad_entry(&s, ERR_FORMAT, "array");
    array_head(&s, "k", GGUF_ARRAY, 1);
    for (int i = 0; i < 5; i++)
        u32(&s, GGUF_ARRAY), u64(&s, 1);
    bad_entry(&s, ERR_FORMAT, "nested");
    array_head(&s, "k", 77, 1);
    bad_entry(&s, ERR_FORMAT, "value type 77");
    key_u32(&s, "llama.block_count", 1);
    bad_entry(&s, ERR_FORMAT, "occurs twice");
    key_u32(&s, "general.alignment", 24);
    bad_entry(&s, ERR_FORMAT, "general.alignment");
    key_u32(&s, "general.alignment", 0);
    bad_entry(&s, ERR_FORMAT, "general.alignment");
    key_u32(&s, "llama.expert_count", 8);
    bad_entry(&s, ERR_FORMAT, "expert_used_count: 0 of 8 experts");
    key_u32(&s, "llama.rope.dimension_count", 2);
    bad_entry(&s, ERR_UNSUPPORTED, "2 of 4");
    key_u32(&s, "llama.attention.head_count_kv", 3);
    bad_entry(&s, ERR_FORMAT, "KV heads");
    array_head(&s, "llama.attention.head_count_kv", GGUF_U32, 1), u32(&s, 1);
    bad_entry(&s, ERR_UNSUPPORTED, "each layer");
    text(&s, "llama.rope.scaling.type"), u32(&s, GGUF_STRING), text(&s, "dynamic");
    bad_entry(&s, ERR_UNSUPPORTED, "dynamic");
    key_u32(&s, "tokenizer.ggml.bos_token_id", VOCAB);
    bad_entry(&s, ERR_FORMAT, "bos 3");
}

static void files(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    char path[128];
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    put(dir, "m.gguf", "", 0);
    open_fails(path, ERR_FORMAT, path, "GGUF");
    put(dir, "m.gguf", "not a model at all", 18);
    open_fails(path, ERR_FORMAT, path, "GGUF");
    copy(MODELS "llama-gqa3", "model.gguf", dir);
    snprintf(path, sizeof path, "%s/model.gguf", dir);
    size_t count;
    char *bytes = slurp(path, &count);
    put(dir, "model.gguf", bytes, count / 2);
    open_fails(path, ERR_FORMAT, "outside", "truncated");
    put(dir, "model.gguf", bytes, count);
    checkpoint_destroy(open_ok(path));
    free(bytes);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(twins),
        cmocka_unit_test(scaling),
        cmocka_unit_test(layouts),
        cmocka_unit_test(parts),
        cmocka_unit_test(factors_in_another_part),
        cmocka_unit_test(heads),
        cmocka_unit_test(value_types),
        cmocka_unit_test(bad_values),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
