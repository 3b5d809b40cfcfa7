/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Puppets: tasks that do what a test tells them and sleep in between. Once
 * puppet_call() returns, the puppet has been switched out, so its counts stand
 * still and are exact.
 */
#ifndef PKG_PUPPET_H
#define PKG_PUPPET_H

#include <ctype.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "pkg_clock.h"

/* Two pipes: with one socket for both ways, to take an answer wakes who gave it */
struct puppet {
	pid_t	pid;
	int	call;
	int	answer;
};

struct puppet_call {
	long	(*fn)(long arg);
	long	arg;
};

/* Memory that the test and all its puppets share */
static struct pkg_shared {
	int	stop;
	int	started[PKG_MAX_CPUS];
	__u64	ended[PKG_MAX_CPUS];
} *shared;

static inline int pkg_share(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared != MAP_FAILED)
		return 0;
	shared = NULL;
	return -ENOMEM;
}

static inline long pkg_pin(long cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	return sched_setaffinity(0, sizeof(set), &set);
}

/* Runs for @us of CPU time */
static inline long pkg_burn(long us)
{
	__u64 end = pkg_now(CLOCK_THREAD_CPUTIME_ID) + us * NSEC_PER_USEC;

	while (pkg_now(CLOCK_THREAD_CPUTIME_ID) < end)
		;
	return 0;
}

/* Runs until pkg_stop() */
static inline long pkg_spin(long unused)
{
	while (!__atomic_load_n(&shared->stop, __ATOMIC_ACQUIRE))
		;
	return unused;
}

static inline void pkg_stop(int stop)
{
	__atomic_store_n(&shared->stop, stop, __ATOMIC_RELEASE);
}

/* Runs on the CPUs of all packages in turn, @times altogether; returns how often it moved */
static inline long pkg_migrate(long times)
{
	long i, moves = 0;
	int p, n;

	for (i = 0; i < times; i++) {
		p = i % topo.nr;
		n = i / topo.nr % topo.pkg[p].nr_cpus;
		moves += !pkg_pin(topo.pkg[p].cpu[n]);
		pkg_burn(300);
	}
	return moves;
}

static inline void puppet_main(int in, int out)
{
	struct puppet_call call;
	long ret;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	while (read(in, &call, sizeof(call)) == sizeof(call) && call.fn) {
		ret = call.fn(call.arg);
		if (write(out, &ret, sizeof(ret)) != sizeof(ret))
			break;
	}
	_exit(0);
}

/*
 * Waits until a puppet waits for the next call, and has been switched out for
 * it: the kernel does not say in which system call a task that still runs is.
 */
static inline int puppet_wait_asleep(struct puppet *p)
{
	__u64 end = pkg_now(CLOCK_MONOTONIC) + PKG_PATIENCE_NS;
	char path[64], buf[16];
	int fd, len;

	snprintf(path, sizeof(path), "/proc/%d/syscall", p->pid);
	do {
		fd = open(path, O_RDONLY | O_CLOEXEC);
		len = read(fd, buf, sizeof(buf) - 1);
		close(fd);
		if (len <= 0)
			return -ESRCH;
		buf[len] = 0;
		if (isdigit(buf[0]) && atoi(buf) == __NR_read)
			return 0;
		usleep(100);
	} while (pkg_now(CLOCK_MONOTONIC) < end);
	return -ETIMEDOUT;
}

static inline int puppet_new(struct puppet *p)
{
	int call[2], answer[2];

	if (!shared && pkg_share())
		return -ENOMEM;
	/* It may be gone when it is called */
	signal(SIGPIPE, SIG_IGN);
	if (pipe2(call, O_CLOEXEC) || pipe2(answer, O_CLOEXEC))
		return -errno;
	p->pid = fork();
	if (p->pid < 0)
		return -errno;
	if (!p->pid)
		puppet_main(call[0], answer[1]);
	close(call[0]);
	close(answer[1]);
	p->call = call[1];
	p->answer = answer[0];
	return puppet_wait_asleep(p);
}

static inline int puppet_start(struct puppet *p, long (*fn)(long arg), long arg)
{
	struct puppet_call call = { fn, arg };

	return write(p->call, &call, sizeof(call)) == sizeof(call) ? 0 : -errno;
}

/* Returns what the call returned, once the puppet sleeps again */
static inline long puppet_wait(struct puppet *p)
{
	long ret;

	if (read(p->answer, &ret, sizeof(ret)) != sizeof(ret) || puppet_wait_asleep(p))
		return LONG_MIN;
	return ret;
}

static inline long puppet_call(struct puppet *p, long (*fn)(long arg), long arg)
{
	return puppet_start(p, fn, arg) ?: puppet_wait(p);
}

/* Lets the puppet exit. Returns once it has. */
static inline void puppet_end(struct puppet *p)
{
	puppet_start(p, NULL, 0);
	close(p->call);
	close(p->answer);
	waitpid(p->pid, NULL, 0);
}

/* Whether @fd and @ref count the same while the puppet does fn(arg) */
static inline bool puppet_agree(struct puppet *p, int fd, int ref,
				long (*fn)(long arg), long arg, unsigned int switches)
{
	__u64 val = pkg_count(fd), core = pkg_count(ref);

	if (puppet_call(p, fn, arg) < 0)
		return false;
	val = pkg_count(fd) - val;
	core = pkg_count(ref) - core;
	if (pkg_near(val, core, switches))
		return true;
	ksft_print_msg("counted %llu ns, task-clock %llu ns\n", val, core);
	return false;
}

#endif /* PKG_PUPPET_H */
