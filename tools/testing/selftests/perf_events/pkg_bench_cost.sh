#!/bin/bash
# SPDX-License-Identifier: GPL-2.0
#
# What package-scope counters cost: passes of the timer, switches of a counted
# task, memory, and wake-ups of a package that would sleep.
#
# Run without option this is a short test of what holds everywhere. Otherwise CSV:
#
#	what,counters,interval_us,metric,value,unit
#
# usage: pkg_bench_cost.sh [--csv [timer|pass|switch|memory|idle]...]
#
# "pass" is one row of "timer", in a second.

# shellcheck source=pkg_lib.sh
. "$(dirname "$0")/pkg_lib.sh"

TRACING=/sys/kernel/tracing/instances/pkg_bench
EVENT=pkg_clock/runtime/
PACKAGE_EVENT=pkg_clock_domain/busy/

csv() { printf '%s,%s,%s,%s,%s,%s\n' "$@"; }

# events N: so many for perf's -e
events() {
	local list

	list=$(printf "$EVENT,%.0s" $(seq "$1"))
	echo "${list%,}"
}

first_cpu_of() {	# PACKAGE
	cpu_ids | awk -v id="$1" '$2 == id { print $1; exit }'
}

# The counted task and its CPU's package; perf and the rest are on the first one
BUSY=$(packages | tail -n 1)
BUSY_CPU=$(first_cpu_of "$BUSY")

# trace EVENT...: into a buffer of our own
trace_start() {
	mkdir -p $TRACING
	echo 0 > $TRACING/tracing_on
	echo > $TRACING/trace
	echo 20000 > $TRACING/buffer_size_kb
	echo "$@" | tr ' ' '\n' > $TRACING/set_event
	echo 1 > $TRACING/tracing_on
}

trace_stop() {
	echo 0 > $TRACING/tracing_on
	grep -v '^#' $TRACING/trace
	rmdir $TRACING
}

# bench_timer SECONDS INTERVAL... -- COUNTERS...: cost of the passes on one package
bench_timer() {
	local seconds=$1 interval counters
	local -a intervals=()

	shift
	while [ "$1" != -- ]; do
		intervals+=("$1")
		shift
	done
	shift
	for interval in "${intervals[@]}"; do
		set_interval "$interval"
		for counters; do
			trace_start perf_pkg:perf_pkg_refresh
			perf stat -o "$TMP/stat" -e "$(events "$counters")" -- \
				taskset -c "$BUSY_CPU" timeout "$seconds" \
				bash -c 'while :; do :; done' > /dev/null
			trace_stop | awk -v domain=" domain=$BUSY " -v n="$counters" \
				-v us="$interval" "$PASSES"
		done
	done
	set_interval "$INTERVAL"
}

# The median of passes with all counters, the longest slice, and the share of the CPU
PASSES='
function field(name) {
	return substr($0, index($0, name "=") + length(name) + 1) + 0
}
index($0, "pmu=pkg_clock ") && index($0, domain) {
	slice = field("duration_ns")
	counters += field("counters")
	pass += slice
	if (passes && slice > longest)
		longest = slice
	slices++
	total += slice
	split($0, part, ": perf_pkg")
	at = part[1]
	sub(/.* /, "", at)
	first = first ? first : at
	last = at
	if (field("left"))
		next
	if (counters == n)
		ns[++passes] = pass
	counters = pass = 0
}
END {
	for (i = 2; i <= passes; i++) {
		x = ns[i]
		for (j = i - 1; j && ns[j] > x; j--)
			ns[j + 1] = ns[j]
		ns[j + 1] = x
	}
	printf("timer,%d,%d,passes,%d,\n", n, us, passes)
	if (passes < 2)
		exit
	printf("timer,%d,%d,slices,%d,\n", n, us, slices)
	printf("timer,%d,%d,median pass,%d,ns\n", n, us, ns[int((passes + 1) / 2)])
	printf("timer,%d,%d,longest slice,%d,ns\n", n, us, longest)
	printf("timer,%d,%d,share of the CPU,%.3f,%%\n", n, us, 100 * total / (last - first) / 1e9)
}'

# pipe_us LOOPS [PERF STAT OPTION...]: microseconds that a turn of two tasks on one CPU takes
pipe_us() {
	local loops=$1
	shift
	if [ $# -gt 0 ]; then
		# Did both tasks have the same events, perf would swap them and not
		# call the PMU
		set -- perf stat -i -o "$TMP/stat" "$@" --
	fi
	taskset -c "$BUSY_CPU" "$@" perf bench -f simple sched pipe -l "$loops" |
		awk -v loops="$loops" '{ printf("%.3f\n", $1 / loops * 1e6) }'
}

bench_switch() {	# LOOPS
	local clocks

	clocks=$(events 8 | sed "s,$EVENT,task-clock,g")
	csv switch 0 - "sched pipe" "$(pipe_us "$1")" us
	csv switch 1 - "sched pipe with context-switches" "$(pipe_us "$1" -e context-switches)" us
	csv switch 1 - "sched pipe with task-clock" "$(pipe_us "$1" -e task-clock)" us
	csv switch 1 "$INTERVAL" "sched pipe with $EVENT" "$(pipe_us "$1" -e $EVENT)" us
	csv switch 8 - "sched pipe with task-clock" "$(pipe_us "$1" -e "$clocks")" us
	csv switch 8 "$INTERVAL" "sched pipe with $EVENT" "$(pipe_us "$1" -e "$(events 8)")" us
}

# What the engine allocates for an event, and for its counter with a slot per package
bench_memory() {
	local nr

	nr=$(packages | wc -l)
	trace_start kmem:kmalloc
	perf stat -o "$TMP/stat" -e $EVENT -- true
	trace_stop | awk -v nr="$nr" '/call_site=perf_pkg_/ {
		match($0, /bytes_req=[0-9]+/)
		req = substr($0, RSTART + 10, RLENGTH - 10)
		match($0, /bytes_alloc=[0-9]+/)
		bytes = substr($0, RSTART + 12, RLENGTH - 12)
		site = $0
		sub(/.*call_site=/, "", site)
		sub(/\+.*/, "", site)
		printf("memory,1,-,%s asked for with %d packages,%d,bytes\n", site, nr, req)
		printf("memory,1,-,%s got with %d packages,%d,bytes\n", site, nr, bytes)
	}' | sort -u
}

