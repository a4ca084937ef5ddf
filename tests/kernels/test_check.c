// test_check.c - the check of the kernels, and the check of the check: kernels broken on purpose, one
// defect each, that must all be found and told apart.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "base/fp.h"
#include "kernels/check.h"
#include "kernels/quant.h"

enum { SEED = 7 };

static k_linear_fn *right_linear(enum dtype type)
{
    return kernel_reference(KOP_GEMM, type, type)->fn.linear;
}

// ---- products ------------------------------------------------------------------------------------------

static void loses_the_last_input(const struct k_linear *job, int panel0, int panel1)
{
    struct k_linear less = *job;
    // Same panels, hence the same stride, only where the last group keeps its other input.
    less.cols = job->cols % 2 == 0 ? job->cols - 1 : job->cols;
    right_linear(DT_BF16)(&less, panel0, panel1);
}

static void forgets_the_bias(const struct k_linear *job, int panel0, int panel1)
{
    struct k_linear less = *job;
    less.bias = NULL;
    right_linear(DT_BF16)(&less, panel0, panel1);
}

static void forgets_to_accumulate(const struct k_linear *job, int panel0, int panel1)
{
    struct k_linear less = *job;
    less.accumulate = false;
    right_linear(DT_BF16)(&less, panel0, panel1);
}

static void writes_whole_panels(const struct k_linear *job, int panel0, int panel1)
{
    right_linear(DT_BF16)(job, panel0, panel1);
    int rows = panel1 * PANEL_ROWS;
    for (int r = job->rows; panel1 > panel0 && r < rows; r++)
        job->y[(size_t)(job->tokens - 1) * job->ldy + (size_t)r] = 0;
}

static void writes_all_panels(const struct k_linear *job, int panel0, int panel1)
{
    (void)panel0, (void)panel1;
    right_linear(DT_BF16)(job, 0, kernel_panel_count(job->rows));
}

static void reads_one_panel_more(const struct k_linear *job, int panel0, int panel1)
{
    right_linear(DT_BF16)(job, panel0, panel1);
    const char *end = (const char *)job->w + kernel_packed_bytes(DT_BF16, job->rows, job->cols);
    volatile char beyond = *end;
    (void)beyond;
}

static void writes_its_weights(const struct k_linear *job, int panel0, int panel1)
{
    right_linear(DT_BF16)(job, panel0, panel1);
    volatile char *w = (volatile char *)(uintptr_t)job->w;
    *w = 0;
}

static void lacks_the_instruction(const struct k_linear *job, int panel0, int panel1)
{
    (void)job, (void)panel0, (void)panel1;
    raise(SIGILL);
}

static void takes_infinity_for_large(const struct k_linear *job, int panel0, int panel1)
{
    right_linear(DT_BF16)(job, panel0, panel1);
    for (int t = 0; t < job->tokens; t++)
        for (int r = panel0 * PANEL_ROWS; r < panel1 * PANEL_ROWS && r < job->rows; r++) {
            float *y = &job->y[(size_t)t * job->ldy + (size_t)r];
            *y = isinf(*y) ? copysignf(3e38f, *y) : *y;
        }
}

static void forgets_the_zeros(const struct k_linear *job, int panel0, int panel1)
{
    k_linear_fn *right = kernel_reference(KOP_GEMM, DT_I4, DT_I8)->fn.linear;
    struct k_linear more = *job;
    int group = job->group ? job->group : QUANT_GROUP,
        groups = quant_groups(DT_I4, job->cols, group);
    size_t stride = quant_panel_bytes(DT_I4, job->cols, group);
    size_t bytes = quant_packed_bytes(DT_I4, job->rows, job->cols, group);
    unsigned char *copy = malloc(bytes);
    memcpy(copy, job->w, bytes);
    for (unsigned char *panel = copy; panel < copy + bytes; panel += stride)
        memset(panel + groups * 32, 0, (size_t)groups * 8);
    more.w = copy;
    right(&more, panel0, panel1);
    free(copy);
}

