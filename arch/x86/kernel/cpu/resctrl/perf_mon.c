// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resource Director Technology(RDT)
 * - Monitoring groups for perf
 *
 * perf reads the counters of RMIDs in hard interrupt context, where resctrl's groups
 * cannot be looked at: rdtgroup_mutex protects them. So for each group that perf
 * monitors there is a set of RMIDs that can be read at any time, and resctrl tells here
 * when an RMID joins or leaves one:
 *
 *	alloc_rmid()		an RMID is in use
 *	rdtgroup_mkdir_mon()	a MON group counts for its CTRL_MON group, too
 *	mongrp_reparent()	it moves to another one
 *	free_rmid()		an RMID is no longer in use
 *
 * An RMID is freed when its group is removed, also by umount, and when that is
 * pseudo-locked: from then on there is nothing to monitor. The default group has RMID 0
 * for ever, whether resctrl is mounted or not.
 *
 * A task that perf monitors has no group of its own to begin with. It gets a MON group
 * in its control group, a directory as any other: resctrl allocates the RMID, counts
 * it for the control group, and has it in limbo afterwards. The bandwidth stays in
 * that of the control group. Who may do so can remove it or move the task elsewhere.
 */
#include <linux/bitmap.h>
#include <linux/cleanup.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/cred.h>
#include <linux/err.h>
#include <linux/kernel.h>
#include <linux/kernfs.h>
#include <linux/mutex.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/task.h>
#include <linux/slab.h>
#include <linux/smp.h>

#include <asm/resctrl.h>
#include <asm/resctrl_mon.h>

#include "internal.h"

/**
 * struct resctrl_mon_tasks - a MON group for tasks that perf monitors
 * @node:	Entry in the list of all
 * @rdtgrp:	The group, NULL: it was removed by somebody else
 * @opener:	The process that monitors. Constant.
 * @process:	Threads of this one, with what they forked. Constant.
 * @nr_sets:	Number of sets with the group's RMID
 * @cpus:	For its removal, which cannot fail
 *
 * Under rdtgroup_mutex.
 */
struct resctrl_mon_tasks {
	struct list_head	node;
	struct rdtgroup		*rdtgrp;
	struct pid		*opener;
	struct pid		*process;
	unsigned int		nr_sets;
	cpumask_var_t		cpus;
};

/* Under rdtgroup_mutex */
static LIST_HEAD(resctrl_mon_sets);
static LIST_HEAD(resctrl_mon_all_tasks);
static unsigned int resctrl_mon_next_name;

static bool resctrl_mon_is_locked(const struct rdtgroup *rdtgrp)
{
	return rdtgrp->mode == RDT_MODE_PSEUDO_LOCKSETUP ||
	       rdtgrp->mode == RDT_MODE_PSEUDO_LOCKED;
}

static bool resctrl_mon_is_inode(const struct rdtgroup *rdtgrp, u64 ino)
{
	/* The default group has no directory while resctrl is not mounted. */
	return rdtgrp->kn && kernfs_ino(rdtgrp->kn) == ino;
}

static struct rdtgroup *resctrl_mon_find_group(u64 ino)
{
	struct rdtgroup *rdtgrp, *child;

	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list) {
		if (resctrl_mon_is_inode(rdtgrp, ino))
			return rdtgrp;
		list_for_each_entry(child, &rdtgrp->mon.crdtgrp_list, mon.crdtgrp_list) {
			if (resctrl_mon_is_inode(child, ino))
				return child;
		}
	}

	return NULL;
}

/* The set is not in use yet. */
static void resctrl_mon_fill(struct resctrl_mon_set *set, const struct rdtgroup *rdtgrp)
{
	const struct rdtgroup *child;

	if (resctrl_mon_is_locked(rdtgrp))
		return;

	__set_bit(rdtgrp->mon.rmid, set->rmids);
	/* In a MON group this is an entry of its CTRL_MON group's list. */
	if (rdtgrp->type != RDTCTRL_GROUP)
		return;

	list_for_each_entry(child, &rdtgrp->mon.crdtgrp_list, mon.crdtgrp_list)
		__set_bit(child->mon.rmid, set->rmids);
}

static void resctrl_mon_fill_all(struct resctrl_mon_set *set)
{
	const struct rdtgroup *rdtgrp;

	set->rmid = RESCTRL_MON_NO_RMID;
	set->single = false;
	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list)
		resctrl_mon_fill(set, rdtgrp);
}

static int resctrl_mon_fill_group(struct resctrl_mon_set *set, u64 ino)
{
	const struct rdtgroup *rdtgrp = resctrl_mon_find_group(ino);

	if (!rdtgrp)
		return -ESTALE;

	/* It gave its RMID back. */
	if (resctrl_mon_is_locked(rdtgrp))
		return -EOPNOTSUPP;

	set->rmid = rdtgrp->mon.rmid;
	set->single = rdtgrp->type == RDTMON_GROUP;
	resctrl_mon_fill(set, rdtgrp);

	return 0;
}

