// SPDX-License-Identifier: GPL-2.0
/*
 * Random calls on package-scope events, sensible and not, while their tasks
 * fork, migrate, exec and exit. What is known of a count at any time is checked
 * at each read; what a family of tasks ran is checked whenever it sleeps.
 *
 *	pkg_fuzz [-s SEED] [-t SECONDS] [-n OPERATIONS]
 *
 * The same seed makes the same calls in the same order, as far as the kernel
 * and its timing let them. With -t as many as there is time for.
 */
#define _GNU_SOURCE

#include <pthread.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "pkg_fuzz.h"

#define NR_OPERATIONS	1500
#define MAX_GROUP	16
#define RESCTRL		"/sys/fs/resctrl"
#define CGROUP_ROOT	"/sys/fs/cgroup/"
#define CGROUP		CGROUP_ROOT "pkg_fuzz/"

static unsigned long nr_opens, errnos[256];
static unsigned int next_serial;
static int cgroup = -1;
/* By this program */
static bool mounted;

/* Opening */

static __u64 random_packages(void)
{
	switch (below(10)) {
	case 0 ... 4:
		return 0;
	case 5 ... 7:
		return 1ULL << topo.pkg[below(topo.nr)].id;
	case 8:
		return rnd() & ((2ULL << topo.pkg[topo.nr - 1].id) - 1);
	default:
		return rnd() & rnd();
	}
}

/* Signals would end puppets, and a short period all else */
static void tame(struct perf_event_attr *attr)
{
	attr->sigtrap = 0;
	if (attr->type != PERF_TYPE_SOFTWARE || !attr->sample_period)
		return;
	if (attr->freq)
		attr->sample_freq = 1 + attr->sample_freq % 100;
	else if (attr->sample_period < 10 * NSEC_PER_MSEC)
		attr->sample_period += 10 * NSEC_PER_MSEC;
}

/* Sensible, with nonsense in every fifth */
static struct perf_event_attr random_attr(void)
{
	struct perf_event_attr attr = { .type = pmu_type, .size = sizeof(attr) };

	if (percent(25)) {
		attr.type = domain_type;
		attr.config = PICK(PKG_BUSY, PKG_BUSY, PKG_CLOCK, PKG_AGE);
		attr.config1 = percent(5) ? random_packages() : 0;
	} else if (nr_rdt && percent(20)) {
		attr.type = rdt_types[below(nr_rdt)];
		/* Occupancy, total and local bytes */
		attr.config = PICK(1, 2, 2, 3, PKG_AGE);
		attr.config1 = percent(5) ? random_packages() : 0;
	} else if (percent(67)) {
		attr.config = PICK(PKG_RUNTIME, PKG_RUNTIME, PKG_RUNTIME, PKG_CLOCK, PKG_AGE);
		attr.config |= PKG_POLICY(percent(70) ? 0 : below(5));
		attr.config1 = random_packages();
	} else {
		attr.type = PERF_TYPE_SOFTWARE;
		attr.config = PICK(PERF_COUNT_SW_CPU_CLOCK, PERF_COUNT_SW_TASK_CLOCK,
				   PERF_COUNT_SW_CONTEXT_SWITCHES, PERF_COUNT_SW_DUMMY);
		attr.sample_period = percent(50) ? 0 : below(50 * NSEC_PER_MSEC);
		attr.sample_type = PICK(PERF_SAMPLE_READ, PERF_SAMPLE_READ | PERF_SAMPLE_TID,
					PERF_SAMPLE_TIME, PERF_SAMPLE_IDENTIFIER);
	}
	attr.read_format = below(PERF_FORMAT_MAX);
	attr.disabled = percent(40);
	attr.inherit = percent(40);
	attr.inherit_thread = attr.inherit && percent(20);
	attr.enable_on_exec = percent(10);
	attr.remove_on_exec = !attr.enable_on_exec && percent(5);
	attr.pinned = percent(5);
	attr.exclusive = percent(5);
	switch (below(30)) {
	case 0:
		attr.config = rnd() & PICK(0xff, 0xfff, ~0ULL);
		break;
	case 1:
		attr.sample_period = rnd() % NSEC_PER_SEC;
		break;
	case 2:
		attr.sample_type |= PERF_SAMPLE_READ | PERF_SAMPLE_TID;
		break;
	case 3:
		attr.inherit_stat = 1;
		break;
	case 4 ... 5:
		((__u8 *)&attr)[below(sizeof(attr))] = rnd();
	}
	tame(&attr);
	return attr;
}

