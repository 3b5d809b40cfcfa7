// SPDX-License-Identifier: GPL-2.0
/*
 * What does it cost to read the counter of another package, and whom?
 *
 * One event per competitor, read from the first package, counts on the last
 * one. Tasks run there, or sleep, or keep interrupts off. What is measured:
 *
 *   reader, reader p90	time of one read, median and 90th percentile; what the clock
 *			takes is left out. The time between reads is random, so
 *			that they hit all phases of what the target does.
 *   interrupts		that one read causes on all other packages, as counted in
 *			/proc/interrupts. An idle CPU that waits in mwait is woken
 *			without one.
 *   instructions elsewhere
 *			that one read causes on all other packages. Only while
 *			these are idle, as a busy CPU executes instructions all the
 *			time; only in an emulator that tells.
 *
 * and for the kernel alone, by pkg_bench.ko, what count() and the plain loads
 * of as many values take.
 *
 * Run without option this is a short test of what must hold on every machine.
 * "--csv" measures all, "--count" the last part alone; both print CSV.
 */
#define _GNU_SOURCE

#define PKG_MAX		64
#define PKG_MAX_CPUS	128

#include <sys/mount.h>

#include "pkg_bench.h"
#include "pkg_puppet.h"

#define BENCH_PARAM	"/sys/module/pkg_bench/parameters/"
#define BENCH_LOOPS	100000
#define RESCTRL		"/sys/fs/resctrl"
#define MSR_PMU		"/sys/bus/event_source/devices/msr/"

#define SAMPLES		200
#define SAMPLES_NS	(400 * NSEC_PER_MSEC)
#define PAUSE_NS	NSEC_PER_MSEC
#define BLOCKS		10
#define BLOCK_READS	2000
#define BLOCK_NS	(20 * NSEC_PER_MSEC)

/* Smoke test */
#define SECTIONS	5
#define SECTION_MS	50
#define ENOUGH_READS	10
#define SMOKE_LOOPS	2000

enum target_state { IDLE, BUSY, IRQOFF, NR_STATES };

static const char * const state_names[NR_STATES] = { "idle", "busy", "irqoff" };

struct competitor {
	const char	*name;
	int		(*open)(const struct competitor *c, __u64 mask);
	int		policy;
	/* pkg_clock's event */
	int		event;
	/* Counts in the packages of a mask */
	bool		masked;
	/* On a CPU of the target, not on the reader's */
	bool		remote;
	/* Read from its start each time */
	bool		file;
};

enum { SLOTS, CACHED, IPI, SCOPE, SCOPE_SYS, DOMAIN, NR_POLICIES };

/* One task on each CPU of the last package */
static struct puppet puppets[PKG_MAX_CPUS];
static int nr_puppets, target_cpu;
static bool running;

/* The CPUs of all packages but the reader's */
static bool elsewhere[PKG_MAX_CPUS];
static bool mounted;

/* The target */

/* Interrupts are off for @ms at a time, on this CPU, until pkg_stop() */
static long keep_irqs_off(long ms)
{
	__u64 *sections = &shared->ended[sched_getcpu()];

	while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE)) {
		if (pkg_set(PKG_PARAM, "spin_irqoff_ms", ms))
			return -1;
		__atomic_fetch_add(sections, 1, __ATOMIC_RELEASE);
	}
	return 0;
}

static void target_start(long (*fn)(long arg), long arg)
{
	int i;

	pkg_stop(0);
	for (i = 0; i < nr_puppets; i++)
		puppet_start(&puppets[i], fn, arg);
	running = true;
}

static void target_idle(void)
{
	int i;

	pkg_stop(1);
	for (i = 0; running && i < nr_puppets; i++)
		puppet_wait(&puppets[i]);
	running = false;
}

static void target_set(enum target_state state)
{
	target_idle();
	if (state == BUSY)
		target_start(pkg_spin, 0);
	if (state == IRQOFF)
		target_start(keep_irqs_off, 1);
}

/* The competitors */

/* Runs on all packages but the reader's, the target last */
static long visit_packages(long unused)
{
	int i;

	for (i = 1; i < topo.nr; i++) {
		pkg_pin(topo.pkg[i].cpu[0]);
		pkg_burn(1000);
	}
	return unused;
}

