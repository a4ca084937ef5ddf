// test_quantize.c - folders that checkpoint_quantize writes: the codes that rounding gives, everything else as it
// was, whole or not at all.
#include "tests/load/load_fixture.h"

#include <signal.h>
#include <sys/resource.h>

#include "engine/quantize/quantizer.h"
#include "kernels/quant.h"
#include "tests/broken_disk.h"
#include "tests/pid.h"

#define SOURCE MODELS "ct-int8" // width 64, feed-forward 104: a shorter last group of 32

// A place for output folders below a scratch folder. Returns `out`.
static const char *below(char out[300], const char *dir, const char *name)
{
    snprintf(out, 300, "%.200s/%.90s", dir, name);
    return out;
}

static void remove_tree(const char *dir)
{
    char path[300];
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *e; (e = readdir(d));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            scratch_remove(below(path, dir, e->d_name));
    closedir(d);
    assert_int_equal(rmdir(dir), 0);
}

static enum status make_until(const char *from, const char *scheme, int group, const char *out,
                              struct stop *stop, struct error *err)
{
    struct checkpoint *ck = open_ok(from);
    struct device *device = device_of(2);
    struct quantize_options options = {.scheme = scheme, .group = group, .device = device};
    enum status status = checkpoint_quantize(ck, &options, out, stop_at, stop, err);
    device_close(device);
    checkpoint_destroy(ck);
    return status;
}

static enum status make(const char *from, const char *scheme, int group, const char *out,
                        struct error *err)
{
    return make_until(from, scheme, group, out, &(struct stop){0}, err);
}

struct row_buffers {
    uint8_t codes[2][512], zeros[2][64];
    float scales[2][64], f32[512];
};

static struct quant_row row_of(struct row_buffers *b, int i)
{
    return (struct quant_row){b->codes[i], b->scales[i], b->zeros[i]};
}

// Codes of the same kind go over as they are, all else is rounded.
static void check_row(const struct checkpoint *source, const struct checkpoint *made,
                      enum tensor_role role, int layer, int row, enum dtype type, int group)
{
    struct row_buffers b;
    int cols = tensor_shape(&source->config, role).cols;
    size_t groups = (size_t)quant_groups(type, cols, group);
    assert_true(cols <= 512 && groups <= 64);
    struct stored_quant stored;
    if (source->ops->quantization(source->self, role, layer, &stored) && stored.type == type &&
        (type != DT_I4 || stored.group == group)) {
        source->ops->read_codes(source->self, role, layer, row, row_of(&b, 0));
    } else {
        source->ops->read_rows(source->self, role, layer, row, 1, b.f32, 512);
        quant_row_rtn(type, b.f32, cols, group, row_of(&b, 0));
    }
    made->ops->read_codes(made->self, role, layer, row, row_of(&b, 1));
    assert_memory_equal(b.codes[0], b.codes[1], (size_t)cols);
    assert_memory_equal(b.scales[0], b.scales[1], groups * sizeof(float));
    if (type == DT_I4)
        assert_memory_equal(b.zeros[0], b.zeros[1], groups);
}

static void check_tensor(const struct checkpoint *source, const struct checkpoint *made,
                         enum tensor_role role, int layer, enum dtype type, int group)
{
    struct tensor_shape shape = tensor_shape(&source->config, role);
    struct stored_quant stored;
    bool codes = made->ops->quantization(made->self, role, layer, &stored);
    assert_int_equal(codes, tensor_role_is_product(role));
    if (codes) {
        assert_int_equal(stored.type, type);
        if (type == DT_I4)
            assert_int_equal(stored.group, group);
    }
    for (int r = 0; r < shape.rows; r++) {
        float want[512], got[512];
        if (codes) {
            check_row(source, made, role, layer, r, type, group);
            continue;
        }
        source->ops->read_rows(source->self, role, layer, r, 1, want, 512);
        made->ops->read_rows(made->self, role, layer, r, 1, got, 512);
        assert_memory_equal(want, got, (size_t)shape.cols * sizeof *want);
    }
}

static void check_folder(const char *from, const char *out, enum dtype type, int group)
{
    struct checkpoint *source = open_ok(from), *made = open_ok(out);
    for (int layer = -1; layer < source->config.layers; layer++)
        for (int role = 0; role < T_ROLE_COUNT; role++)
            if ((role <= T_FINAL_NORM) == (layer < 0) &&
                tensor_shape(&source->config, (enum tensor_role)role).rows)
                check_tensor(source, made, (enum tensor_role)role, layer, type, group);
    assert_string_equal(checkpoint_unused_tensors(made), "");
    checkpoint_destroy(source);
    checkpoint_destroy(made);
}

static const struct {
    const char *scheme;
    enum dtype type;
    int group;
    const char *text;
} kinds[] = {
    {"int8", DT_I8, 0,
     "compressed-tensors int-quantized, integers of 8 bits, one scale per row, symmetric"},
    {"fp8", DT_F8E4M3, 0,
     "compressed-tensors float-quantized, E4M3 of 8 bits, one scale per row, symmetric"},
    {"int4-rtn", DT_I4, 128, "AutoAWQ gemm, 4 bits, groups of 128, zero points"},
    {"int4-rtn", DT_I4, 32, "AutoAWQ gemm, 4 bits, groups of 32, zero points"},
};

