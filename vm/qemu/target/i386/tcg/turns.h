/*
 * Short turns for TCG with -icount
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */
#ifndef I386_TCG_TURNS_H
#define I386_TCG_TURNS_H

#include "cpu.h"

/* Reads the ranges from a file, before any vCPU has run. False: @errp says why. */
bool x86_turns_init(const char *path, unsigned nr_vcpus, Error **errp);

/* A turn begins. How many instructions it has, at most. */
unsigned x86_turn_length(CPUState *cs);

/* Whether code at @pc calls helper_short_turn() before its first instruction */
bool x86_turn_is_short_at(target_ulong pc);

/* How many turns of a vCPU were short */
uint64_t x86_turns_short(unsigned vcpu);

#endif
