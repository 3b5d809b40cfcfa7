// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of package-scope counters
 *
 * A PMU in software, of which the "hardware" is one number per domain. CPUs with
 * even numbers are domain 0, the others domain 1. Unless a case is about the
 * timer there is none, and slots are refreshed by hand on the CPU it says.
 */
#include <kunit/test.h>

#include <linux/atomic.h>
#include <linux/bits.h>
#include <linux/cpu.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/perf_event.h>
#include <linux/perf_pkg.h>
#include <linux/processor.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/timekeeping.h>

#include "../pkg.h"

#define TEST_DOMAINS	2
#define TEST_EVENTS	16
#define TEST_ALL	64

/* perf_event_attr::config */
enum {
	TEST_COUNT = 1,
	TEST_GAUGE,
	TEST_FREE,
	TEST_NARROW,
	TEST_FREE_NARROW,
	TEST_NO_TIMER,
};

#define TEST_NARROW_BITS	32

static struct {
	atomic64_t		hw[TEST_DOMAINS];
	int			err;
	unsigned int		delay_us;
	atomic_t		reads;
	atomic_t		starts;
	atomic_t		stops;
	/* Of test_watch() */
	bool			watched;
	unsigned int		passes;
	unsigned int		belated;
	u64			latest;
	/* Of test_hold_lock() */
	bool			locked;
	bool			started;
	struct perf_event	*event[TEST_EVENTS];
	unsigned int		nr_events;
	unsigned int		nr_counters;
} tst;

struct test_counter {
	struct perf_pkg_counter	counter;
	unsigned int		reads[TEST_DOMAINS];
};

static int test_domain_id(unsigned int cpu)
{
	return cpu < 2 * TEST_DOMAINS ? cpu % TEST_DOMAINS : 0;
}

static int test_event_init(struct perf_event *event, struct perf_pkg_desc *desc)
{
	switch (event->attr.config) {
	case TEST_COUNT:
		break;
	case TEST_GAUGE:
		desc->flags = PERF_PKG_GAUGE;
		desc->key = TEST_GAUGE;
		break;
	case TEST_FREE:
		desc->flags = PERF_PKG_FREE_RUNNING;
		desc->key = TEST_FREE;
		break;
	case TEST_NARROW:
		desc->width = TEST_NARROW_BITS;
		break;
	case TEST_FREE_NARROW:
		desc->flags = PERF_PKG_FREE_RUNNING;
		desc->key = TEST_FREE_NARROW;
		desc->width = TEST_NARROW_BITS;
		break;
	case TEST_NO_TIMER:
		desc->flags = PERF_PKG_NO_TIMER;
		break;
	default:
		return -EINVAL;
	}

	return 0;
}

static int test_counter_init(struct perf_pkg_counter *counter, struct perf_event *event)
{
	if (READ_ONCE(tst.err) == -ENOSPC)
		return -ENOSPC;

	tst.nr_counters++;

	return 0;
}

static void test_counter_exit(struct perf_pkg_counter *counter)
{
	tst.nr_counters--;
}

static void test_delay(unsigned int us)
{
	mdelay(us / USEC_PER_MSEC);
	udelay(us % USEC_PER_MSEC);
}

/*
 * A pass of one counter is read now. Was it due when it had to be? Lateness that is not
 * the engine's does not count, so this is no matter of the machine's speed.
 */
static void test_watch_pass(struct perf_pkg_domain *dom)
{
	u64 now = ktime_get_mono_fast_ns(), due = ktime_to_ns(hrtimer_get_expires(&dom->timer));
	u64 interval = (u64)dom->pp->interval_us * NSEC_PER_USEC;
	unsigned int percent = dom->pp->cpu_percent;
	u64 rest = div_u64((now - dom->start) * (100 - percent), percent);

	if (tst.passes && due > tst.latest)
		tst.belated++;
	rest = min_t(u64, rest, PERF_PKG_REST_MAX_NS);
	tst.latest = max(dom->start + interval, now + rest) + interval / 4;
	WRITE_ONCE(tst.passes, tst.passes + 1);
}

static int test_read(struct perf_pkg_counter *counter, u64 *value)
{
	struct test_counter *tc = container_of(counter, struct test_counter, counter);
	int domain = test_domain_id(smp_processor_id());

	test_delay(READ_ONCE(tst.delay_us));
	if (READ_ONCE(tst.watched))
		test_watch_pass(perf_pkg_find_domain(counter->pp, domain));
	*value = atomic64_read(&tst.hw[domain]);
	WRITE_ONCE(tc->reads[domain], tc->reads[domain] + 1);
	atomic_inc(&tst.reads);

	return READ_ONCE(tst.err);
}

static void test_start(struct perf_pkg_counter *counter, struct perf_event *event)
{
	atomic_inc(&tst.starts);
}

static void test_stop(struct perf_pkg_counter *counter, struct perf_event *event)
{
	atomic_inc(&tst.stops);
}

static struct perf_pkg_pmu test_pmu = {
	.domain_id	= test_domain_id,
	.event_init	= test_event_init,
	.counter_init	= test_counter_init,
	.counter_exit	= test_counter_exit,
	.read		= test_read,
	.start		= test_start,
	.stop		= test_stop,
	.counter_size	= sizeof(struct test_counter),
};

static struct attribute *test_no_attrs[] = { NULL };
static const struct attribute_group test_format = { .name = "format", .attrs = test_no_attrs };
static const struct attribute_group test_events = { .name = "events", .attrs = test_no_attrs };
static const struct attribute_group *test_groups[] = { &test_format, &test_events, NULL };

static void test_register(struct kunit *test, unsigned int interval_us)
{
	/* As after loading a module anew: perf keeps its traces in struct pmu. */
	test_pmu.pmu = (struct pmu){
		.task_ctx_nr	= perf_sw_context,
		.attr_groups	= test_groups,
	};
	test_pmu.interval_us = interval_us;
	KUNIT_ASSERT_EQ(test, perf_pkg_register(&test_pmu, "perf_pkg_test"), 0);
}

/* With a cpumask, but the domains are still those of test_domain_id(). */
static void test_register_scoped(struct kunit *test, unsigned int interval_us)
{
	test_register(test, interval_us);
	test_pmu.pmu.scope = PERF_PMU_SCOPE_SYS_WIDE;
}

