# SPDX-License-Identifier: GPL-2.0
# Sourced after lib.sh by the scripts that run tests and sum up: vm/test and vm/stress.
# shellcheck shell=bash

RESULTS=$OUT/results
TIMES=$OUT/times	# of the commands of beside(): the step they belong to, and seconds
STEP=
START=$SECONDS

# result NAME STATUS FILE: count what a program printed
result() {
	"$ROOT/vm/tap" "$1" "$2" < "$3" >> "$RESULTS"
}

fail() { say "not ok $*" >> "$RESULTS"; }

# room: waits until a CPU has no command of beside(). On the emulator a guest's time is what
# it executes: however busy this machine is, the tests see the same. On another QEMU it is
# real time, and each command has this machine for itself.
room() {
	local most=1
	! emulated || most=$(nproc)
	while [ "$(jobs -rp | wc -l)" -ge "$most" ]; do sleep 0.2; done
}

# beside COMMAND...: runs it in the background, as soon as there is room
beside() {
	room
	{
		local start=$SECONDS status
		set +e
		(set -e; "$@")
		status=$?
		set -e
		[ $status -eq 0 ] || fail "${STEP:+$STEP: }a test died (its last words are above)"
		say "$STEP $((SECONDS - start))" >> "$TIMES"
	} &
}

all_done() { wait; }

# done_step TITLE LOGFILE COMMAND...: a step among others, whose line comes at its end
done_step() {
	local line status=0
	line=$(step "$@") || status=$?
	printf '%s\n' "$line"
	return $status
}

# slowness KIND: sets SLOW to how much longer a guest takes than ours, and its MEM
slowness() {
	SLOW=1 MEM=2G
	case $1 in
	debug)	SLOW=5 MEM=3G ;;
	kcsan)	SLOW=5 ;;
	rt)	SLOW=3 ;;
	esac
}

# kunit_guest KIND PACKAGES SEED
kunit_guest() {
	local kind=$1 packages=$2 seed=$3 text name status=0 SLOW MEM
	text="$kind, $packages packages${seed:+, seed $seed}${TURNS:+, $TURNS turns}"
	name=$kind-$packages${seed:+-$seed}${TURNS:+-turns}
	slowness "$kind"
	LIMIT=$((300 * SLOW)) SEED=$seed SMP=$((2 * packages)),sockets=$packages,cores=2 \
		done_step "KUnit: $text" "$LOG/kunit-$name" "$ROOT/vm/kunit" "$kind" || status=$?
	result "$text: kunit" $status "$LOG/kunit-$name"
}

# kselftests_guest NAME KIND PACKAGES SEED [PROGRAM...]: all kselftests or these in one guest
kselftests_guest() {
	local kind=$2 packages=$3 seed=$4 text name share status=0 program SLOW MEM
	text="$1, $packages packages${seed:+, seed $seed}"
	name=${1//[^a-z0-9]/-}-$packages${seed:+-$seed}
	share=$OUT/guest/kselftests-$name
	shift 4
	slowness "$kind"

	rm -rf "$share" "$LOG/kselftests-$name".*
	done_step "kselftests: $text" "$LOG/kselftests-$name" env SEED="$seed" MEM="$MEM" \
		"$ROOT/vm/run" -k "$kind" -p "$packages" -n "kselftests-$name" -t $((1800 * SLOW)) -- \
		env SLOW="$SLOW" "$ROOT/vm/kselftests" "$@" || status=$?
	[ $status -eq 0 ] || fail "$text: the guest ($(grep '^vm/run:' "$LOG/kselftests-$name" || say "status $status"))," \
		"last: $(sed -n 's/: starts$//p' "$LOG/kselftests-$name" | tail -n 1)"
	while read -r program; do
		# Linux' own, of which some want hardware counters: `compare` judges them
		[ ! -e "$PRISTINE/tools/testing/selftests/perf_events/$program.c" ] || continue
		if [ -e "$share/$program.status" ]; then
			result "$text: $program" "$(cat "$share/$program.status")" "$share/$program.log"
		else
			fail "$text: $program: did not end"
		fi
	done < <(cat "$share/programs" 2> /dev/null)
	[ ! -e "$share/left-behind.log" ] || result "$text" 0 "$share/left-behind.log"
	[ -s "$share/programs" ] || fail "$text: no results"
}

count() {
	awk '{ n[$1]++ } END { printf "%d passed, %d failed, %d skipped\n", n["ok"], n["not"], n["skip"] }'
}

# The last words; 0 where something passed and nothing failed
summary() {
	say "" "" "All results: out/results. Time: $(((SECONDS - START) / 60)) min."
	grep '^skip ' "$RESULTS" || :
	grep '^not ok ' "$RESULTS" || :
	count < "$RESULTS"
	grep -q '^ok ' "$RESULTS" && ! grep -q '^not ok ' "$RESULTS"
}
