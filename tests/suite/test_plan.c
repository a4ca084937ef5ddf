// test_plan.c - expansion to the letter, cell keys that must not move, and the errors of a plan.
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
#include "bench/suite/expand.h"
#include "bench/suite/plan.h"
#include "bench/suite/suite.h"
#include "tests/pending.h"

#define TINY "[model tiny]\npath = tests/golden/models/llama-gqa3\n"
#define BIG  "[model 7b]\nshape = llama-2-7b\n"

static char path[] = "/tmp/test_plan.XXXXXX";

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd >= 0 && close(fd) == 0 ? 0 : -1;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static const struct device_info devices[] = {
    {.name = "cpu", .kind = DEVICE_HOST, .available = true},
    {.name = "cuda:0", .kind = DEVICE_CUDA, .reason = "no NVIDIA driver"},
};

static int measured; // how often the last plan asked for ceilings

static enum status count_measuring(void *user, const struct ceilings **out, struct error *err)
{
    (void)user, (void)out, (void)err;
    measured++;
    return OK;
}

// A plan of a suite's text for a machine with four cores of two threads each and so much memory.
static enum status plan_text_on(const char *text, double memory_gib, bool resuming,
                                const char *only, struct plan **plan, struct error *err)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    memset(err, 0, sizeof *err);
    *plan = NULL;
    struct suite suite;
    struct suite_sources sources = {.suite_path = path};
    struct plan_machine machine = {.memory_bytes = (int64_t)(memory_gib * 0x1p30),
                                   .physical_cores = 4,
                                   .most_threads = 8,
                                   .threads_note = "a quota",
                                   .devices = devices,
                                   .device_count = 2,
                                   .resuming = resuming,
                                   .measure = count_measuring};
    measured = 0;
    TRY(suite_load(&sources, &suite, err));
    enum status status = plan_create(&suite, &machine, only, plan, err);
    suite_fini(&suite); // a plan outlives its suite
    return status;
}

static enum status make_plan(const char *text, double memory_gib, const char *only,
                             struct plan **plan, struct error *err)
{
    return plan_text_on(text, memory_gib, false, only, plan, err);
}

// "label\n" or "label: reason\n" of every cell; ? and * stand for what other rooms decide.
static void expect_plan(const char *text, double memory_gib, const char *only, const char *expected)
{
    struct plan *plan;
    struct error err;
    if (make_plan(text, memory_gib, only, &plan, &err) != OK)
        fail_msg("%s", err.message);
    struct str got = {0};
    for (size_t i = 0; i < plan->cell_count; i++)
        str_printf(&got, "%s%s%s\n", plan->cells[i].label, plan->cells[i].skip ? ": " : "",
                   plan->cells[i].skip ? plan->cells[i].skip : "");
    if (!str_glob(expected, str_text(&got)))
        assert_string_equal(str_text(&got), expected); // shows both
    str_fini(&got);
    plan_destroy(plan);
}

static void the_order_is_that_of_the_axes(void **state)
{
    (void)state;
    expect_plan(TINY "[sweep s]\nscheme = f32, bf16\ndevice = cpu\nbatch = 1, 4\ncontext = 8-32*4\n"
                     "gen = 4\n",
                16, NULL,
                "tiny f32 cpu b1 c8\n"
                "tiny f32 cpu b1 c32\n"
                "tiny f32 cpu b4 c8\n"
                "tiny f32 cpu b4 c32\n"
                "tiny bf16 cpu b1 c8\n"
                "tiny bf16 cpu b1 c32\n"
                "tiny bf16 cpu b4 c8\n"
                "tiny bf16 cpu b4 c32\n");
}

static void labels_name_what_varies(void **state)
{
    (void)state;
    expect_plan(TINY "[sweep s]\nscheme = bf16\ndevice = cpu\nthreads = auto, 1\nkv = f32, f16\n"
                     "chunk = 4\ncontext = 16\ngen = 4\n"
                     "[sweep t]\ndevice = cpu\nthreads = 1\nkv = f32\nchunk = 4\ncontext = 16\n"
                     "gen = 4\nseed = 7\n",
                16, NULL,
                "tiny bf16 cpu t4 kv-f32 b1 c16\n"
                "tiny bf16 cpu t4 kv-f16 b1 c16\n"
                "tiny bf16 cpu t1 kv-f32 b1 c16\n"
                "tiny bf16 cpu t1 kv-f16 b1 c16\n"
                "tiny bf16 cpu t1 kv-f32 b1 c16 ????????\n");
}

