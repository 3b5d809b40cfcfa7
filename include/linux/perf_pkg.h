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
#include <linux/types.h>

struct perf_pkg;
struct perf_pkg_pmu;
struct perf_pkg_slot;

/* config: the event of the PMU */
#define PERF_PKG_CONFIG_EVENT	GENMASK_ULL(7, 0)
/*
 * config1: the domains to count, one bit for each id up to 63, or PERF_PKG_SELECT_ALL.
 * 0: all domains of a task event, that of its CPU of a CPU event. perf ORs the terms
 * of an event into config1, so no number could mean both "domain 0" and something
 * else than no term.
 */
#define PERF_PKG_MAX_SELECT	64
#define PERF_PKG_SELECT_ALL	U64_MAX

/* Refresh intervals, in us */
#define PERF_PKG_INTERVAL_MIN_US	100U
#define PERF_PKG_INTERVAL_MAX_US	1000000000U

/* The event "age" of every PMU: ns since the oldest read behind a count */
#define PERF_PKG_EVENT_AGE	0xff

/* Flags of a counter */

/* The value is a level that may fall, such as bytes in a cache: it is not added up. */
#define PERF_PKG_GAUGE		BIT(0)
/*
 * The hardware counts whether an event is scheduled or not, for the domain as a
 * whole, such as energy. Without this flag the counter counts for its events
 * between ->start() and ->stop() alone.
 */
#define PERF_PKG_FREE_RUNNING	BIT(1)
/* Read when an event is scheduled in and out, never by the timer. */
#define PERF_PKG_NO_TIMER	BIT(2)
/* There is nothing to read, only when it would have been (the engine's own). */
#define PERF_PKG_NO_VALUE	BIT(3)

/**
 * struct perf_pkg_desc - what an event monitors
 * @key:	Events with the same non-zero key share one counter, which must
 *		be a gauge or free-running. 0: the event has one of its own.
 * @flags:	PERF_PKG_GAUGE, PERF_PKG_FREE_RUNNING, PERF_PKG_NO_TIMER
 * @width:	Bits after which the hardware value wraps, 1 to 64. Unless it is
 *		a gauge, the value must not advance by half of that range or
 *		more between two reads: that is taken for a step back.
 */
struct perf_pkg_desc {
	u64		key;
	unsigned int	flags;
	unsigned int	width;
};

/**
 * struct perf_pkg_counter - one monitored quantity in all domains
 * @pp:		The PMU. Constant.
 * @slot:	Last published value of each domain, @pp's maximum of them.
 *		The array is constant.
 * @desc:	Constant
 * @mask:	Bits of a hardware value. Constant.
 * @id:		Names the counter in tracepoints. Constant.
 * @ended:	There is nothing to count any more, see perf_pkg_counter_end()
 * @ref:	One for each event that is not inherited
 * @node:	Entry in the PMU's list of counters, under its mutex
 * @rcu:	Readers of a count may be in an NMI
 *
 * A driver that needs more state puts this first in a struct of its own and
 * says how large that is in perf_pkg_pmu::counter_size.
 */
struct perf_pkg_counter {
	struct perf_pkg		*pp;
	struct perf_pkg_slot	*slot;
	struct perf_pkg_desc	desc;
	u64			mask;
	unsigned int		id;
	bool			ended;
	refcount_t		ref;
	struct list_head	node;
	struct rcu_head		rcu;
};

/**
 * struct perf_pkg_pmu - a PMU whose counters exist once per domain
 * @pmu:	For perf_pmu_register(). The driver sets @module, @attr_groups and
 *		@attr_update (its format and events), @task_ctx_nr and PERF_PMU_CAP_*
 *		flags; the engine sets all methods, but leaves a ->count() as it is.
 *		A @scope, which must be what @domain_id tells, lets tools open one
 *		event per domain: then each event reports the whole domain.
 * @domain_id:	Returns the id of the domain that @cpu is in, or -errno if it
 *		has none. Two CPUs with the same id share one copy
 *		of each counter. Must work for a CPU that is coming online.
 * @event_init:	Checks event::attr and fills in the descriptor, which comes
 *		zeroed with a width of 64. Not called for inherited events and
 *		for "age". Task context, may sleep. Returns 0 or -errno.
 * @counter_init: Optional. Gets the new @counter what it needs, from the
 *		hardware or in memory. Task context, may sleep; unless the PMU is
 *		in perf_sw_context, perhaps under the mutex of a CPU's context,
 *		so without the CPU hotplug lock. Returns 0 or -errno: -EBUSY or
 *		-ENOSPC where the hardware has no more.
 * @counter_exit: Optional. Undoes @counter_init. Task context, may sleep, perhaps
 *		under the mutex of a task's context.
 * @inherit:	Optional. @child is a task event of @counter that was inherited by a
 *		fork; its task, perf_event::hw.target, does not run yet. Task context,
 *		that of the parent, under the mutex of its context; may sleep.
 * @read:	Reads @counter in the domain of the calling CPU. Hard interrupt
 *		context or interrupts off, several CPUs of a domain at once
 *		unless the counter is a gauge or free-running. Returns 0 or
 *		-errno: then @value is ignored, the last good one stays and gets
 *		older. This counts as an error, but for -EAGAIN: the hardware
 *		has no value now and will have one later. With a maximum age,
 *		gauges and free-running counters are also read where their event
 *		is sampled, or looked at by BPF on its own CPU, but not in an NMI:
 *		that may interrupt the read of a counter that is neither.
 * @start:	Optional. @event is scheduled in on this CPU: count for it.
 *		Interrupts off, the event's context locked. Not called for events
 *		that count several domains by a @scope and config1.
 * @stop:	Optional. @event is scheduled out on this CPU.
 *		Interrupts off, the event's context locked.
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
	int		(*domain_id)(unsigned int cpu);
	int		(*event_init)(struct perf_event *event,
				      struct perf_pkg_desc *desc);
	int		(*counter_init)(struct perf_pkg_counter *counter,
					struct perf_event *event);
	void		(*counter_exit)(struct perf_pkg_counter *counter);
	void		(*inherit)(struct perf_pkg_counter *counter,
				   struct perf_event *child);
	int		(*read)(struct perf_pkg_counter *counter, u64 *value);
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

int perf_pkg_package_id(unsigned int cpu);

struct perf_pkg_counter *perf_pkg_event_counter(struct perf_event *event);
u64 perf_pkg_event_count(struct perf_event *event);
int perf_pkg_refresh(struct perf_pkg_counter *counter);
void perf_pkg_refresh_domains(struct perf_pkg_counter *counter);
void perf_pkg_counter_end(struct perf_pkg_counter *counter);

unsigned int perf_pkg_nr_domains(const struct perf_pkg_counter *counter);
int perf_pkg_domain_index(const struct perf_pkg_counter *counter);

#endif /* _LINUX_PERF_PKG_H */
