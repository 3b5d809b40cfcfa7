// SPDX-License-Identifier: GPL-2.0
/*
 * What must not depend on how many others there are: our part of perf_event_open() and
 * of enabling an event, and the hardware reads of one publish.
 *
 * Times are the best of some tries. Where the core itself takes longer with more
 * events, that is what its own cpu-clock takes longer.
 */
#define _GNU_SOURCE

#include <sys/resource.h>

#include "../kselftest_harness.h"
#include "pkg_fresh.h"

#define FEW		10
#define MANY		2000
#define TRIES		9
/* What equal times may differ: some percent, and a cache line or two */
#define PERCENT		10
#define SLACK_NS	NSEC_PER_USEC
/* Publishers on each CPU, how long they are at it, and how slow the hardware is */
#define YIELDERS	2
#define PUBLISH_MS	200
#define MIN_PUBLISHES	1000
#define SLOW_READ_US	20

FIXTURE(pkg_scale)
{
	int fd[MANY];
	int nr;
	/* Two CPUs of the first package, and the one of them that has the package's events */
	int here;
	int other;
	int mask;
};

FIXTURE_SETUP(pkg_scale)
{
	struct rlimit many = { 2 * MANY + 1000, 2 * MANY + 1000 };
	const char *why = fresh_init(1);

	if (!why && topo.pkg[0].nr_cpus < 2)
		why = "needs two CPUs in a package";
	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &many));
	self->here = topo.pkg[0].cpu[0];
	self->other = topo.pkg[0].cpu[1];
	self->mask = fresh_cpu_in_mask(PKG_DOMAIN_PMU, 0);
	ASSERT_LE(0, self->mask);
	ASSERT_EQ(0, pkg_pin(self->here));
	/* Nothing else that takes a CPU meanwhile */
	ASSERT_EQ(0, fresh_set(FRESH_INTERVAL, 10000000));
	ASSERT_EQ(0, pkg_set(PKG_DOMAIN_PMU, fresh_knobs[FRESH_INTERVAL], 10000000));
}

FIXTURE_TEARDOWN(pkg_scale)
{
	pkg_set_str(PKG_DOMAIN_PMU, fresh_knobs[FRESH_INTERVAL], fresh_saved[FRESH_INTERVAL]);
	fresh_exit();
}

struct target {
	struct perf_event_attr	attr;
	pid_t			pid;
	int			cpu;
	int			group;
};

static int open_target(const struct target *t)
{
	return pkg_open(t->attr, t->pid, t->cpu, t->group);
}

/* Members of several software PMUs are scheduled in with their leader only */
static void open_until(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_scale) * self,
		       const struct target *t, int nr)
{
	for (; self->nr < nr; self->nr++) {
		self->fd[self->nr] = open_target(t);
		ASSERT_LE(0, self->fd[self->nr]);
	}
	if (t->group >= 0) {
		ASSERT_EQ(0, ioctl(t->group, PERF_EVENT_IOC_DISABLE, 0));
		ASSERT_EQ(0, ioctl(t->group, PERF_EVENT_IOC_ENABLE, 0));
	}
}

static void close_all(FIXTURE_DATA(pkg_scale) * self)
{
	while (self->nr)
		close(self->fd[--self->nr]);
}

/* The least time of one more open, in ns */
static __u64 time_of_open(const struct target *t)
{
	__u64 start, ns, best = ~0ULL;
	int i, fd;

	for (i = 0; i < TRIES; i++) {
		start = pkg_now(CLOCK_MONOTONIC);
		fd = open_target(t);
		ns = pkg_now(CLOCK_MONOTONIC) - start;
		close(fd);
		/* What is closed is freed later: by others, on this CPU */
		usleep(1000);
		best = ns < best ? ns : best;
	}
	return best;
}

/* The least time to enable one that is disabled, in ns */
static __u64 time_of_enable(const struct target *t)
{
	struct target off = *t;
	__u64 start, ns, best = ~0ULL;
	int i, fd;

	off.attr.disabled = 1;
	fd = open_target(&off);
	for (i = 0; i < TRIES; i++) {
		usleep(1000);
		start = pkg_now(CLOCK_MONOTONIC);
		ioctl(fd, PERF_EVENT_IOC_ENABLE, 0);
		ns = pkg_now(CLOCK_MONOTONIC) - start;
		ioctl(fd, PERF_EVENT_IOC_DISABLE, 0);
		best = ns < best ? ns : best;
	}
	close(fd);
	return best;
}

