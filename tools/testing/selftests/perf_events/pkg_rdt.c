// SPDX-License-Identifier: GPL-2.0
/*
 * Cache occupancy and memory bandwidth of resctrl's groups and of all of them
 * together, the PMU resctrl, against the true values that an emulator reports.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_rdt.h"

#define OTHER		RDT_GROUPS "pkg_rdt_other"
#define RENAMED		RDT_GROUPS "pkg_rdt_renamed"
#define CONTROL		RDT_FS "pkg_rdt_control"
#define MANY		RDT_GROUPS "pkg_rdt_many-%d"
/* RMIDs that are left: for more groups, and those that are in limbo */
#define SPARE		4
#define WRAP_UNITS	16
/* A register takes no longer */
#define READ_NS		(5 * NSEC_PER_USEC)

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

FIXTURE_TEARDOWN(rdt)
{
	rdt_set_online(topo.nr - 1, 0, 1);
	puppet_end(&self->p);
	rmdir(OTHER);
	rmdir(RENAMED);
	rmdir(CONTROL);
	rdt_exit();
}

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
	EXPECT_TRUE(file_is("format/fd", "config1:0-31\n"));
	for (event = RDT_OCCUPANCY; event < RDT_EVENTS; event++) {
		snprintf(name, sizeof(name), "events/%s", rdt_names[event]);
		snprintf(line, sizeof(line), "event=0x%02x\n", event);
		EXPECT_TRUE(file_is(name, line));
		snprintf(name, sizeof(name), "events/%s.scale", rdt_names[event]);
		EXPECT_TRUE(file_is(name, "1\n"));
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

/* Counters wrap: they are read as often as resctrl does it */
TEST_F(rdt, knobs)
{
	EXPECT_EQ(10000, atoll(fresh_saved[FRESH_INTERVAL]));
	EXPECT_EQ(1000000, pkg_get(rdt.pmu, "refresh_interval_max_us"));
	EXPECT_EQ(-ERANGE, rdt_set(FRESH_INTERVAL, 0));
	EXPECT_EQ(-ERANGE, rdt_set(FRESH_INTERVAL, 99));
	EXPECT_EQ(-ERANGE, rdt_set(FRESH_INTERVAL, 1000001));
	EXPECT_EQ(0, rdt_set(FRESH_INTERVAL, 1000000));
	EXPECT_EQ(0, rdt_set(FRESH_INTERVAL, 100));
	EXPECT_EQ(0, rdt_set_str(FRESH_MAX_AGE, "off"));
}

/* Returns how many lines the kernel has written that explain a refusal */
static int nr_explanations(void)
{
	int fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC), nr = 0, len;
	char line[8192];

	while ((len = read(fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[len > 0 ? len : 0] = 0;
		nr += !!strstr(line, ";perf: resctrl: fd=");
	}
	close(fd);
	return nr;
}

/* The error of an event of what is open so, and whether the kernel's log says something */
static int refusal(const char *path, int flags)
{
	int err, nr = nr_explanations(), fd = open(path, flags | O_CLOEXEC);

	if (fd <= 0)
		return -EBADF;
	err = pkg_open(rdt_attr(RDT_TOTAL, fd), -1, 0, -1);
	close(fd);
	return nr_explanations() > nr || nr >= 8 ? err : -ENOMSG;
}

/* What is no directory of a group */
TEST_F(rdt, no_group)
{
	struct perf_event_attr attr;
	int fd, group;

	EXPECT_EQ(-EINVAL, refusal(RDT_GROUP "/tasks", O_RDONLY));
	EXPECT_EQ(-EINVAL, refusal(RDT_GROUPS, O_RDONLY));
	EXPECT_EQ(-EINVAL, refusal(RDT_FS "info", O_RDONLY));
	EXPECT_EQ(-EINVAL, refusal("/sys/kernel", O_RDONLY));
	EXPECT_EQ(-EINVAL, refusal("/proc", O_RDONLY));
	EXPECT_EQ(-EINVAL, refusal("/", O_RDONLY));
	EXPECT_EQ(-EINVAL, refusal("/dev/null", O_RDONLY));
	/* Who must not open a directory can have this */
	EXPECT_EQ(-EINVAL, refusal(RDT_GROUP, O_PATH));

	group = rdt_open_dir(RDT_GROUP);
	ASSERT_LT(0, group);
	attr = rdt_attr(RDT_TOTAL, group);
	fd = pkg_open(attr, -1, 0, -1);
	EXPECT_LE(0, fd);
	/* Another event, not a group */
	EXPECT_EQ(-EINVAL, pkg_open(rdt_attr(RDT_TOTAL, fd), -1, 0, -1));
	close(group);
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));
	/* It needs no open directory */
	EXPECT_EQ(0, rdt_read_error(fd));
	close(fd);
	attr.config1 = 0x100000000ULL | group;
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));
	attr.config1 = 0xffffffffU;
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));

	/* Nor is one that was removed while its directory was open */
	group = rdt_open_dir(RDT_GROUP);
	ASSERT_EQ(0, rmdir(RDT_GROUP));
	EXPECT_EQ(-EINVAL, pkg_open(rdt_attr(RDT_TOTAL, group), -1, 0, -1));
	ASSERT_EQ(0, rdt_mkdir(RDT_GROUP));
	EXPECT_EQ(-EINVAL, pkg_open(rdt_attr(RDT_TOTAL, group), -1, 0, -1));
	close(group);
}

