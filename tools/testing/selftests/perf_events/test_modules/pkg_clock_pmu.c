// SPDX-License-Identifier: GPL-2.0
/*
 * pkg_clock, pkg_clock_domain: PMUs whose package-scope counters are kept in software
 *
 * Reference drivers and test instruments of the engine in kernel/events/pkg. They
 * need no hardware, and the right values of their events are known from elsewhere:
 *
 *   pkg_clock/runtime/		ns that the monitored task and its children ran on a
 *				package: summed over packages it is task-clock. For a
 *				CPU event, ns that the CPU was not idle.
 *   pkg_clock/clock/		ktime at the read, in ns: now minus it is the staleness
 *   pkg_clock_domain/busy/	ns that the CPUs of a package were not idle
 *   pkg_clock_domain/clock/	as above, of a package instead of a task
 *
 * The field "policy" of pkg_clock chooses how values get from the package to the
 * reader: by the engine's timer, or in one of the ways that came before it.
 *
 * The "hardware" of runtime is one clock per counter and CPU. Each is written by its
 * own CPU with interrupts off, in ->start() and ->stop(), and read by the CPUs of the
 * package under its sequence counter.
 */
#define pr_fmt(fmt) KBUILD_MODNAME ": " fmt

#include <linux/bitfield.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/jump_label.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/perf_pkg.h>
#include <linux/sched/clock.h>
#include <linux/seqlock.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>
#include <linux/topology.h>

#include "pkg_clock.h"

#define PKG_CLOCK_POLICY	GENMASK_ULL(11, 8)

enum pkg_clock_policy {
	PKG_CLOCK_TIMER,	/* slots refreshed by the engine's timer */
	PKG_CLOCK_CACHED,	/* read at context switch only, as in 2014 */
	PKG_CLOCK_IPI,		/* read by IPI for read(2), as in 4.1 */
	PKG_CLOCK_SCOPE,	/* pmu::scope and ->read(), no ->count() */
	PKG_CLOCK_SYS,		/* likewise, of what a timer has published */
	PKG_CLOCK_POLICIES,
};

/* Reads look at the following parameters only if there are any faults. */
static DEFINE_STATIC_KEY_FALSE(pkg_clock_faulty);
static unsigned int fail_read, slow_read_us;

static int pkg_clock_set_fault(const char *val, const struct kernel_param *kp)
{
	int ret = param_set_uint(val, kp);

	if (fail_read || slow_read_us)
		static_branch_enable(&pkg_clock_faulty);
	else
		static_branch_disable(&pkg_clock_faulty);

	return ret;
}

static const struct kernel_param_ops pkg_clock_fault_ops = {
	.set = pkg_clock_set_fault,
	.get = param_get_uint,
};

module_param_cb(fail_read, &pkg_clock_fault_ops, &fail_read, 0644);
MODULE_PARM_DESC(fail_read, "Let every n-th hardware read fail with -EIO (0: none)");

module_param_cb(slow_read_us, &pkg_clock_fault_ops, &slow_read_us, 0644);
MODULE_PARM_DESC(slow_read_us, "Time that a hardware read takes longer, in us");

static int fault_package = -1;
module_param(fault_package, int, 0644);
MODULE_PARM_DESC(fault_package, "Package where reads fail or are slow (-1: all)");

static ulong freeze_clock;
module_param(freeze_clock, ulong, 0644);
MODULE_PARM_DESC(freeze_clock, "Value of the events \"clock\", a level that stands still (0: the time)");

