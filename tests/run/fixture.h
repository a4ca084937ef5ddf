// fixture.h - what the runner's tests share: plans made by hand, and workers that misbehave on order.
//
// The test program is its own worker: started as `test_x fake KIND CELL PIDS --events 3` it plays one. KIND is what
// happens in cell CELL of the plan; the other cells get well-formed events with made-up figures, so that no model is
// needed. Each appends its process number to the file PIDS. `test_x real --events 3` is the true worker, with made-up
// ceilings.
#ifndef TESTS_RUN_FIXTURE_H
#define TESTS_RUN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "base/str.h"
#include "bench/protocol/protocol.h"
#include "bench/run/runner.h"
#include "bench/worker/worker.h"
#include "results/metric.h"
#include "results/query.h"
#include "results/store.h"

// ---- the fake worker -------------------------------------------------------------------------------

static inline void say(const char *format, ...) PRINTF_LIKE(1, 2);
static inline void say(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (vdprintf(PROTOCOL_EVENTS_FD, format, args) < 0)
        _exit(9);
    va_end(args);
}

static inline void say_ceilings(void)
{
    say("{\"event\":\"ceilings\",\"note\":\"3 of 90 windows were disturbed\",\"rows\":["
        "{\"device\":\"cpu\",\"name\":\"read\",\"level\":\"DRAM\",\"kernel\":\"k\",\"threads\":1,"
        "\"value\":2e10,"
        "\"low\":1.9e10,\"high\":2.1e10,\"samples\":5},"
        "{\"device\":\"cpu\",\"name\":\"read_set\",\"level\":\"L3\",\"kernel\":\"k\",\"threads\":1,"
        "\"value\":4e10,\"low\":4e10,\"high\":4e10,\"samples\":5,\"set_bytes\":1e6},"
        "{\"device\":\"cpu\",\"name\":\"read_set\",\"level\":\"L3\",\"kernel\":\"k\",\"threads\":1,"
        "\"value\":3e10,\"low\":3e10,\"high\":3e10,\"samples\":5,\"set_bytes\":2e6},"
        "{\"device\":\"cpu\",\"name\":\"f32_fma\",\"level\":\"\",\"kernel\":\"k\",\"threads\":1,"
        "\"value\":1e11,"
        "\"low\":1e11,\"high\":1e11,\"samples\":5},"
        "{\"device\":\"cuda:0\",\"name\":\"read\",\"level\":\"DRAM\",\"kernel\":\"k\",\"threads\":"
        "0,"
        "\"value\":3e12,\"low\":3e12,\"high\":3e12,\"samples\":5}]}\n{\"event\":\"bye\"}\n");
}

static inline void say_repetition(const struct job_cell *cell, int number, const char *hash,
                                  int nonfinite, double tpot)
{
    say("{\"event\":\"repetition\",\"cell\":%d,\"repetition\":%d,\"token_hash\":\"%s\","
        "\"nonfinite\":%d,\"metrics\":["
        "{\"name\":\"ttft\",\"value\":1e6,\"phase\":\"prefill\",\"source\":\"made up\"},"
        "{\"name\":\"prefill_time\",\"value\":1e6,\"phase\":\"prefill\",\"source\":\"made up\"},"
        "{\"name\":\"e2e\",\"value\":1e8,\"source\":\"made up\"},"
        "{\"name\":\"tpot\",\"value\":%g,\"phase\":\"decode\",\"source\":\"made up\"}],"
        "\"noise\":[{\"name\":\"steal\",\"value\":null,\"source\":\"os\"}],\"token_ns\":[",
        cell->index, number, hash, nonfinite, tpot);
    for (int s = 0; s < cell->batch; s++) {
        say("%s[", s ? "," : "");
        for (int t = 0; t < cell->gen; t++)
            say("%s%d", t ? "," : "", 1000 * (t + 1));
        say("]");
    }
    say("]}\n");
}

static inline void say_endlessly(void)
{
    static char block[1 << 16];
    memset(block, 'x', sizeof block);
    for (;;)
        if (write(PROTOCOL_EVENTS_FD, block, sizeof block) < 0)
            _exit(9);
}

// The worker of kind "patient" continues once PIDS.go exists.
static char patient_for[160];

static inline void wait_for_word(void)
{
    while (access(patient_for, F_OK) != 0)
        usleep(5000);
}

