/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For the tests of cache occupancy and memory bandwidth, the PMU resctrl, on an emulator
 * that also reports their true values, see pkg_msr.h. `topo` lists the L3s.
 *
 * Groups are mostly MON groups of the root, which need no allocation. resctrl is
 * mounted with its option debug, which shows RMIDs.
 */
#ifndef PKG_RDT_H
#define PKG_RDT_H

#include <sys/mount.h>
#include <sys/stat.h>
#if __has_include("cpuid.h")
#include <cpuid.h>
#endif

#include "pkg_fresh.h"
#include "pkg_msr.h"

#define RDT_PMU		PKG_DEVICES "resctrl/"
#define RDT_TASK_PMU	PKG_DEVICES "resctrl_task/"

#define RDT_FS		"/sys/fs/resctrl/"
#define RDT_INFO	RDT_FS "info/L3_MON/"
#define RDT_GROUPS	RDT_FS "mon_groups/"
#define RDT_GROUP	RDT_GROUPS "pkg_rdt"

/* What the tests begin with */
#define RDT_INTERVAL_US	1000
#define RDT_AGE_US	1000
/* Some hundreds of the hardware's units */
#define RDT_BURN_US	30000
/* As many RMIDs have a bit in rdt_count */
#define RDT_MAX_RMIDS	64

/* Also bits in the address of test MSRs */
enum rdt_event {
	RDT_OCCUPANCY	= MSR_OCCUPANCY,
	RDT_TOTAL	= MSR_TOTAL,
	RDT_LOCAL	= MSR_LOCAL,
	RDT_EVENTS,
};

/* Those of the PMU, and resctrl's files */
static const char * const rdt_names[RDT_EVENTS] = {
	[RDT_OCCUPANCY]	= "llc_occupancy",
	[RDT_TOTAL]	= "total_bytes",
	[RDT_LOCAL]	= "local_bytes",
};

static const char * const rdt_files[RDT_EVENTS] = {
	[RDT_OCCUPANCY]	= "llc_occupancy",
	[RDT_TOTAL]	= "mbm_total_bytes",
	[RDT_LOCAL]	= "mbm_local_bytes",
};

#define RDT_ERROR	0x8000000000000000ULL
#define RDT_UNAVAILABLE	0x4000000000000000ULL

static struct {
	/* The one that is tested: the knobs are its own */
	const char *pmu;
	bool	amd;
	/* Bytes in a unit of the hardware, and bits of its bandwidth counters */
	__u64	scale;
	int	width;
	int	nr_rmids;
	/* Bytes of an RMID that stops to run are lost if nobody reads them before */
	bool	lossy;
	bool	mounted;
	/* Any number of RMIDs will do */
	bool	many;
} rdt;

/*
 * Events that add up, and what they must have counted: the truth cannot be read at
 * the very moment when an event starts or stops, but before and after.
 */
struct rdt_count {
	enum rdt_event	event;
	/* What it counts begins and ends at such a number of bytes; 0: the hardware's unit */
	__u64		grain;
	/* Bits of those that may have run. More than one: the timer alone reads them. */
	__u64		rmids;
	/* Of L3s, by their index in topo */
	unsigned int	domains;
	int		nr;
	int		fd[PKG_MAX_CPUS];
	bool		on;
	/* How often it was started */
	int		starts;
	/* The truth before and after the last start, in bytes */
	__u64		begin[2];
	/* What was counted before that start: between these */
	__u64		least;
	__u64		most;
};

/* The truth */

static inline __u32 rdt_msr(enum rdt_event event, int domain, int rmid)
{
	return TEST_MSR_RMID(event, topo.pkg[domain].id, rmid);
}

static inline __u64 rdt_truth(enum rdt_event event, int domain, int rmid)
{
	return msr_truth(rdt_msr(event, domain, rmid));
}

static inline __u64 rdt_truth_of(const struct rdt_count *c)
{
	__u64 sum = 0;
	int d, rmid;

	for (d = 0; d < topo.nr; d++)
		for (rmid = 0; rmid < RDT_MAX_RMIDS; rmid++)
			if (c->domains & 1U << d && c->rmids & 1ULL << rmid)
				sum += rdt_truth(c->event, d, rmid);
	return sum;
}

/* Of all L3s */
static inline __u64 rdt_truth_sum(enum rdt_event event, int rmid)
{
	__u64 sum = 0;
	int d;

	for (d = 0; d < topo.nr; d++)
		sum += rdt_truth(event, d, rmid);
	return sum;
}