static void linked_keys_go_side_by_side(void **state)
{
    (void)state;
    expect_plan(TINY "[sweep s]\ndevice = cpu\nbatch = 1, 2, 4\ncontext = 64, 32, 16\n"
                     "gen = 4, 5\nlink = batch context\n",
                16, NULL,
                "tiny bf16 cpu b1 c64 g4\n"
                "tiny bf16 cpu b1 c64 g5\n"
                "tiny bf16 cpu b2 c32 g4\n"
                "tiny bf16 cpu b2 c32 g5\n"
                "tiny bf16 cpu b4 c16 g4\n"
                "tiny bf16 cpu b4 c16 g5\n");
}

static void what_cannot_run_says_why(void **state)
{
    (void)state;
    expect_plan(
        TINY BIG
        "[defaults]\ngen = 16\ncontext = 64\nmax_cell_time = 1h\ntimeout = 1h\nprocs = 1\n"
        "reps = 1\n"
        "[sweep a]\nmodel = tiny\nscheme = bf16, q6_k\ndevice = cpu, cuda:0\n"
        "[sweep b]\nmodel = 7b\nbatch = 1, 8\nskip = 7b & batch>=8, 13* @ metal\ndevice = cpu\n"
        "[sweep c]\nmodel = tiny\ndevice = cpu, cuda:3\ncontext = 16, 4096\n"
        "[sweep d]\nmodel = 7b\ndevice = cpu\ncontext = 8192\n",
        16, NULL,
        "tiny bf16 cpu b1 c64\n"
        "tiny bf16 cuda:0 b1 c64: cuda:0: no NVIDIA driver\n"
        "tiny q6_k cpu b1 c64: scheme q6_k is not implemented yet\n"
        "tiny q6_k cuda:0 b1 c64: scheme q6_k is not implemented yet\n"
        "7b bf16 cpu b1 c64\n"
        "7b bf16 cpu b8 c64: left out by the suite: skip = 7b & batch>=8\n"
        "tiny bf16 cpu b1 c16: gen 16 leaves no prompt in a context of 16\n"
        "tiny bf16 cpu b1 c4096: context 4096 is beyond the model's 512 positions\n"
        "tiny bf16 cuda:3 b1 c16: cuda:3: no such device here\n"
        "tiny bf16 cuda:3 b1 c4096: cuda:3: no such device here\n"
        "7b bf16 cpu b1 c8192: needs 1?.? GiB of memory, 16.0 GiB are available\n");
}

// In a small container: the number that stands for "no room" is not printed as a size.
static void no_room_is_said_in_words(void **state)
{
    (void)state;
    expect_plan(TINY "[sweep a]\nscheme = bf16\ndevice = cpu\ngen = 16\ncontext = 64\n", 0x1p-30,
                NULL,
                "tiny bf16 cpu b1 c64: needs ?* MiB of memory, none is free beyond what the system "
                "keeps\n");
}

// Words that mean the same device name it once.
static void a_device_is_planned_once(void **state)
{
    (void)state;
    struct plan *plan;
    struct error err;
    static const char text[] = TINY "[sweep s]\nscheme = f32\ndevice = auto, cpu, cuda, cuda:0\n"
                                    "context = 8\ngen = 4\n";
    expect_plan(text, 16, NULL,
                "tiny f32 cpu b1 c8\ntiny f32 cuda:0 b1 c8: cuda:0: no NVIDIA driver\n");
    assert_int_equal(make_plan(text, 16, NULL, &plan, &err), OK);
    assert_int_equal(plan->duplicates, 0);
    plan_destroy(plan);
}

static void more_threads_than_processors_are_left_out(void **state)
{
    (void)state;
    static const char text[] =
        TINY "[sweep s]\nscheme = f32\ndevice = cpu\nthreads = auto, 8, 9\ncontext = 8\ngen = 4\n";
    struct plan *plan;
    struct error err;
    expect_plan(text, 16, NULL,
                "tiny f32 cpu t4 b1 c8\n"
                "tiny f32 cpu t8 b1 c8\n"
                "tiny f32 cpu t9 b1 c8: 9 threads: a process may use 8 processing units here\n");
    assert_int_equal(make_plan(text, 16, NULL, &plan, &err), OK);
    assert_true(plan->cells[2].unsupported);
    assert_string_equal(plan->threads_note, "threads = auto is 4: a quota");
    plan_destroy(plan);
}

