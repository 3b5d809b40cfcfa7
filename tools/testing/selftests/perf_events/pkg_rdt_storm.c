// SPDX-License-Identifier: GPL-2.0
/*
 * Events of cache and bandwidth while all that they depend on changes: groups are made,
 * renamed and removed, tasks and CPUs move between them, tasks fork, exec and exit, L3s
 * go offline, resctrl is unmounted. If this fails, RMIDs are lost, bytes are counted twice
 * or by somebody else's event, or a lock is missing.
 *
 *	pkg_rdt_storm [-s SEED] [-t SECONDS] [-n EVENTS]
 *
 * Without -t until each role has made its rounds. It needs no emulator.
 */
#define _GNU_SOURCE
#include <ftw.h>

#include "pkg_puppet.h"
#include "pkg_rdt.h"
#include "pkg_storm.h"

/* Of each opener */
#define NR_EVENTS	24
/* Bytes that a CPU moves in a nanosecond, at most */
#define MAX_RATE	4

enum rule {
	READABLE, ONWARD, BOUNDED, FROZEN, OPENABLE, GROUPS, HOTPLUG, KNOBS,
	PROGRESS, ENDS, NO_PRIVATE, RMIDS,
	NR_RULES
};

static const char * const rules[NR_RULES + 1] = {
	[READABLE]	= "events can be read, or their group has gone",
	[ONWARD]	= "bytes never step back",
	[BOUNDED]	= "bytes are not negative and not more than there was time",
	[FROZEN]	= "disabled events stand still",
	[OPENABLE]	= "events can be opened, or there is a reason",
	[GROUPS]	= "groups come and go, or there is a reason",
	[HOTPLUG]	= "CPUs go and come back",
	[KNOBS]		= "knobs take valid values",
	[PROGRESS]	= "every role makes progress",
	[ENDS]		= "all processes end well",
	[NO_PRIVATE]	= "without events there are no private groups",
	[RMIDS]		= "all RMIDs can be had again",
};

static const char * const groups[] = {
	RDT_GROUPS "storm0", RDT_GROUPS "storm1", RDT_GROUPS "storm2",
	/* Control groups, where there are classes of service, and a MON group in one */
	RDT_FS "storm3", RDT_FS "storm4", RDT_FS "storm3/mon_groups/storm5",
};

enum tally { OPENED, REFUSED, DEAD, MADE, REMOVED, MOVED, UNMOUNTS, CPU_CYCLES, FORKS, NR_TALLIES };

static const char * const tallies[NR_TALLIES] = {
	[OPENED]	= "events opened",
	[REFUSED]	= "opens refused",
	[DEAD]		= "events whose group went, or whose task was moved",
	[MADE]		= "groups made",
	[REMOVED]	= "groups removed",
	[MOVED]		= "tasks and CPUs moved",
	[UNMOUNTS]	= "unmounts",
	[CPU_CYCLES]	= "CPUs offline and online",
	[FORKS]		= "forks",
};

static const char *any_group(void)
{
	return groups[below(ARRAY_SIZE(groups))];
}

/* Events, each by itself or as the leader and a sibling */

struct event {
	int		fd[2];
	int		nr;
	bool		task;
	enum rdt_event	is;
	__u64		born;
	__u64		last[2];
};

static struct event *events;

static void close_event(struct event *ev)
{
	while (ev->nr)
		close(ev->fd[--ev->nr]);
}

/*
 * The task or the CPU is gone, there is no RMID, or the group is one that has no event. The
 * core refuses a sibling if the leader's context went to a child, or its task is gone.
 */
static bool has_reason(const struct event *ev, int err)
{
	if (ev->task)
		return err == -ESRCH || err == -ENXIO ||
		       (ev->nr && (err == -EINVAL || err == -ENODEV));
	return err == -ENODEV || err == -EINVAL;
}

static void open_event(struct event *ev)
{
	int dir = below(3) ? rdt_open_dir(any_group()) : 0, fd, cpu = any_cpu();
	struct perf_event_attr attr;
	pid_t pid = any_task();

	ev->task = below(2);
	ev->is = RDT_OCCUPANCY + below(RDT_EVENTS - RDT_OCCUPANCY);
	ev->born = pkg_now(CLOCK_MONOTONIC);
	memset(ev->last, 0, sizeof(ev->last));
	attr = ev->task ? rdt_task_attr(ev->is) : rdt_attr(ev->is, dir > 0 ? dir : 0);
	attr.disabled = below(2);
	do {
		fd = pkg_open(attr, ev->task ? pid : -1, ev->task ? -1 : cpu,
			      ev->nr ? ev->fd[0] : -1);
		if (fd < 0)
			break;
		count(OPENED, 1);
		ev->fd[ev->nr++] = fd;
		attr.disabled = 0;
	} while (ev->nr < 2 && below(2));
	stress_expect(fd >= 0 || has_reason(ev, fd), OPENABLE, "%s, %s: %d",
		      ev->task ? "task" : "group", rdt_names[ev->is], fd);
	if (fd < 0) {
		count(REFUSED, 1);
		close_event(ev);
	}
	if (dir > 0)
		close(dir);
}

