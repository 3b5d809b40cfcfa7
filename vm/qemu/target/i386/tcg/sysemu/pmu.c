/*
 * A performance monitoring unit for TCG: version 2 of Intel's architectural one.
 *
 * It counts the instructions that a vCPU executes, as -icount has them, and cycles,
 * which are as many. So it is there with -icount only.
 *
 * A counter overflows at the very instruction where it is due, and the interrupt comes
 * before the next. For that a vCPU may be given fewer instructions than are left of its
 * turn: the rest is held back, and given when these are executed. The length of a turn
 * does not change, nor does the virtual time.
 *
 * At any moment cpu->icount_decr.u16.low + cpu->icount_extra are left to execute. This is
 * exact in a helper that ends its TB, and all of those here do: access to an MSR, RDPMC
 * and what changes the CPL.
 *
 * There is no lock: a vCPU's registers are its own, and -icount has one thread for all.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "hw/i386/apic.h"
#include "sysemu/cpu-timers.h"
#include "tcg/pmu.h"

#define VERSION                     2
#define GENERAL                     4
#define FIXED                       3
#define COUNTERS                    (GENERAL + FIXED)   /* in this order */
#define WIDTH                       48
#define COUNTER_MASK                MAKE_64BIT_MASK(0, WIDTH)

#define MSR_IA32_PMC0               0xc1
#define MSR_IA32_PERFEVTSEL0        0x186

#define EVENTSEL_USR                (1U << 16)
#define EVENTSEL_OS                 (1U << 17)
#define EVENTSEL_INT                (1U << 20)
#define EVENTSEL_ENABLE             (1U << 22)
/* Event, unit mask, edge, invert, counter mask */
#define EVENTSEL_EVENT              (0xff84ffffU)
#define EVENT_INSTRUCTIONS          0x00c0
#define EVENT_CYCLES                0x003c
#define EVENT_REF_CYCLES            0x013c

/* Of each fixed counter, 4 bits */
#define FIXED_OS                    (1U << 0)
#define FIXED_USR                   (1U << 1)
#define FIXED_PMI                   (1U << 3)
#define FIXED_VALID                 0xbbbU
#define RDPMC_FIXED                 (1U << 30)

/* Of GLOBAL_CTRL and GLOBAL_STATUS */
#define COUNTER_BIT(i)              (1ULL << ((i) < GENERAL ? (i) : 32 + (i) - GENERAL))
#define GLOBAL_VALID                (MAKE_64BIT_MASK(0, GENERAL) | MAKE_64BIT_MASK(32, FIXED))
#define OVF_CTRL_VALID              (GLOBAL_VALID | 3ULL << 62)

/* Architectural events in CPUID 0xA, in the order of its bits; those it has are the first three */
#define ARCH_EVENTS                 7
#define ARCH_EVENTS_MISSING         0x78

/* Of icount_decr.u16.low: QEMU may give back an instruction that faults */
#define MAX_LOW                     0xfff0

typedef struct {
    uint64_t counter[COUNTERS];
    uint32_t select[GENERAL];
    uint32_t fixed_ctrl;
    uint64_t global_ctrl;
    uint64_t status;

    bool executing;             /* it has its turn */
    int64_t held;               /* instructions of it that are held back */
    int64_t end;                /* what is executed when all of it is */
    int64_t counted;            /* of what is executed, the counters have this */
    bool pmi;                   /* a counter overflowed, and is to interrupt */
} PmuVcpu;

static PmuVcpu *vcpus;          /* by cpu_index; NULL: there is no PMU */

static PmuVcpu *vcpu_of(CPUX86State *env)
{
    return vcpus ? &vcpus[env_cpu(env)->cpu_index] : NULL;
}

static int64_t insns_left(CPUState *cs)
{
    return cpu_neg(cs)->icount_decr.u16.low + cs->icount_extra;
}

static bool is_on(PmuVcpu *v, unsigned i, int cpl)
{
    uint32_t select;

    if (!(v->global_ctrl & COUNTER_BIT(i))) {
        return false;
    }
    if (i >= GENERAL) {
        return v->fixed_ctrl >> 4 * (i - GENERAL) & (cpl ? FIXED_USR : FIXED_OS);
    }
    select = v->select[i];
    if (!(select & EVENTSEL_ENABLE) || !(select & (cpl ? EVENTSEL_USR : EVENTSEL_OS))) {
        return false;
    }
    /* Another event, or a condition on how many there are in a cycle: never happens */
    switch (select & EVENTSEL_EVENT) {
    case EVENT_INSTRUCTIONS:
    case EVENT_CYCLES:
    case EVENT_REF_CYCLES:
        return true;
    default:
        return false;
    }
}

static bool interrupts(PmuVcpu *v, unsigned i)
{
    return i < GENERAL ? v->select[i] & EVENTSEL_INT :
                         v->fixed_ctrl >> 4 * (i - GENERAL) & FIXED_PMI;
}

