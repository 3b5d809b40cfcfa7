// SPDX-License-Identifier: GPL-2.0
/*
 * Faults of resctrl itself, which need no perf event: RMIDs that are freed while somebody
 * runs with them, that are never freed, domains that go, bandwidth that steps back. The
 * emulator reports what really runs with an RMID. It needs no PMU, so it shows the faults
 * on the kernel without the series as well.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_rdt.h"

/* In which the fork of a task that has so much memory can be overtaken */
#define FORK_ROUNDS	40
#define FORK_BYTES	(64UL << 20)

/* resctrl's worker looks at freed RMIDs about a second later */
#define LIMBO_US	1000000
#define LIMBO_EARLY_US	20000
#define LIMBO_STEP_US	4000
#define LIMBO_ROUNDS	20

#define TRACE		"/sys/kernel/tracing/instances/pkg_resctrl/"

FIXTURE(resctrl)
{
	struct puppet p;
};

static const char *resctrl_init(void)
{
	if (geteuid())
		return "needs root";
	if (msr_open(0))
		return "no /dev/cpu/0/msr";
	if (!msr_is_emulator())
		return "no emulator that reports true bandwidths";
	rdt_find_domains();
	if (topo.nr < 2)
		return "needs more L3s";
	rdt_find_units();
	if (!rdt.scale || rdt.nr_rmids > RDT_MAX_RMIDS)
		return "no RMIDs, or too many";
	return rdt_mount() ? "resctrl cannot be mounted (again)" : NULL;
}

FIXTURE_SETUP(resctrl)
{
	const char *why = resctrl_init();

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, puppet_new(&self->p));
}

FIXTURE_TEARDOWN(resctrl)
{
	pkg_stop(1);
	puppet_end(&self->p);
	pkg_stop(0);
	rdt_set_online(topo.nr - 1, 0, 1);
	rmdir(TRACE);
	/* With all groups */
	if (rdt.mounted)
		rdt_umount();
}

/* What takes a while to fork */
static long fill_memory(long bytes)
{
	char *mem = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		return -errno;
	madvise(mem, bytes, MADV_NOHUGEPAGE);
	memset(mem, 1, bytes);
	return 0;
}

/* Returns the child, which runs for ever */
static long fork_spinner(long unused)
{
	pid_t child;

	shared->started[0] = 1;
	child = fork();
	if (!child) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (;;)
			;
	}
	return child < 0 ? -errno : child;
}

static long kill_child(long pid)
{
	return kill(pid, SIGKILL) || waitpid(pid, NULL, 0) != pid ? -errno : 0;
}

/* Removes the group of the puppet @us after its fork began; whether the child left it */
static int fork_and_rmdir(struct puppet *p, long us, bool *left)
{
	int rmid = rdt_rmid(RDT_GROUP), err;
	__u64 ran;
	long child;

	shared->started[0] = 0;
	err = rdt_add_task(RDT_GROUP, p->pid) ?: puppet_start(p, fork_spinner, 0);
	if (err)
		return err;
	while (!__atomic_load_n(&shared->started[0], __ATOMIC_ACQUIRE))
		;
	pkg_burn(us);
	err = rmdir(RDT_GROUP) ? -errno : 0;
	child = puppet_wait(p);
	if (err || child < 0)
		return err ?: child;
	ran = rdt_truth_sum(RDT_TOTAL, rmid);
	usleep(20000);
	*left = ran == rdt_truth_sum(RDT_TOTAL, rmid);
	return puppet_call(p, kill_child, child);
}

/*
 * A group is removed while a task of it forks: the child must not keep the RMID. On the
 * base kernel most do.
 */
TEST_F_TIMEOUT(resctrl, fork, 120)
{
	int i, kept = 0;
	long fork_us;
	__u64 begin;
	bool left = true;

	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, puppet_call(&self->p, fill_memory, FORK_BYTES));
	begin = pkg_now(CLOCK_MONOTONIC);
	ASSERT_EQ(0, puppet_call(&self->p, kill_child, puppet_call(&self->p, fork_spinner, 0)));
	fork_us = (pkg_now(CLOCK_MONOTONIC) - begin) / NSEC_PER_USEC / 2;

	for (i = 0; i < FORK_ROUNDS; i++) {
		ASSERT_EQ(0, rdt_mkdir(RDT_GROUP));
		ASSERT_EQ(0, fork_and_rmdir(&self->p, i * fork_us / FORK_ROUNDS, &left));
		kept += !left;
	}
	ksft_print_msg("%d of %d children kept the RMID of a group that is gone (fork: %ld us)\n",
		       kept, FORK_ROUNDS, fork_us);
	EXPECT_EQ(0, kept);
}

static int trace_start(void)
{
	return (mkdir(TRACE, 0700) && errno != EEXIST) ||
	       pkg_set(TRACE, "tracing_on", 0) ||
	       pkg_set_str(TRACE, "set_ftrace_filter", "free_rmid") ||
	       pkg_set_str(TRACE, "current_tracer", "function") ||
	       /* IA32_PQR_ASSOC */
	       pkg_set_str(TRACE, "events/msr/write_msr/filter", "msr == 0xc8f") ||
	       pkg_set(TRACE, "events/msr/write_msr/enable", 1) ||
	       pkg_set(TRACE, "tracing_on", 1);
}

