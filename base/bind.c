// bind.c - cores before hardware threads, fast core kinds before slow ones (hwloc's cpukinds).
#include "base/bind.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

enum status bind_topology(hwloc_topology_t *out, struct error *err)
{
    if (hwloc_topology_init(out) != 0)
        return FAIL(err, ERR_NOMEM, "hwloc: no memory for the topology");
    // A pool needs only cores and units. Leaving out the rest makes loading several times faster.
    hwloc_topology_set_all_types_filter(*out, HWLOC_TYPE_FILTER_KEEP_NONE);
    hwloc_topology_set_type_filter(*out, HWLOC_OBJ_CORE, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_topology_load(*out) != 0) {
        enum status status = FAIL_OS(err, errno, "hwloc cannot read the topology");
        hwloc_topology_destroy(*out);
        return status;
    }
    return OK;
}

// The sets that shrink while the order is built: units not yet taken, and those of them whose core has not contributed
// a unit in this pass.
struct remaining {
    hwloc_cpuset_t left, pass;
};

// Takes one unit of every core that still has one in `wanted` and has not contributed one in this pass.
static void take_one_per_core(hwloc_topology_t topology, hwloc_const_cpuset_t wanted,
                              struct remaining *rest, struct bind_order *order)
{
    hwloc_obj_t core = NULL;
    bool has_cores = hwloc_get_nbobjs_by_type(topology, HWLOC_OBJ_CORE) > 0;
    hwloc_obj_type_t type = has_cores ? HWLOC_OBJ_CORE : HWLOC_OBJ_PU; // some VMs report no cores
    while ((core = hwloc_get_next_obj_by_type(topology, type, core)) != NULL) {
        int unit = hwloc_bitmap_first(core->cpuset);
        while (unit >= 0 && !(hwloc_bitmap_isset(wanted, (unsigned)unit) &&
                              hwloc_bitmap_isset(rest->pass, (unsigned)unit)))
            unit = hwloc_bitmap_next(core->cpuset, unit);
        if (unit < 0)
            continue;
        order->units[order->count++] = (unsigned)unit;
        hwloc_bitmap_clr(rest->left, (unsigned)unit);
        hwloc_bitmap_andnot(rest->pass, rest->pass, core->cpuset);
    }
}

// One pass over the machine: kind by kind from the fastest, then all units without a ranked kind.
static void take_pass(hwloc_topology_t topology, struct remaining *rest, hwloc_cpuset_t kind_set,
                      struct bind_order *order)
{
    hwloc_bitmap_copy(rest->pass, rest->left);
    for (int kind = hwloc_cpukinds_get_nr(topology, 0) - 1; kind >= 0; kind--) {
        int efficiency = -1; // hwloc's rank: higher is faster, -1 when it does not know
        if (hwloc_cpukinds_get_info(topology, (unsigned)kind, kind_set, &efficiency, NULL, NULL,
                                    0) == 0 &&
            efficiency >= 0)
            take_one_per_core(topology, kind_set, rest, order);
    }
    take_one_per_core(topology, hwloc_topology_get_topology_cpuset(topology), rest, order);
}

enum status bind_order(hwloc_topology_t topology, hwloc_const_cpuset_t allowed,
                       struct bind_order *out, struct error *err)
{
    enum status status = OK;
    *out = (struct bind_order){0};
    struct remaining rest = {hwloc_bitmap_alloc(), hwloc_bitmap_alloc()};
    hwloc_cpuset_t kind_set = hwloc_bitmap_alloc();
    if (!rest.left || !rest.pass || !kind_set) {
        status = FAIL(err, ERR_NOMEM, "no memory for the set of processors");
        goto out;
    }
    hwloc_bitmap_and(rest.left, allowed, hwloc_topology_get_topology_cpuset(topology));
    int total = hwloc_bitmap_weight(rest.left);
    if (total <= 0) {
        status = FAIL(err, ERR_INTERNAL, "no processing unit may be used");
        goto out;
    }
    out->units = calloc((size_t)total, sizeof *out->units);
    if (!out->units) {
        status = FAIL(err, ERR_NOMEM, "no memory for %d processors", total);
        goto out;
    }
    while (out->count < total) {
        int before = out->count;
        take_pass(topology, &rest, kind_set, out);
        if (!before)
            out->cores = out->count;
        if (out->count == before) // the rest are units outside every core
            break;
    }
out:
    hwloc_bitmap_free(rest.left);
    hwloc_bitmap_free(rest.pass);
    hwloc_bitmap_free(kind_set);
    return status;
}

size_t bind_cache_bytes(hwloc_topology_t topology, const struct bind_order *order, int count)
{
    size_t bytes = 0;
    hwloc_bitmap_t reached = hwloc_bitmap_alloc();
    for (int i = 0; reached && i < count; i++)
        hwloc_bitmap_set(reached, order->units[i]);
    int depth = hwloc_get_cache_type_depth(topology, 4, HWLOC_OBJ_CACHE_UNIFIED);
    for (int level = 3; depth < 0 && level > 1; level--)
        depth = hwloc_get_cache_type_depth(topology, (unsigned)level, HWLOC_OBJ_CACHE_UNIFIED);
    for (hwloc_obj_t cache = NULL;
         depth >= 0 && reached && (cache = hwloc_get_next_obj_by_depth(topology, depth, cache));)
        if (hwloc_bitmap_intersects(cache->cpuset, reached))
            bytes += cache->attr->cache.size;
    hwloc_bitmap_free(reached);
    return bytes;
}

void bind_order_fini(struct bind_order *order)
{
    free(order->units);
    *order = (struct bind_order){0};
}
