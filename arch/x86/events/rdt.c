// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cache occupancy and memory bandwidth, from Intel's Resource Director Technology (RDT)
 * and AMD's Platform Quality of Service
 *
 * The hardware counts by RMID and L3. resctrl gives RMIDs to groups of tasks and CPUs
 * and writes them to the CPUs; this PMU only reads. A CPU event monitors a group of
 * resctrl, named by the inode number of its directory, in the L3 (with Sub-NUMA
 * clusters: in the node) of its CPU:
 *
 *	resctrl/total_bytes,group=N/
 *
 * and without a group all of them together. As in mon_data, a CTRL_MON group has the
 * bytes of its MON groups as well. Here they stay counted when such a MON group is
 * removed, and what it counted before it joined is left out.
 *
 * For events of resctrl_task there is a MON group that resctrl_mon_watch_task() made, with the
 * task and those that it forks. What threads of one process use together is counted for
 * just one of their events, see struct rdt_threads.
 *
 * perf_pkg_domain::lock serialises the reads of a counter in one domain, for tasks
 * rdt_share::lock does. What is read are the MSRs, for which there is a lock in
 * __rmid_read_msrs(); the bandwidth that resctrl keeps for itself is not used, but
 * both tell each other of counters that have started again. The order of locks is
 *
 *	perf_event_context::mutex	(of a task, if an event of its is the last)
 *	perf_pkg::mutex
 *	  CPU hotplug
 *	    rdtgroup_mutex
 *	      perf_pkg_domain::lock	(in hard interrupts)
 *		rdt_share::lock
 *		  rmid_msrs::lock
 */
#include <linux/bitfield.h>
#include <linux/bitmap.h>
#include <linux/device.h>
#include <linux/find.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/perf_event.h>
#include <linux/perf_pkg.h>
#include <linux/pid.h>
#include <linux/processor.h>
#include <linux/sizes.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/string.h>
#include <linux/sysfs.h>

#include <asm/resctrl_mon.h>

#include "rdt_mbm.h"

#define RDT_INTERVAL_US		10000U

/*
 * A task's RMID is on the CPU a little before and after its events. What it counts
 * then is the task's as well. More than that, in bytes, threads have moved while their
 * events were disabled.
 */
#define RDT_SWITCH_BYTES	SZ_1M

/* Inode numbers are a part of perf_pkg_desc::key. Those of resctrl count from 1. */
#define RDT_GROUP_BITS		56

/**
 * struct rdt_share - what the RMID of some threads has counted in one domain
 * @lock:	Serialises reads of the RMID for these threads, and what follows
 * @prev:	The last read
 * @known:	There was one.
 * @off:	Events were disabled meanwhile while their tasks ran. Written by any CPU.
 * @active:	Number of the threads' events that count in the domain: those that are
 *		scheduled in, and those that have not been read since they were
 * @teller:	The counter that tells the occupancy of the domain, NULL: whoever is
 *		the next to be read
 */
struct rdt_share {
	raw_spinlock_t		lock;
	struct rdt_mbm_read	prev;
	bool			known;
	bool			off;
	unsigned int		active;
	struct rdt_counter	*teller;
} ____cacheline_aligned_in_smp;

/**
 * struct rdt_threads - the counters of several threads that have one RMID
 * @node:	Entry in the list of all. This and the next two are under
 *		perf_pkg::mutex.
 * @counters:	One for each of the threads. What the RMID counts while any of
 *		their events is scheduled in is added to the one that is read
 *		next, so that the sum of all is right, and each of them if
 *		they take turns.
 * @of_cpus:	Their events are for one CPU each. Constant, as is the next one.
 * @config1:	The domains that they select
 * @share:	For each domain
 */
struct rdt_threads {
	struct list_head	node;
	struct list_head	counters;
	bool			of_cpus;
	u64			config1;
	struct rdt_share	share[];
};

/**
 * struct rdt_use - how a counter of a task uses what its RMID has counted in a domain
 * @active:	Number of its events, with those inherited, that are scheduled in
 * @unread:	Number of those that are not any more since the last read
 *
 * Under rdt_share::lock.
 */