/**
 * resctrl_mon_watch() - get the RMIDs of a group, and learn of changes
 * @set:	Filled in, but for @changed, which the caller did
 * @ino:	Inode number of the group's directory, RESCTRL_MON_ALL_GROUPS: all
 *		groups, also while resctrl is not mounted
 *
 * Context: Task context, takes rdtgroup_mutex. @changed may be called before this
 * returns.
 * Return: 0, -ESTALE if there is no such group (now), -EOPNOTSUPP if it is pseudo-locked,
 * -ENOMEM
 */
int resctrl_mon_watch(struct resctrl_mon_set *set, u64 ino)
{
	int ret = 0;

	set->rmids = bitmap_zalloc(resctrl_arch_system_num_rmid_idx(), GFP_KERNEL);
	if (!set->rmids)
		return -ENOMEM;

	scoped_guard(mutex, &rdtgroup_mutex) {
		if (ino == RESCTRL_MON_ALL_GROUPS)
			resctrl_mon_fill_all(set);
		else
			ret = resctrl_mon_fill_group(set, ino);
		if (!ret)
			list_add_tail(&set->node, &resctrl_mon_sets);
	}

	if (ret)
		bitmap_free(set->rmids);

	return ret;
}

/* Groups for tasks */

static void resctrl_mon_free_tasks(struct resctrl_mon_tasks *tasks)
{
	put_pid(tasks->opener);
	put_pid(tasks->process);
	free_cpumask_var(tasks->cpus);
	kfree(tasks);
}

static struct resctrl_mon_tasks *resctrl_mon_alloc_tasks(struct task_struct *task)
{
	struct resctrl_mon_tasks *tasks = kzalloc(sizeof(*tasks), GFP_KERNEL);

	if (!tasks)
		return NULL;

	if (!zalloc_cpumask_var(&tasks->cpus, GFP_KERNEL)) {
		kfree(tasks);
		return NULL;
	}

	tasks->opener = get_task_pid(current, PIDTYPE_TGID);
	tasks->process = get_task_pid(task, PIDTYPE_TGID);

	return tasks;
}

static int resctrl_mon_mkdir(struct resctrl_mon_tasks *tasks, struct task_struct *task,
			     struct rdtgroup *parent)
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

	snprintf(name, sizeof(name), "perf-%d-%u", task_tgid_nr(task), ++resctrl_mon_next_name);
	/* The files are root's: their owner can move tasks and CPUs. */
	old = override_creds(cred);
	ret = __rdtgroup_mkdir_mon(parent, kn, name, 0755, &tasks->rdtgrp);
	revert_creds(old);
	kernfs_put(kn);
	put_cred(cred);

	/* All that are left are in limbo. */
	return ret == -EBUSY ? -ENOSPC : ret;
}

/* Brings resctrl's bandwidth of the group up to date, and adds it to its control group's. */
static void resctrl_mon_read_bytes(struct rdtgroup *rdtgrp, bool merge)
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
			if (merge)
				resctrl_mon_merge(d, rdtgrp, evtid);
		}
	}
}

static void resctrl_mon_rmdir(struct resctrl_mon_tasks *tasks)
{
	struct rdtgroup *rdtgrp = tasks->rdtgrp;

	/* The hardware may have no value when its tasks have another RMID. */
	resctrl_mon_read_bytes(rdtgrp, false);
	/* This frees its RMID: resctrl_mon_rmid_freed(). */
	rdtgroup_rmdir_mon(rdtgrp, tasks->cpus);
	/* Who else waits to look at it finds that it is deleted, and frees it. */
	if (!atomic_read(&rdtgrp->waitcount))
		rdtgroup_remove(rdtgrp);
}

static void resctrl_mon_put_tasks(struct resctrl_mon_tasks *tasks)
{
	lockdep_assert_held(&rdtgroup_mutex);

	if (--tasks->nr_sets)
		return;

	if (tasks->rdtgrp)
		resctrl_mon_rmdir(tasks);
	list_del(&tasks->node);
	resctrl_mon_free_tasks(tasks);
}

static struct rdtgroup *resctrl_mon_control_group(struct task_struct *task)
{
	struct rdtgroup *rdtgrp;

	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list) {
		if (resctrl_arch_match_closid(task, rdtgrp->closid))
			return rdtgrp;
	}

	return NULL;
}

/* What this process has for that of the task, in the same control group */
static struct resctrl_mon_tasks *
resctrl_mon_find_tasks(struct task_struct *task, const struct rdtgroup *parent)
{
	struct resctrl_mon_tasks *tasks;

	list_for_each_entry(tasks, &resctrl_mon_all_tasks, node) {
		if (tasks->rdtgrp && tasks->rdtgrp->mon.parent == parent &&
		    tasks->opener == task_tgid(current) && tasks->process == task_tgid(task))
			return tasks;
	}

	return NULL;
}

