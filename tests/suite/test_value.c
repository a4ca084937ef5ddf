// test_value.c - lists, ranges, units, rules: what they make, and what is said when they do not.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "bench/suite/options.h"
#include "bench/suite/plan.h"
#include "bench/suite/rules.h"
#include "bench/suite/value.h"

// "1 2 4" of a list of integers, or the error.
static const char *ints(const char *text)
{
    static char out[4096];
    struct arena arena = {0};
    struct int_list list = {0};
    struct error err = {0};
    int used = 0;
    out[0] = '\0';
    if (value_ints(text, 1, 65536, "auto", &arena, &list, &err) != OK)
        snprintf(out, sizeof out, "%s", err.message);
    else
        for (size_t i = 0; i < list.count; i++)
            used += snprintf(out + used, sizeof out - (size_t)used, "%s%d", i ? " " : "",
                             list.items[i]);
    arena_fini(&arena);
    return out;
}

static void ranges_and_lists(void **state)
{
    (void)state;
    assert_string_equal(ints("4"), "4");
    assert_string_equal(ints("auto"), "0");
    assert_string_equal(ints(" 1, 4 ,16"), "1 4 16");
    assert_string_equal(ints("1-16*2"), "1 2 4 8 16");
    assert_string_equal(ints("512-8192*4"), "512 2048 8192");
    assert_string_equal(ints("1-8+2"), "1 3 5 7");
    assert_string_equal(ints("3-6"), "3 4 5 6");
    assert_string_equal(ints("5-5"), "5");
    assert_string_equal(ints("5-7*2"), "5");
    assert_string_equal(ints("1-3, 8-32*2, 7"), "1 2 3 8 16 32 7");
    assert_string_equal(ints("1-65536*65536"), "1 65536");
    assert_string_equal(ints("1-8+9223372036854775807"), "1");
    assert_string_equal(ints("1-8*9223372036854775807"), "1");
}

static void bad_lists(void **state)
{
    (void)state;
    assert_string_equal(ints("8-2"), "range '8-2' ends below its start");
    assert_string_equal(ints("1-16*1"), "range '1-16*1': the factor must be at least 2");
    assert_string_equal(ints("1-16*-2"), "range '1-16*-2': the factor must be at least 2");
    assert_string_equal(ints("1-16+0"), "range '1-16+0': the step must be at least 1");
    assert_string_equal(ints("1-60000"), "range '1-60000' makes 60000 values: at most 256");
    assert_string_equal(ints("0-4"), "range '0-4' is not within 1 and 65536");
    assert_string_equal(ints("1-99999999*2"), "range '1-99999999*2' is not within 1 and 65536");
    assert_string_equal(ints("0"), "0 is not within 1 and 65536");
    assert_string_equal(ints("-3"), "-3 is not within 1 and 65536");
    assert_string_equal(ints("65537"), "65537 is not within 1 and 65536");
    assert_string_equal(ints("99999999999999999999"),
                        "'99999999999999999999' is neither a number nor a range "
                        "(1-16*2, 1-8+2, 1-4)");
    assert_string_equal(ints("1,,2"), "a value is missing");
    assert_string_equal(ints("1,"), "a value is missing");
    assert_string_equal(ints(""), "a value is missing");
    assert_string_equal(ints("1-2-3"),
                        "'1-2-3' is neither a number nor a range (1-16*2, 1-8+2, 1-4)");
    assert_string_equal(ints("4x"), "'4x' is neither a number nor a range (1-16*2, 1-8+2, 1-4)");
    assert_string_equal(ints("1-4, 2"), "2 is listed twice");
}

typedef enum status number_fn(const char *text, double *out, struct error *err);

static void expect_number(number_fn *parse, const char *text, double value)
{
    struct error err = {0};
    double out = -1;
    assert_int_equal(parse(text, &out, &err), OK);
    assert_true(out == value);
}

