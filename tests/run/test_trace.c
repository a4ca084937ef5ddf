// test_trace.c - a trace's file: slices nest, steps and layers are those of the rows, and a failed write loses nothing.
#include "tests/run/fixture.h"

#include <inttypes.h>

#include "base/file.h"
#include "bench/run/trace.h"

enum { SLICES_MAX = 4096 };

// A slice of the file, in ns.
struct slice {
    const char *name, *category;
    int64_t begin_ns, end_ns, process;
};

static int64_t ns_of(const json_t *event, const char *key)
{
    return llround(1e3 * json_number_value(json_object_get(event, key)));
}

// Reads the file and proves that its slices nest, outermost first, as viewers take them.
static size_t read_slices(const char *path, json_t **root, struct slice *out)
{
    json_error_t failed;
    size_t i, count = 0, depth = 0, open[64];
    json_t *event;
    *root = json_load_file(path, 0, &failed);
    if (!*root)
        fail_msg("%s:%d: %s", path, failed.line, failed.text);
    json_array_foreach(json_object_get(*root, "traceEvents"), i, event)
    {
        const char *kind = json_string_value(json_object_get(event, "ph"));
        assert_true(str_equal(kind, "X") || str_equal(kind, "M"));
        if (str_equal(kind, "M"))
            continue;
        struct slice *s = &out[count];
        assert_true(count < SLICES_MAX);
        *s = (struct slice){json_string_value(json_object_get(event, "name")),
                            json_string_value(json_object_get(event, "cat")), ns_of(event, "ts"), 0,
                            json_integer_value(json_object_get(event, "pid"))};
        s->end_ns = s->begin_ns + ns_of(event, "dur");
        assert_true(s->end_ns >= s->begin_ns && s->begin_ns >= 0);
        while (depth && (out[open[depth - 1]].end_ns <= s->begin_ns ||
                         out[open[depth - 1]].process != s->process))
            depth--;
        assert_true(!depth || s->end_ns <= out[open[depth - 1]].end_ns);
        assert_true(depth < 64);
        open[depth++] = count++;
    }
    return count;
}

static void add(struct trace *t, const char *source, const struct trace_row *rows, size_t count)
{
    static const char *names[] = {"k_few", "k_decode"};
    struct error err = {0};
    struct trace_row copy[64];
    assert_true(count <= 64);
    memcpy(copy, rows, count * sizeof *rows);
    struct event event = {.type = EVENT_TRACE,
                          .source = source,
                          .trace = copy,
                          .trace_count = count,
                          .trace_names = names,
                          .trace_name_count = 2};
    assert_int_equal(trace_add(t, &event, &err), OK);
}

static void expect(const struct slice *s, const char *category, const char *name, int64_t begin_ns,
                   int64_t end_ns)
{
    assert_string_equal(s->category, category);
    assert_string_equal(s->name, name);
    assert_int_equal(s->begin_ns, begin_ns);
    assert_int_equal(s->end_ns, end_ns);
}

// Two steps of a device: the second kernel begins before the end of the first, one has no label.
static void kernels_nest_in_their_operations(void **state)
{
    (void)state;
    static const struct trace_row rows[] = {
        {PHASE_DECODE, -1, OPC_REST, 1000, 1100, 0},
        {PHASE_DECODE, 0, OPC_QKV, 1100, 1400, 0},
        {PHASE_DECODE, 0, OPC_QKV, 1380, 1500, 1},
        {PHASE_DECODE, 0, OPC_ATTENTION, 1600, 1700, 1},
        {PHASE_DECODE, -1, OPC_COUNT, 1700, 1710, 0},
        {PHASE_DECODE, -1, OPC_COUNT, 1710, 1720, 1},
        {PHASE_DECODE, -1, OPC_REST, 2000, 2100, 0},
        {PHASE_DECODE, 0, OPC_QKV, 2100, 2200, 0},
        {PHASE_LOAD, -1, OPC_COUNT, 3000, 3001, 1},
        {PHASE_DECODE, 0, OPC_QKV, 3100, 3200, 0},
        {PHASE_DECODE, -1, OPC_COUNT, 3200, 3210, 0},
        {PHASE_LOAD, -1, OPC_COUNT, 3300, 3301, 1},
        {PHASE_DECODE, -1, OPC_REST, 4000, 4100, 0},
    };
    char path[] = "/tmp/test_trace_XXXXXX";
    static struct slice s[SLICES_MAX];
    struct trace t = {0};
    struct error err = {0};
    json_t *root;
    close(mkstemp(path));
    add(&t, "activity trace", rows, sizeof rows / sizeof *rows);
    assert_int_equal(trace_write(&t, "7b \"b1\"", path, &err), OK);
    size_t n = read_slices(path, &root, s);
    expect(&s[0], "phase", "decode", 0, 1200);
    expect(&s[1], "step", "step 1", 0, 720);
    expect(&s[2], "op", "rest", 0, 100);
    expect(&s[3], "kernel", "k_few", 0, 100);
    expect(&s[4], "layer", "layer 0", 100, 700);
    expect(&s[5], "op", "qkv", 100, 500);
    expect(&s[6], "kernel", "k_few", 100, 400);
    expect(&s[7], "kernel", "k_decode", 400, 500); // from the end of the one before
    expect(&s[8], "op", "attention", 600, 700);
    expect(&s[10], "op", "end of step", 700, 720);
    expect(&s[13], "step", "step 2", 1000, 1200);
    expect(&s[19], "phase", "of no phase", 2000, 2001);
    expect(&s[20], "kernel", "k_decode", 2000, 2001);
    expect(&s[22], "step", "step 2", 2100, 2210); // the same step continues
    expect(&s[n - 3], "step", "step 3", 3000, 3100);
    json_decref(root);
    unlink(path);
    trace_fini(&t);
}

