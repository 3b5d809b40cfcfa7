// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: domains and CPU hotplug
 *
 * The driver's domain_id() maps CPUs to domains. The hotplug callbacks run on the CPU
 * that comes or goes, while it can still be interrupted: a timer moves to another CPU of
 * its domain before the hrtimer core could move it to some other package, and so do the
 * events of a PMU that counts domains, which count nothing until they are installed again.
 *
 * The last CPU of a domain reads everything once more. Counts keep these values, levels
 * become 0. When a CPU of the domain returns, the hardware may have started anew, so
 * counting goes on from the value found then.
 */
#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/minmax.h>
#include <linux/percpu.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>

#include "internal.h"

struct perf_pkg_domain *perf_pkg_find_domain(struct perf_pkg *pp, int id)
{
	/* Pairs with smp_store_release() in perf_pkg_cpu_online(). */
	unsigned int i, nr = smp_load_acquire(&pp->nr_domains);

	for (i = 0; i < nr; i++) {
		if (pp->domain[i].id == id)
			return &pp->domain[i];
	}

	return NULL;
}

/* -1: none */
static void perf_pkg_set_cpu(struct perf_pkg_domain *dom, int cpu)
{
	if (cpu >= 0)
		cpumask_set_cpu(cpu, &dom->pp->cpumask);
	if (dom->cpu >= 0)
		cpumask_clear_cpu(dom->cpu, &dom->pp->cpumask);
	WRITE_ONCE(dom->cpu, cpu);
}

/* Calls @fn for all slots, on a CPU of the domain, with interrupts off for a slice at a time */
static void perf_pkg_walk_slots(struct perf_pkg_domain *dom, perf_pkg_slot_fn fn)
{
	unsigned int left = READ_ONCE(dom->nr_slots);
	u64 since = ktime_get_mono_fast_ns();

	while (left) {
		scoped_guard(raw_spinlock_irqsave, &dom->lock) {
			left = min(left, dom->nr_slots);
			perf_pkg_walk_slice(dom, fn, since, ktime_get_mono_fast_ns(), &left);
		}
		cond_resched();
	}
}

static int perf_pkg_slot_final_read(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot,
				    u64 stamp)
{
	return perf_pkg_is_quiescent(slot) ? 0 : perf_pkg_sweep(dom, slot, stamp);
}

static int perf_pkg_slot_retire(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot,
				u64 stamp)
{
	if (slot->counter->desc.level)
		atomic64_set(&slot->value, 0);
	atomic64_set(&slot->stamp, 0);

	return 0;
}

/* The next event, or the timer, reads the slot. Some are active if going offline failed. */
static int perf_pkg_slot_restart(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot,
				 u64 stamp)
{
	perf_pkg_slot_lose_baseline(dom, slot);

	return atomic_read(&slot->active) ? perf_pkg_publish(dom, slot, stamp) : 0;
}

static int perf_pkg_cpu_online(unsigned int cpu, struct hlist_node *node)
{
	struct perf_pkg *pp = hlist_entry(node, struct perf_pkg, hp_node);
	int id = pp->ppmu->domain_id(cpu);
	struct perf_pkg_domain *dom;
	bool first, timer_moves;

	if (id < 0)
		return 0;

	dom = perf_pkg_find_domain(pp, id);
	if (!dom && !WARN_ON_ONCE(pp->nr_domains == pp->max_domains)) {
		dom = &pp->domain[pp->nr_domains];
		dom->id = id;
		/* Pairs with smp_load_acquire() in perf_pkg_find_domain(). */
		smp_store_release(&pp->nr_domains, pp->nr_domains + 1);
	}
	*per_cpu_ptr(pp->cpu_domain, cpu) = dom;
	if (!dom)
		return 0;

	/* Hotplug alone changes dom->cpus. Until slots have lost their baseline: no timer */
	first = cpumask_empty(&dom->cpus);
	if (first)
		perf_pkg_timer_pause(dom);

	scoped_guard(raw_spinlock_irqsave, &dom->lock) {
		cpumask_set_cpu(cpu, &dom->cpus);
		timer_moves = dom->timer_cpu >= 0 && perf_pkg_is_housekeeping(cpu) &&
			      !perf_pkg_is_housekeeping(dom->timer_cpu);
		/* An isolated CPU had to do so far. Its events stay, with their groups. */
		if (first || (!perf_pkg_is_housekeeping(dom->cpu) && perf_pkg_is_housekeeping(cpu)))
			perf_pkg_set_cpu(dom, cpu);
	}

	if (timer_moves) {
		perf_pkg_timer_pause(dom);
		perf_pkg_timer_resume(dom);
	}

	if (!first)
		return 0;

	perf_pkg_walk_slots(dom, perf_pkg_slot_restart);
	perf_pkg_timer_resume(dom);

	return 0;
}

