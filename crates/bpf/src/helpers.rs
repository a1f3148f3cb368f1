//! The kernel's BPF helpers: numbers, names, roughly typed arguments, license, age and what a call does to the world.
//! The set is closed: since 6.2 the kernel adds kfuncs instead (Documentation/bpf/kfuncs.rst).
//!
//! Source of the facts: `enum bpf_func_id` (include/uapi/linux/bpf.h) and the `struct bpf_func_proto` definitions in
//! kernel/bpf, kernel/trace/bpf_trace.c and net/core/filter.c, Linux 6.1. Where a helper has one prototype per program
//! type, the most general one is given.

use crate::version::KernelVersion;

mod table;

pub use table::id;

/// One helper.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Helper {
    /// `BPF_FUNC_*` number.
    pub id: u32,
    /// Name without `bpf_`.
    pub name: &'static str,
    /// Arguments, r1 to r5.
    pub args: &'static [Arg],
    /// Result in r0.
    pub ret: Ret,
    /// Whether the program's license must be compatible with the GPL.
    pub gpl_only: bool,
    /// First mainline kernel that has it (for some program type).
    pub since: KernelVersion,
    /// What a call does and depends on.
    pub effect: Effect,
    /// Whether two calls with the same arguments in one run of a program give the same (result, and memory filled):
    /// then the first serves for both.
    pub pure_in_run: bool,
}

/// Roughly what an argument may be (`enum bpf_arg_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Arg {
    /// Any scalar.
    Any,
    /// The context.
    Ctx,
    /// The context or null.
    CtxOrNull,
    /// A map.
    Map,
    /// Memory that holds a key of the map.
    Key,
    /// Memory that holds a value of the map.
    Value,
    /// The same or null.
    ValueOrNull,
    /// Memory for a value of the map, written.
    OutValue,
    /// Memory that is read; its length is the next argument.
    Mem,
    /// The same or null.
    MemOrNull,
    /// Memory that is written and need not be initialised; its length is the next argument.
    Out,
    /// Memory that is read and written; its length is the next argument.
    InOut,
    /// The same or null.
    InOutOrNull,
    /// Memory of a size that the helper fixes, read.
    Fixed,
    /// Memory of a size that the helper fixes, written.
    OutFixed,
    /// Length of the memory before, more than 0.
    Size,
    /// Length of the memory before.
    SizeOrZero,
    /// Known number of bytes to reserve.
    AllocSize,
    /// What a reserving or acquiring helper returned; no longer valid after the call.
    Release,
    /// A NUL-terminated string in a read-only map.
    Str,
    /// A kernel object with BTF type.
    BtfId,
    /// The same or null.
    BtfIdOrNull,
    /// A per-CPU kernel variable.
    PercpuBtfId,
    /// A socket.
    Sock,
    /// A function of the program.
    Func,
    /// The caller's stack or null: the context of a callback.
    StackOrNull,
    /// A `struct bpf_timer` in a map value.
    Timer,
    /// A `struct bpf_spin_lock` in a map value.
    SpinLock,
    /// A kernel pointer in a map value.
    Kptr,
    /// A dynptr on the stack.
    Dynptr,
    /// Room for a dynptr on the stack.
    OutDynptr,
    /// Up to three scalars more.
    Rest,
}

/// Roughly what is in r0 (`enum bpf_return_type`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ret {
    /// A scalar.
    Int,
    /// Nothing to be used.
    Void,
    /// A value of the map.
    Value,
    /// The same or null.
    ValueOrNull,
    /// Memory of a known size, or null.
    MemOrNull,
    /// A kernel object with BTF type.
    BtfId,
    /// The same or null.
    BtfIdOrNull,
    /// A socket or null.
    SockOrNull,
}

/// What a call does besides computing r0, from least to most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing, and during one run the same arguments give the same result.
    Constant,
    /// Fills the memory its arguments point to, during one run always with the same.
    ConstantFill,
    /// Nothing; the result depends on state that changes (a map, a clock, kernel memory).
    Reads,
    /// Fills the memory its arguments point to, and nothing else.
    Fills,
    /// Changes something else: a map, a packet, the outside.
    Changes,
}

