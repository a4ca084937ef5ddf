// test_registry.c - the table of kernels: names that say what a row is, order, and finding under a mask.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "kernels/kernels.h"

// k_<op>_<w>_<x>_<isa>: the grammar of kernels/README.md, read back from each row.
static void names_say_what_rows_are(void **state)
{
    (void)state;
    size_t count;
    const struct kernel *table = kernel_table(&count);
    assert_true(count > 20);
    for (size_t i = 0; i < count; i++) {
        char expected[64];
        // A cast's name tells from and to; a peak's and a cache's the type and f32.
        int length = snprintf(expected, sizeof expected, "k_%s_%s_%s_", kernel_op_name(table[i].op),
                              dtype_name(table[i].w), dtype_name(table[i].x));
        assert_true(length > 0);
        if (strncmp(table[i].name, expected, (size_t)length) != 0)
            fail_msg("%s does not begin with %s", table[i].name, expected);
        unsigned mask;
        assert_true(device_isa_parse(DEVICE_HOST, table[i].name + length, &mask));
        assert_true((table[i].isa & ~mask) == 0);
        assert_true(mask == 0 || (table[i].isa != 0));
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(table[i].name, table[j].name);
    }
}

static void every_operation_has_a_portable_row(void **state)
{
    (void)state;
    size_t count;
    const struct kernel *table = kernel_table(&count);
    for (size_t i = 0; i < count; i++) {
        const struct kernel *ref = kernel_find(table[i].op, table[i].w, table[i].x, 0);
        assert_non_null(ref);
        assert_int_equal(ref->isa, 0);
        assert_non_null(ref->fn.linear);
    }
    for (enum kernel_op op = 0; op < KOP_COUNT; op++) {
        bool found = false;
        for (size_t i = 0; i < count; i++)
            found = found || table[i].op == op;
        assert_true(found);
    }
}

static void the_last_row_that_runs_is_found(void **state)
{
    (void)state;
    size_t count;
    const struct kernel *table = kernel_table(&count);
    for (unsigned isa = 0; isa < 1 << 11; isa++)
        for (enum dtype t = DT_F32; t <= DT_BF16; t++) {
            const struct kernel *found = kernel_find(KOP_GEMV, t, t, isa), *last = NULL;
            for (size_t i = 0; i < count; i++)
                if (table[i].op == KOP_GEMV && table[i].w == t && table[i].x == t &&
                    (table[i].isa & ~isa) == 0)
                    last = &table[i];
            assert_ptr_equal(found, last);
        }
    assert_null(kernel_find(KOP_GEMV, DT_I4, DT_F16, ISA_ALL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_what_rows_are),
        cmocka_unit_test(every_operation_has_a_portable_row),
        cmocka_unit_test(the_last_row_that_runs_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
