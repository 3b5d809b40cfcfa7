# SPDX-License-Identifier: GPL-2.0
# Package-scope counters for perf: everything one does with this repository.
# The work is in series/ (the patches) and vm/ (kernels, guests, tests).

export BASE ?= 6.12

help:		## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { sub(/:.*/, "", $$1); gsub(/[$$][(]BASE[)]/, "$(BASE)"); printf "  make %-12s %s\n", $$1, $$2 }' Makefile
	@echo '  Variables:   BASE=$(BASE) (kernel), SEEDS=n (test), MINUTES=n (stress), MODEL=intel|amd, ACCEL=tcg|kvm (guests),'
	@echo '               SIGNOFF="Name <mail>" (series),'
	@echo '               CONFIG=file, LOCALMODCONFIG=1, DEBUG_INFO=1 (deb)'

run: ours	## the demonstration: two packages, real perf and trace-cmd (first time: some minutes)
	@vm/run -n demo -- vm/demo

test: deps	## everything that can be checked, one summary at the end (under an hour)
	@vm/test

debug-test: emulator	## KUnit and the kselftests on a kernel with lockdep, KASAN and friends
	@vm/test debug

stress: emulator	## storms, a fuzzer, faults, on debug, KCSAN and real-time kernels (MINUTES=30)
	@vm/stress

mutants: emulator	## faults in the kernel, each of which the tests must notice (an hour)
	@vm/mutants

bench: emulator	## staleness and cost, side by side with the alternatives: out/bench (half an hour)
	@vm/bench

shell: ours	## a guest to play in, with the pkg_clock module loaded
	@vm/shell

tree: deps	## out/$(BASE)/git: the series as git commits, to edit in
	@series/tree git

harvest:	## store the commits of out/$(BASE)/git back as files of this repository
	@series/harvest

series: deps	## out/series/*.patch, ready for `git am`
	@series/export

deb:		## Debian packages of the kernel with the series, for a real server: out/deb, see SERVER.md
	@vm/deps deb
	@series/deb

check: deps	## check the series itself: applies, exports, builds commit by commit, checkpatch
	@series/check

deps:		## install the Debian packages that are missing
	@vm/deps

clean:		## remove out/
	rm -rf out

ours: emulator
	@vm/build ours

# 3: it cannot be had, then Debian's QEMU has to do
emulator: deps
	@vm/qemu/build || [ $$? -eq 3 ]

.PHONY: help run test bench debug-test stress mutants shell tree harvest series deb check deps clean ours emulator
