# SPDX-License-Identifier: GPL-2.0
# Sourced after series/lib.sh by the scripts about kernels and guests.
# shellcheck shell=bash disable=SC2034

# kind_paths KIND: where its source, its objects and its kselftests are, and its ARCH
kind_paths() {
	SRC=$LINUX
	BUILD=$B/build-$1
	SELFTESTS=$B/selftests-$1
	KARCH=x86_64
	case $1 in
	ours|debug|kcsan|rt) ;;
	i386)	KARCH=i386 ;;
	base|base-debug|base-kcsan) SRC=$PRISTINE BUILD=$B/base/build-$1 ;;
	*)	die "no such kernel: $1 (ours, debug, kcsan, rt, i386, base, base-debug, base-kcsan)" ;;
	esac
}

# have_libc32: whether gcc makes programs of 32 bits
have_libc32() {
	say 'int main(void) { return 0; }' | gcc -m32 -static -x c -o /dev/null - 2> /dev/null
}

need_kernel() {
	[ -e "$BUILD/arch/x86/boot/bzImage" ] || die "the kernel is not built: vm/build $1"
}

EMULATOR=$OUT/qemu/qemu-system-x86_64	# ours, see vm/qemu

need_qemu() {
	[ -x "$EMULATOR" ] || command -v qemu-system-x86_64 > /dev/null ||
		die "qemu-system-x86_64 is missing: run \`make deps\`, or as root: apt-get install qemu-system-x86"
}

# emulated: whether guests get vm/qemu's machine, whose package counters count
emulated() {
	[ -x "$EMULATOR" ] && [ "${ACCEL:-tcg}" = tcg ]
}

# Functions of perf and resctrl that the series hooks, where a name is not to say so
HOOKED='perf_(count|read|group)_|_?perf_event_(read|reset|enable|disable|toggled)'
HOOKED+='|__perf_(read|pmu)_|__perf_event_(read|enable|disable)'
HOOKED+='|perf_read$|perf_pmu_migrate_context|resctrl_arch_(rmid_read|reset_rmid)|__?rmid_read'
HOOKED+='|__mon_event_count|(alloc|free)_rmid|cqm_handle_limbo|mbm_handle_overflow'
HOOKED+='|__check_limbo|mongrp_reparent|__rdtgroup_m'

# short_turns: the addresses where the emulator is to make turns short, in a file: of what is
# hooked, of the functions of our objects, and of all modules and BPF programs
short_turns() {
	(cd "$BUILD" && nm kernel/events/pkg/*.o arch/x86/events/{rdt,rdt_task,rapl}.o \
		arch/x86/kernel/cpu/resctrl/perf_*.o 2> /dev/null || :) |
		awk -v hooked="^($HOOKED)" 'NR == FNR { if ($2 ~ /[tT]/) ours[$3]; next }
			$2 ~ /[tT]/ && ($3 in ours || $3 ~ hooked) {
				if (!start) start = $1
				last = $1
				next
			}
			start && $1 != last { print start, $1; start = 0 }
			END { if (length(last) == 16) print "ffffffffc0000000", "fffffffffe000000" }
		' - "$BUILD/System.map" > "$OUT/short-turns-$KIND.$$"
	mv "$OUT/short-turns-$KIND.$$" "$OUT/short-turns-$KIND"
	say "$OUT/short-turns-$KIND"
}

# machine MODEL [SEED]: sets QEMU to the command with its options for the CPU. With a
# seed the guest is deterministic: its time is the number of instructions executed.
machine() {
	local cpu counters=
	case $1 in
	intel)	cpu=max,vendor=GenuineIntel,family=6,model=85,stepping=7 ;;
	# whose L3 resctrl lets pseudo-lock, if booted with rdt=l3cat
	broadwell) cpu=max,vendor=GenuineIntel,family=6,model=79,stepping=1 ;;
	amd)	cpu=max,vendor=AuthenticAMD,family=23,model=49,topoext=on,min-xlevel=0x8000001e
		counters=,scale=64,energy-unit=16 ;;
	*)	die "no such model of a CPU: $1 (intel, broadwell, amd)" ;;
	esac
	if [ -n "${TURNS:-}" ]; then
		[ "$TURNS" = short ] && [ -n "${2:-}" ] || die "TURNS is short, and needs a SEED"
		counters+=,short-turns=$(short_turns)
	fi
	if emulated; then
		# in the emulator, mwait does not halt a CPU
		QEMU=("$EMULATOR" -L /usr/share/seabios -L /usr/share/qemu -accel "tcg,thread=single"
		      -cpu "$cpu,min-level=0xf,monitor=off" -device "x86-pkg-counters$counters${COUNTERS:+,$COUNTERS}")
		[ -z "${2:-}" ] || QEMU+=(-icount "shift=0,sleep=off" -seed "$2"
					  -rtc "base=2024-01-01T00:00:00,clock=vm")
	elif [ -n "${2:-}${MODEL:-}${COUNTERS:-}" ]; then
		die "SEED, MODEL and COUNTERS need the emulator: vm/qemu/build, and no ACCEL=kvm"
	elif [ "$(accel)" = kvm ]; then
		QEMU=(qemu-system-x86_64 -accel kvm -cpu host)
	else
		QEMU=(qemu-system-x86_64 -accel "tcg,thread=single" -cpu max)
	fi
	QEMU+=(-nodefaults -no-user-config -display none -no-reboot)
}

# For every guest's command line. At boot the kernel waits for a few timer interrupts and
# panics if they do not come. On a busy host QEMU may deliver them too late.
BOOT_ARGS=no_timer_check

# clock_is_calibrated CONSOLE: dies if the guest may have the wrong TSC frequency. On a busy
# host the kernel's calibration against the PIT can be off by a factor of three. The kernel
# keeps its result even if the PM timer contradicts it; a later refinement confirms it.
clock_is_calibrated() {
	! grep -qs 'tsc: .*Using PIT calibration' "$1" || grep -q 'tsc: Refined TSC' "$1" ||
		die "the guest could not calibrate its TSC, because the host was too busy:" \
		"all times in this run may be wrong. Run it again."
}

busybox_static() {
	command -v busybox || die "busybox is missing: run \`make deps\`, or as root: apt-get install busybox-static"
}

# kvm or tcg. /dev/kvm may exist and yet not boot a kernel, so try once, for 10 s
accel() {
	local cache=$OUT/accel
	[ -z "${ACCEL:-}" ] || { say "$ACCEL"; return; }
	if [ ! -e "$cache" ]; then
		say tcg > "$cache"
		if [ -w /dev/kvm ] && timeout -k 1 10 qemu-system-x86_64 -nodefaults -no-user-config \
			-display none -no-reboot -accel kvm -cpu host -m 512M -kernel "$BUILD/vmlinux" \
			-append "console=ttyS0 panic=-1 root=none" -serial stdio < /dev/null 2> /dev/null |
			grep -q 'Kernel panic.*VFS'; then
			say kvm > "$cache"
		fi
	fi
	cat "$cache"
}

# Paths relative to $B let the kernels share what they have in common in the cache, and copies
# of the repository as well, if CCACHE_DIR names one cache for all of them. Not CCACHE_DEPEND: in
# that mode a kernel with another configuration shares nothing.
ccache_env() {
	export CCACHE_BASEDIR=$B CCACHE_DIR=${CCACHE_DIR:-$OUT/ccache} CCACHE_SLOPPINESS=time_macros
	export KBUILD_BUILD_TIMESTAMP='2025-01-01' KBUILD_BUILD_VERSION=1 KBUILD_BUILD_USER=guest KBUILD_BUILD_HOST=guest
}
