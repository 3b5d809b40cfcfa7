/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What happens on a set of CPUs while somebody else is measured: interrupts, and
 * instructions where an emulator tells. Neither is asked for on these CPUs.
 */
#ifndef PKG_BENCH_H
#define PKG_BENCH_H

#include "pkg_clock.h"

/* For qsort() of times */
static inline int bench_by_value(const void *a, const void *b)
{
	const __u64 *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* Not architectural: instructions that a CPU of the emulator in vm/qemu executed */
#define BENCH_MSR_INSTRUCTIONS(cpu)	(0x52800000 | (cpu) << 12)

/* Of the reader's CPU; negative if there is no such counter */
static int bench_msr = -1;

/* The columns are the CPUs that are online; the words at the end of a row are no numbers */
static inline long long bench_interrupts_in_row(char *pos, const int *cpu, int nr,
						const bool *of_cpu)
{
	long long n, sum = 0;
	char *end;
	int i;

	for (i = 0; i < nr; i++, pos = end) {
		n = strtoll(pos, &end, 10);
		if (end == pos)
			break;
		sum += cpu[i] < PKG_MAX_CPUS && of_cpu[cpu[i]] ? n : 0;
	}
	return sum;
}

static inline long long bench_interrupts(const bool *of_cpu)
{
	FILE *file = fopen("/proc/interrupts", "re");
	char *line = NULL, *pos;
	int cpu[PKG_MAX_CPUS], nr = 0;
	long long sum = 0;
	size_t size = 0;

	if (!file || getline(&line, &size, file) < 0)
		ksft_exit_fail_msg("/proc/interrupts: %s\n", strerror(errno));
	for (pos = line; nr < PKG_MAX_CPUS && (pos = strstr(pos, "CPU")); nr++)
		cpu[nr] = strtol(pos + 3, &pos, 10);
	while (getline(&line, &size, file) > 0) {
		pos = strchr(line, ':');
		if (pos)
			sum += bench_interrupts_in_row(pos + 1, cpu, nr, of_cpu);
	}
	free(line);
	fclose(file);
	return sum;
}

static inline int bench_instructions_of(int cpu, __u64 *val)
{
	return pread(bench_msr, val, sizeof(*val), BENCH_MSR_INSTRUCTIONS(cpu)) == sizeof(*val) ?
	       0 : -errno;
}

static inline long long bench_instructions(const bool *of_cpu)
{
	long long sum = 0;
	__u64 val;
	int cpu;

	for (cpu = 0; bench_msr >= 0 && cpu < PKG_MAX_CPUS; cpu++)
		if (of_cpu[cpu] && !bench_instructions_of(cpu, &val))
			sum += val;
	return sum;
}

/* @cpu: the one that the caller stays on, where it can ask for all others */
static inline void bench_open_msr(int cpu)
{
	char path[64];
	__u64 val;

	snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
	bench_msr = open(path, O_RDONLY | O_CLOEXEC);
	if (bench_msr >= 0 && !bench_instructions_of(cpu, &val))
		return;
	fprintf(stderr, "# no instruction counter (%s): only an emulator has it\n",
		strerror(errno));
	if (bench_msr >= 0)
		close(bench_msr);
	bench_msr = -1;
}

#endif /* PKG_BENCH_H */
