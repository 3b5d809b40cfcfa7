// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf, kept fresh by one hrtimer per package
 */
#define pr_fmt(fmt) "perf_pkg: " fmt

#include <linux/cpu.h>
#include <linux/cpuhotplug.h>
#include <linux/export.h>
#include <linux/init.h>
#include <linux/lockdep.h>
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <linux/topology.h>

#include "pkg.h"

#define CREATE_TRACE_POINTS
#include <trace/events/perf_pkg.h>

/*
 * A counter that exists once per package can be read on that package alone.
 * The CPUs that share one copy of it are a domain: a package by default, the
 * driver says which. One pinned timer per PMU and domain, the refresher, reads
 * all counters that are in use there and publishes what it found:
 *
 *	      domain 0				 domain 1
 *	CPU 0	CPU 1	CPU 2		CPU 3	CPU 4	CPU 5
 *	  |					  |
 *	hrtimer					hrtimer
 *	  | ->read()				  | ->read()
 *	  v					  v
 *	counter A: slot[0]			slot[1]
 *	counter B: slot[0]			slot[1]
 *	  \					  /
 *	   `------------------+------------------'
 *			      v
 *		pmu::count(): sum of the slots' values, from any CPU
 *
 * A slot holds a value and the time of the hardware read behind it. The age of
 * a count is now minus the oldest such time among the slots it was summed from.
 * Slots that nothing counts for at the moment are exact and have no age: what
 * counted for them was read when it stopped.
 *
 * Two sorts of counters:
 *
 *   - The driver counts for an event only while that is scheduled in, with
 *     ->start() and ->stop(), as for the run time of a task. The counter is
 *     read at ->del() too, so that it is exact when its tasks sleep or are gone.
 *     Nothing can be added to it while its events are off.
 *
 *   - The hardware counts always and for the whole domain (PERF_PKG_FREE_RUNNING)
 *     or has a level (PERF_PKG_GAUGE). An event counts from ->add() to ->del(),
 *     that is its window. perf opens such an event on each CPU of a domain and
 *     adds up what they say, so only one CPU may report: of the events that one
 *     process opened alike, those of the CPU that came first. When these go,
 *     those of another CPU open their windows in the same instant. A PMU with a
 *     scope tells perf which CPUs to use, so there every event reports.
 *
 *     An event for several domains has a window in each, see pkg_window.c.
 *
 * Inherited events share what their parent has. They start and stop the same
 * counter, and report 0 themselves, so the core finds nothing to fold into
 * child_count and nothing counts twice.
 *
 * Lifetime rules:
 *
 * A counter lives as long as one of its events. A slot is put on the list of
 * its domain when an event of the counter is first scheduled in there, and
 * stays until the counter goes: scheduling it out and in again touches neither
 * the list nor a lock. The timer of a domain, in pkg_timer.c, may be armed while
 * there are slots on the list to refresh; where no task of a counter ever ran there
 * is no timer for it. Readers in NMI context may look at an event that is being
 * closed, so events and counters are freed after an RCU grace period.
 * perf_pmu_unregister() is called when the last event is gone, as events pin the
 * driver's module.
 *
 * Locking rules:
 *
 * perf_event_context::lock or interrupts off
 *   perf_pkg_domain::lock
 *     hrtimer base lock
 *
 * perf_pkg::mutex serialises creation and removal of counters and changes of
 * the interval; the hotplug callbacks do not take it. A timer is stopped with
 * perf_pkg_hold(), outside of the domain's lock because the timer takes it. To
 * be held keeps others from arming it meanwhile:
 *
 *	CPU0 (last event of counter A)	CPU1 (first event of counter B)
 *	lock; list empty; unlock
 *					lock; add to the list;
 *					timer runs already; unlock
 *	hrtimer_cancel()
 *					=> B is not refreshed, ever
 *
 * with perf_pkg_hold(), CPU1's slot is found by CPU0's perf_pkg_release(),
 * which looks at the list again after the cancel.
 *
 * Publishing:
 *
 * The timer, ->del() on several CPUs of the domain, and perf_pkg_refresh() may
 * read one counter at a time. A slot's value is the hardware's minus a constant
 * origin, and perf_pkg_advance() moves it on with one atomic operation:
 *
 *	CPU0				CPU1
 *	value = slot->value (10)
 *	->read() = 20
 *					value = slot->value (10)
 *					->read() = 25
 *					cmpxchg(slot->value, 10, 25)
 *	cmpxchg(slot->value, 10, 20) fails
 *	value = slot->value (25)
 *	->read() = 26
 *	cmpxchg(slot->value, 25, 26)
 *
 * so a late value is never published and the value never steps back. Values of
 * gauges cannot be added up, and those of free-running counters must stand
 * still while a window opens or closes: these are read under the domain's lock.
 *
 * The stamp is taken before the read and written after the value:
 *
 *	publisher				reader
 *	atomic64_cmpxchg(value)			atomic64_read_acquire(stamp)
 *	atomic64_try_cmpxchg_release(stamp)	atomic64_read(value)
 *
 * who has seen a stamp will see a value that is as new or newer. Two events of a
 * group are read one after the other: "age" before the counts can only be too
 * old, behind them it misses a refresh that came in between.
 *
 * CPU hotplug:
 *
 * The driver's domain_id() maps CPUs to domains; the timer carries its domain
 * and never asks where it runs, except to refuse to read on a CPU that is not in
 * the domain. The hotplug callbacks run on the CPU that comes or goes, while it
 * can still be interrupted: a timer moves to another CPU of the domain before
 * the hrtimer core could move it to some other package. The last CPU of a domain
 * reads everything once more; sums keep these values, gauges go to 0. When a CPU
 * of the domain returns, the hardware may have started anew, so counting goes on
 * from the value found then.
 */

