/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Package-scope counters for perf: what the parts of the engine share
 *
 * Each part calls those above it here, never those below.
 */
#ifndef _KERNEL_EVENTS_PKG_INTERNAL_H
#define _KERNEL_EVENTS_PKG_INTERNAL_H

#include <linux/atomic.h>
#include <linux/cache.h>
#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/lockdep_types.h>
#include <linux/mutex.h>
#include <linux/percpu.h>
#include <linux/perf_pkg.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/time64.h>
#include <linux/timekeeping.h>

#include <trace/events/perf_pkg.h>

/* A slice of the timer ends after this time, or with the read that goes beyond it. */
#define PERF_PKG_BUDGET_NS	(50 * NSEC_PER_USEC)
/* Share of a CPU's time that slices may take, in percent */
#define PERF_PKG_CPU_PERCENT	10U
/* Between two slices, however short or long the first one took */
#define PERF_PKG_REST_MIN_NS	(10 * NSEC_PER_USEC)
#define PERF_PKG_REST_MAX_NS	NSEC_PER_SEC
/* The slowest refresh of levels that stand still, unless the interval is longer */
#define PERF_PKG_IDLE_NS	NSEC_PER_SEC
/* A window need not read again what is not older than this. */
#define PERF_PKG_FRESH_NS	(10 * NSEC_PER_USEC)
/* An event that is put back after a longer time had been rotated out. */
#define PERF_PKG_WINDOW_GAP_NS	(500 * NSEC_PER_USEC)
/* Limit of max_age_us */
#define PERF_PKG_MAX_AGE_US	10000000U

/**
 * enum perf_pkg_slot_state - what a slot can be used for
 * @PERF_PKG_SLOT_NEW:	No event of the counter was active in the domain yet
 * @PERF_PKG_SLOT_NO_BASELINE: On the domain's list, but no read succeeded yet
 * @PERF_PKG_SLOT_LIVE:	Counts from the baseline of a successful read
 *
 * Changes under perf_pkg_domain::lock, is read without it.
 */
enum perf_pkg_slot_state {
	PERF_PKG_SLOT_NEW,
	PERF_PKG_SLOT_NO_BASELINE,
	PERF_PKG_SLOT_LIVE,
};

/* See perf_pkg_slot::stale. */
#define PERF_PKG_SLOT_STALE	1

/**
 * struct perf_pkg_slot - a counter's last published value in one domain
 * @value:	A level, or all that was counted since the slot went live. A count
 *		never decreases.
 * @stamp:	Time of the hardware read, in ns of ktime_get_mono_fast_ns(), taken
 *		before the read; before a first read succeeds: since when there is
 *		something to read. 0: there is nothing, or the domain has no CPU now.
 * @baseline:	The hardware value, modulo its width, at which @value is 0. Changes
 *		under perf_pkg_domain::lock; while @state is live, only if the
 *		hardware of a locked counter was reset.
 * @node:	Entry in perf_pkg_domain::slots, under its lock
 * @counter:	The counter this is a slot of. Constant.
 * @state:	enum perf_pkg_slot_state
 * @active:	Number of the counter's events that are scheduled in on the domain
 * @stale:	Number of reads that failed, times 2; PERF_PKG_SLOT_STALE: none that began
 *		after the last of these has succeeded
 *
 * slot.c describes who writes @value and @stamp, and in which order.
 */
struct perf_pkg_slot {
	atomic64_t			value;
	atomic64_t			stamp;
	u64				baseline;
	struct list_head		node;
	struct perf_pkg_counter		*counter;
	enum perf_pkg_slot_state	state;
	atomic_t			active;
	atomic_t			stale;
} ____cacheline_aligned;

