// SPDX-License-Identifier: GPL-2.0-only
/*
 * Cache occupancy and memory bandwidth of tasks
 *
 * The hardware counts by RMID, so a task has to be in a MON group of resctrl. One that is
 * in none gets a private one, see resctrl_mon_group_get(), together with the threads of
 * its process that are monitored, and with all that they fork. One that is in a group of
 * the administrator's is counted by that, together with the other tasks of the group, as
 * long as it stays there.
 *
 * The RMID is on the CPU whenever the task is: a context switch needs no register and no
 * lock. An event is a window on the counter of the group, from when it is enabled until
 * it is disabled, see perf_pkg_desc::shared.
 *
 * What one opener counts in one group is one set: its oldest event reports the group, the
 * others report 0, so that their sum is right.
 *
 * The order of locks is
 *
 *	perf_event_context::mutex	(of a task)
 *	  perf_pkg::mutex
 *	    rdt_sets_mutex
 *	      CPU hotplug
 *		rdtgroup_mutex
 */
#include <linux/err.h>
#include <linux/init.h>
#include <linux/list.h>
#include <linux/moduleparam.h>
#include <linux/mutex.h>
#include <linux/perf_event.h>
#include <linux/perf_pkg.h>
#include <linux/pid.h>
#include <linux/printk.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include <asm/resctrl_mon.h>

#include "rdt.h"

/**
 * struct rdt_set - what one opener counts in one group
 * @node:	Entry in rdt_sets
 * @refs:	Counters, and events that are being opened. Under rdt_sets_mutex.
 * @opener:	Constant, as are the others
 * @domains:	perf_event_attr::config1 of its events
 * @group:	The group, with a reference
 */
struct rdt_set {
	struct list_head		node;
	unsigned int			refs;
	struct pid			*opener;
	u64				domains;
	struct resctrl_mon_group	*group;
};

static unsigned int max_rmids;
module_param(max_rmids, uint, 0644);
MODULE_PARM_DESC(max_rmids, "RMIDs in limbo, or of tasks in no group (0 at boot: half of all)");

static DEFINE_MUTEX(rdt_sets_mutex);
static LIST_HEAD(rdt_sets);

static struct rdt_set *rdt_counter_set(const struct perf_pkg_counter *counter)
{
	return counter->desc.object;
}

static struct rdt_set *rdt_find_set(struct pid *opener, u64 domains,
				    const struct resctrl_mon_group *group)
{
	struct rdt_set *set;

	list_for_each_entry(set, &rdt_sets, node) {
		if (set->opener == opener && set->domains == domains && set->group == group)
			return set;
	}

	return NULL;
}

/* Moves the task if need be. */
static struct rdt_set *rdt_get_set(struct task_struct *task, u64 domains)
{
	struct pid *opener = task_tgid(current), *process;
	struct resctrl_mon_group *group;
	struct rdt_set *set;

	/* NULL: it has been reaped. */
	process = get_task_pid(task, PIDTYPE_TGID);
	if (!process)
		return ERR_PTR(-ESRCH);
	group = resctrl_mon_group_get(task, process, READ_ONCE(max_rmids));
	put_pid(process);
	if (IS_ERR(group))
		return ERR_CAST(group);

	guard(mutex)(&rdt_sets_mutex);

	set = rdt_find_set(opener, domains, group);
	if (set) {
		set->refs++;
		resctrl_mon_group_put(group);
		return set;
	}

	set = kzalloc(sizeof(*set), GFP_KERNEL);
	if (!set) {
		resctrl_mon_group_put(group);
		return ERR_PTR(-ENOMEM);
	}
	set->refs = 1;
	set->opener = get_pid(opener);
	set->domains = domains;
	set->group = group;
	list_add_tail(&set->node, &rdt_sets);

	return set;
}

static void rdt_put_set(void *object)
{
	struct rdt_set *set = object;

	guard(mutex)(&rdt_sets_mutex);

	if (--set->refs)
		return;

	resctrl_mon_group_put(set->group);
	list_del(&set->node);
	put_pid(set->opener);
	kfree(set);
}

/*
 * With -ENXIO perf goes on with the other events of its list, and names the kernel's log
 * where somebody may find out.
 */