static struct resctrl_mon_tasks *
resctrl_mon_create_tasks(struct task_struct *task, struct rdtgroup *parent)
{
	struct resctrl_mon_tasks *tasks = resctrl_mon_alloc_tasks(task);
	int ret;

	if (!tasks)
		return ERR_PTR(-ENOMEM);

	ret = resctrl_mon_mkdir(tasks, task, parent);
	if (ret) {
		resctrl_mon_free_tasks(tasks);
		return ERR_PTR(ret);
	}
	list_add_tail(&tasks->node, &resctrl_mon_all_tasks);

	return tasks;
}

/*
 * Whether CPUs on which the task may run are some group's: a task that is in no group
 * itself is in theirs.
 */
static bool resctrl_mon_is_of_cpus(struct task_struct *task)
{
	struct rdtgroup *rdtgrp, *child;

	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list) {
		if (rdtgrp != &rdtgroup_default &&
		    cpumask_intersects(&task->cpus_mask, &rdtgrp->cpu_mask))
			return true;
		list_for_each_entry(child, &rdtgrp->mon.crdtgrp_list, mon.crdtgrp_list) {
			if (cpumask_intersects(&task->cpus_mask, &child->cpu_mask))
				return true;
		}
	}

	return false;
}

/* The group for the task, which is in it from now on */
static struct resctrl_mon_tasks *resctrl_mon_get_tasks(struct task_struct *task)
{
	struct resctrl_mon_tasks *tasks;
	struct rdtgroup *parent;
	int ret;

	if (!resctrl_mounted)
		return ERR_PTR(-ENODEV);

	/* It is dead. */
	if (!task_tgid(task))
		return ERR_PTR(-ESRCH);

	parent = resctrl_mon_control_group(task);
	if (!parent || resctrl_mon_is_locked(parent))
		return ERR_PTR(-EOPNOTSUPP);

	tasks = resctrl_mon_find_tasks(task, parent);
	if (!resctrl_arch_match_rmid(task, parent->closid, parent->mon.rmid) &&
	    !(tasks && resctrl_arch_match_rmid(task, parent->closid, tasks->rdtgrp->mon.rmid)))
		return ERR_PTR(-EBUSY);

	if (parent == &rdtgroup_default && resctrl_mon_is_of_cpus(task))
		return ERR_PTR(-EBUSY);

	if (!tasks)
		tasks = resctrl_mon_create_tasks(task, parent);
	if (IS_ERR(tasks))
		return tasks;

	tasks->nr_sets++;
	ret = __rdtgroup_move_task(task, tasks->rdtgrp);
	if (ret) {
		resctrl_mon_put_tasks(tasks);
		return ERR_PTR(ret);
	}

	return tasks;
}

/**
 * resctrl_mon_watch_task() - get the RMID of a group for a task, and learn of changes
 * @set:	Filled in, but for @changed, which the caller did
 * @task:	A task that is in no MON group, or in one that was made for this process
 *		to monitor the task's
 *
 * What the process monitors of the threads of one other is in one group: those that have
 * the same @set->tasks. The group is removed after the last resctrl_mon_unwatch().
 *
 * Context: Task context, takes rdtgroup_mutex and the CPU hotplug lock. @changed may
 * be called before this returns.
 * Return: 0, -ENODEV if resctrl is not mounted, -EBUSY if the task is in a MON group
 * of somebody else, or in no group and allowed on CPUs of one, -EOPNOTSUPP if its control
 * group is pseudo-locked, -ENOSPC if there is no RMID, -ESRCH if the task is gone,
 * -ENOMEM, or the error of making a directory
 */
int resctrl_mon_watch_task(struct resctrl_mon_set *set, struct task_struct *task)
{
	struct resctrl_mon_tasks *tasks;

	set->rmids = bitmap_zalloc(resctrl_arch_system_num_rmid_idx(), GFP_KERNEL);
	if (!set->rmids)
		return -ENOMEM;

	guard(cpus_read_lock)();
	guard(mutex)(&rdtgroup_mutex);

	tasks = resctrl_mon_get_tasks(task);
	if (IS_ERR(tasks)) {
		bitmap_free(set->rmids);
		return PTR_ERR(tasks);
	}

	set->tasks = tasks;
	set->rmid = tasks->rdtgrp->mon.rmid;
	set->single = true;
	resctrl_mon_fill(set, tasks->rdtgrp);
	list_add_tail(&set->node, &resctrl_mon_sets);

	return 0;
}