/**
 * struct perf_pkg_domain - one domain of a PMU, and the timer that refreshes it
 * @pp:		The PMU. Constant.
 * @id:		What perf_pkg_pmu::domain_id() returns. Constant once in use.
 * @idx:	Index of the domain's slot. Constant.
 * @idle_passes: Passes in a row that found no event active and no change. Unless it is 0
 *		the timer may be slow or stopped. Under @lock, is read without it.
 * @cpu:	The domain's CPU in the PMU's cpumask, -1: none. Written at hotplug,
 *		is read without a lock.
 * @recent:	When the last pass began. 0: the timer is slow or stopped, or there is a
 *		max_age_us. Written under @lock, is read without it.
 * @cpus:	Online CPUs of the domain. Changes under @lock, at hotplug.
 * @lock:	Protects the members from @timer to @due. Taken with interrupts off; only the
 *		hrtimer base lock and what the driver's ->read() takes nest inside. Never
 *		held across hrtimer_cancel().
 * @timer:	Refreshes @slots
 * @timer_cpu:	CPU the timer is armed on; -1: it is not armed, or is to be armed anew
 * @paused:	Number of callers of perf_pkg_timer_pause()
 * @slots:	Slots of counters that were active in the domain, the least recently read first
 * @nr_slots:	Length of @slots
 * @pass_left:	How many of @slots are left of this pass
 * @pass_busy:	In this pass an event was scheduled in, or a value has changed.
 * @pass_more:	There are values that may change while their tasks sleep, or were not read.
 * @pass_start:	When this pass began, in ns of ktime_get_mono_fast_ns()
 * @last_start:	When the one before it began
 * @due:	When it was due
 * @arm_work:	Arms the timer from the CPU that it shall run on, or when @lock is free
 */
struct perf_pkg_domain {
	struct perf_pkg		*pp;
	int			id;
	unsigned int		idx;
	unsigned int		idle_passes;
	int			cpu;
	atomic64_t		recent;
	struct cpumask		cpus;

	/* The members above are read whenever an event is scheduled. */
	raw_spinlock_t		lock ____cacheline_aligned_in_smp;
	struct hrtimer		timer;
	int			timer_cpu;
	unsigned int		paused;
	struct list_head	slots;
	unsigned int		nr_slots;
	unsigned int		pass_left;
	bool			pass_busy;
	bool			pass_more;
	u64			pass_start;
	u64			last_start;
	u64			due;
	struct irq_work		arm_work;
} ____cacheline_aligned_in_smp;

/**
 * struct perf_pkg - the engine's side of a PMU
 * @ppmu:	The driver's side. Constant.
 * @name:	Name of the PMU. Constant.
 * @mutex:	Serializes changes of @counters and of @interval_us
 * @mutex_key:	Drivers differ in what they do under @mutex, and what they hold.
 * @counters:	Counters that have a key. Under @mutex.
 * @interval_us: Refresh interval in us, 0: no timer
 * @max_age_us:	Age from which on read(2) refreshes a value, in us. 0: never.
 * @errors:	Failed hardware reads
 * @next_id:	For perf_pkg_counter::id. Under @mutex.
 * @hp_state:	CPU hotplug state, torn down before those of what the driver reads. Constant.
 * @hp_node:	For its callbacks
 * @cpu_domain:	The domain each CPU is in, NULL if it has none. Written at hotplug
 *		before any event can be active on the CPU; constant then.
 * @cpumask:	@cpu of all domains. Written at hotplug, is read without a lock.
 * @max_domains: Length of @domain. Constant.
 * @nr_domains:	Domains seen so far. Only ever grows, at hotplug.
 * @domain:	The domains
 */
struct perf_pkg {
	struct perf_pkg_pmu		*ppmu;
	const char			*name;
	/* Tasks only, not at hotplug */
	struct mutex			mutex;
	struct lock_class_key		mutex_key;
	struct list_head		counters;
	unsigned int			interval_us;
	unsigned int			max_age_us;
	atomic64_t			errors;
	unsigned int			next_id;
	enum cpuhp_state		hp_state;
	struct hlist_node		hp_node;
	struct perf_pkg_domain		* __percpu *cpu_domain;
	struct cpumask			cpumask;
	unsigned int			max_domains;
	unsigned int			nr_domains;
	struct perf_pkg_domain		domain[] __counted_by(max_domains);
};

