//! What the running machine answers.

use crate::support::{object, root};
use skep_bpf::backend::Backend;
use skep_bpf::target::{Feature, TargetExt};
use skep_kernel::{LiveTarget, LoadOptions, Loaded, machine};
use std::sync::Arc;

#[test]
fn the_target_answers() {
    if !root("the_target_answers") {
        return;
    }
    let target = LiveTarget::new();
    assert_eq!(target.kernel_version().unwrap(), machine::version());
    assert!(target.possible_cpus().unwrap() > 0);
    assert!(target.vmlinux().unwrap().len() > 1000);
    let events = target.tracepoints().unwrap();
    assert!(events.binary_search(&"sched:sched_process_fork".to_owned()).is_ok());
    let format = target.tracepoint_format("sched", "sched_process_fork").unwrap();
    assert!(format.contains("child_pid"));
    assert!(target.tracepoint_format("sched", "no_such").is_err());
    assert!(target.has(Feature::Ringbuf).unwrap());
    assert!(target.kernel_symbol("vfs_read").unwrap() > 0xffff_0000_0000_0000);
    assert!(target.binary_path("sh").unwrap().starts_with('/'));
    if std::fs::exists("/etc/ld.so.cache").unwrap_or(false) {
        assert!(target.binary_path("libc").unwrap().contains("libc"));
    }
    assert_eq!(target.user_id("root").unwrap(), 0);
    assert!(target.kernel_functions().unwrap().iter().any(|f| f == "vfs_read"));
}

#[test]
fn kernel_addresses_have_names() {
    if !root("kernel_addresses_have_names") {
        return;
    }
    let target = Arc::new(LiveTarget::new());
    let address = target.kernel_symbol("vfs_read").unwrap();
    let mut loaded = Loaded::load(&object(Vec::new(), Vec::new()), target, &LoadOptions::default()).unwrap();
    let symbol = loaded.kernel_symbol(address + 3);
    assert_eq!((symbol.name.as_deref(), symbol.offset, symbol.module.as_str()), (Some("vfs_read"), 3, ""));
    assert_eq!(loaded.kernel_symbol(12).name, None);
    assert_eq!(loaded.user_name(0).as_deref(), Some("root"));
}
