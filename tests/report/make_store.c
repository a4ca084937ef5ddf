// make_store.c - fills a store with one plausible run. Included by the tests that need one.

#include "tests/report/make_store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"
#include "results/metric.h"

static const char *const made_models[] = {"tiny", "1b", "7b", "8b", "qwen-1.5b"};
static const double made_bytes[] = {15e6, 2.2e9, 13.5e9, 16.1e9, 3.1e9}; // in bf16
static const char *const made_schemes[] = {"f32", "bf16", "int8", "int4-awq"};
static const double made_shrink[] = {2, 1, 0.5, 0.28};

enum { MADE_MODELS = 5, MADE_SCHEMES = 4 };

static double jitter(struct rng *rng, double share)
{
    return 1 + share * ((double)rng_f32(rng) + (double)rng_f32(rng) - 1);
}

struct made_point { // what the little roofline says of one cell
    double weights, kv, scratch;
    double prefill_flop, prefill_bytes, prefill_ns;
    double decode_flop, decode_bytes, decode_ns;
};

static const double made_bandwidth = 45e9, made_peak = 300e9;

static struct made_point point_of(int model, int scheme, int batch, int context, int gen)
{
    struct made_point p;
    double bytes = made_bytes[model] * made_shrink[scheme], params = made_bytes[model] / 2;
    p.weights = bytes;
    p.kv = (double)batch * context * made_bytes[model] / 2e5;
    p.scratch = 8e6 + 2e4 * batch * 64;
    int prompt = context - gen;
    p.prefill_flop = 2 * params * batch * prompt;
    p.prefill_bytes = bytes * ceil((double)prompt / 512) * batch + p.kv;
    p.prefill_ns = 1e9 * fmax(p.prefill_flop / made_peak / 0.6, p.prefill_bytes / made_bandwidth);
    p.decode_flop = 2 * params * batch;
    p.decode_bytes = bytes + p.kv;
    p.decode_ns =
        1e9 * fmax(p.decode_flop / made_peak / 0.5, p.decode_bytes / made_bandwidth / 0.88) + 2e5;
    return p;
}

static enum status add_machine(struct store *store, struct store_run *run, struct error *err)
{
    TRY(store_machine(store, "5d41402abc4b2a76",
                      "{\"cpu\":{\"model\":\"Intel(R) Xeon(R) Processor @ 2.60GHz\",\"cores\":2,"
                      "\"threads\":2,\"isa\":[\"avx2\",\"avx512f\",\"avx512_bf16\"]},"
                      "\"memory_bytes\":25282916352,\"virtualization\":\"kvm\"}",
                      &run->machine, err));
    TRY(store_environment(
        store, "{\"kernel\":\"Linux 6.1.0\",\"governor\":null,\"huge_pages\":\"madvise\"}",
        &run->environment, err));
    return store_build(store,
                       "{\"compiler\":\"gcc 12.2.0\",\"flags\":\"-O2 -g\",\"commit\":\"0123abcd\"}",
                       &run->build, err);
}

static enum status add_ceilings(struct store *store, int64_t run, struct error *err)
{
    static const struct store_ceiling rows[] = {
        {"read", "L1", "k_read_f32_f32_avx512", "B/s", "host clock", 2, 9, 410e9, 405e9, 412e9},
        {"read", "L2", "k_read_f32_f32_avx512", "B/s", "host clock", 2, 9, 190e9, 188e9, 193e9},
        {"read", "L3", "k_read_f32_f32_avx512", "B/s", "host clock", 2, 9, 80e9, 74e9, 83e9},
        {"read", "DRAM", "k_read_f32_f32_avx512", "B/s", "host clock", 2, 9, 45e9, 43e9, 46e9},
        {"read", "DRAM", "k_read_f32_f32_avx512", "B/s", "host clock", 1, 9, 24e9, 23e9, 24e9},
        {"copy", "DRAM", "k_copy_f32_f32_avx512", "B/s", "host clock", 2, 9, 36e9, 35e9, 37e9},
        {"f32_fma", "", "k_peak_f32_f32_avx512", "FLOP/s", "host clock", 2, 9, 155e9, 154e9, 156e9},
        {"bf16_dot", "", "k_peak_bf16_bf16_avx512_bf16", "FLOP/s", "host clock", 2, 9, 300e9, 297e9,
         301e9},
        {"int8_dot", "", "k_peak_i8_i8_avx512_vnni", "op/s", "host clock", 2, 9, 610e9, 600e9,
         612e9},
    };
    return store_ceilings(store, run, rows, sizeof rows / sizeof rows[0], err);
}

