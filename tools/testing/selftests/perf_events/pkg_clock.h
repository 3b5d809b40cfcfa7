/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Helpers of the tests of package-scope counters, which use the PMUs of
 * test_modules/pkg_clock_pmu.c: finding them and the CPUs of each package, opening
 * and reading their events.
 */
#ifndef PKG_CLOCK_H
#define PKG_CLOCK_H

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/perf_event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../kselftest.h"

#define PKG_DEVICES	"/sys/bus/event_source/devices/"
/* Counts tasks, and what a CPU did */
#define PKG_PMU		PKG_DEVICES "pkg_clock/"
/* Counts whole packages: its events are CPU events */
#define PKG_DOMAIN_PMU	PKG_DEVICES "pkg_clock_domain/"
#define PKG_PARAM	"/sys/module/pkg_clock/parameters/"

#define NSEC_PER_USEC	1000ULL
#define NSEC_PER_MSEC	1000000ULL
#define NSEC_PER_SEC	1000000000ULL

/* For what must happen, but may take its time on a slow or emulated machine */
#define PKG_PATIENCE_NS	(30 * NSEC_PER_SEC)

/*
 * Two events of one task are started and stopped one after the other, so each
 * switch makes a difference of a moment. It is a long moment when just then
 * the machine below takes the CPU away, hence the tries: an error of the
 * kernel would come back in each.
 */
#define PKG_SWITCH_NS	(50 * NSEC_PER_USEC)
#define PKG_TRIES	5

/*
 * Run times are in the clock of the scheduler, ages in that of timekeeping.
 * Where the first is not stable it may be some ticks off for a while.
 */
#define PKG_CLOCKS_NS	(20 * NSEC_PER_MSEC)

#define PKG_RETRY(cond) ({				\
	int __tries = PKG_TRIES;			\
							\
	while (!(cond) && --__tries)			\
		;					\
	__tries > 0;					\
})

enum pkg_event {
	PKG_RUNTIME	= 0x01,
	/* Of pkg_clock_domain */
	PKG_BUSY	= 0x01,
	PKG_CLOCK	= 0x02,
	PKG_AGE		= 0xff,
};

enum pkg_policy {
	PKG_POLICY_SLOTS,
	PKG_POLICY_CACHED,
	PKG_POLICY_IPI,
	PKG_POLICY_SCOPE,
	PKG_POLICY_SYS,
};

#define PKG_POLICY(p)	((__u64)(p) << 8)
#define PKG_ALL		(-1)

/* A program for larger machines defines these itself */
#ifndef PKG_MAX
#define PKG_MAX		16
#define PKG_MAX_CPUS	64
#endif

static struct pkg_topo {
	int		nr;
	struct {
		int	id;
		int	nr_cpus;
		int	cpu[PKG_MAX_CPUS];
	} pkg[PKG_MAX];
} topo;

static inline __u64 pkg_now(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * NSEC_PER_SEC + ts.tv_nsec;
}

