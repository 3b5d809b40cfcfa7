/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The readers of pkg_bench_staleness: read(2), samples and BPF. All of them are
 * on the first package and ask for the last one's counter, but for samples: those
 * are taken where the sampled task runs.
 */
#ifndef PKG_BENCH_READERS_H
#define PKG_BENCH_READERS_H

#include <stddef.h>

#include "../../../include/linux/filter.h"
#include "pkg_staleness.h"

#define READS_MAX	50000
#define PAUSE_US	1000
#define QUEUE_LEN	4096
/* Not consumed, but large enough: so no record wraps around */
#define RING_PAGES	512

/* What the event is bound to: PMUs that count packages have only CPU events */
enum bound { TO_TASK, TO_PACKAGE, TO_READER };

struct policy {
	const char	*name;
	int		policy;
	int		interval_us;
	enum bound	bound;
	/* Of pkg_clock_domain, instead of pkg_clock */
	bool		domain;
};

struct stats {
	int		nr;
	int		failed;
	int		error;
	bool		future;
	long long	ns[READS_MAX];
};

/* What the readers got */
static struct stats stats;

/* Where the knobs are */
static const char *policy_pmu(const struct policy *p)
{
	return p->domain ? PKG_DOMAIN_PMU : PKG_PMU;
}

/* A value of @time; or of a moment later, when it came after that was looked at, until @now */
static void take(struct stats *s, __u64 time, __u64 now, __u64 val)
{
	/* Nothing was read on the package yet */
	if (!val || s->nr == READS_MAX)
		return;
	s->future |= val > now;
	s->ns[s->nr++] = val < time ? time - val : 0;
}

static void take_error(struct stats *s, int error)
{
	s->failed++;
	s->error = error;
}

static void take_count(struct stats *s, int fd)
{
	__u64 val, now;

	if (pkg_read(fd, &val, 0)) {
		take_error(s, EIO);
		return;
	}
	now = pkg_now(CLOCK_MONOTONIC);
	take(s, now, now, val);
}

static void forget(struct stats *s)
{
	s->nr = 0;
	s->failed = 0;
	s->future = false;
}

static struct {
	int			clock;
	int			sampler;
	struct perf_event_mmap_page *ring;
	__u64			pos;
	int			events;
	int			queue;
	int			prog;
} rd;

static int reader_cpu(void)
{
	return topo.pkg[0].cpu[0];
}

static int bound_cpu(const struct policy *p)
{
	return p->bound == TO_READER ? reader_cpu() : stale_cpu();
}

static int open_bound(const struct policy *p, struct perf_event_attr attr, int group)
{
	if (p->bound == TO_TASK)
		return pkg_open(attr, task.pid, -1, group);
	return pkg_open(attr, -1, bound_cpu(p), group);
}

/* The last package's clock */
static struct perf_event_attr clock_attr(const struct policy *p)
{
	struct perf_event_attr attr = p->domain ? pkg_domain_attr(PKG_CLOCK) :
						  stale_attr(p->policy, topo.nr - 1);

	/* It selects no packages, but reports that of its CPU */
	if (p->bound == TO_PACKAGE)
		attr.config1 = 0;
	return attr;
}

/* An interrupt at random times. In its group all use one clock. */
static struct perf_event_attr sampler_attr(void)
{
	struct perf_event_attr attr = pkg_sw_attr(PERF_COUNT_SW_CPU_CLOCK);

	attr.sample_period = PAUSE_US * NSEC_PER_USEC;
	attr.sample_type = PERF_SAMPLE_TIME | PERF_SAMPLE_READ;
	attr.read_format = PERF_FORMAT_GROUP;
	attr.use_clockid = 1;
	attr.clockid = CLOCK_MONOTONIC;
	/* The rest of a group is scheduled in only when the leader is */
	attr.disabled = 1;
	return attr;
}

