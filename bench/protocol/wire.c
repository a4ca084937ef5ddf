// wire.c - the worker's side: writes events to the runner, one JSON object per line.
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/protocol/protocol.h"

enum { PROGRESS_EVERY_NS = 100 * 1000 * 1000 };

json_t *wire_event(const char *name)
{
    return json_pack("{ss}", "event", name);
}

json_t *wire_loaded(const struct wire_loaded *loaded, json_t *metrics)
{
    const char *stored = loaded->stored && loaded->stored[0] ? loaded->stored : NULL;
    return json_pack("{ss ss ss ss ss? so}", "event", "loaded", "engine", loaded->engine,
                     "engine_version", loaded->engine_version, "arithmetic", loaded->arithmetic,
                     "stored", stored, "metrics", metrics);
}

enum status wire_send(struct wire *wire, json_t *event, struct error *err)
{
    char *text = event ? json_dumps(event, JSON_COMPACT) : NULL;
    json_decref(event);
    if (!text)
        return FAIL(err, ERR_NOMEM, "worker: an event's text");
    size_t length = strlen(text), sent = 0;
    int failed = 0;
    text[length++] = '\n'; // replaces the NUL; the length is known
    while (sent < length) {
        ssize_t wrote = write(wire->fd, text + sent, length - sent);
        if (wrote < 0 && errno != EINTR) {
            failed = errno;
            break;
        }
        sent += wrote > 0 ? (size_t)wrote : 0;
    }
    free(text);
    return failed ? FAIL_OS(err, failed, "worker: cannot write to the runner") : OK;
}

void wire_metric(json_t *metrics, const char *name, double value, const char *phase, const char *op,
                 const char *source)
{
    json_t *number = isfinite(value) ? json_real(value) : json_null();
    json_array_append_new(metrics, json_pack("{ss so ss* ss* ss}", "name", name, "value", number,
                                             "phase", phase, "op", op, "source", source));
}

void wire_progress(struct wire *wire, const char *phase, int cell, int repetition, double done)
{
    uint64_t now = clock_ns();
    if (now - wire->last_progress_ns < PROGRESS_EVERY_NS)
        return;
    wire->last_progress_ns = now;
    json_t *event = json_pack("{ss ss sf}", "event", "progress", "phase", phase, "done", done);
    if (cell >= 0)
        json_object_set_new(event, "cell", json_integer(cell));
    if (repetition > 0)
        json_object_set_new(event, "repetition", json_integer(repetition));
    struct error ignored = {
        0}; // progress is only for display: the next real event will fail as well
    wire_send(wire, event, &ignored);
}
