// SPDX-License-Identifier: GPL-2.0
/*
 * A BPF program reads package-scope counters with bpf_perf_event_read_value()
 * on a CPU of another package: of a task that runs elsewhere, of one with
 * children, and of a CPU; and on every CPU those of a group of resctrl.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_puppet.h"

#ifndef HAVE_LIBBPF

TEST(pkg_bpf)
{
	SKIP(return, "built without clang or libbpf");
}

#else

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "pkg_bpf.h"
#include "pkg_rdt.h"

#define RAPL_PMU	"/sys/bus/event_source/devices/power/"

/* Returns NULL, or why there is nothing to test here */
static const char *open_object(struct bpf_object **obj)
{
	if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_PERF_EVENT, NULL) != 1)
		return "no BPF programs for perf events in this kernel";
	*obj = bpf_object__open_file("pkg_bpf.bpf.o", NULL);
	if (!*obj)
		return "no pkg_bpf.bpf.o here";
	if (bpf_object__load(*obj))
		ksft_exit_fail_msg("pkg_bpf.bpf.o is refused: %s\n", strerror(errno));
	return NULL;
}

FIXTURE(pkg_bpf)
{
	struct puppet p;
	struct bpf_object *obj;
	int events;
	int results;
	int sampler;
	int cpu;
};

/* Where the program runs: in the interrupt of a timer, or in an NMI */
FIXTURE_VARIANT(pkg_bpf)
{
	struct perf_event_attr sampler;
};

FIXTURE_VARIANT_ADD(pkg_bpf, irq)
{
	.sampler = {
		.type		= PERF_TYPE_SOFTWARE,
		.size		= sizeof(struct perf_event_attr),
		.config		= PERF_COUNT_SW_CPU_CLOCK,
		.sample_period	= 5 * NSEC_PER_MSEC,
		.disabled	= 1,
	},
};

/* Not so rarely: this CPU is idle most of the time */
FIXTURE_VARIANT_ADD(pkg_bpf, nmi)
{
	.sampler = {
		.type		= PERF_TYPE_HARDWARE,
		.size		= sizeof(struct perf_event_attr),
		.config		= PERF_COUNT_HW_INSTRUCTIONS,
		.sample_period	= 10007,
		.disabled	= 1,
	},
};

FIXTURE_SETUP(pkg_bpf)
{
	const char *why = pkg_init(2);
	struct bpf_program *prog;

	if (why)
		SKIP(return, "%s", why);
	why = open_object(&self->obj);
	if (why)
		SKIP(return, "%s", why);
	self->events = bpf_object__find_map_fd_by_name(self->obj, "events");
	self->results = bpf_object__find_map_fd_by_name(self->obj, "results");
	prog = bpf_object__find_program_by_name(self->obj, "read_counters");
	ASSERT_NE(NULL, prog);
	self->sampler = pkg_open(variant->sampler, -1, topo.pkg[0].cpu[0], -1);
	if (self->sampler < 0 && variant->sampler.type == PERF_TYPE_HARDWARE)
		SKIP(return, "no hardware counter");
	ASSERT_LE(0, self->sampler);
	ASSERT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_SET_BPF, bpf_program__fd(prog)));

	/* The program runs here, the task there */
	self->cpu = topo.pkg[0].cpu[0];
	ASSERT_EQ(0, pkg_pin(self->cpu));
	ASSERT_EQ(0, puppet_new(&self->p));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, topo.pkg[1].cpu[0]));
}

FIXTURE_TEARDOWN(pkg_bpf)
{
	pkg_stop(1);
	puppet_end(&self->p);
	bpf_object__close(self->obj);
}

static void add_event(struct __test_metadata *_metadata, int map, __u32 key, int fd)
{
	ASSERT_EQ(0, bpf_map_update_elem(map, &key, &fd, BPF_ANY))
		TH_LOG("event %u: %s", key, strerror(errno));
}

#define MIN_CHANGES	5

/* Until each event has been read that often and has moved, or one cannot be read */
static void wait_for_reads(struct __test_metadata *_metadata, int results, __u64 reads)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	struct pkg_bpf_result res;
	__u32 i;

	for (i = 0; i < PKG_BPF_EVENTS; i++) {
		do {
			usleep(1000);
			ASSERT_EQ(0, bpf_map_lookup_elem(results, &i, &res));
		} while ((res.reads < reads || res.changes < MIN_CHANGES) && !res.errors &&
			 pkg_now(CLOCK_MONOTONIC) < end);
	}
}

