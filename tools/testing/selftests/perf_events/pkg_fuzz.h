/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What is known of events that random things are done to, and of families of
 * tasks: the checks of what is read.
 */
#ifndef PKG_FUZZ_H
#define PKG_FUZZ_H

#include "pkg_puppet.h"
#include "pkg_stress.h"

#define NR_EVENTS	32
#define NR_PUPPETS	4

/* What must hold */
enum rule {
	RULE_STEP,
	RULE_FROZEN,
	RULE_RANGE,
	RULE_TIMES,
	RULE_FORMAT,
	RULE_ERRNO,
	RULE_FAMILY,
	RULE_CLEAN,
	NR_RULES,
};

static const char * const rules[NR_RULES + 1] = {
	[RULE_STEP]	= "a count never steps back",
	[RULE_FROZEN]	= "a count stands still while its event is disabled",
	[RULE_RANGE]	= "a count is no more than the time that passed",
	[RULE_TIMES]	= "times never step back, and enabled is at least running",
	[RULE_FORMAT]	= "reads return what the format says",
	[RULE_ERRNO]	= "calls fail with documented errors",
	[RULE_FAMILY]	= "packages add up to the total, and that to task-clock",
	[RULE_CLEAN]	= "nothing is left behind",
};

enum kind { KIND_OTHER, KIND_COUNT, KIND_LEVEL, KIND_AGE };
enum state { STATE_OFF, STATE_ON, STATE_UNSURE };

struct event {
	int			fd;
	unsigned int		serial;
	enum kind		kind;
	struct perf_event_attr	attr;
	pid_t			pid;
	int			cpu;
	bool			cgroup;
	struct event		*leader;
	enum state		state;
	/* @val is of the time when it was disabled */
	bool			frozen;
	/* A read failed since it was opened: what is missing may come at any time */
	bool			faulty;
	/* Of a leader: remove_on_exec may break the group */
	bool			loose;
	__u64			id;
	__u64			val;
	__u64			enabled;
	__u64			running;
	/* When it was opened */
	__u64			since;
	struct perf_event_mmap_page *page;
	size_t			len;
	/* Others may write to its page */
	bool			shared;
};

/* One group for each puppet: total, task-clock, switches and every package */
enum { REF_TOTAL, REF_CLOCK, REF_SWITCHES, REF_PKG };

static struct family {
	struct puppet	p;
	bool		busy;
	bool		execs;
	int		fd[REF_PKG + PKG_MAX];
	__u64		base[REF_PKG + PKG_MAX];
	bool		valid;
} families[NR_PUPPETS];

static struct event events[NR_EVENTS];
static unsigned long operation;
static int nr_cpus, pmu_type, domain_type;
/* Of resctrl and resctrl_task, where the CPU has them */
static int rdt_types[2], nr_rdt;

static inline enum kind kind_of(const struct perf_event_attr *attr)
{
	if (attr->type != (unsigned int)pmu_type && attr->type != (unsigned int)domain_type)
		return KIND_OTHER;
	if ((attr->config & 0xff) == PKG_AGE)
		return KIND_AGE;
	return (attr->config & 0xff) == PKG_CLOCK ? KIND_LEVEL : KIND_COUNT;
}

/* How many CPUs count for it at a time, at most */
static inline unsigned int counting(const struct event *e)
{
	return e->attr.inherit || e->attr.type == (unsigned int)domain_type ? nr_cpus : 1;
}

/* @e may be NULL */
static inline bool expect(bool ok, enum rule rule, const struct event *e, const char *what,
			  __u64 a, __u64 b)
{
	char of[160] = "";

	if (!ok && e)
		snprintf(of, sizeof(of),
			 ": #%u of #%u: %u/%#llx,%#llx/ %d cpu %d%s%s%s state %d read %#llx",
			 e->serial, e->leader->serial, e->attr.type, e->attr.config,
			 e->attr.config1, e->pid, e->cpu, e->cgroup ? " cgroup" : "",
			 e->attr.inherit ? " inherit" : "", e->faulty ? " faulty" : "",
			 e->state, e->attr.read_format);
	return stress_expect(ok, rule, "operation %lu: %s: %llu (%lld), %llu (%lld)%s",
			     operation, what, a, (long long)a, b, (long long)b, of);
}

