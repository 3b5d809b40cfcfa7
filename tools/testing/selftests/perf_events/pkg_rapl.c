// SPDX-License-Identifier: GPL-2.0
/*
 * Energy events, the PMU `power`, against the true values that an emulator reports.
 * The tests `rapl_base` hold for the driver with and without package-scope counters, the
 * tests `rapl_engine` for what package-scope counters add.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_rapl.h"

#define MAX_COUNTS	(PKG_MAX * PKG_MAX_CPUS / 4)
#define WRAP_UNITS	4096
#define NR_READS	50
/* Function calls that others make meanwhile */
#define STRAY_CALLS	(NR_READS / 2)
#define MAX_AGE_US	500
#define RING_PAGES	64
#define NR_SAMPLES	100
#define NR_RESTARTS	1000

struct rapl_test {
	struct puppet p;
	struct rapl_count c[MAX_COUNTS];
	int nr;
};

static const char *setup(struct rapl_test *t, int min_domains)
{
	const char *why = rapl_init(min_domains);

	if (!why && puppet_new(&t->p))
		why = "no other process";
	return why;
}

static void teardown(struct rapl_test *t)
{
	int i;

	for (i = 0; i < topo.nr; i++)
		rapl_fail(i, false);
	for (i = 0; i < PKG_MAX_CPUS; i++)
		if (fresh_can_go(i))
			fresh_set_online(i, 1);
	pkg_stop(1);
	puppet_end(&t->p);
}

FIXTURE(rapl_base)
{
	struct rapl_test t;
};

FIXTURE_SETUP(rapl_base)
{
	const char *why = setup(&self->t, 1);

	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(rapl_base)
{
	teardown(&self->t);
}

/* Returns the next count, to be opened */
static struct rapl_count *next(struct rapl_test *t)
{
	if (t->nr == MAX_COUNTS)
		ksft_exit_fail_msg("too many events\n");
	return &t->c[t->nr++];
}

/* Opens each kind of event once, on a CPU of the domain; returns how many or an error */
static int open_kinds(struct rapl_test *t, int domain, int cpu)
{
	int kind, err, nr = 0;

	for (kind = RAPL_CORES; kind < RAPL_KINDS; kind++) {
		if (!rapl.has[kind])
			continue;
		err = rapl_open(next(t), kind, domain, cpu);
		if (err)
			return err;
		nr++;
	}
	return nr;
}

/* Each kind of event of each domain */
static int open_all(struct rapl_test *t)
{
	int d, nr = 0;

	for (d = 0; d < topo.nr && nr >= 0; d++)
		nr = open_kinds(t, d, topo.pkg[d].cpu[0]);
	return nr < 0 ? nr : 0;
}

/* The core stops and starts those that are on the CPU already. */
static void enable_from(struct rapl_test *t, int first)
{
	int i;

	for (i = first; i < t->nr; i++) {
		rapl_enable(&t->c[i]);
		t->c[i].restarts = t->nr - 1 - i;
	}
}

static void enable_all(struct rapl_test *t)
{
	enable_from(t, 0);
}

static bool all_right(struct rapl_test *t)
{
	bool ok = true;
	int i;

	for (i = 0; i < t->nr; i++)
		ok &= rapl_right(&t->c[i]);
	return ok;
}

/* Keeps a CPU of the domain busy for some ms */
static int burn(struct rapl_test *t, int domain)
{
	int cpu = topo.pkg[domain].cpu[topo.pkg[domain].nr_cpus - 1];

	return puppet_call(&t->p, pkg_pin, cpu) ?: puppet_call(&t->p, pkg_burn, 30000);
}

/* One CPU of each domain, for tools to open an event on */
TEST_F(rapl_base, cpumask)
{
	int d;

	for (d = 0; d < topo.nr; d++)
		EXPECT_LE(0, rapl_cpu(d));
	EXPECT_EQ(topo.nr, fresh_mask_weight(RAPL_PMU));
}

TEST_F(rapl_base, sysfs)
{
	char name[64], val[64];
	int kind;

	ASSERT_TRUE(rapl.has[RAPL_PKG]);
	fresh_get_line(RAPL_PMU, "format/event", val, sizeof(val));
	EXPECT_STREQ("config:0-7", val);
	for (kind = RAPL_CORES; kind < RAPL_KINDS; kind++) {
		if (!rapl.has[kind])
			continue;
		fresh_get_line(RAPL_PMU, rapl_names[kind], val, sizeof(val));
		snprintf(name, sizeof(name), "event=0x%02x", kind);
		EXPECT_STREQ(name, val);
		snprintf(name, sizeof(name), "%s.unit", rapl_names[kind]);
		fresh_get_line(RAPL_PMU, name, val, sizeof(val));
		EXPECT_STREQ("Joules", val);
		snprintf(name, sizeof(name), "%s.scale", rapl_names[kind]);
		fresh_get_line(RAPL_PMU, name, val, sizeof(val));
		EXPECT_STREQ("2.3283064365386962890625e-10", val);
	}
}

/* While idle and busy, and no more once it is disabled */
TEST_F_TIMEOUT(rapl_base, totals, 120)
{
	struct rapl_test *t = &self->t;
	__u64 val[MAX_COUNTS];
	int d, i;

	ASSERT_EQ(0, open_all(t));
	enable_all(t);
	usleep(200000);
	EXPECT_TRUE(all_right(t));
	for (d = 0; d < topo.nr; d++) {
		ASSERT_EQ(0, burn(t, d));
		EXPECT_TRUE(all_right(t));
	}
	for (i = 0; i < t->nr; i++) {
		rapl_disable(&t->c[i]);
		val[i] = rapl_value(&t->c[i]);
		EXPECT_LT(0, val[i]);
	}
	usleep(50000);
	EXPECT_TRUE(all_right(t));
	for (i = 0; i < t->nr; i++)
		EXPECT_EQ(val[i], rapl_value(&t->c[i]));
}

/* Opened one after the other, from each CPU of a domain: each is right by itself */
TEST_F_TIMEOUT(rapl_base, several, 120)
{
	struct rapl_test *t = &self->t;
	int d, c, i, nr;

	for (d = 0; d < topo.nr; d++) {
		for (c = 0; c < topo.pkg[d].nr_cpus; c++) {
			nr = open_kinds(t, d, topo.pkg[d].cpu[c]);
			ASSERT_LT(0, nr);
			for (i = 0; i < nr; i++)
				rapl_enable(&t->c[t->nr - 1 - i]);
			usleep(5000);
		}
	}
	for (d = 0; d < topo.nr; d++)
		ASSERT_EQ(0, burn(t, d));
	EXPECT_TRUE(all_right(t));

	for (i = 0; i < t->nr; i += 2)
		rapl_disable(&t->c[i]);
	ASSERT_EQ(0, burn(t, topo.nr - 1));
	EXPECT_TRUE(all_right(t));
	for (i = 0; i < t->nr; i += 2)
		rapl_enable(&t->c[i]);
	for (i = 0; i < t->nr; i += 3)
		rapl_reset(&t->c[i]);
	ASSERT_EQ(0, burn(t, 0));
	EXPECT_TRUE(all_right(t));

	/* What is left when others are closed */
	for (i = 0; i < t->nr; i += 2) {
		close(t->c[i].fd);
		t->c[i / 2] = t->c[i + 1];
	}
	t->nr /= 2;
	usleep(20000);
	EXPECT_TRUE(all_right(t));
}

/* A reset while it is disabled: from 0 */
TEST_F(rapl_base, reset_disabled)
{
	struct rapl_count *c = next(&self->t);

	ASSERT_EQ(0, rapl_open(c, RAPL_PKG, 0, 0));
	rapl_enable(c);
	usleep(10000);
	rapl_disable(c);
	EXPECT_LT(0, rapl_value(c));
	ASSERT_EQ(0, ioctl(c->fd, PERF_EVENT_IOC_RESET, 0));
	EXPECT_EQ(0, rapl_value(c));
	c->least = 0;
	c->most = 0;
	rapl_enable(c);
	usleep(10000);
	EXPECT_TRUE(rapl_right(c));
}

/*
 * A group of each kind, and of one of them twice, in a domain. Members are started with
 * the leader, so what they must have counted is known by its start.
 */
static int open_group(struct rapl_test *t, int domain, int cpu)
{
	static const enum rapl_kind kinds[] = { RAPL_PKG, RAPL_CORES, RAPL_RAM, RAPL_PKG };
	struct rapl_count *c, *leader = NULL;
	struct perf_event_attr attr;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++) {
		if (!rapl.has[kinds[i]])
			continue;
		attr = rapl_attr(kinds[i]);
		attr.disabled = !leader;
		attr.read_format = PERF_FORMAT_GROUP;
		c = next(t);
		*c = (struct rapl_count) {
			.fd	= pkg_open(attr, -1, cpu, leader ? leader->fd : -1),
			.kind	= kinds[i],
			.domain	= domain,
		};
		if (c->fd < 0)
			return c->fd;
		leader = leader ?: c;
		leader->group++;
	}
	return 0;
}