static struct event *any_event(bool open)
{
	int i, first = below(NR_EVENTS);

	for (i = first; i < first + NR_EVENTS; i++) {
		struct event *e = &events[i % NR_EVENTS];

		if (open ? e->fd >= 0 : e->fd < 0)
			return e;
	}
	return NULL;
}

static void random_target(struct event *e)
{
	pid_t pid = families[below(NR_PUPPETS)].p.pid;
	unsigned int where = below(20);

	if (e->attr.type == (unsigned int)domain_type && percent(90))
		where = PICK(13, 14, 18);
	e->pid = where < 9 || where == 17 ? pid : where < 12 ? 0 : -1;
	e->cpu = where < 12 ? -1 : any_cpu();
	e->cgroup = where == 18 && cgroup >= 0;
	if (where == 19) {
		e->pid = PICK(0, -1, -2, 1 << 30);
		e->cpu = PICK(-1, -2, 1 << 20, 9999);
	}
}

/* Returns the file descriptor for the group, which may be nonsense */
static int random_group(struct event *e)
{
	struct event *other = percent(60) ? any_event(true) : NULL, *group[NR_EVENTS];

	if (!other)
		return percent(98) ? -1 : (int)PICK(0, 9999, -2);
	if (percent(5))
		return other->fd;
	other = other->leader;
	if (group_of(other, group) >= MAX_GROUP)
		return -1;
	e->pid = other->pid;
	e->cpu = other->cpu;
	e->cgroup = other->cgroup;
	e->attr.inherit = other->attr.inherit;
	e->attr.pinned = 0;
	e->attr.exclusive = 0;
	return other->fd;
}

static bool documented(int err)
{
	static const char errs[] = { EINVAL, ENODEV, EOPNOTSUPP, EBUSY, ENOSPC, EACCES, ENOENT,
				     ESRCH, EBADF, E2BIG, EOVERFLOW };

	return memchr(errs, err, sizeof(errs));
}

/*
 * The core moves a leader that is a software event, and its siblings, to the context of
 * the first sibling that is not: they begin anew, enabled if attr.disabled is not set.
 */
static void note_move(struct event *leader)
{
	struct event *group[NR_EVENTS];
	int nr = group_of(leader, group);

	while (nr--) {
		group[nr]->enabled = 0;
		group[nr]->running = 0;
		set_state(group[nr], STATE_UNSURE);
	}
}

static void op_open(void)
{
	unsigned long flags = percent(80) ? PERF_FLAG_FD_CLOEXEC : 0;
	struct event *e = any_event(false);
	static char buf[PATH_MAX];
	int fd, group, i;

	if (!e)
		return;
	memset(e, 0, sizeof(*e));
	e->fd = -1;
	e->leader = e;
	e->attr = random_attr();
	random_target(e);
	group = random_group(e);
	if (percent(5))
		flags |= PICK(PERF_FLAG_FD_OUTPUT, PERF_FLAG_FD_NO_GROUP, 1 << 20,
			      PERF_FLAG_PID_CGROUP);
	if (e->cgroup)
		flags |= PERF_FLAG_PID_CGROUP;

	nr_opens++;
	memcpy(buf, &e->attr, sizeof(e->attr));
	e->since = pkg_now(CLOCK_MONOTONIC);
	fd = syscall(__NR_perf_event_open, buf, e->cgroup ? cgroup : e->pid, e->cpu, group, flags);
	if (fd < 0) {
		errnos[errno & 0xff]++;
		expect(documented(errno) || kind_of(&e->attr) == KIND_OTHER, RULE_ERRNO, e,
		       "open", errno, flags);
		return;
	}
	for (i = 0; i < NR_EVENTS && group >= 0; i++) {
		if (events[i].fd != group)
			continue;
		if (!(flags & PERF_FLAG_FD_NO_GROUP))
			e->leader = events[i].leader;
		e->shared = flags & PERF_FLAG_FD_OUTPUT;
		events[i].shared |= e->shared;
	}
	e->fd = fd;
	e->serial = ++next_serial;
	e->kind = kind_of(&e->attr);
	if (e->attr.type == (unsigned int)domain_type ||
	    (nr_rdt && e->attr.type == (unsigned int)rdt_types[0]))
		note_move(e->leader);
	e->faulty = any_fault();
	e->leader->loose |= e->attr.remove_on_exec;
	set_state(e, e->attr.disabled ? STATE_OFF : STATE_ON);
	e->frozen = can_freeze(e);
	expect(!ioctl(fd, PERF_EVENT_IOC_ID, &e->id), RULE_ERRNO, e, "id", errno, 0);
}

