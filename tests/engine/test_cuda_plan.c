// test_cuda_plan.c - what a model and a context take of a GPU's memory, and what is refused before it is made. No GPU
// is needed.
#include "tests/engine/fixture.h"

#include <stdlib.h>

#include "engine/cuda/cuda.h"
#include "tests/device/pretend.h"
#include "tests/kernels/step_shape.h"

static struct model_config small_config(void)
{
    return (struct model_config){.layers = 2,
                                 .width = 96,
                                 .heads = 6,
                                 .kv_heads = 2,
                                 .head_dim = 16,
                                 .ff = 200,
                                 .vocab = 1000,
                                 .max_positions = 512,
                                 .rope = ROPE_HALF,
                                 .rotary = 16,
                                 .rope_theta = 10000};
}

static struct scheme gpu_scheme(const char *name)
{
    const struct scheme *row = scheme_find(name);
    return scheme_resolve(row, row->head,
                          (struct device_target){.where = DEVICE_CUDA, .isa = ISA_ALL});
}

static struct memory_plan plan_of(const struct model_config *config, const char *scheme, int batch,
                                  int positions)
{
    struct scheme s = gpu_scheme(scheme);
    struct context_options options = {
        .batch = batch, .positions = positions, .chunk = 64, .kv = DT_BF16};
    return gpu_memory_plan(NULL, config, &s, &options, 0);
}

static size_t packed(enum dtype type, int rows, int cols, int group)
{
    struct cuda_layout l;
    assert_true(cuda_layout_plan(type, rows, cols, group, &l));
    return (cuda_layout_bytes(&l) + 255) / 256 * 256;
}

static void test_weights(void **state)
{
    (void)state;
    struct model_config c = small_config();
    // q above k above v, gate above up: each is one matrix.
    size_t layer = packed(DT_BF16, 160, 96, 0) + packed(DT_BF16, 96, 96, 0) +
                   packed(DT_BF16, 400, 96, 0) + packed(DT_BF16, 96, 200, 0);
    size_t norm = 512, table = 1000 * 96 * 2;
    size_t expected = 2 * (layer + 2 * norm) + table + norm + packed(DT_BF16, 1000, 96, 0);
    assert_int_equal(plan_of(&c, "bf16", 1, 32).weights_bytes, expected);
    c.tied = true; // no table: rows are read out of the head
    assert_int_equal(plan_of(&c, "bf16", 1, 32).weights_bytes, expected - table);
    c.tied = false;
    assert_true(plan_of(&c, "int4-rtn", 1, 32).weights_bytes <
                plan_of(&c, "int8", 1, 32).weights_bytes);
    assert_int_equal(plan_of(&c, "fp8", 1, 32).weights_bytes,
                     plan_of(&c, "int8", 1, 32).weights_bytes);
}

static struct memory_plan library_plan(const struct model_config *config, const char *scheme,
                                       const struct context_options *options)
{
    struct scheme row = *scheme_find(scheme);
    row.products = PRODUCTS_CUBLASLT;
    struct scheme s = scheme_resolve(&row, row.head,
                                     (struct device_target){.where = DEVICE_CUDA, .isa = ISA_ALL});
    return gpu_memory_plan(NULL, config, &s, options, 0);
}

// With products by the library the plan has a second copy of the layers' products, a workspace, and for codes the sums
// that are added to the residual stream.
static void test_plain_copy(void **state)
{
    (void)state;
    struct model_config c = small_config();
    struct context_options options = {.batch = 1, .positions = 32, .chunk = 64, .kv = DT_BF16};
    c.ff = 208;
    const size_t elements = 160 * 96 + 96 * 96 + 416 * 96 + 96 * 208; // each a multiple of 256
    struct memory_plan own = plan_of(&c, "bf16", 1, 32);
    struct memory_plan library = library_plan(&c, "bf16", &options);
    assert_int_equal(own.copy_bytes, 0);
    assert_int_equal(library.copy_bytes, 2 * elements * 2);
    assert_int_equal(library.weights_bytes, own.weights_bytes + library.copy_bytes);
    assert_int_equal(library.scratch_bytes, own.scratch_bytes + CUDA_PRODUCTS_WORKSPACE);
    assert_int_equal(library.kv_bytes, own.kv_bytes);
    own = plan_of(&c, "int8", 1, 32);
    library = library_plan(&c, "int8", &options);
    const size_t scales = 768 + 512 + 1792 + 512; // of 160, 96, 416 and 96 rows, in whole 256 bytes
    assert_int_equal(library.copy_bytes, 2 * (elements + scales));
    assert_int_equal(library.weights_bytes, own.weights_bytes + library.copy_bytes);
    assert_int_equal(library.scratch_bytes,
                     own.scratch_bytes + CUDA_PRODUCTS_WORKSPACE + (size_t)64 * 96 * 4);
    // Nothing is copied where the library does not serve the scheme: the cell is refused.
    assert_int_equal(library_plan(&c, "int4-rtn", &options).copy_bytes, 0);
}