static void enable_group(struct rapl_count *c)
{
	__u64 before[RAPL_KINDS + 1];
	int i;

	for (i = 0; i < c->group; i++)
		before[i] = rapl_truth_of(c + i);
	ioctl(c->fd, PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
	for (i = 0; i < c->group; i++)
		rapl_started(c + i, before[i]);
}

static void disable_group(struct rapl_count *c)
{
	__u64 before[RAPL_KINDS + 1];
	int i;

	for (i = 0; i < c->group; i++)
		before[i] = rapl_truth_of(c + i);
	ioctl(c->fd, PERF_EVENT_IOC_DISABLE, PERF_IOC_FLAG_GROUP);
	for (i = 0; i < c->group; i++)
		rapl_stopped(c + i, before[i]);
}

static bool group_right(struct rapl_count *c)
{
	__u64 before[RAPL_KINDS + 1], val[RAPL_KINDS + 1];
	bool ok = true;
	int i;

	for (i = 0; i < c->group; i++)
		before[i] = rapl_truth_of(c + i);
	usleep(RAPL_AGE_US);
	if (rapl_read(c, val))
		return false;
	for (i = 0; i < c->group; i++)
		ok &= rapl_fits(c + i, val[i], before[i], rapl_truth_of(c + i));
	return ok;
}

TEST_F_TIMEOUT(rapl_base, group, 120)
{
	struct rapl_test *t = &self->t;
	struct rapl_count *group;
	int d;

	for (d = 0; d < topo.nr; d++) {
		group = &t->c[t->nr];
		ASSERT_EQ(0, open_group(t, d, topo.pkg[d].cpu[0]));
		enable_group(group);
		ASSERT_EQ(0, burn(t, d));
		EXPECT_TRUE(group_right(group));
		disable_group(group);
		usleep(10000);
		EXPECT_TRUE(group_right(group));
		enable_group(group);
		usleep(10000);
		EXPECT_TRUE(group_right(group));
	}
}

/* Whether the counters of all @t's events have wrapped since they were started */
static bool all_wrapped(struct rapl_test *t)
{
	bool ok = true;
	int i;

	for (i = 0; i < t->nr; i++)
		ok &= rapl_value(&t->c[i]) >= (__u64)WRAP_UNITS << (32 - rapl.unit);
	return ok;
}

/* Lets counters wrap soon which no enabled event counts */
static int wrap_soon(struct rapl_test *t)
{
	int i, err = 0;

	for (i = 0; i < t->nr; i++)
		err |= rapl_wrap_in(t->c[i].kind, t->c[i].domain, WRAP_UNITS);
	return err;
}

TEST_F_TIMEOUT(rapl_base, wrap, 120)
{
	struct rapl_test *t = &self->t;
	int round, i, d;

	ASSERT_EQ(0, open_all(t));
	/* The second time the events have counted before */
	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, wrap_soon(t));
		enable_all(t);
		EXPECT_TRUE(all_right(t));
		usleep(200000);
		for (d = 0; d < topo.nr; d++)
			ASSERT_EQ(0, burn(t, d));
		EXPECT_TRUE(all_right(t));
		EXPECT_TRUE(all_wrapped(t));
		for (i = 0; i < t->nr; i++)
			rapl_disable(&t->c[i]);
		EXPECT_TRUE(all_right(t));
	}
}

