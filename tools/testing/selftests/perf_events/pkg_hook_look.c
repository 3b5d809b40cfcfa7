// SPDX-License-Identifier: GPL-2.0
/*
 * What BPF programs and samples see of events while others read them, or
 * nobody does: readers on other CPUs do not disturb the times of a context, and
 * on each CPU of the domain the value is new.
 */
#define _GNU_SOURCE

#include <linux/bpf.h>
#include <stddef.h>

#include "../../../include/linux/filter.h"
#include "../kselftest_harness.h"
#include "pkg_hook.h"

#define NR_LOOKS	20000
/* Long enough for the hardware to count more */
#define LOOK_US		20000
#define NR_FRESH_LOOKS	10

#define RING_PAGES	8
#define SAMPLE_NS	(LOOK_US * NSEC_PER_USEC)
#define NR_SAMPLES	10

#define TASK_CLOCK	pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK)
#define RUNTIME		pkg_attr(PKG_RUNTIME, PKG_ALL)

#define HAS_BPF		"/proc/sys/kernel/unprivileged_bpf_disabled"

/* What a BPF program reads when this task makes a system call */
enum {
	LOOK_CLOCK,
	LOOK_PKG,
	LOOK_EVENTS,
};

struct look {
	struct bpf_perf_event_value val[LOOK_EVENTS];
};

#define LOOK_VALUES	(sizeof(struct look) / sizeof(__u64))

static const char * const look_names[LOOK_VALUES] = {
	"task-clock", "time enabled of task-clock", "time running of task-clock",
	"package event", "time enabled of it", "time running of it",
};

static struct look *looked;

FIXTURE(pkg_hook_look)
{
	struct hook_cpus cpus;
};

FIXTURE_SETUP(pkg_hook_look)
{
	const char *why = hook_init(&self->cpus);

	if (!why && access(HAS_BPF, F_OK))
		why = "no BPF programs in this kernel";
	if (why)
		SKIP(return, "%s", why);
}

FIXTURE_TEARDOWN(pkg_hook_look)
{
}

static int bpf(enum bpf_cmd cmd, union bpf_attr attr)
{
	int ret = syscall(__NR_bpf, cmd, &attr, sizeof(attr));

	return ret < 0 ? -errno : ret;
}

#define BPF(cmd, ...)	bpf(cmd, (union bpf_attr) { __VA_ARGS__ })
#define BPF_PTR(ptr)	((unsigned long)(ptr))

static int load_program(int events, int results)
{
	const struct bpf_insn prog[] = {
		/* This task only */
		BPF_EMIT_CALL(BPF_FUNC_get_current_pid_tgid),
		BPF_MOV32_REG(BPF_REG_0, BPF_REG_0),
		BPF_JMP_IMM(BPF_JNE, BPF_REG_0, getpid(), 22),

		BPF_ST_MEM(BPF_W, BPF_REG_10, -4, 0),
		BPF_LD_MAP_FD(BPF_REG_1, results),
		BPF_MOV64_REG(BPF_REG_2, BPF_REG_10),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, -4),
		BPF_EMIT_CALL(BPF_FUNC_map_lookup_elem),
		BPF_JMP_IMM(BPF_JEQ, BPF_REG_0, 0, 15),
		BPF_MOV64_REG(BPF_REG_6, BPF_REG_0),

		BPF_LD_MAP_FD(BPF_REG_1, events),
		BPF_MOV64_IMM(BPF_REG_2, LOOK_CLOCK),
		BPF_MOV64_REG(BPF_REG_3, BPF_REG_6),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, offsetof(struct look, val[LOOK_CLOCK])),
		BPF_MOV64_IMM(BPF_REG_4, sizeof(struct bpf_perf_event_value)),
		BPF_EMIT_CALL(BPF_FUNC_perf_event_read_value),

		BPF_LD_MAP_FD(BPF_REG_1, events),
		BPF_MOV64_IMM(BPF_REG_2, LOOK_PKG),
		BPF_MOV64_REG(BPF_REG_3, BPF_REG_6),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, offsetof(struct look, val[LOOK_PKG])),
		BPF_MOV64_IMM(BPF_REG_4, sizeof(struct bpf_perf_event_value)),
		BPF_EMIT_CALL(BPF_FUNC_perf_event_read_value),

		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};

	return BPF(BPF_PROG_LOAD, .prog_type = BPF_PROG_TYPE_RAW_TRACEPOINT,
		   .insns = BPF_PTR(prog), .insn_cnt = ARRAY_SIZE(prog),
		   .license = BPF_PTR("GPL"));
}

