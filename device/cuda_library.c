// cuda_library.c - opens one of NVIDIA's libraries at run time and fills a table of its functions by their names.
//
// Building and starting need none of these libraries. If one cannot be opened, that is a reason to report, not an
// error. An opened library stays open.
#include "device/cuda_driver.h"

#include <dlfcn.h>
#include <stdio.h>

bool cuda_library_open(const char *file, const struct cuda_symbol *symbols, size_t count,
                       void *table, const char **missing)
{
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    *missing = NULL;
    if (!library)
        return false;
    for (size_t i = 0; i < count; i++) {
        void *symbol = dlsym(library, symbols[i].name);
        if (!symbol) {
            *missing = symbols[i].name;
            dlclose(library);
            return false;
        }
        *(void **)((char *)table + symbols[i].offset) = symbol;
    }
    return true;
}

bool cuda_library_open_first(const struct cuda_library *library, const struct cuda_symbol *symbols,
                             size_t count, void *table, char *reason, size_t reason_bytes)
{
    const char *missing = NULL, *lacking = NULL;
    for (size_t i = 0; i < library->file_count; i++) {
        if (cuda_library_open(library->files[i], symbols, count, table, &missing))
            return true;
        lacking = missing ? missing : lacking;
    }
    if (lacking)
        snprintf(reason, reason_bytes, "%s is too old: it has no %s", library->name, lacking);
    else
        snprintf(reason, reason_bytes, "%s is not found: %s", library->name, library->remedy);
    return false;
}