/*
 * An event of a CPU, or of this task for @cpu -1; with @domain -1 for what this is
 * about, with TEST_ALL for all domains
 */
static struct perf_event *test_open(u64 config, int cpu, int domain)
{
	struct perf_event_attr attr = {
		.type		= test_pmu.pmu.type,
		.size		= sizeof(attr),
		.config		= config,
		.config1	= domain == TEST_ALL ? PERF_PKG_SELECT_ALL :
				  domain < 0 ? 0 : BIT_ULL(domain),
	};

	return perf_event_create_kernel_counter(&attr, cpu, cpu < 0 ? current : NULL,
						NULL, NULL);
}

static struct perf_event *test_keep(struct kunit *test, struct perf_event *event)
{
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, event);
	KUNIT_ASSERT_LT(test, tst.nr_events, TEST_EVENTS);
	tst.event[tst.nr_events++] = event;

	return event;
}

static struct perf_event *test_event(struct kunit *test, u64 config, int cpu, int domain)
{
	return test_keep(test, test_open(config, cpu, domain));
}

static void test_release_events(void)
{
	while (tst.nr_events)
		perf_event_release_kernel(tst.event[--tst.nr_events]);
}

static u64 test_count(struct perf_event *event)
{
	u64 enabled, running;

	return perf_event_read_value(event, &enabled, &running);
}

static void test_run_on(struct kunit *test, int cpu)
{
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(cpu)), 0);
}

static void test_refresh_here(void *counter)
{
	perf_pkg_refresh(counter);
}

static void test_refresh(struct perf_event *event, int cpu)
{
	smp_call_function_single(cpu, test_refresh_here, perf_pkg_event_counter(event), 1);
}

static struct perf_pkg_slot *test_slot(struct perf_event *event, int domain)
{
	struct perf_pkg_domain *dom = perf_pkg_find_domain(test_pmu.pp, domain);

	return &perf_pkg_event_counter(event)->slot[dom->idx];
}

static struct perf_pkg_domain *test_dom(int domain)
{
	return perf_pkg_find_domain(test_pmu.pp, domain);
}

static struct perf_pkg_part *test_part(struct perf_event *event, int domain)
{
	struct perf_pkg_event *pe = event->pmu_private;

	return &pe->part[test_dom(domain)->idx];
}

/* Windows of other domains open and close there. */
static bool test_part_gets(struct perf_event *event, int domain, bool open)
{
	int i;

	for (i = 0; i < 250; i++) {
		if (READ_ONCE(test_part(event, domain)->window[0].open) == open)
			return true;
		msleep(20);
	}

	return false;
}

/* Timers come and go without waiting. @cpu -1: not armed */
static bool test_timer_gets_to(int domain, int cpu)
{
	int i;

	for (i = 0; i < 250; i++) {
		if (READ_ONCE(test_dom(domain)->timer_cpu) == cpu)
			return true;
		msleep(20);
	}

	return false;
}

static void perf_pkg_sums_domains(struct kunit *test)
{
	struct perf_event *all, *one[TEST_DOMAINS];

	test_register(test, 0);
	test_run_on(test, 0);
	all = test_event(test, TEST_COUNT, -1, -1);
	one[0] = test_event(test, TEST_COUNT, -1, 0);
	one[1] = test_event(test, TEST_COUNT, -1, 1);

	atomic64_add(100, &tst.hw[0]);
	test_run_on(test, 1);
	atomic64_add(7, &tst.hw[1]);
	test_run_on(test, 2);

	KUNIT_EXPECT_EQ(test, test_count(all), 107);
	KUNIT_EXPECT_EQ(test, test_count(one[0]), 100);
	KUNIT_EXPECT_EQ(test, test_count(one[1]), 7);
}

static void perf_pkg_has_a_slot_per_domain(struct kunit *test)
{
	struct perf_event *event;

	test_register(test, 0);
	test_run_on(test, 0);
	event = test_event(test, TEST_COUNT, -1, -1);
	test_run_on(test, 2);

	KUNIT_EXPECT_EQ(test, test_slot(event, 0)->state, PERF_PKG_SLOT_LIVE);
	KUNIT_EXPECT_EQ(test, test_slot(event, 1)->state, PERF_PKG_SLOT_NEW);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_slot(event, 1)->stamp), 0);

	test_run_on(test, 3);
	KUNIT_EXPECT_EQ(test, test_slot(event, 1)->state, PERF_PKG_SLOT_LIVE);
	KUNIT_EXPECT_PTR_NE(test, test_slot(event, 0), test_slot(event, 1));
}

static void perf_pkg_older_stamp_never_wins(struct kunit *test)
{
	u64 later = ktime_get_mono_fast_ns() + 3600ULL * NSEC_PER_SEC;
	struct perf_event *event;

	test_register(test, 0);
	event = test_event(test, TEST_COUNT, 0, -1);
	atomic64_set(&test_slot(event, 0)->stamp, later);
	atomic64_add(5, &tst.hw[0]);
	test_refresh(event, 2);

	KUNIT_EXPECT_EQ(test, atomic64_read(&test_slot(event, 0)->stamp), later);
	KUNIT_EXPECT_EQ(test, test_count(event), 5);
}

static void perf_pkg_count_never_steps_back(struct kunit *test)
{
	struct perf_event *event;

	test_register(test, 0);
	event = test_event(test, TEST_COUNT, 0, -1);
	atomic64_set(&tst.hw[0], 100);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 100);

	atomic64_set(&tst.hw[0], 60);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 100);

	atomic64_set(&tst.hw[0], 130);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 130);
}

static void perf_pkg_gauge_may_step_back(struct kunit *test)
{
	struct perf_event *event;

	test_register(test, 0);
	event = test_event(test, TEST_GAUGE, 0, -1);
	atomic64_set(&tst.hw[0], 100);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 100);

	atomic64_set(&tst.hw[0], 60);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 60);
}

static void perf_pkg_counts_over_a_wrap(struct kunit *test)
{
	struct perf_event *event;

	atomic64_set(&tst.hw[0], U32_MAX - 1);
	test_register(test, 0);
	event = test_event(test, TEST_NARROW, 0, -1);
	atomic64_set(&tst.hw[0], 3);
	test_refresh(event, 0);

	KUNIT_EXPECT_EQ(test, test_count(event), 5);
}

