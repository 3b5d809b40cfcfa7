// SPDX-License-Identifier: GPL-2.0
/*
 * Cache occupancy and memory bandwidth of resctrl's groups and of all of them
 * together, the PMU resctrl, against the true values that an emulator reports.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_rdt.h"

#define OTHER		RDT_GROUPS "pkg_rdt_other"
#define WRAP_UNITS	16

FIXTURE(rdt)
{
	/* In the group */
	struct puppet p;
	int rmid;
};

FIXTURE_SETUP(rdt)
{
	const char *why = rdt_init(RDT_PMU, 2);

	if (!why && puppet_new(&self->p)) {
		why = "no other process";
		rdt_exit();
	}
	if (why)
		SKIP(return, "%s", why);
	self->rmid = rdt_rmid(RDT_GROUP);
	EXPECT_LT(0, self->rmid);
	EXPECT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
}

static int set_cpus_online(int domain, int from, int online)
{
	int i, err = 0;

	for (i = from; i < topo.pkg[domain].nr_cpus; i++)
		err |= fresh_set_online(topo.pkg[domain].cpu[i], online);
	return err;
}

FIXTURE_TEARDOWN(rdt)
{
	set_cpus_online(topo.nr - 1, 0, 1);
	puppet_end(&self->p);
	rmdir(OTHER);
	rdt_exit();
}

/* Also without a newline: libvirt wants that of .scale */
static bool file_is(const char *name, const char *want)
{
	char path[PATH_MAX], is[64] = "";
	int fd, len;

	snprintf(path, sizeof(path), "%s%s", rdt.pmu, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	len = read(fd, is, sizeof(is) - 1);
	close(fd);
	if (len > 0 && !strcmp(is, want))
		return true;
	ksft_print_msg("%s is \"%s\"\n", name, is);
	return false;
}

/* What tools look for */
TEST_F(rdt, sysfs)
{
	char name[64], line[64];
	int event;

	EXPECT_TRUE(file_is("format/event", "config:0-7\n"));
	EXPECT_TRUE(file_is("format/group", "config2:0-63\n"));
	for (event = RDT_OCCUPANCY; event < RDT_EVENTS; event++) {
		snprintf(name, sizeof(name), "events/%s", rdt_names[event]);
		snprintf(line, sizeof(line), "event=0x%02x\n", event);
		EXPECT_TRUE(file_is(name, line));
		snprintf(name, sizeof(name), "events/%s.scale", rdt_names[event]);
		EXPECT_TRUE(file_is(name, "1"));
		snprintf(name, sizeof(name), "events/%s.unit", rdt_names[event]);
		ASSERT_TRUE(fresh_get_line(rdt.pmu, name, line, sizeof(line)));
		EXPECT_STREQ("Bytes", line);
		snprintf(name, sizeof(name), "events/%s.per-pkg", rdt_names[event]);
		EXPECT_EQ(-ENOENT, pkg_get(rdt.pmu, name));
		snprintf(name, sizeof(name), "events/%s.snapshot", rdt_names[event]);
		EXPECT_EQ(event == RDT_OCCUPANCY ? 1 : -ENOENT, pkg_get(rdt.pmu, name));
	}
	ASSERT_TRUE(fresh_get_line(rdt.pmu, "events/age", line, sizeof(line)));
	EXPECT_STREQ("event=0xff", line);
	EXPECT_EQ(1, pkg_get(rdt.pmu, "events/age.scale"));
	/* L3s are selected by the CPU, and by nothing else */
	EXPECT_EQ(-ENOENT, pkg_get(rdt.pmu, "format/domains"));
}

/* One CPU of each L3, for tools to open an event on */
TEST_F(rdt, cpumask)
{
	int d;

	for (d = 0; d < topo.nr; d++)
		EXPECT_LE(0, fresh_cpu_in_mask(RDT_PMU, d));
	EXPECT_EQ(topo.nr, fresh_mask_weight(RDT_PMU));
}

/* Half of what a counter takes to wrap at 2^40 bytes a second, as far as there are such knobs */
static long long longest_interval(void)
{
	__u64 units = 1ULL << ((rdt.width < 40 ? rdt.width : 40) - 1);
	__u64 us = units * 1000000 / ((1ULL << 40) / rdt.scale);

	return us < 100 ? 100 : us < 1000000000 ? us : 1000000000;
}

TEST_F(rdt, knobs)
{
	long long longest = longest_interval();

	EXPECT_EQ(longest < 10000 ? longest : 10000, atoll(fresh_saved[FRESH_INTERVAL]));
	EXPECT_EQ(longest, pkg_get(rdt.pmu, "refresh_interval_max_us"));
	EXPECT_EQ(-ERANGE, rdt_set(FRESH_INTERVAL, 0));
	EXPECT_EQ(-ERANGE, rdt_set(FRESH_INTERVAL, 99));
	EXPECT_EQ(-ERANGE, rdt_set(FRESH_INTERVAL, longest + 1));
	EXPECT_EQ(0, rdt_set(FRESH_INTERVAL, longest));
	EXPECT_EQ(0, rdt_set(FRESH_INTERVAL, 100));
	EXPECT_EQ(0, rdt_set_str(FRESH_MAX_AGE, "off"));
}

TEST_F(rdt, refused)
{
	struct perf_event_attr good = rdt_attr(RDT_TOTAL, rdt_ino(RDT_GROUP)), attr = good;

	EXPECT_LE(0, pkg_open(attr, -1, 0, -1));

	attr.config2 = rdt_ino(RDT_GROUP "/tasks");
	EXPECT_EQ(-ESTALE, pkg_open(attr, -1, 0, -1));
	attr.config2 = rdt_ino(RDT_GROUPS);
	EXPECT_EQ(-ESTALE, pkg_open(attr, -1, 0, -1));
	attr.config2 = ~0ULL;
	EXPECT_EQ(-ESTALE, pkg_open(attr, -1, 0, -1));

	attr = good;
	attr.config = 4;
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));
	attr.config = RDT_TOTAL | 0x100;
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));
	attr.config = 0;
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));

	attr = good;
	attr.exclude_kernel = 1;
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));
	attr = good;
	attr.sample_period = 1000;
	EXPECT_EQ(-EOPNOTSUPP, pkg_open(attr, -1, 0, -1));
	attr = good;
	attr.config1 = 1;
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));

	/* A group is not a task's; nor is what all groups have together */
	EXPECT_EQ(-EINVAL, pkg_open(good, self->p.pid, -1, -1));
	EXPECT_EQ(-EINVAL, pkg_open(good, self->p.pid, 0, -1));
	attr = rdt_attr(RDT_OCCUPANCY, 0);
	EXPECT_EQ(-EINVAL, pkg_open(attr, self->p.pid, -1, -1));
	attr = rdt_attr(PKG_AGE, 0);
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));
}

