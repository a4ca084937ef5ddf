// bench_cases.c - the shapes at which NVIDIA kernels are timed, with their memory and launches.
//
// Shapes are those of llama-2-7b and llama-3.1-8b. Weights and caches are copied until the L2 holds at most a quarter
// of them. The vectors of a decode step stay in the L2, as they do in a real step.
#include "kernels/cuda/bench.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/rng.h"

// Copies of weights that are read in a circle together fill this many L2 caches. An L2 that keeps what it has serves a
// quarter of them at most. The host has six caches, but its copies need no transfer to a device.
enum { COLD_CACHES = 4, BLOCK_BYTES = 1 << 22, HEAD_DIM = 128, HEADS = 32 };

// The meaning depends on the operation. Products: m tokens, n rows, k inputs. Operations on rows: m rows of n.
// Attention: m tokens, n KV heads, k positions; m = 2048 is the end of one prompt. Rotation: m tokens, n KV heads.
// Sampling: m rows, n logits. The end of a step: m rows.
static const struct shape {
    enum kernel_op op;
    int m, n, k;
} shapes[] = {
    {KOP_LINEAR, 1, 4096, 4096},     {KOP_LINEAR, 1, 22016, 4096},  {KOP_LINEAR, 1, 4096, 11008},
    {KOP_LINEAR, 8, 22016, 4096},    {KOP_LINEAR, 16, 22016, 4096}, {KOP_LINEAR, 32, 22016, 4096},
    {KOP_LINEAR, 64, 22016, 4096},   {KOP_LINEAR, 512, 4096, 4096}, {KOP_LINEAR, 2048, 22016, 4096},
    {KOP_ATTENTION, 1, 32, 512},     {KOP_ATTENTION, 1, 32, 8192},  {KOP_ATTENTION, 1, 8, 8192},
    {KOP_ATTENTION, 32, 8, 2048},    {KOP_ATTENTION, 32, 8, 8192},  {KOP_ATTENTION, 2048, 32, 2048},
    {KOP_ATTENTION, 2048, 8, 16384}, {KOP_NORM, 1, 4096, 0},        {KOP_NORM, 64, 4096, 0},
    {KOP_NORM, 2048, 4096, 0},       {KOP_ACTIVATE, 1, 11008, 0},   {KOP_ACTIVATE, 64, 11008, 0},
    {KOP_ACTIVATE, 2048, 11008, 0},  {KOP_ADD, 1, 4096, 0},         {KOP_ADD, 2048, 4096, 0},
    {KOP_SOFTCAP, 1, 32000, 0},      {KOP_EMBED, 1, 4096, 0},       {KOP_EMBED, 2048, 4096, 0},
    {KOP_ROTATE, 1, 8, 0},           {KOP_ROTATE, 2048, 8, 0},      {KOP_SAMPLE, 1, 32000, 0},
    {KOP_SAMPLE, 64, 128256, 0},     {KOP_ADVANCE, 64, 1, 0},       {KOP_STAMP, 1, 1, 0},
};

// Random bytes whose 16-bit halves are finite and of moderate size in every type.
static void *random_memory(struct cuda_bench_case *c, size_t bytes)
{
    struct error err = {0};
    struct device *device = c->bench->device;
    unsigned char *memory = c->buffers < CUDA_BENCH_BUFFERS ? device_alloc(device, bytes) : NULL;
    uint32_t *block = malloc(BLOCK_BYTES);
    c->no_memory |= !memory || !block;
    if (memory)
        c->buffer[c->buffers++] = memory;
    for (size_t i = 0; block && i < BLOCK_BYTES / 4; i++)
        block[i] = ((uint32_t)rng_hash(i + bytes) & 0x83ff83ffu) | 0x3c003c00u;
    for (size_t at = 0; !c->no_memory && at < bytes; at += BLOCK_BYTES)
        c->no_memory |=
            device_copy_in(device, memory + at, block,
                           bytes - at < BLOCK_BYTES ? bytes - at : BLOCK_BYTES, &err) != OK;
    free(block);
    return memory;
}

// Copies host memory to the device and frees it. NULL: out of memory.
static void *memory_from(struct cuda_bench_case *c, void *from, size_t bytes)
{
    struct error err = {0};
    void *memory = random_memory(c, bytes);
    c->no_memory |= !from;
    if (!c->no_memory)
        c->no_memory |= device_copy_in(c->bench->device, memory, from, bytes, &err) != OK;
    free(from);
    return memory;
}