/* The counter shows that many units from now on */
static inline int rdt_set_counter(enum rdt_event event, int domain, int rmid, __u64 units)
{
	return msr_write(rdt_msr(event, domain, rmid), units);
}

static inline int rdt_fault(int domain, __u64 bits)
{
	return msr_write(TEST_MSR(MSR_RDT_FAULT, topo.pkg[domain].id), bits);
}

/* Groups */

static inline int rdt_mount_with(const char *options)
{
	int err = mount("resctrl", RDT_FS, "resctrl", 0, options) ? -errno : 0;

	rdt.mounted |= !err;
	return err;
}

static inline int rdt_mount(void)
{
	return rdt_mount_with("debug");
}

static inline int rdt_umount(void)
{
	int err = umount(RDT_FS) ? -errno : 0;

	rdt.mounted &= !!err;
	return err;
}

static inline int rdt_cpu(int domain)
{
	return topo.pkg[domain].cpu[topo.pkg[domain].nr_cpus - 1];
}

/* All CPUs of an L3, from this one on */
static inline int rdt_set_online(int domain, int from, int online)
{
	int i, err = 0;

	for (i = from; i < topo.pkg[domain].nr_cpus; i++)
		err |= fresh_set_online(topo.pkg[domain].cpu[i], online);
	return err;
}

/* Brings in lines, in each L3, in place of those that removed groups have left there */
static inline void rdt_evict(void)
{
	int d;

	for (d = 0; d < topo.nr; d++) {
		pkg_pin(rdt_cpu(d));
		pkg_burn(RDT_BURN_US);
	}
	pkg_pin(0);
	usleep(50000);
}

static inline int rdt_set_threshold(long long bytes)
{
	return pkg_set(RDT_INFO, "max_threshold_occupancy", bytes);
}

/*
 * RMIDs leave limbo from now on, whatever lines they have, when resctrl looks: once a
 * second. Returns what the threshold was.
 */
static inline long long rdt_lift_threshold(void)
{
	long long was = pkg_get(RDT_INFO, "max_threshold_occupancy");

	rdt_set_threshold(1024 * pkg_get("/sys/devices/system/cpu/cpu0/cache/index3/", "size"));
	return was;
}

/*
 * All RMIDs in limbo are free afterwards. One that has a whole L3 is not below the highest
 * threshold that resctrl takes, so others have to evict some of its lines.
 */
static inline void rdt_end_limbo(void)
{
	long long was = rdt_lift_threshold();

	rdt_evict();
	usleep(2200000);
	rdt_set_threshold(was);
}

/* Waits for an RMID: those of removed groups stay in use until their lines are evicted */
static inline int rdt_mkdir(const char *dir)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;

	while (mkdir(dir, 0755)) {
		if ((errno != EBUSY && errno != ENOSPC) || pkg_now(CLOCK_MONOTONIC) > end)
			return -errno;
		rdt_evict();
	}
	return 0;
}

/* What names it */
static inline int rdt_open_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static inline int rdt_rmid(const char *dir)
{
	return pkg_get(dir, "/mon_hw_id");
}

static inline int rdt_add_task(const char *dir, pid_t pid)
{
	return pkg_set(dir, "/tasks", pid);
}

static inline bool rdt_has_task(const char *dir, pid_t pid)
{
	char path[PATH_MAX];
	bool found = false;
	FILE *file;
	int id;

	snprintf(path, sizeof(path), "%s/tasks", dir);
	file = fopen(path, "re");
	while (file && !found && fscanf(file, "%d", &id) == 1)
		found = id == pid;
	if (file)
		fclose(file);
	return found;
}

/* What resctrl says; -ENODATA: nothing now */
static inline int rdt_mon(const char *dir, enum rdt_event event, int domain, __u64 *val)
{
	char path[PATH_MAX], line[32], *end;

	snprintf(path, sizeof(path), "%s/mon_data/mon_L3_%02d/", dir, topo.pkg[domain].id);
	if (!fresh_get_line(path, rdt_files[event], line, sizeof(line)))
		return -ENOENT;
	*val = strtoull(line, &end, 10);
	if (end != line)
		return 0;
	return strcmp(line, "Unavailable") ? -EIO : -ENODATA;
}

