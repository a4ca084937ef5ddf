// test_convert.c - a converted checkpoint is the same model: description, weights, logits, ids of text; what cannot
// be written is refused, and nothing is left behind.
#include "tests/load/load_fixture.h"

#include "base/str.h"
#include "engine/load/gguf/gguf.h"
#include "engine/save/gguf_plan.h"
#include "tests/broken_disk.h"
#include "tests/pid.h"

static const char *target(const char *dir)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/x.gguf", dir);
    return path;
}

static struct conversion convert_ok(struct checkpoint *ck, const char *type, const char *path)
{
    struct error err = {0};
    struct conversion report;
    expect_ok(checkpoint_convert(ck, type, path, NULL, NULL, &report, &err), &err, path);
    return report;
}

// Every row equal, or with `type` equal to what becomes of it when it is written in that type.
static void same_rows(struct checkpoint *a, struct checkpoint *b, const struct stored_type *type)
{
    const struct model_config *config = checkpoint_config(a);
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        struct tensor_shape shape = tensor_shape(config, (enum tensor_role)role);
        size_t cols = (size_t)shape.cols;
        float *x = malloc(cols * sizeof *x + 4), *y = malloc(cols * sizeof *y + 4);
        unsigned char *stored = malloc(cols * sizeof *x + 4);
        bool outside = role <= T_FINAL_NORM;
        for (int layer = outside ? -1 : 0; layer < (outside ? 0 : config->layers); layer++)
            for (int row = 0; row < shape.rows; row++) {
                a->ops->read_rows(a->self, (enum tensor_role)role, layer, row, 1, x, cols);
                b->ops->read_rows(b->self, (enum tensor_role)role, layer, row, 1, y, cols);
                const struct stored_type *as = type;
                if (type && cols % (size_t)type->block)
                    as = stored_find("f16");
                if (type && shape.rows > 1) {
                    stored_from_f32(stored, x, as, cols);
                    stored_to_f32(x, stored, as, cols);
                }
                if (memcmp(x, y, cols * sizeof *x) != 0)
                    fail_msg("%s of layer %d differs in row %d",
                             tensor_role_name((enum tensor_role)role), layer, row);
            }
        free(x);
        free(y);
        free(stored);
    }
}

static void logits_of(const char *path, float *out, int *vocab)
{
    struct device *device = device_of(1);
    struct model *model = load(path, "f32", device);
    int32_t ids[40];
    *vocab = model_config(model)->vocab;
    for (int i = 0; i < 40; i++)
        ids[i] = (i * 37 + 5) % *vocab;
    struct context *ctx = context_of(
        model, (struct context_options){.batch = 1, .positions = 40, .chunk = 40, .kv = DT_F32});
    memcpy(out, step(ctx, 0, ids, 40, LOGITS_LAST), (size_t)*vocab * sizeof *out);
    context_destroy(ctx);
    model_destroy(model);
    device_close(device);
}

// llama3's frequencies go through a division and back, so that equality is not asked to the last bit.
static void same_logits(const char *from, const char *to)
{
    static float a[4096], b[4096];
    int vocab;
    logits_of(from, a, &vocab);
    logits_of(to, b, &vocab);
    double worst = largest_difference(a, b, (size_t)vocab);
    if (!(worst <= 1e-5 * largest_magnitude(a, (size_t)vocab)))
        fail_msg("%s: logits differ by %g from those of %s", to, worst, from);
}

static const char *const models[] = {"llama-gqa3",
                                     "llama-wide-heads",
                                     "llama-llama3",
                                     "llama-linear",
                                     "llama-yarn",
                                     "llama-two-scalings",
                                     "llama-llama3-bare",
                                     "qwen2-tied",
                                     "qwen2-own-head",
                                     "qwen2-head-alone",
                                     "qwen2-sharded",
                                     "mistral-window",
                                     "qwen3",
                                     "phi-2",
                                     "phi3",
                                     "phi3-longrope",
                                     "gemma",
                                     "gemma2",
                                     "gpt2",
                                     "gpt-bigcode",
                                     "falcon-7b",
                                     "falcon-40b",
                                     "mpt",
                                     "bloom",
                                     "mixtral",
                                     "qwen2-moe",
                                     "qwen2-moe-normed",
                                     "awq-g32-qwen2"};