/* The first puppet, which has run since, so that there is something to read everywhere */
static int open_task(const struct competitor *c, __u64 mask)
{
	struct perf_event_attr attr = pkg_attr(c->event | PKG_POLICY(c->policy), PKG_ALL);
	int fd;

	attr.config1 = mask;
	fd = pkg_open(attr, puppets[0].pid, -1, -1);
	if (fd >= 0 && !running)
		puppet_call(&puppets[0], visit_packages, 0);
	return fd;
}

static int open_cpu(const struct competitor *c, __u64 mask)
{
	struct perf_event_attr attr = pkg_attr(c->event | PKG_POLICY(c->policy), PKG_ALL);

	attr.config1 = c->masked ? mask : 0;
	return pkg_open(attr, -1, c->remote ? target_cpu : topo.pkg[0].cpu[0], -1);
}

static int open_domain(const struct competitor *c, __u64 mask)
{
	return pkg_open(pkg_domain_attr(c->event), -1, target_cpu, -1);
}

static int open_software(const struct competitor *c, __u64 mask)
{
	return pkg_open(pkg_sw_attr(PERF_COUNT_SW_CONTEXT_SWITCHES), 0, -1, -1);
}

static int open_tsc(const struct competitor *c, __u64 mask)
{
	struct perf_event_attr attr = { .size = sizeof(attr) };
	int type = pkg_get(MSR_PMU, "type");

	if (type < 0)
		return type;
	attr.type = type;
	return pkg_open(attr, -1, c->remote ? target_cpu : topo.pkg[0].cpu[0], -1);
}