/* How much longer it takes with many others than with few */
static __u64 growth(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_scale) * self,
		    const char *what, __u64 (*time_of)(const struct target *t),
		    const struct target *one, const struct target *others, __u64 *few)
{
	__u64 many;

	open_until(_metadata, self, others, FEW);
	*few = time_of(one);
	open_until(_metadata, self, others, MANY);
	many = time_of(one);
	close_all(self);
	TH_LOG("%s: %llu ns beside %d, %llu ns beside %d", what, *few, FEW, many, MANY);
	return many > *few ? many - *few : 0;
}

static void expect_same(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_scale) * self,
			const char *what, __u64 (*time_of)(const struct target *t),
			const struct target *one, const struct target *others)
{
	struct target clock = *one, clocks = *others;
	__u64 few, ours = 0, core = 0;
	int tries = PKG_TRIES;

	clock.attr = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	clock.attr.disabled = one->attr.disabled;
	clocks.attr = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	clocks.attr.disabled = others->attr.disabled;
	do {
		core = growth(_metadata, self, "cpu-clock", time_of, &clock, &clocks, &few);
		ours = growth(_metadata, self, what, time_of, one, others, &few);
	} while (ours > core + few * PERCENT / 100 + SLACK_NS && --tries);
	EXPECT_LT(0, tries)
		TH_LOG("%s: %llu ns more, cpu-clock %llu ns more", what, ours, core);
}

TEST_F_TIMEOUT(pkg_scale, open, 300)
{
	struct target task = { pkg_attr(PKG_RUNTIME, PKG_ALL), 0, -1, -1 };
	struct target level = { pkg_attr(PKG_CLOCK, PKG_ALL), 0, -1, -1 };
	struct target cpu = { pkg_attr(PKG_RUNTIME, PKG_ALL), -1, self->here, -1 };
	struct target domain = { pkg_domain_attr(PKG_BUSY), -1, self->here, -1 };

	task.attr.disabled = 1;
	level.attr.disabled = 1;
	cpu.attr.disabled = 1;
	domain.attr.disabled = 1;
	expect_same(_metadata, self, "open a task's", time_of_open, &task, &task);
	expect_same(_metadata, self, "open a task's level", time_of_open, &level, &level);
	expect_same(_metadata, self, "open a CPU's", time_of_open, &cpu, &cpu);
	expect_same(_metadata, self, "open a package's", time_of_open, &domain, &domain);
}

/* Events of another CPU, for which the core does nothing: all of the package's are enabled */
TEST_F_TIMEOUT(pkg_scale, enable, 300)
{
	struct target cpu = { pkg_attr(PKG_RUNTIME, PKG_ALL), -1, self->here, -1 };
	struct target cpus = { pkg_attr(PKG_RUNTIME, PKG_ALL), -1, self->other, -1 };
	struct target domain = { pkg_domain_attr(PKG_BUSY), -1, self->mask, -1 };
	struct target domains = { pkg_domain_attr(PKG_BUSY), -1, self->other, -1 };
	struct target level = { pkg_domain_attr(PKG_CLOCK), -1, self->mask, -1 };
	struct perf_event_attr leader = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);

	expect_same(_metadata, self, "enable a CPU's", time_of_enable, &cpu, &cpus);

	/* They go where their leader is */
	ASSERT_EQ(0, pkg_pin(self->mask));
	domains.cpu = self->mask == self->other ? self->here : self->other;
	domains.group = PKG_OPEN(leader, -1, domains.cpu, -1);
	expect_same(_metadata, self, "enable a package's", time_of_enable, &domain, &domains);
	domains.attr.config = PKG_CLOCK;
	expect_same(_metadata, self, "enable a package's level", time_of_enable, &level, &domains);
}

/* The time to enable a group of @nr, in ns */
static __u64 time_of_group(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_scale) * self,
			   struct target t, int nr)
{
	__u64 start, ns, best = ~0ULL;
	int i;

	t.attr.disabled = 1;
	open_until(_metadata, self, &t, 1);
	t.attr.disabled = 0;
	t.group = self->fd[0];
	open_until(_metadata, self, &t, nr);
	ASSERT_EQ(0, ioctl(self->fd[0], PERF_EVENT_IOC_DISABLE, 0));
	for (i = 0; i < TRIES; i++) {
		usleep(1000);
		start = pkg_now(CLOCK_MONOTONIC);
		ioctl(self->fd[0], PERF_EVENT_IOC_ENABLE, 0);
		ns = pkg_now(CLOCK_MONOTONIC) - start;
		ioctl(self->fd[0], PERF_EVENT_IOC_DISABLE, 0);
		best = ns < best ? ns : best;
	}
	close_all(self);
	return best;
}

