# SPDX-License-Identifier: GPL-2.0
# Usage: gnuplot -e "format='svg'" bench.gnuplot, in the directory of vm/bench's results
# Plots staleness (as a cumulative distribution), count() and passes of the timer.

if (format eq "svg") set terminal svg size 900,560 background "white" font "sans,13"; else \
	set terminal pngcairo size 900,560 font "sans,11"
set datafile separator ","
set grid
set key outside right top

mode = system("[ -s deterministic/samples.csv ] && echo deterministic || echo realtime")
samples(policy, us, task) = sprintf("< awk -F, -v p=%s -v us=%d -v t=%s \
	'$1 == p && $2 == us && $3 == t && $4 == \"read\"' %s/samples.csv", policy, us, task, mode)

set title "How old is the value? The task runs for 2 ms and sleeps 100 ms (".mode.")"
set xlabel "age of the value in ms"
set ylabel "share of the reads that got a value no older"
set logscale x
set xrange [0.0005:200]
set yrange [0:1]
set output "staleness.".format
plot samples("cached", 0, "sleep100ms") using (($5 > 1 ? $5 : 1) / 1e6):(1) smooth cnorm lw 2 title "cached (2014)", \
	samples("slots", 10000, "sleep100ms") using (($5 > 1 ? $5 : 1) / 1e6):(1) smooth cnorm lw 2 title "slots, 10 ms", \
	samples("slots", 1000, "sleep100ms") using (($5 > 1 ? $5 : 1) / 1e6):(1) smooth cnorm lw 2 title "slots, 1 ms", \
	samples("slots", 100, "sleep100ms") using (($5 > 1 ? $5 : 1) / 1e6):(1) smooth cnorm lw 2 title "slots, 100 us", \
	samples("sys", 1000, "sleep100ms") using (($5 > 1 ? $5 : 1) / 1e6):(1) smooth cnorm lw 2 title "scope-sys, 1 ms", \
	samples("ipi", 0, "sleep100ms") using (($5 > 1 ? $5 : 1) / 1e6):(1) smooth cnorm lw 2 title "interrupt", \
	samples("scope", 0, "sleep100ms") using (($5 > 1 ? $5 : 1) / 1e6):(1) smooth cnorm lw 2 title "scope"

unset logscale
set autoscale
set key inside left top
set logscale xy
if (system("[ -s deterministic/count.csv ] && echo 1") eq "1") {
	set title "count() in the kernel against as many plain loads"
	set xlabel "packages"
	set ylabel "instructions"
	set output "count.".format
	plot "< grep '^slots,.*,ns' deterministic/count.csv" using 3:5 with linespoints lw 2 title "count()", \
		"< grep '^loads,.*,ns' deterministic/count.csv" using 3:5 with linespoints lw 2 title "loads"
}

set title "A pass of the timer (".mode.")"
set xlabel "counters"
set ylabel "ns"
set output "timer.".format
plot for [us in "10000 1000 100"] sprintf("< grep '^timer,[0-9]*,%s,median' %s/cost.csv", us, mode) \
	using 2:5 with linespoints lw 2 title sprintf("every %s us", us)