static inline int rdt_mon_sum(const char *dir, enum rdt_event event, __u64 *sum)
{
	int d, err = 0;
	__u64 val;

	*sum = 0;
	for (d = 0; d < topo.nr; d++) {
		val = 0;
		err = err ?: rdt_mon(dir, event, d, &val);
		*sum += val;
	}
	return err;
}

/* The machine */

static inline void rdt_find_domains(void)
{
	char dir[64];
	int cpu, id, d;

	memset(&topo, 0, sizeof(topo));
	for (cpu = 0; cpu < PKG_MAX_CPUS; cpu++) {
		snprintf(dir, sizeof(dir), "/sys/devices/system/cpu/cpu%d/cache/index3/", cpu);
		id = pkg_get(dir, "id");
		if (id < 0)
			continue;
		for (d = 0; d < topo.nr && topo.pkg[d].id != id; d++)
			;
		if (d == PKG_MAX)
			continue;
		if (d == topo.nr)
			topo.pkg[topo.nr++].id = id;
		topo.pkg[d].cpu[topo.pkg[d].nr_cpus++] = cpu;
	}
}

/* From what the CPU says of its monitoring of the L3 */
static inline void rdt_find_units(void)
{
	unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;

#ifdef __cpuid_count
	__cpuid_count(0xf, 1, eax, ebx, ecx, edx);
#endif
	(void)edx;
	rdt.scale = ebx;
	rdt.nr_rmids = ecx + 1;
	rdt.width = 24 + (eax & 0xff);
	rdt.amd = msr_is_amd();
	if (!(eax & 0xff) && rdt.amd)
		rdt.width = 44;
}

/* Returns NULL, or why there is nothing to test here */
static inline const char *rdt_find_pmu(const char *pmu)
{
	int i;

	rdt.pmu = pmu;
	if (access(pmu, F_OK))
		return "no PMU resctrl";
	for (i = 0; i < FRESH_KNOBS; i++)
		if (!fresh_get_line(rdt.pmu, fresh_knobs[i], fresh_saved[i],
				    sizeof(fresh_saved[i])))
			return "the PMU has no refresh_interval_us, max_age_us";
	return NULL;
}

#define rdt_set(knob, val)	pkg_set(rdt.pmu, fresh_knobs[knob], val)
#define rdt_set_str(knob, val)	pkg_set_str(rdt.pmu, fresh_knobs[knob], val)

/* Undoes what rdt_init() did, and what a test may have left */
static inline void rdt_exit(void)
{
	int d;

	for (d = 0; d < topo.nr; d++)
		rdt_fault(d, 0);
	for (d = 0; d < FRESH_KNOBS; d++)
		rdt_set_str(d, fresh_saved[d]);
	rmdir(RDT_GROUP);
	if (rdt.mounted)
		rdt_umount();
}

/*
 * Mounts resctrl and makes RDT_GROUP. Stays on CPU 0 from now on. Returns NULL, or why
 * there is nothing to test here.
 */
static inline const char *rdt_init(const char *pmu, int min_domains)
{
	const char *why = geteuid() ? "needs root" : rdt_find_pmu(pmu);
	__u64 val;

	if (why)
		return why;
	if (msr_open(0))
		return "no /dev/cpu/0/msr";
	if (!msr_is_emulator())
		return "no emulator that reports true bandwidths";
	rdt_find_domains();
	if (topo.nr < min_domains)
		return "needs more L3s";
	rdt_find_units();
	if (!rdt.scale || (rdt.nr_rmids > RDT_MAX_RMIDS && !rdt.many))
		return "no RMIDs, or too many";
	if (rdt_mount())
		return "resctrl cannot be mounted (again)";
	if (rdt_mkdir(RDT_GROUP) || rdt_set(FRESH_INTERVAL, RDT_INTERVAL_US) ||
	    rdt_set(FRESH_MAX_AGE, RDT_AGE_US)) {
		rdt_exit();
		return "no group, or its events cannot be refreshed often enough";
	}
	rdt.lossy = rdt_mon(RDT_GROUP, RDT_TOTAL, 0, &val) == -ENODATA;
	return NULL;
}

/* The puppet runs in each L3 for a while */
static inline int rdt_burn_everywhere(struct puppet *p)
{
	int d, err = 0;

	for (d = 0; d < topo.nr && !err; d++)
		err = puppet_call(p, pkg_pin, rdt_cpu(d)) ?:
		      puppet_call(p, pkg_burn, RDT_BURN_US);
	return err;
}