// Codes that run as they are stored decide the groups, and so the bytes that a step moves. A scheme that is for one
// kind of file refuses others by name.
static void stored_codes_decide_the_groups(void **state)
{
    (void)state;
    struct plan *plan;
    struct error err;
    static const char text[] = "[model g32]\npath = tests/golden/models/awq-g32-qwen2\n"
                               "[sweep s]\nscheme = int4-rtn, int4-awq, q4_0, q8_0\ndevice = cpu\n"
                               "context = 16\ngen = 4\n";
    assert_int_equal(make_plan(TINY "[sweep s]\nscheme = int4-awq\ndevice = cpu\ncontext = 16\n"
                                    "gen = 4\n",
                               16, NULL, &plan, &err),
                     OK);
    assert_int_equal(plan->cells[0].runs.group, 128);
    plan_destroy(plan);
    assert_int_equal(make_plan(text, 16, NULL, &plan, &err), OK);
    assert_int_equal(plan->cell_count, 4);
    for (int i = 0; i < 2; i++) {
        assert_null(plan->cells[i].skip);
        assert_int_equal(plan->cells[i].runs.group, 32);
        assert_non_null(strstr(plan->cells[i].runs.arithmetic, "int4 g32"));
    }
    assert_true(plan->cells[2].unsupported);
    assert_non_null(strstr(plan->cells[2].skip, "not a GGUF file in q4_0"));
    assert_true(plan->cells[3].unsupported);
    assert_non_null(strstr(plan->cells[3].skip, "not a GGUF file in q8_0"));
    plan_destroy(plan);
}

static void time_and_beyond_the_limit(void **state)
{
    (void)state;
    struct plan *plan;
    struct error err;
    assert_int_equal(make_plan(BIG
                               "[sweep s]\ndevice = cpu\ncontext = 512, 8192\nmax_cell_time = 1ms\n"
                               "[sweep t]\ndevice = cpu\ncontext = 4096, 4097\ngen = 1\nreps = 1\n"
                               "procs = 1\nwarmup = none\nmax_cell_time = 9h\ntimeout = 9h\n",
                               64, NULL, &plan, &err),
                     OK);
    assert_true(str_glob("predicted to take *, max_cell_time is 1 ms", plan->cells[0].skip));
    assert_false(plan->cells[0].unsupported);
    assert_false(plan->cells[2].beyond_limit);
    assert_true(plan->cells[3].beyond_limit); // a shape: allowed, and marked
    assert_null(plan->cells[3].skip);
    assert_int_equal(plan->run_count, 2);
    assert_true(plan->predicted_ns >= plan->cells[2].predicted_ns + plan->cells[3].predicted_ns);
    plan_destroy(plan);
}

static void a_trial_beyond_its_timeout_is_left_out(void **state)
{
    (void)state;
    expect_plan(BIG "[sweep s]\ndevice = cpu\ncontext = 512\ntimeout = 2s\nmax_cell_time = 999h\n",
                64, NULL, "7b bf16 cpu b1 c512: a trial is predicted to take *, timeout is 2 s\n");
}

// Two cells of one worker load once: each bears half.
static void a_load_is_shared_by_its_group(void **state)
{
    (void)state;
    struct plan *plan;
    struct error err;
    assert_int_equal(make_plan(TINY "[sweep s]\nscheme = f32\ndevice = cpu\ncontext = 16, 32\n"
                                    "gen = 4\nprocs = 3\n",
                               16, NULL, &plan, &err),
                     OK);
    assert_int_equal(plan->group_count, 1);
    for (size_t i = 0; i < 2; i++) {
        const struct cell *cell = &plan->cells[i];
        double alone = 3 * predict_trial_ns(cell, &(struct plan_machine){0}),
               load = 3 * predict_load_ns(cell);
        assert_float_equal(cell->predicted_ns, alone + load / 2, 1);
    }
    plan_destroy(plan);
}

// Weights calibrated on another text are other weights: no worker has both.
static void a_calibration_text_has_a_worker_of_its_own(void **state)
{
    (void)state;
    struct plan *plan;
    struct error err;
    struct str text = {0};
    char *first = realpath("models/reference/calib.txt", NULL),
         *second = realpath("README.md", NULL);
    assert_true(first && second);
    str_printf(&text,
               "[model r]\npath = models/reference\n"
               "[defaults]\nscheme = int4-awq\ndevice = cpu\ngen = 4\n"
               "[sweep s]\ncalib = %s\ncontext = 16, 32\n[sweep t]\ncalib = %s\ncontext = 64\n",
               first, second);
    if (make_plan(str_text(&text), 16, NULL, &plan, &err) != OK)
        fail_msg("%s", err.message);
    assert_int_equal(plan->run_count, 3);
    assert_int_equal(plan->group_count, 2);
    assert_int_equal(plan->groups[0].count, 2);
    plan_destroy(plan);
    str_fini(&text);
    free(first);
    free(second);
}

