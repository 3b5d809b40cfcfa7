// SPDX-License-Identifier: GPL-2.0
/*
 * Groups with members that have pmu::count(): those that do not have it count
 * on whatever happens to the group, and a read waits only for their CPUs.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_hook.h"

#define MAX_MEMBERS	4
#define WAIT_US		10000
/* Clocks are read before or after the count, and may differ a little */
#define SLACK_NS	NSEC_PER_MSEC

/* Fewer may have come through before the CPU had its interrupts off */
#define ENOUGH_READS	200
#define MAX_SPIN_MS	1000

struct group {
	struct hook_cpus cpus;
	struct puppet p;
	/*
	 * The leader and its siblings: (e)nergy, (c)pu-clock, (t)ask-clock,
	 * pkg_clock's (r)untime, pkg_clock_(d)omain's busy, c(y)cles
	 */
	const char *members;
	int fd[MAX_MEMBERS];
	/* The clock of the task that the group counts; -1: it counts a CPU */
	int ref;
	/* power's max_age_us before the test; 0: it was off, or still is what it was */
	long long max_age;
};

static struct perf_event_attr attr_of(char member)
{
	struct perf_event_attr cycles = {
		.type	= PERF_TYPE_HARDWARE,
		.size	= sizeof(cycles),
		.config	= PERF_COUNT_HW_CPU_CYCLES,
	};

	switch (member) {
	case 'e':
		return hook_power_attr();
	case 'c':
		return pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	case 't':
		return pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK);
	case 'r':
		return pkg_attr(PKG_RUNTIME, PKG_ALL);
	case 'd':
		return pkg_domain_attr(PKG_BUSY);
	default:
		return cycles;
	}
}

/* Returns NULL, or why there is nothing to test here */
static const char *setup(struct group *g, const char *members, bool of_task)
{
	const char *why = hook_init(&g->cpus);

	if (why)
		return why;
	if (strpbrk(members, "rd") && access(PKG_PMU, F_OK))
		return "no PMU pkg_clock";
	if (puppet_new(&g->p) || puppet_call(&g->p, pkg_pin, g->cpus.cpu))
		return "no other process";
	g->members = members;
	g->ref = of_task ? pkg_open(attr_of('t'), g->p.pid, -1, -1) : -1;
	return NULL;
}

static void teardown(struct group *g)
{
	if (g->max_age > 0)
		pkg_set(POWER_PMU, "max_age_us", g->max_age);
	pkg_stop(1);
	puppet_end(&g->p);
	hook_exit(&g->cpus);
}

static int open_member(struct group *g, char member, int cpu, int leader)
{
	struct perf_event_attr attr = attr_of(member);

	if (leader < 0) {
		attr.read_format = PERF_FORMAT_GROUP;
		attr.disabled = 1;
	}
	return g->ref < 0 ? pkg_open(attr, -1, cpu, leader) :
			    pkg_open(attr, g->p.pid, -1, leader);
}

static int open_group(struct group *g, int cpu)
{
	int i;

	for (i = 0; g->members[i]; i++) {
		g->fd[i] = open_member(g, g->members[i], cpu, i ? g->fd[0] : -1);
		if (g->fd[i] < 0)
			return g->fd[i];
	}
	return ioctl(g->fd[0], PERF_EVENT_IOC_ENABLE, 0) ? -errno : 0;
}

static __u64 time_of(const struct group *g)
{
	return g->ref < 0 ? pkg_now(CLOCK_MONOTONIC) : pkg_count(g->ref);
}

/*
 * Between two reads of @nr members, or of a single event with @nr 0, clocks go
 * on by the time that passes, and energy grows.
 */
static bool goes_on(const struct group *g, int fd, const char *members, int nr)
{
	__u64 first[MAX_MEMBERS], last[MAX_MEMBERS], time[4], diff;
	bool ok, all = true;
	int i;

	time[0] = time_of(g);
	if (pkg_read(fd, first, nr))
		return false;
	time[1] = time_of(g);
	usleep(WAIT_US);
	time[2] = time_of(g);
	if (pkg_read(fd, last, nr))
		return false;
	time[3] = time_of(g);

	for (i = 0; i < (nr ?: 1); i++) {
		diff = last[i] - first[i];
		if (members[i] == 'e')
			ok = (__s64)diff > 0;
		else if (members[i] == 'c' || members[i] == 't')
			ok = diff + SLACK_NS >= time[2] - time[1] &&
			     diff <= time[3] - time[0] + SLACK_NS;
		else
			ok = (__s64)diff >= 0;
		if (!ok)
			ksft_print_msg("%c, number %d of %s: %lld more in %lld to %lld ns\n",
				       members[i], i, members, diff, time[2] - time[1],
				       time[3] - time[0]);
		all &= ok;
	}
	return all;
}

