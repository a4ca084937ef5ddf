// cuda_trace.c - the activity trace of a CUDA device: kernels, copies and sets, each with the label of its mark.
//
// A mark ends a segment: what was enqueued in it gets the mark's label. Launches are matched to segments by external
// correlation ids, nodes of graphs by the segment in which they were recorded: CUPTI reports each node that is
// created, and each copy of it in an executable graph. Records are read by the members that all versions share, which
// come first. CUPTI allows one subscriber per process, so there is one trace at a time. After the end CUPTI is
// detached.
#include "device/cuda_driver.h"
#include "device/cuda_records.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { EXTERNAL_CUSTOM = 3, DOMAIN_RESOURCE = 3, NODE_CREATED = 13, NODE_CLONED = 20 };
enum { FLUSH_FORCED = 1, NO_MORE_RECORDS = 12 };
enum { BUFFER_BYTES = 8 << 20, BUFFERS_MAX = 64, NAME_BYTES = 64 };

// ---- the trace -------------------------------------------------------------------------------------------

// A launch, or a node of a graph, and its segment.
struct owned {
    uint64_t key;
    uint64_t segment;
};
struct owners {
    struct owned *at;
    size_t count, room;
};

struct cuda_trace {
    struct device_trace trace;
    struct cuda_device *cuda;
    const struct cuda_cupti *cupti;
    void *subscriber;
    uint32_t *labels; // (segment_room) of segments that ended
    uint64_t segment, segment_room;
    struct owners launches, nodes;
    struct device_activity *records;
    uint64_t *launch_of, *node_of; // (records) by which a record's label is found
    size_t record_count, record_room;
    char (*names)[NAME_BYTES]; // (name_room), each once
    size_t name_count;
    bool failed; // out of memory
};

// CUPTI's callbacks take no user pointer. Buffers are delivered on one of CUPTI's own threads.
static struct {
    pthread_mutex_t lock;
    struct {
        uint8_t *memory;
        size_t bytes;
    } full[BUFFERS_MAX];
    int count;
    size_t dropped; // records that had no place
    const struct cuda_cupti *cupti;
} buffers = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void buffer_requested(uint8_t **memory, size_t *bytes, size_t *records)
{
    *memory = aligned_alloc(64, BUFFER_BYTES);
    *bytes = *memory ? BUFFER_BYTES : 0;
    *records = 0; // as many as it holds
}

static void buffer_completed(void *context, uint32_t stream, uint8_t *memory, size_t bytes,
                             size_t valid_bytes)
{
    size_t dropped = 0;
    (void)bytes;
    pthread_mutex_lock(&buffers.lock);
    if (buffers.cupti &&
        buffers.cupti->ActivityGetNumDroppedRecords(context, stream, &dropped) == 0)
        buffers.dropped += dropped;
    if (valid_bytes && buffers.count < BUFFERS_MAX) {
        buffers.full[buffers.count].memory = memory;
        buffers.full[buffers.count++].bytes = valid_bytes;
        memory = NULL;
    } else if (valid_bytes) {
        buffers.dropped++;
    }
    pthread_mutex_unlock(&buffers.lock);
    free(memory);
}

static void buffers_empty(void)
{
    pthread_mutex_lock(&buffers.lock);
    for (int i = 0; i < buffers.count; i++)
        free(buffers.full[i].memory);
    buffers.count = 0;
    buffers.dropped = 0;
    buffers.cupti = NULL;
    pthread_mutex_unlock(&buffers.lock);
}

// ---- segments --------------------------------------------------------------------------------------------

// Room for one more element; false when memory is exhausted.
static bool grow(void **array, size_t *room, size_t count, size_t element_bytes)
{
    if (count < *room)
        return true;
    size_t wanted = *room ? 2 * *room : 1024;
    void *grown = realloc(*array, wanted * element_bytes);
    if (!grown)
        return false;
    *array = grown;
    *room = wanted;
    return true;
}

static void owners_add(struct cuda_trace *t, struct owners *owners, uint64_t key, uint64_t segment)
{
    void *at = owners->at;
    if (!grow(&at, &owners->room, owners->count, sizeof *owners->at)) {
        t->failed = true;
        return;
    }
    owners->at = at;
    owners->at[owners->count++] = (struct owned){key, segment};
}

