// SPDX-License-Identifier: GPL-2.0
/*
 * Allocations fail, one after the other: who asked is told, nothing is left
 * behind, and counting goes on as before.
 */
#define _GNU_SOURCE

#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <linux/magic.h>

#include "../kselftest_harness.h"
#include "pkg_fault.h"

#define CGROUP_ROOT	"/sys/fs/cgroup"

FIXTURE(pkg_fault)
{
	struct puppet p;
};

FIXTURE_SETUP(pkg_fault)
{
	const char *why = pkg_init(2) ?: faults_on();

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[0]));
	ASSERT_EQ(0, puppet_new(&self->p));
}

FIXTURE_TEARDOWN(pkg_fault)
{
	faults_off();
	puppet_end(&self->p);
}

/* Events of the puppet count what the core counts */
static bool counts_right(struct puppet *p)
{
	int fd = pkg_open(pkg_attr(PKG_RUNTIME, PKG_ALL), p->pid, -1, -1);
	int ref = pkg_open(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), p->pid, -1, -1);
	bool right = fd >= 0 && ref >= 0 &&
		     PKG_RETRY(puppet_agree(p, fd, ref, pkg_migrate, 20, 50));

	if (fd < 0 || ref < 0)
		ksft_print_msg("cannot open it: %d, task-clock: %d\n", fd, ref);
	close(fd);
	close(ref);
	return right;
}

/* What is closed may take its time to be gone */
static int unload_module(void)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;

	while (syscall(__NR_delete_module, "pkg_clock", O_NONBLOCK)) {
		if (errno != EWOULDBLOCK || pkg_now(CLOCK_MONOTONIC) > end)
			return -errno;
		usleep(1000);
	}
	return 0;
}

/* Counts are right, no event has stayed behind, and so it is with the module loaded anew */
static bool all_is_well(struct puppet *p)
{
	if (!counts_right(p))
		return false;
	if (unload_module()) {
		ksft_print_msg("the module is still in use\n");
		return false;
	}
	pkg_load_module("pkg_clock");
	return counts_right(p);
}

/* perf_event_open() */

struct open_arg {
	struct perf_event_attr	attr;
	pid_t			pid;
	int			cpu;
	int			group;
	unsigned long		flags;
};