static bool siblings_go_on(const struct group *g)
{
	bool ok = true;
	int i;

	for (i = 1; g->members[i]; i++)
		ok &= goes_on(g, g->fd[i], g->members + i, 0);
	return ok;
}

/* Read with the group, and each sibling alone */
static bool all_go_on(const struct group *g)
{
	bool ok = goes_on(g, g->fd[0], g->members, strlen(g->members));

	return siblings_go_on(g) && ok;
}

FIXTURE(pkg_hook_group)
{
	struct group g;
};

FIXTURE_VARIANT(pkg_hook_group)
{
	const char *members;
	bool of_task;
};

FIXTURE_VARIANT_ADD(pkg_hook_group, cpu_ct) { "ct", false };
FIXTURE_VARIANT_ADD(pkg_hook_group, cpu_ec) { "ec", false };
FIXTURE_VARIANT_ADD(pkg_hook_group, cpu_ce) { "ce", false };
FIXTURE_VARIANT_ADD(pkg_hook_group, cpu_ee) { "ee", false };
FIXTURE_VARIANT_ADD(pkg_hook_group, cpu_cce) { "cce", false };
FIXTURE_VARIANT_ADD(pkg_hook_group, cpu_cte) { "cte", false };
FIXTURE_VARIANT_ADD(pkg_hook_group, cpu_ect) { "ect", false };
FIXTURE_VARIANT_ADD(pkg_hook_group, cpu_rc) { "rc", false };
FIXTURE_VARIANT_ADD(pkg_hook_group, cpu_cr) { "cr", false };
FIXTURE_VARIANT_ADD(pkg_hook_group, cpu_rce) { "rce", false };
FIXTURE_VARIANT_ADD(pkg_hook_group, task_ct) { "ct", true };
FIXTURE_VARIANT_ADD(pkg_hook_group, task_rc) { "rc", true };
FIXTURE_VARIANT_ADD(pkg_hook_group, task_cr) { "cr", true };
FIXTURE_VARIANT_ADD(pkg_hook_group, task_rr) { "rr", true };
FIXTURE_VARIANT_ADD(pkg_hook_group, task_ctr) { "ctr", true };
FIXTURE_VARIANT_ADD(pkg_hook_group, task_rtc) { "rtc", true };