/* Not too soon: if interrupts are slow they would leave no time for the reader */
static void next_interrupt(void)
{
	__u64 period = (PAUSE_US / 2 + random() % PAUSE_US) * NSEC_PER_USEC;

	ioctl(rd.sampler, PERF_EVENT_IOC_PERIOD, &period);
}

static void close_fd(int *fd)
{
	if (*fd > 0)
		close(*fd);
	*fd = 0;
}

static int read_start(const struct policy *p)
{
	rd.clock = open_bound(p, clock_attr(p), -1);
	return rd.clock;
}

static void read_poll(void)
{
	take_count(&stats, rd.clock);
}

static void read_stop(void)
{
	close_fd(&rd.clock);
}

/* PERF_SAMPLE_READ of a group of the task, or of the CPU that the event is bound to */
static int irq_start(const struct policy *p)
{
	struct perf_event_attr attr = clock_attr(p);

	rd.sampler = open_bound(p, sampler_attr(), -1);
	if (rd.sampler < 0)
		return rd.sampler;
	attr.use_clockid = 1;
	attr.clockid = CLOCK_MONOTONIC;
	rd.clock = open_bound(p, attr, rd.sampler);
	if (rd.clock < 0)
		return rd.clock;

	rd.ring = mmap(NULL, (1 + RING_PAGES) * getpagesize(), PROT_READ | PROT_WRITE,
		       MAP_SHARED, rd.sampler, 0);
	if (rd.ring == MAP_FAILED) {
		rd.ring = NULL;
		return -errno;
	}
	rd.pos = 0;
	return ioctl(rd.sampler, PERF_EVENT_IOC_ENABLE, 0) ? -errno : 0;
}

static void irq_poll(void)
{
	struct {
		struct perf_event_header header;
		__u64	time;
		__u64	nr;
		__u64	val[2];
	} *rec;
	__u64 head = __atomic_load_n(&rd.ring->data_head, __ATOMIC_ACQUIRE);
	__u64 now = pkg_now(CLOCK_MONOTONIC);

	/* To set the period starts it anew, so wait for the interrupt first */
	if (rd.pos < head)
		next_interrupt();
	for (; rd.pos < head; rd.pos += rec->header.size) {
		rec = (void *)((char *)rd.ring + rd.ring->data_offset + rd.pos);
		if (rec->header.type == PERF_RECORD_SAMPLE)
			take(&stats, rec->time, now, rec->val[1]);
	}
}

static void irq_stop(void)
{
	if (rd.ring)
		munmap(rd.ring, (1 + RING_PAGES) * getpagesize());
	rd.ring = NULL;
	close_fd(&rd.clock);
	close_fd(&rd.sampler);
}

/* What the BPF program writes to the queue, at the end of its stack */
struct bpf_record {
	__u64	time;
	__s64	error;
	struct bpf_perf_event_value val;
};

#define REC(member)	(-(int)sizeof(struct bpf_record) + \
			 (int)offsetof(struct bpf_record, member))

static int bpf(int cmd, union bpf_attr *attr)
{
	int ret = syscall(__NR_bpf, cmd, attr, sizeof(*attr));

	return ret < 0 ? -errno : ret;
}

static int bpf_map(int type, int key_size, int value_size, int entries)
{
	union bpf_attr attr = {
		.map_type	= type,
		.key_size	= key_size,
		.value_size	= value_size,
		.max_entries	= entries,
	};

	return bpf(BPF_MAP_CREATE, &attr);
}

