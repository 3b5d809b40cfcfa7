// SPDX-License-Identifier: GPL-2.0
/*
 * What perf costs where no PMU with ->count() is in sight: reads, samples, page
 * faults and context switches with software events. Run it on a kernel with and on one without
 * the series, with nothing else to do: the difference is what the series costs
 * everybody. On an emulator that counts instructions 1 ns is one of them.
 * "--pkg" measures context switches with events of pkg_clock as well.
 *
 * CSV on stdout: what,value,unit
 */
#define _GNU_SOURCE

#include <sys/mount.h>

#include "pkg_bench.h"
#include "pkg_puppet.h"

#define LOOPS		1000
#define PAGES		256
#define RING_PAGES	64
#define GROUP		4
#define EVENTS		8

static int bench_open(__u64 config, pid_t pid, int cpu, int leader, struct perf_event_attr attr)
{
	attr.type = PERF_TYPE_SOFTWARE;
	attr.size = sizeof(attr);
	attr.config = config;
	return syscall(__NR_perf_event_open, &attr, pid, cpu, leader, 0);
}

/* Prints the median of LOOPS reads */
static int bench_read(const char *what, int fd)
{
	static __u64 ns[LOOPS];
	__u64 buf[3 + GROUP], start;
	int i;

	if (fd < 0)
		return -1;
	for (i = 0; i < LOOPS; i++) {
		start = pkg_now(CLOCK_MONOTONIC_RAW);
		if (read(fd, buf, sizeof(buf)) < 0)
			return -1;
		ns[i] = pkg_now(CLOCK_MONOTONIC_RAW) - start;
	}
	qsort(ns, LOOPS, sizeof(ns[0]), bench_by_value);
	printf("%s,%llu,ns\n", what, ns[LOOPS / 2]);
	close(fd);
	return 0;
}

static int bench_reads(void)
{
	struct perf_event_attr attr = { 0 };

	return bench_read("read of one's own task",
			  bench_open(PERF_COUNT_SW_TASK_CLOCK, 0, -1, -1, attr)) ?:
	       bench_read("read of one's own CPU",
			  bench_open(PERF_COUNT_SW_CPU_CLOCK, -1, 0, -1, attr));
}

static int bench_group(void)
{
	struct perf_event_attr attr = { .read_format = PERF_FORMAT_GROUP };
	int fd[GROUP], ret, i;

	fd[0] = bench_open(PERF_COUNT_SW_TASK_CLOCK, 0, -1, -1, attr);
	for (i = 1; i < GROUP; i++) {
		fd[i] = bench_open(PERF_COUNT_SW_PAGE_FAULTS, 0, -1, fd[0], attr);
		if (fd[i] < 0)
			return -1;
	}
	ret = bench_read("read of a group of 4", fd[0]);
	while (--i)
		close(fd[i]);
	return ret;
}

