// SPDX-License-Identifier: GPL-2.0
/*
 * Packages where nothing can change: their timers stop or slow down, nothing
 * is lost by that, and whoever is scheduled in has them back at once.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_fresh.h"

#define INTERVAL_US	1000
#define INTERVAL_NS	(INTERVAL_US * (long long)NSEC_PER_USEC)
#define NR_WAKES	50
/* Passes that the timer needs to see that nothing is left to do, and one on its way */
#define LAST_PASSES	4
#define SLOW_NS		((long long)NSEC_PER_SEC)

FIXTURE(pkg_idle)
{
	struct puppet p;
	int far;
	int id;
	/* The task's runtime and age, the same run time without timer, and by the core */
	int group;
	int cached;
	int clock;
};

FIXTURE_SETUP(pkg_idle)
{
	const char *why = fresh_init(2);

	if (why)
		SKIP(return, "%s", why);
	self->far = topo.pkg[1].cpu[0];
	self->id = topo.pkg[1].id;
	ASSERT_EQ(0, fresh_set(FRESH_INTERVAL, INTERVAL_US));
	ASSERT_EQ(0, fresh_set_str(FRESH_MAX_AGE, "off"));
	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[0]));
	ASSERT_EQ(0, puppet_new(&self->p));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, self->far));
}

FIXTURE_TEARDOWN(pkg_idle)
{
	pkg_stop(1);
	puppet_end(&self->p);
	fresh_exit();
}

static int open_runtime(struct __test_metadata *_metadata, pid_t pid)
{
	struct perf_event_attr attr = pkg_attr(PKG_RUNTIME, PKG_ALL);
	int fd;

	attr.read_format = PERF_FORMAT_GROUP;
	fd = PKG_OPEN(attr, pid, -1, -1);
	PKG_OPEN(pkg_attr(PKG_AGE, PKG_ALL), pid, -1, fd);
	return fd;
}

static int open_cached(struct __test_metadata *_metadata, pid_t pid)
{
	__u64 config = PKG_RUNTIME | PKG_POLICY(PKG_POLICY_CACHED);

	return PKG_OPEN(pkg_attr(config, PKG_ALL), pid, -1, -1);
}

static void open_events(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_idle) * self)
{
	self->group = open_runtime(_metadata, self->p.pid);
	self->cached = open_cached(_metadata, self->p.pid);
	self->clock = PKG_OPEN(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), self->p.pid, -1, -1);
}

/* Of a task that sleeps: as exact as without a timer, and nothing to get old */
static void expect_exact(struct __test_metadata *_metadata, int group, int cached)
{
	__u64 val[2], ref = pkg_count(cached);

	ASSERT_EQ(0, pkg_read(group, val, 2));
	EXPECT_LE(val[0], ref + PKG_SWITCH_NS);
	EXPECT_LE(ref, val[0] + PKG_SWITCH_NS);
	EXPECT_EQ(0, val[1]);
}

static int passes_between(int domain, long long from, long long to)
{
	struct pkg_refresh *t;
	int nr = 0;

	for (t = fresh_first(domain); t; t = fresh_next(t))
		nr += t->kind == PKG_TRACE_REFRESH && t->time > from && t->time < to;
	return nr;
}

/* The timer runs from start to stop, where the task is; returns how often it was started */
static int check_order(struct __test_metadata *_metadata, int domain, int cpu)
{
	struct pkg_refresh *t;
	bool running = false;
	int starts = 0;

	for (t = fresh_first(domain); t; t = fresh_next(t)) {
		EXPECT_EQ(t->kind != PKG_TRACE_START, running)
			TH_LOG("%s at %lld ns", pkg_trace_names[t->kind], t->time);
		if (t->kind == PKG_TRACE_START || t->kind == PKG_TRACE_REFRESH)
			EXPECT_EQ(cpu, t->cpu);
		running = t->kind != PKG_TRACE_STOP;
		starts += t->kind == PKG_TRACE_START;
	}
	return starts;
}

