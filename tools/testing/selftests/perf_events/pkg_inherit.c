// SPDX-License-Identifier: GPL-2.0
/*
 * Children, threads, migrations and many events on one task: all that runs is
 * counted, exactly once, by each event that it belongs to.
 */
#define _GNU_SOURCE

#include <pthread.h>

#include "../kselftest_harness.h"
#include "pkg_puppet.h"

#define NR_MANY		64
#define NR_STORM	300
#define NR_AT_ONCE	20
#define NR_THREADS	8
#define NR_MOVES	2000

static struct perf_event_attr inherited(struct perf_event_attr attr)
{
	attr.inherit = 1;
	return attr;
}

#define TASK_CLOCK	pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK)
#define SWITCHES	pkg_sw_attr(PERF_COUNT_SW_CONTEXT_SWITCHES)
#define RUNTIME		pkg_attr(PKG_RUNTIME, PKG_ALL)

/* A task and what counts it and its children; @own: it alone */
struct family {
	struct puppet	p;
	int		clock;
	int		switches;
	int		all[2];
	int		pkg[PKG_MAX];
	int		own;
};

FIXTURE(pkg_inherit)
{
	struct family f;
};

FIXTURE_SETUP(pkg_inherit)
{
	const char *why = pkg_init(2);
	struct family *f = &self->f;
	pid_t pid;
	int i;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[0]));
	ASSERT_EQ(0, puppet_new(&f->p));
	pid = f->p.pid;
	f->clock = PKG_OPEN(inherited(TASK_CLOCK), pid, -1, -1);
	f->switches = PKG_OPEN(inherited(SWITCHES), pid, -1, -1);
	for (i = 0; i < 2; i++)
		f->all[i] = PKG_OPEN(inherited(RUNTIME), pid, -1, -1);
	for (i = 0; i < topo.nr; i++)
		f->pkg[i] = PKG_OPEN(inherited(pkg_attr(PKG_RUNTIME, topo.pkg[i].id)),
				     pid, -1, -1);
	f->own = PKG_OPEN(RUNTIME, pid, -1, -1);
}

FIXTURE_TEARDOWN(pkg_inherit)
{
	pkg_stop(1);
	puppet_end(&self->f.p);
}

static void reset_all(struct family *f)
{
	int i;

	ioctl(f->clock, PERF_EVENT_IOC_RESET, 0);
	ioctl(f->switches, PERF_EVENT_IOC_RESET, 0);
	for (i = 0; i < 2; i++)
		ioctl(f->all[i], PERF_EVENT_IOC_RESET, 0);
	for (i = 0; i < topo.nr; i++)
		ioctl(f->pkg[i], PERF_EVENT_IOC_RESET, 0);
}

static __u64 sum_of_packages(struct family *f)
{
	__u64 sum = 0;
	int i;

	for (i = 0; i < topo.nr; i++)
		sum += pkg_count(f->pkg[i]);
	return sum;
}

/*
 * Whether all count the same: our events to the ns, unless the timer read one
 * just when its task was being switched out, and the core nearly.
 */
static bool agree_after(struct __test_metadata *_metadata, struct family *f,
			long (*fn)(long arg), long arg, __u64 min_ns)
{
	__u64 val, other, sum, core, switches;

	reset_all(f);
	ASSERT_LE(0, puppet_call(&f->p, fn, arg));
	val = pkg_count(f->all[0]);
	other = pkg_count(f->all[1]);
	sum = sum_of_packages(f);
	core = pkg_count(f->clock);
	switches = pkg_count(f->switches);
	EXPECT_TRUE(pkg_near(other, val, switches));
	EXPECT_TRUE(pkg_near(sum, val, switches));
	TH_LOG("%llu, %llu ns; packages %llu ns; task-clock %llu ns; %llu switches",
	       val, other, sum, core, switches);
	return val + val / 50 >= min_ns && val == other && val == sum &&
	       pkg_near(val, core, switches);
}

#define EXPECT_AGREEMENT(...)							\
	EXPECT_TRUE(PKG_RETRY(agree_after(_metadata, &self->f, __VA_ARGS__)))

TEST_F_TIMEOUT(pkg_inherit, migrations, 300)
{
	EXPECT_AGREEMENT(pkg_migrate, NR_MOVES, NR_MOVES * 300 * NSEC_PER_USEC);
}

/* Every child moves to a CPU of its own and stays there for a bit */
static long storm(long children)
{
	int i, p, n;

	for (i = 0; i < children; i++) {
		if (i >= NR_AT_ONCE)
			wait(NULL);
		if (!fork()) {
			p = i % topo.nr;
			n = i / topo.nr % topo.pkg[p].nr_cpus;
			pkg_pin(topo.pkg[p].cpu[n]);
			_exit(pkg_burn(1000));
		}
	}
	while (wait(NULL) > 0)
		;
	return 0;
}

