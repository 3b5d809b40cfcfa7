// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: events and PMU methods
 *
 * The mechanism below, slots and their refreshers, is in pkg.c and pkg_timer.c.
 */
#include <linux/bitfield.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/percpu.h>
#include <linux/pid.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#include <trace/events/perf_pkg.h>

#include "pkg.h"

/* What the slots say */

static u64 perf_pkg_sum_selected(const struct perf_pkg_event *pe)
{
	u64 mask, sum = 0;

	for (mask = pe->mask; mask; mask &= mask - 1)
		sum += atomic64_read(&pe->counter->slot[__ffs64(mask)].value);

	return sum;
}

static unsigned int perf_pkg_nr_slots(const struct perf_pkg_event *pe)
{
	return pe->nr != UINT_MAX ? pe->nr : READ_ONCE(pe->counter->pp->nr_domains);
}

static u64 perf_pkg_sum(const struct perf_pkg_event *pe)
{
	const struct perf_pkg_slot *slot = &pe->counter->slot[pe->first];
	unsigned int i, nr = perf_pkg_nr_slots(pe);
	u64 sum = 0;

	if (pe->mask)
		return perf_pkg_sum_selected(pe);

	for (i = 0; i < nr; i++)
		sum += atomic64_read(&slot[i].value);

	return sum;
}

static bool perf_pkg_selects(const struct perf_pkg_event *pe, unsigned int idx)
{
	if (pe->mask)
		return idx < PERF_PKG_MAX_SELECT && pe->mask & BIT_ULL(idx);

	return idx >= pe->first && idx - pe->first < perf_pkg_nr_slots(pe);
}

/* When the value was read, 0 if it is exact or there is none */
static u64 perf_pkg_slot_stamp(const struct perf_pkg_slot *slot)
{
	if (perf_pkg_is_exact(slot))
		return 0;

	/* Pairs with the release in perf_pkg_stamp(). */
	return atomic64_read_acquire(&slot->stamp);
}

/* ns since the oldest read, 0 if there is none that may be too old */
static u64 perf_pkg_age(const struct perf_pkg_event *pe)
{
	const struct perf_pkg_slot *slot = &pe->counter->slot[pe->first];
	unsigned int i, nr = perf_pkg_nr_slots(pe);
	u64 now, stamp, oldest = U64_MAX;

	for (i = 0; i < nr; i++) {
		if (!perf_pkg_selects(pe, pe->first + i))
			continue;
		stamp = perf_pkg_slot_stamp(&slot[i]);
		if (stamp)
			oldest = min(oldest, stamp);
	}

	now = ktime_get_mono_fast_ns();

	return now > oldest ? now - oldest : 0;
}

/* The window of a CPU event on what counts for the whole domain */

static bool perf_pkg_is_gauge(const struct perf_pkg_event *pe)
{
	return pe->age || pe->counter->desc.flags & PERF_PKG_GAUGE;
}

static void perf_pkg_write_window(struct perf_pkg_event *pe, struct perf_pkg_window window)
{
	lockdep_assert_held(&pe->domain->lock);

	write_seqcount_latch_begin(&pe->seq);
	pe->window[0] = window;
	write_seqcount_latch(&pe->seq);
	pe->window[1] = window;
	write_seqcount_latch_end(&pe->seq);
}

static void perf_pkg_set_window(struct perf_pkg_event *pe, bool open)
{
	u64 value = pe->age ? perf_pkg_age(pe) : perf_pkg_sum(pe);
	struct perf_pkg_window window = pe->window[0];

	if (perf_pkg_is_gauge(pe))
		window.sum = value;
	else if (window.open)
		window.sum += value - window.base;
	window.base = value;
	window.open = open;
	perf_pkg_write_window(pe, window);
}

/* Somebody else reports the level now. */
static void perf_pkg_clear_gauge(struct perf_pkg_event *pe)
{
	if (perf_pkg_is_gauge(pe))
		perf_pkg_write_window(pe, (struct perf_pkg_window){ });
}

