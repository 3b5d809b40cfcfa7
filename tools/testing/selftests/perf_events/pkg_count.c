// SPDX-License-Identifier: GPL-2.0
/*
 * What a task's package-scope event counts, and each way to read and control
 * it: the ground truth is the core's task-clock of the same task.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_puppet.h"

#define GROUP(attr) ({						\
	struct perf_event_attr __attr = (attr);			\
								\
	__attr.read_format |= PERF_FORMAT_GROUP;		\
	__attr;							\
})

#define TASK_CLOCK	pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK)
#define RUNTIME		pkg_attr(PKG_RUNTIME, PKG_ALL)
#define AGE		pkg_attr(PKG_AGE, PKG_ALL)

FIXTURE(pkg_count)
{
	struct puppet p;
	pid_t pid;
	int near;
	int far;
	int clock;
};

FIXTURE_SETUP(pkg_count)
{
	const char *why = pkg_init(2);

	if (why)
		SKIP(return, "%s", why);
	self->near = topo.pkg[0].cpu[0];
	self->far = topo.pkg[1].cpu[0];
	ASSERT_EQ(0, pkg_pin(self->near));
	ASSERT_EQ(0, puppet_new(&self->p));
	self->pid = self->p.pid;
	self->clock = PKG_OPEN(TASK_CLOCK, self->pid, -1, -1);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, self->far));
}

FIXTURE_TEARDOWN(pkg_count)
{
	pkg_stop(1);
	puppet_end(&self->p);
}

TEST_F_TIMEOUT(pkg_count, asleep, 120)
{
	int fd = PKG_OPEN(RUNTIME, self->pid, -1, -1);
	__u64 val, clock;

	EXPECT_EQ(0, pkg_count(fd));
	EXPECT_TRUE(PKG_RETRY(puppet_agree(&self->p, fd, self->clock, pkg_burn, 20000, 1)));
	clock = pkg_count(self->clock);
	val = pkg_count(fd);
	usleep(20000);
	EXPECT_EQ(val, pkg_count(fd));
	EXPECT_EQ(clock, pkg_count(self->clock));
}

/*
 * Reads the group { runtime, age } of what runs elsewhere, @clock being its
 * task-clock. The second read is at least as new as the first one was old.
 */
static void check_running(struct __test_metadata *_metadata, int group, int clock)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	__u64 first[2], val[2], before, after, slack, last = 0;
	int i, changes = 0;

	for (i = 0; i < 300 || changes < 10; i++) {
		before = pkg_count(clock);
		ASSERT_EQ(0, pkg_read(group, first, 2));
		ASSERT_EQ(0, pkg_read(group, val, 2));
		after = pkg_count(clock);

		slack = after / 50 + NSEC_PER_MSEC;
		ASSERT_LE(last, first[0]);
		ASSERT_LE(first[0], val[0]);
		ASSERT_LE(val[0], after + slack);
		ASSERT_LE(before, val[0] + first[1] + slack + PKG_CLOCKS_NS)
			TH_LOG("%llu +- %llu, then %llu +- %llu; task-clock %llu, then %llu",
			       first[0], first[1], val[0], val[1], before, after);
		ASSERT_LT(pkg_now(CLOCK_MONOTONIC), end)
			TH_LOG("%d changes in %d reads", changes, i);
		changes += val[0] != last;
		last = val[0];
	}
}

TEST_F_TIMEOUT(pkg_count, running, 120)
{
	int group = PKG_OPEN(GROUP(RUNTIME), self->pid, -1, -1);
	int clock = PKG_OPEN(TASK_CLOCK, self->pid, -1, -1);

	PKG_OPEN(AGE, self->pid, -1, group);
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	check_running(_metadata, group, clock);
	pkg_stop(1);
	EXPECT_EQ(0, puppet_wait(&self->p));
}

/* Forks a child that stops, and spins on @cpu once it is continued */
static long fork_stopped(long cpu)
{
	pid_t pid = fork();

	if (!pid) {
		pkg_pin(cpu);
		raise(SIGSTOP);
		_exit(pkg_spin(0));
	}
	return waitpid(pid, NULL, WUNTRACED);
}

/* A task that sleeps all the time, while its child runs on another package */
TEST_F_TIMEOUT(pkg_count, parent_sleeps, 120)
{
	struct perf_event_attr attr = RUNTIME, age = AGE;
	__u64 slept;
	int group, clock;
	pid_t child;

	attr.read_format = PERF_FORMAT_GROUP;
	attr.inherit = 1;
	age.inherit = 1;
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, self->near));
	group = PKG_OPEN(attr, self->pid, -1, -1);
	PKG_OPEN(age, self->pid, -1, group);

	child = puppet_call(&self->p, fork_stopped, self->far);
	ASSERT_LT(0, child);
	clock = PKG_OPEN(TASK_CLOCK, child, -1, -1);
	ASSERT_EQ(0, ioctl(group, PERF_EVENT_IOC_RESET, 0));
	slept = pkg_count(self->clock);
	ASSERT_EQ(0, kill(child, SIGCONT));
	check_running(_metadata, group, clock);
	EXPECT_EQ(slept, pkg_count(self->clock));
	kill(child, SIGKILL);
}

