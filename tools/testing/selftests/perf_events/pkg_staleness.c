// SPDX-License-Identifier: GPL-2.0
/*
 * How old is the value that a reader on another package gets?
 *
 * Two events "clock" of pkg_clock follow one task that computes and sleeps. A
 * timer refreshes the first; the second is read when the task is switched in
 * and out and at no other time, as in the 2014 patches. Tested is what must hold
 * on every machine, however slow. pkg_bench_staleness measures how old.
 */
#define _GNU_SOURCE

#include "pkg_staleness.h"

#define READS_MIN	100

enum { CACHED, TIMER, NR_POLICIES };

static const int policies[NR_POLICIES] = {
	[CACHED] = PKG_POLICY_CACHED,
	[TIMER]	 = PKG_POLICY_SLOTS,
};

static int events[NR_POLICIES];

static const char *setup(void)
{
	const char *error = stale_setup();
	int i;

	if (error)
		return error;
	for (i = 0; i < NR_POLICIES; i++) {
		events[i] = stale_open(policies[i], topo.nr - 1);
		if (events[i] < 0)
			return "cannot open an event";
	}

	/* From now on there is a value */
	puppet_call(&task, pkg_burn, BURST_US);
	return NULL;
}

/* In ns, at the moment when the value has arrived; negative: it is from the future */
static long long stale_ns(int fd)
{
	__u64 val = pkg_count(fd);

	return pkg_now(CLOCK_MONOTONIC) - val;
}

static void test_other_package(void)
{
	bool zero = true;
	int i, fd;

	for (i = 0; i < NR_POLICIES; i++) {
		fd = stale_open(policies[i], 0);
		zero &= fd >= 0 && pkg_count(fd) == 0;
		close(fd);
	}
	ksft_test_result(zero, "no value where the task never ran\n");
}

/*
 * Reads while the task sleeps, often, and at last after a time that exceeds
 * each age the timer's values had: sooner or later that comes, if the timer runs.
 */
static void test_asleep(void)
{
	__u64 slept, since, cached, val = 0;
	long long age, oldest = 0;
	bool future = false;
	int reads = 0, changes = 0;

	puppet_call(&task, pkg_burn, BURST_US);
	since = pkg_now(CLOCK_MONOTONIC);
	cached = pkg_count(events[CACHED]);
	do {
		usleep(random() % 3000);
		changes += val != pkg_count(events[TIMER]);
		val = pkg_count(events[TIMER]);
		age = stale_ns(events[TIMER]);
		if (age > oldest)
			oldest = age;
		future |= age < 0;
		slept = pkg_now(CLOCK_MONOTONIC) - since;
	} while (slept < PKG_PATIENCE_NS &&
		 (++reads < READS_MIN || changes < READS_MIN / 4 || (__u64)oldest >= slept));

	age = stale_ns(events[CACHED]);
	ksft_print_msg("%d reads, asleep for %llu ns: cached %lld ns old, timer's up to %lld ns\n",
		       reads, slept, age, oldest);
	ksft_test_result(!future && age >= 0, "no value is from the future\n");
	ksft_test_result(changes >= READS_MIN / 4, "timer: the value is refreshed\n");
	ksft_test_result((__u64)oldest < slept, "timer: never as old as the task sleeps\n");
	ksft_test_result(pkg_count(events[CACHED]) == cached, "cached: the value stays\n");
	ksft_test_result(age > 0 && (__u64)age >= slept, "cached: as old as the task sleeps\n");

	puppet_call(&task, pkg_burn, BURST_US);
	ksft_test_result(pkg_count(events[CACHED]) > since + slept,
			 "cached: new when the task has run\n");
}

int main(void)
{
	const char *error = pkg_init(2);

	ksft_print_header();
	if (error)
		ksft_exit_skip("%s\n", error);
	error = setup();
	if (error)
		ksft_exit_fail_msg("%s\n", error);

	ksft_set_plan(7);
	test_other_package();
	test_asleep();

	puppet_end(&task);
	ksft_finished();
}
