// support.c - the table behind `bench model info`: each feature that a checkpoint needs, whether it is supported, and
// why.
#include "bench/cli/support.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/str.h"
#include "bench/cli/checkpoint.h"

void cli_support_find(const char *name, struct support *out)
{
    struct error ignored = {0};
    char *path;
    cli_checkpoint_path(name, &path, &ignored);
    out->count = path ? checkpoint_inspect(path, out->items, SUPPORT_MAX) : 0;
    free(path);
}

void cli_support_print(const struct support *support)
{
    if (support->count)
        printf("\n  %-14s %-10s %s\n", "asks for", "supported", "what");
    for (size_t i = 0; i < support->count; i++) {
        const struct checkpoint_item *item = &support->items[i];
        const char *supported = item->supported ? "yes" : "no";
        const char *found = str_equal(item->found, supported) ? "" : item->found; // not twice
        const char *between = found[0] && item->note[0] ? ": " : "";
        printf("  %-14s %-10s %s%s%s\n", item->area, supported, found, between, item->note);
    }
}

json_t *cli_support_json(const struct support *support)
{
    json_t *list = json_array();
    for (size_t i = 0; i < support->count; i++) {
        const struct checkpoint_item *item = &support->items[i];
        json_array_append_new(list, json_pack("{s:s, s:s, s:b, s:s}", "area", item->area, "found",
                                              item->found, "supported", item->supported, "note",
                                              item->note));
    }
    return list;
}
