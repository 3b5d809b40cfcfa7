/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of energy events (the PMU `power`) on an emulator that also
 * reports the true values of its energy counters, see pkg_msr.h.
 *
 * An energy domain is a die on Intel's CPUs and a package on AMD's. `topo` lists
 * these domains, in the order in which Linux numbers them.
 */
#ifndef PKG_RAPL_H
#define PKG_RAPL_H

#include "pkg_fresh.h"
#include "pkg_msr.h"

#define RAPL_PMU	"/sys/bus/event_source/devices/power/"

/* Longer than a value that read(2) takes may be old, by default */
#define RAPL_AGE_US	2000
/* What may be missed while the emulator has other CPUs run, at most */
#define RAPL_SLACK_UJ	500
/*
 * Without package-scope counters: what is lost each time the core takes an event off its
 * CPU and puts it back, at most
 */
#define RAPL_RESTART_UJ	500
/* An event counts in 2^-32 joules */
#define RAPL_PER_UJ	(4294967296.0 / 1000000)

/* The kinds of events, as in config */
enum rapl_kind {
	RAPL_CORES	= 1,
	RAPL_PKG,
	RAPL_RAM,
	RAPL_KINDS,
};

static const char * const rapl_names[RAPL_KINDS] = {
	[RAPL_CORES]	= "events/energy-cores",
	[RAPL_PKG]	= "events/energy-pkg",
	[RAPL_RAM]	= "events/energy-ram",
};

static const enum msr_item rapl_items[RAPL_KINDS] = {
	[RAPL_CORES]	= MSR_CORES,
	[RAPL_PKG]	= MSR_PKG,
	[RAPL_RAM]	= MSR_RAM,
};

static struct {
	/* What the emulator calls the domains of topo */
	int	id[PKG_MAX];
	bool	amd;
	/* The driver uses package-scope counters */
	bool	engine;
	/* The energy MSRs count in 2^-unit joules */
	int	unit;
	bool	has[RAPL_KINDS];
} rapl;

/*
 * An event, and what it must have counted: the truth cannot be read at the very
 * moment when an event starts or stops, but before and after.
 */
struct rapl_count {
	int		fd;
	/* Number of events in the group that it leads, 0: read alone */
	int		group;
	enum rapl_kind	kind;
	/* Domain, by its index in topo */
	int		domain;
	bool		on;
	/* How often it was started */
	int		starts;
	/* How often the core stopped it and started it again at once */
	int		restarts;
	/* The truth before and after the last start, in microjoules */
	__u64		begin[2];
	/* What was counted before that start: between these */
	__u64		least;
	__u64		most;
};

/* MSRs */

static inline __u64 rapl_truth(enum rapl_kind kind, int domain)
{
	return msr_truth(TEST_MSR(rapl_items[kind], rapl.id[domain]));
}

/* The counter wraps after that many more units */
static inline int rapl_wrap_in(enum rapl_kind kind, int domain, __u32 units)
{
	return msr_write(TEST_MSR(rapl_items[kind], rapl.id[domain]), -units);
}

static inline int rapl_fail(int domain, bool fail)
{
	return msr_write(TEST_MSR(MSR_RAPL_FAULT, rapl.id[domain]), fail);
}

/* The machine */

static inline void rapl_find_domains(void)
{
	char dir[64];
	int cpu, id, d;

	memset(&topo, 0, sizeof(topo));
	for (cpu = 0; cpu < PKG_MAX_CPUS; cpu++) {
		snprintf(dir, sizeof(dir), "/sys/devices/system/cpu/cpu%d/topology/", cpu);
		id = pkg_get(dir, rapl.amd ? "physical_package_id" : "die_id");
		if (id < 0)
			continue;
		for (d = 0; d < topo.nr && rapl.id[d] != id; d++)
			;
		if (d == PKG_MAX)
			continue;
		if (d == topo.nr) {
			topo.pkg[topo.nr++].id = d;
			rapl.id[d] = id;
		}
		topo.pkg[d].cpu[topo.pkg[d].nr_cpus++] = cpu;
	}
}