static int open_resctrl(const struct competitor *c, __u64 mask)
{
	char path[128];
	int fd, l3;

	if (!mounted && access(RESCTRL "/mon_data", F_OK)) {
		if (mount("resctrl", RESCTRL, "resctrl", 0, NULL))
			return -errno;
		mounted = true;
	}
	snprintf(path, sizeof(path), "/sys/devices/system/cpu/cpu%d/cache/index3/", target_cpu);
	l3 = pkg_get(path, "id");
	snprintf(path, sizeof(path), RESCTRL "/mon_data/mon_L3_%02d/mbm_total_bytes", l3);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

static const struct competitor competitors[] = {
	[SLOTS]	    = { "slots", open_task, PKG_POLICY_SLOTS, PKG_RUNTIME, .masked = true },
	[CACHED]    = { "cached", open_task, PKG_POLICY_CACHED, PKG_RUNTIME, .masked = true },
	/* A level, of which the exact value is not known while the task sleeps */
	[IPI]	    = { "ipi", open_task, PKG_POLICY_IPI, PKG_CLOCK, .masked = true },
	[SCOPE]	    = { "scope", open_cpu, PKG_POLICY_SCOPE, PKG_RUNTIME, .remote = true },
	[SCOPE_SYS] = { "scope-sys", open_cpu, PKG_POLICY_SYS, PKG_RUNTIME, .masked = true },
	[DOMAIN]    = { "domain", open_domain, .event = PKG_BUSY, .remote = true },
	{ .name = "software",	.open = open_software },
	{ .name = "tsc-local",	.open = open_tsc },
	{ .name = "tsc-remote",	.open = open_tsc,	.remote = true },
	{ .name = "resctrl",	.open = open_resctrl,	.remote = true, .file = true },
};

static void do_read(const struct competitor *c, int fd)
{
	char buf[64];
	ssize_t len = c->file ? pread(fd, buf, sizeof(buf), 0) : read(fd, buf, sizeof(buf));

	if (len <= 0)
		ksft_exit_fail_msg("%s: %s\n", c->name, len ? strerror(errno) : "end of file");
}

/* The reader's time */

static void spin_ns(__u64 ns)
{
	__u64 begin = pkg_now(CLOCK_MONOTONIC_RAW);

	while (pkg_now(CLOCK_MONOTONIC_RAW) - begin < ns)
		;
}

/* Sorted, @ns[] of SAMPLES; returns how many. Without a competitor: what the clock takes. */
static int reader_ns(const struct competitor *c, int fd, __u64 *ns)
{
	__u64 start, begin = pkg_now(CLOCK_MONOTONIC_RAW);
	int n = 0;

	do {
		spin_ns(random() % PAUSE_NS);
		start = pkg_now(CLOCK_MONOTONIC_RAW);
		if (c)
			do_read(c, fd);
		ns[n] = pkg_now(CLOCK_MONOTONIC_RAW) - start;
	} while (++n < SAMPLES && start - begin < SAMPLES_NS);
	qsort(ns, n, sizeof(*ns), bench_by_value);
	return n;
}

/* What happens on other packages */

enum { INTERRUPTS, INSTRUCTIONS, NR_COUNTS };

static void snapshot(long long *count)
{
	count[INTERRUPTS] = bench_interrupts(elsewhere);
	count[INSTRUCTIONS] = bench_instructions(elsewhere);
}

/*
 * Reads for a while, then does nothing for as long. Adds to @diff[] by how much
 * more the first was; returns the number of reads.
 */
static int compare_blocks(const struct competitor *c, int fd, long long *diff)
{
	long long before[NR_COUNTS], read[NR_COUNTS], quiet[NR_COUNTS];
	__u64 begin, time;
	int reads = 0, i;

	snapshot(before);
	begin = pkg_now(CLOCK_MONOTONIC_RAW);
	do {
		do_read(c, fd);
		time = pkg_now(CLOCK_MONOTONIC_RAW) - begin;
	} while (++reads < BLOCK_READS && time < BLOCK_NS);
	snapshot(read);
	spin_ns(time);
	snapshot(quiet);

	for (i = 0; i < NR_COUNTS; i++)
		diff[i] += 2 * read[i] - before[i] - quiet[i];
	return reads;
}

/* The table */

static void row(const char *policy, const char *target, int packages, const char *what,
		double value, const char *unit)
{
	printf("%s,%s,%d,%s,%.3f,%s\n", policy, target, packages, what, value, unit);
}

/* The last @nr packages */
static __u64 last_packages(int nr)
{
	__u64 mask = 0;
	int i;

	for (i = topo.nr - nr; i < topo.nr; i++)
		mask |= 1ULL << topo.pkg[i].id;
	return mask;
}

/* 1, 2, 4, ... and all packages; 0: that was the last */
static int more_packages(int nr)
{
	if (nr == topo.nr)
		return 0;
	return 2 * nr < topo.nr ? 2 * nr : topo.nr;
}

static int bench_one(const struct competitor *c, enum target_state state, int packages, __u64 clock)
{
	int i, n, reads = 0, fd = c->open(c, last_packages(packages));
	const char *target = state_names[state];
	long long diff[NR_COUNTS] = { };
	__u64 ns[SAMPLES];

	if (fd < 0)
		return fd;
	n = reader_ns(c, fd, ns);
	for (i = 0; i < BLOCKS; i++)
		reads += compare_blocks(c, fd, diff);
	close(fd);

	row(c->name, target, packages, "reader", (double)ns[n / 2] - clock, "ns");
	row(c->name, target, packages, "reader p90", (double)ns[n * 9 / 10] - clock, "ns");
	row(c->name, target, packages, "interrupts", (double)diff[INTERRUPTS] / reads, "per read");
	if (bench_msr >= 0 && state == IDLE)
		row(c->name, target, packages, "instructions elsewhere",
		    (double)diff[INSTRUCTIONS] / reads, "per read");
	return 0;
}

/* With more packages than one where that makes a difference */
static void bench_competitor(const struct competitor *c, enum target_state state, __u64 clock)
{
	int packages, err;

	for (packages = 1; packages; packages = more_packages(packages)) {
		err = bench_one(c, state, packages, clock);
		if (err)
			fprintf(stderr, "# %s: %s\n", c->name, strerror(-err));
		if (err || !c->masked || state != IDLE)
			return;
	}
}

static void bench_reads(void)
{
	__u64 ns[SAMPLES], clock;
	enum target_state state;
	unsigned int i;

	clock = ns[reader_ns(NULL, -1, ns) / 2];
	row("none", "none", 0, "reader", clock, "ns");
	for (state = 0; state < NR_STATES; state++) {
		target_set(state);
		for (i = 0; i < ARRAY_SIZE(competitors); i++)
			bench_competitor(&competitors[i], state, clock);
	}
	target_idle();
}

/* In the kernel */

/* What @loops of count() and of the loads took */
struct kernel_cost {
	unsigned long long	ns[2];
	unsigned long long	cycles[2];
};

/* 0 packages: all, unselected */
static int bench_kernel(int packages, int loops, struct kernel_cost *cost)
{
	char buf[256] = "";
	int fd, len;

	snprintf(buf, sizeof(buf), "%lld %x %llx %d", pkg_get(PKG_PMU, "type"), PKG_RUNTIME,
		 packages ? (unsigned long long)last_packages(packages) : 0, loops);
	len = pkg_set_str(BENCH_PARAM, "count", buf);
	if (len)
		return len;
	fd = open(BENCH_PARAM "count", O_RDONLY | O_CLOEXEC);
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	buf[len > 0 ? len : 0] = 0;
	len = sscanf(buf, "packages %*u loops %*u count %llu ns %llu cycles loads %llu ns %llu",
		     &cost->ns[0], &cost->cycles[0], &cost->ns[1], &cost->cycles[1]);
	return len == 4 ? 0 : -EIO;
}

static int bench_count(const char * const *names, int packages)
{
	struct kernel_cost cost;
	int i, err;

	err = bench_kernel(packages, BENCH_LOOPS, &cost);
	if (err) {
		fprintf(stderr, "# pkg_bench.ko: %s\n", strerror(-err));
		return err;
	}
	for (i = 0; i < 2 && names[i]; i++) {
		row(names[i], "kernel", packages ?: topo.nr, "count",
		    (double)cost.ns[i] / BENCH_LOOPS, "ns");
		row(names[i], "kernel", packages ?: topo.nr, "count",
		    (double)cost.cycles[i] / BENCH_LOOPS, "cycles");
	}
	return 0;
}

static void bench_counts(void)
{
	static const char * const selected[] = { "slots", "loads" };
	static const char * const all[] = { "slots (all)", NULL };
	int packages;

	for (packages = 1; packages; packages = more_packages(packages)) {
		if (bench_count(selected, packages))
			return;
	}
	bench_count(all, 0);
}

/* The smoke test */

static bool opens_and_reads(const struct competitor *c)
{
	int fd = c->open(c, last_packages(1));

	if (fd < 0)
		return false;
	do_read(c, fd);
	close(fd);
	return true;
}

/* @fn(difference, reads) of some block */
static bool some_block(const struct competitor *c, bool (*fn)(long long diff, int reads))
{
	int fd = c->open(c, last_packages(1)), tries, reads = 0;
	long long diff[NR_COUNTS];
	bool done = false;

	for (tries = 0; !done && tries < 10 * PKG_TRIES; tries++) {
		memset(diff, 0, sizeof(diff));
		reads = compare_blocks(c, fd, diff);
		done = fn(diff[INTERRUPTS], reads);
	}
	close(fd);
	ksft_print_msg("%s: %lld interrupts more with %d reads, try %d\n", c->name,
		       diff[INTERRUPTS], reads, tries);
	return done;
}

static bool no_interrupt(long long diff, int reads)
{
	return diff <= 0;
}

static bool interrupt_per_read(long long diff, int reads)
{
	return diff >= reads / 2;
}

/* For each time that the first CPU has its interrupts off */
static int reads_per_section(const struct competitor *c)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	__u64 *sections = &shared->ended[target_cpu], last;
	int fd = c->open(c, last_packages(1)), reads = 0;

	last = __atomic_load_n(sections, __ATOMIC_ACQUIRE) + SECTIONS;
	while (__atomic_load_n(sections, __ATOMIC_ACQUIRE) < last &&
	       pkg_now(CLOCK_MONOTONIC) < end) {
		do_read(c, fd);
		reads++;
	}
	close(fd);
	ksft_print_msg("%s: %d reads while interrupts were off %d times\n", c->name, reads,
		       SECTIONS);
	/* Or they were not off */
	if (__atomic_load_n(sections, __ATOMIC_ACQUIRE) < last)
		return -ETIMEDOUT;
	return reads / SECTIONS;
}

