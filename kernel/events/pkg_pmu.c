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
#include <linux/irqflags.h>
#include <linux/kernel.h>
#include <linux/minmax.h>
#include <linux/overflow.h>
#include <linux/percpu.h>
#include <linux/pid.h>
#include <linux/preempt.h>
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

/* ns since the value was read, 0 if it is exact or there is none */
u64 perf_pkg_slot_age(const struct perf_pkg_slot *slot)
{
	u64 stamp = perf_pkg_slot_stamp(slot), now = ktime_get_mono_fast_ns();

	return stamp && now > stamp ? now - stamp : 0;
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

/* Reading, in any context */

static u64 perf_pkg_value(struct perf_pkg_event *pe)
{
	/* Apart, so that what is read most needs no stack */
	if (pe->nr_parts)
		return perf_pkg_parts_value(pe);

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

/* The interrupt is what costs most: it saves others theirs. */
static void perf_pkg_refresh_for(void *info)
{
	const struct perf_pkg_read *read = info;
	struct perf_pkg_counter *counter = read->pe->counter;

	perf_pkg_refresh(counter);
	perf_pkg_refresh_older(perf_pkg_this_domain(counter->pp), read->oldest);
}

static u64 perf_pkg_oldest(const struct perf_pkg *pp, u64 now)
{
	u64 max_age = (u64)READ_ONCE(pp->max_age_us) * NSEC_PER_USEC;

	return max_age ? now - min(max_age, now) : 0;
}

/*
 * pmu::sync_count(): the core calls it for read(2), before ->count(). What is still
 * too old afterwards could not be read. A CPU event that was disabled stands still from
 * here on.
 */
static int perf_pkg_event_sync_count(struct perf_event *event)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg_read read = { .pe = pe };
	unsigned int i, nr = perf_pkg_nr_slots(pe);

	if (READ_ONCE(pe->counter->ended))
		return -ENODEV;

	perf_pkg_settled(pe);
	if (!READ_ONCE(pe->counter->pp->max_age_us) || event->parent || perf_pkg_is_closed(pe))
		return 0;

	read.oldest = perf_pkg_oldest(pe->counter->pp, ktime_get_mono_fast_ns());
	for (i = pe->first; i - pe->first < nr; i++) {
		if (!perf_pkg_selects(pe, i) || !perf_pkg_is_too_old(&read, i))
			continue;
		on_each_cpu_cond(perf_pkg_refreshes, perf_pkg_refresh_for, &read, true);
		break;
	}

	return 0;
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

	if (pe->wide) {
		perf_pkg_want_parts(pe, true);
		perf_event_update_userpage(event);
		return 0;
	}

	/* Nothing to count on a CPU without a domain, or for who does not select it */
	event->hw.idx = -1;
	if (!dom || !perf_pkg_selects(pe, dom->idx))
		return 0;

	/* For ->del(): the thread that brings a CPU up has it join its domain. */
	event->hw.idx = dom->idx;
	slot = &counter->slot[dom->idx];
	if (!pe->nr_parts)
		perf_pkg_activate(dom, slot);
	if (!pe->age && ppmu->start)
		ppmu->start(counter, event);

	if (pe->nr_parts)
		perf_pkg_want_parts(pe, true);
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

	if (pe->wide) {
		perf_pkg_want_parts(pe, false);
		perf_event_update_userpage(event);
		return;
	}

	if (event->hw.idx < 0)
		return;

	dom = &counter->pp->domain[event->hw.idx];
	slot = &counter->slot[event->hw.idx];
	if (!pe->age && ppmu->stop)
		ppmu->stop(counter, event);

	/* The value must be exact now: nobody counts it any further. */
	if (!pe->age && (pe->nr_parts ? READ_ONCE(pe->part[0].window[0].open) :
			 !(flags & PERF_PKG_GAUGE) || flags & PERF_PKG_NO_TIMER))
		perf_pkg_publish_here(dom, slot);
	if (pe->nr_parts)
		perf_pkg_want_parts(pe, false);
	else
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

/*
 * pmu::read(): the core calls it for events that are active on this CPU, before a sample
 * or BPF gets the ->count(). What is being read right now will be fresh anyway.
 */
static void perf_pkg_event_read(struct perf_event *event)
{
	struct perf_pkg_event *pe = event->pmu_private;
	struct perf_pkg *pp = pe->counter->pp;
	struct perf_pkg_read read = { .pe = pe };
	struct perf_pkg_domain *dom;
	u64 now;

	/* The driver reads other counters without the domain's lock, perhaps right here. */
	if (!pe->nr_parts || !READ_ONCE(pp->max_age_us) || in_nmi())
		return;

	guard(irqsave)();

	dom = perf_pkg_this_domain(pp);
	now = ktime_get_mono_fast_ns();
	read.oldest = perf_pkg_oldest(pp, now);
	if (!dom || !perf_pkg_selects(pe, dom->idx) || !perf_pkg_is_too_old(&read, dom->idx) ||
	    !raw_spin_trylock(&dom->lock))
		return;

	/* ->add() is about to put a new slot on the domain's list. */
	if (pe->counter->slot[dom->idx].state != PERF_PKG_SLOT_NEW)
		perf_pkg_publish(dom, &pe->counter->slot[dom->idx], now, true);
	raw_spin_unlock(&dom->lock);
}

static void perf_pkg_event_put(struct perf_pkg_event *pe)
{
	unsigned int i;

	if (!refcount_dec_and_test(&pe->ref))
		return;

	perf_pkg_settled(pe);
	for (i = 0; i < pe->nr_parts; i++)
		perf_pkg_leave_set(&pe->part[i]);
	put_pid(pe->owner);
	perf_pkg_counter_put(pe->counter);
	kvfree_rcu(pe, rcu);
}

static void perf_pkg_event_destroy(struct perf_event *event)
{
	perf_pkg_event_put(event->pmu_private);
}

/* What no event of the engine can do, whatever it monitors */
static int perf_pkg_event_check(struct perf_event *event)
{
	struct perf_event_attr *attr = &event->attr;

	/* The core says no to the latter as well, but not before counters are made. */
	if (is_sampling_event(event) || event_has_any_exclude_flag(event))
		return -EINVAL;

	if (event->attach_state & PERF_ATTACH_TASK &&
	    event->pmu->task_ctx_nr == perf_invalid_context)
		return -EINVAL;

	if (has_branch_stack(event))
		return -EOPNOTSUPP;

	/* Children have no counts of their own. */
	return attr->inherit_stat ? -EOPNOTSUPP : 0;
}

/* The indices of the domains in config1, which has their ids; 0: all domains */
static int perf_pkg_event_mask(struct perf_pkg *pp, u64 ids, u64 *mask)
{
	struct perf_pkg_domain *dom;

	*mask = 0;
	if (ids == PERF_PKG_SELECT_ALL)
		return 0;

	for (; ids; ids &= ids - 1) {
		dom = perf_pkg_find_domain(pp, __ffs64(ids));
		if (!dom || dom->idx >= PERF_PKG_MAX_SELECT)
			return -ENODEV;
		*mask |= BIT_ULL(dom->idx);
	}

	return 0;
}

/* A PMU with a scope has a cpumask: who opens an event elsewhere, too, asks for that. */
static bool perf_pkg_has_scope(const struct perf_event *event)
{
	return event->pmu->scope != PERF_PMU_SCOPE_NONE;
}

static void perf_pkg_select_all(struct perf_pkg_event *pe, u64 mask)
{
	pe->nr = UINT_MAX;
	pe->mask = mask;
}

/* One CPU's event for several domains */
static void perf_pkg_select_wide(struct perf_pkg_event *pe, u64 mask)
{
	struct perf_pkg *pp = pe->counter->pp;
	unsigned int i;

	pe->wide = true;
	perf_pkg_select_all(pe, mask);
	for (i = 0; i < pe->nr_parts; i++) {
		if (!mask || (i < PERF_PKG_MAX_SELECT && mask & BIT_ULL(i)))
			perf_pkg_join_set(pe, &pe->part[i], &pp->domain[i]);
	}
}

/* How many parts the event will have */
static unsigned int perf_pkg_nr_parts(struct perf_event *event,
				      const struct perf_pkg_counter *counter, bool age)
{
	if (event->attach_state & PERF_ATTACH_TASK)
		return 0;

	if (!age && !(counter->desc.flags & (PERF_PKG_GAUGE | PERF_PKG_FREE_RUNNING)))
		return 0;

	return perf_pkg_has_scope(event) && event->attr.config1 ? counter->pp->max_domains : 1;
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
		perf_pkg_select_all(pe, mask);
		return 0;
	}

	dom = cpu_possible(event->cpu) ? *per_cpu_ptr(pp->cpu_domain, event->cpu) : NULL;
	if (!dom)
		return -ENODEV;

	if (perf_pkg_has_scope(event) && event->attr.config1 && pe->nr_parts) {
		perf_pkg_select_wide(pe, mask);
		return 0;
	}

	pe->first = dom->idx;
	pe->nr = !mask || (dom->idx < PERF_PKG_MAX_SELECT && mask & BIT_ULL(dom->idx));
	if (!pe->nr || !pe->nr_parts)
		return 0;

	if (!perf_pkg_has_scope(event))
		pe->owner = get_task_pid(current, PIDTYPE_TGID);
	pe->cpu = event->cpu;
	pe->config[0] = event->attr.config;
	pe->config[1] = event->attr.config1;
	pe->config[2] = event->attr.config2;
	pe->config[3] = event->attr.config3;
	perf_pkg_join_set(pe, &pe->part[0], dom);

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
	unsigned int nr_parts;
	int ret;

	if (event->attr.type != event->pmu->type)
		return -ENOENT;

	if (event->parent) {
		pe = event->parent->pmu_private;
		refcount_inc(&pe->ref);
		if (ppmu->inherit && !pe->age)
			ppmu->inherit(pe->counter, event);
		goto done;
	}

	ret = perf_pkg_event_check(event);
	if (ret)
		return ret;

	counter = perf_pkg_event_get_counter(event, ppmu, age);
	if (IS_ERR(counter))
		return PTR_ERR(counter);

	nr_parts = perf_pkg_nr_parts(event, counter, age);
	pe = kvzalloc(struct_size(pe, part, nr_parts), GFP_KERNEL);
	if (!pe) {
		perf_pkg_counter_put(counter);
		return -ENOMEM;
	}

	refcount_set(&pe->ref, 1);
	pe->nr_parts = nr_parts;
	perf_pkg_init_settle(pe);
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

static void perf_pkg_forget(struct perf_pkg_pmu *ppmu)
{
	ppmu->pmu.attr_update = ppmu->pp->driver_groups;
	perf_pkg_destroy(ppmu->pp);
	ppmu->pp = NULL;
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
	if (!perf_pkg_interval_valid(ppmu, ppmu->interval_us) ||
	    ppmu->max_age_us > PERF_PKG_MAX_AGE_US)
		return -EINVAL;

	pp = perf_pkg_create(ppmu, name);
	if (IS_ERR(pp))
		return PTR_ERR(pp);

	ppmu->pp = pp;
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

	pp->driver_groups	= pmu->attr_update;
	pmu->attr_update	= pp->groups;

	ret = perf_pmu_register(pmu, name, -1);
	if (ret)
		perf_pkg_forget(ppmu);

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
	perf_pkg_forget(ppmu);
}
EXPORT_SYMBOL_GPL(perf_pkg_unregister);
