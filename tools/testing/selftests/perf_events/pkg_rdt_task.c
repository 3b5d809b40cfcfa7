// SPDX-License-Identifier: GPL-2.0
/*
 * Cache occupancy and memory bandwidth of tasks, the PMU resctrl_task, against the true
 * values that an emulator reports. perf makes a private MON group for the threads of a
 * process that are counted. If it fails, perf stat counts bytes of others, loses some, or
 * takes RMIDs away from the administrator.
 */
#define _GNU_SOURCE

#include <dirent.h>
#include <grp.h>
#include <linux/capability.h>
#include <pthread.h>
#include <sys/prctl.h>

#include "../kselftest_harness.h"
#include "pkg_rdt.h"

#define NOBODY		65534
#define SYSCTL		"/proc/sys/kernel/"
#define PARANOID	"perf_event_paranoid"
#define CONTROL		RDT_FS "pkg_rdt_control"
#define OTHER_CONTROL	RDT_FS "pkg_rdt_other"
#define NR_THREADS	3
/* IA32_L2_QOS_EXT_BW_THRTL_0 */
#define MSR_MBA		0xd50
/* A CPU of the emulator moves 715 MiB of local bytes in a second */
#define LIMIT_MBPS	500
#define MOVES		40

/* A counter is read a little before or after the true value: in bytes */
static __u64 switch_bytes(void)
{
	bool slow = !access("/sys/kernel/debug/kcsan", F_OK) ||
		    !access("/proc/lockdep", F_OK);

	return slow ? 1 << 19 : 1 << 16;
}

static __u64 all_rmids(void)
{
	return ~0ULL >> (RDT_MAX_RMIDS - rdt.nr_rmids);
}

FIXTURE(rdt_task)
{
	/* Is monitored */
	struct puppet p;
	/* Opens events as well */
	struct puppet other;
	int paranoid;
};

FIXTURE_SETUP(rdt_task)
{
	const char *why = rdt_init(RDT_TASK_PMU, 2);

	if (!why && (puppet_new(&self->p) || puppet_new(&self->other))) {
		why = "no other processes";
		rdt_exit();
	}
	if (why)
		SKIP(return, "%s", why);
	self->paranoid = pkg_get(SYSCTL, PARANOID);
}

/* Removes all MON groups of the root that the tests make */
static void remove_groups(void)
{
	char path[PATH_MAX];
	struct dirent *ent;
	DIR *dir;

	dir = opendir(RDT_GROUPS);
	while (dir && (ent = readdir(dir))) {
		if (ent->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), RDT_GROUPS "%s", ent->d_name);
		rmdir(path);
	}
	if (dir)
		closedir(dir);
}

FIXTURE_TEARDOWN(rdt_task)
{
	pkg_set(SYSCTL, PARANOID, self->paranoid);
	pkg_stop(1);
	puppet_end(&self->other);
	puppet_end(&self->p);
	remove_groups();
	rmdir(OTHER_CONTROL);
	rmdir(CONTROL);
	rdt_exit();
}

/*
 * The private group of a process in that of a control group; returns how many there are.
 * @path: room for PATH_MAX, "" if there is none
 */
static int find_private(const char *control, pid_t pid, char *path)
{
	char groups[PATH_MAX / 2], prefix[32];
	struct dirent *ent;
	int nr = 0;
	DIR *dir;

	path[0] = 0;
	snprintf(groups, sizeof(groups), "%s/mon_groups", control);
	snprintf(prefix, sizeof(prefix), "perf-%d-", pid);
	dir = opendir(groups);
	while (dir && (ent = readdir(dir))) {
		if (strncmp(ent->d_name, prefix, strlen(prefix)))
			continue;
		snprintf(path, PATH_MAX, "%s/%s", groups, ent->d_name);
		nr++;
	}
	if (dir)
		closedir(dir);
	return nr;
}

static bool has_private(pid_t pid)
{
	char path[PATH_MAX];

	return find_private(RDT_FS, pid, path);
}

/* Whether the group goes, after the last one who had an event of it */
static bool wait_gone(pid_t pid)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;

	while (has_private(pid)) {
		if (pkg_now(CLOCK_MONOTONIC) > end)
			return false;
		usleep(1000);
	}
	return true;
}

/*
 * Opens an event of a task and finds the group. An RMID that nobody has does not run: its
 * truth is known before. @path: that of the group, room for PATH_MAX
 */
static int open_task(struct rdt_count *c, struct perf_event_attr attr, const char *control,
		     pid_t pid, char *path)
{
	__u64 past[RDT_MAX_RMIDS], end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	int err, rmid;

	*c = (struct rdt_count) {
		.event		= attr.config,
		.grain		= switch_bytes(),
		.domains	= (1U << topo.nr) - 1,
	};
	/* RMIDs of groups that are gone stay in use for a while */
	do {
		for (rmid = 0; rmid < rdt.nr_rmids; rmid++)
			past[rmid] = rdt_truth_sum(c->event, rmid);
		err = rdt_add(c, attr, pid, -1);
		if (err == -ENXIO)
			rdt_evict();
	} while (err == -ENXIO && pkg_now(CLOCK_MONOTONIC) < end);
	if (err)
		return err;
	if (find_private(control, pid ?: getpid(), path) != 1)
		return -ENOENT;
	rmid = rdt_rmid(path);
	if (rmid <= 0)
		return -ERANGE;
	c->rmids = 1ULL << rmid;
	if (!attr.disabled)
		rdt_started(c, past[rmid]);
	return 0;
}

/* Likewise, of an event that is enabled, in the root */
static int open_private(struct rdt_count *c, enum rdt_event event, pid_t pid, char *path)
{
	return open_task(c, rdt_task_attr(event), RDT_FS, pid, path);
}

/* Returns the error, and does not leave it open otherwise */
static int try_open(struct perf_event_attr attr, pid_t pid, int cpu)
{
	int fd = pkg_open(attr, pid, cpu, -1);

	if (fd < 0)
		return fd;
	close(fd);
	return 0;
}

/* Whether resctrl's file says what the group has counted, which is all it ever has */
static bool mon_right(const char *path, const struct rdt_count *c)
{
	__u64 before = rdt_truth_of(c) - c->begin[1], val;
	int err;

	if (rdt.lossy)
		return true;
	err = rdt_mon_sum(path, c->event, &val);
	if (!err)
		return rdt_mon_fits(path, c->event, 1, val, before,
				    rdt_truth_of(c) - c->begin[0]);
	ksft_print_msg("%s of %s: %s\n", rdt_files[c->event], path, strerror(-err));
	return false;
}