static long run_open(const void *arg)
{
	const struct open_arg *a = arg;
	int fd = syscall(__NR_perf_event_open, &a->attr, a->pid, a->cpu, a->group,
			 a->flags | PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static bool undo_open(const void *arg, long ret)
{
	return ret < 0 || !close(ret);
}

static const struct way {
	const char	*name;
	bool		on_cpu;
	bool		inherit;
	bool		one_package;
	bool		in_group;
	bool		cgroup;
} ways[] = {
	{ "task" },
	{ "CPU",	.on_cpu = true },
	{ "inherit",	.inherit = true },
	{ "domains",	.one_package = true },
	{ "group",	.in_group = true },
	{ "cgroup",	.on_cpu = true, .cgroup = true },
};

/* Returns whether the event can be opened this way, or -1 if something was not right */
static int inject_open(struct puppet *p, struct perf_event_attr attr, const struct way *way,
		       int cgroup)
{
	int leader = pkg_open(pkg_attr(PKG_RUNTIME, PKG_ALL), p->pid, -1, -1), fd;
	struct open_arg a = {
		.attr	= attr,
		.pid	= way->cgroup ? cgroup : way->on_cpu ? -1 : p->pid,
		.cpu	= way->on_cpu ? topo.pkg[1].cpu[0] : -1,
		.group	= way->in_group ? leader : -1,
		.flags	= way->cgroup ? PERF_FLAG_PID_CGROUP : 0,
	};
	char name[64];
	struct op op = { name, run_open, undo_open };
	long faults;

	a.attr.inherit = way->inherit;
	a.attr.config1 = way->one_package ? 1ULL << topo.pkg[1].id : 0;
	snprintf(name, sizeof(name), "open config=%#llx, %s", a.attr.config, way->name);
	fd = run_open(&a);
	undo_open(&a, fd);
	faults = inject(&op, &a);
	close(leader);
	return faults < (fd >= 0) ? -1 : fd >= 0;
}

TEST_F_TIMEOUT(pkg_fault, open, 600)
{
	static const int events[] = { PKG_RUNTIME, PKG_CLOCK, PKG_AGE };
	int policy, ret, opened, cgroup = -1;
	struct perf_event_attr attr;
	const struct way *way;
	struct statfs fs;
	unsigned int e;

	if (!statfs(CGROUP_ROOT, &fs) && fs.f_type == CGROUP2_SUPER_MAGIC)
		cgroup = open(CGROUP_ROOT, O_RDONLY | O_CLOEXEC);

	/* The last one is of the PMU that counts packages */
	for (policy = PKG_POLICY_SLOTS; policy <= PKG_POLICY_SYS + 1; policy++) {
		opened = 0;
		for (e = 0; e < ARRAY_SIZE(events); e++) {
			for (way = ways; way < ways + ARRAY_SIZE(ways); way++) {
				if (way->cgroup && cgroup < 0)
					continue;
				attr = pkg_attr(events[e] | PKG_POLICY(policy), PKG_ALL);
				if (policy > PKG_POLICY_SYS)
					attr = pkg_domain_attr(events[e]);
				ret = inject_open(&self->p, attr, way, cgroup);
				EXPECT_LE(0, ret);
				opened += ret > 0;
			}
		}
		EXPECT_LE(policy == PKG_POLICY_SLOTS ? 10 : 2, opened);
		EXPECT_TRUE(all_is_well(&self->p));
	}
	close(cgroup);
}

/* read(2) and mmap() */

static long run_read(const void *arg)
{
	__u64 val[3];

	return pkg_read(*(const int *)arg, val, 2) ? -errno : 0;
}

/* Not what run_mmap() returns: with 32 bits, an address may look like an error */
static void *mapped;

static long run_mmap(const void *arg)
{
	mapped = mmap(NULL, 2 * getpagesize(), PROT_READ | PROT_WRITE, MAP_SHARED,
		      *(const int *)arg, 0);

	return mapped == MAP_FAILED ? -errno : 0;
}

static bool undo_mmap(const void *arg, long ret)
{
	return ret || !munmap(mapped, 2 * getpagesize());
}

TEST_F_TIMEOUT(pkg_fault, read_and_mmap, 300)
{
	static const struct op read_op = { "read", run_read };
	static const struct op mmap_op = { "mmap", run_mmap, undo_mmap };
	int policy, group;

	for (policy = PKG_POLICY_SLOTS; policy <= PKG_POLICY_IPI; policy++) {
		struct perf_event_attr attr = pkg_attr(PKG_RUNTIME | PKG_POLICY(policy), PKG_ALL);
		int member;

		attr.read_format = PERF_FORMAT_GROUP;
		group = PKG_OPEN(attr, self->p.pid, -1, -1);
		member = PKG_OPEN(attr, self->p.pid, -1, group);
		EXPECT_LT(0, inject(&read_op, &group));
		EXPECT_LT(0, inject(&mmap_op, &group));
		close(member);
		close(group);
	}
	EXPECT_TRUE(all_is_well(&self->p));
}

/* sysfs */

struct knob {
	const char	*dir;
	const char	*name;
	const char	*val;
	char		old[32];
};

static long run_knob(const void *arg)
{
	const struct knob *k = arg;

	return pkg_set_str(k->dir, k->name, k->val);
}

/* Is as it was if the write failed */
static bool undo_knob(const void *arg, long ret)
{
	const struct knob *k = arg;
	char now[32];

	if (!fresh_get_line(k->dir, k->name, now, sizeof(now)))
		return false;
	if (ret)
		return !strcmp(now, k->old);
	return atoll(now) == atoll(k->val) && !pkg_set_str(k->dir, k->name, k->old);
}

TEST_F_TIMEOUT(pkg_fault, knobs, 300)
{
	struct knob knobs[] = {
		{ PKG_PMU, "refresh_interval_us", "2000" },
		{ PKG_PMU, "max_age_us", "5000" },
		{ PKG_PARAM, "fault_package", "1" },
	}, *k;

	for (k = knobs; k < knobs + ARRAY_SIZE(knobs); k++) {
		struct op op = { k->name, run_knob, undo_knob };

		if (!fresh_get_line(k->dir, k->name, k->old, sizeof(k->old)))
			ksft_print_msg("%s: this kernel has none\n", k->name);
		else
			EXPECT_LT(0, inject(&op, k));
	}
	EXPECT_TRUE(all_is_well(&self->p));
}

/* fork() */

static long run_fork(const void *arg)
{
	pid_t pid = fork();

	if (!pid)
		_exit(pkg_burn(1000));
	return pid < 0 ? -errno : pid;
}

static bool undo_fork(const void *arg, long ret)
{
	return ret < 0 || waitpid(ret, NULL, 0) == ret;
}

static long inject_fork(long unused)
{
	static const struct op op = { "fork", run_fork, undo_fork };

	return inject(&op, NULL);
}

static int open_inherited(struct perf_event_attr attr, pid_t pid, int group)
{
	attr.inherit = 1;
	return pkg_open(attr, pid, -1, group);
}

TEST_F_TIMEOUT(pkg_fault, fork, 600)
{
	pid_t pid = self->p.pid;
	__u64 val, sum = 0, ref, switches;
	int fd[PKG_MAX + 5], nr = 0, i;

	fd[nr++] = open_inherited(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), pid, -1);
	fd[nr++] = open_inherited(pkg_sw_attr(PERF_COUNT_SW_CONTEXT_SWITCHES), pid, -1);
	fd[nr++] = open_inherited(pkg_attr(PKG_RUNTIME, PKG_ALL), pid, -1);
	for (i = 0; i < topo.nr; i++)
		fd[nr++] = open_inherited(pkg_attr(PKG_RUNTIME, topo.pkg[i].id), pid, -1);
	fd[nr++] = open_inherited(pkg_attr(PKG_CLOCK, PKG_ALL), pid, -1);
	fd[nr] = open_inherited(pkg_attr(PKG_AGE, PKG_ALL), pid, fd[nr - 1]);
	nr++;
	for (i = 0; i < nr; i++)
		ASSERT_LE(0, fd[i]);

	EXPECT_LT(0, puppet_call(&self->p, inject_fork, 0));
	ref = pkg_count(fd[0]);
	switches = pkg_count(fd[1]);
	val = pkg_count(fd[2]);
	for (i = 0; i < topo.nr; i++)
		sum += pkg_count(fd[3 + i]);
	EXPECT_TRUE(pkg_near(val, ref, switches))
		TH_LOG("%llu ns, task-clock %llu ns, %llu switches", val, ref, switches);
	EXPECT_TRUE(pkg_near(sum, ref, switches));
	EXPECT_TRUE(PKG_RETRY(puppet_agree(&self->p, fd[2], fd[0], pkg_migrate, 20, 50)));
	for (i = 0; i < nr; i++)
		close(fd[i]);
	EXPECT_TRUE(all_is_well(&self->p));
}

/* Loading the module */

static void *image;
static size_t image_size;

/* Not finit_module(), for which the kernel complains aloud if there is no memory */
static long run_load(const void *arg)
{
	return syscall(__NR_init_module, image, image_size, "") ? -errno : 0;
}

static bool undo_load(const void *arg, long ret)
{
	if (ret)
		return access(PKG_PMU, F_OK) && access(PKG_PARAM, F_OK);
	return !access(PKG_PMU "type", F_OK) && !unload_module();
}

static const char *read_module(void)
{
	char exe[PATH_MAX] = "", path[PATH_MAX + 64];
	struct stat st;
	int fd;

	if (readlink("/proc/self/exe", exe, sizeof(exe) - 1) < 0)
		return "no /proc";
	snprintf(path, sizeof(path), "%s/test_modules/pkg_clock.ko", dirname(exe));
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return "pkg_clock.ko is not beside the test";
	image_size = st.st_size;
	image = mmap(NULL, image_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
	close(fd);
	return image == MAP_FAILED ? "pkg_clock.ko cannot be read" : NULL;
}

TEST_F_TIMEOUT(pkg_fault, load, 600)
{
	static const struct op op = { "init_module", run_load, undo_load };
	const char *why = read_module();

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, unload_module());
	EXPECT_LT(0, inject(&op, NULL));
	pkg_load_module("pkg_clock");
	EXPECT_TRUE(all_is_well(&self->p));
}

/* exec(), last as the file system may remember that it had no memory */

static long exec_with_fault(long n)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	/* To stop as soon as exec is done */
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	fail_nth(fd, n);
	execl("/proc/self/exe", "burn", "1000", NULL);
	_exit(errno);
}