static enum cpuhp_state perf_pkg_cpuhp_state __ro_after_init;

/**
 * perf_pkg_package_id() - domain_id() for counters that exist once per package
 * @cpu:	CPU number
 *
 * Context: Any.
 * Return: The physical package id of @cpu, negative if it is not known
 */
int perf_pkg_package_id(unsigned int cpu)
{
	return topology_physical_package_id(cpu);
}
EXPORT_SYMBOL_GPL(perf_pkg_package_id);

struct perf_pkg_domain *perf_pkg_this_domain(struct perf_pkg *pp)
{
	return *this_cpu_ptr(pp->cpu_domain);
}

/* Slots of which the values must not change while perf_pkg_domain::lock is held */
static bool perf_pkg_is_locked(const struct perf_pkg_counter *counter)
{
	return counter->desc.flags &
	       (PERF_PKG_GAUGE | PERF_PKG_FREE_RUNNING | PERF_PKG_NO_TIMER);
}

/* Publishing */

/*
 * Reads the hardware until the slot has the value read. Tells by how much
 * that changed the slot's value. -ESTALE: the slot has a newer one.
 */
static int perf_pkg_advance(struct perf_pkg_slot *slot, s64 *delta)
{
	struct perf_pkg_counter *counter = slot->counter;
	u64 raw, step, mask = counter->mask;
	s64 value;
	int ret;

	*delta = 0;
	do {
		/* Pairs with the cmpxchg below: read the hardware after who wrote this. */
		value = atomic64_read_acquire(&slot->value);

		ret = counter->pp->ppmu->read(counter, &raw);
		if (ret)
			return ret;

		/*
		 * Clocks of two CPUs may differ a little. What was published
		 * stays and is not news, until the hardware gets there.
		 */
		step = (raw - slot->origin - value) & mask;
		if (step > mask >> 1)
			return -ESTALE;
	} while (atomic64_cmpxchg(&slot->value, value, value + step) != value);

	*delta = step;

	return 0;
}