// A kind of failure; returns when the cell continues as usual.
static inline void fail_as(const char *kind, const struct job_cell *cell)
{
    if (str_equal(kind, "segv")) {
        signal(SIGSEGV, SIG_DFL); // a sanitizer would make an exit of it
        raise(SIGSEGV);
    }
    if (str_equal(kind, "kill"))
        raise(SIGKILL);
    if (str_equal(kind, "exit")) {
        fprintf(stderr, "first line\nthe reason why\n");
        _exit(7);
    }
    if (str_equal(kind, "quiet-exit"))
        _exit(0);
    if (str_equal(kind, "deaf"))
        signal(SIGTERM, SIG_IGN);
    while (str_equal(kind, "hang") || str_equal(kind, "deaf"))
        sleep(1);
    if (str_equal(kind, "rubbish"))
        say("\x01\xff not json at all\n");
    if (str_equal(kind, "half-line")) {
        say("{\"event\":\"repetition\",\"cell\":%d,\"repet", cell->index);
        _exit(0);
    }
    if (str_equal(kind, "other-cell"))
        say("{\"event\":\"cell\",\"cell\":%d}\n", cell->index + 100);
    while (str_equal(kind, "chatter"))
        say("{\"event\":\"progress\",\"cell\":%d,\"phase\":\"decode\",\"repetition\":1,\"done\":0."
            "5}\n",
            cell->index);
    if (str_equal(kind, "patient")) // until the test lets it go on
        wait_for_word();
    if (str_equal(kind, "bye"))
        say("{\"event\":\"bye\"}\n");
    if (str_equal(kind, "unknown-metric"))
        say("{\"event\":\"trial\",\"cell\":%d,\"metrics\":[{\"name\":\"beauty\",\"value\":1,"
            "\"source\":\"eye\"}]}\n",
            cell->index);
    if (str_equal(kind, "endless"))
        say_endlessly();
}

static inline void fake_cell(const char *kind, const struct job_cell *cell)
{
    char of_this_process[32];
    const char *hash = "abc123";
    say("{\"event\":\"cell\",\"cell\":%d}\n", cell->index);
    fail_as(kind, cell);
    if (str_equal(kind, "oom") || str_equal(kind, "oom-then-hang")) {
        say("{\"event\":\"error\",\"cell\":%d,\"code\":\"nomem\","
            "\"message\":\"KV cache: 9 TiB\"}\n",
            cell->index);
        return;
    }
    snprintf(of_this_process, sizeof of_this_process, "pid%d", (int)getpid());
    if (str_equal(kind, "wrong-trial"))
        hash = of_this_process;
    const char *form =
        context_form_name(cell->step == DECODE_AUTO ? DECODE_PERSISTENT : cell->step);
    for (int r = 1; r <= cell->reps; r++)
        say_repetition(cell, r, str_equal(kind, "wrong") && r == 2 ? "other" : hash,
                       str_equal(kind, "nan") ? 3 : 0,
                       1e7 * (str_equal(kind, "spread")              ? r
                              : str_equal(kind, "outlier") && r == 2 ? 2
                                                                     : 1));
    say("{\"event\":\"trial\",\"cell\":%d,", cell->index);
    if (str_equal(kind, "chooses") || str_equal(kind, "chooses-then-hangs"))
        say("\"step_form\":\"%s\",\"step_reason\":\"%s\",", form,
            cell->step == DECODE_AUTO ? "the faster" : "as asked");
    say("\"metrics\":[{\"name\":\"peak_mem\",\"value\":1e6,\"source\":\"made up\"}]}\n");
}

// The job from standard input, which is a file: it can be read again.
static inline void take_job(struct job *job, json_t **root)
{
    struct error err = {0};
    static char text[1 << 20];
    size_t length = 0;
    ssize_t got;
    while ((got = read(STDIN_FILENO, text + length, sizeof text - length)) > 0)
        length += (size_t)got;
    if (job_decode(text, length, job, root, &err) != OK)
        _exit(8);
    lseek(STDIN_FILENO, 0, SEEK_SET);
}

static inline void fake_worker(const char *kind, int unlucky, const char *pids,
                               const struct job *job)
{
    FILE *file = fopen(pids, "a+");
    bool first = false;
    if (file) {
        fseek(file, 0, SEEK_END);
        first = ftell(file) == 0;
        fprintf(file, "%d\n", (int)getpid());
        fclose(file);
    }
    snprintf(patient_for, sizeof patient_for, "%s.go", pids);
    if (str_equal(kind, "calms"))
        kind = first ? "spread" : "good";
    if (str_equal(kind, "chooses-then-hangs") && job->cells[0].step != DECODE_AUTO)
        kind = "hang"; // it has chosen
    os_die_with_parent();
    while (str_equal(kind, "silent"))
        sleep(1);
    say("{\"event\":\"hello\",\"version\":1}\n");
    if (str_equal(kind, "load-oom"))
        say("{\"event\":\"error\",\"code\":\"nomem\",\"message\":\"weights: 9 TiB\"}\n");
    say("{\"event\":\"loaded\",\"engine\":\"builtin\",\"engine_version\":\"x\",\"arithmetic\":"
        "\"made up\",\"metrics\":[{\"name\":\"load\","
        "\"value\":5e6,\"phase\":\"load\",\"source\":\"made up\"}]}\n");
    for (size_t i = 0; i < job->cell_count; i++)
        fake_cell(job->cells[i].index == unlucky                                 ? kind
                  : str_equal(kind, "oom-then-hang") && job->cells[i].index == 2 ? "hang"
                                                                                 : "good",
                  &job->cells[i]);
    say("{\"event\":\"bye\"}\n");
}

