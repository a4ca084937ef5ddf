// test_cuda.c - CUDA devices on a scripted driver: what is listed and refused, opening and undoing it, memory, queues,
// graphs and the clock. No GPU is needed, nor its driver.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "device/cuda_driver.h"

// What the driver says and how far it goes: call number `fail_at` (1 is the first after reset) fails.
static struct {
    int version, count, init, capability, fail_at, calls, failure;
    char name[64];
    int contexts, streams, modules, pinned, blocks, graphs, execs; // alive
    int launches;
    int busy; // questions until a stream has done its work
    size_t memory, available;
} script;

static int answer(void)
{
    return ++script.calls == script.fail_at ? script.failure : 0;
}

static int init(unsigned flags)
{
    (void)flags;
    return script.init;
}
static int version(int *out)
{
    *out = script.version;
    return 0;
}
static int error_string(int result, const char **text)
{
    *text = result == 2 ? "out of memory" : result == 700 ? "illegal address" : NULL;
    return *text ? 0 : 1;
}
static int get_count(int *out)
{
    *out = script.count;
    return 0;
}
static int get_device(int *out, int ordinal)
{
    *out = ordinal;
    return ordinal < script.count ? 0 : 101;
}
static int get_name(char *name, int bytes, int device)
{
    snprintf(name, (size_t)bytes, "%s", script.name);
    (void)device;
    return 0;
}
static int total_mem(size_t *bytes, int device)
{
    (void)device;
    *bytes = script.memory;
    return 0;
}
static int attribute(int *value, int which, int device)
{
    (void)device;
    *value = which == 75   ? script.capability / 10
             : which == 76 ? script.capability % 10
             : which == 16 ? 132
             : which == 13 ? 1980000 // kHz
             : which == 36 ? 2619000
             : which == 37 ? 5120 // bits
                           : 1 << 20;
    return 0;
}
static int retain(void **context, int device)
{
    (void)device;
    int code = answer();
    if (code == 0) {
        script.contexts++;
        *context = &script;
    }
    return code;
}
static int release(int device)
{
    (void)device;
    script.contexts--;
    return 0;
}
static int set_current(void *context)
{
    (void)context;
    return 0;
}
static int mem_info(size_t *available, size_t *total)
{
    *available = script.available;
    *total = script.memory;
    return 0;
}
static int mem_alloc(cuda_address *out, size_t bytes)
{
    if (bytes > script.available)
        return 2;
    script.blocks++;
    *out = (uintptr_t)malloc(bytes);
    return 0;
}
static int mem_free(cuda_address memory)
{
    script.blocks--;
    free((void *)(uintptr_t)memory);
    return 0;
}
static int host_alloc(void **out, size_t bytes, unsigned flags)
{
    (void)flags;
    int code = answer();
    if (code == 0) {
        script.pinned++;
        *out = malloc(bytes);
    }
    return code;
}
static int host_free(void *memory)
{
    script.pinned--;
    free(memory);
    return 0;
}
static int copy_in(cuda_address to, const void *from, size_t bytes)
{
    int code = answer();
    if (code == 0)
        memcpy((void *)(uintptr_t)to, from, bytes);
    return code;
}
static int copy_out(void *to, cuda_address from, size_t bytes)
{
    int code = answer();
    if (code == 0)
        memcpy(to, (void *)(uintptr_t)from, bytes);
    return code;
}
static int copy_in_async(cuda_address to, const void *from, size_t bytes, void *stream)
{
    (void)stream;
    return copy_in(to, from, bytes);
}
static int copy_out_async(void *to, cuda_address from, size_t bytes, void *stream)
{
    (void)stream;
    return copy_out(to, from, bytes);
}
static int set_bytes(cuda_address to, unsigned char value, size_t bytes, void *stream)
{
    (void)stream;
    memset((void *)(uintptr_t)to, value, bytes);
    return 0;
}
static int stream_create(void **stream, unsigned flags)
{
    assert_int_equal(flags, 1); // never waits for the default stream
    int code = answer();
    if (code == 0) {
        script.streams++;
        *stream = &script.streams;
    }
    return code;
}
static int stream_destroy(void *stream)
{
    (void)stream;
    script.streams--;
    return 0;
}
static int synchronize(void *stream)
{
    (void)stream;
    return answer();
}
static int query(void *stream)
{
    (void)stream;
    return script.busy-- > 0 ? 600 : answer();
}
static int capture(void *stream, int mode)
{
    (void)stream;
    (void)mode;
    return answer();
}
static int end_capture(void *stream, void **graph)
{
    (void)stream;
    int code = answer();
    if (code == 0) {
        script.graphs++;
        *graph = &script.graphs;
    }
    return code;
}
static int instantiate(void **exec, void *graph, unsigned long long flags)
{
    (void)graph;
    (void)flags;
    int code = answer();
    if (code == 0) {
        script.execs++;
        *exec = &script.execs;
    }
    return code;
}
static int graph_launch(void *exec, void *stream)
{
    (void)exec;
    (void)stream;
    script.launches++;
    return answer();
}
static int exec_destroy(void *exec)
{
    (void)exec;
    script.execs--;
    return 0;
}
static int graph_destroy(void *graph)
{
    (void)graph;
    script.graphs--;
    return 0;
}
static int module_load(void **module, const void *image)
{
    assert_non_null(strstr(image, "%globaltimer"));
    int code = answer();
    if (code == 0) {
        script.modules++;
        *module = &script.modules;
    }
    return code;
}
static int module_unload(void *module)
{
    (void)module;
    script.modules--;
    return 0;
}
static int get_function(void **function, void *module, const char *name)
{
    (void)module;
    assert_string_equal(name, "read_clock");
    *function = &script;
    return answer();
}
static int launch(void *function, unsigned gx, unsigned gy, unsigned gz, unsigned bx, unsigned by,
                  unsigned bz, unsigned shared, void *stream, void **arguments, void **extra)
{
    (void)function;
    (void)shared;
    (void)stream;
    (void)extra;
    assert_int_equal(gx * gy * gz * bx * by * bz, 1);
    **(uint64_t **)arguments[0] = clock_ns() + 5000000000u; // its clock is five seconds ahead
    return answer();
}