/* The same for a gauge and for the first read, with the domain locked */
static int perf_pkg_set(struct perf_pkg_slot *slot, s64 *delta)
{
	struct perf_pkg_counter *counter = slot->counter;
	s64 value = atomic64_read(&slot->value);
	u64 raw;
	int ret;

	ret = counter->pp->ppmu->read(counter, &raw);
	if (ret)
		return ret;

	*delta = 0;
	slot->origin = raw - value;
	if (counter->desc.flags & PERF_PKG_GAUGE) {
		*delta = (raw & counter->mask) - value;
		atomic64_set(&slot->value, raw & counter->mask);
	}

	return 0;
}

static void perf_pkg_stamp(struct perf_pkg_slot *slot, s64 stamp)
{
	s64 old = atomic64_read(&slot->stamp);

	/* Pairs with atomic64_read_acquire() in perf_pkg_slot_stamp(). */
	do {
		if (old >= stamp)
			return;
	} while (!atomic64_try_cmpxchg_release(&slot->stamp, &old, stamp));
}

/* A read that came after @failed others is published, or there is a newer value. */
static void perf_pkg_make_up(struct perf_pkg_slot *slot, int failed)
{
	int old = READ_ONCE(slot->made_up);

	/* Pairs with the acquire in perf_pkg_is_stale(): the value is published. */
	while (unlikely(failed - old > 0)) {
		if (try_cmpxchg_release(&slot->made_up, &old, failed))
			return;
	}
}

static void perf_pkg_failed(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot, int err)
{
	struct perf_pkg *pp = dom->pp;

	/* Pairs with the acquire in perf_pkg_publish(). */
	atomic_fetch_inc_release(&slot->failed);
	if (err == -EAGAIN)
		return;

	atomic64_inc(&pp->errors);
	trace_perf_pkg_error(pp->name, slot->counter->id, dom->id, err);
}

/*
 * Interrupts are off, @stamp is the time before the read. Without the domain's lock,
 * slots that only count while an event is scheduled in can be published once the
 * first read has succeeded.
 */
int perf_pkg_publish(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot,
		     u64 stamp, bool locked)
{
	/* A CPU on its way out counts, but must not say what nobody will refresh. */
	bool online = cpumask_test_cpu(smp_processor_id(), &dom->cpus);
	struct perf_pkg_counter *counter = slot->counter;
	unsigned int flags = counter->desc.flags;
	struct perf_pkg *pp = dom->pp;
	int ret, failed;
	s64 delta;

	if (READ_ONCE(counter->ended) ||
	    (!online && (flags & PERF_PKG_GAUGE || perf_pkg_this_domain(pp) != dom)))
		return 0;

	/* The domain comes back, and its hardware is not known yet, or was read before. */
	if (flags & PERF_PKG_FREE_RUNNING && cpumask_empty(&dom->cpus))
		return 0;

	/* Pairs with the release in perf_pkg_failed(): this read makes up for that one. */
	failed = atomic_read_acquire(&slot->failed);
	if (flags & PERF_PKG_NO_VALUE)
		goto live;

	/* Pairs with smp_store_release() below. */
	if (smp_load_acquire(&slot->state) == PERF_PKG_SLOT_LIVE && !(flags & PERF_PKG_GAUGE))
		ret = perf_pkg_advance(slot, &delta);
	else if (locked)
		ret = perf_pkg_set(slot, &delta);
	else
		return -EAGAIN;

	if (ret == -ESTALE && flags & PERF_PKG_FREE_RUNNING) {
		/* One reader at a time: it is the hardware that was reset. */
		perf_pkg_failed(dom, slot, ret);
		ret = perf_pkg_set(slot, &delta);
	} else if (ret == -ESTALE) {
		perf_pkg_make_up(slot, failed);
		return -EAGAIN;
	}

	if (ret) {
		perf_pkg_failed(dom, slot, ret);
		return ret;
	}

	trace_perf_pkg_publish(pp->name, counter->id, dom->id,
			       atomic64_read(&slot->value), delta);
live:
	if (locked && slot->state != PERF_PKG_SLOT_LIVE) {
		/* Pairs with smp_load_acquire() above: ->origin is valid. */
		smp_store_release(&slot->state, PERF_PKG_SLOT_LIVE);
	}
	perf_pkg_make_up(slot, failed);
	if (online)
		perf_pkg_stamp(slot, stamp);

	return 0;
}