// What was too long or too large when the run began stands in its record; a resumed run does not decide
// it again.
static void a_resumed_run_leaves_nothing_out_by_prediction(void **state)
{
    (void)state;
    const char *text = BIG "[sweep s]\ndevice = cpu\ncontext = 512\nmax_cell_time = 1ms\n"
                           "[sweep t]\ndevice = cpu\ncontext = 4096\nbatch = 16\n";
    struct plan *plan;
    struct error err;
    assert_int_equal(make_plan(text, 16, NULL, &plan, &err), OK);
    assert_int_equal(plan->run_count, 0);
    plan_destroy(plan);
    assert_int_equal(plan_text_on(text, 16, true, NULL, &plan, &err), OK);
    assert_int_equal(plan->run_count, 2);
    plan_destroy(plan);
}

static void groups_share_model_scheme_device_threads_and_procs(void **state)
{
    (void)state;
    struct plan *plan;
    struct error err;
    assert_int_equal(make_plan(TINY "[defaults]\ngen = 4\ndevice = cpu, cuda\n"
                                    "[sweep s]\nscheme = f32, bf16\ncontext = 16, 32\n"
                                    "[sweep t]\nscheme = f32\ncontext = 64, 32\n"
                                    "[sweep u]\nscheme = f32\ncontext = 8\nprocs = 1\n",
                               16, NULL, &plan, &err),
                     OK);
    assert_int_equal(plan->duplicates, 2); // f32 at context 32, on both devices
    assert_int_equal(plan->cell_count, 12);
    assert_int_equal(plan->group_count, 3);
    assert_int_equal(plan->run_count, 6);
    static const size_t counts[] = {3, 2, 1};
    bool seen[12] = {false};
    for (size_t g = 0; g < 3; g++) {
        assert_int_equal(plan->groups[g].count, counts[g]);
        for (size_t i = 0; i < plan->groups[g].count; i++) {
            size_t cell = plan->order[plan->groups[g].first + i];
            assert_false(seen[cell]);
            seen[cell] = true;
            assert_null(plan->cells[cell].skip);
        }
    }
    plan_destroy(plan);
}

static void only_takes_labels_and_keys(void **state)
{
    (void)state;
    const char *text = TINY "[sweep s]\ndevice = cpu\nbatch = 1-4*2\ncontext = 16, 32\ngen = 4\n";
    expect_plan(text, 16, "*b4*", "tiny bf16 cpu b4 c16\ntiny bf16 cpu b4 c32\n");
    struct plan *plan;
    struct error err;
    assert_int_equal(make_plan(text, 16, NULL, &plan, &err), OK);
    char prefix[13];
    snprintf(prefix, sizeof prefix, "%.12s", plan->cells[3].key);
    plan_destroy(plan);
    expect_plan(text, 16, prefix, "tiny bf16 cpu b2 c32\n");
    assert_int_equal(make_plan(text, 16, "nothing", &plan, &err), ERR_USAGE);
    assert_string_equal(
        err.message,
        "--only 'nothing' matches no cell (known: tiny bf16 cpu b1 c16, tiny bf16 cpu b1 c32, "
        "tiny bf16 cpu b2 c16, tiny bf16 cpu b2 c32, tiny bf16 cpu b4 c16, "
        "tiny bf16 cpu b4 c32)");
    assert_int_equal(make_plan(text, 16, "b4", &plan, &err), ERR_USAGE);
    assert_string_equal(err.message,
                        "--only 'b4' matches no cell: did you mean '*b4*' (2 of them)?");
}

// Ceilings take seconds: they are measured once, for cells that may run, and after every reason to refuse the suite.
static void ceilings_are_measured_last(void **state)
{
    (void)state;
    struct plan *plan;
    struct error err;
    assert_int_equal(
        make_plan(TINY "[sweep s]\ncontext = 16, 32\ngen = 4\n", 16, NULL, &plan, &err), OK);
    assert_int_equal(measured, 1);
    plan_destroy(plan);
    assert_int_equal(make_plan(TINY "[sweep s]\ncontext = 16\ngen = 4\n", 16, "no", &plan, &err),
                     ERR_USAGE);
    assert_int_equal(measured, 0);
    assert_int_equal(make_plan(TINY "[sweep s]\ndevice = cuda:0\ncontext = 16\ngen = 4\n", 16, NULL,
                               &plan, &err),
                     OK);
    assert_int_equal(plan->run_count, 0);
    assert_int_equal(measured, 0);
    plan_destroy(plan);
}

