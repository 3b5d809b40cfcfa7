// SPDX-License-Identifier: GPL-2.0
/*
 * The registers that select and tell a counter are one pair for a CPU or an L3, and
 * two want it: resctrl for its files, perf in the interrupts of its timer. On every
 * CPU a process reads files of resctrl and events of perf, of groups whose counters are far
 * apart, while the timer reads as often as it can and other groups come and go. Each value
 * must lie between the truth before and after: that of another group does not. The sum of
 * all groups must be one that there was as long ago as its age says.
 *
 *	pkg_rdt_race [-n READS]
 *
 * So many on each CPU.
 */
#define _GNU_SOURCE

#include "pkg_rdt.h"

/* Of the groups the last ones have tasks that run all the time */
#define NR_GROUPS	5
#define NR_STILL	3
#define DEFAULT_READS	300
/* No sweep is older, with as many processes */
#define SWEEP_US	2000
/* Of one kind: more say nothing new */
#define REPORTS		10
/* Other groups come and go that many times less often than each CPU reads */
#define READS_PER_GROUP	20

#define GROUP_NAME	RDT_GROUPS "pkg_rdt_race-%d"
#define CHURN_NAME	RDT_GROUPS "pkg_rdt_churn-%d"

enum kind {
	FILES,
	EVENTS,
	SUMS,
	CHURN,
	NR_KINDS,
};

static const char * const kinds[NR_KINDS] = {
	[FILES]		= "resctrl's files say what the hardware counted",
	[EVENTS]	= "perf's events say what the hardware counted",
	[SUMS]		= "perf's events of all groups say what the hardware counted",
	[CHURN]		= "groups come and go",
};

/* Shared by all processes */
static struct race {
	int		ready;
	int		go;
	struct {
		__u64	reads;
		__u64	wrong;
		/* There was no value */
		__u64	none;
		/* It was older than the read, and as old as its age said */
		__u64	old;
	} seen[NR_KINDS];
} *race;

/* A counter, and what resctrl and the truth said while nobody ran with it */
static struct group {
	char		dir[64];
	int		rmid;
	struct puppet	p;
	__u64		mon[PKG_MAX][RDT_EVENTS];
	__u64		truth[PKG_MAX][RDT_EVENTS];
} groups[NR_GROUPS];

static unsigned long nr_reads = DEFAULT_READS;

#define race_count(kind, what)	__atomic_fetch_add(&race->seen[kind].what, 1, __ATOMIC_RELAXED)

__printf(3, 4)
static void race_expect(bool ok, enum kind kind, const char *fmt, ...)
{
	char text[512];
	va_list args;

	race_count(kind, reads);
	if (ok || race_count(kind, wrong) >= REPORTS)
		return;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_print_msg("wrong: %s\n", text);
}

/* Groups */

/* All counters far from each other, in each L3, and by more than the test will count */
static int spread_counters(int i)
{
	__u64 units = (1ULL << rdt.width) / (2 * NR_GROUPS + 1);
	int d, err = 0;

	/* These begin at 0 whenever a task runs */
	if (rdt.lossy)
		return 0;
	for (d = 0; d < topo.nr; d++) {
		err |= rdt_set_counter(RDT_TOTAL, d, groups[i].rmid, units * (2 * i + 1));
		err |= rdt_set_counter(RDT_LOCAL, d, groups[i].rmid, units * (2 * i + 2));
	}
	return err;
}

static int make_group(int i)
{
	struct group *g = &groups[i];
	int d, e, err;

	snprintf(g->dir, sizeof(g->dir), GROUP_NAME, i);
	err = rdt_mkdir(g->dir);
	if (err)
		return err;
	g->rmid = rdt_rmid(g->dir);
	if (g->rmid <= 0)
		return -ERANGE;
	err = spread_counters(i);
	for (d = 0; d < topo.nr; d++) {
		for (e = RDT_TOTAL; e < RDT_EVENTS && !err; e++) {
			err = rdt_mon(g->dir, e, d, &g->mon[d][e]);
			if (rdt.lossy && err == -ENODATA)
				err = 0;
			g->truth[d][e] = rdt_truth(e, d, g->rmid);
		}
	}
	return err;
}

