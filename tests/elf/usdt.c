// A USDT probe whose arguments libbpf's header finds in what the loader describes. x86-64 only.

#define __TARGET_ARCH_x86
#include <linux/types.h>
#include <linux/ptrace.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpf/usdt.bpf.h>

// Audit events whose names begin with "bee".
unsigned long seen;
unsigned long arguments;
char name[16];

SEC("usdt//usr/bin/python3:python:audit") int on_audit(struct pt_regs *ctx)
{
	long event = 0;
	char text[16];

	if (bpf_usdt_arg(ctx, 0, &event) || bpf_probe_read_user_str(text, sizeof(text), (void *)event) < 4)
		return 0;
	if (text[0] != 'b' || text[1] != 'e' || text[2] != 'e')
		return 0;
	arguments = bpf_usdt_arg_cnt(ctx);
	__builtin_memcpy(name, text, sizeof(name));
	__sync_fetch_and_add(&seen, 1);
	return 0;
}

char _license[] SEC("license") = "GPL";
