//! [`Names`]: what values are looked up in when they are printed.

use std::borrow::Cow;

use skep_bpf::backend::{Backend, Symbol, WallTime};
use skep_bpf::kinds::MapType;
use skep_bpf::object::Object;
use skep_bpf::schema::{Clock, StackFormat};
use skep_bpf::unwind::walked_map;

use super::escape::{self, Keep};
use super::{errno, inet, signal, stack, write_into};
use crate::strftime::{Dialect, strftime};
use crate::value::Value;

/// The machine that a program runs on and the object that runs, as far as printing needs them. Nothing is read before
/// a value that needs it is printed.
pub struct Names<'a> {
    backend: &'a mut dyn Backend,
    object: &'a Object,
    escapes: bool,
}

impl<'a> Names<'a> {
    /// Names of `object`, running on `backend`. `escapes`: show control characters of strings instead of sending
    /// them.
    pub fn new(backend: &'a mut dyn Backend, object: &'a Object, escapes: bool) -> Names<'a> {
        Names { backend, object, escapes }
    }

    /// Whether control characters of strings are shown instead of sent.
    pub fn escapes(&self) -> bool {
        self.escapes
    }

    /// The calendar time of `nanos` nanoseconds on `clock`.
    pub(crate) fn moment(&mut self, clock: Clock, nanos: u64) -> WallTime {
        self.backend.wall_time(clock, nanos)
    }

    pub(super) fn backend(&mut self) -> &mut dyn Backend {
        self.backend
    }

    /// The text of a value without parts.
    pub(crate) fn leaf<'v>(&mut self, value: &Value<'v>) -> Cow<'v, [u8]> {
        match value {
            Value::Str { bytes, cut } => self.string(bytes, *cut),
            Value::Bool(true) => Cow::Borrowed(b"true"),
            Value::Bool(false) => Cow::Borrowed(b"false"),
            Value::None => Cow::Borrowed(b"null"),
            Value::Damaged(why) => owned(format!("<damaged: {why}>")),
            Value::Enum { name: Some(name), .. } => Cow::Borrowed(name.as_bytes()),
            Value::Enum { bits, signed: true, .. } => owned((*bits as i64).to_string()),
            Value::Enum { bits, .. } => owned(bits.to_string()),
            Value::Int(i) => owned(i.to_string()),
            Value::Uint(u) => owned(u.to_string()),
            Value::Pointer(p) => owned(format!("{p:#x}")),
            Value::KStack { .. } | Value::UStack { .. } => Cow::Owned(stack::render(value, self)),
            Value::KSym(address) => {
                let symbol = self.backend.kernel_symbol(*address);
                self.symbol(&symbol, *address)
            }
            Value::USym { address, pid } => {
                let symbol = self.backend.user_symbol(*pid, *address);
                self.symbol(&symbol, *address)
            }
            Value::Inet { family, bytes } => owned(inet::address(*family, bytes)),
            Value::Mac(mac) => owned(inet::mac(mac)),
            Value::Timestamp { format, clock, nanos } => {
                let at = self.backend.wall_time(*clock, *nanos);
                owned(strftime(format, &at, Dialect::Fractions))
            }
            Value::Username(uid) => {
                let name = self.backend.user_name(*uid).unwrap_or_default();
                Cow::Owned(self.shown(name.as_bytes()))
            }
            Value::CgroupPath { id, filter } => {
                let paths = self.backend.cgroup_paths(*id).into_iter();
                let shown = paths.filter(|(name, _)| filter.is_empty() || matches(filter, name));
                let shown: Vec<String> = shown.map(|(name, path)| format!("{name}:{path}")).collect();
                Cow::Owned(self.shown(shown.join(",").as_bytes()))
            }
            Value::StrError(number) => owned(errno::text(*number)),
            Value::Signal(number) => Cow::Owned(signal::name(*number)),
            Value::Buf(_) | Value::Array(_) | Value::Tuple(_) | Value::Record(_) => Cow::Borrowed(b""),
        }
    }

    fn string<'v>(&self, bytes: &'v [u8], cut: bool) -> Cow<'v, [u8]> {
        let plain = !self.escapes || bytes.iter().all(|b| (0x20..0x7f).contains(b));
        if plain && !cut {
            return Cow::Borrowed(bytes);
        }
        let mut text = self.shown(bytes);
        if cut {
            text.extend_from_slice(self.object.session.truncation_trailer.as_bytes());
        }
        Cow::Owned(text)
    }

    /// Foreign text as it may be printed.
    pub(super) fn shown(&self, bytes: &[u8]) -> Vec<u8> {
        let mut text = Vec::with_capacity(bytes.len());
        if self.escapes {
            escape::printable(&mut text, bytes, Keep::Nothing);
        } else {
            text.extend_from_slice(bytes);
        }
        text
    }

    fn symbol<'v>(&self, symbol: &Symbol, address: u64) -> Cow<'v, [u8]> {
        match &symbol.name {
            Some(name) => Cow::Owned(self.shown(name.as_bytes())),
            None => Cow::Owned(bare_address(address)),
        }
    }

    /// The stack trace map that holds stacks of this format: the first whose values have room for its limit, else the
    /// first at all.
    pub(super) fn stack_map(&self, format: StackFormat) -> Option<usize> {
        let is_stack =
            |map: usize| self.object.maps.get(map).is_some_and(|m| m.map_type == MapType::StackTrace);
        let fits = |map: usize| self.object.maps.get(map).is_some_and(|m| m.value_size / 8 == format.limit);
        let mut all = (0..self.object.maps.len()).filter(|m| is_stack(*m));
        let mut rest = all.clone();
        all.find(|m| fits(*m)).or_else(|| rest.next())
    }

    /// The map that holds walked stacks of this format.
    pub(super) fn walked_map(&self, format: StackFormat) -> Option<usize> {
        let name = walked_map(format.limit);
        self.object.maps.iter().position(|m| m.map_type == MapType::Hash && m.name == name)
    }
}

fn owned<'v>(text: String) -> Cow<'v, [u8]> {
    Cow::Owned(text.into_bytes())
}

/// An address that has no symbol.
pub(super) fn bare_address(address: u64) -> Vec<u8> {
    let mut text = Vec::new();
    match address {
        0 => text.push(b'0'),
        _ => write_into(&mut text, format_args!("{address:#x}")),
    }
    text
}

/// Whether a name matches a pattern in which `*` stands for any text and `?` for any character.
fn matches(pattern: &str, name: &str) -> bool {
    let (pattern, name) = (pattern.as_bytes(), name.as_bytes());
    let (mut p, mut n) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                star = Some((p, n));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == name[n] => {
                p += 1;
                n += 1;
            }
            _ => match star {
                Some((at, from)) => {
                    star = Some((at, from + 1));
                    p = at + 1;
                    n = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_by_pattern() {
        for (pattern, name, want) in [
            ("uni*", "unified", true),
            ("unified", "unified", true),
            ("?pu", "cpu", true),
            ("*u*t", "cpuacct", true),
            ("c*", "unified", false),
            ("", "unified", false),
            ("cpu", "cpuset", false),
        ] {
            assert_eq!(matches(pattern, name), want, "{pattern} {name}");
        }
    }
}
