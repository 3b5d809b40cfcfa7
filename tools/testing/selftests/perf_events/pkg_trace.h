/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Reads the tracepoints of package-scope counters in a tracing instance of
 * our own, so that nobody else's trace is disturbed.
 */
#ifndef PKG_TRACE_H
#define PKG_TRACE_H

#include <sys/stat.h>

#include "pkg_clock.h"

#define PKG_TRACEFS	"/sys/kernel/tracing/instances/pkg_selftest/"

/* A refresh pass on @cpu, or with @from not -1 a timer that moved from there to @cpu */
struct pkg_refresh {
	double	time;
	int	domain;
	int	cpu;
	int	from;
};

static inline void pkg_trace_close(void)
{
	rmdir(PKG_TRACEFS);
}

/* Returns 0, or why there is no trace of the refresh passes */
static inline const char *pkg_trace_open(void)
{
	if (mkdir(PKG_TRACEFS, 0700) && errno != EEXIST)
		return "no tracefs";
	pkg_set(PKG_TRACEFS, "tracing_on", 0);
	pkg_set_str(PKG_TRACEFS, "trace_clock", "mono");
	pkg_set(PKG_TRACEFS, "buffer_size_kb", 4096);
	if (!pkg_set(PKG_TRACEFS, "events/perf_pkg/perf_pkg_refresh/enable", 1) &&
	    !pkg_set(PKG_TRACEFS, "events/perf_pkg/perf_pkg_timer_migrate/enable", 1))
		return NULL;
	pkg_trace_close();
	return "no tracepoints of perf_pkg";
}

static inline void pkg_trace_start(void)
{
	/* Empties it */
	close(open(PKG_TRACEFS "trace", O_WRONLY | O_TRUNC | O_CLOEXEC));
	pkg_set(PKG_TRACEFS, "tracing_on", 1);
}

static inline int pkg_trace_field(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	return at ? atoi(at + strlen(name)) : -1;
}

/* Stops and returns what pkg_clock's timers did in the order of time, at most @max */
static inline int pkg_trace_stop(struct pkg_refresh *refresh, int max)
{
	char line[512], *at, *sep;
	bool moved;
	int nr = 0;
	FILE *f;

	pkg_set(PKG_TRACEFS, "tracing_on", 0);
	f = fopen(PKG_TRACEFS "trace", "r");
	if (!f)
		return -errno;
	while (nr < max && fgets(line, sizeof(line), f)) {
		at = strstr(line, ": perf_pkg_");
		if (line[0] == '#' || !at || !strstr(at, "pmu=pkg_clock "))
			continue;
		/* TASK-PID [CPU] FLAGS SECONDS: perf_pkg_refresh: ... */
		for (sep = at; sep > line && sep[-1] != ' '; sep--)
			;
		moved = strstr(at, "timer_migrate:");
		refresh[nr].time = atof(sep);
		refresh[nr].domain = pkg_trace_field(at, " domain=");
		refresh[nr].cpu = pkg_trace_field(at, moved ? " to=" : " cpu=");
		refresh[nr].from = pkg_trace_field(at, " from=");
		nr++;
	}
	fclose(f);
	return nr;
}

#endif /* PKG_TRACE_H */