static int open_cgroup(struct perf_event_attr attr, int cgroup)
{
	int fd = syscall(__NR_perf_event_open, &attr, cgroup, 0, -1,
			 PERF_FLAG_PID_CGROUP | PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

TEST_F(rdt_task, refused)
{
	struct perf_event_attr attr = rdt_task_attr(RDT_TOTAL);
	struct rdt_count c;
	char path[PATH_MAX];
	int cgroup;

	/* There are no groups */
	attr.config2 = 1;
	EXPECT_EQ(-EINVAL, try_open(attr, self->p.pid, -1));
	EXPECT_EQ(-EINVAL, try_open(attr, 0, -1));
	/* Nor CPUs */
	attr = rdt_task_attr(RDT_TOTAL);
	EXPECT_EQ(-EINVAL, try_open(attr, -1, 0));
	EXPECT_EQ(-EINVAL, try_open(attr, self->p.pid, 0));
	/* The RMID counts what the task forks, and goes on after exec() */
	attr.inherit = 0;
	EXPECT_EQ(-EINVAL, try_open(attr, self->p.pid, -1));
	attr = rdt_task_attr(RDT_TOTAL);
	attr.enable_on_exec = 0;
	attr.remove_on_exec = 1;
	EXPECT_EQ(-EINVAL, try_open(attr, self->p.pid, -1));
	/* A kernel thread */
	EXPECT_EQ(-EINVAL, try_open(rdt_task_attr(RDT_TOTAL), 2, -1));
	attr = rdt_task_attr(4);
	EXPECT_EQ(-EINVAL, try_open(attr, self->p.pid, -1));
	attr = rdt_task_attr(RDT_TOTAL);
	attr.exclude_kernel = 1;
	EXPECT_EQ(-EINVAL, try_open(attr, self->p.pid, -1));
	/* No such L3, once there is an RMID */
	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
	attr = rdt_task_attr(RDT_TOTAL);
	attr.config1 = 1ULL << 63;
	EXPECT_EQ(-EINVAL, try_open(attr, self->p.pid, -1));
	rdt_close(&c);
	attr = rdt_task_attr(RDT_TOTAL);
	attr.inherit_stat = 1;
	EXPECT_EQ(-EINVAL, try_open(attr, self->p.pid, -1));
	attr = rdt_task_attr(RDT_TOTAL);
	attr.sample_period = 1000;
	EXPECT_EQ(-EOPNOTSUPP, try_open(attr, self->p.pid, -1));
	EXPECT_FALSE(has_private(self->p.pid));
	EXPECT_FALSE(has_private(getpid()));
	/* Where there are no events of cgroups at all, there is nothing to refuse */
	cgroup = open("/sys/fs/cgroup", O_RDONLY | O_CLOEXEC);
	if (open_cgroup(pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK), cgroup) >= 0)
		EXPECT_EQ(-EINVAL, open_cgroup(rdt_task_attr(RDT_TOTAL), cgroup));
	close(cgroup);
}

/* It counts tasks: there is no CPU for perf stat -a to open it on */
TEST_F(rdt_task, sysfs)
{
	EXPECT_EQ(-1, access(RDT_TASK_PMU "cpumask", F_OK));
	EXPECT_EQ(-1, access(RDT_TASK_PMU "format/fd", F_OK));
	EXPECT_EQ(0, access(RDT_TASK_PMU "format/domains", F_OK));
}

/* On one L3 */
TEST_F_TIMEOUT(rdt_task, pinned, 120)
{
	enum rdt_event event;
	struct rdt_count c;
	char path[PATH_MAX];

	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	for (event = RDT_TOTAL; event <= RDT_LOCAL; event++) {
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
		ASSERT_EQ(0, open_private(&c, event, self->p.pid, path));
		EXPECT_TRUE(rdt_has_task(path, self->p.pid));
		EXPECT_TRUE(rdt_right(&c));
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
		EXPECT_TRUE(rdt_counted(&c, 1));
		EXPECT_TRUE(mon_right(path, &c));
		rdt_close(&c);
		EXPECT_FALSE(has_private(self->p.pid));
	}
}

TEST_F_TIMEOUT(rdt_task, migrates, 120)
{
	struct rdt_count c;
	char path[PATH_MAX];
	int round;

	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
	for (round = 0; round < 3; round++) {
		ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
		EXPECT_TRUE(rdt_counted(&c, 1));
		EXPECT_TRUE(mon_right(path, &c));
	}
	rdt_close(&c);
}

/* The task that opens it, which runs all the time */
TEST_F_TIMEOUT(rdt_task, self, 120)
{
	struct rdt_count c;
	char path[PATH_MAX];

	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, 0, path));
	ASSERT_LT(0, pkg_migrate(MOVES));
	EXPECT_TRUE(rdt_counted(&c, 1));
	ASSERT_EQ(0, rdt_disable(&c));
	ASSERT_LT(0, pkg_migrate(MOVES));
	EXPECT_TRUE(rdt_right(&c));
	ASSERT_EQ(0, rdt_enable(&c));
	ASSERT_LT(0, pkg_migrate(MOVES));
	EXPECT_TRUE(rdt_counted(&c, 1));
	pkg_pin(0);
	rdt_close(&c);
	EXPECT_FALSE(has_private(getpid()));
}

/* Writes of IA32_QM_EVTSEL on a CPU: a read of a counter begins with one. */
static int open_reads(int cpu)
{
	struct perf_event_attr attr = {
		.type	= PERF_TYPE_TRACEPOINT,
		.size	= sizeof(attr),
		.config	= pkg_get("/sys/kernel/tracing/events/msr/write_msr/", "id"),
	};
	int fd = pkg_open(attr, -1, cpu, -1);

	if (fd >= 0 && ioctl(fd, PERF_EVENT_IOC_SET_FILTER, "msr == 0xc8d")) {
		close(fd);
		return -errno;
	}
	return fd;
}

/* If a context switch read registers, each event would slow down each of them. */
TEST_F_TIMEOUT(rdt_task, switches_read_nothing, 120)
{
	__u64 before = 0, after = 0;
	struct rdt_count c[2];
	char path[PATH_MAX];
	int i, reads;

	reads = open_reads(rdt_cpu(1));
	if (reads < 0)
		SKIP(return, "no tracepoint msr:write_msr");
	ASSERT_EQ(0, rdt_set(FRESH_INTERVAL, 1000000));
	ASSERT_EQ(0, rdt_set_str(FRESH_MAX_AGE, "off"));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, open_private(&c[0], RDT_TOTAL, self->p.pid, path));
	ASSERT_EQ(0, open_private(&c[1], RDT_OCCUPANCY, self->p.pid, path));
	ASSERT_EQ(0, rdt_read_one(reads, &before));
	for (i = 0; i < 300; i++)
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 10));
	ASSERT_EQ(0, rdt_read_one(reads, &after));
	/* Those of a few passes */
	EXPECT_GT(30, after - before);
	rdt_close(&c[0]);
	rdt_close(&c[1]);
	close(reads);
}

/* Threads that do what they are told; the puppet makes them */
static struct crew {
	int	go[NR_THREADS][2];
	int	done[NR_THREADS][2];
} crew;

static void *crew_main(void *arg)
{
	long i = (long)arg, val = syscall(SYS_gettid);

	while (write(crew.done[i][1], &val, sizeof(val)) == sizeof(val) &&
	       read(crew.go[i][0], &val, sizeof(val)) == sizeof(val) && val) {
		pkg_pin(rdt_cpu(i % topo.nr));
		pkg_burn(val);
	}
	return NULL;
}

static long crew_start(long unused)
{
	pthread_t thread;
	long i, err = 0;

	for (i = 0; i < NR_THREADS; i++)
		err |= pthread_create(&thread, NULL, crew_main, (void *)i);
	return unused + err;
}

/* Until nobody runs any more with the RMIDs */
static bool wait_quiet(const struct rdt_count *c)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS, truth;
	struct rdt_count total = *c;

	total.event = RDT_TOTAL;
	do {
		truth = rdt_truth_of(&total);
		usleep(1000);
		if (rdt_truth_of(&total) == truth)
			return true;
	} while (pkg_now(CLOCK_MONOTONIC) < end);
	return false;
}

/* Waits for the answers of those from @first: @val */
static int crew_wait(int first, long *val)
{
	int i;

	for (i = first; i < NR_THREADS; i++)
		if (read(crew.done[i][0], &val[i], sizeof(*val)) != sizeof(*val))
			return -EIO;
	return 0;
}

/* All from @first at the same time, each a little longer than the last one */
static int crew_burn(int first)
{
	long val[NR_THREADS];
	int i;

	for (i = first; i < NR_THREADS; i++) {
		val[i] = RDT_BURN_US * (i + 1) / 2;
		if (write(crew.go[i][1], &val[i], sizeof(*val)) != sizeof(*val))
			return -EIO;
	}
	return crew_wait(first, val);
}