// The last one of this key; NULL: there is none. A graph's nodes are found near the end.
static struct owned *owners_last(const struct owners *owners, uint64_t key)
{
    for (size_t i = owners->count; i-- > 0;)
        if (owners->at[i].key == key)
            return &owners->at[i];
    return NULL;
}

static int by_key(const void *a, const void *b)
{
    const struct owned *x = a, *y = b;
    return x->key < y->key ? -1 : x->key > y->key;
}

static uint32_t label_of(const struct cuda_trace *t, const struct owners *sorted, uint64_t key)
{
    const struct owned wanted = {key, 0};
    const struct owned *found =
        sorted->count ? bsearch(&wanted, sorted->at, sorted->count, sizeof wanted, by_key) : NULL;
    return found && found->segment < t->segment ? t->labels[found->segment] : 0;
}

void cuda_trace_mark(struct device_trace *trace, uint32_t label)
{
    struct cuda_trace *t = (struct cuda_trace *)(void *)trace;
    void *labels = t->labels;
    size_t room = t->segment_room;
    if (!grow(&labels, &room, t->segment, sizeof *t->labels)) {
        t->failed = true;
        return;
    }
    t->labels = labels;
    t->segment_room = room;
    t->labels[t->segment++] = label;
    t->cupti->ActivityPopExternalCorrelationId(EXTERNAL_CUSTOM, NULL);
    t->cupti->ActivityPushExternalCorrelationId(EXTERNAL_CUSTOM, t->segment);
}

// A node belongs to the segment in which it was recorded, its copy in an executable graph to that of the original.
static void on_resource(void *user, int domain, uint32_t id, const void *data)
{
    struct cuda_trace *t = user;
    const struct cuda_resource_data *resource = data;
    const struct cuda_graph_data *graph = resource->descriptor;
    uint64_t node = 0, original = 0;
    if (domain != DOMAIN_RESOURCE || (id != NODE_CREATED && id != NODE_CLONED) ||
        t->cupti->GetGraphNodeId(graph->node, &node) != 0)
        return;
    struct owned *known = owners_last(&t->nodes, node);
    uint64_t segment = t->segment;
    if (id == NODE_CLONED) {
        if (t->cupti->GetGraphNodeId(graph->original_node, &original) != 0)
            return;
        const struct owned *from = owners_last(&t->nodes, original);
        if (!from)
            return;
        segment = from->segment;
    }
    if (!known)
        owners_add(t, &t->nodes, node, segment);
    else if (id == NODE_CLONED)
        known->segment = segment;
}

// ---- begin -----------------------------------------------------------------------------------------------

static const int kinds[] = {ACTIVITY_EXTERNAL_CORRELATION, ACTIVITY_RUNTIME, ACTIVITY_COPY,
                            ACTIVITY_SET, ACTIVITY_CONCURRENT_KERNEL};
enum { KINDS = sizeof kinds / sizeof *kinds };

static int start(struct cuda_trace *t)
{
    const struct cuda_cupti *c = t->cupti;
    int result = c->Subscribe(&t->subscriber, on_resource, t);
    if (result != 0)
        t->subscriber = NULL;
    if (result == 0)
        result = c->EnableCallback(1, t->subscriber, DOMAIN_RESOURCE, NODE_CREATED);
    if (result == 0)
        result = c->EnableCallback(1, t->subscriber, DOMAIN_RESOURCE, NODE_CLONED);
    if (result == 0)
        result = c->ActivityRegisterCallbacks(buffer_requested, buffer_completed);
    for (int i = 0; i < KINDS && result == 0; i++)
        result = c->ActivityEnable(kinds[i]);
    if (result == 0)
        result = c->ActivityPushExternalCorrelationId(EXTERNAL_CUSTOM, 0);
    return result;
}

// Detaches CUPTI, so that later passes run at full speed.
static void stop(struct cuda_trace *t)
{
    const struct cuda_cupti *c = t->cupti;
    if (!t->subscriber)
        return;
    c->ActivityPopExternalCorrelationId(EXTERNAL_CUSTOM, NULL);
    for (int i = 0; i < KINDS; i++)
        c->ActivityDisable(kinds[i]);
    c->Unsubscribe(t->subscriber);
    c->Finalize();
    t->subscriber = NULL;
}

