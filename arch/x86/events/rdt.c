// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cache occupancy and memory bandwidth, from Intel's Resource Director Technology (RDT)
 * and AMD's Platform Quality of Service
 *
 * The hardware counts by RMID and L3. resctrl gives RMIDs to its groups, and writes them
 * to the CPUs; this PMU only reads. An event monitors a group, named by its open
 * directory, or all groups together, in the L3 (with Sub-NUMA clusters: in the node) of
 * its CPU:
 *
 *	resctrl/total_bytes,fd=N/
 *	resctrl/total_bytes/
 *
 * Each register, which is an RMID's counter in one domain, is read at most once in a pass
 * of the timer, whoever contains it. What it has moved since the last read is added to the
 * sums of its control group and of all groups:
 *
 *	RMID 5, a MON group of --.
 *	                          +--> rdt_reg[3]::group, rdt_reg[rdt_num_rmid]::group
 *	RMID 3, a control group -'
 *
 * So a MON group that is removed, or moved away, leaves its bytes where it was, and brings
 * none along. An occupancy goes with its group.
 *
 * A counter of one RMID is read at once. The engine sweeps those of more, a register at a
 * time, see perf_pkg_pmu::sweep.
 *
 * Registers exist from the first event on until the last one is closed. An RMID that gets
 * a group meanwhile begins with its first read there, if resctrl does not reset its counter
 * before that.
 *
 * perf_pkg_domain::lock protects the registers of a domain, rdtgroup_mutex the rest: the
 * parents of RMIDs change under both of them. The order of locks is
 *
 *	perf_event_context::mutex
 *	  perf_pkg::mutex
 *	    rdtgroup_mutex		(CPU hotplug, if at all, is locked before)
 *	      perf_pkg_domain::lock	(in hard interrupts)
 *		rdt_hw_mon_domain::lock
 */
#include <linux/delay.h>
#include <linux/init.h>
#include <linux/kernfs.h>
#include <linux/limits.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/mutex.h>
#include <linux/perf_event.h>
#include <linux/perf_pkg.h>
#include <linux/printk.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/sysfs.h>

#include <asm/resctrl_mon.h>

#include "rdt.h"

/* How many registers of others a step of a sweep may pass by */
#define RDT_SWEEP_STEP		64U
#define RDT_NR_EVENTS		QOS_L3_MBM_LOCAL_EVENT_ID

/**
 * struct rdt_reg - a counter of an RMID in one domain, and what its group has counted
 * @seen:	Value of the last read, in bytes
 * @group:	If it is that of a control group, or if it stands for all groups: what the
 *		RMIDs with this @parent have moved while they had it, or what they occupy
 * @stamp:	When it was read, or what ->sweep() took for that
 * @parent:	RMID of the control group
 * @nr:		Number of RMIDs that have this one as their @parent. The same in all
 *		domains but while that changes; is read without the lock.
 * @used:	The RMID belongs to a group.
 * @known:	It did when it was read.
 */
struct rdt_reg {
	u64	seen;
	u64	group;
	u64	stamp;
	u16	parent;
	u16	nr;
	bool	used;
	bool	known;
};

/**
 * struct rdt_sweep - how far a counter is read in a domain
 * @since:	Which sweep this is
 * @next:	The next RMID to look at
 * @valid:	A register had a value.
 */
struct rdt_sweep {
	u64	since;
	u32	next;
	bool	valid;
};

/**
 * struct rdt_counter - a counter of a group, or of all groups
 * @counter:	The engine's
 * @event:	Constant, as is the rest
 * @rmid:	That of the group, rdt_num_rmid: all
 * @is_mon_group: It has no MON groups and never will.
 * @node:	Entry in rdt_counters
 * @sweep:	For each domain, under its lock
 */
struct rdt_counter {
	struct perf_pkg_counter	counter;
	enum resctrl_event_id	event;
	u32			rmid;
	bool			is_mon_group;
	struct list_head	node;
	struct rdt_sweep	*sweep;
};