/* Those of the group, in all L3s, while it is enabled */
TEST_F_TIMEOUT(rdt, bytes, 120)
{
	enum rdt_event event;
	struct rdt_count c;
	__u64 val;

	for (event = RDT_TOTAL; event <= RDT_LOCAL; event++) {
		/* What was before does not count */
		ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
		ASSERT_EQ(0, rdt_open(&c, event, RDT_GROUP));
		EXPECT_TRUE(rdt_right(&c));
		ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
		EXPECT_TRUE(rdt_counted(&c, topo.nr));
		ASSERT_EQ(0, rdt_disable(&c));
		val = rdt_value(&c);
		ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
		EXPECT_EQ(val, rdt_value(&c));
		EXPECT_TRUE(rdt_right(&c));
		ASSERT_EQ(0, rdt_enable(&c));
		ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
		EXPECT_LT(val, rdt_value(&c));
		EXPECT_TRUE(rdt_right(&c));
		rdt_close(&c);
	}
}

/* Each event reports the L3 of its CPU, and no other */
TEST_F_TIMEOUT(rdt, domains, 120)
{
	struct perf_event_attr attr = rdt_attr(RDT_TOTAL, rdt_ino(RDT_GROUP));
	struct rdt_count c[PKG_MAX];
	__u64 before;
	int d, e;

	for (d = 0; d < topo.nr; d++) {
		c[d] = (struct rdt_count) {
			.event		= RDT_TOTAL,
			.rmids		= 1ULL << self->rmid,
			.domains	= 1U << d,
		};
		before = rdt_truth_of(&c[d]);
		ASSERT_EQ(0, rdt_add(&c[d], attr, -1, topo.pkg[d].cpu[0]));
		rdt_started(&c[d], before);
	}
	for (d = 0; d < topo.nr; d++) {
		before = rdt_value(&c[d]);
		ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(d)));
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
		for (e = 0; e < topo.nr; e++)
			EXPECT_TRUE(rdt_right(&c[e]));
		EXPECT_LT(before, rdt_value(&c[d]));
	}
	for (d = 0; d < topo.nr; d++)
		rdt_close(&c[d]);
}