FIXTURE_SETUP(pkg_hook_group)
{
	const char *why = setup(&self->g, variant->members, variant->of_task);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(pkg_hook_group)
{
	teardown(&self->g);
}

static void open_and_run(struct __test_metadata *_metadata, struct group *g)
{
	ASSERT_EQ(0, open_group(g, g->cpus.cpu));
	if (g->ref >= 0)
		ASSERT_EQ(0, puppet_start(&g->p, pkg_spin, 0));
}

TEST_F_TIMEOUT(pkg_hook_group, read_anywhere, 120)
{
	const int cpus[] = { self->g.cpus.far, self->g.cpus.other, self->g.cpus.cpu };
	/* On the last one a task of the group spins */
	int i, nr = ARRAY_SIZE(cpus) - variant->of_task;

	open_and_run(_metadata, &self->g);
	for (i = 0; i < nr; i++) {
		ASSERT_EQ(0, pkg_pin(cpus[i]));
		EXPECT_TRUE(all_go_on(&self->g))
			TH_LOG("read on CPU %d", cpus[i]);
	}
}

/*
 * A hardware event takes a group of software events to another context, where
 * it is as it was opened: not enabled.
 */
TEST_F_TIMEOUT(pkg_hook_group, another_joins_and_leaves, 120)
{
	char joiner = variant->of_task ? 'y' : 'e', members[MAX_MEMBERS + 1];
	struct group *g = &self->g;
	int fd;

	open_and_run(_metadata, g);
	fd = open_member(g, joiner, g->cpus.cpu, g->fd[0]);
	if (fd < 0 && variant->of_task)
		SKIP(return, "no hardware counter");
	ASSERT_LE(0, fd);
	ASSERT_EQ(0, ioctl(g->fd[0], PERF_EVENT_IOC_ENABLE, 0));
	snprintf(members, sizeof(members), "%s%c", g->members, joiner);
	EXPECT_TRUE(goes_on(g, g->fd[0], members, strlen(members)));
	EXPECT_TRUE(siblings_go_on(g));
	close(fd);
	EXPECT_TRUE(all_go_on(g));
}

/* Its siblings become leaders of their own. */
TEST_F_TIMEOUT(pkg_hook_group, leader_leaves, 120)
{
	open_and_run(_metadata, &self->g);
	close(self->g.fd[0]);
	EXPECT_TRUE(siblings_go_on(&self->g));
}

static long spin_irqoff(long ms)
{
	long ret;

	__atomic_store_n(&shared->started[0], 1, __ATOMIC_RELEASE);
	ret = pkg_set(PKG_PARAM, "spin_irqoff_ms", ms);
	__atomic_store_n(&shared->ended[0], pkg_now(CLOCK_MONOTONIC), __ATOMIC_RELEASE);
	return ret;
}

/* How often the group could be read before its CPU took interrupts again */
static int reads_while_spinning(struct group *g, int ms)
{
	__u64 val[MAX_MEMBERS];
	int reads;

	memset(shared, 0, sizeof(*shared));
	if (puppet_start(&g->p, spin_irqoff, ms))
		return -1;
	while (!__atomic_load_n(&shared->started[0], __ATOMIC_ACQUIRE))
		;
	usleep(ms * 100);
	for (reads = 0; !__atomic_load_n(&shared->ended[0], __ATOMIC_ACQUIRE); reads++)
		if (pkg_read(g->fd[0], val, strlen(g->members)))
			return -1;
	return puppet_wait(&g->p) ? -1 : reads;
}

/* Only members without pmu::count() are asked for on their CPU. */
TEST_F_TIMEOUT(pkg_hook_group, waits_only_for_others, 120)
{
	bool waits = strpbrk(variant->members, "ct"), waited = !waits;
	struct group *g = &self->g;
	int reads, ms;

	if (!hook_has_engine() || access(PKG_PARAM "spin_irqoff_ms", W_OK))
		SKIP(return, "no package-scope counters or no pkg_clock");
	g->max_age = pkg_get(POWER_PMU, "max_age_us");
	ASSERT_EQ(0, pkg_set_str(POWER_PMU, "max_age_us", "off"));
	ASSERT_EQ(0, open_group(g, g->cpus.cpu));
	/* The CPU may not get to run for a while: then give it more time */
	for (ms = 250; ms <= MAX_SPIN_MS && waited != waits; ms *= 2) {
		reads = reads_while_spinning(g, ms);
		ASSERT_LE(0, reads);
		waited = reads < ENOUGH_READS;
	}
	EXPECT_EQ(waits, waited)
		TH_LOG("%d reads", reads);
}

/* Energy events take their group along when the CPU goes. */

FIXTURE(pkg_hook_moving)
{
	struct group g;
};

FIXTURE_VARIANT(pkg_hook_moving)
{
	const char *members;
	/* Not on the CPU in the cpumask, where energy follows its leader */
	bool on_other;
};

FIXTURE_VARIANT_ADD(pkg_hook_moving, ec) { "ec", false };
FIXTURE_VARIANT_ADD(pkg_hook_moving, ce) { "ce", false };
FIXTURE_VARIANT_ADD(pkg_hook_moving, ee) { "ee", false };
FIXTURE_VARIANT_ADD(pkg_hook_moving, cce) { "cce", false };
FIXTURE_VARIANT_ADD(pkg_hook_moving, cte) { "cte", false };
FIXTURE_VARIANT_ADD(pkg_hook_moving, ect) { "ect", false };
FIXTURE_VARIANT_ADD(pkg_hook_moving, ece) { "ece", false };
FIXTURE_VARIANT_ADD(pkg_hook_moving, rce) { "rce", false };
FIXTURE_VARIANT_ADD(pkg_hook_moving, cd) { "cd", false };
FIXTURE_VARIANT_ADD(pkg_hook_moving, dc) { "dc", false };
FIXTURE_VARIANT_ADD(pkg_hook_moving, other_ce) { "ce", true };
FIXTURE_VARIANT_ADD(pkg_hook_moving, other_cce) { "cce", true };
FIXTURE_VARIANT_ADD(pkg_hook_moving, other_rce) { "rce", true };

FIXTURE_SETUP(pkg_hook_moving)
{
	const char *why = setup(&self->g, variant->members, false);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(pkg_hook_moving)
{
	teardown(&self->g);
}

static void check_cpu_goes(struct __test_metadata *_metadata, const struct group *g, int cpu)
{
	EXPECT_TRUE(all_go_on(g));
	ASSERT_EQ(0, hook_set_online(cpu, 0));
	EXPECT_TRUE(all_go_on(g))
		TH_LOG("CPU %d is offline", cpu);
	ASSERT_EQ(0, hook_set_online(cpu, 1));
	EXPECT_TRUE(all_go_on(g))
		TH_LOG("CPU %d is back", cpu);
}

TEST_F_TIMEOUT(pkg_hook_moving, cpu_goes, 120)
{
	struct group *g = &self->g;
	int cpu = variant->on_other ? g->cpus.other : g->cpus.cpu;
	int next = variant->on_other ? g->cpus.cpu : g->cpus.other;

	if (variant->on_other && !hook_has_engine())
		SKIP(return, "energy counts only on the CPU in the cpumask");
	ASSERT_EQ(0, open_group(g, cpu));
	check_cpu_goes(_metadata, g, cpu);
	check_cpu_goes(_metadata, g, next);
	close(g->fd[0]);
	EXPECT_TRUE(siblings_go_on(g));
}

TEST_HARNESS_MAIN