/* One CPU's share of a counter */
struct pkg_clock_cpu {
	seqcount_t	seq;
	bool		used;
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
	/* Where it has run, for each package. A CPU that is offline has counted, too. */
	struct cpumask			*cpus;
	struct pkg_clock_cpu __percpu	*hw;
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
	if (unlikely(!hw->used)) {
		hw->used = true;
		cpumask_set_cpu(smp_processor_id(), &pc->cpus[event->hw.idx]);
	}
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

static noinline int __pkg_clock_fault(void)
{
	unsigned int us = READ_ONCE(slow_read_us);
	int faulty = READ_ONCE(fault_package);

	if (faulty >= 0 && faulty != pkg_clock_package(smp_processor_id()))
		return 0;

	if (us)
		udelay(min(us, 10000U));

	return pkg_clock_fails() ? -EIO : 0;
}

/* What the parameters ask for, before a read */
static __always_inline int pkg_clock_fault(void)
{
	return static_branch_unlikely(&pkg_clock_faulty) ? __pkg_clock_fault() : 0;
}

/* The time of the read */
static u64 pkg_clock_time(void)
{
	return READ_ONCE(freeze_clock) ?: ktime_get_mono_fast_ns();
}

static int pkg_clock_read(struct perf_pkg_counter *counter, unsigned int domain, u64 *value)
{
	struct pkg_clock_counter *pc = to_pkg_clock(counter);
	int cpu, ret;
	u64 sum = 0;

	ret = pkg_clock_fault();
	if (ret)
		return ret;

	if (pc->event == PKG_CLOCK_EVENT_CLOCK) {
		*value = pkg_clock_time();
		return 0;
	}

	for_each_cpu(cpu, &pc->cpus[domain])
		sum += pkg_clock_read_cpu(pc, cpu);
	*value = sum;

	return 0;
}

static int pkg_clock_counter_init(struct perf_pkg_counter *counter, struct perf_event *event)
{
	struct pkg_clock_counter *pc = to_pkg_clock(counter);
	int cpu;

	pc->event = FIELD_GET(PERF_PKG_CONFIG_EVENT, event->attr.config);
	pc->cpu = event->attach_state & PERF_ATTACH_TASK ? -1 : event->cpu;
	if (pc->event != PKG_CLOCK_EVENT_RUNTIME)
		return 0;

	pc->cpus = kcalloc(counter->nr_domains, sizeof(*pc->cpus), GFP_KERNEL);
	pc->hw = alloc_percpu(struct pkg_clock_cpu);
	if (!pc->cpus || !pc->hw) {
		free_percpu(pc->hw);
		kfree(pc->cpus);
		return -ENOMEM;
	}

	for_each_possible_cpu(cpu)
		seqcount_init(&per_cpu_ptr(pc->hw, cpu)->seq);

	return 0;
}

static void pkg_clock_counter_exit(struct perf_pkg_counter *counter)
{
	struct pkg_clock_counter *pc = to_pkg_clock(counter);

	if (pc->event != PKG_CLOCK_EVENT_RUNTIME)
		return;

	free_percpu(pc->hw);
	kfree(pc->cpus);
}

static struct perf_pkg_pmu pkg_clock, pkg_clock_cached, pkg_clock_ipi;

static int pkg_clock_redirect(struct perf_event *event)
{
	static struct pmu * const pmus[PKG_CLOCK_POLICIES] = {
		[PKG_CLOCK_CACHED]	= &pkg_clock_cached.pmu,
		[PKG_CLOCK_IPI]		= &pkg_clock_ipi.pmu,
		[PKG_CLOCK_SCOPE]	= &pkg_clock_scope,
		[PKG_CLOCK_SYS]		= &pkg_clock_sys,
	};
	u64 policy = FIELD_GET(PKG_CLOCK_POLICY, event->attr.config);

	if (policy >= PKG_CLOCK_POLICIES)
		return -EINVAL;
	if (policy == PKG_CLOCK_TIMER || event->pmu != &pkg_clock.pmu)
		return 0;

	/* perf goes on with the PMU that the type names now. */
	event->attr.type = pmus[policy]->type;

	return -ENOENT;
}

static int pkg_clock_event_init(struct perf_event *event, struct perf_pkg_desc *desc)
{
	u64 id = FIELD_GET(PERF_PKG_CONFIG_EVENT, event->attr.config);

	if (event->attr.config & ~(PERF_PKG_CONFIG_EVENT | PKG_CLOCK_POLICY))
		return -EINVAL;
	if (event->attr.config2 || event->attr.config3)
		return -EINVAL;
	if (id != PKG_CLOCK_EVENT_RUNTIME && id != PKG_CLOCK_EVENT_CLOCK)
		return -EINVAL;

	desc->level = id == PKG_CLOCK_EVENT_CLOCK;

	return pkg_clock_redirect(event);
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
PMU_EVENT_ATTR_STRING(busy, pkg_clock_busy_attr, "event=0x01");
PMU_EVENT_ATTR_STRING(busy.unit, pkg_clock_busy_unit, "msec");
PMU_EVENT_ATTR_STRING(busy.scale, pkg_clock_busy_scale, "1e-6");
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

#define PKG_CLOCK_PMU							\
	.pmu = {							\
		.module		= THIS_MODULE,				\
		.task_ctx_nr	= perf_sw_context,			\
		.attr_groups	= pkg_clock_groups,			\
		.attr_update	= perf_pkg_attr_update,		\
	},								\
	.domain_id	= pkg_clock_package,				\
	.event_init	= pkg_clock_event_init,				\
	.counter_init	= pkg_clock_counter_init,			\
	.counter_exit	= pkg_clock_counter_exit,			\
	.read		= pkg_clock_read,				\
	.start		= pkg_clock_start,				\
	.stop		= pkg_clock_stop,				\
	.counter_size	= sizeof(struct pkg_clock_counter)

static struct perf_pkg_pmu pkg_clock = {
	PKG_CLOCK_PMU,
	.interval_us	= 1000,
};

/* Without a timer values are as old as the last context switch. */
static struct perf_pkg_pmu pkg_clock_cached = {
	PKG_CLOCK_PMU,
};

/* Then read(2) interrupts each package that something counts on. */
static struct perf_pkg_pmu pkg_clock_ipi = {
	PKG_CLOCK_PMU,
	.max_age_us	= 1,
};

/* pkg_clock_domain */

static int pkg_clock_domain_read(struct perf_pkg_counter *counter, unsigned int domain,
				 u64 *value)
{
	int cpu, package = pkg_clock_package(smp_processor_id());
	int ret;

	ret = pkg_clock_fault();
	if (ret)
		return ret;

	if (counter->desc.level) {
		*value = pkg_clock_time();
		return 0;
	}

	*value = 0;
	for_each_possible_cpu(cpu) {
		if (pkg_clock_package(cpu) == package)
			*value += pkg_clock_busy_ns(cpu);
	}

	return 0;
}

static int pkg_clock_domain_event_init(struct perf_event *event, struct perf_pkg_desc *desc)
{
	u64 id = event->attr.config;

	if (id != PKG_CLOCK_EVENT_RUNTIME && id != PKG_CLOCK_EVENT_CLOCK)
		return -EINVAL;
	if (event->attr.config1 || event->attr.config2 || event->attr.config3)
		return -EINVAL;

	desc->key = id;
	desc->level = id == PKG_CLOCK_EVENT_CLOCK;

	return 0;
}

static struct attribute *pkg_clock_domain_format_attrs[] = {
	&format_attr_event.attr,
	NULL,
};

static const struct attribute_group pkg_clock_domain_format_group = {
	.name	= "format",
	.attrs	= pkg_clock_domain_format_attrs,
};

static struct attribute *pkg_clock_domain_event_attrs[] = {
	&pkg_clock_busy_attr.attr.attr,
	&pkg_clock_busy_unit.attr.attr,
	&pkg_clock_busy_scale.attr.attr,
	&pkg_clock_clock.attr.attr,
	&pkg_clock_clock_unit.attr.attr,
	&pkg_clock_clock_snapshot.attr.attr,
	NULL,
};

static const struct attribute_group pkg_clock_domain_event_group = {
	.name	= "events",
	.attrs	= pkg_clock_domain_event_attrs,
};

static const struct attribute_group *pkg_clock_domain_groups[] = {
	&pkg_clock_domain_format_group,
	&pkg_clock_domain_event_group,
	NULL,
};

static struct perf_pkg_pmu pkg_clock_domain = {
	.pmu = {
		.module		= THIS_MODULE,
		.attr_groups	= pkg_clock_domain_groups,
		.attr_update	= perf_pkg_attr_update,
	},
	.counts_domains	= true,
	.domain_id	= pkg_clock_package,
	.event_init	= pkg_clock_domain_event_init,
	.read		= pkg_clock_domain_read,
	.interval_us	= 1000,
};

/* Initialization */

static struct {
	struct perf_pkg_pmu	*ppmu;
	const char		*name;
} pkg_clock_pmus[] = {
	{ &pkg_clock_cached,	"pkg_clock_cached" },
	{ &pkg_clock_ipi,	"pkg_clock_ipi" },
	{ &pkg_clock_domain,	"pkg_clock_domain" },
	{ &pkg_clock,		"pkg_clock" },
};

static void pkg_clock_unregister(unsigned int nr)
{
	while (nr--)
		perf_pkg_unregister(pkg_clock_pmus[nr].ppmu);
	pkg_clock_scope_unregister();
	pkg_clock_busy_stop();
}

static int __init pkg_clock_init(void)
{
	unsigned int i;
	int ret;

	ret = pkg_clock_busy_start();
	if (ret)
		return ret;

	ret = pkg_clock_scope_register();
	if (ret) {
		pkg_clock_busy_stop();
		return ret;
	}

	for (i = 0; i < ARRAY_SIZE(pkg_clock_pmus); i++) {
		ret = perf_pkg_register(pkg_clock_pmus[i].ppmu, pkg_clock_pmus[i].name);
		if (ret) {
			pkg_clock_unregister(i);
			return ret;
		}
	}

	return 0;
}
module_init(pkg_clock_init);

static void __exit pkg_clock_exit(void)
{
	pkg_clock_unregister(ARRAY_SIZE(pkg_clock_pmus));
}
module_exit(pkg_clock_exit);

MODULE_DESCRIPTION("Test PMUs with package-scope counters in software");
MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