/* CPUs of an L3 go, in the end all of them: what was counted there stays, and no more comes */
TEST_F_TIMEOUT(rdt, cpus_go, 240)
{
	int last = topo.nr - 1, round;
	struct rdt_count c;
	__u64 val;

	if (!fresh_can_go(topo.pkg[last].cpu[0]))
		SKIP(return, "CPUs cannot go");
	ASSERT_EQ(0, rdt_open(&c, RDT_TOTAL, RDT_GROUP));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
		ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, topo.pkg[last].cpu[0]));
		ASSERT_EQ(0, set_cpus_online(last, 1, 0));
		EXPECT_TRUE(rdt_counted(&c, 1));
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
		ASSERT_EQ(0, set_cpus_online(last, 1, 1));
		EXPECT_TRUE(rdt_counted(&c, 1));
	}
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, topo.pkg[0].cpu[0]));
	val = rdt_value(&c);
	ASSERT_EQ(0, set_cpus_online(last, 0, 0));
	EXPECT_TRUE(rdt_right(&c));
	EXPECT_LE(val, rdt_value(&c));
	ASSERT_EQ(0, set_cpus_online(last, 0, 1));
	EXPECT_TRUE(rdt_right(&c));
	rdt_close(&c);
}

/* The CPU of the event goes: another one has it, and counts on from there */
TEST_F_TIMEOUT(rdt, event_moves, 240)
{
	int last = topo.nr - 1, cpu, to, round;
	struct rdt_count c;
	__u64 before;

	if (topo.pkg[last].nr_cpus < 2 || !fresh_can_go(topo.pkg[last].cpu[0]))
		SKIP(return, "no two CPUs of an L3 that can go");
	ASSERT_EQ(0, rdt_open(&c, RDT_TOTAL, RDT_GROUP));
	for (round = 0; round < 2; round++) {
		cpu = fresh_cpu_in_mask(RDT_PMU, last);
		ASSERT_LE(0, cpu);
		ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
		/* What happens while it moves may be lost, but the group sleeps */
		before = rdt_truth_of(&c);
		ASSERT_EQ(0, fresh_set_online(cpu, 0));
		rdt_stopped(&c, before);
		rdt_started(&c, before);
		EXPECT_TRUE(rdt_right(&c));
		to = fresh_cpu_in_mask(RDT_PMU, last);
		EXPECT_LE(0, to);
		EXPECT_NE(cpu, to);
		ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, to));
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
		EXPECT_TRUE(rdt_counted(&c, 1));
		ASSERT_EQ(0, fresh_set_online(cpu, 1));
		EXPECT_EQ(to, fresh_cpu_in_mask(RDT_PMU, last));
		EXPECT_TRUE(rdt_right(&c));
	}
	rdt_close(&c);
}

/* Opened on the CPUs of the cpumask, as perf stat -a does: the sum is the machine, or the group */
TEST_F_TIMEOUT(rdt, all, 120)
{
	__u64 mask = 1ULL << self->rmid;
	struct rdt_count all, group;

	ASSERT_EQ(0, rdt_open_all(&all, RDT_TOTAL, NULL, 1 | mask));
	ASSERT_EQ(0, rdt_open_all(&group, RDT_TOTAL, RDT_GROUP, mask));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_counted(&all, topo.nr));
	EXPECT_TRUE(rdt_counted(&group, topo.nr));
	rdt_close(&all);
	rdt_close(&group);
}

/* On any CPU of an L3, and however often it is opened: each event reports all of it */
TEST_F_TIMEOUT(rdt, each_cpu, 120)
{
	struct perf_event_attr attr = rdt_attr(RDT_TOTAL, rdt_ino(RDT_GROUP));
	struct rdt_count c[PKG_MAX_CPUS];
	int d = topo.nr - 1, i, nr = 2 * topo.pkg[d].nr_cpus;
	__u64 before;

	for (i = 0; i < nr; i++) {
		c[i] = (struct rdt_count) {
			.event		= RDT_TOTAL,
			.rmids		= 1ULL << self->rmid,
			.domains	= 1U << d,
		};
		before = rdt_truth_of(&c[i]);
		ASSERT_EQ(0, rdt_add(&c[i], attr, -1, topo.pkg[d].cpu[i / 2]));
		rdt_started(&c[i], before);
		ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	}
	for (i = 0; i < nr; i++)
		EXPECT_TRUE(rdt_counted(&c[i], 1));

	/* Without the first ones the others go on */
	for (i = 0; i < nr / 2; i++)
		rdt_close(&c[i]);
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	for (; i < nr; i++) {
		EXPECT_TRUE(rdt_counted(&c[i], 1));
		rdt_close(&c[i]);
	}
}

