#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# perf as users run it: each way to aggregate adds up to the same truth, which
# is the task-clock of the core, or the CPU time that the load burns at least.

# shellcheck source=pkg_lib.sh
. "$(dirname "$0")/pkg_lib.sh"

RUNTIME=pkg_clock/runtime/
BUSY=pkg_clock_domain/busy/
CLOCK=pkg_clock_domain/clock/
LOAD=$DIR/pkg_load
MOVES=1000
BURNT_NS=$((MOVES * 300000))
PERCENT=3

pkg_event() { printf 'pkg_clock/%s,domains=0x%x/\n' "$1" $((1 << $2)); }

# -e options for an event of each package
each_package() {
	local id

	for id in $(packages); do
		printf -- '-e %s ' "$(pkg_event "$1" "$id")"
	done
}

# A CPU of the last package, and the id of that
last_cpu() { cpu_ids | sort -nk2 -nk1 | tail -n 1; }

# Runs on one CPU, for a while
burn_on() { taskset -c "$1" awk 'BEGIN { for (i = 0; i < 2000000; i++) x += i }'; }

perf_stat() {
	perf stat -x\; -o "$TMP/stat" "$@" || return
	cat "$TMP/stat"
}

# value EVENT [FIRST]: sum of an event's counts in ns, of the lines with this first field
value() {
	awk -F\; -v event="$1" -v first="${2:-}" '{
		for (i = 3; i <= NF; i++) {
			if ($i != event || (first != "" && $1 != first))
				continue
			# <not counted>, as in an interval in which nothing ran
			if ($(i - 2) !~ /^[0-9.]+$/)
				continue
			sum += $(i - 1) == "msec" ? $(i - 2) * 1000000 : $(i - 2)
			found = 1
		}
	} END { if (found) printf("%.0f", sum) }' "$TMP/stat"
}

sum_of_packages() {
	local id sum=0

	for id in $(packages); do
		sum=$((sum + $(value "$(pkg_event "$1" "$id")")))
	done
	echo $sum
}

task() {
	local id total

	# shellcheck disable=SC2046
	perf_stat -e task-clock -e $RUNTIME $(each_package runtime) -- "$LOAD" $MOVES || return
	total=$(value $RUNTIME)
	near "$total" "$(value task-clock)" $PERCENT || return
	near "$(sum_of_packages runtime)" "$total" 1 || return
	for id in $(packages); do
		[ "$(value "$(pkg_event runtime "$id")")" -gt 0 ] || return
	done
}

task_on_one_package() {
	local cpu home id val

	read -r cpu home < <(last_cpu)
	# shellcheck disable=SC2046
	taskset -c "$cpu" perf stat -x\; -o "$TMP/stat" -e $RUNTIME $(each_package runtime) \
		-- awk 'BEGIN { for (i = 0; i < 200000; i++) x += i }' || return
	cat "$TMP/stat"
	[ "$(value $RUNTIME)" -gt 0 ] || return
	for id in $(packages); do
		val=$(value "$(pkg_event runtime "$id")")
		if [ "$id" -eq "$home" ]; then
			near "$val" "$(value $RUNTIME)" 1 || return
		else
			[ "$val" -eq 0 ] || return
		fi
	done
}

# sum_of_report [OPTION]: one run, seen in different ways
sum_of_report() {
	perf stat report -i "$TMP/data" "$@" > "$TMP/report" 2>&1 || return
	cat "$TMP/report" >&2
	awk -v event=$RUNTIME '{
		for (i = 2; i <= NF; i++)
			if ($i == event) {
				val = $(i - 2)
				gsub(",", "", val)
				sum += val * 1000000
			}
	} END { printf("%.0f", sum) }' "$TMP/report"
}

system_wide() {
	local total

	perf stat record -o "$TMP/data" -a -e $RUNTIME -- "$LOAD" $MOVES || return
	total=$(sum_of_report)
	[ "$total" -ge $((BURNT_NS * 97 / 100)) ] || return
	# Each line is rounded
	near "$(sum_of_report --per-socket)" "$total" 0 1000000 || return
	near "$(sum_of_report -A)" "$total" 0 1000000
}

per_socket() {
	local cpu home id here

	read -r cpu home < <(last_cpu)
	burn_on "$cpu" &
	perf_stat -a --per-socket -e $RUNTIME -- tail --pid=$! -f /dev/null -s 0.1 || return
	here=$(value $RUNTIME "S$home")
	for id in $(packages); do
		[ "$id" -eq "$home" ] || [ "$(value $RUNTIME "S$id")" -lt "$here" ] || return
	done
	[ "$here" -gt 0 ]
}