static unsigned long rdt_events __ro_after_init;
static u32 rdt_num_rmid __ro_after_init;

/*
 * By domain, event and RMID; the last one of each event stands for all groups. NULL: there
 * are no counters. Under rdtgroup_mutex, is read while there is one.
 */
static struct rdt_reg *rdt_regs;

/* Under rdtgroup_mutex */
static LIST_HEAD(rdt_counters);

static struct perf_pkg_pmu rdt_pmu;

static struct rdt_counter *to_rdt_counter(const struct perf_pkg_counter *counter)
{
	return container_of(counter, struct rdt_counter, counter);
}

static struct rdt_reg *rdt_get_regs(unsigned int domain, enum resctrl_event_id event)
{
	return rdt_regs + (domain * RDT_NR_EVENTS + event - 1) * (rdt_num_rmid + 1);
}

/* Reading, with the domain locked */

/* -EINVAL: the hardware has no value of a bandwidth now. What it does not track is not there. */
static int rdt_read_reg(struct rdt_reg *regs, u32 rmid, enum resctrl_event_id event, u64 stamp)
{
	bool level = event == QOS_L3_OCCUP_EVENT_ID;
	struct rdt_reg *reg = &regs[rmid];
	u64 val, delta;
	int ret;

	ret = resctrl_arch_mon_read(rmid, event, &val);
	if (ret == -EINVAL && level)
		val = 0;
	else if (ret)
		return ret;

	/* Bandwidth starts anew with its domain, from what is left in the register. */
	delta = level || val >= reg->seen ? val - reg->seen : 0;
	if (level || reg->known) {
		regs[reg->parent].group += delta;
		regs[rdt_num_rmid].group += delta;
	}
	reg->seen = val;
	reg->known = true;
	reg->stamp = stamp;

	return 0;
}

static bool rdt_is_swept(const struct perf_pkg_counter *counter)
{
	const struct rdt_counter *rc = to_rdt_counter(counter);

	return READ_ONCE(rdt_get_regs(0, rc->event)[rc->rmid].nr) > 1;
}

/* Of a counter with one RMID */
static int rdt_read_single(struct rdt_counter *rc, struct rdt_reg *regs, u64 since)
{
	u32 rmid = rc->rmid == rdt_num_rmid ? RESCTRL_RESERVED_RMID : rc->rmid;
	int ret;

	if (regs[rmid].stamp >= since)
		return 0;

	ret = rdt_read_reg(regs, rmid, rc->event, since);

	return ret == -EINVAL ? -EAGAIN : ret;
}

static int rdt_sweep(struct perf_pkg_counter *counter, unsigned int domain, u64 since)
{
	struct rdt_counter *rc = to_rdt_counter(counter);
	struct rdt_reg *regs = rdt_get_regs(domain, rc->event);
	unsigned int left = RDT_SWEEP_STEP;
	struct rdt_sweep *sweep;
	int ret;

	if (!rdt_is_swept(counter))
		return rdt_read_single(rc, regs, since);

	sweep = &rc->sweep[domain];
	if (sweep->since != since)
		*sweep = (struct rdt_sweep){ .since = since };

	for (; sweep->next < rdt_num_rmid; sweep->next++) {
		struct rdt_reg *reg = &regs[sweep->next];

		if (!left--)
			return -EINPROGRESS;
		if (!reg->used || (rc->rmid != rdt_num_rmid && reg->parent != rc->rmid))
			continue;
		if (reg->stamp < since) {
			ret = rdt_read_reg(regs, sweep->next, rc->event, since);
			if (ret == -EAGAIN)
				return -EINPROGRESS;
			if (ret && ret != -EINVAL)
				return ret;
			left = 0;
		}
		sweep->valid |= reg->stamp >= since;
	}

	return sweep->valid ? 0 : -EAGAIN;
}