/* The task ran on both packages, then it sleeps */
TEST_F_TIMEOUT(pkg_idle, stops, 120)
{
	long long asleep[2];
	int i, j;

	open_events(_metadata, self);
	for (i = 0; i < 3; i++) {
		fresh_watch();
		ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, topo.pkg[0].cpu[0]));
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
		/* Which still runs there */
		ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, self->far));
		asleep[0] = pkg_now(CLOCK_MONOTONIC);
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
		asleep[1] = pkg_now(CLOCK_MONOTONIC);
		for (j = 0; j < 2; j++) {
			EXPECT_TRUE(fresh_wait_stopped(topo.pkg[j].id));
			EXPECT_GE(LAST_PASSES, passes_between(topo.pkg[j].id, asleep[j],
							      LLONG_MAX));
			EXPECT_LE(1, fresh_look(PKG_TRACE_START, topo.pkg[j].id));
		}
		fresh_watch();
		usleep(200 * INTERVAL_US);
		for (j = 0; j < 2; j++) {
			EXPECT_EQ(0, fresh_look(PKG_TRACE_START, topo.pkg[j].id));
			EXPECT_EQ(0, fresh_look(PKG_TRACE_REFRESH, topo.pkg[j].id));
		}
		expect_exact(_metadata, self->group, self->cached);
	}
	EXPECT_TRUE(PKG_RETRY(puppet_agree(&self->p, self->cached, self->clock,
					   pkg_burn, 20000, 1)));
	expect_exact(_metadata, self->group, self->cached);
}

/* Sleeps shorter and longer than it takes the timer to stop */
TEST_F_TIMEOUT(pkg_idle, wakes, 300)
{
	__u64 val[2], last = 0;
	int i, starts = 0;

	open_events(_metadata, self);
	fresh_watch();
	for (i = 0; i < NR_WAKES; i++) {
		if (i % 5 == 4) {
			EXPECT_TRUE(fresh_wait_stopped(self->id));
			starts++;
		} else {
			usleep(INTERVAL_US / 5 + random() % (5 * INTERVAL_US));
		}
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 200 + random() % (3 * INTERVAL_US)));
		expect_exact(_metadata, self->group, self->cached);
		ASSERT_EQ(0, pkg_read(self->group, val, 2));
		EXPECT_LE(last + 100 * NSEC_PER_USEC, val[0]);
		last = val[0];
	}
	EXPECT_TRUE(fresh_wait_stopped(self->id));
	EXPECT_LT(starts, check_order(_metadata, self->id, self->far));
	EXPECT_TRUE(PKG_RETRY(puppet_agree(&self->p, self->cached, self->clock,
					   pkg_burn, 20000, 1)));
	expect_exact(_metadata, self->group, self->cached);
}

/* The event of a CPU can count at any time, whatever sleeps there */
TEST_F_TIMEOUT(pkg_idle, event_of_cpu, 120)
{
	int fd = PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), -1, self->far, -1), i;
	long long since;

	for (i = 0; i < 2; i++) {
		fresh_watch();
		EXPECT_TRUE(fresh_wait(PKG_TRACE_REFRESH, self->id, 100));
		EXPECT_EQ(0, fresh_look(PKG_TRACE_STOP, self->id));
		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));
		since = pkg_now(CLOCK_MONOTONIC);
		EXPECT_TRUE(fresh_wait(PKG_TRACE_STOP, self->id, 1));
		EXPECT_GE(LAST_PASSES, passes_between(self->id, since, LLONG_MAX));
		fresh_watch();
		usleep(100 * INTERVAL_US);
		EXPECT_EQ(0, fresh_look(PKG_TRACE_REFRESH, self->id));

		ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
		EXPECT_TRUE(fresh_wait(PKG_TRACE_START, self->id, 1));
	}
}

/* Time between when two passes were due, in intervals of the time, without missed ones */
static long long spacing(const struct pkg_refresh *prev, const struct pkg_refresh *t)
{
	return (fresh_due(t) - fresh_due(prev)) / (1 + prev->overruns);
}

static long run_and_tell(long us)
{
	__atomic_store_n(&shared->ended[0], pkg_now(CLOCK_MONOTONIC), __ATOMIC_RELEASE);
	return us ? pkg_burn(us) : pkg_spin(0);
}

/* Waits for a pass that was due @ns after the one before it, or later */
static bool wait_for_spacing(int domain, long long ns)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	struct pkg_refresh *t, *prev;

	do {
		usleep(100000);
		fresh_look(PKG_TRACE_REFRESH, domain);
		prev = NULL;
		for (t = fresh_first(domain); t; t = fresh_next(t)) {
			if (t->kind != PKG_TRACE_REFRESH)
				continue;
			if (prev && spacing(prev, t) >= ns)
				return true;
			prev = t;
		}
	} while (pkg_now(CLOCK_MONOTONIC) < end);
	return false;
}

/* The level of all tasks from now on; 0: the time, which changes by itself */
static int set_level(__u64 val)
{
	return pkg_set(PKG_PARAM, "freeze_clock", val);
}

