/*
 * Counters that exist once per package: RDT monitoring and RAPL energy for TCG.
 * And RDT's classes of service, which are kept and checked, but limit nothing.
 *
 * All of it derives from one thing that is measured: the nanoseconds of
 * QEMU_CLOCK_VIRTUAL that a vCPU was not halted. They are charged to the vCPU
 * (energy) and, per L3 domain, to the RMID in its PQR_ASSOC (RDT). What was
 * charged is the ground truth; what an MSR shows is that truth times a rate, in
 * the MSR's unit and width. With -icount both are exact and repeatable.
 *
 * "Not halted" instead of "executing": where one host thread runs all vCPUs in
 * turn the guest takes its CPUs to run side by side, and so must the counters.
 *
 * MSRs that start with 0x52 are not architectural: they are for tests. Reading
 * one gives the truth of any domain from any vCPU; writing one changes what the
 * counter shows from now on, not the truth. See README.md beside the sources.
 *
 * The state is protected by a lock of its own. It outlives an INIT of a vCPU, so
 * that taking a CPU offline does not change what its RMID is.
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "qapi/error.h"
#include "hw/qdev-core.h"
#include "hw/qdev-properties.h"
#include "hw/boards.h"
#include "hw/i386/topology.h"
#include "migration/vmstate.h"
#include "sysemu/cpu-timers.h"
#include "sysemu/reset.h"
#include "tcg/pmu.h"
#include "tcg/turns.h"

#define TYPE_PKG_COUNTERS "x86-pkg-counters"
OBJECT_DECLARE_SIMPLE_TYPE(PkgCounters, PKG_COUNTERS)

#define MSR_RAPL_POWER_UNIT         0x606
#define MSR_PKG_ENERGY_STATUS       0x611
#define MSR_DRAM_ENERGY_STATUS      0x619
#define MSR_PP0_ENERGY_STATUS       0x639
#define MSR_IA32_L3_QOS_CFG         0xc81
#define MSR_IA32_QM_EVTSEL          0xc8d
#define MSR_IA32_QM_CTR             0xc8e
#define MSR_IA32_PQR_ASSOC          0xc8f
#define MSR_IA32_L3_QOS_MASK        0xc90       /* and those that follow, by class */
#define MSR_IA32_L2_QOS_EXT_BW_THRTL 0xd50
#define MSR_AMD_L3_QOS_BW_CONTROL   0xc0000200
#define MSR_AMD_RAPL_POWER_UNIT     0xc0010299
#define MSR_AMD_CORE_ENERGY_STATUS  0xc001029a
#define MSR_AMD_PKG_ENERGY_STATUS   0xc001029b

#define QM_EVTSEL_EVENT             MAKE_64BIT_MASK(0, 8)
#define QM_EVTSEL_RMID_SHIFT        32
#define QM_RMID                     MAKE_64BIT_MASK(0, 10)
#define QM_CTR_ERROR                (1ULL << 63)
#define QM_CTR_UNAVAILABLE          (1ULL << 62)
#define PQR_ASSOC_CLOSID_SHIFT      32

/* Bits of a mask of the L3, and those of them that devices share */
#define INTEL_MASK_BITS             11
#define INTEL_MASK_SHAREABLE        0x600
#define AMD_MASK_BITS               16
/* Bandwidth: Intel delays by up to 90 %; AMD has a limit, and a bit above it for none */
#define INTEL_MAX_DELAY             90
#define AMD_LIMIT_BITS              11

/* Test MSRs: 0x52, an item, a domain (or a core's index) and an RMID */
#define TEST_MSR(msr)               (((msr) >> 24) == 0x52)
#define TEST_MSR_ITEM(msr)          (((msr) >> 20) & 0xf)
#define TEST_MSR_DOMAIN(msr)        (((msr) >> 12) & 0xff)
#define TEST_MSR_RMID(msr)          ((msr) & 0xfff)

enum {
    /* RDT, numbered as the events of QM_EVTSEL: bytes */
    ITEM_OCCUPANCY = 1,
    ITEM_TOTAL,
    ITEM_LOCAL,
    RDT_ITEMS,
    /* RAPL: microjoules */
    ITEM_ENERGY_PKG = 4,
    ITEM_ENERGY_CORES,
    ITEM_ENERGY_DRAM,
    ITEM_ENERGY_CORE,
    ITEM_ENERGY_END,
    /* With -icount: instructions of the vCPU with the domain's number */
    ITEM_INSTRUCTIONS = 8,
    ITEM_SHORT_TURNS,           /* and how many of its turns were short */
    /* What reading the real MSRs of a domain fails with */
    ITEM_RDT_FAULT = 14,        /* QM_CTR's bits 63 and 62 */
    ITEM_RAPL_FAULT,            /* not 0: #GP */
};
#define RAPL_ITEMS                  (ITEM_ENERGY_END - ITEM_ENERGY_PKG)

