// test_experts.c - files with experts that do not fit their description, and experts in every scheme.
#include "tests/load/load_fixture.h"

// A copy of the golden model with one word of its config.json replaced.
static const char *mixtral_with(const char *from, const char *to)
{
    const char *dir = scratch_make();
    size_t count;
    char *text = slurp(MODELS "mixtral/config.json", &count), *hit = strstr(text, from);
    struct str out = {0};
    assert_non_null(hit);
    str_append_bytes(&out, text, (size_t)(hit - text));
    str_append(&out, to);
    str_append(&out, hit + strlen(from));
    put(dir, "config.json", str_text(&out), out.length);
    copy(MODELS "mixtral", "model.safetensors", dir);
    str_fini(&out);
    free(text);
    return dir;
}

static void folders_that_do_not_fit(void **state)
{
    (void)state;
    static const struct {
        const char *from, *to;
        enum status code;
        const char *word;
    } cases[] = {
        {"\"num_local_experts\": 5", "\"num_local_experts\": 6", ERR_FORMAT, "(6, 28)"},
        {"\"num_local_experts\": 5", "\"num_local_experts\": 4", ERR_UNSUPPORTED, "experts.4.w"},
        {"\"num_local_experts\": 5", "\"num_local_experts\": 0", ERR_FORMAT, "num_local_experts"},
        {"\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 6", ERR_FORMAT, "experts a token"},
        {"\"num_experts_per_tok\": 2", "\"num_experts_per_tok\": 0", ERR_FORMAT, "experts a token"},
        {"\"intermediate_size\": 14", "\"intermediate_size\": 12", ERR_FORMAT, "(14, 28)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *dir = mixtral_with(cases[i].from, cases[i].to);
        open_fails(dir, cases[i].code, cases[i].word, dir);
        scratch_remove(dir);
    }
}

// Another value for a key of four bytes in a copy of a GGUF file.
static void gguf_with(const char *name, const char *key, uint32_t value, const char *word)
{
    const char *dir = scratch_make();
    char from[128], to[128];
    size_t count;
    snprintf(from, sizeof from, MODELS "mixtral/%s", name);
    snprintf(to, sizeof to, "%s/m.gguf", dir);
    char *bytes = slurp(from, &count), *hit = memmem(bytes, count, key, strlen(key));
    assert_non_null(hit);
    memcpy(hit + strlen(key) + 4, &value, 4); // behind the value's type
    put(dir, "m.gguf", bytes, count);
    open_fails(to, ERR_FORMAT, word, to);
    free(bytes);
    scratch_remove(dir);
}

static void gguf_files_that_do_not_fit(void **state)
{
    (void)state;
    gguf_with("model.gguf", "llama.expert_count", 4, "_exps.weight");
    gguf_with("model.gguf", "llama.expert_used_count", 9, "expert_used_count");
    gguf_with("model.gguf", "llama.expert_used_count", 0, "expert_used_count");
    gguf_with("older.gguf", "llama.expert_count", 6, "(6, 28)");
    gguf_with("older.gguf", "llama.feed_forward_length", 12, "ffn_");
}

// Experts of one role in two types of the same size: the reported type holds both, and neither is read as the other.
static void experts_of_several_types(void **state)
{
    (void)state;
    static const char name[] = "blk.0.ffn_gate.1.weight";
    const char *dir = scratch_make();
    char path[128];
    size_t count;
    uint32_t type;
    char *bytes = slurp(MODELS "mixtral/older.gguf", &count), *hit = memmem(bytes, count, name, 23);
    assert_non_null(hit);
    char *at = hit + strlen(name) + 4 + 2 * 8; // behind the number of dimensions, and those
    memcpy(&type, at, 4);
    assert_true(type == 1 || type == 30); // f16, bf16
    type = type == 1 ? 30 : 1;
    memcpy(at, &type, 4);
    put(dir, "m.gguf", bytes, count);
    snprintf(path, sizeof path, "%s/m.gguf", dir);
    struct checkpoint *ck = open_ok(path), *same = open_ok(MODELS "mixtral/older.gguf");
    struct stored_form form;
    assert_int_equal(ck->ops->stored_type(ck->self, T_EXPERT_GATE, 0), DT_F32);
    assert_true(ck->ops->stored_form(ck->self, T_EXPERT_GATE, 0, &form));
    assert_string_equal(form.type, "mixed");
    assert_int_equal(form.bytes, 5 * 14 * 28 * 2);
    assert_int_equal(ck->ops->stored_type(ck->self, T_EXPERT_UP, 0),
                     same->ops->stored_type(same->self, T_EXPERT_UP, 0));
    assert_false(ck->ops->stored_form(ck->self, T_EXPERT_UP, 0, &form));
    checkpoint_destroy(ck);
    checkpoint_destroy(same);
    free(bytes);
    scratch_remove(dir);
}

// NaN in one element of the last expert's last tensor: found while packing, and said where.
static void weights_that_are_no_numbers(void **state)
{
    (void)state;
    static const char *const schemes[] = {"f32", "bf16", "int8", "int4-rtn", "fp8", "fp8-w8a8"};
    static const uint16_t bad[] = {0x7fc0, 0xff80}; // NaN, -inf in bf16
    const char *dir = scratch_make();
    size_t count;
    char *bytes = slurp(MODELS "mixtral/model.safetensors", &count);
    uint64_t header;
    memcpy(&header, bytes, 8);
    const char *name = "\"model.layers.1.block_sparse_moe.experts.4.w2.weight\"";
    const char *offsets = strstr(strstr(bytes + 8, name), "data_offsets\":[");
    size_t begin = strtoull(strchr(offsets, '[') + 1, NULL, 10);
    struct device *device = device_of(2);
    copy(MODELS "mixtral", "config.json", dir);
    for (size_t i = 0; i < sizeof schemes / sizeof *schemes; i++) {
        struct scheme scheme =
            scheme_resolve(scheme_find(schemes[i]), DT_BF16, host_target(ISA_ALL));
        struct engine_options options = {.device = device, .scheme = &scheme};
        struct error err = {0};
        struct model *model = NULL;
        memcpy(bytes + 8 + header + begin + 2 * (3 * 14 + 5), &bad[i % 2], 2); // row 3 of (28, 14)
        put(dir, "model.safetensors", bytes, count);
        struct checkpoint *ck = open_ok(dir);
        enum status status = model_load(ck, &options, NULL, NULL, &model, &err);
        assert_null(model);
        expect_error(status, &err, ERR_FORMAT, "experts' downs of layer 1",
                     "row 115"); // 4 * 28 + 3
        checkpoint_destroy(ck);
    }
    device_close(device);
    free(bytes);
    scratch_remove(dir);
}

// Every scheme multiplies each expert's own rows: what rounding costs stays rounding. Measured on these small
// models with wide scores, in shares of the largest logit: int8 1.4 %, fp8 7 %, int4 12 %.
static void schemes_stay_near(void **state)
{
    (void)state;
    static const struct {
        const char *scheme;
        double bound;
    } cases[] = {
        {"f16", 0.01}, {"int8", 0.05}, {"fp8", 0.15}, {"fp8-w8a8", 0.25}, {"int4-rtn", 0.3}};
    enum { COUNT = 12 };
    int32_t ids[COUNT];
    struct device *device = device_of(2);
    static const char *const paths[] = {MODELS "mixtral", MODELS "qwen2-moe"};
    for (size_t m = 0; m < 2; m++) {
        struct model *exact = load(paths[m], "f32", device);
        int vocab = model_config(exact)->vocab;
        struct context_options options = {
            .batch = 1, .positions = COUNT, .chunk = COUNT, .kv = DT_F32};
        struct context *a = context_of(exact, options);
        for (int i = 0; i < COUNT; i++)
            ids[i] = (7 * i + 3) % vocab;
        const float *want = step(a, 0, ids, COUNT, LOGITS_LAST);
        for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
            struct model *model = load(paths[m], cases[i].scheme, device);
            struct context *b = context_of(model, options);
            const float *got = step(b, 0, ids, COUNT, LOGITS_LAST);
            double off = largest_difference(got, want, (size_t)vocab) /
                         largest_magnitude(want, (size_t)vocab);
            print_message("%s %s: %.3f\n", paths[m], cases[i].scheme, off);
            if (!(off <= cases[i].bound) || off == 0)
                fail_msg("%s, %s: %g of the largest logit", paths[m], cases[i].scheme, off);
            context_destroy(b);
            model_destroy(model);
        }
        context_destroy(a);
        model_destroy(exact);
    }
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(folders_that_do_not_fit),  cmocka_unit_test(gguf_files_that_do_not_fit),
        cmocka_unit_test(experts_of_several_types), cmocka_unit_test(weights_that_are_no_numbers),
        cmocka_unit_test(schemes_stay_near),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
