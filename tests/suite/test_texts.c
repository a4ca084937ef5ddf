// test_texts.c - a plan refuses what a worker would refuse for its texts, with the same words.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>
#include <jansson.h>

#include "base/file.h"
#include "base/str.h"
#include "bench/suite/plan.h"
#include "bench/suite/suite.h"

static char folder[] = "/tmp/test_texts.XXXXXX";

static int make_folder(void **state)
{
    (void)state;
    return mkdtemp(folder) ? 0 : -1;
}

static int remove_folder(void **state)
{
    static const char *const names[] = {"suite.conf", "words.txt"};
    char path[128];
    (void)state;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        unlink(path);
    }
    return rmdir(folder);
}

static void write_file(const char *name, const char *text)
{
    char path[128];
    struct error err = {0};
    snprintf(path, sizeof path, "%s/%s", folder, name);
    if (file_write(path, text, strlen(text), &err) != OK)
        fail_msg("%s", err.message);
}

// The plan of a suite in the folder, on a machine with a CPU.
static struct plan *plan_of(const char *text)
{
    static const struct device_info devices[] = {{.name = DEVICE_DEFAULT, .available = true}};
    char path[128];
    struct error err = {0};
    struct suite suite;
    struct plan *plan = NULL;
    struct suite_sources sources = {.suite_path = path};
    struct plan_machine machine = {.memory_bytes = INT64_C(16) << 30,
                                   .physical_cores = 4,
                                   .devices = devices,
                                   .device_count = 1};
    write_file("suite.conf", text);
    snprintf(path, sizeof path, "%s/suite.conf", folder);
    if (suite_load(&sources, &suite, &err) != OK)
        fail_msg("%s", err.message);
    enum status status = plan_create(&suite, &machine, NULL, &plan, &err);
    suite_fini(&suite);
    if (status != OK)
        fail_msg("%s", err.message);
    return plan;
}

#define SWEEP_IN(scheme) "\n[sweep s]\ndevice = cpu\nscheme = " scheme "\ncontext = 64\ngen = 4\n"
#define SWEEP            SWEEP_IN("f32")

static void expect_cell_of(const char *sweep, const char *model, const char *more, const char *word)
{
    char text[512], here[256];
    assert_non_null(getcwd(here, sizeof here));
    snprintf(text, sizeof text, "[model m]\npath = %s/%s%s%s", here, model, sweep, more);
    struct plan *plan = plan_of(text);
    const char *skip = plan->cells[0].skip;
    if (word ? !skip || !strstr(skip, word) : skip != NULL)
        fail_msg("%s: wanted '%s', got '%s'", more, word ? word : "", skip ? skip : "");
    plan_destroy(plan);
}

static void expect_cell(const char *model, const char *more, const char *word)
{
    expect_cell_of(SWEEP, model, more, word);
}

static void prompts(void **state)
{
    (void)state;
    write_file("words.txt", "The query planner writes a table.\n");
    expect_cell("models/reference", "prompt = text:words.txt\n", NULL);
    expect_cell("tests/golden/models/llama-gqa3", "prompt = text:words.txt\n", "tokenizer.json");
    expect_cell("tests/golden/models/llama-gqa3", "prompt = random\n", NULL);
}

static void expect_quality(const char *model, const char *more, const char *word)
{
    char text[512], here[256];
    assert_non_null(getcwd(here, sizeof here));
    snprintf(text, sizeof text, "[model m]\npath = %s/%s" SWEEP "collect = quality\n%s", here,
             model, more);
    struct plan *plan = plan_of(text);
    assert_int_equal(plan->quality_count, 1);
    const char *skip = plan->qualities[0].skip;
    assert_int_equal(plan->qualities[0].unsupported, word != NULL);
    if (word ? !skip || !strstr(skip, word) : skip != NULL)
        fail_msg("%s: wanted '%s', got '%s'", more, word ? word : "", skip ? skip : "");
    plan_destroy(plan);
}

static void quality_texts(void **state)
{
    (void)state;
    write_file("words.txt", "The query planner writes a table.\n");
    expect_quality("models/reference", "", NULL);
    expect_quality("models/reference", "quality_text = words.txt\n", "has no window of 512");
    expect_quality("tests/golden/models/llama-gqa3", "", "tokenizer.json");
}

// A text that is too short or holds an id the model does not have. A model with int4 codes of its own reads no text.
static void calibration_texts(void **state)
{
    (void)state;
    static const char awq[] = SWEEP_IN("int4-awq");
    write_file("words.txt", "The query planner.\n");
    expect_cell_of(awq, "models/reference", "", NULL);
    expect_cell_of(awq, "models/reference", "calib = words.txt\n",
                   "tokens of text: at least 32 are needed to calibrate on");
    expect_cell_of(awq, "tests/golden/models/llama-gqa3", "", "tokenizer.json");
    expect_cell_of(awq, "tests/golden/models/awq-g128", "calib = words.txt\n", NULL);
}

// The key of llama-512 names its revision: an evaluation of the first one is another.
static void revisions(void **state)
{
    (void)state;
    static const char *const conventions[] = {"half-512", "llama-512"};
    for (int i = 0; i < 2; i++) {
        char text[512], here[256];
        assert_non_null(getcwd(here, sizeof here));
        snprintf(text, sizeof text,
                 "[model m]\npath = %s/models/reference" SWEEP "collect = quality\n"
                 "quality_convention = %s\n",
                 here, conventions[i]);
        struct plan *plan = plan_of(text);
        json_int_t revision =
            json_integer_value(json_object_get(plan->qualities[0].params, "revision"));
        assert_int_equal(revision, i ? 2 : 0);
        plan_destroy(plan);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(prompts),
        cmocka_unit_test(quality_texts),
        cmocka_unit_test(calibration_texts),
        cmocka_unit_test(revisions),
    };
    return cmocka_run_group_tests(tests, make_folder, remove_folder);
}
