// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: events of PMUs that count tasks
 *
 * An event sums the slots of its counter, in all domains where its task and those that
 * this has forked have been; a CPU event has the slot of its domain, for what its CPU
 * did. ->del() publishes a count, so that it is exact while nothing counts for it. A
 * level, or a shared count, is left to the timer, which refreshes it while its tasks
 * sleep, too, until the event is disabled. ->toggled() reads it at both ends.
 */
#include <linux/bitops.h>
#include <linux/irqflags.h>
#include <linux/perf_event.h>
#include <linux/sched.h>

#include "internal.h"

static int perf_pkg_task_add(struct perf_event *event, int flags)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_counter *counter = pe->counter;
	struct perf_pkg_pmu *ppmu = counter->pp->ppmu;
	struct perf_pkg_domain *dom = perf_pkg_this_domain(counter->pp);

	event->hw.idx = -1;
	if (pe->age)
		return 0;

	/*
	 * It was enabled by open(), or by exec() of its task or of one that this has forked:
	 * the timers of all domains are for it.
	 */
	if (unlikely(counter->background && !READ_ONCE(pe->open))) {
		WRITE_ONCE(pe->open, true);
		perf_pkg_timer_kick_all(counter->pp);
	}

	/* Nothing counts on a CPU without a domain, or in one that is not selected. */
	if (!dom || !perf_pkg_selects(pe, dom->idx))
		return 0;

	/* For ->del(): the thread that brings a CPU up has it join its domain. */
	event->hw.idx = dom->idx;
	perf_pkg_slot_get(dom, &counter->slot[dom->idx]);
	if (ppmu->start)
		ppmu->start(counter, event);
	if (READ_ONCE(event->rb))
		perf_event_update_userpage(event);

	return 0;
}

static void perf_pkg_task_del(struct perf_event *event, int flags)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_counter *counter = pe->counter;
	struct perf_pkg *pp = counter->pp;
	struct perf_pkg_slot *slot;

	if (event->hw.idx < 0)
		return;

	slot = &counter->slot[event->hw.idx];
	if (pp->ppmu->stop)
		pp->ppmu->stop(counter, event);
	/* Without a timer, or for a task that exits, this is the last read of any. */
	if (!counter->background || !READ_ONCE(pp->interval_us) || current->flags & PF_EXITING) {
		/*
		 * Pairs with itself on another CPU of the domain, which stops the counter for
		 * another task: one of the two reads at least observes both stops.
		 */
		smp_mb();
		perf_pkg_publish_here(&pp->domain[event->hw.idx], slot,
				      atomic_read(&slot->active) == 1);
	}
	perf_pkg_slot_put(slot);
	if (READ_ONCE(event->rb))
		perf_event_update_userpage(event);
}

/*
 * The event, or one that has inherited it, was enabled or disabled, while its task sleeps
 * perhaps. What changes in between counts, and nothing else: so there is a read before the
 * timers begin, and one after they ended. ->add() may have come first.
 */
static void perf_pkg_task_toggled(struct perf_event *event)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_counter *counter = pe->counter;
	bool enabled = perf_pkg_event_is_enabled(event);
	struct perf_pkg *pp = counter->pp;
	bool open = READ_ONCE(pe->open);
	struct perf_pkg_domain *dom;
	unsigned int i;

	/* It was disabled before, and others of its group are toggled. */
	if (pe->age || !counter->background || (!enabled && !open))
		return;

	if (READ_ONCE(counter->event) != pe->event) {
		WRITE_ONCE(pe->open, enabled);
		/* Pairs with smp_mb() in perf_pkg_event_leave(), which may just select it. */
		smp_mb();
		if (!enabled || READ_ONCE(counter->event) != pe->event)
			return;
	}

	if (enabled)
		WRITE_ONCE(pe->open, true);
	for (i = 0; i < READ_ONCE(pp->nr_domains); i++) {
		dom = &pp->domain[i];
		if (READ_ONCE(counter->slot[i].state) == PERF_PKG_SLOT_NEW)
			continue;
		if (!enabled)
			perf_pkg_refresh_domain(counter, dom);
		if (!enabled || !open) {
			guard(raw_spinlock_irqsave)(&dom->lock);
			WRITE_ONCE(counter->slot[i].state, PERF_PKG_SLOT_NO_BASELINE);
		}
		if (!enabled)
			continue;
		if (READ_ONCE(counter->slot[i].state) != PERF_PKG_SLOT_LIVE)
			perf_pkg_refresh_domain(counter, dom);
		guard(irqsave)();
		perf_pkg_timer_kick(dom);
	}
	if (!enabled)
		WRITE_ONCE(pe->open, false);
}

/*
 * With interrupts enabled this is a read(2). Samples take what is published. "age" leaves
 * it to its leader to refresh.
 */
static void perf_pkg_task_read(struct perf_event *event)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_pmu *ppmu = pe->counter->pp->ppmu;

	if (irqs_disabled() || event->parent || pe->age)
		return;

	if (ppmu->lost)
		WRITE_ONCE(pe->lost, ppmu->lost(pe->counter, event));
	if (!pe->counter->background || perf_pkg_event_is_open(pe))
		perf_pkg_refresh_older(pe);
}

static __always_inline u64 perf_pkg_task_value(const struct perf_event *event, bool special)
{
	const struct perf_pkg_event *pe = event->pmu_private;
	const struct perf_pkg_counter *counter = pe->counter;
	const struct perf_pkg_slot *end, *slot = pe->slot;
	u64 mask, sum;

	if (special && counter->desc.shared && READ_ONCE(counter->event) != event)
		return 0;

	sum = special && counter->desc.level ? 0 : -local64_read(&event->count);
	/* Pairs with smp_mb() in perf_count_reset(): no value is older than the reset. */
	smp_rmb();

	if (unlikely(pe->mask)) {
		for (mask = pe->mask; mask; mask &= mask - 1)
			sum += atomic64_read(&slot[__ffs64(mask)].value);
		return sum;
	}

	for (end = slot + READ_ONCE(*pe->nr); slot < end; slot++)
		sum += atomic64_read(&slot->value);

	return sum;
}

static int perf_pkg_task_count(struct perf_event *event, u64 *count)
{
	if (unlikely(event->parent)) {
		*count = 0;
		return 0;
	}

	return perf_pkg_count(event, count, perf_pkg_task_value);
}

void perf_pkg_task_init_pmu(struct pmu *pmu)
{
	pmu->add	= perf_pkg_task_add;
	pmu->del	= perf_pkg_task_del;
	pmu->read	= perf_pkg_task_read;
	pmu->count	= perf_pkg_task_count;
	pmu->toggled	= perf_pkg_task_toggled;
}