/* No max_age_us: the timer alone */
TEST_F_TIMEOUT(rdt, timer, 120)
{
	__u64 end, truth, least;
	struct rdt_count c;

	ASSERT_EQ(0, rdt_set_str(FRESH_MAX_AGE, "off"));
	ASSERT_EQ(0, rdt_open(&c, RDT_TOTAL, RDT_GROUP));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	truth = rdt_truth_of(&c);
	least = truth - c.begin[1] - 2 * topo.nr * rdt.scale;
	end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	while (!rdt.lossy && rdt_value(&c) < least && pkg_now(CLOCK_MONOTONIC) < end)
		usleep(RDT_INTERVAL_US);
	EXPECT_TRUE(rdt_fits(&c, rdt_value(&c), truth, rdt_truth_of(&c)));
	rdt_close(&c);
}

TEST_F_TIMEOUT(rdt, wraps, 120)
{
	__u64 units = (1ULL << rdt.width) - WRAP_UNITS;
	struct rdt_count c;
	int d, round;

	if (rdt.lossy)
		SKIP(return, "counters that begin at 0 whenever the group runs");
	for (round = 0; round < 2; round++) {
		for (d = 0; d < topo.nr; d++)
			ASSERT_EQ(0, rdt_set_counter(RDT_TOTAL, d, self->rmid, units));
		ASSERT_EQ(0, rdt_open(&c, RDT_TOTAL, RDT_GROUP));
		ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
		EXPECT_TRUE(rdt_counted(&c, WRAP_UNITS * topo.nr));
		rdt_close(&c);
	}
}

/* A level, which decays while the task sleeps */
TEST_F_TIMEOUT(rdt, occupancy, 120)
{
	struct rdt_count c;
	__u64 high;

	if (rdt.lossy)
		SKIP(return, "no value while the group sleeps");
	ASSERT_EQ(0, rdt_open(&c, RDT_OCCUPANCY, RDT_GROUP));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	high = rdt_value(&c);
	EXPECT_LT(0, high);
	EXPECT_TRUE(rdt_right(&c));
	EXPECT_TRUE(rdt_decays(&c));
	/* And comes back */
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_LT(0, rdt_value(&c));
	EXPECT_TRUE(rdt_right(&c));
	rdt_close(&c);
}

/* The root group has the bytes of its MON groups from when they join, and keeps them */
TEST_F_TIMEOUT(rdt, children, 120)
{
	__u64 mask = 1ULL << self->rmid;
	struct rdt_count root, group;
	int rmid, status;
	__u64 past;

	ASSERT_EQ(0, rdt_open_all(&root, RDT_TOTAL, RDT_FS, 1 | mask));
	ASSERT_EQ(0, rdt_open(&group, RDT_TOTAL, RDT_GROUP));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_counted(&root, topo.nr));
	EXPECT_TRUE(rdt_counted(&group, topo.nr));

	ASSERT_EQ(0, rdt_mkdir(OTHER));
	rmid = rdt_rmid(OTHER);
	ASSERT_LT(0, rmid);
	past = rdt_truth_sum(RDT_TOTAL, rmid);
	root.rmids |= 1ULL << rmid;
	root.begin[0] += past;
	root.begin[1] += past;
	root.starts++;
	EXPECT_TRUE(rdt_right(&root));
	ASSERT_EQ(0, rdt_add_task(OTHER, self->p.pid));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_right(&root));
	EXPECT_TRUE(rdt_right(&group));

	/* The tasks fall back to the root */
	ASSERT_EQ(0, rmdir(OTHER));
	EXPECT_TRUE(rdt_right(&root));
	ASSERT_EQ(0, rmdir(RDT_GROUP));
	EXPECT_TRUE(rdt_right(&root));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_right(&root));
	status = rdt_read_error(group.fd[0]);
	EXPECT_EQ(-ENODEV, status);
	rdt_close(&root);
	rdt_close(&group);
}