struct rdt_use {
	unsigned int	active;
	unsigned int	unread;
};

/**
 * struct rdt_counter - a counter of a group, of all groups, or of a task
 * @counter:	The engine's
 * @set:	The RMIDs to read
 * @event:	Constant
 * @mbm:	For each domain: what the group has moved. This is for bandwidth
 *		events; under perf_pkg_domain::lock, of tasks rdt_share::lock.
 * @nr_prev:	How many of @prev a domain has. Constant. This and the next two are
 *		for groups.
 * @prev:	For each domain and each RMID, or the only one there is: the last read
 * @known:	For each domain: the RMIDs that are in the group since the last read,
 *		so that @prev has a value for them
 * @threads:	NULL unless it is the counter of a task. Constant.
 * @sibling:	Entry in rdt_threads::counters
 * @pid:	The task. Constant.
 * @cpu:	The only CPU where it is counted, -1: on all. Constant.
 * @use:	For each domain, NULL unless it is bandwidth of a task
 */
struct rdt_counter {
	struct perf_pkg_counter	counter;
	struct resctrl_mon_set	set;
	enum resctrl_event_id	event;
	struct rdt_mbm		*mbm;

	unsigned int		nr_prev;
	struct rdt_mbm_read	*prev;
	unsigned long		*known;

	struct rdt_threads	*threads;
	struct list_head	sibling;
	struct pid		*pid;
	int			cpu;
	struct rdt_use		*use;
};

static struct resctrl_mon_info rdt_info __ro_after_init;

/* Under perf_pkg::mutex */
static LIST_HEAD(rdt_all_threads);

static struct rdt_counter *to_rdt_counter(struct perf_pkg_counter *counter)
{
	return container_of(counter, struct rdt_counter, counter);
}

/* Reading, with interrupts off */

/* The first one that is not below @rmid */
static u32 rdt_next_rmid(const struct rdt_counter *rc, u32 rmid)
{
	/* Bits of RMIDs change all the time, each at once. */
	return data_race(find_next_bit(rc->set.rmids, rdt_info.num_rmid, rmid));
}

/*
 * As in mon_data, there is a value if any of the RMIDs has one. Those that the hardware
 * does not track now occupy what it does not know.
 */
static int rdt_read_occupancy(struct rdt_counter *rc, u64 *value)
{
	u64 chunks, sum = 0;
	int ret, err = -EAGAIN;
	u32 rmid, restarts;

	for (rmid = rdt_next_rmid(rc, 0); rmid < rdt_info.num_rmid;
	     rmid = rdt_next_rmid(rc, rmid + 1)) {
		ret = resctrl_mon_read(rmid, rc->event, &chunks, &restarts);
		if (ret == -ENODATA)
			continue;
		if (ret)
			return ret;
		sum += chunks;
		err = 0;
	}
	*value = sum * rdt_info.scale;

	return err;
}

/*
 * What a bandwidth counter says. -ENODATA: it has lost what it said, and when there is a
 * value again, that will be what was counted from now on. -EAGAIN: it has none just now.
 */
static int rdt_read_now(const struct rdt_counter *rc, u32 rmid, struct rdt_mbm_read *now)
{
	int ret = resctrl_mon_read(rmid, rc->event, &now->chunks, &now->restarts);

	if (ret != -ENODATA)
		return ret;

	now->chunks = 0;

	return rdt_info.restarts ? -ENODATA : -EAGAIN;
}

static unsigned long *rdt_known(struct rdt_counter *rc, unsigned int domain)
{
	return rc->known + domain * BITS_TO_LONGS(rdt_info.num_rmid);
}

/* Like rdt_next_rmid(), of those that are in the group or were when it was last read */
static u32 rdt_next_of_both(struct rdt_counter *rc, unsigned int domain, u32 rmid)
{
	/* See there. */
	return data_race(find_next_or_bit(rc->set.rmids, rdt_known(rc, domain),
					  rdt_info.num_rmid, rmid));
}

