// SPDX-License-Identifier: GPL-2.0
/*
 * What it takes to read all energy counters of a machine, as a monitor does again
 * and again from one CPU: time on that CPU, interrupts and (on an emulator that
 * counts them) instructions on the CPUs of the other packages. Run it on a kernel
 * with and on one without package-scope counters; with them also with a timer.
 *
 * CSV on stdout: how,target,domains,events,what,value,unit
 */
#define _GNU_SOURCE

#include "pkg_bench.h"
#include "pkg_puppet.h"

#define POWER		"/sys/bus/event_source/devices/power/"
#define MAX_FDS		(PKG_MAX_CPUS * 5)
#define SWEEPS		100
/* Between two sweeps: long enough for values to get old */
#define PAUSE_US	10000
#define INTERVAL_US	10000

static const char * const names[] = {
	"energy-cores", "energy-pkg", "energy-ram", "energy-gpu", "energy-psys",
};

static struct {
	/* One CPU of each domain: the first is the reader's */
	int	cpu[PKG_MAX_CPUS];
	int	nr_domains;
	int	fd[MAX_FDS];
	int	nr_fds;
	bool	others[PKG_MAX_CPUS];
} bench;

static int find_cpus(void)
{
	FILE *file = fopen(POWER "cpumask", "re");
	int first, last;
	char sep;

	if (!file)
		return -errno;
	while (bench.nr_domains < PKG_MAX_CPUS && fscanf(file, "%d", &first) == 1) {
		last = first;
		if (fscanf(file, "%c", &sep) == 1 && sep == '-' &&
		    fscanf(file, "%d%c", &last, &sep) < 1)
			break;
		for (; first <= last && bench.nr_domains < PKG_MAX_CPUS; first++) {
			if (first >= PKG_MAX_CPUS)
				break;
			bench.others[first] = bench.nr_domains > 0;
			bench.cpu[bench.nr_domains++] = first;
		}
	}
	fclose(file);
	return bench.nr_domains ? 0 : -ENODEV;
}

/* All kinds of events on all packages, as perf stat -a does */
static int open_events(void)
{
	struct perf_event_attr attr = {
		.type	= pkg_get(POWER, "type"),
		.size	= sizeof(attr),
	};
	char path[PATH_MAX];
	int d, fd;

	for (d = 0; d < bench.nr_domains; d++) {
		for (attr.config = 1; attr.config <= ARRAY_SIZE(names); attr.config++) {
			snprintf(path, sizeof(path), POWER "events/%s", names[attr.config - 1]);
			if (access(path, F_OK))
				continue;
			fd = pkg_open(attr, -1, bench.cpu[d], -1);
			if (fd < 0)
				return fd;
			bench.fd[bench.nr_fds++] = fd;
		}
	}
	return bench.nr_fds ? 0 : -ENOENT;
}

static int sweep(void)
{
	__u64 val;
	int i;

	for (i = 0; i < bench.nr_fds; i++)
		if (read(bench.fd[i], &val, sizeof(val)) != sizeof(val))
			return -errno;
	return 0;
}

static void print(const char *how, const char *target, const char *what, double value,
		  const char *unit)
{
	printf("%s,%s,%d,%d,%s,%g,%s\n", how, target, bench.nr_domains, bench.nr_fds, what, value,
	       unit);
}

static int measure(const char *how, const char *target)
{
	long long irqs = 0, ins = 0, irqs_before, ins_before;
	static __u64 ns[SWEEPS];
	int i, err;

	for (i = 0; i < SWEEPS; i++) {
		usleep(PAUSE_US);
		irqs_before = bench_interrupts(bench.others);
		ins_before = bench_instructions(bench.others);
		ns[i] = pkg_now(CLOCK_MONOTONIC_RAW);
		err = sweep();
		if (err)
			return err;
		ns[i] = pkg_now(CLOCK_MONOTONIC_RAW) - ns[i];
		ins += bench_instructions(bench.others) - ins_before;
		irqs += bench_interrupts(bench.others) - irqs_before;
	}
	qsort(ns, SWEEPS, sizeof(ns[0]), bench_by_value);
	print(how, target, "reader", ns[SWEEPS / 2], "ns");
	print(how, target, "interrupts", (double)irqs / SWEEPS, "per sweep");
	if (bench_msr >= 0 && !strcmp(target, "idle"))
		print(how, target, "elsewhere", (double)ins / SWEEPS, "instructions");
	return 0;
}

/* The CPU of each other package that is asked, idle and with a task on it */
static int measure_targets(const char *how)
{
	struct puppet p[PKG_MAX_CPUS];
	int d, err;

	err = measure(how, "idle");
	for (d = 1; d < bench.nr_domains && !err; d++) {
		err = puppet_new(&p[d]);
		if (!err)
			err = puppet_call(&p[d], pkg_pin, bench.cpu[d]) ?:
			      puppet_start(&p[d], pkg_spin, 0);
	}
	if (!err)
		err = measure(how, "busy");
	pkg_stop(1);
	while (--d > 0)
		puppet_end(&p[d]);
	pkg_stop(0);
	return err;
}

int main(void)
{
	long long interval;
	int err;

	err = find_cpus();
	if (err) {
		fprintf(stderr, "no PMU power, or it has no cpumask: %s\n", strerror(-err));
		return KSFT_SKIP;
	}
	if (pkg_pin(bench.cpu[0]) || pkg_share()) {
		fprintf(stderr, "cannot run on CPU %d\n", bench.cpu[0]);
		return KSFT_SKIP;
	}
	bench_open_msr(bench.cpu[0]);
	err = open_events();
	if (err) {
		fprintf(stderr, "perf_event_open: %s\n", strerror(-err));
		return err == -EACCES ? KSFT_SKIP : KSFT_FAIL;
	}

	puts("how,target,domains,events,what,value,unit");
	err = measure_targets("default");
	interval = pkg_get(POWER, "refresh_interval_us");
	if (!err && interval > 0) {
		err = pkg_set(POWER, "refresh_interval_us", INTERVAL_US) ?:
		      pkg_set_str(POWER, "max_age_us", "off") ?: measure_targets("timer");
		pkg_set_str(POWER, "max_age_us", "1000");
		pkg_set(POWER, "refresh_interval_us", interval);
	}
	if (err)
		fprintf(stderr, "%s\n", strerror(-err));
	return err ? KSFT_FAIL : KSFT_PASS;
}
