// topology.c - cores, caches, NUMA nodes and core kinds from hwloc, and the memory levels.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bench/probe/source.h"

enum status topology_load(const char *hwloc_xml, hwloc_topology_t *out, struct error *err)
{
    hwloc_topology_t topology;
    if (hwloc_topology_init(&topology) != 0)
        return FAIL(err, ERR_NOMEM, "topology: out of memory");
    hwloc_topology_set_icache_types_filter(topology, HWLOC_TYPE_FILTER_KEEP_ALL);
    if (hwloc_xml && hwloc_topology_set_xml(topology, hwloc_xml) != 0) {
        hwloc_topology_destroy(topology);
        return FAIL(err, ERR_FORMAT, "%s: hwloc cannot read this as a topology", hwloc_xml);
    }
    if (hwloc_topology_load(topology) != 0) {
        hwloc_topology_destroy(topology);
        return FAIL(err, hwloc_xml ? ERR_FORMAT : ERR_IO, "%s: hwloc cannot load the topology",
                    hwloc_xml ? hwloc_xml : "this machine");
    }
    *out = topology;
    return OK;
}

const char *topology_cpu_info(hwloc_topology_t topology, const char *name)
{
    hwloc_obj_t package = hwloc_get_obj_by_type(topology, HWLOC_OBJ_PACKAGE, 0);
    const char *value = package ? hwloc_obj_get_info_by_name(package, name) : NULL;
    if (!value) // some systems store it at the machine
        value = hwloc_obj_get_info_by_name(hwloc_get_root_obj(topology), name);
    return value;
}

static int count_of(hwloc_topology_t topology, hwloc_obj_type_t type)
{
    int count = hwloc_get_nbobjs_by_type(topology, type);
    return count > 0 ? count : 0;
}

static int count_inside(hwloc_topology_t topology, hwloc_obj_t object, hwloc_obj_type_t type)
{
    int count = hwloc_get_nbobjs_inside_cpuset_by_type(topology, object->cpuset, type);
    return count > 0 ? count : 0;
}

// ---- caches -----------------------------------------------------------------------------------------

static const char *cache_type_name(hwloc_obj_cache_type_t type)
{
    switch (type) {
    case HWLOC_OBJ_CACHE_UNIFIED:
        return "unified";
    case HWLOC_OBJ_CACHE_DATA:
        return "data";
    case HWLOC_OBJ_CACHE_INSTRUCTION:
        return "instruction";
    }
    return "unknown";
}

// One row per distinct (level, type, size, sharing), so that a machine with 64 equal caches has one.
static void add_cache(json_t *caches, hwloc_topology_t topology, hwloc_obj_t cache)
{
    const struct hwloc_cache_attr_s *attr = &cache->attr->cache;
    json_int_t size = (json_int_t)attr->size, units = count_inside(topology, cache, HWLOC_OBJ_PU);
    size_t i;
    json_t *row;
    json_array_foreach(caches, i, row)
    {
        if (json_integer_value(json_object_get(row, "level")) == (json_int_t)attr->depth &&
            json_integer_value(json_object_get(row, "size_bytes")) == size &&
            json_integer_value(json_object_get(row, "processing_units")) == units &&
            !strcmp(json_string_value(json_object_get(row, "type")), cache_type_name(attr->type))) {
            json_t *instances = json_object_get(row, "instances");
            json_integer_set(instances, json_integer_value(instances) + 1);
            return;
        }
    }
    // A virtual machine may omit size or line; they become null, not zero.
    json_array_append_new(caches,
                          json_pack("{s:i, s:s, s:o, s:o, s:I, s:i}", "level", (int)attr->depth,
                                    "type", cache_type_name(attr->type), "size_bytes",
                                    size ? json_integer(size) : json_null(), "line_bytes",
                                    attr->linesize ? json_integer(attr->linesize) : json_null(),
                                    "processing_units", units, "instances", 1));
}

static json_t *caches_json(hwloc_topology_t topology)
{
    static const hwloc_obj_type_t types[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L1ICACHE,
                                             HWLOC_OBJ_L2CACHE, HWLOC_OBJ_L3CACHE,
                                             HWLOC_OBJ_L4CACHE};
    json_t *caches = json_array();
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        for (int i = 0; i < count_of(topology, types[t]); i++)
            add_cache(caches, topology, hwloc_get_obj_by_type(topology, types[t], (unsigned)i));
    return caches;
}

// ---- NUMA nodes, core kinds ---------------------------------------------------------------------------

static json_t *numa_json(hwloc_topology_t topology)
{
    json_t *nodes = json_array();
    for (int i = 0; i < count_of(topology, HWLOC_OBJ_NUMANODE); i++) {
        hwloc_obj_t node = hwloc_get_obj_by_type(topology, HWLOC_OBJ_NUMANODE, (unsigned)i);
        hwloc_uint64_t bytes = node->attr->numanode.local_memory;
        json_array_append_new(
            nodes,
            json_pack("{s:i, s:o, s:i}", "node", (int)node->os_index, "memory_gib",
                      bytes ? json_integer((json_int_t)((bytes + (1 << 29)) >> 30)) : json_null(),
                      "processing_units", count_inside(topology, node, HWLOC_OBJ_PU)));
    }
    return nodes;
}