/* A fault in exec(): returns what is left of n, or -1 */
static int check_exec(struct __test_metadata *_metadata, int n, int *failed)
{
	struct perf_event_attr attr[2] = {
		pkg_attr(PKG_RUNTIME, PKG_ALL), pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK),
	};
	int fd[2], i, left, nth;
	bool failed_here = false;
	struct puppet p;
	__u64 val, ref;
	siginfo_t info;
	char path[64];

	ASSERT_EQ(0, puppet_new(&p));
	for (i = 0; i < 2; i++) {
		attr[i].disabled = 1;
		attr[i].enable_on_exec = 1;
		fd[i] = PKG_OPEN(attr[i], p.pid, -1, -1);
	}
	ASSERT_EQ(0, puppet_start(&p, exec_with_fault, n));
	ASSERT_EQ(0, waitid(P_PID, p.pid, &info, WEXITED | WSTOPPED | WNOWAIT));
	snprintf(path, sizeof(path), "/proc/%d/fail-nth", p.pid);
	nth = open(path, O_RDWR | O_CLOEXEC);
	left = fail_nth_left(nth);
	if (info.si_code == CLD_TRAPPED) {
		fail_nth(nth, 0);
		waitpid(p.pid, NULL, __WALL);
		ptrace(PTRACE_DETACH, p.pid, NULL, NULL);
		waitid(P_PID, p.pid, &info, WEXITED | WNOWAIT);
	} else if (info.si_code == CLD_EXITED) {
		failed_here = true;
	}
	close(nth);
	puppet_end(&p);

	val = pkg_count(fd[0]);
	ref = pkg_count(fd[1]);
	EXPECT_TRUE(pkg_near(val, ref, 20))
		TH_LOG("fault %d: %llu ns, task-clock %llu ns", n, val, ref);
	if (failed_here) {
		EXPECT_EQ(0, val);
		(*failed)++;
	} else if (info.si_code == CLD_EXITED) {
		EXPECT_EQ(0, info.si_status);
		EXPECT_LE(NSEC_PER_MSEC - PKG_SWITCH_NS, val);
	}
	close(fd[0]);
	close(fd[1]);
	return left;
}

TEST_F_TIMEOUT(pkg_fault, exec, 600)
{
	int n, left = 0, failed = 0;

	for (n = 1; n < MAX_FAULTS && !left; n++)
		left = check_exec(_metadata, n, &failed);
	TH_LOG("%d faults, exec returned %d times", n - 2, failed);
	EXPECT_LT(0, left);
	EXPECT_LT(0, failed);
	EXPECT_TRUE(all_is_well(&self->p));
}

int main(int argc, char *argv[])
{
	if (!strcmp(argv[0], "burn") && argc > 1)
		return pkg_burn(atol(argv[1]));
	return test_harness_run(argc, argv);
}
