// test_devices.c - a plan asks each cell's own device: its engine for memory, its tiers for the arithmetic.
//
// This program brings backends of its own in place of engine/backends.c. It has a GPU that needs 1000 bytes of weights
// per thread, and none for the host. So a plan that asked the wrong one could not be made.
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/interrupt.h"
#include "bench/roof/roof.h"
#include "bench/suite/plan.h"
#include "bench/suite/suite.h"
#include "engine/backend.h"

#define SUITE                                                                                      \
    "[model tiny]\npath = tests/golden/models/llama-gqa3\n[sweep s]\ncontext = 16\ngen = 4\n"

static int asked, stops_at; // stops_at: a signal comes with this question; 0: none comes
static struct device_info asked_for;

static struct memory_plan gpu_plan(const struct device_info *device,
                                   const struct model_config *config, const struct scheme *scheme,
                                   const struct context_options *options, int threads)
{
    (void)config;
    (void)options;
    (void)threads;
    asked_for = *device;
    if (++asked == stops_at)
        raise(SIGINT);
    if (scheme->products == PRODUCTS_CUBLASLT)
        return (struct memory_plan){.weights_bytes = (size_t)2 << 30,
                                    .copy_bytes = (size_t)1 << 30};
    return (struct memory_plan){.weights_bytes = 1000, .kv_bytes = 20, .scratch_bytes = 3};
}

const struct backend *backend_find(enum device_kind kind)
{
    static const struct backend gpu = {
        .kind = DEVICE_CUDA, .pass_tokens = 4, .memory_plan = gpu_plan};
    return kind == DEVICE_CUDA ? &gpu : NULL;
}

static enum status try_plan(const char *sweep, const struct device_info *devices, size_t count,
                            struct plan **plan, struct error *err)
{
    char path[] = "/tmp/test_devices.XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_true(write(fd, SUITE, strlen(SUITE)) > 0 && write(fd, sweep, strlen(sweep)) > 0);
    close(fd);
    struct suite suite;
    struct suite_sources sources = {.suite_path = path};
    struct plan_machine machine = {.memory_bytes = (int64_t)1 << 34,
                                   .physical_cores = 2,
                                   .devices = devices,
                                   .device_count = count};
    TRY(suite_load(&sources, &suite, err));
    enum status status = plan_create(&suite, &machine, NULL, plan, err);
    suite_fini(&suite);
    unlink(path);
    return status;
}

static struct plan *plan_of(const char *sweep, const struct device_info *devices, size_t count)
{
    struct plan *plan = NULL;
    struct error err = {0};
    if (try_plan(sweep, devices, count, &plan, &err) != OK)
        fail_msg("%s", err.message);
    return plan;
}

static const struct device_info here[] = {
    {.name = "cpu", .kind = DEVICE_HOST, .available = true, .isa = ISA_AVX512_VNNI},
    {.name = "cuda:0",
     .kind = DEVICE_CUDA,
     .available = true,
     .isa = ISA_SM80,
     .memory_bytes = (uint64_t)80 << 30,
     .cache_bytes = 50 << 20},
    {.name = "cuda:1", .kind = DEVICE_CUDA, .reason = "it is lost"},
    {.name = "metal", .kind = DEVICE_METAL, .reason = "no Metal here"},
};
enum { HERE = sizeof here / sizeof *here };

static void a_cell_is_planned_by_its_own_engine(void **state)
{
    (void)state;
    asked = 0;
    struct plan *plan = plan_of("device = cuda:0\nscheme = int4-rtn\n", here, HERE);
    const struct cell *cell = &plan->cells[0];
    assert_null(cell->skip);
    assert_int_equal(asked, 1);
    assert_string_equal(asked_for.name, "cuda:0");
    assert_int_equal(asked_for.isa, ISA_SM80);
    assert_int_equal(cell->memory.weights_bytes, 1000);
    assert_int_equal(cell->device_cache_bytes, 50 << 20);
    // ISA_SM80 has the bit of ISA_AVX2: only the kind tells that it multiplies int4 by bf16.
    assert_int_equal(cell->runs.activations, DT_BF16);
    plan_destroy(plan);
}

// The host multiplies int4 by int8 where it has the dot product; its missing engine is a reason, not a crash.
static void a_cell_of_the_host_is_planned_for_the_host(void **state)
{
    (void)state;
    asked = 0;
    struct plan *plan = plan_of("device = cpu\nscheme = int4-rtn\n", here, HERE);
    assert_int_equal(asked, 0);
    assert_int_equal(plan->cells[0].runs.activations, DT_I8);
    assert_true(plan->cells[0].unsupported);
    assert_string_equal(plan->cells[0].skip, "device cpu: this build has no engine for it");
    plan_destroy(plan);
}

