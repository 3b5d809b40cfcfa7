// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of package-scope counters
 *
 * Two PMUs in software: one counts tasks, the other one counts domains. The "hardware"
 * is one number per domain. CPUs with even numbers are domain 0, the others domain 1.
 * Unless a case is about the timer there is none, and slots are refreshed by hand.
 */
#include <kunit/test.h>

#include <linux/atomic.h>
#include <linux/bitops.h>
#include <linux/bits.h>
#include <linux/capability.h>
#include <linux/cpu.h>
#include <linux/cred.h>
#include <linux/delay.h>
#include <linux/hrtimer.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/perf_event.h>
#include <linux/perf_pkg.h>
#include <linux/preempt.h>
#include <linux/processor.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/sched/task.h>
#include <linux/smp.h>
#include <linux/string.h>
#include <linux/timekeeping.h>
#include <linux/tracepoint.h>

#include "../internal.h"

#define TEST_DOMAINS		2
#define TEST_EVENTS		16
#define TEST_NARROW_BITS	32
#define TEST_REGS		5
#define TEST_PUBLISHES		20000
#define TEST_FRESH_US		(PERF_PKG_FRESH_NS / NSEC_PER_USEC)

/* perf_event_attr::config */
enum {
	TEST_COUNT = 1,
	TEST_LEVEL,
	TEST_NARROW,
	TEST_SHARED,
};

typedef void (*test_hook_t)(struct perf_pkg_counter *counter);

static struct {
	/* What the hardware does: it advances by @step in each read */
	atomic64_t		hw[TEST_DOMAINS];
	unsigned int		step;
	int			err;
	unsigned int		delay_us;
	/* Called by the next reader, after its read */
	test_hook_t		meanwhile;
	/* Of test_sweep(): registers, when they were read, and how long one takes */
	unsigned int		regs;
	u64			reg_stamp[TEST_REGS];
	unsigned int		reg_us;
	/* What the engine does */
	atomic_t		steps;
	atomic_t		reads;
	atomic_t		starts;
	atomic_t		stops;
	unsigned int		nr_counters;
	/* Of test_watch_pass(), see there */
	struct perf_pkg_domain	*watched;
	unsigned int		passes;
	unsigned int		belated;
	u64			latest;
	u64			due;
	u64			period;
	unsigned int		timer_starts;
	/* Of test_hold_lock() */
	bool			locked;
	bool			started;
	/* Of test_publish_much() */
	atomic64_t		observed;
	atomic_t		lost;
	atomic_t		publishers;
	/* The engine's pmu::event_init(), and the leader of the next event's group */
	int			(*event_init)(struct perf_event *event);
	struct perf_event	*leader;
	struct perf_event	*event[TEST_EVENTS];
	unsigned int		nr_events;
} tst;

struct test_counter {
	struct perf_pkg_counter	counter;
	atomic_t		reads;
};

/* Whether @cond comes true within 5 s */
#define test_wait(cond)							\
({									\
	bool __done = false;						\
	int __i;							\
									\
	for (__i = 0; __i < 250 && !__done; __i++) {			\
		if (__i)						\
			msleep(20);					\
		__done = (cond);					\
	}								\
	__done;								\
})

/* The PMUs */

static int test_domain_id(unsigned int cpu)
{
	return cpu < 2 * TEST_DOMAINS ? cpu % TEST_DOMAINS : 0;
}

static void test_delay(unsigned int us)
{
	mdelay(us / USEC_PER_MSEC);
	udelay(us % USEC_PER_MSEC);
}

/*
 * A pass reads its only counter now. When was it due? The lateness of timer interrupts
 * does not matter, so that cases do not depend on the machine's speed.
 */
static void test_watch_pass(struct perf_pkg_domain *dom)
{
	u64 now = ktime_get_mono_fast_ns(), due = ktime_to_ns(hrtimer_get_expires(&dom->timer));
	u64 interval = (u64)dom->pp->interval_us * NSEC_PER_USEC;
	u64 rest = div_u64((now - dom->pass_start) * (100 - PERF_PKG_CPU_PERCENT),
			   PERF_PKG_CPU_PERCENT);

	if (tst.passes && due > tst.latest)
		tst.belated++;
	WRITE_ONCE(tst.period, due - tst.due);
	tst.due = due;
	rest = min(rest, PERF_PKG_REST_MAX_NS);
	tst.latest = max(dom->pass_start + interval, now + rest) + interval / 4;
	WRITE_ONCE(tst.passes, tst.passes + 1);
}

static int test_read(struct perf_pkg_counter *counter, unsigned int idx, u64 *value)
{
	struct test_counter *tc = container_of(counter, struct test_counter, counter);
	int err = READ_ONCE(tst.err), domain = test_domain_id(smp_processor_id());
	test_hook_t meanwhile = xchg(&tst.meanwhile, NULL);

	test_delay(READ_ONCE(tst.delay_us));
	if (READ_ONCE(tst.watched) && !domain)
		test_watch_pass(tst.watched);
	*value = atomic64_add_return(READ_ONCE(tst.step), &tst.hw[domain]);
	atomic_inc(&tc->reads);
	atomic_inc(&tst.reads);
	if (meanwhile)
		meanwhile(counter);

	return err;
}

/* A counter of some registers, in domain 0 */
static int test_sweep(struct perf_pkg_counter *counter, unsigned int idx, u64 since)
{
	unsigned int i, nr = READ_ONCE(tst.regs);

	for (i = 0; i < nr; i++) {
		if (tst.reg_stamp[i] >= since)
			continue;
		test_delay(tst.reg_us);
		tst.reg_stamp[i] = since;
		atomic_inc(&tst.steps);
		return i + 1 < nr ? -EINPROGRESS : 0;
	}

	return 0;
}

static bool test_is_swept(const struct perf_pkg_counter *counter)
{
	return READ_ONCE(tst.regs) > 1;
}

static int test_event_init(struct perf_event *event, struct perf_pkg_desc *desc)
{
	struct perf_pkg_pmu *ppmu = container_of(event->pmu, struct perf_pkg_pmu, pmu);

	if (!event->attr.config || event->attr.config > TEST_SHARED)
		return -EINVAL;

	desc->level = event->attr.config == TEST_LEVEL;
	desc->shared = event->attr.config == TEST_SHARED;
	desc->key = ppmu->counts_domains || desc->shared ? event->attr.config : 0;
	if (event->attr.config == TEST_NARROW)
		desc->width = TEST_NARROW_BITS;

	return 0;
}

static int test_counter_init(struct perf_pkg_counter *counter, struct perf_event *event)
{
	if (tst.err == -ENOSPC)
		return -ENOSPC;

	tst.nr_counters++;

	return 0;
}

static void test_counter_exit(struct perf_pkg_counter *counter)
{
	tst.nr_counters--;
}

static void test_start(struct perf_pkg_counter *counter, struct perf_event *event)
{
	atomic_inc(&tst.starts);
}

static void test_stop(struct perf_pkg_counter *counter, struct perf_event *event)
{
	atomic_inc(&tst.stops);
}

#define TEST_PMU(domains)				\
{							\
	.counts_domains	= (domains),			\
	.domain_id	= test_domain_id,		\
	.event_init	= test_event_init,		\
	.counter_init	= test_counter_init,		\
	.counter_exit	= test_counter_exit,		\
	.read		= test_read,			\
	.start		= test_start,			\
	.stop		= test_stop,			\
	.counter_size	= sizeof(struct test_counter),	\
}

static struct perf_pkg_pmu test_pmu[] = { TEST_PMU(false), TEST_PMU(true) };
static struct perf_pkg_pmu *const test_tasks = &test_pmu[0], *const test_domains = &test_pmu[1];