/* From now on each system call of this task looks at these events. */
static int start_looking(int clock, int pkg)
{
	const int fd[LOOK_EVENTS] = { [LOOK_CLOCK] = clock, [LOOK_PKG] = pkg };
	int events, results, prog, i, err;

	events = BPF(BPF_MAP_CREATE, .map_type = BPF_MAP_TYPE_PERF_EVENT_ARRAY,
		     .key_size = sizeof(int), .value_size = sizeof(int),
		     .max_entries = LOOK_EVENTS);
	results = BPF(BPF_MAP_CREATE, .map_type = BPF_MAP_TYPE_ARRAY, .key_size = sizeof(int),
		      .value_size = sizeof(struct look), .max_entries = 1,
		      .map_flags = BPF_F_MMAPABLE);
	if (events < 0 || results < 0)
		return events < 0 ? events : results;
	looked = mmap(NULL, getpagesize(), PROT_READ, MAP_SHARED, results, 0);
	if (looked == MAP_FAILED)
		return -errno;
	for (i = 0; i < LOOK_EVENTS; i++) {
		err = BPF(BPF_MAP_UPDATE_ELEM, .map_fd = events, .key = BPF_PTR(&i),
			  .value = BPF_PTR(&fd[i]));
		if (err)
			return err;
	}
	prog = load_program(events, results);
	if (prog < 0)
		return prog;
	err = BPF(BPF_RAW_TRACEPOINT_OPEN, .raw_tracepoint.name = BPF_PTR("sys_enter"),
		  .raw_tracepoint.prog_fd = prog);
	return err < 0 ? err : 0;
}

static struct look look(void)
{
	syscall(__NR_getppid);
	return *looked;
}

/* For puppets: reads from this CPU until pkg_stop(), returns how often */
static int read_fd;

static long read_on(long cpu)
{
	__u64 val[8];
	long reads;

	pkg_pin(cpu);
	for (reads = 0; !__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE); reads++)
		if (read(read_fd, val, sizeof(val)) <= 0)
			return -EIO;
	return reads;
}

/* Neither the count of task-clock nor any time goes back while a CPU reads @fd. */
static void check_times(struct __test_metadata *_metadata, int fd, int cpu)
{
	__u64 now[LOOK_VALUES], last[LOOK_VALUES] = {}, worst[LOOK_VALUES] = {};
	int back[LOOK_VALUES] = {}, i;
	struct puppet reader;
	struct look val;
	unsigned int v;

	/* What it inherits */
	read_fd = fd;
	ASSERT_EQ(0, puppet_new(&reader));
	ASSERT_EQ(0, puppet_start(&reader, read_on, cpu));
	for (i = 0; i < NR_LOOKS; i++) {
		val = look();
		memcpy(now, &val, sizeof(now));
		for (v = 0; v < LOOK_VALUES; v++) {
			back[v] += now[v] < last[v];
			if (now[v] < last[v] && last[v] - now[v] > worst[v])
				worst[v] = last[v] - now[v];
		}
		memcpy(last, now, sizeof(last));
	}
	pkg_stop(1);
	EXPECT_LT(NR_LOOKS / 20, puppet_wait(&reader));
	puppet_end(&reader);
	for (v = 0; v < LOOK_VALUES; v++) {
		EXPECT_EQ(0, back[v])
			TH_LOG("%s: %d of %d are steps back, the worst by %llu ns",
			       look_names[v], back[v], NR_LOOKS, worst[v]);
	}
	EXPECT_LT(0, last[0]);
	EXPECT_LT(0, last[3]);
}

static struct perf_event_attr with_times(struct perf_event_attr attr)
{
	attr.read_format |= PERF_FORMAT_TOTAL_TIME_ENABLED | PERF_FORMAT_TOTAL_TIME_RUNNING;
	return attr;
}

TEST_F_TIMEOUT(pkg_hook_look, times_of_task, 120)
{
	int clock = PKG_OPEN(TASK_CLOCK, 0, -1, -1), fd;

	if (access(PKG_PMU, F_OK))
		SKIP(return, "no PMU pkg_clock");
	fd = PKG_OPEN(with_times(RUNTIME), 0, -1, -1);
	ASSERT_EQ(0, start_looking(clock, fd));
	check_times(_metadata, fd, self->cpus.cpu);
}

