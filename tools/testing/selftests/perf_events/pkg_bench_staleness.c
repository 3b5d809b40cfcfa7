// SPDX-License-Identifier: GPL-2.0
/*
 * Measures how old the value is that a reader gets of a package-scope counter
 *
 * One of each is combined: a policy, that is how the value comes from its package
 * to the reader (see test_modules/pkg_clock_pmu.c); what the monitored task does
 * meanwhile; and who reads (see pkg_bench_readers.h). It is read at random times,
 * which do not fall in step with the timer that refreshes the value.
 *
 * Run without option this is a test of what must hold on every machine. "--csv"
 * measures: times are what they are on this one.
 */
#define _GNU_SOURCE

#include <getopt.h>

#include "pkg_bench_readers.h"
#include "pkg_fresh.h"

#define SAMPLES_MAX	2000
#define SMOKE_SECONDS	0.01
/* Of what is judged: at least that long, and that many reads */
#define JUDGE_SECONDS	0.1
#define JUDGE_READS	100
/* The same of "--csv" */
#define CSV_READS	1000
#define CSV_PATIENCE_NS	(100 * NSEC_PER_SEC)
/* A kernel full of checks cannot keep up with less than this */
#define JUDGE_INTERVAL_US 1000
#define TABLE_READS_US	3000

static const struct policy policies[] = {
	{ "cached", PKG_POLICY_CACHED,	0,	TO_TASK },
	{ "slots",  PKG_POLICY_SLOTS,	10000,	TO_TASK },
	{ "slots",  PKG_POLICY_SLOTS,	1000,	TO_TASK },
	{ "slots",  PKG_POLICY_SLOTS,	100,	TO_TASK },
	{ "domain", PKG_POLICY_SLOTS,	1000,	TO_PACKAGE,	.domain = true },
	{ "ipi",    PKG_POLICY_IPI,	0,	TO_TASK },
	{ "scope",  PKG_POLICY_SCOPE,	0,	TO_PACKAGE },
	{ "sys",    PKG_POLICY_SYS,	1000,	TO_READER },
};

/* Places in the arrays here */
enum {
	CACHED		= 0,
	SLOTS_1MS	= 2,
	SLEEP_100MS	= 3,
};

#define SLEEP_NS	(100LL * 1000 * 1000)

/* What the task does */

static bool stopped(void)
{
	return __atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE);
}

static long burst_and_sleep(long ms)
{
	while (!stopped()) {
		pkg_burn(BURST_US);
		usleep(ms * 1000);
	}
	return 0;
}

/* From package to package every 2 to 5 ms */
static long wander(long unused)
{
	int i;

	for (i = 0; !stopped(); i = (i + 1) % topo.nr) {
		pkg_pin(topo.pkg[i].cpu[topo.pkg[i].nr_cpus - 1]);
		pkg_burn(BURST_US + random() % 3000);
	}
	return unused;
}

/* A burst of up to 2 ms, a sleep of 1 to 128 ms, and so on; returns the longest sleep */
static long burst_and_sleep_any(long unused)
{
	__u64 start, slept, longest = 0;

	while (!stopped()) {
		pkg_burn(random() % BURST_US);
		start = pkg_now(CLOCK_MONOTONIC);
		usleep(1000 << random() % 8);
		slept = pkg_now(CLOCK_MONOTONIC) - start;
		if (slept > longest)
			longest = slept;
	}
	return longest + unused;
}

static const struct behaviour {
	const char	*name;
	long		(*fn)(long arg);
	long		arg;
} behaviours[] = {
	{ "run",	pkg_spin,		0 },
	{ "sleep1ms",	burst_and_sleep,	1 },
	{ "sleep10ms",	burst_and_sleep,	10 },
	{ "sleep100ms",	burst_and_sleep,	100 },
	{ "migrate",	wander,			0 },
};

#define NR_POLICIES	ARRAY_SIZE(policies)
#define NR_BEHAVIOURS	ARRAY_SIZE(behaviours)