/**
 * resctrl_mon_inherit() - a task of the group has forked
 * @set:	That of the group
 * @child:	Does not run yet, and nobody else knows it
 *
 * The child has the RMID that its parent had when fork() began, before
 * resctrl_mon_watch_task() perhaps.
 *
 * Context: Task context, that of the parent. May take rdtgroup_mutex.
 */
void resctrl_mon_inherit(const struct resctrl_mon_set *set, struct task_struct *child)
{
	if (!set->tasks || resctrl_arch_match_rmid(child, 0, set->rmid) ||
	    !resctrl_arch_match_rmid(current, 0, set->rmid))
		return;

	guard(mutex)(&rdtgroup_mutex);

	if (set->tasks->rdtgrp)
		__rdtgroup_move_task(child, set->tasks->rdtgrp);
}

/**
 * resctrl_mon_unwatch() - undo resctrl_mon_watch() or resctrl_mon_watch_task()
 * @set:	The set, nobody looks at it any more
 *
 * Context: Task context, takes rdtgroup_mutex, and for tasks the CPU hotplug lock.
 */
void resctrl_mon_unwatch(struct resctrl_mon_set *set)
{
	/* Other sets may go under the mutex of a CPU's context, which hotplug takes. */
	if (set->tasks)
		cpus_read_lock();
	scoped_guard(mutex, &rdtgroup_mutex) {
		list_del(&set->node);
		if (set->tasks)
			resctrl_mon_put_tasks(set->tasks);
	}
	if (set->tasks)
		cpus_read_unlock();
	bitmap_free(set->rmids);
}

/* resctrl's groups change */

static void resctrl_mon_join(u32 set_rmid, u32 rmid)
{
	struct resctrl_mon_set *set;

	lockdep_assert_held(&rdtgroup_mutex);

	list_for_each_entry(set, &resctrl_mon_sets, node) {
		if (set->rmid != set_rmid)
			continue;
		set_bit(rmid, set->rmids);
		set->changed(set, false);
	}
}

static void resctrl_mon_leave(struct resctrl_mon_set *set, u32 rmid)
{
	bool gone = set->rmid == rmid;
	unsigned int bit;

	if (!test_bit(rmid, set->rmids))
		return;

	clear_bit(rmid, set->rmids);
	if (gone) {
		/* ->changed() is not called again: for unwatch, an entry of nothing. */
		list_del_init(&set->node);
		for_each_set_bit(bit, set->rmids, resctrl_arch_system_num_rmid_idx())
			clear_bit(bit, set->rmids);
	}
	set->changed(set, gone);
}

/* alloc_rmid() */
void resctrl_mon_rmid_allocated(u32 rmid)
{
	resctrl_mon_join(RESCTRL_MON_NO_RMID, rmid);
}

/* free_rmid(): nobody runs with it any more, and nobody else does yet. */
void resctrl_mon_rmid_freed(u32 rmid)
{
	struct resctrl_mon_set *set, *tmp;
	struct resctrl_mon_tasks *tasks;

	lockdep_assert_held(&rdtgroup_mutex);

	list_for_each_entry_safe(set, tmp, &resctrl_mon_sets, node)
		resctrl_mon_leave(set, rmid);

	list_for_each_entry(tasks, &resctrl_mon_all_tasks, node) {
		if (!tasks->rdtgrp || tasks->rdtgrp->mon.rmid != rmid)
			continue;
		/* The control group does not lose what they moved: nobody asked for a group. */
		if (!tasks->nr_sets)
			resctrl_mon_read_bytes(tasks->rdtgrp, true);
		tasks->rdtgrp = NULL;
	}
}

/* A MON group is in a CTRL_MON group's list now. */
void resctrl_mon_child_added(const struct rdtgroup *parent, const struct rdtgroup *child)
{
	resctrl_mon_join(parent->mon.rmid, child->mon.rmid);
}

/* It is not any more. */
void resctrl_mon_child_removed(const struct rdtgroup *parent, const struct rdtgroup *child)
{
	struct resctrl_mon_set *set, *tmp;

	lockdep_assert_held(&rdtgroup_mutex);

	list_for_each_entry_safe(set, tmp, &resctrl_mon_sets, node) {
		if (set->rmid == parent->mon.rmid)
			resctrl_mon_leave(set, child->mon.rmid);
	}
}

/**
 * resctrl_mon_domain_id() - the monitoring domain of a CPU
 * @cpu:	CPU number; may be one that is just coming online
 *
 * Context: CPU hotplug is locked.
 * Return: Its id, as in the names of mon_data's directories (of mon_sub_L3_* with
 * Sub-NUMA clusters); negative if it is not known
 */
int resctrl_mon_domain_id(unsigned int cpu)
{
	struct rdt_resource *r = &rdt_resources_all[RDT_RESOURCE_L3].r_resctrl;

	return get_domain_id_from_scope(cpu, r->mon_scope);
}