#define MAX_DOMAINS                 256
#define MAX_RMIDS                   1024
#define MAX_CLASSES                 64
#define CHARGE_STEP_NS              10000
#define CPUID_7_0_EBX_PQM           (1U << 12)
#define CPUID_7_0_EBX_RDT_A         (1U << 15)
#define CPUID_10_0_EBX_L3           (1U << 1)
#define CPUID_10_0_EBX_BANDWIDTH    (1U << 3)
#define CPUID_10_1_ECX_CDP          (1U << 2)
#define CPUID_10_3_ECX_LINEAR       (1U << 2)
#define CPUID_APM_RAPL              (1U << 14)
#define CPUID_8000_0008_EBX_MBE     (1U << 6)
#define CPUID_8000_0020_EBX_L3MBE   (1U << 1)

typedef struct {
    bool running;
    uint64_t busy_ns;
    bool executing;
    int64_t entered;            /* executing since then */
    uint64_t executed_ns;       /* before that; less what PAUSE was charged */
    uint32_t rmid;
    uint32_t closid;
    uint64_t evtsel;
} PkgVcpu;

typedef struct {
    uint64_t ns[MAX_RMIDS];     /* the truth: vCPUs' time under an RMID */
    uint64_t fill_ns[MAX_RMIDS]; /* the part of it still in the cache */
    uint32_t cpus[MAX_RMIDS];   /* how many vCPUs' PQR_ASSOC name an RMID */
    uint64_t offset[RDT_ITEMS][MAX_RMIDS];
    bool lost[RDT_ITEMS][MAX_RMIDS]; /* and nobody has read that */
    uint64_t evtsel;
    uint64_t fault;
    uint64_t cdp;               /* code and data have masks of their own */
    uint64_t mask[MAX_CLASSES];
    uint64_t bandwidth[MAX_CLASSES];
} L3Domain;

typedef struct {
    uint64_t offset[RAPL_ITEMS];
    bool fault;
} EnergyDomain;

struct PkgCounters {
    DeviceState parent_obj;

    uint32_t max_rmid;
    uint32_t scale;             /* bytes per unit of QM_CTR */
    uint32_t width_offset;      /* as enumerated: bits beyond 24; AMD: 0 is 44 */
    uint32_t rate;              /* bytes per microsecond of a running vCPU */
    uint32_t cache;             /* bytes an RMID can occupy in one L3 */
    uint32_t l3_size;           /* bytes */
    uint32_t classes;           /* of service; 0: no allocation */
    bool amd_tracking;
    bool amd_lost;
    uint32_t energy_unit;       /* 1 / 2^n joules */
    uint32_t dram_unit;         /* likewise: Intel's servers have one that no MSR tells */
    uint32_t idle_mw;           /* of a package (Intel: of each die) */
    uint32_t busy_mw;           /* more, for each running vCPU */
    uint32_t dram_idle_mw;
    uint32_t dram_busy_mw;
    bool pmu;                   /* with -icount, on Intel */
    char *short_turns;          /* with -icount: the file with their ranges */

    QemuMutex lock;
    int64_t charged;            /* all vCPUs, up to here */
    PkgVcpu *vcpus;             /* by cpu_index */
    unsigned nr_vcpus;
    L3Domain *l3[MAX_DOMAINS];
    EnergyDomain energy[MAX_DOMAINS];
};

static PkgCounters *counters;   /* set once, before a vCPU runs */

static X86CPUTopoInfo topology(CPUX86State *env)
{
    CPUState *cs = env_cpu(env);

    return (X86CPUTopoInfo) {
        .dies_per_pkg = env->nr_dies,
        .cores_per_die = cs->nr_cores,
        .threads_per_core = cs->nr_threads,
    };
}

/* One L3 a die, as in CPUID leaves 4 and 0x8000001d */
static unsigned l3_id(CPUX86State *env)
{
    X86CPUTopoInfo info = topology(env);

    return (env_archcpu(env)->apic_id >> apicid_die_offset(&info)) % MAX_DOMAINS;
}

