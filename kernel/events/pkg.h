/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _KERNEL_EVENTS_PKG_H
#define _KERNEL_EVENTS_PKG_H

#include <linux/atomic.h>
#include <linux/cache.h>
#include <linux/cpumask.h>
#include <linux/hrtimer.h>
#include <linux/irq_work.h>
#include <linux/list.h>
#include <linux/lockdep_types.h>
#include <linux/mutex.h>
#include <linux/perf_pkg.h>
#include <linux/refcount.h>
#include <linux/seqlock.h>
#include <linux/spinlock.h>
#include <linux/time64.h>

/* Of what read(2) takes for fresh */
#define PERF_PKG_MAX_AGE_US		10000000U

/* Of a slice of the timer, and of a CPU's time */
#define PERF_PKG_BUDGET_US		50U
#define PERF_PKG_BUDGET_MAX_US		10000U
#define PERF_PKG_CPU_PERCENT		10U
#define PERF_PKG_CPU_PERCENT_MAX	50U

/* Between two slices, however short or long the first one took */
#define PERF_PKG_REST_MIN_NS		(10 * NSEC_PER_USEC)
#define PERF_PKG_REST_MAX_NS		NSEC_PER_SEC

/* The slowest refresh of levels that nobody changes, unless the interval is longer */
#define PERF_PKG_SLOW_NS		NSEC_PER_SEC

/**
 * enum perf_pkg_slot_state - what a slot can be used for
 * @PERF_PKG_SLOT_NEW:	No event of the counter was active in the domain yet
 * @PERF_PKG_SLOT_BLIND: On the domain's list, but no read succeeded yet
 * @PERF_PKG_SLOT_LIVE:	Values are counted from a first successful read
 *
 * Changes under perf_pkg_domain::lock, is read without it.
 */
enum perf_pkg_slot_state {
	PERF_PKG_SLOT_NEW,
	PERF_PKG_SLOT_BLIND,
	PERF_PKG_SLOT_LIVE,
};

/**
 * struct perf_pkg_slot - a counter's last published value in one domain
 * @value:	A gauge's level, or all that was counted since the slot went
 *		live. Not a gauge: only ever grows.
 * @stamp:	When the hardware was read, in ns of ktime_get_mono_fast_ns(),
 *		taken before the read; before a first read succeeds: since when
 *		there is something to read. 0: there is nothing, or the domain
 *		has no CPU now.
 *		Written after @value: who sees a stamp sees a value that is at
 *		least as new.
 * @origin:	The hardware value, modulo its width, at which @value is 0.
 *		Changes under perf_pkg_domain::lock, unless @state is live.
 * @node:	Entry in perf_pkg_domain::slots or ::others, under its lock
 * @counter:	The counter this is a slot of. Constant.
 * @state:	enum perf_pkg_slot_state
 * @active:	Number of the counter's events that are scheduled in on the
 *		domain. While it is 0, the slot is exact unless it is a gauge's:
 *		nothing counts for it, and what did was read when it stopped.
 *		Falls after the last value was published, or when nobody is left
 *		who reads it.
 * @failed:	Number of reads that failed, so that a slot may not be exact
 * @made_up:	What @failed was before the last read that succeeded
 *
 * Writers of @value and @stamp are the CPUs of the domain with interrupts
 * off: under perf_pkg_domain::lock for gauges and free-running counters, else
 * lock-free (see perf_pkg_advance()).
 */
struct perf_pkg_slot {
	atomic64_t			value;
	atomic64_t			stamp;
	u64				origin;
	struct list_head		node;
	struct perf_pkg_counter		*counter;
	enum perf_pkg_slot_state	state;
	atomic_t			active;
	atomic_t			failed;
	int				made_up;
} ____cacheline_aligned;

/**
 * enum perf_pkg_seen - what a pass of the timer has found in a domain
 * @PERF_PKG_SEEN_ACTIVE: An event is scheduled in
 * @PERF_PKG_SEEN_GAUGE: A level, which may change by itself
 * @PERF_PKG_SEEN_CHANGE: A level that has changed
 * @PERF_PKG_SEEN_STALE: A counter that could not be read
 */
