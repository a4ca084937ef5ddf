// test_cuda_trace.c - a scripted CUPTI: records find the labels of their marks, losses are errors, refusals are words,
// and CUPTI is detached afterwards. No GPU is needed.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "device/cuda_driver.h"
#include "device/cuda_records.h"

// Only where CUPTI's header is installed.
#if __has_include(<cupti.h>)
#include <cupti.h>
#define PLACE(ours, member, theirs, name)                                                          \
    _Static_assert(offsetof(struct ours, member) == offsetof(theirs, name), "place of " #name)
PLACE(cuda_kernel_record, begin_ns, CUpti_ActivityKernel9, start);
PLACE(cuda_kernel_record, end_ns, CUpti_ActivityKernel9, end);
PLACE(cuda_kernel_record, correlation, CUpti_ActivityKernel9, correlationId);
PLACE(cuda_kernel_record, name, CUpti_ActivityKernel9, name);
PLACE(cuda_kernel_record, node, CUpti_ActivityKernel9, graphNodeId);
PLACE(cuda_copy_record, begin_ns, CUpti_ActivityMemcpy5, start);
PLACE(cuda_copy_record, end_ns, CUpti_ActivityMemcpy5, end);
PLACE(cuda_copy_record, correlation, CUpti_ActivityMemcpy5, correlationId);
PLACE(cuda_copy_record, node, CUpti_ActivityMemcpy5, graphNodeId);
PLACE(cuda_set_record, begin_ns, CUpti_ActivityMemset4, start);
PLACE(cuda_set_record, end_ns, CUpti_ActivityMemset4, end);
PLACE(cuda_set_record, correlation, CUpti_ActivityMemset4, correlationId);
PLACE(cuda_set_record, node, CUpti_ActivityMemset4, graphNodeId);
PLACE(cuda_correlation_record, external_kind, CUpti_ActivityExternalCorrelation, externalKind);
PLACE(cuda_correlation_record, external, CUpti_ActivityExternalCorrelation, externalId);
PLACE(cuda_correlation_record, correlation, CUpti_ActivityExternalCorrelation, correlationId);
PLACE(cuda_graph_data, node, CUpti_GraphData, node);
PLACE(cuda_graph_data, original_node, CUpti_GraphData, originalNode);
PLACE(cuda_resource_data, descriptor, CUpti_ResourceData, resourceDescriptor);
_Static_assert(ACTIVITY_CONCURRENT_KERNEL == (int)CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL &&
                   ACTIVITY_EXTERNAL_CORRELATION == (int)CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION &&
                   ACTIVITY_RUNTIME == (int)CUPTI_ACTIVITY_KIND_RUNTIME &&
                   ACTIVITY_COPY == (int)CUPTI_ACTIVITY_KIND_MEMCPY &&
                   ACTIVITY_SET == (int)CUPTI_ACTIVITY_KIND_MEMSET,
               "kinds of records");
#endif

// As CUPTI lays them out, with members at the end that this program does not know.
enum { RECORD_BYTES = 256, RECORDS = 32, NODES = 16 };

static struct {
    int subscribe, enable, synchronize, next; // results
    size_t dropped;
    int subscribed, finalized, depth; // depth: external ids pushed
    unsigned kinds[64];               // enabled
    uint64_t external;
    void (*callback)(void *, int, uint32_t, const void *);
    void *user;
    void (*requested)(uint8_t **, size_t *, size_t *);
    void (*completed)(void *, uint32_t, uint8_t *, size_t, size_t);
    _Alignas(8) unsigned char records[RECORDS][RECORD_BYTES];
    size_t count, read;
    uint32_t correlation;
} script;

static int result_string(int result, const char **text)
{
    *text = result == 15 ? "CUPTI_ERROR_NOT_INITIALIZED" : NULL;
    return *text ? 0 : 1;
}
static int subscribe(void **subscriber, void (*callback)(void *, int, uint32_t, const void *),
                     void *user)
{
    *subscriber = &script;
    script.callback = callback;
    script.user = user;
    script.subscribed += script.subscribe == 0;
    return script.subscribe;
}
static int unsubscribe(void *subscriber)
{
    assert_ptr_equal(subscriber, &script);
    script.subscribed--;
    return 0;
}
static int enable_callback(uint32_t enable, void *subscriber, int domain, uint32_t id)
{
    assert_ptr_equal(subscriber, &script);
    assert_int_equal(domain, 3);
    assert_true(enable == 1 && (id == 13 || id == 20));
    return 0;
}
// A node's id is the number its handle is.
static int node_id(void *node, uint64_t *id)
{
    *id = (uintptr_t)node;
    return 0;
}
static int register_callbacks(void (*requested)(uint8_t **, size_t *, size_t *),
                              void (*completed)(void *, uint32_t, uint8_t *, size_t, size_t))
{
    script.requested = requested;
    script.completed = completed;
    return 0;
}
static int enable(int kind)
{
    script.kinds[kind]++;
    return kind == ACTIVITY_CONCURRENT_KERNEL ? script.enable : 0;
}
static int disable(int kind)
{
    script.kinds[kind] = 0;
    return 0;
}
// One buffer with a byte for each record.
static int flush(uint32_t flags)
{
    uint8_t *buffer;
    size_t bytes, most;
    assert_int_equal(flags, 1);
    script.requested(&buffer, &bytes, &most);
    assert_non_null(buffer);
    assert_true(bytes >= RECORDS && (uintptr_t)buffer % 8 == 0 && most == 0);
    script.completed(NULL, 0, buffer, bytes, script.count);
    return 0;
}
static int next_record(uint8_t *buffer, size_t valid, void **record)
{
    (void)buffer;
    assert_int_equal(valid, script.count);
    if (script.read == script.count)
        return script.next ? script.next : 12;
    *record = script.records[script.read++];
    return 0;
}
static int dropped(void *context, uint32_t stream, size_t *count)
{
    (void)context;
    (void)stream;
    *count = script.dropped;
    return 0;
}
static int push(int kind, uint64_t id)
{
    assert_int_equal(kind, 3);
    script.external = id;
    script.depth++;
    return 0;
}
static int pop(int kind, uint64_t *last)
{
    (void)kind;
    (void)last;
    script.depth--;
    return 0;
}
static int finalize(void)
{
    assert_int_equal(script.subscribed, 0);
    script.finalized++;
    return 0;
}
static const struct cuda_cupti library = {
    result_string, subscribe, unsubscribe, enable_callback, node_id, register_callbacks,
    enable,        disable,   flush,       next_record,     dropped, push,
    pop,           finalize};

static int set_current(void *context)
{
    (void)context;
    return 0;
}
static int synchronize(void)
{
    return script.synchronize;
}
static int error_string(int result, const char **text)
{
    (void)result;
    *text = "illegal address";
    return 0;
}
static const struct cuda_driver driver = {
    .CtxSetCurrent = set_current, .CtxSynchronize = synchronize, .GetErrorString = error_string};

static struct cuda_device gpu;

static int reset(void **state)
{
    (void)state;
    memset(&script, 0, sizeof script);
    gpu = (struct cuda_device){.driver = &driver, .device.info.name = "cuda:0"};
    cuda_cupti_use(&library);
    return 0;
}

static int restore(void **state)
{
    (void)state;
    cuda_cupti_use(NULL);
    return 0;
}

// ---- what CUPTI sees ---------------------------------------------------------------------------------------

static void *record_of(uint32_t kind)
{
    unsigned char *r = script.records[script.count++];
    memset(r, 0xee, RECORD_BYTES);
    memcpy(r, &kind, sizeof kind);
    return r;
}

static void kernel(const char *name, uint64_t begin, uint64_t end, uint32_t correlation,
                   uint64_t node)
{
    struct cuda_kernel_record *r = record_of(ACTIVITY_CONCURRENT_KERNEL);
    r->begin_ns = begin;
    r->end_ns = end;
    r->correlation = correlation;
    r->name = name;
    r->node = node;
}

// A launch through the runtime now: what relates it to the id pushed last, and the call itself.
static uint32_t launched(void)
{
    struct cuda_correlation_record *r = record_of(ACTIVITY_EXTERNAL_CORRELATION);
    r->external_kind = 3;
    r->external = script.external;
    r->correlation = ++script.correlation;
    record_of(ACTIVITY_RUNTIME);
    return script.correlation;
}

static void node(uint32_t id, uintptr_t handle, uintptr_t original)
{
    struct cuda_graph_data graph = {.node = (void *)handle, .original_node = (void *)original};
    struct cuda_resource_data resource = {.descriptor = &graph};
    script.callback(script.user, 3, id, &resource);
}

static struct device_trace *begun(void)
{
    struct device_trace *trace = NULL;
    struct error err = {0};
    if (cuda_trace_begin(&gpu.device, &trace, &err) != OK)
        fail_msg("%s", err.message);
    static const int kinds[] = {ACTIVITY_COPY, ACTIVITY_SET, ACTIVITY_RUNTIME,
                                ACTIVITY_CONCURRENT_KERNEL, ACTIVITY_EXTERNAL_CORRELATION};
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        assert_int_equal(script.kinds[kinds[i]], 1);
    return trace;
}

static void detached(void)
{
    assert_int_equal(script.subscribed, 0);
    assert_int_equal(script.finalized, 1);
    assert_int_equal(script.depth, 0);
    for (size_t i = 0; i < 64; i++)
        assert_int_equal(script.kinds[i], 0);
}

static void expect(const struct device_activity *a, const char *name, uint32_t label,
                   uint64_t begin, uint64_t end, bool in_graph)
{
    assert_string_equal(a->name, name);
    assert_int_equal(a->label, label);
    assert_int_equal(a->begin_ns, begin);
    assert_int_equal(a->end_ns, end);
    assert_int_equal(a->in_graph, in_graph);
}

// ---- tests -------------------------------------------------------------------------------------------------

static void launches_get_the_label_of_their_mark(void **state)
{
    (void)state;
    struct error err = {0};
    const struct device_activity *a;
    size_t count;
    struct device_trace *trace = begun();
    uint32_t first = launched(), second = launched();
    cuda_trace_mark(trace, 7);
    uint32_t third = launched();
    cuda_trace_mark(trace, 9);
    uint32_t after = launched(); // no mark follows
    kernel(
        "_ZN52_GLOBAL__N__b183899a_13_linear_few_cu_8135c7b2_281525k_fewIL5dtype5ELi128ELi1ELi4EEE"
        "vNS_7few_jobE",
        500, 700, third, 0);
    kernel("plain", 100, 200, first, 0);
    kernel("_Z4castPfS_", 200, 400, second, 0);
    kernel("late", 800, 900, after, 0);
    kernel("unknown", 950, 960, 77, 0); // through the driver
    struct cuda_copy_record *copy = record_of(ACTIVITY_COPY);
    *copy = (struct cuda_copy_record){
        .kind = ACTIVITY_COPY, .begin_ns = 50, .end_ns = 60, .correlation = 78};
    struct cuda_set_record *set = record_of(ACTIVITY_SET);
    *set = (struct cuda_set_record){
        .kind = ACTIVITY_SET, .begin_ns = 70, .end_ns = 80, .correlation = 79};
    assert_int_equal(cuda_trace_end(trace, &a, &count, &err), OK);
    assert_int_equal(count, 7);
    expect(&a[0], "copy", 0, 50, 60, false);
    expect(&a[1], "set", 0, 70, 80, false);
    expect(&a[2], "plain", 7, 100, 200, false);
    expect(&a[3], "cast", 7, 200, 400, false);
    expect(&a[4], "k_few", 9, 500, 700, false);
    expect(&a[5], "late", 0, 800, 900, false);
    expect(&a[6], "unknown", 0, 950, 960, false);
    detached();
    cuda_trace_destroy(trace);
    detached(); // not twice
}

// A graph is recorded in segments and launched many times; its executable form has nodes of its own.
static void nodes_get_the_label_of_their_recording(void **state)
{
    (void)state;
    enum { CREATED = 13, CLONED = 20 };
    struct error err = {0};
    const struct device_activity *a;
    size_t count;
    struct device_trace *trace = begun();
    node(CREATED, 11, 0);
    node(CREATED, 12, 0);
    cuda_trace_mark(trace, 3);
    node(CREATED, 13, 0);
    cuda_trace_mark(trace, 5);
    node(CLONED, 21, 11); // some versions report the copy as created, too, before or after
    node(CREATED, 22, 0);
    node(CLONED, 22, 12);
    node(CLONED, 23, 13);
    node(CREATED, 23, 0);
    node(CLONED, 24, 99); // of a graph from before the trace
    for (uint64_t step = 0; step < 2; step++) {
        kernel("a", 1000 * step + 100, 1000 * step + 200, 500, 21);
        kernel("b", 1000 * step + 200, 1000 * step + 300, 500, 22);
        kernel("c", 1000 * step + 300, 1000 * step + 400, 500, 23);
        kernel("d", 1000 * step + 400, 1000 * step + 500, 500, 24);
    }
    assert_int_equal(cuda_trace_end(trace, &a, &count, &err), OK);
    assert_int_equal(count, 8);
    for (uint64_t step = 0; step < 2; step++) {
        expect(&a[4 * step], "a", 3, 1000 * step + 100, 1000 * step + 200, true);
        expect(&a[4 * step + 1], "b", 3, 1000 * step + 200, 1000 * step + 300, true);
        expect(&a[4 * step + 2], "c", 5, 1000 * step + 300, 1000 * step + 400, true);
        expect(&a[4 * step + 3], "d", 0, 1000 * step + 400, 1000 * step + 500, true);
    }
    cuda_trace_destroy(trace);
}

static void fails(struct device_trace *trace, enum status status, const char *words)
{
    struct error err = {0};
    const struct device_activity *a;
    size_t count;
    assert_int_equal(cuda_trace_end(trace, &a, &count, &err), status);
    if (!strstr(err.message, words))
        fail_msg("'%s' instead of '%s'", err.message, words);
    assert_null(a);
    assert_int_equal(count, 0);
    detached();
    cuda_trace_destroy(trace);
    reset(NULL);
}

static void lost_records_are_errors(void **state)
{
    (void)state;
    struct device_trace *trace = begun();
    kernel("k", 1, 2, 1, 0);
    script.dropped = 3;
    fails(trace, ERR_IO, "cuda:0: CUPTI lost 3 records of the trace");
    trace = begun();
    kernel("k", 1, 2, 1, 0);
    script.next = 22;
    fails(trace, ERR_IO, "records cannot be read (error 22)");
    trace = begun();
    script.synchronize = 700;
    fails(trace, ERR_IO, "cuda:0: traced work on it failed: illegal address");
}

static void refused(const char *words)
{
    struct device_trace *trace = NULL;
    struct error err = {0};
    assert_int_equal(cuda_trace_begin(&gpu.device, &trace, &err), ERR_UNSUPPORTED);
    assert_null(trace);
    if (!strstr(err.message, words))
        fail_msg("'%s' instead of '%s'", err.message, words);
}

static void refusals_say_what_would_lift_them(void **state)
{
    (void)state;
    script.subscribe = 39;
    refused("cuda:0: CUPTI error 39: another profiler is attached: end it");
    assert_int_equal(script.finalized, 0); // that CUPTI is the other's
    script.subscribe = 15;
    refused("CUPTI error 15: CUPTI_ERROR_NOT_INITIALIZED");
    script.subscribe = 999;
    refused("CUPTI error 999: no words for it");
    script.subscribe = 0;
    script.enable = 35;
    refused("NVreg_RestrictProfilingToAdminUsers=0");
    script.enable = 43;
    refused("a MIG instance cannot be profiled");
    assert_int_equal(script.subscribed, 0);
    assert_int_equal(script.finalized, 2);
}

// A trace that was never ended leaves CUPTI detached as well; a second one does not begin meanwhile.
static void one_trace_at_a_time(void **state)
{
    (void)state;
    struct device_trace *trace = begun();
    refused("a trace runs already");
    cuda_trace_mark(trace, 1);
    cuda_trace_destroy(trace);
    assert_int_equal(script.subscribed, 0);
    assert_int_equal(script.finalized, 1);
    cuda_trace_destroy(begun());
}

// A machine without the library says so. With it nothing more is checked, as there may be no driver.
static void the_systems_library(void **state)
{
    (void)state;
    struct error err = {0};
    cuda_cupti_use(NULL);
    if (cuda_trace_check(&gpu.device, &err) != OK)
        assert_non_null(strstr(err.message, "cuda:0: libcupti is "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(launches_get_the_label_of_their_mark, reset, restore),
        cmocka_unit_test_setup_teardown(nodes_get_the_label_of_their_recording, reset, restore),
        cmocka_unit_test_setup_teardown(lost_records_are_errors, reset, restore),
        cmocka_unit_test_setup_teardown(refusals_say_what_would_lift_them, reset, restore),
        cmocka_unit_test_setup_teardown(one_trace_at_a_time, reset, restore),
        cmocka_unit_test_setup_teardown(the_systems_library, reset, restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
