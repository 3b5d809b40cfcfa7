// SPDX-License-Identifier: GPL-2.0
/*
 * Everything at once: CPUs and packages come and go, events are opened, read,
 * inherited and closed, knobs change and the module is reloaded. What must hold
 * all the time is checked meanwhile, what must be left is checked at the end.
 *
 *	pkg_storm [-s SEED] [-t SECONDS] [-n EVENTS]
 *
 * Without -t until each role has made its rounds.
 */
#define _GNU_SOURCE

#include <sys/resource.h>

#include "pkg_storm.h"

#define MAX_MEMBERS	3
#define READER_EVENTS	24
#define NR_OPENERS	4
#define RELOAD_STEPS	8

/* Of all openers, with and without a time */
#define LONG_EVENTS	2000
#define SHORT_EVENTS	400

/* What must hold all the time, and what must be left of it */
enum rule {
	READABLE, ONWARD, BOUNDED, FROZEN, PAST, TREES, OPENABLE, HOTPLUG, KNOBS, MODULE,
	PROGRESS, ENDS, RESTORED, COUNTING, TIMERS, RELOADABLE,
	NR_RULES
};

static const char * const rules[NR_RULES + 1] = {
	[READABLE]	= "events can be read",
	[ONWARD]	= "totals never step back",
	[BOUNDED]	= "totals are not negative and not more than there was time",
	[FROZEN]	= "disabled events stand still",
	[PAST]		= "levels and ages are not of the future",
	[TREES]		= "run time of families of tasks is their task-clock",
	[OPENABLE]	= "events can be opened, or there is a reason",
	[HOTPLUG]	= "CPUs go and come back",
	[KNOBS]		= "knobs take valid values",
	[MODULE]	= "the module can be unloaded without events, and not with them",
	[PROGRESS]	= "every role makes progress",
	[ENDS]		= "all processes end well",
	[RESTORED]	= "all CPUs are online, knobs restored",
	[COUNTING]	= "a new event counts on each package",
	[TIMERS]	= "timers run while there are events",
	[RELOADABLE]	= "the module can be unloaded and loaded",
};

enum tally {
	CPU_CYCLES, PACKAGE_CYCLES, REFUSED, OPEN_NOW, FORKS, EXECS, KILLS, LOADS,
	PROBES_REFUSED, TRACED, NR_TALLIES
};

static const char * const tallies[NR_TALLIES] = {
	[CPU_CYCLES]		= "CPUs offline and online",
	[PACKAGE_CYCLES]	= "packages offline and online",
	[REFUSED]		= "opens refused",
	[OPEN_NOW]		= "events left open",
	[FORKS]			= "forks",
	[EXECS]			= "execs",
	[KILLS]			= "exits by SIGKILL",
	[LOADS]			= "unloads and loads of the module",
	[PROBES_REFUSED]	= "opens beside unloads refused",
	[TRACED]		= "bytes of trace",
};

/* Events */

enum what {
	TOTAL,
	LEVEL,
	AGE,
};

static const struct kind {
	const char	*name;
	__u64		config;
	enum what	what;
	/* Of a CPU, else of a task */
	bool		cpu;
	/* Of the PMU that counts packages, else of the one that counts tasks */
	bool		package;
	/* Of one package, else of all */
	bool		one;
	bool		inherit;
	/* Has another one of its kind and the age as siblings */
	bool		group;
} kinds[] = {
	{ "task", PKG_RUNTIME, .what = TOTAL },
	{ "inherited", PKG_RUNTIME, .what = TOTAL, .inherit = true },
	{ "inherited on a package", PKG_RUNTIME, .what = TOTAL, .one = true, .inherit = true },
	{ "task on a package", PKG_RUNTIME, .what = TOTAL, .one = true },
	{ "group", PKG_RUNTIME, .what = TOTAL, .group = true },
	{ "CPU", PKG_RUNTIME, .what = TOTAL, .cpu = true },
	{ "CPU and package", PKG_RUNTIME, .what = TOTAL, .cpu = true, .one = true },
	{ "task, cached", PKG_RUNTIME | PKG_POLICY(PKG_POLICY_CACHED), .what = TOTAL },
	{ "task, IPI", PKG_RUNTIME | PKG_POLICY(PKG_POLICY_IPI), .what = TOTAL },
	{ "task's level", PKG_CLOCK, .what = LEVEL, .one = true },
	{ "group of levels", PKG_CLOCK, .what = LEVEL, .one = true, .group = true },
	{ "package", PKG_BUSY, .what = TOTAL, .cpu = true, .package = true },
	{ "group of a package", PKG_BUSY, .what = TOTAL, .cpu = true, .package = true,
	  .group = true },
	{ "package's level", PKG_CLOCK, .what = LEVEL, .cpu = true, .package = true },
};