static void codes_are_those_of_rounding(void **state)
{
    (void)state;
    // biases and a tied head; fused; experts; quantized in kinds of which some go over as they are
    static const char *const sources[] = {MODELS "awq-g32-qwen2", MODELS "awq-g32-phi3", SOURCE,
                                          MODELS "ct-int8-mixtral", MODELS "fp8-block"};
    const char *dir = scratch_make();
    for (size_t s = 0; s < sizeof sources / sizeof *sources; s++)
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            struct error err = {0};
            char name[32], out[300];
            snprintf(name, sizeof name, "%zu-%zu", s, k);
            below(out, dir, name);
            expect_ok(make(sources[s], kinds[k].scheme, kinds[k].group, out, &err), &err, out);
            struct checkpoint *made = open_ok(out);
            assert_string_equal(checkpoint_quantization(made)->text, kinds[k].text);
            checkpoint_destroy(made);
            check_folder(sources[s], out, kinds[k].type, kinds[k].group);
        }
    remove_tree(dir);
}

// Quantizing again what is quantized so already changes nothing.
static void codes_go_over_as_they_are(void **state)
{
    (void)state;
    const char *dir = scratch_make();
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        struct error err = {0};
        char once[300], twice[300], path[300], name[32];
        size_t count[2];
        snprintf(name, sizeof name, "once-%zu", k);
        below(once, dir, name);
        snprintf(name, sizeof name, "twice-%zu", k);
        below(twice, dir, name);
        expect_ok(make(MODELS "fp8-block", kinds[k].scheme, kinds[k].group, once, &err), &err,
                  once);
        expect_ok(make(once, kinds[k].scheme, kinds[k].group, twice, &err), &err, twice);
        char *a = slurp(below(path, once, "model.safetensors"), &count[0]);
        char *b = slurp(below(path, twice, "model.safetensors"), &count[1]);
        assert_int_equal(count[0], count[1]);
        assert_memory_equal(a, b, count[0]);
        free(a);
        free(b);
    }
    remove_tree(dir);
}

static void many_files(void **state)
{
    (void)state;
    struct error err = {0};
    char out[300], path[300];
    const char *dir = scratch_make();
    below(out, dir, "sharded");
    struct checkpoint *ck = open_ok(MODELS "fp8-block");
    struct device *device = device_of(1);
    struct quant_output output = {
        .type = DT_I4, .group = 64, .plain = DT_BF16, .made_by = "int4-rtn", .shard_bytes = 20000};
    expect_ok(quantizer_rtn(ck, &output, device_pool(device), out, NULL, NULL, &err), &err, out);
    device_close(device);
    checkpoint_destroy(ck);
    assert_true(file_exists(below(path, out, "model.safetensors.index.json")));
    assert_true(entries(out) > 4);
    check_folder(MODELS "fp8-block", out, DT_I4, 64);
    remove_tree(dir);
}

static void files_beside(void **state)
{
    (void)state;
    struct error err = {0};
    const char *dir = scratch_make();
    char out[300], path[300];
    size_t count[2];
    snprintf(out, sizeof out, "%s/made/", dir); // a slash too many does not matter
    expect_ok(make("models/reference", "int8", 0, out, &err), &err, out);
    char *a = slurp("models/reference/tokenizer.json", &count[0]);
    char *b = slurp(below(path, out, "tokenizer.json"), &count[1]);
    assert_int_equal(count[0], count[1]);
    assert_memory_equal(a, b, count[0]);
    free(a);
    free(b);
    struct checkpoint *ck = open_ok(out);
    struct tokenizer *tok;
    expect_ok(checkpoint_tokenizer(ck, &tok, &err), &err, out);
    tokenizer_destroy(tok);
    assert_string_equal(ck->config.name, "made");
    checkpoint_destroy(ck);
    assert_int_equal(entries(dir), 1);
    remove_tree(dir);
}

// ---- what is refused ----------------------------------------------------------------------------------

static void refused(void **state)
{
    (void)state;
    struct error err = {0};
    char out[300];
    const char *dir = scratch_make();
    below(out, dir, "out");
    expect_error(make(SOURCE, "int8", 0, dir, &err), &err, ERR_USAGE, dir, "exists");
    expect_error(make(SOURCE, "q4_k", 0, out, &err), &err, ERR_UNSUPPORTED, "q4_k",
                 "int8, fp8, int4-rtn, int4-awq");
    expect_error(make(MODELS "qwen2-tied/model.gguf", "int8", 0, out, &err), &err, ERR_UNSUPPORTED,
                 "model.gguf", "Hugging Face folder");
    expect_error(make(MODELS "llama-gqa3", "int4-rtn", 0, out, &err), &err, ERR_UNSUPPORTED,
                 "no multiple of 8", "llama-gqa3");
    assert_int_equal(entries(dir), 0);
    assert_int_equal(rmdir(dir), 0);
}