static void takes_one_scale_for_all_tokens(const struct k_linear *job, int panel0, int panel1)
{
    struct k_linear other = *job;
    float scales[32];
    for (int t = 0; t < job->tokens; t++)
        scales[t] = job->x_scale[0];
    other.x_scale = scales;
    kernel_reference(KOP_GEMM, DT_I8, DT_I8)->fn.linear(&other, panel0, panel1);
}

static float rounds_half_up(void *dst, const float *src, int n, int padded)
{
    float scale = kernel_reference(KOP_CAST, DT_F32, DT_I8)->fn.cast(dst, src, n, padded);
    for (int i = 0; scale > 0 && i < n; i++)
        ((int8_t *)dst)[i] = (int8_t)floorf(src[i] / scale + 0.5f);
    return scale;
}

static float forgets_its_scale(void *dst, const float *src, int n, int padded)
{
    kernel_reference(KOP_CAST, DT_F32, DT_F8E4M3)->fn.cast(dst, src, n, padded);
    return 1;
}

static void forgets_the_scales_of_values(const struct k_attention *job)
{
    struct k_attention other = *job;
    other.v_scale = NULL;
    kernel_reference(KOP_ATTENTION, DT_I8, DT_F32)->fn.attention(&other);
}

// ---- the others ----------------------------------------------------------------------------------------

static float truncates(void *dst, const float *src, int n, int padded)
{
    for (int i = 0; i < padded; i++)
        ((uint16_t *)dst)[i] = i < n ? (uint16_t)(f32_bits(src[i]) >> 16) : 0;
    return 1;
}

static float leaves_the_padding(void *dst, const float *src, int n, int padded)
{
    (void)padded;
    for (int i = 0; i < n; i++)
        ((uint16_t *)dst)[i] = bf16_from_f32(src[i]);
    return 1;
}

static void has_a_coarse_exp(float *y, const float *gate, const float *up, int n)
{
    for (int i = 0; i < n; i++)
        y[i] = gate[i] / (1 + expf(-gate[i]) * (1 + 0x1p-13f)) * (up ? up[i] : 1);
}

static void squares_in_f32(float *y, const float *x, const float *w, int n, float eps)
{
    float sum = 0;
    for (int i = 0; i < n; i++)
        sum += x[i] * x[i] * 1e10f;
    for (int i = 0; i < n; i++)
        y[i] = x[i] * w[i] / sqrtf(sum / 1e10f / (float)n + eps);
}

static void approximates(float *y, const float *x, const float *up, int n)
{
    kernel_reference(KOP_GELU_TANH, DT_F32, DT_F32)->fn.activate(y, x, up, n);
}

static void takes_no_mean(float *y, const float *x, const float *w, const float *b, int n,
                          float eps)
{
    kernel_reference(KOP_RMSNORM, DT_F32, DT_F32)->fn.rmsnorm(y, x, w, n, eps);
    for (int i = 0; b && i < n; i++)
        y[i] += b[i];
}

static void cuts_instead(float *y, int n, float cap)
{
    for (int i = 0; i < n; i++)
        y[i] = fminf(fmaxf(y[i], -cap), cap);
}

static void turns_the_wrong_way(const struct k_rope *job)
{
    float minus[160];
    struct k_rope other = *job;
    for (int i = 0; i < job->rotary / 2; i++)
        minus[i] = -job->sin[i];
    other.sin = minus;
    kernel_reference(KOP_ROPE, DT_F32, DT_F32)->fn.rope(&other);
}

static void ignores_the_window(const struct k_attention *job)
{
    struct k_attention other = *job;
    other.window = 0;
    kernel_reference(KOP_ATTENTION, DT_F32, DT_F32)->fn.attention(&other);
}

static void ignores_the_bias(const struct k_attention *job)
{
    struct k_attention other = *job;
    other.bias = NULL;
    kernel_reference(KOP_ATTENTION, DT_F32, DT_F32)->fn.attention(&other);
}