/* Policies 3 and 4 count all CPUs, others @nr of them */
static inline void expect_at_most(struct event *e, const char *what, __u64 val, __u64 time,
				  unsigned int nr)
{
	__u64 most = time + time / 50 + PKG_CLOCKS_NS;

	if ((e->attr.config >> 8 & 0xf) >= PKG_POLICY_SCOPE)
		nr = nr_cpus;
	most *= nr;
	expect((long long)val >= 0 && val <= most, RULE_RANGE, e, what, val, most);
}

static inline bool can_freeze(const struct event *e)
{
	return e->state == STATE_OFF && (e->kind == KIND_COUNT || e->kind == KIND_LEVEL);
}

static inline void check_value(struct event *e, __u64 val)
{
	__u64 now = pkg_now(CLOCK_MONOTONIC);

	if (e->kind == KIND_OTHER)
		return;
	if (e->kind == KIND_LEVEL)
		expect_at_most(e, "level, now", val, now, topo.nr);
	else if (e->kind == KIND_AGE)
		expect_at_most(e, "age, now", val, now, 1);
	else
		expect_at_most(e, "count, time", val, now - e->since, counting(e));
	if (e->kind == KIND_COUNT)
		expect(val >= e->val, RULE_STEP, e, "count, before", val, e->val);
	if (e->frozen && !e->faulty)
		expect(val == e->val, RULE_FROZEN, e, "frozen, before", val, e->val);
	e->val = val;
	e->frozen = can_freeze(e);
}

static inline void check_times(struct event *e, __u64 enabled, __u64 running)
{
	__u64 format = e->attr.read_format;

	if (format & PERF_FORMAT_TOTAL_TIME_ENABLED) {
		expect(enabled >= e->enabled, RULE_TIMES, e, "enabled, before", enabled,
		       e->enabled);
		e->enabled = enabled;
	}
	if (!(format & PERF_FORMAT_TOTAL_TIME_RUNNING))
		return;
	expect(running >= e->running, RULE_TIMES, e, "running, before", running, e->running);
	e->running = running;
	if (format & PERF_FORMAT_TOTAL_TIME_ENABLED)
		expect(enabled >= running, RULE_TIMES, e, "enabled, running", enabled, running);
}

/* Reading */

static inline int group_of(struct event *leader, struct event **group)
{
	int i, j, nr = 0;

	for (i = 0; i < NR_EVENTS; i++) {
		struct event *e = &events[i];

		if (e->fd < 0 || e->leader != leader)
			continue;
		for (j = nr++; j && group[j - 1]->serial > e->serial; j--)
			group[j] = group[j - 1];
		group[j] = e;
	}
	return nr;
}

static inline void parse(struct event *e, __u64 *buf, struct event **group, int nr)
{
	__u64 format = e->attr.read_format, enabled = 0, running = 0, val;
	bool grouped = format & PERF_FORMAT_GROUP;
	int i;

	if (grouped)
		expect(*buf == (__u64)nr, RULE_FORMAT, e, "members", *buf, nr);
	val = *buf++;
	if (format & PERF_FORMAT_TOTAL_TIME_ENABLED)
		enabled = *buf++;
	if (format & PERF_FORMAT_TOTAL_TIME_RUNNING)
		running = *buf++;
	/* The times of a group are those of its leader */
	if (!grouped || e == e->leader)
		check_times(e, enabled, running);
	for (i = 0; i < nr; i++) {
		if (grouped)
			val = *buf++;
		check_value(group[i], val);
		if (format & PERF_FORMAT_ID) {
			expect(*buf == group[i]->id, RULE_FORMAT, group[i], "id", *buf,
			       group[i]->id);
			buf++;
		}
		buf += !!(format & PERF_FORMAT_LOST);
	}
	if (!grouped && format & PERF_FORMAT_TOTAL_TIME_RUNNING && e->kind == KIND_COUNT)
		expect_at_most(e, "count, running", val, running,
			       e->attr.type == (unsigned int)domain_type ? nr_cpus : 1);
}

