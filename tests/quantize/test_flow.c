// test_flow.c - a layer watched. Every input of its products is shown, whole, the same for any number of threads. What
// experts' down projections read makes up what the block adds.
#include "tests/engine/fixture.h"

#include <stdlib.h>

#include "base/arena.h"
#include "base/rng.h"
#include "engine/quantize/flow.h"
#include "engine/quantize/fold.h"
#include "engine/quantize/layer_view.h"

enum {
    WINDOWS = 3,
    LENGTH = 21,
    FEW = 1
}; // FEW: so short that every thread makes all rows for itself
static const uint64_t seed = 12;

// What one layer shows of random inputs at the points of its sites, and behind both blocks.
struct shown {
    struct checkpoint *ck;
    int tokens;
    struct flow_rows kept[ENGINE_POINTS];
};

static size_t rows_at(const struct shown *s, int point)
{
    int each = point == POINT_EXPERT_DOWN_INPUT ? s->ck->config.experts_used : 1;
    return (size_t)s->tokens * (size_t)each;
}

static void keep(struct shown *s, enum engine_point point, int cols)
{
    size_t rows = rows_at(s, point), n = rows * (size_t)cols;
    s->kept[point].cols = cols;
    s->kept[point].x = aligned_alloc_zeroed(n * sizeof(float));
    s->kept[point].expert = calloc(rows, sizeof(int));
    assert_non_null(s->kept[point].x);
    for (size_t i = 0; i < n; i++)
        s->kept[point].x[i] = NAN;
}

static struct shown show_layer(const char *path, int threads, int length)
{
    struct error err = {0};
    struct shown s = {.tokens = WINDOWS * length};
    struct checkpoint *view = NULL;
    struct fold_site sites[FOLD_SITES_MAX];
    struct rng rng = {seed};
    expect_ok(checkpoint_open(path, &s.ck, &err), &err, path);
    const struct model_config *c = &s.ck->config;
    struct device *device = device_of(threads);
    struct flow flow = {.device = device, .windows = WINDOWS, .length = length, .width = c->width};
    int count = fold_sites(c, sites);
    for (int i = 0; i < count; i++)
        keep(&s, sites[i].point, tensor_shape(c, sites[i].readers[0]).cols);
    keep(&s, POINT_MIDDLE, c->width);
    keep(&s, POINT_LAYER_OUTPUT, c->width);
    float *in = calloc((size_t)s.tokens * (size_t)c->width, sizeof *in);
    for (int i = 0; i < s.tokens * c->width; i++)
        in[i] = rng_f32(&rng) - 0.5f;
    expect_ok(layer_view_create(s.ck, 1, NULL, NULL, 1, &view, &err), &err, path);
    expect_ok(flow_run(&flow, view, in, s.kept, &err), &err, path);
    checkpoint_destroy(view);
    device_close(device);
    free(in);
    return s;
}

static void shown_fini(struct shown *s)
{
    for (int p = 0; p < ENGINE_POINTS; p++) {
        aligned_release(s->kept[p].x);
        free(s->kept[p].expert);
    }
    checkpoint_destroy(s->ck);
}

static void every_input_is_shown(const char *path, int length)
{
    struct shown one = show_layer(path, 1, length), two = show_layer(path, 2, length);
    for (int p = 0; p < ENGINE_POINTS; p++) {
        size_t rows = rows_at(&one, p), n = rows * (size_t)one.kept[p].cols;
        const float *x = one.kept[p].x;
        for (size_t k = 0; x && k < n; k++)
            if (isnan(x[k]))
                fail_msg("%s: point %d, element %zu was not shown", path, p, k);
        if (!x)
            continue;
        assert_memory_equal(x, two.kept[p].x, n * sizeof *x);
        assert_memory_equal(one.kept[p].expert, two.kept[p].expert, rows * sizeof(int));
    }
    shown_fini(&one);
    shown_fini(&two);
}

static void test_every_input_is_shown(void **state)
{
    (void)state;
    static const char *const models[] = {
        MODELS "llama-gqa3", MODELS "phi-2",   MODELS "gpt2",      MODELS "falcon-40b",
        MODELS "gemma2",     MODELS "mixtral", MODELS "qwen2-moe",
    };
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        every_input_is_shown(models[i], LENGTH);
        every_input_is_shown(models[i], FEW);
    }
}

// sum over tokens of what the block adds = sum over experts of W times the sum of the expert's inputs.
static void test_experts_inputs_make_the_block(void **state)
{
    (void)state;
    struct shown s = show_layer(MODELS "mixtral", 2, LENGTH);
    const struct model_config *c = &s.ck->config;
    const struct flow_rows *inputs = &s.kept[POINT_EXPERT_DOWN_INPUT];
    double sums[8][64] = {{0}}; // (experts, ff)
    float row[64];
    assert_true(c->experts <= 8 && c->ff <= 64);
    for (size_t i = 0; i < rows_at(&s, POINT_EXPERT_DOWN_INPUT); i++)
        for (int k = 0; k < c->ff; k++)
            sums[inputs->expert[i]][k] += (double)inputs->x[i * (size_t)c->ff + (size_t)k];
    for (int r = 0; r < c->width; r++) {
        double expected = 0, got = 0, size = 0;
        for (int t = 0; t < s.tokens; t++) {
            size_t at = (size_t)(t * c->width + r);
            double add =
                (double)s.kept[POINT_LAYER_OUTPUT].x[at] - (double)s.kept[POINT_MIDDLE].x[at];
            expected += add;
            size += fabs(add);
        }
        for (int e = 0; e < c->experts; e++) {
            s.ck->ops->read_rows(s.ck->self, T_EXPERT_DOWN, 1, e * c->width + r, 1, row, 64);
            for (int k = 0; k < c->ff; k++)
                got += (double)row[k] * sums[e][k];
        }
        if (!(fabs(got - expected) < 1e-3 * size))
            fail_msg("row %d: %g, expected %g of %g in all (seed %llu)", r, got, expected, size,
                     (unsigned long long)seed);
    }
    shown_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_input_is_shown),
        cmocka_unit_test(test_experts_inputs_make_the_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