/* Opened alike by one process, perhaps on several CPUs */
static bool perf_pkg_same_set(const struct perf_pkg_event *a,
			      const struct perf_pkg_event *b)
{
	return a->owner == b->owner && !memcmp(a->config, b->config, sizeof(a->config));
}

/* Whether a set has an open window on this CPU, or on another one */
static bool perf_pkg_set_is_open(const struct perf_pkg_event *pe, bool here)
{
	struct perf_pkg_event *other;

	list_for_each_entry(other, &pe->domain->events, node) {
		bool same_cpu = other->cpu == pe->cpu;

		if (same_cpu == here && other->window[0].open &&
		    perf_pkg_same_set(pe, other))
			return true;
	}

	return false;
}

/*
 * A CPU reports for the set. Levels that others were left with are history. @slot was
 * just read: what is counted between two reads would be nobody's.
 */
static void perf_pkg_open_set(struct perf_pkg_event *pe, const struct perf_pkg_slot *slot)
{
	struct perf_pkg_domain *dom = pe->domain;
	struct perf_pkg_event *other;

	list_for_each_entry(other, &dom->events, node) {
		if (!perf_pkg_same_set(pe, other) || other->window[0].open)
			continue;
		if (other->cpu != pe->cpu) {
			perf_pkg_clear_gauge(other);
		} else if (other->active) {
			if (&other->counter->slot[dom->idx] != slot)
				perf_pkg_publish(dom, &other->counter->slot[dom->idx],
						 ktime_get_mono_fast_ns(), true);
			perf_pkg_set_window(other, true);
		}
	}
}

static void perf_pkg_open_window(struct perf_pkg_event *pe)
{
	guard(raw_spinlock)(&pe->domain->lock);

	pe->active = true;
	if (perf_pkg_set_is_open(pe, false))
		perf_pkg_clear_gauge(pe);
	else
		perf_pkg_open_set(pe, NULL);
}

/* A gauge keeps its last level, unless another CPU goes on. */
static void perf_pkg_close_window(struct perf_pkg_event *pe,
				  struct perf_pkg_slot *slot)
{
	struct perf_pkg_domain *dom = pe->domain;
	struct perf_pkg_event *heir;

	guard(raw_spinlock)(&dom->lock);

	pe->active = false;
	if (!pe->window[0].open)
		return;

	perf_pkg_publish(dom, slot, ktime_get_mono_fast_ns(), true);
	perf_pkg_set_window(pe, false);
	if (perf_pkg_set_is_open(pe, true))
		return;

	list_for_each_entry(heir, &dom->events, node) {
		if (heir->active && heir->cpu != pe->cpu && perf_pkg_same_set(pe, heir)) {
			perf_pkg_open_set(heir, slot);
			return;
		}
	}
}

static void perf_pkg_join_set(struct perf_pkg_event *pe)
{
	guard(raw_spinlock_irqsave)(&pe->domain->lock);

	list_add_tail(&pe->node, &pe->domain->events);
}

static void perf_pkg_leave_set(struct perf_pkg_event *pe)
{
	guard(raw_spinlock_irqsave)(&pe->domain->lock);

	list_del(&pe->node);
}

/* Reading, in any context */

static noinline u64 perf_pkg_window_value(struct perf_pkg_event *pe)
{
	struct perf_pkg_window window;
	unsigned int seq;
	u64 value;

	do {
		seq = read_seqcount_latch(&pe->seq);
		window = pe->window[seq & 1];
		/*
		 * Pairs with the barriers of the latch: the slot's value is
		 * not older than the base of the window.
		 */
		smp_rmb();
		value = pe->age ? perf_pkg_age(pe) : perf_pkg_sum(pe);
	} while (read_seqcount_latch_retry(&pe->seq, seq));

	if (!window.open)
		return window.sum;

	return perf_pkg_is_gauge(pe) ? value : window.sum + value - window.base;
}

