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
 * The private groups take a share of the RMIDs at most, and what perf does is not in
 * info/last_cmd_status.
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
#include <linux/smp.h>

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
 * @cpus:	For the removal of a private group, which cannot fail
 *
 * Under rdtgroup_mutex.
 */
struct resctrl_mon_group {
	struct list_head	node;
	struct rdtgroup		*rdtgrp;
	u32			rmid;
	struct pid		*process;
	unsigned int		users;
	cpumask_var_t		cpus;
};

/* Under rdtgroup_mutex */
static LIST_HEAD(resctrl_mon_groups);
static unsigned int resctrl_mon_nr_private;
static unsigned int resctrl_mon_next_name;

/* The MON group that the task is in, NULL: none; or why it cannot be in one */
static struct rdtgroup *resctrl_mon_rdtgroup(struct task_struct *task)
{
	struct rdtgroup *rdtgrp, *child;

	lockdep_assert_held(&rdtgroup_mutex);

	if (!resctrl_mounted)
		return ERR_PTR(-ENODEV);

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

/**
 * resctrl_mon_task_kn() - whose group a task is in
 * @task:	The task
 *
 * Context: Task context, takes rdtgroup_mutex.
 * Return: The directory of the MON group of the administrator's that it is in, with a
 * reference; NULL if it is in none, or in the private one of its process; an error
 * pointer: -ENODEV if resctrl is not mounted, -EBUSY if it is in the private group of
 * another process
 */
struct kernfs_node *resctrl_mon_task_kn(struct task_struct *task)
{
	struct resctrl_mon_group *group;
	struct rdtgroup *rdtgrp;

	guard(mutex)(&rdtgroup_mutex);

	rdtgrp = resctrl_mon_rdtgroup(task);
	if (IS_ERR_OR_NULL(rdtgrp))
		return ERR_CAST(rdtgrp);

	group = resctrl_mon_find(rdtgrp);
	if (group && group->process)
		return group->process == task_tgid(task) ? NULL : ERR_PTR(-EBUSY);

	kernfs_get(rdtgrp->kn);

	return rdtgrp->kn;
}

static struct resctrl_mon_group *resctrl_mon_alloc(struct pid *process)
{
	struct resctrl_mon_group *group = kzalloc(sizeof(*group), GFP_KERNEL);

	if (!group)
		return ERR_PTR(-ENOMEM);

	if (!zalloc_cpumask_var(&group->cpus, GFP_KERNEL)) {
		kfree(group);
		return ERR_PTR(-ENOMEM);
	}
	group->process = get_pid(process);

	return group;
}

static void resctrl_mon_free(struct resctrl_mon_group *group)
{
	put_pid(group->process);
	free_cpumask_var(group->cpus);
	kfree(group);
}

static void resctrl_mon_add(struct resctrl_mon_group *group, struct rdtgroup *rdtgrp)
{
	group->rdtgrp = rdtgrp;
	group->rmid = rdtgrp->mon.rmid;
	list_add_tail(&group->node, &resctrl_mon_groups);
}

/* The files are root's: their owner can move tasks and CPUs. */
static int resctrl_mon_mkdir(struct rdtgroup *parent, struct pid *process,
			     struct rdtgroup **rdtgrp)
{
	const struct cred *old;
	struct kernfs_node *kn;
	struct cred *cred;
	char name[32];
	int ret;

	cred = prepare_kernel_cred(&init_task);
	if (!cred)
		return -ENOMEM;

	kn = kernfs_find_and_get(parent->kn, "mon_groups");
	if (!kn) {
		put_cred(cred);
		return -ENODEV;
	}

	snprintf(name, sizeof(name), "perf-%d-%u", pid_nr(process), ++resctrl_mon_next_name);
	old = override_creds(cred);
	rdt_last_cmd_mute(true);
	ret = __rdtgroup_mkdir_mon(parent, kn, name, 0755, rdtgrp);
	rdt_last_cmd_mute(false);
	revert_creds(old);
	kernfs_put(kn);
	put_cred(cred);

	/* All that are left are in limbo. */
	return ret == -EBUSY ? -ENOSPC : ret;
}

/*
 * The control group keeps what its MON group has moved, and mba_MBps what it has not yet
 * seen of it.
 */
static void resctrl_mon_merge_bytes(struct rdtgroup *rdtgrp)
{
	struct rdt_resource *r = &rdt_resources_all[RDT_RESOURCE_L3].r_resctrl;
	struct rdt_mon_domain *d;
	unsigned int evtid;

	lockdep_assert_held(&rdtgroup_mutex);
	lockdep_assert_cpus_held();

	for (evtid = QOS_L3_MBM_TOTAL_EVENT_ID; evtid <= QOS_L3_MBM_LOCAL_EVENT_ID; evtid++) {
		if (!(rdt_mon_features & BIT(evtid)))
			continue;
		list_for_each_entry(d, &r->mon_domains, hdr.list) {
			struct rmid_read rr = { .rgrp = rdtgrp, .r = r, .d = d, .evtid = evtid };

			/* If that fails, what was read before counts. */
			smp_call_function_any(&d->hdr.cpu_mask, mon_event_count, &rr, 1);
			resctrl_mon_merge(d, rdtgrp, evtid);
		}
	}
}

static void resctrl_mon_rmdir(struct resctrl_mon_group *group)
{
	struct rdtgroup *rdtgrp = group->rdtgrp;

	resctrl_mon_merge_bytes(rdtgrp);
	/* This frees its RMID: resctrl_mon_group_freed(). */
	rdtgroup_rmdir_mon(rdtgrp, group->cpus);
	/* Another task that waits for the group finds it deleted, and frees it. */
	if (!atomic_read(&rdtgrp->waitcount))
		rdtgroup_remove(rdtgrp);
}

/*
 * The control group of a task that can get a private MON group. A task in the default group
 * is in that of a CPU while it runs there, which would lose it.
 */
static struct rdtgroup *resctrl_mon_parent(struct task_struct *task)
{
	struct rdtgroup *rdtgrp, *child, *parent = NULL;

	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list) {
		if (resctrl_arch_match_closid(task, rdtgrp->closid))
			parent = rdtgrp;
	}