/*
 * There is a counter here, but no value: from now on that gets older. What nobody
 * counts for keeps its value until somebody does.
 */
static void perf_pkg_blind(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	lockdep_assert_held(&dom->lock);

	WRITE_ONCE(slot->state, PERF_PKG_SLOT_BLIND);
	if (perf_pkg_is_exact(slot))
		return;

	atomic_inc(&slot->failed);
	if (cpumask_test_cpu(smp_processor_id(), &dom->cpus))
		perf_pkg_stamp(slot, ktime_get_mono_fast_ns());
}

/* Reads a counter on this CPU, with interrupts off and the domain not locked. */
int perf_pkg_publish_here(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	u64 stamp = ktime_get_mono_fast_ns();
	bool live;

	/* Pairs with smp_store_release() in perf_pkg_publish(). */
	live = smp_load_acquire(&slot->state) == PERF_PKG_SLOT_LIVE;
	if (live && !perf_pkg_is_locked(slot->counter))
		return perf_pkg_publish(dom, slot, stamp, false);

	guard(raw_spinlock)(&dom->lock);

	return perf_pkg_publish(dom, slot, stamp, true);
}

/**
 * perf_pkg_refresh() - read a counter now, in the domain of this CPU
 * @counter:	The counter
 *
 * Context: Interrupts off, not in an NMI.
 * Return: 0, -ENODEV if the CPU has no domain, -EAGAIN if no event of the
 * counter was active here yet or there is nothing newer to publish, or the error
 * of perf_pkg_pmu::read()
 */
int perf_pkg_refresh(struct perf_pkg_counter *counter)
{
	struct perf_pkg_domain *dom = perf_pkg_this_domain(counter->pp);
	struct perf_pkg_slot *slot;

	lockdep_assert_irqs_disabled();

	if (!dom)
		return -ENODEV;

	slot = &counter->slot[dom->idx];
	if (READ_ONCE(slot->state) == PERF_PKG_SLOT_NEW)
		return -EAGAIN;

	return perf_pkg_publish_here(dom, slot);
}
EXPORT_SYMBOL_GPL(perf_pkg_refresh);

static bool perf_pkg_reads_for_all(int cpu, void *info)
{
	struct perf_pkg_counter *counter = info;
	struct perf_pkg_domain *dom = *per_cpu_ptr(counter->pp->cpu_domain, cpu);

	return dom && cpu == perf_pkg_choose_cpu(dom);
}

static void perf_pkg_refresh_here(void *info)
{
	perf_pkg_refresh(info);
}

/**
 * perf_pkg_refresh_domains() - read a counter now, in all domains
 * @counter:	The counter
 *
 * A domain whose CPUs come or go just now may be left out, unless CPU hotplug is
 * locked.
 *
 * Context: Task context, interrupts on. Waits for other CPUs.
 */
void perf_pkg_refresh_domains(struct perf_pkg_counter *counter)
{
	on_each_cpu_cond(perf_pkg_reads_for_all, perf_pkg_refresh_here, counter, true);
}
EXPORT_SYMBOL_GPL(perf_pkg_refresh_domains);

/**
 * perf_pkg_counter_end() - what a counter monitors is no more
 * @counter:	The counter
 *
 * read(2) of its events fails with -ENODEV from now on. Who cannot be told gets
 * the last value. No new event joins. ->read() may go on where it has begun.
 *
 * Context: Any.
 */
void perf_pkg_counter_end(struct perf_pkg_counter *counter)
{
	WRITE_ONCE(counter->ended, true);
}
EXPORT_SYMBOL_GPL(perf_pkg_counter_end);

