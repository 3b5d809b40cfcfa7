// SPDX-License-Identifier: GPL-2.0
/*
 * perf_event_open() with all that a package-scope event cannot be: each is
 * refused, with the error that tells why.
 */
#define _GNU_SOURCE

#include <grp.h>

#include "../kselftest_harness.h"
#include "pkg_clock.h"

#define NOBODY		65534
#define PARANOID_DIR	"/proc/sys/kernel/"
#define PARANOID	"perf_event_paranoid"

FIXTURE(pkg_open)
{
	struct perf_event_attr attr;
	int cpu;
};

FIXTURE_SETUP(pkg_open)
{
	const char *why = pkg_init(1);

	if (why)
		SKIP(return, "%s", why);
	self->attr = pkg_attr(PKG_RUNTIME, PKG_ALL);
	self->cpu = topo.pkg[0].cpu[0];
}

FIXTURE_TEARDOWN(pkg_open)
{
}

/* Opens it for this task and for a CPU; the error of both, or -1 if they differ */
static int try_open(struct perf_event_attr attr)
{
	int cpu = topo.pkg[0].cpu[0];
	int task = pkg_open(attr, 0, -1, -1);
	int sys = pkg_open(attr, -1, cpu, -1);

	if (task >= 0)
		close(task);
	if (sys >= 0)
		close(sys);
	if (task >= 0 && sys >= 0)
		return 0;
	if (task == sys)
		return task;
	ksft_print_msg("task: %s, CPU: %s\n", strerror(task < 0 ? -task : 0),
		       strerror(sys < 0 ? -sys : 0));
	return -1;
}

#define EXPECT_OPEN(err, config_, ...) do {				\
	struct perf_event_attr __attr = {				\
		.type		= self->attr.type,			\
		.size		= sizeof(__attr),			\
		.config		= (config_),				\
		__VA_ARGS__						\
	};								\
									\
	EXPECT_EQ(err, try_open(__attr))				\
		TH_LOG("config %#llx %s", __attr.config, #__VA_ARGS__);	\
} while (0)

TEST_F_TIMEOUT(pkg_open, good, 120)
{
	__u64 all = 0;
	int i;

	EXPECT_OPEN(0, PKG_RUNTIME);
	EXPECT_OPEN(0, PKG_CLOCK);
	EXPECT_OPEN(0, PKG_AGE);
	EXPECT_OPEN(0, PKG_RUNTIME | PKG_POLICY(PKG_POLICY_CACHED));
	EXPECT_OPEN(0, PKG_RUNTIME | PKG_POLICY(PKG_POLICY_IPI));
	EXPECT_OPEN(0, PKG_RUNTIME, .inherit = 1);
	EXPECT_OPEN(0, PKG_RUNTIME, .pinned = 1);
	for (i = 0; i < topo.nr; i++) {
		EXPECT_OPEN(0, PKG_RUNTIME, .config1 = 1ULL << topo.pkg[i].id);
		EXPECT_OPEN(0, PKG_CLOCK, .config1 = 1ULL << topo.pkg[i].id);
		all |= 1ULL << topo.pkg[i].id;
	}
	EXPECT_OPEN(0, PKG_RUNTIME, .config1 = all);
}

TEST_F_TIMEOUT(pkg_open, event, 120)
{
	int event;

	for (event = 0; event <= 0xff; event++)
		if (event != PKG_RUNTIME && event != PKG_CLOCK && event != PKG_AGE)
			EXPECT_OPEN(-EINVAL, event);
}

TEST_F_TIMEOUT(pkg_open, reserved_bits, 120)
{
	int bit;

	for (bit = 12; bit < 64; bit++) {
		EXPECT_OPEN(-EINVAL, PKG_RUNTIME | 1ULL << bit);
		EXPECT_OPEN(-EINVAL, PKG_AGE | 1ULL << bit);
	}
	for (bit = 0; bit < 64; bit++) {
		EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .config2 = 1ULL << bit);
		EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .config3 = 1ULL << bit);
		EXPECT_OPEN(-EINVAL, PKG_AGE, .config2 = 1ULL << bit);
		EXPECT_OPEN(-EINVAL, PKG_AGE, .config3 = 1ULL << bit);
	}
}

TEST_F_TIMEOUT(pkg_open, domain, 120)
{
	__u64 all = 0;
	int i, bit;

	for (i = 0; i < topo.nr; i++)
		all |= 1ULL << topo.pkg[i].id;
	for (bit = 0; bit < 64; bit++) {
		if (all & 1ULL << bit)
			continue;
		EXPECT_OPEN(-ENODEV, PKG_RUNTIME, .config1 = 1ULL << bit);
		EXPECT_OPEN(-ENODEV, PKG_AGE, .config1 = all | 1ULL << bit);
	}
}

TEST_F_TIMEOUT(pkg_open, policy, 120)
{
	__u64 scope = PKG_RUNTIME | PKG_POLICY(PKG_POLICY_SCOPE);
	int policy, fd;

	for (policy = PKG_POLICY_SYS + 1; policy < 16; policy++)
		EXPECT_OPEN(-EINVAL, PKG_RUNTIME | PKG_POLICY(policy));

	/* The scope of a PMU leaves no room for tasks */
	self->attr.config = scope;
	EXPECT_EQ(-EOPNOTSUPP, pkg_open(self->attr, 0, -1, -1));
	fd = pkg_open(self->attr, -1, self->cpu, -1);
	EXPECT_LE(0, fd);
	close(fd);
}