TEST_F_TIMEOUT(pkg_count, group_and_packages, 120)
{
	__u64 val[PKG_MAX + 2], sum = 0;
	int fd[PKG_MAX + 2], i, nr = 0;

	fd[nr++] = PKG_OPEN(GROUP(RUNTIME), self->pid, -1, -1);
	for (i = 0; i < topo.nr; i++)
		fd[nr++] = PKG_OPEN(pkg_attr(PKG_RUNTIME, topo.pkg[i].id), self->pid, -1, fd[0]);
	fd[nr++] = PKG_OPEN(RUNTIME, self->pid, -1, fd[0]);

	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, 50));
	ASSERT_EQ(0, pkg_read(fd[0], val, nr));
	for (i = 1; i <= topo.nr; i++) {
		EXPECT_EQ(val[i], pkg_count(fd[i]));
		EXPECT_LT(0, val[i]);
		sum += val[i];
	}
	EXPECT_EQ(val[0], sum);
	EXPECT_EQ(val[0], val[nr - 1]);
}

/* What runs on a package, on any CPU of it, is counted there and nowhere else */
TEST_F_TIMEOUT(pkg_count, right_package, 120)
{
	int fd[PKG_MAX], i, j, c;
	__u64 val[PKG_MAX];

	for (i = 0; i < topo.nr; i++)
		fd[i] = PKG_OPEN(pkg_attr(PKG_RUNTIME, topo.pkg[i].id), self->pid, -1, -1);
	for (i = 0; i < topo.nr; i++) {
		ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, topo.pkg[i].cpu[0]));
		for (j = 0; j < topo.nr; j++)
			val[j] = pkg_count(fd[j]);
		for (c = 0; c < topo.pkg[i].nr_cpus; c++) {
			ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, topo.pkg[i].cpu[c]));
			EXPECT_TRUE(PKG_RETRY(puppet_agree(&self->p, fd[i], self->clock,
							   pkg_burn, 5000, 1)));
		}
		for (j = 0; j < topo.nr; j++)
			if (j != i)
				EXPECT_EQ(val[j], pkg_count(fd[j]));
	}
}

static void check_mixed(struct __test_metadata *_metadata, struct puppet *p,
			struct perf_event_attr leader, struct perf_event_attr other)
{
	int fd = PKG_OPEN(GROUP(leader), p->pid, -1, -1), sibling, i;
	__u64 val[2], last[2] = {};

	sibling = PKG_OPEN(other, p->pid, -1, fd);
	pkg_stop(0);
	ASSERT_EQ(0, puppet_start(p, pkg_spin, 0));
	for (i = 0; i < 100; i++) {
		ASSERT_EQ(0, pkg_read(fd, val, 2));
		ASSERT_LE(last[0], val[0]);
		ASSERT_LE(last[1], val[1]);
		memcpy(last, val, sizeof(last));
	}
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(p));
	ASSERT_EQ(0, pkg_read(fd, val, 2));
	EXPECT_LT(0, val[0]);
	EXPECT_TRUE(pkg_near(val[0], val[1], 20))
		TH_LOG("%llu ns, %llu ns", val[0], val[1]);
	EXPECT_EQ(val[1], pkg_count(sibling));
}

TEST_F_TIMEOUT(pkg_count, mixed_group, 120)
{
	check_mixed(_metadata, &self->p, TASK_CLOCK, RUNTIME);
	check_mixed(_metadata, &self->p, RUNTIME, TASK_CLOCK);
}

TEST_F_TIMEOUT(pkg_count, reset, 120)
{
	int fd = PKG_OPEN(GROUP(RUNTIME), self->pid, -1, -1);
	int other = PKG_OPEN(RUNTIME, self->pid, -1, -1);
	__u64 val[3], was;

	PKG_OPEN(pkg_attr(PKG_RUNTIME, topo.pkg[1].id), self->pid, -1, fd);
	PKG_OPEN(pkg_attr(PKG_CLOCK, topo.pkg[1].id), self->pid, -1, fd);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
	ASSERT_EQ(0, pkg_read(fd, val, 3));
	EXPECT_LT(0, val[0]);
	EXPECT_LT(0, val[2]);
	was = val[2];

	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_RESET, PERF_IOC_FLAG_GROUP));
	ASSERT_EQ(0, pkg_read(fd, val, 3));
	EXPECT_EQ(0, val[0]);
	EXPECT_EQ(0, val[1]);
	EXPECT_LE(was, val[2]);
	EXPECT_LT(0, pkg_count(other));

	was = pkg_count(other);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
	ASSERT_EQ(0, pkg_read(fd, val, 3));
	EXPECT_EQ(pkg_count(other) - was, val[0]);
	EXPECT_EQ(val[0], val[1]);
}