/**
 * perf_pkg_nr_domains() - how many domains there can ever be
 * @counter:	A counter, of any state
 *
 * Context: Any.
 * Return: For the size of arrays that are indexed with perf_pkg_domain_index()
 */
unsigned int perf_pkg_nr_domains(const struct perf_pkg_counter *counter)
{
	return counter->pp->max_domains;
}
EXPORT_SYMBOL_GPL(perf_pkg_nr_domains);

/**
 * perf_pkg_domain_index() - the domain of this CPU
 * @counter:	Any counter of the PMU
 *
 * Context: Preemption disabled.
 * Return: Its index, which is not the id; -ENODEV if the CPU has no domain
 */
int perf_pkg_domain_index(const struct perf_pkg_counter *counter)
{
	const struct perf_pkg_domain *dom = perf_pkg_this_domain(counter->pp);

	return dom ? dom->idx : -ENODEV;
}
EXPORT_SYMBOL_GPL(perf_pkg_domain_index);

/* Counters */

/*
 * An event of the counter comes to a domain where no read succeeded yet, for the
 * first time or not. Interrupts are off. Other CPUs of the domain wait for the
 * lock until this is done: what they count for the same counter comes on top of
 * what is read here.
 */
static void perf_pkg_link(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	bool first;

	lockdep_assert_held(&dom->lock);

	if (slot->state == PERF_PKG_SLOT_LIVE)
		return;

	first = slot->state == PERF_PKG_SLOT_NEW;
	perf_pkg_publish(dom, slot, ktime_get_mono_fast_ns(), true);
	if (slot->state == PERF_PKG_SLOT_NEW)
		perf_pkg_blind(dom, slot);

	if (!first)
		return;

	if (slot->counter->desc.flags & PERF_PKG_NO_TIMER) {
		list_add_tail(&slot->node, &dom->others);
		return;
	}

	list_add_tail(&slot->node, &dom->slots);
	dom->nr_slots++;
	perf_pkg_arm(dom);
}

/* The slot is in use from now on. */
static void perf_pkg_use(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	u64 now = ktime_get_mono_fast_ns();

	/* What was exact until now gets older from now on. */
	if (perf_pkg_is_exact(slot) && cpumask_test_cpu(smp_processor_id(), &dom->cpus))
		perf_pkg_stamp(slot, now);
	/*
	 * Pairs with atomic_read_acquire() in perf_pkg_is_exact(), which must see
	 * the stamp, and with smp_mb() in perf_pkg_end_pass().
	 */
	atomic_inc_return(&slot->active);
}

/*
 * An event of the counter is scheduled in on this CPU, before the driver counts for
 * it. Interrupts are off.
 */
void perf_pkg_activate(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	perf_pkg_use(dom, slot);

	/* Pairs with smp_store_release() in perf_pkg_publish(). */
	if (unlikely(smp_load_acquire(&slot->state) != PERF_PKG_SLOT_LIVE)) {
		guard(raw_spinlock)(&dom->lock);
		perf_pkg_link(dom, slot);
	}
	if (unlikely(READ_ONCE(dom->quiet)))
		perf_pkg_wake(dom);
}

/* The same with the domain locked, on a CPU of it or while it has none */
void perf_pkg_activate_locked(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	perf_pkg_use(dom, slot);
	perf_pkg_link(dom, slot);
	if (dom->quiet)
		perf_pkg_wake_locked(dom);
}

/* It is scheduled out, after its last value was published. Interrupts are off. */
void perf_pkg_deactivate(struct perf_pkg_slot *slot)
{
	/* Pairs with atomic_read_acquire() in perf_pkg_is_exact(). */
	WARN_ON_ONCE(atomic_fetch_dec_release(&slot->active) <= 0);
}

