// machine.c - `bench machine`: describes this machine, what it lacks, and its best rates.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/interrupt.h"
#include "base/str.h"
#include "bench/cli/command.h"
#include "bench/cli/device_flag.h"
#include "bench/cli/view.h"
#include "bench/probe/uncore.h"
#include "bench/roof/roof.h"
#include "results/metric.h"

// The findings of the command, before they are printed as text or JSON.
struct findings {
    struct machine machine;
    struct memory_level level[MEMORY_LEVELS_MAX];
    int levels;
    struct device_info devices[DEVICES_MAX];
    size_t device_count;
    int threads;
    bool pinned;
    struct counters *counters;
    struct uncore *uncore;               // NULL: no memory controller is counted
    char no_uncore[UNCORE_REASON_BYTES]; // the reason
    struct ceilings *ceilings;
    struct device_energy energy;
    struct error no_energy; // the reason if it cannot be read
};

// ---- values -------------------------------------------------------------------------------------------

static const json_t *at(const json_t *object, const char *section, const char *key)
{
    const json_t *inner = section ? json_object_get(object, section) : object;
    return json_object_get(inner, key);
}

// A scalar as text; "not reported" for null.
static const char *show(const json_t *value, char *out, size_t out_bytes)
{
    if (json_is_string(value))
        snprintf(out, out_bytes, "%s", json_string_value(value));
    else if (json_is_integer(value))
        snprintf(out, out_bytes, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(out, out_bytes, "%.2f", json_real_value(value));
    else
        snprintf(out, out_bytes, "not reported");
    return out;
}

static void line(const char *label, const char *text)
{
    printf("  %-17s %s\n", label, text);
}

static void line_of(const char *label, const json_t *value)
{
    char text[256];
    line(label, show(value, text, sizeof text));
}

static void line_bytes(const char *label, const json_t *value)
{
    char text[64];
    line(label, json_is_integer(value)
                    ? format_bytes((double)json_integer_value(value), text, sizeof text)
                    : "not reported");
}

static void line_hz(const char *label, const json_t *value)
{
    char text[64];
    snprintf(text, sizeof text, "%.2f GHz", (double)json_integer_value(value) / 1e9);
    line(label, json_is_integer(value) ? text : "not reported");
}

// ---- sections -----------------------------------------------------------------------------------------

static void print_processor(const json_t *hardware)
{
    char text[512], number[4][64];
    const json_t *processor = json_object_get(hardware, "processor");
    printf("\nProcessor\n");
    line_of("model", json_object_get(processor, "model"));
    snprintf(text, sizeof text, "%s, family %s, model %s, stepping %s",
             show(json_object_get(processor, "vendor"), number[0], sizeof number[0]),
             show(json_object_get(processor, "family"), number[1], sizeof number[1]),
             show(json_object_get(processor, "model_number"), number[2], sizeof number[2]),
             show(json_object_get(processor, "stepping"), number[3], sizeof number[3]));
    line("identity", text);
    snprintf(text, sizeof text, "%s in %s package(s), %s hardware threads",
             show(at(hardware, "topology", "cores"), number[0], sizeof number[0]),
             show(at(hardware, "topology", "packages"), number[1], sizeof number[1]),
             show(at(hardware, "topology", "processing_units"), number[2], sizeof number[2]));
    line("cores", text);

    const json_t *kinds = at(hardware, "topology", "kinds"), *kind;
    for (size_t i = 0; json_array_size(kinds) > 1 && (kind = json_array_get(kinds, i)); i++) {
        snprintf(text, sizeof text, "%s cores, speed rank %s, %s",
                 show(json_object_get(kind, "cores"), number[0], sizeof number[0]),
                 show(json_object_get(kind, "rank"), number[1], sizeof number[1]),
                 show(json_object_get(kind, "type"), number[2], sizeof number[2]));
        line(i == 0 ? "core kinds" : "", text);
    }

    struct str isa = {0};
    const json_t *words = json_object_get(processor, "isa");
    for (size_t i = 0; i < json_array_size(words); i++)
        str_printf(&isa, "%s%s", i ? ", " : "", json_string_value(json_array_get(words, i)));
    line("kernels may use", isa.length ? str_text(&isa) : "portable C only");
    str_fini(&isa);
}

static void print_memory(const struct findings *f)
{
    char text[128], size[32];
    const json_t *environment = f->machine.environment, *caches, *cache;
    caches = at(f->machine.hardware, "topology", "caches");
    printf("\nMemory\n");
    for (size_t i = 0; (cache = json_array_get(caches, i)); i++) {
        char name[32], number[2][32];
        const char *type = json_string_value(json_object_get(cache, "type"));
        snprintf(name, sizeof name, "L%s%s",
                 show(json_object_get(cache, "level"), number[0], sizeof number[0]),
                 !strcmp(type, "data")          ? " data"
                 : !strcmp(type, "instruction") ? " code"
                                                : "");
        const json_t *bytes = json_object_get(cache, "size_bytes");
        snprintf(text, sizeof text, "%-9s x %s, each for %s hardware thread(s)",
                 json_is_integer(bytes)
                     ? format_bytes((double)json_integer_value(bytes), size, sizeof size)
                     : "not reported",
                 show(json_object_get(cache, "instances"), number[0], sizeof number[0]),
                 show(json_object_get(cache, "processing_units"), number[1], sizeof number[1]));
        line(name, text);
    }
    line_bytes("total", json_object_get(environment, "memory_bytes"));
    line_bytes("available now", json_object_get(f->machine.now, "memory_available_bytes"));
    line_bytes("swap", json_object_get(environment, "swap_bytes"));
    snprintf(text, sizeof text, "%zu",
             json_array_size(at(f->machine.hardware, "topology", "numa")));
    line("NUMA nodes", text);
    line_of("huge pages", at(environment, "huge_pages", "transparent"));
}

static void print_system(const struct findings *f)
{
    const json_t *environment = f->machine.environment, *build = f->machine.build;
    const json_t *hardware = f->machine.hardware;
    printf("\nSystem\n");
    line_of("system", json_object_get(environment, "distribution"));
    line_of("kernel", json_object_get(environment, "kernel"));
    line_of("hypervisor", at(hardware, "virtualization", "hypervisor"));
    line_of("platform", at(hardware, "virtualization", "platform"));
    line_of("container", at(hardware, "virtualization", "container"));
    const json_t *quota = at(hardware, "virtualization", "cpu_quota_millis");
    char text[64];
    snprintf(text, sizeof text, "%.2f processors", (double)json_integer_value(quota) / 1000);
    line("processor quota", json_is_integer(quota) ? text : "none");
    const json_t *limit = at(hardware, "virtualization", "memory_limit_bytes");
    if (json_is_integer(limit))
        line_bytes("memory limit", limit);
    else
        line("memory limit", "none");
    line_of("governor", json_object_get(environment, "governor"));
    line_of("turbo", json_object_get(environment, "turbo"));
    line_hz("clock now", json_object_get(f->machine.now, "frequency_hz"));
    line_of("microcode", json_object_get(environment, "microcode"));
    line_of("compiler", json_object_get(build, "compiler"));
    line_of("flags", json_object_get(build, "flags"));
    line_of("commit", json_object_get(build, "commit"));
}

// Prints what is missing, why, and what that costs, one row each. Prints nothing if nothing is missing.
static void print_missing(const struct findings *f)
{
    const json_t *environment = f->machine.environment;
    const char *hypervisor =
        json_string_value(at(f->machine.hardware, "virtualization", "hypervisor"));
    const char *pages = json_string_value(at(environment, "huge_pages", "transparent"));
    printf("\nWhat is missing, and what it costs\n");
    if (strcmp(counters_source(f->counters), "papi") &&
        strcmp(counters_source(f->counters), "perf"))
        line("hardware counters",
             "bytes and operations come from the analytic model, not from the processor");
    if (!f->uncore)
        line("memory traffic", f->no_uncore);
    if (!json_is_string(json_object_get(environment, "governor")))
        line("clock control", "a change of clock is seen only by the compute canary");
    if (hypervisor && strcmp(hypervisor, "none"))
        line("the whole machine", "neighbours share bandwidth: canaries watch it, intervals widen");
    if (!f->pinned)
        line("pinning", "threads move between cores: more noise");
    if (!pages || !strcmp(pages, "never"))
        line("huge pages", "more address translation in streams over memory");
    if (f->no_energy.code)
        line("energy", f->no_energy.message);
    line("CPU math library", "none is tried: peaks are those of this program's own loops");
}

static void print_devices(const struct findings *f)
{
    printf("\nDevices\n");
    for (size_t i = 0; i < f->device_count; i++) {
        const struct device_info *d = &f->devices[i];
        char text[256];
        snprintf(text, sizeof text, "%s%s",
                 d->available ? "" : "not available: ", d->available ? d->description : d->reason);
        line(d->name, text);
    }
}

static void print_counters(const struct findings *f)
{
    struct str names = {0};
    printf("\nCounters\n");
    line("source", counters_source(f->counters));
    for (size_t i = 0; i < counters_count(f->counters); i++)
        str_printf(&names, "%s%s", i ? ", " : "", counters_name(f->counters, i));
    line("counted right", names.length ? str_text(&names) : "none");
    str_fini(&names);
    if (*counters_reason(f->counters))
        line("refused", counters_reason(f->counters));
    if (f->uncore)
        line("memory traffic", uncore_source(f->uncore));
    if (!f->no_energy.code)
        line("energy", f->energy.source);
}

static enum status print_ceilings(const struct findings *f, struct error *err)
{
    static const char *const heads[] = {"ceiling",   "level",      ">set",      ">threads",
                                        ">measured", "3>interval", "4>samples", "1reached by",
                                        "2clocks",   NULL};
    struct table table;
    const struct ceilings *c = f->ceilings;
    printf("\nCeilings: median of samples taken in turn, and its interval; %s\n",
           f->pinned    ? "threads pinned"
           : f->threads ? "threads not pinned"
                        : "the device's own probes");
    table_begin(&table, heads);
    for (int i = 0; i < c->count; i++) {
        const struct ceiling *row = &c->row[i];
        const char *unit = ceilings_unit(row);
        char low[32], high[32], text[96];
        bool sized = row->set_bytes > 0; // a peak reads nothing
        table_cell(&table, "%s", row->name);
        table_cell(&table, "%s", row->level);
        table_cell(&table, "%s", sized ? format_bytes(row->set_bytes, text, sizeof text) : "");
        cli_view_threads(&table, row->threads);
        table_cell(&table, "%s", metric_format(row->value, unit, text, sizeof text));
        table_cell(&table, "%s - %s", metric_format(row->low, unit, low, sizeof low),
                   metric_format(row->high, unit, high, sizeof high));
        table_cell(&table, "%d", row->samples);
        table_cell(&table, "%s", row->kernel);
        table_cell(&table, "%s",
                   cli_view_clocks(row->clock_low_hz, row->clock_high_hz, row->memory_clock_hz,
                                   text, sizeof text));
    }
    TRY(cli_view_table(&table, err));
    if (*c->note)
        printf("\nNote: %s\n", c->note);
    return OK;
}

static enum status print_text(const struct findings *f, struct error *err)
{
    printf("Machine %.16s\n", f->machine.fingerprint);
    print_processor(f->machine.hardware);
    print_memory(f);
    print_system(f);
    print_devices(f);
    print_counters(f);
    print_missing(f);
    return print_ceilings(f, err);
}

// ---- json ---------------------------------------------------------------------------------------------

static json_t *devices_json(const struct findings *f)
{
    json_t *rows = json_array();
    for (size_t i = 0; rows && i < f->device_count; i++) {
        const struct device_info *d = &f->devices[i];
        json_array_append_new(rows, json_pack("{s:s, s:b, s:s, s:s}", "name", d->name, "available",
                                              d->available, "description", d->description, "reason",
                                              d->reason));
    }
    return rows;
}

static enum status print_json(const struct findings *f, struct error *err)
{
    json_t *names = json_array();
    for (size_t i = 0; names && i < counters_count(f->counters); i++)
        json_array_append_new(names, json_string(counters_name(f->counters, i)));
    json_t *root = json_pack(
        "{s:s, s:O, s:O, s:O, s:O, s:o, s:{s:s, s:s, s:o}, s:{s:s, s:s}, s:{s:s, s:s}, s:i, s:b, "
        "s:o, s:s}",
        "fingerprint", f->machine.fingerprint, "hardware", f->machine.hardware, "environment",
        f->machine.environment, "build", f->machine.build, "now", f->machine.now, "devices",
        devices_json(f), "counters", "source", counters_source(f->counters), "refused",
        counters_reason(f->counters), "names", names, "memory_traffic", "source",
        f->uncore ? uncore_source(f->uncore) : "", "refused", f->no_uncore, "energy", "source",
        f->energy.source, "refused", f->no_energy.message, "threads", f->threads, "pinned",
        f->pinned, "ceilings", ceilings_json(f->ceilings), "note", f->ceilings->note);
    return cli_view_json(root, err);
}

// ---- the command --------------------------------------------------------------------------------------

static enum status find_out(const struct arguments *args, struct findings *f, struct error *err)
{
    struct device *device = NULL;
    int64_t threads = cli_flag_int(args, "threads");
    if (threads < 0 || threads > 4096)
        return FAIL(err, ERR_USAGE, "--threads: %lld is not between 0 and 4096",
                    (long long)threads);
    f->ceilings = calloc(1, sizeof *f->ceilings);
    if (!f->ceilings)
        return FAIL(err, ERR_NOMEM, "machine: out of memory");
    TRY(machine_probe(&f->machine, err));
    f->device_count = device_list(f->devices, DEVICES_MAX);
    TRY(cli_device_open(args, threads, NULL, &device, err));
    f->threads = cli_device_threads(device);
    f->pinned = cli_device_pinned(device);
    device_energy(device, &f->energy, &f->no_energy);
    if (uncore_open("", &perf_system, &f->uncore, f->no_uncore) &&
        !uncore_right(f->uncore, 0, f->no_uncore)) {
        uncore_close(f->uncore);
        f->uncore = NULL;
    }
    if (counters_open(&f->counters, err) == OK)
        ceilings_measure(device, cli_flag_bool(args, "quick"), f->ceilings, err);
    device_close(device);
    return err->code;
}

static enum exit_code run(const struct arguments *args, struct error *err)
{
    struct findings findings = {0};
    struct interrupt interrupt;
    interrupt_begin(&interrupt);
    find_out(args, &findings, err);
    interrupt_end(&interrupt);
    if (err->code == OK) {
        if (cli_flag_bool(args, "json"))
            print_json(&findings, err);
        else
            print_text(&findings, err);
    }
    counters_close(findings.counters);
    uncore_close(findings.uncore);
    free(findings.ceilings);
    machine_fini(&findings.machine);
    return cli_exit_code(err);
}

const struct command command_machine = {
    .name = "machine",
    .summary = "show what this machine is, what it lacks, and its measured ceilings",
    .details =
        "Measures bandwidth of every memory level and the peak of every datapath, of the host\n"
        "or of --device: about eight seconds, or one with --quick (reads and peaks, one thread\n"
        "and all).",
    .flags =
        (const struct flag[]){
            DEVICE_FLAG,
            {"quick", 0, FLAG_BOOL, NULL, NULL, "reads and peaks only, about a second"},
            {"threads", 0, FLAG_INT, "N", "0", "threads; 0: one for each core"},
            {"json", 0, FLAG_BOOL, NULL, NULL, "print everything as JSON"},
            {0},
        },
    .run = run,
};
