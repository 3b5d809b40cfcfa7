// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf, kept fresh by one hrtimer per package
 *
 * This file: slots, their values and the age of these
 */
#include <linux/cpumask.h>
#include <linux/lockdep.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>

#include "internal.h"

#define CREATE_TRACE_POINTS
#include <trace/events/perf_pkg.h>

/*
 * A counter that exists once per package can be read on that package only. The
 * CPUs that share one copy of it are a domain. One pinned timer per PMU and
 * domain reads all counters in use there and publishes their values:
 *
 *	      domain 0				 domain 1
 *	CPU 0	CPU 1	CPU 2		CPU 3	CPU 4	CPU 5
 *	  |					  |
 *	hrtimer					hrtimer
 *	  | ->read()				  | ->read()
 *	  v					  v
 *	counter A: slot[0]			slot[1]
 *	counter B: slot[0]			slot[1]
 *	  \					  /
 *	   `------------------+------------------'
 *			      v
 *		pmu::count(): sum of the slots' values, from any CPU
 *
 * A slot holds a value and the time of the hardware read behind it. The age of a
 * count is now minus the oldest such time among the slots it was summed from. A
 * slot that nothing can move is quiescent and has no age. Scheduled in again it is as
 * old as the last pass, which saves the clock: older than it is, but not than the rest.
 *
 * A PMU counts tasks (task.c) or domains (window.c).
 *
 * Inherited events start and stop the counter of their parent and report 0
 * themselves, so that the core has nothing to fold into child_count.
 *
 * Lifetime rules:
 *
 * A counter lives as long as one of its events. Its slot joins the list of a
 * domain when an event is first scheduled in there, and leaves it with the
 * counter: scheduling afterwards touches neither list nor lock, unless the PMU
 * counts domains or the last pass has found the domain idle. NMI handlers may read an
 * event that is being closed, so events and counters are freed after an RCU grace
 * period. Events pin the module of their PMU: perf_pmu_unregister() finds none.
 *
 * Locking rules:
 *
 * perf_event_context::lock, or interrupts off
 *   perf_pkg_domain::lock
 *     hrtimer base lock, and what ->read() takes
 *
 * perf_pkg::mutex serializes the creation and removal of counters and changes of
 * the interval; the hotplug callbacks do not take it. perf_pkg_timer_pause() stops
 * a timer outside of the domain's lock, which the timer takes, and keeps others
 * from arming it meanwhile. perf_pkg_timer_resume() rechecks the list:
 *
 *	CPU0 (last event of counter A)	CPU1 (first event of counter B)
 *	lock; list empty; unlock
 *					lock; add to the list;
 *					timer is armed already; unlock
 *	hrtimer_cancel()
 *	resume: lock; B on the list:
 *	arm; unlock
 *
 * Publishing:
 *
 * The timer, ->del() on several CPUs of the domain, and read(2) may read a counter
 * of tasks at a time. Each reads the hardware once, and raises the slot's value to
 * what it read unless that is larger already:
 *
 *	CPU0				CPU1
 *	->read() = 20
 *					->read() = 25
 *					try_cmpxchg(slot->value, 10, 25)
 *	try_cmpxchg(slot->value, 10, 20)
 *	fails: 25 is newer, done
 *
 * A counter that was read after the last ->stop() is exact, and larger than what
 * was read before. Levels do not grow, and drivers keep state for free-running
 * counters: both are read under the domain's lock.
 *
 * The stamp is taken before the read and written after the value:
 *
 *	publisher				reader
 *	atomic64_try_cmpxchg(value)		atomic64_read_acquire(stamp)
 *	atomic64_try_cmpxchg_release(stamp)	atomic64_read(value)
 *
 * CPU hotplug: see domain.c. Readers in all contexts: read.c.
 */

/* When the value was read, 0 if it has no age */
u64 perf_pkg_slot_stamp(const struct perf_pkg_slot *slot)
{
	if (perf_pkg_is_quiescent(slot))
		return 0;

	/* Pairs with the release in perf_pkg_slot_set_stamp(). */
	return atomic64_read_acquire(&slot->stamp);
}

void perf_pkg_slot_set_stamp(struct perf_pkg_slot *slot, s64 stamp)
{
	s64 old = atomic64_read(&slot->stamp);

	/* Pairs with atomic64_read_acquire() in perf_pkg_slot_stamp(). */
	do {
		if (old >= stamp)
			return;
	} while (!atomic64_try_cmpxchg_release(&slot->stamp, &old, stamp));
}

static void perf_pkg_slot_set_stale(struct perf_pkg_slot *slot)
{
	int old = atomic_read(&slot->stale);

	/* Pairs with the acquire in perf_pkg_sweep(). */
	while (!atomic_try_cmpxchg_release(&slot->stale, &old,
					   (old + 2) | PERF_PKG_SLOT_STALE))
		;
}

/* A read is published that began when @seen was the state, unless others failed since. */
static void perf_pkg_slot_set_ok(struct perf_pkg_slot *slot, int seen)
{
	/* Pairs with the acquire in perf_pkg_is_stale(): the value is published. */
	if (unlikely(seen & PERF_PKG_SLOT_STALE))
		atomic_cmpxchg_release(&slot->stale, seen, seen & ~PERF_PKG_SLOT_STALE);
}

/*
 * No baseline: the next read sets one. The slot ages until then, unless nothing counts
 * for it.
 */