static void close_event(struct event *e)
{
	int i;

	close(e->fd);
	e->fd = -1;
	if (e->page)
		munmap(e->page, e->len);
	/* The members of a group go on alone */
	for (i = 0; i < NR_EVENTS; i++)
		if (events[i].fd >= 0 && events[i].leader == e)
			events[i].leader = &events[i];
}

static void op_close(void)
{
	struct event *e = any_event(true);

	if (e)
		close_event(e);
}

static void op_read(void)
{
	struct event *e;
	int i;

	for (i = below(8); i >= 0; i--) {
		e = any_event(true);
		if (e)
			read_event(e);
	}
}

/* Control */

/* What it counted before and has not published yet comes afterwards */
static void note_reset(struct event *e)
{
	/* Others than ours set it to 0 */
	if (e->kind == KIND_LEVEL && (e->attr.config >> 8 & 0xf) >= PKG_POLICY_SCOPE)
		e->frozen = false;
	if (e->kind != KIND_COUNT)
		return;
	e->frozen = e->state == STATE_OFF;
	e->val = 0;
}

static void op_control(void)
{
	unsigned long req = PICK(PERF_EVENT_IOC_ENABLE, PERF_EVENT_IOC_DISABLE,
				 PERF_EVENT_IOC_RESET);
	struct event *e = any_event(true), *group[NR_EVENTS] = { e };
	unsigned long flag = percent(30) ? PERF_IOC_FLAG_GROUP : 0;
	int i, nr = 1;

	if (!e || (e->leader->loose && flag))
		return;
	if (flag)
		nr = group_of(e->leader, group);
	expect(!ioctl(e->fd, req, flag), RULE_ERRNO, e, "control", errno, req);
	for (i = 0; i < nr; i++) {
		if (req == PERF_EVENT_IOC_RESET)
			note_reset(group[i]);
		else
			set_state(group[i], req == PERF_EVENT_IOC_ENABLE ? STATE_ON : STATE_OFF);
	}
	if (req == PERF_EVENT_IOC_DISABLE)
		read_event(e);
}

/* All events that this task opened, those of the families too */
static void op_prctl(void)
{
	bool on = percent(50);
	int i;

	for (i = 0; i < NR_PUPPETS; i++)
		families[i].valid = false;
	prctl(on ? PR_TASK_PERF_EVENTS_ENABLE : PR_TASK_PERF_EVENTS_DISABLE);
	for (i = 0; i < NR_EVENTS; i++)
		if (events[i].fd >= 0)
			set_state(&events[i], on ? STATE_ON : STATE_OFF);
	for (i = 0; i < NR_PUPPETS && !on; i++)
		ioctl(families[i].fd[0], PERF_EVENT_IOC_ENABLE, PERF_IOC_FLAG_GROUP);
}

/* What our events refuse, and others may do or not */
static void op_refused(void)
{
	__u64 period = 10 * NSEC_PER_MSEC + below(NSEC_PER_SEC);
	struct perf_event_attr attr = random_attr();
	struct { unsigned long req, arg; } call[] = {
		{ PERF_EVENT_IOC_REFRESH,		below(4) },
		{ PERF_EVENT_IOC_PERIOD,		(unsigned long)&period },
		{ PERF_EVENT_IOC_SET_BPF,		PICK(-1, 0, 9999) },
		{ PERF_EVENT_IOC_SET_FILTER,		(unsigned long)"nonsense" },
		{ PERF_EVENT_IOC_MODIFY_ATTRIBUTES,	(unsigned long)&attr },
		{ _IO('$', 99),				rnd() },
	};
	int i = below(ARRAY_SIZE(call)), ret;
	struct event *e = any_event(true);

	if (!e)
		return;
	ret = ioctl(e->fd, call[i].req, call[i].arg);
	expect(ret < 0 || e->kind == KIND_OTHER, RULE_ERRNO, e, "must fail", ret, call[i].req);
}