enum perf_pkg_seen {
	PERF_PKG_SEEN_ACTIVE	= BIT(0),
	PERF_PKG_SEEN_GAUGE	= BIT(1),
	PERF_PKG_SEEN_CHANGE	= BIT(2),
	PERF_PKG_SEEN_STALE	= BIT(3),
};

/* Whether a read failed, and none made up for it yet. Who finds not looks at the value later. */
static inline bool perf_pkg_is_stale(const struct perf_pkg_slot *slot)
{
	int failed = atomic_read(&slot->failed);

	/* Pairs with the release in perf_pkg_make_up(). */
	return smp_load_acquire(&slot->made_up) != failed;
}

/* Whether the value is right at this moment. Who finds that looks at the value later. */
static inline bool perf_pkg_is_exact(const struct perf_pkg_slot *slot)
{
	/* Pairs with the release in perf_pkg_deactivate(). */
	return !(slot->counter->desc.flags & PERF_PKG_GAUGE) &&
	       !atomic_read_acquire(&slot->active) && !perf_pkg_is_stale(slot);
}

/* When the value was read, 0 if it is exact or there is none */
static inline u64 perf_pkg_slot_stamp(const struct perf_pkg_slot *slot)
{
	if (perf_pkg_is_exact(slot))
		return 0;

	/* Pairs with the release in perf_pkg_stamp(). */
	return atomic64_read_acquire(&slot->stamp);
}

/**
 * struct perf_pkg_domain - one domain of a PMU and its refresher
 * @pp:		The PMU. Constant.
 * @id:		What perf_pkg_pmu::domain_id() says. Constant once in use.
 * @idx:	Index of the domain's slot. Constant.
 * @quiet:	Number of passes in a row that found no event active. Unless it
 *		is 0 the timer may be slow or stopped, and who becomes active
 *		calls perf_pkg_wake(). Under @lock, is read without it.
 * @cpus:	Online CPUs of the domain. Changes under @lock, at hotplug.
 * @lock:	Innermost but for the hrtimer base. Taken with interrupts off,
 *		by the timer, by the first event of a counter in the domain, by
 *		free-running counters' events, and at hotplug. Never held
 *		across hrtimer_cancel().
 * @timer:	Refreshes @slots. Runs while @nr_slots is not 0 and the domain
 *		not quiet.
 * @timer_cpu:	CPU the timer is armed on; -1: it is not armed, or is to be
 *		armed anew. Under @lock.
 * @held:	Number of tasks that have the timer stopped for a change; it is
 *		not armed meanwhile. Under @lock.
 * @slots:	Slots of counters that were active in the domain and that the
 *		timer refreshes, that which was read longest ago first. Under
 *		@lock.
 * @others:	Slots of counters that were active and that it does not refresh
 *		(PERF_PKG_NO_TIMER). Under @lock.
 * @nr_slots:	Length of @slots. Under @lock.
 * @todo:	How many of @slots are left of this pass. Under @lock.
 * @seen:	enum perf_pkg_seen, of this pass. Under @lock.
 * @start:	When this pass began, in ns of ktime_get_mono_fast_ns(). Under
 *		@lock.
 * @due:	When it was due. Under @lock.
 * @events:	struct perf_pkg_part of the CPU events of free-running counters and
 *		gauges. Under @lock.
 * @arm_work:	Arms the timer from the CPU that it shall run on, or when @lock
 *		is free
 */
struct perf_pkg_domain {
	struct perf_pkg		*pp;
	int			id;
	unsigned int		idx;
	unsigned int		quiet;
	struct cpumask		cpus;

	/* What is above is read whenever an event is scheduled. */
	raw_spinlock_t		lock ____cacheline_aligned_in_smp;
	struct hrtimer		timer;
	int			timer_cpu;
	unsigned int		held;
	struct list_head	slots;
	struct list_head	others;
	unsigned int		nr_slots;
	unsigned int		todo;
	unsigned int		seen;
	u64			start;
	u64			due;
	struct list_head	events;
	struct irq_work		arm_work;
} ____cacheline_aligned_in_smp;