static const struct cuda_driver driver = {
    init,          version,        error_string,  get_count,     get_device,     get_name,
    total_mem,     attribute,      retain,        release,       set_current,    mem_info,
    mem_alloc,     mem_free,       host_alloc,    host_free,     copy_in,        copy_out,
    copy_in_async, copy_out_async, set_bytes,     stream_create, stream_destroy, synchronize,
    query,         capture,        end_capture,   instantiate,   graph_launch,   exec_destroy,
    graph_destroy, module_load,    module_unload, get_function,  launch,
};

static int reset(void **state)
{
    (void)state;
    memset(&script, 0, sizeof script);
    script.version = 99000;
    script.count = 1;
    script.capability = 90;
    script.failure = 700;
    script.memory = (size_t)80 << 30;
    script.available = (size_t)1 << 20;
    snprintf(script.name, sizeof script.name, "NVIDIA H100 80GB HBM3");
    cuda_driver_use(&driver);
    return 0;
}

static int restore(void **state)
{
    (void)state;
    cuda_driver_use(NULL);
    return 0;
}

static struct device_info found(const char *word)
{
    struct error err = {0};
    struct device_info info;
    assert_int_equal(device_find(word, &info, &err), OK);
    return info;
}

static void refused(const char *word, const char *reason)
{
    struct device_info info = found(word);
    assert_false(info.available);
    if (!strstr(info.reason, reason))
        fail_msg("'%s' instead of '%s'", info.reason, reason);
}

// Without kernels in the build every GPU is refused for that, whatever else it lacks.
#define NEED_KERNELS()                                                                             \
    do {                                                                                           \
        if (!HAVE_CUDA)                                                                            \
            skip();                                                                                \
    } while (0)

