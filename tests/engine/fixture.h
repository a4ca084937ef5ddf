// fixture.h - what the engine's tests share: a loaded model in one call, and errors that end a test.
#ifndef TESTS_ENGINE_FIXTURE_H
#define TESTS_ENGINE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "device/device.h"
#include "engine/engine.h"

#define MODELS "tests/golden/models/"

static inline void expect_ok(enum status status, const struct error *err, const char *what)
{
    if (status != OK)
        fail_msg("%s: %s", what, err->message);
}

// This processor with `threads` threads, not pinned, and the tiers of a mask.
static inline struct device *device_of_tier(int threads, unsigned isa)
{
    struct error err = {0};
    struct device *device = NULL;
    struct device_options options = {.threads = threads, .isa = isa};
    expect_ok(device_open(DEVICE_DEFAULT, &options, &device, &err), &err, "device_open");
    return device;
}

static inline struct device *device_of(int threads)
{
    return device_of_tier(threads, ISA_ALL);
}

// What plans for this processor are made with.
static inline struct device_target host_target(unsigned isa)
{
    return (struct device_target){.where = DEVICE_HOST, .isa = isa & device_isa_host()};
}

// Who multiplies in prefill passes of models that tests load.
static enum products fixture_products = PRODUCTS_OWN;

static inline struct model *load(const char *path, const char *scheme, struct device *device)
{
    struct error err = {0};
    struct checkpoint *ck = NULL;
    struct model *model = NULL;
    struct scheme row = *scheme_find(scheme);
    struct engine_options options = {.device = device, .scheme = &row};
    row.products = fixture_products;
    expect_ok(checkpoint_open(path, &ck, &err), &err, path);
    expect_ok(model_load(ck, &options, NULL, NULL, &model, &err), &err, path);
    checkpoint_destroy(ck);
    return model;
}

// An engine_progress that asks to stop at its `at`th call; 0: never.
struct stop {
    int at, calls;
};
static inline bool stop_at(void *user, double done)
{
    struct stop *s = user;
    assert_true(done >= 0 && done <= 1);
    return ++s->calls != s->at;
}

// A set of kernels this machine can run.
struct tier {
    const char *name;
    unsigned isa;
};
enum { MAX_TIERS = 6 };

#if defined(__SANITIZE_THREAD__)
#define THREAD_SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define THREAD_SANITIZED 1
#endif
#endif

// Every tier of this machine, each once: a word that means no more here than an earlier one is left out.
// Under the thread sanitizer only the fastest: threads meet at the same places in all of them, and the
// portable loops, instrumented, take minutes.
static inline size_t machine_tiers(struct tier out[MAX_TIERS])
{
    static const char *const words[] = {"ref", "avx2", "avx512", "avx512_bf16", "neon"};
    size_t count = 0;
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        struct tier tier = {.name = words[i]};
        bool known = false;
        assert_true(device_isa_parse(DEVICE_HOST, words[i], &tier.isa));
        tier.isa &= device_isa_host();
        for (size_t j = 0; j < count; j++)
            known = known || out[j].isa == tier.isa;
        if (!known)
            out[count++] = tier;
    }
#ifdef THREAD_SANITIZED
    out[0] = out[count - 1];
    count = 1;
#endif
    return count;
}

// The form of decode steps that contexts of tests ask for.
static enum decode_form fixture_decode = DECODE_GRAPH;

static inline struct context *context_of(struct model *model, struct context_options options)
{
    options.decode = fixture_decode;
    struct error err = {0};
    struct context *ctx = NULL;
    expect_ok(context_create(model, &options, &ctx, &err), &err, "context_create");
    return ctx;
}

// One step of one span.
static inline const float *step(struct context *ctx, int sequence, const int32_t *tokens, int count,
                                enum logits_wanted wanted)
{
    struct error err = {0};
    struct span span = {.sequence = sequence, .count = count, .tokens = tokens, .logits = wanted};
    struct step_result result;
    enum phase phase = count > 1 ? PHASE_PREFILL : PHASE_DECODE;
    expect_ok(context_step(ctx, &span, 1, phase, &result, &err), &err, "context_step");
    return result.logits;
}

static inline double largest_magnitude(const float *x, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++)
        largest = fmax(largest, fabs((double)x[i]));
    return largest;
}

// NaN anywhere makes the result infinite, so that it fails every bound.
static inline double largest_difference(const float *a, const float *b, size_t n)
{
    double largest = 0;
    for (size_t i = 0; i < n; i++) {
        double difference = fabs((double)a[i] - (double)b[i]);
        largest = isnan(difference) ? INFINITY : fmax(largest, difference);
    }
    return largest;
}

#endif
