// SPDX-License-Identifier: GPL-2.0
/*
 * The knobs of a PMU with package-scope counters, and what happens when the
 * hardware fails or is slow: old values that say how old they are.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_fresh.h"

#define INTERVAL	"refresh_interval_us"
#define MAX_REFRESHES	20000

FIXTURE(pkg_knobs)
{
	struct puppet p;
	pid_t pid;
	long long interval;
	int group;
	int clock;
	int level;
};

FIXTURE_SETUP(pkg_knobs)
{
	const char *why = pkg_init(2);
	struct perf_event_attr attr;
	int far;

	if (why)
		SKIP(return, "%s", why);
	far = topo.pkg[1].cpu[0];
	self->interval = pkg_get(PKG_PMU, INTERVAL);
	ASSERT_LE(0, self->interval);
	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[0]));
	ASSERT_EQ(0, puppet_new(&self->p));
	self->pid = self->p.pid;
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, far));

	attr = pkg_attr(PKG_RUNTIME, PKG_ALL);
	attr.read_format = PERF_FORMAT_GROUP;
	self->group = PKG_OPEN(attr, self->pid, -1, -1);
	PKG_OPEN(pkg_attr(PKG_AGE, PKG_ALL), self->pid, -1, self->group);
	self->clock = PKG_OPEN(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), self->pid, -1, -1);
	self->level = PKG_OPEN(pkg_attr(PKG_CLOCK, topo.pkg[1].id), self->pid, -1, -1);
	/* From now on there is a value */
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 1000));
}

FIXTURE_TEARDOWN(pkg_knobs)
{
	pkg_set(PKG_PARAM, "fail_read", 0);
	pkg_set(PKG_PARAM, "slow_read_us", 0);
	pkg_set(PKG_PMU, INTERVAL, self->interval);
	pkg_stop(1);
	puppet_end(&self->p);
}

TEST_F_TIMEOUT(pkg_knobs, interval_range, 120)
{
	static const char * const bad[] = {
		"1", "99", "1000000001", "4294967296", "-1", "-1000", "1ms", "0x400", "", "x",
	};
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(bad); i++) {
		err = pkg_set_str(PKG_PMU, INTERVAL, bad[i]);
		/* An empty write may not even reach the kernel's parser */
		if (bad[i][0])
			EXPECT_TRUE(err == -EINVAL || err == -ERANGE)
				TH_LOG("\"%s\": %d", bad[i], err);
		EXPECT_EQ(self->interval, pkg_get(PKG_PMU, INTERVAL));
	}
	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 0));
	EXPECT_EQ(0, pkg_get(PKG_PMU, INTERVAL));
	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 100));
	/* Decimal */
	EXPECT_EQ(0, pkg_set_str(PKG_PMU, INTERVAL, "0100"));
	EXPECT_EQ(100, pkg_get(PKG_PMU, INTERVAL));
	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 1000000000));
	EXPECT_EQ(1000000000, pkg_get(PKG_PMU, INTERVAL));
}

static const struct {
	const char	*name;
	const char	*val;
	int		err;
	/* What is read afterwards, NULL: what was there before */
	const char	*then;
} writes[] = {
	{ "max_age_us",		 "1",		0,	 "1" },
	{ "max_age_us",		 "10000000",	0,	 "10000000" },
	{ "max_age_us",		 "0",		-ERANGE, NULL },
	{ "max_age_us",		 "10000001",	-ERANGE, NULL },
	{ "max_age_us",		 "x",		-EINVAL, NULL },
	{ "max_age_us",		 "offs",	-EINVAL, NULL },
	{ "max_age_us",		 "off",		0,	 "off" },
	{ "max_age_us",		 "1000",	0,	 "1000" },
	{ "max_age_us",		 "010",		0,	 "10" },
	{ "max_age_us",		 "off\n",	0,	 "off" },
};

