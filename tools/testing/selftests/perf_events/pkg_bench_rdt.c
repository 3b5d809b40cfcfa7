// SPDX-License-Identifier: GPL-2.0
/*
 * What it takes to read cache occupancy and memory bandwidth of many groups of resctrl in
 * all L3s, as a monitor does again and again from one CPU:
 *
 *   events		read(2) of an event per group, kind and L3, at the default knobs
 *   events-slow	the same while the timer, which is paid for beside, hardly runs
 *   events-fresh	the same with max_age_us, nothing older than 1 ms
 *   mon_data		the files of resctrl, which stay open, without any event
 *
 * For one sweep over all of them:
 *
 *   reader		time
 *   here		instructions on the reader's CPU
 *   interrupts		that the CPUs of the other L3s had, of any kind
 *   calls, reschedules	interrupts that other CPUs sent them
 *   elsewhere		instructions on these CPUs, if they are idle
 *   wake-ups		of these CPUs, if they are idle
 *
 * and for the timer, while nobody reads: its passes, the longest time that one slice kept
 * interrupts off, and what it is to the other L3s, if they are idle. Only an emulator
 * tells instructions, see pkg_bench.h.
 *
 * Run without option this is a short test of what must hold on every machine with RDT.
 * "--csv" measures. A kernel without these events has only the files to be measured.
 */
#define _GNU_SOURCE

#include <sys/resource.h>

#include "pkg_rdt.h"

#define NR_GROUPS	100
#define MAX_FDS		(NR_GROUPS * RDT_EVENTS * PKG_MAX)
#define SWEEPS		20
#define TRACED		5
/* Between two sweeps: longer than the interval, so that all values are new */
#define PAUSE_US	20000
#define SLOW_US		1000000
#define FRESH_US	1000
#define TIMER_US	1000000
#define MAX_SLICES	20000

/* Smoke test */
#define SMOKE_GROUPS	10
#define SMOKE_US	200000
#define READ_NS		(5 * NSEC_PER_USEC)

enum { HERE, ELSEWHERE, INTERRUPTS, CALLS, RESCHEDULES, NR_COUNTS };

static const char * const count_names[NR_COUNTS][2] = {
	[HERE]		= { "here", "instructions" },
	[ELSEWHERE]	= { "elsewhere", "instructions" },
	[INTERRUPTS]	= { "interrupts", "per sweep" },
	[CALLS]		= { "calls", "per sweep" },
	[RESCHEDULES]	= { "reschedules", "per sweep" },
};

static struct {
	int	nr_groups;
	/* What a sweep reads: events, or files from their start */
	int	fd[MAX_FDS];
	int	nr_fds;
	bool	files;
	bool	here[PKG_MAX_CPUS];
	bool	others[PKG_MAX_CPUS];
	/* One on the first CPU of each other L3: that is the one that is asked */
	struct puppet p[PKG_MAX];
	int	nr_puppets;
} bench;

/* What there is to read */

static void group_dir(char *dir, size_t size, int group)
{
	snprintf(dir, size, RDT_GROUPS "pkg_bench_%d", group);
}

/* As many as there are RMIDs for */
static int make_groups(int nr)
{
	char dir[64];

	for (; bench.nr_groups < nr; bench.nr_groups++) {
		group_dir(dir, sizeof(dir), bench.nr_groups);
		if (mkdir(dir, 0755))
			break;
	}
	return bench.nr_groups ? 0 : -errno;
}

static int open_event(int group, enum rdt_event event, int domain)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%sevents/%s", rdt.pmu, rdt_names[event]);
	if (access(path, F_OK))
		return -ENOENT;
	group_dir(path, sizeof(path), group);
	return rdt_open_event(event, path, topo.pkg[domain].cpu[0]);
}