/* Energy is counted per die on Intel, per package on AMD */
static unsigned energy_id(CPUX86State *env)
{
    X86CPUTopoInfo info = topology(env);

    if (IS_AMD_CPU(env)) {
        return (env_archcpu(env)->apic_id >> apicid_pkg_offset(&info)) % MAX_DOMAINS;
    }
    return l3_id(env);
}

static unsigned core_id(CPUX86State *env)
{
    X86CPUTopoInfo info = topology(env);

    return env_archcpu(env)->apic_id >> apicid_core_offset(&info);
}

static PkgVcpu *vcpu_of(PkgCounters *s, CPUX86State *env)
{
    return &s->vcpus[env_cpu(env)->cpu_index];
}

/*
 * What an RMID brings into an L3 takes the place of what is there, used or not: each of the
 * others, and what is free, loses in proportion to its size. With all that it can occupy
 * an RMID goes on to bring in lines, and others go on to lose theirs.
 */
static void fill(PkgCounters *s, L3Domain *d, unsigned rmid, uint64_t ns)
{
    uint64_t others = muldiv64(s->l3_size, 1000, s->rate) - d->fill_ns[rmid];
    uint64_t low, high;

    for (unsigned i = 0; i <= s->max_rmid; i++) {
        if (i == rmid || !d->fill_ns[i]) {
            continue;
        }
        mulu64(&low, &high, d->fill_ns[i], MIN(ns, others));
        /* Rounded up, or the last of it would stay for ever */
        if (divu128(&low, &high, others)) {
            low++;
        }
        d->fill_ns[i] -= low;
    }
    d->fill_ns[rmid] = MIN(d->fill_ns[rmid] + ns, muldiv64(s->cache, 1000, s->rate));
}

/* In steps that are small beside an L3: RMIDs that run at the same time share it */
static int64_t charge_all(PkgCounters *s)
{
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    CPUState *cs;

    while (s->charged < now) {
        int64_t ns = MIN(now - s->charged, CHARGE_STEP_NS);
        bool idle = true;

        CPU_FOREACH(cs) {
            PkgVcpu *v = vcpu_of(s, cs->env_ptr);
            L3Domain *d = s->l3[l3_id(cs->env_ptr)];

            if (v->running) {
                fill(s, d, v->rmid, ns);
                d->ns[v->rmid] += ns;
                v->busy_ns += ns;
                idle = false;
            }
        }
        s->charged = idle ? now : s->charged + ns;
    }
    return now;
}

static void set_running(PkgCounters *s, CPUX86State *env, bool running)
{
    PkgVcpu *v = vcpu_of(s, env);

    if (v->running != running) {
        charge_all(s);
        v->running = running;
    }
}

void x86_pkg_counters_enter(CPUX86State *env)
{
    PkgCounters *s = counters;
    int64_t now;

    if (!s) {
        return;
    }
    QEMU_LOCK_GUARD(&s->lock);
    now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    vcpu_of(s, env)->entered = now;
    vcpu_of(s, env)->executing = true;
    set_running(s, env, true);
}

void x86_pkg_counters_exit(CPUX86State *env, bool halted)
{
    PkgCounters *s = counters;
    int64_t now;
    PkgVcpu *v;

    if (!s) {
        return;
    }
    QEMU_LOCK_GUARD(&s->lock);
    now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    v = vcpu_of(s, env);
    v->executed_ns += now - v->entered;
    v->executing = false;
    set_running(s, env, !halted);
}

void x86_pkg_counters_pause(CPUX86State *env, unsigned charged)
{
    PkgCounters *s = counters;

    if (s) {
        QEMU_LOCK_GUARD(&s->lock);
        vcpu_of(s, env)->executed_ns -= charged;
    }
}

/* RDT monitoring: everything below with the lock held and all vCPUs charged */

static uint64_t rdt_truth(PkgCounters *s, L3Domain *d, unsigned item, unsigned rmid)
{
    uint64_t bytes = muldiv64(d->ns[rmid], s->rate, 1000);

    switch (item) {
    case ITEM_OCCUPANCY:
        return muldiv64(d->fill_ns[rmid], s->rate, 1000);
    case ITEM_LOCAL:
        return bytes - bytes / 4;
    default:
        return bytes;
    }
}

static uint64_t rdt_units(PkgCounters *s, L3Domain *d, unsigned item, unsigned rmid)
{
    return rdt_truth(s, d, item, rmid) / s->scale;
}

static unsigned rdt_width(PkgCounters *s, CPUX86State *env)
{
    if (!s->width_offset && IS_AMD_CPU(env)) {
        return 44;
    }
    return 24 + s->width_offset;
}