static bool few(int reads)
{
	return reads >= 0 && reads < ENOUGH_READS;
}

/*
 * By the fastest of many measurements, in which nothing came in between. Some
 * steps may come to light sooner than others, so all are taken in turn.
 */
static bool count_grows(void)
{
	unsigned long long best[PKG_MAX + 1];
	struct kernel_cost cost;
	int packages, last, tries;
	bool grows = false;

	memset(best, 0xff, sizeof(best));
	for (tries = 0; tries < 10 * PKG_TRIES && !(grows && tries >= PKG_TRIES); tries++) {
		grows = true;
		for (packages = 1, last = 0; packages; packages = more_packages(packages)) {
			if (bench_kernel(packages, SMOKE_LOOPS, &cost))
				return false;
			if (cost.ns[0] < best[packages])
				best[packages] = cost.ns[0];
			grows &= !last || best[packages] > best[last];
			last = packages;
		}
	}
	ksft_print_msg("%d times count(): %llu ns with one package, %llu ns with %d, try %d\n",
		       SMOKE_LOOPS, best[1], best[topo.nr], topo.nr, tries);
	return grows;
}

static void smoke(void)
{
	const struct competitor *c, *slots = &competitors[SLOTS], *ipi = &competitors[IPI];

	ksft_set_plan(NR_POLICIES + 6);
	for (c = competitors; c < competitors + NR_POLICIES; c++)
		ksft_test_result(opens_and_reads(c), "%s: can be read\n", c->name);

	ksft_test_result(some_block(slots, no_interrupt), "slots: no interrupt elsewhere\n");
	ksft_test_result(some_block(&competitors[DOMAIN], no_interrupt),
			 "domain: no interrupt elsewhere\n");
	/* Busy, as an idle CPU may be woken without an interrupt */
	target_set(BUSY);
	ksft_test_result(some_block(ipi, interrupt_per_read), "ipi: one for each read\n");

	target_idle();
	target_start(keep_irqs_off, SECTION_MS);
	ksft_test_result(PKG_RETRY(reads_per_section(slots) > ENOUGH_READS),
			 "slots: read while interrupts are off\n");
	ksft_test_result(PKG_RETRY(few(reads_per_section(ipi))),
			 "ipi: waits while interrupts are off\n");
	target_idle();

	if (access(BENCH_PARAM, F_OK))
		ksft_test_result_skip("no pkg_bench.ko\n");
	else
		ksft_test_result(count_grows(), "count() of more packages takes longer\n");
}

