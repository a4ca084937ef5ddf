// cuda_counters.c - counts what a GPU does, by CUPTI's range profiler.
//
// A range covers all work between begin and end, and the caller replays it until every pass of every set was counted
// (cuda_counters.h). Known work is counted first: a row that misses it is refused by name. Afterwards the profiler is
// closed.
#include "device/cuda_counters.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const double tolerance = 0.05; // of a count of known work

struct cuda_counters {
    struct device_counters counters;
    struct cuda_device *cuda;
    const struct cuda_profiler *profiler;
    struct counter_choice choice;
    uint8_t *availability;
    void *subscriber; // to CUPTI's callbacks, none of which is enabled; NULL: none
    bool initialized;
    int set;      // that is being counted
    void *ranges; // the range profiler of that set; NULL between sets
    uint8_t *data;
    size_t data_bytes;
    double value[COUNTER_ROWS];
};

static struct cuda_counters *counters_of(struct device_counters *counters)
{
    return (struct cuda_counters *)(void *)counters;
}

static enum status check(const struct cuda_counters *c, int result, const char *what,
                         struct error *err)
{
    return cuda_counter_check(&c->choice, result, what, err);
}

// ---- opening ---------------------------------------------------------------------------------------------

static enum status check_support(const struct cuda_counters *c, struct error *err)
{
    struct profiler_supported s = {PROFILER_HEAD(profiler_supported, api),
                                   .device = c->cuda->ordinal};
    TRY(check(c, c->profiler->ProfilerDeviceSupported(&s), "whether its counters can be read",
              err));
    if (s.all == PROFILER_SUPPORTED)
        return OK;
    const char *why =
        s.virtual_gpu == PROFILER_DISABLED
            ? "the virtual GPU's host does not permit it: let its administrator enable profiling"
        : s.virtual_gpu == PROFILER_UNSUPPORTED  ? "a virtual GPU has none: use a whole GPU"
        : s.confidential == PROFILER_UNSUPPORTED ? "confidential computing forbids it"
        : s.wsl == PROFILER_UNSUPPORTED          ? "not under WSL: use Linux itself"
        : s.sli == PROFILER_UNSUPPORTED          ? "not with SLI: turn it off"
        : s.mining == PROFILER_UNSUPPORTED       ? "a mining processor has none"
        : s.architecture == PROFILER_UNSUPPORTED ? "not before compute capability 7.5"
                                                 : "CUPTI gives no reason";
    return FAIL(err, ERR_UNSUPPORTED, "device %s: its counters cannot be read: %s",
                c->cuda->device.info.name, why);
}

static enum status read_chip(struct cuda_counters *c, struct error *err)
{
    struct profiler_chip chip = {PROFILER_HEAD(profiler_chip, name),
                                 .device = (size_t)c->cuda->ordinal};
    TRY(check(c, c->profiler->DeviceGetChipName(&chip), "the name of its chip", err));
    c->choice.chip = chip.name;
    return OK;
}

static enum status read_availability(struct cuda_counters *c, struct error *err)
{
    const char *what = "which counters it has";
    struct profiler_availability p = {PROFILER_HEAD(profiler_availability, image),
                                      .context = c->cuda->context};
    TRY(check(c, c->profiler->ProfilerGetCounterAvailability(&p), what, err));
    c->choice.availability = c->availability = p.image = malloc(p.bytes ? p.bytes : 1);
    if (!p.image)
        return FAIL(err, ERR_NOMEM, "device %s: no memory for its counters",
                    c->cuda->device.info.name);
    return check(c, c->profiler->ProfilerGetCounterAvailability(&p), what, err);
}

enum status cuda_counters_check(struct device *device, struct error *err)
{
    char reason[256];
    if (cuda_cupti_get(reason, sizeof reason) && cuda_profiler_get(reason, sizeof reason))
        return OK;
    return FAIL(err, ERR_UNSUPPORTED, "device %s: %s", device->info.name, reason);
}

// ---- passes ----------------------------------------------------------------------------------------------

static void close_ranges(struct cuda_counters *c)
{
    struct profiler_range p = {PROFILER_HEAD(profiler_range, profiler), .profiler = c->ranges};
    if (c->ranges)
        c->profiler->RangeProfilerDisable(&p);
    c->ranges = NULL;
}

static enum status prepare_data(struct cuda_counters *c, const struct counter_set *set,
                                struct error *err)
{
    struct profiler_data_size size = {PROFILER_HEAD(profiler_data_size, bytes),
                                      .profiler = c->ranges,
                                      .names = set->names,
                                      .count = (size_t)set->count,
                                      .ranges = 1,
                                      .nodes = 1};
    TRY(check(c, c->profiler->RangeProfilerGetCounterDataSize(&size), "the room of counts", err));
    free(c->data);
    c->data_bytes = size.bytes;
    c->data = malloc(size.bytes ? size.bytes : 1);
    if (!c->data)
        return FAIL(err, ERR_NOMEM, "device %s: no memory for its counters",
                    c->cuda->device.info.name);
    struct profiler_data data = {PROFILER_HEAD(profiler_data, data), .profiler = c->ranges,
                                 .bytes = c->data_bytes, .data = c->data};
    return check(c, c->profiler->RangeProfilerCounterDataImageInitialize(&data),
                 "the room of counts", err);
}

