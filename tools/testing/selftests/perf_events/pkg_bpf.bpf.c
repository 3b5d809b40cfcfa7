// SPDX-License-Identifier: GPL-2.0
/*
 * Reads package-scope counters in the interrupt of a sampling event, on
 * whatever CPU that is bound to.
 */
#include <linux/bpf.h>
#include <linux/errno.h>
#include <bpf/bpf_helpers.h>

#include "pkg_bpf.h"

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, PKG_BPF_EVENTS);
	__type(key, __u32);
	__type(value, __u32);
} events SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PKG_BPF_EVENTS);
	__type(key, __u32);
	__type(value, struct pkg_bpf_result);
} results SEC(".maps");

SEC("perf_event")
int read_counters(void *ctx)
{
	struct bpf_perf_event_value val = {};
	struct pkg_bpf_result *res;
	__u32 i;
	int err;

	for (i = 0; i < PKG_BPF_EVENTS; i++) {
		__u32 key = i;

		res = bpf_map_lookup_elem(&results, &key);
		if (!res)
			return 0;
		err = bpf_perf_event_read_value(&events, i, &val, sizeof(val));
		if (err) {
			res->errors++;
			res->last_error = err;
			continue;
		}
		if (val.counter < res->value)
			res->steps_back++;
		res->changes += val.counter != res->value;
		res->value = val.counter;
		res->cpu = bpf_get_smp_processor_id();
		res->reads++;
	}
	return 0;
}

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, PKG_BPF_LOGGED);
	__type(key, __u32);
	__type(value, __u32);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(max_entries, PKG_BPF_LOGGED);
	__type(key, __u32);
	__type(value, __u32);
} ages SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, PKG_BPF_LOG);
	__type(value, struct pkg_bpf_read);
} reads SEC(".maps");

/* The age comes first: the value is not older than that says */
SEC("perf_event")
int log_counters(void *ctx)
{
	struct bpf_perf_event_value age = {}, val = {};
	struct pkg_bpf_read rec;
	__u32 i;

	for (i = 0; i < PKG_BPF_LOGGED; i++) {
		rec.before = bpf_ktime_get_ns();
		rec.error = bpf_perf_event_read_value(&ages, i, &age, sizeof(age));
		if (rec.error == -ENOENT)
			break;
		if (!rec.error)
			rec.error = bpf_perf_event_read_value(&counters, i, &val, sizeof(val));
		rec.after = bpf_ktime_get_ns();
		rec.age = age.counter;
		rec.value = val.counter;
		rec.slot = i;
		rec.cpu = bpf_get_smp_processor_id();
		bpf_map_push_elem(&reads, &rec, 0);
	}
	return 0;
}

char _license[] SEC("license") = "GPL";
