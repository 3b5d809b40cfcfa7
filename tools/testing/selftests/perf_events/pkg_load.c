// SPDX-License-Identifier: GPL-2.0
/*
 * Something to measure: runs on the CPUs of all packages in turn.
 * Usage: pkg_load [MOVES], without a number until it is killed
 */
#define _GNU_SOURCE

#include "pkg_puppet.h"

int main(int argc, char *argv[])
{
	long moves = argc > 1 ? atol(argv[1]) : LONG_MAX;

	pkg_find_cpus();
	return topo.nr && pkg_migrate(moves) > 0 ? KSFT_PASS : KSFT_FAIL;
}