static void perf_pkg_unlink(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot)
{
	scoped_guard(raw_spinlock_irqsave, &dom->lock) {
		if (slot->state == PERF_PKG_SLOT_NEW)
			return;

		list_del_init(&slot->node);
		if (slot->counter->desc.flags & PERF_PKG_NO_TIMER)
			return;
		dom->nr_slots--;
		dom->todo = min(dom->todo, dom->nr_slots);
		if (dom->nr_slots)
			return;
	}

	/* That was the last one, unless another comes while the timer stops. */
	perf_pkg_hold(dom);
	perf_pkg_release(dom);
}

static void perf_pkg_counter_free(struct rcu_head *rcu)
{
	struct perf_pkg_counter *counter = container_of(rcu, struct perf_pkg_counter, rcu);

	kvfree(counter->slot);
	kfree(counter);
}

static struct perf_pkg_counter *
perf_pkg_counter_create(struct perf_pkg *pp, const struct perf_pkg_desc *desc,
			struct perf_event *event)
{
	size_t size = max(pp->ppmu->counter_size, sizeof(struct perf_pkg_counter));
	struct perf_pkg_counter *counter;
	int i, ret = -ENOMEM;

	lockdep_assert_held(&pp->mutex);

	if (WARN_ON_ONCE(!desc->width || desc->width > 64))
		return ERR_PTR(-EINVAL);

	/* Nobody would read it when the domain goes and returns. */
	if (WARN_ON_ONCE(desc->flags & PERF_PKG_NO_TIMER &&
			 desc->flags & PERF_PKG_FREE_RUNNING))
		return ERR_PTR(-EINVAL);

	counter = kzalloc(size, GFP_KERNEL);
	if (!counter)
		return ERR_PTR(-ENOMEM);

	counter->slot = kvcalloc(pp->max_domains, sizeof(*counter->slot), GFP_KERNEL);
	if (!counter->slot)
		goto free;

	counter->pp = pp;
	counter->desc = *desc;
	counter->mask = GENMASK_ULL(desc->width - 1, 0);
	counter->id = pp->next_id++;
	refcount_set(&counter->ref, 1);
	for (i = 0; i < pp->max_domains; i++) {
		INIT_LIST_HEAD(&counter->slot[i].node);
		counter->slot[i].counter = counter;
	}

	if (pp->ppmu->counter_init && !(desc->flags & PERF_PKG_NO_VALUE)) {
		ret = pp->ppmu->counter_init(counter, event);
		if (ret)
			goto free;
	}
	list_add_tail(&counter->node, &pp->counters);

	return counter;

free:
	kvfree(counter->slot);
	kfree(counter);
	return ERR_PTR(ret);
}

/* The counter that others have under the same key, or a new one */
struct perf_pkg_counter *
perf_pkg_counter_get(struct perf_pkg *pp, const struct perf_pkg_desc *desc,
		     struct perf_event *event)
{
	struct perf_pkg_counter *counter;

	guard(mutex)(&pp->mutex);