/* What a page fault takes, the fastest of ten rounds */
static __u64 fault_ns(void)
{
	__u64 start, ns, best = ~0ULL;
	char *mem;
	int i, p;

	for (i = 0; i < 10; i++) {
		mem = mmap(NULL, PAGES * 4096, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (mem == MAP_FAILED)
			return 0;
		start = pkg_now(CLOCK_MONOTONIC_RAW);
		for (p = 0; p < PAGES; p++)
			mem[p * 4096] = 1;
		ns = (pkg_now(CLOCK_MONOTONIC_RAW) - start) / PAGES;
		munmap(mem, PAGES * 4096);
		if (ns < best)
			best = ns;
	}
	return best;
}

/* Page faults: counted, and each a sample with all counts of a group */
static int bench_faults(void)
{
	struct perf_event_attr attr = {
		.read_format	= PERF_FORMAT_GROUP,
		.sample_type	= PERF_SAMPLE_READ | PERF_SAMPLE_TIME,
		.sample_period	= 1,
	};
	int leader, member;
	void *ring;

	printf("page fault,%llu,ns\n", fault_ns());
	leader = bench_open(PERF_COUNT_SW_PAGE_FAULTS, 0, -1, -1, attr);
	ring = mmap(NULL, (1 + RING_PAGES) * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, leader, 0);
	attr.sample_period = 0;
	member = bench_open(PERF_COUNT_SW_TASK_CLOCK, 0, -1, leader, attr);
	if (leader < 0 || ring == MAP_FAILED || member < 0)
		return -1;
	printf("page fault with a sample of a group,%llu,ns\n", fault_ns());
	close(member);
	munmap(ring, (1 + RING_PAGES) * 4096);
	close(leader);
	return 0;
}

/*
 * Two tasks on this CPU that wake each other: prints what a turn of both takes. One of
 * them has @nr events. If both had the same, inherited, ones, perf would leave them where
 * they are and swap the tasks' contexts.
 */
static int bench_switch(const char *what, struct perf_event_attr attr, int nr)
{
	int fd[EVENTS], to[2], from[2], i;
	__u64 start = 0;
	char c = 0;
	pid_t pid;

	if (pipe(to) || pipe(from))
		return -1;
	pid = fork();
	if (pid < 0)
		return -1;
	if (!pid) {
		close(to[1]);
		while (read(to[0], &c, 1) == 1 && write(from[1], &c, 1) == 1)
			;
		_exit(0);
	}
	for (i = 0; i < nr; i++) {
		fd[i] = syscall(__NR_perf_event_open, &attr, 0, -1, -1, 0);
		if (fd[i] < 0)
			return -1;
	}
	for (i = 0; i < 2 * LOOPS; i++) {
		/* The first half is there to get warm */
		if (i == LOOPS)
			start = pkg_now(CLOCK_MONOTONIC_RAW);
		if (write(to[1], &c, 1) != 1 || read(from[0], &c, 1) != 1)
			return -1;
	}
	start = (pkg_now(CLOCK_MONOTONIC_RAW) - start) / LOOPS;
	if (nr)
		printf("two context switches with %d x %s,%llu,ns\n", nr, what, start);
	else
		printf("two context switches,%llu,ns\n", start);
	while (nr)
		close(fd[--nr]);
	close(to[0]);
	close(to[1]);
	waitpid(pid, NULL, 0);
	close(from[0]);
	close(from[1]);
	return 0;
}

/* Where there is the PMU: it wants resctrl, and counts children as well. */
static int bench_resctrl(void)
{
	struct perf_event_attr attr = {
		.type		= pkg_get(PKG_DEVICES "resctrl_task/", "type"),
		.size		= sizeof(attr),
		.config		= 2,
		.inherit	= 1,
	};
	int ret;

	if (access(PKG_DEVICES "resctrl_task", F_OK))
		return 0;
	if (mount("resctrl", "/sys/fs/resctrl", "resctrl", 0, NULL))
		return -1;
	ret = bench_switch("resctrl_task/total_bytes/", attr, 1) ||
	      bench_switch("resctrl_task/total_bytes/", attr, EVENTS);
	umount("/sys/fs/resctrl");
	return ret;
}

static int bench_switches(bool pkg)
{
	struct perf_event_attr attr = {
		.type	= PERF_TYPE_SOFTWARE,
		.size	= sizeof(attr),
		.config	= PERF_COUNT_SW_TASK_CLOCK,
	};

	if (bench_switch(NULL, attr, 0) || bench_switch("task-clock", attr, 1) ||
	    bench_switch("task-clock", attr, EVENTS))
		return -1;
	if (!pkg)
		return 0;
	attr = pkg_attr(PKG_RUNTIME, PKG_ALL);
	attr.disabled = 0;
	return bench_switch("pkg_clock/runtime/", attr, 1) ||
	       bench_switch("pkg_clock/runtime/", attr, EVENTS) || bench_resctrl();
}

static int bench_remote(void)
{
	struct perf_event_attr attr = { 0 };
	int cpu = sysconf(_SC_NPROCESSORS_ONLN) - 1;

	if (!cpu)
		return 0;
	return bench_read("read on another CPU",
			  bench_open(PERF_COUNT_SW_CPU_CLOCK, -1, cpu, -1, attr));
}

int main(int argc, char *argv[])
{
	bool pkg = argc == 2 && !strcmp(argv[1], "--pkg");
	const char *error = NULL;

	if (argc != 1 + pkg) {
		fprintf(stderr, "Usage: %s [--pkg]\n", argv[0]);
		return KSFT_FAIL;
	}
	if (pkg)
		error = pkg_init(1);
	if (error) {
		fprintf(stderr, "%s\n", error);
		return KSFT_SKIP;
	}
	if (pkg_pin(0)) {
		fprintf(stderr, "cannot run on CPU 0\n");
		return KSFT_SKIP;
	}
	puts("what,value,unit");
	if (bench_reads() || bench_group() || bench_remote() || bench_faults() ||
	    bench_switches(pkg)) {
		fprintf(stderr, "perf_event_open or read: %s\n", strerror(errno));
		return KSFT_FAIL;
	}
	return KSFT_PASS;
}
