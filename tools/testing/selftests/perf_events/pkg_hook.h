/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the regression tests of pmu::count() in the perf core. Their CPU events
 * are those of the PMU `power`, which every kernel has, so most tests also run
 * on one without package-scope counters. Their task events are pkg_clock's.
 */
#ifndef PKG_HOOK_H
#define PKG_HOOK_H

#include "pkg_puppet.h"

#define POWER_PMU	"/sys/bus/event_source/devices/power/"
/* energy-pkg */
#define POWER_PKG	0x02

/* Counts energy, far from CPU 0: @cpu is in the cpumask, @other is not */
struct hook_cpus {
	int	far;
	int	cpu;
	int	other;
};

/* Whether `power` has package-scope counters */
static inline bool hook_has_engine(void)
{
	return !access(POWER_PMU "refresh_interval_us", F_OK);
}

static inline int hook_set_online(int cpu, int online)
{
	char dir[64];

	snprintf(dir, sizeof(dir), "/sys/devices/system/cpu/cpu%d/", cpu);
	return pkg_get(dir, "online") == online ? 0 : pkg_set(dir, "online", online);
}

static inline bool hook_can_go(int cpu)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/online", cpu);
	return !access(path, W_OK);
}

/* A package, and a die where energy is counted by die */
static inline int hook_domain(int cpu)
{
	char dir[64];

	snprintf(dir, sizeof(dir), "/sys/devices/system/cpu/cpu%d/topology/", cpu);
	return pkg_cpu_id(cpu) << 16 | (pkg_get(dir, "die_id") & 0xffff);
}

/* The last CPU in power's cpumask; -1: there is none */
static inline int hook_mask_cpu(void)
{
	char line[256] = "", *pos;
	FILE *file;

	file = fopen(POWER_PMU "cpumask", "re");
	if (!file)
		return -1;
	if (!fgets(line, sizeof(line), file))
		line[0] = 0;
	fclose(file);
	for (pos = line + strlen(line); pos > line && !strchr(",-", pos[-1]); pos--)
		;
	return line[0] ? atoi(pos) : -1;
}

/* Another CPU of the domain; -1: there is none */
static inline int hook_other_cpu(int cpu)
{
	int p, c, other;

	for (p = 0; p < topo.nr; p++) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++) {
			other = topo.pkg[p].cpu[c];
			if (other != cpu && hook_domain(other) == hook_domain(cpu))
				return other;
		}
	}
	return -1;
}

/* Loads pkg_clock if there is one. Returns NULL, or why there is nothing to test here. */
static inline const char *hook_init(struct hook_cpus *cpus)
{
	if (geteuid())
		return "needs root";
	if (access(PKG_PMU, F_OK))
		pkg_load_module("pkg_clock");
	pkg_find_cpus();
	if (access(POWER_PMU "events/energy-pkg", F_OK))
		return "no power/energy-pkg/";
	if (topo.nr < 2)
		return "needs more packages";
	cpus->far = topo.pkg[0].cpu[0];
	cpus->cpu = hook_mask_cpu();
	cpus->other = hook_other_cpu(cpus->cpu);
	if (cpus->other < 0 || hook_domain(cpus->cpu) == hook_domain(cpus->far))
		return "needs two CPUs in an energy domain far from CPU 0";
	if (!hook_can_go(cpus->cpu) || !hook_can_go(cpus->other))
		return "needs CPUs that can go offline";
	return pkg_pin(cpus->far) ? "cannot run on CPU 0" : NULL;
}

static inline void hook_exit(const struct hook_cpus *cpus)
{
	hook_set_online(cpus->cpu, 1);
	hook_set_online(cpus->other, 1);
}

static inline struct perf_event_attr hook_power_attr(void)
{
	struct perf_event_attr attr = {
		.type	= pkg_get(POWER_PMU, "type"),
		.size	= sizeof(attr),
		.config	= POWER_PKG,
	};

	return attr;
}

#endif /* PKG_HOOK_H */
