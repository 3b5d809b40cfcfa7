// SPDX-License-Identifier: GPL-2.0
/*
 * perf_event_open() with all that a package-scope event cannot be: each is refused,
 * with the error that perf(1) can make something of. Of several reasons the first
 * counts: what nobody may have (EINVAL), sampling (EOPNOTSUPP), permission (EACCES),
 * exclude bits (EINVAL).
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
	unsigned int domain;
	int cpu;
};

FIXTURE_SETUP(pkg_open)
{
	const char *why = pkg_init(1);

	if (why)
		SKIP(return, "%s", why);
	self->attr = pkg_attr(PKG_RUNTIME, PKG_ALL);
	self->domain = pkg_domain_attr(0).type;
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

static int try_open_task(struct perf_event_attr attr)
{
	int fd = pkg_open(attr, 0, -1, -1);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

static int try_open_cpu(struct perf_event_attr attr)
{
	int fd = pkg_open(attr, -1, topo.pkg[0].cpu[0], -1);

	if (fd >= 0)
		close(fd);
	return fd < 0 ? fd : 0;
}

#define EXPECT_ERRNO(err, type_, try, config_, ...) do {		\
	struct perf_event_attr __attr = {				\
		.type		= (type_),				\
		.size		= sizeof(__attr),			\
		.config		= (config_),				\
		__VA_ARGS__						\
	};								\
									\
	EXPECT_EQ(err, try(__attr))					\
		TH_LOG("config %#llx %s", __attr.config, #__VA_ARGS__);	\
} while (0)

#define EXPECT_OPEN(err, ...)						\
	EXPECT_ERRNO(err, self->attr.type, try_open, __VA_ARGS__)
#define EXPECT_OPEN_TASK(err, ...)					\
	EXPECT_ERRNO(err, self->attr.type, try_open_task, __VA_ARGS__)
#define EXPECT_OPEN_CPU(err, ...)					\
	EXPECT_ERRNO(err, self->attr.type, try_open_cpu, __VA_ARGS__)
/* The PMU that counts packages */
#define EXPECT_OPEN_DOMAIN(err, ...)					\
	EXPECT_ERRNO(err, self->domain, try_open_cpu, __VA_ARGS__)
#define EXPECT_OPEN_DOMAIN_TASK(err, ...)				\
	EXPECT_ERRNO(err, self->domain, try_open_task, __VA_ARGS__)

TEST_F_TIMEOUT(pkg_open, good, 120)
{
	__u64 all = 0;
	int i;

	EXPECT_OPEN(0, PKG_RUNTIME);
	EXPECT_OPEN_TASK(0, PKG_CLOCK);
	EXPECT_OPEN(0, PKG_RUNTIME | PKG_POLICY(PKG_POLICY_CACHED));
	EXPECT_OPEN(0, PKG_RUNTIME | PKG_POLICY(PKG_POLICY_IPI));
	EXPECT_OPEN(0, PKG_RUNTIME, .inherit = 1);
	EXPECT_OPEN(0, PKG_RUNTIME, .pinned = 1);
	for (i = 0; i < topo.nr; i++) {
		EXPECT_OPEN(0, PKG_RUNTIME, .config1 = 1ULL << topo.pkg[i].id);
		EXPECT_OPEN_TASK(0, PKG_CLOCK, .config1 = 1ULL << topo.pkg[i].id);
		all |= 1ULL << topo.pkg[i].id;
	}
	EXPECT_OPEN(0, PKG_RUNTIME, .config1 = all);

	EXPECT_OPEN_DOMAIN(0, PKG_BUSY);
	EXPECT_OPEN_DOMAIN(0, PKG_CLOCK);
	EXPECT_OPEN_DOMAIN(0, PKG_BUSY, .inherit = 1);
	EXPECT_OPEN_DOMAIN(0, PKG_BUSY, .inherit_stat = 1);
	EXPECT_OPEN_DOMAIN(0, PKG_BUSY, .pinned = 1);
	EXPECT_OPEN_DOMAIN(0, PKG_BUSY, .sample_type = PERF_SAMPLE_BRANCH_STACK,
			   .branch_sample_type = PERF_SAMPLE_BRANCH_ANY);
	EXPECT_OPEN_CPU(0, PKG_RUNTIME, .sample_type = PERF_SAMPLE_BRANCH_STACK,
			.branch_sample_type = PERF_SAMPLE_BRANCH_ANY);
}

TEST_F_TIMEOUT(pkg_open, event, 120)
{
	int event;

	for (event = 0; event <= 0xff; event++)
		if (event != PKG_RUNTIME && event != PKG_CLOCK) {
			EXPECT_OPEN(-EINVAL, event);
			EXPECT_OPEN_DOMAIN(-EINVAL, event);
		}
}