static void wants_more_scratch(const struct k_attention *job)
{
    kernel_reference(KOP_ATTENTION, DT_F32, DT_F32)->fn.attention(job);
    ((char *)job->scratch)[kernel_attention_scratch(job->tokens, job->group, job->head_dim)] = 0;
}

static uint64_t skips_a_line(void *dst, const void *a, const void *b, size_t bytes)
{
    return kernel_reference(KOP_READ, DT_F32, DT_F32)->fn.stream(dst, a, b, bytes - 64);
}

static uint64_t copies_less(void *dst, const void *a, const void *b, size_t bytes)
{
    (void)b;
    memcpy(dst, a, bytes - 4);
    return 0;
}

static uint64_t counts_by_the_call(const void *seed, uint64_t rounds, float *sink)
{
    kernel_reference(KOP_PEAK, DT_F32, DT_F32)->fn.peak(seed, rounds, sink);
    return 1000;
}

static uint64_t sums_nothing(const void *seed, uint64_t rounds, float *sink)
{
    (void)seed;
    *sink = 0;
    return rounds;
}

struct broken {
    struct kernel kernel;
    const char *reason; // part of it
};

#define BROKEN(kind, op_, w_, x_, function, reason_)                                               \
    {                                                                                              \
        {.name = #function, .op = op_, .w = w_, .x = x_, .fn.kind = function}, reason_             \
    }

static const struct broken broken[] = {
    BROKEN(linear, KOP_GEMM, DT_BF16, DT_BF16, loses_the_last_input, "ref"),
    BROKEN(linear, KOP_GEMM, DT_BF16, DT_BF16, forgets_the_bias, "bias"),
    BROKEN(linear, KOP_GEMM, DT_BF16, DT_BF16, forgets_to_accumulate, "accumulate"),
    BROKEN(linear, KOP_GEMM, DT_BF16, DT_BF16, writes_whole_panels, "wr"),
    BROKEN(linear, KOP_GEMM, DT_BF16, DT_BF16, writes_all_panels, "not of its panels"),
    BROKEN(linear, KOP_GEMM, DT_BF16, DT_BF16, reads_one_panel_more, "SIGSEGV"),
    BROKEN(linear, KOP_GEMM, DT_BF16, DT_BF16, writes_its_weights, "SIGSEGV"),
    BROKEN(linear, KOP_GEMM, DT_BF16, DT_BF16, lacks_the_instruction, "SIGILL"),
    BROKEN(linear, KOP_GEMM, DT_BF16, DT_BF16, takes_infinity_for_large, "ref"),
    BROKEN(linear, KOP_GEMM, DT_I4, DT_I8, forgets_the_zeros, "ref"),
    BROKEN(linear, KOP_GEMM, DT_I8, DT_I8, takes_one_scale_for_all_tokens, "ref"),
    BROKEN(cast, KOP_CAST, DT_F32, DT_I8, rounds_half_up, "must be equal"),
    BROKEN(cast, KOP_CAST, DT_F32, DT_F8E4M3, forgets_its_scale, "scale"),
    BROKEN(attention, KOP_ATTENTION, DT_I8, DT_F32, forgets_the_scales_of_values, "ref"),
    BROKEN(cast, KOP_CAST, DT_F32, DT_BF16, truncates, "must be equal"),
    BROKEN(cast, KOP_CAST, DT_F32, DT_BF16, leaves_the_padding, "must be equal"),
    BROKEN(swiglu, KOP_SWIGLU, DT_F32, DT_F32, has_a_coarse_exp, "ref"),
    BROKEN(activate, KOP_GELU, DT_F32, DT_F32, approximates, "ref"),
    BROKEN(softcap, KOP_SOFTCAP, DT_F32, DT_F32, cuts_instead, "ref"),
    BROKEN(layernorm, KOP_LAYERNORM, DT_F32, DT_F32, takes_no_mean, "ref"),
    BROKEN(rmsnorm, KOP_RMSNORM, DT_F32, DT_F32, squares_in_f32, "ref"),
    BROKEN(rope, KOP_ROPE, DT_F32, DT_F32, turns_the_wrong_way, "ref"),
    BROKEN(attention, KOP_ATTENTION, DT_F32, DT_F32, ignores_the_window, "window"),
    BROKEN(attention, KOP_ATTENTION, DT_F32, DT_F32, ignores_the_bias, "bias"),
    BROKEN(attention, KOP_ATTENTION, DT_F32, DT_F32, wants_more_scratch, "wrote"),
    BROKEN(stream, KOP_READ, DT_F32, DT_F32, skips_a_line, "no difference"),
    BROKEN(stream, KOP_COPY, DT_F32, DT_F32, copies_less, "differs"),
    BROKEN(peak, KOP_PEAK, DT_F32, DT_F32, counts_by_the_call, "operations"),
    BROKEN(peak, KOP_PEAK, DT_F32, DT_F32, sums_nothing, "came to 0"),
};

static void broken_kernels_are_found(void **state)
{
    (void)state;
    print_message("seed %d\n", SEED);
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        const struct kernel *row = &broken[i].kernel;
        struct kernel_check_result result;
        kernel_check_row(row, kernel_reference(row->op, row->w, row->x), SEED, CHECK_CASES,
                         &result);
        print_message("%-24s %2d of %d: %s\n", row->name, result.failures, result.cases,
                      result.reason);
        if (result.failures == 0)
            fail_msg("%s was not found", row->name);
        if (!strstr(result.reason, broken[i].reason) || !strstr(result.reason, "seed 7"))
            fail_msg("%s: \"%s\" lacks \"%s\"", row->name, result.reason, broken[i].reason);
    }
}