TEST_F_TIMEOUT(pkg_inherit, fork_storm, 300)
{
	EXPECT_AGREEMENT(storm, NR_STORM, NR_STORM * 1000 * NSEC_PER_USEC);
}

static long fork_exec(long us)
{
	char arg[32];
	int i;

	snprintf(arg, sizeof(arg), "%ld", us);
	for (i = 0; i < topo.nr; i++) {
		if (!fork()) {
			pkg_pin(topo.pkg[i].cpu[0]);
			pkg_burn(us);
			execl("/proc/self/exe", "burn", arg, NULL);
			_exit(1);
		}
	}
	while (wait(NULL) > 0)
		;
	return 0;
}

TEST_F_TIMEOUT(pkg_inherit, fork_exec_exit, 300)
{
	EXPECT_AGREEMENT(fork_exec, 10000, topo.nr * 20 * NSEC_PER_MSEC);
}

static void *thread(void *arg)
{
	long n = (long)arg;

	pkg_pin(topo.pkg[n % topo.nr].cpu[0]);
	pkg_burn(5000);
	return NULL;
}

static long threads(long nr)
{
	pthread_t t[NR_THREADS];
	long i;

	for (i = 0; i < nr; i++)
		if (pthread_create(&t[i], NULL, thread, (void *)i))
			return -1;
	for (i = 0; i < nr; i++)
		pthread_join(t[i], NULL);
	return 0;
}

TEST_F_TIMEOUT(pkg_inherit, threads, 120)
{
	EXPECT_AGREEMENT(threads, NR_THREADS, NR_THREADS * 5 * NSEC_PER_MSEC);
}

static long generations(long depth)
{
	pid_t pid;

	pkg_pin(topo.pkg[depth % topo.nr].cpu[0]);
	pkg_burn(2000);
	if (!depth)
		return 0;
	pid = fork();
	if (!pid)
		_exit(generations(depth - 1));
	return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

TEST_F_TIMEOUT(pkg_inherit, generations, 120)
{
	EXPECT_AGREEMENT(generations, 10, 11 * 2 * NSEC_PER_MSEC);
}

/* Children do not count for an event that is not inherited */
TEST_F_TIMEOUT(pkg_inherit, not_inherited, 120)
{
	__u64 own, all;

	ASSERT_EQ(0, puppet_call(&self->f.p, pkg_burn, 5000));
	EXPECT_EQ(pkg_count(self->f.all[0]), pkg_count(self->f.own));
	own = pkg_count(self->f.own);
	all = pkg_count(self->f.all[0]);
	ASSERT_EQ(0, puppet_call(&self->f.p, storm, 20));
	own = pkg_count(self->f.own) - own;
	all = pkg_count(self->f.all[0]) - all;
	EXPECT_LT(own + 20 * NSEC_PER_MSEC / 2, all);
}

static long orphan(long us)
{
	pid_t pid = fork();

	if (!pid) {
		if (fork())
			_exit(0);
		pkg_pin(topo.pkg[1].cpu[0]);
		pkg_burn(us);
		__atomic_store_n(&shared->ended[0], 1, __ATOMIC_RELEASE);
		pkg_spin(0);
		_exit(0);
	}
	return waitpid(pid, NULL, 0) == pid ? 0 : -1;
}

/* A grandchild goes on to count when the monitored task is long gone */
TEST_F_TIMEOUT(pkg_inherit, orphan, 120)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS, val, next;

	ASSERT_EQ(0, puppet_call(&self->f.p, orphan, 20000));
	puppet_end(&self->f.p);
	while (!__atomic_load_n(&shared->ended[0], __ATOMIC_ACQUIRE)) {
		ASSERT_LT(pkg_now(CLOCK_MONOTONIC), end);
		usleep(1000);
	}
	val = pkg_count(self->f.all[0]);
	do {
		ASSERT_LT(pkg_now(CLOCK_MONOTONIC), end);
		next = pkg_count(self->f.all[0]);
		ASSERT_LE(val, next);
	} while (next < val + 20 * NSEC_PER_MSEC);
	EXPECT_LE(20 * NSEC_PER_MSEC, next);
}

static long fork_spin(long unused)
{
	pid_t pid = fork();

	if (!pid) {
		pkg_pin(topo.pkg[1].cpu[0]);
		_exit(pkg_spin(unused));
	}
	return pid;
}

/*
 * An event that comes later starts from 0, does not disturb the earlier ones,
 * and does not count children that are older than it.
 */
