// SPDX-License-Identifier: GPL-2.0
/*
 * CPUs and whole packages go and come back while events count: totals never
 * step back, and a package is refreshed by its own CPUs or not at all.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_fresh.h"

#define ROUNDS		3
#define NR_SPINNERS	2
#define MAX_REFRESHES	100000

FIXTURE(pkg_hotplug)
{
	struct puppet p[NR_SPINNERS];
	int id[PKG_MAX_CPUS];
	int fd[2 * NR_SPINNERS + PKG_MAX + 2 * PKG_MAX_CPUS];
	__u64 last[2 * NR_SPINNERS + PKG_MAX + 2 * PKG_MAX_CPUS];
	int nr;
};

/* The package that can go as a whole, or -1 */
static int package_that_can_go(void)
{
	int p, c;

	for (p = topo.nr - 1; p >= 0; p--) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++)
			if (!fresh_can_go(topo.pkg[p].cpu[c]))
				break;
		if (c == topo.pkg[p].nr_cpus)
			return p;
	}
	return -1;
}

/* Returns NULL, or why there is nothing to test here */
static const char *hotplug_init(void)
{
	const char *why = pkg_init(2);

	if (!why && package_that_can_go() < 0)
		why = "no package of which all CPUs can go offline";
	return why;
}

FIXTURE_SETUP(pkg_hotplug)
{
	const char *why = hotplug_init();
	int p, c, i;

	if (!why)
		why = pkg_trace_open();
	if (why)
		SKIP(return, "%s", why);

	for (p = 0; p < topo.nr; p++)
		for (c = 0; c < topo.pkg[p].nr_cpus; c++)
			self->id[topo.pkg[p].cpu[c]] = topo.pkg[p].id;

	for (i = 0; i < NR_SPINNERS; i++) {
		struct perf_event_attr attr = pkg_attr(PKG_RUNTIME, PKG_ALL);

		ASSERT_EQ(0, puppet_new(&self->p[i]));
		self->fd[self->nr++] = PKG_OPEN(attr, self->p[i].pid, -1, -1);
		attr.inherit = 1;
		self->fd[self->nr++] = PKG_OPEN(attr, self->p[i].pid, -1, -1);
	}
	for (p = 0; p < topo.nr; p++) {
		struct perf_event_attr attr = pkg_attr(PKG_RUNTIME, topo.pkg[p].id);

		self->fd[self->nr++] = PKG_OPEN(attr, self->p[0].pid, -1, -1);
		attr.config1 = 0;
		for (c = 0; c < topo.pkg[p].nr_cpus; c++) {
			self->fd[self->nr++] = PKG_OPEN(attr, -1, topo.pkg[p].cpu[c], -1);
			self->fd[self->nr++] = PKG_OPEN(pkg_domain_attr(PKG_BUSY), -1,
							topo.pkg[p].cpu[c], -1);
		}
	}
	pkg_trace_start();
}

FIXTURE_TEARDOWN(pkg_hotplug)
{
	int i;

	pkg_stop(1);
	for (i = 0; i < PKG_MAX_CPUS; i++)
		if (fresh_can_go(i))
			fresh_set_online(i, 1);
	for (i = 0; i < NR_SPINNERS; i++)
		puppet_end(&self->p[i]);
	pkg_trace_close();
}

#define EXPECT_NO_STEP_BACK() do {					\
	int __i;							\
									\
	for (__i = 0; __i < self->nr; __i++) {				\
		__u64 __val = pkg_count(self->fd[__i]);			\
									\
		EXPECT_LE(self->last[__i], __val)			\
			TH_LOG("event %d", __i);			\
		self->last[__i] = __val;				\
	}								\
} while (0)

static struct pkg_refresh refresh[MAX_REFRESHES];

/* Returns how many passes there were; each ran where it belongs */
static int check_trace(struct __test_metadata *_metadata, int *id, int domain)
{
	int nr = pkg_trace_stop(refresh, MAX_REFRESHES), i, found = 0;

	EXPECT_LE(0, nr);
	for (i = 0; i < nr; i++) {
		ASSERT_LE(0, refresh[i].cpu);
		ASSERT_GT(PKG_MAX_CPUS, refresh[i].cpu);
		EXPECT_EQ(id[refresh[i].cpu], refresh[i].domain);
		found += refresh[i].domain == domain && refresh[i].kind == PKG_TRACE_REFRESH;
	}
	return found;
}

