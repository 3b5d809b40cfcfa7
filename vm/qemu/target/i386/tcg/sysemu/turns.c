/*
 * How long the turns of vCPUs are that -icount executes in turn: by -seed.
 *
 * A race whose window is a few instructions is hardly ever met where turns have thousands.
 * So in given ranges of addresses they are short. What runs there calls a helper at the
 * start of each TB, which ends the turn after 1 to 255 instructions more: QEMU then makes a
 * TB of just so many. A small number is as likely as a large one: to meet a race, a vCPU has
 * to stop in the window, and stay there for some turns while others go on.
 *
 * These others are in the ranges as well, or elsewhere. Those that are elsewhere, while any
 * vCPU waits for its turn there, or in what was called from there, have turns of 16 to 16,383
 * instructions: they may come to do much, or little. So has one turn in four in the ranges,
 * for a vCPU to get through all of an operation that another has just begun.
 *
 * There is no lock: one thread executes all vCPUs.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/guest-random.h"
#include "qapi/error.h"
#include "tcg/pmu.h"
#include "tcg/turns.h"
#include "exec/helper-proto.h"

#define LONG_MIN_INSNS              5000
#define LONG_RANDOM_INSNS           10000

typedef struct {
    uint64_t start, end;
} CodeRange;

static CodeRange *ranges;           /* in any order */
static unsigned nr_ranges;

typedef struct {
    bool inside;                    /* the last turn that it had came to a range */
    uint64_t nr_short;
} TurnsVcpu;

static TurnsVcpu *vcpus;            /* by cpu_index; NULL: no short turns */
static unsigned nr_inside;

static unsigned random_insns(void)
{
    uint16_t random;

    qemu_guest_getrandom_nofail(&random, sizeof(random));
    return random;
}

/* From 2^min to 2^max - 1, each power of two as likely as the others */
static unsigned random_between(unsigned min, unsigned max)
{
    unsigned power = 1 << (min + random_insns() % (max - min));

    return power + random_insns() % power;
}

static unsigned others_turn(void)
{
    return random_between(4, 14);
}

static unsigned short_turn(void)
{
    return random_insns() % 4 ? random_between(0, 8) : others_turn();
}

unsigned x86_turn_length(CPUState *cs)
{
    if (vcpus && vcpus[cs->cpu_index].inside) {
        vcpus[cs->cpu_index].inside = false;
        nr_inside--;
    }
    return nr_inside ? others_turn() : LONG_MIN_INSNS + random_insns() % LONG_RANDOM_INSNS;
}

void helper_short_turn(CPUX86State *env)
{
    CPUState *cs = env_cpu(env);
    TurnsVcpu *v = &vcpus[cs->cpu_index];
    int64_t left, cut;

    if (v->inside) {
        return;                     /* not the first TB of this turn that is there */
    }
    v->inside = true;
    v->nr_short++;
    nr_inside++;
    left = short_turn();
    x86_pmu_end_turn(env);          /* what it holds back is left as well */
    cut = cpu_neg(cs)->icount_decr.u16.low + cs->icount_extra - left;
    if (cut > 0) {
        cs->icount_budget -= cut;
        cpu_neg(cs)->icount_decr.u16.low = left;
        cs->icount_extra = 0;
    }
    x86_pmu_cut(env, MAX(cut, 0));
}

bool x86_turn_is_short_at(target_ulong pc)
{
    for (unsigned i = 0; i < nr_ranges; i++) {
        if (pc >= ranges[i].start && pc < ranges[i].end) {
            return true;
        }
    }
    return false;
}

uint64_t x86_turns_short(unsigned vcpu)
{
    return vcpus ? vcpus[vcpu].nr_short : 0;
}

bool x86_turns_init(const char *path, unsigned nr, Error **errp)
{
    FILE *file = fopen(path, "r");
    CodeRange range;
    int n;

    if (!file) {
        error_setg_file_open(errp, errno, path);
        return false;
    }
    while ((n = fscanf(file, "%" SCNx64 " %" SCNx64, &range.start, &range.end)) == 2) {
        ranges = g_renew(CodeRange, ranges, nr_ranges + 1);
        ranges[nr_ranges++] = range;
    }
    fclose(file);
    if (n != EOF || !nr_ranges) {
        error_setg(errp, "%s: not lines of a start and an end in hexadecimal", path);
        return false;
    }
    vcpus = g_new0(TurnsVcpu, nr);
    return true;
}