/* Brings the counters up to date. All that is new was executed at the present CPL. */
static void count(PmuVcpu *v, CPUX86State *env)
{
    int64_t executed = v->end - v->held - insns_left(env_cpu(env));
    int64_t n = executed - v->counted;

    if (n <= 0) {
        return;
    }
    v->counted = executed;
    for (unsigned i = 0; i < COUNTERS; i++) {
        if (!is_on(v, i, env->hflags & HF_CPL_MASK)) {
            continue;
        }
        v->counter[i] += n;
        if (v->counter[i] & ~COUNTER_MASK) {
            v->counter[i] &= COUNTER_MASK;
            v->status |= COUNTER_BIT(i);
            v->pmi |= interrupts(v, i);
        }
    }
}

/* How many instructions it is to the next interrupt, at this CPL */
static int64_t insns_due(PmuVcpu *v, int cpl)
{
    int64_t due = INT64_MAX;

    for (unsigned i = 0; i < COUNTERS; i++) {
        if (is_on(v, i, cpl) && interrupts(v, i)) {
            due = MIN(due, COUNTER_MASK + 1 - v->counter[i]);
        }
    }
    return v->pmi ? 0 : due;
}

/* Of its turn, the vCPU gets so many instructions, and the rest is held back */
static void hold(PmuVcpu *v, CPUState *cs, int64_t max)
{
    int64_t before = insns_left(cs), left = MIN(before + v->held, max);

    if (left != before) {
        v->held += before - left;
        cs->icount_budget += left - before;
        cpu_neg(cs)->icount_decr.u16.low = MIN(left, MAX_LOW);
        cs->icount_extra = left - cpu_neg(cs)->icount_decr.u16.low;
    }
}

static void interrupt(PmuVcpu *v, CPUX86State *env)
{
    bool locked = qemu_mutex_iothread_locked();

    if (!v->pmi) {
        return;
    }
    v->pmi = false;
    if (!locked) {
        qemu_mutex_lock_iothread();
    }
    apic_deliver_pmi(env_archcpu(env)->apic_state);
    if (!locked) {
        qemu_mutex_unlock_iothread();
    }
}

void x86_pmu_enter(CPUX86State *env)
{
    PmuVcpu *v = vcpu_of(env);

    if (v) {
        v->executing = true;
        v->end += insns_left(env_cpu(env));
        hold(v, env_cpu(env), insns_due(v, env->hflags & HF_CPL_MASK));
    }
}

void x86_pmu_exit(CPUX86State *env)
{
    PmuVcpu *v = vcpu_of(env);

    if (v) {
        count(v, env);
        /* The last instruction may have been one that ends a turn: HLT, PAUSE */
        interrupt(v, env);
        v->executing = false;
        v->end -= v->held + insns_left(env_cpu(env));
        v->held = 0;
    }
}

void x86_pmu_boundary(CPUState *cs)
{
    CPUX86State *env = cs->env_ptr;
    PmuVcpu *v = vcpu_of(env);

    if (v && !insns_left(cs)) {
        count(v, env);
        interrupt(v, env);
        hold(v, cs, insns_due(v, env->hflags & HF_CPL_MASK));
    }
}

/* Called by cpu_x86_load_seg_cache(): the CPL will be @cpl */
void x86_pmu_cpl(CPUX86State *env, int cpl)
{
    PmuVcpu *v = vcpu_of(env);

    if (v && v->executing && cpl != (env->hflags & HF_CPL_MASK)) {
        count(v, env);
        hold(v, env_cpu(env), insns_due(v, cpl));
    }
}

/*
 * Called by the APIC: LVTPC was written. What overflowed while it was masked interrupts now,
 * unless GLOBAL_STATUS was cleared before. (Linux unmasks last on CPUs that do so.)
 */
void x86_pmu_lvtpc(CPUX86State *env)
{
    PmuVcpu *v = vcpu_of(env);

    for (unsigned i = 0; v && i < COUNTERS; i++) {
        if (v->status & COUNTER_BIT(i) && interrupts(v, i)) {
            v->pmi = true;
        }
    }
    if (v) {
        interrupt(v, env);
    }
}

void x86_pmu_end_turn(CPUX86State *env)
{
    PmuVcpu *v = vcpu_of(env);

    if (v) {
        hold(v, env_cpu(env), INT64_MAX);
    }
}

void x86_pmu_pause(CPUX86State *env, unsigned charged)
{
    PmuVcpu *v = vcpu_of(env);

    if (v) {
        v->end -= charged;
    }
}

void x86_pmu_cut(CPUX86State *env, unsigned insns)
{
    PmuVcpu *v = vcpu_of(env);

    if (v) {
        v->end -= insns;
        count(v, env);
        hold(v, env_cpu(env), insns_due(v, env->hflags & HF_CPL_MASK));
    }
}

void x86_pmu_cpuid(CPUX86State *env, uint32_t index, uint32_t *eax, uint32_t *ebx,
                   uint32_t *ecx, uint32_t *edx)
{
    if (vcpus && index == 0xa) {
        *eax = ARCH_EVENTS << 24 | WIDTH << 16 | GENERAL << 8 | VERSION;
        *ebx = ARCH_EVENTS_MISSING;
        *ecx = 0;
        *edx = WIDTH << 5 | FIXED;
    }
}

