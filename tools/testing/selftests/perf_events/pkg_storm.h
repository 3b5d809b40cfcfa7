/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A crew: processes that each do the steps of a role over and over, until all
 * have done enough. Who makes no progress is found.
 */
#ifndef PKG_STORM_H
#define PKG_STORM_H

#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "pkg_stress.h"

#define CREW_MAX	16
#define CREW_TASKS	16
#define CREW_TALLIES	16
#define CREW_STUCK_NS	(60 * NSEC_PER_SEC)

struct role {
	const char	*name;
	/* Processes */
	int		nr;
	/* Steps that each makes, at least */
	unsigned int	rounds;
	void		(*step)(void);
	/* Called before the end, and before the worker waits in a calm */
	void		(*quiet)(void);
	/* Does not wait in a calm */
	bool		busy;
};

struct worker {
	const struct role	*role;
	pid_t			pid;
	bool			gone;
	bool			parked;
	__u64			steps;
	/* Moves while it makes progress within a step, or waits as it should */
	__u64			beats;
	/* What the watcher saw of them, and when they moved */
	__u64			seen;
	__u64			since;
};

/* Shared by all workers and who watches them */
static struct crew {
	bool		stop;
	/* Workers become quiet and wait */
	bool		calm;
	int		nr;
	/* Of how many was that the end */
	int		stuck;
	int		failed;
	/* Those that events are opened for, 0: the opener */
	pid_t		task[CREW_TASKS];
	/* For the reader of the log: what the numbers of checks do not tell */
	__u64		tally[CREW_TALLIES];
	struct worker	worker[CREW_MAX];
} *crew;

static struct worker *me;

static inline bool is_set(const bool *flag)
{
	return __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

static inline void set(bool *flag, bool val)
{
	__atomic_store_n(flag, val, __ATOMIC_RELEASE);
}

static inline void count(int tally, long n)
{
	__atomic_fetch_add(&crew->tally[tally], n, __ATOMIC_RELAXED);
}

static inline void print_tallies(const char * const *names, int nr)
{
	int i;

	for (i = 0; i < nr; i++)
		ksft_print_msg("%-50s %llu\n", names[i], crew->tally[i]);
}

static inline pid_t any_task(void)
{
	return crew->task[below(CREW_TASKS)];
}

static inline void beat(void)
{
	__atomic_fetch_add(&me->beats, 1, __ATOMIC_RELAXED);
}

/* Returns false if the end comes first */
static inline bool crew_calm(void)
{
	int i;

	set(&crew->calm, true);
	for (i = 0; i < crew->nr; i++) {
		while (!is_set(&crew->worker[i].parked)) {
			if (is_set(&crew->stop))
				return false;
			beat();
			usleep(1000);
		}
	}
	return true;
}

static inline void be_quiet(void)
{
	if (me->role->quiet)
		me->role->quiet();
	set(&me->parked, true);
}

static inline void work(void)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGINT, SIG_IGN);
	set(&me->parked, me->role->busy);
	for (; !is_set(&crew->stop); me->steps++, beat()) {
		if (me->role->busy || !is_set(&crew->calm)) {
			me->role->step();
			continue;
		}
		be_quiet();
		for (; !is_set(&crew->stop) && is_set(&crew->calm); beat())
			usleep(1000);
		set(&me->parked, false);
	}
	be_quiet();
	exit(KSFT_PASS);
}

static inline void crew_stop(int unused)
{
	set(&crew->stop, true);
}

static inline void crew_add(const struct role *role)
{
	struct worker *w = &crew->worker[crew->nr++];
	pid_t pid;

	w->role = role;
	pid = stress_fork();
	if (pid < 0)
		ksft_exit_fail_msg("no process for a %s: %s\n", role->name, strerror(errno));
	if (!pid) {
		me = w;
		work();
	}
	w->pid = pid;
}

static inline void crew_start(const struct role *roles, int nr)
{
	const struct role *role;
	int i;

	crew = stress_share(sizeof(*crew));
	signal(SIGINT, crew_stop);
	signal(SIGTERM, crew_stop);
	for (role = roles; role < roles + nr; role++)
		for (i = 0; i < role->nr; i++)
			crew_add(role);
}

static inline void tell_stuck(const struct worker *w)
{
	char cmd[64];

	ksft_print_msg("%s makes no progress in step %llu\n", w->role->name, w->steps);
	snprintf(cmd, sizeof(cmd), "sed 's/^/# /' /proc/%d/stack", w->pid);
	if (system(cmd))
		ksft_print_msg("its stack is not known\n");
}

static inline void look_at(struct worker *w, __u64 now)
{
	__u64 beats = __atomic_load_n(&w->beats, __ATOMIC_RELAXED);
	int status;

	if (waitpid(w->pid, &status, WNOHANG) == w->pid) {
		w->gone = true;
		if (!status && is_set(&crew->stop))
			return;
		ksft_print_msg("%s: status %#x\n", w->role->name, status);
		crew->failed++;
	} else if (beats != w->seen || !w->since) {
		w->seen = beats;
		w->since = now;
	} else if (now - w->since > CREW_STUCK_NS) {
		tell_stuck(w);
		crew->stuck++;
	}
}

static inline void tell_slow(void)
{
	struct worker *w;

	for (w = crew->worker; w < crew->worker + crew->nr; w++)
		if (w->steps < w->role->rounds)
			ksft_print_msg("waits for the %s: %llu of %u steps\n", w->role->name,
				       w->steps, w->role->rounds);
}

/* Until all have done enough and ended; or one is stuck, and is ended */
static inline void crew_watch(__u64 seconds)
{
	__u64 now = pkg_now(CLOCK_MONOTONIC), end = now + seconds * NSEC_PER_SEC;
	__u64 slow = end + CREW_STUCK_NS;
	struct worker *w, *last = crew->worker + crew->nr;
	int left;
	bool done;

	do {
		usleep(100000);
		now = pkg_now(CLOCK_MONOTONIC);
		done = now >= end;
		left = 0;
		for (w = crew->worker; w < last; w++) {
			done &= w->steps >= w->role->rounds;
			if (!w->gone)
				look_at(w, now);
			left += !w->gone;
		}
		if (now >= slow) {
			tell_slow();
			slow += CREW_STUCK_NS;
		}
		if (done || crew->stuck || crew->failed)
			set(&crew->stop, true);
	} while (left && !crew->stuck);
	for (w = crew->worker; w < last; w++) {
		if (!w->gone)
			kill(w->pid, SIGKILL);
		ksft_print_msg("%-30s %llu steps\n", w->role->name, w->steps);
	}
}

#endif /* PKG_STORM_H */