/* Returns once there is no such thread any more */
static int crew_exit(struct puppet *p, int i, pid_t tid)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	char path[64];
	long val = 0;

	snprintf(path, sizeof(path), "/proc/%d/task/%d", p->pid, tid);
	if (write(crew.go[i][1], &val, sizeof(val)) != sizeof(val))
		return -EIO;
	while (!access(path, F_OK)) {
		if (pkg_now(CLOCK_MONOTONIC) > end)
			return -ETIMEDOUT;
		usleep(1000);
	}
	return 0;
}

static int crew_pipes(void)
{
	int i;

	for (i = 0; i < NR_THREADS; i++)
		if (pipe2(crew.go[i], O_CLOEXEC) || pipe2(crew.done[i], O_CLOEXEC))
			return -errno;
	return 0;
}

/* Keeps the order of the others: they report in that */
static int close_first(struct rdt_count *c)
{
	int err = close(c->fd[0]);

	memmove(c->fd, c->fd + 1, --c->nr * sizeof(c->fd[0]));
	return err;
}

/* Each byte is in just one of the events of the threads */
TEST_F_TIMEOUT(rdt_task, threads, 120)
{
	struct rdt_count c, level;
	long tid[NR_THREADS];
	char path[PATH_MAX];
	struct puppet p;
	__u64 val;
	int i;

	ASSERT_EQ(0, crew_pipes());
	ASSERT_EQ(0, puppet_new(&p));
	ASSERT_EQ(0, puppet_call(&p, crew_start, 0));
	ASSERT_EQ(0, crew_wait(0, tid));

	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, p.pid, path));
	ASSERT_EQ(0, open_private(&level, RDT_OCCUPANCY, p.pid, path));
	ASSERT_EQ(c.rmids, level.rmids);
	for (i = 0; i < NR_THREADS; i++) {
		ASSERT_EQ(0, rdt_add(&c, rdt_task_attr(RDT_TOTAL), tid[i], -1));
		ASSERT_EQ(0, rdt_add(&level, rdt_task_attr(RDT_OCCUPANCY), tid[i], -1));
	}
	EXPECT_EQ(1, find_private(RDT_FS, p.pid, path));
	for (i = 0; i < NR_THREADS; i++) {
		EXPECT_TRUE(rdt_has_task(path, tid[i]));
		EXPECT_FALSE(has_private(tid[i]));
	}
	ASSERT_EQ(0, crew_burn(0));
	EXPECT_TRUE(rdt_counted(&c, 1));
	ASSERT_TRUE(wait_quiet(&c));
	EXPECT_TRUE(rdt_right(&c));
	if (!rdt.lossy)
		EXPECT_TRUE(rdt_right(&level));

	/* The oldest reports. Without it the next one does, and loses nothing. */
	EXPECT_EQ(0, close_first(&c));
	EXPECT_TRUE(rdt_right(&c));
	EXPECT_EQ(0, close_first(&level));
	if (!rdt.lossy)
		EXPECT_TRUE(rdt_right(&level));
	ASSERT_EQ(0, crew_burn(0));
	EXPECT_TRUE(rdt_counted(&c, 1));
	ASSERT_TRUE(wait_quiet(&c));
	EXPECT_TRUE(rdt_right(&c));

	/* Nor when its thread exits: that of the first one after the leader */
	ASSERT_EQ(0, rdt_read_one(c.fd[0], &val));
	EXPECT_LT(0, val);
	ASSERT_EQ(0, crew_exit(&p, 0, tid[0]));
	ASSERT_EQ(0, crew_burn(1));
	EXPECT_TRUE(rdt_counted(&c, 1));
	ASSERT_TRUE(wait_quiet(&c));
	EXPECT_TRUE(rdt_right(&c));
	ASSERT_EQ(0, rdt_read_one(c.fd[1], &val));
	EXPECT_EQ(0, val);
	rdt_close(&level);
	EXPECT_EQ(1, find_private(RDT_FS, p.pid, path));
	rdt_close(&c);
	EXPECT_FALSE(has_private(p.pid));
	puppet_end(&p);
}

/* The same event of the same task twice: the sum is right */
TEST_F_TIMEOUT(rdt_task, twice, 120)
{
	struct rdt_count c;
	char path[PATH_MAX];
	__u64 val;

	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
	ASSERT_EQ(0, rdt_add(&c, rdt_task_attr(RDT_TOTAL), self->p.pid, -1));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_TRUE(rdt_counted(&c, 1));
	ASSERT_EQ(0, rdt_read_one(c.fd[1], &val));
	EXPECT_EQ(0, val);
	EXPECT_EQ(0, close_first(&c));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_TRUE(rdt_counted(&c, 1));
	rdt_close(&c);
}

static void *family_thread(void *arg)
{
	pkg_migrate((long)arg);
	return NULL;
}

/* A child, a grandchild and a thread, all of them at work */
static long family(long times)
{
	pthread_t thread;
	int status = -1;
	pid_t pid;

	pid = fork();
	if (!pid) {
		pid = fork();
		pkg_migrate(times);
		if (pid)
			waitpid(pid, NULL, 0);
		_exit(0);
	}
	if (pthread_create(&thread, NULL, family_thread, (void *)times))
		return -1;
	pkg_migrate(times);
	pthread_join(thread, NULL);
	waitpid(pid, &status, 0);
	return status;
}

TEST_F_TIMEOUT(rdt_task, inherited, 120)
{
	struct perf_event_attr attr = rdt_task_attr(RDT_TOTAL);
	struct rdt_count c;
	char path[PATH_MAX];
	int round;

	ASSERT_EQ(0, open_task(&c, attr, RDT_FS, self->p.pid, path));
	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, puppet_call(&self->p, family, MOVES));
		EXPECT_TRUE(rdt_counted(&c, topo.nr));
		EXPECT_TRUE(mon_right(path, &c));
		EXPECT_EQ(1, find_private(RDT_FS, self->p.pid, path));
	}
	rdt_close(&c);
	EXPECT_FALSE(has_private(self->p.pid));
}

/* Disabled it counts nothing, and afterwards only what is new */
TEST_F_TIMEOUT(rdt_task, disabled, 120)
{
	struct perf_event_attr attr = rdt_task_attr(RDT_TOTAL);
	struct rdt_count c;
	char path[PATH_MAX];
	__u64 val;
	int round;

	attr.disabled = 1;
	ASSERT_EQ(0, open_task(&c, attr, RDT_FS, self->p.pid, path));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_EQ(0, rdt_value(&c));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, rdt_enable(&c));
		ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
		EXPECT_TRUE(rdt_counted(&c, 1));
		ASSERT_EQ(0, rdt_disable(&c));
		val = rdt_value(&c);
		ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
		EXPECT_EQ(val, rdt_value(&c));
		EXPECT_TRUE(rdt_right(&c));
	}
	rdt_close(&c);
}

/* A level stands still as well, whatever others make of it. */
TEST_F_TIMEOUT(rdt_task, disabled_level, 120)
{
	struct rdt_count c;
	char path[PATH_MAX];
	__u64 val;

	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, open_private(&c, RDT_OCCUPANCY, self->p.pid, path));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 1000));
	usleep(10000);
	ASSERT_EQ(0, rdt_ioctl(&c, PERF_EVENT_IOC_DISABLE));
	val = rdt_value(&c);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 2000));
	usleep(10000);
	EXPECT_EQ(val, rdt_value(&c));
	ASSERT_EQ(0, rdt_ioctl(&c, PERF_EVENT_IOC_ENABLE));
	if (!rdt.lossy)
		EXPECT_LT(val, rdt_value(&c));
	EXPECT_TRUE(rdt_right(&c));
	rdt_close(&c);
}

