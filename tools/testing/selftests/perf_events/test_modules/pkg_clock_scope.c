// SPDX-License-Identifier: GPL-2.0
/*
 * The counters of pkg_clock the two ways a PMU without ->count() can have them
 *
 *   pkg_clock_scope	of package scope: the core goes to a CPU of the package,
 *			by IPI if need be, and calls ->read() there
 *   pkg_clock_sys	of system-wide scope: ->read() sums on any CPU what the
 *			packages have published, see pkg_clock_sys.c
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

static bool pkg_clock_scope_is_clock(struct perf_event *event)
{
	return FIELD_GET(PERF_PKG_CONFIG_EVENT, event->attr.config) == PKG_CLOCK_EVENT_CLOCK;
}

/* With package scope the package is this CPU's. */
static u64 pkg_clock_scope_now(struct perf_event *event)
{
	u64 sum = 0;
	int cpu;

	if (event->pmu == &pkg_clock_sys)
		return pkg_clock_sys_sum(event->hw.config, pkg_clock_scope_is_clock(event));

	if (pkg_clock_scope_is_clock(event))
		return ktime_get_mono_fast_ns();

	for_each_cpu(cpu, topology_core_cpumask(smp_processor_id()))
		sum += pkg_clock_busy_ns(cpu);

	return sum;
}

static void pkg_clock_scope_read(struct perf_event *event)
{
	u64 prev, now;

	/* What is read may just be written by this CPU. Hardware has no such trouble. */
	if (in_nmi())
		return;

	now = pkg_clock_scope_now(event);
	if (pkg_clock_scope_is_clock(event)) {
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

/* pkg_clock has checked the attributes before it sent the event here. */
static int pkg_clock_scope_check(struct perf_event *event)
{
	if (event->attr.type != event->pmu->type)
		return -ENOENT;

	if (event->orig_type == event->pmu->type)
		return -EINVAL;

	return event->attach_state & PERF_ATTACH_TASK ? -EINVAL : 0;
}

static int pkg_clock_scope_init(struct perf_event *event)
{
	int ret = pkg_clock_scope_check(event);

	return !ret && event->attr.config1 ? -EINVAL : ret;
}

static void pkg_clock_sys_destroy(struct perf_event *event)
{
	pkg_clock_sys_put();
}

static int pkg_clock_sys_init(struct perf_event *event)
{
	int ret;

	ret = pkg_clock_scope_check(event);
	if (ret)
		return ret;

	pkg_clock_sys_get();
	event->hw.config = pkg_clock_sys_select(event->attr.config1);
	if (!event->hw.config) {
		pkg_clock_sys_put();
		return -EINVAL;
	}
	event->destroy = pkg_clock_sys_destroy;

	return 0;
}

#define PKG_CLOCK_SCOPE_PMU(_scope, _event_init) {		\
	.module		= THIS_MODULE,				\
	.task_ctx_nr	= perf_sw_context,			\
	.scope		= _scope,				\
	.capabilities	= PERF_PMU_CAP_NO_EXCLUDE,		\
	.event_init	= _event_init,				\
	.add		= pkg_clock_scope_add,			\
	.del		= pkg_clock_scope_del,			\
	.start		= pkg_clock_scope_start,		\
	.stop		= pkg_clock_scope_stop,			\
	.read		= pkg_clock_scope_read,			\
}

struct pmu pkg_clock_scope = PKG_CLOCK_SCOPE_PMU(PERF_PMU_SCOPE_PKG, pkg_clock_scope_init);
struct pmu pkg_clock_sys = PKG_CLOCK_SCOPE_PMU(PERF_PMU_SCOPE_SYS_WIDE, pkg_clock_sys_init);

int pkg_clock_scope_register(void)
{
	int ret;

	ret = perf_pmu_register(&pkg_clock_scope, "pkg_clock_scope", -1);
	if (ret)
		return ret;

	ret = perf_pmu_register(&pkg_clock_sys, "pkg_clock_sys", -1);
	if (ret)
		perf_pmu_unregister(&pkg_clock_scope);

	return ret;
}

void pkg_clock_scope_unregister(void)
{
	perf_pmu_unregister(&pkg_clock_sys);
	perf_pmu_unregister(&pkg_clock_scope);
}
