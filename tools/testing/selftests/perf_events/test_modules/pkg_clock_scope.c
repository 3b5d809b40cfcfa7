// SPDX-License-Identifier: GPL-2.0
/*
 * The counters of pkg_clock the way a PMU without ->count() has them: the core
 * goes to a CPU of the package, by IPI if need be, and calls ->read() there.
 */
#include <linux/bitfield.h>
#include <linux/cpumask.h>
#include <linux/module.h>
#include <linux/perf_event.h>
#include <linux/perf_pkg.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>
#include <linux/topology.h>

#include "pkg_clock.h"

static u64 pkg_clock_scope_event(struct perf_event *event)
{
	return FIELD_GET(PERF_PKG_CONFIG_EVENT, event->attr.config);
}

/* The package is this CPU's. */
static u64 pkg_clock_scope_now(struct perf_event *event)
{
	u64 sum = 0;
	int cpu;

	if (pkg_clock_scope_event(event) == PKG_CLOCK_EVENT_CLOCK)
		return ktime_get_mono_fast_ns();

	for_each_cpu(cpu, topology_core_cpumask(smp_processor_id()))
		sum += pkg_clock_busy_ns(cpu);

	return sum;
}

static void pkg_clock_scope_read(struct perf_event *event)
{
	u64 prev, now = pkg_clock_scope_now(event);

	if (pkg_clock_scope_event(event) == PKG_CLOCK_EVENT_CLOCK) {
		local64_set(&event->count, now);
		return;
	}

	prev = local64_xchg(&event->hw.prev_count, now);
	local64_add(now - prev, &event->count);
}

static void pkg_clock_scope_start(struct perf_event *event, int flags)
{
	local64_set(&event->hw.prev_count, pkg_clock_scope_now(event));
}

static void pkg_clock_scope_stop(struct perf_event *event, int flags)
{
	pkg_clock_scope_read(event);
}

static int pkg_clock_scope_add(struct perf_event *event, int flags)
{
	if (flags & PERF_EF_START)
		pkg_clock_scope_start(event, flags);

	return 0;
}

static void pkg_clock_scope_del(struct perf_event *event, int flags)
{
	pkg_clock_scope_stop(event, PERF_EF_UPDATE);
}

static void pkg_clock_scope_destroy(struct perf_event *event)
{
	pkg_clock_busy_put();
}

/* pkg_clock has checked the attributes before it sent the event here. */
static int pkg_clock_scope_init(struct perf_event *event)
{
	int ret;

	if (event->attr.type != pkg_clock_scope.type)
		return -ENOENT;

	if (event->orig_type == pkg_clock_scope.type)
		return -EINVAL;

	if (event->attr.config1 || event->attach_state & PERF_ATTACH_TASK)
		return -EOPNOTSUPP;

	if (pkg_clock_scope_event(event) == PKG_CLOCK_EVENT_CLOCK)
		return 0;

	ret = pkg_clock_busy_get();
	if (!ret)
		event->destroy = pkg_clock_scope_destroy;

	return ret;
}

struct pmu pkg_clock_scope = {
	.module		= THIS_MODULE,
	.task_ctx_nr	= perf_sw_context,
	.scope		= PERF_PMU_SCOPE_PKG,
	.capabilities	= PERF_PMU_CAP_NO_EXCLUDE,
	.event_init	= pkg_clock_scope_init,
	.add		= pkg_clock_scope_add,
	.del		= pkg_clock_scope_del,
	.start		= pkg_clock_scope_start,
	.stop		= pkg_clock_scope_stop,
	.read		= pkg_clock_scope_read,
};

int pkg_clock_scope_register(void)
{
	return perf_pmu_register(&pkg_clock_scope, "pkg_clock_scope", -1);
}

void pkg_clock_scope_unregister(void)
{
	perf_pmu_unregister(&pkg_clock_scope);
}