static uint64_t *evtsel_of(PkgCounters *s, CPUX86State *env)
{
    return s->amd_tracking ? &s->l3[l3_id(env)]->evtsel : &vcpu_of(s, env)->evtsel;
}

static uint64_t rdt_read(PkgCounters *s, CPUX86State *env)
{
    L3Domain *d = s->l3[l3_id(env)];
    uint64_t evtsel = *evtsel_of(s, env);
    unsigned event = evtsel & QM_EVTSEL_EVENT;
    unsigned rmid = (evtsel >> QM_EVTSEL_RMID_SHIFT) & QM_RMID;

    if (event < ITEM_OCCUPANCY || event > ITEM_LOCAL || rmid > s->max_rmid) {
        return QM_CTR_ERROR;
    }
    if (d->fault) {
        return d->fault;
    }
    if (s->amd_tracking && !d->cpus[rmid]) {
        return QM_CTR_UNAVAILABLE;
    }
    if (d->lost[event][rmid]) {
        d->lost[event][rmid] = false;
        return QM_CTR_UNAVAILABLE;
    }
    return (rdt_units(s, d, event, rmid) + d->offset[event][rmid]) &
           MAKE_64BIT_MASK(0, rdt_width(s, env));
}

/* From now on the counter shows @val */
static void rdt_push(PkgCounters *s, L3Domain *d, unsigned item, unsigned rmid, uint64_t val)
{
    d->offset[item][rmid] = val - rdt_units(s, d, item, rmid);
}

static PkgMsrResult rdt_associate(PkgCounters *s, CPUX86State *env, uint64_t val)
{
    L3Domain *d = s->l3[l3_id(env)];
    PkgVcpu *v = vcpu_of(s, env);
    uint32_t rmid = val, closid = val >> PQR_ASSOC_CLOSID_SHIFT;

    /* Without allocation bits 63:32 are reserved */
    if (rmid > s->max_rmid || (closid && closid >= s->classes)) {
        return PKG_MSR_GP;
    }
    v->closid = closid;
    if (rmid == v->rmid) {
        return PKG_MSR_DONE;
    }
    d->cpus[v->rmid]--;
    v->rmid = rmid;
    if (!d->cpus[rmid]++ && s->amd_tracking) {
        d->fill_ns[rmid] = 0;
        rdt_push(s, d, ITEM_TOTAL, rmid, 0);
        rdt_push(s, d, ITEM_LOCAL, rmid, 0);
        d->lost[ITEM_TOTAL][rmid] = s->amd_lost;
        d->lost[ITEM_LOCAL][rmid] = s->amd_lost;
    }
    return PKG_MSR_DONE;
}

/* RDT allocation: the registers of an L3's classes */

static uint32_t bandwidth_msr(CPUX86State *env)
{
    return IS_AMD_CPU(env) ? MSR_AMD_L3_QOS_BW_CONTROL : MSR_IA32_L2_QOS_EXT_BW_THRTL;
}

static bool is_class_msr(PkgCounters *s, CPUX86State *env, uint32_t msr)
{
    return s->classes && (msr == MSR_IA32_L3_QOS_CFG ||
                          msr - MSR_IA32_L3_QOS_MASK < MAX_CLASSES ||
                          msr - bandwidth_msr(env) < MAX_CLASSES);
}

/* NULL: of a class too high */
static uint64_t *class_reg(PkgCounters *s, CPUX86State *env, uint32_t msr)
{
    L3Domain *d = s->l3[l3_id(env)];

    if (msr == MSR_IA32_L3_QOS_CFG) {
        return &d->cdp;
    }
    if (msr - MSR_IA32_L3_QOS_MASK < s->classes) {
        return &d->mask[msr - MSR_IA32_L3_QOS_MASK];
    }
    if (msr - bandwidth_msr(env) < s->classes) {
        return &d->bandwidth[msr - bandwidth_msr(env)];
    }
    return NULL;
}

static uint64_t mask_bits(CPUX86State *env)
{
    return MAKE_64BIT_MASK(0, IS_AMD_CPU(env) ? AMD_MASK_BITS : INTEL_MASK_BITS);
}

static bool class_val_is_valid(CPUX86State *env, uint32_t msr, uint64_t val)
{
    if (msr == MSR_IA32_L3_QOS_CFG) {
        return val <= 1;
    }
    if (msr - MSR_IA32_L3_QOS_MASK >= MAX_CLASSES) {
        return IS_AMD_CPU(env) ? !(val >> (AMD_LIMIT_BITS + 1)) : val <= INTEL_MAX_DELAY;
    }
    if (val & ~mask_bits(env)) {
        return false;
    }
    /* Intel wants 1s, and no gap between them: adding the lowest carries through all */
    return IS_AMD_CPU(env) || (val && !(val & (val + (val & -val))));
}

