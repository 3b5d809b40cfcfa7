// SPDX-License-Identifier: GPL-2.0
/*
 * max_age_us: read(2) of what is older refreshes it first, by interrupting the
 * packages where it is. Nobody else does: no sample, and no read of what is
 * fresh enough or cannot have changed.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_fresh.h"

#define NR_READS	50
#define NR_SAMPLES	1000
/* Counters that nobody asks for */
#define NR_OTHERS	50
#define RING_PAGES	8
/* Function calls that others make meanwhile */
#define STRAY_CALLS	(NR_READS / 5)
/* What two clocks, of which one is for NMIs, may differ */
#define SLACK_NS	NSEC_PER_MSEC

FIXTURE(pkg_max_age)
{
	/* One on each CPU of the second package; the first one is monitored */
	struct puppet p[PKG_MAX_CPUS];
	int nr;
	int far;
	/* The level of the package and of a task there, run times, each with its age */
	int cpu_clock;
	int task_clock;
	int cpu_time;
	int task_time;
};

/* What the PMU that counts packages had: this is about both */
static char saved_domain[FRESH_KNOBS][32];

static int set_both(enum fresh_knob knob, const char *val)
{
	return fresh_set_str(knob, val) ?: pkg_set_str(PKG_DOMAIN_PMU, fresh_knobs[knob], val);
}

static int set_max_age(const char *us)
{
	return set_both(FRESH_MAX_AGE, us);
}

static int open_with_age(struct __test_metadata *_metadata, struct perf_event_attr attr,
			 pid_t pid, int cpu)
{
	int fd;

	attr.read_format = PERF_FORMAT_GROUP;
	fd = PKG_OPEN(attr, pid, cpu, -1);
	attr.config = PKG_AGE;
	PKG_OPEN(attr, pid, cpu, fd);
	return fd;
}

FIXTURE_SETUP(pkg_max_age)
{
	struct perf_event_attr clock, time;
	const char *why = fresh_init(2);
	int i;

	if (why)
		SKIP(return, "%s", why);
	self->far = topo.pkg[1].cpu[0];
	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[0]));
	for (i = 0; i < topo.pkg[1].nr_cpus; i++) {
		ASSERT_EQ(0, puppet_new(&self->p[i]));
		self->nr++;
		ASSERT_EQ(0, puppet_call(&self->p[i], pkg_pin, topo.pkg[1].cpu[i]));
	}
	for (i = 0; i < FRESH_KNOBS; i++)
		fresh_get_line(PKG_DOMAIN_PMU, fresh_knobs[i], saved_domain[i],
			       sizeof(saved_domain[i]));
	clock = pkg_attr(PKG_CLOCK, topo.pkg[1].id);
	time = pkg_attr(PKG_RUNTIME, PKG_ALL);
	self->cpu_clock = open_with_age(_metadata, pkg_domain_attr(PKG_CLOCK), -1, self->far);
	self->task_clock = open_with_age(_metadata, clock, self->p[0].pid, -1);
	self->cpu_time = open_with_age(_metadata, time, -1, self->far);
	self->task_time = open_with_age(_metadata, time, self->p[0].pid, -1);
	/* Only reads refresh */
	ASSERT_EQ(0, set_both(FRESH_INTERVAL, "0"));
	ASSERT_EQ(0, set_max_age("off"));
}

FIXTURE_TEARDOWN(pkg_max_age)
{
	int i;

	pkg_stop(1);
	for (i = 0; i < PKG_MAX_CPUS; i++)
		if (fresh_can_go(i))
			fresh_set_online(i, 1);
	for (i = 0; i < self->nr; i++)
		puppet_end(&self->p[i]);
	for (i = 0; i < FRESH_KNOBS; i++)
		pkg_set_str(PKG_DOMAIN_PMU, fresh_knobs[i], saved_domain[i]);
	fresh_exit();
}

/*
 * An idle CPU that polls needs no interrupt to be called. With all of them busy
 * each call is one. Waits until the task that is monitored runs.
 */
static void keep_busy(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_max_age) * self)
{
	int clock = PKG_OPEN(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), self->p[0].pid, -1, -1), i;

	for (i = 0; i < self->nr; i++)
		ASSERT_EQ(0, puppet_start(&self->p[i], pkg_spin, 0));
	EXPECT_TRUE(fresh_wait_for_change(clock));
	close(clock);
}