TEST_F(rdt, refused)
{
	struct perf_event_attr good = rdt_attr(RDT_TOTAL, rdt_open_dir(RDT_GROUP)), attr = good;
	int leader;

	EXPECT_LE(0, pkg_open(attr, -1, 0, -1));
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
	attr.config2 = 1;
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));

	/* perf subtracts what samples read: a level that falls would be 2^64 bytes less one. */
	attr = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	attr.sample_period = NSEC_PER_SEC;
	attr.sample_type = PERF_SAMPLE_READ;
	attr.read_format = PERF_FORMAT_GROUP;
	leader = pkg_open(attr, -1, 0, -1);
	ASSERT_LE(0, leader);
	EXPECT_EQ(-EOPNOTSUPP, pkg_open(rdt_attr(RDT_OCCUPANCY, 0), -1, 0, leader));
	EXPECT_LE(0, pkg_open(rdt_attr(RDT_TOTAL, 0), -1, 0, leader));

	/* A group is not a task's; nor is what all groups have together */
	EXPECT_EQ(-EINVAL, pkg_open(good, self->p.pid, -1, -1));
	EXPECT_EQ(-EINVAL, pkg_open(good, self->p.pid, 0, -1));
	attr = rdt_attr(RDT_OCCUPANCY, 0);
	EXPECT_EQ(-EINVAL, pkg_open(attr, self->p.pid, -1, -1));
	attr = rdt_attr(PKG_AGE, 0);
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));
	close(good.config1);
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
	struct perf_event_attr attr = rdt_attr(RDT_TOTAL, rdt_open_dir(RDT_GROUP));
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
	close(attr.config1);
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
		ASSERT_EQ(0, rdt_set_online(last, 1, 0));
		EXPECT_TRUE(rdt_counted(&c, 1));
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
		ASSERT_EQ(0, rdt_set_online(last, 1, 1));
		EXPECT_TRUE(rdt_counted(&c, 1));
	}
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, topo.pkg[0].cpu[0]));
	val = rdt_value(&c);
	ASSERT_EQ(0, rdt_set_online(last, 0, 0));
	EXPECT_TRUE(rdt_right(&c));
	EXPECT_LE(val, rdt_value(&c));
	ASSERT_EQ(0, rdt_set_online(last, 0, 1));
	EXPECT_TRUE(rdt_right(&c));
	rdt_close(&c);
}

