// test_cuda_blas.c - peaks by cuBLASLt on a scripted library: which algorithm is measured, and what a ceiling says that
// has none. No GPU is needed, nor the library.
#include "tests/device/pretend_blas.h"

enum { OUT_OF_MEMORY = 2 };

static int alloc_status, allocations;

// An address that nothing reads: the operands of the probes take more than half a GiB.
static int pretend_alloc(cuda_address *to, size_t bytes)
{
    assert_true(bytes > 0);
    *to = (cuda_address)1 << 40;
    allocations += alloc_status == 0;
    return alloc_status;
}
static int pretend_free(cuda_address at)
{
    assert_true(at == (cuda_address)1 << 40);
    allocations--;
    return 0;
}
static int pretend_copy(cuda_address to, const void *from, size_t bytes)
{
    assert_true(to >= (cuda_address)1 << 40 && from && bytes > 0);
    return 0;
}
static int pretend_text(int result, const char **text)
{
    *text = result == OUT_OF_MEMORY ? "out of memory" : "?";
    return 0;
}

static int multiply_nothing(void *handle, void *desc, const void *alpha, const void *a,
                            void *a_layout, const void *b, void *b_layout, const void *beta,
                            const void *c, void *c_layout, void *d, void *d_layout,
                            const struct cublaslt_algorithm *algorithm, void *workspace,
                            size_t workspace_bytes, void *stream)
{
    uint32_t sum;
    assert_true(c == d && (uintptr_t)d > (uintptr_t)b && (uintptr_t)b > (uintptr_t)a);
    return blas_matmul(handle, desc, alpha, a, a_layout, b, b_layout, beta, &sum, c_layout, &sum,
                       d_layout, algorithm, workspace, workspace_bytes, stream);
}

static uint64_t clock_places[3];
static struct cuda_driver driver;
static struct cuda_cublaslt library;
static struct cuda_device gpu;

static int reset(void **state)
{
    (void)state;
    memset(&script, 0, sizeof script);
    alloc_status = allocations = 0;
    driver = blas_driver;
    driver.MemAlloc = pretend_alloc;
    driver.MemFree = pretend_free;
    driver.MemcpyHtoD = pretend_copy;
    driver.GetErrorString = pretend_text;
    library = blas_library;
    library.Matmul = multiply_nothing;
    gpu = (struct cuda_device){
        .driver = &driver, .device.info.name = "cuda:0", .clock = clock_places};
    cuda_cublaslt_use(&library);
    return 0;
}

// Nothing is left alive, of the library's or on the device.
static int restore(void **state)
{
    (void)state;
    cuda_blas_fini(&gpu);
    cuda_cublaslt_use(NULL);
    return blas_is_empty() && allocations == 0 ? 0 : -1;
}

static void the_fastest_that_runs_is_measured(void **state)
{
    (void)state;
    struct error err = {0};
    double rate = 0;
    blas_propose(0, 7, 100);
    blas_propose(1, 8, 40); // its bits do not matter
    blas_propose(2, 7, 20);
    script.algorithm[2].status = 15; // it refuses when it runs
    blas_propose(3, 7, 1);
    script.algorithm[3].state = 1; // proposed, but not supported
    assert_int_equal(cuda_blas_run(&gpu, CUDA_BLAS_BF16, &rate, &err), OK);
    assert_int_equal(script.last, 1);
    assert_true(rate == 2.0 * 8192 * 8192 * 8192 / 40 * 1e9);
    assert_int_equal(script.workspace, 32 << 20);
    assert_int_equal(script.reductions, 0); // any
    int products = script.products;
    assert_int_equal(cuda_blas_run(&gpu, CUDA_BLAS_BF16, &rate, &err), OK);
    assert_int_equal(script.asked, 1);
    assert_int_equal(script.products, products + 3);
    assert_int_equal(cuda_blas_run(&gpu, CUDA_BLAS_INT8, &rate, &err), OK);
    assert_int_equal(script.asked, 2);
    assert_true(rate == 2.0 * 8192 * 4096 * 8192 / 40 * 1e9);
    assert_int_equal(allocations, 1);
}

static void refusals_are_remarks(void **state)
{
    (void)state;
    struct error err = {0};
    double rate = 0;
    assert_int_equal(cuda_blas_run(&gpu, CUDA_BLAS_FP8, &rate, &err), ERR_UNSUPPORTED);
    assert_string_equal(err.message,
                        "device cuda:0: cuBLASLt has no algorithm for the fp8 product");
    error_clear(&err);
    script.layout = 7;
    assert_int_equal(cuda_blas_run(&gpu, CUDA_BLAS_FP8, &rate, &err), ERR_UNSUPPORTED);
    assert_string_equal(err.message,
                        "device cuda:0: cuBLASLt refused the fp8 product with status 7");
    assert_int_equal(script.descs, 0);
}

// A ceiling has this program's own loop instead, and the remark says why.
static void a_full_memory_or_no_library_is_a_remark(void **state)
{
    (void)state;
    static const char *const missing = "libno-such-cublasLt.so.1";
    struct error err = {0};
    double rate = 0;
    alloc_status = OUT_OF_MEMORY;
    assert_int_equal(cuda_blas_run(&gpu, CUDA_BLAS_BF16, &rate, &err), ERR_UNSUPPORTED);
    assert_string_equal(err.message, "peaks are those of this program's own loops: device cuda:0 "
                                     "has no 544 MiB free for cuBLASLt's products");
    assert_null(gpu.blas);
    error_clear(&err);
    alloc_status = 700;
    assert_int_equal(cuda_blas_run(&gpu, CUDA_BLAS_BF16, &rate, &err), ERR_IO);
    error_clear(&err);
    cuda_cublaslt_use(NULL);
    cuda_cublaslt_look_in(&missing, 1);
    enum status status = cuda_blas_run(&gpu, CUDA_BLAS_BF16, &rate, &err);
    cuda_cublaslt_look_in(NULL, 0);
    assert_int_equal(status, ERR_UNSUPPORTED);
    assert_string_equal(err.message, "peaks are those of this program's own loops: cuBLASLt is not "
                                     "found: install cuBLAS of CUDA 12 or 13, or name its folder "
                                     "in LD_LIBRARY_PATH");
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, reset, restore)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(the_fastest_that_runs_is_measured),
        WITH(refusals_are_remarks),
        WITH(a_full_memory_or_no_library_is_a_remark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