static void let_sleep(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_max_age) * self)
{
	int i;

	pkg_stop(1);
	for (i = 0; i < self->nr; i++)
		ASSERT_EQ(0, puppet_wait(&self->p[i]));
	pkg_stop(0);
}

/* Function calls that the other package got during the reads, LLONG_MAX: one failed */
static long long calls_for_reads(int fd)
{
	long long before = fresh_irqs("CAL", 1);
	__u64 val[2], start;
	int i;

	for (i = 0; i < NR_READS; i++) {
		/* Older than the youngest that max_age_us can mean */
		start = pkg_now(CLOCK_MONOTONIC);
		while (pkg_now(CLOCK_MONOTONIC) < start + 5 * NSEC_PER_USEC)
			;
		if (pkg_read(fd, val, 2))
			return LLONG_MAX;
	}
	return fresh_irqs("CAL", 1) - before;
}

/* "off": a read takes what there is */
TEST_F_TIMEOUT(pkg_max_age, off, 120)
{
	int fd[] = { self->cpu_clock, self->task_clock, self->cpu_time, self->task_time };
	__u64 first[2], val[2], age;
	unsigned int i, r;

	keep_busy(_metadata, self);
	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		ASSERT_EQ(0, pkg_read(fd[i], first, 2));
		age = first[1];
		for (r = 0; r < 5; r++) {
			usleep(2000);
			ASSERT_EQ(0, pkg_read(fd[i], val, 2));
			/* A switch publishes what a task or CPU had, that of a package stays */
			EXPECT_LE(first[0], val[0]);
			if (!i)
				EXPECT_EQ(first[0], val[0]);
			if (i < 2 && first[0] == val[0])
				EXPECT_LE(age + 2 * NSEC_PER_MSEC, val[1]);
			age = val[1];
		}
	}
}

/* The clock tells when it was read, which is after the read(2) began */
TEST_F_TIMEOUT(pkg_max_age, fresh, 120)
{
	int fd[] = { self->cpu_clock, self->task_clock }, i, r;
	__u64 val[2], before, after;

	ASSERT_EQ(0, set_max_age("1"));
	keep_busy(_metadata, self);
	for (i = 0; i < 2; i++) {
		for (r = 0; r < NR_READS; r++) {
			usleep(random() % 1000);
			before = pkg_now(CLOCK_MONOTONIC);
			ASSERT_EQ(0, pkg_read(fd[i], val, 2));
			after = pkg_now(CLOCK_MONOTONIC);
			EXPECT_LE(before, val[0] + SLACK_NS);
			EXPECT_LE(val[0], after + SLACK_NS);
			EXPECT_LE(val[1], after - before + SLACK_NS);
		}
	}
}

/* What ran until the read(2) began is in, with the timer and without */
TEST_F_TIMEOUT(pkg_max_age, runtime, 120)
{
	int clock = PKG_OPEN(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), self->p[0].pid, -1, -1);
	int interval, r, stale = 0;
	__u64 val[2], first, earlier, start, before;

	ASSERT_EQ(0, set_max_age("1"));
	keep_busy(_metadata, self);
	for (interval = 0; interval <= 100000; interval += 100000) {
		ASSERT_EQ(0, fresh_set(FRESH_INTERVAL, interval));
		earlier = pkg_count(clock);
		ASSERT_EQ(0, pkg_read(self->task_time, val, 2));
		first = val[0];
		start = pkg_count(clock);
		for (r = 0; r < NR_READS; r++) {
			usleep(1000);
			before = pkg_count(clock);
			ASSERT_EQ(0, pkg_read(self->task_time, val, 2));
			stale += before - start > val[0] - first + SLACK_NS;
			EXPECT_LE(val[0] - first, pkg_count(clock) - earlier + SLACK_NS);
		}
	}
	EXPECT_GE(NR_READS / 20, stale);
}

