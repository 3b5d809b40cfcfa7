// SPDX-License-Identifier: GPL-2.0
/*
 * What pmu::count() costs in the kernel, beside what it cannot cost less than:
 * one plain load of a 64-bit value per package.
 *
 *   echo TYPE CONFIG CONFIG1 LOOPS > /sys/module/pkg_bench/parameters/count
 *
 * opens that event of the calling task and takes its count LOOPS times; CONFIG
 * and CONFIG1 are in hex. To read the parameter then tells what this took. The
 * loads are as many as CONFIG1 selects packages, or as there are packages if it
 * is 0.
 */
#include <linux/bitops.h>
#include <linux/cache.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sysfs.h>
#include <linux/timekeeping.h>
#include <linux/timex.h>
#include <linux/topology.h>

#define PKG_BENCH_MAX_PACKAGES	64U
#define PKG_BENCH_MAX_LOOPS	10000000U
/* So many with interrupts off at a time: some 10 us, and the clocks do not matter */
#define PKG_BENCH_BATCH		100U

struct pkg_bench_cost {
	u64	ns;
	u64	cycles;
};

/* The last measurement. All of it under the lock of the module's parameters. */
static struct {
	unsigned int		packages;
	unsigned int		loops;
	struct pkg_bench_cost	count;
	struct pkg_bench_cost	loads;
} pkg_bench_result;

static struct {
	u64	value;
} ____cacheline_aligned pkg_bench_values[PKG_BENCH_MAX_PACKAGES];

/* Keeps the compiler from leaving out what nobody looks at */
static u64 pkg_bench_sink;

static u64 pkg_bench_count(struct perf_event *event, unsigned int packages)
{
	u64 count;

	(void)event->pmu->count(event, &count);

	return count;
}

static u64 pkg_bench_loads(struct perf_event *event, unsigned int packages)
{
	unsigned int i;
	u64 sum = 0;

	for (i = 0; i < packages; i++)
		sum += READ_ONCE(pkg_bench_values[i].value);

	return sum;
}

/* The loop and the clocks, which are taken off the other two */
static u64 pkg_bench_nothing(struct perf_event *event, unsigned int packages)
{
	return 0;
}

/* Inline, so that @fn is no call: the loads shall be nothing but loads. */
static __always_inline void
pkg_bench_batch(u64 (*fn)(struct perf_event *event, unsigned int packages),
		struct perf_event *event, unsigned int packages, unsigned int loops,
		struct pkg_bench_cost *cost)
{
	unsigned long flags;
	cycles_t cycles;
	u64 ns;

	local_irq_save(flags);
	ns = ktime_get_mono_fast_ns();
	cycles = get_cycles();
	while (loops--)
		WRITE_ONCE(pkg_bench_sink, fn(event, packages));
	cost->cycles += get_cycles() - cycles;
	cost->ns += ktime_get_mono_fast_ns() - ns;
	local_irq_restore(flags);
}

static struct pkg_bench_cost pkg_bench_less(struct pkg_bench_cost a, struct pkg_bench_cost b)
{
	return (struct pkg_bench_cost) {
		.ns	= a.ns - min(a.ns, b.ns),
		.cycles	= a.cycles - min(a.cycles, b.cycles),
	};
}

static void pkg_bench_run(struct perf_event *event, unsigned int packages, unsigned int loops)
{
	struct pkg_bench_cost count = { }, loads = { }, nothing = { };
	unsigned int left, batch;

	for (left = loops; left; left -= batch) {
		batch = min(left, PKG_BENCH_BATCH);
		pkg_bench_batch(pkg_bench_count, event, packages, batch, &count);
		pkg_bench_batch(pkg_bench_loads, event, packages, batch, &loads);
		pkg_bench_batch(pkg_bench_nothing, event, packages, batch, &nothing);
		if (fatal_signal_pending(current))
			return;
		cond_resched();
	}

	pkg_bench_result.packages = packages;
	pkg_bench_result.loops = loops;
	pkg_bench_result.count = pkg_bench_less(count, nothing);
	pkg_bench_result.loads = pkg_bench_less(loads, nothing);
}

static unsigned int pkg_bench_online_packages(void)
{
	unsigned int packages = 0;
	int cpu;

	guard(cpus_read_lock)();

	for_each_online_cpu(cpu)
		packages += cpumask_first(topology_core_cpumask(cpu)) == cpu;

	return packages;
}

static int pkg_bench_set(const char *val, const struct kernel_param *kp)
{
	struct perf_event_attr attr = { .size = sizeof(attr) };
	unsigned int packages, loops;
	struct perf_event *event;
	u64 config, config1;
	char rest;

	if (sscanf(val, "%u %llx %llx %u %c", &attr.type, &config, &config1, &loops, &rest) != 4)
		return -EINVAL;
	if (!loops || loops > PKG_BENCH_MAX_LOOPS)
		return -ERANGE;

	packages = config1 ? hweight64(config1) : pkg_bench_online_packages();
	if (packages > PKG_BENCH_MAX_PACKAGES)
		return -E2BIG;

	memset(&pkg_bench_result, 0, sizeof(pkg_bench_result));
	attr.config = config;
	attr.config1 = config1;
	event = perf_event_create_kernel_counter(&attr, -1, current, NULL, NULL);
	if (IS_ERR(event))
		return PTR_ERR(event);

	if (event->pmu->count)
		pkg_bench_run(event, packages, loops);
	else
		packages = 0;
	perf_event_release_kernel(event);

	return packages ? 0 : -EOPNOTSUPP;
}

static int pkg_bench_get(char *buf, const struct kernel_param *kp)
{
	return sysfs_emit(buf, "packages %u loops %u\n"
			  "count %llu ns %llu cycles\n"
			  "loads %llu ns %llu cycles\n",
			  pkg_bench_result.packages, pkg_bench_result.loops,
			  pkg_bench_result.count.ns, pkg_bench_result.count.cycles,
			  pkg_bench_result.loads.ns, pkg_bench_result.loads.cycles);
}

static const struct kernel_param_ops pkg_bench_ops = {
	.set = pkg_bench_set,
	.get = pkg_bench_get,
};
module_param_cb(count, &pkg_bench_ops, NULL, 0600);
MODULE_PARM_DESC(count, "TYPE CONFIG CONFIG1 LOOPS of an event: what its count costs");

MODULE_DESCRIPTION("Benchmark of pmu::count()");
MODULE_LICENSE("GPL");
MODULE_INFO(test, "Y");
