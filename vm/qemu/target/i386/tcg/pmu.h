/*
 * A performance monitoring unit for TCG
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef I386_TCG_PMU_H
#define I386_TCG_PMU_H

#include "tcg/pkg_counters.h"

#ifdef CONFIG_USER_ONLY
static inline void x86_pmu_enter(CPUX86State *env)
{
}

static inline void x86_pmu_exit(CPUX86State *env)
{
}

static inline void x86_pmu_end_turn(CPUX86State *env)
{
}

static inline void x86_pmu_pause(CPUX86State *env, unsigned charged)
{
}

static inline PkgMsrResult x86_pmu_rdpmc(CPUX86State *env, uint32_t index, uint64_t *val)
{
    return PKG_MSR_NOT_OURS;
}
#else
/* Gives each vCPU one, before any has run */
void x86_pmu_init(unsigned nr_vcpus);
void x86_pmu_reset(void);

/* The vCPU has its turn; it ends, or the vCPU halts */
void x86_pmu_enter(CPUX86State *env);
void x86_pmu_exit(CPUX86State *env);

/* Between two instructions, with none left to execute: what overflowed interrupts */
void x86_pmu_boundary(CPUState *cs);

/* PAUSE ends the turn: all of it is left again. Then see x86_pkg_counters_pause(). */
void x86_pmu_end_turn(CPUX86State *env);
void x86_pmu_pause(CPUX86State *env, unsigned charged);

/* After x86_pmu_end_turn(), between two instructions: the turn was cut by so many */
void x86_pmu_cut(CPUX86State *env, unsigned insns);

void x86_pmu_cpuid(CPUX86State *env, uint32_t index, uint32_t *eax, uint32_t *ebx,
                   uint32_t *ecx, uint32_t *edx);
PkgMsrResult x86_pmu_rdmsr(CPUX86State *env, uint32_t msr, uint64_t *val);
PkgMsrResult x86_pmu_wrmsr(CPUX86State *env, uint32_t msr, uint64_t val);
PkgMsrResult x86_pmu_rdpmc(CPUX86State *env, uint32_t index, uint64_t *val);
#endif

#endif
