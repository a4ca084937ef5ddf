// test_fp.c - every 8- and 16-bit number to f32 and back, and rounding against arithmetic in double.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <time.h>

#include "base/fp.h"
#include "base/rng.h"

static void every_16_bit_number_survives_the_round_trip(void **state)
{
    (void)state;
    for (uint32_t bits = 0; bits < 65536; bits++) {
        uint16_t h = (uint16_t)bits;
        float b = bf16_to_f32(h), f = f16_to_f32(h);
        if (isnan(b))
            assert_true(isnan(bf16_to_f32(bf16_from_f32(b))));
        else
            assert_int_equal(bf16_from_f32(b), h);
        if (isnan(f))
            assert_true(isnan(f16_to_f32(f16_from_f32(f))));
        else
            assert_int_equal(f16_from_f32(f), h);
    }
}

// x rounded to `digits` binary digits, exponents from `least` up, ties to even: in double, by definition.
static double rounded(double x, int digits, int least)
{
    int exponent;
    frexp(x, &exponent);
    if (exponent < least)
        exponent = least;
    return ldexp(nearbyint(ldexp(x, digits - exponent)), exponent - digits);
}

static void rounding_is_to_nearest_even(void **state)
{
    (void)state;
    struct rng rng = {(uint64_t)time(NULL)};
    printf("seed %llu\n", (unsigned long long)rng.state);
    for (int i = 0; i < 200000; i++) {
        double magnitude = ldexp(1 + (double)rng_f32(&rng), (int)rng_below(&rng, 40) - 26);
        float x = (float)(i % 2 ? -magnitude : magnitude);
        if (i % 4 == 0) // a tie: half-way between two f16 numbers
            x = (float)ldexp(rounded(x, 11, -13) * 2 + ldexp(1, ilogbf(x) - 10), -1);
        double f16 = rounded(x, 11, -13);
        assert_true(f16_to_f32(f16_from_f32(x)) ==
                    (fabs(f16) > 65504 ? copysign(INFINITY, x) : f16));
        assert_true(bf16_to_f32(bf16_from_f32(x)) == rounded(x, 8, -125));
    }
}

static void the_ends_of_the_range(void **state)
{
    (void)state;
    assert_int_equal(f16_from_f32(65519.996f), 0x7bff);
    assert_int_equal(f16_from_f32(65520), 0x7c00);
    assert_int_equal(f16_from_f32(-1e30f), 0xfc00);
    assert_int_equal(f16_from_f32(0x1p-25f), 0);   // a tie, to even
    assert_int_equal(f16_from_f32(0x1.8p-25f), 1); // above it
    assert_int_equal(f16_from_f32(-0.0f), 0x8000);
    assert_int_equal(bf16_from_f32(3.4e38f), 0x7f80); // rounds to infinity
    assert_true(isnan(bf16_to_f32(bf16_from_f32(f32_from_bits(0x7f800001)))));
    assert_true(isnan(f16_to_f32(f16_from_f32(f32_from_bits(0xff800001)))));
}

static void fp8_survives_rounds_to_nearest_even_and_saturates(void **state)
{
    (void)state;
    for (int code = 0; code < 256; code++) {
        float f = f8e4m3_to_f32((uint8_t)code);
        if ((code & 0x7f) == 0x7f)
            assert_true(isnan(f) && isnan(f8e4m3_to_f32(f8e4m3_from_f32(f))));
        else
            assert_int_equal(f8e4m3_from_f32(f), code);
    }
    assert_true(f8e4m3_to_f32(0x7e) == 448 && f8e4m3_to_f32(0x01) == 0x1p-9f);
    assert_true(f8e4m3_to_f32(0x08) == 0x1p-6f && f8e4m3_to_f32(0xb8) == -1);
    assert_int_equal(f8e4m3_from_f32(1e9f), 0x7e);
    assert_int_equal(f8e4m3_from_f32(-INFINITY), 0xfe);
    struct rng rng = {(uint64_t)time(NULL)};
    printf("seed %llu\n", (unsigned long long)rng.state);
    for (int i = 0; i < 100000; i++) {
        float x = (float)ldexp(1 + (double)rng_f32(&rng), (int)rng_below(&rng, 20) - 12);
        if (i % 4 == 0) // a tie
            x = (float)ldexp(rounded(x, 4, -5) * 2 + ldexp(1, ilogbf(x) - 3), -1);
        double expected = fmin(rounded(x, 4, -5), 448);
        assert_true(f8e4m3_to_f32(f8e4m3_from_f32(-x)) == -expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_16_bit_number_survives_the_round_trip),
        cmocka_unit_test(rounding_is_to_nearest_even),
        cmocka_unit_test(the_ends_of_the_range),
        cmocka_unit_test(fp8_survives_rounds_to_nearest_even_and_saturates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
