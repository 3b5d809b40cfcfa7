/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ARCH_X86_EVENTS_RDT_H
#define _ARCH_X86_EVENTS_RDT_H

#include <linux/sysfs.h>
#include <linux/time64.h>
#include <linux/types.h>

#define RDT_INTERVAL_US		10000U
/* As often as resctrl itself reads counters that wrap */
#define RDT_MAX_INTERVAL_US	USEC_PER_SEC

/* The group "events" of both PMUs */
extern const struct attribute_group rdt_events_group;

bool rdt_has_event(u64 config);

#endif /* _ARCH_X86_EVENTS_RDT_H */