/**
 * struct perf_pkg - the engine's side of a PMU
 * @ppmu:	The driver's side. Constant.
 * @name:	Name of the PMU. Constant.
 * @mutex:	Serialises changes of @counters and of @interval_us. Not taken at
 *		hotplug.
 * @mutex_key:	What drivers do under @mutex differs, and so does what it is taken
 *		under.
 * @counters:	All counters of the PMU. Under @mutex.
 * @interval_us: Refresh interval in us, 0: no timer
 * @budget_us:	Time of a slice of the timer, in us. Read without a lock, as
 *		are the next two.
 * @cpu_percent: Share of a CPU's time that slices may take, in percent
 * @max_age_us:	read(2) refreshes what is older, in us. 0: never.
 * @errors:	Failed hardware reads
 * @next_id:	For perf_pkg_counter::id. Under @mutex.
 * @groups:	pmu::attr_update: that of the driver, and the engine's. Constant.
 * @driver_groups: That of the driver. Constant.
 * @hp_node:	For the CPU hotplug callbacks
 * @cpu_domain:	The domain each CPU is in, NULL if it has none. Written at
 *		hotplug before any event can be active on the CPU; constant then.
 * @max_domains: Length of @domain. Constant.
 * @nr_domains:	Domains seen so far. Only ever grows, at hotplug.
 * @domain:	The domains
 */
struct perf_pkg {
	struct perf_pkg_pmu		*ppmu;
	const char			*name;
	/* Tasks only, see above */
	struct mutex			mutex;
	struct lock_class_key		mutex_key;
	struct list_head		counters;
	unsigned int			interval_us;
	unsigned int			budget_us;
	unsigned int			cpu_percent;
	unsigned int			max_age_us;
	atomic64_t			errors;
	unsigned int			next_id;
	const struct attribute_group	**groups;
	const struct attribute_group	**driver_groups;
	struct hlist_node		hp_node;
	struct perf_pkg_domain		* __percpu *cpu_domain;
	unsigned int			max_domains;
	unsigned int			nr_domains;
	struct perf_pkg_domain		domain[] __counted_by(max_domains);
};

/**
 * struct perf_pkg_window - what a CPU event reports of its domain's value
 * @base:	Value of the slot when the window was opened
 * @sum:	Windows that are closed: what was counted in all of them, or the
 *		level of a gauge at the end
 * @open:	Whether the event reports now
 */
struct perf_pkg_window {
	u64	base;
	u64	sum;
	bool	open;
};

/**
 * struct perf_pkg_part - the part of a CPU event that one domain has
 * @pe:		The event. Constant.
 * @domain:	The domain; NULL if the event does not select it. Constant.
 * @wanted:	The event is scheduled in. Written where that happens, with
 *		interrupts off.
 * @active:	What became of @wanted. Under perf_pkg_domain::lock.
 * @in_use:	It counts in perf_pkg_slot::active: while the window is open; of a wide
 *		event from when it is first open. Under perf_pkg_domain::lock.
 * @node:	Entry in perf_pkg_domain::events
 * @seq:	Lets an NMI read one of the two @window while the other is written
 * @window:	Under perf_pkg_domain::lock
 * @work:	Opens and closes the window from a CPU of the domain, for an event
 *		that is scheduled elsewhere
 */
struct perf_pkg_part {
	struct perf_pkg_event	*pe;
	struct perf_pkg_domain	*domain;
	bool			wanted;
	bool			active;
	bool			in_use;
	struct list_head	node;
	seqcount_latch_t	seq;
	struct perf_pkg_window	window[2];
	struct irq_work		work;
};

/**
 * struct perf_pkg_event - what the engine knows of an event and its children
 * @counter:	What the event monitors. Constant.
 * @first:	Index of the first slot to sum. Constant.
 * @nr:		Number of slots to sum; UINT_MAX: all domains, 0: none. Constant.
 * @mask:	If not 0: sum only the slots with these indices. Constant.
 * @age:	The event reports the age of the counter, not its value. Constant.
 * @ref:	The event and its children
 * @wide:	The event counts in domains other than that of its CPU, too, and
 *		keeps its counter in use there until it is closed. Constant.
 * @settle:	Closes the window of an event that was scheduled out and not in again;
 *		if it is @wide, tells other domains of both
 * @owner:	Who opened the event: in a set of CPU events alike, of one owner,
 *		only those of one CPU report. NULL: each does. Constant.
 * @cpu:	The CPU of the event. Constant.
 * @config:	perf_event_attr::config to config3, the same within a set. Constant.
 * @rcu:	Readers of a count may be in an NMI
 * @nr_parts:	Length of @part; 0 unless the event is the CPU event of a gauge or
 *		a free-running counter. Constant.
 * @part:	Its only one; or if it is @wide, one for each domain
 */
