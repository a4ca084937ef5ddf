// test_rope.c - frequencies of every kind of scaling, each worked out by hand.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>

#include "engine/model/rope.h"

// theta 100 over four elements: waves of 1 and 10.
static struct model_config plain(void)
{
    return (struct model_config){.head_dim = 4,
                                 .rotary = 4,
                                 .rope = ROPE_HALF,
                                 .rope_theta = 100,
                                 .rope_original_positions = 8};
}

static void expect(const struct model_config *c, int positions, double first, double second)
{
    float freq[2];
    rope_frequencies(c, positions, freq);
    assert_float_equal(freq[0], first, 1e-6);
    assert_float_equal(freq[1], second, 1e-6);
}

static void unscaled_and_linear(void **state)
{
    (void)state;
    struct model_config c = plain();
    expect(&c, 64, 1, 0.1);
    c.rope_scaling = ROPE_SCALE_LINEAR;
    c.rope_factor = 4;
    expect(&c, 64, 0.25, 0.025);
}

// The long factors begin with the first position that the model was not made for.
static void longrope_turns_beyond_the_original_positions(void **state)
{
    (void)state;
    struct model_config c = plain();
    c.rope_scaling = ROPE_SCALE_LONGROPE;
    c.rope_factors[0] = 2;
    c.rope_factors[1] = 1;
    c.rope_long_factors[0] = 4;
    c.rope_long_factors[1] = 5;
    expect(&c, 7, 0.5, 0.1);
    expect(&c, 8, 0.5, 0.1);
    expect(&c, 9, 0.25, 0.02);
}

// Within 100 original positions a wave of 6.28 turns more than 10 times and is kept. One of 62.8 turns less than
// twice and is stretched. One that turns 6 times, midway, is half of each.
static void llama3_keeps_short_waves(void **state)
{
    (void)state;
    struct model_config c = plain();
    c.rope_scaling = ROPE_SCALE_LLAMA3;
    c.rope_original_positions = 100;
    c.rope_factor = 8;
    c.rope_low_freq = 2;
    c.rope_high_freq = 10;
    expect(&c, 1000, 1, 0.1 / 8);
    double turn = 6.283185307179586 * 6 / 100, wave = 1 / turn; // the second pair's
    c.rope_theta = (float)(wave * wave);
    expect(&c, 1000, 1, turn * (0.5 + 0.5 / 8));
}

static void tables_hold_both_with_the_attention_factor(void **state)
{
    (void)state;
    struct model_config c = plain();
    float freq[] = {1, 0.1f}, cosine[6] = {0}, sine[6] = {0};
    c.rope_attention_factor = 1.5f;
    rope_fill(&c, freq, 1, 3, cosine, sine);
    assert_float_equal(cosine[0], 0, 0); // position 0 is not asked for
    for (int position = 1; position < 3; position++)
        for (int i = 0; i < 2; i++) {
            double angle = position * (i ? 0.1 : 1);
            assert_float_equal(cosine[2 * position + i], 1.5 * cos(angle), 1e-6);
            assert_float_equal(sine[2 * position + i], 1.5 * sin(angle), 1e-6);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(unscaled_and_linear),
        cmocka_unit_test(longrope_turns_beyond_the_original_positions),
        cmocka_unit_test(llama3_keeps_short_waves),
        cmocka_unit_test(tables_hold_both_with_the_attention_factor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
