// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: what events report of slots
 *
 * Any CPU reads slots in any context, without a lock. Only read(2) may ask for values
 * that are not older than perf_pkg::max_age_us, and waits for a CPU of the domain then.
 */
#include <linux/minmax.h>
#include <linux/timekeeping.h>

#include "internal.h"

/* ns since the oldest read, 0 if no value has an age */
static u64 perf_pkg_age(const struct perf_pkg_event *pe)
{
	unsigned int i, end = pe->first + READ_ONCE(*pe->nr);
	u64 now, stamp, oldest = U64_MAX;

	for (i = pe->first; i < end; i++) {
		if (!perf_pkg_selects(pe, i))
			continue;
		stamp = perf_pkg_slot_stamp(&pe->counter->slot[i]);
		if (stamp)
			oldest = min(oldest, stamp);
	}

	now = ktime_get_mono_fast_ns();

	return now > oldest ? now - oldest : 0;
}

/* See perf_pkg_count(). The age in a group may be that of one publish after the count. */
int perf_pkg_count_special(const struct perf_event *event, u64 *count, perf_pkg_value_fn fn)
{
	const struct perf_pkg_event *pe = event->pmu_private;

	*count = pe->age ? perf_pkg_age(pe) : fn(event, true);

	return READ_ONCE(pe->counter->ended) || READ_ONCE(pe->lost) ? -ENODEV : 0;
}

/* Whether read(2) has to refresh the slot. What is swept is left to the timer. */
bool perf_pkg_is_too_old(const struct perf_pkg_slot *slot)
{
	u64 stamp, max_age = READ_ONCE(slot->counter->pp->max_age_us);

	if (!max_age || perf_pkg_is_swept(slot->counter))
		return false;

	stamp = perf_pkg_slot_stamp(slot);

	return stamp && stamp + max_age * NSEC_PER_USEC < ktime_get_mono_fast_ns();
}

/*
 * For read(2): refreshes what is older than max_age_us, one domain after the other. What
 * is still too old afterwards could not be read.
 */
void perf_pkg_refresh_older(const struct perf_pkg_event *pe)
{
	struct perf_pkg_counter *counter = pe->counter;
	unsigned int i, end = pe->first + READ_ONCE(*pe->nr);

	if (!READ_ONCE(counter->pp->max_age_us))
		return;

	for (i = pe->first; i < end; i++) {
		if (perf_pkg_selects(pe, i) && perf_pkg_is_too_old(&counter->slot[i]))
			perf_pkg_refresh_domain(counter, &counter->pp->domain[i]);
	}
}