/* Of one L3 */
static int open_in(struct rdt_count *c, enum rdt_event event, int domain, const char *dir,
		   __u64 rmids)
{
	int err, group = dir ? rdt_open_dir(dir) : 0;
	__u64 before;

	*c = (struct rdt_count) {
		.event		= event,
		.rmids		= rmids,
		.domains	= 1U << domain,
	};
	before = rdt_truth_of(c);
	err = rdt_add(c, rdt_attr(event, group), -1, topo.pkg[domain].cpu[0]);
	if (group > 0)
		close(group);
	if (!err)
		rdt_started(c, before);
	return err;
}

/* Nothing is lost of what was counted since the last pass of a slow timer */
TEST_F_TIMEOUT(rdt, last_cpu, 240)
{
	int last = topo.nr - 1, cpu = topo.pkg[last].cpu[0], round, i;
	__u64 mask = 1ULL << self->rmid, before[2];
	struct rdt_count c[2];

	if (rdt.lossy || !fresh_can_go(cpu))
		SKIP(return, "CPUs cannot go, or counters are lost");
	ASSERT_EQ(0, rdt_set_str(FRESH_MAX_AGE, "off"));
	for (round = 0; round < 3; round++) {
		ASSERT_EQ(0, rdt_set(FRESH_INTERVAL, RDT_INTERVAL_US));
		ASSERT_EQ(0, open_in(&c[0], RDT_TOTAL, last, RDT_GROUP, mask));
		ASSERT_EQ(0, open_in(&c[1], RDT_TOTAL, last, NULL, 1 | mask));
		ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, cpu));
		ASSERT_EQ(0, rdt_set(FRESH_INTERVAL, 1000000));
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, (1 + round) * RDT_BURN_US));
		ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, 0));
		for (i = 0; i < 2; i++)
			before[i] = rdt_truth_of(&c[i]);
		ASSERT_EQ(0, rdt_set_online(last, 0, 0));
		for (i = 0; i < 2; i++) {
			EXPECT_TRUE(rdt_fits(&c[i], rdt_value(&c[i]), before[i],
					     rdt_truth_of(&c[i])));
			EXPECT_LE((1 + round) * RDT_BURN_US, rdt_value(&c[i]));
			rdt_close(&c[i]);
		}
		ASSERT_EQ(0, rdt_set_online(last, 0, 1));
	}
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
	struct perf_event_attr attr = rdt_attr(RDT_TOTAL, rdt_open_dir(RDT_GROUP));
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
	close(attr.config1);
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

	/* Another name is the same group */
	ASSERT_EQ(0, rename(RDT_GROUP, RENAMED));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_right(&root));
	EXPECT_TRUE(rdt_right(&group));

	/* The tasks fall back to the root, which keeps the bytes */
	past = rdt_value(&root);
	ASSERT_EQ(0, rmdir(OTHER));
	EXPECT_LE(past, rdt_value(&root));
	EXPECT_TRUE(rdt_right(&root));
	past = rdt_value(&root);
	ASSERT_EQ(0, rmdir(RENAMED));
	EXPECT_LE(past, rdt_value(&root));
	EXPECT_TRUE(rdt_right(&root));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_right(&root));
	status = rdt_read_error(group.fd[0]);
	EXPECT_EQ(-ENODEV, status);
	rdt_close(&root);
	rdt_close(&group);
}

