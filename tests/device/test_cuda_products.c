// test_cuda_products.c - products by cuBLASLt on a scripted library: which algorithm is kept, the cache of plans, what
// a product hands over, and refusals. No GPU is needed, nor the library.
#include "tests/device/pretend_blas.h"

enum { ROWS = 32, COLS = 48, TOKENS = 20 };

static void *native(const struct device_queue *queue)
{
    return queue->device;
}
static const struct device_ops ops = {.queue_native = native};

static uint64_t clock_places[3];
static struct cuda_device gpu;
static struct device_queue gpu_queue = {&ops, &gpu.device};
static struct cuda_products *products;
static unsigned char w[ROWS * COLS * 2], x[TOKENS * COLS * 2 + 16], workspace[8];
static float d[TOKENS * ROWS], w_scale[ROWS], x_scale[TOKENS + 1];

static int reset(void **state)
{
    (void)state;
    struct error err = {0};
    memset(&script, 0, sizeof script);
    script.sum_at = (TOKENS - 1) * ROWS + 3; // in the last row
    gpu = (struct cuda_device){
        .driver = &blas_driver, .device.info.name = "cuda:0", .clock = clock_places};
    cuda_cublaslt_use(&blas_library);
    return cuda_products_create(&gpu.device, &products, &err) == OK ? 0 : -1;
}

// Nothing of the library's is left alive.
static int restore(void **state)
{
    (void)state;
    cuda_products_destroy(products);
    cuda_cublaslt_use(NULL);
    return blas_is_empty() ? 0 : -1;
}

static struct cuda_product product_of(enum cuda_product_type type, int tokens)
{
    return (struct cuda_product){.type = type,
                                 .rows = ROWS,
                                 .cols = COLS,
                                 .tokens = tokens,
                                 .ldw = COLS,
                                 .ldx = COLS,
                                 .ldd = ROWS,
                                 .w = w,
                                 .x = x,
                                 .d = d};
}

// The algorithm that a product of these proposals runs.
static uint64_t pick(struct cuda_product job)
{
    struct error err = {0};
    if (cuda_products_plan(products, &job, workspace, &err) != OK ||
        cuda_products_run(products, &gpu_queue, &job, workspace, &err) != OK)
        fail_msg("%s", err.message);
    return script.last;
}

static void the_fastest_of_equal_bits_is_kept(void **state)
{
    (void)state;
    blas_propose(0, 7, 100);
    blas_propose(1, 8, 10); // faster, but of other bits
    blas_propose(2, 7, 40);
    blas_propose(3, 7, 60);
    blas_propose(4, 7, 20);
    script.algorithm[4].status = 15; // it refuses when it runs
    blas_propose(5, 7, 1);
    script.algorithm[5].state = 1; // proposed, but not supported
    assert_int_equal(pick(product_of(CUDA_PRODUCT_BF16, TOKENS)), 2);
    // No sums in place, and none of rounded parts.
    assert_int_equal(script.reductions, BLAS_REDUCTION_STORED);
    assert_int_equal(script.workspace, CUDA_PRODUCTS_WORKSPACE);
    char picks[1024];
    cuda_products_picks(products, picks, sizeof picks);
    assert_string_equal(picks,
                        "bf16 32 x 48 by 20 tokens: algorithm 66, tile 128x128, stages number "
                        "2, cluster 2x1, split-k -1, workspace 4096 bytes, 3 of 6 proposed "
                        "have equal bits");
    cuda_products_picks(products, picks, 10); // what fits
    assert_string_equal(picks, "bf16 32 x");
    struct cuda_product other = product_of(CUDA_PRODUCT_F16, TOKENS);
    cuda_products_restart(products); // of another cell, which runs another shape
    pick(other);
    pick(other);
    cuda_products_picks(products, picks, sizeof picks);
    assert_null(strstr(picks, "bf16"));
    assert_ptr_equal(strstr(picks, "f16 32 x 48"), picks);
    assert_null(strstr(picks, "; "));
}

static void a_first_that_fails_gives_no_bits(void **state)
{
    (void)state;
    blas_propose(0, 7, 1);
    script.algorithm[0].status = 15;
    blas_propose(1, 8, 50);
    blas_propose(2, 8, 30);
    assert_int_equal(pick(product_of(CUDA_PRODUCT_F16, TOKENS)), 2);
}

static void a_shape_is_planned_once(void **state)
{
    (void)state;
    blas_propose(0, 7, 100);
    struct cuda_product job = product_of(CUDA_PRODUCT_BF16, TOKENS), other = job;
    assert_false(cuda_products_planned(products, &job));
    pick(job);
    assert_true(cuda_products_planned(products, &job));
    int after = script.products;
    pick(job);
    assert_int_equal(script.asked, 1);
    assert_int_equal(script.products, after + 1);
    other.tokens = 19;
    assert_false(cuda_products_planned(products, &other));
    other = job;
    other.add = true;
    assert_false(cuda_products_planned(products, &other));
    other = job;
    other.type = CUDA_PRODUCT_F16;
    assert_false(cuda_products_planned(products, &other));
    other = job;
    other.x = w; // the arrays do not matter
    assert_true(cuda_products_planned(products, &other));
}