/* What the program saw grew, up to what read(2) says */
static void check_reads(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_bpf) * self,
			const int *fd)
{
	struct pkg_bpf_result res;
	__u32 i;

	for (i = 0; i < PKG_BPF_EVENTS; i++) {
		ASSERT_EQ(0, bpf_map_lookup_elem(self->results, &i, &res));
		EXPECT_EQ(0, res.errors)
			TH_LOG("event %u: error %lld", i, res.last_error);
		EXPECT_LE(50, res.reads);
		EXPECT_LE(MIN_CHANGES, res.changes);
		EXPECT_EQ(0, res.steps_back);
		EXPECT_EQ(self->cpu, res.cpu);
		EXPECT_LE(res.value, pkg_count(fd[i]));
		EXPECT_LT(0, res.value);
	}
}

TEST_F_TIMEOUT(pkg_bpf, read_value, 120)
{
	struct perf_event_attr attr = pkg_attr(PKG_RUNTIME, PKG_ALL);
	int fd[PKG_BPF_EVENTS];
	__u32 i;

	fd[PKG_BPF_TASK] = PKG_OPEN(attr, self->p.pid, -1, -1);
	fd[PKG_BPF_CPU] = PKG_OPEN(attr, -1, topo.pkg[1].cpu[0], -1);
	attr.inherit = 1;
	fd[PKG_BPF_INHERITED] = PKG_OPEN(attr, self->p.pid, -1, -1);
	for (i = 0; i < PKG_BPF_EVENTS; i++)
		add_event(_metadata, self->events, i, fd[i]);

	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	ASSERT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_ENABLE, 0));
	wait_for_reads(_metadata, self->results, 50);
	ASSERT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_DISABLE, 0));
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&self->p));

	check_reads(_metadata, self, fd);
}

/* Without a timer: on its package the program reads the hardware, whichever CPU has the event */
TEST_F_TIMEOUT(pkg_bpf, own_package, 120)
{
	long long interval = pkg_get(PKG_DOMAIN_PMU, "refresh_interval_us");
	struct perf_event_attr clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	int other = topo.pkg[0].cpu[topo.pkg[0].nr_cpus - 1], leader;
	struct pkg_bpf_result res;
	int fd[PKG_BPF_EVENTS];
	__u32 i;

	if (variant->sampler.type == PERF_TYPE_HARDWARE)
		SKIP(return, "pkg_clock cannot be read in an NMI");
	/* An event moves to the CPU of its leader, and is scheduled in with it */
	clock.disabled = 1;
	leader = PKG_OPEN(clock, -1, other, -1);
	fd[0] = PKG_OPEN(pkg_domain_attr(PKG_CLOCK), -1, self->cpu, -1);
	fd[1] = PKG_OPEN(pkg_domain_attr(PKG_CLOCK), -1, other, leader);
	fd[2] = PKG_OPEN(pkg_domain_attr(PKG_BUSY), -1, other, leader);
	ASSERT_EQ(0, ioctl(leader, PERF_EVENT_IOC_ENABLE, 0));
	for (i = 0; i < PKG_BPF_EVENTS; i++)
		add_event(_metadata, self->events, i, fd[i]);

	EXPECT_EQ(0, pkg_set(PKG_DOMAIN_PMU, "refresh_interval_us", 0));
	EXPECT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_ENABLE, 0));
	wait_for_reads(_metadata, self->results, 50);
	EXPECT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_DISABLE, 0));
	EXPECT_EQ(0, pkg_set(PKG_DOMAIN_PMU, "refresh_interval_us", interval));
	check_reads(_metadata, self, fd);
	/* The second clock was read just after the first one: it is the same */
	ASSERT_EQ(0, bpf_map_lookup_elem(self->results, &(__u32){ 1 }, &res));
	EXPECT_LE(res.reads - res.reads / 10, res.changes);
}

