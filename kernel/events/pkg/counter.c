// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: counters, and which of their slots are in use
 */
#include <linux/cpumask.h>
#include <linux/err.h>
#include <linux/export.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/smp.h>
#include <linux/timekeeping.h>

#include "internal.h"

/* Slots in use */

/* From now on the timer reads it. */
static void perf_pkg_slot_list(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	WRITE_ONCE(slot->state, PERF_PKG_SLOT_NO_BASELINE);
	list_add_tail(&slot->node, &dom->slots);
	dom->nr_slots++;
}

/*
 * A slot without a baseline is about to be used. Other CPUs of the domain wait for the
 * lock: what they count for the same counter comes on top of what is read here.
 */
void perf_pkg_slot_enqueue(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	lockdep_assert_held(&dom->lock);

	if (slot->state == PERF_PKG_SLOT_LIVE)
		return;

	if (slot->state == PERF_PKG_SLOT_NEW)
		perf_pkg_slot_list(dom, slot);
	perf_pkg_publish(dom, slot, ktime_get_mono_fast_ns());
	if (slot->state != PERF_PKG_SLOT_LIVE)
		perf_pkg_slot_lose_baseline(dom, slot);
	perf_pkg_timer_arm(dom);
}

/*
 * An event of the counter is scheduled in on this CPU, before the driver counts for
 * it. Interrupts are off.
 */
void perf_pkg_slot_get(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	/* It had no age until now. The last pass was before, and saves the clock. */
	if (perf_pkg_is_quiescent(slot) && cpumask_test_cpu(smp_processor_id(), &dom->cpus))
		perf_pkg_slot_set_stamp(slot, atomic64_read(&dom->recent) ?:
					      ktime_get_mono_fast_ns());
	/*
	 * Pairs with atomic_read_acquire() in perf_pkg_is_quiescent(), which must
	 * observe the stamp, and with smp_mb() in perf_pkg_pass_end().
	 */
	atomic_inc_return(&slot->active);

	/* First, so that a timer that has stopped is started once. */
	if (unlikely(READ_ONCE(dom->idle_passes)))
		perf_pkg_timer_kick(dom);
	/* Pairs with smp_store_release() in perf_pkg_sweep(). */
	if (unlikely(smp_load_acquire(&slot->state) != PERF_PKG_SLOT_LIVE) &&
	    !(slot->counter->desc.shared && perf_pkg_is_stale(slot))) {
		/* Of a shared counter one attempt will do: the timer makes others. */
		guard(raw_spinlock)(&dom->lock);
		perf_pkg_slot_enqueue(dom, slot);
	}
}

static void perf_pkg_slot_dequeue(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	scoped_guard(raw_spinlock_irqsave, &dom->lock) {
		if (slot->state == PERF_PKG_SLOT_NEW)
			return;

		list_del(&slot->node);
		dom->nr_slots--;
		dom->pass_left = min(dom->pass_left, dom->nr_slots);
		if (dom->nr_slots)
			return;
	}

	/* The list ran empty: stop the timer. Resuming it rechecks the list. */
	perf_pkg_timer_pause(dom);
	perf_pkg_timer_resume(dom);
}

/* Counters */

static void perf_pkg_counter_free(struct rcu_head *rcu)
{
	struct perf_pkg_counter *counter = container_of(rcu, struct perf_pkg_counter, rcu);

	kvfree(counter->slot);
	kfree(counter);
}

static struct perf_pkg_counter *
perf_pkg_counter_create(struct perf_pkg *pp, struct perf_pkg_desc *desc,
			struct perf_event *event)
{
	size_t size = max(pp->ppmu->counter_size, sizeof(struct perf_pkg_counter));
	struct perf_pkg_counter *counter;
	int i, ret = -ENOMEM;

	lockdep_assert_held(&pp->mutex);

	counter = kzalloc(size, GFP_KERNEL_ACCOUNT);
	if (!counter)
		return ERR_PTR(-ENOMEM);

	counter->slot = kvcalloc(pp->max_domains, sizeof(*counter->slot), GFP_KERNEL_ACCOUNT);
	if (!counter->slot)
		goto free;

	counter->pp = pp;
	counter->nr_domains = pp->max_domains;
	counter->desc = *desc;
	counter->mask = GENMASK_ULL(desc->width - 1, 0);
	counter->locked = desc->level || desc->shared || pp->ppmu->counts_domains;
	counter->background = !pp->ppmu->counts_domains && (desc->level || desc->shared);
	counter->id = pp->next_id++;
	INIT_LIST_HEAD(&counter->events);
	refcount_set(&counter->ref, 1);
	for (i = 0; i < pp->max_domains; i++)
		counter->slot[i].counter = counter;

	if (pp->ppmu->counter_init) {
		ret = pp->ppmu->counter_init(counter, event);
		if (ret)
			goto free;
	}

	/* The counter has the reference now. */
	desc->object = NULL;
	if (desc->key)
		list_add_tail(&counter->node, &pp->counters);
	/* It counts in all domains. One without a CPU arms its timer when it gets one. */
	for (i = 0; desc->shared && i < pp->max_domains; i++) {
		guard(raw_spinlock_irqsave)(&pp->domain[i].lock);
		perf_pkg_slot_list(&pp->domain[i], &counter->slot[i]);
	}

	return counter;

free:
	perf_pkg_counter_free(&counter->rcu);
	return ERR_PTR(ret);
}

/* The counter that other events have under the same key, or a new one */
struct perf_pkg_counter *
perf_pkg_counter_get(struct perf_pkg *pp, struct perf_pkg_desc *desc,
		     struct perf_event *event)
{
	struct perf_pkg_counter *counter;