static int rdt_read(struct perf_pkg_counter *counter, unsigned int domain, u64 *value)
{
	struct rdt_counter *rc = to_rdt_counter(counter);
	struct rdt_reg *reg = &rdt_get_regs(domain, rc->event)[rc->rmid];

	*value = rc->is_mon_group ? reg->seen : reg->group;

	return 0;
}

/* Groups change, with rdtgroup_mutex held */

#define RDT_NO_PARENT		U32_MAX

struct rdt_change {
	u32	rmid;
	u32	parent;
};

static void rdt_add_to(struct rdt_reg *group, int nr, u64 occupancy)
{
	WRITE_ONCE(group->nr, group->nr + nr);
	group->group += occupancy;
}

static void rdt_change_reg(struct rdt_reg *regs, u32 rmid, u32 parent, bool level)
{
	struct rdt_reg *reg = &regs[rmid], *all = &regs[rdt_num_rmid];
	u64 occupancy = level ? reg->seen : 0;

	if (reg->used) {
		rdt_add_to(&regs[reg->parent], -1, -occupancy);
		rdt_add_to(all, -1, -occupancy);
	}
	reg->used = parent != RDT_NO_PARENT;
	if (reg->used) {
		reg->parent = parent;
		rdt_add_to(&regs[parent], 1, occupancy);
		rdt_add_to(all, 1, occupancy);
	} else {
		reg->known = false;
		reg->seen = 0;
	}
}

static void rdt_change_domain(unsigned int domain, bool here, void *arg)
{
	const struct rdt_change *change = arg;
	enum resctrl_event_id event;

	for (event = QOS_L3_OCCUP_EVENT_ID; event <= RDT_NR_EVENTS; event++) {
		struct rdt_reg *regs = rdt_get_regs(domain, event);
		bool level = event == QOS_L3_OCCUP_EVENT_ID;

		/* What was moved up to now stays with the groups that the RMID leaves. */
		if (here && !level && regs[change->rmid].known)
			rdt_read_reg(regs, change->rmid, event, regs[change->rmid].stamp);
		rdt_change_reg(regs, change->rmid, change->parent, level);
	}
}

/* @there: by interrupts to all domains, which read the RMID for the last time */
static void rdt_change(u32 rmid, u32 parent, bool there)
{
	struct rdt_change change = { .rmid = rmid, .parent = parent };

	if (rdt_regs)
		perf_pkg_call_domains(&rdt_pmu, there, rdt_change_domain, &change);
}

struct rdt_reset {
	u32			rmid;
	enum resctrl_event_id	event;
};

static void rdt_reset_reg(unsigned int domain, bool here, void *arg)
{
	const struct rdt_reset *reset = arg;
	struct rdt_reg *regs = rdt_get_regs(domain, reset->event);

	rdt_read_reg(regs, reset->rmid, reset->event, regs[reset->rmid].stamp);
}

/* In the domain of this CPU. rdtgroup_mutex is held by whoever waits for this. */
void resctrl_mon_rmid_reset(u32 rmid, enum resctrl_event_id event)
{
	struct rdt_reset reset = { .rmid = rmid, .event = event };

	if (rdt_regs)
		perf_pkg_call_domain(&rdt_pmu, rdt_reset_reg, &reset);
}

/* Nobody runs with it yet. */
void resctrl_mon_rmid_joined(u32 rmid, u32 parent)
{
	rdt_change(rmid, parent, false);
}

void resctrl_mon_rmid_moved(u32 rmid, u32 parent)
{
	rdt_change(rmid, parent, true);
}

/* Nobody runs with it any more. */
void resctrl_mon_rmid_freed(u32 rmid)
{
	struct rdt_counter *rc;

	list_for_each_entry(rc, &rdt_counters, node) {
		if (rc->rmid == rmid)
			perf_pkg_counter_end(&rc->counter);
	}
	rdt_change(rmid, RDT_NO_PARENT, true);
}

/* Counters */