void perf_pkg_slot_lose_baseline(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	lockdep_assert_held(&dom->lock);

	WRITE_ONCE(slot->state, PERF_PKG_SLOT_NO_BASELINE);
	if (perf_pkg_is_quiescent(slot))
		return;

	perf_pkg_slot_set_stale(slot);
	if (!atomic64_read(&slot->stamp) && cpumask_test_cpu(smp_processor_id(), &dom->cpus))
		perf_pkg_slot_set_stamp(slot, ktime_get_mono_fast_ns());
}

/*
 * Raises a count to the hardware value @raw. -ESTALE: the count is larger, as another
 * CPU published a newer value meanwhile, or the hardware was reset.
 */
static int perf_pkg_slot_raise(struct perf_pkg_slot *slot, u64 raw, s64 *delta)
{
	s64 new, old = atomic64_read(&slot->value);
	u64 step, mask = slot->counter->mask;

	step = (raw - slot->baseline - old) & mask;
	if (step > mask >> 1)
		return -ESTALE;

	new = old + step;
	while (new - old > 0) {
		if (atomic64_try_cmpxchg(&slot->value, &old, new)) {
			*delta = new - old;
			break;
		}
	}

	return 0;
}

/* With the domain locked: a level, or the first value from which on to count */
static void perf_pkg_slot_set(struct perf_pkg_slot *slot, u64 raw, s64 *delta)
{
	s64 value = atomic64_read(&slot->value);

	if (!slot->counter->desc.level) {
		slot->baseline = raw - value;
		return;
	}

	raw &= slot->counter->mask;
	*delta = raw - value;
	atomic64_set(&slot->value, raw);
}

/* Whether the counter has several registers: only the timer and hotplug read it. */
bool perf_pkg_is_swept(const struct perf_pkg_counter *counter)
{
	const struct perf_pkg_pmu *ppmu = counter->pp->ppmu;

	return ppmu->sweep && ppmu->is_swept(counter);
}

/*
 * Reads the hardware on this CPU once and publishes the value. Interrupts are off,
 * @stamp is the time before the read, or 0 to leave the slot's. The domain is locked if
 * the counter wants that, and until the first read has succeeded. Returns 1 if the value
 * has changed, 0 or -errno. -EINPROGRESS: more registers are to be read before there is
 * a value, by further calls with the same @stamp.
 */
int perf_pkg_sweep(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot, u64 stamp)
{
	struct perf_pkg_counter *counter = slot->counter;
	bool online = cpumask_test_cpu(smp_processor_id(), &dom->cpus);
	struct perf_pkg *pp = dom->pp;
	struct perf_pkg_pmu *ppmu = pp->ppmu;
	s64 delta = 0;
	int ret, seen;
	bool live;
	u64 raw;

	if (READ_ONCE(counter->ended))
		return 0;

	/*
	 * A CPU that comes or goes counts for its tasks. What it cannot refresh
	 * afterwards it does not publish.
	 */
	if (!online && (counter->locked || perf_pkg_this_domain(pp) != dom))
		return 0;

	/* Pairs with the release in perf_pkg_slot_set_stale(): read after that one. */
	seen = atomic_read_acquire(&slot->stale);
	/* Pairs with smp_store_release() below: ->baseline is valid. */
	live = smp_load_acquire(&slot->state) == PERF_PKG_SLOT_LIVE;

	if (ppmu->sweep) {
		/* It was read, or came into use, after this pass began: the next one is for it. */
		if (stamp < atomic64_read(&slot->stamp))
			return 0;

		ret = ppmu->sweep(counter, dom->idx, stamp);
		if (ret == -EINPROGRESS)
			return ret;
		if (ret)
			goto failed;
	}

	ret = ppmu->read(counter, dom->idx, &raw);
	if (ret)
		goto failed;

	if (live && !counter->desc.level) {
		ret = perf_pkg_slot_raise(slot, raw, &delta);
		if (ret && !counter->locked) {
			perf_pkg_slot_set_ok(slot, seen);
			return -EAGAIN;
		}
		/* There is one reader at a time: the hardware was reset. Count on. */
		if (ret) {
			perf_pkg_slot_set(slot, raw, &delta);
			goto failed;
		}
	} else {
		lockdep_assert_held(&dom->lock);
		perf_pkg_slot_set(slot, raw, &delta);
		/* Pairs with smp_load_acquire() above. */
		smp_store_release(&slot->state, PERF_PKG_SLOT_LIVE);
	}

	perf_pkg_slot_set_ok(slot, seen);
	if (online)
		perf_pkg_slot_set_stamp(slot, stamp);
	if (trace_perf_pkg_publish_enabled())
		trace_perf_pkg_publish(pp->name, counter->id, dom->id,
				       atomic64_read(&slot->value), delta);

	return delta != 0;

failed:
	perf_pkg_slot_set_stale(slot);
	if (ret != -EAGAIN) {
		atomic64_inc(&pp->errors);
		trace_perf_pkg_error(pp->name, counter->id, dom->id, ret);
	}
	return ret;
}

/* The same at once. Of a swept counter the value of the last sweep stands. */
int perf_pkg_publish(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot, u64 stamp)
{
	return perf_pkg_is_swept(slot->counter) ? 0 : perf_pkg_sweep(dom, slot, stamp);
}

void perf_pkg_publish_locked(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	guard(raw_spinlock)(&dom->lock);

	perf_pkg_publish(dom, slot, ktime_get_mono_fast_ns());
}
