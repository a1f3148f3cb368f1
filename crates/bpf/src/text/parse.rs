//! The text of an object enters, the object leaves; an error says its line and what was expected there. What names a map or a
//! type is checked where it is used, as for any object.

use super::names::{CORE, KCONFIG, KSYM, value};
use super::words::{Words, hex};
use crate::asm::{self, AsmError};
use crate::elf;
use crate::kinds::{AttachType, MapType, ProgType};
use crate::object::{
    BtfTarget, CoreReloc, FuncInfo, InnerMap, KconfigVar, Ksym, LineInfo, MapSpec, MapTypes, NamedSlot,
    Object, Program, Reloc, RelocKind, SlotContent,
};

/// Most bytes of text, and of all bytes that it gives.
const MAX_TEXT: usize = 256 << 20;

/// Where `.bytes` go.
enum Bytes {
    Nowhere,
    Btf,
    Private,
    Map,
}

/// Reads an object.
pub fn parse(text: &str) -> Result<Object, AsmError> {
    if text.len() > MAX_TEXT {
        return Err(AsmError { line: 0, what: format!("{} bytes are too many", text.len()) });
    }
    let mut reader = Reader { object: Object::default(), bytes: Bytes::Nowhere, private: Vec::new() };
    let mut lines = (1..).zip(text.lines());
    while let Some((line, text)) = lines.next() {
        let text = text.trim();
        if text.is_empty() || text.starts_with(';') || text.starts_with("//") {
            continue;
        }
        let at = |what| AsmError { line, what };
        if let Some(rest) = text.strip_prefix(".program ") {
            let mut program = program(rest).map_err(at)?;
            let mut ended = false;
            let body = lines.by_ref().take_while(|(_, text)| {
                ended = text.trim() == ".end";
                !ended
            });
            body_of(&mut program, body, &reader.object)?;
            if !ended {
                return Err(at("the program has no `.end`".to_owned()));
            }
            reader.object.programs.push(program);
            reader.bytes = Bytes::Nowhere;
            continue;
        }
        reader.directive(text).map_err(at)?;
    }
    let Reader { object, private, .. } = reader;
    if private.is_empty() {
        return Ok(object);
    }
    let joined = elf::with_private(object, &private);
    joined.map_err(|e| AsmError { line: 0, what: format!("`.private`: {e}") })
}

struct Reader {
    object: Object,
    bytes: Bytes,
    private: Vec<u8>,
}

impl Reader {
    fn directive(&mut self, text: &str) -> Result<(), String> {
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let mut words = Words::new(rest);
        match name {
            ".license" => self.object.license = words.word("the license")?,
            ".btf" => self.bytes = Bytes::Btf,
            ".private" => self.bytes = Bytes::Private,
            ".map" => {
                self.object.maps.push(map(&mut words)?);
                self.bytes = Bytes::Map;
            }
            ".inner" => self.map()?.details.inner = Some(inner(&mut words)?),
            ".slot" => {
                let slot = slot(&mut words)?;
                self.map()?.details.slots.push(slot);
            }
            ".kconfig" => {
                let var = kconfig(&mut words)?;
                self.map()?.details.kconfig.push(var);
            }
            ".bytes" => {
                let bytes = match self.bytes {
                    Bytes::Btf => &mut self.object.btf,
                    Bytes::Private => &mut self.private,
                    Bytes::Map => &mut self.map()?.initial,
                    Bytes::Nowhere => {
                        return Err("`.bytes` belong behind `.map`, `.btf` or `.private`".to_owned());
                    }
                };
                return hex(rest.split(';').next().unwrap_or(""), bytes);
            }
            other => {
                return Err(format!(
                    "`{other}` is not known here: expected .license, .map, .btf, .program, .private or .bytes \
                     (instructions belong between `.program` and `.end`)"
                ));
            }
        }
        words.end()
    }

    fn map(&mut self) -> Result<&mut MapSpec, String> {
        self.object.maps.last_mut().ok_or_else(|| "there is no `.map` that this belongs to".to_owned())
    }
}

fn parsed<T: std::str::FromStr>(key: &str, word: &str) -> Result<T, String> {
    word.parse().map_err(|_| format!("{key}={word}: expected a number"))
}

