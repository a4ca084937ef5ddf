// test_many_threads.c - the splits a machine of many cores sees: more threads than panels, heads or tokens.
//
// base/pool refuses more threads than the machine has, so this program brings a pool of its own behind
// pool.h: plain threads and a plain barrier, as many as asked for. Every thread count must give the same bits.
#include "base/pool.h"
#include "tests/engine/fixture.h"

#include <pthread.h>
#include <stdlib.h>

struct pool {
    int threads;
    pthread_barrier_t barrier;
};

enum status pool_create(int threads, bool pin, struct pool **out, struct error *err)
{
    (void)pin;
    *out = calloc(1, sizeof **out);
    if (!*out || pthread_barrier_init(&(*out)->barrier, NULL, (unsigned)threads) != 0)
        return FAIL(err, ERR_NOMEM, "pool of the test");
    (*out)->threads = threads;
    return OK;
}

void pool_destroy(struct pool *pool)
{
    pthread_barrier_destroy(&pool->barrier);
    free(pool);
}

int pool_threads(const struct pool *pool)
{
    return pool->threads;
}

size_t pool_cache_bytes(const struct pool *pool)
{
    return pool->threads > 2 ? 0
                             : (size_t)1 << 30; // weights stream, and are taken to be in a cache
}

uint64_t pool_wait_ns(const struct pool *pool)
{
    (void)pool;
    return 0;
}

void pool_barrier(struct pool *pool, int worker)
{
    (void)worker;
    pthread_barrier_wait(&pool->barrier);
}

// As base/pool.c shares: contiguous, sizes differing by at most one grain.
void pool_share(int count, int grain, int worker, int workers, int *begin, int *end)
{
    int grains = (count + grain - 1) / grain;
    *begin = (int)((long long)grains * worker / workers) * grain;
    *end = (int)((long long)grains * (worker + 1) / workers) * grain;
    *begin = *begin < count ? *begin : count;
    *end = *end < count ? *end : count;
}

struct start {
    pool_job *job;
    void *arg;
    int worker, workers;
};

static void *thread_main(void *arg)
{
    struct start *s = arg;
    s->job(s->arg, s->worker, s->workers);
    return NULL;
}

void pool_run(struct pool *pool, pool_job *job, void *arg)
{
    enum { MOST = 64 };
    pthread_t threads[MOST];
    struct start starts[MOST];
    assert_in_range(pool->threads, 1, MOST);
    for (int i = 0; i < pool->threads; i++) {
        starts[i] = (struct start){job, arg, i, pool->threads};
        assert_int_equal(pthread_create(&threads[i], NULL, thread_main, &starts[i]), 0);
    }
    for (int i = 0; i < pool->threads; i++)
        pthread_join(threads[i], NULL);
}

// Prefill of two sequences, a decode step of both, and one of the second alone: the last logits of each
// step, (5, vocab), and the ids drawn from them.
static float *run(const char *path, const char *scheme, int threads, int32_t drawn[5])
{
    enum { PROMPT = 130, SHORT = 37 };
    struct device *device = device_of(threads);
    struct model *model = load(path, scheme, device);
    size_t vocab = (size_t)model_config(model)->vocab;
    struct context *ctx =
        context_of(model, (struct context_options){
                              .batch = 2, .positions = PROMPT + 2, .chunk = PROMPT, .kv = DT_BF16});
    int32_t ids[PROMPT];
    for (int i = 0; i < PROMPT; i++)
        ids[i] = (i * 37 + 11) % (int)vocab;
    struct span steps[3][2] = {
        {{0, PROMPT, ids, LOGITS_LAST, true}, {1, SHORT, ids + 5, LOGITS_LAST, true}},
        {{0, 1, ids, LOGITS_LAST, true}, {1, 1, ids + 1, LOGITS_LAST, true}},
        {{1, 1, ids + 2, LOGITS_LAST, true}},
    };
    struct error err = {0};
    struct sampling sampling = {.temperature = 2, .top_p = 0.95f, .seed = 5};
    expect_ok(context_sample(ctx, &sampling, &err), &err, "context_sample");
    float *kept = calloc(5 * vocab, sizeof *kept);
    for (int i = 0; i < 3; i++) {
        struct step_result result;
        int spans = i < 2 ? 2 : 1;
        expect_ok(context_step(ctx, steps[i], spans, PHASE_PREFILL, &result, &err), &err, "step");
        assert_int_equal(result.nonfinite, 0);
        memcpy(drawn + 2 * i, result.ids, (size_t)spans * sizeof *drawn);
        memcpy(kept + (size_t)i * 2 * vocab, result.logits, (size_t)spans * vocab * sizeof *kept);
    }
    context_destroy(ctx);
    model_destroy(model);
    device_close(device);
    return kept;
}

static void test_any_thread_count_gives_the_same_bits(void **state)
{
    (void)state;
    static const char *const paths[] = {MODELS "llama-gqa3",     MODELS "qwen2-tied",
                                        MODELS "mistral-window", MODELS "llama-wide-heads",
                                        MODELS "qwen2-moe",      "models/reference"};
    static const size_t vocabs[] = {331, 997, 419, 257, 103, 4096};
    static const int counts[] = {2, 3, 5, 16, 61};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        const char *scheme = i % 2 ? "f32" : "bf16";
        int32_t ids[5], others[5];
        float *one = run(paths[i], scheme, 1, ids);
        for (size_t j = 0; j < sizeof counts / sizeof *counts; j++) {
            float *many = run(paths[i], scheme, counts[j], others);
            double worst = largest_difference(one, many, 5 * vocabs[i]);
            if (worst != 0)
                fail_msg("%s: %d threads differ by %g", paths[i], counts[j], worst);
            assert_memory_equal(ids, others, sizeof ids);
            free(many);
        }
        free(one);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_any_thread_count_gives_the_same_bits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