static PkgMsrResult class_read(PkgCounters *s, CPUX86State *env, uint32_t msr, uint64_t *val)
{
    uint64_t *reg = class_reg(s, env, msr);

    if (!reg) {
        return PKG_MSR_GP;
    }
    *val = *reg;
    return PKG_MSR_DONE;
}

static PkgMsrResult class_write(PkgCounters *s, CPUX86State *env, uint32_t msr, uint64_t val)
{
    uint64_t *reg = class_reg(s, env, msr);

    if (!reg || !class_val_is_valid(env, msr, val)) {
        return PKG_MSR_GP;
    }
    *reg = val;
    return PKG_MSR_DONE;
}

/* No limits */
static void class_reset(CPUX86State *env, L3Domain *d)
{
    d->cdp = 0;
    for (unsigned i = 0; i < MAX_CLASSES; i++) {
        d->mask[i] = mask_bits(env);
        d->bandwidth[i] = IS_AMD_CPU(env) ? 1 << AMD_LIMIT_BITS : 0;
    }
}

/* RAPL, likewise */

/* Microjoules: nanoseconds times milliwatts are picojoules */
static uint64_t energy_uj(PkgCounters *s, unsigned item, unsigned id, int64_t now)
{
    uint64_t busy = 0;
    CPUState *cs;

    CPU_FOREACH(cs) {
        CPUX86State *env = cs->env_ptr;

        if ((item == ITEM_ENERGY_CORE ? core_id(env) : energy_id(env)) == id) {
            busy += vcpu_of(s, env)->busy_ns;
        }
    }
    switch (item) {
    case ITEM_ENERGY_PKG:
        return muldiv64(now, s->idle_mw, 1000000) + muldiv64(busy, s->busy_mw, 1000000);
    case ITEM_ENERGY_DRAM:
        return muldiv64(now, s->dram_idle_mw, 1000000) +
               muldiv64(busy, s->dram_busy_mw, 1000000);
    default:
        return muldiv64(busy, s->busy_mw, 1000000);
    }
}

static uint64_t energy_units(PkgCounters *s, unsigned item, unsigned id, int64_t now)
{
    unsigned unit = item == ITEM_ENERGY_DRAM ? s->dram_unit : s->energy_unit;

    return muldiv64(energy_uj(s, item, id, now), 1U << unit, 1000000);
}

static uint64_t *energy_offset(PkgCounters *s, unsigned item, unsigned id)
{
    return &s->energy[id].offset[item - ITEM_ENERGY_PKG];
}

static PkgMsrResult energy_read(PkgCounters *s, CPUX86State *env, unsigned item,
                                uint64_t *val, int64_t now)
{
    unsigned id = item == ITEM_ENERGY_CORE ? core_id(env) % MAX_DOMAINS : energy_id(env);

    if (s->energy[energy_id(env)].fault) {
        return PKG_MSR_GP;
    }
    *val = (uint32_t)(energy_units(s, item, id, now) + *energy_offset(s, item, id));
    return PKG_MSR_DONE;
}

/* The item that an energy MSR of this CPU's vendor shows; 0: none */
static unsigned energy_item(CPUX86State *env, uint32_t msr)
{
    if (IS_AMD_CPU(env)) {
        return msr == MSR_AMD_PKG_ENERGY_STATUS ? ITEM_ENERGY_PKG :
               msr == MSR_AMD_CORE_ENERGY_STATUS ? ITEM_ENERGY_CORE : 0;
    }
    return msr == MSR_PKG_ENERGY_STATUS ? ITEM_ENERGY_PKG :
           msr == MSR_PP0_ENERGY_STATUS ? ITEM_ENERGY_CORES :
           msr == MSR_DRAM_ENERGY_STATUS ? ITEM_ENERGY_DRAM : 0;
}

static bool is_energy_unit(CPUX86State *env, uint32_t msr)
{
    return msr == (IS_AMD_CPU(env) ? MSR_AMD_RAPL_POWER_UNIT : MSR_RAPL_POWER_UNIT);
}

/* The test MSRs */

