// SPDX-License-Identifier: GPL-2.0
/*
 * Many counters: how long the timer keeps a CPU for them at a time and in all,
 * and how old they get by that.
 *
 * PKG_COUNTERS in the environment is the number of counters per package.
 */
#define _GNU_SOURCE

#include <sys/resource.h>

#include "../kselftest_harness.h"
#include "pkg_fresh.h"

/* So many that a pass takes some slices, on a fast machine too */
#define NR_COUNTERS	1000
#define NR_SAMPLED	16
#define NR_READS	200
#define MIN_PASSES	20
#define BUDGET_NS	(FRESH_BUDGET_US * NSEC_PER_USEC)
/* Below it, the CPU share is what limits */
#define INTERVAL_US	100
/*
 * What the emulator or somebody else takes away from the CPU shows in some slices,
 * as if these took longer or came sooner.
 */
#define SOME(nr)	((nr) / 10 + 1)
#define FEW(nr)		((nr) / 50 + 1)
#define READ_NS		(20 * NSEC_PER_USEC)

FIXTURE(pkg_budget)
{
	struct puppet p[PKG_MAX];
	int nr;
	/* Groups of a counter and its age */
	int sampled[PKG_MAX][NR_SAMPLED];
};

/*
 * Tasks that run on all packages are what a user has. CPUs where nothing runs take
 * the timer's interrupt at once, in an emulator too: there the limits are reached.
 */
FIXTURE_VARIANT(pkg_budget)
{
	bool of_cpu;
};

FIXTURE_VARIANT_ADD(pkg_budget, tasks)
{
	.of_cpu = false,
};

FIXTURE_VARIANT_ADD(pkg_budget, cpus)
{
	.of_cpu = true,
};

/* The slices of a domain's timer, and the passes made of them */
struct slices {
	int		nr;
	int		passes;
	/* Slices that follow too soon, passes that miss or repeat counters */
	int		too_soon;
	int		incomplete;
	/* Slices that left something, those among them that had time left, too */
	int		partial;
	int		lazy;
	__u64		duration[FRESH_TRACE_MAX];
	__u64		counters[FRESH_TRACE_MAX];
	/* Per pass: time of all slices, lateness of all slices */
	__u64		work[FRESH_TRACE_MAX];
	__u64		late[FRESH_TRACE_MAX];
	double		share;
};

static struct slices slices;

FIXTURE_SETUP(pkg_budget)
{
	struct rlimit many = { 65536, 65536 };
	const char *why = fresh_init(2);
	int i, last;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &many));
	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[0]));
	for (i = 0; i < topo.nr; i++) {
		last = topo.pkg[i].cpu[topo.pkg[i].nr_cpus - 1];
		ASSERT_EQ(0, puppet_new(&self->p[i]));
		self->nr++;
		ASSERT_EQ(0, puppet_call(&self->p[i], pkg_pin, last));
	}
	ASSERT_EQ(0, fresh_set_str(FRESH_MAX_AGE, "off"));
	ASSERT_EQ(0, fresh_set(FRESH_INTERVAL, INTERVAL_US));
}

FIXTURE_TEARDOWN(pkg_budget)
{
	int i;

	pkg_stop(1);
	for (i = 0; i < self->nr; i++)
		puppet_end(&self->p[i]);
	fresh_exit();
}

static int nr_counters(void)
{
	const char *nr = getenv("PKG_COUNTERS");

	return nr && atoi(nr) > NR_SAMPLED ? atoi(nr) : NR_COUNTERS;
}

/* Each package gets @nr counters, in use from now on */
static void use_counters(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_budget) * self,
			 bool of_cpu, int nr)
{
	struct perf_event_attr attr = pkg_attr(PKG_RUNTIME, PKG_ALL);
	int i, p, fd, pid, cpu, step = nr / NR_SAMPLED;

	attr.read_format = PERF_FORMAT_GROUP;
	for (p = 0; p < self->nr; p++) {
		pid = of_cpu ? -1 : self->p[p].pid;
		cpu = of_cpu ? topo.pkg[p].cpu[topo.pkg[p].nr_cpus - 1] : -1;
		for (i = 0; i < nr; i++) {
			fd = PKG_OPEN(attr, pid, cpu, -1);
			if (i % step || i / step >= NR_SAMPLED)
				continue;
			PKG_OPEN(pkg_attr(PKG_AGE, PKG_ALL), pid, cpu, fd);
			self->sampled[p][i / step] = fd;
		}
	}
	for (p = 0; p < self->nr && !of_cpu; p++)
		ASSERT_EQ(0, puppet_start(&self->p[p], pkg_spin, 0));
}

/* How many slices or passes of a domain's timer are in the trace */
static int nr_recorded(int domain, bool passes)
{
	struct pkg_refresh *t;
	int nr = 0;

	for (t = fresh_first(domain); t; t = fresh_next(t))
		nr += t->kind == PKG_TRACE_REFRESH && !(passes && t->left);
	return nr;
}