/* Adds what the RMID has counted since the last read, if it was in the group then. */
static int rdt_read_rmid(struct rdt_counter *rc, unsigned int domain, u32 rmid)
{
	struct rdt_mbm_read *prev = rc->prev + domain * rc->nr_prev +
				    (rc->set.single ? 0 : rmid);
	struct rdt_mbm_read now;
	unsigned long *known = rdt_known(rc, domain);
	bool member = test_bit(rmid, rc->set.rmids), was_known = test_bit(rmid, known);
	int ret;

	/* After it left it is read just once, with or without success. */
	if (!member)
		__clear_bit(rmid, known);

	ret = rdt_read_now(rc, rmid, &now);
	if (ret && ret != -ENODATA)
		return ret == -EAGAIN ? -ENODATA : ret;

	if (!ret && was_known)
		rdt_mbm_add(&rdt_info, &rc->mbm[domain], rmid,
			    rdt_mbm_moved(&rdt_info, prev, &now));
	*prev = now;
	if (member)
		__set_bit(rmid, known);

	return ret;
}

static int rdt_read_group_bytes(struct rdt_counter *rc, unsigned int domain, u64 *value)
{
	int ret, err = -EAGAIN;
	u32 rmid;

	for (rmid = rdt_next_of_both(rc, domain, 0); rmid < rdt_info.num_rmid;
	     rmid = rdt_next_of_both(rc, domain, rmid + 1)) {
		ret = rdt_read_rmid(rc, domain, rmid);
		if (ret && ret != -ENODATA)
			return ret;
		if (!ret)
			err = 0;
	}
	*value = rdt_mbm_bytes(&rdt_info, &rc->mbm[domain]);

	return err;
}

/* Reads of tasks, with rdt_share::lock held */

/*
 * Adds what the RMID has counted since the last read, for whomever that was, unless it
 * is more than @most chunks. -ENODATA: the hardware has no value, but nothing is
 * missed.
 */
static int rdt_read_share(struct rdt_counter *rc, unsigned int domain, u64 most)
{
	struct rdt_share *share = &rc->threads->share[domain];
	u32 rmid = rc->set.rmid;
	bool gone = !test_bit(rmid, rc->set.rmids);
	struct rdt_mbm_read now;
	u64 moved = 0;
	int ret;

	lockdep_assert_held(&share->lock);

	/* This was read for the last time. It may be the RMID of others already. */
	if (gone && !share->known)
		return 0;

	ret = rdt_read_now(rc, rmid, &now);
	if (ret && ret != -ENODATA)
		return ret;

	if (!ret && share->known)
		moved = rdt_mbm_moved(&rdt_info, &share->prev, &now);
	if (moved <= most)
		rdt_mbm_add(&rdt_info, &rc->mbm[domain], rmid, moved);
	share->prev = now;
	share->known = !gone;

	return ret;
}

static int rdt_read_task_bytes(struct rdt_counter *rc, unsigned int domain, u64 *value)
{
	struct rdt_share *share = &rc->threads->share[domain];
	struct rdt_use *use = &rc->use[domain];
	int ret = 0;

	guard(raw_spinlock)(&share->lock);

	if (use->active || use->unread)
		ret = rdt_read_share(rc, domain, U64_MAX);
	if (ret && ret != -ENODATA)
		return ret;

	share->active -= use->unread;
	use->unread = 0;
	*value = rdt_mbm_bytes(&rdt_info, &rc->mbm[domain]);

	return ret ? -EAGAIN : 0;
}

/* One of the counters tells the level, for all. */
static int rdt_read_task_occupancy(struct rdt_counter *rc, unsigned int domain, u64 *value)
{
	struct rdt_share *share = &rc->threads->share[domain];

	guard(raw_spinlock)(&share->lock);

	if (!share->teller)
		share->teller = rc;
	if (share->teller == rc)
		return rdt_read_occupancy(rc, value);

	*value = 0;

	return 0;
}