// Which fate a cell has when failures are wanted; "ok" for most.
static const char *fate_of(size_t i, bool failures, const char **reason)
{
    static const struct {
        const char *status, *reason;
    } fates[] = {
        {"oom", "2.1 GiB for KV cache do not fit in 22.9 GiB (weights 21.8 GiB)"},
        {"timeout", "no event for 300 s in phase prefill"},
        {"wrong", "token hash of repetition 2 differs from repetition 1"},
        {"noisy", "steal time 4.1 % of the repetition"},
        {"crashed", "worker ended by signal 11 (SIGSEGV) in phase decode"},
    };
    *reason = "";
    if (!failures || i % 9 != 5)
        return "ok";
    size_t which = (i / 9) % (sizeof fates / sizeof fates[0]);
    *reason = fates[which].reason;
    return fates[which].status;
}

static enum status add_trial(struct store *store, int64_t cell, int number, const char *fate,
                             const char *reason, const struct made_point *p, int batch, int prompt,
                             int gen, int reps, struct rng *rng, struct error *err)
{
    enum { REPS_MAX = 8, METRICS = 5, NOISES = 4 };
    struct store_metric metrics[REPS_MAX][METRICS], noise[REPS_MAX][NOISES];
    struct store_sample samples[REPS_MAX];
    double trial = jitter(rng, 0.03), sum_prefill = 0, sum_decode = 0;
    for (int r = 0; r < reps; r++) {
        double ttft = p->prefill_ns * trial * jitter(rng, 0.02);
        double tpot = p->decode_ns * trial * jitter(rng, 0.02);
        sum_prefill += ttft / reps, sum_decode += tpot / reps;
        struct store_metric m[METRICS] = {
            {METRIC_TTFT, "ns", "host clock", "prefill", NULL, ttft},
            {METRIC_TPOT, "ns", "host clock", "decode", NULL, tpot},
            {METRIC_PREFILL_TPS, "token/s", "host clock", "prefill", NULL,
             1e9 * batch * prompt / ttft},
            {METRIC_DECODE_TPS, "token/s", "host clock", "decode", NULL, 1e9 * batch / tpot},
            {METRIC_PEAK_MEM, "bytes", "os", NULL, NULL,
             (p->weights + p->kv + p->scratch) * 1.02 + 3e7},
        };
        struct store_metric n[NOISES] = {
            {NOISE_STEAL, "ns", "os", NULL, NULL, 1e6 * (double)rng_below(rng, 40)},
            {NOISE_SWITCHES, "1", "os", NULL, NULL, rng_below(rng, 9)},
            {NOISE_BANDWIDTH_MIN, "B/s", "host clock", NULL, NULL,
             made_bandwidth * (0.9 + 0.05 * (double)rng_f32(rng))},
            {NOISE_BANDWIDTH_MAX, "B/s", "host clock", NULL, NULL,
             made_bandwidth * (1 + 0.05 * (double)rng_f32(rng))},
        };
        memcpy(metrics[r], m, sizeof m);
        memcpy(noise[r], n, sizeof n);
        samples[r] = (struct store_sample){.repetition = r + 1,
                                           .token_hash = "9f86d081884c7d65",
                                           .metrics = metrics[r],
                                           .metric_count = METRICS,
                                           .noise = noise[r],
                                           .noise_count = NOISES};
    }
    const struct store_metric own[] = {
        {METRIC_LOAD, "ns", "host clock", "load", NULL, p->weights / 2},
        {METRIC_MEM_WEIGHTS, "bytes", "engine", NULL, NULL, p->weights},
        {METRIC_MEM_KV, "bytes", "engine", NULL, NULL, p->kv},
        {METRIC_MEM_SCRATCH, "bytes", "engine", NULL, NULL, p->scratch},
        {METRIC_FLOP, "FLOP", "analytic", "prefill", NULL, p->prefill_flop},
        {METRIC_BYTES, "bytes", "analytic", "prefill", NULL, p->prefill_bytes},
        {METRIC_FLOP, "FLOP", "analytic", "decode", NULL, p->decode_flop},
        {METRIC_BYTES, "bytes", "analytic", "decode", NULL, p->decode_bytes},
        {METRIC_FLOP, "FLOP", "analytic", "decode", "gate-up", p->decode_flop / 2},
        {"energy \"x\"", "J", "counter", "decode", NULL, NAN},
    };
    struct store_verdict verdicts[2];
    for (int i = 0; i < 2; i++) {
        double flop = i ? p->decode_flop : p->prefill_flop;
        double bytes = i ? p->decode_bytes : p->prefill_bytes;
        double compute = 1e9 * flop / made_peak, memory = 1e9 * bytes / made_bandwidth;
        double measured = i ? sum_decode : sum_prefill, rho = compute / memory;
        static char text[2][96];
        const char *bound = rho < 0.8 ? "memory" : rho > 1.25 ? "compute" : "balanced";
        double roof = fmax(compute, memory);
        snprintf(text[i], sizeof text[i], "%s-bound, %.0f %% of the roof", bound,
                 100 * roof / measured);
        verdicts[i] = (struct store_verdict){.phase = i ? "decode" : "prefill",
                                             .basis = "host clock + analytic",
                                             .bound = bound,
                                             .text = text[i],
                                             .t_roof_ns = roof,
                                             .t_memory_ns = memory,
                                             .t_compute_ns = compute,
                                             .measured_ns = measured,
                                             .eta = roof / measured,
                                             .rho = rho,
                                             .rho_low = rho * 0.97,
                                             .rho_high = rho * 1.03,
                                             .overhead_share = NAN,
                                             .thresholds_json = "{\"memory\":0.8}"};
    }
    bool failed = strcmp(fate, "ok") != 0 && strcmp(fate, "noisy") != 0;
    struct store_trial t = {.cell = cell,
                            .number = number,
                            .status = fate,
                            .reason = reason,
                            .started_ns = 1769860000000000000 + number,
                            .ended_ns = 1769860000000000000 + number * 1000000000LL,
                            .arithmetic = "bf16 x bf16 -> f32",
                            .samples = samples,
                            .sample_count = failed ? 0 : (size_t)reps,
                            .metrics = own,
                            .metric_count = failed ? 0 : sizeof own / sizeof own[0],
                            .verdicts = verdicts,
                            .verdict_count = failed ? 0 : 2};
    int64_t id = 0;
    (void)gen;
    return store_trial(store, &t, &id, err);
}