static int perf_pkg_cpu_offline(unsigned int cpu, struct hlist_node *node)
{
	struct perf_pkg *pp = hlist_entry(node, struct perf_pkg, hp_node);
	struct perf_pkg_domain *dom = *per_cpu_ptr(pp->cpu_domain, cpu);
	struct perf_pkg_pmu *ppmu = pp->ppmu;
	bool last, timer_moves;
	unsigned int to;

	if (!dom)
		return 0;

	/* Hotplug alone changes dom->cpus, one CPU at a time. */
	to = perf_pkg_choose_cpu(dom, cpu);
	last = to >= nr_cpu_ids;
	if (dom->cpu == cpu)
		perf_pkg_set_cpu(dom, last ? -1 : to);

	/* While the CPU can read the domain's counters for the last time */
	if (last)
		perf_pkg_walk_slots(dom, perf_pkg_slot_final_read);
	else if (ppmu->counts_domains)
		perf_pmu_migrate_context(&ppmu->pmu, cpu, to);

	scoped_guard(raw_spinlock_irqsave, &dom->lock) {
		timer_moves = dom->timer_cpu == cpu;
		cpumask_clear_cpu(cpu, &dom->cpus);
	}

	if (timer_moves) {
		perf_pkg_timer_pause(dom);
		perf_pkg_timer_resume(dom);
	}

	if (last)
		perf_pkg_walk_slots(dom, perf_pkg_slot_retire);

	return 0;
}

/*
 * The number of domains there can ever be. A CPU that is offline now may turn out to
 * be in a domain of its own.
 */
static unsigned int perf_pkg_max_domains(struct perf_pkg_pmu *ppmu)
{
	unsigned int cpu, other, nr = 0;

	for_each_possible_cpu(cpu) {
		if (!cpu_online(cpu)) {
			nr++;
			continue;
		}
		for_each_online_cpu(other) {
			if (ppmu->domain_id(other) == ppmu->domain_id(cpu))
				break;
		}
		if (other == cpu)
			nr++;
	}

	return nr;
}

static void perf_pkg_free(struct perf_pkg *pp)
{
	lockdep_unregister_key(&pp->mutex_key);
	free_percpu(pp->cpu_domain);
	kvfree(pp);
}

/* Lets CPUs join their domains. Returns what the PMU's events work with. */
struct perf_pkg *perf_pkg_create(struct perf_pkg_pmu *ppmu, const char *name)
{
	struct perf_pkg_domain *dom;
	struct perf_pkg *pp;
	unsigned int i, nr;
	int ret;

	scoped_guard(cpus_read_lock)
		nr = perf_pkg_max_domains(ppmu);
	pp = kvzalloc(struct_size(pp, domain, nr), GFP_KERNEL);
	if (!pp)
		return ERR_PTR(-ENOMEM);

	pp->cpu_domain = alloc_percpu(struct perf_pkg_domain *);
	if (!pp->cpu_domain) {
		kvfree(pp);
		return ERR_PTR(-ENOMEM);
	}

	pp->ppmu = ppmu;
	pp->name = name;
	pp->interval_us = ppmu->interval_us;
	pp->max_age_us = ppmu->max_age_us;
	pp->max_domains = nr;
	lockdep_register_key(&pp->mutex_key);
	__mutex_init(&pp->mutex, "perf_pkg::mutex", &pp->mutex_key);
	INIT_LIST_HEAD(&pp->counters);
	for (i = 0; i < nr; i++) {
		dom = &pp->domain[i];
		raw_spin_lock_init(&dom->lock);
		dom->pp = pp;
		dom->idx = i;
		dom->cpu = -1;
		INIT_LIST_HEAD(&dom->slots);
		perf_pkg_timer_init(dom);
	}

	ret = cpuhp_setup_state_multi(CPUHP_AP_ONLINE_DYN, "perf/pkg:online",
				      perf_pkg_cpu_online, perf_pkg_cpu_offline);
	if (ret < 0)
		goto free;

	pp->hp_state = ret;
	ret = cpuhp_state_add_instance(pp->hp_state, &pp->hp_node);
	if (!ret)
		return pp;

	cpuhp_remove_multi_state(pp->hp_state);
free:
	perf_pkg_free(pp);
	return ERR_PTR(ret);
}

/* The PMU has no events any more. */
void perf_pkg_destroy(struct perf_pkg *pp)
{
	unsigned int i;

	pp->ppmu->pp = NULL;
	cpuhp_state_remove_instance_nocalls(pp->hp_state, &pp->hp_node);
	cpuhp_remove_multi_state(pp->hp_state);

	for (i = 0; i < pp->max_domains; i++) {
		perf_pkg_timer_pause(&pp->domain[i]);
		irq_work_sync(&pp->domain[i].arm_work);
	}

	perf_pkg_free(pp);
}
