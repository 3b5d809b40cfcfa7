// SPDX-License-Identifier: GPL-2.0
/*
 * A hardware counter that overflows every few hundred instructions reads package-scope
 * counters in its NMI: inside of what publishes them, opens and closes windows, changes
 * lists and moves timers, too. If it fails, a sample shows a value that is torn, steps
 * back or is ahead of what was counted, or the kernel does not survive.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_fresh.h"

#define SYSCTL		"/proc/sys/kernel/"
#define RING_PAGES	256
#define MOVES		40
#define ROUNDS		30

static const char * const limits[] = { "perf_event_max_sample_rate", "perf_cpu_time_max_percent" };

FIXTURE(pkg_nmi)
{
	struct puppet p;
	int far;
	long long limit[2];
	int leader;
	void *ring;
};

FIXTURE_VARIANT(pkg_nmi)
{
	__u64 period;
};

FIXTURE_VARIANT_ADD(pkg_nmi, 500)
{
	.period = 500,
};

FIXTURE_VARIANT_ADD(pkg_nmi, 1009)
{
	.period = 1009,
};

FIXTURE_VARIANT_ADD(pkg_nmi, 10007)
{
	.period = 10007,
};

/* For a kernel with lockdep and KASAN, which would not come out of its NMIs otherwise */
FIXTURE_VARIANT_ADD(pkg_nmi, 200003)
{
	.period = 200003,
};

FIXTURE_SETUP(pkg_nmi)
{
	const char *why = fresh_init(2);
	int i;

	if (why)
		SKIP(return, "%s", why);
	self->far = topo.pkg[1].cpu[1];
	for (i = 0; i < 2; i++)
		self->limit[i] = pkg_get(SYSCTL, limits[i]);
	ASSERT_EQ(0, pkg_set(SYSCTL, limits[0], 10000000));
	/* However much of a CPU it takes. The rate cannot be changed then. */
	ASSERT_EQ(0, pkg_set(SYSCTL, limits[1], 0));
	ASSERT_EQ(0, fresh_set(FRESH_INTERVAL, 100));
	ASSERT_EQ(0, fresh_set_str(FRESH_MAX_AGE, "off"));
	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[0]));
	ASSERT_EQ(0, puppet_new(&self->p));
}

FIXTURE_TEARDOWN(pkg_nmi)
{
	int i;

	pkg_stop(1);
	puppet_end(&self->p);
	pkg_set(SYSCTL, limits[1], 25);
	for (i = 0; i < 2; i++)
		pkg_set(SYSCTL, limits[i], self->limit[i]);
	fresh_exit();
}

/* Of a task, or of a CPU; disabled. Returns what pkg_open() does. */
static int open_leader(FIXTURE_DATA(pkg_nmi) * self, __u64 period, pid_t pid, int cpu)
{
	struct perf_event_attr attr = {
		.type		= PERF_TYPE_HARDWARE,
		.size		= sizeof(attr),
		.config		= PERF_COUNT_HW_INSTRUCTIONS,
		.sample_period	= period,
		.sample_type	= PERF_SAMPLE_READ,
		.read_format	= PERF_FORMAT_GROUP,
		.disabled	= 1,
	};

	self->leader = pkg_open(attr, pid, cpu, -1);
	if (self->leader < 0)
		return self->leader;
	self->ring = mmap(NULL, (1 + RING_PAGES) * getpagesize(), PROT_READ | PROT_WRITE,
			  MAP_SHARED, self->leader, 0);
	return self->ring == MAP_FAILED ? -errno : 0;
}

/*
 * Looks at all samples of a leader and @nr others: each of these does not step back, and is
 * not above what it counted in the end. Returns how many there are, -1 after a message.
 */
static int look(FIXTURE_DATA(pkg_nmi) * self, const __u64 *end, int nr)
{
	struct perf_event_mmap_page *page = self->ring;
	__u64 head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
	size_t size = RING_PAGES * getpagesize();
	char *data = (char *)self->ring + getpagesize();
	__u64 pos, *val, last[8] = {};
	struct perf_event_header *header;
	int i, samples = 0;

	for (pos = page->data_tail; pos < head; pos += header->size) {
		header = (void *)(data + pos % size);
		/* Records are a number of words, so this one is whole; the ring was never full. */
		if (header->type != PERF_RECORD_SAMPLE)
			continue;
		for (i = 1; i <= nr; i++) {
			val = (void *)(data + (pos + sizeof(*header) + (1 + i) * 8) % size);
			if (*val < last[i] || *val > end[i]) {
				ksft_print_msg("sample %d, value %d: %llu after %llu, of %llu\n",
					       samples, i, *val, last[i], end[i]);
				return -1;
			}
			last[i] = *val;
		}
		samples++;
	}
	__atomic_store_n(&page->data_tail, head, __ATOMIC_RELEASE);
	return samples;
}

static int open_runtime(pid_t pid, enum pkg_policy policy, int leader)
{
	return pkg_open(pkg_attr(PKG_RUNTIME | PKG_POLICY(policy), PKG_ALL), pid, -1, leader);
}

