// time_step.c - what the persistent decode step reaches of this card's read bandwidth, on random weights, next to the
// difference of its logits from the same step kernel by kernel.
//
// time_step [TYPE [CONTEXT [TOKENS [SHAPE [LAYERS [sweep|parts|phases]]]]]]: bf16, f16, int8, fp8, int4 or int4-32.
// SHAPE is 7b or 8b. sweep: also with other numbers of stages in flight and other prefetching. parts: the time of each
// launch of the graph, alone and as what the graph saves without it. phases: the time of each phase of the one kernel,
// by its blocks' stamps. More tokens than one kernel serves run as a graph only. TOKENS with a w, as 4w: in the wide
// form.
#include "tests/cuda/step_rig.h"

#include "base/stat.h"

enum { RUNS = 40, REPEATS = 200 };

static uint64_t *stamps; // pinned

// By the device's own probe, bytes a ns.
static double read_rate(void)
{
    struct device_probe probes[16];
    struct error err = {0};
    double best = 0;
    size_t count = device_probes(gpu, probes, 16);
    for (size_t i = 0; i < count; i++)
        for (int sample = 0; strcmp(probes[i].name, "read") == 0 &&
                             strcmp(probes[i].level, "DRAM") == 0 && sample < 8;
             sample++) {
            double rate;
            bool disturbed;
            gpu_ok(device_probe_run(gpu, i, &rate, &disturbed, &err), &err);
            best = fmax(best, rate / 1e9);
        }
    return best;
}

// Of the step as one kernel, or kernel by kernel as a graph.
static double time_ns(const struct rig *r, struct cuda_graph *graph)
{
    double times[RUNS];
    struct error err = {0};
    cuda_stamp_fn *stamp = rig_find(KOP_STAMP, DT_F32, DT_F32).stamp;
    for (int i = -3; i < RUNS; i++) {
        stamp(&stamps[0], stream());
        if (graph)
            gpu_ok(cuda_graph_launch(graph, queue, &err), &err);
        else
            rig_run_step(r);
        stamp(&stamps[1], stream());
        gpu_ok(device_queue_wait(queue, &err), &err);
        if (i >= 0)
            times[i] = (double)(stamps[1] - stamps[0]);
    }
    return stat_median(times, RUNS, &err);
}

static double bytes_of(const struct rig *r)
{
    double bytes = (double)cuda_layout_bytes(&r->layout[STEP_HEAD]);
    for (int p = 0; p < STEP_HEAD; p++)
        if (p != STEP_ATTEND)
            bytes += (double)cuda_layout_bytes(&r->layout[p]) * r->shape.layers;
    for (int t = 0; t < r->tokens; t++)
        bytes += 2.0 * r->position[t] * (double)kv_row_bytes(r->kv, r->shape.head_dim) *
                 r->shape.kv_heads * r->shape.layers;
    return bytes;
}

static struct rig rig_of(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum dtype type;
        int group;
    } types[] = {{"bf16", DT_BF16, 0},  {"f16", DT_F16, 0},   {"int8", DT_I8, 0},
                 {"fp8", DT_F8E4M3, 0}, {"int4", DT_I4, 128}, {"int4-32", DT_I4, 32}};
    const char *name = argc > 1 ? argv[1] : "bf16";
    int context = argc > 2 ? atoi(argv[2]) : 512;
    bool wide = argc > 4 && strcmp(argv[4], "8b") == 0;
    int layers = argc > 5 ? atoi(argv[5]) : 32;
    struct rig r = {.shape = wide ? (struct step_shape){layers, 4096, 32, 8, 128, 14336, 128256}
                                  : (struct step_shape){layers, 4096, 32, 32, 128, 11008, 32000},
                    .kv = DT_BF16,
                    .tokens = argc > 3 ? atoi(argv[3]) : 1,
                    .wide = argc > 3 && strchr(argv[3], 'w'),
                    .positions = context + 16,
                    .activation = KOP_SWIGLU};
    for (size_t i = 0; i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, name) == 0) {
            r.type = types[i].type;
            r.group = types[i].group;
        }
    for (int t = 0; t < r.tokens; t++)
        r.position[t] = context;
    return r;
}

// Of the step's logits from those of the same step kernel by kernel.
static double difference(struct rig *r)
{
    size_t n = (size_t)r->tokens * (size_t)r->shape.vocab;
    float *kernels = malloc(n * sizeof *kernels), *step = malloc(n * sizeof *step);
    rig_reset_residual(r);
    rig_run_kernels(r, RIG_ALL);
    down(kernels, r->logits, n * sizeof(float));
    rig_reset_cache(r);
    rig_run_step(r);
    down(step, r->logits, n * sizeof(float));
    double off = rig_difference(step, kernels, n);
    free(kernels);
    free(step);
    return off;
}