struct perf_pkg_event {
	struct perf_pkg_counter	*counter;
	unsigned int		first;
	unsigned int		nr;
	u64			mask;
	bool			age;
	refcount_t		ref;

	bool			wide;
	struct irq_work		settle;
	struct pid		*owner;
	int			cpu;
	u64			config[4];

	struct rcu_head		rcu;
	unsigned int		nr_parts;
	struct perf_pkg_part	part[] __counted_by(nr_parts);
};

static inline bool perf_pkg_is_gauge(const struct perf_pkg_event *pe)
{
	return pe->age || pe->counter->desc.flags & PERF_PKG_GAUGE;
}

/* pkg.c: slots, counters, domains */

struct perf_pkg *perf_pkg_create(struct perf_pkg_pmu *ppmu, const char *name);
void perf_pkg_destroy(struct perf_pkg *pp);

struct perf_pkg_domain *perf_pkg_this_domain(struct perf_pkg *pp);
struct perf_pkg_domain *perf_pkg_find_domain(struct perf_pkg *pp, int id);

struct perf_pkg_counter *
perf_pkg_counter_get(struct perf_pkg *pp, const struct perf_pkg_desc *desc,
		     struct perf_event *event);
void perf_pkg_counter_put(struct perf_pkg_counter *counter);

void perf_pkg_activate(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot);
void perf_pkg_activate_locked(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot);
void perf_pkg_deactivate(struct perf_pkg_slot *slot);
int perf_pkg_publish(struct perf_pkg_domain *dom, struct perf_pkg_slot *slot,
		     u64 stamp, bool locked);
int perf_pkg_publish_here(struct perf_pkg_domain *dom,
			  struct perf_pkg_slot *slot);

/* pkg_timer.c: the refresher of a domain */

void perf_pkg_init_timer(struct perf_pkg_domain *dom);
void perf_pkg_arm(struct perf_pkg_domain *dom);
void perf_pkg_wake(struct perf_pkg_domain *dom);
void perf_pkg_wake_locked(struct perf_pkg_domain *dom);
void perf_pkg_hold(struct perf_pkg_domain *dom);
void perf_pkg_release(struct perf_pkg_domain *dom);
void perf_pkg_refresh_all(struct perf_pkg_domain *dom);
void perf_pkg_refresh_older(struct perf_pkg_domain *dom, u64 oldest);
bool perf_pkg_may_interrupt(unsigned int cpu);
unsigned int perf_pkg_choose_cpu(const struct perf_pkg_domain *dom);

/* pkg_pmu.c: events */

u64 perf_pkg_slot_age(const struct perf_pkg_slot *slot);

/* pkg_window.c: what CPU events report of whole domains */

void perf_pkg_join_set(struct perf_pkg_event *pe, struct perf_pkg_part *part,
		       struct perf_pkg_domain *dom);
void perf_pkg_leave_set(struct perf_pkg_part *part);
void perf_pkg_init_settle(struct perf_pkg_event *pe);
void perf_pkg_want_parts(struct perf_pkg_event *pe, bool wanted);
void perf_pkg_settled(struct perf_pkg_event *pe);
u64 perf_pkg_parts_value(const struct perf_pkg_event *pe);
bool perf_pkg_is_closed(const struct perf_pkg_event *pe);

/* pkg_sysfs.c */

const struct attribute_group **
perf_pkg_create_groups(const struct attribute_group **driver);

bool perf_pkg_interval_valid(const struct perf_pkg_pmu *ppmu, unsigned int us);

#endif /* _KERNEL_EVENTS_PKG_H */
