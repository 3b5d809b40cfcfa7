/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _ASM_X86_RESCTRL_MON_H
#define _ASM_X86_RESCTRL_MON_H

#include <linux/mutex.h>
#include <linux/resctrl.h>
#include <linux/types.h>

/* What perf and resctrl have to do with each other */

struct kernfs_node;
struct rdtgroup;

/* Groups stay as they are while it is held. */
extern struct mutex rdtgroup_mutex;

/* perf_mon.c: groups */
struct kernfs_node *resctrl_mon_get_kn(int fd);
bool resctrl_mon_has_rmid(const struct rdtgroup *rdtgrp);
int resctrl_mon_find_group(const struct kernfs_node *kn, u32 *rmid, bool *is_mon_group);

typedef void (*resctrl_mon_group_fn)(u32 rmid, u32 parent);

void resctrl_mon_visit_groups(resctrl_mon_group_fn fn);

/* perf_task.c: groups of tasks */
struct resctrl_mon_group;
struct pid;
struct task_struct;

struct resctrl_mon_group *resctrl_mon_group_get(struct task_struct *task, struct pid *process,
						unsigned int max);
void resctrl_mon_group_put(struct resctrl_mon_group *group);
int resctrl_mon_group_read(const struct resctrl_mon_group *group, enum resctrl_event_id event,
			   u64 *val);
bool resctrl_mon_group_has(const struct resctrl_mon_group *group, struct task_struct *task);

/* The hardware */
int resctrl_arch_mon_info(unsigned long *events, u32 *num_rmid);
int resctrl_arch_mon_domain_id(unsigned int cpu);

/* perf's PMU: the groups change. rdtgroup_mutex is held. */
#ifdef CONFIG_PERF_EVENTS_RDT
void resctrl_mon_rmid_reset(u32 rmid, enum resctrl_event_id event);
void resctrl_mon_rmid_joined(u32 rmid, u32 parent);
void resctrl_mon_rmid_moved(u32 rmid, u32 parent);
void resctrl_mon_rmid_freed(u32 rmid);
void resctrl_mon_group_freed(u32 rmid);
void resctrl_mon_cpus_written(const struct rdtgroup *rdtgrp);
void resctrl_mon_locksetup(struct rdtgroup *rdtgrp);
int resctrl_mon_may_move(struct rdtgroup *rdtgrp, const struct rdtgroup *parent);
#else
static inline void resctrl_mon_rmid_reset(u32 rmid, enum resctrl_event_id event) { }
static inline void resctrl_mon_rmid_joined(u32 rmid, u32 parent) { }
static inline void resctrl_mon_rmid_moved(u32 rmid, u32 parent) { }
static inline void resctrl_mon_rmid_freed(u32 rmid) { }
static inline void resctrl_mon_group_freed(u32 rmid) { }
static inline void resctrl_mon_cpus_written(const struct rdtgroup *rdtgrp) { }
static inline void resctrl_mon_locksetup(struct rdtgroup *rdtgrp) { }
static inline int resctrl_mon_may_move(struct rdtgroup *rdtgrp, const struct rdtgroup *parent)
{
	return 0;
}
#endif

#endif /* _ASM_X86_RESCTRL_MON_H */