static void op_output(void)
{
	struct event *e = any_event(true), *to = any_event(true);

	if (!e)
		return;
	if (percent(30)) {
		ioctl(e->fd, PERF_EVENT_IOC_PAUSE_OUTPUT, below(2));
	} else if (!ioctl(e->fd, PERF_EVENT_IOC_SET_OUTPUT, percent(20) ? -1 : to->fd)) {
		e->shared = true;
		to->shared = true;
	}
}

static void op_mmap(void)
{
	int prot = PROT_READ | (percent(70) ? PROT_WRITE : 0);
	struct event *e = any_event(true);
	void *page;

	if (!e)
		return;
	if (e->page) {
		munmap(e->page, e->len);
		e->page = NULL;
		return;
	}
	e->len = (1 + PICK(0, 1, 4, 3)) * getpagesize();
	page = mmap(NULL, e->len, prot, MAP_SHARED, e->fd, 0);
	e->page = page == MAP_FAILED ? NULL : page;
}

static void op_knob(void)
{
	int knob = below(FRESH_KNOBS), err, i;
	const char *val;

	/* Too much cannot be checked while reads fail */
	if (any_fault()) {
		pkg_set(PKG_PARAM, "fail_read", 0);
	} else if (percent(20)) {
		pkg_set(PKG_PARAM, "fail_read", PICK(0, 1, 2, 7, -1));
	} else if (percent(70)) {
		val = stress_good(knob);
		err = stress_set_knob(knob, val);
		expect(!err, RULE_ERRNO, NULL, val, err, knob);
	} else {
		val = stress_knobs[knob].bad[below(ARRAY_SIZE(stress_knobs->bad))];
		err = stress_set_knob(knob, val);
		expect(err == -EINVAL || err == -ERANGE, RULE_ERRNO, NULL, val, err, knob);
	}
	if (!any_fault())
		return;
	for (i = 0; i < NR_EVENTS; i++)
		events[i].faulty = true;
	for (i = 0; i < NR_PUPPETS; i++)
		families[i].valid = false;
}

/* Tasks: what puppets and their children do */

static void *thread(void *arg)
{
	pkg_migrate(1 + (long)arg % 3);
	return NULL;
}

static long act_threads(long nr)
{
	pthread_t t[4];
	long i;

	for (i = 0; i < nr; i++)
		if (pthread_create(&t[i], NULL, thread, (void *)i))
			break;
	while (i--)
		pthread_join(t[i], NULL);
	return 0;
}

/* Opens events and leaves them to be closed by exit */
static long act_open(long nr)
{
	struct perf_event_attr attr;
	char buf[64];
	int fd;

	while (nr--) {
		attr = random_attr();
		fd = pkg_open(attr, percent(50) ? 0 : -1, percent(50) ? any_cpu() : -1, -1);
		if (fd >= 0 && percent(50))
			pkg_burn(100);
		if (fd >= 0 && read(fd, buf, sizeof(buf)) < 0)
			close(fd);
	}
	return 0;
}

static long act_children(long depth)
{
	int i, nr = 1 + below(4);

	for (i = 0; i < nr; i++) {
		if (stress_fork())
			continue;
		pkg_migrate(below(5));
		if (percent(20))
			act_open(1 + below(4));
		if (depth > 1 && percent(20))
			act_threads(1 + below(3));
		if (depth > 1)
			act_children(depth - 1);
		if (percent(20))
			stress_exec(below(1000));
		_exit(0);
	}
	while (wait(NULL) > 0)
		;
	return 0;
}

/* The argument of a call, in which a puppet finds its own chances */
static long act_random(long arg)
{
	rng = arg;
	switch (below(6)) {
	case 0:
		return pkg_burn(below(3000));
	case 1:
		return act_threads(1 + below(4));
	case 2:
		return act_children(1);
	default:
		return pkg_migrate(2 + below(10));
	}
}

