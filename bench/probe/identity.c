// identity.c - fingerprints: which machine is the same machine, and which processor the same processor.
//
// A fingerprint hashes only what does not change while the machine stays the same. These parts of the machine record
// are left out. Memory and NUMA nodes: virtual machines grow memory, and nodes come with it. Limits of a control group:
// each session sets them. The instruction sets that kernels may use: a newer build knows more of them. The kinds of
// cores: they depend on the clock driver.
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/json.h"
#include "bench/probe/probe.h"

// Copies those of `keys` that `from` has into a new object; NULL when memory is exhausted.
static json_t *picked(const json_t *from, const char *const *keys)
{
    json_t *out = json_object();
    for (; out && *keys; keys++) {
        json_t *value = json_object_get(from, *keys);
        if (value && json_object_set(out, *keys, value) != 0) {
            json_decref(out);
            return NULL;
        }
    }
    return out;
}

static json_t *processor_identity(const json_t *hardware)
{
    static const char *const keys[] = {"model",    "vendor",          "family",   "model_number",
                                       "stepping", "arm_implementer", "arm_part", NULL};
    return picked(json_object_get(hardware, "processor"), keys);
}

static json_t *topology_identity(const json_t *hardware)
{
    static const char *const keys[] = {"packages", "cores", "processing_units", "caches", NULL};
    return picked(json_object_get(hardware, "topology"), keys);
}

static json_t *virtualization_identity(const json_t *hardware)
{
    static const char *const keys[] = {"hypervisor", "platform_vendor", "platform", "container",
                                       NULL};
    return picked(json_object_get(hardware, "virtualization"), keys);
}

// Takes `identity`.
static enum status hash_identity(json_t *identity, char out[65], struct error *err)
{
    char *text = identity ? json_canonical(identity) : NULL;
    json_decref(identity);
    if (!text)
        return FAIL(err, ERR_NOMEM, "machine record: out of memory");
    enum status status = hash_bytes(text, strlen(text), out, err);
    free(text);
    return status;
}

enum status machine_fingerprint(const json_t *hardware, char out[65], struct error *err)
{
    return hash_identity(json_pack("{s:o, s:o, s:o}", "processor", processor_identity(hardware),
                                   "topology", topology_identity(hardware), "virtualization",
                                   virtualization_identity(hardware)),
                         out, err);
}

json_t *machine_processor(const struct machine *machine)
{
    return json_pack("{s:s, s:O?, s:o}", "kind", "processor", "processor",
                     json_object_get(machine->hardware, "processor"), "topology",
                     topology_identity(machine->hardware));
}

enum status machine_processor_fingerprint(const struct machine *machine, char out[65],
                                          struct error *err)
{
    return hash_identity(json_pack("{s:s, s:o, s:o}", "kind", "processor", "processor",
                                   processor_identity(machine->hardware), "topology",
                                   topology_identity(machine->hardware)),
                         out, err);
}
