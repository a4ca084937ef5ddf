// test_sample.c - ids drawn on a GPU are those of sampler_next, filters, streams and odd logits included.
#include "tests/cuda/gpu.h"

#include "engine/model/sampler.h"

enum { ROWS = 4, DRAWS = 6 };

// Logits of one draw: wide, flat, full of ties, and with what is not finite.
static float *logits_of(int vocab, int kind, int draw)
{
    size_t floats = (size_t)ROWS * (size_t)vocab;
    float *logits = values(floats, 0);
    for (size_t i = 0; i < floats; i++) {
        logits[i] = kind == 0   ? 10 * logits[i]
                    : kind == 1 ? logits[i] / 100
                                : roundf(3 * logits[i]);
        if (kind == 3 && i % 7 == 3)
            logits[i] = -INFINITY;
    }
    if (kind == 3 && draw == 1)
        logits[5 % vocab] = NAN;
    if (kind == 3 && draw == 2)
        logits[(size_t)vocab + 3 % (size_t)vocab] = INFINITY;
    if (kind == 3 && draw == 3)
        for (int i = 0; i < vocab; i++)
            logits[2 * (size_t)vocab + (size_t)i] = -INFINITY;
    return logits;
}

static void check_sampling(const struct sampling *sampling, int vocab, int kind)
{
    struct error err = {0};
    struct sampler sampler = {0};
    struct rng streams[ROWS];
    gpu_ok(sampler_init(&sampler, vocab, &err), &err);
    size_t floats = (size_t)ROWS * (size_t)vocab;
    uint64_t state[ROWS];
    int32_t sequence[ROWS], id[ROWS];
    unsigned long long odd = 0, expected_odd = 0;
    for (int i = 0; i < ROWS; i++) {
        streams[i] = sampling_stream(sampling->seed, i);
        state[i] = streams[i].state;
        sequence[i] = (i + 1) % ROWS;
    }
    float *dl = up(NULL, floats * 4);
    void *ds = up(sequence, sizeof sequence), *dt = up(state, sizeof state),
         *di = up(NULL, sizeof id);
    void *dn = up(&odd, sizeof odd), *scratch = up(NULL, floats * 8);
    for (int draw = 0; draw < DRAWS; draw++) {
        float *logits = logits_of(vocab, kind, draw);
        gpu_ok(device_copy_in(gpu, dl, logits, floats * 4, &err), &err);
        struct cuda_sample job = {.logits = dl,
                                  .sequence = ds,
                                  .streams = dt,
                                  .id = di,
                                  .nonfinite = dn,
                                  .scratch = scratch,
                                  .rows = ROWS,
                                  .vocab = vocab,
                                  .temperature = sampling->temperature,
                                  .top_p = sampling->top_p,
                                  .top_k = sampling->top_k};
        gpu_launcher(KOP_SAMPLE, DT_F32, DT_F32).sample(&job, stream());
        down(id, di, sizeof id);
        down(&odd, dn, sizeof odd);
        for (int r = 0; r < ROWS; r++) {
            const float *row = logits + (size_t)r * (size_t)vocab;
            struct logits_scan scan = logits_scan(row, 0, vocab);
            int32_t want =
                sampler_next(&sampler, sampling, &streams[sequence[r]], row, vocab, &scan);
            if (id[r] != want)
                fail_msg("vocab %d, kind %d, t %g k %d p %g, seed %llu: draw %d of row %d is %d, "
                         "expected %d",
                         vocab, kind, (double)sampling->temperature, sampling->top_k,
                         (double)sampling->top_p, (unsigned long long)gpu_seed, draw, r, (int)id[r],
                         (int)want);
        }
        expected_odd += (unsigned long long)logits_nonfinite(logits, floats);
        assert_true(odd == expected_odd);
        free(logits);
    }
    void *all[] = {dl, ds, dt, di, dn, scratch};
    for (int i = 0; i < 6; i++)
        drop(all[i]);
    sampler_fini(&sampler);
}

static void test_sampling(void **state)
{
    (void)state;
    NEED_GPU();
    static const int vocabs[] = {1, 2, 31, 1000, 32000};
    static const struct sampling settings[] = {
        {0, 0, 1, 1},        {1, 0, 1, 2}, {0.7f, 40, 1, 3},      {1, 0, 0.9f, 4},
        {1.5f, 50, 0.8f, 5}, {1, 1, 1, 6}, {0.05f, 0, 0.999f, 7}, {1, 100000, 0.5f, 8},
    };
    for (size_t v = 0; v < sizeof vocabs / sizeof *vocabs; v++)
        for (size_t s = 0; s < sizeof settings / sizeof *settings; s++)
            for (int kind = 0; kind < 4; kind++) {
                gpu_case("sample", (int)(v * 100 + s * 10) + kind);
                check_sampling(&settings[s], vocabs[v], kind);
            }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sampling)};
    return cmocka_run_group_tests(tests, gpu_setup, gpu_teardown);
}