static PkgMsrResult test_access(PkgCounters *s, uint32_t msr, uint64_t *val, bool write, int64_t now)
{
    unsigned item = TEST_MSR_ITEM(msr), id = TEST_MSR_DOMAIN(msr), rmid = TEST_MSR_RMID(msr);
    L3Domain *d = s->l3[id];

    switch (item) {
    case ITEM_OCCUPANCY:
    case ITEM_TOTAL:
    case ITEM_LOCAL:
        if (!d || rmid > s->max_rmid || (write && item == ITEM_OCCUPANCY)) {
            return PKG_MSR_GP;
        }
        if (write) {
            rdt_push(s, d, item, rmid, *val);
        } else {
            *val = rdt_truth(s, d, item, rmid);
        }
        return PKG_MSR_DONE;
    case ITEM_ENERGY_PKG:
    case ITEM_ENERGY_CORES:
    case ITEM_ENERGY_DRAM:
    case ITEM_ENERGY_CORE:
        if (write) {
            *energy_offset(s, item, id) = *val - energy_units(s, item, id, now);
        } else {
            *val = energy_uj(s, item, id, now);
        }
        return PKG_MSR_DONE;
    case ITEM_INSTRUCTIONS:
        if (write || id >= s->nr_vcpus || !icount_enabled()) {
            return PKG_MSR_GP;
        }
        *val = s->vcpus[id].executed_ns;
        if (s->vcpus[id].executing) {
            *val += now - s->vcpus[id].entered;
        }
        return PKG_MSR_DONE;
    case ITEM_SHORT_TURNS:
        if (write || id >= s->nr_vcpus) {
            return PKG_MSR_GP;
        }
        *val = x86_turns_short(id);
        return PKG_MSR_DONE;
    case ITEM_RDT_FAULT:
        if (!d) {
            return PKG_MSR_GP;
        }
        if (write) {
            d->fault = *val & (QM_CTR_ERROR | QM_CTR_UNAVAILABLE);
        } else {
            *val = d->fault;
        }
        return PKG_MSR_DONE;
    case ITEM_RAPL_FAULT:
        if (write) {
            s->energy[id].fault = *val;
        } else {
            *val = s->energy[id].fault;
        }
        return PKG_MSR_DONE;
    default:
        return PKG_MSR_GP;
    }
}

static bool is_ours(PkgCounters *s, CPUX86State *env, uint32_t msr)
{
    return TEST_MSR(msr) || is_energy_unit(env, msr) || energy_item(env, msr) ||
           is_class_msr(s, env, msr) ||
           (msr >= MSR_IA32_QM_EVTSEL && msr <= MSR_IA32_PQR_ASSOC);
}

PkgMsrResult x86_pkg_counters_rdmsr(CPUX86State *env, uint32_t msr, uint64_t *val)
{
    PkgCounters *s = counters;
    int64_t now;

    if (!s || !is_ours(s, env, msr)) {
        return x86_pmu_rdmsr(env, msr, val);
    }
    QEMU_LOCK_GUARD(&s->lock);
    now = charge_all(s);
    if (TEST_MSR(msr)) {
        return test_access(s, msr, val, false, now);
    }
    if (energy_item(env, msr)) {
        return energy_read(s, env, energy_item(env, msr), val, now);
    }
    if (is_class_msr(s, env, msr)) {
        return class_read(s, env, msr, val);
    }
    switch (msr) {
    case MSR_IA32_PQR_ASSOC:
        *val = (uint64_t)vcpu_of(s, env)->closid << PQR_ASSOC_CLOSID_SHIFT |
               vcpu_of(s, env)->rmid;
        break;
    case MSR_IA32_QM_EVTSEL:
        *val = *evtsel_of(s, env);
        break;
    case MSR_IA32_QM_CTR:
        *val = rdt_read(s, env);
        break;
    default:
        /* Power in 1/8 W, energy, time in 1/1024 s */
        *val = 0xa << 16 | s->energy_unit << 8 | 3;
    }
    return PKG_MSR_DONE;
}

PkgMsrResult x86_pkg_counters_wrmsr(CPUX86State *env, uint32_t msr, uint64_t val)
{
    PkgCounters *s = counters;
    int64_t now;

    if (!s || !is_ours(s, env, msr)) {
        return x86_pmu_wrmsr(env, msr, val);
    }
    QEMU_LOCK_GUARD(&s->lock);
    now = charge_all(s);
    if (TEST_MSR(msr)) {
        return test_access(s, msr, &val, true, now);
    }
    if (is_class_msr(s, env, msr)) {
        return class_write(s, env, msr, val);
    }
    switch (msr) {
    case MSR_IA32_PQR_ASSOC:
        return rdt_associate(s, env, val);
    case MSR_IA32_QM_EVTSEL:
        if (val & ~(QM_EVTSEL_EVENT | QM_RMID << QM_EVTSEL_RMID_SHIFT)) {
            return PKG_MSR_GP;
        }
        *evtsel_of(s, env) = val;
        return PKG_MSR_DONE;
    default:
        return PKG_MSR_GP;      /* read-only */
    }
}

