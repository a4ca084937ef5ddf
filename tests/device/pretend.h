// pretend.h - a pretend device: a list of its own behind device/ops.h, with a scripted clock and scripted probes.
// Include it in one file of a test: it replaces device/devices.c.
#ifndef TESTS_DEVICE_PRETEND_H
#define TESTS_DEVICE_PRETEND_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "device/ops.h"

enum { PRETEND_MEMORY = 1 << 26, PRETEND_NO_MEMORY = 5 };

// What the pretend GPU was asked, and what it answers.
static struct {
    int opened, closed, launched, waited;
    unsigned isa;    // of the last device opened
    uint64_t now_ns; // its clock
    uint64_t waits_ns;
    double rate;      // of probe i: rate * (i + 1)
    double library;   // of its library's bf16_dot; 0: the library is not here
    double gap_ns;    // of a launch
    double clock_hz;  // now; each reading lowers it by 1 MHz. 0: vital signs are not measured
    int disturbed;    // how many more windows are disturbed, at twice the rate
    bool fails;       // copies and launches
    int code;         // of a launch that fails: PRETEND_NO_MEMORY, or another
    size_t available; // memory
    int allocated;    // how often memory was requested
    int probed[5];    // how often each probe was run
} pretend = {.rate = 1e12, .gap_ns = 1000, .available = PRETEND_MEMORY / 2};

static size_t pretend_list(struct device_info *out, size_t max)
{
    const struct device_info rows[] = {
        {.name = "cuda:0",
         .description = "pretend GPU",
         .available = true,
         .isa = ISA_SM80 | ISA_SM90,
         .memory_bytes = PRETEND_MEMORY,
         .units = 132},
        {.name = "cuda:1", .reason = "it is lost"},
    };
    for (size_t i = 0; i < 2 && i < max; i++)
        out[i] = rows[i];
    return max < 2 ? max : 2;
}

static enum status pretend_open(const struct device_info *info,
                                const struct device_options *options, struct device **out,
                                struct error *err)
{
    (void)options;
    struct device *device = calloc(1, sizeof *device);
    if (!device)
        return FAIL(err, ERR_NOMEM, "pretend");
    device->info = *info;
    pretend.opened++;
    pretend.isa = info->isa;
    *out = device;
    return OK;
}

static void pretend_close(struct device *device)
{
    pretend.closed++;
    free(device);
}

static uint64_t pretend_now(struct device *device)
{
    (void)device;
    return pretend.now_ns;
}

static uint64_t pretend_wait_ns(const struct device *device)
{
    (void)device;
    return pretend.waits_ns;
}

static struct device_memory pretend_memory(const struct device *device)
{
    (void)device;
    return (struct device_memory){PRETEND_MEMORY, pretend.available};
}

static void *pretend_alloc(struct device *device, size_t bytes)
{
    (void)device;
    pretend.allocated++;
    return bytes > PRETEND_MEMORY ? NULL : malloc(bytes);
}

static void pretend_free(struct device *device, void *memory)
{
    (void)device;
    free(memory);
}

static enum status pretend_copy(struct device *device, void *to, const void *from, size_t bytes,
                                struct error *err)
{
    if (pretend.fails)
        return FAIL(err, ERR_IO, "device %s: lost", device->info.name);
    memcpy(to, from, bytes);
    return OK;
}

static enum status pretend_queue(struct device *device, struct device_queue **out,
                                 struct error *err)
{
    (void)device;
    *out = calloc(1, sizeof **out);
    return *out ? OK : FAIL(err, ERR_NOMEM, "pretend");
}

static void pretend_queue_destroy(struct device_queue *queue)
{
    free(queue);
}

static enum status pretend_queue_wait(struct device_queue *queue, struct error *err)
{
    (void)queue;
    (void)err;
    pretend.waited++;
    return OK;
}

static void *pretend_native(const struct device_queue *queue)
{
    (void)queue;
    return &pretend;
}

static const char *pretend_failure(int code)
{
    return code == PRETEND_NO_MEMORY ? "no room" : code == 7 ? "too many blocks" : "?";
}

static bool pretend_no_memory(int code)
{
    return code == PRETEND_NO_MEMORY;
}

static size_t pretend_probes(const struct device *device, struct device_probe *out, size_t max)
{
    static const struct device_probe probes[] = {
        {.name = "read", .level = "DRAM", .kernel = "k_read", .quick = true},
        {.name = "copy", .level = "DRAM", .kernel = "k_copy"},
        {.name = "bf16_dot", .kernel = "k_peak", .quick = true},
        {.name = "bf16_dot", .kernel = "library"},
        {.name = "launch_gap", .kernel = "k_gap"},
    };
    const size_t count = sizeof probes / sizeof *probes;
    (void)device;
    for (size_t i = 0; i < count && i < max; i++)
        out[i] = probes[i];
    return max < count ? max : count;
}

static enum status pretend_probe(struct device *device, size_t index, double *value,
                                 bool *disturbed, struct error *err)
{
    enum { LIBRARY = 3, GAP = 4 };
    pretend.probed[index]++;
    if (pretend.fails)
        return FAIL(err, ERR_IO, "device %s: lost", device->info.name);
    if (index == LIBRARY && pretend.library == 0)
        return FAIL(err, ERR_UNSUPPORTED, "the library is not here");
    *disturbed = pretend.disturbed > 0;
    *value = index == LIBRARY ? pretend.library
             : index == GAP   ? pretend.gap_ns
                              : pretend.rate * (double)(index + 1);
    *value *= *disturbed ? 2 : 1;
    pretend.disturbed -= *disturbed;
    return OK;
}

static struct device_vitals pretend_vitals(struct device *device)
{
    (void)device;
    double now = pretend.clock_hz > 0 ? pretend.clock_hz : NAN;
    pretend.clock_hz -= pretend.clock_hz > 0 ? 1e6 : 0;
    return (struct device_vitals){
        .clock_hz = now, .memory_clock_hz = now, .power_w = NAN, .temperature_c = NAN};
}

static const struct device_ops pretend_ops = {
    .list = pretend_list,
    .open = pretend_open,
    .close = pretend_close,
    .now_ns = pretend_now,
    .wait_ns = pretend_wait_ns,
    .memory = pretend_memory,
    .alloc = pretend_alloc,
    .free = pretend_free,
    .copy_in = pretend_copy,
    .copy_out = pretend_copy,
    .queue_create = pretend_queue,
    .queue_destroy = pretend_queue_destroy,
    .queue_wait = pretend_queue_wait,
    .queue_native = pretend_native,
    .failure = pretend_failure,
    .vitals = pretend_vitals,
    .no_memory = pretend_no_memory,
    .probes = pretend_probes,
    .probe_run = pretend_probe,
};

const struct device_row *device_rows(size_t *count)
{
    static const struct device_row rows[] = {
        {.kind = DEVICE_HOST, .word = DEVICE_DEFAULT, .ops = &device_host_ops},
        {.kind = DEVICE_CUDA, .word = "cuda", .numbered = true, .ops = &pretend_ops},
        {.kind = DEVICE_METAL, .word = "metal", .absent = "no Metal here"},
    };
    *count = sizeof rows / sizeof *rows;
    return rows;
}

static inline struct device *pretend_opened(const char *word, unsigned isa)
{
    struct error err = {0};
    struct device *device = NULL;
    struct device_options options = {.threads = 1, .isa = isa};
    if (device_open(word, &options, &device, &err) != OK)
        fail_msg("%s: %s", word, err.message);
    return device;
}

#endif