static void a_converted_model_is_the_same(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        const char *dir = scratch_make();
        char folder[128];
        snprintf(folder, sizeof folder, MODELS "%s", models[i]);
        struct checkpoint *from = open_ok(folder);
        struct conversion report = convert_ok(from, NULL, target(dir));
        assert_int_equal(report.unblocked, 0);
        struct checkpoint *to = open_ok(target(dir));
        print_message("%s: %zu tensors, %s\n", models[i], report.tensors, report.no_tokenizer);
        same_rows(from, to, NULL);
        same_logits(folder, target(dir));
        checkpoint_destroy(from);
        checkpoint_destroy(to);
        scratch_remove(dir);
    }
}

// From GGUF, too, and in every type; rows that are no whole blocks as f16, and counted.
static void types(void **state)
{
    (void)state;
    static const char *const names[] = {"f32", "f16", "bf16", "q8_0", "q4_0"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        const char *dir = scratch_make();
        struct checkpoint *from = open_ok(MODELS "llama-llama3/model.gguf");
        struct conversion report = convert_ok(from, names[i], target(dir));
        struct checkpoint *to = open_ok(target(dir));
        struct tensor_class classes[8];
        assert_int_equal(report.unblocked, i < 3 ? 0 : 2); // both layers' down: rows of 50
        same_rows(from, to, stored_find(names[i]));
        size_t count = checkpoint_tensor_classes(to, classes, 8);
        for (size_t c = 0; c < count; c++)
            if (strcmp(classes[c].name, "attention") == 0)
                assert_string_equal(classes[c].type, names[i]);
        checkpoint_destroy(from);
        checkpoint_destroy(to);
        scratch_remove(dir);
    }
}

static void same_ids(struct checkpoint *a, struct checkpoint *b, const char *text_path)
{
    struct error err = {0};
    struct tokenizer *x, *y;
    int32_t *ids, *others;
    size_t count, other_count, bytes;
    char *text = slurp(text_path, &bytes);
    expect_ok(checkpoint_tokenizer(a, &x, &err), &err, "the source's tokenizer");
    expect_ok(checkpoint_tokenizer(b, &y, &err), &err, "the converted tokenizer");
    expect_ok(tokenizer_encode(x, text, bytes, &ids, &count, &err), &err, text_path);
    expect_ok(tokenizer_encode(y, text, bytes, &others, &other_count, &err), &err, text_path);
    assert_true(count > 100);
    assert_int_equal(count, other_count);
    assert_memory_equal(ids, others, count * sizeof *ids);
    free(ids);
    free(others);
    free(text);
    tokenizer_destroy(x);
    tokenizer_destroy(y);
}

