// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resource Director Technology(RDT)
 * - Monitoring groups for tasks that perf counts
 *
 * A task that is in no MON group gets a private one in its control group: a directory as
 * any other, so that resctrl allocates the RMID, counts it for the control group and has
 * it in limbo afterwards. Its name is perf-<process>-<number>. The administrator can remove
 * it or move the task elsewhere. When perf removes it, the control group keeps its bytes.
 *
 * The private groups take a share of the RMIDs at most, and never the last ones. What perf
 * does is not in info/last_cmd_status.
 */
#include <linux/cleanup.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/kernfs.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/slab.h>

#include <asm/resctrl.h>
#include <asm/resctrl_mon.h>

#include "internal.h"

/**
 * struct resctrl_mon_group - a MON group by which perf counts tasks
 * @node:	Entry in resctrl_mon_groups
 * @rdtgrp:	The group, NULL: it was removed. Is read without the mutex, to see that.
 * @rmid:	That of the group. Constant.
 * @process:	A private group: it is for threads of this process. NULL: it is the
 *		administrator's. Constant.
 * @users:	Number of resctrl_mon_group_get()
 *
 * Under rdtgroup_mutex.
 */
struct resctrl_mon_group {
	struct list_head	node;
	struct rdtgroup		*rdtgrp;
	u32			rmid;
	struct pid		*process;
	unsigned int		users;
};

/* The administrator always finds one of so many RMIDs free. */
#define RESCTRL_MON_RESERVE	8

/* Under rdtgroup_mutex */
static LIST_HEAD(resctrl_mon_groups);
static unsigned int resctrl_mon_nr_private;
static unsigned int resctrl_mon_next_name;
static struct cpumask resctrl_mon_cpus;
static bool resctrl_mon_removes;	/* It is perf that removes a group. */

/* The MON group that the task is in, NULL: none */
static struct rdtgroup *resctrl_mon_rdtgroup(struct task_struct *task)
{
	struct rdtgroup *rdtgrp, *child;

	lockdep_assert_held(&rdtgroup_mutex);

	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list) {
		list_for_each_entry(child, &rdtgrp->mon.crdtgrp_list, mon.crdtgrp_list) {
			if (resctrl_arch_match_rmid(task, rdtgrp->closid, child->mon.rmid))
				return child;
		}
	}

	return NULL;
}

static struct resctrl_mon_group *resctrl_mon_find(const struct rdtgroup *rdtgrp)
{
	struct resctrl_mon_group *group;

	list_for_each_entry(group, &resctrl_mon_groups, node) {
		if (group->rdtgrp == rdtgrp)
			return group;
	}

	return NULL;
}

static struct resctrl_mon_group *resctrl_mon_add(struct rdtgroup *rdtgrp, struct pid *process)
{
	struct resctrl_mon_group *group = kzalloc(sizeof(*group), GFP_KERNEL);

	if (!group)
		return ERR_PTR(-ENOMEM);

	group->rdtgrp = rdtgrp;
	group->rmid = rdtgrp->mon.rmid;
	group->process = get_pid(process);
	list_add_tail(&group->node, &resctrl_mon_groups);

	return group;
}

/* The files are root's: their owner can move tasks and CPUs. */
static int resctrl_mon_mkdir(struct rdtgroup *parent, struct pid *process,
			     struct rdtgroup **rdtgrp)
{
	struct kernfs_node *kn = kernfs_find_and_get(parent->kn, "mon_groups");
	char name[32];
	int ret;

	if (!kn)
		return -ENODEV;

	snprintf(name, sizeof(name), "perf-%d-%u", pid_nr(process), ++resctrl_mon_next_name);
	rdt_last_cmd_mute(true);
	scoped_with_kernel_creds()
		ret = __rdtgroup_mkdir_mon(parent, kn, name, 0755, rdtgrp);
	rdt_last_cmd_mute(false);
	kernfs_put(kn);

	/* All that are left are in limbo. */
	return ret == -EBUSY ? -ENOSPC : ret;
}

/*
 * Nobody runs with its RMID any more. The control group keeps what its MON group has moved,
 * and mba_MBps what it has not yet seen of it.
 */
static void resctrl_mon_merge_bytes(struct rdtgroup *rdtgrp)
{
	struct rdt_resource *r = &rdt_resources_all[RDT_RESOURCE_L3].r_resctrl;
	struct rdt_mon_domain *d;
	unsigned int evtid;

	for (evtid = QOS_L3_MBM_TOTAL_EVENT_ID; evtid <= QOS_L3_MBM_LOCAL_EVENT_ID; evtid++) {
		if (!(rdt_mon_features & BIT(evtid)))
			continue;
		list_for_each_entry(d, &r->mon_domains, hdr.list) {
			struct rmid_read rr = { };

			/* If that fails, what was read before counts. */
			mon_event_read(&rr, r, d, rdtgrp, &d->hdr.cpu_mask, evtid, false);
			resctrl_mon_merge(d, rdtgrp, evtid);
		}
	}
}

