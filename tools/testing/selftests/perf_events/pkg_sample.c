// SPDX-License-Identifier: GPL-2.0
/*
 * PERF_SAMPLE_READ: a sampling event reads package-scope counters of its group
 * in the interrupt that takes the sample, on a CPU of another package or not.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_puppet.h"

#define RING_PAGES	64
#define NR_SAMPLES	200
#define MAX_SAMPLES	2000
#define PERIOD_NS	(5 * NSEC_PER_MSEC)
/* What was read so shortly before is not read again */
#define FRESH_NS	(10 * NSEC_PER_USEC)

struct sample {
	__u64	time;
	__u32	cpu;
	__u64	leader;
	__u64	pkg;
	/* When the package was read, by the timer or by the sample itself */
	__u64	clock;
};

FIXTURE(pkg_sample)
{
	struct puppet p;
	int far;
	void *ring;
	int leader;
	int pkg;
	int switches;
	struct sample sample[MAX_SAMPLES];
	int nr;
};

FIXTURE_VARIANT(pkg_sample)
{
	__u32 type;
	__u64 config;
	__u64 period;
	bool of_cpu;
};

/* An hrtimer's interrupt */
FIXTURE_VARIANT_ADD(pkg_sample, hrtimer)
{
	.type	= PERF_TYPE_SOFTWARE,
	.config	= PERF_COUNT_SW_CPU_CLOCK,
	.period	= PERIOD_NS,
};

FIXTURE_VARIANT_ADD(pkg_sample, hrtimer_of_cpu)
{
	.type	= PERF_TYPE_SOFTWARE,
	.config	= PERF_COUNT_SW_CPU_CLOCK,
	.period	= PERIOD_NS,
	.of_cpu	= true,
};

/* An NMI on x86, where there is a hardware counter */
FIXTURE_VARIANT_ADD(pkg_sample, nmi)
{
	.type	= PERF_TYPE_HARDWARE,
	.config	= PERF_COUNT_HW_CPU_CYCLES,
	.period	= 5000000,
};

FIXTURE_SETUP(pkg_sample)
{
	struct perf_event_attr attr = {
		.type		= variant->type,
		.size		= sizeof(attr),
		.config		= variant->config,
		.sample_period	= variant->period,
		.sample_type	= PERF_SAMPLE_TIME | PERF_SAMPLE_CPU | PERF_SAMPLE_READ,
		.read_format	= PERF_FORMAT_GROUP,
		.disabled	= 1,
		.use_clockid	= 1,
		.clockid	= CLOCK_MONOTONIC,
	};
	struct perf_event_attr pkg, level;
	const char *why = pkg_init(2);
	int cpu = -1;
	pid_t pid;

	if (why)
		SKIP(return, "%s", why);
	self->far = topo.pkg[1].cpu[0];
	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[0]));
	ASSERT_EQ(0, puppet_new(&self->p));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, self->far));

	pid = self->p.pid;
	if (variant->of_cpu) {
		pid = -1;
		cpu = self->far;
	}
	self->leader = pkg_open(attr, pid, cpu, -1);
	if (self->leader == -ENOENT || self->leader == -EOPNOTSUPP)
		SKIP(goto skip, "no hardware counter");
	ASSERT_LE(0, self->leader);
	/* A group has one clock */
	pkg = pkg_attr(PKG_RUNTIME, PKG_ALL);
	pkg.use_clockid = 1;
	pkg.clockid = CLOCK_MONOTONIC;
	self->pkg = PKG_OPEN(pkg, pid, cpu, self->leader);
	level = variant->of_cpu ? pkg_domain_attr(PKG_CLOCK) :
				  pkg_attr(PKG_CLOCK, topo.pkg[1].id);
	level.use_clockid = 1;
	level.clockid = CLOCK_MONOTONIC;
	PKG_OPEN(level, pid, cpu, self->leader);
	self->switches = PKG_OPEN(pkg_sw_attr(PERF_COUNT_SW_CONTEXT_SWITCHES), pid, cpu, -1);
	self->ring = mmap(NULL, (1 + RING_PAGES) * getpagesize(), PROT_READ | PROT_WRITE,
			  MAP_SHARED, self->leader, 0);
	ASSERT_NE(MAP_FAILED, self->ring);
	return;
skip:
	puppet_end(&self->p);
}

FIXTURE_TEARDOWN(pkg_sample)
{
	pkg_stop(1);
	puppet_end(&self->p);
}

static void ring_copy(void *ring, __u64 pos, void *to, size_t len)
{
	size_t size = RING_PAGES * getpagesize(), i;
	char *data = (char *)ring + getpagesize();

	for (i = 0; i < len; i++)
		((char *)to)[i] = data[(pos + i) % size];
}

