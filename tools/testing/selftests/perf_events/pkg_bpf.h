/* SPDX-License-Identifier: GPL-2.0 */
#ifndef PKG_BPF_H
#define PKG_BPF_H

/* Slots of the maps: what is read there */
enum pkg_bpf_event {
	PKG_BPF_TASK,
	PKG_BPF_INHERITED,
	PKG_BPF_CPU,
	PKG_BPF_EVENTS,
};

struct pkg_bpf_result {
	__u64	value;
	__u64	reads;
	__u64	changes;
	__u64	steps_back;
	__u64	errors;
	__s64	last_error;
	__u32	cpu;
	__u32	reserved;
};

/* A counter and its age have slots of this number in two maps, filled from 0 on */
#define PKG_BPF_LOGGED	32
#define PKG_BPF_LOG	65536

/* What one read found, with the time before and after it in CLOCK_MONOTONIC */
struct pkg_bpf_read {
	__u64	before;
	__u64	after;
	__u64	age;
	__u64	value;
	__s64	error;
	__u32	slot;
	__u32	cpu;
};

#endif /* PKG_BPF_H */