static json_t *kinds_json(hwloc_topology_t topology)
{
    json_t *kinds = json_array();
    int count = hwloc_cpukinds_get_nr(topology, 0);
    for (int i = 0; i < count; i++) {
        hwloc_bitmap_t units = hwloc_bitmap_alloc();
        int efficiency = -1;
        unsigned infos_count = 0;
        struct hwloc_info_s *infos = NULL;
        if (units && !hwloc_cpukinds_get_info(topology, (unsigned)i, units, &efficiency,
                                              &infos_count, &infos, 0)) {
            json_t *kind = json_pack(
                "{s:i, s:i, s:o}", "processing_units", hwloc_bitmap_weight(units), "cores",
                hwloc_get_nbobjs_inside_cpuset_by_type(topology, units, HWLOC_OBJ_CORE), "rank",
                efficiency < 0 ? json_null() : json_integer(efficiency)); // higher: faster
            for (unsigned n = 0; n < infos_count; n++)
                if (!strcmp(infos[n].name, "CoreType"))
                    json_object_set_new(kind, "type", json_string(infos[n].value));
            json_array_append_new(kinds, kind);
        }
        hwloc_bitmap_free(units);
    }
    return kinds;
}

json_t *topology_json(hwloc_topology_t topology)
{
    return json_pack("{s:i, s:i, s:i, s:o, s:o, s:o}", "packages",
                     count_of(topology, HWLOC_OBJ_PACKAGE), "cores",
                     count_of(topology, HWLOC_OBJ_CORE), "processing_units",
                     count_of(topology, HWLOC_OBJ_PU), "caches", caches_json(topology), "numa",
                     numa_json(topology), "kinds", kinds_json(topology));
}

// ---- memory levels ------------------------------------------------------------------------------------

static bool cache_level(hwloc_topology_t topology, hwloc_obj_type_t type, struct memory_level *out)
{
    double least = 0; // bytes for each core
    int count = count_of(topology, type);
    for (int i = 0; i < count; i++) {
        hwloc_obj_t cache = hwloc_get_obj_by_type(topology, type, (unsigned)i);
        int cores = count_inside(topology, cache, HWLOC_OBJ_CORE);
        int units = count_inside(topology, cache, HWLOC_OBJ_PU);
        size_t size = (size_t)cache->attr->cache.size;
        if (!size || !units)
            continue;
        if (cores == 0)
            cores = units; // systems that do not report cores
        if (least > 0 && (double)size / cores >= least)
            continue;
        least = (double)size / cores;
        *out = (struct memory_level){
            .size_bytes = size, .cores = cores, .shared_by = units, .instances = count};
    }
    return least > 0;
}

int topology_levels(hwloc_topology_t topology, struct memory_level out[MEMORY_LEVELS_MAX])
{
    static const hwloc_obj_type_t types[] = {HWLOC_OBJ_L1CACHE, HWLOC_OBJ_L2CACHE,
                                             HWLOC_OBJ_L3CACHE, HWLOC_OBJ_L4CACHE};
    int count = 0;
    for (size_t t = 0; t < sizeof types / sizeof *types; t++)
        if (cache_level(topology, types[t], &out[count]))
            snprintf(out[count++].name, sizeof out->name, "L%d", (int)t + 1);

    int units = count_of(topology, HWLOC_OBJ_PU), cores = count_of(topology, HWLOC_OBJ_CORE);
    int64_t memory = OS_UNKNOWN;
    if (hwloc_topology_is_thissystem(topology))
        memory = os_memory_total_bytes();
    if (memory == OS_UNKNOWN && hwloc_get_root_obj(topology)->total_memory)
        memory = (int64_t)hwloc_get_root_obj(topology)->total_memory;
    out[count] =
        (struct memory_level){.name = "DRAM",
                              .size_bytes = memory == OS_UNKNOWN ? SIZE_MAX : (size_t)memory,
                              .cores = cores ? cores : units,
                              .shared_by = units,
                              .instances = 1};
    return count + 1;
}

int machine_memory_levels(struct memory_level out[MEMORY_LEVELS_MAX])
{
    struct error err = {0};
    hwloc_topology_t topology;
    if (topology_load(NULL, &topology, &err) != OK)
        return 0;
    int count = topology_levels(topology, out);
    hwloc_topology_destroy(topology);
    return count;
}

size_t topology_level_capacity(const struct memory_level *level, int threads)
{
    int used = (threads + level->cores - 1) / level->cores;
    if (used < 1)
        used = 1;
    if (used > level->instances)
        used = level->instances;
    return level->size_bytes * (size_t)used;
}

int topology_level_of(const struct memory_level *levels, int count, int threads,
                      double working_set_bytes)
{
    for (int i = 0; i < count - 1; i++)
        if (working_set_bytes <= (double)topology_level_capacity(&levels[i], threads))
            return i;
    return count - 1;
}