struct event {
	const struct kind	*kind;
	int			fd[MAX_MEMBERS];
	int			nr;
	__u64			born;
	__u64			last[MAX_MEMBERS];
};

static enum what member_is(const struct event *ev, int i)
{
	return ev->kind->group && i == 2 ? AGE : ev->kind->what;
}

/* In any order: siblings may outlive their leader */
static void close_event(struct event *ev)
{
	int i, first = below(MAX_MEMBERS);

	for (i = 0; i < ev->nr; i++)
		close(ev->fd[(first + i) % ev->nr]);
	count(OPEN_NOW, -ev->nr);
	ev->nr = 0;
}

static void open_event(struct event *ev, bool disabled)
{
	const struct kind *kind = &kinds[below(ARRAY_SIZE(kinds))];
	int id = kind->one ? topo.pkg[below(topo.nr)].id : PKG_ALL;
	struct perf_event_attr attr = pkg_attr(kind->config, id);
	pid_t pid = kind->cpu ? -1 : any_task();
	int fd, cpu = kind->cpu ? any_cpu() : -1;

	if (kind->package)
		attr = pkg_domain_attr(kind->config);
	ev->kind = kind;
	ev->nr = 0;
	ev->born = pkg_now(CLOCK_MONOTONIC);
	memset(ev->last, 0, sizeof(ev->last));
	attr.inherit = kind->inherit;
	attr.disabled = disabled;
	attr.read_format = kind->group ? PERF_FORMAT_GROUP : 0;
	do {
		if (ev->nr == 2)
			attr.config = PKG_AGE;
		fd = pkg_open(attr, pid, cpu, ev->nr ? ev->fd[0] : -1);
		/*
		 * The CPU or the task has gone, or has since the leader was opened. What
		 * was offline since the module was loaded is no package yet.
		 */
		stress_expect(fd >= 0 || fd == -ENODEV || fd == -ESRCH ||
			      ((ev->nr || kind->one) && fd == -EINVAL), OPENABLE, "%s: %d",
			      kind->name, fd);
		if (fd < 0) {
			count(REFUSED, 1);
			close_event(ev);
			return;
		}
		count(OPEN_NOW, 1);
		ev->fd[ev->nr++] = fd;
		attr.read_format = 0;
		attr.disabled = 0;
	} while (kind->group && ev->nr < MAX_MEMBERS);
}

static bool read_event(const struct event *ev, __u64 *val)
{
	int err = pkg_read(ev->fd[0], val, ev->kind->group ? ev->nr : 0);

	/* The core breaks up the groups of a CPU that goes, here the last of its package */
	if (err && ev->kind->package && ev->kind->group && !pkg_read(ev->fd[0], val, 1))
		return false;
	return stress_expect(!err, READABLE, "%s: %d", ev->kind->name, err);
}