// Enables a range profiler for one set, from its first pass on.
static enum status open_ranges(struct cuda_counters *c, const struct counter_set *set,
                               struct error *err)
{
    struct profiler_enable enable = {PROFILER_HEAD(profiler_enable, profiler),
                                     .context = c->cuda->context};
    TRY(check(c, c->profiler->RangeProfilerEnable(&enable), "its counters cannot be read", err));
    c->ranges = enable.profiler;
    TRY(prepare_data(c, set, err));
    struct profiler_config config = {PROFILER_HEAD(profiler_config, level),
                                     .profiler = c->ranges,
                                     .image_bytes = set->image_bytes,
                                     .image = set->image,
                                     .data_bytes = c->data_bytes,
                                     .data = c->data,
                                     .range_mode = PROFILER_USER_RANGE,
                                     .replay_mode = PROFILER_USER_REPLAY,
                                     .ranges_most = 1,
                                     .levels = 1,
                                     .level_least = 1,
                                     .level = 1};
    return check(c, c->profiler->RangeProfilerSetConfig(&config), "its counters cannot be set up",
                 err);
}

static enum status wait_idle(const struct cuda_counters *c, struct error *err)
{
    return cuda_check(c->cuda, cuda_enter(c->cuda)->CtxSynchronize(), "counted work on it failed",
                      err);
}

// The set at or after `set` that has rows; COUNTER_SETS: there is none.
static int next_set(const struct cuda_counters *c, int set)
{
    while (set < COUNTER_SETS && c->choice.sets[set].count == 0)
        set++;
    return set;
}

static enum status begin_pass(struct cuda_counters *c, struct error *err)
{
    TRY(wait_idle(c, err));
    if (!c->ranges)
        TRY(open_ranges(c, &c->choice.sets[c->set], err));
    struct profiler_range start = {PROFILER_HEAD(profiler_range, profiler), .profiler = c->ranges};
    struct profiler_push push = {PROFILER_HEAD(profiler_push, name), .profiler = c->ranges,
                                 .name = "work"};
    TRY(check(c, c->profiler->RangeProfilerStart(&start), "its counters do not start", err));
    return check(c, c->profiler->RangeProfilerPushRange(&push), "a range of counts", err);
}

static enum status read_set(struct cuda_counters *c, const struct counter_set *set,
                            struct error *err)
{
    double values[COUNTER_SET_ROWS];
    struct profiler_decode decode = {PROFILER_HEAD(profiler_decode, dropped),
                                     .profiler = c->ranges};
    TRY(check(c, c->profiler->RangeProfilerDecodeData(&decode), "its counts", err));
    if (decode.dropped)
        return FAIL(err, ERR_IO, "device %s: CUPTI lost %zu ranges of counts",
                    c->cuda->device.info.name, decode.dropped);
    struct profiler_evaluate evaluate = {PROFILER_HEAD(profiler_evaluate, values),
                                         .host = set->host,
                                         .data = c->data,
                                         .data_bytes = c->data_bytes,
                                         .names = set->names,
                                         .count = (size_t)set->count,
                                         .values = values};
    TRY(check(c, c->profiler->ProfilerHostEvaluateToGpuValues(&evaluate), "its counts", err));
    for (int i = 0; i < set->count; i++)
        c->value[set->rows[i]] = values[i] * cuda_counter_rows[set->rows[i]].scale;
    return OK;
}

// *more: the set needs another pass.
static enum status end_pass(struct cuda_counters *c, bool *more, struct error *err)
{
    struct profiler_range pop = {PROFILER_HEAD(profiler_range, profiler), .profiler = c->ranges};
    struct profiler_stop stop = {PROFILER_HEAD(profiler_stop, submitted), .profiler = c->ranges};
    TRY(wait_idle(c, err));
    TRY(check(c, c->profiler->RangeProfilerPopRange(&pop), "a range of counts", err));
    TRY(check(c, c->profiler->RangeProfilerStop(&stop), "its counters do not stop", err));
    *more = !stop.submitted;
    if (stop.submitted) {
        TRY(read_set(c, &c->choice.sets[c->set], err));
        close_ranges(c);
    }
    return OK;
}

enum status cuda_counters_begin(struct device_counters *counters, struct error *err)
{
    struct cuda_counters *c = counters_of(counters);
    if (begin_pass(c, err) != OK)
        close_ranges(c);
    return err->code;
}

enum status cuda_counters_end(struct device_counters *counters, bool *again, struct error *err)
{
    struct cuda_counters *c = counters_of(counters);
    bool more = false;
    *again = false;
    if (end_pass(c, &more, err) != OK) {
        close_ranges(c);
        return err->code;
    }
    if (!more)
        c->set = next_set(c, c->set + 1);
    *again = c->set < COUNTER_SETS;
    if (!*again)
        c->set = next_set(c, 0);
    return OK;
}