static int rdt_task_error(int err)
{
	const char *why;

	switch (err) {
	case -ENODEV:
		why = "resctrl is not mounted";
		break;
	case -EBUSY:
		why = "the task is in a group that perf cannot count it by";
		break;
	case -ENOSPC:
		why = "there is no RMID for the task, see rdt_task.max_rmids";
		break;
	default:
		return err;
	}
	pr_info_ratelimited("perf: resctrl_task: %s\n", why);

	return -ENXIO;
}

/* In the domain of this CPU, which is locked */
static int rdt_task_read(struct perf_pkg_counter *counter, unsigned int domain, u64 *value)
{
	enum resctrl_event_id event = counter->desc.key & PERF_PKG_CONFIG_EVENT;
	int ret = resctrl_mon_group_read(rdt_counter_set(counter)->group, event, value);

	if (ret == -ENOENT)
		perf_pkg_counter_end(counter);
	/* The hardware does not track it now: its lines are not known, or gone. */
	if (ret == -EINVAL && event == QOS_L3_OCCUP_EVENT_ID)
		*value = ret = 0;

	return ret == -EINVAL || ret == -ENOENT ? -EAGAIN : ret;
}

static bool rdt_task_lost(struct perf_pkg_counter *counter, struct perf_event *event)
{
	return !resctrl_mon_group_has(rdt_counter_set(counter)->group, event->hw.target);
}

static int rdt_task_event_init(struct perf_event *event, struct perf_pkg_desc *desc)
{
	int ret = rdt_event_check(event, desc);
	struct rdt_set *set;

	if (ret)
		return ret;

	desc->shared = true;
	/* perf record has CPUs as well, and understands -EOPNOTSUPP. */
	if (is_sampling_event(event))
		return 0;

	/* An RMID counts what the task forks as well, for ever and on all CPUs. */
	if (!(event->attach_state & PERF_ATTACH_TASK) || event->cpu >= 0 ||
	    !event->attr.inherit || event->attr.remove_on_exec)
		return -EINVAL;

	/* resctrl has them move themselves, and waits for that. */
	if (event->hw.target->flags & PF_KTHREAD)
		return -EINVAL;

	/* There are few RMIDs, for all users. */
	if (!perfmon_capable())
		return -EACCES;

	/* The engine refuses it as well, but after a group was made. */
	if (event_has_any_exclude_flag(event))
		return -EINVAL;

	set = rdt_get_set(event->hw.target, event->attr.config1);
	if (IS_ERR(set))
		return rdt_task_error(PTR_ERR(set));

	/* The upper byte is the same in all addresses. */
	desc->object = set;
	desc->key = (unsigned long)set << 8 | event->attr.config;

	return 0;
}

PMU_FORMAT_ATTR(event, "config:0-7");

static struct attribute *rdt_task_format_attrs[] = {
	&format_attr_event.attr,
	NULL,
};

static const struct attribute_group rdt_task_format_group = {
	.name	= "format",
	.attrs	= rdt_task_format_attrs,
};

static const struct attribute_group *rdt_task_attr_groups[] = {
	&rdt_task_format_group,
	&rdt_events_group,
	NULL,
};

static struct perf_pkg_pmu rdt_task_pmu = {
	.pmu = {
		.task_ctx_nr	= perf_sw_context,
		.attr_groups	= rdt_task_attr_groups,
		.attr_update	= perf_pkg_attr_update,
	},
	.domain_id	= resctrl_arch_mon_domain_id,
	.event_init	= rdt_task_event_init,
	.put		= rdt_put_set,
	.lost		= rdt_task_lost,
	.read		= rdt_task_read,
	.interval_us	= RDT_INTERVAL_US,
	.max_interval_us = RDT_MAX_INTERVAL_US,
};

static int __init rdt_task_pmu_init(void)
{
	unsigned long events;
	u32 num_rmid;
	int ret;

	ret = resctrl_arch_mon_info(&events, &num_rmid);
	if (ret)
		return ret;

	if (!max_rmids)
		max_rmids = num_rmid / 2;

	return perf_pkg_register(&rdt_task_pmu, "resctrl_task");
}

/* After resctrl's late_initcall */
late_initcall_sync(rdt_task_pmu_init);
