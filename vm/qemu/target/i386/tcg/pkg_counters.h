/*
 * Counters that exist once per package: RDT monitoring and RAPL energy for TCG
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef I386_TCG_PKG_COUNTERS_H
#define I386_TCG_PKG_COUNTERS_H

#include "cpu.h"

/* What an access to an MSR came to */
typedef enum {
    PKG_MSR_NOT_OURS,
    PKG_MSR_DONE,
    PKG_MSR_GP,                 /* the guest gets a #GP(0) */
} PkgMsrResult;

#ifdef CONFIG_USER_ONLY
static inline void x86_pkg_counters_enter(CPUX86State *env)
{
}

static inline void x86_pkg_counters_exit(CPUX86State *env, bool halted)
{
}

static inline void x86_pkg_counters_pause(CPUX86State *env, unsigned charged)
{
}

static inline void x86_pkg_counters_cpuid(CPUX86State *env, uint32_t index, uint32_t count,
                                          uint32_t *eax, uint32_t *ebx,
                                          uint32_t *ecx, uint32_t *edx)
{
}
#else
/* The vCPU starts to execute; it ends to, as its turn is over or it halts */
void x86_pkg_counters_enter(CPUX86State *env);
void x86_pkg_counters_exit(CPUX86State *env, bool halted);

/* This much time was charged to a PAUSE, which is one instruction all the same */
void x86_pkg_counters_pause(CPUX86State *env, unsigned charged);

/* Adds to what CPUID says */
void x86_pkg_counters_cpuid(CPUX86State *env, uint32_t index, uint32_t count,
                            uint32_t *eax, uint32_t *ebx, uint32_t *ecx, uint32_t *edx);

PkgMsrResult x86_pkg_counters_rdmsr(CPUX86State *env, uint32_t msr, uint64_t *val);
PkgMsrResult x86_pkg_counters_wrmsr(CPUX86State *env, uint32_t msr, uint64_t val);
#endif

#endif