static int rdt_alloc_regs(unsigned int nr_domains)
{
	rdt_regs = kvcalloc(nr_domains * RDT_NR_EVENTS, (rdt_num_rmid + 1) * sizeof(*rdt_regs),
			    GFP_KERNEL);
	if (!rdt_regs)
		return -ENOMEM;

	resctrl_mon_visit_groups(resctrl_mon_rmid_joined);

	return 0;
}

static int rdt_counter_init(struct perf_pkg_counter *counter, struct perf_event *event)
{
	unsigned int nr_domains = counter->nr_domains;
	struct rdt_counter *rc = to_rdt_counter(counter);
	struct kernfs_node *kn = counter->desc.object;
	int ret;

	rc->event = event->attr.config;
	rc->rmid = rdt_num_rmid;
	rc->sweep = kvcalloc(nr_domains, sizeof(*rc->sweep), GFP_KERNEL);
	if (!rc->sweep)
		return -ENOMEM;

	/* Who holds it may wait for a CPU's context (pseudo-lock), whose owner waits for us. */
	if (!mutex_trylock(&rdtgroup_mutex)) {
		fsleep(1000);
		ret = restart_syscall();
		goto free;
	}

	if (kn)
		ret = resctrl_mon_find_group(kn, &rc->rmid, &rc->is_mon_group);
	if (ret)
		pr_info_ratelimited("perf: resctrl: fd=%llu is not a group, or a pseudo-locked one\n",
				    event->attr.config1);
	else if (!rdt_regs)
		ret = rdt_alloc_regs(nr_domains);
	if (!ret)
		list_add_tail(&rc->node, &rdt_counters);
	mutex_unlock(&rdtgroup_mutex);
	if (!ret)
		return 0;

free:
	kvfree(rc->sweep);
	return ret;
}

static void rdt_counter_exit(struct perf_pkg_counter *counter)
{
	struct rdt_counter *rc = to_rdt_counter(counter);

	mutex_lock(&rdtgroup_mutex);
	list_del(&rc->node);
	if (list_empty(&rdt_counters)) {
		kvfree(rdt_regs);
		rdt_regs = NULL;
	}
	mutex_unlock(&rdtgroup_mutex);

	kvfree(rc->sweep);
}

