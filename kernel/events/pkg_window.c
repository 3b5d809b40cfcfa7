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
 *	part->wanted = true
 *	smp_mb()
 *	dom->cpus empty ?			dom->cpus = this CPU (online)
 *	  no: irq_work_queue_on()  ------->	perf_pkg_part_work(): opens
 *						smp_mb()
 *	  yes: the hotplug callback sees	part->wanted ?
 *
 * Such an event keeps its counter in use in its domains from open to close, so that
 * only the windows depend on when it is scheduled.
 */
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/irq_work.h>
#include <linux/irqflags.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/seqlock.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#include "pkg.h"

static struct perf_pkg_slot *perf_pkg_part_slot(const struct perf_pkg_part *part)
{
	return &part->pe->counter->slot[part->domain->idx];
}

static u64 perf_pkg_part_level(const struct perf_pkg_part *part)
{
	return part->pe->age ? perf_pkg_age(part->pe) :
			       atomic64_read(&perf_pkg_part_slot(part)->value);
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

/* Opened alike by one process, perhaps on several CPUs */
static bool perf_pkg_same_set(const struct perf_pkg_part *a, const struct perf_pkg_part *b)
{
	return a == b || (a->pe->owner && a->pe->owner == b->pe->owner &&
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

/* On a CPU of the domain */
static void perf_pkg_adjust_part(struct perf_pkg_part *part)
{
	bool wanted = READ_ONCE(part->wanted);

	lockdep_assert_held(&part->domain->lock);

	if (part->active == wanted)
		return;

	if (wanted)
		perf_pkg_open_window(part);
	else
		perf_pkg_close_window(part);
}

static void perf_pkg_part_work(struct irq_work *work)
{
	struct perf_pkg_part *part = container_of(work, struct perf_pkg_part, work);

	guard(raw_spinlock)(&part->domain->lock);

	perf_pkg_adjust_part(part);
}

/* The first CPU of the domain is online: nobody could be asked before. */
void perf_pkg_adjust_parts(struct perf_pkg_domain *dom)
{
	struct perf_pkg_part *part;

	/* Pairs with smp_mb() in perf_pkg_want_part(): the CPU is in perf_pkg_domain::cpus. */
	smp_mb();

	guard(raw_spinlock_irqsave)(&dom->lock);

	list_for_each_entry(part, &dom->events, node) {
		if (part->pe->wide)
			perf_pkg_adjust_part(part);
	}
}

/* The event is scheduled in or out on this CPU. Interrupts are off. */
static void perf_pkg_want_part(struct perf_pkg_part *part, bool wanted)
{
	struct perf_pkg_domain *dom = part->domain;
	unsigned int cpu;

	WRITE_ONCE(part->wanted, wanted);
	if (dom == perf_pkg_this_domain(part->pe->counter->pp)) {
		perf_pkg_part_work(&part->work);
		return;
	}

	/* Pairs with smp_mb() in perf_pkg_adjust_parts(). */
	smp_mb();
	cpu = perf_pkg_choose_cpu(dom);
	if (cpu < nr_cpu_ids)
		irq_work_queue_on(&part->work, cpu);
}

void perf_pkg_want_parts(struct perf_pkg_event *pe, bool wanted)
{
	unsigned int i;

	for (i = 0; i < pe->nr_parts; i++) {
		if (pe->part[i].domain)
			perf_pkg_want_part(&pe->part[i], wanted);
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

void perf_pkg_leave_set(struct perf_pkg_part *part)
{
	if (!part->domain)
		return;

	irq_work_sync(&part->work);

	guard(raw_spinlock_irqsave)(&part->domain->lock);

	list_del(&part->node);
}

/* Events that count in other domains than their own keep their counter in use there. */

struct perf_pkg_use {
	struct perf_pkg_domain	*dom;
	struct perf_pkg_slot	*slot;
};

static void perf_pkg_activate_for(void *info)
{
	struct perf_pkg_use *use = info;

	perf_pkg_activate(use->dom, use->slot);
}

/* Domains without a CPU, and those that there may be one day, are told now, too. */
void perf_pkg_widen(struct perf_pkg_event *pe)
{
	struct perf_pkg_part *part;
	unsigned int i, cpu;

	guard(cpus_read_lock)();

	for (i = 0; i < pe->nr_parts; i++) {
		struct perf_pkg_use use = { };

		part = &pe->part[i];
		if (!part->domain)
			continue;
		use.dom = part->domain;
		use.slot = perf_pkg_part_slot(part);
		cpu = cpumask_first(&use.dom->cpus);
		if (cpu < nr_cpu_ids) {
			smp_call_function_single(cpu, perf_pkg_activate_for, &use, true);
		} else {
			guard(irqsave)();
			perf_pkg_activate_for(&use);
		}
	}
}

void perf_pkg_narrow(struct perf_pkg_event *pe)
{
	unsigned int i;

	for (i = 0; i < pe->nr_parts; i++) {
		if (pe->part[i].domain)
			perf_pkg_deactivate(perf_pkg_part_slot(&pe->part[i]));
	}
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
	unsigned int i;
	u64 sum = 0;

	/* The oldest of all domains is not their sum. */
	if (pe->age && pe->wide)
		return perf_pkg_age(pe);

	for (i = 0; i < pe->nr_parts; i++) {
		if (pe->part[i].domain)
			sum += perf_pkg_part_value(&pe->part[i]);
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