// The worker of a quality job; `kind` as for cells, "quality-..." happens here.
static inline void fake_quality(const char *kind, const char *pids)
{
    FILE *file = fopen(pids, "a");
    if (file) {
        fprintf(file, "quality\n");
        fclose(file);
    }
    say("{\"event\":\"hello\",\"version\":1}\n");
    while (str_equal(kind, "quality-hang"))
        sleep(1);
    if (str_equal(kind, "quality-exit"))
        _exit(7);
    if (str_equal(kind, "quality-oom"))
        say("{\"event\":\"error\",\"code\":\"nomem\",\"message\":\"weights: 9 TiB\"}\n");
    if (str_equal(kind, "quality-trial"))
        say("{\"event\":\"trial\",\"cell\":0,\"metrics\":[]}\n");
    if (str_equal(kind, "quality-oom") || str_equal(kind, "quality-trial"))
        return;
    say("{\"event\":\"loaded\",\"engine\":\"builtin\",\"engine_version\":\"x\",\"arithmetic\":"
        "\"made up\",\"metrics\":[]}\n"
        "{\"event\":\"progress\",\"phase\":\"quality\",\"done\":0.5}\n"
        "{\"event\":\"quality\",\"metrics\":[{\"name\":\"perplexity\",\"value\":17.5,"
        "\"source\":\"made up\"}],\"note\":\"%s\"}\n{\"event\":\"bye\"}\n",
        str_equal(kind, "quality-note") ? "f32 does not fit" : "");
}

static inline int worker_of_test(int argc, char **argv)
{
    struct error err = {0};
    struct job job;
    json_t *root = NULL;
    take_job(&job, &root);
    if (job.task == JOB_CEILINGS && argc >= 3 && str_equal(argv[2], "no-ceilings"))
        say("{\"event\":\"error\",\"code\":\"io\",\"message\":\"the probe is lost\"}\n");
    else if (job.task == JOB_CEILINGS)
        say_ceilings();
    else if (str_equal(argv[1], "fake") && argc >= 5 && job.task == JOB_QUALITY)
        fake_quality(argv[2], argv[4]);
    else if (str_equal(argv[1], "fake") && argc >= 5)
        fake_worker(argv[2], atoi(argv[3]), argv[4], &job);
    else
        worker_main(PROTOCOL_EVENTS_FD, &err);
    free(job.cells);
    json_decref(root);
    return err.code == OK ? 0 : 1;
}

// ---- plans by hand ---------------------------------------------------------------------------------

enum { TEST_CELLS_MAX = 8 };

struct test_plan {
    struct plan plan;
    struct plan_model model;
    struct cell cells[TEST_CELLS_MAX];
    size_t order[TEST_CELLS_MAX];
    struct cell_group group;
    char labels[TEST_CELLS_MAX][64];
    char dir[64], database[96], pids[96];
    bool take_over; // with resume
};

static inline void test_cell_make(struct test_plan *t, size_t i, int procs)
{
    struct cell *c = &t->cells[i];
    snprintf(t->labels[i], sizeof t->labels[i], "tiny f32 cpu b%zu", i + 1);
    *c = (struct cell){
        .label = t->labels[i],
        .params = json_pack("{si}", "batch", (int)i + 1),
        .model = &t->model,
        .sweep = "core",
        .scheme_name = "f32",
        .scheme = scheme_find("f32"),
        .engine = STORE_ENGINE,
        .device = "cpu",
        .head = DT_F32,
        .kv = DT_F32,
        .threads = 1,
        .chunk = 16,
        .batch = (int)i + 1,
        .context = 56,
        .gen = 24,
        .prompt = "random",
        .sampling = {.temperature = 0, .top_p = 1, .seed = 42},
        .procs = procs,
        .reps = 3,
        .warmup = WARMUP_FULL,
        .timeout_ns = 60000000000u,
        .collect = COLLECT_TIMING | COLLECT_MEMORY,
        .memory = {.weights_bytes = 1000, .kv_bytes = 100 * (i + 1), .scratch_bytes = 10},
        .predicted_ns = 1e9,
    };
    snprintf(c->key, sizeof c->key, "%064zx", i + 1);
    t->order[i] = i;
}