	if (!parent || parent->mode == RDT_MODE_PSEUDO_LOCKSETUP ||
	    parent->mode == RDT_MODE_PSEUDO_LOCKED)
		return ERR_PTR(-EBUSY);

	if (parent != &rdtgroup_default)
		return parent;

	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list) {
		if (rdtgrp != parent && cpumask_intersects(&task->cpus_mask, &rdtgrp->cpu_mask))
			return ERR_PTR(-EBUSY);
		list_for_each_entry(child, &rdtgrp->mon.crdtgrp_list, mon.crdtgrp_list) {
			if (cpumask_intersects(&task->cpus_mask, &child->cpu_mask))
				return ERR_PTR(-EBUSY);
		}
	}

	return parent;
}

static struct resctrl_mon_group *resctrl_mon_make_private(struct pid *process,
							  struct rdtgroup *parent,
							  unsigned int max)
{
	struct resctrl_mon_group *group;
	struct rdtgroup *rdtgrp;
	int ret;

	if (resctrl_mon_nr_private >= max)
		return ERR_PTR(-ENOSPC);

	group = resctrl_mon_alloc(process);
	if (IS_ERR(group))
		return group;

	ret = resctrl_mon_mkdir(parent, process, &rdtgrp);
	if (ret) {
		resctrl_mon_free(group);
		return ERR_PTR(ret);
	}
	resctrl_mon_nr_private++;
	resctrl_mon_add(group, rdtgrp);

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

static struct resctrl_mon_group *resctrl_mon_get_public(struct rdtgroup *rdtgrp)
{
	struct resctrl_mon_group *group = resctrl_mon_find(rdtgrp);

	if (!group) {
		group = resctrl_mon_alloc(NULL);
		if (!IS_ERR(group))
			resctrl_mon_add(group, rdtgrp);
	}

	return group;
}

static void resctrl_mon_put_locked(struct resctrl_mon_group *group)
{
	if (--group->users)
		return;

	if (group->process) {
		if (group->rdtgrp)
			resctrl_mon_rmdir(group);
		resctrl_mon_nr_private--;
	}
	list_del(&group->node);
	resctrl_mon_free(group);
}

/**
 * resctrl_mon_group_get() - get a MON group by which to count a task
 * @task:	The task. If need be it is moved to the group.
 * @process:	Its process, with a reference
 * @kn:		What resctrl_mon_task_kn() returned
 * @max:	Number of private groups that there may be
 *
 * Context: Task context, takes the CPU hotplug lock and rdtgroup_mutex.
 * Return: The group, or an error pointer: -ENODEV if resctrl is not mounted, -EBUSY if the
 * task has been moved, cannot be in a MON group or is in none and allowed on CPUs of one,
 * -ENOSPC if there is no RMID for it, -ENOMEM, or the error of making a directory
 */
struct resctrl_mon_group *resctrl_mon_group_get(struct task_struct *task, struct pid *process,
						const struct kernfs_node *kn, unsigned int max)
{
	struct resctrl_mon_group *group;
	struct rdtgroup *rdtgrp;
	int ret;

	guard(cpus_read_lock)();
	guard(mutex)(&rdtgroup_mutex);

	rdtgrp = resctrl_mon_rdtgroup(task);
	if (IS_ERR(rdtgrp))
		return ERR_CAST(rdtgrp);

	if (kn ? !rdtgrp || rdtgrp->kn != kn : rdtgrp && !resctrl_mon_find(rdtgrp))
		return ERR_PTR(-EBUSY);

	group = kn ? resctrl_mon_get_public(rdtgrp) : resctrl_mon_get_private(task, process, max);
	if (IS_ERR(group))
		return group;

	group->users++;
	if (rdtgrp == group->rdtgrp)
		return group;

	/* In a private group of another process, or in no group */
	ret = rdtgrp ? -EBUSY : __rdtgroup_move_task(task, group->rdtgrp);
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

/* Its RMID. If the group does not exist, somebody else has that, or will. Any context. */
u32 resctrl_mon_group_rmid(const struct resctrl_mon_group *group)
{
	return group->rmid;
}

bool resctrl_mon_group_exists(const struct resctrl_mon_group *group)
{
	return READ_ONCE(group->rdtgrp);
}

/* Whether @group counts @task, which may have been moved */
bool resctrl_mon_group_has(const struct resctrl_mon_group *group, struct task_struct *task)
{
	return resctrl_mon_group_exists(group) && resctrl_arch_match_rmid(task, 0, group->rmid);
}

/* free_rmid(): nobody runs with it any more, and nobody else does yet. */
void resctrl_mon_group_freed(u32 rmid)
{
	struct resctrl_mon_group *group;

	lockdep_assert_held(&rdtgroup_mutex);

	list_for_each_entry(group, &resctrl_mon_groups, node) {
		if (group->rdtgrp && group->rmid == rmid)
			WRITE_ONCE(group->rdtgrp, NULL);
	}
}
