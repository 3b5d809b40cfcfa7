// SPDX-License-Identifier: GPL-2.0
/*
 * Isolated CPUs (nohz_full=, isolcpus=): their counters are read by a CPU of
 * their package that is not isolated, as long as there is one.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_fresh.h"

#define INTERVAL_US	1000
#define NR_PASSES	50
#define NR_FAULTS	1000

FIXTURE(pkg_isolated)
{
	struct puppet p;
	bool isolated[PKG_MAX_CPUS];
};

/* Adds the CPUs of a list such as 1,3-5; what else is there ("(null)") is none */
static void add_cpus(const char *name, bool *set)
{
	char line[4096], *pos = line, *end;
	long first, last;

	if (!fresh_get_line("/sys/devices/system/cpu/", name, line, sizeof(line)))
		return;
	do {
		first = strtol(pos, &end, 10);
		if (end == pos)
			return;
		pos = end;
		last = *pos == '-' ? strtol(pos + 1, &pos, 10) : first;
		for (; first <= last && first < PKG_MAX_CPUS; first++)
			set[first] = true;
	} while (*pos++ == ',');
}

FIXTURE_SETUP(pkg_isolated)
{
	const char *why;
	int cpu;

	add_cpus("nohz_full", self->isolated);
	add_cpus("isolated", self->isolated);
	for (cpu = 0; cpu < PKG_MAX_CPUS && !self->isolated[cpu]; cpu++)
		;
	if (cpu == PKG_MAX_CPUS)
		SKIP(return, "no isolated CPU: boot with isolcpus= or nohz_full=");
	why = fresh_init(1);
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, fresh_set(FRESH_INTERVAL, INTERVAL_US));
	ASSERT_EQ(0, puppet_new(&self->p));
}

FIXTURE_TEARDOWN(pkg_isolated)
{
	int cpu;

	for (cpu = 0; cpu < PKG_MAX_CPUS; cpu++)
		if (fresh_can_go(cpu))
			fresh_set_online(cpu, 1);
	pkg_stop(1);
	/* Not set up where the fixture skips */
	if (self->p.pid) {
		puppet_end(&self->p);
		fresh_exit();
	}
}

static int nr_isolated(const bool *isolated, int pkg)
{
	int i, nr = 0;

	for (i = 0; i < topo.pkg[pkg].nr_cpus; i++)
		nr += isolated[topo.pkg[pkg].cpu[i]];
	return nr;
}

/* The package with isolated CPUs and, if @mixed, others; those can go offline if @others_go */
static int find_package(const bool *isolated, bool mixed, bool others_go)
{
	int p, i, nr;
	bool ok;

	for (p = topo.nr - 1; p >= 0; p--) {
		nr = nr_isolated(isolated, p);
		ok = nr && (nr < topo.pkg[p].nr_cpus) == mixed;
		for (i = 0; i < topo.pkg[p].nr_cpus && others_go; i++)
			ok &= isolated[topo.pkg[p].cpu[i]] || fresh_can_go(topo.pkg[p].cpu[i]);
		if (ok)
			return p;
	}
	return -1;
}

static int first_isolated(const bool *isolated, int pkg)
{
	int i;

	for (i = 0; !isolated[topo.pkg[pkg].cpu[i]]; i++)
		;
	return topo.pkg[pkg].cpu[i];
}

/* All passes and starts that are in the trace, of the isolated CPUs or of the others */
static void check_cpus(struct __test_metadata *_metadata, const bool *isolated, int domain,
		       bool by_isolated)
{
	struct pkg_refresh *t;

	for (t = fresh_first(domain); t; t = fresh_next(t)) {
		if (t->kind != PKG_TRACE_REFRESH && t->kind != PKG_TRACE_START)
			continue;
		ASSERT_LE(0, t->cpu);
		ASSERT_GT(PKG_MAX_CPUS, t->cpu);
		EXPECT_EQ(by_isolated, isolated[t->cpu])
			TH_LOG("%s on CPU %d", pkg_trace_names[t->kind], t->cpu);
		EXPECT_EQ(domain, pkg_cpu_id(t->cpu));
	}
}

static void watch(struct __test_metadata *_metadata, const bool *isolated, int domain,
		  bool by_isolated)
{
	fresh_watch();
	EXPECT_TRUE(fresh_wait(PKG_TRACE_REFRESH, domain, NR_PASSES));
	fresh_nr = pkg_trace_stop(fresh_trace, FRESH_TRACE_MAX);
	check_cpus(_metadata, isolated, domain, by_isolated);
}