/* For cases that hold for both of them */
static void test_pmu_desc(struct perf_pkg_pmu *ppmu, char *desc)
{
	strscpy(desc, ppmu == test_tasks ? "tasks" : "domains", KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(test_pmu, test_pmu, test_pmu_desc);

static struct attribute *test_no_attrs[] = { NULL };
static const struct attribute_group test_format = { .name = "format", .attrs = test_no_attrs };
static const struct attribute_group test_events = { .name = "events", .attrs = test_no_attrs };
static const struct attribute_group *test_groups[] = { &test_format, &test_events, NULL };
/* perf_event_create_kernel_counter() makes no groups. */
static int test_group_event_init(struct perf_event *event)
{
	struct perf_event *own = event->group_leader;
	int ret;

	event->group_leader = tst.leader ?: own;
	ret = tst.event_init(event);
	event->group_leader = own;

	return ret;
}

static int test_register(struct perf_pkg_pmu *ppmu)
{
	int ret;

	/* As after loading a module again: perf leaves its traces in struct pmu. */
	ppmu->pmu = (struct pmu){
		.task_ctx_nr	= perf_sw_context,
		.attr_groups	= test_groups,
		.attr_update	= perf_pkg_attr_update,
	};
	ret = perf_pkg_register(ppmu, ppmu == test_tasks ? "perf_pkg_tasks" : "perf_pkg_domains");
	if (ret)
		return ret;

	tst.event_init = ppmu->pmu.event_init;
	ppmu->pmu.event_init = test_group_event_init;

	return 0;
}

/* Nothing is left of whatever a case did. */
static void test_unregister(struct kunit *test, struct perf_pkg_pmu *ppmu)
{
	struct perf_pkg *pp = ppmu->pp;
	struct perf_pkg_domain *dom;

	if (!pp)
		return;

	KUNIT_EXPECT_TRUE(test, list_empty(&pp->counters));
	for (dom = pp->domain; dom < pp->domain + pp->max_domains; dom++) {
		KUNIT_EXPECT_EQ(test, dom->nr_slots, 0);
		KUNIT_EXPECT_TRUE(test, list_empty(&dom->slots));
		KUNIT_EXPECT_EQ(test, dom->paused, 0);
		KUNIT_EXPECT_EQ(test, dom->timer_cpu, -1);
		KUNIT_EXPECT_FALSE(test, hrtimer_active(&dom->timer));
	}
	perf_pkg_unregister(ppmu);
	KUNIT_EXPECT_PTR_EQ(test, ppmu->pp, NULL);
}

/* Events: of a CPU, or of this task for @cpu -1 */

static struct perf_event_attr test_attr(struct perf_pkg_pmu *ppmu, u64 config, u64 domains)
{
	return (struct perf_event_attr){
		.type		= ppmu->pmu.type,
		.size		= sizeof(struct perf_event_attr),
		.config		= config,
		.config1	= domains,
	};
}

static struct perf_event *test_open(struct perf_event_attr attr, int cpu)
{
	struct perf_event *event;

	event = perf_event_create_kernel_counter(&attr, cpu, cpu < 0 ? current : NULL,
						 NULL, NULL);
	tst.leader = NULL;

	return event;
}

static int test_try(struct perf_event_attr attr, int cpu)
{
	struct perf_event *event = test_open(attr, cpu);

	if (IS_ERR(event))
		return PTR_ERR(event);

	perf_event_release_kernel(event);

	return 0;
}

static struct perf_event *test_keep(struct kunit *test, struct perf_event *event)
{
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, event);
	KUNIT_ASSERT_LT(test, tst.nr_events, TEST_EVENTS);
	tst.event[tst.nr_events++] = event;

	return event;
}

static struct perf_event *test_event(struct kunit *test, struct perf_pkg_pmu *ppmu, u64 config,
				     int cpu)
{
	return test_keep(test, test_open(test_attr(ppmu, config, 0), cpu));
}

/* The last one that was opened */
static void test_close(void)
{
	perf_event_release_kernel(tst.event[--tst.nr_events]);
}

static u64 test_count(struct perf_event *event)
{
	u64 enabled, running;

	return perf_event_read_value(event, &enabled, &running);
}

/* As a sample, or a BPF program */
static u64 test_sample(struct perf_event *event)
{
	u64 count = 0;

	perf_event_read_local(event, &count, NULL, NULL);

	return count;
}

/* As PERF_EVENT_IOC_RESET */
static void test_reset(struct perf_event *event)
{
	u64 count;

	event->pmu->read(event);
	event->pmu->count(event, &count);
	local64_add(count, &event->count);
}

/* With interrupts off: reads a counter in the domain of this CPU */
static void test_refresh_here(void *info)
{
	struct perf_pkg_counter *counter = info;
	struct perf_pkg_domain *dom = perf_pkg_this_domain(counter->pp);

	perf_pkg_publish_here(dom, &counter->slot[dom->idx], false);
}

static struct perf_pkg_counter *test_counter(struct perf_event *event)
{
	return ((struct perf_pkg_event *)event->pmu_private)->counter;
}

static void test_expect_open(struct kunit *test, struct perf_event *event, u64 offset)
{
	struct perf_pkg_event *pe = event->pmu_private;

	KUNIT_EXPECT_TRUE(test, pe->open);
	KUNIT_EXPECT_EQ(test, atomic64_read(&pe->offset), offset);
}

static void test_expect_closed(struct kunit *test, struct perf_event *event, u64 sum)
{
	struct perf_pkg_event *pe = event->pmu_private;

	KUNIT_EXPECT_FALSE(test, pe->open);
	KUNIT_EXPECT_EQ(test, atomic64_read(&pe->sum), sum);
}

static struct perf_pkg_domain *test_dom(struct perf_pkg_pmu *ppmu, int domain)
{
	return perf_pkg_find_domain(ppmu->pp, domain);
}

static struct perf_pkg_slot *test_slot(struct perf_event *event, int domain)
{
	struct perf_pkg_counter *counter = test_counter(event);

	return &counter->slot[test_dom(counter->pp->ppmu, domain)->idx];
}

static int test_reads(struct perf_event *event)
{
	return atomic_read(&container_of(test_counter(event), struct test_counter, counter)->reads);
}

static int test_timer_cpu(struct perf_pkg_pmu *ppmu, int domain)
{
	return READ_ONCE(test_dom(ppmu, domain)->timer_cpu);
}

static void test_run_on(struct kunit *test, int cpu)
{
	KUNIT_ASSERT_EQ(test, set_cpus_allowed_ptr(current, cpumask_of(cpu)), 0);
}

/* The hardware counts on. What was read before is not fresh any more. */
static void test_advance(int domain, s64 by)
{
	atomic64_add(by, &tst.hw[domain]);
	udelay(TEST_FRESH_US + 1);
}

/* In the domain of its CPU, or for a task event in domain 0 */
static u64 test_refresh(struct perf_event *event)
{
	smp_call_function_single(max(event->cpu, 0), test_refresh_here, test_counter(event), 1);

	return test_count(event);
}

static u64 test_advance_and_refresh(struct perf_event *event, s64 by)
{
	test_advance(test_domain_id(max(event->cpu, 0)), by);

	return test_refresh(event);
}

/* Slots and sums */

static void perf_pkg_task_event_sums_domains(struct kunit *test)
{
	struct perf_event *all, *one[TEST_DOMAINS];

	test_run_on(test, 0);
	all = test_event(test, test_tasks, TEST_COUNT, -1);
	one[0] = test_keep(test, test_open(test_attr(test_tasks, TEST_COUNT, BIT(0)), -1));
	one[1] = test_keep(test, test_open(test_attr(test_tasks, TEST_COUNT, BIT(1)), -1));
	test_advance(0, 100);
	KUNIT_EXPECT_EQ(test, test_slot(all, 0)->state, PERF_PKG_SLOT_LIVE);
	KUNIT_EXPECT_EQ(test, test_slot(all, 1)->state, PERF_PKG_SLOT_NEW);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_slot(all, 1)->stamp), 0);

	test_run_on(test, 1);
	test_advance(1, 7);
	test_run_on(test, 2);
	KUNIT_EXPECT_EQ(test, test_count(all), 107);
	KUNIT_EXPECT_EQ(test, test_count(one[0]), 100);
	KUNIT_EXPECT_EQ(test, test_count(one[1]), 7);
	KUNIT_EXPECT_EQ(test, test_slot(one[1], 0)->state, PERF_PKG_SLOT_NEW);
	KUNIT_EXPECT_EQ(test, test_try(test_attr(test_tasks, TEST_COUNT, BIT(TEST_DOMAINS)), -1),
			-EINVAL);
}

/* In a PMU that counts domains, all of it; each event has a baseline of its own. */
static void perf_pkg_cpu_event_has_its_domain(struct kunit *test)
{
	struct perf_pkg_pmu *ppmu = (void *)test->param_value;
	struct perf_event *event[2], *other;

	atomic64_set(&tst.hw[0], 1000);
	event[0] = test_event(test, ppmu, TEST_COUNT, 0);
	other = test_event(test, ppmu, TEST_COUNT, 3);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event[0], 100), 100);
	event[1] = test_event(test, ppmu, TEST_COUNT, 2);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event[0], 40), 140);
	KUNIT_EXPECT_EQ(test, test_refresh(event[1]), 40);
	KUNIT_EXPECT_EQ(test, test_refresh(other), 0);
	KUNIT_EXPECT_EQ(test, test_counter(event[0]) == test_counter(event[1]),
			ppmu == test_domains);
}

static void perf_pkg_older_stamp_never_wins(struct kunit *test)
{
	u64 later = ktime_get_mono_fast_ns() + 3600ULL * NSEC_PER_SEC;
	struct perf_event *event = test_event(test, (void *)test->param_value, TEST_COUNT, 0);

	atomic64_set(&test_slot(event, 0)->stamp, later);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 5), 5);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_slot(event, 0)->stamp), later);
}

/* Sequences of counts: an event of CPU 0 or of this task, and what it counts */

enum test_op {
	TEST_NEXT = 1,
	TEST_DISABLE,
	TEST_ENABLE,
	TEST_RESET,
};

static const struct test_sequence {
	const char		*name;
	struct perf_pkg_pmu	*ppmu;
	u64			config;
	int			cpu;
	u64			hw;
	s64			errors;
	struct {
		enum test_op	op;
		s64		advance;
		u64		count;
	} step[10];
} test_sequence[] = {
	/* Another CPU may have published what is newer: that is no error. */
	{ "never_steps_back", &test_pmu[0], TEST_COUNT, 0, 1000, 0, {
		{ TEST_NEXT, 100, 100 }, { TEST_NEXT, -40, 100 }, { TEST_NEXT, 70, 130 } } },
	/* As by a suspend: it is counted on from what is there now. */
	{ "reset_hardware", &test_pmu[1], TEST_COUNT, 0, 0, 1, {
		{ TEST_NEXT, 100, 100 }, { TEST_NEXT, -95, 100 }, { TEST_NEXT, 3, 103 } } },
	{ "wrap_task", &test_pmu[0], TEST_NARROW, 0, U32_MAX - 1, 0, {
		{ TEST_NEXT, 5, 5 }, { TEST_NEXT, S32_MAX, 5ULL + S32_MAX },
		{ TEST_NEXT, S32_MAX, 5ULL + 2ULL * S32_MAX } } },
	{ "wrap_domain", &test_pmu[1], TEST_NARROW, 0, U32_MAX - 1, 0, {
		{ TEST_NEXT, 5, 5 }, { TEST_NEXT, S32_MAX, 5ULL + S32_MAX },
		{ TEST_NEXT, S32_MAX, 5ULL + 2ULL * S32_MAX } } },
	{ "task_level", &test_pmu[0], TEST_LEVEL, -1, 50, 0, {
		{ TEST_NEXT, 50, 100 }, { TEST_NEXT, -40, 60 }, { TEST_RESET, 0, 60 } } },
	{ "domain_level", &test_pmu[1], TEST_LEVEL, 0, 50, 0, {
		{ TEST_NEXT, 50, 100 }, { TEST_NEXT, -40, 60 }, { TEST_RESET, 0, 60 },
		{ TEST_DISABLE, 10, 70 }, { TEST_NEXT, 5, 70 }, { TEST_ENABLE, 5, 80 } } },
	{ "task_windows", &test_pmu[0], TEST_COUNT, 0, 1000, 0, {
		{ TEST_NEXT, 100, 100 }, { TEST_DISABLE, 5, 105 }, { TEST_ENABLE, 1, 106 },
		{ TEST_RESET, 0, 0 }, { TEST_NEXT, 5, 5 }, { TEST_DISABLE, 2, 7 },
		{ TEST_RESET, 0, 0 }, { TEST_ENABLE, 7, 7 } } },
	{ "domain_windows", &test_pmu[1], TEST_COUNT, 0, 1000, 0, {
		{ TEST_NEXT, 100, 100 }, { TEST_DISABLE, 5, 105 }, { TEST_NEXT, 1000, 105 },
		{ TEST_ENABLE, 1, 106 }, { TEST_RESET, 0, 0 }, { TEST_NEXT, 5, 5 },
		{ TEST_DISABLE, 2, 7 }, { TEST_RESET, 0, 0 }, { TEST_ENABLE, 7, 7 } } },
};