static void check_event(struct event *ev)
{
	__u64 val[MAX_MEMBERS], now, most;
	int i, nr_cpus = ev->kind->inherit || ev->kind->package ? PKG_MAX_CPUS : 1;

	if (!read_event(ev, val))
		return;
	now = pkg_now(CLOCK_MONOTONIC) + PKG_CLOCKS_NS;
	for (i = 0; i < ev->nr; i++) {
		most = member_is(ev, i) == LEVEL ? now : now - ev->born;
		if (member_is(ev, i) != TOTAL) {
			stress_expect(val[i] <= most, PAST, "%s: %llu > %llu", ev->kind->name,
				      val[i], most);
			continue;
		}
		stress_expect(val[i] <= most * nr_cpus, BOUNDED, "%s: %lld > %llu",
			      ev->kind->name, val[i], most * nr_cpus);
		stress_expect(val[i] >= ev->last[i], ONWARD, "%s: %llu after %llu",
			      ev->kind->name, val[i], ev->last[i]);
		ev->last[i] = val[i];
	}
}

/*
 * Not for inherited events: a child takes the state that its parent's event has
 * when fork() begins, so it may start one that is being disabled.
 */
static void check_frozen(struct event *ev)
{
	__u64 was[MAX_MEMBERS], is[MAX_MEMBERS];
	bool ok;
	int i;

	if (ev->kind->inherit)
		return;
	ioctl(ev->fd[0], PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP);
	ok = read_event(ev, was);
	usleep(below(2000));
	ok = ok && read_event(ev, is);
	for (i = 0; ok && i < ev->nr; i++)
		/* There is no level where the last CPU has gone */
		if (member_is(ev, i) != AGE)
			stress_expect(is[i] == was[i] || (member_is(ev, i) == LEVEL && !is[i]),
				      FROZEN, "%s: %llu after %llu", ev->kind->name, is[i],
				      was[i]);
	ioctl(ev->fd[0], PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
}

/* Openers: many events in any state */

static struct event *owned;
static int nr_owned;

static void change_event(struct event *ev)
{
	unsigned long op = PICK(PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_DISABLE,
				PERF_EVENT_IOC_RESET);

	ioctl(ev->fd[below(ev->nr)], op, below(2) ? PERF_IOC_FLAG_GROUP : 0);
	if (op == PERF_EVENT_IOC_RESET)
		memset(ev->last, 0, sizeof(ev->last));
}

static void opener_step(void)
{
	int i, most = stress->nr / NR_OPENERS ?: 1;
	struct event *ev;

	if (!owned)
		owned = calloc(most, sizeof(*owned));
	/* As many as it may have, then some of them */
	for (; nr_owned < most; nr_owned++, beat())
		open_event(&owned[nr_owned], below(2));
	for (i = 0; i < 50; i++, beat()) {
		ev = &owned[below(nr_owned)];
		if (!ev->nr)
			open_event(ev, below(2));
		else if (!below(4))
			check_event(ev);
		else if (below(4))
			change_event(ev);
		else
			close_event(ev);
	}
}

static void opener_quiet(void)
{
	for (; nr_owned; nr_owned--, beat())
		close_event(&owned[nr_owned - 1]);
}

/* Readers: two processes read the same events and check them */

static void reader_step(void)
{
	struct event set[READER_EVENTS];
	int i, round;
	pid_t other;

	for (i = 0; i < READER_EVENTS; i++)
		open_event(&set[i], false);
	other = stress_fork();
	for (round = 0; round < 20; round++) {
		for (i = 0; i < READER_EVENTS; i++)
			if (set[i].nr)
				check_event(&set[i]);
		if (!other)
			continue;
		i = below(READER_EVENTS);
		if (set[i].nr)
			check_frozen(&set[i]);
		beat();
	}
	if (!other)
		_exit(KSFT_PASS);
	for (i = 0; i < READER_EVENTS; i++)
		close_event(&set[i]);
	if (other > 0)
		waitpid(other, NULL, 0);
}

/* Forkers: families of tasks, counted by inherited events */

static void wander(int moves)
{
	while (moves--) {
		/* Fails while that CPU is offline */
		pkg_pin(any_cpu());
		pkg_burn(below(1000));
	}
}

static void grow(int depth)
{
	pid_t pid, *listed = &crew->task[CREW_TASKS / 2 + below(CREW_TASKS / 2)];
	int nr = 1 + below(3);

	while (nr--) {
		/* Before: who forks may be killed */
		count(FORKS, 1);
		pid = stress_fork();
		if (!pid) {
			*listed = getpid();
			wander(1 + below(3));
			if (depth)
				grow(depth - 1);
			if (below(3))
				_exit(KSFT_PASS);
			count(EXECS, 1);
			stress_exec(500);
		}
		if (pid < 0)
			continue;
		wander(below(3));
		if (!below(3))
			kill(pid, SIGKILL);
	}
}

static void forker_step(void)
{
	struct perf_event_attr attr = pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK);
	unsigned int tasks = 1;
	int ref, fd, status;
	__u64 val, core;
	bool killed;

	/* Grandchildren whose parent was killed come here */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	crew->task[(me - crew->worker) % (CREW_TASKS / 2)] = getpid();
	attr.inherit = 1;
	attr.disabled = 1;
	ref = pkg_open(attr, 0, -1, -1);
	attr = pkg_attr(PKG_RUNTIME, PKG_ALL);
	attr.inherit = 1;
	fd = pkg_open(attr, 0, -1, ref);
	if (!stress_expect(ref >= 0 && fd >= 0, OPENABLE, "family: %d, %d", ref, fd)) {
		close(ref);
		return;
	}
	/* Both start at once, as one group */
	ioctl(ref, PERF_EVENT_IOC_ENABLE, 0);
	grow(2);
	for (; wait(&status) > 0; tasks++, beat()) {
		killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
		stress_expect(!status || killed, TREES, "a child's status is %#x", status);
		count(KILLS, killed);
	}
	ioctl(ref, PERF_EVENT_IOC_DISABLE, 0);
	val = pkg_count(fd);
	core = pkg_count(ref);
	stress_expect(pkg_near(val, core, 10 * tasks), TREES,
		      "%llu ns, task-clock %llu ns, %u tasks", val, core, tasks);
	close(ref);
	close(fd);
}

