/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM perf_pkg

#if !defined(_TRACE_PERF_PKG_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_PERF_PKG_H

#include <linux/tracepoint.h>
#include <linux/types.h>

DECLARE_EVENT_CLASS(perf_pkg_timer,

	TP_PROTO(const char *pmu, int domain, int cpu),

	TP_ARGS(pmu, domain, cpu),

	TP_STRUCT__entry(
		__string(	pmu,		pmu	)
		__field(	int,		domain	)
		__field(	int,		cpu	)
	),

	TP_fast_assign(
		__assign_str(pmu);
		__entry->domain		= domain;
		__entry->cpu		= cpu;
	),

	TP_printk("pmu=%s domain=%d cpu=%d",
		  __get_str(pmu), __entry->domain, __entry->cpu)
);

DEFINE_EVENT(perf_pkg_timer, perf_pkg_timer_start,

	TP_PROTO(const char *pmu, int domain, int cpu),

	TP_ARGS(pmu, domain, cpu)
);

DEFINE_EVENT(perf_pkg_timer, perf_pkg_timer_stop,

	TP_PROTO(const char *pmu, int domain, int cpu),

	TP_ARGS(pmu, domain, cpu)
);

/* A slice of a domain's timer: it looked at some counters, others are left of the pass. */
TRACE_EVENT(perf_pkg_refresh,

	TP_PROTO(const char *pmu, int domain, int cpu, unsigned int counters,
		 unsigned int left, u64 duration_ns, u64 lateness_ns, u64 overruns),

	TP_ARGS(pmu, domain, cpu, counters, left, duration_ns, lateness_ns, overruns),

	TP_STRUCT__entry(
		__string(	pmu,		pmu	)
		__field(	u64,		duration_ns	)
		__field(	u64,		lateness_ns	)
		__field(	u64,		overruns	)
		__field(	int,		domain	)
		__field(	int,		cpu	)
		__field(	unsigned int,	counters	)
		__field(	unsigned int,	left	)
	),

	TP_fast_assign(
		__assign_str(pmu);
		__entry->duration_ns	= duration_ns;
		__entry->lateness_ns	= lateness_ns;
		__entry->overruns	= overruns;
		__entry->domain		= domain;
		__entry->cpu		= cpu;
		__entry->counters	= counters;
		__entry->left		= left;
	),

	TP_printk("pmu=%s domain=%d cpu=%d counters=%u left=%u duration_ns=%llu lateness_ns=%llu overruns=%llu",
		  __get_str(pmu), __entry->domain, __entry->cpu,
		  __entry->counters, __entry->left, __entry->duration_ns,
		  __entry->lateness_ns, __entry->overruns)
);

/* A hardware value reached its slot */
TRACE_EVENT(perf_pkg_publish,

	TP_PROTO(const char *pmu, unsigned int counter, int domain, u64 value,
		 s64 delta),

	TP_ARGS(pmu, counter, domain, value, delta),

	TP_STRUCT__entry(
		__string(	pmu,		pmu	)
		__field(	u64,		value	)
		__field(	s64,		delta	)
		__field(	unsigned int,	counter	)
		__field(	int,		domain	)
	),

	TP_fast_assign(
		__assign_str(pmu);
		__entry->value		= value;
		__entry->delta		= delta;
		__entry->counter	= counter;
		__entry->domain		= domain;
	),

	TP_printk("pmu=%s counter=%u domain=%d value=%llu delta=%lld",
		  __get_str(pmu), __entry->counter, __entry->domain,
		  __entry->value, __entry->delta)
);

/* A hardware read failed: the slot keeps its value and its age grows */
TRACE_EVENT(perf_pkg_error,

	TP_PROTO(const char *pmu, unsigned int counter, int domain, int err),

	TP_ARGS(pmu, counter, domain, err),

	TP_STRUCT__entry(
		__string(	pmu,		pmu	)
		__field(	unsigned int,	counter	)
		__field(	int,		domain	)
		__field(	int,		err	)
	),

	TP_fast_assign(
		__assign_str(pmu);
		__entry->counter	= counter;
		__entry->domain		= domain;
		__entry->err		= err;
	),

	TP_printk("pmu=%s counter=%u domain=%d err=%d",
		  __get_str(pmu), __entry->counter, __entry->domain,
		  __entry->err)
);

#endif /* _TRACE_PERF_PKG_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
