/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For programs that do many things at random: options, chance from a seed, rules
 * that must hold and how often they did, knobs and what they take.
 */
#ifndef PKG_STRESS_H
#define PKG_STRESS_H

#include <stdarg.h>

#include "pkg_fresh.h"

#define STRESS_RULES	24
/* Of one rule: more say nothing new */
#define STRESS_REPORTS	10

/* Of this program, and shared with its children */
static struct stress {
	/* Options; 0 is for the program to choose, or no limit */
	__u64			seed;
	__u64			seconds;
	unsigned long		nr;
	const char * const	*rules;
	struct {
		__u64		checks;
		__u64		broken;
	} rule[STRESS_RULES];
} *stress;

static inline void *stress_share(size_t size)
{
	void *mem = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (mem == MAP_FAILED)
		ksft_exit_fail_msg("no shared memory\n");
	return mem;
}

/* Chance */

static __u64 rng;

static inline __u64 rnd(void)
{
	__u64 z = rng += 0x9e3779b97f4a7c15ULL;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ z >> 27) * 0x94d049bb133111ebULL;
	return z ^ z >> 31;
}

static inline unsigned int below(unsigned int n)
{
	return rnd() % n;
}

static inline bool percent(unsigned int p)
{
	return below(100) < p;
}

#define PICK(...) ({						\
	static const __u64 __of[] = { __VA_ARGS__ };		\
								\
	__of[below(ARRAY_SIZE(__of))];				\
})

static inline int any_cpu(void)
{
	int p = below(topo.nr);

	return topo.pkg[p].cpu[below(topo.pkg[p].nr_cpus)];
}

/* The child has chances of its own */
static inline pid_t stress_fork(void)
{
	__u64 seed = rnd();
	pid_t pid = fork();

	if (!pid)
		rng = seed;
	return pid;
}

/* Becomes another program, which runs for @us: see stress_begin() */
static inline long stress_exec(long us)
{
	char arg[32];

	snprintf(arg, sizeof(arg), "%ld", us);
	execl("/proc/self/exe", "burn", arg, NULL);
	_exit(KSFT_FAIL);
}

/* Rules */

/* Returns whether it is so */
__printf(3, 4)
static inline bool stress_expect(bool ok, int rule, const char *fmt, ...)
{
	char text[512];
	va_list args;

	__atomic_fetch_add(&stress->rule[rule].checks, 1, __ATOMIC_RELAXED);
	if (ok)
		return true;
	if (__atomic_fetch_add(&stress->rule[rule].broken, 1, __ATOMIC_RELAXED) >= STRESS_REPORTS)
		return false;
	va_start(args, fmt);
	vsnprintf(text, sizeof(text), fmt, args);
	va_end(args);
	ksft_print_msg("%s: not so: %s\n", stress->rules[rule], text);
	return false;
}

/* Each rule is a test; it is skipped if there was nothing to check */
static inline void stress_report(void)
{
	int i, result;

	for (i = 0; stress->rules[i]; i++) {
		result = stress->rule[i].broken ? KSFT_FAIL :
			 stress->rule[i].checks ? KSFT_PASS : KSFT_SKIP;
		ksft_print_msg("%llu of %llu checks failed\n", stress->rule[i].broken,
			       stress->rule[i].checks);
		ksft_test_result_report(result, "%s\n", stress->rules[i]);
	}
}

/* @rules ends with NULL; @nr_of: what there may be a number of */
static inline void stress_begin(int argc, char *argv[], const char * const *rules,
				const char *nr_of)
{
	int opt;

	if (!strcmp(argv[0], "burn") && argc > 1)
		exit(pkg_burn(atol(argv[1])));
	stress = stress_share(sizeof(*stress));
	stress->seed = 1;
	stress->rules = rules;
	while ((opt = getopt(argc, argv, "s:t:n:")) != -1) {
		if (opt == 's') {
			stress->seed = strtoull(optarg, NULL, 0);
		} else if (opt == 't') {
			stress->seconds = strtoull(optarg, NULL, 0);
		} else if (opt == 'n') {
			stress->nr = strtoul(optarg, NULL, 0);
		} else {
			fprintf(stderr, "Usage: %s [-s SEED] [-t SECONDS] [-n %s]\n", argv[0],
				nr_of);
			exit(KSFT_FAIL);
		}
	}
	rng = stress->seed * 0x2545f4914f6cdd1dULL;
	setlinebuf(stdout);
	ksft_print_header();
	ksft_print_msg("seed %llu\n", stress->seed);
}

/* Knobs */

static const struct stress_knob {
	const char	*good[6];
	const char	*bad[4];
} stress_knobs[FRESH_KNOBS] = {
	[FRESH_INTERVAL] = {
		{ "0", "100", "137", "1000", "10000", "10000000" },
		{ "99", "1000000001", "-1", "nonsense" },
	},
	[FRESH_MAX_AGE] = {
		{ "off", "1", "100", "5000", "300000", "10000000" },
		{ "0", "10000001", "-1", "of" },
	},
};

/* A value that the knob takes */
static inline const char *stress_good(enum fresh_knob knob)
{
	return stress_knobs[knob].good[below(ARRAY_SIZE(stress_knobs->good))];
}

/* Returns -EIO if it took the value, but has another one then */
static inline int stress_set_knob(enum fresh_knob knob, const char *val)
{
	int err = fresh_set_str(knob, val);
	char now[32];

	if (err)
		return err;
	fresh_get_line(fresh_pmu, fresh_knobs[knob], now, sizeof(now));
	return strcmp(now, val) ? -EIO : 0;
}

static inline void stress_save_knobs(void)
{
	int i;

	for (i = 0; i < FRESH_KNOBS; i++)
		fresh_get_line(fresh_pmu, fresh_knobs[i], fresh_saved[i], sizeof(fresh_saved[i]));
}

/* Returns whether all are what they were */
static inline bool stress_restore_knobs(void)
{
	bool ok = true;
	int i;

	for (i = 0; i < FRESH_KNOBS; i++)
		ok &= !stress_set_knob(i, fresh_saved[i]);
	return ok;
}

#endif /* PKG_STRESS_H */
