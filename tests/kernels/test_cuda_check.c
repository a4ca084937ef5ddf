// test_cuda_check.c - the scenes of NVIDIA kernels without a GPU: launchers that compute on the host pass, and broken
// ones are found for their own reason. The device is a pretend one, with host memory behind it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>

#include "base/fp.h"
#include "kernels/cuda/check.h"
#include "kernels/ref/element.h"
#include "tests/device/pretend.h"
#include "tests/kernels/launcher_row.h"

enum { SEED = 7, CASES = 24 };

// ---- right ones, in plain C --------------------------------------------------------------------------------

static double factor_of(const struct cuda_carry *carry, int token)
{
    double sum = 0;
    for (int i = 0; carry->from && i < carry->from_tiles; i++)
        sum += (double)carry->from[token * carry->from_tiles + i];
    double mean = sum / (carry->from_tiles * CUDA_TILE_ROWS);
    return carry->from ? 1 / sqrt(mean + (double)carry->eps) : 1;
}

static void carry_norm(const struct cuda_linear *job)
{
    const struct cuda_carry *carry = &job->carry;
    size_t rows = (size_t)job->layout.rows, tokens = (size_t)job->tokens;
    uint16_t *out = malloc(tokens * rows * sizeof *out);
    assert_non_null(out);
    memset(carry->squares, 0, tokens * rows / CUDA_TILE_ROWS * sizeof(float));
    for (size_t i = 0; i < tokens * rows; i++) {
        float y = job->y[i / rows * job->ldy + i % rows];
        out[i] = bf16_from_f32(y * carry->weight[i % rows]);
        carry->squares[i / CUDA_TILE_ROWS] += y * y;
    }
    cuda_order_inputs(carry->order, out, job->tokens, (int)rows, rows, carry->out);
    free(out);
}

// A product of inputs of type x: bf16, or fp8 with a scale per token.
static void multiply(const struct cuda_linear *job, enum dtype x_type)
{
    const struct cuda_layout *l = &job->layout;
    const size_t padded = (size_t)cuda_padded_cols(l->cols);
    const size_t elements = (size_t)job->tokens * padded;
    char *plain = malloc(elements * element_bytes(x_type));
    float *row = malloc(padded * sizeof *row), *inputs = malloc(elements * sizeof *inputs);
    double factor[CUDA_FEW_TOKENS];
    for (int t = 0; t < job->tokens && t < CUDA_FEW_TOKENS; t++)
        factor[t] = factor_of(&job->carry, t);
    assert_true(plain && row && inputs);
    cuda_plain_inputs(cuda_order_of(l->type, x_type), job->x, job->tokens, (int)padded, padded,
                      plain);
    for (size_t i = 0; i < elements; i++)
        inputs[i] = element_get(x_type, plain, i);
    for (int r = 0; r < l->rows; r++) {
        cuda_unpack_row(l, job->w, r, row);
        for (int t = 0; t < job->tokens; t++) {
            const float *x = inputs + (size_t)t * padded;
            float *y = job->y + (size_t)t * job->ldy + r;
            double sum = 0;
            for (int c = 0; c < l->cols; c++)
                sum += (double)row[c] * (double)x[c];
            sum *= t < CUDA_FEW_TOKENS ? factor[t] : 1;
            sum *= dtype_is_quantized(x_type) ? (double)job->x_scale[t] : 1;
            sum += job->bias ? (double)job->bias[r] : 0;
            *y = (float)(sum + (job->accumulate ? (double)*y : 0));
        }
    }
    free(plain);
    free(row);
    free(inputs);
    if (job->carry.weight)
        carry_norm(job);
}

static void linear(const struct cuda_linear *job, void *stream)
{
    (void)stream;
    multiply(job, DT_BF16);
}

static void linear_f8(const struct cuda_linear *job, void *stream)
{
    (void)stream;
    multiply(job, DT_F8E4M3);
}

static void add(const struct cuda_add *job, void *stream)
{
    (void)stream;
    for (int r = 0; r < job->rows; r++)
        for (int i = 0; i < job->n; i++)
            job->x[(size_t)(job->index ? job->index[r] : r) * job->ldx + (size_t)i] +=
                (job->share ? job->share[r] : 1) * job->y[(size_t)r * job->ldy + (size_t)i];
}