/* Says why, to those whom the core will not refuse later: the log is not for everybody. */
#define rdt_refused(fmt, ...)							\
do {										\
	if (!perf_allow_cpu())							\
		pr_info_ratelimited("perf: resctrl: " fmt "\n", ##__VA_ARGS__);	\
} while (0)

/* What both PMUs refuse: 0, or -errno */
int rdt_event_check(struct perf_event *event, struct perf_pkg_desc *desc)
{
	struct perf_event *leader = event->group_leader;
	u64 config = event->attr.config;

	if (config > RDT_NR_EVENTS || !(rdt_events & BIT(config)) ||
	    event->attr.config2 || event->attr.config3)
		return -EINVAL;

	desc->level = config == QOS_L3_OCCUP_EVENT_ID;
	if (!desc->level || leader == event || !is_sampling_event(leader) ||
	    !(leader->attr.sample_type & PERF_SAMPLE_READ))
		return 0;

	rdt_refused("llc_occupancy falls, and perf subtracts what samples read");

	return -EOPNOTSUPP;
}

static int rdt_event_init(struct perf_event *event, struct perf_pkg_desc *desc)
{
	u64 config = event->attr.config, fd = event->attr.config1;
	int ret = rdt_event_check(event, desc);

	if (ret)
		return ret;

	if (fd > INT_MAX)
		return -EINVAL;

	desc->key = config;
	if (!fd)
		return 0;

	desc->object = resctrl_mon_get_kn(fd);
	if (!desc->object) {
		rdt_refused("fd=%llu is not a directory of resctrl", fd);
		return -EINVAL;
	}
	/* Nodes are aligned. */
	desc->key |= (unsigned long)desc->object;

	return 0;
}

static void rdt_put(void *kn)
{
	kernfs_put(kn);
}

/* sysfs */

PMU_FORMAT_ATTR(event, "config:0-7");
PMU_FORMAT_ATTR(fd, "config1:0-31");

static struct attribute *rdt_format_attrs[] = {
	&format_attr_event.attr,
	&format_attr_fd.attr,
	NULL,
};

static const struct attribute_group rdt_format_group = {
	.name	= "format",
	.attrs	= rdt_format_attrs,
};

PMU_EVENT_ATTR_STRING(total_bytes, rdt_total, "event=0x02");
PMU_EVENT_ATTR_STRING(total_bytes.unit, rdt_total_unit, "Bytes");
PMU_EVENT_ATTR_STRING(total_bytes.scale, rdt_total_scale, "1");
PMU_EVENT_ATTR_STRING(local_bytes, rdt_local, "event=0x03");
PMU_EVENT_ATTR_STRING(local_bytes.unit, rdt_local_unit, "Bytes");
PMU_EVENT_ATTR_STRING(local_bytes.scale, rdt_local_scale, "1");
PMU_EVENT_ATTR_STRING(llc_occupancy, rdt_occupancy, "event=0x01");
PMU_EVENT_ATTR_STRING(llc_occupancy.unit, rdt_occupancy_unit, "Bytes");
PMU_EVENT_ATTR_STRING(llc_occupancy.scale, rdt_occupancy_scale, "1");
PMU_EVENT_ATTR_STRING(llc_occupancy.snapshot, rdt_occupancy_snapshot, "1");

static struct attribute *rdt_event_attrs[] = {
	&rdt_total.attr.attr, &rdt_total_unit.attr.attr, &rdt_total_scale.attr.attr,
	&rdt_local.attr.attr, &rdt_local_unit.attr.attr, &rdt_local_scale.attr.attr,
	&rdt_occupancy.attr.attr, &rdt_occupancy_unit.attr.attr, &rdt_occupancy_scale.attr.attr,
	&rdt_occupancy_snapshot.attr.attr,
	NULL,
};

static umode_t rdt_event_is_visible(struct kobject *kobj, struct attribute *attr, int i)
{
	static const enum resctrl_event_id events[] = {
		QOS_L3_MBM_TOTAL_EVENT_ID, QOS_L3_MBM_LOCAL_EVENT_ID, QOS_L3_OCCUP_EVENT_ID,
	};

	/* Three files for each, and one more for the last */
	return rdt_events & BIT(events[min(i / 3, 2)]) ? attr->mode : 0;
}

const struct attribute_group rdt_events_group = {
	.name		= "events",
	.attrs		= rdt_event_attrs,
	.is_visible	= rdt_event_is_visible,
};

static const struct attribute_group *rdt_attr_groups[] = {
	&rdt_format_group,
	&rdt_events_group,
	NULL,
};

/* Initialisation */

static struct perf_pkg_pmu rdt_pmu = {
	.pmu = {
		.attr_groups	= rdt_attr_groups,
		.attr_update	= perf_pkg_attr_update,
	},
	.counts_domains	= true,
	.domain_id	= resctrl_arch_mon_domain_id,
	.event_init	= rdt_event_init,
	.put		= rdt_put,
	.counter_init	= rdt_counter_init,
	.counter_exit	= rdt_counter_exit,
	.read		= rdt_read,
	.sweep		= rdt_sweep,
	.is_swept	= rdt_is_swept,
	.counter_size	= sizeof(struct rdt_counter),
	.interval_us	= RDT_INTERVAL_US,
	.max_interval_us = RDT_MAX_INTERVAL_US,
};

static int __init rdt_pmu_init(void)
{
	int ret;

	ret = resctrl_arch_mon_info(&rdt_events, &rdt_num_rmid);
	if (ret)
		return ret;

	return perf_pkg_register(&rdt_pmu, "resctrl");
}

/* After resctrl's late_initcall */
late_initcall_sync(rdt_pmu_init);
