// test_stored.c - which files hold their weights in codes, as a figure's caveat names them.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "bench/engines/stored.h"

static void check(const char *path, const char *expected)
{
    struct checkpoint *ck = NULL;
    struct error err = {0};
    char stored[STORED_BYTES] = "untouched";
    if (checkpoint_open(path, &ck, &err) != OK)
        fail_msg("%s: %s", path, err.message);
    bench_engine_stored_codes(ck, stored);
    checkpoint_destroy(ck);
    assert_string_equal(stored, expected);
}

static void plain_numbers_are_no_codes(void **state)
{
    (void)state;
    check("tests/golden/models/llama-gqa3", "");
    check("tests/golden/models/llama-gqa3/model.gguf", "");
    check("models/reference", "");
}

// Each type once, in the order of the tensors' classes.
static void codes_are_named(void **state)
{
    (void)state;
    check("tests/golden/models/gguf-small-blocks/model.gguf", "q5_1, q8_0, q4_0, q5_0, q4_1");
    check("tests/golden/models/gguf-k-blocks/model.gguf", "q4_k, q5_k, q6_k");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(plain_numbers_are_no_codes),
                                       cmocka_unit_test(codes_are_named)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