/* Of a task that runs */
TEST_F_TIMEOUT(rdt_task, disabled_running, 120)
{
	struct perf_event_attr attr = rdt_task_attr(RDT_TOTAL);
	struct rdt_count c;
	char path[PATH_MAX];
	__u64 val;
	int round;

	attr.disabled = 1;
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, open_task(&c, attr, RDT_FS, self->p.pid, path));
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	for (round = 0; round < 5; round++) {
		ASSERT_EQ(0, rdt_enable(&c));
		usleep(RDT_BURN_US);
		EXPECT_TRUE(rdt_right(&c));
		ASSERT_EQ(0, rdt_disable(&c));
		val = rdt_value(&c);
		usleep(RDT_BURN_US);
		EXPECT_EQ(val, rdt_value(&c));
		EXPECT_TRUE(rdt_right(&c));
	}
	pkg_stop(1);
	puppet_wait(&self->p);
	pkg_stop(0);
	rdt_close(&c);
}

/* What a puppet has open */
static int puppet_event = -1;

static long open_on(long pid)
{
	puppet_event = pkg_open(rdt_task_attr(RDT_TOTAL), pid, -1, -1);
	return puppet_event;
}

static long close_event(long unused)
{
	return close(puppet_event) + unused;
}

static long read_event(long unused)
{
	__u64 val;

	return rdt_read_one(puppet_event, &val) ?: (long)val + unused;
}

/* A task has one RMID: another process that counts it shares the group, and has all of it */
TEST_F(rdt_task, two_openers)
{
	struct rdt_count c;
	char path[PATH_MAX];
	long val;

	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
	ASSERT_LE(0, puppet_call(&self->other, open_on, self->p.pid));
	EXPECT_EQ(1, find_private(RDT_FS, self->p.pid, path));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_TRUE(rdt_counted(&c, 1));
	rdt_set(FRESH_MAX_AGE, 1);
	val = puppet_call(&self->other, read_event, 0);
	if (!rdt.lossy) {
		EXPECT_LT(0, val);
		EXPECT_GE(rdt_value(&c), val);
	}
	rdt_close(&c);
	EXPECT_TRUE(has_private(self->p.pid));
	EXPECT_LE(val, puppet_call(&self->other, read_event, 0));
	EXPECT_EQ(0, puppet_call(&self->other, close_event, 0));
	EXPECT_FALSE(has_private(self->p.pid));
	EXPECT_EQ(0, try_open(rdt_task_attr(RDT_TOTAL), self->p.pid, -1));
}

/* The group goes with the process that has it */
TEST_F(rdt_task, opener_exits)
{
	struct puppet opener;

	ASSERT_EQ(0, puppet_new(&opener));
	ASSERT_LE(0, puppet_call(&opener, open_on, self->p.pid));
	EXPECT_TRUE(has_private(self->p.pid));
	kill(opener.pid, SIGKILL);
	puppet_end(&opener);
	EXPECT_TRUE(wait_gone(self->p.pid));
	EXPECT_EQ(0, try_open(rdt_task_attr(RDT_TOTAL), self->p.pid, -1));
}

/* A group of the administrator's counts, and stays; with all who are in it */
TEST_F_TIMEOUT(rdt_task, admins_group, 120)
{
	struct rdt_count c = {
		.event		= RDT_TOTAL,
		.grain		= switch_bytes(),
		.domains	= (1U << topo.nr) - 1,
		.rmids		= 1ULL << rdt_rmid(RDT_GROUP),
	};
	__u64 before;

	ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
	ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->other.pid));
	ASSERT_LT(0, puppet_call(&self->other, pkg_migrate, MOVES));
	before = rdt_truth_of(&c);
	ASSERT_EQ(0, rdt_add(&c, rdt_task_attr(RDT_TOTAL), self->p.pid, -1));
	ASSERT_EQ(0, rdt_ioctl(&c, PERF_EVENT_IOC_DISABLE));
	ASSERT_EQ(0, rdt_ioctl(&c, PERF_EVENT_IOC_RESET));
	before = rdt_truth_of(&c);
	ASSERT_EQ(0, rdt_ioctl(&c, PERF_EVENT_IOC_ENABLE));
	rdt_started(&c, before);
	EXPECT_FALSE(has_private(self->p.pid));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_TRUE(rdt_counted(&c, 1));
	ASSERT_LT(0, puppet_call(&self->other, pkg_migrate, MOVES));
	EXPECT_TRUE(rdt_counted(&c, 1));
	rdt_close(&c);
	EXPECT_TRUE(rdt_has_task(RDT_GROUP, self->p.pid));
	EXPECT_EQ(0, access(RDT_GROUP, F_OK));
}

/* One that is moved out of it is not counted any more, and read(2) says so */
TEST_F(rdt_task, moved_out_of_admins_group)
{
	struct rdt_count c = { 0 };

	ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
	ASSERT_EQ(0, rdt_add(&c, rdt_task_attr(RDT_TOTAL), self->p.pid, -1));
	EXPECT_EQ(0, rdt_read_error(c.fd[0]));
	ASSERT_EQ(0, rdt_add_task(RDT_FS, self->p.pid));
	EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[0]));
	ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
	EXPECT_EQ(0, rdt_read_error(c.fd[0]));
	rdt_close(&c);
}

/* Made in the task's control group, whose totals contain it, also afterwards */
static void check_control(struct __test_metadata *_metadata, struct puppet *p,
			  const char *control)
{
	__u64 before[2], after[2], first, val;
	char path[PATH_MAX];
	struct rdt_count c, both;

	ASSERT_EQ(0, open_task(&c, rdt_task_attr(RDT_TOTAL), control, p->pid, path));
	EXPECT_TRUE(rdt_has_task(path, p->pid));
	both = c;
	both.rmids |= 1ULL << rdt_rmid(control);
	before[0] = rdt_truth_of(&both);
	ASSERT_EQ(0, rdt_mon_sum(control, RDT_TOTAL, &first));
	before[1] = rdt_truth_of(&both);
	ASSERT_LT(0, puppet_call(p, pkg_migrate, MOVES));
	after[0] = rdt_truth_of(&both);
	ASSERT_EQ(0, rdt_mon_sum(control, RDT_TOTAL, &val));
	after[1] = rdt_truth_of(&both);
	EXPECT_TRUE(rdt_mon_fits(control, RDT_TOTAL, 2, val - first, after[0] - before[1],
				 after[1] - before[0]));
	EXPECT_TRUE(rdt_counted(&c, 1));
	rdt_close(&c);
	EXPECT_EQ(0, find_private(control, p->pid, path));

	/* They keep it */
	after[0] = rdt_truth_of(&both);
	ASSERT_EQ(0, rdt_mon_sum(control, RDT_TOTAL, &val));
	after[1] = rdt_truth_of(&both);
	EXPECT_TRUE(rdt_mon_fits(control, RDT_TOTAL, 2, val - first, after[0] - before[1],
				 after[1] - before[0]));
}

TEST_F_TIMEOUT(rdt_task, in_root, 120)
{
	if (rdt.lossy)
		SKIP(return, "what groups have counted is not known while they sleep");
	check_control(_metadata, &self->p, RDT_FS);
}

TEST_F_TIMEOUT(rdt_task, in_control_group, 120)
{
	if (rdt.lossy)
		SKIP(return, "what groups have counted is not known while they sleep");
	if (mkdir(CONTROL, 0755))
		SKIP(return, "no allocation, or no class of service left");
	ASSERT_EQ(0, rdt_add_task(CONTROL, self->p.pid));
	check_control(_metadata, &self->p, CONTROL);
	EXPECT_TRUE(rdt_has_task(CONTROL, self->p.pid));
}