static void perf_pkg_baseline_is_per_event(struct kunit *test)
{
	struct perf_event *first, *second;

	test_register(test, 0);
	atomic64_set(&tst.hw[0], 1000);
	first = test_event(test, TEST_FREE, 0, -1);
	atomic64_add(100, &tst.hw[0]);
	second = test_event(test, TEST_FREE, 0, -1);
	KUNIT_EXPECT_PTR_EQ(test, perf_pkg_event_counter(first),
			    perf_pkg_event_counter(second));

	atomic64_add(10, &tst.hw[0]);
	test_refresh(first, 0);
	KUNIT_EXPECT_EQ(test, test_count(first), 110);
	KUNIT_EXPECT_EQ(test, test_count(second), 10);
}

static void perf_pkg_counts_nothing_while_disabled(struct kunit *test)
{
	struct perf_event *event;

	test_register(test, 0);
	event = test_event(test, TEST_FREE, 0, -1);
	atomic64_add(100, &tst.hw[0]);
	perf_event_disable(event);
	KUNIT_EXPECT_EQ(test, test_count(event), 100);

	atomic64_add(1000, &tst.hw[0]);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 100);

	perf_event_enable(event);
	atomic64_add(1, &tst.hw[0]);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 101);
}

static void perf_pkg_reset_starts_from_zero(struct kunit *test)
{
	struct perf_event *event, *gauge;

	test_register(test, 0);
	event = test_event(test, TEST_COUNT, 0, -1);
	gauge = test_event(test, TEST_GAUGE, 0, -1);
	atomic64_set(&tst.hw[0], 100);
	test_refresh(gauge, 0);
	KUNIT_EXPECT_EQ(test, perf_event_pause(event, true), 100);
	KUNIT_EXPECT_EQ(test, test_count(event), 0);
	perf_event_pause(gauge, true);
	perf_event_enable(gauge);
	KUNIT_EXPECT_EQ(test, test_count(gauge), 100);

	perf_event_enable(event);
	atomic64_add(5, &tst.hw[0]);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 5);
}

static void perf_pkg_one_cpu_reports_a_domain(struct kunit *test)
{
	struct perf_event *gauge[2], *energy[2];
	int i;

	test_register(test, 0);
	for (i = 0; i < 2; i++) {
		gauge[i] = test_event(test, TEST_GAUGE, 2 * i, -1);
		energy[i] = test_event(test, TEST_FREE, 2 * i, -1);
	}

	atomic64_add(40, &tst.hw[0]);
	test_refresh(gauge[0], 0);
	test_refresh(energy[0], 0);
	KUNIT_EXPECT_EQ(test, test_count(gauge[0]) + test_count(gauge[1]), 40);
	KUNIT_EXPECT_EQ(test, test_count(energy[0]), 40);
	KUNIT_EXPECT_EQ(test, test_count(energy[1]), 0);

	/* The other one goes on where the first one stops. */
	perf_event_disable(energy[0]);
	atomic64_add(2, &tst.hw[0]);
	test_refresh(energy[0], 0);
	KUNIT_EXPECT_EQ(test, test_count(energy[0]), 40);
	KUNIT_EXPECT_EQ(test, test_count(energy[1]), 2);
}

/* A set is of one process: whoever else asks for the same gets it, too. */
static void perf_pkg_alike_events_of_a_cpu_all_report(struct kunit *test)
{
	struct perf_event *a, *b[2];

	test_register(test, 0);
	a = test_event(test, TEST_FREE, 0, -1);
	b[0] = test_event(test, TEST_FREE, 0, -1);
	b[1] = test_event(test, TEST_FREE, 2, -1);
	perf_event_disable(a);
	atomic64_add(7, &tst.hw[0]);
	test_refresh(a, 0);

	KUNIT_EXPECT_EQ(test, test_count(a), 0);
	KUNIT_EXPECT_EQ(test, test_count(b[0]), 7);
	KUNIT_EXPECT_EQ(test, test_count(b[1]), 0);
}

static void perf_pkg_failed_read_keeps_the_value(struct kunit *test)
{
	struct perf_event *event;
	s64 stamp, errors;

	test_register(test, 0);
	event = test_event(test, TEST_COUNT, 0, -1);
	atomic64_set(&tst.hw[0], 10);
	test_refresh(event, 0);
	stamp = atomic64_read(&test_slot(event, 0)->stamp);
	errors = atomic64_read(&test_pmu.pp->errors);

	WRITE_ONCE(tst.err, -EIO);
	atomic64_set(&tst.hw[0], 15);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 10);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_slot(event, 0)->stamp), stamp);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_pmu.pp->errors), errors + 1);

	/* Nothing is lost once the hardware answers again. */
	WRITE_ONCE(tst.err, 0);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 15);
	KUNIT_EXPECT_GT(test, atomic64_read(&test_slot(event, 0)->stamp), stamp);
}

/* As long as nothing could be read, that is no value of 0 that is fresh. */
static void perf_pkg_failed_first_read_is_made_up_for(struct kunit *test)
{
	struct perf_event *event, *age;

	test_register(test, 0);
	WRITE_ONCE(tst.err, -EIO);
	event = test_event(test, TEST_COUNT, 0, -1);
	age = test_event(test, PERF_PKG_EVENT_AGE, 0, -1);
	KUNIT_EXPECT_EQ(test, test_slot(event, 0)->state, PERF_PKG_SLOT_BLIND);
	KUNIT_EXPECT_GT(test, atomic64_read(&test_slot(event, 0)->stamp), 0);
	KUNIT_EXPECT_GT(test, test_count(age), 0);

	/* The value found first is where it starts from. */
	WRITE_ONCE(tst.err, 0);
	atomic64_set(&tst.hw[0], 10);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_slot(event, 0)->state, PERF_PKG_SLOT_LIVE);
	atomic64_add(4, &tst.hw[0]);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 4);
}

static void perf_pkg_no_resource_fails_the_open(struct kunit *test)
{
	test_register(test, 0);
	WRITE_ONCE(tst.err, -ENOSPC);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(test_open(TEST_COUNT, 0, -1)), -ENOSPC);

	WRITE_ONCE(tst.err, 0);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(test_open(0, 0, -1)), -EINVAL);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(test_open(TEST_COUNT, 0, TEST_DOMAINS)), -ENODEV);
	KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(test_open(TEST_FREE, -1, -1)), -EOPNOTSUPP);
}

