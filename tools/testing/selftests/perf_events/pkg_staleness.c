// SPDX-License-Identifier: GPL-2.0
/*
 * How old is the value that a reader on another package gets?
 *
 * The event "clock" of pkg_clock has as value the time at which it was read on
 * its package: now minus that is the staleness. Two such events follow one task
 * that computes and sleeps. A timer refreshes the first; the second is read when
 * the task is switched in and out and at no other time, as in the 2014 patches.
 *
 * Run without option this is a test of what must hold on every machine, however
 * slow. "--table [SECONDS]" measures and prints the distribution instead.
 */
#define _GNU_SOURCE

#include "pkg_puppet.h"

#define TABLE_SECONDS	3
#define READS_MAX	100000
#define READS_MIN	100
#define BURN_US		2000

enum { CACHED, TIMER, NR_POLICIES };

static const struct {
	const char	*name;
	int		policy;
} policies[NR_POLICIES] = {
	[CACHED] = { "2014: cached at context switch (policy=1)", PKG_POLICY_CACHED },
	[TIMER]	 = { "refreshed by a timer (policy=0)", PKG_POLICY_SLOTS },
};

static struct puppet task;
static int events[NR_POLICIES];

/* The task's clock on the package with index @pkg */
static int open_clock(int policy, int pkg)
{
	struct perf_event_attr attr = pkg_attr(PKG_CLOCK | PKG_POLICY(policy), PKG_ALL);

	attr.config1 = 1ULL << topo.pkg[pkg].id;
	return pkg_open(attr, task.pid, -1, -1);
}

/* The reader stays on the first package, the task and its events on the last */
static const char *setup(void)
{
	int i, last = topo.nr - 1;

	if (pkg_pin(topo.pkg[0].cpu[0]))
		return "cannot run on the first package";
	if (puppet_new(&task))
		return "no second task";
	if (puppet_call(&task, pkg_pin, topo.pkg[last].cpu[topo.pkg[last].nr_cpus - 1]))
		return "cannot run on the last package";

	for (i = 0; i < NR_POLICIES; i++) {
		events[i] = open_clock(policies[i].policy, last);
		if (events[i] < 0)
			return "cannot open an event";
	}

	/* From now on there is a value */
	puppet_call(&task, pkg_burn, BURN_US);
	return NULL;
}

/* In ns, at the moment when the value has arrived; negative: it is from the future */
static long long staleness(int policy)
{
	__u64 val = pkg_count(events[policy]);

	return pkg_now(CLOCK_MONOTONIC) - val;
}

/* The table */

struct table {
	int		nr;
	long long	ns[NR_POLICIES][READS_MAX];
};

/* Computes for up to 2 ms and sleeps 1 to 128 ms, until pkg_stop(); returns the longest sleep */
static long work(long unused)
{
	__u64 start, slept, longest = 0;

	while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
		pkg_burn(random() % BURN_US);
		start = pkg_now(CLOCK_MONOTONIC);
		usleep(1000 << random() % 8);
		slept = pkg_now(CLOCK_MONOTONIC) - start;
		if (slept > longest)
			longest = slept;
	}
	return longest + unused;
}

static long measure(struct table *t, int seconds)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + seconds * NSEC_PER_SEC;
	int i;

	pkg_stop(0);
	puppet_start(&task, work, 0);
	while (t->nr < READS_MAX && pkg_now(CLOCK_MONOTONIC) < end) {
		usleep(random() % 3000);
		for (i = 0; i < NR_POLICIES; i++)
			t->ns[i][t->nr] = staleness(i);
		t->nr++;
	}
	pkg_stop(1);
	return puppet_wait(&task);
}

static int by_value(const void *a, const void *b)
{
	const long long *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static int print_table(int seconds)
{
	struct table *t = calloc(1, sizeof(*t));
	long longest;
	int i;

	if (!t)
		return KSFT_FAIL;

	longest = measure(t, seconds);
	printf("%-42s %9s %9s %9s\n", "age of the value, in ms", "median", "p99", "max");
	for (i = 0; i < NR_POLICIES; i++) {
		qsort(t->ns[i], t->nr, sizeof(t->ns[i][0]), by_value);
		printf("%-42s %9.3f %9.3f %9.3f\n", policies[i].name,
		       t->ns[i][t->nr / 2] / 1e6, t->ns[i][t->nr * 99 / 100] / 1e6,
		       t->ns[i][t->nr - 1] / 1e6);
	}
	printf("%d reads in %d s, one timer tick per %.3f ms, longest sleep of the task %.3f ms\n",
	       t->nr, seconds, pkg_get(PKG_PMU, "refresh_interval_us") / 1e3, longest / 1e6);
	free(t);
	return KSFT_PASS;
}

/* The test */

static void test_other_package(void)
{
	bool zero = true;
	int i, fd;

	for (i = 0; i < NR_POLICIES; i++) {
		fd = open_clock(policies[i].policy, 0);
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

	puppet_call(&task, pkg_burn, BURN_US);
	since = pkg_now(CLOCK_MONOTONIC);
	cached = pkg_count(events[CACHED]);
	do {
		usleep(random() % 3000);
		changes += val != pkg_count(events[TIMER]);
		val = pkg_count(events[TIMER]);
		age = staleness(TIMER);
		if (age > oldest)
			oldest = age;
		future |= age < 0;
		slept = pkg_now(CLOCK_MONOTONIC) - since;
	} while (slept < PKG_PATIENCE_NS &&
		 (++reads < READS_MIN || changes < READS_MIN / 4 || (__u64)oldest >= slept));

	age = staleness(CACHED);
	ksft_print_msg("%d reads, asleep for %llu ns: cached %lld ns old, timer's up to %lld ns\n",
		       reads, slept, age, oldest);
	ksft_test_result(!future && age >= 0, "no value is from the future\n");
	ksft_test_result(changes >= READS_MIN / 4, "timer: the value is refreshed\n");
	ksft_test_result((__u64)oldest < slept, "timer: never as old as the task sleeps\n");
	ksft_test_result(pkg_count(events[CACHED]) == cached, "cached: the value stays\n");
	ksft_test_result(age > 0 && (__u64)age >= slept, "cached: as old as the task sleeps\n");

	puppet_call(&task, pkg_burn, BURN_US);
	ksft_test_result(pkg_count(events[CACHED]) > since + slept,
			 "cached: new when the task has run\n");
}

int main(int argc, char **argv)
{
	bool table = argc > 1 && !strcmp(argv[1], "--table");
	const char *error = pkg_init(2);
	int ret = KSFT_PASS;

	if (argc > 1 && !table) {
		fprintf(stderr, "Usage: %s [--table [SECONDS]]\n", argv[0]);
		return KSFT_FAIL;
	}
	if (!table)
		ksft_print_header();
	if (error)
		ksft_exit_skip("%s\n", error);
	error = setup();
	if (error)
		ksft_exit_fail_msg("%s\n", error);

	if (table) {
		ret = print_table(argc > 2 ? atoi(argv[2]) : TABLE_SECONDS);
	} else {
		ksft_set_plan(7);
		test_other_package();
		test_asleep();
	}

	puppet_end(&task);
	if (!table)
		ksft_finished();
	return ret;
}