TEST_F_TIMEOUT(pkg_count, reset_while_running, 120)
{
	int clock = PKG_OPEN(TASK_CLOCK, self->pid, -1, -1);
	int fd = PKG_OPEN(RUNTIME, self->pid, -1, -1), i;
	__u64 sum = 0;

	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	for (i = 0; i < 50; i++) {
		usleep(2000);
		sum += pkg_count(fd);
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_RESET, 0));
	}
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&self->p));
	sum += pkg_count(fd);

	/* What runs between read and reset is lost, nothing counts twice */
	EXPECT_LT(0, sum);
	EXPECT_LE(sum, pkg_count(clock) + pkg_count(clock) / 50 + NSEC_PER_MSEC);
}

TEST_F_TIMEOUT(pkg_count, disable_and_enable, 120)
{
	int fd = PKG_OPEN(RUNTIME, self->pid, -1, -1), i;
	__u64 frozen, first, last, end;

	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	usleep(10000);
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
	frozen = pkg_count(fd);
	for (i = 0; i < 100; i++) {
		usleep(200);
		ASSERT_EQ(frozen, pkg_count(fd));
	}

	/* Enabled at some time between the two */
	first = pkg_count(self->clock);
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	last = pkg_count(self->clock);
	usleep(10000);
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&self->p));
	end = pkg_count(self->clock);
	EXPECT_LE(pkg_count(fd) - frozen, end - first + (end - first) / 50 + NSEC_PER_MSEC);
	EXPECT_GE(pkg_count(fd) - frozen + (end - last) / 50 + NSEC_PER_MSEC, end - last);

	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
	frozen = pkg_count(fd);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
	EXPECT_EQ(frozen, pkg_count(fd));
	EXPECT_LT(end, pkg_count(self->clock));
}

/* How long the event was enabled and active, for a reader elsewhere too */
TEST_F_TIMEOUT(pkg_count, times, 120)
{
	struct perf_event_attr attr = RUNTIME;
	__u64 val[3], last[3] = {}, before;
	int fd, i, j;

	attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
	fd = PKG_OPEN(attr, self->pid, -1, -1);
	before = pkg_count(self->clock);
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	for (i = 0; i < 200; i++) {
		ASSERT_EQ((int)sizeof(val), read(fd, val, sizeof(val)));
		for (j = 0; j < 3; j++)
			ASSERT_LE(last[j], val[j]);
		ASSERT_EQ(val[1], val[2]);
		memcpy(last, val, sizeof(last));
	}
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&self->p));
	ASSERT_EQ((int)sizeof(val), read(fd, val, sizeof(val)));
	EXPECT_TRUE(pkg_near(val[1], pkg_count(self->clock) - before, 20));
	EXPECT_TRUE(pkg_near(val[0], val[2], 20));
}

static long exec_burn(long us)
{
	char arg[32];

	pkg_burn(us);
	snprintf(arg, sizeof(arg), "%ld", us);
	execl("/proc/self/exe", "burn", arg, NULL);
	return 0;
}

TEST_F_TIMEOUT(pkg_count, enable_on_exec, 120)
{
	struct perf_event_attr attr = RUNTIME, clock = TASK_CLOCK;
	int fd, ref;

	attr.disabled = 1;
	attr.enable_on_exec = 1;
	clock.disabled = 1;
	clock.enable_on_exec = 1;
	fd = PKG_OPEN(attr, self->pid, -1, -1);
	ref = PKG_OPEN(clock, self->pid, -1, -1);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
	EXPECT_EQ(0, pkg_count(fd));

	ASSERT_EQ(0, puppet_start(&self->p, exec_burn, 50000));
	ASSERT_EQ(self->pid, waitpid(self->pid, NULL, 0));
	EXPECT_LE(50 * NSEC_PER_MSEC, pkg_count(fd) + 2 * NSEC_PER_MSEC);
	EXPECT_TRUE(pkg_near(pkg_count(fd), pkg_count(ref), 40))
		TH_LOG("%llu ns, task-clock %llu ns", pkg_count(fd), pkg_count(ref));
}

TEST_F_TIMEOUT(pkg_count, mmap_page, 120)
{
	struct perf_event_mmap_page *page;
	int fd = PKG_OPEN(RUNTIME, self->pid, -1, -1);

	page = mmap(NULL, getpagesize(), PROT_READ, MAP_SHARED, fd, 0);
	ASSERT_NE(MAP_FAILED, page);
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, 10));
	EXPECT_EQ(0, page->index);
	EXPECT_EQ(pkg_count(fd), page->offset);
	EXPECT_LT(0, page->offset);

	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_RESET, 0));
	EXPECT_EQ(0, page->offset);
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	usleep(10000);
	EXPECT_LE(page->offset, pkg_count(fd));
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
	EXPECT_EQ(pkg_count(fd), page->offset);
	EXPECT_LT(0, page->offset);
	pkg_stop(1);
	EXPECT_EQ(0, puppet_wait(&self->p));
}

int main(int argc, char *argv[])
{
	if (!strcmp(argv[0], "burn") && argc > 1)
		return pkg_burn(atol(argv[1]));
	return test_harness_run(argc, argv);
}
