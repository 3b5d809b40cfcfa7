/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _X86_EVENTS_RDT_MBM_H
#define _X86_EVENTS_RDT_MBM_H

#include <linux/bits.h>
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/time64.h>
#include <linux/types.h>

#include <asm/resctrl_mon.h>

/* Arithmetic of bandwidth counters. Locking is the caller's. */

/* More bytes per second than any L3 moves: a limit of intervals, not of what is counted */
#define RDT_MBM_MAX_BYTES_PER_SEC	BIT_ULL(40)

/**
 * struct rdt_mbm - what a group has moved in one domain
 * @chunks:	By RMIDs that need no correction
 * @to_correct:	By RMIDs that do. Correct the sum and not the parts, or what
 *		is rounded off of each part adds up.
 */
struct rdt_mbm {
	u64	chunks;
	u64	to_correct;
};

/**
 * struct rdt_mbm_read - what a read has found, of one RMID in one domain
 * @chunks:	The value of the counter
 * @restarts:	What resctrl_mon_read() said of it
 */
struct rdt_mbm_read {
	u64	chunks;
	u32	restarts;
};

/*
 * What was counted between two reads, less than half of what the counter can hold. A
 * value that is lower than the one before is that of a counter that started at 0
 * again, if such there are, and otherwise tells nothing.
 */
static inline u64 rdt_mbm_delta(const struct resctrl_mon_info *info, u64 prev, u64 now)
{
	u64 mask = GENMASK_ULL(info->width - 1, 0);
	u64 delta = (now - prev) & mask;

	if (delta <= mask >> 1)
		return delta;

	return info->restarts ? now & mask : 0;
}

/* The same for reads between which it may be known that the counter started again */
static inline u64 rdt_mbm_moved(const struct resctrl_mon_info *info,
				const struct rdt_mbm_read *prev, const struct rdt_mbm_read *now)
{
	return rdt_mbm_delta(info, prev->restarts == now->restarts ? prev->chunks : 0, now->chunks);
}

static inline void rdt_mbm_add(const struct resctrl_mon_info *info, struct rdt_mbm *mbm,
			       u32 rmid, u64 chunks)
{
	if (rmid > info->cf_rmid)
		mbm->to_correct += chunks;
	else
		mbm->chunks += chunks;
}

static inline u64 rdt_mbm_bytes(const struct resctrl_mon_info *info, const struct rdt_mbm *mbm)
{
	u64 corrected = mul_u64_u32_shr(mbm->to_correct, info->cf, 20);

	return (mbm->chunks + corrected) * info->scale;
}

/* The longest interval at which no counter can move by half of what it holds, in us */
static inline u64 rdt_mbm_max_interval_us(const struct resctrl_mon_info *info)
{
	u64 chunks_per_sec = div_u64(RDT_MBM_MAX_BYTES_PER_SEC, info->scale);
	/* What follows must fit into 64 bits, and wider counters take their time. */
	unsigned int width = min(info->width, 40U);

	return div64_u64(BIT_ULL(width - 1) * USEC_PER_SEC, chunks_per_sec);
}

#endif /* _X86_EVENTS_RDT_MBM_H */