// `count` cells of one model in one group; cell i has batch i + 1, all else alike.
static inline void test_plan_make(struct test_plan *t, const char *model_path, size_t count,
                                  int procs)
{
    struct error err = {0};
    struct checkpoint *ck = NULL;
    memset(t, 0, sizeof *t);
    if (checkpoint_open(model_path, &ck, &err) != OK)
        fail_msg("%s", err.message);
    t->model = (struct plan_model){
        .label = "tiny", .path = model_path, .fallback = "", .config = *checkpoint_config(ck)};
    checkpoint_destroy(ck);
    for (size_t i = 0; i < count; i++)
        test_cell_make(t, i, procs);
    t->group = (struct cell_group){.first = 0, .count = count};
    t->plan = (struct plan){
        .suite_name = "test",
        .suite_path = "test.conf",
        .suite_text = "[suite]\nname = test\n",
        .models = &t->model,
        .model_count = 1,
        .cells = t->cells,
        .cell_count = count,
        .order = t->order,
        .run_count = count,
        .groups = &t->group,
        .group_count = 1,
        .interleaved = true,
        .prune_larger_on_oom = true,
    };
    snprintf(t->dir, sizeof t->dir, "/tmp/test_run_XXXXXX");
    assert_non_null(mkdtemp(t->dir));
    snprintf(t->database, sizeof t->database, "%s/bench.db", t->dir);
    snprintf(t->pids, sizeof t->pids, "%s/pids", t->dir);
}

static inline void test_plan_fini(struct test_plan *t)
{
    char path[128];
    static const char *const endings[] = {"", "-wal", "-shm"};
    for (size_t i = 0; i < t->plan.cell_count; i++)
        json_decref(t->cells[i].params);
    for (size_t i = 0; i < 3; i++) {
        snprintf(path, sizeof path, "%s%s", t->database, endings[i]);
        unlink(path);
    }
    snprintf(path, sizeof path, "%s.go", t->pids);
    unlink(path);
    unlink(t->pids);
    rmdir(t->dir);
}

// ---- running and looking ---------------------------------------------------------------------------

// Runs the plan with a worker of this kind for this cell; "real": the true one.
static inline enum exit_code run_with(struct test_plan *t, const char *kind, const char *cell,
                                      bool resume, struct error *err)
{
    char *self = os_executable_path();
    const char *fake[] = {self, "fake", kind, cell, t->pids, NULL}, *real[] = {self, "real", NULL};
    struct runner_options options = {
        .database = t->database,
        .command = "bench run test.conf",
        .resume = resume,
        .take_over = t->take_over,
        .output = RUNNER_QUIET,
        .worker_command = str_equal(kind, "real") ? real : fake,
    };
    enum exit_code code = runner_run(&t->plan, &options, err);
    free(self);
    return code;
}

static inline enum exit_code run_ok(struct test_plan *t, const char *kind, const char *cell)
{
    struct error err = {0};
    enum exit_code code = run_with(t, kind, cell, false, &err);
    if (err.code != OK)
        fail_msg("runner: %s", err.message);
    return code;
}

// What the store says of the newest run.
struct look {
    struct store *store;
    struct arena arena;
    struct run_row run;
    struct cell_row *cells;
    size_t count;
};

static inline void look_open(struct look *l, const struct test_plan *t)
{
    struct error err = {0};
    memset(l, 0, sizeof *l);
    if (store_open(t->database, STORE_READ, &l->store, &err) != OK ||
        query_run(l->store, &l->arena, NULL, &l->run, &err) != OK ||
        query_cells(l->store, &l->arena, l->run.id, &l->cells, &l->count, &err) != OK)
        fail_msg("%s", err.message);
}

static inline struct trial_row *look_trials(struct look *l, size_t cell, size_t *count)
{
    struct error err = {0};
    struct trial_row *rows = NULL;
    if (query_trials(l->store, &l->arena, l->cells[cell].id, &rows, count, &err) != OK)
        fail_msg("%s", err.message);
    return rows;
}

static inline void look_close(struct look *l)
{
    store_close(l->store);
    arena_fini(&l->arena);
}

static inline void assert_cell(struct look *l, size_t cell, const char *status, int trials,
                               const char *reason_part)
{
    assert_true(cell < l->count);
    const char *said = l->cells[cell].reason ? l->cells[cell].reason : "";
    if (!str_equal(l->cells[cell].status, status))
        fail_msg("cell %zu is %s (%s), expected %s", cell, l->cells[cell].status, said, status);
    assert_int_equal(l->cells[cell].trials, trials);
    if (reason_part[0] && !strstr(said, reason_part))
        fail_msg("cell %zu: '%s' does not say '%s'", cell, said, reason_part);
}

#endif