/* The CPU that the last pass for a domain ran on, once there was one */
static int refreshing_cpu(int domain)
{
	int tries, nr, cpu = -1;

	for (tries = 0; tries < 1000 && cpu < 0; tries++) {
		pkg_trace_start();
		usleep(10000);
		nr = pkg_trace_stop(refresh, MAX_REFRESHES);
		while (--nr >= 0 && cpu < 0)
			if (refresh[nr].domain == domain && refresh[nr].kind == PKG_TRACE_REFRESH)
				cpu = refresh[nr].cpu;
	}
	return cpu;
}

/* The CPU with the timer goes: another one of the package takes over */
TEST_F_TIMEOUT(pkg_hotplug, timer_moves, 300)
{
	int pkg = package_that_can_go(), id = topo.pkg[pkg].id;
	int round, cpu, next, nr, i, moves, fd[2];

	if (topo.pkg[pkg].nr_cpus < 2)
		SKIP(return, "only one CPU in each package that can go");
	for (round = 0; round < ROUNDS; round++) {
		/* Those of a CPU that goes do not come back with it */
		for (i = 0; i < 2; i++)
			fd[i] = PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), -1,
					 topo.pkg[pkg].cpu[i], -1);
		cpu = refreshing_cpu(id);
		ASSERT_LE(0, cpu);
		pkg_trace_start();
		ASSERT_EQ(0, fresh_set_online(cpu, 0));
		nr = pkg_trace_stop(refresh, MAX_REFRESHES);
		for (i = 0, moves = 0; i < nr; i++) {
			if (refresh[i].domain != id || refresh[i].kind != PKG_TRACE_START)
				continue;
			EXPECT_NE(cpu, refresh[i].cpu);
			EXPECT_EQ(id, self->id[refresh[i].cpu]);
			moves++;
		}
		EXPECT_EQ(1, moves);
		next = refreshing_cpu(id);
		EXPECT_NE(cpu, next);
		EXPECT_LE(0, next);
		ASSERT_EQ(0, fresh_set_online(cpu, 1));
		for (i = 0; i < 2; i++)
			close(fd[i]);
	}
}

TEST_F_TIMEOUT(pkg_hotplug, cpu_by_cpu, 300)
{
	int round, i, cpu;

	for (i = 0; i < NR_SPINNERS; i++)
		ASSERT_EQ(0, puppet_start(&self->p[i], pkg_spin, 0));
	for (round = 0; round < ROUNDS; round++) {
		for (cpu = 0; cpu < PKG_MAX_CPUS; cpu++) {
			if (!fresh_can_go(cpu))
				continue;
			ASSERT_EQ(0, fresh_set_online(cpu, 0));
			EXPECT_NO_STEP_BACK();
			usleep(20000);
			EXPECT_NO_STEP_BACK();
			ASSERT_EQ(0, fresh_set_online(cpu, 1));
			EXPECT_NO_STEP_BACK();
		}
	}
	pkg_stop(1);
	for (i = 0; i < topo.nr; i++)
		EXPECT_LT(0, check_trace(_metadata, self->id, topo.pkg[i].id));
}

static void set_package(struct __test_metadata *_metadata, int p, int online)
{
	int c;

	for (c = 0; c < topo.pkg[p].nr_cpus; c++)
		ASSERT_EQ(0, fresh_set_online(topo.pkg[p].cpu[c], online));
}

TEST_F_TIMEOUT(pkg_hotplug, whole_package, 300)
{
	int gone = package_that_can_go(), id = topo.pkg[gone].id, round, i;
	int on_pkg = PKG_OPEN(pkg_attr(PKG_RUNTIME, id), self->p[0].pid, -1, -1);
	int all = PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), self->p[0].pid, -1, -1);
	int level = PKG_OPEN(pkg_attr(PKG_CLOCK, id), self->p[0].pid, -1, -1);
	__u64 was, total;

	for (round = 0; round < ROUNDS; round++) {
		ASSERT_EQ(0, puppet_call(&self->p[0], pkg_pin, topo.pkg[gone].cpu[0]));
		ASSERT_EQ(0, puppet_call(&self->p[0], pkg_burn, 20000));
		EXPECT_NO_STEP_BACK();
		was = pkg_count(on_pkg);
		total = pkg_count(all);
		EXPECT_LT(0, was);
		EXPECT_LT(0, pkg_count(level));

		set_package(_metadata, gone, 0);
		EXPECT_EQ(was, pkg_count(on_pkg));
		EXPECT_EQ(total, pkg_count(all));
		EXPECT_EQ(0, pkg_count(level));
		EXPECT_NO_STEP_BACK();

		/* Its pin is void now */
		check_trace(_metadata, self->id, id);
		pkg_trace_start();
		ASSERT_EQ(0, puppet_call(&self->p[0], pkg_burn, 20000));
		EXPECT_EQ(was, pkg_count(on_pkg));
		EXPECT_LE(total + 19 * NSEC_PER_MSEC, pkg_count(all));
		EXPECT_EQ(0, pkg_count(level));
		EXPECT_EQ(0, check_trace(_metadata, self->id, id));

		pkg_trace_start();
		set_package(_metadata, gone, 1);
		EXPECT_EQ(was, pkg_count(on_pkg));
		EXPECT_NO_STEP_BACK();
		ASSERT_EQ(0, puppet_call(&self->p[0], pkg_pin, topo.pkg[gone].cpu[0]));
		ASSERT_EQ(0, puppet_call(&self->p[0], pkg_burn, 20000));
		EXPECT_LE(was + 19 * NSEC_PER_MSEC, pkg_count(on_pkg));
		for (i = 0; i < 20000 && !pkg_count(level); i++)
			usleep(1000);
		EXPECT_LT(0, pkg_count(level));
		EXPECT_NO_STEP_BACK();
	}
	EXPECT_LT(0, check_trace(_metadata, self->id, id));
}