/* Hotplug */

static int set_online(int cpu, int online)
{
	int err;

	/* CPU 0, for example */
	if (!fresh_can_go(cpu))
		return -EPERM;
	err = fresh_set_online(cpu, online);
	/* Something in the kernel may forbid it for the moment */
	stress_expect(!err || (!online && err == -EBUSY), HOTPLUG, "CPU %d to %d: %s", cpu,
		      online, strerror(-err));
	return err;
}

/* One CPU or all of a package in any order. The other packages stay. */
static void hotplug_step(void)
{
	int p = below(topo.nr), nr = topo.pkg[p].nr_cpus, first = below(nr), i, gone = 0;
	int want = below(2) ? nr : 1;

	for (i = 0; i < want; i++, beat())
		gone += !set_online(topo.pkg[p].cpu[(first + i) % nr], 0);
	usleep(below(30000));
	for (first = below(nr), i = 0; i < nr; i++, beat())
		set_online(topo.pkg[p].cpu[(first + i) % nr], 1);
	count(CPU_CYCLES, gone);
	count(PACKAGE_CYCLES, gone == nr);
	usleep(below(10000));
}

static void hotplug_quiet(void)
{
	int p, c;

	for (p = 0; p < topo.nr; p++)
		for (c = 0; c < topo.pkg[p].nr_cpus; c++)
			set_online(topo.pkg[p].cpu[c], 1);
}

static void knob_step(void)
{
	int knob = below(FRESH_KNOBS), err;
	__u64 loads = crew->tally[LOADS];
	const char *val;

	val = stress_good(knob);
	err = stress_set_knob(knob, val);
	/* Gone or new since then: it was not meant to keep that */
	if (!is_set(&crew->calm) && loads == crew->tally[LOADS])
		stress_expect(!err, KNOBS, "%s to %s: %d", fresh_knobs[knob], val, err);
	usleep(below(2000));
}

/* The module */

static int unload(void)
{
	return syscall(__NR_delete_module, "pkg_clock", O_NONBLOCK) ? -errno : 0;
}