static void perf_pkg_timer_lives_with_its_counters(struct kunit *test)
{
	struct perf_event *event;
	s64 stamp;
	int i;

	test_register(test, 1000);
	KUNIT_EXPECT_EQ(test, test_dom(0)->timer_cpu, -1);
	event = test_event(test, TEST_COUNT, 2, -1);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(0, 2));
	KUNIT_EXPECT_EQ(test, test_dom(1)->timer_cpu, -1);

	atomic64_add(3, &tst.hw[0]);
	stamp = ktime_get_mono_fast_ns();
	for (i = 0; i < 250 && atomic64_read(&test_slot(event, 0)->stamp) < stamp; i++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, test_count(event), 3);

	test_release_events();
	KUNIT_EXPECT_EQ(test, test_dom(0)->timer_cpu, -1);
	KUNIT_EXPECT_FALSE(test, hrtimer_active(&test_dom(0)->timer));
}

static unsigned int test_reads(struct perf_event *event, int domain)
{
	struct test_counter *tc = container_of(perf_pkg_event_counter(event),
					       struct test_counter, counter);

	return READ_ONCE(tc->reads[domain]);
}

/* Three of them fit into a slice. In each pass, all of them have their turn. */
static void perf_pkg_no_counter_starves(struct kunit *test)
{
	struct perf_pkg_domain *dom;
	struct perf_event *event[TEST_EVENTS];
	unsigned int i, reads, passes, before[TEST_EVENTS];

	test_register(test, 100);
	WRITE_ONCE(test_pmu.pp->budget_us, 100);
	WRITE_ONCE(test_pmu.pp->cpu_percent, PERF_PKG_CPU_PERCENT_MAX);
	WRITE_ONCE(tst.delay_us, 40);
	for (i = 0; i < TEST_EVENTS; i++)
		event[i] = test_event(test, TEST_COUNT, 2, -1);

	dom = test_dom(0);
	perf_pkg_hold(dom);
	for (i = 0; i < TEST_EVENTS; i++)
		before[i] = test_reads(event[i], 0);
	perf_pkg_release(dom);
	for (i = 0; i < 250 && test_reads(event[0], 0) < before[0] + 5; i++)
		msleep(20);
	perf_pkg_hold(dom);

	passes = test_reads(event[0], 0) - before[0];
	KUNIT_EXPECT_GE(test, passes, 5);
	for (i = 1; i < TEST_EVENTS; i++) {
		reads = test_reads(event[i], 0) - before[i];
		KUNIT_EXPECT_GE(test, reads + 1, passes);
		KUNIT_EXPECT_LE(test, reads, passes + 1);
	}
	perf_pkg_release(dom);
}

/* Has a look at the passes of domain 0 from now on, of which each reads one counter. */
static void test_watch(unsigned int percent, unsigned int delay_us)
{
	perf_pkg_hold(test_dom(0));
	WRITE_ONCE(test_pmu.pp->cpu_percent, percent);
	WRITE_ONCE(tst.delay_us, delay_us);
	WRITE_ONCE(tst.passes, 0);
	WRITE_ONCE(tst.watched, true);
	perf_pkg_release(test_dom(0));
}

static bool test_passes(unsigned int nr)
{
	int i;

	for (i = 0; i < 250 && READ_ONCE(tst.passes) < nr; i++)
		msleep(20);

	return READ_ONCE(tst.passes) >= nr;
}

/* With interrupts off */
static void test_keep_busy(void *us)
{
	test_delay((unsigned long)us);
}

/* From one pass to the next it is the interval, or what the share of the CPU takes. */
static void perf_pkg_period_never_doubles(struct kunit *test)
{
	int i;

	test_register(test, 2000);
	test_event(test, TEST_COUNT, 2, -1);

	/* The share takes longer, so each pass ends after the next one was due. */
	test_watch(50, 1200);
	KUNIT_EXPECT_TRUE(test, test_passes(20));
	KUNIT_EXPECT_EQ(test, tst.belated, 0);

	/* It would fit, but passes begin late. */
	test_watch(50, 800);
	for (i = 0; i < 30; i++) {
		smp_call_function_single(2, test_keep_busy, (void *)1500, 1);
		usleep_range(3300, 3400);
	}
	KUNIT_EXPECT_TRUE(test, test_passes(20));
	KUNIT_EXPECT_EQ(test, tst.belated, 0);
}

/* One read that took long, as in a virtual CPU that was away, stops nothing for long. */
static void perf_pkg_rest_is_bounded(struct kunit *test)
{
	test_register(test, 10000);
	test_event(test, TEST_COUNT, 2, -1);
	test_watch(PERF_PKG_CPU_PERCENT, 300 * USEC_PER_MSEC);
	KUNIT_EXPECT_TRUE(test, test_passes(1));
	WRITE_ONCE(tst.delay_us, 0);
	KUNIT_EXPECT_TRUE(test, test_passes(2));
	KUNIT_EXPECT_EQ(test, tst.belated, 0);
}

static void perf_pkg_quiet_domain_needs_no_timer(struct kunit *test)
{
	struct perf_event *event;
	int reads;

	test_register(test, 1000);
	test_run_on(test, 0);
	event = test_event(test, TEST_COUNT, -1, -1);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(0, 0));
	KUNIT_EXPECT_FALSE(test, perf_pkg_is_exact(test_slot(event, 0)));
	atomic64_add(3, &tst.hw[0]);

	test_run_on(test, 1);
	KUNIT_EXPECT_TRUE(test, perf_pkg_is_exact(test_slot(event, 0)));
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(0, -1));
	KUNIT_EXPECT_FALSE(test, hrtimer_active(&test_dom(0)->timer));
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(1, 1));
	KUNIT_EXPECT_EQ(test, test_count(event), 3);

	/* The other CPU of the domain */
	test_run_on(test, 2);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(0, 2));
	atomic64_add(4, &tst.hw[0]);
	perf_event_disable(event);
	KUNIT_EXPECT_EQ(test, test_count(event), 7);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(0, -1));
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(1, -1));

	/* Nor does anything else read it. */
	reads = atomic_read(&tst.reads);
	msleep(50);
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.reads), reads);
}

