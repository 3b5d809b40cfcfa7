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

/* The PMU that pkg_trace_read() is asked about */
static const char *pkg_trace_pmu = "pkg_clock";

enum pkg_trace_kind {
	PKG_TRACE_REFRESH,
	PKG_TRACE_START,
	PKG_TRACE_STOP,
	PKG_TRACE_KINDS,
};

static const char * const pkg_trace_names[PKG_TRACE_KINDS] = {
	[PKG_TRACE_REFRESH]	= "perf_pkg_refresh",
	[PKG_TRACE_START]	= "perf_pkg_timer_start",
	[PKG_TRACE_STOP]	= "perf_pkg_timer_stop",
};

/*
 * What a timer did on @cpu, at @time of CLOCK_MONOTONIC. Times are in ns. A field that
 * the event does not have is -1.
 */
struct pkg_refresh {
	enum pkg_trace_kind	kind;
	int			domain;
	int			cpu;
	int			counters;
	int			left;
	long long		time;
	long long		duration;
	long long		lateness;
	long long		overruns;
};

static inline void pkg_trace_close(void)
{
	rmdir(PKG_TRACEFS);
}

static inline int pkg_trace_enable(enum pkg_trace_kind kind)
{
	char path[64];

	snprintf(path, sizeof(path), "events/perf_pkg/%s/enable", pkg_trace_names[kind]);
	return pkg_set(PKG_TRACEFS, path, 1);
}

/* Returns NULL, or why there is no trace of the first @kinds kinds */
static inline const char *pkg_trace_open_kinds(int kinds)
{
	int kind;

	if (mkdir(PKG_TRACEFS, 0700) && errno != EEXIST)
		return "no tracefs";
	pkg_set(PKG_TRACEFS, "tracing_on", 0);
	pkg_set_str(PKG_TRACEFS, "trace_clock", "mono");
	pkg_set(PKG_TRACEFS, "buffer_size_kb", 4096);
	/* Who left the instance behind may have had others on */
	pkg_set(PKG_TRACEFS, "events/enable", 0);
	for (kind = 0; kind < kinds; kind++) {
		if (pkg_trace_enable(kind)) {
			pkg_trace_close();
			return "no tracepoints of perf_pkg";
		}
	}
	return NULL;
}

/* Returns NULL, or why there is no trace of the refresh passes, and where timers start */
static inline const char *pkg_trace_open(void)
{
	return pkg_trace_open_kinds(PKG_TRACE_START + 1);
}

static inline void pkg_trace_start(void)
{
	/* Empties it */
	close(open(PKG_TRACEFS "trace", O_WRONLY | O_TRUNC | O_CLOEXEC));
	pkg_set(PKG_TRACEFS, "tracing_on", 1);
}

static inline long long pkg_trace_field(const char *line, const char *name)
{
	const char *at = strstr(line, name);

	return at ? atoll(at + strlen(name)) : -1;
}

/* Returns false for a line that is no event of the PMU's timers */
static inline bool pkg_trace_parse(char *line, struct pkg_refresh *r)
{
	char *at = strstr(line, ": perf_pkg_"), *sep, pmu[64];
	double time;
	size_t len;
	int kind;

	snprintf(pmu, sizeof(pmu), " pmu=%s ", pkg_trace_pmu);
	if (line[0] == '#' || !at || !strstr(at, pmu))
		return false;
	for (kind = 0; kind < PKG_TRACE_KINDS; kind++) {
		len = strlen(pkg_trace_names[kind]);
		if (!strncmp(at + 2, pkg_trace_names[kind], len) && at[2 + len] == ':')
			break;
	}
	if (kind == PKG_TRACE_KINDS)
		return false;

	/* TASK-PID [CPU] FLAGS SECONDS: perf_pkg_refresh: ... */
	for (sep = at; sep > line && sep[-1] != ' '; sep--)
		;
	time = atof(sep);
	*r = (struct pkg_refresh) {
		.kind		= kind,
		.domain		= pkg_trace_field(at, " domain="),
		.cpu		= pkg_trace_field(at, " cpu="),
		.counters	= pkg_trace_field(at, " counters="),
		.left		= pkg_trace_field(at, " left="),
		.time		= time * NSEC_PER_SEC,
		.duration	= pkg_trace_field(at, " duration_ns="),
		.lateness	= pkg_trace_field(at, " lateness_ns="),
		.overruns	= pkg_trace_field(at, " overruns="),
	};
	return true;
}

/* Returns what the PMU's timers did so far in the order of time, at most @max */
static inline int pkg_trace_read(struct pkg_refresh *refresh, int max)
{
	char line[512];
	int nr = 0;
	FILE *f;

	f = fopen(PKG_TRACEFS "trace", "r");
	if (!f)
		return -errno;
	while (nr < max && fgets(line, sizeof(line), f))
		nr += pkg_trace_parse(line, refresh + nr);
	fclose(f);
	return nr;
}

/* The same when it is over */
static inline int pkg_trace_stop(struct pkg_refresh *refresh, int max)
{
	pkg_set(PKG_TRACEFS, "tracing_on", 0);
	return pkg_trace_read(refresh, max);
}

#endif /* PKG_TRACE_H */