KUNIT_ARRAY_PARAM_DESC(test_sequence, test_sequence, name);

static void perf_pkg_counts_in_sequence(struct kunit *test)
{
	const struct test_sequence *seq = test->param_value;
	struct perf_event *event;
	int i;

	test_run_on(test, 0);
	atomic64_set(&tst.hw[0], seq->hw);
	event = test_event(test, seq->ppmu, seq->config, seq->cpu);
	for (i = 0; i < ARRAY_SIZE(seq->step) && seq->step[i].op; i++) {
		if (seq->step[i].op == TEST_ENABLE)
			perf_event_enable(event);
		test_advance(0, seq->step[i].advance);
		if (seq->step[i].op == TEST_DISABLE)
			perf_event_disable(event);
		else if (seq->step[i].op == TEST_RESET)
			test_reset(event);
		else
			test_refresh(event);
		KUNIT_EXPECT_EQ_MSG(test, test_count(event), seq->step[i].count, "step %d", i);
	}
	KUNIT_EXPECT_EQ(test, atomic64_read(&seq->ppmu->pp->errors), seq->errors);
	KUNIT_EXPECT_EQ(test, perf_pkg_is_stale(test_slot(event, 0)), false);
}

/* Reads: how many there are, and what if they fail */

static void test_newer_value(struct perf_pkg_counter *counter)
{
	atomic64_add(10, &tst.hw[0]);
	test_refresh_here(counter);
}

static void test_failing_read(struct perf_pkg_counter *counter)
{
	WRITE_ONCE(tst.err, -EIO);
	test_refresh_here(counter);
	WRITE_ONCE(tst.err, 0);
}

/* Whatever another CPU of the domain publishes meanwhile */
static void perf_pkg_publish_reads_once(struct kunit *test)
{
	struct perf_event *event = test_event(test, test_tasks, TEST_COUNT, 0);
	int i, reads = test_reads(event);

	WRITE_ONCE(tst.meanwhile, test_newer_value);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 5), 15);
	KUNIT_EXPECT_EQ(test, test_reads(event), reads + 2);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_tasks->pp->errors), 0);

	/* The other one fails, twice, and what was read before is no answer to that. */
	for (i = 1; i <= 2; i++) {
		WRITE_ONCE(tst.meanwhile, test_failing_read);
		KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 5), 15 + i * 5);
		KUNIT_EXPECT_TRUE(test, perf_pkg_is_stale(test_slot(event, 0)));
	}
	test_refresh(event);
	KUNIT_EXPECT_FALSE(test, perf_pkg_is_stale(test_slot(event, 0)));
	KUNIT_EXPECT_EQ(test, test_reads(event), reads + 7);
}

/* With interrupts off: what any CPU has observed stays. */
static void test_publish_much(void *info)
{
	struct perf_pkg_slot *slot = test_slot(info, 0);
	s64 observed, value;
	int i;

	for (i = 0; i < TEST_PUBLISHES; i++) {
		test_refresh_here(test_counter(info));
		observed = atomic64_read(&tst.observed);
		value = atomic64_read(&slot->value);
		if (value < observed)
			atomic_inc(&tst.lost);
		atomic64_set(&tst.observed, value);
	}
	atomic_inc(&tst.publishers);
}

/* Two CPUs of the domain at a time, neither of which waits for the other */
static void perf_pkg_publish_loses_no_update(struct kunit *test)
{
	struct perf_event *event = test_event(test, test_tasks, TEST_COUNT, 0);

	WRITE_ONCE(tst.step, 1);
	test_run_on(test, 0);
	KUNIT_EXPECT_EQ(test, smp_call_function_single(2, test_publish_much, event, 0), 0);
	scoped_guard(irqsave)
		test_publish_much(event);
	KUNIT_EXPECT_TRUE(test, test_wait(atomic_read(&tst.publishers) == 2));
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.lost), 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 2 * TEST_PUBLISHES);
}

/* In a context switch, however slow the hardware is, and if it fails */
static void perf_pkg_add_and_del_read_once(struct kunit *test)
{
	struct perf_pkg_pmu *ppmu = (void *)test->param_value;
	struct perf_event *event;

	WRITE_ONCE(tst.delay_us, 2 * TEST_FRESH_US);
	event = test_event(test, ppmu, TEST_COUNT, 0);
	KUNIT_EXPECT_EQ(test, test_reads(event), 1);
	perf_event_disable(event);
	KUNIT_EXPECT_EQ(test, test_reads(event), 2);

	WRITE_ONCE(tst.err, -EIO);
	event = test_event(test, ppmu, TEST_NARROW, 0);
	KUNIT_EXPECT_EQ(test, test_reads(event), 1);
}

/* What is quiescent needs no stamp, and after that the last pass is old enough. */
static void perf_pkg_switch_takes_no_clock(struct kunit *test)
{
	struct perf_pkg_domain *dom = test_dom(test_tasks, 0);
	struct perf_event *event;
	struct perf_pkg_slot *slot;
	s64 stamp;

	test_tasks->pp->interval_us = 1000;
	test_run_on(test, 0);
	event = test_event(test, test_tasks, TEST_COUNT, 0);
	slot = test_slot(event, 0);
	KUNIT_EXPECT_TRUE(test, test_wait(atomic64_read(&dom->recent)));
	KUNIT_EXPECT_EQ(test, READ_ONCE(dom->timer_cpu), 0);

	scoped_guard(irqsave) {
		stamp = atomic64_read(&slot->stamp);
		atomic64_add(3, &tst.hw[0]);
		event->pmu->del(event, 0);
		KUNIT_EXPECT_EQ(test, test_sample(event), 3);
		KUNIT_EXPECT_EQ(test, atomic64_read(&slot->stamp), stamp);
		KUNIT_EXPECT_EQ(test, perf_pkg_slot_stamp(slot), 0);

		atomic64_set(&slot->stamp, 1);
		event->pmu->add(event, PERF_EF_START);
		KUNIT_EXPECT_EQ(test, perf_pkg_slot_stamp(slot), atomic64_read(&dom->recent));
	}

	/* Unless read(2) would refresh it for that, or the last pass is long ago */
	WRITE_ONCE(test_tasks->pp->max_age_us, 1);
	KUNIT_EXPECT_TRUE(test, test_wait(!atomic64_read(&dom->recent)));
	scoped_guard(irqsave) {
		event->pmu->del(event, 0);
		stamp = ktime_get_mono_fast_ns();
		event->pmu->add(event, PERF_EF_START);
		KUNIT_EXPECT_GE(test, perf_pkg_slot_stamp(slot), stamp);
	}
	WRITE_ONCE(test_tasks->pp->max_age_us, 0);
	KUNIT_EXPECT_TRUE(test, test_wait(atomic64_read(&dom->recent)));
	perf_event_disable(event);
	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(dom->timer_cpu) == -1));
	KUNIT_EXPECT_EQ(test, atomic64_read(&dom->recent), 0);
}

static void perf_pkg_failed_read_keeps_the_value(struct kunit *test)
{
	struct perf_pkg_pmu *ppmu = (void *)test->param_value;
	struct perf_event *event = test_event(test, ppmu, TEST_COUNT, 0);
	struct perf_pkg_slot *slot = test_slot(event, 0);
	s64 stamp;

	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 10), 10);
	stamp = atomic64_read(&slot->stamp);
	WRITE_ONCE(tst.err, -EIO);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 5), 10);
	KUNIT_EXPECT_TRUE(test, perf_pkg_is_stale(slot));

	/* The hardware has no value yet: that is no error. */
	WRITE_ONCE(tst.err, -EAGAIN);
	KUNIT_EXPECT_EQ(test, test_refresh(event), 10);
	KUNIT_EXPECT_TRUE(test, perf_pkg_is_stale(slot));
	KUNIT_EXPECT_EQ(test, atomic64_read(&ppmu->pp->errors), 1);
	KUNIT_EXPECT_EQ(test, atomic64_read(&slot->stamp), stamp);

	/* Nothing is lost once the hardware answers again. */
	WRITE_ONCE(tst.err, 0);
	KUNIT_EXPECT_EQ(test, test_refresh(event), 15);
	KUNIT_EXPECT_FALSE(test, perf_pkg_is_stale(slot));
	KUNIT_EXPECT_GT(test, atomic64_read(&slot->stamp), stamp);
}

/* As long as nothing could be read, there is no value of 0 that is fresh. */
static void perf_pkg_failed_first_read_sets_no_baseline(struct kunit *test)
{
	struct perf_pkg_pmu *ppmu = (void *)test->param_value;
	struct perf_event *event, *age;

	WRITE_ONCE(tst.err, -EIO);
	event = test_event(test, ppmu, TEST_COUNT, 0);
	tst.leader = event;
	age = test_event(test, ppmu, PERF_PKG_EVENT_AGE, 0);
	KUNIT_EXPECT_EQ(test, test_slot(event, 0)->state, PERF_PKG_SLOT_NO_BASELINE);
	KUNIT_EXPECT_GT(test, test_count(age), 0);

	/* The value found first is where it starts from. */
	WRITE_ONCE(tst.err, 0);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 10), 0);
	KUNIT_EXPECT_EQ(test, test_slot(event, 0)->state, PERF_PKG_SLOT_LIVE);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 4), 4);
}

/* What was not read at the stop is read later, and the slot is quiescent only then. */
static void perf_pkg_failed_last_read_is_repeated(struct kunit *test)
{
	struct perf_event *event;

	test_tasks->pp->interval_us = 100;
	test_run_on(test, 0);
	event = test_keep(test, test_open(test_attr(test_tasks, TEST_COUNT, BIT(0)), -1));
	test_advance(0, 5);
	WRITE_ONCE(tst.err, -EIO);
	test_run_on(test, 1);
	KUNIT_EXPECT_FALSE(test, perf_pkg_is_quiescent(test_slot(event, 0)));
	test_advance(0, 2);

	WRITE_ONCE(tst.err, 0);
	KUNIT_EXPECT_TRUE(test, test_wait(perf_pkg_is_quiescent(test_slot(event, 0))));
	KUNIT_EXPECT_EQ(test, test_count(event), 7);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 0) == -1));
}