TEST_F_TIMEOUT(pkg_hook_look, times_of_task_in_group, 120)
{
	struct perf_event_attr attr = with_times(TASK_CLOCK);
	int clock, fd;

	if (access(PKG_PMU, F_OK))
		SKIP(return, "no PMU pkg_clock");
	attr.read_format |= PERF_FORMAT_GROUP;
	clock = PKG_OPEN(attr, 0, -1, -1);
	fd = PKG_OPEN(with_times(RUNTIME), 0, -1, clock);
	ASSERT_EQ(0, start_looking(clock, fd));
	check_times(_metadata, fd, self->cpus.cpu);
}

/* Without package-scope counters */
TEST_F_TIMEOUT(pkg_hook_look, times_of_task_clock, 120)
{
	int clock = PKG_OPEN(TASK_CLOCK, 0, -1, -1);
	int fd = PKG_OPEN(with_times(TASK_CLOCK), 0, -1, -1);

	ASSERT_EQ(0, start_looking(clock, fd));
	check_times(_metadata, fd, self->cpus.cpu);
}

TEST_F_TIMEOUT(pkg_hook_look, times_of_cpu, 120)
{
	int cpu = self->cpus.cpu;
	int clock = PKG_OPEN(TASK_CLOCK, -1, cpu, -1);
	int fd = PKG_OPEN(with_times(hook_power_attr()), -1, cpu, -1);

	ASSERT_EQ(0, pkg_pin(cpu));
	ASSERT_EQ(0, start_looking(clock, fd));
	check_times(_metadata, fd, self->cpus.far);
}

/* A CPU of the domain can read the hardware, so a BPF program there does. */
TEST_F_TIMEOUT(pkg_hook_look, bpf_is_fresh, 120)
{
	const int cpus[] = { self->cpus.cpu, self->cpus.other };
	int fd = PKG_OPEN(hook_power_attr(), -1, self->cpus.cpu, -1);
	int clock = PKG_OPEN(TASK_CLOCK, 0, -1, -1);
	struct look val, last = {};
	unsigned int i, j;

	ASSERT_EQ(0, start_looking(clock, fd));
	for (i = 0; i < ARRAY_SIZE(cpus); i++) {
		ASSERT_EQ(0, pkg_pin(cpus[i]));
		for (j = 0; j < NR_FRESH_LOOKS; j++) {
			usleep(LOOK_US);
			val = look();
			EXPECT_LT(last.val[LOOK_PKG].counter, val.val[LOOK_PKG].counter)
				TH_LOG("look %u on CPU %d", j, cpus[i]);
			last = val;
		}
	}
}

/* And so does a sample. */
static void check_samples(struct __test_metadata *_metadata, int cpu)
{
	struct perf_event_attr attr = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);
	struct perf_event_mmap_page *page;
	struct {
		struct perf_event_header header;
		__u64	nr;
		__u64	val[2];
	} *rec, *end, *last = NULL;
	int fd, nr = 0;

	attr.sample_period = SAMPLE_NS;
	attr.sample_type = PERF_SAMPLE_READ;
	attr.read_format = PERF_FORMAT_GROUP;
	attr.disabled = 1;
	fd = PKG_OPEN(attr, -1, cpu, -1);
	PKG_OPEN(hook_power_attr(), -1, cpu, fd);
	page = mmap(NULL, (1 + RING_PAGES) * getpagesize(), PROT_READ | PROT_WRITE, MAP_SHARED,
		    fd, 0);
	ASSERT_TRUE(page != MAP_FAILED);
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_ENABLE, 0));
	usleep((NR_SAMPLES + 1) * LOOK_US);
	ASSERT_EQ(0, ioctl(fd, PERF_EVENT_IOC_DISABLE, 0));

	/* So few that the ring does not wrap; all have one size */
	rec = (void *)page + page->data_offset;
	end = (void *)rec + __atomic_load_n(&page->data_head, __ATOMIC_ACQUIRE);
	for (; rec < end; last = rec++, nr++) {
		ASSERT_EQ(PERF_RECORD_SAMPLE, rec->header.type);
		ASSERT_EQ(sizeof(*rec), rec->header.size);
		EXPECT_LT(last ? last->val[1] : 0, rec->val[1])
			TH_LOG("sample %d on CPU %d", nr, cpu);
	}
	EXPECT_LE(NR_SAMPLES / 2, nr);
	close(fd);
}

TEST_F_TIMEOUT(pkg_hook_look, samples_are_fresh, 120)
{
	check_samples(_metadata, self->cpus.cpu);
	/* Others move the event to the CPU in the cpumask, away from its leader */
	if (hook_has_engine())
		check_samples(_metadata, self->cpus.other);
}

TEST_HARNESS_MAIN
