/* SPDX-License-Identifier: GPL-2.0-only */
#ifndef _ARCH_X86_EVENTS_RDT_H
#define _ARCH_X86_EVENTS_RDT_H

#include <linux/perf_event.h>
#include <linux/perf_pkg.h>
#include <linux/sysfs.h>
#include <linux/time64.h>

#define RDT_INTERVAL_US		10000U
/* As often as resctrl itself reads counters that wrap */
#define RDT_MAX_INTERVAL_US	USEC_PER_SEC

/* The group "events" of both PMUs */
extern const struct attribute_group rdt_events_group;

int rdt_event_check(struct perf_event *event, struct perf_pkg_desc *desc);

#endif /* _ARCH_X86_EVENTS_RDT_H */