/* A MON group that moves to another control group leaves its bytes with the old one */
TEST_F_TIMEOUT(rdt, reparent, 120)
{
	__u64 mask = 1ULL << self->rmid, moved[2], val;
	struct rdt_count root, control, all, level;
	int own;

	if (mkdir(CONTROL, 0755))
		SKIP(return, "no control groups");
	own = rdt_rmid(CONTROL);
	ASSERT_LT(0, own);
	ASSERT_EQ(0, rdt_open_all(&all, RDT_TOTAL, NULL, 1 | mask | 1ULL << own));
	ASSERT_EQ(0, rdt_open_all(&root, RDT_TOTAL, RDT_FS, 1 | mask));
	ASSERT_EQ(0, rdt_open_all(&control, RDT_TOTAL, CONTROL, 1ULL << own));
	ASSERT_EQ(0, rdt_open_all(&level, RDT_OCCUPANCY, CONTROL, 1ULL << own));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_right(&root));
	EXPECT_TRUE(rdt_right(&control));

	/* At most the interval in between is not the group's */
	ASSERT_EQ(0, rename(RDT_GROUP, CONTROL "/mon_groups/moved"));
	rdt_settle(&root);
	moved[0] = rdt_value(&root);
	moved[1] = rdt_value(&control);
	control.rmids |= mask;
	level.rmids |= mask;
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_right(&all));
	if (!rdt.lossy)
		EXPECT_TRUE(rdt_right(&level));
	EXPECT_LE(moved[1] + topo.nr * RDT_BURN_US / 2, rdt_value(&control));
	EXPECT_LE(moved[0], rdt_value(&root));

	/* And with it its occupancy goes */
	val = rdt_value(&control);
	ASSERT_EQ(0, rmdir(CONTROL "/mon_groups/moved"));
	rdt_settle(&control);
	EXPECT_LE(val, rdt_value(&control));
	level.rmids = 1ULL << own;
	if (!rdt.lossy)
		EXPECT_TRUE(rdt_right(&level));
	ASSERT_EQ(0, rmdir(CONTROL));
	EXPECT_EQ(-ENODEV, rdt_read_error(control.fd[0]));
	EXPECT_TRUE(rdt_right(&all));
	rdt_close(&all);
	rdt_close(&root);
	rdt_close(&control);
	rdt_close(&level);
}

/* What may be there now: not more than there was, and what has come since */
static bool level_is_right(const struct rdt_count *c)
{
	struct rdt_count moved = *c;
	__u64 most = rdt_truth_of(c), val;

	moved.event = RDT_TOTAL;
	most -= rdt_truth_of(&moved);
	rdt_settle(c);
	val = rdt_value(c);
	most += rdt_truth_of(&moved) + 2 * topo.nr * rdt.scale;
	if (val > most)
		ksft_print_msg("RMIDs 0x%llx: %llu, not at most %llu\n", c->rmids, val, most);
	return val <= most;
}

/* A group that gave its RMID back, until it gets another one */
TEST_F(rdt, pseudo_locked)
{
	struct rdt_count c;

	if (mkdir(CONTROL, 0755))
		SKIP(return, "no control groups");
	ASSERT_EQ(0, rdt_open(&c, RDT_TOTAL, CONTROL));
	if (pkg_set_str(CONTROL, "/mode", "pseudo-locksetup\n")) {
		rdt_close(&c);
		SKIP(return, "no pseudo-locked groups");
	}
	EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[0]));
	EXPECT_EQ(-EINVAL, refusal(CONTROL, O_RDONLY));
	ASSERT_EQ(0, pkg_set_str(CONTROL, "/mode", "shareable\n"));
	EXPECT_EQ(-ENODEV, rdt_read_error(c.fd[0]));
	rdt_close(&c);

	ASSERT_EQ(0, rdt_open(&c, RDT_TOTAL, CONTROL));
	ASSERT_EQ(0, rdt_add_task(CONTROL, self->p.pid));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_counted(&c, topo.nr));
	rdt_close(&c);
}

/* Of several RMIDs: the sum, also after one of them went with what it occupied */
TEST_F_TIMEOUT(rdt, occupancy_of_all, 120)
{
	__u64 mask = 1ULL << self->rmid, high;
	struct rdt_count all;

	if (rdt.lossy)
		SKIP(return, "no value while the group sleeps");
	ASSERT_EQ(0, rdt_open_all(&all, RDT_OCCUPANCY, NULL, 1 | mask));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, rdt_cpu(topo.nr - 1)));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, RDT_BURN_US));
	high = rdt_truth(RDT_OCCUPANCY, topo.nr - 1, self->rmid);
	EXPECT_TRUE(level_is_right(&all));
	EXPECT_LT(high / 2, rdt_value(&all));
	ASSERT_EQ(0, rmdir(RDT_GROUP));
	rdt_settle(&all);
	all.rmids = 1;
	EXPECT_TRUE(level_is_right(&all));
	rdt_close(&all);
}

