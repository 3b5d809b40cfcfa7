// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: events of PMUs that count domains
 *
 * What the hardware counts is true of the domain. A CPU event has a window on the slot
 * of its domain, which is open from ->add() to ->del(). Slots are read when a window
 * opens and closes, under the domain's lock, unless they were read just before. That of a
 * swept counter, which is the sum of many registers, keeps the value of the last sweep.
 *
 * The core takes the events of a CPU off it and puts them back whenever another one
 * comes. The window of an event that stayed enabled opens again where it was closed, as
 * if it had not been, and without a read.
 *
 * An event whose window is open reports the slot's value minus perf_pkg_event::offset, or
 * the value of a level. Otherwise it reports perf_pkg_event::sum. What opens or closes a
 * window writes the one that is not in use, and then perf_pkg_event::open: an NMI on this
 * CPU finds them consistent.
 */
#include <asm/barrier.h>
#include <linux/irqflags.h>
#include <linux/lockdep.h>
#include <linux/minmax.h>
#include <linux/perf_event.h>
#include <linux/preempt.h>
#include <linux/processor.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>

#include "internal.h"

#define PERF_PKG_WINDOW_TRIES	100

static struct perf_pkg_domain *perf_pkg_window_domain(const struct perf_pkg_event *pe)
{
	return &pe->counter->pp->domain[pe->first];
}

static __always_inline u64 perf_pkg_window_value(const struct perf_pkg_event *pe, bool level)
{
	u64 value, offset;

	/* These pair with the releases below: the value is not older than the offset. */
	while (smp_load_acquire(&pe->open)) {
		offset = atomic64_read_acquire(&pe->offset);
		value = atomic64_read_acquire(&pe->slot->value);
		/* A window that is closed meanwhile does not report what comes after it. */
		if (READ_ONCE(pe->open) && atomic64_read(&pe->offset) == offset)
			return level ? value : value - offset;
	}

	return atomic64_read(&pe->sum);
}

/* How long the event was disabled, plus a constant: the same while it is enabled */
static u64 perf_pkg_window_off(const struct perf_event *event)
{
	return event->tstamp - event->total_time_enabled;
}

static bool perf_pkg_window_reopens(const struct perf_event *event)
{
	const struct perf_pkg_event *pe = event->pmu_private;
	u64 gap = PERF_PKG_WINDOW_GAP_NS;

	/* A sweep is as coarse as the interval, and moving at hotplug takes a while. */
	if (perf_pkg_is_swept(pe->counter))
		gap = max(gap, READ_ONCE(pe->counter->pp->interval_us) * (u64)NSEC_PER_USEC);

	return ktime_get_mono_fast_ns() - pe->closed_at < gap &&
	       pe->closed_off == perf_pkg_window_off(event);
}

static void perf_pkg_window_open(struct perf_pkg_event *pe, u64 base)
{
	/* Pairs with the acquire in perf_pkg_window_value(). */
	atomic64_set_release(&pe->offset, base - atomic64_read(&pe->sum));
	/* Pairs with smp_load_acquire() there. */
	smp_store_release(&pe->open, true);
}

static void perf_pkg_window_close(struct perf_pkg_event *pe)
{
	atomic64_set(&pe->sum, perf_pkg_window_value(pe, pe->counter->desc.level));
	/* Pairs with the acquire in perf_pkg_window_value(). */
	smp_store_release(&pe->open, false);
}

/* Reads the slot, with the domain locked, unless that was done just before */
static void perf_pkg_window_publish(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	u64 now = ktime_get_mono_fast_ns();

	lockdep_assert_held(&dom->lock);

	if (slot->state != PERF_PKG_SLOT_LIVE || perf_pkg_is_stale(slot) ||
	    now - atomic64_read(&slot->stamp) > PERF_PKG_FRESH_NS)
		perf_pkg_publish(dom, slot, now);
}

static int perf_pkg_window_add(struct perf_event *event, int flags)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_domain *dom = perf_pkg_window_domain(pe);
	struct perf_pkg_slot *slot = pe->slot;
	bool live;

	if (pe->age)
		return 0;

	scoped_guard(raw_spinlock, &dom->lock) {
		live = slot->state == PERF_PKG_SLOT_LIVE;
		atomic_inc(&slot->active);
		if (dom->idle_passes)
			perf_pkg_timer_kick_locked(dom);
		perf_pkg_slot_enqueue(dom, slot);
		if (perf_pkg_window_reopens(event)) {
			perf_pkg_window_open(pe, pe->closed);
		} else {
			/* Without a baseline it was read just now. */
			if (live)
				perf_pkg_window_publish(dom, slot);
			perf_pkg_window_open(pe, atomic64_read(&slot->value));
		}
	}
	perf_event_update_userpage(event);

	return 0;
}