static void class_cpuid(PkgCounters *s, CPUX86State *env, uint32_t index, uint32_t count,
                        uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx)
{
    bool amd = IS_AMD_CPU(env);

    if (index == 7 && count == 0) {
        *ebx |= CPUID_7_0_EBX_RDT_A;
    } else if (index == 0x10 && count == 0) {
        *ebx = CPUID_10_0_EBX_L3 | (amd ? 0 : CPUID_10_0_EBX_BANDWIDTH);
    } else if (index == 0x10 && count == 1) {
        *eax = (amd ? AMD_MASK_BITS : INTEL_MASK_BITS) - 1;
        *ebx = amd ? 0 : INTEL_MASK_SHAREABLE;
        *ecx = CPUID_10_1_ECX_CDP;
        *edx = s->classes - 1;
    } else if (index == 0x10 && count == 3 && !amd) {
        *eax = INTEL_MAX_DELAY - 1;
        *ecx = CPUID_10_3_ECX_LINEAR;
        *edx = s->classes - 1;
    } else if (index == 0x80000008 && amd) {
        *ebx |= CPUID_8000_0008_EBX_MBE;
    } else if (index == 0x80000020 && count == 0 && amd) {
        *ebx = CPUID_8000_0020_EBX_L3MBE;
    } else if (index == 0x80000020 && count == 1 && amd) {
        *eax = AMD_LIMIT_BITS;
        *edx = s->classes - 1;
    }
}

void x86_pkg_counters_cpuid(CPUX86State *env, uint32_t index, uint32_t count,
                            uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx)
{
    PkgCounters *s = counters;

    if (!s || index > (index < 0x80000000 ? env->cpuid_level : env->cpuid_xlevel)) {
        return;
    }
    x86_pmu_cpuid(env, index, eax, ebx, ecx, edx);
    if (s->classes) {
        class_cpuid(s, env, index, count, eax, ebx, ecx, edx);
    }
    if (index == 7 && count == 0) {
        *ebx |= CPUID_7_0_EBX_PQM;
    } else if (index == 0xf && count == 0) {
        *ebx = s->max_rmid;
        *edx = 1U << 1;         /* of the L3 */
    } else if (index == 0xf && count == 1) {
        *eax = s->width_offset;
        *ebx = s->scale;
        *ecx = s->max_rmid;
        *edx = 7;               /* occupancy, total, local */
    } else if (index == 0x80000007 && IS_AMD_CPU(env)) {
        *edx |= CPUID_APM_RAPL;
    }
}

/* Of the whole machine. What was counted stays. */
static void pkg_counters_reset(void *opaque)
{
    PkgCounters *s = opaque;
    CPUState *cs;

    QEMU_LOCK_GUARD(&s->lock);
    charge_all(s);
    x86_pmu_reset();
    CPU_FOREACH(cs) {
        CPUX86State *env = cs->env_ptr;
        PkgVcpu *v = vcpu_of(s, env);

        s->l3[l3_id(env)]->cpus[v->rmid]--;
        s->l3[l3_id(env)]->cpus[0]++;
        s->l3[l3_id(env)]->evtsel = 0;
        class_reset(env, s->l3[l3_id(env)]);
        v->rmid = 0;
        v->closid = 0;
        v->evtsel = 0;
        v->running = false;
    }
}

