// SPDX-License-Identifier: GPL-2.0
/*
 * A BPF program reads package-scope counters with bpf_perf_event_read_value()
 * on a CPU of another package: of a task that runs elsewhere, of one with
 * children, and of a CPU.
 */
#define _GNU_SOURCE

#include "../kselftest_harness.h"
#include "pkg_puppet.h"

#ifndef HAVE_LIBBPF

TEST(pkg_bpf)
{
	SKIP(return, "built without clang or libbpf");
}

#else

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "pkg_bpf.h"

#define RAPL_PMU	"/sys/bus/event_source/devices/power/"

FIXTURE(pkg_bpf)
{
	struct puppet p;
	struct bpf_object *obj;
	int events;
	int results;
	int sampler;
	int cpu;
};

FIXTURE_SETUP(pkg_bpf)
{
	struct perf_event_attr clock = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	const char *why = pkg_init(2);
	struct bpf_program *prog;

	if (why)
		SKIP(return, "%s", why);
	if (libbpf_probe_bpf_prog_type(BPF_PROG_TYPE_PERF_EVENT, NULL) != 1)
		SKIP(return, "no BPF programs for perf events in this kernel");
	self->obj = bpf_object__open_file("pkg_bpf.bpf.o", NULL);
	if (!self->obj)
		SKIP(return, "no pkg_bpf.bpf.o here: %s", strerror(errno));
	ASSERT_EQ(0, bpf_object__load(self->obj));
	self->events = bpf_object__find_map_fd_by_name(self->obj, "events");
	self->results = bpf_object__find_map_fd_by_name(self->obj, "results");
	prog = bpf_object__find_program_by_name(self->obj, "read_counters");
	ASSERT_NE(NULL, prog);

	/* The program runs here, the task there */
	self->cpu = topo.pkg[0].cpu[0];
	ASSERT_EQ(0, pkg_pin(self->cpu));
	ASSERT_EQ(0, puppet_new(&self->p));
	ASSERT_EQ(0, puppet_call(&self->p, pkg_pin, topo.pkg[1].cpu[0]));

	clock.sample_period = 5 * NSEC_PER_MSEC;
	clock.disabled = 1;
	self->sampler = PKG_OPEN(clock, -1, self->cpu, -1);
	ASSERT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_SET_BPF, bpf_program__fd(prog)));
}

FIXTURE_TEARDOWN(pkg_bpf)
{
	pkg_stop(1);
	puppet_end(&self->p);
	bpf_object__close(self->obj);
}

static void add_event(struct __test_metadata *_metadata, int map, __u32 key, int fd)
{
	ASSERT_EQ(0, bpf_map_update_elem(map, &key, &fd, BPF_ANY))
		TH_LOG("event %u: %s", key, strerror(errno));
}

/* Until each event has been read that often, or one cannot be */
static void wait_for_reads(struct __test_metadata *_metadata, int results, __u64 reads)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	struct pkg_bpf_result res;
	__u32 i;

	for (i = 0; i < PKG_BPF_EVENTS; i++) {
		do {
			usleep(1000);
			ASSERT_EQ(0, bpf_map_lookup_elem(results, &i, &res));
		} while (res.reads < reads && !res.errors && pkg_now(CLOCK_MONOTONIC) < end);
	}
}

/* What the program saw grew, up to what read(2) says */
static void check_reads(struct __test_metadata *_metadata, FIXTURE_DATA(pkg_bpf) * self,
			const int *fd)
{
	struct pkg_bpf_result res;
	__u32 i;

	for (i = 0; i < PKG_BPF_EVENTS; i++) {
		ASSERT_EQ(0, bpf_map_lookup_elem(self->results, &i, &res));
		EXPECT_EQ(0, res.errors)
			TH_LOG("event %u: error %lld", i, res.last_error);
		EXPECT_LE(50, res.reads);
		EXPECT_LE(5, res.changes);
		EXPECT_EQ(0, res.steps_back);
		EXPECT_EQ(self->cpu, res.cpu);
		EXPECT_LE(res.value, pkg_count(fd[i]));
		EXPECT_LT(0, res.value);
	}
}

TEST_F_TIMEOUT(pkg_bpf, read_value, 120)
{
	struct perf_event_attr attr = pkg_attr(PKG_RUNTIME, PKG_ALL);
	int fd[PKG_BPF_EVENTS];
	__u32 i;

	fd[PKG_BPF_TASK] = PKG_OPEN(attr, self->p.pid, -1, -1);
	fd[PKG_BPF_CPU] = PKG_OPEN(attr, -1, topo.pkg[1].cpu[0], -1);
	attr.inherit = 1;
	fd[PKG_BPF_INHERITED] = PKG_OPEN(attr, self->p.pid, -1, -1);
	for (i = 0; i < PKG_BPF_EVENTS; i++)
		add_event(_metadata, self->events, i, fd[i]);

	ASSERT_EQ(0, puppet_start(&self->p, pkg_spin, 0));
	ASSERT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_ENABLE, 0));
	wait_for_reads(_metadata, self->results, 50);
	ASSERT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_DISABLE, 0));
	pkg_stop(1);
	ASSERT_EQ(0, puppet_wait(&self->p));

	check_reads(_metadata, self, fd);
}

/* Energy, from one CPU: of its own package, of another one, and of all */
TEST_F_TIMEOUT(pkg_bpf, energy, 120)
{
	struct perf_event_attr attr = {
		.type	= pkg_get(RAPL_PMU, "type"),
		.size	= sizeof(attr),
		.config	= 2,	/* energy-pkg */
	};
	long long interval = pkg_get(RAPL_PMU, "refresh_interval_us");
	long long max_age = pkg_get(RAPL_PMU, "max_age_us");
	int fd[PKG_BPF_EVENTS];
	__u32 i;

	if (interval < 0)
		SKIP(return, "no PMU power with package-scope counters");
	fd[0] = PKG_OPEN(attr, -1, self->cpu, -1);
	fd[1] = PKG_OPEN(attr, -1, topo.pkg[1].cpu[0], -1);
	attr.config1 = ~0ULL;
	fd[2] = PKG_OPEN(attr, -1, self->cpu, -1);
	for (i = 0; i < PKG_BPF_EVENTS; i++)
		add_event(_metadata, self->events, i, fd[i]);

	/* Nobody but the timer reads the hardware */
	EXPECT_EQ(0, pkg_set_str(RAPL_PMU, "max_age_us", "off"));
	EXPECT_EQ(0, pkg_set(RAPL_PMU, "refresh_interval_us", 10000));
	EXPECT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_ENABLE, 0));
	wait_for_reads(_metadata, self->results, 50);
	EXPECT_EQ(0, ioctl(self->sampler, PERF_EVENT_IOC_DISABLE, 0));
	check_reads(_metadata, self, fd);
	EXPECT_EQ(0, pkg_set(RAPL_PMU, "refresh_interval_us", interval));
	EXPECT_EQ(0, pkg_set(RAPL_PMU, "max_age_us", max_age));
}

/* What the core said before must still hold for an event of another PMU */
TEST_F_TIMEOUT(pkg_bpf, inherited_event_of_the_core, 120)
{
	struct perf_event_attr attr = pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK);
	__u32 key = PKG_BPF_TASK;
	int fd;

	attr.inherit = 1;
	fd = PKG_OPEN(attr, self->p.pid, -1, -1);
	EXPECT_EQ(-EOPNOTSUPP, bpf_map_update_elem(self->events, &key, &fd, BPF_ANY));
}

#endif /* HAVE_LIBBPF */

TEST_HARNESS_MAIN