fn map(words: &mut Words<'_>) -> Result<MapSpec, String> {
    let name = words.word("the map's name")?;
    let kind = map_type(words)?;
    let mut spec = MapSpec::new(&name, kind, 0, 0, 0);
    let mut types = (None, None);
    while let Some((key, word)) = words.next()? {
        match (key, word.as_str()) {
            (Some("key"), word) => spec.key_size = parsed("key", word)?,
            (Some("value"), word) => spec.value_size = parsed("value", word)?,
            (Some("entries"), word) => spec.max_entries = parsed("entries", word)?,
            (Some("flags"), word) => spec.flags = parsed("flags", word)?,
            (Some("extra"), word) => spec.details.map_extra = parsed("extra", word)?,
            (Some("numa_node"), word) => spec.details.numa_node = Some(parsed("numa_node", word)?),
            (Some("key_type"), word) => types.0 = Some(parsed("key_type", word)?),
            (Some("value_type"), word) => types.1 = Some(parsed("value_type", word)?),
            (None, "frozen") => spec.frozen = true,
            (None, "pinned") => spec.details.pin_by_name = true,
            (_, word) => return Err(format!("`{word}` is no property of a map")),
        }
    }
    spec.details.types = map_types(types);
    Ok(spec)
}

fn map_types(types: (Option<u32>, Option<u32>)) -> Option<MapTypes> {
    match types {
        (None, None) => None,
        (key, value) => Some(MapTypes { key: key.unwrap_or(0), value: value.unwrap_or(0) }),
    }
}

fn map_type(words: &mut Words<'_>) -> Result<MapType, String> {
    let kind = words.word("the kind of map")?;
    MapType::from_name(&kind).ok_or_else(|| format!("`{kind}` is no kind of map, such as hash or array"))
}

fn inner(words: &mut Words<'_>) -> Result<InnerMap, String> {
    let map_type = map_type(words)?;
    let (mut key_size, mut value_size, mut max_entries, mut flags) = (0, 0, 0, 0);
    let mut types = (None, None);
    while let Some((key, word)) = words.next()? {
        match key {
            Some("key") => key_size = parsed("key", &word)?,
            Some("value") => value_size = parsed("value", &word)?,
            Some("entries") => max_entries = parsed("entries", &word)?,
            Some("flags") => flags = parsed("flags", &word)?,
            Some("key_type") => types.0 = Some(parsed("key_type", &word)?),
            Some("value_type") => types.1 = Some(parsed("value_type", &word)?),
            _ => return Err(format!("`{word}` is no property of an inner map")),
        }
    }
    Ok(InnerMap { map_type, key_size, value_size, max_entries, flags, types: map_types(types) })
}

fn slot(words: &mut Words<'_>) -> Result<NamedSlot, String> {
    let index = words.number("an index")?;
    let content = match words.word("`map` or `program`")?.as_str() {
        "map" => SlotContent::Map(words.number("a map's number")?),
        "program" => SlotContent::Program(words.word("a program's name")?),
        other => return Err(format!("`{other}` where `map` or `program` was expected")),
    };
    Ok(NamedSlot { index, content })
}

/// A last word that may be there.
fn weak(words: &mut Words<'_>) -> Result<bool, String> {
    match words.next()? {
        None => Ok(false),
        Some((None, word)) if word == "weak" => Ok(true),
        Some((_, word)) => Err(format!("`{word}` where `weak` or nothing was expected")),
    }
}

fn kconfig(words: &mut Words<'_>) -> Result<KconfigVar, String> {
    let name = words.word("a name")?;
    let (offset, size) = (words.number("an offset")?, words.number("a size")?);
    let kind = words.word("a type")?;
    let kind = value(KCONFIG, &kind).ok_or_else(|| format!("`{kind}` is no type of such a value"))?;
    Ok(KconfigVar { name, offset, size, kind, weak: weak(words)? })
}

fn program(rest: &str) -> Result<Program, String> {
    let mut words = Words::new(rest);
    let symbol = words.word("the program's name")?;
    let kind = words.word("the type of program")?;
    let prog_type = ProgType::from_name(&kind)
        .ok_or_else(|| format!("`{kind}` is no type of program, such as xdp or kprobe"))?;
    let mut program = Program {
        name: symbol.clone(),
        symbol,
        prog_type,
        attach_type: AttachType::None,
        attach_btf: None,
        attach: Vec::new(),
        sleepable: false,
        insns: Vec::new(),
        relocs: Vec::new(),
        funcs: Vec::new(),
        lines: Vec::new(),
    };
    let (mut function, mut module, mut id) = (None, None, None);
    while let Some((key, word)) = words.next()? {
        match (key, word.as_str()) {
            (Some("attach"), "none") => {}
            (Some("attach"), word) => {
                let kind = AttachType::from_name(word);
                program.attach_type = kind.ok_or_else(|| format!("`{word}` is no attach type"))?;
            }
            (Some("probe"), _) => program.name = word,
            (Some("tracepoint"), _) => program.attach_btf = Some(BtfTarget::RawTracepoint(word)),
            (Some("iter"), _) => program.attach_btf = Some(BtfTarget::Iter(word)),
            (Some("function"), _) => function = Some(word),
            (Some("module"), _) => module = Some(word),
            (Some("program"), word) => id = Some(parsed("program", word)?),
            (None, "sleepable") => program.sleepable = true,
            (_, word) => return Err(format!("`{word}` is no property of a program")),
        }
    }
    match (function, id) {
        (Some(function), Some(id)) => program.attach_btf = Some(BtfTarget::Program { id, function }),
        (Some(name), None) => program.attach_btf = Some(BtfTarget::Function { name, module }),
        (None, _) => {}
    }
    Ok(program)
}

