//! Watchpoints: `watchpoint:ADDRESS:LENGTH:MODE` enters, a hardware breakpoint leaves.

use super::{Fault, Instance, ProbeKind, Resolver, Spec, bad_form, perf};
use crate::ast::Span;
use crate::diag::Diagnostic;
use skep_bpf::kinds::ProgType;
use skep_bpf::object::Attach;
use skep_bpf::target::Arch;

/// Accesses by letter, as `HW_BREAKPOINT_*` (include/uapi/linux/hw_breakpoint.h).
const ACCESS: [(char, u32); 3] = [('r', 1), ('w', 2), ('x', 4)];
const LENGTHS: [u64; 4] = [1, 2, 4, 8];

/// Modes that the CPU has, their letters sorted (x86: Intel's manual, volume 3, section 19.2.4; aarch64:
/// arch/arm64/kernel/hw_breakpoint.c).
fn modes(arch: Arch) -> &'static [&'static str] {
    match arch {
        Arch::X86_64 => &["rw", "w", "x"],
        Arch::Aarch64 => &["r", "rw", "w", "x"],
    }
}

impl Resolver<'_> {
    pub(super) fn watchpoint(&self, spec: &Spec, span: Span) -> Result<Vec<Instance>, Fault> {
        let fail = |message: String| Box::new(Diagnostic::error("bad-probe", span, message));
        let [address, length, mode] = spec.parts.as_slice() else { return Err(bad_form(spec, span)) };
        let number = |text: &str| {
            perf::number(text).ok_or_else(|| fail(format!("`{text}` is not an unsigned number")))
        };
        let at = number(address)?;
        if at == 0 {
            return Err(fail("watchpoint must be attached to a non-zero address".to_owned()));
        }
        let len = number(length)?;
        if !LENGTHS.contains(&len) {
            return Err(fail("watchpoint length must be one of (1,2,4,8)".to_owned()));
        }
        let access = access(mode).map_err(|message| fail(message.to_owned()))?;
        let sorted: String = ACCESS.iter().filter(|(_, bit)| access & bit != 0).map(|(c, _)| c).collect();
        let modes = modes(self.arch());
        if !modes.contains(&sorted.as_str()) {
            let d = Diagnostic::error("bad-probe", span, format!("invalid watchpoint mode: {sorted}"));
            return Err(Box::new(d.hint(format!("supported modes: {}", modes.join(",")))));
        }
        let attach = Attach::Breakpoint { address: at, len: len as u32, access, pid: self.options.pid };
        let name = format!("watchpoint:{address}:{length}:{mode}");
        Ok(vec![Instance::new(ProbeKind::Watchpoint, name, ProgType::PerfEvent, attach, span)])
    }
}

/// The accesses of a mode.
fn access(mode: &str) -> Result<u32, &'static str> {
    let mut access = 0;
    for c in mode.chars() {
        let (_, bit) = ACCESS
            .iter()
            .find(|(letter, _)| *letter == c)
            .ok_or("watchpoint mode must be combination of (r,w,x)")?;
        if access & bit != 0 {
            return Err("watchpoint modes may not be duplicated");
        }
        access |= bit;
    }
    if access == 0 { Err("watchpoint mode must be combination of (r,w,x)") } else { Ok(access) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_sets_of_letters() {
        assert_eq!(access("wr"), Ok(3));
        assert_eq!(access("x"), Ok(4));
        for bad in ["", "rr", "q", "rwa"] {
            assert!(access(bad).is_err(), "{bad}");
        }
    }
}