static void pkg_counters_realize(DeviceState *dev, Error **errp)
{
    PkgCounters *s = PKG_COUNTERS(dev);
    MachineState *machine = MACHINE(qdev_get_machine());
    CPUState *cs;

    if (counters) {
        error_setg(errp, "there can be only one " TYPE_PKG_COUNTERS);
        return;
    }
    if (s->max_rmid >= MAX_RMIDS || !s->scale || s->width_offset > 38 || !s->rate) {
        error_setg(errp, "max-rmid goes up to %d, width-offset to 38; scale and rate cannot be 0",
                   MAX_RMIDS - 1);
        return;
    }
    if (s->cache > s->l3_size) {
        error_setg(errp, "l3-size cannot be less than cache");
        return;
    }
    if (s->classes == 1 || s->classes > MAX_CLASSES) {
        error_setg(errp, "classes is 0, or 2 to %d", MAX_CLASSES);
        return;
    }
    if (s->energy_unit > 19 || s->dram_unit > 19) {
        error_setg(errp, "energy-unit and dram-unit go up to 19 (2 microjoules)");
        return;
    }
    if (machine->smp.max_cpus != machine->smp.cpus) {
        error_setg(errp, TYPE_PKG_COUNTERS " does not count CPUs plugged in later (maxcpus)");
        return;
    }
    CPU_FOREACH(cs) {
        s->nr_vcpus = MAX(s->nr_vcpus, cs->cpu_index + 1);
    }
    if (s->short_turns && icount_enabled() &&
        !x86_turns_init(s->short_turns, s->nr_vcpus, errp)) {
        return;
    }
    qemu_mutex_init(&s->lock);
    s->vcpus = g_new0(PkgVcpu, s->nr_vcpus);
    CPU_FOREACH(cs) {
        CPUX86State *env = cs->env_ptr;
        unsigned id = l3_id(env);

        if (s->classes) {
            env->cpuid_level = MAX(env->cpuid_level, 0x10);
        }
        if (s->classes && IS_AMD_CPU(env)) {
            env->cpuid_xlevel = MAX(env->cpuid_xlevel, 0x80000020);
        }
        if (!s->l3[id]) {
            s->l3[id] = g_new0(L3Domain, 1);
        }
        s->l3[id]->cpus[0]++;
    }
    if (s->pmu && icount_enabled() && IS_INTEL_CPU((CPUX86State *)first_cpu->env_ptr)) {
        x86_pmu_init(s->nr_vcpus);
    }
    qemu_register_reset(pkg_counters_reset, s);
    counters = s;
}

static Property pkg_counters_properties[] = {
    DEFINE_PROP_UINT32("max-rmid", PkgCounters, max_rmid, 31),
    DEFINE_PROP_UINT32("scale", PkgCounters, scale, 65536),
    DEFINE_PROP_UINT32("width-offset", PkgCounters, width_offset, 0),
    DEFINE_PROP_UINT32("rate", PkgCounters, rate, 1000),
    DEFINE_PROP_UINT32("cache", PkgCounters, cache, 8 << 20),
    DEFINE_PROP_UINT32("l3-size", PkgCounters, l3_size, 16 << 20),
    DEFINE_PROP_UINT32("classes", PkgCounters, classes, 8),
    DEFINE_PROP_BOOL("amd-tracking", PkgCounters, amd_tracking, false),
    DEFINE_PROP_BOOL("amd-lost", PkgCounters, amd_lost, false),
    DEFINE_PROP_UINT32("energy-unit", PkgCounters, energy_unit, 14),
    DEFINE_PROP_UINT32("dram-unit", PkgCounters, dram_unit, 16),
    DEFINE_PROP_UINT32("idle-mw", PkgCounters, idle_mw, 20000),
    DEFINE_PROP_UINT32("busy-mw", PkgCounters, busy_mw, 10000),
    DEFINE_PROP_UINT32("dram-idle-mw", PkgCounters, dram_idle_mw, 2000),
    DEFINE_PROP_UINT32("dram-busy-mw", PkgCounters, dram_busy_mw, 1000),
    DEFINE_PROP_BOOL("pmu", PkgCounters, pmu, false),
    DEFINE_PROP_STRING("short-turns", PkgCounters, short_turns),
    DEFINE_PROP_END_OF_LIST(),
};

static const VMStateDescription pkg_counters_vmstate = {
    .name = TYPE_PKG_COUNTERS,
    .unmigratable = 1,
};

static void pkg_counters_class_init(ObjectClass *class, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(class);

    dc->desc = "RDT monitoring and allocation, and RAPL energy counters, of all packages (TCG)";
    dc->realize = pkg_counters_realize;
    dc->hotpluggable = false;
    dc->vmsd = &pkg_counters_vmstate;
    device_class_set_props(dc, pkg_counters_properties);
    set_bit(DEVICE_CATEGORY_CPU, dc->categories);
}

static const TypeInfo pkg_counters_info = {
    .name = TYPE_PKG_COUNTERS,
    .parent = TYPE_DEVICE,
    .instance_size = sizeof(PkgCounters),
    .class_init = pkg_counters_class_init,
};

static void pkg_counters_register_types(void)
{
    type_register_static(&pkg_counters_info);
}

type_init(pkg_counters_register_types)
