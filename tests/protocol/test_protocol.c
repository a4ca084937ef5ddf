// test_protocol.c - jobs survive the wire; well-formed events are read, malformed ones refused with a reason.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"
#include "bench/protocol/protocol.h"

static void jobs_survive_the_wire(void **state)
{
    (void)state;
    struct error err = {0};
    struct job_cell cells[] = {
        {.index = 7,
         .batch = 3,
         .context = 100,
         .gen = 10,
         .chunk = 32,
         .kv = DT_BF16,
         .step = DECODE_PERSISTENT,
         .prompt = "text:a \"quoted\" \xc3\xa9.txt",
         .sampling = {.temperature = 0.7f, .top_k = 5, .top_p = 0.9f, .seed = UINT64_MAX - 3},
         .reps = 4,
         .min_ns = INT64_C(1) << 40,
         .warmup = WARMUP_SHORT,
         .collect = COLLECT_TIMING | COLLECT_COUNTERS},
        {.index = 9, .batch = 1, .context = 2, .gen = 1, .chunk = 1, .prompt = "random", .reps = 1},
    };
    struct job job = {
        .task = JOB_CELLS,
        .threads = 2,
        .isa = ISA_ALL,
        .memory_limit_bytes = INT64_C(1) << 40,
        .engine = "builtin",
        .device = "cpu",
        .scheme = "bf16",
        .head = DT_F32,
        .products = PRODUCTS_CUBLASLT,
        .shape_path = "models/shapes/x.json",
        .seed = UINT64_C(0x8000000000000001),
        .cold = true,
        .trace = true,
        .cells = cells,
        .cell_count = 2,
    };
    struct job back;
    json_t *root = NULL;
    char *text = job_encode(&job);
    assert_non_null(text);
    if (job_decode(text, strlen(text), &back, &root, &err) != OK)
        fail_msg("%s", err.message);
    assert_int_equal(back.task, job.task);
    assert_int_equal(back.isa, job.isa);
    assert_int_equal(back.memory_limit_bytes, job.memory_limit_bytes);
    assert_true(back.seed == job.seed && back.cold && back.trace && back.head == DT_F32);
    assert_true(strcmp(back.engine, "builtin") == 0 && back.products == PRODUCTS_CUBLASLT);
    assert_null(back.model_path);
    assert_string_equal(back.shape_path, job.shape_path);
    assert_int_equal(back.cell_count, 2);
    assert_string_equal(back.cells[0].prompt, cells[0].prompt);
    assert_true(back.cells[0].sampling.seed == cells[0].sampling.seed);
    assert_true(back.cells[0].sampling.temperature == cells[0].sampling.temperature);
    assert_int_equal(back.cells[0].collect, cells[0].collect);
    assert_int_equal(back.cells[0].kv, DT_BF16);
    assert_int_equal(back.cells[0].step, DECODE_PERSISTENT);
    assert_int_equal(back.cells[1].step, DECODE_GRAPH);
    assert_int_equal(back.cells[1].gen, 1);
    free(back.cells);
    json_decref(root);
    free(text);
}

static void quality_jobs_survive_the_wire(void **state)
{
    (void)state;
    struct error err = {0};
    struct job job = {.task = JOB_QUALITY,
                      .threads = 2,
                      .isa = ISA_ALL,
                      .engine = "builtin",
                      .device = "cpu",
                      .scheme = "bf16",
                      .head = DT_BF16,
                      .model_path = "models/reference",
                      .quality = {.kv = DT_F16,
                                  .text = "models/reference/eval.txt",
                                  .text_hash = "9f",
                                  .convention = "llama-512",
                                  .windows = 7}};
    struct job back;
    json_t *root = NULL;
    char *text = job_encode(&job);
    assert_non_null(text);
    if (job_decode(text, strlen(text), &back, &root, &err) != OK)
        fail_msg("%s", err.message);
    assert_int_equal(back.task, JOB_QUALITY);
    assert_int_equal(back.products, PRODUCTS_OWN);
    assert_int_equal(back.cell_count, 0);
    assert_string_equal(back.model_path, job.model_path);
    assert_int_equal(back.quality.kv, DT_F16);
    assert_int_equal(back.quality.windows, 7);
    assert_string_equal(back.quality.text, job.quality.text);
    assert_string_equal(back.quality.text_hash, "9f");
    assert_string_equal(back.quality.convention, "llama-512");
    json_decref(root);
    char *windows = strstr(text, "\"windows\":7");
    memcpy(windows, "\"window_\":7", 11);
    assert_int_not_equal(job_decode(text, strlen(text), &back, &root, &err), OK);
    assert_non_null(strstr(err.message, "windows"));
    assert_null(root);
    free(text);
}