/* Energy, from one CPU: of its own package and of another one, for each of two CPUs */
TEST_F_TIMEOUT(pkg_bpf, energy, 120)
{
	struct perf_event_attr attr = {
		.type	= pkg_get(RAPL_PMU, "type"),
		.size	= sizeof(attr),
		.config	= 2,	/* energy-pkg */
	};
	long long interval = pkg_get(RAPL_PMU, "refresh_interval_us");
	long long max_age = pkg_get(RAPL_PMU, "max_age_us");
	int fd[PKG_BPF_EVENTS];
	__u32 i;

	if (interval < 0)
		SKIP(return, "no PMU power with package-scope counters");
	fd[0] = PKG_OPEN(attr, -1, self->cpu, -1);
	fd[1] = PKG_OPEN(attr, -1, topo.pkg[1].cpu[0], -1);
	fd[2] = PKG_OPEN(attr, -1, topo.pkg[1].cpu[topo.pkg[1].nr_cpus - 1], -1);
	for (i = 0; i < PKG_BPF_EVENTS; i++)
		add_event(_metadata, self->events, i, fd[i]);

	/* Nobody but the timer reads the hardware */
	EXPECT_EQ(0, pkg_set_str(RAPL_PMU, "max_age_us", "off"));
	EXPECT_EQ(0, pkg_set(RAPL_PMU, "refresh_interval_us", 10000));
	EXPECT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_ENABLE, 0));
	wait_for_reads(_metadata, self->results, 50);
	EXPECT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_DISABLE, 0));
	check_reads(_metadata, self, fd);
	EXPECT_EQ(0, pkg_set(RAPL_PMU, "refresh_interval_us", interval));
	EXPECT_EQ(0, pkg_set(RAPL_PMU, "max_age_us", max_age));
}

/*
 * Bandwidth of a group, in the L3 of the puppet and in the program's own, and of all RMIDs
 * there. Sometimes the timer is just reading them on this CPU.
 */
TEST_F_TIMEOUT(pkg_bpf, bytes, 120)
{
	const char *why = rdt_init(RDT_PMU, 2);
	int fd[PKG_BPF_EVENTS];
	__u32 i;

	if (why)
		SKIP(return, "%s", why);
	EXPECT_EQ(0, rdt_set(FRESH_INTERVAL, 100));
	EXPECT_EQ(0, rdt_set_str(FRESH_MAX_AGE, "off"));
	EXPECT_EQ(0, rdt_add_task(RDT_GROUP, getpid()));
	EXPECT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
	fd[0] = rdt_open_event(RDT_TOTAL, RDT_GROUP, topo.pkg[1].cpu[0]);
	fd[1] = rdt_open_event(RDT_TOTAL, RDT_GROUP, self->cpu);
	fd[2] = PKG_OPEN(rdt_attr(RDT_TOTAL, 0), -1, self->cpu, -1);
	for (i = 0; i < PKG_BPF_EVENTS; i++)
		add_event(_metadata, self->events, i, fd[i]);

	EXPECT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	EXPECT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_ENABLE, 0));
	pkg_burn(RDT_BURN_US);
	wait_for_reads(_metadata, self->results, 50);
	EXPECT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_DISABLE, 0));
	check_reads(_metadata, self, fd);
	pkg_stop(1);
	EXPECT_EQ(0, puppet_wait(&self->p));
	rdt_exit();
}

/* What the core said before must still hold for an event of another PMU */
TEST_F_TIMEOUT(pkg_bpf, inherited_event_of_the_core, 120)
{
	struct perf_event_attr attr = pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK);
	__u32 key = PKG_BPF_TASK;
	int fd;

	attr.inherit = 1;
	fd = PKG_OPEN(attr, self->p.pid, -1, -1);
	EXPECT_EQ(-EOPNOTSUPP, bpf_map_update_elem(self->events, &key, &fd, BPF_ANY));
}

/*
 * Cache occupancy and bandwidth of a group of resctrl, which has a task in each L3. The
 * program runs on all CPUs. Here, on CPU 0, stands beside it what the truth was.
 */
#define ROUND_US	(100 * 1000)
#define PERIOD_NS	(2 * NSEC_PER_MSEC)
/* A pulse is some of the hardware's units, and the cache forgets them in between */
#define PULSE_US	4000
#define PAUSE_US	16000
/* That is more than this */
#define MIN_BYTES	1000000
/* Of each counter on each CPU in a round */
#define MIN_READS	(ROUND_US * NSEC_PER_USEC / PERIOD_NS / 4)
#define MAX_TRUTHS	20000
/* How much later than it should the timer may be; and it may be late at times */
#define LATE_NS		NSEC_PER_MSEC
#define FEW(nr)		((nr) / 10 + 1)
#define ROUNDS		(2 * PKG_TRIES)

