/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _PKG_CLOCK_H
#define _PKG_CLOCK_H

#include <linux/perf_event.h>
#include <linux/topology.h>
#include <linux/types.h>

#define PKG_CLOCK_EVENT_RUNTIME	0x01
#define PKG_CLOCK_EVENT_CLOCK	0x02

static inline int pkg_clock_package(unsigned int cpu)
{
	return topology_physical_package_id(cpu);
}

/* pkg_clock_busy.c: how long each CPU was not idle */
int pkg_clock_busy_start(void);
void pkg_clock_busy_stop(void);
u64 pkg_clock_busy_ns(int cpu);

/* pkg_clock_sys.c: what all CPUs of each package do, published by timers */
void pkg_clock_sys_get(void);
void pkg_clock_sys_put(void);
u64 pkg_clock_sys_select(u64 packages);
u64 pkg_clock_sys_sum(u64 slots, bool clock);

/* pkg_clock_scope.c: the same counters by pmu::scope and ->read() */
extern struct pmu pkg_clock_scope;
extern struct pmu pkg_clock_sys;
int pkg_clock_scope_register(void);
void pkg_clock_scope_unregister(void);

#endif /* _PKG_CLOCK_H */
