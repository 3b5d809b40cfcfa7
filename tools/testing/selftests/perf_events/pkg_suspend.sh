#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# Suspends the machine under events of a task and of all CPUs, as far as each level
# of /sys/power/pm_test goes, and resumes: counts go on from where they were, and
# timers run again.

# shellcheck source=pkg_lib.sh
. "$(dirname "$0")/pkg_lib.sh"

PM_TEST=/sys/power/pm_test
DELAY=/sys/module/suspend/parameters/pm_test_delay
RUNTIME=pkg_clock/runtime/
CLOCK=pkg_clock_domain/clock/
REFRESH=perf_pkg:perf_pkg_refresh
LEVELS=(freezer devices platform processors core)
# The other levels are not there for this state
S2IDLE="freezer devices platform"

restore() {
	[ -z "${LOAD_PID:-}" ] || kill "$LOAD_PID" 2> /dev/null
	echo none > "$PM_TEST"
	echo "$OLD_DELAY" > "$DELAY"
	cleanup
}

# more FILE: waits for some more intervals in what perf stat -I writes there
more() {
	local before i

	before=$(stat -c %s "$1" 2> /dev/null)
	for ((i = 0; i < 600; i++)); do
		[ "$(stat -c %s "$1" 2> /dev/null || echo 0)" -lt $((${before:-0} + 500)) ] ||
			return 0
		sleep 0.1
	done
	echo "nothing more is counted in $1"
	return 1
}

# sum FILE EVENT: in ns; fails where a count stepped back, which perf subtracts unsigned
sum() {
	awk -F\; -v event="$2" '$4 == event && $2 ~ /^[0-9.]+$/ {
		val = $3 == "msec" ? $2 * 1000000 : $2
		if (val > 1e15)
			exit back = 1
		sum += val
	} END { if (back) exit 1; printf("%.0f", sum) }' "$1"
}

# A new event on each CPU needs the timer of each package
timers_run() {
	perf stat -x\; -o "$TMP/refresh" -a --per-socket -e $RUNTIME -e $REFRESH -- sleep 0.2 ||
		return
	cat "$TMP/refresh"
	[ "$(awk -F\; -v event=$REFRESH '$5 == event && $3 > 0' "$TMP/refresh" | wc -l)" -eq \
		"$(packages | wc -l)" ]
}

# goes_on LEVEL: what is counted on both sides of a suspend
goes_on() {
	local task_clock runtime

	"$DIR/pkg_load" &
	LOAD_PID=$!
	perf stat -x\; -I 100 -o "$TMP/task" -e task-clock -e $RUNTIME -p $LOAD_PID &
	perf stat -x\; -I 100 -o "$TMP/all" -a -e $RUNTIME -e $CLOCK -- \
		tail --pid=$LOAD_PID -f /dev/null &
	more "$TMP/task" && more "$TMP/all" || return

	# The machine spins meanwhile: at the last level, where all timers have been stopped
	[ "$1" = core ] && echo 1 > "$DELAY" || echo 0 > "$DELAY"
	if ! echo "$1" > "$PM_TEST" || ! echo "$STATE" > /sys/power/state; then
		dmesg | tail -n 5
		return 1
	fi

	more "$TMP/task" && more "$TMP/all" && timers_run || return
	kill $LOAD_PID
	wait
	task_clock=$(sum "$TMP/task" task-clock) && runtime=$(sum "$TMP/task" $RUNTIME) || return
	echo "task-clock $task_clock, runtime $runtime"
	sum "$TMP/all" $RUNTIME && sum "$TMP/all" $CLOCK || return
	[ "$runtime" -gt 0 ] && near "$runtime" "$task_clock" 3 20000000
}

# Devices that do not come back would take the files with them
survives() {
	[ "$1" = freezer ] || ! grep -q ' 9p ' /proc/mounts
}

# level LEVEL: one that this machine has
level() {
	local what="counts go on after a suspend as far as: $1"

	if grep -qw "$1" "$PM_TEST" && [[ "$STATE" = mem || "$S2IDLE" = *"$1"* ]] &&
	   survives "$1"; then
		rm -f "$TMP/task" "$TMP/all"
		run "$what" goes_on "$1"
	else
		ktap_test_skip "$what"
	fi
}

setup perf
[ -e "$PM_TEST" ] || skip_all "needs CONFIG_PM_DEBUG and CONFIG_SUSPEND"
STATE=$(grep -ow mem /sys/power/state || grep -ow freeze /sys/power/state) ||
	skip_all "nothing to suspend to"
OLD_DELAY=$(cat "$DELAY")
trap restore EXIT
set_interval 10000
ktap_set_plan ${#LEVELS[@]}

for name in "${LEVELS[@]}"; do
	level "$name"
done

ktap_finished
