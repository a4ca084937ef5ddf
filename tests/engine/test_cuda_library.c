// test_cuda_library.c - which passes of a model the library multiplies, what is planned for them and when, and how sums
// of codes are scaled. On a scripted library; no GPU is needed.
#include "tests/device/pretend_blas.h"

#include "engine/cuda/cuda.h"

enum { CHUNK = 64, EACH = 4 }; // products of a pass

static enum status wait_queue(struct device_queue *queue, struct error *err)
{
    (void)queue;
    (void)err;
    return OK;
}
static void *native(const struct device_queue *queue)
{
    return queue->device;
}
static const struct device_ops ops = {.queue_wait = wait_queue, .queue_native = native};

// A model and a context by hand, with memory of the host.
static struct rig {
    struct cuda_device gpu;
    struct {
        struct device_queue queue;
        void *stream;
    } queue;
    struct scheme scheme;
    struct gpu_model model;
    struct gpu_context ctx;
    struct gpu_layer layers[2];
    struct context_options options;
    uint64_t clock[3];
} rig;

static void *memory_of(size_t bytes)
{
    void *memory = calloc(bytes + 256, 1);
    assert_non_null(memory);
    return memory;
}

static void make(const char *scheme, enum products products, int prompt)
{
    struct error err = {0};
    struct gpu_cursor weights = {0}, buffers = {0};
    size_t copy = 0;
    struct scheme row = *scheme_find(scheme);
    row.products = products;
    memset(&rig, 0, sizeof rig);
    memset(&script, 0, sizeof script);
    blas_propose(0, 7, 100);
    cuda_cublaslt_use(&blas_library);
    rig.gpu = (struct cuda_device){.driver = &blas_driver, .clock = rig.clock};
    rig.queue.queue = (struct device_queue){&ops, &rig.gpu.device};
    rig.scheme = scheme_resolve(&row, row.head,
                                (struct device_target){.where = DEVICE_CUDA, .isa = ISA_ALL});
    rig.options = (struct context_options){
        .batch = 1, .positions = 512, .chunk = CHUNK, .kv = DT_BF16, .prompt = prompt};
    rig.model = (struct gpu_model){.config = {.layers = 2,
                                              .width = 96,
                                              .heads = 6,
                                              .kv_heads = 2,
                                              .head_dim = 16,
                                              .ff = 208,
                                              .vocab = 100},
                                   .scheme = &rig.scheme,
                                   .device = &rig.gpu.device,
                                   .library_scales = rig.scheme.weights == DT_F8E4M3};
    rig.model.weights.layers = rig.layers;
    struct gpu_expert none = {0};
    rig.model.weights.experts = &none;
    gpu_weights_place(&weights, &rig.model.config, &rig.scheme, &rig.model.weights, &copy);
    rig.model.memory = memory_of(weights.used_bytes);
    weights = (struct gpu_cursor){.base = rig.model.memory};
    gpu_weights_place(&weights, &rig.model.config, &rig.scheme, &rig.model.weights, &copy);
    rig.ctx = (struct gpu_context){.model = &rig.model, .queue = &rig.queue.queue};
    gpu_buffers_place(&buffers, &rig.model.config, &rig.scheme, &rig.options, &rig.ctx.buffers);
    rig.ctx.memory = memory_of(buffers.used_bytes);
    buffers = (struct gpu_cursor){.base = rig.ctx.memory};
    gpu_buffers_place(&buffers, &rig.model.config, &rig.scheme, &rig.options, &rig.ctx.buffers);
    rig.model.weights.experts = NULL;
    if (products == PRODUCTS_CUBLASLT &&
        cuda_products_create(&rig.gpu.device, &rig.model.library, &err) != OK)
        fail_msg("%s", err.message);
}

static void drop(void)
{
    cuda_products_destroy(rig.model.library);
    free(rig.model.memory);
    free(rig.ctx.memory);
    assert_true(blas_is_empty());
    cuda_cublaslt_use(NULL);
}

// The shapes that are planned for a step of these tokens.
static int asked_for(enum phase phase, int tokens)
{
    struct error err = {0};
    struct span span = {.count = tokens};
    struct engine_step step = {.spans = &span, .span_count = 1, .phase = phase};
    int before = script.asked;
    if (gpu_library_ready(&rig.ctx, &step, &err) != OK)
        fail_msg("%s", err.message);
    return script.asked - before;
}

