//! Binaries that a user space probe names: what stands in its place for a binary enters, paths leave. `*` alone stands
//! for what the process of `-p`, or any, has mapped.

use super::tracing::cannot;
use super::{Fault, ProbeKind, Resolver};
use crate::ast::Span;
use crate::diag::Diagnostic;
use skep_bpf::target::{Target, TargetError, TargetExt};
use skep_bpf::wildcard;

/// The paths that `name` stands for on `target`, the one to take first in front. Empty when there are none.
pub(crate) fn find(
    target: &dyn Target,
    name: &str,
    pid: Option<u32>,
    any_file: bool,
) -> Result<Vec<String>, TargetError> {
    let paths = match name {
        "*" => target.mapped_binaries(pid)?,
        name => target.binaries(name, pid, any_file)?,
    };
    Ok(match wildcard::has_wildcard(name) {
        true => paths.to_vec(),
        false => paths.first().cloned().into_iter().collect(),
    })
}

impl Resolver<'_> {
    /// The binaries of a probe's attach point: one, or for a wildcard all that match.
    pub(super) fn binaries(&self, kind: ProbeKind, name: &str, span: Span) -> Result<Vec<String>, Fault> {
        let paths = find(self.target, name, self.options.pid, self.options.unsafe_mode)
            .map_err(|error| cannot(&format!("find `{name}`"), &error, span))?;
        if paths.is_empty() {
            let message = format!("{} target file '{name}' does not exist or is not executable", kind.name());
            let d = Diagnostic::error("unknown-binary", span, message)
                .hint("give a path, a command's name as in PATH, or a library's name such as `libc`");
            return Err(Box::new(d));
        }
        Ok(paths)
    }

    /// The program of the process of `-p`, which a probe may leave out.
    pub(super) fn own_binary(&self, kind: ProbeKind, span: Span) -> Result<String, Fault> {
        let mapped = self.target.mapped_binaries(self.options.pid);
        let mapped = mapped.map_err(|error| cannot("find the process's program", &error, span))?;
        mapped.first().cloned().ok_or_else(|| {
            let message = format!("the process of a {} probe has no program that can be read", kind.name());
            Box::new(Diagnostic::error("unknown-binary", span, message))
        })
    }
}
