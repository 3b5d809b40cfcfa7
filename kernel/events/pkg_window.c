// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: what CPU events report of whole domains
 *
 * What a gauge or a free-running counter says is true of the domain, so a CPU event
 * has a window on it, which is open while the event counts. Windows open and close
 * under the domain's lock with a read of the hardware, on a CPU of the domain. An
 * event for several domains has one in each, its parts:
 *
 *	CPU of the event			CPU of another domain
 *	->add(), ->del(): part->wanted
 *	perf_pkg_settle(), by irq_work  ----->	perf_pkg_part_work(), by irq_work:
 *						opens or closes what is not as wanted
 *
 * The core takes events off a CPU and puts them back at once when others come. What
 * the domain does in between counts: windows close in perf_pkg_settle(), which runs when
 * interrupts are on again, and finds that nothing has changed. A domain
 * without a CPU has nothing to read: who wants its part opened or closed does that
 * under the domain's lock.
 *
 * A window puts the counter to use in the domain. That of an event for several domains
 * keeps it in use, once it was open, until the event is closed.
 */
#include <linux/cpumask.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/minmax.h>
#include <linux/seqlock.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#include "pkg.h"

static struct perf_pkg_slot *perf_pkg_part_slot(const struct perf_pkg_part *part)
{
	return &part->pe->counter->slot[part->domain->idx];
}

static u64 perf_pkg_part_level(const struct perf_pkg_part *part)
{
	const struct perf_pkg_slot *slot = perf_pkg_part_slot(part);

	return part->pe->age ? perf_pkg_slot_age(slot) : atomic64_read(&slot->value);
}

static void perf_pkg_write_window(struct perf_pkg_part *part, struct perf_pkg_window window)
{
	lockdep_assert_held(&part->domain->lock);

	write_seqcount_latch_begin(&part->seq);
	part->window[0] = window;
	write_seqcount_latch(&part->seq);
	part->window[1] = window;
	write_seqcount_latch_end(&part->seq);
}

static void perf_pkg_set_window(struct perf_pkg_part *part, bool open)
{
	struct perf_pkg_window window = part->window[0];
	u64 value = perf_pkg_part_level(part);

	if (perf_pkg_is_gauge(part->pe))
		window.sum = value;
	else if (window.open)
		window.sum += value - window.base;
	window.base = value;
	window.open = open;
	perf_pkg_write_window(part, window);
}

/* Somebody else reports the level now. */
static void perf_pkg_clear_gauge(struct perf_pkg_part *part)
{
	if (perf_pkg_is_gauge(part->pe))
		perf_pkg_write_window(part, (struct perf_pkg_window){ });
}

static bool perf_pkg_has_ended(const struct perf_pkg_part *part)
{
	return READ_ONCE(part->pe->counter->ended);
}

/* Opened alike by one process, perhaps on several CPUs, for what is still there or not */
static bool perf_pkg_same_set(const struct perf_pkg_part *a, const struct perf_pkg_part *b)
{
	return a == b || (a->pe->owner && a->pe->owner == b->pe->owner &&
			  perf_pkg_has_ended(a) == perf_pkg_has_ended(b) &&
			  !memcmp(a->pe->config, b->pe->config, sizeof(a->pe->config)));
}

/* Whether a set has an open window on this CPU, or on another one */
static bool perf_pkg_set_is_open(const struct perf_pkg_part *part, bool here)
{
	struct perf_pkg_part *other;

	list_for_each_entry(other, &part->domain->events, node) {
		bool same_cpu = other->pe->cpu == part->pe->cpu;

		if (same_cpu == here && other->window[0].open &&
		    perf_pkg_same_set(part, other))
			return true;
	}

	return false;
}

/*
 * A CPU reports for the set. Levels that others were left with are history. @slot was
 * just read: what is counted between two reads would be nobody's.
 */
static void perf_pkg_open_set(struct perf_pkg_part *part, const struct perf_pkg_slot *slot)
{
	struct perf_pkg_domain *dom = part->domain;
	struct perf_pkg_part *other;

	list_for_each_entry(other, &dom->events, node) {
		if (!perf_pkg_same_set(part, other) || other->window[0].open)
			continue;
		if (other->pe->cpu != part->pe->cpu) {
			perf_pkg_clear_gauge(other);
		} else if (other->active) {
			if (perf_pkg_part_slot(other) != slot)
				perf_pkg_publish(dom, perf_pkg_part_slot(other),
						 ktime_get_mono_fast_ns(), true);
			perf_pkg_set_window(other, true);
		}
	}
}

static void perf_pkg_open_window(struct perf_pkg_part *part)
{
	part->active = true;
	if (perf_pkg_set_is_open(part, false))
		perf_pkg_clear_gauge(part);
	else
		perf_pkg_open_set(part, NULL);
}

/* A gauge keeps its last level, unless another CPU goes on. */
static void perf_pkg_close_window(struct perf_pkg_part *part)
{
	struct perf_pkg_slot *slot = perf_pkg_part_slot(part);
	struct perf_pkg_domain *dom = part->domain;
	struct perf_pkg_part *heir;

	part->active = false;
	if (!part->window[0].open)
		return;

	perf_pkg_publish(dom, slot, ktime_get_mono_fast_ns(), true);
	perf_pkg_set_window(part, false);
	if (perf_pkg_set_is_open(part, true))
		return;

	list_for_each_entry(heir, &dom->events, node) {
		if (heir->active && heir->pe->cpu != part->pe->cpu &&
		    perf_pkg_same_set(part, heir)) {
			perf_pkg_open_set(heir, slot);
			return;
		}
	}
}