/* Events */

/* @dir: of a group, open; 0: all of them */
static inline struct perf_event_attr rdt_attr(__u64 config, int dir)
{
	struct perf_event_attr attr = {
		.type		= pkg_get(RDT_PMU, "type"),
		.size		= sizeof(attr),
		.config		= config,
		.config1	= dir,
	};

	return attr;
}

/* An RMID counts children as well */
static inline struct perf_event_attr rdt_task_attr(__u64 config)
{
	struct perf_event_attr attr = {
		.type		= pkg_get(RDT_TASK_PMU, "type"),
		.size		= sizeof(attr),
		.config		= config,
		.inherit	= 1,
	};

	return attr;
}

static inline int rdt_read_one(int fd, __u64 *val)
{
	int len = read(fd, val, sizeof(*val));

	return len == sizeof(*val) ? 0 : len < 0 ? -errno : -EIO;
}

/* Of an event, or of the leader of a group of any size */
static inline int rdt_read_error(int fd)
{
	__u64 val[1 + PKG_MAX_CPUS];

	return read(fd, val, sizeof(val)) < 0 ? -errno : 0;
}

/* The sum, or the error of the first one that has none */
static inline int rdt_read(const struct rdt_count *c, __u64 *sum)
{
	__u64 val;
	int i, err;

	*sum = 0;
	for (i = 0; i < c->nr; i++) {
		err = rdt_read_one(c->fd[i], &val);
		if (err)
			return err;
		*sum += val;
	}
	return 0;
}

static inline __u64 rdt_value(const struct rdt_count *c)
{
	__u64 val;

	return rdt_read(c, &val) ? ~0ULL : val;
}

/* An event of the group on this CPU */
static inline int rdt_open_event(enum rdt_event event, const char *dir, int cpu)
{
	int fd, group = rdt_open_dir(dir);

	if (group < 0)
		return group;
	fd = pkg_open(rdt_attr(event, group), -1, cpu, -1);
	close(group);
	return fd;
}

/* The timer has read since then what it alone reads */
static inline void rdt_settle(const struct rdt_count *c)
{
	if (__builtin_popcountll(c->rmids) > 1)
		usleep(3 * pkg_get(rdt.pmu, fresh_knobs[FRESH_INTERVAL]));
}

/* Around what starts it: with the truth before that. A read waits until it is done. */
static inline void rdt_started(struct rdt_count *c, __u64 before)
{
	rdt_value(c);
	rdt_settle(c);
	c->begin[0] = before;
	c->begin[1] = rdt_truth_of(c);
	c->starts++;
	c->on = true;
}

static inline void rdt_stopped(struct rdt_count *c, __u64 before)
{
	rdt_value(c);
	c->least += before > c->begin[1] ? before - c->begin[1] : 0;
	c->most += rdt_truth_of(c) - c->begin[0];
	c->on = false;
}

/* Returns how many failed */
static inline int rdt_ioctl(const struct rdt_count *c, unsigned long op)
{
	int i, failed = 0;

	for (i = 0; i < c->nr; i++)
		failed += !!ioctl(c->fd[i], op, 0);
	return failed;
}

static inline int rdt_enable(struct rdt_count *c)
{
	__u64 before = rdt_truth_of(c);
	int failed;

	rdt_settle(c);
	failed = rdt_ioctl(c, PERF_EVENT_IOC_ENABLE);
	rdt_started(c, before);
	return failed;
}

static inline int rdt_disable(struct rdt_count *c)
{
	__u64 before = rdt_truth_of(c);
	int failed;

	rdt_settle(c);
	failed = rdt_ioctl(c, PERF_EVENT_IOC_DISABLE);
	rdt_stopped(c, before);
	return failed;
}

/* One event more */
static inline int rdt_add(struct rdt_count *c, struct perf_event_attr attr, pid_t pid, int cpu)
{
	int fd = pkg_open(attr, pid, cpu, -1);

	if (fd < 0)
		return fd;
	c->fd[c->nr++] = fd;
	return 0;
}

static inline void rdt_close(struct rdt_count *c)
{
	while (c->nr)
		close(c->fd[--c->nr]);
}

/*
 * An event on each CPU of the cpumask, as perf stat -a does: one for each L3. @dir: the
 * group, NULL: all. @rmids: those that may run.
 */
