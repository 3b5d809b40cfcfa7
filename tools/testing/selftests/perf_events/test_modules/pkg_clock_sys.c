// SPDX-License-Identifier: GPL-2.0
/*
 * The counters of pkg_clock as a driver can have them fresh on every CPU
 * without ->count(): a timer on each package publishes them, and a PMU of
 * system-wide scope sums in ->read() what was published, so the core finds that
 * any CPU will do for a read. What that cannot do is count tasks.
 *
 * It stands beside the engine in benchmarks. It is no driver to copy: packages
 * that come online while events are open have no timer, and the timer of a CPU
 * that goes offline reads from elsewhere, which only clocks in memory allow.
 */
#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/cache.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/minmax.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/perf_event.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>

#include "pkg_clock.h"

#define PKG_CLOCK_SYS_MAX	64

static unsigned int sys_interval_us = 1000;
module_param(sys_interval_us, uint, 0644);
MODULE_PARM_DESC(sys_interval_us, "Interval at which policy 4 publishes, in us, at least 100");

/**
 * struct pkg_clock_sys_slot - what was published of one package
 * @runtime:	ns that its CPUs were not idle
 * @clock:	When that was so
 * @package:	The package
 * @timer:	Publishes both
 */
struct pkg_clock_sys_slot {
	atomic64_t	runtime;
	atomic64_t	clock;
	int		package;
	struct hrtimer	timer;
} ____cacheline_aligned;

static struct pkg_clock_sys_slot pkg_clock_sys_slots[PKG_CLOCK_SYS_MAX];
/* Under the mutex, constant while there are users */
static unsigned int pkg_clock_sys_nr;

static DEFINE_MUTEX(pkg_clock_sys_mutex);
static unsigned int pkg_clock_sys_users;

static void pkg_clock_sys_publish(struct pkg_clock_sys_slot *slot)
{
	u64 runtime = 0;
	int cpu;

	for_each_possible_cpu(cpu) {
		if (pkg_clock_package(cpu) == slot->package)
			runtime += pkg_clock_busy_ns(cpu);
	}

	atomic64_set(&slot->runtime, runtime);
	atomic64_set(&slot->clock, ktime_get_mono_fast_ns());
}

static ktime_t pkg_clock_sys_interval(void)
{
	return ns_to_ktime((u64)max(READ_ONCE(sys_interval_us), 100U) * NSEC_PER_USEC);
}

static enum hrtimer_restart pkg_clock_sys_timer(struct hrtimer *timer)
{
	pkg_clock_sys_publish(container_of(timer, struct pkg_clock_sys_slot, timer));
	hrtimer_forward_now(timer, pkg_clock_sys_interval());

	return HRTIMER_RESTART;
}

/* On the CPU that the timer shall stay on */
static void pkg_clock_sys_start(void *data)
{
	struct pkg_clock_sys_slot *slot = data;

	pkg_clock_sys_publish(slot);
	hrtimer_start(&slot->timer, pkg_clock_sys_interval(), HRTIMER_MODE_REL_PINNED_HARD);
}

static bool pkg_clock_sys_has(int package)
{
	unsigned int i;

	for (i = 0; i < pkg_clock_sys_nr; i++) {
		if (pkg_clock_sys_slots[i].package == package)
			return true;
	}

	return false;
}

static void pkg_clock_sys_start_all(void)
{
	struct pkg_clock_sys_slot *slot;
	int cpu, package;

	guard(cpus_read_lock)();

	pkg_clock_sys_nr = 0;
	for_each_online_cpu(cpu) {
		package = pkg_clock_package(cpu);
		if (pkg_clock_sys_nr == PKG_CLOCK_SYS_MAX || pkg_clock_sys_has(package))
			continue;
		slot = &pkg_clock_sys_slots[pkg_clock_sys_nr++];
		slot->package = package;
		hrtimer_setup(&slot->timer, pkg_clock_sys_timer, CLOCK_MONOTONIC,
			      HRTIMER_MODE_REL_PINNED_HARD);
		smp_call_function_single(cpu, pkg_clock_sys_start, slot, 1);
	}
}

/* Starts the timers for a first user. Task context, may sleep. */
void pkg_clock_sys_get(void)
{
	guard(mutex)(&pkg_clock_sys_mutex);

	if (!pkg_clock_sys_users++)
		pkg_clock_sys_start_all();
}

void pkg_clock_sys_put(void)
{
	unsigned int i;

	guard(mutex)(&pkg_clock_sys_mutex);

	if (--pkg_clock_sys_users)
		return;

	for (i = 0; i < pkg_clock_sys_nr; i++)
		hrtimer_cancel(&pkg_clock_sys_slots[i].timer);
}

/* Which slots are of @packages, one bit for each id, or of all packages if that is 0 */
u64 pkg_clock_sys_select(u64 packages)
{
	u64 slots = 0;
	unsigned int i;
	int package;

	for (i = 0; i < pkg_clock_sys_nr; i++) {
		package = pkg_clock_sys_slots[i].package;
		if (!packages || (package >= 0 && package < 64 && packages & BIT_ULL(package)))
			slots |= BIT_ULL(i);
	}

	return slots;
}

u64 pkg_clock_sys_sum(u64 slots, bool clock)
{
	struct pkg_clock_sys_slot *slot;
	u64 sum = 0;

	for (; slots; slots &= slots - 1) {
		slot = &pkg_clock_sys_slots[__ffs64(slots)];
		sum += atomic64_read(clock ? &slot->clock : &slot->runtime);
	}

	return sum;
}