/* The level of a task may change while that sleeps: as long as it does the timer goes on */
TEST_F_TIMEOUT(pkg_idle, level_changes, 120)
{
	int level = PKG_OPEN(pkg_attr(PKG_CLOCK, self->id), self->p.pid, -1, -1), nr = 0;
	static __u64 gaps[FRESH_TRACE_MAX];
	struct pkg_refresh *t, *prev = NULL;

	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
	fresh_watch();
	EXPECT_TRUE(fresh_wait(PKG_TRACE_REFRESH, self->id, 300));
	EXPECT_TRUE(fresh_wait_for_change(level));
	EXPECT_EQ(0, fresh_look(PKG_TRACE_STOP, self->id));
	for (t = fresh_first(self->id); t; t = fresh_next(t)) {
		if (t->kind != PKG_TRACE_REFRESH)
			continue;
		if (prev)
			gaps[nr++] = spacing(prev, t);
		prev = t;
	}
	EXPECT_GE(INTERVAL_NS * 11 / 10, (long long)fresh_quantile(gaps, nr, 99));
}

/* One that stands still is read ever more seldom, once a second at last */
TEST_F_TIMEOUT(pkg_idle, level_stands_still, 300)
{
	int level = PKG_OPEN(pkg_attr(PKG_CLOCK, self->id), self->p.pid, -1, -1), nr, round;
	struct pkg_refresh *t, *prev;
	long long asleep, gap, widest;

	for (round = 1; round <= 2; round++) {
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 10000));
		ASSERT_EQ(0, set_level(round));
		fresh_watch();
		asleep = pkg_now(CLOCK_MONOTONIC);
		EXPECT_TRUE(wait_for_spacing(self->id, SLOW_NS * 9 / 10));
		/* From the interval to a second it doubles ten times */
		EXPECT_GE(10 + 2 * LAST_PASSES, passes_between(self->id, asleep, LLONG_MAX));
		EXPECT_EQ(round, pkg_count(level));
		EXPECT_TRUE(fresh_wait(PKG_TRACE_REFRESH, self->id,
				       fresh_look(PKG_TRACE_REFRESH, self->id) + 3));
		EXPECT_EQ(0, fresh_look(PKG_TRACE_STOP, self->id));

		prev = NULL;
		widest = 0;
		for (t = fresh_first(self->id); t; t = fresh_next(t)) {
			if (t->kind != PKG_TRACE_REFRESH)
				continue;
			gap = prev ? spacing(prev, t) : 0;
			EXPECT_LE(widest, gap + gap / 4 + 2 * INTERVAL_NS);
			EXPECT_GE(SLOW_NS * 11 / 10, gap);
			if (gap > widest)
				widest = gap;
			prev = t;
		}

		/* The next that runs has the normal rate from the start */
		pkg_stop(0);
		fresh_watch();
		ASSERT_EQ(0, puppet_start(&self->p, run_and_tell, 0));
		EXPECT_TRUE(fresh_wait(PKG_TRACE_REFRESH, self->id, 20));
		pkg_stop(1);
		ASSERT_EQ(0, puppet_wait(&self->p));
		prev = NULL;
		nr = 0;
		for (t = fresh_first(self->id); t; t = fresh_next(t)) {
			if (t->kind != PKG_TRACE_REFRESH ||
			    t->time < (long long)shared->ended[0] || nr++ > 10)
				continue;
			gap = fresh_due(t) - (long long)shared->ended[0];
			if (prev)
				gap = spacing(prev, t);
			EXPECT_GE(3 * INTERVAL_NS, gap);
			prev = t;
		}
		EXPECT_LT(10, nr);
	}
}

/*
 * Waits until the level is @val, which it is not before @since. Returns when the pass
 * that read it was due, 0: there was none.
 */
static long long seen_at(int domain, int level, __u64 val, long long since)
{
	long long now, end = since + PKG_PATIENCE_NS;
	struct pkg_refresh *t;

	for (now = pkg_now(CLOCK_MONOTONIC); pkg_count(level) != val;
	     now = pkg_now(CLOCK_MONOTONIC)) {
		if (now > end)
			return 0;
		since = now;
		usleep(INTERVAL_US / 5);
	}
	/* The value is there before the pass ends */
	do {
		fresh_look(PKG_TRACE_REFRESH, domain);
		for (t = fresh_first(domain); t; t = fresh_next(t))
			if (t->kind == PKG_TRACE_REFRESH && t->time > since)
				return fresh_due(t);
	} while ((long long)pkg_now(CLOCK_MONOTONIC) < end);
	return 0;
}