/* In one L3: some time after @before and before @after, in this order */
struct truth {
	__u64	before;
	__u64	total[2];
	__u64	occupancy;
	__u64	after;
};

static struct l3 {
	int		nr;
	struct truth	truth[MAX_TRUTHS];
} l3s[PKG_BPF_LOGGED / 2];

static struct logged {
	struct rdt_count	c;
	const struct l3		*l3;
	int			reads[PKG_MAX_CPUS];
} logged[PKG_BPF_LOGGED];

static int nr_logged;

FIXTURE(pkg_bpf_rdt)
{
	struct bpf_object *obj;
	int log;
	/* One in each L3 has its pulse, then one on each CPU fills the time */
	struct puppet p[PKG_MAX + PKG_MAX_CPUS];
	int nr_puppets;
	int sampler[PKG_MAX_CPUS];
	int nr_samplers;
	__u64 interval;
};

static void add_puppet(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_bpf_rdt) * self,
		       int cpu)
{
	ASSERT_EQ(0, puppet_new(&self->p[self->nr_puppets]));
	ASSERT_EQ(0, puppet_call(&self->p[self->nr_puppets++], pkg_pin, cpu));
}

FIXTURE_SETUP(pkg_bpf_rdt)
{
	struct perf_event_attr clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	const char *why = open_object(&self->obj);
	struct bpf_program *prog;
	int d, i, fd;
	__u64 val;

	if (why)
		SKIP(return, "%s", why);
	why = rdt_init(RDT_PMU, 2);
	if (why)
		SKIP(return, "%s", why);
	if (rdt.lossy || rdt_mon(RDT_GROUP, RDT_OCCUPANCY, 0, &val)) {
		rdt_exit();
		SKIP(return, "no value while the group sleeps");
	}
	/* Nobody but the timer reads the hardware, as by default */
	ASSERT_EQ(0, rdt_set_str(FRESH_INTERVAL, fresh_saved[FRESH_INTERVAL]));
	ASSERT_EQ(0, rdt_set_str(FRESH_MAX_AGE, "off"));
	self->interval = atoll(fresh_saved[FRESH_INTERVAL]) * NSEC_PER_USEC;

	self->log = bpf_object__find_map_fd_by_name(self->obj, "reads");
	prog = bpf_object__find_program_by_name(self->obj, "log_counters");
	ASSERT_NE(NULL, prog);
	clock.sample_period = PERIOD_NS;
	clock.disabled = 1;
	for (d = 0; d < topo.nr; d++) {
		add_puppet(_metadata, self, rdt_cpu(d));
		ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->p[d].pid));
	}
	for (d = 0; d < topo.nr; d++) {
		for (i = 0; i < topo.pkg[d].nr_cpus; i++) {
			fd = PKG_OPEN(clock, -1, topo.pkg[d].cpu[i], -1);
			ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_SET_BPF, bpf_program__fd(prog)));
			self->sampler[self->nr_samplers++] = fd;
			/* This task is on CPU 0 all the time */
			if (topo.pkg[d].cpu[i])
				add_puppet(_metadata, self, topo.pkg[d].cpu[i]);
		}
	}
}

FIXTURE_TEARDOWN(pkg_bpf_rdt)
{
	pkg_stop(1);
	while (self->nr_puppets)
		puppet_end(&self->p[--self->nr_puppets]);
	bpf_object__close(self->obj);
	rdt_exit();
}

static long spin_when_idle(long unused)
{
	struct sched_param param = {};

	if (sched_setscheduler(0, SCHED_IDLE, &param))
		return -errno;
	return pkg_spin(unused);
}

/* No other CPU is needed to wake it */
static long pulse(long us)
{
	while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
		pkg_burn(us);
		usleep(PAUSE_US);
	}
	return 0;
}

/* On one CPU of the L3 */
static void log_event(struct __test_metadata *_metadata, struct bpf_object *obj,
		      enum rdt_event event, int domain)
{
	int cpu = topo.pkg[domain].cpu[0], slot = nr_logged++, dir = rdt_open_dir(RDT_GROUP);
	struct rdt_count *c = &logged[slot].c;
	__u64 before;