/* Returns false, and closes it, if there is nothing to read any more */
static bool read_event(struct event *ev, __u64 val[2])
{
	int i, err = 0;

	for (i = 0; i < ev->nr && !err; i++)
		err = rdt_read_one(ev->fd[i], &val[i]);
	stress_expect(!err || err == -ENODEV, READABLE, "%s, %s: %d",
		      ev->task ? "task" : "group", rdt_names[ev->is], err);
	if (!err)
		return true;
	count(DEAD, 1);
	close_event(ev);
	return false;
}

static void check_event(struct event *ev)
{
	__u64 val[2], most;
	int i;

	if (!read_event(ev, val) || ev->is == RDT_OCCUPANCY)
		return;
	most = (pkg_now(CLOCK_MONOTONIC) - ev->born + PKG_CLOCKS_NS) * PKG_MAX_CPUS * MAX_RATE;
	for (i = 0; i < ev->nr; i++) {
		stress_expect(val[i] <= most, BOUNDED, "%lld > %llu", val[i], most);
		stress_expect(val[i] >= ev->last[i], ONWARD, "%llu after %llu", val[i],
			      ev->last[i]);
		ev->last[i] = val[i];
	}
}

/*
 * Not for tasks: their events are inherited, and a child takes the state that its parent's
 * event has when fork() begins, so it may start one that is being disabled.
 */