static void a_full_disk_leaves_nothing(void **state)
{
    (void)state;
    struct error err = {0};
    char out[300];
    const char *dir = scratch_make();
    below(out, dir, "out");
    struct rlimit kept, small;
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &kept), 0);
    small = kept;
    small.rlim_cur = 20000;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum status status = make(SOURCE, "int8", 0, out, &err);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &kept), 0);
    signal(SIGXFSZ, SIG_DFL);
    expect_error(status, &err, ERR_IO, "model.safetensors", "cannot be reserved");
    assert_int_equal(entries(dir), 0);
    expect_ok(make(SOURCE, "int8", 0, out, &err), &err, out); // the same with room
    remove_tree(dir);
}

// Codes that did not reach the disk are no folder, and the error names the one that was asked for.
static void a_broken_disk_leaves_nothing(void **state)
{
    (void)state;
    struct error err = {0};
    char out[300], file[400];
    const char *dir = scratch_make();
    below(out, dir, "out");
    snprintf(file, sizeof file, "%s/model.safetensors", out);
    broken_disk = true;
    enum status status = make(SOURCE, "int8", 0, out, &err);
    broken_disk = false;
    expect_error(status, &err, ERR_IO, file, strerror(EIO));
    assert_int_equal(entries(dir), 0);
    expect_ok(make(SOURCE, "int8", 0, out, &err), &err, out); // the same on a sound one
    remove_tree(dir);
}

static void a_weight_that_is_no_number(void **state)
{
    (void)state;
    struct error err = {0};
    char broken[300], out[300];
    const char *dir = scratch_make();
    below(broken, dir, "broken");
    size_t count;
    assert_int_equal(mkdir(broken, 0777), 0);
    copy(MODELS "llama-gqa3", "config.json", broken);
    char *file = slurp(MODELS "llama-gqa3/model.safetensors", &count);
    char *entry = strstr(file + 8, "\"model.layers.1.mlp.down_proj.weight\""), *range;
    uint64_t header;
    memcpy(&header, file, 8);
    assert_non_null(entry);
    assert_non_null(range = strstr(entry, "\"data_offsets\":["));
    static const unsigned char nan[] = {0, 0, 0xc0, 0x7f};
    memcpy(file + 8 + header + atoll(range + 16) + 4 * (3 * 62 + 5), nan, 4);
    put(broken, "model.safetensors", file, count);
    expect_error(make(broken, "fp8", 0, below(out, dir, "out"), &err), &err, ERR_FORMAT,
                 "layer 1, down, row 3", "NaN or infinite");
    assert_int_equal(entries(dir), 1);
    free(file);
    remove_tree(dir);
}

static void stopped(void **state)
{
    (void)state;
    char out[300];
    const char *dir = scratch_make();
    below(out, dir, "out");
    struct stop all = {0};
    struct error err = {0};
    expect_ok(make_until(SOURCE, "int8", 0, out, &all, &err), &err, out);
    scratch_remove(out);
    assert_true(all.calls > 9); // after each tensor, not after each layer
    for (struct stop stop = {.at = 1}; stop.at <= all.calls; stop.at++) {
        stop.calls = 0;
        expect_error(make_until(SOURCE, "int8", 0, out, &stop, &err), &err, ERR_INTERRUPTED,
                     "stopped", "");
        assert_int_equal(stop.calls, stop.at); // it is asked no more
        assert_int_equal(entries(dir), 0);
    }
    assert_int_equal(rmdir(dir), 0);
}

// Leftovers of a killed process next to the same OUT are removed. Files of a running process, and other files, stay.
static void leftovers(void **state)
{
    (void)state;
    struct error err = {0};
    char out[300], names[3][160];
    const char *dir = scratch_make();
    long gone = (long)gone_pid();
    snprintf(names[0], sizeof *names, "%.100s/out.tmp-%ld", dir, gone);
    snprintf(names[1], sizeof *names, "%.100s/out.tmp-%ld", dir, (long)getppid());
    snprintf(names[2], sizeof *names, "%.100s/about.tmp-%ld", dir, gone);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(mkdir(names[i], 0777), 0);
        put(names[i], "model.safetensors", "half", 4);
    }
    expect_ok(make(SOURCE, "int8", 0, below(out, dir, "out"), &err), &err, out);
    assert_false(file_exists(names[0]));
    assert_int_equal(entries(names[1]), 1);
    assert_int_equal(entries(names[2]), 1);
    assert_int_equal(entries(dir), 3);
    remove_tree(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(codes_are_those_of_rounding),
        cmocka_unit_test(codes_go_over_as_they_are),
        cmocka_unit_test(many_files),
        cmocka_unit_test(files_beside),
        cmocka_unit_test(refused),
        cmocka_unit_test(a_full_disk_leaves_nothing),
        cmocka_unit_test(a_broken_disk_leaves_nothing),
        cmocka_unit_test(a_weight_that_is_no_number),
        cmocka_unit_test(stopped),
        cmocka_unit_test(leftovers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