// Makes copies of `bytes` bytes of weights or of a cache. Launch i reads copy i.
static void make_copies(struct cuda_bench_case *c, size_t bytes)
{
    size_t enough = COLD_CACHES * c->bench->cache_bytes / bytes + 1;
    c->copies = enough < CUDA_BENCH_COPIES ? (int)enough : CUDA_BENCH_COPIES;
    c->copy_bytes = (bytes + 255) / 256 * 256;
    c->first = random_memory(c, (size_t)c->copies * c->copy_bytes);
}

static size_t type_bytes(enum dtype type)
{
    return (size_t)cuda_element_bytes(type);
}

// ---- jobs --------------------------------------------------------------------------------------------------

static void make_linear(struct cuda_bench_case *c, const struct shape *s)
{
    struct cuda_linear *job = &c->job.linear;
    size_t tokens = (size_t)s->m;
    cuda_layout_plan(c->kernel->w, s->n, s->k, QUANT_GROUP, &job->layout); // i8g: groups of 32
    job->tokens = s->m;
    job->multiprocessors = device_info(c->bench->device)->units;
    job->ldx = (size_t)cuda_padded_cols(s->k);
    job->ldy = (size_t)s->n;
    size_t w_bytes = cuda_layout_bytes(&job->layout);
    size_t x_bytes = (size_t)cuda_padded_tokens(s->m) * job->ldx * type_bytes(c->kernel->x);
    size_t y_bytes = tokens * job->ldy * 4, scratch = cuda_partial_bytes(&job->layout, s->m);
    job->x = random_memory(c, x_bytes);
    job->x_scale = random_memory(c, tokens * 4);
    job->y = random_memory(c, y_bytes);
    job->partial = memory_from(c, calloc(1, scratch), scratch); // counters begin as zeros
    make_copies(c, w_bytes);
    c->bytes = (double)(w_bytes + x_bytes + y_bytes);
    c->flop = 2.0 * s->m * s->n * s->k;
    snprintf(c->text, sizeof c->text, "m=%d n=%d k=%d", s->m, s->n, s->k);
}

static void make_attention(struct cuda_bench_case *c, const struct shape *s)
{
    struct cuda_attention *job = &c->job.attention;
    bool prefill = s->m == 2048;
    size_t sequences = prefill ? 1 : (size_t)s->m, rows = (size_t)s->m;
    size_t plain = ((size_t)(s->k * HEAD_DIM) * type_bytes(c->kernel->w) + 63) / 64 * 64;
    size_t scales = dtype_is_quantized(c->kernel->w) ? (size_t)s->k * 4 : 0;
    struct cuda_token *tokens = calloc(rows, sizeof *tokens);
    for (int i = 0; tokens && i < s->m; i++)
        tokens[i] =
            prefill ? (struct cuda_token){0, s->k - s->m + i} : (struct cuda_token){i, s->k - 1};
    *job = (struct cuda_attention){.rows = s->m,
                                   .heads = HEADS,
                                   .most_positions = s->k,
                                   .multiprocessors = device_info(c->bench->device)->units,
                                   .single = !prefill,
                                   .ld = (size_t)(HEADS + 2 * s->n) * HEAD_DIM,
                                   .ldo = (size_t)HEADS * HEAD_DIM,
                                   .scale = 0.08f};
    job->kv = (struct cuda_kv){.block_bytes = plain + scales,
                               .scales_offset = scales ? plain : 0,
                               .kv_heads = s->n,
                               .head_dim = HEAD_DIM,
                               .type = c->kernel->w};
    job->qkv = random_memory(c, rows * job->ld * 4);
    job->out = random_memory(c, rows * job->ldo * 4);
    if (!prefill) { // counters begin as zeros
        size_t bytes = cuda_attention_bytes(s->m, HEADS, s->n, HEAD_DIM, s->k);
        job->partial = memory_from(c, calloc(1, bytes), bytes);
    }
    job->tokens = memory_from(c, tokens, rows * sizeof *tokens);
    size_t cache = sequences * (size_t)s->n * 2 * job->kv.block_bytes;
    make_copies(c, cache);
    double seen =
        prefill ? (double)s->m * (s->k - s->m) + s->m * (s->m + 1.0) / 2 : (double)s->m * s->k;
    c->bytes = (double)cache + 2.0 * (double)rows * HEADS * HEAD_DIM * 4;
    c->flop = 4.0 * HEADS * HEAD_DIM * seen;
    snprintf(c->text, sizeof c->text, "%s=%d heads=%d kv_heads=%d positions=%d",
             prefill ? "tokens" : "batch", s->m, HEADS, s->n, s->k);
}

