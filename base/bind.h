// bind.h - the processing units of a pool's threads, and their order.
//
// It is separate from the pool so that other machines can be tested: hwloc also builds a topology from a description.
#ifndef BASE_BIND_H
#define BASE_BIND_H

#include <hwloc.h>

#include "base/status.h"

struct bind_order {
    unsigned *units; // os_index of each usable processing unit, owned
    int count;       // number of units
    int cores;       // the first `cores` of them are on separate cores
};

// Loads this machine's cores, units and core kinds. The caller destroys the topology.
enum status bind_topology(hwloc_topology_t *out, struct error *err);

// The units of `allowed`: first one per core, the fastest core kind first and in the machine's order within a kind.
// Then comes the second hardware thread of each core in the same order, and so on.
// Errors: ERR_NOMEM, ERR_INTERNAL when nothing is allowed.
enum status bind_order(hwloc_topology_t topology, hwloc_const_cpuset_t allowed,
                       struct bind_order *out, struct error *err);
void bind_order_fini(struct bind_order *order);

// Bytes of last-level cache that the first `count` units of the order reach together. A shared cache counts once. 0 if
// the system reports no caches.
size_t bind_cache_bytes(hwloc_topology_t topology, const struct bind_order *order, int count);

#endif