TEST_F_TIMEOUT(pkg_knobs, other_ranges, 120)
{
	char first[ARRAY_SIZE(writes)][32], before[32], after[32];
	unsigned int i;
	int err;

	for (i = 0; i < ARRAY_SIZE(writes); i++)
		EXPECT_TRUE(fresh_get_line(PKG_PMU, writes[i].name, first[i], sizeof(first[i])));
	for (i = 0; i < ARRAY_SIZE(writes); i++) {
		fresh_get_line(PKG_PMU, writes[i].name, before, sizeof(before));
		err = pkg_set_str(PKG_PMU, writes[i].name, writes[i].val);
		fresh_get_line(PKG_PMU, writes[i].name, after, sizeof(after));
		EXPECT_EQ(writes[i].err, err)
			TH_LOG("%s, row %u", writes[i].name, i);
		EXPECT_STREQ(writes[i].then ?: before, after)
			TH_LOG("%s, row %u", writes[i].name, i);
	}
	for (i = 0; i < ARRAY_SIZE(writes); i++)
		EXPECT_EQ(0, pkg_set_str(PKG_PMU, writes[i].name, first[i]));
}

TEST_F_TIMEOUT(pkg_knobs, read_only, 120)
{
	EXPECT_LE(0, pkg_get(PKG_PMU, "errors"));
	EXPECT_NE(0, pkg_set(PKG_PMU, "errors", 0));
	EXPECT_EQ(1000000000, pkg_get(PKG_PMU, "refresh_interval_max_us"));
	EXPECT_NE(0, pkg_set(PKG_PMU, "refresh_interval_max_us", 1000));
	EXPECT_LE(0, pkg_get(PKG_PMU, "type"));
}

/* The level of a task that sleeps is refreshed by the timer alone: it shows whether that runs */
TEST_F_TIMEOUT(pkg_knobs, interval_of_running_timer, 120)
{
	__u64 val, start;
	int i;

	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 1000));
	EXPECT_TRUE(fresh_wait_for_change(self->level));

	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 0));
	val = pkg_count(self->level);
	usleep(50000);
	EXPECT_EQ(val, pkg_count(self->level));

	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 1000));
	EXPECT_TRUE(fresh_wait_for_change(self->level));

	/* Does not wait for what the old interval had in mind */
	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 10000000));
	start = pkg_now(CLOCK_MONOTONIC);
	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 1000));
	for (i = 0; i < 10; i++)
		EXPECT_TRUE(fresh_wait_for_change(self->level));
	EXPECT_GT(10 * NSEC_PER_SEC, pkg_now(CLOCK_MONOTONIC) - start);
}

/* Passes come when they are due or later, never earlier */
TEST_F_TIMEOUT(pkg_knobs, interval_in_trace, 120)
{
	static struct pkg_refresh refresh[MAX_REFRESHES];
	const char *why = pkg_trace_open();
	int nr, i, early = 0, found = 0;
	long long last = 0;

	if (why)
		SKIP(return, "%s", why);
	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 20000));
	pkg_trace_start();
	for (i = 0; i < 20; i++)
		EXPECT_TRUE(fresh_wait_for_change(self->level));
	nr = pkg_trace_stop(refresh, MAX_REFRESHES);
	pkg_trace_close();
	for (i = 0; i < nr; i++) {
		if (refresh[i].domain != topo.pkg[1].id ||
		    refresh[i].kind != PKG_TRACE_REFRESH)
			continue;
		EXPECT_EQ(topo.pkg[1].id, pkg_cpu_id(refresh[i].cpu));
		/* A late one may have the next soon after it, on the grid again */
		early += last && refresh[i].time - last < 10000000;
		last = refresh[i].time;
		found++;
	}
	EXPECT_LE(20, found);
	EXPECT_GE(found / 2, early)
		TH_LOG("%d of %d after less than half of the interval", early, found);
}