/* Without events, but for those of probers, which are not open for long */
static void reload(void)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	int err;

	do {
		err = unload();
		beat();
	} while (err == -EWOULDBLOCK && pkg_now(CLOCK_MONOTONIC) < end);
	if (!stress_expect(!err, MODULE, "unused: %s", strerror(-err)))
		return;
	usleep(below(5000));
	pkg_load_module("pkg_clock");
	stress_expect(!access(PKG_PMU, F_OK), MODULE, "it does not come back");
	count(LOADS, 1);
}

static void module_step(void)
{
	int i, fd, err;

	if (me->steps % RELOAD_STEPS == RELOAD_STEPS - 1) {
		if (crew_calm())
			reload();
		set(&crew->calm, false);
		return;
	}
	fd = pkg_open(pkg_attr(PKG_RUNTIME, PKG_ALL), 0, -1, -1);
	stress_expect(fd >= 0, OPENABLE, "module in use: %d", fd);
	for (i = 0; fd >= 0 && i < 50; i++, beat()) {
		err = unload();
		stress_expect(err == -EWOULDBLOCK, MODULE, "in use: %s", strerror(-err));
		usleep(below(2000));
	}
	close(fd);
}

/* Probers go on while the module is away or on its way */
static void probe_step(void)
{
	int fd = pkg_open(pkg_attr(PKG_RUNTIME, PKG_ALL), 0, -1, -1);

	count(PROBES_REFUSED, fd < 0);
	/* The type that it had may be another PMU's by now */
	stress_expect(fd >= 0 || fd == -ENOENT || fd == -ENODEV || fd == -EINVAL,
		      OPENABLE, "beside unloads: %d", fd);
	close(fd);
	usleep(below(1000));
}

/* The trace is read and thrown away */
static void trace_step(void)
{
	static char buf[65536];
	int fd = open(PKG_TRACEFS "trace_pipe", O_RDONLY | O_NONBLOCK | O_CLOEXEC), i, len;

	if (fd < 0)
		exit(KSFT_FAIL);
	pkg_set(PKG_TRACEFS, "events/perf_pkg/enable", 1);
	pkg_trace_start();
	for (i = 0; i < 20; i++, beat()) {
		len = read(fd, buf, sizeof(buf));
		if (len > 0)
			count(TRACED, len);
		usleep(below(5000));
	}
	pkg_set(PKG_TRACEFS, "events/perf_pkg/enable", 0);
	close(fd);
	usleep(below(50000));
}

/* Who does what: the tracer comes last, and only where there are tracepoints */
static const struct role roles[] = {
	{ "opener",	NR_OPENERS, 100, .step = opener_step, .quiet = opener_quiet },
	{ "reader",	2, 10,	.step = reader_step },
	{ "forker",	2, 10,	.step = forker_step },
	{ "hotplug",	1, 30,	.step = hotplug_step, .quiet = hotplug_quiet, .busy = true },
	{ "knobs",	1, 300,	.step = knob_step, .busy = true },
	{ "prober",	1, 300,	.step = probe_step, .busy = true },
	{ "module",	1, 3 * RELOAD_STEPS, .step = module_step, .busy = true },
	{ "tracer",	1, 10,	.step = trace_step, .busy = true },
};

/* What must be left of it */

static bool all_online(void)
{
	int p, c;

	for (p = 0; p < topo.nr; p++)
		for (c = 0; c < topo.pkg[p].nr_cpus; c++)
			if (pkg_cpu_id(topo.pkg[p].cpu[c]) != topo.pkg[p].id)
				return false;
	return true;
}

static bool counts_on_each_package(void)
{
	struct puppet p = { };
	bool ok = true;
	int i, fd, ref;

	if (puppet_new(&p))
		return false;
	for (i = 0; ok && i < topo.nr; i++) {
		ok = !puppet_call(&p, pkg_pin, topo.pkg[i].cpu[0]);
		fd = pkg_open(pkg_attr(PKG_RUNTIME, topo.pkg[i].id), p.pid, -1, -1);
		ref = pkg_open(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), p.pid, -1, -1);
		ok &= PKG_RETRY(puppet_agree(&p, fd, ref, pkg_burn, 20000, 10));
		close(fd);
		close(ref);
	}
	puppet_end(&p);
	return ok;
}