static u64 perf_pkg_value(struct perf_pkg_event *pe)
{
	/* Apart, so that what is read most needs no stack */
	if (pe->domain)
		return perf_pkg_window_value(pe);

	return pe->age ? perf_pkg_age(pe) : perf_pkg_sum(pe);
}

/**
 * perf_pkg_event_count() - pmu::count() of all PMUs of the engine
 * @event:	The event
 *
 * Context: Any, NMI included. Takes no lock.
 * Return: The sum of what was last published for @event and its children; 0 if
 * @event is a child
 */
u64 perf_pkg_event_count(struct perf_event *event)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_counter *counter = pe->counter;
	u64 value, reset, age = 0;

	if (event->parent)
		return 0;

	/* First: the value must not be older than that says. */
	if (trace_perf_pkg_read_enabled())
		age = perf_pkg_age(pe);

	reset = perf_pkg_is_gauge(pe) ? 0 : local64_read(&event->count);
	/*
	 * The core adds a count that it has read: who sees the sum must see a
	 * value that is as new as that count.
	 */
	smp_rmb();
	value = perf_pkg_value(pe) - reset;

	trace_perf_pkg_read(counter->pp->name, counter->id, value, age);

	return value;
}
EXPORT_SYMBOL_GPL(perf_pkg_event_count);

/* read(2) may ask for values that are not older than perf_pkg::max_age_us. */

struct perf_pkg_read {
	const struct perf_pkg_event	*pe;
	u64				oldest;
};

static bool perf_pkg_is_too_old(const struct perf_pkg_read *read, unsigned int idx)
{
	u64 stamp = perf_pkg_slot_stamp(&read->pe->counter->slot[idx]);

	return stamp && stamp < read->oldest;
}

/* One CPU of each domain with a value that is too old */
static bool perf_pkg_refreshes(int cpu, void *info)
{
	const struct perf_pkg_read *read = info;
	struct perf_pkg_domain *dom = *per_cpu_ptr(read->pe->counter->pp->cpu_domain, cpu);

	if (!dom || !perf_pkg_selects(read->pe, dom->idx) || !perf_pkg_is_too_old(read, dom->idx))
		return false;

	/* No interrupt is needed where the reader is. */
	if (cpumask_test_cpu(smp_processor_id(), &dom->cpus))
		return cpu == smp_processor_id();

	return cpu == perf_pkg_choose_cpu(dom);
}

static void perf_pkg_refresh_for(void *info)
{
	const struct perf_pkg_read *read = info;

	perf_pkg_refresh(read->pe->counter);
}

/*
 * pmu::sync_count(): the core calls it for read(2), before ->count(). What is still
 * too old afterwards could not be read.
 */
static void perf_pkg_event_sync_count(struct perf_event *event)
{
	struct perf_pkg_event *pe = event->pmu_private;
	u64 max_age = (u64)READ_ONCE(pe->counter->pp->max_age_us) * NSEC_PER_USEC;
	struct perf_pkg_read read = { .pe = pe };
	unsigned int i, nr = perf_pkg_nr_slots(pe);
	u64 now;

	/* The value of a window that is not open does not change. */
	if (!max_age || event->parent || (pe->domain && !READ_ONCE(pe->window[0].open)))
		return;

	now = ktime_get_mono_fast_ns();
	read.oldest = now - min(max_age, now);
	for (i = pe->first; i - pe->first < nr; i++) {
		if (!perf_pkg_selects(pe, i) || !perf_pkg_is_too_old(&read, i))
			continue;
		on_each_cpu_cond(perf_pkg_refreshes, perf_pkg_refresh_for, &read, true);
		return;
	}
}

/**
 * perf_pkg_event_counter() - the counter that an event monitors
 * @event:	An event for which perf_pkg_pmu::event_init() succeeded
 *
 * Context: Any.
 * Return: The counter
 */