static void absurd_jobs_are_refused(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        "[]",
        "{}",
        "{\"version\":1}",
        "{\"version\":2,\"task\":\"cells\"}",
        "{\"version\":1,\"task\":\"dance\",\"threads\":1,\"isa\":0,\"memory_limit\":0,"
        "\"device\":\"cpu\"}",
        "{\"version\":1,\"task\":\"ceilings\",\"threads\":0,\"isa\":0,\"memory_limit\":0,"
        "\"device\":\"cpu\"}",
        "{\"version\":1,\"task\":\"ceilings\",\"threads\":1,\"isa\":0,\"memory_limit\":0}",
        "{\"version\":1,\"task\":\"cells\",\"threads\":1,\"isa\":0,\"memory_limit\":0,\"engine\":"
        "\"builtin\",\"device\":"
        "\"cpu\",\"scheme\":\"f32\",\"head\":\"f32\",\"model\":\"m\",\"seed\":0,\"cells\":[]}",
        "{\"version\":1,\"task\":\"cells\",\"threads\":1,\"isa\":0,\"memory_limit\":0,\"engine\":"
        "\"builtin\",\"device\":"
        "\"cpu\",\"scheme\":\"f32\",\"head\":\"f99\",\"model\":\"m\",\"seed\":0,\"cells\":[1]}",
        "{\"version\":1,\"task\":\"cells\",\"threads\":1,\"isa\":0,\"memory_limit\":0,\"engine\":"
        "\"builtin\",\"device\":"
        "\"cpu\",\"scheme\":\"f32\",\"head\":\"f32\",\"seed\":0,\"cells\":[{}]}",
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct error err = {0};
        struct job job;
        json_t *root = NULL;
        if (job_decode(texts[i], strlen(texts[i]), &job, &root, &err) == OK)
            fail_msg("job %zu was taken: %s", i, texts[i]);
        assert_true(err.message[0] != '\0');
        assert_null(root);
    }
}

static enum status parse(const char *line, struct event *event, struct error *err)
{
    *err = (struct error){0};
    return event_parse(line, strlen(line), event, err);
}

#define LOADED(fields)                                                                             \
    "{\"event\":\"loaded\"," fields "\"arithmetic\":\"a\",\"stored\":null,\"metrics\":[]}"
#define REPETITION(fields, times)                                                                  \
    "{\"event\":\"repetition\",\"cell\":3,\"repetition\":1,\"token_hash\":\"9f\"," fields          \
    ",\"noise\":[],\"token_ns\":" times "}"
#define METRICS(rows) "\"nonfinite\":0,\"metrics\":[" rows "]"
#define TTFT          "{\"name\":\"ttft\",\"value\":8.5,\"phase\":\"prefill\",\"source\":\"host clock\"}"

#define TRACE(names, rows)                                                                         \
    "{\"event\":\"trace\",\"cell\":2,\"source\":\"a clock\",\"lost\":7,\"names\":" names           \
    ",\"rows\":" rows "}"

static void traces_are_read(void **state)
{
    (void)state;
    struct error err;
    struct event e;
    assert_int_equal(
        parse(TRACE("[\"k_a\",\"k_b\"]", "[[1,-1,6,5,9,1],[2,31,7,9,9,-1]]"), &e, &err), OK);
    assert_int_equal(e.cell, 2);
    assert_int_equal(e.trace_count, 2);
    assert_int_equal(e.trace_lost, 7);
    assert_string_equal(e.source, "a clock");
    assert_string_equal(e.trace_names[e.trace[0].name], "k_b");
    assert_int_equal(e.trace[0].phase, PHASE_PREFILL);
    assert_int_equal(e.trace[0].layer, -1);
    assert_int_equal(e.trace[0].op, OPC_REST);
    assert_int_equal(e.trace[0].end_ns - e.trace[0].begin_ns, 4);
    assert_int_equal(e.trace[1].op, OPC_COUNT); // of no class
    assert_int_equal(e.trace[1].layer, 31);
    assert_int_equal(e.trace[1].name, -1);
    event_fini(&e);
    static const char *const absurd[] = {
        TRACE("[]", "[[3,0,0,1,2,-1]]"),                             // no such phase
        TRACE("[]", "[[1,-2,0,1,2,-1]]"),                            // no such layer
        TRACE("[]", "[[1,0,8,1,2,-1]]"),                             // no such class
        TRACE("[]", "[[1,0,0,2,1,-1]]"),                             // it ends before it begins
        TRACE("[]", "[[1,0,0,-1,1,-1]]"),                            // a time before all times
        TRACE("[\"k\"]", "[[1,0,0,1,2,1]]"),                         // no such name
        TRACE("[]", "[[1,0,0,1,2]]"),                                // a field is missing
        TRACE("[]", "[[1,0,0,1,2.5,-1]]"),                           // a field is no integer
        TRACE("[7]", "[]"),                                          // a name is no text
        TRACE("{}", "[]"),                                           // no list
        TRACE("[]", "7"),                                            // no list
        "{\"event\":\"trace\",\"cell\":2,\"names\":[],\"rows\":[]}", // no source
    };
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++)
        if (parse(absurd[i], &e, &err) != ERR_FORMAT)
            fail_msg("trace %zu was taken: %s", i, absurd[i]);
}