/* Stays on CPU 0 from now on. Returns NULL, or why there is nothing to test here. */
static inline const char *rapl_init(int min_domains)
{
	char path[PATH_MAX];
	__u64 units;
	int kind;

	if (geteuid())
		return "needs root";
	if (access(RAPL_PMU, F_OK))
		return "no PMU power";
	if (msr_open(0))
		return "no /dev/cpu/0/msr";
	if (!msr_is_emulator())
		return "no emulator that reports true energies";
	rapl.amd = msr_is_amd();
	rapl.engine = !access(RAPL_PMU "refresh_interval_us", F_OK);
	if (msr_read(rapl.amd ? 0xc0010299 : 0x606, &units))
		return "no unit of energy";
	rapl.unit = units >> 8 & 0x1f;
	for (kind = RAPL_CORES; kind < RAPL_KINDS; kind++) {
		snprintf(path, sizeof(path), "%s%s", RAPL_PMU, rapl_names[kind]);
		rapl.has[kind] = !access(path, F_OK);
	}
	rapl_find_domains();
	return topo.nr < min_domains ? "needs more packages or dies" : NULL;
}

/* -1: none, -2: more than one */
static inline int rapl_cpu(int domain)
{
	return fresh_cpu_in_mask(RAPL_PMU, domain);
}

/* Events */

static inline struct perf_event_attr rapl_attr(__u64 config)
{
	struct perf_event_attr attr = {
		.type		= pkg_get(RAPL_PMU, "type"),
		.size		= sizeof(attr),
		.config		= config,
		.disabled	= 1,
	};

	return attr;
}

static inline int rapl_open(struct rapl_count *c, enum rapl_kind kind, int domain, int cpu)
{
	*c = (struct rapl_count) {
		.fd	= pkg_open(rapl_attr(kind), -1, cpu, -1),
		.kind	= kind,
		.domain	= domain,
	};
	return c->fd < 0 ? c->fd : 0;
}

static inline __u64 rapl_truth_of(const struct rapl_count *c)
{
	return rapl_truth(c->kind, c->domain);
}

/* After what starts it: with the truth before that */
static inline void rapl_started(struct rapl_count *c, __u64 before)
{
	c->begin[0] = before;
	c->begin[1] = rapl_truth_of(c);
	c->starts++;
	c->on = true;
}

static inline void rapl_stopped(struct rapl_count *c, __u64 before)
{
	c->least += before - c->begin[1];
	c->most += rapl_truth_of(c) - c->begin[0];
	c->on = false;
}

static inline void rapl_enable(struct rapl_count *c)
{
	__u64 before = rapl_truth_of(c);

	ioctl(c->fd, PERF_EVENT_IOC_ENABLE, 0);
	rapl_started(c, before);
}

static inline void rapl_disable(struct rapl_count *c)
{
	__u64 before = rapl_truth_of(c);

	ioctl(c->fd, PERF_EVENT_IOC_DISABLE, 0);
	rapl_stopped(c, before);
}

/* Of the group or the event; the leader's comes first */
static inline int rapl_read(const struct rapl_count *c, __u64 *val)
{
	return pkg_read(c->fd, val, c->group);
}

static inline __u64 rapl_value(const struct rapl_count *c)
{
	__u64 val[PKG_MAX_CPUS];

	return rapl_read(c, val) ? ~0ULL : val[0];
}

/* It takes off what has been read, so that must not be old */
static inline void rapl_reset(struct rapl_count *c)
{
	__u64 before = rapl_truth_of(c);

	usleep(RAPL_AGE_US);
	rapl_value(c);
	ioctl(c->fd, PERF_EVENT_IOC_RESET, 0);
	c->least = 0;
	c->most = 0;
	c->starts = 0;
	rapl_started(c, before);
}

/* Whether it fits a read of the hardware after @before, when the truth is @after now */
static inline bool rapl_fits(const struct rapl_count *c, __u64 val, __u64 before, __u64 after)
{
	/* What is counted begins and ends at a whole unit */
	__u64 slack = (c->starts + 1) * (1000000 / (1U << rapl.unit) + 2) + RAPL_SLACK_UJ +
		      (rapl.engine ? 0 : c->restarts * RAPL_RESTART_UJ);
	__u64 least = c->least, most = c->most, uj = val / RAPL_PER_UJ;

	if (c->on) {
		least += before > c->begin[1] ? before - c->begin[1] : 0;
		most += after - c->begin[0];
	}
	if (uj + slack >= least && uj <= most + slack)
		return true;
	ksft_print_msg("%s of domain %d: %llu uJ are not between %llu and %llu\n",
		       rapl_names[c->kind], c->domain, uj, least, most);
	return false;
}

/* Whether read(2) is right */
static inline bool rapl_right(const struct rapl_count *c)
{
	__u64 before = rapl_truth_of(c), val;

	usleep(RAPL_AGE_US);
	val = rapl_value(c);
	return rapl_fits(c, val, before, rapl_truth_of(c));
}

#endif /* PKG_RAPL_H */
