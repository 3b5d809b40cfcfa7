/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_RESCTRL_MON_H
#define _ASM_X86_RESCTRL_MON_H

#include <linux/list.h>
#include <linux/resctrl.h>
#include <linux/types.h>

/* For perf: the monitoring counters of resctrl's groups */

struct resctrl_mon_tasks;
struct task_struct;

/* resctrl_mon_watch(): not one group, but all that there are */
#define RESCTRL_MON_ALL_GROUPS	0

/**
 * struct resctrl_mon_info - what the hardware's monitoring counters are like
 * @events:	One bit for each enum resctrl_event_id that can be read
 * @num_rmid:	RMIDs are below this
 * @scale:	Bytes per chunk
 * @width:	Bits of a bandwidth counter
 * @restarts:	A bandwidth counter starts at 0 whenever the hardware begins to
 *		track an RMID, and it may lose track of those that run nowhere:
 *		resctrl_mon_read() tells.
 * @cf_rmid:	Bandwidth of RMIDs above this one must be corrected
 * @cf:		Correction factor, in units of 2^-20
 */
struct resctrl_mon_info {
	unsigned long	events;
	u32		num_rmid;
	unsigned int	scale;
	unsigned int	width;
	bool		restarts;
	u32		cf_rmid;
	u32		cf;
};

/**
 * struct resctrl_mon_set - the RMIDs of a group, kept up to date
 * @changed:	Called after bits of @rmids changed, before an RMID that left is
 *		used for anything else. @gone: the group is, and @rmids empty; this
 *		is the last call. Task context, rdtgroup_mutex is held.
 * @rmids:	One bit for each RMID that counts for the group: its own, and those
 *		of its MON groups if it is a CTRL_MON group. Bits change at any
 *		time.
 * @rmid:	That of the group, RESCTRL_MON_NO_RMID: all groups. Constant.
 * @single:	There will never be another one. Constant.
 * @tasks:	The group was made for tasks, resctrl_mon_watch_task(). Constant.
 * @node:	Entry in the list of all sets, under rdtgroup_mutex
 */
struct resctrl_mon_set {
	void			(*changed)(struct resctrl_mon_set *set, bool gone);
	unsigned long		*rmids;
	u32			rmid;
	bool			single;
	struct resctrl_mon_tasks *tasks;
	struct list_head	node;
};

#define RESCTRL_MON_NO_RMID	U32_MAX

int resctrl_mon_get_info(struct resctrl_mon_info *info);
int resctrl_mon_domain_id(unsigned int cpu);
int resctrl_mon_watch(struct resctrl_mon_set *set, u64 ino);
int resctrl_mon_watch_task(struct resctrl_mon_set *set, struct task_struct *task);
void resctrl_mon_unwatch(struct resctrl_mon_set *set);
void resctrl_mon_inherit(const struct resctrl_mon_set *set, struct task_struct *child);
int resctrl_mon_read(u32 rmid, enum resctrl_event_id evtid, u64 *chunks, u32 *restarts);

#endif /* _ASM_X86_RESCTRL_MON_H */
