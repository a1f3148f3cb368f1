//! The kernel's symbols from /proc/kallsyms: lines of address, type, name and module enter, a table sorted by address
//! leaves. The text is kept as it is and the table points into it.

use std::fs;

use crate::error::Error;

const PATH: &str = "/proc/kallsyms";
/// Farther from a symbol than this, an address is not within it.
const FARTHEST: u64 = 1 << 20;

/// One symbol; positions in the text.
#[derive(Clone, Copy, Debug)]
struct Entry {
    address: u64,
    name: u32,
    name_len: u16,
    module_len: u16,
    kind: u8,
}

/// The kernel's symbols.
#[derive(Debug)]
pub struct Kallsyms {
    text: String,
    entries: Vec<Entry>,
}

impl Kallsyms {
    /// Reads the running kernel's symbols (some 40 ms).
    pub fn read() -> Result<Kallsyms, Error> {
        let text = fs::read_to_string(PATH).map_err(|e| Error::io(format!("read {PATH}"), &e))?;
        Ok(Kallsyms::parse(text))
    }

    /// Parses the text of kallsyms; lines that are none are left out.
    pub fn parse(text: String) -> Kallsyms {
        let mut entries = Vec::with_capacity(text.len() / 45);
        let mut at = 0;
        for line in text.split_inclusive('\n') {
            entries.extend(parse_line(line, at));
            at += line.len();
        }
        entries.sort_by_key(|e| e.address);
        Kallsyms { text, entries }
    }

    fn name(&self, entry: &Entry) -> &str {
        let start = entry.name as usize;
        self.text.get(start..start + usize::from(entry.name_len)).unwrap_or("")
    }

    fn module(&self, entry: &Entry) -> &str {
        // "name\t[module]"
        let start = entry.name as usize + usize::from(entry.name_len) + 2;
        self.text.get(start..start + usize::from(entry.module_len)).unwrap_or("")
    }

    /// Whether the kernel shows addresses to this process (kptr_restrict, CAP_SYSLOG).
    pub fn has_addresses(&self) -> bool {
        self.entries.last().is_some_and(|e| e.address != 0)
    }

    /// The symbol that holds `address`: name, offset in it, module ("" for the kernel itself).
    pub fn lookup(&self, address: u64) -> Option<(&str, u64, &str)> {
        let end = self.entries.partition_point(|e| e.address <= address);
        let start = self.entries[..end].last()?.address;
        let offset = address - start;
        if start == 0 || offset > FARTHEST {
            return None;
        }
        // Of several names for one address the first that is a function, as the kernel lists them.
        let first = self.entries.partition_point(|e| e.address < start);
        let same = &self.entries[first..end];
        let entry = same.iter().find(|e| is_text(e.kind)).or(same.first())?;
        Some((self.name(entry), offset, self.module(entry)))
    }

    /// The address of a symbol (`name`, or `module:name`); `None` when there is none.
    pub fn address(&self, name: &str) -> Result<Option<u64>, Error> {
        let (module, plain) = name.split_once(':').unwrap_or(("", name));
        let matches = |e: &&Entry| self.name(e) == plain && (module.is_empty() || self.module(e) == module);
        match self.entries.iter().find(matches) {
            Some(entry) if entry.address == 0 => Err(Error::Unavailable {
                what: "kernel addresses".into(),
                why: "kallsyms hides them (sysctl kernel.kptr_restrict, or CAP_SYSLOG is missing)".into(),
            }),
            found => Ok(found.map(|e| e.address)),
        }
    }

    /// Functions as "name" or "module:name", in address order; compiler-made and BPF ones left out.
    pub fn functions(&self) -> impl Iterator<Item = String> + '_ {
        self.entries.iter().filter(|e| is_text(e.kind) && self.module(e) != "bpf").map(|e| {
            match self.module(e) {
                "" => self.name(e).to_owned(),
                module => format!("{module}:{}", self.name(e)),
            }
        })
    }

    /// How many symbols.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn is_text(kind: u8) -> bool {
    matches!(kind, b't' | b'T' | b'w' | b'W')
}

/// One line, `ffffffff81000000 T _text` or with `\t[module]` behind it, that starts at `at` in the text.
fn parse_line(line: &str, at: usize) -> Option<Entry> {
    let (address, rest) = line.split_once(' ')?;
    let (kind, rest) = rest.split_once(' ')?;
    let name = rest.split(['\t', '\n']).next()?;
    let module = rest[name.len()..].trim().strip_prefix('[').and_then(|m| m.strip_suffix(']')).unwrap_or("");
    // The module's text must be where `module` looks for it.
    let module = if rest[name.len()..].starts_with("\t[") { module } else { "" };
    Some(Entry {
        address: u64::from_str_radix(address, 16).ok()?,
        name: u32::try_from(at + address.len() + kind.len() + 2).ok()?,
        name_len: u16::try_from(name.len()).ok()?,
        module_len: u16::try_from(module.len()).ok()?,
        kind: *kind.as_bytes().first()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "ffffffff81000000 T _text\nffffffff81000010 t do_one\nffffffff81000010 D alias\n\
                        ffffffffc0000000 t nf_hook\t[nf_tables]\nnonsense\nffffffff82000000 D jiffies\n";

    #[test]
    fn finds_by_address_and_name() {
        let k = Kallsyms::parse(TEXT.to_owned());
        assert_eq!(k.len(), 5);
        assert_eq!(k.lookup(0xffff_ffff_8100_0014), Some(("do_one", 4, "")));
        assert_eq!(k.lookup(0xffff_ffff_c000_0001), Some(("nf_hook", 1, "nf_tables")));
        assert_eq!(k.lookup(0xffff_ffff_c100_0001), None);
        assert_eq!(k.lookup(1), None);
        assert_eq!(k.address("jiffies"), Ok(Some(0xffff_ffff_8200_0000)));
        assert_eq!(k.address("nf_tables:nf_hook"), Ok(Some(0xffff_ffff_c000_0000)));
        assert_eq!(k.address("nothing"), Ok(None));
        assert_eq!(k.functions().collect::<Vec<_>>(), ["_text", "do_one", "nf_tables:nf_hook"]);
    }

    #[test]
    fn hidden_addresses_are_said_to_be_hidden() {
        let k = Kallsyms::parse("0000000000000000 T _text\n".to_owned());
        assert!(!k.has_addresses());
        assert!(matches!(k.address("_text"), Err(Error::Unavailable { .. })));
        assert_eq!(k.lookup(5), None);
    }
}
