// scheme_golden.h - logits of each scheme's documented arithmetic, computed in torch (tools/golden/make_schemes.py and
// make_q8_0.py), and a model's distance from them. For tests on any device.
#ifndef TESTS_ENGINE_SCHEME_GOLDEN_H
#define TESTS_ENGINE_SCHEME_GOLDEN_H

#include "tests/load/load_fixture.h"

#define SCHEMES "tests/golden/schemes"

// The models, each with golden.bin in its folder.
static const struct scheme_model {
    const char *golden, *path;
} scheme_models[] = {{SCHEMES "/golden.bin", SCHEMES},
                     {"tests/golden/q8_0/golden.bin", "tests/golden/q8_0/model.gguf"}};
enum { SCHEME_MODELS = sizeof scheme_models / sizeof *scheme_models };

enum { WORD_BYTES = 16, MAX_CASES = 32 };

struct scheme_case {
    const char *scheme, *inputs, *head, *kv;
    const float *logits; // (prompt + decode, vocab)
};

struct scheme_golden {
    struct file_map map;
    uint32_t vocab, prompt, decode, count;
    const int32_t *tokens;
    struct scheme_case cases[MAX_CASES];
};

static inline struct scheme_golden scheme_golden_open(const struct scheme_model *model)
{
    struct error err = {0};
    struct scheme_golden g = {0};
    uint32_t header[5];
    expect_ok(file_map(model->golden, &g.map, &err), &err, model->golden);
    assert_memory_equal(g.map.data, "RGSC", 4);
    memcpy(header, g.map.data + 4, sizeof header);
    assert_int_equal(header[0], 1);
    g.vocab = header[1], g.prompt = header[2], g.decode = header[3], g.count = header[4];
    assert_in_range(g.count, 1, MAX_CASES);
    const unsigned char *at = g.map.data + 4 + sizeof header;
    size_t tokens = g.prompt + g.decode;
    g.tokens = (const int32_t *)(const void *)at;
    at += tokens * sizeof *g.tokens;
    for (uint32_t i = 0; i < g.count; i++) {
        const char *words = (const char *)at;
        g.cases[i] = (struct scheme_case){words, words + WORD_BYTES, words + 2 * WORD_BYTES,
                                          words + 3 * WORD_BYTES,
                                          (const float *)(const void *)(words + 4 * WORD_BYTES)};
        at += 4 * WORD_BYTES + tokens * g.vocab * sizeof(float);
    }
    assert_ptr_equal(at, g.map.data + g.map.size_bytes);
    return g;
}

struct distance {
    double largest, rms; // shares of the largest logit
};

// The prompt in chunks, then token by token.
static inline struct distance distance_of(const struct scheme_golden *g,
                                          const struct scheme_case *c, struct model *model,
                                          int chunk)
{
    int total = (int)(g->prompt + g->decode), prompt = (int)g->prompt;
    size_t vocab = g->vocab;
    enum dtype kv;
    assert_true(storage_parse(c->kv, &kv));
    struct context *ctx = context_of(
        model, (struct context_options){
                   .batch = 1, .positions = total, .chunk = chunk, .kv = kv, .logit_rows = chunk});
    double largest = 0, squares = 0, scale = largest_magnitude(c->logits, (size_t)total * vocab);
    for (int at = 0; at < total;) {
        int left = prompt - at, count = left <= 0 ? 1 : left < chunk ? left : chunk;
        const float *rows = step(ctx, 0, g->tokens + at, count, LOGITS_ALL);
        for (size_t i = 0; i < (size_t)count * vocab; i++) {
            double d = fabs((double)rows[i] - (double)c->logits[(size_t)at * vocab + i]) / scale;
            largest = isnan(d) ? INFINITY : fmax(largest, d);
            squares += d * d;
        }
        at += count;
    }
    context_destroy(ctx);
    return (struct distance){largest, sqrt(squares / ((double)total * (double)vocab))};
}

#endif
