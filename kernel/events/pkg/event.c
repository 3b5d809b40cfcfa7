// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: creation of events and PMUs
 */
#include <linux/bitfield.h>
#include <linux/bitops.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/log2.h>
#include <linux/percpu.h>
#include <linux/perf_event.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>

#include "internal.h"

static void perf_pkg_event_put(struct perf_pkg_event *pe)
{
	if (!refcount_dec_and_test(&pe->ref))
		return;

	perf_pkg_counter_put(pe->counter);
	kfree_rcu(pe, rcu);
}

/* The oldest event of a counter is the one that counts. */
static void perf_pkg_event_join(struct perf_pkg_event *pe)
{
	struct perf_pkg_counter *counter = pe->counter;

	guard(mutex)(&counter->pp->mutex);

	list_add_tail(&pe->node, &counter->events);
	WRITE_ONCE(counter->nr_events, counter->nr_events + 1);
	if (!counter->event) {
		/* The timers of a shared counter may look for it: pairs with their READ_ONCE(). */
		smp_store_release(&counter->event, pe->event);
	}

	/* It counts for others, too, while its task sleeps. */
	if (counter->desc.shared && perf_pkg_event_is_enabled(pe->event)) {
		WRITE_ONCE(pe->open, true);
		perf_pkg_timer_kick_all(counter->pp);
	}
}

static void perf_pkg_event_leave(struct perf_pkg_event *pe)
{
	struct perf_pkg_counter *counter = pe->counter;
	struct perf_pkg_event *first;

	guard(mutex)(&counter->pp->mutex);

	list_del(&pe->node);
	WRITE_ONCE(counter->nr_events, counter->nr_events - 1);
	first = list_first_entry_or_null(&counter->events, struct perf_pkg_event, node);
	WRITE_ONCE(counter->event, first ? first->event : NULL);
	smp_mb();	/* Pairs with that in perf_pkg_task_toggled(), which may just open it. */

	/* The timers may have stopped, as the last one was disabled. */
	if (first && counter->desc.shared)
		perf_pkg_timer_kick_all(counter->pp);
}

static void perf_pkg_event_destroy(struct perf_event *event)
{
	struct perf_pkg_event *pe = event->pmu_private;

	/* Children, or the "age" of the group, may hold the counter for longer. */
	if (!event->parent && !pe->age)
		perf_pkg_event_leave(pe);
	perf_pkg_event_put(pe);
}

/* ->start() and ->stop(): without overflow there is nothing to throttle or restart. */
static void perf_pkg_event_nop(struct perf_event *event, int flags)
{
}

static bool perf_pkg_event_is_age(const struct perf_event *event)
{
	return FIELD_GET(PERF_PKG_CONFIG_EVENT, event->attr.config) == PERF_PKG_EVENT_AGE;
}

/* Whom @event speaks of if it is "age" */
static struct perf_pkg_event *perf_pkg_age_leader(struct perf_event *event)
{
	struct perf_event *leader = event->group_leader;

	if (leader == event || leader->pmu != event->pmu || perf_pkg_event_is_age(leader))
		return NULL;

	return leader->pmu_private;
}

/*
 * What no event of the PMU can do. The order matters to perf: -EINVAL for what nobody may
 * have makes it go on without the event, then -EOPNOTSUPP and -EACCES make it explain,
 * unless it finds that another attribute was -EINVAL.
 */
static int perf_pkg_event_check(struct perf_event *event, struct perf_pkg_desc *desc)
{
	struct perf_pkg_pmu *ppmu = container_of(event->pmu, struct perf_pkg_pmu, pmu);
	int ret;

	/* Children have no counts of their own. */
	if (event->attach_state & PERF_ATTACH_TASK && event->attr.inherit_stat)
		return -EINVAL;

	if (!perf_pkg_event_is_age(event)) {
		ret = ppmu->event_init(event, desc);
		if (ret)
			return ret;
	}

	/* A CPU has no share of what a task occupies. */
	if (desc->level && !ppmu->counts_domains && event->cpu >= 0)
		return -EINVAL;

	if (is_sampling_event(event))
		return -EOPNOTSUPP;

	/* Events cannot exclude the kernel. A level is that of others, too. */
	ret = ppmu->counts_domains ? 0 : perf_allow_kernel();
	if (!ret && desc->level && !ppmu->counts_domains)
		ret = perf_allow_cpu();
	if (ret)
		return ret;

	if (event_has_any_exclude_flag(event))
		return -EINVAL;

	/* The core asks for CPU events as well, but not before counters are made. */
	return ppmu->counts_domains ? perf_allow_cpu() : 0;
}

static const unsigned int perf_pkg_no_slot, perf_pkg_one_slot = 1;

/* The domain of a CPU event. As in the core, -ENODEV is for a CPU that is offline. */
static struct perf_pkg_domain *perf_pkg_event_domain(struct perf_event *event,
						     struct perf_pkg *pp)
{
	struct perf_pkg_domain *dom;
	bool active;
	int id;

	if (!cpu_possible(event->cpu))
		return ERR_PTR(-EINVAL);

	/* Before it is active it has joined its domain. */
	active = cpu_active(event->cpu);
	smp_rmb();	/* Pairs with the locks between the callbacks of hotplug. */
	dom = READ_ONCE(*per_cpu_ptr(pp->cpu_domain, event->cpu));
	/* It was offline when the PMU was registered. */
	id = dom || active ? -1 : pp->ppmu->domain_id(event->cpu);
	if (id >= 0)
		dom = perf_pkg_find_domain(pp, id);
	if (dom)
		return dom;

	return ERR_PTR(active ? -EINVAL : -ENODEV);
}