static void perf_pkg_level_is_refreshed_until_it_is_still(struct kunit *test)
{
	struct perf_event *event;
	int i;

	test_register(test, 100000);
	test_run_on(test, 0);
	event = test_event(test, TEST_GAUGE, -1, -1);
	test_run_on(test, 1);

	/* Nobody is there, and the level changes. */
	for (i = 0; i < 500 && READ_ONCE(test_dom(0)->quiet) < 3; i++) {
		atomic64_inc(&tst.hw[0]);
		msleep(20);
	}
	KUNIT_EXPECT_GE(test, READ_ONCE(test_dom(0)->quiet), 3);
	KUNIT_EXPECT_GE(test, READ_ONCE(test_dom(0)->timer_cpu), 0);
	KUNIT_EXPECT_FALSE(test, perf_pkg_is_exact(test_slot(event, 0)));

	atomic64_set(&tst.hw[0], 1000);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(0, -1));
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_slot(event, 0)->value), 1000);
	KUNIT_EXPECT_GE(test, READ_ONCE(test_dom(1)->timer_cpu), 0);

	test_run_on(test, 2);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(0, 2));
}

/* What was not read when it stopped is read later, and only then it is exact. */
static void perf_pkg_failed_last_read_is_made_up_for(struct kunit *test)
{
	struct perf_event *event;
	int i;

	test_register(test, 100);
	test_run_on(test, 0);
	event = test_event(test, TEST_COUNT, -1, 0);
	atomic64_add(5, &tst.hw[0]);
	WRITE_ONCE(tst.err, -EIO);
	test_run_on(test, 1);
	KUNIT_EXPECT_FALSE(test, perf_pkg_is_exact(test_slot(event, 0)));
	atomic64_add(2, &tst.hw[0]);

	WRITE_ONCE(tst.err, 0);
	for (i = 0; i < 250 && !perf_pkg_is_exact(test_slot(event, 0)); i++)
		msleep(20);
	KUNIT_EXPECT_TRUE(test, perf_pkg_is_exact(test_slot(event, 0)));
	KUNIT_EXPECT_EQ(test, test_count(event), 7);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(0, -1));
}

/* More than half of the range while nobody looked: that is not a step back. */
static void perf_pkg_may_wrap_while_nobody_counts(struct kunit *test)
{
	struct perf_event *event;

	test_register(test, 100);
	event = test_event(test, TEST_FREE_NARROW, 0, -1);
	atomic64_add(10, &tst.hw[0]);
	perf_event_disable(event);
	KUNIT_EXPECT_EQ(test, test_count(event), 10);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(0, -1));

	atomic64_add(BIT_ULL(TEST_NARROW_BITS) - 3, &tst.hw[0]);
	perf_event_enable(event);
	atomic64_add(6, &tst.hw[0]);
	perf_event_disable(event);
	KUNIT_EXPECT_EQ(test, test_count(event), 16);
}

/* As by a suspend: it is counted on from what is there now, and that is an error. */
static void perf_pkg_reset_hardware_is_counted_on(struct kunit *test)
{
	struct perf_event *event;
	s64 errors;

	test_register(test, 0);
	event = test_event(test, TEST_FREE, 0, -1);
	atomic64_set(&tst.hw[0], 100);
	test_refresh(event, 0);
	errors = atomic64_read(&test_pmu.pp->errors);
	atomic64_set(&tst.hw[0], 5);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 100);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_pmu.pp->errors), errors + 1);

	atomic64_set(&tst.hw[0], 8);
	test_refresh(event, 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 103);
}

/* No timer where nobody can read what it would find */
static void perf_pkg_unselected_domain_has_no_timer(struct kunit *test)
{
	struct perf_event *task, *cpu;

	test_register(test, 100);
	test_run_on(test, 0);
	task = test_event(test, TEST_COUNT, -1, 1);
	cpu = test_event(test, TEST_FREE, 0, 1);
	KUNIT_EXPECT_EQ(test, test_dom(0)->timer_cpu, -1);
	KUNIT_EXPECT_EQ(test, test_slot(task, 0)->state, PERF_PKG_SLOT_NEW);
	KUNIT_EXPECT_EQ(test, test_count(cpu), 0);

	atomic64_add(3, &tst.hw[0]);
	test_run_on(test, 1);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(1, 1));
	atomic64_add(5, &tst.hw[1]);
	test_run_on(test, 0);
	KUNIT_EXPECT_EQ(test, test_count(task), 5);
}

static void perf_pkg_read_refreshes_what_is_too_old(struct kunit *test)
{
	struct perf_event *cpu, *task;
	int reads;

	test_register(test, 0);
	test_run_on(test, 1);
	task = test_event(test, TEST_COUNT, -1, -1);
	test_run_on(test, 0);
	cpu = test_event(test, TEST_FREE, 1, -1);
	atomic64_add(5, &tst.hw[1]);
	KUNIT_EXPECT_EQ(test, test_count(cpu), 0);

	WRITE_ONCE(test_pmu.pp->max_age_us, PERF_PKG_INTERVAL_MAX_US);
	KUNIT_EXPECT_EQ(test, test_count(cpu), 0);
	WRITE_ONCE(test_pmu.pp->max_age_us, 1);
	usleep_range(10, 20);
	KUNIT_EXPECT_EQ(test, test_count(cpu), 5);

	/* The old value does for who cannot wait for another CPU. */
	atomic64_add(2, &tst.hw[1]);
	KUNIT_EXPECT_EQ(test, perf_pkg_event_count(cpu), 5);

	/* The task is here, there is nothing to be read where it was. */
	perf_event_disable(cpu);
	reads = atomic_read(&tst.reads);
	test_count(cpu);
	perf_event_disable(task);
	reads++;
	test_count(task);
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.reads), reads);

	/* What fails is as old as before. */
	WRITE_ONCE(tst.err, -EIO);
	perf_event_enable(cpu);
	KUNIT_EXPECT_EQ(test, test_count(cpu), 7);
}