static void make_rotate(struct cuda_bench_case *c, const struct shape *s)
{
    struct cuda_rotate *job = &c->job.rotate;
    size_t rows = (size_t)s->m;
    struct cuda_token *tokens = calloc(rows, sizeof *tokens);
    for (int i = 0; tokens && i < s->m; i++)
        tokens[i] = (struct cuda_token){0, i};
    *job = (struct cuda_rotate){.rows = s->m,
                                .heads = HEADS,
                                .rotary = HEAD_DIM,
                                .ld = (size_t)(HEADS + 2 * s->n) * HEAD_DIM,
                                .eps = 1e-5f};
    job->kv = (struct cuda_kv){.block_bytes = rows * HEAD_DIM * 2,
                               .kv_heads = s->n,
                               .head_dim = HEAD_DIM,
                               .type = DT_BF16};
    job->kv.layer = random_memory(c, (size_t)s->n * 2 * job->kv.block_bytes);
    job->qkv = random_memory(c, rows * job->ld * 4);
    job->cos = random_memory(c, rows * HEAD_DIM / 2 * 4);
    job->sin = random_memory(c, rows * HEAD_DIM / 2 * 4);
    job->tokens = memory_from(c, tokens, rows * sizeof *tokens);
    c->bytes = (double)rows * (2.0 * (double)job->ld * 4 + 2.0 * s->n * HEAD_DIM * 2);
    snprintf(c->text, sizeof c->text, "tokens=%d heads=%d kv_heads=%d", s->m, HEADS, s->n);
}

static void make_sample(struct cuda_bench_case *c, const struct shape *s)
{
    struct cuda_sample *job = &c->job.sample;
    size_t rows = (size_t)s->m, floats = rows * (size_t)s->n;
    int32_t *sequence = calloc(rows, sizeof *sequence);
    for (int i = 0; sequence && i < s->m; i++)
        sequence[i] = i;
    *job = (struct cuda_sample){.rows = s->m, .vocab = s->n, .temperature = 0, .top_p = 1};
    job->logits = random_memory(c, floats * 4);
    job->streams = random_memory(c, rows * 8);
    job->id = random_memory(c, rows * 4);
    job->nonfinite = random_memory(c, 8);
    job->scratch = random_memory(c, floats * 8);
    job->sequence = memory_from(c, sequence, rows * sizeof *sequence);
    c->bytes = (double)floats * 4;
    snprintf(c->text, sizeof c->text, "rows=%d vocab=%d greedy", s->m, s->n);
}

// The ring lies in device memory here, not in host memory, so that the launch is timed without the transfer to the
// host.
static void make_advance(struct cuda_bench_case *c, const struct shape *s)
{
    enum { SLOTS = 8 };
    struct cuda_advance *job = &c->job.advance;
    size_t rows = (size_t)s->m;
    *job = (struct cuda_advance){.rows = s->m, .next = s->m, .slots = SLOTS, .ld = rows};
    job->drawn = random_memory(c, rows * sizeof *job->drawn);
    job->ids = random_memory(c, rows * sizeof *job->ids);
    job->tokens = random_memory(c, rows * sizeof *job->tokens);
    job->stamps = random_memory(c, 2 * sizeof *job->stamps);
    job->nonfinite = random_memory(c, sizeof *job->nonfinite);
    job->number = random_memory(c, sizeof *job->number);
    job->ring = random_memory(c, SLOTS * sizeof *job->ring);
    job->ring_ids = random_memory(c, SLOTS * rows * sizeof *job->ring_ids);
    c->bytes = (double)rows * (3 * sizeof(int32_t) + 2 * sizeof(struct cuda_token));
    snprintf(c->text, sizeof c->text, "rows=%d", s->m);
}

