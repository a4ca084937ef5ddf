// test_model.c - `bench model info|tokenize|logits` as a person calls them.
#include <jansson.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tests/cli/fixture.h"

extern const struct command command_model_info, command_model_tokenize, command_model_logits;

enum { OUT_BYTES = 1 << 20, VOCAB = 4096 };

static void test_tokenize_and_back(void **state)
{
    (void)state;
    char ids[256], text[256];
    struct error err = {0};
    const char *there[] = {"models/reference", "The query planner, \xc3\xa9", NULL};
    assert_int_equal(run_command(&command_model_tokenize, there, ids, sizeof ids, &err), EXIT_FINE);
    ids[strcspn(ids, "\n")] = '\0';
    const char *back[] = {"models/reference", ids, "--decode", NULL};
    assert_int_equal(run_command(&command_model_tokenize, back, text, sizeof text, &err),
                     EXIT_FINE);
    assert_string_equal(text, there[1]);

    const char *wrong[] = {"models/reference", "1 4096", "--decode", NULL};
    assert_int_equal(run_command(&command_model_tokenize, wrong, text, sizeof text, &err),
                     EXIT_ERROR);
    assert_string_equal(err.message, "4096: no id of this tokenizer (0 to 4095)");
}

// A tokenizer that stands alone, its texts and ids as JSON: the text may hold newlines and NUL.
static void test_tokenize_json(void **state)
{
    (void)state;
    static const char text[] = "\"a \\u0000\\n \\u00e9\"\n\"\"\n";
    char ids[512], back[512];
    struct error err = {0};
    static const char *const files[] = {"tests/golden/tokenizer/llama2.json",
                                        "tests/golden/tokenizer/gpt2.gguf"};
    for (int i = 0; i < 2; i++) {
        const char *there[] = {files[i], text, "--json", NULL};
        assert_int_equal(run_command(&command_model_tokenize, there, ids, sizeof ids, &err),
                         EXIT_FINE);
        assert_int_equal(ids[0], '[');
        assert_non_null(strstr(ids, "]\n[]\n"));
        const char *here[] = {files[i], ids, "--json", "--decode", NULL};
        assert_int_equal(run_command(&command_model_tokenize, here, back, sizeof back, &err),
                         EXIT_FINE);
        assert_string_equal(back, "\"a \\u0000\\n \xc3\xa9\"\n\"\"\n");
    }
    const char *timed[] = {files[0], "some text", "--time", "2", NULL};
    assert_int_equal(run_command(&command_model_tokenize, timed, back, sizeof back, &err),
                     EXIT_FINE);
    assert_non_null(strstr(back, "9 bytes, "));
    assert_non_null(strstr(back, "median of 2 more"));
}

// Rows of logits do not depend on how the ids are cut into steps.
static void test_logits_by_chunks(void **state)
{
    (void)state;
    char *out = malloc(OUT_BYTES), *again = malloc(OUT_BYTES);
    struct error err = {0};
    json_error_t where;
    const char *words[] = {"models/reference", "--ids", "0, 40,352,309", "--chunk", "512", NULL};
    assert_int_equal(run_command(&command_model_logits, words, out, OUT_BYTES, &err), EXIT_FINE);
    words[4] = "1";
    assert_int_equal(run_command(&command_model_logits, words, again, OUT_BYTES, &err), EXIT_FINE);
    assert_string_equal(out, again);
    json_t *root = json_loads(out, 0, &where);
    assert_non_null(root);
    json_t *rows = json_object_get(root, "logits");
    assert_int_equal(json_array_size(rows), 4);
    assert_int_equal(json_array_size(json_array_get(rows, 3)), VOCAB);
    assert_true(isfinite(json_number_value(json_array_get(json_array_get(rows, 3), 7))));
    json_decref(root);
    free(out);
    free(again);
}

static void refuse(const struct command *command, const char *const *words, const char *message)
{
    char out[1024];
    struct error err = {0};
    assert_int_equal(run_command(command, words, out, sizeof out, &err), EXIT_ERROR);
    assert_string_equal(err.message, message);
}

static void test_refusals(void **state)
{
    (void)state;
    refuse(&command_model_tokenize,
           (const char *[]){"models/reference", "x", "--time", "2", "--json", NULL},
           "--time goes with none of --lines, --decode and --json");
    refuse(&command_model_tokenize, (const char *[]){"models/reference", "7", "--json", NULL},
           "the input: a line is no JSON string");
    refuse(&command_model_tokenize,
           (const char *[]){"models/reference", "[1, -1]", "--json", "--decode", NULL},
           "the input: no id of this tokenizer (0 to 4095)");
    refuse(&command_model_logits, (const char *[]){"models/reference", NULL},
           "give either --ids or --prompt");
    refuse(&command_model_logits, (const char *[]){"models/reference", "--ids", "1,x", NULL},
           "--ids: 'x' is no id");
    refuse(&command_model_logits, (const char *[]){"models/reference", "--ids", ",", NULL},
           "--ids: none were given");
    refuse(&command_model_logits, (const char *[]){"models/reference", "--ids", "4096", NULL},
           "sequence 0, token 0: id 4096 is outside the vocabulary of 4096");
    refuse(&command_model_info, (const char *[]){"models/reference", "--batch", "0", NULL},
           "--batch 0: must be 1 to 65536");
}