/* In turn on all L3s. Now and then it sleeps, so that the RMID leaves the CPU. */
static long busy(long domain)
{
	pkg_pin(rdt_cpu(domain));
	while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
		pkg_burn(700);
		usleep(300);
	}
	return 0;
}

static int start_tasks(void)
{
	int i, err = 0;

	for (i = NR_STILL; i < NR_GROUPS && !err; i++) {
		struct puppet *p = &groups[i].p;

		if (puppet_new(p))
			return -EAGAIN;
		err = rdt_add_task(groups[i].dir, p->pid) ?: puppet_start(p, busy, i % topo.nr);
		if (!err)
			continue;
		puppet_end(p);
		p->pid = 0;
	}
	return err;
}

static void stop_tasks(void)
{
	int i;

	pkg_stop(1);
	for (i = NR_STILL; i < NR_GROUPS; i++) {
		if (groups[i].p.pid <= 0)
			continue;
		puppet_wait(&groups[i].p);
		puppet_end(&groups[i].p);
	}
}

/* Checks */

/*
 * What an RMID occupies grows by what it moves, and shrinks otherwise. Who never runs
 * has nothing.
 */
static bool level_is_right(__u64 val, __u64 before, __u64 moved)
{
	return val <= before + moved + rdt.scale;
}

static void check_file(int i, enum rdt_event event, int d)
{
	struct group *g = &groups[i];
	__u64 slack = 2 * rdt.scale, before, after, level, val = 0, least, most;
	enum rdt_event moved = event == RDT_OCCUPANCY ? RDT_TOTAL : event;
	int err;

	before = rdt_truth(moved, d, g->rmid);
	level = rdt_truth(RDT_OCCUPANCY, d, g->rmid);
	err = rdt_mon(g->dir, event, d, &val);
	after = rdt_truth(moved, d, g->rmid);
	if (rdt.lossy && err == -ENODATA) {
		race_count(FILES, none);
		return;
	}
	if (event == RDT_OCCUPANCY) {
		race_expect(!err && level_is_right(val, level, after - before), FILES,
			    "%s of %s in L3 %d: %llu (%d), not at most %llu + %llu",
			    rdt_files[event], g->dir, d, val, err, level, after - before);
		return;
	}
	least = g->mon[d][event] + before - g->truth[d][event];
	most = g->mon[d][event] + after - g->truth[d][event];
	race_expect(!err && (rdt.lossy || val + slack >= least) && val <= most + slack, FILES,
		    "%s of %s in L3 %d: %llu (%d), not between %llu and %llu", rdt_files[event],
		    g->dir, d, val, err, least, most);
}

struct member {
	struct rdt_count	c;
	__u64			last;
};

/* An event on this CPU, with its age; of all groups without @g */
static int open_member(struct member *m, struct group *g, enum rdt_event event, int d, int cpu)
{
	int i, err, age, dir = g ? rdt_open_dir(g->dir) : 0;
	struct perf_event_attr attr = rdt_attr(event, dir);
	__u64 before, val[2];

	m->c = (struct rdt_count) {
		.event		= event,
		.rmids		= g ? 1ULL << g->rmid : 1,
		.domains	= 1U << d,
	};
	for (i = 0; i < NR_GROUPS && !g; i++)
		m->c.rmids |= 1ULL << groups[i].rmid;
	before = rdt_truth_of(&m->c);
	/* Whose counter is read already begins with its last sweep */
	if (!g)
		usleep(SWEEP_US);
	attr.read_format = PERF_FORMAT_GROUP;
	err = rdt_add(&m->c, attr, -1, cpu);
	if (g)
		close(dir);
	if (err)
		return err;
	age = pkg_open(rdt_attr(PKG_AGE, 0), -1, cpu, m->c.fd[0]);
	if (age < 0)
		return age;
	err = pkg_read(m->c.fd[0], val, 2);
	rdt_started(&m->c, before);
	return err;
}

