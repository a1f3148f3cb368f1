//! The cheapest hook that gives the same events. Tracepoint instances enter and, where it pays, leave on another hook.
//!
//! A perf tracepoint of the kernel builds a record and walks a list of events before the program runs; on the raw
//! tracepoint the program runs at once. Measured on one machine, an empty system call takes 120 ns; a counting program on
//! `raw_syscalls:sys_enter` adds 58 ns raw and 106 ns through perf. Both forms of `raw_syscalls:` run at every call, so
//! they always become raw.
//!
//! A `syscalls:` tracepoint is on one system call only. Through perf, all other calls pay 26 ns for a look into a bitmap;
//! raw, they pay 59 ns for a program that compares the number. The traced call is 60 ns cheaper raw. So raw is cheaper for
//! the machine as a whole only where more than a third of its system calls are the traced one, which no script can know:
//! these stay perf tracepoints, unless one probe is on many of them (`many`). The setting `syscall_hook = raw` is for a load where it is so.

use super::{ArgsFrom, Instance, Resolver, Uses, syscalls, tracing};
use crate::hir::Guard;
use skep_bpf::kinds::ProgType;
use skep_bpf::object::Attach;
use skep_bpf::target::{Feature, TargetExt};
use skep_bpf::version::KernelVersion;

/// First kernel whose perf tracepoints of system calls show programs the kernel's stack.
const STACKS_SINCE: KernelVersion = KernelVersion::new(6, 12);

/// Entry or exit.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Enter,
    Exit,
}

impl Side {
    pub(super) fn tracepoint(self) -> &'static str {
        match self {
            Side::Enter => "sys_enter",
            Side::Exit => "sys_exit",
        }
    }
}

/// What a tracepoint of system calls is on.
pub(super) fn side(args: &ArgsFrom) -> Option<(Side, Option<&str>)> {
    let ArgsFrom::Record { category, name } = args else { return None };
    match category.as_str() {
        "syscalls" => {
            let enter = name.strip_prefix("sys_enter_").map(|call| (Side::Enter, Some(call)));
            enter.or_else(|| name.strip_prefix("sys_exit_").map(|call| (Side::Exit, Some(call))))
        }
        "raw_syscalls" => match name.as_str() {
            "sys_enter" => Some((Side::Enter, None)),
            "sys_exit" => Some((Side::Exit, None)),
            _ => None,
        },
        _ => None,
    }
}

impl Resolver<'_> {
    /// Moves instances to cheaper hooks; each line that leaves says what was chosen, for `-v`.
    pub(crate) fn choose(&self, groups: &mut [(Uses, Vec<Instance>)]) -> Vec<String> {
        let mut notes = Vec::new();
        for (uses, list) in groups.iter_mut() {
            notes.extend(self.join_syscalls(*uses, list));
        }
        for (uses, instance) in groups.iter_mut().flat_map(|(uses, list)| list.iter_mut().map(|i| (*uses, i)))
        {
            let Some((side, call)) = side(&instance.args) else { continue };
            let wanted = self.raw_syscalls || uses.kstack && self.hides_stacks();
            if call.is_some() && !wanted || call.is_none() && uses.args_array {
                continue;
            }
            let Some((guard, args)) = self.raw_form(side, call, &instance.args) else { continue };
            let name = side.tracepoint();
            let typed = self.has(Feature::TpBtf) && self.has_trace_type(name);
            instance.guard = guard;
            instance.args = args;
            for point in &mut instance.attach {
                point.at = Attach::RawTracepoint { name: name.to_owned() };
            }
            instance.prog_type = ProgType::RawTracepoint;
            if typed {
                tracing::make_typed(instance, name);
            }
            let hook = if typed { "tp_btf" } else { "raw tracepoint" };
            notes.push(format!("{}: {hook} {name} in place of the perf tracepoint", instance.name));
        }
        notes
    }

    /// Whether perf tracepoints of system calls hand programs the registers of user mode, so that they see no kernel
    /// stack (perf_syscall_enter, kernel/trace/trace_syscalls.c).
    pub(super) fn hides_stacks(&self) -> bool {
        self.target.kernel_version().is_ok_and(|version| version < STACKS_SINCE)
    }

    fn raw_form(&self, side: Side, call: Option<&str>, args: &ArgsFrom) -> Option<(Guard, ArgsFrom)> {
        let Some(call) = call else {
            let args = match side {
                Side::Enter => ArgsFrom::RawSyscallsEnter,
                Side::Exit => ArgsFrom::RawSyscallsExit,
            };
            return Some((Guard::None, args));
        };
        let nr = syscalls::number(self.arch(), call)?;
        let ArgsFrom::Record { name, .. } = args else { return None };
        let name = name.clone();
        Some(match side {
            Side::Enter => (Guard::SysEnter { nr }, ArgsFrom::SyscallEnter { name, nr }),
            Side::Exit => (Guard::SysExit { nr }, ArgsFrom::SyscallExit { name, nr }),
        })
    }
}
