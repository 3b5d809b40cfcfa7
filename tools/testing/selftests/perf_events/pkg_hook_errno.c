// SPDX-License-Identifier: GPL-2.0
/*
 * What perf_event_open() says to an event of `power`: it accepts what it did
 * without package-scope counters, and refuses the rest with the same error.
 * Only sampling differs, for perf to explain it.
 */
#define _GNU_SOURCE

#include <grp.h>

#include "../kselftest_harness.h"
#include "pkg_hook.h"

#define NOBODY		65534
#define PARANOID_DIR	"/proc/sys/kernel/"
#define PARANOID	"perf_event_paranoid"

#define CPU_CLOCK	pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK)

struct open_case {
	const char *name;
	struct perf_event_attr attr;
	int err;
	/* Without package-scope counters */
	int base_err;
};

#define ACCEPTED(...)	{ #__VA_ARGS__, { __VA_ARGS__ }, 0, 0 }
#define REFUSED(...)	{ #__VA_ARGS__, { __VA_ARGS__ }, -EINVAL, -EINVAL }
#define SAMPLING(...)	{ #__VA_ARGS__, { __VA_ARGS__ }, -EOPNOTSUPP, -EINVAL }

static const struct open_case open_cases[] = {
	ACCEPTED(.disabled = 1),
	ACCEPTED(.inherit = 1),
	ACCEPTED(.inherit_stat = 1),
	ACCEPTED(.inherit = 1, .inherit_stat = 1),
	ACCEPTED(.pinned = 1),
	ACCEPTED(.exclusive = 1),
	ACCEPTED(.enable_on_exec = 1, .disabled = 1),
	ACCEPTED(.remove_on_exec = 1),
	ACCEPTED(.precise_ip = 2),
	ACCEPTED(.use_clockid = 1, .clockid = CLOCK_MONOTONIC),
	ACCEPTED(.watermark = 1, .wakeup_watermark = 10),
	ACCEPTED(.mmap = 1, .comm = 1, .task = 1),
	ACCEPTED(.sample_type = PERF_SAMPLE_READ | PERF_SAMPLE_TIME),
	ACCEPTED(.sample_type = PERF_SAMPLE_READ | PERF_SAMPLE_TID, .inherit = 1),
	ACCEPTED(.sample_type = PERF_SAMPLE_BRANCH_STACK,
		 .branch_sample_type = PERF_SAMPLE_BRANCH_ANY),

	REFUSED(.exclude_user = 1),
	REFUSED(.exclude_kernel = 1),
	REFUSED(.exclude_hv = 1),
	REFUSED(.exclude_idle = 1),
	REFUSED(.exclude_host = 1),
	REFUSED(.exclude_guest = 1),
	REFUSED(.exclude_kernel = 1, .exclude_hv = 1, .exclude_guest = 1),
	REFUSED(.read_format = PERF_FORMAT_MAX),

	SAMPLING(.sample_period = 1),
	SAMPLING(.sample_period = 1000000),
	SAMPLING(.sample_freq = 100, .freq = 1),
	SAMPLING(.sample_period = 1000000, .exclude_guest = 1),
	SAMPLING(.sample_freq = 100, .freq = 1, .exclude_guest = 1),
	SAMPLING(.sample_period = 1000000, .sample_type = PERF_SAMPLE_READ, .exclude_hv = 1),
};

FIXTURE(pkg_hook_errno)
{
	struct hook_cpus cpus;
	struct perf_event_attr attr;
};

FIXTURE_SETUP(pkg_hook_errno)
{
	const char *why = hook_init(&self->cpus);

	if (why)
		SKIP(return, "%s", why);
	self->attr = hook_power_attr();
}

FIXTURE_TEARDOWN(pkg_hook_errno)
{
	hook_exit(&self->cpus);
}

/* Opens and closes it; returns 0 or -errno */
static int try_open(struct perf_event_attr attr, pid_t pid, int cpu, int group)
{
	int fd = pkg_open(attr, pid, cpu, group);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

#define EXPECT_OPEN(err, attr, pid, cpu_, group) do {		\
	int __cpu = (cpu_);					\
								\
	EXPECT_EQ(err, try_open(attr, pid, __cpu, group))	\
		TH_LOG("CPU %d", __cpu);			\
} while (0)

