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
        bool host = table[i].where == DEVICE_HOST;
        // A cast's name tells from and to; a peak's and a cache's the type and f32.
        int length = snprintf(expected, sizeof expected, "k_%s_%s_%s_", kernel_op_name(table[i].op),
                              dtype_name(table[i].w), dtype_name(table[i].x));
        assert_true(length > 0);
        if (strncmp(table[i].name, expected, (size_t)length) != 0)
            fail_msg("%s does not begin with %s", table[i].name, expected);
        // The ending of a host's row is its tier; a GPU's name says the kind and the column the tier.
        unsigned mask;
        if (host && !device_isa_parse(DEVICE_HOST, table[i].name + length, &mask))
            fail_msg("%s ends with no tier", table[i].name);
        if (host)
            assert_true((table[i].isa & ~mask) == 0 && (mask == 0 || table[i].isa != 0));
        else
            assert_true(strncmp(table[i].name + length, "cuda", 4) == 0 && table[i].isa != 0);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(table[i].name, table[j].name);
    }
}

// The same types meet other units: tensor cores on a GPU, lanes of f32 on a host without the dot product.
static void a_row_is_held_against_what_it_multiplies(void **state)
{
    (void)state;
    const struct {
        struct kernel row;
        enum dtype type;
    } cases[] = {
        {{.op = KOP_GEMV, .w = DT_F8E4M3, .x = DT_BF16, .isa = ISA_AVX512}, DT_F32},
        {{.op = KOP_GEMM, .w = DT_BF16, .x = DT_BF16, .isa = ISA_AVX512_BF16}, DT_BF16},
        {{.op = KOP_GEMM, .w = DT_I4, .x = DT_I8, .isa = ISA_AVX512_VNNI}, DT_I8},
        {{.op = KOP_ATTENTION, .w = DT_BF16, .isa = ISA_AVX512_BF16}, DT_F32},
        {{.op = KOP_PEAK, .w = DT_I8}, DT_I8},
        {{.op = KOP_LINEAR, .w = DT_F8E4M3, .x = DT_BF16, .where = DEVICE_CUDA}, DT_BF16},
        {{.op = KOP_LINEAR, .w = DT_F16, .x = DT_F16, .where = DEVICE_CUDA}, DT_BF16},
        {{.op = KOP_LINEAR, .w = DT_F32, .x = DT_F32, .where = DEVICE_CUDA}, DT_F32},
        {{.op = KOP_ATTENTION, .w = DT_I8, .where = DEVICE_CUDA}, DT_BF16},
        {{.op = KOP_NORM, .w = DT_F32, .x = DT_BF16, .where = DEVICE_CUDA}, DT_F32},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        if (kernel_datapath(&cases[i].row) != cases[i].type)
            fail_msg("case %zu: %s", i, dtype_name(kernel_datapath(&cases[i].row)));
}

static void every_operation_has_a_portable_row(void **state)
{
    (void)state;
    size_t count;
    const struct kernel *table = kernel_table(&count);
    for (size_t i = 0; i < count; i++) {
        const struct kernel *ref = kernel_reference(table[i].op, table[i].w, table[i].x);
        if (table[i].where != DEVICE_HOST)
            continue; // its scene names what it is compared with (kernels/cuda/check_*.c)
        assert_non_null(ref);
        assert_int_equal(ref->isa, 0);
        assert_non_null(ref->fn.linear);
    }
    for (enum kernel_op op = 0; op < KOP_LINEAR; op++) {
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
            struct device_target target = {.where = DEVICE_HOST, .isa = isa};
            const struct kernel *found = kernel_find(KOP_GEMV, t, t, target), *last = NULL;
            for (size_t i = 0; i < count; i++)
                if (table[i].op == KOP_GEMV && table[i].w == t && table[i].x == t &&
                    (table[i].isa & ~isa) == 0)
                    last = &table[i];
            assert_ptr_equal(found, last);
        }
    struct device_target all = {.where = DEVICE_HOST, .isa = ISA_ALL};
    assert_null(kernel_find(KOP_GEMV, DT_I4, DT_F16, all));
}

// A row of the host is never found for another kind of device, whatever tiers that has.
static void a_target_keeps_to_its_kind(void **state)
{
    (void)state;
    size_t count;
    const struct kernel *table = kernel_table(&count);
    for (size_t i = 0; i < count; i++) {
        struct device_target gpu = {.where = DEVICE_CUDA, .isa = ISA_ALL};
        const struct kernel *found = kernel_find(table[i].op, table[i].w, table[i].x, gpu);
        assert_true(!found || found->where == DEVICE_CUDA);
        assert_int_equal(kernel_runs_on(&table[i], gpu), table[i].where == DEVICE_CUDA);
    }
}

// Products say what they read and where GEMV ends; nothing else does.
static void products_have_their_columns(void **state)
{
    (void)state;
    size_t count;
    const struct kernel *table = kernel_table(&count);
    for (size_t i = 0; i < count; i++) {
        const struct kernel *k = &table[i];
        bool product = k->op == KOP_GEMV || k->op == KOP_GEMM || k->op == KOP_LINEAR;
        if (product != (k->layout != LAYOUT_NONE) || product != (k->most_tokens > 0))
            fail_msg("%s", k->name);
        if (k->op == KOP_GEMM || k->op == KOP_LINEAR)
            assert_int_equal(k->most_tokens, ALL_TOKENS);
        if (product && k->isa && k->where == DEVICE_HOST)
            assert_true(k->tile.panels > 0 && k->tile.tokens > 0 && k->tile.streamed > 0 &&
                        k->tile.streamed <= k->tile.panels);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_say_what_rows_are),
        cmocka_unit_test(a_row_is_held_against_what_it_multiplies),
        cmocka_unit_test(every_operation_has_a_portable_row),
        cmocka_unit_test(the_last_row_that_runs_is_found),
        cmocka_unit_test(a_target_keeps_to_its_kind),
        cmocka_unit_test(products_have_their_columns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