enum status cuda_trace_check(struct device *device, struct error *err)
{
    char reason[256];
    if (cuda_cupti_get(reason, sizeof reason))
        return OK;
    return FAIL(err, ERR_UNSUPPORTED, "device %s: %s", device->info.name, reason);
}

enum status cuda_trace_begin(struct device *device, struct device_trace **out, struct error *err)
{
    char reason[256];
    struct cuda_device *cuda = cuda_of(device);
    const struct cuda_cupti *cupti = cuda_cupti_get(reason, sizeof reason); // it was checked
    if (buffers.cupti)
        return FAIL(err, ERR_UNSUPPORTED, "device %s: a trace runs already", device->info.name);
    struct cuda_trace *t = calloc(1, sizeof *t);
    if (!t)
        return FAIL(err, ERR_NOMEM, "device %s: no memory for a trace", device->info.name);
    t->cuda = cuda;
    t->cupti = buffers.cupti = cupti;
    cuda_enter(cuda);
    int result = start(t);
    if (result != 0) {
        cuda_cupti_explain(cupti, result, reason, sizeof reason);
        cuda_trace_destroy(&t->trace);
        return FAIL(err, ERR_UNSUPPORTED, "device %s: %s", device->info.name, reason);
    }
    *out = &t->trace;
    return OK;
}

// ---- records ---------------------------------------------------------------------------------------------

// The function name inside a mangled C++ symbol such as "_ZN..13linear_kernelI...": the last plain word before template
// arguments or parameters. Other names stay as they are.
static void short_name(const char *symbol, char out[NAME_BYTES])
{
    const char *at = symbol;
    snprintf(out, NAME_BYTES, "%s", symbol);
    if (strncmp(at, "_Z", 2) != 0)
        return;
    at += strspn(at + 2, "NLK") + 2;
    while (*at >= '0' && *at <= '9') {
        char *word;
        unsigned long length = strtoul(at, &word, 10);
        if (length == 0 || length > strlen(word))
            return;
        if (strncmp(word, "_GLOBAL__N", 10) != 0)
            snprintf(out, NAME_BYTES, "%.*s", (int)(length < NAME_BYTES ? length : NAME_BYTES - 1),
                     word);
        at = word + length;
    }
}

// The short name, kept once. Kernels are few, and one name comes many times in a row.
static const char *name_kept(struct cuda_trace *t, const char *symbol)
{
    enum { NAMES = 512 };
    char name[NAME_BYTES];
    short_name(symbol ? symbol : "kernel", name);
    if (!t->names)
        t->names = calloc(NAMES, sizeof *t->names);
    for (size_t i = 0; t->names && i < t->name_count; i++)
        if (strcmp(t->names[i], name) == 0)
            return t->names[i];
    if (!t->names || t->name_count == NAMES)
        return "other kernels";
    memcpy(t->names[t->name_count], name, NAME_BYTES);
    return t->names[t->name_count++];
}

static void add_record(struct cuda_trace *t, struct device_activity activity, uint64_t launch,
                       uint64_t node)
{
    size_t room = t->record_room;
    void *records = t->records, *launches = t->launch_of, *nodes = t->node_of;
    bool grown = grow(&records, &room, t->record_count, sizeof *t->records);
    t->records = records;
    room = t->record_room;
    grown = grown && grow(&launches, &room, t->record_count, sizeof *t->launch_of);
    t->launch_of = launches;
    room = t->record_room;
    grown = grown && grow(&nodes, &room, t->record_count, sizeof *t->node_of);
    t->node_of = nodes;
    if (!grown) {
        t->failed = true;
        return;
    }
    t->record_room = room;
    activity.in_graph = node != 0;
    t->records[t->record_count] = activity;
    t->launch_of[t->record_count] = launch;
    t->node_of[t->record_count++] = node;
}

