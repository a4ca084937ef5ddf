// step_plan.c - cuts a decode step for the persistent kernel, and decides which shapes it serves. See step.h.
#include "kernels/cuda/cuda.h"

static int stage_bytes(const struct step_matrix *m)
{
    return m->header_bytes + STEP_WARPS * m->part_bytes;
}

static void plan_matrix(struct step_matrix *m, const struct cuda_layout *l, bool paired)
{
    int cols = step_part_cols(l->type);
    m->rows = l->rows;
    m->cols = l->cols;
    m->tiles = l->tiles;
    m->items = paired ? l->tiles / 2 : l->tiles;
    m->parts = l->units * CUDA_UNIT_COLS / cols;
    m->stages = (m->parts + STEP_WARPS - 1) / STEP_WARPS;
    m->part_bytes = (int)l->unit_bytes * cols / CUDA_UNIT_COLS;
    m->header_bytes = (int)l->header_bytes;
    m->tile_bytes = l->tile_bytes;
    m->chunks = 1;
    m->chunk_stages = m->stages;
}

// A block of the wide form keeps the inputs of one round.
static void cut_matrix(struct step_matrix *m, enum dtype type)
{
    m->chunk_stages = STEP_ROUND_COLS / (STEP_WARPS * step_part_cols(type));
    m->chunks = (m->stages + m->chunk_stages - 1) / m->chunk_stages;
}

static int max_int(int a, int b)
{
    return a > b ? a : b;
}

static void plan_attention(struct cuda_step *job)
{
    int splits = step_wide(job) ? 1 : job->blocks / job->heads;
    int row = step_key_bytes(job) + (step_scaled(job) ? 4 : 0);
    int chunk = STEP_WARPS * 32 / (job->head_dim / 8);
    job->splits = splits < 1 ? 1 : splits > STEP_MOST_SPLITS ? STEP_MOST_SPLITS : splits;
    job->m[STEP_ATTEND].items = job->tokens * job->heads * job->splits;
    job->key_stage = chunk;
    while (2 * job->key_stage * 2 * row <= job->stage_bytes)
        job->key_stage *= 2;
}

// Starts advance from phase to phase, except that of attention, whose items have another size.
static void plan_starts(struct cuda_step *job)
{
    int at = 0;
    job->per_blocks = step_per(job->blocks);
    job->per_splits = step_per(job->splits);
    job->per_heads = step_per(job->heads);
    job->per_group = step_per(job->heads / job->kv_heads);
    for (int p = 0; p < STEP_LAYER_PHASES; p++) {
        job->start[p] = at % job->blocks;
        at += p == STEP_ATTEND ? 0 : job->m[p].items;
    }
    job->rotation = at % job->blocks;
    job->start[STEP_HEAD] = 0;
}

static uint32_t rounds_words(const struct cuda_step *job, int phase, int words)
{
    int rounds = (job->m[phase].items + job->blocks - 1) / job->blocks;
    return (uint32_t)(rounds * job->blocks * words);
}

static void plan_exchange(struct cuda_step *job)
{
    uint32_t at = 0;
    for (int p = 0; p < STEP_LAYER_PHASES; p++) {
        int words = p == STEP_ATTEND    ? step_split_words(job)
                    : p == STEP_GATE_UP ? job->tokens * CUDA_TILE_ROWS / 2
                                        : job->tokens * CUDA_TILE_ROWS;
        job->slots[p] = at;
        at += rounds_words(job, p, words);
        job->rests[p] = at;
        if (p == STEP_OUT || p == STEP_DOWN)
            at += rounds_words(job, p, words);
    }
    job->counters = at;
}

// All offsets are multiples of 16 bytes, because rows have a multiple of 16 elements. Rows have a place for every token
// of the context.
static void plan_wide_exchange(struct cuda_step *job)
{
    const int cols[STEP_LAYER_PHASES] = {job->m[STEP_QKV].rows, job->heads * job->head_dim,
                                         job->width, job->ff, job->width};
    const uint32_t tokens = STEP_MOST_TOKENS;
    uint32_t at = 0;
    for (int p = 0; p < STEP_LAYER_PHASES; p++) {
        job->slots[p] = at;
        at += tokens * (uint32_t)(p == STEP_QKV ? (cols[p] + 3) / 4 * 4 : cols[p] / 2);
        job->rests[p] = at;
        at += p == STEP_QKV ? 0 : tokens * (uint32_t)(cols[p] / CUDA_TILE_ROWS) * 2;
    }
    job->residual = at;
    job->counters = at + tokens * (uint32_t)job->width;
}