static void perf_pkg_window_del(struct perf_event *event, int flags)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_domain *dom = perf_pkg_window_domain(pe);
	struct perf_pkg_slot *slot = pe->slot;

	if (pe->age)
		return;

	scoped_guard(raw_spinlock, &dom->lock) {
		perf_pkg_window_publish(dom, slot);
		perf_pkg_window_close(pe);
		pe->closed = atomic64_read(&slot->value);
		pe->closed_at = ktime_get_mono_fast_ns();
		pe->closed_off = perf_pkg_window_off(event);
		perf_pkg_slot_put(slot);
	}
	perf_event_update_userpage(event);
}

static void perf_pkg_window_refresh(struct perf_event *event)
{
	struct perf_pkg_event *pe = event->pmu_private;

	if (READ_ONCE(pe->open) && perf_pkg_is_too_old(pe->slot))
		perf_pkg_publish_locked(perf_pkg_window_domain(pe), pe->slot);
}

/*
 * One interrupt for all of a group, within the budget: ->read() of the others finds their
 * slots fresh, or sends one more. The reader waits with ctx->mutex held, so the list does
 * not change.
 */
static void perf_pkg_window_refresh_group(void *info)
{
	struct perf_event *sibling, *event = info, *leader = event->group_leader;
	u64 end = ktime_get_mono_fast_ns() + PERF_PKG_BUDGET_NS;

	perf_pkg_window_refresh(event);
	if (!(leader->attr.read_format & PERF_FORMAT_GROUP))
		return;

	for_each_sibling_event(sibling, leader) {
		if (ktime_get_mono_fast_ns() > end)
			return;
		if (sibling->pmu == event->pmu)
			perf_pkg_window_refresh(sibling);
	}
}

/*
 * With interrupts enabled this is a read(2), which may wait. Samples and BPF programs
 * read the hardware on CPUs of the domain. They may have interrupted the holder of the
 * lock, so they wait for that only for a moment.
 */
static void perf_pkg_window_read(struct perf_event *event)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_domain *dom = perf_pkg_window_domain(pe);
	struct perf_pkg *pp = pe->counter->pp;
	unsigned int tries = 0;

	if (!READ_ONCE(pe->open))
		return;

	if (!irqs_disabled()) {
		if (perf_pkg_is_too_old(pe->slot))
			perf_pkg_interrupt_domain(dom, perf_pkg_window_refresh_group, event);
		return;
	}

	if (perf_pkg_this_domain(pp) != dom || (in_nmi() && !pp->ppmu->read_in_nmi))
		return;

	/* On a single CPU a lock does not know that it is held. */
	if (!IS_ENABLED(CONFIG_SMP) && in_nmi())
		return;

	while (!raw_spin_trylock(&dom->lock)) {
		if (++tries == PERF_PKG_WINDOW_TRIES)
			return;
		cpu_relax();
	}
	perf_pkg_window_publish(dom, pe->slot);
	raw_spin_unlock(&dom->lock);
}

static __always_inline u64 perf_pkg_window_since_reset(const struct perf_event *event, bool special)
{
	const struct perf_pkg_event *pe = event->pmu_private;
	bool level = special && pe->counter->desc.level;
	u64 reset = level ? 0 : local64_read(&event->count);

	/* Pairs with smp_mb() in perf_count_reset(): no value is older than the reset. */
	smp_rmb();

	return perf_pkg_window_value(pe, level) - reset;
}

static int perf_pkg_window_count(struct perf_event *event, u64 *count)
{
	return perf_pkg_count(event, count, perf_pkg_window_since_reset);
}

void perf_pkg_window_init_pmu(struct pmu *pmu)
{
	/* Hotplug moves whole groups only if their software events are in the PMU's context. */
	pmu->task_ctx_nr = perf_invalid_context;
	pmu->add	= perf_pkg_window_add;
	pmu->del	= perf_pkg_window_del;
	pmu->read	= perf_pkg_window_read;
	pmu->count	= perf_pkg_window_count;
}
