// test_trace.c - rows of instruments reach the runner as they were seen, in pieces, and each phase once.
#include "tests/worker/scripted.h"

#include "bench/worker/instrument_activity.h"
#include "bench/worker/trace.h"
#include "results/metric.h"

enum { PROMPT = 8, GEN = 5, CHUNKS = 2 };

// The lines that were written to `fd`, which is a file; each is parsed as an event.
static size_t read_events(int fd, struct event *out, size_t most)
{
    size_t count = 0, length = 0;
    struct error err = {0};
    off_t size = lseek(fd, 0, SEEK_END);
    char *text = malloc((size_t)size + 1), *line = text;
    assert_non_null(text);
    assert_int_equal(pread(fd, text, (size_t)size, 0), size);
    text[size] = '\0';
    for (; *line; line += length + 1) {
        length = strcspn(line, "\n");
        assert_true(count < most);
        if (event_parse(line, length, &out[count++], &err) != OK)
            fail_msg("%s", err.message);
    }
    free(text);
    return count;
}

static int scratch_file(void)
{
    char path[] = "/tmp/test_trace_XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    return fd;
}

static void long_traces_are_sent_in_pieces(void **state)
{
    (void)state;
    struct wire wire = {.fd = scratch_file()};
    struct worker_trace t = {.source = "a clock"};
    struct error err = {0};
    struct event events[2];
    for (int i = 0; i < TRACE_ROWS_MAX + 3; i++)
        worker_trace_add(&t, &(struct trace_row){PHASE_DECODE, i % 7, OPC_QKV, i, i + 1, 99},
                         i % 2 ? "k_a" : NULL);
    t.lost = 5;
    assert_int_equal(worker_trace_send(&t, &wire, 3, &err), OK);
    assert_int_equal(read_events(wire.fd, events, 2), 2);
    assert_int_equal(events[0].trace_count, TRACE_ROWS_MAX);
    assert_int_equal(events[1].trace_count, 3);
    assert_int_equal(events[0].trace_lost + events[1].trace_lost, 5);
    assert_int_equal(events[1].cell, 3);
    assert_string_equal(events[1].source, "a clock");
    const struct trace_row *last = &events[1].trace[2];
    assert_int_equal(last->begin_ns, TRACE_ROWS_MAX + 2);
    assert_int_equal(last->layer, (TRACE_ROWS_MAX + 2) % 7);
    assert_int_equal(last->name, -1);
    assert_string_equal(events[1].trace_names[events[1].trace[1].name], "k_a");
    assert_true(t.sent[PHASE_DECODE] && !t.sent[PHASE_PREFILL]);
    assert_int_equal(t.count, 0);
    assert_int_equal(worker_trace_send(&t, &wire, 3, &err), OK); // nothing is left
    for (int i = 0; i < 2; i++)
        event_fini(&events[i]);
    assert_int_equal(read_events(wire.fd, events, 2), 2);
    for (int i = 0; i < 2; i++)
        event_fini(&events[i]);
    worker_trace_fini(&t);
    close(wire.fd);
}

// Without memory for the first row, the runner still learns how many were lost.
static void lost_rows_are_sent_without_any_row(void **state)
{
    (void)state;
    struct wire wire = {.fd = scratch_file()};
    struct worker_trace t = {.source = "a clock", .lost = 7};
    struct error err = {0};
    struct event event;
    assert_int_equal(worker_trace_send(&t, &wire, 2, &err), OK);
    assert_int_equal(read_events(wire.fd, &event, 1), 1);
    assert_int_equal(event.type, EVENT_TRACE);
    assert_int_equal(event.cell, 2);
    assert_int_equal(event.trace_count, 0);
    assert_int_equal(event.trace_lost, 7);
    assert_string_equal(event.source, "a clock");
    assert_int_equal(t.lost, 0);
    event_fini(&event);
    worker_trace_fini(&t);
    close(wire.fd);
}

