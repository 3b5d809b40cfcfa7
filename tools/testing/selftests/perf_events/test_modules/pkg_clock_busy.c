// SPDX-License-Identifier: GPL-2.0
/*
 * How long each CPU was not idle
 *
 * Follows sched_switch while the module is loaded: to register with a tracepoint takes
 * the CPU hotplug lock, which ->counter_init() must not. A CPU's clock is written by that
 * CPU alone with interrupts off, and read under its sequence counter.
 */
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/sched/clock.h>
#include <linux/seqlock.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/tracepoint.h>

#include "pkg_clock.h"

struct pkg_clock_busy {
	seqcount_t	seq;
	bool		busy;
	u64		start;
	u64		sum;
};

static DEFINE_PER_CPU(struct pkg_clock_busy, pkg_clock_busy) = {
	.seq = SEQCNT_ZERO(pkg_clock_busy.seq),
};

static struct tracepoint *pkg_clock_sched_switch;

static void pkg_clock_busy_set(bool busy)
{
	struct pkg_clock_busy *pb = this_cpu_ptr(&pkg_clock_busy);
	u64 now;

	write_seqcount_begin(&pb->seq);
	/* Not earlier: readers must not find that it is later than this. */
	now = local_clock();
	if (pb->busy)
		pb->sum += now - pb->start;
	pb->start = now;
	pb->busy = busy;
	write_seqcount_end(&pb->seq);
}

static void pkg_clock_sched_switch_probe(void *data, bool preempt,
					 struct task_struct *prev,
					 struct task_struct *next,
					 unsigned int prev_state)
{
	pkg_clock_busy_set(!is_idle_task(next));
}

/* A CPU that does not switch tasks must be asked what it does. */
static void pkg_clock_busy_ask(void *unused)
{
	pkg_clock_busy_set(!is_idle_task(current));
}

static void pkg_clock_find_sched_switch(struct tracepoint *tp, void *unused)
{
	if (!strcmp(tp->name, "sched_switch"))
		pkg_clock_sched_switch = tp;
}

/* Starts the clocks. Task context, may sleep. */
int pkg_clock_busy_start(void)
{
	int ret;

	for_each_kernel_tracepoint(pkg_clock_find_sched_switch, NULL);
	if (!pkg_clock_sched_switch)
		return -EOPNOTSUPP;

	ret = tracepoint_probe_register(pkg_clock_sched_switch,
					pkg_clock_sched_switch_probe, NULL);
	if (ret)
		return ret;

	on_each_cpu(pkg_clock_busy_ask, NULL, 1);

	return 0;
}

void pkg_clock_busy_stop(void)
{
	tracepoint_probe_unregister(pkg_clock_sched_switch,
				    pkg_clock_sched_switch_probe, NULL);
	/* The module may go next. */
	tracepoint_synchronize_unregister();
}

/* ns that @cpu was not idle, since any time in the past. Not in an NMI. */
u64 pkg_clock_busy_ns(int cpu)
{
	struct pkg_clock_busy *pb = per_cpu_ptr(&pkg_clock_busy, cpu);
	unsigned int seq;
	u64 sum, now;

	do {
		seq = read_seqcount_begin(&pb->seq);
		sum = pb->sum;
		if (pb->busy) {
			now = cpu_clock(cpu);
			sum += now > pb->start ? now - pb->start : 0;
		}
	} while (read_seqcount_retry(&pb->seq, seq));

	return sum;
}