/*
 * Nobody reads for so long that counters wrap. PKG_QUIET_S=3600 is for a guest whose
 * time passes quickly and with hundreds of watts, where they wrap several times.
 */
TEST_F_TIMEOUT(rapl_base, quiet, 20000)
{
	const char *quiet = getenv("PKG_QUIET_S");
	struct rapl_test *t = &self->t;
	int d;

	ASSERT_EQ(0, open_all(t));
	ASSERT_EQ(0, wrap_soon(t));
	enable_all(t);
	for (d = 0; d < topo.nr; d++)
		ASSERT_EQ(0, burn(t, d));
	sleep(quiet ? atoi(quiet) : 1);
	EXPECT_TRUE(all_right(t));
	EXPECT_TRUE(all_wrapped(t));
	ksft_print_msg("energy-pkg wrapped %llu times\n",
		       ((rapl_truth(RAPL_PKG, 0) / 1000000) << rapl.unit) >> 32);
}

/* The first energy domain after that of CPU 0 of which all CPUs can go; -1: none */
static int domain_that_can_go(void)
{
	int d, c;

	for (d = 1; d < topo.nr; d++) {
		for (c = 0; c < topo.pkg[d].nr_cpus; c++)
			if (!fresh_can_go(topo.pkg[d].cpu[c]))
				break;
		if (c == topo.pkg[d].nr_cpus)
			return d;
	}
	return -1;
}

static int set_domain_online(int domain, int online)
{
	int c, err = 0;

	for (c = 0; c < topo.pkg[domain].nr_cpus; c++)
		err |= fresh_set_online(topo.pkg[domain].cpu[c], online);
	return err;
}

/* A CPU goes; what happens while events move on to another one may be lost */
static int offline(struct rapl_test *t, int cpu)
{
	__u64 before[MAX_COUNTS];
	int i, err;

	for (i = 0; i < t->nr; i++)
		before[i] = rapl_truth_of(&t->c[i]);
	err = fresh_set_online(cpu, 0);
	for (i = 0; i < t->nr; i++) {
		t->c[i].least += before[i] - t->c[i].begin[1];
		t->c[i].most += before[i] - t->c[i].begin[0];
		t->c[i].begin[0] = before[i];
		t->c[i].begin[1] = rapl_truth_of(&t->c[i]);
		t->c[i].starts++;
	}
	return err;
}

/* The CPU that counts goes: another one does */
TEST_F_TIMEOUT(rapl_base, cpu_goes, 120)
{
	int d = domain_that_can_go(), c, round, cpu, next;
	struct rapl_test *t = &self->t;

	if (d < 0 || topo.pkg[d].nr_cpus < 2)
		SKIP(return, "no two CPUs in a domain that can go");
	for (c = 0; c < topo.pkg[d].nr_cpus; c++)
		ASSERT_LT(0, open_kinds(t, d, topo.pkg[d].cpu[c]));
	enable_all(t);
	for (round = 0; round < 3; round++) {
		cpu = rapl_cpu(d);
		ASSERT_LE(0, cpu);
		ASSERT_EQ(0, offline(t, cpu));
		next = rapl_cpu(d);
		EXPECT_LE(0, next);
		EXPECT_NE(cpu, next);
		EXPECT_TRUE(all_right(t));
		ASSERT_EQ(0, puppet_call(&t->p, pkg_pin, next));
		ASSERT_EQ(0, puppet_call(&t->p, pkg_burn, 20000));
		EXPECT_TRUE(all_right(t));
		ASSERT_EQ(0, fresh_set_online(cpu, 1));
		EXPECT_EQ(next, rapl_cpu(d));
		EXPECT_TRUE(all_right(t));
	}
}

/* The CPU that an event was opened on goes, but it is not the one that counts */
TEST_F_TIMEOUT(rapl_base, other_cpu_goes, 120)
{
	struct rapl_test *t = &self->t;
	int d = domain_that_can_go(), c;

	if (d < 0 || topo.pkg[d].nr_cpus < 2)
		SKIP(return, "no two CPUs in a domain that can go");
	for (c = 0; c < topo.pkg[d].nr_cpus; c++)
		ASSERT_LT(0, open_kinds(t, d, topo.pkg[d].cpu[c]));
	enable_all(t);
	for (c = 0; c < topo.pkg[d].nr_cpus; c++) {
		if (topo.pkg[d].cpu[c] == rapl_cpu(d))
			continue;
		ASSERT_EQ(0, offline(t, topo.pkg[d].cpu[c]));
		usleep(10000);
		EXPECT_TRUE(all_right(t));
		ASSERT_EQ(0, fresh_set_online(topo.pkg[d].cpu[c], 1));
		EXPECT_TRUE(all_right(t));
	}
}

/* All CPUs of a domain go: what was counted stays, and new events count when they are back */
TEST_F_TIMEOUT(rapl_base, domain_goes, 120)
{
	int d = domain_that_can_go(), nr, i, round;
	struct rapl_test *t = &self->t;
	__u64 before[MAX_COUNTS], val;

	if (d < 0)
		SKIP(return, "no energy domain of which all CPUs can go");
	for (round = 0; round < 2; round++) {
		t->nr = 0;
		nr = open_kinds(t, d, topo.pkg[d].cpu[0]);
		ASSERT_LT(0, nr);
		ASSERT_EQ(nr, open_kinds(t, 0, 0));
		enable_all(t);
		ASSERT_EQ(0, burn(t, d));
		EXPECT_TRUE(all_right(t));

		for (i = 0; i < nr; i++)
			before[i] = rapl_truth_of(&t->c[i]);
		ASSERT_EQ(0, set_domain_online(d, 0));
		for (i = 0; i < nr; i++)
			rapl_stopped(&t->c[i], before[i]);
		EXPECT_EQ(-1, rapl_cpu(d));
		EXPECT_TRUE(all_right(t));
		for (i = 0; i < nr; i++)
			before[i] = rapl_value(&t->c[i]);
		usleep(20000);
		for (i = 0; i < nr; i++)
			EXPECT_EQ(before[i], rapl_value(&t->c[i]));

		ASSERT_EQ(0, set_domain_online(d, 1));
		EXPECT_LE(0, rapl_cpu(d));
		for (i = 0; i < nr; i++) {
			val = rapl_value(&t->c[i]);
			EXPECT_LE(before[i], val);
			EXPECT_LE(val, rapl_truth_of(&t->c[i]) * RAPL_PER_UJ);
			close(t->c[i].fd);
		}
		/* The others have been counting all the time */
		for (i = nr; i < t->nr; i++) {
			EXPECT_TRUE(rapl_right(&t->c[i]));
			close(t->c[i].fd);
		}
	}
}