static int rdt_read(struct perf_pkg_counter *counter, u64 *value)
{
	struct rdt_counter *rc = to_rdt_counter(counter);
	bool level = rc->event == QOS_L3_OCCUP_EVENT_ID;
	int domain = perf_pkg_domain_index(counter);

	if (domain < 0)
		return domain;

	if (rc->threads)
		return level ? rdt_read_task_occupancy(rc, domain, value) :
			       rdt_read_task_bytes(rc, domain, value);

	return level ? rdt_read_occupancy(rc, value) : rdt_read_group_bytes(rc, domain, value);
}

/*
 * For how long the event was disabled while its context was in use, in ns: does not
 * change while the event is enabled.
 */
static u64 rdt_time_off(const struct perf_event *event)
{
	return event->tstamp - event->total_time_enabled;
}

/* Whether the task was running since rdt_stop(), with the event disabled */
static bool rdt_was_off(const struct perf_event *event)
{
	return event->hw.config && event->hw.config != rdt_time_off(event) + 1;
}

/* What the task has moved meanwhile, in whatever domain, is nobody's. */
static void rdt_mark_off(struct rdt_counter *rc)
{
	unsigned int i, nr = perf_pkg_nr_domains(&rc->counter);

	for (i = 0; i < nr; i++)
		WRITE_ONCE(rc->threads->share[i].off, true);
}

/* Where the bandwidth of a task is counted from here on, negative: it is not */
static int rdt_task_domain(const struct rdt_counter *rc)
{
	return rc->use ? perf_pkg_domain_index(&rc->counter) : -ENODEV;
}

/* A task is scheduled in. */
static void rdt_start(struct perf_pkg_counter *counter, struct perf_event *event)
{
	struct rdt_counter *rc = to_rdt_counter(counter);
	int ret, domain = rdt_task_domain(rc);
	struct rdt_share *share;

	if (domain < 0)
		return;

	share = &rc->threads->share[domain];
	if (rdt_was_off(event))
		rdt_mark_off(rc);

	guard(raw_spinlock)(&share->lock);

	rc->use[domain].active++;
	if (share->active++)
		return;

	if (READ_ONCE(share->off)) {
		WRITE_ONCE(share->off, false);
		share->known = false;
	}
	ret = rdt_read_share(rc, domain, DIV_ROUND_UP(RDT_SWITCH_BYTES, rdt_info.scale));
	if (ret && ret != -ENODATA)
		share->known = false;
}

/* It is scheduled out, and read next. */
static void rdt_stop(struct perf_pkg_counter *counter, struct perf_event *event)
{
	struct rdt_counter *rc = to_rdt_counter(counter);
	int domain = rdt_task_domain(rc);

	if (domain < 0)
		return;

	event->hw.config = rdt_time_off(event) + 1;

	guard(raw_spinlock)(&rc->threads->share[domain].lock);

	rc->use[domain].active--;
	rc->use[domain].unread++;
}

/* Counters */

/* An RMID that left, or is about to be freed, is read for the last time, everywhere. */
static void rdt_set_changed(struct resctrl_mon_set *set, bool gone)
{
	struct rdt_counter *rc = container_of(set, struct rdt_counter, set);

	perf_pkg_refresh_domains(&rc->counter);
	if (gone)
		perf_pkg_counter_end(&rc->counter);
}

static void rdt_free(struct rdt_counter *rc)
{
	kvfree(rc->known);
	kvfree(rc->prev);
	kvfree(rc->use);
	kvfree(rc->mbm);
}

static int rdt_alloc(struct rdt_counter *rc, bool task)
{
	unsigned int nr = perf_pkg_nr_domains(&rc->counter);

	if (rc->event == QOS_L3_OCCUP_EVENT_ID)
		return 0;

	rc->mbm = kvcalloc(nr, sizeof(*rc->mbm), GFP_KERNEL);
	if (task) {
		rc->use = kvcalloc(nr, sizeof(*rc->use), GFP_KERNEL);
		if (rc->mbm && rc->use)
			return 0;
	} else {
		rc->nr_prev = rc->set.single ? 1 : rdt_info.num_rmid;
		rc->prev = kvcalloc(nr, rc->nr_prev * sizeof(*rc->prev), GFP_KERNEL);
		rc->known = kvcalloc(nr, BITS_TO_LONGS(rdt_info.num_rmid) * sizeof(*rc->known),
				     GFP_KERNEL);
		if (rc->mbm && rc->prev && rc->known)
			return 0;
	}
	rdt_free(rc);

	return -ENOMEM;
}