// The rows of the observer's repetition; `sent` phases have had theirs.
static size_t observed(bool sent_prefill, struct event *event)
{
    struct job_cell cell = {.batch = 1,
                            .context = PROMPT + GEN,
                            .gen = GEN,
                            .chunk = 4,
                            .reps = 1,
                            .collect = COLLECT_TIMING};
    struct script script = {.jump_ns = 1000000};
    struct instruments instruments;
    struct worker_trace trace = {.sent = {[PHASE_PREFILL] = sent_prefill}};
    struct subject s;
    struct error err = {0};
    struct wire wire = {.fd = scratch_file()};
    json_t *metrics = json_array();
    scripted_subject(&script, &cell, &SCRIPTED, &s);
    s.wire = &wire;
    s.trace = &trace;
    instruments_open(&instruments, NULL, COLLECT_TIMING);
    assert_int_equal(instruments_run(&instruments, &s, metrics, &err), OK);
    instruments_close(&instruments);
    scripted_fini(&s);
    json_decref(metrics);
    struct event events[32];
    size_t count = read_events(wire.fd, events, 32), traces = 0;
    for (size_t i = 0; i < count; i++)
        if (events[i].type == EVENT_TRACE) {
            *event = events[i];
            traces++;
        } else {
            event_fini(&events[i]);
        }
    assert_int_equal(traces, 1);
    worker_trace_fini(&trace);
    close(wire.fd);
    return event->trace_count;
}

static void the_observer_sends_each_operation(void **state)
{
    (void)state;
    struct event e;
    assert_int_equal(observed(false, &e), CHUNKS + GEN - 1);
    assert_int_equal(e.trace[0].phase, PHASE_PREFILL);
    assert_int_equal(e.trace[0].op, OPC_HEAD);
    assert_int_equal(e.trace[0].end_ns - e.trace[0].begin_ns, CHUNK_NS);
    assert_int_equal(e.trace[CHUNKS].phase, PHASE_DECODE);
    assert_int_equal(e.trace[CHUNKS].end_ns - e.trace[CHUNKS].begin_ns, token_takes_ns(1));
    assert_int_equal(e.trace_name_count, 0);
    event_fini(&e);
    assert_int_equal(observed(true, &e), GEN - 1); // a trace of the device has had the prefill
    assert_int_equal(e.trace[0].phase, PHASE_DECODE);
    event_fini(&e);
}

static void records_of_a_device_become_rows(void **state)
{
    (void)state;
    const struct device_activity records[] = {
        {.kind = DEVICE_KERNEL,
         .label = instrument_activity_label(PHASE_DECODE, 31, OPC_DOWN),
         .begin_ns = 10,
         .end_ns = 30,
         .name = "k_few"},
        {.kind = DEVICE_COPY, .begin_ns = 40, .end_ns = 41, .name = "copy"},
        {.kind = DEVICE_KERNEL,
         .label = instrument_activity_label(PHASE_PREFILL, -1, OPC_COUNT),
         .begin_ns = 50,
         .end_ns = 60,
         .name = "k_few"},
    };
    struct worker_trace t = {0};
    instrument_activity_trace(records, 3, &t);
    instrument_activity_trace(records, 3, NULL); // nothing is asked for
    assert_int_equal(t.count, 3);
    assert_string_equal(t.source, METRIC_SOURCE_ACTIVITY);
    const struct trace_row *r = t.rows;
    assert_true(r[0].phase == PHASE_DECODE && r[0].layer == 31 && r[0].op == OPC_DOWN);
    assert_true(r[0].begin_ns == 10 && r[0].end_ns == 30 && r[0].name == r[2].name);
    assert_true(r[1].phase == PHASE_LOAD && r[1].op == OPC_COUNT && r[1].layer == -1);
    assert_true(r[2].phase == PHASE_PREFILL && r[2].layer == -1 && r[2].op == OPC_COUNT);
    assert_string_equal(t.names[r[1].name], "copy");
    worker_trace_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(long_traces_are_sent_in_pieces),
        cmocka_unit_test(lost_rows_are_sent_without_any_row),
        cmocka_unit_test(the_observer_sends_each_operation),
        cmocka_unit_test(records_of_a_device_become_rows),
    };
    return cmocka_run_group_tests_name("worker trace", tests, NULL, NULL);
}