static long act_clan(long arg)
{
	rng = arg;
	return act_children(2 + below(2));
}

/* What a puppet holds open cannot be closed */
static long act_forget(long unused)
{
	int i;

	for (i = 0; i < NR_EVENTS; i++)
		close(events[i].fd);
	return unused;
}

/* Families */

static void new_family(struct family *f)
{
	if (puppet_new(&f->p))
		ksft_exit_fail_msg("operation %lu: no puppet\n", operation);
	puppet_call(&f->p, act_forget, 0);
	open_family(f);
	f->valid = !any_fault();
	if (cgroup >= 0 && percent(50))
		pkg_set(CGROUP, "cgroup.procs", f->p.pid);
}

/* Once it sleeps and was everywhere, reads that failed have been made up for */
static void settle(struct family *f)
{
	if (!f->busy)
		return;
	f->busy = false;
	if (f->execs) {
		waitpid(f->p.pid, NULL, 0);
	} else {
		expect(puppet_wait(&f->p) >= 0, RULE_FAMILY, NULL, "puppet", f->p.pid, 0);
		if (!f->valid && !any_fault())
			puppet_call(&f->p, pkg_migrate, 2 * topo.nr);
	}
	check_family(f);
	f->valid = !any_fault();
}

static void end_family(struct family *f)
{
	pid_t pid = f->p.pid;
	int i;

	settle(f);
	if (f->execs) {
		close(f->p.call);
		close(f->p.answer);
	} else {
		puppet_end(&f->p);
		check_family(f);
	}
	f->execs = false;
	f->p.pid = 0;
	for (i = 0; i < REF_PKG + topo.nr; i++)
		close(f->fd[i]);
	/* Its number may name another task one day, its events go on to be read */
	for (i = 0; i < NR_EVENTS; i++)
		if (events[i].fd >= 0 && events[i].pid == pid)
			events[i].pid = INT_MAX;
}

static void op_act(void)
{
	struct family *f = &families[below(NR_PUPPETS)];
	bool deep;

	settle(f);
	if (f->execs)
		return;
	f->busy = true;
	f->execs = percent(5);
	deep = percent(20);
	if (f->execs)
		puppet_start(&f->p, stress_exec, below(2000));
	else
		puppet_start(&f->p, deep ? act_clan : act_random, rnd() >> 1);
}

static void op_settle(void)
{
	struct family *f = &families[below(NR_PUPPETS)];

	settle(f);
	if (f->execs || percent(10)) {
		end_family(f);
		new_family(f);
	}
}

static void op_self(void)
{
	switch (below(4)) {
	case 0:
		pkg_pin(any_cpu());
		break;
	case 1:
		pkg_burn(below(1000));
		break;
	case 2:
		act_threads(1 + below(2));
		break;
	default:
		usleep(below(2000));
	}
}

/* Others that open events, of the same kind at the same time */
static void op_stranger(void)
{
	pid_t pid = stress_fork();

	if (!pid) {
		act_open(1 + below(8));
		_exit(0);
	}
	if (pid > 0)
		waitpid(pid, NULL, 0);
}

static struct operation {
	const char	*name;
	void		(*fn)(void);
	unsigned int	weight;
	unsigned long	done;
} operations[] = {
	{ "open",	op_open,	.weight = 18 },
	{ "close",	op_close,	.weight = 8 },
	{ "read",	op_read,	.weight = 32 },
	{ "control",	op_control,	.weight = 12 },
	{ "prctl",	op_prctl,	.weight = 1 },
	{ "refused",	op_refused,	.weight = 3 },
	{ "output",	op_output,	.weight = 3 },
	{ "mmap",	op_mmap,	.weight = 7 },
	{ "knob",	op_knob,	.weight = 3 },
	{ "act",	op_act,		.weight = 6 },
	{ "settle",	op_settle,	.weight = 3 },
	{ "self",	op_self,	.weight = 3 },
	{ "stranger",	op_stranger,	.weight = 1 },
};