/* Registers that are read as they were written, but for GLOBAL_STATUS */
static bool read_register(PmuVcpu *v, uint32_t msr, uint64_t *val)
{
    if (msr - MSR_IA32_PMC0 < GENERAL) {
        *val = v->counter[msr - MSR_IA32_PMC0];
    } else if (msr - MSR_CORE_PERF_FIXED_CTR0 < FIXED) {
        *val = v->counter[GENERAL + msr - MSR_CORE_PERF_FIXED_CTR0];
    } else if (msr - MSR_IA32_PERFEVTSEL0 < GENERAL) {
        *val = v->select[msr - MSR_IA32_PERFEVTSEL0];
    } else if (msr == MSR_CORE_PERF_FIXED_CTR_CTRL) {
        *val = v->fixed_ctrl;
    } else if (msr == MSR_CORE_PERF_GLOBAL_STATUS) {
        *val = v->status;
    } else if (msr == MSR_CORE_PERF_GLOBAL_CTRL) {
        *val = v->global_ctrl;
    } else if (msr == MSR_CORE_PERF_GLOBAL_OVF_CTRL) {
        *val = 0;
    } else {
        return false;
    }
    return true;
}

/* False: @val has reserved bits, or the register is read-only */
static bool write_register(PmuVcpu *v, uint32_t msr, uint64_t val)
{
    if (msr - MSR_IA32_PMC0 < GENERAL) {
        v->counter[msr - MSR_IA32_PMC0] = (int32_t)val & COUNTER_MASK;
    } else if (msr - MSR_CORE_PERF_FIXED_CTR0 < FIXED) {
        v->counter[GENERAL + msr - MSR_CORE_PERF_FIXED_CTR0] = val & COUNTER_MASK;
    } else if (msr - MSR_IA32_PERFEVTSEL0 < GENERAL && val <= UINT32_MAX) {
        v->select[msr - MSR_IA32_PERFEVTSEL0] = val;
    } else if (msr == MSR_CORE_PERF_FIXED_CTR_CTRL && !(val & ~(uint64_t)FIXED_VALID)) {
        v->fixed_ctrl = val;
    } else if (msr == MSR_CORE_PERF_GLOBAL_CTRL && !(val & ~GLOBAL_VALID)) {
        v->global_ctrl = val;
    } else if (msr == MSR_CORE_PERF_GLOBAL_OVF_CTRL && !(val & ~OVF_CTRL_VALID)) {
        v->status &= ~val;
    } else {
        return false;
    }
    return true;
}

PkgMsrResult x86_pmu_rdmsr(CPUX86State *env, uint32_t msr, uint64_t *val)
{
    PmuVcpu *v = vcpu_of(env);

    if (!v) {
        return PKG_MSR_NOT_OURS;
    }
    count(v, env);
    return read_register(v, msr, val) ? PKG_MSR_DONE : PKG_MSR_NOT_OURS;
}

PkgMsrResult x86_pmu_wrmsr(CPUX86State *env, uint32_t msr, uint64_t val)
{
    PmuVcpu *v = vcpu_of(env);
    uint64_t old;

    if (!v || !read_register(v, msr, &old)) {
        return PKG_MSR_NOT_OURS;
    }
    count(v, env);
    if (!write_register(v, msr, val)) {
        return PKG_MSR_GP;
    }
    hold(v, env_cpu(env), insns_due(v, env->hflags & HF_CPL_MASK));
    return PKG_MSR_DONE;
}

PkgMsrResult x86_pmu_rdpmc(CPUX86State *env, uint32_t index, uint64_t *val)
{
    PmuVcpu *v = vcpu_of(env);
    uint32_t i = index & RDPMC_FIXED ? GENERAL + (index & ~RDPMC_FIXED) : index;

    if (!v) {
        return PKG_MSR_NOT_OURS;
    }
    if (i >= COUNTERS || (i >= GENERAL && !(index & RDPMC_FIXED))) {
        return PKG_MSR_GP;
    }
    count(v, env);
    *val = v->counter[i];
    return PKG_MSR_DONE;
}

static unsigned nr;

/* Of the whole machine: an INIT of a vCPU changes nothing here */
void x86_pmu_reset(void)
{
    for (unsigned i = 0; vcpus && i < nr; i++) {
        PmuVcpu *v = &vcpus[i];

        memset(v->counter, 0, sizeof(v->counter));
        memset(v->select, 0, sizeof(v->select));
        v->fixed_ctrl = 0;
        v->status = 0;
        v->pmi = false;
        v->global_ctrl = MAKE_64BIT_MASK(0, GENERAL);
    }
}

void x86_pmu_init(unsigned nr_vcpus)
{
    nr = nr_vcpus;
    vcpus = g_new0(PmuVcpu, nr);
}