/* A change is seen after the time since the last one, or an interval, and the next at once */
TEST_F_TIMEOUT(pkg_idle, level_changes_again, 300)
{
	int level = PKG_OPEN(pkg_attr(PKG_CLOCK, self->id), self->p.pid, -1, -1), i;
	/* In us: how long the level stands still */
	static const int still[] = {
		2000, 0, 10000, 0, 50000, 0, 200000, 0, 700000, 0, 3000000, 0,
	};
	long long last, changed, quiet, due;
	__u64 val = 1;

	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
	fresh_watch();
	changed = pkg_now(CLOCK_MONOTONIC);
	ASSERT_EQ(0, set_level(val));
	last = seen_at(self->id, level, val, changed);
	for (i = 0; i < (int)ARRAY_SIZE(still); i++) {
		usleep(still[i]);
		fresh_watch();
		changed = pkg_now(CLOCK_MONOTONIC);
		ASSERT_EQ(0, set_level(++val));
		quiet = changed - last;
		if (quiet > SLOW_NS)
			quiet = SLOW_NS;
		due = seen_at(self->id, level, val, changed);
		ASSERT_LT(0, due);
		EXPECT_LE(due - changed, quiet + quiet / 10 + INTERVAL_NS * 11 / 10)
			TH_LOG("seen %lld ns after the change, the last was %lld ns before that",
			       due - changed, changed - last);
		last = due;
	}
}

/* Nobody is woken for 3 s, whoever reads meanwhile, and the value stays */
static void expect_peace(struct __test_metadata *_metadata, int domain, int level)
{
	__u64 val;
	int i;

	fresh_watch();
	val = pkg_count(level);
	for (i = 0; i < 30; i++) {
		usleep(100000);
		EXPECT_EQ(val, pkg_count(level));
	}
	EXPECT_EQ(0, fresh_look(PKG_TRACE_REFRESH, domain));
	EXPECT_EQ(0, fresh_look(PKG_TRACE_START, domain));
}

TEST_F_TIMEOUT(pkg_idle, disabled_level, 300)
{
	int level = PKG_OPEN(pkg_attr(PKG_CLOCK, self->id), self->p.pid, -1, -1), round, i;
	__u64 val;

	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
		fresh_watch();
		EXPECT_TRUE(fresh_wait(PKG_TRACE_REFRESH, self->id, 10));
		ASSERT_EQ(0, ioctl(level, PERF_EVENT_IOC_DISABLE, 0));
		val = pkg_count(level);
		EXPECT_LT(0, val);
		for (i = 0; i < 20; i++) {
			usleep(INTERVAL_US);
			EXPECT_EQ(val, pkg_count(level));
		}
		EXPECT_TRUE(fresh_wait_stopped(self->id));
		expect_peace(_metadata, self->id, level);
		EXPECT_EQ(val, pkg_count(level));

		/* While its task runs, too */
		pkg_stop(0);
		ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
		expect_peace(_metadata, self->id, level);
		pkg_stop(1);
		ASSERT_EQ(0, puppet_wait(&self->p));
		EXPECT_EQ(val, pkg_count(level));

		/* Enabled while the task sleeps: readers see it move again */
		ASSERT_EQ(0, ioctl(level, PERF_EVENT_IOC_ENABLE, 0));
		EXPECT_TRUE(fresh_wait_for_change(level));
	}
}

/* Disabled it stands still, whatever happens to the rest of its group. */
TEST_F_TIMEOUT(pkg_idle, disabled_level_of_group, 120)
{
	int leader = PKG_OPEN(pkg_attr(PKG_RUNTIME, self->id), self->p.pid, -1, -1);
	int level = PKG_OPEN(pkg_attr(PKG_CLOCK, self->id), self->p.pid, -1, leader);
	const struct { int fd; unsigned long op; } steps[] = {
		{ leader, PERF_EVENT_IOC_DISABLE }, { level, PERF_EVENT_IOC_ENABLE },
		{ level, PERF_EVENT_IOC_DISABLE }, { leader, PERF_EVENT_IOC_ENABLE },
	};
	__u64 val;
	int i;

	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
	ASSERT_EQ(0, ioctl(level, PERF_EVENT_IOC_DISABLE, 0));
	val = pkg_count(level);
	EXPECT_LT(0, val);
	for (i = 0; i < 4; i++) {
		usleep(2 * INTERVAL_US);
		ASSERT_EQ(0, ioctl(steps[i].fd, steps[i].op, 0));
		EXPECT_EQ(val, pkg_count(level)) TH_LOG("step %d", i);
	}
	ASSERT_EQ(0, ioctl(level, PERF_EVENT_IOC_ENABLE, 0));
	EXPECT_TRUE(fresh_wait_for_change(level));
}