/*
 * Records longer and longer until each package has @nr slices or passes, without a look
 * in between: that takes the CPU, and many slices in a trace take long to look at.
 */
static bool record(int nr, bool passes)
{
	__u64 us;
	int p;

	for (us = 2000; us * NSEC_PER_USEC < PKG_PATIENCE_NS; us *= 2) {
		fresh_watch();
		usleep(us);
		fresh_nr = pkg_trace_stop(fresh_trace, FRESH_TRACE_MAX);
		for (p = 0; p < topo.nr; p++)
			if (nr_recorded(topo.pkg[p].id, passes) < nr)
				break;
		if (p == topo.nr)
			return true;
	}
	return false;
}

/* From the first pass of which the beginning is in the trace */
static void find_slices(int domain, int counters)
{
	long long due_gap, first = 0, last = 0, sum = 0, sum_before_last = 0;
	struct slices *s = &slices;
	struct pkg_refresh *t, *prev = NULL;
	int in_pass = -1;

	memset(s, 0, sizeof(*s));
	for (t = fresh_first(domain); t; t = fresh_next(t)) {
		if (t->kind != PKG_TRACE_REFRESH)
			continue;
		if (prev) {
			due_gap = prev->duration * (100 - FRESH_CPU_PERCENT) / FRESH_CPU_PERCENT;
			s->too_soon += t->time - t->duration - prev->time < due_gap * 9 / 10;
		}
		prev = t;

		first = first ?: t->time - t->duration;
		last = t->time - t->duration;
		sum_before_last = sum;
		sum += t->duration;
		s->partial += t->left > 0;
		s->lazy += t->left > 0 && t->duration < (long long)BUDGET_NS / 2;
		s->counters[s->nr] = t->counters;
		s->duration[s->nr++] = t->duration;

		if (in_pass >= 0) {
			in_pass += t->counters;
			s->work[s->passes] += t->duration;
			s->late[s->passes] += t->lateness;
		}
		if (t->left)
			continue;
		if (in_pass >= 0) {
			s->incomplete += in_pass != counters;
			s->passes++;
		}
		in_pass = 0;
	}
	/* The last pass is not over */
	s->work[s->passes] = 0;
	s->late[s->passes] = 0;
	s->share = last > first ? (double)sum_before_last / (last - first) : 1;
}

TEST_F_TIMEOUT(pkg_budget, slices_and_share, 300)
{
	int nr = nr_counters(), p, id;

	use_counters(_metadata, self, variant->of_cpu, nr);
	EXPECT_TRUE(record(MIN_PASSES, true));

	for (p = 0; p < topo.nr; p++) {
		struct slices *s = &slices;

		id = topo.pkg[p].id;
		find_slices(id, nr);
		TH_LOG("package %d: %d slices, median %llu ns, %d passes, share %.3f", id, s->nr,
		       fresh_quantile(s->duration, s->nr, 50), s->passes, s->share);
		EXPECT_LE(MIN_PASSES - 1, s->passes);
		/* And the time of one read, in which an emulator may have another CPU run */
		EXPECT_LE(fresh_quantile(s->duration, s->nr, 50), BUDGET_NS * 3 / 2 + READ_NS);
		EXPECT_LT(0, s->partial);
		EXPECT_EQ(0, s->lazy);
		EXPECT_LE(s->incomplete, FEW(s->passes));
		EXPECT_LE(s->too_soon, SOME(s->nr));
		EXPECT_LE(s->share, FRESH_CPU_PERCENT / 100. * 1.15);
	}
}