static void read_record(struct cuda_trace *t, const void *record)
{
    const struct cuda_kernel_record *kernel = record;
    const struct cuda_copy_record *copy = record;
    const struct cuda_set_record *set = record;
    const struct cuda_correlation_record *correlation = record;
    switch (*(const uint32_t *)record) {
    case ACTIVITY_CONCURRENT_KERNEL:
        add_record(t,
                   (struct device_activity){.kind = DEVICE_KERNEL,
                                            .begin_ns = kernel->begin_ns,
                                            .end_ns = kernel->end_ns,
                                            .name = name_kept(t, kernel->name)},
                   kernel->correlation, kernel->node);
        break;
    case ACTIVITY_COPY:
        add_record(t,
                   (struct device_activity){.kind = DEVICE_COPY,
                                            .begin_ns = copy->begin_ns,
                                            .end_ns = copy->end_ns,
                                            .name = "copy"},
                   copy->correlation, copy->node);
        break;
    case ACTIVITY_SET:
        add_record(t,
                   (struct device_activity){.kind = DEVICE_SET,
                                            .begin_ns = set->begin_ns,
                                            .end_ns = set->end_ns,
                                            .name = "set"},
                   set->correlation, set->node);
        break;
    case ACTIVITY_EXTERNAL_CORRELATION:
        if (correlation->external_kind == EXTERNAL_CUSTOM)
            owners_add(t, &t->launches, correlation->correlation, correlation->external);
        break;
    default: // calls of the runtime: only their correlation counts
        break;
    }
}

static void label_records(struct cuda_trace *t)
{
    if (t->launches.count)
        qsort(t->launches.at, t->launches.count, sizeof *t->launches.at, by_key);
    if (t->nodes.count)
        qsort(t->nodes.at, t->nodes.count, sizeof *t->nodes.at, by_key);
    for (size_t i = 0; i < t->record_count; i++)
        t->records[i].label = t->node_of[i] ? label_of(t, &t->nodes, t->node_of[i])
                                            : label_of(t, &t->launches, t->launch_of[i]);
}

static int by_begin(const void *a, const void *b)
{
    const struct device_activity *x = a, *y = b;
    if (x->begin_ns != y->begin_ns)
        return x->begin_ns < y->begin_ns ? -1 : 1;
    return x->end_ns < y->end_ns ? -1 : x->end_ns > y->end_ns;
}

static enum status read_buffers(struct cuda_trace *t, struct error *err)
{
    const char *device = t->cuda->device.info.name;
    enum status status = OK;
    pthread_mutex_lock(&buffers.lock);
    for (int i = 0; i < buffers.count && status == OK; i++) {
        void *record = NULL;
        int result;
        while ((result = t->cupti->ActivityGetNextRecord(buffers.full[i].memory,
                                                         buffers.full[i].bytes, &record)) == 0)
            read_record(t, record);
        if (result != NO_MORE_RECORDS)
            status = FAIL(err, ERR_IO, "device %s: CUPTI's records cannot be read (error %d)",
                          device, result);
    }
    if (status == OK && buffers.dropped)
        status = FAIL(err, ERR_IO, "device %s: CUPTI lost %zu records of the trace", device,
                      buffers.dropped);
    pthread_mutex_unlock(&buffers.lock);
    if (status == OK && t->failed)
        status = FAIL(err, ERR_NOMEM, "device %s: no memory for a trace", device);
    return status;
}

enum status cuda_trace_end(struct device_trace *trace, const struct device_activity **out,
                           size_t *count, struct error *err)
{
    struct cuda_trace *t = (struct cuda_trace *)(void *)trace;
    const struct cuda_driver *d = cuda_enter(t->cuda);
    *out = NULL;
    *count = 0;
    enum status status = cuda_check(t->cuda, d->CtxSynchronize(), "traced work on it failed", err);
    int result = status == OK ? t->cupti->ActivityFlushAll(FLUSH_FORCED) : 0;
    if (result != 0)
        status = FAIL(err, ERR_IO, "device %s: CUPTI does not hand over its records (error %d)",
                      t->cuda->device.info.name, result);
    if (status == OK)
        status = read_buffers(t, err); // names of kernels are CUPTI's until it is detached
    stop(t);
    buffers_empty();
    if (status != OK)
        return status;
    label_records(t);
    if (t->record_count)
        qsort(t->records, t->record_count, sizeof *t->records, by_begin);
    *out = t->records;
    *count = t->record_count;
    return OK;
}

void cuda_trace_destroy(struct device_trace *trace)
{
    struct cuda_trace *t = (struct cuda_trace *)(void *)trace;
    if (t->subscriber || buffers.cupti) {
        stop(t);
        buffers_empty();
    }
    free(t->labels);
    free(t->launches.at);
    free(t->nodes.at);
    free(t->records);
    free(t->launch_of);
    free(t->node_of);
    free(t->names);
    free(t);
}