static struct row {
	enum { MEASURED, REFUSED, SKIPPED } outcome;
	int		reads;
	bool		future;
	long long	median;
	long long	p99;
	long long	max;
	/* Of the timer, the 99th percentile over time */
	long long	late;
	char		note[128];
} rows[NR_POLICIES][NR_BEHAVIOURS][NR_READERS];

static bool smoke = true;
static bool quick;
static double seconds = 1;
/* The first measurement of what is judged, or the second, which is longer, and so on */
static int judge_try = 1;
static FILE *samples;
static long long interval_us, domain_interval_us;
static int interrupted;

static int by_value(const void *a, const void *b)
{
	const long long *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static void sort(struct stats *s)
{
	qsort(s->ns, s->nr, sizeof(s->ns[0]), by_value);
}

static long long percentile(const struct stats *s, int percent)
{
	return s->ns[(s->nr * percent + 99) / 100 - 1];
}

/* By a timer of the engine: what is promised holds for these */
static bool is_ours(const struct policy *p)
{
	return p->policy == PKG_POLICY_SLOTS;
}

static int by_lateness(const void *a, const void *b)
{
	const struct pkg_refresh *x = a, *y = b;

	return (x->lateness < y->lateness) - (x->lateness > y->lateness);
}

/*
 * How late the timer was, in the worst 1 % of the time. A tick that is late makes an
 * interval longer, so it is met by more readers than others.
 */
static long long timer_lateness(const struct policy *p)
{
	long long T = p->interval_us * (long long)NSEC_PER_USEC, sum = 0, worst = 0;
	int i, n = 0, nr, domain = topo.pkg[topo.nr - 1].id;

	nr = pkg_trace_stop(fresh_trace, FRESH_TRACE_MAX);
	for (i = 0; i < nr; i++) {
		if (fresh_trace[i].kind != PKG_TRACE_REFRESH || fresh_trace[i].domain != domain)
			continue;
		fresh_trace[n++] = fresh_trace[i];
		sum += T + fresh_trace[i].lateness;
	}
	qsort(fresh_trace, n, sizeof(fresh_trace[0]), by_lateness);
	for (i = 0; i < n; i++) {
		worst += T + fresh_trace[i].lateness;
		if (worst >= sum / 100)
			return fresh_trace[i].lateness;
	}
	return 0;
}

static bool is_interrupted(void)
{
	return __atomic_load_n(&interrupted, __ATOMIC_RELAXED);
}

static bool time_is_up(__u64 end)
{
	return pkg_now(CLOCK_MONOTONIC) >= end || is_interrupted();
}

/* One combination */

/* Returns 0, or an error if the reader cannot even start */
static int measure(const struct policy *p, const struct behaviour *b, const struct reader_ops *r)
{
	bool judged = smoke && is_ours(p);
	double duration = judged ? JUDGE_SECONDS * judge_try : seconds;
	__u64 patience = smoke ? PKG_PATIENCE_NS : CSV_PATIENCE_NS;
	/* A sleep belongs to it, however short the rest is */
	__u64 ns = duration * NSEC_PER_SEC + b->arg * NSEC_PER_MSEC * 3 / 2, start;
	int ret, least = judged ? JUDGE_READS * judge_try : is_ours(p) ? CSV_READS : 1;

	/* A row is the same whatever was measured before */
	srandom(1);
	puppet_call(&task, stale_seed, 2);
	ret = r->start(p);

	if (ret < 0)
		return ret;

	/* Now there is a value, but it does not belong to what is measured */
	puppet_call(&task, pkg_pin, stale_cpu());
	puppet_call(&task, pkg_burn, BURST_US);
	r->poll();
	forget(&stats);

	if (is_ours(p))
		pkg_trace_start();
	pkg_stop(0);
	puppet_start(&task, b->fn, b->arg);
	start = pkg_now(CLOCK_MONOTONIC);
	do {
		usleep(random() % PAUSE_US);
		r->poll();
	} while (!time_is_up(start + ns) ||
		 (stats.nr < least && !stats.failed && !time_is_up(start + patience)));
	pkg_stop(1);
	puppet_wait(&task);
	return 0;
}

static void note(struct row *row, const struct policy *p, const struct reader_ops *r)
{
	const char *where = "";

	if (p->bound == TO_PACKAGE && r == &readers[IRQ])
		where = "CPU event on the package instead of the task's; read by the sample itself";
	else if (p->bound == TO_PACKAGE)
		where = "CPU event on the package instead of the task's";
	else if (p->bound == TO_READER)
		where = "CPU event on the reader's CPU instead of the task's";
	else if (r == &readers[IRQ])
		where = "sampled when and where the task runs";

	if (stats.failed)
		snprintf(row->note, sizeof(row->note), "%d more failed: %s; %s", stats.failed,
			 strerror(stats.error), where);
	else
		snprintf(row->note, sizeof(row->note), "%s", where);
}

static void refuse(struct row *row, int outcome, const char *why)
{
	row->outcome = outcome;
	snprintf(row->note, sizeof(row->note), "%s: %s",
		 outcome == REFUSED ? "refused" : "skipped", why);
}

static void run(struct row *row, const struct policy *p, const struct behaviour *b,
		const struct reader_ops *r)
{
	int ret;

	memset(row, 0, sizeof(*row));
	forget(&stats);
	/* They get the value of the last switch, as in 4.1 */
	if (p->policy == PKG_POLICY_IPI && r != &readers[READ]) {
		refuse(row, REFUSED, "an interrupt must not wait for another CPU");
		return;
	}

	ret = measure(p, b, r);
	r->stop();
	if (ret == -ENOPKG)
		refuse(row, SKIPPED, "no BPF program can be loaded here");
	else if (ret < 0)
		refuse(row, REFUSED, strerror(-ret));
	else if (!stats.nr && stats.failed)
		refuse(row, REFUSED, strerror(stats.error));
	else
		note(row, p, r);
	sort(&stats);
	row->reads = stats.nr;
	row->future = stats.future;
	row->late = is_ours(p) ? timer_lateness(p) : 0;
	if (!stats.nr)
		return;
	row->median = percentile(&stats, 50);
	row->p99 = percentile(&stats, 99);
	row->max = percentile(&stats, 100);
}

/* All of them */

static void print_row(const struct row *row, const struct policy *p, const struct behaviour *b,
		      const struct reader_ops *r)
{
	printf("%s%s,%d,%s,%s,%d,", smoke ? "# " : "", p->name, p->interval_us, b->name,
	       r->name, row->reads);
	if (row->reads)
		printf("%lld,%lld,%lld,%lld,%lld,%s\n", row->median, percentile(&stats, 90),
		       row->p99, row->max, row->late, row->note);
	else
		printf(",,,,,%s\n", row->note);
	fflush(stdout);
}

/* In the order of their size, so these are quantiles; the first and last among them */
static void print_samples(const struct policy *p, const struct behaviour *b,
			  const struct reader_ops *r)
{
	int i, nr = stats.nr < SAMPLES_MAX ? stats.nr : SAMPLES_MAX;

	for (i = 0; i < nr; i++)
		fprintf(samples, "%s,%d,%s,%s,%lld\n", p->name, p->interval_us, b->name, r->name,
			stats.ns[nr > 1 ? (long)i * (stats.nr - 1) / (nr - 1) : 0]);
}

static void restore_interval(void)
{
	pkg_set(PKG_PMU, "refresh_interval_us", interval_us);
	pkg_set(PKG_DOMAIN_PMU, "refresh_interval_us", domain_interval_us);
}

/* Returns 0, or the error for which pkg_clock does not know the policy */
static int prepare(const struct policy *p)
{
	int fd = open_bound(p, clock_attr(p), -1);

	if (fd < 0) {
		fprintf(stderr, "# policy %s skipped: %s\n", p->name, strerror(-fd));
		return fd;
	}
	close(fd);
	pkg_trace_pmu = p->domain ? "pkg_clock_domain" : "pkg_clock";
	return pkg_set(policy_pmu(p), "refresh_interval_us", p->interval_us ?: interval_us);
}

static void run_policy(int i)
{
	const struct policy *p = &policies[i];
	int b, r, error = prepare(p);
	struct row *row;

	for (b = 0; b < (int)NR_BEHAVIOURS; b++) {
		for (r = 0; r < (quick ? READ + 1 : NR_READERS) && !is_interrupted(); r++) {
			row = &rows[i][b][r];
			forget(&stats);
			if (error)
				refuse(row, SKIPPED, strerror(-error));
			else
				run(row, p, &behaviours[b], &readers[r]);
			print_row(row, p, &behaviours[b], &readers[r]);
			if (samples)
				print_samples(p, &behaviours[b], &readers[r]);
		}
	}
}

static void run_all(void)
{
	static const char columns[] =
		"policy,interval_us,task,reader,reads,median_ns,p90_ns,p99_ns,max_ns,late_ns,note";
	int i;

	printf("%s%s\n", smoke ? "# " : "", columns);
	if (samples)
		fprintf(samples, "policy,interval_us,task,reader,ns\n");
	for (i = 0; i < (int)NR_POLICIES && !is_interrupted(); i++)
		if (!quick || is_ours(&policies[i]))
			run_policy(i);
	restore_interval();
}

/* The test of what must always hold */

static bool may_refuse(const struct policy *p, const struct reader_ops *r)
{
	/* No interrupt can be sent, or the package's CPU is not this one */
	return r != &readers[READ] && (p->policy == PKG_POLICY_IPI ||
		(p->policy == PKG_POLICY_SCOPE && r == &readers[BPF]));
}

static void test_rows(void)
{
	bool complete = true, future = false, refused = true;
	const struct row *row;
	int i, b, r;

	for (i = 0; i < (int)NR_POLICIES; i++) {
		for (b = 0; b < (int)NR_BEHAVIOURS; b++) {
			for (r = 0; r < NR_READERS; r++) {
				row = &rows[i][b][r];
				complete &= row->outcome != MEASURED || row->reads > 0;
				future |= row->future;
				refused &= row->outcome == SKIPPED ||
					(row->outcome == REFUSED) ==
					may_refuse(&policies[i], &readers[r]);
			}
		}
	}
	ksft_test_result(complete, "every combination has values, or says why not\n");
	ksft_test_result(!future, "no value is from the future\n");
	ksft_test_result(refused, "refused is what needs an interrupt where none can be sent\n");
}

/* What is promised of a value that changes */
static bool is_fresh(const struct policy *p, const struct row *row)
{
	long long T = p->interval_us * (long long)NSEC_PER_USEC;

	return row->reads >= JUDGE_READS && row->median <= T * 55 / 100 + row->late &&
	       row->p99 <= T * 11 / 10 + row->late;
}

/*
 * By chance more reads than not may come late in the interval, or the machine below takes
 * the reader's CPU away between its read and its clock: look again, and longer.
 */
static bool judge_row(int i, int b, int r)
{
	const struct policy *p = &policies[i];
	struct row *row = &rows[i][b][r];

	if (row->outcome == SKIPPED)
		return true;
	for (judge_try = 2; !is_fresh(p, row) && judge_try <= PKG_TRIES; judge_try++) {
		prepare(p);
		run(row, p, &behaviours[b], &readers[r]);
	}
	judge_try = 1;
	if (is_fresh(p, row))
		return true;
	ksft_print_msg("%s, %d us, %s, %s: %d reads, median %lld, p99 %lld, timer late by %lld\n",
		       p->name, p->interval_us, behaviours[b].name, readers[r].name, row->reads,
		       row->median, row->p99, row->late);
	return false;
}

static void test_fresh(void)
{
	bool fresh = true;
	int i, b, r;

	for (i = 0; i < (int)NR_POLICIES; i++) {
		if (!is_ours(&policies[i]) || policies[i].interval_us < JUDGE_INTERVAL_US)
			continue;
		for (b = 0; b < (int)NR_BEHAVIOURS; b++)
			for (r = 0; r < NR_READERS; r++)
				fresh &= judge_row(i, b, r);
	}
	restore_interval();
	ksft_test_result(fresh, "the timer's: median at most 0.55 T, p99 at most 1.1 T\n");
}

static long long oldest(int policy, int reader)
{
	struct row *row = &rows[policy][SLEEP_100MS][reader];

	return row->outcome == MEASURED ? row->max : -1;
}

static void once_more(int policy, int reader)
{
	prepare(&policies[policy]);
	run(&rows[policy][SLEEP_100MS][reader], &policies[policy], &behaviours[SLEEP_100MS],
	    &readers[reader]);
}

static void test_sleeper(int reader)
{
	const char *name = readers[reader].name;
	bool old = false, fresher = false;
	int tries;

	if (oldest(CACHED, reader) < 0 || oldest(SLOTS_1MS, reader) < 0) {
		ksft_test_result_skip("%s: cached values get as old as the task sleeps\n", name);
		ksft_test_result_skip("%s: the timer's do not\n", name);
		return;
	}
	/* Neither timer nor reader are of use while the machine below takes their CPU away */
	for (tries = PKG_TRIES; tries; tries--) {
		old = oldest(CACHED, reader) >= SLEEP_NS / 2;
		fresher = oldest(SLOTS_1MS, reader) < oldest(CACHED, reader);
		if (old && fresher)
			break;
		once_more(CACHED, reader);
		once_more(SLOTS_1MS, reader);
	}
	restore_interval();
	ksft_test_result(old, "%s: cached values get as old as the task sleeps\n", name);
	ksft_test_result(fresher, "%s: the timer's do not\n", name);
}

static void test_all(void)
{
	ksft_set_plan(9);
	run_all();
	test_rows();
	test_fresh();
	test_sleeper(READ);
	test_sleeper(BPF);
	ksft_test_result(pkg_get(PKG_PMU, "refresh_interval_us") == interval_us &&
			 pkg_get(PKG_DOMAIN_PMU, "refresh_interval_us") == domain_interval_us,
			 "the timers' intervals are as before\n");
}

/* The table: two policies side by side, for people */

static const struct {
	const char	*name;
	int		policy;
} columns[] = {
	{ "2014: cached at context switch (policy=1)", PKG_POLICY_CACHED },
	{ "refreshed by a timer (policy=0)", PKG_POLICY_SLOTS },
};

#define NR_COLUMNS	((int)ARRAY_SIZE(columns))

static struct stats column_stats[NR_COLUMNS];

/* Returns the longest sleep of the task, or an error */
static long measure_table(int duration)
{
	int fd[NR_COLUMNS], i;
	__u64 end;

	for (i = 0; i < NR_COLUMNS; i++) {
		fd[i] = stale_open(columns[i].policy, topo.nr - 1);
		if (fd[i] < 0)
			return fd[i];
	}
	puppet_call(&task, pkg_burn, BURST_US);

	pkg_stop(0);
	puppet_start(&task, burst_and_sleep_any, 0);
	end = pkg_now(CLOCK_MONOTONIC) + duration * NSEC_PER_SEC;
	while (!time_is_up(end)) {
		usleep(random() % TABLE_READS_US);
		for (i = 0; i < NR_COLUMNS; i++)
			take_count(&column_stats[i], fd[i]);
	}
	pkg_stop(1);
	return puppet_wait(&task);
}

static int print_table(int duration)
{
	long longest = measure_table(duration);
	struct stats *s;
	int i;

	if (longest < 0)
		return KSFT_FAIL;
	printf("%-42s %9s %9s %9s\n", "age of the value, in ms", "median", "p99", "max");
	for (i = 0; i < NR_COLUMNS; i++) {
		s = &column_stats[i];
		if (!s->nr)
			return KSFT_FAIL;
		sort(s);
		printf("%-42s %9.3f %9.3f %9.3f\n", columns[i].name, percentile(s, 50) / 1e6,
		       percentile(s, 99) / 1e6, percentile(s, 100) / 1e6);
	}
	printf("%d reads in %d s, one timer tick per %.3f ms, longest sleep of the task %.3f ms\n",
	       column_stats[0].nr, duration, interval_us / 1e3, longest / 1e6);
	return KSFT_PASS;
}

static void interrupt(int sig)
{
	__atomic_store_n(&interrupted, sig, __ATOMIC_RELAXED);
}

static int usage(const char *name)
{
	fprintf(stderr, "Usage: %s [--csv [--quick] [--seconds S] [--samples FILE]]\n"
		"       %s --table SECONDS\n"
		"--csv: how old values are, in ns; late_ns is the lateness of the timer in the worst\n"
		"1 %% of the time. --seconds is for each line (default 1), --quick only for\n"
		"read(2) of what the engine's timer refreshes.\n"
		"--samples writes single ones, at most %d for each line.\n", name, name,
		SAMPLES_MAX);
	return KSFT_FAIL;
}

/* Returns how long the table takes, 0 without one, or an error */
static int parse(int argc, char **argv)
{
	static const struct option options[] = {
		{ "csv",	no_argument,		NULL, 'c' },
		{ "quick",	no_argument,		NULL, 'q' },
		{ "samples",	required_argument,	NULL, 'o' },
		{ "seconds",	required_argument,	NULL, 's' },
		{ "table",	required_argument,	NULL, 't' },
		{ },
	};
	int opt, table = 0;

	while ((opt = getopt_long(argc, argv, "", options, NULL)) != -1) {
		if (opt == 'o')
			samples = fopen(optarg, "we");
		else if (opt == 's')
			seconds = atof(optarg);
		else if (opt == 'c')
			smoke = false;
		else if (opt == 'q')
			quick = true;
		else if (opt == 't')
			table = atoi(optarg) ?: -EINVAL;
		else
			return -EINVAL;
		if (opt == 'o' && !samples) {
			perror(optarg);
			return -EINVAL;
		}
	}
	if (table)
		smoke = false;
	if (smoke)
		seconds = SMOKE_SECONDS;
	return optind < argc || seconds <= 0 || (quick && smoke) ? -EINVAL : table;
}

int main(int argc, char **argv)
{
	int table = parse(argc, argv), ret = KSFT_PASS;
	const char *error;

	if (table < 0)
		return usage(argv[0]);
	if (smoke)
		ksft_print_header();
	error = pkg_init(2);
	if (error && smoke)
		ksft_exit_skip("%s\n", error);
	if (error) {
		fprintf(stderr, "%s\n", error);
		return KSFT_SKIP;
	}

	/* A wake-up must not wait for the timer that is measured */
	prctl(PR_SET_TIMERSLACK, 1);
	signal(SIGINT, interrupt);
	signal(SIGTERM, interrupt);
	interval_us = pkg_get(PKG_PMU, "refresh_interval_us");
	domain_interval_us = pkg_get(PKG_DOMAIN_PMU, "refresh_interval_us");
	error = stale_setup();
	if (!error && !table)
		error = pkg_trace_open_kinds(PKG_TRACE_REFRESH + 1);
	if (error) {
		fprintf(stderr, "%s\n", error);
		return KSFT_FAIL;
	}
	if (table)
		ret = print_table(table);
	else if (smoke)
		test_all();
	else
		run_all();

	if (!table)
		pkg_trace_close();
	puppet_end(&task);
	if (samples && fclose(samples))
		return KSFT_FAIL;
	if (smoke)
		ksft_finished();
	return ret;
}
