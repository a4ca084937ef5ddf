// test_weights.c - the tables of roles and of weights: every tensor a description has is placed once, whole, in
// memory of its own.
#include "tests/engine/fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "engine/cpu/cpu.h"

static struct model_config config_of(const char *path)
{
    struct error err = {0};
    struct checkpoint *ck = NULL;
    expect_ok(checkpoint_open(path, &ck, &err), &err, path);
    struct model_config config = *checkpoint_config(ck);
    checkpoint_destroy(ck);
    return config;
}

// A description that asks for all there is, so that no role goes untested: no file has it.
static struct model_config everything(bool experts, bool tied)
{
    struct model_config c = config_of(MODELS "llama-gqa3");
    c.norm_bias = c.embedding_norm = c.post_norms = c.qk_norm = true;
    c.qkv_bias = c.o_bias = c.ff_bias = c.head_bias = true;
    c.learned_positions = 24;
    c.tied = tied;
    if (experts) {
        c.experts = 5;
        c.experts_used = 2;
        c.shared_ff = 48;
        c.shared_gated = true;
    }
    return c;
}

// What one walk saw of each role, and the bytes it placed.
struct seen {
    int visits[T_ROLE_COUNT], rows[T_ROLE_COUNT], layer;
    const struct model_config *config;
};

static void see(void *user, const struct weight *weight)
{
    struct seen *s = user;
    const struct weight_part *part = weight->part;
    assert_int_equal(weight->parts, 1);
    assert_int_equal(weight->layer, s->layer);
    assert_int_equal(part->cols, tensor_shape(s->config, part->role).cols);
    assert_int_equal(part->row0, s->rows[part->role]); // experts come one after another
    assert_int_equal(weight->kind == WEIGHT_VECTOR, tensor_role_is_vector(part->role));
    if (weight->layer >= 0)
        assert_int_equal(weight->kind == WEIGHT_PRODUCT, tensor_role_is_product(part->role));
    s->visits[part->role]++;
    s->rows[part->role] += part->rows;
}

static void check_walk(const struct model_config *config, struct seen *all)
{
    struct cpu_weights weights = {0};
    for (int layer = -1; layer < config->layers; layer++) {
        struct seen s = {.layer = layer, .config = config};
        cpu_weights_walk(config, scheme_find("bf16"), &weights, layer, see, &s);
        for (int role = 0; role < T_ROLE_COUNT; role++) {
            bool here = (role <= T_FINAL_NORM) == (layer < 0);
            struct tensor_shape shape = tensor_shape(config, (enum tensor_role)role);
            if (s.rows[role] != (here ? shape.rows : 0))
                fail_msg("%s, layer %d: %d of %d rows", tensor_role_name((enum tensor_role)role),
                         layer, s.rows[role], shape.rows);
            int parts = tensor_role_is_expert((enum tensor_role)role) ? config->experts : 1;
            assert_int_equal(s.visits[role], here && shape.rows ? parts : 0);
            all->visits[role] += s.visits[role];
        }
    }
}

static void test_every_role_is_placed_once(void **state)
{
    (void)state;
    struct seen all = {0};
    for (int i = 0; i < 4; i++) {
        struct model_config config = everything(i & 1, i & 2);
        check_walk(&config, &all);
    }
    for (int role = 0; role < T_ROLE_COUNT; role++)
        if (!all.visits[role])
            fail_msg("%s: never visited", tensor_role_name((enum tensor_role)role));
    static const char *const plain[] = {"llama-gqa3", "qwen2-tied", "qwen2-moe"};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        char path[128];
        snprintf(path, sizeof path, MODELS "%s", plain[i]);
        struct model_config config = config_of(path);
        check_walk(&config, &all);
    }
}

struct range {
    const unsigned char *begin, *end;
};

struct ranges {
    struct range at[4096];
    size_t count;
    const struct scheme *scheme;
};

static void add_range(void *user, const struct weight *weight)
{
    struct ranges *r = user;
    const struct cpu_matrix *m = weight->to;
    const unsigned char *begin = *(unsigned char **)weight->to;
    size_t bytes = (size_t)weight->cols * sizeof(float);
    if (weight->kind == WEIGHT_TABLE) {
        bytes = (size_t)weight_rows(weight) * (size_t)weight->cols *
                cpu_element_bytes(scheme_embedding(r->scheme));
    } else if (weight->kind != WEIGHT_VECTOR) {
        begin = m->packed;
        bytes = (size_t)kernel_panel_count(m->rows) * cpu_panel_bytes(m);
    }
    assert_true(r->count < sizeof r->at / sizeof *r->at);
    r->at[r->count++] = (struct range){begin, begin + bytes};
}

static int by_begin(const void *a, const void *b)
{
    const struct range *x = a, *y = b;
    return (x->begin > y->begin) - (x->begin < y->begin);
}

// The measured size holds all of it, and no two weights overlap.
static void test_places_do_not_overlap(void **state)
{
    (void)state;
    struct model_config config = everything(true, false);
    const struct scheme *scheme = scheme_find("bf16");
    struct cpu_cursor measured = {0};
    struct cpu_weights weights = {0};
    cpu_weights_place(&measured, &config, scheme, &weights);
    unsigned char *memory = aligned_alloc(64, (measured.used_bytes + 63) / 64 * 64);
    weights.layers = calloc((size_t)config.layers, sizeof *weights.layers);
    weights.experts = calloc((size_t)(config.layers * config.experts), sizeof *weights.experts);
    assert_true(memory && weights.layers && weights.experts);
    struct cpu_cursor placed = {.base = memory};
    cpu_weights_place(&placed, &config, scheme, &weights);
    assert_int_equal(placed.used_bytes, measured.used_bytes);

    struct ranges *r = calloc(1, sizeof *r);
    assert_non_null(r);
    r->scheme = scheme;
    for (int layer = -1; layer < config.layers; layer++)
        cpu_weights_walk(&config, scheme, &weights, layer, add_range, r);
    qsort(r->at, r->count, sizeof *r->at, by_begin);
    assert_true(r->at[0].begin == memory);
    for (size_t i = 1; i < r->count; i++)
        assert_true(r->at[i].begin >= r->at[i - 1].end);
    assert_true(r->at[r->count - 1].end <= memory + measured.used_bytes);
    free(r);
    free(weights.experts);
    free(weights.layers);
    free(memory);
}

// Synthetic weights are named by these numbers: two roles of one number would be the same tensor.
static void test_numbers_are_unique(void **state)
{
    (void)state;
    bool taken[T_ROLE_COUNT] = {false};
    for (int role = 0; role < T_ROLE_COUNT; role++) {
        int number = tensor_role_number((enum tensor_role)role);
        assert_in_range(number, 0, T_ROLE_COUNT - 1);
        assert_false(taken[number]);
        taken[number] = true;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_role_is_placed_once),
        cmocka_unit_test(test_places_do_not_overlap),
        cmocka_unit_test(test_numbers_are_unique),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