static void check_level(struct member *m, int d)
{
	int rmid = __builtin_ctzll(m->c.rmids), err;
	__u64 before, level, val[2] = {}, start;

	before = rdt_truth(RDT_TOTAL, d, rmid);
	level = rdt_truth(RDT_OCCUPANCY, d, rmid);
	start = pkg_now(CLOCK_MONOTONIC);
	while (pkg_now(CLOCK_MONOTONIC) < start + 2 * NSEC_PER_USEC)
		;
	err = pkg_read(m->c.fd[0], val, 2);
	before = rdt_truth(RDT_TOTAL, d, rmid) - before;
	if (!err && val[1] > pkg_now(CLOCK_MONOTONIC) - start) {
		race_count(EVENTS, reads);
		race_count(EVENTS, old);
		return;
	}
	race_expect(!err && level_is_right(val[0], level, before), EVENTS,
		    "%s of RMID %d in L3 %d: %llu (%d), not at most %llu + %llu",
		    rdt_names[m->c.event], rmid, d, val[0], err, level, before);
}

static void check_event(struct member *m, enum kind kind)
{
	__u64 before = rdt_truth_of(&m->c), after, val[2] = {}, start, age, least, most;
	char bounds[64];
	bool right, old;
	int err;

	/* So that what was read at or before @start is too old */
	start = pkg_now(CLOCK_MONOTONIC);
	while (pkg_now(CLOCK_MONOTONIC) < start + 2 * NSEC_PER_USEC)
		;
	err = pkg_read(m->c.fd[0], val, 2);
	age = pkg_now(CLOCK_MONOTONIC) - start;
	after = rdt_truth_of(&m->c);
	/* It does not tell the truth before, but never less than it said, nor of the future */
	old = !err && val[1] > age;
	right = rdt_is_between(&m->c, val[0], old ? 0 : before, after, &least, &most) &&
		!err && val[0] >= m->last;
	snprintf(bounds, sizeof(bounds), ", not between %llu and %llu", least, most);
	if (old)
		race_count(kind, old);
	race_expect(right, kind, "%s of RMIDs 0x%llx in L3s 0x%x: %llu (%d) after %llu%s",
		    rdt_names[m->c.event], m->c.rmids, m->c.domains, val[0], err, m->last,
		    bounds);
	if (!err)
		m->last = val[0];
}

/* Processes */

static void wait_for_all(void)
{
	__atomic_fetch_add(&race->ready, 1, __ATOMIC_ACQ_REL);
	while (!__atomic_load_n(&race->go, __ATOMIC_ACQUIRE))
		usleep(1000);
}

static int reader(int d, int cpu)
{
	static struct member m[NR_GROUPS][RDT_EVENTS], sum;
	unsigned long n;
	int i, e;

	if (msr_open(cpu))
		return KSFT_FAIL;
	for (i = 0; i < NR_GROUPS; i++)
		for (e = RDT_OCCUPANCY; e < RDT_EVENTS; e++)
			if (open_member(&m[i][e], &groups[i], e, d, cpu))
				return KSFT_FAIL;
	if (open_member(&sum, NULL, RDT_TOTAL, d, cpu))
		return KSFT_FAIL;
	wait_for_all();
	for (n = 0; n < nr_reads; n++) {
		/* In another order on each CPU */
		i = (n * (cpu % (NR_GROUPS - 1) + 1) + cpu) % NR_GROUPS;
		e = RDT_OCCUPANCY + (n + cpu) % 3;
		check_file(i, e, (n + d) % topo.nr);
		i = (i + n) % NR_GROUPS;
		if (e == RDT_OCCUPANCY)
			check_level(&m[i][e], d);
		else
			check_event(&m[i][e], EVENTS);
		if (n % 4 == 0)
			check_event(&sum, SUMS);
	}
	return KSFT_PASS;
}

/* A group where nobody ever runs, from its making to its end */
static void churn_once(unsigned long n)
{
	__u64 val = 0, mon = 0;
	int fd, err, gone;
	char dir[64];

	snprintf(dir, sizeof(dir), CHURN_NAME, (int)n);
	if (mkdir(dir, 0755)) {
		/* RMIDs of those before are not free yet */
		race_count(CHURN, none);
		usleep(10000);
		return;
	}
	fd = rdt_open_event(RDT_TOTAL, dir, topo.pkg[0].cpu[0]);
	err = rdt_mon(dir, RDT_TOTAL, 0, &mon);
	if (rdt.lossy && err == -ENODATA)
		err = 0;
	err = err ?: rdt_read_one(fd, &val);
	rmdir(dir);
	gone = rdt_read_error(fd);
	race_expect(!err && !val && !mon && gone == -ENODEV, CHURN,
		    "%s: event %d (%d) %llu, file %llu, after rmdir %d", dir, fd, err, val, mon,
		    gone);
	close(fd);
}