/* free_rmid(): nobody runs with it any more, and nobody else does yet. */
void resctrl_mon_group_freed(u32 rmid)
{
	struct resctrl_mon_group *group;

	lockdep_assert_held(&rdtgroup_mutex);

	list_for_each_entry(group, &resctrl_mon_groups, node) {
		if (!group->rdtgrp || group->rmid != rmid)
			continue;
		if (resctrl_mon_removes)
			resctrl_mon_merge_bytes(group->rdtgrp);
		if (group->process)
			resctrl_mon_nr_private--;
		WRITE_ONCE(group->rdtgrp, NULL);
	}
}

static bool resctrl_mon_has_cpus(void)
{
	struct rdtgroup *rdtgrp, *child;

	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list) {
		if (rdtgrp != &rdtgroup_default && !cpumask_empty(&rdtgrp->cpu_mask))
			return true;
		list_for_each_entry(child, &rdtgrp->mon.crdtgrp_list, mon.crdtgrp_list) {
			if (!cpumask_empty(&child->cpu_mask))
				return true;
		}
	}

	return false;
}

/*
 * The control group of a task that can get a private MON group. A task in the default group
 * is in that of a CPU while it runs there, which would lose it. It may go there at any time.
 */
static struct rdtgroup *resctrl_mon_parent(struct task_struct *task)
{
	struct rdtgroup *rdtgrp, *parent = NULL;

	/* Others may have the CLOSID that a pseudo-locked group had. */
	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list) {
		if (resctrl_mon_has_rmid(rdtgrp) &&
		    resctrl_arch_match_closid(task, rdtgrp->closid))
			parent = rdtgrp;
	}

	if (!parent || (parent == &rdtgroup_default && resctrl_mon_has_cpus()))
		return ERR_PTR(-EBUSY);

	return parent;
}

static void resctrl_mon_rmdir(struct rdtgroup *rdtgrp)
{
	cpumask_clear(&resctrl_mon_cpus);
	resctrl_mon_removes = true;
	rdtgroup_rmdir_mon(rdtgrp, &resctrl_mon_cpus);
	resctrl_mon_removes = false;
	/* Another task that waits for the group finds it deleted, and frees it. */
	if (!atomic_read(&rdtgrp->waitcount))
		rdtgroup_remove(rdtgrp);
}

/* The private groups in @parent end, as if the administrator had removed them. */
static void resctrl_mon_end_private(const struct rdtgroup *parent)
{
	struct resctrl_mon_group *group;

	list_for_each_entry(group, &resctrl_mon_groups, node) {
		if (group->process && group->rdtgrp && group->rdtgrp->mon.parent == parent)
			resctrl_mon_rmdir(group->rdtgrp);
	}
}

/**
 * resctrl_mon_cpus_written() - a group was given CPUs
 * @rdtgrp:	The group
 *
 * It counts what the tasks of the default group do on these, but not those with an RMID
 * of their own: private groups there end.
 *
 * Context: rdtgroup_mutex is held, CPU hotplug is locked.
 */
void resctrl_mon_cpus_written(const struct rdtgroup *rdtgrp)
{
	if (rdtgrp != &rdtgroup_default && !cpumask_empty(&rdtgrp->cpu_mask))
		resctrl_mon_end_private(&rdtgroup_default);
}

/* A control group is to be pseudo-locked, which must not have MON groups. As above. */
void resctrl_mon_locksetup(struct rdtgroup *rdtgrp)
{
	if (!rdtgroup_tasks_assigned(rdtgrp))
		resctrl_mon_end_private(rdtgrp);
}

/* Whether @rdtgrp may become a MON group of @parent, by the same rule. As above. */
int resctrl_mon_may_move(struct rdtgroup *rdtgrp, const struct rdtgroup *parent)
{
	struct resctrl_mon_group *group = resctrl_mon_find(rdtgrp);

	if (!group || !group->process || parent != &rdtgroup_default || !resctrl_mon_has_cpus())
		return 0;

	rdt_last_cmd_puts("Cannot move a group of perf to where groups have CPUs\n");

	return -EPERM;
}

static unsigned int resctrl_mon_nr_groups(void)
{
	struct rdtgroup *rdtgrp;
	unsigned int nr = 0;

	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list)
		nr += 1 + list_count_nodes(&rdtgrp->mon.crdtgrp_list);

	return nr;
}