static void expect_refused(number_fn *parse, const char *text, const char *message)
{
    struct error err = {0};
    double out = -1;
    assert_int_equal(parse(text, &out, &err), ERR_USAGE);
    assert_string_equal(err.message, message);
}

static void units(void **state)
{
    (void)state;
    expect_number(value_time, "300s", 300e9);
    expect_number(value_time, "5m", 300e9);
    expect_number(value_time, "200ms", 200e6);
    expect_number(value_time, "1.5h", 5400e9);
    expect_number(value_time, "7us", 7e3);
    expect_number(value_bytes, "16GiB", 17179869184.0);
    static const struct {
        const char *unit;
        double bytes;
    } bytes[] = {{"1B", 1},        {"1KiB", 0x1p10}, {"1MiB", 0x1p20},
                 {"1GiB", 0x1p30}, {"1TiB", 0x1p40}, {"2kB", 2000},
                 {"1MB", 1e6},     {"1GB", 1e9},     {"1TB", 1e12}};
    for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++)
        expect_number(value_bytes, bytes[i].unit, bytes[i].bytes);
    expect_refused(value_time, "300", "'300' needs a unit: ns, us, ms, s, m or h");
    expect_refused(value_time, "3 s", "'3 s' needs a unit: ns, us, ms, s, m or h");
    expect_refused(value_time, "soon",
                   "'soon' is not a number with a unit (ns, us, ms, s, m or h)");
    expect_refused(value_time, "-3s", "'-3s' is not a number with a unit (ns, us, ms, s, m or h)");
    expect_refused(value_time, "1e30h", "1e30h is too large");
    expect_refused(value_bytes, "0x10MiB",
                   "'0x10MiB' is not a number with a unit (B, KiB, MiB, GiB, TiB, kB, MB, GB or "
                   "TB)");
}

static void words(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct error err = {0};
    struct word_list list;
    assert_int_equal(value_words("a,  b c ,d", &arena, &list, &err), OK);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.items[1], "b c");
    assert_int_equal(value_words("a, b, a", &arena, &list, &err), ERR_USAGE);
    assert_string_equal(err.message, "'a' is listed twice");
    arena_fini(&arena);
}

// ---- skip and link ------------------------------------------------------------------------------

static const struct point point = {
    .word =
        {[AXIS_MODEL] = "7b", [AXIS_SCHEME] = "fp8", [AXIS_DEVICE] = "cuda:1", [AXIS_KV] = "auto"},
    .number = {[AXIS_BATCH] = 8, [AXIS_CONTEXT] = 2048, [AXIS_GEN] = 128},
};

// Does the rule match the point above? -1 and the error in *out when it does not parse.
static int matches(const char *text, struct error *err)
{
    struct arena arena = {0};
    struct rule_list rules = {0};
    memset(err, 0, sizeof *err);
    int result = -1;
    if (rules_parse(text, &arena, &rules, err) == OK)
        result = rules_match(&rules, &point) != NULL;
    arena_fini(&arena);
    return result;
}

static void rules(void **state)
{
    (void)state;
    static const char *const yes[] = {"7b",
                                      "fp8",
                                      "cuda",
                                      "cuda:1",
                                      "fp8 @ cuda",
                                      "fp8 & cuda",
                                      "7b & batch>=8",
                                      "7b & batch>=8 & context<4096 @ cuda:*",
                                      "batch=8",
                                      "batch != 4",
                                      "model=7b",
                                      "device = cuda",
                                      "scheme != bf16",
                                      "13b, 7b",
                                      "fp*",
                                      "7b&fp8@cuda&gen<=128",
                                      "kv=auto"};
    static const char *const no[] = {"13b",
                                     "bf16",
                                     "metal",
                                     "cuda:0",
                                     "fp8 @ metal",
                                     "7b & batch>8",
                                     "batch<8",
                                     "model != 7b",
                                     "context=512",
                                     "cud",
                                     "7b & bf16",
                                     "device = cuda:0",
                                     "bf16, int8 & 7b"};
    struct error err;
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        if (matches(yes[i], &err) != 1)
            fail_msg("'%s' should match: %s", yes[i], err.message);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        if (matches(no[i], &err) != 0)
            fail_msg("'%s' should not match: %s", no[i], err.message);
}

