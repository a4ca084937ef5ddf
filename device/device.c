// device.c - finds and opens devices by name, and forwards calls to the kind's own table.
#include "device/ops.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/str.h"
#include "base/words.h"

// ---- words ---------------------------------------------------------------------------------------------

// Whether `word` is the row's word or names one of its numbered devices.
static bool row_has(const struct device_row *row, const char *word)
{
    size_t length = strlen(row->word);
    if (strncmp(word, row->word, length) != 0)
        return false;
    if (word[length] == '\0')
        return true;
    const char *number = word + length + 1;
    return row->numbered && word[length] == ':' && *number &&
           (number[0] != '0' || number[1] == '\0') && // each device has one word
           number[strspn(number, "0123456789")] == '\0' && strlen(word) < DEVICE_NAME_BYTES;
}

static const struct device_row *row_of(const char *word)
{
    size_t count;
    const struct device_row *rows = device_rows(&count);
    for (size_t i = 0; i < count; i++)
        if (row_has(&rows[i], word))
            return &rows[i];
    return NULL;
}

bool device_word_known(const char *word)
{
    return row_of(word) != NULL;
}

enum device_kind device_word_kind(const char *word)
{
    const struct device_row *row = row_of(word);
    return row ? row->kind : DEVICE_KINDS;
}

const char *device_time_source(enum device_kind kind)
{
    return kind == DEVICE_HOST ? "host clock" : "device event";
}

bool device_word_matches(const char *device, const char *word)
{
    size_t length = strlen(word);
    return str_equal(device, word) || (strncmp(device, word, length) == 0 && device[length] == ':');
}

size_t device_words(const char *const **out)
{
    static const char *words[DEVICE_KINDS];
    size_t count;
    const struct device_row *rows = device_rows(&count);
    if (count > DEVICE_KINDS)
        count = DEVICE_KINDS;
    for (size_t i = 0; i < count; i++)
        words[i] = rows[i].word;
    *out = words;
    return count;
}

// ---- listing -------------------------------------------------------------------------------------

static void absent_info(const struct device_row *row, struct device_info *out)
{
    *out = (struct device_info){0};
    snprintf(out->name, sizeof out->name, "%s%s", row->word, row->numbered ? ":0" : "");
    snprintf(out->reason, sizeof out->reason, "%s", row->absent);
}

static size_t list_row(const struct device_row *row, struct device_info *out, size_t max)
{
    size_t count = 0;
    if (row->ops) {
        count = row->ops->list(out, max);
    } else if (max) {
        absent_info(row, out);
        count = 1;
    }
    for (size_t i = 0; i < count; i++)
        out[i].kind = row->kind;
    return count;
}

size_t device_list(struct device_info *out, size_t max)
{
    size_t kinds, count = 0;
    const struct device_row *rows = device_rows(&kinds);
    for (size_t i = 0; i < kinds; i++)
        count += list_row(&rows[i], out + count, max - count);
    return count;
}

static enum status unknown_word(const char *word, struct error *err)
{
    const char *const *words;
    size_t count = device_words(&words);
    char hint[WORDS_HINT_BYTES];
    return FAIL(err, ERR_USAGE, "unknown device '%s'%s", word,
                words_hint(word, words, count, hint, sizeof hint));
}

enum status device_find(const char *word, struct device_info *out, struct error *err)
{
    const struct device_row *row = row_of(word);
    if (!row)
        return unknown_word(word, err);
    struct device_info found[DEVICES_MAX];
    size_t count = list_row(row, found, DEVICES_MAX);
    for (size_t i = 0; i < count; i++)
        if (device_word_matches(found[i].name, word)) {
            *out = found[i];
            return OK;
        }
    // A device that was not found gets the reason why the kind's first device is absent, if it is.
    *out = (struct device_info){.kind = row->kind};
    snprintf(out->name, sizeof out->name, "%s", word);
    snprintf(out->reason, sizeof out->reason, "%s",
             count && !found[0].available ? found[0].reason : "no such device here");
    return OK;
}

struct device_target device_info_target(const struct device_info *info)
{
    return (struct device_target){.where = info->kind, .isa = info->isa};
}

// ---- opening -------------------------------------------------------------------------------------------

enum status device_open(const char *name, const struct device_options *options, struct device **out,
                        struct error *err)
{
    *out = NULL;
    struct device_info info;
    TRY(device_find(name, &info, err));
    if (!info.available)
        return FAIL(err, ERR_UNSUPPORTED, "device %s: %s", info.name, info.reason);
    info.isa &= options->isa;
    const struct device_ops *ops = row_of(info.name)->ops;
    struct device *device = NULL;
    TRY(ops->open(&info, options, &device, err));
    device->ops = ops;
    *out = device;
    return OK;
}

void device_close(struct device *device)
{
    if (device)
        device->ops->close(device);
}

const struct device_info *device_info(const struct device *device)
{
    return &device->info;
}

struct device_target device_target(const struct device *device)
{
    return device_info_target(&device->info);
}

struct pool *device_pool(const struct device *device)
{
    return device->ops->pool ? device->ops->pool(device) : NULL;
}

// ---- clock and waits -----------------------------------------------------------------------------------

uint64_t device_now_ns(struct device *device)
{
    return device->ops->now_ns ? device->ops->now_ns(device) : clock_ns();
}

struct device_clock_tie device_clock_tie(struct device *device)
{
    return device->ops->clock_tie ? device->ops->clock_tie(device) : (struct device_clock_tie){0};
}