/* A package has no part for a task, a level of tasks none for a CPU */
TEST_F_TIMEOUT(pkg_open, tasks_or_packages, 120)
{
	EXPECT_OPEN_DOMAIN_TASK(-EINVAL, PKG_BUSY);
	EXPECT_OPEN_DOMAIN_TASK(-EINVAL, PKG_CLOCK);
	EXPECT_OPEN_DOMAIN_TASK(-EINVAL, PKG_BUSY, .sample_period = 1000000);
	EXPECT_OPEN_CPU(-EINVAL, PKG_CLOCK);
	EXPECT_OPEN_CPU(-EINVAL, PKG_CLOCK, .sample_period = 1000000);
	self->attr.config = PKG_CLOCK;
	EXPECT_EQ(-EINVAL, pkg_open(self->attr, 0, self->cpu, -1));
	self->attr.type = self->domain;
	EXPECT_EQ(-EINVAL, pkg_open(self->attr, 0, self->cpu, -1));
}

/* It speaks of its leader, of the same PMU, with whatever terms that has */
TEST_F_TIMEOUT(pkg_open, age, 120)
{
	struct perf_event_attr cached = pkg_attr(PKG_RUNTIME | PKG_POLICY(PKG_POLICY_CACHED),
						 PKG_ALL);
	struct perf_event_attr clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK), age = self->attr;
	int task = PKG_OPEN(self->attr, 0, -1, -1), cpu, fd;

	age.config = PKG_AGE;
	EXPECT_OPEN(-EINVAL, PKG_AGE);
	EXPECT_OPEN_DOMAIN(-EINVAL, PKG_AGE);
	EXPECT_OPEN_DOMAIN_TASK(-EINVAL, PKG_AGE);
	EXPECT_LE(0, pkg_open(age, 0, -1, task));
	age.config1 = ~0ULL;
	age.config2 = 1;
	age.config3 = 1;
	age.config |= PKG_POLICY(7);
	EXPECT_LE(0, pkg_open(age, 0, -1, task));
	/* What goes for all events goes for this one */
	age.sample_period = 1000000;
	EXPECT_EQ(-EOPNOTSUPP, pkg_open(age, 0, -1, task));
	age.sample_period = 0;
	age.exclude_guest = 1;
	EXPECT_EQ(-EINVAL, pkg_open(age, 0, -1, task));

	age = self->attr;
	age.config = PKG_AGE;
	/* Of a CPU, where its leader is of a task, and the other way round */
	EXPECT_EQ(-EINVAL, pkg_open(age, -1, self->cpu, task));
	cpu = PKG_OPEN(self->attr, -1, self->cpu, -1);
	EXPECT_EQ(-EINVAL, pkg_open(age, 0, -1, cpu));
	fd = PKG_OPEN(clock, 0, -1, -1);
	EXPECT_EQ(-EINVAL, pkg_open(age, 0, -1, fd));
	PKG_OPEN(self->attr, 0, -1, fd);
	EXPECT_EQ(-EINVAL, pkg_open(age, 0, -1, fd));
	fd = PKG_OPEN(cached, 0, -1, -1);
	EXPECT_EQ(-EINVAL, pkg_open(age, 0, -1, fd));

	/* In a group of another PMU's, whose CPU event it is */
	cpu = PKG_OPEN(pkg_domain_attr(PKG_BUSY), -1, self->cpu, -1);
	EXPECT_LE(0, pkg_open(pkg_domain_attr(PKG_AGE), -1, self->cpu, cpu));
	EXPECT_EQ(-EINVAL, pkg_open(age, -1, self->cpu, cpu));
	EXPECT_LE(0, pkg_open(self->attr, -1, self->cpu, cpu));
}

TEST_F_TIMEOUT(pkg_open, reserved_bits, 120)
{
	int bit;

	for (bit = 12; bit < 64; bit++) {
		EXPECT_OPEN(-EINVAL, PKG_RUNTIME | 1ULL << bit);
		EXPECT_OPEN_DOMAIN(-EINVAL, PKG_BUSY | 1ULL << bit);
	}
	for (bit = 0; bit < 64; bit++) {
		EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .config2 = 1ULL << bit);
		EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .config3 = 1ULL << bit);
		EXPECT_OPEN_DOMAIN(-EINVAL, PKG_BUSY, .config1 = 1ULL << bit);
		EXPECT_OPEN_DOMAIN(-EINVAL, PKG_BUSY, .config2 = 1ULL << bit);
		EXPECT_OPEN_DOMAIN(-EINVAL, PKG_BUSY, .config3 = 1ULL << bit);
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
		EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .config1 = 1ULL << bit);
		EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .config1 = all | 1ULL << bit);
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
	EXPECT_EQ(-EINVAL, pkg_open(self->attr, 0, -1, -1));
	fd = pkg_open(self->attr, -1, self->cpu, -1);
	EXPECT_LE(0, fd);
	close(fd);
}

