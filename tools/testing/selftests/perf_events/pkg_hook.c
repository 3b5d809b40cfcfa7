// SPDX-License-Identifier: GPL-2.0
/*
 * What pmu::count() promises to users of an event: while it is disabled it
 * stands still, and no reader sees a negative count after PERF_EVENT_IOC_RESET.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_hook.h"

#define WAIT_US		10000
#define NR_RESETS	2000

FIXTURE(pkg_hook)
{
	struct hook_cpus cpus;
	struct puppet p[3];
	int nr;
};

FIXTURE_SETUP(pkg_hook)
{
	const char *why = hook_init(&self->cpus);

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, pkg_share());
}

FIXTURE_TEARDOWN(pkg_hook)
{
	pkg_stop(1);
	while (self->nr)
		puppet_end(&self->p[--self->nr]);
	hook_exit(&self->cpus);
}

static bool grows(int fd)
{
	__u64 val = pkg_count(fd);

	usleep(WAIT_US);
	return (__s64)(pkg_count(fd) - val) > 0;
}

static bool stands_still(int fd)
{
	__u64 val = pkg_count(fd), now;

	usleep(WAIT_US);
	now = pkg_count(fd);
	if (now == val)
		return true;
	ksft_print_msg("%lld more, but it is disabled\n", now - val);
	return false;
}

/* While no CPU goes, while each of the domain's goes in turn, and when it is back */
static void check_disabled(struct __test_metadata *_metadata, const struct hook_cpus *cpus, int fd)
{
	const int gone[] = { cpus->cpu, cpus->other };
	__u64 val = pkg_count(fd);
	unsigned int i;

	EXPECT_TRUE(stands_still(fd));
	for (i = 0; i < ARRAY_SIZE(gone); i++) {
		ASSERT_EQ(0, hook_set_online(gone[i], 0));
		EXPECT_TRUE(stands_still(fd))
			TH_LOG("CPU %d is offline", gone[i]);
		ASSERT_EQ(0, hook_set_online(gone[i], 1));
		EXPECT_TRUE(stands_still(fd));
	}
	EXPECT_EQ(val, pkg_count(fd));
}

TEST_F_TIMEOUT(pkg_hook, disabled, 120)
{
	const int cpus[] = { self->cpus.cpu, self->cpus.other };
	struct perf_event_attr attr = hook_power_attr();
	unsigned int i;
	int fd;

	attr.disabled = 1;
	for (i = 0; i < ARRAY_SIZE(cpus); i++) {
		fd = PKG_OPEN(attr, -1, cpus[i], -1);
		EXPECT_EQ(0, pkg_count(fd));
		check_disabled(_metadata, &self->cpus, fd);
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
		EXPECT_TRUE(grows(fd));
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
		EXPECT_LT(0, pkg_count(fd));
		check_disabled(_metadata, &self->cpus, fd);
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
		EXPECT_TRUE(grows(fd));
		close(fd);
	}
}

/* Siblings of an event that counts */
TEST_F_TIMEOUT(pkg_hook, disabled_sibling, 120)
{
	struct perf_event_attr clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	struct perf_event_attr power = hook_power_attr();
	int leader, sibling[2], i;

	leader = PKG_OPEN(power, -1, self->cpus.cpu, -1);
	clock.disabled = 1;
	power.disabled = 1;
	sibling[0] = PKG_OPEN(clock, -1, self->cpus.cpu, leader);
	sibling[1] = PKG_OPEN(power, -1, self->cpus.cpu, leader);
	for (i = 0; i < 2; i++)
		check_disabled(_metadata, &self->cpus, sibling[i]);
	EXPECT_TRUE(grows(leader));
}

static void add_puppet(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_hook) * self,
		       long (*fn)(long arg), long arg)
{
	ASSERT_EQ(0, puppet_new(&self->p[self->nr]));
	ASSERT_EQ(0, puppet_start(&self->p[self->nr++], fn, arg));
}

/*
 * For puppets: reads from this CPU until pkg_stop(); returns how often it was
 * negative. Reads and resets take one mutex, so all pause, for different times.
 */
static int read_fd;

static long read_negative(long cpu)
{
	long reads, negative = 0;

	pkg_pin(cpu);
	for (reads = 0; !__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE); reads++) {
		negative += (__s64)pkg_count(read_fd) < 0;
		usleep(reads % 37);
	}
	return reads < NR_RESETS / 20 ? -EIO : negative;
}

static void check_reset(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_hook) * self)
{
	const int cpus[] = { topo.pkg[0].cpu[topo.pkg[0].nr_cpus - 1], self->cpus.other };
	struct puppet *p = self->p + self->nr;
	int i;

	for (i = 0; i < 2; i++)
		add_puppet(_metadata, self, read_negative, cpus[i]);
	for (i = 0; i < NR_RESETS; i++) {
		ASSERT_EQ(0, ioctl(read_fd, PERF_EVENT_IOC_RESET, 0));
		usleep(i % 50);
	}
	pkg_stop(1);
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, puppet_wait(&p[i]));
}

TEST_F_TIMEOUT(pkg_hook, reset_of_cpu, 120)
{
	read_fd = PKG_OPEN(hook_power_attr(), -1, self->cpus.cpu, -1);
	check_reset(_metadata, self);
	EXPECT_TRUE(grows(read_fd));
}

static long spin_on(long cpu)
{
	pkg_pin(cpu);
	return pkg_spin(0);
}

TEST_F_TIMEOUT(pkg_hook, reset_of_task, 120)
{
	if (access(PKG_PMU, F_OK))
		SKIP(return, "no PMU pkg_clock");
	add_puppet(_metadata, self, spin_on, self->cpus.cpu);
	read_fd = PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), self->p[0].pid, -1, -1);
	check_reset(_metadata, self);
	EXPECT_EQ(0, puppet_wait(&self->p[0]));
}

TEST_HARNESS_MAIN