// A library's products are refused for a scheme that they do not serve, even where the device is missing, and do not
// exist on the host.
static void products_of_a_library_are_planned(void **state)
{
    (void)state;
    struct plan *plan = plan_of("device = cuda:0, cuda:1, cpu\nscheme = bf16, int4-rtn\n"
                                "products = own, cublaslt\n",
                                here, HERE);
    int library = 0, refused = 0;
    for (size_t i = 0; i < plan->cell_count; i++) {
        const struct cell *cell = &plan->cells[i];
        if (cell->runs.products == PRODUCTS_OWN)
            continue;
        library++;
        assert_true(strncmp(cell->device, "cuda", 4) == 0);
        assert_non_null(strstr(cell->label, " cublaslt "));
        assert_string_equal(json_string_value(json_object_get(cell->params, "products")),
                            "cublaslt");
        if (cell->scheme->weights != DT_I4)
            continue;
        refused++;
        assert_true(cell->unsupported);
        assert_non_null(strstr(cell->skip, "products = cublaslt serves bf16, f16, int8"));
    }
    assert_int_equal(library, 4);
    assert_int_equal(refused, 2);
    assert_int_equal(plan->cell_count, 10); // two of the host's are named twice
    plan_destroy(plan);
}

// A second copy of the weights that does not fit refuses its cell alone, before anything starts.
static void a_copy_that_does_not_fit_is_refused(void **state)
{
    (void)state;
    struct device_info small = here[1];
    small.memory_bytes = (uint64_t)1 << 30;
    struct plan *plan = plan_of("model = ref\ndevice = cuda:0\nproducts = own, cublaslt\n"
                                "[model ref]\npath = models/reference\n",
                                &small, 1);
    assert_null(plan->cells[0].skip);
    assert_string_equal(plan->cells[1].skip, "needs 2.06 GiB of memory (1.00 GiB of it a second "
                                             "copy of weights), 1.00 GiB are available");
    plan_destroy(plan);
}

// Cells of different products do not share a worker: it loads one of them.
static void products_make_groups(void **state)
{
    (void)state;
    struct plan *plan = plan_of("model = ref\ndevice = cuda:0\nproducts = own, cublaslt\n"
                                "batch = 1, 2\n[model ref]\npath = models/reference\n",
                                here, HERE);
    assert_int_equal(plan->run_count, 4);
    assert_int_equal(plan->group_count, 2);
    plan_destroy(plan);
}

// The same bit as the host's VNNI, on a GPU: still not the host's arithmetic.
static void bits_of_another_kind_mean_nothing(void **state)
{
    (void)state;
    struct device_info odd = here[1];
    odd.isa = ISA_AVX512_VNNI;
    struct plan *plan = plan_of("device = cuda\nscheme = int4-rtn\n", &odd, 1);
    assert_int_equal(plan->cells[0].runs.activations, DT_BF16);
    plan_destroy(plan);
}

// 16 tokens are four passes of this GPU. Without an engine for the device nothing cuts them.
static void a_pass_is_as_large_as_its_device_takes(void **state)
{
    (void)state;
    struct plan *plan = plan_of("device = cuda:0\n", here, HERE);
    struct work_input in = {.config = &plan->cells[0].model->config,
                            .scheme = &plan->cells[0].runs,
                            .kv = DT_BF16,
                            .where = DEVICE_CUDA,
                            .batch = 1,
                            .prompt = 16};
    struct phase_work cut, whole;
    work_prefill(&in, &cut);
    in.where = DEVICE_HOST;
    work_prefill(&in, &whole);
    assert_true(whole.op[OPC_DOWN].weight_bytes > 0);
    assert_float_equal(cut.op[OPC_DOWN].weight_bytes, 4 * whole.op[OPC_DOWN].weight_bytes, 0);
    plan_destroy(plan);
}

// Thousands of cells take long: a signal ends the plan between two of them.
static void a_signal_stops_between_cells(void **state)
{
    (void)state;
    struct plan *plan = NULL;
    struct error err = {0};
    struct interrupt in;
    signal(SIGINT, SIG_DFL);
    interrupt_begin(&in);
    asked = 0;
    stops_at = 1;
    assert_int_equal(try_plan("device = cuda:0\nbatch = 1, 2, 4\n", here, HERE, &plan, &err),
                     ERR_INTERRUPTED);
    stops_at = 0;
    assert_int_equal(asked, 1);
    assert_string_equal(err.message, "stopped");
    interrupt_end(&in);
}