/* They cost the timer nothing. Nobody reads them for a domain that is gone. */
static void perf_pkg_others_have_no_timer(struct kunit *test)
{
	struct perf_event *timed, *other = NULL;
	struct perf_pkg_domain *dom;
	unsigned int reads, i;
	int all;

	test_register(test, 1000);
	dom = test_dom(1);
	timed = test_event(test, TEST_COUNT, 3, -1);
	for (i = 1; i < TEST_EVENTS; i++)
		other = test_event(test, TEST_NO_TIMER, 3, -1);
	KUNIT_EXPECT_EQ(test, dom->nr_slots, 1);

	perf_pkg_hold(dom);
	reads = test_reads(timed, 1);
	all = atomic_read(&tst.reads);
	perf_pkg_release(dom);
	for (i = 0; i < 250 && test_reads(timed, 1) < reads + 5; i++)
		msleep(20);
	perf_pkg_hold(dom);
	reads = test_reads(timed, 1) - reads;
	KUNIT_EXPECT_GE(test, reads, 5);
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.reads) - all, reads);
	perf_pkg_release(dom);

	KUNIT_EXPECT_NE(test, atomic64_read(&test_slot(other, 1)->stamp), 0);
	KUNIT_ASSERT_EQ(test, remove_cpu(1), 0);
	KUNIT_ASSERT_EQ(test, remove_cpu(3), 0);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_slot(other, 1)->stamp), 0);
	KUNIT_ASSERT_EQ(test, add_cpu(3), 0);
	KUNIT_EXPECT_EQ(test, test_slot(other, 1)->state, PERF_PKG_SLOT_BLIND);
	KUNIT_EXPECT_EQ(test, add_cpu(1), 0);
}

/* As a long slice does, but until an event was scheduled in, or for a second */
static void test_hold_lock(void *info)
{
	struct perf_pkg_domain *dom = info;
	int i, starts = atomic_read(&tst.starts);

	guard(raw_spinlock)(&dom->lock);

	WRITE_ONCE(tst.locked, true);
	for (i = 0; i < 1000 && atomic_read(&tst.starts) == starts; i++)
		mdelay(1);
	tst.started = atomic_read(&tst.starts) != starts;
}

static void perf_pkg_wake_does_not_wait(struct kunit *test)
{
	struct perf_event *event;

	/* Not of a task: that would be scheduled in again, and find the lock free. */
	test_register(test, 1000);
	test_run_on(test, 0);
	event = test_event(test, TEST_COUNT, 0, -1);
	perf_event_disable(event);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(0, -1));
	KUNIT_EXPECT_GT(test, READ_ONCE(test_dom(0)->quiet), 0);

	smp_call_function_single(2, test_hold_lock, test_dom(0), 0);
	while (!READ_ONCE(tst.locked))
		cpu_relax();
	perf_event_enable(event);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(0, 0));
	KUNIT_EXPECT_TRUE(test, tst.started);
	KUNIT_EXPECT_EQ(test, READ_ONCE(test_dom(0)->quiet), 0);
}

static struct task_struct *test_hotplug_thread(unsigned int cpu)
{
	struct task_struct *task;
	char name[TASK_COMM_LEN];

	snprintf(name, sizeof(name), "cpuhp/%u", cpu);
	guard(rcu)();
	for_each_process(task) {
		if (task->flags & PF_KTHREAD && !strcmp(task->comm, name))
			return get_task_struct(task);
	}

	return NULL;
}

/* Its thread has the CPU join the domain: it was scheduled in before and goes out after. */
static void perf_pkg_hotplug_thread_is_counted(struct kunit *test)
{
	struct perf_event_attr attr = { .size = sizeof(attr), .config = TEST_COUNT };
	struct task_struct *thread;
	struct perf_event *event;
	u64 enabled, running;
	int i;

	KUNIT_ASSERT_EQ(test, remove_cpu(3), 0);
	test_register(test, 0);
	thread = test_hotplug_thread(3);
	KUNIT_ASSERT_NOT_NULL(test, thread);
	attr.type = test_pmu.pmu.type;
	event = perf_event_create_kernel_counter(&attr, -1, thread, NULL, NULL);
	put_task_struct(thread);
	test_keep(test, event);
	KUNIT_ASSERT_EQ(test, add_cpu(3), 0);
	for (i = 0; i < 250 && READ_ONCE(event->oncpu) >= 0; i++)
		msleep(20);

	perf_event_read_value(event, &enabled, &running);
	KUNIT_EXPECT_GT(test, running, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&test_slot(event, 1)->active), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.starts), atomic_read(&tst.stops));
}

static void perf_pkg_hotplug_hands_over(struct kunit *test)
{
	struct perf_event *event, *gauge;

	/* No tick comes in time: what is published is published by hotplug. */
	test_register(test, PERF_PKG_INTERVAL_MAX_US);
	test_run_on(test, 1);
	event = test_event(test, TEST_COUNT, -1, -1);
	gauge = test_event(test, TEST_GAUGE, -1, 1);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(1, 1));
	WRITE_ONCE(tst.err, -EIO);
	test_run_on(test, 0);
	WRITE_ONCE(tst.err, 0);

	/* To the other CPU of the domain */
	KUNIT_ASSERT_EQ(test, remove_cpu(1), 0);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(1, 3));

	/* The last one reads once more what may have changed. */
	atomic64_set(&tst.hw[1], 50);
	KUNIT_ASSERT_EQ(test, remove_cpu(3), 0);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(1, -1));
	KUNIT_EXPECT_FALSE(test, hrtimer_active(&test_dom(1)->timer));
	KUNIT_EXPECT_EQ(test, test_count(event), 50);
	KUNIT_EXPECT_EQ(test, test_count(gauge), 0);

	/* It comes back with its hardware at 0. */
	atomic64_set(&tst.hw[1], 0);
	KUNIT_ASSERT_EQ(test, add_cpu(3), 0);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(1, 3));
	KUNIT_EXPECT_EQ(test, test_count(event), 50);
	test_refresh(event, 3);
	KUNIT_EXPECT_EQ(test, test_count(event), 50);
	atomic64_set(&tst.hw[1], 9);
	test_refresh(event, 3);
	test_refresh(gauge, 3);
	KUNIT_EXPECT_EQ(test, test_count(event), 59);
	KUNIT_EXPECT_EQ(test, test_count(gauge), 9);

	KUNIT_EXPECT_EQ(test, add_cpu(1), 0);
}