/* The last CPU of a package goes while a task runs on it */
TEST_F_TIMEOUT(pkg_hotplug, package_in_use, 300)
{
	int gone = package_that_can_go(), round, i;

	for (i = 0; i < NR_SPINNERS; i++)
		ASSERT_EQ(0, puppet_start(&self->p[i], pkg_spin, 0));
	for (round = 0; round < ROUNDS; round++) {
		usleep(20000);
		set_package(_metadata, gone, 0);
		EXPECT_NO_STEP_BACK();
		usleep(20000);
		EXPECT_NO_STEP_BACK();
		set_package(_metadata, gone, 1);
		EXPECT_NO_STEP_BACK();
	}
	pkg_stop(1);
	check_trace(_metadata, self->id, 0);
}

/* The CPU that has the events of a package, -1: none of its CPUs is there */
static int mask_cpu(int pkg)
{
	return fresh_cpu_in_mask(PKG_DOMAIN_PMU, pkg);
}

/* Events of a package count on when the CPU that has them goes, unless they are disabled */
TEST_F_TIMEOUT(pkg_hotplug, package_events_move, 300)
{
	int pkg = package_that_can_go(), on, off, frozen, round, cpu, other, i;
	struct perf_event_attr attr = pkg_domain_attr(PKG_CLOCK);
	__u64 was;

	if (topo.pkg[pkg].nr_cpus < 2)
		SKIP(return, "only one CPU in each package that can go");
	on = PKG_OPEN(attr, -1, topo.pkg[pkg].cpu[0], -1);
	attr.disabled = 1;
	off = PKG_OPEN(attr, -1, topo.pkg[pkg].cpu[0], -1);
	frozen = PKG_OPEN(pkg_domain_attr(PKG_CLOCK), -1, topo.pkg[pkg].cpu[1], -1);
	ASSERT_EQ(0, ioctl(frozen, PERF_EVENT_IOC_DISABLE, 0));
	was = pkg_count(frozen);
	EXPECT_LT(0, was);
	for (round = 0; round < ROUNDS; round++) {
		cpu = mask_cpu(pkg);
		ASSERT_LE(0, cpu);
		ASSERT_EQ(0, fresh_set_online(cpu, 0));
		other = mask_cpu(pkg);
		EXPECT_LE(0, other);
		EXPECT_NE(cpu, other);
		EXPECT_TRUE(fresh_wait_for_change(on));
		EXPECT_EQ(0, pkg_count(off));
		EXPECT_EQ(was, pkg_count(frozen));
		EXPECT_NO_STEP_BACK();

		/* For the CPU that is gone: another one of the package does it */
		i = PKG_OPEN(pkg_domain_attr(PKG_CLOCK), -1, cpu, -1);
		EXPECT_TRUE(fresh_wait_for_change(i));
		close(i);
		ASSERT_EQ(0, fresh_set_online(cpu, 1));
		EXPECT_TRUE(fresh_wait_for_change(on));
		EXPECT_NO_STEP_BACK();
	}

	/* None is left, and then there is again */
	set_package(_metadata, pkg, 0);
	EXPECT_EQ(-1, mask_cpu(pkg));
	EXPECT_EQ(-ENODEV, pkg_open(pkg_domain_attr(PKG_CLOCK), -1, cpu, -1));
	set_package(_metadata, pkg, 1);
	EXPECT_LE(0, mask_cpu(pkg));
	EXPECT_LE(0, pkg_open(pkg_domain_attr(PKG_CLOCK), -1, cpu, -1));
}