/* Its bytes up to then are in the count of the root, even if nobody read them meanwhile */
TEST_F_TIMEOUT(rdt, last_bytes, 120)
{
	__u64 mask = 1ULL << self->rmid;
	struct rdt_count all;

	ASSERT_EQ(0, rdt_set_str(FRESH_MAX_AGE, "off"));
	ASSERT_EQ(0, rdt_set_str(FRESH_INTERVAL, fresh_saved[FRESH_INTERVAL]));
	ASSERT_EQ(0, rdt_open_all(&all, RDT_TOTAL, NULL, 1 | mask));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	ASSERT_EQ(0, rmdir(RDT_GROUP));
	ASSERT_EQ(0, rdt_set(FRESH_MAX_AGE, RDT_AGE_US));
	EXPECT_TRUE(rdt_counted(&all, topo.nr));
	rdt_close(&all);
}

TEST_F(rdt, removed)
{
	struct perf_event_attr clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	struct perf_event_attr attr = rdt_attr(RDT_TOTAL, rdt_ino(RDT_GROUP));
	struct rdt_count c, level, again;
	__u64 val[2], last[2];
	int leader, d;

	ASSERT_EQ(0, rdt_open(&c, RDT_TOTAL, RDT_GROUP));
	ASSERT_EQ(0, rdt_open(&level, RDT_OCCUPANCY, RDT_GROUP));
	clock.read_format = PERF_FORMAT_GROUP;
	leader = PKG_OPEN(clock, -1, 0, -1);
	PKG_OPEN(attr, -1, 0, leader);
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_right(&c));
	ASSERT_EQ(0, pkg_read(leader, val, 2));

	ASSERT_EQ(0, rmdir(RDT_GROUP));
	for (d = 0; d < topo.nr; d++) {
		EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[d]));
		EXPECT_EQ(-ENODEV, rdt_read_error(level.fd[d]));
	}
	/* Others in a group are not to suffer: there, the last count stays */
	ASSERT_EQ(0, pkg_read(leader, last, 2));
	EXPECT_LT(val[0], last[0]);
	EXPECT_LE(val[1], last[1]);
	ASSERT_EQ(0, pkg_read(leader, val, 2));
	EXPECT_LT(last[0], val[0]);
	EXPECT_EQ(last[1], val[1]);
	EXPECT_EQ(-ESTALE, pkg_open(attr, -1, 0, -1));

	/* Another one, perhaps with the same RMID */
	ASSERT_EQ(0, rdt_mkdir(RDT_GROUP));
	ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
	ASSERT_EQ(0, rdt_open(&again, RDT_TOTAL, RDT_GROUP));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_counted(&again, topo.nr));
	EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[0]));
	/* What has ended can be disabled, enabled and closed */
	EXPECT_EQ(0, rdt_ioctl(&c, PERF_EVENT_IOC_DISABLE));
	EXPECT_EQ(0, rdt_ioctl(&c, PERF_EVENT_IOC_ENABLE));
	EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[0]));
	rdt_close(&again);
	rdt_close(&level);
	rdt_close(&c);
}

/* Then there are no groups but the root, and that goes on */
TEST_F_TIMEOUT(rdt, unmounted, 120)
{
	struct perf_event_attr attr = rdt_attr(RDT_TOTAL, rdt_ino(RDT_GROUP));
	__u64 mask = 1ULL << self->rmid, root_ino = rdt_ino(RDT_FS);
	struct rdt_count all, root, group, unmounted;

	ASSERT_EQ(0, rdt_open_all(&all, RDT_TOTAL, NULL, 1 | mask));
	ASSERT_EQ(0, rdt_open_all(&root, RDT_TOTAL, RDT_FS, 1 | mask));
	ASSERT_EQ(0, rdt_open(&group, RDT_TOTAL, RDT_GROUP));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	ASSERT_EQ(0, rdt_umount());
	EXPECT_EQ(-ENODEV, rdt_read_error(group.fd[0]));
	EXPECT_EQ(-ESTALE, pkg_open(attr, -1, 0, -1));
	ASSERT_EQ(0, rdt_open_all(&unmounted, RDT_TOTAL, NULL, 1));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_counted(&unmounted, topo.nr));
	EXPECT_TRUE(rdt_counted(&root, 2 * topo.nr));
	EXPECT_TRUE(rdt_counted(&all, 2 * topo.nr));
	rdt_close(&root);
	attr.config2 = root_ino;
	EXPECT_EQ(-ESTALE, pkg_open(attr, -1, 0, -1));

	/* Directories get their numbers anew */
	ASSERT_EQ(0, rdt_mount());
	ASSERT_EQ(0, rdt_mkdir(RDT_GROUP));
	EXPECT_EQ(-ENODEV, rdt_read_error(group.fd[0]));
	rdt_close(&group);
	ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
	ASSERT_EQ(0, rdt_open(&group, RDT_TOTAL, RDT_GROUP));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_counted(&group, topo.nr));
	rdt_close(&unmounted);
	rdt_close(&all);
	rdt_close(&group);
}