/* A PMU that counts domains: moves the event to the CPU of its leader, or of the cpumask */
static int perf_pkg_select_domain(struct perf_event *event, struct perf_pkg *pp,
				  struct perf_pkg_event *pe)
{
	struct perf_event *leader = event->group_leader;
	struct perf_pkg_domain *dom;
	int cpu;

	if (event->attach_state & PERF_ATTACH_TASK)
		return -EINVAL;

	dom = perf_pkg_event_domain(event, pp);
	if (IS_ERR(dom))
		return PTR_ERR(dom);

	cpu = READ_ONCE(dom->cpu);
	if (leader != event && leader->cpu >= 0 &&
	    *per_cpu_ptr(pp->cpu_domain, leader->cpu) == dom)
		cpu = leader->cpu;
	if (cpu >= 0)
		event->cpu = cpu;
	pe->first = dom->idx;
	pe->nr = &perf_pkg_one_slot;

	return 0;
}

/* A PMU that counts tasks: config1 selects domains by their ids, 0: all */
static int perf_pkg_select_slots(struct perf_event *event, struct perf_pkg *pp,
				 struct perf_pkg_event *pe)
{
	struct perf_pkg_domain *dom = NULL;
	u64 ids, mask = 0;

	for (ids = event->attr.config1; ids; ids &= ids - 1) {
		dom = perf_pkg_find_domain(pp, __ffs64(ids));
		if (!dom || dom->idx >= BITS_PER_TYPE(mask))
			return -EINVAL;
		mask |= BIT_ULL(dom->idx);
	}

	if (!(event->attach_state & PERF_ATTACH_TASK)) {
		dom = perf_pkg_event_domain(event, pp);
		if (IS_ERR(dom))
			return PTR_ERR(dom);
	} else if (!is_power_of_2(mask)) {
		pe->nr = &pp->nr_domains;
		pe->mask = mask;
		return 0;
	}

	pe->first = dom->idx;
	pe->nr = !mask || mask & BIT_ULL(dom->idx) ? &perf_pkg_one_slot : &perf_pkg_no_slot;

	return 0;
}

static int perf_pkg_event_select(struct perf_event *event, struct perf_pkg *pp,
				 struct perf_pkg_event *pe)
{
	struct perf_pkg_event *leader;

	if (!perf_pkg_event_is_age(event))
		return pp->ppmu->counts_domains ? perf_pkg_select_domain(event, pp, pe) :
						  perf_pkg_select_slots(event, pp, pe);

	leader = perf_pkg_age_leader(event);
	if (!leader)
		return -EINVAL;

	/* That of a task is -1; the core checks it, but not here. */
	if (pp->ppmu->counts_domains)
		event->cpu = event->group_leader->cpu;
	pe->age = true;
	pe->first = leader->first;
	pe->nr = leader->nr;
	pe->mask = leader->mask;

	return 0;
}

static int perf_pkg_event_create(struct perf_event *event, struct perf_pkg *pp,
				 struct perf_pkg_desc *desc)
{
	struct perf_pkg_counter *counter;
	struct perf_pkg_event *pe;
	int ret;

	pe = kzalloc(sizeof(*pe), GFP_KERNEL_ACCOUNT);
	if (!pe)
		return -ENOMEM;

	refcount_set(&pe->ref, 1);
	/* First: ->event_init() may take what is scarce. */
	ret = perf_pkg_event_select(event, pp, pe);
	if (!ret)
		ret = perf_pkg_event_check(event, desc);
	if (ret)
		goto free;

	event->pmu_private = pe;
	if (pe->age) {
		counter = perf_pkg_age_leader(event)->counter;
		refcount_inc(&counter->ref);
	} else {
		counter = perf_pkg_counter_get(pp, desc, event);
		ret = PTR_ERR_OR_ZERO(counter);
		if (ret)
			goto free;
	}

	pe->counter = counter;
	pe->slot = &counter->slot[pe->first];
	pe->special = pe->age || desc->shared || desc->level || pp->ppmu->lost;
	pe->event = event;
	if (!pe->age)
		perf_pkg_event_join(pe);

	return 0;

free:
	kfree(pe);
	return ret;
}

static int perf_pkg_event_init(struct perf_event *event)
{
	struct perf_pkg_pmu *ppmu = container_of(event->pmu, struct perf_pkg_pmu, pmu);
	struct perf_pkg_desc desc = { .width = 64 };
	struct perf_pkg_event *pe;
	int ret;

	if (event->attr.type != event->pmu->type)
		return -ENOENT;

	if (event->parent) {
		pe = event->parent->pmu_private;
		refcount_inc(&pe->ref);
		event->pmu_private = pe;
	} else {
		ret = perf_pkg_event_create(event, ppmu->pp, &desc);
		if (desc.object)
			ppmu->put(desc.object);
		if (ret)
			return ret;
	}
	event->destroy = perf_pkg_event_destroy;

	return 0;
}

/**
 * perf_pkg_register() - register a PMU whose counters exist once per domain
 * @ppmu:	The PMU, filled in by the driver; in use until perf_pkg_unregister()
 * @name:	Name of the PMU in sysfs
 *
 * Context: Task context, may sleep. CPU hotplug must not be locked.
 * Return: 0, -EINVAL for an incomplete @ppmu or an interval out of range, -ENOMEM, or
 * the error of perf_pmu_register() or cpuhp_setup_state_multi()
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
	pmu->start		= perf_pkg_event_nop;
	pmu->stop		= perf_pkg_event_nop;
	if (ppmu->counts_domains)
		perf_pkg_window_init_pmu(pmu);
	else
		perf_pkg_task_init_pmu(pmu);

	ret = perf_pmu_register(pmu, name, -1);
	if (ret)
		perf_pkg_destroy(pp);

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
}
EXPORT_SYMBOL_GPL(perf_pkg_unregister);