/* One call per read of what is too old, none for what is not */
TEST_F_TIMEOUT(pkg_max_age, only_what_is_stale, 120)
{
	int fd[] = { self->cpu_clock, self->task_clock, self->cpu_time, self->task_time };
	unsigned int i;

	if (fresh_irqs("CAL", 1) < 0)
		SKIP(return, "no row CAL in /proc/interrupts");
	keep_busy(_metadata, self);
	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		EXPECT_TRUE(PKG_RETRY(calls_for_reads(fd[i]) <= STRAY_CALLS));

		/* Each of them may find that the CPU's own switch was just now */
		ASSERT_EQ(0, set_max_age("1"));
		EXPECT_LE(NR_READS - STRAY_CALLS, calls_for_reads(fd[i]));
		EXPECT_TRUE(PKG_RETRY(calls_for_reads(fd[i]) <= 2 * NR_READS + STRAY_CALLS));

		ASSERT_EQ(0, set_max_age("10000000"));
		EXPECT_TRUE(PKG_RETRY(calls_for_reads(fd[i]) <= STRAY_CALLS));
		ASSERT_EQ(0, set_max_age("off"));
	}
}

/* The counters that were published, in the order of the trace */
static int read_publishes(int *counter, int max)
{
	char line[512];
	int nr = 0;
	FILE *f;

	f = fopen(PKG_TRACEFS "trace", "r");
	if (!f)
		return -1;
	while (nr < max && fgets(line, sizeof(line), f))
		if (line[0] != '#' && strstr(line, ": perf_pkg_publish: pmu=pkg_clock "))
			counter[nr++] = pkg_trace_field(line, " counter=");
	fclose(f);
	return nr;
}

/* Others' counters of the package are as old, and are not read for whoever asks for one */
TEST_F_TIMEOUT(pkg_max_age, only_what_is_asked_for, 120)
{
	static int counter[FRESH_TRACE_MAX];
	int i, c, nr, mine = 0, others = 0;

	for (i = 0; i < NR_OTHERS; i++) {
		c = topo.pkg[1].cpu[i % topo.pkg[1].nr_cpus];
		PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), -1, c, -1);
	}
	/* Not of the fixture's, of which one is asked for below */
	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, ioctl(i ? self->task_clock : self->task_time,
				   PERF_EVENT_IOC_DISABLE, 0));
	keep_busy(_metadata, self);
	ASSERT_EQ(0, set_max_age("1"));
	ASSERT_EQ(0, pkg_set(PKG_TRACEFS, "events/perf_pkg/perf_pkg_publish/enable", 1));
	fresh_watch();
	calls_for_reads(self->cpu_time);
	ASSERT_EQ(0, pkg_set(PKG_TRACEFS, "tracing_on", 0));
	nr = read_publishes(counter, FRESH_TRACE_MAX);
	pkg_set(PKG_TRACEFS, "events/perf_pkg/perf_pkg_publish/enable", 0);
	ASSERT_LT(0, nr);

	/* The first one is that asked for */
	for (i = 0; i < nr; i++) {
		mine += counter[i] == counter[0];
		others += counter[i] != counter[0];
	}
	EXPECT_LE(NR_READS, mine);
	EXPECT_GE(2 * NR_READS, mine);
	EXPECT_EQ(0, others);
}

/* A level that is disabled stands still, whoever reads it and its age */
TEST_F_TIMEOUT(pkg_max_age, disabled, 120)
{
	int fd[] = { self->cpu_clock, self->task_clock };
	__u64 first[2], val[2];
	unsigned int i;
	int r;

	ASSERT_EQ(0, set_max_age("1"));
	keep_busy(_metadata, self);
	for (i = 0; i < ARRAY_SIZE(fd); i++) {
		ASSERT_EQ(0, pkg_read(fd[i], first, 2));
		ASSERT_EQ(0, ioctl(fd[i], PERF_EVENT_IOC_DISABLE, 0));
		ASSERT_EQ(0, pkg_read(fd[i], first, 2));
		EXPECT_LT(0, first[0]);
		for (r = 0; r < 10; r++) {
			usleep(1000);
			ASSERT_EQ(0, pkg_read(fd[i], val, 2));
			EXPECT_EQ(first[0], val[0]);
		}
		EXPECT_TRUE(PKG_RETRY(calls_for_reads(fd[i]) <= STRAY_CALLS));
	}
}