#define PM_TEST		"/sys/power/"
#define PM_DELAY	"/sys/module/suspend/parameters/"

/* As far as it goes without the firmware: the other CPUs go, and the clock stops */
TEST_F_TIMEOUT(rapl_base, suspend, 120)
{
	struct rapl_test *t = &self->t;
	int nr, i, delay, err;
	char states[64];

	fresh_get_line(PM_TEST, "state", states, sizeof(states));
	if (access(PM_TEST "pm_test", W_OK) || !strstr(states, "mem"))
		SKIP(return, "needs CONFIG_PM_DEBUG and something to suspend to");
	if (!system("grep -q ' 9p ' /proc/mounts"))
		SKIP(return, "the programs' file system would not come back");
	nr = open_kinds(t, 0, 0);
	ASSERT_LT(0, nr);
	ASSERT_EQ(0, wrap_soon(t));
	enable_all(t);
	EXPECT_TRUE(all_right(t));
	delay = pkg_get(PM_DELAY, "pm_test_delay");
	pkg_set(PM_DELAY, "pm_test_delay", 1);
	pkg_set_str(PM_TEST, "pm_test", "core");
	err = pkg_set_str(PM_TEST, "state", "mem");
	pkg_set_str(PM_TEST, "pm_test", "none");
	pkg_set(PM_DELAY, "pm_test_delay", delay);
	ASSERT_EQ(0, err);

	EXPECT_TRUE(all_right(t));
	EXPECT_TRUE(all_wrapped(t));
	for (i = 0; i < nr; i++)
		rapl_disable(&t->c[i]);
	ASSERT_EQ(0, open_all(t));
	enable_from(t, nr);
	usleep(20000);
	EXPECT_TRUE(all_right(t));
}

/* perf stat tries with exclude_guest first, and goes on without it for EINVAL alone */
TEST_F(rapl_base, as_perf_stat_opens)
{
	struct perf_event_attr attr = rapl_attr(RAPL_PKG);
	__u64 val[3];
	int fd;

	attr.inherit = 1;
	attr.exclude_guest = 1;
	attr.read_format = PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));
	attr.exclude_guest = 0;
	fd = PKG_OPEN(attr, -1, 0, -1);
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	usleep(10000);
	ASSERT_EQ(sizeof(val), read(fd, val, sizeof(val)));
	EXPECT_LT(0, val[0]);
	EXPECT_LT(0, val[1]);
	EXPECT_EQ(val[1], val[2]);
}

TEST_F(rapl_base, refused)
{
	static const __u64 configs[] = { 0, 4, 5, 6, 0x7f, 0x80, 0x102, 1ULL << 63 | RAPL_PKG };
	struct perf_event_attr attr = rapl_attr(RAPL_PKG);
	unsigned int i;
	int error;

	/* Of a task, with and without a CPU */
	EXPECT_EQ(-EINVAL, pkg_open(attr, 0, -1, -1));
	EXPECT_EQ(-EINVAL, pkg_open(attr, 0, 0, -1));
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, -1, -1));

	for (i = 0; i < ARRAY_SIZE(configs); i++)
		EXPECT_EQ(-EINVAL, pkg_open(rapl_attr(configs[i]), -1, 0, -1))
			TH_LOG("config 0x%llx", configs[i]);
	for (i = RAPL_CORES; i < RAPL_KINDS; i++)
		if (!rapl.has[i])
			EXPECT_EQ(-EINVAL, pkg_open(rapl_attr(i), -1, 0, -1));

	/* perf explains -EOPNOTSUPP, and makes nothing of -EINVAL. */
	error = rapl.engine ? -EOPNOTSUPP : -EINVAL;
	attr.sample_period = 1000;
	EXPECT_EQ(error, pkg_open(attr, -1, 0, -1));
	attr.freq = 1;
	EXPECT_EQ(error, pkg_open(attr, -1, 0, -1));
	attr.exclude_guest = 1;
	EXPECT_EQ(error, pkg_open(attr, -1, 0, -1));

#define EXPECT_REFUSED(bit) do {				\
	attr = rapl_attr(RAPL_PKG);				\
	attr.bit = 1;						\
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1))		\
		TH_LOG("%s", #bit);				\
} while (0)
	EXPECT_REFUSED(exclude_user);
	EXPECT_REFUSED(exclude_kernel);
	EXPECT_REFUSED(exclude_hv);
	EXPECT_REFUSED(exclude_idle);
	EXPECT_REFUSED(exclude_host);
	EXPECT_REFUSED(exclude_guest);
}

#define EXPECT_ACCEPTED(member, val) do {			\
	attr = rapl_attr(RAPL_PKG);				\
	attr.member = val;					\
	EXPECT_LE(0, pkg_open(attr, -1, 0, -1))			\
		TH_LOG("%s", #member);				\
} while (0)

/* Attributes that say nothing to an energy event */
TEST_F(rapl_base, accepted)
{
	struct perf_event_attr attr;

	EXPECT_ACCEPTED(inherit, 1);
	EXPECT_ACCEPTED(inherit_stat, 1);
	EXPECT_ACCEPTED(pinned, 1);
	EXPECT_ACCEPTED(enable_on_exec, 1);
	EXPECT_ACCEPTED(sample_type, PERF_SAMPLE_READ | PERF_SAMPLE_TIME);
	EXPECT_ACCEPTED(config1, ~0ULL);
	EXPECT_ACCEPTED(config2, 1);
	attr = rapl_attr(RAPL_PKG);
	attr.sample_type = PERF_SAMPLE_BRANCH_STACK;
	attr.branch_sample_type = PERF_SAMPLE_BRANCH_ANY;
	EXPECT_LE(0, pkg_open(attr, -1, 0, -1));
}