struct perf_pkg_counter *perf_pkg_event_counter(struct perf_event *event)
{
	struct perf_pkg_event *pe = event->pmu_private;

	return pe->counter;
}
EXPORT_SYMBOL_GPL(perf_pkg_event_counter);

/* PMU methods */

static bool perf_pkg_is_cgroup_event(struct perf_event *event)
{
#ifdef CONFIG_CGROUP_PERF
	return event->cgrp;
#else
	return false;
#endif
}

static int perf_pkg_event_add(struct perf_event *event, int flags)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_counter *counter = pe->counter;
	struct perf_pkg_pmu *ppmu = counter->pp->ppmu;
	struct perf_pkg_domain *dom = perf_pkg_this_domain(counter->pp);
	struct perf_pkg_slot *slot;

	/* Nothing to count on a CPU without a domain, or for who does not select it */
	event->hw.idx = -1;
	if (!dom || !perf_pkg_selects(pe, dom->idx))
		return 0;

	/* For ->del(): the thread that brings a CPU up has it join its domain. */
	event->hw.idx = dom->idx;
	slot = &counter->slot[dom->idx];
	perf_pkg_activate(dom, slot);
	if (!pe->age && ppmu->start)
		ppmu->start(counter, event);

	if (pe->domain)
		perf_pkg_open_window(pe);
	else if (!pe->age && counter->desc.flags & PERF_PKG_NO_TIMER)
		perf_pkg_publish_here(dom, slot);

	perf_event_update_userpage(event);

	return 0;
}

static void perf_pkg_event_del(struct perf_event *event, int ef_flags)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_counter *counter = pe->counter;
	unsigned int flags = counter->desc.flags;
	struct perf_pkg_pmu *ppmu = counter->pp->ppmu;
	struct perf_pkg_domain *dom;
	struct perf_pkg_slot *slot;

	if (event->hw.idx < 0)
		return;

	dom = &counter->pp->domain[event->hw.idx];
	slot = &counter->slot[event->hw.idx];
	if (!pe->age && ppmu->stop)
		ppmu->stop(counter, event);

	/* The value must be exact now: nobody counts it any further. */
	if (pe->domain)
		perf_pkg_close_window(pe, slot);
	else if (!pe->age && (!(flags & PERF_PKG_GAUGE) || flags & PERF_PKG_NO_TIMER))
		perf_pkg_publish_here(dom, slot);
	perf_pkg_deactivate(slot);

	perf_event_update_userpage(event);
}

/* Events of the engine have no overflow: there is nothing to throttle or restart. */
static void perf_pkg_event_start(struct perf_event *event, int flags)
{
}

static void perf_pkg_event_stop(struct perf_event *event, int flags)
{
}

static void perf_pkg_event_read(struct perf_event *event)
{
}

static void perf_pkg_event_put(struct perf_pkg_event *pe)
{
	if (!refcount_dec_and_test(&pe->ref))
		return;

	if (pe->domain)
		perf_pkg_leave_set(pe);
	put_pid(pe->owner);
	perf_pkg_counter_put(pe->counter);
	kfree_rcu(pe, rcu);
}

static void perf_pkg_event_destroy(struct perf_event *event)
{
	perf_pkg_event_put(event->pmu_private);
}

/* What no event of the engine can do, whatever it monitors */
static int perf_pkg_event_check(struct perf_event *event)
{
	struct perf_event_attr *attr = &event->attr;

	if (is_sampling_event(event))
		return -EINVAL;

	if (has_branch_stack(event))
		return -EOPNOTSUPP;

	/* Children have no counts of their own. */
	return attr->inherit_stat ? -EOPNOTSUPP : 0;
}