static int open_file(int group, enum rdt_event event, int domain)
{
	char path[PATH_MAX];
	int fd, len;

	group_dir(path, sizeof(path), group);
	len = strlen(path);
	snprintf(path + len, sizeof(path) - len, "/mon_data/mon_L3_%02d/%s",
		 topo.pkg[domain].id, rdt_files[event]);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* All kinds that there are */
static int open_all(bool files)
{
	enum rdt_event event;
	int g, d, fd;

	bench.files = files;
	for (g = 0; g < bench.nr_groups; g++) {
		for (d = 0; d < topo.nr; d++) {
			for (event = RDT_OCCUPANCY; event < RDT_EVENTS; event++) {
				fd = files ? open_file(g, event, d) : open_event(g, event, d);
				if (fd == -ENOENT)
					continue;
				if (fd < 0)
					return fd;
				bench.fd[bench.nr_fds++] = fd;
			}
		}
	}
	return bench.nr_fds ? 0 : -ENOENT;
}

static void close_all(void)
{
	while (bench.nr_fds)
		close(bench.fd[--bench.nr_fds]);
}

static int sweep(void)
{
	char line[32];
	__u64 val;
	int i;

	for (i = 0; i < bench.nr_fds; i++) {
		if (bench.files) {
			if (pread(bench.fd[i], line, sizeof(line), 0) <= 0)
				return -errno;
		} else if (read(bench.fd[i], &val, sizeof(val)) != sizeof(val)) {
			return -errno;
		}
	}
	return 0;
}

/* What it takes */

static void print(const char *how, const char *target, const char *what, double value,
		  const char *unit)
{
	printf("%s,%s,%d,%d,%d,%s,%g,%s\n", how, target, topo.nr, bench.nr_groups, bench.nr_fds,
	       what, value, unit);
}

static long long irqs_of_others(const char *name)
{
	long long sum = 0;
	int d;

	for (d = 1; d < topo.nr; d++)
		sum += fresh_irqs(name, d);
	return sum;
}

static void get_interrupts(long long *count)
{
	count[INTERRUPTS] = bench_interrupts(bench.others);
	count[CALLS] = irqs_of_others("CAL");
	count[RESCHEDULES] = irqs_of_others("RES");
}

static void get_instructions(long long *count)
{
	count[ELSEWHERE] = bench_instructions(bench.others);
	count[HERE] = bench_instructions(bench.here);
}

/* One sweep, which adds to @sum; returns ns, or a negative error */
static long long measure_sweep(long long *sum)
{
	long long before[NR_COUNTS], after[NR_COUNTS], ns;
	int i, err;

	get_interrupts(before);
	get_instructions(before);
	ns = pkg_now(CLOCK_MONOTONIC_RAW);
	err = sweep();
	ns = pkg_now(CLOCK_MONOTONIC_RAW) - ns;
	get_instructions(after);
	get_interrupts(after);
	for (i = 0; i < NR_COUNTS; i++)
		sum[i] += after[i] - before[i];
	return err ?: ns;
}

static int measure(const char *how, const char *target)
{
	long long sum[NR_COUNTS] = {}, took;
	__u64 ns[SWEEPS];
	int i;

	for (i = 0; i < SWEEPS; i++) {
		usleep(PAUSE_US);
		took = measure_sweep(sum);
		if (took < 0)
			return took;
		ns[i] = took;
	}
	print(how, target, "reader", fresh_quantile(ns, SWEEPS, 50), "ns");
	for (i = 0; i < NR_COUNTS; i++) {
		if ((i == HERE && bench_msr < 0) ||
		    (i == ELSEWHERE && (bench_msr < 0 || strcmp(target, "idle"))))
			continue;
		print(how, target, count_names[i][0], (double)sum[i] / SWEEPS, count_names[i][1]);
	}
	return 0;
}

/* In the trace of cpu_idle: others that left their idle loop */
static int count_wakeups(void)
{
	FILE *file = fopen(PKG_TRACEFS "trace", "re");
	char line[512];
	int nr = 0, cpu;

	while (file && fgets(line, sizeof(line), file)) {
		if (!strstr(line, ": cpu_idle: state=4294967295"))
			continue;
		cpu = pkg_trace_field(line, " cpu_id=");
		nr += cpu >= 0 && cpu < PKG_MAX_CPUS && bench.others[cpu];
	}
	if (file)
		fclose(file);
	return nr;
}

/* Apart from the rest, as tracing is work for them */
static int measure_wakeups(const char *how)
{
	int i, err = 0, nr = 0;

	if (pkg_trace_open_kinds(0) || pkg_set(PKG_TRACEFS, "events/power/cpu_idle/enable", 1)) {
		fprintf(stderr, "# no trace of idle CPUs\n");
		return 0;
	}
	for (i = 0; i < TRACED && !err; i++) {
		pkg_set(PKG_TRACEFS, "tracing_on", 0);
		close(open(PKG_TRACEFS "trace", O_WRONLY | O_TRUNC | O_CLOEXEC));
		usleep(PAUSE_US);
		pkg_set(PKG_TRACEFS, "tracing_on", 1);
		err = sweep();
		pkg_set(PKG_TRACEFS, "tracing_on", 0);
		nr += count_wakeups();
	}
	pkg_trace_close();
	print(how, "idle", "wake-ups", (double)nr / TRACED, "per sweep");
	return err;
}

static int make_busy(void)
{
	struct puppet *p;
	int d, err = 0;

	for (d = 1; d < topo.nr && !err; d++) {
		p = &bench.p[bench.nr_puppets];
		err = puppet_new(p);
		if (err)
			break;
		bench.nr_puppets++;
		err = puppet_call(p, pkg_pin, topo.pkg[d].cpu[0]) ?: puppet_start(p, pkg_spin, 0);
	}
	return err;
}

static void make_idle(void)
{
	pkg_stop(1);
	while (bench.nr_puppets)
		puppet_end(&bench.p[--bench.nr_puppets]);
	pkg_stop(0);
}

static int measure_targets(const char *how)
{
	int err;

	err = measure(how, "idle") ?: measure_wakeups(how);
	if (!err)
		err = make_busy() ?: measure(how, "busy");
	make_idle();
	return err;
}

/* The timer */

static struct {
	int	slices;
	int	passes;
	int	overruns;
	/* Passes that looked at another number of counters */
	int	incomplete;
	__u64	slice[MAX_SLICES];
	__u64	pass[MAX_SLICES];
} timers;

/* From the first pass of the domain of which the beginning is in the trace */
static void find_passes(int domain, int counters)
{
	FILE *file = fopen(PKG_TRACEFS "trace", "re");
	char pmu[80], line[512], *name, *at;
	int in_pass = -1;
	__u64 ns;

	snprintf(line, sizeof(line), "%s", rdt.pmu);
	name = basename(line);
	snprintf(pmu, sizeof(pmu), "pmu=%s domain=%d ", name, topo.pkg[domain].id);
	while (file && fgets(line, sizeof(line), file) && timers.slices < MAX_SLICES) {
		at = strstr(line, ": perf_pkg_refresh: ");
		if (!at || !strstr(at, pmu))
			continue;
		ns = pkg_trace_field(at, " duration_ns=");
		timers.slice[timers.slices++] = ns;
		timers.overruns += pkg_trace_field(at, " overruns=");
		if (in_pass >= 0) {
			timers.pass[timers.passes] += ns;
			in_pass += pkg_trace_field(at, " counters=");
		}
		if (pkg_trace_field(at, " left="))
			continue;
		if (in_pass >= 0) {
			timers.incomplete += in_pass != counters;
			timers.passes++;
		}
		in_pass = 0;
	}
	/* The last pass is not over */
	timers.pass[timers.passes] = 0;
	if (file)
		fclose(file);
}

/* Of all domains; returns NULL, or why not */
static const char *trace_timers(int us)
{
	const char *why = pkg_trace_open();
	int d;

	if (why)
		return why;
	pkg_trace_start();
	usleep(us);
	pkg_set(PKG_TRACEFS, "tracing_on", 0);
	memset(&timers, 0, sizeof(timers));
	for (d = 0; d < topo.nr; d++)
		find_passes(d, bench.nr_fds / topo.nr);
	pkg_trace_close();
	return NULL;
}

/* What happens on the CPUs of the other L3s, a second, in each */
static void measure_quiet(double *irqs, double *ins)
{
	*irqs = bench_interrupts(bench.others);
	*ins = bench_instructions(bench.others);
	usleep(TIMER_US);
	*ins = (bench_instructions(bench.others) - *ins) / (topo.nr - 1);
	*irqs = (bench_interrupts(bench.others) - *irqs) / (topo.nr - 1);
}

static void print_timer(const char *what, double value, const char *unit)
{
	print("timer", "idle", what, value, unit);
}

/* @irqs and @ins: without the events */
static void measure_timer(double irqs, double ins)
{
	double with_irqs, with_ins, passes = TIMER_US / atof(fresh_saved[FRESH_INTERVAL]);
	const char *why;

	measure_quiet(&with_irqs, &with_ins);
	print_timer("interrupts", with_irqs - irqs, "per second and L3");
	if (bench_msr >= 0)
		print_timer("instructions", (with_ins - ins) / passes, "per pass and L3");
	why = trace_timers(TIMER_US);
	if (why) {
		fprintf(stderr, "# %s\n", why);
		return;
	}
	print_timer("passes", (double)timers.passes / topo.nr, "per second and L3");
	print_timer("overruns", timers.overruns, "");
	print_timer("slices", (double)timers.slices / topo.nr, "per second and L3");
	print_timer("median pass", fresh_quantile(timers.pass, timers.passes, 50), "ns");
	print_timer("median slice", fresh_quantile(timers.slice, timers.slices, 50), "ns");
	print_timer("99% of slices", fresh_quantile(timers.slice, timers.slices, 99), "ns");
	print_timer("longest slice", fresh_quantile(timers.slice, timers.slices, 100), "ns");
	print_timer("budget", FRESH_BUDGET_US * NSEC_PER_USEC, "ns");
}

/* As far as counters that wrap let it */
static int slow_timer(void)
{
	int us, err = -EINVAL;

	for (us = SLOW_US; err && us > PAUSE_US; us /= 2)
		err = rdt_set(FRESH_INTERVAL, us);
	return err;
}

static int bench_events(void)
{
	double irqs, ins;
	int err;

	measure_quiet(&irqs, &ins);
	err = open_all(false);
	if (err)
		return err;
	measure_timer(irqs, ins);
	err = measure_targets("events") ?:
	      slow_timer() ?: measure_targets("events-slow") ?:
	      rdt_set_str(FRESH_INTERVAL, fresh_saved[FRESH_INTERVAL]) ?:
	      rdt_set(FRESH_MAX_AGE, FRESH_US) ?: measure_targets("events-fresh") ?:
	      rdt_set_str(FRESH_MAX_AGE, fresh_saved[FRESH_MAX_AGE]);
	close_all();
	return err;
}

static int bench_files(void)
{
	int err;

	err = open_all(true) ?: measure_targets("mon_data");
	close_all();
	return err;
}

/* The smoke test */

static bool no_calls(void)
{
	long long sum[NR_COUNTS] = {};

	usleep(PAUSE_US);
	if (measure_sweep(sum) < 0)
		return false;
	ksft_print_msg("%d reads: %lld calls, %lld interrupts elsewhere\n", bench.nr_fds,
		       sum[CALLS], sum[INTERRUPTS]);
	return !sum[CALLS];
}

/* Of the L3s that are not the reader's */
static bool interrupt_per_file(void)
{
	long long sum[NR_COUNTS] = {};
	int nr = bench.nr_fds / topo.nr * (topo.nr - 1);

	if (measure_sweep(sum) < 0)
		return false;
	ksft_print_msg("%d files of others: %lld interrupts there\n", nr, sum[INTERRUPTS]);
	return sum[INTERRUPTS] >= nr / 2;
}

static bool passes_and_slices(void)
{
	__u64 slice, budget = FRESH_BUDGET_US * NSEC_PER_USEC;
	const char *why = trace_timers(SMOKE_US);

	if (why) {
		ksft_print_msg("%s\n", why);
		return false;
	}
	slice = fresh_quantile(timers.slice, timers.slices, 50);
	ksft_print_msg("%d passes, %d incomplete, slice: %llu ns, longest %llu ns, budget %llu\n",
		       timers.passes, timers.incomplete, slice,
		       fresh_quantile(timers.slice, timers.slices, 100), budget);
	return timers.passes >= topo.nr && timers.incomplete <= timers.passes / 50 &&
	       slice <= budget + budget / 2 + READ_NS;
}

static void smoke(void)
{
	ksft_set_plan(6);
	ksft_print_msg("%d groups, %d L3s\n", bench.nr_groups, topo.nr);
	ksft_test_result(!open_all(false), "events of all groups\n");
	ksft_test_result(!sweep(), "they can be read\n");
	ksft_test_result(PKG_RETRY(passes_and_slices()), "the timer reads all, in its budget\n");
	ksft_test_result(PKG_RETRY(no_calls()), "read(2) calls no other CPU\n");
	close_all();

	ksft_test_result(!open_all(true) && !sweep(), "files of all groups can be read\n");
	/* An idle CPU may be woken without an interrupt */
	ksft_test_result(!make_busy() && PKG_RETRY(interrupt_per_file()),
			 "mon_data: interrupts in other L3s\n");
	make_idle();
	close_all();
}

/* Returns NULL, or why there is nothing to measure here */
static const char *setup(int nr_groups)
{
	struct rlimit many = { 65536, 65536 };
	int d, i;

	if (geteuid())
		return "needs root";
	rdt_find_domains();
	if (topo.nr < 2)
		return "needs more L3s";
	if (pkg_pin(topo.pkg[0].cpu[0]) || pkg_share() || setrlimit(RLIMIT_NOFILE, &many))
		return "cannot run here";
	bench.here[topo.pkg[0].cpu[0]] = true;
	for (d = 1; d < topo.nr; d++)
		for (i = 0; i < topo.pkg[d].nr_cpus; i++)
			bench.others[topo.pkg[d].cpu[i]] = true;
	bench_open_msr(topo.pkg[0].cpu[0]);
	if (rdt_mount())
		return "resctrl cannot be mounted (again)";
	if (make_groups(nr_groups)) {
		rdt_umount();
		return "no group";
	}
	return NULL;
}

int main(int argc, char *argv[])
{
	bool csv = argc == 2 && !strcmp(argv[1], "--csv");
	bool short_run = argc == 1;
	const char *error, *no_pmu;
	int err = 0;

	if (!short_run && !csv) {
		fprintf(stderr, "Usage: %s [--csv]\n", argv[0]);
		return KSFT_FAIL;
	}
	if (short_run)
		ksft_print_header();
	no_pmu = rdt_find_pmu(RDT_PMU);
	if (short_run && no_pmu)
		ksft_exit_skip("%s\n", no_pmu);
	error = setup(short_run ? SMOKE_GROUPS : NR_GROUPS);
	if (error)
		ksft_exit_skip("%s\n", error);

	if (short_run) {
		smoke();
	} else {
		fprintf(stderr, "# %d groups: num_rmids is %lld\n", bench.nr_groups,
			pkg_get(RDT_FS "info/L3_MON/", "num_rmids"));
		puts("how,target,domains,groups,events,what,value,unit");
		err = (no_pmu ? 0 : bench_events()) ?: bench_files();
		if (err)
			fprintf(stderr, "%s\n", strerror(-err));
	}

	if (no_pmu)
		rdt_umount();
	else
		rdt_exit();
	if (short_run)
		ksft_finished();
	return err ? KSFT_FAIL : KSFT_PASS;
}
