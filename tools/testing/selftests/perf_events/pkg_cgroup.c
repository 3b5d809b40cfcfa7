// SPDX-License-Identifier: GPL-2.0
/*
 * Events of a cgroup: opened on each CPU, they add up to what the tasks in the
 * cgroup ran. What a whole package does cannot be split by cgroup.
 */
#define _GNU_SOURCE

#include <sys/stat.h>
#include <sys/statfs.h>
#include <linux/magic.h>

#include "../kselftest_harness.h"
#include "pkg_puppet.h"

#define CGROUP_ROOT	"/sys/fs/cgroup/"
#define CGROUP		CGROUP_ROOT "pkg_selftest/"

FIXTURE(pkg_cgroup)
{
	struct puppet in;
	struct puppet out;
	int cgroup;
};

static int open_cgroup(struct perf_event_attr attr, int cgroup, int cpu)
{
	int fd = syscall(__NR_perf_event_open, &attr, cgroup, cpu, -1,
			 PERF_FLAG_PID_CGROUP | PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

FIXTURE_SETUP(pkg_cgroup)
{
	const char *why = pkg_init(2);
	struct statfs fs;
	int fd;

	if (!why && (statfs(CGROUP_ROOT, &fs) || fs.f_type != CGROUP2_SUPER_MAGIC))
		why = "no cgroup2 at " CGROUP_ROOT;
	if (why)
		SKIP(return, "%s", why);

	ASSERT_TRUE(!mkdir(CGROUP, 0755) || errno == EEXIST);
	self->cgroup = open(CGROUP, O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->cgroup);
	fd = open_cgroup(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), self->cgroup, 0);
	if (fd < 0) {
		rmdir(CGROUP);
		SKIP(return, "no cgroup events at all: %s", strerror(-fd));
	}
	close(fd);

	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[0]));
	ASSERT_EQ(0, puppet_new(&self->in));
	ASSERT_EQ(0, puppet_new(&self->out));
	ASSERT_EQ(0, pkg_set(CGROUP, "cgroup.procs", self->in.pid));
}

FIXTURE_TEARDOWN(pkg_cgroup)
{
	int i;

	puppet_end(&self->in);
	puppet_end(&self->out);
	for (i = 0; i < 100 && rmdir(CGROUP); i++)
		usleep(10000);
}

static int open_on_all(struct perf_event_attr attr, int cgroup, int fd[PKG_MAX][PKG_MAX_CPUS])
{
	int p, c;

	for (p = 0; p < topo.nr; p++) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++) {
			fd[p][c] = open_cgroup(attr, cgroup, topo.pkg[p].cpu[c]);
			if (fd[p][c] < 0)
				return fd[p][c];
		}
	}
	return 0;
}

static __u64 sum_of(int fd[PKG_MAX][PKG_MAX_CPUS])
{
	__u64 sum = 0;
	int p, c;

	for (p = 0; p < topo.nr; p++)
		for (c = 0; c < topo.pkg[p].nr_cpus; c++)
			sum += pkg_count(fd[p][c]);
	return sum;
}

static int runtime[PKG_MAX][PKG_MAX_CPUS], task_clock[PKG_MAX][PKG_MAX_CPUS];

static bool agree_after_move(struct puppet *p)
{
	__u64 val = sum_of(runtime), core = sum_of(task_clock);

	if (puppet_call(p, pkg_migrate, 100) <= 0)
		return false;
	val = sum_of(runtime) - val;
	core = sum_of(task_clock) - core;
	ksft_print_msg("%llu ns, task-clock %llu ns\n", val, core);
	return pkg_near(val, core, 200) && val >= 27 * NSEC_PER_MSEC;
}

TEST_F_TIMEOUT(pkg_cgroup, runtime, 120)
{
	__u64 sum;

	ASSERT_EQ(0, open_on_all(pkg_attr(PKG_RUNTIME, PKG_ALL), self->cgroup, runtime));
	ASSERT_EQ(0, open_on_all(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), self->cgroup,
				 task_clock));
	EXPECT_TRUE(PKG_RETRY(agree_after_move(&self->in)));

	/* Others may run, this does not become more */
	sum = sum_of(runtime);
	ASSERT_LT(0, puppet_call(&self->out, pkg_migrate, 100));
	EXPECT_EQ(sum, sum_of(runtime));
}

/* What tasks occupy has no part for one CPU, with a cgroup or without */
TEST_F_TIMEOUT(pkg_cgroup, level, 120)
{
	EXPECT_EQ(-EINVAL, open_cgroup(pkg_attr(PKG_CLOCK, PKG_ALL), self->cgroup,
				       topo.pkg[0].cpu[0]));
}

TEST_F_TIMEOUT(pkg_cgroup, package, 120)
{
	EXPECT_EQ(-EINVAL, open_cgroup(pkg_domain_attr(PKG_BUSY), self->cgroup,
				       topo.pkg[0].cpu[0]));
}

TEST_HARNESS_MAIN