static void bad_rules(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"7b &", "rule '7b &': a term is missing at its end"},
        {"& 7b", "rule '& 7b': a term is missing before '& 7b'"},
        {"7b fp8", "rule '7b fp8': '&' or '@' expected before 'fp8'"},
        {"bacth>=8", "rule 'bacth>=8': unknown key 'bacth': did you mean 'batch'?"},
        {"batch>=many", "rule 'batch>=many': 'batch' is compared with a number, not with 'many'"},
        {"batch>=", "rule 'batch>=': 'batch' is compared with a number, not with ''"},
        {"model>7b", "rule 'model>7b': 'model' is a word: only = and != compare it"},
        {"model=", "rule 'model=': 'model' is compared with nothing"},
        {"a,,b", "a value is missing"},
        {"a&b&c&d&e&f&g&h&i", "rule 'a&b&c&d&e&f&g&h&i': more than 8 terms"},
    };
    struct error err;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        assert_int_equal(matches(cases[i][0], &err), -1);
        assert_string_equal(err.message, cases[i][1]);
    }
}

static void links(void **state)
{
    (void)state;
    static const char *const bad[][2] = {
        {"batch", "'batch' links fewer than two keys"},
        {"batch contxt", "unknown key 'contxt': did you mean 'context'?"},
        {"batch batch", "'batch' is listed twice"},
        {"batch context, gen batch", "'batch' is linked twice"},
        {"batch context, gen context", "'context' is linked twice"},
        {"device batch", "'device' cannot be linked"},
    };
    struct arena arena = {0};
    struct error err = {0};
    struct link_list list;
    assert_int_equal(links_parse("gen batch, model scheme", &arena, &list, &err), OK);
    assert_int_equal(list.leader[AXIS_GEN], AXIS_BATCH);
    assert_int_equal(list.leader[AXIS_BATCH], AXIS_BATCH);
    assert_int_equal(list.leader[AXIS_SCHEME], AXIS_MODEL);
    assert_int_equal(list.leader[AXIS_CONTEXT], AXIS_CONTEXT);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        error_clear(&err);
        assert_int_equal(links_parse(bad[i][0], &arena, &list, &err), ERR_USAGE);
        assert_string_equal(err.message, bad[i][1]);
    }
    arena_fini(&arena);
}

// The words of `collect` stand in the order of the bits: a word without its bit would be taken and do nothing.
static void collected_words_are_bits(void **state)
{
    (void)state;
    static const struct {
        const char *word;
        unsigned bit;
    } words[] = {{"timing", COLLECT_TIMING},     {"memory", COLLECT_MEMORY},
                 {"counters", COLLECT_COUNTERS}, {"quality", COLLECT_QUALITY},
                 {"energy", COLLECT_ENERGY},     {"activity", COLLECT_ACTIVITY}};
    const struct option *option = option_find(SECTION_SWEEP, "collect");
    size_t choices = 1;
    for (const char *at = option->choices; *at; at++)
        choices += *at == ' ';
    assert_int_equal(choices, sizeof words / sizeof *words);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        const char *items[] = {words[i].word, "timing"};
        struct word_list list = {items, 2};
        assert_int_equal(option_mask(option, &list), words[i].bit | COLLECT_TIMING);
    }
    assert_int_equal(option_mask(option, &(struct word_list){0}), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(collected_words_are_bits),
        cmocka_unit_test(ranges_and_lists),
        cmocka_unit_test(bad_lists),
        cmocka_unit_test(units),
        cmocka_unit_test(words),
        cmocka_unit_test(rules),
        cmocka_unit_test(bad_rules),
        cmocka_unit_test(links),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
