//! Kernel functions that programs can call, by name. What is not here is refused when the program is linked.

mod cpumask;
mod dynptr;
mod iter;
mod object;
mod text;

use super::HelperFn;

static TABLE: &[(&str, HelperFn)] = &[
    ("bpf_iter_num_new", iter::num_new),
    ("bpf_iter_num_next", iter::num_next),
    ("bpf_iter_num_destroy", iter::num_destroy),
    ("bpf_dynptr_from_xdp", dynptr::from_xdp),
    ("bpf_dynptr_from_skb", dynptr::from_skb),
    ("bpf_dynptr_slice", dynptr::slice),
    ("bpf_dynptr_slice_rdwr", dynptr::slice_rdwr),
    ("bpf_dynptr_adjust", dynptr::adjust),
    ("bpf_dynptr_is_null", dynptr::is_null),
    ("bpf_dynptr_is_rdonly", dynptr::is_rdonly),
    ("bpf_dynptr_size", dynptr::size),
    ("bpf_dynptr_clone", dynptr::clone),
    ("bpf_dynptr_copy", dynptr::copy),
    ("bpf_dynptr_memset", dynptr::memset),
    ("bpf_strcmp", text::strcmp),
    ("bpf_strcasecmp", text::strcasecmp),
    ("bpf_strlen", text::strlen),
    ("bpf_strnlen", text::strnlen),
    ("bpf_strchr", text::strchr),
    ("bpf_strnchr", text::strnchr),
    ("bpf_strchrnul", text::strchrnul),
    ("bpf_strrchr", text::strrchr),
    ("bpf_strspn", text::strspn),
    ("bpf_strcspn", text::strcspn),
    ("bpf_strstr", text::strstr),
    ("bpf_strnstr", text::strnstr),
    ("bpf_copy_from_user_str", text::copy_from_user_str),
    ("bpf_cpumask_create", cpumask::create),
    ("bpf_cpumask_acquire", cpumask::acquire),
    ("bpf_cpumask_release", cpumask::release),
    ("bpf_cpumask_set_cpu", cpumask::set_cpu),
    ("bpf_cpumask_clear_cpu", cpumask::clear_cpu),
    ("bpf_cpumask_test_cpu", cpumask::test_cpu),
    ("bpf_cpumask_test_and_set_cpu", cpumask::test_and_set_cpu),
    ("bpf_cpumask_test_and_clear_cpu", cpumask::test_and_clear_cpu),
    ("bpf_cpumask_setall", cpumask::setall),
    ("bpf_cpumask_clear", cpumask::clear),
    ("bpf_cpumask_and", cpumask::and),
    ("bpf_cpumask_or", cpumask::or),
    ("bpf_cpumask_xor", cpumask::xor),
    ("bpf_cpumask_equal", cpumask::equal),
    ("bpf_cpumask_intersects", cpumask::intersects),
    ("bpf_cpumask_subset", cpumask::subset),
    ("bpf_cpumask_empty", cpumask::empty),
    ("bpf_cpumask_full", cpumask::full),
    ("bpf_cpumask_copy", cpumask::copy),
    ("bpf_cpumask_weight", cpumask::weight),
    ("bpf_cpumask_first", cpumask::first),
    ("bpf_cpumask_first_zero", cpumask::first_zero),
    ("bpf_cast_to_kern_ctx", object::same),
    ("bpf_rdonly_cast", object::same),
    ("bpf_rcu_read_lock", object::rcu_read_lock),
    ("bpf_rcu_read_unlock", object::rcu_read_unlock),
    ("bpf_preempt_disable", object::preempt_disable),
    ("bpf_preempt_enable", object::preempt_enable),
    ("bpf_local_irq_save", object::local_irq_save),
    ("bpf_local_irq_restore", object::local_irq_restore),
    ("bpf_task_acquire", object::task_acquire),
    ("bpf_task_release", object::task_release),
    ("bpf_task_from_pid", object::task_from_pid),
    ("bpf_cgroup_acquire", object::cgroup_acquire),
    ("bpf_cgroup_release", object::cgroup_release),
    ("bpf_session_is_return", object::session_is_return),
    ("bpf_xdp_metadata_rx_timestamp", object::no_metadata),
    ("bpf_xdp_metadata_rx_hash", object::no_metadata),
    ("bpf_xdp_metadata_rx_vlan_tag", object::no_metadata),
];

/// The function of this name.
pub fn by_name(name: &str) -> Option<HelperFn> {
    TABLE.iter().find(|(known, _)| *known == name).map(|(_, function)| *function)
}