/* The run time of a task that sleeps is exact, though others run where it ran */
TEST_F_TIMEOUT(pkg_max_age, asleep, 120)
{
	__u64 val[2], first[2];
	struct puppet task;
	int clock, plain, fd;

	if (fresh_irqs("CAL", 1) < 0)
		SKIP(return, "no row CAL in /proc/interrupts");
	ASSERT_EQ(0, set_max_age("1"));
	ASSERT_EQ(0, puppet_new(&task));
	ASSERT_EQ(0, puppet_call(&task, pkg_pin, self->far));
	clock = PKG_OPEN(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), task.pid, -1, -1);
	fd = open_with_age(_metadata, pkg_attr(PKG_RUNTIME, PKG_ALL), task.pid, -1);
	plain = PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), task.pid, -1, -1);
	EXPECT_TRUE(PKG_RETRY(puppet_agree(&task, plain, clock, pkg_burn, 5000, 1)));
	ASSERT_EQ(0, pkg_read(fd, first, 2));
	EXPECT_EQ(pkg_count(plain), first[0]);

	keep_busy(_metadata, self);
	EXPECT_TRUE(PKG_RETRY(calls_for_reads(fd) <= STRAY_CALLS));
	ASSERT_EQ(0, pkg_read(fd, val, 2));
	EXPECT_EQ(first[0], val[0]);
	EXPECT_EQ(0, val[1]);
	puppet_end(&task);
}

/* All members of a group are as new, of whatever counters they are */
TEST_F_TIMEOUT(pkg_max_age, group, 120)
{
	struct perf_event_attr attr = pkg_attr(PKG_CLOCK, topo.pkg[1].id);
	int pid = self->p[0].pid, clock, fd, r, stale = 0;
	__u64 val[4], first[4], start, before, ran;

	clock = PKG_OPEN(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), pid, -1, -1);
	attr.read_format = PERF_FORMAT_GROUP;
	fd = PKG_OPEN(attr, pid, -1, -1);
	PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), pid, -1, fd);
	PKG_OPEN(attr, pid, -1, fd);
	PKG_OPEN(pkg_attr(PKG_AGE, topo.pkg[1].id), pid, -1, fd);
	ASSERT_EQ(0, set_max_age("1"));
	keep_busy(_metadata, self);
	ASSERT_EQ(0, pkg_read(fd, first, 4));
	start = pkg_count(clock);
	for (r = 0; r < NR_READS; r++) {
		usleep(1000);
		ran = pkg_count(clock) - start;
		before = pkg_now(CLOCK_MONOTONIC);
		ASSERT_EQ(0, pkg_read(fd, val, 4));
		EXPECT_LE(before, val[0] + SLACK_NS);
		EXPECT_LE(before, val[2] + SLACK_NS);
		EXPECT_LE(val[3], pkg_now(CLOCK_MONOTONIC) - before + SLACK_NS);
		stale += ran > val[1] - first[1] + SLACK_NS;
	}
	EXPECT_GE(NR_READS / 20, stale);
}

/* No hardware, no news: the old value, which gets older, and no error of read(2) */
TEST_F_TIMEOUT(pkg_max_age, failing_read, 120)
{
	__u64 first[2], val[2], age;
	int r;

	ASSERT_EQ(0, set_max_age("1"));
	keep_busy(_metadata, self);
	ASSERT_EQ(0, pkg_read(self->cpu_clock, first, 2));
	ASSERT_EQ(0, pkg_set(PKG_PARAM, "fail_read", 1));
	ASSERT_EQ(0, pkg_read(self->cpu_clock, first, 2));
	age = first[1];
	for (r = 0; r < 20; r++) {
		usleep(1000);
		ASSERT_EQ(0, pkg_read(self->cpu_clock, val, 2));
		EXPECT_EQ(first[0], val[0]);
		EXPECT_LE(age + NSEC_PER_MSEC, val[1]);
		age = val[1];
	}
	ASSERT_EQ(0, pkg_set(PKG_PARAM, "fail_read", 0));
	ASSERT_EQ(0, pkg_read(self->cpu_clock, val, 2));
	EXPECT_LE(first[0] + 20 * NSEC_PER_MSEC, val[0]);
}

/* Bytes that the samples took so far; the oldest are overwritten */
static __u64 sampled_bytes(struct perf_event_mmap_page *page)
{
	return __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
}

/*
 * A task left a level behind on the other package, and is now sampled on this
 * one with the level in each sample. Only read(2) asks the other package for it.
 */