/* Lines of the trace with this text */
static int count_lines(const char *text)
{
	FILE *file = fopen(PKG_TRACEFS "trace", "re");
	char line[512];
	int nr = 0;

	while (file && fgets(line, sizeof(line), file))
		nr += line[0] != '#' && strstr(line, text);
	if (file)
		fclose(file);
	return nr;
}

/* A register is read once in a pass, however many counters contain it */
TEST_F_TIMEOUT(rdt, shared, 120)
{
	__u64 mask = 1ULL << self->rmid;
	int last = topo.nr - 1, passes, reads;
	struct rdt_count c[3];

	ASSERT_EQ(NULL, pkg_trace_open_kinds(PKG_TRACE_REFRESH + 1));
	if (pkg_set_str(PKG_TRACEFS, "events/msr/write_msr/filter", "msr == 0xc8d") ||
	    pkg_set(PKG_TRACEFS, "events/msr/write_msr/enable", 1)) {
		pkg_trace_close();
		SKIP(return, "no trace of MSRs");
	}
	ASSERT_EQ(0, rdt_set(FRESH_INTERVAL, 10000));
	ASSERT_EQ(0, rdt_set_str(FRESH_MAX_AGE, "off"));
	ASSERT_EQ(0, open_in(&c[0], RDT_TOTAL, last, RDT_GROUP, mask));
	ASSERT_EQ(0, open_in(&c[1], RDT_TOTAL, last, RDT_FS, 1 | mask));
	ASSERT_EQ(0, open_in(&c[2], RDT_TOTAL, last, NULL, 1 | mask));
	pkg_trace_start();
	usleep(400000);
	pkg_set(PKG_TRACEFS, "tracing_on", 0);
	passes = count_lines(": perf_pkg_refresh: pmu=resctrl");
	reads = count_lines(": write_msr: c8d");
	pkg_trace_close();
	TH_LOG("%d reads of 2 registers in %d passes", reads, passes);
	EXPECT_LT(10, passes);
	/*
	 * resctrl reads all once a second, and what is in limbo. One by one, the three
	 * would read 5 registers. Each asks for what is not tracked, as that has no value.
	 */
	EXPECT_LE(2 * passes, reads + 20);
	EXPECT_GE((rdt.lossy ? 4 : 2) * passes + (rdt.lossy ? 20 : 60), reads);
	rdt_close(&c[0]);
	rdt_close(&c[1]);
	rdt_close(&c[2]);
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
	int leader, d, group = rdt_open_dir(RDT_GROUP);
	struct perf_event_attr attr = rdt_attr(RDT_TOTAL, group);
	struct rdt_count c, level, again;
	__u64 val[2], last[2];

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
	EXPECT_EQ(-EINVAL, pkg_open(attr, -1, 0, -1));
	close(group);

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
	__u64 mask = 1ULL << self->rmid;
	struct rdt_count all, root, group, unmounted;

	ASSERT_EQ(0, rdt_open_all(&all, RDT_TOTAL, NULL, 1 | mask));
	ASSERT_EQ(0, rdt_open_all(&root, RDT_TOTAL, RDT_FS, 1 | mask));
	ASSERT_EQ(0, rdt_open(&group, RDT_TOTAL, RDT_GROUP));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	ASSERT_EQ(0, rdt_umount());
	EXPECT_EQ(-ENODEV, rdt_read_error(group.fd[0]));
	ASSERT_EQ(0, rdt_open_all(&unmounted, RDT_TOTAL, NULL, 1));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_counted(&unmounted, topo.nr));
	EXPECT_TRUE(rdt_counted(&root, 2 * topo.nr));
	EXPECT_TRUE(rdt_counted(&all, 2 * topo.nr));

	/* Directories get their numbers anew, and groups the same RMIDs perhaps */
	ASSERT_EQ(0, rdt_mount());
	ASSERT_EQ(0, rdt_mkdir(RDT_GROUP));
	EXPECT_EQ(-ENODEV, rdt_read_error(group.fd[0]));
	rdt_close(&group);
	ASSERT_EQ(0, rdt_add_task(RDT_GROUP, self->p.pid));
	ASSERT_EQ(0, rdt_open(&group, RDT_TOTAL, RDT_GROUP));
	ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
	EXPECT_TRUE(rdt_counted(&group, topo.nr));
	/* The root of old is the root */
	root.rmids |= group.rmids;
	rdt_close(&root);
	rdt_close(&unmounted);
	rdt_close(&all);
	rdt_close(&group);
}