/* How often CPUs changed to another RMID, before and after the first RMID was freed */
static int trace_stop(int changes[2])
{
	char line[256];
	int freed = 0;
	FILE *file;

	changes[0] = 0;
	changes[1] = 0;
	pkg_set(TRACE, "tracing_on", 0);
	file = fopen(TRACE "trace", "re");
	if (!file)
		return -errno;
	while (fgets(line, sizeof(line), file)) {
		if (strstr(line, ": free_rmid"))
			freed = 1;
		else if (strstr(line, "write_msr: c8f"))
			changes[freed]++;
	}
	fclose(file);
	return freed ? 0 : -ENOENT;
}

/*
 * When umount frees an RMID, no CPU runs with it. On the base kernel CPUs go on until all
 * are freed.
 */
TEST_F(resctrl, umount)
{
	int changes[2];

	ASSERT_EQ(0, rdt_mkdir(RDT_GROUP));
	ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	if (trace_start())
		SKIP(return, "no function tracer");
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	usleep(10000);
	ASSERT_EQ(0, rdt_umount());
	ASSERT_EQ(0, trace_stop(changes));
	/* The one to the group when it began to run, the one back */
	EXPECT_LE(2, changes[0]);
	EXPECT_EQ(0, changes[1]);
}

/* How many groups there can be at a time, besides the root */
static int count_rmids(void)
{
	char path[PATH_MAX];
	int i;

	for (i = 0; i < rdt.nr_rmids - 1; i++) {
		snprintf(path, sizeof(path), RDT_GROUPS "take-%d", i);
		if (rdt_mkdir(path))
			return i;
	}
	return i + !mkdir(RDT_GROUPS "one-more", 0755);
}

static int sleep_until(__u64 ns)
{
	struct timespec ts = { .tv_sec = ns / NSEC_PER_SEC, .tv_nsec = ns % NSEC_PER_SEC };

	return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

/*
 * The last CPU of an L3 goes while resctrl's worker waits to look at the L3: the base
 * kernel crashes.
 */
TEST_F_TIMEOUT(resctrl, offline, 240)
{
	int i, first = topo.pkg[topo.nr - 1].cpu[0];
	__u64 freed;

	for (i = 0; i < LIMBO_ROUNDS; i++) {
		ASSERT_EQ(0, rdt_set_online(topo.nr - 1, 0, 0));
		ASSERT_EQ(0, fresh_set_online(first, 1));
		ASSERT_EQ(0, rdt_mkdir(RDT_GROUP));
		freed = pkg_now(CLOCK_MONOTONIC);
		ASSERT_EQ(0, rmdir(RDT_GROUP));
		ASSERT_EQ(0, sleep_until(freed + (LIMBO_US - LIMBO_EARLY_US + i * LIMBO_STEP_US) *
						 (__u64)NSEC_PER_USEC));
		ASSERT_EQ(0, fresh_set_online(first, 0));
	}
	ASSERT_EQ(0, rdt_set_online(topo.nr - 1, 0, 1));
	EXPECT_EQ(rdt.nr_rmids - 1, count_rmids());
}

/*
 * RMIDs of removed groups come back. On the base kernel, not where the hardware tracks
 * only those that run.
 */
TEST_F_TIMEOUT(resctrl, reuse, 120)
{
	int i;

	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	for (i = 0; i < 2 * rdt.nr_rmids; i++) {
		ASSERT_EQ(0, rdt_mkdir(RDT_GROUP)) {
			TH_LOG("after %d groups", i);
		}
		ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 100));
		ASSERT_EQ(0, rmdir(RDT_GROUP));
	}
	EXPECT_EQ(rdt.nr_rmids - 1, count_rmids());
}

/*
 * The bandwidth of a control group includes what its MON groups have moved, also where
 * the hardware does not track them any more. On the base kernel it steps back then.
 */
TEST_F(resctrl, sum)
{
	__u64 before, after, val;
	int tries;

	ASSERT_EQ(0, rdt_mkdir(RDT_GROUP));
	ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(1)));
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	/* A read may only say that it begins to be tracked. */
	for (tries = 0; tries < 10; tries++) {
		usleep(RDT_BURN_US);
		if (!rdt_mon(RDT_GROUP, RDT_TOTAL, 1, &val) &&
		    !rdt_mon(RDT_FS, RDT_TOTAL, 1, &before))
			break;
	}
	ASSERT_GT(10, tries);
	pkg_stop(1);
	puppet_wait(&self->p);
	pkg_stop(0);
	EXPECT_LE(RDT_BURN_US / 2, val);
	EXPECT_LE(val, before);
	ASSERT_EQ(0, rdt_mon(RDT_FS, RDT_TOTAL, 1, &after));
	EXPECT_LE(before, after);
	ksft_print_msg("%llu bytes, of them %llu of the MON group, then %llu\n",
		       before, val, after);
}

TEST_HARNESS_MAIN
