// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of package-scope counters: several CPUs at a time
 *
 * Of each handshake, both sides run on CPUs of their own for as long as it takes to meet
 * in the middle. What holds all the time is looked at meanwhile. The "hardware" is the
 * clock; CPUs with even numbers are domain 0, the others domain 1, from which it is watched.
 */
#include <kunit/test.h>

#include <linux/atomic.h>
#include <linux/cleanup.h>
#include <linux/cpu.h>
#include <linux/cpumask.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/perf_event.h>
#include <linux/perf_pkg.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/spinlock.h>
#include <linux/timekeeping.h>

#include "../internal.h"

#define RACE_CPUS	3
#define RACE_ROUNDS	2000

static struct {
	struct perf_event	*event;
	struct perf_pkg_domain	*dom;
	struct perf_pkg_slot	*slot;
	atomic_t		running;
} race;

static int race_domain_id(unsigned int cpu)
{
	return cpu % 2;
}

static int race_event_init(struct perf_event *event, struct perf_pkg_desc *desc)
{
	struct perf_pkg_pmu *ppmu = container_of(event->pmu, struct perf_pkg_pmu, pmu);

	desc->key = ppmu->counts_domains;

	return event->attr.config == 1 ? 0 : -EINVAL;
}

static int race_read(struct perf_pkg_counter *counter, unsigned int idx, u64 *value)
{
	*value = ktime_get_mono_fast_ns();

	return 0;
}

static struct attribute *race_no_attrs[] = { NULL };
static const struct attribute_group race_format = { .name = "format", .attrs = race_no_attrs };
static const struct attribute_group race_events = { .name = "events", .attrs = race_no_attrs };
static const struct attribute_group *race_groups[] = { &race_format, &race_events, NULL };
static struct perf_pkg_pmu race_pmu;

/* An event of CPU 0, of a PMU that counts domains or tasks; this task is on @cpu. */
static void race_open(struct kunit *test, bool counts_domains, int cpu)
{
	struct perf_event_attr attr = { .size = sizeof(attr), .config = 1 };
	struct perf_pkg_event *pe;

	race_pmu = (struct perf_pkg_pmu){
		.pmu.task_ctx_nr	= perf_sw_context,
		.pmu.attr_groups	= race_groups,
		.pmu.attr_update	= perf_pkg_attr_update,
		.counts_domains		= counts_domains,
		.domain_id		= race_domain_id,
		.event_init		= race_event_init,
		.read			= race_read,
	};
	KUNIT_ASSERT_EQ(test, perf_pkg_register(&race_pmu, "perf_pkg_race"), 0);
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(cpu)), 0);

	attr.type = race_pmu.pmu.type;
	race.event = perf_event_create_kernel_counter(&attr, 0, NULL, NULL, NULL);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, race.event);
	pe = race.event->pmu_private;
	race.dom = perf_pkg_find_domain(race_pmu.pp, 0);
	race.slot = &pe->counter->slot[race.dom->idx];
}

/* Calls @fn on another CPU, with interrupts off, while this one goes on */
static void race_start(struct kunit *test, int cpu, smp_call_func_t fn)
{
	int ret;

	atomic_inc(&race.running);
	ret = smp_call_function_single(cpu, fn, NULL, 0);
	if (ret)
		atomic_dec(&race.running);
	KUNIT_ASSERT_EQ(test, ret, 0);
}

static void race_publish(void *info)
{
	int i;

	for (i = 0; i < RACE_ROUNDS; i++)
		perf_pkg_publish_here(race.dom, race.slot, false);
	atomic_dec(&race.running);
}

/* Who observes a stamp observes a value at least as new. No stamp is older than one before. */
static void perf_pkg_race_stamp_and_value(struct kunit *test)
{
	unsigned int early = 0, back = 0;
	u64 stamp, raw, last = 0;

	race_open(test, false, 1);
	race_start(test, 0, race_publish);
	race_start(test, 2, race_publish);
	while (atomic_read(&race.running)) {
		stamp = perf_pkg_slot_stamp(race.slot);
		raw = race.slot->baseline + atomic64_read(&race.slot->value);
		early += stamp > raw;
		back += stamp < last;
		last = stamp;
	}
	KUNIT_EXPECT_EQ(test, early, 0);
	KUNIT_EXPECT_EQ(test, back, 0);
}

static void race_switch(void *info)
{
	int i;

	for (i = 0; i < RACE_ROUNDS; i++) {
		race.event->pmu->del(race.event, 0);
		udelay(1);
		race.event->pmu->add(race.event, PERF_EF_START);
	}
	atomic_dec(&race.running);
}

/* A window that is closed does not report what is published after that. */
static void perf_pkg_race_window_and_reader(struct kunit *test)
{
	u64 count, last = 0;
	unsigned int back = 0;

	race_open(test, true, 1);
	race_start(test, 0, race_switch);
	race_start(test, 2, race_publish);
	while (atomic_read(&race.running)) {
		race.event->pmu->count(race.event, &count);
		back += count < last;
		last = count;
	}
	KUNIT_EXPECT_EQ(test, back, 0);
}

static void race_kick(void *info)
{
	int i;

	for (i = 0; i < RACE_ROUNDS; i++)
		perf_pkg_timer_kick(race.dom);
	atomic_dec(&race.running);
}

/* What is paused is not armed, and what is resumed is. */
static void perf_pkg_race_pause_and_arm(struct kunit *test)
{
	unsigned int armed = 0, stopped = 0;

	race_open(test, false, 0);
	race_pmu.pp->interval_us = 1000;
	race_start(test, 2, race_kick);
	do {
		perf_pkg_timer_pause(race.dom);
		armed += READ_ONCE(race.dom->timer_cpu) >= 0 || hrtimer_active(&race.dom->timer);
		perf_pkg_timer_resume(race.dom);
		guard(raw_spinlock_irqsave)(&race.dom->lock);
		stopped += race.dom->timer_cpu < 0;
	} while (atomic_read(&race.running));
	KUNIT_EXPECT_EQ(test, armed, 0);
	KUNIT_EXPECT_EQ(test, stopped, 0);
}

static int perf_pkg_race_init(struct kunit *test)
{
	int cpu;

	/* The suite before this one leaves CPUs offline. */
	for (cpu = 0; cpu < RACE_CPUS; cpu++) {
		if (cpu_possible(cpu) && !cpu_online(cpu))
			add_cpu(cpu);
		if (!cpu_online(cpu))
			kunit_skip(test, "needs %d CPUs", RACE_CPUS);
	}

	return 0;
}

static void perf_pkg_race_exit(struct kunit *test)
{
	while (atomic_read(&race.running))
		cpu_relax();
	if (!IS_ERR_OR_NULL(race.event))
		perf_event_release_kernel(race.event);
	race.event = NULL;
	if (race_pmu.pp)
		perf_pkg_unregister(&race_pmu);
}

static struct kunit_case perf_pkg_race_cases[] = {
	KUNIT_CASE(perf_pkg_race_stamp_and_value),
	KUNIT_CASE(perf_pkg_race_window_and_reader),
	KUNIT_CASE(perf_pkg_race_pause_and_arm),
	{},
};

static struct kunit_suite perf_pkg_race_suite = {
	.name		= "perf_pkg_race",
	.init		= perf_pkg_race_init,
	.exit		= perf_pkg_race_exit,
	.test_cases	= perf_pkg_race_cases,
};

kunit_test_suites(&perf_pkg_race_suite);

MODULE_LICENSE("GPL");