TEST_F_TIMEOUT(pkg_max_age, samples, 300)
{
	struct perf_event_attr attr = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	/* Header, number of values, values */
	const __u64 bytes = sizeof(struct perf_event_header) + 3 * sizeof(__u64);
	int here = topo.pkg[0].cpu[topo.pkg[0].nr_cpus - 1], leader;
	__u64 end = pkg_now(CLOCK_MONOTONIC) + 4 * PKG_PATIENCE_NS, first;
	struct perf_event_mmap_page *page;
	long long before, calls;
	struct puppet task;

	before = fresh_irqs("CAL", 1);
	if (before < 0)
		SKIP(return, "no row CAL in /proc/interrupts");
	attr.sample_period = NSEC_PER_MSEC;
	attr.sample_type = PERF_SAMPLE_READ;
	attr.read_format = PERF_FORMAT_GROUP;
	ASSERT_EQ(0, puppet_new(&task));
	ASSERT_EQ(0, puppet_call(&task, pkg_pin, self->far));
	leader = PKG_OPEN(attr, task.pid, -1, -1);
	PKG_OPEN(pkg_attr(PKG_CLOCK, topo.pkg[1].id), task.pid, -1, leader);
	page = mmap(NULL, (1 + RING_PAGES) * getpagesize(), PROT_READ, MAP_SHARED, leader, 0);
	ASSERT_NE(MAP_FAILED, page);
	ASSERT_EQ(0, puppet_call(&task, pkg_burn, 5000));
	ASSERT_EQ(0, puppet_call(&task, pkg_pin, here));
	ASSERT_EQ(0, set_max_age("1"));
	keep_busy(_metadata, self);
	ASSERT_EQ(0, puppet_start(&task, pkg_spin, 0));
	usleep(10000);

	before = fresh_irqs("CAL", 1);
	first = sampled_bytes(page);
	while (sampled_bytes(page) - first < NR_SAMPLES * bytes) {
		ASSERT_LT(pkg_now(CLOCK_MONOTONIC), end);
		usleep(10000);
	}
	calls = fresh_irqs("CAL", 1) - before;
	EXPECT_GE(NR_SAMPLES / 10, calls)
		TH_LOG("%lld function calls in %d samples", calls, NR_SAMPLES);

	/* The level is old enough indeed */
	EXPECT_LE(NR_READS - STRAY_CALLS, calls_for_reads(leader));
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&task));
	puppet_end(&task);
}

/* Takes the CPUs of the second package away and brings them back, some times */
static long come_and_go(long rounds)
{
	int i, c, err = 0;

	for (i = 0; i < rounds && !err; i++) {
		for (c = 0; c < topo.pkg[1].nr_cpus; c++)
			err |= fresh_set_online(topo.pkg[1].cpu[c], 0);
		usleep(1000);
		for (c = 0; c < topo.pkg[1].nr_cpus; c++)
			err |= fresh_set_online(topo.pkg[1].cpu[c], 1);
	}
	__atomic_store_n(&shared->started[0], 1, __ATOMIC_RELEASE);
	return err;
}

/* Whoever is interrupted may just go offline */
TEST_F_TIMEOUT(pkg_max_age, hotplug, 300)
{
	__u64 val[2], last = 0;
	struct puppet other;
	int c, reads = 0;

	for (c = 0; c < topo.pkg[1].nr_cpus; c++)
		if (!fresh_can_go(topo.pkg[1].cpu[c]))
			SKIP(return, "CPU %d cannot go offline", topo.pkg[1].cpu[c]);
	ASSERT_EQ(0, set_max_age("1"));
	ASSERT_EQ(0, puppet_new(&other));
	ASSERT_EQ(0, puppet_call(&other, pkg_pin, topo.pkg[0].cpu[topo.pkg[0].nr_cpus - 1]));
	keep_busy(_metadata, self);
	ASSERT_EQ(0, puppet_start(&other, come_and_go, 5));
	do {
		ASSERT_EQ(0, pkg_read(self->task_time, val, 2));
		EXPECT_LE(last, val[0]);
		last = val[0];
		ASSERT_EQ(0, pkg_read(self->task_clock, val, 2));
		reads++;
	} while (!__atomic_load_n(&shared->started[0], __ATOMIC_ACQUIRE));
	EXPECT_EQ(0, puppet_wait(&other));
	EXPECT_LT(NR_READS, reads);
	let_sleep(_metadata, self);

	/* There again, and refreshed as before */
	ASSERT_EQ(0, puppet_call(&self->p[0], pkg_pin, self->far));
	ASSERT_EQ(0, puppet_start(&self->p[0], pkg_spin, 0));
	EXPECT_TRUE(fresh_wait_for_leader(self->task_clock, 2));
	puppet_end(&other);
}

TEST_HARNESS_MAIN