/* The class of a pseudo-locked region is free: another control group may have it */
TEST_F(rdt_task, class_of_pseudo_locked)
{
	char path[PATH_MAX], masks[64] = "L3:";
	struct rdt_count c;
	int d;

	for (d = 0; d < topo.nr; d++)
		sprintf(masks + strlen(masks), "%s%d=7fe", d ? ";" : "", topo.pkg[d].id);
	strcat(masks, "\n");
	ASSERT_EQ(0, mkdir(CONTROL, 0755));
	if (pkg_set_str(RDT_FS, "schemata", masks) ||
	    pkg_set_str(CONTROL, "/mode", "pseudo-locksetup\n") ||
	    pkg_set_str(CONTROL, "/schemata", "L3:0=1\n"))
		SKIP(return, "no pseudo-locked groups");
	ASSERT_EQ(0, mkdir(OTHER_CONTROL, 0755));
	ASSERT_EQ(0, rdt_add_task(OTHER_CONTROL, self->p.pid));
	EXPECT_EQ(0, open_task(&c, rdt_task_attr(RDT_TOTAL), OTHER_CONTROL, self->p.pid, path));
	rdt_close(&c);
}

/* A private group does not keep the control group, which its tasks have left, from a lock. */
TEST_F_TIMEOUT(rdt_task, control_group_left, 120)
{
	struct rdt_count c;
	char path[PATH_MAX];
	__u64 val;

	if (mkdir(CONTROL, 0755))
		SKIP(return, "no allocation, or no class of service left");
	if (pkg_set_str(CONTROL, "/mode", "pseudo-locksetup\n") ||
	    pkg_set_str(CONTROL, "/mode", "shareable\n"))
		SKIP(return, "no pseudo-locked groups");
	ASSERT_EQ(0, rdt_add_task(CONTROL, self->p.pid));
	ASSERT_EQ(0, open_task(&c, rdt_task_attr(RDT_TOTAL), CONTROL, self->p.pid, path));
	/* There is a task in it: this fails, and harms nobody. */
	EXPECT_NE(0, pkg_set_str(CONTROL, "/mode", "pseudo-locksetup\n"));
	EXPECT_EQ(0, rdt_read(&c, &val));
	ASSERT_EQ(0, rdt_add_task(RDT_FS, self->p.pid));
	EXPECT_EQ(0, access(path, F_OK));
	EXPECT_EQ(0, pkg_set_str(CONTROL, "/mode", "pseudo-locksetup\n"));
	EXPECT_EQ(-ENODEV, rdt_read(&c, &val));
	rdt_close(&c);
}

/* While a group has CPUs, a private group cannot come to where it would take tasks from that */
TEST_F(rdt_task, renamed_into_root)
{
	char path[PATH_MAX], to[PATH_MAX];
	struct rdt_count c;

	if (mkdir(CONTROL, 0755))
		SKIP(return, "no allocation, or no class of service left");
	ASSERT_EQ(0, rdt_add_task(CONTROL, self->p.pid));
	ASSERT_EQ(0, open_task(&c, rdt_task_attr(RDT_TOTAL), CONTROL, self->p.pid, path));
	snprintf(to, sizeof(to), RDT_GROUPS "%s", strrchr(path, '/') + 1);
	ASSERT_EQ(0, pkg_set(RDT_GROUP, "/cpus_list", rdt_cpu(1)));
	EXPECT_EQ(-1, rename(path, to));
	EXPECT_EQ(EPERM, errno);
	ASSERT_EQ(0, pkg_set_str(RDT_GROUP, "/cpus_list", "\n"));
	EXPECT_EQ(0, rename(path, to));
	EXPECT_TRUE(rdt_has_task(to, self->p.pid));
	rdt_close(&c);
	EXPECT_EQ(-1, access(to, F_OK));
}

/* The administrator removes the private group */
TEST_F_TIMEOUT(rdt_task, removed, 120)
{
	struct perf_event_attr attr = pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK);
	struct rdt_count c, level, again;
	char path[PATH_MAX];
	__u64 val[2], last[2];
	int leader;

	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
	ASSERT_EQ(0, open_private(&level, RDT_OCCUPANCY, self->p.pid, path));
	attr.read_format = PERF_FORMAT_GROUP;
	attr.inherit = 1;
	leader = PKG_OPEN(attr, self->p.pid, -1, -1);
	PKG_OPEN(rdt_task_attr(RDT_TOTAL), self->p.pid, -1, leader);
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_TRUE(rdt_counted(&c, 1));
	ASSERT_EQ(0, pkg_read(leader, val, 2));

	ASSERT_EQ(0, rmdir(path));
	EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[0]));
	EXPECT_EQ(-ENODEV, rdt_read_error(level.fd[0]));
	ASSERT_EQ(0, pkg_read(leader, last, 2));
	EXPECT_LE(val[1], last[1]);
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[0]));
	/* Others in a group are not to suffer: there, the last count stays */
	ASSERT_EQ(0, pkg_read(leader, val, 2));
	EXPECT_LT(last[0], val[0]);
	EXPECT_EQ(last[1], val[1]);

	/* Another one, which is not that of the old events */
	ASSERT_EQ(0, open_private(&again, RDT_TOTAL, self->p.pid, path));
	EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[0]));
	rdt_close(&c);
	rdt_close(&level);
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_TRUE(rdt_counted(&again, 1));
	rdt_close(&again);
	EXPECT_FALSE(has_private(self->p.pid));
}

/* A manager takes the task into a group of its own: that is an error, and no silent 0 */
TEST_F_TIMEOUT(rdt_task, moved_away, 120)
{
	struct rdt_count c;
	char path[PATH_MAX];

	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_TRUE(rdt_counted(&c, 1));
	ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[0]));
	rdt_close(&c);
	EXPECT_FALSE(has_private(self->p.pid));
	/* It stays where the administrator put it */
	EXPECT_TRUE(rdt_has_task(RDT_GROUP, self->p.pid));
}

TEST_F_TIMEOUT(rdt_task, unmounted, 120)
{
	struct perf_event_attr attr = rdt_task_attr(RDT_TOTAL);
	struct rdt_count c, again;
	char path[PATH_MAX];

	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_TRUE(rdt_counted(&c, 1));
	ASSERT_EQ(0, rdt_umount());
	EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[0]));
	EXPECT_EQ(-ENXIO, try_open(attr, self->p.pid, -1));
	EXPECT_EQ(-ENXIO, try_open(attr, 0, -1));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));

	ASSERT_EQ(0, rdt_mount());
	EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[0]));
	ASSERT_EQ(0, open_private(&again, RDT_TOTAL, self->p.pid, path));
	rdt_close(&c);
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
	EXPECT_TRUE(rdt_counted(&again, 1));
	rdt_close(&again);
	EXPECT_FALSE(has_private(self->p.pid));
}

/* The task is back in its parent, at once, also where it runs just then */
TEST_F_TIMEOUT(rdt_task, closed, 120)
{
	__u64 ran, root, private;
	struct rdt_count c;
	char path[PATH_MAX];
	int rmid;

	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
	rmid = rdt_rmid(path);
	ran = rdt_truth(RDT_TOTAL, 1, rmid);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
	ran = rdt_truth(RDT_TOTAL, 1, rmid) - ran;
	rdt_close(&c);
	EXPECT_EQ(-1, access(path, F_OK));
	/* Without allocation resctrl lists no tasks of the root */
	if (rdt_has_task(RDT_FS, getpid()))
		EXPECT_TRUE(rdt_has_task(RDT_FS, self->p.pid));
	private = rdt_truth(RDT_TOTAL, 1, rmid);
	root = rdt_truth(RDT_TOTAL, 1, 0);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
	EXPECT_EQ(private, rdt_truth(RDT_TOTAL, 1, rmid));
	EXPECT_LT(root + ran / 2, rdt_truth(RDT_TOTAL, 1, 0));

	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
	rmid = rdt_rmid(path);
	usleep(RDT_BURN_US);
	EXPECT_TRUE(rdt_right(&c));
	rdt_close(&c);
	private = rdt_truth(RDT_TOTAL, 1, rmid);
	usleep(RDT_BURN_US);
	EXPECT_EQ(private, rdt_truth(RDT_TOTAL, 1, rmid));
	pkg_stop(1);
	puppet_wait(&self->p);
	pkg_stop(0);
}

