// Maps of every form: typed, of maps, of programs, pinned by name, data sections; counted by a raw tracepoint.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct key {
	__u32 uid;
	char comm[16];
};

struct value {
	__u64 calls;
	__s32 last;
	enum { COLD, WARM = 5 } state;
	__u8 low : 4, high : 4;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 128);
	__type(key, struct key);
	__type(value, struct value);
} by_comm SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} per_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 4);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} pinned SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} first SEC(".maps"), second SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 3);
	__type(key, __u32);
	__array(values, struct inner);
} outer SEC(".maps") = { .values = { [0] = &first, [2] = &second } };

int tail(struct bpf_raw_tracepoint_args *ctx);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, 4);
	__array(values, int (void *));
} jumps SEC(".maps") = { .values = { [1] = (void *)&tail } };

const volatile int threshold = 3;
int seen = 7;
long zeroed;
int custom SEC(".data.custom") = 42;

SEC("raw_tp/sys_enter")
int tail(struct bpf_raw_tracepoint_args *ctx)
{
	zeroed++;
	return 0;
}

SEC("raw_tp/sys_enter")
int count(struct bpf_raw_tracepoint_args *ctx)
{
	struct key key = {};
	struct value fresh = { .state = WARM, .high = 9 }, *value;
	__u32 zero = 0, one = 1;
	__u64 *cell;
	void *map;

	key.uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(key.comm, sizeof(key.comm));
	value = bpf_map_lookup_elem(&by_comm, &key);
	if (value) {
		value->calls++;
		value->last = ctx->args[1];
	} else {
		bpf_map_update_elem(&by_comm, &key, &fresh, BPF_ANY);
	}
	cell = bpf_map_lookup_elem(&per_cpu, &one);
	if (cell)
		*cell += threshold;
	cell = bpf_map_lookup_elem(&pinned, &zero);
	if (cell)
		*cell += 1;
	map = bpf_map_lookup_elem(&outer, &zero);
	if (map)
		bpf_map_update_elem(map, &zero, &one, BPF_ANY);
	seen++;
	custom++;
	bpf_tail_call(ctx, &jumps, 1);
	return 0;
}

char _license[] SEC("license") = "GPL";
