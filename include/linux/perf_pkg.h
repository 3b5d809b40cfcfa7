/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Package-scope counters for perf, kept fresh by one hrtimer per package
 *
 * See Documentation/driver-api/perf-pkg.rst.
 */
#ifndef _LINUX_PERF_PKG_H
#define _LINUX_PERF_PKG_H

#include <linux/bits.h>
#include <linux/perf_event.h>
#include <linux/refcount.h>
#include <linux/sysfs.h>
#include <linux/types.h>

struct perf_pkg;
struct perf_pkg_slot;

/* perf_event_attr::config, the event of the PMU */
#define PERF_PKG_CONFIG_EVENT	GENMASK_ULL(7, 0)

/* The event "age" of every PMU: ns since the oldest read behind its leader's count */
#define PERF_PKG_EVENT_AGE	0xff

/* Refresh intervals, in us */
#define PERF_PKG_INTERVAL_MIN_US	100U
#define PERF_PKG_INTERVAL_MAX_US	1000000000U

/*
 * For pmu::attr_update of every PMU: knobs and "cpumask", "domains", and "age"; and
 * an array of these for drivers that have no other groups there
 */
extern const struct attribute_group perf_pkg_group;
extern const struct attribute_group perf_pkg_format_group;
extern const struct attribute_group perf_pkg_event_group;
extern const struct attribute_group *perf_pkg_attr_update[];

/**
 * struct perf_pkg_desc - what an event monitors
 * @key:	Events with the same non-zero key share one counter. 0: the event
 *		has a counter of its own; in a PMU that counts tasks always so unless
 *		it is @shared.
 * @shared:	In a PMU that counts tasks: the value is that of other tasks as well, in
 *		all domains, so it may change while no event of the counter is scheduled
 *		in. It is refreshed as long as the oldest event is enabled, and that one
 *		reports it; others with the same @key report 0 meanwhile, so a reset of
 *		these has no effect.
 * @level:	The value is a level that may fall, such as bytes in a cache. Else
 *		it is a count, which only grows.
 * @width:	Bits after which the hardware value of a count wraps, 1 to 64. It
 *		must not advance by half of that range or more between two reads:
 *		that is taken for a step back.
 * @object:	Optional. What @key stands for, with a reference, so that no other object
 *		gets the same key meanwhile. perf_pkg_pmu::put drops it, after
 *		perf_pkg_pmu::counter_exit if a counter was made for it.
 */
struct perf_pkg_desc {
	u64		key;
	bool		shared;
	void		*object;
	bool		level;
	unsigned int	width;
};

/**
 * struct perf_pkg_counter - one monitored quantity in all domains
 * @pp:		The PMU. Constant.
 * @slot:	Last published value in each domain. The array is constant.
 * @nr_domains:	Length of @slot, and of what the driver has for each domain. Constant.
 * @desc:	Constant
 * @mask:	Bits of a hardware value. Constant.
 * @id:		Names the counter in tracepoints. Constant.
 * @locked:	It is read under perf_pkg_domain::lock. Constant.
 * @background:	In a PMU that counts tasks: shared, or a level. Constant.
 * @ended:	There is nothing to count any more, see perf_pkg_counter_end()
 * @ref:	One for each event that is not inherited
 * @events:	Its events but for inherited ones and "age", the oldest first. Under the
 *		mutex of the PMU.
 * @nr_events:	Their number. Written under the same mutex, is read without it.
 * @event:	The oldest one, NULL: it is closed. Under RCU.
 * @node:	With a key: entry in the PMU's list, under its mutex
 * @rcu:	Readers of a count may be in an NMI
 *
 * A driver that needs more state puts this first in a struct of its own and
 * sets perf_pkg_pmu::counter_size to the size of that.
 */
struct perf_pkg_counter {
	struct perf_pkg		*pp;
	struct perf_pkg_slot	*slot;
	unsigned int		nr_domains;
	struct perf_pkg_desc	desc;
	u64			mask;
	unsigned int		id;
	bool			locked;
	bool			background;
	bool			ended;
	refcount_t		ref;
	struct list_head	events;
	unsigned int		nr_events;
	struct perf_event	*event;
	struct list_head	node;
	struct rcu_head		rcu;
};