/* What a task moves while its events come and go is all in resctrl's files of the root */
TEST_F_TIMEOUT(rdt_task, closed_running, 120)
{
	__u64 before, after, val[2];
	struct rdt_count c, all = {
		.event		= RDT_TOTAL,
		.domains	= 1U << 1,
		.rmids		= all_rmids(),
	};
	char path[PATH_MAX];
	int i;

	if (rdt.lossy)
		SKIP(return, "what is not tracked is lost");
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	ASSERT_EQ(0, rdt_mon(RDT_FS, RDT_TOTAL, 1, &val[0]));
	before = rdt_truth_of(&all);
	for (i = 0; i < MOVES; i++) {
		ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
		rdt_close(&c);
	}
	after = rdt_truth_of(&all);
	ASSERT_EQ(0, rdt_mon(RDT_FS, RDT_TOTAL, 1, &val[1]));
	pkg_stop(1);
	puppet_wait(&self->p);
	pkg_stop(0);
	TH_LOG("%llu of %llu bytes", val[1] - val[0], after - before);
	/* Each group may have left less than a unit in its counter. */
	EXPECT_GE(val[1] - val[0] + (MOVES + 2) * rdt.scale, after - before);
}

/* By how many percent MBA throttles a CPU of the last L3 */
static int throttle(void)
{
	int closid = pkg_get(CONTROL, "/ctrl_hw_id"), fd;
	char path[64];
	__u64 val = ~0ULL;

	snprintf(path, sizeof(path), "/dev/cpu/%d/msr", rdt_cpu(1));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (pread64(fd, &val, sizeof(val), MSR_MBA + closid) != sizeof(val))
		val = -1;
	close(fd);
	return val;
}

/*
 * The software controller of resctrl sees it, too: once a second it compares what a control
 * group has moved with a limit, here below what a CPU moves and above half of that.
 */
TEST_F_TIMEOUT(rdt_task, mba_mbps, 120)
{
	char path[PATH_MAX], limit[32];
	struct rdt_count c;
	__u64 end;

	ASSERT_EQ(0, rdt_umount());
	if (rdt_mount_with("debug,mba_MBps")) {
		rdt_mount();
		SKIP(return, "no mba_MBps");
	}
	ASSERT_EQ(0, mkdir(CONTROL, 0755));
	snprintf(limit, sizeof(limit), "MB:%d=%d\n", topo.pkg[1].id, LIMIT_MBPS);
	ASSERT_EQ(0, pkg_set_str(CONTROL, "/schemata", limit));
	EXPECT_EQ(0, throttle());
	ASSERT_EQ(0, rdt_add_task(CONTROL, self->p.pid));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	for (end = pkg_now(CLOCK_MONOTONIC) + 4 * NSEC_PER_SEC; pkg_now(CLOCK_MONOTONIC) < end;) {
		ASSERT_EQ(0, open_task(&c, rdt_task_attr(RDT_TOTAL), CONTROL, self->p.pid, path));
		usleep(50000);
		rdt_close(&c);
	}
	pkg_stop(1);
	puppet_wait(&self->p);
	pkg_stop(0);
	TH_LOG("%d %% of the bandwidth are held back", throttle());
	EXPECT_LT(0, throttle());
}

/* Nor are they missing in the events of all groups */
TEST_F_TIMEOUT(rdt_task, counted_by_group, 120)
{
	int i, interval = pkg_get(RDT_PMU, fresh_knobs[FRESH_INTERVAL]);
	char path[PATH_MAX];
	struct rdt_count c, all;

	ASSERT_LT(2 * RDT_INTERVAL_US, interval);
	ASSERT_EQ(0, rdt_set(FRESH_INTERVAL, interval));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	ASSERT_EQ(0, rdt_open_all(&all, RDT_TOTAL, NULL, all_rmids()));
	for (i = 0; i < MOVES; i++) {
		ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
		usleep(interval / 2);
		rdt_close(&c);
	}
	EXPECT_TRUE(rdt_right(&all));
	rdt_close(&all);
	pkg_stop(1);
	puppet_wait(&self->p);
	pkg_stop(0);
}

/* A group that gets CPUs counts what tasks without a group do there, as pqos expects. */
TEST_F_TIMEOUT(rdt_task, cpus_of_group, 120)
{
	int before, rmid = rdt_rmid(RDT_GROUP);
	struct rdt_count c, all;
	char path[PATH_MAX];
	__u64 val;

	/* The other PMU has an interval of its own. */
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, rdt_open_all(&all, RDT_TOTAL, NULL, all_rmids()));
	usleep(10 * RDT_BURN_US);
	rdt_started(&all, all.begin[0]);
	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
	ASSERT_EQ(0, pkg_set(RDT_GROUP, "/cpus_list", rdt_cpu(1)));
	EXPECT_FALSE(has_private(self->p.pid));
	EXPECT_EQ(-ENODEV, rdt_read(&c, &val));
	before = rdt_truth_sum(RDT_TOTAL, rmid) / 1000;
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
	EXPECT_LE(before + RDT_BURN_US, rdt_truth_sum(RDT_TOTAL, rmid) / 1000);
	EXPECT_EQ(-ENXIO, try_open(rdt_task_attr(RDT_TOTAL), self->p.pid, -1));
	/* It may go there when it is counted. */
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(0)));
	EXPECT_EQ(-ENXIO, try_open(rdt_task_attr(RDT_TOTAL), self->p.pid, -1));
	usleep(10 * RDT_BURN_US);
	rdt_settle(&all);
	val = rdt_value(&all);
	EXPECT_LE(rdt_truth_of(&all) - all.begin[1], val + 1000 * 1000);
	EXPECT_LE(val, rdt_truth_of(&all) - all.begin[0] + 1000 * 1000);
	rdt_close(&all);
	rdt_close(&c);
}

/*
 * What it does first in an L3 counts, until the timer has read it for the last time. AMD
 * processors have no value of an RMID that does not run, and may say so once more.
 */
TEST_F_TIMEOUT(rdt_task, first_bytes, 120)
{
	const long interval = 40000, burn = 5 * interval / 2;
	struct rdt_count c;
	char path[PATH_MAX];
	__u64 val;
	int i, d;

	ASSERT_EQ(0, rdt_set(FRESH_INTERVAL, interval));
	for (i = 0; i < 4; i++) {
		ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
		for (d = 1; d <= topo.nr; d++) {
			usleep(interval / 4);
			val = rdt_value(&c);
			ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(d % topo.nr)));
			ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, burn));
			usleep(2 * interval);
			/* Bytes per us: 1000 */
			EXPECT_LE((burn - interval - interval / 20) * 1000LL,
				  (long long)(rdt_value(&c) - val));
		}
		rdt_close(&c);
	}
}

/* What moves before an Intel processor has the first value of an RMID counts as well. */
TEST_F_TIMEOUT(rdt_task, no_value_yet, 120)
{
	struct rdt_count c;
	char path[PATH_MAX];
	int rmid;

	if (rdt.amd)
		SKIP(return, "an AMD processor has none of what does not run");
	if (!fresh_can_go(topo.pkg[1].cpu[0]))
		SKIP(return, "CPUs cannot go offline");
	/* As if no RMID had ever run in this L3 */
	ASSERT_EQ(0, rdt_set_online(1, 0, 0));
	for (rmid = 0; rmid < rdt.nr_rmids; rmid++)
		ASSERT_EQ(0, rdt_set_counter(RDT_TOTAL, 1, rmid, 0));
	ASSERT_EQ(0, rdt_fault(1, RDT_UNAVAILABLE));
	ASSERT_EQ(0, rdt_set_online(1, 0, 1));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
	ASSERT_EQ(0, rdt_fault(1, 0));
	usleep(2 * RDT_AGE_US);
	EXPECT_TRUE(rdt_counted(&c, 1));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
	EXPECT_TRUE(rdt_counted(&c, 1));
	rdt_close(&c);
}