static enum status add_cell(struct store *store, const struct made_store *made, int64_t run,
                            int model, int scheme, int batch, int context, size_t i,
                            struct rng *rng, struct error *err)
{
    const int gen = 128;
    const char *name = model == 0 && made->model_name ? made->model_name : made_models[model];
    char label[256], params[128], key[HASH_HEX_BYTES];
    snprintf(label, sizeof label, "%s %s cpu b%d c%d", name, made_schemes[scheme], batch, context);
    snprintf(params, sizeof params, "{\"batch\":%d,\"context\":%d,\"gen\":%d,\"scheme\":\"%s\"}",
             batch, context, gen, made_schemes[scheme]);
    TRY(hash_bytes(label, strlen(label), key, err));
    struct made_point p = point_of(model, scheme, batch, context, gen);
    double total = p.weights + p.kv + p.scratch;
    bool skip = made->failures && total > 23e9;
    struct store_cell cell = {.run = run,
                              .key = key,
                              .params_json = params,
                              .label = label,
                              .sweep = "core",
                              .model = name,
                              .scheme = made_schemes[scheme],
                              .device = "cpu",
                              .threads = 2,
                              .batch = batch,
                              .context = context,
                              .gen = gen,
                              .trials_planned = made->trials,
                              .skip_status = "skipped",
                              .skip_reason = skip ? "needs 24.1 GiB, 22.9 GiB are there" : NULL,
                              .predicted_memory_bytes = total,
                              .predicted_ns = p.prefill_ns * made->trials};
    int64_t id = 0;
    TRY(store_cell(store, &cell, &id, err));
    const char *reason, *fate = fate_of(i, made->failures, &reason);
    for (int t = 1; t <= made->trials && !skip; t++)
        TRY(add_trial(store, id, t, fate, reason, &p, batch, context - gen, gen, made->reps, rng,
                      err));
    return OK;
}

enum status make_run(struct store *store, const struct made_store *made, int64_t *run,
                     struct error *err)
{
    struct rng rng = {made->seed};
    struct store_run row = {.suite_name = "made",
                            .suite_text = "[suite]\nname = made\n",
                            .command = "bench run suites/made.conf --set 'defaults.reps=3'",
                            .started_ns = 1769860000000000000};
    TRY(add_machine(store, &row, err));
    TRY(store_run_begin(store, &row, run, err));
    TRY(add_ceilings(store, *run, err));
    size_t i = 0;
    for (int m = 0; m < made->models && m < MADE_MODELS; m++)
        for (int s = 0; s < made->schemes && s < MADE_SCHEMES; s++)
            for (int b = 0; b < made->batches; b++)
                for (int c = 0; c < made->contexts; c++)
                    TRY(add_cell(store, made, *run, m, s, 1 << b, 512 << c, i++, &rng, err));
    return store_run_end(store, *run, "done", 1769860300000000000, err);
}