/* What failed is kept, gets older, and is made up for afterwards */
TEST_F_TIMEOUT(pkg_knobs, failing_read, 120)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS, val[2], good, age;
	long long errors;
	int i;

	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 1000));
	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	EXPECT_TRUE(fresh_wait_for_change(self->level));

	errors = pkg_get(PKG_PMU, "errors");
	ASSERT_EQ(0, pkg_set(PKG_PARAM, "fail_read", 1));
	while (pkg_get(PKG_PMU, "errors") <= errors && pkg_now(CLOCK_MONOTONIC) < end)
		usleep(1000);
	EXPECT_LT(errors, pkg_get(PKG_PMU, "errors"));
	ASSERT_EQ(0, pkg_read(self->group, val, 2));
	good = val[0];
	age = val[1];
	for (i = 0; i < 20; i++) {
		usleep(2000);
		ASSERT_EQ(0, pkg_read(self->group, val, 2));
		EXPECT_EQ(good, val[0]);
		EXPECT_LT(age, val[1]);
		age = val[1];
	}
	/* 20 times 2 ms since at least one good read */
	EXPECT_LE(40 * NSEC_PER_MSEC, age);

	ASSERT_EQ(0, pkg_set(PKG_PARAM, "fail_read", 0));
	EXPECT_TRUE(fresh_wait_for_change(self->level));
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&self->p));
	ASSERT_EQ(0, pkg_read(self->group, val, 2));
	EXPECT_TRUE(pkg_near(val[0], pkg_count(self->clock), 20))
		TH_LOG("%llu ns, task-clock %llu ns", val[0], pkg_count(self->clock));
}

/* Every third read fails: nothing is lost, nothing steps back */
TEST_F_TIMEOUT(pkg_knobs, some_reads_fail, 120)
{
	__u64 val[2], last = 0;
	int i;

	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 1000));
	ASSERT_EQ(0, pkg_set(PKG_PARAM, "fail_read", 3));
	ASSERT_EQ(0, puppet_start(&self->p, pkg_migrate, 200));
	for (i = 0; i < 500; i++) {
		ASSERT_EQ(0, pkg_read(self->group, val, 2));
		ASSERT_LE(last, val[0]);
		last = val[0];
	}
	ASSERT_LT(0, puppet_wait(&self->p));
	ASSERT_EQ(0, pkg_set(PKG_PARAM, "fail_read", 0));

	/* Refreshed once more everywhere, as the last reads may be among the failed */
	EXPECT_TRUE(fresh_wait_for_change(self->level));
	EXPECT_TRUE(fresh_wait_for_change(self->level));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, 2 * topo.nr));
	ASSERT_EQ(0, pkg_read(self->group, val, 2));
	EXPECT_TRUE(pkg_near(val[0], pkg_count(self->clock), 250))
		TH_LOG("%llu ns, task-clock %llu ns", val[0], pkg_count(self->clock));
}

TEST_F_TIMEOUT(pkg_knobs, slow_read, 120)
{
	__u64 val[2];

	EXPECT_EQ(0, pkg_set(PKG_PMU, INTERVAL, 10000));
	ASSERT_EQ(0, pkg_set(PKG_PARAM, "slow_read_us", 200));
	EXPECT_TRUE(fresh_wait_for_change(self->level));
	ASSERT_LT(0, puppet_call(&self->p, pkg_migrate, 50));
	ASSERT_EQ(0, pkg_set(PKG_PARAM, "slow_read_us", 0));
	ASSERT_EQ(0, pkg_read(self->group, val, 2));
	EXPECT_LE(50 * 300 * NSEC_PER_USEC, val[0]);
}

/* What a PMU starts with: the module is loaded anew */
TEST(pkg_knobs_defaults)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	static const char * const expect[][2] = {
		{ "refresh_interval_us", "1000" },
		{ "max_age_us", "off" },
		{ "errors", "0" },
	};
	/* Constants now */
	static const char * const gone[] = { "refresh_budget_us", "refresh_cpu_percent" };
	const char *why = pkg_init(1);
	unsigned int i;
	char val[32];

	if (why)
		SKIP(return, "%s", why);
	/* The events of the last test may take a moment to go */
	while (syscall(__NR_delete_module, "pkg_clock", O_NONBLOCK)) {
		ASSERT_LT(pkg_now(CLOCK_MONOTONIC), end)
			TH_LOG("%s", strerror(errno));
		usleep(10000);
	}
	ASSERT_EQ(NULL, pkg_init(1));
	for (i = 0; i < ARRAY_SIZE(expect); i++) {
		fresh_get_line(PKG_PMU, expect[i][0], val, sizeof(val));
		EXPECT_STREQ(expect[i][1], val)
			TH_LOG("%s", expect[i][0]);
	}
	for (i = 0; i < ARRAY_SIZE(gone); i++)
		EXPECT_EQ(-ENOENT, pkg_get(PKG_PMU, gone[i]));
}

TEST_HARNESS_MAIN