/* Who opens events on several CPUs of a domain in spite of a cpumask asks for that. */
static void perf_pkg_scoped_events_all_report(struct kunit *test)
{
	struct perf_event *event[2], *other;

	test_register_scoped(test, 0);
	event[0] = test_event(test, TEST_FREE, 0, -1);
	event[1] = test_event(test, TEST_FREE, 2, -1);
	other = test_event(test, TEST_FREE, 1, -1);
	atomic64_add(40, &tst.hw[0]);
	test_refresh(event[0], 2);

	KUNIT_EXPECT_EQ(test, test_count(event[0]), 40);
	KUNIT_EXPECT_EQ(test, test_count(event[1]), 40);
	KUNIT_EXPECT_EQ(test, test_count(other), 0);
}

/* The hardware counts that much in each domain, and that is published. */
static void test_advance(struct perf_event *event, s64 domain0, s64 domain1)
{
	atomic64_add(domain0, &tst.hw[0]);
	atomic64_add(domain1, &tst.hw[1]);
	test_refresh(event, 0);
	test_refresh(event, 1);
}

static void perf_pkg_wide_event_sums_domains(struct kunit *test)
{
	struct perf_event *all, *there;

	test_register_scoped(test, 1000);
	test_run_on(test, 0);
	all = test_event(test, TEST_FREE, 0, TEST_ALL);
	there = test_event(test, TEST_FREE, 0, 1);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(1, 1));
	KUNIT_EXPECT_TRUE(test, test_part_gets(there, 1, true));
	KUNIT_EXPECT_TRUE(test, test_part_gets(all, 1, true));
	test_advance(all, 5, 7);
	KUNIT_EXPECT_EQ(test, test_count(all), 12);
	KUNIT_EXPECT_EQ(test, test_count(there), 7);

	perf_event_disable(all);
	KUNIT_EXPECT_EQ(test, test_count(all), 12);
	KUNIT_EXPECT_FALSE(test, test_part(all, 1)->active);
	test_advance(all, 100, 100);
	KUNIT_EXPECT_EQ(test, test_count(all), 12);
	KUNIT_EXPECT_EQ(test, test_count(there), 107);

	perf_event_enable(all);
	KUNIT_EXPECT_TRUE(test, test_part_gets(all, 1, true));
	test_advance(all, 1, 1);
	KUNIT_EXPECT_EQ(test, test_count(all), 14);
}

/* The core takes events off and puts them back when others come: that stays on the CPU. */
static void perf_pkg_wide_event_is_left_alone(struct kunit *test)
{
	struct perf_event *all;
	unsigned int reads;
	int i;

	test_register_scoped(test, 0);
	test_run_on(test, 0);
	all = test_event(test, TEST_FREE, 0, TEST_ALL);
	KUNIT_EXPECT_TRUE(test, test_part_gets(all, 1, true));
	reads = test_reads(all, 1);
	for (i = 0; i < 5; i++)
		test_event(test, TEST_COUNT, 0, -1);
	msleep(20);

	KUNIT_EXPECT_GT(test, test_reads(all, 0), 1);
	KUNIT_EXPECT_EQ(test, test_reads(all, 1), reads);
}

/* A domain that comes later joins, and what it had counted before it went is kept. */
static void perf_pkg_wide_event_outlives_a_domain(struct kunit *test)
{
	struct perf_event *before, *while_off, *disabled;

	test_register_scoped(test, 1000);
	test_run_on(test, 0);
	before = test_event(test, TEST_FREE, 0, TEST_ALL);
	disabled = test_event(test, TEST_FREE, 0, TEST_ALL);
	KUNIT_EXPECT_TRUE(test, test_part_gets(before, 1, true));
	KUNIT_EXPECT_TRUE(test, test_part_gets(disabled, 1, true));
	atomic64_add(3, &tst.hw[1]);
	KUNIT_ASSERT_EQ(test, remove_cpu(1), 0);
	KUNIT_ASSERT_EQ(test, remove_cpu(3), 0);
	KUNIT_EXPECT_EQ(test, test_count(before), 3);
	while_off = test_event(test, TEST_FREE, 0, TEST_ALL);
	KUNIT_EXPECT_TRUE(test, test_part_gets(while_off, 1, true));
	perf_event_disable(disabled);
	KUNIT_EXPECT_EQ(test, test_count(disabled), 3);
	atomic64_add(1000, &tst.hw[1]);

	KUNIT_ASSERT_EQ(test, add_cpu(3), 0);
	KUNIT_EXPECT_TRUE(test, test_timer_gets_to(1, 3));
	atomic64_add(4, &tst.hw[1]);
	test_refresh(before, 3);
	KUNIT_EXPECT_EQ(test, test_count(before), 7);
	KUNIT_EXPECT_EQ(test, test_count(while_off), 4);
	KUNIT_EXPECT_EQ(test, test_count(disabled), 3);
	KUNIT_EXPECT_EQ(test, add_cpu(1), 0);
}

/* As an interrupt is what costs, one reads all that is too old in the domain. */
static void perf_pkg_one_interrupt_refreshes_a_domain(struct kunit *test)
{
	struct perf_event *event[3];
	int i, reads;

	test_register_scoped(test, 0);
	test_run_on(test, 0);
	event[0] = test_event(test, TEST_FREE, 1, -1);
	event[1] = test_event(test, TEST_FREE_NARROW, 1, -1);
	event[2] = test_event(test, TEST_GAUGE, 0, TEST_ALL);
	KUNIT_EXPECT_TRUE(test, test_part_gets(event[2], 1, true));
	atomic64_add(5, &tst.hw[1]);
	WRITE_ONCE(test_pmu.pp->max_age_us, USEC_PER_MSEC);
	msleep(20);

	reads = atomic_read(&tst.reads);
	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, test_count(event[i]), 5);
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.reads), reads + 3);
}

/* Counters that wrap need a timer that is fast enough. */
static void perf_pkg_interval_has_a_driver_limit(struct kunit *test)
{
	test_pmu.max_interval_us = 1000;
	test_pmu.interval_us = 1001;
	KUNIT_EXPECT_EQ(test, perf_pkg_register(&test_pmu, "perf_pkg_test"), -EINVAL);
	test_pmu.interval_us = 0;
	KUNIT_EXPECT_EQ(test, perf_pkg_register(&test_pmu, "perf_pkg_test"), -EINVAL);
	test_register(test, 1000);
	test_pmu.max_interval_us = 0;
}