/* The indices of the domains in config1, which has their ids */
static int perf_pkg_event_mask(struct perf_pkg *pp, u64 ids, u64 *mask)
{
	struct perf_pkg_domain *dom;

	for (*mask = 0; ids; ids &= ids - 1) {
		dom = perf_pkg_find_domain(pp, __ffs64(ids));
		if (!dom || dom->idx >= PERF_PKG_MAX_SELECT)
			return -ENODEV;
		*mask |= BIT_ULL(dom->idx);
	}

	return 0;
}

/* Chooses the slots that the event sums. */
static int perf_pkg_event_select(struct perf_event *event, struct perf_pkg_event *pe)
{
	struct perf_pkg *pp = pe->counter->pp;
	struct perf_pkg_domain *dom;
	u64 mask;
	int ret;

	ret = perf_pkg_event_mask(pp, event->attr.config1, &mask);
	if (ret)
		return ret;

	if (event->attach_state & PERF_ATTACH_TASK) {
		pe->nr = UINT_MAX;
		pe->mask = mask;
		return 0;
	}

	dom = cpu_possible(event->cpu) ? *per_cpu_ptr(pp->cpu_domain, event->cpu) : NULL;
	if (!dom)
		return -ENODEV;

	pe->first = dom->idx;
	pe->nr = !mask || (dom->idx < PERF_PKG_MAX_SELECT && mask & BIT_ULL(dom->idx));
	if (!pe->nr || !(perf_pkg_is_gauge(pe) ||
			 pe->counter->desc.flags & PERF_PKG_FREE_RUNNING))
		return 0;

	pe->domain = dom;
	pe->owner = get_task_pid(current, PIDTYPE_TGID);
	pe->cpu = event->cpu;
	pe->config[0] = event->attr.config;
	pe->config[1] = event->attr.config1;
	pe->config[2] = event->attr.config2;
	pe->config[3] = event->attr.config3;
	seqcount_latch_init(&pe->seq);
	perf_pkg_join_set(pe);

	return 0;
}

static struct perf_pkg_counter *
perf_pkg_event_get_counter(struct perf_event *event, struct perf_pkg_pmu *ppmu, bool age)
{
	struct perf_event *leader = event->group_leader;
	struct perf_pkg_desc desc = { .width = 64 };
	struct perf_pkg_counter *counter;
	int ret;

	if (age && (event->attr.config != PERF_PKG_EVENT_AGE ||
		    event->attr.config2 || event->attr.config3))
		return ERR_PTR(-EINVAL);

	/* The age of the values beside which it is read, if these are ours */
	if (age && leader != event && leader->pmu == event->pmu) {
		counter = perf_pkg_event_counter(leader);
		refcount_inc(&counter->ref);
		return counter;
	}

	if (age) {
		desc.flags = PERF_PKG_NO_VALUE;
	} else {
		ret = ppmu->event_init(event, &desc);
		if (ret)
			return ERR_PTR(ret);
	}

	/* Each event would count for the others, too. */
	if (WARN_ON_ONCE(desc.key && !(desc.flags & (PERF_PKG_GAUGE | PERF_PKG_FREE_RUNNING))))
		return ERR_PTR(-EINVAL);

	/* What a whole domain did cannot be told apart by cgroup. */
	if (perf_pkg_is_cgroup_event(event) &&
	    (age || desc.flags & (PERF_PKG_GAUGE | PERF_PKG_FREE_RUNNING)))
		return ERR_PTR(-EOPNOTSUPP);

	/*
	 * What the whole domain does is not a task's; its level may be told
	 * beside a task, but there is no share of that for one CPU.
	 */
	if (event->attach_state & PERF_ATTACH_TASK &&
	    ((desc.flags & PERF_PKG_FREE_RUNNING && !(desc.flags & PERF_PKG_GAUGE)) ||
	     (desc.flags & PERF_PKG_GAUGE && event->cpu >= 0)))
		return ERR_PTR(-EOPNOTSUPP);

	return perf_pkg_counter_get(ppmu->pp, &desc, event);
}

