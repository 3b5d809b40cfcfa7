/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How old the value is that a reader on the first package gets of a counter on
 * the last one. pkg_clock's event "clock" has as value the time at which it was
 * read on its package, so now minus the value is the staleness.
 */
#ifndef PKG_STALENESS_H
#define PKG_STALENESS_H

#include "pkg_puppet.h"

#define BURST_US	2000

/* The task that is monitored */
static struct puppet task;

/* Where it runs: as far from the reader as can be */
static inline int stale_cpu(void)
{
	int last = topo.nr - 1;

	return topo.pkg[last].cpu[topo.pkg[last].nr_cpus - 1];
}

static inline struct perf_event_attr stale_attr(int policy, int pkg)
{
	return pkg_attr(PKG_CLOCK | PKG_POLICY(policy), topo.pkg[pkg].id);
}

/* The task's clock on the package with index @pkg */
static inline int stale_open(int policy, int pkg)
{
	return pkg_open(stale_attr(policy, pkg), task.pid, -1, -1);
}

static inline long stale_seed(long seed)
{
	srandom(seed);
	return 0;
}

/* The reader stays on the first package, the task starts on the last */
static inline const char *stale_setup(void)
{
	if (pkg_pin(topo.pkg[0].cpu[0]))
		return "cannot run on the first package";
	if (puppet_new(&task))
		return "no second task";
	/* Not what the reader draws */
	puppet_call(&task, stale_seed, 2);
	if (puppet_call(&task, pkg_pin, stale_cpu()))
		return "cannot run on the last package";
	return NULL;
}

#endif /* PKG_STALENESS_H */