/* What it monitored is gone: the last value stays, and nobody else joins. */
static void perf_pkg_ended_counter_stands_still(struct kunit *test)
{
	struct perf_event *event, *other;
	struct perf_pkg_counter *counter;
	unsigned int reads;

	test_register(test, 0);
	event = test_event(test, TEST_GAUGE, 0, -1);
	counter = perf_pkg_event_counter(event);
	atomic64_set(&tst.hw[0], 100);
	perf_pkg_refresh_domains(counter);
	KUNIT_EXPECT_EQ(test, test_pmu.pmu.sync_count(event), 0);

	perf_pkg_counter_end(counter);
	KUNIT_EXPECT_EQ(test, test_pmu.pmu.sync_count(event), -ENODEV);
	reads = atomic_read(&tst.reads);
	atomic64_set(&tst.hw[0], 200);
	test_refresh(event, 0);
	perf_event_disable(event);
	perf_event_enable(event);
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.reads), reads);
	KUNIT_EXPECT_EQ(test, test_count(event), 100);

	other = test_event(test, TEST_GAUGE, 0, -1);
	KUNIT_EXPECT_PTR_NE(test, perf_pkg_event_counter(other), counter);
	test_refresh(other, 0);
	KUNIT_EXPECT_EQ(test, test_count(other), 200);
}

static int perf_pkg_test_init(struct kunit *test)
{
	int cpu;

	/* Of a case that failed half-way */
	for (cpu = 1; cpu < 2 * TEST_DOMAINS; cpu++) {
		if (cpu_possible(cpu) && !cpu_online(cpu))
			add_cpu(cpu);
	}

	if (num_online_cpus() < 2 * TEST_DOMAINS)
		kunit_skip(test, "needs %d CPUs", 2 * TEST_DOMAINS);

	memset(&tst, 0, sizeof(tst));

	return 0;
}

/* Whatever the case did: nothing is left of it. */
static void perf_pkg_test_exit(struct kunit *test)
{
	struct perf_pkg *pp = test_pmu.pp;
	unsigned int i;

	WRITE_ONCE(tst.err, 0);
	WRITE_ONCE(tst.delay_us, 0);
	WRITE_ONCE(tst.watched, false);
	test_release_events();
	set_cpus_allowed_ptr(current, cpu_possible_mask);
	if (!pp)
		return;

	KUNIT_EXPECT_EQ(test, tst.nr_counters, 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&pp->counters));
	for (i = 0; i < pp->max_domains; i++) {
		KUNIT_EXPECT_EQ(test, pp->domain[i].nr_slots, 0);
		KUNIT_EXPECT_EQ(test, pp->domain[i].held, 0);
		KUNIT_EXPECT_EQ(test, pp->domain[i].timer_cpu, -1);
		KUNIT_EXPECT_TRUE(test, list_empty(&pp->domain[i].events));
		KUNIT_EXPECT_FALSE(test, hrtimer_active(&pp->domain[i].timer));
	}
	perf_pkg_unregister(&test_pmu);
}

static struct kunit_case perf_pkg_test_cases[] = {
	KUNIT_CASE(perf_pkg_sums_domains),
	KUNIT_CASE(perf_pkg_has_a_slot_per_domain),
	KUNIT_CASE(perf_pkg_older_stamp_never_wins),
	KUNIT_CASE(perf_pkg_count_never_steps_back),
	KUNIT_CASE(perf_pkg_gauge_may_step_back),
	KUNIT_CASE(perf_pkg_counts_over_a_wrap),
	KUNIT_CASE(perf_pkg_baseline_is_per_event),
	KUNIT_CASE(perf_pkg_counts_nothing_while_disabled),
	KUNIT_CASE(perf_pkg_reset_starts_from_zero),
	KUNIT_CASE(perf_pkg_one_cpu_reports_a_domain),
	KUNIT_CASE(perf_pkg_alike_events_of_a_cpu_all_report),
	KUNIT_CASE(perf_pkg_failed_read_keeps_the_value),
	KUNIT_CASE(perf_pkg_failed_first_read_is_made_up_for),
	KUNIT_CASE(perf_pkg_no_resource_fails_the_open),
	KUNIT_CASE(perf_pkg_timer_lives_with_its_counters),
	KUNIT_CASE(perf_pkg_no_counter_starves),
	KUNIT_CASE(perf_pkg_period_never_doubles),
	KUNIT_CASE_SLOW(perf_pkg_rest_is_bounded),
	KUNIT_CASE(perf_pkg_quiet_domain_needs_no_timer),
	KUNIT_CASE_SLOW(perf_pkg_level_is_refreshed_until_it_is_still),
	KUNIT_CASE(perf_pkg_failed_last_read_is_made_up_for),
	KUNIT_CASE(perf_pkg_may_wrap_while_nobody_counts),
	KUNIT_CASE(perf_pkg_reset_hardware_is_counted_on),
	KUNIT_CASE(perf_pkg_unselected_domain_has_no_timer),
	KUNIT_CASE(perf_pkg_read_refreshes_what_is_too_old),
	KUNIT_CASE_SLOW(perf_pkg_others_have_no_timer),
	KUNIT_CASE(perf_pkg_wake_does_not_wait),
	KUNIT_CASE_SLOW(perf_pkg_hotplug_thread_is_counted),
	KUNIT_CASE_SLOW(perf_pkg_hotplug_hands_over),
	KUNIT_CASE(perf_pkg_scoped_events_all_report),
	KUNIT_CASE(perf_pkg_wide_event_sums_domains),
	KUNIT_CASE(perf_pkg_wide_event_is_left_alone),
	KUNIT_CASE_SLOW(perf_pkg_wide_event_outlives_a_domain),
	KUNIT_CASE(perf_pkg_one_interrupt_refreshes_a_domain),
	KUNIT_CASE(perf_pkg_interval_has_a_driver_limit),
	KUNIT_CASE(perf_pkg_ended_counter_stands_still),
	{},
};

static struct kunit_suite perf_pkg_test_suite = {
	.name		= "perf_pkg",
	.init		= perf_pkg_test_init,
	.exit		= perf_pkg_test_exit,
	.test_cases	= perf_pkg_test_cases,
};

kunit_test_suites(&perf_pkg_test_suite);

MODULE_LICENSE("GPL");
