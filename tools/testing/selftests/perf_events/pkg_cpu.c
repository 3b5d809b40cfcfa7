// SPDX-License-Identifier: GPL-2.0
/*
 * CPU events: those of a PMU that counts tasks report what their CPU did, those of
 * a PMU that counts packages all of their package. And events of a task on one CPU.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_fresh.h"

#define RUNTIME		pkg_attr(PKG_RUNTIME, PKG_ALL)
#define BUSY		pkg_domain_attr(PKG_BUSY)
#define CLOCK		pkg_domain_attr(PKG_CLOCK)
#define TASK_CLOCK	pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK)

/* One event on each CPU, as tools open them */
struct cpu_set_of_events {
	int	fd[PKG_MAX][PKG_MAX_CPUS];
};

FIXTURE(pkg_cpu)
{
	struct puppet p;
	pid_t pid;
};

FIXTURE_SETUP(pkg_cpu)
{
	const char *why = pkg_init(2);

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[0]));
	ASSERT_EQ(0, puppet_new(&self->p));
	self->pid = self->p.pid;
}

FIXTURE_TEARDOWN(pkg_cpu)
{
	pkg_stop(1);
	puppet_end(&self->p);
}

static int open_set(struct cpu_set_of_events *set, struct perf_event_attr attr, pid_t pid)
{
	int p, c, fd;

	for (p = 0; p < topo.nr; p++) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++) {
			fd = pkg_open(attr, pid, topo.pkg[p].cpu[c], -1);
			if (fd < 0)
				return fd;
			set->fd[p][c] = fd;
		}
	}
	return 0;
}

static void close_set(struct cpu_set_of_events *set)
{
	int p, c;

	for (p = 0; p < topo.nr; p++)
		for (c = 0; c < topo.pkg[p].nr_cpus; c++)
			close(set->fd[p][c]);
}

static void control_set(struct cpu_set_of_events *set, unsigned long ioc)
{
	int p, c;

	for (p = 0; p < topo.nr; p++)
		for (c = 0; c < topo.pkg[p].nr_cpus; c++)
			ioctl(set->fd[p][c], ioc, 0);
}

static __u64 sum_of_package(struct cpu_set_of_events *set, int p)
{
	__u64 sum = 0;
	int c;

	for (c = 0; c < topo.pkg[p].nr_cpus; c++)
		sum += pkg_count(set->fd[p][c]);
	return sum;
}

/* Busy is what a task ran at least, and at most all the time of the CPU */
static bool busy_is_counted(struct puppet *p, int pkg, int c)
{
	__u64 ran, busy, wall[2], before, after;
	struct perf_event_attr attr = RUNTIME;
	int fd, clock;

	attr.disabled = 1;
	puppet_call(p, pkg_pin, topo.pkg[pkg].cpu[c]);
	clock = pkg_open(TASK_CLOCK, p->pid, -1, -1);
	fd = pkg_open(attr, -1, topo.pkg[pkg].cpu[c], -1);
	wall[0] = pkg_now(CLOCK_MONOTONIC);
	ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
	before = pkg_count(fd);
	puppet_call(p, pkg_burn, 50000);
	after = pkg_count(fd);
	ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
	wall[1] = pkg_now(CLOCK_MONOTONIC);
	ran = pkg_count(clock);
	busy = pkg_count(fd);
	close(fd);
	close(clock);
	if (before <= after && after <= busy && busy + ran / 50 >= ran &&
	    busy <= wall[1] - wall[0])
		return true;
	ksft_print_msg("cpu%d: busy %llu ns, the task %llu ns, wall clock %llu ns\n",
		       topo.pkg[pkg].cpu[c], busy, ran, wall[1] - wall[0]);
	return false;
}

TEST_F_TIMEOUT(pkg_cpu, busy, 120)
{
	int p, c;

	for (p = 0; p < topo.nr; p++)
		for (c = 0; c < topo.pkg[p].nr_cpus; c++)
			EXPECT_TRUE(PKG_RETRY(busy_is_counted(&self->p, p, c)));
}

