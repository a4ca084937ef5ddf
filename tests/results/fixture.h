// fixture.h - a folder for one test, and a store with one run and one cell in it.
#ifndef TESTS_RESULTS_FIXTURE_H
#define TESTS_RESULTS_FIXTURE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/str.h"
#include "results/store.h"

struct fixture {
    char dir[64], path[128]; // path: dir/bench.db
};

static inline int fixture_setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/ridge-store-XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->path, sizeof f->path, "%s/bench.db", f->dir);
    *state = f;
    return 0;
}

static inline int fixture_teardown(void **state)
{
    struct fixture *f = *state;
    char command[160];
    snprintf(command, sizeof command, "chmod -R u+w %s; rm -rf %s", f->dir, f->dir);
    int failed = system(command);
    free(f);
    return failed;
}

// A row of a test's table: it begins with a folder of its own.
#define fixture_test(test) cmocka_unit_test_setup_teardown(test, fixture_setup, fixture_teardown)

static inline void must(enum status status, const struct error *err)
{
    if (status != OK)
        fail_msg("%s", err->message);
}

static inline struct store *open_or_fail(const char *path, enum store_mode mode)
{
    struct store *store = NULL;
    struct error err = {0};
    must(store_open(path, mode, &store, &err), &err);
    return store;
}

// A run with one cell that has four trials planned.
static inline int64_t add_run(struct store *store, int64_t *cell)
{
    struct error err = {0};
    int64_t run = 0;
    struct store_run row = {
        .suite_name = "s", .suite_text = "text", .command = "bench run s.conf", .started_ns = 1};
    must(store_machine(store, "print", "{}", &row.machine, &err), &err);
    must(store_environment(store, "{}", &row.environment, &err), &err);
    must(store_build(store, "{}", &row.build, &err), &err);
    must(store_run_begin(store, &row, &run, &err), &err);
    struct store_cell c = {.run = run,
                           .key = "0123abcd",
                           .params_json = "{\"batch\":1}",
                           .label = "tiny f32 cpu b1 c64",
                           .model = "tiny",
                           .scheme = "f32",
                           .device = "cpu",
                           .threads = 1,
                           .batch = 1,
                           .context = 64,
                           .gen = 8,
                           .trials_planned = 4,
                           .predicted_memory_bytes = NAN};
    must(store_cell(store, &c, cell, &err), &err);
    return run;
}

// A trial with two repetitions of `tokens` tokens each; its TTFT is 10 and 20 ns.
static inline enum status add_trial(struct store *store, int64_t cell, int number,
                                    const char *status, int tokens, struct error *err)
{
    int64_t *token_ns = calloc((size_t)tokens + 1, sizeof *token_ns);
    struct store_metric first[] = {{"ttft", "ns", "host clock", "prefill", NULL, 10},
                                   {"energy", "J", "counter", NULL, NULL, NAN}};
    struct store_metric second[] = {{"ttft", "ns", "host clock", "prefill", NULL, 20}};
    struct store_metric noise[] = {{"steal", "ns", "os", NULL, NULL, 3}};
    struct store_sample samples[] = {
        {.repetition = 1,
         .token_hash = "aa",
         .metrics = first,
         .metric_count = 2,
         .noise = noise,
         .noise_count = 1,
         .token_ns = token_ns,
         .sequences = 1,
         .tokens = tokens},
        {.repetition = 2,
         .token_hash = "aa",
         .metrics = second,
         .metric_count = 1,
         .token_ns = token_ns,
         .sequences = 1,
         .tokens = tokens},
    };
    struct store_verdict verdict = {.phase = "decode",
                                    .basis = "host clock + analytic",
                                    .bound = "memory",
                                    .text = "memory-bound",
                                    .eta = 0.9,
                                    .overhead_share = NAN,
                                    .rho = INFINITY};
    struct store_trial trial = {.cell = cell,
                                .number = number,
                                .status = status,
                                .reason = str_equal(status, "ok") ? "" : "because",
                                .started_ns = 1,
                                .ended_ns = 2,
                                .samples = samples,
                                .sample_count = 2,
                                .verdicts = &verdict,
                                .verdict_count = 1};
    int64_t id = 0;
    enum status result = store_trial(store, &trial, &id, err);
    free(token_ns);
    return result;
}

#endif