/* An event that is closed interrupts the CPU where its task runs, and others afterwards not. */
TEST_F_TIMEOUT(rdt_task, closed_elsewhere, 120)
{
	int i, cpu = rdt_cpu(1), rounds = rdt.nr_rmids / 4;
	bool of_cpu[PKG_MAX_CPUS] = {};
	long long before;

	of_cpu[cpu] = true;
	rdt_end_limbo();
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, cpu));
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	ASSERT_EQ(0, try_open(rdt_task_attr(RDT_TOTAL), self->p.pid, -1));
	pkg_stop(1);
	puppet_wait(&self->p);
	pkg_stop(0);

	ASSERT_EQ(0, puppet_call(&self->other, pkg_pin, rdt_cpu(0)));
	ASSERT_EQ(0, puppet_start(&self->other, pkg_spin, 0));
	before = fresh_irqs_of("CAL", of_cpu);
	ASSERT_LE(0, before);
	for (i = 0; i < rounds; i++)
		ASSERT_EQ(0, try_open(rdt_task_attr(RDT_TOTAL), self->other.pid, -1));
	EXPECT_GT(before + rounds / 2, fresh_irqs_of("CAL", of_cpu));
	pkg_stop(1);
	puppet_wait(&self->other);
	pkg_stop(0);
}

/* An event of some L3s reports these, whatever other events the task has */
TEST_F_TIMEOUT(rdt_task, domains, 120)
{
	struct perf_event_attr attr = rdt_task_attr(RDT_TOTAL);
	struct rdt_count c[3];
	char path[PATH_MAX];
	int i;

	attr.disabled = 1;
	for (i = 0; i < 3; i++) {
		attr.config1 = i < 2 ? 1ULL << topo.pkg[i].id : 0;
		ASSERT_EQ(0, open_task(&c[i], attr, RDT_FS, self->p.pid, path));
		if (i < 2)
			c[i].domains = 1U << i;
		EXPECT_EQ(0, rdt_enable(&c[i]));
	}
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	for (i = 0; i < 3; i++)
		EXPECT_TRUE(rdt_counted(&c[i], 1));
	for (i = 0; i < 3; i++)
		rdt_close(&c[i]);
	EXPECT_FALSE(has_private(self->p.pid));
}

/* Events that come and go leave RMIDs in limbo: not more than perf may have */
TEST_F_TIMEOUT(rdt_task, short_events, 120)
{
	int i, opened = 0, share = rdt.nr_rmids / 2;

	rdt_end_limbo();
	for (i = 0; i < rdt.nr_rmids; i++)
		opened += !try_open(rdt_task_attr(RDT_TOTAL), self->p.pid, -1);
	TH_LOG("%d of %d", opened, rdt.nr_rmids);
	EXPECT_LT(0, opened);
	EXPECT_GE(share, opened);
	EXPECT_EQ(0, mkdir(RDT_GROUPS "take-1", 0755));
}

/* perf takes half of the RMIDs at most, and says nothing where the administrator looks */
TEST_F_TIMEOUT(rdt_task, share_of_rmids, 120)
{
	char path[PATH_MAX], status[256] = "";
	struct puppet crowd[RDT_MAX_RMIDS];
	struct rdt_count c = { 0 }, again;
	int i, err = 0, share = rdt.nr_rmids / 2;

	if (share > PKG_MAX_CPUS)
		SKIP(return, "too many RMIDs");
	for (i = 0; i <= share; i++)
		ASSERT_EQ(0, puppet_new(&crowd[i]));
	rdt_end_limbo();
	for (i = 0; i < share && !err; i++)
		err = rdt_add(&c, rdt_task_attr(RDT_TOTAL), crowd[i].pid, -1);
	ASSERT_EQ(0, err);
	EXPECT_EQ(-ENXIO, try_open(rdt_task_attr(RDT_TOTAL), crowd[share].pid, -1));
	EXPECT_FALSE(has_private(crowd[share].pid));
	EXPECT_TRUE(fresh_get_line(RDT_FS "info/", "last_cmd_status", status, sizeof(status)));
	EXPECT_STREQ("ok", status);
	EXPECT_EQ(0, mkdir(RDT_GROUPS "take-1", 0755));

	/* One more for one less */
	close(c.fd[--c.nr]);
	EXPECT_EQ(0, open_private(&again, RDT_TOTAL, crowd[share].pid, path));
	rdt_close(&again);
	/* Groups that umount has removed have no RMID */
	ASSERT_EQ(0, rdt_umount());
	ASSERT_EQ(0, rdt_mount());
	EXPECT_EQ(0, open_private(&again, RDT_TOTAL, crowd[share].pid, path));
	rdt_close(&again);
	rdt_close(&c);
	for (i = 0; i <= share; i++)
		puppet_end(&crowd[i]);
}

/* However many the administrator has, perf leaves some of the rest. */
TEST_F_TIMEOUT(rdt_task, last_rmids, 120)
{
	struct puppet crowd[RDT_MAX_RMIDS];
	struct rdt_count c = { 0 };
	char path[PATH_MAX];
	int i, most = rdt.nr_rmids / 4, err = 0;

	for (i = 0; i < most; i++)
		ASSERT_EQ(0, puppet_new(&crowd[i]));
	rdt_end_limbo();
	for (i = 0; i < rdt.nr_rmids - 2 - most; i++) {
		snprintf(path, sizeof(path), RDT_GROUPS "take-%d", i);
		ASSERT_EQ(0, mkdir(path, 0755));
	}
	for (i = 0; i < most && !err; i++)
		err = rdt_add(&c, rdt_task_attr(RDT_TOTAL), crowd[i].pid, -1);
	EXPECT_EQ(-ENXIO, err);
	EXPECT_LT(0, c.nr);
	EXPECT_EQ(0, mkdir(RDT_GROUPS "last-1", 0755));
	EXPECT_EQ(0, mkdir(RDT_GROUPS "last-2", 0755));
	rdt_close(&c);
	for (i = 0; i < most; i++)
		puppet_end(&crowd[i]);
}

/* What is refused takes none. */
TEST_F_TIMEOUT(rdt_task, refused_take_none, 120)
{
	struct perf_event_attr attr = rdt_task_attr(RDT_TOTAL);
	int i;

	rdt_end_limbo();
	attr.config1 = 1ULL << 63;
	for (i = 0; i < rdt.nr_rmids; i++)
		ASSERT_EQ(-EINVAL, try_open(attr, self->p.pid, -1));
	attr.config1 = 0;
	EXPECT_EQ(0, try_open(attr, self->p.pid, -1));
}

/* The administrator has taken all of them */
TEST_F_TIMEOUT(rdt_task, no_rmids, 120)
{
	char path[PATH_MAX], status[256] = "";
	int i;

	for (i = 0; i <= rdt.nr_rmids; i++) {
		snprintf(path, sizeof(path), RDT_GROUPS "take-%d", i);
		if (mkdir(path, 0755))
			break;
	}
	ASSERT_TRUE(errno == ENOSPC || errno == EBUSY);
	ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->other.pid));
	EXPECT_EQ(-ENXIO, try_open(rdt_task_attr(RDT_TOTAL), self->p.pid, -1));
	EXPECT_FALSE(has_private(self->p.pid));
	EXPECT_TRUE(fresh_get_line(RDT_FS "info/", "last_cmd_status", status, sizeof(status)));
	EXPECT_STREQ("ok", status);
	/* Those that need none */
	EXPECT_EQ(0, try_open(rdt_attr(RDT_TOTAL, 0), -1, 0));
}