static void well_formed_events_are_read(void **state)
{
    (void)state;
    struct error err;
    struct event e;
    assert_int_equal(parse("{\"event\":\"hello\",\"version\":1,\"pid\":1}", &e, &err), OK);
    assert_int_equal(e.type, EVENT_HELLO);
    event_fini(&e);
    assert_int_equal(parse("{\"event\":\"progress\",\"phase\":\"load\",\"done\":0.5}", &e, &err),
                     OK);
    assert_int_equal(e.cell, -1);
    assert_true(e.done == 0.5);
    event_fini(&e);
    assert_int_equal(
        parse(LOADED("\"engine\":\"builtin\",\"engine_version\":\"ridge-1\","), &e, &err), OK);
    assert_string_equal(e.engine, "builtin");
    assert_string_equal(e.engine_version, "ridge-1");
    assert_null(e.stored);
    event_fini(&e);
    assert_int_equal(parse(REPETITION(METRICS(TTFT), "[[1,2,3],[4,5,6]]"), &e, &err), OK);
    assert_int_equal(e.cell, 3);
    assert_int_equal(e.sequences, 2);
    assert_int_equal(e.tokens, 3);
    assert_int_equal(e.token_ns[5], 6);
    assert_int_equal(e.metric_count, 1);
    assert_string_equal(e.metrics[0].unit, "ns");
    assert_true(e.metrics[0].value == 8.5);
    event_fini(&e);
    assert_int_equal(parse("{\"event\":\"trial\",\"cell\":0,\"metrics\":[{\"name\":\"peak_mem\","
                           "\"value\":null,\"source\":\"os\"},{\"name\":\"counter_cycles\","
                           "\"value\":1,\"source\":\"perf\"},{\"name\":\"instrument_counters\","
                           "\"value\":null,\"source\":\"no such event\"}]}",
                           &e, &err),
                     OK);
    assert_int_equal(e.metric_count, 3);
    assert_null(e.step_form); // of a device with one form
    assert_null(e.products);
    assert_true(isnan(e.metrics[2].value));
    assert_string_equal(e.metrics[2].source, "no such event");
    assert_true(isnan(e.metrics[0].value)); // not measured is not zero
    assert_string_equal(e.metrics[1].unit, "1");
    event_fini(&e);
    assert_int_equal(parse("{\"event\":\"quality\",\"note\":\"n\",\"metrics\":[{\"name\":"
                           "\"perplexity\",\"value\":17.02,\"source\":\"half-512\"}]}",
                           &e, &err),
                     OK);
    assert_int_equal(e.type, EVENT_QUALITY);
    assert_string_equal(e.metrics[0].unit, "ppl");
    assert_string_equal(e.message, "n");
    event_fini(&e);
    assert_int_equal(parse("{\"event\":\"quality\"}", &e, &err), ERR_FORMAT);
    assert_int_equal(parse("{\"event\":\"error\",\"code\":\"nomem\",\"message\":\"m\"}", &e, &err),
                     OK);
    assert_int_equal(e.code, ERR_NOMEM);
    assert_int_equal(e.cell, -1);
    event_fini(&e);
}