static int perf_pkg_event_init(struct perf_event *event)
{
	struct perf_pkg_pmu *ppmu = container_of(event->pmu, struct perf_pkg_pmu, pmu);
	bool age = FIELD_GET(PERF_PKG_CONFIG_EVENT, event->attr.config) == PERF_PKG_EVENT_AGE;
	struct perf_pkg_counter *counter;
	struct perf_pkg_event *pe;
	int ret;

	if (event->attr.type != event->pmu->type)
		return -ENOENT;

	if (event->parent) {
		pe = event->parent->pmu_private;
		refcount_inc(&pe->ref);
		goto done;
	}

	ret = perf_pkg_event_check(event);
	if (ret)
		return ret;

	pe = kzalloc(sizeof(*pe), GFP_KERNEL);
	if (!pe)
		return -ENOMEM;

	counter = perf_pkg_event_get_counter(event, ppmu, age);
	if (IS_ERR(counter)) {
		kfree(pe);
		return PTR_ERR(counter);
	}

	refcount_set(&pe->ref, 1);
	pe->counter = counter;
	pe->age = age;
	ret = perf_pkg_event_select(event, pe);
	if (ret) {
		perf_pkg_event_put(pe);
		return ret;
	}
done:
	event->pmu_private = pe;
	event->destroy = perf_pkg_event_destroy;

	return 0;
}

/**
 * perf_pkg_register() - register a PMU whose counters exist once per domain
 * @ppmu:	The PMU, filled in by the driver; in use until perf_pkg_unregister()
 * @name:	Name of the PMU in sysfs
 *
 * Context: Task context, may sleep. CPU hotplug must not be locked.
 * Return: 0, -EINVAL for an incomplete @ppmu or an interval out of range,
 * -ENOMEM, or the error of perf_pmu_register()
 */
int perf_pkg_register(struct perf_pkg_pmu *ppmu, const char *name)
{
	struct pmu *pmu = &ppmu->pmu;
	struct perf_pkg *pp;
	int ret;

	if (WARN_ON_ONCE(!ppmu->domain_id || !ppmu->event_init || !ppmu->read))
		return -EINVAL;
	if (WARN_ON_ONCE(pmu->attr_update && pmu->attr_update != perf_pkg_groups))
		return -EINVAL;
	if (!perf_pkg_interval_valid(ppmu->interval_us) ||
	    ppmu->max_age_us > PERF_PKG_INTERVAL_MAX_US)
		return -EINVAL;

	pp = perf_pkg_create(ppmu, name);
	if (IS_ERR(pp))
		return PTR_ERR(pp);

	ppmu->pp = pp;
	pmu->attr_update	= perf_pkg_groups;
	pmu->capabilities	|= PERF_PMU_CAP_NO_EXCLUDE;
	pmu->event_init		= perf_pkg_event_init;
	pmu->add		= perf_pkg_event_add;
	pmu->del		= perf_pkg_event_del;
	pmu->start		= perf_pkg_event_start;
	pmu->stop		= perf_pkg_event_stop;
	pmu->read		= perf_pkg_event_read;
	pmu->sync_count		= perf_pkg_event_sync_count;
	if (!pmu->count)
		pmu->count	= perf_pkg_event_count;

	ret = perf_pmu_register(pmu, name, -1);
	if (ret) {
		perf_pkg_destroy(pp);
		ppmu->pp = NULL;
	}

	return ret;
}
EXPORT_SYMBOL_GPL(perf_pkg_register);

/**
 * perf_pkg_unregister() - undo perf_pkg_register()
 * @ppmu:	The PMU. None of its events is left: they pin its module.
 *
 * Context: Task context, may sleep. CPU hotplug must not be locked.
 */
void perf_pkg_unregister(struct perf_pkg_pmu *ppmu)
{
	perf_pmu_unregister(&ppmu->pmu);
	perf_pkg_destroy(ppmu->pp);
	ppmu->pp = NULL;
}
EXPORT_SYMBOL_GPL(perf_pkg_unregister);
