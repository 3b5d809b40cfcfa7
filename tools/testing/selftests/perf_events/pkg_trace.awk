# SPDX-License-Identifier: GPL-2.0
#
# Checks the order of the tracepoints of package-scope counters, as printed by
# `trace-cmd report`. First file: "cpu id" of each CPU. Prints what is wrong.

function fail(what)
{
	printf("line %d: %s\n\t%s\n", FNR, what, $0)
	failed = 1
}

# "key=value" of the line
function get(key,	i)
{
	for (i = NF; i > 0; i--)
		if (index($i, key "=") == 1)
			return substr($i, length(key) + 2) + 0
	fail("no " key)
	return -1
}

function check_cpu(cpu, domain)
{
	if (id[cpu] != domain)
		fail("cpu " cpu " is not in domain " domain)
}

NR == FNR {
	id[$1] = $2
	next
}

/EVENTS DROPPED|LOST/ {
	fail("events were lost, the trace shows nothing")
}

!/ pmu=pkg_clock / {
	next
}

{
	sub(/.* perf_pkg_/, "perf_pkg_")
	name = $1
	sub(/:$/, "", name)
	seen[name]++
}

name == "perf_pkg_timer_start" {
	d = get("domain")
	check_cpu(get("cpu"), d)
	if (d in running)
		fail("started twice")
	running[d] = get("cpu")
	started[d]++
}

name == "perf_pkg_timer_stop" {
	d = get("domain")
	if (!(d in running))
		fail("stopped, but does not run")
	delete running[d]
}

name == "perf_pkg_refresh" {
	d = get("domain")
	check_cpu(get("cpu"), d)
	if (!(d in running))
		fail("refresh without a timer")
	else if (running[d] != get("cpu"))
		fail("refresh on another CPU than the timer's")
	if (get("counters") < 1)
		fail("refresh of nothing")
	if (get("lateness_ns") < 0)
		fail("refresh before it was due")
	refreshed[d]++
}

name == "perf_pkg_publish" {
	d = get("domain")
	slot = get("counter") SUBSEP d
	value = get("value")
	if (slot in last) {
		# Two CPUs may publish at once: then they add up at the end only
		sum[slot] += get("delta")
	} else {
		first[slot] = value
		sum[slot] = 0
	}
	if (get("delta") < 0)
		fail("steps back")
	if (!(slot in last) || value > last[slot])
		last[slot] = value
	published[d]++
}

name == "perf_pkg_error" {
	fail("a read failed")
}

END {
	for (d in running) {
		print "the timer of domain " d " was never stopped"
		failed = 1
	}
	for (slot in last) {
		if (last[slot] != first[slot] + sum[slot]) {
			split(slot, part, SUBSEP)
			printf("counter %d domain %d: from %.0f by %.0f to %.0f\n",
			       part[1], part[2], first[slot], sum[slot], last[slot])
			failed = 1
		}
	}
	for (cpu in id)
		domains[id[cpu]] = 1
	for (d in domains) {
		printf("domain %s: %d starts, %d refreshes, %d publishes\n", d,
		       started[d], refreshed[d], published[d])
		if (!started[d] || !refreshed[d] || !published[d])
			failed = 1
	}

	# What perf printed is what was published last, everywhere
	total = 0
	for (slot in last)
		total += last[slot]
	printf("published %.0f, perf printed %.0f\n", total, expect)
	if (total != expect)
		failed = 1
	exit failed
}
