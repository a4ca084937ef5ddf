// build.c - how this binary was built.
// tools/build_info.sh writes build_info.h: commit, flags, versions of the libraries compiled against. Only this file is
// rebuilt when it changes.
#include "build_info.h"

#include <string.h>

#include "bench/probe/source.h"

static void features(struct record *build)
{
    struct record features = machine_record_begin();
    machine_record_set(&features, "papi", json_boolean(HAVE_PAPI));
    machine_record_set(&features, "optimized", json_boolean(BUILD_OPTIMIZED));
    machine_record_set(&features, "sanitizers",
                       BUILD_SANITIZERS[0] ? json_string(BUILD_SANITIZERS) : json_null());
    machine_record_end(build, "features", &features);
}

// The script writes "unknown" for what it cannot find out.
static const char *known(const char *text)
{
    return strcmp(text, "unknown") ? text : NULL;
}

json_t *machine_build_json(void)
{
    static const char *const libraries[][2] = {BUILD_LIBRARIES};
    struct record build = machine_record_begin(), versions = machine_record_begin();
    machine_record_text(&build, "compiler", BUILD_COMPILER);
    machine_record_text(&build, "target", BUILD_TARGET);
    machine_record_text(&build, "flags", BUILD_FLAGS);
    machine_record_text(&build, "commit", known(BUILD_COMMIT));
    machine_record_text(&build, "source", BUILD_SOURCE); // hash of its source files
    features(&build);
    for (size_t i = 0; i < sizeof libraries / sizeof *libraries; i++)
        machine_record_text(&versions, libraries[i][0], known(libraries[i][1]));
    machine_record_end(&build, "libraries", &versions);
    if (build.failed) {
        json_decref(build.object);
        return NULL;
    }
    return build.object;
}
