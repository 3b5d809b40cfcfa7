// SPDX-License-Identifier: GPL-2.0
/*
 * The hardware of one package fails or is slow: others do not suffer, and all
 * is made up for afterwards.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_fresh.h"

#define NR_EVENTS	2

#define READ_US		1000
/* Less than a second read would take */
#define SLACK_US	900

static struct knob {
	const char	*dir;
	const char	*name;
	long long	old;
} knobs[] = {
	{ PKG_PARAM, "fail_read" },
	{ PKG_PARAM, "slow_read_us" },
	{ PKG_PARAM, "fault_package" },
	{ PKG_PMU, "refresh_interval_us" },
};

static int set_knob(const char *name, long long val)
{
	struct knob *k;

	for (k = knobs; k < knobs + ARRAY_SIZE(knobs); k++)
		if (!strcmp(k->name, name))
			return pkg_set(k->dir, name, val);
	return -ENOENT;
}

/* One task on each of two packages */
FIXTURE(pkg_fault_read)
{
	struct side {
		struct puppet	p;
		int		id;
		int		clock;
		/* What it ran on its package, and how old that is */
		int		group;
		/* What it ran anywhere */
		int		all[NR_EVENTS];
	} side[2];
};

FIXTURE_SETUP(pkg_fault_read)
{
	const char *why = pkg_init(2);
	struct perf_event_attr attr;
	struct side *s;
	struct knob *k;
	int i;

	if (!why && access(PKG_PARAM "fault_package", F_OK))
		why = "pkg_clock has no parameter fault_package";
	if (why)
		SKIP(return, "%s", why);
	for (k = knobs; k < knobs + ARRAY_SIZE(knobs); k++)
		k->old = pkg_get(k->dir, k->name);
	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[topo.pkg[0].nr_cpus - 1]));

	for (s = self->side; s < self->side + 2; s++) {
		s->id = topo.pkg[s - self->side].id;
		ASSERT_EQ(0, puppet_new(&s->p));
		ASSERT_EQ(0, puppet_call(&s->p, pkg_pin, topo.pkg[s - self->side].cpu[0]));
		attr = pkg_attr(PKG_RUNTIME, s->id);
		attr.read_format = PERF_FORMAT_GROUP;
		s->group = PKG_OPEN(attr, s->p.pid, -1, -1);
		PKG_OPEN(pkg_attr(PKG_AGE, s->id), s->p.pid, -1, s->group);
		for (i = 0; i < NR_EVENTS; i++)
			s->all[i] = PKG_OPEN(pkg_attr(PKG_RUNTIME, PKG_ALL), s->p.pid, -1, -1);
		s->clock = PKG_OPEN(pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK), s->p.pid, -1, -1);
	}
}

FIXTURE_TEARDOWN(pkg_fault_read)
{
	struct knob *k;

	for (k = knobs; k < knobs + ARRAY_SIZE(knobs); k++)
		if (k->old >= -1)
			pkg_set(k->dir, k->name, k->old);
	pkg_stop(1);
	puppet_end(&self->side[0].p);
	puppet_end(&self->side[1].p);
}

/* Whether the counts of a task that sleeps become, or are, what the core counted */
static bool made_up_for(struct side *s, unsigned int switches)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS, ref = pkg_count(s->clock);
	int i;

	for (i = 0; i < NR_EVENTS; i++) {
		while (!pkg_near(pkg_count(s->all[i]), ref, switches)) {
			if (pkg_now(CLOCK_MONOTONIC) > end) {
				ksft_print_msg("%llu ns, task-clock %llu ns\n",
					       pkg_count(s->all[i]), ref);
				return false;
			}
			usleep(1000);
		}
	}
	return true;
}

/* Waits for more errors than there are now */
static bool wait_for_errors(void)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	long long first = pkg_get(PKG_PMU, "errors");

	while (pkg_get(PKG_PMU, "errors") <= first) {
		if (pkg_now(CLOCK_MONOTONIC) > end)
			return false;
		usleep(1000);
	}
	return true;
}

TEST_F_TIMEOUT(pkg_fault_read, one_package_fails, 120)
{
	struct side *good = &self->side[0], *bad = &self->side[1];
	__u64 val[2], kept, age, fresh = ~0ULL;
	int i;

	ASSERT_EQ(0, set_knob("refresh_interval_us", 1000));
	ASSERT_EQ(0, set_knob("fault_package", bad->id));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, puppet_start(&self->side[i].p, pkg_spin, 0));
		EXPECT_TRUE(fresh_wait_for_leader(self->side[i].group, 2));
	}

	ASSERT_EQ(0, set_knob("fail_read", 1));
	EXPECT_TRUE(wait_for_errors());
	ASSERT_EQ(0, pkg_read(bad->group, val, 2));
	kept = val[0];
	age = val[1];
	for (i = 0; i < 20; i++) {
		usleep(2000);
		EXPECT_TRUE(fresh_wait_for_leader(good->group, 2));
		ASSERT_EQ(0, pkg_read(good->group, val, 2));
		fresh = val[1] < fresh ? val[1] : fresh;
		ASSERT_EQ(0, pkg_read(bad->group, val, 2));
		EXPECT_EQ(kept, val[0]);
		EXPECT_LT(age, val[1]);
		age = val[1];
	}
	EXPECT_LE(40 * NSEC_PER_MSEC, age);
	EXPECT_GT(age / 2, fresh)
		TH_LOG("%llu ns old, %llu ns in the other package", age, fresh);
	EXPECT_TRUE(wait_for_errors());

	/* The last read of a task that goes to sleep fails, too */
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&good->p));
	ASSERT_EQ(0, puppet_wait(&bad->p));
	EXPECT_TRUE(made_up_for(good, 20));
	ASSERT_EQ(0, pkg_read(bad->group, val, 2));
	EXPECT_EQ(kept, val[0]);

	/* It need not run again */
	ASSERT_EQ(0, set_knob("fail_read", 0));
	EXPECT_TRUE(made_up_for(bad, 20));
}

