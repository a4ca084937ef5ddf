// make_store.c - fills a store with one plausible run. Included by the tests that need one.

#include "tests/report/make_store.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/rng.h"
#include "results/basis.h"
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

static enum status made_machine(struct store *store, struct store_run *run, struct error *err)
{
    TRY(store_machine(store, "5d41402abc4b2a76",
                      "{\"processor\":{\"model\":\"Intel(R) Xeon(R) Processor @ "
                      "2.60GHz\",\"isa\":[\"avx2\",\"avx512\"]},"
                      "\"topology\":{\"cores\":2},\"memory_gib\":24,"
                      "\"virtualization\":{\"hypervisor\":\"kvm\"}}",
                      &run->machine, err));
    TRY(store_environment(
        store, "{\"kernel\":\"Linux 6.1.0\",\"governor\":null,\"huge_pages\":\"madvise\"}",
        &run->environment, err));
    return store_build(store,
                       "{\"compiler\":\"gcc 12.2.0\",\"flags\":\"-O2 -g\",\"commit\":\"0123abcd\"}",
                       &run->build, err);
}

static enum status made_ceilings(struct store *store, int64_t run, struct error *err)
{
#define READ(where, count, rate, least, most)                                                      \
    {                                                                                              \
        .name = "read", .level = where, .kernel = "k_read_f32_f32_avx512", .unit = "B/s",          \
        .source = "host clock", .threads = count, .samples = 9, .value = rate, .low = least,       \
        .high = most                                                                               \
    }
#define PEAK(what, row, of, rate, least, most)                                                     \
    {                                                                                              \
        .name = what, .level = "", .kernel = row, .unit = of, .source = "host clock",              \
        .threads = 2, .samples = 9, .value = rate, .low = least, .high = most                      \
    }
    static const struct store_ceiling rows[] = {
        READ("L1", 2, 410e9, 405e9, 412e9),
        READ("L2", 2, 190e9, 188e9, 193e9),
        READ("L3", 2, 80e9, 74e9, 83e9),
        READ("DRAM", 2, 45e9, 43e9, 46e9),
        READ("DRAM", 1, 24e9, 23e9, 24e9),
        {.name = "copy",
         .level = "DRAM",
         .kernel = "k_copy_f32_f32_avx512",
         .unit = "B/s",
         .source = "host clock",
         .threads = 2,
         .samples = 9,
         .value = 36e9,
         .low = 35e9,
         .high = 37e9},
        PEAK("f32_fma", "k_peak_f32_f32_avx512", "FLOP/s", 155e9, 154e9, 156e9),
        PEAK("bf16_dot", "k_peak_bf16_bf16_avx512_bf16", "FLOP/s", 300e9, 297e9, 301e9),
        PEAK("int8_dot", "k_peak_i8_i8_avx512_vnni", "op/s", 610e9, 600e9, 612e9),
    };
#undef READ
#undef PEAK
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

// What one trial is made of.
struct made_trial {
    int64_t cell;
    int number, reps, batch, prompt;
    const char *fate, *reason;
    struct made_point point;
};

enum { MADE_REPS = 8, MADE_METRICS = 5, MADE_NOISES = 4 };

struct made_rep {
    struct store_metric metrics[MADE_METRICS], noise[MADE_NOISES];
    double ttft, tpot;
};

static void fill_rep(struct made_rep *rep, const struct made_trial *t, double slow, struct rng *rng)
{
    const struct made_point *p = &t->point;
    rep->ttft = p->prefill_ns * slow * jitter(rng, 0.02);
    rep->tpot = p->decode_ns * slow * jitter(rng, 0.02);
    const struct store_metric metrics[MADE_METRICS] = {
        {METRIC_TTFT, "ns", "host clock", "prefill", NULL, rep->ttft},
        {METRIC_TPOT, "ns", "host clock", "decode", NULL, rep->tpot},
        {METRIC_PREFILL_TPS, "token/s", "host clock", "prefill", NULL,
         1e9 * t->batch * t->prompt / rep->ttft},
        {METRIC_DECODE_TPS, "token/s", "host clock", "decode", NULL, 1e9 * t->batch / rep->tpot},
        {METRIC_PEAK_MEM, "bytes", "os", NULL, NULL,
         (p->weights + p->kv + p->scratch) * 1.02 + 3e7},
    };
    const struct store_metric noise[MADE_NOISES] = {
        {NOISE_STEAL, "ns", "os", NULL, NULL, 1e6 * (double)rng_below(rng, 40)},
        {NOISE_SWITCHES, "1", "os", NULL, NULL, rng_below(rng, 9)},
        {NOISE_BANDWIDTH_MIN, "B/s", "host clock", NULL, NULL,
         made_bandwidth * (0.9 + 0.05 * (double)rng_f32(rng))},
        {NOISE_BANDWIDTH_MAX, "B/s", "host clock", NULL, NULL,
         made_bandwidth * (1 + 0.05 * (double)rng_f32(rng))},
    };
    memcpy(rep->metrics, metrics, sizeof metrics);
    memcpy(rep->noise, noise, sizeof noise);
}

// text: where the verdict's words are kept.
static struct store_verdict made_verdict(const char *phase, double flop, double bytes,
                                         double measured, char *text, size_t text_bytes)
{
    double compute = 1e9 * flop / made_peak, memory = 1e9 * bytes / made_bandwidth;
    double rho = compute / memory, roof = fmax(compute, memory);
    const char *bound = rho < 0.8 ? "memory" : rho > 1.25 ? "compute" : "balanced";
    snprintf(text, text_bytes, "%s-bound, %.0f %% of the roof", bound, 100 * roof / measured);
    return (struct store_verdict){.phase = phase,
                                  .basis = "host clock + analytic",
                                  .bound = bound,
                                  .text = text,
                                  .t_roof_ns = roof,
                                  .t_memory_ns = memory,
                                  .t_compute_ns = compute,
                                  .measured_ns = measured,
                                  .finding = FINDING_REACHED,
                                  .eta = roof / measured,
                                  .eta_low = roof / measured,
                                  .eta_high = roof / measured,
                                  .bandwidth_moved = NAN,
                                  .loss_share = NAN,
                                  .rho = rho,
                                  .rho_low = rho * 0.97,
                                  .rho_high = rho * 1.03,
                                  .overhead_share = NAN,
                                  .thresholds_json = "{\"memory\":0.8}"};
}

static enum status store_made(struct store *store, const struct made_trial *t, struct rng *rng,
                              struct error *err)
{
    const struct made_point *p = &t->point;
    struct made_rep reps[MADE_REPS];
    struct store_sample samples[MADE_REPS];
    double slow = jitter(rng, 0.03), prefill = 0, decode = 0;
    for (int r = 0; r < t->reps; r++) {
        fill_rep(&reps[r], t, slow, rng);
        prefill += reps[r].ttft / t->reps;
        decode += reps[r].tpot / t->reps;
        samples[r] = (struct store_sample){.repetition = r + 1,
                                           .token_hash = "9f86d081884c7d65",
                                           .metrics = reps[r].metrics,
                                           .metric_count = MADE_METRICS,
                                           .noise = reps[r].noise,
                                           .noise_count = MADE_NOISES};
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
    char words[2][96];
    const struct store_verdict verdicts[] = {
        made_verdict("prefill", p->prefill_flop, p->prefill_bytes, prefill, words[0], 96),
        made_verdict("decode", p->decode_flop, p->decode_bytes, decode, words[1], 96),
    };
    bool failed = strcmp(t->fate, "ok") != 0 && strcmp(t->fate, "noisy") != 0;
    struct store_trial trial = {.cell = t->cell,
                                .number = t->number,
                                .status = t->fate,
                                .reason = t->reason,
                                .started_ns = 1769860000000000000 + t->number,
                                .ended_ns = 1769860000000000000 + t->number * 1000000000LL,
                                .arithmetic = "bf16 x bf16 -> f32",
                                .samples = samples,
                                .sample_count = failed ? 0 : (size_t)t->reps,
                                .metrics = own,
                                .metric_count = failed ? 0 : sizeof own / sizeof own[0],
                                .verdicts = verdicts,
                                .verdict_count = failed ? 0 : 2};
    int64_t id = 0;
    return store_trial(store, &trial, &id, err);
}

// The quality of a model in a scheme, shared by its cells. It gets worse with every scheme, except for the second
// model: its bf16 is the worst, and its int8 comes close to it. Of the last scheme there is none, for a reason.
static enum status made_quality(struct store *store, int64_t run, int64_t cell, int model,
                                int scheme, struct error *err)
{
    char key[32];
    int64_t id = 0;
    double ln_ratio = 0.01 * scheme * scheme;
    if (model == 1 && scheme > 0)
        ln_ratio = scheme == 1 ? 0.2 : 0.19;
    snprintf(key, sizeof key, "%d-%d", model, scheme);
    const struct store_metric metrics[] = {
        {METRIC_PERPLEXITY, "ppl", "half-512", NULL, NULL, 17.02 * exp(ln_ratio)},
        {METRIC_PERPLEXITY_F32, "ppl", "half-512", NULL, NULL, 17.02},
        {METRIC_LN_RATIO, "nat", "half-512", NULL, NULL, ln_ratio},
        {METRIC_LN_RATIO_STDERR, "nat", "half-512", NULL, NULL, 0.001},
        {METRIC_KL_MEAN, "nat", "half-512", NULL, NULL, 0.003 * scheme},
        {METRIC_SAME_TOP, "1", "half-512", NULL, NULL, 1 - 0.01 * scheme},
    };
    bool none = scheme == MADE_SCHEMES - 1;
    struct store_quality row = {
        .run = run,
        .key = key,
        .params_json = "{\"convention\":\"half-512\",\"head\":\"bf16\",\"kv\":\"bf16\"}",
        .status = none ? "unsupported" : "ok",
        .reason = none ? "synthetic weights have no quality" : "",
        .arithmetic = "bf16 x bf16 -> f32",
        .metrics = metrics,
        .metric_count = none ? 0 : sizeof metrics / sizeof metrics[0]};
    TRY(store_quality_find(store, run, 0, key, &id, err));
    if (id == 0)
        TRY(store_quality(store, &row, &id, err));
    return store_cell_quality(store, cell, id, err);
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
    struct made_trial t = {.point = point_of(model, scheme, batch, context, gen),
                           .reps = made->reps,
                           .batch = batch,
                           .prompt = context - gen};
    double total = t.point.weights + t.point.kv + t.point.scratch;
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
                              .skip_reason = skip ? "needs 24.1 GiB, 22.9 GiB are available" : NULL,
                              .predicted_memory_bytes = total,
                              .predicted_ns = t.point.prefill_ns * made->trials};
    TRY(store_cell(store, &cell, &t.cell, err));
    if (made->quality)
        TRY(made_quality(store, run, t.cell, model, scheme, err));
    t.fate = fate_of(i, made->failures, &t.reason);
    for (t.number = 1; t.number <= made->trials && !skip; t.number++)
        TRY(store_made(store, &t, rng, err));
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
    TRY(made_machine(store, &row, err));
    TRY(store_run_begin(store, &row, run, err));
    TRY(made_ceilings(store, *run, err));
    size_t i = 0;
    for (int m = 0; m < made->models && m < MADE_MODELS; m++)
        for (int s = 0; s < made->schemes && s < MADE_SCHEMES; s++)
            for (int b = 0; b < made->batches; b++)
                for (int c = 0; c < made->contexts; c++)
                    TRY(add_cell(store, made, *run, m, s, 1 << b, 512 << c, i++, &rng, err));
    return store_run_end(store, *run, "done", 1769860300000000000, err);
}
