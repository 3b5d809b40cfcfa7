// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of the arithmetic of bandwidth counters
 */
#include <kunit/test.h>
#include <linux/bits.h>

#include "rdt_mbm.h"

#define NO_CORRECTION	U32_MAX
#define TOP(width)	(BIT_ULL(width) - 1)

static const struct resctrl_mon_info intel = {
	.scale		= 65536,
	.width		= 24,
	.num_rmid	= 32,
	.cf_rmid	= NO_CORRECTION,
};

static const struct resctrl_mon_info amd = {
	.scale		= 64,
	.width		= 44,
	.num_rmid	= 256,
	.restarts	= true,
	.cf_rmid	= NO_CORRECTION,
};

/* A Broadwell of 7 cores: what RMIDs above 47 count is an eighth too little */
static const struct resctrl_mon_info bdw = {
	.scale		= 65536,
	.width		= 24,
	.num_rmid	= 56,
	.cf_rmid	= 47,
	.cf		= 1198372,
};

static void rdt_mbm_delta_is_the_difference(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, rdt_mbm_delta(&intel, 5, 5), 0);
	KUNIT_EXPECT_EQ(test, rdt_mbm_delta(&intel, 5, 12), 7);
	KUNIT_EXPECT_EQ(test, rdt_mbm_delta(&amd, 1, BIT_ULL(40)), BIT_ULL(40) - 1);
}

static void rdt_mbm_delta_wraps_at_its_width(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, rdt_mbm_delta(&intel, TOP(24), 0), 1);
	KUNIT_EXPECT_EQ(test, rdt_mbm_delta(&intel, TOP(24) - 9, 10), 20);
	KUNIT_EXPECT_EQ(test, rdt_mbm_delta(&amd, TOP(44), 0), 1);
}

static void rdt_mbm_delta_of_up_to_half(struct kunit *test)
{
	KUNIT_EXPECT_EQ(test, rdt_mbm_delta(&intel, 0, TOP(23)), TOP(23));
	KUNIT_EXPECT_EQ(test, rdt_mbm_delta(&intel, 0, BIT_ULL(23)), 0);
}

static void rdt_mbm_delta_of_a_step_back(struct kunit *test)
{
	/* Something is wrong: count on from there. */
	KUNIT_EXPECT_EQ(test, rdt_mbm_delta(&intel, 1000, 999), 0);
	/* The RMID was not tracked for a while. */
	KUNIT_EXPECT_EQ(test, rdt_mbm_delta(&amd, 1000, 300), 300);
	KUNIT_EXPECT_EQ(test, rdt_mbm_delta(&amd, 1000, 0), 0);
}

static void rdt_mbm_moved_since_a_restart(struct kunit *test)
{
	struct rdt_mbm_read prev = { .chunks = 1000, .restarts = 1 };
	struct rdt_mbm_read now = { .chunks = 1500, .restarts = 1 };

	KUNIT_EXPECT_EQ(test, rdt_mbm_moved(&amd, &prev, &now), 500);
	now.restarts = 2;
	KUNIT_EXPECT_EQ(test, rdt_mbm_moved(&amd, &prev, &now), 1500);
}

static void rdt_mbm_bytes_are_scaled(struct kunit *test)
{
	struct rdt_mbm mbm = { };

	rdt_mbm_add(&intel, &mbm, 31, 3);
	rdt_mbm_add(&intel, &mbm, 0, 4);
	KUNIT_EXPECT_EQ(test, rdt_mbm_bytes(&intel, &mbm), 7 * 65536);
}

static void rdt_mbm_bytes_beyond_the_width(struct kunit *test)
{
	struct rdt_mbm mbm = { };
	int i;

	for (i = 0; i < 100; i++)
		rdt_mbm_add(&intel, &mbm, 1, TOP(23));
	KUNIT_EXPECT_EQ(test, rdt_mbm_bytes(&intel, &mbm), 100 * TOP(23) * 65536);
}

static void rdt_mbm_correction_begins_above_its_rmid(struct kunit *test)
{
	struct rdt_mbm mbm = { };

	rdt_mbm_add(&bdw, &mbm, 47, 1 << 20);
	KUNIT_EXPECT_EQ(test, rdt_mbm_bytes(&bdw, &mbm), BIT_ULL(36));
	rdt_mbm_add(&bdw, &mbm, 48, 1 << 20);
	KUNIT_EXPECT_EQ(test, rdt_mbm_bytes(&bdw, &mbm),
			BIT_ULL(36) + (u64)bdw.cf * 65536);
}

static void rdt_mbm_correction_rounds_the_sum_only(struct kunit *test)
{
	struct rdt_mbm once = { }, parts = { };
	int i;

	rdt_mbm_add(&bdw, &once, 50, 1000);
	for (i = 0; i < 1000; i++)
		rdt_mbm_add(&bdw, &parts, 50, 1);
	KUNIT_EXPECT_EQ(test, rdt_mbm_bytes(&bdw, &parts), rdt_mbm_bytes(&bdw, &once));
	KUNIT_EXPECT_EQ(test, rdt_mbm_bytes(&bdw, &parts), 1142 * 65536);
}

static void rdt_mbm_correction_never_steps_back(struct kunit *test)
{
	/* Near the 64 bits that chunks * cf would have */
	struct rdt_mbm mbm = { .to_correct = BIT_ULL(43) - 2 };
	u64 now, before = 0;
	int i;

	for (i = 0; i < 5; i++) {
		now = rdt_mbm_bytes(&bdw, &mbm);
		KUNIT_EXPECT_GE(test, now, before);
		before = now;
		rdt_mbm_add(&bdw, &mbm, 55, 1);
	}
}

static void rdt_mbm_interval_is_half_a_wrap(struct kunit *test)
{
	/* 2^23 * 64 KB at 2^40 bytes per second */
	KUNIT_EXPECT_EQ(test, rdt_mbm_max_interval_us(&intel), 500000);
	/* As if it had 40 bits */
	KUNIT_EXPECT_EQ(test, rdt_mbm_max_interval_us(&amd), 32000000);
}

static struct kunit_case rdt_mbm_cases[] = {
	KUNIT_CASE(rdt_mbm_delta_is_the_difference),
	KUNIT_CASE(rdt_mbm_delta_wraps_at_its_width),
	KUNIT_CASE(rdt_mbm_delta_of_up_to_half),
	KUNIT_CASE(rdt_mbm_delta_of_a_step_back),
	KUNIT_CASE(rdt_mbm_moved_since_a_restart),
	KUNIT_CASE(rdt_mbm_bytes_are_scaled),
	KUNIT_CASE(rdt_mbm_bytes_beyond_the_width),
	KUNIT_CASE(rdt_mbm_correction_begins_above_its_rmid),
	KUNIT_CASE(rdt_mbm_correction_rounds_the_sum_only),
	KUNIT_CASE(rdt_mbm_correction_never_steps_back),
	KUNIT_CASE(rdt_mbm_interval_is_half_a_wrap),
	{}
};

static struct kunit_suite rdt_mbm_suite = {
	.name		= "rdt_mbm",
	.test_cases	= rdt_mbm_cases,
};

kunit_test_suite(rdt_mbm_suite);

MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("KUnit tests of the arithmetic of memory bandwidth counters");