/* What it monitored is gone: the last value stays, and no other event joins. */
static void perf_pkg_ended_counter_stands_still(struct kunit *test)
{
	struct perf_event *event, *member, *other;
	u64 count;
	int reads;

	event = test_event(test, test_domains, TEST_COUNT, 0);
	tst.leader = event;
	member = test_event(test, test_domains, TEST_LEVEL, 0);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 100), 100);
	KUNIT_EXPECT_EQ(test, event->pmu->count(event, &count), 0);
	perf_pkg_counter_end(test_counter(event));
	reads = test_reads(event);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 100), 100);
	perf_event_disable(event);
	perf_event_enable(event);
	KUNIT_EXPECT_EQ(test, test_reads(event), reads);
	KUNIT_EXPECT_EQ(test, event->pmu->count(event, &count), -ENODEV);
	KUNIT_EXPECT_EQ(test, count, 100);

	KUNIT_EXPECT_EQ(test, test_refresh(member), 200);
	KUNIT_EXPECT_EQ(test, member->pmu->count(member, &count), 0);
	other = test_event(test, test_domains, TEST_COUNT, 0);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(other, 7), 7);
}

/* Counters of many registers */

static struct perf_event *test_swept_event(struct kunit *test)
{
	tst.regs = TEST_REGS;
	/* Two of them use up the budget. */
	tst.reg_us = PERF_PKG_BUDGET_NS / NSEC_PER_USEC - 1;
	test_domains->sweep = test_sweep;
	test_domains->is_swept = test_is_swept;
	test_domains->pp->interval_us = 1000;
	atomic64_set(&tst.hw[0], 1000);

	return test_event(test, test_domains, TEST_COUNT, 0);
}

/* Its value is as old as the first of the reads behind it, and not that of a part of them. */
static void perf_pkg_sweep_has_a_baseline_and_a_stamp(struct kunit *test)
{
	struct perf_event *event = test_swept_event(test);
	struct perf_pkg_slot *slot = test_slot(event, 0);
	u64 stamp;

	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(slot->state) == PERF_PKG_SLOT_LIVE));
	KUNIT_EXPECT_EQ(test, test_count(event), 0);
	KUNIT_EXPECT_LE(test, test_reads(event) * TEST_REGS, atomic_read(&tst.steps));

	stamp = ktime_get_mono_fast_ns();
	test_advance(0, 50);
	KUNIT_EXPECT_TRUE(test, test_wait(test_count(event) == 50));
	KUNIT_EXPECT_TRUE(test, test_wait(atomic64_read(&slot->stamp) > stamp));
	KUNIT_EXPECT_GE(test, ktime_get_mono_fast_ns() - atomic64_read(&slot->stamp),
			(TEST_REGS * tst.reg_us) * NSEC_PER_USEC);
	KUNIT_EXPECT_EQ(test, test_count(event), 50);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_domains->pp->errors), 0);
}

/* Whoever comes in between gets the value of the last sweep, without a read. */
static void perf_pkg_sweep_is_left_to_the_timer(struct kunit *test)
{
	struct perf_event *other, *event = test_swept_event(test);
	struct perf_pkg *pp = test_domains->pp;
	int steps;

	KUNIT_EXPECT_TRUE(test, test_wait(test_slot(event, 0)->state == PERF_PKG_SLOT_LIVE));
	test_advance(0, 50);
	KUNIT_EXPECT_TRUE(test, test_wait(test_count(event) == 50));
	WRITE_ONCE(pp->interval_us, 0);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_domains, 0) == -1));

	steps = atomic_read(&tst.steps);
	test_advance(0, 7);
	WRITE_ONCE(pp->max_age_us, 1);
	KUNIT_EXPECT_EQ(test, test_count(event), 50);
	KUNIT_EXPECT_EQ(test, test_sample(event), 50);
	perf_event_disable(event);
	perf_event_enable(event);
	other = test_event(test, test_domains, TEST_COUNT, 0);
	KUNIT_EXPECT_EQ(test, test_refresh(other), 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.steps), steps);

	/* With one register left it is read at once. */
	WRITE_ONCE(tst.regs, 1);
	KUNIT_EXPECT_EQ(test, test_count(event), 57);
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.steps), steps + 1);
	KUNIT_EXPECT_EQ(test, test_refresh(other), 7);
}

static void perf_pkg_sweep_ends_with_the_domain(struct kunit *test)
{
	struct perf_event *event;

	tst.regs = TEST_REGS;
	test_domains->sweep = test_sweep;
	test_domains->is_swept = test_is_swept;
	test_domains->pp->interval_us = 1000;
	test_run_on(test, 0);
	event = test_event(test, test_domains, TEST_COUNT, 3);
	KUNIT_EXPECT_TRUE(test, test_wait(test_slot(event, 1)->state == PERF_PKG_SLOT_LIVE));
	KUNIT_ASSERT_EQ(test, remove_cpu(1), 0);
	WRITE_ONCE(test_domains->pp->interval_us, 0);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_domains, 1) == -1));
	test_advance(1, 11);
	KUNIT_ASSERT_EQ(test, remove_cpu(3), 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 11);
	KUNIT_ASSERT_EQ(test, add_cpu(3), 0);
}

/* Windows */

static void perf_pkg_window_has_an_offset_or_a_sum(struct kunit *test)
{
	struct perf_event *event;

	atomic64_set(&tst.hw[0], 1000);
	event = test_event(test, test_domains, TEST_COUNT, 0);
	test_expect_open(test, event, 0);
	test_advance(0, 100);
	perf_event_disable(event);
	test_expect_closed(test, event, 100);

	/* Closed it stands still. The next one has base 1100 and sum 100. */
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 1000), 100);
	perf_event_enable(event);
	test_expect_open(test, event, 1000);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 1), 101);
	perf_event_disable(event);
	test_expect_closed(test, event, 101);

	/* A base that is smaller than the sum */
	atomic64_set(&test_slot(event, 0)->value, 40);
	test_slot(event, 0)->baseline = atomic64_read(&tst.hw[0]) - 40;
	perf_event_enable(event);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 2), 103);
}

/*
 * Takes an event off and puts it back, as the core does when another one comes, @age_us
 * after a read and with @gap_us between, all of it within @limit_us. Returns how often
 * that read the hardware, and in @count what was counted of 3; -1 if it always took longer.
 */
static int test_switch(struct perf_event *event, unsigned int age_us, unsigned int gap_us,
		       unsigned int limit_us, u64 *count)
{
	u64 start, before;
	int i, reads;

	for (i = 0; i < 1000; i++) {
		guard(irqsave)();
		start = ktime_get_mono_fast_ns();
		test_refresh_here(test_counter(event));
		event->pmu->count(event, &before);
		udelay(age_us);
		reads = test_reads(event);
		event->pmu->del(event, 0);
		atomic64_add(3, &tst.hw[0]);
		udelay(gap_us);
		event->pmu->add(event, PERF_EF_START);
		reads = test_reads(event) - reads;
		if (ktime_get_mono_fast_ns() - start >= limit_us * NSEC_PER_USEC)
			continue;
		test_refresh_here(test_counter(event));
		event->pmu->count(event, count);
		*count -= before;
		return reads;
	}

	return -1;
}

/* On a kernel with KASAN and lockdep it takes longer than what was read is fresh. */
static void perf_pkg_putting_back_costs_no_read(struct kunit *test)
{
	struct perf_event *event = test_event(test, test_domains, TEST_COUNT, 0);
	u64 count = 0;
	int reads;

	test_run_on(test, 0);
	reads = test_switch(event, 0, 0, TEST_FRESH_US, &count);
	if (reads < 0)
		kunit_skip(test, "it always takes longer than %ld us", TEST_FRESH_US);
	KUNIT_EXPECT_EQ(test, reads, 0);
	KUNIT_EXPECT_EQ(test, count, 3);
}

/* Unless the event was off for long */
static void perf_pkg_putting_back_loses_nothing(struct kunit *test)
{
	struct perf_event *event = test_event(test, test_domains, TEST_COUNT, 0);
	u64 count = 0;

	test_run_on(test, 0);
	KUNIT_EXPECT_EQ(test, test_switch(event, 2 * TEST_FRESH_US, 100, 400, &count), 1);
	KUNIT_EXPECT_EQ(test, count, 3);
	KUNIT_EXPECT_EQ(test, test_switch(event, 2 * TEST_FRESH_US, 2000, 10000, &count), 2);
	KUNIT_EXPECT_EQ(test, count, 0);
}

/* Nor if the timer, on another CPU of the domain, finds it off: once, as it is soon back */
static void perf_pkg_putting_back_after_a_pass(struct kunit *test)
{
	struct perf_pkg_domain *dom = test_dom(test_domains, 0);
	u64 start, took, before, count = 0;
	struct perf_event *event;
	unsigned int passes;
	int i;

	test_domains->pp->interval_us = 100;
	perf_pkg_timer_pause(dom);
	event = test_event(test, test_domains, TEST_COUNT, 0);
	test_run_on(test, 2);
	perf_pkg_timer_resume(dom);
	test_run_on(test, 0);
	KUNIT_ASSERT_EQ(test, test_timer_cpu(test_domains, 0), 2);

	for (i = 0; i < 1000; i++) {
		guard(irqsave)();
		test_refresh_here(test_counter(event));
		event->pmu->count(event, &before);
		start = ktime_get_mono_fast_ns();
		event->pmu->del(event, 0);
		atomic64_add(3, &tst.hw[0]);
		do {
			cpu_relax();
			passes = READ_ONCE(dom->idle_passes);
			took = ktime_get_mono_fast_ns() - start;
		} while (!passes && took < PERF_PKG_WINDOW_GAP_NS / 2);
		event->pmu->add(event, PERF_EF_START);
		if (passes != 1 || took >= PERF_PKG_WINDOW_GAP_NS / 2)
			continue;
		test_refresh_here(test_counter(event));
		event->pmu->count(event, &count);
		count -= before;
		break;
	}
	if (i == 1000)
		kunit_skip(test, "no pass comes in time");
	KUNIT_EXPECT_EQ(test, count, 3);
}

