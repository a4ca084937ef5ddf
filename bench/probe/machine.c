// machine.c - the machine record: what the topology, the processor and the system say, and its fingerprint.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "bench/probe/source.h"
#include "kernels/kernels.h"

struct record record_begin(void)
{
    json_t *object = json_object();
    return (struct record){.object = object, .failed = !object};
}

void record_set(struct record *record, const char *key, json_t *value)
{
    if (json_object_set_new(record->object, key, value) != 0) // refuses a NULL value or object
        record->failed = true;
}

void record_text(struct record *record, const char *key, const char *value)
{
    json_t *text = value && *value ? json_string(value) : NULL; // NULL: not UTF-8
    record_set(record, key, text ? text : json_null());
}

void record_int(struct record *record, const char *key, int64_t value)
{
    record_set(record, key, value == OS_UNKNOWN ? json_null() : json_integer(value));
}

void record_number_text(struct record *record, const char *key, const char *digits)
{
    char *end = NULL;
    double value = digits ? strtod(digits, &end) : NAN;
    if (!digits || end == digits || !isfinite(value))
        record_set(record, key, json_null());
    else if (value == floor(value) && fabs(value) < 9e15)
        record_set(record, key, json_integer((json_int_t)value));
    else
        record_set(record, key, json_real(value));
}

void record_end(struct record *parent, const char *key, struct record *child)
{
    parent->failed |= child->failed;
    record_set(parent, key, child->object);
    child->object = NULL;
}

// "avx2,avx512" as a list: what kernels may use, with the state the system saves taken into account.
static json_t *isa_list(unsigned isa)
{
    char words[256];
    json_t *list = json_array();
    kernel_isa_text(isa, words, sizeof words);
    char *rest = words;
    for (char *word; list && isa && (word = strtok_r(rest, ",", &rest));)
        json_array_append_new(list, json_string(word));
    return list;
}

// The kernel keeps a little memory for itself, and how much changes with its version: whole GiB keep
// the fingerprint the same. The exact figure is in the environment.
static json_t *memory_gib(int64_t bytes)
{
    return bytes == OS_UNKNOWN ? json_null() : json_integer((bytes + (1 << 29)) >> 30);
}

static void probe_hardware(const struct machine_source *source, hwloc_topology_t topology,
                           struct record *hardware)
{
    struct record processor = record_begin(), virtualization = record_begin();
    system_processor(source, topology, &processor);
    record_set(&processor, "isa", isa_list(source->isa));
    record_end(hardware, "processor", &processor);
    record_set(hardware, "topology", topology_json(topology));
    record_set(hardware, "memory_gib", memory_gib(system_memory_bytes(source)));
    system_virtualization(source, &virtualization);
    record_end(hardware, "virtualization", &virtualization);
}

static void probe_environment(const struct machine_source *source, struct record *environment)
{
    system_environment(source, environment);
    struct record libraries = record_begin();
    char text[32];
    unsigned hwloc = hwloc_get_api_version();
    snprintf(text, sizeof text, "%u.%u.%u", hwloc >> 16, hwloc >> 8 & 255, hwloc & 255);
    record_text(&libraries, "hwloc api", text);
    record_text(&libraries, "jansson", jansson_version_str());
    record_end(environment, "libraries", &libraries);
}

static enum status fingerprint(struct machine *machine, struct error *err)
{
    char *text = json_canonical(machine->hardware);
    if (!text)
        return FAIL(err, ERR_NOMEM, "machine record: out of memory");
    enum status status = hash_bytes(text, strlen(text), machine->fingerprint, err);
    free(text);
    return status;
}

enum status machine_probe_at(const struct machine_source *source, struct machine *out,
                             struct error *err)
{
    memset(out, 0, sizeof *out);
    hwloc_topology_t topology;
    TRY(topology_load(source->hwloc_xml, &topology, err));

    struct record hardware = record_begin(), environment = record_begin(), now = record_begin();
    probe_hardware(source, topology, &hardware);
    probe_environment(source, &environment);
    system_now(source, &now);
    hwloc_topology_destroy(topology);

    out->hardware = hardware.object;
    out->environment = environment.object;
    out->now = now.object;
    out->build = build_json();
    if (hardware.failed || environment.failed || now.failed || !out->build)
        FAIL(err, ERR_NOMEM, "machine record: out of memory");
    else
        fingerprint(out, err);
    if (err->code != OK)
        machine_fini(out);
    return err->code;
}

enum status machine_probe(struct machine *out, struct error *err)
{
    char signature[13];
    struct machine_source here = {
        .root = "", .isa = kernel_cpu_isa(), .hypervisor = hypervisor_signature(signature)};
    return machine_probe_at(&here, out, err);
}

void machine_fini(struct machine *machine)
{
    if (!machine)
        return;
    json_decref(machine->hardware);
    json_decref(machine->environment);
    json_decref(machine->build);
    json_decref(machine->now);
    memset(machine, 0, sizeof *machine);
}