/* A package is busy where a task runs, and the filter for it keeps no other */
static bool right_package_is_busy(struct puppet *p, int pkg)
{
	struct perf_event_attr only = pkg_attr(PKG_RUNTIME, topo.pkg[pkg].id);
	struct cpu_set_of_events all, filtered;
	bool ok;
	int i;

	puppet_call(p, pkg_pin, topo.pkg[pkg].cpu[0]);
	if (open_set(&all, RUNTIME, -1) || open_set(&filtered, only, -1))
		return false;
	puppet_call(p, pkg_burn, 100000);
	control_set(&all, PERF_EVENT_IOC_DISABLE);
	control_set(&filtered, PERF_EVENT_IOC_DISABLE);

	ok = pkg_near(sum_of_package(&filtered, pkg), sum_of_package(&all, pkg), 100);
	for (i = 0; i < topo.nr; i++) {
		if (i == pkg)
			continue;
		ok &= !sum_of_package(&filtered, i);
		ok &= sum_of_package(&all, i) < sum_of_package(&all, pkg);
	}
	if (!ok)
		for (i = 0; i < topo.nr; i++)
			ksft_print_msg("ran on %d: package %d busy %llu ns, with a filter %llu\n",
				       pkg, i, sum_of_package(&all, i),
				       sum_of_package(&filtered, i));
	close_set(&all);
	close_set(&filtered);
	return ok;
}

TEST_F_TIMEOUT(pkg_cpu, per_package, 120)
{
	int p;

	for (p = 0; p < topo.nr; p++)
		EXPECT_TRUE(PKG_RETRY(right_package_is_busy(&self->p, p)));
}

/* Each event reports the whole package, for whichever of its CPUs it was opened */
static bool package_is_counted(struct puppet *p, int pkg)
{
	struct perf_event_attr domain = BUSY, cpu = RUNTIME;
	struct cpu_set_of_events all, each;
	__u64 sum, val, wall, ran;
	int c, clock;
	bool ok;

	domain.disabled = 1;
	cpu.disabled = 1;
	puppet_call(p, pkg_pin, topo.pkg[pkg].cpu[topo.pkg[pkg].nr_cpus - 1]);
	if (open_set(&all, domain, -1) || open_set(&each, cpu, -1))
		return false;
	clock = pkg_open(TASK_CLOCK, p->pid, -1, -1);
	wall = pkg_now(CLOCK_MONOTONIC);
	control_set(&each, PERF_EVENT_IOC_ENABLE);
	control_set(&all, PERF_EVENT_IOC_ENABLE);
	puppet_call(p, pkg_burn, 100000);
	control_set(&all, PERF_EVENT_IOC_DISABLE);
	control_set(&each, PERF_EVENT_IOC_DISABLE);
	wall = pkg_now(CLOCK_MONOTONIC) - wall;

	ran = pkg_count(clock);
	sum = sum_of_package(&each, pkg);
	ok = sum <= wall * topo.pkg[pkg].nr_cpus;
	for (c = 0; c < topo.pkg[pkg].nr_cpus; c++) {
		val = pkg_count(all.fd[pkg][c]);
		ok &= val + val / 50 >= ran && pkg_near(val, sum, 100);
		ksft_print_msg("cpu%d: package %llu ns, its CPUs %llu ns, the task %llu ns\n",
			       topo.pkg[pkg].cpu[c], val, sum, ran);
	}
	close(clock);
	close_set(&all);
	close_set(&each);
	return ok;
}

TEST_F_TIMEOUT(pkg_cpu, whole_package, 120)
{
	int p;

	for (p = 0; p < topo.nr; p++)
		EXPECT_TRUE(PKG_RETRY(package_is_counted(&self->p, p)));
}