/* The same with a sum of many registers, which was not read when the event was taken off */
static void perf_pkg_putting_back_a_sweep(struct kunit *test)
{
	struct perf_event *event = test_swept_event(test);
	struct perf_pkg_domain *dom = test_dom(test_domains, 0);
	struct perf_pkg_slot *slot = test_slot(event, 0);
	const u64 gap = PERF_PKG_WINDOW_GAP_NS / 2;
	unsigned int i, passes = 0;
	u64 start, count = 0;

	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(slot->state) == PERF_PKG_SLOT_LIVE));
	test_run_on(test, 2);
	perf_pkg_timer_pause(dom);
	perf_pkg_timer_resume(dom);
	test_run_on(test, 0);
	KUNIT_ASSERT_EQ(test, test_timer_cpu(test_domains, 0), 2);

	for (i = 0; i < 1000 && passes != 1; i++) {
		test_delay(50);
		guard(irqsave)();
		event->pmu->del(event, 0);
		/* The last pass is over, and has read it. */
		if (!READ_ONCE(dom->pass_left) &&
		    atomic64_read(&slot->stamp) == READ_ONCE(dom->pass_start)) {
			start = ktime_get_mono_fast_ns();
			do {
				cpu_relax();
				passes = READ_ONCE(dom->idle_passes);
			} while (!passes && ktime_get_mono_fast_ns() - start < gap);
			test_advance(0, 3);
			count += 3;
		}
		event->pmu->add(event, PERF_EF_START);
	}
	if (passes != 1)
		kunit_skip(test, "no pass comes in time");
	KUNIT_EXPECT_TRUE(test, test_wait(test_count(event) == count));
	msleep(20);
	KUNIT_EXPECT_EQ(test, test_count(event), count);
}

static void perf_pkg_event_moves_to_its_leader(struct kunit *test)
{
	struct perf_event_attr attr = {
		.type	= PERF_TYPE_SOFTWARE,
		.size	= sizeof(attr),
		.config	= PERF_COUNT_SW_DUMMY,
	};
	struct perf_event *near, *far;

	KUNIT_EXPECT_EQ(test, test_dom(test_domains, 0)->cpu, 0);
	KUNIT_EXPECT_EQ(test, test_event(test, test_domains, TEST_COUNT, 2)->cpu, 0);
	near = test_keep(test, test_open(attr, 2));
	far = test_keep(test, test_open(attr, 3));
	tst.leader = near;
	KUNIT_EXPECT_EQ(test, test_event(test, test_domains, TEST_COUNT, 0)->cpu, 2);
	tst.leader = far;
	KUNIT_EXPECT_EQ(test, test_event(test, test_domains, TEST_COUNT, 2)->cpu, 0);
	KUNIT_EXPECT_EQ(test, test_event(test, test_tasks, TEST_COUNT, 2)->cpu, 2);
}

static u64 test_sample_in_nmi(struct perf_event *event)
{
	u64 count;

	guard(irqsave)();

	preempt_count_add(NMI_OFFSET);
	count = test_sample(event);
	preempt_count_sub(NMI_OFFSET);

	return count;
}

/* On the CPUs of its domain, if it need not wait and the driver allows that */
static void perf_pkg_sample_reads_the_hardware(struct kunit *test)
{
	struct perf_event *event = test_event(test, test_domains, TEST_COUNT, 0);
	struct perf_event *published = test_event(test, test_tasks, TEST_COUNT, 0);

	test_run_on(test, 2);
	test_advance(0, 1);
	KUNIT_EXPECT_EQ(test, test_sample(event), 1);
	KUNIT_EXPECT_EQ(test, test_sample(published), 0);
	test_run_on(test, 1);
	test_advance(0, 1);
	KUNIT_EXPECT_EQ(test, test_sample(event), 1);

	test_run_on(test, 0);
	scoped_guard(raw_spinlock_irqsave, &test_dom(test_domains, 0)->lock)
		KUNIT_EXPECT_EQ(test, test_sample(event), 1);
	KUNIT_EXPECT_EQ(test, test_sample_in_nmi(event), 1);
	test_domains->read_in_nmi = true;
	KUNIT_EXPECT_EQ(test, test_sample_in_nmi(event), 2);
	test_domains->read_in_nmi = false;
}

/* By interrupting the domain: only that, and only what was asked for */
static void perf_pkg_read_refreshes_what_is_too_old(struct kunit *test)
{
	struct perf_pkg_pmu *ppmu = (void *)test->param_value;
	struct perf_event *event = test_event(test, ppmu, TEST_COUNT, 1);
	int reads;

	test_run_on(test, 0);
	test_event(test, ppmu, TEST_NARROW, 1);
	test_advance(1, 5);
	KUNIT_EXPECT_EQ(test, test_count(event), 0);
	WRITE_ONCE(ppmu->pp->max_age_us, PERF_PKG_MAX_AGE_US);
	KUNIT_EXPECT_EQ(test, test_count(event), 0);
	WRITE_ONCE(ppmu->pp->max_age_us, 1);
	reads = atomic_read(&tst.reads);
	KUNIT_EXPECT_EQ(test, test_count(event), 5);
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.reads), reads + 1);

	/* A sample cannot wait, and what is disabled has no age. */
	test_advance(1, 2);
	KUNIT_EXPECT_EQ(test, test_sample(event), 5);
	perf_event_disable(event);
	reads = atomic_read(&tst.reads);
	KUNIT_EXPECT_EQ(test, test_count(event), 7);
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.reads), reads);
}

/* Refusals */

enum {
	TEST_NOBODY_MAY,
	TEST_SAMPLES,
	TEST_EXCLUDES,
	TEST_UNPRIVILEGED,
	TEST_WRONGS,
};

/* An event that can be opened, and what nobody may have instead */
static const struct test_refusal {
	const char		*name;
	struct perf_pkg_pmu	*ppmu;
	u64			config;
	int			cpu;
	u64			bad_config;
	int			bad_cpu;
	bool			inherit_stat;
} test_refusal[] = {
	{ "unknown",	&test_pmu[0], TEST_COUNT, -1, TEST_SHARED + 1,	  -1 },
	{ "inherit",	&test_pmu[0], TEST_COUNT, -1, TEST_COUNT,	  -1, true },
	{ "cpu_level",	&test_pmu[0], TEST_LEVEL, -1, TEST_LEVEL,	  0 },
	{ "age",	&test_pmu[0], TEST_COUNT, -1, PERF_PKG_EVENT_AGE, -1 },
	{ "task",	&test_pmu[1], TEST_COUNT, 0,  TEST_COUNT,	  -1 },
	{ "cpu_age",	&test_pmu[1], TEST_LEVEL, 0,  PERF_PKG_EVENT_AGE, 0 },
};

KUNIT_ARRAY_PARAM_DESC(test_refusal, test_refusal, name);

static int test_refuse(const struct test_refusal *r, unsigned long wrong)
{
	bool bad = test_bit(TEST_NOBODY_MAY, &wrong);
	struct perf_event_attr attr = test_attr(r->ppmu, bad ? r->bad_config : r->config, 0);
	struct cred *cred = prepare_creds();
	const struct cred *old;
	int ret;

	if (!cred)
		return -ENOMEM;

	attr.inherit_stat = bad && r->inherit_stat;
	attr.sample_period = test_bit(TEST_SAMPLES, &wrong);
	attr.exclude_kernel = test_bit(TEST_EXCLUDES, &wrong);
	if (test_bit(TEST_UNPRIVILEGED, &wrong))
		cap_clear(cred->cap_effective);
	old = override_creds(cred);
	ret = test_try(attr, bad ? r->bad_cpu : r->cpu);
	revert_creds(old);
	put_cred(cred);

	return ret;
}

/* Permission comes before exclude bits in PMUs that count tasks only. */
static int test_refusal_err(const struct test_refusal *r, unsigned long wrong)
{
	if (test_bit(TEST_NOBODY_MAY, &wrong))
		return -EINVAL;
	if (test_bit(TEST_SAMPLES, &wrong))
		return -EOPNOTSUPP;
	if (test_bit(TEST_EXCLUDES, &wrong) &&
	    (r->ppmu == test_domains || !test_bit(TEST_UNPRIVILEGED, &wrong)))
		return -EINVAL;

	return test_bit(TEST_UNPRIVILEGED, &wrong) ? -EACCES : -ENOSPC;
}

static void perf_pkg_refuses_in_order(struct kunit *test)
{
	const struct test_refusal *r = test->param_value;
	int old = sysctl_perf_event_paranoid;
	unsigned long wrong;

	/* The resources of a counter come last. */
	sysctl_perf_event_paranoid = 2;
	tst.err = -ENOSPC;
	for (wrong = 0; wrong < BIT(TEST_WRONGS); wrong++)
		KUNIT_EXPECT_EQ_MSG(test, test_refuse(r, wrong), test_refusal_err(r, wrong),
				    "wrong: %#lx", wrong);
	tst.err = 0;
	KUNIT_EXPECT_EQ(test, test_refuse(r, 0), 0);

	/* The count of a task is its own. A level, or a domain, is that of others, too. */
	sysctl_perf_event_paranoid = 1;
	KUNIT_EXPECT_EQ(test, test_refuse(r, BIT(TEST_UNPRIVILEGED)),
			r->ppmu == test_tasks && r->config == TEST_COUNT ? 0 : -EACCES);
	sysctl_perf_event_paranoid = old;
}

static void perf_pkg_age_is_that_of_its_leader(struct kunit *test)
{
	struct perf_pkg_pmu *ppmu = (void *)test->param_value;
	struct perf_pkg_pmu *other = ppmu == test_tasks ? test_domains : test_tasks;
	struct perf_event *leader, *age;

	leader = test_event(test, ppmu, TEST_COUNT, 0);
	tst.leader = leader;
	age = test_event(test, ppmu, PERF_PKG_EVENT_AGE | 0x1200, 0);
	KUNIT_EXPECT_PTR_EQ(test, test_counter(age), test_counter(leader));
	test_advance(0, 5);
	KUNIT_EXPECT_GE(test, test_count(age), PERF_PKG_FRESH_NS);
	KUNIT_EXPECT_EQ(test, test_count(leader), 0);

	/* What nothing can move has no age. */
	perf_event_disable(leader);
	KUNIT_EXPECT_EQ(test, test_count(age), 0);

	tst.leader = age;
	KUNIT_EXPECT_EQ(test, test_try(test_attr(ppmu, PERF_PKG_EVENT_AGE, 0), 0), -EINVAL);
	tst.leader = test_event(test, other, TEST_COUNT, 0);
	KUNIT_EXPECT_EQ(test, test_try(test_attr(ppmu, PERF_PKG_EVENT_AGE, 0), 0), -EINVAL);
}