// Message after "PATH:".
static void expect_refused(const char *text, const char *message)
{
    struct plan *plan;
    struct error err;
    assert_int_not_equal(make_plan(text, 16, NULL, &plan, &err), OK);
    assert_null(plan);
    assert_memory_equal(err.message, path, strlen(path));
    assert_string_equal(err.message + strlen(path) + 1, message);
}

static void each_mistake_has_its_line(void **state)
{
    (void)state;
    expect_refused("[model m]\npath = no/where\n[sweep s]\n", "2: path: there is no no/where");
    expect_refused("[model m]\npath = models/refrence\n[sweep s]\n",
                   "2: path: there is no models/refrence: did you mean 'models/reference'?");
    expect_refused(
        "[model m]\nshape = llama-2-8b\n[sweep s]\n",
        "2: shape: unknown shape 'llama-2-8b': did you mean 'llama-2-7b' or 'llama-3-8b'?");
    expect_refused("[model m]\nshape = ./x.json\n[sweep s]\n",
                   "2: shape: there is no file ./x.json");
    expect_refused(TINY "[sweep s]\nmodel = tiny, tny\n",
                   "4: model: unknown model 'tny': did you mean 'tiny'?");
    expect_refused(TINY "[sweep s]\nscheme = bf17\n",
                   "4: scheme: unknown scheme 'bf17': did you mean 'bf16'?");
    expect_refused(TINY "[defaults]\ndevice = gpu\n[sweep s]\n",
                   "4: device: unknown device 'gpu' (known: cpu, cuda, metal)");
    expect_refused(TINY "[sweep s]\ndevice = accelerator\n",
                   "4: device: unknown device 'accelerator' (known: cpu, cuda, metal)");
    expect_refused(TINY "[sweep s]\ndevice = cuda:x\n",
                   "4: device: unknown device 'cuda:x': did you "
                   "mean 'cuda'?");
    expect_refused(TINY "[sweep s]\nskip = tinny & batch>1\n",
                   "4: skip: unknown model, scheme or device 'tinny': did you mean 'tiny'?");
    expect_refused(TINY "[sweep s]\nskip = bf16 @ mtal\n",
                   "4: skip: unknown device 'mtal': did you mean 'metal'?");
    expect_refused(TINY "[sweep s]\nbatch = 1, 2\ncontext = 64\nlink = batch context\n",
                   "6: link: 'batch' has 2 values and 'context' has 1");
    expect_refused(TINY "[sweep s]\nprompt = hello\n",
                   "4: prompt: 'hello' is neither random nor text:FILE");
    expect_refused(TINY "[sweep s]\nprompt = text:none.txt\n",
                   "4: prompt: there is no file none.txt");
    expect_refused(TINY "[sweep s]\ncollect = quality\nquality_text = none.txt\n",
                   "5: quality_text: there is no file none.txt");
    expect_refused(TINY "[sweep s]\nbatch = 1-200\ncontext = 201-400\n",
                   "3: more than 10000 cells");
}

// An evaluation of other arithmetic is another one, on a device of the same name too.
static void quality_is_keyed_by_its_arithmetic(void **state)
{
    (void)state;
    struct error err = {0};
    const struct plan_model model = {.content = "abc"};
    const struct quality_wish wish = {.text_hash = "def", .convention = "half-512"};
    const char *const arithmetics[] = {"w4a8: int4 g128 x int8 -> int32 -> f32",
                                       "w4a16: int4 g128 x bf16 -> f32",
                                       "w4a16: int4 g128 x bf16 -> f32"};
    struct plan_quality q[3];
    for (int i = 0; i < 3; i++) {
        q[i] = (struct plan_quality){.model = &model,
                                     .wish = &wish,
                                     .scheme = scheme_find("int4-rtn"),
                                     .device = "cuda:0",
                                     .arithmetic = arithmetics[i]};
        assert_int_equal(plan_quality_key(&q[i], &err), OK);
        json_decref(q[i].params);
    }
    assert_string_not_equal(q[0].key, q[1].key);
    assert_string_equal(q[1].key, q[2].key);
}