cpu_list() {
	local cpu home other

	read -r cpu home < <(last_cpu)
	other=$(cpu_ids | awk -v home="$home" '$2 != home { print $1; exit }')
	burn_on "$cpu" &
	perf_stat -A -C "$cpu,$other" -e $RUNTIME -- tail --pid=$! -f /dev/null -s 0.1 || return
	[ "$(grep -c $RUNTIME "$TMP/stat")" -eq 2 ] || return
	[ "$(value $RUNTIME "CPU$cpu")" -gt "$(value $RUNTIME "CPU$other")" ]
}

now() { sed -n 's/^now at \([0-9]*\) nsecs/\1/p' /proc/timer_list; }

# An event of whole packages: on one CPU of each, and all of the package
whole_packages() {
	local cpu home id

	read -r cpu home < <(last_cpu)
	burn_on "$cpu" &
	perf_stat -a --per-socket -e $RUNTIME -e $BUSY -- tail --pid=$! -f /dev/null -s 0.1 ||
		return
	for id in $(packages); do
		near "$(value $BUSY "S$id")" "$(value $RUNTIME "S$id")" $PERCENT 20000000 || return
		[ "$id" -eq "$home" ] ||
			[ "$(value $BUSY "S$id")" -lt "$(value $BUSY "S$home")" ] || return
	done
	# One line for each of their CPUs
	perf_stat -a -A -e $BUSY -- sleep 0.1 || return
	[ "$(grep -c $BUSY "$TMP/stat")" -eq "$(packages | wc -l)" ]
}

# The clock of a package, once, however many CPUs are asked
level() {
	local id val before

	before=$(now)
	perf_stat -a --per-socket -e $CLOCK -- "$LOAD" 100 || return
	for id in $(packages); do
		val=$(value $CLOCK "S$id")
		[ "$val" -ge "$before" ] && [ "$val" -le "$(now)" ] || return
	done
}

attached() {
	local status

	"$LOAD" &
	perf_stat -p $! -e task-clock -e $RUNTIME -- sleep 1
	status=$?
	kill $!
	wait $!
	[ $status -eq 0 ] && near "$(value $RUNTIME)" "$(value task-clock)" $PERCENT 20000000
}

per_thread() {
	local status

	"$LOAD" &
	perf_stat --per-thread -p $! -e task-clock -e $RUNTIME -- sleep 1
	status=$?
	kill $!
	wait $!
	[ $status -eq 0 ] && near "$(value $RUNTIME)" "$(value task-clock)" $PERCENT 20000000
}

age() {
	perf_stat -e '{pkg_clock/runtime/,pkg_clock/age/}' -- "$LOAD" 300 || return
	[ "$(value $RUNTIME)" -gt 0 ] && [ "$(value pkg_clock/age/)" -lt 60000000000 ]
}

intervals() {
	perf_stat -I 100 -e task-clock -e $RUNTIME -- "$LOAD" $MOVES || return
	near "$(value $RUNTIME)" "$(value task-clock)" $PERCENT 20000000
}

# Samples of a group: each value is what was added since the sample before
sampled() {
	perf record -q -o "$TMP/perf.data" -c 1000000 -e '{cpu-clock,pkg_clock/runtime/}:S' \
		-- "$LOAD" $MOVES > /dev/null || return
	perf script -i "$TMP/perf.data" -F event,period > "$TMP/script" 2> /dev/null || return
	awk '$2 ~ /^cpu-clock/ { clock += $1; n++ }
	     $2 ~ /^pkg_clock/ { runtime += $1 }
	     END { printf("%d %.0f %.0f\n", n, clock, runtime) }' "$TMP/script" > "$TMP/sum"
	cat "$TMP/sum"
	read -r n clock runtime < "$TMP/sum"
	[ "$n" -ge 50 ] && near "$runtime" "$clock" 20
}

listed() {
	perf list > "$TMP/list" 2> /dev/null
	grep -q "$RUNTIME" "$TMP/list" && grep -q pkg_clock/clock/ "$TMP/list" &&
		grep -q pkg_clock/age/ "$TMP/list" && grep -q $BUSY "$TMP/list" &&
		grep -q $CLOCK "$TMP/list"
}

setup perf taskset
ktap_set_plan 14

run "perf list" listed
run "task: sum, packages, task-clock" task
run "task that stays on a package" task_on_one_package
run "-a: --per-socket and -A add up to the total" system_wide
run "-a --per-socket: the busy one" per_socket
run "-A -C: the busy one" cpu_list
run "-a --per-socket: whole packages" whole_packages
run "-a --per-socket: a level once per package" level
run "-p" attached
run "-p --per-thread" per_thread
run "-I" intervals
run "age in a group" age
run "record, in a group with cpu-clock:S" sampled
run "task again" task

ktap_finished