static inline void read_event(struct event *e)
{
	bool grouped = e->attr.read_format & PERF_FORMAT_GROUP;
	__u64 buf[512], offset = 0, format = e->attr.read_format;
	struct event *group[NR_EVENTS] = { e };
	int nr = 1, len, want;

	if (e->leader->loose && grouped)
		return;
	if (grouped)
		nr = group_of(e->leader, group);
	want = nr * (1 + !!(format & PERF_FORMAT_ID) + !!(format & PERF_FORMAT_LOST));
	want += grouped + !!(format & PERF_FORMAT_TOTAL_TIME_ENABLED);
	want += !!(format & PERF_FORMAT_TOTAL_TIME_RUNNING);
	want *= sizeof(*buf);

	if (e->page) {
		expect(!e->page->index || e->kind == KIND_OTHER, RULE_FORMAT, e, "index",
		       e->page->index, 0);
		offset = __atomic_load_n(&e->page->offset, __ATOMIC_RELAXED);
	}
	if (percent(10)) {
		len = read(e->fd, buf, below(want));
		len = len < 0 ? -errno : len;
		expect(len == -ENOSPC || (!len && e->attr.pinned), RULE_FORMAT, e, "short read",
		       len, want);
	}
	len = read(e->fd, buf, want + below(64));
	len = len < 0 ? -errno : len;
	/* resctrl's groups may be over */
	if (len == -ENODEV && e->kind == KIND_OTHER)
		return;
	/* A pinned event may be over; children may be older than the group is now */
	if ((!len && e->leader->attr.pinned) || (len == -ECHILD && grouped && e->attr.inherit))
		return;
	if (!expect(len == want, RULE_FORMAT, e, "length", len, want))
		return;
	parse(e, buf, group, nr);
	if (e->page && !e->shared && e->kind == KIND_COUNT)
		expect(offset <= e->val, RULE_STEP, e, "count, offset before", e->val, offset);
}

/*
 * Whether the state of the event is that of its whole family. A task that is being forked
 * takes the one its parent had before, if that is a child itself or has a child's context.
 */
static inline bool all_heard(const struct event *e)
{
	int i;

	for (i = 0; i < NR_PUPPETS && e->attr.inherit; i++)
		if (families[i].busy && (!e->pid || families[i].p.pid == e->pid))
			return false;
	return true;
}

static inline void set_state(struct event *e, enum state state)
{
	if (!all_heard(e) || e->attr.enable_on_exec)
		state = STATE_UNSURE;
	if (e->state != state)
		e->frozen = false;
	e->state = state;
}

/* Families */

static inline bool any_fault(void)
{
	return pkg_get(PKG_PARAM, "fail_read");
}

static inline bool read_family(struct family *f, __u64 *val)
{
	return !pkg_read(f->fd[0], val, REF_PKG + topo.nr);
}

/* The puppet sleeps, or is gone: all that its family ran has been counted */
static inline void check_family(struct family *f)
{
	__u64 val[REF_PKG + PKG_MAX], sum = 0, total, clock, switches;
	bool valid = f->valid && !any_fault();
	int i;

	if (!expect(read_family(f, val), RULE_FAMILY, NULL, "family", f->p.pid, 0))
		return;
	for (i = 0; i < topo.nr; i++)
		sum += val[REF_PKG + i] - f->base[REF_PKG + i];
	total = val[REF_TOTAL] - f->base[REF_TOTAL];
	clock = val[REF_CLOCK] - f->base[REF_CLOCK];
	switches = val[REF_SWITCHES] - f->base[REF_SWITCHES];
	if (valid) {
		expect(pkg_near(sum, total, switches), RULE_FAMILY, NULL, "sum, total", sum,
		       total);
		expect(pkg_near(total, clock, switches), RULE_FAMILY, NULL, "total, task-clock",
		       total, clock);
	}
	memcpy(f->base, val, sizeof(val));
}

static inline void open_family(struct family *f)
{
	struct perf_event_attr attr = pkg_attr(PKG_RUNTIME, PKG_ALL);
	int i;

	for (i = 0; i < REF_PKG + topo.nr; i++) {
		if (i == REF_CLOCK)
			attr = pkg_sw_attr(PERF_COUNT_SW_TASK_CLOCK);
		else if (i == REF_SWITCHES)
			attr = pkg_sw_attr(PERF_COUNT_SW_CONTEXT_SWITCHES);
		else if (i)
			attr = pkg_attr(PKG_RUNTIME, topo.pkg[i - REF_PKG].id);
		attr.inherit = 1;
		attr.read_format = PERF_FORMAT_GROUP;
		f->fd[i] = pkg_open(attr, f->p.pid, -1, i ? f->fd[0] : -1);
		expect(f->fd[i] >= 0, RULE_FAMILY, NULL, "open", f->fd[i], i);
	}
	memset(f->base, 0, sizeof(f->base));
}

#endif /* PKG_FUZZ_H */