// Prepares one operation over m rows of n.
static void make_rows(struct cuda_bench_case *c, const struct shape *s)
{
    size_t rows = (size_t)s->m, n = (size_t)s->n, floats = rows * n;
    size_t to = type_bytes(c->kernel->x), padded = (size_t)cuda_padded_cols(s->n);
    int32_t *index = calloc(rows, sizeof *index);
    for (int i = 0; index && i < s->m; i++)
        index[i] = s->m - 1 - i;
    float *x = random_memory(c, 2 * floats * 4), *scale = random_memory(c, rows * 4);
    void *out = random_memory(c, (size_t)cuda_padded_tokens(s->m) * padded * 4);
    enum cuda_order order =
        cuda_order_of(c->kernel->x, c->kernel->x); // the order for plain weights of that type
    const int32_t *picks = memory_from(c, index, rows * sizeof *index);
    double moved = 3 * 4; // bytes per element
    switch (c->kernel->op) {
    case KOP_NORM:
        c->job.norm = (struct cuda_norm){.x = x,
                                         .weight = x,
                                         .out = out,
                                         .scale = scale,
                                         .order = order,
                                         .rows = s->m,
                                         .n = s->n,
                                         .padded = (int)padded,
                                         .ldx = n,
                                         .ldo = padded,
                                         .eps = 1e-5f};
        moved = 4 + (double)to;
        break;
    case KOP_ACTIVATE:
        c->job.activate = (struct cuda_activate){.op = KOP_SWIGLU,
                                                 .gate = x,
                                                 .up = x + n,
                                                 .out = out,
                                                 .scale = scale,
                                                 .order = order,
                                                 .rows = s->m,
                                                 .n = s->n,
                                                 .padded = (int)padded,
                                                 .ldx = 2 * n,
                                                 .ldo = padded};
        moved = 8 + (double)to;
        break;
    case KOP_ADD:
        c->job.add =
            (struct cuda_add){.x = out, .y = x, .rows = s->m, .n = s->n, .ldx = n, .ldy = n};
        break;
    case KOP_SOFTCAP:
        c->job.softcap = (struct cuda_softcap){.y = x, .n = floats, .cap = 30};
        moved = 8;
        break;
    default: // KOP_EMBED
        c->job.embed = (struct cuda_embed){
            .x = out, .table = x, .ids = picks, .type = DT_BF16, .rows = s->m, .n = s->n, .ldx = n};
        moved = 6;
        break;
    }
    c->bytes = (double)floats * moved;
    snprintf(c->text, sizeof c->text, "rows=%d n=%d", s->m, s->n);
}

bool cuda_bench_make(struct cuda_bench_case *c, const struct cuda_bench *bench,
                     const struct kernel *kernel, int index)
{
    const struct shape *found = NULL;
    *c = (struct cuda_bench_case){.bench = bench, .kernel = kernel, .copies = 1};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes && !found; i++)
        if (shapes[i].op == kernel->op && index-- == 0)
            found = &shapes[i];
    if (!found)
        return false;
    switch (kernel->op) {
    case KOP_LINEAR:
        make_linear(c, found);
        break;
    case KOP_ATTENTION:
        make_attention(c, found);
        break;
    case KOP_ROTATE:
        make_rotate(c, found);
        break;
    case KOP_SAMPLE:
        make_sample(c, found);
        break;
    case KOP_ADVANCE:
        make_advance(c, found);
        break;
    case KOP_STAMP: // one thread stores a word: the cost of a launch in a graph
        c->job.stamp = random_memory(c, sizeof *c->job.stamp);
        c->bytes = sizeof *c->job.stamp;
        snprintf(c->text, sizeof c->text, "launch gap in a graph");
        break;
    default:
        make_rows(c, found);
        break;
    }
    return true;
}

void cuda_bench_launch(struct cuda_bench_case *c, int launch, void *stream)
{
    const union cuda_fn *fn = &c->kernel->fn.cuda;
    unsigned char *copy = c->first + (size_t)(launch % c->copies) * c->copy_bytes;
    switch (c->kernel->op) {
    case KOP_LINEAR:
        c->job.linear.w = copy;
        fn->linear(&c->job.linear, stream);
        break;
    case KOP_ATTENTION:
        c->job.attention.kv.layer = copy;
        fn->attention(&c->job.attention, stream);
        break;
    case KOP_ROTATE:
        fn->rotate(&c->job.rotate, stream);
        break;
    case KOP_STAMP:
        fn->stamp(c->job.stamp, stream);
        break;
    case KOP_SAMPLE:
        fn->sample(&c->job.sample, stream);
        break;
    case KOP_ADVANCE:
        fn->advance(&c->job.advance, stream);
        break;
    case KOP_NORM:
        fn->norm(&c->job.norm, stream);
        break;
    case KOP_ACTIVATE:
        fn->activate(&c->job.activate, stream);
        break;
    case KOP_ADD:
        fn->add(&c->job.add, stream);
        break;
    case KOP_SOFTCAP:
        fn->softcap(&c->job.softcap, stream);
        break;
    default: // KOP_EMBED
        fn->embed(&c->job.embed, stream);
        break;
    }
}

void cuda_bench_fini(struct cuda_bench_case *c)
{
    for (int i = 0; i < c->buffers; i++)
        device_free(c->bench->device, c->buffer[i]);
    c->buffers = 0;
}