	logged[slot].l3 = &l3s[domain];
	*c = (struct rdt_count) {
		.event		= event,
		.rmids		= 1ULL << rdt_rmid(RDT_GROUP),
		.domains	= 1U << domain,
	};
	before = rdt_truth_of(c);
	ASSERT_EQ(0, rdt_add(c, rdt_attr(event, dir), -1, cpu));
	close(dir);
	rdt_started(c, before);
	add_event(_metadata, bpf_object__find_map_fd_by_name(obj, "counters"), slot, c->fd[0]);
	add_event(_metadata, bpf_object__find_map_fd_by_name(obj, "ages"), slot,
		  PKG_OPEN(rdt_attr(PKG_AGE, 0), -1, cpu, c->fd[0]));
}

static void log_truth(int us)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + us * NSEC_PER_USEC;
	int d, rmid = rdt_rmid(RDT_GROUP);
	struct truth *t;

	do {
		for (d = 0; d < nr_logged / 2; d++) {
			if (l3s[d].nr == MAX_TRUTHS)
				return;
			t = &l3s[d].truth[l3s[d].nr++];
			t->before = pkg_now(CLOCK_MONOTONIC);
			t->total[0] = rdt_truth(RDT_TOTAL, d, rmid);
			t->occupancy = rdt_truth(RDT_OCCUPANCY, d, rmid);
			t->total[1] = rdt_truth(RDT_TOTAL, d, rmid);
			t->after = pkg_now(CLOCK_MONOTONIC);
		}
	} while (pkg_now(CLOCK_MONOTONIC) < end);
}

/* A cache cannot be filled but with what is moved there: so much from @t to the next one */
static void may_occupy(const struct truth *t, __u64 *low, __u64 *high)
{
	__u64 moved = t[1].total[1] - t->total[0];
	__u64 most = t->occupancy + moved;
	__u64 least = t[1].occupancy > moved ? t[1].occupancy - moved : 0;

	*low = least < *low ? least : *low;
	*high = most > *high ? most : *high;
}

/* The least and the most that there may have been in this time; false: unknown */
static bool find_truth(const struct logged *l, __u64 from, __u64 to, __u64 *low, __u64 *high)
{
	const struct truth *t = l->l3->truth, *last = t + l->l3->nr - 1;

	if (!l->l3->nr || t->after > from || last->before < to)
		return false;
	while (t[1].after <= from)
		t++;
	*low = l->c.event == RDT_TOTAL ? t->total[1] : t->occupancy;
	*high = *low;
	for (; t->before < to; t++) {
		if (l->c.event == RDT_TOTAL)
			*high = t[1].total[0];
		else
			may_occupy(t, low, high);
	}
	return true;
}

struct log_sum {
	int	nr;
	int	failed;
	/* Older than they may be */
	int	old;
	__u64	oldest;
	/* Other than the truth was, as long ago as their age says */
	int	wrong;
};

static void check_log(int log, __u64 may_be_old, struct log_sum *sum)
{
	struct pkg_bpf_read r;
	struct logged *l;
	__u64 low, high;

	while (!bpf_map_lookup_and_delete_elem(log, NULL, &r)) {
		l = &logged[r.slot];
		sum->failed += !!r.error;
		if (r.error || !find_truth(l, r.before - r.age, r.after, &low, &high))
			continue;
		sum->nr++;
		l->reads[r.cpu]++;
		sum->old += r.age > may_be_old;
		sum->oldest = r.age > sum->oldest ? r.age : sum->oldest;
		/* Says what does not fit, the first times */
		sum->wrong += sum->wrong < 10 ? !rdt_fits(&l->c, r.value, low, high) :
			      !rdt_is_between(&l->c, r.value, low, high, &low, &high);
	}
}

static long long calls(void)
{
	long long sum = 0;
	int d;

	for (d = 0; d < topo.nr; d++)
		sum += fresh_irqs("CAL", d);
	return sum;
}

static int set_samplers(FIXTURE_DATA(pkg_bpf_rdt) * self, unsigned long op)
{
	int i, failed = 0;

	for (i = 0; i < self->nr_samplers; i++)
		failed += !!ioctl(self->sampler[i], op, 0);
	return failed;
}