static void softcap(const struct cuda_softcap *job, void *stream)
{
    (void)stream;
    for (size_t i = 0; i < job->n; i++)
        job->y[i] = job->cap * tanhf(job->y[i] / job->cap);
}

static void attention(const struct cuda_attention *job, void *stream)
{
    (void)stream;
    const struct cuda_kv *kv = &job->kv;
    int group = job->heads / kv->kv_heads;
    void *scratch = malloc(kernel_attention_scratch(1, group, kv->head_dim));
    assert_non_null(scratch);
    for (int r = 0; r < job->rows; r++)
        for (int h = 0; h < kv->kv_heads && job->tokens[r].sequence >= 0; h++) {
            size_t block = (size_t)(job->tokens[r].sequence * kv->kv_heads + h) * 2;
            unsigned char *k = kv->layer + block * kv->block_bytes, *v = k + kv->block_bytes;
            size_t head = (size_t)(h * group * kv->head_dim);
            struct k_attention one = {
                .q = job->qkv + (size_t)r * job->ld + head,
                .k = k,
                .v = v,
                .k_scale = kv->scales_offset ? (float *)(void *)(k + kv->scales_offset) : NULL,
                .v_scale = kv->scales_offset ? (float *)(void *)(v + kv->scales_offset) : NULL,
                .out = job->out + (size_t)r * job->ldo + head,
                .scratch = scratch,
                .tokens = 1,
                .group = group,
                .head_dim = kv->head_dim,
                .first = job->tokens[r].position,
                .window = job->window,
                .scale = job->scale,
                .softcap = job->softcap,
                .bias = job->bias ? job->bias + (size_t)(h * group) * job->bias_stride : NULL,
                .bias_stride = job->bias_stride};
            kernel_reference(KOP_ATTENTION, kv->type, DT_F32)->fn.attention(&one);
        }
    free(scratch);
}

static void norm(const struct cuda_norm *job, void *stream)
{
    (void)stream;
    for (int r = 0; r < job->rows; r++) {
        const float *x = job->x + (size_t)(job->index ? job->index[r] : r) * job->ldx;
        float *y = (float *)job->out + (size_t)r * job->ldo;
        memset(y, 0, (size_t)job->padded * sizeof *y);
        if (!job->weight)
            memcpy(y, x, (size_t)job->n * sizeof *y);
        else if (job->centered)
            kernel_reference(KOP_LAYERNORM, DT_F32, DT_F32)
                ->fn.layernorm(y, x, job->weight, job->bias, job->n, job->eps);
        else
            kernel_reference(KOP_RMSNORM, DT_F32, DT_F32)
                ->fn.rmsnorm(y, x, job->weight, job->n, job->eps);
    }
}

// Rows of e4m3 with their scales.
static void norm_f8(const struct cuda_norm *job, void *stream)
{
    size_t n = (size_t)job->padded, rows = (size_t)job->rows;
    float *values = calloc(rows * n, sizeof *values);
    uint8_t *codes = calloc(rows * n, 1);
    struct cuda_norm plain = *job;
    assert_true(values && codes);
    plain.out = values;
    plain.ldo = n;
    norm(&plain, stream);
    for (size_t r = 0; r < rows; r++)
        job->scale[r] = kernel_reference(KOP_CAST, DT_F32, DT_F8E4M3)
                            ->fn.cast(codes + r * n, values + r * n, job->n, job->padded);
    if (job->order == CUDA_ROWS)
        memcpy(job->out, codes, rows * n);
    else
        cuda_order_inputs(job->order, codes, job->rows, job->padded, n, job->out);
    free(values);
    free(codes);
}

static uint64_t ticks;

static void stamp(uint64_t *out, void *stream)
{
    (void)stream;
    *out = ++ticks;
}

// ---- broken ones -----------------------------------------------------------------------------------------

static void forgets_the_bias(const struct cuda_linear *job, void *stream)
{
    struct cuda_linear wrong = *job;
    wrong.bias = NULL;
    linear(&wrong, stream);
}

static void forgets_the_factor(const struct cuda_linear *job, void *stream)
{
    struct cuda_linear wrong = *job;
    wrong.carry.from = NULL;
    linear(&wrong, stream);
}

