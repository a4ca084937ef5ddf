// subject.c - prepares a cell: its memory in the engine, its prompts, its canary.
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "bench/roof/roof.h"
#include "bench/worker/measure.h"
#include "bench/worker/prompt.h"

static enum status subject_arrays(struct subject *s, struct error *err)
{
    size_t batch = (size_t)s->cell->batch, tokens = 0;
    TRY(size_mul(batch, (size_t)s->cell->gen, &tokens, "generated tokens", err));
    s->ids = calloc(tokens, sizeof *s->ids);
    s->token_ns = calloc(tokens, sizeof *s->token_ns);
    s->spans = calloc(batch, sizeof *s->spans);
    s->looks = calloc((size_t)s->cell->gen, sizeof *s->looks);
    s->state_room = (size_t)s->cell->gen + 2; // before and after, and at most one per token
    s->states = calloc(s->state_room, sizeof *s->states);
    s->state_scratch = calloc(s->state_room, sizeof *s->state_scratch);
    s->waits = calloc(2, sizeof *s->waits);
    if (!s->ids || !s->token_ns || !s->spans || !s->looks || !s->states || !s->state_scratch ||
        !s->waits)
        return FAIL(err, ERR_NOMEM, "times of %zu tokens", tokens);
    return OK;
}

// Creates the canary. The bytes that a decode step touches decide which level it probes.
static enum status subject_canary(struct subject *s, struct device *device,
                                  const struct bench_engine_facts *facts, struct error *err)
{
    struct phase_work work;
    work_decode_step(&(struct work_input){.config = facts->config,
                                          .scheme = facts->scheme,
                                          .kv = s->cell->kv,
                                          .where = device_info(device)->kind,
                                          .batch = s->cell->batch,
                                          .prompt = s->prompt_tokens,
                                          .chunk = s->cell->chunk,
                                          .gen = s->cell->gen},
                     &work);
    size_t caches = device_info(device)->cache_bytes;
    s->streaming = caches > 0 && work.working_set_bytes > (double)STREAMING_CACHES * (double)caches;
    return canary_create(device, (size_t)work.working_set_bytes, &s->canary, err);
}

enum status worker_subject_create(const struct job_cell *cell, const struct bench_engine *engine,
                                  void *model, struct device *device, struct wire *wire,
                                  struct subject *out, double *tokenize_ns, struct error *err)
{
    struct bench_engine_facts facts;
    engine->describe(model, &facts);
    *out = (struct subject){
        .cell = cell,
        .engine = engine,
        .where = device_info(device)->kind,
        .wire = wire,
        .probes = {.bandwidth = canary_bandwidth,
                   .compute_ns = canary_compute_ns,
                   .state = canary_state,
                   .vitals = canary_vitals},
        .prompt_tokens = cell->context - cell->gen,
    };
    if (worker_prompt_make(cell, facts.tokenizer, facts.config->vocab, &out->prompt, tokenize_ns,
                           err) == OK &&
        subject_arrays(out, err) == OK && subject_canary(out, device, &facts, err) == OK &&
        engine->open(model, cell, &out->run, err) == OK) {
        out->clock = (struct timeline_clock){engine->clock_ns, engine->wait_ns, out->run};
        return OK;
    }
    worker_subject_fini(out);
    return err->code;
}

void worker_subject_fini(struct subject *s)
{
    s->engine->close(s->run);
    canary_destroy(s->canary);
    free(s->prompt);
    free(s->ids);
    free(s->token_ns);
    free(s->spans);
    free(s->looks);
    free(s->states);
    free(s->state_scratch);
    free(s->waits);
    memset(s, 0, sizeof *s);
}