/* Behind a leader on the CPU of the domain that counts: it is moved there */
TEST_F(rapl_base, sibling_on_other_cpu)
{
	struct perf_event_attr clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	struct perf_event_attr attr = rapl_attr(RAPL_PKG);
	int d, i, leader;
	__u64 val[2];

	clock.read_format = PERF_FORMAT_GROUP;
	attr.disabled = 0;
	for (d = 0; d < topo.nr; d++) {
		for (i = 0; i < topo.pkg[d].nr_cpus; i++) {
			leader = PKG_OPEN(clock, -1, rapl_cpu(d), -1);
			PKG_OPEN(attr, -1, topo.pkg[d].cpu[i], leader);
			usleep(10000);
			ASSERT_EQ(0, pkg_read(leader, val, 2));
			EXPECT_LT(0, val[0]);
			EXPECT_LT(0, val[1]);
			close(leader);
		}
	}
}

/* A CPU of the domain is offline when the event is opened on it */
TEST_F(rapl_base, offline_cpu)
{
	int d = domain_that_can_go(), c;
	struct rapl_count *count;

	if (d < 0 || topo.pkg[d].nr_cpus < 2)
		SKIP(return, "no two CPUs in a domain that can go");
	for (c = 0; c < topo.pkg[d].nr_cpus; c++) {
		count = next(&self->t);
		ASSERT_EQ(0, fresh_set_online(topo.pkg[d].cpu[c], 0));
		EXPECT_EQ(0, rapl_open(count, RAPL_PKG, d, topo.pkg[d].cpu[c]));
		rapl_enable(count);
		usleep(10000);
		EXPECT_TRUE(rapl_right(count));
		ASSERT_EQ(0, fresh_set_online(topo.pkg[d].cpu[c], 1));
		EXPECT_TRUE(rapl_right(count));
	}
}

/* What a sample of the CPU's clock has from its group */
struct rapl_sample {
	struct perf_event_header header;
	__u64	nr;
	__u64	clock;
	__u64	energy[2];
};

static void ring_copy(void *ring, __u64 pos, void *to, size_t len)
{
	size_t size = RING_PAGES * getpagesize(), i;
	char *data = (char *)ring + getpagesize();

	for (i = 0; i < len; i++)
		((char *)to)[i] = data[(pos + i) % size];
}

/*
 * Two events of one kind agree within a sample, but for what passed while they began, one
 * after the other, and between the reads; the next sample has a new value
 */
static void check_samples(struct __test_metadata *_metadata, int leader, void *ring,
			  __u64 start, __u64 *first, __u64 *last)
{
	struct perf_event_mmap_page *page = ring;
	__u64 head = __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE), pos;
	struct rapl_sample s;
	int nr = 0;

	for (pos = 0; pos < head; pos += s.header.size, nr++, *last = s.energy[0]) {
		ring_copy(ring, pos, &s, sizeof(s));
		ASSERT_EQ(PERF_RECORD_SAMPLE, s.header.type);
		ASSERT_EQ(sizeof(s), s.header.size);
		ASSERT_EQ(3, s.nr);
		if (!nr)
			*first = s.energy[0];
		else
			EXPECT_LT(*last, s.energy[0]);
		EXPECT_GE(start * RAPL_PER_UJ, llabs(s.energy[1] - s.energy[0]));
	}
	EXPECT_LE(NR_SAMPLES, nr);
}

/*
 * In an interrupt on a CPU of the domain: read there and then, whoever reads the event
 * otherwise, if anybody. Nobody does so in between.
 */
static void sample_on(struct __test_metadata *_metadata, int cpu)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	struct perf_event_attr clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	struct perf_event_attr attr = rapl_attr(RAPL_PKG);
	size_t len = (1 + RING_PAGES) * getpagesize();
	__u64 before, start, first = 0, last = 0;
	struct perf_event_mmap_page *ring;
	int leader, energy[2];

	clock.sample_period = NSEC_PER_MSEC;
	clock.sample_type = PERF_SAMPLE_READ;
	clock.read_format = PERF_FORMAT_GROUP;
	clock.disabled = 1;
	leader = PKG_OPEN(clock, -1, cpu, -1);
	attr.disabled = 0;
	energy[0] = PKG_OPEN(attr, -1, cpu, leader);
	energy[1] = PKG_OPEN(attr, -1, cpu, leader);
	ring = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, leader, 0);
	ASSERT_NE(MAP_FAILED, ring);
	before = rapl_truth(RAPL_PKG, 0);
	ASSERT_EQ(0, ioctl(leader, PERF_EVENT_IOC_ENABLE, 0));
	start = rapl_truth(RAPL_PKG, 0) - before;
	do {
		usleep(10000);
	} while (__atomic_load_n(&ring->data_head, __ATOMIC_ACQUIRE) <
		 NR_SAMPLES * sizeof(struct rapl_sample) && pkg_now(CLOCK_MONOTONIC) < end);
	ASSERT_EQ(0, ioctl(leader, PERF_EVENT_IOC_DISABLE, 0));

	check_samples(_metadata, leader, ring, start, &first, &last);
	EXPECT_LE(last, pkg_count(energy[0]));
	EXPECT_LE(pkg_count(energy[0]), (rapl_truth(RAPL_PKG, 0) - before + 100) * RAPL_PER_UJ);
	munmap(ring, len);
	close(energy[1]);
	close(energy[0]);
	close(leader);
}

TEST_F_TIMEOUT(rapl_base, samples, 120)
{
	sample_on(_metadata, rapl_cpu(0));
}

/* What package-scope counters add */

FIXTURE(rapl_engine)
{
	struct rapl_test t;
};

