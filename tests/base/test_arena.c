// test_arena.c - alignment, zeroing, growth, and sizes that do not fit.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

#include "base/arena.h"

static void everything_is_aligned_zeroed_and_apart(void **state)
{
    (void)state;
    struct arena arena = {0};
    unsigned char *parts[200];
    for (size_t i = 0; i < 200; i++) {
        size_t bytes = i * 37 % 5000; // beyond one block in sum
        parts[i] = arena_alloc(&arena, bytes, 1);
        assert_non_null(parts[i]);
        assert_int_equal((uintptr_t)parts[i] % ARENA_ALIGN, 0);
        for (size_t b = 0; b < bytes; b++)
            assert_int_equal(parts[i][b], 0);
        memset(parts[i], (int)i + 1, bytes);
    }
    for (size_t i = 0; i < 200; i++)
        for (size_t b = 0; b < i * 37 % 5000; b++)
            assert_int_equal(parts[i][b], (unsigned char)(i + 1));
    arena_fini(&arena);
    assert_null(arena.blocks);
}

static void one_allocation_may_exceed_a_block(void **state)
{
    (void)state;
    struct arena arena = {0};
    char *large = arena_alloc(&arena, 1 << 20, 3);
    assert_non_null(large);
    large[(3 << 20) - 1] = 'x';
    assert_true(arena.used_bytes >= 3 << 20);
    arena_fini(&arena);
}

static void absurd_sizes_are_refused_and_leave_the_arena_usable(void **state)
{
    (void)state;
    struct arena arena = {0};
    assert_null(arena_alloc(&arena, SIZE_MAX / 2, 3));
    assert_null(arena_alloc(&arena, SIZE_MAX, 1));
    assert_null(aligned_alloc_zeroed(SIZE_MAX));
    assert_string_equal(arena_strdup(&arena, "still here"), "still here");
    arena_fini(&arena);
}

static void size_mul_names_what_does_not_fit(void **state)
{
    (void)state;
    struct error err = {0};
    size_t product = 0;
    assert_int_equal(size_mul(SIZE_MAX / 3, 3, &product, "kv", &err), OK);
    assert_true(product == SIZE_MAX / 3 * 3);
    assert_int_equal(size_mul(SIZE_MAX, 0, &product, "kv", &err), OK);
    assert_int_equal(size_mul(SIZE_MAX / 3 + 1, 3, &product, "kv cache", &err), ERR_NOMEM);
    assert_non_null(strstr(err.message, "kv cache"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(everything_is_aligned_zeroed_and_apart),
        cmocka_unit_test(one_allocation_may_exceed_a_block),
        cmocka_unit_test(absurd_sizes_are_refused_and_leave_the_arena_usable),
        cmocka_unit_test(size_mul_names_what_does_not_fit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