/* Takes all samples out of the ring; returns how many, -1 for any that cannot be */
static int drain(void *ring, struct sample *sample, int max)
{
	struct {
		struct perf_event_header header;
		__u64	time;
		__u32	cpu, reserved;
		__u64	nr;
		__u64	val[3];
	} rec;
	struct perf_event_mmap_page *page = ring;
	__u64 tail = page->data_tail;
	__u64 head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
	int nr = 0;

	for (; tail < head; tail += rec.header.size) {
		ring_copy(ring, tail, &rec.header, sizeof(rec.header));
		if (rec.header.type != PERF_RECORD_SAMPLE)
			continue;
		if (rec.header.size != sizeof(rec) || nr == max)
			return -1;
		ring_copy(ring, tail, &rec, sizeof(rec));
		if (rec.nr != 3)
			return -1;
		sample[nr++] = (struct sample) {
			rec.time, rec.cpu, rec.val[0], rec.val[1], rec.val[2],
		};
	}
	__atomic_store_n(&page->data_tail, tail, __ATOMIC_RELEASE);
	return nr;
}

static long tell_and_spin(long unused)
{
	__atomic_store_n(&shared->started[0], 1, __ATOMIC_RELEASE);
	return pkg_spin(unused);
}

/* Samples while the puppet runs, and reads the group meanwhile */
static void run_and_sample(struct __test_metadata *_metadata,
			   FIXTURE_DATA(pkg_sample) * self)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS, val[3], last = 0;
	int got;

	ASSERT_EQ(0, puppet_start(&self->p, tell_and_spin, 0));
	while (!__atomic_load_n(&shared->started[0], __ATOMIC_ACQUIRE))
		;
	ASSERT_EQ(0, ioctl(self->switches, PERF_EVENT_IOC_RESET, 0));
	ASSERT_EQ(0, ioctl(self->leader, PERF_EVENT_IOC_ENABLE, 0));
	while (self->nr < NR_SAMPLES && pkg_now(CLOCK_MONOTONIC) < end) {
		got = drain(self->ring, self->sample + self->nr, MAX_SAMPLES - self->nr);
		ASSERT_LE(0, got);
		self->nr += got;
		ASSERT_EQ(0, pkg_read(self->leader, val, 3));
		ASSERT_LE(last, val[1]);
		last = val[1];
	}
	ASSERT_EQ(0, ioctl(self->leader, PERF_EVENT_IOC_DISABLE, 0));
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&self->p));
	ASSERT_LE(NR_SAMPLES, self->nr);
}

/* Samples are in order, and none is ahead of what the event says at the end */
TEST_F_TIMEOUT(pkg_sample, consistent, 120)
{
	struct sample *s = self->sample;
	int i, strays = 0;

	run_and_sample(_metadata, self);
	for (i = 0; i < self->nr; i++) {
		if (i) {
			ASSERT_LE(s[i - 1].time, s[i].time);
			ASSERT_LE(s[i - 1].pkg, s[i].pkg);
		}
		strays += (int)s[i].cpu != self->far;
	}
	EXPECT_EQ(0, strays);
	EXPECT_LE(s[self->nr - 1].pkg, pkg_count(self->pkg));
}

/*
 * The task runs all the time, so between two samples it ran as long as lies
 * between them, but for the age of the later value: the clock is read in the same
 * pass. What is as old as the last context switch changes only when there is one.
 */
TEST_F_TIMEOUT(pkg_sample, fresh, 120)
{
	struct sample *s = self->sample;
	__u64 ran, counted, age, changes = 0;
	int i, old = 0;

	run_and_sample(_metadata, self);
	for (i = 1; i < self->nr; i++) {
		changes += s[i].pkg != s[i - 1].pkg;
		ran = s[i].leader - s[0].leader;
		counted = s[i].pkg - s[0].pkg;
		age = s[i].time > s[i].clock ? s[i].time - s[i].clock : 0;
		old += ran > counted + age + ran / 50 + PKG_CLOCKS_NS;
	}
	/* The timer may come between the read of the value and of its age */
	if (variant->type == PERF_TYPE_SOFTWARE)
		EXPECT_LE(old, self->nr / 20);
	EXPECT_LT(2 * pkg_count(self->switches) + 5, changes);
}

/* On a CPU of the package the sample reads it, unless that was done just before */
TEST_F_TIMEOUT(pkg_sample, reads_the_package, 120)
{
	struct sample *s = self->sample;
	int i, old = 0;

	if (!variant->of_cpu)
		SKIP(return, "the clock is that of a task, which only the timer reads");
	run_and_sample(_metadata, self);
	for (i = 1; i < self->nr; i++)
		old += s[i].time > s[i].clock + FRESH_NS;
	EXPECT_LE(old, self->nr / 20)
		TH_LOG("%d of %d older than %llu ns", old, self->nr, FRESH_NS);
}

TEST_HARNESS_MAIN