#define rapl_set(knob, val)	pkg_set(RAPL_PMU, fresh_knobs[knob], val)
#define rapl_set_str(knob, val)	pkg_set_str(RAPL_PMU, fresh_knobs[knob], val)

FIXTURE_SETUP(rapl_engine)
{
	const char *why = NULL;
	int i;

	for (i = 0; i < FRESH_KNOBS; i++)
		if (!fresh_get_line(RAPL_PMU, fresh_knobs[i], fresh_saved[i],
				    sizeof(fresh_saved[i])))
			why = "power has no refresh_interval_us, max_age_us, ...";
	why = why ?: setup(&self->t, 1);
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(rapl_engine)
{
	int i;

	for (i = 0; i < FRESH_KNOBS; i++)
		rapl_set_str(i, fresh_saved[i]);
	teardown(&self->t);
}

/* Refreshes by a timer alone, and so that it can be seen */
static int only_timer(int interval_us)
{
	return rapl_set(FRESH_INTERVAL, interval_us) ?: rapl_set_str(FRESH_MAX_AGE, "off");
}

/* Half of what the finest counter takes to wrap at 1000 W. DRAM's unit is fixed on servers. */
static long long longest_interval(void)
{
	int unit = rapl.has[RAPL_RAM] && rapl.unit < 16 ? 16 : rapl.unit;

	return 1000LL << (31 - unit);
}

TEST_F(rapl_engine, defaults)
{
	EXPECT_EQ(longest_interval(), pkg_get(RAPL_PMU, fresh_knobs[FRESH_INTERVAL]));
	EXPECT_EQ(longest_interval(), pkg_get(RAPL_PMU, "refresh_interval_max_us"));
	EXPECT_STREQ("1000", fresh_saved[FRESH_MAX_AGE]);
	EXPECT_LE(0, pkg_get(RAPL_PMU, "errors"));
}

/* Without the timer, or with a slower one, counters would wrap unseen */
TEST_F(rapl_engine, intervals)
{
	long long longest = longest_interval(), interval;
	static const long long good[] = { 100, 10000, 10000000 };
	const long long bad[] = { 0, 1, 99, longest + 1, 2 * longest, 1LL << 40 };
	unsigned int i;

	interval = pkg_get(RAPL_PMU, fresh_knobs[FRESH_INTERVAL]);
	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		EXPECT_EQ(-ERANGE, rapl_set(FRESH_INTERVAL, bad[i]))
			TH_LOG("%lld", bad[i]);
		EXPECT_EQ(interval, pkg_get(RAPL_PMU, fresh_knobs[FRESH_INTERVAL]));
	}
	for (i = 0; i < ARRAY_SIZE(good); i++) {
		EXPECT_EQ(0, rapl_set(FRESH_INTERVAL, good[i]));
		EXPECT_EQ(good[i], pkg_get(RAPL_PMU, fresh_knobs[FRESH_INTERVAL]));
	}
	EXPECT_EQ(0, rapl_set(FRESH_INTERVAL, longest));
}

/* A short interval goes through a wrap as well, and so does a switch of intervals */
TEST_F_TIMEOUT(rapl_engine, wrap_with_timer, 120)
{
	struct rapl_test *t = &self->t;
	int d;

	ASSERT_EQ(0, only_timer(1000));
	ASSERT_EQ(0, open_all(t));
	ASSERT_EQ(0, wrap_soon(t));
	enable_all(t);
	usleep(100000);
	ASSERT_EQ(0, rapl_set(FRESH_INTERVAL, longest_interval()));
	for (d = 0; d < topo.nr; d++)
		ASSERT_EQ(0, burn(t, d));
	ASSERT_EQ(0, rapl_set(FRESH_MAX_AGE, 1000));
	EXPECT_TRUE(all_right(t));
	EXPECT_TRUE(all_wrapped(t));
}

static int open_with_age(struct rapl_count *c, int domain, int cpu)
{
	struct perf_event_attr attr = rapl_attr(RAPL_PKG);

	attr.read_format = PERF_FORMAT_GROUP;
	*c = (struct rapl_count) {
		.fd	= pkg_open(attr, -1, cpu, -1),
		.group	= 2,
		.kind	= RAPL_PKG,
		.domain	= domain,
	};
	attr.config = PKG_AGE;
	attr.disabled = 0;
	return c->fd < 0 ? c->fd : pkg_open(attr, -1, cpu, c->fd);
}

/*
 * The age that comes with a value: the value contains all that there was then. Returns
 * the age, or ~0 if it does not.
 */
static __u64 true_age(struct rapl_count *c)
{
	__u64 start = pkg_now(CLOCK_MONOTONIC), before = rapl_truth_of(c), val[2], end;

	/* By now the truth may be older than the value */
	usleep(random() % 15000);
	if (rapl_read(c, val))
		return ~0ULL;
	end = pkg_now(CLOCK_MONOTONIC);
	/* Clocks differ a little */
	if (val[1] + NSEC_PER_MSEC / 10 > end - start)
		before = c->begin[1];
	return rapl_fits(c, val[0], before, rapl_truth_of(c)) ? val[1] : ~0ULL;
}

TEST_F_TIMEOUT(rapl_engine, age, 120)
{
	struct rapl_count *c;
	int d, i, young;

	for (d = 0; d < topo.nr; d++) {
		c = next(&self->t);
		ASSERT_LE(0, open_with_age(c, d, topo.pkg[d].cpu[0]));
		rapl_enable(c);

		/* As the driver has it: at most 1 ms when the read began */
		for (i = 0; i < 20; i++)
			EXPECT_GE(2 * NSEC_PER_MSEC, true_age(c));

		/* With a timer: up to the interval, and a bit for its lateness */
		ASSERT_EQ(0, only_timer(10000));
		usleep(20000);
		for (i = 0, young = 0; i < 40; i++) {
			__u64 age = true_age(c);

			EXPECT_GE(20 * NSEC_PER_MSEC, age);
			young += age <= 11 * NSEC_PER_MSEC;
		}
		EXPECT_LE(36, young);

		/* Disabled, it was read for the last time, and does not get older */
		rapl_disable(c);
		EXPECT_EQ(0, true_age(c));
		ASSERT_EQ(0, rapl_set_str(FRESH_MAX_AGE, fresh_saved[FRESH_MAX_AGE]));
		ASSERT_EQ(0, rapl_set_str(FRESH_INTERVAL, fresh_saved[FRESH_INTERVAL]));
	}
}