static void test_context(void **state)
{
    (void)state;
    struct model_config c = small_config();
    struct memory_plan one = plan_of(&c, "bf16", 1, 512), four = plan_of(&c, "bf16", 4, 512);
    assert_int_equal(one.kv_bytes, 2 * 2 * 2 * 512 * 16 * 2); // layers, KV heads, K and V
    assert_int_equal(four.kv_bytes, 4 * one.kv_bytes);
    assert_true(four.scratch_bytes > one.scratch_bytes);
    // Scratch is of one pass, whatever the chunk.
    struct scheme s = gpu_scheme("bf16");
    struct context_options options = {
        .batch = 8, .positions = 100000, .chunk = 50000, .kv = DT_BF16, .logit_rows = 1};
    struct memory_plan far = gpu_memory_plan(NULL, &c, &s, &options, 0);
    options.chunk = 2048;
    assert_int_equal(gpu_memory_plan(NULL, &c, &s, &options, 0).scratch_bytes, far.scratch_bytes);
}

// Which contexts' decode steps carry norms in products.
static void test_carried_norms(void **state)
{
    (void)state;
    static const struct {
        const char *scheme;
        int batch;
        bool carries;
    } rows[] = {{"bf16", 1, true},      {"bf16", 8, true},  {"bf16", 9, false}, {"fp8", 8, true},
                {"int4-rtn", 8, true},  {"int8", 8, false}, {"f16", 8, false},  {"f32", 8, false},
                {"fp8-w8a8", 8, false}, {"q8_0", 8, true}};
    struct model_config c = small_config();
    c.width = 256;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct scheme s = gpu_scheme(rows[i].scheme);
        struct context_options options = {
            .batch = rows[i].batch, .positions = 32, .chunk = 64, .kv = DT_BF16};
        assert_int_equal(gpu_carries(&c, &s, &options), rows[i].carries);
    }
    struct scheme s = gpu_scheme("bf16");
    struct context_options options = {.batch = 1, .positions = 32, .chunk = 64, .kv = DT_BF16};
    struct model_config odd[5];
    for (int i = 0; i < 5; i++)
        odd[i] = c;
    odd[0].norm = NORM_LAYER;
    odd[1].parallel = true;
    odd[2].experts = 4;
    odd[3].width = 96;
    odd[4].post_norms = true;
    for (int i = 0; i < 5; i++)
        assert_false(gpu_carries(&odd[i], &s, &options));
}

static void test_sizes_that_overflow(void **state)
{
    (void)state;
    struct model_config c = small_config();
    c.layers = 4000;
    c.kv_heads = 1 << 20;
    struct memory_plan plan = plan_of(&c, "bf16", 1 << 30, 1 << 30);
    assert_true(plan.kv_bytes == SIZE_MAX && plan.scratch_bytes > 0);
}

struct met {
    int matrices, vectors, tables, fields;
    size_t elements;
    const void *to[256]; // the field of each
};
static void meet(void *arg, const struct weight *item)
{
    struct met *m = arg;
    m->matrices += weight_is_matrix(item->kind);
    m->vectors += item->kind == WEIGHT_VECTOR;
    m->tables += item->kind == WEIGHT_TABLE;
    for (int i = 0; i < m->fields; i++)
        assert_ptr_not_equal(m->to[i], item->to); // no field is filled twice
    assert_true(m->fields < (int)(sizeof m->to / sizeof *m->to));
    m->to[m->fields++] = item->to;
    for (int i = 0; i < item->parts; i++)
        m->elements += (size_t)item->part[i].rows * (size_t)item->part[i].cols;
}

// Every tensor of the description is met once, fused or not, of every expert.
static void check_walk(const struct model_config *c, int matrices)
{
    struct scheme s = gpu_scheme("bf16");
    struct gpu_weights w = {0};
    struct met met = {0};
    size_t elements = 0;
    w.layers = calloc((size_t)c->layers, sizeof *w.layers);
    w.experts = calloc((size_t)c->layers * (size_t)c->experts + 1, sizeof *w.experts);
    gpu_weights_walk(c, &s, &w, meet, &met);
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        struct tensor_shape shape = tensor_shape(c, (enum tensor_role)role);
        size_t times = role <= T_FINAL_NORM ? 1 : (size_t)c->layers;
        elements += times * (size_t)shape.rows * (size_t)shape.cols;
    }
    assert_int_equal(met.elements, elements);
    assert_int_equal(met.matrices, matrices);
    free(w.layers);
    free(w.experts);
}

static void test_every_tensor_is_met_once(void **state)
{
    (void)state;
    struct model_config c = small_config();
    check_walk(&c, 2 * 4 + 1);
    c.qkv_bias = c.o_bias = c.ff_bias = c.head_bias = c.norm_bias = true;
    c.post_norms = c.qk_norm = c.embedding_norm = true;
    c.learned_positions = 77;
    check_walk(&c, 2 * 4 + 1);
    c = small_config();
    c.plain_ff = true;
    check_walk(&c, 2 * 4 + 1);
    c = small_config();
    c.experts = 5;
    c.experts_used = 2;
    check_walk(&c, 2 * (2 + 1 + 2 * 5) + 1);
    c.shared_ff = 64;
    c.shared_gated = true;
    check_walk(&c, 2 * (2 + 1 + 2 * 5 + 3) + 1);
}