TEST_F_TIMEOUT(pkg_hook_errno, attributes, 120)
{
	struct perf_event_attr attr;
	const struct open_case *c;

	for (c = open_cases; c < open_cases + ARRAY_SIZE(open_cases); c++) {
		attr = c->attr;
		attr.type = self->attr.type;
		attr.size = self->attr.size;
		attr.config = self->attr.config;
		EXPECT_EQ(hook_has_engine() ? c->err : c->base_err,
			  try_open(attr, -1, self->cpus.cpu, -1))
			TH_LOG("%s", c->name);
	}
}

TEST_F_TIMEOUT(pkg_hook_errno, read_formats, 120)
{
	struct perf_event_attr attr = self->attr;
	__u64 val[2 + 3 * 2];
	int fd;

	for (attr.read_format = 0; attr.read_format < PERF_FORMAT_MAX; attr.read_format++) {
		fd = PKG_OPEN(attr, -1, self->cpus.cpu, -1);
		EXPECT_LT(0, read(fd, val, sizeof(val)));
		close(fd);
	}
	fd = PKG_OPEN(self->attr, -1, self->cpus.cpu, -1);
	EXPECT_EQ(-1, read(fd, val, sizeof(*val) - 1));
	EXPECT_EQ(ENOSPC, errno);
}

/* 0xff is `age`, which needs a leader. */
TEST_F_TIMEOUT(pkg_hook_errno, config, 120)
{
	static const __u64 configs[] = { 0, 6, 0x7f, 0x80, 0xff, 0x100, 0x102, 1ULL << 63 | 2 };
	struct perf_event_attr attr = self->attr;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(configs); i++) {
		attr.config = configs[i];
		EXPECT_EQ(-EINVAL, try_open(attr, -1, self->cpus.cpu, -1))
			TH_LOG("config 0x%llx", configs[i]);
	}
}

TEST_F_TIMEOUT(pkg_hook_errno, tasks, 120)
{
	struct perf_event_attr attr = self->attr;
	int leader = PKG_OPEN(CPU_CLOCK, 0, -1, -1);

	EXPECT_OPEN(-EINVAL, attr, 0, -1, -1);
	EXPECT_OPEN(-EINVAL, attr, getpid(), -1, -1);
	EXPECT_OPEN(-EINVAL, attr, 0, self->cpus.cpu, -1);
	EXPECT_OPEN(-EINVAL, attr, 0, -1, leader);
	EXPECT_OPEN(-EINVAL, attr, -1, -1, -1);
	EXPECT_OPEN(-EINVAL, attr, -1, 1 << 20, -1);
	attr.inherit = 1;
	EXPECT_OPEN(-EINVAL, attr, 0, -1, -1);
}

/* Every CPU of the machine; and one that is offline, while another of its domain is not */
TEST_F_TIMEOUT(pkg_hook_errno, cpus, 120)
{
	const int gone[] = { self->cpus.other, self->cpus.cpu };
	unsigned int i;
	int p, c, fd;
	__u64 val;

	for (p = 0; p < topo.nr; p++) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++)
			ASSERT_EQ(0, try_open(self->attr, -1, topo.pkg[p].cpu[c], -1));
	}
	for (i = 0; i < ARRAY_SIZE(gone); i++) {
		ASSERT_EQ(0, hook_set_online(gone[i], 0));
		fd = PKG_OPEN(self->attr, -1, gone[i], -1);
		val = pkg_count(fd);
		usleep(20000);
		EXPECT_LT(val, pkg_count(fd));
		close(fd);
		ASSERT_EQ(0, hook_set_online(gone[i], 1));
	}
}

/* Behind an energy event, which counts on the CPU in the cpumask whatever CPU it names */
TEST_F_TIMEOUT(pkg_hook_errno, behind_energy, 120)
{
	int cpu = self->cpus.cpu, other = self->cpus.other, far = self->cpus.far;
	const int opened_on[] = { cpu, other };
	unsigned int i;
	int leader;

	for (i = 0; i < ARRAY_SIZE(opened_on); i++) {
		leader = PKG_OPEN(self->attr, -1, opened_on[i], -1);
		EXPECT_OPEN(0, self->attr, -1, cpu, leader);
		EXPECT_OPEN(0, self->attr, -1, other, leader);
		EXPECT_OPEN(-EINVAL, self->attr, -1, far, leader);
		EXPECT_OPEN(0, CPU_CLOCK, -1, cpu, leader);
		EXPECT_OPEN(-EINVAL, CPU_CLOCK, -1, other, leader);
		EXPECT_OPEN(-EINVAL, CPU_CLOCK, -1, far, leader);
		EXPECT_OPEN(-EINVAL, CPU_CLOCK, 0, -1, leader);
		close(leader);
	}
}