/*
 * Other events on the CPU come and go, and each time the core takes all of them off and
 * puts them back. That loses nothing, however often it happens.
 */
TEST_F_TIMEOUT(rapl_engine, restarts, 120)
{
	struct rapl_test *t = &self->t;
	struct rapl_count *c, *other;
	int i, d;

	/* From the CPU itself, and from another one */
	for (d = 0; d < topo.nr; d++) {
		c = next(t);
		other = next(t);
		ASSERT_EQ(0, rapl_open(c, RAPL_PKG, d, topo.pkg[d].cpu[0]));
		ASSERT_EQ(0, rapl_open(other, RAPL_PKG, d, topo.pkg[d].cpu[0]));
		rapl_enable(c);
		for (i = 0; i < NR_RESTARTS; i++) {
			rapl_enable(other);
			rapl_disable(other);
		}
	}
	EXPECT_TRUE(all_right(t));
}

/* A disabled event stays so when its CPU goes and it moves to another one */
TEST_F_TIMEOUT(rapl_engine, disabled_moves, 120)
{
	int d = domain_that_can_go(), c, round;
	struct rapl_test *t = &self->t;
	__u64 val;

	if (d < 0 || topo.pkg[d].nr_cpus < 2)
		SKIP(return, "no two CPUs in a domain that can go");
	ASSERT_EQ(0, rapl_open(next(t), RAPL_PKG, d, topo.pkg[d].cpu[0]));
	for (round = 0; round < 2; round++) {
		val = rapl_value(&t->c[0]);
		for (c = 0; c < topo.pkg[d].nr_cpus; c++) {
			ASSERT_EQ(0, fresh_set_online(topo.pkg[d].cpu[c], 0));
			usleep(10000);
			EXPECT_EQ(val, rapl_value(&t->c[0]));
			ASSERT_EQ(0, fresh_set_online(topo.pkg[d].cpu[c], 1));
			usleep(10000);
			EXPECT_EQ(val, rapl_value(&t->c[0]));
		}
		/* The second time it has counted before */
		rapl_enable(&t->c[0]);
		usleep(10000);
		EXPECT_TRUE(rapl_right(&t->c[0]));
		rapl_disable(&t->c[0]);
	}
}

/* Packages are selected by the CPU, and by nothing else */
TEST_F(rapl_engine, no_masks)
{
	EXPECT_EQ(-1, access(RAPL_PMU "format/domains", F_OK));
	EXPECT_EQ(-1, access(RAPL_PMU "format/pkgmask", F_OK));
	EXPECT_EQ(0, access(RAPL_PMU "format/event", F_OK));
}

TEST_F(rapl_engine, refused)
{
	struct perf_event_attr attr = rapl_attr(PKG_AGE | 1 << 8), clock;
	int d, leader;

	/* "age" speaks of a leader of the same PMU, or of nothing */
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));
	attr = rapl_attr(PKG_AGE);
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));
	EXPECT_EQ(-EINVAL, pkg_open(attr, 0, -1, -1));
	clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	leader = PKG_OPEN(clock, -1, 0, -1);
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, leader));
	close(leader);

	/* Of a CPU in another domain there is no group with this one */
	leader = PKG_OPEN(clock, -1, 0, -1);
	for (d = 1; d < topo.nr; d++)
		EXPECT_EQ(-EINVAL, pkg_open(rapl_attr(RAPL_PKG), -1, topo.pkg[d].cpu[0], leader));
	close(leader);

	d = domain_that_can_go();
	if (d < 0)
		return;
	ASSERT_EQ(0, set_domain_online(d, 0));
	EXPECT_EQ(-ENODEV, pkg_open(rapl_attr(RAPL_PKG), -1, topo.pkg[d].cpu[0], -1));
	ASSERT_EQ(0, set_domain_online(d, 1));
	EXPECT_LE(0, pkg_open(rapl_attr(RAPL_PKG), -1, topo.pkg[d].cpu[0], -1));
}

/* Also on a CPU that is not in the cpumask */
TEST_F_TIMEOUT(rapl_engine, samples, 120)
{
	int i;

	for (i = 0; i < topo.pkg[0].nr_cpus; i++)
		sample_on(_metadata, topo.pkg[0].cpu[i]);
}

/* The last good value stays and gets older. When it is over nothing is missing. */
TEST_F_TIMEOUT(rapl_engine, failing, 120)
{
	struct rapl_count *c = next(&self->t), *other = next(&self->t);
	__u64 first[2], val[2], age;
	int d = topo.nr - 1, i;
	long long errors;

	ASSERT_LE(0, open_with_age(c, d, topo.pkg[d].cpu[0]));
	ASSERT_EQ(0, rapl_wrap_in(RAPL_PKG, d, WRAP_UNITS));
	ASSERT_EQ(0, rapl_open(other, RAPL_PKG, 0, 0));
	rapl_enable(c);
	rapl_enable(other);
	EXPECT_TRUE(rapl_right(c));

	errors = pkg_get(RAPL_PMU, "errors");
	ASSERT_EQ(0, rapl_fail(d, true));
	ASSERT_EQ(0, rapl_read(c, first));
	for (i = 0, age = first[1]; i < 10; i++) {
		/* Through a wrap */
		usleep(20000);
		ASSERT_EQ(0, rapl_read(c, val));
		EXPECT_EQ(first[0], val[0]);
		EXPECT_LE(age + 20 * NSEC_PER_MSEC, val[1] + NSEC_PER_MSEC);
		age = val[1];
		if (d)
			EXPECT_TRUE(rapl_right(other));
	}
	EXPECT_LE(errors + 10, pkg_get(RAPL_PMU, "errors"));

	ASSERT_EQ(0, rapl_fail(d, false));
	EXPECT_TRUE(rapl_right(c));
	EXPECT_LT((__u64)WRAP_UNITS << (32 - rapl.unit), rapl_value(c));
	rapl_disable(c);
	EXPECT_TRUE(rapl_right(c));
}

