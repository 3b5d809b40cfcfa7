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

#endif /* PKG_BPF_H */