/* Events of one kind do not share: each of them reports all of it */
TEST_F_TIMEOUT(pkg_cpu, level_in_each_event, 120)
{
	struct cpu_set_of_events set, other;
	__u64 first = pkg_now(CLOCK_MONOTONIC);
	int p, c;

	ASSERT_EQ(0, open_set(&set, CLOCK, -1));
	ASSERT_EQ(0, open_set(&other, CLOCK, -1));
	for (p = 0; p < topo.nr; p++) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++) {
			EXPECT_LE(first, pkg_count(set.fd[p][c]) + NSEC_PER_MSEC);
			EXPECT_LE(first, pkg_count(other.fd[p][c]) + NSEC_PER_MSEC);
		}
	}
	close_set(&set);
	for (p = 0; p < topo.nr; p++)
		for (c = 0; c < topo.pkg[p].nr_cpus; c++)
			EXPECT_LE(first, pkg_count(other.fd[p][c]) + NSEC_PER_MSEC);
}

/* Disabled is frozen: tools read when they have disabled all */
TEST_F_TIMEOUT(pkg_cpu, disabled_level, 120)
{
	struct cpu_set_of_events set;
	__u64 first, last, frozen;
	int p, c;

	first = pkg_now(CLOCK_MONOTONIC);
	ASSERT_EQ(0, open_set(&set, CLOCK, -1));
	usleep(20000);
	control_set(&set, PERF_EVENT_IOC_DISABLE);
	last = pkg_now(CLOCK_MONOTONIC);
	for (p = 0; p < topo.nr; p++) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++) {
			frozen = pkg_count(set.fd[p][c]);
			EXPECT_LE(first, frozen);
			EXPECT_LE(frozen, last + NSEC_PER_MSEC);
			usleep(20000);
			EXPECT_EQ(frozen, pkg_count(set.fd[p][c]));
		}
	}
	control_set(&set, PERF_EVENT_IOC_ENABLE);
	for (p = 0; p < topo.nr; p++)
		for (c = 0; c < topo.pkg[p].nr_cpus; c++)
			EXPECT_LE(last, pkg_count(set.fd[p][c]) + NSEC_PER_MSEC);
}

/* One CPU of each package, for tools; a PMU that counts tasks has no such file */
TEST_F_TIMEOUT(pkg_cpu, cpumask, 120)
{
	int p;

	EXPECT_NE(0, access(PKG_PMU "cpumask", F_OK));
	EXPECT_EQ(topo.nr, fresh_mask_weight(PKG_DOMAIN_PMU));
	for (p = 0; p < topo.nr; p++)
		EXPECT_LE(0, fresh_cpu_in_mask(PKG_DOMAIN_PMU, p));
}

/* An event moves to its leader's CPU if that is in the package, and no further */
TEST_F_TIMEOUT(pkg_cpu, moves_to_leader, 120)
{
	struct perf_event_attr clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	int p, c, d, leader, nr = 0;
	__u64 val[2], first[2];

	/* Members of several software PMUs are scheduled in with their leader only */
	clock.disabled = 1;
	clock.read_format = PERF_FORMAT_GROUP;
	for (p = 0; p < topo.nr; p++) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++) {
			for (d = 0; d < topo.pkg[p].nr_cpus; d++, nr++) {
				leader = PKG_OPEN(clock, -1, topo.pkg[p].cpu[c], -1);
				PKG_OPEN(CLOCK, -1, topo.pkg[p].cpu[d], leader);
				ASSERT_EQ(0, ioctl(leader, PERF_EVENT_IOC_ENABLE, 0));
				ASSERT_EQ(0, pkg_read(leader, first, 2));
				usleep(5000);
				ASSERT_EQ(0, pkg_read(leader, val, 2));
				EXPECT_LT(first[0], val[0]);
				EXPECT_LT(first[1], val[1]);
			}
		}
		leader = PKG_OPEN(clock, -1, topo.pkg[p].cpu[0], -1);
		EXPECT_EQ(-EINVAL, pkg_open(CLOCK, -1, topo.pkg[(p + 1) % topo.nr].cpu[0],
					    leader));
	}
	EXPECT_LT(topo.nr, nr);
}