	/* start() and stop() would affect all events with the key. */
	if (WARN_ON_ONCE(!desc->width || desc->width > 64 ||
			 (desc->key && !pp->ppmu->counts_domains && !desc->shared)))
		return ERR_PTR(-EINVAL);

	guard(mutex)(&pp->mutex);

	if (desc->key) {
		list_for_each_entry(counter, &pp->counters, node) {
			if (counter->desc.key != desc->key || READ_ONCE(counter->ended))
				continue;
			refcount_inc(&counter->ref);
			return counter;
		}
	}

	return perf_pkg_counter_create(pp, desc, event);
}

void perf_pkg_counter_put(struct perf_pkg_counter *counter)
{
	struct perf_pkg *pp = counter->pp;
	int i;

	if (!refcount_dec_and_mutex_lock(&counter->ref, &pp->mutex))
		return;

	if (counter->desc.key)
		list_del(&counter->node);
	for (i = 0; i < pp->max_domains; i++)
		perf_pkg_slot_dequeue(&pp->domain[i], &counter->slot[i]);
	mutex_unlock(&pp->mutex);

	/* It may wait for locks under which others open events. */
	if (pp->ppmu->counter_exit)
		pp->ppmu->counter_exit(counter);
	if (counter->desc.object)
		pp->ppmu->put(counter->desc.object);
	call_rcu(&counter->rcu, perf_pkg_counter_free);
}

/**
 * perf_pkg_counter_end() - end a counter: what it monitors is gone
 * @counter:	The counter
 *
 * Later read(2)s of its events fail with -ENODEV, other readers get the last value, and no
 * new event joins. A ->read() that has begun may go on.
 *
 * Context: Any.
 */
void perf_pkg_counter_end(struct perf_pkg_counter *counter)
{
	WRITE_ONCE(counter->ended, true);
}
EXPORT_SYMBOL_GPL(perf_pkg_counter_end);

static void perf_pkg_refresh_here(void *info)
{
	struct perf_pkg_counter *counter = info;
	struct perf_pkg_domain *dom = perf_pkg_this_domain(counter->pp);

	if (dom && READ_ONCE(counter->slot[dom->idx].state) != PERF_PKG_SLOT_NEW)
		perf_pkg_publish_here(dom, &counter->slot[dom->idx], false);
}

/*
 * Calls @fn on a CPU of the domain: on this one if that will do. Interrupts are on. Returns
 * -errno if there is none.
 */
int perf_pkg_interrupt_domain(struct perf_pkg_domain *dom, smp_call_func_t fn, void *info)
{
	unsigned int cpu = get_cpu();
	int ret;

	if (!cpumask_test_cpu(cpu, &dom->cpus))
		cpu = perf_pkg_choose_cpu(dom, -1);
	ret = smp_call_function_single(cpu, fn, info, 1);
	put_cpu();

	return ret;
}

/* Reads a counter there */
void perf_pkg_refresh_domain(struct perf_pkg_counter *counter, struct perf_pkg_domain *dom)
{
	perf_pkg_interrupt_domain(dom, perf_pkg_refresh_here, counter);
}

struct perf_pkg_call {
	struct perf_pkg_domain	*dom;
	perf_pkg_domain_fn	fn;
	void			*arg;
};

static void perf_pkg_call_here(void *info)
{
	struct perf_pkg_call *call = info;
	struct perf_pkg_domain *dom = call->dom;

	guard(raw_spinlock_irqsave)(&dom->lock);

	call->fn(dom->idx, cpumask_test_cpu(smp_processor_id(), &dom->cpus), call->arg);
}

/**
 * perf_pkg_call_domains() - change what a driver knows of each of its domains
 * @ppmu:	The PMU
 * @there:	Interrupt a CPU of each domain that has one, to call @fn there. Else, and
 *		for the other domains, it is called on this CPU.
 * @fn:		Called with the index of a domain while that is locked, so that nothing is
 *		read in it, and with interrupts off; @here: this is one of its CPUs
 * @arg:	For @fn
 *
 * Calls @fn also for domains that no CPU was in yet.
 *
 * Context: Task context, interrupts on. Waits for other CPUs if @there.
 */
void perf_pkg_call_domains(struct perf_pkg_pmu *ppmu, bool there,
			   perf_pkg_domain_fn fn, void *arg)
{
	struct perf_pkg *pp = ppmu->pp;
	unsigned int i;

	for (i = 0; i < pp->max_domains; i++) {
		struct perf_pkg_call call = { .dom = &pp->domain[i], .fn = fn, .arg = arg };

		if (!there || perf_pkg_interrupt_domain(call.dom, perf_pkg_call_here, &call))
			perf_pkg_call_here(&call);
	}
}
EXPORT_SYMBOL_GPL(perf_pkg_call_domains);

/**
 * perf_pkg_call_domain() - the same for the domain of this CPU, if it has one
 * @ppmu:	The PMU
 * @fn:		As for perf_pkg_call_domains()
 * @arg:	For @fn
 *
 * Context: Not in an NMI.
 */
void perf_pkg_call_domain(struct perf_pkg_pmu *ppmu, perf_pkg_domain_fn fn, void *arg)
{
	struct perf_pkg_call call = { .fn = fn, .arg = arg };

	guard(irqsave)();

	call.dom = perf_pkg_this_domain(ppmu->pp);
	if (call.dom)
		perf_pkg_call_here(&call);
}
EXPORT_SYMBOL_GPL(perf_pkg_call_domain);