/* RMIDs in limbo, whoever had them, count as well: perf may have used them up. */
static struct resctrl_mon_group *resctrl_mon_make_private(struct pid *process,
							  struct rdtgroup *parent,
							  unsigned int max)
{
	u32 limit = resctrl_arch_system_num_rmid_idx();
	struct resctrl_mon_group *group;
	struct rdtgroup *rdtgrp;
	int ret;

	limit -= limit / RESCTRL_MON_RESERVE;
	if (resctrl_mon_nr_private + rmid_limbo_count >= max ||
	    resctrl_mon_nr_groups() + rmid_limbo_count >= limit)
		return ERR_PTR(-ENOSPC);

	ret = resctrl_mon_mkdir(parent, process, &rdtgrp);
	if (ret)
		return ERR_PTR(ret);

	group = resctrl_mon_add(rdtgrp, process);
	if (IS_ERR(group))
		resctrl_mon_rmdir(rdtgrp);
	else
		resctrl_mon_nr_private++;

	return group;
}

static struct resctrl_mon_group *resctrl_mon_get_private(struct task_struct *task,
							 struct pid *process,
							 unsigned int max)
{
	struct rdtgroup *parent = resctrl_mon_parent(task);
	struct resctrl_mon_group *group;

	if (IS_ERR(parent))
		return ERR_CAST(parent);

	list_for_each_entry(group, &resctrl_mon_groups, node) {
		if (group->process == process && group->rdtgrp &&
		    group->rdtgrp->mon.parent == parent)
			return group;
	}

	return resctrl_mon_make_private(process, parent, max);
}

static void resctrl_mon_put_locked(struct resctrl_mon_group *group)
{
	if (--group->users)
		return;

	/* This frees its RMID: resctrl_mon_group_freed(). */
	if (group->process && group->rdtgrp)
		resctrl_mon_rmdir(group->rdtgrp);
	list_del(&group->node);
	put_pid(group->process);
	kfree(group);
}

/**
 * resctrl_mon_group_get() - get the MON group by which to count a task
 * @task:	The task. If it is in no MON group it is moved to a private one.
 * @process:	Its process, with a reference
 * @max:	Number of RMIDs that private groups and limbo may have
 *
 * Context: Task context, takes the CPU hotplug lock and rdtgroup_mutex.
 * Return: The group, or an error pointer: -ENODEV if resctrl is not mounted, -EBUSY if the
 * task is in the private group of another process, cannot be in a MON group or is in none
 * while some group has CPUs, -ENOSPC if there is no RMID for it, -ENOMEM, or the error of
 * making a directory
 */
struct resctrl_mon_group *resctrl_mon_group_get(struct task_struct *task, struct pid *process,
						unsigned int max)
{
	struct resctrl_mon_group *group;
	struct rdtgroup *rdtgrp;
	int ret;

	guard(cpus_read_lock)();
	guard(mutex)(&rdtgroup_mutex);

	if (!resctrl_mounted)
		return ERR_PTR(-ENODEV);

	rdtgrp = resctrl_mon_rdtgroup(task);
	group = rdtgrp ? resctrl_mon_find(rdtgrp) ?: resctrl_mon_add(rdtgrp, NULL) :
			 resctrl_mon_get_private(task, process, max);
	if (IS_ERR(group))
		return group;

	if (group->process && group->process != process)
		return ERR_PTR(-EBUSY);

	group->users++;
	ret = rdtgrp ? 0 : __rdtgroup_move_task(task, group->rdtgrp);
	if (ret) {
		resctrl_mon_put_locked(group);
		return ERR_PTR(ret);
	}

	return group;
}

/**
 * resctrl_mon_group_put() - undo resctrl_mon_group_get()
 * @group:	The group; a private one is removed after the last time.
 *
 * Context: Task context, takes the CPU hotplug lock and rdtgroup_mutex.
 */
void resctrl_mon_group_put(struct resctrl_mon_group *group)
{
	guard(cpus_read_lock)();
	guard(mutex)(&rdtgroup_mutex);

	resctrl_mon_put_locked(group);
}

/**
 * resctrl_mon_group_read() - read a counter of the group in the domain of this CPU
 * @group:	The group
 * @event:	The event
 * @val:	As of resctrl_arch_mon_read()
 *
 * Context: As for resctrl_arch_mon_read().
 * Return: -ENOENT if the group was removed: its RMID is somebody else's, or will be. Else
 * as resctrl_arch_mon_read().
 */
int resctrl_mon_group_read(const struct resctrl_mon_group *group, enum resctrl_event_id event,
			   u64 *val)
{
	return READ_ONCE(group->rdtgrp) ? resctrl_arch_mon_read(group->rmid, event, val) :
					  -ENOENT;
}

/* Whether @group counts @task, which may have been moved */
bool resctrl_mon_group_has(const struct resctrl_mon_group *group, struct task_struct *task)
{
	return READ_ONCE(group->rdtgrp) && resctrl_arch_match_rmid(task, 0, group->rmid);
}