static inline int rdt_open_all(struct rdt_count *c, enum rdt_event event, const char *dir,
			       __u64 rmids)
{
	int d, group = dir ? rdt_open_dir(dir) : 0, err = group < 0 ? group : 0;
	__u64 before;

	*c = (struct rdt_count) {
		.event		= event,
		.rmids		= rmids,
		.domains	= (1U << topo.nr) - 1,
	};
	before = rdt_truth_of(c);
	rdt_settle(c);
	for (d = 0; d < topo.nr && !err; d++)
		err = rdt_add(c, rdt_attr(event, group), -1, fresh_cpu_in_mask(RDT_PMU, d));
	if (group > 0)
		close(group);
	if (!err)
		rdt_started(c, before);
	return err;
}

/* Of a group without MON groups */
static inline int rdt_open(struct rdt_count *c, enum rdt_event event, const char *dir)
{
	int rmid = rdt_rmid(dir);

	return rmid < 0 ? rmid : rdt_open_all(c, event, dir, 1ULL << rmid);
}

/*
 * Whether it fits a read of the hardware after @before, when the truth is @after now;
 * and what would
 */
static inline bool rdt_is_between(const struct rdt_count *c, __u64 val, __u64 before,
				  __u64 after, __u64 *low, __u64 *high)
{
	/* For each counter */
	__u64 slack = (c->starts + 1) * (c->grain > rdt.scale ? c->grain : rdt.scale) *
		      __builtin_popcountll(c->rmids) * __builtin_popcount(c->domains);
	__u64 least = c->least, most = c->most;

	if (c->event == RDT_OCCUPANCY) {
		least = before < after ? before : after;
		most = before < after ? after : before;
	} else if (c->on) {
		least += before > c->begin[1] ? before - c->begin[1] : 0;
		most += after - c->begin[0];
	}
	if (rdt.lossy)
		least = 0;
	*low = least > slack ? least - slack : 0;
	*high = most + slack;
	return val >= *low && val <= *high;
}

static inline bool rdt_fits(const struct rdt_count *c, __u64 val, __u64 before, __u64 after)
{
	__u64 least, most;

	if (rdt_is_between(c, val, before, after, &least, &most))
		return true;
	ksft_print_msg("%s of RMIDs 0x%llx in L3s 0x%x: %llu are not between %llu and %llu\n",
		       rdt_names[c->event], c->rmids, c->domains, val, least, most);
	return false;
}

/* Whether read(2) is right */
static inline bool rdt_right(const struct rdt_count *c)
{
	__u64 before = rdt_truth_of(c), val;
	int err;

	usleep(2 * RDT_AGE_US);
	rdt_settle(c);
	err = rdt_read(c, &val);
	if (!err)
		return rdt_fits(c, val, before, rdt_truth_of(c));
	ksft_print_msg("%s cannot be read: %s\n", rdt_names[c->event], strerror(-err));
	return false;
}

/* Whether it follows the level of who sleeps down to nothing */
static inline bool rdt_decays(const struct rdt_count *c)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS, val;
	bool right;

	while (rdt_truth_of(c) && pkg_now(CLOCK_MONOTONIC) < end)
		usleep(1000);
	/* rdt_right() lets the value get as fresh as it asks for */
	right = rdt_right(c);
	val = rdt_value(c);
	if (val)
		ksft_print_msg("%s: still %llu\n", rdt_names[c->event], val);
	return right && !val;
}

/* Whether it is right and has counted at least @units of the hardware */
static inline bool rdt_counted(const struct rdt_count *c, __u64 units)
{
	__u64 val = rdt_value(c);

	if (!rdt_right(c))
		return false;
	if (val >= units * rdt.scale || rdt.lossy)
		return true;
	ksft_print_msg("%s: only %llu\n", rdt_names[c->event], val);
	return false;
}

/* Whether what resctrl says of @nr RMIDs in all L3s fits the truth before and after */
static inline bool rdt_mon_fits(const char *dir, enum rdt_event event, int nr, __u64 val,
				__u64 before, __u64 after)
{
	/* What is counted begins and ends at a whole unit */
	__u64 slack = 2 * rdt.scale * nr * topo.nr;

	if ((val + slack >= before || rdt.lossy) && val <= after + slack)
		return true;
	ksft_print_msg("%s of %s: %llu are not between %llu and %llu\n", rdt_files[event], dir,
		       val, before, after);
	return false;
}

#endif /* PKG_RDT_H */