// How many runs of the same step have logits of other bits than the first.
static int other_bits(struct rig *r)
{
    size_t bytes = (size_t)r->tokens * (size_t)r->shape.vocab * sizeof(float);
    float *first = malloc(bytes), *again = malloc(bytes);
    int other = 0;
    rig_run_step(r);
    down(first, r->logits, bytes);
    for (int i = 0; i < REPEATS; i++) {
        rig_run_step(r);
        down(again, r->logits, bytes);
        other += memcmp(again, first, bytes) != 0;
    }
    free(first);
    free(again);
    return other;
}

static struct cuda_graph *graph_of(const struct rig *r, unsigned parts)
{
    struct cuda_graph *graph = NULL;
    struct error err = {0};
    gpu_ok(cuda_graph_begin(queue, &err), &err);
    rig_run_kernels(r, parts);
    gpu_ok(cuda_graph_end(queue, &graph, &err), &err);
    return graph;
}

static double parts_ns(const struct rig *r, unsigned parts)
{
    struct cuda_graph *graph = graph_of(r, parts);
    double ns = time_ns(r, graph);
    cuda_graph_destroy(gpu, graph);
    return ns;
}

// us per layer, and per step for the head. carry: as the engine runs it, with norms fused into products.
static void print_parts(const struct rig *r, unsigned carry)
{
    static const char *const names[RIG_PARTS] = {"norm",     "qkv",  "rotate", "attend",
                                                 "cast",     "out",  "norm",   "gate, up",
                                                 "activate", "down", "head"};
    const unsigned products =
        carry | 1 << RIG_QKV | 1 << RIG_OUT | 1 << RIG_GATE_UP | 1 << RIG_DOWN;
    const unsigned all = carry | RIG_ALL, layer = all & ~(1u << RIG_HEAD), attend = 1 << RIG_ATTEND;
    const double each = 1e3 * r->shape.layers, step = parts_ns(r, all);
    printf("us a layer: all %.2f, products %.2f, products and attention %.2f, others %.2f\n",
           parts_ns(r, layer) / each, parts_ns(r, products) / each,
           parts_ns(r, products | attend) / each,
           parts_ns(r, (layer & ~products & ~attend) | carry) / each);
    for (int p = 0; p < RIG_PARTS; p++) {
        const bool head = p == RIG_HEAD;
        const double alone = parts_ns(r, carry | 1u << p), without = parts_ns(r, all & ~(1u << p));
        printf("%s: alone %.2f, in the graph %.2f\n", names[p], alone / (head ? 1e3 : each),
               (step - without) / (head ? 1e3 : each));
    }
}

static void sweep(struct rig *r)
{
    static const int settings[][4] = {
        {1, 2, 0, 2000}, {1, 2, 4, 2000}, {1, 2, 4, 1200}, {1, 2, 8, 2000}, {1, 2, 8, 1200},
        {1, 3, 4, 2000}, {2, 2, 4, 2000}, {2, 3, 4, 2000}, {2, 3, 8, 1200}, {3, 4, 8, 1200},
        {1, 1, 4, 2000}, {1, 2, 4, 4000}, {1, 2, 2, 3000}};
    for (size_t i = 0; i < sizeof settings / sizeof *settings; i++) {
        r->job.ahead = settings[i][0];
        r->job.inside = settings[i][1];
        r->job.far = settings[i][2];
        r->job.pace = settings[i][3];
        printf("%d past the phase, %d inside, %d prefetched %d clocks apart: %.4f ms\n",
               settings[i][0], settings[i][1], settings[i][2], settings[i][3],
               time_ns(r, NULL) / 1e6);
    }
}

