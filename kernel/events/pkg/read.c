// SPDX-License-Identifier: GPL-2.0
/*
 * Package-scope counters for perf: what events report of slots
 *
 * Any CPU reads slots in any context, without a lock. Only read(2) may ask for values
 * that are not older than perf_pkg::max_age_us, and waits for a CPU of the domain then.
 */
#include <linux/bitops.h>
#include <linux/minmax.h>
#include <linux/timekeeping.h>

#include "internal.h"

static unsigned int perf_pkg_nr_slots(const struct perf_pkg_event *pe)
{
	return pe->all_domains ? READ_ONCE(pe->counter->pp->nr_domains) : pe->nr;
}

bool perf_pkg_selects(const struct perf_pkg_event *pe, unsigned int idx)
{
	if (pe->mask)
		return idx < BITS_PER_TYPE(pe->mask) && pe->mask & BIT_ULL(idx);

	return idx - pe->first < perf_pkg_nr_slots(pe);
}

u64 perf_pkg_sum(const struct perf_pkg_event *pe)
{
	const struct perf_pkg_slot *end, *slot = &pe->counter->slot[pe->first];
	u64 mask, sum = 0;

	for (mask = pe->mask; mask; mask &= mask - 1)
		sum += atomic64_read(&pe->counter->slot[__ffs64(mask)].value);
	if (pe->mask)
		return sum;

	for (end = slot + perf_pkg_nr_slots(pe); slot < end; slot++)
		sum += atomic64_read(&slot->value);

	return sum;
}

/* ns since the oldest read, 0 if no value has an age */
u64 perf_pkg_age(const struct perf_pkg_event *pe)
{
	unsigned int i, end = pe->first + perf_pkg_nr_slots(pe);
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

/*
 * For read(2): refreshes what is older than max_age_us, one domain after the other. What
 * is still too old afterwards could not be read.
 */
void perf_pkg_refresh_older(const struct perf_pkg_event *pe)
{
	struct perf_pkg *pp = pe->counter->pp;
	u64 max_age = (u64)READ_ONCE(pp->max_age_us) * NSEC_PER_USEC;
	unsigned int i, end = pe->first + perf_pkg_nr_slots(pe);
	u64 now, stamp;

	if (!max_age)
		return;

	now = ktime_get_mono_fast_ns();
	for (i = pe->first; i < end; i++) {
		if (!perf_pkg_selects(pe, i))
			continue;
		stamp = perf_pkg_slot_stamp(&pe->counter->slot[i]);
		if (stamp && stamp + max_age < now)
			perf_pkg_refresh_domain(pe->counter, &pp->domain[i]);
	}
}