// Operations of the host have no kernels. A prompt of two passes has two, though no step ends between them.
static void operations_of_the_host(void **state)
{
    (void)state;
    static const struct trace_row rows[] = {
        {PHASE_PREFILL, -1, OPC_REST, 100, 200, -1},  {PHASE_PREFILL, 0, OPC_REST, 200, 210, -1},
        {PHASE_PREFILL, 0, OPC_QKV, 210, 300, -1},    {PHASE_PREFILL, -1, OPC_REST, 300, 400, -1},
        {PHASE_PREFILL, 0, OPC_REST, 400, 410, -1},   {PHASE_PREFILL, 0, OPC_QKV, 410, 500, -1},
        {PHASE_PREFILL, -1, OPC_REST, 500, 510, -1},  {PHASE_PREFILL, -1, OPC_HEAD, 510, 600, -1},
        {PHASE_PREFILL, -1, OPC_COUNT, 600, 610, -1}, {PHASE_DECODE, -1, OPC_REST, 700, 710, -1},
        {PHASE_DECODE, 0, OPC_QKV, 710, 720, -1},
    };
    char path[] = "/tmp/test_trace_XXXXXX";
    static struct slice s[SLICES_MAX];
    struct trace t = {0};
    struct error err = {0};
    json_t *root;
    size_t steps = 0, layers = 0;
    close(mkstemp(path));
    add(&t, "host clock", rows, 5); // in two events
    add(&t, "host clock", rows + 5, sizeof rows / sizeof *rows - 5);
    assert_int_equal(trace_write(&t, "tiny", path, &err), OK);
    size_t n = read_slices(path, &root, s);
    for (size_t i = 0; i < n; i++) {
        steps += str_equal(s[i].category, "step");
        layers += str_equal(s[i].category, "layer");
        assert_false(str_equal(s[i].category, "kernel"));
    }
    assert_int_equal(steps, 3);
    assert_int_equal(layers, 3);
    expect(&s[1], "step", "pass 1", 0, 200);
    expect(&s[n - 1], "op", "qkv", 610, 620);
    json_decref(root);
    unlink(path);
    trace_fini(&t);
}

// Without rows, or in a folder that is not there, the old file stays.
static void a_refused_file_stays(void **state)
{
    (void)state;
    char path[] = "/tmp/test_trace_XXXXXX", *text = NULL;
    struct trace t = {0};
    struct error err = {0};
    size_t size = 0;
    close(mkstemp(path));
    assert_int_equal(file_write(path, "old", 3, &err), OK);
    assert_int_equal(trace_write(&t, "tiny", path, &err), ERR_USAGE);
    error_clear(&err);
    assert_int_equal(file_read(path, 100, &text, &size, &err), OK);
    assert_string_equal(text, "old");
    free(text);
    add(&t, "host clock", &(struct trace_row){PHASE_DECODE, 0, OPC_QKV, 1, 2, -1}, 1);
    assert_int_equal(trace_write(&t, "tiny", "/tmp/no-such-folder/x", &err), ERR_IO);
    trace_clear(&t);
    assert_int_equal(t.count, 0);
    unlink(path);
}

// The true worker sends what its instruments saw, once for each trial; the last trial's stays.
static void a_run_is_traced(void **state)
{
    (void)state;
    static struct slice s[SLICES_MAX];
    struct test_plan t;
    struct trace trace = {0};
    struct error err = {0};
    json_t *root;
    int64_t run = 0;
    char path[128], *self = os_executable_path();
    test_plan_make(&t, "models/reference", 1, 2);
    t.cells[0].gen = 4;
    t.cells[0].reps = 1;
    snprintf(path, sizeof path, "%s/trace.json", t.dir);
    const char *real[] = {self, "real", NULL};
    struct runner_options options = {.database = t.database,
                                     .command = "bench profile",
                                     .output = RUNNER_QUIET,
                                     .worker_command = real,
                                     .trace = &trace,
                                     .run = &run};
    assert_int_equal(runner_run(&t.plan, &options, &err), EXIT_FINE);
    assert_int_equal(run, 1);
    assert_int_equal(trace.count, 1);
    assert_int_equal(trace_write(&trace, "tiny", path, &err), OK);
    size_t n = read_slices(path, &root, s), steps = 0, heads = 0, layers = 0, phases = 0;
    for (size_t i = 0; i < n; i++) {
        phases += str_equal(s[i].category, "phase");
        steps += str_equal(s[i].category, "step");
        layers += str_equal(s[i].category, "layer");
        heads += str_equal(s[i].name, "head");
    }
    // 52 positions in chunks of 16 are 4 passes; 3 decode steps follow.
    assert_int_equal(phases, 2);
    assert_int_equal(steps, 4 + 3);
    assert_int_equal(heads, 1 + 3);
    assert_int_equal(layers, (size_t)t.model.config.layers * steps);
    json_decref(root);
    trace_fini(&trace);
    unlink(path);
    free(self);
    test_plan_fini(&t);
}

int main(int argc, char **argv)
{
    if (argc > 1)
        return worker_of_test(argc, argv);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kernels_nest_in_their_operations),
        cmocka_unit_test(operations_of_the_host),
        cmocka_unit_test(a_refused_file_stays),
        cmocka_unit_test(a_run_is_traced),
    };
    return cmocka_run_group_tests_name("trace", tests, NULL, NULL);
}
