/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of what keeps counts fresh and what limits that: knobs, what
 * the timers did, interrupts that a package took, CPUs that go and come.
 */
#ifndef PKG_FRESH_H
#define PKG_FRESH_H

#include "pkg_bench.h"
#include "pkg_puppet.h"
#include "pkg_trace.h"

#define FRESH_TRACE_MAX	100000

/* What the engine allows a slice of the timer, in us; and all of them, in percent */
#define FRESH_BUDGET_US		50
#define FRESH_CPU_PERCENT	10

enum fresh_knob {
	FRESH_INTERVAL,
	FRESH_MAX_AGE,
	FRESH_KNOBS,
};

static const char * const fresh_knobs[FRESH_KNOBS] = {
	[FRESH_INTERVAL]	= "refresh_interval_us",
	[FRESH_MAX_AGE]		= "max_age_us",
};

/* The PMU whose knobs these are */
static const char *fresh_pmu = PKG_PMU;

/* What they were before the test, as text: one of them may be "off" */
static char fresh_saved[FRESH_KNOBS][32];

/* What the timers did since fresh_watch() */
static struct pkg_refresh fresh_trace[FRESH_TRACE_MAX];
static int fresh_nr;

#define fresh_set(knob, val)		pkg_set(fresh_pmu, fresh_knobs[knob], val)
#define fresh_set_str(knob, val)	pkg_set_str(fresh_pmu, fresh_knobs[knob], val)

/* Returns false if there is no such file or nothing in it */
static inline bool fresh_get_line(const char *dir, const char *name, char *buf, int size)
{
	char path[PATH_MAX];
	FILE *file;

	snprintf(path, sizeof(path), "%s%s", dir, name);
	file = fopen(path, "re");
	if (!file || !fgets(buf, size, file))
		buf[0] = 0;
	if (file)
		fclose(file);
	buf[strcspn(buf, "\n")] = 0;
	return buf[0];
}

/* Returns NULL, or the reason why there is nothing to test here */
static inline const char *fresh_init(int min_packages)
{
	const char *why = pkg_init(min_packages);
	int i;

	for (i = 0; !why && i < FRESH_KNOBS; i++)
		if (!fresh_get_line(fresh_pmu, fresh_knobs[i], fresh_saved[i],
				    sizeof(fresh_saved[i])))
			why = "the kernel has no refresh_interval_us, max_age_us";
	return why ?: pkg_trace_open_kinds(PKG_TRACE_KINDS);
}

static inline void fresh_exit(void)
{
	int i;

	pkg_set(PKG_PARAM, "fail_read", 0);
	pkg_set(PKG_PARAM, "slow_read_us", 0);
	pkg_set(PKG_PARAM, "freeze_clock", 0);
	for (i = 0; i < FRESH_KNOBS; i++)
		fresh_set_str(i, fresh_saved[i]);
	pkg_trace_close();
}

/* Waits for the leader of a group of @nr, or with @nr 0 for an event without read_format */
static inline bool fresh_wait_for_leader(int fd, int nr)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	__u64 first[PKG_MAX_CPUS], val[PKG_MAX_CPUS];

	if (pkg_read(fd, first, nr))
		return false;
	do {
		if (pkg_read(fd, val, nr) || pkg_now(CLOCK_MONOTONIC) > end)
			return false;
	} while (val[0] == first[0]);
	return true;
}

static inline bool fresh_wait_for_change(int fd)
{
	return fresh_wait_for_leader(fd, 0);
}

/* Sorts them */
static inline __u64 fresh_quantile(__u64 *val, int nr, int percent)
{
	if (!nr)
		return 0;
	qsort(val, nr, sizeof(*val), bench_by_value);
	return val[(nr - 1) * percent / 100];
}

/* Trace */

/* What is in the trace of one domain, until NULL */
static inline struct pkg_refresh *fresh_from(struct pkg_refresh *t, int domain)
{
	for (; t < fresh_trace + fresh_nr; t++)
		if (t->domain == domain)
			return t;
	return NULL;
}

static inline struct pkg_refresh *fresh_first(int domain)
{
	return fresh_from(fresh_trace, domain);
}

static inline struct pkg_refresh *fresh_next(struct pkg_refresh *t)
{
	return fresh_from(t + 1, t->domain);
}

#define fresh_watch()	pkg_trace_start()

/* Looks at what there is; returns how much of one kind, for one domain, after a time */
static inline int fresh_look_since(enum pkg_trace_kind kind, int domain, __u64 since)
{
	struct pkg_refresh *t;
	int nr = 0;

	fresh_nr = pkg_trace_read(fresh_trace, FRESH_TRACE_MAX);
	if (fresh_nr < 0)
		fresh_nr = 0;
	for (t = fresh_first(domain); t; t = fresh_next(t))
		nr += t->kind == kind && t->time >= (long long)since;
	return nr;
}