void cuda_counters_read(const struct device_counters *counters, struct device_counts *out)
{
    const struct cuda_counters *c = (const struct cuda_counters *)(const void *)counters;
    for (int q = 0; q < DEVICE_QUANTITIES; q++)
        out->value[q] = 0;
    for (int i = 0; i < COUNTER_ROWS; i++)
        if (cuda_counter_has_work(&c->choice, i))
            out->value[cuda_counter_rows[i].quantity] +=
                (c->choice.refused & 1u << i) ? (double)NAN : c->value[i];
}

// ---- known work ------------------------------------------------------------------------------------------

// Counts one launch of a probe with the set of the row. *work: what the row should count.
static enum status count_probe(struct cuda_counters *c, const struct counter_row *row, double *work,
                               struct error *err)
{
    bool more = true;
    double all = 0;
    c->set = row->set;
    while (more) {
        TRY(begin_pass(c, err));
        TRY(cuda_probe_once(c->cuda, row->probe, row->level, &all, err));
        TRY(end_pass(c, &more, err));
    }
    *work = all * row->part;
    return OK;
}

static bool misses(double counted, double work)
{
    return !(fabs(counted - work) <= tolerance * work);
}

// Refuses each row that misses the known work of its probe.
static enum status test_rows(struct cuda_counters *c, struct error *err)
{
    for (int i = 0; i < COUNTER_ROWS; i++) {
        double work = 0;
        struct error absent = {0};
        if (!cuda_counter_rows[i].probe || !cuda_counter_has_work(&c->choice, i) ||
            (c->choice.refused & 1u << i))
            continue;
        // Its kernel is loaded now. Some chips multiply a type for which there is no such kernel.
        if (cuda_probe_once(c->cuda, cuda_counter_rows[i].probe, cuda_counter_rows[i].level, &work,
                            &absent) == ERR_UNSUPPORTED)
            continue;
        if (absent.code)
            return *err = absent, absent.code;
        TRY(count_probe(c, &cuda_counter_rows[i], &work, err));
        if (!misses(c->value[i], work))
            continue;
        cuda_counter_refuse(&c->choice, i, "%s counted %.4g of %.4g known ones", c->choice.names[i],
                            c->value[i], work);
        c->cuda->counters_miss |= 1u << i;
    }
    c->cuda->counters_tested = true;
    return OK;
}

// ---- life ------------------------------------------------------------------------------------------------

static void ignore(void *user, int domain, uint32_t id, const void *data)
{
    (void)user, (void)domain, (void)id, (void)data;
}

// A trace detaches CUPTI from the process, and its profiler is not initialized then. A subscriber attaches it again.
static enum status open_profiler(struct cuda_counters *c, struct error *err)
{
    struct profiler_initialize p = {PROFILER_HEAD(profiler_initialize, head.private)};
    cuda_enter(c->cuda);
    TRY(check(c, c->choice.cupti->Subscribe(&c->subscriber, ignore, c), "CUPTI does not attach",
              err));
    TRY(check(c, c->profiler->ProfilerInitialize(&p), "CUPTI's profiler does not start", err));
    c->initialized = true;
    TRY(check_support(c, err));
    TRY(read_chip(c, err));
    TRY(read_availability(c, err));
    for (int i = 0; i < COUNTER_ROWS; i++)
        if (c->cuda->counters_miss & 1u << i)
            cuda_counter_refuse(&c->choice, i, "it missed known work");
    TRY(cuda_counter_choice_make(&c->choice, err));
    if (!c->cuda->counters_tested && test_rows(c, err) != OK)
        return err->code;
    c->set = next_set(c, 0);
    if (c->set == COUNTER_SETS)
        return FAIL(err, ERR_UNSUPPORTED, "device %s: nothing is counted: %.300s",
                    c->cuda->device.info.name, c->choice.reason);
    return OK;
}

enum status cuda_counters_open(struct device *device, struct device_counters **out,
                               struct error *err)
{
    char reason[256];
    struct cuda_counters *c = calloc(1, sizeof *c);
    if (!c)
        return FAIL(err, ERR_NOMEM, "device %s: no memory for its counters", device->info.name);
    c->cuda = cuda_of(device);
    c->profiler = cuda_profiler_get(reason, sizeof reason); // both libraries were checked
    c->choice = (struct counter_choice){
        .profiler = c->profiler, .cupti = cuda_cupti_get(reason, sizeof reason), .device = device};
    if (open_profiler(c, err) != OK) {
        cuda_counters_close(&c->counters);
        return err->code;
    }
    *out = &c->counters;
    return OK;
}

const char *cuda_counters_reason(const struct device_counters *counters)
{
    return ((const struct cuda_counters *)(const void *)counters)->choice.reason;
}

void cuda_counters_close(struct device_counters *counters)
{
    struct cuda_counters *c = counters_of(counters);
    struct profiler_initialize p = {PROFILER_HEAD(profiler_initialize, head.private)};
    close_ranges(c);
    cuda_counter_choice_fini(&c->choice);
    free(c->data);
    if (c->initialized)
        c->profiler->ProfilerDeInitialize(&p);
    if (c->subscriber)
        c->choice.cupti->Unsubscribe(c->subscriber);
    free(c->availability);
    free(c);
}