/* An event is opened for a CPU that was offline when the PMU was registered. */
TEST(registered_while_offline)
{
	const char *why = hotplug_init();
	int pkg, cpu, i;

	if (why)
		SKIP(return, "%s", why);
	pkg = package_that_can_go();
	if (topo.pkg[pkg].nr_cpus < 2)
		SKIP(return, "only one CPU in each package that can go");
	cpu = topo.pkg[pkg].cpu[topo.pkg[pkg].nr_cpus - 1];
	ASSERT_EQ(0, fresh_set_online(cpu, 0));
	ASSERT_EQ(0, syscall(__NR_delete_module, "pkg_clock", O_NONBLOCK));
	pkg_load_module("pkg_clock");
	i = pkg_open(pkg_domain_attr(PKG_BUSY), -1, cpu, -1);
	EXPECT_LE(0, i);
	ASSERT_EQ(0, fresh_set_online(cpu, 1));
	EXPECT_TRUE(fresh_wait_for_change(i));
}

/* Number of the state of hotplug with this name, -1 if there is none */
static int state_of(const char *name)
{
	FILE *file = fopen("/sys/devices/system/cpu/hotplug/states", "re");
	char line[128];
	int nr = -1;

	while (file && nr < 0 && fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\n")] = 0;
		if (strstr(line, ": ") && !strcmp(strstr(line, ": ") + 2, name))
			nr = atoi(line);
	}
	if (file)
		fclose(file);
	return nr;
}

/* The last CPU of a package cannot go after all: an event has missed nothing. */
TEST(rolled_back)
{
	long long interval = pkg_get(PKG_DOMAIN_PMU, "refresh_interval_us");
	const char *why = hotplug_init();
	int pkg, cpu, state, fd, c;
	__u64 before;
	char dir[64];

	if (why)
		SKIP(return, "%s", why);
	pkg = package_that_can_go();
	cpu = topo.pkg[pkg].cpu[0];
	state = state_of("workqueue:online");
	snprintf(dir, sizeof(dir), "/sys/devices/system/cpu/cpu%d/hotplug/", cpu);
	if (state < 0 || pkg_get(dir, "fail") != -1)
		SKIP(return, "hotplug does not fail where one wants it to");
	fd = PKG_OPEN(pkg_domain_attr(PKG_BUSY), -1, cpu, -1);
	for (c = 1; c < topo.pkg[pkg].nr_cpus; c++)
		ASSERT_EQ(0, fresh_set_online(topo.pkg[pkg].cpu[c], 0));
	/* From now on nobody reads it but at the end. */
	EXPECT_EQ(0, pkg_set(PKG_DOMAIN_PMU, "refresh_interval_us", 0));
	before = pkg_count(fd);
	EXPECT_EQ(0, pkg_set(dir, "fail", state));
	EXPECT_NE(0, fresh_set_online(cpu, 0));
	EXPECT_EQ(0, pkg_pin(cpu));
	pkg_burn(20000);
	EXPECT_LE(before + 19 * NSEC_PER_MSEC, pkg_count(fd));
	EXPECT_EQ(0, pkg_set(PKG_DOMAIN_PMU, "refresh_interval_us", interval));
	for (c = 1; c < topo.pkg[pkg].nr_cpus; c++)
		EXPECT_EQ(0, fresh_set_online(topo.pkg[pkg].cpu[c], 1));
}

TEST_F_TIMEOUT(pkg_hotplug, open_while_offline, 120)
{
	int gone = package_that_can_go(), id = topo.pkg[gone].id, fd, task;

	set_package(_metadata, gone, 0);
	EXPECT_EQ(-ENODEV, pkg_open(pkg_attr(PKG_RUNTIME, PKG_ALL), -1,
				    topo.pkg[gone].cpu[0], -1));

	/* It joins when it is there again */
	task = PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), self->p[0].pid, -1, -1);
	set_package(_metadata, gone, 1);
	fd = PKG_OPEN(pkg_attr(PKG_RUNTIME, id), self->p[0].pid, -1, -1);
	ASSERT_EQ(0, puppet_call(&self->p[0], pkg_pin, topo.pkg[gone].cpu[0]));
	ASSERT_EQ(0, puppet_call(&self->p[0], pkg_burn, 20000));
	EXPECT_LE(19 * NSEC_PER_MSEC, pkg_count(fd));
	EXPECT_LE(19 * NSEC_PER_MSEC, pkg_count(task));
	EXPECT_LE(0, pkg_open(pkg_attr(PKG_RUNTIME, PKG_ALL), -1,
			      topo.pkg[gone].cpu[0], -1));
}

TEST_HARNESS_MAIN