static void test_description(void **state)
{
    (void)state;
    struct device_info info = found("cuda");
    assert_string_equal(info.name, "cuda:0");
    assert_string_equal(info.description, "NVIDIA H100 80GB HBM3, sm_90, driver for CUDA 99.0");
    assert_int_equal(info.units, 132);
    assert_int_equal(info.cache_bytes, 1 << 20);
    assert_float_equal(info.clock_hz, 1.98e9, 0);
    assert_float_equal(info.memory_bytes_per_s, 3.35e12, 0.01e12);
    assert_true(info.memory_bytes == (uint64_t)80 << 30);
    assert_int_equal(info.isa, ISA_SM80 | ISA_SM89 | ISA_SM90 | ISA_SM90A);
    assert_int_equal(info.available, HAVE_CUDA);
    script.capability = 80;
    assert_int_equal(found("cuda:0").isa, ISA_SM80);
    script.capability = 100; // sm_90a is for one chip alone
    assert_int_equal(found("cuda:0").isa, ISA_SM80 | ISA_SM89 | ISA_SM90);
    script.count = 3;
    assert_string_equal(found("cuda:2").name, "cuda:2");
    refused("cuda:7", HAVE_CUDA ? "no such device" : "no CUDA kernels");
}

static void test_refusals_of_the_driver(void **state)
{
    (void)state;
    if (!HAVE_CUDA) { // whatever the driver says, the build is the reason
        script.init = 999;
        refused("cuda:0", "this build has no CUDA kernels");
        return;
    }
    script.init = 100;
    refused("cuda:0", "finds no GPU");
    script.init = 999;
    refused("cuda:0", "does not start: unknown error of the NVIDIA driver");
    script.init = 0;
    script.version = 11080;
    refused("cuda:0", "too old: it supports CUDA 11.8");
    script.version = 99000;
    script.count = 0;
    refused("cuda:0", "MIG mode needs an instance");
}

static void test_refusals_of_a_gpu(void **state)
{
    (void)state;
    if (!HAVE_CUDA) {
        refused("cuda:0", "this build has no CUDA kernels");
        return;
    }
    script.capability = 75;
    refused("cuda:0", "compute capability is 7.5, needed is 8.0");
    script.capability = 90;
    snprintf(script.name, sizeof script.name, "NVIDIA H100 80GB HBM3 MIG 1g.10gb");
    refused("cuda:0", "MIG slice");
}

// Nothing of the driver's is left alive.
static void nothing_left(void)
{
    assert_int_equal(script.contexts, 0);
    assert_int_equal(script.streams, 0);
    assert_int_equal(script.modules, 0);
    assert_int_equal(script.pinned, 0);
    assert_int_equal(script.blocks, 0);
    assert_int_equal(script.graphs, 0);
    assert_int_equal(script.execs, 0);
}

static struct device *opened(void)
{
    struct error err = {0};
    struct device *device = NULL;
    struct device_options options = {.isa = ISA_ALL};
    if (device_open("cuda:0", &options, &device, &err) != OK)
        fail_msg("%s", err.message);
    return device;
}

static void test_opening_fails_whole(void **state)
{
    (void)state;
    NEED_KERNELS();
    for (int at = 1;; at++) {
        struct error err = {0};
        struct device *device = NULL;
        struct device_options options = {.isa = ISA_ALL};
        script.calls = 0;
        script.fail_at = at;
        if (device_open("cuda:0", &options, &device, &err) == OK) {
            assert_true(at > 4); // context, stream, pinned memory, module, function
            device_close(device);
            break;
        }
        assert_null(device);
        assert_non_null(strstr(err.message, "illegal address"));
        nothing_left();
    }
    nothing_left();
}

// Of a library: this program's own names, dlopen's NULL, are there on every system.
static void test_functions_of_a_library(void **state)
{
    (void)state;
    struct functions {
        void *before;
        size_t (*length)(const char *);
        void *after;
    } table = {0};
    const struct cuda_symbol symbols[] = {{"strlen", offsetof(struct functions, length)},
                                          {"no_such_function", offsetof(struct functions, before)}};
    const char *missing = "?";
    assert_false(cuda_library_open("libno-such-library.so.1", symbols, 1, &table, &missing));
    assert_null(missing);
    assert_false(cuda_library_open(NULL, symbols, 2, &table, &missing));
    assert_string_equal(missing, "no_such_function");
    table.length = NULL;
    assert_true(cuda_library_open(NULL, symbols, 1, &table, &missing));
    assert_null(missing);
    assert_true(table.length && table.length("four") == 4);
    assert_true(!table.before && !table.after);
}

