// machine.c - the machine record: facts from the topology, the processor and the system.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/probe/source.h"
#include "kernels/kernels.h"

enum {
    // More than engine/cuda/plan.c leaves on a GPU: running out of host memory kills processes.
    HEADROOM_SHARE = 20,                // a twentieth of the available memory stays free,
    HEADROOM_BYTES = 256 * 1024 * 1024, // and at least this much
};

// The tiers that kernels may use, as a list: "avx2,avx512". Only those whose state the system saves.
static json_t *isa_list(unsigned isa)
{
    char words[256];
    json_t *list = json_array();
    device_isa_text(DEVICE_HOST, isa, words, sizeof words);
    char *rest = words;
    for (char *word; list && isa && (word = strtok_r(rest, ",", &rest));)
        json_array_append_new(list, json_string(word));
    return list;
}

// The kernel reserves a little memory, and the amount changes with its version. Whole GiB keep the record stable. The
// environment has the exact number.
static json_t *memory_gib(int64_t bytes)
{
    return bytes == OS_UNKNOWN ? json_null() : json_integer((bytes + (1 << 29)) >> 30);
}

static void probe_hardware(const struct machine_source *source, hwloc_topology_t topology,
                           struct record *hardware)
{
    struct record processor = machine_record_begin(), virtualization = machine_record_begin();
    system_processor(source, topology, &processor);
    machine_record_set(&processor, "isa", isa_list(source->isa));
    machine_record_end(hardware, "processor", &processor);
    machine_record_set(hardware, "topology", topology_json(topology));
    machine_record_set(hardware, "memory_gib", memory_gib(system_memory_bytes(source)));
    system_virtualization(source, &virtualization);
    machine_record_end(hardware, "virtualization", &virtualization);
}

static void probe_environment(const struct machine_source *source, struct record *environment)
{
    system_environment(source, environment);
    struct record libraries = machine_record_begin();
    char text[32];
    unsigned hwloc = hwloc_get_api_version();
    snprintf(text, sizeof text, "%u.%u.%u", hwloc >> 16, hwloc >> 8 & 255, hwloc & 255);
    machine_record_text(&libraries, "hwloc api", text);
    machine_record_text(&libraries, "jansson", jansson_version_str());
    machine_record_end(environment, "libraries", &libraries);
}

enum status machine_probe_at(const struct machine_source *source, struct machine *out,
                             struct error *err)
{
    memset(out, 0, sizeof *out);
    hwloc_topology_t topology;
    TRY(topology_load(source->hwloc_xml, &topology, err));

    struct record hardware = machine_record_begin(), environment = machine_record_begin(),
                  now = machine_record_begin();
    probe_hardware(source, topology, &hardware);
    probe_environment(source, &environment);
    system_now(source, &now);
    hwloc_topology_destroy(topology);

    out->hardware = hardware.object;
    out->environment = environment.object;
    out->now = now.object;
    out->build = machine_build_json();
    if (hardware.failed || environment.failed || now.failed || !out->build)
        FAIL(err, ERR_NOMEM, "machine record: out of memory");
    else
        machine_fingerprint(out->hardware, out->fingerprint, err);
    if (err->code != OK)
        machine_fini(out);
    return err->code;
}

enum status machine_probe(struct machine *out, struct error *err)
{
    char signature[13];
    struct machine_source here = {
        .root = "", .isa = device_isa_host(), .hypervisor = system_hypervisor(signature)};
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

int64_t machine_room_bytes(void)
{
    int64_t available = os_memory_available_bytes(), most = os_memory_limit_bytes();
    if (available == OS_UNKNOWN || (most != OS_UNKNOWN && most < available))
        available = most;
    if (available == OS_UNKNOWN)
        return OS_UNKNOWN;
    int64_t headroom = available / HEADROOM_SHARE;
    headroom = headroom > HEADROOM_BYTES ? headroom : HEADROOM_BYTES;
    return available > headroom ? available - headroom : 1;
}

int64_t machine_limit_memory(int64_t wanted_bytes)
{
    struct error unsupported = {0};
    int64_t limit = machine_room_bytes();
    if (wanted_bytes > 0 && (limit == OS_UNKNOWN || wanted_bytes < limit))
        limit = wanted_bytes;
    return limit > 0 && os_limit_memory(limit, &unsupported) == OK ? limit : OS_UNKNOWN;
}