// Evaluations of quality are shared by all cells of the same model, scheme, head, KV type and text.
static void quality_is_planned_once(void **state)
{
    (void)state;
    struct plan *plan;
    struct error err;
    const char *text = "[model tiny]\npath = models/reference\n"
                       "[model small]\npath = tests/golden/models/llama-gqa3\n"
                       "[model shape]\nshape = smollm2-135m\n"
                       "[defaults]\ndevice = cpu\ncontext = 64\ngen = 4\n"
                       "[sweep s]\nmodel = tiny\nscheme = f32, bf16\nbatch = 1, 2\n"
                       "collect = quality\nquality_windows = 3\n"
                       "[sweep t]\nmodel = tiny\nscheme = bf16\nkv = bf16, f16\ncontext = 32\n"
                       "collect = timing, quality\nquality_windows = 3\n"
                       "[sweep u]\nmodel = tiny, small, shape\nscheme = f32\ncontext = 16\n"
                       "collect = quality\nquality_convention = full-2048\n"
                       "[sweep v]\nmodel = tiny\ncontext = 24\n"
                       "[sweep w]\nmodel = tiny\ncontext = 40\ncollect = quality\n"
                       "quality_windows = 0\nprocs = 1\nmax_cell_time = 10s\n";
    if (make_plan(text, 16, NULL, &plan, &err) != OK)
        fail_msg("%s", err.message);
    struct str got = {0};
    for (size_t i = 0; i < plan->quality_count; i++)
        str_printf(&got, "%s %s: %s\n", plan->qualities[i].label,
                   plan->qualities[i].wish->convention,
                   plan->qualities[i].skip ? plan->qualities[i].skip : "");
    const char *expected = "tiny f32 cpu half-512: \n"
                           "tiny bf16 cpu half-512: \n"
                           "tiny bf16 cpu kv-f16 half-512: \n"
                           "tiny f32 cpu full-2048: *\n"
                           "small f32 cpu full-2048: convention full-2048 has windows of 2048 "
                           "tokens, the model ends at 512 positions\n"
                           "shape f32 cpu full-2048: synthetic weights have no quality\n"
                           "tiny bf16 cpu half-512: predicted to take *, max_cell_time is 10 s\n";
    if (!str_glob(expected, str_text(&got)))
        assert_string_equal(str_text(&got), expected); // shows both
    str_fini(&got);
    // both batches of a scheme share one, and so does a sweep that asks for the same
    assert_ptr_equal(plan->cells[0].quality, plan->cells[1].quality);
    assert_ptr_equal(plan->cells[2].quality, &plan->qualities[1]);
    assert_ptr_equal(plan->cells[4].quality, &plan->qualities[1]);
    double cells_ns = 0, qualities_ns = 0;
    for (size_t i = 0; i < plan->cell_count; i++)
        if (plan->cells[i].context == 24)
            assert_null(plan->cells[i].quality); // not asked for
        else if (!plan->cells[i].skip)
            assert_non_null(plan->cells[i].quality);
    for (size_t i = 0; i < plan->cell_count; i++)
        cells_ns += plan->cells[i].skip ? 0 : plan->cells[i].predicted_ns;
    for (size_t i = 0; i < plan->quality_count; i++)
        qualities_ns += plan->qualities[i].skip ? 0 : plan->qualities[i].predicted_ns;
    assert_true(qualities_ns > 0);
    assert_true(plan->predicted_ns > 0.999 * (cells_ns + qualities_ns)); // and the ceilings
    plan_destroy(plan);
}

// A broken checkpoint ends the suite with one line that begins where the suite names it.
static void a_broken_model_is_one_error(void **state)
{
    (void)state;
    struct plan *plan;
    struct error err;
    assert_int_not_equal(
        make_plan("[model m]\npath = tests/golden/models\n[sweep s]\n", 16, NULL, &plan, &err), OK);
    char begin[256];
    snprintf(begin, sizeof begin, "%s:2: [model m]: tests/golden/models", path);
    assert_true(str_starts(err.message, begin));
}

// ---- keys ---------------------------------------------------------------------------------------

static struct plan_model model = {.label = "m", .content = "c0ffee"};
static struct scheme f32 = {.name = "f32"};

static struct cell base_cell(void)
{
    return (struct cell){.model = &model,
                         .scheme_name = "f32",
                         .scheme = &f32,
                         .device = "cpu",
                         .head = DT_F32,
                         .kv = DT_F32,
                         .threads = 2,
                         .chunk = 512,
                         .batch = 1,
                         .context = 512,
                         .gen = 128,
                         .prompt = "random",
                         .sampling = {.top_p = 1, .seed = 42},
                         .procs = 6,
                         .reps = 3};
}