/**
 * struct perf_pkg_pmu - a PMU whose counters exist once per domain
 * @pmu:	For perf_pmu_register(). The driver sets @module, @attr_groups (with
 *		groups "format" and "events"), @attr_update (perf_pkg_attr_update, or
 *		its groups and the driver's own), PERF_PMU_CAP_* flags and, if the PMU
 *		counts tasks, @task_ctx_nr; the engine sets all methods.
 * @counts_domains: Its counts are free-running: the hardware counts for a whole
 *		domain, whether an event is scheduled in or not. Its events are CPU
 *		events and report the domain of their CPU; the PMU's cpumask has one
 *		CPU for each domain. Otherwise the PMU counts tasks: a count advances
 *		only between @start and @stop. A driver that has both registers two PMUs.
 * @read_in_nmi: @read works in an NMI that may have interrupted it, too
 * @domain_id:	Returns the id of the domain that @cpu is in, or -errno if it has
 *		none. CPUs with the same id share one copy of each counter. Must work
 *		for a CPU that is coming online.
 * @event_init:	Checks event::attr and fills in the descriptor, which comes zeroed
 *		with a width of 64. Not called for inherited events and for "age".
 *		Task context, may sleep. Returns 0 or -errno: -EINVAL for what the
 *		PMU does not have. -ENODEV, -EBUSY and -ENOSPC make perf give up the
 *		other events of its list, too.
 * @put:	Drops a reference to perf_pkg_desc::object. Required if there are such. Task
 *		context, may sleep.
 * @counter_init: Optional. Gets the new @counter what it needs, from the hardware or
 *		in memory. Task context, may sleep, perhaps under the mutex of a
 *		CPU's context unless the PMU is in perf_sw_context, so without the
 *		CPU hotplug lock. Returns 0 or -errno.
 * @counter_exit: Optional. Undoes @counter_init. Task context, may sleep, perhaps under
 *		the mutex of a task's context.
 * @lost:	Optional. Returns whether @counter counts the task of @event no more. Task
 *		context, for read(2), which fails then.
 * @read:	Reads @counter in the domain of the calling CPU, with interrupts off.
 *		@domain is its index, below perf_pkg_counter::nr_domains, and not its id.
 *		Reads of one counter in a domain are serialized, except for the
 *		counts of a PMU that counts tasks. Returns 0 or -errno: the last good
 *		value then stays and gets older. -EAGAIN says that the hardware has no
 *		value yet; other errors are counted.
 * @sweep:	Optional, for a PMU that counts domains and whose counters may be sums
 *		of many hardware registers: @read returns the sum of what is known then,
 *		and does not read the hardware. @sweep reads at most one register of
 *		@counter, in the domain of the calling CPU, that was not read at or after
 *		@since, a time of ktime_get_mono_fast_ns(). Returns 0 if none is left,
 *		-EINPROGRESS if there may be some, or -errno as for @read. It is called
 *		again with the same @since until it does not return -EINPROGRESS, unless
 *		a new sweep begins with another @since. The slot's stamp is @since then.
 * @is_swept:	With @sweep: whether @counter is the sum of several registers just now.
 *		If so, only the timer and CPU hotplug read it, in slices; a window opens
 *		and closes with the value of the last sweep, and read(2) ignores
 *		max_age_us. Else its register is read at once, as by any other PMU.
 * @start:	Optional. @event is scheduled in on this CPU: count for it. Interrupts
 *		off, the event's context locked. hw_perf_event::idx is the index of the
 *		domain. Not called by a PMU that counts domains.
 * @stop:	Optional. @event is scheduled out on this CPU. As for @start.
 * @counter_size: sizeof() the driver's counter, 0: struct perf_pkg_counter
 * @interval_us: Refresh interval to begin with, in us. 0: no timer.
 * @max_interval_us: Longest interval at which no counter wraps unseen, in us: then
 *		there must be a timer. 0: any will do, and none.
 * @max_age_us:	Age from which on read(2) refreshes a value by interrupting its
 *		domain, to begin with, in us. 0: never.
 * @pp:		The engine's side of it
 */
struct perf_pkg_pmu {
	struct pmu	pmu;
	bool		counts_domains;
	bool		read_in_nmi;
	int		(*domain_id)(unsigned int cpu);
	int		(*event_init)(struct perf_event *event,
				      struct perf_pkg_desc *desc);
	void		(*put)(void *object);
	int		(*counter_init)(struct perf_pkg_counter *counter,
					struct perf_event *event);
	void		(*counter_exit)(struct perf_pkg_counter *counter);
	bool		(*lost)(struct perf_pkg_counter *counter,
				struct perf_event *event);
	int		(*read)(struct perf_pkg_counter *counter, unsigned int domain,
				u64 *value);
	int		(*sweep)(struct perf_pkg_counter *counter, unsigned int domain,
				 u64 since);
	bool		(*is_swept)(const struct perf_pkg_counter *counter);
	void		(*start)(struct perf_pkg_counter *counter,
				 struct perf_event *event);
	void		(*stop)(struct perf_pkg_counter *counter,
				struct perf_event *event);
	size_t		counter_size;
	unsigned int	interval_us;
	unsigned int	max_interval_us;
	unsigned int	max_age_us;

	struct perf_pkg	*pp;
};

int perf_pkg_register(struct perf_pkg_pmu *ppmu, const char *name);
void perf_pkg_unregister(struct perf_pkg_pmu *ppmu);

typedef void (*perf_pkg_domain_fn)(unsigned int domain, bool here, void *arg);

void perf_pkg_call_domains(struct perf_pkg_pmu *ppmu, bool there,
			   perf_pkg_domain_fn fn, void *arg);
void perf_pkg_call_domain(struct perf_pkg_pmu *ppmu, perf_pkg_domain_fn fn, void *arg);
void perf_pkg_counter_end(struct perf_pkg_counter *counter);

#endif /* _LINUX_PERF_PKG_H */