static void check_frozen(struct event *ev)
{
	__u64 was[2], is[2];
	int i;

	if (ev->task)
		return;
	ioctl(ev->fd[0], PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP);
	if (!read_event(ev, was))
		return;
	usleep(below(3000));
	if (!read_event(ev, is))
		return;
	for (i = 0; i < ev->nr; i++)
		stress_expect(is[i] == was[i], FROZEN, "%s: %llu after %llu",
			      rdt_names[ev->is], is[i], was[i]);
	ioctl(ev->fd[0], PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
}

static void opener_step(void)
{
	struct event *ev = &events[below(stress->nr)];
	unsigned long op = PICK(PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_DISABLE,
				PERF_EVENT_IOC_RESET);

	if (!ev->nr) {
		open_event(ev);
	} else if (percent(50)) {
		check_event(ev);
	} else if (percent(40)) {
		ioctl(ev->fd[0], op, PERF_IOC_FLAG_GROUP);
		if (op == PERF_EVENT_IOC_RESET)
			memset(ev->last, 0, sizeof(ev->last));
	} else if (percent(30)) {
		check_frozen(ev);
	} else {
		close_event(ev);
	}
}

static void opener_quiet(void)
{
	unsigned long i;

	for (i = 0; i < stress->nr; i++)
		close_event(&events[i]);
}

/* Groups */

static bool busy(int err)
{
	/* No RMID, no class; what was there is gone, what was not is there; offline */
	return err == ENOSPC || err == EBUSY || err == ENOENT || err == EEXIST || err == ENODEV ||
	       err == EPERM || err == EINVAL || err == ESRCH;
}

static void expect_done(int err, const char *what, enum tally tally)
{
	stress_expect(!err || busy(err), GROUPS, "%s: %s", what, strerror(err));
	if (!err)
		count(tally, 1);
}

static void group_step(void)
{
	const char *dir = any_group();
	char to[PATH_MAX];

	switch (below(12)) {
	case 0 ... 3:
		expect_done(mkdir(dir, 0755) ? errno : 0, "mkdir", MADE);
		break;
	case 4 ... 5:
		expect_done(rmdir(dir) ? errno : 0, "rmdir", REMOVED);
		break;
	case 6 ... 8:
		expect_done(-rdt_add_task(below(3) ? dir : RDT_FS, any_task()), "task", MOVED);
		break;
	case 9:
		snprintf(to, sizeof(to), "%d", any_cpu());
		expect_done(-pkg_set_str(below(2) ? dir : RDT_FS, "/cpus_list", to), "CPU", MOVED);
		break;
	case 10:
		/* A MON group goes to another control group */
		snprintf(to, sizeof(to), "%s/mon_groups/%s", below(2) ? RDT_FS : groups[3],
			 strrchr(groups[0], '/') + 1);
		expect_done(rename(groups[0], to) ? errno : 0, "rename", MOVED);
		break;
	default:
		if (below(4))
			break;
		expect_done(-rdt_umount(), "umount", UNMOUNTS);
		usleep(below(2000));
		expect_done(-rdt_mount(), "mount", MADE);
	}
	usleep(below(3000));
}

/* Tasks */

static void grow(int depth)
{
	pid_t pid;
	int nr;

	for (nr = 1 + below(3); nr; nr--) {
		pid = stress_fork();
		if (!pid) {
			count(FORKS, 1);
			crew->task[below(CREW_TASKS)] = getpid();
			pkg_pin(any_cpu());
			pkg_burn(below(3000));
			if (depth)
				grow(depth - 1);
			if (below(2))
				stress_exec(1000);
			_exit(KSFT_PASS);
		}
		usleep(below(1000));
	}
	while (wait(NULL) > 0)
		;
}

static void forker_step(void)
{
	crew->task[below(CREW_TASKS)] = getpid();
	grow(2);
}

/* The last L3, or a CPU of it */
static void hotplug_step(void)
{
	int d = topo.nr - 1, from = below(topo.pkg[d].nr_cpus);

	stress_expect(!rdt_set_online(d, from, 0), HOTPLUG, "offline");
	usleep(below(30000));
	stress_expect(!rdt_set_online(d, from, 1), HOTPLUG, "online");
	count(CPU_CYCLES, 1);
	usleep(below(10000));
}

static const char * const pmus[] = { RDT_PMU, RDT_TASK_PMU };
static char saved[ARRAY_SIZE(pmus)][FRESH_KNOBS][32];
static long long threshold;

static void knob_step(void)
{
	int knob = below(FRESH_KNOBS);
	const char *val = stress_good(knob);
	int err = pkg_set_str(pmus[below(ARRAY_SIZE(pmus))], fresh_knobs[knob], val);

	/* The bandwidth counters are narrow: there is a longest interval */
	stress_expect(!err || err == -ERANGE, KNOBS, "%s to %s: %d", fresh_knobs[knob], val, err);
	usleep(below(20000));
}

static const struct role roles[] = {
	{ "opener",	4, 600,	.step = opener_step, .quiet = opener_quiet },
	{ "groups",	2, 200,	.step = group_step },
	{ "forker",	2, 10,	.step = forker_step },
	{ "hotplug",	1, 10,	.step = hotplug_step },
	{ "knobs",	1, 50,	.step = knob_step },
};

/* What must be left of it */

static int nr_private;

static int is_private(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	nr_private += !strncmp(path + ftw->base, "perf-", 5);
	return 0;
}

/* As many groups as there are RMIDs beside that of the root; umount forgets those before */
static void take_all_rmids(void)
{
	int i, err = rdt_umount() ?: rdt_mount(), nr = pkg_get(RDT_INFO, "num_rmids") - 1;
	char dir[64];

	for (i = 0; i < nr && !err; i++) {
		snprintf(dir, sizeof(dir), RDT_GROUPS "all%d", i);
		err = rdt_mkdir(dir);
	}
	stress_expect(nr > 0 && !err, RMIDS, "%d of %d: %s", i, nr, strerror(-err));
}

static const char *prepare(void)
{
	const char *why = geteuid() ? "needs root" : NULL;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(pmus) && !why; i++) {
		why = rdt_find_pmu(pmus[i]);
		memcpy(saved[i], fresh_saved, sizeof(fresh_saved));
	}
	if (why)
		return why;
	rdt_find_domains();
	if (topo.nr < 2)
		return "needs more L3s";
	if (rdt_mount())
		return "resctrl cannot be mounted (again)";
	/* RMIDs are soon used again, whatever lines they have */
	threshold = rdt_lift_threshold();
	if (!stress->nr)
		stress->nr = NR_EVENTS;
	/* Each opener has its own copy */
	events = calloc(stress->nr, sizeof(*events));
	return NULL;
}

int main(int argc, char *argv[])
{
	const char *why;
	int i;

	stress_begin(argc, argv, rules, "EVENTS");
	why = prepare();
	if (why)
		ksft_exit_skip("%s\n", why);
	ksft_set_plan(NR_RULES);
	crew_start(roles, ARRAY_SIZE(roles));
	crew_watch(stress->seconds);
	stress_expect(!crew->stuck, PROGRESS, "%d", crew->stuck);
	stress_expect(!crew->stuck && !crew->failed, ENDS, "%d ended badly", crew->failed);
	print_tallies(tallies, NR_TALLIES);
	rdt_set_online(topo.nr - 1, 0, 1);
	stress_expect(!nftw(RDT_FS, is_private, 16, FTW_PHYS) && !nr_private, NO_PRIVATE,
		      "%d", nr_private);
	take_all_rmids();
	rdt_set_threshold(threshold);
	for (i = 0; i < FRESH_KNOBS; i++) {
		pkg_set_str(pmus[0], fresh_knobs[i], saved[0][i]);
		pkg_set_str(pmus[1], fresh_knobs[i], saved[1][i]);
	}
	rdt_umount();
	stress_report();
	ksft_finished();
}
