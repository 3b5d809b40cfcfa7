/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Model-specific registers, and some that are not architectural: with them an emulator
 * reports the true values of its counters of packages, dies and L3s. They can be read
 * on any CPU without touching the domain in question, and let a test set what a counter
 * shows or have it fail.
 */
#ifndef PKG_MSR_H
#define PKG_MSR_H

#include "pkg_puppet.h"

/* What is in the middle of the address of a test MSR */
enum msr_item {
	MSR_OCCUPANCY	= 1,
	MSR_TOTAL,
	MSR_LOCAL,
	MSR_PKG,
	MSR_CORES,
	MSR_RAM,
	MSR_RDT_FAULT	= 14,
	MSR_RAPL_FAULT,
};

#define TEST_MSR_RMID(item, id, rmid)	(0x52000000U | (item) << 20 | (id) << 12 | (rmid))
#define TEST_MSR(item, id)		TEST_MSR_RMID(item, id, 0)

static int msr_fd = -1;

static inline int msr_read(__u32 msr, __u64 *val)
{
	return pread64(msr_fd, val, sizeof(*val), msr) == sizeof(*val) ? 0 : -errno;
}

static inline int msr_write(__u32 msr, __u64 val)
{
	return pwrite64(msr_fd, &val, sizeof(val), msr) == sizeof(val) ? 0 : -errno;
}

static inline __u64 msr_truth(__u32 msr)
{
	__u64 val;

	if (msr_read(msr, &val))
		ksft_exit_fail_msg("the truth cannot be read: %s\n", strerror(errno));
	return val;
}

/* Stays on this CPU from now on, where its MSRs take no interrupt */
static inline int msr_open(int cpu)
{
	char path[64];

	snprintf(path, sizeof(path), "/dev/cpu/%d/msr", cpu);
	msr_fd = open(path, O_RDWR | O_CLOEXEC);
	if (msr_fd < 0)
		return -errno;
	return pkg_pin(cpu) ? -errno : 0;
}

/* Elsewhere an MSR that is not there reads 0 or fails: never both */
static inline bool msr_is_emulator(void)
{
	__u64 val;

	return !msr_read(TEST_MSR(MSR_TOTAL, 0), &val) &&
	       msr_read(TEST_MSR(MSR_TOTAL, 255), &val) == -EIO;
}

static inline bool msr_is_amd(void)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	bool amd = false;
	char line[256];

	while (file && !amd && fgets(line, sizeof(line), file))
		amd = !strncmp(line, "vendor_id", 9) && strstr(line, "AuthenticAMD");
	if (file)
		fclose(file);
	return amd;
}

#endif /* PKG_MSR_H */