/* Values that are not there: the last one stays and gets older */
TEST_F_TIMEOUT(rdt, faults, 120)
{
	struct perf_event_attr attr = rdt_attr(PKG_AGE, 0);
	long long errors = pkg_get(rdt.pmu, "errors");
	struct rdt_count c;
	__u64 val, since;
	int age;

	ASSERT_EQ(0, rdt_open(&c, RDT_TOTAL, RDT_GROUP));
	age = PKG_OPEN(attr, -1, topo.pkg[0].cpu[0], c.fd[0]);
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_counted(&c, topo.nr));
	val = pkg_count(c.fd[0]);

	ASSERT_EQ(0, rdt_fault(0, RDT_UNAVAILABLE));
	since = pkg_now(CLOCK_MONOTONIC);
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_EQ(val, pkg_count(c.fd[0]));
	/* Clocks may differ by a tick */
	since = pkg_now(CLOCK_MONOTONIC) - since - PKG_CLOCKS_NS;
	EXPECT_LE(since, pkg_count(age));
	EXPECT_EQ(errors, pkg_get(rdt.pmu, "errors"));

	ASSERT_EQ(0, rdt_fault(0, RDT_ERROR));
	EXPECT_EQ(val, pkg_count(c.fd[0]));
	EXPECT_LT(errors, pkg_get(rdt.pmu, "errors"));

	/* The next good read makes up for it, but a counter that was lost begins at 0 */
	if (rdt.amd) {
		ASSERT_EQ(0, rdt_set_counter(RDT_TOTAL, 0, self->rmid, 0));
		rdt.lossy = true;
	}
	since = pkg_now(CLOCK_MONOTONIC);
	ASSERT_EQ(0, rdt_fault(0, 0));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_LT(val, pkg_count(c.fd[0]));
	EXPECT_TRUE(rdt_right(&c));
	if (!rdt.lossy)
		EXPECT_GE(pkg_now(CLOCK_MONOTONIC) - since + PKG_CLOCKS_NS, pkg_count(age));
	close(age);
	rdt_close(&c);
}

/* resctrl's own files say what they always did, beside any events */
TEST_F_TIMEOUT(rdt, mon_data, 120)
{
	struct rdt_count group, all, level;
	__u64 before, after, first, val;
	enum rdt_event event;
	int round;

	if (rdt.lossy)
		SKIP(return, "no value while the group sleeps");
	ASSERT_EQ(0, rdt_set(FRESH_INTERVAL, 100));
	for (event = RDT_TOTAL; event <= RDT_LOCAL; event++) {
		ASSERT_EQ(0, rdt_open(&group, event, RDT_GROUP));
		ASSERT_EQ(0, rdt_open(&level, RDT_OCCUPANCY, RDT_GROUP));
		ASSERT_EQ(0, rdt_open_all(&all, event, NULL, 1 | group.rmids));
		for (round = 0; round < 2; round++) {
			before = rdt_truth_of(&group);
			ASSERT_EQ(0, rdt_mon_sum(RDT_GROUP, event, &first));
			ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
			ASSERT_EQ(0, rdt_mon_sum(RDT_GROUP, event, &val));
			after = rdt_truth_of(&group);
			EXPECT_TRUE(rdt_mon_fits(RDT_GROUP, event, 1, val - first,
						 after - before, after - before));
		}
		EXPECT_TRUE(rdt_right(&group));
		EXPECT_TRUE(rdt_right(&all));
		rdt_close(&all);
		rdt_close(&level);
		rdt_close(&group);
	}
}

TEST_HARNESS_MAIN