/// The lines between `.program` and `.end`.
fn body_of<'a>(
    program: &mut Program,
    lines: impl Iterator<Item = (usize, &'a str)>,
    object: &Object,
) -> Result<(), AsmError> {
    let _ = object;
    let mut at = None;
    let (mut relocs, mut funcs, mut source) = (Vec::new(), Vec::new(), Vec::new());
    let mut directive = |index: usize, text: &str| -> Result<(), String> {
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let mut words = Words::new(rest);
        let insn = at.unwrap_or(index as u32);
        match name {
            ".at" => at = Some(words.number("an index")?),
            ".func" => funcs.push(FuncInfo { insn, type_id: words.number("a type's number")? }),
            ".line" => source.push(line(insn, &mut words)?),
            ".reloc" => relocs.push(Reloc { insn, kind: reloc(&mut words)? }),
            other => {
                return Err(format!("`{other}` is not known in a program: expected .func, .line or .reloc"));
            }
        }
        words.end()
    };
    // What a name in brackets stands for is said by the relocation.
    program.insns = asm::parse_lines(lines, &|_| Some(0), &mut directive)?;
    // Those at instructions come first in the text; all are ascending in an object.
    relocs.sort_by_key(|r: &Reloc| r.insn);
    funcs.sort_by_key(|f: &FuncInfo| f.insn);
    source.sort_by_key(|l: &LineInfo| l.insn);
    (program.relocs, program.funcs, program.lines) = (relocs, funcs, source);
    Ok(())
}

fn line(insn: u32, words: &mut Words<'_>) -> Result<LineInfo, String> {
    let (line, column) = (words.number("a line")?, words.number("a column")?);
    let (mut file, mut text) = (0, 0);
    while let Some((key, word)) = words.next()? {
        match key {
            Some("file") => file = parsed("file", &word)?,
            Some("text") => text = parsed("text", &word)?,
            _ => return Err(format!("`{word}` is no property of a line")),
        }
    }
    Ok(LineInfo { insn, file, text, line, column })
}

fn reloc(words: &mut Words<'_>) -> Result<RelocKind, String> {
    Ok(match words.word("what it refers to")?.as_str() {
        "map" => RelocKind::Map(words.number("a map's number")?),
        "value" => RelocKind::MapValue(words.number("a map's number")?),
        "symbol" => RelocKind::KernelSymbol(words.word("a name")?),
        "kfunc" => RelocKind::Kfunc(words.word("a name")?),
        "ksym" => {
            let (name, kind) = (words.word("a name")?, words.word("what is wanted")?);
            let kind =
                value(KSYM, &kind).ok_or_else(|| format!("`{kind}`: expected address, typed or call"))?;
            RelocKind::Ksym(Ksym { name, weak: weak(words)?, kind })
        }
        "core" => {
            let kind = words.word("a kind")?;
            let kind = value(CORE, &kind).ok_or_else(|| format!("`{kind}` is no kind of relocation"))?;
            let (root, root_name) = (words.number("a type's number")?, words.word("its name")?);
            let path = match words.next()? {
                Some((Some("path"), path)) if path.is_empty() => Vec::new(),
                Some((Some("path"), path)) => {
                    let each: Option<Vec<u32>> = path.split(':').map(|n| n.parse().ok()).collect();
                    each.ok_or_else(|| format!("path={path}: expected numbers with colons"))?
                }
                _ => return Err("`path=` is missing".to_owned()),
            };
            RelocKind::Core(CoreReloc { root, root_name, path, kind })
        }
        other => return Err(format!("`{other}`: expected map, value, symbol, kfunc, ksym or core")),
    })
}
