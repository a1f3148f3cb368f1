// Functions of a program: static and global, in the program's own section and in .text, and called back.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

__u64 total;

static __attribute__((noinline)) int twice(int x)
{
	return x * 2 + (int)bpf_get_prandom_u32() % 1;
}

__attribute__((noinline)) int outside(int x)
{
	return twice(x) + 1;
}

struct bpf_map;

static int add(struct bpf_map *map, __u32 *key, __u64 *value, void *sum)
{
	*(__u64 *)sum += *value;
	return 0;
}

static int each(__u32 index, void *sum)
{
	*(__u64 *)sum += index;
	return 0;
}

SEC("syscall")
int run(void *ctx)
{
	__u64 sum = 0;
	__u32 key = 1;
	__u64 value = 100;

	bpf_map_update_elem(&numbers, &key, &value, BPF_ANY);
	bpf_for_each_map_elem(&numbers, add, &sum, 0);
	bpf_loop(10, each, &sum, 0);
	total = sum + outside(20);
	return total;
}

SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return outside(ctx->data_end - ctx->data > 60) > 1 ? XDP_PASS : XDP_DROP;
}

char _license[] SEC("license") = "GPL";
