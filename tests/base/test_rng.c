// test_rng.c - the published stream of splitmix64, and the range of what is made of it.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"

static void the_stream_is_splitmix64(void **state)
{
    (void)state;
    // Seed 1234567, as in the reference implementation's test vectors (Vigna, xoshiro.di.unimi.it).
    static const uint64_t expected[] = {6457827717110365317u, 3203168211198807973u,
                                        9817491932198370423u, 4593380528125082431u,
                                        16408922859458223821u};
    struct rng rng = {1234567};
    for (int i = 0; i < 5; i++)
        assert_true(rng_u64(&rng) == expected[i]);
}

static void any_position_can_be_made_alone(void **state)
{
    (void)state;
    struct rng rng = {99};
    for (uint64_t i = 0; i < 1000; i++)
        assert_true(rng_u64(&rng) == rng_hash(99 + i * 0x9e3779b97f4a7c15u));
}

static void numbers_stay_in_their_range(void **state)
{
    (void)state;
    struct rng rng = {7};
    int seen[10] = {0};
    double sum = 0;
    for (int i = 0; i < 100000; i++) {
        float f = rng_f32(&rng);
        assert_true(f >= 0 && f < 1);
        sum += f;
        uint32_t below = rng_below(&rng, 10);
        assert_true(below < 10);
        seen[below]++;
    }
    assert_true(sum > 49500 && sum < 50500); // a fixed seed: never by chance
    for (int i = 0; i < 10; i++)
        assert_true(seen[i] > 9500 && seen[i] < 10500);
    assert_int_equal(rng_below(&rng, 1), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stream_is_splitmix64),
        cmocka_unit_test(any_position_can_be_made_alone),
        cmocka_unit_test(numbers_stay_in_their_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