/* While it migrates, sleeps and forks nothing: as exact as what no NMI reads */
TEST_F_TIMEOUT(pkg_nmi, task, 300)
{
	__u64 val[3], ref, before, times = 0;
	int fd, cached, samples, round;

	if (open_leader(self, variant->period, self->p.pid, -1))
		SKIP(return, "no hardware counter");
	fd = open_runtime(self->p.pid, PKG_POLICY_SLOTS, self->leader);
	ASSERT_LE(0, fd);
	PKG_OPEN(pkg_attr(PKG_CLOCK, topo.pkg[1].id), self->p.pid, -1, self->leader);
	cached = open_runtime(self->p.pid, PKG_POLICY_CACHED, -1);
	ASSERT_LE(0, cached);
	before = pkg_count(cached);
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, ioctl(self->leader, PERF_EVENT_IOC_ENABLE, 0));
		ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, MOVES));
		ASSERT_EQ(0, ioctl(self->leader, PERF_EVENT_IOC_DISABLE, 0));
		times += MOVES;
		ASSERT_EQ(0, pkg_read(self->leader, val, 3));
		samples = look(self, val, 1);
		ASSERT_LT(0, samples);
	}
	ref = pkg_count(cached) - before;
	TH_LOG("%d samples in the last round, %llu of %llu ns", samples, val[1], ref);
	/* Each time it is enabled and disabled the puppet sleeps */
	EXPECT_LE(val[1], ref + PKG_SWITCH_NS);
	EXPECT_LE(ref, val[1] + times * PKG_SWITCH_NS);
}

/*
 * Events of a CPU, which are off for a moment whenever another one comes. The core lets
 * no event of a package into the group of a hardware counter: their windows only open and
 * close under its NMIs.
 */
TEST_F_TIMEOUT(pkg_nmi, cpu, 300)
{
	__u64 val[2], before, ref, busy;
	int other, fresh, package, samples, round;

	if (open_leader(self, variant->period, -1, self->far))
		SKIP(return, "no hardware counter");
	PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), -1, self->far, self->leader);
	other = PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), -1, self->far, -1);
	package = PKG_OPEN(pkg_domain_attr(PKG_BUSY), -1, self->far, -1);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, self->far));
	pkg_stop(0);
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	usleep(1000);
	before = pkg_count(other);
	busy = pkg_count(package);
	ASSERT_EQ(0, ioctl(self->leader, PERF_EVENT_IOC_ENABLE, 0));
	for (round = 0; round < ROUNDS; round++) {
		fresh = PKG_OPEN(pkg_domain_attr(PKG_BUSY), -1, self->far, -1);
		usleep(200);
		close(fresh);
	}
	ASSERT_EQ(0, ioctl(self->leader, PERF_EVENT_IOC_DISABLE, 0));
	usleep(1000);
	ref = pkg_count(other) - before;
	busy = pkg_count(package) - busy;
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&self->p));
	ASSERT_EQ(0, pkg_read(self->leader, val, 2));
	samples = look(self, val, 1);
	ASSERT_LT(0, samples);
	TH_LOG("%d samples, %llu of %llu ns, package %llu", samples, val[1], ref, busy);
	EXPECT_LE(val[1], ref + PKG_SWITCH_NS);
	EXPECT_LE(ref, val[1] + 2 * NSEC_PER_MSEC + ROUNDS * PKG_SWITCH_NS);
	/* One of its CPUs is busy, the other one perhaps */
	EXPECT_LE(ref, busy + ROUNDS * PKG_SWITCH_NS);
	EXPECT_LE(busy, 2 * ref + ROUNDS * PKG_SWITCH_NS);
}

/* The task is driven from package to package, while timers move and domains end */
TEST_F_TIMEOUT(pkg_nmi, hotplug, 300)
{
	__u64 val[2];
	int samples, i;

	if (!fresh_can_go(topo.pkg[1].cpu[0]) || !fresh_can_go(topo.pkg[1].cpu[1]))
		SKIP(return, "CPUs cannot go offline");
	if (open_leader(self, variant->period, self->p.pid, -1))
		SKIP(return, "no hardware counter");
	ASSERT_LE(0, open_runtime(self->p.pid, PKG_POLICY_SLOTS, self->leader));
	pkg_stop(0);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, self->far));
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	ASSERT_EQ(0, ioctl(self->leader, PERF_EVENT_IOC_ENABLE, 0));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, fresh_set_online(topo.pkg[1].cpu[1 - i], 0));
	for (i = 0; i < 2; i++)
		EXPECT_EQ(0, fresh_set_online(topo.pkg[1].cpu[i], 1));
	ASSERT_EQ(0, ioctl(self->leader, PERF_EVENT_IOC_DISABLE, 0));
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&self->p));
	ASSERT_EQ(0, pkg_read(self->leader, val, 2));
	samples = look(self, val, 1);
	TH_LOG("%d samples", samples);
	EXPECT_LT(0, samples);
}

TEST_HARNESS_MAIN
