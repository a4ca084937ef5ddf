// golden.h - the golden files of the engine: logits that transformers computed, and how far a model is from them.
#ifndef TESTS_ENGINE_GOLDEN_H
#define TESTS_ENGINE_GOLDEN_H

#include "tests/engine/fixture.h"

#include <stdio.h>

#include "base/file.h"

struct golden_case {
    uint32_t prompt, decode, first_row;
    const int32_t *tokens; // (prompt + decode)
    const float *logits;   // (prompt + decode - first_row, vocab)
};

enum { MAX_CASES = 8 };

struct golden {
    struct file_map map;
    uint32_t vocab, count;
    struct golden_case cases[MAX_CASES];
};

static inline uint32_t take_u32(const unsigned char **at)
{
    uint32_t value;
    memcpy(&value, *at, sizeof value);
    *at += sizeof value;
    return value;
}

static inline struct golden golden_open(const char *name)
{
    char path[256];
    struct error err = {0};
    struct golden g = {0};
    snprintf(path, sizeof path, MODELS "%s/golden.bin", name);
    expect_ok(file_map(path, &g.map, &err), &err, path);
    const unsigned char *at = g.map.data + 4;
    assert_memory_equal(g.map.data, "RGLD", 4);
    assert_int_equal(take_u32(&at), 1);
    g.vocab = take_u32(&at);
    g.count = take_u32(&at);
    assert_in_range(g.count, 1, MAX_CASES);
    for (uint32_t i = 0; i < g.count; i++) {
        struct golden_case *c = &g.cases[i];
        c->prompt = take_u32(&at);
        c->decode = take_u32(&at);
        c->first_row = take_u32(&at);
        c->tokens = (const int32_t *)(const void *)at;
        at += 4 * (size_t)(c->prompt + c->decode);
        c->logits = (const float *)(const void *)at;
        at += 4 * (size_t)(c->prompt + c->decode - c->first_row) * g.vocab;
    }
    assert_ptr_equal(at, g.map.data + g.map.size_bytes);
    return g;
}

// Largest difference over a case, as a share of its largest logit. `chunk` tokens of the prompt a step.
static inline double case_difference(struct model *model, const struct golden_case *c, size_t vocab,
                                     int chunk)
{
    int total = (int)(c->prompt + c->decode);
    enum dtype kv = model_scheme(model)->default_kv;
    struct context *ctx = context_of(
        model, (struct context_options){
                   .batch = 1, .positions = total, .chunk = chunk, .kv = kv, .logit_rows = chunk});
    size_t stored = ((size_t)total - c->first_row) * vocab;
    double worst = 0, scale = largest_magnitude(c->logits, stored);
    for (int at = 0; at < total;) {
        int left = (int)c->prompt - at;
        int count = left <= 0 ? 1 : left < chunk ? left : chunk;
        const float *rows = step(ctx, 0, c->tokens + at, count, LOGITS_ALL);
        for (int r = 0; r < count; r++, at++)
            if (at >= (int)c->first_row)
                worst = fmax(worst, largest_difference(
                                        rows + (size_t)r * vocab,
                                        c->logits + ((size_t)at - c->first_row) * vocab, vocab));
    }
    context_destroy(ctx);
    return worst / scale;
}

static const char *const golden_models[] = {"llama-gqa3",
                                            "llama-wide-heads",
                                            "llama-llama3",
                                            "llama-linear",
                                            "llama-yarn",
                                            "qwen2-tied",
                                            "qwen2-sharded",
                                            "mistral-window",
                                            "mixtral",
                                            "qwen2-moe",
                                            "qwen2-moe-normed",
                                            "qwen3",
                                            "phi-2",
                                            "phi3",
                                            "phi3-longrope",
                                            "gemma",
                                            "gemma2",
                                            "gemma3",
                                            "gpt2",
                                            "gpt-bigcode",
                                            "falcon-7b",
                                            "falcon-40b",
                                            "falcon-11b",
                                            "gpt-bigcode-heads",
                                            "falcon-rw",
                                            "mpt",
                                            "bloom",
                                            "gguf-small-blocks",
                                            "gguf-k-blocks"};

// Quantized folders (tools/golden/make_quantized.py): the goldens are of the dequantized weights.
static const char *const golden_quantized[] = {
    "awq-g128",        "awq-g32-qwen2", "awq-g32-phi3",   "awq-row",       "gptq-v1-asym",
    "gptq-v2-asym",    "gptq-v1-sym",   "gptq-act-order", "gptq-8bit",     "fp8-static",
    "fp8-dynamic",     "fp8-block",     "ct-fp8-channel", "ct-fp8-tensor", "ct-int8",
    "ct-int8-mixtral", "ct-int8-asym",  "ct-pack-g64",    "ct-pack-asym",  "ct-pack-8bit"};

#endif