TEST_F_TIMEOUT(pkg_inherit, late_event, 120)
{
	__u64 before;
	int late;

	ASSERT_EQ(0, puppet_call(&self->f.p, pkg_burn, 5000));
	ASSERT_LT(0, puppet_call(&self->f.p, fork_spin, 0));
	late = PKG_OPEN(inherited(RUNTIME), self->f.p.pid, -1, -1);
	before = pkg_count(self->f.all[0]);
	EXPECT_LE(5 * NSEC_PER_MSEC, before + NSEC_PER_MSEC / 2);
	usleep(20000);
	EXPECT_EQ(0, pkg_count(late));

	before = pkg_count(self->f.own);
	ASSERT_EQ(0, puppet_call(&self->f.p, pkg_burn, 5000));
	EXPECT_EQ(pkg_count(self->f.own) - before, pkg_count(late));
	close(late);
	before = pkg_count(self->f.all[0]);
	ASSERT_EQ(0, puppet_call(&self->f.p, pkg_burn, 5000));
	EXPECT_LE(before + 5 * NSEC_PER_MSEC - NSEC_PER_MSEC / 2, pkg_count(self->f.all[0]));
}

TEST_F_TIMEOUT(pkg_inherit, many_events, 300)
{
	__u64 first, core, switches;
	int fd[NR_MANY], i;

	for (i = 0; i < NR_MANY; i++)
		fd[i] = PKG_OPEN(inherited(RUNTIME), self->f.p.pid, -1, -1);
	reset_all(&self->f);
	ASSERT_LT(0, puppet_call(&self->f.p, pkg_migrate, 100));
	ASSERT_EQ(0, puppet_call(&self->f.p, storm, 40));
	first = pkg_count(fd[0]);
	EXPECT_LE((100 * 300 + 40 * 1000) * NSEC_PER_USEC, first);
	core = pkg_count(self->f.clock);
	switches = pkg_count(self->f.switches);
	for (i = 0; i < NR_MANY; i++)
		EXPECT_TRUE(pkg_near(pkg_count(fd[i]), core, switches));
	EXPECT_TRUE(pkg_near(sum_of_packages(&self->f), core, switches));
}

/* Reset and disable reach the children, those that are gone too */
TEST_F_TIMEOUT(pkg_inherit, control, 120)
{
	__u64 val;
	int i;

	ASSERT_EQ(0, puppet_call(&self->f.p, storm, 20));
	EXPECT_LT(0, pkg_count(self->f.all[0]));
	reset_all(&self->f);
	EXPECT_EQ(0, pkg_count(self->f.all[0]));
	EXPECT_EQ(0, sum_of_packages(&self->f));

	ASSERT_LT(0, puppet_call(&self->f.p, fork_spin, 0));
	usleep(20000);
	ASSERT_EQ(0, ioctl(self->f.all[0], PERF_EVENT_IOC_DISABLE, 0));
	val = pkg_count(self->f.all[0]);
	for (i = 0; i < 50; i++) {
		usleep(400);
		ASSERT_EQ(val, pkg_count(self->f.all[0]));
	}
	ASSERT_EQ(0, ioctl(self->f.all[0], PERF_EVENT_IOC_ENABLE, 0));
	for (i = 0; i < 20000 && pkg_count(self->f.all[0]) == val; i++)
		usleep(1000);
	EXPECT_LT(val, pkg_count(self->f.all[0]));
	EXPECT_LT(pkg_count(self->f.all[0]), pkg_count(self->f.all[1]));
}

/* Events that come and go while the task forks: nothing breaks, others stay right */
TEST_F_TIMEOUT(pkg_inherit, open_and_close_in_storm, 300)
{
	int fd, i, n = 0;

	reset_all(&self->f);
	ASSERT_EQ(0, puppet_start(&self->f.p, storm, NR_STORM));
	for (i = 0; i < 200; i++) {
		fd = PKG_OPEN(inherited(RUNTIME), self->f.p.pid, -1, -1);
		n += pkg_count(fd) != ~0ULL;
		close(fd);
	}
	EXPECT_EQ(0, puppet_wait(&self->f.p));
	EXPECT_EQ(200, n);
	EXPECT_EQ(pkg_count(self->f.all[0]), pkg_count(self->f.all[1]));
	EXPECT_LE(NR_STORM * NSEC_PER_MSEC, pkg_count(self->f.all[0]));
}

/* Toggling a leader reads the levels of its group, while children of these exit. */
TEST_F_TIMEOUT(pkg_inherit, toggled_in_storm, 300)
{
	int leader = PKG_OPEN(inherited(RUNTIME), self->f.p.pid, -1, -1), i;

	for (i = 0; i < 3; i++)
		PKG_OPEN(inherited(pkg_attr(PKG_CLOCK, topo.pkg[1].id)), self->f.p.pid, -1, leader);
	ASSERT_EQ(0, puppet_start(&self->f.p, storm, NR_STORM));
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, ioctl(leader, PERF_EVENT_IOC_DISABLE, 0));
		ASSERT_EQ(0, ioctl(leader, PERF_EVENT_IOC_ENABLE, 0));
	}
	EXPECT_EQ(0, puppet_wait(&self->f.p));
}

int main(int argc, char *argv[])
{
	if (!strcmp(argv[0], "burn") && argc > 1)
		return pkg_burn(atol(argv[1]));
	return test_harness_run(argc, argv);
}