static inline int fresh_look(enum pkg_trace_kind kind, int domain)
{
	return fresh_look_since(kind, domain, 0);
}

/* Waits for @nr of a kind in all */
static inline bool fresh_wait(enum pkg_trace_kind kind, int domain, int nr)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	int us;

	/* To look takes its time, too */
	for (us = 10000; fresh_look(kind, domain) < nr; us = us < 500000 ? 2 * us : us) {
		if (pkg_now(CLOCK_MONOTONIC) > end)
			return false;
		usleep(us);
	}
	return true;
}

/* Waits until the domain's timer, which was started since fresh_watch(), is stopped */
static inline bool fresh_wait_stopped(int domain)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	enum pkg_trace_kind last;
	struct pkg_refresh *t;

	do {
		usleep(5000);
		fresh_look(PKG_TRACE_STOP, domain);
		last = PKG_TRACE_KINDS;
		for (t = fresh_first(domain); t; t = fresh_next(t))
			if (t->kind == PKG_TRACE_START || t->kind == PKG_TRACE_STOP)
				last = t->kind;
	} while (last != PKG_TRACE_STOP && pkg_now(CLOCK_MONOTONIC) < end);
	return last == PKG_TRACE_STOP;
}

/* When the timer was due */
static inline long long fresh_due(const struct pkg_refresh *t)
{
	return t->time - t->duration - t->lateness;
}

/* Interrupts */

/* How many of the row @name these CPUs took, -1: there is no such row */
static inline long long fresh_irqs_of(const char *name, const bool *of_cpu)
{
	FILE *file = fopen("/proc/interrupts", "re");
	int cpu[PKG_MAX_CPUS], nr = 0;
	char *line = NULL, *pos;
	long long sum = -1;
	size_t size = 0;

	if (!file)
		return -1;
	if (getline(&line, &size, file) > 0)
		for (pos = line; nr < PKG_MAX_CPUS && (pos = strstr(pos, "CPU")); nr++)
			cpu[nr] = strtol(pos + 3, &pos, 10);
	while (sum < 0 && getline(&line, &size, file) > 0) {
		pos = line + strspn(line, " ");
		if (!strncmp(pos, name, strlen(name)) && pos[strlen(name)] == ':')
			sum = bench_interrupts_in_row(pos + strlen(name) + 1, cpu, nr, of_cpu);
	}
	free(line);
	fclose(file);
	return sum;
}

/* The CPUs of a package */
static inline long long fresh_irqs(const char *name, int pkg)
{
	bool of_cpu[PKG_MAX_CPUS] = {};
	int i;

	for (i = 0; i < topo.pkg[pkg].nr_cpus; i++)
		of_cpu[topo.pkg[pkg].cpu[i]] = true;
	return fresh_irqs_of(name, of_cpu);
}

/* CPUs */

static inline bool fresh_can_go(int cpu)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	return !access(path, W_OK);
}

static inline int fresh_set_online(int cpu, int online)
{
	char dir[64];

	snprintf(dir, sizeof(dir), "/sys/devices/system/cpu/cpu%d/", cpu);
	return pkg_get(dir, "online") == online ? 0 : pkg_set(dir, "online", online);
}

/* The CPU of a domain in a PMU's cpumask, -1: none, -2: more than one */
static inline int fresh_cpu_in_mask(const char *dir, int domain)
{
	int first, last, c, found = -1;
	char line[256], *pos = line;

	fresh_get_line(dir, "cpumask", line, sizeof(line));
	while (*pos) {
		first = strtol(pos, &pos, 10);
		last = *pos == '-' ? strtol(pos + 1, &pos, 10) : first;
		pos += strcspn(pos, "0123456789");
		for (c = 0; c < topo.pkg[domain].nr_cpus; c++)
			if (topo.pkg[domain].cpu[c] >= first && topo.pkg[domain].cpu[c] <= last)
				found = found == -1 ? topo.pkg[domain].cpu[c] : -2;
	}
	return found;
}

/* How many CPUs are in it */
static inline int fresh_mask_weight(const char *dir)
{
	char line[256], *pos = line;
	int first, last, nr = 0;

	fresh_get_line(dir, "cpumask", line, sizeof(line));
	while (*pos) {
		first = strtol(pos, &pos, 10);
		last = *pos == '-' ? strtol(pos + 1, &pos, 10) : first;
		pos += strcspn(pos, "0123456789");
		nr += last - first + 1;
	}
	return nr;
}

#endif /* PKG_FRESH_H */