/* Returns how many function call interrupts there were while the program read, or did not */
static long long log_round(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_bpf_rdt) * self,
			   bool reads)
{
	long long before, after;
	int i;

	for (i = 0; i < nr_logged; i++) {
		l3s[i / 2].nr = 0;
		memset(logged[i].reads, 0, sizeof(logged[i].reads));
	}
	/* What is read first is as old as an interval */
	log_truth(self->interval / NSEC_PER_USEC * 2);
	if (reads)
		EXPECT_EQ(0, set_samplers(self, PERF_EVENT_IOC_ENABLE));
	before = calls();
	log_truth(ROUND_US);
	after = calls();
	EXPECT_EQ(0, set_samplers(self, PERF_EVENT_IOC_DISABLE));
	/* And the end of the last read */
	log_truth(0);
	return after - before;
}

/* The truth was not the same all the time, or nothing was tested */
static bool has_moved(const struct logged *l)
{
	__u64 val, least = ~0ULL, most = 0;
	int i;

	for (i = 0; i < l->l3->nr; i++) {
		val = l->c.event == RDT_TOTAL ? l->l3->truth[i].total[0] :
						l->l3->truth[i].occupancy;
		least = val < least ? val : least;
		most = val > most ? val : most;
	}
	return most > least + MIN_BYTES;
}

/* read(2) that wants something newer: what an interrupt to another L3 looks like */
static long long calls_of_read(int fd)
{
	long long before;

	rdt_set(FRESH_MAX_AGE, 100);
	usleep(1000);
	before = calls();
	pkg_count(fd);
	before = calls() - before;
	rdt_set_str(FRESH_MAX_AGE, "off");
	return before;
}

/* On each CPU, of each counter */
static bool enough_reads(void)
{
	int d, i, cpu;

	for (i = 0; i < nr_logged; i++)
		for (d = 0; d < topo.nr; d++)
			for (cpu = 0; cpu < topo.pkg[d].nr_cpus; cpu++)
				if (logged[i].reads[topo.pkg[d].cpu[cpu]] < MIN_READS)
					return false;
	return true;
}

/*
 * Values are right in each round. But others of the kernel call CPUs at times, with and
 * without reads; and a virtual CPU waits for its turn, so do the timer and the program on it.
 */
static bool good_round(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_bpf_rdt) * self,
		       bool busy)
{
	long long without = log_round(_metadata, self, false);
	long long with = log_round(_metadata, self, true);
	struct log_sum sum = {};
	int i;

	check_log(self->log, self->interval + LATE_NS, &sum);
	TH_LOG("CPUs %s: %d reads, %d too old (the oldest %llu us), %lld calls, without reads %lld",
	       busy ? "busy" : "idle", sum.nr, sum.old, sum.oldest / NSEC_PER_USEC, with, without);
	EXPECT_EQ(0, sum.failed);
	EXPECT_EQ(0, sum.wrong);
	/* What is in a cache stays there while nobody brings in more. */
	for (i = 0; i < nr_logged; i++)
		EXPECT_TRUE(has_moved(&logged[i]) || logged[i].c.event == RDT_OCCUPANCY);
	return enough_reads() && sum.old <= (busy ? sum.nr / 2 : FEW(sum.nr)) &&
	       with <= without && 10 * with < sum.nr;
}

static bool some_good_round(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_bpf_rdt) * self,
			    bool busy)
{
	int i;

	for (i = 0; i < ROUNDS; i++)
		if (good_round(_metadata, self, busy))
			return true;
	return false;
}

TEST_F_TIMEOUT(pkg_bpf_rdt, group, 300)
{
	int d, i;

	for (d = 0; d < topo.nr && nr_logged < PKG_BPF_LOGGED; d++) {
		log_event(_metadata, self->obj, RDT_OCCUPANCY, d);
		log_event(_metadata, self->obj, RDT_TOTAL, d);
	}
	/* In each L3 another one */
	for (d = 0; d < topo.nr; d++)
		ASSERT_EQ(0, puppet_start(&self->p[d], pulse, (1 + d) * PULSE_US));
	EXPECT_TRUE(some_good_round(_metadata, self, false));

	for (i = topo.nr; i < self->nr_puppets; i++)
		ASSERT_EQ(0, puppet_start(&self->p[i], spin_when_idle, 0));
	EXPECT_TRUE(some_good_round(_metadata, self, true));
	EXPECT_LT(0, calls_of_read(logged[nr_logged - 1].c.fd[0]));

	pkg_stop(1);
	for (i = 0; i < self->nr_puppets; i++)
		EXPECT_EQ(0, puppet_wait(&self->p[i]));
}

#endif /* HAVE_LIBBPF */

TEST_HARNESS_MAIN