static bool rdt_has_alike(const struct rdt_threads *threads, const struct rdt_counter *rc)
{
	const struct rdt_counter *other;

	list_for_each_entry(other, &threads->counters, sibling) {
		if (other->pid == rc->pid && other->cpu == rc->cpu)
			return true;
	}

	return false;
}

/*
 * The counters of other threads that this one shares its RMID with. Who opens an
 * event twice for a thread gets all of it twice.
 */
static struct rdt_threads *
rdt_find_threads(const struct rdt_counter *rc, const struct perf_event *event)
{
	const struct rdt_counter *first;
	struct rdt_threads *threads;
	bool of_cpus = rc->cpu >= 0;

	list_for_each_entry(threads, &rdt_all_threads, node) {
		first = list_first_entry(&threads->counters, struct rdt_counter, sibling);
		if (first->set.tasks == rc->set.tasks && first->event == rc->event &&
		    threads->of_cpus == of_cpus &&
		    threads->config1 == event->attr.config1 && !rdt_has_alike(threads, rc))
			return threads;
	}

	return NULL;
}

static int rdt_join_threads(struct rdt_counter *rc, struct perf_event *event)
{
	unsigned int i, nr = perf_pkg_nr_domains(&rc->counter);
	struct rdt_threads *threads;

	rc->pid = get_task_pid(event->hw.target, PIDTYPE_PID);
	rc->cpu = event->cpu;
	threads = rdt_find_threads(rc, event);
	if (!threads) {
		threads = kvzalloc(struct_size(threads, share, nr), GFP_KERNEL);
		if (!threads) {
			put_pid(rc->pid);
			return -ENOMEM;
		}
		INIT_LIST_HEAD(&threads->counters);
		threads->of_cpus = rc->cpu >= 0;
		threads->config1 = event->attr.config1;
		for (i = 0; i < nr; i++)
			raw_spin_lock_init(&threads->share[i].lock);
		list_add_tail(&threads->node, &rdt_all_threads);
	}
	list_add_tail(&rc->sibling, &threads->counters);
	rc->threads = threads;

	return 0;
}

/* The counter is not read any more. */
static void rdt_leave_share(struct rdt_counter *rc, unsigned int domain)
{
	struct rdt_share *share = &rc->threads->share[domain];

	guard(raw_spinlock_irqsave)(&share->lock);

	if (rc->use)
		share->active -= rc->use[domain].active + rc->use[domain].unread;
	if (share->teller == rc)
		share->teller = NULL;
}

static void rdt_leave_threads(struct rdt_counter *rc)
{
	unsigned int i, nr = perf_pkg_nr_domains(&rc->counter);

	for (i = 0; i < nr; i++)
		rdt_leave_share(rc, i);
	put_pid(rc->pid);
	list_del(&rc->sibling);
	if (!list_empty(&rc->threads->counters))
		return;

	list_del(&rc->threads->node);
	kvfree(rc->threads);
}

static int rdt_counter_init(struct perf_pkg_counter *counter, struct perf_event *event)
{
	struct rdt_counter *rc = to_rdt_counter(counter);
	struct task_struct *task = event->hw.target;
	int ret;

	rc->event = event->attr.config;
	rc->set.changed = rdt_set_changed;
	if (task)
		ret = resctrl_mon_watch_task(&rc->set, task);
	else
		ret = resctrl_mon_watch(&rc->set, event->attr.config2);
	if (ret)
		return ret;

	ret = rdt_alloc(rc, task);
	if (ret)
		goto unwatch;

	ret = task ? rdt_join_threads(rc, event) : 0;
	if (ret)
		goto free;

	return 0;

free:
	rdt_free(rc);
unwatch:
	resctrl_mon_unwatch(&rc->set);
	return ret;
}

