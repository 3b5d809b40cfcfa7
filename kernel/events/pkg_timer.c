// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: the refresher of a domain
 *
 * One pinned hrtimer per PMU and domain reads the counters in use there. What
 * it does to slots is in pkg.c.
 *
 * A pass reads all counters of the domain once, in the order of the list, and
 * begins once per interval. It takes several slices if it has to: a slice ends
 * after the budget, and the next one does not begin before the CPU has had the
 * rest of its time for itself, nor does the next pass:
 *
 *	 due					     due
 *	  |<----------- interval ------------------->|
 *	  [slice]           [slice]           [rest] |[slice]           [sli...
 *	         <- share ->       <- share ->
 *
 * What was read goes to the end of the list, so each pass begins with what was
 * read longest ago, and what fails or is slow keeps nobody else waiting for more
 * than its own read. With W for the time that all reads of a pass take together,
 * D = W * 100 / cpu_percent is the longest that a pass lasts, plus the lateness of
 * the timer in each of its slices. From one pass to the next it is max(interval, D)
 * at most, so no value gets older than max(interval, D) + D.
 *
 * A pass that finds no event active marks the domain as quiet, and from then on
 * who becomes active has to call perf_pkg_wake():
 *
 *	timer					perf_pkg_activate()
 *	dom->quiet = 1				atomic_inc_return(&slot->active)
 *	smp_mb()
 *	slot->active ? (in the next pass)	dom->quiet ?
 *
 * one of them sees the other. If the next pass finds nothing active either, no
 * counter can change that counts for its events, and the timer stops. Levels can:
 * their refresh gets slower, down to PERF_PKG_SLOW_NS, and ends once nothing has
 * changed at that rate. What could not be read is tried again at that rate.
 */
#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/sched.h>
#include <linux/sched/isolation.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>

#include <trace/events/perf_pkg.h>

#include "pkg.h"

static u64 perf_pkg_interval_ns(const struct perf_pkg *pp)
{
	return (u64)READ_ONCE(pp->interval_us) * NSEC_PER_USEC;
}

bool perf_pkg_may_interrupt(unsigned int cpu)
{
	return housekeeping_test_cpu(cpu, HK_TYPE_TIMER) &&
	       housekeeping_test_cpu(cpu, HK_TYPE_DOMAIN);
}

/* This CPU if it will do, else one that is not isolated, else any */
unsigned int perf_pkg_choose_cpu(const struct perf_pkg_domain *dom)
{
	unsigned int cpu, here = smp_processor_id();
	bool local = cpumask_test_cpu(here, &dom->cpus);

	if (local && perf_pkg_may_interrupt(here))
		return here;

	for_each_cpu(cpu, &dom->cpus) {
		if (perf_pkg_may_interrupt(cpu))
			return cpu;
	}

	return local ? here : cpumask_first(&dom->cpus);
}

/* Arming and stopping */

static bool perf_pkg_wants_timer(struct perf_pkg_domain *dom)
{
	return dom->nr_slots && !dom->held && READ_ONCE(dom->pp->interval_us);
}

/* The domains of a PMU take their turns within an interval. */
static void perf_pkg_start_timer(struct perf_pkg_domain *dom)
{
	struct perf_pkg *pp = dom->pp;
	u64 since, phase, interval = perf_pkg_interval_ns(pp);

	lockdep_assert_held(&dom->lock);

	phase = div_u64(interval * dom->idx, READ_ONCE(pp->nr_domains));
	dom->todo = 0;
	dom->due = ktime_get_ns() + interval;
	div64_u64_rem(dom->due - phase, interval, &since);
	dom->due -= since;
	hrtimer_start(&dom->timer, ns_to_ktime(dom->due), HRTIMER_MODE_ABS_PINNED_HARD);

	/* It stays where its callback is just about to return. */
	dom->timer_cpu = READ_ONCE(dom->timer.base)->cpu_base->cpu;
	trace_perf_pkg_timer_start(pp->name, dom->id, dom->timer_cpu, interval);
}

/* Has the timer armed where it is needed, without waiting for that */
void perf_pkg_arm(struct perf_pkg_domain *dom)
{
	unsigned int cpu;

	lockdep_assert_held(&dom->lock);

	if (dom->timer_cpu >= 0 || !perf_pkg_wants_timer(dom))
		return;

	cpu = perf_pkg_choose_cpu(dom);
	if (cpu == smp_processor_id())
		perf_pkg_start_timer(dom);
	else if (cpu < nr_cpu_ids)
		irq_work_queue_on(&dom->arm_work, cpu);
}

static void perf_pkg_timer_stopped(struct perf_pkg_domain *dom)
{
	lockdep_assert_held(&dom->lock);

	if (dom->timer_cpu < 0)
		return;

	trace_perf_pkg_timer_stop(dom->pp->name, dom->id, dom->timer_cpu);
	dom->timer_cpu = -1;
}

/* A timer that runs at its normal rate needs nothing, any other is armed anew. */
void perf_pkg_wake_locked(struct perf_pkg_domain *dom)
{
	lockdep_assert_held(&dom->lock);

	if (dom->quiet > 1)
		perf_pkg_timer_stopped(dom);
	WRITE_ONCE(dom->quiet, 0);
	perf_pkg_arm(dom);
}

static void perf_pkg_arm_work(struct irq_work *work)
{
	struct perf_pkg_domain *dom = container_of(work, struct perf_pkg_domain, arm_work);

	guard(raw_spinlock)(&dom->lock);

	perf_pkg_wake_locked(dom);
}

/*
 * An event became active on a quiet domain. Interrupts are off, and other CPUs may
 * wait for this one to finish a context switch: do not wait for a slice to end.
 */
void perf_pkg_wake(struct perf_pkg_domain *dom)
{
	if (!raw_spin_trylock(&dom->lock)) {
		irq_work_queue(&dom->arm_work);
		return;
	}

	perf_pkg_wake_locked(dom);
	raw_spin_unlock(&dom->lock);
}

/* Stops the timer until perf_pkg_release(), which arms it again if need be. */
void perf_pkg_hold(struct perf_pkg_domain *dom)
{
	scoped_guard(raw_spinlock_irqsave, &dom->lock)
		dom->held++;

	hrtimer_cancel(&dom->timer);

	scoped_guard(raw_spinlock_irqsave, &dom->lock)
		perf_pkg_timer_stopped(dom);
}

void perf_pkg_release(struct perf_pkg_domain *dom)
{
	guard(raw_spinlock_irqsave)(&dom->lock);

	dom->held--;
	perf_pkg_arm(dom);
}

/* Passes and slices */

static void perf_pkg_refresh_slot(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot,
				  u64 stamp)
{
	unsigned int flags = slot->counter->desc.flags;
	s64 value = atomic64_read(&slot->value);

	if (READ_ONCE(slot->counter->ended))
		return;

	if (atomic_read(&slot->active)) {
		dom->seen |= PERF_PKG_SEEN_ACTIVE;
	} else if (flags & PERF_PKG_GAUGE) {
		dom->seen |= PERF_PKG_SEEN_GAUGE;
	} else if (!perf_pkg_is_stale(slot)) {
		/*
		 * Exact. A counter that runs freely may wrap unseen from here
		 * on: it counts from what is read when it is active again.
		 */
		if (flags & PERF_PKG_FREE_RUNNING)
			WRITE_ONCE(slot->state, PERF_PKG_SLOT_BLIND);
		return;
	}

	perf_pkg_publish(dom, slot, stamp, true);
	if (perf_pkg_is_stale(slot))
		dom->seen |= PERF_PKG_SEEN_STALE;
	if (atomic64_read(&slot->value) != value)
		dom->seen |= PERF_PKG_SEEN_CHANGE;
}

/* Reads up to @todo slots. Returns the time when the budget or the pass came to its end. */
static u64 perf_pkg_refresh_slice(struct perf_pkg_domain *dom, unsigned int *todo, u64 start)
{
	u64 now = start, end = start + READ_ONCE(dom->pp->budget_us) * NSEC_PER_USEC;
	struct perf_pkg_slot *slot;

	lockdep_assert_held(&dom->lock);

	while (*todo && now < end && !list_empty(&dom->slots)) {
		slot = list_first_entry(&dom->slots, struct perf_pkg_slot, node);
		list_rotate_left(&dom->slots);
		perf_pkg_refresh_slot(dom, slot, now);
		(*todo)--;
		now = ktime_get_mono_fast_ns();
	}

	return now;
}

/*
 * Reads all counters of the timer now, on a CPU of the domain, with interrupts off for a
 * slice at a time. Context: the CPU hotplug callbacks.
 */
void perf_pkg_refresh_all(struct perf_pkg_domain *dom)
{
	unsigned int left;

	scoped_guard(raw_spinlock_irqsave, &dom->lock)
		left = dom->nr_slots;

	while (left) {
		scoped_guard(raw_spinlock_irqsave, &dom->lock) {
			left = min(left, dom->nr_slots);
			perf_pkg_refresh_slice(dom, &left, ktime_get_mono_fast_ns());
		}
		cond_resched();
	}
}

/*
 * Reads what was last read before @oldest, on a CPU of the domain with interrupts off,
 * as far as the budget allows.
 */
void perf_pkg_refresh_older(struct perf_pkg_domain *dom, u64 oldest)
{
	u64 stamp, now = ktime_get_mono_fast_ns();
	struct perf_pkg_slot *slot;
	u64 end = now + READ_ONCE(dom->pp->budget_us) * NSEC_PER_USEC;

	guard(raw_spinlock)(&dom->lock);

	list_for_each_entry(slot, &dom->slots, node) {
		stamp = perf_pkg_slot_stamp(slot);
		if (stamp && stamp < oldest)
			perf_pkg_publish(dom, slot, now, true);
		now = ktime_get_mono_fast_ns();
		if (now >= end)
			return;
	}
}

/* Returns the time from this pass to the next one in ns, 0 if none is needed. */
static u64 perf_pkg_end_pass(struct perf_pkg_domain *dom)
{
	u64 interval = perf_pkg_interval_ns(dom->pp), slowest, slow;

	if (dom->seen & PERF_PKG_SEEN_ACTIVE) {
		if (dom->quiet)
			WRITE_ONCE(dom->quiet, 0);
		return interval;
	}

	if (!dom->quiet) {
		WRITE_ONCE(dom->quiet, 1);
		/* Pairs with atomic_inc_return() in perf_pkg_activate(). */
		smp_mb();
		return interval;
	}

	if (!(dom->seen & (PERF_PKG_SEEN_GAUGE | PERF_PKG_SEEN_STALE)))
		return 0;

	slowest = max(interval, PERF_PKG_SLOW_NS);
	slow = min(interval << (dom->quiet - 1), slowest);
	if (slow < slowest)
		WRITE_ONCE(dom->quiet, dom->quiet + 1);
	else if (!(dom->seen & (PERF_PKG_SEEN_CHANGE | PERF_PKG_SEEN_STALE)))
		return 0;

	return min(2 * slow, slowest);
}

/*
 * Returns when the next slice is due, 0 if none is needed. @rest: when one may begin.
 * Passes begin an interval apart, or if that takes longer, as soon as they may. One
 * that began late takes the place of those that were due meanwhile.
 */
static u64 perf_pkg_next_slice(struct perf_pkg_domain *dom, u64 rest, u64 *overruns)
{
	u64 interval;

	*overruns = 0;
	if (dom->todo)
		return rest;

	interval = perf_pkg_end_pass(dom);
	if (!interval)
		return 0;

	dom->due += interval;
	if (dom->due >= rest)
		return dom->due;

	*overruns = div64_u64(rest - dom->due, interval);
	dom->due += *overruns * interval;
	/* The next one would be more than an interval away from this. */
	if (dom->due > dom->start)
		return rest;

	dom->due += interval;
	(*overruns)++;

	return dom->due;
}

/*
 * When the next slice may begin after one from @start to @now. The clock is one that
 * may step back a little, and a virtual CPU may have been away for long.
 */
static u64 perf_pkg_rest(const struct perf_pkg_domain *dom, u64 start, u64 now)
{
	unsigned int percent = READ_ONCE(dom->pp->cpu_percent);
	u64 used = now > start ? now - start : 0;

	return now + clamp(div_u64(used * (100 - percent), percent),
			   PERF_PKG_REST_MIN_NS, PERF_PKG_REST_MAX_NS);
}

static enum hrtimer_restart perf_pkg_timer_fn(struct hrtimer *timer)
{
	struct perf_pkg_domain *dom = container_of(timer, struct perf_pkg_domain, timer);
	u64 now, rest, next, overruns, start = ktime_get_mono_fast_ns();
	const char *name = dom->pp->name;
	int cpu = smp_processor_id();
	unsigned int before;
	s64 lateness;

	guard(raw_spinlock)(&dom->lock);

	/* perf_pkg_wake() armed it anew while this waited for the lock. */
	if (hrtimer_is_queued(timer))
		return HRTIMER_NORESTART;

	/* Another CPU's counter would be read here: leave that to a CPU of the domain. */
	if (!cpumask_test_cpu(cpu, &dom->cpus)) {
		perf_pkg_timer_stopped(dom);
		perf_pkg_arm(dom);
		return HRTIMER_NORESTART;
	}

	if (!perf_pkg_wants_timer(dom)) {
		perf_pkg_timer_stopped(dom);
		return HRTIMER_NORESTART;
	}

	dom->timer_cpu = cpu;
	lateness = start - ktime_to_ns(hrtimer_get_expires(timer));
	if (!dom->todo) {
		dom->todo = dom->nr_slots;
		dom->seen = 0;
		dom->start = start;
	}
	before = dom->todo;
	now = perf_pkg_refresh_slice(dom, &dom->todo, start);
	rest = perf_pkg_rest(dom, start, now);
	next = perf_pkg_next_slice(dom, rest, &overruns);

	trace_perf_pkg_refresh(name, dom->id, cpu, before - dom->todo, dom->todo, now - start,
			       max_t(s64, lateness, 0), overruns);
	if (next == rest)
		trace_perf_pkg_throttle(name, dom->id, cpu, dom->todo, rest - now);

	if (!next) {
		perf_pkg_timer_stopped(dom);
		return HRTIMER_NORESTART;
	}
	hrtimer_set_expires(timer, ns_to_ktime(next));

	return HRTIMER_RESTART;
}

void perf_pkg_init_timer(struct perf_pkg_domain *dom)
{
	dom->timer_cpu = -1;
	dom->arm_work = IRQ_WORK_INIT_HARD(perf_pkg_arm_work);
	hrtimer_setup(&dom->timer, perf_pkg_timer_fn, CLOCK_MONOTONIC,
		      HRTIMER_MODE_ABS_PINNED_HARD);
}
