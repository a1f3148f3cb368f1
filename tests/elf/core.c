// CO-RE relocations of every kind, and symbols of the kernel: typed, untyped, weak, functions, configuration.
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <stdbool.h>

#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
struct upid { int nr; };
struct pid { unsigned int level; struct upid numbers[1]; };
struct task_struct {
	int pid;
	int tgid;
	struct task_struct *real_parent;
	char comm[16];
	unsigned sched_reset_on_fork : 1;
};
struct task_struct___nowhere { int there_is_no_such_member; };
struct there_is_no_such_type { int x; };
#pragma clang attribute pop

struct list_head { struct list_head *next, *prev; };
enum bpf_map_type___mine { BPF_MAP_TYPE_RINGBUF___mine = 1, BPF_MAP_TYPE_NOWHERE = 2 };

extern int LINUX_KERNEL_VERSION __kconfig;
extern bool CONFIG_BPF_SYSCALL __kconfig __weak;
extern enum libbpf_tristate CONFIG_NO_SUCH_OPTION __kconfig __weak;
extern const int runqueues_nowhere __ksym __weak;
extern const void schedule __ksym;
extern const void no_such_symbol __ksym __weak;
extern void bpf_rcu_read_lock(void) __ksym;
extern void bpf_rcu_read_unlock(void) __ksym;
extern void no_such_function(void) __ksym __weak;

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 32);
	__type(key, __u32);
	__type(value, __u64);
} results SEC(".maps");

static __always_inline void put(__u32 index, __u64 value)
{
	bpf_map_update_elem(&results, &index, &value, BPF_ANY);
}

SEC("tp_btf/sys_enter")
int ask(__u64 *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task_btf();
	struct task_struct___nowhere *nowhere = (void *)task;

	put(0, 1);
	put(1, task->pid);
	put(2, task->tgid);
	put(3, bpf_core_field_exists(task->comm));
	put(4, bpf_core_field_size(task->comm));
	put(5, bpf_core_field_exists(nowhere->there_is_no_such_member));
	put(6, bpf_core_type_exists(struct task_struct));
	put(7, bpf_core_type_exists(struct there_is_no_such_type));
	put(8, bpf_core_type_size(struct task_struct) > 1000);
	put(9, bpf_core_enum_value_exists(enum bpf_map_type___mine, BPF_MAP_TYPE_RINGBUF___mine));
	put(10, bpf_core_enum_value(enum bpf_map_type___mine, BPF_MAP_TYPE_RINGBUF___mine));
	put(11, bpf_core_enum_value_exists(enum bpf_map_type___mine, BPF_MAP_TYPE_NOWHERE));
	put(12, bpf_core_type_id_local(struct list_head) > 0);
	put(13, bpf_core_type_id_kernel(struct task_struct) > 0);
	put(14, BPF_CORE_READ_BITFIELD_PROBED(task, sched_reset_on_fork));
	put(15, LINUX_KERNEL_VERSION);
	put(16, CONFIG_BPF_SYSCALL);
	put(17, CONFIG_NO_SUCH_OPTION);
	put(18, &runqueues_nowhere == 0);
	put(19, (__u64)&schedule);
	put(20, (__u64)&no_such_symbol);
	bpf_rcu_read_lock();
	put(21, task->real_parent->pid);
	bpf_rcu_read_unlock();
	if (no_such_function)
		no_such_function();
	if (bpf_core_field_exists(nowhere->there_is_no_such_member))
		put(22, nowhere->there_is_no_such_member);
	return 0;
}

char _license[] SEC("license") = "GPL";