static void the_tokenizer_goes_along(void **state)
{
    (void)state;
    static const struct {
        const char *from, *pre;
    } cases[] = {{"models/reference", "gpt-2"},
                 {MODELS "llama-llama3", "llama-bpe"},
                 {MODELS "qwen2-tied", "qwen2"},
                 {MODELS "qwen2-tied/model.gguf", "qwen2"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const char *dir = scratch_make();
        struct error err = {0};
        struct gguf *g;
        struct gguf_text pre = {NULL, 0};
        struct file_map map;
        struct checkpoint *from = open_ok(cases[i].from);
        assert_string_equal(convert_ok(from, "f16", target(dir)).no_tokenizer, "");
        struct checkpoint *to = open_ok(target(dir));
        same_ids(from, to, "tests/golden/tokenizer/texts.bin");
        expect_ok(file_map(target(dir), &map, &err), &err, "map");
        expect_ok(gguf_parse("x.gguf", map.data, map.size_bytes, &g, &err), &err, "parse");
        assert_true(gguf_string(g, "tokenizer.ggml.pre", &pre));
        assert_int_equal(pre.bytes, strlen(cases[i].pre));
        assert_memory_equal(pre.text, cases[i].pre, pre.bytes);
        // As many tokens as the embedding has rows: llama.cpp takes the one from the other.
        assert_int_equal(gguf_find(g, "tokenizer.ggml.tokens")->count,
                         checkpoint_config(from)->vocab);
        gguf_free(g);
        file_unmap(&map);
        checkpoint_destroy(from);
        checkpoint_destroy(to);
        scratch_remove(dir);
    }
}

// ---- what is refused --------------------------------------------------------------------------------

static void refuse(const char *from, const char *type, const char *path, enum status code,
                   const char *word)
{
    struct error err = {0};
    struct conversion report;
    struct checkpoint *ck = open_ok(from);
    enum status status = checkpoint_convert(ck, type, path, NULL, NULL, &report, &err);
    expect_error(status, &err, code, word, "");
    checkpoint_destroy(ck);
}

// The types it names are those that it writes.
static void names_its_types(void **state)
{
    (void)state;
    static const char *const expected[] = {"f32", "f16", "bf16", "q8_0", "q4_0"};
    const char *found[8];
    assert_int_equal(checkpoint_convert_types(found, 8), 5);
    for (size_t i = 0; i < 5; i++)
        assert_string_equal(found[i], expected[i]);
    assert_int_equal(checkpoint_convert_types(found, 2), 2);
}

static void refusals(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    refuse("models/reference", "q4_k", target(dir), ERR_USAGE,
           "--type: 'q4_k' cannot be written (known: f32, f16, bf16, q8_0, q4_0)");
    refuse("models/reference", "i8", target(dir), ERR_USAGE, "--type: 'i8' cannot be written");
    refuse("models/reference", "q8-0", target(dir), ERR_USAGE,
           "--type: 'q8-0' cannot be written: did you mean 'q8_0'?");
    refuse("models/reference", "f32", "/nowhere/x.gguf", ERR_IO, "/nowhere/x.gguf");
    // llama.cpp knows falcon's parallel blocks alone: these would be read back as such.
    refuse(MODELS "falcon-rw", "f32", target(dir), ERR_UNSUPPORTED, "falcon-rw");
    assert_false(file_exists(target(dir)));
    put(dir, "x.gguf", "kept", 4);
    refuse("models/reference", "f32", target(dir), ERR_USAGE, "exists already");
    size_t count;
    char *bytes = slurp(target(dir), &count);
    assert_int_equal(count, 4);
    free(bytes);
    scratch_remove(dir);
}

// The folder of a golden model with one weight of a layer's q changed.
static void changed_weight(const char *dir, float value)
{
    size_t count;
    char *bytes = slurp(MODELS "llama-gqa3/model.safetensors", &count);
    const char *begin = strstr(bytes + 8, "model.layers.1.self_attn.q_proj.weight");
    unsigned long offset;
    assert_non_null(begin);
    assert_int_equal(sscanf(strstr(begin, "data_offsets\":["), "data_offsets\":[%lu", &offset), 1);
    uint64_t header;
    memcpy(&header, bytes, 8);
    memcpy(bytes + 8 + header + offset, &value, sizeof value);
    put(dir, "model.safetensors", bytes, count);
    free(bytes);
}

static void what_a_type_cannot_hold(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    char from[64];
    snprintf(from, sizeof from, "%s", dir);
    copy(MODELS "llama-gqa3", "config.json", dir);
    changed_weight(dir, NAN);
    refuse(from, "f32", target(dir), ERR_FORMAT, "blk.1.attn_q.weight: row 0 holds nan");
    changed_weight(dir, -INFINITY);
    refuse(from, NULL, target(dir), ERR_FORMAT, "holds -inf");
    changed_weight(dir, 1e6f);
    refuse(from, "f16", target(dir), ERR_UNSUPPORTED, "1e+06, which f16 cannot hold");
    assert_false(file_exists(target(dir)));
    struct checkpoint *ck = open_ok(from);
    convert_ok(ck, "bf16", target(dir));
    checkpoint_destroy(ck);
    scratch_remove(dir); // fails on a temporary file in a folder of its own; others it would list
}

static void a_load_refuses_the_same(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    copy(MODELS "llama-gqa3", "config.json", dir);
    for (int threads = 1; threads <= 2; threads++) {
        struct error err = {0};
        struct model *model;
        changed_weight(dir, NAN);
        struct checkpoint *ck = open_ok(dir);
        struct device *device = device_of(threads);
        struct engine_options options = {.device = device, .scheme = scheme_find("bf16")};
        enum status status = model_load(ck, &options, NULL, NULL, &model, &err);
        assert_null(model);
        expect_error(status, &err, ERR_FORMAT, "q of layer 1: row 0 holds nan", "bf16");
        checkpoint_destroy(ck);
        device_close(device);
    }
    scratch_remove(dir);
}

static void stopped(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    struct checkpoint *ck = open_ok(MODELS "llama-gqa3");
    struct error err = {0};
    struct conversion report;
    struct stop all = {0};
    expect_ok(checkpoint_convert(ck, NULL, target(dir), stop_at, &all, &report, &err), &err, dir);
    assert_int_equal(unlink(target(dir)), 0);
    assert_true(all.calls > 2);
    for (struct stop stop = {.at = 1}; stop.at <= all.calls; stop.at++) {
        stop.calls = 0;
        enum status status =
            checkpoint_convert(ck, NULL, target(dir), stop_at, &stop, &report, &err);
        expect_error(status, &err, ERR_INTERRUPTED, "stopped", "");
        assert_int_equal(stop.calls, stop.at);
        assert_int_equal(entries(dir), 0);
    }
    checkpoint_destroy(ck);
    assert_int_equal(rmdir(dir), 0);
}

// The error names the file that was asked for, and that file is not made.
static void a_broken_disk_leaves_nothing(void **state)
{
    (void)state;
    struct error err = {0};
    struct conversion report;
    const char *dir = scratch_make();
    char place[200];
    snprintf(place, sizeof place, "%s: cannot be written", target(dir));
    struct checkpoint *ck = open_ok(MODELS "llama-gqa3");
    broken_disk = true;
    enum status status = checkpoint_convert(ck, NULL, target(dir), NULL, NULL, &report, &err);
    broken_disk = false;
    expect_error(status, &err, ERR_IO, place, strerror(EIO));
    assert_int_equal(entries(dir), 0);
    convert_ok(ck, NULL, target(dir)); // the same on a sound one
    checkpoint_destroy(ck);
    scratch_remove(dir);
}

// Killed while it wrote, or while it read back what it had written; and one that still does.
static void leftovers(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    char names[4][64];
    long gone = (long)gone_pid(), here = (long)getppid();
    snprintf(names[0], sizeof *names, "x.gguf.new-%ld.tmp-%ld", gone, gone);
    snprintf(names[1], sizeof *names, "x.gguf.new-%ld", gone);
    snprintf(names[2], sizeof *names, "x.gguf.new-%ld.tmp-%ld", here, here);
    snprintf(names[3], sizeof *names, "y.gguf.new-%ld", gone);
    for (int i = 0; i < 4; i++)
        put(dir, names[i], "half", 4);
    struct checkpoint *ck = open_ok(MODELS "llama-gqa3");
    convert_ok(ck, NULL, target(dir));
    checkpoint_destroy(ck);
    for (int i = 0; i < 4; i++) {
        char path[300];
        snprintf(path, sizeof path, "%.100s/%.64s", dir, names[i]);
        assert_int_equal(file_exists(path), i >= 2);
    }
    assert_int_equal(entries(dir), 3);
    scratch_remove(dir);
}

static void a_stopped_load(void **state)
{
    (void)state;
    struct checkpoint *ck = open_ok(MODELS "llama-gqa3");
    struct error err = {0};
    for (int threads = 1; threads <= 2; threads++) {
        struct device *device = device_of(threads);
        struct engine_options options = {.device = device, .scheme = scheme_find("bf16")};
        int steps = checkpoint_config(ck)->layers + 1;
        struct stop all = {0};
        struct model *whole;
        expect_ok(model_load(ck, &options, stop_at, &all, &whole, &err), &err, "bf16");
        model_destroy(whole);
        assert_true(all.calls > 5 * steps); // within layers too
        for (struct stop stop = {.at = 1}; stop.at <= all.calls; stop.at++) {
            struct model *model;
            stop.calls = 0;
            enum status status = model_load(ck, &options, stop_at, &stop, &model, &err);
            assert_null(model);
            expect_error(status, &err, ERR_INTERRUPTED, "stopped", "bf16");
            assert_int_equal(stop.calls, stop.at);
        }
        device_close(device);
    }
    checkpoint_destroy(ck);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_converted_model_is_the_same),
        cmocka_unit_test(types),
        cmocka_unit_test(the_tokenizer_goes_along),
        cmocka_unit_test(names_its_types),
        cmocka_unit_test(refusals),
        cmocka_unit_test(what_a_type_cannot_hold),
        cmocka_unit_test(a_load_refuses_the_same),
        cmocka_unit_test(stopped),
        cmocka_unit_test(a_broken_disk_leaves_nothing),
        cmocka_unit_test(leftovers),
        cmocka_unit_test(a_stopped_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