static int churner(void)
{
	unsigned long n;

	/* resctrl looks once a second which RMIDs are free again. */
	for (n = 0; n < 20; n++)
		rdt_evict();
	wait_for_all();
	for (n = 0; n < nr_reads / READS_PER_GROUP + 1; n++)
		churn_once(n);
	return KSFT_PASS;
}

/* Returns how many did not end well */
static int run_processes(void)
{
	int d, c, nr = 1, failed = 0, status;

	fflush(stdout);
	if (!fork())
		_exit(churner());
	for (d = 0; d < topo.nr; d++) {
		for (c = 0; c < topo.pkg[d].nr_cpus; c++, nr++)
			if (!fork())
				_exit(reader(d, topo.pkg[d].cpu[c]));
	}
	/* Who fails before that has ended */
	while (__atomic_load_n(&race->ready, __ATOMIC_ACQUIRE) < nr - failed) {
		if (waitpid(-1, &status, WNOHANG) > 0)
			failed++;
		usleep(1000);
	}
	__atomic_store_n(&race->go, 1, __ATOMIC_RELEASE);
	for (nr -= failed; nr > 0; nr--)
		failed += wait(&status) < 0 || status;
	return failed;
}

static void report(enum kind kind)
{
	ksft_print_msg("%llu values, %llu wrong, %llu old; %llu times none\n",
		       race->seen[kind].reads, race->seen[kind].wrong, race->seen[kind].old,
		       race->seen[kind].none);
	ksft_test_result(race->seen[kind].reads && !race->seen[kind].wrong, "%s\n", kinds[kind]);
}

static const char *race_init(void)
{
	const char *why = pkg_share() ? "no shared memory" : rdt_init(RDT_PMU, 1);
	int i, err = 0;

	if (why)
		return why;
	for (i = 0; i < NR_GROUPS && !err; i++)
		err = make_group(i);
	return err ? "too few RMIDs, or their counters cannot be read" : NULL;
}

static void race_exit(void)
{
	int i;

	for (i = 0; i < NR_GROUPS; i++)
		if (groups[i].dir[0])
			rmdir(groups[i].dir);
	rdt_exit();
}

static void race_run(void)
{
	int i, d, e, failed;

	if (rdt_set(FRESH_INTERVAL, 100) || rdt_set(FRESH_MAX_AGE, 1) || start_tasks()) {
		ksft_print_msg("no timer every 100 us, or no tasks\n");
		failed = 1;
	} else {
		failed = run_processes();
	}
	stop_tasks();
	/* And what is left of it: a wrong value once is a wrong sum for ever */
	for (i = 0; i < NR_GROUPS && !failed; i++)
		for (d = 0; d < topo.nr; d++)
			for (e = RDT_TOTAL; e < RDT_EVENTS; e++)
				check_file(i, e, d);
	for (i = 0; i < NR_KINDS; i++)
		report(i);
	if (rdt.lossy)
		ksft_test_result_skip("reads find values that are fresh: not of who sleeps\n");
	else
		ksft_test_result(race->seen[EVENTS].old <= race->seen[EVENTS].reads / 10,
				 "reads find values that are fresh\n");
	ksft_test_result(!failed, "all processes end well\n");
}

int main(int argc, char *argv[])
{
	const char *why;
	int opt;

	while ((opt = getopt(argc, argv, "n:")) != -1) {
		if (opt != 'n') {
			fprintf(stderr, "Usage: %s [-n READS]\n", argv[0]);
			return KSFT_FAIL;
		}
		nr_reads = strtoul(optarg, NULL, 0);
	}
	setlinebuf(stdout);
	ksft_print_header();
	race = mmap(NULL, sizeof(*race), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
		    0);
	if (race == MAP_FAILED)
		ksft_exit_fail_msg("no shared memory\n");
	why = race_init();
	if (why) {
		if (rdt.mounted)
			race_exit();
		ksft_exit_skip("%s\n", why);
	}
	ksft_set_plan(NR_KINDS + 2);
	race_run();
	race_exit();
	ksft_finished();
}
