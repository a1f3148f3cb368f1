//! The files' text enters, cases leave.

use skep_bpf::kinds::{MapType, ProgType};
use skep_bpf::object::MapSpec;

/// One case.
#[derive(Debug, Default)]
pub(crate) struct Case {
    pub(crate) name: String,
    /// `None`: the context is plain memory.
    pub(crate) prog_type: Option<ProgType>,
    pub(crate) memory: Vec<u8>,
    pub(crate) packet: Option<Vec<u8>>,
    pub(crate) args: Option<Vec<u64>>,
    pub(crate) fields: Vec<(String, u64)>,
    pub(crate) maps: Vec<MapSpec>,
    /// Map, key, value: before the program runs, and expected behind it (`None`: no such key).
    pub(crate) entries: Vec<(String, Vec<u8>, Value)>,
    pub(crate) budget: Option<u64>,
    /// Programs by name; the first is run.
    pub(crate) programs: Vec<(String, String)>,
    pub(crate) expected: Vec<Expected>,
}

/// What a map holds.
#[derive(Debug)]
pub(crate) enum Value {
    Bytes(Vec<u8>),
    Program(String),
}

/// What must come out.
#[derive(Debug)]
pub(crate) enum Expected {
    /// r0.
    Result(u64),
    /// A part of the fault's message.
    Fault(String),
    /// A part of the message that refuses the program.
    Refused(String),
    /// The context behind the run.
    Memory(Vec<u8>),
    Packet(Vec<u8>),
    Field(String, u64),
    Entry(String, Vec<u8>, Option<Vec<u8>>),
}

/// Reads a file.
pub(crate) fn parse(text: &str) -> Result<Vec<Case>, String> {
    let mut cases: Vec<Case> = Vec::new();
    let mut code = false;
    for (number, line) in (1..).zip(text.lines()) {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with('#') {
            continue;
        }
        if let Some(name) = trimmed.strip_prefix("== ") {
            cases.push(Case { name: name.to_owned(), ..Case::default() });
            code = false;
            continue;
        }
        let case = cases.last_mut().ok_or(format!("line {number}: before the first `== NAME`"))?;
        if line.starts_with(' ') {
            let (_, program) =
                case.programs.last_mut().filter(|_| code).ok_or(format!("line {number}: no `code`"))?;
            program.push_str(trimmed);
            program.push('\n');
            continue;
        }
        let (word, rest) = trimmed.split_once(' ').unwrap_or((trimmed, ""));
        code = word == "code";
        directive(case, word, rest.trim()).map_err(|what| format!("line {number}: {what}"))?;
    }
    Ok(cases)
}

fn directive(case: &mut Case, word: &str, rest: &str) -> Result<(), String> {
    match word {
        "prog" => case.prog_type = Some(prog_type(rest)?),
        "memory" => case.memory = hex(rest)?,
        "packet" => case.packet = Some(hex(rest)?),
        "args" => case.args = Some(rest.split_whitespace().map(number).collect::<Result<_, _>>()?),
        "field" => {
            let (name, value) = rest.split_once(' ').ok_or("field NAME VALUE")?;
            case.fields.push((name.to_owned(), number(value)?));
        }
        "map" => case.maps.push(map(rest)?),
        "entry" => {
            let (map, key, value) = three(rest).ok_or("entry MAP KEY VALUE")?;
            let value = match value.strip_prefix('@') {
                Some(program) => Value::Program(program.to_owned()),
                None => Value::Bytes(hex(value)?),
            };
            case.entries.push((map.to_owned(), hex(key)?, value));
        }
        "budget" => case.budget = Some(number(rest)?),
        "code" => case.programs.push((rest.to_owned(), String::new())),
        "result" => case.expected.push(Expected::Result(number(rest)?)),
        "fault" => case.expected.push(Expected::Fault(rest.to_owned())),
        "refused" => case.expected.push(Expected::Refused(rest.to_owned())),
        "after" => {
            let (what, rest) = rest.split_once(' ').unwrap_or((rest, ""));
            case.expected.push(after(what, rest)?);
        }
        _ => return Err(format!("`{word}` is no word of these files")),
    }
    Ok(())
}

fn after(what: &str, rest: &str) -> Result<Expected, String> {
    Ok(match what {
        "memory" => Expected::Memory(hex(rest)?),
        "packet" => Expected::Packet(hex(rest)?),
        "field" => {
            let (name, value) = rest.split_once(' ').ok_or("after field NAME VALUE")?;
            Expected::Field(name.to_owned(), number(value)?)
        }
        "entry" => {
            let (map, key, value) = three(rest).ok_or("after entry MAP KEY VALUE")?;
            let value = if value == "none" { None } else { Some(hex(value)?) };
            Expected::Entry(map.to_owned(), hex(key)?, value)
        }
        _ => return Err(format!("`after {what}`")),
    })
}

fn three(text: &str) -> Option<(&str, &str, &str)> {
    let (first, rest) = text.split_once(' ')?;
    let (second, third) = rest.trim().split_once(' ')?;
    Some((first, second, third.trim()))
}

fn map(text: &str) -> Result<MapSpec, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let &[name, kind, key, value, entries, ref rest @ ..] = &words[..] else {
        return Err("map NAME KIND KEY_SIZE VALUE_SIZE ENTRIES".to_owned());
    };
    let small = |text: &str| number(text).map(|n| n as u32);
    let spec = MapSpec::new(name, map_type(kind)?, small(key)?, small(value)?, small(entries)?);
    let flags = rest.first().map_or(Ok(0), |flags| small(flags))?;
    Ok(MapSpec { flags, ..spec })
}

/// Kinds by the names that they have in the kernel's enumeration, in lower case.
fn map_type(name: &str) -> Result<MapType, String> {
    named(name, 1..=40, MapType::from_number)
}

fn prog_type(name: &str) -> Result<ProgType, String> {
    named(name, 1..=40, ProgType::from_number)
}

fn named<T: std::fmt::Debug>(
    name: &str,
    mut numbers: std::ops::RangeInclusive<u32>,
    kind: impl Fn(u32) -> Option<T>,
) -> Result<T, String> {
    let plain = name.replace('_', "");
    let found = numbers.find_map(|number| kind(number).filter(|k| format!("{k:?}").to_lowercase() == plain));
    found.ok_or(format!("there is no kind `{name}`"))
}

fn number(text: &str) -> Result<u64, String> {
    let (minus, digits) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let value = match digits.strip_prefix("0x") {
        Some(hex) => u64::from_str_radix(hex, 16),
        None => digits.parse(),
    };
    let value = value.map_err(|_| format!("`{text}` is no number"))?;
    Ok(if minus { value.wrapping_neg() } else { value })
}

/// Pairs of hexadecimal digits; `HEX*N` repeats.
fn hex(text: &str) -> Result<Vec<u8>, String> {
    let mut bytes = Vec::new();
    for word in text.split_whitespace() {
        let (digits, times) = word.split_once('*').unwrap_or((word, "1"));
        let part: Result<Vec<u8>, _> = (0..digits.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(digits.get(at..at + 2).unwrap_or("?"), 16))
            .collect();
        let part = part.map_err(|_| format!("`{word}` is not hexadecimal"))?;
        (0..number(times)?).for_each(|_| bytes.extend(&part));
    }
    Ok(bytes)
}