// ---- every kernel of this machine ----------------------------------------------------------------------

static void keep_worst(void *user, const struct kernel_check_result *result)
{
    struct kernel_check_result *worst = user;
    worst->cases++;
    if (result->failures > 0) {
        print_message("%s: %s\n", result->kernel->name, result->reason);
        worst->failures++;
    }
}

static struct device *open_host(unsigned isa)
{
    struct error err = {0};
    struct device *device = NULL;
    struct device_options options = {.threads = 1, .isa = isa};
    assert_int_equal(device_open(DEVICE_DEFAULT, &options, &device, &err), OK);
    return device;
}

static void every_variant_agrees_with_ref(void **state)
{
    (void)state;
    struct error err = {0};
    struct kernel_check_result all = {0};
    struct device *device = open_host(ISA_ALL);
    print_message("seed %d\n", SEED);
    assert_int_equal(kernel_check("*", device, SEED, 0, keep_worst, &all, &err), OK);
    assert_true(all.cases > 20);
    assert_int_equal(all.failures, 0);
    device_close(device);
}

static void a_mask_limits_what_is_checked(void **state)
{
    (void)state;
    struct error err = {0};
    struct kernel_check_result all = {0};
    struct device *device = open_host(0);
    assert_int_equal(kernel_check("k_add_*", device, SEED, 0, keep_worst, &all, &err), OK);
    assert_int_equal(all.cases, 1);
    assert_int_equal(kernel_check("k_nothing", device, SEED, 0, keep_worst, &all, &err), ERR_USAGE);
    assert_non_null(
        strstr(err.message, "no kernel for cpu with ref matches 'k_nothing' (known: k_"));
    device_close(device);
}

static int handled;

static void count_signal(int number)
{
    handled += number == SIGSEGV;
}

static void handlers_are_put_back(void **state)
{
    (void)state;
    struct sigaction mine = {.sa_handler = count_signal}, before;
    struct kernel_check_result result;
    const struct kernel *row = kernel_reference(KOP_ADD, DT_F32, DT_F32);
    sigaction(SIGSEGV, &mine, &before);
    kernel_check_row(row, row, SEED, CHECK_CASES, &result);
    raise(SIGSEGV);
    sigaction(SIGSEGV, &before, NULL);
    assert_int_equal(handled, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(broken_kernels_are_found),
        cmocka_unit_test(every_variant_agrees_with_ref),
        cmocka_unit_test(a_mask_limits_what_is_checked),
        cmocka_unit_test(handlers_are_put_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