/* An event of each package has its timer run; without events none may */
static bool timers_follow_events(void)
{
	int i, fd[PKG_MAX], with = 0, without = 0;

	pkg_trace_pmu = "pkg_clock_domain";
	fresh_watch();
	for (i = 0; i < topo.nr; i++)
		fd[i] = pkg_open(pkg_domain_attr(PKG_CLOCK), -1, topo.pkg[i].cpu[0], -1);
	for (i = 0; i < topo.nr; i++)
		with += fresh_wait(PKG_TRACE_REFRESH, topo.pkg[i].id, 1);
	for (i = 0; i < topo.nr; i++)
		close(fd[i]);
	fresh_watch();
	usleep(500000);
	for (i = 0; i < topo.nr; i++)
		without += fresh_look(PKG_TRACE_REFRESH, topo.pkg[i].id);
	if (with < topo.nr || without)
		ksft_print_msg("%d timers with events, %d refreshes without\n", with, without);
	return with == topo.nr && !without;
}

static bool module_goes_and_comes(void)
{
	int err = unload();

	if (err) {
		ksft_print_msg("unload: %s, %lld users\n", strerror(-err),
			       pkg_get("/sys/module/pkg_clock/", "refcnt"));
		return false;
	}
	pkg_load_module("pkg_clock");
	return !access(PKG_PMU, F_OK) && stress_restore_knobs();
}

static void look_after(const char *no_trace)
{
	/* A worker that was stuck may have left this undone */
	hotplug_quiet();
	if (access(PKG_PMU, F_OK))
		pkg_load_module("pkg_clock");
	stress_expect(stress_restore_knobs(), RESTORED, "a knob");
	stress_expect(all_online(), RESTORED, "a CPU");
	stress_expect(counts_on_each_package(), COUNTING, "one does not");
	if (!no_trace) {
		/* The tracer leaves its events off */
		pkg_trace_open();
		stress_expect(timers_follow_events(), TIMERS, "too few or too many");
		pkg_trace_close();
	}
	stress_expect(module_goes_and_comes(), RELOADABLE, "it is away or in use");
}

static const char *prepare(void)
{
	const char *why = pkg_init(2);
	struct rlimit all;

	if (why)
		return why;
	if (pkg_get("/sys/module/pkg_clock/", "refcnt"))
		return "module pkg_clock cannot be unloaded, or is in use";
	stress_save_knobs();
	if (!stress->nr)
		stress->nr = stress->seconds ? LONG_EVENTS : SHORT_EVENTS;
	all.rlim_cur = stress->nr + 1024;
	all.rlim_max = all.rlim_cur;
	setrlimit(RLIMIT_NOFILE, &all);
	/* Else as many as there may be */
	if (!getrlimit(RLIMIT_NOFILE, &all) && all.rlim_cur < stress->nr)
		stress->nr = all.rlim_cur / 2;
	return NULL;
}

int main(int argc, char *argv[])
{
	const char *why, *no_trace;

	stress_begin(argc, argv, rules, "EVENTS");
	why = prepare();
	if (why)
		ksft_exit_skip("%s\n", why);
	ksft_set_plan(NR_RULES);
	no_trace = pkg_trace_open();
	crew_start(roles, ARRAY_SIZE(roles) - !!no_trace);
	crew_watch(stress->seconds);
	stress_expect(!crew->stuck, PROGRESS, "%d", crew->stuck);
	stress_expect(!crew->stuck && !crew->failed && !crew->tally[OPEN_NOW], ENDS,
		      "%d ended badly, %llu events", crew->failed, crew->tally[OPEN_NOW]);
	print_tallies(tallies, NR_TALLIES);
	look_after(no_trace);
	stress_report();
	ksft_finished();
}