TEST_F_TIMEOUT(pkg_open, sampling, 120)
{
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .sample_period = 1);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .sample_period = 1000000);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .sample_freq = 100, .freq = 1);
	EXPECT_OPEN(-EINVAL, PKG_CLOCK, .sample_period = 1000000);
	EXPECT_OPEN(-EINVAL, PKG_AGE, .sample_period = 1000000);
}

TEST_F_TIMEOUT(pkg_open, exclude, 120)
{
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_user = 1);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_kernel = 1);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_hv = 1);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_idle = 1);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_host = 1);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_guest = 1);
	EXPECT_OPEN(-EINVAL, PKG_AGE, .exclude_guest = 1);
}

TEST_F_TIMEOUT(pkg_open, inherit_stat, 120)
{
	EXPECT_OPEN(-EOPNOTSUPP, PKG_RUNTIME, .inherit_stat = 1);
	EXPECT_OPEN(-EOPNOTSUPP, PKG_RUNTIME, .inherit = 1, .inherit_stat = 1);
}

/* Whoever in the group brings it in; not without one of ours */
TEST_F_TIMEOUT(pkg_open, inherit_and_sample_read, 120)
{
	struct perf_event_attr clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	struct perf_event_attr attr = self->attr;
	int leader, cpu = topo.pkg[0].cpu[0];

	/* A CPU has no children */
	attr.inherit = 1;
	attr.sample_type = PERF_SAMPLE_READ | PERF_SAMPLE_TID;
	EXPECT_EQ(-EOPNOTSUPP, pkg_open(attr, 0, -1, -1));
	EXPECT_LE(0, pkg_open(attr, -1, cpu, -1));

	clock.inherit = 1;
	clock.sample_period = NSEC_PER_SEC;
	clock.sample_type = PERF_SAMPLE_READ | PERF_SAMPLE_TID;
	self->attr.inherit = 1;
	leader = PKG_OPEN(clock, 0, -1, -1);
	EXPECT_LE(0, pkg_open(clock, 0, -1, leader));
	EXPECT_EQ(-EOPNOTSUPP, pkg_open(self->attr, 0, -1, leader));

	leader = PKG_OPEN(self->attr, 0, -1, -1);
	EXPECT_EQ(-EOPNOTSUPP, pkg_open(clock, 0, -1, leader));
}

TEST_F_TIMEOUT(pkg_open, target, 120)
{
	EXPECT_EQ(-EINVAL, pkg_open(self->attr, -1, -1, -1));
	EXPECT_EQ(-EINVAL, pkg_open(self->attr, -1, 1 << 20, -1));
	EXPECT_EQ(-EINVAL, pkg_open(self->attr, 0, 1 << 20, -1));
	EXPECT_EQ(-EINVAL, pkg_open(self->attr, -1, -2, -1));
	EXPECT_EQ(-ESRCH, pkg_open(self->attr, 1 << 30, -1, -1));
	EXPECT_EQ(-EBADF, pkg_open(self->attr, 0, -1, 9999));
	EXPECT_EQ(-EBADF, pkg_open(self->attr, -1, self->cpu, open("/", O_RDONLY)));
}

TEST_F_TIMEOUT(pkg_open, other_groups, 120)
{
	struct perf_event_attr clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	int task = PKG_OPEN(self->attr, 0, -1, -1);
	int cpu = PKG_OPEN(self->attr, -1, self->cpu, -1);

	EXPECT_EQ(-EINVAL, pkg_open(self->attr, -1, self->cpu, task));
	EXPECT_EQ(-EINVAL, pkg_open(self->attr, 0, -1, cpu));
	EXPECT_EQ(-EINVAL, pkg_open(clock, 0, -1, cpu));
}

/* As another user, in a child as there is no way back. Returns what open said. */
static int open_unprivileged(struct perf_event_attr attr, pid_t pid, int cpu, int paranoid)
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
		status = pkg_open(attr, pid, cpu, -1);
		_exit(status < 0 ? -status : 0);
	}
	waitpid(child, &status, 0);
	pkg_set(PARANOID_DIR, PARANOID, old);
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -1;
}

TEST_F_TIMEOUT(pkg_open, unprivileged, 120)
{
	struct perf_event_attr user = self->attr;

	user.exclude_kernel = 1;

	/* Who may not watch the kernel may not watch this: it cannot leave it out */
	EXPECT_EQ(-EACCES, open_unprivileged(self->attr, 0, -1, 2));
	EXPECT_EQ(-EINVAL, open_unprivileged(user, 0, -1, 2));
	EXPECT_EQ(-EACCES, open_unprivileged(self->attr, -1, self->cpu, 2));

	EXPECT_EQ(0, open_unprivileged(self->attr, 0, -1, 1));
	EXPECT_EQ(-EACCES, open_unprivileged(self->attr, getpid(), -1, 1));
	EXPECT_EQ(-EACCES, open_unprivileged(self->attr, -1, self->cpu, 1));
	EXPECT_EQ(0, open_unprivileged(self->attr, -1, self->cpu, 0));
}

/* Events keep the PMU from going away */
TEST_F_TIMEOUT(pkg_open, module_is_busy, 120)
{
	int fd = PKG_OPEN(self->attr, 0, -1, -1);

	EXPECT_EQ(-1, syscall(__NR_delete_module, "pkg_clock", O_NONBLOCK));
	EXPECT_EQ(EWOULDBLOCK, errno);
	close(fd);
}

TEST_HARNESS_MAIN
