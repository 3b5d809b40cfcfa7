#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Records the tracepoints of package-scope counters around a run of perf stat,
# and checks that they tell one story, which is also the one perf tells.

# shellcheck source=pkg_lib.sh
. "$(dirname "$0")/pkg_lib.sh"

# The bare event has no scale: perf prints ns
EVENT=pkg_clock/event=1/

record() {
	trace-cmd record -q -C mono -b 20000 -o "$TMP/trace.dat" -e perf_pkg \
		perf stat -x\; -o "$TMP/stat" -e $EVENT -- "$DIR/pkg_load" "$1" &&
		trace-cmd report -t -i "$TMP/trace.dat" > "$TMP/report" 2> "$TMP/errors"
}

counted() {
	awk -F\; -v event=$EVENT '$3 == event { print $1 }' "$TMP/stat"
}

sequence() {
	record "$1" || return
	cpu_ids > "$TMP/cpus"
	awk -v expect="$(counted)" -f "$DIR/pkg_trace.awk" "$TMP/cpus" "$TMP/report"
}

# No event, no timer, not even one that finds nothing to do
quiet() {
	trace-cmd record -q -C mono -o "$TMP/trace.dat" -e perf_pkg "$DIR/pkg_load" 20 &&
		trace-cmd report -i "$TMP/trace.dat" > "$TMP/report" 2> "$TMP/errors" || return
	! grep 'pmu=pkg_clock' "$TMP/report"
}

setup perf trace-cmd
set_interval 1000
ktap_set_plan 4

run "nothing without events" quiet
run "sequence of a few moves" sequence 50
run "sequence of a migrating task" sequence 500
run "nothing after the last event" quiet

ktap_finished