/* What cannot be read when it is enabled counts from the first good read */
TEST_F_TIMEOUT(rapl_engine, enabled_while_failing, 120)
{
	struct rapl_count *c = next(&self->t);
	int d = topo.nr - 1;
	__u64 before;

	ASSERT_EQ(0, rapl_open(c, RAPL_PKG, d, topo.pkg[d].cpu[0]));
	before = rapl_truth_of(c);
	ASSERT_EQ(0, rapl_fail(d, true));
	ASSERT_EQ(0, ioctl(c->fd, PERF_EVENT_IOC_ENABLE, 0));
	usleep(10000);
	EXPECT_EQ(0, rapl_value(c));
	ASSERT_EQ(0, rapl_fail(d, false));
	usleep(RAPL_AGE_US);
	rapl_value(c);
	rapl_started(c, before);
	usleep(10000);
	EXPECT_TRUE(rapl_right(c));
}

/* All CPUs of all domains but the first busy: then each call is an interrupt */
static int start_spinners(struct puppet *p)
{
	int d, c, nr = 0;

	for (d = 1; d < topo.nr; d++) {
		for (c = 0; c < topo.pkg[d].nr_cpus; c++, nr++) {
			if (puppet_new(&p[nr]) ||
			    puppet_call(&p[nr], pkg_pin, topo.pkg[d].cpu[c]) ||
			    puppet_start(&p[nr], pkg_spin, 0))
				return -1;
		}
	}
	return nr;
}

static void stop_spinners(struct puppet *p, int nr)
{
	pkg_stop(1);
	while (nr--) {
		puppet_wait(&p[nr]);
		puppet_end(&p[nr]);
	}
}

/* Of those that are counted */
static __u64 slowest_read;

/* Function calls that a domain got during the reads, LLONG_MAX: one failed */
static long long calls_for_reads(const struct rapl_count *c, int domain)
{
	long long before = fresh_irqs("CAL", domain);
	__u64 val[PKG_MAX_CPUS], start, took;
	int i;

	slowest_read = 0;
	for (i = 0; i < NR_READS; i++) {
		/* So that all are too old when the read begins, and none when it ends */
		start = pkg_now(CLOCK_MONOTONIC);
		while (pkg_now(CLOCK_MONOTONIC) < start + 2 * MAX_AGE_US * NSEC_PER_USEC)
			;
		start = pkg_now(CLOCK_MONOTONIC);
		if (rapl_read(c, val))
			return LLONG_MAX;
		took = pkg_now(CLOCK_MONOTONIC) - start;
		if (took > slowest_read)
			slowest_read = took;
	}
	return fresh_irqs("CAL", domain) - before;
}

/* Whether no read needs more than one. In a slow read, values get too old again. */
static bool calls_at_most(const struct rapl_count *c, int domain)
{
	return calls_for_reads(c, domain) <= NR_READS + STRAY_CALLS ||
	       slowest_read >= MAX_AGE_US * NSEC_PER_USEC;
}

TEST_F_TIMEOUT(rapl_engine, interrupts, 120)
{
	struct rapl_count *group, *one = next(&self->t), *here = next(&self->t);
	struct rapl_test *t = &self->t;
	struct puppet p[PKG_MAX_CPUS];
	int d, nr;

	if (topo.nr < 2)
		SKIP(return, "needs more packages or dies");
	if (fresh_irqs("CAL", 1) < 0)
		SKIP(return, "no row CAL in /proc/interrupts");
	group = &t->c[t->nr];
	ASSERT_EQ(0, open_group(t, 1, topo.pkg[1].cpu[0]));
	ASSERT_EQ(0, rapl_open(one, RAPL_PKG, topo.nr - 1, topo.pkg[topo.nr - 1].cpu[0]));
	ASSERT_EQ(0, rapl_open(here, RAPL_PKG, 0, 0));
	enable_group(group);
	rapl_enable(one);
	rapl_enable(here);
	nr = start_spinners(p);
	ASSERT_LT(0, nr);
	usleep(10000);

	/* What the timer refreshes disturbs nobody */
	ASSERT_EQ(0, only_timer(10000));
	EXPECT_TRUE(PKG_RETRY(calls_for_reads(group, 1) <= STRAY_CALLS));
	for (d = 0; d < topo.nr; d++)
		EXPECT_TRUE(PKG_RETRY(calls_for_reads(one, d) <= STRAY_CALLS));

	/* One call for the counters on another package, none on the own one */
	ASSERT_EQ(0, rapl_set(FRESH_MAX_AGE, MAX_AGE_US));
	EXPECT_LE(NR_READS - STRAY_CALLS, calls_for_reads(group, 1));
	EXPECT_TRUE(PKG_RETRY(calls_at_most(group, 1)));
	EXPECT_LE(NR_READS - STRAY_CALLS, calls_for_reads(one, topo.nr - 1));
	EXPECT_TRUE(PKG_RETRY(calls_at_most(one, topo.nr - 1)));
	for (d = 0; d < topo.nr - 1; d++)
		EXPECT_TRUE(PKG_RETRY(calls_for_reads(one, d) <= STRAY_CALLS));
	EXPECT_TRUE(PKG_RETRY(calls_for_reads(here, 0) <= STRAY_CALLS));

	/* Fresh enough */
	ASSERT_EQ(0, rapl_set(FRESH_MAX_AGE, 10000000));
	EXPECT_TRUE(PKG_RETRY(calls_for_reads(group, 1) <= STRAY_CALLS));
	EXPECT_TRUE(PKG_RETRY(calls_for_reads(one, topo.nr - 1) <= STRAY_CALLS));
	stop_spinners(p, nr);
	ASSERT_EQ(0, rapl_set(FRESH_MAX_AGE, 1000));
	EXPECT_TRUE(group_right(group));
	EXPECT_TRUE(rapl_right(one));
}

TEST_HARNESS_MAIN