// Prints where a step's time goes: us per layer of each phase, as the blocks stamp it, mean over blocks and layers.
static void phases(struct rig *r)
{
    static const char *const names[STEP_PHASES] = {"qkv",      "attention", "output",
                                                   "gate, up", "down",      "head"};
    const int layers = r->shape.layers, all = layers * STEP_LAYER_PHASES + 1;
    const size_t bytes = (size_t)r->job.blocks * (size_t)all * STEP_MARKS * sizeof(uint64_t);
    uint64_t *host = calloc(1, bytes);
    r->job.stamps = up(host, bytes);
    double ns = time_ns(r, NULL);
    down(host, r->job.stamps, bytes);
    drop(r->job.stamps);
    r->job.stamps = NULL;
    const uint64_t *first = host, *last = host + (size_t)(all - 1) * STEP_MARKS;
    double clocks = (double)(last[STEP_MARK_BEGIN] - first[STEP_MARK_BEGIN]) * 1e3 /
                    (double)(last[STEP_MARK_NS] - first[STEP_MARK_NS]); // a us
    printf("%.4f ms with stamps, %.0f clocks a us; us a layer:\n"
           "%-10s %7s %7s %7s %7s %7s %7s %7s %7s\n",
           ns / 1e6, clocks, "", "address", "others", "gather", "sums", "of data", "outputs",
           "leave", "all");
    double total[7] = {0};
    for (int p = 0; p < STEP_PHASES; p++) {
        double sum[7] = {0}, count = 0;
        for (int b = 0; b < r->job.blocks; b++)
            for (int l = 0; l < layers; l++) {
                int phase = p == STEP_HEAD ? all - 1 : l * STEP_LAYER_PHASES + p;
                const uint64_t *at = host + step_stamps_at(&r->job, b, phase);
                if (at[STEP_MARK_POSTED] < at[STEP_MARK_BEGIN]) // no items
                    continue;
                for (int i = 0; i < 5; i++)
                    sum[i] += (double)(at[i + 1] - at[i]);
                sum[5] += p == STEP_HEAD ? 0 : (double)(at[STEP_MARKS] - at[STEP_MARK_POSTED]);
                sum[6] += (double)at[STEP_MARK_WAITED];
                count++;
            }
        printf("%-10s", names[p]);
        double whole = 0;
        static const int order[] = {0, 1, 2, 3, 6, 4, 5};
        for (int i = 0; i < 7; i++) {
            double us = sum[order[i]] / count / clocks;
            whole += order[i] == 6 ? 0 : us;
            total[i] += p == STEP_HEAD ? 0 : us;
            printf(" %7.2f", us);
        }
        printf(" %7.2f\n", whole);
    }
    printf("%-10s", "a layer");
    for (int i = 0; i < 7; i++)
        printf(" %7.2f", total[i]);
    printf(" %7.2f\n", total[0] + total[1] + total[2] + total[3] + total[5] + total[6]);
    free(host);
}

// How far the graph's logits with fused norms differ from those without.
static double carried_difference(const struct rig *r)
{
    size_t n = (size_t)r->tokens * (size_t)r->shape.vocab;
    float *apart = malloc(n * sizeof *apart), *carried = malloc(n * sizeof *carried);
    rig_reset_residual(r);
    rig_run_kernels(r, RIG_ALL);
    down(apart, r->logits, n * sizeof(float));
    rig_reset_cache((struct rig *)r);
    rig_reset_residual(r);
    rig_run_kernels(r, RIG_ALL | 1 << RIG_CARRY);
    down(carried, r->logits, n * sizeof(float));
    double off = rig_difference(carried, apart, n);
    free(apart);
    free(carried);
    return off;
}

static void print_graph(const struct rig *r, double rate)
{
    const double off = carried_difference(r), apart = parts_ns(r, RIG_ALL);
    const double ns = parts_ns(r, RIG_ALL | 1 << RIG_CARRY);
    printf("%s, context %d, %d tokens, %d layers: read %.3f TB/s; kernel by kernel %.4f ms, %.1f "
           "%% of read; "
           "where products carry %.4f ms, %.1f %%, logits differ by %.1e\n",
           dtype_name(r->type), r->position[0], r->tokens, r->shape.layers, rate / 1e3, apart / 1e6,
           100 * bytes_of(r) / apart / rate, ns / 1e6, 100 * bytes_of(r) / ns / rate, off);
}

static void print_step(struct rig *r, double rate)
{
    double before = difference(r), ns = time_ns(r, NULL), after = difference(r);
    const int other = other_bits(r);
    printf("%s, context %d, %d tokens, %d layers, ring %d of %d bytes: read %.3f TB/s\n",
           dtype_name(r->type), r->position[0], r->tokens, r->shape.layers, r->job.ring,
           r->job.stage_bytes, rate / 1e3);
    printf(
        "%.4f ms, %.1f tok/s, %.1f %% of read; logits differ by %.1e before and %.1e after; %d of "
        "%d runs have other bits; kernel by kernel %.4f ms, where products carry %.4f ms\n",
        ns / 1e6, 1e9 * r->tokens / ns, 100 * bytes_of(r) / ns / rate, before, after, other,
        REPEATS, parts_ns(r, RIG_ALL) / 1e6, parts_ns(r, RIG_ALL | 1 << RIG_CARRY) / 1e6);
}

int main(int argc, char **argv)
{
    struct rig r = rig_of(argc, argv);
    if (gpu_setup(NULL) != 0 || !gpu)
        return 1;
    stamps = cuda_pinned_alloc(gpu, 4 * sizeof *stamps);
    double rate = read_rate();
    rig_make(&r);
    if (r.served)
        print_step(&r, rate);
    else
        print_graph(&r, rate);
    const char *also = argc > 6 ? argv[6] : "";
    if (strcmp(also, "parts") == 0)
        print_parts(&r, 1 << RIG_CARRY);
    else if (strcmp(also, "sweep") == 0 && r.served)
        sweep(&r);
    else if (strcmp(also, "phases") == 0 && r.served)
        phases(&r);
    return 0;
}