TEST_F_TIMEOUT(pkg_fault_read, some_fail_in_one_package, 120)
{
	__u64 last = 0, val;
	long long errors = pkg_get(PKG_PMU, "errors");
	int i;

	ASSERT_EQ(0, set_knob("refresh_interval_us", 1000));
	ASSERT_EQ(0, set_knob("fault_package", self->side[1].id));
	ASSERT_EQ(0, set_knob("fail_read", 3));
	ASSERT_EQ(0, puppet_start(&self->side[0].p, pkg_migrate, 200));
	ASSERT_EQ(0, puppet_start(&self->side[1].p, pkg_migrate, 200));
	for (i = 0; i < 500; i++) {
		val = pkg_count(self->side[0].all[i % NR_EVENTS]);
		if (!(i % NR_EVENTS))
			ASSERT_LE(last, val);
		last = i % NR_EVENTS ? last : val;
	}
	ASSERT_EQ(200, puppet_wait(&self->side[0].p));
	ASSERT_EQ(200, puppet_wait(&self->side[1].p));
	EXPECT_LT(errors, pkg_get(PKG_PMU, "errors"));

	/* Every third may be the same one each time */
	ASSERT_EQ(0, set_knob("fail_read", 0));
	EXPECT_TRUE(made_up_for(&self->side[0], 250));
	EXPECT_TRUE(made_up_for(&self->side[1], 250));
}

/* Slices of a domain, those that took more than @us, and those too soon after the one before */
static void look_at(int domain, int us, int *total, int *too_long, int *too_soon)
{
	struct pkg_refresh *t, *last = NULL;
	long long gap;

	*total = *too_long = *too_soon = 0;
	for (t = fresh_first(domain); t; t = fresh_next(t)) {
		if (t->kind != PKG_TRACE_REFRESH)
			continue;
		(*total)++;
		*too_long += t->duration > us * 1000LL;
		if (last) {
			gap = (t->time - t->duration) - (last->time - last->duration);
			*too_soon += gap < last->duration * 100 / FRESH_CPU_PERCENT * 0.9;
		}
		last = t;
	}
}

/* Records some time in which a task got everywhere */
static void trace_some(struct __test_metadata *_metadata)
{
	__u64 begin = pkg_now(CLOCK_MONOTONIC);
	struct puppet p;

	ASSERT_EQ(0, puppet_new(&p));
	pkg_trace_start();
	EXPECT_EQ(2 * topo.nr, puppet_call(&p, pkg_migrate, 2 * topo.nr));
	do {
		usleep(1000);
	} while (pkg_now(CLOCK_MONOTONIC) < begin + 300 * NSEC_PER_MSEC);
	puppet_end(&p);
	EXPECT_GT(begin + PKG_PATIENCE_NS, pkg_now(CLOCK_MONOTONIC));
	fresh_nr = pkg_trace_stop(fresh_trace, FRESH_TRACE_MAX);
}

/* Slow reads make the counts old, not the machine slow */
TEST_F_TIMEOUT(pkg_fault_read, slow, 300)
{
	int side, total, too_long, too_soon;
	const char *why;

	why = pkg_trace_open();
	if (why)
		SKIP(return, "%s", why);

	ASSERT_EQ(0, set_knob("refresh_interval_us", 100));
	for (side = 0; side < 2; side++)
		ASSERT_EQ(0, puppet_start(&self->side[side].p, pkg_spin, 0));

	ASSERT_EQ(0, set_knob("slow_read_us", READ_US));
	trace_some(_metadata);
	for (side = 0; side < 2; side++) {
		look_at(self->side[side].id, FRESH_BUDGET_US + READ_US + SLACK_US,
			&total, &too_long, &too_soon);
		TH_LOG("domain %d: %d slices, %d too long, %d too soon", self->side[side].id,
		       total, too_long, too_soon);
		EXPECT_LE(20, total);
		EXPECT_LE(too_long * 10, total);
		EXPECT_LE(too_soon * 10, total);
	}

	/* The hardware of the other package is as fast as ever */
	ASSERT_EQ(0, set_knob("fault_package", self->side[1].id));
	trace_some(_metadata);
	look_at(self->side[0].id, READ_US, &total, &too_long, &too_soon);
	TH_LOG("domain %d: %d slices, %d slow", self->side[0].id, total, too_long);
	EXPECT_LE(20, total);
	EXPECT_LE(too_long * 10, total);
	pkg_trace_close();

	ASSERT_EQ(0, set_knob("slow_read_us", 0));
	pkg_stop(1);
	for (side = 0; side < 2; side++) {
		ASSERT_EQ(0, puppet_wait(&self->side[side].p));
		EXPECT_TRUE(made_up_for(&self->side[side], 1000));
	}
}

TEST_HARNESS_MAIN
