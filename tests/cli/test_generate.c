// test_generate.c - `bench generate` as a person calls it: its text, its JSON, and what it refuses.
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "tests/cli/fixture.h"

extern const struct command command_generate;

// What transformers generates greedily in float32 from the same prompt.
static const char expected[] =
    " isa/sqlalchev.sql.\n\nSQL queries are used to create a summary table.\n\n"
    "SQL queries are used to create a summary table.\n\nSQL queries";

static void test_greedy_text_is_transformers(void **state)
{
    (void)state;
    char out[4096];
    struct error err = {0};
    const char *words[] = {"models/reference",
                           "The query planner",
                           "--gen",
                           "40",
                           "--scheme",
                           "f32",
                           "--chunk",
                           "3",
                           NULL};
    assert_int_equal(run_command(&command_generate, words, out, sizeof out, &err), EXIT_FINE);
    size_t length = strlen(expected);
    assert_int_equal(strlen(out), length + 1); // the text, and the newline that ends it
    assert_memory_equal(out, expected, length);
}

static void test_json(void **state)
{
    (void)state;
    char out[4096];
    struct error err = {0};
    json_error_t where;
    const char *words[] = {
        "models/reference", "The query planner", "--json", "--gen", "40", "--scheme", "f32", NULL};
    assert_int_equal(run_command(&command_generate, words, out, sizeof out, &err), EXIT_FINE);
    json_t *root = json_loads(out, 0, &where);
    assert_non_null(root);
    assert_string_equal(json_string_value(json_object_get(root, "text")), expected);
    assert_int_equal(json_integer_value(json_object_get(root, "generated_tokens")), 40);
    assert_true(json_real_value(json_object_get(root, "tpot_ns")) > 0);
    json_decref(root);

    words[4] = "1"; // no decode: not known, and not zero
    assert_int_equal(run_command(&command_generate, words, out, sizeof out, &err), EXIT_FINE);
    root = json_loads(out, 0, &where);
    assert_true(json_is_null(json_object_get(root, "tpot_ns")));
    assert_true(json_is_null(json_object_get(root, "decode_tok_s")));
    json_decref(root);
}

static void test_same_seed_same_text(void **state)
{
    (void)state;
    char first[1024], second[1024], other[1024];
    struct error err = {0};
    const char *words[] = {"models/reference", "To install", "--gen", "24", "--temperature", "1",
                           "--seed",           "5",          NULL};
    assert_int_equal(run_command(&command_generate, words, first, sizeof first, &err), EXIT_FINE);
    assert_int_equal(run_command(&command_generate, words, second, sizeof second, &err), EXIT_FINE);
    words[7] = "6";
    assert_int_equal(run_command(&command_generate, words, other, sizeof other, &err), EXIT_FINE);
    assert_string_equal(first, second);
    assert_string_not_equal(first, other);
}

static void refuse(const char *flag, const char *value, enum status code, const char *word)
{
    char out[256];
    struct error err = {0};
    const char *words[] = {"models/reference", "hi", flag, value, NULL};
    assert_int_equal(run_command(&command_generate, words, out, sizeof out, &err), EXIT_ERROR);
    assert_int_equal(err.code, code);
    if (!strstr(err.message, word))
        fail_msg("'%s' does not say '%s'", err.message, word);
    assert_string_equal(out, "");
}

static void test_refusals(void **state)
{
    (void)state;
    refuse("--scheme", "q6_k", ERR_UNSUPPORTED, "not implemented yet");
    refuse("--scheme", "q4_k", ERR_UNSUPPORTED, "not implemented");
    refuse("--head", "int3", ERR_USAGE,
           "--head: unknown type 'int3': did you mean 'int8' or 'int4'?");
    refuse("--kv", "int4", ERR_UNSUPPORTED, "KV cache of int4");
    refuse("--scheme", "int5", ERR_USAGE, "int5");
    refuse("--calib", "models/reference/calib.txt", ERR_USAGE, "--calib: only int4-awq calibrates");
    refuse("--scheme=int4-awq", "--calib=nofile", ERR_IO,
           "--calib: nofile: No such file or directory");
    refuse("--gen", "0", ERR_USAGE, "--gen 0");
    refuse("--gen", "99999999999", ERR_USAGE, "--gen");
    refuse("--temperature", "-1", ERR_USAGE, "temperature");
    refuse("--isa", "sse9", ERR_USAGE, "sse9");
    refuse("--device", "metal", ERR_UNSUPPORTED, "--device metal: this build has no Metal");
    refuse("--device", "cuda:9", ERR_UNSUPPORTED, "--device cuda:9: ");
    refuse("--device", "metl", ERR_USAGE, "--device: unknown device 'metl': did you mean 'metal'?");
    refuse("--threads", "100000", ERR_USAGE, "100000");

    char out[256];
    struct error err = {0};
    const char *bare[] = {"tests/golden/models/llama-gqa3", "hi", NULL};
    assert_int_equal(run_command(&command_generate, bare, out, sizeof out, &err), EXIT_ERROR);
    assert_non_null(strstr(err.message, "tokenizer"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_greedy_text_is_transformers),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_same_seed_same_text),
        cmocka_unit_test(test_refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