/* On a CPU of the domain, or if it has none, on any */
static void perf_pkg_adjust_part(struct perf_pkg_part *part)
{
	bool wanted = READ_ONCE(part->wanted);

	lockdep_assert_held(&part->domain->lock);

	if (part->active == wanted)
		return;

	if (!part->in_use) {
		perf_pkg_activate_locked(part->domain, perf_pkg_part_slot(part));
		part->in_use = true;
	}

	if (wanted) {
		perf_pkg_open_window(part);
		return;
	}

	perf_pkg_close_window(part);
	if (!part->pe->wide) {
		perf_pkg_deactivate(perf_pkg_part_slot(part));
		part->in_use = false;
	}
}

static void perf_pkg_part_work(struct irq_work *work)
{
	struct perf_pkg_part *part = container_of(work, struct perf_pkg_part, work);

	guard(raw_spinlock)(&part->domain->lock);

	perf_pkg_adjust_part(part);
}

static void perf_pkg_settle_part(struct perf_pkg_part *part)
{
	struct perf_pkg_domain *dom = part->domain;
	unsigned int cpu;

	guard(raw_spinlock)(&dom->lock);

	if (part->active == READ_ONCE(part->wanted))
		return;

	cpu = perf_pkg_choose_cpu(dom);
	if (cpu >= nr_cpu_ids || dom == perf_pkg_this_domain(dom->pp))
		perf_pkg_adjust_part(part);
	else
		irq_work_queue_on(&part->work, cpu);
}

static void perf_pkg_settle(struct irq_work *work)
{
	struct perf_pkg_event *pe = container_of(work, struct perf_pkg_event, settle);
	unsigned int i;

	for (i = 0; i < pe->nr_parts; i++) {
		if (pe->part[i].domain)
			perf_pkg_settle_part(&pe->part[i]);
	}
}

/* The event is scheduled in or out on this CPU. Interrupts are off. */
void perf_pkg_want_parts(struct perf_pkg_event *pe, bool wanted)
{
	unsigned int i;

	for (i = 0; i < pe->nr_parts; i++)
		WRITE_ONCE(pe->part[i].wanted, wanted);

	/* A window that may open here need not wait. */
	if (pe->wide || !wanted)
		irq_work_queue(&pe->settle);
	else
		perf_pkg_part_work(&pe->part[0].work);
}

/* Waits until windows are open or closed as the event is scheduled in or out. May sleep. */
void perf_pkg_settled(struct perf_pkg_event *pe)
{
	unsigned int i;

	if (!pe->nr_parts)
		return;

	irq_work_sync(&pe->settle);
	for (i = 0; i < pe->nr_parts; i++) {
		if (pe->part[i].domain)
			irq_work_sync(&pe->part[i].work);
	}
}

void perf_pkg_join_set(struct perf_pkg_event *pe, struct perf_pkg_part *part,
		       struct perf_pkg_domain *dom)
{
	part->pe = pe;
	part->domain = dom;
	part->work = IRQ_WORK_INIT_HARD(perf_pkg_part_work);
	seqcount_latch_init(&part->seq);

	guard(raw_spinlock_irqsave)(&dom->lock);

	list_add_tail(&part->node, &dom->events);
}

void perf_pkg_init_settle(struct perf_pkg_event *pe)
{
	pe->settle = IRQ_WORK_INIT_HARD(perf_pkg_settle);
}

/* The event is gone, and perf_pkg_settled(). */
void perf_pkg_leave_set(struct perf_pkg_part *part)
{
	if (!part->domain)
		return;

	if (part->in_use)
		perf_pkg_deactivate(perf_pkg_part_slot(part));

	guard(raw_spinlock_irqsave)(&part->domain->lock);

	list_del(&part->node);
}

/* Reading, in any context */

static u64 perf_pkg_part_value(const struct perf_pkg_part *part)
{
	struct perf_pkg_window window;
	unsigned int seq;
	u64 value;

	do {
		seq = read_seqcount_latch(&part->seq);
		window = part->window[seq & 1];
		/*
		 * Pairs with the barriers of the latch: the slot's value is
		 * not older than the base of the window.
		 */
		smp_rmb();
		value = perf_pkg_part_level(part);
	} while (read_seqcount_latch_retry(&part->seq, seq));

	if (!window.open)
		return window.sum;

	return perf_pkg_is_gauge(part->pe) ? value : window.sum + value - window.base;
}

u64 perf_pkg_parts_value(const struct perf_pkg_event *pe)
{
	u64 value, sum = 0;
	unsigned int i;

	for (i = 0; i < pe->nr_parts; i++) {
		if (!pe->part[i].domain)
			continue;
		value = perf_pkg_part_value(&pe->part[i]);
		/* As old as the oldest */
		sum = pe->age ? max(sum, value) : sum + value;
	}

	return sum;
}

/* The values of windows that are closed do not change. */
bool perf_pkg_is_closed(const struct perf_pkg_event *pe)
{
	unsigned int i;

	for (i = 0; i < pe->nr_parts; i++) {
		if (READ_ONCE(pe->part[i].window[0].open))
			return false;
	}

	return pe->nr_parts;
}