static void a_gpu_has_its_own_memory(void **state)
{
    (void)state;
    struct device_info small = here[1];
    small.memory_bytes = 4096; // less than the plan with what a process takes; the host has 16 GiB
    struct plan *plan = plan_of("device = cuda\n", &small, 1);
    assert_non_null(strstr(plan->cells[0].skip, "of memory, 4.00 KiB are available"));
    assert_false(plan->cells[0].unsupported);
    plan_destroy(plan);
}

static void auto_plans_what_is_here(void **state)
{
    (void)state;
    struct plan *plan = plan_of("device = auto\n", here, HERE);
    assert_int_equal(plan->cell_count, 2);
    assert_string_equal(plan->cells[0].device, "cpu");
    assert_string_equal(plan->cells[1].device, "cuda:0");
    plan_destroy(plan);
}

static void named_outright_is_recorded_as_unsupported(void **state)
{
    (void)state;
    asked = 0;
    struct plan *plan = plan_of("device = cuda:1, metal, cuda:5\n", here, HERE);
    static const char *const reasons[] = {"cuda:1: it is lost", "metal: no Metal here",
                                          "cuda:5: no such device here"};
    assert_int_equal(plan->cell_count, 3);
    for (int i = 0; i < 3; i++) {
        assert_string_equal(plan->cells[i].skip, reasons[i]);
        assert_true(plan->cells[i].unsupported);
    }
    assert_int_equal(asked, 0); // no backend plans for a device that is missing

    struct error err = {0};
    assert_int_equal(plan_check_any(plan, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "cuda:1: it is lost; 2 more are left out"));
    plan_destroy(plan);
    plan = plan_of("device = cuda:0, metal\n", here, HERE);
    error_clear(&err);
    assert_int_equal(plan_check_any(plan, &err), OK);
    plan_destroy(plan);
}

// "cuda" is all of its kind, there or not.
static void a_kind_is_all_its_devices(void **state)
{
    (void)state;
    struct plan *plan = plan_of("device = cuda\n", here, HERE);
    assert_int_equal(plan->cell_count, 2);
    assert_null(plan->cells[0].skip);
    assert_string_equal(plan->cells[1].skip, "cuda:1: it is lost");
    plan_destroy(plan);
}

// A GPU of unknown speed: max_cell_time and timeout leave nothing out, and no time is made up.
static void what_is_not_known_leaves_nothing_out(void **state)
{
    (void)state;
    const char *sweep = "device = cuda:0\nmax_cell_time = 1ms\ntimeout = 1ms\n";
    struct plan *plan = plan_of(sweep, here, HERE);
    assert_null(plan->cells[0].skip);
    assert_int_equal(plan->run_count, 1);
    assert_int_equal(plan->unpredicted, 1);
    assert_true(plan->cells[0].predicted_ns == 0);
    plan_destroy(plan);

    struct device_info known = here[1];
    known.units = 132;
    known.clock_hz = 1.98e9;
    known.memory_bytes_per_s = 3.35e12;
    plan = plan_of(sweep, &known, 1);
    assert_non_null(strstr(plan->cells[0].skip, "max_cell_time is"));
    assert_int_equal(plan->unpredicted, 0);
    plan_destroy(plan);
}

// The two evaluations differ, and their names say how.
static void quality_of_a_library_is_its_own(void **state)
{
    (void)state;
    struct plan *plan = plan_of("model = ref\ndevice = cuda:0\nscheme = bf16\n"
                                "products = own, cublaslt\ncollect = quality\n"
                                "[model ref]\npath = models/reference\n",
                                here, HERE);
    assert_int_equal(plan->quality_count, 2);
    assert_string_equal(plan->qualities[0].label, "ref bf16 cuda:0");
    assert_string_equal(plan->qualities[1].label, "ref bf16 cuda:0 cublaslt");
    assert_int_equal(plan->qualities[1].products, PRODUCTS_CUBLASLT);
    plan_destroy(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_cell_is_planned_by_its_own_engine),
        cmocka_unit_test(a_cell_of_the_host_is_planned_for_the_host),
        cmocka_unit_test(products_of_a_library_are_planned),
        cmocka_unit_test(a_copy_that_does_not_fit_is_refused),
        cmocka_unit_test(products_make_groups),
        cmocka_unit_test(quality_of_a_library_is_its_own),
        cmocka_unit_test(bits_of_another_kind_mean_nothing),
        cmocka_unit_test(a_pass_is_as_large_as_its_device_takes),
        cmocka_unit_test(a_signal_stops_between_cells),
        cmocka_unit_test(a_gpu_has_its_own_memory),
        cmocka_unit_test(auto_plans_what_is_here),
        cmocka_unit_test(named_outright_is_recorded_as_unsupported),
        cmocka_unit_test(a_kind_is_all_its_devices),
        cmocka_unit_test(what_is_not_known_leaves_nothing_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