/* The clock is read on the package, before we get it, but not earlier than its age says */
TEST_F_TIMEOUT(pkg_cpu, level_is_fresh, 120)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	struct perf_event_attr attr = CLOCK;
	__u64 first[2], val[2], last = 0, before, after;
	int cpu = topo.pkg[1].cpu[0];
	int fd, i, changes = 0;

	attr.read_format = PERF_FORMAT_GROUP;
	fd = PKG_OPEN(attr, -1, cpu, -1);
	PKG_OPEN(pkg_domain_attr(PKG_AGE), -1, cpu, fd);
	for (i = 0; i < 300 || changes < 10; i++) {
		before = pkg_now(CLOCK_MONOTONIC);
		ASSERT_EQ(0, pkg_read(fd, first, 2));
		ASSERT_EQ(0, pkg_read(fd, val, 2));
		after = pkg_now(CLOCK_MONOTONIC);
		ASSERT_LE(last, first[0]);
		ASSERT_LE(first[0], val[0]);
		ASSERT_LE(val[0], after + NSEC_PER_MSEC);
		ASSERT_LE(before, val[0] + first[1] + NSEC_PER_MSEC);
		/* Read after the value: that may be new, but its stamp not written yet */
		ASSERT_LE(val[1], after - val[0] + 2 * NSEC_PER_MSEC);
		ASSERT_LT(after, end);
		changes += val[0] != last;
		last = val[0];
	}
}

/* perf record opens these: the task, while on that CPU, each ns once */
TEST_F_TIMEOUT(pkg_cpu, task_on_cpu, 120)
{
	int clock = PKG_OPEN(TASK_CLOCK, self->pid, -1, -1);
	int fd = PKG_OPEN(RUNTIME, self->pid, -1, -1), p, c;
	__u64 val[PKG_MAX][PKG_MAX_CPUS], sum = 0;
	struct cpu_set_of_events set;

	ASSERT_EQ(0, open_set(&set, RUNTIME, self->pid));
	for (p = 0; p < topo.nr; p++) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++) {
			ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, topo.pkg[p].cpu[c]));
			EXPECT_TRUE(PKG_RETRY(puppet_agree(&self->p, set.fd[p][c], clock,
							   pkg_burn, 5000, 1)));
			val[p][c] = pkg_count(set.fd[p][c]);
		}
	}

	/* It moved on from each CPU but the last one, where it is still pinned */
	for (p = 0; p < topo.nr; p++) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++) {
			EXPECT_GE(pkg_count(set.fd[p][c]), val[p][c]);
			sum += pkg_count(set.fd[p][c]);
		}
	}
	EXPECT_TRUE(pkg_near(sum, pkg_count(fd), 50))
		TH_LOG("CPUs %llu ns, the task %llu ns", sum, pkg_count(fd));
	EXPECT_LT(0, sum);
}

/* What a task occupies has no part for one CPU */
TEST_F_TIMEOUT(pkg_cpu, level_on_cpu, 120)
{
	int cpu = topo.pkg[0].cpu[0];

	EXPECT_EQ(-EINVAL, pkg_open(pkg_attr(PKG_CLOCK, PKG_ALL), self->pid, cpu, -1));
	EXPECT_EQ(-EINVAL, pkg_open(pkg_attr(PKG_CLOCK, PKG_ALL), -1, cpu, -1));
}

TEST_F_TIMEOUT(pkg_cpu, migrating_task_on_cpus, 120)
{
	int clock = PKG_OPEN(TASK_CLOCK, self->pid, -1, -1), p, c;
	struct cpu_set_of_events set;
	__u64 sum = 0;

	ASSERT_EQ(0, open_set(&set, RUNTIME, self->pid));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, 200));
	for (p = 0; p < topo.nr; p++) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++) {
			EXPECT_LT(0, pkg_count(set.fd[p][c]));
			sum += pkg_count(set.fd[p][c]);
		}
	}
	EXPECT_TRUE(pkg_near(sum, pkg_count(clock), 250))
		TH_LOG("CPUs %llu ns, task-clock %llu ns", sum, pkg_count(clock));
}

TEST_HARNESS_MAIN