/* perf(1) explains this one, but if an exclude bit were refused first it would try for ever */
TEST_F_TIMEOUT(pkg_open, sampling, 120)
{
	EXPECT_OPEN(-EOPNOTSUPP, PKG_RUNTIME, .sample_period = 1);
	EXPECT_OPEN(-EOPNOTSUPP, PKG_RUNTIME, .sample_period = 1000000);
	EXPECT_OPEN(-EOPNOTSUPP, PKG_RUNTIME, .sample_freq = 100, .freq = 1);
	EXPECT_OPEN(-EOPNOTSUPP, PKG_RUNTIME, .sample_period = 1000000, .exclude_guest = 1);
	EXPECT_OPEN(-EOPNOTSUPP, PKG_RUNTIME, .sample_period = 1000000, .exclude_kernel = 1);
	EXPECT_OPEN_TASK(-EOPNOTSUPP, PKG_CLOCK, .sample_period = 1000000);
	EXPECT_OPEN_DOMAIN(-EOPNOTSUPP, PKG_BUSY, .sample_period = 1000000);
	EXPECT_OPEN_DOMAIN(-EOPNOTSUPP, PKG_CLOCK, .sample_period = 1000000,
			   .exclude_guest = 1);
}

TEST_F_TIMEOUT(pkg_open, exclude, 120)
{
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_user = 1);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_kernel = 1);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_hv = 1);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_idle = 1);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_host = 1);
	EXPECT_OPEN(-EINVAL, PKG_RUNTIME, .exclude_guest = 1);
	EXPECT_OPEN_DOMAIN(-EINVAL, PKG_BUSY, .exclude_kernel = 1);
	EXPECT_OPEN_DOMAIN(-EINVAL, PKG_BUSY, .exclude_guest = 1);
}

TEST_F_TIMEOUT(pkg_open, inherit_stat, 120)
{
	EXPECT_OPEN_TASK(-EINVAL, PKG_RUNTIME, .inherit_stat = 1);
	EXPECT_OPEN_TASK(-EINVAL, PKG_RUNTIME, .inherit = 1, .inherit_stat = 1);
	EXPECT_OPEN_TASK(-EINVAL, PKG_RUNTIME, .inherit_stat = 1, .sample_period = 1000000);
	/* A CPU has no children */
	EXPECT_OPEN_CPU(0, PKG_RUNTIME, .inherit_stat = 1);
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
	EXPECT_EQ(-EINVAL, pkg_open(attr, 0, -1, -1));
	EXPECT_LE(0, pkg_open(attr, -1, cpu, -1));

	clock.inherit = 1;
	clock.sample_period = NSEC_PER_SEC;
	clock.sample_type = PERF_SAMPLE_READ | PERF_SAMPLE_TID;
	self->attr.inherit = 1;
	leader = PKG_OPEN(clock, 0, -1, -1);
	EXPECT_LE(0, pkg_open(clock, 0, -1, leader));
	EXPECT_EQ(-EINVAL, pkg_open(self->attr, 0, -1, leader));

	leader = PKG_OPEN(self->attr, 0, -1, -1);
	EXPECT_EQ(-EINVAL, pkg_open(clock, 0, -1, leader));
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
	struct perf_event_attr domain = pkg_domain_attr(PKG_BUSY), user = self->attr;
	struct perf_event_attr level = pkg_attr(PKG_CLOCK, PKG_ALL), sample;

	user.exclude_kernel = 1;
	sample = user;
	sample.sample_period = 1000000;

	/* Who may not watch the kernel may not watch this: it cannot leave it out */
	EXPECT_EQ(-EACCES, open_unprivileged(self->attr, 0, -1, 2));
	EXPECT_EQ(-EACCES, open_unprivileged(user, 0, -1, 2));
	EXPECT_EQ(-EOPNOTSUPP, open_unprivileged(sample, 0, -1, 2));
	EXPECT_EQ(-EACCES, open_unprivileged(self->attr, -1, self->cpu, 2));
	EXPECT_EQ(-EACCES, open_unprivileged(domain, -1, self->cpu, 2));

	EXPECT_EQ(0, open_unprivileged(self->attr, 0, -1, 1));
	EXPECT_EQ(-EINVAL, open_unprivileged(user, 0, -1, 1));
	EXPECT_EQ(-EACCES, open_unprivileged(self->attr, getpid(), -1, 1));
	EXPECT_EQ(-EACCES, open_unprivileged(self->attr, -1, self->cpu, 1));
	EXPECT_EQ(-EACCES, open_unprivileged(domain, -1, self->cpu, 1));

	/* A level is that of others, too */
	EXPECT_EQ(-EACCES, open_unprivileged(level, 0, -1, 1));
	EXPECT_EQ(0, open_unprivileged(level, 0, -1, 0));
	EXPECT_EQ(0, open_unprivileged(self->attr, -1, self->cpu, 0));
	EXPECT_EQ(0, open_unprivileged(domain, -1, self->cpu, 0));
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
