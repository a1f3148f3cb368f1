//! The cheapest hook that gives the same events. Tracepoint instances enter and, where it pays, leave on another hook.
//!
//! A perf tracepoint of the kernel builds a record and walks a list of events before the program runs; on the raw
//! tracepoint the program runs at once. Measured per call on one machine: 121 ns without, 195 ns with a raw program, 236
//! to 248 ns with a perf one. Both are called for *every* system call of the machine (the perf ones look up the number in a
//! bitmap first), so a raw program costs all calls the same and each further one adds about 75 ns to all of them, while
//! further perf tracepoints cost only the calls they are on. Hence few `syscalls:` tracepoints become raw, many stay.
//! `raw_syscalls:` tracepoints always become raw: their perf form runs on every call as well.

use super::{ArgsFrom, Instance, Resolver, Uses, syscalls, tracing};
use crate::hir::Guard;
use skep_bpf::kinds::ProgType;
use skep_bpf::object::Attach;
use skep_bpf::target::Feature;

/// Most `syscalls:` programs of a script that are put on the raw tracepoints.
const MOST_RAW: usize = 8;

/// Entry or exit.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Enter,
    Exit,
}

impl Side {
    fn tracepoint(self) -> &'static str {
        match self {
            Side::Enter => "sys_enter",
            Side::Exit => "sys_exit",
        }
    }
}

/// What a tracepoint of system calls is on.
fn side(args: &ArgsFrom) -> Option<(Side, Option<&str>)> {
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
        let on_calls = |i: &&Instance| matches!(side(&i.args), Some((_, Some(_))));
        let single = groups.iter().flat_map(|(_, list)| list).filter(on_calls).count();
        let mut notes = Vec::new();
        for (uses, instance) in groups.iter_mut().flat_map(|(uses, list)| list.iter_mut().map(|i| (*uses, i)))
        {
            let Some((side, call)) = side(&instance.args) else { continue };
            if call.is_some() && single > MOST_RAW || call.is_none() && uses.args_array {
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
        if single > MOST_RAW {
            notes.push(format!(
                "{single} system call tracepoints: perf, which cost only the calls they are on"
            ));
        }
        notes
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