/* The reader is on the first package */
static const char *setup(void)
{
	int i, j, last = topo.nr - 1, reader = topo.pkg[0].cpu[0];

	if (access(BENCH_PARAM, F_OK))
		pkg_load_module("pkg_bench");
	if (pkg_pin(reader))
		return "cannot run on the first package";
	bench_open_msr(reader);
	for (i = 1; i < topo.nr; i++)
		for (j = 0; j < topo.pkg[i].nr_cpus; j++)
			elsewhere[topo.pkg[i].cpu[j]] = true;

	target_cpu = topo.pkg[last].cpu[0];
	for (i = 0; i < topo.pkg[last].nr_cpus; i++) {
		if (puppet_new(&puppets[i]))
			return "no task";
		nr_puppets++;
		if (puppet_call(&puppets[i], pkg_pin, topo.pkg[last].cpu[i]))
			return "cannot run on the last package";
	}
	return NULL;
}

int main(int argc, char *argv[])
{
	bool count = argc == 2 && !strcmp(argv[1], "--count");
	bool csv = count || (argc == 2 && !strcmp(argv[1], "--csv"));
	bool short_run = argc == 1;
	const char *error = pkg_init(2);

	if (!short_run && !csv) {
		fprintf(stderr, "Usage: %s [--csv | --count]\n"
			"--csv: what reads cost, --count: what they do inside the kernel alone\n",
			argv[0]);
		return KSFT_FAIL;
	}
	if (short_run)
		ksft_print_header();
	if (error)
		ksft_exit_skip("%s\n", error);
	error = setup();
	if (error)
		ksft_exit_fail_msg("%s\n", error);

	if (short_run) {
		smoke();
	} else {
		printf("policy,target,packages,what,value,unit\n");
		if (!count)
			bench_reads();
		bench_counts();
	}

	if (mounted)
		umount(RESCTRL);
	while (nr_puppets)
		puppet_end(&puppets[--nr_puppets]);
	if (short_run)
		ksft_finished();
	return KSFT_PASS;
}