static void rdt_counter_exit(struct perf_pkg_counter *counter)
{
	struct rdt_counter *rc = to_rdt_counter(counter);

	resctrl_mon_unwatch(&rc->set);
	if (rc->threads)
		rdt_leave_threads(rc);
	rdt_free(rc);
}

static void rdt_inherit(struct perf_pkg_counter *counter, struct perf_event *child)
{
	resctrl_mon_inherit(&to_rdt_counter(counter)->set, child->hw.target);
}

static bool rdt_is_event(u64 config)
{
	return config < BITS_PER_LONG && rdt_info.events & BIT(config);
}

static int rdt_event_init(struct perf_event *event, struct perf_pkg_desc *desc)
{
	u64 group = event->attr.config2;

	if (!rdt_is_event(event->attr.config) || event->attr.config1 || event->attr.config3)
		return -EINVAL;

	if (group >> RDT_GROUP_BITS)
		return -ESTALE;

	desc->key = group << 8 | event->attr.config;
	desc->level = event->attr.config == QOS_L3_OCCUP_EVENT_ID;

	return 0;
}

static int rdt_task_event_init(struct perf_event *event, struct perf_pkg_desc *desc)
{
	if (!rdt_is_event(event->attr.config) || event->attr.config2 || event->attr.config3)
		return -EINVAL;

	/* resctrl waits for kernel threads. */
	if (!(event->attach_state & PERF_ATTACH_TASK) || event->hw.target->flags & PF_KTHREAD)
		return -EINVAL;

	/* There are few RMIDs, for all users. */
	if (!perfmon_capable())
		return -EACCES;

	desc->level = event->attr.config == QOS_L3_OCCUP_EVENT_ID;

	return 0;
}

/* sysfs */

PMU_FORMAT_ATTR(event, "config:0-7");
PMU_FORMAT_ATTR(group, "config2:0-63");

static struct attribute *rdt_format_attrs[] = {
	&format_attr_event.attr,
	&format_attr_group.attr,
	NULL,
};

static const struct attribute_group rdt_format_group = {
	.name	= "format",
	.attrs	= rdt_format_attrs,
};

static struct attribute *rdt_task_format_attrs[] = {
	&format_attr_event.attr,
	NULL,
};

static const struct attribute_group rdt_task_format_group = {
	.name	= "format",
	.attrs	= rdt_task_format_attrs,
};

/* Like the string of perf_event_sysfs_show(), but libvirt wants .scale without a newline. */
static ssize_t rdt_scale_show(struct device *dev, struct device_attribute *attr, char *buf)
{
	return strscpy(buf, "1", PAGE_SIZE);
}

PMU_EVENT_ATTR_STRING(llc_occupancy, rdt_occupancy, "event=0x01");
PMU_EVENT_ATTR_STRING(llc_occupancy.unit, rdt_occupancy_unit, "Bytes");
static struct device_attribute rdt_occupancy_scale =
	__ATTR(llc_occupancy.scale, 0444, rdt_scale_show, NULL);

PMU_EVENT_ATTR_STRING(total_bytes, rdt_total, "event=0x02");
PMU_EVENT_ATTR_STRING(total_bytes.unit, rdt_total_unit, "Bytes");
static struct device_attribute rdt_total_scale =
	__ATTR(total_bytes.scale, 0444, rdt_scale_show, NULL);

PMU_EVENT_ATTR_STRING(local_bytes, rdt_local, "event=0x03");
PMU_EVENT_ATTR_STRING(local_bytes.unit, rdt_local_unit, "Bytes");
static struct device_attribute rdt_local_scale =
	__ATTR(local_bytes.scale, 0444, rdt_scale_show, NULL);

PMU_EVENT_ATTR_STRING(llc_occupancy.snapshot, rdt_occupancy_snapshot, "1");

static struct attribute *rdt_occupancy_attrs[] = {
	&rdt_occupancy.attr.attr,
	&rdt_occupancy_unit.attr.attr,
	&rdt_occupancy_scale.attr,
	&rdt_occupancy_snapshot.attr.attr,
	NULL,
};