// A context that does not fit into what the device has free is refused before any of it is taken.
static void test_no_room(void **state)
{
    (void)state;
    struct error err = {0};
    struct scheme scheme = gpu_scheme("bf16");
    struct gpu_model m = {.config = small_config(), .scheme = &scheme};
    struct context_options cell = {.batch = 4, .positions = 512, .chunk = 64, .kv = DT_BF16};
    void *planned = &m;
    m.device = pretend_opened("cuda:0", ISA_ALL);
    pretend.available = 100 << 20; // enough for it, and not for the driver's own next to it
    pretend.allocated = 0;
    assert_int_equal(gpu_context_create(&m, &cell, &planned, &err), ERR_NOMEM);
    assert_null(planned);
    assert_non_null(strstr(err.message, "do not fit: 100 MiB available on cuda:0"));
    assert_int_equal(pretend.allocated, 0);
    device_close(m.device);
}

// Which descriptions the persistent decode step serves: the others need no memory for it.
static void test_persistent_descriptions(void **state)
{
    (void)state;
    struct scheme bf16 = gpu_scheme("bf16"), f32 = gpu_scheme("f32");
    struct context_options options = {
        .batch = 4, .positions = 64, .chunk = 64, .kv = DT_BF16, .decode = DECODE_PERSISTENT};
    struct model_config c = small_config(), other = c;
    size_t bytes = gpu_persistent_bytes(&c, &bf16, &options);
    assert_true(bytes > 0);
    struct memory_plan with = gpu_memory_plan(NULL, &c, &bf16, &options, 0);
    options.decode = DECODE_GRAPH;
    assert_int_equal(gpu_persistent_bytes(&c, &bf16, &options), 0);
    struct memory_plan without = gpu_memory_plan(NULL, &c, &bf16, &options, 0);
    assert_in_range(with.scratch_bytes - without.scratch_bytes, bytes, bytes + 255);
    options.decode = DECODE_PERSISTENT;
    assert_int_equal(gpu_persistent_bytes(&c, &f32, &options), 0);
    options.kv = DT_F32;
    assert_int_equal(gpu_persistent_bytes(&c, &bf16, &options), 0);
    options.kv = DT_I8;
    options.batch = 9;
    assert_int_equal(gpu_persistent_bytes(&c, &bf16, &options), 0);
    options.batch = 1;
    other.window = 16;
    assert_int_equal(gpu_persistent_bytes(&other, &bf16, &options), 0);
    other = c;
    other.norm = NORM_LAYER;
    assert_int_equal(gpu_persistent_bytes(&other, &bf16, &options), 0);
    other = c;
    other.logit_softcap = 30;
    assert_int_equal(gpu_persistent_bytes(&other, &bf16, &options), 0);
    other = c;
    other.qkv_bias = other.qk_norm = other.tied = true;
    assert_true(gpu_persistent_bytes(&other, &bf16, &options) > 0);
}

// What a plan reserves for the exchange is enough on every chip.
static void test_exchange_fits(void **state)
{
    static const struct step_shape shapes[] = {{2, 4096, 32, 32, 128, 11008, 32000},
                                               {3, 1536, 12, 2, 128, 8960, 1000},
                                               {5, 64, 4, 1, 16, 96, 99}};
    (void)state;
    struct scheme bf16 = gpu_scheme("bf16");
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        for (int run = 0; run < STEP_MOST_TOKENS * STEP_MOST_BLOCKS; run++) {
            const struct step_shape *s = &shapes[i];
            struct cuda_layout layouts[STEP_PHASES] = {{0}};
            const char *why;
            int tokens = 1 + run % STEP_MOST_TOKENS;
            struct context_options options = {
                .batch = tokens, .kv = DT_BF16, .decode = DECODE_AUTO};
            struct model_config c = {.layers = s->layers,
                                     .width = s->width,
                                     .heads = s->heads,
                                     .kv_heads = s->kv_heads,
                                     .head_dim = s->head_dim,
                                     .ff = s->ff};
            step_shape_layouts(s, DT_BF16, 0, layouts);
            struct cuda_step job =
                step_shape_job(s, layouts, DT_BF16, tokens, 1 + run / STEP_MOST_TOKENS);
            if (cuda_step_plan(&job, layouts, &why))
                assert_in_range(cuda_step_exchange_bytes(&job), 1,
                                gpu_persistent_bytes(&c, &bf16, &options));
            else
                assert_true(tokens > 1); // activations leave no room for a ring
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_plain_copy),
        cmocka_unit_test(test_context),
        cmocka_unit_test(test_carried_norms),
        cmocka_unit_test(test_sizes_that_overflow),
        cmocka_unit_test(test_every_tensor_is_met_once),
        cmocka_unit_test(test_no_room),
        cmocka_unit_test(test_persistent_descriptions),
        cmocka_unit_test(test_exchange_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