static void carries_old_squares(const struct cuda_linear *job, void *stream)
{
    linear(job, stream);
    if (job->carry.weight)
        job->carry.squares[0] += 1;
}

static void counts_on_its_neighbours(const struct cuda_linear *job, void *stream)
{
    linear(job, stream);
    job->y[0] += job->tokens > 1 ? 0 : 0x1p-22f * fabsf(job->y[0]);
}

// As tensor cores do that keep 14 bits of a sum: the rest of a long sum is cut off.
static void keeps_14_bits(const struct cuda_linear *job, void *stream)
{
    linear_f8(job, stream);
    for (int t = 0; t < job->tokens; t++)
        for (int r = 0; r < job->layout.rows; r++) {
            float *y = job->y + (size_t)t * job->ldy + r;
            *y = f32_from_bits(f32_bits(*y) & ~0x3ffu);
        }
}

static void scales_by_the_first_token(const struct cuda_linear *job, void *stream)
{
    struct cuda_linear wrong = *job;
    float *first = malloc((size_t)job->tokens * sizeof *first);
    assert_non_null(first);
    for (int t = 0; t < job->tokens; t++)
        first[t] = job->x_scale[0];
    wrong.x_scale = first;
    linear_f8(&wrong, stream);
    free(first);
}

static void rounds_to_fewer_bits(const struct cuda_norm *job, void *stream)
{
    norm_f8(job, stream);
    unsigned char *codes = job->out;
    for (size_t i = 0; i < (size_t)job->rows * (size_t)job->n / 2; i++)
        codes[i] &= 0xfe;
}

static void reads_past_the_end(const struct cuda_linear *job, void *stream)
{
    struct cuda_linear wrong = *job;
    wrong.x = (const char *)job->x + CUDA_CHECK_GUARD / 2; // its end is in the guard
    linear(&wrong, stream);
}

static void writes_before_the_start(const struct cuda_add *job, void *stream)
{
    add(job, stream);
    job->x[-1] = 0;
}

static void writes_past_the_end(const struct cuda_softcap *job, void *stream)
{
    softcap(job, stream);
    job->y[job->n] = 1;
}

static void writes_its_input(const struct cuda_add *job, void *stream)
{
    add(job, stream);
    *(float *)(uintptr_t)job->y += 1;
}

static void ignores_the_window(const struct cuda_attention *job, void *stream)
{
    struct cuda_attention wrong = *job;
    wrong.window = 0;
    attention(&wrong, stream);
}

static void takes_idle_tokens(const struct cuda_attention *job, void *stream)
{
    attention(job, stream);
    for (int r = 0; r < job->rows; r++)
        if (job->tokens[r].sequence < 0)
            job->out[(size_t)r * job->ldo] = 0;
}

static void leaves_the_padding(const struct cuda_norm *job, void *stream)
{
    struct cuda_norm wrong = *job;
    wrong.padded = job->n;
    norm(&wrong, stream);
}

static void advance(const struct cuda_advance *job, void *stream)
{
    (void)stream;
    struct cuda_arrival *slot = job->ring + *job->number % (uint64_t)job->slots;
    int32_t *out = job->ring_ids + *job->number % (uint64_t)job->slots * job->ld;
    memcpy(out, job->drawn, (size_t)job->rows * sizeof *out);
    for (int i = 0; i < job->next; i++) {
        job->ids[i] = job->drawn[i] < 0 ? 0 : job->drawn[i];
        job->tokens[i].position++;
    }
    *slot = (struct cuda_arrival){++*job->number, job->stamps[0], job->stamps[1], ++ticks,
                                  *job->nonfinite};
    *job->nonfinite = 0;
}

static void keeps_the_count(const struct cuda_advance *job, void *stream)
{
    unsigned long long before = *job->nonfinite;
    advance(job, stream);
    *job->nonfinite = before;
}

static void goes_back(uint64_t *out, void *stream)
{
    (void)stream;
    *out = 1000 - ++ticks;
}