static void random_operation(void)
{
	unsigned int i, at = 0;

	/* How much chance one operation takes makes no difference to the next */
	rng = stress->seed * 0x2545f4914f6cdd1dULL + operation;
	for (i = 0; i < ARRAY_SIZE(operations); i++)
		at += operations[i].weight;
	at = below(at);
	for (i = 0; at >= operations[i].weight; i++)
		at -= operations[i].weight;
	operations[i].done++;
	operations[i].fn();
}

/* Begin and end */

static long long module_users(void)
{
	return pkg_get("/sys/module/pkg_clock/", "refcnt");
}

static void begin(void)
{
	int i;

	for (i = 0; i < topo.nr; i++)
		nr_cpus += topo.pkg[i].nr_cpus;
	pmu_type = pkg_get(PKG_PMU, "type");
	domain_type = pkg_get(PKG_DOMAIN_PMU, "type");
	if (!access(PKG_DEVICES "resctrl_task/type", F_OK)) {
		mounted = !mount("resctrl", RESCTRL, "resctrl", 0, NULL);
		rdt_types[nr_rdt++] = pkg_get(PKG_DEVICES "resctrl/", "type");
		rdt_types[nr_rdt++] = pkg_get(PKG_DEVICES "resctrl_task/", "type");
	}
	for (i = 0; i < NR_EVENTS; i++)
		events[i].fd = -1;
	if (!mkdir(CGROUP, 0755) || errno == EEXIST)
		cgroup = open(CGROUP, O_RDONLY | O_CLOEXEC);
	if (cgroup >= 0 && access(CGROUP "cgroup.procs", F_OK)) {
		close(cgroup);
		cgroup = -1;
		rmdir(CGROUP);
	}
	stress_save_knobs();
	for (i = 0; i < NR_PUPPETS; i++)
		new_family(&families[i]);
}

static void end(long long users)
{
	__u64 patience = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	int i;

	pkg_set(PKG_PARAM, "fail_read", 0);
	expect(stress_restore_knobs(), RULE_CLEAN, NULL, "knobs", 0, 0);
	for (i = 0; i < NR_PUPPETS; i++)
		end_family(&families[i]);
	for (i = 0; i < NR_EVENTS; i++)
		if (events[i].fd >= 0)
			close_event(&events[i]);
	while (module_users() != users && pkg_now(CLOCK_MONOTONIC) < patience)
		usleep(10000);
	expect(module_users() == users, RULE_CLEAN, NULL, "events left, before", module_users(),
	       users);
	if (mounted)
		expect(!umount(RESCTRL), RULE_CLEAN, NULL, "resctrl", errno, 0);
	if (cgroup < 0)
		return;
	close(cgroup);
	while (rmdir(CGROUP) && errno == EBUSY && pkg_now(CLOCK_MONOTONIC) < patience)
		usleep(10000);
	expect(access(CGROUP, F_OK), RULE_CLEAN, NULL, "cgroup", 0, 0);
}

static void report(void)
{
	unsigned long failed = 0;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(operations); i++)
		ksft_print_msg("%8lu %s\n", operations[i].done, operations[i].name);
	for (i = 0; i < ARRAY_SIZE(errnos); i++) {
		failed += errnos[i];
		if (errnos[i])
			ksft_print_msg("%8lu opens failed: %s\n", errnos[i], strerror(i));
	}
	ksft_print_msg("%8lu of %lu opens succeeded\n", nr_opens - failed, nr_opens);
	stress_report();
	ksft_finished();
}

int main(int argc, char *argv[])
{
	unsigned long nr;
	const char *why;
	long long users;
	__u64 until;

	stress_begin(argc, argv, rules, "OPERATIONS");
	why = pkg_init(1);
	if (why)
		ksft_exit_skip("%s\n", why);
	ksft_set_plan(NR_RULES);
	users = module_users();
	begin();
	nr = stress->nr ?: stress->seconds ? ULONG_MAX : NR_OPERATIONS;
	until = stress->seconds ? pkg_now(CLOCK_MONOTONIC) + stress->seconds * NSEC_PER_SEC : ~0ULL;
	for (operation = 1; operation <= nr && pkg_now(CLOCK_MONOTONIC) < until; operation++)
		random_operation();
	end(users);
	report();
}
