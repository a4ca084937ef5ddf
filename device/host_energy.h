// host_energy.h - the energy of the processor's packages and their memory, by RAPL. For host.c and tests.
//
// Linux shows the counters of Intel and AMD as "power caps", one folder for each domain. The packages are added up, and
// their memory where it has its own counter. Cores and graphics are parts of a package.
// Source: Linux, Documentation/power/powercap/powercap.rst.
#ifndef DEVICE_HOST_ENERGY_H
#define DEVICE_HOST_ENERGY_H

#include "device/device.h"

enum { DEVICE_RAPL_DOMAINS = 32 };

struct device_rapl {
    int count;
    struct device_rapl_domain {
        char path[640];  // of its counter
        double range_uj; // the counter wraps to 0 above this value
        double last_uj;
    } domain[DEVICE_RAPL_DOMAINS];
    // The sum so far. A counter that wraps is handled if it is read at least once per wrap.
    double joules;
    char source[64];
};

// root: put before every path: "" for this machine, a folder for a captured one.
// Errors: ERR_UNSUPPORTED with what is missing and the remedy.
enum status device_rapl_open(const char *root, struct device_rapl *out, struct error *err);
enum status device_rapl_read(struct device_rapl *rapl, struct device_energy *out,
                             struct error *err);

#endif