/* Nor does that lose what was moved since the last read */
TEST_F_TIMEOUT(rdt, mounted_between_reads, 120)
{
	struct rdt_count all;
	int i;

	ASSERT_EQ(0, rdt_umount());
	ASSERT_EQ(0, rdt_set(FRESH_INTERVAL, 200000));
	ASSERT_EQ(0, rdt_open_all(&all, RDT_TOTAL, NULL, 1));
	for (i = 0; i < 3; i++) {
		ASSERT_EQ(0, rdt_set_str(FRESH_MAX_AGE, "off"));
		ASSERT_EQ(0, rdt_burn_everywhere(&self->p));
		ASSERT_EQ(0, rdt_mount());
		ASSERT_EQ(0, rdt_set(FRESH_MAX_AGE, RDT_AGE_US));
		EXPECT_TRUE(rdt_counted(&all, topo.nr));
		ASSERT_EQ(0, rdt_umount());
	}
	rdt_close(&all);
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
	/* Clocks may differ by a tick. To an AMD processor it means that nothing has moved. */
	since = pkg_now(CLOCK_MONOTONIC) - since - PKG_CLOCKS_NS;
	if (!rdt.amd)
		EXPECT_LE(since, pkg_count(age));
	EXPECT_EQ(errors, pkg_get(rdt.pmu, "errors"));

	ASSERT_EQ(0, rdt_fault(0, RDT_ERROR));
	usleep(2 * RDT_AGE_US);
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

/* As many groups as there are RMIDs, but for a few */
FIXTURE(rdt_many)
{
	int nr;
};

FIXTURE_SETUP(rdt_many)
{
	const char *why;
	char dir[64];

	rdt.many = true;
	pkg_trace_pmu = "resctrl";
	why = rdt_init(RDT_PMU, 1) ?: pkg_trace_open_kinds(PKG_TRACE_KINDS);
	if (why)
		SKIP(return, "%s", why);
	for (; self->nr < rdt.nr_rmids - 2 - SPARE; self->nr++) {
		snprintf(dir, sizeof(dir), MANY, self->nr);
		if (mkdir(dir, 0755))
			break;
	}
}

FIXTURE_TEARDOWN(rdt_many)
{
	pkg_trace_close();
	/* This removes them */
	rdt_exit();
}

/* How long slices were since the trace was started, in ns; returns how many */
static int get_slices(__u64 *ns, __u64 *sum)
{
	int i, nr = 0;

	fresh_look_since(PKG_TRACE_REFRESH, 0, 0);
	for (i = 0, *sum = 0; i < fresh_nr; i++) {
		if (fresh_trace[i].kind != PKG_TRACE_REFRESH)
			continue;
		ns[nr] = fresh_trace[i].duration;
		*sum += ns[nr++];
	}
	return nr;
}

static __u64 truth_of_all(int domain)
{
	__u64 sum = 0;
	int rmid;

	for (rmid = 0; rmid < rdt.nr_rmids; rmid++)
		sum += rdt_truth(RDT_TOTAL, domain, rmid);
	return sum;
}

/* Interrupts that the last L3 takes for a mkdir here */
static int calls_of_mkdir(int *nr)
{
	long long calls = fresh_irqs("CAL", topo.nr - 1);
	char dir[64];
	int err;

	snprintf(dir, sizeof(dir), MANY, *nr);
	err = rdt_mkdir(dir);
	(*nr)++;
	return err ?: fresh_irqs("CAL", topo.nr - 1) - calls;
}

/*
 * A read of so many registers keeps interrupts off for no longer than the budget and one
 * of them, and neither opening and closing nor a new group reads them all.
 */
TEST_F_TIMEOUT(rdt_many, slices, 240)
{
	static __u64 slices[FRESH_TRACE_MAX];
	/* lockdep and its like make all slower */
	__u64 read_ns = access("/proc/lockdep", F_OK) ? READ_NS : 5 * READ_NS;
	int last = topo.nr - 1, calls[2], nr;
	__u64 most, sum, val[2], truth[2];
	struct rdt_count c[RDT_EVENTS];
	enum rdt_event event;

	ASSERT_EQ(0, rdt_set_str(FRESH_INTERVAL, fresh_saved[FRESH_INTERVAL]));
	ASSERT_EQ(0, rdt_set_str(FRESH_MAX_AGE, "off"));
	ASSERT_LT(4, self->nr);
	calls[0] = calls_of_mkdir(&self->nr);
	/* Where limbo has no end there is none left */
	if (calls[0] < 0)
		SKIP(return, "too few RMIDs");
	for (event = RDT_OCCUPANCY; event < RDT_EVENTS; event++)
		ASSERT_EQ(0, open_in(&c[event], event, last, NULL, 3));
	fresh_watch();
	usleep(20 * atoll(fresh_saved[FRESH_INTERVAL]));
	/* On the emulator the timer waits for the turn of who looks at it */
	pkg_set(PKG_TRACEFS, "tracing_on", 0);
	nr = get_slices(slices, &sum);
	most = fresh_quantile(slices, nr, 100);
	TH_LOG("%d groups: %d slices, the longest is %llu ns, in all %llu", self->nr, nr, most,
	       sum);
	EXPECT_LT(0, nr);
	EXPECT_GE(FRESH_BUDGET_US * NSEC_PER_USEC + read_ns, most);

	for (event = RDT_OCCUPANCY; event < RDT_EVENTS; event++) {
		EXPECT_EQ(0, rdt_ioctl(&c[event], PERF_EVENT_IOC_DISABLE));
		EXPECT_EQ(0, rdt_ioctl(&c[event], PERF_EVENT_IOC_ENABLE));
	}
	truth[0] = truth_of_all(last);
	val[0] = rdt_value(&c[RDT_TOTAL]);
	pkg_pin(topo.pkg[last].cpu[0]);
	pkg_burn(10 * RDT_BURN_US);
	truth[1] = truth_of_all(last);
	val[1] = rdt_value(&c[RDT_TOTAL]);
	TH_LOG("counted %llu of %llu", val[1] - val[0], truth[1] - truth[0]);
	EXPECT_LE((truth[1] - truth[0]) / 2, val[1] - val[0]);
	EXPECT_GE((truth[1] - truth[0]) * 2, val[1] - val[0]);

	pkg_pin(topo.pkg[0].cpu[0]);
	calls[1] = calls_of_mkdir(&self->nr);
	TH_LOG("mkdir: %d calls without, %d with events", calls[0], calls[1]);
	EXPECT_LE(0, calls[1]);
	EXPECT_GE(calls[0], calls[1]);
	for (event = RDT_OCCUPANCY; event < RDT_EVENTS; event++)
		rdt_close(&c[event]);
}

TEST_HARNESS_MAIN