/* age <= max(T, D) + D with D = W * 100 / p, and no counter gets older than others */
TEST_F_TIMEOUT(pkg_budget, age, 300)
{
	static __u64 ages[NR_SAMPLED][NR_READS], all[NR_SAMPLED * NR_READS];
	__u64 val[2], oldest[NR_SAMPLED], sorted[NR_SAMPLED], bound, work, share, late;
	int nr = nr_counters(), far = topo.nr - 1, id = topo.pkg[far].id, i, r, above = 0;

	/* pkg_clock cannot tell the time of a task whose context is locked just then */
	if (!variant->of_cpu && !access("/sys/kernel/debug/kcsan", F_OK))
		SKIP(return, "KCSAN delays those who hold the lock of a task's context");
	use_counters(_metadata, self, variant->of_cpu, nr);
	EXPECT_TRUE(record(3, true));
	fresh_watch();
	for (r = 0; r < NR_READS; r++) {
		for (i = 0; i < NR_SAMPLED; i++) {
			ASSERT_EQ(0, pkg_read(self->sampled[far][i], val, 2));
			ages[i][r] = val[1];
			all[r * NR_SAMPLED + i] = val[1];
		}
		/* Longer than an interval, shorter than many passes */
		usleep(500);
	}
	fresh_nr = pkg_trace_stop(fresh_trace, FRESH_TRACE_MAX);
	find_slices(id, nr);
	ASSERT_LT(0, slices.passes);

	/* An age spans two passes, each with the lateness of its slices */
	work = fresh_quantile(slices.work, slices.passes, 100);
	late = 2 * fresh_quantile(slices.late, slices.passes, 100);
	share = work * 100 / FRESH_CPU_PERCENT;
	bound = (share > INTERVAL_US * 1000 ? share : INTERVAL_US * 1000) + share + late;
	for (i = 0; i < NR_SAMPLED * NR_READS; i++)
		above += all[i] > bound + NSEC_PER_MSEC;
	EXPECT_LE(above, FEW(NR_SAMPLED * NR_READS))
		TH_LOG("%d of %d ages above %llu ns", above, NR_SAMPLED * NR_READS, bound);

	/* The same of what is usual: the largest of everything does not say much */
	work = fresh_quantile(slices.work, slices.passes, 50);
	late = 2 * fresh_quantile(slices.late, slices.passes, 50);
	bound = 2 * work * 100 / FRESH_CPU_PERCENT + late + INTERVAL_US * 1000;
	EXPECT_LE(fresh_quantile(all, NR_SAMPLED * NR_READS, 50), bound);
	TH_LOG("ages: median %llu, 99%% below %llu ns; bound of the usual pass %llu ns",
	       fresh_quantile(all, NR_SAMPLED * NR_READS, 50),
	       fresh_quantile(all, NR_SAMPLED * NR_READS, 99), bound);

	/* One read may have taken long, a counter that starves is old at most reads */
	for (i = 0; i < NR_SAMPLED; i++) {
		oldest[i] = fresh_quantile(ages[i], NR_READS, 90);
		sorted[i] = oldest[i];
	}
	fresh_quantile(sorted, NR_SAMPLED, 50);
	for (i = 0; i < NR_SAMPLED; i++) {
		EXPECT_LE(oldest[i], 3 * sorted[NR_SAMPLED / 2]);
		EXPECT_LT(0, oldest[i]);
	}
}

/* Little to do: each pass is one slice, and none waits. Only who lost the CPU is late. */
TEST_F_TIMEOUT(pkg_budget, no_limit, 120)
{
	const long long interval = 10 * NSEC_PER_MSEC;
	struct pkg_refresh *t;
	int p;

	ASSERT_EQ(0, fresh_set(FRESH_INTERVAL, interval / 1000));
	use_counters(_metadata, self, variant->of_cpu, NR_SAMPLED);
	EXPECT_TRUE(record(100, true));
	for (p = 0; p < topo.nr; p++) {
		for (t = fresh_first(topo.pkg[p].id); t; t = fresh_next(t)) {
			if (t->kind != PKG_TRACE_REFRESH)
				continue;
			if (t->duration < (long long)BUDGET_NS)
				EXPECT_EQ(0, t->left);
		}
		find_slices(topo.pkg[p].id, NR_SAMPLED);
		EXPECT_LE(slices.incomplete, FEW(slices.passes));
	}
}

/* What the last package's timer does with reads that take @us longer */
static void watch_reads(struct __test_metadata *_metadata, int nr, int us, int interval)
{
	ASSERT_EQ(0, pkg_set(PKG_PARAM, "slow_read_us", us));
	ASSERT_EQ(0, fresh_set(FRESH_INTERVAL, interval));
	EXPECT_TRUE(record(100, false));
	find_slices(topo.pkg[topo.nr - 1].id, nr);
	TH_LOG("%d us a read: %d slices, median %llu counters, share %.3f", us, slices.nr,
	       fresh_quantile(slices.counters, slices.nr, 50), slices.share);
	EXPECT_LE(slices.share, FRESH_CPU_PERCENT / 100. * 1.15);
	EXPECT_LE(slices.too_soon, SOME(slices.nr));
}

/* A slice ends with the read that goes beyond the budget, and the share holds anyway */
TEST_F_TIMEOUT(pkg_budget, slow_reads, 300)
{
	int nr = NR_SAMPLED, round;

	use_counters(_metadata, self, variant->of_cpu, nr);
	for (round = 0; round < 2; round++) {
		watch_reads(_metadata, nr, FRESH_BUDGET_US / 2, INTERVAL_US);
		EXPECT_LT(0, slices.partial);
		EXPECT_GE(2, fresh_quantile(slices.counters, slices.nr, 50));

		watch_reads(_metadata, nr, 4 * FRESH_BUDGET_US, INTERVAL_US);
		EXPECT_LT(0, slices.partial);
		EXPECT_EQ(1, fresh_quantile(slices.counters, slices.nr, 50));

		watch_reads(_metadata, nr, 0, 10000);
		EXPECT_LT(1, fresh_quantile(slices.counters, slices.nr, 50));
	}
}

TEST_HARNESS_MAIN