static struct attribute *rdt_total_attrs[] = {
	&rdt_total.attr.attr,
	&rdt_total_unit.attr.attr,
	&rdt_total_scale.attr,
	NULL,
};

static struct attribute *rdt_local_attrs[] = {
	&rdt_local.attr.attr,
	&rdt_local_unit.attr.attr,
	&rdt_local_scale.attr,
	NULL,
};

#define RDT_EVENT_GROUP(_name, _id)							\
static umode_t rdt_##_name##_visible(struct kobject *kobj, struct attribute *attr, int i) \
{											\
	return rdt_info.events & BIT(_id) ? attr->mode : 0;				\
}											\
											\
static const struct attribute_group rdt_##_name##_group = {				\
	.name		= "events",							\
	.attrs		= rdt_##_name##_attrs,						\
	.is_visible	= rdt_##_name##_visible,					\
}

RDT_EVENT_GROUP(occupancy, QOS_L3_OCCUP_EVENT_ID);
RDT_EVENT_GROUP(total, QOS_L3_MBM_TOTAL_EVENT_ID);
RDT_EVENT_GROUP(local, QOS_L3_MBM_LOCAL_EVENT_ID);

static struct attribute *rdt_no_attrs[] = {
	NULL,
};

/* Those of attr_update can only add to an existing directory. */
static const struct attribute_group rdt_events_group = {
	.name	= "events",
	.attrs	= rdt_no_attrs,
};

static const struct attribute_group *rdt_attr_groups[] = {
	&rdt_format_group,
	&rdt_events_group,
	NULL,
};

static const struct attribute_group *rdt_task_attr_groups[] = {
	&rdt_task_format_group,
	&rdt_events_group,
	NULL,
};

static const struct attribute_group *rdt_attr_update[] = {
	PERF_PKG_ATTR_GROUPS,
	&rdt_occupancy_group,
	&rdt_total_group,
	&rdt_local_group,
	NULL,
};

/* Initialisation */

static struct perf_pkg_pmu rdt_pmu = {
	.pmu = {
		.task_ctx_nr	= perf_invalid_context,
		.attr_groups	= rdt_attr_groups,
		.attr_update	= rdt_attr_update,
	},
	.counts_domains	= true,
	.domain_id	= resctrl_mon_domain_id,
	.event_init	= rdt_event_init,
	.counter_init	= rdt_counter_init,
	.counter_exit	= rdt_counter_exit,
	.read		= rdt_read,
	.counter_size	= sizeof(struct rdt_counter),
};

static struct perf_pkg_pmu rdt_task_pmu = {
	.pmu = {
		.task_ctx_nr	= perf_sw_context,
		.attr_groups	= rdt_task_attr_groups,
		.attr_update	= rdt_attr_update,
	},
	.domain_id	= resctrl_mon_domain_id,
	.event_init	= rdt_task_event_init,
	.counter_init	= rdt_counter_init,
	.counter_exit	= rdt_counter_exit,
	.inherit	= rdt_inherit,
	.read		= rdt_read,
	.start		= rdt_start,
	.stop		= rdt_stop,
	.counter_size	= sizeof(struct rdt_counter),
};

static int __init rdt_pmu_init(void)
{
	int ret;

	ret = resctrl_mon_get_info(&rdt_info);
	if (ret)
		return ret;

	/* Bandwidth counters wrap. */
	rdt_pmu.max_interval_us = clamp_t(u64, rdt_mbm_max_interval_us(&rdt_info),
					  PERF_PKG_INTERVAL_MIN_US, PERF_PKG_INTERVAL_MAX_US);
	rdt_pmu.interval_us = min(rdt_pmu.max_interval_us, RDT_INTERVAL_US);
	rdt_task_pmu.max_interval_us = rdt_pmu.max_interval_us;
	rdt_task_pmu.interval_us = rdt_pmu.interval_us;

	ret = perf_pkg_register(&rdt_pmu, "resctrl");
	if (ret)
		return ret;

	return perf_pkg_register(&rdt_task_pmu, "resctrl_task");
}

/* After resctrl's late_initcall */
late_initcall_sync(rdt_pmu_init);