static const struct launcher_row rows[] = {
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_BF16, DT_BF16, linear, NULL),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_I4, DT_BF16, linear, NULL),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_F8E4M3, DT_F8E4M3, linear_f8, NULL),
    LAUNCHER_ROW(add, KOP_ADD, DT_F32, DT_F32, add, NULL),
    LAUNCHER_ROW(softcap, KOP_SOFTCAP, DT_F32, DT_F32, softcap, NULL),
    LAUNCHER_ROW(attention, KOP_ATTENTION, DT_I8, DT_F32, attention, NULL),
    LAUNCHER_ROW(norm, KOP_NORM, DT_F32, DT_F32, norm, NULL),
    LAUNCHER_ROW(norm, KOP_NORM, DT_F32, DT_F8E4M3, norm_f8, NULL),
    LAUNCHER_ROW(advance, KOP_ADVANCE, DT_F32, DT_F32, advance, NULL),
    LAUNCHER_ROW(stamp, KOP_STAMP, DT_F32, DT_F32, stamp, NULL),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_BF16, DT_BF16, forgets_the_bias, "bias"),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_BF16, DT_BF16, forgets_the_factor, "carried inputs"),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_I4, DT_BF16, carries_old_squares, "squares"),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_BF16, DT_BF16, counts_on_its_neighbours,
                 "than it gets alone"),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_BF16, DT_BF16, reads_past_the_end, "y["),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_F8E4M3, DT_F8E4M3, keeps_14_bits, "y["),
    LAUNCHER_ROW(linear, KOP_LINEAR, DT_F8E4M3, DT_F8E4M3, scales_by_the_first_token, "y["),
    LAUNCHER_ROW(norm, KOP_NORM, DT_F32, DT_F8E4M3, rounds_to_fewer_bits, "out["),
    LAUNCHER_ROW(add, KOP_ADD, DT_F32, DT_F32, writes_before_the_start, "wrote -4 bytes"),
    LAUNCHER_ROW(add, KOP_ADD, DT_F32, DT_F32, writes_its_input, "wrote an input"),
    LAUNCHER_ROW(softcap, KOP_SOFTCAP, DT_F32, DT_F32, writes_past_the_end, "start of an output"),
    LAUNCHER_ROW(attention, KOP_ATTENTION, DT_BF16, DT_F32, ignores_the_window, "window"),
    LAUNCHER_ROW(attention, KOP_ATTENTION, DT_BF16, DT_F32, takes_idle_tokens, "of no sequence"),
    LAUNCHER_ROW(norm, KOP_NORM, DT_F32, DT_F32, leaves_the_padding, "padding"),
    LAUNCHER_ROW(advance, KOP_ADVANCE, DT_F32, DT_F32, keeps_the_count, "not finite are left"),
    LAUNCHER_ROW(stamp, KOP_STAMP, DT_F32, DT_F32, goes_back, "clock"),
    LAUNCHER_ROW(norm, KOP_CAST, DT_F32, DT_F32, norm, "no check is written for cast"),
};

static void scenes_know_right_from_wrong(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = pretend_opened("cuda:0", ISA_ALL);
    print_message("seed %d\n", SEED);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const struct kernel *row = &rows[i].kernel;
        struct kernel_check_result result;
        assert_int_equal(cuda_check_row(row, device, SEED, CASES, &result, &err), OK);
        print_message("%-26s %2d of %d: %s\n", row->name, result.failures, result.cases,
                      result.reason);
        assert_int_equal(result.cases, CASES);
        if (rows[i].reason ? !strstr(result.reason, rows[i].reason) : result.failures != 0)
            fail_msg("%s: \"%s\" lacks \"%s\"", row->name, result.reason,
                     rows[i].reason ? rows[i].reason : "nothing");
    }
    device_close(device);
}

// A device that fails ends the check of a row, with its words.
static void a_lost_device_ends_the_check(void **state)
{
    (void)state;
    struct error err = {0};
    struct device *device = pretend_opened("cuda:0", ISA_ALL);
    struct kernel_check_result result;
    pretend.fails = true;
    assert_int_equal(cuda_check_row(&rows[2].kernel, device, SEED, CASES, &result, &err), ERR_IO);
    pretend.fails = false;
    assert_int_equal(result.cases, 1);
    assert_int_equal(result.failures, 1);
    device_close(device);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scenes_know_right_from_wrong),
        cmocka_unit_test(a_lost_device_ends_the_check),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