static inline long long pkg_get(const char *dir, const char *name)
{
	char path[PATH_MAX], buf[64] = "";
	int fd, len;

	snprintf(path, sizeof(path), "%s%s", dir, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	return len > 0 ? atoll(buf) : -EIO;
}

static inline int pkg_set_str(const char *dir, const char *name, const char *val)
{
	char path[PATH_MAX];
	int fd, err = 0;

	snprintf(path, sizeof(path), "%s%s", dir, name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	if (write(fd, val, strlen(val)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static inline int pkg_set(const char *dir, const char *name, long long val)
{
	char buf[32];

	snprintf(buf, sizeof(buf), "%lld", val);
	return pkg_set_str(dir, name, buf);
}

static inline int pkg_cpu_id(int cpu)
{
	char dir[64];

	snprintf(dir, sizeof(dir), "/sys/devices/system/cpu/cpu%d/topology/", cpu);
	return pkg_get(dir, "physical_package_id");
}

static inline void pkg_find_cpus(void)
{
	int cpu, id, i;

	memset(&topo, 0, sizeof(topo));
	for (cpu = 0; cpu < PKG_MAX_CPUS; cpu++) {
		id = pkg_cpu_id(cpu);
		if (id < 0)
			continue;
		for (i = 0; i < topo.nr && topo.pkg[i].id != id; i++)
			;
		if (i == PKG_MAX)
			continue;
		if (i == topo.nr)
			topo.pkg[topo.nr++].id = id;
		topo.pkg[i].cpu[topo.pkg[i].nr_cpus++] = cpu;
	}
}

/* The module lies beside the test, or is installed */
static inline void pkg_load_module(const char *name)
{
	char exe[PATH_MAX] = "", ko[PATH_MAX + 64];
	int fd;

	if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		return;
	snprintf(ko, sizeof(ko), "%s/test_modules/%s.ko", dirname(exe), name);
	fd = open(ko, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		snprintf(ko, sizeof(ko), "modprobe -q %s", name);
		if (system(ko))
			return;
	} else {
		syscall(__NR_finit_module, fd, "", 0);
		close(fd);
	}
}

/* Returns NULL, or the reason why there is nothing to test here */
static inline const char *pkg_init(int min_packages)
{
	if (geteuid())
		return "needs root";
	if (access(PKG_PMU, F_OK))
		pkg_load_module("pkg_clock");
	if (access(PKG_PMU, F_OK))
		return "no PMU pkg_clock: is test_modules/pkg_clock.ko built?";
	pkg_find_cpus();
	return topo.nr < min_packages ? "needs more packages" : NULL;
}

/* Events */

/* @id: of the package to count in, PKG_ALL: in all of them */
static inline struct perf_event_attr pkg_attr(__u64 config, int id)
{
	struct perf_event_attr attr = {
		.type		= pkg_get(PKG_PMU, "type"),
		.size		= sizeof(attr),
		.config		= config,
		.config1	= id < 0 ? 0 : 1ULL << id,
	};

	return attr;
}

static inline struct perf_event_attr pkg_domain_attr(__u64 config)
{
	struct perf_event_attr attr = {
		.type		= pkg_get(PKG_DOMAIN_PMU, "type"),
		.size		= sizeof(attr),
		.config		= config,
	};

	return attr;
}

static inline struct perf_event_attr pkg_sw_attr(__u64 config)
{
	struct perf_event_attr attr = {
		.type		= PERF_TYPE_SOFTWARE,
		.size		= sizeof(attr),
		.config		= config,
	};

	return attr;
}

static inline int pkg_open(struct perf_event_attr attr, pid_t pid, int cpu, int group)
{
	int fd = syscall(__NR_perf_event_open, &attr, pid, cpu, group,
			 PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

/* In a test: opened, or the test ends here */
#define PKG_OPEN(...) ({				\
	int __fd = pkg_open(__VA_ARGS__);		\
							\
	ASSERT_LE(0, __fd);				\
	__fd;						\
})

/* @nr values of a group, or with @nr 0 the one of an event without read_format */
static inline int pkg_read(int fd, __u64 *val, int nr)
{
	__u64 buf[1 + PKG_MAX_CPUS];
	int len = (nr + 1) * sizeof(*buf);

	if (read(fd, buf, len) != len || (nr && buf[0] != (__u64)nr))
		return -EIO;
	memcpy(val, buf + !!nr, (nr ?: 1) * sizeof(*buf));
	return 0;
}

static inline __u64 pkg_count(int fd)
{
	__u64 val;

	return pkg_read(fd, &val, 0) ? ~0ULL : val;
}

/* Whether @val is what @ref, a clock of the core, says; @switches: how often both stopped */
static inline bool pkg_near(__u64 val, __u64 ref, unsigned int switches)
{
	__u64 diff = val > ref ? val - ref : ref - val;

	return diff <= ref / 50 + (switches + 1) * PKG_SWITCH_NS;
}

#endif /* PKG_CLOCK_H */