/* Each member costs the same, whatever the number of others */
TEST_F_TIMEOUT(pkg_scale, enable_group, 300)
{
	struct target t[] = {
		{ pkg_attr(PKG_RUNTIME, PKG_ALL), -1, self->here, -1 },
		{ pkg_domain_attr(PKG_BUSY), -1, self->here, -1 },
		{ pkg_domain_attr(PKG_CLOCK), -1, self->here, -1 },
	};
	__u64 few, many;
	unsigned int i;
	int tries;

	for (i = 0; i < ARRAY_SIZE(t); i++) {
		tries = PKG_TRIES;
		do {
			few = time_of_group(_metadata, self, t[i], 100);
			many = time_of_group(_metadata, self, t[i], 800);
			TH_LOG("a group of 100: %llu ns, of 800: %llu ns", few, many);
		} while (many > few * 8 * (100 + PERCENT) / 100 && --tries);
		EXPECT_LT(0, tries);
	}
}

/* Publishers that disturb each other, as much as they can */

static void yield_until(int cpu, __u64 end)
{
	pkg_pin(cpu);
	while (pkg_now(CLOCK_MONOTONIC) < end)
		sched_yield();
}

static void publish_a_lot(struct __test_metadata *_metadata)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PUBLISH_MS * NSEC_PER_MSEC;
	int p, c, i, nr = 0;
	pid_t pid;

	for (p = 0; p < topo.nr; p++) {
		for (c = 0; c < topo.pkg[p].nr_cpus; c++) {
			for (i = 0; i < YIELDERS; i++, nr++) {
				pid = fork();
				ASSERT_LE(0, pid);
				if (pid)
					continue;
				yield_until(topo.pkg[p].cpu[c], end);
				_exit(0);
			}
		}
	}
	while (nr--)
		wait(NULL);
}

/* The most reads of the hardware in one publish, which has its CPU for itself */
static int most_reads(int *publishes)
{
	int reads[PKG_MAX_CPUS] = {}, most = 0, cpu;
	char line[512], *at;
	FILE *f;

	*publishes = 0;
	f = fopen(PKG_TRACEFS "trace", "r");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f)) {
		at = strchr(line, '[');
		if (line[0] == '#' || !at)
			continue;
		cpu = atoi(at + 1);
		if (cpu >= PKG_MAX_CPUS)
			continue;
		if (strstr(at, ": perf_pkg_sweep <-")) {
			(*publishes)++;
			reads[cpu] = 0;
		} else if (strstr(at, ": pkg_clock_read <-") && ++reads[cpu] > most) {
			most = reads[cpu];
		}
	}
	fclose(f);
	return most;
}

TEST_F_TIMEOUT(pkg_scale, reads_of_a_publish, 300)
{
	struct perf_event_attr attr = pkg_attr(PKG_RUNTIME, PKG_ALL);
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	int most, publishes;

	/* One name at a time; the file adds them */
	if (pkg_set_str(PKG_TRACEFS, "set_ftrace_filter", "perf_pkg_sweep") ||
	    pkg_set_str(PKG_TRACEFS, "set_ftrace_filter", "pkg_clock_read"))
		SKIP(return, "no CONFIG_FUNCTION_TRACER");
	pkg_set(PKG_TRACEFS, "events/enable", 0);
	attr.inherit = 1;
	PKG_OPEN(attr, 0, -1, -1);
	ASSERT_EQ(0, fresh_set(FRESH_INTERVAL, 100));
	ASSERT_EQ(0, pkg_set(PKG_PARAM, "slow_read_us", SLOW_READ_US));
	ASSERT_EQ(0, pkg_set_str(PKG_TRACEFS, "current_tracer", "function"));
	fresh_watch();
	do {
		publish_a_lot(_metadata);
		most = most_reads(&publishes);
	} while (publishes < MIN_PUBLISHES && pkg_now(CLOCK_MONOTONIC) < end);
	pkg_set_str(PKG_TRACEFS, "current_tracer", "nop");
	TH_LOG("%d publishes, of which one had %d reads", publishes, most);
	EXPECT_LE(MIN_PUBLISHES, publishes);
	EXPECT_LE(1, most);
	EXPECT_GE(2, most);
}

TEST_HARNESS_MAIN
