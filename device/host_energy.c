// host_energy.c - reads RAPL's domains below /sys/class/powercap.
#include "device/host_energy.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/str.h"

#define POWERCAP "/sys/class/powercap"

// Counters of Intel and AMD move about every millisecond.
enum { UPDATE_NS = 1000 * 1000 };

// The first line of a file, without its end. False with errno where it cannot be read.
static bool read_line(const char *folder, const char *file, char *out, size_t bytes)
{
    char path[1024];
    snprintf(path, sizeof path, "%s%s%s", folder, file ? "/" : "", file ? file : "");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t count = fd < 0 ? -1 : read(fd, out, bytes - 1);
    int failed = errno;
    if (fd >= 0)
        close(fd);
    errno = failed;
    out[count > 0 ? count : 0] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return count > 0;
}

static bool read_number(const char *folder, const char *file, double *out)
{
    char text[32], *end;
    if (!read_line(folder, file, text, sizeof text))
        return false;
    *out = strtod(text, &end);
    errno = end == text || *end ? EINVAL : 0;
    return errno == 0;
}

// "package-0" and "dram" count; "psys" includes both, "core" and "uncore" are parts of a package.
static bool is_counted(const char *name)
{
    return str_starts(name, "package") || str_equal(name, "dram");
}

// Names each kind once, because the packages of a machine differ only in number.
static void add_source(struct device_rapl *rapl, const char *name)
{
    size_t used = strlen(rapl->source), length = strcspn(name, "-");
    char word[32];
    snprintf(word, sizeof word, "%.*s", (int)length, name);
    if (!strstr(rapl->source, word))
        snprintf(rapl->source + used, sizeof rapl->source - used, "%s%s",
                 used ? ", " : "RAPL counters: ", word);
}

static enum status add_domain(struct device_rapl *rapl, const char *folder, const char *name,
                              struct error *err)
{
    struct device_rapl_domain *d = &rapl->domain[rapl->count];
    if (rapl->count == DEVICE_RAPL_DOMAINS)
        return FAIL(err, ERR_UNSUPPORTED, POWERCAP " has more than %d domains",
                    DEVICE_RAPL_DOMAINS);
    if ((size_t)snprintf(d->path, sizeof d->path, "%s/energy_uj", folder) >= sizeof d->path)
        return FAIL(err, ERR_UNSUPPORTED, "%s: the path is too long", folder);
    if (!read_number(d->path, NULL, &d->last_uj))
        return errno == EACCES || errno == EPERM
                   ? FAIL(err, ERR_UNSUPPORTED,
                          "%s may be read by root alone: run as root, or let root run chmod a+r on "
                          "it",
                          d->path)
                   : FAIL(err, ERR_UNSUPPORTED, "%s cannot be read: %s", d->path, strerror(errno));
    if (!read_number(folder, "max_energy_range_uj", &d->range_uj))
        d->range_uj = 0;
    add_source(rapl, name);
    rapl->count++;
    return OK;
}

// A folder "intel-rapl:0" or "intel-rapl:0:1", of AMD's processors too. Those of "intel-rapl-mmio" count the same
// packages again.
static enum status look_at(struct device_rapl *rapl, const char *root, const char *entry,
                           struct error *err)
{
    char folder[600], name[64];
    if (!str_starts(entry, "intel-rapl:"))
        return OK;
    snprintf(folder, sizeof folder, "%s" POWERCAP "/%s", root, entry);
    if (!read_line(folder, "name", name, sizeof name) || !is_counted(name))
        return OK;
    return add_domain(rapl, folder, name, err);
}

enum status device_rapl_open(const char *root, struct device_rapl *out, struct error *err)
{
    char path[256];
    *out = (struct device_rapl){0};
    snprintf(path, sizeof path, "%s" POWERCAP, root);
    DIR *dir = opendir(path);
    if (!dir)
        return FAIL(err, ERR_UNSUPPORTED,
                    "the processor's energy is not counted: there is no %s (virtual machines and "
                    "containers usually hide it)",
                    path);
    for (struct dirent *entry; err->code == OK && (entry = readdir(dir)) != NULL;)
        look_at(out, root, entry->d_name, err);
    closedir(dir);
    if (err->code == OK && out->count == 0)
        FAIL(err, ERR_UNSUPPORTED,
             "the processor's energy is not counted: %s has no package of intel-rapl (on a server "
             "of Intel or AMD, modprobe intel_rapl_msr adds them)",
             path);
    return err->code;
}

enum status device_rapl_read(struct device_rapl *rapl, struct device_energy *out, struct error *err)
{
    for (int i = 0; i < rapl->count; i++) {
        struct device_rapl_domain *d = &rapl->domain[i];
        double now_uj = 0;
        if (!read_number(d->path, NULL, &now_uj))
            return FAIL(err, ERR_UNSUPPORTED, "%s cannot be read: %s", d->path, strerror(errno));
        double used_uj = now_uj - d->last_uj;
        rapl->joules += (used_uj < 0 ? used_uj + d->range_uj : used_uj) / 1e6;
        d->last_uj = now_uj;
    }
    *out = (struct device_energy){.joules = rapl->joules, .update_ns = UPDATE_NS};
    snprintf(out->source, sizeof out->source, "%s", rapl->source);
    return OK;
}
