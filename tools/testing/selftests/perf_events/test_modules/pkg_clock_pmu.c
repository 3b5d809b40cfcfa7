// SPDX-License-Identifier: GPL-2.0
/*
 * pkg_clock: a PMU whose package-scope counters are kept in software
 *
 * Reference driver and test instrument of the engine in kernel/events/pkg.c. It
 * needs no hardware, and what its events should say is known from elsewhere:
 *
 *   runtime	ns that the monitored task and its children ran on a package:
 *		summed over packages it is task-clock. For a CPU event, ns that
 *		the CPU was not idle.
 *   clock	ktime at the read, in ns: now minus it is the staleness
 *
 * The field "policy" chooses how an event's values get from the package to the
 * reader: by the engine's timer, or in one of the ways that came before it.
 *
 * The "hardware" is one clock per counter and CPU. Each is written by its own
 * CPU with interrupts off, in ->start() and ->stop(), and read by the CPUs of
 * the package under its sequence counter.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitfield.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/irqflags.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/perf_pkg.h>
#include <linux/preempt.h>
#include <linux/sched/clock.h>
#include <linux/seqlock.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/topology.h>

#include "pkg_clock.h"

#define PKG_CLOCK_POLICY	GENMASK_ULL(11, 8)

enum pkg_clock_policy {
	PKG_CLOCK_TIMER,	/* slots refreshed by the engine's timer */
	PKG_CLOCK_CACHED,	/* read at context switch only, as in 2014 */
	PKG_CLOCK_IPI,		/* read by IPI when the event is, as in 4.1 */
	PKG_CLOCK_SCOPE,	/* pmu::scope and ->read(), no ->count() */
	PKG_CLOCK_SYS,		/* likewise, of what a timer has published */
	PKG_CLOCK_POLICIES,
};

static unsigned int fail_read;
module_param(fail_read, uint, 0644);
MODULE_PARM_DESC(fail_read, "Let every n-th hardware read fail with -EIO (0: none)");

static unsigned int slow_read_us;
module_param(slow_read_us, uint, 0644);
MODULE_PARM_DESC(slow_read_us, "Time that a hardware read takes longer, in us");

static int fault_package = -1;
module_param(fault_package, int, 0644);
MODULE_PARM_DESC(fault_package, "Package where reads fail or are slow (-1: all)");

/* One CPU's share of a counter */
struct pkg_clock_cpu {
	seqcount_t	seq;
	bool		running;
	u64		start;
	u64		sum;
	/* The context that keeps the event's time, while it runs */
	struct perf_event_context *ctx;
};

struct pkg_clock_counter {
	struct perf_pkg_counter		counter;
	/* pkg_clock_runtime or pkg_clock_clock */
	u64				event;
	/* A CPU event: its CPU, else -1 */
	int				cpu;
	struct pkg_clock_cpu __percpu	*hw;
	/* One CPU of each package selected, those of the time of open */
	struct cpumask			readers;
};

static struct pkg_clock_counter *to_pkg_clock(struct perf_pkg_counter *counter)
{
	return container_of(counter, struct pkg_clock_counter, counter);
}

/* The time of the event's context, as task-clock has it: both must agree. */
static u64 pkg_clock_now(struct pkg_clock_counter *pc, struct perf_event *event)
{
	if (pc->cpu >= 0)
		return pkg_clock_busy_ns(pc->cpu);

	return event->ctx->timestamp;
}

static void pkg_clock_start(struct perf_pkg_counter *counter, struct perf_event *event)
{
	struct pkg_clock_counter *pc = to_pkg_clock(counter);
	struct pkg_clock_cpu *hw;

	if (pc->event != PKG_CLOCK_EVENT_RUNTIME)
		return;

	hw = this_cpu_ptr(pc->hw);
	write_seqcount_begin(&hw->seq);
	hw->start = pkg_clock_now(pc, event);
	hw->ctx = event->ctx;
	/* Pairs with smp_load_acquire() in pkg_clock_read_cpu(): ->ctx is valid. */
	smp_store_release(&hw->running, true);
	write_seqcount_end(&hw->seq);
}

static void pkg_clock_stop(struct perf_pkg_counter *counter, struct perf_event *event)
{
	struct pkg_clock_counter *pc = to_pkg_clock(counter);
	struct pkg_clock_cpu *hw;

	if (pc->event != PKG_CLOCK_EVENT_RUNTIME)
		return;

	hw = this_cpu_ptr(pc->hw);
	write_seqcount_begin(&hw->seq);
	hw->sum += pkg_clock_now(pc, event) - hw->start;
	hw->running = false;
	write_seqcount_end(&hw->seq);
}

/*
 * How long the event runs by now. Its context takes the time first and calls
 * ->stop() later, so a look at the clock in between would count too much:
 *
 *	CPU of the event			reader
 *	lock ctx->lock
 *	ctx->timestamp = T
 *						now = cpu_clock() > T
 *	->stop(): sum += T - start
 *
 * To see the lock held after a look at the clock tells that this may be so, not
 * to see it held and the sequence unchanged that it is not. The context is freed
 * by RCU, for which interrupts that are off will do.
 */