/**
 * struct perf_pkg_event - what the engine knows of an event and its children
 * @counter:	What the event monitors. Constant.
 * @node:	Entry in perf_pkg_counter::events
 * @event:	The event, not one of its children. Constant.
 * @age:	The event reports the age of the count, not the count. Constant.
 * @special:	It reports something else than the sum of counts. Constant.
 * @open:	A domain event: its window is open. A count in the background: the event,
 *		or one that has inherited it, was enabled, and no other one disabled
 *		since. All timers know that.
 * @lost:	Its counter counts its task no more, see perf_pkg_pmu::lost.
 * @first:	Index of the first slot to sum. Constant.
 * @slot:	That slot. Constant.
 * @nr:		Number of slots to sum: a constant, or perf_pkg::nr_domains
 * @mask:	If not 0: sum only the slots with these indices. Constant.
 * @sum:	What a domain event has counted in earlier windows, see window.c. Written
 *		by the CPU of the event with interrupts off, as are the next four.
 * @offset:	Value of the slot when the window was opened, minus @sum
 * @closed:	Value of the slot when the window was closed
 * @closed_at:	When that was, in ns of ktime_get_mono_fast_ns()
 * @closed_off:	How long the event had been disabled by then, see perf_pkg_window_off()
 * @ref:	The event and its children
 * @rcu:	Readers of a count may be in an NMI
 */
struct perf_pkg_event {
	struct perf_pkg_counter	*counter;
	struct list_head	node;
	struct perf_event	*event;
	bool			age;
	bool			special;
	bool			open;
	bool			lost;
	unsigned int		first;
	struct perf_pkg_slot	*slot;
	const unsigned int	*nr;
	u64			mask;
	atomic64_t		sum;
	atomic64_t		offset;
	u64			closed;
	u64			closed_at;
	u64			closed_off;
	refcount_t		ref;
	struct rcu_head		rcu;
};

/* slot.c: values and their age */

u64 perf_pkg_slot_stamp(const struct perf_pkg_slot *slot);
void perf_pkg_slot_set_stamp(struct perf_pkg_slot *slot, s64 stamp);
void perf_pkg_slot_lose_baseline(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot);
bool perf_pkg_is_swept(const struct perf_pkg_counter *counter);
int perf_pkg_sweep(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot, u64 stamp);
int perf_pkg_publish(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot, u64 stamp);
void perf_pkg_publish_locked(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot);

static inline struct perf_pkg_domain *perf_pkg_this_domain(struct perf_pkg *pp)
{
	return this_cpu_read(*pp->cpu_domain);
}

/* Whether a read failed and none succeeded since. If false, load the value only after this. */
static inline bool perf_pkg_is_stale(const struct perf_pkg_slot *slot)
{
	/* Pairs with the release in perf_pkg_slot_set_ok(). */
	return atomic_read_acquire(&slot->stale) & PERF_PKG_SLOT_STALE;
}

/* Whether nothing can move the value now. If true, load the value only after this. */
static inline bool perf_pkg_is_quiescent(const struct perf_pkg_slot *slot)
{
	/* Pairs with the release in perf_pkg_slot_put(). */
	return !atomic_read_acquire(&slot->active) && !slot->counter->background &&
	       !perf_pkg_is_stale(slot);
}

/* An event is scheduled out, after its last value was published. Interrupts are off. */
static inline void perf_pkg_slot_put(struct perf_pkg_slot *slot)
{
	/* Pairs with atomic_read_acquire() in perf_pkg_is_quiescent(). */
	WARN_ON_ONCE(atomic_fetch_dec_release(&slot->active) <= 0);
}

/*
 * Reads a counter on this CPU, with interrupts off and the domain not locked. @last: for
 * the last active event, so that a count is quiescent next and has no age. If another
 * event comes before that, the slot keeps the stamp it has, and is the older for it.
 */
static inline void perf_pkg_publish_here(struct perf_pkg_domain *dom,
					 struct perf_pkg_slot *slot, bool last)
{
	/* Pairs with smp_store_release() in perf_pkg_sweep(). */
	if (smp_load_acquire(&slot->state) == PERF_PKG_SLOT_LIVE && !slot->counter->locked)
		perf_pkg_sweep(dom, slot, last ? 0 : ktime_get_mono_fast_ns());
	else
		perf_pkg_publish_locked(dom, slot);
}