/* Counters that wrap need a timer that is fast enough. */
static void perf_pkg_interval_has_limits(struct kunit *test)
{
	struct perf_pkg_pmu ppmu = test_pmu[0];

	ppmu.interval_us = PERF_PKG_INTERVAL_MIN_US - 1;
	KUNIT_EXPECT_EQ(test, perf_pkg_register(&ppmu, "perf_pkg_test"), -EINVAL);
	ppmu.interval_us = PERF_PKG_INTERVAL_MAX_US + 1;
	KUNIT_EXPECT_EQ(test, perf_pkg_register(&ppmu, "perf_pkg_test"), -EINVAL);
	ppmu.max_interval_us = 1000;
	ppmu.interval_us = 1001;
	KUNIT_EXPECT_EQ(test, perf_pkg_register(&ppmu, "perf_pkg_test"), -EINVAL);
	ppmu.interval_us = 0;
	KUNIT_EXPECT_EQ(test, perf_pkg_register(&ppmu, "perf_pkg_test"), -EINVAL);
	KUNIT_EXPECT_TRUE(test, perf_pkg_interval_valid(&ppmu, 1000));
}

/* The timer */

static void perf_pkg_timer_lives_with_its_counters(struct kunit *test)
{
	struct perf_pkg_pmu *ppmu = (void *)test->param_value;
	struct perf_pkg_domain *dom = test_dom(ppmu, 0);
	struct perf_event *event;

	/* Not while it is paused */
	ppmu->pp->interval_us = 1000;
	test_run_on(test, 0);
	perf_pkg_timer_pause(dom);
	perf_pkg_timer_pause(dom);
	event = test_event(test, ppmu, TEST_COUNT, 0);
	perf_pkg_timer_resume(dom);
	msleep(20);
	KUNIT_EXPECT_EQ(test, test_timer_cpu(ppmu, 0), -1);
	KUNIT_EXPECT_EQ(test, test_reads(event), 1);
	perf_pkg_timer_resume(dom);
	KUNIT_EXPECT_EQ(test, test_timer_cpu(ppmu, 0), 0);
	test_advance(0, 3);
	KUNIT_EXPECT_TRUE(test, test_wait(test_count(event) == 3));
	KUNIT_EXPECT_EQ(test, test_timer_cpu(ppmu, 1), -1);

	test_close();
	KUNIT_EXPECT_EQ(test, test_timer_cpu(ppmu, 0), -1);
	KUNIT_EXPECT_FALSE(test, hrtimer_active(&dom->timer));
}

/* Two of them fit into a slice. In each pass, all of them have their turn. */
static void perf_pkg_no_counter_starves(struct kunit *test)
{
	struct perf_pkg_domain *dom = test_dom(test_tasks, 0);
	int i, passes, reads[TEST_EVENTS];

	test_tasks->pp->interval_us = 100;
	WRITE_ONCE(tst.delay_us, 40);
	perf_pkg_timer_pause(dom);
	for (i = 0; i < TEST_EVENTS; i++)
		test_event(test, test_tasks, TEST_COUNT, 2);
	for (i = 0; i < TEST_EVENTS; i++)
		reads[i] = test_reads(tst.event[i]);
	perf_pkg_timer_resume(dom);
	test_wait(test_reads(tst.event[0]) >= reads[0] + 5);
	perf_pkg_timer_pause(dom);
	passes = test_reads(tst.event[0]) - reads[0];
	KUNIT_EXPECT_GE(test, passes, 5);
	for (i = 1; i < TEST_EVENTS; i++) {
		reads[i] = test_reads(tst.event[i]) - reads[i];
		KUNIT_EXPECT_GE(test, reads[i] + 1, passes);
		KUNIT_EXPECT_LE(test, reads[i], passes + 1);
	}
	perf_pkg_timer_resume(dom);
}

/* From now on, has a look at the passes of domain 0, each of which reads one counter */
static void test_watch(unsigned int delay_us)
{
	struct perf_pkg_domain *dom = test_dom(test_tasks, 0);

	perf_pkg_timer_pause(dom);
	WRITE_ONCE(tst.delay_us, delay_us);
	WRITE_ONCE(tst.passes, 0);
	WRITE_ONCE(tst.belated, 0);
	WRITE_ONCE(tst.watched, dom);
	perf_pkg_timer_resume(dom);
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

	test_tasks->pp->interval_us = 10000;
	test_event(test, test_tasks, TEST_COUNT, 2);

	/* The share takes longer, so each pass ends after the next one was due. */
	test_watch(1200);
	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(tst.passes) >= 20));
	KUNIT_EXPECT_EQ(test, tst.belated, 0);

	/* It would fit, but passes begin late. */
	test_watch(800);
	for (i = 0; i < 30; i++) {
		smp_call_function_single(2, test_keep_busy, (void *)3000, 1);
		usleep_range(13300, 13400);
	}
	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(tst.passes) >= 20));
	KUNIT_EXPECT_EQ(test, tst.belated, 0);

	/* One that took long, as on a virtual CPU that was away, stops nothing for long. */
	test_watch(300 * USEC_PER_MSEC);
	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(tst.passes) >= 1));
	WRITE_ONCE(tst.delay_us, 0);
	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(tst.passes) >= 2));
	KUNIT_EXPECT_EQ(test, tst.belated, 0);
}

static void perf_pkg_idle_domain_needs_no_timer(struct kunit *test)
{
	struct perf_event *event;
	int reads;

	test_tasks->pp->interval_us = 1000;
	test_run_on(test, 0);
	event = test_event(test, test_tasks, TEST_COUNT, -1);
	KUNIT_EXPECT_EQ(test, test_timer_cpu(test_tasks, 0), 0);
	KUNIT_EXPECT_FALSE(test, perf_pkg_is_quiescent(test_slot(event, 0)));
	test_advance(0, 3);
	test_run_on(test, 1);
	KUNIT_EXPECT_TRUE(test, perf_pkg_is_quiescent(test_slot(event, 0)));
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 0) == -1));
	KUNIT_EXPECT_EQ(test, test_count(event), 3);

	/* The other CPU of the domain */
	test_run_on(test, 2);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 0) == 2));
	test_advance(0, 4);
	perf_event_disable(event);
	KUNIT_EXPECT_EQ(test, test_count(event), 7);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 0) == -1));
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 1) == -1));

	/* Nor does anything else read it. */
	reads = test_reads(event);
	msleep(50);
	KUNIT_EXPECT_EQ(test, test_reads(event), reads);
}

/* Between the pass that finds the domain idle and the one that would stop the timer */
static void perf_pkg_kick_keeps_a_timer(struct kunit *test)
{
	struct perf_pkg_domain *dom = test_dom(test_tasks, 0);
	struct perf_event *event;
	int reads;

	test_tasks->pp->interval_us = 100000;
	event = test_event(test, test_tasks, TEST_COUNT, 0);
	perf_event_disable(event);
	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(dom->idle_passes) == 1));
	KUNIT_EXPECT_EQ(test, READ_ONCE(dom->timer_cpu), 0);
	perf_event_enable(event);
	KUNIT_EXPECT_EQ(test, READ_ONCE(dom->idle_passes), 0);
	reads = test_reads(event);
	KUNIT_EXPECT_TRUE(test, test_wait(test_reads(event) >= reads + 3));
}

static void test_timer_started(void *data, const char *pmu, int domain, int cpu)
{
	if (!strcmp(pmu, test_domains->pp->name))
		tst.timer_starts++;
}

static void perf_pkg_kick_starts_a_timer_once(struct kunit *test)
{
	struct perf_event *event;

	test_domains->pp->interval_us = 1000;
	test_run_on(test, 0);
	event = test_event(test, test_domains, TEST_COUNT, 0);
	perf_event_disable(event);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_domains, 0) == -1));

	if (register_trace_perf_pkg_timer_start(test_timer_started, NULL))
		kunit_skip(test, "needs tracepoints");
	perf_event_enable(event);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_domains, 0) == 0));
	unregister_trace_perf_pkg_timer_start(test_timer_started, NULL);
	tracepoint_synchronize_unregister();
	KUNIT_EXPECT_EQ(test, tst.timer_starts, 1);
}

/* As a long slice does, but until an event was scheduled in, or for a second */
static void test_hold_lock(void *info)
{
	int i, starts = atomic_read(&tst.starts);
	struct perf_pkg_domain *dom = info;

	guard(raw_spinlock)(&dom->lock);

	WRITE_ONCE(tst.locked, true);
	for (i = 0; i < 1000 && atomic_read(&tst.starts) == starts; i++)
		mdelay(1);
	tst.started = atomic_read(&tst.starts) != starts;
}

static void perf_pkg_kick_does_not_wait(struct kunit *test)
{
	struct perf_pkg_domain *dom = test_dom(test_tasks, 0);
	struct perf_event *event;

	/* Not of a task: that would be scheduled in again, and find the lock free. */
	test_tasks->pp->interval_us = 1000;
	test_run_on(test, 0);
	event = test_event(test, test_tasks, TEST_COUNT, 0);
	perf_event_disable(event);
	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(dom->timer_cpu) == -1));
	KUNIT_EXPECT_GT(test, READ_ONCE(dom->idle_passes), 0);

	smp_call_function_single(2, test_hold_lock, dom, 0);
	while (!READ_ONCE(tst.locked))
		cpu_relax();
	perf_event_enable(event);
	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(dom->timer_cpu) == 0));
	KUNIT_EXPECT_TRUE(test, tst.started);
	KUNIT_EXPECT_EQ(test, READ_ONCE(dom->idle_passes), 0);
}

/* More than half of the range while nobody looked: that is not a step back. */
static void perf_pkg_may_wrap_while_not_active(struct kunit *test)
{
	struct perf_event *event;

	test_domains->pp->interval_us = 100;
	event = test_event(test, test_domains, TEST_NARROW, 0);
	test_advance(0, 10);
	perf_event_disable(event);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_domains, 0) == -1));
	KUNIT_EXPECT_EQ(test, test_slot(event, 0)->state, PERF_PKG_SLOT_NO_BASELINE);

	test_advance(0, BIT_ULL(TEST_NARROW_BITS) - 3);
	perf_event_enable(event);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 6), 16);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_domains->pp->errors), 0);
}

/* Levels of tasks */

static struct perf_event *test_sleeping_level(struct kunit *test, unsigned int interval_us)
{
	struct perf_event *event;