static u64 pkg_clock_running_ns(struct pkg_clock_counter *pc, struct pkg_clock_cpu *hw,
				int cpu)
{
	u64 now;

	if (pc->cpu >= 0) {
		now = pkg_clock_busy_ns(cpu);
	} else {
		now = cpu_clock(cpu);
		/* Pairs with the acquisition of ctx->lock. */
		smp_mb();
		if (raw_spin_is_locked(&hw->ctx->lock))
			return 0;
	}

	return now > hw->start ? now - hw->start : 0;
}

static u64 pkg_clock_read_cpu(struct pkg_clock_counter *pc, int cpu)
{
	struct pkg_clock_cpu *hw = per_cpu_ptr(pc->hw, cpu);
	unsigned int seq;
	u64 sum;

	do {
		seq = read_seqcount_begin(&hw->seq);
		sum = hw->sum;
		/* Pairs with smp_store_release() in pkg_clock_start(). */
		if (smp_load_acquire(&hw->running))
			sum += pkg_clock_running_ns(pc, hw, cpu);
	} while (read_seqcount_retry(&hw->seq, seq));

	return sum;
}

static bool pkg_clock_fails(void)
{
	static atomic_t reads = ATOMIC_INIT(0);
	unsigned int nth = READ_ONCE(fail_read);

	return nth && (unsigned int)atomic_inc_return(&reads) % nth == 0;
}

static int pkg_clock_read(struct perf_pkg_counter *counter, u64 *value)
{
	struct pkg_clock_counter *pc = to_pkg_clock(counter);
	int package = perf_pkg_package_id(smp_processor_id());
	unsigned int us = READ_ONCE(slow_read_us);
	int cpu, faulty = READ_ONCE(fault_package);

	if (faulty < 0 || faulty == package) {
		if (us)
			udelay(min(us, 10000U));
		if (pkg_clock_fails())
			return -EIO;
	}

	if (pc->event == PKG_CLOCK_EVENT_CLOCK) {
		*value = ktime_get_mono_fast_ns();
		return 0;
	}

	*value = 0;
	if (pc->cpu >= 0) {
		*value = pkg_clock_read_cpu(pc, pc->cpu);
		return 0;
	}

	/* A CPU that is offline has counted, too. */
	for_each_possible_cpu(cpu) {
		if (perf_pkg_package_id(cpu) == package)
			*value += pkg_clock_read_cpu(pc, cpu);
	}

	return 0;
}

static void pkg_clock_select_readers(struct pkg_clock_counter *pc, u64 packages)
{
	int cpu, id;

	/* One that comes or goes just now makes no difference to a test. */
	for_each_online_cpu(cpu) {
		id = perf_pkg_package_id(cpu);
		if (packages && (id < 0 || id >= 64 || !(packages & BIT_ULL(id))))
			continue;
		if (cpumask_first(topology_core_cpumask(cpu)) == cpu)
			cpumask_set_cpu(cpu, &pc->readers);
	}
}

static int pkg_clock_counter_init(struct perf_pkg_counter *counter,
				  struct perf_event *event)
{
	struct pkg_clock_counter *pc = to_pkg_clock(counter);
	int cpu, ret;

	pc->event = FIELD_GET(PERF_PKG_CONFIG_EVENT, event->attr.config);
	pc->cpu = event->attach_state & PERF_ATTACH_TASK ? -1 : event->cpu;
	if (FIELD_GET(PKG_CLOCK_POLICY, event->attr.config) == PKG_CLOCK_IPI)
		pkg_clock_select_readers(pc, event->attr.config1);
	if (pc->event != PKG_CLOCK_EVENT_RUNTIME)
		return 0;

	pc->hw = alloc_percpu(struct pkg_clock_cpu);
	if (!pc->hw)
		return -ENOMEM;

	for_each_possible_cpu(cpu)
		seqcount_init(&per_cpu_ptr(pc->hw, cpu)->seq);

	ret = pc->cpu >= 0 ? pkg_clock_busy_get() : 0;
	if (ret)
		free_percpu(pc->hw);

	return ret;
}

static void pkg_clock_counter_exit(struct perf_pkg_counter *counter)
{
	struct pkg_clock_counter *pc = to_pkg_clock(counter);

	if (pc->event != PKG_CLOCK_EVENT_RUNTIME)
		return;

	if (pc->cpu >= 0)
		pkg_clock_busy_put();
	free_percpu(pc->hw);
}

