// test_stored.c - block types bit for bit as package `gguf` expands and writes them; plain types; names.
#include "tests/engine/fixture.h"

#include <stdlib.h>

#include "base/file.h"
#include "base/fp.h"
#include "base/rng.h"
#include "engine/load/stored.h"

struct part {
    char name[9];
    uint32_t count, elements, bytes; // blocks or rows; elements and bytes of each
    const unsigned char *blocks;
    const float *values;
};

static uint32_t take_u32(const unsigned char **at)
{
    uint32_t value;
    memcpy(&value, *at, sizeof value);
    *at += sizeof value;
    return value;
}

static struct part take_part(const unsigned char **at)
{
    struct part p = {0};
    memcpy(p.name, *at, 8);
    *at += 8;
    p.count = take_u32(at);
    p.elements = take_u32(at);
    p.bytes = take_u32(at);
    p.blocks = *at;
    *at += (size_t)p.count * p.bytes;
    p.values = (const float *)(const void *)*at;
    *at += (size_t)p.count * p.elements * sizeof(float);
    return p;
}

static struct file_map golden(uint32_t counts[2], const unsigned char **at)
{
    struct error err = {0};
    struct file_map map;
    expect_ok(file_map("tests/golden/blocks/blocks.bin", &map, &err), &err, "blocks.bin");
    assert_memory_equal(map.data, "RGBK", 4);
    *at = map.data + 4;
    assert_int_equal(take_u32(at), 1);
    counts[0] = take_u32(at);
    counts[1] = take_u32(at);
    return map;
}

// Equal bits, or both NaN: which NaN a sum of infinities is depends on the machine.
static bool same(float a, float b)
{
    return f32_bits(a) == f32_bits(b) || (isnan(a) && isnan(b));
}

static void blocks_expand_as_the_reference(void **state)
{
    (void)state;
    uint32_t counts[2];
    const unsigned char *at;
    struct file_map map = golden(counts, &at);
    assert_int_equal(counts[0], 8);
    for (uint32_t i = 0; i < counts[0]; i++) {
        struct part p = take_part(&at);
        const struct stored_type *type = stored_find(p.name);
        assert_non_null(type);
        assert_int_equal(type->block, p.elements);
        assert_int_equal(type->bytes, p.bytes);
        size_t n = (size_t)p.count * p.elements;
        // One byte further on, so that nothing rests on alignment.
        unsigned char *moved = malloc((size_t)p.count * p.bytes + 1);
        float *out = malloc(n * sizeof *out);
        memcpy(moved + 1, p.blocks, (size_t)p.count * p.bytes);
        stored_to_f32(out, moved + 1, type, n);
        for (size_t j = 0; j < n; j++) {
            float want;
            memcpy(&want, (const unsigned char *)p.values + 4 * j, 4);
            if (!same(out[j], want))
                fail_msg("%s: block %zu, element %zu: %a, want %a", p.name, j / p.elements,
                         j % p.elements, (double)out[j], (double)want);
        }
        free(out);
        free(moved);
    }
    file_unmap(&map);
}

static void rows_are_written_as_the_reference(void **state)
{
    (void)state;
    uint32_t counts[2];
    const unsigned char *at;
    struct file_map map = golden(counts, &at);
    for (uint32_t i = 0; i < counts[0]; i++)
        take_part(&at);
    assert_int_equal(counts[1], 4);
    for (uint32_t i = 0; i < counts[1]; i++) {
        struct part p = take_part(&at);
        const struct stored_type *type = stored_find(p.name);
        assert_non_null(type);
        assert_int_equal(stored_bytes(type, p.elements), p.bytes);
        for (uint32_t row = 0; row < p.count; row++) {
            float x[32];
            unsigned char out[128];
            memcpy(x, (const unsigned char *)p.values + 4 * (size_t)p.elements * row, sizeof x);
            stored_from_f32(out, x, type, p.elements);
            for (uint32_t b = 0; b < p.bytes; b++)
                if (out[b] != p.blocks[(size_t)row * p.bytes + b])
                    fail_msg("%s: row %u, byte %u: %d, want %d", p.name, row, b, out[b],
                             p.blocks[(size_t)row * p.bytes + b]);
        }
    }
    assert_ptr_equal(at, map.data + map.size_bytes);
    file_unmap(&map);
}

// What is written and read again is off by at most half a step: of 127 or of 16 to the largest value.
static void written_rows_come_back(void **state)
{
    (void)state;
    uint64_t seed = 7;
    print_message("seed %llu\n", (unsigned long long)seed);
    static const struct {
        const char *name;
        double bound; // of the block's largest magnitude
    } cases[] = {
        {"f32", 0}, {"bf16", 1.0 / 256}, {"f16", 1.0 / 2048}, {"q8_0", 0.005}, {"q4_0", 0.13}};
    for (size_t c = 0; c < sizeof cases / sizeof *cases; c++) {
        const struct stored_type *type = stored_find(cases[c].name);
        for (int round = 0; round < 50; round++) {
            float x[32], y[32];
            unsigned char bytes[128];
            double largest = 0;
            for (int i = 0; i < 32; i++) {
                seed = rng_hash(seed);
                x[i] = (float)((double)(seed >> 11) * 0x1p-53 - 0.5) * (float)(1 << round % 12);
                largest = fmax(largest, fabs((double)x[i]));
            }
            stored_from_f32(bytes, x, type, 32);
            stored_to_f32(y, bytes, type, 32);
            for (int i = 0; i < 32; i++)
                if (!(fabs((double)x[i] - (double)y[i]) <= cases[c].bound * largest))
                    fail_msg("%s: %g came back as %g", cases[c].name, (double)x[i], (double)y[i]);
        }
    }
}

// All 256 codes: sign, four bits of exponent (bias 7), three of mantissa; two NaNs.
static void every_e4m3_code(void **state)
{
    (void)state;
    const struct stored_type *type = stored_find_safetensors("F8_E4M3");
    assert_non_null(type);
    for (int code = 0; code < 256; code++) {
        unsigned char byte = (unsigned char)code;
        int exponent = code >> 3 & 15, mantissa = code & 7;
        double magnitude = exponent ? ldexp(8 + mantissa, exponent - 10) : ldexp(mantissa, -9);
        double want = code & 128 ? -magnitude : magnitude;
        float got;
        stored_to_f32(&got, &byte, type, 1);
        if ((code & 127) == 127)
            assert_true(isnan(got));
        else
            assert_float_equal(got, want, 0);
        assert_int_equal(signbit(got) != 0, code >> 7);
    }
}

static void names(void **state)
{
    (void)state;
    char text[128];
    assert_string_equal(stored_ggml_names(text, sizeof text),
                        "F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, Q5_K, Q6_K");
    assert_ptr_equal(stored_find_ggml(14), stored_find("q6_k"));
    assert_null(stored_find_ggml(10)); // Q2_K
    assert_null(stored_find_ggml(UINT32_MAX));
    assert_string_equal(stored_ggml_name(10), "Q2_K");
    assert_string_equal(stored_ggml_name(4711), "unknown");
    assert_null(stored_find_safetensors("Q8_0"));
    assert_null(stored_find_safetensors(NULL));
    assert_null(stored_find_safetensors("I32")->expand);
    assert_int_equal(stored_find_safetensors("I64")->bytes, 8);
    assert_int_equal(stored_bytes(stored_find("q4_k"), 512), 288);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_expand_as_the_reference),
        cmocka_unit_test(rows_are_written_as_the_reference),
        cmocka_unit_test(written_rows_come_back),
        cmocka_unit_test(every_e4m3_code),
        cmocka_unit_test(names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