static void key_of(struct cell cell, const char *prompt_hash, char out[65])
{
    struct error err = {0};
    assert_int_equal(plan_cell_key(&cell, prompt_hash, &err), OK);
    memcpy(out, cell.key, 65);
    json_decref(cell.params);
}

// The key of one known cell. If this fails, every history of every machine starts over: change it
// only when the work of a cell has changed, and say so in the commit.
static void a_known_key_does_not_move(void **state)
{
    (void)state;
    char key[65];
    key_of(base_cell(), NULL, key);
    assert_string_equal(key, "17f9121741b709d84eda19d6e6b3db97bbeb6acc11461bb00c29d1677c6e679f");
}

// Workers could not be given such a path: the plan refuses it, so that --dry-run and the run agree.
static void a_path_that_is_not_utf8_is_refused(void **state)
{
    (void)state;
    char dir[] = "/tmp/test_plan\xff.XXXXXX", link[64], text[256];
    struct error err;
    struct plan *plan = NULL;
    assert_non_null(mkdtemp(dir));
    snprintf(link, sizeof link, "%s/model", dir);
    char *target = realpath("models/reference", NULL);
    assert_int_equal(symlink(target, link), 0);
    snprintf(text, sizeof text, "[model m]\npath = %s\n[sweep s]\ncontext = 64\ngen = 4\n", link);
    assert_int_equal(make_plan(text, 16, NULL, &plan, &err), ERR_USAGE);
    assert_non_null(strstr(err.message, "model /tmp/test_plan?."));
    assert_non_null(strstr(err.message, "/model: the path is not valid UTF-8"));
    unlink(link);
    rmdir(dir);
    free(target);
}

// int4-awq alone has a calibration text: its bytes count, its name does not.
static void a_calibration_text_is_part_of_the_key(void **state)
{
    (void)state;
    char without[65], first[65], second[65], renamed[65];
    struct cell cell = base_cell();
    key_of(cell, NULL, without);
    cell.calib = "a.txt", cell.calib_hash = "aa";
    key_of(cell, NULL, first);
    cell.calib_hash = "bb";
    key_of(cell, NULL, second);
    cell.calib = "b.txt";
    key_of(cell, NULL, renamed);
    assert_string_not_equal(without, first);
    assert_string_not_equal(first, second);
    assert_string_equal(second, renamed);
}

#define CHANGES(statement)                                                                         \
    do {                                                                                           \
        struct cell cell = base_cell();                                                            \
        statement;                                                                                 \
        char changed[65];                                                                          \
        key_of(cell, NULL, changed);                                                               \
        assert_string_not_equal(changed, known);                                                   \
    } while (0)

#define KEEPS(statement)                                                                           \
    do {                                                                                           \
        struct cell cell = base_cell();                                                            \
        statement;                                                                                 \
        char kept[65];                                                                             \
        key_of(cell, NULL, kept);                                                                  \
        assert_string_equal(kept, known);                                                          \
    } while (0)

static void the_work_changes_the_key(void **state)
{
    (void)state;
    char known[65], text[65], other[65];
    static struct plan_model another = {.label = "m", .content = "decaf"};
    key_of(base_cell(), NULL, known);
    CHANGES(cell.model = &another);
    CHANGES(cell.scheme_name = "bf16");
    CHANGES(cell.head = DT_BF16);
    CHANGES(cell.kv = DT_F16);
    CHANGES(cell.device = "cuda:0");
    CHANGES(cell.threads = 4);
    CHANGES(cell.chunk = 256);
    CHANGES(cell.batch = 2);
    CHANGES(cell.context = 1024);
    CHANGES(cell.gen = 64);
    CHANGES(cell.sampling.seed = 43);
    CHANGES(cell.sampling.temperature = 0.5f);
    key_of(base_cell(), "aa", text);
    key_of(base_cell(), "bb", other);
    assert_string_not_equal(text, known);
    assert_string_not_equal(text, other);
}

// A form of decode steps that was asked for counts where the device has several. `auto` is as before there was a
// choice.
static void a_form_of_steps_counts_on_cuda(void **state)
{
    (void)state;
    char known[65], graph[65], persistent[65];
    struct cell cell = base_cell();
    cell.step = DECODE_AUTO;
    key_of(cell, NULL, known);
    cell.step = DECODE_PERSISTENT;
    key_of(cell, NULL, persistent);
    assert_string_equal(persistent, known); // the CPU has one
    cell.device = "cuda:0";
    key_of(cell, NULL, persistent);
    cell.step = DECODE_GRAPH;
    key_of(cell, NULL, graph);
    cell.step = DECODE_AUTO;
    key_of(cell, NULL, known);
    assert_string_not_equal(persistent, known);
    assert_string_not_equal(graph, known);
    assert_string_not_equal(graph, persistent);
}