static int pkg_clock_event_init(struct perf_event *event, struct perf_pkg_desc *desc)
{
	u64 id = FIELD_GET(PERF_PKG_CONFIG_EVENT, event->attr.config);
	u64 policy = FIELD_GET(PKG_CLOCK_POLICY, event->attr.config);

	if (event->attr.config & ~(PERF_PKG_CONFIG_EVENT | PKG_CLOCK_POLICY))
		return -EINVAL;
	if (event->attr.config2 || event->attr.config3)
		return -EINVAL;
	if (id != PKG_CLOCK_EVENT_RUNTIME && id != PKG_CLOCK_EVENT_CLOCK)
		return -EINVAL;

	switch (policy) {
	case PKG_CLOCK_TIMER:
		break;
	case PKG_CLOCK_CACHED:
	case PKG_CLOCK_IPI:
		desc->flags |= PERF_PKG_NO_TIMER;
		break;
	case PKG_CLOCK_SCOPE:
		/* perf goes on with the PMU that the type says now. */
		event->attr.type = pkg_clock_scope.type;
		return -ENOENT;
	case PKG_CLOCK_SYS:
		event->attr.type = pkg_clock_sys.type;
		return -ENOENT;
	default:
		return -EINVAL;
	}

	if (id == PKG_CLOCK_EVENT_RUNTIME)
		return 0;

	/* All CPUs of a package would read the same: their events share a counter. */
	desc->flags |= PERF_PKG_GAUGE;
	if (!(event->attach_state & PERF_ATTACH_TASK))
		desc->key = event->attr.config;

	return 0;
}

static void pkg_clock_refresh(void *counter)
{
	perf_pkg_refresh(counter);
}

/* What count() was in 4.1: the packages are interrupted, where that may be. */
static void pkg_clock_refresh_by_ipi(struct perf_pkg_counter *counter)
{
	on_each_cpu_mask(&to_pkg_clock(counter)->readers, pkg_clock_refresh, counter, 1);
}

static u64 pkg_clock_count(struct perf_event *event)
{
	if (FIELD_GET(PKG_CLOCK_POLICY, event->attr.config) == PKG_CLOCK_IPI &&
	    !event->parent && in_task() && !irqs_disabled())
		pkg_clock_refresh_by_ipi(perf_pkg_event_counter(event));

	return perf_pkg_event_count(event);
}

PMU_FORMAT_ATTR(event, "config:0-7");
PMU_FORMAT_ATTR(policy, "config:8-11");

static struct attribute *pkg_clock_format_attrs[] = {
	&format_attr_event.attr,
	&format_attr_policy.attr,
	NULL,
};

static const struct attribute_group pkg_clock_format_group = {
	.name	= "format",
	.attrs	= pkg_clock_format_attrs,
};

PMU_EVENT_ATTR_STRING(runtime, pkg_clock_runtime, "event=0x01");
PMU_EVENT_ATTR_STRING(runtime.unit, pkg_clock_runtime_unit, "msec");
PMU_EVENT_ATTR_STRING(runtime.scale, pkg_clock_runtime_scale, "1e-6");
PMU_EVENT_ATTR_STRING(clock, pkg_clock_clock, "event=0x02");
PMU_EVENT_ATTR_STRING(clock.unit, pkg_clock_clock_unit, "ns");
PMU_EVENT_ATTR_STRING(clock.snapshot, pkg_clock_clock_snapshot, "1");

static struct attribute *pkg_clock_event_attrs[] = {
	&pkg_clock_runtime.attr.attr,
	&pkg_clock_runtime_unit.attr.attr,
	&pkg_clock_runtime_scale.attr.attr,
	&pkg_clock_clock.attr.attr,
	&pkg_clock_clock_unit.attr.attr,
	&pkg_clock_clock_snapshot.attr.attr,
	NULL,
};

static const struct attribute_group pkg_clock_event_group = {
	.name	= "events",
	.attrs	= pkg_clock_event_attrs,
};

static const struct attribute_group *pkg_clock_groups[] = {
	&pkg_clock_format_group,
	&pkg_clock_event_group,
	NULL,
};

static struct perf_pkg_pmu pkg_clock = {
	.pmu = {
		.module		= THIS_MODULE,
		.task_ctx_nr	= perf_sw_context,
		.attr_groups	= pkg_clock_groups,
		.count		= pkg_clock_count,
	},
	.domain_id	= perf_pkg_package_id,
	.event_init	= pkg_clock_event_init,
	.counter_init	= pkg_clock_counter_init,
	.counter_exit	= pkg_clock_counter_exit,
	.read		= pkg_clock_read,
	.start		= pkg_clock_start,
	.stop		= pkg_clock_stop,
	.counter_size	= sizeof(struct pkg_clock_counter),
	.interval_us	= 1000,
};

static int __init pkg_clock_init(void)
{
	int ret;

	ret = pkg_clock_scope_register();
	if (ret)
		return ret;

	ret = perf_pkg_register(&pkg_clock, "pkg_clock");
	if (ret)
		pkg_clock_scope_unregister();

	return ret;
}
module_init(pkg_clock_init);

static void __exit pkg_clock_exit(void)
{
	perf_pkg_unregister(&pkg_clock);
	pkg_clock_scope_unregister();
}
module_exit(pkg_clock_exit);

MODULE_DESCRIPTION("Test PMU with package-scope counters in software");
MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