// The first file with all functions is taken. A file without them is a better reason than no file.
static void test_first_of_several_libraries(void **state)
{
    (void)state;
    struct functions {
        void *none;
        size_t (*length)(const char *);
    } table = {0};
    const struct cuda_symbol symbols[] = {{"strlen", offsetof(struct functions, length)},
                                          {"no_such_function", offsetof(struct functions, none)}};
    static const char *const files[] = {"libno-such-library.so.2", NULL, "libno-such-library.so.1"};
    const struct cuda_library all = {"libno-such", files, 3, "install it"},
                              none = {"libno-such", files, 1, "install it"};
    char reason[128] = "";
    assert_true(cuda_library_open_first(&all, symbols, 1, &table, reason, sizeof reason));
    assert_true(table.length && table.length("four") == 4);
    assert_string_equal(reason, "");
    assert_false(cuda_library_open_first(&all, symbols, 2, &table, reason, sizeof reason));
    assert_string_equal(reason, "libno-such is too old: it has no no_such_function");
    assert_false(cuda_library_open_first(&none, symbols, 2, &table, reason, sizeof reason));
    assert_string_equal(reason, "libno-such is not found: install it");
}

// Exhausted memory is distinguished from a fault, in any call.
static void test_exhausted_memory(void **state)
{
    (void)state;
    NEED_KERNELS();
    struct error err = {0};
    struct device *device = opened();
    struct device_queue *queue = NULL;
    struct cuda_graph *graph = NULL;
    assert_int_equal(device_launch_failed(device, 2, NULL, &err), ERR_NOMEM);
    assert_non_null(strstr(err.message, "out of memory"));
    error_clear(&err);
    assert_int_equal(device_launch_failed(device, 700, NULL, &err), ERR_IO);
    assert_non_null(strstr(err.message, "illegal address"));
    error_clear(&err);
    assert_int_equal(device_queue_create(device, &queue, &err), OK);
    script.failure = 2;
    for (int at = 1; at <= 2; at++) { // end of recording, making the graph
        assert_int_equal(cuda_graph_begin(queue, &err), OK);
        script.calls = 0;
        script.fail_at = at;
        assert_int_equal(cuda_graph_end(queue, &graph, &err), ERR_NOMEM);
        error_clear(&err);
        script.fail_at = 0;
    }
    script.fail_at = script.calls + 1;
    assert_int_equal(device_queue_wait(queue, &err), ERR_NOMEM);
    device_queue_destroy(queue);
    device_close(device);
    nothing_left();
}

// A GPU that the management library does not know, or no library: nothing is measured, and nothing is zero.
static void test_vitals_of_an_unknown_gpu(void **state)
{
    (void)state;
    NEED_KERNELS();
    struct device *device = opened();
    struct device_vitals v = device_vitals(device);
    assert_true(isnan(v.clock_hz) && isnan(v.memory_clock_hz) && isnan(v.power_w));
    assert_int_equal(v.hold, DEVICE_HOLD_NONE);
    device_close(device);
}

// Each ceiling has one loop of its own, and one of the library at most; wgmma only where the chip has it.
static void test_probes_follow_the_tiers(void **state)
{
    (void)state;
    NEED_KERNELS();
    struct device *device = opened();
    struct device_probe probe[32];
    size_t count = device_probes(device, probe, 32);
    bool sm90a = (device_target(device).isa & ISA_SM90A) != 0;
    assert_true(count >= 7);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(strstr(probe[i].kernel, "wgmma") != NULL && !sm90a, false);
        for (size_t j = 0; j < i; j++)
            assert_true(strcmp(probe[i].name, probe[j].name) != 0 ||
                        strcmp(probe[i].level, probe[j].level) != 0 ||
                        (strncmp(probe[i].kernel, "cublasLt", 8) == 0) !=
                            (strncmp(probe[j].kernel, "cublasLt", 8) == 0));
    }
    device_close(device);
}

