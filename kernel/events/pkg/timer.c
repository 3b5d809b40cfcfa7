// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: the timer of a domain
 *
 * One pinned hrtimer per PMU and domain reads the counters in use there. A pass
 * reads each of them once, in the order of the list, and begins once per interval.
 * It takes several slices if it has to: a slice ends after the budget, and the next
 * one does not begin before the CPU has had the rest of its time for itself, nor
 * does the next pass:
 *
 *	 due					     due
 *	  |<----------- interval ------------------->|
 *	  [slice]           [slice]           [rest] |[slice]           [sli...
 *	         <- share ->       <- share ->
 *
 * What was read goes to the end of the list. Each pass thus begins with what was
 * read least recently, and a counter that fails or is slow delays the others by its
 * own read only. With W for the time that all reads of a pass take together, a pass
 * lasts D = W * 100 / PERF_PKG_CPU_PERCENT at most, plus the lateness of the timer in
 * each of its slices. From one pass to the next it is max(interval, D) at most, so no
 * value that changes is older than max(interval, D) + D.
 *
 * A counter with many registers is read in as many steps, within the same budget. Its
 * stamp is the beginning of the pass, before the oldest of these reads.
 *
 * A pass that finds no event active and no change marks the domain as idle. From
 * then on an event that becomes active has to call perf_pkg_timer_kick():
 *
 *	timer					perf_pkg_slot_get()
 *	dom->idle_passes = 1			atomic_inc_return(&slot->active)
 *	smp_mb()
 *	slot->active ? (in the next pass)	dom->idle_passes ?
 *
 * One of them observes the other. If the next pass finds the same, the timer stops,
 * unless there are levels of tasks, which may change while these sleep, or counters
 * that could not be read. Then each idle pass doubles the time to the next one, up to
 * PERF_PKG_IDLE_NS:
 *
 *	change    idle 1    idle 2              idle 3
 *	  |--- T ---|--- T ---|------- 2T --------|-------- 4T ...
 *
 * A change after a quiet time is thus seen after T, or after the time that has passed
 * since the last change. It brings the interval back to T.
 */
#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/irqflags.h>
#include <linux/ktime.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/sched/isolation.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>

#include "internal.h"

bool perf_pkg_is_housekeeping(unsigned int cpu)
{
	return housekeeping_test_cpu(cpu, HK_TYPE_TIMER) &&
	       housekeeping_test_cpu(cpu, HK_TYPE_DOMAIN);
}

/*
 * This CPU if it is a housekeeping CPU of the domain, else another one, else any;
 * nr_cpu_ids: none. Not @except, unless that is -1.
 */
unsigned int perf_pkg_choose_cpu(const struct perf_pkg_domain *dom, int except)
{
	int cpu;

	for_each_cpu_wrap(cpu, &dom->cpus, raw_smp_processor_id()) {
		if (cpu != except && perf_pkg_is_housekeeping(cpu))
			return cpu;
	}

	return except < 0 ? cpumask_any(&dom->cpus) : cpumask_any_but(&dom->cpus, except);
}

/* Arming and stopping */

static u64 perf_pkg_interval_ns(const struct perf_pkg *pp)
{
	return (u64)READ_ONCE(pp->interval_us) * NSEC_PER_USEC;
}

static bool perf_pkg_timer_wanted(struct perf_pkg_domain *dom)
{
	return dom->nr_slots && !dom->paused && READ_ONCE(dom->pp->interval_us);
}

/* Arms the timer if it is needed, on the CPU where it belongs. Does not wait for that. */
void perf_pkg_timer_arm(struct perf_pkg_domain *dom)
{
	u64 since, phase, interval = perf_pkg_interval_ns(dom->pp);
	unsigned int cpu;

	lockdep_assert_held(&dom->lock);

	if (dom->timer_cpu >= 0 || !perf_pkg_timer_wanted(dom))
		return;

	cpu = perf_pkg_choose_cpu(dom, -1);
	if (cpu != smp_processor_id()) {
		if (cpu < nr_cpu_ids)
			irq_work_queue_on(&dom->arm_work, cpu);
		return;
	}

	/* The domains of a PMU take their turns within an interval. */
	phase = div_u64(interval * dom->idx, READ_ONCE(dom->pp->nr_domains));
	dom->pass_left = 0;
	dom->due = ktime_get_ns() + interval;
	div64_u64_rem(dom->due - phase, interval, &since);
	dom->due -= since;
	hrtimer_start(&dom->timer, ns_to_ktime(dom->due), HRTIMER_MODE_ABS_PINNED_HARD);

	/* If the callback is about to return elsewhere, the timer stays there. */
	dom->timer_cpu = READ_ONCE(dom->timer.base)->cpu_base->cpu;
	trace_perf_pkg_timer_start(dom->pp->name, dom->id, dom->timer_cpu);
}

static void perf_pkg_timer_stopped(struct perf_pkg_domain *dom)
{
	lockdep_assert_held(&dom->lock);

	if (dom->timer_cpu < 0)
		return;

	trace_perf_pkg_timer_stop(dom->pp->name, dom->id, dom->timer_cpu);
	dom->timer_cpu = -1;
	atomic64_set(&dom->recent, 0);
}

/* Brings a timer back to its interval; one that has it already stays as it is. */
void perf_pkg_timer_kick_locked(struct perf_pkg_domain *dom)
{
	lockdep_assert_held(&dom->lock);

	if (dom->idle_passes > 1)
		perf_pkg_timer_stopped(dom);
	WRITE_ONCE(dom->idle_passes, 0);
	perf_pkg_timer_arm(dom);
}

static void perf_pkg_arm_work(struct irq_work *work)
{
	struct perf_pkg_domain *dom = container_of(work, struct perf_pkg_domain, arm_work);

	guard(raw_spinlock)(&dom->lock);

	perf_pkg_timer_kick_locked(dom);
}

/*
 * An event became active in an idle domain. Interrupts are off, and other CPUs may
 * wait for this one to finish a context switch: do not wait for a slice to end.
 */
void perf_pkg_timer_kick(struct perf_pkg_domain *dom)
{
	if (!raw_spin_trylock(&dom->lock)) {
		irq_work_queue(&dom->arm_work);
		return;
	}

	perf_pkg_timer_kick_locked(dom);
	raw_spin_unlock(&dom->lock);
}

/* In all domains, for a shared counter */
void perf_pkg_timer_kick_all(struct perf_pkg *pp)
{
	unsigned int i;

	guard(irqsave)();

	for (i = 0; i < READ_ONCE(pp->nr_domains); i++)
		perf_pkg_timer_kick(&pp->domain[i]);
}

/* Stops the timer until perf_pkg_timer_resume(), which arms it again if need be. */
void perf_pkg_timer_pause(struct perf_pkg_domain *dom)
{
	scoped_guard(raw_spinlock_irqsave, &dom->lock)
		dom->paused++;

	hrtimer_cancel(&dom->timer);

	scoped_guard(raw_spinlock_irqsave, &dom->lock)
		perf_pkg_timer_stopped(dom);
}

void perf_pkg_timer_resume(struct perf_pkg_domain *dom)
{
	guard(raw_spinlock_irqsave)(&dom->lock);

	dom->paused--;
	perf_pkg_timer_kick_locked(dom);
}

/* Passes and slices */

/*
 * Whether what the event counts in the background is to be refreshed: it is enabled, and
 * has a task. If its own is gone, or was not enabled by exec(), those that have inherited
 * it may be there, and those of others that share its counter.
 */
bool perf_pkg_event_is_open(const struct perf_pkg_event *pe)
{
	const struct perf_pkg_counter *counter = pe->counter;

	return READ_ONCE(pe->open) &&
	       (READ_ONCE(pe->event->state) > PERF_EVENT_STATE_OFF ||
		refcount_read(&pe->ref) > 1 ||
		(counter->desc.shared && READ_ONCE(counter->nr_events) > 1));
}

static int perf_pkg_pass_slot(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot, u64 stamp)
{
	struct perf_pkg_counter *counter = slot->counter;
	bool active = atomic_read(&slot->active);
	struct perf_event *event;
	u64 read;
	int ret;

	if (READ_ONCE(counter->ended))
		return 0;

	if (counter->background) {
		/* Interrupts are off: RCU keeps it. It stands still until it is enabled. */
		event = READ_ONCE(counter->event);
		if (!event || !perf_pkg_event_is_open(event->pmu_private)) {
			/* It is just disabled, perhaps, and ->toggled() has not read it yet. */
			if (event && slot->state == PERF_PKG_SLOT_LIVE)
				perf_pkg_sweep(dom, slot, stamp);
			WRITE_ONCE(slot->state, PERF_PKG_SLOT_NO_BASELINE);
			return 0;
		}
	} else if (!active) {
		/*
		 * It may wrap unseen from here on: the next event sets a new baseline. If it
		 * was read by the last pass, or a moment ago, the event may only be off to be
		 * put back, and a later pass does this.
		 */
		if (dom->pp->ppmu->counts_domains) {
			read = atomic64_read(&slot->stamp);
			if ((s64)(stamp - read) < (s64)PERF_PKG_WINDOW_GAP_NS)
				dom->pass_more |= slot->state == PERF_PKG_SLOT_LIVE;
			else if (dom->idle_passes || read < dom->last_start)
				WRITE_ONCE(slot->state, PERF_PKG_SLOT_NO_BASELINE);
			return 0;
		}
		if (!perf_pkg_is_stale(slot))
			return 0;
	}

	ret = perf_pkg_sweep(dom, slot, stamp);
	if (active || ret > 0)
		dom->pass_busy = true;
	if (!active || ret < 0)
		dom->pass_more = true;

	return ret;
}

/*
 * A slice of a walk over @left slots that began at @since: calls @fn until that is done
 * or the budget is used up. A sweep goes on where the last slice left it. Returns the
 * time when the slice ends.
 */
u64 perf_pkg_walk_slice(struct perf_pkg_domain *dom, perf_pkg_slot_fn fn, u64 since,
			u64 start, unsigned int *left)
{
	struct list_head *pos = dom->slots.next;
	bool sweeps = dom->pp->ppmu->sweep;
	struct perf_pkg_slot *slot;
	u64 now = start;

	lockdep_assert_held(&dom->lock);

	while (*left && now < start + PERF_PKG_BUDGET_NS && pos != &dom->slots) {
		slot = list_entry(pos, struct perf_pkg_slot, node);
		if (fn(dom, slot, sweeps ? since : now) != -EINPROGRESS) {
			pos = pos->next;
			(*left)--;
		}
		now = ktime_get_mono_fast_ns();
	}
	if (pos != &dom->slots)
		list_rotate_to_front(pos, &dom->slots);

	return now;
}

/* Returns the time from this pass to the next one in ns, 0 if none is needed. */
static u64 perf_pkg_pass_end(struct perf_pkg_domain *dom)
{
	u64 next, slowest, interval = perf_pkg_interval_ns(dom->pp);
	unsigned int max_us = dom->pp->ppmu->max_interval_us;

	if (dom->pass_busy) {
		if (dom->idle_passes)
			WRITE_ONCE(dom->idle_passes, 0);
		return interval;
	}

	if (!dom->idle_passes) {
		WRITE_ONCE(dom->idle_passes, 1);
		/* Pairs with atomic_inc_return() in perf_pkg_slot_get(). */
		smp_mb();
		return interval;
	}

	atomic64_set(&dom->recent, 0);
	slowest = max_us ? min(PERF_PKG_IDLE_NS, (u64)max_us * NSEC_PER_USEC) : PERF_PKG_IDLE_NS;
	slowest = max(slowest, interval);
	next = min(interval << dom->idle_passes, slowest);
	/* Above 1, perf_pkg_timer_kick() has to arm the timer anew. */
	if (dom->idle_passes == 1 || next < slowest)
		WRITE_ONCE(dom->idle_passes, dom->idle_passes + 1);

	return dom->pass_more ? next : 0;
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
	if (dom->pass_left)
		return rest;

	interval = perf_pkg_pass_end(dom);
	if (!interval)
		return 0;

	dom->due += interval;
	if (dom->due >= rest)
		return dom->due;

	*overruns = div64_u64(rest - dom->due, interval);
	dom->due += *overruns * interval;
	/* The next one would be more than an interval away from this. */
	if (dom->due > dom->pass_start)
		return rest;

	dom->due += interval;
	(*overruns)++;

	return dom->due;
}

static enum hrtimer_restart perf_pkg_timer_fn(struct hrtimer *timer)
{
	struct perf_pkg_domain *dom = container_of(timer, struct perf_pkg_domain, timer);
	const char *name = dom->pp->name;
	u64 start, now, used, rest, next, overruns;
	int cpu = smp_processor_id();
	unsigned int before;
	s64 lateness;

	guard(raw_spinlock)(&dom->lock);

	start = ktime_get_mono_fast_ns();

	/* perf_pkg_timer_kick() armed it anew while this waited for the lock. */
	if (hrtimer_is_queued(timer))
		return HRTIMER_NORESTART;

	/* Another package's counters would be read here: leave that to a CPU of the domain. */
	if (!perf_pkg_timer_wanted(dom) || !cpumask_test_cpu(cpu, &dom->cpus)) {
		perf_pkg_timer_stopped(dom);
		perf_pkg_timer_arm(dom);
		return HRTIMER_NORESTART;
	}

	dom->timer_cpu = cpu;
	lateness = start - ktime_to_ns(hrtimer_get_expires(timer));
	if (!dom->pass_left) {
		dom->pass_left = dom->nr_slots;
		dom->pass_busy = false;
		dom->pass_more = false;
		dom->last_start = dom->pass_start;
		dom->pass_start = start;
		atomic64_set(&dom->recent, READ_ONCE(dom->pp->max_age_us) ? 0 : start);
	}
	before = dom->pass_left;
	now = perf_pkg_walk_slice(dom, perf_pkg_pass_slot, dom->pass_start, start,
				  &dom->pass_left);
	/* The clock may step back a little, and a virtual CPU may have been away for long. */
	used = max_t(s64, now - start, 0);
	rest = now + clamp(div_u64(used * (100 - PERF_PKG_CPU_PERCENT), PERF_PKG_CPU_PERCENT),
			   PERF_PKG_REST_MIN_NS, PERF_PKG_REST_MAX_NS);
	next = perf_pkg_next_slice(dom, rest, &overruns);

	trace_perf_pkg_refresh(name, dom->id, cpu, before - dom->pass_left, dom->pass_left,
			       used, max_t(s64, lateness, 0), overruns);

	if (!next) {
		perf_pkg_timer_stopped(dom);
		return HRTIMER_NORESTART;
	}
	hrtimer_set_expires(timer, ns_to_ktime(next));

	return HRTIMER_RESTART;
}

void perf_pkg_timer_init(struct perf_pkg_domain *dom)
{
	dom->timer_cpu = -1;
	dom->arm_work = IRQ_WORK_INIT_HARD(perf_pkg_arm_work);
	hrtimer_setup(&dom->timer, perf_pkg_timer_fn, CLOCK_MONOTONIC,
		      HRTIMER_MODE_ABS_PINNED_HARD);
}
