// SPDX-License-Identifier: GPL-2.0-only
/*
 * Resource Director Technology(RDT)
 * - Monitoring groups for perf
 *
 * The PMU resctrl counts by RMID, see arch/x86/events/rdt.c. Here it finds the RMIDs of
 * groups. resctrl reports changes to it:
 *
 *	alloc_rmid()		resctrl_mon_rmid_joined(): a group of its own
 *	__mon_event_count()	resctrl_mon_rmid_reset(): its counter was reset here, now
 *	__rdtgroup_mkdir_mon()	resctrl_mon_rmid_joined(): a MON group of this CTRL_MON group
 *	mongrp_reparent()	resctrl_mon_rmid_moved(): of another one
 *	free_rmid()		resctrl_mon_rmid_freed(): nobody runs with it any more
 *
 * An RMID is freed when its group is removed, also by umount, and when that is
 * pseudo-locked. The default group has RMID 0, whether resctrl is mounted or not.
 */
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/kernfs.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>

#include <asm/resctrl_mon.h>

#include "internal.h"

/**
 * resctrl_mon_get_kn() - what may be the directory of a group
 * @fd:		A file descriptor of the current task
 *
 * Return: The file's node, for kernfs_put(), of whatever file system; NULL if it has none
 */
struct kernfs_node *resctrl_mon_get_kn(int fd)
{
	struct kernfs_node *kn = NULL;

	CLASS(fd, f)(fd);

	if (fd_file(f))
		kn = kernfs_node_from_dentry(fd_file(f)->f_path.dentry);
	if (kn)
		kernfs_get(kn);

	return kn;
}

/* Whether a group has an RMID: those that are, or will be, pseudo-locked gave theirs back. */
bool resctrl_mon_has_rmid(const struct rdtgroup *rdtgrp)
{
	return rdtgrp->mode != RDT_MODE_PSEUDO_LOCKSETUP &&
	       rdtgrp->mode != RDT_MODE_PSEUDO_LOCKED;
}

/**
 * resctrl_mon_find_group() - find a group by its directory
 * @kn:		The directory, or any node of a kernfs
 * @rmid:	The RMID of the group
 * @is_mon_group: Whether it is a MON group
 *
 * Context: rdtgroup_mutex is held.
 * Return: 0, -EINVAL if there is no such group, or it is pseudo-locked
 */
int resctrl_mon_find_group(const struct kernfs_node *kn, u32 *rmid, bool *is_mon_group)
{
	const struct rdtgroup *rdtgrp, *child;

	lockdep_assert_held(&rdtgroup_mutex);

	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list) {
		*is_mon_group = false;
		*rmid = rdtgrp->mon.rmid;
		if (rdtgrp->kn == kn)
			return resctrl_mon_has_rmid(rdtgrp) ? 0 : -EINVAL;

		*is_mon_group = true;
		list_for_each_entry(child, &rdtgrp->mon.crdtgrp_list, mon.crdtgrp_list) {
			*rmid = child->mon.rmid;
			if (child->kn == kn)
				return 0;
		}
	}

	return -EINVAL;
}

/**
 * resctrl_mon_visit_groups() - call a function for all groups that have an RMID
 * @fn:		Called with the RMID of the group, and that of its CTRL_MON group
 *
 * Context: rdtgroup_mutex is held.
 */
void resctrl_mon_visit_groups(resctrl_mon_group_fn fn)
{
	const struct rdtgroup *rdtgrp, *child;

	lockdep_assert_held(&rdtgroup_mutex);

	list_for_each_entry(rdtgrp, &rdt_all_groups, rdtgroup_list) {
		if (!resctrl_mon_has_rmid(rdtgrp))
			continue;
		fn(rdtgrp->mon.rmid, rdtgrp->mon.rmid);
		list_for_each_entry(child, &rdtgrp->mon.crdtgrp_list, mon.crdtgrp_list)
			fn(child->mon.rmid, rdtgrp->mon.rmid);
	}
}

/* The hardware */

/**
 * resctrl_arch_mon_info() - what the hardware counts
 * @events:	One bit for each enum resctrl_event_id
 * @num_rmid:	RMIDs are below this
 *
 * Context: After resctrl is initialised, a late_initcall.
 * Return: 0, -ENODEV if resctrl cannot monitor the L3
 */
int resctrl_arch_mon_info(unsigned long *events, u32 *num_rmid)
{
	struct rdt_resource *r = &rdt_resources_all[RDT_RESOURCE_L3].r_resctrl;

	if (!r->mon_capable)
		return -ENODEV;

	*events = rdt_mon_features;
	*num_rmid = r->num_rmid;

	return 0;
}

/**
 * resctrl_arch_mon_domain_id() - the monitoring domain of a CPU
 * @cpu:	CPU number; may be one that is just coming online
 *
 * Context: CPU hotplug is locked.
 * Return: Its id, as in the names of mon_data's directories (of mon_sub_L3_* with
 * Sub-NUMA clusters); negative if it is not known
 */
int resctrl_arch_mon_domain_id(unsigned int cpu)
{
	struct rdt_resource *r = &rdt_resources_all[RDT_RESOURCE_L3].r_resctrl;

	return get_domain_id_from_scope(cpu, r->mon_scope);
}
