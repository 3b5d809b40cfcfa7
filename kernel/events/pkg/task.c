// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: events of PMUs that count tasks
 *
 * An event sums the slots of its counter, in all domains where its task and those that
 * this has forked have been; a CPU event has the slot of its domain, for what its CPU
 * did. ->del() publishes a count, so that it is exact while nothing counts for it. A
 * level is left to the timer, which refreshes it while its tasks sleep, too.
 */
#include <linux/bitops.h>
#include <linux/irqflags.h>
#include <linux/perf_event.h>

#include "internal.h"

static int perf_pkg_task_add(struct perf_event *event, int flags)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_counter *counter = pe->counter;
	struct perf_pkg_pmu *ppmu = counter->pp->ppmu;
	struct perf_pkg_domain *dom = perf_pkg_this_domain(counter->pp);

	/* Nothing counts on a CPU without a domain, or in one that is not selected. */
	event->hw.idx = -1;
	if (pe->age || !dom || !perf_pkg_selects(pe, dom->idx))
		return 0;

	/* For ->del(): the thread that brings a CPU up has it join its domain. */
	event->hw.idx = dom->idx;
	perf_pkg_slot_get(dom, &counter->slot[dom->idx]);
	if (ppmu->start)
		ppmu->start(counter, event);
	if (rcu_access_pointer(event->rb))
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
	/* Without a timer this is the only read of a level, too. */
	if (!counter->desc.level || !READ_ONCE(pp->interval_us))
		perf_pkg_publish_here(&pp->domain[event->hw.idx], slot);
	perf_pkg_slot_put(slot);
	if (rcu_access_pointer(event->rb))
		perf_event_update_userpage(event);
}

/*
 * A level that was disabled and is enabled while its task sleeps is not refreshed, or
 * only slowly, until this first read(2).
 */
static void perf_pkg_task_kick(const struct perf_pkg_event *pe)
{
	struct perf_pkg *pp = pe->counter->pp;
	enum perf_pkg_slot_state state;
	struct perf_pkg_domain *dom;
	unsigned int i;

	for (i = 0; i < READ_ONCE(pp->nr_domains); i++) {
		dom = &pp->domain[i];
		state = READ_ONCE(pe->counter->slot[i].state);
		if (!perf_pkg_selects(pe, i) || state == PERF_PKG_SLOT_NEW ||
		    (state == PERF_PKG_SLOT_LIVE && READ_ONCE(dom->timer_cpu) >= 0))
			continue;
		if (state == PERF_PKG_SLOT_NO_BASELINE)
			perf_pkg_refresh_domain(pe->counter, dom);
		guard(irqsave)();
		perf_pkg_timer_kick(dom);
	}
}

/*
 * With interrupts enabled this is a read(2). Samples take what is published. "age" leaves
 * it to its leader to refresh.
 */
static void perf_pkg_task_read(struct perf_event *event)
{
	struct perf_pkg_event *pe = event->pmu_private;

	if (irqs_disabled() || event->parent || pe->age)
		return;

	if (pe->counter->desc.level) {
		if (!perf_pkg_event_is_enabled(event))
			return;
		perf_pkg_task_kick(pe);
	}
	perf_pkg_refresh_older(pe);
}

static u64 perf_pkg_task_value(struct perf_event *event)
{
	const struct perf_pkg_event *pe = event->pmu_private;
	const struct perf_pkg_counter *counter = pe->counter;
	const struct perf_pkg_slot *end, *slot = &counter->slot[pe->first];
	u64 mask = pe->mask, sum;

	sum = counter->desc.level ? 0 : -local64_read(&event->count);
	/* Pairs with smp_mb() in perf_count_reset(): no value is older than the reset. */
	smp_rmb();

	if (unlikely(mask)) {
		for (; mask; mask &= mask - 1)
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
}