static void test_memory(void **state)
{
    (void)state;
    NEED_KERNELS();
    struct error err = {0};
    struct device *device = opened();
    char out[16] = "";
    assert_true(device_memory(device).available_bytes == 1 << 20);
    assert_null(device_alloc(device, (size_t)2 << 20));
    void *memory = device_alloc(device, 16);
    assert_int_equal(device_copy_in(device, memory, "0123456789abcde", 16, &err), OK);
    assert_int_equal(device_copy_out(device, out, memory, 16, &err), OK);
    assert_string_equal(out, "0123456789abcde");
    script.calls = 0;
    script.fail_at = 2; // the bytes left, and did not arrive
    assert_int_equal(device_copy_in(device, memory, out, 16, &err), ERR_IO);
    assert_non_null(strstr(err.message, "cuda:0: copy to the device: illegal address"));
    device_free(device, memory);
    device_free(device, NULL);
    device_close(device);
    nothing_left();
}

static void test_queues_and_graphs(void **state)
{
    (void)state;
    NEED_KERNELS();
    struct error err = {0};
    struct device *device = opened();
    struct device_queue *queue = NULL;
    struct cuda_graph *graph = NULL;
    assert_int_equal(device_queue_create(device, &queue, &err), OK);
    assert_ptr_equal(device_queue_native(queue), &script.streams);
    assert_int_equal(cuda_graph_begin(queue, &err), OK);
    assert_int_equal(cuda_graph_end(queue, &graph, &err), OK);
    assert_int_equal(cuda_graph_launch(graph, queue, &err), OK);
    assert_int_equal(script.launches, 1);
    cuda_graph_destroy(device, graph);
    for (int at = 1; at <= 2; at++) { // end of recording, making the graph
        assert_int_equal(cuda_graph_begin(queue, &err), OK);
        script.calls = 0;
        script.fail_at = at;
        assert_int_equal(cuda_graph_end(queue, &graph, &err), ERR_IO);
        assert_null(graph);
        error_clear(&err);
        script.fail_at = 0;
    }
    script.calls = 0;
    script.fail_at = 1;
    assert_int_equal(device_queue_wait(queue, &err), ERR_IO);
    struct error none = {0};
    bool idle = true;
    script.busy = 1; // it works, then it has done its work
    assert_int_equal(cuda_queue_idle(queue, &idle, &none), OK);
    assert_false(idle);
    assert_int_equal(cuda_queue_idle(queue, &idle, &none), OK);
    assert_true(idle);
    script.fail_at = script.calls + 1;
    assert_int_equal(cuda_queue_idle(queue, &idle, &err), ERR_IO);
    assert_false(idle);
    assert_non_null(strstr(err.message, "work on it failed: illegal address"));
    device_queue_destroy(queue);
    device_close(device);
    nothing_left();
}

static void test_clock(void **state)
{
    (void)state;
    NEED_KERNELS();
    struct device *device = opened();
    struct device_clock_tie tie = device_clock_tie(device);
    int64_t off = tie.ahead_ns - 5000000000;
    assert_true(tie.uncertain_ns < UINT64_MAX);
    assert_true((uint64_t)(off < 0 ? -off : off) <= tie.uncertain_ns + 1);
    uint64_t first = device_now_ns(device);
    assert_true(device_now_ns(device) >= first);
    assert_true(device_wait_ns(device) == DEVICE_WAIT_UNKNOWN);
    script.calls = 0;
    script.fail_at = 1;
    assert_int_equal(device_now_ns(device), 0);
    device_close(device);
    nothing_left();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_description, reset, restore),
        cmocka_unit_test_setup_teardown(test_refusals_of_the_driver, reset, restore),
        cmocka_unit_test_setup_teardown(test_refusals_of_a_gpu, reset, restore),
        cmocka_unit_test_setup_teardown(test_opening_fails_whole, reset, restore),
        cmocka_unit_test_setup_teardown(test_exhausted_memory, reset, restore),
        cmocka_unit_test(test_functions_of_a_library),
        cmocka_unit_test(test_first_of_several_libraries),
        cmocka_unit_test_setup_teardown(test_vitals_of_an_unknown_gpu, reset, restore),
        cmocka_unit_test_setup_teardown(test_probes_follow_the_tiers, reset, restore),
        cmocka_unit_test_setup_teardown(test_memory, reset, restore),
        cmocka_unit_test_setup_teardown(test_queues_and_graphs, reset, restore),
        cmocka_unit_test_setup_teardown(test_clock, reset, restore),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