// Products of a library count where they run. `own` is as before there was a choice.
static void products_of_a_library_count(void **state)
{
    (void)state;
    char known[65], library[65];
    struct cell cell = base_cell();
    key_of(cell, NULL, known);
    cell.runs.products = PRODUCTS_CUBLASLT;
    key_of(cell, NULL, library);
    assert_string_not_equal(library, known);
}

static void sampling_counts_when_it_is_used(void **state)
{
    (void)state;
    struct cell warm = base_cell();
    warm.sampling.temperature = 1;
    char known[65], changed[65];
    key_of(warm, NULL, known);
    warm.sampling.top_k = 40;
    key_of(warm, NULL, changed);
    assert_string_not_equal(changed, known);
    warm.sampling.top_k = 0;
    warm.sampling.top_p = 0.9f;
    key_of(warm, NULL, changed);
    assert_string_not_equal(changed, known);
}

static void the_measuring_does_not_change_the_key(void **state)
{
    (void)state;
    char known[65];
    static struct plan_model renamed = {
        .label = "other name", .path = "/else", .content = "c0ffee"};
    key_of(base_cell(), NULL, known);
    KEEPS(cell.procs = 1);
    KEEPS(cell.reps = 9);
    KEEPS(cell.retries = 9);
    KEEPS(cell.min_time_ns = 7);
    KEEPS(cell.warmup = WARMUP_FULL);
    KEEPS(cell.timeout_ns = 1);
    KEEPS(cell.collect = COLLECT_COUNTERS);
    KEEPS(cell.sweep = "other");
    KEEPS(cell.label = "other");
    KEEPS(cell.model = &renamed);
    KEEPS(cell.sampling.top_k = 40); // greedy: never read
}

// Reading models takes long: a signal ends it, and its error has no other words. test_devices.c stops between cells.
static void a_signal_stops_a_plan(void **state)
{
    (void)state;
    struct plan *plan = NULL;
    struct error err;
    struct interrupt in;
    pending_begin(&in, SIGINT);
    // A file that is no shape is not read any more.
    assert_int_equal(make_plan("[model m]\nshape = ./Makefile\n[sweep s]\n", 16, NULL, &plan, &err),
                     ERR_INTERRUPTED);
    assert_string_equal(err.message, "stopped");
    interrupt_end(&in);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_order_is_that_of_the_axes),
        cmocka_unit_test(a_signal_stops_a_plan),
        cmocka_unit_test(labels_name_what_varies),
        cmocka_unit_test(linked_keys_go_side_by_side),
        cmocka_unit_test(what_cannot_run_says_why),
        cmocka_unit_test(no_room_is_said_in_words),
        cmocka_unit_test(a_device_is_planned_once),
        cmocka_unit_test(more_threads_than_processors_are_left_out),
        cmocka_unit_test(stored_codes_decide_the_groups),
        cmocka_unit_test(time_and_beyond_the_limit),
        cmocka_unit_test(a_trial_beyond_its_timeout_is_left_out),
        cmocka_unit_test(a_load_is_shared_by_its_group),
        cmocka_unit_test(a_calibration_text_has_a_worker_of_its_own),
        cmocka_unit_test(a_path_that_is_not_utf8_is_refused),
        cmocka_unit_test(a_resumed_run_leaves_nothing_out_by_prediction),
        cmocka_unit_test(groups_share_model_scheme_device_threads_and_procs),
        cmocka_unit_test(only_takes_labels_and_keys),
        cmocka_unit_test(ceilings_are_measured_last),
        cmocka_unit_test(each_mistake_has_its_line),
        cmocka_unit_test(a_broken_model_is_one_error),
        cmocka_unit_test(quality_is_keyed_by_its_arithmetic),
        cmocka_unit_test(quality_is_planned_once),
        cmocka_unit_test(a_known_key_does_not_move),
        cmocka_unit_test(a_calibration_text_is_part_of_the_key),
        cmocka_unit_test(the_work_changes_the_key),
        cmocka_unit_test(a_form_of_steps_counts_on_cuda),
        cmocka_unit_test(products_of_a_library_count),
        cmocka_unit_test(sampling_counts_when_it_is_used),
        cmocka_unit_test(the_measuring_does_not_change_the_key),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