/* Behind another PMU's event, on whose CPU it counts with package-scope counters */
TEST_F_TIMEOUT(pkg_hook_errno, behind_cpu_clock, 120)
{
	int cpu = self->cpus.cpu, other = self->cpus.other, far = self->cpus.far;
	int leader = PKG_OPEN(CPU_CLOCK, -1, cpu, -1);
	int err = hook_has_engine() ? 0 : -EINVAL;

	EXPECT_OPEN(0, self->attr, -1, cpu, leader);
	EXPECT_OPEN(0, self->attr, -1, other, leader);
	EXPECT_OPEN(-EINVAL, self->attr, -1, far, leader);
	close(leader);

	leader = PKG_OPEN(CPU_CLOCK, -1, other, -1);
	EXPECT_OPEN(err, self->attr, -1, cpu, leader);
	EXPECT_OPEN(err, self->attr, -1, other, leader);
	EXPECT_OPEN(-EINVAL, self->attr, -1, far, leader);
	EXPECT_OPEN(0, CPU_CLOCK, -1, other, leader);
	EXPECT_OPEN(-EINVAL, CPU_CLOCK, -1, cpu, leader);
}

TEST_F_TIMEOUT(pkg_hook_errno, ioctls, 120)
{
	int fd = PKG_OPEN(self->attr, -1, self->cpus.cpu, -1), i;
	__u64 period = 1000, id = 0;
	const struct {
		const char	*name;
		unsigned long	cmd;
		const void	*arg;
		int		err;
	} cases[] = {
		{ "enable",	PERF_EVENT_IOC_ENABLE },
		{ "disable",	PERF_EVENT_IOC_DISABLE },
		{ "reset",	PERF_EVENT_IOC_RESET },
		{ "id",		PERF_EVENT_IOC_ID, &id },
		{ "refresh",	PERF_EVENT_IOC_REFRESH, (void *)1, EINVAL },
		{ "period",	PERF_EVENT_IOC_PERIOD, &period, EINVAL },
		{ "filter",	PERF_EVENT_IOC_SET_FILTER, "a", EINVAL },
		{ "pause",	PERF_EVENT_IOC_PAUSE_OUTPUT, (void *)1, EINVAL },
		{ "modify",	PERF_EVENT_IOC_MODIFY_ATTRIBUTES, &self->attr, EOPNOTSUPP },
	};

	for (i = 0; i < (int)ARRAY_SIZE(cases); i++) {
		errno = 0;
		ioctl(fd, cases[i].cmd, cases[i].arg);
		EXPECT_EQ(cases[i].err, errno)
			TH_LOG("%s", cases[i].name);
	}
	EXPECT_NE(0, id);
}

/* As another user, in a child as there is no way back */
static int open_unprivileged(struct perf_event_attr attr, int cpu, int paranoid)
{
	int old = pkg_get(PARANOID_DIR, PARANOID), status;
	pid_t child;

	if (pkg_set(PARANOID_DIR, PARANOID, paranoid))
		return -1;
	child = fork();
	if (!child) {
		if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
		    setresuid(NOBODY, NOBODY, NOBODY))
			_exit(255);
		_exit(-try_open(attr, -1, cpu, -1));
	}
	waitpid(child, &status, 0);
	pkg_set(PARANOID_DIR, PARANOID, old);
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -1;
}

/*
 * Events that leave out the kernel are invalid for everybody, so perf stat goes
 * on with the other events of a plain user.
 */
TEST_F_TIMEOUT(pkg_hook_errno, unprivileged, 120)
{
	struct perf_event_attr user = self->attr, sampling = self->attr;
	int cpu = self->cpus.cpu;

	user.exclude_kernel = 1;
	sampling.sample_period = 1000000;
	EXPECT_EQ(-EACCES, open_unprivileged(self->attr, cpu, 2));
	EXPECT_EQ(-EACCES, open_unprivileged(sampling, cpu, 2));
	EXPECT_EQ(-EINVAL, open_unprivileged(user, cpu, 2));
	EXPECT_EQ(-EACCES, open_unprivileged(self->attr, cpu, 1));
	EXPECT_EQ(0, open_unprivileged(self->attr, cpu, 0));
}

TEST_HARNESS_MAIN
