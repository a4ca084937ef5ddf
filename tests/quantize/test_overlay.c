// test_overlay.c - layers written by role and laid over their source, from every kind of file. They have the codes that
// rounding gives, and all else as it was. What was not written so is refused.
#include "tests/load/load_fixture.h"

#include "engine/quantize/overlay.h"
#include "engine/quantize/awq_folder.h"
#include "engine/quantize/quantizer.h"
#include "kernels/quant.h"

enum { GROUP = 16, WIDEST = 512 };

static void write_by_role(const struct checkpoint *ck, const struct quant_output *output,
                          const char *out)
{
    struct error err = {0};
    struct device *device = device_of(2);
    struct quantizer *q = NULL;
    expect_ok(quantizer_open(ck, output, device_pool(device), out, &q, &err), &err, out);
    for (int layer = 0; layer < ck->config.layers; layer++)
        expect_ok(quantizer_layer(q, layer, NULL, &err), &err, out);
    expect_ok(quantizer_finish(q, &err), &err, out);
    device_close(device);
}

static void check_product_row(const struct checkpoint *source, const struct checkpoint *made,
                              enum tensor_role role, int layer, int row)
{
    uint8_t codes[2][WIDEST], zeros[2][WIDEST];
    float scales[2][WIDEST], is[WIDEST], want[WIDEST], got[WIDEST];
    struct quant_row rounded = {codes[0], scales[0], zeros[0]};
    struct quant_row read = {codes[1], scales[1], zeros[1]};
    int cols = tensor_shape(&source->config, role).cols;
    size_t groups = (size_t)quant_groups(DT_I4, cols, GROUP);
    source->ops->read_rows(source->self, role, layer, row, 1, is, WIDEST);
    quant_row_rtn(DT_I4, is, cols, GROUP, rounded);
    made->ops->read_codes(made->self, role, layer, row, read);
    assert_memory_equal(codes[0], codes[1], (size_t)cols);
    assert_memory_equal(zeros[0], zeros[1], groups);
    assert_memory_equal(scales[0], scales[1], groups * sizeof(float));
    quant_row_expand(DT_I4, rounded, cols, GROUP, want);
    made->ops->read_rows(made->self, role, layer, row, 1, got, WIDEST);
    assert_memory_equal(want, got, (size_t)cols * sizeof *want);
}

static void check_tensor(const struct checkpoint *source, const struct checkpoint *made,
                         enum tensor_role role, int layer)
{
    struct tensor_shape shape = tensor_shape(&source->config, role);
    struct stored_quant stored;
    assert_true(shape.cols <= WIDEST);
    bool codes = made->ops->quantization(made->self, role, layer, &stored);
    assert_int_equal(codes, layer >= 0 && tensor_role_is_product(role));
    if (codes)
        assert_true(stored.type == DT_I4 && stored.group == GROUP);
    for (int row = 0; row < shape.rows; row++) {
        float want[WIDEST], got[WIDEST];
        if (codes) {
            check_product_row(source, made, role, layer, row);
            continue;
        }
        source->ops->read_rows(source->self, role, layer, row, 1, want, WIDEST);
        made->ops->read_rows(made->self, role, layer, row, 1, got, WIDEST);
        assert_memory_equal(want, got, (size_t)shape.cols * sizeof *want);
    }
}

static void laid_over(const char *path, uint64_t shard_bytes)
{
    struct error err = {0};
    struct checkpoint *ck = open_ok(path), *made = NULL;
    struct quant_output output = awq_output(GROUP, true);
    const char *dir = scratch_make();
    char out[128];
    output.shard_bytes = shard_bytes;
    snprintf(out, sizeof out, "%s/made", dir);
    write_by_role(ck, &output, out);
    expect_ok(overlay_open(ck, &output, out, &made, &err), &err, path);
    for (int role = 0; role < T_ROLE_COUNT; role++)
        for (int layer = role <= T_FINAL_NORM ? -1 : 0;
             layer < (role <= T_FINAL_NORM ? 0 : ck->config.layers); layer++)
            if (tensor_shape(&ck->config, (enum tensor_role)role).rows)
                check_tensor(ck, made, (enum tensor_role)role, layer);
    checkpoint_destroy(made);
    checkpoint_destroy(ck);
    scratch_remove(out);
    scratch_remove(dir);
}

static void test_every_kind_of_file(void **state)
{
    (void)state;
    laid_over(MODELS "llama-gqa3", 0);
    laid_over(MODELS "llama-gqa3", 20000);               // several files
    laid_over(MODELS "gpt2", 0);                         // transposed, q, k and v in one
    laid_over(MODELS "phi3", 0);                         // gate and up in one
    laid_over(MODELS "falcon-40b", 0);                   // q, k and v of each head together
    laid_over(MODELS "mixtral", 0);                      // experts apart
    laid_over(MODELS "mixtral/model.gguf", 0);           // experts in one tensor
    laid_over(MODELS "llama-gqa3/model.gguf", 0);        // q and k in another order
    laid_over(MODELS "gemma/model.gguf", 0);             // norms plus one
    laid_over(MODELS "gguf-small-blocks/model.gguf", 0); // codes of other kinds
}

static void test_others_are_refused(void **state)
{
    (void)state;
    struct error err = {0};
    struct checkpoint *ck = open_ok(MODELS "llama-gqa3"), *made = NULL;
    struct quant_output output = awq_output(GROUP, true), other = awq_output(2 * GROUP, true);
    const char *dir = scratch_make();
    char out[128], file[160];
    snprintf(out, sizeof out, "%s/made", dir);
    write_by_role(ck, &output, out);
    expect_error(overlay_open(ck, &other, out, &made, &err), &err, ERR_FORMAT, "model.safetensors",
                 "bytes");
    snprintf(file, sizeof file, "%s/model.safetensors", out);
    size_t bytes;
    char *was = slurp(file, &bytes);
    was[20] ^= 1; // a byte of the header
    put(out, "model.safetensors", was, bytes);
    expect_error(overlay_open(ck, &output, out, &made, &err), &err, ERR_FORMAT, "model.safetensors",
                 "not those that were planned");
    put(out, "model.safetensors", was, bytes - 1);
    expect_error(overlay_open(ck, &output, out, &made, &err), &err, ERR_FORMAT, "model.safetensors",
                 "bytes");
    assert_int_equal(unlink(file), 0);
    expect_error(overlay_open(ck, &output, out, &made, &err), &err, ERR_IO, "model.safetensors",
                 "cannot be read");
    assert_null(made);
    free(was);
    checkpoint_destroy(ck);
    scratch_remove(out);
    scratch_remove(dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_of_file),
        cmocka_unit_test(test_others_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