static void test_passes_of_the_prompt_are_planned_at_once(void **state)
{
    (void)state;
    struct error err = {0};
    make("bf16", PRODUCTS_CUBLASLT, 150); // passes of 64, 64 and 22
    assert_int_equal(gpu_library_create(&rig.ctx, &rig.options, &err), OK);
    assert_int_equal(script.asked, 2 * EACH);
    assert_int_equal(asked_for(PHASE_PREFILL, 64), 0);
    assert_int_equal(asked_for(PHASE_PREFILL, 22), 0);
    assert_int_equal(asked_for(PHASE_PREFILL, 150), 0);   // of several sequences
    assert_int_equal(asked_for(PHASE_PREFILL, 40), EACH); // not foreseen
    assert_int_equal(asked_for(PHASE_PREFILL, 40), 0);
    assert_int_equal(asked_for(PHASE_PREFILL, CUDA_FEW_TOKENS), 0); // own products
    assert_int_equal(asked_for(PHASE_DECODE, 30), 0);
    assert_true(gpu_library_serves(&rig.ctx, PHASE_PREFILL, CUDA_FEW_TOKENS + 1));
    assert_false(gpu_library_serves(&rig.ctx, PHASE_PREFILL, CUDA_FEW_TOKENS));
    assert_false(gpu_library_serves(&rig.ctx, PHASE_DECODE, CUDA_FEW_TOKENS + 1));
    drop();
}

// Own products read zeros in the padding of their inputs, which random inputs filled.
static void test_no_input_is_left_behind(void **state)
{
    (void)state;
    struct error err = {0};
    make("bf16", PRODUCTS_CUBLASLT, 64);
    assert_int_equal(gpu_library_create(&rig.ctx, &rig.options, &err), OK);
    const unsigned char *input = rig.ctx.buffers.input, *ff = rig.ctx.buffers.ff;
    for (size_t i = 0; i < CHUNK * rig.ctx.buffers.input_ld * 2; i++)
        assert_int_equal(input[i], 0);
    for (size_t i = 0; i < CHUNK * rig.ctx.buffers.ff_ld * 2; i++)
        assert_int_equal(ff[i], 0);
    drop();
}

static void test_a_library_that_cannot_scale(void **state)
{
    (void)state;
    struct error err = {0};
    make("fp8-w8a8", PRODUCTS_CUBLASLT, 64);
    assert_int_equal(gpu_library_create(&rig.ctx, &rig.options, &err), OK);
    assert_true(rig.model.library_scales);
    assert_int_equal(script.scale_modes, 2);
    drop();
    make("fp8-w8a8", PRODUCTS_CUBLASLT, 64);
    script.no_scales = true;
    assert_int_equal(gpu_library_create(&rig.ctx, &rig.options, &err), OK);
    assert_int_equal(err.code, OK);
    assert_false(rig.model.library_scales);
    assert_int_equal(script.scale_modes, 0);
    assert_int_equal(script.asked, EACH);
    drop();
    make("int8", PRODUCTS_CUBLASLT, 64);
    script.proposed = 0;
    assert_int_equal(gpu_library_create(&rig.ctx, &rig.options, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "cuBLASLt 13.1.2: it has no algorithm for"));
    drop();
}

static void test_own_products_ask_nothing(void **state)
{
    (void)state;
    struct error err = {0};
    make("bf16", PRODUCTS_OWN, 64);
    assert_int_equal(gpu_library_open(&rig.model, &err), OK);
    assert_null(rig.model.library);
    assert_int_equal(gpu_library_create(&rig.ctx, &rig.options, &err), OK);
    assert_int_equal(asked_for(PHASE_PREFILL, 64), 0);
    assert_null(gpu_context_products(&rig.ctx));
    assert_int_equal(script.handles, 0);
    drop();
}

static void test_what_is_not_served_is_refused(void **state)
{
    (void)state;
    struct error err = {0};
    make("int8", PRODUCTS_OWN, 64);
    rig.scheme.products = PRODUCTS_CUBLASLT;
    rig.scheme.weights = DT_I4;
    assert_int_equal(gpu_library_open(&rig.model, &err), ERR_UNSUPPORTED);
    assert_non_null(strstr(err.message, "products = cublaslt serves bf16, f16, int8"));
    assert_null(rig.model.library);
    error_clear(&err);
    rig.scheme.weights = DT_I8;
    script.create = 1; // it does not start; a build without CUDA kernels refuses before that
    assert_int_equal(gpu_library_open(&rig.model, &err), ERR_UNSUPPORTED);
    assert_ptr_equal(strstr(err.message, "products = cublaslt: "), err.message);
    assert_null(rig.model.library);
    drop();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_passes_of_the_prompt_are_planned_at_once),
        cmocka_unit_test(test_no_input_is_left_behind),
        cmocka_unit_test(test_a_library_that_cannot_scale),
        cmocka_unit_test(test_own_products_ask_nothing),
        cmocka_unit_test(test_what_is_not_served_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