/* timer.c: the timer of a domain */

/* -EINPROGRESS: it is to be called again for the slot. */
typedef int (*perf_pkg_slot_fn)(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot,
				u64 stamp);

static inline bool perf_pkg_event_is_enabled(const struct perf_event *event)
{
	/* The leader of an inherited event may exit. */
	guard(rcu)();

	return event->state > PERF_EVENT_STATE_OFF &&
	       READ_ONCE(event->group_leader)->state > PERF_EVENT_STATE_OFF;
}

bool perf_pkg_event_is_open(const struct perf_pkg_event *pe);
bool perf_pkg_is_housekeeping(unsigned int cpu);
unsigned int perf_pkg_choose_cpu(const struct perf_pkg_domain *dom, int except);
void perf_pkg_timer_init(struct perf_pkg_domain *dom);
void perf_pkg_timer_arm(struct perf_pkg_domain *dom);
void perf_pkg_timer_kick(struct perf_pkg_domain *dom);
void perf_pkg_timer_kick_locked(struct perf_pkg_domain *dom);
void perf_pkg_timer_kick_all(struct perf_pkg *pp);
void perf_pkg_timer_pause(struct perf_pkg_domain *dom);
void perf_pkg_timer_resume(struct perf_pkg_domain *dom);
u64 perf_pkg_walk_slice(struct perf_pkg_domain *dom, perf_pkg_slot_fn fn, u64 since,
			u64 start, unsigned int *left);

/* counter.c: counters, and which of their slots are in use */

void perf_pkg_slot_enqueue(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot);
void perf_pkg_slot_get(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot);
struct perf_pkg_counter *
perf_pkg_counter_get(struct perf_pkg *pp, struct perf_pkg_desc *desc,
		     struct perf_event *event);
void perf_pkg_counter_put(struct perf_pkg_counter *counter);
int perf_pkg_interrupt_domain(struct perf_pkg_domain *dom, smp_call_func_t fn, void *info);
void perf_pkg_refresh_domain(struct perf_pkg_counter *counter, struct perf_pkg_domain *dom);

/* domain.c: domains and CPU hotplug */

struct perf_pkg_domain *perf_pkg_find_domain(struct perf_pkg *pp, int id);
struct perf_pkg *perf_pkg_create(struct perf_pkg_pmu *ppmu, const char *name);
void perf_pkg_destroy(struct perf_pkg *pp);

/* read.c: what events report of slots, in any context */

bool perf_pkg_is_too_old(const struct perf_pkg_slot *slot);
void perf_pkg_refresh_older(const struct perf_pkg_event *pe);

/* Returns the value of an event. Without @special it may rely on perf_pkg_event::special. */
typedef u64 (*perf_pkg_value_fn)(const struct perf_event *event, bool special);

int perf_pkg_count_special(const struct perf_event *event, u64 *count, perf_pkg_value_fn fn);

static inline bool perf_pkg_selects(const struct perf_pkg_event *pe, unsigned int idx)
{
	if (unlikely(pe->mask))
		return idx < BITS_PER_TYPE(pe->mask) && pe->mask & BIT_ULL(idx);

	return idx - pe->first < READ_ONCE(*pe->nr);
}

/* ->count() of an event: of most no call but @fn, which is inline */
static __always_inline int perf_pkg_count(const struct perf_event *event, u64 *count,
					  perf_pkg_value_fn fn)
{
	const struct perf_pkg_event *pe = event->pmu_private;

	if (unlikely(pe->special))
		return perf_pkg_count_special(event, count, fn);

	*count = fn(event, false);

	return unlikely(READ_ONCE(pe->counter->ended)) ? -ENODEV : 0;
}

/* task.c and window.c: the methods of PMUs that count tasks, and domains */

void perf_pkg_task_init_pmu(struct pmu *pmu);
void perf_pkg_window_init_pmu(struct pmu *pmu);

/* sysfs.c */

bool perf_pkg_interval_valid(const struct perf_pkg_pmu *ppmu, unsigned int us);

#endif /* _KERNEL_EVENTS_PKG_INTERNAL_H */