/* Becomes another user, with this capability (-1: none). In a child, as there is no way back. */
static int give_up(int cap)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {};

	if (prctl(PR_SET_KEEPCAPS, 1) || setgroups(0, NULL) ||
	    setresgid(NOBODY, NOBODY, NOBODY) || setresuid(NOBODY, NOBODY, NOBODY))
		return -1;
	if (cap < 0)
		return 0;
	data[CAP_TO_INDEX(cap)].effective = CAP_TO_MASK(cap);
	data[CAP_TO_INDEX(cap)].permitted = CAP_TO_MASK(cap);
	return syscall(__NR_capset, &head, data);
}

/* 0: the group of its event is root's */
static int open_as_nobody(int cap)
{
	struct stat dir, cpus;
	char path[PATH_MAX], file[PATH_MAX + 8];
	int fd;

	if (give_up(cap))
		return -255;
	fd = pkg_open(rdt_task_attr(RDT_TOTAL), 0, -1, -1);
	if (fd < 0)
		return fd;
	if (find_private(RDT_FS, getpid(), path) != 1)
		return -254;
	snprintf(file, sizeof(file), "%s/cpus", path);
	if (stat(path, &dir) || stat(file, &cpus))
		return -253;
	return dir.st_uid || cpus.st_uid ? -252 : 0;
}

static int open_unprivileged(int paranoid, int cap)
{
	int status = -1;
	pid_t child;

	if (pkg_set(SYSCTL, PARANOID, paranoid))
		return -1;
	child = fork();
	if (!child)
		_exit(-open_as_nobody(cap));
	waitpid(child, &status, 0);
	if (!wait_gone(child))
		return -1;
	return WIFEXITED(status) ? -WEXITSTATUS(status) : -1;
}

TEST_F(rdt_task, unprivileged)
{
	if (self->paranoid < -1)
		SKIP(return, "no perf_event_paranoid");
	EXPECT_EQ(-EACCES, open_unprivileged(2, -1));
	EXPECT_EQ(-EACCES, open_unprivileged(0, -1));
	EXPECT_EQ(0, open_unprivileged(2, CAP_PERFMON));
}

/* The number at the end of a private group's name */
static int private_number(const char *path)
{
	return atoi(strrchr(path, '-') + 1);
}

/* perf tries exclude_guest first: that must not take an RMID */
TEST_F(rdt_task, refused_early)
{
	struct perf_event_attr attr = rdt_task_attr(RDT_TOTAL);
	char path[2][PATH_MAX];
	struct rdt_count c;

	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path[0]));
	rdt_close(&c);
	attr.exclude_guest = 1;
	EXPECT_EQ(-EINVAL, try_open(attr, self->p.pid, -1));
	ASSERT_EQ(0, open_private(&c, RDT_TOTAL, self->p.pid, path[1]));
	rdt_close(&c);
	EXPECT_EQ(private_number(path[0]) + 1, private_number(path[1]));
}

/* What a task has in the caches, until others evict it */
TEST_F_TIMEOUT(rdt_task, occupancy, 120)
{
	struct rdt_count c;
	char path[PATH_MAX];
	__u64 val;
	int i;

	if (rdt.lossy)
		SKIP(return, "no value while the task sleeps");
	ASSERT_EQ(0, open_private(&c, RDT_OCCUPANCY, self->p.pid, path));
	EXPECT_TRUE(rdt_right(&c));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_LT(0, rdt_value(&c));
	EXPECT_TRUE(rdt_right(&c));
	/* Another one brings in as much, several times. */
	val = rdt_value(&c);
	for (i = 0; i < 4; i++)
		ASSERT_EQ(0, rdt_burn_everywhere(&self->other));
	EXPECT_GT(val, rdt_value(&c));
	EXPECT_TRUE(rdt_right(&c));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_right(&c));
	rdt_close(&c);
}

/* A child that works, and becomes another program that works, each when it is told */
struct shell {
	pid_t	pid;
	int	go[2];
	int	done[2];
};

static void shell_main(struct shell *sh)
{
	char c = 0;

	if (read(sh->go[0], &c, 1) == 1 && !pkg_burn(RDT_BURN_US) &&
	    write(sh->done[1], &c, 1) == 1 && read(sh->go[0], &c, 1) == 1 &&
	    dup2(sh->go[0], 0) >= 0 && dup2(sh->done[1], 1) >= 0)
		execl("/bin/sh", "sh", "-c", "echo; read x; i=0;"
		      "while [ $i -lt 20000 ]; do i=$((i + 1)); done; echo", NULL);
	_exit(1);
}

static int shell_new(struct shell *sh)
{
	if (pipe2(sh->go, O_CLOEXEC) || pipe2(sh->done, O_CLOEXEC))
		return -errno;
	sh->pid = fork();
	if (sh->pid < 0)
		return -errno;
	if (!sh->pid)
		shell_main(sh);
	close(sh->go[0]);
	close(sh->done[1]);
	return 0;
}

static int shell_step(struct shell *sh)
{
	char c = '\n';

	if (write(sh->go[1], &c, 1) != 1 || read(sh->done[0], &c, 1) != 1)
		return -EIO;
	return 0;
}

/* As perf stat does it for a command */
TEST_F_TIMEOUT(rdt_task, exec, 120)
{
	struct perf_event_attr attr = rdt_task_attr(RDT_TOTAL);
	struct rdt_count c;
	char path[PATH_MAX];
	struct shell sh;
	__u64 before;
	int status;

	if (access("/bin/sh", X_OK))
		SKIP(return, "no /bin/sh");
	attr.disabled = 1;
	attr.enable_on_exec = 1;
	ASSERT_EQ(0, shell_new(&sh));
	ASSERT_EQ(0, open_task(&c, attr, RDT_FS, sh.pid, path));
	ASSERT_EQ(0, shell_step(&sh));
	EXPECT_EQ(0, rdt_value(&c));
	before = rdt_truth_of(&c);
	ASSERT_EQ(0, shell_step(&sh));
	rdt_started(&c, before);
	ASSERT_EQ(0, shell_step(&sh));
	ASSERT_EQ(sh.pid, waitpid(sh.pid, &status, 0));
	EXPECT_EQ(0, status);
	/* And what it has counted stays when it has gone */
	EXPECT_TRUE(rdt_counted(&c, 1));
	EXPECT_TRUE(has_private(sh.pid));
	rdt_close(&c);
	EXPECT_FALSE(has_private(sh.pid));
	close(sh.go[1]);
	close(sh.done[0]);
}

/* On another CPU: perf gives both the same events back if one switches to the other. */
static long exec_child(long unused)
{
	int status = -1;
	cpu_set_t all;
	pid_t pid;

	memset(&all, 0xff, sizeof(all));
	sched_setaffinity(0, sizeof(all), &all);
	pid = fork();

	if (!pid) {
		execl("/bin/sh", "sh", "-c", "i=0; while [ $i -lt 5000 ]; do i=$((i + 1)); done",
		      NULL);
		_exit(127);
	}
	if (pid < 0)
		return -1;
	while (!waitpid(pid, &status, WNOHANG))
		;
	return status + unused;
}

/* It is enabled by exec() of a child only, and counts that */
TEST_F_TIMEOUT(rdt_task, exec_of_child, 120)
{
	struct perf_event_attr attr = rdt_task_attr(RDT_TOTAL);
	struct rdt_count c;
	char path[PATH_MAX];

	if (access("/bin/sh", X_OK))
		SKIP(return, "no /bin/sh");
	attr.disabled = 1;
	attr.enable_on_exec = 1;
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, open_task(&c, attr, RDT_FS, self->p.pid, path));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
	usleep(2 * RDT_AGE_US);
	EXPECT_EQ(0, rdt_value(&c));
	ASSERT_EQ(0, puppet_call(&self->p, exec_child, 0));
	EXPECT_LT(2 * RDT_AGE_US * 1000ULL, rdt_value(&c));
	rdt_close(&c);
}

TEST_HARNESS_MAIN
