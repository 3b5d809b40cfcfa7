// SPDX-License-Identifier: GPL-2.0
/*
 * A read of another package's counter takes no part of that package: it
 * returns while all its CPUs have interrupts off. The policy that reads by a
 * cross-call shows that the test can tell.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_puppet.h"

/* Fewer may have come through before the CPUs had their interrupts off */
#define ENOUGH_READS	10
#define MAX_SPIN_MS	1000

FIXTURE(pkg_irqoff)
{
	struct puppet p[PKG_MAX_CPUS];
	int nr;
};

FIXTURE_VARIANT(pkg_irqoff)
{
	__u64 config;
	bool of_cpu;
	bool whole_package;
	bool one_package;
	bool group;
	bool waits;
};

FIXTURE_VARIANT_ADD(pkg_irqoff, task)
{
	.config = PKG_RUNTIME,
};

FIXTURE_VARIANT_ADD(pkg_irqoff, task_on_package)
{
	.config = PKG_RUNTIME,
	.one_package = true,
};

FIXTURE_VARIANT_ADD(pkg_irqoff, task_group)
{
	.config = PKG_RUNTIME,
	.group = true,
};

FIXTURE_VARIANT_ADD(pkg_irqoff, task_level)
{
	.config = PKG_CLOCK,
	.one_package = true,
};

FIXTURE_VARIANT_ADD(pkg_irqoff, task_cached)
{
	.config = PKG_RUNTIME | PKG_POLICY(PKG_POLICY_CACHED),
};

FIXTURE_VARIANT_ADD(pkg_irqoff, cpu)
{
	.config = PKG_RUNTIME,
	.of_cpu = true,
};

FIXTURE_VARIANT_ADD(pkg_irqoff, cpu_group)
{
	.config = PKG_RUNTIME,
	.of_cpu = true,
	.group = true,
};

FIXTURE_VARIANT_ADD(pkg_irqoff, package)
{
	.config = PKG_BUSY,
	.of_cpu = true,
	.whole_package = true,
};

FIXTURE_VARIANT_ADD(pkg_irqoff, package_group)
{
	.config = PKG_BUSY,
	.of_cpu = true,
	.whole_package = true,
	.group = true,
};

FIXTURE_VARIANT_ADD(pkg_irqoff, package_level)
{
	.config = PKG_CLOCK,
	.of_cpu = true,
	.whole_package = true,
};

FIXTURE_VARIANT_ADD(pkg_irqoff, task_by_cross_call)
{
	.config = PKG_RUNTIME | PKG_POLICY(PKG_POLICY_IPI),
	.waits = true,
};

FIXTURE_SETUP(pkg_irqoff)
{
	const char *why = pkg_init(2);
	int i;

	if (why)
		SKIP(return, "%s", why);
	ASSERT_EQ(0, pkg_pin(topo.pkg[0].cpu[0]));
	for (i = 0; i < topo.pkg[1].nr_cpus; i++) {
		ASSERT_EQ(0, puppet_new(&self->p[i]));
		self->nr++;
		ASSERT_EQ(0, puppet_call(&self->p[i], pkg_pin, topo.pkg[1].cpu[i]));
	}
}

FIXTURE_TEARDOWN(pkg_irqoff)
{
	int i;

	for (i = 0; i < self->nr; i++)
		puppet_end(&self->p[i]);
}

/* Runs in each puppet, with its number and the time in one argument */
static long spin_irqoff(long arg)
{
	int n = arg % PKG_MAX_CPUS;
	long ret;

	__atomic_store_n(&shared->started[n], 1, __ATOMIC_RELEASE);
	ret = pkg_set(PKG_PARAM, "spin_irqoff_ms", arg / PKG_MAX_CPUS);
	__atomic_store_n(&shared->ended[n], pkg_now(CLOCK_MONOTONIC), __ATOMIC_RELEASE);
	return ret;
}

static bool all_started(int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		if (!__atomic_load_n(&shared->started[i], __ATOMIC_ACQUIRE))
			return false;
	return true;
}

static bool any_ended(int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		if (__atomic_load_n(&shared->ended[i], __ATOMIC_ACQUIRE))
			return true;
	return false;
}

/* How many times all of @fd could be read before the first CPU was free again */
static int reads_while_spinning(struct puppet *p, int nr, int *fd, int values, int ms)
{
	__u64 val[2];
	int i, reads;

	memset(shared, 0, sizeof(*shared));
	for (i = 0; i < nr; i++)
		if (puppet_start(&p[i], spin_irqoff, ms * PKG_MAX_CPUS + i))
			return -1;
	while (!all_started(nr))
		;
	usleep(ms * 100);
	for (reads = 0; !any_ended(nr); reads++) {
		for (i = 0; i < nr; i++)
			if (pkg_read(fd[i], val, values))
				return -1;
	}
	for (i = 0; i < nr; i++)
		if (puppet_wait(&p[i]))
			return -1;
	return reads;
}

TEST_F_TIMEOUT(pkg_irqoff, read, 120)
{
	int id = variant->one_package ? topo.pkg[1].id : PKG_ALL;
	struct perf_event_attr attr = pkg_attr(variant->config, id);
	struct perf_event_attr sibling = pkg_attr(PKG_RUNTIME, topo.pkg[1].id);
	int fd[PKG_MAX_CPUS], i, reads, ms;
	bool waited;

	if (variant->whole_package) {
		attr = pkg_domain_attr(variant->config);
		sibling = attr;
	}
	if (variant->group)
		attr.read_format = PERF_FORMAT_GROUP;
	for (i = 0; i < self->nr; i++) {
		pid_t pid = variant->of_cpu ? -1 : self->p[i].pid;
		int cpu = variant->of_cpu ? topo.pkg[1].cpu[i] : -1;

		fd[i] = PKG_OPEN(attr, pid, cpu, -1);
		if (variant->group)
			PKG_OPEN(sibling, pid, cpu, fd[i]);
	}

	/* One of the CPUs may not get to run for a while: then give it more time */
	for (ms = 250; ms <= MAX_SPIN_MS; ms *= 2) {
		reads = reads_while_spinning(self->p, self->nr, fd, variant->group ? 2 : 0, ms);
		ASSERT_LE(0, reads);
		waited = reads < ENOUGH_READS;
		if (waited == variant->waits)
			break;
	}
	EXPECT_EQ(variant->waits, waited)
		TH_LOG("%d reads", reads);
}

TEST_HARNESS_MAIN