	list_for_each_entry(counter, &pp->counters, node) {
		if (desc->key && counter->desc.key == desc->key &&
		    !READ_ONCE(counter->ended)) {
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

	list_del(&counter->node);
	for (i = 0; i < pp->max_domains; i++)
		perf_pkg_unlink(&pp->domain[i], &counter->slot[i]);
	if (pp->ppmu->counter_exit && !(counter->desc.flags & PERF_PKG_NO_VALUE))
		pp->ppmu->counter_exit(counter);
	mutex_unlock(&pp->mutex);

	call_rcu(&counter->rcu, perf_pkg_counter_free);
}

/* CPU hotplug, and the PMU's coming and going */

struct perf_pkg_domain *perf_pkg_find_domain(struct perf_pkg *pp, int id)
{
	/* Pairs with smp_store_release() in perf_pkg_add_domain(). */
	unsigned int i, nr = smp_load_acquire(&pp->nr_domains);

	for (i = 0; i < nr; i++) {
		if (pp->domain[i].id == id)
			return &pp->domain[i];
	}

	return NULL;
}

/* Hotplug serialises this. */
static struct perf_pkg_domain *perf_pkg_add_domain(struct perf_pkg *pp, int id)
{
	struct perf_pkg_domain *dom;

	if (pp->nr_domains == pp->max_domains) {
		pr_warn_once("%s: more domains than CPUs can have, %d is left out\n",
			     pp->name, id);
		return NULL;
	}

	dom = &pp->domain[pp->nr_domains];
	dom->id = id;
	/* Pairs with smp_load_acquire() in perf_pkg_find_domain(). */
	smp_store_release(&pp->nr_domains, pp->nr_domains + 1);

	return dom;
}

/* The first CPU of the domain comes: its hardware may have started anew. */
static void perf_pkg_blind_all(struct perf_pkg_domain *dom)
{
	struct perf_pkg_slot *slot;

	list_for_each_entry(slot, &dom->slots, node)
		perf_pkg_blind(dom, slot);
	list_for_each_entry(slot, &dom->others, node)
		perf_pkg_blind(dom, slot);
}

static int perf_pkg_cpu_online(unsigned int cpu, struct hlist_node *node)
{
	struct perf_pkg *pp = hlist_entry(node, struct perf_pkg, hp_node);
	int id = pp->ppmu->domain_id(cpu);
	struct perf_pkg_domain *dom;
	bool first, moves;

	if (id < 0)
		return 0;

	dom = perf_pkg_find_domain(pp, id) ?: perf_pkg_add_domain(pp, id);
	*per_cpu_ptr(pp->cpu_domain, cpu) = dom;
	if (!dom)
		return 0;

	scoped_guard(raw_spinlock_irqsave, &dom->lock) {
		first = cpumask_empty(&dom->cpus);
		cpumask_set_cpu(cpu, &dom->cpus);
		if (first)
			perf_pkg_blind_all(dom);
		moves = dom->timer_cpu >= 0 && !perf_pkg_may_interrupt(dom->timer_cpu) &&
			perf_pkg_may_interrupt(cpu);
	}

	/* An isolated CPU had to do so far. */
	if (moves) {
		perf_pkg_hold(dom);
		perf_pkg_release(dom);
	}

	if (!first)
		return 0;

	perf_pkg_refresh_all(dom);

	guard(raw_spinlock_irqsave)(&dom->lock);

	WRITE_ONCE(dom->quiet, 0);
	perf_pkg_arm(dom);

	return 0;
}

/* The last CPU of the domain goes. */
static void perf_pkg_retire(struct list_head *slots)
{
	struct perf_pkg_slot *slot;

	list_for_each_entry(slot, slots, node) {
		if (slot->counter->desc.flags & PERF_PKG_GAUGE)
			atomic64_set(&slot->value, 0);
		atomic64_set(&slot->stamp, 0);
	}
}

static int perf_pkg_cpu_offline(unsigned int cpu, struct hlist_node *node)
{
	struct perf_pkg *pp = hlist_entry(node, struct perf_pkg, hp_node);
	struct perf_pkg_domain *dom = *per_cpu_ptr(pp->cpu_domain, cpu);
	unsigned int to;
	bool moves;

	if (!dom)
		return 0;

	/* Hotplug changes this, one CPU at a time. */
	if (cpumask_equal(&dom->cpus, cpumask_of(cpu)))
		perf_pkg_refresh_all(dom);

	scoped_guard(raw_spinlock_irqsave, &dom->lock) {
		moves = dom->timer_cpu == cpu;
		cpumask_clear_cpu(cpu, &dom->cpus);
		if (cpumask_empty(&dom->cpus)) {
			perf_pkg_retire(&dom->slots);
			perf_pkg_retire(&dom->others);
		}
	}

	/* The core would move the events of the CPU in its cpumask alone. */
	to = perf_pkg_choose_cpu(dom);
	if (pp->ppmu->pmu.scope != PERF_PMU_SCOPE_NONE && to < nr_cpu_ids)
		perf_pmu_migrate_context(&pp->ppmu->pmu, cpu, to);

	if (!moves)
		return 0;

	perf_pkg_hold(dom);
	scoped_guard(raw_spinlock_irqsave, &dom->lock) {
		to = perf_pkg_choose_cpu(dom);
		trace_perf_pkg_timer_migrate(pp->name, dom->id, cpu,
					     to < nr_cpu_ids ? (int)to : -1);
	}
	perf_pkg_release(dom);

	return 0;
}

static void perf_pkg_init_domain(struct perf_pkg *pp, unsigned int idx)
{
	struct perf_pkg_domain *dom = &pp->domain[idx];

	raw_spin_lock_init(&dom->lock);
	dom->pp = pp;
	dom->idx = idx;
	INIT_LIST_HEAD(&dom->slots);
	INIT_LIST_HEAD(&dom->others);
	INIT_LIST_HEAD(&dom->events);
	perf_pkg_init_timer(dom);
}

/*
 * The number of domains there can ever be. A CPU that is offline now may turn
 * out to be in a domain of its own.
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

/* Lets CPUs join their domains. Returns what the PMU's events can work with. */
struct perf_pkg *perf_pkg_create(struct perf_pkg_pmu *ppmu, const char *name)
{
	struct perf_pkg *pp;
	unsigned int i, nr;
	int ret = -ENOMEM;

	scoped_guard(cpus_read_lock)
		nr = perf_pkg_max_domains(ppmu);
	pp = kvzalloc(struct_size(pp, domain, nr), GFP_KERNEL);
	if (!pp)
		return ERR_PTR(-ENOMEM);

	pp->groups = perf_pkg_create_groups(ppmu->pmu.attr_update);
	if (!pp->groups)
		goto free;

	pp->cpu_domain = alloc_percpu(struct perf_pkg_domain *);
	if (!pp->cpu_domain)
		goto free_groups;

	pp->ppmu = ppmu;
	pp->name = name;
	pp->interval_us = ppmu->interval_us;
	pp->max_age_us = ppmu->max_age_us;
	pp->budget_us = PERF_PKG_BUDGET_US;
	pp->cpu_percent = PERF_PKG_CPU_PERCENT;
	pp->max_domains = nr;
	lockdep_register_key(&pp->mutex_key);
	__mutex_init(&pp->mutex, "perf_pkg::mutex", &pp->mutex_key);
	INIT_LIST_HEAD(&pp->counters);
	for (i = 0; i < nr; i++)
		perf_pkg_init_domain(pp, i);

	ret = cpuhp_state_add_instance(perf_pkg_cpuhp_state, &pp->hp_node);
	if (ret)
		goto unregister_key;

	return pp;

unregister_key:
	lockdep_unregister_key(&pp->mutex_key);
	free_percpu(pp->cpu_domain);
free_groups:
	kfree(pp->groups);
free:
	kvfree(pp);
	return ERR_PTR(ret);
}

/* The PMU has no events any more. */
void perf_pkg_destroy(struct perf_pkg *pp)
{
	unsigned int i;

	cpuhp_state_remove_instance_nocalls(perf_pkg_cpuhp_state, &pp->hp_node);

	for (i = 0; i < pp->max_domains; i++) {
		perf_pkg_hold(&pp->domain[i]);
		irq_work_sync(&pp->domain[i].arm_work);
	}

	lockdep_unregister_key(&pp->mutex_key);
	free_percpu(pp->cpu_domain);
	kfree(pp->groups);
	kvfree(pp);
}

static int __init perf_pkg_init(void)
{
	int ret;

	ret = cpuhp_setup_state_multi(CPUHP_AP_ONLINE_DYN, "perf/pkg:online",
				      perf_pkg_cpu_online, perf_pkg_cpu_offline);
	if (ret < 0)
		return ret;

	perf_pkg_cpuhp_state = ret;

	return 0;
}
core_initcall(perf_pkg_init);