/* Small enough to do without a compiler for BPF, which not every machine has */
static int bpf_load(void)
{
	const struct bpf_insn insns[] = {
		/* rec.error = bpf_perf_event_read_value(events, 0, &rec.val, sizeof(rec.val)) */
		BPF_LD_MAP_FD(BPF_REG_1, rd.events),
		BPF_MOV64_IMM(BPF_REG_2, 0),
		BPF_MOV64_REG(BPF_REG_3, BPF_REG_10),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_3, REC(val)),
		BPF_MOV64_IMM(BPF_REG_4, sizeof(struct bpf_perf_event_value)),
		BPF_EMIT_CALL(BPF_FUNC_perf_event_read_value),
		BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_0, REC(error)),
		/* rec.time = bpf_ktime_get_ns() */
		BPF_EMIT_CALL(BPF_FUNC_ktime_get_ns),
		BPF_STX_MEM(BPF_DW, BPF_REG_10, BPF_REG_0, REC(time)),
		/* bpf_map_push_elem(queue, &rec, 0) */
		BPF_LD_MAP_FD(BPF_REG_1, rd.queue),
		BPF_MOV64_REG(BPF_REG_2, BPF_REG_10),
		BPF_ALU64_IMM(BPF_ADD, BPF_REG_2, REC(time)),
		BPF_MOV64_IMM(BPF_REG_3, 0),
		BPF_EMIT_CALL(BPF_FUNC_map_push_elem),
		/* No sample besides */
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};
	union bpf_attr attr = {
		.prog_type	= BPF_PROG_TYPE_PERF_EVENT,
		.insns		= (unsigned long)insns,
		.insn_cnt	= ARRAY_SIZE(insns),
		.license	= (unsigned long)"GPL",
	};

	return bpf(BPF_PROG_LOAD, &attr);
}

/* -ENOPKG: there is no BPF here, so nothing can be said of the policy */
static int bpf_prepare(void)
{
	rd.events = bpf_map(BPF_MAP_TYPE_PERF_EVENT_ARRAY, sizeof(__u32), sizeof(__u32), 1);
	rd.queue = bpf_map(BPF_MAP_TYPE_QUEUE, 0, sizeof(struct bpf_record), QUEUE_LEN);
	if (rd.events < 0 || rd.queue < 0)
		return -ENOPKG;
	rd.prog = bpf_load();
	if (rd.prog < 0)
		return -ENOPKG;
	rd.sampler = pkg_open(sampler_attr(), -1, reader_cpu(), -1);
	if (rd.sampler < 0 || ioctl(rd.sampler, PERF_EVENT_IOC_SET_BPF, rd.prog))
		return -ENOPKG;
	return 0;
}

static int bpf_start(const struct policy *p)
{
	__u32 key = 0;
	union bpf_attr attr = {
		.key		= (unsigned long)&key,
		.value		= (unsigned long)&rd.clock,
	};
	int ret = bpf_prepare();

	if (ret)
		return ret;
	rd.clock = open_bound(p, clock_attr(p), -1);
	if (rd.clock < 0)
		return rd.clock;
	attr.map_fd = rd.events;
	ret = bpf(BPF_MAP_UPDATE_ELEM, &attr);
	if (ret)
		return ret;
	return ioctl(rd.sampler, PERF_EVENT_IOC_ENABLE, 0) ? -errno : 0;
}

static void bpf_poll(void)
{
	struct bpf_record rec;
	union bpf_attr attr = {
		.map_fd		= rd.queue,
		.value		= (unsigned long)&rec,
	};
	int before = stats.nr;

	while (!bpf(BPF_MAP_LOOKUP_AND_DELETE_ELEM, &attr)) {
		if (rec.error)
			take_error(&stats, -rec.error);
		else
			take(&stats, rec.time, rec.time, rec.val.counter);
	}
	if (stats.nr > before)
		next_interrupt();
}

static void bpf_stop(void)
{
	close_fd(&rd.sampler);
	close_fd(&rd.prog);
	close_fd(&rd.queue);
	close_fd(&rd.events);
	close_fd(&rd.clock);
}

enum reader { READ, IRQ, BPF, NR_READERS };

static const struct reader_ops {
	const char	*name;
	int		(*start)(const struct policy *p);
	void		(*poll)(void);
	void		(*stop)(void);
} readers[NR_READERS] = {
	[READ]	= { "read", read_start, read_poll, read_stop },
	[IRQ]	= { "irq", irq_start, irq_poll, irq_stop },
	[BPF]	= { "bpf", bpf_start, bpf_poll, bpf_stop },
};

#endif /* PKG_BENCH_READERS_H */