/* A task runs on an isolated CPU, and the CPU itself is watched */
TEST_F_TIMEOUT(pkg_isolated, others_read, 120)
{
	int pkg = find_package(self->isolated, true, false), id, cpu, task, clock, level, round;
	__u64 before, val;

	if (pkg < 0)
		SKIP(return, "no package with isolated CPUs and others");
	id = topo.pkg[pkg].id;
	cpu = first_isolated(self->isolated, pkg);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, cpu));
	task = PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), self->p.pid, -1, -1);
	clock = PKG_OPEN(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), self->p.pid, -1, -1);

	/* Each of them has the timer started, by the task alone at first */
	for (round = 0; round < 3; round++) {
		fresh_watch();
		pkg_stop(0);
		ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
		EXPECT_TRUE(fresh_wait(PKG_TRACE_REFRESH, id, NR_PASSES));
		EXPECT_LE(1, fresh_look(PKG_TRACE_START, id));
		EXPECT_TRUE(fresh_wait_for_change(task));
		pkg_stop(1);
		ASSERT_EQ(0, puppet_wait(&self->p));
		EXPECT_TRUE(fresh_wait_stopped(id));
		check_cpus(_metadata, self->isolated, id, false);
	}
	EXPECT_TRUE(PKG_RETRY(puppet_agree(&self->p, task, clock, pkg_burn, 20000, 1)));

	fresh_watch();
	PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), -1, cpu, -1);
	EXPECT_TRUE(fresh_wait(PKG_TRACE_REFRESH, id, NR_PASSES));
	check_cpus(_metadata, self->isolated, id, false);

	pkg_trace_pmu = "pkg_clock_domain";
	fresh_watch();
	level = PKG_OPEN(pkg_domain_attr(PKG_CLOCK), -1, cpu, -1);
	EXPECT_TRUE(fresh_wait(PKG_TRACE_REFRESH, id, NR_PASSES));
	check_cpus(_metadata, self->isolated, id, false);

	/* The clock tells when it was read: not before the pass before the last */
	for (round = 0; round < 10; round++) {
		before = pkg_now(CLOCK_MONOTONIC);
		EXPECT_TRUE(fresh_wait_for_change(level));
		EXPECT_TRUE(fresh_wait_for_change(level));
		val = pkg_count(level);
		EXPECT_LE(before, val);
	}
}

/* The last CPU that is not isolated goes and comes back, while a task runs */
TEST_F_TIMEOUT(pkg_isolated, takes_over, 300)
{
	int pkg = find_package(self->isolated, true, true), id, task, round, i, cpu;
	__u64 val;

	if (pkg < 0)
		SKIP(return, "no package with isolated CPUs where all others can go offline");
	id = topo.pkg[pkg].id;
	task = PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), self->p.pid, -1, -1);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, first_isolated(self->isolated, pkg)));
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	for (round = 0; round < 3; round++) {
		watch(_metadata, self->isolated, id, false);
		for (i = 0; i < topo.pkg[pkg].nr_cpus; i++) {
			cpu = topo.pkg[pkg].cpu[i];
			if (!self->isolated[cpu])
				ASSERT_EQ(0, fresh_set_online(cpu, 0));
		}
		watch(_metadata, self->isolated, id, true);
		val = pkg_count(task);
		EXPECT_TRUE(fresh_wait_for_change(task));
		for (i = 0; i < topo.pkg[pkg].nr_cpus; i++)
			ASSERT_EQ(0, fresh_set_online(topo.pkg[pkg].cpu[i], 1));
		EXPECT_LE(val, pkg_count(task));
	}
	watch(_metadata, self->isolated, id, false);
}

static long page_faults(long nr)
{
	size_t size = getpagesize();
	char *page;

	page = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (page == MAP_FAILED)
		return -errno;
	while (nr--) {
		madvise(page, size, MADV_DONTNEED);
		__atomic_store_n(page, 1, __ATOMIC_RELAXED);
	}
	return munmap(page, size) ? -errno : 0;
}

/* A group goes on with its CPU though another one is in the cpumask now */
TEST_F_TIMEOUT(pkg_isolated, group_stays, 120)
{
	struct perf_event_attr faults = pkg_sw_attr(PERF_COUNT_SW_PAGE_FAULTS);
	int pkg = find_package(self->isolated, true, true), leader, i, cpu;
	__u64 before;

	if (pkg < 0)
		SKIP(return, "no package with isolated CPUs where all others can go offline");
	for (i = 0; i < topo.pkg[pkg].nr_cpus; i++) {
		cpu = topo.pkg[pkg].cpu[i];
		if (!self->isolated[cpu])
			ASSERT_EQ(0, fresh_set_online(cpu, 0));
	}
	cpu = fresh_cpu_in_mask(PKG_DOMAIN_PMU, pkg);
	ASSERT_LE(0, cpu);
	EXPECT_TRUE(self->isolated[cpu]);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, cpu));
	leader = PKG_OPEN(faults, -1, cpu, -1);
	PKG_OPEN(pkg_domain_attr(PKG_BUSY), -1, cpu, leader);

	for (i = 0; i < topo.pkg[pkg].nr_cpus; i++)
		ASSERT_EQ(0, fresh_set_online(topo.pkg[pkg].cpu[i], 1));
	ASSERT_LE(0, fresh_cpu_in_mask(PKG_DOMAIN_PMU, pkg));
	EXPECT_FALSE(self->isolated[fresh_cpu_in_mask(PKG_DOMAIN_PMU, pkg)]);
	before = pkg_count(leader);
	ASSERT_EQ(0, puppet_call(&self->p, page_faults, NR_FAULTS));
	EXPECT_LE(before + NR_FAULTS, pkg_count(leader));
}

/* Nobody else is there */
TEST_F_TIMEOUT(pkg_isolated, only_isolated, 120)
{
	int pkg = find_package(self->isolated, false, false), task;

	if (pkg < 0)
		SKIP(return, "no package of which all CPUs are isolated");
	task = PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), self->p.pid, -1, -1);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, topo.pkg[pkg].cpu[0]));
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	watch(_metadata, self->isolated, topo.pkg[pkg].id, true);
	EXPECT_TRUE(fresh_wait_for_change(task));
}

TEST_HARNESS_MAIN