static void malformed_events_are_refused(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "",
        "rubbish",
        "{\"event\":\"repetition\",\"cell\":3,\"repet",
        "[1,2]",
        "{}",
        "{\"event\":7}",
        "{\"event\":\"party\"}",
        "{\"event\":\"hello\",\"version\":2}",
        "{\"event\":\"cell\"}",
        "{\"event\":\"cell\",\"cell\":-1}",
        "{\"event\":\"cell\",\"cell\":99999999999}",
        "{\"event\":\"cell\",\"cell\":1.5}",
        "{\"event\":\"progress\",\"phase\":\"load\",\"done\":\"half\"}",
        "{\"event\":\"error\",\"code\":\"sad\",\"message\":\"m\"}",
        "{\"event\":\"error\",\"code\":\"ok\",\"message\":\"m\"}",
        LOADED("\"engine\":\"builtin\","),
        LOADED("\"engine_version\":\"1\","),
        "{\"event\":\"trial\",\"cell\":0,\"metrics\":{}}",
        "{\"event\":\"trial\",\"cell\":0,\"metrics\":[7]}",
        "{\"event\":\"trial\",\"cell\":0,\"metrics\":[{\"name\":\"ttft\",\"source\":\"x\"}]}",
        "{\"event\":\"trial\",\"cell\":0,\"metrics\":[{\"name\":\"no\",\"value\":1,\"source\":"
        "\"x\"}]}",
        REPETITION(METRICS(TTFT), "[]"),
        REPETITION(METRICS(TTFT), "[[]]"),
        REPETITION(METRICS(TTFT), "[[1,2],[3]]"),
        REPETITION(METRICS(TTFT), "[[1,\"2\"]]"),
        REPETITION(METRICS(TTFT), "[[1,-2]]"),
        REPETITION("\"nonfinite\":-1,\"metrics\":[]", "[[1]]"),
        "{\"event\":\"ceilings\",\"rows\":[{\"device\":\"cpu\",\"name\":\"a name that is far too "
        "long for its place "
        "in a ceiling\",\"level\":\"\",\"kernel\":\"\",\"value\":1,\"low\":1,\"high\":1,"
        "\"threads\":1,\"samples\":1}]}",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct error err;
        struct event e;
        if (parse(lines[i], &e, &err) == OK)
            fail_msg("line %zu was taken: %s", i, lines[i]);
        assert_int_equal(err.code, ERR_FORMAT);
        assert_null(e.root);
        assert_null(e.metrics);
    }
}

// What the worker's side writes the runner's side reads.
static void writing_and_reading_agree(void **state)
{
    (void)state;
    int ends[2];
    char line[4096];
    struct error err = {0};
    struct event e;
    assert_int_equal(pipe(ends), 0);
    struct wire wire = {.fd = ends[1]};
    json_t *event = wire_event("trial"), *metrics = json_array();
    json_object_set_new(event, "cell", json_integer(5));
    wire_metric(metrics, "op_time", 12.5, "decode", "head", "host clock, observer pass");
    wire_metric(metrics, "peak_mem", NAN, NULL, NULL, "os");
    json_object_set_new(event, "metrics", metrics);
    assert_int_equal(wire_send(&wire, event, &err), OK);
    ssize_t got = read(ends[0], line, sizeof line);
    assert_true(got > 1 && line[got - 1] == '\n');
    if (event_parse(line, (size_t)got - 1, &e, &err) != OK)
        fail_msg("%s", err.message);
    assert_int_equal(e.metric_count, 2);
    assert_string_equal(e.metrics[0].op, "head");
    assert_true(e.metrics[0].value == 12.5 && isnan(e.metrics[1].value));
    event_fini(&e);
    close(ends[0]);
    close(ends[1]);
}

// The loaded event names what will measure; plain numbers are no stored type.
static void loaded_events_agree(void **state)
{
    (void)state;
    struct error err = {0};
    struct event e;
    struct wire_loaded loaded = {
        .engine = "e", .engine_version = "2", .arithmetic = "a", .stored = "q8_0"};
    for (int plain = 0; plain < 2; plain++) {
        loaded.stored = plain ? "" : "q8_0";
        json_t *event = wire_loaded(&loaded, json_array());
        char *text = json_dumps(event, JSON_COMPACT);
        assert_int_equal(parse(text, &e, &err), OK);
        assert_string_equal(e.engine, "e");
        assert_string_equal(e.engine_version, "2");
        assert_string_equal(e.arithmetic, "a");
        assert_true(plain ? !e.stored : str_equal(e.stored, "q8_0"));
        event_fini(&e);
        json_decref(event);
        free(text);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(jobs_survive_the_wire),
        cmocka_unit_test(quality_jobs_survive_the_wire),
        cmocka_unit_test(absurd_jobs_are_refused),
        cmocka_unit_test(well_formed_events_are_read),
        cmocka_unit_test(traces_are_read),
        cmocka_unit_test(malformed_events_are_refused),
        cmocka_unit_test(writing_and_reading_agree),
        cmocka_unit_test(loaded_events_agree),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