# interrupts PACKAGE: all that its CPUs have had
interrupts() {
	local cpus

	cpus=$(cpu_ids | awk -v id="$1" '$2 == id { print $1 }' | tr '\n' ' ')
	awk -v cpus="$cpus" 'NR == 1 {
		split(cpus, want)
		for (i in want)
			for (f = 1; f <= NF; f++)
				if ($f == "CPU" want[i])
					column[f + 1]
		next
	} {
		for (f in column)
			sum += $f
	} END {
		print sum + 0
	}' /proc/interrupts
}

# idle_wakeups SECONDS COMMAND...: of the package where nothing runs, per second
idle_wakeups() {
	local seconds=$1 before
	shift
	before=$(interrupts "$IDLE")
	"$@"
	echo $((($(interrupts "$IDLE") - before) / seconds))
}

bench_idle() {	# SECONDS
	local cpu seconds=$1 stat

	IDLE=$(packages | tail -n 1)
	cpu=$(first_cpu_of "$(packages | head -n 1)")
	stat="taskset -c $cpu perf stat -o $TMP/stat -e $EVENT"
	set_interval 1000
	csv idle 0 - "no event" \
		"$(idle_wakeups "$seconds" taskset -c "$cpu" sleep "$seconds")" 1/s
	# shellcheck disable=SC2086	# several words
	csv idle 1 1000 "an event of a task elsewhere" \
		"$(idle_wakeups "$seconds" $stat -- sleep "$seconds")" 1/s
	# shellcheck disable=SC2086
	csv idle 1 1000 "an event of the idle package's CPU" \
		"$(idle_wakeups "$seconds" $stat -C "$(first_cpu_of "$IDLE")" \
			-- sleep "$seconds")" 1/s
	# shellcheck disable=SC2086
	csv idle 1 1000 "an event of the idle package" \
		"$(idle_wakeups "$seconds" ${stat/$EVENT/$PACKAGE_EVENT} \
			-C "$(first_cpu_of "$IDLE")" -- sleep "$seconds")" 1/s
	# shellcheck disable=SC2086
	csv idle 1 1000 "an event of a task that ran there and sleeps" \
		"$(idle_wakeups "$seconds" $stat -- sh -c \
			"taskset -pc $(first_cpu_of "$IDLE") \$\$ > /dev/null; sleep $seconds")" 1/s
	set_interval "$INTERVAL"
}

# measured COMMAND...: its CSV as comments, and in $TMP/csv
measured() {
	"$@" > "$TMP/csv"
	sed 's/^/# /' "$TMP/csv"
}

smoke() {
	ktap_set_plan 4
	measured bench_timer 1 1000 -- 1 10
	run "a pass with 10 counters takes longer than with 1" awk -F, '
		$4 == "median pass" { ns[$2] = $5 }
		END { exit !(ns[1] > 0 && ns[10] > ns[1]) }' "$TMP/csv"
	measured bench_switch 100
	run "switches cost something" awk -F, '$5 > 0 { n++ } END { exit n != 6 }' "$TMP/csv"
	measured bench_memory
	run "a counter has a cache line per package" awk -F, -v nr="$(packages | wc -l)" '
		/counter_get asked for/ && $5 == 64 * nr { ok = 1 }
		END { exit !ok }' "$TMP/csv"
	measured bench_idle 2
	run "a task that is elsewhere or sleeps wakes nobody" awk -F, '/no event/ { base = $5 }
		/task elsewhere|and sleeps/ { n++; worst = $5 > worst ? $5 : worst }
		END { exit !(n == 2 && worst < base + 100) }' "$TMP/csv"
	ktap_finished
}

main() {
	local what

	[ $# -gt 0 ] || set -- timer switch memory idle
	echo what,counters,interval_us,metric,value,unit
	for what; do
		case $what in
		timer)	bench_timer 1 10000 1000 100 -- 1 10 100 1000 ;;
		pass)	bench_timer 1 10000 -- 10 ;;
		switch)	bench_switch 100000 ;;
		memory)	bench_memory ;;
		idle)	bench_idle 5 ;;
		*)	echo "no such part: $what" >&2; return 2 ;;
		esac
	done
}

ulimit -n 8192
if [ "${1:-}" = --csv ]; then
	setup perf awk taskset timeout > /dev/null
	shift
	main "$@"
else
	setup perf awk taskset timeout
	smoke
fi