	test_tasks->pp->interval_us = interval_us;
	test_run_on(test, 0);
	event = test_event(test, test_tasks, TEST_LEVEL, -1);
	test_run_on(test, 1);

	return event;
}

/* Mean time in ms between passes that begin from now on */
static unsigned int test_period_ms(unsigned int nr)
{
	unsigned int passes;
	u64 due;

	scoped_guard(raw_spinlock_irqsave, &tst.watched->lock) {
		passes = tst.passes;
		due = tst.due;
	}
	test_wait(READ_ONCE(tst.passes) >= passes + nr);

	guard(raw_spinlock_irqsave)(&tst.watched->lock);

	return div_u64(tst.due - due, (tst.passes - passes) * NSEC_PER_MSEC);
}

static void perf_pkg_level_of_a_sleeping_task_is_refreshed(struct kunit *test)
{
	struct perf_event *event = test_sleeping_level(test, 100000);

	/* Every T while it changes */
	WRITE_ONCE(tst.step, 1);
	test_watch(0);
	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(tst.passes) >= 1));
	KUNIT_EXPECT_LE(test, test_period_ms(20), 110);

	/* Up to a second apart while it stands still, for ever */
	WRITE_ONCE(tst.step, 0);
	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(tst.period) >= PERF_PKG_IDLE_NS));
	KUNIT_EXPECT_EQ(test, test_period_ms(2), PERF_PKG_IDLE_NS / NSEC_PER_MSEC);

	/* A change brings T back. */
	test_advance(0, 1000);
	KUNIT_EXPECT_TRUE(test, test_wait(test_count(event) >= 1000));
	WRITE_ONCE(tst.step, 1);
	KUNIT_EXPECT_LE(test, test_period_ms(10), 110);
}

static void perf_pkg_disabled_level_is_left_alone(struct kunit *test)
{
	struct perf_event *event = test_sleeping_level(test, 1000);
	int reads;

	test_advance(0, 5);
	KUNIT_EXPECT_TRUE(test, test_wait(test_count(event) == 5));
	perf_event_disable(event);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 0) == -1));
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 1) == -1));
	reads = test_reads(event);
	test_advance(0, 2);
	KUNIT_EXPECT_EQ(test, test_count(event), 5);
	msleep(50);
	KUNIT_EXPECT_EQ(test, test_reads(event), reads);

	/* When it is enabled, it is read and then refreshed, wherever its task is. */
	perf_event_enable(event);
	KUNIT_EXPECT_EQ(test, test_count(event), 7);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 0) >= 0));
}

static struct perf_event *test_shared_event(struct kunit *test)
{
	struct perf_event *event = test_event(test, test_tasks, TEST_SHARED, -1);
	int d;

	for (d = 0; d < TEST_DOMAINS; d++)
		KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(test_slot(event, d)->state) ==
						  PERF_PKG_SLOT_LIVE));
	return event;
}

/* The oldest, for what all do in all domains; without it the next one */
static void perf_pkg_shared_counter_has_one_reporter(struct kunit *test)
{
	struct perf_event *oldest, *next;

	test_tasks->pp->interval_us = 1000;
	test_run_on(test, 0);
	oldest = test_shared_event(test);
	next = test_event(test, test_tasks, TEST_SHARED, -1);
	KUNIT_EXPECT_PTR_EQ(test, test_counter(oldest), test_counter(next));
	test_advance(0, 10);
	test_advance(1, 5);
	KUNIT_EXPECT_TRUE(test, test_wait(test_count(oldest) == 15));
	KUNIT_EXPECT_EQ(test, test_count(next), 0);

	KUNIT_ASSERT_PTR_EQ(test, tst.event[0], oldest);
	perf_event_release_kernel(oldest);
	tst.event[0] = tst.event[--tst.nr_events];
	KUNIT_EXPECT_EQ(test, test_count(next), 15);
	test_advance(1, 2);
	KUNIT_EXPECT_TRUE(test, test_wait(test_count(next) == 17));
}

/* Its timers had stopped as the oldest event was disabled: they go on for the next one. */
static void perf_pkg_shared_counter_goes_on_for_the_next(struct kunit *test)
{
	struct perf_event *oldest, *next;
	u64 count;

	test_tasks->pp->interval_us = 1000;
	test_run_on(test, 0);
	oldest = test_shared_event(test);
	next = test_event(test, test_tasks, TEST_SHARED, -1);
	perf_event_disable(oldest);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 1) == -1));

	KUNIT_ASSERT_PTR_EQ(test, tst.event[0], oldest);
	perf_event_release_kernel(oldest);
	tst.event[0] = tst.event[--tst.nr_events];
	count = test_count(next);
	KUNIT_EXPECT_TRUE(test, test_wait((test_advance(1, 5), test_count(next) > count)));
}

/* Also if its task has never been there */
static void perf_pkg_shared_counter_counts_where_selected(struct kunit *test)
{
	struct perf_event *event;

	test_tasks->pp->interval_us = 1000;
	test_run_on(test, 0);
	event = test_keep(test, test_open(test_attr(test_tasks, TEST_SHARED, BIT(1)), -1));
	KUNIT_EXPECT_TRUE(test, test_wait((test_advance(1, 5), test_count(event) > 0)));
}

/* It begins and ends with a read each, and context switches read nothing. */
static void perf_pkg_shared_counter_is_a_window(struct kunit *test)
{
	struct perf_event *event;
	int i, reads;

	test_tasks->pp->interval_us = 1000;
	event = test_shared_event(test);
	test_tasks->pp->interval_us = PERF_PKG_INTERVAL_MAX_US;
	perf_pkg_timer_pause(test_dom(test_tasks, 0));
	perf_pkg_timer_pause(test_dom(test_tasks, 1));

	reads = test_reads(event);
	for (i = 0; i < 5; i++)
		msleep(20);
	KUNIT_EXPECT_EQ(test, test_reads(event), reads);

	test_advance(0, 10);
	test_advance(1, 20);
	perf_event_disable(event);
	KUNIT_EXPECT_EQ(test, test_count(event), 30);
	test_advance(0, 7);
	test_advance(1, 7);
	KUNIT_EXPECT_EQ(test, test_count(event), 30);
	perf_event_enable(event);
	KUNIT_EXPECT_EQ(test, test_count(event), 30);
	test_advance(1, 3);
	perf_event_disable(event);
	KUNIT_EXPECT_EQ(test, test_count(event), 33);

	perf_pkg_timer_resume(test_dom(test_tasks, 0));
	perf_pkg_timer_resume(test_dom(test_tasks, 1));
}

/* The timer comes between the two halves of ioctl(PERF_EVENT_IOC_DISABLE). */
static void perf_pkg_disabled_under_the_timer(struct kunit *test)
{
	enum perf_event_state state;
	struct perf_event *event;

	test_tasks->pp->interval_us = 1000;
	event = test_shared_event(test);
	KUNIT_EXPECT_TRUE(test, test_wait(test_slot(event, 0)->state == PERF_PKG_SLOT_LIVE));
	test_tasks->pp->interval_us = PERF_PKG_INTERVAL_MAX_US;
	perf_pkg_timer_pause(test_dom(test_tasks, 0));
	test_advance(0, 10);
	state = event->state;
	WRITE_ONCE(event->state, PERF_EVENT_STATE_OFF);
	test_tasks->pp->interval_us = 1000;
	perf_pkg_timer_resume(test_dom(test_tasks, 0));
	KUNIT_EXPECT_TRUE(test, test_wait(test_slot(event, 0)->state != PERF_PKG_SLOT_LIVE));
	event->pmu->toggled(event);
	KUNIT_EXPECT_EQ(test, test_count(event), 10);
	WRITE_ONCE(event->state, state);
}

/* Though the "age" of its group is still open, and has its counter */
static void perf_pkg_closed_level_is_left_alone(struct kunit *test)
{
	struct perf_event_attr attr;
	struct perf_event *event, *age;

	event = test_sleeping_level(test, 1000);
	attr = test_attr(test_tasks, PERF_PKG_EVENT_AGE, 0);
	tst.leader = event;
	age = test_open(attr, -1);
	test_close();
	test_keep(test, age);
	KUNIT_EXPECT_PTR_EQ(test, test_counter(age)->event, NULL);
	KUNIT_EXPECT_EQ(test, test_dom(test_tasks, 0)->nr_slots, 1);
	test_count(age);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 0) == -1));
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 1) == -1));
}

/* CPU hotplug */

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
	struct task_struct *thread;
	struct perf_event_attr attr;
	struct perf_event *event;
	u64 enabled, running;

	test_unregister(test, test_tasks);
	KUNIT_ASSERT_EQ(test, remove_cpu(3), 0);
	KUNIT_ASSERT_EQ(test, test_register(test_tasks), 0);
	thread = test_hotplug_thread(3);
	KUNIT_ASSERT_NOT_NULL(test, thread);
	attr = test_attr(test_tasks, TEST_COUNT, 0);
	event = perf_event_create_kernel_counter(&attr, -1, thread, NULL, NULL);
	put_task_struct(thread);
	test_keep(test, event);
	KUNIT_ASSERT_EQ(test, add_cpu(3), 0);
	KUNIT_EXPECT_TRUE(test, test_wait(READ_ONCE(event->oncpu) < 0));
	perf_event_read_value(event, &enabled, &running);
	KUNIT_EXPECT_GT(test, running, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&test_slot(event, 1)->active), 0);
}

/* That has not been there when the event was opened */
static void perf_pkg_hotplug_adds_a_domain(struct kunit *test)
{
	struct perf_event *event;

	test_unregister(test, test_tasks);
	KUNIT_ASSERT_EQ(test, remove_cpu(1), 0);
	KUNIT_ASSERT_EQ(test, remove_cpu(3), 0);
	KUNIT_ASSERT_EQ(test, test_register(test_tasks), 0);
	KUNIT_ASSERT_PTR_EQ(test, test_dom(test_tasks, 1), NULL);
	test_tasks->pp->interval_us = 1000;
	test_run_on(test, 0);
	event = test_event(test, test_tasks, TEST_SHARED, -1);
	KUNIT_ASSERT_EQ(test, add_cpu(3), 0);
	KUNIT_EXPECT_TRUE(test, test_wait((test_advance(1, 5), test_count(event) > 0)));
}