uint64_t device_wait_ns(const struct device *device)
{
    return device->ops->wait_ns ? device->ops->wait_ns(device) : DEVICE_WAIT_UNKNOWN;
}

// ---- memory --------------------------------------------------------------------------------------------

struct device_memory device_memory(const struct device *device)
{
    return device->ops->memory(device);
}

void *device_alloc(struct device *device, size_t bytes)
{
    return device->ops->alloc(device, bytes);
}

void device_free(struct device *device, void *memory)
{
    if (memory)
        device->ops->free(device, memory);
}

enum status device_copy_in(struct device *device, void *to, const void *from, size_t bytes,
                           struct error *err)
{
    return device->ops->copy_in(device, to, from, bytes, err);
}

enum status device_copy_out(struct device *device, void *to, const void *from, size_t bytes,
                            struct error *err)
{
    return device->ops->copy_out(device, to, from, bytes, err);
}

// ---- queues ----------------------------------------------------------------------------------------------

enum status device_queue_create(struct device *device, struct device_queue **out, struct error *err)
{
    *out = NULL;
    struct device_queue *queue = NULL;
    TRY(device->ops->queue_create(device, &queue, err));
    *queue = (struct device_queue){.ops = device->ops, .device = device};
    *out = queue;
    return OK;
}

void device_queue_destroy(struct device_queue *queue)
{
    if (queue)
        queue->ops->queue_destroy(queue);
}

enum status device_queue_submit(struct device_queue *queue, device_launch *launch, void *arg,
                                struct error *err)
{
    int code = launch(queue->ops->queue_native(queue), arg);
    return code ? device_launch_failed(queue->device, code, NULL, err) : OK;
}

enum status device_launch_failed(const struct device *device, int code, const char *text,
                                 struct error *err)
{
    return FAIL(err, device->ops->no_memory(code) ? ERR_NOMEM : ERR_IO,
                "device %s: a kernel could not be launched: %s", device->info.name,
                text ? text : device->ops->failure(code));
}

enum status device_queue_wait(struct device_queue *queue, struct error *err)
{
    return queue->ops->queue_wait ? queue->ops->queue_wait(queue, err) : OK;
}

void *device_queue_native(const struct device_queue *queue)
{
    return queue->ops->queue_native(queue);
}

// ---- vital signs and ceilings ----------------------------------------------------------------------------

struct device_vitals device_vitals(struct device *device)
{
    if (device->ops->vitals)
        return device->ops->vitals(device);
    return (struct device_vitals){
        .clock_hz = NAN, .memory_clock_hz = NAN, .power_w = NAN, .temperature_c = NAN};
}

enum status device_energy(struct device *device, struct device_energy *out, struct error *err)
{
    if (device->ops->energy)
        return device->ops->energy(device, out, err);
    return FAIL(err, ERR_UNSUPPORTED, "device %s: nothing counts its energy", device->info.name);
}

enum status device_trace_check(struct device *device, struct error *err)
{
    if (device->ops->trace_check)
        return device->ops->trace_check(device, err);
    return FAIL(err, ERR_UNSUPPORTED, "device %s: nothing traces its work", device->info.name);
}

enum status device_trace_begin(struct device *device, struct device_trace **out, struct error *err)
{
    *out = NULL;
    TRY(device_trace_check(device, err));
    TRY(device->ops->trace_begin(device, out, err));
    (*out)->ops = device->ops;
    return OK;
}

void device_trace_mark(struct device_trace *trace, uint32_t label)
{
    trace->ops->trace_mark(trace, label);
}

enum status device_trace_end(struct device_trace *trace, const struct device_activity **out,
                             size_t *count, struct error *err)
{
    return trace->ops->trace_end(trace, out, count, err);
}

void device_trace_destroy(struct device_trace *trace)
{
    if (trace)
        trace->ops->trace_destroy(trace);
}

enum status device_counters_check(struct device *device, struct error *err)
{
    if (device->ops->counters_check)
        return device->ops->counters_check(device, err);
    return FAIL(err, ERR_UNSUPPORTED, "device %s: it has no counters of its own",
                device->info.name);
}

enum status device_counters_open(struct device *device, struct device_counters **out,
                                 struct error *err)
{
    *out = NULL;
    TRY(device_counters_check(device, err));
    TRY(device->ops->counters_open(device, out, err));
    (*out)->ops = device->ops;
    return OK;
}

const char *device_counters_reason(const struct device_counters *counters)
{
    return counters->ops->counters_reason(counters);
}

const char *device_counters_source(const struct device_counters *counters)
{
    return counters->ops->counters_source;
}

enum status device_counters_begin(struct device_counters *counters, struct error *err)
{
    return counters->ops->counters_begin(counters, err);
}

enum status device_counters_end(struct device_counters *counters, bool *again, struct error *err)
{
    return counters->ops->counters_end(counters, again, err);
}

void device_counters_read(const struct device_counters *counters, struct device_counts *out)
{
    counters->ops->counters_read(counters, out);
}

void device_counters_close(struct device_counters *counters)
{
    if (counters)
        counters->ops->counters_close(counters);
}

size_t device_probes(const struct device *device, struct device_probe *out, size_t max)
{
    return device->ops->probes ? device->ops->probes(device, out, max) : 0;
}

enum status device_probe_run(struct device *device, size_t index, double *value, bool *disturbed,
                             struct error *err)
{
    if (!device->ops->probe_run)
        return FAIL(err, ERR_INTERNAL, "device %s has no probes", device->info.name);
    return device->ops->probe_run(device, index, value, disturbed, err);
}