/* The task is gone, its event disabled or not */
TEST_F_TIMEOUT(pkg_idle, level_of_the_dead, 300)
{
	struct puppet other;
	int level, round;

	for (round = 0; round < 2; round++) {
		ASSERT_EQ(0, puppet_new(&other));
		ASSERT_EQ(0, puppet_call(&other, pkg_pin, self->far));
		level = PKG_OPEN(pkg_attr(PKG_CLOCK, self->id), other.pid, -1, -1);
		fresh_watch();
		ASSERT_EQ(0, puppet_call(&other, pkg_burn, 5000));
		if (round)
			ASSERT_EQ(0, ioctl(level, PERF_EVENT_IOC_DISABLE, 0));
		puppet_end(&other);
		EXPECT_TRUE(fresh_wait_stopped(self->id));
		expect_peace(_metadata, self->id, level);
		close(level);
	}
}

/* One sleeps and is left alone, the other one is refreshed as always */
TEST_F_TIMEOUT(pkg_idle, neighbour_runs, 120)
{
	static __u64 gaps[FRESH_TRACE_MAX];
	struct pkg_refresh *t, *prev = NULL;
	struct puppet other;
	int fd, nr = 0;

	open_events(_metadata, self);
	ASSERT_EQ(0, puppet_new(&other));
	ASSERT_EQ(0, puppet_call(&other, pkg_pin, self->far));
	fd = open_runtime(_metadata, other.pid);
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
	ASSERT_EQ(0, puppet_start(&other, pkg_spin, 0));
	EXPECT_TRUE(fresh_wait_for_leader(fd, 2));
	/* Long enough for the one that sleeps to be left alone */
	fresh_watch();
	EXPECT_TRUE(fresh_wait(PKG_TRACE_REFRESH, self->id, 20));
	expect_exact(_metadata, self->group, self->cached);
	EXPECT_TRUE(fresh_wait(PKG_TRACE_REFRESH, self->id, 100));
	expect_exact(_metadata, self->group, self->cached);
	EXPECT_TRUE(fresh_wait_for_leader(fd, 2));
	EXPECT_EQ(0, fresh_look(PKG_TRACE_STOP, self->id));
	for (t = fresh_first(self->id); t; t = fresh_next(t)) {
		if (t->kind != PKG_TRACE_REFRESH)
			continue;
		if (prev)
			gaps[nr++] = spacing(prev, t);
		prev = t;
	}
	EXPECT_GE(INTERVAL_NS * 3 / 2, (long long)fresh_quantile(gaps, nr, 50));
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&other));
	puppet_end(&other);
}

/* Interrupts of the package @pkg in @intervals, with reads meanwhile if @fd is not -1 */
static long long irqs_during(const char *name, int pkg, int intervals, int fd)
{
	long long before = fresh_irqs(name, pkg);
	__u64 val[2];
	int i;

	for (i = 0; i < 10; i++) {
		usleep(intervals * INTERVAL_US / 10);
		if (fd >= 0 && pkg_read(fd, val, 2))
			return LLONG_MAX;
	}
	return fresh_irqs(name, pkg) - before;
}

/* The package is left in peace, by the timer and by readers */
TEST_F_TIMEOUT(pkg_idle, interrupts, 120)
{
	static const struct {
		const char	*name;
		int		intervals;
		/* What else is there comes at random */
		int		slack;
	} rows[] = {
		{ "CAL", 100, 5 },
		{ "IWI", 100, 5 },
		{ "RES", 100, 5 },
		{ "LOC", 500, 50 },
	};
	long long without[ARRAY_SIZE(rows)];
	unsigned int i;

	if (fresh_irqs("LOC", 1) < 0)
		SKIP(return, "no row LOC in /proc/interrupts");
	/* The core takes a second to switch off what the last event needed */
	sleep(2);
	for (i = 0; i < ARRAY_SIZE(rows); i++)
		without[i] = irqs_during(rows[i].name, 1, rows[i].intervals, -1);

	open_events(_metadata, self);
	fresh_watch();
	ASSERT_EQ(0, puppet_call(&self->p, pkg_burn, 5000));
	EXPECT_TRUE(fresh_wait_stopped(self->id));
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		if (fresh_irqs(rows[i].name, 1) < 0)
			continue;
		EXPECT_TRUE(PKG_RETRY(irqs_during(rows[i].name, 1, rows[i].intervals,
						  self->group) <= without[i] + rows[i].slack))
			TH_LOG("%s: %lld without events", rows[i].name, without[i]);
	}
}

TEST_HARNESS_MAIN
