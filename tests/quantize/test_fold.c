// test_fold.c - which scales AWQ takes where, and that a fold leaves the layer's function as it was.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "engine/quantize/fold.h"

// As many KV heads as heads, biases everywhere, gate and up.
static struct model_config description(void)
{
    return (struct model_config){.layers = 1,
                                 .width = 4,
                                 .heads = 2,
                                 .kv_heads = 2,
                                 .head_dim = 2,
                                 .ff = 4,
                                 .vocab = 8,
                                 .norm_bias = true,
                                 .qkv_bias = true,
                                 .ff_bias = true,
                                 .activation = ACT_GELU};
}

static struct fold_site site_of(const struct model_config *c, enum engine_point point)
{
    struct fold_site sites[FOLD_SITES_MAX];
    int count = fold_sites(c, sites);
    for (int i = 0; i < count; i++)
        if (sites[i].point == point)
            return sites[i];
    fail_msg("no site at point %d", (int)point);
    return sites[0];
}

static void targets(const struct model_config *c, enum engine_point point, enum tensor_role target,
                    enum tensor_role bias)
{
    struct fold_site site = site_of(c, point);
    assert_int_equal(site.target, target);
    assert_int_equal(site.target_bias, bias);
}

static void who_can_take_a_scale(void **state)
{
    (void)state;
    struct model_config c = description();
    targets(&c, POINT_QKV_INPUT, T_ATTN_NORM, T_ATTN_NORM_BIAS);
    targets(&c, POINT_FF_INPUT, T_FF_NORM, T_FF_NORM_BIAS);
    targets(&c, POINT_O_INPUT, T_V, T_V_BIAS);
    targets(&c, POINT_DOWN_INPUT, T_UP, T_UP_BIAS);
    c.clip_qkv = 8; // v is clamped after its product
    targets(&c, POINT_O_INPUT, T_ROLE_COUNT, T_ROLE_COUNT);
    c.clip_qkv = 0;
    c.kv_heads = 1; // query heads share v: o's inputs are more than its rows
    targets(&c, POINT_O_INPUT, T_ROLE_COUNT, T_ROLE_COUNT);
    c.plain_ff = true; // GELU(s x) is not s GELU(x)
    targets(&c, POINT_DOWN_INPUT, T_ROLE_COUNT, T_ROLE_COUNT);
    c.activation = ACT_RELU; // and ReLU's is
    targets(&c, POINT_DOWN_INPUT, T_UP, T_UP_BIAS);
    c.norm_bias = false;
    targets(&c, POINT_QKV_INPUT, T_ATTN_NORM, T_ROLE_COUNT);
}

// Readers' columns are multiplied, the target's outputs and its bias are divided.
static void a_fold_reaches_the_bias(void **state)
{
    (void)state;
    static const float scale[] = {2, 4, 8, 0.5f};
    static const float columns[] = {2, 8, 24, 2}, quotients[] = {0.5f, 0.5f, 0.375f, 8};
    struct model_config c = description();
    struct fold_site up = site_of(&c, POINT_DOWN_INPUT), norm = site_of(&c, POINT_QKV_INPUT);
    struct fold_scales scales = {0};
    fold_enter(&up, scale, &scales);
    fold_enter(&norm, scale, &scales);
    static const enum tensor_role vectors[] = {T_ATTN_NORM, T_ATTN_NORM_BIAS, T_UP_BIAS};
    for (int i = 0; i < 3; i++) {
        float row[] = {1, 2, 3, 4};
        fold_rows(&scales, &c, vectors[i], 0, 1, row, 4);
        assert_memory_equal(row, quotients, sizeof row);
    }
    float down[] = {1, 2, 3, 4};
    fold_rows(&scales, &c, T_DOWN, 1, 1, down, 4);
    assert_memory_equal(down, columns, sizeof down);
    float second[] = {4, 8, 12, 16}; // row 1 of up: all of it by 4
    static const float fourth[] = {1, 2, 3, 4};
    fold_rows(&scales, &c, T_UP, 1, 1, second, 4);
    assert_memory_equal(second, fourth, sizeof second);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_can_take_a_scale),
        cmocka_unit_test(a_fold_reaches_the_bias),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