size_t cuda_step_exchange_bytes(const struct cuda_step *job)
{
    return ((size_t)job->counters + 32 + (size_t)job->blocks) * sizeof(uint32_t);
}

// Bytes of a block's shared memory besides the ring, which include struct step_space of step_ring.cuh.
static int fixed_bytes(const struct cuda_step *job)
{
    int most = 0;
    if (step_wide(job))
        return STEP_MOST_TOKENS *
                   max_int(step_wide_row_bytes(job->type), step_wide_row_bytes(job->head_type)) +
               STEP_WIDE_SPACE_BYTES;
    for (int p = 0; p < STEP_PHASES; p++)
        if (p != STEP_ATTEND)
            most = max_int(
                most, job->m[p].parts *
                          step_input_bytes(p == STEP_HEAD ? job->head_type : job->type, false));
    return job->most_tokens * most + STEP_SPACE_BYTES;
}

// A block adds up the chunks of two tiles at most, and gathers inputs of one chunk once.
static const char *wide_refusal(const struct cuda_step *job)
{
    if (job->type == DT_F16)
        return "f16 weights with more than 4 tokens";
    for (int p = 0; p < STEP_PHASES; p++) {
        if (p == STEP_ATTEND || job->m[p].chunks == 1)
            continue;
        if (p != STEP_DOWN)
            return "more than 4096 inputs with more than 4 tokens";
        if (job->m[p].items > 2 * job->blocks)
            return "down of more than 4096 inputs with more than 4 tokens on so few "
                   "multiprocessors";
    }
    return NULL;
}

static const char *refusal(const struct cuda_step *job, const struct cuda_layout *layouts)
{
    int dims = job->head_dim / 8;
    if (job->layers > STEP_MOST_LAYERS)
        return "more than 255 layers";
    if (job->blocks > STEP_MOST_BLOCKS)
        return "a device of more than 256 multiprocessors";
    if (job->tokens > job->most_tokens || job->most_tokens > STEP_MOST_TOKENS)
        return "more tokens than 8";
    if (job->head_dim % 8 || (dims & (dims - 1)) || dims < 2 || job->head_dim > STEP_MOST_HEAD_DIM)
        return "heads of other than 16, 32, 64 or 128 dimensions";
    if (job->heads % job->kv_heads || job->rotary % 2)
        return "heads that do not divide into groups";
    if (job->width % 16 || job->ff % 16 || job->heads * job->head_dim % 16)
        return "a width or feed-forward that is no multiple of 16";
    if (job->width != layouts[STEP_QKV].cols || job->ff * 2 != layouts[STEP_GATE_UP].rows ||
        job->ff != layouts[STEP_DOWN].cols)
        return "a feed-forward without a gate";
    return NULL;
}

bool cuda_step_plan(struct cuda_step *job, const struct cuda_layout layouts[STEP_PHASES],
                    const char **why)
{
    *why = refusal(job, layouts);
    if (*why)
        return false;
    job->wide = job->wide || job->most_tokens > STEP_FEW_TOKENS;
    job->stage_bytes = 0;
    for (int p = 0; p < STEP_PHASES; p++) {
        if (p == STEP_ATTEND)
            continue;
        plan_matrix(&job->m[p], &layouts[p], p == STEP_GATE_UP);
        if (step_wide(job))
            cut_matrix(&job->m[p], layouts[p].type);
        job->stage_bytes = max_int(job->stage_bytes, stage_bytes(&job->m[p]));
    }
    *why = step_wide(job) ? wide_refusal(job) : NULL;
    if (*why)
        return false;
    job->stage_bytes = (job->stage_bytes + 127) / 128 * 128;
    plan_attention(job);
    plan_starts(job);
    if (step_wide(job))
        plan_wide_exchange(job);
    else
        plan_exchange(job);
    int fixed = fixed_bytes(job);
    job->ring = (STEP_SHARED_BYTES - fixed) / job->stage_bytes;
    job->ring = job->ring > STEP_MOST_STAGES ? STEP_MOST_STAGES : job->ring;
    job->shared_bytes = fixed + job->ring * job->stage_bytes;
    if (job->ring < STEP_LEAST_STAGES) {
        *why = "activations that leave no shared memory for a ring";
        return false;
    }
    job->ahead = 1;
    job->inside = 2;
    job->far = 4;
    job->pace = 2000;
    return true;
}