// The oldest plan makes room.
static void the_cache_is_bounded(void **state)
{
    (void)state;
    blas_propose(0, 7, 100);
    struct error err = {0};
    for (int tokens = 1; tokens <= CUDA_PRODUCTS_PLANS + 1; tokens++) {
        struct cuda_product job = product_of(CUDA_PRODUCT_BF16, TOKENS);
        job.ldd = ROWS;
        job.rows = tokens <= ROWS ? tokens : ROWS;
        job.add = tokens > ROWS;
        job.tokens = tokens > ROWS ? 1 + tokens % TOKENS : TOKENS;
        job.cols = tokens > ROWS + TOKENS ? COLS - 16 : COLS;
        assert_int_equal(cuda_products_plan(products, &job, workspace, &err), OK);
    }
    struct cuda_product first = product_of(CUDA_PRODUCT_BF16, TOKENS), second = first;
    first.rows = 1;
    second.rows = 2;
    assert_false(cuda_products_planned(products, &first));
    assert_true(cuda_products_planned(products, &second));
    assert_int_equal(script.descs, CUDA_PRODUCTS_PLANS);
    assert_int_equal(cuda_products_run(products, &gpu_queue, &first, workspace, &err),
                     ERR_INTERNAL);
}

static void scales_and_residuals_are_handed_over(void **state)
{
    (void)state;
    blas_propose(0, 7, 100);
    x_scale[TOKENS] = 5;
    struct cuda_product job = product_of(CUDA_PRODUCT_F8, TOKENS);
    pick(job);
    assert_int_equal(script.scale_modes, 0);
    assert_true(script.beta == 0);
    char picks[512];
    cuda_products_picks(products, picks, sizeof picks);
    assert_non_null(strstr(picks, "equal bits, sums are scaled by this program"));
    cuda_products_restart(products);
    job.w_scale = w_scale;
    job.x_scale = x_scale;
    job.add = true;
    pick(job);
    assert_int_equal(script.scale_modes, 2);
    cuda_products_picks(products, picks, sizeof picks);
    assert_ptr_equal(strstr(picks, "fp8 32 x 48"), picks);
    assert_null(strstr(picks, "scaled"));
    assert_ptr_equal(script.a_scale, w_scale);
    assert_ptr_equal(script.b_scale, x_scale);
    assert_true(script.beta == 1);
    assert_true(x_scale[0] != 0 && x_scale[TOKENS - 1] != 0); // measured with scales that are not 0
    assert_true(x_scale[TOKENS] == 5);                        // and nothing beyond them
    job.x_scale = w_scale;                                    // of another product of this shape
    assert_true(cuda_products_run(products, &gpu_queue, &job, workspace, &(struct error){0}) == OK);
    assert_ptr_equal(script.b_scale, w_scale);
}

static void inputs_are_random_and_no_longer(void **state)
{
    (void)state;
    blas_propose(0, 7, 100);
    memset(x, 0, sizeof x);
    pick(product_of(CUDA_PRODUCT_I8, TOKENS));
    bool any = false;
    for (int i = 0; i < TOKENS * COLS; i++)
        any = any || x[i] != 0;
    assert_true(any);
    for (int i = TOKENS * COLS; i < TOKENS * COLS + 16; i++)
        assert_int_equal(x[i], 0);
}

static void refusals_name_library_and_shape(void **state)
{
    (void)state;
    struct error err = {0};
    struct cuda_product job = product_of(CUDA_PRODUCT_I8, TOKENS);
    assert_int_equal(cuda_products_plan(products, &job, workspace, &err), ERR_UNSUPPORTED);
    assert_string_equal(
        err.message, "device cuda:0: cuBLASLt 13.1.2: it has no algorithm for the int8 product of "
                     "32 x 48 by 20 tokens (status 0)");
    error_clear(&err);
    blas_propose(0, 7, 1);
    script.algorithm[0].status = 13;
    assert_int_equal(cuda_products_plan(products, &job, workspace, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "no algorithm runs"));
    error_clear(&err);
    script.layout = 7;
    assert_int_equal(cuda_products_plan(products, &job, workspace, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "(status 7)"));
    assert_int_equal(script.descs, 0);
    error_clear(&err);
    struct cuda_products *none = NULL;
    script.create = 1;
    assert_int_equal(cuda_products_create(&gpu.device, &none, &err), ERR_UNSUPPORTED);
    assert_null(none);
    assert_string_equal(err.message, "device cuda:0: cuBLASLt 13.1.2 does not start (status 1)");
}

// Where the loader finds no such file, or one without its functions: this program itself, dlopen's NULL.
static void a_missing_or_old_library_is_named(void **state)
{
    (void)state;
    static const struct {
        const char *file, *reason;
    } cases[] = {{"libno-such-cublasLt.so.1",
                  "cuBLASLt is not found: install cuBLAS of CUDA 12 or 13, or name its folder in "
                  "LD_LIBRARY_PATH"},
                 {NULL, "cuBLASLt is too old: it has no cublasLtGetVersion"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct error err = {0};
        struct cuda_products *none = products;
        cuda_cublaslt_use(NULL);
        cuda_cublaslt_look_in(&cases[i].file, 1);
        enum status status = cuda_products_create(&gpu.device, &none, &err);
        cuda_cublaslt_look_in(NULL, 0);
        cuda_cublaslt_use(&blas_library);
        assert_int_equal(status, ERR_UNSUPPORTED);
        assert_null(none);
        assert_string_equal(err.message, cases[i].reason);
    }
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, reset, restore)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(the_fastest_of_equal_bits_is_kept),
        WITH(a_first_that_fails_gives_no_bits),
        WITH(a_shape_is_planned_once),
        WITH(the_cache_is_bounded),
        WITH(scales_and_residuals_are_handed_over),
        WITH(inputs_are_random_and_no_longer),
        WITH(refusals_name_library_and_shape),
        WITH(a_missing_or_old_library_is_named),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