// A shape is known by its name, and described without weights.
static void test_info_of_a_shape(void **state)
{
    (void)state;
    char out[16384];
    struct error err = {0};
    json_error_t where;
    const char *words[] = {"llama-2-7b", "--json", NULL};
    assert_int_equal(run_command(&command_model_info, words, out, sizeof out, &err), EXIT_FINE);
    json_t *root = json_loads(out, 0, &where);
    assert_non_null(root);
    assert_true(json_integer_value(json_object_get(root, "parameters")) == 6738415616);
    assert_true(json_is_true(json_object_get(root, "synthetic")));
    json_decref(root);
}

// The file of a shape that comes with the program is found from any folder, as a checkpoint is.
static void test_info_of_a_shape_from_elsewhere(void **state)
{
    (void)state;
    char out[16384], here[PATH_MAX];
    struct error err = {0};
    const char *words[] = {"models/shapes/llama-2-7b.json", "--json", NULL};
    assert_non_null(getcwd(here, sizeof here));
    assert_int_equal(chdir("/"), 0);
    enum exit_code code = run_command(&command_model_info, words, out, sizeof out, &err);
    assert_int_equal(chdir(here), 0);
    if (code != EXIT_FINE)
        fail_msg("%s", err.message);
    assert_non_null(strstr(out, "6738415616"));
}

// A checkpoint that does not load is described as far as it goes, as data too, and the command fails.
static void test_info_of_what_does_not_load(void **state)
{
    (void)state;
    char out[16384];
    struct error err = {0};
    json_error_t where;
    const char *words[] = {"tests/golden", "--json", NULL}; // a folder that holds no model
    assert_int_equal(run_command(&command_model_info, words, out, sizeof out, &err), EXIT_ERROR);
    assert_non_null(strstr(err.message, "config.json"));
    json_t *root = json_loads(out, 0, &where);
    assert_non_null(root);
    assert_true(json_is_false(json_object_get(root, "runs")));
    assert_true(json_array_size(json_object_get(root, "support")) >= 3);
    json_decref(root);
    error_clear(&err);
    const char *good[] = {"tests/golden/models/mixtral", "--json", "--context", "64", NULL};
    assert_int_equal(run_command(&command_model_info, good, out, sizeof out, &err), EXIT_FINE);
    root = json_loads(out, 0, &where);
    assert_true(json_is_true(json_object_get(root, "runs")));
    assert_true(json_is_null(json_object_get(json_object_get(root, "config"), "fallback")));
    json_decref(root);
    good[0] = "tests/golden/models/llama-llama3-bare";
    assert_int_equal(run_command(&command_model_info, good, out, sizeof out, &err), EXIT_FINE);
    root = json_loads(out, 0, &where);
    const char *fallback =
        json_string_value(json_object_get(json_object_get(root, "config"), "fallback"));
    assert_non_null(fallback);
    assert_non_null(strstr(fallback, "the model's 64 positions are taken"));
    json_decref(root);
}

// gemma3: six of seven layers look back over 6 positions.
static void test_info_of_windows(void **state)
{
    (void)state;
    static char out[65536];
    struct error err = {0};
    json_error_t where;
    const char *text[] = {"tests/golden/models/gemma3", "--context", "64", NULL};
    assert_int_equal(run_command(&command_model_info, text, out, sizeof out, &err), EXIT_FINE);
    assert_non_null(strstr(out, "the windows alone would take"));
    const char *json[] = {"tests/golden/models/gemma3", "--json", "--context", "64", NULL};
    assert_int_equal(run_command(&command_model_info, json, out, sizeof out, &err), EXIT_FINE);
    json_t *root = json_loads(out, 0, &where);
    json_t *first = json_array_get(json_object_get(root, "memory"), 0);
    json_int_t kv = json_integer_value(json_object_get(first, "kv_bytes"));
    assert_true(kv > 0);
    assert_int_equal(json_integer_value(json_object_get(first, "kv_within_windows_bytes")),
                     (json_int_t)((double)kv * 100 / 448));
    json_decref(root);
    const char *plain[] = {"tests/golden/models/llama-gqa3", "--context", "64", NULL};
    assert_int_equal(run_command(&command_model_info, plain, out, sizeof out, &err), EXIT_FINE);
    assert_null(strstr(out, "the windows alone"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_tokenize_and_back),
        cmocka_unit_test(test_tokenize_json),
        cmocka_unit_test(test_logits_by_chunks),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_info_of_a_shape),
        cmocka_unit_test(test_info_of_what_does_not_load),
        cmocka_unit_test(test_info_of_windows),
        cmocka_unit_test(test_info_of_a_shape_from_elsewhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