static void perf_pkg_hotplug_hands_tasks_over(struct kunit *test)
{
	struct perf_event *event, *level;

	/* No timer interrupt comes in time: what is published is published by hotplug. */
	test_tasks->pp->interval_us = PERF_PKG_INTERVAL_MAX_US;
	test_run_on(test, 1);
	event = test_event(test, test_tasks, TEST_COUNT, -1);
	level = test_event(test, test_tasks, TEST_LEVEL, -1);
	KUNIT_EXPECT_EQ(test, test_timer_cpu(test_tasks, 1), 1);
	WRITE_ONCE(tst.err, -EIO);
	test_run_on(test, 0);
	WRITE_ONCE(tst.err, 0);

	/* To the other CPU of the domain. The last one reads what may have changed. */
	KUNIT_ASSERT_EQ(test, remove_cpu(1), 0);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 1) == 3));
	test_advance(1, 50);
	KUNIT_ASSERT_EQ(test, remove_cpu(3), 0);
	KUNIT_EXPECT_EQ(test, test_timer_cpu(test_tasks, 1), -1);
	KUNIT_EXPECT_FALSE(test, hrtimer_active(&test_dom(test_tasks, 1)->timer));
	KUNIT_EXPECT_EQ(test, test_count(event), 50);
	KUNIT_EXPECT_EQ(test, test_count(level), 0);

	/* It comes back with its hardware at 0. */
	atomic64_set(&tst.hw[1], 0);
	KUNIT_ASSERT_EQ(test, add_cpu(3), 0);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_tasks, 1) == 3));
	KUNIT_EXPECT_EQ(test, test_slot(event, 1)->state, PERF_PKG_SLOT_NO_BASELINE);
	perf_pkg_refresh_domain(test_counter(event), test_dom(test_tasks, 1));
	test_advance(1, 9);
	perf_pkg_refresh_domain(test_counter(event), test_dom(test_tasks, 1));
	perf_pkg_refresh_domain(test_counter(level), test_dom(test_tasks, 1));
	KUNIT_EXPECT_EQ(test, test_count(event), 59);
	KUNIT_EXPECT_EQ(test, test_count(level), 9);
}

static void perf_pkg_hotplug_migrates_events(struct kunit *test)
{
	struct perf_event *event, *disabled;

	KUNIT_EXPECT_NE(test, test_tasks->pp->hp_state, test_domains->pp->hp_state);
	test_domains->pp->interval_us = 1000;
	test_run_on(test, 0);
	event = test_event(test, test_domains, TEST_COUNT, 1);
	disabled = test_event(test, test_domains, TEST_COUNT, 1);
	perf_event_disable(disabled);
	test_advance(1, 5);
	KUNIT_ASSERT_EQ(test, remove_cpu(1), 0);
	KUNIT_EXPECT_EQ(test, event->cpu, 3);
	KUNIT_EXPECT_EQ(test, test_dom(test_domains, 1)->cpu, 3);
	KUNIT_EXPECT_TRUE(test, test_wait(test_timer_cpu(test_domains, 1) == 3));
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(event, 2), 7);
	KUNIT_EXPECT_EQ(test, disabled->cpu, 3);
	KUNIT_EXPECT_EQ(test, disabled->state, PERF_EVENT_STATE_OFF);
	KUNIT_EXPECT_EQ(test, test_count(disabled), 0);

	/* They stay where they are. An event that is opened now joins them. */
	KUNIT_ASSERT_EQ(test, add_cpu(1), 0);
	KUNIT_EXPECT_EQ(test, event->cpu, 3);
	KUNIT_EXPECT_EQ(test, test_event(test, test_domains, TEST_COUNT, 1)->cpu, 3);
}

static void perf_pkg_hotplug_ends_a_domain(struct kunit *test)
{
	struct perf_event *event, *level, *next;

	test_run_on(test, 0);
	KUNIT_ASSERT_EQ(test, remove_cpu(1), 0);
	event = test_event(test, test_domains, TEST_COUNT, 3);
	level = test_event(test, test_domains, TEST_LEVEL, 3);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(level, 5), 5);
	test_advance(1, 6);
	KUNIT_ASSERT_EQ(test, remove_cpu(3), 0);
	KUNIT_EXPECT_EQ(test, test_count(event), 11);
	KUNIT_EXPECT_EQ(test, test_count(level), 0);
	KUNIT_EXPECT_EQ(test, test_dom(test_domains, 1)->cpu, -1);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_slot(event, 1)->stamp), 0);

	/* It is another baseline that the next event starts from. */
	atomic64_set(&tst.hw[1], 2);
	KUNIT_ASSERT_EQ(test, add_cpu(3), 0);
	KUNIT_EXPECT_EQ(test, test_dom(test_domains, 1)->cpu, 3);
	KUNIT_EXPECT_EQ(test, test_slot(event, 1)->state, PERF_PKG_SLOT_NO_BASELINE);
	next = test_event(test, test_domains, TEST_COUNT, 3);
	KUNIT_EXPECT_EQ(test, test_advance_and_refresh(next, 9), 9);
	KUNIT_EXPECT_EQ(test, test_count(event), 11);
	KUNIT_EXPECT_EQ(test, atomic64_read(&test_domains->pp->errors), 0);
}

/* The suite */

static int perf_pkg_test_init(struct kunit *test)
{
	int cpu;

	/* Of a case that left them offline, or failed half-way */
	for (cpu = 1; cpu < 2 * TEST_DOMAINS; cpu++) {
		if (cpu_possible(cpu) && !cpu_online(cpu))
			add_cpu(cpu);
	}
	if (num_online_cpus() < 2 * TEST_DOMAINS)
		kunit_skip(test, "needs %d CPUs", 2 * TEST_DOMAINS);

	memset(&tst, 0, sizeof(tst));

	return test_register(test_tasks) ?: test_register(test_domains);
}

static void perf_pkg_test_exit(struct kunit *test)
{
	WRITE_ONCE(tst.err, 0);
	WRITE_ONCE(tst.delay_us, 0);
	WRITE_ONCE(tst.watched, NULL);
	while (tst.nr_events)
		test_close();
	KUNIT_EXPECT_EQ(test, tst.nr_counters, 0);
	KUNIT_EXPECT_EQ(test, atomic_read(&tst.starts), atomic_read(&tst.stops));
	test_unregister(test, test_tasks);
	test_unregister(test, test_domains);
	test_domains->sweep = NULL;
	test_domains->is_swept = NULL;
}

#define TEST_CASE_BOTH(name)	KUNIT_CASE_PARAM(name, test_pmu_gen_params)

static struct kunit_case perf_pkg_test_cases[] = {
	KUNIT_CASE(perf_pkg_task_event_sums_domains),
	TEST_CASE_BOTH(perf_pkg_cpu_event_has_its_domain),
	TEST_CASE_BOTH(perf_pkg_older_stamp_never_wins),
	KUNIT_CASE_PARAM(perf_pkg_counts_in_sequence, test_sequence_gen_params),
	KUNIT_CASE(perf_pkg_publish_reads_once),
	KUNIT_CASE(perf_pkg_publish_loses_no_update),
	TEST_CASE_BOTH(perf_pkg_add_and_del_read_once),
	KUNIT_CASE(perf_pkg_switch_takes_no_clock),
	TEST_CASE_BOTH(perf_pkg_failed_read_keeps_the_value),
	TEST_CASE_BOTH(perf_pkg_failed_first_read_sets_no_baseline),
	KUNIT_CASE(perf_pkg_failed_last_read_is_repeated),
	KUNIT_CASE(perf_pkg_ended_counter_stands_still),
	KUNIT_CASE(perf_pkg_sweep_has_a_baseline_and_a_stamp),
	KUNIT_CASE(perf_pkg_sweep_is_left_to_the_timer),
	KUNIT_CASE_SLOW(perf_pkg_sweep_ends_with_the_domain),
	KUNIT_CASE(perf_pkg_window_has_an_offset_or_a_sum),
	KUNIT_CASE(perf_pkg_putting_back_costs_no_read),
	KUNIT_CASE(perf_pkg_putting_back_loses_nothing),
	KUNIT_CASE(perf_pkg_putting_back_after_a_pass),
	KUNIT_CASE(perf_pkg_putting_back_a_sweep),
	KUNIT_CASE(perf_pkg_event_moves_to_its_leader),
	KUNIT_CASE(perf_pkg_sample_reads_the_hardware),
	TEST_CASE_BOTH(perf_pkg_read_refreshes_what_is_too_old),
	KUNIT_CASE_PARAM(perf_pkg_refuses_in_order, test_refusal_gen_params),
	TEST_CASE_BOTH(perf_pkg_age_is_that_of_its_leader),
	KUNIT_CASE(perf_pkg_interval_has_limits),
	TEST_CASE_BOTH(perf_pkg_timer_lives_with_its_counters),
	KUNIT_CASE(perf_pkg_no_counter_starves),
	KUNIT_CASE_SLOW(perf_pkg_period_never_doubles),
	KUNIT_CASE(perf_pkg_idle_domain_needs_no_timer),
	KUNIT_CASE(perf_pkg_kick_keeps_a_timer),
	KUNIT_CASE(perf_pkg_kick_starts_a_timer_once),
	KUNIT_CASE(perf_pkg_kick_does_not_wait),
	KUNIT_CASE(perf_pkg_may_wrap_while_not_active),
	KUNIT_CASE_SLOW(perf_pkg_level_of_a_sleeping_task_is_refreshed),
	KUNIT_CASE(perf_pkg_disabled_level_is_left_alone),
	KUNIT_CASE(perf_pkg_shared_counter_has_one_reporter),
	KUNIT_CASE(perf_pkg_shared_counter_goes_on_for_the_next),
	KUNIT_CASE(perf_pkg_shared_counter_counts_where_selected),
	KUNIT_CASE(perf_pkg_shared_counter_is_a_window),
	KUNIT_CASE(perf_pkg_disabled_under_the_timer),
	KUNIT_CASE(perf_pkg_closed_level_is_left_alone),
	KUNIT_CASE_SLOW(perf_pkg_hotplug_thread_is_counted),
	KUNIT_CASE_SLOW(perf_pkg_hotplug_adds_a_domain),
	KUNIT_CASE_SLOW(perf_pkg_hotplug_hands_tasks_over),
	KUNIT_CASE_SLOW(perf_pkg_hotplug_migrates_events),
	KUNIT_CASE_SLOW(perf_pkg_hotplug_ends_a_domain),
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
