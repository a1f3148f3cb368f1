/* A frame goes by the longest prefix of its destination to a port; a port's program sees it on its way out. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct prefix {
	__u32 bits;
	__u8 address[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__type(key, struct prefix);
	__type(value, __u32);
	__uint(max_entries, 4);
	__uint(map_flags, BPF_F_NO_PREALLOC);
} routes SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
	__uint(max_entries, 8);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__type(key, __u32);
	__type(value, __u64);
	__uint(max_entries, 4);
} counts SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
	__uint(max_entries, 2);
} next SEC(".maps");

static void add(__u32 index, __u64 n)
{
	__u64 *count = bpf_map_lookup_elem(&counts, &index);

	if (count)
		*count += n;
}

SEC("xdp") int forward(struct xdp_md *ctx)
{
	__u8 *frame = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct prefix to = { .bits = 32 };
	__u32 *port;

	if (frame + 34 > end) {
		bpf_tail_call(ctx, &next, 1);
		return XDP_DROP;
	}
	__builtin_memcpy(to.address, frame + 30, 4);
	port = bpf_map_lookup_elem(&routes, &to);
	add(0, 1);
	return port ? bpf_redirect_map(&ports, *port, 0) : XDP_PASS;
}

SEC("xdp") int short_frame(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("xdp/devmap") int on_its_way(struct xdp_md *ctx)
{
	add(1, ctx->egress_ifindex);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
