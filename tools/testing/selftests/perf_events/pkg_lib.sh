# SPDX-License-Identifier: GPL-2.0
# shellcheck shell=bash
#
# Sourced by the tests of package-scope counters that use the tools of a distribution

DIR=$(cd "$(dirname "$0")" && pwd)
# shellcheck source=../kselftest/ktap_helpers.sh
. "$DIR/../kselftest/ktap_helpers.sh"

PMU=/sys/bus/event_source/devices/pkg_clock
CPUS=/sys/devices/system/cpu

skip_all() {
	ktap_skip_all "$@"
	exit "$KSFT_SKIP"
}

# setup TOOL...: what all need, or SKIP
setup() {
	local tool ko=$DIR/test_modules/pkg_clock.ko

	export LC_ALL=C
	ktap_print_header
	[ "$(id -u)" -eq 0 ] || skip_all "needs root"
	for tool; do
		command -v "$tool" > /dev/null || skip_all "needs $tool"
	done
	if [ ! -e "$PMU" ]; then
		if [ -e "$ko" ]; then
			insmod "$ko"
		else
			modprobe -q pkg_clock
		fi
	fi
	[ -e "$PMU" ] || skip_all "no PMU pkg_clock: is test_modules/pkg_clock.ko built?"
	[ "$(packages | wc -l)" -gt 1 ] || skip_all "needs two packages"

	TMP=$(mktemp -d)
	INTERVAL=$(cat "$PMU/refresh_interval_us")
	trap cleanup EXIT
}

cleanup() {
	echo "$INTERVAL" > "$PMU/refresh_interval_us"
	rm -rf "$TMP"
	[ ! -d "${TRACING:-}" ] || rmdir "$TRACING"
}

# For the time of the test
set_interval() {
	echo "$1" > "$PMU/refresh_interval_us"
}

# The ids of the packages, one a line
packages() {
	cat "$CPUS"/cpu[0-9]*/topology/physical_package_id | sort -nu
}

# "cpu id", one CPU a line
cpu_ids() {
	local file cpu

	for file in "$CPUS"/cpu[0-9]*/topology/physical_package_id; do
		cpu=${file#"$CPUS"/cpu}
		echo "${cpu%%/*} $(cat "$file")"
	done
}

# near A B PERCENT [NS]: A differs from B by no more than that
near() {
	awk -v a="$1" -v b="$2" -v percent="$3" -v ns="${4:-0}" 'BEGIN {
		d = a > b ? a - b : b - a
		exit !(a != "" && b != "" && d <= b * percent / 100 + ns)
	}' || { ktap_print_msg "$1 and $2 differ by more than $3 %"; return 1; }
}

# Runs a test case, a function: its output becomes comments
run() {
	local what=$1

	shift
	if "$@" > "$TMP/output" 2>&1; then
		ktap_test_pass "$what"
	else
		sed 's/^/# /' "$TMP/output"
		ktap_test_fail "$what"
	fi
}