impl Effect {
    /// Whether a call whose result (and filled memory) nobody uses can be left out.
    pub fn is_removable(self) -> bool {
        self != Effect::Changes
    }

    /// Whether the call writes memory that the program can see: through its arguments, or anything.
    pub fn clobbers_memory(self) -> bool {
        !matches!(self, Effect::Constant | Effect::Reads)
    }
}

impl Arg {
    /// Whether the helper writes through this argument.
    pub fn is_written(self) -> bool {
        use Arg::*;
        matches!(self, Out | InOut | InOutOrNull | OutFixed | OutValue | OutDynptr)
    }
}

/// The helper with this number.
pub fn by_id(id: u32) -> Option<&'static Helper> {
    table::ROWS.get((id as usize).checked_sub(1)?)
}

/// The helper of this name, with or without `bpf_` in front.
pub fn by_name(name: &str) -> Option<&'static Helper> {
    let name = name.strip_prefix("bpf_").unwrap_or(name);
    table::ROWS.iter().find(|h| h.name == name)
}

/// All helpers, ascending by number from 1.
pub fn all() -> &'static [Helper] {
    table::ROWS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::btf::{Btf, NameKind, Type};

    #[test]
    fn numbers_are_the_positions() {
        for (i, h) in (1..).zip(all()) {
            assert_eq!(h.id, i, "{}", h.name);
            assert_eq!(by_id(h.id), Some(h));
            assert_eq!(by_name(h.name), Some(h));
            assert!(h.args.len() <= 5, "{}", h.name);
        }
        assert_eq!(all().len(), 211);
        assert_eq!((by_id(0), by_id(212)), (None, None));
        assert_eq!(by_name("bpf_loop").map(|h| h.id), Some(id::LOOP));
    }

    #[test]
    fn sizes_follow_memory() {
        use Arg::*;
        for h in all() {
            for (i, a) in h.args.iter().enumerate() {
                if matches!(a, Size | SizeOrZero) {
                    let before = i.checked_sub(1).map(|i| h.args[i]);
                    assert!(
                        matches!(before, Some(Mem | MemOrNull | Out | InOut | InOutOrNull)),
                        "{}: {before:?}",
                        h.name
                    );
                }
            }
            let writes = h.args.iter().any(|a| a.is_written());
            let fills = matches!(h.effect, Effect::Fills | Effect::ConstantFill);
            assert!(!fills || writes, "{} fills nothing", h.name);
            assert!(h.effect.clobbers_memory() || !writes, "{} writes", h.name);
        }
    }

    #[test]
    fn facts_of_a_few() {
        let h = |id| by_id(id).unwrap();
        assert!(h(id::GET_CURRENT_PID_TGID).pure_in_run && h(id::GET_CURRENT_COMM).pure_in_run);
        assert!(!h(id::KTIME_GET_NS).pure_in_run && h(id::KTIME_GET_NS).effect.is_removable());
        assert!(!h(id::MAP_UPDATE_ELEM).effect.is_removable());
        assert!(h(id::PROBE_READ_KERNEL).gpl_only && !h(id::RINGBUF_OUTPUT).gpl_only);
        assert_eq!(h(id::FOR_EACH_MAP_ELEM).since, KernelVersion::new(5, 13));
        assert_eq!(h(id::LOOP).since, KernelVersion::new(5, 17));
    }

    #[test]
    fn names_are_the_running_kernels() {
        let Ok(bytes) = std::fs::read("/sys/kernel/btf/vmlinux") else {
            eprintln!("skipped: no /sys/kernel/btf/vmlinux");
            return;
        };
        let btf = Btf::parse(bytes, None).unwrap();
        let ids = btf.find(NameKind::Enum, "bpf_func_id").unwrap();
        let Some(Type::Enum { variants, .. }) = btf.get(ids) else { panic!("no enum") };
        for (name, value) in variants {
            if let Some(h) = by_id(value as u32) {
                assert_eq!(name, format!("BPF_FUNC_{}", h.name));
            }
        }
    }
}
