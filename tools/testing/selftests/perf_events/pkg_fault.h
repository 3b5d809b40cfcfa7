/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Fault injection: the first, second, ... allocation of an operation fails
 */
#ifndef PKG_FAULT_H
#define PKG_FAULT_H

#include "pkg_fresh.h"

#define DEBUGFS		"/sys/kernel/debug/"

/* More allocations than any of the operations has */
#define MAX_FAULTS	5000

/* Faults in tasks that write to fail-nth, of all allocations, and without a word in the log */
static struct fault_knob {
	const char	*name;
	const char	*val;
	char		old[32];
} fault_knobs[] = {
	{ "failslab/verbose", "0" },
	{ "failslab/cache-filter", "N" },
	{ "failslab/ignore-gfp-wait", "N" },
	{ "fail_page_alloc/verbose", "0" },
	{ "fail_page_alloc/min-order", "0" },
	{ "fail_page_alloc/ignore-gfp-wait", "N" },
	{ "fail_page_alloc/ignore-gfp-highmem", "N" },
};

static inline void faults_off(void)
{
	struct fault_knob *k;

	for (k = fault_knobs; k < fault_knobs + ARRAY_SIZE(fault_knobs); k++)
		if (k->old[0])
			pkg_set_str(DEBUGFS, k->name, k->old);
}

static inline const char *faults_on(void)
{
	struct fault_knob *k;

	if (access("/proc/thread-self/fail-nth", W_OK))
		return "no CONFIG_FAULT_INJECTION";
	for (k = fault_knobs; k < fault_knobs + ARRAY_SIZE(fault_knobs); k++) {
		if (!fresh_get_line(DEBUGFS, k->name, k->old, sizeof(k->old)) ||
		    pkg_set_str(DEBUGFS, k->name, k->val)) {
			faults_off();
			return "no failslab or fail_page_alloc in debugfs";
		}
	}
	return NULL;
}

static inline int fail_nth(int fd, unsigned int n)
{
	char buf[16];
	int len = sprintf(buf, "%u", n);

	return pwrite(fd, buf, len, 0) == len ? 0 : -errno;
}

/* What is left of @n: 0 if the n-th allocation was there, and failed */
static inline int fail_nth_left(int fd)
{
	char buf[16] = "";

	return pread(fd, buf, sizeof(buf) - 1, 0) > 0 ? atoi(buf) : -1;
}

/*
 * ->run() returns -errno, or what ->undo() is to undo. That is called in both
 * cases and returns whether all is as it should be.
 */
struct op {
	const char	*name;
	long		(*run)(const void *arg);
	bool		(*undo)(const void *arg, long ret);
};

/*
 * Lets the first, second, ... allocation of an operation fail, until it has no
 * more of them. Returns how many it has, or -1 if something was not right.
 */
static inline long inject(const struct op *op, const void *arg)
{
	int fd = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC), left = -1;
	long ret, n, failed = 0, wanted = op->run(arg);
	bool good = fd >= 0 && (!op->undo || op->undo(arg, wanted));

	/* What is refused anyway is refused with or without memory */
	wanted = wanted < 0 ? wanted : 0;
	for (n = 1; good && n < MAX_FAULTS; n++) {
		if (fail_nth(fd, n))
			break;
		ret = op->run(arg);
		left = fail_nth_left(fd);
		fail_nth(fd, 0);
		good = (!op->undo || op->undo(arg, ret)) &&
		       ((ret < 0 ? ret : 0) == wanted || (ret == -ENOMEM && !left));
		if (!good)
			ksft_print_msg("%s: fault %ld: %ld, not %ld\n", op->name, n, ret, wanted);
		if (left)
			break;
		failed += ret == -ENOMEM;
	}
	close(fd);
	if (n == MAX_FAULTS || left < 0)
		good = false;
	if (!wanted)
		ksft_print_msg("%s: failed with %ld of %ld faults\n", op->name, failed, n - 1);
	return good ? n - 1 : -1;
}

#endif /* PKG_FAULT_H */
