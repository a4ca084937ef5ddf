// test_dry_run.c - what a plan reports of layers with a window, and of settings that a model's file lacks.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/file.h"
#include "base/str.h"
#include "bench/cli/dry_run.h"
#include "bench/suite/suite.h"

// The dry run of one sweep over a golden model; caller frees.
static char *dry_run_of(const char *model, int context)
{
    static const struct device_info devices[] = {{.name = DEVICE_DEFAULT, .available = true}};
    char path[] = "/tmp/test_dry_run.XXXXXX", text[512], here[256], *out = NULL;
    size_t bytes = 0;
    struct error err = {0};
    struct suite suite;
    struct plan *plan = NULL;
    struct suite_sources sources = {.suite_path = path};
    struct plan_machine machine = {.memory_bytes = INT64_C(16) << 30,
                                   .physical_cores = 4,
                                   .devices = devices,
                                   .device_count = 1};
    assert_non_null(getcwd(here, sizeof here));
    close(mkstemp(path));
    snprintf(text, sizeof text,
             "[model m]\npath = %s/tests/golden/models/%s\n"
             "[sweep s]\ndevice = cpu\nscheme = f32\ncontext = 16, %d\ngen = 4\n",
             here, model, context);
    if (file_write(path, text, strlen(text), &err) != OK ||
        suite_load(&sources, &suite, &err) != OK)
        fail_msg("%s", err.message);
    enum status status = plan_create(&suite, &machine, NULL, &plan, &err);
    suite_fini(&suite);
    unlink(path);
    if (status != OK)
        fail_msg("%s", err.message);
    FILE *f = open_memstream(&out, &bytes);
    cli_dry_run_print(plan, "rough figures", f);
    fclose(f);
    plan_destroy(plan);
    return out;
}

// `has`: a line, or NULL. `lacks`: a word that no line has, or NULL.
static void expect_dry_run(const char *model, int context, const char *has, const char *lacks)
{
    char *text = dry_run_of(model, context);
    if ((has && !strstr(text, has)) || (lacks && strstr(text, lacks)))
        fail_msg("%s", text);
    free(text);
}

// gemma3: six of seven layers look back over 6 positions. Keys and values of 1 head of 10 in f32 take 7 x 64 x 80 =
// 35,840 bytes. Of these, (6 x 6 + 64) x 80 = 8,000 are ever read.
static void windows(void **state)
{
    (void)state;
    expect_dry_run("gemma3", 64,
                   "kv of m f32 cpu b1 c64 holds every position in layers with a window too; the "
                   "windows alone would take 7.81 KiB of 35.0 KiB\n",
                   NULL);
    expect_dry_run("llama-gqa3", 64, NULL, "window");
}

// llama3 scaling without the length it was trained at: as the reference, the model's positions, and said so.
static void fallbacks(void **state)
{
    (void)state;
    expect_dry_run("llama-llama3-bare", 32,
                   "  m: its llama3 scaling has no original length "
                   "(original_max_position_embeddings): the model's 64 positions are taken\n",
                   NULL);
    expect_dry_run("llama-llama3", 32, NULL, "original");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(windows), cmocka_unit_test(fallbacks)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
